// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What a program does with its cache in more steps than it takes: reading it
// into tensors to attend to them, writing it twice, holding what nothing reads
// again.

#include "llmir/Dialect/LLM/LLM.h"
#include "llmir/Dialect/LLM/Passes.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/IR/AttrTypeSubElements.h"
#include "mlir/IR/Matchers.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

#include <cmath>

namespace llmir::llm {
#define GEN_PASS_DEF_LLMOPTIMIZEKVCACHE
#include "llmir/Dialect/LLM/Passes.h.inc"
} // namespace llmir::llm

using namespace mlir;
using namespace llmir::llm;

static RankedTensorType typeOf(Value value) {
  return cast<RankedTensorType>(value.getType());
}

//===----------------------------------------------------------------------===//
// Masks of what a sequence has
//===----------------------------------------------------------------------===//

namespace {
/// A sum of the position of a key, the number of a query and the length of the
/// sequence, each times a constant.
struct Place {
  int64_t key = 0, query = 0, length = 0, one = 0;

  Place plus(const Place &other, int64_t factor) const {
    return {key + factor * other.key, query + factor * other.query,
            length + factor * other.length, one + factor * other.one};
  }
};
} // namespace

/// What an integer in the body of a mask is. The loops of `op` are those of a
/// mask [sequences, heads, queries, keys].
static std::optional<Place> placeOf(linalg::GenericOp op, Value value,
                                    Value lengths) {
  APInt constant;
  if (matchPattern(value, m_ConstantInt(&constant)))
    return Place{0, 0, 0, constant.getSExtValue()};
  if (auto argument = dyn_cast<BlockArgument>(value)) {
    if (argument.getOwner() != op.getBlock() ||
        argument.getArgNumber() >= op.getNumDpsInputs())
      return std::nullopt;
    OpOperand *operand = op.getDpsInputOperand(argument.getArgNumber());
    AffineMap map = op.getMatchingIndexingMap(operand);
    bool isLength = operand->get() == lengths && map.getNumResults() == 1 &&
                    map.getResult(0) == getAffineDimExpr(0, op.getContext());
    return isLength ? std::optional(Place{0, 0, 1, 0}) : std::nullopt;
  }
  // Positions fit in 32 bits, and in no less.
  if (!value.getType().isIndex() &&
      value.getType().getIntOrFloatBitWidth() < 32)
    return std::nullopt;
  Operation *def = value.getDefiningOp();
  if (auto index = dyn_cast<linalg::IndexOp>(def)) {
    if (index.getDim() == 3)
      return Place{1, 0, 0, 0};
    if (index.getDim() == 2)
      return Place{0, 1, 0, 0};
    return std::nullopt;
  }
  if (isa<arith::IndexCastOp, arith::ExtSIOp, arith::TruncIOp>(def))
    return placeOf(op, def->getOperand(0), lengths);
  if (isa<arith::AddIOp, arith::SubIOp>(def)) {
    std::optional<Place> lhs = placeOf(op, def->getOperand(0), lengths),
                         rhs = placeOf(op, def->getOperand(1), lengths);
    if (lhs && rhs)
      return lhs->plus(*rhs, isa<arith::AddIOp>(def) ? 1 : -1);
  }
  return std::nullopt;
}

/// Whether `mask` lets each of the last `queries` tokens of a sequence see what
/// came before it and itself: key <= length - queries + query.
static bool isCausalMask(Value mask, Value lengths, int64_t queries) {
  auto op = mask.getDefiningOp<linalg::GenericOp>();
  if (!op || op.getNumLoops() != 4 || op->getNumResults() != 1 ||
      op.getNumParallelLoops() != 4 ||
      !op.getMatchingIndexingMap(op.getDpsInitOperand(0)).isIdentity())
    return false;
  auto comparison = op.getBlock()
                        ->getTerminator()
                        ->getOperand(0)
                        .getDefiningOp<arith::CmpIOp>();
  if (!comparison)
    return false;
  std::optional<Place> lhs = placeOf(op, comparison.getLhs(), lengths),
                       rhs = placeOf(op, comparison.getRhs(), lengths);
  if (!lhs || !rhs)
    return false;
  // As `place <= 0`.
  Place place;
  switch (comparison.getPredicate()) {
  case arith::CmpIPredicate::sle:
  case arith::CmpIPredicate::slt:
    place = lhs->plus(*rhs, -1);
    break;
  case arith::CmpIPredicate::sge:
  case arith::CmpIPredicate::sgt:
    place = rhs->plus(*lhs, -1);
    break;
  default:
    return false;
  }
  if (comparison.getPredicate() == arith::CmpIPredicate::slt ||
      comparison.getPredicate() == arith::CmpIPredicate::sgt)
    ++place.one;
  // The only query there is has the number 0.
  return place.key == 1 && place.length == -1 && place.one == queries &&
         (queries == 1 || place.query == -1);
}

