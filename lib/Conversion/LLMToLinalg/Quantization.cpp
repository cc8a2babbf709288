// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The reference meaning of quantized tensors: a value is its elements, a byte
// each or two to a byte, its scales, and its zero points. All arithmetic goes
// by groups, so the quantized dimension becomes two: the groups, and what is in
// one.

#include "Builders.h"
#include "Bundles.h"
#include "Panels.h"
#include "llmir/Dialect/LLM/LLM.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

using namespace mlir;
using namespace llmir::llm;
using namespace llmir::reference;

using utils::IteratorType;

namespace {

/// The tensors of a quantized value, in the order that LLMTypes.td gives.
struct Parts {
  Parts(OpBuilder &builder, Location loc, QuantizedTensorType valueType,
        ValueRange bundle)
      : type(valueType) {
    SmallVector<Value> tensors(bundle);
    if (type.isInPanels()) {
      tensors = unpackPanels(builder, loc, type, bundle.front());
      type = QuantizedTensorType::get(type.getContext(), type.getShape(),
                                      type.getStorage(), type.getScales(),
                                      type.getAxis(), type.getGroupSize(),
                                      type.getAsymmetric(), Packing::none);
    }
    elements = tensors[0];
    scales = tensors[1];
    if (type.getAsymmetric())
      zeroPoints = tensors[2];
  }

  QuantizedTensorType type;
  Value elements, scales, zeroPoints;
};

/// Loops over a tensor whose quantized dimension is two. The one inside a group
/// is the last, since reductions run along it.
struct GroupLoops {
  GroupLoops(QuantizedTensorType type)
      : maps(type.getContext(), type.getRank() + 1) {
    for (int64_t i = 0; i < type.getRank(); ++i) {
      dims.push_back(i);
      if (i == type.getAxis())
        dims.push_back(type.getRank());
    }
  }

  AffineMap elements() { return maps.dims(dims); }
  AffineMap groups() { return maps.first(maps.rank - 1); }
  SmallVector<IteratorType> parallel() {
    return SmallVector<IteratorType>(maps.rank, IteratorType::parallel);
  }
  SmallVector<IteratorType> reduction() {
    SmallVector<IteratorType> iterators = parallel();
    iterators.back() = IteratorType::reduction;
    return iterators;
  }

