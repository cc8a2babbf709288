// RUN: llmir-opt %s -llm-fuse-norm -split-input-file | FileCheck %s
// RUN: llmir-opt %s -llm-fuse-norm -llm-fuse-norm -split-input-file | FileCheck %s

// Every product that reads it computes the norm; what else a product has stays.
// CHECK-LABEL: func @two_readers
// CHECK-SAME: (%[[X:.*]]: tensor<?x8xf32>, %[[N:.*]]: tensor<8xf16>, %[[V:.*]]: tensor<4x8xbf16>, %[[W:.*]]: tensor<8x8xbf16>, %[[B:.*]]: tensor<4xf32>, %[[R:.*]]: tensor<?x4xf32>)
// CHECK-NEXT: %[[Y:.*]] = llm.linear %[[X]], %[[V]] norm %[[N]] bias %[[B]] residual %[[R]] {epsilon = 9.99999974E-6 : f32} : (tensor<?x8xf32>, tensor<4x8xbf16>, tensor<8xf16>, tensor<4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
// CHECK-NEXT: %[[Z:.*]] = llm.linear %[[X]], %[[W]] norm %[[N]] activation silu gated {epsilon = 9.99999974E-6 : f32} : (tensor<?x8xf32>, tensor<8x8xbf16>, tensor<8xf16>) -> tensor<?x4xbf16>
// CHECK-NEXT: return %[[Y]], %[[Z]]
func.func @two_readers(%x: tensor<?x8xf32>, %n: tensor<8xf16>, %v: tensor<4x8xbf16>, %w: tensor<8x8xbf16>, %b: tensor<4xf32>, %r: tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?x4xbf16>) {
  %0 = llm.rms_norm %x, %n {epsilon = 1.0e-05 : f32} : (tensor<?x8xf32>, tensor<8xf16>) -> tensor<?x8xbf16>
  %1 = llm.linear %0, %v bias %b residual %r : (tensor<?x8xbf16>, tensor<4x8xbf16>, tensor<4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %2 = llm.linear %0, %w activation silu gated : (tensor<?x8xbf16>, tensor<8x8xbf16>) -> tensor<?x4xbf16>
  return %1, %2 : tensor<?x4xf32>, tensor<?x4xbf16>
}

// -----

// CHECK-LABEL: func @other_readers
// CHECK: llm.rms_norm
// CHECK-NOT: norm
func.func @other_readers(%x: tensor<2x8xf32>, %n: tensor<8xf32>, %w: tensor<8x8xf32>) -> (tensor<2x8xf32>, tensor<2x8xf32>) {
  %0 = llm.rms_norm %x, %n {epsilon = 1.0e-05 : f32} : (tensor<2x8xf32>, tensor<8xf32>) -> tensor<2x8xf32>
  %1 = llm.linear %0, %w : (tensor<2x8xf32>, tensor<8x8xf32>) -> tensor<2x8xf32>
  return %0, %1 : tensor<2x8xf32>, tensor<2x8xf32>
}

// -----

// As a residual, a norm is added and not multiplied.
// CHECK-LABEL: func @residual
// CHECK: llm.rms_norm
// CHECK-NOT: norm
func.func @residual(%x: tensor<2x8xf32>, %n: tensor<8xf32>, %w: tensor<8x8xf32>) -> tensor<2x8xf32> {
  %0 = llm.rms_norm %x, %n {epsilon = 1.0e-05 : f32} : (tensor<2x8xf32>, tensor<8xf32>) -> tensor<2x8xf32>
  %1 = llm.linear %0, %w residual %0 : (tensor<2x8xf32>, tensor<8x8xf32>, tensor<2x8xf32>) -> tensor<2x8xf32>
  return %1 : tensor<2x8xf32>
}

// -----

// A product rounds a norm to its weight's type, and this norm is not rounded.
// CHECK-LABEL: func @other_type
// CHECK: llm.rms_norm
// CHECK-NOT: norm
func.func @other_type(%x: tensor<2x8xf32>, %n: tensor<8xf32>, %w: tensor<8x8xbf16>) -> tensor<2x8xf32> {
  %0 = llm.rms_norm %x, %n {epsilon = 1.0e-05 : f32} : (tensor<2x8xf32>, tensor<8xf32>) -> tensor<2x8xf32>
  %1 = llm.linear %0, %w : (tensor<2x8xf32>, tensor<8x8xbf16>) -> tensor<2x8xf32>
  return %1 : tensor<2x8xf32>
}