//===----------------------------------------------------------------------===//
// Patterns
//===----------------------------------------------------------------------===//

namespace {
/// Attention over what a lookup has gathered reads the cache itself.
struct AttendInCache : OpRewritePattern<AttentionOp> {
  AttendInCache(MLIRContext *context, Pass::Statistic &count)
      : OpRewritePattern(context), count(count) {}

  LogicalResult matchAndRewrite(AttentionOp op,
                                PatternRewriter &rewriter) const override {
    auto lookup = op.getKeys().getDefiningOp<LookupKVOp>();
    if (!lookup || op.getKeys() != lookup.getKeys() ||
        op.getValues() != lookup.getValues())
      return rewriter.notifyMatchFailure(op, "is not over one lookup");
    // What has been looked up may be overwritten since.
    for (Operation *user : lookup.getCache().getUsers())
      if (!isa<LookupKVOp, PagedAttentionOp>(user) &&
          (user->getBlock() != op->getBlock() || user->isBeforeInBlock(op)))
        return rewriter.notifyMatchFailure(op, "follows a use of the cache");
    PagedKVCacheType cache = lookup.getCache().getType();
    Type held = cache.getElementType(),
         read = typeOf(lookup.getKeys()).getElementType();
    // Over others, a paged attention rounds what the softmax makes.
    if (!held.isF32() && !held.isF16())
      return rewriter.notifyMatchFailure(op, "would be rounded otherwise");
    if (read != held && !read.isF32())
      return rewriter.notifyMatchFailure(op, "rounds what it looks up");
    int64_t queries = typeOf(op.getQuery()).getDimSize(1),
            positions = typeOf(lookup.getKeys()).getDimSize(1);
    if (ShapedType::isDynamic(queries))
      return rewriter.notifyMatchFailure(op, "has any number of queries");
    DenseIntElementsAttr lengths;
    bool isWhole = matchPattern(lookup.getSeqLens(), m_Constant(&lengths)) &&
                   lengths.isSplat() &&
                   lengths.getSplatValue<APInt>().getSExtValue() == positions;
    if (isWhole && op.getCausal() && !op.getMask()) {
      if (queries > positions)
        return rewriter.notifyMatchFailure(op, "has too many queries");
    } else if (op.getMask() && !op.getCausal() && !op.getAlibi()) {
      if (positions < cache.getMaxSeqLen())
        return rewriter.notifyMatchFailure(op, "looks a part up only");
      if (!isCausalMask(op.getMask(), lookup.getSeqLens(), queries))
        return rewriter.notifyMatchFailure(op, "has another mask");
    } else {
      return rewriter.notifyMatchFailure(op, "sees what no sequence has");
    }
    rewriter.replaceOpWithNewOp<PagedAttentionOp>(
        op, op.getResult().getType(), op.getQuery(), lookup.getCache(),
        lookup.getBlockIndices(), lookup.getSeqLens(), /*rows=*/Value(),
        lookup.getLayer(), op.getSinks(), op.getAlibi(),
        /*num_heads=*/IntegerAttr(), /*head_dim=*/IntegerAttr(),
        op.getScaleAttr(), op.getWindowAttr(), op.getSoftcapAttr(),
        /*query_type=*/TypeAttr());
    ++count;
    return success();
  }

  Pass::Statistic &count;
};

struct DropLookup : OpRewritePattern<LookupKVOp> {
  DropLookup(MLIRContext *context, Pass::Statistic &count)
      : OpRewritePattern(context), count(count) {}

  LogicalResult matchAndRewrite(LookupKVOp op,
                                PatternRewriter &rewriter) const override {
    if (!op->use_empty())
      return failure();
    rewriter.eraseOp(op);
    ++count;
    return success();
  }

