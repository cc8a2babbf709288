// RUN: llmir-opt %s -canonicalize -split-input-file | FileCheck %s

!kv = !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>

// The sizes that an append repeats are in the cache's type.
// CHECK-LABEL: func @append_sizes
// CHECK: llm.append_kv %{{.*}}, %{{.*}}, %{{.*}}, %{{[^ ]*}} : (
func.func @append_sizes(%kv: !kv, %k: tensor<2x1x16x64xf16>, %ids: tensor<2xi32>)
    -> (!kv, tensor<2x1xi32>) {
  %0, %1 = llm.append_kv %kv, %k, %k, %ids {block_size = 16 : i32, max_seq_len = 4096 : i32}
    : (!kv, tensor<2x1x16x64xf16>, tensor<2x1x16x64xf16>, tensor<2xi32>) -> (!kv, tensor<2x1xi32>)
  return %0, %1 : !kv, tensor<2x1xi32>
}

// -----

!kv = !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>

// Of what attention repeats, the scale is not in a type and stays.
// CHECK-LABEL: func @attention_sizes
// CHECK: llm.paged_attention %{{.*}}, %{{.*}}, %{{.*}}, %{{[^ ]*}} {scale = 1.250000e-01 : f32} : (
func.func @attention_sizes(%q: tensor<2x1x16x64xf16>, %kv: !kv, %b: tensor<2x128xi32>,
                           %lens: tensor<2xi32>) -> tensor<2x1x16x64xf16> {
  %0 = llm.paged_attention %q, %kv, %b, %lens
    {num_heads = 16 : i32, head_dim = 64 : i32, scale = 0.125 : f32}
    : (tensor<2x1x16x64xf16>, !kv, tensor<2x128xi32>, tensor<2xi32>) -> tensor<2x1x16x64xf16>
  return %0 : tensor<2x1x16x64xf16>
}

// -----

!kv = !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>

// Layer 0 is what an absent operand means; the other operands keep their places.
// CHECK-LABEL: func @layer_0
// CHECK-SAME: (%[[KV:.*]]: !llm.paged_kv_cache<{{.*}}>, %[[K:.*]]: tensor<?x16x64xf16>, %[[S:.*]]: tensor<?xi32>, %[[B:.*]]: tensor<1x8xi32>, %[[LENS:.*]]: tensor<1xi32>, %[[ROWS:.*]]: tensor<2xi32>)
func.func @layer_0(%kv: !kv, %k: tensor<?x16x64xf16>, %slots: tensor<?xi32>,
                   %b: tensor<1x8xi32>, %lens: tensor<1xi32>, %rows: tensor<2xi32>)
    -> (tensor<1x128x16x64xf16>, tensor<?x16x64xf16>, !kv) {
  %layer = arith.constant 0 : index
  // CHECK-NOT: arith.constant
  // CHECK: llm.lookup_kv %[[KV]], %[[B]], %[[LENS]] :
  %keys, %values = llm.lookup_kv %kv, %b, %lens layer %layer
    : (!kv, tensor<1x8xi32>, tensor<1xi32>, index) -> (tensor<1x128x16x64xf16>, tensor<1x128x16x64xf16>)
  // CHECK: llm.paged_attention %[[K]], %[[KV]], %[[B]], %[[LENS]] rows %[[ROWS]] :
  %o = llm.paged_attention %k, %kv, %b, %lens rows %rows layer %layer
    : (tensor<?x16x64xf16>, !kv, tensor<1x8xi32>, tensor<1xi32>, tensor<2xi32>, index) -> tensor<?x16x64xf16>
  // CHECK: llm.append_kv %[[KV]], %[[K]], %[[K]] slots %[[S]] :
  %0 = llm.append_kv %kv, %k, %k slots %slots layer %layer
    : (!kv, tensor<?x16x64xf16>, tensor<?x16x64xf16>, tensor<?xi32>, index) -> !kv
  return %keys, %o, %0 : tensor<1x128x16x64xf16>, tensor<?x16x64xf16>, !kv
}
// CHECK-LABEL: func @layer_zero_of_rotated
func.func @layer_zero_of_rotated(%kv: !kv, %k: tensor<?x16x64xf16>, %t: tensor<64x2x32xf32>, %p: tensor<?xi32>)
    -> (!kv, tensor<?x16x64xf16>) {
  %layer = arith.constant 0 : index
  // CHECK-NOT: arith.constant
  // CHECK: llm.rope_append_kv {{.*}} slots %{{[^ ]*}} :
  %0, %1 = llm.rope_append_kv %kv, %k, %k, %k, %t, %p slots %p layer %layer
    : (!kv, tensor<?x16x64xf16>, tensor<?x16x64xf16>, tensor<?x16x64xf16>, tensor<64x2x32xf32>, tensor<?xi32>, tensor<?xi32>, index) -> (!kv, tensor<?x16x64xf16>)
  return %0, %1 : !kv, tensor<?x16x64xf16>
}

// -----

!kv = !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>

// Other layers, and unknown ones, stay.
// CHECK-LABEL: func @other_layers
func.func @other_layers(%kv: !kv, %k: tensor<?x16x64xf16>, %slots: tensor<?xi32>, %layer: index) -> !kv {
  // CHECK: %[[C1:.*]] = arith.constant 1 : index
  %c1 = arith.constant 1 : index
  // CHECK: llm.append_kv {{.*}} layer %[[C1]] :
  %0 = llm.append_kv %kv, %k, %k slots %slots layer %c1
    : (!kv, tensor<?x16x64xf16>, tensor<?x16x64xf16>, tensor<?xi32>, index) -> !kv
  // CHECK: llm.append_kv {{.*}} layer %{{.*}} :
  %1 = llm.append_kv %0, %k, %k slots %slots layer %layer
    : (!kv, tensor<?x16x64xf16>, tensor<?x16x64xf16>, tensor<?xi32>, index) -> !kv
  return %1 : !kv
}

// -----

// The identity is nothing, unless it rounds or multiplies.
// CHECK-LABEL: func @identity
// CHECK-SAME: (%[[X:.*]]: tensor<?x8xf32>)
func.func @identity(%x: tensor<?x8xf32>) -> (tensor<?x8xf32>, tensor<?x8xbf16>, tensor<?x8xf32>) {
  // CHECK: %[[ROUNDED:.*]] = llm.activation identity %[[X]] :
  // CHECK: %[[SQUARE:.*]] = llm.activation identity %[[X]], %[[X]] :
  // CHECK: return %[[X]], %[[ROUNDED]], %[[SQUARE]]
  %0 = llm.activation identity %x : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %1 = llm.activation identity %x : (tensor<?x8xf32>) -> tensor<?x8xbf16>
  %2 = llm.activation identity %x, %x : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %0, %1, %2 : tensor<?x8xf32>, tensor<?x8xbf16>, tensor<?x8xf32>
}
