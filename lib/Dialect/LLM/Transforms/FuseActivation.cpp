// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// An activation becomes the epilogue of the product before it, which then
// writes what the next product reads: half as much of a gated unit, and no
// loop of its own.

#include "llmir/Dialect/LLM/LLM.h"
#include "llmir/Dialect/LLM/Passes.h"

#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/IR/TypeUtilities.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

namespace llmir::llm {
#define GEN_PASS_DEF_LLMFUSEACTIVATION
#include "llmir/Dialect/LLM/Passes.h.inc"
} // namespace llmir::llm

using namespace mlir;
using namespace llmir::llm;

/// Whether `value` is the columns of `product` from `column` on, as many as it
/// has.
static bool isColumns(Value value, LinearOp product, int64_t column) {
  auto slice = value.getDefiningOp<tensor::ExtractSliceOp>();
  return slice && slice.getSource() == product.getResult() &&
         slice->hasOneUse() && slice.getType().getRank() == 2 &&
         slice.getStaticOffsets() == ArrayRef<int64_t>{0, column} &&
         slice.getStaticStrides() == ArrayRef<int64_t>{1, 1} &&
         !slice.getType().isDynamicDim(1);
}

/// Whether nothing comes after the product's bias yet, not even a rounding.
static bool isBare(LinearOp op) {
  return !op.getActivation() && !op.getGated() && !op.getResidual() &&
         getElementTypeOrSelf(op.getResult()).isF32();
}

namespace {
struct FuseActivation : OpRewritePattern<ActivationOp> {
  FuseActivation(MLIRContext *context, Pass::Statistic &numFused)
      : OpRewritePattern(context), numFused(numFused) {}

  LogicalResult matchAndRewrite(ActivationOp op,
                                PatternRewriter &rewriter) const override {
    if (!isEpilogue(op.getKind()))
      return rewriter.notifyMatchFailure(op, "is no epilogue");
    return op.getMultiplier() ? fuseGated(op, rewriter)
                              : fusePlain(op, rewriter);
  }

private:
  LogicalResult fusePlain(ActivationOp op, PatternRewriter &rewriter) const {
    auto product = op.getInput().getDefiningOp<LinearOp>();
    if (!product || !isBare(product) || !product->hasOneUse())
      return rewriter.notifyMatchFailure(op, "follows no product of one use");
    replace(op, product, /*gated=*/false, rewriter);
    return success();
  }

  /// The two are slices of one product: `--llm-merge-products` has seen to it.
  LogicalResult fuseGated(ActivationOp op, PatternRewriter &rewriter) const {
    auto slice = op.getInput().getDefiningOp<tensor::ExtractSliceOp>();
    auto product =
        slice ? slice.getSource().getDefiningOp<LinearOp>() : LinearOp();
    auto type = cast<RankedTensorType>(op.getResult().getType());
    if (!product || !isBare(product) || type.getRank() != 2 ||
        type.isDynamicDim(1) || hasPackedWeight(product) ||
        cast<RankedTensorType>(product.getResult().getType()).getDimSize(1) !=
            2 * type.getDimSize(1) ||
        !isColumns(op.getInput(), product, 0) ||
        !isColumns(op.getMultiplier(), product, type.getDimSize(1)))
      return rewriter.notifyMatchFailure(op, "gates no halves of a product");
    for (Operation *user : product->getUsers()) {
      auto dim = dyn_cast<tensor::DimOp>(user);
      if (user != slice && user != op.getMultiplier().getDefiningOp() &&
          !(dim && dim.getConstantIndex() == 0))
        return rewriter.notifyMatchFailure(op, "the product has other uses");
    }
    replace(op, product, /*gated=*/true, rewriter);
    return success();
  }

  /// Makes a product with the epilogue where the bare one stands.
  void replace(ActivationOp op, LinearOp product, bool gated,
               PatternRewriter &rewriter) const {
    Type result = op.getResult().getType();
    rewriter.setInsertionPoint(product);
    ActivationKindAttr kind = op.getKind() == ActivationKind::identity
                                  ? ActivationKindAttr()
                                  : op.getKindAttr();
    auto fused = rewriter.create<LinearOp>(
        product.getLoc(), result, product.getInput(), product.getWeight(),
        product.getNorm(), product.getBias(), /*residual=*/Value(),
        product.getEpsilonAttr(), kind, gated);
    rewriter.replaceOp(op, fused);
    // What is left are slices without a use, and questions for the rows.
    rewriter.replaceUsesWithIf(
        product.getResult(), fused.getResult(),
        [](OpOperand &use) { return isa<tensor::DimOp>(use.getOwner()); });
    for (Operation *user : llvm::make_early_inc_range(product->getUsers()))
      rewriter.eraseOp(user);
    rewriter.eraseOp(product);
    ++numFused;
  }

  Pass::Statistic &numFused;
};

struct FuseActivationPass
    : llmir::llm::impl::LLMFuseActivationBase<FuseActivationPass> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<FuseActivation>(&getContext(), numFused);
    if (failed(
            applyPatternsAndFoldGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};
} // namespace
