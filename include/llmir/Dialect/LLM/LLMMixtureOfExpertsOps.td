// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Feed-forward layers of which each token takes a part. Letters in shapes are
// those of LLMOps.td, and E experts.

#ifndef LLMIR_DIALECT_LLM_LLMMIXTUREOFEXPERTSOPS_TD
#define LLMIR_DIALECT_LLM_LLMMIXTUREOFEXPERTSOPS_TD

include "llmir/Dialect/LLM/LLMOps.td"

def LLM_MoEOp : LLM_TensorOp<"moe", [
    DeclareOpInterfaceMethods<LLM_CostOpInterface, ["getCost"]>]> {
  let summary = "a mixture of gated feed-forward experts";
  let description = [{
    Every token goes through `top_k` of E experts, which are chosen and weighted
    by `router_logits` [T, E], as in Mixtral (arXiv:2401.04088):

        s[t, :]      = softmax(router_logits[t, :])          (or sigmoid)
        chosen[t]    = the top_k experts e of largest s[t, e] + selection_bias[e]
        c[t, e]      = s[t, e], over the sum of s[t, chosen[t]] if normalize_topk
        h[t, e, :]   = f(input[t, :] gate[e]^T) * (input[t, :] up[e]^T)
        result[t, :] = sum over e in chosen[t] of scale * c[t, e] * h[t, e, :] down[e]^T

    Of equal experts the one of lowest index comes first. Experts add up in the
    order of their indices. f is an activation of `llm.activation`. Like every
    operand of a product, h is rounded to the input's element type; everything
    else is in f32 and rounded once, at the end. An expert whose weight is 0 adds
    nothing, whatever it computes.

    Input: [T, K], gate and up: [E, N, K], down: [E, K, N]. `selection_bias` [E]
    decides about the choice alone (DeepSeek-V3, arXiv:2412.19437); `scale` is 1
    unless given. The router itself is an `llm.linear`, and so are experts that
    every token shares.

    ```mlir
    %y = llm.moe silu %x, %logits, %gate, %up, %down
           {normalize_topk, top_k = 2 : i64}
      : (tensor<?x64xbf16>, tensor<?x8xf32>, tensor<8x96x64xbf16>,
         tensor<8x96x64xbf16>, tensor<8x64x96xbf16>) -> tensor<?x64xf32>
    ```
  }];
  let arguments = (ins LLM_ActivationKindAttr:$kind, LLM_FloatTensor:$input,
                       LLM_FloatTensor:$router_logits, LLM_FloatTensor:$gate,
                       LLM_FloatTensor:$up, LLM_FloatTensor:$down,
                       Optional<LLM_FloatTensor>:$selection_bias,
                       I64Attr:$top_k,
                       DefaultValuedAttr<LLM_RouterScoringAttr,
                           "::llmir::llm::RouterScoring::softmax">:$scoring,
                       UnitAttr:$normalize_topk, OptionalAttr<F32Attr>:$scale);
  let results = (outs LLM_FloatTensor:$result);
  let assemblyFormat = [{
    `` $kind $input `,` $router_logits `,` $gate `,` $up `,` $down
    (`selection_bias` $selection_bias^)? attr-dict `:`
    functional-type(operands, results)
  }];
}

#endif // LLMIR_DIALECT_LLM_LLMMIXTUREOFEXPERTSOPS_TD
