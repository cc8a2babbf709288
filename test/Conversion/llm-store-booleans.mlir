// RUN: llmir-opt %s -llm-store-booleans -split-input-file | FileCheck %s

#all = affine_map<(d0) -> (d0)>

// Elements are narrowed where they are read and widened where they are written.
// CHECK-LABEL: func @elements
// CHECK-SAME: (%[[X:.*]]: tensor<?xi8>, %[[Y:.*]]: tensor<?xi8>) -> tensor<?xi8>
// CHECK: linalg.generic {{.*}} ins(%[[X]] : tensor<?xi8>) outs(%[[Y]] : tensor<?xi8>)
// CHECK: ^bb0(%[[A:.*]]: i8, %{{.*}}: i8):
// CHECK: %[[B:.*]] = arith.trunci %[[A]] : i8 to i1
// CHECK: %[[C:.*]] = arith.xori %[[B]]
// CHECK: %[[D:.*]] = arith.extui %[[C]] : i1 to i8
// CHECK: linalg.yield %[[D]] : i8
func.func @elements(%x: tensor<?xi1>, %y: tensor<?xi1>) -> tensor<?xi1> {
  %true = arith.constant true
  %z = linalg.generic {indexing_maps = [#all, #all], iterator_types = ["parallel"]}
      ins(%x : tensor<?xi1>) outs(%y : tensor<?xi1>) {
  ^bb0(%a: i1, %o: i1):
    %b = arith.xori %a, %true : i1
    linalg.yield %b : i1
  } -> tensor<?xi1>
  return %z : tensor<?xi1>
}

// -----

// CHECK-LABEL: func @constants
// CHECK: arith.constant dense<[1, 0]> : tensor<2xi8>
// CHECK: arith.constant dense<1> : tensor<4xi8>
func.func @constants() -> (tensor<2xi1>, tensor<4xi1>) {
  %a = arith.constant dense<[true, false]> : tensor<2xi1>
  %b = arith.constant dense<true> : tensor<4xi1>
  return %a, %b : tensor<2xi1>, tensor<4xi1>
}

// -----

// CHECK-LABEL: func @one_by_one
// CHECK-SAME: %[[X:[^ ]*]]: tensor<4xi8>, %[[I:[^ ]*]]: index
// CHECK: %[[E:.*]] = tensor.extract %[[X]][%[[I]]] : tensor<4xi8>
// CHECK: %[[B:.*]] = arith.trunci %[[E]] : i8 to i1
// CHECK: %[[N:.*]] = arith.xori %[[B]], %[[B]]
// CHECK: %[[W:.*]] = arith.extui %[[N]] : i1 to i8
// CHECK: tensor.insert %[[W]] into %[[X]][%[[I]]] : tensor<4xi8>
// CHECK: %[[V:.*]] = arith.extui %[[N]] : i1 to i8
// CHECK: tensor.from_elements %[[V]] : tensor<1xi8>
func.func @one_by_one(%x: tensor<4xi1>, %i: index) -> (tensor<4xi1>, tensor<1xi1>) {
  %e = tensor.extract %x[%i] : tensor<4xi1>
  %n = arith.xori %e, %e : i1
  %y = tensor.insert %n into %x[%i] : tensor<4xi1>
  %z = tensor.from_elements %n : tensor<1xi1>
  return %y, %z : tensor<4xi1>, tensor<1xi1>
}

// -----

// Booleans that are no elements stay, and so do tensors of other types.
// CHECK-LABEL: func @others
// CHECK-SAME: (%{{.*}}: i1, %{{.*}}: tensor<4xi8>, %{{.*}}: tensor<4xi32>) -> i1
// CHECK-NOT: trunci
func.func @others(%a: i1, %x: tensor<4xi8>, %y: tensor<4xi32>) -> i1 {
  return %a : i1
}
