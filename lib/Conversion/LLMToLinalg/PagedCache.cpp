// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The reference meaning of the paged cache: a value of it is five tensors, and
// its ops are loops over tokens.

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
      : keys(tensors[0]), values(tensors[1]), table(tensors[2]),
        lengths(tensors[3]), used(tensors[4]) {}

  static void types(PagedKVCacheType cache, SmallVectorImpl<Type> &types) {
    constexpr int64_t any = ShapedType::kDynamic;
    auto pool =
        RankedTensorType::get({cache.getLayers(), any, cache.getBlockSize(),
                               cache.getKvHeads(), cache.getHeadDim()},
                              cache.getElementType());
    Type i32 = IntegerType::get(cache.getContext(), 32);
    types.append(
        {pool, pool,
         RankedTensorType::get({any, cache.getMaxBlocksPerSequence()}, i32),
         RankedTensorType::get({cache.getLayers(), any}, i32),
         RankedTensorType::get({}, i32)});
  }

  SmallVector<Value> all() { return {keys, values, table, lengths, used}; }

  Value keys, values, table, lengths, used;
};

Value layerOf(Scalars &s, Value layer) { return layer ? layer : s.index(0); }

struct ConvertAppendKV : OneToNOpConversionPattern<AppendKVOp> {
  using OneToNOpConversionPattern::OneToNOpConversionPattern;

  LogicalResult
  matchAndRewrite(AppendKVOp op, OpAdaptor adaptor,
                  OneToNPatternRewriter &rewriter) const override {
    Scalars s(rewriter, op.getLoc());
    CacheTensors cache(adaptor.getCache());
    SmallVector<Value> results;
    if (op.getSlots()) {
      appendBySlots(s, op, cache);
      results = cache.all();
    } else {
      appendBySequence(s, op, cache);
      results = cache.all();
      results.push_back(blockIndices(s, op, cache));
    }
    rewriter.replaceOp(op, results, adaptor.getResultMapping());
    return success();
  }

private:
  /// Writes one token's keys and values to a place in the pools.
  static SmallVector<Value> store(Scalars &s, AppendKVOp op, ValueRange pools,
                                  ArrayRef<Value> place,
                                  ArrayRef<Value> token) {
    PagedKVCacheType type = op.getCache().getType();
    Value sources[] = {op.getKeys(), op.getValues()};
    auto with = [](ArrayRef<Value> indices, Value h, Value d) {
      SmallVector<Value> element(indices);
      element.append({h, d});
      return element;
    };
    return s.loop(
        s.index(type.getKvHeads()), pools, [&](Value h, ValueRange pools) {
          return s.loop(
              s.index(type.getHeadDim()), pools,
              [&](Value d, ValueRange pools) {
                SmallVector<Value> next;
                for (auto [pool, source] : llvm::zip(pools, sources)) {
                  Value x = s.convert(s.extract(source, with(token, h, d)),
                                      type.getElementType());
                  next.push_back(s.insert(x, pool, with(place, h, d)));
                }
                return next;
              });
        });
  }

  static void appendBySlots(Scalars &s, AppendKVOp op, CacheTensors &cache) {
    Value layer = layerOf(s, op.getLayer());
    Value blockSize = s.index(op.getCache().getType().getBlockSize());
    SmallVector<Value> pools = s.loop(
        s.dim(op.getSlots(), 0), {cache.keys, cache.values},
        [&](Value t, ValueRange pools) {
          Value slot = s.toIndex(s.extract(op.getSlots(), t));
          return store(s, op, pools,
                       {layer, s.div(slot, blockSize), s.rem(slot, blockSize)},
                       t);
        });
    cache.keys = pools[0];
    cache.values = pools[1];
  }

  static void appendBySequence(Scalars &s, AppendKVOp op, CacheTensors &cache) {
    Value layer = layerOf(s, op.getLayer());
    Value blockSize = s.index(op.getCache().getType().getBlockSize());
    Value tokens = s.dim(op.getKeys(), 1);
    Value used = s.extract(cache.used, {});
    SmallVector<Value> carried = s.loop(
        s.dim(op.getSeqIds(), 0),
        {cache.keys, cache.values, cache.table, used, cache.lengths},
        [&](Value b, ValueRange carried) {
          Value sequence = s.toIndex(s.extract(op.getSeqIds(), b));
          Value lengths = carried[4];
          Value start = s.toIndex(s.extract(lengths, {layer, sequence}));
          SmallVector<Value> next = s.loop(
              tokens, carried.drop_back(), [&](Value t, ValueRange carried) {
                return appendToken(s, op, carried, layer, sequence,
                                   s.add(start, t), blockSize, {b, t});
              });
          Value length = s.builder.create<arith::IndexCastOp>(
              s.loc, used.getType(), s.add(start, tokens));
          next.push_back(s.insert(length, lengths, {layer, sequence}));
          return next;
        });
    cache.keys = carried[0];
    cache.values = carried[1];
    cache.table = carried[2];
    cache.used = s.insert(carried[3], cache.used, {});
    cache.lengths = carried[4];
  }

