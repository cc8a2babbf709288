// RUN: llmir-opt %s -llm-outline-rows -split-input-file -verify-diagnostics | FileCheck %s

// The loop becomes a function over a range of rows. What it captures travels in
// a structure on the stack, whose slot is made once a call; constants do not.
// CHECK-LABEL: func private @step_rows_0
// CHECK-SAME: (%[[CAPTURES:.*]]: !llvm.ptr, %[[BEGIN:.*]]: i64, %[[END:.*]]: i64) attributes {llm.row_loop} {
// CHECK: %[[F:.*]] = llvm.load %[[CAPTURES]]
// CHECK: %[[M:.*]] = llvm.extractvalue %[[F]][0]
// CHECK: %[[X:.*]] = builtin.unrealized_conversion_cast %[[M]] : {{.*}} to memref<?x8xf32>
// CHECK: %[[B:.*]] = builtin.unrealized_conversion_cast %[[BEGIN]] : i64 to index
// CHECK: %[[E:.*]] = builtin.unrealized_conversion_cast %[[END]] : i64 to index
// CHECK: scf.for %[[R:.*]] = %[[B]] to %[[E]] step %{{.*}} {
// CHECK: %[[ZERO:.*]] = arith.constant 0.0
// CHECK: memref.store %[[ZERO]], %[[X]][%[[R]],

// CHECK-LABEL: func @step
// CHECK-SAME: (%[[X:.*]]: memref<?x8xf32>, %[[N:.*]]: index)
// CHECK: %[[SLOT:.*]] = llvm.alloca %{{.*}} x !llvm.struct<([[FRAME:.*]])> : (i64) -> !llvm.ptr
// CHECK: %[[DATA:.*]] = builtin.unrealized_conversion_cast %[[X]] : memref<?x8xf32> to !llvm.struct
// CHECK: %[[F0:.*]] = llvm.insertvalue %[[DATA]], %{{.*}}[0]
// CHECK: llvm.store %[[F0]], %[[SLOT]]
// CHECK: %[[FN:.*]] = constant @step_rows_0 : (!llvm.ptr, i64, i64) -> ()
// CHECK: %[[WORK:.*]] = arith.constant 1 : index
// CHECK: llm.call_kernel parallel_for ins(%[[FN]], %[[SLOT]], %[[N]], %[[WORK]] : (!llvm.ptr, i64, i64) -> (), !llvm.ptr, index, index)
// CHECK-NOT: scf.forall
// CHECK: return
func.func @step(%x: memref<?x8xf32>, %n: index) {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  scf.forall (%r) in (%n) {
    memref.store %zero, %x[%r, %c0] : memref<?x8xf32>
  }
  return
}

// -----

// Each function counts its own loops; a loop within a loop stays within it.
// CHECK-LABEL: func private @a_rows_0
// CHECK-LABEL: func private @a_rows_1
// CHECK: scf.for
// CHECK: scf.forall
// CHECK-LABEL: func @a(
// CHECK: constant @a_rows_0
// CHECK: constant @a_rows_1
// CHECK-LABEL: func private @b_rows_0
// CHECK-LABEL: func @b(
// CHECK: constant @b_rows_0
func.func @a(%x: memref<8x8xf32>, %v: f32) {
  %c0 = arith.constant 0 : index
  scf.forall (%r) in (8) {
    memref.store %v, %x[%r, %c0] : memref<8x8xf32>
  }
  scf.forall (%r) in (8) {
    scf.forall (%c) in (8) {
      memref.store %v, %x[%r, %c] : memref<8x8xf32>
    }
  }
  return
}
func.func @b(%x: memref<8x8xf32>, %v: f32) {
  %c0 = arith.constant 0 : index
  scf.forall (%r) in (8) {
    memref.store %v, %x[%r, %c0] : memref<8x8xf32>
  }
  return
}

// -----

// Nothing captured: an empty structure, which nobody reads.
// CHECK-LABEL: func private @nothing_rows_0
// CHECK-NOT: llvm.load
// CHECK-LABEL: func @nothing()
// CHECK: llvm.alloca %{{.*}} x !llvm.struct<()>
func.func @nothing() {
  scf.forall (%r) in (8) {
  }
  return
}

// -----

func.func @two_dimensions() {
  // expected-error @+1 {{only loops over rows from 0 on can be outlined}}
  scf.forall (%i, %j) in (8, 8) {
  }
  return
}

// -----

func.func @from_one() {
  // expected-error @+1 {{only loops over rows from 0 on can be outlined}}
  scf.forall (%i) = (1) to (8) step (1) {
  }
  return
}

// -----

func.func @tensors(%x: tensor<8xf32>) -> tensor<8xf32> {
  // expected-error @+1 {{only loops over rows from 0 on can be outlined}}
  %0 = scf.forall (%i) in (8) shared_outs(%o = %x) -> tensor<8xf32> {
  }
  return %0 : tensor<8xf32>
}

// -----

!kv = !llm.paged_kv_cache<bf16, 2, 2, 32, 16, 512>

// A cache is the runtime's: loops have no business with it.
func.func @captures_cache(%kv: !kv) {
  // expected-error @+1 {{captures a value of type '!llm.paged_kv_cache<bf16, 2, 2, 32, 16, 512>'}}
  scf.forall (%i) in (8) {
    llm.call_kernel append_kv ins(%kv : !kv)
  }
  return
}

// -----

// The work on a row is what its loops load and store, turn by turn. Where the number
// of turns is not known, it is taken for much.
// CHECK-LABEL: func @work
// CHECK: constant @work_rows_0
// CHECK: %[[WORK:.*]] = arith.constant 193 : index
// CHECK: parallel_for ins(%{{.*}}, %{{.*}}, %{{.*}}, %[[WORK]] :
// CHECK: constant @work_rows_1
// CHECK: %[[MUCH:.*]] = arith.constant 1048576 : index
// CHECK: parallel_for ins(%{{.*}}, %{{.*}}, %{{.*}}, %[[MUCH]] :
func.func @work(%x: memref<?x96xf32>, %s: memref<?xf32>, %n: index) {
  %c0 = arith.constant 0 : index
  %c32 = arith.constant 32 : index
  %c96 = arith.constant 96 : index
  %v = arith.constant 1.0 : f32
  scf.forall (%r) in (%n) {
    memref.store %v, %s[%r] : memref<?xf32>
    scf.for %i = %c0 to %c96 step %c32 {
      %0 = vector.load %x[%r, %i] : memref<?x96xf32>, vector<32xf32>
      vector.store %0, %x[%r, %i] : memref<?x96xf32>, vector<32xf32>
    }
  }
  scf.forall (%r) in (%n) {
    scf.for %i = %c0 to %n step %c32 {
      memref.store %v, %s[%r] : memref<?xf32>
    }
  }
  return
}
