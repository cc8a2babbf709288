// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Passes that stay within the `llm` dialect.

#ifndef LLMIR_DIALECT_LLM_PASSES_TD
#define LLMIR_DIALECT_LLM_PASSES_TD

include "mlir/Pass/PassBase.td"

/// The machine that a fusion is chosen for: it is made where the costs of the
/// ops say that it takes no longer.
class LLM_MachineOptions {
  list<Option> machine = [
    Option<"bandwidth", "bandwidth", "double", "50.0",
           "The bytes that the machine reads or writes, in 10^9 a second">,
    Option<"peak", "peak", "double", "500.0",
           "The operations that it does, in 10^9 a second">,
    Option<"call", "call", "double", "1.0",
           "What a call of a kernel takes besides, in microseconds">,
    Option<"tokens", "tokens", "int64_t", "1",
           "The tokens of the step that is to be fast">
  ];
}
def LLM_Machine : LLM_MachineOptions;

def LLMVerifyCacheUses : Pass<"llm-verify-cache-uses", "::mlir::ModuleOp"> {
  let summary = "Prove that every cache value can be changed in place";
  let description = [{
    Checks, across calls, that each `!llm.paged_kv_cache` value has at most one
    consuming use (an `llm.append_kv`, a call whose callee consumes it, a return,
    a branch), that this one is in the block of the value, and that every read of
    it comes before.

    ```mlir
    !kv_cache_t = !llm.paged_kv_cache<f32, 1, 2, 4, 16, 64>
    func.func @twice(%kv: !kv_cache_t, %k: tensor<?x2x4xf32>,
                     %slots: tensor<?xi32>) -> !kv_cache_t {
      // expected-note @+1 {{consumed here}}
      %kv1 = llm.append_kv %kv, %k, %k slots %slots
        : (!kv_cache_t, tensor<?x2x4xf32>, tensor<?x2x4xf32>, tensor<?xi32>)
        -> !kv_cache_t
      // expected-error @+1 {{consumes a cache that is consumed already}}
      return %kv : !kv_cache_t
    }
    ```
  }];
}

def LLMVerifyStep : Pass<"llm-verify-step", "::mlir::ModuleOp"> {
  let summary = "Check that a program is a step that the runtime can run";
  let description = [{
    Checks that `@step` takes, in this order, token_ids, positions, slots,
    block_table, context_lens, row_starts, logit_rows and a cache, and returns
    logits and the cache; that vocab_size and max_model_len of the module's
    attribute `llm.model` fit the logits, the embedding, the RoPE tables and the
    cache; that hidden_size, num_layers, num_heads, num_kv_heads and head_dim, where
    they are there, are those of the embedding, the cache and the queries; that
    every layer of the cache that is named exists; and that every parameter is of
    the scope `model`, the only weights that there are.

    ```mlir
    module attributes {llm.model = {vocab_size = 8 : i64, max_model_len = 64 : i64}} {
      // expected-error @+1 {{step must take token_ids, positions, slots,}}
      func.func @step(%token_ids: tensor<?xi32>) -> tensor<?x8xf32> {
        %table = llm.parameter "model"::"table" : tensor<8x8xf32>
        %logits = llm.embedding %token_ids, %table
          : (tensor<?xi32>, tensor<8x8xf32>) -> tensor<?x8xf32>
        return %logits : tensor<?x8xf32>
      }
    }
    ```
  }];
}

