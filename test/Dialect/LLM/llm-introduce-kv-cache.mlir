// RUN: llmir-opt %s -llm-introduce-kv-cache=max-seq-len=64 -llm-verify-cache-uses -split-input-file | FileCheck %s
// RUN: llmir-opt %s -llm-introduce-kv-cache=max-seq-len=64 -llm-introduce-kv-cache=max-seq-len=128 -split-input-file | FileCheck %s

// Rows are those of the batch, positions are given, and the rows whose logits are
// asked for are picked before the head. What the module says of the model stays.
// CHECK: module attributes {llm.model = {architecture = "llama", dtype = "f32", eos_token_ids = [3], head_dim = 4 : i64, hidden_size = 8 : i64, max_model_len = 64 : i64, num_heads = 2 : i64, num_kv_heads = 1 : i64, num_layers = 1 : i64, vocab_size = 16 : i64}}
// CHECK-NOT: @main
// CHECK-LABEL: func.func @step(
// CHECK-SAME: %[[IDS:[a-z0-9]+]]: tensor<?xi32>, %[[POSITIONS:[a-z0-9]+]]: tensor<?xi32>, %[[SLOTS:[a-z0-9]+]]: tensor<?xi32>, %[[BLOCKS:[a-z0-9]+]]: tensor<?x?xi32>,
// CHECK-SAME: %[[LENS:[a-z0-9]+]]: tensor<?xi32>, %[[STARTS:[a-z0-9]+]]: tensor<?xi32>, %[[ROWS:[a-z0-9]+]]: tensor<?xi32>,
// CHECK-SAME: %[[CACHE:[a-z0-9]+]]: [[KV:!llm.paged_kv_cache<f32, 1, 1, 4, 16, 64>]])
// CHECK-SAME: -> (tensor<?x16xf32>, [[KV]])
// CHECK: %[[TABLE:.*]] = llm.rope_table {theta = 1.000000e+04 : f64} : tensor<64x2x2xf32>
// CHECK: %[[H:.*]] = llm.embedding %[[IDS]], %{{.*}} : (tensor<?xi32>, tensor<16x8xf32>) -> tensor<?x8xf32>
// CHECK: %[[Q:.*]] = llm.rope %{{.*}}, %[[TABLE]], %[[POSITIONS]] : (tensor<?x2x4xf32>
// CHECK: %[[K:.*]] = llm.rope %{{.*}}, %[[TABLE]], %[[POSITIONS]] : (tensor<?x1x4xf32>
// CHECK: %[[NEW:.*]] = llm.append_kv %[[CACHE]], %[[K]], %{{.*}} slots %[[SLOTS]] : ([[KV]], tensor<?x1x4xf32>, tensor<?x1x4xf32>, tensor<?xi32>) -> [[KV]]
// CHECK: %[[A:.*]] = llm.paged_attention %[[Q]], %[[NEW]], %[[BLOCKS]], %[[LENS]] rows %[[STARTS]] {scale = 2.500000e-01 : f32, softcap = 5.000000e+01 : f32, window = 7 : i64}
// CHECK: %[[FLAT:.*]] = tensor.collapse_shape %[[A]] {{\[\[}}0], [1, 2]]
// CHECK: %[[SUM:.*]] = arith.addf %[[H]], %[[FLAT]]
// CHECK: %[[PICKED:.*]] = llm.embedding %[[ROWS]], %[[SUM]]
// CHECK: %[[NORMED:.*]] = llm.rms_norm %[[PICKED]]
// CHECK: %[[LOGITS:.*]] = llm.linear %[[NORMED]]
// CHECK: return %[[LOGITS]], %[[NEW]]
module attributes {llm.model = {architecture = "llama", eos_token_ids = [3], vocab_size = 1 : i64}} {
  func.func @main(%ids: tensor<?x?xi64>) -> tensor<?x?x16xf32> {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c2 = arith.constant 2 : index
    %c4 = arith.constant 4 : index
    %c16 = arith.constant 16 : index
    %b = tensor.dim %ids, %c0 : tensor<?x?xi64>
    %t = tensor.dim %ids, %c1 : tensor<?x?xi64>
    %n = arith.muli %t, %b : index
    %embed = llm.parameter "model"::"embed" : tensor<16x8xf32>
    %norm = llm.parameter "model"::"norm" : tensor<8xf32>
    %wk = llm.parameter "model"::"k" : tensor<4x8xf32>
    %table = llm.rope_table {theta = 1.0e+04 : f64} : tensor<32x2x2xf32>
    %empty = tensor.empty(%n) : tensor<?xi32>
    %positions = linalg.generic {indexing_maps = [affine_map<(r) -> (r)>], iterator_types = ["parallel"]} outs(%empty : tensor<?xi32>) {
    ^bb0(%out: i32):
      %r = linalg.index 0 : index
      %p = arith.remui %r, %t : index
      %p32 = arith.index_cast %p : index to i32
      linalg.yield %p32 : i32
    } -> tensor<?xi32>
    %ids32 = arith.trunci %ids : tensor<?x?xi64> to tensor<?x?xi32>
    %flat = tensor.collapse_shape %ids32 [[0, 1]] : tensor<?x?xi32> into tensor<?xi32>
    %h = llm.embedding %flat, %embed : (tensor<?xi32>, tensor<16x8xf32>) -> tensor<?x8xf32>
    %qh = tensor.expand_shape %h [[0], [1, 2]] : tensor<?x8xf32> into tensor<?x2x4xf32>
    %qr = llm.rope %qh, %table, %positions : (tensor<?x2x4xf32>, tensor<32x2x2xf32>, tensor<?xi32>) -> tensor<?x2x4xf32>
    %qs = tensor.from_elements %b, %t, %c2, %c4 : tensor<4xindex>
    %q = tensor.reshape %qr(%qs) : (tensor<?x2x4xf32>, tensor<4xindex>) -> tensor<?x?x2x4xf32>
    %k0 = llm.linear %h, %wk : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
    %kh = tensor.expand_shape %k0 [[0], [1, 2]] : tensor<?x4xf32> into tensor<?x1x4xf32>
    %kr = llm.rope %kh, %table, %positions : (tensor<?x1x4xf32>, tensor<32x2x2xf32>, tensor<?xi32>) -> tensor<?x1x4xf32>
    %ks = tensor.from_elements %b, %t, %c1, %c4 : tensor<4xindex>
    %k = tensor.reshape %kr(%ks) : (tensor<?x1x4xf32>, tensor<4xindex>) -> tensor<?x?x1x4xf32>
    // From rows as they are: heads and sequences in one.
    %v = tensor.reshape %k0(%ks) : (tensor<?x4xf32>, tensor<4xindex>) -> tensor<?x?x1x4xf32>
    %a = llm.attention %q, %k, %v {causal, scale = 0.25 : f32, softcap = 50.0 : f32, window = 7 : i64} : (tensor<?x?x2x4xf32>, tensor<?x?x1x4xf32>, tensor<?x?x1x4xf32>) -> tensor<?x?x2x4xf32>
    %rows = tensor.collapse_shape %a [[0, 1], [2, 3]] : tensor<?x?x2x4xf32> into tensor<?x8xf32>
    %sum = arith.addf %h, %rows : tensor<?x8xf32>
    %normed = llm.rms_norm %sum, %norm {epsilon = 1.0e-05 : f32} : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
    %logits = llm.linear %normed, %embed : (tensor<?x8xf32>, tensor<16x8xf32>) -> tensor<?x16xf32>
    %ls = tensor.from_elements %b, %t, %c16 : tensor<3xindex>
    %result = tensor.reshape %logits(%ls) : (tensor<?x16xf32>, tensor<3xindex>) -> tensor<?x?x16xf32>
    return %result : tensor<?x?x16xf32>
  }
}

