// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Keys are rotated only to be stored: an append that rotates them itself saves
// their way through memory. It takes the queries along, so that what lies
// between the product and attention is one call, and the threads meet once.

#include "FusionModel.h"
#include "llmir/Dialect/LLM/LLM.h"
#include "llmir/Dialect/LLM/Passes.h"

#include "mlir/IR/PatternMatch.h"
#include "mlir/IR/TypeUtilities.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

namespace llmir::llm {
#define GEN_PASS_DEF_LLMFUSEROPEAPPEND
#include "llmir/Dialect/LLM/Passes.h.inc"
} // namespace llmir::llm

using namespace mlir;
using namespace llmir::llm;

/// The rotation of queries, as that of the keys, of an attention that reads the
/// cache after `append`. Nothing may need them before.
static RopeOp queryRotationOf(AppendKVOp append, RopeOp keys) {
  for (Operation *reader : append.getResult().getUsers()) {
    auto attention = dyn_cast<PagedAttentionOp>(reader);
    auto rope =
        attention ? attention.getQuery().getDefiningOp<RopeOp>() : RopeOp();
    if (!rope || rope == keys || rope.getTable() != keys.getTable() ||
        rope.getPositions() != keys.getPositions() || rope.getInterleaved() ||
        rope->getBlock() != append->getBlock() ||
        !rope->isBeforeInBlock(append))
      continue;
    bool isReadAfter = llvm::all_of(rope->getUsers(), [&](Operation *user) {
      Operation *here = append->getBlock()->findAncestorOpInBlock(*user);
      return here && append->isBeforeInBlock(here);
    });
    if (isReadAfter)
      return rope;
  }
  return nullptr;
}

namespace {
struct FuseRopeAppend : OpRewritePattern<AppendKVOp> {
  FuseRopeAppend(MLIRContext *context, const FusionModel &model,
                 Pass::Statistic &numFused)
      : OpRewritePattern(context), model(model), numFused(numFused) {}

  LogicalResult matchAndRewrite(AppendKVOp append,
                                PatternRewriter &rewriter) const override {
    if (!append.getSlots())
      return rewriter.notifyMatchFailure(append, "allocates by seq_ids");
    auto keys = append.getKeys().getDefiningOp<RopeOp>();
    if (!keys || !keys->hasOneUse())
      return rewriter.notifyMatchFailure(append, "keys are not only rotated");
    if (keys.getInterleaved())
      return rewriter.notifyMatchFailure(append, "the kernel rotates halves");
    Type rounded = getElementTypeOrSelf(keys.getResult());
    if (!rounded.isF32() &&
        rounded != append.getCache().getType().getElementType())
      return rewriter.notifyMatchFailure(append, "keys are rounded twice");
    RopeOp query = queryRotationOf(append, keys);
    if (!query)
      return rewriter.notifyMatchFailure(append,
                                         "no queries are rotated alike");
    OpBuilder nowhere(append.getContext());
    RopeAppendKVOp trial = fuse(nowhere, append, query, keys);
    bool isWorthwhile = model.isNoWorse({append, query, keys}, {trial});
    trial->erase();
    if (!isWorthwhile)
      return rewriter.notifyMatchFailure(append, "it would take longer");
    RopeAppendKVOp fused = fuse(rewriter, append, query, keys);
    rewriter.replaceOp(append, fused.getResult());
    rewriter.replaceOp(query, fused.getRotated());
    rewriter.eraseOp(keys);
    ++numFused;
    return success();
  }

private:
  static RopeAppendKVOp fuse(OpBuilder &builder, AppendKVOp append,
                             RopeOp query, RopeOp keys) {
    return builder.create<RopeAppendKVOp>(
        append.getLoc(), append.getResult().getType(),
        query.getResult().getType(), append.getCache(), query.getInput(),
        keys.getInput(), append.getValues(), keys.getTable(),
        keys.getPositions(), append.getSlots(), append.getLayer());
  }

  const FusionModel &model;
  Pass::Statistic &numFused;
};

struct FuseRopeAppendPass
    : llmir::llm::impl::LLMFuseRopeAppendBase<FuseRopeAppendPass> {
  using LLMFuseRopeAppendBase::LLMFuseRopeAppendBase;

  void runOnOperation() override {
    FusionModel model(bandwidth, peak, call, tokens);
    RewritePatternSet patterns(&getContext());
    patterns.add<FuseRopeAppend>(&getContext(), model, numFused);
    if (failed(
            applyPatternsAndFoldGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};
} // namespace
