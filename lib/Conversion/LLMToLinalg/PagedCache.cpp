// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The reference meaning of the paged cache: a value of it is five tensors, or
// some more with scales and zero points, and its ops are loops over tokens.

#include "Attention.h"
#include "Bundles.h"
#include "llmir/Dialect/LLM/LLM.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/TypeUtilities.h"

#include <cmath>

using namespace mlir;
using namespace llmir::llm;
using namespace llmir::reference;

using utils::IteratorType;

namespace {

/// The tensors of a cache, in the order that Passes.td gives.
struct CacheTensors {
  CacheTensors(ValueRange tensors)
      : pools(tensors.drop_back(3)), table(tensors.take_back(3)[0]),
        lengths(tensors.take_back(3)[1]), used(tensors.back()) {}

  static void types(PagedKVCacheType cache, SmallVectorImpl<Type> &types) {
    constexpr int64_t any = ShapedType::kDynamic;
    int64_t shape[] = {cache.getLayers(), any, cache.getBlockSize(),
                       cache.getKvHeads(), cache.getHeadDim()};
    SmallVector<RankedTensorType> pools;
    if (cache.isQuantized()) {
      QuantizedTensorType type = cache.getQuantizedType(shape);
      pools = {type.getElementsType(), type.getScalesType()};
      if (type.getAsymmetric())
        pools.push_back(type.getZeroPointsType());
    } else {
      pools.push_back(RankedTensorType::get(shape, cache.getElementType()));
    }
    // Of keys and of values.
    for (RankedTensorType pool : pools)
      types.append(2, pool);
    Type i32 = IntegerType::get(cache.getContext(), 32);
    types.append(
        {RankedTensorType::get({any, cache.getMaxBlocksPerSequence()}, i32),
         RankedTensorType::get({cache.getLayers(), any}, i32),
         RankedTensorType::get({}, i32)});
  }

  SmallVector<Value> all() {
    SmallVector<Value> tensors = pools;
    tensors.append({table, lengths, used});
    return tensors;
  }

  /// Of keys and of values: their elements, scales and zero points by turns.
  SmallVector<Value> pools;
  Value table, lengths, used;
};

Value layerOf(Scalars &s, Value layer) { return layer ? layer : s.index(0); }

struct ConvertAppendKV : OneToNOpConversionPattern<AppendKVOp> {
  using OneToNOpConversionPattern::OneToNOpConversionPattern;

  LogicalResult
  matchAndRewrite(AppendKVOp op, OpAdaptor adaptor,
                  OneToNPatternRewriter &rewriter) const override {
    Scalars s(rewriter, op.getLoc());
    CacheTensors cache(adaptor.getCache());
    SmallVector<Value> results, sources = sourcesOf(s, op);
    if (op.getSlots()) {
      appendBySlots(s, op, sources, cache);
      results = cache.all();
    } else {
      appendBySequence(s, op, sources, cache);
      results = cache.all();
      results.push_back(blockIndices(s, op, cache));
    }
    rewriter.replaceOp(op, results, adaptor.getResultMapping());
    return success();
  }

private:
  /// What goes into each of the pools.
  static SmallVector<Value> sourcesOf(Scalars &s, AppendKVOp op) {
    PagedKVCacheType type = op.getCache().getType();
    if (!type.isQuantized())
      return {op.getKeys(), op.getValues()};
    auto quantize = [&](Value tensor) {
      return quantizeTensor(
          s.builder, s.loc, tensor,
          type.getQuantizedType(tensorType(tensor).getShape()));
    };
    SmallVector<Value> sources;
    for (auto [keys, values] :
         llvm::zip(quantize(op.getKeys()), quantize(op.getValues())))
      sources.append({keys, values});
    return sources;
  }

