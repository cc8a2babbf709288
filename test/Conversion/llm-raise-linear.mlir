// RUN: llmir-opt %s -llm-raise-linear -canonicalize -cse -split-input-file | FileCheck %s

// A batch is flattened for the product, and its weight, which is transposed and
// broadcast, is taken as it is.
#w = affine_map<(d0, d1, d2) -> (d1, d2)>
#map = affine_map<(d0, d1, d2) -> (d0, d1, d2)>
// CHECK-LABEL: func @batch
// CHECK-SAME: (%[[X:.*]]: tensor<?x?x8xf32>)
// CHECK-DAG: %[[W:.*]] = llm.parameter "model"::"w" : tensor<4x8xf32>
// CHECK-DAG: %[[F:.*]] = tensor.collapse_shape %[[X]] {{\[}}[0, 1], [2]]
// CHECK: %[[Y:.*]] = llm.linear %[[F]], %[[W]] : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
// CHECK: %[[R:.*]] = tensor.reshape %[[Y]]
// CHECK: return %[[R]]
func.func @batch(%x: tensor<?x?x8xf32>) -> tensor<?x?x4xf32> {
  %w = llm.parameter "model"::"w" : tensor<4x8xf32>
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %zero = arith.constant 0.0 : f32
  %b = tensor.dim %x, %c0 : tensor<?x?x8xf32>
  %t = tensor.dim %x, %c1 : tensor<?x?x8xf32>
  %e0 = tensor.empty() : tensor<8x4xf32>
  %wt = linalg.transpose ins(%w : tensor<4x8xf32>) outs(%e0 : tensor<8x4xf32>) permutation = [1, 0]
  %e1 = tensor.empty(%b) : tensor<?x8x4xf32>
  %wb = linalg.generic {indexing_maps = [#w, #map], iterator_types = ["parallel", "parallel", "parallel"]} ins(%wt : tensor<8x4xf32>) outs(%e1 : tensor<?x8x4xf32>) {
  ^bb0(%in: f32, %out: f32):
    linalg.yield %in : f32
  } -> tensor<?x8x4xf32>
  %e2 = tensor.empty(%b, %t) : tensor<?x?x4xf32>
  %init = linalg.fill ins(%zero : f32) outs(%e2 : tensor<?x?x4xf32>) -> tensor<?x?x4xf32>
  %y = linalg.batch_matmul ins(%x, %wb : tensor<?x?x8xf32>, tensor<?x8x4xf32>) outs(%init : tensor<?x?x4xf32>) -> tensor<?x?x4xf32>
  return %y : tensor<?x?x4xf32>
}

// -----

// A bias that the sum starts from; a weight [K, N].
#vector = affine_map<(d0, d1) -> (d1)>
#map = affine_map<(d0, d1) -> (d0, d1)>
// CHECK-LABEL: func @bias_before
// CHECK-SAME: (%[[X:.*]]: tensor<5x8xf32>)
// CHECK-DAG: %[[W:.*]] = llm.parameter "model"::"w" transposed : tensor<4x8xf32>
// CHECK-DAG: %[[B:.*]] = llm.parameter "model"::"b" : tensor<4xf32>
// CHECK: %[[Y:.*]] = llm.linear %[[X]], %[[W]] bias %[[B]]
// CHECK-NEXT: return %[[Y]]
func.func @bias_before(%x: tensor<5x8xf32>) -> tensor<5x4xf32> {
  %w = llm.parameter "model"::"w" : tensor<8x4xf32>
  %b = llm.parameter "model"::"b" : tensor<4xf32>
  %e = tensor.empty() : tensor<5x4xf32>
  %init = linalg.generic {indexing_maps = [#vector, #map], iterator_types = ["parallel", "parallel"]} ins(%b : tensor<4xf32>) outs(%e : tensor<5x4xf32>) {
  ^bb0(%in: f32, %out: f32):
    linalg.yield %in : f32
  } -> tensor<5x4xf32>
  %y = linalg.matmul ins(%x, %w : tensor<5x8xf32>, tensor<8x4xf32>) outs(%init : tensor<5x4xf32>) -> tensor<5x4xf32>
  return %y : tensor<5x4xf32>
}

// -----

// A bias added after, on the other side; a contraction that is a generic, with its
// factors exchanged; and a weight that is widened.
#x = affine_map<(d0, d1, d2) -> (d0, d2)>
#w = affine_map<(d0, d1, d2) -> (d1, d2)>
#out = affine_map<(d0, d1, d2) -> (d0, d1)>
#vector = affine_map<(d0, d1) -> (d1)>
#map = affine_map<(d0, d1) -> (d0, d1)>
// CHECK-LABEL: func @bias_after
// CHECK-SAME: (%[[X:.*]]: tensor<5x8xf32>)
// CHECK-DAG: %[[W:.*]] = llm.parameter "model"::"w" : tensor<4x8xbf16>
// CHECK-DAG: %[[B:.*]] = llm.parameter "model"::"b" : tensor<4xf32>
// CHECK: %[[Y:.*]] = llm.linear %[[X]], %[[W]] bias %[[B]]
// CHECK-NEXT: return %[[Y]]
func.func @bias_after(%x: tensor<5x8xf32>) -> tensor<5x4xf32> {
  %w = llm.parameter "model"::"w" : tensor<4x8xbf16>
  %b = llm.parameter "model"::"b" : tensor<4xf32>
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<5x4xf32>
  %init = linalg.fill ins(%zero : f32) outs(%e : tensor<5x4xf32>) -> tensor<5x4xf32>
  %y = linalg.generic {indexing_maps = [#w, #x, #out], iterator_types = ["parallel", "parallel", "reduction"]} ins(%w, %x : tensor<4x8xbf16>, tensor<5x8xf32>) outs(%init : tensor<5x4xf32>) {
  ^bb0(%in: bf16, %in_0: f32, %out: f32):
    %0 = arith.extf %in : bf16 to f32
    %1 = arith.mulf %0, %in_0 : f32
    %2 = arith.addf %1, %out : f32
    linalg.yield %2 : f32
  } -> tensor<5x4xf32>
  %z = linalg.generic {indexing_maps = [#vector, #map, #map], iterator_types = ["parallel", "parallel"]} ins(%b, %y : tensor<4xf32>, tensor<5x4xf32>) outs(%e : tensor<5x4xf32>) {
  ^bb0(%in: f32, %in_0: f32, %out: f32):
    %0 = arith.addf %in, %in_0 : f32
    linalg.yield %0 : f32
  } -> tensor<5x4xf32>
  return %z : tensor<5x4xf32>
}

// -----

// Neither side is a parameter.
// CHECK-LABEL: func @no_parameter
// CHECK-NOT: llm.linear
func.func @no_parameter(%x: tensor<5x8xf32>, %w: tensor<8x4xf32>, %init: tensor<5x4xf32>) -> tensor<5x4xf32> {
  %y = linalg.matmul ins(%x, %w : tensor<5x8xf32>, tensor<8x4xf32>) outs(%init : tensor<5x4xf32>) -> tensor<5x4xf32>
  return %y : tensor<5x4xf32>
}

// -----

// A part of a parameter is none.
// CHECK-LABEL: func @part
// CHECK-NOT: llm.linear
func.func @part(%x: tensor<5x8xf32>) -> tensor<5x4xf32> {
  %w = llm.parameter "model"::"w" : tensor<8x9xf32>
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<5x4xf32>
  %init = linalg.fill ins(%zero : f32) outs(%e : tensor<5x4xf32>) -> tensor<5x4xf32>
  %part = tensor.extract_slice %w[0, 0] [8, 4] [1, 1] : tensor<8x9xf32> to tensor<8x4xf32>
  %y = linalg.matmul ins(%x, %part : tensor<5x8xf32>, tensor<8x4xf32>) outs(%init : tensor<5x4xf32>) -> tensor<5x4xf32>
  return %y : tensor<5x4xf32>
}

// -----

// What the sum starts from is no vector of outputs.
// CHECK-LABEL: func @matrix_added
// CHECK-NOT: llm.linear
func.func @matrix_added(%x: tensor<5x8xf32>, %init: tensor<5x4xf32>) -> tensor<5x4xf32> {
  %w = llm.parameter "model"::"w" : tensor<8x4xf32>
  %y = linalg.matmul ins(%x, %w : tensor<5x8xf32>, tensor<8x4xf32>) outs(%init : tensor<5x4xf32>) -> tensor<5x4xf32>
  return %y : tensor<5x4xf32>
}

// -----

// Each output has an input of its own.
// CHECK-LABEL: func @input_of_each_output
// CHECK-NOT: llm.linear
func.func @input_of_each_output(%x: tensor<5x8x16xf32>) -> tensor<5x8xf32> {
  %w = llm.parameter "model"::"w" : tensor<8x16xf32>
  %c = arith.constant dense<0.0> : tensor<5x8xf32>
  %y = linalg.generic {indexing_maps = [affine_map<(m,n,k)->(m,n,k)>, affine_map<(m,n,k)->(n,k)>, affine_map<(m,n,k)->(m,n)>], iterator_types = ["parallel","parallel","reduction"]} ins(%x, %w : tensor<5x8x16xf32>, tensor<8x16xf32>) outs(%c : tensor<5x8xf32>) {
  ^bb0(%a: f32, %b: f32, %o: f32):
    %p = arith.mulf %a, %b : f32
    %s = arith.addf %o, %p : f32
    linalg.yield %s : f32
  } -> tensor<5x8xf32>
  return %y : tensor<5x8xf32>
}
