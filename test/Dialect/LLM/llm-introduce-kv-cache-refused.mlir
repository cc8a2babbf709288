// RUN: llmir-opt %s -llm-introduce-kv-cache=max-seq-len=64 -split-input-file -verify-diagnostics
// RUN: not llmir-opt %s -llm-introduce-kv-cache=block-size=24 -split-input-file 2>&1 | FileCheck %s -check-prefix=BLOCK
// RUN: not llmir-opt %s -llm-introduce-kv-cache=dtype=int2 -split-input-file 2>&1 | FileCheck %s -check-prefix=DTYPE
// RUN: echo "func.func @step() { return }" | not llmir-opt -llm-introduce-kv-cache=function=step 2>&1 | FileCheck %s -check-prefix=LOGITS

// BLOCK: llm-introduce-kv-cache: block-size must be a power of two up to 16384, but is 24
// DTYPE: llm-introduce-kv-cache: dtype must be auto, int8, int4, f32, bf16 or f16, but is int2
// LOGITS: cannot become a step: returns no logits

// Attention to what comes later.
func.func @main(%ids: tensor<1x?xi32>) -> tensor<?x8xf32> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %t = tensor.dim %ids, %c1 : tensor<1x?xi32>
  %embed = llm.parameter "model"::"embed" : tensor<8x4xf32>
  %flat = tensor.collapse_shape %ids [[0, 1]] : tensor<1x?xi32> into tensor<?xi32>
  %h = llm.embedding %flat, %embed : (tensor<?xi32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  %q = tensor.expand_shape %h [[0, 1], [2, 3]] : tensor<?x4xf32> into tensor<1x?x1x4xf32>
  // expected-error @+1 {{cannot become a step: is no causal attention}}
  %a = llm.attention %q, %q, %q : (tensor<1x?x1x4xf32>, tensor<1x?x1x4xf32>, tensor<1x?x1x4xf32>) -> tensor<1x?x1x4xf32>
  %rows = tensor.collapse_shape %a [[0, 1], [2, 3]] : tensor<1x?x1x4xf32> into tensor<?x4xf32>
  %logits = llm.linear %rows, %embed : (tensor<?x4xf32>, tensor<8x4xf32>) -> tensor<?x8xf32>
  return %logits : tensor<?x8xf32>
}

// -----

// A mask may be anything.
func.func @main(%ids: tensor<1x?xi32>) -> tensor<?x8xf32> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %t = tensor.dim %ids, %c1 : tensor<1x?xi32>
  %embed = llm.parameter "model"::"embed" : tensor<8x4xf32>
  %flat = tensor.collapse_shape %ids [[0, 1]] : tensor<1x?xi32> into tensor<?xi32>
  %h = llm.embedding %flat, %embed : (tensor<?xi32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  %q = tensor.expand_shape %h [[0, 1], [2, 3]] : tensor<?x4xf32> into tensor<1x?x1x4xf32>
  %no = arith.constant -1.0 : f32
  %e4 = tensor.empty(%t, %t) : tensor<1x1x?x?xf32>
  %mask = linalg.fill ins(%no : f32) outs(%e4 : tensor<1x1x?x?xf32>) -> tensor<1x1x?x?xf32>
  // expected-error @-1 {{brings tokens together that a step may not have side by side}}
  %a = llm.attention %q, %q, %q mask %mask {causal} : (tensor<1x?x1x4xf32>, tensor<1x?x1x4xf32>, tensor<1x?x1x4xf32>, tensor<1x1x?x?xf32>) -> tensor<1x?x1x4xf32>
  %rows = tensor.collapse_shape %a [[0, 1], [2, 3]] : tensor<1x?x1x4xf32> into tensor<?x4xf32>
  %logits = llm.linear %rows, %embed : (tensor<?x4xf32>, tensor<8x4xf32>) -> tensor<?x8xf32>
  return %logits : tensor<?x8xf32>
}

// -----

