// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The reference meaning of the ops that compute on tensors alone. Arithmetic is
// in f32 and rounds once, at the end. This is also the code that the CPU runs
// for whatever has no kernel, so each op is written as few, row-wise generics.

#include "Attention.h"
#include "Builders.h"
#include "Patterns.h"
#include "llmir/Conversion/Passes.h"
#include "llmir/Dialect/LLM/LLM.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

using namespace mlir;
using namespace llmir::llm;
using namespace llmir::reference;

using utils::IteratorType;

namespace {

struct ConvertEmbedding : OpRewritePattern<EmbeddingOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(EmbeddingOp op,
                                PatternRewriter &rewriter) const override {
    if (isa<QuantizedTensorType>(op.getTable().getType()))
      return rewriter.notifyMatchFailure(op, "is converted with its table");
    Location loc = op.getLoc();
    auto type = cast<RankedTensorType>(op.getResult().getType());
    if (hasPackedTable(op)) {
      rewriter.replaceOp(op, gatherFromPanels(rewriter, op));
      return success();
    }
    SmallVector<Value> sizes;
    if (type.isDynamicDim(0))
      sizes.push_back(rewriter.create<tensor::DimOp>(loc, op.getIndices(), 0));
    if (type.isDynamicDim(1))
      sizes.push_back(rewriter.create<tensor::DimOp>(loc, op.getTable(), 1));
    Value empty = rewriter.create<tensor::EmptyOp>(loc, type, sizes);
    rewriter.replaceOp(op,
                       lookUp(rewriter, op, empty, [&](Scalars &s, Value row) {
                         return SmallVector<Value>{
                             row, s.builder.create<linalg::IndexOp>(loc, 1)};
                       }));
    return success();
  }

private:
  /// Fills `empty` with what the table has at the indices that `at` makes of a
  /// row's number; with 0 where a part of a table lacks the row.
  static Value
  lookUp(PatternRewriter &rewriter, EmbeddingOp op, Value empty,
         llvm::function_ref<SmallVector<Value>(Scalars &, Value)> at) {
    Location loc = op.getLoc();
    auto type = tensorType(empty);
    unsigned rank = type.getRank();
    Maps maps(rewriter.getContext(), rank);
    return generic(rewriter, loc, op.getIndices(), empty,
                   {maps.first(1), maps.all()},
                   SmallVector<IteratorType>(rank, IteratorType::parallel),
                   [&](Scalars &s, ValueRange arguments) {
                     Value row = s.toIndex(arguments[0]), isHere;
                     if (op.getFirst()) {
                       row = s.sub(row, op.getFirst());
                       // Below the first row, a number without sign is huge.
                       isHere = s.builder.create<arith::CmpIOp>(
                           loc, arith::CmpIPredicate::ult, row, rows(s, op));
                       row = s.builder.create<arith::SelectOp>(loc, isHere, row,
                                                               s.index(0));
                     }
                     Value x = s.widen(s.extract(op.getTable(), at(s, row)));
                     if (isHere)
                       x = s.builder.create<arith::SelectOp>(loc, isHere, x,
                                                             s.constant(0.0));
                     return s.round(x, type.getElementType());
                   });
  }

  /// How many rows the table has; those that pad panels are 0.
  static Value rows(Scalars &s, EmbeddingOp op) {
    Value rows = s.dim(op.getTable(), 0);
    return hasPackedTable(op) ? s.mul(rows, s.index(kPanelWidth)) : rows;
  }