  Maps maps;
  SmallVector<unsigned> dims;
};

//===----------------------------------------------------------------------===//
// Integers
//===----------------------------------------------------------------------===//

Value integer(Scalars &s, int64_t value, unsigned width = 8) {
  return s.builder.create<arith::ConstantIntOp>(s.loc, value, width);
}

/// An element or a zero point as an i32.
Value extend(Scalars &s, QuantizedTensorType type, Value value) {
  Type i32 = s.builder.getI32Type();
  if (type.getStorage().isUnsigned())
    return s.builder.create<arith::ExtUIOp>(s.loc, i32, value);
  return s.builder.create<arith::ExtSIOp>(s.loc, i32, value);
}

Value toFloat(Scalars &s, Value value) {
  return s.builder.create<arith::SIToFPOp>(s.loc, s.builder.getF32Type(),
                                           value);
}

/// q - z, as an i32. `zeroPoint` may be null.
Value distance(Scalars &s, QuantizedTensorType type, Value element,
               Value zeroPoint) {
  Value q = extend(s, type, element);
  return zeroPoint ? s.sub(q, extend(s, type, zeroPoint)) : q;
}

/// A byte for each element.
Value unpack(OpBuilder &builder, Location loc, const Parts &parts) {
  QuantizedTensorType type = parts.type;
  if (type.getPacking() == Packing::none)
    return parts.elements;
  SmallVector<OpFoldResult> sizes =
      tensor::getMixedSizes(builder, loc, parts.elements);
  sizes[type.getAxis()] = builder.getIndexAttr(type.getAxisSize());
  Maps maps(builder.getContext(), type.getRank());
  return generic(
      builder, loc, {}, emptyOf(builder, loc, sizes, builder.getI8Type()),
      {maps.all()},
      SmallVector<IteratorType>(type.getRank(), IteratorType::parallel),
      [&](Scalars &s, ValueRange) -> Value {
        SmallVector<Value> at;
        for (int64_t i = 0; i < type.getRank(); ++i)
          at.push_back(s.builder.create<linalg::IndexOp>(loc, i));
        Value &i = at[type.getAxis()];
        Value isSecond = s.builder.create<arith::CmpIOp>(
            loc, arith::CmpIPredicate::ne, s.rem(i, s.index(2)), s.index(0));
        i = s.div(i, s.index(2));
        Value byte = s.extract(parts.elements, at), four = integer(s, 4);
        Value first = s.builder.create<arith::ShLIOp>(loc, byte, four);
        // The chosen half is the upper one now, and comes down with its sign.
        Value chosen =
            s.builder.create<arith::SelectOp>(loc, isSecond, byte, first);
        if (type.getStorage().isUnsigned())
          return s.builder.create<arith::ShRUIOp>(loc, chosen, four);
        return s.builder.create<arith::ShRSIOp>(loc, chosen, four);
      });
}

/// The reverse, if elements are packed.
Value pack(OpBuilder &builder, Location loc, QuantizedTensorType type,
           Value bytes) {
  if (type.getPacking() == Packing::none)
    return bytes;
  int64_t axis = type.getAxis(), rank = type.getRank();
  Value pairs = splitDim(builder, loc, bytes, axis, type.getAxisSize() / 2);
  SmallVector<OpFoldResult> sizes = tensor::getMixedSizes(builder, loc, pairs);
  sizes[axis + 1] = builder.getIndexAttr(1);
  auto half = [&](int64_t which) -> Value {
    SmallVector<OpFoldResult> offsets(rank + 1, builder.getIndexAttr(0)),
        strides(rank + 1, builder.getIndexAttr(1));
    offsets[axis + 1] = builder.getIndexAttr(which);
    return builder.create<tensor::ExtractSliceOp>(
        loc, type.getElementsType(), pairs, offsets, sizes, strides);
  };
  SmallVector<OpFoldResult> outSizes = sizes;
  outSizes.erase(outSizes.begin() + axis + 1);
  Maps maps(builder.getContext(), rank);
  return generic(builder, loc, {half(0), half(1)},
                 emptyOf(builder, loc, outSizes, builder.getI8Type()),
                 {maps.all(), maps.all(), maps.all()},
                 SmallVector<IteratorType>(rank, IteratorType::parallel),
                 [&](Scalars &s, ValueRange arguments) -> Value {
                   Value low = s.builder.create<arith::AndIOp>(
                       loc, arguments[0], integer(s, 15));
                   Value high = s.builder.create<arith::ShLIOp>(
                       loc, arguments[1], integer(s, 4));
                   return s.builder.create<arith::OrIOp>(loc, low, high);
                 });
}

//===----------------------------------------------------------------------===//
// Quantizing
//===----------------------------------------------------------------------===//

/// A NaN becomes the lower bound: no integer may be made of one.
Value clamp(Scalars &s, Value x, double low, double high) {
  x = s.builder.create<arith::MaxNumFOp>(s.loc, x, s.constant(low));
  return s.builder.create<arith::MinNumFOp>(s.loc, x, s.constant(high));
}

/// Rounds to the nearest integer, ties to even, what is far below 2^22: at 1.5
/// * 2^23, which is added and taken away, neighbours are 1 apart. There are
/// CPUs without an instruction for it.
Value roundToInteger(Scalars &s, Value x) {
  Value shift = s.constant(12582912.0);
  return s.sub(s.add(x, shift), shift);
}

/// x / scale, or 0 if the scale is 0.
Value quotient(Scalars &s, Value x, Value scale) {
  Value isZero = s.builder.create<arith::CmpFOp>(
      s.loc, arith::CmpFPredicate::OEQ, scale, s.constant(0.0));
  return s.builder.create<arith::SelectOp>(s.loc, isZero, s.constant(0.0),
                                           s.div(x, scale));
}

Value toByte(Scalars &s, Value x) {
  Value word =
      s.builder.create<arith::FPToSIOp>(s.loc, s.builder.getI32Type(), x);
  return s.builder.create<arith::TruncIOp>(s.loc, s.builder.getI8Type(), word);
}

/// Quantizes one tensor.
class Quantizer {
public:
  Quantizer(OpBuilder &builder, Location loc, Value input,
            QuantizedTensorType type)
      : builder(builder), loc(loc), type(type), loops(type) {
    auto known = RankedTensorType::get(type.getShape(),
                                       tensorType(input).getElementType());
    if (input.getType() != known)
      input = builder.create<tensor::CastOp>(loc, known, input);
    grouped = splitDim(builder, loc, input, type.getAxis(), type.getGroups());
    sizes = tensor::getMixedSizes(builder, loc, grouped);
    groupSizes = sizes;
    groupSizes.erase(groupSizes.begin() + type.getAxis() + 1);
  }

