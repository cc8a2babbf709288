// RUN: llmir-opt %s -llm-merge-products -split-input-file | FileCheck %s
// RUN: llmir-opt %s -llm-merge-products -llm-merge-products -split-input-file | FileCheck %s

// Weights and biases of a layer come from its calls: there they are laid end to
// end, and the layer takes one argument for each.
// CHECK-LABEL: func @step
// CHECK-SAME: (%[[X:.*]]: tensor<?x8xf32>)
// CHECK: %[[W0:.*]] = llm.parameter "model"::["q0", "k0", "v0"] from [tensor<4x8xf32>, tensor<2x8xf32>, tensor<2x8xf32>] : tensor<8x8xf32>
// CHECK: %[[B0:.*]] = llm.parameter "model"::["qb", "kb", "vb"] from [tensor<4xf32>, tensor<2xf32>, tensor<2xf32>] : tensor<8xf32>
// CHECK: %[[Y0:.*]]:3 = call @layer(%[[X]], %[[W0]], %[[B0]]) : (tensor<?x8xf32>, tensor<8x8xf32>, tensor<8xf32>)
// CHECK: %[[W1:.*]] = llm.parameter "model"::["q1", "k1", "v1"] from [tensor<4x8xbf16>, tensor<2x8xf32>, tensor<2x8xf32>] : tensor<8x8xf32>
// CHECK: call @layer(%[[X]], %[[W1]], %{{.*}}) :
func.func @step(%x: tensor<?x8xf32>) -> (tensor<?x4xf32>, tensor<?x2xf32>) {
  %q0 = llm.parameter "model"::"q0" : tensor<4x8xf32>
  %k0 = llm.parameter "model"::"k0" : tensor<2x8xf32>
  %v0 = llm.parameter "model"::"v0" : tensor<2x8xf32>
  %qb = llm.parameter "model"::"qb" : tensor<4xf32>
  %kb = llm.parameter "model"::"kb" : tensor<2xf32>
  %vb = llm.parameter "model"::"vb" : tensor<2xf32>
  %0:3 = call @layer(%x, %q0, %qb, %k0, %kb, %v0, %vb) : (tensor<?x8xf32>, tensor<4x8xf32>, tensor<4xf32>, tensor<2x8xf32>, tensor<2xf32>, tensor<2x8xf32>, tensor<2xf32>) -> (tensor<?x4xf32>, tensor<?x2xf32>, tensor<?x2xf32>)
  %q1 = llm.parameter "model"::"q1" from tensor<4x8xbf16> : tensor<4x8xf32>
  %k1 = llm.parameter "model"::"k1" : tensor<2x8xf32>
  %v1 = llm.parameter "model"::"v1" : tensor<2x8xf32>
  %1:3 = call @layer(%x, %q1, %qb, %k1, %kb, %v1, %vb) : (tensor<?x8xf32>, tensor<4x8xf32>, tensor<4xf32>, tensor<2x8xf32>, tensor<2xf32>, tensor<2x8xf32>, tensor<2xf32>) -> (tensor<?x4xf32>, tensor<?x2xf32>, tensor<?x2xf32>)
  return %0#0, %1#2 : tensor<?x4xf32>, tensor<?x2xf32>
}
// CHECK: func private @layer(%[[X:.*]]: tensor<?x8xf32>, %[[W:.*]]: tensor<8x8xf32>, %[[B:.*]]: tensor<8xf32>)
// CHECK: %[[ALL:.*]] = llm.linear %[[X]], %[[W]] bias %[[B]] : (tensor<?x8xf32>, tensor<8x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
// CHECK: %[[T:.*]] = tensor.dim %[[ALL]], %c0
// CHECK: %[[Q:.*]] = tensor.extract_slice %[[ALL]][0, 0] [%[[T]], 4] [1, 1] : tensor<?x8xf32> to tensor<?x4xf32>
// CHECK: %[[K:.*]] = tensor.extract_slice %[[ALL]][0, 4] [%[[T]], 2] [1, 1] : tensor<?x8xf32> to tensor<?x2xf32>
// CHECK: %[[V:.*]] = tensor.extract_slice %[[ALL]][0, 6] [%[[T]], 2] [1, 1] : tensor<?x8xf32> to tensor<?x2xf32>
// CHECK: return %[[Q]], %[[K]], %[[V]]
func.func private @layer(%x: tensor<?x8xf32>, %q: tensor<4x8xf32>, %qb: tensor<4xf32>, %k: tensor<2x8xf32>, %kb: tensor<2xf32>, %v: tensor<2x8xf32>, %vb: tensor<2xf32>) -> (tensor<?x4xf32>, tensor<?x2xf32>, tensor<?x2xf32>) {
  %0 = llm.linear %x, %q bias %qb : (tensor<?x8xf32>, tensor<4x8xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %1 = llm.linear %x, %k bias %kb : (tensor<?x8xf32>, tensor<2x8xf32>, tensor<2xf32>) -> tensor<?x2xf32>
  %2 = llm.linear %x, %v bias %vb : (tensor<?x8xf32>, tensor<2x8xf32>, tensor<2xf32>) -> tensor<?x2xf32>
  return %0, %1, %2 : tensor<?x4xf32>, tensor<?x2xf32>, tensor<?x2xf32>
}

// -----

// What is gated is merged with its gate only, and the gate comes first, though
// it is computed last here.
// CHECK-LABEL: func @gated
// CHECK-SAME: (%[[X:.*]]: tensor<3x8xf32>)
// CHECK: %[[B:.*]] = llm.parameter "model"::["gate", "up"] from [tensor<4x8xf32>, tensor<4x8xf32>] : tensor<8x8xf32>
// CHECK: %[[Q:.*]] = llm.parameter "model"::"q" : tensor<4x8xf32>
// CHECK: %[[ALL:.*]] = llm.linear %[[X]], %[[B]] :
// CHECK: %[[GATE:.*]] = tensor.extract_slice %[[ALL]][0, 0] [3, 4] [1, 1]
// CHECK: %[[UP:.*]] = tensor.extract_slice %[[ALL]][0, 4] [3, 4] [1, 1]
// CHECK: llm.linear %[[X]], %[[Q]] :
// CHECK: llm.activation silu %[[GATE]], %[[UP]] :
func.func @gated(%x: tensor<3x8xf32>) -> (tensor<3x4xf32>, tensor<3x4xf32>) {
  %up = llm.parameter "model"::"up" : tensor<4x8xf32>
  %q = llm.parameter "model"::"q" : tensor<4x8xf32>
  %gate = llm.parameter "model"::"gate" : tensor<4x8xf32>
  %0 = llm.linear %x, %up : (tensor<3x8xf32>, tensor<4x8xf32>) -> tensor<3x4xf32>
  %1 = llm.linear %x, %q : (tensor<3x8xf32>, tensor<4x8xf32>) -> tensor<3x4xf32>
  %2 = llm.linear %x, %gate : (tensor<3x8xf32>, tensor<4x8xf32>) -> tensor<3x4xf32>
  %3 = llm.activation silu %2, %0 : (tensor<3x4xf32>, tensor<3x4xf32>) -> tensor<3x4xf32>
  return %1, %3 : tensor<3x4xf32>, tensor<3x4xf32>
}

// -----

// Of other types, with a bias and without one, or of other scopes, products stay
// apart.
// CHECK-LABEL: func @different
// CHECK-COUNT-6: llm.linear {{.*}} tensor<4x8xbf16>{{.*}}) ->
// CHECK-NOT: tensor.extract_slice
func.func @different(%x: tensor<3x8xbf16>, %y: tensor<3x8xbf16>) -> (tensor<3x4xf32>, tensor<3x4xbf16>, tensor<3x4xf32>, tensor<3x4xf32>, tensor<3x4xf32>, tensor<3x4xf32>) {
  %a = llm.parameter "model"::"a" : tensor<4x8xbf16>
  %b = llm.parameter "model"::"b" : tensor<4x8xbf16>
  %c = llm.parameter "model"::"c" : tensor<4x8xbf16>
  %bias = llm.parameter "model"::"bias" : tensor<4xbf16>
  %d = llm.parameter "model"::"d" : tensor<4x8xbf16>
  %e = llm.parameter "other"::"e" : tensor<4x8xbf16>
  %f = llm.parameter "model"::"f" : tensor<4x8xbf16>
  %0 = llm.linear %x, %a : (tensor<3x8xbf16>, tensor<4x8xbf16>) -> tensor<3x4xf32>
  %1 = llm.linear %x, %b : (tensor<3x8xbf16>, tensor<4x8xbf16>) -> tensor<3x4xbf16>
  %2 = llm.linear %x, %c bias %bias : (tensor<3x8xbf16>, tensor<4x8xbf16>, tensor<4xbf16>) -> tensor<3x4xf32>
  %3 = llm.linear %y, %d : (tensor<3x8xbf16>, tensor<4x8xbf16>) -> tensor<3x4xf32>
  %4 = llm.linear %x, %e : (tensor<3x8xbf16>, tensor<4x8xbf16>) -> tensor<3x4xf32>
  %5 = llm.linear %x, %f residual %0 : (tensor<3x8xbf16>, tensor<4x8xbf16>, tensor<3x4xf32>) -> tensor<3x4xf32>
  return %0, %1, %2, %3, %4, %5 : tensor<3x4xf32>, tensor<3x4xbf16>, tensor<3x4xf32>, tensor<3x4xf32>, tensor<3x4xf32>, tensor<3x4xf32>
}

// -----

// A weight that has another use would be stored twice; one that is no parameter
// cannot be laid anywhere; nor can one that a call from elsewhere may pass in.
// CHECK-LABEL: func @not_ours
// CHECK-COUNT-4: llm.linear
// CHECK-NOT: tensor.extract_slice
func.func @not_ours(%x: tensor<3x8xf32>, %v: tensor<8x8xf32>, %w: tensor<8x8xf32>) -> (tensor<3x8xf32>, tensor<3x8xf32>, tensor<3x8xf32>, tensor<3x8xf32>, tensor<8x8xf32>) {
  %a = llm.parameter "model"::"a" : tensor<8x8xf32>
  %b = llm.parameter "model"::"b" : tensor<8x8xf32>
  %0 = llm.linear %x, %a : (tensor<3x8xf32>, tensor<8x8xf32>) -> tensor<3x8xf32>
  %1 = llm.linear %x, %b : (tensor<3x8xf32>, tensor<8x8xf32>) -> tensor<3x8xf32>
  %2 = llm.linear %x, %v : (tensor<3x8xf32>, tensor<8x8xf32>) -> tensor<3x8xf32>
  %3 = llm.linear %x, %w : (tensor<3x8xf32>, tensor<8x8xf32>) -> tensor<3x8xf32>
  return %0, %1, %2, %3, %a : tensor<3x8xf32>, tensor<3x8xf32>, tensor<3x8xf32>, tensor<3x8xf32>, tensor<8x8xf32>
}