  /// Rows whose numbers, or pairs of them, lie a panel's width apart.
  static Value gatherFromPanels(PatternRewriter &rewriter, EmbeddingOp op) {
    Location loc = op.getLoc();
    auto type = tensorType(op.getResult());
    int64_t columns = type.getDimSize(1);
    bool inPairs = tensorType(op.getTable()).getRank() > 3;
    // Both numbers of a pair are read at once.
    bool byPairs = inPairs && columns % 2 == 0;
    SmallVector<int64_t> shape = {type.getDimSize(0), columns};
    if (byPairs)
      shape = {type.getDimSize(0), columns / 2, 2};
    SmallVector<Value> sizes;
    if (type.isDynamicDim(0))
      sizes.push_back(rewriter.create<tensor::DimOp>(loc, op.getIndices(), 0));
    Value empty = rewriter.create<tensor::EmptyOp>(
        loc, RankedTensorType::get(shape, type.getElementType()), sizes);
    Value rows = lookUp(rewriter, op, empty, [&](Scalars &s, Value row) {
      Value panel = s.div(row, s.index(kPanelWidth));
      Value lane = s.rem(row, s.index(kPanelWidth));
      Value first = s.builder.create<linalg::IndexOp>(loc, 1);
      if (!inPairs)
        return SmallVector<Value>{panel, first, lane};
      if (byPairs)
        return SmallVector<Value>{panel, first, lane,
                                  s.builder.create<linalg::IndexOp>(loc, 2)};
      return SmallVector<Value>{panel, s.div(first, s.index(2)), lane,
                                s.rem(first, s.index(2))};
    });
    if (!byPairs)
      return rows;
    return rewriter.create<tensor::CollapseShapeOp>(
        loc, type, rows, ArrayRef<ReassociationIndices>{{0}, {1, 2}});
  }
};

/// The epilogue of a product, as ops of its own.
template <typename Product>
Value activateProduct(PatternRewriter &rewriter, Product op, Value sum) {
  Location loc = op.getLoc();
  auto kind = op.getActivation().value_or(ActivationKind::identity);
  if (!op.getGated())
    return rewriter.create<ActivationOp>(loc, sum.getType(), kind, sum,
                                         /*multiplier=*/Value());
  OpFoldResult zero = rewriter.getIndexAttr(0), one = rewriter.getIndexAttr(1);
  SmallVector<OpFoldResult> sizes = tensor::getMixedSizes(rewriter, loc, sum);
  int64_t columns = tensorType(op.getResult()).getDimSize(1);
  sizes[1] =
      ShapedType::isDynamic(columns)
          ? OpFoldResult(rewriter.createOrFold<arith::DivUIOp>(
                loc, getValueOrCreateConstantIndexOp(rewriter, loc, sizes[1]),
                rewriter.create<arith::ConstantIndexOp>(loc, 2)))
          : OpFoldResult(rewriter.getIndexAttr(columns));
  auto type = RankedTensorType::get(tensorType(op.getResult()).getShape(),
                                    rewriter.getF32Type());
  auto half = [&](OpFoldResult column) -> Value {
    return rewriter.create<tensor::ExtractSliceOp>(
        loc, type, sum, ArrayRef<OpFoldResult>{zero, column}, sizes,
        ArrayRef<OpFoldResult>{one, one});
  };
  return rewriter.create<ActivationOp>(loc, type, kind, half(zero),
                                       half(sizes[1]));
}

/// The rows of a product's weight, or of both matrices of a gated one's.
template <typename Product> int64_t rowsOf(Product op) {
  int64_t rows = tensorType(op.getResult()).getDimSize(1);
  return op.getGated() && !ShapedType::isDynamic(rows) ? 2 * rows : rows;
}

/// Takes what surrounds a product of integers off it. What is left is a
/// conversion of one value to many.
struct UnfuseQuantizedMatmul : OpRewritePattern<QuantizedMatmulOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(QuantizedMatmulOp op,
                                PatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    auto type = cast<RankedTensorType>(op.getResult().getType());
    Value input = op.getInput();
    if (op.getNorm()) {
      Type element =
          op.getInputType() ? rewriter.getF32Type() : rewriter.getBF16Type();
      input =
          rewriter.create<RMSNormOp>(loc, tensorType(input).clone(element),
                                     input, op.getNorm(), op.getEpsilonAttr());
      if (op.getInputType())
        input = rewriter.create<QuantizeOp>(loc, *op.getInputType(), input);
    }
    bool activates = op.getActivation() || op.getGated();
    auto bare = cast<QuantizedMatmulOp>(rewriter.clone(*op));
    bare.getInputMutable().assign(input);
    bare.getNormMutable().clear();
    bare.removeEpsilonAttr();
    bare.removeInputTypeAttr();
    bare.removeActivationAttr();
    bare.setGated(false);
    Value result = bare.getResult();
    if (activates) {
      bare.getResidualMutable().clear();
      result.setType(RankedTensorType::get({type.getDimSize(0), rowsOf(op)},
                                           rewriter.getF32Type()));
      result =
          finishProduct(rewriter, loc, activateProduct(rewriter, op, result),
                        /*bias=*/Value(), op.getResidual(), type);
    }
    rewriter.replaceOp(op, result);
    return success();
  }
};

