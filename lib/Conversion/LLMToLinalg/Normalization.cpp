// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The reference meaning of normalizations: reductions along the last dimension,
// numbers that are computed once a row, and one pass over the elements.

#include "Builders.h"
#include "Patterns.h"
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

/// The rows of a tensor and what is computed of them.
struct Rows {
  Rows(OpBuilder &builder, Location loc, Value input)
      : builder(builder), loc(loc), input(input),
        rank(tensorType(input).getRank()), maps(builder.getContext(), rank),
        rowMaps(builder.getContext(), rank - 1),
        parallel(rank, IteratorType::parallel) {
    Scalars s(builder, loc);
    size = lastSize(s);
  }

  /// Sums up f(x, numbers of the row), for each row.
  Value sum(ValueRange rowNumbers, Body f) {
    SmallVector<IteratorType> iterators = parallel;
    iterators.back() = IteratorType::reduction;
    SmallVector<Value> inputs = {input};
    SmallVector<AffineMap> inputMaps = {maps.all()};
    for (Value numbers : rowNumbers) {
      inputs.push_back(numbers);
      inputMaps.push_back(maps.first(rank - 1));
    }
    inputMaps.push_back(maps.first(rank - 1));
    Value zero = Scalars(builder, loc).constant(0.0);
    Value zeros =
        builder.create<linalg::FillOp>(loc, zero, empty()).getResult(0);
    return generic(builder, loc, inputs, zeros, inputMaps, iterators,
                   [&](Scalars &s, ValueRange arguments) {
                     return s.add(arguments.back(),
                                  f(s, arguments.drop_back()));
                   });
  }

  /// Computes f(number), once a row and not once an element.
  Value each(Value rowNumbers, Body f) {
    return generic(builder, loc, rowNumbers, empty(),
                   {rowMaps.all(), rowMaps.all()},
                   ArrayRef(parallel).drop_back(), f);
  }

  /// 1 / sqrt(sum / size + epsilon).
  Value inverseRoot(Value sums, FloatAttr epsilon) {
    return each(sums, [&](Scalars &s, ValueRange arguments) {
      Value shifted = s.add(s.div(arguments[0], size),
                            s.builder.create<arith::ConstantOp>(loc, epsilon));
      Value root = s.builder.create<math::SqrtOp>(loc, shifted);
      return s.div(s.constant(1.0), root);
    });
  }

  OpBuilder &builder;
  Location loc;
  Value input;
  unsigned rank;
  Maps maps, rowMaps;
  SmallVector<IteratorType> parallel;
  /// How many elements a row has, in f32.
  Value size;

private:
  /// Room for a number a row. Each use has its own: sharing would be a copy.
  Value empty() {
    auto type = RankedTensorType::get(tensorType(input).getShape().drop_back(),
                                      builder.getF32Type());
    return emptyLike(builder, loc, type, input);
  }

  Value lastSize(Scalars &s) {
    if (!tensorType(input).isDynamicDim(rank - 1))
      return s.constant(tensorType(input).getShape().back());
    Value size = builder.create<arith::IndexCastOp>(loc, builder.getI64Type(),
                                                    s.dim(input, rank - 1));
    return builder.create<arith::SIToFPOp>(loc, builder.getF32Type(), size);
  }
};

struct ConvertRMSNorm : OpRewritePattern<RMSNormOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(RMSNormOp op,
                                PatternRewriter &rewriter) const override {
    auto type = cast<RankedTensorType>(op.getResult().getType());
    Rows rows(rewriter, op.getLoc(), op.getInput());
    Value squares = rows.sum({}, [](Scalars &s, ValueRange arguments) {
      Value x = s.widen(arguments[0]);
      return s.mul(x, x);
    });
    Value scales = rows.inverseRoot(squares, op.getEpsilonAttr());
    Maps &maps = rows.maps;
    unsigned rank = rows.rank;
    Value result = emptyLike(rewriter, op.getLoc(), type, op.getInput());
    rewriter.replaceOp(
        op, generic(rewriter, op.getLoc(),
                    {op.getInput(), scales, op.getWeight()}, result,
                    {maps.all(), maps.first(rank - 1), maps.dims({rank - 1}),
                     maps.all()},
                    rows.parallel, [&](Scalars &s, ValueRange arguments) {
                      Value x = s.mul(s.widen(arguments[0]), arguments[1]);
                      return s.round(s.mul(x, s.widen(arguments[2])),
                                     type.getElementType());
                    }));
    return success();
  }
};

/// The variance is that of the differences, not the mean square less the mean's
/// square, which would lose all digits of a large mean.
struct ConvertLayerNorm : OpRewritePattern<LayerNormOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(LayerNormOp op,
                                PatternRewriter &rewriter) const override {
    auto type = cast<RankedTensorType>(op.getResult().getType());
    Rows rows(rewriter, op.getLoc(), op.getInput());
    Value sums = rows.sum({}, [](Scalars &s, ValueRange arguments) {
      return s.widen(arguments[0]);
    });
    Value means = rows.each(sums, [&](Scalars &s, ValueRange arguments) {
      return s.div(arguments[0], rows.size);
    });
    Value squares = rows.sum(means, [](Scalars &s, ValueRange arguments) {
      Value x = s.sub(s.widen(arguments[0]), arguments[1]);
      return s.mul(x, x);
    });
    Value scales = rows.inverseRoot(squares, op.getEpsilonAttr());

    Maps &maps = rows.maps;
    unsigned rank = rows.rank;
    SmallVector<Value> inputs = {op.getInput(), means, scales, op.getWeight()};
    SmallVector<AffineMap> inputMaps = {maps.all(), maps.first(rank - 1),
                                        maps.first(rank - 1),
                                        maps.dims({rank - 1})};
    if (op.getBias()) {
      inputs.push_back(op.getBias());
      inputMaps.push_back(maps.dims({rank - 1}));
    }
    inputMaps.push_back(maps.all());
    Value result = emptyLike(rewriter, op.getLoc(), type, op.getInput());
    rewriter.replaceOp(
        op, generic(rewriter, op.getLoc(), inputs, result, inputMaps,
                    rows.parallel, [&](Scalars &s, ValueRange arguments) {
                      Value x = s.sub(s.widen(arguments[0]), arguments[1]);
                      x = s.mul(s.mul(x, arguments[2]), s.widen(arguments[3]));
                      if (op.getBias())
                        x = s.add(x, s.widen(arguments[4]));
                      return s.round(x, type.getElementType());
                    }));
    return success();
  }
};

} // namespace

void llmir::reference::populateNormalizationPatterns(
    RewritePatternSet &patterns) {
  patterns.add<ConvertLayerNorm, ConvertRMSNorm>(patterns.getContext());
}
