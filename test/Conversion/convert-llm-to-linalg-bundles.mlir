// RUN: llmir-opt %s -convert-llm-to-linalg -canonicalize -split-input-file -verify-diagnostics | FileCheck %s

// What quantized and sharded tensors become, in functions, calls and control
// flow. What the code computes is tested by running it.

!q = !llm.quantized_tensor<?x64xi4, scales = f16, axis = 1, group_size = 32, packing = pairs>
!z = !llm.quantized_tensor<8x64xui8, scales = bf16, axis = 0, asymmetric>

// Elements, scales, and zero points where there are any.
// CHECK-LABEL: func @signature
// CHECK-SAME: (%[[A:.*]]: tensor<?x32xi8> {test.a}, %[[B:.*]]: tensor<?x2xf16> {test.a}, %[[C:.*]]: tensor<8x64xi8>, %[[D:.*]]: tensor<1x64xbf16>, %[[E:.*]]: tensor<1x64xi8>) -> (tensor<8x64xi8>, tensor<1x64xbf16>, tensor<1x64xi8>, tensor<?x32xi8>, tensor<?x2xf16>)
// CHECK-NEXT: return %[[C]], %[[D]], %[[E]], %[[A]], %[[B]]
func.func @signature(%q: !q {test.a}, %z: !z) -> (!z, !q) {
  return %z, %q : !z, !q
}

// CHECK-LABEL: func @control_flow
// CHECK: %{{.*}}:2 = scf.if %{{.*}} -> (tensor<?x32xi8>, tensor<?x2xf16>)
// CHECK: call @signature(%{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}) : (tensor<?x32xi8>, tensor<?x2xf16>, tensor<8x64xi8>, tensor<1x64xbf16>, tensor<1x64xi8>) ->
func.func @control_flow(%p: i1, %q: !q, %z: !z) -> !q {
  %2 = scf.if %p -> !q {
    %0, %1 = func.call @signature(%q, %z) : (!q, !z) -> (!z, !q)
    scf.yield %1 : !q
  } else {
    scf.yield %q : !q
  }
  return %2 : !q
}

// -----

!split = !llm.sharded_tensor<tensor<?x64xf32>, shards = 4, split = 1>
!partial = !llm.sharded_tensor<tensor<?x64xf32>, shards = 4, partial = sum>

// The first dimension counts the shards.
// CHECK-LABEL: func @shards
// CHECK-SAME: (%[[P:.*]]: tensor<4x?x64xf32>) -> tensor<4x?x16xf32>
// CHECK: linalg.generic {{.*}} iterator_types = ["parallel", "parallel", "reduction"]} ins(%[[P]] :
// CHECK: arith.addf
// CHECK: tensor.expand_shape
func.func @shards(%p: !partial) -> !split {
  %0 = llm.reduce_scatter %p {scatter_axis = 1 : i64} : (!partial) -> !split
  return %0 : !split
}

// -----

// A scale for each token: the largest number by 127, then clamped, rounded
// steps, on a tensor of one group a row.
// CHECK-LABEL: func @quantize
// CHECK-SAME: (%[[X:.*]]: tensor<?x64xf32>)
// CHECK: %[[G:.*]] = tensor.expand_shape %[[X]] {{\[\[}}0], [1, 2]] : tensor<?x64xf32> into tensor<?x1x64xf32>
// CHECK: %[[MAX:.*]] = linalg.generic {{.*}} iterator_types = ["parallel", "parallel", "reduction"]} ins(%[[G]] :
// CHECK: math.absf
// CHECK: arith.maximumf
// CHECK: %[[S:.*]] = linalg.generic {{.*}} ins(%[[MAX]] : tensor<?x1xf32>)
// CHECK: arith.divf
// CHECK: linalg.generic {{.*}} ins(%[[G]], %[[S]] :
// CHECK: arith.maxnumf
// CHECK: arith.minnumf
// CHECK: arith.fptosi
// CHECK: tensor.collapse_shape
func.func @quantize(%x: tensor<?x64xf32>) -> !llm.quantized_tensor<?x64xi8, scales = f32, axis = 1> {
  %0 = llm.quantize %x : (tensor<?x64xf32>) -> !llm.quantized_tensor<?x64xi8, scales = f32, axis = 1>
  return %0 : !llm.quantized_tensor<?x64xi8, scales = f32, axis = 1>
}

// -----

!a = !llm.quantized_tensor<?x64xi8, scales = f32, axis = 1>
!w = !llm.quantized_tensor<16x64xi8, scales = bf16, axis = 1, group_size = 32>