/// The product of an unpacked weight. Packed ones are for kernels, which have
/// this as their reference.
struct ConvertLinear : OpRewritePattern<LinearOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(LinearOp op,
                                PatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    auto type = cast<RankedTensorType>(op.getResult().getType());
    Value input = op.getInput(), weight = op.getWeight();
    if (op.getNorm())
      input = rewriter.create<RMSNormOp>(
          loc, tensorType(input).clone(tensorType(weight).getElementType()),
          input, op.getNorm(), op.getEpsilonAttr());
    if (hasPackedWeight(op))
      weight = unpack(rewriter, op);
    auto sumType = RankedTensorType::get({type.getDimSize(0), rowsOf(op)},
                                         rewriter.getF32Type());
    SmallVector<Value> sizes;
    if (sumType.isDynamicDim(0))
      sizes.push_back(rewriter.create<tensor::DimOp>(loc, input, 0));
    if (sumType.isDynamicDim(1))
      sizes.push_back(rewriter.create<tensor::DimOp>(loc, weight, 0));
    Value empty = rewriter.create<tensor::EmptyOp>(loc, sumType, sizes);
    Value zero = Scalars(rewriter, loc).constant(0.0);
    Value init = rewriter.create<linalg::FillOp>(loc, zero, empty).getResult(0);
    Maps product(getContext(), 3);
    Value sum = generic(
        rewriter, loc, {input, weight}, init,
        {product.dims({0, 2}), product.dims({1, 2}), product.dims({0, 1})},
        {IteratorType::parallel, IteratorType::parallel,
         IteratorType::reduction},
        [&](Scalars &s, ValueRange arguments) {
          return s.add(arguments[2],
                       s.mul(s.widen(arguments[0]), s.widen(arguments[1])));
        });
    Value bias = op.getBias();
    if (op.getActivation() || op.getGated()) {
      sum = finishProduct(rewriter, loc, sum, bias, /*residual=*/Value(),
                          sumType);
      sum = activateProduct(rewriter, op, sum);
      bias = Value();
    }
    rewriter.replaceOp(
        op, finishProduct(rewriter, loc, sum, bias, op.getResidual(), type));
    return success();
  }

private:
  /// Gathers the matrix [N, K] from its panels.
  static Value unpack(PatternRewriter &rewriter, LinearOp op) {
    Location loc = op.getLoc();
    MLIRContext *context = rewriter.getContext();
    auto panels = tensorType(op.getWeight());
    auto type = RankedTensorType::get(
        {rowsOf(op), tensorType(op.getInput()).getDimSize(1)},
        panels.getElementType());
    bool pairs = panels.getElementType().isBF16();
    int64_t width = panels.getShape().drop_back(pairs).back();
    Value empty = rewriter.create<tensor::EmptyOp>(loc, type, ValueRange());
    Maps maps(context, 2);
    return generic(rewriter, loc, {}, empty, {maps.all()},
                   {IteratorType::parallel, IteratorType::parallel},
                   [&](Scalars &s, ValueRange) -> Value {
                     Value n = s.builder.create<linalg::IndexOp>(loc, 0);
                     Value k = s.builder.create<linalg::IndexOp>(loc, 1);
                     auto index = [&](int64_t value) -> Value {
                       return s.builder.create<arith::ConstantIndexOp>(loc,
                                                                       value);
                     };
                     SmallVector<Value> indices;
                     Value row = n;
                     if (op.getGated()) {
                       // Which of the two matrices, and which of its rows.
                       Value half = index(type.getDimSize(0) / 2);
                       row = s.rem(n, half);
                       indices = {s.div(row, index(width)), s.div(n, half)};
                     } else {
                       indices = {s.div(row, index(width))};
                     }
                     indices.push_back(pairs ? s.div(k, index(2)) : k);
                     indices.push_back(s.rem(row, index(width)));
                     if (pairs)
                       indices.push_back(s.rem(k, index(2)));
                     return s.builder.create<tensor::ExtractOp>(
                         loc, op.getWeight(), indices);
                   });
  }
};