  SmallVector<Value> quantize() {
    return type.getAsymmetric() ? quantizeAsymmetric() : quantizeSymmetric();
  }

private:
  SmallVector<Value> quantizeSymmetric() {
    double highest = type.getMax();
    Value largest =
        reduce<arith::MaximumFOp>([&](Scalars &s, Value x) -> Value {
          return s.builder.create<math::AbsFOp>(loc, x);
        });
    Value scales =
        each(largest, type.getScales(), [&](Scalars &s, ValueRange arguments) {
          return s.round(s.div(arguments[0], s.constant(highest)),
                         type.getScales());
        });
    Value bytes = elements(scales, [&](Scalars &s, ValueRange arguments) {
      Value x = quotient(s, s.widen(arguments[0]), s.widen(arguments[1]));
      return toByte(s, roundToInteger(s, clamp(s, x, -highest, highest)));
    });
    return {pack(builder, loc, type, bytes), scales};
  }

  SmallVector<Value> quantizeAsymmetric() {
    double lowest = type.getMin(), highest = type.getMax();
    auto self = [](Scalars &, Value x) { return x; };
    Value low = reduce<arith::MinimumFOp>(self);
    Value high = reduce<arith::MaximumFOp>(self);
    Value scales = each(
        {low, high}, type.getScales(), [&](Scalars &s, ValueRange arguments) {
          Value range = s.sub(arguments[1], arguments[0]);
          return s.round(s.div(range, s.constant(highest - lowest)),
                         type.getScales());
        });
    Value zeroPoints = each(
        {low, scales}, builder.getI8Type(),
        [&](Scalars &s, ValueRange arguments) {
          Value x = s.sub(s.constant(lowest),
                          quotient(s, arguments[0], s.widen(arguments[1])));
          return toByte(s, roundToInteger(s, clamp(s, x, lowest, highest)));
        });
    Value bytes =
        elements({scales, zeroPoints}, [&](Scalars &s, ValueRange arguments) {
          Value x = quotient(s, s.widen(arguments[0]), s.widen(arguments[1]));
          // Far beyond all integers there are, and where rounding is exact.
          x = roundToInteger(s, clamp(s, x, -65536.0, 65536.0));
          x = s.add(x, toFloat(s, extend(s, type, arguments[2])));
          return toByte(s, clamp(s, x, lowest, highest));
        });
    return {pack(builder, loc, type, bytes), scales, zeroPoints};
  }

  /// Combines f of the numbers of each group, and 0.
  template <typename Op>
  Value reduce(llvm::function_ref<Value(Scalars &, Value)> f) {
    Value init =
        filledOf(builder, loc, groupSizes, builder.getF32FloatAttr(0.0));
    return generic(builder, loc, grouped, init,
                   {loops.elements(), loops.groups()}, loops.reduction(),
                   [&](Scalars &s, ValueRange arguments) -> Value {
                     return s.builder.create<Op>(loc, arguments[1],
                                                 f(s, s.widen(arguments[0])));
                   });
  }

