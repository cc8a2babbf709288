// RUN: llmir-opt %s -canonicalize -cse -split-input-file | FileCheck %s

// Ops on values have no effects: equal ones are one, unused ones vanish, and
// even an append does, since its result is all that it makes.

!kv = !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>

// CHECK-LABEL: func @unused_values
// CHECK-NEXT: return
func.func @unused_values(
    %kv: !kv, %ids: tensor<?xi32>, %x: tensor<2x64xf32>, %w: tensor<64x64xf32>, %n: tensor<64xf32>,
    %k: tensor<?x16x64xf16>, %q: tensor<2x3x16x64xf16>, %b: tensor<2x8xi32>, %lens: tensor<2xi32>,
    %p: tensor<?xi32>, %rows: tensor<3xi32>) {
  %0 = llm.parameter "model"::"w" : tensor<4xf32>
  %1 = llm.rope_table {theta = 1.0e+04 : f64} : tensor<512x2x32xf32>
  %2 = llm.embedding %ids, %w : (tensor<?xi32>, tensor<64x64xf32>) -> tensor<?x64xf32>
  %3 = llm.linear %x, %w : (tensor<2x64xf32>, tensor<64x64xf32>) -> tensor<2x64xf32>
  %4 = llm.rms_norm %x, %n {epsilon = 0.0 : f32} : (tensor<2x64xf32>, tensor<64xf32>) -> tensor<2x64xf32>
  %5 = llm.rope %k, %1, %p : (tensor<?x16x64xf16>, tensor<512x2x32xf32>, tensor<?xi32>) -> tensor<?x16x64xf16>
  %6 = llm.activation silu %x : (tensor<2x64xf32>) -> tensor<2x64xf32>
  %7 = llm.attention %q, %q, %q : (tensor<2x3x16x64xf16>, tensor<2x3x16x64xf16>, tensor<2x3x16x64xf16>) -> tensor<2x3x16x64xf16>
  %8 = llm.append_kv %kv, %k, %k slots %p : (!kv, tensor<?x16x64xf16>, tensor<?x16x64xf16>, tensor<?xi32>) -> !kv
  %12, %13 = llm.rope_append_kv %kv, %k, %k, %k, %1, %p slots %p : (!kv, tensor<?x16x64xf16>, tensor<?x16x64xf16>, tensor<?x16x64xf16>, tensor<512x2x32xf32>, tensor<?xi32>, tensor<?xi32>) -> (!kv, tensor<?x16x64xf16>)
  %9, %10 = llm.lookup_kv %kv, %b, %lens : (!kv, tensor<2x8xi32>, tensor<2xi32>) -> (tensor<2x8x16x64xf16>, tensor<2x8x16x64xf16>)
  %11 = llm.paged_attention %k, %kv, %b, %lens rows %rows : (tensor<?x16x64xf16>, !kv, tensor<2x8xi32>, tensor<2xi32>, tensor<3xi32>) -> tensor<?x16x64xf16>
  return
}

// -----

// CHECK-LABEL: func @equal_parameters
// CHECK-COUNT-1: llm.parameter
// CHECK-NOT: llm.parameter
func.func @equal_parameters() -> (tensor<4xf32>, tensor<4xf32>) {
  %0 = llm.parameter "model"::"w" : tensor<4xf32>
  %1 = llm.parameter "model"::"w" : tensor<4xf32>
  return %0, %1 : tensor<4xf32>, tensor<4xf32>
}

// -----

// A kernel that works on tensors alone is a value too.
// CHECK-LABEL: func @kernel_on_tensors
// CHECK-NEXT: return
func.func @kernel_on_tensors(%x: tensor<4x8xf32>, %i: index, %out: tensor<4x8xf32>) {
  %0 = llm.call_kernel linear ins(%x, %i : tensor<4x8xf32>, index) outs(%out : tensor<4x8xf32>) -> tensor<4x8xf32>
  return
}

// -----

// On buffers it writes: two equal calls are two.
// CHECK-LABEL: func @kernel_on_buffers
// CHECK-COUNT-2: llm.call_kernel linear
// CHECK: return
func.func @kernel_on_buffers(%x: memref<4x8xf32>, %out: memref<4x8xf32>) {
  llm.call_kernel linear accumulate ins(%x : memref<4x8xf32>) outs(%out : memref<4x8xf32>)
  llm.call_kernel linear accumulate ins(%x : memref<4x8xf32>) outs(%out : memref<4x8xf32>)
  return
}

// -----

!kv = !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>

// With a cache it may change it: neither of two equal calls goes, results or not.
// CHECK-LABEL: func @kernel_with_cache
// CHECK-COUNT-2: llm.call_kernel append_kv
// CHECK-COUNT-2: llm.call_kernel paged_attention
// CHECK: return
func.func @kernel_with_cache(%kv: !kv, %k: tensor<4x16x64xf16>) {
  llm.call_kernel append_kv ins(%kv, %k : !kv, tensor<4x16x64xf16>)
  llm.call_kernel append_kv ins(%kv, %k : !kv, tensor<4x16x64xf16>)
  %0 = llm.call_kernel paged_attention ins(%kv : !kv) outs(%k : tensor<4x16x64xf16>) -> tensor<4x16x64xf16>
  %1 = llm.call_kernel paged_attention ins(%kv : !kv) outs(%k : tensor<4x16x64xf16>) -> tensor<4x16x64xf16>
  return
}

// -----

// What a function or a pointer leads to is changed as well, as row loops do.
// CHECK-LABEL: func @kernel_with_pointers
// CHECK: llm.call_kernel parallel_for
func.func @kernel_with_pointers(%f: (!llvm.ptr) -> (), %captures: !llvm.ptr, %rows: index) {
  llm.call_kernel parallel_for ins(%f, %captures, %rows : (!llvm.ptr) -> (), !llvm.ptr, index)
  return
}

// -----

// A value that is loaded before a call that writes its buffer is loaded again.
// CHECK-LABEL: func @loads_around_kernel
// CHECK-COUNT-2: memref.load
func.func @loads_around_kernel(%x: memref<4xf32>, %out: memref<4xf32>) -> (f32, f32) {
  %c0 = arith.constant 0 : index
  %0 = memref.load %out[%c0] : memref<4xf32>
  llm.call_kernel linear ins(%x : memref<4xf32>) outs(%out : memref<4xf32>)
  %1 = memref.load %out[%c0] : memref<4xf32>
  return %0, %1 : f32, f32
}
