// RUN: llmir-opt %s --llm-fuse-attention -split-input-file | FileCheck %s
// RUN: llmir-opt %s --llm-fuse-attention --llm-fuse-attention -split-input-file | FileCheck %s

// The attention of a layer: one product for queries, keys and values, one op for
// rotations and the append, and the residual in the product behind.
!kv = !llm.paged_kv_cache<f32, 1, 2, 4, 16, 64>

// CHECK-LABEL: func @layer
// CHECK: %[[W:.*]] = llm.parameter "model"::["q", "k", "v"]
// CHECK: %[[QKV:.*]] = llm.linear %{{.*}}, %[[W]]
// CHECK-NOT: llm.rope %
// CHECK: %[[KV:.*]], %[[Q:.*]] = llm.rope_append_kv
// CHECK-NOT: llm.rope %
// CHECK: llm.paged_attention %[[Q]], %[[KV]]
// CHECK: llm.linear {{.*}} residual
// CHECK-NOT: arith.addf
func.func @layer(%x: tensor<?x16xf32>, %h: tensor<?x16xf32>, %kv: !kv,
                 %table: tensor<64x2x2xf32>, %positions: tensor<?xi32>,
                 %slots: tensor<?xi32>, %blocks: tensor<?x?xi32>,
                 %lens: tensor<?xi32>, %rows: tensor<?xi32>)
    -> (tensor<?x16xf32>, !kv) {
  %wq = llm.parameter "model"::"q" : tensor<16x16xf32>
  %wk = llm.parameter "model"::"k" : tensor<8x16xf32>
  %wv = llm.parameter "model"::"v" : tensor<8x16xf32>
  %wo = llm.parameter "model"::"o" : tensor<16x16xf32>
  %q = llm.linear %x, %wq
    : (tensor<?x16xf32>, tensor<16x16xf32>) -> tensor<?x16xf32>
  %k = llm.linear %x, %wk
    : (tensor<?x16xf32>, tensor<8x16xf32>) -> tensor<?x8xf32>
  %v = llm.linear %x, %wv
    : (tensor<?x16xf32>, tensor<8x16xf32>) -> tensor<?x8xf32>
  %qs = tensor.expand_shape %q [[0], [1, 2]]
    : tensor<?x16xf32> into tensor<?x4x4xf32>
  %ks = tensor.expand_shape %k [[0], [1, 2]]
    : tensor<?x8xf32> into tensor<?x2x4xf32>
  %vs = tensor.expand_shape %v [[0], [1, 2]]
    : tensor<?x8xf32> into tensor<?x2x4xf32>
  %qr = llm.rope %qs, %table, %positions
    : (tensor<?x4x4xf32>, tensor<64x2x2xf32>, tensor<?xi32>)
    -> tensor<?x4x4xf32>
  %kr = llm.rope %ks, %table, %positions
    : (tensor<?x2x4xf32>, tensor<64x2x2xf32>, tensor<?xi32>)
    -> tensor<?x2x4xf32>
  %kv1 = llm.append_kv %kv, %kr, %vs slots %slots
    : (!kv, tensor<?x2x4xf32>, tensor<?x2x4xf32>, tensor<?xi32>) -> !kv
  %o = llm.paged_attention %qr, %kv1, %blocks, %lens rows %rows
    : (tensor<?x4x4xf32>, !kv, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>)
    -> tensor<?x4x4xf32>
  %flat = tensor.collapse_shape %o [[0], [1, 2]]
    : tensor<?x4x4xf32> into tensor<?x16xf32>
  %y = llm.linear %flat, %wo
    : (tensor<?x16xf32>, tensor<16x16xf32>) -> tensor<?x16xf32>
  %out = arith.addf %h, %y : tensor<?x16xf32>
  return %out, %kv1 : tensor<?x16xf32>, !kv
}

// -----

// Gates and what they gate are for `--llm-fuse-mlp`.
// CHECK-LABEL: func @mlp
// CHECK-COUNT-2: llm.linear
// CHECK: llm.activation
func.func @mlp(%x: tensor<?x8xf32>) -> tensor<?x6xf32> {
  %wg = llm.parameter "model"::"gate" : tensor<6x8xf32>
  %wu = llm.parameter "model"::"up" : tensor<6x8xf32>
  %gate = llm.linear %x, %wg
    : (tensor<?x8xf32>, tensor<6x8xf32>) -> tensor<?x6xf32>
  %up = llm.linear %x, %wu
    : (tensor<?x8xf32>, tensor<6x8xf32>) -> tensor<?x6xf32>
  %z = llm.activation silu %gate, %up
    : (tensor<?x6xf32>, tensor<?x6xf32>) -> tensor<?x6xf32>
  return %z : tensor<?x6xf32>
}