  Pass::Statistic &count;
};

/// A slice of whole rows.
struct Rows {
  Value source;
  OpFoldResult begin, size;
};
} // namespace

static std::optional<Rows> rowsOf(Value value) {
  auto slice = value.getDefiningOp<tensor::ExtractSliceOp>();
  if (!slice || slice.getType().getRank() != slice.getSourceType().getRank())
    return std::nullopt;
  for (int64_t i = 0; i < slice.getSourceType().getRank(); ++i) {
    if (!isConstantIntValue(slice.getMixedStrides()[i], 1))
      return std::nullopt;
    std::optional<int64_t> size = getConstantIntValue(slice.getMixedSizes()[i]);
    if (i > 0 && (!isConstantIntValue(slice.getMixedOffsets()[i], 0) ||
                  size != slice.getSourceType().getDimSize(i)))
      return std::nullopt;
  }
  return Rows{slice.getSource(), slice.getMixedOffsets()[0],
              slice.getMixedSizes()[0]};
}

/// Whether `second` begins where rows of a tensor end that begin with the
/// first.
static bool follows(const Rows &first, const Rows &second) {
  return first.source == second.source && isConstantIntValue(first.begin, 0) &&
         isEqualConstantIntOrValue(first.size, second.begin);
}

/// Whether rows are all from `begin` on.
static bool isRest(const Rows &rows) {
  RankedTensorType type = typeOf(rows.source);
  std::optional<int64_t> begin = getConstantIntValue(rows.begin),
                         size = getConstantIntValue(rows.size);
  if (begin && size && !type.isDynamicDim(0))
    return *begin + *size == type.getDimSize(0);
  auto value = llvm::dyn_cast_if_present<Value>(rows.size);
  auto rest = value ? value.getDefiningOp<arith::SubIOp>() : arith::SubIOp();
  auto all =
      rest ? rest.getLhs().getDefiningOp<tensor::DimOp>() : tensor::DimOp();
  return all && all.getSource() == rows.source && all.getConstantIndex() == 0 &&
         isEqualConstantIntOrValue(rows.begin,
                                   getAsOpFoldResult(rest.getRhs()));
}

static bool isSameLayer(AppendKVOp first, AppendKVOp second) {
  auto layer = [](AppendKVOp op) {
    return op.getLayer()
               ? getAsOpFoldResult(op.getLayer())
               : OpFoldResult(Builder(op.getContext()).getIndexAttr(0));
  };
  return isEqualConstantIntOrValue(layer(first), layer(second));
}

namespace {
/// Of two appends in a row to the same layer. What reads the cache in between
/// keeps both.
struct MergeAppends : OpRewritePattern<AppendKVOp> {
  MergeAppends(MLIRContext *context, Pass::Statistic &count)
      : OpRewritePattern(context), count(count) {}

  LogicalResult matchAndRewrite(AppendKVOp second,
                                PatternRewriter &rewriter) const override {
    auto first = second.getCache().getDefiningOp<AppendKVOp>();
    if (!first || !first.getResult().hasOneUse() || !isSameLayer(first, second))
      return rewriter.notifyMatchFailure(second, "does not follow another one");
    if (typeOf(first.getKeys()).getElementType() !=
            typeOf(second.getKeys()).getElementType() ||
        typeOf(first.getValues()).getElementType() !=
            typeOf(second.getValues()).getElementType())
      return rewriter.notifyMatchFailure(second, "rounds other numbers");
    if (first.getSlots() && second.getSlots())
      return mergeSlots(first, second, rewriter);
    if (first.getSeqIds() && second.getSeqIds())
      return mergeSequences(first, second, rewriter);
    return rewriter.notifyMatchFailure(second, "finds its places otherwise");
  }

private:
  LogicalResult mergeSlots(AppendKVOp first, AppendKVOp second,
                           PatternRewriter &rewriter) const {
    // All that the first one has written is overwritten.
    if (first.getSlots() == second.getSlots()) {
      rewriter.modifyOpInPlace(
          second, [&] { second.getCacheMutable().assign(first.getCache()); });
      rewriter.eraseOp(first);
      ++count;
      return success();
    }
    // A step's slots are distinct, so two parts of them are too.
    Value wholes[3];
    std::pair<Value, Value> parts[] = {{first.getSlots(), second.getSlots()},
                                       {first.getKeys(), second.getKeys()},
                                       {first.getValues(), second.getValues()}};
    std::optional<Rows> slots = rowsOf(first.getSlots());
    for (auto [i, part] : llvm::enumerate(parts)) {
      std::optional<Rows> a = rowsOf(part.first), b = rowsOf(part.second);
      if (!a || !b || !follows(*a, *b) || !isRest(*b) ||
          !isEqualConstantIntOrValue(a->size, slots->size))
        return rewriter.notifyMatchFailure(second, "is no rest of the rows");
      wholes[i] = a->source;
    }
    rewriter.replaceOpWithNewOp<AppendKVOp>(
        second, second.getResult().getType(), Type(), first.getCache(),
        wholes[1], wholes[2], /*seq_ids=*/Value(), wholes[0], second.getLayer(),
        /*block_size=*/IntegerAttr(),
        /*max_seq_len=*/IntegerAttr());
    rewriter.eraseOp(first);
    ++count;
    return success();
  }