  /// Writes one token's keys and values to a place in the pools.
  static SmallVector<Value> store(Scalars &s, AppendKVOp op, ValueRange sources,
                                  ValueRange pools, ArrayRef<Value> place,
                                  ArrayRef<Value> token) {
    PagedKVCacheType type = op.getCache().getType();
    auto with = [](ArrayRef<Value> indices, Value h, Value d) {
      SmallVector<Value> element(indices);
      element.append({h, d});
      return element;
    };
    return s.loop(
        s.index(type.getKvHeads()), pools, [&](Value h, ValueRange pools) {
          SmallVector<Value> next =
              s.loop(s.index(type.getHeadDim()), pools.take_front(2),
                     [&](Value d, ValueRange pools) {
                       SmallVector<Value> next;
                       for (auto [pool, source] : llvm::zip(pools, sources)) {
                         Value x = s.extract(source, with(token, h, d));
                         if (!type.isQuantized())
                           x = s.convert(x, type.getElementType());
                         next.push_back(s.insert(x, pool, with(place, h, d)));
                       }
                       return next;
                     });
          // One scale and one zero point for each head.
          Value zero = s.index(0);
          for (auto [pool, source] :
               llvm::zip(pools.drop_front(2), sources.drop_front(2)))
            next.push_back(s.insert(s.extract(source, with(token, h, zero)),
                                    pool, with(place, h, zero)));
          return next;
        });
  }

  static void appendBySlots(Scalars &s, AppendKVOp op, ValueRange sources,
                            CacheTensors &cache) {
    Value layer = layerOf(s, op.getLayer());
    Value blockSize = s.index(op.getCache().getType().getBlockSize());
    cache.pools = s.loop(
        s.dim(op.getSlots(), 0), cache.pools, [&](Value t, ValueRange pools) {
          Value slot = s.toIndex(s.extract(op.getSlots(), t));
          return store(s, op, sources, pools,
                       {layer, s.div(slot, blockSize), s.rem(slot, blockSize)},
                       t);
        });
  }

  static void appendBySequence(Scalars &s, AppendKVOp op, ValueRange sources,
                               CacheTensors &cache) {
    Value layer = layerOf(s, op.getLayer());
    Value blockSize = s.index(op.getCache().getType().getBlockSize());
    Value tokens = s.dim(op.getKeys(), 1);
    Value used = s.extract(cache.used, {});
    SmallVector<Value> carried = cache.pools;
    carried.append({cache.table, used, cache.lengths});
    carried = s.loop(
        s.dim(op.getSeqIds(), 0), carried, [&](Value b, ValueRange carried) {
          Value sequence = s.toIndex(s.extract(op.getSeqIds(), b));
          Value lengths = carried.back();
          Value start = s.toIndex(s.extract(lengths, {layer, sequence}));
          SmallVector<Value> next = s.loop(
              tokens, carried.drop_back(), [&](Value t, ValueRange carried) {
                return appendToken(s, op, sources, carried, layer, sequence,
                                   s.add(start, t), blockSize, {b, t});
              });
          Value length = s.builder.create<arith::IndexCastOp>(
              s.loc, used.getType(), s.add(start, tokens));
          next.push_back(s.insert(length, lengths, {layer, sequence}));
          return next;
        });
    cache.lengths = carried.pop_back_val();
    cache.used = s.insert(carried.pop_back_val(), cache.used, {});
    cache.table = carried.pop_back_val();
    cache.pools = carried;
  }

  /// Writes a token at a position of a sequence; takes the next block if the
  /// position has none. Carries the pools, the table and the blocks in use.
  static SmallVector<Value> appendToken(Scalars &s, AppendKVOp op,
                                        ValueRange sources, ValueRange carried,
                                        Value layer, Value sequence,
                                        Value position, Value blockSize,
                                        ArrayRef<Value> token) {
    Value table = carried.take_back(2)[0], used = carried.back();
    Value column = s.div(position, blockSize);
    Value known = s.extract(table, {sequence, column});
    Value none = s.builder.create<arith::ConstantIntOp>(s.loc, 0, 32);
    Value isNew = s.builder.create<arith::CmpIOp>(
        s.loc, arith::CmpIPredicate::slt, known, none);
    Value block = s.builder.create<arith::SelectOp>(s.loc, isNew, used, known);
    Value taken =
        s.builder.create<arith::ExtUIOp>(s.loc, used.getType(), isNew);
    SmallVector<Value> next =
        store(s, op, sources, carried.drop_back(2),
              {layer, s.toIndex(block), s.rem(position, blockSize)}, token);
    next.push_back(s.insert(block, table, {sequence, column}));
    next.push_back(s.add(used, taken));
    return next;
  }

