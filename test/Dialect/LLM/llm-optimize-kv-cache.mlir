// RUN: llmir-opt %s -llm-optimize-kv-cache -split-input-file | FileCheck %s
// RUN: llmir-opt %s -llm-optimize-kv-cache -llm-optimize-kv-cache -split-input-file | FileCheck %s

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// All that a lookup gathers is there, and the last queries see what came before.
// CHECK-LABEL: func @whole
// CHECK-SAME: (%[[KV:.*]]: !llm{{.*}}, %[[Q:.*]]: tensor<2x3x4x4xf32>, %[[BLOCKS:.*]]: tensor<2x2xi32>, %[[SINKS:.*]]: tensor<4xf32>, %[[ALIBI:.*]]: tensor<4xf32>)
// CHECK: %[[LENS:.*]] = arith.constant dense<32>
// CHECK-NEXT: %[[O:.*]] = llm.paged_attention %[[Q]], %[[KV]], %[[BLOCKS]], %[[LENS]] layer %{{.*}} sinks %[[SINKS]] alibi %[[ALIBI]] {scale = 5.000000e-01 : f32, softcap = 2.000000e+01 : f32, window = 9 : i64}
// CHECK-NEXT: return %[[O]]
func.func @whole(%kv: !kv, %q: tensor<2x3x4x4xf32>, %blocks: tensor<2x2xi32>, %sinks: tensor<4xf32>, %alibi: tensor<4xf32>) -> tensor<2x3x4x4xf32> {
  %c1 = arith.constant 1 : index
  %lens = arith.constant dense<32> : tensor<2xi32>
  %k, %v = llm.lookup_kv %kv, %blocks, %lens layer %c1 : (!kv, tensor<2x2xi32>, tensor<2xi32>, index) -> (tensor<2x32x2x4xf32>, tensor<2x32x2x4xf32>)
  %o = llm.attention %q, %k, %v sinks %sinks alibi %alibi {causal, scale = 0.5 : f32, softcap = 20.0 : f32, window = 9 : i64} : (tensor<2x3x4x4xf32>, tensor<2x32x2x4xf32>, tensor<2x32x2x4xf32>, tensor<4xf32>, tensor<4xf32>) -> tensor<2x3x4x4xf32>
  return %o : tensor<2x3x4x4xf32>
}

// -----

!kv = !llm.paged_kv_cache<f16, 1, 2, 4, 16, 64>

