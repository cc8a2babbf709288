// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the passes that raise have in common; see Raising.h.

#include "Raising.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

using namespace mlir;
using namespace llmir;

SmallVector<linalg::GenericOp> llmir::elementwiseRoots(func::FuncOp function) {
  SmallVector<linalg::GenericOp> roots;
  function.walk([&](linalg::GenericOp op) {
    if (op.getNumParallelLoops() != op.getNumLoops() ||
        op.getNumResults() != 1 ||
        !op.getIndexingMapMatchingResult(op->getResult(0)).isIdentity())
      return;
    Value yielded = op.getBody()->getTerminator()->getOperand(0);
    if (isa<OpResult>(yielded) && op.getBody()->getOperations().size() > 1)
      roots.push_back(op);
  });
  std::reverse(roots.begin(), roots.end());
  return roots;
}

SmallVector<OpFoldResult> llmir::sizesOf(OpBuilder &builder, Location loc,
                                         Value tensor) {
  if (auto result = dyn_cast<OpResult>(tensor))
    if (auto op = dyn_cast<DestinationStyleOpInterface>(result.getOwner()))
      return sizesOf(builder, loc, op.getTiedOpOperand(result)->get());
  if (auto empty = tensor.getDefiningOp<tensor::EmptyOp>())
    return empty.getMixedSizes();
  return tensor::getMixedSizes(builder, loc, tensor);
}

OpFoldResult llmir::multiply(OpBuilder &builder, Location loc, OpFoldResult a,
                             OpFoldResult b) {
  std::optional<int64_t> x = getConstantIntValue(a), y = getConstantIntValue(b);
  if (x && y)
    return builder.getIndexAttr(*x * *y);
  if (x == 1)
    return b;
  if (y == 1)
    return a;
  return builder
      .create<arith::MulIOp>(loc,
                             getValueOrCreateConstantIndexOp(builder, loc, a),
                             getValueOrCreateConstantIndexOp(builder, loc, b))
      .getResult();
}

Value llmir::castTo(OpBuilder &builder, Location loc, Value tensor, Type type) {
  if (tensor.getType() == type)
    return tensor;
  return builder.create<tensor::CastOp>(loc, type, tensor);
}

Value llmir::collapseRows(OpBuilder &builder, Location loc, Value tensor,
                          int64_t count) {
  if (count == 1)
    return tensor;
  auto type = cast<RankedTensorType>(tensor.getType());
  if (Value flat = getFlat(tensor))
    if (cast<RankedTensorType>(flat.getType()).getRank() ==
        type.getRank() - count + 1)
      return flat;
  SmallVector<ReassociationIndices> groups(1);
  for (int64_t dim = 0; dim < type.getRank(); ++dim) {
    if (dim >= count)
      groups.emplace_back();
    groups.back().push_back(dim);
  }
  return builder.create<tensor::CollapseShapeOp>(loc, tensor, groups);
}

Value llmir::expandRows(OpBuilder &builder, Location loc, Value flat,
                        ArrayRef<OpFoldResult> rows) {
  if (rows.size() == 1)
    return flat;
  auto type = cast<RankedTensorType>(flat.getType());
  SmallVector<int64_t> shape;
  for (OpFoldResult size : rows)
    shape.push_back(getConstantIntValue(size).value_or(ShapedType::kDynamic));
  int64_t numDynamic = llvm::count_if(shape, ShapedType::isDynamic);
  llvm::append_range(shape, type.getShape().drop_front());
  auto result = RankedTensorType::get(shape, type.getElementType());
  if (numDynamic == 1 && type.isDynamicDim(0)) {
    SmallVector<ReassociationIndices> groups(1);
    for (size_t dim = 0; dim < shape.size(); ++dim) {
      if (dim >= rows.size())
        groups.emplace_back();
      groups.back().push_back(dim);
    }
    return builder.create<tensor::ExpandShapeOp>(loc, result, flat, groups);
  }
  if (numDynamic == 0) {
    // The rows of what is made of static sizes may have been counted.
    SmallVector<int64_t> counted(type.getShape());
    counted[0] = 1;
    for (OpFoldResult size : rows)
      counted[0] *= *getConstantIntValue(size);
    flat = castTo(builder, loc, flat,
                  RankedTensorType::get(counted, type.getElementType()));
    SmallVector<ReassociationIndices> groups(1);
    for (size_t dim = 0; dim < shape.size(); ++dim) {
      if (dim >= rows.size())
        groups.emplace_back();
      groups.back().push_back(dim);
    }
    return builder.create<tensor::ExpandShapeOp>(loc, result, flat, groups);
  }
  SmallVector<Value> sizes;
  for (OpFoldResult size : rows)
    sizes.push_back(getValueOrCreateConstantIndexOp(builder, loc, size));
  for (int64_t size : type.getShape().drop_front())
    sizes.push_back(builder.create<arith::ConstantIndexOp>(loc, size));
  return builder.create<tensor::ReshapeOp>(
      loc, result, flat, builder.create<tensor::FromElementsOp>(loc, sizes));
}

Value llmir::getFlat(Value tensor) {
  Operation *op = tensor.getDefiningOp();
  if (auto cast = dyn_cast_or_null<tensor::CastOp>(op))
    return getFlat(cast.getSource());
  if (!isa_and_nonnull<tensor::ReshapeOp, tensor::ExpandShapeOp>(op))
    return nullptr;
  auto flat = dyn_cast<RankedTensorType>(op->getOperand(0).getType());
  auto type = cast<RankedTensorType>(tensor.getType());
  if (!flat || flat.getRank() == 0 || flat.getRank() >= type.getRank())
    return nullptr;
  // Equal inner sizes leave the outer ones the same number of rows.
  ArrayRef<int64_t> inner = flat.getShape().drop_front();
  if (llvm::any_of(inner, ShapedType::isDynamic) ||
      inner != type.getShape().take_back(inner.size()))
    return nullptr;
  return op->getOperand(0);
}

void llmir::eraseDead(Region &region) {
  for (Block &block : llvm::reverse(region))
    for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
      if (isOpTriviallyDead(&op))
        op.erase();
}
