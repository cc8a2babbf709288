// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Operations of the `llm` dialect. Letters in shapes: T tokens, S positions of a
// context, B sequences, H heads, D head dimension, R rotated dimensions, K
// inputs, N outputs, V vocabulary.

#ifndef LLMIR_DIALECT_LLM_LLMOPS_TD
#define LLMIR_DIALECT_LLM_LLMOPS_TD

include "llmir/Dialect/LLM/LLMAttributes.td"
include "llmir/Dialect/LLM/LLMInterfaces.td"
include "llmir/Dialect/LLM/LLMTypes.td"
include "mlir/Interfaces/DestinationStyleOpInterface.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

class LLM_Op<string mnemonic, list<Trait> traits = []>
    : Op<LLM_Dialect, mnemonic, traits>;

/// An op on tensor values whose result has a type that its operands suggest: the
/// shape is determined, the element type may be chosen.
class LLM_TensorOp<string mnemonic, list<Trait> traits = []>
    : LLM_Op<mnemonic, !listconcat(traits, [
        Pure, InferTypeOpAdaptor,
        DeclareOpInterfaceMethods<LLM_InputConstraintsOpInterface>])> {
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// The verifier compares inferred and written types, and says more.
    static bool isCompatibleReturnTypes(::mlir::TypeRange,
                                        ::mlir::TypeRange) {
      return true;
    }
  }];
}

def LLM_Float : AnyTypeOf<[F16, BF16, F32, F64], "f16, bf16, f32 or f64">;
def LLM_FloatTensor : RankedTensorOf<[LLM_Float]>;
def LLM_IndexTensor : RankedTensorOf<[I32]>;
def LLM_MaskTensor : RankedTensorOf<[I1, LLM_Float]>;

def LLM_SliceArrayAttr
    : TypedArrayAttrBase<LLM_SliceAttr, "slices of tensors">;

//===----------------------------------------------------------------------===//
// Parameters
//===----------------------------------------------------------------------===//

def LLM_ParameterOp : LLM_Op<"parameter", [Pure]> {
  let summary = "a named tensor of a weight file, or several laid end to end";
  let description = [{
    Yields the tensor of this name of the weights known as `scope`: those of the
    model that is compiled are `model`, and the runtime has no others. Weights are
    never part of a program; lowered, a parameter is an offset into the mapped
    file. Several names, in brackets, are vectors, or matrices of equally long
    rows, that are laid end to end along their first dimension.

    `from` gives the type the file has where it is another one than the result's:
    the same shape with an element type that is widened exactly, or a matrix that
    is packed into panels for the target (see `llm.linear`), or quantized. Of
    several tensors it gives the type of each. All this is done once, when
    compiling.

    `slices` says, for each name, which part of the file's tensor is meant; the
    type in `from` is that of all of it. Where a part is each shard's own, the
    parameter is another one in each of the processes that run the program.

    With `transposed`, each matrix, or part of one, has its dimensions exchanged:
    some checkpoints keep [K, N]. `from` gives the file's type then, too.

    Quantized numbers are those that `llm.quantize` makes of the file's. Only in
    panels, symmetric numbers of 4 bits use all of -8 to 7: of several scales, of
    either sign, each group gets the one with the least squared error. `as` says
    what the bytes of a parameter are that was lowered to its panels.

    ```mlir
    %w = llm.parameter "model"::"model.norm.weight" : tensor<192xbf16>
    %x = llm.parameter "model"::"model.norm.weight" from tensor<192xbf16>
           : tensor<192xf32>
    %y = llm.parameter "model"::["k_proj.weight", "v_proj.weight"]
           from [tensor<64x192xbf16>, tensor<64x192xbf16>] : tensor<128x192xbf16>
    %t = llm.parameter "model"::"c_attn.weight" transposed
           from tensor<64x192xbf16> : tensor<192x64xbf16>
    %q = llm.parameter "model"::"lm_head.weight" from tensor<64x128xbf16>
           : !llm.quantized_tensor<64x128xi4, scales = f16, axis = 1,
                                   group_size = 32>
    %p = llm.parameter "model"::"q_proj.weight" from tensor<192x192xbf16>
           slices [#llm.slice<dim = 0, offset = 0, size = 96, stride = 96>]
           : tensor<96x192xbf16>
    ```
  }];
  let arguments = (ins
    StrAttr:$scope, StrArrayAttr:$keys,
    OptionalAttr<TypeArrayAttr>:$source_types,
    OptionalAttr<TypeAttrOf<LLM_QuantizedTensorType>>:$panels_type,
    OptionalAttr<LLM_SliceArrayAttr>:$slices, UnitAttr:$transposed);
  let results = (outs
    AnyTypeOf<[AnyRankedTensor, LLM_QuantizedTensorType]>:$result);
  let builders = [
    OpBuilder<(ins "::mlir::Type":$result, "::mlir::StringAttr":$scope,
                   "::mlir::ArrayAttr":$keys,
                   "::mlir::ArrayAttr":$source_types,
                   CArg<"::mlir::ArrayAttr", "{}">:$slices)>
  ];
  let assemblyFormat = [{
    custom<ParameterName>($scope, $keys) (`transposed` $transposed^)?
    (`from` custom<SourceTypes>($source_types)^)? (`slices` $slices^)?
    (`as` $panels_type^)? attr-dict `:` type($result)
  }];
  let extraClassDeclaration = [{
    /// The types of the tensors in the weight file, one for each key.
    ::llvm::SmallVector<::mlir::RankedTensorType> getFileTypes();
    /// The types of what is taken of them, and transposed if they are, to be laid
    /// end to end.
    ::llvm::SmallVector<::mlir::RankedTensorType> getPartTypes();
  }];
  let hasVerifier = 1;
}

