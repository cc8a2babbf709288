// RUN: llmir-opt %s -llm-fuse-activation -split-input-file | FileCheck %s
// RUN: llmir-opt %s -llm-fuse-activation -llm-fuse-activation -split-input-file | FileCheck %s

// CHECK-LABEL: func @plain
// CHECK-SAME: (%[[X:.*]]: tensor<?x8xf32>, %[[W:.*]]: tensor<4x8xbf16>, %[[N:.*]]: tensor<8xf32>, %[[B:.*]]: tensor<4xf32>)
// CHECK-NEXT: %[[Y:.*]] = llm.linear %[[X]], %[[W]] norm %[[N]] bias %[[B]] activation gelu {epsilon = 9.99999974E-6 : f32} : {{.*}} -> tensor<?x4xbf16>
// CHECK-NEXT: return %[[Y]]
func.func @plain(%x: tensor<?x8xf32>, %w: tensor<4x8xbf16>, %n: tensor<8xf32>, %b: tensor<4xf32>) -> tensor<?x4xbf16> {
  %0 = llm.linear %x, %w norm %n bias %b {epsilon = 1.0e-05 : f32} : (tensor<?x8xf32>, tensor<4x8xbf16>, tensor<8xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %1 = llm.activation gelu %0 : (tensor<?x4xf32>) -> tensor<?x4xbf16>
  return %1 : tensor<?x4xbf16>
}

// -----

// Halves by another way than --llm-merge-products: a file that has both in one. The
// number of rows is asked of the product that is there.
// CHECK-LABEL: func @gated
// CHECK-SAME: (%[[X:.*]]: tensor<?x8xf32>, %[[W:.*]]: tensor<8x8xf32>, %[[B:.*]]: tensor<8xf32>)
// CHECK: %[[Y:.*]] = llm.linear %[[X]], %[[W]] bias %[[B]] gated : (tensor<?x8xf32>, tensor<8x8xf32>, tensor<8xf32>) -> tensor<?x4xbf16>
// CHECK: %[[T:.*]] = tensor.dim %[[Y]], %c0
// CHECK: return %[[Y]], %[[T]]
func.func @gated(%x: tensor<?x8xf32>, %w: tensor<8x8xf32>, %b: tensor<8xf32>) -> (tensor<?x4xbf16>, index) {
  %c0 = arith.constant 0 : index
  %0 = llm.linear %x, %w bias %b : (tensor<?x8xf32>, tensor<8x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %t = tensor.dim %0, %c0 : tensor<?x8xf32>
  %1 = tensor.extract_slice %0[0, 0] [%t, 4] [1, 1] : tensor<?x8xf32> to tensor<?x4xf32>
  %2 = tensor.extract_slice %0[0, 4] [%t, 4] [1, 1] : tensor<?x8xf32> to tensor<?x4xf32>
  %3 = llm.activation identity %1, %2 : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xbf16>
  return %3, %t : tensor<?x4xbf16>, index
}

// -----

// The second half is no gate, and neither are the columns between the halves.
// CHECK-LABEL: func @other_columns
// CHECK: llm.linear %{{.*}}, %{{.*}} : (tensor<2x8xf32>, tensor<8x8xf32>) -> tensor<2x8xf32>
// CHECK: llm.activation silu
// CHECK: llm.linear %{{.*}}, %{{.*}} : (tensor<2x8xf32>, tensor<8x8xf32>) -> tensor<2x8xf32>
// CHECK: llm.activation silu
func.func @other_columns(%x: tensor<2x8xf32>, %w: tensor<8x8xf32>) -> (tensor<2x4xf32>, tensor<2x4xf32>) {
  %0 = llm.linear %x, %w : (tensor<2x8xf32>, tensor<8x8xf32>) -> tensor<2x8xf32>
  %1 = tensor.extract_slice %0[0, 0] [2, 4] [1, 1] : tensor<2x8xf32> to tensor<2x4xf32>
  %2 = tensor.extract_slice %0[0, 4] [2, 4] [1, 1] : tensor<2x8xf32> to tensor<2x4xf32>
  %3 = llm.activation silu %2, %1 : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
  %4 = llm.linear %x, %w : (tensor<2x8xf32>, tensor<8x8xf32>) -> tensor<2x8xf32>
  %5 = tensor.extract_slice %4[0, 0] [2, 4] [1, 1] : tensor<2x8xf32> to tensor<2x4xf32>
  %6 = tensor.extract_slice %4[0, 2] [2, 4] [1, 1] : tensor<2x8xf32> to tensor<2x4xf32>
  %7 = llm.activation silu %5, %6 : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
  return %3, %7 : tensor<2x4xf32>, tensor<2x4xf32>
}

// -----

// What the runtime has no epilogue for stays, and so does what is rounded or added
// to before, or read by others too.
// CHECK-LABEL: func @stay
// CHECK-COUNT-4: llm.activation
func.func @stay(%x: tensor<2x8xf32>, %w: tensor<4x8xf32>, %r: tensor<2x4xf32>) -> (tensor<2x4xf32>, tensor<2x4xf32>, tensor<2x4xf32>, tensor<2x4xf32>, tensor<2x4xf32>) {
  %0 = llm.linear %x, %w : (tensor<2x8xf32>, tensor<4x8xf32>) -> tensor<2x4xf32>
  %1 = llm.activation mish %0 : (tensor<2x4xf32>) -> tensor<2x4xf32>
  %2 = llm.linear %x, %w : (tensor<2x8xf32>, tensor<4x8xf32>) -> tensor<2x4xbf16>
  %3 = llm.activation relu %2 : (tensor<2x4xbf16>) -> tensor<2x4xf32>
  %4 = llm.linear %x, %w residual %r : (tensor<2x8xf32>, tensor<4x8xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
  %5 = llm.activation relu %4 : (tensor<2x4xf32>) -> tensor<2x4xf32>
  %6 = llm.linear %x, %w : (tensor<2x8xf32>, tensor<4x8xf32>) -> tensor<2x4xf32>
  %7 = llm.activation relu %6 : (tensor<2x4xf32>) -> tensor<2x4xf32>
  return %1, %3, %5, %6, %7 : tensor<2x4xf32>, tensor<2x4xf32>, tensor<2x4xf32>, tensor<2x4xf32>, tensor<2x4xf32>
}
