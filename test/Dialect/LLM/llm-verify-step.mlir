// RUN: llmir-opt %s -llm-verify-step -split-input-file -verify-diagnostics

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// Accepted: facts, tables and layers fit.
module attributes {llm.model = {vocab_size = 64 : i64, max_model_len = 64 : i64}} {
  func.func @step(%ids: tensor<?xi32>, %positions: tensor<?xi32>, %slots: tensor<?xi32>,
                  %blocks: tensor<?x?xi32>, %lens: tensor<?xi32>, %starts: tensor<?xi32>,
                  %rows: tensor<?xi32>, %kv: !kv) -> (tensor<?x64xf32>, !kv) {
    %w = llm.parameter "model"::"w" : tensor<64x64xf32>
    %e = llm.embedding %ids, %w : (tensor<?xi32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    %r = llm.rope_table {theta = 1.0e+04 : f64} : tensor<64x2x2xf32>
    %t = llm.parameter "model"::"t" : tensor<64x8xf32>
    %x = llm.embedding %ids, %t : (tensor<?xi32>, tensor<64x8xf32>) -> tensor<?x8xf32>
    %k = tensor.expand_shape %x [[0], [1, 2]] : tensor<?x8xf32> into tensor<?x2x4xf32>
    %n = arith.constant 1 : index
    %kv1 = call @layer(%kv, %n, %k, %slots) : (!kv, index, tensor<?x2x4xf32>, tensor<?xi32>) -> !kv
    return %e, %kv1 : tensor<?x64xf32>, !kv
  }
  func.func private @layer(%kv: !kv, %layer: index, %k: tensor<?x2x4xf32>, %slots: tensor<?xi32>) -> !kv {
    %0 = llm.append_kv %kv, %k, %k slots %slots layer %layer : (!kv, tensor<?x2x4xf32>, tensor<?x2x4xf32>, tensor<?xi32>, index) -> !kv
    return %0 : !kv
  }
}

// -----

// There must be something to run.
// expected-error @+1 {{has no function `step` with a body}}
module {
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// Arguments are bound by their order; what types can tell is checked.
module attributes {llm.model = {vocab_size = 64 : i64, max_model_len = 64 : i64}} {
  // expected-error @+1 {{step must take token_ids, positions, slots, block_table, context_lens, row_starts and logit_rows, as tensors of i32 with dynamic sizes, and a cache, and return logits, as tensor<?xVxf32>, and the cache}}
  func.func @step(%ids: tensor<?xi32>, %positions: tensor<?xi32>, %slots: tensor<?xi64>,
                  %blocks: tensor<?x?xi32>, %lens: tensor<?xi32>, %starts: tensor<?xi32>,
                  %rows: tensor<?xi32>, %kv: !kv) -> (tensor<?x64xf32>, !kv) {
    %w = llm.parameter "model"::"w" : tensor<64x64xf32>
    %e = llm.embedding %ids, %w : (tensor<?xi32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    return %e, %kv : tensor<?x64xf32>, !kv
  }
}

// -----

!kv = !llm.paged_kv_cache<f64, 2, 2, 4, 16, 64>

// Kernels read f32, bf16 and f16.
module attributes {llm.model = {vocab_size = 64 : i64, max_model_len = 64 : i64}} {
  // expected-error @+1 {{the runtime's caches hold f32, bf16, f16, i8 or i4, not 'f64'}}
  func.func @step(%ids: tensor<?xi32>, %positions: tensor<?xi32>, %slots: tensor<?xi32>,
                  %blocks: tensor<?x?xi32>, %lens: tensor<?xi32>, %starts: tensor<?xi32>,
                  %rows: tensor<?xi32>, %kv: !kv) -> (tensor<?x64xf32>, !kv) {
    %w = llm.parameter "model"::"w" : tensor<64x64xf32>
    %e = llm.embedding %ids, %w : (tensor<?xi32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    return %e, %kv : tensor<?x64xf32>, !kv
  }
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// Engines need the vocabulary.
// expected-error @+1 {{llm.model must have a positive number vocab_size}}
module attributes {llm.model = {max_model_len = 64 : i64}} {
  func.func @step(%ids: tensor<?xi32>, %positions: tensor<?xi32>, %slots: tensor<?xi32>,
                  %blocks: tensor<?x?xi32>, %lens: tensor<?xi32>, %starts: tensor<?xi32>,
                  %rows: tensor<?xi32>, %kv: !kv) -> (tensor<?x64xf32>, !kv) {
    %w = llm.parameter "model"::"w" : tensor<64x64xf32>
    %e = llm.embedding %ids, %w : (tensor<?xi32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    return %e, %kv : tensor<?x64xf32>, !kv
  }
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// Logits go to a buffer of vocab_size columns.
module attributes {llm.model = {vocab_size = 8 : i64, max_model_len = 64 : i64}} {
  // expected-error @+1 {{returns 64 logits a row, but vocab_size is 8}}
  func.func @step(%ids: tensor<?xi32>, %positions: tensor<?xi32>, %slots: tensor<?xi32>,
                  %blocks: tensor<?x?xi32>, %lens: tensor<?xi32>, %starts: tensor<?xi32>,
                  %rows: tensor<?xi32>, %kv: !kv) -> (tensor<?x64xf32>, !kv) {
    %w = llm.parameter "model"::"w" : tensor<64x64xf32>
    %e = llm.embedding %ids, %w : (tensor<?xi32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    return %e, %kv : tensor<?x64xf32>, !kv
  }
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// A sequence of the greatest length has room.
module attributes {llm.model = {vocab_size = 64 : i64, max_model_len = 65 : i64}} {
  // expected-error @+1 {{the cache's max_seq_len is 64, but max_model_len is 65}}
  func.func @step(%ids: tensor<?xi32>, %positions: tensor<?xi32>, %slots: tensor<?xi32>,
                  %blocks: tensor<?x?xi32>, %lens: tensor<?xi32>, %starts: tensor<?xi32>,
                  %rows: tensor<?xi32>, %kv: !kv) -> (tensor<?x64xf32>, !kv) {
    %w = llm.parameter "model"::"w" : tensor<64x64xf32>
    %e = llm.embedding %ids, %w : (tensor<?xi32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    return %e, %kv : tensor<?x64xf32>, !kv
  }
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// Every position has its row.
module attributes {llm.model = {vocab_size = 64 : i64, max_model_len = 64 : i64}} {
  func.func @step(%ids: tensor<?xi32>, %positions: tensor<?xi32>, %slots: tensor<?xi32>,
                  %blocks: tensor<?x?xi32>, %lens: tensor<?xi32>, %starts: tensor<?xi32>,
                  %rows: tensor<?xi32>, %kv: !kv) -> (tensor<?x64xf32>, !kv) {
    %w = llm.parameter "model"::"w" : tensor<64x64xf32>
    %e = llm.embedding %ids, %w : (tensor<?xi32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    // expected-error @+1 {{the RoPE table has 63 rows, but max_model_len is 64}}
    %r = llm.rope_table {theta = 1.0e+04 : f64} : tensor<63x2x2xf32>
    return %e, %kv : tensor<?x64xf32>, !kv
  }
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// Every token has its row.
module attributes {llm.model = {vocab_size = 64 : i64, max_model_len = 64 : i64}} {
  func.func @step(%ids: tensor<?xi32>, %positions: tensor<?xi32>, %slots: tensor<?xi32>,
                  %blocks: tensor<?x?xi32>, %lens: tensor<?xi32>, %starts: tensor<?xi32>,
                  %rows: tensor<?xi32>, %kv: !kv) -> (tensor<?x64xf32>, !kv) {
    %w = llm.parameter "model"::"w" : tensor<60x64xf32>
    // expected-error @+1 {{the embedding has 60 rows, but vocab_size is 64}}
    %e = llm.embedding %ids, %w : (tensor<?xi32>, tensor<60x64xf32>) -> tensor<?x64xf32>
    return %e, %kv : tensor<?x64xf32>, !kv
  }
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// In panels, too.
module attributes {llm.model = {vocab_size = 65 : i64, max_model_len = 64 : i64}} {
  func.func @step(%ids: tensor<?xi32>, %positions: tensor<?xi32>, %slots: tensor<?xi32>,
                  %blocks: tensor<?x?xi32>, %lens: tensor<?xi32>, %starts: tensor<?xi32>,
                  %rows: tensor<?xi32>, %kv: !kv) -> (tensor<?x65xf32>, !kv) {
    %w = llm.parameter "model"::"w" from tensor<60x65xf32> : tensor<2x65x32xf32>
    // expected-error @+1 {{the embedding has 64 rows, but vocab_size is 65}}
    %e = llm.embedding %ids, %w : (tensor<?xi32>, tensor<2x65x32xf32>) -> tensor<?x65xf32>
    return %e, %kv : tensor<?x65xf32>, !kv
  }
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// A layer that is passed to a function exists in the cache.
module attributes {llm.model = {vocab_size = 64 : i64, max_model_len = 64 : i64}} {
  func.func @step(%ids: tensor<?xi32>, %positions: tensor<?xi32>, %slots: tensor<?xi32>,
                  %blocks: tensor<?x?xi32>, %lens: tensor<?xi32>, %starts: tensor<?xi32>,
                  %rows: tensor<?xi32>, %kv: !kv) -> (tensor<?x64xf32>, !kv) {
    %w = llm.parameter "model"::"w" : tensor<64x64xf32>
    %e = llm.embedding %ids, %w : (tensor<?xi32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    %t = llm.parameter "model"::"t" : tensor<64x8xf32>
    %x = llm.embedding %ids, %t : (tensor<?xi32>, tensor<64x8xf32>) -> tensor<?x8xf32>
    %k = tensor.expand_shape %x [[0], [1, 2]] : tensor<?x8xf32> into tensor<?x2x4xf32>
    %n = arith.constant 2 : index
    // expected-error @+1 {{layer 2 is not one of the 2 layers of the cache}}
    %kv1 = call @layer(%kv, %n, %k, %slots) : (!kv, index, tensor<?x2x4xf32>, tensor<?xi32>) -> !kv
    return %e, %kv1 : tensor<?x64xf32>, !kv
  }
  func.func private @layer(%kv: !kv, %layer: index, %k: tensor<?x2x4xf32>, %slots: tensor<?xi32>) -> !kv {
    %0 = llm.append_kv %kv, %k, %k slots %slots layer %layer : (!kv, tensor<?x2x4xf32>, tensor<?x2x4xf32>, tensor<?xi32>, index) -> !kv
    return %0 : !kv
  }
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// So must the layer exist whose keys are rotated on the way.
module attributes {llm.model = {vocab_size = 64 : i64, max_model_len = 64 : i64}} {
  func.func @step(%ids: tensor<?xi32>, %positions: tensor<?xi32>, %slots: tensor<?xi32>,
                  %blocks: tensor<?x?xi32>, %lens: tensor<?xi32>, %starts: tensor<?xi32>,
                  %rows: tensor<?xi32>, %kv: !kv) -> (tensor<?x64xf32>, !kv) {
    %w = llm.parameter "model"::"w" : tensor<64x64xf32>
    %e = llm.embedding %ids, %w : (tensor<?xi32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    %r = llm.rope_table {theta = 1.0e+04 : f64} : tensor<64x2x2xf32>
    %t = llm.parameter "model"::"t" : tensor<64x8xf32>
    %x = llm.embedding %ids, %t : (tensor<?xi32>, tensor<64x8xf32>) -> tensor<?x8xf32>
    %k = tensor.expand_shape %x [[0], [1, 2]] : tensor<?x8xf32> into tensor<?x2x4xf32>
    %n = arith.constant 2 : index
    // expected-error @+1 {{layer 2 is not one of the 2 layers of the cache}}
    %kv1 = call @layer(%kv, %n, %k, %r, %positions, %slots) : (!kv, index, tensor<?x2x4xf32>, tensor<64x2x2xf32>, tensor<?xi32>, tensor<?xi32>) -> !kv
    return %e, %kv1 : tensor<?x64xf32>, !kv
  }
  func.func private @layer(%kv: !kv, %layer: index, %k: tensor<?x2x4xf32>, %r: tensor<64x2x2xf32>, %p: tensor<?xi32>, %slots: tensor<?xi32>) -> !kv {
    %0, %1 = llm.rope_append_kv %kv, %k, %k, %k, %r, %p slots %slots layer %layer
      : (!kv, tensor<?x2x4xf32>, tensor<?x2x4xf32>, tensor<?x2x4xf32>, tensor<64x2x2xf32>, tensor<?xi32>, tensor<?xi32>, index) -> (!kv, tensor<?x2x4xf32>)
    return %0 : !kv
  }
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// Layers are known when compiling.
module attributes {llm.model = {vocab_size = 64 : i64, max_model_len = 64 : i64}} {
  func.func @step(%ids: tensor<?xi32>, %positions: tensor<?xi32>, %slots: tensor<?xi32>,
                  %blocks: tensor<?x?xi32>, %lens: tensor<?xi32>, %starts: tensor<?xi32>,
                  %rows: tensor<?xi32>, %kv: !kv) -> (tensor<?x64xf32>, !kv) {
    %w = llm.parameter "model"::"w" : tensor<64x64xf32>
    %e = llm.embedding %ids, %w : (tensor<?xi32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    %t = llm.parameter "model"::"t" : tensor<64x8xf32>
    %x = llm.embedding %ids, %t : (tensor<?xi32>, tensor<64x8xf32>) -> tensor<?x8xf32>
    %k = tensor.expand_shape %x [[0], [1, 2]] : tensor<?x8xf32> into tensor<?x2x4xf32>
    %c0 = arith.constant 0 : index
    %n = tensor.dim %ids, %c0 : tensor<?xi32>
    // expected-error @+1 {{the layer must be a constant, here or at every call}}
    %kv1 = call @layer(%kv, %n, %k, %slots) : (!kv, index, tensor<?x2x4xf32>, tensor<?xi32>) -> !kv
    return %e, %kv1 : tensor<?x64xf32>, !kv
  }
  func.func private @layer(%kv: !kv, %layer: index, %k: tensor<?x2x4xf32>, %slots: tensor<?xi32>) -> !kv {
    %0 = llm.append_kv %kv, %k, %k slots %slots layer %layer : (!kv, tensor<?x2x4xf32>, tensor<?x2x4xf32>, tensor<?xi32>, index) -> !kv
    return %0 : !kv
  }
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// A function of a layer is called, and nothing else.
module attributes {llm.model = {vocab_size = 64 : i64, max_model_len = 64 : i64}} {
  func.func @step(%ids: tensor<?xi32>, %positions: tensor<?xi32>, %slots: tensor<?xi32>,
                  %blocks: tensor<?x?xi32>, %lens: tensor<?xi32>, %starts: tensor<?xi32>,
                  %rows: tensor<?xi32>, %kv: !kv) -> (tensor<?x64xf32>, !kv) {
    %w = llm.parameter "model"::"w" : tensor<64x64xf32>
    %e = llm.embedding %ids, %w : (tensor<?xi32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    // expected-error @+1 {{only calls may refer to a function of a layer}}
    %f = constant @layer : (!kv, index, tensor<?x2x4xf32>, tensor<?xi32>) -> !kv
    return %e, %kv : tensor<?x64xf32>, !kv
  }
  func.func private @layer(%kv: !kv, %layer: index, %k: tensor<?x2x4xf32>, %slots: tensor<?xi32>) -> !kv {
    %0 = llm.append_kv %kv, %k, %k slots %slots layer %layer : (!kv, tensor<?x2x4xf32>, tensor<?x2x4xf32>, tensor<?xi32>, index) -> !kv
    return %0 : !kv
  }
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// Weights come from the model's directory, in every function.
module attributes {llm.model = {vocab_size = 64 : i64, max_model_len = 64 : i64}} {
  func.func @step(%ids: tensor<?xi32>, %positions: tensor<?xi32>, %slots: tensor<?xi32>,
                  %blocks: tensor<?x?xi32>, %lens: tensor<?xi32>, %starts: tensor<?xi32>,
                  %rows: tensor<?xi32>, %kv: !kv) -> (tensor<?x64xf32>, !kv) {
    %w = call @weight() : () -> tensor<64x64xf32>
    %e = llm.embedding %ids, %w : (tensor<?xi32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    return %e, %kv : tensor<?x64xf32>, !kv
  }
  func.func private @weight() -> tensor<64x64xf32> {
    // expected-error @+1 {{no weights are known as "adapter"; those of the model's directory are "model"}}
    %w = llm.parameter "adapter"::"w" : tensor<64x64xf32>
    return %w : tensor<64x64xf32>
  }
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// Facts that nothing relies on are not wrong either.
module attributes {llm.model = {vocab_size = 64 : i64, max_model_len = 64 : i64, num_layers = 3 : i64}} {
  // expected-error @+1 {{the cache's number of layers is 2, but num_layers is 3}}
  func.func @step(%ids: tensor<?xi32>, %positions: tensor<?xi32>, %slots: tensor<?xi32>,
                  %blocks: tensor<?x?xi32>, %lens: tensor<?xi32>, %starts: tensor<?xi32>,
                  %rows: tensor<?xi32>, %kv: !kv) -> (tensor<?x64xf32>, !kv) {
    %w = llm.parameter "model"::"w" : tensor<64x64xf32>
    %e = llm.embedding %ids, %w : (tensor<?xi32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    %q = tensor.expand_shape %e [[0], [1, 2]] : tensor<?x64xf32> into tensor<?x16x4xf32>
    %a = llm.paged_attention %q, %kv, %blocks, %lens rows %starts
      : (tensor<?x16x4xf32>, !kv, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x16x4xf32>
    return %e, %kv : tensor<?x64xf32>, !kv
  }
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// Facts that nothing relies on are not wrong either.
module attributes {llm.model = {vocab_size = 64 : i64, max_model_len = 64 : i64, num_kv_heads = 4 : i64}} {
  // expected-error @+1 {{the cache's number of heads is 2, but num_kv_heads is 4}}
  func.func @step(%ids: tensor<?xi32>, %positions: tensor<?xi32>, %slots: tensor<?xi32>,
                  %blocks: tensor<?x?xi32>, %lens: tensor<?xi32>, %starts: tensor<?xi32>,
                  %rows: tensor<?xi32>, %kv: !kv) -> (tensor<?x64xf32>, !kv) {
    %w = llm.parameter "model"::"w" : tensor<64x64xf32>
    %e = llm.embedding %ids, %w : (tensor<?xi32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    %q = tensor.expand_shape %e [[0], [1, 2]] : tensor<?x64xf32> into tensor<?x16x4xf32>
    %a = llm.paged_attention %q, %kv, %blocks, %lens rows %starts
      : (tensor<?x16x4xf32>, !kv, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x16x4xf32>
    return %e, %kv : tensor<?x64xf32>, !kv
  }
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// Facts that nothing relies on are not wrong either.
module attributes {llm.model = {vocab_size = 64 : i64, max_model_len = 64 : i64, head_dim = 8 : i64}} {
  // expected-error @+1 {{the cache's head dimension is 4, but head_dim is 8}}
  func.func @step(%ids: tensor<?xi32>, %positions: tensor<?xi32>, %slots: tensor<?xi32>,
                  %blocks: tensor<?x?xi32>, %lens: tensor<?xi32>, %starts: tensor<?xi32>,
                  %rows: tensor<?xi32>, %kv: !kv) -> (tensor<?x64xf32>, !kv) {
    %w = llm.parameter "model"::"w" : tensor<64x64xf32>
    %e = llm.embedding %ids, %w : (tensor<?xi32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    %q = tensor.expand_shape %e [[0], [1, 2]] : tensor<?x64xf32> into tensor<?x16x4xf32>
    %a = llm.paged_attention %q, %kv, %blocks, %lens rows %starts
      : (tensor<?x16x4xf32>, !kv, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x16x4xf32>
    return %e, %kv : tensor<?x64xf32>, !kv
  }
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// Facts that nothing relies on are not wrong either.
module attributes {llm.model = {vocab_size = 64 : i64, max_model_len = 64 : i64, hidden_size = 32 : i64}} {
  func.func @step(%ids: tensor<?xi32>, %positions: tensor<?xi32>, %slots: tensor<?xi32>,
                  %blocks: tensor<?x?xi32>, %lens: tensor<?xi32>, %starts: tensor<?xi32>,
                  %rows: tensor<?xi32>, %kv: !kv) -> (tensor<?x64xf32>, !kv) {
    %w = llm.parameter "model"::"w" : tensor<64x64xf32>
    // expected-error @+1 {{the embedding's number of columns is 64, but hidden_size is 32}}
    %e = llm.embedding %ids, %w : (tensor<?xi32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    %q = tensor.expand_shape %e [[0], [1, 2]] : tensor<?x64xf32> into tensor<?x16x4xf32>
    %a = llm.paged_attention %q, %kv, %blocks, %lens rows %starts
      : (tensor<?x16x4xf32>, !kv, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x16x4xf32>
    return %e, %kv : tensor<?x64xf32>, !kv
  }
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// Facts that nothing relies on are not wrong either.
module attributes {llm.model = {vocab_size = 64 : i64, max_model_len = 64 : i64, num_heads = 8 : i64}} {
  func.func @step(%ids: tensor<?xi32>, %positions: tensor<?xi32>, %slots: tensor<?xi32>,
                  %blocks: tensor<?x?xi32>, %lens: tensor<?xi32>, %starts: tensor<?xi32>,
                  %rows: tensor<?xi32>, %kv: !kv) -> (tensor<?x64xf32>, !kv) {
    %w = llm.parameter "model"::"w" : tensor<64x64xf32>
    %e = llm.embedding %ids, %w : (tensor<?xi32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    %q = tensor.expand_shape %e [[0], [1, 2]] : tensor<?x64xf32> into tensor<?x16x4xf32>
    // expected-error @+1 {{the query's number of heads is 16, but num_heads is 8}}
    %a = llm.paged_attention %q, %kv, %blocks, %lens rows %starts
      : (tensor<?x16x4xf32>, !kv, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x16x4xf32>
    return %e, %kv : tensor<?x64xf32>, !kv
  }
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

// What lies behind the window is given to others.
module attributes {llm.model = {vocab_size = 64 : i64, max_model_len = 64 : i64, kv_cache_window = 8 : i64}} {
  func.func @step(%ids: tensor<?xi32>, %positions: tensor<?xi32>, %slots: tensor<?xi32>,
                  %blocks: tensor<?x?xi32>, %lens: tensor<?xi32>, %starts: tensor<?xi32>,
                  %rows: tensor<?xi32>, %kv: !kv) -> (tensor<?x64xf32>, !kv) {
    %w = llm.parameter "model"::"w" : tensor<64x64xf32>
    %e = llm.embedding %ids, %w : (tensor<?xi32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    %q = tensor.expand_shape %e [[0], [1, 2]] : tensor<?x64xf32> into tensor<?x16x4xf32>
    %a = llm.paged_attention %q, %kv, %blocks, %lens rows %starts {window = 8 : i64}
      : (tensor<?x16x4xf32>, !kv, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x16x4xf32>
    // expected-error @+1 {{reads 9 positions of the cache, but kv_cache_window is 8}}
    %b = llm.paged_attention %q, %kv, %blocks, %lens rows %starts {window = 9 : i64}
      : (tensor<?x16x4xf32>, !kv, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x16x4xf32>
    return %e, %kv : tensor<?x64xf32>, !kv
  }
}

// -----

!kv = !llm.paged_kv_cache<f32, 2, 2, 4, 16, 64>

module attributes {llm.model = {vocab_size = 64 : i64, max_model_len = 64 : i64, kv_cache_window = 8 : i64}} {
  func.func @step(%ids: tensor<?xi32>, %positions: tensor<?xi32>, %slots: tensor<?xi32>,
                  %blocks: tensor<?x?xi32>, %lens: tensor<?xi32>, %starts: tensor<?xi32>,
                  %rows: tensor<?xi32>, %kv: !kv) -> (tensor<?x64xf32>, !kv) {
    %w = llm.parameter "model"::"w" : tensor<64x64xf32>
    %e = llm.embedding %ids, %w : (tensor<?xi32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    %q = tensor.expand_shape %e [[0], [1, 2]] : tensor<?x64xf32> into tensor<?x16x4xf32>
    // expected-error @+1 {{reads all of the cache, but kv_cache_window is 8}}
    %b = llm.paged_attention %q, %kv, %blocks, %lens rows %starts
      : (tensor<?x16x4xf32>, !kv, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x16x4xf32>
    return %e, %kv : tensor<?x64xf32>, !kv
  }
}
