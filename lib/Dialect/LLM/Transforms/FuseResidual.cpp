// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Folds `residual + product` into the product, which then accumulates in place:
// one pass over memory less, and no buffer for the product alone.

#include "llmir/Dialect/LLM/LLM.h"
#include "llmir/Dialect/LLM/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/IR/TypeUtilities.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

namespace llmir::llm {
#define GEN_PASS_DEF_LLMFUSERESIDUAL
#include "llmir/Dialect/LLM/Passes.h.inc"
} // namespace llmir::llm

using namespace mlir;
using namespace llmir::llm;

namespace {
template <typename Product>
struct FuseResidual : OpRewritePattern<arith::AddFOp> {
  FuseResidual(MLIRContext *context, Pass::Statistic &numFused)
      : OpRewritePattern(context), numFused(numFused) {}

  LogicalResult matchAndRewrite(arith::AddFOp add,
                                PatternRewriter &rewriter) const override {
    // Both operands may be products: the later one takes the other in.
    for (auto [product, residual] : {std::pair(add.getRhs(), add.getLhs()),
                                     std::pair(add.getLhs(), add.getRhs())}) {
      auto op = product.getDefiningOp<Product>();
      if (!op || op.getResidual() || !op->hasOneUse() || residual == product)
        continue;
      // A product that is rounded before the addition must stay so.
      if (!getElementTypeOrSelf(product.getType()).isF32())
        continue;
      auto sum = cast<Product>(rewriter.clone(*op));
      sum.getResidualMutable().assign(residual);
      sum.getResult().setType(cast<RankedTensorType>(add.getType()));
      rewriter.replaceOp(add, sum);
      rewriter.eraseOp(op);
      ++numFused;
      return success();
    }
    return rewriter.notifyMatchFailure(add, "adds no product of one use");
  }

  Pass::Statistic &numFused;
};

struct FuseResidualPass
    : llmir::llm::impl::LLMFuseResidualBase<FuseResidualPass> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<FuseResidual<LinearOp>, FuseResidual<QuantizedMatmulOp>>(
        &getContext(), numFused);
    if (failed(
            applyPatternsAndFoldGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};
} // namespace
