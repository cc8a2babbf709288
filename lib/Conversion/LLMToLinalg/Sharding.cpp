// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The reference meaning of sharded tensors: all shards lie in one tensor, whose
// first dimension counts them, and a collective moves numbers along it.

#include "Builders.h"
#include "Bundles.h"
#include "llmir/Dialect/LLM/LLM.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

#include <limits>

using namespace mlir;
using namespace llmir::llm;
using namespace llmir::reference;

using utils::IteratorType;

namespace {

/// Builds the tensors of one collective.
struct Shards {
  Shards(OpBuilder &builder, Location loc) : builder(builder), loc(loc) {}

  /// What shards hold of a full tensor that is split or replicated.
  Value distribute(Value full, ShardedTensorType type) {
    RankedTensorType made = type.getShardsType();
    if (type.isReplicated()) {
      SmallVector<OpFoldResult> sizes =
          tensor::getMixedSizes(builder, loc, full);
      sizes.insert(sizes.begin(), builder.getIndexAttr(type.getShards()));
      Maps maps(builder.getContext(), made.getRank());
      SmallVector<unsigned> dims;
      for (int64_t i = 1; i < made.getRank(); ++i)
        dims.push_back(i);
      return copy(full, emptyOf(builder, loc, sizes, made.getElementType()),
                  maps.dims(dims));
    }
    Value parts =
        splitDim(builder, loc, full, type.getAxis(), type.getShards());
    SmallVector<OpFoldResult> sizes =
        tensor::getMixedSizes(builder, loc, parts);
    OpFoldResult shards = sizes[type.getAxis()];
    sizes.erase(sizes.begin() + type.getAxis());
    sizes.insert(sizes.begin(), shards);
    return copy(parts, emptyOf(builder, loc, sizes, made.getElementType()),
                partsMap(made.getRank(), type.getAxis()));
  }

  /// The full tensor of parts, or of copies.
  Value collect(Value shards, ShardedTensorType type) {
    SmallVector<OpFoldResult> sizes =
        tensor::getMixedSizes(builder, loc, shards);
    int64_t rank = sizes.size();
    if (type.isReplicated())
      return partOf(shards, 0);
    OpFoldResult count = sizes[0];
    sizes.erase(sizes.begin());
    sizes.insert(sizes.begin() + type.getAxis(), count);
    Value empty =
        emptyOf(builder, loc, sizes, type.getFullType().getElementType());
    AffineMap map = partsMap(rank, type.getAxis());
    return mergeDims(builder, loc, copy(shards, empty, inversePermutation(map)),
                     type.getAxis());
  }

  /// What one shard holds.
  Value partOf(Value shards, int64_t shard) {
    SmallVector<OpFoldResult> sizes =
        tensor::getMixedSizes(builder, loc, shards);
    int64_t rank = sizes.size();
    SmallVector<AffineExpr> place = {builder.getAffineConstantExpr(shard)};
    for (int64_t i = 0; i + 1 < rank; ++i)
      place.push_back(builder.getAffineDimExpr(i));
    return copy(shards,
                emptyOf(builder, loc, ArrayRef(sizes).drop_front(),
                        tensorType(shards).getElementType()),
                AffineMap::get(rank - 1, 0, place, builder.getContext()));
  }

  /// What partial results reduce to, in the order of the shards.
  Value reduce(Value shards, ShardedTensorType type) {
    bool sums = type.getReduction() == Reduction::sum;
    RankedTensorType full = type.getFullType();
    SmallVector<OpFoldResult> sizes =
        tensor::getMixedSizes(builder, loc, shards);
    unsigned rank = full.getRank();
    Value init =
        filledOf(builder, loc, ArrayRef(sizes).drop_front(),
                 builder.getF32FloatAttr(
                     sums ? 0.0f : -std::numeric_limits<float>::infinity()));
    Maps maps(builder.getContext(), rank + 1);
    SmallVector<unsigned> dims = {rank};
    for (unsigned i = 0; i < rank; ++i)
      dims.push_back(i);
    SmallVector<IteratorType> iterators(rank + 1, IteratorType::parallel);
    iterators.back() = IteratorType::reduction;
    Value reduced = generic(
        builder, loc, shards, init, {maps.dims(dims), maps.first(rank)},
        iterators, [&](Scalars &s, ValueRange arguments) -> Value {
          Value x = s.widen(arguments[0]);
          if (sums)
            return s.add(arguments[1], x);
          return s.builder.create<arith::MaximumFOp>(loc, arguments[1], x);
        });
    if (full.getElementType().isF32())
      return reduced;
    Maps each(builder.getContext(), rank);
    return generic(builder, loc, reduced,
                   emptyLike(builder, loc, full, reduced),
                   {each.all(), each.all()}, ArrayRef(iterators).drop_back(),
                   [&](Scalars &s, ValueRange arguments) {
                     return s.round(arguments[0], full.getElementType());
                   });
  }

private:
  /// Where shard d0's element (d1, ...) lies in a tensor whose dimension `axis`
  /// is split in two.
  AffineMap partsMap(unsigned rank, unsigned axis) {
    SmallVector<unsigned> dims;
    for (unsigned i = 1; i < rank; ++i) {
      if (i == axis + 1)
        dims.push_back(0);
      dims.push_back(i);
    }
    return Maps(builder.getContext(), rank).dims(dims);
  }

