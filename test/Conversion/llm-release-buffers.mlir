// RUN: llmir-opt %s -llm-release-buffers -split-input-file | FileCheck %s

// After the last use, be it of a view and in a loop.
// CHECK-LABEL: func @views
// CHECK: %[[A:.*]] = memref.alloc
// CHECK: scf.forall
// CHECK: vector.store
// CHECK: }
// CHECK-NEXT: memref.dealloc %[[A]]
// CHECK-NEXT: llm.call_kernel
func.func @views(%n: index, %y: memref<?x8xf32>) {
  %c0 = arith.constant 0 : index
  %zeros = arith.constant dense<0.0> : vector<8xf32>
  %a = memref.alloc(%n) : memref<?x8xf32>
  %v = memref.subview %a[0, 0] [%n, 8] [1, 1] : memref<?x8xf32> to memref<?x8xf32, strided<[8, 1]>>
  scf.forall (%i) in (%n) {
    vector.store %zeros, %v[%i, %c0] : memref<?x8xf32, strided<[8, 1]>>, vector<8xf32>
  }
  llm.call_kernel linear ins() outs(%y : memref<?x8xf32>)
  return
}

// -----

// Results are the caller's.
// CHECK-LABEL: func @result
// CHECK-NOT: memref.dealloc
func.func @result() -> memref<8xf32> {
  %a = memref.alloc() {llm.result = 0 : i64} : memref<8xf32>
  return %a : memref<8xf32>
}

// -----

// In a loop, in each turn; what leaves the loop stays until the end.
// CHECK-LABEL: func @loop
// CHECK: scf.for
// CHECK: %[[A:.*]] = memref.alloc
// CHECK: %[[B:.*]] = memref.alloc
// CHECK: memref.copy %[[A]], %[[B]]
// CHECK-NEXT: memref.dealloc %[[A]]
// CHECK-NEXT: scf.yield %[[B]]
// CHECK-NOT: memref.dealloc
func.func @loop(%n: index, %x: memref<8xf32>, %y: memref<8xf32>) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %r = scf.for %i = %c0 to %n step %c1 iter_args(%z = %x) -> (memref<8xf32>) {
    %a = memref.alloc() : memref<8xf32>
    %b = memref.alloc() : memref<8xf32>
    memref.copy %z, %a : memref<8xf32> to memref<8xf32>
    memref.copy %a, %b : memref<8xf32> to memref<8xf32>
    scf.yield %b : memref<8xf32>
  }
  memref.copy %r, %y : memref<8xf32> to memref<8xf32>
  return
}
