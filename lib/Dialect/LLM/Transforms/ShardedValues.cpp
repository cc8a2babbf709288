// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Slices of weights and of values, and the collectives that make values whole.

#include "ShardedValues.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/IR/Matchers.h"
#include "mlir/Transforms/RegionUtils.h"

using namespace mlir;
using namespace llmir::llm;

bool ShardedValues::isWeight(Value value) {
  if (value.getDefiningOp<ParameterOp>())
    return true;
  auto argument = dyn_cast<BlockArgument>(value);
  if (!argument)
    return false;
  auto [known, isNew] = weights.try_emplace(value, false);
  if (!isNew)
    return known->second;
  auto function = dyn_cast<func::FuncOp>(argument.getOwner()->getParentOp());
  bool found = function && function.isPrivate() &&
               isa<RankedTensorType>(value.getType()) &&
               !users.useEmpty(function);
  if (found)
    found = llvm::all_of(users.getUsers(function), [&](Operation *user) {
      return isa<func::CallOp>(user) &&
             isWeight(user->getOperand(argument.getArgNumber()));
    });
  return weights[value] = found;
}

LogicalResult ShardedValues::setWeight(OpOperand &use, ArrayAttr slices) {
  ++(slices ? counts.divided : counts.whole);
  Value weight = use.get();
  if (auto parameter = weight.getDefiningOp<ParameterOp>()) {
    if (slices)
      use.set(formOf(parameter, slices));
    return success();
  }
  auto [known, isNew] = argumentForms.try_emplace(weight, slices);
  if (!isNew && known->second != slices)
    return use.getOwner()->emitError()
           << "reads a weight that is divided in two ways; pass it to the "
              "function twice";
  if (isNew && slices)
    weight.setType(slicedType(typeOf(weight), slices));
  return success();
}

LogicalResult ShardedValues::setWeight(OpOperand &use, unsigned dim,
                                       ArrayRef<Section> sections) {
  SmallVector<Attribute> slices;
  for (const Section &section : sections) {
    int64_t size = localSize(section.size, section.repeat);
    slices.push_back(SliceAttr::get(module.getContext(), dim, section.offset,
                                    size, /*stride=*/size, section.repeat));
  }
  return setWeight(use, ArrayAttr::get(module.getContext(), slices));
}

LogicalResult ShardedValues::divideWeight(OpOperand &use, unsigned dim) {
  return setWeight(use, dim, Section{0, typeOf(use.get()).getDimSize(dim)});
}

RankedTensorType ShardedValues::slicedType(RankedTensorType type,
                                           ArrayAttr slices) {
  int64_t size = 0, dim = 0;
  for (SliceAttr slice : slices.getAsRange<SliceAttr>()) {
    dim = slice.getDim();
    size += slice.getSize();
  }
  return withDim(type, dim, size);
}

Value ShardedValues::formOf(ParameterOp parameter, ArrayAttr slices) {
  Value &form = forms[{parameter, slices}];
  if (form)
    return form;
  OpBuilder builder(parameter);
  builder.setInsertionPointAfter(parameter);
  RankedTensorType file = parameter.getFileTypes()[0];
  // Slices are those of the file's tensor.
  SmallVector<Attribute> fileSlices;
  for (SliceAttr slice : slices.getAsRange<SliceAttr>())
    fileSlices.push_back(SliceAttr::get(
        slice.getContext(),
        parameter.getTransposed() ? 1 - slice.getDim() : slice.getDim(),
        slice.getOffset(), slice.getSize(), slice.getStride(),
        slice.getRepeat()));
  auto made = builder.create<ParameterOp>(
      parameter.getLoc(), slicedType(typeOf(parameter), slices),
      parameter.getScopeAttr(),
      builder.getArrayAttr(
          SmallVector<Attribute>(slices.size(), parameter.getKeys()[0])),
      builder.getTypeArrayAttr(SmallVector<Type>(slices.size(), file)),
      builder.getArrayAttr(fileSlices));
  made.setTransposed(parameter.getTransposed());
  form = made;
  return form;
}

void ShardedValues::place(Value value, Held::Kind kind, unsigned axis,
                          int64_t repeat) {
  placements[value] = Held{kind, axis, repeat};
}

void ShardedValues::placeSplit(Value value, unsigned axis, int64_t repeat) {
  RankedTensorType type = typeOf(value);
  value.setType(withDim(type, axis, localSize(type.getDimSize(axis), repeat)));
  place(value, Held::Split, axis, repeat);
}

void ShardedValues::placePartial(Value value, ArrayRef<Value> biases) {
  RankedTensorType type = typeOf(value);
  sums[value] = {type, SmallVector<Value>(biases)};
  value.setType(type.clone(Float32Type::get(type.getContext())));
  place(value, Held::Partial);
}