/// Cosines and sines of positions times frequencies, all in f64. The program
/// holds the frequencies only: a table of a long context is megabytes.
struct ConvertRopeTable : OpRewritePattern<RopeTableOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(RopeTableOp op,
                                PatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    auto type = cast<RankedTensorType>(op.getTable().getType());
    Value frequencies = op.getFrequencies();
    double factor = 1.0;
    if (frequencies) {
      if (op.getAttentionFactor())
        factor = op.getAttentionFactor()->convertToDouble();
    } else {
      RopeFrequencies rope = computeRopeFrequencies(
          type, op.getTheta()->convertToDouble(), op.getScalingAttr());
      factor = rope.attentionFactor;
      auto frequencyType =
          RankedTensorType::get({type.getDimSize(2)}, rewriter.getF64Type());
      frequencies = rewriter.create<arith::ConstantOp>(
          loc, DenseElementsAttr::get(frequencyType,
                                      ArrayRef<double>(rope.frequencies)));
    }

    auto rowType = RankedTensorType::get(
        {type.getDimSize(0), type.getDimSize(2)}, type.getElementType());
    SmallVector<Value> length;
    if (op.getLength())
      length.push_back(op.getLength());
    SmallVector<OpFoldResult> strides(3, rewriter.getIndexAttr(1)),
        sizes = {rewriter.getIndexAttr(type.getDimSize(0)),
                 rewriter.getIndexAttr(1),
                 rewriter.getIndexAttr(type.getDimSize(2))};
    if (op.getLength())
      sizes[0] = op.getLength();
    Maps maps(getContext(), 2);
    Value table = rewriter.create<tensor::EmptyOp>(loc, type, length);
    for (int64_t row : {0, 1}) {
      SmallVector<OpFoldResult> offsets(3, rewriter.getIndexAttr(0));
      offsets[1] = rewriter.getIndexAttr(row);
      Value slice = rewriter.create<tensor::ExtractSliceOp>(
          loc, rowType, table, offsets, sizes, strides);
      Value waves = generic(
          rewriter, loc, frequencies, slice, {maps.dims({1}), maps.all()},
          {IteratorType::parallel, IteratorType::parallel},
          [&](Scalars &s, ValueRange arguments) {
            return wave(s, arguments[0], factor, /*isCosine=*/row == 0,
                        type.getElementType());
          });
      table = rewriter.create<tensor::InsertSliceOp>(loc, waves, table, offsets,
                                                     sizes, strides);
    }
    rewriter.replaceOp(op, table);
    return success();
  }

private:
  /// The cosine or sine of the angle at the position that the outer loop is at.
  static Value wave(Scalars &s, Value frequency, double factor, bool isCosine,
                    Type type) {
    Type f64 = s.builder.getF64Type();
    Value index = s.builder.create<linalg::IndexOp>(s.loc, 0);
    Value position = s.builder.create<arith::SIToFPOp>(
        s.loc, f64,
        s.builder.create<arith::IndexCastOp>(s.loc, s.builder.getI64Type(),
                                             index));
    if (frequency.getType() != f64)
      frequency = s.builder.create<arith::ExtFOp>(s.loc, f64, frequency);
    Value angle = s.mul(position, frequency);
    Value wave = isCosine
                     ? s.builder.create<math::CosOp>(s.loc, angle).getResult()
                     : s.builder.create<math::SinOp>(s.loc, angle).getResult();
    if (factor != 1.0)
      wave = s.mul(wave, s.builder.create<arith::ConstantOp>(
                             s.loc, s.builder.getF64FloatAttr(factor)));
    return s.builder.create<arith::TruncFOp>(s.loc, type, wave);
  }
};

