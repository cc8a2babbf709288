// RUN: llmir-opt %s | llmir-opt | FileCheck %s
// RUN: llmir-opt --mlir-print-op-generic %s | llmir-opt | FileCheck %s

// Round trip of every op in every optional form. Functions named `example_*`
// hold the examples of LLMOps.td as they stand there.

!kv_cache_t = !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>

//===----------------------------------------------------------------------===//
// Parameters
//===----------------------------------------------------------------------===//

// CHECK-LABEL: func @example_parameter
func.func @example_parameter() -> (tensor<192xbf16>, tensor<192xf32>, tensor<128x192xbf16>) {
  // CHECK: llm.parameter "model"::"model.norm.weight" : tensor<192xbf16>
  %w = llm.parameter "model"::"model.norm.weight" : tensor<192xbf16>
  // CHECK: llm.parameter "model"::"model.norm.weight" from tensor<192xbf16> : tensor<192xf32>
  %x = llm.parameter "model"::"model.norm.weight" from tensor<192xbf16>
         : tensor<192xf32>
  // CHECK: llm.parameter "model"::"c_attn.weight" transposed : tensor<192x64xf32>
  %transposed = llm.parameter "model"::"c_attn.weight" transposed : tensor<192x64xf32>
  // CHECK: llm.parameter "model"::["k_proj.weight", "v_proj.weight"] from [tensor<64x192xbf16>, tensor<64x192xbf16>] : tensor<128x192xbf16>
  %y = llm.parameter "model"::["k_proj.weight", "v_proj.weight"]
         from [tensor<64x192xbf16>, tensor<64x192xbf16>] : tensor<128x192xbf16>
  return %w, %x, %y : tensor<192xbf16>, tensor<192xf32>, tensor<128x192xbf16>
}

// Several tensors, each with its own type: vectors, matrices that are widened and
// packed, and packed so that the panels of two halves alternate.
// CHECK-LABEL: func @parameter_merged
func.func @parameter_merged() {
  // CHECK: llm.parameter "model"::["a", "b"] from [tensor<4xbf16>, tensor<3xf32>] : tensor<7xf32>
  %0 = llm.parameter "model"::["a", "b"] from [tensor<4xbf16>, tensor<3xf32>] : tensor<7xf32>
  // CHECK: llm.parameter "model"::["a", "b"] from [tensor<33x5xf16>, tensor<2x5xf32>] : tensor<2x5x32xf32>
  %1 = llm.parameter "model"::["a", "b"] from [tensor<33x5xf16>, tensor<2x5xf32>] : tensor<2x5x32xf32>
  // CHECK: llm.parameter "model"::["a", "b"] from [tensor<33x5xbf16>, tensor<33x5xbf16>] : tensor<2x2x16x32x2xbf16>
  %2 = llm.parameter "model"::["a", "b"] from [tensor<33x5xbf16>, tensor<33x5xbf16>] : tensor<2x2x16x32x2xbf16>
  // CHECK: llm.parameter "model"::"both" from tensor<66x5xf32> : tensor<2x2x5x32xf32>
  %3 = llm.parameter "model"::"both" from tensor<66x5xf32> : tensor<2x2x5x32xf32>
  return
}

// A parameter that is packed, of each element type that can be, and one that is
// widened and packed.
// CHECK-LABEL: func @parameter_packed
func.func @parameter_packed() {
  // CHECK: llm.parameter "model"::"w" from tensor<64x192xbf16> : tensor<2x96x32x2xbf16>
  %0 = llm.parameter "model"::"w" from tensor<64x192xbf16> : tensor<2x96x32x2xbf16>
  // CHECK: llm.parameter "model"::"w" from tensor<33x5xf32> : tensor<2x5x32xf32>
  %1 = llm.parameter "model"::"w" from tensor<33x5xf32> : tensor<2x5x32xf32>
  // CHECK: llm.parameter "model"::"w" from tensor<33x5xbf16> : tensor<2x5x32xf32>
  %2 = llm.parameter "model"::"w" from tensor<33x5xbf16> : tensor<2x5x32xf32>
  // Odd sizes: 33 outputs are 2 panels, 5 inputs are padded to 32, in 16 pairs.
  // CHECK: llm.parameter "model"::"w" from tensor<33x5xbf16> : tensor<2x16x32x2xbf16>
  %3 = llm.parameter "model"::"w" from tensor<33x5xbf16> : tensor<2x16x32x2xbf16>
  return
}

// Names are strings: quotes and backslashes survive, and so do types that no op
// computes with yet.
// CHECK-LABEL: func @parameter_names
func.func @parameter_names() {
  // CHECK: llm.parameter "a scope"::"quote\22, backslash\\" : tensor<4xi8>
  %0 = llm.parameter "a scope"::"quote\22, backslash\\" : tensor<4xi8>
  // CHECK: llm.parameter "model"::"scalar" : tensor<f32>
  %1 = llm.parameter "model"::"scalar" : tensor<f32>
  // CHECK: llm.parameter "model"::"w" {note = "kept"} : tensor<4xi8>
  %2 = llm.parameter "model"::"w" {note = "kept"} : tensor<4xi8>
  return
}

// CHECK-LABEL: func @example_rope_table
func.func @example_rope_table() -> tensor<512x2x16xf32> {
  // CHECK: llm.rope_table {theta = 1.000000e+04 : f64} : tensor<512x2x16xf32>
  %table = llm.rope_table {theta = 1.0e+04 : f64} : tensor<512x2x16xf32>
  return %table : tensor<512x2x16xf32>
}

