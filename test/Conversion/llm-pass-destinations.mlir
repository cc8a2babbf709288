// RUN: llmir-opt %s -llm-pass-destinations -split-input-file -verify-diagnostics | FileCheck %s

// The uninitialized tensor at the start of the chain becomes an argument.
// CHECK-LABEL: func @made
// CHECK-SAME: (%[[X:.*]]: tensor<?x4xf32>, %[[W:.*]]: tensor<1x4x32xf32>, %[[OUT:.*]]: tensor<?x8xf32>)
// CHECK: linalg.fill {{.*}} outs(%[[OUT]] :
// CHECK: return
func.func @made(%x: tensor<?x4xf32>, %w: tensor<1x4x32xf32>) -> tensor<?x8xf32> {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %t = tensor.dim %x, %c0 : tensor<?x4xf32>
  %empty = tensor.empty(%t) : tensor<?x8xf32>
  %init = linalg.fill ins(%zero : f32) outs(%empty : tensor<?x8xf32>) -> tensor<?x8xf32>
  %0 = llm.call_kernel linear accumulate ins(%x, %w : tensor<?x4xf32>, tensor<1x4x32xf32>) outs(%init : tensor<?x8xf32>) -> tensor<?x8xf32>
  return %0 : tensor<?x8xf32>
}

// -----

// Callers make it, of the size that their operands have; where they return it,
// they in turn are given it.
// CHECK-LABEL: func @step
// CHECK-SAME: (%[[X:.*]]: tensor<?x4xf32>, %[[H:.*]]: tensor<?x4xf32>, %[[OUT:.*]]: tensor<?x4xf32> {llm.destination})
// CHECK: %[[T:.*]] = tensor.dim %[[X]], %c0
// CHECK: %[[EMPTY:.*]] = tensor.empty(%[[T]]) : tensor<?x4xf32>
// CHECK: %[[H1:.*]] = call @layer(%[[X]], %[[H]], %[[EMPTY]]) : (tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
// CHECK: %[[H2:.*]] = call @layer(%[[X]], %[[H1]], %[[OUT]])
// CHECK: return %[[H2]]
// CHECK: func private @layer(%{{.*}}: tensor<?x4xf32>, %{{.*}}: tensor<?x4xf32>, %[[OUT:.*]]: tensor<?x4xf32>)
// CHECK: llm.call_kernel {{.*}} outs(%[[OUT]] :
func.func @step(%x: tensor<?x4xf32>, %h: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %0 = call @layer(%x, %h) : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %1 = call @layer(%x, %0) : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return %1 : tensor<?x4xf32>
}
func.func private @layer(%x: tensor<?x4xf32>, %h: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %c0 = arith.constant 0 : index
  %t = tensor.dim %x, %c0 : tensor<?x4xf32>
  %empty = tensor.empty(%t) : tensor<?x4xf32>
  %0 = llm.call_kernel linear ins(%x, %h : tensor<?x4xf32>, tensor<?x4xf32>) outs(%empty : tensor<?x4xf32>) -> tensor<?x4xf32>
  return %0 : tensor<?x4xf32>
}

// -----

