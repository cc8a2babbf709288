// RUN: llmir-opt %s -llm-reshape-buffers -split-input-file | FileCheck %s

// Sizes of integers are cast; those that the type says are constants.
// CHECK-LABEL: func @view
// CHECK-SAME: (%[[X:.*]]: memref<?x64xf32>, %[[B:.*]]: i32, %[[T:.*]]: i32)
// CHECK-NOT: memref.alloc
// CHECK-DAG: %[[SB:.*]] = arith.index_cast %[[B]] : i32 to index
// CHECK-DAG: %[[ST:.*]] = arith.index_cast %[[T]] : i32 to index
// CHECK: %[[STRIDE:.*]] = arith.muli %{{.*}}, %[[ST]]
// CHECK: memref.reinterpret_cast %[[X]] to offset: [0], sizes: [%[[SB]], %[[ST]], 64], strides: [%[[STRIDE]], 64, 1]
func.func @view(%x: memref<?x64xf32>, %b: i32, %t: i32) -> memref<?x?x64xf32> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %c64 = arith.constant 64 : i32
  %shape = memref.alloc() : memref<3xi32>
  memref.store %b, %shape[%c0] : memref<3xi32>
  memref.store %t, %shape[%c1] : memref<3xi32>
  memref.store %c64, %shape[%c2] : memref<3xi32>
  %y = memref.reshape %x(%shape) : (memref<?x64xf32>, memref<3xi32>) -> memref<?x?x64xf32>
  return %y : memref<?x?x64xf32>
}

// -----

// A shape that is stored to twice, or comes from elsewhere, stays in memory.
// CHECK-LABEL: func @in_memory
// CHECK-COUNT-2: memref.reshape
func.func @in_memory(%x: memref<?xf32>, %n: index, %given: memref<1xindex>) -> (memref<?xf32>, memref<?xf32>) {
  %c0 = arith.constant 0 : index
  %shape = memref.alloc() : memref<1xindex>
  memref.store %n, %shape[%c0] : memref<1xindex>
  memref.store %c0, %shape[%c0] : memref<1xindex>
  %y = memref.reshape %x(%shape) : (memref<?xf32>, memref<1xindex>) -> memref<?xf32>
  %z = memref.reshape %x(%given) : (memref<?xf32>, memref<1xindex>) -> memref<?xf32>
  return %y, %z : memref<?xf32>, memref<?xf32>
}