// CHECK-LABEL: func @rope_table_of_frequencies
func.func @rope_table_of_frequencies(%f: tensor<16xf32>, %n: index) {
  // CHECK: llm.rope_table frequencies %{{.*}} length %{{.*}} {attention_factor = 1.250000e+00 : f64} : (tensor<16xf32>, index) -> tensor<?x2x16xf32>
  %0 = llm.rope_table frequencies %f length %n {attention_factor = 1.25 : f64}
    : (tensor<16xf32>, index) -> tensor<?x2x16xf32>
  // CHECK: llm.rope_table frequencies %{{.*}} : (tensor<16xf32>) -> tensor<512x2x16xf32>
  %1 = llm.rope_table frequencies %f : (tensor<16xf32>) -> tensor<512x2x16xf32>
  return
}

// CHECK-LABEL: func @rope_interleaved
func.func @rope_interleaved(%x: tensor<?x6x32xf32>, %t: tensor<512x2x16xf32>, %p: tensor<?xi32>) {
  // CHECK: llm.rope %{{.*}} {interleaved} : (tensor<?x6x32xf32>
  %0 = llm.rope %x, %t, %p {interleaved}
    : (tensor<?x6x32xf32>, tensor<512x2x16xf32>, tensor<?xi32>) -> tensor<?x6x32xf32>
  return
}

// CHECK-LABEL: func @rope_table_scaled
func.func @rope_table_scaled() {
  // CHECK: llm.rope_table {scaling = #llm.rope_scaling<linear, factor = 4.000000e+00 : f64>, theta = 1.000000e+04 : f64} : tensor<512x2x16xf32>
  %0 = llm.rope_table {
    theta = 1.0e+04 : f64, scaling = #llm.rope_scaling<linear, factor = 4.0>
  } : tensor<512x2x16xf32>
  // CHECK: llm.rope_table {scaling = #llm.rope_scaling<llama3, factor = 8.000000e+00 : f64, low_freq_factor = 1.000000e+00 : f64, high_freq_factor = 4.000000e+00 : f64, original_max_position = 8192>, theta = 5.000000e+05 : f64} : tensor<512x2x16xf32>
  %1 = llm.rope_table {
    theta = 5.0e+05 : f64,
    scaling = #llm.rope_scaling<llama3, factor = 8.0, low_freq_factor = 1.0,
                                high_freq_factor = 4.0, original_max_position = 8192>
  } : tensor<512x2x16xf32>
  // As many factors as there are frequencies.
  // CHECK: llm.rope_table {scaling = #llm.rope_scaling<longrope, factor = 4.000000e+00 : f64, original_max_position = 256, short_factor = [1.000000e+00, 1.250000e+00], long_factor = [1.500000e+00, 2.400000e+01]>, theta = 1.000000e+04 : f64} : tensor<512x2x2xf32>
  %2 = llm.rope_table {
    theta = 1.0e+04 : f64,
    scaling = #llm.rope_scaling<longrope, factor = 4.0, original_max_position = 256,
                                short_factor = [1.0, 1.25], long_factor = [1.5, 24.0]>
  } : tensor<512x2x2xf32>
  return
}

//===----------------------------------------------------------------------===//
// Layers
//===----------------------------------------------------------------------===//

// CHECK-LABEL: func @example_embedding
func.func @example_embedding(%ids: tensor<?xi32>, %table: tensor<1024x192xbf16>,
                             %packed: tensor<32x96x32x2xbf16>,
                             %quantized: !llm.quantized_tensor<1024x192xi8, scales = f32, axis = 1>) -> tensor<?x192xf32> {
  // CHECK: llm.embedding %{{.*}}, %{{.*}} : (tensor<?xi32>, tensor<1024x192xbf16>) -> tensor<?x192xf32>
  %h = llm.embedding %ids, %table
    : (tensor<?xi32>, tensor<1024x192xbf16>) -> tensor<?x192xf32>
  // CHECK: llm.embedding %{{.*}}, %{{.*}} : (tensor<?xi32>, tensor<32x96x32x2xbf16>) -> tensor<?x192xf32>
  %g = llm.embedding %ids, %packed
    : (tensor<?xi32>, tensor<32x96x32x2xbf16>) -> tensor<?x192xf32>
  // CHECK: llm.embedding %{{.*}}, %{{.*}} : (tensor<?xi32>, !llm.quantized_tensor<1024x192xi8, scales = f32, axis = 1>) -> tensor<?x192xf32>
  %q = llm.embedding %ids, %quantized
    : (tensor<?xi32>, !llm.quantized_tensor<1024x192xi8, scales = f32,
       axis = 1>) -> tensor<?x192xf32>
  return %h : tensor<?x192xf32>
}

// In panels without pairs, and of rows that are padded to a whole number of pairs.
// CHECK-LABEL: func @embedding_packed
func.func @embedding_packed(%ids: tensor<3xi32>, %a: tensor<2x7x32xf16>, %b: tensor<2x16x32x2xbf16>) {
  // CHECK: llm.embedding %{{.*}}, %{{.*}} : (tensor<3xi32>, tensor<2x7x32xf16>) -> tensor<3x7xf32>
  %0 = llm.embedding %ids, %a : (tensor<3xi32>, tensor<2x7x32xf16>) -> tensor<3x7xf32>
  // CHECK: llm.embedding %{{.*}}, %{{.*}} : (tensor<3xi32>, tensor<2x16x32x2xbf16>) -> tensor<?x7xbf16>
  %1 = llm.embedding %ids, %b : (tensor<3xi32>, tensor<2x16x32x2xbf16>) -> tensor<?x7xbf16>
  return
}