  /// Computes f once a group.
  Value each(ValueRange inputs, Type element, Body f) {
    Maps maps(type.getContext(), type.getRank());
    return generic(
        builder, loc, inputs, emptyOf(builder, loc, groupSizes, element),
        SmallVector<AffineMap>(inputs.size() + 1, maps.all()),
        SmallVector<IteratorType>(type.getRank(), IteratorType::parallel), f);
  }

  /// Computes f of each number and those of its group.
  Value elements(ValueRange groupNumbers, Body f) {
    SmallVector<Value> inputs = {grouped};
    SmallVector<AffineMap> maps = {loops.elements()};
    for (Value numbers : groupNumbers) {
      inputs.push_back(numbers);
      maps.push_back(loops.groups());
    }
    maps.push_back(loops.elements());
    Value made = generic(builder, loc, inputs,
                         emptyOf(builder, loc, sizes, builder.getI8Type()),
                         maps, loops.parallel(), f);
    return mergeDims(builder, loc, made, type.getAxis());
  }

  OpBuilder &builder;
  Location loc;
  QuantizedTensorType type;
  GroupLoops loops;
  /// The input by groups, its sizes, and those of the scales.
  Value grouped;
  SmallVector<OpFoldResult> sizes, groupSizes;
};

struct ConvertQuantize : OneToNOpConversionPattern<QuantizeOp> {
  using OneToNOpConversionPattern::OneToNOpConversionPattern;

  LogicalResult
  matchAndRewrite(QuantizeOp op, OpAdaptor adaptor,
                  OneToNPatternRewriter &rewriter) const override {
    Quantizer quantizer(rewriter, op.getLoc(), op.getInput(),
                        op.getResult().getType());
    rewriter.replaceOp(op, quantizer.quantize(), adaptor.getResultMapping());
    return success();
  }
};

/// A parameter is quantized when it is packed in panels, which then are bytes
/// of a known type, and otherwise in the program.
struct ConvertParameter : OneToNOpConversionPattern<ParameterOp> {
  using OneToNOpConversionPattern::OneToNOpConversionPattern;

  LogicalResult
  matchAndRewrite(ParameterOp op, OpAdaptor adaptor,
                  OneToNPatternRewriter &rewriter) const override {
    auto type = dyn_cast<QuantizedTensorType>(op.getResult().getType());
    if (!type)
      return failure();
    bool inPanels = type.isInPanels();
    auto tensor = cast<ParameterOp>(rewriter.clone(*op));
    SmallVector<Value> bundle = {tensor.getResult()};
    if (inPanels) {
      tensor.getResult().setType(type.getPanelsType());
      tensor.setPanelsType(type);
    } else {
      // In f32, which every file's numbers are exact in.
      tensor.getResult().setType(
          RankedTensorType::get(type.getShape(), rewriter.getF32Type()));
      bundle =
          Quantizer(rewriter, op.getLoc(), bundle.front(), type).quantize();
    }
    rewriter.replaceOp(op, bundle, adaptor.getResultMapping());
    return success();
  }
};

/// Kernels read panels.
struct ConvertCallKernel : OneToNOpConversionPattern<CallKernelOp> {
  using OneToNOpConversionPattern::OneToNOpConversionPattern;

  LogicalResult
  matchAndRewrite(CallKernelOp op, OpAdaptor adaptor,
                  OneToNPatternRewriter &rewriter) const override {
    if (!adaptor.getOperandMapping().hasNonIdentityConversion())
      return failure();
    SmallVector<Value> inputs, outputs;
    for (ValueRange tensors : adaptor.getInputs())
      inputs.append(tensors.begin(), tensors.end());
    for (ValueRange tensors : adaptor.getOutputs())
      outputs.append(tensors.begin(), tensors.end());
    auto call = rewriter.create<CallKernelOp>(op.getLoc(), op.getKernel(),
                                              inputs, outputs);
    call.getProperties() = op.getProperties();
    rewriter.replaceOp(op, call.getResults(), adaptor.getResultMapping());
    return success();
  }
};

//===----------------------------------------------------------------------===//
// Using quantized tensors
//===----------------------------------------------------------------------===//

struct ConvertDequantize : OneToNOpConversionPattern<DequantizeOp> {
  using OneToNOpConversionPattern::OneToNOpConversionPattern;