// Values are those of the sequence in another order; that is seen where tokens
// change places.
func.func @main(%ids: tensor<1x?xi32>) -> tensor<?x8xf32> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %t = tensor.dim %ids, %c1 : tensor<1x?xi32>
  %embed = llm.parameter "model"::"embed" : tensor<8x4xf32>
  %flat = tensor.collapse_shape %ids [[0, 1]] : tensor<1x?xi32> into tensor<?xi32>
  %h = llm.embedding %flat, %embed : (tensor<?xi32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  %q = tensor.expand_shape %h [[0, 1], [2, 3]] : tensor<?x4xf32> into tensor<1x?x1x4xf32>
  %e4 = tensor.empty(%t) : tensor<1x?x1x4xf32>
  %last = arith.subi %t, %c1 : index
  %v = linalg.generic {indexing_maps = [affine_map<(b, t, h, d) -> (b, t, h, d)>], iterator_types = ["parallel", "parallel", "parallel", "parallel"]} outs(%e4 : tensor<1x?x1x4xf32>) {
  ^bb0(%out: f32):
    %i = linalg.index 1 : index
    %j = arith.subi %last, %i : index
    %d = linalg.index 3 : index
    // expected-error @+1 {{brings tokens together}}
    %y = tensor.extract %q[%c0, %j, %c0, %d] : tensor<1x?x1x4xf32>
    linalg.yield %y : f32
  } -> tensor<1x?x1x4xf32>
  %a = llm.attention %q, %q, %v {causal} : (tensor<1x?x1x4xf32>, tensor<1x?x1x4xf32>, tensor<1x?x1x4xf32>) -> tensor<1x?x1x4xf32>
  %rows = tensor.collapse_shape %a [[0, 1], [2, 3]] : tensor<1x?x1x4xf32> into tensor<?x4xf32>
  %logits = llm.linear %rows, %embed : (tensor<?x4xf32>, tensor<8x4xf32>) -> tensor<?x8xf32>
  return %logits : tensor<?x8xf32>
}

// -----

// A sum over tokens.
func.func @main(%ids: tensor<1x?xi32>) -> tensor<?x8xf32> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %t = tensor.dim %ids, %c1 : tensor<1x?xi32>
  %embed = llm.parameter "model"::"embed" : tensor<8x4xf32>
  %flat = tensor.collapse_shape %ids [[0, 1]] : tensor<1x?xi32> into tensor<?xi32>
  %h = llm.embedding %flat, %embed : (tensor<?xi32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  %q = tensor.expand_shape %h [[0, 1], [2, 3]] : tensor<?x4xf32> into tensor<1x?x1x4xf32>
  %a = llm.attention %q, %q, %q {causal} : (tensor<1x?x1x4xf32>, tensor<1x?x1x4xf32>, tensor<1x?x1x4xf32>) -> tensor<1x?x1x4xf32>
  %zero = arith.constant dense<0.0> : tensor<4xf32>
  // expected-error @+1 {{brings tokens together that a step may not have side by side; only causal attention may}}
  %sum = linalg.generic {indexing_maps = [affine_map<(t, d) -> (t, d)>, affine_map<(t, d) -> (d)>], iterator_types = ["reduction", "parallel"]} ins(%h : tensor<?x4xf32>) outs(%zero : tensor<4xf32>) {
  ^bb0(%in: f32, %out: f32):
    %y = arith.addf %in, %out : f32
    linalg.yield %y : f32
  } -> tensor<4xf32>
  %rows = tensor.collapse_shape %a [[0, 1], [2, 3]] : tensor<1x?x1x4xf32> into tensor<?x4xf32>
  %e2 = tensor.empty(%t) : tensor<?x4xf32>
  %x = linalg.generic {indexing_maps = [affine_map<(t, d) -> (t, d)>, affine_map<(t, d) -> (d)>, affine_map<(t, d) -> (t, d)>], iterator_types = ["parallel", "parallel"]} ins(%rows, %sum : tensor<?x4xf32>, tensor<4xf32>) outs(%e2 : tensor<?x4xf32>) {
  ^bb0(%a0: f32, %a1: f32, %out: f32):
    %y = arith.addf %a0, %a1 : f32
    linalg.yield %y : f32
  } -> tensor<?x4xf32>
  %logits = llm.linear %x, %embed : (tensor<?x4xf32>, tensor<8x4xf32>) -> tensor<?x8xf32>
  return %logits : tensor<?x8xf32>
}

// -----

