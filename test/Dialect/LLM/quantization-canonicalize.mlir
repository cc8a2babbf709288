// RUN: llmir-opt %s -canonicalize -cse -split-input-file | FileCheck %s

!q = !llm.quantized_tensor<?x8xi8, scales = f32, axis = 1>

// Quantizing loses digits: the way back is not the identity.
// CHECK-LABEL: func @there_and_back
// CHECK: llm.quantize
// CHECK: llm.dequantize
func.func @there_and_back(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %0 = llm.quantize %x : (tensor<?x8xf32>) -> !q
  %1 = llm.dequantize %0 : (!q) -> tensor<?x8xf32>
  return %1 : tensor<?x8xf32>
}

// -----

!q = !llm.quantized_tensor<?x8xi8, scales = f32, axis = 1>

// And the other way round scales may become others.
// CHECK-LABEL: func @back_and_there
// CHECK: llm.dequantize
// CHECK: llm.quantize
func.func @back_and_there(%x: !q) -> !q {
  %0 = llm.dequantize %x : (!q) -> tensor<?x8xf32>
  %1 = llm.quantize %0 : (tensor<?x8xf32>) -> !q
  return %1 : !q
}

// -----

!q = !llm.quantized_tensor<?x8xi8, scales = f32, axis = 1>

// Equal values are one, as when three products read the same activations;
// unused ones vanish.
// CHECK-LABEL: func @equal_and_unused
// CHECK-COUNT-1: llm.quantize %
// CHECK-NOT: llm.quantize %
// CHECK-NOT: llm.dequantize
// CHECK-NOT: llm.quantized_matmul
func.func @equal_and_unused(%x: tensor<?x8xf32>, %w: !q) -> (!q, !q) {
  %0 = llm.quantize %x : (tensor<?x8xf32>) -> !q
  %1 = llm.quantize %x : (tensor<?x8xf32>) -> !q
  %2 = llm.dequantize %0 : (!q) -> tensor<?x8xf32>
  %3 = llm.quantized_matmul %x, %w : (tensor<?x8xf32>, !q) -> tensor<?x?xf32>
  return %0, %1 : !q, !q
}
