// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Decides at compile time, and shows in the program, which weights are stored
// as panels. Layers are functions that take their weights as arguments, so the
// decision crosses calls.

#include "Weights.h"
#include "llmir/Dialect/LLM/LLM.h"
#include "llmir/Dialect/LLM/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/TypeUtilities.h"

namespace llmir::llm {
#define GEN_PASS_DEF_LLMPACKPARAMETERS
#include "llmir/Dialect/LLM/Passes.h.inc"
} // namespace llmir::llm

using namespace mlir;
using namespace llmir::llm;

static Type packedTypeOfTied(EmbeddingOp lookup);

/// The type of a weight's panels at `use`, or null if it is not the weight of a
/// product that a kernel can compute: kernels multiply equal types, what a norm
/// makes is of the weight's, and of integers they know some.
static Type packedTypeAt(OpOperand &use) {
  bool gated = false;
  if (auto linear = dyn_cast<LinearOp>(use.getOwner())) {
    if (&use != &linear.getWeightMutable() ||
        (!linear.getNorm() && getElementTypeOrSelf(linear.getInput()) !=
                                  getElementTypeOrSelf(linear.getWeight())))
      return nullptr;
    gated = linear.getGated();
  } else if (auto product = dyn_cast<QuantizedMatmulOp>(use.getOwner())) {
    if (&use != &product.getWeightMutable() || !hasKernelInput(product))
      return nullptr;
    gated = product.getGated();
  } else if (auto lookup = dyn_cast<EmbeddingOp>(use.getOwner())) {
    return &use == &lookup.getTableMutable() ? packedTypeOfTied(lookup)
                                             : nullptr;
  } else {
    return nullptr;
  }
  Type type = use.get().getType(), packed = getPackedType(type, gated);
  return packed == type ? Type() : packed;
}

/// The panels that a lookup reads: those of a product beside it, of the same
/// parameter, so that it is stored once.
static Type packedTypeOfTied(EmbeddingOp lookup) {
  // A quantized one, which has no other layout in a file.
  if (auto quantized =
          dyn_cast<QuantizedTensorType>(lookup.getTable().getType()))
    return quantized.isInPanels() ? QuantizedTensorType()
                                  : quantized.asPanels();
  auto parameter = lookup.getTable().getDefiningOp<ParameterOp>();
  if (!parameter)
    return nullptr;
  for (OpOperand &use : parameter->getUses()) {
    auto product = dyn_cast<LinearOp>(use.getOwner());
    if (product && !product.getGated())
      if (Type packed = packedTypeAt(use))
        return packed;
  }
  return nullptr;
}

namespace {
struct PackParametersPass
    : llmir::llm::impl::LLMPackParametersBase<PackParametersPass> {
  void runOnOperation() override {
    numPacked += retypeWeights(getOperation(), packedTypeAt);
  }
};
} // namespace
