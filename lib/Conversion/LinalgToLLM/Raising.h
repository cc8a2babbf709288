// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the passes that raise have in common: the ops to look at, the sizes of
// their results, and the two forms of a tensor of tokens, [B, t, ..] and [T,
// ..].

#ifndef LLMIR_LIB_CONVERSION_LINALGTOLLM_RAISING_H
#define LLMIR_LIB_CONVERSION_LINALGTOLLM_RAISING_H

#include "Terms.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace llmir {

/// The linalg ops of a function whose loops are all parallel, that have one
/// result and compute something from scalars: users before what they use.
llvm::SmallVector<mlir::linalg::GenericOp>
elementwiseRoots(mlir::func::FuncOp function);

/// The sizes of a linalg op's result, by that of its destination.
llvm::SmallVector<mlir::OpFoldResult>
sizesOf(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value tensor);

/// The number that two sizes multiply to.
mlir::OpFoldResult multiply(mlir::OpBuilder &builder, mlir::Location loc,
                            mlir::OpFoldResult a, mlir::OpFoldResult b);

/// Joins the first `count` dimensions of a tensor.
mlir::Value collapseRows(mlir::OpBuilder &builder, mlir::Location loc,
                         mlir::Value tensor, int64_t count);
/// Splits the first dimension of a tensor into ones of these sizes.
mlir::Value expandRows(mlir::OpBuilder &builder, mlir::Location loc,
                       mlir::Value flat,
                       llvm::ArrayRef<mlir::OpFoldResult> rows);
/// The tensor that `expandRows` has made this one of, or null. Its dimensions
/// but the first are the last ones of the result.
mlir::Value getFlat(mlir::Value tensor);

/// A tensor of this type, if the sizes allow that.
mlir::Value castTo(mlir::OpBuilder &builder, mlir::Location loc,
                   mlir::Value tensor, mlir::Type type);

/// Erases ops that nothing needs, users first.
void eraseDead(mlir::Region &region);

} // namespace llmir

#endif // LLMIR_LIB_CONVERSION_LINALGTOLLM_RAISING_H
