// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Attention and the paged cache that it reads: what the ops require, what they
// infer, what folds.

#include "Verification.h"
#include "llmir/Dialect/LLM/LLM.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/IR/Matchers.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmir::llm;

//===----------------------------------------------------------------------===//
// Attention
//===----------------------------------------------------------------------===//

/// Checks that query heads can share KV heads.
static LogicalResult verifyHeads(Operation *op, int64_t queryHeads,
                                 int64_t kvHeads) {
  if (ShapedType::isDynamic(queryHeads) || ShapedType::isDynamic(kvHeads))
    return op->emitOpError("the number of heads must be static");
  if (kvHeads == 0 || queryHeads == 0 || queryHeads % kvHeads != 0)
    return op->emitOpError() << "the number of query heads must be a positive "
                                "multiple of the KV heads, but there are "
                             << queryHeads << " and " << kvHeads;
  return success();
}

/// Checks the numbers that both kinds of attention take, and the operands with
/// one element for each query head.
template <typename Op> static LogicalResult verifyScores(Op op, int64_t heads) {
  if (op.getScale() && !op.getScale()->isFinite())
    return op.emitOpError("scale must be finite");
  if (op.getSoftcap() && (!op.getSoftcap()->isFinite() ||
                          !(op.getSoftcap()->convertToFloat() > 0.0f)))
    return op.emitOpError("softcap must be positive and finite");
  if (op.getWindow() && static_cast<int64_t>(*op.getWindow()) <= 0)
    return op.emitOpError() << "window must be positive, but is "
                            << static_cast<int64_t>(*op.getWindow());
  std::pair<StringRef, Value> operands[] = {{"sinks", op.getSinks()},
                                            {"alibi", op.getAlibi()}};
  for (auto [name, operand] : operands)
    if (operand && (failed(verifyRank(op, name, operand.getType(), 1)) ||
                    failed(verifyDim(op, ("the number of " + name).str(),
                                     rankedType(operand).getDimSize(0), heads,
                                     "the number of query heads"))))
      return failure();
  return success();
}

LogicalResult AttentionOp::inferReturnTypes(MLIRContext *,
                                            std::optional<Location>,
                                            Adaptor adaptor,
                                            SmallVectorImpl<Type> &inferred) {
  return inferSame(adaptor.getQuery(), inferred);
}

/// Checks a mask's shape, in which sequences and heads may be 1.
static LogicalResult verifyMask(AttentionOp op) {
  if (!op.getMask())
    return success();
  auto mask = rankedType(op.getMask()), query = rankedType(op.getQuery());
  if (failed(verifyRank(op, "mask", mask, 4)))
    return failure();
  int64_t expected[] = {query.getDimSize(0), query.getDimSize(2),
                        query.getDimSize(1),
                        rankedType(op.getKeys()).getDimSize(1)};
  for (int64_t i = 0; i < 4; ++i)
    if (!sameDim(mask.getDimSize(i), expected[i]) &&
        (i > 1 || mask.getDimSize(i) != 1))
      return op.emitOpError()
             << "mask is " << mask << ", but must have the shape "
             << RankedTensorType::get(expected, mask.getElementType())
             << ", with 1 for what serves all sequences or heads";
  return success();
}

LogicalResult AttentionOp::verify() {
  if (failed(verifyRank(*this, "query", getQuery().getType(), 4)) ||
      failed(verifyRank(*this, "keys", getKeys().getType(), 4)) ||
      failed(verifyRank(*this, "values", getValues().getType(), 4)))
    return failure();
  auto query = rankedType(getQuery());
  auto keys = rankedType(getKeys());
  if (failed(verifyCompatibleShape(keys, getValues().getType())))
    return emitOpError() << "values are " << getValues().getType()
                         << ", but must have the keys' shape, that of " << keys;
  if (failed(verifyDim(*this, "the keys' number of sequences",
                       keys.getDimSize(0), query.getDimSize(0),
                       "the query's")) ||
      failed(verifyDim(*this, "the keys' head_dim", keys.getDimSize(3),
                       query.getDimSize(3), "the query's")) ||
      failed(verifyHeads(*this, query.getDimSize(2), keys.getDimSize(2))))
    return failure();
  if (!getScale() && (query.isDynamicDim(3) || query.getDimSize(3) == 0))
    return emitOpError("a head_dim that is dynamic or 0 needs an explicit "
                       "scale");
  if (failed(verifyScores(*this, query.getDimSize(2))) ||
      failed(verifyMask(*this)))
    return failure();
  if (getWindow() && !getCausal())
    return emitOpError("a window needs causal attention");
  return verifyResultShape(*this, getResult().getType(), query.getShape());
}