def LLMIntroduceKVCache : Pass<"llm-introduce-kv-cache", "::mlir::ModuleOp"> {
  let summary = "Turn a function over whole sequences into a step over a cache";
  let description = [{
    Turns a function that computes the logits of whole sequences, in the form that
    raising gives it, into `@step` over a ragged batch of new tokens and a
    `!llm.paged_kv_cache`, as the importer writes it.

    The function takes token ids, [sequences, tokens]; either they are the whole
    sequences, or past keys and values come along, which a `tensor.concat`
    continues, and which the function then also returns. Each `llm.attention` must
    be causal and see the tokens of its own sequence, all of them or a window.
    Whatever else there is must treat each token by itself and may use its
    position: weights are the same for all, sums go along other dimensions than
    those of tokens, and the place in a sequence counts from its past. This is
    checked, op by op and through calls of private functions. What is in the way
    is said, and then nothing is changed.

    An attention becomes an `llm.append_kv` and an `llm.paged_attention` of a layer
    of its own; functions of layers get the cache, their layers' numbers and what
    they need of the batch as arguments. The rows whose logits are asked for are
    picked as early as what follows is for logits only. RoPE tables get
    `max-seq-len` positions. Sizes go into the module's attribute `llm.model`, whose
    other facts stay.

    A program that has a step over a cache already is left as it is.

    ```mlir
    // llmir-opt --llm-introduce-kv-cache=max-seq-len=64
    func.func @main(%ids: tensor<1x?xi64>) -> tensor<1x?x8xf32> {
      %embed = llm.parameter "model"::"embed" : tensor<8x4xf32>
      %flat = tensor.collapse_shape %ids [[0, 1]]
        : tensor<1x?xi64> into tensor<?xi64>
      %ids32 = arith.trunci %flat : tensor<?xi64> to tensor<?xi32>
      %h = llm.embedding %ids32, %embed
        : (tensor<?xi32>, tensor<8x4xf32>) -> tensor<?x4xf32>
      %heads = tensor.expand_shape %h [[0, 1], [2, 3]]
        : tensor<?x4xf32> into tensor<1x?x1x4xf32>
      %attn = llm.attention %heads, %heads, %heads {causal}
        : (tensor<1x?x1x4xf32>, tensor<1x?x1x4xf32>, tensor<1x?x1x4xf32>)
        -> tensor<1x?x1x4xf32>
      %rows = tensor.collapse_shape %attn [[0, 1], [2, 3]]
        : tensor<1x?x1x4xf32> into tensor<?x4xf32>
      %logits = llm.linear %rows, %embed
        : (tensor<?x4xf32>, tensor<8x4xf32>) -> tensor<?x8xf32>
      %result = tensor.expand_shape %logits [[0, 1], [2]]
        : tensor<?x8xf32> into tensor<1x?x8xf32>
      return %result : tensor<1x?x8xf32>
    }
    ```

    becomes

    ```mlir
    module attributes {llm.model = {architecture = "causal_lm", dtype = "f32",
        eos_token_ids = [], head_dim = 4 : i64, hidden_size = 4 : i64,
        max_model_len = 64 : i64, num_heads = 1 : i64, num_kv_heads = 1 : i64,
        num_layers = 1 : i64, vocab_size = 8 : i64}} {
      func.func @step(%arg0: tensor<?xi32>, %arg1: tensor<?xi32>, %arg2:
          tensor<?xi32>, %arg3: tensor<?x?xi32>, %arg4: tensor<?xi32>, %arg5:
          tensor<?xi32>, %arg6: tensor<?xi32>, %arg7: !llm.paged_kv_cache<f32,
          1, 1, 4, 16, 64>) -> (tensor<?x8xf32>, ...) {
        %0 = llm.parameter "model"::"embed" : tensor<8x4xf32>
        %1 = llm.embedding %arg0, %0 : (tensor<?xi32>, tensor<8x4xf32>) ->
            tensor<?x4xf32>
        %expanded = tensor.expand_shape %1 [[0], [1, 2]] : ...
        %result = llm.append_kv %arg7, %expanded, %expanded slots %arg2 : ...
        %2 = llm.paged_attention %expanded, %result, %arg3, %arg4 rows %arg5 : ...
        %collapsed = tensor.collapse_shape %2 [[0], [1, 2]] : ...
        %3 = llm.embedding %arg6, %collapsed : (tensor<?xi32>, tensor<?x4xf32>)
            -> tensor<?x4xf32>
        %4 = llm.linear %3, %0 : (tensor<?x4xf32>, tensor<8x4xf32>) ->
            tensor<?x8xf32>
        return %4, %result : ...
      }
    }
    ```
  }];
  let options = [
    Option<"function", "function", "std::string", "\"main\"",
           "The function to turn into a step">,
    Option<"maxSeqLen", "max-seq-len", "int64_t", "0",
           "The longest sequence; 0 for what llm.model or the tables of positions "
           "say">,
    Option<"blockSize", "block-size", "int64_t", "16",
           "The positions in a block of the cache, a power of two">,
    Option<"dtype", "dtype", "std::string", "\"auto\"",
           "What the cache holds: int8, int4, f32, bf16 or f16, or auto for the "
           "type of the keys">
  ];
  let statistics = [
    Statistic<"numLayers", "num-layers", "Number of attentions over the cache">
  ];
  let dependentDialects = [
    "::mlir::arith::ArithDialect", "::mlir::tensor::TensorDialect"
  ];
}

