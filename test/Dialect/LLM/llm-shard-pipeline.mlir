// RUN: llmir-opt %s --llm-shard=pipeline=2 --canonicalize -split-input-file -verify-diagnostics | FileCheck %s

// Stages of `--llm-shard`: where a step is cut, what crosses, and what has none.

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// The layers are numbered within the stage. Parameters are made where they are
// read, and only hidden states go from one stage to the next.
// CHECK-LABEL: func @stage0
// CHECK-SAME: (%[[X:.*]]: tensor<?x8xf32>, %[[SLOTS:.*]]: tensor<?xi32>, %[[KV:.*]]: !llm.paged_kv_cache<f32, 1, 2, 4, 16, 64>) -> (tensor<?x8xf32>, !llm.paged_kv_cache<f32, 1, 2, 4, 16, 64>)
// CHECK: %[[C:.*]] = arith.constant 0 : index
// CHECK: %[[W:.*]] = llm.parameter "model"::"w0"
// CHECK: call @[[LAYER:.*]](%[[X]], %[[KV]], %[[C]], %[[SLOTS]], %[[W]])
// CHECK-LABEL: func @stage1
// CHECK-SAME: (%[[X:.*]]: tensor<?x8xf32>, %[[SLOTS:.*]]: tensor<?xi32>, %[[KV:.*]]: !llm.paged_kv_cache<f32, 1, 2, 4, 16, 64>) -> (tensor<?x8xf32>, !llm.paged_kv_cache<f32, 1, 2, 4, 16, 64>)
// CHECK: %[[C:.*]] = arith.constant 0 : index
// CHECK: %[[W:.*]] = llm.parameter "model"::"w1"
// CHECK: %[[R:.*]]:2 = call @[[LAYER]](%[[X]], %[[KV]], %[[C]], %[[SLOTS]], %[[W]])
// CHECK: arith.addf %[[R]]#0
// CHECK-LABEL: func @step
// CHECK-SAME: %[[X:.*]]: tensor<?x8xf32>, %[[KV0:.*]]: !llm.paged_kv_cache<f32, 1, 2, 4, 16, 64>, %[[KV1:.*]]: !llm.paged_kv_cache<f32, 1, 2, 4, 16, 64>, %[[SLOTS:.*]]: tensor<?xi32>
// CHECK: %[[A:.*]]:2 = call @stage0(%[[X]], %[[SLOTS]], %[[KV0]])
// CHECK: %[[B:.*]]:2 = call @stage1(%[[A]]#0, %[[SLOTS]], %[[KV1]])
// CHECK: return %[[B]]#0, %[[A]]#1, %[[B]]#1
// CHECK: func private @[[LAYER]]
// CHECK-NOT: func private @layer(
func.func @step(%x: tensor<?x8xf32>, %cache: !kv, %slots: tensor<?xi32>)
    -> (tensor<?x8xf32>, !kv) {
  %c0 = arith.constant 0 : index
  %w0 = llm.parameter "model"::"w0" : tensor<8x8xf32>
  %h0, %cache0 = call @layer(%x, %cache, %c0, %slots, %w0)
    : (tensor<?x8xf32>, !kv, index, tensor<?xi32>, tensor<8x8xf32>)
    -> (tensor<?x8xf32>, !kv)
  %c1 = arith.constant 1 : index
  %w1 = llm.parameter "model"::"w1" : tensor<8x8xf32>
  %h1, %cache1 = call @layer(%h0, %cache0, %c1, %slots, %w1)
    : (tensor<?x8xf32>, !kv, index, tensor<?xi32>, tensor<8x8xf32>)
    -> (tensor<?x8xf32>, !kv)
  %y = arith.addf %h1, %h1 : tensor<?x8xf32>
  return %y, %cache1 : tensor<?x8xf32>, !kv
}

