// RUN: llmir-opt %s --llm-select-shard=shard=3 -split-input-file -verify-diagnostics | FileCheck %s
// RUN: llmir-opt %s --llm-select-shard=shard=3 --llm-select-shard=shard=3 -split-input-file -verify-diagnostics | FileCheck %s

// Of two KV heads, shards 2 and 3 of 4 have the second; what no shard has for its
// own stays.
// CHECK: module attributes {llm.shards = {pipeline = 1 : i64, shard = 3 : i64, tensor = 4 : i64}}
module attributes {llm.shards = {pipeline = 1 : i64, tensor = 4 : i64}} {
// CHECK: %[[I:.*]] = arith.constant 3 : index
// CHECK: llm.parameter "model"::["k", "v"] {{.*}} slices [#llm.slice<dim = 0, offset = 4, size = 4>, #llm.slice<dim = 0, offset = 1, size = 2>]
// CHECK: return %[[I]]
func.func @weights() -> (index, tensor<6x8xf32>) {
  %shard = llm.shard_index : index
  %w = llm.parameter "model"::["k", "v"] from [tensor<8x8xf32>, tensor<3x8xf32>]
    slices [#llm.slice<dim = 0, offset = 0, size = 4, stride = 4, repeat = 2>,
            #llm.slice<dim = 0, offset = 1, size = 2>] : tensor<6x8xf32>
  return %shard, %w : index, tensor<6x8xf32>
}
}

// -----

// expected-error @+1 {{there is no shard 3 of this program, which is divided into 2}}
module attributes {llm.shards = {pipeline = 1 : i64, tensor = 2 : i64}} {
}

// -----

// expected-error @+1 {{is that of shard 1 already}}
module attributes {llm.shards = {pipeline = 1 : i64, shard = 1 : i64, tensor = 4 : i64}} {
}
