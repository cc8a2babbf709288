// RUN: llmir-opt %s -llm-quantize-weights=format=int8 -split-input-file | FileCheck %s --check-prefixes=CHECK,INT8
// RUN: llmir-opt %s -llm-quantize-weights=format=int4 -split-input-file | FileCheck %s --check-prefixes=CHECK,INT4
// RUN: llmir-opt %s -llm-quantize-weights=format=w8a8 -split-input-file | FileCheck %s --check-prefixes=CHECK,W8A8
// RUN: llmir-opt %s "-llm-quantize-weights=format=w4a8 group-size=128 asymmetric scales=bf16" -split-input-file | FileCheck %s --check-prefixes=CHECK,W4A8
// RUN: not llmir-opt %s -llm-quantize-weights=format=int3 -split-input-file 2>&1 | FileCheck %s --check-prefix=FORMAT
// RUN: not llmir-opt %s -llm-quantize-weights=group-size=48 -split-input-file 2>&1 | FileCheck %s --check-prefix=GROUP
// RUN: not llmir-opt %s -llm-quantize-weights=scales=f64 -split-input-file 2>&1 | FileCheck %s --check-prefix=SCALES

// FORMAT: error: llm-quantize-weights: format must be int8, int4, w8a8 or w4a8, but is int3
// GROUP: error: llm-quantize-weights: group-size must be a multiple of 32 up to 512, or 0 for whole rows, but is 48
// SCALES: error: llm-quantize-weights: scales must be auto, f32, f16 or bf16, but are f64

// What a norm is rounded to is what its products multiply: bf16 where only
// weights are integers, and otherwise f32, of which integers are made once for
// both products. The file's numbers are quantized, whatever the program's were.
// CHECK-LABEL: func @norm
// INT8: %[[N:.*]] = llm.rms_norm {{.*}} -> tensor<?x192xbf16>
// INT8-DAG: %[[W:.*]] = llm.parameter "model"::"w" from tensor<64x192xbf16> : !llm.quantized_tensor<64x192xi8, scales = f32, axis = 1>
// INT8-DAG: llm.quantized_matmul %[[N]], %[[W]] bias %{{.*}} : (tensor<?x192xbf16>, !llm.quantized_tensor<64x192xi8, scales = f32, axis = 1>, tensor<64xf32>) -> tensor<?x64xf32>
// INT8: llm.quantized_matmul %[[N]], {{.*}} residual
// INT4-DAG: llm.parameter "model"::"w" from tensor<64x192xbf16> : !llm.quantized_tensor<64x192xi4, scales = f16, axis = 1, group_size = 32>
// W8A8: %[[N:.*]] = llm.rms_norm {{.*}} -> tensor<?x192xf32>
// W8A8-NEXT: %[[Q:.*]] = llm.quantize %[[N]] : (tensor<?x192xf32>) -> !llm.quantized_tensor<?x192xi8, scales = f32, axis = 1>
// W8A8-NOT: llm.quantize %
// W8A8: llm.quantized_matmul %[[Q]], {{.*}} bias
// W8A8-NOT: llm.quantize %
// W8A8: llm.quantized_matmul %[[Q]], {{.*}} residual
// 192 is not a multiple of 128, but of half as many.
// W4A8-DAG: llm.parameter "model"::"w" from tensor<64x192xbf16> : !llm.quantized_tensor<64x192xui4, scales = bf16, axis = 1, group_size = 64, asymmetric>
// CHECK-NOT: llm.linear
func.func @norm(%x: tensor<?x192xf32>, %n: tensor<192xf32>, %b: tensor<64xf32>, %h: tensor<?x32xf32>) -> (tensor<?x64xf32>, tensor<?x32xf32>) {
  %0 = llm.rms_norm %x, %n {epsilon = 1.0e-05 : f32} : (tensor<?x192xf32>, tensor<192xf32>) -> tensor<?x192xf32>
  %w = llm.parameter "model"::"w" from tensor<64x192xbf16> : tensor<64x192xf32>
  %1 = llm.linear %0, %w bias %b : (tensor<?x192xf32>, tensor<64x192xf32>, tensor<64xf32>) -> tensor<?x64xf32>
  %v = llm.parameter "model"::"v" : tensor<32x192xf32>
  %2 = llm.linear %0, %v residual %h : (tensor<?x192xf32>, tensor<32x192xf32>, tensor<?x32xf32>) -> tensor<?x32xf32>
  return %1, %2 : tensor<?x64xf32>, tensor<?x32xf32>
}

