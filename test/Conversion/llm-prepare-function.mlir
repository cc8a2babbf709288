// RUN: llmir-opt %s -llm-prepare-function -split-input-file -verify-diagnostics | FileCheck %s

// The rows of an embedding are checked before they are read, in the type that
// the indices come in.
// CHECK-LABEL: func @main
// CHECK-SAME: %[[IDS:[^ ]*]]: tensor<?xi64> {bufferization.writable = false}
// CHECK: %[[ALL:.*]] = linalg.generic {{.*}} iterator_types = ["reduction"]} ins(%[[IDS]] : tensor<?xi64>)
// CHECK: arith.cmpi ult, %{{.*}}, %c10_i64
// CHECK: %[[HOLDS:.*]] = tensor.extract %[[ALL]][]
// CHECK: cf.assert %[[HOLDS]], "an index of an embedding is not one of its 10 rows"
// CHECK: llm.embedding
func.func @main(%ids: tensor<?xi64>) -> tensor<?x32xf32> {
  %t = llm.parameter "model"::"t" : tensor<10x32xf32>
  %i = arith.trunci %ids : tensor<?xi64> to tensor<?xi32>
  %e = llm.embedding %i, %t : (tensor<?xi32>, tensor<10x32xf32>) -> tensor<?x32xf32>
  return %e : tensor<?x32xf32>
}

// -----

#row = affine_map<(d0, d1) -> (d0)>
#all = affine_map<(d0, d1) -> (d0, d1)>

// An assertion in a body stands before it, over the loops that it depends on.
// Sizes are taken out of the body too.
// CHECK-LABEL: func @main
// CHECK-SAME: %[[IDS:[^ ]*]]: tensor<?xi64>
// CHECK: %[[DIM:.*]] = tensor.dim
// CHECK: %[[ALL:.*]] = linalg.generic {{.*}} iterator_types = ["reduction"]} ins(%[[IDS]] : tensor<?xi64>)
// CHECK: cf.assert %{{.*}}, "too large"
// CHECK: linalg.generic {{.*}} iterator_types = ["parallel", "parallel"]
// CHECK-NOT: cf.assert
// CHECK-NOT: tensor.dim
// CHECK: linalg.yield
func.func @main(%ids: tensor<?xi64>, %table: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %c0 = arith.constant 0 : index
  %n = tensor.dim %ids, %c0 : tensor<?xi64>
  %empty = tensor.empty(%n) : tensor<?x4xf32>
  %y = linalg.generic {indexing_maps = [#row, #all], iterator_types = ["parallel", "parallel"]}
      ins(%ids : tensor<?xi64>) outs(%empty : tensor<?x4xf32>) {
  ^bb0(%id: i64, %o: f32):
    %row = arith.index_cast %id : i64 to index
    %column = linalg.index 1 : index
    %rows = tensor.dim %table, %c0 : tensor<?x4xf32>
    %holds = arith.cmpi ult, %row, %rows : index
    cf.assert %holds, "too large"
    %e = tensor.extract %table[%row, %column] : tensor<?x4xf32>
    linalg.yield %e : f32
  } -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

// Functions are put where they are called.
// CHECK-LABEL: func @main
// CHECK: math.exp
// CHECK: math.exp
// CHECK-NOT: func.func
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %y = call @twice(%x) : (tensor<4xf32>) -> tensor<4xf32>
  return %y : tensor<4xf32>
}
func.func private @twice(%x: tensor<4xf32>) -> tensor<4xf32> {
  %y = call @once(%x) : (tensor<4xf32>) -> tensor<4xf32>
  %z = call @once(%y) : (tensor<4xf32>) -> tensor<4xf32>
  return %z : tensor<4xf32>
}
func.func private @once(%x: tensor<4xf32>) -> tensor<4xf32> {
  %y = math.exp %x : tensor<4xf32>
  return %y : tensor<4xf32>
}

// -----

// The sizes of what is reshaped are known, and what is laid end to end is
// inserted in one tensor.
// CHECK-LABEL: func @main
// CHECK-SAME: %[[X:[^ ]*]]: tensor<?xf32> {{.*}}, %[[B:[^ ]*]]: i64
// CHECK: %[[SIZE:.*]] = arith.index_cast %[[B]]
// CHECK: tensor.empty(%[[SIZE]])
// CHECK: tensor.insert_slice
// CHECK: tensor.insert_slice
func.func @main(%x: tensor<?xf32>, %b: i64) -> (tensor<?x?xf32>, tensor<8xf32>, tensor<?xf32>) {
  %c0 = arith.constant 0 : index
  %t = arith.constant 4 : i64
  %shape = tensor.from_elements %b, %t : tensor<2xi64>
  %y = tensor.reshape %x(%shape) : (tensor<?xf32>, tensor<2xi64>) -> tensor<?x?xf32>
  %n = tensor.dim %y, %c0 : tensor<?x?xf32>
  %e = tensor.empty(%n) : tensor<?xf32>
  %a = tensor.empty() : tensor<4xf32>
  %z = tensor.concat dim(0) %a, %a : (tensor<4xf32>, tensor<4xf32>) -> tensor<8xf32>
  return %y, %z, %e : tensor<?x?xf32>, tensor<8xf32>, tensor<?xf32>
}

// -----

// expected-error @+1 {{has no public function `main` with a body}}
module {
  func.func private @main(%x: tensor<4xf32>) -> tensor<4xf32> {
    return %x : tensor<4xf32>
  }
}

// -----

// expected-error @+1 {{argument 1 is 'vector<4xf32>', but a function takes tensors and scalars of integers or floats}}
func.func @main(%x: tensor<4xf32>, %y: vector<4xf32>) -> tensor<4xf32> {
  return %x : tensor<4xf32>
}

// -----

// expected-error @+1 {{result 0 is 'i64', but a function returns tensors of integers or floats}}
func.func @main(%x: i64) -> i64 {
  return %x : i64
}

// -----

func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  // expected-error @+1 {{is of the scope "other"; a function's weights are of "model"}}
  %w = llm.parameter "other"::"w" : tensor<4xf32>
  return %w : tensor<4xf32>
}

// -----

func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  // expected-error @+1 {{calls itself, in the end}}
  %y = call @main(%x) : (tensor<4xf32>) -> tensor<4xf32>
  return %y : tensor<4xf32>
}

// -----

func.func private @outside(tensor<4xf32>) -> tensor<4xf32>
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  // expected-error @+1 {{calls outside, which has no body of one block}}
  %y = call @outside(%x) : (tensor<4xf32>) -> tensor<4xf32>
  return %y : tensor<4xf32>
}