Value ShardedValues::wholeOf(Value value) {
  Held placement = placements.lookup(value);
  if (placement.kind == Held::Whole)
    return value;
  Value &whole = wholes[value];
  if (whole)
    return whole;
  Location loc = value.getLoc();
  OpBuilder builder(module.getContext());
  builder.setInsertionPointAfterValue(value);
  RankedTensorType type = typeOf(value);
  if (placement.isSplit()) {
    unsigned axis = placement.axis;
    if (placement.repeat != 1) {
      emitError(loc) << "KV heads that several shards have copies of are "
                        "needed whole; choose a divisor of their number";
      return nullptr;
    }
    RankedTensorType full = withDim(type, axis, type.getDimSize(axis) * shards);
    Value parts = builder.create<FromLocalOp>(
        loc, ShardedTensorType::get(full, shards, Placement::split, axis),
        value);
    Value all = builder.create<AllGatherOp>(loc, parts);
    ++counts.gathers;
    return whole = builder.create<ToLocalOp>(loc, full, all).getResult(0);
  }
  Value terms = builder.create<FromLocalOp>(
      loc, ShardedTensorType::get(type, shards, Placement::partial), value);
  Value all = builder.create<AllReduceOp>(loc, terms);
  ++counts.reductions;
  Value sum = builder.create<ToLocalOp>(loc, type, all).getResult(0);
  auto &[original, biases] = sums[value];
  for (Value bias : biases)
    sum = addBias(builder, loc, sum, bias);
  if (original != sum.getType())
    sum = builder.create<ActivationOp>(loc, original, ActivationKind::identity,
                                       sum, /*multiplier=*/Value());
  return wholes[value] = sum;
}

Value ShardedValues::addBias(OpBuilder &builder, Location loc, Value sum,
                             Value bias) {
  RankedTensorType type = typeOf(sum);
  MLIRContext *context = builder.getContext();
  AffineMap all = AffineMap::getMultiDimIdentityMap(2, context);
  AffineMap columns = AffineMap::get(2, 0, builder.getAffineDimExpr(1));
  Value empty = builder.create<tensor::EmptyOp>(
      loc, tensor::getMixedSizes(builder, loc, sum), type.getElementType());
  return builder
      .create<linalg::GenericOp>(
          loc, type, ValueRange{sum, bias}, empty,
          ArrayRef<AffineMap>{all, columns, all},
          SmallVector<utils::IteratorType>(2, utils::IteratorType::parallel),
          [](OpBuilder &builder, Location loc, ValueRange arguments) {
            Value term = arguments[1];
            if (term.getType() != arguments[0].getType())
              term = builder.create<arith::ExtFOp>(loc, arguments[0].getType(),
                                                   term);
            Value sum = builder.create<arith::AddFOp>(loc, arguments[0], term);
            builder.create<linalg::YieldOp>(loc, sum);
          })
      .getResult(0);
}

Value ShardedValues::partOf(Value value, unsigned axis, int64_t repeat) {
  Held placement = placements.lookup(value);
  if (placement.isSplit() && placement.axis == axis &&
      placement.repeat == repeat)
    return value;
  value = wholeOf(value);
  if (!value)
    return nullptr;
  RankedTensorType type = typeOf(value);
  int64_t size = localSize(type.getDimSize(axis), repeat);
  RankedTensorType local = withDim(type, axis, size);
  OpBuilder builder(module.getContext());
  builder.setInsertionPointAfterValue(value);
  Location loc = value.getLoc();
  SplatElementsAttr splat;
  Value &part = parts[{value, axis * shards + repeat}];
  if (part)
    return part;
  if (matchPattern(value, m_Constant(&splat))) {
    part = builder.create<arith::ConstantOp>(
        loc, DenseElementsAttr::get(local, splat.getSplatValue<Attribute>()));
  } else {
    SmallVector<OpFoldResult> offsets(type.getRank(), builder.getIndexAttr(0));
    SmallVector<OpFoldResult> ones(type.getRank(), builder.getIndexAttr(1));
    SmallVector<OpFoldResult> sizes =
        tensor::getMixedSizes(builder, loc, value);
    offsets[axis] = firstOf(builder, loc, size, repeat);
    sizes[axis] = builder.getIndexAttr(size);
    part = builder.create<tensor::ExtractSliceOp>(loc, local, value, offsets,
                                                  sizes, ones);
  }
  place(part, Held::Split, axis, repeat);
  return part;
}

Value ShardedValues::firstOf(OpBuilder &builder, Location loc, int64_t size,
                             int64_t repeat) {
  Value shard = builder.create<ShardIndexOp>(loc, builder.getIndexType());
  if (repeat != 1)
    shard = builder.create<arith::DivUIOp>(
        loc, shard, builder.create<arith::ConstantIndexOp>(loc, repeat));
  return builder.create<arith::MulIOp>(
      loc, shard, builder.create<arith::ConstantIndexOp>(loc, size));
}

LogicalResult ShardedValues::makePart(OpOperand &use, unsigned axis,
                                      int64_t repeat) {
  if (isWeight(use.get()))
    return setWeight(
        use, axis, Section{0, typeOf(use.get()).getDimSize(axis), {}, repeat});
  Value part = partOf(use.get(), axis, repeat);
  if (part)
    use.set(part);
  return success(static_cast<bool>(part));
}

LogicalResult ShardedValues::makeWhole(OpOperand &use) {
  if (isWeight(use.get()))
    return setWeight(use, nullptr);
  Value whole = wholeOf(use.get());
  if (whole)
    use.set(whole);
  return success(static_cast<bool>(whole));
}

LogicalResult ShardedValues::makeWhole(Operation *op) {
  for (OpOperand &operand : op->getOpOperands())
    if (failed(makeWhole(operand)))
      return failure();
  WalkResult result = WalkResult::advance();
  visitUsedValuesDefinedAbove(op->getRegions(), [&](OpOperand *use) {
    if (failed(makeWhole(*use)))
      result = WalkResult::interrupt();
  });
  return failure(result.wasInterrupted());
}

LogicalResult ShardedValues::makeOthersWhole(Operation *op,
                                             ArrayRef<OpOperand *> some) {
  for (OpOperand &operand : op->getOpOperands())
    if (!llvm::is_contained(some, &operand) && failed(makeWhole(operand)))
      return failure();
  return success();
}
