// RUN: llmir-opt %s -llm-optimize-kv-cache=block-size=auto -split-input-file | FileCheck %s
// RUN: llmir-opt %s "-pass-pipeline=builtin.module(llm-optimize-kv-cache{block-size=auto},llm-optimize-kv-cache{block-size=auto})" -split-input-file | FileCheck %s
// RUN: not llmir-opt %s -llm-optimize-kv-cache=block-size=24 -split-input-file 2>&1 | FileCheck %s --check-prefix=SIZE

// SIZE: llm-optimize-kv-cache: block-size must be keep or auto, but is 24

// Short sequences of large heads waste more in the last block than the starts of
// others cost: 16 * 16 + 8 * 512 and 16 * 16 + 4 * 512 bytes, about.
// CHECK-LABEL: func @short
// CHECK-SAME: !llm.paged_kv_cache<f32, 1, 2, 128, 8, 32>
func.func @short(%kv: !llm.paged_kv_cache<f32, 1, 2, 128, 16, 32>, %q: tensor<?x2x128xf32>, %blocks: tensor<?x?xi32>, %lens: tensor<?xi32>, %rows: tensor<?xi32>) -> tensor<?x2x128xf32> {
  %x = llm.paged_attention %q, %kv, %blocks, %lens rows %rows : (tensor<?x2x128xf32>, !llm.paged_kv_cache<f32, 1, 2, 128, 16, 32>, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x2x128xf32>
  return %x : tensor<?x2x128xf32>
}

// -----

// Long ones take all that attention takes at once.
// CHECK-LABEL: func @long
// CHECK-SAME: !llm.paged_kv_cache<i8, 1, 2, 64, 64, 8192>
func.func @long(%kv: !llm.paged_kv_cache<i8, 1, 2, 64, 16, 8192>, %q: tensor<?x2x64xf32>, %blocks: tensor<?x?xi32>, %lens: tensor<?xi32>, %rows: tensor<?xi32>) -> tensor<?x2x64xf32> {
  %x = llm.paged_attention %q, %kv, %blocks, %lens rows %rows : (tensor<?x2x64xf32>, !llm.paged_kv_cache<i8, 1, 2, 64, 16, 8192>, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x2x64xf32>
  return %x : tensor<?x2x64xf32>
}

// -----

// A short window makes a long sequence short.
// CHECK-LABEL: func @window
// CHECK-SAME: !llm.paged_kv_cache<f32, 1, 2, 128, 8, 8192>
func.func @window(%kv: !llm.paged_kv_cache<f32, 1, 2, 128, 16, 8192>, %q: tensor<?x2x128xf32>, %blocks: tensor<?x?xi32>, %lens: tensor<?xi32>, %rows: tensor<?xi32>) -> tensor<?x2x128xf32> {
  %x = llm.paged_attention %q, %kv, %blocks, %lens rows %rows {window = 32 : i64} : (tensor<?x2x128xf32>, !llm.paged_kv_cache<f32, 1, 2, 128, 16, 8192>, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x2x128xf32>
  return %x : tensor<?x2x128xf32>
}

// -----

// Four blocks of 16 hold 64 positions, and of no other size would they.
// CHECK-LABEL: func @fixed
// CHECK-SAME: !llm.paged_kv_cache<f32, 1, 2, 128, 16, 64>
func.func @fixed(%kv: !llm.paged_kv_cache<f32, 1, 2, 128, 16, 64>, %q: tensor<2x1x2x128xf32>, %blocks: tensor<2x4xi32>, %lens: tensor<2xi32>) -> tensor<2x1x2x128xf32> {
  %x = llm.paged_attention %q, %kv, %blocks, %lens : (tensor<2x1x2x128xf32>, !llm.paged_kv_cache<f32, 1, 2, 128, 16, 64>, tensor<2x4xi32>, tensor<2xi32>) -> tensor<2x1x2x128xf32>
  return %x : tensor<2x1x2x128xf32>
}