  Value copy(Value from, Value to, AffineMap map) {
    unsigned rank = map.getNumDims();
    return generic(
        builder, loc, from, to, {map, Maps(builder.getContext(), rank).all()},
        SmallVector<IteratorType>(rank, IteratorType::parallel),
        [](Scalars &, ValueRange arguments) { return arguments[0]; });
  }

  OpBuilder &builder;
  Location loc;
};

struct ConvertShard : OneToNOpConversionPattern<ShardOp> {
  using OneToNOpConversionPattern::OneToNOpConversionPattern;

  LogicalResult
  matchAndRewrite(ShardOp op, OpAdaptor adaptor,
                  OneToNPatternRewriter &rewriter) const override {
    Shards shards(rewriter, op.getLoc());
    rewriter.replaceOp(
        op, shards.distribute(op.getInput(), op.getResult().getType()),
        adaptor.getResultMapping());
    return success();
  }
};

struct ConvertUnshard : OneToNOpConversionPattern<UnshardOp> {
  using OneToNOpConversionPattern::OneToNOpConversionPattern;

  LogicalResult
  matchAndRewrite(UnshardOp op, OpAdaptor adaptor,
                  OneToNPatternRewriter &rewriter) const override {
    Shards shards(rewriter, op.getLoc());
    rewriter.replaceOp(
        op, shards.collect(adaptor.getInput()[0], op.getInput().getType()),
        adaptor.getResultMapping());
    return success();
  }
};

/// The parts of all shards stand side by side.
struct ConvertFromLocal : OneToNOpConversionPattern<FromLocalOp> {
  using OneToNOpConversionPattern::OneToNOpConversionPattern;

  LogicalResult
  matchAndRewrite(FromLocalOp op, OpAdaptor adaptor,
                  OneToNPatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    RankedTensorType type = op.getResult().getType().getShardsType();
    SmallVector<OpFoldResult> sizes =
        tensor::getMixedSizes(rewriter, loc, op.getParts()[0]);
    sizes.insert(sizes.begin(), rewriter.getIndexAttr(type.getDimSize(0)));
    Maps maps(op.getContext(), type.getRank());
    SmallVector<unsigned> dims;
    for (unsigned i = 1; i < maps.rank; ++i)
      dims.push_back(i);
    SmallVector<AffineMap> indexing(op.getParts().size(), maps.dims(dims));
    indexing.push_back(maps.all());
    Value all =
        generic(rewriter, loc, op.getParts(),
                emptyOf(rewriter, loc, sizes, type.getElementType()), indexing,
                SmallVector<IteratorType>(maps.rank, IteratorType::parallel),
                [&](Scalars &s, ValueRange arguments) {
                  Value shard = s.builder.create<linalg::IndexOp>(loc, 0);
                  Value part = arguments[0];
                  for (int64_t i = 1; i < type.getDimSize(0); ++i)
                    part = s.builder.create<arith::SelectOp>(
                        loc,
                        s.builder.create<arith::CmpIOp>(
                            loc, arith::CmpIPredicate::eq, shard, s.index(i)),
                        arguments[i], part);
                  return part;
                });
    rewriter.replaceOp(op, all, adaptor.getResultMapping());
    return success();
  }
};

struct ConvertToLocal : OneToNOpConversionPattern<ToLocalOp> {
  using OneToNOpConversionPattern::OneToNOpConversionPattern;