// The size of what a call returns is that of its destination.
// CHECK-LABEL: func private @of_result
// CHECK-SAME: %[[X:[^ ]*]]: tensor<?x4xf32>, %[[H:[^ ]*]]: tensor<?x4xf32>, %[[OUT:[^ ]*]]: tensor<?x8xf32>)
// CHECK: %[[EMPTY:.*]] = tensor.empty(%{{.*}}) : tensor<?x4xf32>
// CHECK: %[[R:.*]] = call @layer(%[[X]], %[[H]], %[[EMPTY]])
// CHECK: %[[Y:.*]] = llm.call_kernel linear ins(%[[R]] : tensor<?x4xf32>) outs(%[[OUT]] :
// CHECK: return %[[Y]]
// CHECK-LABEL: func @caller
// CHECK-SAME: %[[H:[^ ]*]]: tensor<?x4xf32>, %[[OUT:[^ ]*]]: tensor<?x8xf32>)
// CHECK: call @of_result(%{{.*}}, %[[H]], %[[OUT]])
func.func private @of_result(%x: tensor<?x4xf32>, %h: tensor<?x4xf32>) -> tensor<?x8xf32> {
  %c0 = arith.constant 0 : index
  %0 = call @layer(%x, %h) : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %t = tensor.dim %0, %c0 : tensor<?x4xf32>
  %empty = tensor.empty(%t) : tensor<?x8xf32>
  %1 = llm.call_kernel linear ins(%0 : tensor<?x4xf32>) outs(%empty : tensor<?x8xf32>) -> tensor<?x8xf32>
  return %1 : tensor<?x8xf32>
}
func.func @caller(%x: tensor<?x4xf32>, %h: tensor<?x4xf32>) -> tensor<?x8xf32> {
  %0 = call @of_result(%x, %h) : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x8xf32>
  return %0 : tensor<?x8xf32>
}
func.func private @layer(%x: tensor<?x4xf32>, %h: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %c0 = arith.constant 0 : index
  %t = tensor.dim %x, %c0 : tensor<?x4xf32>
  %empty = tensor.empty(%t) : tensor<?x4xf32>
  %0 = llm.call_kernel linear ins(%x, %h : tensor<?x4xf32>, tensor<?x4xf32>) outs(%empty : tensor<?x4xf32>) -> tensor<?x4xf32>
  return %0 : tensor<?x4xf32>
}

// -----

// A result that is written over an argument needs no other place.
// CHECK-LABEL: func private @in_place
// CHECK-SAME: (%{{[^ ]*}}: tensor<?x4xf32>, %{{[^ ]*}}: tensor<?x4xf32>) -> tensor<?x4xf32> {
func.func private @in_place(%x: tensor<?x4xf32>, %h: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %0 = llm.call_kernel linear accumulate ins(%x : tensor<?x4xf32>) outs(%h : tensor<?x4xf32>) -> tensor<?x4xf32>
  return %0 : tensor<?x4xf32>
}

// -----

// Rows that are inserted into a tensor make that tensor.
// CHECK-LABEL: func @slices
// CHECK-SAME: %[[OUT:[^ ]*]]: tensor<4x8xf32>)
// CHECK: tensor.insert_slice %{{.*}} into %[[OUT]]
func.func @slices(%x: tensor<4x4xf32>) -> tensor<4x8xf32> {
  %empty = tensor.empty() : tensor<4x8xf32>
  %0 = tensor.insert_slice %x into %empty[0, 0] [4, 4] [1, 1] : tensor<4x4xf32> into tensor<4x8xf32>
  %1 = tensor.insert_slice %x into %0[0, 4] [4, 4] [1, 1] : tensor<4x4xf32> into tensor<4x8xf32>
  return %1 : tensor<4x8xf32>
}

// -----

// Part of a tensor is copied to the caller's memory, which is as large.
// CHECK-LABEL: func private @slice
// CHECK-SAME: %[[X:[^ ]*]]: tensor<?x4xf32>, %[[OUT:[^ ]*]]: tensor<?x4xf32>)
// CHECK: %[[ALL:.*]] = llm.call_kernel linear
// CHECK: %[[SLICE:.*]] = tensor.extract_slice %[[ALL]]
// CHECK: %[[COPY:.*]] = linalg.copy ins(%[[SLICE]] : tensor<?x4xf32>) outs(%[[OUT]] : tensor<?x4xf32>)
// CHECK: return %[[COPY]]
// CHECK-LABEL: func @step
// CHECK: %[[T:.*]] = tensor.dim %{{.*}}, %c0
// CHECK: %[[EMPTY:.*]] = tensor.empty(%[[T]]) : tensor<?x4xf32>
// CHECK: call @slice(%{{.*}}, %[[EMPTY]])
func.func private @slice(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %c0 = arith.constant 0 : index
  %t = tensor.dim %x, %c0 : tensor<?x4xf32>
  %empty = tensor.empty(%t) : tensor<?x8xf32>
  %0 = llm.call_kernel linear ins(%x : tensor<?x4xf32>) outs(%empty : tensor<?x8xf32>) -> tensor<?x8xf32>
  %t0 = tensor.dim %0, %c0 : tensor<?x8xf32>
  %1 = tensor.extract_slice %0[0, 4] [%t0, 4] [1, 1] : tensor<?x8xf32> to tensor<?x4xf32>
  return %1 : tensor<?x4xf32>
}
func.func @step(%x: tensor<?x4xf32>) -> tensor<?x8xf32> {
  %c0 = arith.constant 0 : index
  %0 = call @slice(%x) : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %t = tensor.dim %0, %c0 : tensor<?x4xf32>
  %empty = tensor.empty(%t) : tensor<?x8xf32>
  %1 = llm.call_kernel linear ins(%0 : tensor<?x4xf32>) outs(%empty : tensor<?x8xf32>) -> tensor<?x8xf32>
  return %1 : tensor<?x8xf32>
}

