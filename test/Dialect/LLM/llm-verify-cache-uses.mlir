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

// Accepted: a call that returns no cache only reads, as often as it likes.
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
  // expected-error @+1 {{consumes a cache that is consumed already; an append can only happen in place if it is the last use of its operand}}
  %0 = llm.append_kv %kv, %k, %k slots %slots : (!kv, tensor<?x2x4xf32>, tensor<?x2x4xf32>, tensor<?xi32>) -> !kv
  // expected-note @+1 {{consumed here}}
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

// A call that returns a cache consumes the one it is given.
func.func private @layer(%kv: !kv) -> !kv
func.func @call_and_return(%kv: !kv) -> (!kv, !kv) {
  // expected-error @+1 {{consumes a cache that is consumed already; an append can only happen in place if it is the last use of its operand}}
  %0 = call @layer(%kv) : (!kv) -> !kv
  // expected-note @+1 {{consumed here}}
  return %kv, %0 : !kv, !kv
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
func.func private @read(%kv: !kv) -> f32
func.func @call_after(%kv: !kv, %k: tensor<?x2x4xf32>, %slots: tensor<?xi32>) -> (f32, !kv) {
  // expected-note @+1 {{consumed here}}
  %0 = llm.append_kv %kv, %k, %k slots %slots : (!kv, tensor<?x2x4xf32>, tensor<?x2x4xf32>, tensor<?xi32>) -> !kv
  // expected-error @+1 {{reads a cache that may have been consumed; reads must come first}}
  %1 = call @read(%kv) : (!kv) -> f32
  return %1, %0 : f32, !kv
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// One append in the text may be many at run time.
func.func @append_in_loop(%kv: !kv, %k: tensor<?x2x4xf32>, %slots: tensor<?xi32>, %n: index) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  scf.for %i = %c0 to %n step %c1 {
    // expected-error @+1 {{consumes a cache from outside of its region, which may run more than once}}
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

// On one of two paths: the read may come after the append.
func.func @branches(%kv: !kv, %c: i1, %k: tensor<?x2x4xf32>, %slots: tensor<?xi32>,
                    %b: tensor<1x2xi32>, %lens: tensor<1xi32>) {
  cf.cond_br %c, ^append, ^read
^append:
  // expected-note @+1 {{consumed here}}
  %0 = llm.append_kv %kv, %k, %k slots %slots : (!kv, tensor<?x2x4xf32>, tensor<?x2x4xf32>, tensor<?xi32>) -> !kv
  cf.br ^read
^read:
  // expected-error @+1 {{reads a cache that may have been consumed; reads must come first}}
  %keys, %values = llm.lookup_kv %kv, %b, %lens
    : (!kv, tensor<1x2xi32>, tensor<1xi32>) -> (tensor<1x32x2x4xf32>, tensor<1x32x2x4xf32>)
  return
}
