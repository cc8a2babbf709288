// RUN: llmir-opt %s -llm-assign-parameters -split-input-file -verify-diagnostics | FileCheck %s

// What is shorter than a page starts on a cache line, the rest on a page; the
// file is whole pages.
// CHECK: module attributes {llm.weights = [
// CHECK-SAME: {bytes = 12 : i64, keys = ["a"], offset = 0 : i64, scope = "model", sources = [tensor<3xf32>], type = tensor<3xf32>},
// CHECK-SAME: {bytes = 4 : i64, keys = ["b"], offset = 64 : i64, scope = "model", sources = [tensor<2xbf16>], type = tensor<2xbf16>},
// CHECK-SAME: {bytes = 4096 : i64, keys = ["c"], offset = 4096 : i64, scope = "model", sources = [tensor<32x32xf32>], type = tensor<1x32x32xf32>},
// CHECK-SAME: {bytes = 4092 : i64, keys = ["d"], offset = 8192 : i64, scope = "model", sources = [tensor<1023xf32>], type = tensor<1023xf32>},
// CHECK-SAME: {bytes = 8192 : i64, keys = ["e"], offset = 12288 : i64, scope = "model", sources = [tensor<2048xbf16>], type = tensor<2048xf32>}],
// CHECK-SAME: llm.weights_bytes = 20480 : i64}
// CHECK-LABEL: func @layout(
// CHECK-SAME: %[[WEIGHTS:.*]]: memref<?xi8>)
func.func @layout() -> (tensor<3xf32>, tensor<2xbf16>, tensor<1x32x32xf32>, tensor<1023xf32>, tensor<2048xf32>) {
  // CHECK: %[[AT:.*]] = arith.constant 0 : index
  // CHECK: %[[VIEW:.*]] = memref.view %[[WEIGHTS]][%[[AT]]][] : memref<?xi8> to memref<3xf32>
  // CHECK: %[[A:.*]] = bufferization.to_tensor %[[VIEW]] restrict : memref<3xf32>
  %a = llm.parameter "model"::"a" : tensor<3xf32>
  // CHECK: %[[AT:.*]] = arith.constant 64 : index
  // CHECK: memref.view %[[WEIGHTS]][%[[AT]]][] : memref<?xi8> to memref<2xbf16>
  %b = llm.parameter "model"::"b" : tensor<2xbf16>
  // CHECK: %[[AT:.*]] = arith.constant 4096 : index
  // CHECK: memref.view %[[WEIGHTS]][%[[AT]]][] : memref<?xi8> to memref<1x32x32xf32>
  %c = llm.parameter "model"::"c" from tensor<32x32xf32> : tensor<1x32x32xf32>
  // CHECK: arith.constant 8192 : index
  %d = llm.parameter "model"::"d" : tensor<1023xf32>
  // CHECK: arith.constant 12288 : index
  %e = llm.parameter "model"::"e" from tensor<2048xbf16> : tensor<2048xf32>
  // CHECK: return %[[A]],
  return %a, %b, %c, %d, %e : tensor<3xf32>, tensor<2xbf16>, tensor<1x32x32xf32>, tensor<1023xf32>, tensor<2048xf32>
}

// -----

// A parameter that is used twice is stored once; of another type, again.
// CHECK: module attributes {llm.weights = [
// CHECK-SAME: keys = ["a"], offset = 0 : i64, {{[^}]*}} type = tensor<4xbf16>},
// CHECK-SAME: keys = ["a"], offset = 64 : i64, {{[^}]*}} type = tensor<4xf32>}],
// CHECK-SAME: llm.weights_bytes = 4096 : i64
// CHECK-LABEL: func @twice
func.func @twice() -> (tensor<4xbf16>, tensor<4xbf16>, tensor<4xf32>) {
  // CHECK: memref.view %{{.*}}[%c0]{{.*}} memref<4xbf16>
  // CHECK: memref.view %{{.*}}[%c0{{.*}}]{{.*}} memref<4xbf16>
  // CHECK: memref.view %{{.*}}[%c64]{{.*}} memref<4xf32>
  %0 = llm.parameter "model"::"a" : tensor<4xbf16>
  %1 = llm.parameter "model"::"a" : tensor<4xbf16>
  %2 = llm.parameter "model"::"a" from tensor<4xbf16> : tensor<4xf32>
  return %0, %1, %2 : tensor<4xbf16>, tensor<4xbf16>, tensor<4xf32>
}

// -----

