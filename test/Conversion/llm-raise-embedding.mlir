// RUN: llmir-opt %s -llm-raise-embedding -canonicalize -cse -split-input-file | FileCheck %s

// Ids of a batch are flattened; what the generic asserts of them goes.
#ids = affine_map<(d0, d1, d2) -> (d0, d1)>
#map = affine_map<(d0, d1, d2) -> (d0, d1, d2)>
// CHECK-LABEL: func @tokens
// CHECK-SAME: (%[[I:.*]]: tensor<?x?xi64>)
// CHECK: %[[P:.*]] = llm.parameter "model"::"e"
// CHECK: %[[C:.*]] = linalg.generic {{.*}} ins(%[[I]] : tensor<?x?xi64>)
// CHECK: arith.trunci
// CHECK: %[[F:.*]] = tensor.collapse_shape %[[C]] {{\[}}[0, 1]]
// CHECK: %[[E:.*]] = llm.embedding %[[F]], %[[P]] : (tensor<?xi32>, tensor<97x8xf32>) -> tensor<?x8xf32>
// CHECK: tensor.reshape %[[E]]
// CHECK-NOT: cf.assert
func.func @tokens(%ids: tensor<?x?xi64>) -> tensor<?x?x8xf32> {
  %p = llm.parameter "model"::"e" : tensor<97x8xf32>
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c97 = arith.constant 97 : index
  %b = tensor.dim %ids, %c0 : tensor<?x?xi64>
  %t = tensor.dim %ids, %c1 : tensor<?x?xi64>
  %e = tensor.empty(%b, %t) : tensor<?x?x8xf32>
  %y = linalg.generic {indexing_maps = [#ids, #map], iterator_types = ["parallel", "parallel", "parallel"]} ins(%ids : tensor<?x?xi64>) outs(%e : tensor<?x?x8xf32>) {
  ^bb0(%in: i64, %out: f32):
    %row = arith.index_cast %in : i64 to index
    %column = linalg.index 2 : index
    %known = arith.cmpi slt, %row, %c97 : index
    cf.assert %known, "index must be smaller than dim size"
    %0 = tensor.extract %p[%row, %column] : tensor<97x8xf32>
    linalg.yield %0 : f32
  } -> tensor<?x?x8xf32>
  return %y : tensor<?x?x8xf32>
}

// -----

// Rows may be computed, those of positions.
#positions = affine_map<(d0, d1) -> (d0)>
#map = affine_map<(d0, d1) -> (d0, d1)>
#line = affine_map<(d0) -> (d0)>
// CHECK-LABEL: func @positions
// CHECK: linalg.index 0
// CHECK: llm.embedding %{{.*}}, %{{.*}} : (tensor<?xi32>, tensor<97x8xf32>) -> tensor<?x8xf32>
func.func @positions(%t: index) -> tensor<?x8xf32> {
  %p = llm.parameter "model"::"e" : tensor<97x8xf32>
  %e0 = tensor.empty(%t) : tensor<?xi64>
  %positions = linalg.generic {indexing_maps = [#line], iterator_types = ["parallel"]} outs(%e0 : tensor<?xi64>) {
  ^bb0(%out: i64):
    %i = linalg.index 0 : index
    %0 = arith.index_cast %i : index to i64
    linalg.yield %0 : i64
  } -> tensor<?xi64>
  %e = tensor.empty(%t) : tensor<?x8xf32>
  %y = linalg.generic {indexing_maps = [#positions, #map], iterator_types = ["parallel", "parallel"]} ins(%positions : tensor<?xi64>) outs(%e : tensor<?x8xf32>) {
  ^bb0(%in: i64, %out: f32):
    %row = arith.index_cast %in : i64 to index
    %column = linalg.index 1 : index
    %0 = tensor.extract %p[%row, %column] : tensor<97x8xf32>
    linalg.yield %0 : f32
  } -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

// The first index is the column's loop: that is a transpose.
#ids = affine_map<(d0, d1) -> (d0)>
#map = affine_map<(d0, d1) -> (d0, d1)>
// CHECK-LABEL: func @columns
// CHECK-NOT: llm.embedding
func.func @columns(%ids: tensor<5xi64>) -> tensor<5x97xf32> {
  %p = llm.parameter "model"::"e" : tensor<97x8xf32>
  %e = tensor.empty() : tensor<5x97xf32>
  %y = linalg.generic {indexing_maps = [#ids, #map], iterator_types = ["parallel", "parallel"]} ins(%ids : tensor<5xi64>) outs(%e : tensor<5x97xf32>) {
  ^bb0(%in: i64, %out: f32):
    %column = arith.index_cast %in : i64 to index
    %row = linalg.index 1 : index
    %0 = tensor.extract %p[%row, %column] : tensor<97x8xf32>
    linalg.yield %0 : f32
  } -> tensor<5x97xf32>
  return %y : tensor<5x97xf32>
}