// -----

// One sequence, without any flattening; what is not raised sees positions as they
// are in the step, shifted here by two, and sinks come along. Logits are f32.
// CHECK-LABEL: func.func @step
// CHECK-SAME: (%{{[a-z0-9]+}}: tensor<?xi32>, %[[POSITIONS:[a-z0-9]+]]: tensor<?xi32>
// CHECK-SAME: %[[ROWS:[a-z0-9]+]]: tensor<?xi32>, %{{[a-z0-9]+}}: !llm.paged_kv_cache<bf16, 1, 1, 4, 16, 64>) -> (tensor<?x8xf32>
// CHECK: linalg.generic
// CHECK: %[[ROW:.*]] = linalg.index 1
// CHECK: %[[P:.*]] = tensor.extract %[[POSITIONS]][%[[ROW]]]
// CHECK: %[[P64:.*]] = arith.extsi %[[P]] : i32 to i64
// CHECK: %[[SHIFTED:.*]] = arith.addi %[[P64]], %c2_i64
// CHECK: arith.sitofp %[[SHIFTED]]
// CHECK: llm.paged_attention {{.*}} sinks %{{.*}} :
// CHECK: llm.embedding %[[ROWS]]
// CHECK: llm.linear {{.*}} -> tensor<?x8xf32>
func.func @main(%ids: tensor<1x?xi64>) -> tensor<1x?x8xbf16> {
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : i64
  %t = tensor.dim %ids, %c1 : tensor<1x?xi64>
  %embed = llm.parameter "model"::"embed" : tensor<8x4xbf16>
  %sinks = llm.parameter "model"::"sinks" : tensor<1xf32>
  %ids1 = tensor.collapse_shape %ids [[0, 1]] : tensor<1x?xi64> into tensor<?xi64>
  %ids32 = arith.trunci %ids1 : tensor<?xi64> to tensor<?xi32>
  %rows = llm.embedding %ids32, %embed : (tensor<?xi32>, tensor<8x4xbf16>) -> tensor<?x4xbf16>
  %h = tensor.expand_shape %rows [[0, 1], [2]] : tensor<?x4xbf16> into tensor<1x?x4xbf16>
  %empty = tensor.empty(%t) : tensor<1x?x4xbf16>
  %x = linalg.generic {indexing_maps = [affine_map<(b, t, d) -> (b, t, d)>, affine_map<(b, t, d) -> (b, t, d)>], iterator_types = ["parallel", "parallel", "parallel"]} ins(%h : tensor<1x?x4xbf16>) outs(%empty : tensor<1x?x4xbf16>) {
  ^bb0(%in: bf16, %out: bf16):
    %i = linalg.index 1 : index
    %i64 = arith.index_cast %i : index to i64
    %shifted = arith.addi %i64, %c2 : i64
    %angle = arith.sitofp %shifted : i64 to bf16
    %y = arith.addf %in, %angle : bf16
    linalg.yield %y : bf16
  } -> tensor<1x?x4xbf16>
  %heads = tensor.expand_shape %x [[0], [1], [2, 3]] : tensor<1x?x4xbf16> into tensor<1x?x1x4xbf16>
  %a = llm.attention %heads, %heads, %heads sinks %sinks {causal} : (tensor<1x?x1x4xbf16>, tensor<1x?x1x4xbf16>, tensor<1x?x1x4xbf16>, tensor<1xf32>) -> tensor<1x?x1x4xbf16>
  %flat = tensor.collapse_shape %a [[0, 1], [2, 3]] : tensor<1x?x1x4xbf16> into tensor<?x4xbf16>
  %logits = llm.linear %flat, %embed : (tensor<?x4xbf16>, tensor<8x4xbf16>) -> tensor<?x8xbf16>
  %result = tensor.expand_shape %logits [[0, 1], [2]] : tensor<?x8xbf16> into tensor<1x?x8xbf16>
  return %result : tensor<1x?x8xbf16>
}