//===----------------------------------------------------------------------===//
// The paged KV cache
//===----------------------------------------------------------------------===//

/// Checks a constant layer against the cache's.
static LogicalResult verifyLayer(Operation *op, Value layer,
                                 PagedKVCacheType cache) {
  std::optional<int64_t> constant =
      layer ? getConstantIntValue(layer) : std::optional<int64_t>(0);
  if (constant && (*constant < 0 || *constant >= cache.getLayers()))
    return op->emitOpError() << "layer " << *constant << " is not one of the "
                             << cache.getLayers() << " layers of the cache";
  return success();
}

/// Checks that keys and values are alike and end in the cache's heads.
static LogicalResult verifyKVHeads(Operation *op, Value keys, Value values,
                                   PagedKVCacheType cache) {
  for (Value value : {keys, values}) {
    ArrayRef<int64_t> shape = rankedType(value).getShape().take_back(2);
    if (shape[0] != cache.getKvHeads() || shape[1] != cache.getHeadDim())
      return op->emitOpError()
             << (value == keys ? "keys are " : "values are ") << value.getType()
             << ", but the cache has " << cache.getKvHeads() << " KV heads of "
             << cache.getHeadDim();
  }
  return success();
}

/// Checks that a block table is no wider than a sequence can be long.
static LogicalResult verifyColumns(Operation *op, Value blockIndices,
                                   PagedKVCacheType cache) {
  int64_t columns = rankedType(blockIndices).getDimSize(1);
  if (ShapedType::isDynamic(columns) ||
      columns <= cache.getMaxBlocksPerSequence())
    return success();
  return op->emitOpError() << "block_indices have " << columns
                           << " columns, but a sequence has at most "
                           << cache.getMaxBlocksPerSequence() << " blocks";
}

/// Checks what is appended to a cache: keys and values of `rank` dimensions,
/// and that the result is of the cache's type.
template <typename Op> static LogicalResult verifyAppend(Op op, int64_t rank) {
  PagedKVCacheType cache = op.getCache().getType();
  Value keys = op.getKeys(), values = op.getValues();
  if (op.getResult().getType() != cache)
    return op.emitOpError() << "result is " << op.getResult().getType()
                            << ", but must be the operand's " << cache;
  if (failed(verifyRank(op, "keys", keys.getType(), rank)) ||
      failed(verifyRank(op, "values", values.getType(), rank)))
    return failure();
  if (failed(verifyCompatibleShape(keys.getType(), values.getType())))
    return op.emitOpError()
           << "values are " << values.getType()
           << ", but must have the keys' shape, that of " << keys.getType();
  return verifyKVHeads(op, keys, values, cache);
}

LogicalResult AppendKVOp::verify() {
  PagedKVCacheType cache = getCache().getType();
  bool allocates = static_cast<bool>(getSeqIds());
  if (allocates == static_cast<bool>(getSlots()))
    return emitOpError("needs either seq_ids or slots");
  if (allocates != static_cast<bool>(getBlockIndices()))
    return emitOpError("returns block_indices with seq_ids, and only then");
  if (failed(verifyAppend(*this, allocates ? 4 : 3)))
    return failure();
  if (allocates && rankedType(getKeys()).getDimSize(1) > cache.getMaxSeqLen())
    return emitOpError() << "keys have " << rankedType(getKeys()).getDimSize(1)
                         << " tokens a sequence, but max_seq_len is "
                         << cache.getMaxSeqLen();
  Value indices = allocates ? getSeqIds() : getSlots();
  if (failed(verifyRank(*this, allocates ? "seq_ids" : "slots",
                        indices.getType(), 1)) ||
      failed(verifyDim(
          *this, allocates ? "the number of seq_ids" : "the number of slots",
          rankedType(indices).getDimSize(0),
          rankedType(getKeys()).getDimSize(0),
          allocates ? "the keys' number of sequences"
                    : "the keys' number of tokens")))
    return failure();
  if (Value blocks = getBlockIndices()) {
    if (failed(verifyRank(*this, "block_indices", blocks.getType(), 2)) ||
        failed(verifyDim(*this, "block_indices' number of sequences",
                         rankedType(blocks).getDimSize(0),
                         rankedType(indices).getDimSize(0),
                         "the number of seq_ids")) ||
        failed(verifyColumns(*this, blocks, cache)))
      return failure();
  }
  if (getBlockSize() && *getBlockSize() != cache.getBlockSize())
    return emitOpError() << "block_size is "
                         << static_cast<int32_t>(*getBlockSize())
                         << ", but the cache's is " << cache.getBlockSize();
  if (getMaxSeqLen() && *getMaxSeqLen() != cache.getMaxSeqLen())
    return emitOpError() << "max_seq_len is "
                         << static_cast<int32_t>(*getMaxSeqLen())
                         << ", but the cache's is " << cache.getMaxSeqLen();
  return verifyLayer(*this, getLayer(), cache);
}