// Sums of integers are integers, up to the end of each group.
// CHECK-LABEL: func @integers
// CHECK: linalg.generic {{.*}} iterator_types = ["parallel", "parallel", "parallel", "reduction"]} {{.*}} outs(%{{.*}} : tensor<?x16x2xi32>)
// CHECK: arith.muli
// CHECK: arith.addi
// CHECK: linalg.generic {{.*}} iterator_types = ["parallel", "parallel", "reduction"]}
// CHECK: arith.sitofp %{{.*}} : i32 to f32
func.func @integers(%a: !a, %w: !w) -> tensor<?x16xf32> {
  %0 = llm.quantized_matmul %a, %w : (!a, !w) -> tensor<?x16xf32>
  return %0 : tensor<?x16xf32>
}

// -----

// An expert that no token has chosen is not computed.
// CHECK-LABEL: func @moe
// CHECK: %[[USERS:.*]] = linalg.generic {{.*}} outs(%{{.*}} : tensor<4xi32>)
// CHECK: scf.for %[[E:.*]] = %c0 to %c4 step %c1 iter_args(%[[SUM:.*]] =
// CHECK: %[[N:.*]] = tensor.extract %[[USERS]][%[[E]]]
// CHECK: %[[USED:.*]] = arith.cmpi ne, %[[N]], %c0_i32
// CHECK: scf.if %[[USED]]
// CHECK: math.exp
// CHECK: } else {
// CHECK-NEXT: scf.yield %[[SUM]]
func.func @moe(%x: tensor<?x8xf32>, %l: tensor<?x4xf32>, %g: tensor<4x6x8xf32>, %d: tensor<4x8x6xf32>) -> tensor<?x8xf32> {
  %0 = llm.moe silu %x, %l, %g, %g, %d {top_k = 2 : i64}
    : (tensor<?x8xf32>, tensor<?x4xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<?x8xf32>
  return %0 : tensor<?x8xf32>
}

// -----

// The mean goes first: its square would swamp the variance.
// CHECK-LABEL: func @layer_norm
// CHECK-SAME: (%[[X:.*]]: tensor<?x192xf32>, %[[W:.*]]: tensor<192xf32>, %[[B:.*]]: tensor<192xf32>)
// CHECK: %[[SUMS:.*]] = linalg.generic {{.*}} iterator_types = ["parallel", "reduction"]} ins(%[[X]] :
// CHECK: %[[MEANS:.*]] = linalg.generic {{.*}} ins(%[[SUMS]] :
// CHECK: %[[SQUARES:.*]] = linalg.generic {{.*}} iterator_types = ["parallel", "reduction"]} ins(%[[X]], %[[MEANS]] :
// CHECK: arith.subf
// CHECK: %[[SCALES:.*]] = linalg.generic {{.*}} ins(%[[SQUARES]] :
// CHECK: math.sqrt
// CHECK: linalg.generic {{.*}} ins(%[[X]], %[[MEANS]], %[[SCALES]], %[[W]], %[[B]] :
func.func @layer_norm(%x: tensor<?x192xf32>, %w: tensor<192xf32>, %b: tensor<192xf32>) -> tensor<?x192xf32> {
  %0 = llm.layer_norm %x, %w bias %b {epsilon = 1.0e-05 : f32} : (tensor<?x192xf32>, tensor<192xf32>, tensor<192xf32>) -> tensor<?x192xf32>
  return %0 : tensor<?x192xf32>
}

// -----

// Other dialects know nothing of bundles.
func.func @others(%q: !llm.quantized_tensor<?x64xi8, scales = f32, axis = 1>) {
  // expected-error @+1 {{has a value of type '!llm.quantized_tensor<?x64xi8, scales = f32, axis = 1>' among its operands or results, which the reference lowering cannot take apart}}
  %0 = builtin.unrealized_conversion_cast %q : !llm.quantized_tensor<?x64xi8, scales = f32, axis = 1> to tensor<?x64xf32>
  return
}

// -----

!inner = !llm.quantized_tensor<4x8xi8, scales = f32, axis = 1>

// Attributes stay with their arguments in modules within modules, too.
// CHECK: module @within
// CHECK-NEXT: func @nested(%{{.*}}: tensor<4x8xi8>, %{{.*}}: tensor<4x1xf32>, %{{.*}}: i32 {test.b})
module {
  module @within {
    func.func @nested(%q: !inner, %x: i32 {test.b}) {
      return
    }
  }
}