def LLMMergeProducts : Pass<"llm-merge-products", "::mlir::ModuleOp"> {
  let summary = "Turn products of the same input into one";
  let description = [{
    Products of one input, of a block, whose weights are parameters, be they beside
    the product or passed in by every call of a private function, become one
    product by the parameter that lays theirs end to end, and slices of its
    result. So do their biases. Types must be equal, and a weight must have no other
    use. Two products that an activation gates are merged with each other only,
    the gates first, and become one product in `--llm-fuse-activation`. By the cost
    model, one product reads its input once and is one call.

    ```mlir
    func.func @step(%x: tensor<?x64xf32>)
        -> (tensor<?x32xf32>, tensor<?x16xf32>) {
      %k = llm.parameter "model"::"k" : tensor<32x64xf32>
      %y = llm.linear %x, %k
        : (tensor<?x64xf32>, tensor<32x64xf32>) -> tensor<?x32xf32>
      %v = llm.parameter "model"::"v" : tensor<16x64xf32>
      %z = llm.linear %x, %v
        : (tensor<?x64xf32>, tensor<16x64xf32>) -> tensor<?x16xf32>
      return %y, %z : tensor<?x32xf32>, tensor<?x16xf32>
    }
    ```

    becomes

    ```mlir
    func.func @step(%arg0: tensor<?x64xf32>)
        -> (tensor<?x32xf32>, tensor<?x16xf32>) {
      %0 = llm.parameter "model"::["k", "v"] from [tensor<32x64xf32>,
          tensor<16x64xf32>] : tensor<48x64xf32>
      %1 = llm.linear %arg0, %0 : (tensor<?x64xf32>, tensor<48x64xf32>) ->
          tensor<?x48xf32>
      %c0 = arith.constant 0 : index
      %dim = tensor.dim %1, %c0 : tensor<?x48xf32>
      %extracted_slice = tensor.extract_slice %1[0, 0] [%dim, 32] [1, 1] :
          tensor<?x48xf32> to tensor<?x32xf32>
      %extracted_slice_0 = tensor.extract_slice %1[0, 32] [%dim, 16] [1, 1] :
          tensor<?x48xf32> to tensor<?x16xf32>
      return %extracted_slice, %extracted_slice_0 : tensor<?x32xf32>,
          tensor<?x16xf32>
    }
    ```
  }];
  let options = !listconcat([
    Option<"which", "which", "std::string", "\"all\"",
           "all, gated (the products of an activation) or plain (the others)">
  ], LLM_Machine.machine);
  let statistics = [
    Statistic<"numMerged", "num-merged", "Number of products merged">
  ];
  let dependentDialects = [
    "::mlir::arith::ArithDialect", "::mlir::tensor::TensorDialect"
  ];
}

def LLMFuseActivation : Pass<"llm-fuse-activation"> {
  let summary = "Fold an activation into the product before it";
  let description = [{
    Turns `llm.activation` of a product into the product's epilogue, and one that
    gates the halves of a product into a gated product. Only kinds that the
    runtime's products have are folded, and only products that nothing else reads.

    ```mlir
    func.func @mlp(%x: tensor<?x8xf32>, %w: tensor<12x8xf32>)
        -> tensor<?x6xbf16> {
      %c0 = arith.constant 0 : index
      %y = llm.linear %x, %w
        : (tensor<?x8xf32>, tensor<12x8xf32>) -> tensor<?x12xf32>
      %t = tensor.dim %y, %c0 : tensor<?x12xf32>
      %gate = tensor.extract_slice %y[0, 0] [%t, 6] [1, 1]
        : tensor<?x12xf32> to tensor<?x6xf32>
      %up = tensor.extract_slice %y[0, 6] [%t, 6] [1, 1]
        : tensor<?x12xf32> to tensor<?x6xf32>
      %z = llm.activation silu %gate, %up
        : (tensor<?x6xf32>, tensor<?x6xf32>) -> tensor<?x6xbf16>
      return %z : tensor<?x6xbf16>
    }
    ```

    becomes

    ```mlir
    func.func @mlp(%arg0: tensor<?x8xf32>, %arg1: tensor<12x8xf32>) ->
        tensor<?x6xbf16> {
      %0 = llm.linear %arg0, %arg1 activation silu gated : (tensor<?x8xf32>,
          tensor<12x8xf32>) -> tensor<?x6xbf16>
      return %0 : tensor<?x6xbf16>
    }
    ```
  }];
  let statistics = [
    Statistic<"numFused", "num-fused", "Number of activations folded">
  ];
}

def LLMFuseNorm : Pass<"llm-fuse-norm"> {
  let summary = "Fold a norm into the products that read it";
  let description = [{
    Turns an `llm.rms_norm` that only products read, as their input, into the
    prologue of each. What it is rounded to must be the type of their weights, to
    which a product rounds it. By the cost model, a call and the normed rows are
    saved, but each product norms the rows again, which may be wider: with many
    products and many tokens the norm stays.

    ```mlir
    func.func @head(%x: tensor<?x8xf32>, %n: tensor<8xbf16>,
                    %w: tensor<12x8xbf16>) -> tensor<?x12xf32> {
      %y = llm.rms_norm %x, %n {epsilon = 1.0e-05 : f32}
        : (tensor<?x8xf32>, tensor<8xbf16>) -> tensor<?x8xbf16>
      %z = llm.linear %y, %w
        : (tensor<?x8xbf16>, tensor<12x8xbf16>) -> tensor<?x12xf32>
      return %z : tensor<?x12xf32>
    }
    ```

    becomes

    ```mlir
    func.func @head(%arg0: tensor<?x8xf32>, %arg1: tensor<8xbf16>, %arg2:
        tensor<12x8xbf16>) -> tensor<?x12xf32> {
      %0 = llm.linear %arg0, %arg2 norm %arg1 {epsilon = 9.99999974E-6 : f32} :
          (tensor<?x8xf32>, tensor<12x8xbf16>, tensor<8xbf16>) ->
          tensor<?x12xf32>
      return %0 : tensor<?x12xf32>
    }
    ```
  }];
  let options = LLM_Machine.machine;
  let statistics = [
    Statistic<"numFused", "num-fused", "Number of products that take a norm in">
  ];
}