  /// Blocks are given out in the order of the batch, so only a batch of one
  /// sequence gets the same ones.
  LogicalResult mergeSequences(AppendKVOp first, AppendKVOp second,
                               PatternRewriter &rewriter) const {
    if (first.getSeqIds() != second.getSeqIds() ||
        typeOf(first.getSeqIds()).getDimSize(0) != 1 ||
        !first.getBlockIndices().use_empty())
      return rewriter.notifyMatchFailure(second, "may get other blocks");
    int64_t tokens = 0;
    for (AppendKVOp op : {first, second})
      if (int64_t size = typeOf(op.getKeys()).getDimSize(1);
          !ShapedType::isDynamic(size))
        tokens += size;
    if (tokens > second.getCache().getType().getMaxSeqLen())
      return rewriter.notifyMatchFailure(second, "would be too long");
    Value keys =
        join(rewriter, second.getLoc(), first.getKeys(), second.getKeys());
    Value values =
        join(rewriter, second.getLoc(), first.getValues(), second.getValues());
    rewriter.replaceOpWithNewOp<AppendKVOp>(
        second, second.getResult().getType(),
        second.getBlockIndices().getType(), first.getCache(), keys, values,
        second.getSeqIds(), /*slots=*/Value(), second.getLayer(),
        /*block_size=*/IntegerAttr(), /*max_seq_len=*/IntegerAttr());
    rewriter.eraseOp(first);
    ++count;
    return success();
  }

  /// Keys or values of one sequence, [1, tokens, heads, dimensions], and those
  /// that follow them.
  static Value join(OpBuilder &builder, Location loc, Value first,
                    Value second) {
    SmallVector<OpFoldResult> ones(4, builder.getIndexAttr(1)),
        begin(4, builder.getIndexAttr(0)),
        firstSizes = tensor::getMixedSizes(builder, loc, first),
        secondSizes = tensor::getMixedSizes(builder, loc, second),
        sizes = firstSizes;
    AffineExpr a, b;
    bindSymbols(builder.getContext(), a, b);
    sizes[1] = affine::makeComposedFoldedAffineApply(
        builder, loc, a + b, {firstSizes[1], secondSizes[1]});
    Value whole = builder.create<tensor::EmptyOp>(
        loc, sizes, typeOf(first).getElementType());
    whole = builder.create<tensor::InsertSliceOp>(loc, first, whole, begin,
                                                  firstSizes, ones);
    begin[1] = firstSizes[1];
    return builder.create<tensor::InsertSliceOp>(loc, second, whole, begin,
                                                 secondSizes, ones);
  }

