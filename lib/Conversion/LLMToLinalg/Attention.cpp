// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The reference meaning of attention: three loops over the positions that a row
// sees (scores and their maximum, exponentials and their sum, weighted values),
// in f32, rounded once.

#include "Attention.h"
#include "llmir/Dialect/LLM/LLM.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

#include <cmath>
#include <limits>

using namespace mlir;
using namespace llmir::llm;
using namespace llmir::reference;

namespace {

/// One row of one query head, and where it looks.
struct Row {
  SmallVector<Value> position;
  Value sequence, kvHead, visible;
};

/// The score of position p: scale * query . key.
Value score(Scalars &s, const Attention &attention, const Row &row, Value p) {
  Value headDim =
      s.dim(attention.query, tensorType(attention.query).getRank() - 1);
  Value dot = s.loop(headDim, s.constant(0.0), [&](Value d, ValueRange sum) {
    SmallVector<Value> element = row.position;
    element.push_back(d);
    Value q = s.widen(s.extract(attention.query, element));
    Value k = s.widen(attention.key(row.sequence, p, row.kvHead, d));
    return SmallVector<Value>{s.add(sum[0], s.mul(q, k))};
  })[0];
  Value scale = s.builder.create<arith::ConstantOp>(s.loc, attention.scale);
  return s.mul(dot, scale);
}

/// Writes a row of one head to `out`. `scores` is room to work in; both are
/// returned.
SmallVector<Value> attend(Scalars &s, const Attention &attention,
                          const Row &row, Value out, Value scores) {
  Value lowest = s.constant(-std::numeric_limits<double>::infinity());
  SmallVector<Value> found =
      s.loop(row.visible, {scores, lowest}, [&](Value p, ValueRange carried) {
        Value x = score(s, attention, row, p);
        return SmallVector<Value>{
            s.insert(x, carried[0], p),
            s.builder.create<arith::MaximumFOp>(s.loc, carried[1], x)};
      });
  Value maximum = found[1];
  SmallVector<Value> weighted =
      s.loop(row.visible, {found[0], s.constant(0.0)},
             [&](Value p, ValueRange carried) {
               Value shifted = s.sub(s.extract(carried[0], p), maximum);
               Value weight = s.builder.create<math::ExpOp>(s.loc, shifted);
               return SmallVector<Value>{s.insert(weight, carried[0], p),
                                         s.add(carried[1], weight)};
             });
  Value weights = weighted[0], total = weighted[1];
  Value headDim = s.dim(attention.query, row.position.size());
  out = s.loop(headDim, out, [&](Value d, ValueRange carried) {
    Value sum =
        s.loop(row.visible, s.constant(0.0), [&](Value p, ValueRange sum) {
          Value v = s.widen(attention.value(row.sequence, p, row.kvHead, d));
          return SmallVector<Value>{
              s.add(sum[0], s.mul(s.extract(weights, p), v))};
        })[0];
    SmallVector<Value> element = row.position;
    element.push_back(d);
    Value rounded =
        s.round(s.div(sum, total), attention.resultType.getElementType());
    return SmallVector<Value>{s.insert(rounded, carried[0], element)};
  })[0];
  return {out, weights};
}

struct ConvertAttention : OpRewritePattern<AttentionOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(AttentionOp op,
                                PatternRewriter &rewriter) const override {
    Scalars s(rewriter, op.getLoc());
    Value query = op.getQuery(), keys = op.getKeys(), values = op.getValues();
    FloatAttr scale = op.getScaleAttr();
    if (!scale)
      scale = rewriter.getF32FloatAttr(
          1.0 /
          std::sqrt(static_cast<double>(tensorType(query).getDimSize(3))));
    Value zero = s.index(0), rows = s.dim(query, 1), positions = s.dim(keys, 1);
    rewriter.replaceOp(
        op, buildAttention(s, {query,
                               cast<RankedTensorType>(op.getResult().getType()),
                               tensorType(keys).getDimSize(2), scale,
                               op.getCausal(), s.dim(query, 0), positions,
                               [&](Value) { return std::pair(zero, rows); },
                               [&](Value) { return positions; },
                               [&](Value b, Value p, Value h, Value d) {
                                 return s.extract(keys, {b, p, h, d});
                               },
                               [&](Value b, Value p, Value h, Value d) {
                                 return s.extract(values, {b, p, h, d});
                               }}));
    return success();
  }
};

} // namespace

Value llmir::reference::buildAttention(Scalars &s, const Attention &attention) {
  int64_t rank = tensorType(attention.query).getRank();
  int64_t heads = tensorType(attention.query).getDimSize(rank - 2);
  Value out =
      emptyLike(s.builder, s.loc, attention.resultType, attention.query);
  Value scores = s.builder.create<tensor::EmptyOp>(
      s.loc, ArrayRef<OpFoldResult>{attention.capacity},
      s.builder.getF32Type());
  return s.loop(
      attention.sequences, {out, scores}, [&](Value b, ValueRange carried) {
        auto [begin, end] = attention.rows(b);
        Value length = attention.length(b), last = end;
        return s.loop(begin, end, carried, [&](Value r, ValueRange carried) {
          // The last row sees all positions, and each one before it one less.
          Value visible = length;
          if (attention.causal)
            visible = s.add(s.sub(length, last), s.add(r, s.index(1)));
          return s.loop(
              s.index(heads), carried, [&](Value h, ValueRange carried) {
                Value group = s.index(heads / attention.kvHeads);
                Row row = {{r, h}, b, s.div(h, group), visible};
                if (rank == 4)
                  row.position.insert(row.position.begin(), b);
                return attend(s, attention, row, carried[0], carried[1]);
              });
        });
      })[0];
}

void llmir::reference::populateAttentionPatterns(RewritePatternSet &patterns) {
  patterns.add<ConvertAttention>(patterns.getContext());
}
