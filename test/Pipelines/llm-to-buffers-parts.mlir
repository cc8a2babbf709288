// RUN: llmir-opt %s -split-input-file -llm-optimize -llm-to-buffers=max-batch-tokens=32 -o %t
// RUN: FileCheck %s --input-file=%t
// RUN: FileCheck %s --input-file=%t --check-prefix=NONE

// What is made of several products is read where it is; of what a function
// returns, each part goes to the caller's memory in a loop over rows.
// NONE-NOT: memref.alloc
// NONE-NOT: memref.copy
// NONE-NOT: {{^ .*linalg\.}}

!kv = !llm.paged_kv_cache<f32, 1, 1, 16, 16, 64>

// CHECK: llm.weights = [{{.*}}keys = ["a", "b"]
// CHECK-LABEL: func @step
// CHECK: call @products(
// CHECK: func private @products({{.*}}, %[[A:[^ ]*]]: memref<?x64xf32>, %[[B:[^ ]*]]: memref<?x64xf32>, %{{[^ ]*}}: memref<?xi8>) {
// CHECK: llm.call_kernel linear ins({{.*}}) outs(%{{.*}} : memref<?x128xf32>)
// CHECK: scf.forall
// CHECK: vector.load
// CHECK-NEXT: vector.store {{.*}}, %[[A]]
// CHECK: vector.load
// CHECK-NEXT: vector.store {{.*}}, %[[B]]
// CHECK-NOT: vector.store
// CHECK: return
module attributes {llm.model = {vocab_size = 64 : i64, max_model_len = 64 : i64}} {
func.func @step(
    %token_ids: tensor<?xi32>, %positions: tensor<?xi32>, %slots: tensor<?xi32>,
    %block_table: tensor<?x?xi32>, %context_lens: tensor<?xi32>,
    %row_starts: tensor<?xi32>, %logit_rows: tensor<?xi32>, %cache: !kv)
    -> (tensor<?x64xf32>, !kv) {
  %table = llm.parameter "model"::"table" : tensor<64x64xf32>
  %a = llm.parameter "model"::"a" : tensor<64x64xf32>
  %b = llm.parameter "model"::"b" : tensor<64x64xf32>
  %h = llm.embedding %token_ids, %table : (tensor<?xi32>, tensor<64x64xf32>) -> tensor<?x64xf32>
  %x = llm.embedding %logit_rows, %h : (tensor<?xi32>, tensor<?x64xf32>) -> tensor<?x64xf32>
  %0, %1 = call @products(%x, %a, %b) : (tensor<?x64xf32>, tensor<64x64xf32>, tensor<64x64xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>)
  %2 = llm.activation silu %0, %1 : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
  return %2, %cache : tensor<?x64xf32>, !kv
}
func.func private @products(%x: tensor<?x64xf32>, %a: tensor<64x64xf32>, %b: tensor<64x64xf32>)
    -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  %0 = llm.linear %x, %a : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
  %1 = llm.linear %x, %b : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
  return %0, %1 : tensor<?x64xf32>, tensor<?x64xf32>
}
}

// -----

!kv = !llm.paged_kv_cache<f32, 1, 1, 16, 16, 64>

// What only overwrites a part needs no copy of it: the sum of two parts is
// written to the logits.
// CHECK-LABEL: func @step
// CHECK-SAME: %[[LOGITS:[^ ]*]]: memref<?x64xf32> {llm.destination}, %{{[^ ]*}}: memref<?xi8>) {
// CHECK: llm.call_kernel linear ins({{.*}}) outs(%{{.*}} : memref<?x128xf32>)
// CHECK: scf.forall
// CHECK: vector.load
// CHECK-NEXT: vector.load
// CHECK-NEXT: arith.addf
// CHECK-NEXT: vector.store {{.*}}, %[[LOGITS]]
// CHECK-NOT: vector.store
// CHECK: return
module attributes {llm.model = {vocab_size = 64 : i64, max_model_len = 64 : i64}} {
func.func @step(
    %token_ids: tensor<?xi32>, %positions: tensor<?xi32>, %slots: tensor<?xi32>,
    %block_table: tensor<?x?xi32>, %context_lens: tensor<?xi32>,
    %row_starts: tensor<?xi32>, %logit_rows: tensor<?xi32>, %cache: !kv)
    -> (tensor<?x64xf32>, !kv) {
  %table = llm.parameter "model"::"table" : tensor<64x64xf32>
  %a = llm.parameter "model"::"a" : tensor<64x64xf32>
  %b = llm.parameter "model"::"b" : tensor<64x64xf32>
  %h = llm.embedding %token_ids, %table : (tensor<?xi32>, tensor<64x64xf32>) -> tensor<?x64xf32>
  %x = llm.embedding %logit_rows, %h : (tensor<?xi32>, tensor<?x64xf32>) -> tensor<?x64xf32>
  %0 = llm.linear %x, %a : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
  %1 = llm.linear %x, %b : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
  %2 = arith.addf %0, %1 : tensor<?x64xf32>
  return %2, %cache : tensor<?x64xf32>, !kv
}
}