  Pass::Statistic &count;
};

//===----------------------------------------------------------------------===//
// The pass
//===----------------------------------------------------------------------===//

struct OptimizeKVCachePass
    : llmir::llm::impl::LLMOptimizeKVCacheBase<OptimizeKVCachePass> {
  using LLMOptimizeKVCacheBase::LLMOptimizeKVCacheBase;

  void runOnOperation() override {
    if (blockSize != "keep" && blockSize != "auto") {
      emitError(UnknownLoc::get(&getContext()))
          << "llm-optimize-kv-cache: block-size must be keep or auto, but is "
          << blockSize;
      return signalPassFailure();
    }
    RewritePatternSet patterns(&getContext());
    patterns.add<AttendInCache>(&getContext(), numPaged);
    patterns.add<DropLookup>(&getContext(), numDropped);
    patterns.add<MergeAppends>(&getContext(), numMerged);
    if (failed(
            applyPatternsAndFoldGreedily(getOperation(), std::move(patterns))))
      return signalPassFailure();
    boundByWindow();
    if (blockSize == "auto")
      chooseBlockSizes();
  }

private:
  /// Says how far back attention looks, if no attention looks back to the
  /// start.
  void boundByWindow() {
    auto facts = getOperation()->getAttrOfType<DictionaryAttr>("llm.model");
    if (!facts)
      return;
    std::optional<int64_t> window = longestWindow();
    NamedAttrList list(facts);
    constexpr llvm::StringLiteral name = "kv_cache_window";
    list.erase(name);
    if (window)
      list.set(name, Builder(&getContext()).getI64IntegerAttr(*window));
    getOperation()->setAttr("llm.model", list.getDictionary(&getContext()));
  }

  /// The longest window, or none if something reads more of a cache.
  std::optional<int64_t> longestWindow() {
    int64_t window = 0;
    WalkResult result = getOperation().walk([&](Operation *op) {
      if (isa<LookupKVOp>(op))
        return WalkResult::interrupt();
      auto attention = dyn_cast<PagedAttentionOp>(op);
      if (!attention)
        return WalkResult::advance();
      int64_t length = attention.getCache().getType().getMaxSeqLen();
      if (attention.getWindow().value_or(length) >= length)
        return WalkResult::interrupt();
      window = std::max<int64_t>(window, *attention.getWindow());
      return WalkResult::advance();
    });
    if (result.wasInterrupted() || window == 0)
      return std::nullopt;
    return window;
  }

  void chooseBlockSizes() {
    // Where a program gives blocks out itself, or says how many a sequence has,
    // their size is its own matter.
    WalkResult result = getOperation().walk([](Operation *op) {
      if (auto append = dyn_cast<AppendKVOp>(op);
          append && (append.getSeqIds() || append.getBlockSize()))
        return WalkResult::interrupt();
      Value blocks;
      if (auto lookup = dyn_cast<LookupKVOp>(op))
        blocks = lookup.getBlockIndices();
      if (auto attention = dyn_cast<PagedAttentionOp>(op))
        blocks = attention.getBlockIndices();
      return blocks && !typeOf(blocks).isDynamicDim(1) ? WalkResult::interrupt()
                                                       : WalkResult::advance();
    });
    if (result.wasInterrupted())
      return;
    std::optional<int64_t> window = longestWindow();
    AttrTypeReplacer replacer;
    replacer.addReplacement([&](PagedKVCacheType type) -> std::optional<Type> {
      int64_t best = cheapestBlockSize(type, window);
      if (best == type.getBlockSize())
        return std::nullopt;
      ++numResized;
      return PagedKVCacheType::get(
          type.getContext(), type.getElementType(), type.getLayers(),
          type.getKvHeads(), type.getHeadDim(), best, type.getMaxSeqLen());
    });
    replacer.recursivelyReplaceElementsIn(getOperation(), /*replaceAttrs=*/true,
                                          /*replaceLocs=*/false,
                                          /*replaceTypes=*/true);
  }

  /// See Passes.td.
  static int64_t cheapestBlockSize(PagedKVCacheType type,
                                   std::optional<int64_t> window) {
    constexpr double bytesPerStretch = 256.0;
    unsigned bits = type.getElementType().getIntOrFloatBitWidth();
    double bytesPerPosition =
        (type.getHeadDim() * bits + (type.isQuantized() ? 24 : 0)) / 8.0;
    double length = static_cast<double>(std::min(
        type.getMaxSeqLen() / 2, window.value_or(type.getMaxSeqLen())));
    int64_t best = 0;
    double least = 0;
    for (int64_t size : {8, 16, 32, 64}) {
      double cost =
          length / size * bytesPerStretch + size / 2.0 * bytesPerPosition;
      if (best == 0 || cost < least)
        std::tie(best, least) = std::tuple(size, cost);
    }
    return best;
  }
};
} // namespace