func.func private @layer(%x: tensor<?x8xf32>, %cache: !kv, %layer: index,
                         %slots: tensor<?xi32>, %w: tensor<8x8xf32>)
    -> (tensor<?x8xf32>, !kv) {
  %k = llm.linear %x, %w
    : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
  %heads = tensor.expand_shape %k [[0], [1, 2]]
    : tensor<?x8xf32> into tensor<?x2x4xf32>
  %cache1 = llm.append_kv %cache, %heads, %heads slots %slots layer %layer
    : (!kv, tensor<?x2x4xf32>, tensor<?x2x4xf32>, tensor<?xi32>, index) -> !kv
  return %k, %cache1 : tensor<?x8xf32>, !kv
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// Without functions of layers, the cut is where the fewest numbers cross: before the
// wide product, whose keys are what its layer appends.
// CHECK-LABEL: func @stage0
// CHECK: llm.append_kv
// CHECK: %[[H:.*]] = llm.linear {{.*}} -> tensor<?x4xf32>
// CHECK: return %[[H]],
// CHECK-LABEL: func @stage1
// CHECK: llm.linear
// CHECK: llm.append_kv
func.func @step(%x: tensor<?x4xf32>, %slots: tensor<?xi32>, %cache: !kv)
    -> (tensor<?x4xf32>, !kv) {
  %w = llm.parameter "model"::"w" : tensor<8x4xf32>
  %k = llm.linear %x, %w
    : (tensor<?x4xf32>, tensor<8x4xf32>) -> tensor<?x8xf32>
  %heads = tensor.expand_shape %k [[0], [1, 2]]
    : tensor<?x8xf32> into tensor<?x2x4xf32>
  %cache1 = llm.append_kv %cache, %heads, %heads slots %slots
    : (!kv, tensor<?x2x4xf32>, tensor<?x2x4xf32>, tensor<?xi32>) -> !kv
  %v = llm.parameter "model"::"v" : tensor<4x8xf32>
  %h = llm.linear %k, %v
    : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
  %c1 = arith.constant 1 : index
  %k1 = llm.linear %h, %w
    : (tensor<?x4xf32>, tensor<8x4xf32>) -> tensor<?x8xf32>
  %heads1 = tensor.expand_shape %k1 [[0], [1, 2]]
    : tensor<?x8xf32> into tensor<?x2x4xf32>
  %cache2 = llm.append_kv %cache1, %heads1, %heads1 slots %slots layer %c1
    : (!kv, tensor<?x2x4xf32>, tensor<?x2x4xf32>, tensor<?xi32>, index) -> !kv
  %y = arith.addf %h, %h : tensor<?x4xf32>
  return %y, %cache2 : tensor<?x4xf32>, !kv
}

// -----

// A stage has at least one layer.
// expected-error @+1 {{its 1 layers cannot be divided into 2 stages}}
func.func @step(%x: tensor<?x8xf32>,
                %cache: !llm.paged_kv_cache<f32, 1, 2, 4, 16, 64>)
    -> (tensor<?x8xf32>, !llm.paged_kv_cache<f32, 1, 2, 4, 16, 64>) {
  return %x, %cache
    : tensor<?x8xf32>, !llm.paged_kv_cache<f32, 1, 2, 4, 16, 64>
}

// -----

// expected-error @+1 {{cannot be divided into stages: it has no cache that says what its layers are}}
func.func @step(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  return %x : tensor<?x8xf32>
}

// -----

// expected-error @+1 {{has no function `step` whose layers could be divided into stages}}
module {
  func.func @main(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
    return %x : tensor<?x8xf32>
  }
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// Nor one that nothing works on.
// expected-error @+1 {{cannot be divided into 2 stages: no op works on layer 1}}
func.func @step(%k: tensor<?x2x4xf32>, %slots: tensor<?xi32>, %cache: !kv)
    -> !kv {
  %cache1 = llm.append_kv %cache, %k, %k slots %slots
    : (!kv, tensor<?x2x4xf32>, tensor<?x2x4xf32>, tensor<?xi32>) -> !kv
  return %cache1 : !kv
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// Layers go up.
func.func @step(%k: tensor<?x2x4xf32>, %slots: tensor<?xi32>, %cache: !kv)
    -> !kv {
  %c1 = arith.constant 1 : index
  %cache1 = llm.append_kv %cache, %k, %k slots %slots layer %c1
    : (!kv, tensor<?x2x4xf32>, tensor<?x2x4xf32>, tensor<?xi32>, index) -> !kv
  // expected-error @+1 {{cannot be divided into stages: its layer comes after a later one}}
  %cache2 = llm.append_kv %cache1, %k, %k slots %slots
    : (!kv, tensor<?x2x4xf32>, tensor<?x2x4xf32>, tensor<?xi32>) -> !kv
  return %cache2 : !kv
}
