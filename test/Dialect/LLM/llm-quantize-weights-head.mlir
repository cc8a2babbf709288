// RUN: llmir-opt %s "-llm-quantize-weights=format=int4 head=int8 group-size=64" -split-input-file | FileCheck %s --check-prefixes=CHECK,INT8
// RUN: llmir-opt %s "-llm-quantize-weights=format=int4 head=none" -split-input-file | FileCheck %s --check-prefixes=CHECK,NONE
// RUN: llmir-opt %s "-llm-quantize-weights=format=w8a8 head=int4" -split-input-file | FileCheck %s --check-prefixes=CHECK,MIXED
// RUN: not llmir-opt %s "-llm-quantize-weights=head=int3" -split-input-file 2>&1 | FileCheck %s --check-prefix=HEAD

// HEAD: error: llm-quantize-weights: head must be auto, none, int8, int4, w8a8 or w4a8, but is int3

// The head is what the logits come from, also through a softcap. Groups are those of
// the other products.
// CHECK-LABEL: func @softcap
// INT8: llm.quantized_matmul {{.*}} !llm.quantized_tensor<64x64xi4, scales = f16, axis = 1, group_size = 64>
// INT8: llm.quantized_matmul {{.*}} !llm.quantized_tensor<32x64xi8, scales = f32, axis = 1>
// NONE: llm.quantized_matmul
// NONE: llm.linear
// MIXED: llm.quantize %
// MIXED: llm.quantized_matmul
// MIXED: llm.quantized_matmul {{.*}} : (tensor<?x64xbf16>, !llm.quantized_tensor<32x64xi4,
func.func @softcap(%x: tensor<?x64xbf16>) -> tensor<?x32xf32> {
  %w = llm.parameter "model"::"w" : tensor<64x64xbf16>
  %0 = llm.linear %x, %w : (tensor<?x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xbf16>
  %v = llm.parameter "model"::"v" : tensor<32x64xbf16>
  %1 = llm.linear %0, %v : (tensor<?x64xbf16>, tensor<32x64xbf16>) -> tensor<?x32xf32>
  %2 = math.tanh %1 : tensor<?x32xf32>
  return %2 : tensor<?x32xf32>
}

// -----

// A function that ends with a residual or a norm has none.
// CHECK-LABEL: func @no_head
// INT8-COUNT-2: llm.quantized_matmul {{.*}}xi4,
// NONE-COUNT-2: llm.quantized_matmul {{.*}}xi4,
// MIXED-COUNT-2: llm.quantized_matmul {{.*}}xi8,
func.func @no_head(%x: tensor<?x64xbf16>, %h: tensor<?x64xf32>, %n: tensor<64xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  %w = llm.parameter "model"::"w" : tensor<64x64xbf16>
  %0 = llm.linear %x, %w residual %h : (tensor<?x64xbf16>, tensor<64x64xbf16>, tensor<?x64xf32>) -> tensor<?x64xf32>
  %v = llm.parameter "model"::"v" : tensor<64x64xbf16>
  %1 = llm.linear %x, %v : (tensor<?x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xf32>
  %2 = llm.rms_norm %1, %n {epsilon = 1.0e-05 : f32} : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
  return %0, %2 : tensor<?x64xf32>, tensor<?x64xf32>
}

// -----

// One input of the head and of another product is rounded for each.
// CHECK-LABEL: func @shared
// MIXED-DAG: llm.quantize %
// MIXED-DAG: llm.quantized_matmul {{.*}} : (!llm.quantized_tensor<?x64xi8, scales = f32, axis = 1>,
// MIXED-DAG: llm.quantized_matmul {{.*}} : (tensor<?x64xbf16>, !llm.quantized_tensor<32x64xi4,
func.func @shared(%h: tensor<?x64xf32>, %n: tensor<64xf32>, %c: tensor<?x64xf32>) -> (tensor<?x32xf32>, tensor<?x64xf32>) {
  %x = llm.rms_norm %h, %n {epsilon = 1.0e-05 : f32} : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
  %w32 = llm.parameter "model"::"w" from tensor<64x64xbf16> : tensor<64x64xf32>
  %0 = llm.linear %x, %w32 residual %c : (tensor<?x64xf32>, tensor<64x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
  %v = llm.parameter "model"::"v" : tensor<32x64xf32>
  %1 = llm.linear %x, %v : (tensor<?x64xf32>, tensor<32x64xf32>) -> tensor<?x32xf32>
  return %1, %0 : tensor<?x32xf32>, tensor<?x64xf32>
}