def LLMFuseResidual : Pass<"llm-fuse-residual"> {
  let summary = "Fold the addition of a residual into the product before it";
  let description = [{
    Turns `arith.addf %h, (llm.linear %x, %w)` into `llm.linear %x, %w residual
    %h`, so that the product accumulates into the residual stream and no buffer
    stands between them. The same goes for `llm.quantized_matmul`.

    ```mlir
    func.func @layer(%x: tensor<?x8xf32>, %w: tensor<4x8xf32>,
                     %h: tensor<?x4xf32>) -> tensor<?x4xf32> {
      %y = llm.linear %x, %w
        : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
      %sum = arith.addf %h, %y : tensor<?x4xf32>
      return %sum : tensor<?x4xf32>
    }
    ```

    becomes

    ```mlir
    func.func @layer(%arg0: tensor<?x8xf32>, %arg1: tensor<4x8xf32>, %arg2:
        tensor<?x4xf32>) -> tensor<?x4xf32> {
      %0 = llm.linear %arg0, %arg1 residual %arg2 : (tensor<?x8xf32>,
          tensor<4x8xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
      return %0 : tensor<?x4xf32>
    }
    ```
  }];
  let statistics = [
    Statistic<"numFused", "num-fused", "Number of additions folded">
  ];
}

def LLMFuseRopeAppend : Pass<"llm-fuse-rope-append"> {
  let summary = "Make one op of rotating queries and keys and of the append";
  let description = [{
    Turns an `llm.append_kv` by slots of keys that `llm.rope` has rotated, and that
    nothing else reads, into `llm.rope_append_kv`, together with the rotation of the
    queries whose attention reads the cache that it returns. Both rotations must be
    by the same table and positions, and keys rounded to f32 or to the cache's
    type, so that no number changes. By the cost model, two calls and the rotated
    keys are saved.

    ```mlir
    !kv = !llm.paged_kv_cache<f32, 1, 2, 4, 16, 64>
    func.func @layer(%kv: !kv, %q: tensor<?x4x4xf32>, %k: tensor<?x2x4xf32>,
                     %v: tensor<?x2x4xf32>, %table: tensor<64x2x2xf32>,
                     %positions: tensor<?xi32>, %slots: tensor<?xi32>,
                     %blocks: tensor<?x?xi32>, %lens: tensor<?xi32>,
                     %rows: tensor<?xi32>) -> (tensor<?x4x4xf32>, !kv) {
      %q_rot = llm.rope %q, %table, %positions
        : (tensor<?x4x4xf32>, tensor<64x2x2xf32>, tensor<?xi32>)
        -> tensor<?x4x4xf32>
      %k_rot = llm.rope %k, %table, %positions
        : (tensor<?x2x4xf32>, tensor<64x2x2xf32>, tensor<?xi32>)
        -> tensor<?x2x4xf32>
      %kv1 = llm.append_kv %kv, %k_rot, %v slots %slots
        : (!kv, tensor<?x2x4xf32>, tensor<?x2x4xf32>, tensor<?xi32>) -> !kv
      %o = llm.paged_attention %q_rot, %kv1, %blocks, %lens rows %rows
        : (tensor<?x4x4xf32>, !kv, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>)
        -> tensor<?x4x4xf32>
      return %o, %kv1 : tensor<?x4x4xf32>, !kv
    }
    ```

    becomes

    ```mlir
    func.func @layer(...) -> (tensor<?x4x4xf32>, !llm.paged_kv_cache<f32, 1, 2, 4,
        16, 64>) {
      %result, %rotated = llm.rope_append_kv %arg0, %arg1, %arg2, %arg3, %arg4,
          %arg5 slots %arg6 : (!llm.paged_kv_cache<f32, 1, 2, 4, 16, 64>,
          tensor<?x4x4xf32>, tensor<?x2x4xf32>, tensor<?x2x4xf32>,
          tensor<64x2x2xf32>, tensor<?xi32>, tensor<?xi32>) ->
          (!llm.paged_kv_cache<f32, 1, 2, 4, 16, 64>, tensor<?x4x4xf32>)
      %0 = llm.paged_attention %rotated, %result, ...
      return %0, %result : ...
    }
    ```
  }];
  let options = LLM_Machine.machine;
  let statistics = [
    Statistic<"numFused", "num-fused", "Number of appends that rotate">
  ];
}