// -----

// Of what is used otherwise too, a rounded copy is multiplied.
// CHECK-LABEL: func @other_uses
// CHECK: %[[Y:.*]] = llm.activation{{ *}}relu %{{.*}} -> tensor<?x64xf32>
// INT8: %[[R:.*]] = arith.truncf %[[Y]] : tensor<?x64xf32> to tensor<?x64xbf16>
// INT8: llm.quantized_matmul %[[R]],
// W8A8: %[[Q:.*]] = llm.quantize %[[Y]]
// W8A8: llm.quantized_matmul %[[Q]],
// CHECK: return %{{.*}}, %[[Y]]
func.func @other_uses(%x: tensor<?x64xf32>) -> (tensor<?x32xf32>, tensor<?x64xf32>) {
  %0 = llm.activation relu %x : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %w = llm.parameter "model"::"w" : tensor<32x64xf32>
  %1 = llm.linear %0, %w : (tensor<?x64xf32>, tensor<32x64xf32>) -> tensor<?x32xf32>
  return %1, %0 : tensor<?x32xf32>, tensor<?x64xf32>
}

// -----

// From f16 to bf16 by f32; integers are made of f16 as they are.
// CHECK-LABEL: func @f16
// INT8: %[[WIDE:.*]] = arith.extf %{{.*}} : tensor<?x64xf16> to tensor<?x64xf32>
// INT8: %[[R:.*]] = arith.truncf %[[WIDE]] : tensor<?x64xf32> to tensor<?x64xbf16>
// INT8: llm.quantized_matmul %[[R]], {{.*}} -> tensor<?x32xf16>
// W8A8: llm.quantize %{{.*}} : (tensor<?x64xf16>)
func.func @f16(%x: tensor<?x64xf16>) -> tensor<?x32xf16> {
  %w = llm.parameter "model"::"w" : tensor<32x64xf16>
  %0 = llm.linear %x, %w : (tensor<?x64xf16>, tensor<32x64xf16>) -> tensor<?x32xf16>
  return %0 : tensor<?x32xf16>
}

// -----