// Tables of RoPE are made when compiling and stored beside the weights.
// CHECK: module attributes {llm.weights = [
// CHECK-SAME: {bytes = 128 : i64, offset = 0 : i64, theta = 1.000000e+04 : f64, type = tensor<4x2x4xf32>},
// CHECK-SAME: {bytes = 128 : i64, offset = 128 : i64, scaling = #llm.rope_scaling<linear, factor = 2.000000e+00 : f64>, theta = 1.000000e+04 : f64, type = tensor<4x2x4xf32>}]
// CHECK-LABEL: func @tables
// CHECK-NOT: llm.rope_table
// CHECK: return
func.func @tables() -> (tensor<4x2x4xf32>, tensor<4x2x4xf32>, tensor<4x2x4xf32>) {
  %0 = llm.rope_table {theta = 1.0e+04 : f64} : tensor<4x2x4xf32>
  %1 = llm.rope_table {theta = 1.0e+04 : f64} : tensor<4x2x4xf32>
  %2 = llm.rope_table {theta = 1.0e+04 : f64, scaling = #llm.rope_scaling<linear, factor = 2.0>} : tensor<4x2x4xf32>
  return %0, %1, %2 : tensor<4x2x4xf32>, tensor<4x2x4xf32>, tensor<4x2x4xf32>
}

// -----

// Functions that are called get the weights from their caller.
// CHECK-LABEL: func @callers
// CHECK-SAME: (%[[X:.*]]: tensor<4xf32>, %[[WEIGHTS:.*]]: memref<?xi8>)
// CHECK: call @layer(%[[X]], %[[WEIGHTS]]) : (tensor<4xf32>, memref<?xi8>) -> tensor<4xf32>
// CHECK: func private @layer(%{{.*}}: tensor<4xf32>, %[[OWN:.*]]: memref<?xi8>)
// CHECK: memref.view %[[OWN]]
func.func @callers(%x: tensor<4xf32>) -> tensor<4xf32> {
  %0 = call @layer(%x) : (tensor<4xf32>) -> tensor<4xf32>
  return %0 : tensor<4xf32>
}
func.func private @layer(%x: tensor<4xf32>) -> tensor<4xf32> {
  %w = llm.parameter "model"::"w" : tensor<4xf32>
  %0 = arith.mulf %x, %w : tensor<4xf32>
  return %0 : tensor<4xf32>
}

// -----

// No weights: an empty list.
// CHECK: module attributes {llm.weights = [], llm.weights_bytes = 0 : i64}
func.func @nothing() {
  return
}

// -----

// Packed bits need a type that says how.
func.func @sub_bytes() -> tensor<8xi4> {
  // expected-error @+1 {{cannot place a weight of 'tensor<8xi4>'}}
  %0 = llm.parameter "model"::"w" : tensor<8xi4>
  return %0 : tensor<8xi4>
}

// -----

// So does an index.
func.func @index() -> tensor<8xindex> {
  // expected-error @+1 {{cannot place a weight of 'tensor<8xindex>'}}
  %0 = llm.parameter "model"::"w" : tensor<8xindex>
  return %0 : tensor<8xindex>
}

// -----

// 2^48 bytes are more than any file has.
func.func @absurd() -> tensor<281474976710657xi8> {
  // expected-error @+1 {{cannot place a weight of 'tensor<281474976710657xi8>'}}
  %0 = llm.parameter "model"::"w" : tensor<281474976710657xi8>
  return %0 : tensor<281474976710657xi8>
}

// -----

// These would be 0, modulo 2^64.
func.func @overflow() -> tensor<4294967296x4294967296xf32> {
  // expected-error @+1 {{cannot place a weight of 'tensor<4294967296x4294967296xf32>'}}
  %0 = llm.parameter "model"::"w" : tensor<4294967296x4294967296xf32>
  return %0 : tensor<4294967296x4294967296xf32>
}

// -----

// Weights belong to the step and what it calls.
module {
  module @nested {
    func.func @inner() -> tensor<4xf32> {
      // expected-error @+1 {{must be in a function of the module}}
      %0 = llm.parameter "model"::"w" : tensor<4xf32>
      return %0 : tensor<4xf32>
    }
  }
}

// -----

func.func @more_than_any_file() {
  %a = llm.parameter "model"::"a" : tensor<70368744177664xf32>
  %b = llm.parameter "model"::"b" : tensor<70368744177664xf32>
  %c = llm.parameter "model"::"c" : tensor<70368744177664xf32>
  %d = llm.parameter "model"::"d" : tensor<70368744177664xf32>
  // expected-error @below {{is one weight too many: all together are larger than any file}}
  %e = llm.parameter "model"::"e" : tensor<1xf32>
  return
}

// -----

// The bytes of panels, and what they are.
// CHECK: {bytes = 4608 : i64, keys = ["w"], offset = 0 : i64, panels = !llm.quantized_tensor<64x128xi4, scales = f16, axis = 1, group_size = 32, packing = panels>, scope = "model", sources = [tensor<64x128xbf16>], type = tensor<2x2304xi8>}
func.func @panels() -> tensor<2x2304xi8> {
  %0 = llm.parameter "model"::"w" from tensor<64x128xbf16> as !llm.quantized_tensor<64x128xi4, scales = f16, axis = 1, group_size = 32, packing = panels> : tensor<2x2304xi8>
  return %0 : tensor<2x2304xi8>
}
