// RUN: llmir-opt %s | llmir-opt | FileCheck %s
// RUN: llmir-opt --mlir-print-op-generic %s | llmir-opt | FileCheck %s

// The two published forms, as written.

!kv_cache_t = !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>

// CHECK-LABEL: func @append
// CHECK: %{{.*}}, %{{.*}} = llm.append_kv %{{.*}}, %{{.*}}, %{{.*}}, %{{[^ ]*}} {
// CHECK-SAME: block_size = 16 : i32
// CHECK-SAME: max_seq_len = 4096 : i32
// CHECK-SAME: : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<2x1x16x64xf16>, tensor<2x1x16x64xf16>, tensor<2xi32>)
// CHECK-SAME: -> (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<2x1xi32>)
func.func @append(%kv_cache: !kv_cache_t, %keys: tensor<2x1x16x64xf16>,
                  %values: tensor<2x1x16x64xf16>, %seq_ids: tensor<2xi32>)
    -> (!kv_cache_t, tensor<2x1xi32>) {
%new_kv, %block_indices = llm.append_kv %kv_cache, %keys, %values, %seq_ids {
  block_size = 16 : i32,
  max_seq_len = 4096 : i32
} : (!kv_cache_t, tensor<2x1x16x64xf16>, tensor<2x1x16x64xf16>, tensor<2xi32>)
    -> (!kv_cache_t, tensor<2x1xi32>)
  return %new_kv, %block_indices : !kv_cache_t, tensor<2x1xi32>
}

// CHECK-LABEL: func @attend
// CHECK: llm.paged_attention %{{.*}}, %{{.*}}, %{{.*}}, %{{[^ ]*}} {
// CHECK-DAG: num_heads = 16 : i32
// CHECK-DAG: head_dim = 64 : i32
// CHECK-DAG: scale = 1.250000e-01 : f32
// CHECK: : (tensor<2x1x16x64xf16>, !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<2x128xi32>, tensor<2xi32>)
// CHECK-SAME: -> tensor<2x1x16x64xf16>
func.func @attend(%query: tensor<2x1x16x64xf16>, %new_kv: !kv_cache_t,
                  %block_indices: tensor<2x128xi32>, %seq_lens: tensor<2xi32>)
    -> tensor<2x1x16x64xf16> {
%output = llm.paged_attention %query, %new_kv, %block_indices, %seq_lens {
  num_heads = 16 : i32,
  head_dim = 64 : i32,
  scale = 0.125 : f32
} : (tensor<2x1x16x64xf16>, !kv_cache_t, tensor<2x128xi32>, tensor<2xi32>)
    -> tensor<2x1x16x64xf16>
  return %output : tensor<2x1x16x64xf16>
}