// -----

// Positions that are looked up in a table.
// CHECK-LABEL: func.func @step
// CHECK-SAME: (%[[IDS:[a-z0-9]+]]: tensor<?xi32>, %[[POSITIONS:[a-z0-9]+]]: tensor<?xi32>
// CHECK: llm.embedding %[[IDS]]
// CHECK: llm.embedding %[[POSITIONS]], %{{.*}} : (tensor<?xi32>, tensor<64x4xf32>)
func.func @main(%ids: tensor<1x?xi32>) -> tensor<?x8xf32> {
  %c1 = arith.constant 1 : index
  %t = tensor.dim %ids, %c1 : tensor<1x?xi32>
  %embed = llm.parameter "model"::"wte" : tensor<8x4xf32>
  %places = llm.parameter "model"::"wpe" : tensor<64x4xf32>
  %flat = tensor.collapse_shape %ids [[0, 1]] : tensor<1x?xi32> into tensor<?xi32>
  %e = llm.embedding %flat, %embed : (tensor<?xi32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  %empty = tensor.empty(%t) : tensor<?xi32>
  %positions = linalg.generic {indexing_maps = [affine_map<(t) -> (t)>], iterator_types = ["parallel"]} outs(%empty : tensor<?xi32>) {
  ^bb0(%out: i32):
    %i = linalg.index 0 : index
    %p = arith.index_cast %i : index to i32
    linalg.yield %p : i32
  } -> tensor<?xi32>
  %p = llm.embedding %positions, %places : (tensor<?xi32>, tensor<64x4xf32>) -> tensor<?x4xf32>
  %h = arith.addf %e, %p : tensor<?x4xf32>
  %heads = tensor.expand_shape %h [[0, 1], [2, 3]] : tensor<?x4xf32> into tensor<1x?x1x4xf32>
  %a = llm.attention %heads, %heads, %heads {causal} : (tensor<1x?x1x4xf32>, tensor<1x?x1x4xf32>, tensor<1x?x1x4xf32>) -> tensor<1x?x1x4xf32>
  %rows = tensor.collapse_shape %a [[0, 1], [2, 3]] : tensor<1x?x1x4xf32> into tensor<?x4xf32>
  %logits = llm.linear %rows, %embed : (tensor<?x4xf32>, tensor<8x4xf32>) -> tensor<?x8xf32>
  return %logits : tensor<?x8xf32>
}

// -----

// Past keys and values become the cache, in layers that are calls. Their function
// gets the cache, the layer and the batch, and loses sizes, positions and the past.
// CHECK-LABEL: func.func @step
// CHECK-SAME: %[[CACHE:[a-z0-9]+]]: [[KV:!llm.paged_kv_cache<f32, 2, 1, 4, 16, 64>]])
// CHECK: %[[L0:.*]]:2 = call @layer(%{{.*}}, %[[CACHE]], %c0, %{{.*}}) : (tensor<?x4xf32>, [[KV]], index, tensor<?xi32>, tensor<?xi32>, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>, tensor<64x2x2xf32>, tensor<4x4xf32>) -> (tensor<?x4xf32>, [[KV]])
// CHECK: %[[L1:.*]]:2 = call @layer(%[[L0]]#0, %[[L0]]#1, %c1, {{.*}})
// CHECK: llm.embedding %{{.*}}, %[[L1]]#0
// CHECK: return %{{.*}}, %[[L1]]#1
// CHECK-LABEL: func.func private @layer(
// CHECK-SAME: %[[H:[a-z0-9]+]]: tensor<?x4xf32>, %[[KV0:[a-z0-9]+]]: [[KV:!llm.paged_kv_cache<f32, 2, 1, 4, 16, 64>]], %[[LAYER:[a-z0-9]+]]: index,
// CHECK-SAME: %[[POSITIONS:[a-z0-9]+]]: tensor<?xi32>, %[[SLOTS:[a-z0-9]+]]: tensor<?xi32>, %{{[a-z0-9]+}}: tensor<?x?xi32>, %{{[a-z0-9]+}}: tensor<?xi32>, %{{[a-z0-9]+}}: tensor<?xi32>,
// CHECK-SAME: %[[TABLE:[a-z0-9]+]]: tensor<64x2x2xf32>, %[[W:[a-z0-9]+]]: tensor<4x4xf32>)
// CHECK: %[[X:.*]] = llm.linear %[[H]], %[[W]]
// CHECK: %[[HEADS:.*]] = tensor.expand_shape %[[X]] {{\[\[}}0], [1, 2]]
// CHECK: %[[Q:.*]] = llm.rope %[[HEADS]], %[[TABLE]], %[[POSITIONS]]
// CHECK-NOT: linalg.transpose
// CHECK: %[[KV1:.*]] = llm.append_kv %[[KV0]], %[[Q]], %[[HEADS]] slots %[[SLOTS]] layer %[[LAYER]]
// CHECK: llm.paged_attention %[[Q]], %[[KV1]], {{.*}} layer %[[LAYER]]
!past = tensor<?x1x?x4xf32>
func.func @main(%ids: tensor<?x?xi64>, %k0: !past, %v0: !past, %k1: !past, %v1: !past) -> (!past, !past, tensor<?x8xf32>, !past, !past) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %b = tensor.dim %ids, %c0 : tensor<?x?xi64>
  %t = tensor.dim %ids, %c1 : tensor<?x?xi64>
  %p = tensor.dim %k0, %c2 : !past
  %embed = llm.parameter "model"::"embed" : tensor<8x4xf32>
  %table = llm.rope_table {theta = 1.0e+04 : f64} : tensor<32x2x2xf32>
  %flat = tensor.collapse_shape %ids [[0, 1]] : tensor<?x?xi64> into tensor<?xi64>
  %ids32 = arith.trunci %flat : tensor<?xi64> to tensor<?xi32>
  %h = llm.embedding %ids32, %embed : (tensor<?xi32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  %empty = tensor.empty(%b, %t) : tensor<?x?xi32>
  %grid = linalg.generic {indexing_maps = [affine_map<(b, t) -> (b, t)>], iterator_types = ["parallel", "parallel"]} outs(%empty : tensor<?x?xi32>) {
  ^bb0(%out: i32):
    %i = linalg.index 1 : index
    %j = arith.addi %p, %i : index
    %q = arith.index_cast %j : index to i32
    linalg.yield %q : i32
  } -> tensor<?x?xi32>
  %positions = tensor.collapse_shape %grid [[0, 1]] : tensor<?x?xi32> into tensor<?xi32>
  %s = affine.apply affine_map<()[a, b] -> (a + b)>()[%p, %t]
  %w0 = llm.parameter "model"::"w0" : tensor<4x4xf32>
  %l0:3 = call @layer(%b, %t, %s, %h, %positions, %table, %w0, %k0, %v0) : (index, index, index, tensor<?x4xf32>, tensor<?xi32>, tensor<32x2x2xf32>, tensor<4x4xf32>, !past, !past) -> (tensor<?x4xf32>, !past, !past)
  %w1 = llm.parameter "model"::"w1" : tensor<4x4xf32>
  %l1:3 = call @layer(%b, %t, %s, %l0#0, %positions, %table, %w1, %k1, %v1) : (index, index, index, tensor<?x4xf32>, tensor<?xi32>, tensor<32x2x2xf32>, tensor<4x4xf32>, !past, !past) -> (tensor<?x4xf32>, !past, !past)
  %logits = llm.linear %l1#0, %embed : (tensor<?x4xf32>, tensor<8x4xf32>) -> tensor<?x8xf32>
  return %l1#1, %l1#2, %logits, %l0#1, %l0#2 : !past, !past, tensor<?x8xf32>, !past, !past
}
func.func private @layer(%b: index, %t: index, %s: index, %h: tensor<?x4xf32>, %positions: tensor<?xi32>, %table: tensor<32x2x2xf32>, %w: tensor<4x4xf32>, %pk: !past, %pv: !past) -> (tensor<?x4xf32>, !past, !past) {
  %c1 = arith.constant 1 : index
  %c4 = arith.constant 4 : index
  %x = llm.linear %h, %w : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  %heads = tensor.expand_shape %x [[0], [1, 2]] : tensor<?x4xf32> into tensor<?x1x4xf32>
  %r = llm.rope %heads, %table, %positions : (tensor<?x1x4xf32>, tensor<32x2x2xf32>, tensor<?xi32>) -> tensor<?x1x4xf32>
  %shape = tensor.from_elements %b, %t, %c1, %c4 : tensor<4xindex>
  %q = tensor.reshape %r(%shape) : (tensor<?x1x4xf32>, tensor<4xindex>) -> tensor<?x?x1x4xf32>
  %v = tensor.reshape %heads(%shape) : (tensor<?x1x4xf32>, tensor<4xindex>) -> tensor<?x?x1x4xf32>
  %new = tensor.empty(%b, %t) : !past
  %qt = linalg.transpose ins(%q : tensor<?x?x1x4xf32>) outs(%new : !past) permutation = [0, 2, 1, 3]
  %vt = linalg.transpose ins(%v : tensor<?x?x1x4xf32>) outs(%new : !past) permutation = [0, 2, 1, 3]
  %keys = tensor.concat dim(2) %pk, %qt : (!past, !past) -> !past
  %values = tensor.concat dim(2) %pv, %vt : (!past, !past) -> !past
  %all = tensor.empty(%b, %s) : tensor<?x?x1x4xf32>
  %ka = linalg.transpose ins(%keys : !past) outs(%all : tensor<?x?x1x4xf32>) permutation = [0, 2, 1, 3]
  %va = linalg.transpose ins(%values : !past) outs(%all : tensor<?x?x1x4xf32>) permutation = [0, 2, 1, 3]
  %a = llm.attention %q, %ka, %va {causal} : (tensor<?x?x1x4xf32>, tensor<?x?x1x4xf32>, tensor<?x?x1x4xf32>) -> tensor<?x?x1x4xf32>
  %rows = tensor.collapse_shape %a [[0, 1], [2, 3]] : tensor<?x?x1x4xf32> into tensor<?x4xf32>
  %sum = arith.addf %h, %rows : tensor<?x4xf32>
  return %sum, %keys, %values : tensor<?x4xf32>, !past, !past
}

// -----

// A function of two attentions gets two layers. One that needs nothing of a step
// stays as it is, and so does one that something else calls.
// CHECK-LABEL: func.func @step
// CHECK: call @pair(%{{.*}}, %{{.*}}, %c0, %c1, {{.*}}) : (tensor<?x4xf32>, !llm.paged_kv_cache<f32, 4, 1, 4, 16, 64>, index, index, tensor<?xi32>
// CHECK: call @pair(%{{.*}}, %{{.*}}, %c2, %c3, {{.*}})
// CHECK: func.func private @pair
// CHECK: llm.append_kv {{.*}} layer %arg2
// CHECK: call @norm(%{{.*}}) : (tensor<?x4xf32>) -> tensor<?x4xf32>
// CHECK: llm.append_kv {{.*}} layer %arg3
// CHECK: func.func private @norm(%{{[a-z0-9]+}}: tensor<?x4xf32>) -> tensor<?x4xf32>
// CHECK: func.func @other
func.func @main(%ids: tensor<1x?xi32>) -> tensor<?x8xf32> {
  %embed = llm.parameter "model"::"wte" : tensor<8x4xf32>
  %flat = tensor.collapse_shape %ids [[0, 1]] : tensor<1x?xi32> into tensor<?xi32>
  %h = llm.embedding %flat, %embed : (tensor<?xi32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  %x = call @pair(%h) : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %y = call @pair(%x) : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %logits = llm.linear %y, %embed : (tensor<?x4xf32>, tensor<8x4xf32>) -> tensor<?x8xf32>
  return %logits : tensor<?x8xf32>
}
func.func private @pair(%h: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %heads = tensor.expand_shape %h [[0, 1], [2, 3]] : tensor<?x4xf32> into tensor<1x?x1x4xf32>
  %a = llm.attention %heads, %heads, %heads {causal} : (tensor<1x?x1x4xf32>, tensor<1x?x1x4xf32>, tensor<1x?x1x4xf32>) -> tensor<1x?x1x4xf32>
  %rows = tensor.collapse_shape %a [[0, 1], [2, 3]] : tensor<1x?x1x4xf32> into tensor<?x4xf32>
  %n = call @norm(%rows) : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %heads2 = tensor.expand_shape %n [[0, 1], [2, 3]] : tensor<?x4xf32> into tensor<1x?x1x4xf32>
  %b = llm.attention %heads2, %heads2, %heads2 {causal} : (tensor<1x?x1x4xf32>, tensor<1x?x1x4xf32>, tensor<1x?x1x4xf32>) -> tensor<1x?x1x4xf32>
  %rows2 = tensor.collapse_shape %b [[0, 1], [2, 3]] : tensor<1x?x1x4xf32> into tensor<?x4xf32>
  return %rows2 : tensor<?x4xf32>
}
func.func private @norm(%h: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %n = llm.parameter "model"::"norm" : tensor<4xf32>
  %x = llm.rms_norm %h, %n {epsilon = 1.0e-05 : f32} : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  return %x : tensor<?x4xf32>
}
func.func @other(%h: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %x = call @norm(%h) : (tensor<?x4xf32>) -> tensor<?x4xf32>
  return %x : tensor<?x4xf32>
}

// -----

// What has a number for each row is not computed of some of them.
// CHECK-LABEL: func.func @step(
// CHECK: math.rsqrt
// CHECK: %[[PICKED:.*]] = llm.embedding
// CHECK: llm.linear %[[PICKED]]
func.func @main(%ids: tensor<1x?xi64>) -> tensor<1x?x8xf32> {
  %c1 = arith.constant 1 : index
  %zero = arith.constant 0.0 : f32
  %t = tensor.dim %ids, %c1 : tensor<1x?xi64>
  %embed = llm.parameter "model"::"embed" : tensor<8x4xf32>
  %ids1 = tensor.collapse_shape %ids [[0, 1]] : tensor<1x?xi64> into tensor<?xi64>
  %ids32 = arith.trunci %ids1 : tensor<?xi64> to tensor<?xi32>
  %rows = llm.embedding %ids32, %embed : (tensor<?xi32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  %heads = tensor.expand_shape %rows [[0, 1], [2, 3]] : tensor<?x4xf32> into tensor<1x?x1x4xf32>
  %a = llm.attention %heads, %heads, %heads {causal} : (tensor<1x?x1x4xf32>, tensor<1x?x1x4xf32>, tensor<1x?x1x4xf32>) -> tensor<1x?x1x4xf32>
  %flat = tensor.collapse_shape %a [[0, 1], [2, 3]] : tensor<1x?x1x4xf32> into tensor<?x4xf32>
  %e1 = tensor.empty(%t) : tensor<?xf32>
  %z1 = linalg.fill ins(%zero : f32) outs(%e1 : tensor<?xf32>) -> tensor<?xf32>
  %s = linalg.generic {indexing_maps = [affine_map<(t, d) -> (t, d)>, affine_map<(t, d) -> (t)>], iterator_types = ["parallel", "reduction"]} ins(%flat : tensor<?x4xf32>) outs(%z1 : tensor<?xf32>) {
  ^bb0(%in: f32, %out: f32):
    %q = arith.mulf %in, %in : f32
    %r = arith.addf %out, %q : f32
    linalg.yield %r : f32
  } -> tensor<?xf32>
  %empty = tensor.empty(%t) : tensor<?x4xf32>
  %x = linalg.generic {indexing_maps = [affine_map<(t, d) -> (t, d)>, affine_map<(t, d) -> (t)>, affine_map<(t, d) -> (t, d)>], iterator_types = ["parallel", "parallel"]} ins(%flat, %s : tensor<?x4xf32>, tensor<?xf32>) outs(%empty : tensor<?x4xf32>) {
  ^bb0(%in: f32, %n: f32, %out: f32):
    %r = math.rsqrt %n : f32
    %y = arith.mulf %in, %r : f32
    linalg.yield %y : f32
  } -> tensor<?x4xf32>
  %logits = llm.linear %x, %embed : (tensor<?x4xf32>, tensor<8x4xf32>) -> tensor<?x8xf32>
  %result = tensor.expand_shape %logits [[0, 1], [2]] : tensor<?x8xf32> into tensor<1x?x8xf32>
  return %result : tensor<1x?x8xf32>
}

// -----

// Unsigned numbers are not compared by their difference.
// CHECK-LABEL: func.func @step(
// CHECK: arith.cmpi ult
func.func @main(%ids: tensor<1x?xi64>) -> tensor<1x?x8xf32> {
  %c1 = arith.constant 1 : index
  %t = tensor.dim %ids, %c1 : tensor<1x?xi64>
  %embed = llm.parameter "model"::"embed" : tensor<8x4xf32>
  %ids1 = tensor.collapse_shape %ids [[0, 1]] : tensor<1x?xi64> into tensor<?xi64>
  %ids32 = arith.trunci %ids1 : tensor<?xi64> to tensor<?xi32>
  %rows = llm.embedding %ids32, %embed : (tensor<?xi32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  %h = tensor.expand_shape %rows [[0, 1], [2]] : tensor<?x4xf32> into tensor<1x?x4xf32>
  %empty = tensor.empty(%t) : tensor<1x?x4xf32>
  %x = linalg.generic {indexing_maps = [affine_map<(b, t, d) -> (b, t, d)>, affine_map<(b, t, d) -> (b, t, d)>], iterator_types = ["parallel", "parallel", "parallel"]} ins(%h : tensor<1x?x4xf32>) outs(%empty : tensor<1x?x4xf32>) {
  ^bb0(%in: f32, %out: f32):
    %i = linalg.index 1 : index
    %one = arith.constant 1 : index
    %five = arith.constant 5 : index
    %i1 = arith.addi %i, %one : index
    %i5 = arith.addi %i, %five : index
    %c = arith.cmpi ult, %i, %i1 : index
    %m = arith.select %c, %i, %i5 : index
    %p32 = arith.index_cast %m : index to i32
    %angle = arith.sitofp %p32 : i32 to f32
    %y = arith.addf %in, %angle : f32
    linalg.yield %y : f32
  } -> tensor<1x?x4xf32>
  %heads = tensor.expand_shape %x [[0], [1], [2, 3]] : tensor<1x?x4xf32> into tensor<1x?x1x4xf32>
  %a = llm.attention %heads, %heads, %heads {causal} : (tensor<1x?x1x4xf32>, tensor<1x?x1x4xf32>, tensor<1x?x1x4xf32>) -> tensor<1x?x1x4xf32>
  %flat = tensor.collapse_shape %a [[0, 1], [2, 3]] : tensor<1x?x1x4xf32> into tensor<?x4xf32>
  %logits = llm.linear %flat, %embed : (tensor<?x4xf32>, tensor<8x4xf32>) -> tensor<?x8xf32>
  %result = tensor.expand_shape %logits [[0, 1], [2]] : tensor<?x8xf32> into tensor<1x?x8xf32>
  return %result : tensor<1x?x8xf32>
}