def LLMQuantizeWeights : Pass<"llm-quantize-weights", "::mlir::ModuleOp"> {
  let summary = "Turn products into such of quantized weights";
  let description = [{
    Turns every `llm.linear` whose weight is a parameter, be it directly or
    through the arguments of a private function, into an `llm.quantized_matmul`
    of a quantized parameter. `format` is one of

    | format | weights                    | input of the product                |
    |--------|----------------------------|-------------------------------------|
    | `int8` | 8 bits, whole rows         | rounded to bf16                     |
    | `int4` | 4 bits, in groups of 32    | rounded to bf16                     |
    | `w8a8` | 8 bits, whole rows         | 8 bits, a scale in f32 a token      |
    | `w4a8` | 4 bits, in groups of 32    | 8 bits, a scale in f32 a token      |

    `group-size` chooses other groups. Where it does not divide the number of
    inputs it is halved until it does; if not even 32 do, the product stays as it
    is. Whole rows have scales in f32 and groups in f16, unless `scales` says
    otherwise.

    `head` is the format of the product that makes the logits, the last one before
    a result of a public function: `auto` is that of the others, `none` leaves it as
    it is. `group-size` says nothing about a head or a table of another format.

    `embedding` is that of the tables that `llm.embedding` looks rows up in, of
    8 or 4 bits, or `none`, which leaves them as they are. A table that the head
    multiplies by as well is stored once if both have one format.

    `exclude` names weights that stay as they are, by patterns of their keys, as
    a shell's: `*` is any text, `?` one character, `[ab]` one of some. A pattern
    must match a key as a whole, or all of it before the last dot: `lm_head`
    matches `lm_head.weight`, and `*.down_proj` that of each layer. A product of
    several weights stays if one of them is named. A function whose calls differ
    in what is named becomes two. A pattern that matches no parameter is an error,
    and so is a weight that is packed already: quantizing comes before
    `--llm-pack-parameters`.

    ```mlir
    // llmir-opt --llm-quantize-weights=format=w8a8
    func.func @step(%x: tensor<?x192xf32>) -> tensor<?x64xf32> {
      %w = llm.parameter "model"::"w" : tensor<64x192xf32>
      %y = llm.linear %x, %w
        : (tensor<?x192xf32>, tensor<64x192xf32>) -> tensor<?x64xf32>
      return %y : tensor<?x64xf32>
    }
    ```

    becomes

    ```mlir
    func.func @step(%arg0: tensor<?x192xf32>) -> tensor<?x64xf32> {
      %0 = llm.quantize %arg0 : (tensor<?x192xf32>) ->
          !llm.quantized_tensor<?x192xi8, scales = f32, axis = 1>
      %1 = llm.parameter "model"::"w" from tensor<64x192xf32> :
          !llm.quantized_tensor<64x192xi8, scales = f32, axis = 1>
      %2 = llm.quantized_matmul %0, %1 : (!llm.quantized_tensor<?x192xi8, scales
          = f32, axis = 1>, !llm.quantized_tensor<64x192xi8, scales = f32, axis
          = 1>) -> tensor<?x64xf32>
      return %2 : tensor<?x64xf32>
    }
    ```
  }];
  let options = [
    Option<"format", "format", "std::string", "\"int8\"",
           "int8, int4, w8a8 or w4a8">,
    Option<"groupSize", "group-size", "int64_t", "-1",
           "The inputs that share a scale, a multiple of 32 up to 512; 0 for whole rows, "
           "-1 for what the format has">,
    Option<"asymmetric", "asymmetric", "bool", "false",
           "Give groups a zero point as well">,
    Option<"scales", "scales", "std::string", "\"auto\"",
           "The type of scales: auto, f32, f16 or bf16">,
    Option<"head", "head", "std::string", "\"auto\"",
           "The format of the product that makes the logits: auto, none or a format">,
    Option<"embedding", "embedding", "std::string", "\"none\"",
           "The format of embeddings: none, int8 or int4">,
    ListOption<"exclude", "exclude", "std::string",
               "Patterns of the keys of weights that stay as they are">
  ];
  let dependentDialects = ["::mlir::arith::ArithDialect"];
  let statistics = [
    Statistic<"numQuantized", "num-quantized", "Number of weights quantized">,
    Statistic<"numKept", "num-kept", "Number of products that stay as they are">,
    Statistic<"numCopied", "num-copied",
              "Number of functions copied since their calls differ in what stays">
  ];
}

