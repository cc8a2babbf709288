// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Checks of shapes and their messages.

#include "Verification.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;

RankedTensorType llmir::llm::rankedType(Value value) {
  return cast<RankedTensorType>(value.getType());
}

LogicalResult llmir::llm::verifyRank(Operation *op, StringRef name, Type type,
                                     int64_t rank) {
  if (cast<RankedTensorType>(type).getRank() != rank)
    return op->emitOpError() << name << " must be a tensor of rank " << rank
                             << ", but is " << type;
  return success();
}

bool llmir::llm::sameDim(int64_t lhs, int64_t rhs) {
  return lhs == rhs || ShapedType::isDynamic(lhs) || ShapedType::isDynamic(rhs);
}

LogicalResult llmir::llm::verifyDim(Operation *op, StringRef name,
                                    int64_t actual, int64_t expected,
                                    StringRef reason) {
  if (sameDim(actual, expected))
    return success();
  return op->emitOpError() << name << " is " << actual << ", but must be "
                           << expected << ", " << reason;
}

LogicalResult llmir::llm::verifyResultShape(Operation *op, Type result,
                                            ArrayRef<int64_t> expected) {
  auto type = cast<RankedTensorType>(result);
  bool same = type.getRank() == static_cast<int64_t>(expected.size());
  for (int64_t i = 0; same && i < type.getRank(); ++i)
    same = sameDim(type.getDimSize(i), expected[i]);
  if (same)
    return success();
  return op->emitOpError() << "result is " << result
                           << ", but must have the shape "
                           << RankedTensorType::get(expected,
                                                    type.getElementType());
}

LogicalResult llmir::llm::verifyRotation(Operation *op, StringRef name,
                                         Value heads, Value table,
                                         Value positions) {
  if (failed(verifyRank(op, name, heads.getType(), 3)) ||
      failed(verifyRank(op, "table", table.getType(), 3)) ||
      failed(verifyRank(op, "positions", positions.getType(), 1)))
    return failure();
  RankedTensorType type = rankedType(heads), rows = rankedType(table);
  int64_t headDim = type.getDimSize(2), half = rows.getDimSize(2);
  if (ShapedType::isDynamic(headDim) || headDim < 2)
    return op->emitOpError() << "head_dim must be static and at least 2, but "
                                "the "
                             << name << " is " << type;
  if (rows.getDimSize(1) != 2 || ShapedType::isDynamic(half) || half == 0 ||
      2 * half > headDim)
    return op->emitOpError()
           << "table is " << rows
           << ", but must have the shape [positions, 2, N] with N from 1 to "
           << headDim / 2 << ", half of head_dim";
  return verifyDim(op, "the number of positions",
                   rankedType(positions).getDimSize(0), type.getDimSize(0),
                   ("the number of tokens of the " + name).str());
}

LogicalResult llmir::llm::inferLike(Value like, ArrayRef<int64_t> shape,
                                    SmallVectorImpl<Type> &inferred) {
  inferred.push_back(
      RankedTensorType::get(shape, getElementTypeOrSelf(like.getType())));
  return success();
}

LogicalResult llmir::llm::inferSame(Value like,
                                    SmallVectorImpl<Type> &inferred) {
  inferred.push_back(like.getType());
  return success();
}
