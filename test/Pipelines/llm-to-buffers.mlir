// RUN: llmir-opt %S/Inputs/two-layer-step.mlir -llm-optimize -llm-to-buffers=max-batch-tokens=32 -o %t
// RUN: FileCheck %s --input-file=%t
// RUN: FileCheck %s --input-file=%t --check-prefix=NONE
// RUN: llmir-opt %S/Inputs/two-layer-step.mlir -llm-optimize -llm-to-buffers=max-batch-tokens=64 | FileCheck %s --check-prefix=TWICE
// RUN: sed 's/512x2x16xf32/512x2x4xf32/g' %S/Inputs/two-layer-step.mlir | llmir-opt -llm-optimize -llm-to-buffers=max-batch-tokens=32 -o %t.partial
// RUN: FileCheck %s --input-file=%t.partial --check-prefix=NONE

// A step allocates nothing and copies nothing, and no tensor is left; nor where
// RoPE leaves some of a head as it is.
// NONE-NOT: memref.alloc
// NONE-NOT: memref.dealloc
// NONE-NOT: memref.copy
// NONE-NOT: linalg.copy
// NONE-NOT: {{^ .*tensor}}
// NONE-NOT: {{^ .*linalg\.}}

// The arena's size follows the batch's.
// CHECK: llm.arena_bytes = {{[0-9]+}} : i64
// CHECK-SAME: llm.max_batch_tokens = 32
// TWICE: llm.max_batch_tokens = 64

// What the step works on: its eight inputs, the weights, the logits, the arena.
// CHECK-LABEL: func @step
// CHECK-SAME: (%{{[^ ]*}}: memref<?xi32>, {{.*}}: !llm.paged_kv_cache<bf16, 2, 2, 32, 16, 512>, %[[WEIGHTS:[^ ]*]]: memref<?xi8>, %[[LOGITS:[^ ]*]]: memref<?x1024xf32> {llm.destination}, %[[ARENA:[^ ]*]]: memref<?xi8>) {

// The hidden states are one buffer, which both calls of the layer work on.
// CHECK: %[[PAIRS:.*]] = memref.view %[[ARENA]][%{{.*}}][%{{.*}}] : memref<?xi8> to memref<?x96x2xf32>
// CHECK: %[[H:.*]] = memref.collapse_shape %[[PAIRS]] {{.*}} into memref<?x192xf32>
// CHECK: call @decoder_layer(%[[H]], {{.*}}, %[[WEIGHTS]], %[[ARENA]]) : {{.*}} -> ()
// CHECK: call @decoder_layer(%[[H]], {{.*}}, %[[WEIGHTS]], %[[ARENA]]) : {{.*}} -> ()
// CHECK-NOT: call @decoder_layer

// Logits are written where the caller wants them.
// CHECK: llm.call_kernel linear ins({{.*}}) outs(%[[LOGITS]] : memref<?x1024xf32>)
// CHECK: return

// The layer's products add to the hidden states in place, and each view is one
// of the arena.
// CHECK: func private @decoder_layer(%[[H:[^ ]*]]: memref<?x192xf32>, {{.*}}, %{{[^ ]*}}: memref<?xi8>, %[[ARENA:[^ ]*]]: memref<?xi8>) {
// CHECK-NOT: memref.view %{{(arg18|arg0)}}
// CHECK: memref.view %[[ARENA]]
// CHECK-NOT: scf.forall
// CHECK: llm.call_kernel rope_append_kv ins(
// CHECK: llm.call_kernel paged_attention
// CHECK: llm.call_kernel linear accumulate ins({{.*}}) outs(%[[H]] : memref<?x192xf32>)
// CHECK: llm.call_kernel linear accumulate ins({{.*}}) outs(%[[H]] : memref<?x192xf32>)
// CHECK-NEXT: return
// CHECK-NOT: func