// CHECK-LABEL: func @example_linear
func.func @example_linear(%x: tensor<?x192xbf16>, %w: tensor<64x192xbf16>)
    -> tensor<?x64xf32> {
  // CHECK: llm.linear %{{.*}}, %{{.*}} : (tensor<?x192xbf16>, tensor<64x192xbf16>) -> tensor<?x64xf32>
  %y = llm.linear %x, %w
    : (tensor<?x192xbf16>, tensor<64x192xbf16>) -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

// CHECK-LABEL: func @example_linear_packed
// CHECK-SAME: (%[[X:.*]]: tensor<?x192xbf16>, %[[W:.*]]: tensor<2x96x32x2xbf16>, %[[B:.*]]: tensor<64xbf16>, %[[H:.*]]: tensor<?x64xf32>)
func.func @example_linear_packed(
    %x: tensor<?x192xbf16>, %w: tensor<2x96x32x2xbf16>, %b: tensor<64xbf16>,
    %h: tensor<?x64xf32>) -> tensor<?x64xf32> {
  // CHECK: llm.linear %[[X]], %[[W]] bias %[[B]] residual %[[H]] : (tensor<?x192xbf16>, tensor<2x96x32x2xbf16>, tensor<64xbf16>, tensor<?x64xf32>) -> tensor<?x64xf32>
  %z = llm.linear %x, %w bias %b residual %h
    : (tensor<?x192xbf16>, tensor<2x96x32x2xbf16>, tensor<64xbf16>,
       tensor<?x64xf32>) -> tensor<?x64xf32>
  return %z : tensor<?x64xf32>
}

// Bias alone and residual alone: the operands are told apart by their keyword.
// CHECK-LABEL: func @linear_optional
// CHECK-SAME: (%[[X:.*]]: tensor<3x4xf32>, %[[W:.*]]: tensor<1x4x32xf32>, %[[B:.*]]: tensor<2xf32>, %[[H:.*]]: tensor<3x2xf32>)
func.func @linear_optional(%x: tensor<3x4xf32>, %w: tensor<1x4x32xf32>,
                           %b: tensor<2xf32>, %h: tensor<3x2xf32>) {
  // CHECK: llm.linear %[[X]], %[[W]] bias %[[B]] :
  %0 = llm.linear %x, %w bias %b
    : (tensor<3x4xf32>, tensor<1x4x32xf32>, tensor<2xf32>) -> tensor<3x2xf32>
  // CHECK: llm.linear %[[X]], %[[W]] residual %[[H]] :
  %1 = llm.linear %x, %w residual %h
    : (tensor<3x4xf32>, tensor<1x4x32xf32>, tensor<3x2xf32>) -> tensor<3x2xf32>
  return
}

// A gated product of the norm of its input: panels of gates alternate with those
// of what they gate.
// CHECK-LABEL: func @example_linear_gated
// CHECK-SAME: (%[[H:.*]]: tensor<?x64xf32>, %[[W:.*]]: tensor<4x2x32x32x2xbf16>, %[[N:.*]]: tensor<64xbf16>)
func.func @example_linear_gated(
    %h: tensor<?x64xf32>, %gate_up: tensor<4x2x32x32x2xbf16>,
    %n: tensor<64xbf16>) -> tensor<?x128xbf16> {
  // CHECK: llm.linear %[[H]], %[[W]] norm %[[N]] activation silu gated {epsilon = 9.99999974E-6 : f32} : (tensor<?x64xf32>, tensor<4x2x32x32x2xbf16>, tensor<64xbf16>) -> tensor<?x128xbf16>
  %g = llm.linear %h, %gate_up norm %n activation silu gated
         {epsilon = 1.0e-05 : f32}
    : (tensor<?x64xf32>, tensor<4x2x32x32x2xbf16>, tensor<64xbf16>)
    -> tensor<?x128xbf16>
  return %g : tensor<?x128xbf16>
}

// CHECK-LABEL: func @linear_epilogue
func.func @linear_epilogue(%x: tensor<?x4xf32>, %w: tensor<?x4xf32>,
                           %v: tensor<6x4xf32>, %b: tensor<6xf32>,
                           %h: tensor<?x?xf32>) {
  // CHECK: llm.linear %{{.*}}, %{{.*}} activation relu2 residual %{{.*}} : (tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x?xf32>) -> tensor<?x?xf32>
  %0 = llm.linear %x, %w activation relu2 residual %h
    : (tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x?xf32>) -> tensor<?x?xf32>
  // CHECK: llm.linear %{{.*}}, %{{.*}} bias %{{.*}} gated : (tensor<?x4xf32>, tensor<6x4xf32>, tensor<6xf32>) -> tensor<?x3xf32>
  %1 = llm.linear %x, %v bias %b gated
    : (tensor<?x4xf32>, tensor<6x4xf32>, tensor<6xf32>) -> tensor<?x3xf32>
  return
}

// CHECK-LABEL: func @example_rms_norm
func.func @example_rms_norm(%x: tensor<?x192xf32>, %w: tensor<192xbf16>)
    -> tensor<?x192xbf16> {
  // CHECK: llm.rms_norm %{{.*}}, %{{.*}} {epsilon = 9.99999974E-6 : f32} : (tensor<?x192xf32>, tensor<192xbf16>) -> tensor<?x192xbf16>
  %y = llm.rms_norm %x, %w {epsilon = 1.0e-05 : f32}
    : (tensor<?x192xf32>, tensor<192xbf16>) -> tensor<?x192xbf16>
  return %y : tensor<?x192xbf16>
}

// Of any rank: the last dimension is normalized.
// CHECK-LABEL: func @rms_norm_heads
func.func @rms_norm_heads(%x: tensor<?x6x32xf32>, %v: tensor<32xf32>, %w: tensor<32xf32>) {
  // CHECK: llm.rms_norm %{{.*}}, %{{.*}} {epsilon = 0.000000e+00 : f32} : (tensor<?x6x32xf32>, tensor<32xf32>) -> tensor<?x6x32xf32>
  %0 = llm.rms_norm %x, %w {epsilon = 0.0 : f32} : (tensor<?x6x32xf32>, tensor<32xf32>) -> tensor<?x6x32xf32>
  // CHECK: llm.rms_norm {{.*}} : (tensor<32xf32>, tensor<32xf32>) -> tensor<32xf32>
  %1 = llm.rms_norm %v, %w {epsilon = 1.0 : f32} : (tensor<32xf32>, tensor<32xf32>) -> tensor<32xf32>
  return
}

// CHECK-LABEL: func @example_layer_norm
// CHECK-SAME: (%[[X:.*]]: tensor<?x192xf32>, %[[W:.*]]: tensor<192xbf16>, %[[B:.*]]: tensor<192xbf16>)
func.func @example_layer_norm(%x: tensor<?x192xf32>, %w: tensor<192xbf16>,
                              %b: tensor<192xbf16>) -> tensor<?x192xbf16> {
  // CHECK: llm.layer_norm %[[X]], %[[W]] bias %[[B]] {epsilon = 9.99999974E-6 : f32} : (tensor<?x192xf32>, tensor<192xbf16>, tensor<192xbf16>) -> tensor<?x192xbf16>
  %y = llm.layer_norm %x, %w bias %b {epsilon = 1.0e-05 : f32}
    : (tensor<?x192xf32>, tensor<192xbf16>, tensor<192xbf16>)
    -> tensor<?x192xbf16>
  return %y : tensor<?x192xbf16>
}

// Without a bias, and of other ranks.
// CHECK-LABEL: func @layer_norm_optional
func.func @layer_norm_optional(%x: tensor<?x6x32xf32>, %v: tensor<32xf32>, %w: tensor<32xf32>) {
  // CHECK: llm.layer_norm %{{.*}}, %{{[^ ]*}} {epsilon = 0.000000e+00 : f32} : (tensor<?x6x32xf32>, tensor<32xf32>) -> tensor<?x6x32xf32>
  %0 = llm.layer_norm %x, %w {epsilon = 0.0 : f32} : (tensor<?x6x32xf32>, tensor<32xf32>) -> tensor<?x6x32xf32>
  // CHECK: llm.layer_norm {{.*}} : (tensor<32xf32>, tensor<32xf32>) -> tensor<32xf32>
  %1 = llm.layer_norm %v, %w {epsilon = 1.0 : f32} : (tensor<32xf32>, tensor<32xf32>) -> tensor<32xf32>
  return
}

// CHECK-LABEL: func @example_rope
func.func @example_rope(%x: tensor<?x6x32xf32>, %table: tensor<512x2x16xf32>,
                        %positions: tensor<?xi32>) -> tensor<?x6x32xf32> {
  // CHECK: llm.rope %{{.*}}, %{{.*}}, %{{.*}} : (tensor<?x6x32xf32>, tensor<512x2x16xf32>, tensor<?xi32>) -> tensor<?x6x32xf32>
  %y = llm.rope %x, %table, %positions
    : (tensor<?x6x32xf32>, tensor<512x2x16xf32>, tensor<?xi32>)
    -> tensor<?x6x32xf32>
  return %y : tensor<?x6x32xf32>
}

// Only the first dimensions of a head, which may have an odd number of them.
// CHECK-LABEL: func @rope_partial
func.func @rope_partial(%x: tensor<?x6x31xf32>, %table: tensor<512x2x4xf32>, %positions: tensor<?xi32>) {
  // CHECK: llm.rope %{{.*}} : (tensor<?x6x31xf32>, tensor<512x2x4xf32>, tensor<?xi32>) -> tensor<?x6x31xbf16>
  %0 = llm.rope %x, %table, %positions
    : (tensor<?x6x31xf32>, tensor<512x2x4xf32>, tensor<?xi32>) -> tensor<?x6x31xbf16>
  return
}

// CHECK-LABEL: func @example_activation
func.func @example_activation(%gate: tensor<?x512xf32>, %up: tensor<?x512xf32>)
    -> tensor<?x512xbf16> {
  // CHECK: llm.activation silu %{{.*}}, %{{.*}} : (tensor<?x512xf32>, tensor<?x512xf32>) -> tensor<?x512xbf16>
  %y = llm.activation silu %gate, %up
    : (tensor<?x512xf32>, tensor<?x512xf32>) -> tensor<?x512xbf16>
  return %y : tensor<?x512xbf16>
}

// Every kind, without a partner, of any rank.
// CHECK-LABEL: func @activation_kinds
func.func @activation_kinds(%x: tensor<2x3x4xf32>) {
  // CHECK: llm.activation silu %{{[^ ,]*}} : (tensor<2x3x4xf32>) -> tensor<2x3x4xf32>
  %0 = llm.activation silu %x : (tensor<2x3x4xf32>) -> tensor<2x3x4xf32>
  // CHECK: llm.activation gelu %
  %1 = llm.activation gelu %x : (tensor<2x3x4xf32>) -> tensor<2x3x4xf32>
  // CHECK: llm.activation gelu_tanh %
  %2 = llm.activation gelu_tanh %x : (tensor<2x3x4xf32>) -> tensor<2x3x4xf32>
  // CHECK: llm.activation relu %
  %3 = llm.activation relu %x : (tensor<2x3x4xf32>) -> tensor<2x3x4xf32>
  // CHECK: llm.activation quick_gelu %
  %4 = llm.activation quick_gelu %x : (tensor<2x3x4xf32>) -> tensor<2x3x4xf32>
  // CHECK: llm.activation relu2 %
  %5 = llm.activation relu2 %x : (tensor<2x3x4xf32>) -> tensor<2x3x4xf32>
  // CHECK: llm.activation relu6 %
  %6 = llm.activation relu6 %x : (tensor<2x3x4xf32>) -> tensor<2x3x4xf32>
  // CHECK: llm.activation leaky_relu %
  %7 = llm.activation leaky_relu %x : (tensor<2x3x4xf32>) -> tensor<2x3x4xf32>
  // CHECK: llm.activation sigmoid %
  %8 = llm.activation sigmoid %x : (tensor<2x3x4xf32>) -> tensor<2x3x4xf32>
  // CHECK: llm.activation tanh %
  %9 = llm.activation tanh %x : (tensor<2x3x4xf32>) -> tensor<2x3x4xf32>
  // CHECK: llm.activation mish %
  %10 = llm.activation mish %x : (tensor<2x3x4xf32>) -> tensor<2x3x4xf32>
  // CHECK: llm.activation identity %
  %11 = llm.activation identity %x : (tensor<2x3x4xf32>) -> tensor<2x3x4xf32>
  return
}

// CHECK-LABEL: func @example_attention
func.func @example_attention(%q: tensor<2x5x8x64xf32>, %k: tensor<2x9x2x64xf32>,
                             %v: tensor<2x9x2x64xf32>) -> tensor<2x5x8x64xf32> {
  // CHECK: llm.attention %{{.*}}, %{{.*}}, %{{.*}} {causal, scale = 1.250000e-01 : f32} : (tensor<2x5x8x64xf32>, tensor<2x9x2x64xf32>, tensor<2x9x2x64xf32>) -> tensor<2x5x8x64xf32>
  %o = llm.attention %q, %k, %v {causal, scale = 0.125 : f32}
    : (tensor<2x5x8x64xf32>, tensor<2x9x2x64xf32>, tensor<2x9x2x64xf32>)
    -> tensor<2x5x8x64xf32>
  return %o : tensor<2x5x8x64xf32>
}

// CHECK-LABEL: func @example_attention_variant
// CHECK-SAME: %[[S:[^ ]*]]: tensor<8xf32>, %[[M:[^ ]*]]: tensor<2x1x5x9xi1>)
func.func @example_attention_variant(
    %q: tensor<2x5x8x64xf32>, %k: tensor<2x9x2x64xf32>, %v: tensor<2x9x2x64xf32>,
    %s: tensor<8xf32>, %m: tensor<2x1x5x9xi1>) -> tensor<2x5x8x64xf32> {
  // CHECK: llm.attention %{{.*}}, %{{.*}}, %{{.*}} sinks %[[S]] mask %[[M]] {causal, softcap = 3.000000e+01 : f32, window = 4 : i64} : (tensor<2x5x8x64xf32>, tensor<2x9x2x64xf32>, tensor<2x9x2x64xf32>, tensor<8xf32>, tensor<2x1x5x9xi1>) -> tensor<2x5x8x64xf32>
  %p = llm.attention %q, %k, %v sinks %s mask %m
         {causal, softcap = 30.0 : f32, window = 4 : i64}
    : (tensor<2x5x8x64xf32>, tensor<2x9x2x64xf32>, tensor<2x9x2x64xf32>,
       tensor<8xf32>, tensor<2x1x5x9xi1>) -> tensor<2x5x8x64xf32>
  return %p : tensor<2x5x8x64xf32>
}

// Each optional operand alone, and all of them; a window larger than the context.
// CHECK-LABEL: func @attention_optional
// CHECK-SAME: %[[S:[^ ]*]]: tensor<8xf32>, %[[A:[^ ]*]]: tensor<?xbf16>, %[[M:[^ ]*]]: tensor<1x8x?x?xf16>)
func.func @attention_optional(%q: tensor<?x?x8x64xf32>, %k: tensor<?x?x2x64xf32>,
                              %s: tensor<8xf32>, %a: tensor<?xbf16>, %m: tensor<1x8x?x?xf16>) {
  // CHECK: llm.attention %{{.*}}, %{{.*}}, %{{.*}} alibi %[[A]] :
  %0 = llm.attention %q, %k, %k alibi %a
    : (tensor<?x?x8x64xf32>, tensor<?x?x2x64xf32>, tensor<?x?x2x64xf32>, tensor<?xbf16>) -> tensor<?x?x8x64xf32>
  // CHECK: llm.attention %{{.*}}, %{{.*}}, %{{.*}} mask %[[M]] :
  %1 = llm.attention %q, %k, %k mask %m
    : (tensor<?x?x8x64xf32>, tensor<?x?x2x64xf32>, tensor<?x?x2x64xf32>, tensor<1x8x?x?xf16>) -> tensor<?x?x8x64xf32>
  // CHECK: llm.attention %{{.*}}, %{{.*}}, %{{.*}} sinks %[[S]] alibi %[[A]] mask %[[M]] {causal, window = 9223372036854775807 : i64} :
  %2 = llm.attention %q, %k, %k sinks %s alibi %a mask %m {causal, window = 9223372036854775807 : i64}
    : (tensor<?x?x8x64xf32>, tensor<?x?x2x64xf32>, tensor<?x?x2x64xf32>, tensor<8xf32>, tensor<?xbf16>,
       tensor<1x8x?x?xf16>) -> tensor<?x?x8x64xf32>
  return
}

// Neither causal nor scaled by hand, and of dynamic sizes.
// CHECK-LABEL: func @attention_plain
func.func @attention_plain(%q: tensor<?x?x8x64xf32>, %k: tensor<?x?x8x64xf32>) {
  // CHECK: llm.attention %{{.*}}, %{{.*}}, %{{[^ ]*}} : (tensor<?x?x8x64xf32>, tensor<?x?x8x64xf32>, tensor<?x?x8x64xf32>) -> tensor<?x?x8x64xf32>
  %0 = llm.attention %q, %k, %k
    : (tensor<?x?x8x64xf32>, tensor<?x?x8x64xf32>, tensor<?x?x8x64xf32>) -> tensor<?x?x8x64xf32>
  return
}

//===----------------------------------------------------------------------===//
// The paged KV cache
//===----------------------------------------------------------------------===//

// CHECK-LABEL: func @example_append_kv
// CHECK-SAME: %[[SLOTS:[^ ]*]]: tensor<?xi32>, %[[LAYER:[^ ]*]]: index)
func.func @example_append_kv(
    %kv: !kv_cache_t, %keys: tensor<2x1x16x64xf16>, %values: tensor<2x1x16x64xf16>,
    %seq_ids: tensor<2xi32>, %k: tensor<?x16x64xf16>, %v: tensor<?x16x64xf16>,
    %slots: tensor<?xi32>, %layer: index) -> !kv_cache_t {
  // CHECK: %[[KV1:.*]], %{{.*}} = llm.append_kv %{{.*}}, %{{.*}}, %{{.*}}, %{{[^ ]*}} : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<2x1x16x64xf16>, tensor<2x1x16x64xf16>, tensor<2xi32>) -> (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<2x1xi32>)
  %kv1, %blocks = llm.append_kv %kv, %keys, %values, %seq_ids
    : (!kv_cache_t, tensor<2x1x16x64xf16>, tensor<2x1x16x64xf16>,
       tensor<2xi32>) -> (!kv_cache_t, tensor<2x1xi32>)
  // CHECK: llm.append_kv %[[KV1]], %{{.*}}, %{{[^ ]*}} slots %[[SLOTS]] layer %[[LAYER]] : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x16x64xf16>, tensor<?x16x64xf16>, tensor<?xi32>, index) -> !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>
  %kv2 = llm.append_kv %kv1, %k, %v slots %slots layer %layer
    : (!kv_cache_t, tensor<?x16x64xf16>, tensor<?x16x64xf16>, tensor<?xi32>,
       index) -> !kv_cache_t
  return %kv2 : !kv_cache_t
}

// By seq_ids with a layer, by slots without.
// CHECK-LABEL: func @append_kv_optional
func.func @append_kv_optional(
    %kv: !kv_cache_t, %keys: tensor<?x?x16x64xf32>, %seq_ids: tensor<?xi32>,
    %k: tensor<?x16x64xbf16>, %slots: tensor<?xi32>, %layer: index) -> !kv_cache_t {
  // CHECK: llm.append_kv %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} layer %{{.*}} {block_size = 16 : i32} : ({{.*}}) -> (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x?xi32>)
  %kv1, %blocks = llm.append_kv %kv, %keys, %keys, %seq_ids layer %layer {block_size = 16 : i32}
    : (!kv_cache_t, tensor<?x?x16x64xf32>, tensor<?x?x16x64xf32>, tensor<?xi32>, index)
    -> (!kv_cache_t, tensor<?x?xi32>)
  // CHECK: llm.append_kv %{{.*}}, %{{.*}}, %{{[^ ]*}} slots %{{[^ ]*}} : (
  %kv2 = llm.append_kv %kv1, %k, %k slots %slots
    : (!kv_cache_t, tensor<?x16x64xbf16>, tensor<?x16x64xbf16>, tensor<?xi32>) -> !kv_cache_t
  return %kv2 : !kv_cache_t
}

// CHECK-LABEL: func @example_rope_append_kv
func.func @example_rope_append_kv(
    %kv: !kv_cache_t, %q: tensor<?x32x64xf32>, %k: tensor<?x16x64xf32>, %v: tensor<?x16x64xf32>,
    %table: tensor<4096x2x32xf32>, %positions: tensor<?xi32>, %slots: tensor<?xi32>, %layer: index)
    -> (!kv_cache_t, tensor<?x32x64xf32>) {
  // CHECK: %{{.*}}, %{{.*}} = llm.rope_append_kv %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{[^ ]*}} slots %{{[^ ]*}} layer %{{[^ ]*}} : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x32x64xf32>, tensor<?x16x64xf32>, tensor<?x16x64xf32>, tensor<4096x2x32xf32>, tensor<?xi32>, tensor<?xi32>, index) -> (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x32x64xf32>)
  %kv1, %rotated = llm.rope_append_kv %kv, %q, %k, %v, %table, %positions
                     slots %slots layer %layer
    : (!kv_cache_t, tensor<?x32x64xf32>, tensor<?x16x64xf32>,
       tensor<?x16x64xf32>, tensor<4096x2x32xf32>, tensor<?xi32>, tensor<?xi32>,
       index) -> (!kv_cache_t, tensor<?x32x64xf32>)
  return %kv1, %rotated : !kv_cache_t, tensor<?x32x64xf32>
}

// Of other types, partly rotated, in layer 0.
// CHECK-LABEL: func @rope_append_kv_types
func.func @rope_append_kv_types(
    %kv: !kv_cache_t, %q: tensor<3x16x64xbf16>, %k: tensor<3x16x64xf32>, %v: tensor<3x16x64xf16>,
    %table: tensor<4096x2x5xf32>, %p: tensor<3xi32>) -> tensor<3x16x64xf32> {
  // CHECK: llm.rope_append_kv {{.*}} slots %{{[^ ]*}} : (
  %kv1, %rotated = llm.rope_append_kv %kv, %q, %k, %v, %table, %p slots %p
    : (!kv_cache_t, tensor<3x16x64xbf16>, tensor<3x16x64xf32>, tensor<3x16x64xf16>, tensor<4096x2x5xf32>, tensor<3xi32>, tensor<3xi32>) -> (!kv_cache_t, tensor<3x16x64xf32>)
  return %rotated : tensor<3x16x64xf32>
}

// CHECK-LABEL: func @example_lookup_kv
func.func @example_lookup_kv(%kv: !kv_cache_t, %blocks: tensor<2x8xi32>,
                             %seq_lens: tensor<2xi32>, %layer: index)
    -> (tensor<2x128x16x64xf16>, tensor<2x128x16x64xf16>) {
  // CHECK: %{{.*}}, %{{.*}} = llm.lookup_kv %{{.*}}, %{{.*}}, %{{.*}} layer %{{.*}} : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<2x8xi32>, tensor<2xi32>, index) -> (tensor<2x128x16x64xf16>, tensor<2x128x16x64xf16>)
  %keys, %values = llm.lookup_kv %kv, %blocks, %seq_lens layer %layer
    : (!kv_cache_t, tensor<2x8xi32>, tensor<2xi32>, index)
    -> (tensor<2x128x16x64xf16>, tensor<2x128x16x64xf16>)
  return %keys, %values : tensor<2x128x16x64xf16>, tensor<2x128x16x64xf16>
}

// CHECK-LABEL: func @lookup_kv_layer_0
func.func @lookup_kv_layer_0(%kv: !kv_cache_t, %blocks: tensor<?x?xi32>, %seq_lens: tensor<?xi32>) {
  // CHECK: llm.lookup_kv %{{.*}}, %{{.*}}, %{{[^ ]*}} : (
  %keys, %values = llm.lookup_kv %kv, %blocks, %seq_lens
    : (!kv_cache_t, tensor<?x?xi32>, tensor<?xi32>)
    -> (tensor<?x40x16x64xf32>, tensor<?x40x16x64xf32>)
  return
}

// CHECK-LABEL: func @example_paged_attention
// CHECK-SAME: %[[ROWS:[^ ]*]]: tensor<?xi32>, %[[LAYER:[^ ]*]]: index)
func.func @example_paged_attention(
    %q: tensor<?x32x64xf32>, %kv: !kv_cache_t, %block_table: tensor<?x?xi32>,
    %context_lens: tensor<?xi32>, %row_starts: tensor<?xi32>, %layer: index)
    -> tensor<?x32x64xbf16> {
  // CHECK: llm.paged_attention %{{.*}}, %{{.*}}, %{{.*}}, %{{[^ ]*}} rows %[[ROWS]] layer %[[LAYER]] {scale = 1.250000e-01 : f32} : (tensor<?x32x64xf32>, !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>, index) -> tensor<?x32x64xbf16>
  %o = llm.paged_attention %q, %kv, %block_table, %context_lens
         rows %row_starts layer %layer {scale = 0.125 : f32}
    : (tensor<?x32x64xf32>, !kv_cache_t, tensor<?x?xi32>, tensor<?xi32>,
       tensor<?xi32>, index) -> tensor<?x32x64xbf16>
  return %o : tensor<?x32x64xbf16>
}

// CHECK-LABEL: func @example_paged_attention_variant
// CHECK-SAME: %[[S:[^ ]*]]: tensor<32xbf16>)
func.func @example_paged_attention_variant(
    %q: tensor<?x32x64xf32>, %kv: !kv_cache_t, %block_table: tensor<?x?xi32>,
    %context_lens: tensor<?xi32>, %row_starts: tensor<?xi32>, %layer: index, %s: tensor<32xbf16>)
    -> tensor<?x32x64xbf16> {
  // CHECK: llm.paged_attention %{{.*}}, %{{.*}}, %{{.*}}, %{{[^ ]*}} rows %{{.*}} layer %{{.*}} sinks %[[S]] {query_type = bf16, softcap = 5.000000e+01 : f32, window = 128 : i64} : (tensor<?x32x64xf32>, !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>, index, tensor<32xbf16>) -> tensor<?x32x64xbf16>
  %p = llm.paged_attention %q, %kv, %block_table, %context_lens
         rows %row_starts layer %layer sinks %s
         {query_type = bf16, softcap = 50.0 : f32, window = 128 : i64}
    : (tensor<?x32x64xf32>, !kv_cache_t, tensor<?x?xi32>, tensor<?xi32>,
       tensor<?xi32>, index, tensor<32xbf16>) -> tensor<?x32x64xbf16>
  return %p : tensor<?x32x64xbf16>
}

// Sinks and slopes, without rows or a layer.
// CHECK-LABEL: func @paged_attention_biased
// CHECK-SAME: %[[S:[^ ]*]]: tensor<16xf32>, %[[A:[^ ]*]]: tensor<16xf32>)
func.func @paged_attention_biased(
    %q: tensor<2x3x16x64xf32>, %kv: !kv_cache_t, %block_table: tensor<2x8xi32>,
    %lens: tensor<2xi32>, %s: tensor<16xf32>, %a: tensor<16xf32>) {
  // CHECK: llm.paged_attention %{{.*}}, %{{.*}}, %{{.*}}, %{{[^ ]*}} alibi %[[A]] :
  %0 = llm.paged_attention %q, %kv, %block_table, %lens alibi %a
    : (tensor<2x3x16x64xf32>, !kv_cache_t, tensor<2x8xi32>, tensor<2xi32>, tensor<16xf32>) -> tensor<2x3x16x64xf32>
  // CHECK: llm.paged_attention %{{.*}}, %{{.*}}, %{{.*}}, %{{[^ ]*}} sinks %[[S]] alibi %[[A]] :
  %1 = llm.paged_attention %q, %kv, %block_table, %lens sinks %s alibi %a
    : (tensor<2x3x16x64xf32>, !kv_cache_t, tensor<2x8xi32>, tensor<2xi32>, tensor<16xf32>, tensor<16xf32>) -> tensor<2x3x16x64xf32>
  return
}

// Without rows and with a layer; with rows and without one.
// CHECK-LABEL: func @paged_attention_optional
func.func @paged_attention_optional(
    %q: tensor<2x3x16x64xf32>, %kv: !kv_cache_t, %block_table: tensor<2x8xi32>,
    %lens: tensor<2xi32>, %ragged: tensor<5x16x64xf32>, %rows: tensor<3xi32>, %layer: index) {
  // CHECK: llm.paged_attention %{{.*}}, %{{.*}}, %{{.*}}, %{{[^ ]*}} layer %{{[^ ]*}} :
  %0 = llm.paged_attention %q, %kv, %block_table, %lens layer %layer
    : (tensor<2x3x16x64xf32>, !kv_cache_t, tensor<2x8xi32>, tensor<2xi32>, index)
    -> tensor<2x3x16x64xf32>
  // CHECK: llm.paged_attention %{{.*}}, %{{.*}}, %{{.*}}, %{{[^ ]*}} rows %{{[^ ]*}} :
  %1 = llm.paged_attention %ragged, %kv, %block_table, %lens rows %rows
    : (tensor<5x16x64xf32>, !kv_cache_t, tensor<2x8xi32>, tensor<2xi32>, tensor<3xi32>)
    -> tensor<5x16x64xf32>
  return
}

//===----------------------------------------------------------------------===//
// Kernel calls
//===----------------------------------------------------------------------===//

// CHECK-LABEL: func @example_call_kernel
func.func @example_call_kernel(%x: tensor<?x192xbf16>, %w: tensor<2x96x32x2xbf16>,
                               %out: tensor<?x64xf32>) -> tensor<?x64xf32> {
  // CHECK: llm.call_kernel linear ins(%{{.*}}, %{{.*}} : tensor<?x192xbf16>, tensor<2x96x32x2xbf16>) outs(%{{.*}} : tensor<?x64xf32>) -> tensor<?x64xf32>
  %r = llm.call_kernel linear ins(%x, %w : tensor<?x192xbf16>,
         tensor<2x96x32x2xbf16>) outs(%out : tensor<?x64xf32>)
         -> tensor<?x64xf32>
  return %r : tensor<?x64xf32>
}

// On buffers it has no results; it may have no outputs, or nothing at all.
// CHECK-LABEL: func @call_kernel_optional
func.func @call_kernel_optional(%kv: !kv_cache_t, %x: memref<4x8xf32>, %out: memref<4x8xf32>) {
  // CHECK: llm.call_kernel linear accumulate ins(%{{.*}} : memref<4x8xf32>) outs(%{{.*}} : memref<4x8xf32>) {scale = 5.000000e-01 : f32}
  // CHECK-NOT: ->
  llm.call_kernel linear accumulate ins(%x : memref<4x8xf32>) outs(%out : memref<4x8xf32>) {scale = 0.5 : f32}
  // CHECK: llm.call_kernel append_kv ins(%{{.*}}, %{{.*}} : !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, memref<4x8xf32>)
  llm.call_kernel append_kv ins(%kv, %x : !kv_cache_t, memref<4x8xf32>)
  // CHECK: llm.call_kernel nothing ins()
  llm.call_kernel nothing ins()
  return
}
