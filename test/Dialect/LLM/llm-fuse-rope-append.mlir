// RUN: llmir-opt %s -llm-fuse-rope-append -split-input-file | FileCheck %s
// RUN: llmir-opt %s -llm-fuse-rope-append -llm-fuse-rope-append -split-input-file | FileCheck %s

!kv = !llm.paged_kv_cache<bf16, 2, 2, 8, 16, 64>

// Queries and keys, in either order, and the layer.
// CHECK-LABEL: func @layer
// CHECK-SAME: (%[[KV:[^ ]*]]: !llm.paged_kv_cache<{{.*}}>, %[[Q:[^ ]*]]: tensor<?x4x8xf32>, %[[K:[^ ]*]]: tensor<?x2x8xf32>, %[[V:[^ ]*]]: tensor<?x2x8xf32>, %[[T:[^ ]*]]: tensor<64x2x4xf32>, %[[P:[^ ]*]]: tensor<?xi32>, %[[S:[^ ]*]]: tensor<?xi32>, {{.*}}, %[[L:[^ ]*]]: index)
// CHECK-NEXT: %[[KV1:.*]], %[[ROT:.*]] = llm.rope_append_kv %[[KV]], %[[Q]], %[[K]], %[[V]], %[[T]], %[[P]] slots %[[S]] layer %[[L]] :
// CHECK-NEXT: %[[O:.*]] = llm.paged_attention %[[ROT]], %[[KV1]],
// CHECK-NEXT: return %[[O]], %[[KV1]]
func.func @layer(%kv: !kv, %q: tensor<?x4x8xf32>, %k: tensor<?x2x8xf32>, %v: tensor<?x2x8xf32>, %table: tensor<64x2x4xf32>,
    %positions: tensor<?xi32>, %slots: tensor<?xi32>, %blocks: tensor<?x?xi32>, %lens: tensor<?xi32>, %rows: tensor<?xi32>, %layer: index) -> (tensor<?x4x8xf32>, !kv) {
  %q_rot = llm.rope %q, %table, %positions : (tensor<?x4x8xf32>, tensor<64x2x4xf32>, tensor<?xi32>) -> tensor<?x4x8xf32>
  %k_rot = llm.rope %k, %table, %positions : (tensor<?x2x8xf32>, tensor<64x2x4xf32>, tensor<?xi32>) -> tensor<?x2x8xf32>
  %kv1 = llm.append_kv %kv, %k_rot, %v slots %slots layer %layer : (!kv, tensor<?x2x8xf32>, tensor<?x2x8xf32>, tensor<?xi32>, index) -> !kv
  %o = llm.paged_attention %q_rot, %kv1, %blocks, %lens rows %rows : (tensor<?x4x8xf32>, !kv, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x4x8xf32>
  return %o, %kv1 : tensor<?x4x8xf32>, !kv
}

// -----

!kv = !llm.paged_kv_cache<bf16, 2, 2, 8, 16, 64>

// Keys may be rounded to the cache's type before, which rounds them no further;
// queries to any.
// CHECK-LABEL: func @rounded
// CHECK: llm.rope_append_kv {{.*}} -> (!llm.paged_kv_cache<bf16, {{.*}}>, tensor<?x4x8xf16>)
// CHECK-NOT: llm.rope{{ }}
func.func @rounded(%kv: !kv, %q: tensor<?x4x8xf32>, %k: tensor<?x2x8xf32>, %v: tensor<?x2x8xf32>, %table: tensor<64x2x4xf32>,
    %positions: tensor<?xi32>, %slots: tensor<?xi32>, %blocks: tensor<?x?xi32>, %lens: tensor<?xi32>, %rows: tensor<?xi32>) -> (tensor<?x4x8xf32>, !kv) {
  %k_rot = llm.rope %k, %table, %positions : (tensor<?x2x8xf32>, tensor<64x2x4xf32>, tensor<?xi32>) -> tensor<?x2x8xbf16>
  %q_rot = llm.rope %q, %table, %positions : (tensor<?x4x8xf32>, tensor<64x2x4xf32>, tensor<?xi32>) -> tensor<?x4x8xf16>
  %kv1 = llm.append_kv %kv, %k_rot, %v slots %slots : (!kv, tensor<?x2x8xbf16>, tensor<?x2x8xf32>, tensor<?xi32>) -> !kv
  %o = llm.paged_attention %q_rot, %kv1, %blocks, %lens rows %rows : (tensor<?x4x8xf16>, !kv, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x4x8xf32>
  return %o, %kv1 : tensor<?x4x8xf32>, !kv
}

// -----

!kv = !llm.paged_kv_cache<bf16, 2, 2, 8, 16, 64>

// Rounded to another type first, keys are other numbers.
// CHECK-LABEL: func @rounded_twice
// CHECK-NOT: llm.rope_append_kv
// CHECK: llm.append_kv
// CHECK-NOT: llm.rope_append_kv
func.func @rounded_twice(%kv: !kv, %q: tensor<?x4x8xf32>, %k: tensor<?x2x8xf32>, %v: tensor<?x2x8xf32>, %table: tensor<64x2x4xf32>,
    %positions: tensor<?xi32>, %slots: tensor<?xi32>, %blocks: tensor<?x?xi32>, %lens: tensor<?xi32>, %rows: tensor<?xi32>) -> (tensor<?x4x8xf32>, !kv) {
  %q_rot = llm.rope %q, %table, %positions : (tensor<?x4x8xf32>, tensor<64x2x4xf32>, tensor<?xi32>) -> tensor<?x4x8xf32>
  %k_rot = llm.rope %k, %table, %positions : (tensor<?x2x8xf32>, tensor<64x2x4xf32>, tensor<?xi32>) -> tensor<?x2x8xf16>
  %kv1 = llm.append_kv %kv, %k_rot, %v slots %slots : (!kv, tensor<?x2x8xf16>, tensor<?x2x8xf32>, tensor<?xi32>) -> !kv
  %o = llm.paged_attention %q_rot, %kv1, %blocks, %lens rows %rows : (tensor<?x4x8xf32>, !kv, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x4x8xf32>
  return %o, %kv1 : tensor<?x4x8xf32>, !kv
}

// -----

!kv = !llm.paged_kv_cache<bf16, 2, 2, 8, 16, 64>

// A layer may have keys without a position.
// CHECK-LABEL: func @no_rotation
// CHECK-NOT: llm.rope_append_kv
// CHECK: llm.append_kv
// CHECK-NOT: llm.rope_append_kv
func.func @no_rotation(%kv: !kv, %q: tensor<?x4x8xf32>, %k: tensor<?x2x8xf32>, %v: tensor<?x2x8xf32>, %table: tensor<64x2x4xf32>,
    %positions: tensor<?xi32>, %slots: tensor<?xi32>, %blocks: tensor<?x?xi32>, %lens: tensor<?xi32>, %rows: tensor<?xi32>) -> (tensor<?x4x8xf32>, !kv) {
  %kv1 = llm.append_kv %kv, %k, %v slots %slots : (!kv, tensor<?x2x8xf32>, tensor<?x2x8xf32>, tensor<?xi32>) -> !kv
  %q_rot = llm.rope %q, %table, %positions : (tensor<?x4x8xf32>, tensor<64x2x4xf32>, tensor<?xi32>) -> tensor<?x4x8xf32>
  %o = llm.paged_attention %q_rot, %kv1, %blocks, %lens rows %rows : (tensor<?x4x8xf32>, !kv, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x4x8xf32>
  return %o, %kv1 : tensor<?x4x8xf32>, !kv
}

// -----

!kv = !llm.paged_kv_cache<bf16, 2, 2, 8, 16, 64>

// Keys that something else reads must be there.
// CHECK-LABEL: func @keys_are_read
// CHECK-NOT: llm.rope_append_kv
// CHECK: llm.append_kv
// CHECK-NOT: llm.rope_append_kv
func.func @keys_are_read(%kv: !kv, %q: tensor<?x4x8xf32>, %k: tensor<?x2x8xf32>, %v: tensor<?x2x8xf32>, %table: tensor<64x2x4xf32>,
    %positions: tensor<?xi32>, %slots: tensor<?xi32>, %blocks: tensor<?x?xi32>, %lens: tensor<?xi32>, %rows: tensor<?xi32>) -> (tensor<?x4x8xf32>, !kv, tensor<?x2x8xf32>) {
  %q_rot = llm.rope %q, %table, %positions : (tensor<?x4x8xf32>, tensor<64x2x4xf32>, tensor<?xi32>) -> tensor<?x4x8xf32>
  %k_rot = llm.rope %k, %table, %positions : (tensor<?x2x8xf32>, tensor<64x2x4xf32>, tensor<?xi32>) -> tensor<?x2x8xf32>
  %kv1 = llm.append_kv %kv, %k_rot, %v slots %slots : (!kv, tensor<?x2x8xf32>, tensor<?x2x8xf32>, tensor<?xi32>) -> !kv
  %o = llm.paged_attention %q_rot, %kv1, %blocks, %lens rows %rows : (tensor<?x4x8xf32>, !kv, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x4x8xf32>
  return %o, %kv1, %k_rot : tensor<?x4x8xf32>, !kv, tensor<?x2x8xf32>
}

// -----

!kv = !llm.paged_kv_cache<bf16, 2, 2, 8, 16, 64>

// Queries at other positions than the keys are rotated by themselves.
// CHECK-LABEL: func @other_positions
// CHECK-NOT: llm.rope_append_kv
// CHECK: llm.append_kv
// CHECK-NOT: llm.rope_append_kv
func.func @other_positions(%kv: !kv, %q: tensor<?x4x8xf32>, %k: tensor<?x2x8xf32>, %v: tensor<?x2x8xf32>, %table: tensor<64x2x4xf32>,
    %positions: tensor<?xi32>, %slots: tensor<?xi32>, %blocks: tensor<?x?xi32>, %lens: tensor<?xi32>, %rows: tensor<?xi32>) -> (tensor<?x4x8xf32>, !kv) {
  %q_rot = llm.rope %q, %table, %slots : (tensor<?x4x8xf32>, tensor<64x2x4xf32>, tensor<?xi32>) -> tensor<?x4x8xf32>
  %k_rot = llm.rope %k, %table, %positions : (tensor<?x2x8xf32>, tensor<64x2x4xf32>, tensor<?xi32>) -> tensor<?x2x8xf32>
  %kv1 = llm.append_kv %kv, %k_rot, %v slots %slots : (!kv, tensor<?x2x8xf32>, tensor<?x2x8xf32>, tensor<?xi32>) -> !kv
  %o = llm.paged_attention %q_rot, %kv1, %blocks, %lens rows %rows : (tensor<?x4x8xf32>, !kv, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x4x8xf32>
  return %o, %kv1 : tensor<?x4x8xf32>, !kv
}

// -----

!kv = !llm.paged_kv_cache<bf16, 2, 2, 8, 16, 64>

// So are those of another table.
// CHECK-LABEL: func @other_table
// CHECK-NOT: llm.rope_append_kv
// CHECK: llm.append_kv
// CHECK-NOT: llm.rope_append_kv
func.func @other_table(%kv: !kv, %q: tensor<?x4x8xf32>, %k: tensor<?x2x8xf32>, %v: tensor<?x2x8xf32>, %table: tensor<64x2x4xf32>,
    %positions: tensor<?xi32>, %slots: tensor<?xi32>, %blocks: tensor<?x?xi32>, %lens: tensor<?xi32>, %rows: tensor<?xi32>, %other: tensor<64x2x2xf32>) -> (tensor<?x4x8xf32>, !kv) {
  %q_rot = llm.rope %q, %other, %positions : (tensor<?x4x8xf32>, tensor<64x2x2xf32>, tensor<?xi32>) -> tensor<?x4x8xf32>
  %k_rot = llm.rope %k, %table, %positions : (tensor<?x2x8xf32>, tensor<64x2x4xf32>, tensor<?xi32>) -> tensor<?x2x8xf32>
  %kv1 = llm.append_kv %kv, %k_rot, %v slots %slots : (!kv, tensor<?x2x8xf32>, tensor<?x2x8xf32>, tensor<?xi32>) -> !kv
  %o = llm.paged_attention %q_rot, %kv1, %blocks, %lens rows %rows : (tensor<?x4x8xf32>, !kv, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x4x8xf32>
  return %o, %kv1 : tensor<?x4x8xf32>, !kv
}

// -----

!kv = !llm.paged_kv_cache<bf16, 2, 2, 8, 16, 64>

// What is done to rotated queries comes before the append, and needs them.
// CHECK-LABEL: func @changed_queries
// CHECK-NOT: llm.rope_append_kv
// CHECK: llm.append_kv
// CHECK-NOT: llm.rope_append_kv
func.func @changed_queries(%kv: !kv, %q: tensor<?x4x8xf32>, %k: tensor<?x2x8xf32>, %v: tensor<?x2x8xf32>, %table: tensor<64x2x4xf32>,
    %positions: tensor<?xi32>, %slots: tensor<?xi32>, %blocks: tensor<?x?xi32>, %lens: tensor<?xi32>, %rows: tensor<?xi32>) -> (tensor<?x4x8xf32>, !kv) {
  %q_rot = llm.rope %q, %table, %positions : (tensor<?x4x8xf32>, tensor<64x2x4xf32>, tensor<?xi32>) -> tensor<?x4x8xf32>
  %twice = arith.addf %q_rot, %q_rot : tensor<?x4x8xf32>
  %k_rot = llm.rope %k, %table, %positions : (tensor<?x2x8xf32>, tensor<64x2x4xf32>, tensor<?xi32>) -> tensor<?x2x8xf32>
  %kv1 = llm.append_kv %kv, %k_rot, %v slots %slots : (!kv, tensor<?x2x8xf32>, tensor<?x2x8xf32>, tensor<?xi32>) -> !kv
  %o = llm.paged_attention %twice, %kv1, %blocks, %lens rows %rows : (tensor<?x4x8xf32>, !kv, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x4x8xf32>
  return %o, %kv1 : tensor<?x4x8xf32>, !kv
}

// -----

!kv = !llm.paged_kv_cache<bf16, 2, 2, 8, 16, 64>

// So does another reader before the append.
// CHECK-LABEL: func @read_before
// CHECK-NOT: llm.rope_append_kv
// CHECK: llm.append_kv
// CHECK-NOT: llm.rope_append_kv
func.func @read_before(%kv: !kv, %q: tensor<?x4x8xf32>, %k: tensor<?x2x8xf32>, %v: tensor<?x2x8xf32>, %table: tensor<64x2x4xf32>,
    %positions: tensor<?xi32>, %slots: tensor<?xi32>, %blocks: tensor<?x?xi32>, %lens: tensor<?xi32>, %rows: tensor<?xi32>) -> (tensor<?x4x8xf32>, !kv, tensor<?x4x8xf32>) {
  %q_rot = llm.rope %q, %table, %positions : (tensor<?x4x8xf32>, tensor<64x2x4xf32>, tensor<?xi32>) -> tensor<?x4x8xf32>
  %k_rot = llm.rope %k, %table, %positions : (tensor<?x2x8xf32>, tensor<64x2x4xf32>, tensor<?xi32>) -> tensor<?x2x8xf32>
  %twice = arith.addf %q_rot, %q_rot : tensor<?x4x8xf32>
  %kv1 = llm.append_kv %kv, %k_rot, %v slots %slots : (!kv, tensor<?x2x8xf32>, tensor<?x2x8xf32>, tensor<?xi32>) -> !kv
  %o = llm.paged_attention %q_rot, %kv1, %blocks, %lens rows %rows : (tensor<?x4x8xf32>, !kv, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x4x8xf32>
  return %o, %kv1, %twice : tensor<?x4x8xf32>, !kv, tensor<?x4x8xf32>
}

// -----

!kv = !llm.paged_kv_cache<bf16, 2, 2, 8, 16, 64>

// After it, others may read the queries.
// CHECK-LABEL: func @read_after
// CHECK: %[[KV1:.*]], %[[ROT:.*]] = llm.rope_append_kv
// CHECK: arith.addf %[[ROT]], %[[ROT]]
// CHECK: llm.paged_attention %[[ROT]], %[[KV1]]
func.func @read_after(%kv: !kv, %q: tensor<?x4x8xf32>, %k: tensor<?x2x8xf32>, %v: tensor<?x2x8xf32>, %table: tensor<64x2x4xf32>,
    %positions: tensor<?xi32>, %slots: tensor<?xi32>, %blocks: tensor<?x?xi32>, %lens: tensor<?xi32>, %rows: tensor<?xi32>) -> (tensor<?x4x8xf32>, !kv, tensor<?x4x8xf32>) {
  %q_rot = llm.rope %q, %table, %positions : (tensor<?x4x8xf32>, tensor<64x2x4xf32>, tensor<?xi32>) -> tensor<?x4x8xf32>
  %k_rot = llm.rope %k, %table, %positions : (tensor<?x2x8xf32>, tensor<64x2x4xf32>, tensor<?xi32>) -> tensor<?x2x8xf32>
  %kv1 = llm.append_kv %kv, %k_rot, %v slots %slots : (!kv, tensor<?x2x8xf32>, tensor<?x2x8xf32>, tensor<?xi32>) -> !kv
  %twice = arith.addf %q_rot, %q_rot : tensor<?x4x8xf32>
  %o = llm.paged_attention %q_rot, %kv1, %blocks, %lens rows %rows : (tensor<?x4x8xf32>, !kv, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x4x8xf32>
  return %o, %kv1, %twice : tensor<?x4x8xf32>, !kv, tensor<?x4x8xf32>
}

// -----

!kv = !llm.paged_kv_cache<bf16, 2, 2, 8, 16, 64>

// An append that allocates knows no positions.
// CHECK-LABEL: func @by_seq_ids
// CHECK-NOT: llm.rope_append_kv
// CHECK: llm.append_kv
// CHECK-NOT: llm.rope_append_kv
func.func @by_seq_ids(%kv: !kv, %k: tensor<2x2x8xf32>, %table: tensor<64x2x4xf32>, %p: tensor<2xi32>, %ids: tensor<2xi32>) -> !kv {
  %k_rot = llm.rope %k, %table, %p : (tensor<2x2x8xf32>, tensor<64x2x4xf32>, tensor<2xi32>) -> tensor<2x2x8xf32>
  %keys = tensor.expand_shape %k_rot [[0, 1], [2], [3]] : tensor<2x2x8xf32> into tensor<2x1x2x8xf32>
  %0, %1 = llm.append_kv %kv, %keys, %keys, %ids : (!kv, tensor<2x1x2x8xf32>, tensor<2x1x2x8xf32>, tensor<2xi32>) -> (!kv, tensor<2x1xi32>)
  return %0 : !kv
}
