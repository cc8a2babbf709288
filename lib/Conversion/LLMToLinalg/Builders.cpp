// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// How the words of the reference lowerings are spelled in upstream dialects.

#include "Builders.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

using namespace mlir;
using namespace llmir::reference;

template <typename FloatOp, typename IntegerOp>
static Value arithmetic(Scalars &s, Value a, Value b) {
  if (isa<FloatType>(a.getType()))
    return s.builder.create<FloatOp>(s.loc, a, b);
  return s.builder.create<IntegerOp>(s.loc, a, b);
}

Value Scalars::constant(double value) {
  return builder.create<arith::ConstantOp>(loc, builder.getF32FloatAttr(value));
}

Value Scalars::index(int64_t value) {
  return builder.create<arith::ConstantIndexOp>(loc, value);
}

Value Scalars::widen(Value value) {
  unsigned width = value.getType().getIntOrFloatBitWidth();
  if (width < 32)
    return builder.create<arith::ExtFOp>(loc, builder.getF32Type(), value);
  if (width > 32)
    return builder.create<arith::TruncFOp>(loc, builder.getF32Type(), value);
  return value;
}

Value Scalars::round(Value value, Type type) {
  unsigned width = type.getIntOrFloatBitWidth();
  if (width < 32)
    return builder.create<arith::TruncFOp>(loc, type, value);
  if (width > 32)
    return builder.create<arith::ExtFOp>(loc, type, value);
  return value;
}

Value Scalars::convert(Value value, Type type) {
  return value.getType() == type ? value : round(widen(value), type);
}

Value Scalars::toIndex(Value value) {
  return builder.create<arith::IndexCastOp>(loc, builder.getIndexType(), value);
}

Value Scalars::add(Value a, Value b) {
  return arithmetic<arith::AddFOp, arith::AddIOp>(*this, a, b);
}

Value Scalars::sub(Value a, Value b) {
  return arithmetic<arith::SubFOp, arith::SubIOp>(*this, a, b);
}

Value Scalars::mul(Value a, Value b) {
  return arithmetic<arith::MulFOp, arith::MulIOp>(*this, a, b);
}

Value Scalars::div(Value a, Value b) {
  return arithmetic<arith::DivFOp, arith::DivUIOp>(*this, a, b);
}

Value Scalars::rem(Value a, Value b) {
  return builder.create<arith::RemUIOp>(loc, a, b);
}

Value Scalars::dim(Value tensor, int64_t dim) {
  return builder.createOrFold<tensor::DimOp>(loc, tensor, dim);
}

Value Scalars::extract(Value tensor, ValueRange indices) {
  return builder.create<tensor::ExtractOp>(loc, tensor, indices);
}

Value Scalars::insert(Value element, Value tensor, ValueRange indices) {
  return builder.create<tensor::InsertOp>(loc, element, tensor, indices);
}

SmallVector<Value> Scalars::loop(Value begin, Value end, ValueRange carried,
                                 LoopBody body) {
  auto loop = builder.create<scf::ForOp>(loc, begin, end, index(1), carried);
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToStart(loop.getBody());
  SmallVector<Value> next =
      body(loop.getInductionVar(), loop.getRegionIterArgs());
  builder.create<scf::YieldOp>(loc, next);
  return loop.getResults();
}

SmallVector<Value> Scalars::loop(Value end, ValueRange carried, LoopBody body) {
  return loop(index(0), end, carried, body);
}

RankedTensorType llmir::reference::tensorType(Value value) {
  return cast<RankedTensorType>(value.getType());
}

Value llmir::reference::emptyLike(OpBuilder &builder, Location loc,
                                  RankedTensorType type, Value like) {
  SmallVector<Value> sizes;
  for (int64_t i = 0; i < type.getRank(); ++i)
    if (type.isDynamicDim(i))
      sizes.push_back(builder.create<tensor::DimOp>(loc, like, i));
  return builder.create<tensor::EmptyOp>(loc, type, sizes);
}

