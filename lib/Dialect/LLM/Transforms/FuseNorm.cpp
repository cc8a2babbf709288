// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A norm that only products read becomes their prologue: a product prepares its
// input anyway, and the threads need not meet before it.

#include "FusionModel.h"
#include "llmir/Dialect/LLM/LLM.h"
#include "llmir/Dialect/LLM/Passes.h"

#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/IR/TypeUtilities.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

namespace llmir::llm {
#define GEN_PASS_DEF_LLMFUSENORM
#include "llmir/Dialect/LLM/Passes.h.inc"
} // namespace llmir::llm

using namespace mlir;
using namespace llmir::llm;

/// Whether `use` is the input of a product that rounds a norm to the type that
/// this one is rounded to.
static bool isFusibleUse(OpOperand &use) {
  auto product = dyn_cast<LinearOp>(use.getOwner());
  return product && &use == &product.getInputMutable() && !product.getNorm() &&
         getElementTypeOrSelf(product.getInput()) ==
             getElementTypeOrSelf(product.getWeight());
}

/// The product with the norm as its prologue.
static LinearOp withNorm(OpBuilder &builder, LinearOp product, RMSNormOp norm) {
  return builder.create<LinearOp>(
      product.getLoc(), product.getResult().getType(), norm.getInput(),
      product.getWeight(), norm.getWeight(), product.getBias(),
      product.getResidual(), norm.getEpsilonAttr(), product.getActivationAttr(),
      product.getGated());
}

namespace {
struct FuseNorm : OpRewritePattern<RMSNormOp> {
  FuseNorm(MLIRContext *context, const FusionModel &model,
           Pass::Statistic &numFused)
      : OpRewritePattern(context), model(model), numFused(numFused) {}

  LogicalResult matchAndRewrite(RMSNormOp norm,
                                PatternRewriter &rewriter) const override {
    if (norm->use_empty() || !llvm::all_of(norm->getUses(), isFusibleUse))
      return rewriter.notifyMatchFailure(norm, "not only products read it");
    if (!isWorthwhile(norm))
      return rewriter.notifyMatchFailure(norm, "it would take longer");
    for (Operation *user : llvm::make_early_inc_range(norm->getUsers())) {
      auto product = cast<LinearOp>(user);
      rewriter.setInsertionPoint(product);
      rewriter.replaceOp(product, withNorm(rewriter, product, norm));
      ++numFused;
    }
    rewriter.eraseOp(norm);
    return success();
  }

private:
  /// Each product norms its rows again, of a type that may be wider.
  bool isWorthwhile(RMSNormOp norm) const {
    OpBuilder nowhere(norm.getContext());
    SmallVector<Operation *> before = {norm}, after;
    for (Operation *user : norm->getUsers()) {
      before.push_back(user);
      after.push_back(withNorm(nowhere, cast<LinearOp>(user), norm));
    }
    bool isWorthwhile = model.isNoWorse(before, after);
    for (Operation *op : after)
      op->erase();
    return isWorthwhile;
  }

  const FusionModel &model;
  Pass::Statistic &numFused;
};

struct FuseNormPass : llmir::llm::impl::LLMFuseNormBase<FuseNormPass> {
  using LLMFuseNormBase::LLMFuseNormBase;

  void runOnOperation() override {
    FusionModel model(bandwidth, peak, call, tokens);
    RewritePatternSet patterns(&getContext());
    patterns.add<FuseNorm>(&getContext(), model, numFused);
    if (failed(
            applyPatternsAndFoldGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};
} // namespace
