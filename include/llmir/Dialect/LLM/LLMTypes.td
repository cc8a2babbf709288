// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Types of the `llm` dialect.

#ifndef LLMIR_DIALECT_LLM_LLMTYPES_TD
#define LLMIR_DIALECT_LLM_LLMTYPES_TD

include "llmir/Dialect/LLM/LLMDialect.td"
include "mlir/IR/AttrTypeBase.td"

class LLM_Type<string name, string typeMnemonic>
    : TypeDef<LLM_Dialect, name> {
  let mnemonic = typeMnemonic;
}

def LLM_PagedKVCacheType : LLM_Type<"PagedKVCache", "paged_kv_cache"> {
  let summary = "a paged cache of keys and values";
  let description = [{
    The keys and values of all layers, for any number of sequences, in blocks of
    `block_size` positions that sequences need not hold in order (vLLM's
    PagedAttention, arXiv:2309.06180). The type carries the static facts only;
    a value of it stands for the pools, the block table, the lengths of the
    sequences and the state of the allocator.

    ```mlir
    // Element type, layers, KV heads, head dimension, block size, longest sequence.
    !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>
    ```
  }];
  let parameters = (ins
    "::mlir::FloatType":$element_type,
    "int64_t":$layers,
    "int64_t":$kv_heads,
    "int64_t":$head_dim,
    "int64_t":$block_size,
    "int64_t":$max_seq_len
  );
  let assemblyFormat = [{
    `<` $element_type `,` $layers `,` $kv_heads `,` $head_dim `,` $block_size
    `,` $max_seq_len `>`
  }];
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    /// The most blocks that one sequence can hold.
    int64_t getMaxBlocksPerSequence() const {
      return (getMaxSeqLen() + getBlockSize() - 1) / getBlockSize();
    }
  }];
}

#endif // LLMIR_DIALECT_LLM_LLMTYPES_TD
