// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A norm that only products read becomes their prologue: a product prepares its
// input anyway, and the threads need not meet before it.

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

namespace {
struct FuseNorm : OpRewritePattern<RMSNormOp> {
  FuseNorm(MLIRContext *context, Pass::Statistic &numFused)
      : OpRewritePattern(context), numFused(numFused) {}

  LogicalResult matchAndRewrite(RMSNormOp norm,
                                PatternRewriter &rewriter) const override {
    if (norm->use_empty() || !llvm::all_of(norm->getUses(), isFusibleUse))
      return rewriter.notifyMatchFailure(norm, "not only products read it");
    for (Operation *user : llvm::make_early_inc_range(norm->getUsers())) {
      auto product = cast<LinearOp>(user);
      rewriter.setInsertionPoint(product);
      rewriter.replaceOpWithNewOp<LinearOp>(
          product, product.getResult().getType(), norm.getInput(),
          product.getWeight(), norm.getWeight(), product.getBias(),
          product.getResidual(), norm.getEpsilonAttr(),
          product.getActivationAttr(), product.getGated());
      ++numFused;
    }
    rewriter.eraseOp(norm);
    return success();
  }

  Pass::Statistic &numFused;
};

struct FuseNormPass : llmir::llm::impl::LLMFuseNormBase<FuseNormPass> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<FuseNorm>(&getContext(), numFused);
    if (failed(
            applyPatternsAndFoldGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};
} // namespace