  LogicalResult
  matchAndRewrite(DequantizeOp op, OpAdaptor adaptor,
                  OneToNPatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    auto type = cast<RankedTensorType>(op.getResult().getType());
    Parts parts(rewriter, loc, op.getInput().getType(), adaptor.getInput());
    int64_t axis = parts.type.getAxis();
    GroupLoops loops(parts.type);
    Value grouped = splitDim(rewriter, loc, unpack(rewriter, loc, parts), axis,
                             parts.type.getGroups());
    SmallVector<Value> inputs = {grouped, parts.scales};
    SmallVector<AffineMap> maps = {loops.elements(), loops.groups()};
    if (parts.zeroPoints) {
      inputs.push_back(parts.zeroPoints);
      maps.push_back(loops.groups());
    }
    maps.push_back(loops.elements());
    Value numbers = generic(
        rewriter, loc, inputs,
        emptyOf(rewriter, loc, tensor::getMixedSizes(rewriter, loc, grouped),
                type.getElementType()),
        maps, loops.parallel(), [&](Scalars &s, ValueRange arguments) {
          Value q = distance(s, parts.type, arguments[0],
                             parts.zeroPoints ? arguments[2] : Value());
          return s.round(s.mul(toFloat(s, q), s.widen(arguments[1])),
                         type.getElementType());
        });
    Value result = mergeDims(rewriter, loc, numbers, axis);
    if (result.getType() != type)
      result = rewriter.create<tensor::CastOp>(loc, type, result);
    rewriter.replaceOp(op, result, adaptor.getResultMapping());
    return success();
  }
};

/// A lookup touches few rows of its table, so each number is read where it is.
struct ConvertLookup : OneToNOpConversionPattern<EmbeddingOp> {
  using OneToNOpConversionPattern::OneToNOpConversionPattern;

  LogicalResult
  matchAndRewrite(EmbeddingOp op, OpAdaptor adaptor,
                  OneToNPatternRewriter &rewriter) const override {
    auto table = dyn_cast<QuantizedTensorType>(op.getTable().getType());
    if (!table)
      return failure();
    Location loc = op.getLoc();
    auto type = cast<RankedTensorType>(op.getResult().getType());
    std::optional<Parts> parts;
    Value elements;
    if (!table.isInPanels()) {
      parts.emplace(rewriter, loc, table, adaptor.getTable());
      elements = unpack(rewriter, loc, *parts);
    }
    SmallVector<OpFoldResult> sizes = {
        tensor::getMixedSize(rewriter, loc, op.getIndices(), 0),
        rewriter.getIndexAttr(table.getShape()[1])};
    Maps maps(rewriter.getContext(), 2);
    Value rows = generic(
        rewriter, loc, op.getIndices(),
        emptyOf(rewriter, loc, sizes, type.getElementType()),
        {maps.first(1), maps.all()},
        {IteratorType::parallel, IteratorType::parallel},
        [&](Scalars &s, ValueRange arguments) {
          Value row = s.toIndex(arguments[0]);
          Value column = s.builder.create<linalg::IndexOp>(loc, 1);
          QuantizedNumber number;
          if (table.isInPanels()) {
            number = numberInPanels(s, table, adaptor.getTable().front(), row,
                                    column);
          } else {
            Value group =
                s.div(column, s.index(table.getAxisSize() / table.getGroups()));
            number = {s.extract(elements, {row, column}),
                      s.extract(parts->scales, {row, group}),
                      parts->zeroPoints
                          ? s.extract(parts->zeroPoints, {row, group})
                          : Value()};
          }
          Value q = distance(s, table, number.element, number.zeroPoint);
          return s.round(s.mul(toFloat(s, q), s.widen(number.scale)),
                         type.getElementType());
        });
    if (rows.getType() != type)
      rows = rewriter.create<tensor::CastOp>(loc, type, rows);
    rewriter.replaceOp(op, rows, adaptor.getResultMapping());
    return success();
  }
};

/// One side of a product: its numbers by groups, and where the scale and the
/// zero point of a group are.
struct Factor {
  Factor(OpBuilder &builder, Location loc, Value value, ValueRange tensors,
         int64_t groups, int64_t inputs) {
    if (auto type = dyn_cast<QuantizedTensorType>(value.getType())) {
      parts.emplace(builder, loc, type, tensors);
      value = unpack(builder, loc, *parts);
    }
    // The other side may know more about the number of inputs.
    auto known =
        RankedTensorType::get({tensorType(value).getDimSize(0), inputs},
                              tensorType(value).getElementType());
    if (value.getType() != known)
      value = builder.create<tensor::CastOp>(loc, known, value);
    grouped = splitDim(builder, loc, value, 1, groups);
  }