struct ConvertRope : OpRewritePattern<RopeOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(RopeOp op,
                                PatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    auto type = cast<RankedTensorType>(op.getResult().getType());
    Value input = op.getInput();
    int64_t half = tensorType(op.getTable()).getDimSize(2);
    int64_t rest = type.getDimSize(2) - 2 * half;
    // Of each pair, where the first and the second ones begin, and the way from
    // one to the next.
    int64_t stride = op.getInterleaved() ? 2 : 1;
    int64_t second = op.getInterleaved() ? 1 : half;
    auto part = [&](Value tensor, int64_t offset, int64_t size,
                    int64_t stride) {
      SmallVector<OpFoldResult> offsets(3, rewriter.getIndexAttr(0)),
          strides(3, rewriter.getIndexAttr(1)),
          sizes = tensor::getMixedSizes(rewriter, loc, tensor);
      offsets[2] = rewriter.getIndexAttr(offset);
      sizes[2] = rewriter.getIndexAttr(size);
      strides[2] = rewriter.getIndexAttr(stride);
      return std::tuple(offsets, sizes, strides);
    };
    auto slice = [&](Value tensor, int64_t offset, int64_t size,
                     int64_t stride) -> Value {
      auto [offsets, sizes, strides] = part(tensor, offset, size, stride);
      return rewriter.create<tensor::ExtractSliceOp>(loc, tensor, offsets,
                                                     sizes, strides);
    };
    Value result = emptyLike(rewriter, loc, type, input);
    auto insert = [&](Value output, int64_t offset, int64_t size,
                      int64_t stride) {
      auto [offsets, sizes, strides] = part(result, offset, size, stride);
      result = rewriter.create<tensor::InsertSliceOp>(loc, output, result,
                                                      offsets, sizes, strides);
    };

    // One generic a half: a single one would need two results, and a copy.
    Maps maps(getContext(), 3);
    SmallVector<IteratorType> parallel(3, IteratorType::parallel);
    for (int64_t which : {0, 1}) {
      Value output = generic(
          rewriter, loc,
          {slice(input, which * second, half, stride),
           slice(input, (1 - which) * second, half, stride), op.getPositions()},
          slice(result, which * second, half, stride),
          {maps.all(), maps.all(), maps.first(1), maps.all()}, parallel,
          [&](Scalars &s, ValueRange arguments) {
            Value position = s.toIndex(arguments[2]);
            Value i = s.builder.create<linalg::IndexOp>(loc, 2);
            auto entry = [&](int64_t row) -> Value {
              Value index = s.builder.create<arith::ConstantIndexOp>(loc, row);
              return s.builder.create<tensor::ExtractOp>(
                  loc, op.getTable(), ValueRange{position, index, i});
            };
            Value straight = s.mul(s.widen(arguments[0]), entry(0));
            Value crossed = s.mul(s.widen(arguments[1]), entry(1));
            Value rotated = which == 0 ? s.sub(straight, crossed)
                                       : s.add(straight, crossed);
            return s.round(rotated, type.getElementType());
          });
      insert(output, which * second, half, stride);
    }
    if (rest > 0) {
      Value output =
          generic(rewriter, loc, slice(input, 2 * half, rest, 1),
                  slice(result, 2 * half, rest, 1), {maps.all(), maps.all()},
                  parallel, [&](Scalars &s, ValueRange arguments) {
                    return s.convert(arguments[0], type.getElementType());
                  });
      insert(output, 2 * half, rest, 1);
    }
    rewriter.replaceOp(op, result);
    return success();
  }
};

/// numerator / (1 + exp(-slope * x)).
Value logistic(Scalars &s, Value numerator, Value x, double slope) {
  Value power = slope == 1.0 ? s.builder.create<arith::NegFOp>(s.loc, x)
                             : s.mul(s.constant(-slope), x);
  Value exponential = s.builder.create<math::ExpOp>(s.loc, power);
  return s.div(numerator, s.add(s.constant(1.0), exponential));
}

