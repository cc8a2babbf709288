// RUN: llmir-opt %s -llm-outline-layers -split-input-file | FileCheck %s
// RUN: llmir-opt %s -llm-outline-layers -split-input-file > %t.once
// RUN: llmir-opt %t.once -llm-outline-layers -split-input-file | diff %t.once -

// What all layers read is passed on, sizes are made in the function, and what
// prepares a weight is part of its layer.
#line = affine_map<(d0) -> (d0)>
// CHECK-LABEL: func.func private @layer(
// CHECK-SAME: %[[H:[^ ]*]]: tensor<?x8xf32>
// CHECK: linalg.generic
// CHECK: llm.rms_norm
// CHECK: llm.linear
// CHECK: arith.mulf
// CHECK: llm.linear
// CHECK-NEXT: return
// CHECK-LABEL: func.func @main
// CHECK: llm.embedding
// CHECK: %[[A:.*]] = call @layer(
// CHECK-NEXT: %[[B:.*]] = call @layer(%[[A]],
// CHECK-NEXT: %[[C:.*]] = call @layer(%[[B]],
// CHECK: llm.rms_norm %[[C]]
func.func @main(%ids: tensor<?xi32>, %s: tensor<?x4xf32>) -> tensor<?x8xf32> {
  %one = arith.constant 1.0 : f32
  %table = llm.parameter "model"::"e" : tensor<97x8xf32>
  %n0 = llm.parameter "model"::"0.n" : tensor<8xf32>
  %a0 = llm.parameter "model"::"0.a" : tensor<4x8xf32>
  %b0 = llm.parameter "model"::"0.b" : tensor<8x4xf32>
  %n1 = llm.parameter "model"::"1.n" : tensor<8xf32>
  %a1 = llm.parameter "model"::"1.a" : tensor<4x8xf32>
  %b1 = llm.parameter "model"::"1.b" : tensor<8x4xf32>
  %n2 = llm.parameter "model"::"2.n" : tensor<8xf32>
  %a2 = llm.parameter "model"::"2.a" : tensor<4x8xf32>
  %b2 = llm.parameter "model"::"2.b" : tensor<8x4xf32>
  %n3 = llm.parameter "model"::"n" : tensor<8xf32>
  %h0 = llm.embedding %ids, %table : (tensor<?xi32>, tensor<97x8xf32>) -> tensor<?x8xf32>
  %e = tensor.empty() : tensor<8xf32>
  %w0 = linalg.generic {indexing_maps = [#line, #line], iterator_types = ["parallel"]} ins(%n0 : tensor<8xf32>) outs(%e : tensor<8xf32>) {
  ^bb0(%in: f32, %out: f32):
    %0 = arith.addf %in, %one : f32
    linalg.yield %0 : f32
  } -> tensor<8xf32>
  %x0 = llm.rms_norm %h0, %w0 {epsilon = 1.0e-06 : f32} : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %y0 = llm.linear %x0, %a0 : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
  %z0 = arith.mulf %y0, %s : tensor<?x4xf32>
  %h1 = llm.linear %z0, %b0 residual %h0 : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %w1 = linalg.generic {indexing_maps = [#line, #line], iterator_types = ["parallel"]} ins(%n1 : tensor<8xf32>) outs(%e : tensor<8xf32>) {
  ^bb0(%in: f32, %out: f32):
    %0 = arith.addf %in, %one : f32
    linalg.yield %0 : f32
  } -> tensor<8xf32>
  %x1 = llm.rms_norm %h1, %w1 {epsilon = 1.0e-06 : f32} : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %y1 = llm.linear %x1, %a1 : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
  %z1 = arith.mulf %y1, %s : tensor<?x4xf32>
  %h2 = llm.linear %z1, %b1 residual %h1 : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %w2 = linalg.generic {indexing_maps = [#line, #line], iterator_types = ["parallel"]} ins(%n2 : tensor<8xf32>) outs(%e : tensor<8xf32>) {
  ^bb0(%in: f32, %out: f32):
    %0 = arith.addf %in, %one : f32
    linalg.yield %0 : f32
  } -> tensor<8xf32>
  %x2 = llm.rms_norm %h2, %w2 {epsilon = 1.0e-06 : f32} : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %y2 = llm.linear %x2, %a2 : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
  %z2 = arith.mulf %y2, %s : tensor<?x4xf32>
  %h3 = llm.linear %z2, %b2 residual %h2 : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %r = llm.rms_norm %h3, %n3 {epsilon = 1.0e-06 : f32} : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  return %r : tensor<?x8xf32>
}

// -----

// Two kinds of layers by turns are two functions.
// CHECK: func.func private @[[FIRST:[a-z0-9_]+]](
// CHECK: func.func private @[[SECOND:[a-z0-9_]+]](
// CHECK-LABEL: func.func @main
// CHECK: call @[[A:[a-z0-9_]+]](
// CHECK: call @[[B:[a-z0-9_]+]](
// CHECK: call @[[A]](
// CHECK: call @[[B]](
func.func @main(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %a0 = llm.parameter "model"::"0.a" : tensor<4x8xf32>
  %b0 = llm.parameter "model"::"0.b" : tensor<8x4xf32>
  %a1 = llm.parameter "model"::"1.a" : tensor<4x8xf32>
  %b1 = llm.parameter "model"::"1.b" : tensor<8x4xf32>
  %a2 = llm.parameter "model"::"2.a" : tensor<4x8xf32>
  %b2 = llm.parameter "model"::"2.b" : tensor<8x4xf32>
  %a3 = llm.parameter "model"::"3.a" : tensor<4x8xf32>
  %b3 = llm.parameter "model"::"3.b" : tensor<8x4xf32>
  %0 = llm.linear %x, %a0 : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
  %1 = llm.activation silu %0 : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %2 = llm.linear %1, %b0 : (tensor<?x4xf32>, tensor<8x4xf32>) -> tensor<?x8xf32>
  %3 = llm.linear %2, %a1 : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
  %4 = llm.activation gelu %3 : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %5 = llm.linear %4, %b1 : (tensor<?x4xf32>, tensor<8x4xf32>) -> tensor<?x8xf32>
  %6 = llm.linear %5, %a2 : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
  %7 = llm.activation silu %6 : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %8 = llm.linear %7, %b2 : (tensor<?x4xf32>, tensor<8x4xf32>) -> tensor<?x8xf32>
  %9 = llm.linear %8, %a3 : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
  %10 = llm.activation gelu %9 : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %11 = llm.linear %10, %b3 : (tensor<?x4xf32>, tensor<8x4xf32>) -> tensor<?x8xf32>
  return %11 : tensor<?x8xf32>
}

// -----

// One layer, and layers that are all different, stay.
// CHECK-LABEL: func.func @main
// CHECK-NOT: call
func.func @main(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %a0 = llm.parameter "model"::"0.a" : tensor<4x8xf32>
  %b0 = llm.parameter "model"::"0.b" : tensor<8x4xf32>
  %a1 = llm.parameter "model"::"1.a" : tensor<4x8xf32>
  %b1 = llm.parameter "model"::"1.b" : tensor<8x4xf32>
  %0 = llm.linear %x, %a0 : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
  %1 = llm.activation silu %0 : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %2 = llm.linear %1, %b0 : (tensor<?x4xf32>, tensor<8x4xf32>) -> tensor<?x8xf32>
  %3 = llm.linear %2, %a1 : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
  %4 = llm.activation gelu %3 : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %5 = llm.linear %4, %b1 : (tensor<?x4xf32>, tensor<8x4xf32>) -> tensor<?x8xf32>
  return %5 : tensor<?x8xf32>
}
