// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Goes back from the logits through what computes each row from one row, up to
// the hidden state that more than the head reads or that several ops make.

#include "LogitRows.h"
#include "llmir/Dialect/LLM/LLM.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/IRMapping.h"

using namespace mlir;
using namespace llmir::llm;

static RankedTensorType typeOf(Value value) {
  return cast<RankedTensorType>(value.getType());
}

/// The operand that an op on rows computes each of its rows from, if that is
/// all but weights, and rows of another number are computed alike.
static OpOperand *onlyRows(Operation *op) {
  if (!op || op->getNumResults() != 1)
    return nullptr;
  auto isRows = [](Value value) {
    auto type = dyn_cast<RankedTensorType>(value.getType());
    return type && type.getRank() == 2 && type.isDynamicDim(0) &&
           !type.isDynamicDim(1);
  };
  bool isLayer =
      isa<LinearOp, RMSNormOp, LayerNormOp, ActivationOp, QuantizedMatmulOp>(
          op) ||
      op->hasTrait<OpTrait::Elementwise>();
  auto structured = dyn_cast<linalg::GenericOp>(op);
  if ((!isLayer && !structured) || !isRows(op->getResult(0)))
    return nullptr;
  OpOperand *only = nullptr;
  for (OpOperand &operand : op->getOpOperands()) {
    if (structured && structured.isDpsInit(&operand)) {
      if (!operand.get().getDefiningOp<tensor::EmptyOp>())
        return nullptr;
    } else if (isRows(operand.get())) {
      if (only)
        return nullptr;
      only = &operand;
    } else if (auto type = dyn_cast<RankedTensorType>(operand.get().getType());
               type && !type.hasStaticShape()) {
      // It may have a number for each row.
      return nullptr;
    }
  }
  // Indices are those of all rows.
  if (structured && structured.hasIndexSemantics())
    return nullptr;
  return only;
}

Value llmir::llm::pickRows(OpBuilder &b, Value logits, Value logitRows) {
  // So that what else reads a value shows.
  for (Operation &op :
       llvm::make_early_inc_range(llvm::reverse(*b.getInsertionBlock())))
    if (&op != logits.getDefiningOp() && isOpTriviallyDead(&op))
      op.erase();
  SmallVector<Operation *> chain;
  Value rowsValue = logits;
  while (rowsValue == logits || rowsValue.hasOneUse()) {
    OpOperand *only = onlyRows(rowsValue.getDefiningOp());
    if (!only)
      break;
    chain.push_back(rowsValue.getDefiningOp());
    rowsValue = only->get();
  }
  Location loc = logits.getLoc();
  Value picked =
      b.create<EmbeddingOp>(loc, rowsValue.getType(), logitRows, rowsValue);
  IRMapping mapping;
  mapping.map(rowsValue, picked);
  Value result = picked, count;
  for (Operation *op : llvm::reverse(chain)) {
    if (auto structured = dyn_cast<linalg::GenericOp>(op)) {
      for (Value init : structured.getDpsInits()) {
        if (!count) {
          Value zero = b.create<arith::ConstantIndexOp>(loc, 0);
          count = b.create<tensor::DimOp>(loc, logitRows, zero);
        }
        mapping.map(init, b.create<tensor::EmptyOp>(loc, typeOf(init),
                                                    ValueRange(count)));
      }
    }
    Operation *copy = b.clone(*op, mapping);
    // Logits are rounded once, to f32.
    if (op == chain.front() && isa<LinearOp, QuantizedMatmulOp>(copy))
      copy->getResult(0).setType(
          typeOf(copy->getResult(0)).clone(b.getF32Type()));
    result = copy->getResult(0);
  }
  for (Operation *op : chain)
    if (isOpTriviallyDead(op))
      op->erase();
  return result;
}
