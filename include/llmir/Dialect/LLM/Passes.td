// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Passes that stay within the `llm` dialect.

#ifndef LLMIR_DIALECT_LLM_PASSES_TD
#define LLMIR_DIALECT_LLM_PASSES_TD

include "mlir/Pass/PassBase.td"

def LLMVerifyCacheUses : Pass<"llm-verify-cache-uses", "::mlir::ModuleOp"> {
  let summary = "Prove that every cache value can be changed in place";
  let description = [{
    Checks, across calls, that each `!llm.paged_kv_cache` value has at most one
    consuming use (an `llm.append_kv`, a call whose callee consumes it, a return,
    a branch), that this one is in the block of the value, and that every read of
    it comes before.
  }];
}

def LLMVerifyStep : Pass<"llm-verify-step", "::mlir::ModuleOp"> {
  let summary = "Check that a program is a step that the runtime can run";
  let description = [{
    Checks that `@step` takes, in this order, token_ids, positions, slots,
    block_table, context_lens, row_starts, logit_rows and a cache, and returns
    logits and the cache; that vocab_size and max_model_len of the module's
    attribute `llm.model` fit the logits, the embedding, the RoPE tables and the
    cache; that every layer of the cache that is named exists; and that every
    parameter is of the scope `model`, the only weights that there are.
  }];
}

def LLMFuseResidual : Pass<"llm-fuse-residual"> {
  let summary = "Fold the addition of a residual into the product before it";
  let description = [{
    Turns `arith.addf %h, (llm.linear %x, %w)` into `llm.linear %x, %w residual
    %h`, so that the product accumulates into the residual stream and no buffer
    stands between them.
  }];
  let statistics = [
    Statistic<"numFused", "num-fused", "Number of additions folded">
  ];
}

def LLMPackParameters : Pass<"llm-pack-parameters", "::mlir::ModuleOp"> {
  let summary = "Pack the weights of products into panels";
  let description = [{
    Gives every parameter that an `llm.linear` multiplies by, be it directly or
    through the arguments of private functions, the packed type that the
    runtime's kernels read. A parameter that is used otherwise too (a tied
    embedding) is kept beside its packed form.
  }];
  let statistics = [
    Statistic<"numPacked", "num-packed", "Number of weights packed">
  ];
}

#endif // LLMIR_DIALECT_LLM_PASSES_TD
