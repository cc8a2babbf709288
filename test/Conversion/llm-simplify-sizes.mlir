// RUN: llmir-opt %s -llm-simplify-sizes -split-input-file | FileCheck %s
// RUN: llmir-opt %s -llm-simplify-sizes -split-input-file > %t.once
// RUN: llmir-opt %t.once -llm-simplify-sizes -split-input-file | diff %t.once -

// A size is not negative, so what stands for one that would be is not needed.
// CHECK-LABEL: func @negative
// CHECK-NEXT: return %{{.*}} : tensor<?x?xf32>
func.func @negative(%x: tensor<?x?xf32>) -> tensor<?x?xf32> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c0_i64 = arith.constant 0 : i64
  %b = tensor.dim %x, %c0 : tensor<?x?xf32>
  %t = tensor.dim %x, %c1 : tensor<?x?xf32>
  %i = arith.index_cast %t : index to i64
  %below = arith.minsi %i, %c0_i64 : i64
  %start = arith.index_cast %below : i64 to index
  %no_less = arith.cmpi sge, %i, %c0_i64 : i64
  cf.assert %no_less, "unimplemented: dynamic negative broadcast sizes"
  %negative = arith.cmpi slt, %i, %c0_i64 : i64
  %size = arith.select %negative, %c0_i64, %i : i64
  %last = arith.index_cast %size : i64 to index
  %count = arith.subi %last, %start : index
  %flat = tensor.collapse_shape %x [[0, 1]] : tensor<?x?xf32> into tensor<?xf32>
  %shape = tensor.from_elements %b, %count : tensor<2xindex>
  %y = tensor.reshape %flat(%shape) : (tensor<?xf32>, tensor<2xindex>) -> tensor<?x?xf32>
  return %y : tensor<?x?xf32>
}

// -----

// An inferred size is a quotient of products.
// CHECK-LABEL: func @inferred
// CHECK-SAME: (%[[X:.*]]: tensor<?x?x64xf32>)
// CHECK-NEXT: %[[Y:.*]] = tensor.expand_shape %[[X]] {{\[}}[0], [1], [2, 3]] : tensor<?x?x64xf32> into tensor<?x?x4x16xf32>
// CHECK-NEXT: return %[[Y]]
func.func @inferred(%x: tensor<?x?x64xf32>) -> tensor<?x?x4x16xf32> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c16 = arith.constant 16 : index
  %c64 = arith.constant 64 : index
  %b = tensor.dim %x, %c0 : tensor<?x?x64xf32>
  %t = tensor.dim %x, %c1 : tensor<?x?x64xf32>
  %rows = arith.muli %b, %t : index
  %all = arith.muli %rows, %c64 : index
  %known = arith.muli %c16, %rows : index
  %heads = arith.divsi %all, %known : index
  %shape = tensor.from_elements %b, %t, %heads, %c16 : tensor<4xindex>
  %y = tensor.reshape %x(%shape) : (tensor<?x?x64xf32>, tensor<4xindex>) -> tensor<?x?x4x16xf32>
  return %y : tensor<?x?x4x16xf32>
}

// -----

// An index along a size that may be 1 is 0 there anyway.
// CHECK-LABEL: func @broadcast
// CHECK: %[[I:.*]] = linalg.index 0
// CHECK-NEXT: tensor.extract %{{.*}}[%[[I]]]
func.func @broadcast(%x: tensor<?xf32>) -> tensor<?xf32> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %t = tensor.dim %x, %c0 : tensor<?xf32>
  %empty = tensor.empty(%t) : tensor<?xf32>
  %y = linalg.generic {indexing_maps = [affine_map<(d0) -> (d0)>], iterator_types = ["parallel"]} outs(%empty : tensor<?xf32>) {
  ^bb0(%out: f32):
    %i = linalg.index 0 : index
    %one = arith.cmpi eq, %t, %c1 : index
    %j = arith.select %one, %c0, %i : index
    %e = tensor.extract %x[%j] : tensor<?xf32>
    linalg.yield %e : f32
  } -> tensor<?xf32>
  return %y : tensor<?xf32>
}

// -----

// Another tensor's size may be 1 where the loop's is not.
// CHECK-LABEL: func @broadcast_other
// CHECK: %[[J:.*]] = arith.select
// CHECK-NEXT: tensor.extract %{{.*}}[%[[J]]]
func.func @broadcast_other(%x: tensor<?xf32>, %n: index) -> tensor<?xf32> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %t = tensor.dim %x, %c0 : tensor<?xf32>
  %empty = tensor.empty(%n) : tensor<?xf32>
  %y = linalg.generic {indexing_maps = [affine_map<(d0) -> (d0)>], iterator_types = ["parallel"]} outs(%empty : tensor<?xf32>) {
  ^bb0(%out: f32):
    %i = linalg.index 0 : index
    %one = arith.cmpi eq, %t, %c1 : index
    %j = arith.select %one, %c0, %i : index
    %e = tensor.extract %x[%j] : tensor<?xf32>
    linalg.yield %e : f32
  } -> tensor<?xf32>
  return %y : tensor<?xf32>
}

// -----

// What an assertion compares is equal, and is still asserted.
// CHECK-LABEL: func @asserted
// CHECK-SAME: (%[[X:.*]]: tensor<?xf32>, %[[Y:.*]]: tensor<?xf32>)
// CHECK-DAG: %[[A:.*]] = tensor.dim %[[X]]
// CHECK-DAG: %[[B:.*]] = tensor.dim %[[Y]]
// CHECK: %[[E:.*]] = arith.cmpi eq, %[[A]], %[[B]]
// CHECK: cf.assert %[[E]]
// CHECK: return %[[A]] : index
func.func @asserted(%x: tensor<?xf32>, %y: tensor<?xf32>) -> index {
  %c0 = arith.constant 0 : index
  %a = tensor.dim %x, %c0 : tensor<?xf32>
  %b = tensor.dim %y, %c0 : tensor<?xf32>
  %equal = arith.cmpi eq, %a, %b : index
  cf.assert %equal, "mismatched size for broadcast"
  return %b : index
}

// -----

// Sizes of different arguments may differ.
// CHECK-LABEL: func @unknown
// CHECK: cf.assert
// CHECK: tensor.reshape
func.func @unknown(%x: tensor<?xf32>, %y: tensor<?x?xf32>) -> tensor<?x?xf32> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %n = tensor.dim %x, %c0 : tensor<?xf32>
  %a = tensor.dim %y, %c0 : tensor<?x?xf32>
  %b = tensor.dim %y, %c1 : tensor<?x?xf32>
  %m = arith.muli %a, %b : index
  %equal = arith.cmpi eq, %n, %m : index
  cf.assert %equal, "sizes"
  %shape = tensor.from_elements %a, %b : tensor<2xindex>
  %z = tensor.reshape %x(%shape) : (tensor<?xf32>, tensor<2xindex>) -> tensor<?x?xf32>
  return %z : tensor<?x?xf32>
}
