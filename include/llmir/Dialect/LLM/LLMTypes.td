// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Types of the `llm` dialect.

#ifndef LLMIR_DIALECT_LLM_LLMTYPES_TD
#define LLMIR_DIALECT_LLM_LLMTYPES_TD

include "llmir/Dialect/LLM/LLMAttributes.td"
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

    Elements are floats, to which keys and values are rounded, or integers. Then
    keys and values are quantized when they are appended, each head of each token
    for itself, as `llm.quantize` quantizes along head_dim:

    | elements | as a quantized tensor of `[tokens, kv_heads, head_dim]`          |
    |----------|------------------------------------------------------------------|
    | `i8`     | `i8, scales = f16, axis = 2`                                     |
    | `i4`     | `i4, scales = f16, axis = 2, asymmetric`                         |

    What is read is `(q - z) * s`, with z = 0 for `i8`. At head_dim 64 that takes
    52 % and 28 % of what bf16 does, scales and zero points counted in.

    ```mlir
    // Element type, layers, KV heads, head dimension, block size, longest sequence.
    !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>
    // The same in 8 and in 4 bits.
    !llm.paged_kv_cache<i8, 12, 16, 64, 16, 4096>
    !llm.paged_kv_cache<i4, 12, 16, 64, 16, 4096>
    ```
  }];
  let parameters = (ins
    "::mlir::Type":$element_type,
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
    bool isQuantized() const {
      return ::llvm::isa<::mlir::IntegerType>(getElementType());
    }
    /// What keys or values of `shape`, whose last dimension is head_dim, are
    /// quantized to. Of a cache of integers only.
    QuantizedTensorType getQuantizedType(::llvm::ArrayRef<int64_t> shape) const;
  }];
}

def LLM_QuantizedTensorType : LLM_Type<"QuantizedTensor", "quantized_tensor"> {
  let summary = "a tensor of integers with scales";
  let description = [{
    A tensor whose elements are `(q - z) * s` for an integer q of the storage
    type and the scale s and zero point z of its group. All that a kernel has to
    know of the layout is in the type:

    * the shape and the storage, `i8` or `i4` (two's complement) or `ui8` or
      `ui4`; qmin and qmax are the least and the largest number of the storage;
    * `scales`, their type: f16, bf16 or f32;
    * `axis`, the dimension that groups lie along, and `group_size`, the number
      of neighbours in it that share a scale, which divides its size. Without
      one, a group is a whole line: `axis = 1` gives a weight [N, K] a scale for
      each output, and activations [T, K] one for each token;
    * `asymmetric`, if there are zero points, of the storage's type; z is 0
      otherwise, and the storage signed;
    * `packing = pairs`, if two elements of 4 bits share a byte: elements 2 i and
      2 i + 1 along the axis, the first of them in the lower half. Without it
      each has a byte of its own, widened by its sign or by zeros;
    * `packing = panels`, if elements, scales and zero points lie together, as the
      products of the runtime read them; `packing = gated_panels`, if those of a
      gated product do.

    A value is a bundle of tensors, which `--convert-llm-to-linalg` makes of it:

    | tensor      | type                                                       |
    |-------------|------------------------------------------------------------|
    | elements    | i8, in the type's shape, halved in `axis` if in pairs      |
    | scales      | the type's shape with one for each group in `axis`         |
    | zero points | i8, in the shape of the scales; only if asymmetric         |

    In panels, it is one tensor [ceil(N / 32), B] of i8, for a matrix [N, K] that
    is quantized along K, in whole rows or in groups whose size is a multiple of
    32. A panel is 32 outputs and B bytes, a multiple of 64: group by group the
    elements, padded to 32 inputs, then 32 scales, then, if asymmetric, 32 zero
    points. Elements and zero points are stored as unsigned numbers, less qmin.
    Of 8 bits, each 4 inputs are 32 words, one for each output, of 4 bytes; of 4
    bits, each 8 inputs k are 32 words whose nibbles are, from the lowest, k + 0,
    2, 4, 6, 1, 3, 5, 7. Gated panels are those of the matrix's upper and of its
    lower half, one of each by turns.

    ```mlir
    // int8, a scale for each output.
    !llm.quantized_tensor<64x128xi8, scales = bf16, axis = 1>
    // int4 in groups of 32, two to a byte.
    !llm.quantized_tensor<64x128xi4, scales = f16, axis = 1, group_size = 32,
                          packing = pairs>
    // As GPTQ and AWQ have it, with zero points.
    !llm.quantized_tensor<64x128xui4, scales = f16, axis = 1, group_size = 64,
                          asymmetric, packing = pairs>
    // int4 as the kernels read it: two panels of 2304 bytes.
    !llm.quantized_tensor<64x128xi4, scales = f16, axis = 1, group_size = 32,
                          packing = panels>
    // Activations, a scale for each token.
    !llm.quantized_tensor<?x128xi8, scales = f32, axis = 1>
    ```
  }];
  let parameters = (ins
    ArrayRefParameter<"int64_t">:$shape,
    "::mlir::IntegerType":$storage,
    "::mlir::FloatType":$scales,
    "int64_t":$axis,
    // 0 for whole lines.
    "int64_t":$group_size,
    "bool":$asymmetric,
    "::llmir::llm::Packing":$packing
  );
  let hasCustomAssemblyFormat = 1;
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    int64_t getRank() const { return getShape().size(); }
    /// The size of `axis`, which may be dynamic.
    int64_t getAxisSize() const { return getShape()[getAxis()]; }
    /// How many groups lie along the axis.
    int64_t getGroups() const {
      return getGroupSize() ? getAxisSize() / getGroupSize() : 1;
    }
    /// The least and the largest number of the storage.
    int64_t getMin() const;
    int64_t getMax() const;
    /// The tensors that a value consists of.
    ::mlir::RankedTensorType getElementsType() const;
    ::mlir::RankedTensorType getScalesType() const;
    ::mlir::RankedTensorType getZeroPointsType() const;
    /// The one tensor that a value in panels consists of.
    ::mlir::RankedTensorType getPanelsType() const;
    bool isInPanels() const {
      return getPacking() == ::llmir::llm::Packing::panels ||
             getPacking() == ::llmir::llm::Packing::gated_panels;
    }
    /// The same type in panels, or null if it cannot be.
    QuantizedTensorType asPanels(bool gated = false) const;
  }];
}

