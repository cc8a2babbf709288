// RUN: llmir-opt %S/Inputs/two-layer-step.mlir -llm-optimize | FileCheck %s
// RUN: llmir-opt %S/Inputs/two-layer-step.mlir "-llm-optimize=quantize=w4a8 quantize-group-size=64 quantize-asymmetric quantize-scales=bf16 kv-cache-dtype=int8" | FileCheck %s --check-prefix=QUANTIZED

// A whole step: products of one input are one, with what surrounds them folded in;
// their weights are packed; both layers share one function; and nothing has left the
// dialect.

// The tied embedding stands here once, and rows are read from the head's panels.
// CHECK-LABEL: func @step
// CHECK-NOT: "model.embed_tokens.weight" : tensor<1024x192xbf16>
// CHECK: %[[HEAD:.*]] = llm.parameter "model"::"model.embed_tokens.weight" from tensor<1024x192xbf16> : tensor<32x96x32x2xbf16>
// CHECK: llm.embedding %{{.*}}, %[[HEAD]]
// CHECK-DAG: llm.parameter "model"::"model.layers.0.input_layernorm.weight" : tensor<192xbf16>
// CHECK-DAG: llm.parameter "model"::["model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.k_proj.weight", "model.layers.0.self_attn.v_proj.weight"] from [tensor<192x192xbf16>, tensor<64x192xbf16>, tensor<64x192xbf16>] : tensor<10x96x32x2xbf16>
// CHECK-DAG: llm.parameter "model"::["model.layers.0.mlp.gate_proj.weight", "model.layers.0.mlp.up_proj.weight"] from [tensor<512x192xbf16>, tensor<512x192xbf16>] : tensor<16x2x96x32x2xbf16>
// CHECK-DAG: llm.parameter "model"::"model.layers.0.mlp.down_proj.weight" from tensor<192x512xbf16> : tensor<6x256x32x2xbf16>
// CHECK: %[[L0:.*]]:2 = call @decoder_layer(
// CHECK: %[[L1:.*]]:2 = call @decoder_layer(%[[L0]]#0, %[[L0]]#1,
// CHECK-NOT: call
// CHECK: llm.linear %{{.*}}, %[[HEAD]] norm %{{.*}} {epsilon = 9.99999974E-6 : f32} :
// CHECK: return %{{.*}}, %[[L1]]#1

// CHECK: func private @decoder_layer(%[[H:[^ ]*]]: tensor<?x192xf32>
// CHECK-NOT: llm.rms_norm
// CHECK: %[[QKV:.*]] = llm.linear %[[H]], %{{.*}} norm %{{.*}} {{.*}} -> tensor<?x320xf32>
// CHECK: tensor.extract_slice %[[QKV]][0, 0]
// CHECK: tensor.extract_slice %[[QKV]][0, 192]
// CHECK: tensor.extract_slice %[[QKV]][0, 256]
// CHECK-NOT: llm.linear
// CHECK-NOT: llm.rope{{ }}
// CHECK: %[[KV:.*]], %[[ROT:.*]] = llm.rope_append_kv
// CHECK-NEXT: %[[O:.*]] = llm.paged_attention %[[ROT]], %[[KV]],
// CHECK-NEXT: %[[FLAT:.*]] = tensor.collapse_shape %[[O]]
// CHECK-NEXT: %[[MID:.*]] = llm.linear %[[FLAT]], %{{.*}} residual %[[H]] :
// CHECK-NEXT: %[[ACT:.*]] = llm.linear %[[MID]], %{{.*}} norm %{{.*}} activation silu gated {{.*}} -> tensor<?x512xbf16>
// CHECK-NEXT: llm.linear %[[ACT]], %{{.*}} residual %[[MID]] :
// CHECK-NEXT: return
// CHECK-NOT: func

// Quantized, the same step has the same parts, and its weights say what they are.
// QUANTIZED-LABEL: func @step
// QUANTIZED-SAME: !llm.paged_kv_cache<i8, 2,
// QUANTIZED-DAG: llm.parameter "model"::"model.embed_tokens.weight" : tensor<1024x192xbf16>
// QUANTIZED-DAG: llm.parameter "model"::"model.embed_tokens.weight" from tensor<1024x192xbf16> : !llm.quantized_tensor<1024x192xui4, scales = bf16, axis = 1, group_size = 64, asymmetric, packing = panels>
// QUANTIZED: func private @decoder_layer
// QUANTIZED: llm.quantized_matmul {{.*}} norm {{.*}}input_type = !llm.quantized_tensor<?x192xi8, scales = f32, axis = 1>
// QUANTIZED: llm.quantized_matmul {{.*}} residual
// QUANTIZED: llm.quantized_matmul {{.*}} norm {{.*}} activation silu gated {{.*}}packing = gated_panels>
// QUANTIZED: llm.quantized_matmul {{.*}} residual
// QUANTIZED-NOT: llm.linear
