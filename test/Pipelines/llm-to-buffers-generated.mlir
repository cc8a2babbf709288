// RUN: llmir-opt %s -split-input-file -convert-llm-to-linalg=keep-kernels -canonicalize -one-shot-bufferize="bufferize-function-boundaries function-boundary-type-conversion=identity-layout-map" -canonicalize -cse -canonicalize -llm-vectorize-rows | FileCheck %s
// RUN: llmir-opt %s -split-input-file -convert-llm-to-linalg=keep-kernels -canonicalize -one-shot-bufferize="bufferize-function-boundaries function-boundary-type-conversion=identity-layout-map" -canonicalize -cse -canonicalize -llm-vectorize-rows | FileCheck %s --check-prefix=NONE

// Ops without a kernel become vector code, as whole rows, and nothing is copied.

// NONE-NOT: memref.copy
// NONE-NOT: linalg.

// All of a layer norm is one loop over rows: two sums, and one pass.
// CHECK-LABEL: func @layer_norm
// CHECK: scf.forall
// CHECK: scf.for {{.*}} iter_args({{.*}}) -> (vector<32xf32>)
// CHECK: scf.for {{.*}} iter_args({{.*}}) -> (vector<32xf32>)
// CHECK: math.sqrt
// CHECK: scf.for
// CHECK: vector.store
// CHECK-NOT: scf.forall
func.func @layer_norm(%x: tensor<?x192xf32>, %w: tensor<192xf32>, %b: tensor<192xf32>) -> tensor<?x192xf32> {
  %0 = llm.layer_norm %x, %w bias %b {epsilon = 1.0e-05 : f32} : (tensor<?x192xf32>, tensor<192xf32>, tensor<192xf32>) -> tensor<?x192xf32>
  return %0 : tensor<?x192xf32>
}

// -----

// So are the products of an expert, inside the loop over experts.
// CHECK-LABEL: func @moe
// CHECK: scf.for %{{.*}} = %c0 to %c4
// CHECK: scf.if
// CHECK: scf.forall
// CHECK: scf.for {{.*}} iter_args({{.*}}) -> (vector<32xf32>)
func.func @moe(%x: tensor<?x64xf32>, %l: tensor<?x4xf32>, %g: tensor<4x96x64xf32>, %d: tensor<4x64x96xf32>) -> tensor<?x64xf32> {
  %0 = llm.moe silu %x, %l, %g, %g, %d {top_k = 2 : i64}
    : (tensor<?x64xf32>, tensor<?x4xf32>, tensor<4x96x64xf32>, tensor<4x96x64xf32>, tensor<4x64x96xf32>) -> tensor<?x64xf32>
  return %0 : tensor<?x64xf32>
}

// -----

!a = !llm.quantized_tensor<?x64xi8, scales = f32, axis = 1>
!w = !llm.quantized_tensor<16x64xi8, scales = bf16, axis = 1>

// Integers add up in vectors of integers.
// CHECK-LABEL: func @integers
// CHECK: scf.forall
// CHECK: scf.for {{.*}} iter_args({{.*}}) -> (vector<32xi32>)
// CHECK: vector.load {{.*}} vector<32xi8>
func.func @integers(%x: tensor<?x64xf32>, %w: !w) -> tensor<?x16xf32> {
  %a = llm.quantize %x : (tensor<?x64xf32>) -> !a
  %0 = llm.quantized_matmul %a, %w : (!a, !w) -> tensor<?x16xf32>
  return %0 : tensor<?x16xf32>
}

// -----

// A row out of panels: pairs are vectors, and the row is made where it is wanted.
// CHECK-LABEL: func @gathered
// CHECK: scf.forall (%[[T:.*]]) in
// CHECK: scf.for %[[PAIR:.*]] = %{{.*}} to %c96
// CHECK: vector.load %{{.*}}[%{{.*}}, %[[PAIR]], %{{.*}}] : memref<32x96x32x2xbf16{{.*}}>, vector<2xbf16>
// CHECK: vector.store %{{.*}}[%[[T]], %[[PAIR]], %{{.*}}] : memref<?x96x2xf32>, vector<2xf32>
// CHECK-NOT: scf.forall
func.func @gathered(%ids: tensor<?xi32>, %table: tensor<32x96x32x2xbf16>) -> tensor<?x192xf32> {
  %0 = llm.embedding %ids, %table : (tensor<?xi32>, tensor<32x96x32x2xbf16>) -> tensor<?x192xf32>
  return %0 : tensor<?x192xf32>
}