// A mask says what each sequence has, by lengths that only the run knows. Of one
// query it may leave out which one it is.
// CHECK-LABEL: func @masked
// CHECK-NOT: llm.lookup_kv
// CHECK-COUNT-2: llm.paged_attention
// CHECK-NOT: llm.attention
#len = affine_map<(b, h, t, j) -> (b)>
#all = affine_map<(b, h, t, j) -> (b, h, t, j)>
func.func @masked(%kv: !kv, %q: tensor<2x3x4x4xf32>, %r: tensor<2x1x4x4xf32>, %blocks: tensor<2x4xi32>, %lens: tensor<2xi32>) -> (tensor<2x3x4x4xf32>, tensor<2x1x4x4xf32>) {
  %c3 = arith.constant 3 : index
  %k, %v = llm.lookup_kv %kv, %blocks, %lens : (!kv, tensor<2x4xi32>, tensor<2xi32>) -> (tensor<2x64x2x4xf32>, tensor<2x64x2x4xf32>)
  %e = tensor.empty() : tensor<2x1x3x64xi1>
  %m = linalg.generic {indexing_maps = [#len, #all], iterator_types = ["parallel", "parallel", "parallel", "parallel"]} ins(%lens : tensor<2xi32>) outs(%e : tensor<2x1x3x64xi1>) {
  ^bb0(%len: i32, %out: i1):
    %n = arith.index_cast %len : i32 to index
    %t = linalg.index 2 : index
    %j = linalg.index 3 : index
    %first = arith.subi %n, %c3 : index
    %p = arith.addi %first, %t : index
    %y = arith.cmpi sge, %p, %j : index
    linalg.yield %y : i1
  } -> tensor<2x1x3x64xi1>
  %o = llm.attention %q, %k, %v mask %m : (tensor<2x3x4x4xf32>, tensor<2x64x2x4xf32>, tensor<2x64x2x4xf32>, tensor<2x1x3x64xi1>) -> tensor<2x3x4x4xf32>
  %k1, %v1 = llm.lookup_kv %kv, %blocks, %lens : (!kv, tensor<2x4xi32>, tensor<2xi32>) -> (tensor<2x64x2x4xf16>, tensor<2x64x2x4xf16>)
  %e1 = tensor.empty() : tensor<2x1x1x64xi1>
  %m1 = linalg.generic {indexing_maps = [#len, #all], iterator_types = ["parallel", "parallel", "parallel", "parallel"]} ins(%lens : tensor<2xi32>) outs(%e1 : tensor<2x1x1x64xi1>) {
  ^bb0(%len: i32, %out: i1):
    %j = linalg.index 3 : index
    %j32 = arith.index_cast %j : index to i32
    %y = arith.cmpi slt, %j32, %len : i32
    linalg.yield %y : i1
  } -> tensor<2x1x1x64xi1>
  %s = llm.attention %r, %k1, %v1 mask %m1 : (tensor<2x1x4x4xf32>, tensor<2x64x2x4xf16>, tensor<2x64x2x4xf16>, tensor<2x1x1x64xi1>) -> tensor<2x1x4x4xf32>
  return %o, %s : tensor<2x3x4x4xf32>, tensor<2x1x4x4xf32>
}

// -----

!kv = !llm.paged_kv_cache<f32, 1, 2, 4, 16, 64>

// Not so: a mask that leaves the token itself out, one of the wrong lengths, a
// lookup of less than a sequence may have, attention to what comes later, other
// values than the keys' lookup has, a lookup in bf16, and one row that is not
// there.
// CHECK-LABEL: func @kept
// CHECK-NOT: llm.paged_attention
// CHECK-COUNT-7: llm.attention
// CHECK-NOT: llm.paged_attention
#len = affine_map<(b, h, t, j) -> (b)>
#all = affine_map<(b, h, t, j) -> (b, h, t, j)>
func.func @kept(%kv: !kv, %r: tensor<2x1x4x4xf32>, %blocks: tensor<2x4xi32>, %lens: tensor<2xi32>, %others: tensor<2xi32>, %narrow: tensor<2x1xi32>)
    -> (tensor<2x1x4x4xf32>, tensor<2x1x4x4xf32>, tensor<2x1x4x4xf32>, tensor<2x1x4x4xf32>, tensor<2x1x4x4xf32>, tensor<2x1x4x4xf32>, tensor<2x1x4x4xf32>) {
  %c1 = arith.constant 1 : i32
  %k, %v = llm.lookup_kv %kv, %blocks, %lens : (!kv, tensor<2x4xi32>, tensor<2xi32>) -> (tensor<2x64x2x4xf32>, tensor<2x64x2x4xf32>)
  %e = tensor.empty() : tensor<2x1x1x64xi1>
  %before = linalg.generic {indexing_maps = [#len, #all], iterator_types = ["parallel", "parallel", "parallel", "parallel"]} ins(%lens : tensor<2xi32>) outs(%e : tensor<2x1x1x64xi1>) {
  ^bb0(%len: i32, %out: i1):
    %j = linalg.index 3 : index
    %j32 = arith.index_cast %j : index to i32
    %last = arith.subi %len, %c1 : i32
    %y = arith.cmpi slt, %j32, %last : i32
    linalg.yield %y : i1
  } -> tensor<2x1x1x64xi1>
  %other = linalg.generic {indexing_maps = [#len, #all], iterator_types = ["parallel", "parallel", "parallel", "parallel"]} ins(%others : tensor<2xi32>) outs(%e : tensor<2x1x1x64xi1>) {
  ^bb0(%len: i32, %out: i1):
    %j = linalg.index 3 : index
    %j32 = arith.index_cast %j : index to i32
    %y = arith.cmpi slt, %j32, %len : i32
    linalg.yield %y : i1
  } -> tensor<2x1x1x64xi1>
  %0 = llm.attention %r, %k, %v mask %before : (tensor<2x1x4x4xf32>, tensor<2x64x2x4xf32>, tensor<2x64x2x4xf32>, tensor<2x1x1x64xi1>) -> tensor<2x1x4x4xf32>
  %1 = llm.attention %r, %k, %v mask %other : (tensor<2x1x4x4xf32>, tensor<2x64x2x4xf32>, tensor<2x64x2x4xf32>, tensor<2x1x1x64xi1>) -> tensor<2x1x4x4xf32>
  %kp, %vp = llm.lookup_kv %kv, %narrow, %lens : (!kv, tensor<2x1xi32>, tensor<2xi32>) -> (tensor<2x16x2x4xf32>, tensor<2x16x2x4xf32>)
  %ep = tensor.empty() : tensor<2x1x1x16xi1>
  %part = linalg.generic {indexing_maps = [#len, #all], iterator_types = ["parallel", "parallel", "parallel", "parallel"]} ins(%lens : tensor<2xi32>) outs(%ep : tensor<2x1x1x16xi1>) {
  ^bb0(%len: i32, %out: i1):
    %j = linalg.index 3 : index
    %j32 = arith.index_cast %j : index to i32
    %y = arith.cmpi slt, %j32, %len : i32
    linalg.yield %y : i1
  } -> tensor<2x1x1x16xi1>
  %2 = llm.attention %r, %kp, %vp mask %part : (tensor<2x1x4x4xf32>, tensor<2x16x2x4xf32>, tensor<2x16x2x4xf32>, tensor<2x1x1x16xi1>) -> tensor<2x1x4x4xf32>
  %3 = llm.attention %r, %k, %v {causal} : (tensor<2x1x4x4xf32>, tensor<2x64x2x4xf32>, tensor<2x64x2x4xf32>) -> tensor<2x1x4x4xf32>
  %full = arith.constant dense<64> : tensor<2xi32>
  %k4, %v4 = llm.lookup_kv %kv, %blocks, %full : (!kv, tensor<2x4xi32>, tensor<2xi32>) -> (tensor<2x64x2x4xf32>, tensor<2x64x2x4xf32>)
  %4 = llm.attention %r, %k4, %v {causal} : (tensor<2x1x4x4xf32>, tensor<2x64x2x4xf32>, tensor<2x64x2x4xf32>) -> tensor<2x1x4x4xf32>
  %k5, %v5 = llm.lookup_kv %kv, %blocks, %full : (!kv, tensor<2x4xi32>, tensor<2xi32>) -> (tensor<2x64x2x4xbf16>, tensor<2x64x2x4xbf16>)
  %5 = llm.attention %r, %k5, %v5 {causal} : (tensor<2x1x4x4xf32>, tensor<2x64x2x4xbf16>, tensor<2x64x2x4xbf16>) -> tensor<2x1x4x4xf32>
  %less = arith.constant dense<63> : tensor<2xi32>
  %k6, %v6 = llm.lookup_kv %kv, %blocks, %less : (!kv, tensor<2x4xi32>, tensor<2xi32>) -> (tensor<2x64x2x4xf32>, tensor<2x64x2x4xf32>)
  %6 = llm.attention %r, %k6, %v6 {causal} : (tensor<2x1x4x4xf32>, tensor<2x64x2x4xf32>, tensor<2x64x2x4xf32>) -> tensor<2x1x4x4xf32>
  return %0, %1, %2, %3, %4, %5, %6 : tensor<2x1x4x4xf32>, tensor<2x1x4x4xf32>, tensor<2x1x4x4xf32>, tensor<2x1x4x4xf32>, tensor<2x1x4x4xf32>, tensor<2x1x4x4xf32>, tensor<2x1x4x4xf32>
}

// -----

!bf16 = !llm.paged_kv_cache<bf16, 1, 2, 4, 16, 64>

// Attention over a cache of bf16 rounds what the softmax makes.
// CHECK-LABEL: func @rounded
// CHECK: llm.attention
func.func @rounded(%kv: !bf16, %q: tensor<2x1x4x4xf32>, %blocks: tensor<2x4xi32>) -> tensor<2x1x4x4xf32> {
  %lens = arith.constant dense<64> : tensor<2xi32>
  %k, %v = llm.lookup_kv %kv, %blocks, %lens : (!bf16, tensor<2x4xi32>, tensor<2xi32>) -> (tensor<2x64x2x4xf32>, tensor<2x64x2x4xf32>)
  %o = llm.attention %q, %k, %v {causal} : (tensor<2x1x4x4xf32>, tensor<2x64x2x4xf32>, tensor<2x64x2x4xf32>) -> tensor<2x1x4x4xf32>
  return %o : tensor<2x1x4x4xf32>
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>
!new = tensor<?x2x4xf32>

// The same slots of the same layer are written once, and what nobody reads is not
// gathered.
// CHECK-LABEL: func @overwritten
// CHECK-SAME: (%[[KV:[^ ]*]]: {{.*}}, %{{[^ ]*}}: tensor<?x2x4xf32>, %[[B:[^ ]*]]: tensor<?x2x4xf32>,
// CHECK-NOT: llm.lookup_kv
// CHECK: %[[KV1:.*]] = llm.append_kv %[[KV]], %[[B]], %[[B]] slots %{{[^ ]*}} :
// CHECK-NEXT: return %[[KV1]]
func.func @overwritten(%kv: !kv, %a: !new, %b: !new, %slots: tensor<?xi32>, %blocks: tensor<2x4xi32>, %lens: tensor<2xi32>) -> !kv {
  %c0 = arith.constant 0 : index
  %k, %v = llm.lookup_kv %kv, %blocks, %lens : (!kv, tensor<2x4xi32>, tensor<2xi32>) -> (tensor<2x64x2x4xf32>, tensor<2x64x2x4xf32>)
  %kv1 = llm.append_kv %kv, %a, %a slots %slots layer %c0 : (!kv, !new, !new, tensor<?xi32>, index) -> !kv
  %kv2 = llm.append_kv %kv1, %b, %b slots %slots : (!kv, !new, !new, tensor<?xi32>) -> !kv
  return %kv2 : !kv
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>
!new = tensor<?x2x4xf32>

// The first rows and the rest of the same tensors.
// CHECK-LABEL: func @parts
// CHECK-SAME: (%[[KV:[^ ]*]]: {{.*}}, %[[K:[^ ]*]]: tensor<?x2x4xf32>, %[[V:[^ ]*]]: tensor<?x2x4xf32>, %[[SLOTS:[^ ]*]]: tensor<?xi32>
// CHECK: %[[KV1:.*]] = llm.append_kv %[[KV]], %[[K]], %[[V]] slots %[[SLOTS]] layer
// CHECK-NEXT: return %[[KV1]]
func.func @parts(%kv: !kv, %k: !new, %v: !new, %slots: tensor<?xi32>, %n: index, %layer: index) -> !kv {
  %c0 = arith.constant 0 : index
  %all = tensor.dim %slots, %c0 : tensor<?xi32>
  %rest = arith.subi %all, %n : index
  %allk = tensor.dim %k, %c0 : !new
  %restk = arith.subi %allk, %n : index
  %allv = tensor.dim %v, %c0 : !new
  %restv = arith.subi %allv, %n : index
  %s0 = tensor.extract_slice %slots[0] [%n] [1] : tensor<?xi32> to tensor<?xi32>
  %s1 = tensor.extract_slice %slots[%n] [%rest] [1] : tensor<?xi32> to tensor<?xi32>
  %k0 = tensor.extract_slice %k[0, 0, 0] [%n, 2, 4] [1, 1, 1] : !new to !new
  %k1 = tensor.extract_slice %k[%n, 0, 0] [%restk, 2, 4] [1, 1, 1] : !new to !new
  %v0 = tensor.extract_slice %v[0, 0, 0] [%n, 2, 4] [1, 1, 1] : !new to !new
  %v1 = tensor.extract_slice %v[%n, 0, 0] [%restv, 2, 4] [1, 1, 1] : !new to !new
  %kv1 = llm.append_kv %kv, %k0, %v0 slots %s0 layer %layer : (!kv, !new, !new, tensor<?xi32>, index) -> !kv
  %kv2 = llm.append_kv %kv1, %k1, %v1 slots %s1 layer %layer : (!kv, !new, !new, tensor<?xi32>, index) -> !kv
  return %kv2 : !kv
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>
!new = tensor<?x2x4xf32>

// Not so: other slots, another layer, a read in between, other numbers in between.
// CHECK-LABEL: func @apart
// CHECK-COUNT-6: llm.append_kv
func.func @apart(%kv: !kv, %k: !new, %h: tensor<?x2x4xf16>, %slots: tensor<?xi32>, %others: tensor<?xi32>, %q: tensor<?x2x4xf32>, %blocks: tensor<?x?xi32>, %lens: tensor<?xi32>, %rows: tensor<?xi32>) -> (tensor<?x2x4xf32>, !kv) {
  %c1 = arith.constant 1 : index
  %kv1 = llm.append_kv %kv, %k, %k slots %slots : (!kv, !new, !new, tensor<?xi32>) -> !kv
  %kv2 = llm.append_kv %kv1, %k, %k slots %others : (!kv, !new, !new, tensor<?xi32>) -> !kv
  %kv3 = llm.append_kv %kv2, %k, %k slots %others layer %c1 : (!kv, !new, !new, tensor<?xi32>, index) -> !kv
  %o = llm.paged_attention %q, %kv3, %blocks, %lens rows %rows : (tensor<?x2x4xf32>, !kv, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x2x4xf32>
  %kv4 = llm.append_kv %kv3, %k, %k slots %others layer %c1 : (!kv, !new, !new, tensor<?xi32>, index) -> !kv
  %kv5 = llm.append_kv %kv4, %h, %h slots %others layer %c1 : (!kv, tensor<?x2x4xf16>, tensor<?x2x4xf16>, tensor<?xi32>, index) -> !kv
  %kv6 = llm.append_kv %kv5, %k, %k slots %slots layer %c1 : (!kv, !new, !new, tensor<?xi32>, index) -> !kv
  return %o, %kv6 : tensor<?x2x4xf32>, !kv
}

// -----

!kv = !llm.paged_kv_cache<f32, 1, 2, 4, 16, 64>

// One sequence gets the same blocks for its tokens in one go; of two, the second
// would get its first block later.
// CHECK-LABEL: func @sequences
// CHECK: %[[A:.*]] = tensor.insert_slice %{{.*}} into %{{.*}}[0, 0, 0, 0] [1, 2, 2, 4] [1, 1, 1, 1] : tensor<1x2x2x4xf32> into tensor<1x5x2x4xf32>
// CHECK: %[[K:.*]] = tensor.insert_slice %{{.*}} into %[[A]][0, 2, 0, 0] [1, 3, 2, 4] [1, 1, 1, 1] : tensor<1x3x2x4xf32> into tensor<1x5x2x4xf32>
// CHECK: llm.append_kv %{{.*}}, %[[K]], %{{.*}}, %{{.*}} : ({{.*}}, tensor<1x5x2x4xf32>, tensor<1x5x2x4xf32>, tensor<1xi32>) -> ({{.*}}, tensor<1x4xi32>)
// CHECK-COUNT-2: llm.append_kv
// CHECK-NOT: llm.append_kv
func.func @sequences(%kv: !kv, %other: !kv, %a: tensor<1x2x2x4xf32>, %b: tensor<1x3x2x4xf32>, %c: tensor<2x2x2x4xf32>, %id: tensor<1xi32>, %ids: tensor<2xi32>) -> (!kv, tensor<1x4xi32>, !kv) {
  %kv1, %b1 = llm.append_kv %kv, %a, %a, %id : (!kv, tensor<1x2x2x4xf32>, tensor<1x2x2x4xf32>, tensor<1xi32>) -> (!kv, tensor<1x4xi32>)
  %kv2, %b2 = llm.append_kv %kv1, %b, %b, %id : (!kv, tensor<1x3x2x4xf32>, tensor<1x3x2x4xf32>, tensor<1xi32>) -> (!kv, tensor<1x4xi32>)
  %kv3, %b3 = llm.append_kv %other, %c, %c, %ids : (!kv, tensor<2x2x2x4xf32>, tensor<2x2x2x4xf32>, tensor<2xi32>) -> (!kv, tensor<2x4xi32>)
  %kv4, %b4 = llm.append_kv %kv3, %c, %c, %ids : (!kv, tensor<2x2x2x4xf32>, tensor<2x2x2x4xf32>, tensor<2xi32>) -> (!kv, tensor<2x4xi32>)
  return %kv2, %b2, %kv4 : !kv, tensor<1x4xi32>, !kv
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// All layers have windows: no more than the longest is kept.
// CHECK: llm.model = {kv_cache_window = 12 : i64, vocab_size = 8 : i64}
module attributes {llm.model = {vocab_size = 8 : i64}} {
  func.func @windows(%kv: !kv, %q: tensor<?x2x4xf32>, %blocks: tensor<?x?xi32>, %lens: tensor<?xi32>, %rows: tensor<?xi32>) -> tensor<?x2x4xf32> {
    %c1 = arith.constant 1 : index
    %x = llm.paged_attention %q, %kv, %blocks, %lens rows %rows {window = 12 : i64} : (tensor<?x2x4xf32>, !kv, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x2x4xf32>
    %y = llm.paged_attention %x, %kv, %blocks, %lens rows %rows layer %c1 {window = 5 : i64} : (tensor<?x2x4xf32>, !kv, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>, index) -> tensor<?x2x4xf32>
    return %y : tensor<?x2x4xf32>
  }
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// One layer sees everything, so everything is kept, whatever was said before.
// CHECK: llm.model = {vocab_size = 8 : i64}
module attributes {llm.model = {kv_cache_window = 5 : i64, vocab_size = 8 : i64}} {
  func.func @some(%kv: !kv, %q: tensor<?x2x4xf32>, %blocks: tensor<?x?xi32>, %lens: tensor<?xi32>, %rows: tensor<?xi32>) -> tensor<?x2x4xf32> {
    %c1 = arith.constant 1 : index
    %x = llm.paged_attention %q, %kv, %blocks, %lens rows %rows {window = 5 : i64} : (tensor<?x2x4xf32>, !kv, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x2x4xf32>
    %y = llm.paged_attention %x, %kv, %blocks, %lens rows %rows layer %c1 : (tensor<?x2x4xf32>, !kv, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>, index) -> tensor<?x2x4xf32>
    return %y : tensor<?x2x4xf32>
  }
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// A window that no sequence leaves is none.
// CHECK: llm.model = {vocab_size = 8 : i64}
module attributes {llm.model = {vocab_size = 8 : i64}} {
  func.func @long(%kv: !kv, %q: tensor<?x2x4xf32>, %blocks: tensor<?x?xi32>, %lens: tensor<?xi32>, %rows: tensor<?xi32>) -> tensor<?x2x4xf32> {
    %x = llm.paged_attention %q, %kv, %blocks, %lens rows %rows {window = 64 : i64} : (tensor<?x2x4xf32>, !kv, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x2x4xf32>
    return %x : tensor<?x2x4xf32>
  }
}

// -----

!kv = !llm.paged_kv_cache<f32, 1, 2, 4, 16, 64>

// What was looked up is older than the append.
// CHECK-LABEL: func @overwritten_since
// CHECK: llm.lookup_kv
// CHECK: llm.append_kv
// CHECK: llm.attention
func.func @overwritten_since(%kv: !kv, %q: tensor<2x1x4x4xf32>, %k: tensor<2x2x4xf32>, %slots: tensor<2xi32>, %blocks: tensor<2x4xi32>) -> (tensor<2x1x4x4xf32>, !kv) {
  %lens = arith.constant dense<64> : tensor<2xi32>
  %ks, %vs = llm.lookup_kv %kv, %blocks, %lens : (!kv, tensor<2x4xi32>, tensor<2xi32>) -> (tensor<2x64x2x4xf32>, tensor<2x64x2x4xf32>)
  %kv1 = llm.append_kv %kv, %k, %k slots %slots : (!kv, tensor<2x2x4xf32>, tensor<2x2x4xf32>, tensor<2xi32>) -> !kv
  %o = llm.attention %q, %ks, %vs {causal} : (tensor<2x1x4x4xf32>, tensor<2x64x2x4xf32>, tensor<2x64x2x4xf32>) -> tensor<2x1x4x4xf32>
  return %o, %kv1 : tensor<2x1x4x4xf32>, !kv
}