  Value zeroPoints() const { return parts ? parts->zeroPoints : Value(); }

  /// Where `loops` find the numbers of a group; a whole row has one.
  AffineMap groupMap(Maps &loops, unsigned row) const {
    if (parts->type.getGroups() != 1)
      return loops.dims({row, 2});
    return AffineMap::get(loops.rank, 0,
                          {getAffineDimExpr(row, loops.context),
                           getAffineConstantExpr(0, loops.context)},
                          loops.context);
  }

  std::optional<Parts> parts;
  Value grouped;
};

struct ConvertQuantizedMatmul : OneToNOpConversionPattern<QuantizedMatmulOp> {
  using OneToNOpConversionPattern::OneToNOpConversionPattern;

  LogicalResult
  matchAndRewrite(QuantizedMatmulOp op, OpAdaptor adaptor,
                  OneToNPatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    auto type = cast<RankedTensorType>(op.getResult().getType());
    auto quantized = dyn_cast<QuantizedTensorType>(op.getInput().getType());
    QuantizedTensorType weightType = op.getWeight().getType();
    int64_t groups = weightType.getGroups(), inputs = weightType.getAxisSize();
    if (quantized && groups == 1)
      groups = quantized.getGroups();
    if (ShapedType::isDynamic(inputs))
      inputs = quantized ? quantized.getAxisSize()
                         : tensorType(op.getInput()).getDimSize(1);
    Factor input(rewriter, loc, op.getInput(), adaptor.getInput(), groups,
                 inputs);
    Factor weight(rewriter, loc, op.getWeight(), adaptor.getWeight(), groups,
                  inputs);

    SmallVector<OpFoldResult> sizes = {
        tensor::getMixedSize(rewriter, loc, input.grouped, 0),
        tensor::getMixedSize(rewriter, loc, weight.grouped, 0),
        rewriter.getIndexAttr(groups)};
    Value sums = scaleGroups(rewriter, loc, input, weight, sizes,
                             sumGroups(rewriter, loc, input, weight, sizes));
    auto sumType =
        RankedTensorType::get(type.getShape(), rewriter.getF32Type());
    if (sums.getType() != sumType)
      sums = rewriter.create<tensor::CastOp>(loc, sumType, sums);
    rewriter.replaceOp(op,
                       finishProduct(rewriter, loc, sums, op.getBias(),
                                     op.getResidual(), type),
                       adaptor.getResultMapping());
    return success();
  }

private:
  /// The sums inside groups [T, N, groups], of i32 if both sides are integers.
  static Value sumGroups(OpBuilder &builder, Location loc, const Factor &input,
                         const Factor &weight, ArrayRef<OpFoldResult> sizes) {
    TypedAttr zero = input.parts ? TypedAttr(builder.getI32IntegerAttr(0))
                                 : TypedAttr(builder.getF32FloatAttr(0.0));
    Maps loops(builder.getContext(), 4);
    SmallVector<Value> inputs = {input.grouped, weight.grouped};
    SmallVector<AffineMap> maps = {loops.dims({0, 2, 3}),
                                   loops.dims({1, 2, 3})};
    for (auto [row, factor] : {std::pair(0, &input), std::pair(1, &weight)})
      if (factor->zeroPoints()) {
        inputs.push_back(factor->zeroPoints());
        maps.push_back(factor->groupMap(loops, row));
      }
    maps.push_back(loops.first(3));
    return generic(
        builder, loc, inputs, filledOf(builder, loc, sizes, zero), maps,
        {IteratorType::parallel, IteratorType::parallel, IteratorType::parallel,
         IteratorType::reduction},
        [&](Scalars &s, ValueRange arguments) {
          ValueRange zeroPoints = arguments.drop_front(2).drop_back();
          auto number = [&](const Factor &factor, Value element) {
            if (!factor.parts)
              return s.widen(element);
            Value zeroPoint;
            if (factor.zeroPoints()) {
              zeroPoint = zeroPoints.front();
              zeroPoints = zeroPoints.drop_front();
            }
            return distance(s, factor.parts->type, element, zeroPoint);
          };
          Value x = number(input, arguments[0]);
          Value w = number(weight, arguments[1]);
          return s.add(arguments.back(),
                       s.mul(x, input.parts ? w : toFloat(s, w)));
        });
  }

