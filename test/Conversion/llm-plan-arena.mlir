// RUN: llmir-opt %s -llm-plan-arena=max-batch-tokens=16 -split-input-file -verify-diagnostics | FileCheck %s

// Two buffers of 16 tokens that are alive together: one behind the other.
// CHECK: module attributes {llm.arena_bytes = 1024 : i64, llm.max_batch_tokens = 16 : i64}
// CHECK-LABEL: func @together
// CHECK-SAME: %[[T:[^ ]*]]: index, %[[OUT:[^ ]*]]: memref<?x8xf32>, %[[ARENA:[^ ]*]]: memref<?xi8>)
// CHECK: %[[AT:.*]] = arith.constant 0 : index
// CHECK: %[[A:.*]] = memref.view %[[ARENA]][%[[AT]]][%[[T]]] : memref<?xi8> to memref<?x8xf32>
// CHECK: %[[AT:.*]] = arith.constant 512 : index
// CHECK: %[[B:.*]] = memref.view %[[ARENA]][%[[AT]]][%[[T]]] : memref<?xi8> to memref<?x8xf32>
// CHECK: llm.call_kernel linear ins(%[[A]] : {{.*}}) outs(%[[B]] :
func.func @together(%t: index, %out: memref<?x8xf32>) {
  %a = memref.alloc(%t) : memref<?x8xf32>
  llm.call_kernel linear ins() outs(%a : memref<?x8xf32>)
  %b = memref.alloc(%t) : memref<?x8xf32>
  llm.call_kernel linear ins(%a : memref<?x8xf32>) outs(%b : memref<?x8xf32>)
  llm.call_kernel linear ins(%b : memref<?x8xf32>) outs(%out : memref<?x8xf32>)
  return
}

// -----

// Once the first one is dead, a third one takes its place.
// CHECK: module attributes {llm.arena_bytes = 1024 : i64
// CHECK-LABEL: func @reuse
// CHECK: memref.view %{{.*}}[%c0][]
// CHECK: memref.view %{{.*}}[%c512][]
// CHECK: memref.view %{{.*}}[%c0{{.*}}][]
func.func @reuse(%out: memref<16x8xf32>) {
  %a = memref.alloc() : memref<16x8xf32>
  llm.call_kernel linear ins() outs(%a : memref<16x8xf32>)
  %b = memref.alloc() : memref<16x8xf32>
  llm.call_kernel linear ins(%a : memref<16x8xf32>) outs(%b : memref<16x8xf32>)
  %c = memref.alloc() : memref<16x8xf32>
  llm.call_kernel linear ins(%b : memref<16x8xf32>) outs(%c : memref<16x8xf32>)
  llm.call_kernel linear ins(%c : memref<16x8xf32>) outs(%out : memref<16x8xf32>)
  return
}

// -----

// A buffer that is made in a loop has one place for all turns, and two of them
// have two, though there is but one op around them.
// CHECK: module attributes {llm.arena_bytes = 1024 : i64
// CHECK-LABEL: func @in_loop
// CHECK: scf.for
// CHECK: memref.view %{{.*}}[%c0{{.*}}][]
// CHECK: memref.view %{{.*}}[%c512][]
func.func @in_loop(%n: index, %p: i1, %out: memref<16x8xf32>) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  scf.for %i = %c0 to %n step %c1 {
    scf.if %p {
      %a = memref.alloc() : memref<16x8xf32>
      %b = memref.alloc() : memref<16x8xf32>
      llm.call_kernel linear ins() outs(%a : memref<16x8xf32>)
      llm.call_kernel linear ins(%a : memref<16x8xf32>) outs(%b : memref<16x8xf32>)
      llm.call_kernel linear ins(%b : memref<16x8xf32>) outs(%out : memref<16x8xf32>)
    }
  }
  return
}

// -----

// A buffer lives as long as its views, and as what is used in a loop does.
// CHECK: module attributes {llm.arena_bytes = 1536 : i64
// CHECK-LABEL: func @views
// CHECK: memref.view %{{.*}}[%c0{{.*}}][]
// CHECK: memref.view %{{.*}}[%c512][]
// CHECK: memref.view %{{.*}}[%c1024][]
func.func @views(%out: memref<16x8xf32>) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c16 = arith.constant 16 : index
  %zero = arith.constant 0.0 : f32
  %a = memref.alloc() : memref<16x8xf32>
  %v = memref.collapse_shape %a [[0, 1]] : memref<16x8xf32> into memref<128xf32>
  %b = memref.alloc() : memref<16x8xf32>
  llm.call_kernel linear ins() outs(%b : memref<16x8xf32>)
  %c = memref.alloc() : memref<16x8xf32>
  scf.for %i = %c0 to %c16 step %c1 {
    memref.store %zero, %v[%i] : memref<128xf32>
    memref.store %zero, %b[%i, %c0] : memref<16x8xf32>
  }
  llm.call_kernel linear ins() outs(%c : memref<16x8xf32>)
  return
}

// -----

// Places are whole cache lines, and never shared by what is used at one time.
// CHECK: module attributes {llm.arena_bytes = 192 : i64
// CHECK-LABEL: func @lines
// CHECK: memref.view %{{.*}}[%c128][] : memref<?xi8> to memref<3xbf16>
// CHECK: memref.view %{{.*}}[%c0][] : memref<?xi8> to memref<17xf32>
func.func @lines() {
  %a = memref.alloc() : memref<3xbf16>
  %b = memref.alloc() : memref<17xf32>
  llm.call_kernel linear ins(%a : memref<3xbf16>) outs(%b : memref<17xf32>)
  return
}

// -----