  /// The rows of the block table that belong to seq_ids.
  static Value blockIndices(Scalars &s, AppendKVOp op, CacheTensors &cache) {
    auto type = cast<RankedTensorType>(op.getBlockIndices().getType());
    SmallVector<Value> sizes;
    if (type.isDynamicDim(0))
      sizes.push_back(s.dim(op.getSeqIds(), 0));
    if (type.isDynamicDim(1))
      sizes.push_back(s.dim(cache.table, 1));
    Value empty = s.builder.create<tensor::EmptyOp>(s.loc, type, sizes);
    Maps maps(op.getContext(), 2);
    return generic(
        s.builder, s.loc, op.getSeqIds(), empty, {maps.first(1), maps.all()},
        {IteratorType::parallel, IteratorType::parallel},
        [&](Scalars &s, ValueRange arguments) {
          Value column = s.builder.create<linalg::IndexOp>(s.loc, 1);
          return s.extract(cache.table, {s.toIndex(arguments[0]), column});
        });
  }
};

/// The keys or the values of a layer, for the sequences of a block table.
struct Held {
  Held(PagedKVCacheType type, const CacheTensors &cache, bool isValues,
       Value layer, Value blocks)
      : type(type), layer(layer), blocks(blocks),
        elements(cache.pools[isValues]) {
    if (cache.pools.size() > 2)
      scales = cache.pools[2 + isValues];
    if (cache.pools.size() > 4)
      zeroPoints = cache.pools[4 + isValues];
  }

  /// An element of position p of the sequence in row b, without its scale.
  Value element(Scalars &s, Value b, Value p, Value h, Value d) const {
    Value x = read(s, elements, b, p, h, d);
    if (!type.isQuantized())
      return x;
    Value zeroPoint;
    if (zeroPoints)
      zeroPoint = read(s, zeroPoints, b, p, h, s.index(0));
    return integerOf(s, type.getQuantizedType({1}), x, zeroPoint);
  }
  Value scale(Scalars &s, Value b, Value p, Value h) const {
    return s.widen(read(s, scales, b, p, h, s.index(0)));
  }
  /// What it stands for.
  Value number(Scalars &s, Value b, Value p, Value h, Value d) const {
    Value x = element(s, b, p, h, d);
    return scales ? s.mul(x, scale(s, b, p, h)) : x;
  }

private:
  Value read(Scalars &s, Value pool, Value b, Value p, Value h, Value d) const {
    Value blockSize = s.index(type.getBlockSize());
    Value block = s.toIndex(s.extract(blocks, {b, s.div(p, blockSize)}));
    return s.extract(pool, {layer, block, s.rem(p, blockSize), h, d});
  }

  PagedKVCacheType type;
  Value layer, blocks, elements, scales, zeroPoints;
};

struct ConvertLookupKV : OneToNOpConversionPattern<LookupKVOp> {
  using OneToNOpConversionPattern::OneToNOpConversionPattern;

