// RUN: llmir-opt %s -llm-fuse-residual -split-input-file | FileCheck %s

// CHECK-LABEL: func @residual
// CHECK-SAME: (%[[X:.*]]: tensor<?x8xbf16>, %[[W:.*]]: tensor<4x8xbf16>, %[[H:.*]]: tensor<?x4xf32>)
// CHECK-NEXT: %[[Y:.*]] = llm.linear %[[X]], %[[W]] residual %[[H]] : (tensor<?x8xbf16>, tensor<4x8xbf16>, tensor<?x4xf32>) -> tensor<?x4xf32>
// CHECK-NEXT: return %[[Y]]
func.func @residual(%x: tensor<?x8xbf16>, %w: tensor<4x8xbf16>, %h: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %0 = llm.linear %x, %w : (tensor<?x8xbf16>, tensor<4x8xbf16>) -> tensor<?x4xf32>
  %1 = arith.addf %h, %0 : tensor<?x4xf32>
  return %1 : tensor<?x4xf32>
}

// -----

// Either operand may be the product; its bias stays.
// CHECK-LABEL: func @product_first
// CHECK-SAME: %[[B:[^ ]*]]: tensor<4xf32>, %[[H:[^ ]*]]: tensor<2x4xf32>)
// CHECK-NEXT: llm.linear %{{.*}}, %{{.*}} bias %[[B]] residual %[[H]]
// CHECK-NEXT: return
func.func @product_first(%x: tensor<2x8xf32>, %w: tensor<4x8xf32>, %b: tensor<4xf32>, %h: tensor<2x4xf32>) -> tensor<2x4xf32> {
  %0 = llm.linear %x, %w bias %b : (tensor<2x8xf32>, tensor<4x8xf32>, tensor<4xf32>) -> tensor<2x4xf32>
  %1 = arith.addf %0, %h : tensor<2x4xf32>
  return %1 : tensor<2x4xf32>
}

// -----

// Of two products, the later one takes the other in.
// CHECK-LABEL: func @two_products
// CHECK-SAME: (%[[X:.*]]: tensor<2x8xf32>, %[[V:.*]]: tensor<4x8xf32>, %[[W:.*]]: tensor<4x8xf32>)
// CHECK-NEXT: %[[A:.*]] = llm.linear %[[X]], %[[V]] :
// CHECK-NEXT: %[[S:.*]] = llm.linear %[[X]], %[[W]] residual %[[A]] :
// CHECK-NEXT: return %[[S]]
func.func @two_products(%x: tensor<2x8xf32>, %v: tensor<4x8xf32>, %w: tensor<4x8xf32>) -> tensor<2x4xf32> {
  %0 = llm.linear %x, %v : (tensor<2x8xf32>, tensor<4x8xf32>) -> tensor<2x4xf32>
  %1 = llm.linear %x, %w : (tensor<2x8xf32>, tensor<4x8xf32>) -> tensor<2x4xf32>
  %2 = arith.addf %0, %1 : tensor<2x4xf32>
  return %2 : tensor<2x4xf32>
}

// -----

// One has a residual already: the other one takes it in.
// CHECK-LABEL: func @chain
// CHECK-SAME: %[[H:[^ ]*]]: tensor<2x4xf32>)
// CHECK-NEXT: %[[A:.*]] = llm.linear %{{.*}}, %{{.*}} residual %[[H]] :
// CHECK-NEXT: llm.linear %{{.*}}, %{{.*}} residual %[[A]] :
// CHECK-NEXT: return
func.func @chain(%x: tensor<2x8xf32>, %w: tensor<4x8xf32>, %h: tensor<2x4xf32>) -> tensor<2x4xf32> {
  %0 = llm.linear %x, %w : (tensor<2x8xf32>, tensor<4x8xf32>) -> tensor<2x4xf32>
  %1 = arith.addf %h, %0 : tensor<2x4xf32>
  %2 = llm.linear %x, %w : (tensor<2x8xf32>, tensor<4x8xf32>) -> tensor<2x4xf32>
  %3 = arith.addf %1, %2 : tensor<2x4xf32>
  return %3 : tensor<2x4xf32>
}

// -----

// Not fused: a residual is there already.
// CHECK-LABEL: func @has_residual
// CHECK: llm.linear
// CHECK: arith.addf
func.func @has_residual(%x: tensor<2x8xf32>, %w: tensor<4x8xf32>, %h: tensor<2x4xf32>) -> tensor<2x4xf32> {
  %0 = llm.linear %x, %w residual %h : (tensor<2x8xf32>, tensor<4x8xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
  %1 = arith.addf %h, %0 : tensor<2x4xf32>
  return %1 : tensor<2x4xf32>
}

// -----

// Not fused: the product is used by itself, too.
// CHECK-LABEL: func @two_uses
// CHECK: llm.linear %{{[^ ]*}}, %{{[^ ]*}} :
// CHECK: arith.addf
func.func @two_uses(%x: tensor<2x8xf32>, %w: tensor<4x8xf32>, %h: tensor<2x4xf32>) -> (tensor<2x4xf32>, tensor<2x4xf32>) {
  %0 = llm.linear %x, %w : (tensor<2x8xf32>, tensor<4x8xf32>) -> tensor<2x4xf32>
  %1 = arith.addf %h, %0 : tensor<2x4xf32>
  return %0, %1 : tensor<2x4xf32>, tensor<2x4xf32>
}

// -----

// Not fused: a product cannot be added to itself in place.
// CHECK-LABEL: func @twice
// CHECK: llm.linear %{{[^ ]*}}, %{{[^ ]*}} :
// CHECK: arith.addf
func.func @twice(%x: tensor<2x8xf32>, %w: tensor<4x8xf32>) -> tensor<2x4xf32> {
  %0 = llm.linear %x, %w : (tensor<2x8xf32>, tensor<4x8xf32>) -> tensor<2x4xf32>
  %1 = arith.addf %0, %0 : tensor<2x4xf32>
  return %1 : tensor<2x4xf32>
}

// -----

// Not fused: this product is rounded to bf16 before the addition.
// CHECK-LABEL: func @rounded
// CHECK: llm.linear %{{[^ ]*}}, %{{[^ ]*}} :
// CHECK: arith.addf
func.func @rounded(%x: tensor<2x8xbf16>, %w: tensor<4x8xbf16>, %h: tensor<2x4xbf16>) -> tensor<2x4xbf16> {
  %0 = llm.linear %x, %w : (tensor<2x8xbf16>, tensor<4x8xbf16>) -> tensor<2x4xbf16>
  %1 = arith.addf %h, %0 : tensor<2x4xbf16>
  return %1 : tensor<2x4xbf16>
}

// -----

// A product of integers takes a residual in as well.
// CHECK-LABEL: func @quantized
// CHECK-SAME: %[[H:[^ ]*]]: tensor<?x4xf32>)
// CHECK-NEXT: llm.quantized_matmul %{{.*}}, %{{.*}} residual %[[H]] :
// CHECK-NEXT: return
func.func @quantized(%x: tensor<?x8xbf16>, %w: !llm.quantized_tensor<4x8xi8, scales = f32, axis = 1>, %h: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %0 = llm.quantized_matmul %x, %w : (tensor<?x8xbf16>, !llm.quantized_tensor<4x8xi8, scales = f32, axis = 1>) -> tensor<?x4xf32>
  %1 = arith.addf %h, %0 : tensor<?x4xf32>
  return %1 : tensor<?x4xf32>
}