// The frame of a function lies behind that of each of its callers.
// CHECK: module attributes {llm.arena_bytes = 448 : i64
// CHECK-LABEL: func @step
// CHECK-SAME: (%[[ARENA:.*]]: memref<?xi8>)
// CHECK: memref.view %[[ARENA]][%c0][] : memref<?xi8> to memref<64xf32>
// CHECK: call @layer(%{{.*}}, %[[ARENA]]) : (memref<64xf32>, memref<?xi8>) -> ()
// CHECK: call @inner(%[[ARENA]])
// CHECK: func private @layer(%{{.*}}: memref<64xf32>, %[[ARENA:.*]]: memref<?xi8>)
// CHECK: memref.view %[[ARENA]][%c256][] : memref<?xi8> to memref<32xf32>
// CHECK: func private @inner(%[[ARENA:.*]]: memref<?xi8>)
// CHECK: memref.view %[[ARENA]][%c384][] : memref<?xi8> to memref<16xf32>
func.func @step() {
  %a = memref.alloc() : memref<64xf32>
  call @layer(%a) : (memref<64xf32>) -> ()
  call @inner() : () -> ()
  return
}
func.func private @layer(%x: memref<64xf32>) {
  %a = memref.alloc() : memref<32xf32>
  call @inner() : () -> ()
  llm.call_kernel linear ins(%x : memref<64xf32>) outs(%a : memref<32xf32>)
  return
}
func.func private @inner() {
  %a = memref.alloc() : memref<16xf32>
  llm.call_kernel linear ins() outs(%a : memref<16xf32>)
  return
}

// -----

// Tokens are counted by the first size.
func.func @second_size(%n: index) {
  // expected-error @+1 {{cannot plan a buffer of 'memref<4x?xf32>': only its first size may be dynamic}}
  %a = memref.alloc(%n) : memref<4x?xf32>
  return
}

// -----

// Rows lie one behind the other.
func.func @layout() {
  // expected-error @+1 {{cannot plan a buffer of 'memref<4x4xf32, strided<[8, 1]>>': only its first size may be dynamic}}
  %a = memref.alloc() : memref<4x4xf32, strided<[8, 1]>>
  return
}

// -----

// One size of a buffer is the number of tokens.
func.func @two_sizes(%n: index) {
  // expected-error @+1 {{cannot plan a buffer of 'memref<?x?xf32>': only its first size may be dynamic}}
  %a = memref.alloc(%n, %n) : memref<?x?xf32>
  return
}

// -----

// A place is for one buffer, not for one of each turn at once.
func.func @in_parallel_loop(%n: index) {
  scf.forall (%i) in (%n) {
    // expected-error @+1 {{cannot plan a buffer that is made in a parallel loop}}
    %a = memref.alloc() : memref<4xf32>
  }
  return
}

// -----

// The caller would use it for something else.
func.func @escapes() -> memref<4xf32> {
  %a = memref.alloc() : memref<4xf32>
  // expected-error @+1 {{returns a buffer that is made in its function}}
  return %a : memref<4xf32>
}

// -----

// Lives are followed along one list of ops.
// expected-error @+1 {{must have a single block}}
func.func @blocks() {
  cf.br ^next
^next:
  return
}

// -----

// A frame has one place.
// expected-error @+1 {{calls itself; a step cannot recurse}}
func.func private @recursive() {
  call @recursive() : () -> ()
  return
}

// -----

// A buffer is whole bytes.
func.func @sub_bytes() {
  // expected-error @+1 {{cannot place a buffer of 'memref<8xi4>'}}
  %a = memref.alloc() : memref<8xi4>
  return
}

// -----

// With 16 tokens, it fits into 2^48 of them.
func.func @absurd(%n: index) {
  // expected-error @+1 {{cannot place a buffer of 'memref<?x17592186044417xi8>'}}
  %a = memref.alloc(%n) : memref<?x17592186044417xi8>
  return
}

// -----

// Which of two buffers is used is not known.
func.func @chosen(%c: i1) {
  %a = memref.alloc() : memref<4xf32>
  %b = memref.alloc() : memref<4xf32>
  // expected-error @+1 {{gives a planned buffer another name, under which its life cannot be followed}}
  %0 = arith.select %c, %a, %b : memref<4xf32>
  llm.call_kernel linear ins() outs(%0 : memref<4xf32>)
  return
}

// -----

// Nor is it what a loop carries.
func.func @carried(%n: index) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %a = memref.alloc() : memref<4xf32>
  // expected-error @+1 {{gives a planned buffer another name, under which its life cannot be followed}}
  %0 = scf.for %i = %c0 to %n step %c1 iter_args(%carried = %a) -> memref<4xf32> {
    scf.yield %carried : memref<4xf32>
  }
  llm.call_kernel linear ins() outs(%0 : memref<4xf32>)
  return
}

// -----

// Nor a number that was a buffer.
func.func @address() {
  %a = memref.alloc() : memref<4xf32>
  // expected-error @+1 {{takes the address of a planned buffer, under which its life cannot be followed}}
  %0 = memref.extract_aligned_pointer_as_index %a : memref<4xf32> -> index
  return
}

// -----

// Nor what a loop hands on from where it is made.
func.func @handed_on(%x: memref<4xf32>, %p: i1) {
  %0 = scf.while : () -> memref<4xf32> {
    %a = memref.alloc() : memref<4xf32>
    // expected-error @+1 {{gives a planned buffer another name, under which its life cannot be followed}}
    scf.condition(%p) %a : memref<4xf32>
  } do {
  ^bb0(%b: memref<4xf32>):
    scf.yield
  }
  %c = memref.alloc() : memref<4xf32>
  memref.copy %x, %c : memref<4xf32> to memref<4xf32>
  memref.copy %0, %x : memref<4xf32> to memref<4xf32>
  return
}