// What is in the way of nothing that is needed does not matter.
func.func @main(%ids: tensor<1x?xi32>) -> tensor<?x8xf32> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %t = tensor.dim %ids, %c1 : tensor<1x?xi32>
  %embed = llm.parameter "model"::"embed" : tensor<8x4xf32>
  %flat = tensor.collapse_shape %ids [[0, 1]] : tensor<1x?xi32> into tensor<?xi32>
  %h = llm.embedding %flat, %embed : (tensor<?xi32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  %q = tensor.expand_shape %h [[0, 1], [2, 3]] : tensor<?x4xf32> into tensor<1x?x1x4xf32>
  %a = llm.attention %q, %q, %q {causal} : (tensor<1x?x1x4xf32>, tensor<1x?x1x4xf32>, tensor<1x?x1x4xf32>) -> tensor<1x?x1x4xf32>
  %zero = arith.constant dense<0.0> : tensor<4xf32>
  %sum = linalg.generic {indexing_maps = [affine_map<(t, d) -> (t, d)>, affine_map<(t, d) -> (d)>], iterator_types = ["reduction", "parallel"]} ins(%h : tensor<?x4xf32>) outs(%zero : tensor<4xf32>) {
  ^bb0(%in: f32, %out: f32):
    %y = arith.addf %in, %out : f32
    linalg.yield %y : f32
  } -> tensor<4xf32>
  %rows = tensor.collapse_shape %a [[0, 1], [2, 3]] : tensor<1x?x1x4xf32> into tensor<?x4xf32>
  %logits = llm.linear %rows, %embed : (tensor<?x4xf32>, tensor<8x4xf32>) -> tensor<?x8xf32>
  return %logits : tensor<?x8xf32>
}

// -----

// The last token only.
func.func @main(%ids: tensor<1x?xi32>) -> tensor<1x8xf32> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %t = tensor.dim %ids, %c1 : tensor<1x?xi32>
  %embed = llm.parameter "model"::"embed" : tensor<8x4xf32>
  %flat = tensor.collapse_shape %ids [[0, 1]] : tensor<1x?xi32> into tensor<?xi32>
  %h = llm.embedding %flat, %embed : (tensor<?xi32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  %q = tensor.expand_shape %h [[0, 1], [2, 3]] : tensor<?x4xf32> into tensor<1x?x1x4xf32>
  %a = llm.attention %q, %q, %q {causal} : (tensor<1x?x1x4xf32>, tensor<1x?x1x4xf32>, tensor<1x?x1x4xf32>) -> tensor<1x?x1x4xf32>
  %last = arith.subi %t, %c1 : index
  %rows = tensor.collapse_shape %a [[0, 1], [2, 3]] : tensor<1x?x1x4xf32> into tensor<?x4xf32>
  // expected-error @+1 {{cannot become a step: takes some of the tokens, and a step has others}}
  %one = tensor.extract_slice %rows[%last, 0] [1, 4] [1, 1] : tensor<?x4xf32> to tensor<1x4xf32>
  %logits = llm.linear %one, %embed : (tensor<1x4xf32>, tensor<8x4xf32>) -> tensor<1x8xf32>
  return %logits : tensor<1x8xf32>
}

// -----

// Positions from the end of the sequence.
func.func @main(%ids: tensor<1x?xi32>) -> tensor<?x8xf32> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %t = tensor.dim %ids, %c1 : tensor<1x?xi32>
  %embed = llm.parameter "model"::"embed" : tensor<8x4xf32>
  %flat = tensor.collapse_shape %ids [[0, 1]] : tensor<1x?xi32> into tensor<?xi32>
  %h = llm.embedding %flat, %embed : (tensor<?xi32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  %empty = tensor.empty(%t) : tensor<?xi32>
  %positions = linalg.generic {indexing_maps = [affine_map<(t) -> (t)>], iterator_types = ["parallel"]} outs(%empty : tensor<?xi32>) {
  ^bb0(%out: i32):
    %i = linalg.index 0 : index
    %last = arith.subi %t, %c1 : index
    %j = arith.subi %last, %i : index
    %p = arith.index_cast %j : index to i32
    linalg.yield %p : i32
  } -> tensor<?xi32>
  %table = llm.parameter "model"::"wpe" : tensor<64x4xf32>
  // expected-error @+1 {{depends on how many tokens or sequences a call has}}
  %e = llm.embedding %positions, %table : (tensor<?xi32>, tensor<64x4xf32>) -> tensor<?x4xf32>
  %x = arith.addf %h, %e : tensor<?x4xf32>
  %q = tensor.expand_shape %x [[0, 1], [2, 3]] : tensor<?x4xf32> into tensor<1x?x1x4xf32>
  %a = llm.attention %q, %q, %q {causal} : (tensor<1x?x1x4xf32>, tensor<1x?x1x4xf32>, tensor<1x?x1x4xf32>) -> tensor<1x?x1x4xf32>
  %rows = tensor.collapse_shape %a [[0, 1], [2, 3]] : tensor<1x?x1x4xf32> into tensor<?x4xf32>
  %logits = llm.linear %rows, %embed : (tensor<?x4xf32>, tensor<8x4xf32>) -> tensor<?x8xf32>
  return %logits : tensor<?x8xf32>
}

