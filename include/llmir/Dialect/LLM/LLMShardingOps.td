// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Tensors spread over shards, products of them, and the collectives between; and
// what a program needs of which every shard runs a copy.
// Letters in shapes are those of LLMOps.td. Shapes are those of full tensors.

#ifndef LLMIR_DIALECT_LLM_LLMSHARDINGOPS_TD
#define LLMIR_DIALECT_LLM_LLMSHARDINGOPS_TD

include "llmir/Dialect/LLM/LLMOps.td"

/// An op from one placement to another one, which the operand implies.
class LLM_CollectiveOp<string mnemonic> : LLM_TensorOp<mnemonic> {
  let arguments = (ins LLM_ShardedTensorType:$input);
  let results = (outs LLM_ShardedTensorType:$result);
  let assemblyFormat = "$input attr-dict `:` functional-type(operands, results)";
}

def LLM_ShardOp : LLM_Op<"shard", [
    Pure, DeclareOpInterfaceMethods<LLM_InputConstraintsOpInterface>]> {
  let summary = "spreads a tensor over shards";
  let description = [{
    With a result that is `split = a`, shard i gets the i-th of equal parts along
    dimension a; with one that is `replicated`, every shard gets the tensor. It
    is the way in: what each process of a real mesh loads or already holds.

    ```mlir
    %s = llm.shard %w : (tensor<64x128xbf16>)
      -> !llm.sharded_tensor<tensor<64x128xbf16>, shards = 4, split = 0>
    ```
  }];
  let arguments = (ins LLM_FloatTensor:$input);
  let results = (outs LLM_ShardedTensorType:$result);
  let assemblyFormat = "$input attr-dict `:` functional-type(operands, results)";
  let hasFolder = 1;
  let hasVerifier = 1;
}

def LLM_UnshardOp : LLM_TensorOp<"unshard"> {
  let summary = "the tensor that shards hold together";
  let description = [{
    Concatenates parts, or takes one of equal copies. Partial results have to be
    reduced before. It is the way out.

    ```mlir
    %w = llm.unshard %s
      : (!llm.sharded_tensor<tensor<64x128xbf16>, shards = 4, split = 0>)
      -> tensor<64x128xbf16>
    ```
  }];
  let arguments = (ins LLM_ShardedTensorType:$input);
  let results = (outs LLM_FloatTensor:$result);
  let assemblyFormat = "$input attr-dict `:` functional-type(operands, results)";
  let hasFolder = 1;
}

def LLM_AllGatherOp : LLM_CollectiveOp<"all_gather"> {
  let summary = "gives every shard the parts of all";
  let description = [{
    `result_i = concatenate(input_0, ..., input_{S-1})` along the dimension that
    the input is split in, for each of the S shards i.

    ```mlir
    %g = llm.all_gather %s
      : (!llm.sharded_tensor<tensor<?x64xf32>, shards = 4, split = 1>)
      -> !llm.sharded_tensor<tensor<?x64xf32>, shards = 4, replicated>
    ```
  }];
  let hasCanonicalizer = 1;
}

def LLM_AllReduceOp : LLM_CollectiveOp<"all_reduce"> {
  let summary = "gives every shard the sum, or the maximum, of all";
  let description = [{
    `result_i = input_0 + ... + input_{S-1}` for a `partial = sum`, and the
    elements' maximum for a `partial = max`; in the order of the shards, in f32,
    rounded once.

    ```mlir
    %r = llm.all_reduce %p
      : (!llm.sharded_tensor<tensor<?x64xf32>, shards = 4, partial = sum>)
      -> !llm.sharded_tensor<tensor<?x64xf32>, shards = 4, replicated>
    ```
  }];
}

def LLM_ReduceScatterOp : LLM_CollectiveOp<"reduce_scatter"> {
  let summary = "reduces, and leaves each shard a part of the result";
  let description = [{
    What `llm.all_reduce` computes, of which shard i keeps the i-th of equal
    parts along dimension `scatter_axis`.

    ```mlir
    %r = llm.reduce_scatter %p {scatter_axis = 1 : i64}
      : (!llm.sharded_tensor<tensor<?x64xf32>, shards = 4, partial = sum>)
      -> !llm.sharded_tensor<tensor<?x64xf32>, shards = 4, split = 1>
    ```
  }];
  let arguments = (ins LLM_ShardedTensorType:$input, I64Attr:$scatter_axis);
}

