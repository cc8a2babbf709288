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
  /// Its indices in the query, less those of the head's dimensions.
  SmallVector<Value> indices;
  Value sequence, head, kvHead;
  /// Where it stands, and the positions [begin, end) that it may see.
  Value position, begin, end;
};

Value lowest(Scalars &s) {
  return s.constant(-std::numeric_limits<double>::infinity());
}

/// An element of a vector with one for each query head.
Value ofHead(Scalars &s, Value vector, const Row &row) {
  return s.widen(s.extract(vector, row.head));
}

/// Adds slope * (p - position of the row).
Value addBias(Scalars &s, Value x, Value slope, const Row &row, Value p) {
  Value distance = s.builder.create<arith::IndexCastOp>(
      s.loc, s.builder.getI64Type(), s.sub(p, row.position));
  Value steps = s.builder.create<arith::SIToFPOp>(s.loc, s.builder.getF32Type(),
                                                  distance);
  return s.add(x, s.mul(slope, steps));
}

/// Adds a mask's element, or takes what it hides out of sight.
Value applyMask(Scalars &s, Value x, Value mask, const Row &row, Value p) {
  SmallVector<Value> element = {row.sequence, row.head, row.indices[1], p};
  for (int64_t i : {0, 1})
    if (tensorType(mask).getDimSize(i) == 1)
      element[i] = s.index(0);
  Value found = s.extract(mask, element);
  if (isa<FloatType>(found.getType()))
    return s.add(x, s.widen(found));
  return s.builder.create<arith::SelectOp>(s.loc, found, x, lowest(s));
}

/// The score of position p.
Value score(Scalars &s, const Attention &attention, const Row &row, Value p) {
  Value headDim =
      s.dim(attention.query, tensorType(attention.query).getRank() - 1);
  Value x = s.loop(headDim, s.constant(0.0), [&](Value d, ValueRange sum) {
    SmallVector<Value> element = row.indices;
    element.push_back(d);
    Value q = s.extract(attention.query, element);
    if (attention.queries)
      q = s.round(s.widen(q), attention.queries);
    q = s.widen(q);
    Value k = s.widen(attention.key(row.sequence, p, row.kvHead, d));
    return SmallVector<Value>{s.add(sum[0], s.mul(q, k))};
  })[0];
  x = s.mul(x, s.builder.create<arith::ConstantOp>(s.loc, attention.scale));
  if (attention.softcap) {
    Value cap = s.builder.create<arith::ConstantOp>(s.loc, attention.softcap);
    x = s.mul(cap, s.builder.create<math::TanhOp>(s.loc, s.div(x, cap)));
  }
  if (attention.alibi)
    x = addBias(s, x, ofHead(s, attention.alibi, row), row, p);
  if (attention.mask)
    x = applyMask(s, x, attention.mask, row, p);
  return x;
}

/// Writes a row of one head to `out`. `scores` is room to work in; both are
/// returned.
SmallVector<Value> attend(Scalars &s, const Attention &attention,
                          const Row &row, Value out, Value scores) {
  Value sink;
  if (attention.sinks)
    sink = ofHead(s, attention.sinks, row);
  SmallVector<Value> found =
      s.loop(row.begin, row.end, {scores, sink ? sink : lowest(s)},
             [&](Value p, ValueRange carried) {
               Value x = score(s, attention, row, p);
               return SmallVector<Value>{
                   s.insert(x, carried[0], p),
                   s.builder.create<arith::MaximumFOp>(s.loc, carried[1], x)};
             });
  Value maximum = found[1];
  auto weigh = [&](Value x) -> Value {
    return s.builder.create<math::ExpOp>(s.loc, s.sub(x, maximum));
  };
  SmallVector<Value> weighted = s.loop(
      row.begin, row.end, {found[0], sink ? weigh(sink) : s.constant(0.0)},
      [&](Value p, ValueRange carried) {
        Value weight = weigh(s.extract(carried[0], p));
        Value summed = weight;
        if (attention.valueScale)
          weight =
              s.mul(weight, attention.valueScale(row.sequence, p, row.kvHead));
        if (attention.weights)
          weight = s.widen(s.round(weight, attention.weights));
        if (!attention.valueScale)
          summed = weight;
        return SmallVector<Value>{s.insert(weight, carried[0], p),
                                  s.add(carried[1], summed)};
      });
  Value weights = weighted[0], total = weighted[1];
  Value headDim = s.dim(attention.query, row.indices.size());
  out = s.loop(headDim, out, [&](Value d, ValueRange carried) {
    Value sum = s.loop(
        row.begin, row.end, s.constant(0.0), [&](Value p, ValueRange sum) {
          Value v = s.widen(attention.value(row.sequence, p, row.kvHead, d));
          return SmallVector<Value>{
              s.add(sum[0], s.mul(s.extract(weights, p), v))};
        })[0];
    SmallVector<Value> element = row.indices;
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
        op, buildAttention(
                s, {query, cast<RankedTensorType>(op.getResult().getType()),
                    tensorType(keys).getDimSize(2), scale, op.getSoftcapAttr(),
                    op.getCausal(), op.getWindowAttr(), op.getSinks(),
                    op.getAlibi(), op.getMask(), s.dim(query, 0), positions,
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
        // The last row stands at the last position, each one before it one
        // before. What stands before position 0 sees nothing.
        Value length = attention.length(b), first = s.sub(length, end);
        return s.loop(begin, end, carried, [&](Value r, ValueRange carried) {
          Value position = s.add(first, r), from = s.index(0), to = length;
          if (attention.causal)
            to = s.add(position, s.index(1));
          if (attention.window)
            from = s.builder.create<arith::MaxSIOp>(
                s.loc, from, s.sub(to, s.index(attention.window.getInt())));
          return s.loop(
              s.index(heads), carried, [&](Value h, ValueRange carried) {
                Value group = s.index(heads / attention.kvHeads);
                Row row = {{r}, b, h, s.div(h, group), position, from, to};
                if (rank == 4)
                  row.indices.insert(row.indices.begin(), b);
                row.indices.push_back(h);
                return attend(s, attention, row, carried[0], carried[1]);
              });
        });
      })[0];
}

void llmir::reference::populateAttentionPatterns(RewritePatternSet &patterns) {
  patterns.add<ConvertAttention>(patterns.getContext());
}