  LogicalResult
  matchAndRewrite(ToLocalOp op, OpAdaptor adaptor,
                  OneToNPatternRewriter &rewriter) const override {
    ShardedTensorType type = op.getInput().getType();
    Shards shards(rewriter, op.getLoc());
    SmallVector<Value> parts;
    for (int64_t shard = 0; shard < type.getShards(); ++shard)
      parts.push_back(shards.partOf(adaptor.getInput()[0], shard));
    rewriter.replaceOp(op, parts, adaptor.getResultMapping());
    return success();
  }
};

/// A collective makes the full tensor of what the shards hold, and hands it out
/// again.
template <typename Op>
struct ConvertCollective : OneToNOpConversionPattern<Op> {
  using OneToNOpConversionPattern<Op>::OneToNOpConversionPattern;

  LogicalResult
  matchAndRewrite(Op op,
                  typename OneToNOpConversionPattern<Op>::OpAdaptor adaptor,
                  OneToNPatternRewriter &rewriter) const override {
    Shards shards(rewriter, op.getLoc());
    ShardedTensorType type = op.getInput().getType();
    Value input = adaptor.getInput()[0];
    Value full = type.isPartial() ? shards.reduce(input, type)
                                  : shards.collect(input, type);
    rewriter.replaceOp(op, shards.distribute(full, op.getResult().getType()),
                       adaptor.getResultMapping());
    return success();
  }
};

struct ConvertShardedLinear : OneToNOpConversionPattern<ShardedLinearOp> {
  using OneToNOpConversionPattern::OneToNOpConversionPattern;

  LogicalResult
  matchAndRewrite(ShardedLinearOp op, OpAdaptor adaptor,
                  OneToNPatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    Value input = adaptor.getInput()[0], weight = adaptor.getWeight()[0];
    RankedTensorType type = op.getResult().getType().getShardsType();
    SmallVector<OpFoldResult> sizes = {
        tensor::getMixedSize(rewriter, loc, input, 0),
        tensor::getMixedSize(rewriter, loc, input, 1),
        tensor::getMixedSize(rewriter, loc, weight, 1)};
    Value init = filledOf(rewriter, loc, sizes, rewriter.getF32FloatAttr(0.0));
    Maps product(op.getContext(), 4);
    SmallVector<IteratorType> iterators(3, IteratorType::parallel);
    iterators.push_back(IteratorType::reduction);
    Value sums = generic(
        rewriter, loc, {input, weight}, init,
        {product.dims({0, 1, 3}), product.dims({0, 2, 3}), product.first(3)},
        iterators, [&](Scalars &s, ValueRange arguments) {
          return s.add(arguments[2],
                       s.mul(s.widen(arguments[0]), s.widen(arguments[1])));
        });
    if (op.getBias() || sums.getType() != type)
      sums = finish(rewriter, loc, sums,
                    op.getBias() ? adaptor.getBias()[0] : Value(),
                    op.getResult().getType());
    rewriter.replaceOp(op, sums, adaptor.getResultMapping());
    return success();
  }

private:
  /// Adds the bias and rounds.
  static Value finish(OpBuilder &builder, Location loc, Value sums, Value bias,
                      ShardedTensorType result) {
    Maps maps(builder.getContext(), 3);
    SmallVector<Value> inputs = {sums};
    SmallVector<AffineMap> inputMaps = {maps.all()};
    if (bias) {
      inputs.push_back(bias);
      inputMaps.push_back(maps.dims({0, 2}));
    }
    inputMaps.push_back(maps.all());
    RankedTensorType type = result.getShardsType();
    return generic(
        builder, loc, inputs, emptyLike(builder, loc, type, sums), inputMaps,
        SmallVector<IteratorType>(3, IteratorType::parallel),
        [&](Scalars &s, ValueRange arguments) {
          Value x = arguments[0];
          if (bias) {
            Value term = s.widen(arguments[1]);
            // A term of a sum is added once.
            if (result.isPartial()) {
              Value isFirst = s.builder.create<arith::CmpIOp>(
                  loc, arith::CmpIPredicate::eq,
                  s.builder.create<linalg::IndexOp>(loc, 0), s.index(0));
              term = s.builder.create<arith::SelectOp>(loc, isFirst, term,
                                                       s.constant(0.0));
            }
            x = s.add(x, term);
          }
          return s.round(x, type.getElementType());
        });
  }
};

} // namespace

void llmir::reference::populateShardingConversion(
    OneToNTypeConverter &converter, RewritePatternSet &patterns) {
  converter.addConversion(
      [](ShardedTensorType type) { return type.getShardsType(); });
  patterns
      .add<ConvertCollective<AllGatherOp>, ConvertCollective<AllReduceOp>,
           ConvertCollective<ReduceScatterOp>, ConvertFromLocal, ConvertShard,
           ConvertShardedLinear, ConvertToLocal, ConvertUnshard>(
          converter, patterns.getContext());
}
