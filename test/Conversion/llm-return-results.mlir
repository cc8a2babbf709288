// RUN: llmir-opt %s -llm-return-results -split-input-file | FileCheck %s

// What is made for it is the result, also in another shape.
// CHECK-LABEL: func @made
// CHECK: memref.alloc(%{{.*}}) {llm.result = 1 : i64} : memref<?x8xf32>
// CHECK: memref.alloc(%{{.*}}) {llm.result = 0 : i64} : memref<?x8xf32>
// CHECK-NOT: memref.copy
func.func @made(%n: index) -> (memref<?xf32>, memref<?x8xf32>) {
  %a = memref.alloc(%n) : memref<?x8xf32>
  %b = memref.alloc(%n) : memref<?x8xf32>
  %c = memref.collapse_shape %b [[0, 1]] : memref<?x8xf32> into memref<?xf32>
  return %c, %a : memref<?xf32>, memref<?x8xf32>
}

// -----

// One buffer cannot be two results.
// CHECK-LABEL: func @twice
// CHECK: %[[A:.*]] = memref.alloc() {llm.result = 0 : i64}
// CHECK: %[[B:.*]] = memref.alloc() {llm.result = 1 : i64}
// CHECK: memref.copy %[[A]], %[[B]]
// CHECK: return %[[A]], %[[B]]
func.func @twice() -> (memref<8xf32>, memref<8xf32>) {
  %a = memref.alloc() : memref<8xf32>
  return %a, %a : memref<8xf32>, memref<8xf32>
}

// -----

// Nor can an argument, or part of a buffer.
// CHECK-LABEL: func @others
// CHECK-SAME: (%[[X:.*]]: memref<?xf32>) -> (memref<?xf32>, memref<4xf32>)
// CHECK: %[[A:.*]] = memref.alloc() : memref<8xf32>
// CHECK: %[[PART:.*]] = memref.subview %[[A]]
// CHECK: %[[Y:.*]] = memref.alloc(%{{.*}}) {llm.result = 0 : i64} : memref<?xf32>
// CHECK: memref.copy %[[X]], %[[Y]]
// CHECK: %[[Z:.*]] = memref.alloc() {llm.result = 1 : i64} : memref<4xf32>
// CHECK: memref.copy %[[PART]], %[[Z]]
func.func @others(%x: memref<?xf32>) -> (memref<?xf32>, memref<4xf32, strided<[2]>>) {
  %a = memref.alloc() : memref<8xf32>
  %p = memref.subview %a[0] [4] [2] : memref<8xf32> to memref<4xf32, strided<[2]>>
  return %x, %p : memref<?xf32>, memref<4xf32, strided<[2]>>
}