// -----

// So is what is reshaped, and a slice that a dimension is dropped of.
// CHECK-LABEL: func @reshaped
// CHECK-SAME: %[[ROWS:[^ ]*]]: tensor<?x2x2xf32>, %[[ROW:[^ ]*]]: tensor<?xf32>)
// CHECK-DAG: linalg.copy ins(%{{.*}} : tensor<?x2x2xf32>) outs(%[[ROWS]] :
// CHECK-DAG: linalg.copy ins(%{{.*}} : tensor<?xf32>) outs(%[[ROW]] :
func.func @reshaped(%x: tensor<?x4xf32>) -> (tensor<?x2x2xf32>, tensor<?xf32>) {
  %c0 = arith.constant 0 : index
  %t = tensor.dim %x, %c0 : tensor<?x4xf32>
  %empty = tensor.empty(%t) : tensor<?x4xf32>
  %0 = llm.call_kernel linear ins(%x : tensor<?x4xf32>) outs(%empty : tensor<?x4xf32>) -> tensor<?x4xf32>
  %1 = tensor.expand_shape %0 [[0], [1, 2]] : tensor<?x4xf32> into tensor<?x2x2xf32>
  %2 = tensor.extract_slice %1[0, 1, 0] [%t, 1, 2] [1, 1, 1] : tensor<?x2x2xf32> to tensor<?x2xf32>
  %3 = tensor.collapse_shape %1 [[0], [1, 2]] : tensor<?x2x2xf32> into tensor<?x4xf32>
  %4 = tensor.extract_slice %3[0, 3] [%t, 1] [1, 1] : tensor<?x4xf32> to tensor<?xf32>
  return %1, %4 : tensor<?x2x2xf32>, tensor<?xf32>
}

// -----

// What is added to must be there; what is only overwritten need not.
// CHECK-LABEL: func @over_slices
// CHECK-SAME: %[[SUM:[^ ]*]]: tensor<4x4xf32>, %[[FILLED:[^ ]*]]: tensor<4x4xf32>)
// CHECK: %[[COPY:.*]] = linalg.copy ins(%{{.*}} : tensor<4x4xf32>) outs(%[[SUM]] :
// CHECK: llm.call_kernel linear accumulate ins() outs(%[[COPY]] :
// CHECK: linalg.fill ins(%{{.*}} : f32) outs(%[[FILLED]] :
func.func @over_slices(%x: tensor<4x8xf32>) -> (tensor<4x4xf32>, tensor<4x4xf32>) {
  %zero = arith.constant 0.0 : f32
  %0 = tensor.extract_slice %x[0, 0] [4, 4] [1, 1] : tensor<4x8xf32> to tensor<4x4xf32>
  %1 = llm.call_kernel linear accumulate ins() outs(%0 : tensor<4x4xf32>) -> tensor<4x4xf32>
  %2 = linalg.fill ins(%zero : f32) outs(%0 : tensor<4x4xf32>) -> tensor<4x4xf32>
  return %1, %2 : tensor<4x4xf32>, tensor<4x4xf32>
}

// -----