def LLMQuantizeKVCache : Pass<"llm-quantize-kv-cache", "::mlir::ModuleOp"> {
  let summary = "Change what the KV cache holds";
  let description = [{
    Gives every `!llm.paged_kv_cache` of a program elements of another type: `int8`
    or `int4`, to which appends quantize keys and values, or a float's, to which
    they round. The ops stay as they are: what they do follows from the type.

    ```mlir
    // llmir-opt --llm-quantize-kv-cache=dtype=int8
    func.func @layer(%kv: !llm.paged_kv_cache<bf16, 1, 2, 4, 16, 64>,
                     %k: tensor<?x2x4xf32>, %v: tensor<?x2x4xf32>,
                     %slots: tensor<?xi32>)
        -> !llm.paged_kv_cache<bf16, 1, 2, 4, 16, 64> {
      %kv1 = llm.append_kv %kv, %k, %v slots %slots
        : (!llm.paged_kv_cache<bf16, 1, 2, 4, 16, 64>, tensor<?x2x4xf32>,
           tensor<?x2x4xf32>, tensor<?xi32>)
        -> !llm.paged_kv_cache<bf16, 1, 2, 4, 16, 64>
      return %kv1 : !llm.paged_kv_cache<bf16, 1, 2, 4, 16, 64>
    }
    ```

    becomes

    ```mlir
    func.func @layer(%arg0: !llm.paged_kv_cache<i8, 1, 2, 4, 16, 64>, %arg1:
        tensor<?x2x4xf32>, %arg2: tensor<?x2x4xf32>, %arg3: tensor<?xi32>) ->
        !llm.paged_kv_cache<i8, 1, 2, 4, 16, 64> {
      %result = llm.append_kv %arg0, %arg1, %arg2 slots %arg3 :
          (!llm.paged_kv_cache<i8, 1, 2, 4, 16, 64>, tensor<?x2x4xf32>,
          tensor<?x2x4xf32>, tensor<?xi32>) -> !llm.paged_kv_cache<i8, 1, 2, 4,
          16, 64>
      return %result : !llm.paged_kv_cache<i8, 1, 2, 4, 16, 64>
    }
    ```
  }];
  let options = [
    Option<"dtype", "dtype", "std::string", "\"int8\"",
           "int8, int4, f32, bf16 or f16">
  ];
  let statistics = [
    Statistic<"numChanged", "num-changed", "Number of types of caches changed">
  ];
}

def LLMOptimizeKVCache : Pass<"llm-optimize-kv-cache", "::mlir::ModuleOp"> {
  let summary = "Spare what a program does with its cache for nothing";
  let description = [{
    * An `llm.attention` over what one `llm.lookup_kv` has gathered becomes an
      `llm.paged_attention`, where it sees just what each sequence has: it is
      causal and all lengths are the constant number of positions looked up, or
      these are those of the longest sequence and a mask of i1 says
      `key <= seq_len - queries + query`. Over caches of f32 and f16 only, since
      over others a paged attention rounds what the softmax makes.
    * An `llm.lookup_kv` that nothing reads is dropped.
    * Two appends to a layer with no read in between become one: by the same
      slots the second alone, which overwrites the first; by slots, keys and
      values that are the first rows and the rest of the same tensors, that of
      the whole tensors; by the same `seq_ids`, if that is one sequence, whose
      blocks are then the same, that of both sets of tokens end to end.
    * If every attention has a window, the longest of them becomes the fact
      `kv_cache_window` of `llm.model`. The runtime then gives blocks that lie
      behind it to others, and a sequence takes no more of them than its window
      and its new tokens need. Layers share blocks, so one layer that sees
      everything keeps everything.
    * With `block-size=auto`, blocks get the size with the least

          length / size * 256 + size / 2 * bytes

      for half of `max_seq_len` or the window, whichever is less, as length, and
      the bytes that a head's keys take at one position. The first term is what
      the starts of stretches of memory cost: each block is one for each head, and
      a start costs about as much as reading 256 bytes (four lines that a
      prefetcher has not foreseen). The second is the half block that is
      empty at the end of a sequence. Sizes are 8, 16, 32 and 64, the positions
      that the attention kernel takes at once. A program that gives out blocks
      itself, or whose block tables have a constant width, keeps its size.

    ```mlir
    !kv = !llm.paged_kv_cache<f32, 1, 2, 4, 16, 64>
    func.func @decode(%kv: !kv, %q: tensor<2x1x4x4xf32>, %blocks: tensor<2x4xi32>)
        -> tensor<2x1x4x4xf32> {
      %lens = arith.constant dense<64> : tensor<2xi32>
      %k, %v = llm.lookup_kv %kv, %blocks, %lens
        : (!kv, tensor<2x4xi32>, tensor<2xi32>)
        -> (tensor<2x64x2x4xf32>, tensor<2x64x2x4xf32>)
      %o = llm.attention %q, %k, %v {causal}
        : (tensor<2x1x4x4xf32>, tensor<2x64x2x4xf32>, tensor<2x64x2x4xf32>)
        -> tensor<2x1x4x4xf32>
      return %o : tensor<2x1x4x4xf32>
    }
    ```

    becomes

    ```mlir
    func.func @decode(%arg0: !llm.paged_kv_cache<f32, 1, 2, 4, 16, 64>, %arg1:
        tensor<2x1x4x4xf32>, %arg2: tensor<2x4xi32>) -> tensor<2x1x4x4xf32> {
      %cst = arith.constant dense<64> : tensor<2xi32>
      %0 = llm.paged_attention %arg1, %arg0, %arg2, %cst : ...
      return %0 : tensor<2x1x4x4xf32>
    }
    ```
  }];
  let options = [
    Option<"blockSize", "block-size", "std::string", "\"keep\"",
           "keep, which leaves blocks as they are, or auto">
  ];
  let statistics = [
    Statistic<"numPaged", "num-paged", "Number of attentions that read the cache">,
    Statistic<"numDropped", "num-dropped", "Number of lookups dropped">,
    Statistic<"numMerged", "num-merged", "Number of appends merged">,
    Statistic<"numResized", "num-resized", "Number of caches with other blocks">
  ];
  let dependentDialects = [
    "::mlir::affine::AffineDialect", "::mlir::tensor::TensorDialect"
  ];
}