def LLM_ShardedTensorType : LLM_Type<"ShardedTensor", "sharded_tensor"> {
  let summary = "a tensor that is spread over shards";
  let description = [{
    A tensor that the processes of a mesh hold together. A value stands for what
    all of them hold, so collectives are functions, and a program of shards has a
    meaning in one process: `--convert-llm-to-linalg` makes a tensor of it in
    which the first dimension counts the shards. The placement is one of

    * `split = a`: equal parts along dimension a, in the order of the shards;
    * `replicated`: a copy in each shard;
    * `partial = sum` or `partial = max`: a term of the full shape in each shard;
      the tensor is what the reduction makes of them.

    A tensor in one piece is no sharded one: there are at least two shards.

    ```mlir
    !llm.sharded_tensor<tensor<64x128xbf16>, shards = 4, split = 0>
    !llm.sharded_tensor<tensor<?x128xf32>, shards = 4, replicated>
    !llm.sharded_tensor<tensor<?x128xf32>, shards = 4, partial = sum>
    ```
  }];
  let parameters = (ins
    "::mlir::RankedTensorType":$full_type,
    "int64_t":$shards,
    "::llmir::llm::Placement":$placement,
    // Of a split: its dimension. 0 elsewhere.
    "int64_t":$axis,
    // Of a partial result. Sum elsewhere.
    "::llmir::llm::Reduction":$reduction
  );
  let builders = [
    TypeBuilderWithInferredContext<(ins
      "::mlir::RankedTensorType":$full, "int64_t":$shards,
      "::llmir::llm::Placement":$placement,
      CArg<"int64_t", "0">:$axis,
      CArg<"::llmir::llm::Reduction", "::llmir::llm::Reduction::sum">:$reduction), [{
      return $_get(full.getContext(), full, shards, placement, axis, reduction);
    }]>
  ];
  let hasCustomAssemblyFormat = 1;
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    bool isSplit(int64_t axis) const {
      return getPlacement() == Placement::split && getAxis() == axis;
    }
    bool isReplicated() const {
      return getPlacement() == Placement::replicated;
    }
    bool isPartial() const { return getPlacement() == Placement::partial; }
    /// What one shard holds.
    ::mlir::RankedTensorType getShardType() const;
    /// What all shards hold: [shards, ...].
    ::mlir::RankedTensorType getShardsType() const;
  }];
}

#endif // LLMIR_DIALECT_LLM_LLMTYPES_TD
