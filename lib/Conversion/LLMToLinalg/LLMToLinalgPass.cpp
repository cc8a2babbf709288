// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Applies the reference lowerings to a module, to all ops or to those that no
// kernel computes.

#include "Bundles.h"
#include "llmir/Conversion/Passes.h"
#include "llmir/Dialect/LLM/LLM.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Transforms/DialectConversion.h"

namespace llmir {
#define GEN_PASS_DEF_CONVERTLLMTOLINALG
#include "llmir/Conversion/Passes.h.inc"
} // namespace llmir

using namespace mlir;
using namespace llmir::llm;

namespace {
struct ConvertLLMToLinalgPass
    : llmir::impl::ConvertLLMToLinalgBase<ConvertLLMToLinalgPass> {
  using ConvertLLMToLinalgBase::ConvertLLMToLinalgBase;

  void runOnOperation() override {
    ConversionTarget target(getContext());
    target.markUnknownOpDynamicallyLegal([](Operation *) { return true; });
    target.addIllegalOp<ActivationOp, AttentionOp, LayerNormOp, LinearOp, MoEOp,
                        RMSNormOp, RopeAppendKVOp, RopeOp>();
    // The bare product is converted with its weight, a lookup with its table.
    target.addDynamicallyLegalOp<EmbeddingOp>([](EmbeddingOp op) {
      return isa<QuantizedTensorType>(op.getTable().getType());
    });
    target.addDynamicallyLegalOp<QuantizedMatmulOp>([](QuantizedMatmulOp op) {
      return !op.getNorm() && !op.getActivation() && !op.getGated();
    });
    // Tables of a compiled model lie among its weights, but those that are
    // made of other tensors.
    target.addDynamicallyLegalOp<RopeTableOp>(
        [&](RopeTableOp op) { return keepKernels && op.isOfWeights(); });
    RewritePatternSet patterns(&getContext());
    llmir::populateLLMToLinalgPatterns(patterns);
    if (failed(applyPartialConversion(getOperation(), target,
                                      std::move(patterns))))
      return signalPassFailure();
    if (failed(llmir::reference::convertBundles(getOperation(), keepKernels)))
      return signalPassFailure();
    if (keepKernels)
      return;
    getOperation().walk([&](Operation *op) {
      if (!isa_and_nonnull<LLMDialect>(op->getDialect()) ||
          isa<ParameterOp>(op))
        return;
      op->emitError("has no reference meaning");
      signalPassFailure();
    });
  }
};
} // namespace