def LLMPackParameters : Pass<"llm-pack-parameters", "::mlir::ModuleOp"> {
  let summary = "Pack the weights of products into panels";
  let description = [{
    Gives every parameter that an `llm.linear` or an `llm.quantized_matmul`
    multiplies by, be it directly or through the arguments of private functions,
    the packed type that the runtime's kernels read. An embedding that looks rows
    up in such a parameter beside the product (a tied one) gathers them from the
    panels. A parameter that is used otherwise too is kept beside its packed form.

    ```mlir
    func.func @step(%x: tensor<?x192xbf16>) -> tensor<?x64xf32> {
      %w = llm.parameter "model"::"w" : tensor<64x192xbf16>
      %y = llm.linear %x, %w
        : (tensor<?x192xbf16>, tensor<64x192xbf16>) -> tensor<?x64xf32>
      return %y : tensor<?x64xf32>
    }
    ```

    becomes

    ```mlir
    func.func @step(%arg0: tensor<?x192xbf16>) -> tensor<?x64xf32> {
      %0 = llm.parameter "model"::"w" from tensor<64x192xbf16> :
          tensor<2x96x32x2xbf16>
      %1 = llm.linear %arg0, %0 : (tensor<?x192xbf16>, tensor<2x96x32x2xbf16>)
          -> tensor<?x64xf32>
      return %1 : tensor<?x64xf32>
    }
    ```
  }];
  let statistics = [
    Statistic<"numPacked", "num-packed", "Number of weights packed">
  ];
}

def LLMShard : Pass<"llm-shard", "::mlir::ModuleOp"> {
  let summary = "Divide a program for several processes";
  let description = [{
    With `tensor`, makes the program of which each of so many shards runs a copy, in
    the form of Megatron (arXiv:1909.08053): its weights are slices that depend on
    the shard, and collectives stand where shards need what others have.

    * Products are divided by their outputs where what follows takes these in parts
      (q, k and v, gate and up, the head), and by their inputs where these come in
      parts (o and down). The second kind makes terms, which an `llm.all_reduce`
      sums; biases are added to the sum.
    * Attention and the cache are divided by heads. Where there are fewer KV heads
      than shards, as many shards in a row have a copy of one.
    * The embedding of `@step`'s tokens and the head are divided by the vocabulary;
      logits are gathered.
    * Everything else is computed whole by every shard.

    So a layer of a decoder has two reductions, and a step one more for the
    embedding and one gather for the logits. With `pipeline`, `@step` calls so
    many functions `@stage0`, `@stage1`, ... one after the other, each with a cache
    of its own layers; between them are the hidden states.

    The program must be one before products are merged, fused and quantized: run
    this before `--llm-optimize`, whose passes then find products, norms and appends
    of a shard as they find those of a model. What cannot be divided evenly is
    refused. `llm.model` says what a shard has, and the module's `llm.shards` how it
    was divided.

    ```mlir
    // llmir-opt --llm-shard=tensor=2
    func.func @mlp(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
      %up = llm.parameter "model"::"up" : tensor<12x8xf32>
      %down = llm.parameter "model"::"down" : tensor<8x12xf32>
      %y = llm.linear %x, %up
        : (tensor<?x8xf32>, tensor<12x8xf32>) -> tensor<?x12xf32>
      %z = llm.activation relu %y : (tensor<?x12xf32>) -> tensor<?x12xf32>
      %w = llm.linear %z, %down
        : (tensor<?x12xf32>, tensor<8x12xf32>) -> tensor<?x8xf32>
      return %w : tensor<?x8xf32>
    }
    ```

    becomes

    ```mlir
    module attributes {llm.shards = {pipeline = 1 : i64, tensor = 2 : i64}} {
      func.func @mlp(%arg0: tensor<?x8xf32>) -> tensor<?x8xf32> {
        %0 = llm.parameter "model"::"up" from tensor<12x8xf32> slices
            [#llm.slice<dim = 0, offset = 0, size = 6, stride = 6>] :
            tensor<6x8xf32>
        %1 = llm.parameter "model"::"down" from tensor<8x12xf32> slices
            [#llm.slice<dim = 1, offset = 0, size = 6, stride = 6>] :
            tensor<8x6xf32>
        %2 = llm.linear %arg0, %0 : (tensor<?x8xf32>, tensor<6x8xf32>) ->
            tensor<?x6xf32>
        %3 = llm.activation relu %2 : (tensor<?x6xf32>) -> tensor<?x6xf32>
        %4 = llm.linear %3, %1 : (tensor<?x6xf32>, tensor<8x6xf32>) ->
            tensor<?x8xf32>
        %5 = llm.from_local %4 : (tensor<?x8xf32>) ->
            !llm.sharded_tensor<tensor<?x8xf32>, shards = 2, partial = sum>
        %6 = llm.all_reduce %5 : (!llm.sharded_tensor<tensor<?x8xf32>, shards =
            2, partial = sum>) -> !llm.sharded_tensor<tensor<?x8xf32>, shards =
            2, replicated>
        %7 = llm.to_local %6 : (!llm.sharded_tensor<tensor<?x8xf32>, shards = 2,
            replicated>) -> tensor<?x8xf32>
        return %7 : tensor<?x8xf32>
      }
    }
    ```
  }];
  let options = [
    Option<"tensor", "tensor", "int64_t", "1",
           "The shards that share every layer">,
    Option<"pipeline", "pipeline", "int64_t", "1",
           "The stages, each of some of the layers">
  ];
  let statistics = [
    Statistic<"numAllReduces", "num-all-reduces",
              "Number of sums of all shards in the program's text">,
    Statistic<"numAllGathers", "num-all-gathers",
              "Number of gathers from all shards in the program's text">,
    Statistic<"numDivided", "num-divided",
              "Number of uses of weights of which a shard has a part">,
    Statistic<"numWhole", "num-whole",
              "Number of uses of weights that a shard has whole">
  ];
  let dependentDialects = [
    "::mlir::arith::ArithDialect", "::mlir::func::FuncDialect",
    "::mlir::linalg::LinalgDialect", "::mlir::tensor::TensorDialect"
  ];
}

