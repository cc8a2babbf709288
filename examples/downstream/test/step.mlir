// RUN: lora-opt %s -lora-to-llm -llm-cpu-pipeline | FileCheck %s

// A whole step, the smallest there is, goes all the way to the LLVM dialect: the
// products of the adapter are kernel calls like the layer's own, with which the
// first of them is merged.
// CHECK-DAG: keys = ["head.lora_A", "head.weight"]
// CHECK-DAG: keys = ["head.lora_B"]
// CHECK: llvm.func @llmir_step(
!kv = !llm.paged_kv_cache<f32, 1, 1, 16, 16, 64>

module attributes {
  llm.model = {
    architecture = "bigram", vocab_size = 128 : i64, hidden_size = 64 : i64,
    num_layers = 1 : i64, num_heads = 1 : i64, num_kv_heads = 1 : i64,
    head_dim = 16 : i64, dtype = "f32", max_model_len = 64 : i64,
    eos_token_ids = []
  }
} {
  func.func @step(
      %token_ids: tensor<?xi32>, %positions: tensor<?xi32>, %slots: tensor<?xi32>,
      %block_table: tensor<?x?xi32>, %context_lens: tensor<?xi32>,
      %row_starts: tensor<?xi32>, %logit_rows: tensor<?xi32>, %cache: !kv)
      -> (tensor<?x128xf32>, !kv) {
    %table = llm.parameter "model"::"embed.weight" : tensor<128x64xf32>
    %w = llm.parameter "model"::"head.weight" : tensor<128x64xf32>
    %a = llm.parameter "model"::"head.lora_A" : tensor<8x64xf32>
    %b = llm.parameter "model"::"head.lora_B" : tensor<128x8xf32>
    %h = llm.embedding %token_ids, %table
      : (tensor<?xi32>, tensor<128x64xf32>) -> tensor<?x64xf32>
    %x = llm.embedding %logit_rows, %h
      : (tensor<?xi32>, tensor<?x64xf32>) -> tensor<?x64xf32>
    %logits = lora.linear %x, %w, %a, %b {scale = 2.0 : f32}
      : tensor<?x64xf32>, tensor<128x64xf32>, tensor<8x64xf32>, tensor<128x8xf32> -> tensor<?x128xf32>
    return %logits, %cache : tensor<?x128xf32>, !kv
  }
}
