// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What a mixture of experts requires.

#include "Verification.h"
#include "llmir/Dialect/LLM/LLM.h"

using namespace mlir;
using namespace llmir::llm;

LogicalResult MoEOp::inferReturnTypes(MLIRContext *, std::optional<Location>,
                                      Adaptor adaptor,
                                      SmallVectorImpl<Type> &inferred) {
  return inferSame(adaptor.getInput(), inferred);
}

LogicalResult MoEOp::verify() {
  if (failed(verifyRank(*this, "input", getInput().getType(), 2)) ||
      failed(
          verifyRank(*this, "router_logits", getRouterLogits().getType(), 2)) ||
      failed(verifyRank(*this, "gate", getGate().getType(), 3)) ||
      failed(verifyRank(*this, "up", getUp().getType(), 3)) ||
      failed(verifyRank(*this, "down", getDown().getType(), 3)))
    return failure();
  RankedTensorType input = rankedType(getInput()), gate = rankedType(getGate()),
                   up = rankedType(getUp()), down = rankedType(getDown()),
                   logits = rankedType(getRouterLogits());
  if (!gate.hasStaticShape() || !up.hasStaticShape() || !down.hasStaticShape())
    return emitOpError("the weights of experts must have static shapes");
  int64_t experts = gate.getDimSize(0), inner = gate.getDimSize(1),
          inputs = gate.getDimSize(2);
  if (up.getShape() != gate.getShape())
    return emitOpError() << "up is " << up
                         << ", but must have gate's shape, that of " << gate;
  if (down.getShape() != ArrayRef({experts, inputs, inner}))
    return emitOpError() << "down is " << down << ", but must have the shape ["
                         << experts << ", " << inputs << ", " << inner
                         << "], gate's with its last two sizes exchanged";
  if (failed(verifyDim(*this, "the experts' number of inputs", inputs,
                       input.getDimSize(1), "the input's last dimension")) ||
      failed(verifyDim(*this, "router_logits' number of tokens",
                       logits.getDimSize(0), input.getDimSize(0),
                       "the input's")) ||
      failed(verifyDim(*this, "router_logits' number of experts",
                       logits.getDimSize(1), experts, "gate's")))
    return failure();
  if (Value bias = getSelectionBias())
    if (failed(verifyRank(*this, "selection_bias", bias.getType(), 1)) ||
        failed(verifyDim(*this, "the selection_bias's size",
                         rankedType(bias).getDimSize(0), experts,
                         "the number of experts")))
      return failure();
  // I64Attr's accessor is unsigned.
  auto chosen = static_cast<int64_t>(getTopK());
  if (chosen < 1 || chosen > experts)
    return emitOpError() << "top_k must be from 1 to the number of experts, "
                         << experts << ", but is " << chosen;
  if (getScale() && !getScale()->isFinite())
    return emitOpError("scale must be finite");
  return verifyResultShape(*this, getResult().getType(), input.getShape());
}