def LLMSelectShard : Pass<"llm-select-shard", "::mlir::ModuleOp"> {
  let summary = "Make the program of one shard";
  let description = [{
    Puts one shard's numbers into a program that `--llm-shard` has made: the
    slices of its weights, and its index.

    ```mlir
    // llmir-opt --llm-select-shard=shard=3
    module attributes {llm.shards = {pipeline = 1 : i64, tensor = 4 : i64}} {
      func.func @weight() -> tensor<2x8xf32> {
        %w = llm.parameter "model"::"w" from tensor<8x8xf32>
          slices [#llm.slice<dim = 0, offset = 0, size = 2, stride = 2>]
          : tensor<2x8xf32>
        return %w : tensor<2x8xf32>
      }
    }
    ```

    becomes

    ```mlir
    module attributes {llm.shards = {pipeline = 1 : i64, shard = 3 : i64, tensor
        = 4 : i64}} {
      func.func @weight() -> tensor<2x8xf32> {
        %0 = llm.parameter "model"::"w" from tensor<8x8xf32> slices
            [#llm.slice<dim = 0, offset = 6, size = 2>] : tensor<2x8xf32>
        return %0 : tensor<2x8xf32>
      }
    }
    ```
  }];
  let options = [
    Option<"shard", "shard", "int64_t", "0", "The number of the shard">
  ];
  let dependentDialects = ["::mlir::arith::ArithDialect"];
}

def LLMJoinShards : Pass<"llm-join-shards", "::mlir::ModuleOp"> {
  let summary = "Make a program that runs all shards in one process";
  let description = [{
    Copies every op of a program that `--llm-shard` has made once for each shard,
    with the shard's weights and its cache. Collectives, where the copies meet, get
    the operands of all, and with these a reference meaning. It is how a divided
    program is compared with the whole one.

    Functions that are not private take and return one value for all shards, but a
    cache for each.

    ```mlir
    module attributes {llm.shards = {pipeline = 1 : i64, tensor = 2 : i64}} {
      func.func @sum(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
        %s = llm.from_local %x : (tensor<?x8xf32>)
          -> !llm.sharded_tensor<tensor<?x8xf32>, shards = 2, partial = sum>
        %r = llm.all_reduce %s
          : (!llm.sharded_tensor<tensor<?x8xf32>, shards = 2, partial = sum>)
          -> !llm.sharded_tensor<tensor<?x8xf32>, shards = 2, replicated>
        %y = llm.to_local %r
          : (!llm.sharded_tensor<tensor<?x8xf32>, shards = 2, replicated>)
          -> tensor<?x8xf32>
        return %y : tensor<?x8xf32>
      }
    }
    ```

    becomes

    ```mlir
    module attributes {llm.shards = {joined = 2 : i64, pipeline = 1 : i64, tensor
        = 1 : i64}} {
      func.func @sum(%arg0: tensor<?x8xf32>) -> tensor<?x8xf32> {
        %0 = llm.from_local %arg0, %arg0 : (tensor<?x8xf32>, tensor<?x8xf32>) ->
            !llm.sharded_tensor<tensor<?x8xf32>, shards = 2, partial = sum>
        %1 = llm.all_reduce %0 : (!llm.sharded_tensor<tensor<?x8xf32>, shards =
            2, partial = sum>) -> !llm.sharded_tensor<tensor<?x8xf32>, shards =
            2, replicated>
        %2:2 = llm.to_local %1 : (!llm.sharded_tensor<tensor<?x8xf32>, shards =
            2, replicated>) -> (tensor<?x8xf32>, tensor<?x8xf32>)
        return %2#0 : tensor<?x8xf32>
      }
    }
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect"];
}

#endif // LLMIR_DIALECT_LLM_PASSES_TD