// -----

// A table that is shorter than the longest sequence; positions begin with 2.
func.func @main(%ids: tensor<1x?xi32>) -> tensor<?x8xf32> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %t = tensor.dim %ids, %c1 : tensor<1x?xi32>
  %embed = llm.parameter "model"::"embed" : tensor<8x4xf32>
  %flat = tensor.collapse_shape %ids [[0, 1]] : tensor<1x?xi32> into tensor<?xi32>
  %h = llm.embedding %flat, %embed : (tensor<?xi32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  %empty = tensor.empty(%t) : tensor<?xi32>
  %positions = linalg.generic {indexing_maps = [affine_map<(t) -> (t)>], iterator_types = ["parallel"]} outs(%empty : tensor<?xi32>) {
  ^bb0(%out: i32):
    %i = linalg.index 0 : index
    %c2 = arith.constant 2 : index
    %j = arith.addi %i, %c2 : index
    %p = arith.index_cast %j : index to i32
    linalg.yield %p : i32
  } -> tensor<?xi32>
  %table = llm.parameter "model"::"wpe" : tensor<65x4xf32>
  // expected-error @+1 {{a table has room for 63 positions, but max-seq-len is 64}}
  %e = llm.embedding %positions, %table : (tensor<?xi32>, tensor<65x4xf32>) -> tensor<?x4xf32>
  %x = arith.addf %h, %e : tensor<?x4xf32>
  %q = tensor.expand_shape %x [[0, 1], [2, 3]] : tensor<?x4xf32> into tensor<1x?x1x4xf32>
  %a = llm.attention %q, %q, %q {causal} : (tensor<1x?x1x4xf32>, tensor<1x?x1x4xf32>, tensor<1x?x1x4xf32>) -> tensor<1x?x1x4xf32>
  %rows = tensor.collapse_shape %a [[0, 1], [2, 3]] : tensor<1x?x1x4xf32> into tensor<?x4xf32>
  %logits = llm.linear %rows, %embed : (tensor<?x4xf32>, tensor<8x4xf32>) -> tensor<?x8xf32>
  return %logits : tensor<?x8xf32>
}

// -----

// What depends on the length of a call, as the rotation by a frequency that grows
// with it.
func.func @main(%ids: tensor<1x?xi32>) -> tensor<?x8xf32> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %t = tensor.dim %ids, %c1 : tensor<1x?xi32>
  %embed = llm.parameter "model"::"embed" : tensor<8x4xf32>
  %flat = tensor.collapse_shape %ids [[0, 1]] : tensor<1x?xi32> into tensor<?xi32>
  %h = llm.embedding %flat, %embed : (tensor<?xi32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  %ti = arith.index_cast %t : index to i32
  // expected-error @+1 {{depends on how many tokens or sequences a call has}}
  %tf = arith.sitofp %ti : i32 to f32
  %e2 = tensor.empty(%t) : tensor<?x4xf32>
  %x = linalg.generic {indexing_maps = [affine_map<(t, d) -> (t, d)>, affine_map<(t, d) -> (t, d)>], iterator_types = ["parallel", "parallel"]} ins(%h : tensor<?x4xf32>) outs(%e2 : tensor<?x4xf32>) {
  ^bb0(%in: f32, %out: f32):
    %y = arith.mulf %in, %tf : f32
    linalg.yield %y : f32
  } -> tensor<?x4xf32>
  %q = tensor.expand_shape %x [[0, 1], [2, 3]] : tensor<?x4xf32> into tensor<1x?x1x4xf32>
  %a = llm.attention %q, %q, %q {causal} : (tensor<1x?x1x4xf32>, tensor<1x?x1x4xf32>, tensor<1x?x1x4xf32>) -> tensor<1x?x1x4xf32>
  %rows = tensor.collapse_shape %a [[0, 1], [2, 3]] : tensor<1x?x1x4xf32> into tensor<?x4xf32>
  %logits = llm.linear %rows, %embed : (tensor<?x4xf32>, tensor<8x4xf32>) -> tensor<?x8xf32>
  return %logits : tensor<?x8xf32>
}