// Through a private function that is called twice. A tied embedding is looked
// up as it is in the file.
// CHECK-LABEL: func @step
// CHECK-DAG: %[[E:.*]] = llm.parameter "model"::"e" : tensor<64x64xbf16>
// INT4-DAG: %[[W0:.*]] = llm.parameter "model"::"w0" from tensor<64x64xbf16> : !llm.quantized_tensor<64x64xi4, scales = f16, axis = 1, group_size = 32>
// INT4-DAG: %[[Q:.*]] = llm.parameter "model"::"e" from tensor<64x64xbf16> : !llm.quantized_tensor<64x64xi4, scales = f16, axis = 1, group_size = 32>
// CHECK: llm.embedding %{{.*}}, %[[E]] :
// INT4: call @layer(%{{.*}}, %[[W0]])
// INT4: call @layer(%{{.*}}, %{{.*}})
// INT4: llm.quantized_matmul %{{.*}}, %[[Q]] :
// CHECK: func private @layer
// INT4-SAME: %{{.*}}: !llm.quantized_tensor<64x64xi4, scales = f16, axis = 1, group_size = 32>)
// INT4: llm.quantized_matmul
func.func @step(%ids: tensor<?xi32>) -> tensor<?x64xf32> {
  %e = llm.parameter "model"::"e" : tensor<64x64xbf16>
  %w0 = llm.parameter "model"::"w0" : tensor<64x64xbf16>
  %w1 = llm.parameter "model"::"w1" : tensor<64x64xbf16>
  %x = llm.embedding %ids, %e : (tensor<?xi32>, tensor<64x64xbf16>) -> tensor<?x64xbf16>
  %0 = call @layer(%x, %w0) : (tensor<?x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xbf16>
  %1 = call @layer(%0, %w1) : (tensor<?x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xbf16>
  %2 = llm.linear %1, %e : (tensor<?x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xf32>
  return %2 : tensor<?x64xf32>
}
func.func private @layer(%x: tensor<?x64xbf16>, %w: tensor<64x64xbf16>) -> tensor<?x64xbf16> {
  %0 = llm.linear %x, %w : (tensor<?x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xbf16>
  return %0 : tensor<?x64xbf16>
}

// -----

// What stays as it is: a weight that is no parameter, and groups of a number of
// inputs that not even 32 divides. Whole rows may have any length.
// CHECK-LABEL: func @kept
// CHECK: llm.linear %{{.*}}, %arg1
// INT8: llm.quantized_matmul {{.*}} -> tensor<?x8xf32>
// INT4: llm.linear {{.*}} -> tensor<?x8xf32>
// W8A8: llm.quantized_matmul {{.*}} -> tensor<?x8xf32>
// W4A8: llm.linear {{.*}} -> tensor<?x8xf32>
func.func @kept(%x: tensor<?x60xbf16>, %v: tensor<4x60xbf16>) -> (tensor<?x4xf32>, tensor<?x8xf32>) {
  %0 = llm.linear %x, %v : (tensor<?x60xbf16>, tensor<4x60xbf16>) -> tensor<?x4xf32>
  %w = llm.parameter "model"::"w" : tensor<8x60xbf16>
  %1 = llm.linear %x, %w : (tensor<?x60xbf16>, tensor<8x60xbf16>) -> tensor<?x8xf32>
  return %0, %1 : tensor<?x4xf32>, tensor<?x8xf32>
}

// -----

// A sum of so many products of integers might not fit into 32 bits.
// CHECK-LABEL: func @long_rows
// INT8: llm.quantized_matmul
// W8A8: llm.linear
func.func @long_rows(%x: tensor<?x131072xbf16>) -> tensor<?x8xf32> {
  %w = llm.parameter "model"::"w" : tensor<8x131072xbf16>
  %0 = llm.linear %x, %w : (tensor<?x131072xbf16>, tensor<8x131072xbf16>) -> tensor<?x8xf32>
  return %0 : tensor<?x8xf32>
}

// -----

// What surrounds a product stays around it. A norm is rounded by its product;
// what one product makes for another is rounded where it is made.
// CHECK-LABEL: func @fused
// INT8: %[[Y:.*]] = llm.quantized_matmul %{{.*}}, %{{.*}} norm %{{.*}} bias %{{.*}} activation silu gated {epsilon = 9.99999974E-6 : f32} : (tensor<?x64xf32>, !llm.quantized_tensor<256x64xi8, scales = f32, axis = 1>, tensor<64xbf16>, tensor<256xf32>) -> tensor<?x128xbf16>
// INT8: llm.quantized_matmul %[[Y]], %{{.*}} residual %{{.*}} : (tensor<?x128xbf16>,
// W8A8: %[[Y:.*]] = llm.quantized_matmul %{{.*}}, %{{.*}} norm %{{.*}} activation silu gated {epsilon = 9.99999974E-6 : f32, input_type = !llm.quantized_tensor<?x64xi8, scales = f32, axis = 1>} : {{.*}} -> tensor<?x128xf32>
// W8A8-NEXT: %[[Q:.*]] = llm.quantize %[[Y]]
// W8A8: llm.quantized_matmul %[[Q]], %{{.*}} residual
func.func @fused(%x: tensor<?x64xf32>, %n: tensor<64xbf16>, %b: tensor<256xf32>, %h: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %w = llm.parameter "model"::"w" : tensor<256x64xbf16>
  %0 = llm.linear %x, %w norm %n bias %b activation silu gated {epsilon = 1.0e-05 : f32} : (tensor<?x64xf32>, tensor<256x64xbf16>, tensor<64xbf16>, tensor<256xf32>) -> tensor<?x128xbf16>
  %v = llm.parameter "model"::"v" : tensor<64x128xbf16>
  %1 = llm.linear %0, %v residual %h : (tensor<?x128xbf16>, tensor<64x128xbf16>, tensor<?x64xf32>) -> tensor<?x64xf32>
  return %1 : tensor<?x64xf32>
}