def LLM_RopeTableOp
    : LLM_Op<"rope_table", [Pure, AttrSizedOperandSegments]> {
  let summary = "cosines and sines of rotary position embeddings";
  let description = [{
    `table[p, 0, i] = cos(p * f[i])` and `table[p, 1, i] = sin(p * f[i])` for all
    positions p of the context and 0 <= i < R / 2, where R is the number of
    dimensions of a head that are rotated. The frequencies are `f[i] = theta^(-2 i
    / R)`, and `scaling` says how they are scaled, and by what cosines and sines
    are multiplied. Computed in f64 when compiling, since f32 loses the angle at
    large positions; rounded once.

    A program that was not made from a model's configuration has `frequencies`
    ([R / 2]) instead, mostly a parameter, and perhaps an `attention_factor` by
    which cosines and sines are multiplied. Such a table may have as many rows as
    `length` says.

    ```mlir
    %table = llm.rope_table {theta = 1.0e+04 : f64} : tensor<512x2x16xf32>
    %other = llm.rope_table frequencies %f length %t {attention_factor = 1.25 : f64}
      : (tensor<16xf32>, index) -> tensor<?x2x16xf32>
    ```
  }];
  let arguments = (ins Optional<RankedTensorOf<[F32]>>:$frequencies,
                       Optional<Index>:$length, OptionalAttr<F64Attr>:$theta,
                       OptionalAttr<LLM_RopeScalingAttr>:$scaling,
                       OptionalAttr<F64Attr>:$attention_factor);
  let results = (outs RankedTensorOf<[F32]>:$table);
  let assemblyFormat = [{
    (`frequencies` $frequencies^)? (`length` $length^)? attr-dict `:`
    custom<TableType>(type($frequencies), type($length), type($table))
  }];
  let extraClassDeclaration = [{
    /// Whether the values are known once the weights are: they follow from
    /// attributes, or from a whole parameter that is f32 in its file.
    bool isOfWeights();
  }];
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Layers
//===----------------------------------------------------------------------===//

def LLM_EmbeddingOp : LLM_TensorOp<"embedding", [
    DeclareOpInterfaceMethods<LLM_CostOpInterface, ["getCost"]>]> {
  let summary = "rows of a table, by index";
  let description = [{
    `result[t, :] = table[indices[t], :]`. Looks up the embeddings of tokens, and
    also picks the rows of hidden states whose logits are asked for. Indices must
    lie within the table. A table that a product multiplies by as well may be
    packed into panels, as `llm.linear` has them; a row is gathered then. A
    quantized one, along its rows, gives the numbers that it stands for.

    With `first`, the table has the rows from that one on of a larger table, as a
    shard of it does: `result[t, :] = table[indices[t] - first, :]`, and 0 where the
    table has no such row.

    ```mlir
    %h = llm.embedding %ids, %table
      : (tensor<?xi32>, tensor<1024x192xbf16>) -> tensor<?x192xf32>
    %g = llm.embedding %ids, %packed
      : (tensor<?xi32>, tensor<32x96x32x2xbf16>) -> tensor<?x192xf32>
    %p = llm.embedding %ids, %part first %first
      : (tensor<?xi32>, tensor<512x192xbf16>, index) -> tensor<?x192xf32>
    %q = llm.embedding %ids, %quantized
      : (tensor<?xi32>, !llm.quantized_tensor<1024x192xi8, scales = f32,
         axis = 1>) -> tensor<?x192xf32>
    ```
  }];
  let arguments = (ins
    LLM_IndexTensor:$indices,
    AnyTypeOf<[LLM_FloatTensor, LLM_QuantizedTensorType]>:$table,
    Optional<Index>:$first);
  let results = (outs LLM_FloatTensor:$result);
  let builders = [
    OpBuilder<(ins "::mlir::Type":$result, "::mlir::Value":$indices,
                   "::mlir::Value":$table),
              [{ build($_builder, $_state, result, indices, table,
                       /*first=*/::mlir::Value()); }]>
  ];
  let assemblyFormat = [{
    $indices `,` $table (`first` $first^)? attr-dict `:`
    functional-type(operands, results)
  }];
}

def LLM_LinearOp : LLM_TensorOp<"linear", [
    DeclareOpInterfaceMethods<LLM_CostOpInterface, ["getCost"]>,
    AttrSizedOperandSegments]> {
  let summary = "product with a weight matrix";
  let description = [{
    `sum[t, n] = bias[n] + sum_k input[t, k] * weight[n, k]`, for input [T, K] and
    weight [N, K], with these around it, each if it is there:

    * before the product, `norm` ([K]): the input is what `llm.rms_norm` makes of
      it with this weight and `epsilon`, rounded to the weight's element type;
    * after it, `activation`, of those that `llm.activation` lists:
      `sum[t, n] = f(sum[t, n])`;
    * `gated`: the weight has the rows of two matrices, [2 N, K], first those of the
      gates and then those of what they gate, and so has the bias, [2 N]:
      `sum[t, n] = f(sum[t, n]) * sum[t, N + n]`;
    * `residual` ([T, N]): `sum[t, n] = residual[t, n] + sum[t, n]`.

    The result, [T, N], is the sum, rounded. All sums are in f32, in an order that
    the weight's type and the CPU fix, never the number of rows.

    A weight may be packed into panels of 32 outputs, which show in its shape:
    f32 and f16 as [ceil(N/32), K, 32], bf16 as [ceil(N/32), K'/2, 32, 2] with K' the
    next multiple of 32 from K on, since dot products take pairs. Padding is 0.
    The types of input and result then say what K and N are. A gated weight has a
    panel of gates and one of what they gate by turns: [ceil(N/32), 2, K, 32] or
    [ceil(N/32), 2, K'/2, 32, 2].

    ```mlir
    %y = llm.linear %x, %w
      : (tensor<?x192xbf16>, tensor<64x192xbf16>) -> tensor<?x64xf32>
    %z = llm.linear %x, %packed bias %b residual %h
      : (tensor<?x192xbf16>, tensor<2x96x32x2xbf16>, tensor<64xbf16>,
         tensor<?x64xf32>) -> tensor<?x64xf32>
    %g = llm.linear %h, %gate_up norm %n activation silu gated
           {epsilon = 1.0e-05 : f32}
      : (tensor<?x64xf32>, tensor<4x2x32x32x2xbf16>, tensor<64xbf16>)
      -> tensor<?x128xbf16>
    ```
  }];
  let arguments = (ins LLM_FloatTensor:$input, LLM_FloatTensor:$weight,
                       Optional<LLM_FloatTensor>:$norm,
                       Optional<LLM_FloatTensor>:$bias,
                       Optional<LLM_FloatTensor>:$residual,
                       OptionalAttr<F32Attr>:$epsilon,
                       OptionalAttr<LLM_ActivationKindAttr>:$activation,
                       UnitAttr:$gated);
  let results = (outs LLM_FloatTensor:$result);
  let builders = [
    OpBuilder<(ins "::mlir::Type":$result, "::mlir::Value":$input,
                   "::mlir::Value":$weight, CArg<"::mlir::Value", "{}">:$bias,
                   CArg<"::mlir::Value", "{}">:$residual)>
  ];
  let assemblyFormat = [{
    $input `,` $weight (`norm` $norm^)? (`bias` $bias^)?
    (`activation` `` $activation^)? (`gated` $gated^)? (`residual` $residual^)?
    attr-dict `:` functional-type(operands, results)
  }];
}

def LLM_RMSNormOp : LLM_TensorOp<"rms_norm", [
    DeclareOpInterfaceMethods<LLM_CostOpInterface>]> {
  let summary = "root mean square normalization";
  let description = [{
    `result[.., i] = input[.., i] * weight[i] / sqrt(mean_j input[.., j]^2 +
    epsilon)` (arXiv:1910.07467), along the last dimension.

    ```mlir
    %y = llm.rms_norm %x, %w {epsilon = 1.0e-05 : f32}
      : (tensor<?x192xf32>, tensor<192xbf16>) -> tensor<?x192xbf16>
    ```
  }];
  let arguments = (ins LLM_FloatTensor:$input, LLM_FloatTensor:$weight,
                       F32Attr:$epsilon);
  let results = (outs LLM_FloatTensor:$result);
  let assemblyFormat = [{
    $input `,` $weight attr-dict `:` functional-type(operands, results)
  }];
}

def LLM_LayerNormOp : LLM_TensorOp<"layer_norm", [
    DeclareOpInterfaceMethods<LLM_CostOpInterface>]> {
  let summary = "layer normalization";
  let description = [{
    `result[.., i] = (input[.., i] - mean) * weight[i] / sqrt(variance +
    epsilon) + bias[i]` (arXiv:1607.06450), with mean = mean_j input[.., j] and
    variance = mean_j (input[.., j] - mean)^2, along the last dimension. The bias
    is optional.

    ```mlir
    %y = llm.layer_norm %x, %w bias %b {epsilon = 1.0e-05 : f32}
      : (tensor<?x192xf32>, tensor<192xbf16>, tensor<192xbf16>)
      -> tensor<?x192xbf16>
    ```
  }];
  let arguments = (ins LLM_FloatTensor:$input, LLM_FloatTensor:$weight,
                       Optional<LLM_FloatTensor>:$bias, F32Attr:$epsilon);
  let results = (outs LLM_FloatTensor:$result);
  let assemblyFormat = [{
    $input `,` $weight (`bias` $bias^)? attr-dict `:`
    functional-type(operands, results)
  }];
}

def LLM_RopeOp : LLM_TensorOp<"rope", [
    DeclareOpInterfaceMethods<LLM_CostOpInterface, ["getCost"]>]> {
  let summary = "rotary position embedding";
  let description = [{
    Rotates each pair (x[i], x[i + R/2]) of a head by the angle of its token's
    position (arXiv:2104.09864, in the order of halves that Transformers uses):

        result[t, h, i]       = x[t, h, i] * cos - x[t, h, i + R/2] * sin
        result[t, h, i + R/2] = x[t, h, i + R/2] * cos + x[t, h, i] * sin
        result[t, h, j]       = x[t, h, j]                         for j >= R

    with cos = table[p, 0, i], sin = table[p, 1, i] and p = positions[t]. The
    table comes from `llm.rope_table` and its shape says what R <= D is. Input:
    [T, H, D]; table: [S, 2, R/2]; positions: [T].

    With `interleaved`, the pairs are (x[2 i], x[2 i + 1]) instead, as the paper
    and GPT-J have them.

    ```mlir
    %y = llm.rope %x, %table, %positions
      : (tensor<?x6x32xf32>, tensor<512x2x16xf32>, tensor<?xi32>)
      -> tensor<?x6x32xf32>
    %z = llm.rope %x, %table, %positions {interleaved}
      : (tensor<?x6x32xf32>, tensor<512x2x16xf32>, tensor<?xi32>)
      -> tensor<?x6x32xf32>
    ```
  }];
  let arguments = (ins LLM_FloatTensor:$input, RankedTensorOf<[F32]>:$table,
                       LLM_IndexTensor:$positions, UnitAttr:$interleaved);
  let results = (outs LLM_FloatTensor:$result);
  let assemblyFormat = [{
    $input `,` $table `,` $positions attr-dict `:`
    functional-type(operands, results)
  }];
}

def LLM_ActivationOp : LLM_TensorOp<"activation", [
    DeclareOpInterfaceMethods<LLM_CostOpInterface>]> {
  let summary = "an activation function, with or without a gated partner";
  let description = [{
    `result = f(input)`, or `f(input) * multiplier` as gated units have it
    (arXiv:2002.05202). f is one of

    | kind         | f(x)                                                      |
    |--------------|-----------------------------------------------------------|
    | `silu`       | `x / (1 + exp(-x))`                                       |
    | `gelu`       | `x / 2 * (1 + erf(x / sqrt(2)))`                          |
    | `gelu_tanh`  | `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))` |
    | `quick_gelu` | `x / (1 + exp(-1.702 * x))`                               |
    | `relu`       | `max(x, 0)`                                               |
    | `relu2`      | `max(x, 0)^2`                                             |
    | `relu6`      | `min(max(x, 0), 6)`                                       |
    | `leaky_relu` | `max(x, 0.01 * x)`                                        |
    | `sigmoid`    | `1 / (1 + exp(-x))`                                       |
    | `tanh`       | `tanh(x)`                                                 |
    | `mish`       | `x * tanh(ln(1 + exp(x)))`                                |
    | `identity`   | `x`                                                       |

    ```mlir
    %y = llm.activation silu %gate, %up
      : (tensor<?x512xf32>, tensor<?x512xf32>) -> tensor<?x512xbf16>
    ```
  }];
  let arguments = (ins LLM_ActivationKindAttr:$kind, LLM_FloatTensor:$input,
                       Optional<LLM_FloatTensor>:$multiplier);
  let results = (outs LLM_FloatTensor:$result);
  let assemblyFormat = [{
    `` $kind $input (`,` $multiplier^)? attr-dict `:`
    functional-type(operands, results)
  }];
  let hasFolder = 1;
}

def LLM_AttentionOp : LLM_TensorOp<"attention", [
    DeclareOpInterfaceMethods<LLM_CostOpInterface, ["getCost"]>,
    AttrSizedOperandSegments]> {
  let summary = "attention over given keys and values";
  let description = [{
    `result = softmax(scores) values`, for each sequence and query head. Query:
    [B, T, Hq, D], keys and values: [B, S, Hkv, D]. Hq must be a multiple of Hkv;
    query head h reads KV head h / (Hq / Hkv), which makes multi-head,
    grouped-query and multi-query attention one op. The queries are the last T
    of the S positions: query t is at position p = S - T + t. Its score for the
    key at position j is made in this order:

    1. `x = scale * query . key`; `scale` is 1 / sqrt(D) unless given;
    2. `softcap`: `x = softcap * tanh(x / softcap)`;
    3. `alibi` ([Hq], slopes; arXiv:2108.12409): `x = x + alibi[h] * (j - p)`;
    4. `mask` ([B, Hq, T, S]; a size of 1 for B or Hq serves all): `x = x +
       mask[b, h, t, j]`; where a mask of i1 is false, j is not seen.

    With `causal`, only keys with j <= p are seen; with a `window`, which needs
    `causal`, only those with p - window < j as well. `sinks` ([Hq]) is one more
    score for each head, which takes part in the softmax but has no value:

        result = sum_j exp(x_j - m) value_j / (exp(sink - m) + sum_j exp(x_j - m))

    with m the largest of the scores and the sink. A query that sees no key
    yields 0 where there are sinks, and NaN where there are none.

    ```mlir
    %o = llm.attention %q, %k, %v {causal, scale = 0.125 : f32}
      : (tensor<2x5x8x64xf32>, tensor<2x9x2x64xf32>, tensor<2x9x2x64xf32>)
      -> tensor<2x5x8x64xf32>
    %p = llm.attention %q, %k, %v sinks %s mask %m
           {causal, softcap = 30.0 : f32, window = 4 : i64}
      : (tensor<2x5x8x64xf32>, tensor<2x9x2x64xf32>, tensor<2x9x2x64xf32>,
         tensor<8xf32>, tensor<2x1x5x9xi1>) -> tensor<2x5x8x64xf32>
    ```
  }];
  let arguments = (ins LLM_FloatTensor:$query, LLM_FloatTensor:$keys,
                       LLM_FloatTensor:$values,
                       Optional<LLM_FloatTensor>:$sinks,
                       Optional<LLM_FloatTensor>:$alibi,
                       Optional<LLM_MaskTensor>:$mask,
                       OptionalAttr<F32Attr>:$scale, UnitAttr:$causal,
                       OptionalAttr<I64Attr>:$window,
                       OptionalAttr<F32Attr>:$softcap);
  let results = (outs LLM_FloatTensor:$result);
  let assemblyFormat = [{
    $query `,` $keys `,` $values (`sinks` $sinks^)? (`alibi` $alibi^)?
    (`mask` $mask^)? attr-dict `:` functional-type(operands, results)
  }];
}

//===----------------------------------------------------------------------===//
// The paged KV cache
//===----------------------------------------------------------------------===//

def LLM_AppendKVOp : LLM_Op<"append_kv", [
    DeclareOpInterfaceMethods<LLM_CostOpInterface, ["getCost"]>,
    Pure, AttrSizedOperandSegments,
    DeclareOpInterfaceMethods<LLM_InputConstraintsOpInterface>]> {
  let summary = "appends keys and values to a paged cache";
  let description = [{
    Returns the cache with new tokens' keys and values in `layer` (0 unless
    given), rounded to the cache's element type, or quantized, as the cache's
    type says. The operand must not be used
    after: `--llm-verify-cache-uses` proves it, so that it can happen in place.

    By `seq_ids` ([B], distinct; keys and values [B, T, H, D]) the op allocates.
    Each layer has its own length of each sequence, and an append writes at the
    T positions from there on. Blocks are shared by the layers: a position that
    has none yet takes the next one, in the order of the batch. `block_indices`
    is the block table of each sequence, as far as its columns go: entry [b, c]
    is the block that holds the positions from c * block_size on, or -1 where
    there is none yet. Blocks must not run out, nor a sequence pass max_seq_len.

    By `slots` ([T], keys and values [T, H, D]), room has been reserved and token
    t's keys and values go to slot `block * block_size + offset`. That is the
    form of a ragged step: the tokens of any number of sequences end to end.

    ```mlir
    !kv_cache_t = !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>
    %kv1, %blocks = llm.append_kv %kv, %keys, %values, %seq_ids
      : (!kv_cache_t, tensor<2x1x16x64xf16>, tensor<2x1x16x64xf16>,
         tensor<2xi32>) -> (!kv_cache_t, tensor<2x1xi32>)
    %kv2 = llm.append_kv %kv1, %k, %v slots %slots layer %layer
      : (!kv_cache_t, tensor<?x16x64xf16>, tensor<?x16x64xf16>, tensor<?xi32>,
         index) -> !kv_cache_t
    ```
  }];
  let arguments = (ins LLM_PagedKVCacheType:$cache, LLM_FloatTensor:$keys,
                       LLM_FloatTensor:$values,
                       Optional<LLM_IndexTensor>:$seq_ids,
                       Optional<LLM_IndexTensor>:$slots,
                       Optional<Index>:$layer,
                       OptionalAttr<I32Attr>:$block_size,
                       OptionalAttr<I32Attr>:$max_seq_len);
  let results = (outs LLM_PagedKVCacheType:$result,
                      Optional<LLM_IndexTensor>:$block_indices);
  let assemblyFormat = [{
    $cache `,` $keys `,` $values (`,` $seq_ids^)? (`slots` $slots^)?
    (`layer` $layer^)? attr-dict `:` functional-type(operands, results)
  }];
  let hasCanonicalizer = 1;
  let hasVerifier = 1;
}

def LLM_RopeAppendKVOp : LLM_Op<"rope_append_kv", [
    DeclareOpInterfaceMethods<LLM_CostOpInterface, ["getCost"]>,
    Pure, DeclareOpInterfaceMethods<LLM_InputConstraintsOpInterface>]> {
  let summary = "rotates queries and keys, and appends to a paged cache";
  let description = [{
    `llm.rope` of the query and of the keys, and `llm.append_kv` of these keys and
    of the values by `slots`, in one:

        result  = append_kv(cache, rope(keys, table, positions), values, slots)
        rotated = rope(query, table, positions)

    A rotated key is rounded once, to the cache's element type. Query: [T, Hq, D];
    keys and values: [T, Hkv, D]; table: [S, 2, R/2] with R <= D; positions and
    slots: [T].

    ```mlir
    !kv_cache_t = !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>
    %kv1, %rotated = llm.rope_append_kv %kv, %q, %k, %v, %table, %positions
                       slots %slots layer %layer
      : (!kv_cache_t, tensor<?x32x64xf32>, tensor<?x16x64xf32>,
         tensor<?x16x64xf32>, tensor<4096x2x32xf32>, tensor<?xi32>, tensor<?xi32>,
         index) -> (!kv_cache_t, tensor<?x32x64xf32>)
    ```
  }];
  let arguments = (ins LLM_PagedKVCacheType:$cache, LLM_FloatTensor:$query,
                       LLM_FloatTensor:$keys, LLM_FloatTensor:$values,
                       RankedTensorOf<[F32]>:$table, LLM_IndexTensor:$positions,
                       LLM_IndexTensor:$slots, Optional<Index>:$layer);
  let results = (outs LLM_PagedKVCacheType:$result, LLM_FloatTensor:$rotated);
  let assemblyFormat = [{
    $cache `,` $query `,` $keys `,` $values `,` $table `,` $positions
    `slots` $slots (`layer` $layer^)? attr-dict `:`
    functional-type(operands, results)
  }];
  let hasCanonicalizer = 1;
  let hasVerifier = 1;
}

def LLM_LookupKVOp : LLM_Op<"lookup_kv", [
    DeclareOpInterfaceMethods<LLM_CostOpInterface, ["getCost"]>,
    Pure, DeclareOpInterfaceMethods<LLM_InputConstraintsOpInterface>]> {
  let summary = "gathers a sequence's keys and values from a paged cache";
  let description = [{
    `keys[b, p] = pool[block_indices[b, p / block_size], p mod block_size]`, the
    same for values, for positions p < seq_lens[b]; what lies beyond is 0. What
    is quantized comes as the number that it stands for.
    block_indices: [B, W], seq_lens: [B], keys and values: [B, P, H, D].

    ```mlir
    !kv_cache_t = !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>
    %keys, %values = llm.lookup_kv %kv, %blocks, %seq_lens layer %layer
      : (!kv_cache_t, tensor<2x8xi32>, tensor<2xi32>, index)
      -> (tensor<2x128x16x64xf16>, tensor<2x128x16x64xf16>)
    ```
  }];
  let arguments = (ins LLM_PagedKVCacheType:$cache,
                       LLM_IndexTensor:$block_indices,
                       LLM_IndexTensor:$seq_lens, Optional<Index>:$layer);
  let results = (outs LLM_FloatTensor:$keys, LLM_FloatTensor:$values);
  let assemblyFormat = [{
    $cache `,` $block_indices `,` $seq_lens (`layer` $layer^)? attr-dict `:`
    functional-type(operands, results)
  }];
  let hasCanonicalizer = 1;
  let hasVerifier = 1;
}

def LLM_PagedAttentionOp : LLM_Op<"paged_attention", [
    DeclareOpInterfaceMethods<LLM_CostOpInterface, ["getCost"]>,
    Pure, AttrSizedOperandSegments,
    DeclareOpInterfaceMethods<LLM_InputConstraintsOpInterface>]> {
  let summary = "causal attention of new tokens over their cached context";
  let description = [{
    The attention of `llm.attention`, causal, over keys and values that the
    cache holds already, those of the new tokens among them. The query's tokens
    are the last ones of each sequence; seq_lens, which counts them in, is no less
    than their number. block_indices [B, W] names the blocks of each sequence. A
    step has them as context_lens and block_table.

    Query [B, T, Hq, D]: T new tokens of every sequence. Query [T, Hq, D] with
    `rows` ([B + 1]): a ragged batch, in which sequence b owns the rows from
    rows[b] to rows[b + 1]. `num_heads` and `head_dim` repeat what the types
    say. `scale`, `softcap`, `window`, `sinks` and `alibi` mean what they mean
    there. With `query_type`, the query's elements are rounded to that type, which
    is bf16, before anything else. Over a cache of bf16 the softmax's exponentials
    are rounded to bf16 before they are summed and multiplied with the values. Over
    one of integers they are summed as they are; what multiplies a value's integers
    (q - z) is its exponential times its scale, rounded to bf16.

    ```mlir
    !kv_cache_t = !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>
    %o = llm.paged_attention %q, %kv, %block_table, %context_lens
           rows %row_starts layer %layer {scale = 0.125 : f32}
      : (tensor<?x32x64xf32>, !kv_cache_t, tensor<?x?xi32>, tensor<?xi32>,
         tensor<?xi32>, index) -> tensor<?x32x64xbf16>
    %p = llm.paged_attention %q, %kv, %block_table, %context_lens
           rows %row_starts layer %layer sinks %s
           {query_type = bf16, softcap = 50.0 : f32, window = 128 : i64}
      : (tensor<?x32x64xf32>, !kv_cache_t, tensor<?x?xi32>, tensor<?xi32>,
         tensor<?xi32>, index, tensor<32xbf16>) -> tensor<?x32x64xbf16>
    ```
  }];
  let arguments = (ins LLM_FloatTensor:$query, LLM_PagedKVCacheType:$cache,
                       LLM_IndexTensor:$block_indices,
                       LLM_IndexTensor:$seq_lens,
                       Optional<LLM_IndexTensor>:$rows,
                       Optional<Index>:$layer,
                       Optional<LLM_FloatTensor>:$sinks,
                       Optional<LLM_FloatTensor>:$alibi,
                       OptionalAttr<I32Attr>:$num_heads,
                       OptionalAttr<I32Attr>:$head_dim,
                       OptionalAttr<F32Attr>:$scale,
                       OptionalAttr<I64Attr>:$window,
                       OptionalAttr<F32Attr>:$softcap,
                       OptionalAttr<TypeAttrOf<AnyFloat>>:$query_type);
  let results = (outs LLM_FloatTensor:$result);
  let assemblyFormat = [{
    $query `,` $cache `,` $block_indices `,` $seq_lens (`rows` $rows^)?
    (`layer` $layer^)? (`sinks` $sinks^)? (`alibi` $alibi^)? attr-dict `:`
    functional-type(operands, results)
  }];
  let hasCanonicalizer = 1;
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// What the CPU pipeline lowers to
//===----------------------------------------------------------------------===//

def LLM_CallKernelOp : LLM_Op<"call_kernel", [
    AttrSizedOperandSegments, DestinationStyleOpInterface,
    DeclareOpInterfaceMethods<MemoryEffectsOpInterface>]> {
  let summary = "calls a function of the runtime's table";
  let description = [{
    Calls the runtime's function `kernel` on tensors or, once bufferized, on
    memrefs, in destination-passing style. A cache operand is changed in place.
    With `accumulate`, the outputs' contents are read as well as written. The
    last inputs may be ones that the kernel can do without: `extras` names them.
    What `scale`, `softcap`, `window` and `causal` are is said at `llm.attention`, what
    `query_type` is at `llm.paged_attention`, and what `epsilon`, `activation`
    and `gated` are at `llm.linear`. A product of quantized numbers says by
    `weight_type` what the bytes of its weight are, and by `input_type` what it
    rounds its input to, if to integers.

    ```mlir
    %r = llm.call_kernel linear ins(%x, %w : tensor<?x192xbf16>,
           tensor<2x96x32x2xbf16>) outs(%out : tensor<?x64xf32>)
           -> tensor<?x64xf32>
    %s = llm.call_kernel linear ins(%x, %w, %b : tensor<?x192xbf16>,
           tensor<2x96x32x2xbf16>, tensor<64xbf16>)
           outs(%out : tensor<?x64xf32>) {extras = ["bias"]}
           -> tensor<?x64xf32>
    ```
  }];
  let arguments = (ins
    StrAttr:$kernel,
    Variadic<AnyType>:$inputs,
    Variadic<AnyShaped>:$outputs,
    UnitAttr:$accumulate,
    OptionalAttr<StrArrayAttr>:$extras,
    OptionalAttr<F32Attr>:$epsilon,
    OptionalAttr<LLM_ActivationKindAttr>:$activation,
    UnitAttr:$gated,
    OptionalAttr<F32Attr>:$scale,
    OptionalAttr<F32Attr>:$softcap,
    OptionalAttr<I64Attr>:$window,
    UnitAttr:$causal,
    OptionalAttr<TypeAttrOf<LLM_QuantizedTensorType>>:$weight_type,
    OptionalAttr<TypeAttrOf<LLM_QuantizedTensorType>>:$input_type,
    OptionalAttr<TypeAttrOf<AnyFloat>>:$query_type);
  let results = (outs Variadic<AnyRankedTensor>:$results);
  let builders = [
    OpBuilder<(ins "::llvm::StringRef":$kernel, "::mlir::ValueRange":$inputs,
                   CArg<"::mlir::ValueRange", "{}">:$outputs)>
  ];
  let assemblyFormat = [{
    custom<KernelName>($kernel) (`accumulate` $accumulate^)?
    `ins` `(` ($inputs^ `:` type($inputs))? `)`
    (`outs` `(` $outputs^ `:` type($outputs) `)`)? attr-dict
    (`->` type($results)^)?
  }];
  let extraClassDeclaration = [{
    ::mlir::MutableOperandRange getDpsInitsMutable() {
      return getOutputsMutable();
    }
  }];
  let hasVerifier = 1;
}

#endif // LLMIR_DIALECT_LLM_LLMOPS_TD