func.func @slice_of_unknown_size(%x: tensor<?x4xf32>, %n: index) -> tensor<?x4xf32> {
  // expected-error @+1 {{the size of a result must be that of an argument}}
  %0 = tensor.extract_slice %x[0, 0] [%n, 4] [1, 1] : tensor<?x4xf32> to tensor<?x4xf32>
  return %0 : tensor<?x4xf32>
}

// -----

func.func @scalar(%x: f32) -> f32 {
  // expected-error @+1 {{cannot give a caller's buffer to a result of type 'f32'}}
  return %x : f32
}

// -----

func.func @not_made(%x: tensor<4xf32>) -> tensor<4xf32> {
  %0 = arith.addf %x, %x : tensor<4xf32>
  // expected-error @+1 {{returns a tensor that no destination-style op makes}}
  return %0 : tensor<4xf32>
}

// -----

func.func @made_elsewhere(%x: tensor<4xf32>) -> tensor<4xf32> {
  %0 = arith.addf %x, %x : tensor<4xf32>
  %1 = llm.call_kernel linear accumulate ins() outs(%0 : tensor<4xf32>) -> tensor<4xf32>
  // expected-error @+1 {{returns a tensor that is not made in this function}}
  return %1 : tensor<4xf32>
}

// -----

// The step's caller passes all of its results.
func.func @step(%h: tensor<4xf32>) -> tensor<4xf32> {
  %0 = llm.call_kernel linear accumulate ins() outs(%h : tensor<4xf32>) -> tensor<4xf32>
  // expected-error @+1 {{returns a tensor that is not made in this function}}
  return %0 : tensor<4xf32>
}

// -----

// What writes a part of a view needs what the rest of it holds.
// CHECK-LABEL: func @column
// CHECK: %[[SLICE:.*]] = tensor.extract_slice
// CHECK: %[[COPY:.*]] = linalg.copy ins(%[[SLICE]] : tensor<4x2xf32>)
// CHECK: linalg.generic {{.*}} outs(%[[COPY]] : tensor<4x2xf32>)
func.func @column(%x: tensor<4x8xf32>, %y: tensor<4xf32>) -> tensor<4x2xf32> {
  %v = tensor.extract_slice %x[0, 0] [4, 2] [1, 1] : tensor<4x8xf32> to tensor<4x2xf32>
  %0 = linalg.generic {indexing_maps = [affine_map<(d0) -> (d0)>, affine_map<(d0) -> (d0, 0)>], iterator_types = ["parallel"]} ins(%y : tensor<4xf32>) outs(%v : tensor<4x2xf32>) {
  ^bb0(%a: f32, %b: f32):
    linalg.yield %a : f32
  } -> tensor<4x2xf32>
  return %0 : tensor<4x2xf32>
}

// -----

func.func @unknown_size(%n: index) -> tensor<?xf32> {
  // expected-error @+1 {{the size of a result must be that of an argument}}
  %empty = tensor.empty(%n) : tensor<?xf32>
  %0 = llm.call_kernel linear ins() outs(%empty : tensor<?xf32>) -> tensor<?xf32>
  return %0 : tensor<?xf32>
}

// -----

// expected-error @+1 {{must have a single block}}
func.func @blocks(%x: tensor<4xf32>) -> tensor<4xf32> {
  cf.br ^next
^next:
  return %x : tensor<4xf32>
}

// -----

func.func private @layer(%x: tensor<4xf32>) -> tensor<4xf32> {
  %empty = tensor.empty() : tensor<4xf32>
  %0 = llm.call_kernel linear ins(%x : tensor<4xf32>) outs(%empty : tensor<4xf32>) -> tensor<4xf32>
  return %0 : tensor<4xf32>
}
func.func private @function_value() {
  // expected-error @+1 {{only calls may refer to a function that takes its destinations}}
  %f = constant @layer : (tensor<4xf32>) -> tensor<4xf32>
  return
}

// -----

// A function cannot wait for its own destinations.
// expected-error @+1 {{calls itself; a step cannot recurse}}
func.func private @loop(%x: tensor<?xf32>) -> tensor<?xf32> {
  %0 = call @loop(%x) : (tensor<?xf32>) -> tensor<?xf32>
  return %0 : tensor<?xf32>
}