  /// The sums [T, N] of groups, scaled.
  static Value scaleGroups(OpBuilder &builder, Location loc,
                           const Factor &input, const Factor &weight,
                           ArrayRef<OpFoldResult> sizes, Value groupSums) {
    Maps loops(builder.getContext(), 3);
    SmallVector<Value> inputs = {groupSums, weight.parts->scales};
    SmallVector<AffineMap> maps = {loops.all(), weight.groupMap(loops, 1)};
    if (input.parts) {
      inputs.push_back(input.parts->scales);
      maps.push_back(input.groupMap(loops, 0));
    }
    maps.push_back(loops.first(2));
    Value init =
        filledOf(builder, loc, sizes.drop_back(), builder.getF32FloatAttr(0.0));
    return generic(builder, loc, inputs, init, maps,
                   {IteratorType::parallel, IteratorType::parallel,
                    IteratorType::reduction},
                   [&](Scalars &s, ValueRange arguments) {
                     Value sum = arguments[0], scale = s.widen(arguments[1]);
                     if (input.parts) {
                       sum = toFloat(s, sum);
                       scale = s.mul(s.widen(arguments[2]), scale);
                     }
                     return s.add(arguments.back(), s.mul(scale, sum));
                   });
  }
};

} // namespace

SmallVector<Value> llmir::reference::quantizeTensor(OpBuilder &builder,
                                                    Location loc, Value input,
                                                    QuantizedTensorType type) {
  return Quantizer(builder, loc, input, type).quantize();
}

Value llmir::reference::integerOf(Scalars &s, QuantizedTensorType type,
                                  Value element, Value zeroPoint) {
  return toFloat(s, distance(s, type, element, zeroPoint));
}

void llmir::reference::populateQuantizationConversion(
    OneToNTypeConverter &converter, RewritePatternSet &patterns) {
  converter.addConversion(
      [](QuantizedTensorType type, SmallVectorImpl<Type> &types) {
        if (type.isInPanels()) {
          types.push_back(type.getPanelsType());
          return success();
        }
        types.append({type.getElementsType(), type.getScalesType()});
        if (type.getAsymmetric())
          types.push_back(type.getZeroPointsType());
        return success();
      });
  patterns.add<ConvertCallKernel, ConvertDequantize, ConvertLookup,
               ConvertParameter, ConvertQuantize, ConvertQuantizedMatmul>(
      converter, patterns.getContext());
}