LogicalResult RopeAppendKVOp::verify() {
  PagedKVCacheType cache = getCache().getType();
  if (failed(verifyAppend(*this, 3)) ||
      failed(verifyRotation(*this, "keys", getKeys(), getTable(),
                            getPositions())) ||
      failed(verifyRotation(*this, "query", getQuery(), getTable(),
                            getPositions())) ||
      failed(verifyRank(*this, "slots", getSlots().getType(), 1)) ||
      failed(verifyDim(
          *this, "the number of slots", rankedType(getSlots()).getDimSize(0),
          rankedType(getKeys()).getDimSize(0), "the keys' number of tokens")) ||
      failed(verifyHeads(*this, rankedType(getQuery()).getDimSize(1),
                         cache.getKvHeads())) ||
      failed(verifyDim(*this, "the query's head_dim",
                       rankedType(getQuery()).getDimSize(2), cache.getHeadDim(),
                       "the cache's")) ||
      failed(verifyResultShape(*this, getRotated().getType(),
                               rankedType(getQuery()).getShape())))
    return failure();
  return verifyLayer(*this, getLayer(), cache);
}

/// Checks the block table and the lengths, and returns the number of sequences.
static FailureOr<int64_t> verifyBlocks(Operation *op, Value blockIndices,
                                       Value seqLens) {
  if (failed(verifyRank(op, "block_indices", blockIndices.getType(), 2)) ||
      failed(verifyRank(op, "seq_lens", seqLens.getType(), 1)))
    return failure();
  int64_t sequences = rankedType(blockIndices).getDimSize(0);
  if (failed(verifyDim(op, "the number of seq_lens",
                       rankedType(seqLens).getDimSize(0), sequences,
                       "block_indices' number of sequences")))
    return failure();
  return sequences;
}

LogicalResult LookupKVOp::verify() {
  PagedKVCacheType cache = getCache().getType();
  FailureOr<int64_t> sequences =
      verifyBlocks(*this, getBlockIndices(), getSeqLens());
  if (failed(sequences) ||
      failed(verifyRank(*this, "keys", getKeys().getType(), 4)) ||
      failed(verifyRank(*this, "values", getValues().getType(), 4)))
    return failure();
  if (getKeys().getType() != getValues().getType())
    return emitOpError() << "values are " << getValues().getType()
                         << ", but must be of the keys' type, "
                         << getKeys().getType();
  if (failed(verifyKVHeads(*this, getKeys(), getValues(), cache)) ||
      failed(verifyColumns(*this, getBlockIndices(), cache)) ||
      failed(verifyDim(*this, "the keys' number of sequences",
                       rankedType(getKeys()).getDimSize(0), *sequences,
                       "block_indices' number of sequences")))
    return failure();
  int64_t positions = rankedType(getKeys()).getDimSize(1),
          columns = rankedType(getBlockIndices()).getDimSize(1);
  if (ShapedType::isDynamic(positions))
    return emitOpError("the keys' number of positions must be static");
  if (!ShapedType::isDynamic(columns) &&
      positions > columns * cache.getBlockSize())
    return emitOpError() << "keys have " << positions << " positions, but "
                         << columns << " blocks hold only "
                         << columns * cache.getBlockSize();
  return verifyLayer(*this, getLayer(), cache);
}

