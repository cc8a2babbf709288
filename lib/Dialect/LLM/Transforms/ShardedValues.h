// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What a shard holds of each value of a program: all of it, one of equal parts,
// or a term of a sum; and how it gets the one from the other, by slices of
// weights, by slices of what it has, and by collectives.

#ifndef LLMIR_LIB_DIALECT_LLM_TRANSFORMS_SHARDEDVALUES_H
#define LLMIR_LIB_DIALECT_LLM_TRANSFORMS_SHARDEDVALUES_H

#include "Shards.h"
#include "llmir/Dialect/LLM/LLM.h"

#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/SymbolTable.h"

namespace llmir::llm {

/// What a shard holds of a value.
struct Held {
  enum Kind { Whole, Split, Partial };
  Kind kind = Whole;
  unsigned axis = 0;
  /// How many shards in a row hold the same part.
  int64_t repeat = 1;

  bool isSplit() const { return kind == Split; }
};

/// A part of a weight, or of a product's columns, that is divided by itself:
/// one may be several in one, which slices of the product take out.
struct Section {
  int64_t offset, size;
  mlir::tensor::ExtractSliceOp slice = {};
  int64_t repeat = 1;
};

inline mlir::RankedTensorType typeOf(mlir::Value value) {
  return mlir::cast<mlir::RankedTensorType>(value.getType());
}

inline mlir::RankedTensorType withDim(mlir::RankedTensorType type, unsigned dim,
                                      int64_t size) {
  llvm::SmallVector<int64_t> shape(type.getShape());
  shape[dim] = size;
  return type.clone(shape);
}

class ShardedValues {
public:
  ShardedValues(mlir::ModuleOp module, int64_t shards)
      : module(module), shards(shards), users(symbols, module) {}

protected:
  /// What a shard has of a size that is divided.
  int64_t localSize(int64_t size, int64_t repeat) const {
    return size * repeat / shards;
  }

  /// Whether a value is a parameter, here or at every call.
  bool isWeight(mlir::Value value);
  /// Makes a use of a weight one of its slices; null is all of it.
  mlir::LogicalResult setWeight(mlir::OpOperand &use, mlir::ArrayAttr slices);
  mlir::LogicalResult setWeight(mlir::OpOperand &use, unsigned dim,
                                llvm::ArrayRef<Section> sections);
  /// Divides a use of a weight along `dim`.
  mlir::LogicalResult divideWeight(mlir::OpOperand &use, unsigned dim);
  /// Gives a result that is computed in parts the type of one.
  void placeSplit(mlir::Value value, unsigned axis, int64_t repeat);
  /// Makes a result a term of a sum, in f32; the sum is rounded.
  void placePartial(mlir::Value value, llvm::ArrayRef<mlir::Value> biases);
  /// The whole of a value, for which shards communicate once. Null after an
  /// error.
  mlir::Value wholeOf(mlir::Value value);
  /// This shard's part of a value that it has whole, or in parts. Null after an
  /// error.
  mlir::Value partOf(mlir::Value value, unsigned axis, int64_t repeat);
  /// Where the part of `size` begins that this shard has.
  mlir::Value firstOf(mlir::OpBuilder &builder, mlir::Location loc,
                      int64_t size, int64_t repeat);
  mlir::LogicalResult makePart(mlir::OpOperand &use, unsigned axis,
                               int64_t repeat = 1);
  mlir::LogicalResult makeWhole(mlir::OpOperand &use);
  /// The operands of an op that is computed whole, and what it captures.
  mlir::LogicalResult makeWhole(mlir::Operation *op);
  /// All operands but some.
  mlir::LogicalResult makeOthersWhole(mlir::Operation *op,
                                      llvm::ArrayRef<mlir::OpOperand *> some);

  mlir::ModuleOp module;
  int64_t shards;
  mlir::SymbolTableCollection symbols;
  mlir::SymbolUserMap users;
  ShardCounts counts;
  /// What is no whole value.
  llvm::DenseMap<mlir::Value, Held> placements;
  /// Of terms, the type of the sum, and what is to be added to it.
  llvm::DenseMap<mlir::Value, std::pair<mlir::RankedTensorType,
                                        llvm::SmallVector<mlir::Value>>>
      sums;
  /// Of arguments that are weights, what slices of them; null is all.
  llvm::DenseMap<mlir::Value, mlir::ArrayAttr> argumentForms;

private:
  static mlir::RankedTensorType slicedType(mlir::RankedTensorType type,
                                           mlir::ArrayAttr slices);
  mlir::Value formOf(ParameterOp parameter, mlir::ArrayAttr slices);
  void place(mlir::Value value, Held::Kind kind, unsigned axis = 0,
             int64_t repeat = 1);
  /// Biases are added once, to the sum.
  static mlir::Value addBias(mlir::OpBuilder &builder, mlir::Location loc,
                             mlir::Value sum, mlir::Value bias);

  /// What was made of values already.
  llvm::DenseMap<mlir::Value, mlir::Value> wholes;
  llvm::DenseMap<std::pair<mlir::Value, int64_t>, mlir::Value> parts;
  llvm::DenseMap<std::pair<mlir::Value, mlir::Attribute>, mlir::Value> forms;
  /// Of arguments, whether they are weights.
  llvm::DenseMap<mlir::Value, bool> weights;
};

} // namespace llmir::llm

#endif // LLMIR_LIB_DIALECT_LLM_TRANSFORMS_SHARDEDVALUES_H
