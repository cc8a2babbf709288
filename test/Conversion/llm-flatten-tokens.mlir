// RUN: llmir-opt %s -llm-flatten-tokens -canonicalize -cse -split-input-file | FileCheck %s

// An addition of two products' results is one of rows, and a vector stays one.
#map = affine_map<(d0, d1, d2) -> (d0, d1, d2)>
#vector = affine_map<(d0, d1, d2) -> (d2)>
// CHECK-LABEL: func @add
// CHECK-SAME: (%[[X:.*]]: tensor<?x8xf32>, %[[Y:.*]]: tensor<?x?x8xf32>, %[[V:.*]]: tensor<8xf32>,
// CHECK: %[[F:.*]] = tensor.collapse_shape %[[Y]] {{\[}}[0, 1], [2]]
// CHECK: %[[S:.*]] = linalg.generic {{.*}}iterator_types = ["parallel", "parallel"]} ins(%[[X]], %[[F]], %[[V]] : tensor<?x8xf32>, tensor<?x8xf32>, tensor<8xf32>)
// CHECK: tensor.reshape %[[S]]
func.func @add(%x: tensor<?x8xf32>, %y: tensor<?x?x8xf32>, %v: tensor<8xf32>, %b: index, %t: index) -> tensor<?x?x8xf32> {
  %c8 = arith.constant 8 : index
  %shape = tensor.from_elements %b, %t, %c8 : tensor<3xindex>
  %z = tensor.reshape %x(%shape) : (tensor<?x8xf32>, tensor<3xindex>) -> tensor<?x?x8xf32>
  %e = tensor.empty(%b, %t) : tensor<?x?x8xf32>
  %s = linalg.generic {indexing_maps = [#map, #map, #vector, #map], iterator_types = ["parallel", "parallel", "parallel"]} ins(%z, %y, %v : tensor<?x?x8xf32>, tensor<?x?x8xf32>, tensor<8xf32>) outs(%e : tensor<?x?x8xf32>) {
  ^bb0(%in: f32, %in_0: f32, %in_1: f32, %out: f32):
    %0 = arith.addf %in, %in_0 : f32
    %1 = arith.mulf %0, %in_1 : f32
    linalg.yield %1 : f32
  } -> tensor<?x?x8xf32>
  return %s : tensor<?x?x8xf32>
}

// -----

// Positions, which all sequences have in common, are looked up for each token.
#map = affine_map<(d0, d1, d2) -> (d0, d1, d2)>
#position = affine_map<(d0, d1, d2) -> (0, d1, d2)>
// CHECK-LABEL: func @positions
// CHECK-SAME: (%[[X:.*]]: tensor<?x8xf32>, %[[P:.*]]: tensor<?xi32>,
// CHECK: %[[I:.*]] = linalg.generic {{.*}} ins(%[[P]] : tensor<?xi32>)
// CHECK: %[[F:.*]] = tensor.collapse_shape %[[I]] {{\[}}[0, 1]]
// CHECK: %[[E:.*]] = llm.embedding %[[F]]
// CHECK: linalg.generic {{.*}} ins(%[[X]], %[[E]] : tensor<?x8xf32>, tensor<?x8xf32>)
func.func @positions(%x: tensor<?x8xf32>, %p: tensor<?xi32>, %table: tensor<97x8xf32>, %b: index, %t: index) -> tensor<?x?x8xf32> {
  %c8 = arith.constant 8 : index
  %shape = tensor.from_elements %b, %t, %c8 : tensor<3xindex>
  %z = tensor.reshape %x(%shape) : (tensor<?x8xf32>, tensor<3xindex>) -> tensor<?x?x8xf32>
  %rows = llm.embedding %p, %table : (tensor<?xi32>, tensor<97x8xf32>) -> tensor<?x8xf32>
  %one = tensor.expand_shape %rows [[0, 1], [2]] : tensor<?x8xf32> into tensor<1x?x8xf32>
  %e = tensor.empty(%b, %t) : tensor<?x?x8xf32>
  %s = linalg.generic {indexing_maps = [#map, #position, #map], iterator_types = ["parallel", "parallel", "parallel"]} ins(%z, %one : tensor<?x?x8xf32>, tensor<1x?x8xf32>) outs(%e : tensor<?x?x8xf32>) {
  ^bb0(%in: f32, %in_0: f32, %out: f32):
    %0 = arith.addf %in, %in_0 : f32
    linalg.yield %0 : f32
  } -> tensor<?x?x8xf32>
  return %s : tensor<?x?x8xf32>
}

// -----

// Rows that are split into heads are still rows.
// CHECK-LABEL: func @heads
// CHECK-SAME: (%[[X:.*]]: tensor<?x8xf32>
// CHECK: %[[H:.*]] = tensor.expand_shape %[[X]] {{\[}}[0], [1, 2]] : tensor<?x8xf32> into tensor<?x2x4xf32>
// CHECK: llm.rms_norm %[[H]]
func.func @heads(%x: tensor<?x8xf32>, %w: tensor<4xf32>, %b: index, %t: index) -> tensor<?x?x2x4xf32> {
  %c2 = arith.constant 2 : index
  %c4 = arith.constant 4 : index
  %shape = tensor.from_elements %b, %t, %c2, %c4 : tensor<4xindex>
  %z = tensor.reshape %x(%shape) : (tensor<?x8xf32>, tensor<4xindex>) -> tensor<?x?x2x4xf32>
  %y = llm.rms_norm %z, %w {epsilon = 1.0e-06 : f32} : (tensor<?x?x2x4xf32>, tensor<4xf32>) -> tensor<?x?x2x4xf32>
  return %y : tensor<?x?x2x4xf32>
}

// -----

// What depends on the place in a sequence stays, and so does what is no row.
#map = affine_map<(d0, d1, d2) -> (d0, d1, d2)>
#swapped = affine_map<(d0, d1, d2) -> (d1, d0, d2)>
// CHECK-LABEL: func @stays
// CHECK: tensor.reshape
// CHECK: linalg.generic {{.*}}iterator_types = ["parallel", "parallel", "parallel"]
// CHECK: linalg.generic {{.*}}iterator_types = ["parallel", "parallel", "parallel"]
func.func @stays(%x: tensor<?x8xf32>, %b: index, %t: index) -> (tensor<?x?x8xf32>, tensor<?x?x8xf32>) {
  %c8 = arith.constant 8 : index
  %shape = tensor.from_elements %b, %t, %c8 : tensor<3xindex>
  %z = tensor.reshape %x(%shape) : (tensor<?x8xf32>, tensor<3xindex>) -> tensor<?x?x8xf32>
  %e = tensor.empty(%b, %t) : tensor<?x?x8xf32>
  %s = linalg.generic {indexing_maps = [#map, #map], iterator_types = ["parallel", "parallel", "parallel"]} ins(%z : tensor<?x?x8xf32>) outs(%e : tensor<?x?x8xf32>) {
  ^bb0(%in: f32, %out: f32):
    %i = linalg.index 1 : index
    %0 = arith.index_cast %i : index to i64
    %1 = arith.sitofp %0 : i64 to f32
    %2 = arith.addf %in, %1 : f32
    linalg.yield %2 : f32
  } -> tensor<?x?x8xf32>
  %f = tensor.empty(%t, %b) : tensor<?x?x8xf32>
  %u = linalg.generic {indexing_maps = [#swapped, #map], iterator_types = ["parallel", "parallel", "parallel"]} ins(%z : tensor<?x?x8xf32>) outs(%f : tensor<?x?x8xf32>) {
  ^bb0(%in: f32, %out: f32):
    %0 = arith.negf %in : f32
    linalg.yield %0 : f32
  } -> tensor<?x?x8xf32>
  return %s, %u : tensor<?x?x8xf32>, tensor<?x?x8xf32>
}

// -----

// An input that has other loops than rows do.
// CHECK-LABEL: func @part_of_the_loops
// CHECK: linalg.generic
func.func @part_of_the_loops(%x: tensor<6x8xf32>, %p: tensor<3x2xf32>) -> tensor<2x3x2x8xf32> {
  %h = tensor.expand_shape %x [[0, 1], [2]] : tensor<6x8xf32> into tensor<2x3x8xf32>
  %e = tensor.empty() : tensor<2x3x2x8xf32>
  %y = linalg.generic {indexing_maps = [affine_map<(a,b,c,d)->(a,b,d)>, affine_map<(a,b,c,d)->(b,c)>, affine_map<(a,b,c,d)->(a,b,c,d)>], iterator_types = ["parallel","parallel","parallel","parallel"]} ins(%h, %p : tensor<2x3x8xf32>, tensor<3x2xf32>) outs(%e : tensor<2x3x2x8xf32>) {
  ^bb0(%i: f32, %j: f32, %o: f32):
    %s = arith.mulf %i, %j : f32
    linalg.yield %s : f32
  } -> tensor<2x3x2x8xf32>
  return %y : tensor<2x3x2x8xf32>
}