Value activate(Scalars &s, ActivationKind kind, Value x) {
  auto maximum = [&](Value a, Value b) -> Value {
    return s.builder.create<arith::MaximumFOp>(s.loc, a, b);
  };
  auto minimum = [&](Value a, Value b) -> Value {
    return s.builder.create<arith::MinimumFOp>(s.loc, a, b);
  };
  switch (kind) {
  case ActivationKind::silu:
    return logistic(s, x, x, 1.0);
  case ActivationKind::gelu: {
    Value scaled = s.mul(x, s.constant(0.70710678118654752440));
    Value erf = s.builder.create<math::ErfOp>(s.loc, scaled);
    return s.mul(s.mul(x, s.constant(0.5)), s.add(s.constant(1.0), erf));
  }
  case ActivationKind::gelu_tanh: {
    Value cube = s.mul(s.mul(x, x), x);
    Value inner = s.mul(s.constant(0.79788456080286535588),
                        s.add(x, s.mul(s.constant(0.044715), cube)));
    Value tanh = s.builder.create<math::TanhOp>(s.loc, inner);
    return s.mul(s.mul(x, s.constant(0.5)), s.add(s.constant(1.0), tanh));
  }
  case ActivationKind::quick_gelu:
    return logistic(s, x, x, 1.702);
  case ActivationKind::relu:
    return maximum(x, s.constant(0.0));
  case ActivationKind::relu2: {
    Value positive = maximum(x, s.constant(0.0));
    return s.mul(positive, positive);
  }
  case ActivationKind::relu6:
    return minimum(maximum(x, s.constant(0.0)), s.constant(6.0));
  case ActivationKind::leaky_relu:
    return maximum(x, s.mul(s.constant(0.01), x));
  case ActivationKind::sigmoid:
    return logistic(s, s.constant(1.0), x, 1.0);
  case ActivationKind::tanh:
    return s.builder.create<math::TanhOp>(s.loc, x);
  case ActivationKind::mish: {
    // With e = exp(x), tanh(ln(1 + e)) = n / (n + 2) for n = e (e + 2). It is 1
    // in f32 long before e^2 passes its range.
    Value e = s.builder.create<math::ExpOp>(s.loc, minimum(x, s.constant(20)));
    Value n = s.mul(e, s.add(e, s.constant(2.0)));
    return s.mul(x, s.div(n, s.add(n, s.constant(2.0))));
  }
  case ActivationKind::identity:
    return x;
  }
  llvm_unreachable("every kind is handled");
}

/// What is one op for a kernel's sake becomes three again.
struct UnfuseRopeAppend : OpRewritePattern<RopeAppendKVOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(RopeAppendKVOp op,
                                PatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    auto rotate = [&](Value heads, Type type) -> Value {
      return rewriter.create<RopeOp>(loc, type, heads, op.getTable(),
                                     op.getPositions());
    };
    Value rotated = rotate(op.getQuery(), op.getRotated().getType());
    Value keys = rotate(op.getKeys(),
                        tensorType(op.getKeys()).clone(rewriter.getF32Type()));
    auto append = rewriter.create<AppendKVOp>(
        loc, op.getResult().getType(), /*block_indices=*/Type(), op.getCache(),
        keys, op.getValues(), /*seq_ids=*/Value(), op.getSlots(), op.getLayer(),
        /*block_size=*/IntegerAttr(),
        /*max_seq_len=*/IntegerAttr());
    rewriter.replaceOp(op, ValueRange{append.getResult(), rotated});
    return success();
  }
};

struct ConvertActivation : OpRewritePattern<ActivationOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(ActivationOp op,
                                PatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    auto type = cast<RankedTensorType>(op.getResult().getType());
    unsigned rank = type.getRank();
    SmallVector<Value> inputs = {op.getInput()};
    if (op.getMultiplier())
      inputs.push_back(op.getMultiplier());
    Maps maps(getContext(), rank);
    SmallVector<AffineMap> allMaps(inputs.size() + 1, maps.all());
    Value result = emptyLike(rewriter, loc, type, op.getInput());
    rewriter.replaceOp(
        op, generic(rewriter, loc, inputs, result, allMaps,
                    SmallVector<IteratorType>(rank, IteratorType::parallel),
                    [&](Scalars &s, ValueRange arguments) {
                      Value y =
                          activate(s, op.getKind(), s.widen(arguments[0]));
                      if (op.getMultiplier())
                        y = s.mul(y, s.widen(arguments[1]));
                      return s.round(y, type.getElementType());
                    }));
    return success();
  }
};

} // namespace

void llmir::populateLLMToLinalgPatterns(RewritePatternSet &patterns) {
  patterns.add<ConvertActivation, ConvertEmbedding, ConvertLinear, ConvertRope,
               ConvertRopeTable, UnfuseQuantizedMatmul, UnfuseRopeAppend>(
      patterns.getContext());
  llmir::reference::populateAttentionPatterns(patterns);
  llmir::reference::populateMixtureOfExpertsPatterns(patterns);
  llmir::reference::populateNormalizationPatterns(patterns);
}