Value llmir::reference::emptyOf(OpBuilder &builder, Location loc,
                                ArrayRef<OpFoldResult> sizes, Type element) {
  return builder.create<tensor::EmptyOp>(loc, sizes, element);
}

Value llmir::reference::filledOf(OpBuilder &builder, Location loc,
                                 ArrayRef<OpFoldResult> sizes,
                                 TypedAttr value) {
  Value empty = emptyOf(builder, loc, sizes, value.getType());
  Value constant = builder.create<arith::ConstantOp>(loc, value);
  return builder.create<linalg::FillOp>(loc, constant, empty).getResult(0);
}

/// The dimensions of a tensor of rank `rank`, of which `dim` is two.
static SmallVector<ReassociationIndices> splitIndices(int64_t rank,
                                                      int64_t dim) {
  SmallVector<ReassociationIndices> indices;
  for (int64_t i = 0, next = 0; i < rank; ++i) {
    indices.push_back({next++});
    if (i == dim)
      indices.back().push_back(next++);
  }
  return indices;
}

Value llmir::reference::splitDim(OpBuilder &builder, Location loc, Value tensor,
                                 int64_t dim, int64_t parts) {
  RankedTensorType type = tensorType(tensor);
  SmallVector<int64_t> shape(type.getShape());
  if (!ShapedType::isDynamic(shape[dim]))
    shape[dim] /= parts;
  shape.insert(shape.begin() + dim, parts);
  return builder.create<tensor::ExpandShapeOp>(
      loc, type.clone(shape), tensor, splitIndices(type.getRank(), dim));
}

Value llmir::reference::mergeDims(OpBuilder &builder, Location loc,
                                  Value tensor, int64_t dim) {
  return builder.create<tensor::CollapseShapeOp>(
      loc, tensor, splitIndices(tensorType(tensor).getRank() - 1, dim));
}

Value llmir::reference::generic(OpBuilder &builder, Location loc,
                                ValueRange inputs, Value output,
                                ArrayRef<AffineMap> maps,
                                ArrayRef<utils::IteratorType> iterators,
                                Body body) {
  return builder
      .create<linalg::GenericOp>(
          loc, TypeRange(output.getType()), inputs, ValueRange(output), maps,
          iterators,
          [&](OpBuilder &nested, Location nestedLoc, ValueRange arguments) {
            Scalars scalars(nested, nestedLoc);
            nested.create<linalg::YieldOp>(nestedLoc, body(scalars, arguments));
          })
      .getResult(0);
}

Value llmir::reference::finishProduct(OpBuilder &builder, Location loc,
                                      Value sums, Value bias, Value residual,
                                      RankedTensorType type) {
  if (!bias && !residual && type == sums.getType())
    return sums;
  Maps maps(builder.getContext(), 2);
  SmallVector<Value> inputs = {sums};
  SmallVector<AffineMap> inputMaps = {maps.all()};
  if (bias) {
    inputs.push_back(bias);
    inputMaps.push_back(maps.dims({1}));
  }
  if (residual) {
    inputs.push_back(residual);
    inputMaps.push_back(maps.all());
  }
  inputMaps.push_back(maps.all());
  return generic(builder, loc, inputs, emptyLike(builder, loc, type, sums),
                 inputMaps,
                 {utils::IteratorType::parallel, utils::IteratorType::parallel},
                 [&](Scalars &s, ValueRange arguments) {
                   Value value = arguments[0];
                   for (Value term : arguments.drop_front().drop_back())
                     value = s.add(s.widen(term), value);
                   return s.round(value, type.getElementType());
                 });
}

AffineMap Maps::first(unsigned count) {
  SmallVector<AffineExpr> dims;
  for (unsigned dim = 0; dim < count; ++dim)
    dims.push_back(getAffineDimExpr(dim, context));
  return AffineMap::get(rank, /*symbolCount=*/0, dims, context);
}

AffineMap Maps::dims(ArrayRef<unsigned> dims) {
  SmallVector<AffineExpr> exprs;
  for (unsigned dim : dims)
    exprs.push_back(getAffineDimExpr(dim, context));
  return AffineMap::get(rank, 0, exprs, context);
}