  /// Writes a token at a position of a sequence; takes the next block if the
  /// position has none. Carries the pools, the table and the blocks in use.
  static SmallVector<Value> appendToken(Scalars &s, AppendKVOp op,
                                        ValueRange carried, Value layer,
                                        Value sequence, Value position,
                                        Value blockSize,
                                        ArrayRef<Value> token) {
    Value table = carried[2], used = carried[3];
    Value column = s.div(position, blockSize);
    Value known = s.extract(table, {sequence, column});
    Value none = s.builder.create<arith::ConstantIntOp>(s.loc, 0, 32);
    Value isNew = s.builder.create<arith::CmpIOp>(
        s.loc, arith::CmpIPredicate::slt, known, none);
    Value block = s.builder.create<arith::SelectOp>(s.loc, isNew, used, known);
    Value taken =
        s.builder.create<arith::ExtUIOp>(s.loc, used.getType(), isNew);
    SmallVector<Value> next =
        store(s, op, carried.take_front(2),
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

/// An element of position p of the sequence in row b of a block table.
Value readPool(Scalars &s, Value pool, Value layer, Value blocks, Value b,
               Value p, Value h, Value d) {
  Value blockSize = s.index(tensorType(pool).getDimSize(2));
  Value block = s.toIndex(s.extract(blocks, {b, s.div(p, blockSize)}));
  return s.extract(pool, {layer, block, s.rem(p, blockSize), h, d});
}

struct ConvertLookupKV : OneToNOpConversionPattern<LookupKVOp> {
  using OneToNOpConversionPattern::OneToNOpConversionPattern;

  LogicalResult
  matchAndRewrite(LookupKVOp op, OpAdaptor adaptor,
                  OneToNPatternRewriter &rewriter) const override {
    Scalars s(rewriter, op.getLoc());
    CacheTensors cache(adaptor.getCache());
    rewriter.replaceOp(
        op, ValueRange{gather(s, op, cache.keys), gather(s, op, cache.values)},
        adaptor.getResultMapping());
    return success();
  }

private:
  static Value gather(Scalars &s, LookupKVOp op, Value pool) {
    auto type = cast<RankedTensorType>(op.getKeys().getType());
    Value layer = layerOf(s, op.getLayer()), blocks = op.getBlockIndices();
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
          auto held = [&](OpBuilder &builder, Location loc) {
            Scalars s(builder, loc);
            Value x =
                readPool(s, pool, layer, blocks, at[0], at[1], at[2], at[3]);
            builder.create<scf::YieldOp>(loc,
                                         s.convert(x, type.getElementType()));
          };
          auto beyond = [&](OpBuilder &builder, Location loc) {
            Value zero = builder.create<arith::ConstantOp>(
                loc, builder.getFloatAttr(type.getElementType(), 0.0));
            builder.create<scf::YieldOp>(loc, zero);
          };
          return s.builder.create<scf::IfOp>(s.loc, isHeld, held, beyond)
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
    auto read = [&](Value pool) {
      return [&s, pool, layer, blocks](Value b, Value p, Value h, Value d) {
        return readPool(s, pool, layer, blocks, b, p, h, d);
      };
    };
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
    Type element = type.getElementType();
    Value result = buildAttention(
        s, {op.getQuery(), cast<RankedTensorType>(op.getResult().getType()),
            type.getKvHeads(), scale, op.getSoftcapAttr(), /*causal=*/true,
            op.getWindowAttr(), op.getSinks(), op.getAlibi(),
            /*mask=*/Value(), s.dim(blocks, 0), capacity, rows, length,
            read(cache.keys), read(cache.values),
            op.getQueryType().value_or(FloatType()),
            element.isBF16() ? element : Type()});
    rewriter.replaceOp(op, result, adaptor.getResultMapping());
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
