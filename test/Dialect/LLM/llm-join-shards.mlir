// RUN: llmir-opt %s --llm-join-shards -split-input-file -verify-diagnostics | FileCheck %s

// Every shard has its own weights, cache and index; what is outside has one value.
!kv = !llm.paged_kv_cache<f32, 1, 1, 4, 16, 64>
module attributes {llm.shards = {pipeline = 1 : i64, tensor = 2 : i64}} {
// CHECK-LABEL: func @step
// CHECK-SAME: (%[[K:.*]]: tensor<?x1x4xf32>, %[[SLOTS:.*]]: tensor<?xi32>, %[[KV0:.*]]: !llm.paged_kv_cache<f32, 1, 1, 4, 16, 64>, %[[KV1:.*]]: !llm.paged_kv_cache<f32, 1, 1, 4, 16, 64>) -> (tensor<6xf32>, index, !llm.paged_kv_cache<f32, 1, 1, 4, 16, 64>, !llm.paged_kv_cache<f32, 1, 1, 4, 16, 64>)
// CHECK: %[[I0:.*]] = arith.constant 0 : index
// CHECK: %[[I1:.*]] = arith.constant 1 : index
// CHECK: %[[W0:.*]] = llm.parameter {{.*}} slices [#llm.slice<dim = 0, offset = 0, size = 3>]
// CHECK: %[[W1:.*]] = llm.parameter {{.*}} slices [#llm.slice<dim = 0, offset = 3, size = 3>]
// CHECK: %[[S:.*]] = llm.from_local %[[W0]], %[[W1]]
// CHECK: %[[G:.*]] = llm.all_gather %[[S]]
// CHECK: %[[L:.*]]:2 = llm.to_local %[[G]]
// CHECK: %[[C:.*]]:2 = call @append(%[[K]], %[[K]], %[[SLOTS]], %[[SLOTS]], %[[KV0]], %[[KV1]])
// CHECK: return %[[L]]#0, %[[I0]], %[[C]]#0, %[[C]]#1
func.func @step(%k: tensor<?x1x4xf32>, %slots: tensor<?xi32>, %cache: !kv)
    -> (tensor<6xf32>, index, !kv) {
  %shard = llm.shard_index : index
  %w = llm.parameter "model"::"w" from tensor<6xf32>
    slices [#llm.slice<dim = 0, offset = 0, size = 3, stride = 3>]
    : tensor<3xf32>
  %s = llm.from_local %w : (tensor<3xf32>)
    -> !llm.sharded_tensor<tensor<6xf32>, shards = 2, split = 0>
  %g = llm.all_gather %s
    : (!llm.sharded_tensor<tensor<6xf32>, shards = 2, split = 0>)
    -> !llm.sharded_tensor<tensor<6xf32>, shards = 2, replicated>
  %l = llm.to_local %g
    : (!llm.sharded_tensor<tensor<6xf32>, shards = 2, replicated>)
    -> tensor<6xf32>
  %cache1 = call @append(%k, %slots, %cache)
    : (tensor<?x1x4xf32>, tensor<?xi32>, !kv) -> !kv
  return %l, %shard, %cache1 : tensor<6xf32>, index, !kv
}
// CHECK: func private @append
// CHECK-COUNT-2: llm.append_kv
func.func private @append(%k: tensor<?x1x4xf32>, %slots: tensor<?xi32>,
                          %cache: !kv) -> !kv {
  %cache1 = llm.append_kv %cache, %k, %k slots %slots
    : (!kv, tensor<?x1x4xf32>, tensor<?x1x4xf32>, tensor<?xi32>) -> !kv
  return %cache1 : !kv
}
}

// -----

// A program that is not divided stays as it is.
// CHECK-LABEL: func @whole
// CHECK-NEXT: return %arg0
func.func @whole(%x: tensor<?xf32>) -> tensor<?xf32> {
  return %x : tensor<?xf32>
}

// -----

// expected-error @+1 {{is the program of one shard, which does not show the others' weights; join what --llm-shard makes}}
module attributes {llm.shards = {pipeline = 1 : i64, shard = 1 : i64, tensor = 2 : i64}} {
}