  LogicalResult
  matchAndRewrite(LookupKVOp op, OpAdaptor adaptor,
                  OneToNPatternRewriter &rewriter) const override {
    Scalars s(rewriter, op.getLoc());
    CacheTensors cache(adaptor.getCache());
    rewriter.replaceOp(
        op, ValueRange{gather(s, op, cache, false), gather(s, op, cache, true)},
        adaptor.getResultMapping());
    return success();
  }

private:
  static Value gather(Scalars &s, LookupKVOp op, const CacheTensors &cache,
                      bool isValues) {
    auto type = cast<RankedTensorType>(op.getKeys().getType());
    Value blocks = op.getBlockIndices();
    Held held(op.getCache().getType(), cache, isValues,
              layerOf(s, op.getLayer()), blocks);
    Value empty = emptyLike(s.builder, s.loc, type, blocks);
    Maps maps(op.getContext(), 4);
    return generic(
        s.builder, s.loc, op.getSeqLens(), empty, {maps.first(1), maps.all()},
        SmallVector<IteratorType>(4, IteratorType::parallel),
        [&](Scalars &s, ValueRange arguments) {
          SmallVector<Value> at;
          for (int64_t dim = 0; dim < 4; ++dim)
            at.push_back(s.builder.create<linalg::IndexOp>(s.loc, dim));
          Value isHeld = s.builder.create<arith::CmpIOp>(
              s.loc, arith::CmpIPredicate::slt, at[1], s.toIndex(arguments[0]));
          // Where there is no position there may be no block either.
          auto found = [&](OpBuilder &builder, Location loc) {
            Scalars s(builder, loc);
            Value x = held.number(s, at[0], at[1], at[2], at[3]);
            builder.create<scf::YieldOp>(loc,
                                         s.convert(x, type.getElementType()));
          };
          auto beyond = [&](OpBuilder &builder, Location loc) {
            Value zero = builder.create<arith::ConstantOp>(
                loc, builder.getFloatAttr(type.getElementType(), 0.0));
            builder.create<scf::YieldOp>(loc, zero);
          };
          return s.builder.create<scf::IfOp>(s.loc, isHeld, found, beyond)
              .getResult(0);
        });
  }
};

struct ConvertPagedAttention : OneToNOpConversionPattern<PagedAttentionOp> {
  using OneToNOpConversionPattern::OneToNOpConversionPattern;

  LogicalResult
  matchAndRewrite(PagedAttentionOp op, OpAdaptor adaptor,
                  OneToNPatternRewriter &rewriter) const override {
    Scalars s(rewriter, op.getLoc());
    CacheTensors cache(adaptor.getCache());
    PagedKVCacheType type = op.getCache().getType();
    FloatAttr scale = op.getScaleAttr();
    if (!scale)
      scale = rewriter.getF32FloatAttr(
          1.0 / std::sqrt(static_cast<double>(type.getHeadDim())));
    Value layer = layerOf(s, op.getLayer()), blocks = op.getBlockIndices();
    Value zero = s.index(0), one = s.index(1);
    Value tokens = op.getRows() ? Value() : s.dim(op.getQuery(), 1);
    Held keys(type, cache, false, layer, blocks);
    Held values(type, cache, true, layer, blocks);
    auto rows = [&](Value b) {
      if (!op.getRows())
        return std::pair(zero, tokens);
      return std::pair(s.toIndex(s.extract(op.getRows(), b)),
                       s.toIndex(s.extract(op.getRows(), s.add(b, one))));
    };
    auto length = [&](Value b) {
      return s.toIndex(s.extract(op.getSeqLens(), b));
    };
    Value capacity = s.mul(s.dim(blocks, 1), s.index(type.getBlockSize()));
    bool rounds = type.isQuantized() || type.getElementType().isBF16();
    Attention attention{op.getQuery(),
                        cast<RankedTensorType>(op.getResult().getType()),
                        type.getKvHeads(),
                        scale,
                        op.getSoftcapAttr(),
                        /*causal=*/true,
                        op.getWindowAttr(),
                        op.getSinks(),
                        op.getAlibi(),
                        /*mask=*/Value(),
                        s.dim(blocks, 0),
                        capacity,
                        rows,
                        length,
                        [&](Value b, Value p, Value h, Value d) {
                          return keys.number(s, b, p, h, d);
                        },
                        [&](Value b, Value p, Value h, Value d) {
                          return values.element(s, b, p, h, d);
                        },
                        op.getQueryType().value_or(FloatType()),
                        rounds ? rewriter.getBF16Type() : Type()};
    if (type.isQuantized())
      attention.valueScale = [&](Value b, Value p, Value h) {
        return values.scale(s, b, p, h);
      };
    rewriter.replaceOp(op, buildAttention(s, attention),
                       adaptor.getResultMapping());
    return success();
  }
};

} // namespace

void llmir::reference::populateCacheConversion(OneToNTypeConverter &converter,
                                               RewritePatternSet &patterns) {
  converter.addConversion(
      [](PagedKVCacheType type, SmallVectorImpl<Type> &types) {
        CacheTensors::types(type, types);
        return success();
      });
  patterns.add<ConvertAppendKV, ConvertLookupKV, ConvertPagedAttention>(
      converter, patterns.getContext());
}