// -----

// More integers for each token.
// expected-error @+1 {{argument 1 of the function has integers for each token as well; only token ids are known to a step}}
func.func @main(%ids: tensor<1x?xi32>, %more: tensor<1x?xi32>) -> tensor<?x8xf32> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %t = tensor.dim %ids, %c1 : tensor<1x?xi32>
  %embed = llm.parameter "model"::"embed" : tensor<8x4xf32>
  %flat = tensor.collapse_shape %ids [[0, 1]] : tensor<1x?xi32> into tensor<?xi32>
  %h = llm.embedding %flat, %embed : (tensor<?xi32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  %flat1 = tensor.collapse_shape %more [[0, 1]] : tensor<1x?xi32> into tensor<?xi32>
  %e = llm.embedding %flat1, %embed : (tensor<?xi32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  %x = arith.addf %h, %e : tensor<?x4xf32>
  %q = tensor.expand_shape %x [[0, 1], [2, 3]] : tensor<?x4xf32> into tensor<1x?x1x4xf32>
  %a = llm.attention %q, %q, %q {causal} : (tensor<1x?x1x4xf32>, tensor<1x?x1x4xf32>, tensor<1x?x1x4xf32>) -> tensor<1x?x1x4xf32>
  %rows = tensor.collapse_shape %a [[0, 1], [2, 3]] : tensor<1x?x1x4xf32> into tensor<?x4xf32>
  %logits = llm.linear %rows, %embed : (tensor<?x4xf32>, tensor<8x4xf32>) -> tensor<?x8xf32>
  return %logits : tensor<?x8xf32>
}

// -----

// Two sequences, no more and no less.
// expected-error @+1 {{argument 0 of the function has 2 sequences; their number must be dynamic, or 1}}
func.func @main(%ids: tensor<2x?xi32>) -> tensor<?x8xf32> {
  %embed = llm.parameter "model"::"embed" : tensor<8x4xf32>
  %flat = tensor.collapse_shape %ids [[0, 1]] : tensor<2x?xi32> into tensor<?xi32>
  %h = llm.embedding %flat, %embed : (tensor<?xi32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  %logits = llm.linear %h, %embed : (tensor<?x4xf32>, tensor<8x4xf32>) -> tensor<?x8xf32>
  return %logits : tensor<?x8xf32>
}

// -----

// All rows as one sequence.
func.func @main(%ids: tensor<?x?xi32>) -> tensor<?x8xf32> {
  %embed = llm.parameter "model"::"embed" : tensor<8x4xf32>
  %flat = tensor.collapse_shape %ids [[0, 1]] : tensor<?x?xi32> into tensor<?xi32>
  %h = llm.embedding %flat, %embed : (tensor<?xi32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  %q = tensor.expand_shape %h [[0, 1], [2, 3]] : tensor<?x4xf32> into tensor<1x?x1x4xf32>
  // expected-error @+1 {{attends to something else than the tokens of its own sequence}}
  %a = llm.attention %q, %q, %q {causal} : (tensor<1x?x1x4xf32>, tensor<1x?x1x4xf32>, tensor<1x?x1x4xf32>) -> tensor<1x?x1x4xf32>
  %rows = tensor.collapse_shape %a [[0, 1], [2, 3]] : tensor<1x?x1x4xf32> into tensor<?x4xf32>
  %logits = llm.linear %rows, %embed : (tensor<?x4xf32>, tensor<8x4xf32>) -> tensor<?x8xf32>
  return %logits : tensor<?x8xf32>
}

// -----

// Layers with other heads.
func.func @main(%ids: tensor<1x?xi32>) -> tensor<?x8xf32> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %t = tensor.dim %ids, %c1 : tensor<1x?xi32>
  %embed = llm.parameter "model"::"embed" : tensor<8x4xf32>
  %flat = tensor.collapse_shape %ids [[0, 1]] : tensor<1x?xi32> into tensor<?xi32>
  %h = llm.embedding %flat, %embed : (tensor<?xi32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  %q = tensor.expand_shape %h [[0, 1], [2, 3]] : tensor<?x4xf32> into tensor<1x?x1x4xf32>
  // expected-error @+1 {{has other heads than other layers, and one cache serves all of them}}
  %a = llm.attention %q, %q, %q {causal} : (tensor<1x?x1x4xf32>, tensor<1x?x1x4xf32>, tensor<1x?x1x4xf32>) -> tensor<1x?x1x4xf32>
  %w = tensor.collapse_shape %a [[0, 1], [2, 3]] : tensor<1x?x1x4xf32> into tensor<?x4xf32>
  %q2 = tensor.expand_shape %w [[0, 1], [2, 3]] : tensor<?x4xf32> into tensor<1x?x2x2xf32>
  // expected-note @+1 {{another one}}
  %a2 = llm.attention %q2, %q2, %q2 {causal} : (tensor<1x?x2x2xf32>, tensor<1x?x2x2xf32>, tensor<1x?x2x2xf32>) -> tensor<1x?x2x2xf32>
  %rows = tensor.collapse_shape %a2 [[0, 1], [2, 3]] : tensor<1x?x2x2xf32> into tensor<?x4xf32>
  %logits = llm.linear %rows, %embed : (tensor<?x4xf32>, tensor<8x4xf32>) -> tensor<?x8xf32>
  return %logits : tensor<?x8xf32>
}

// -----

// No attention at all.
// expected-error @+1 {{cannot become a step: has no llm.attention}}
func.func @main(%ids: tensor<1x?xi32>) -> tensor<?x8xf32> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %t = tensor.dim %ids, %c1 : tensor<1x?xi32>
  %embed = llm.parameter "model"::"embed" : tensor<8x4xf32>
  %flat = tensor.collapse_shape %ids [[0, 1]] : tensor<1x?xi32> into tensor<?xi32>
  %h = llm.embedding %flat, %embed : (tensor<?xi32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  %logits = llm.linear %h, %embed : (tensor<?x4xf32>, tensor<8x4xf32>) -> tensor<?x8xf32>
  return %logits : tensor<?x8xf32>
}

// -----

// Hidden states beside the logits.
func.func @main(%ids: tensor<1x?xi32>) -> (tensor<?x8xf32>, tensor<?x4xf32>) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %t = tensor.dim %ids, %c1 : tensor<1x?xi32>
  %embed = llm.parameter "model"::"embed" : tensor<8x4xf32>
  %flat = tensor.collapse_shape %ids [[0, 1]] : tensor<1x?xi32> into tensor<?xi32>
  %h = llm.embedding %flat, %embed : (tensor<?xi32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  %q = tensor.expand_shape %h [[0, 1], [2, 3]] : tensor<?x4xf32> into tensor<1x?x1x4xf32>
  %a = llm.attention %q, %q, %q {causal} : (tensor<1x?x1x4xf32>, tensor<1x?x1x4xf32>, tensor<1x?x1x4xf32>) -> tensor<1x?x1x4xf32>
  %rows = tensor.collapse_shape %a [[0, 1], [2, 3]] : tensor<1x?x1x4xf32> into tensor<?x4xf32>
  %logits = llm.linear %rows, %embed : (tensor<?x4xf32>, tensor<8x4xf32>) -> tensor<?x8xf32>
  // expected-error @+1 {{returns more than logits and, once each, what its past keys and values became}}
  return %logits, %h : tensor<?x8xf32>, tensor<?x4xf32>
}

// -----

// An op that nobody knows.
func.func @main(%ids: tensor<1x?xi32>) -> tensor<?x8xf32> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %t = tensor.dim %ids, %c1 : tensor<1x?xi32>
  %embed = llm.parameter "model"::"embed" : tensor<8x4xf32>
  %flat = tensor.collapse_shape %ids [[0, 1]] : tensor<1x?xi32> into tensor<?xi32>
  %h = llm.embedding %flat, %embed : (tensor<?xi32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  %flat2 = tensor.expand_shape %flat [[0, 1]] : tensor<?xi32> into tensor<?x1xi32>
  // expected-error @+1 {{is not known to treat each token by itself}}
  %g = tensor.gather %h[%flat2] gather_dims([0]) : (tensor<?x4xf32>, tensor<?x1xi32>) -> tensor<?x1x4xf32>
  %x = tensor.collapse_shape %g [[0], [1, 2]] : tensor<?x1x4xf32> into tensor<?x4xf32>
  %q = tensor.expand_shape %x [[0, 1], [2, 3]] : tensor<?x4xf32> into tensor<1x?x1x4xf32>
  %a = llm.attention %q, %q, %q {causal} : (tensor<1x?x1x4xf32>, tensor<1x?x1x4xf32>, tensor<1x?x1x4xf32>) -> tensor<1x?x1x4xf32>
  %rows = tensor.collapse_shape %a [[0, 1], [2, 3]] : tensor<1x?x1x4xf32> into tensor<?x4xf32>
  %logits = llm.linear %rows, %embed : (tensor<?x4xf32>, tensor<8x4xf32>) -> tensor<?x8xf32>
  return %logits : tensor<?x8xf32>
}

// -----

// Past values that are not returned: the next call could not have them.
!past = tensor<1x?x1x4xf32>
func.func @main(%ids: tensor<1x?xi32>, %k: !past, %v: !past) -> (tensor<?x8xf32>, !past) {
  %embed = llm.parameter "model"::"embed" : tensor<8x4xf32>
  %flat = tensor.collapse_shape %ids [[0, 1]] : tensor<1x?xi32> into tensor<?xi32>
  %h = llm.embedding %flat, %embed : (tensor<?xi32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  %q = tensor.expand_shape %h [[0, 1], [2, 3]] : tensor<?x4xf32> into tensor<1x?x1x4xf32>
  %ks = tensor.concat dim(1) %k, %q : (!past, !past) -> !past
  %vs = tensor.concat dim(1) %v, %q : (!past, !past) -> !past
  %a = llm.attention %q, %ks, %vs {causal} : (!past, !past, !past) -> !past
  %rows = tensor.collapse_shape %a [[0, 1], [2, 3]] : tensor<1x?x1x4xf32> into tensor<?x4xf32>
  %logits = llm.linear %rows, %embed : (tensor<?x4xf32>, tensor<8x4xf32>) -> tensor<?x8xf32>
  // expected-error @+1 {{does not return what argument 2, past keys or values, became}}
  return %logits, %ks : tensor<?x8xf32>, !past
}

// -----

// The same past as keys and as values.
!past = tensor<1x?x1x4xf32>
func.func @main(%ids: tensor<1x?xi32>, %k: !past, %v: !past) -> (tensor<?x8xf32>, !past, !past) {
  %embed = llm.parameter "model"::"embed" : tensor<8x4xf32>
  %flat = tensor.collapse_shape %ids [[0, 1]] : tensor<1x?xi32> into tensor<?xi32>
  %h = llm.embedding %flat, %embed : (tensor<?xi32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  %q = tensor.expand_shape %h [[0, 1], [2, 3]] : tensor<?x4xf32> into tensor<1x?x1x4xf32>
  %ks = tensor.concat dim(1) %k, %q : (!past, !past) -> !past
  %vs = tensor.concat dim(1) %v, %q : (!past, !past) -> !past
  // expected-error @+1 {{takes its keys and its values from the same past}}
  %a = llm.attention %q, %ks, %ks {causal} : (!past, !past, !past) -> !past
  %rows = tensor.collapse_shape %a [[0, 1], [2, 3]] : tensor<1x?x1x4xf32> into tensor<?x4xf32>
  %logits = llm.linear %rows, %embed : (tensor<?x4xf32>, tensor<8x4xf32>) -> tensor<?x8xf32>
  return %logits, %ks, %vs : tensor<?x8xf32>, !past, !past
}

// -----

// New tokens that do not see the past.
!past = tensor<1x?x1x4xf32>
func.func @main(%ids: tensor<1x?xi32>, %k: !past, %v: !past) -> (tensor<?x8xf32>, !past, !past) {
  %embed = llm.parameter "model"::"embed" : tensor<8x4xf32>
  %flat = tensor.collapse_shape %ids [[0, 1]] : tensor<1x?xi32> into tensor<?xi32>
  %h = llm.embedding %flat, %embed : (tensor<?xi32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  %q = tensor.expand_shape %h [[0, 1], [2, 3]] : tensor<?x4xf32> into tensor<1x?x1x4xf32>
  %ks = tensor.concat dim(1) %k, %q : (!past, !past) -> !past
  %vs = tensor.concat dim(1) %v, %q : (!past, !past) -> !past
  // expected-error @+1 {{attends to something else than the past keys and values and those of the new tokens}}
  %a = llm.attention %q, %q, %q {causal} : (!past, !past, !past) -> !past
  %rows = tensor.collapse_shape %a [[0, 1], [2, 3]] : tensor<1x?x1x4xf32> into tensor<?x4xf32>
  %logits = llm.linear %rows, %embed : (tensor<?x4xf32>, tensor<8x4xf32>) -> tensor<?x8xf32>
  return %logits, %ks, %vs : tensor<?x8xf32>, !past, !past
}

// -----

// Positions that forget the past.
!past = tensor<1x?x1x4xf32>
func.func @main(%ids: tensor<1x?xi32>, %k: !past, %v: !past) -> (tensor<?x8xf32>, !past, !past) {
  %embed = llm.parameter "model"::"embed" : tensor<8x4xf32>
  %flat = tensor.collapse_shape %ids [[0, 1]] : tensor<1x?xi32> into tensor<?xi32>
  %h = llm.embedding %flat, %embed : (tensor<?xi32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  %c1 = arith.constant 1 : index
  %t = tensor.dim %ids, %c1 : tensor<1x?xi32>
  %empty = tensor.empty(%t) : tensor<?xi32>
  %positions = linalg.generic {indexing_maps = [affine_map<(t) -> (t)>], iterator_types = ["parallel"]} outs(%empty : tensor<?xi32>) {
  ^bb0(%out: i32):
    %i = linalg.index 0 : index
    %j = arith.addi %i, %c1 : index
    %p = arith.index_cast %j : index to i32
    linalg.yield %p : i32
  } -> tensor<?xi32>
  %table = llm.parameter "model"::"wpe" : tensor<64x4xf32>
  // expected-error @+1 {{depends on how many tokens or sequences a call has}}
  %e = llm.embedding %positions, %table : (tensor<?xi32>, tensor<64x4xf32>) -> tensor<?x4xf32>
  %x = arith.addf %h, %e : tensor<?x4xf32>
  %q = tensor.expand_shape %x [[0, 1], [2, 3]] : tensor<?x4xf32> into tensor<1x?x1x4xf32>
  %ks = tensor.concat dim(1) %k, %q : (!past, !past) -> !past
  %vs = tensor.concat dim(1) %v, %q : (!past, !past) -> !past
  %a = llm.attention %q, %ks, %vs {causal} : (!past, !past, !past) -> !past
  %rows = tensor.collapse_shape %a [[0, 1], [2, 3]] : tensor<1x?x1x4xf32> into tensor<?x4xf32>
  %logits = llm.linear %rows, %embed : (tensor<?x4xf32>, tensor<8x4xf32>) -> tensor<?x8xf32>
  return %logits, %ks, %vs : tensor<?x8xf32>, !past, !past
}

// -----

// A function that is called with tokens and with weights.
func.func @main(%ids: tensor<1x?xi32>) -> tensor<?x8xf32> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %t = tensor.dim %ids, %c1 : tensor<1x?xi32>
  %embed = llm.parameter "model"::"embed" : tensor<8x4xf32>
  %flat = tensor.collapse_shape %ids [[0, 1]] : tensor<1x?xi32> into tensor<?xi32>
  %h = llm.embedding %flat, %embed : (tensor<?xi32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  %w4 = llm.parameter "model"::"w" : tensor<5x4xf32>
  %w = tensor.cast %w4 : tensor<5x4xf32> to tensor<?x4xf32>
  %x0 = call @f(%h) : (tensor<?x4xf32>) -> tensor<?x4xf32>
  // expected-error @+1 {{passes something of another kind than other calls of this function}}
  %x1 = call @f(%w) : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %x = arith.addf %x0, %x1 : tensor<?x4xf32>
  %q = tensor.expand_shape %x [[0, 1], [2, 3]] : tensor<?x4xf32> into tensor<1x?x1x4xf32>
  %a = llm.attention %q, %q, %q {causal} : (tensor<1x?x1x4xf32>, tensor<1x?x1x4xf32>, tensor<1x?x1x4xf32>) -> tensor<1x?x1x4xf32>
  %rows = tensor.collapse_shape %a [[0, 1], [2, 3]] : tensor<1x?x1x4xf32> into tensor<?x4xf32>
  %logits = llm.linear %rows, %embed : (tensor<?x4xf32>, tensor<8x4xf32>) -> tensor<?x8xf32>
  return %logits : tensor<?x8xf32>
}
func.func private @f(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %y = arith.negf %x : tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

// Nothing to start from.
// expected-error @+1 {{llm-introduce-kv-cache: there is no function main with a body of one block}}
module {
  func.func private @main()
}
