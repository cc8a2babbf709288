// RUN: llmir-opt %s -llm-verify-cache-uses -split-input-file -verify-diagnostics

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// Accepted: each cache is read, then consumed by the next append or the return.
func.func @chain(%kv: !kv, %k: tensor<?x2x4xf32>, %slots: tensor<?xi32>,
                 %b: tensor<1x2xi32>, %lens: tensor<1xi32>, %rows: tensor<2xi32>) -> !kv {
  %keys, %values = llm.lookup_kv %kv, %b, %lens
    : (!kv, tensor<1x2xi32>, tensor<1xi32>) -> (tensor<1x32x2x4xf32>, tensor<1x32x2x4xf32>)
  %0 = llm.append_kv %kv, %k, %k slots %slots : (!kv, tensor<?x2x4xf32>, tensor<?x2x4xf32>, tensor<?xi32>) -> !kv
  %o = llm.paged_attention %k, %0, %b, %lens rows %rows
    : (tensor<?x2x4xf32>, !kv, tensor<1x2xi32>, tensor<1xi32>, tensor<2xi32>) -> tensor<?x2x4xf32>
  %1 = llm.append_kv %0, %o, %o slots %slots : (!kv, tensor<?x2x4xf32>, tensor<?x2x4xf32>, tensor<?xi32>) -> !kv
  return %1 : !kv
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// Accepted: a call of a function that only reads, as often as one likes.
func.func private @read(%kv: !kv, %b: tensor<1x2xi32>, %lens: tensor<1xi32>) -> tensor<1x32x2x4xf32> {
  %keys, %values = llm.lookup_kv %kv, %b, %lens
    : (!kv, tensor<1x2xi32>, tensor<1xi32>) -> (tensor<1x32x2x4xf32>, tensor<1x32x2x4xf32>)
  return %keys : tensor<1x32x2x4xf32>
}
func.func private @layer(%kv: !kv, %k: tensor<?x2x4xf32>, %slots: tensor<?xi32>) -> !kv {
  %0 = llm.append_kv %kv, %k, %k slots %slots : (!kv, tensor<?x2x4xf32>, tensor<?x2x4xf32>, tensor<?xi32>) -> !kv
  return %0 : !kv
}
func.func @calls(%kv: !kv, %k: tensor<?x2x4xf32>, %slots: tensor<?xi32>,
                 %b: tensor<1x2xi32>, %lens: tensor<1xi32>) -> !kv {
  %0 = call @read(%kv, %b, %lens) : (!kv, tensor<1x2xi32>, tensor<1xi32>) -> tensor<1x32x2x4xf32>
  %1 = call @read(%kv, %b, %lens) : (!kv, tensor<1x2xi32>, tensor<1xi32>) -> tensor<1x32x2x4xf32>
  %2 = call @layer(%kv, %k, %slots) : (!kv, tensor<?x2x4xf32>, tensor<?xi32>) -> !kv
  %3 = call @layer(%2, %k, %slots) : (!kv, tensor<?x2x4xf32>, tensor<?xi32>) -> !kv
  return %3 : !kv
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// Accepted: a read in a loop that lies before the append.
func.func @loop_before(%kv: !kv, %k: tensor<?x2x4xf32>, %slots: tensor<?xi32>,
                       %b: tensor<1x2xi32>, %lens: tensor<1xi32>, %n: index) -> !kv {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  scf.for %i = %c0 to %n step %c1 {
    %keys, %values = llm.lookup_kv %kv, %b, %lens
      : (!kv, tensor<1x2xi32>, tensor<1xi32>) -> (tensor<1x32x2x4xf32>, tensor<1x32x2x4xf32>)
  }
  %0 = llm.append_kv %kv, %k, %k slots %slots : (!kv, tensor<?x2x4xf32>, tensor<?x2x4xf32>, tensor<?xi32>) -> !kv
  return %0 : !kv
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// Accepted: a loop that carries the cache from one append to the next.
func.func @loop_carried(%kv: !kv, %k: tensor<?x2x4xf32>, %slots: tensor<?xi32>, %n: index) -> !kv {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %1 = scf.for %i = %c0 to %n step %c1 iter_args(%carried = %kv) -> !kv {
    %0 = llm.append_kv %carried, %k, %k slots %slots layer %i
      : (!kv, tensor<?x2x4xf32>, tensor<?x2x4xf32>, tensor<?xi32>, index) -> !kv
    scf.yield %0 : !kv
  }
  return %1 : !kv
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// Two appends to one cache would be two caches.
func.func @append_twice(%kv: !kv, %k: tensor<?x2x4xf32>, %slots: tensor<?xi32>) -> (!kv, !kv) {
  // expected-note @+1 {{consumed here}}
  %0 = llm.append_kv %kv, %k, %k slots %slots : (!kv, tensor<?x2x4xf32>, tensor<?x2x4xf32>, tensor<?xi32>) -> !kv
  // expected-error @+1 {{consumes a cache that is consumed already; an append can only happen in place if it is the last use of its operand}}
  %1 = llm.append_kv %kv, %k, %k slots %slots : (!kv, tensor<?x2x4xf32>, tensor<?x2x4xf32>, tensor<?xi32>) -> !kv
  return %0, %1 : !kv, !kv
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// A cache that is returned twice would be, too.
func.func @return_twice(%kv: !kv) -> (!kv, !kv) {
  // expected-error @+2 {{consumes a cache that is consumed already; an append can only happen in place if it is the last use of its operand}}
  // expected-note @+1 {{consumed here}}
  return %kv, %kv : !kv, !kv
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// A call of a function that is not known consumes what it is given.
func.func private @layer(%kv: !kv) -> !kv
func.func @call_and_return(%kv: !kv) -> (!kv, !kv) {
  // expected-note @+1 {{consumed here}}
  %0 = call @layer(%kv) : (!kv) -> !kv
  // expected-error @+1 {{consumes a cache that is consumed already; an append can only happen in place if it is the last use of its operand}}
  return %kv, %0 : !kv, !kv
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// Even one that returns no cache.
func.func private @unknown(%kv: !kv) -> f32
func.func @unknown_after(%kv: !kv, %k: tensor<?x2x4xf32>, %slots: tensor<?xi32>) -> (f32, !kv) {
  // expected-note @+1 {{consumed here}}
  %0 = llm.append_kv %kv, %k, %k slots %slots : (!kv, tensor<?x2x4xf32>, tensor<?x2x4xf32>, tensor<?xi32>) -> !kv
  // expected-error @+1 {{consumes a cache that is consumed already; an append can only happen in place if it is the last use of its operand}}
  %1 = call @unknown(%kv) : (!kv) -> f32
  return %1, %0 : f32, !kv
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// An append is no less of one in a function that keeps its result to itself.
func.func private @hidden(%kv: !kv, %k: tensor<?x2x4xf32>, %slots: tensor<?xi32>) {
  %0 = llm.append_kv %kv, %k, %k slots %slots : (!kv, tensor<?x2x4xf32>, tensor<?x2x4xf32>, tensor<?xi32>) -> !kv
  return
}
func.func @hidden_append(%kv: !kv, %k: tensor<?x2x4xf32>, %slots: tensor<?xi32>) -> !kv {
  // expected-note @+1 {{consumed here}}
  call @hidden(%kv, %k, %slots) : (!kv, tensor<?x2x4xf32>, tensor<?xi32>) -> ()
  // expected-error @+1 {{consumes a cache that is consumed already; an append can only happen in place if it is the last use of its operand}}
  %0 = llm.append_kv %kv, %k, %k slots %slots : (!kv, tensor<?x2x4xf32>, tensor<?x2x4xf32>, tensor<?xi32>) -> !kv
  return %0 : !kv
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// However deep it is hidden.
func.func private @deeper(%kv: !kv, %k: tensor<?x2x4xf32>, %slots: tensor<?xi32>) {
  %0 = llm.append_kv %kv, %k, %k slots %slots : (!kv, tensor<?x2x4xf32>, tensor<?x2x4xf32>, tensor<?xi32>) -> !kv
  return
}
func.func private @deep(%kv: !kv, %k: tensor<?x2x4xf32>, %slots: tensor<?xi32>) {
  call @deeper(%kv, %k, %slots) : (!kv, tensor<?x2x4xf32>, tensor<?xi32>) -> ()
  return
}
func.func @deep_append(%kv: !kv, %k: tensor<?x2x4xf32>, %slots: tensor<?xi32>,
                       %b: tensor<1x2xi32>, %lens: tensor<1xi32>) -> tensor<1x32x2x4xf32> {
  // expected-note @+1 {{consumed here}}
  call @deep(%kv, %k, %slots) : (!kv, tensor<?x2x4xf32>, tensor<?xi32>) -> ()
  // expected-error @+1 {{reads a cache that may have been consumed; reads must come first}}
  %keys, %values = llm.lookup_kv %kv, %b, %lens
    : (!kv, tensor<1x2xi32>, tensor<1xi32>) -> (tensor<1x32x2x4xf32>, tensor<1x32x2x4xf32>)
  return %keys : tensor<1x32x2x4xf32>
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// Nobody follows a recursion: it counts as an append.
func.func private @recursive(%kv: !kv) {
  call @recursive(%kv) : (!kv) -> ()
  return
}
func.func @recursion(%kv: !kv) -> !kv {
  // expected-note @+1 {{consumed here}}
  call @recursive(%kv) : (!kv) -> ()
  // expected-error @+1 {{consumes a cache that is consumed already; an append can only happen in place if it is the last use of its operand}}
  return %kv : !kv
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// A read after the append would see what the append changed.
func.func @read_after(%kv: !kv, %k: tensor<?x2x4xf32>, %slots: tensor<?xi32>,
                      %b: tensor<1x2xi32>, %lens: tensor<1xi32>) -> (tensor<1x32x2x4xf32>, !kv) {
  // expected-note @+1 {{consumed here}}
  %0 = llm.append_kv %kv, %k, %k slots %slots : (!kv, tensor<?x2x4xf32>, tensor<?x2x4xf32>, tensor<?xi32>) -> !kv
  // expected-error @+1 {{reads a cache that may have been consumed; reads must come first}}
  %keys, %values = llm.lookup_kv %kv, %b, %lens
    : (!kv, tensor<1x2xi32>, tensor<1xi32>) -> (tensor<1x32x2x4xf32>, tensor<1x32x2x4xf32>)
  return %keys, %0 : tensor<1x32x2x4xf32>, !kv
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// So would a call that reads.
func.func private @read(%kv: !kv, %b: tensor<1x2xi32>, %lens: tensor<1xi32>) -> tensor<1x32x2x4xf32> {
  %keys, %values = llm.lookup_kv %kv, %b, %lens
    : (!kv, tensor<1x2xi32>, tensor<1xi32>) -> (tensor<1x32x2x4xf32>, tensor<1x32x2x4xf32>)
  return %keys : tensor<1x32x2x4xf32>
}
func.func @call_after(%kv: !kv, %k: tensor<?x2x4xf32>, %slots: tensor<?xi32>,
                      %b: tensor<1x2xi32>, %lens: tensor<1xi32>) -> (tensor<1x32x2x4xf32>, !kv) {
  // expected-note @+1 {{consumed here}}
  %0 = llm.append_kv %kv, %k, %k slots %slots : (!kv, tensor<?x2x4xf32>, tensor<?x2x4xf32>, tensor<?xi32>) -> !kv
  // expected-error @+1 {{reads a cache that may have been consumed; reads must come first}}
  %1 = call @read(%kv, %b, %lens) : (!kv, tensor<1x2xi32>, tensor<1xi32>) -> tensor<1x32x2x4xf32>
  return %1, %0 : tensor<1x32x2x4xf32>, !kv
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// One append in the text may be many at run time.
func.func @append_in_loop(%kv: !kv, %k: tensor<?x2x4xf32>, %slots: tensor<?xi32>, %n: index) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  scf.for %i = %c0 to %n step %c1 {
    // expected-error @+1 {{consumes a cache from outside of its block, which may run more than once}}
    %0 = llm.append_kv %kv, %k, %k slots %slots layer %i
      : (!kv, tensor<?x2x4xf32>, tensor<?x2x4xf32>, tensor<?xi32>, index) -> !kv
  }
  return
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// A read in a loop that lies after the append.
func.func @loop_after(%kv: !kv, %k: tensor<?x2x4xf32>, %slots: tensor<?xi32>,
                      %b: tensor<1x2xi32>, %lens: tensor<1xi32>, %n: index) -> !kv {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  // expected-note @+1 {{consumed here}}
  %0 = llm.append_kv %kv, %k, %k slots %slots : (!kv, tensor<?x2x4xf32>, tensor<?x2x4xf32>, tensor<?xi32>) -> !kv
  scf.for %i = %c0 to %n step %c1 {
    // expected-error @+1 {{reads a cache that may have been consumed; reads must come first}}
    %keys, %values = llm.lookup_kv %kv, %b, %lens
      : (!kv, tensor<1x2xi32>, tensor<1xi32>) -> (tensor<1x32x2x4xf32>, tensor<1x32x2x4xf32>)
  }
  return %0 : !kv
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// One append in the text may be many in a loop of branches, too.
func.func @append_in_cfg_loop(%kv: !kv, %c: i1, %k: tensor<?x2x4xf32>, %slots: tensor<?xi32>) {
  cf.br ^loop
^loop:
  // expected-error @+1 {{consumes a cache from outside of its block, which may run more than once}}
  %0 = llm.append_kv %kv, %k, %k slots %slots : (!kv, tensor<?x2x4xf32>, tensor<?x2x4xf32>, tensor<?xi32>) -> !kv
  cf.cond_br %c, ^loop, ^done
^done:
  return
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// Accepted: a loop of branches that carries the cache.
func.func @carried_in_cfg_loop(%kv: !kv, %k: tensor<?x2x4xf32>, %slots: tensor<?xi32>) {
  cf.br ^loop(%kv : !kv)
^loop(%carried: !kv):
  %0 = llm.append_kv %carried, %k, %k slots %slots : (!kv, tensor<?x2x4xf32>, tensor<?x2x4xf32>, tensor<?xi32>) -> !kv
  cf.br ^loop(%0 : !kv)
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// The read may come after the branch that passes the cache on.
func.func @read_in_next_block(%kv: !kv, %b: tensor<1x2xi32>, %lens: tensor<1xi32>) -> !kv {
  // expected-note @+1 {{consumed here}}
  cf.br ^next(%kv : !kv)
^next(%0: !kv):
  // expected-error @+1 {{reads a cache that may have been consumed; reads must come first}}
  %keys, %values = llm.lookup_kv %kv, %b, %lens
    : (!kv, tensor<1x2xi32>, tensor<1xi32>) -> (tensor<1x32x2x4xf32>, tensor<1x32x2x4xf32>)
  return %0 : !kv
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// On one of two paths: the read on both may come after the append.
func.func @branches(%kv: !kv, %c: i1, %k: tensor<?x2x4xf32>, %slots: tensor<?xi32>,
                    %b: tensor<1x2xi32>, %lens: tensor<1xi32>) {
  cf.cond_br %c, ^append, ^read
^append:
  // expected-error @+1 {{consumes a cache from outside of its block, which may run more than once}}
  %0 = llm.append_kv %kv, %k, %k slots %slots : (!kv, tensor<?x2x4xf32>, tensor<?x2x4xf32>, tensor<?xi32>) -> !kv
  cf.br ^read
^read:
  %keys, %values = llm.lookup_kv %kv, %b, %lens
    : (!kv, tensor<1x2xi32>, tensor<1xi32>) -> (tensor<1x32x2x4xf32>, tensor<1x32x2x4xf32>)
  return
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// One cache, passed twice: the callee appends to the first and reads the second.
func.func private @both(%a: !kv, %b: !kv, %k: tensor<?x2x4xf32>, %slots: tensor<?xi32>,
                        %t: tensor<1x2xi32>, %lens: tensor<1xi32>) -> (!kv, tensor<1x32x2x4xf32>) {
  %0 = llm.append_kv %a, %k, %k slots %slots : (!kv, tensor<?x2x4xf32>, tensor<?x2x4xf32>, tensor<?xi32>) -> !kv
  %keys, %values = llm.lookup_kv %b, %t, %lens
    : (!kv, tensor<1x2xi32>, tensor<1xi32>) -> (tensor<1x32x2x4xf32>, tensor<1x32x2x4xf32>)
  return %0, %keys : !kv, tensor<1x32x2x4xf32>
}
func.func @twice(%kv: !kv, %k: tensor<?x2x4xf32>, %slots: tensor<?xi32>,
                 %t: tensor<1x2xi32>, %lens: tensor<1xi32>) -> !kv {
  // expected-error @+2 {{reads a cache that may have been consumed; reads must come first}}
  // expected-note @+1 {{consumed here}}
  %0, %keys = call @both(%kv, %kv, %k, %slots, %t, %lens)
    : (!kv, !kv, tensor<?x2x4xf32>, tensor<?xi32>, tensor<1x2xi32>, tensor<1xi32>) -> (!kv, tensor<1x32x2x4xf32>)
  return %0 : !kv
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// An append that rotates its keys consumes the cache like any other.
func.func @rotated(%kv: !kv, %k: tensor<?x2x4xf32>, %table: tensor<64x2x2xf32>, %slots: tensor<?xi32>) -> !kv {
  // expected-note @+1 {{consumed here}}
  %0, %q = llm.rope_append_kv %kv, %k, %k, %k, %table, %slots slots %slots
    : (!kv, tensor<?x2x4xf32>, tensor<?x2x4xf32>, tensor<?x2x4xf32>, tensor<64x2x2xf32>, tensor<?xi32>, tensor<?xi32>) -> (!kv, tensor<?x2x4xf32>)
  // expected-error @+1 {{consumes a cache that is consumed already}}
  return %kv : !kv
}
