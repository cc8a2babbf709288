// A two-layer Llama as the importer writes it, with tied embeddings.
!kv = !llm.paged_kv_cache<bf16, 2, 2, 32, 16, 512>

module @llama attributes {
  llm.model = {
    architecture = "llama", vocab_size = 1024 : i64, hidden_size = 192 : i64,
    num_layers = 2 : i64, num_heads = 6 : i64, num_kv_heads = 2 : i64,
    head_dim = 32 : i64, dtype = "bf16", max_model_len = 512 : i64,
    bos_token_id = 0 : i64, eos_token_ids = [0]
  }
} {
  func.func @step(
      %token_ids: tensor<?xi32>, %positions: tensor<?xi32>, %slots: tensor<?xi32>,
      %block_table: tensor<?x?xi32>, %context_lens: tensor<?xi32>,
      %row_starts: tensor<?xi32>, %logit_rows: tensor<?xi32>, %cache: !kv)
      -> (tensor<?x1024xf32>, !kv) {
    %embed_tokens = llm.parameter "model"::"model.embed_tokens.weight" : tensor<1024x192xbf16>
    %rope_table = llm.rope_table {theta = 1.0e+04 : f64} : tensor<512x2x16xf32>
    %h0 = llm.embedding %token_ids, %embed_tokens : (tensor<?xi32>, tensor<1024x192xbf16>) -> tensor<?x192xf32>

    %layer0 = arith.constant 0 : index
    %l0_input_norm = llm.parameter "model"::"model.layers.0.input_layernorm.weight" : tensor<192xbf16>
    %l0_q_proj = llm.parameter "model"::"model.layers.0.self_attn.q_proj.weight" : tensor<192x192xbf16>
    %l0_k_proj = llm.parameter "model"::"model.layers.0.self_attn.k_proj.weight" : tensor<64x192xbf16>
    %l0_v_proj = llm.parameter "model"::"model.layers.0.self_attn.v_proj.weight" : tensor<64x192xbf16>
    %l0_o_proj = llm.parameter "model"::"model.layers.0.self_attn.o_proj.weight" : tensor<192x192xbf16>
    %l0_post_norm = llm.parameter "model"::"model.layers.0.post_attention_layernorm.weight" : tensor<192xbf16>
    %l0_gate_proj = llm.parameter "model"::"model.layers.0.mlp.gate_proj.weight" : tensor<512x192xbf16>
    %l0_up_proj = llm.parameter "model"::"model.layers.0.mlp.up_proj.weight" : tensor<512x192xbf16>
    %l0_down_proj = llm.parameter "model"::"model.layers.0.mlp.down_proj.weight" : tensor<192x512xbf16>
    %h1, %cache1 = call @decoder_layer(%h0, %cache, %layer0, %rope_table, %positions, %slots, %block_table, %context_lens, %row_starts, %l0_input_norm, %l0_q_proj, %l0_k_proj, %l0_v_proj, %l0_o_proj, %l0_post_norm, %l0_gate_proj, %l0_up_proj, %l0_down_proj)
      : (tensor<?x192xf32>, !kv, index, tensor<512x2x16xf32>, tensor<?xi32>, tensor<?xi32>, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>, tensor<192xbf16>, tensor<192x192xbf16>, tensor<64x192xbf16>, tensor<64x192xbf16>, tensor<192x192xbf16>, tensor<192xbf16>, tensor<512x192xbf16>, tensor<512x192xbf16>, tensor<192x512xbf16>) -> (tensor<?x192xf32>, !kv)

    %layer1 = arith.constant 1 : index
    %l1_input_norm = llm.parameter "model"::"model.layers.1.input_layernorm.weight" : tensor<192xbf16>
    %l1_q_proj = llm.parameter "model"::"model.layers.1.self_attn.q_proj.weight" : tensor<192x192xbf16>
    %l1_k_proj = llm.parameter "model"::"model.layers.1.self_attn.k_proj.weight" : tensor<64x192xbf16>
    %l1_v_proj = llm.parameter "model"::"model.layers.1.self_attn.v_proj.weight" : tensor<64x192xbf16>
    %l1_o_proj = llm.parameter "model"::"model.layers.1.self_attn.o_proj.weight" : tensor<192x192xbf16>
    %l1_post_norm = llm.parameter "model"::"model.layers.1.post_attention_layernorm.weight" : tensor<192xbf16>
    %l1_gate_proj = llm.parameter "model"::"model.layers.1.mlp.gate_proj.weight" : tensor<512x192xbf16>
    %l1_up_proj = llm.parameter "model"::"model.layers.1.mlp.up_proj.weight" : tensor<512x192xbf16>
    %l1_down_proj = llm.parameter "model"::"model.layers.1.mlp.down_proj.weight" : tensor<192x512xbf16>
    %h2, %cache2 = call @decoder_layer(%h1, %cache1, %layer1, %rope_table, %positions, %slots, %block_table, %context_lens, %row_starts, %l1_input_norm, %l1_q_proj, %l1_k_proj, %l1_v_proj, %l1_o_proj, %l1_post_norm, %l1_gate_proj, %l1_up_proj, %l1_down_proj)
      : (tensor<?x192xf32>, !kv, index, tensor<512x2x16xf32>, tensor<?xi32>, tensor<?xi32>, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>, tensor<192xbf16>, tensor<192x192xbf16>, tensor<64x192xbf16>, tensor<64x192xbf16>, tensor<192x192xbf16>, tensor<192xbf16>, tensor<512x192xbf16>, tensor<512x192xbf16>, tensor<192x512xbf16>) -> (tensor<?x192xf32>, !kv)

    %final_rows = llm.embedding %logit_rows, %h2 : (tensor<?xi32>, tensor<?x192xf32>) -> tensor<?x192xf32>
    %final_norm = llm.parameter "model"::"model.norm.weight" : tensor<192xbf16>
    %normed = llm.rms_norm %final_rows, %final_norm {epsilon = 1.0e-05 : f32} : (tensor<?x192xf32>, tensor<192xbf16>) -> tensor<?x192xbf16>
    %logits = llm.linear %normed, %embed_tokens : (tensor<?x192xbf16>, tensor<1024x192xbf16>) -> tensor<?x1024xf32>
    return %logits, %cache2 : tensor<?x1024xf32>, !kv
  }

  func.func private @decoder_layer(
      %hidden: tensor<?x192xf32>, %cache: !kv, %layer: index, %rope_table: tensor<512x2x16xf32>,
      %positions: tensor<?xi32>, %slots: tensor<?xi32>, %block_table: tensor<?x?xi32>,
      %context_lens: tensor<?xi32>, %row_starts: tensor<?xi32>,
      %input_norm: tensor<192xbf16>, %q_proj: tensor<192x192xbf16>, %k_proj: tensor<64x192xbf16>,
      %v_proj: tensor<64x192xbf16>, %o_proj: tensor<192x192xbf16>, %post_norm: tensor<192xbf16>,
      %gate_proj: tensor<512x192xbf16>, %up_proj: tensor<512x192xbf16>, %down_proj: tensor<192x512xbf16>)
      -> (tensor<?x192xf32>, !kv) {
    %x = llm.rms_norm %hidden, %input_norm {epsilon = 1.0e-05 : f32} : (tensor<?x192xf32>, tensor<192xbf16>) -> tensor<?x192xbf16>
    %q = llm.linear %x, %q_proj : (tensor<?x192xbf16>, tensor<192x192xbf16>) -> tensor<?x192xf32>
    %k = llm.linear %x, %k_proj : (tensor<?x192xbf16>, tensor<64x192xbf16>) -> tensor<?x64xf32>
    %v = llm.linear %x, %v_proj : (tensor<?x192xbf16>, tensor<64x192xbf16>) -> tensor<?x64xf32>
    %q_heads = tensor.expand_shape %q [[0], [1, 2]] : tensor<?x192xf32> into tensor<?x6x32xf32>
    %k_heads = tensor.expand_shape %k [[0], [1, 2]] : tensor<?x64xf32> into tensor<?x2x32xf32>
    %v_heads = tensor.expand_shape %v [[0], [1, 2]] : tensor<?x64xf32> into tensor<?x2x32xf32>
    %q_rot = llm.rope %q_heads, %rope_table, %positions : (tensor<?x6x32xf32>, tensor<512x2x16xf32>, tensor<?xi32>) -> tensor<?x6x32xf32>
    %k_rot = llm.rope %k_heads, %rope_table, %positions : (tensor<?x2x32xf32>, tensor<512x2x16xf32>, tensor<?xi32>) -> tensor<?x2x32xf32>
    %cache_out = llm.append_kv %cache, %k_rot, %v_heads slots %slots layer %layer : (!kv, tensor<?x2x32xf32>, tensor<?x2x32xf32>, tensor<?xi32>, index) -> !kv
    %attn = llm.paged_attention %q_rot, %cache_out, %block_table, %context_lens rows %row_starts layer %layer {scale = 0.176776695 : f32} : (tensor<?x6x32xf32>, !kv, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>, index) -> tensor<?x6x32xbf16>
    %attn_flat = tensor.collapse_shape %attn [[0], [1, 2]] : tensor<?x6x32xbf16> into tensor<?x192xbf16>
    %o = llm.linear %attn_flat, %o_proj : (tensor<?x192xbf16>, tensor<192x192xbf16>) -> tensor<?x192xf32>
    %mid = arith.addf %hidden, %o : tensor<?x192xf32>
    %y = llm.rms_norm %mid, %post_norm {epsilon = 1.0e-05 : f32} : (tensor<?x192xf32>, tensor<192xbf16>) -> tensor<?x192xbf16>
    %gate = llm.linear %y, %gate_proj : (tensor<?x192xbf16>, tensor<512x192xbf16>) -> tensor<?x512xf32>
    %up = llm.linear %y, %up_proj : (tensor<?x192xbf16>, tensor<512x192xbf16>) -> tensor<?x512xf32>
    %act = llm.activation silu %gate, %up : (tensor<?x512xf32>, tensor<?x512xf32>) -> tensor<?x512xbf16>
    %down = llm.linear %act, %down_proj : (tensor<?x512xbf16>, tensor<192x512xbf16>) -> tensor<?x192xf32>
    %out = arith.addf %mid, %down : tensor<?x192xf32>
    return %out, %cache_out : tensor<?x192xf32>, !kv
  }
}
