// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The vocabulary that the reference lowerings are written in: scalar
// arithmetic, loops that carry values, and generics. It keeps each op's code as
// short as the formula it stands for.

#ifndef LLMIR_LIB_CONVERSION_LLMTOLINALG_BUILDERS_H
#define LLMIR_LIB_CONVERSION_LLMTOLINALG_BUILDERS_H

#include "mlir/Dialect/Utils/StructuredOpsUtils.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinTypes.h"

namespace llmir::reference {

/// Arithmetic on scalars, in f32 where they are floats, at one place.
struct Scalars {
  Scalars(mlir::OpBuilder &builder, mlir::Location loc)
      : builder(builder), loc(loc) {}

  mlir::Value constant(double value);
  mlir::Value index(int64_t value);
  mlir::Value widen(mlir::Value value);
  mlir::Value round(mlir::Value value, mlir::Type type);
  /// Rounds to `type`, through f32 where that is not the value's own type.
  mlir::Value convert(mlir::Value value, mlir::Type type);
  mlir::Value toIndex(mlir::Value value);
  /// Of floats, or of integers and indices.
  mlir::Value add(mlir::Value a, mlir::Value b);
  mlir::Value sub(mlir::Value a, mlir::Value b);
  mlir::Value mul(mlir::Value a, mlir::Value b);
  /// Of floats, or of integers that are not negative.
  mlir::Value div(mlir::Value a, mlir::Value b);
  /// Of indices that are not negative.
  mlir::Value rem(mlir::Value a, mlir::Value b);

  mlir::Value dim(mlir::Value tensor, int64_t dim);
  mlir::Value extract(mlir::Value tensor, mlir::ValueRange indices);
  mlir::Value insert(mlir::Value element, mlir::Value tensor,
                     mlir::ValueRange indices);

  using LoopBody = llvm::function_ref<llvm::SmallVector<mlir::Value>(
      mlir::Value, mlir::ValueRange)>;

  /// Builds a loop over [begin, end). The body gets the index and the values
  /// that the turn before has left, and returns those for the next one.
  llvm::SmallVector<mlir::Value> loop(mlir::Value begin, mlir::Value end,
                                      mlir::ValueRange carried, LoopBody body);
  /// The same from 0 on.
  llvm::SmallVector<mlir::Value> loop(mlir::Value end, mlir::ValueRange carried,
                                      LoopBody body);

  mlir::OpBuilder &builder;
  mlir::Location loc;
};

mlir::RankedTensorType tensorType(mlir::Value value);

/// An uninitialized tensor of `type`; `like` gives the dynamic sizes, dimension
/// by dimension.
mlir::Value emptyLike(mlir::OpBuilder &builder, mlir::Location loc,
                      mlir::RankedTensorType type, mlir::Value like);

/// An uninitialized tensor of given sizes.
mlir::Value emptyOf(mlir::OpBuilder &builder, mlir::Location loc,
                    llvm::ArrayRef<mlir::OpFoldResult> sizes,
                    mlir::Type element);

/// The same, filled with `value`.
mlir::Value filledOf(mlir::OpBuilder &builder, mlir::Location loc,
                     llvm::ArrayRef<mlir::OpFoldResult> sizes,
                     mlir::TypedAttr value);

/// Splits dimension `dim` into `parts` and their size, and puts the two
/// together again. Only one part may have a dynamic size.
mlir::Value splitDim(mlir::OpBuilder &builder, mlir::Location loc,
                     mlir::Value tensor, int64_t dim, int64_t parts);
mlir::Value mergeDims(mlir::OpBuilder &builder, mlir::Location loc,
                      mlir::Value tensor, int64_t dim);

using Body = llvm::function_ref<mlir::Value(Scalars &, mlir::ValueRange)>;

/// Builds a generic over `iterators` with one output. The body gets the inputs
/// and the output's old value as they are, and returns the new one.
mlir::Value generic(mlir::OpBuilder &builder, mlir::Location loc,
                    mlir::ValueRange inputs, mlir::Value output,
                    llvm::ArrayRef<mlir::AffineMap> maps,
                    llvm::ArrayRef<mlir::utils::IteratorType> iterators,
                    Body body);

/// Adds a bias and a residual, which may be null, to the f32 sums of a product
/// and rounds to `type`.
mlir::Value finishProduct(mlir::OpBuilder &builder, mlir::Location loc,
                          mlir::Value sums, mlir::Value bias,
                          mlir::Value residual, mlir::RankedTensorType type);

/// Indexing maps from a number of loops.
struct Maps {
  Maps(mlir::MLIRContext *context, unsigned rank)
      : context(context), rank(rank) {}

  mlir::AffineMap all() { return first(rank); }
  mlir::AffineMap first(unsigned count);
  mlir::AffineMap dims(llvm::ArrayRef<unsigned> dims);

  mlir::MLIRContext *context;
  unsigned rank;
};

} // namespace llmir::reference

#endif // LLMIR_LIB_CONVERSION_LLMTOLINALG_BUILDERS_H
