// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What of a program over whole sequences a step over a cache needs: what leads
// to logits, less what the step is given, namely ids, positions and the past.

#ifndef LLMIR_LIB_DIALECT_LLM_TRANSFORMS_STEPPLAN_H
#define LLMIR_LIB_DIALECT_LLM_TRANSFORMS_STEPPLAN_H

#include "TokenRows.h"
#include "llmir/Dialect/LLM/LLM.h"

#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "llvm/ADT/BitVector.h"
#include "llvm/ADT/MapVector.h"

namespace llmir::llm {

/// How refusals begin.
inline constexpr llvm::StringLiteral kCannotBeStep = "cannot become a step: ";

/// The dimension that counts tokens, of single sequences or of all.
std::optional<int64_t> tokenDim(llvm::ArrayRef<Extent> extents);

/// What a step needs of a function.
struct FunctionPlan {
  /// In the function's block, and in the bodies of what is needed there.
  llvm::DenseSet<mlir::Operation *> ops;
  llvm::BitVector arguments;
  /// How many attentions a call of the function comes to.
  int64_t layers = 0;
  bool usesPositions = false;

  bool isSameFunction() const {
    return layers == 0 && !usesPositions && arguments.all();
  }
};

/// What all layers have in common, and the bounds that tables set.
struct ModelSizes {
  AttentionOp attention;
  int64_t hidden = 0;
  mlir::Type dtype;
  /// The most positions that every table holds, and one that holds no more.
  std::optional<int64_t> positions;
  mlir::Location table;
  /// The same of tables that can be made longer.
  std::optional<int64_t> ropePositions;
};

/// Goes from what a function returns to what that needs.
class Planner {
public:
  Planner(const TokenRows &rows, mlir::Location location)
      : rows(rows), sizes{{}, 0, {}, {}, location, {}} {}

  /// Plans a function and those that it calls. Says what is in the way.
  mlir::LogicalResult plan(mlir::func::FuncOp function);

  const FunctionPlan &of(mlir::func::FuncOp function) const;

  /// Whether the step is given a value, if in another shape or type.
  bool isGiven(mlir::Value value) const;

  /// Whether a number is the position, shifted or scaled.
  bool isOfPosition(mlir::Value value) const;

  const TokenRows &rows;
  ModelSizes sizes;

private:
  bool isOnePerToken(mlir::Value value) const;

  mlir::LogicalResult refuse(mlir::Location location,
                             const llvm::Twine &reason);

  mlir::LogicalResult need(mlir::Value value, FunctionPlan &plan);

  mlir::LogicalResult needOperands(mlir::Operation *op, FunctionPlan &plan);

  mlir::LogicalResult needCall(mlir::func::CallOp call, FunctionPlan &plan);

  mlir::LogicalResult needStructured(mlir::linalg::LinalgOp op,
                                     FunctionPlan &plan);

  /// A table of `size` places is looked up at `index`.
  void boundPositions(mlir::Value index, int64_t size, mlir::Location location);

  void readEmbedding(EmbeddingOp lookup);

  mlir::LogicalResult addLayer(AttentionOp attention, FunctionPlan &plan);

  llvm::MapVector<mlir::Operation *, FunctionPlan> plans;
};

} // namespace llmir::llm

#endif // LLMIR_LIB_DIALECT_LLM_TRANSFORMS_STEPPLAN_H