def LLM_ShardedLinearOp : LLM_TensorOp<"sharded_linear"> {
  let summary = "product with a weight matrix that is spread over shards";
  let description = [{
    The product of `llm.linear`, each shard computing with what it holds of input
    [T, K], weight [N, K] and bias [N] (arXiv:1909.08053). The weight's split
    decides:

    | form            | input      | weight    | bias         | result [T, N]   |
    |-----------------|------------|-----------|--------------|-----------------|
    | column parallel | replicated | split = 0 | split = 0    | `split = 1`     |
    | row parallel    | split = 1  | split = 1 | replicated   | `partial = sum` |

    A column-parallel product needs no communication; a row-parallel one is a
    term of a sum, to which only shard 0 adds the bias.

    ```mlir
    %y = llm.sharded_linear %x, %w
      : (!llm.sharded_tensor<tensor<?x128xf32>, shards = 4, split = 1>,
         !llm.sharded_tensor<tensor<64x128xbf16>, shards = 4, split = 1>)
      -> !llm.sharded_tensor<tensor<?x64xf32>, shards = 4, partial = sum>
    ```
  }];
  let arguments = (ins LLM_ShardedTensorType:$input,
                       LLM_ShardedTensorType:$weight,
                       Optional<LLM_ShardedTensorType>:$bias);
  let results = (outs LLM_ShardedTensorType:$result);
  let assemblyFormat = [{
    $input `,` $weight (`bias` $bias^)? attr-dict `:`
    functional-type(operands, results)
  }];
}

def LLM_ShardIndexOp : LLM_Op<"shard_index", [Pure]> {
  let summary = "the number of the shard that runs this";
  let description = [{
    A number from 0 on, in a program of which every shard runs a copy: another one
    in each. `--llm-select-shard` makes it a constant.

    ```mlir
    %shard = llm.shard_index : index
    ```
  }];
  let results = (outs Index:$result);
  let assemblyFormat = "attr-dict `:` type($result)";
}

def LLM_FromLocalOp : LLM_Op<"from_local", [Pure]> {
  let summary = "the sharded tensor of which each shard gives its own part";
  let description = [{
    With one operand, in a program of which every shard runs a copy, the operand is
    what this shard holds: its part of a tensor that is split, its copy of one that
    is replicated, or its term of one that is partial. What all hold together is
    what collectives work on; as in PyTorch's DTensor, the type says it. With an
    operand for each shard, in their order, these are what all hold, and the op has
    a reference meaning; `--llm-join-shards` makes such programs.

    ```mlir
    %s = llm.from_local %term : (tensor<?x64xf32>)
      -> !llm.sharded_tensor<tensor<?x64xf32>, shards = 2, partial = sum>
    %t = llm.from_local %a, %b : (tensor<?x32xf32>, tensor<?x32xf32>)
      -> !llm.sharded_tensor<tensor<?x64xf32>, shards = 2, split = 1>
    ```
  }];
  let arguments = (ins Variadic<LLM_FloatTensor>:$parts);
  let results = (outs LLM_ShardedTensorType:$result);
  let assemblyFormat = "$parts attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def LLM_ToLocalOp : LLM_Op<"to_local", [Pure]> {
  let summary = "what each shard holds of a sharded tensor";
  let description = [{
    The way back from `llm.from_local`: one result is what this shard holds, and a
    result for each shard is what each of them does.

    ```mlir
    %x = llm.to_local %s
      : (!llm.sharded_tensor<tensor<?x64xf32>, shards = 2, replicated>)
      -> tensor<?x64xf32>
    ```
  }];
  let arguments = (ins LLM_ShardedTensorType:$input);
  let results = (outs Variadic<LLM_FloatTensor>:$parts);
  let assemblyFormat = "$input attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

#endif // LLMIR_DIALECT_LLM_LLMSHARDINGOPS_TD