LogicalResult PagedAttentionOp::verify() {
  PagedKVCacheType cache = getCache().getType();
  FailureOr<int64_t> sequences =
      verifyBlocks(*this, getBlockIndices(), getSeqLens());
  if (failed(sequences))
    return failure();
  int64_t rank = getRows() ? 3 : 4;
  if (failed(verifyRank(*this, "query", getQuery().getType(), rank)))
    return failure();
  auto query = rankedType(getQuery());
  if (Value rows = getRows()) {
    if (failed(verifyRank(*this, "rows", rows.getType(), 1)))
      return failure();
    if (!ShapedType::isDynamic(*sequences) &&
        failed(verifyDim(*this, "the number of rows",
                         rankedType(rows).getDimSize(0), *sequences + 1,
                         "one more than the sequences")))
      return failure();
  } else if (failed(verifyDim(*this, "the query's number of sequences",
                              query.getDimSize(0), *sequences,
                              "block_indices' number of sequences"))) {
    return failure();
  }
  int64_t heads = query.getDimSize(rank - 2),
          headDim = query.getDimSize(rank - 1);
  if (failed(verifyHeads(*this, heads, cache.getKvHeads())))
    return failure();
  if (headDim != cache.getHeadDim())
    return emitOpError() << "query is " << query
                         << ", but the cache's head_dim is "
                         << cache.getHeadDim();
  if (failed(verifyScores(*this, heads)))
    return failure();
  if (getQueryType() && !getQueryType()->isBF16())
    return emitOpError() << "query_type must be bf16, but is "
                         << *getQueryType();
  if (getNumHeads() && *getNumHeads() != heads)
    return emitOpError() << "num_heads is "
                         << static_cast<int32_t>(*getNumHeads())
                         << ", but the query has " << heads << " heads";
  if (getHeadDim() && *getHeadDim() != headDim)
    return emitOpError() << "head_dim is "
                         << static_cast<int32_t>(*getHeadDim())
                         << ", but the query's is " << headDim;
  if (failed(verifyColumns(*this, getBlockIndices(), cache)))
    return failure();
  if (failed(verifyResultShape(*this, getResult().getType(), query.getShape())))
    return failure();
  return verifyLayer(*this, getLayer(), cache);
}

namespace {
/// Layer 0 is what an absent operand means.
template <typename Op> struct DropLayerZero : OpRewritePattern<Op> {
  using OpRewritePattern<Op>::OpRewritePattern;

  LogicalResult matchAndRewrite(Op op,
                                PatternRewriter &rewriter) const override {
    if (!op.getLayer() || !matchPattern(op.getLayer(), m_Zero()))
      return failure();
    rewriter.modifyOpInPlace(op, [&] { op.getLayerMutable().clear(); });
    return success();
  }
};

/// The sizes that the published forms repeat are in the types.
struct DropAppendSizes : OpRewritePattern<AppendKVOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(AppendKVOp op,
                                PatternRewriter &rewriter) const override {
    if (!op.getBlockSize() && !op.getMaxSeqLen())
      return failure();
    rewriter.modifyOpInPlace(op, [&] {
      op.removeBlockSizeAttr();
      op.removeMaxSeqLenAttr();
    });
    return success();
  }
};

struct DropAttentionSizes : OpRewritePattern<PagedAttentionOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(PagedAttentionOp op,
                                PatternRewriter &rewriter) const override {
    if (!op.getNumHeads() && !op.getHeadDim())
      return failure();
    rewriter.modifyOpInPlace(op, [&] {
      op.removeNumHeadsAttr();
      op.removeHeadDimAttr();
    });
    return success();
  }
};
} // namespace

void AppendKVOp::getCanonicalizationPatterns(RewritePatternSet &patterns,
                                             MLIRContext *context) {
  patterns.add<DropLayerZero<AppendKVOp>, DropAppendSizes>(context);
}

void RopeAppendKVOp::getCanonicalizationPatterns(RewritePatternSet &patterns,
                                                 MLIRContext *context) {
  patterns.add<DropLayerZero<RopeAppendKVOp>>(context);
}

void LookupKVOp::getCanonicalizationPatterns(RewritePatternSet &patterns,
                                             MLIRContext *context) {
  patterns.add<DropLayerZero<LookupKVOp>>(context);
}

void PagedAttentionOp::getCanonicalizationPatterns(RewritePatternSet &patterns,
                                                   MLIRContext *context) {
  patterns.add<DropLayerZero<PagedAttentionOp>, DropAttentionSizes>(context);
}
