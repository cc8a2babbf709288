// RUN: llmir-opt %s -split-input-file -verify-diagnostics

// Every message of the dialect's verifiers. Where MLIR's own checks come first
// and say it, theirs is what is expected.

//===----------------------------------------------------------------------===//
// Types
//===----------------------------------------------------------------------===//

// Every size is positive: layers.
// expected-error @+1 {{layers must be positive and fit into 32 bits, but is -1}}
func.func private @case(!llm.paged_kv_cache<f16, -1, 16, 64, 16, 4096>)

// -----

// Every size is positive: KV heads.
// expected-error @+1 {{kv_heads must be positive and fit into 32 bits, but is -16}}
func.func private @case(!llm.paged_kv_cache<f16, 12, -16, 64, 16, 4096>)

// -----

// Every size is positive: head_dim.
// expected-error @+1 {{head_dim must be positive and fit into 32 bits, but is 0}}
func.func private @case(!llm.paged_kv_cache<f16, 12, 16, 0, 16, 4096>)

// -----

// Every size is positive: block_size.
// expected-error @+1 {{block_size must be positive and fit into 32 bits, but is 0}}
func.func private @case(!llm.paged_kv_cache<f16, 12, 16, 64, 0, 4096>)

// -----

// Every size is positive: max_seq_len.
// expected-error @+1 {{max_seq_len must be positive and fit into 32 bits, but is 0}}
func.func private @case(!llm.paged_kv_cache<f16, 12, 16, 64, 16, 0>)

// -----

// Slots, blocks and lengths are counted in i32.
// expected-error @+1 {{max_seq_len must be positive and fit into 32 bits, but is 2147483648}}
func.func private @case(!llm.paged_kv_cache<f16, 12, 16, 64, 16, 2147483648>)

// -----

// Positions are split into block and offset by shifts.
// expected-error @+1 {{block_size must be a power of two, but is 24}}
func.func private @case(!llm.paged_kv_cache<f16, 12, 16, 64, 24, 4096>)

// -----

// Keys and values are floats, or integers of 8 or 4 bits.
// expected-error @+1 {{elements must be f16, bf16, f32, f64, i8 or i4, but are 'i16'}}
func.func private @case(!llm.paged_kv_cache<i16, 12, 16, 64, 16, 4096>)

// -----

// Whether these have a sign is settled: the zero point says what 0 is.
// expected-error @+1 {{elements must be f16, bf16, f32, f64, i8 or i4, but are 'ui4'}}
func.func private @case(!llm.paged_kv_cache<ui4, 12, 16, 64, 16, 4096>)

// -----

// And they are elements.
// expected-error @+1 {{elements must be f16, bf16, f32, f64, i8 or i4, but are 'tensor<2xi8>'}}
func.func private @case(!llm.paged_kv_cache<tensor<2xi8>, 12, 16, 64, 16, 4096>)

// -----

// Of one that everything here computes in.
// expected-error @+1 {{elements must be f16, bf16, f32, f64, i8 or i4, but are 'f8E4M3FN'}}
func.func private @case(!llm.paged_kv_cache<f8E4M3FN, 12, 16, 64, 16, 4096>)

// -----

//===----------------------------------------------------------------------===//
// Attributes
//===----------------------------------------------------------------------===//

// Scaling makes contexts longer.
// expected-error @+1 {{factor must be at least 1 and finite, but is 5.000000e-01}}
func.func private @case() attributes {s = #llm.rope_scaling<linear, factor = 0.5>}

// -----

// An infinite factor leaves nothing of a frequency.
// expected-error @+1 {{factor must be at least 1 and finite, but is INF}}
func.func private @case() attributes {s = #llm.rope_scaling<linear, factor = 0x7FF0000000000000 : f64>}

// -----

// A NaN is no factor.
// expected-error @+1 {{factor must be at least 1 and finite, but is nan}}
func.func private @case() attributes {s = #llm.rope_scaling<linear, factor = 0x7FF8000000000000 : f64>}

// -----

// Each member belongs to a kind: bands of frequencies to llama3.
// expected-error @+1 {{linear scaling takes no low_freq_factor}}
func.func private @case() attributes {s = #llm.rope_scaling<linear, factor = 4.0, low_freq_factor = 1.0>}

// -----

// The upper band, too.
// expected-error @+1 {{dynamic scaling takes no high_freq_factor}}
func.func private @case() attributes {s = #llm.rope_scaling<dynamic, factor = 4.0, original_max_position = 512, high_freq_factor = 1.0>}

// -----

// Linear scaling knows no context.
// expected-error @+1 {{linear scaling takes no original_max_position}}
func.func private @case() attributes {s = #llm.rope_scaling<linear, factor = 4.0, original_max_position = 512>}

// -----

// Numbers of waves are yarn's: beta_fast.
// expected-error @+1 {{llama3 scaling takes no beta_fast}}
func.func private @case() attributes {s = #llm.rope_scaling<llama3, factor = 8.0, low_freq_factor = 1.0, high_freq_factor = 4.0, original_max_position = 8192, beta_fast = 32.0>}

// -----

// Numbers of waves are yarn's: beta_slow.
// expected-error @+1 {{linear scaling takes no beta_slow}}
func.func private @case() attributes {s = #llm.rope_scaling<linear, factor = 4.0, beta_slow = 1.0>}

// -----

// Only yarn rounds indices.
// expected-error @+1 {{longrope scaling takes no truncate}}
func.func private @case() attributes {s = #llm.rope_scaling<longrope, factor = 4.0, original_max_position = 4096, short_factor = [1.0], long_factor = [2.0], truncate = false>}

// -----

// Magnitudes are yarn's.
// expected-error @+1 {{longrope scaling takes no mscale}}
func.func private @case() attributes {s = #llm.rope_scaling<longrope, factor = 4.0, original_max_position = 4096, short_factor = [1.0], long_factor = [2.0], mscale = 1.0>}

// -----

// Both of them.
// expected-error @+1 {{linear scaling takes no mscale_all_dim}}
func.func private @case() attributes {s = #llm.rope_scaling<linear, factor = 4.0, mscale_all_dim = 1.0>}

// -----

// Linear scaling leaves cosines and sines alone.
// expected-error @+1 {{linear scaling takes no attention_factor}}
func.func private @case() attributes {s = #llm.rope_scaling<linear, factor = 4.0, attention_factor = 1.0>}

// -----

// Factors by frequency are longrope's: short.
// expected-error @+1 {{yarn scaling takes no short_factor}}
func.func private @case() attributes {s = #llm.rope_scaling<yarn, factor = 4.0, original_max_position = 4096, short_factor = [1.0]>}

// -----

// Factors by frequency are longrope's: long.
// expected-error @+1 {{yarn scaling takes no long_factor}}
func.func private @case() attributes {s = #llm.rope_scaling<yarn, factor = 4.0, original_max_position = 4096, long_factor = [1.0]>}

// -----

// llama3 needs its bands: low.
// expected-error @+1 {{llama3 scaling needs low_freq_factor}}
func.func private @case() attributes {s = #llm.rope_scaling<llama3, factor = 8.0, high_freq_factor = 4.0, original_max_position = 8192>}

// -----

// llama3 needs its bands: high.
// expected-error @+1 {{llama3 scaling needs high_freq_factor}}
func.func private @case() attributes {s = #llm.rope_scaling<llama3, factor = 8.0, low_freq_factor = 1.0, original_max_position = 8192>}

// -----

// The original context has to be known: llama3.
// expected-error @+1 {{llama3 scaling needs original_max_position}}
func.func private @case() attributes {s = #llm.rope_scaling<llama3, factor = 8.0, low_freq_factor = 1.0, high_freq_factor = 4.0>}

// -----

// The original context has to be known: dynamic.
// expected-error @+1 {{dynamic scaling needs original_max_position}}
func.func private @case() attributes {s = #llm.rope_scaling<dynamic, factor = 8.0>}

// -----

// The original context has to be known: yarn.
// expected-error @+1 {{yarn scaling needs original_max_position}}
func.func private @case() attributes {s = #llm.rope_scaling<yarn, factor = 8.0>}

// -----

// longrope needs both lists: long.
// expected-error @+1 {{longrope scaling needs long_factor}}
func.func private @case() attributes {s = #llm.rope_scaling<longrope, factor = 4.0, original_max_position = 4096, short_factor = [1.0]>}

// -----

// longrope needs both lists: short.
// expected-error @+1 {{longrope scaling needs short_factor}}
func.func private @case() attributes {s = #llm.rope_scaling<longrope, factor = 4.0, original_max_position = 4096, long_factor = [1.0]>}

// -----

// A context has positions.
// expected-error @+1 {{original_max_position must be at least 2, but is -1}}
func.func private @case() attributes {s = #llm.rope_scaling<llama3, factor = 8.0, low_freq_factor = 1.0, high_freq_factor = 4.0, original_max_position = -1>}

// -----

// The logarithm of 1 divides nothing.
// expected-error @+1 {{original_max_position must be at least 2, but is 1}}
func.func private @case() attributes {s = #llm.rope_scaling<longrope, factor = 4.0, original_max_position = 1, short_factor = [1.0], long_factor = [2.0]>}

// -----

// Bands are numbers of waves: low.
// expected-error @+1 {{low_freq_factor must be positive and finite, but is 0.000000e+00}}
func.func private @case() attributes {s = #llm.rope_scaling<llama3, factor = 8.0, low_freq_factor = 0.0, high_freq_factor = 4.0, original_max_position = 8192>}

// -----

// Bands are numbers of waves: high.
// expected-error @+1 {{high_freq_factor must be positive and finite, but is INF}}
func.func private @case() attributes {s = #llm.rope_scaling<llama3, factor = 8.0, low_freq_factor = 1.0, high_freq_factor = 0x7FF0000000000000 : f64, original_max_position = 8192>}

// -----

// Numbers of waves are positive: beta_fast.
// expected-error @+1 {{beta_fast must be positive and finite, but is 0.000000e+00}}
func.func private @case() attributes {s = #llm.rope_scaling<yarn, factor = 4.0, original_max_position = 4096, beta_fast = 0.0>}

// -----

// Numbers of waves are positive: beta_slow.
// expected-error @+1 {{beta_slow must be positive and finite, but is -1.000000e+00}}
func.func private @case() attributes {s = #llm.rope_scaling<yarn, factor = 4.0, original_max_position = 4096, beta_slow = -1.0>}

// -----

// Magnitudes are positive.
// expected-error @+1 {{mscale must be positive and finite, but is 0.000000e+00}}
func.func private @case() attributes {s = #llm.rope_scaling<yarn, factor = 4.0, original_max_position = 4096, mscale = 0.0, mscale_all_dim = 1.0>}

// -----

// Magnitudes are numbers.
// expected-error @+1 {{mscale_all_dim must be positive and finite, but is nan}}
func.func private @case() attributes {s = #llm.rope_scaling<yarn, factor = 4.0, original_max_position = 4096, mscale = 1.0, mscale_all_dim = 0x7FF8000000000000 : f64>}

// -----

// Cosines and sines are multiplied by something.
// expected-error @+1 {{attention_factor must be positive and finite, but is 0.000000e+00}}
func.func private @case() attributes {s = #llm.rope_scaling<yarn, factor = 4.0, original_max_position = 4096, attention_factor = 0.0>}

// -----

// Frequencies are divided by positive numbers.
// expected-error @+1 {{short_factor must hold positive and finite numbers}}
func.func private @case() attributes {s = #llm.rope_scaling<longrope, factor = 4.0, original_max_position = 4096, short_factor = [1.0, 0.0], long_factor = [2.0]>}

// -----

// Long contexts, too.
// expected-error @+1 {{long_factor must hold positive and finite numbers}}
func.func private @case() attributes {s = #llm.rope_scaling<longrope, factor = 4.0, original_max_position = 4096, short_factor = [1.0], long_factor = [-2.0]>}

// -----

// Two magnitudes make a quotient.
// expected-error @+1 {{mscale and mscale_all_dim need each other}}
func.func private @case() attributes {s = #llm.rope_scaling<yarn, factor = 4.0, original_max_position = 4096, mscale = 1.0>}

// -----

// The bands are in order.
// expected-error @+1 {{high_freq_factor must be above low_freq_factor}}
func.func private @case() attributes {s = #llm.rope_scaling<llama3, factor = 8.0, low_freq_factor = 4.0, high_freq_factor = 4.0, original_max_position = 8192>}

// -----

// A kind that there is not.
// expected-error @+2 {{expected ::llmir::llm::RopeScalingKind to be one of: linear, llama3, dynamic, yarn, longrope}}
// expected-error @+1 {{failed to parse LLM_RopeScalingAttr parameter 'kind' which is to be a `::llmir::llm::RopeScalingKind`}}
func.func private @case() attributes {s = #llm.rope_scaling<sideways, factor = 2.0>}

// -----

//===----------------------------------------------------------------------===//
// Parameters
//===----------------------------------------------------------------------===//

// A scope.
func.func @case() {
  // expected-error @+1 {{'llm.parameter' op scope and key must not be empty}}
  %0 = llm.parameter ""::"w" : tensor<4xf32>
  return
}

// -----

// A key.
func.func @case() {
  // expected-error @+1 {{'llm.parameter' op scope and key must not be empty}}
  %0 = llm.parameter "model"::"" : tensor<4xf32>
  return
}

// -----

// A weight's shape is known.
func.func @case() {
  // expected-error @+1 {{'llm.parameter' op weights have static shapes, but this one is 'tensor<?xf32>'}}
  %0 = llm.parameter "model"::"w" : tensor<?xf32>
  return
}

// -----

// A weight's rank is known.
func.func @case() {
  // expected-error @+1 {{'llm.parameter' op result #0 must be ranked tensor of any type values or a tensor of integers with scales, but got 'tensor<*xf32>'}}
  %0 = llm.parameter "model"::"w" : tensor<*xf32>
  return
}

// -----

// The file's shape is known too.
func.func @case() {
  // expected-error @+1 {{'llm.parameter' op weights have static shapes, but this one is 'tensor<?xbf16>'}}
  %0 = llm.parameter "model"::"w" from tensor<?xbf16> : tensor<4xf32>
  return
}

// -----

// Weights are never narrowed.
func.func @case() {
  // expected-error @+1 {{'llm.parameter' op parameters are only widened from bf16 or f16 to f32, not from 'f32' to 'bf16'}}
  %0 = llm.parameter "model"::"w" from tensor<4xf32> : tensor<4xbf16>
  return
}

// -----

// A vector has one dimension only.
func.func @case() {
  // expected-error @+1 {{'llm.parameter' op only matrices are transposed, not 'tensor<4xf32>'}}
  %0 = llm.parameter "model"::"w" transposed : tensor<4xf32>
  return
}

// -----

// The file's type is given as the file has it.
func.func @case() {
  // expected-error @+1 {{'llm.parameter' op result must have the file's shape or that of its panels, but is 'tensor<8x4xf32>', from the transpose of 'tensor<8x4xf32>'}}
  %0 = llm.parameter "model"::"w" transposed from tensor<8x4xf32> : tensor<8x4xf32>
  return
}

// -----

// Integers are no floats.
func.func @case() {
  // expected-error @+1 {{'llm.parameter' op parameters are only widened from bf16 or f16 to f32, not from 'i8' to 'f32'}}
  %0 = llm.parameter "model"::"w" from tensor<4xi8> : tensor<4xf32>
  return
}

// -----

// Only the element type or the packing may differ.
func.func @case() {
  // expected-error @+1 {{'llm.parameter' op result must have the file's shape or that of its panels, but is 'tensor<5xf32>', from 'tensor<4xbf16>'}}
  %0 = llm.parameter "model"::"w" from tensor<4xbf16> : tensor<5xf32>
  return
}

// -----

// Panels have one shape.
func.func @case() {
  // expected-error @+1 {{'llm.parameter' op result must have the file's shape or that of its panels, but is 'tensor<2x192x32xbf16>', from 'tensor<64x192xbf16>'}}
  %0 = llm.parameter "model"::"w" from tensor<64x192xbf16> : tensor<2x192x32xbf16>
  return
}

// -----

// Panels of f32 hold no pairs.
func.func @case() {
  // expected-error @+1 {{'llm.parameter' op result must have the file's shape or that of its panels, but is 'tensor<2x96x32x2xf32>', from 'tensor<64x192xbf16>'}}
  %0 = llm.parameter "model"::"w" from tensor<64x192xbf16> : tensor<2x96x32x2xf32>
  return
}

// -----

// The file's type is that of a tensor.
func.func @case() {
  // expected-error @+1 {{'llm.parameter' op reads ranked tensors, but not 'i32'}}
  %0 = llm.parameter "model"::"w" from i32 : tensor<4xf32>
  return
}

// -----

func.func @case() {
  // expected-error @+1 {{'llm.parameter' op scope and key must not be empty}}
  %0 = llm.parameter "model"::["a", ""] from [tensor<4xf32>, tensor<4xf32>] : tensor<8xf32>
  return
}

// -----

func.func @case() {
  // expected-error @+1 {{'llm.parameter' op scope and key must not be empty}}
  %0 = "llm.parameter"() <{scope = "m", keys = []}> : () -> tensor<4xf32>
  return
}

// -----

// Of several tensors, the result does not say what each is.
func.func @case() {
  // expected-error @+1 {{'llm.parameter' op names 2 tensors, but gives the types of 1}}
  %0 = llm.parameter "model"::["a", "b"] : tensor<8xf32>
  return
}

// -----

func.func @case() {
  // expected-error @+1 {{'llm.parameter' op tensors laid end to end are vectors, or matrices of equally long rows, but these are 'tensor<4x8xf32>' and 'tensor<4x7xf32>'}}
  %0 = llm.parameter "model"::["a", "b"] from [tensor<4x8xf32>, tensor<4x7xf32>] : tensor<8x8xf32>
  return
}

// -----

func.func @case() {
  // expected-error @+1 {{'llm.parameter' op tensors laid end to end are vectors, or matrices of equally long rows, but these are 'tensor<2x4x8xf32>' and 'tensor<2x4x8xf32>'}}
  %0 = llm.parameter "model"::["a", "b"] from [tensor<2x4x8xf32>, tensor<2x4x8xf32>] : tensor<4x4x8xf32>
  return
}

// -----

func.func @case() {
  // expected-error @+1 {{'llm.parameter' op result must have the file's shape or that of its panels, but is 'tensor<7x8xf32>', from 'tensor<4x8xf32>', 'tensor<4x8xf32>'}}
  %0 = llm.parameter "model"::["a", "b"] from [tensor<4x8xf32>, tensor<4x8xf32>] : tensor<7x8xf32>
  return
}

// -----

// Halves of 15 rows cannot alternate.
func.func @case() {
  // expected-error @+1 {{'llm.parameter' op result must have the file's shape or that of its panels, but is 'tensor<1x2x8x32xf32>', from 'tensor<15x8xf32>'}}
  %0 = llm.parameter "model"::"a" from tensor<15x8xf32> : tensor<1x2x8x32xf32>
  return
}

// -----

//===----------------------------------------------------------------------===//
// RoPE tables
//===----------------------------------------------------------------------===//

// Cosines, then sines.
func.func @case() {
  // expected-error @+1 {{'llm.rope_table' op table must have the shape [positions, 2, head_dim / 2], but is 'tensor<512x3x16xf32>'}}
  %0 = llm.rope_table {theta = 1.0e+04 : f64} : tensor<512x3x16xf32>
  return
}

// -----

// All positions of the context.
func.func @case() {
  // expected-error @+1 {{'llm.rope_table' op a table needs a length where its number of positions is dynamic, and only there, but is 'tensor<?x2x16xf32>'}}
  %0 = llm.rope_table {theta = 1.0e+04 : f64} : tensor<?x2x16xf32>
  return
}

// -----

// Positions, two rows, frequencies.
func.func @case() {
  // expected-error @+1 {{'llm.rope_table' op table must have the shape [positions, 2, head_dim / 2], but is 'tensor<512x16xf32>'}}
  %0 = llm.rope_table {theta = 1.0e+04 : f64} : tensor<512x16xf32>
  return
}

// -----

// At least one position.
func.func @case() {
  // expected-error @+1 {{'llm.rope_table' op table must have the shape [positions, 2, head_dim / 2], but is 'tensor<0x2x16xf32>'}}
  %0 = llm.rope_table {theta = 1.0e+04 : f64} : tensor<0x2x16xf32>
  return
}

// -----

// At least one frequency.
func.func @case() {
  // expected-error @+1 {{'llm.rope_table' op table must have the shape [positions, 2, head_dim / 2], but is 'tensor<512x2x0xf32>'}}
  %0 = llm.rope_table {theta = 1.0e+04 : f64} : tensor<512x2x0xf32>
  return
}

// -----

// No shape at all.
func.func @case() {
  // expected-error @+1 {{'llm.rope_table' op result #0 must be ranked tensor of 32-bit float values, but got 'tensor<*xf32>'}}
  %0 = llm.rope_table {theta = 1.0e+04 : f64} : tensor<*xf32>
  return
}

// -----

// Frequencies are powers of theta.
func.func @case() {
  // expected-error @+1 {{'llm.rope_table' op theta must be positive and finite}}
  %0 = llm.rope_table {theta = 0.0 : f64} : tensor<512x2x16xf32>
  return
}

// -----

// Infinity has no powers to speak of.
func.func @case() {
  // expected-error @+1 {{'llm.rope_table' op theta must be positive and finite}}
  %0 = llm.rope_table {theta = 0x7FF0000000000000 : f64} : tensor<512x2x16xf32>
  return
}

// -----

// Nor has a NaN.
func.func @case() {
  // expected-error @+1 {{'llm.rope_table' op theta must be positive and finite}}
  %0 = llm.rope_table {theta = 0x7FF8000000000000 : f64} : tensor<512x2x16xf32>
  return
}

// -----

// The exponent R / (R - 2) is finite.
func.func @case() {
  // expected-error @+1 {{'llm.rope_table' op dynamic scaling needs at least two frequencies}}
  %0 = llm.rope_table {theta = 1.0e+04 : f64, scaling = #llm.rope_scaling<dynamic, factor = 2.0, original_max_position = 512>} : tensor<512x2x1xf32>
  return
}

// -----

// Frequencies fall from one index to the next.
func.func @case() {
  // expected-error @+1 {{'llm.rope_table' op yarn scaling needs a theta above 1}}
  %0 = llm.rope_table {theta = 1.0 : f64, scaling = #llm.rope_scaling<yarn, factor = 2.0, original_max_position = 512>} : tensor<512x2x16xf32>
  return
}

// -----

// Every frequency has a factor: short contexts.
func.func @case() {
  // expected-error @+1 {{'llm.rope_table' op short_factor holds 2 numbers, but the table has 3 frequencies}}
  %0 = llm.rope_table {theta = 1.0e+04 : f64, scaling = #llm.rope_scaling<longrope, factor = 2.0, original_max_position = 512, short_factor = [1.0, 1.0], long_factor = [1.0, 1.0, 1.0]>} : tensor<512x2x3xf32>
  return
}

// -----

// Every frequency has a factor: long contexts.
func.func @case() {
  // expected-error @+1 {{'llm.rope_table' op long_factor holds 4 numbers, but the table has 3 frequencies}}
  %0 = llm.rope_table {theta = 1.0e+04 : f64, scaling = #llm.rope_scaling<longrope, factor = 2.0, original_max_position = 512, short_factor = [1.0, 1.0, 1.0], long_factor = [1.0, 1.0, 1.0, 1.0]>} : tensor<512x2x3xf32>
  return
}

// -----

// Tables are f32.
func.func @case() {
  // expected-error @+1 {{'llm.rope_table' op result #0 must be ranked tensor of 32-bit float values, but got 'tensor<512x2x16xbf16>'}}
  %0 = llm.rope_table {theta = 1.0e+04 : f64} : tensor<512x2x16xbf16>
  return
}

// -----

//===----------------------------------------------------------------------===//
// Embeddings
//===----------------------------------------------------------------------===//

// One index a token.
func.func @case(%i: tensor<2x3xi32>, %t: tensor<8x4xf32>) {
  // expected-error @+1 {{'llm.embedding' op indices must be a tensor of rank 1, but is 'tensor<2x3xi32>'}}
  %0 = llm.embedding %i, %t : (tensor<2x3xi32>, tensor<8x4xf32>) -> tensor<2x4xf32>
  return
}

// -----

// No rank.
func.func @case(%i: tensor<*xi32>, %t: tensor<8x4xf32>) {
  // expected-error @+1 {{'llm.embedding' op operand #0 must be ranked tensor of 32-bit signless integer values, but got 'tensor<*xi32>'}}
  %0 = llm.embedding %i, %t : (tensor<*xi32>, tensor<8x4xf32>) -> tensor<2x4xf32>
  return
}

// -----

// A row an index.
func.func @case(%i: tensor<2xi32>, %t: tensor<8xf32>) {
  // expected-error @+1 {{'llm.embedding' op table must be a tensor of rank 2, but is 'tensor<8xf32>'}}
  %0 = llm.embedding %i, %t : (tensor<2xi32>, tensor<8xf32>) -> tensor<2x8xf32>
  return
}

// -----

// Panels are those of rows like the result's.
func.func @case(%i: tensor<2xi32>, %t: tensor<2x7x32xf32>) {
  // expected-error @+1 {{'llm.embedding' op table is 'tensor<2x7x32xf32>', but must be a matrix or its panels, of rows as the result has them, 'tensor<2x8xf32>'}}
  %0 = llm.embedding %i, %t : (tensor<2xi32>, tensor<2x7x32xf32>) -> tensor<2x8xf32>
  return
}

// -----

// Panels are those of rows like the result's.
func.func @case(%i: tensor<2xi32>, %t: tensor<2x16x32x2xbf16>) {
  // expected-error @+1 {{'llm.embedding' op table is 'tensor<2x16x32x2xbf16>', but must be a matrix or its panels, of rows as the result has them, 'tensor<2x33xf32>'}}
  %0 = llm.embedding %i, %t : (tensor<2xi32>, tensor<2x16x32x2xbf16>) -> tensor<2x33xf32>
  return
}

// -----

// Panels are those of rows like the result's.
func.func @case(%i: tensor<2xi32>, %t: tensor<2x7x16xf32>) {
  // expected-error @+1 {{'llm.embedding' op table is 'tensor<2x7x16xf32>', but must be a matrix or its panels, of rows as the result has them, 'tensor<2x7xf32>'}}
  %0 = llm.embedding %i, %t : (tensor<2xi32>, tensor<2x7x16xf32>) -> tensor<2x7xf32>
  return
}

// -----

// Panels are those of rows like the result's.
func.func @case(%i: tensor<2xi32>, %t: tensor<2x16x32x2xf32>) {
  // expected-error @+1 {{'llm.embedding' op table is 'tensor<2x16x32x2xf32>', but must be a matrix or its panels, of rows as the result has them, 'tensor<2x32xf32>'}}
  %0 = llm.embedding %i, %t : (tensor<2xi32>, tensor<2x16x32x2xf32>) -> tensor<2x32xf32>
  return
}

// -----

// Panels are those of rows like the result's.
func.func @case(%i: tensor<2xi32>, %t: tensor<?x7x32xf32>) {
  // expected-error @+1 {{'llm.embedding' op table is 'tensor<?x7x32xf32>', but must be a matrix or its panels, of rows as the result has them, 'tensor<2x7xf32>'}}
  %0 = llm.embedding %i, %t : (tensor<2xi32>, tensor<?x7x32xf32>) -> tensor<2x7xf32>
  return
}

// -----

// Panels are those of rows like the result's.
func.func @case(%i: tensor<2xi32>, %t: tensor<2x2x16x32x2xbf16>) {
  // expected-error @+1 {{'llm.embedding' op table is 'tensor<2x2x16x32x2xbf16>', but must be a matrix or its panels, of rows as the result has them, 'tensor<2x32xf32>'}}
  %0 = llm.embedding %i, %t : (tensor<2xi32>, tensor<2x2x16x32x2xbf16>) -> tensor<2x32xf32>
  return
}

// -----

// A row a token, of panels too.
func.func @case(%i: tensor<2xi32>, %t: tensor<2x7x32xf32>) {
  // expected-error @+1 {{'llm.embedding' op result is 'tensor<3x7xf32>', but must have the shape 'tensor<2x7xf32>'}}
  %0 = llm.embedding %i, %t : (tensor<2xi32>, tensor<2x7x32xf32>) -> tensor<3x7xf32>
  return
}

// -----

func.func @case(%i: tensor<2xi32>, %t: tensor<2x7x32xf32>) {
  // expected-error @+1 {{'llm.embedding' op result must be a tensor of rank 2, but is 'tensor<2x7x1xf32>'}}
  %0 = llm.embedding %i, %t : (tensor<2xi32>, tensor<2x7x32xf32>) -> tensor<2x7x1xf32>
  return
}

// -----

// A row a token.
func.func @case(%i: tensor<?xi32>, %t: tensor<8x4xf32>) {
  // expected-error @+1 {{'llm.embedding' op result is 'tensor<?x5xf32>', but must have the shape 'tensor<?x4xf32>'}}
  %0 = llm.embedding %i, %t : (tensor<?xi32>, tensor<8x4xf32>) -> tensor<?x5xf32>
  return
}

// -----

// Indices are i32.
func.func @case(%i: tensor<2xi64>, %t: tensor<8x4xf32>) {
  // expected-error @+1 {{'llm.embedding' op operand #0 must be ranked tensor of 32-bit signless integer values, but got 'tensor<2xi64>'}}
  %0 = llm.embedding %i, %t : (tensor<2xi64>, tensor<8x4xf32>) -> tensor<2x4xf32>
  return
}

// -----

// Tables are of a type that everything here computes in.
func.func @case(%i: tensor<2xi32>, %t: tensor<8x4xf8E4M3FN>) {
  // expected-error @+1 {{'llm.embedding' op operand #1 must be ranked tensor of f16, bf16, f32 or f64 values or a tensor of integers with scales, but got 'tensor<8x4xf8E4M3FN>'}}
  %0 = llm.embedding %i, %t : (tensor<2xi32>, tensor<8x4xf8E4M3FN>) -> tensor<2x4xf32>
  return
}

// -----

// So are results.
func.func @case(%i: tensor<2xi32>, %t: tensor<8x4xf32>) {
  // expected-error @+1 {{'llm.embedding' op result #0 must be ranked tensor of f16, bf16, f32 or f64 values, but got 'tensor<2x4xi32>'}}
  %0 = llm.embedding %i, %t : (tensor<2xi32>, tensor<8x4xf32>) -> tensor<2x4xi32>
  return
}

// -----

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

// Rows of inputs.
func.func @case(%x: tensor<2x3x192xbf16>, %w: tensor<64x192xbf16>) {
  // expected-error @+1 {{'llm.linear' op input must be a tensor of rank 2, but is 'tensor<2x3x192xbf16>'}}
  %0 = llm.linear %x, %w : (tensor<2x3x192xbf16>, tensor<64x192xbf16>) -> tensor<?x64xf32>
  return
}

// -----

// Rows of outputs.
func.func @case(%x: tensor<?x192xbf16>, %w: tensor<64x192xbf16>) {
  // expected-error @+1 {{'llm.linear' op result must be a tensor of rank 2, but is 'tensor<64xf32>'}}
  %0 = llm.linear %x, %w : (tensor<?x192xbf16>, tensor<64x192xbf16>) -> tensor<64xf32>
  return
}

// -----

// A weight of unknown rank.
func.func @case(%x: tensor<?x192xbf16>, %w: tensor<*xbf16>) {
  // expected-error @+1 {{'llm.linear' op operand #1 must be ranked tensor of f16, bf16, f32 or f64 values, but got 'tensor<*xbf16>'}}
  %0 = llm.linear %x, %w : (tensor<?x192xbf16>, tensor<*xbf16>) -> tensor<?x64xf32>
  return
}

// -----

// As many inputs as the weight has.
func.func @case(%x: tensor<?x192xbf16>, %w: tensor<64x191xbf16>) {
  // expected-error @+1 {{'llm.linear' op the weight's number of inputs is 191, but must be 192, the input's last dimension}}
  %0 = llm.linear %x, %w : (tensor<?x192xbf16>, tensor<64x191xbf16>) -> tensor<?x64xf32>
  return
}

// -----

// As many outputs as the weight has.
func.func @case(%x: tensor<?x192xbf16>, %w: tensor<64x192xbf16>) {
  // expected-error @+1 {{'llm.linear' op result is 'tensor<?x63xf32>', but must have the shape 'tensor<?x64xf32>'}}
  %0 = llm.linear %x, %w : (tensor<?x192xbf16>, tensor<64x192xbf16>) -> tensor<?x63xf32>
  return
}

// -----

// Of f32, panels hold no pairs.
func.func @case(%x: tensor<?x192xf32>, %w: tensor<2x96x32x2xf32>) {
  // expected-error @+1 {{'llm.linear' op weight is 'tensor<2x96x32x2xf32>', but the panels of 'tensor<64x192xf32>' are 'tensor<2x192x32xf32>'}}
  %0 = llm.linear %x, %w : (tensor<?x192xf32>, tensor<2x96x32x2xf32>) -> tensor<?x64xf32>
  return
}

// -----

// Of bf16, panels hold pairs.
func.func @case(%x: tensor<?x192xbf16>, %w: tensor<2x192x32xbf16>) {
  // expected-error @+1 {{'llm.linear' op weight is 'tensor<2x192x32xbf16>', but the panels of 'tensor<64x192xbf16>' are 'tensor<2x96x32x2xbf16>'}}
  %0 = llm.linear %x, %w : (tensor<?x192xbf16>, tensor<2x192x32xbf16>) -> tensor<?x64xf32>
  return
}

// -----

// Panels are as many as the outputs need.
func.func @case(%x: tensor<?x192xbf16>, %w: tensor<2x96x32x2xbf16>) {
  // expected-error @+1 {{'llm.linear' op weight is 'tensor<2x96x32x2xbf16>', but the panels of 'tensor<65x192xbf16>' are 'tensor<3x96x32x2xbf16>'}}
  %0 = llm.linear %x, %w : (tensor<?x192xbf16>, tensor<2x96x32x2xbf16>) -> tensor<?x65xf32>
  return
}

// -----

func.func @case(%x: tensor<?x192xbf16>, %w: tensor<128x192xbf16>) {
  // expected-error @+1 {{'llm.linear' op the gated weight's number of outputs is 128, but must be 126, twice the result's last dimension}}
  %0 = llm.linear %x, %w activation silu gated : (tensor<?x192xbf16>, tensor<128x192xbf16>) -> tensor<?x63xf32>
  return
}

// -----

// The panels of two matrices alternate.
func.func @case(%x: tensor<?x192xbf16>, %w: tensor<4x96x32x2xbf16>) {
  // expected-error @+1 {{'llm.linear' op weight is 'tensor<4x96x32x2xbf16>', but the panels of 'tensor<128x192xbf16>', gated, are 'tensor<2x2x96x32x2xbf16>'}}
  %0 = llm.linear %x, %w activation silu gated : (tensor<?x192xbf16>, tensor<4x96x32x2xbf16>) -> tensor<?x64xf32>
  return
}

// -----

func.func @case(%x: tensor<?x192xbf16>, %w: tensor<128x192xbf16>, %b: tensor<64xf32>) {
  // expected-error @+1 {{'llm.linear' op the bias's size is 64, but must be 128, twice the result's last dimension}}
  %0 = llm.linear %x, %w bias %b activation silu gated : (tensor<?x192xbf16>, tensor<128x192xbf16>, tensor<64xf32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @case(%x: tensor<?x192xf32>, %w: tensor<64x192xbf16>, %n: tensor<64xf32>) {
  // expected-error @+1 {{'llm.linear' op the norm's size is 64, but must be 192, the input's last dimension}}
  %0 = llm.linear %x, %w norm %n {epsilon = 1.0e-05 : f32} : (tensor<?x192xf32>, tensor<64x192xbf16>, tensor<64xf32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @case(%x: tensor<?x192xf32>, %w: tensor<64x192xbf16>, %n: tensor<1x192xf32>) {
  // expected-error @+1 {{'llm.linear' op norm must be a tensor of rank 1, but is 'tensor<1x192xf32>'}}
  %0 = llm.linear %x, %w norm %n {epsilon = 1.0e-05 : f32} : (tensor<?x192xf32>, tensor<64x192xbf16>, tensor<1x192xf32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @case(%x: tensor<?x192xf32>, %w: tensor<64x192xbf16>, %n: tensor<192xf32>) {
  // expected-error @+1 {{'llm.linear' op has either both a norm and an epsilon, or neither}}
  %0 = llm.linear %x, %w norm %n : (tensor<?x192xf32>, tensor<64x192xbf16>, tensor<192xf32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @case(%x: tensor<?x192xf32>, %w: tensor<64x192xbf16>, %n: tensor<192xf32>) {
  // expected-error @+1 {{'llm.linear' op epsilon must be finite and not negative}}
  %0 = llm.linear %x, %w norm %n {epsilon = -1.0 : f32} : (tensor<?x192xf32>, tensor<64x192xbf16>, tensor<192xf32>) -> tensor<?x64xf32>
  return
}

// -----

// f16 is widened one number at a time, so it has no pairs.
func.func @case(%x: tensor<?x192xf16>, %w: tensor<2x96x32x2xf16>) {
  // expected-error @+1 {{'llm.linear' op weight is 'tensor<2x96x32x2xf16>', but the panels of 'tensor<64x192xf16>' are 'tensor<2x192x32xf16>'}}
  %0 = llm.linear %x, %w : (tensor<?x192xf16>, tensor<2x96x32x2xf16>) -> tensor<?x64xf32>
  return
}

// -----

// No kernel reads panels of f64.
func.func @case(%x: tensor<?x192xf64>, %w: tensor<2x192x32xf64>) {
  // expected-error @+1 {{'llm.linear' op weight is 'tensor<2x192x32xf64>', but 'tensor<64x192xf64>' has no packed form}}
  %0 = llm.linear %x, %w : (tensor<?x192xf64>, tensor<2x192x32xf64>) -> tensor<?x64xf32>
  return
}

// -----

// Panels do not say how many outputs there are: the result does.
func.func @case(%x: tensor<?x192xbf16>, %w: tensor<2x96x32x2xbf16>) {
  // expected-error @+1 {{'llm.linear' op weight is 'tensor<2x96x32x2xbf16>', but 'tensor<?x192xbf16>' has no packed form}}
  %0 = llm.linear %x, %w : (tensor<?x192xbf16>, tensor<2x96x32x2xbf16>) -> tensor<?x?xf32>
  return
}

// -----

// A vector is no weight.
func.func @case(%x: tensor<?x192xbf16>, %w: tensor<192xbf16>) {
  // expected-error @+1 {{'llm.linear' op weight is 'tensor<192xbf16>', but the panels of 'tensor<64x192xbf16>' are 'tensor<2x96x32x2xbf16>'}}
  %0 = llm.linear %x, %w : (tensor<?x192xbf16>, tensor<192xbf16>) -> tensor<?x64xf32>
  return
}

// -----

// A row of outputs for each of inputs.
func.func @case(%x: tensor<3x192xbf16>, %w: tensor<2x96x32x2xbf16>) {
  // expected-error @+1 {{'llm.linear' op result is 'tensor<4x64xf32>', but must have the shape 'tensor<3x64xf32>'}}
  %0 = llm.linear %x, %w : (tensor<3x192xbf16>, tensor<2x96x32x2xbf16>) -> tensor<4x64xf32>
  return
}

// -----

// One bias an output.
func.func @case(%x: tensor<?x192xbf16>, %w: tensor<64x192xbf16>, %e: tensor<1x64xbf16>) {
  // expected-error @+1 {{'llm.linear' op bias must be a tensor of rank 1, but is 'tensor<1x64xbf16>'}}
  %0 = llm.linear %x, %w bias %e : (tensor<?x192xbf16>, tensor<64x192xbf16>, tensor<1x64xbf16>) -> tensor<?x64xf32>
  return
}

// -----

// As many as outputs.
func.func @case(%x: tensor<?x192xbf16>, %w: tensor<64x192xbf16>, %e: tensor<192xbf16>) {
  // expected-error @+1 {{'llm.linear' op the bias's size is 192, but must be 64, the result's last dimension}}
  %0 = llm.linear %x, %w bias %e : (tensor<?x192xbf16>, tensor<64x192xbf16>, tensor<192xbf16>) -> tensor<?x64xf32>
  return
}

// -----

// A residual for each output.
func.func @case(%x: tensor<?x192xbf16>, %w: tensor<64x192xbf16>, %e: tensor<?x192xf32>) {
  // expected-error @+1 {{'llm.linear' op residual is 'tensor<?x192xf32>', but must have the result's shape, that of 'tensor<?x64xf32>'}}
  %0 = llm.linear %x, %w residual %e : (tensor<?x192xbf16>, tensor<64x192xbf16>, tensor<?x192xf32>) -> tensor<?x64xf32>
  return
}

// -----

// A residual of unknown rank.
func.func @case(%x: tensor<?x192xbf16>, %w: tensor<64x192xbf16>, %e: tensor<*xf32>) {
  // expected-error @+1 {{'llm.linear' op operand #2 must be ranked tensor of f16, bf16, f32 or f64 values, but got 'tensor<*xf32>'}}
  %0 = llm.linear %x, %w residual %e : (tensor<?x192xbf16>, tensor<64x192xbf16>, tensor<*xf32>) -> tensor<?x64xf32>
  return
}

// -----

//===----------------------------------------------------------------------===//
// Norms
//===----------------------------------------------------------------------===//

// No rank.
func.func @case(%x: tensor<*xf32>, %w: tensor<192xf32>) {
  // expected-error @+1 {{'llm.rms_norm' op operand #0 must be ranked tensor of f16, bf16, f32 or f64 values, but got 'tensor<*xf32>'}}
  %0 = llm.rms_norm %x, %w {epsilon = 1.0e-05 : f32} : (tensor<*xf32>, tensor<192xf32>) -> tensor<*xf32>
  return
}

// -----

// No dimension.
func.func @case(%x: tensor<f32>, %w: tensor<192xf32>) {
  // expected-error @+1 {{'llm.rms_norm' op input must have at least one dimension, but is 'tensor<f32>'}}
  %0 = llm.rms_norm %x, %w {epsilon = 1.0e-05 : f32} : (tensor<f32>, tensor<192xf32>) -> tensor<f32>
  return
}

// -----

// One weight a column.
func.func @case(%x: tensor<?x192xf32>, %w: tensor<1x192xf32>) {
  // expected-error @+1 {{'llm.rms_norm' op weight must be a tensor of rank 1, but is 'tensor<1x192xf32>'}}
  %0 = llm.rms_norm %x, %w {epsilon = 1.0e-05 : f32} : (tensor<?x192xf32>, tensor<1x192xf32>) -> tensor<?x192xf32>
  return
}

// -----

// As many as columns.
func.func @case(%x: tensor<?x192xf32>, %w: tensor<191xf32>) {
  // expected-error @+1 {{'llm.rms_norm' op the weight's size is 191, but must be 192, the input's last dimension}}
  %0 = llm.rms_norm %x, %w {epsilon = 1.0e-05 : f32} : (tensor<?x192xf32>, tensor<191xf32>) -> tensor<?x192xf32>
  return
}

// -----

// A root of a sum of squares.
func.func @case(%x: tensor<?x192xf32>, %w: tensor<192xf32>) {
  // expected-error @+1 {{'llm.rms_norm' op epsilon must be finite and not negative}}
  %0 = llm.rms_norm %x, %w {epsilon = -1.0e-05 : f32} : (tensor<?x192xf32>, tensor<192xf32>) -> tensor<?x192xf32>
  return
}

// -----

// A NaN is no epsilon either.
func.func @case(%x: tensor<?x192xf32>, %w: tensor<192xf32>) {
  // expected-error @+1 {{'llm.rms_norm' op epsilon must be finite and not negative}}
  %0 = llm.rms_norm %x, %w {epsilon = 0x7FC00000 : f32} : (tensor<?x192xf32>, tensor<192xf32>) -> tensor<?x192xf32>
  return
}

// -----

// Nor is infinity: all would be 0.
func.func @case(%x: tensor<?x192xf32>, %w: tensor<192xf32>) {
  // expected-error @+1 {{'llm.rms_norm' op epsilon must be finite and not negative}}
  %0 = llm.rms_norm %x, %w {epsilon = 0x7F800000 : f32} : (tensor<?x192xf32>, tensor<192xf32>) -> tensor<?x192xf32>
  return
}

// -----

// The same shape.
func.func @case(%x: tensor<?x192xf32>, %w: tensor<192xf32>) {
  // expected-error @+1 {{'llm.rms_norm' op result is 'tensor<?x6x32xf32>', but must have the shape 'tensor<?x192xf32>'}}
  %0 = llm.rms_norm %x, %w {epsilon = 1.0e-05 : f32} : (tensor<?x192xf32>, tensor<192xf32>) -> tensor<?x6x32xf32>
  return
}

// -----

// What rms_norm requires, layer_norm does: a dimension.
func.func @case(%x: tensor<f32>, %w: tensor<192xf32>) {
  // expected-error @+1 {{'llm.layer_norm' op input must have at least one dimension, but is 'tensor<f32>'}}
  %0 = llm.layer_norm %x, %w {epsilon = 1.0e-05 : f32} : (tensor<f32>, tensor<192xf32>) -> tensor<f32>
  return
}

// -----

// One weight a column.
func.func @case(%x: tensor<?x192xf32>, %w: tensor<1x192xf32>) {
  // expected-error @+1 {{'llm.layer_norm' op weight must be a tensor of rank 1, but is 'tensor<1x192xf32>'}}
  %0 = llm.layer_norm %x, %w {epsilon = 1.0e-05 : f32} : (tensor<?x192xf32>, tensor<1x192xf32>) -> tensor<?x192xf32>
  return
}

// -----

// As many as columns.
func.func @case(%x: tensor<?x192xf32>, %w: tensor<191xf32>) {
  // expected-error @+1 {{'llm.layer_norm' op the weight's size is 191, but must be 192, the input's last dimension}}
  %0 = llm.layer_norm %x, %w {epsilon = 1.0e-05 : f32} : (tensor<?x192xf32>, tensor<191xf32>) -> tensor<?x192xf32>
  return
}

// -----

// An epsilon below 0.
func.func @case(%x: tensor<?x192xf32>, %w: tensor<192xf32>) {
  // expected-error @+1 {{'llm.layer_norm' op epsilon must be finite and not negative}}
  %0 = llm.layer_norm %x, %w {epsilon = -1.0e-05 : f32} : (tensor<?x192xf32>, tensor<192xf32>) -> tensor<?x192xf32>
  return
}

// -----

// The same shape.
func.func @case(%x: tensor<?x192xf32>, %w: tensor<192xf32>) {
  // expected-error @+1 {{'llm.layer_norm' op result is 'tensor<?x6x32xf32>', but must have the shape 'tensor<?x192xf32>'}}
  %0 = llm.layer_norm %x, %w {epsilon = 1.0e-05 : f32} : (tensor<?x192xf32>, tensor<192xf32>) -> tensor<?x6x32xf32>
  return
}

// -----

// A bias is a vector.
func.func @case(%x: tensor<?x192xf32>, %w: tensor<192xf32>, %b: tensor<1x192xf32>) {
  // expected-error @+1 {{'llm.layer_norm' op bias must be a tensor of rank 1, but is 'tensor<1x192xf32>'}}
  %0 = llm.layer_norm %x, %w bias %b {epsilon = 1.0e-05 : f32} : (tensor<?x192xf32>, tensor<192xf32>, tensor<1x192xf32>) -> tensor<?x192xf32>
  return
}

// -----

// With a number a column.
func.func @case(%x: tensor<?x192xf32>, %w: tensor<192xf32>, %b: tensor<191xf32>) {
  // expected-error @+1 {{'llm.layer_norm' op the bias's size is 191, but must be 192, the input's last dimension}}
  %0 = llm.layer_norm %x, %w bias %b {epsilon = 1.0e-05 : f32} : (tensor<?x192xf32>, tensor<192xf32>, tensor<191xf32>) -> tensor<?x192xf32>
  return
}

// -----

//===----------------------------------------------------------------------===//
// RoPE
//===----------------------------------------------------------------------===//

// Tokens, heads, dimensions.
func.func @case(%x: tensor<?x192xf32>, %t: tensor<512x2x16xf32>, %p: tensor<?xi32>) {
  // expected-error @+1 {{'llm.rope' op input must be a tensor of rank 3, but is 'tensor<?x192xf32>'}}
  %0 = llm.rope %x, %t, %p : (tensor<?x192xf32>, tensor<512x2x16xf32>, tensor<?xi32>) -> tensor<?x192xf32>
  return
}

// -----

// Positions, cosine or sine, frequencies.
func.func @case(%x: tensor<?x6x32xf32>, %t: tensor<512x32xf32>, %p: tensor<?xi32>) {
  // expected-error @+1 {{'llm.rope' op table must be a tensor of rank 3, but is 'tensor<512x32xf32>'}}
  %0 = llm.rope %x, %t, %p : (tensor<?x6x32xf32>, tensor<512x32xf32>, tensor<?xi32>) -> tensor<?x6x32xf32>
  return
}

// -----

// One position a token.
func.func @case(%x: tensor<?x6x32xf32>, %t: tensor<512x2x16xf32>, %p: tensor<1x?xi32>) {
  // expected-error @+1 {{'llm.rope' op positions must be a tensor of rank 1, but is 'tensor<1x?xi32>'}}
  %0 = llm.rope %x, %t, %p : (tensor<?x6x32xf32>, tensor<512x2x16xf32>, tensor<1x?xi32>) -> tensor<?x6x32xf32>
  return
}

// -----

// Pairs.
func.func @case(%x: tensor<?x6x31xf32>, %t: tensor<512x2x16xf32>, %p: tensor<?xi32>) {
  // expected-error @+1 {{'llm.rope' op table is 'tensor<512x2x16xf32>', but must have the shape [positions, 2, N] with N from 1 to 15, half of head_dim}}
  %0 = llm.rope %x, %t, %p : (tensor<?x6x31xf32>, tensor<512x2x16xf32>, tensor<?xi32>) -> tensor<?x6x31xf32>
  return
}

// -----

// What is rotated is known.
func.func @case(%x: tensor<?x6x32xf32>, %t: tensor<512x2x?xf32>, %p: tensor<?xi32>) {
  // expected-error @+1 {{'llm.rope' op table is 'tensor<512x2x?xf32>', but must have the shape [positions, 2, N] with N from 1 to 16, half of head_dim}}
  %0 = llm.rope %x, %t, %p : (tensor<?x6x32xf32>, tensor<512x2x?xf32>, tensor<?xi32>) -> tensor<?x6x32xf32>
  return
}

// -----

// Something is rotated.
func.func @case(%x: tensor<?x6x32xf32>, %t: tensor<512x2x0xf32>, %p: tensor<?xi32>) {
  // expected-error @+1 {{'llm.rope' op table is 'tensor<512x2x0xf32>', but must have the shape [positions, 2, N] with N from 1 to 16, half of head_dim}}
  %0 = llm.rope %x, %t, %p : (tensor<?x6x32xf32>, tensor<512x2x0xf32>, tensor<?xi32>) -> tensor<?x6x32xf32>
  return
}

// -----

// A size that is known.
func.func @case(%x: tensor<?x6x?xf32>, %t: tensor<512x2x16xf32>, %p: tensor<?xi32>) {
  // expected-error @+1 {{'llm.rope' op head_dim must be static and at least 2, but the input is 'tensor<?x6x?xf32>'}}
  %0 = llm.rope %x, %t, %p : (tensor<?x6x?xf32>, tensor<512x2x16xf32>, tensor<?xi32>) -> tensor<?x6x?xf32>
  return
}

// -----

// At least one pair.
func.func @case(%x: tensor<?x6x0xf32>, %t: tensor<512x2x0xf32>, %p: tensor<?xi32>) {
  // expected-error @+1 {{'llm.rope' op head_dim must be static and at least 2, but the input is 'tensor<?x6x0xf32>'}}
  %0 = llm.rope %x, %t, %p : (tensor<?x6x0xf32>, tensor<512x2x0xf32>, tensor<?xi32>) -> tensor<?x6x0xf32>
  return
}

// -----

// A table for this head_dim.
func.func @case(%x: tensor<?x6x32xf32>, %t: tensor<512x2x32xf32>, %p: tensor<?xi32>) {
  // expected-error @+1 {{'llm.rope' op table is 'tensor<512x2x32xf32>', but must have the shape [positions, 2, N] with N from 1 to 16, half of head_dim}}
  %0 = llm.rope %x, %t, %p : (tensor<?x6x32xf32>, tensor<512x2x32xf32>, tensor<?xi32>) -> tensor<?x6x32xf32>
  return
}

// -----

// A table of two rows.
func.func @case(%x: tensor<?x6x32xf32>, %t: tensor<512x1x16xf32>, %p: tensor<?xi32>) {
  // expected-error @+1 {{'llm.rope' op table is 'tensor<512x1x16xf32>', but must have the shape [positions, 2, N] with N from 1 to 16, half of head_dim}}
  %0 = llm.rope %x, %t, %p : (tensor<?x6x32xf32>, tensor<512x1x16xf32>, tensor<?xi32>) -> tensor<?x6x32xf32>
  return
}

// -----

// A table of f32.
func.func @case(%x: tensor<?x6x32xf32>, %t: tensor<512x2x16xf64>, %p: tensor<?xi32>) {
  // expected-error @+1 {{'llm.rope' op operand #1 must be ranked tensor of 32-bit float values, but got 'tensor<512x2x16xf64>'}}
  %0 = llm.rope %x, %t, %p : (tensor<?x6x32xf32>, tensor<512x2x16xf64>, tensor<?xi32>) -> tensor<?x6x32xf32>
  return
}

// -----

// As many positions as tokens.
func.func @case(%x: tensor<4x6x32xf32>, %t: tensor<512x2x16xf32>, %p: tensor<3xi32>) {
  // expected-error @+1 {{'llm.rope' op the number of positions is 3, but must be 4, the number of tokens of the input}}
  %0 = llm.rope %x, %t, %p : (tensor<4x6x32xf32>, tensor<512x2x16xf32>, tensor<3xi32>) -> tensor<4x6x32xf32>
  return
}

// -----

// The same shape.
func.func @case(%x: tensor<?x6x32xf32>, %t: tensor<512x2x16xf32>, %p: tensor<?xi32>) {
  // expected-error @+1 {{'llm.rope' op result is 'tensor<?x2x32xf32>', but must have the shape 'tensor<?x6x32xf32>'}}
  %0 = llm.rope %x, %t, %p : (tensor<?x6x32xf32>, tensor<512x2x16xf32>, tensor<?xi32>) -> tensor<?x2x32xf32>
  return
}

// -----

//===----------------------------------------------------------------------===//
// Activations
//===----------------------------------------------------------------------===//

// No rank.
func.func @case(%x: tensor<*xf32>) {
  // expected-error @+1 {{'llm.activation' op operand #0 must be ranked tensor of f16, bf16, f32 or f64 values, but got 'tensor<*xf32>'}}
  %0 = llm.activation silu %x : (tensor<*xf32>) -> tensor<*xf32>
  return
}

// -----

// A partner for each element.
func.func @case(%x: tensor<?x512xf32>, %m: tensor<?x256xf32>) {
  // expected-error @+1 {{'llm.activation' op multiplier is 'tensor<?x256xf32>', but must have the input's shape, that of 'tensor<?x512xf32>'}}
  %0 = llm.activation silu %x, %m : (tensor<?x512xf32>, tensor<?x256xf32>) -> tensor<?x512xf32>
  return
}

// -----

// The same shape.
func.func @case(%x: tensor<?x512xf32>) {
  // expected-error @+1 {{'llm.activation' op result is 'tensor<?x256xf32>', but must have the shape 'tensor<?x512xf32>'}}
  %0 = llm.activation silu %x : (tensor<?x512xf32>) -> tensor<?x256xf32>
  return
}

// -----

// A kind that there is not.
func.func @case(%x: tensor<4xf32>) {
  // expected-error @+2 {{custom op 'llm.activation' expected ::llmir::llm::ActivationKind to be one of: silu, gelu, gelu_tanh, relu, quick_gelu, relu2, relu6, leaky_relu, sigmoid, tanh, mish, identity}}
  // expected-error @+1 {{custom op 'llm.activation' failed to parse LLM_ActivationKindAttr parameter 'value' which is to be a `::llmir::llm::ActivationKind`}}
  %0 = llm.activation swish %x : (tensor<4xf32>) -> tensor<4xf32>
  return
}

// -----

//===----------------------------------------------------------------------===//
// Attention
//===----------------------------------------------------------------------===//

// Queries of a batch.
func.func @case(%q: tensor<5x8x64xf32>, %k: tensor<2x9x2x64xf32>, %v: tensor<2x9x2x64xf32>) {
  // expected-error @+1 {{'llm.attention' op query must be a tensor of rank 4, but is 'tensor<5x8x64xf32>'}}
  %0 = llm.attention %q, %k, %v : (tensor<5x8x64xf32>, tensor<2x9x2x64xf32>, tensor<2x9x2x64xf32>) -> tensor<5x8x64xf32>
  return
}

// -----

// Keys of a batch.
func.func @case(%q: tensor<2x5x8x64xf32>, %k: tensor<9x2x64xf32>, %v: tensor<2x9x2x64xf32>) {
  // expected-error @+1 {{'llm.attention' op keys must be a tensor of rank 4, but is 'tensor<9x2x64xf32>'}}
  %0 = llm.attention %q, %k, %v : (tensor<2x5x8x64xf32>, tensor<9x2x64xf32>, tensor<2x9x2x64xf32>) -> tensor<2x5x8x64xf32>
  return
}

// -----

// Values of a batch.
func.func @case(%q: tensor<2x5x8x64xf32>, %k: tensor<2x9x2x64xf32>, %v: tensor<2x9x128xf32>) {
  // expected-error @+1 {{'llm.attention' op values must be a tensor of rank 4, but is 'tensor<2x9x128xf32>'}}
  %0 = llm.attention %q, %k, %v : (tensor<2x5x8x64xf32>, tensor<2x9x2x64xf32>, tensor<2x9x128xf32>) -> tensor<2x5x8x64xf32>
  return
}

// -----

// A value for each key.
func.func @case(%q: tensor<2x5x8x64xf32>, %k: tensor<2x9x2x64xf32>, %v: tensor<2x8x2x64xf32>) {
  // expected-error @+1 {{'llm.attention' op values are 'tensor<2x8x2x64xf32>', but must have the keys' shape, that of 'tensor<2x9x2x64xf32>'}}
  %0 = llm.attention %q, %k, %v : (tensor<2x5x8x64xf32>, tensor<2x9x2x64xf32>, tensor<2x8x2x64xf32>) -> tensor<2x5x8x64xf32>
  return
}

// -----

// The same sequences.
func.func @case(%q: tensor<2x5x8x64xf32>, %k: tensor<3x9x2x64xf32>, %v: tensor<3x9x2x64xf32>) {
  // expected-error @+1 {{'llm.attention' op the keys' number of sequences is 3, but must be 2, the query's}}
  %0 = llm.attention %q, %k, %v : (tensor<2x5x8x64xf32>, tensor<3x9x2x64xf32>, tensor<3x9x2x64xf32>) -> tensor<2x5x8x64xf32>
  return
}

// -----

// The same head_dim.
func.func @case(%q: tensor<2x5x8x64xf32>, %k: tensor<2x9x2x32xf32>, %v: tensor<2x9x2x32xf32>) {
  // expected-error @+1 {{'llm.attention' op the keys' head_dim is 32, but must be 64, the query's}}
  %0 = llm.attention %q, %k, %v : (tensor<2x5x8x64xf32>, tensor<2x9x2x32xf32>, tensor<2x9x2x32xf32>) -> tensor<2x5x8x64xf32>
  return
}

// -----

// Heads that are known.
func.func @case(%q: tensor<2x5x?x64xf32>, %k: tensor<2x9x2x64xf32>, %v: tensor<2x9x2x64xf32>) {
  // expected-error @+1 {{'llm.attention' op the number of heads must be static}}
  %0 = llm.attention %q, %k, %v : (tensor<2x5x?x64xf32>, tensor<2x9x2x64xf32>, tensor<2x9x2x64xf32>) -> tensor<2x5x?x64xf32>
  return
}

// -----

// Query heads share KV heads evenly.
func.func @case(%q: tensor<2x5x8x64xf32>, %k: tensor<2x9x3x64xf32>, %v: tensor<2x9x3x64xf32>) {
  // expected-error @+1 {{'llm.attention' op the number of query heads must be a positive multiple of the KV heads, but there are 8 and 3}}
  %0 = llm.attention %q, %k, %v : (tensor<2x5x8x64xf32>, tensor<2x9x3x64xf32>, tensor<2x9x3x64xf32>) -> tensor<2x5x8x64xf32>
  return
}

// -----

// Shared by how many?
func.func @case(%q: tensor<2x5x8x64xf32>, %k: tensor<2x9x0x64xf32>, %v: tensor<2x9x0x64xf32>) {
  // expected-error @+1 {{'llm.attention' op the number of query heads must be a positive multiple of the KV heads, but there are 8 and 0}}
  %0 = llm.attention %q, %k, %v : (tensor<2x5x8x64xf32>, tensor<2x9x0x64xf32>, tensor<2x9x0x64xf32>) -> tensor<2x5x8x64xf32>
  return
}

// -----

// Shared by whom?
func.func @case(%q: tensor<2x5x0x64xf32>, %k: tensor<2x9x2x64xf32>, %v: tensor<2x9x2x64xf32>) {
  // expected-error @+1 {{'llm.attention' op the number of query heads must be a positive multiple of the KV heads, but there are 0 and 2}}
  %0 = llm.attention %q, %k, %v : (tensor<2x5x0x64xf32>, tensor<2x9x2x64xf32>, tensor<2x9x2x64xf32>) -> tensor<2x5x0x64xf32>
  return
}

// -----

// 1 / sqrt(D) of an unknown D.
func.func @case(%q: tensor<2x5x8x?xf32>, %k: tensor<2x9x2x?xf32>, %v: tensor<2x9x2x?xf32>) {
  // expected-error @+1 {{'llm.attention' op a head_dim that is dynamic or 0 needs an explicit scale}}
  %0 = llm.attention %q, %k, %v : (tensor<2x5x8x?xf32>, tensor<2x9x2x?xf32>, tensor<2x9x2x?xf32>) -> tensor<2x5x8x?xf32>
  return
}

// -----

// 1 / sqrt(0).
func.func @case(%q: tensor<2x5x8x0xf32>, %k: tensor<2x9x2x0xf32>, %v: tensor<2x9x2x0xf32>) {
  // expected-error @+1 {{'llm.attention' op a head_dim that is dynamic or 0 needs an explicit scale}}
  %0 = llm.attention %q, %k, %v : (tensor<2x5x8x0xf32>, tensor<2x9x2x0xf32>, tensor<2x9x2x0xf32>) -> tensor<2x5x8x0xf32>
  return
}

// -----

// A scale is a number: infinity times 0 is none.
func.func @case(%q: tensor<2x5x8x64xf32>, %k: tensor<2x9x2x64xf32>, %v: tensor<2x9x2x64xf32>) {
  // expected-error @+1 {{'llm.attention' op scale must be finite}}
  %0 = llm.attention %q, %k, %v {scale = 0x7F800000 : f32} : (tensor<2x5x8x64xf32>, tensor<2x9x2x64xf32>, tensor<2x9x2x64xf32>) -> tensor<2x5x8x64xf32>
  return
}

// -----

// What scores are held to is positive.
func.func @case(%q: tensor<2x5x8x64xf32>, %k: tensor<2x9x2x64xf32>) {
  // expected-error @+1 {{'llm.attention' op softcap must be positive and finite}}
  %0 = llm.attention %q, %k, %k {softcap = 0.0 : f32} : (tensor<2x5x8x64xf32>, tensor<2x9x2x64xf32>, tensor<2x9x2x64xf32>) -> tensor<2x5x8x64xf32>
  return
}

// -----

// And a number.
func.func @case(%q: tensor<2x5x8x64xf32>, %k: tensor<2x9x2x64xf32>) {
  // expected-error @+1 {{'llm.attention' op softcap must be positive and finite}}
  %0 = llm.attention %q, %k, %k {softcap = 0x7F800000 : f32} : (tensor<2x5x8x64xf32>, tensor<2x9x2x64xf32>, tensor<2x9x2x64xf32>) -> tensor<2x5x8x64xf32>
  return
}

// -----

// A window holds the query's own key at least.
func.func @case(%q: tensor<2x5x8x64xf32>, %k: tensor<2x9x2x64xf32>) {
  // expected-error @+1 {{'llm.attention' op window must be positive, but is 0}}
  %0 = llm.attention %q, %k, %k {causal, window = 0 : i64} : (tensor<2x5x8x64xf32>, tensor<2x9x2x64xf32>, tensor<2x9x2x64xf32>) -> tensor<2x5x8x64xf32>
  return
}

// -----

// A window ends at the query.
func.func @case(%q: tensor<2x5x8x64xf32>, %k: tensor<2x9x2x64xf32>) {
  // expected-error @+1 {{'llm.attention' op a window needs causal attention}}
  %0 = llm.attention %q, %k, %k {window = 4 : i64} : (tensor<2x5x8x64xf32>, tensor<2x9x2x64xf32>, tensor<2x9x2x64xf32>) -> tensor<2x5x8x64xf32>
  return
}

// -----

// Sinks are one a head.
func.func @case(%q: tensor<2x5x8x64xf32>, %k: tensor<2x9x2x64xf32>, %s: tensor<8x1xf32>) {
  // expected-error @+1 {{'llm.attention' op sinks must be a tensor of rank 1, but is 'tensor<8x1xf32>'}}
  %0 = llm.attention %q, %k, %k sinks %s : (tensor<2x5x8x64xf32>, tensor<2x9x2x64xf32>, tensor<2x9x2x64xf32>, tensor<8x1xf32>) -> tensor<2x5x8x64xf32>
  return
}

// -----

// A query head, that is.
func.func @case(%q: tensor<2x5x8x64xf32>, %k: tensor<2x9x2x64xf32>, %s: tensor<2xf32>) {
  // expected-error @+1 {{'llm.attention' op the number of sinks is 2, but must be 8, the number of query heads}}
  %0 = llm.attention %q, %k, %k sinks %s : (tensor<2x5x8x64xf32>, tensor<2x9x2x64xf32>, tensor<2x9x2x64xf32>, tensor<2xf32>) -> tensor<2x5x8x64xf32>
  return
}

// -----

// So are slopes.
func.func @case(%q: tensor<2x5x8x64xf32>, %k: tensor<2x9x2x64xf32>, %s: tensor<f32>) {
  // expected-error @+1 {{'llm.attention' op alibi must be a tensor of rank 1, but is 'tensor<f32>'}}
  %0 = llm.attention %q, %k, %k alibi %s : (tensor<2x5x8x64xf32>, tensor<2x9x2x64xf32>, tensor<2x9x2x64xf32>, tensor<f32>) -> tensor<2x5x8x64xf32>
  return
}

// -----

// Slopes are those of query heads.
func.func @case(%q: tensor<2x5x8x64xf32>, %k: tensor<2x9x2x64xf32>, %s: tensor<2xf32>) {
  // expected-error @+1 {{'llm.attention' op the number of alibi is 2, but must be 8, the number of query heads}}
  %0 = llm.attention %q, %k, %k alibi %s : (tensor<2x5x8x64xf32>, tensor<2x9x2x64xf32>, tensor<2x9x2x64xf32>, tensor<2xf32>) -> tensor<2x5x8x64xf32>
  return
}

// -----

// A mask says all it is about.
func.func @case(%q: tensor<2x5x8x64xf32>, %k: tensor<2x9x2x64xf32>, %m: tensor<5x9xi1>) {
  // expected-error @+1 {{'llm.attention' op mask must be a tensor of rank 4, but is 'tensor<5x9xi1>'}}
  %0 = llm.attention %q, %k, %k mask %m : (tensor<2x5x8x64xf32>, tensor<2x9x2x64xf32>, tensor<2x9x2x64xf32>, tensor<5x9xi1>) -> tensor<2x5x8x64xf32>
  return
}

// -----

// A mask serves one sequence or all.
func.func @case(%q: tensor<2x5x8x64xf32>, %k: tensor<2x9x2x64xf32>, %m: tensor<3x8x5x9xi1>) {
  // expected-error @+1 {{'llm.attention' op mask is 'tensor<3x8x5x9xi1>', but must have the shape 'tensor<2x8x5x9xi1>', with 1 for what serves all sequences or heads}}
  %0 = llm.attention %q, %k, %k mask %m : (tensor<2x5x8x64xf32>, tensor<2x9x2x64xf32>, tensor<2x9x2x64xf32>, tensor<3x8x5x9xi1>) -> tensor<2x5x8x64xf32>
  return
}

// -----

// A mask is about query heads.
func.func @case(%q: tensor<2x5x8x64xf32>, %k: tensor<2x9x2x64xf32>, %m: tensor<2x2x5x9xf32>) {
  // expected-error @+1 {{'llm.attention' op mask is 'tensor<2x2x5x9xf32>', but must have the shape 'tensor<2x8x5x9xf32>', with 1 for what serves all sequences or heads}}
  %0 = llm.attention %q, %k, %k mask %m : (tensor<2x5x8x64xf32>, tensor<2x9x2x64xf32>, tensor<2x9x2x64xf32>, tensor<2x2x5x9xf32>) -> tensor<2x5x8x64xf32>
  return
}

// -----

// A mask has a row for each query.
func.func @case(%q: tensor<2x5x8x64xf32>, %k: tensor<2x9x2x64xf32>, %m: tensor<2x8x1x9xi1>) {
  // expected-error @+1 {{'llm.attention' op mask is 'tensor<2x8x1x9xi1>', but must have the shape 'tensor<2x8x5x9xi1>', with 1 for what serves all sequences or heads}}
  %0 = llm.attention %q, %k, %k mask %m : (tensor<2x5x8x64xf32>, tensor<2x9x2x64xf32>, tensor<2x9x2x64xf32>, tensor<2x8x1x9xi1>) -> tensor<2x5x8x64xf32>
  return
}

// -----

// And a column for each key.
func.func @case(%q: tensor<2x5x8x64xf32>, %k: tensor<2x9x2x64xf32>, %m: tensor<2x8x5x10xi1>) {
  // expected-error @+1 {{'llm.attention' op mask is 'tensor<2x8x5x10xi1>', but must have the shape 'tensor<2x8x5x9xi1>', with 1 for what serves all sequences or heads}}
  %0 = llm.attention %q, %k, %k mask %m : (tensor<2x5x8x64xf32>, tensor<2x9x2x64xf32>, tensor<2x9x2x64xf32>, tensor<2x8x5x10xi1>) -> tensor<2x5x8x64xf32>
  return
}

// -----

// Masks are truths or numbers to add.
func.func @case(%q: tensor<2x5x8x64xf32>, %k: tensor<2x9x2x64xf32>, %m: tensor<2x8x5x9xi8>) {
  // expected-error @+1 {{'llm.attention' op operand #3 must be ranked tensor of 1-bit signless integer or f16, bf16, f32 or f64 values, but got 'tensor<2x8x5x9xi8>'}}
  %0 = llm.attention %q, %k, %k mask %m : (tensor<2x5x8x64xf32>, tensor<2x9x2x64xf32>, tensor<2x9x2x64xf32>, tensor<2x8x5x9xi8>) -> tensor<2x5x8x64xf32>
  return
}

// -----

// A result for each query.
func.func @case(%q: tensor<2x5x8x64xf32>, %k: tensor<2x9x2x64xf32>, %v: tensor<2x9x2x64xf32>) {
  // expected-error @+1 {{'llm.attention' op result is 'tensor<2x9x2x64xf32>', but must have the shape 'tensor<2x5x8x64xf32>'}}
  %0 = llm.attention %q, %k, %v : (tensor<2x5x8x64xf32>, tensor<2x9x2x64xf32>, tensor<2x9x2x64xf32>) -> tensor<2x9x2x64xf32>
  return
}

// -----

//===----------------------------------------------------------------------===//
// Appends
//===----------------------------------------------------------------------===//

// The same cache, changed.
func.func @case(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %k: tensor<?x16x64xf16>, %v: tensor<?x16x64xf16>, %i: tensor<?xi32>) {
  // expected-error @+1 {{'llm.append_kv' op result is '!llm.paged_kv_cache<f16, 12, 16, 64, 16, 2048>', but must be the operand's '!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>'}}
  %0 = llm.append_kv %kv, %k, %v slots %i : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x16x64xf16>, tensor<?x16x64xf16>, tensor<?xi32>) -> !llm.paged_kv_cache<f16, 12, 16, 64, 16, 2048>
  return
}

// -----

// Where to?
func.func @case(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %k: tensor<?x16x64xf16>, %v: tensor<?x16x64xf16>) {
  // expected-error @+1 {{'llm.append_kv' op needs either seq_ids or slots}}
  %0 = llm.append_kv %kv, %k, %v : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x16x64xf16>, tensor<?x16x64xf16>) -> !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>
  return
}

// -----

// Where to, then?
func.func @case(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %k: tensor<2x1x16x64xf16>, %i: tensor<2xi32>) {
  // expected-error @+1 {{'llm.append_kv' op needs either seq_ids or slots}}
  %0, %1 = llm.append_kv %kv, %k, %k, %i slots %i : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<2x1x16x64xf16>, tensor<2x1x16x64xf16>, tensor<2xi32>, tensor<2xi32>) -> (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<2x1xi32>)
  return
}

// -----

// Allocating, it says what it allocated.
func.func @case(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %k: tensor<2x1x16x64xf16>, %v: tensor<2x1x16x64xf16>, %i: tensor<2xi32>) {
  // expected-error @+1 {{'llm.append_kv' op returns block_indices with seq_ids, and only then}}
  %0 = llm.append_kv %kv, %k, %v, %i : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<2x1x16x64xf16>, tensor<2x1x16x64xf16>, tensor<2xi32>) -> !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>
  return
}

// -----

// Not allocating, it has nothing to say.
func.func @case(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %k: tensor<?x16x64xf16>, %v: tensor<?x16x64xf16>, %i: tensor<?xi32>) {
  // expected-error @+1 {{'llm.append_kv' op returns block_indices with seq_ids, and only then}}
  %0, %1 = llm.append_kv %kv, %k, %v slots %i : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x16x64xf16>, tensor<?x16x64xf16>, tensor<?xi32>) -> (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<2x1xi32>)
  return
}

// -----

// By slots, the batch is ragged.
func.func @case(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %k: tensor<2x1x16x64xf16>, %v: tensor<2x1x16x64xf16>, %i: tensor<2xi32>) {
  // expected-error @+1 {{'llm.append_kv' op keys must be a tensor of rank 3, but is 'tensor<2x1x16x64xf16>'}}
  %0 = llm.append_kv %kv, %k, %v slots %i : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<2x1x16x64xf16>, tensor<2x1x16x64xf16>, tensor<2xi32>) -> !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>
  return
}

// -----

// By seq_ids, it is not.
func.func @case(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %k: tensor<2x16x64xf16>, %v: tensor<2x16x64xf16>, %i: tensor<2xi32>) {
  // expected-error @+1 {{'llm.append_kv' op keys must be a tensor of rank 4, but is 'tensor<2x16x64xf16>'}}
  %0, %1 = llm.append_kv %kv, %k, %v, %i : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<2x16x64xf16>, tensor<2x16x64xf16>, tensor<2xi32>) -> (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<2x1xi32>)
  return
}

// -----

// Values as keys.
func.func @case(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %k: tensor<?x16x64xf16>, %v: tensor<16x64xf16>, %i: tensor<?xi32>) {
  // expected-error @+1 {{'llm.append_kv' op values must be a tensor of rank 3, but is 'tensor<16x64xf16>'}}
  %0 = llm.append_kv %kv, %k, %v slots %i : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x16x64xf16>, tensor<16x64xf16>, tensor<?xi32>) -> !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>
  return
}

// -----

// A value for each key.
func.func @case(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %k: tensor<4x16x64xf16>, %v: tensor<5x16x64xf16>, %i: tensor<4xi32>) {
  // expected-error @+1 {{'llm.append_kv' op values are 'tensor<5x16x64xf16>', but must have the keys' shape, that of 'tensor<4x16x64xf16>'}}
  %0 = llm.append_kv %kv, %k, %v slots %i : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<4x16x64xf16>, tensor<5x16x64xf16>, tensor<4xi32>) -> !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>
  return
}

// -----

// The cache's KV heads.
func.func @case(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %k: tensor<?x8x64xf16>, %v: tensor<?x8x64xf16>, %i: tensor<?xi32>) {
  // expected-error @+1 {{'llm.append_kv' op keys are 'tensor<?x8x64xf16>', but the cache has 16 KV heads of 64}}
  %0 = llm.append_kv %kv, %k, %v slots %i : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x8x64xf16>, tensor<?x8x64xf16>, tensor<?xi32>) -> !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>
  return
}

// -----

// The cache's head_dim.
func.func @case(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %k: tensor<?x16x32xf16>, %v: tensor<?x16x32xf16>, %i: tensor<?xi32>) {
  // expected-error @+1 {{'llm.append_kv' op keys are 'tensor<?x16x32xf16>', but the cache has 16 KV heads of 64}}
  %0 = llm.append_kv %kv, %k, %v slots %i : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x16x32xf16>, tensor<?x16x32xf16>, tensor<?xi32>) -> !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>
  return
}

// -----

// The values' too, where keys say less.
func.func @case(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %k: tensor<?x16x64xf16>, %v: tensor<?x?x64xf16>, %i: tensor<?xi32>) {
  // expected-error @+1 {{'llm.append_kv' op values are 'tensor<?x?x64xf16>', but the cache has 16 KV heads of 64}}
  %0 = llm.append_kv %kv, %k, %v slots %i : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x16x64xf16>, tensor<?x?x64xf16>, tensor<?xi32>) -> !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>
  return
}

// -----

// No sequence is longer than max_seq_len, so no append is.
func.func @case(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %k: tensor<2x4097x16x64xf16>, %v: tensor<2x4097x16x64xf16>, %i: tensor<2xi32>) {
  // expected-error @+1 {{'llm.append_kv' op keys have 4097 tokens a sequence, but max_seq_len is 4096}}
  %0, %1 = llm.append_kv %kv, %k, %v, %i : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<2x4097x16x64xf16>, tensor<2x4097x16x64xf16>, tensor<2xi32>) -> (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<2x256xi32>)
  return
}

// -----

// A list of slots.
func.func @case(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %k: tensor<?x16x64xf16>, %v: tensor<?x16x64xf16>, %i: tensor<1x?xi32>) {
  // expected-error @+1 {{'llm.append_kv' op slots must be a tensor of rank 1, but is 'tensor<1x?xi32>'}}
  %0 = llm.append_kv %kv, %k, %v slots %i : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x16x64xf16>, tensor<?x16x64xf16>, tensor<1x?xi32>) -> !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>
  return
}

// -----

// A list of seq_ids.
func.func @case(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %k: tensor<2x1x16x64xf16>, %v: tensor<2x1x16x64xf16>, %i: tensor<1x2xi32>) {
  // expected-error @+1 {{'llm.append_kv' op seq_ids must be a tensor of rank 1, but is 'tensor<1x2xi32>'}}
  %0, %1 = llm.append_kv %kv, %k, %v, %i : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<2x1x16x64xf16>, tensor<2x1x16x64xf16>, tensor<1x2xi32>) -> (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<2x1xi32>)
  return
}

// -----

// A slot for each token.
func.func @case(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %k: tensor<4x16x64xf16>, %v: tensor<4x16x64xf16>, %i: tensor<5xi32>) {
  // expected-error @+1 {{'llm.append_kv' op the number of slots is 5, but must be 4, the keys' number of tokens}}
  %0 = llm.append_kv %kv, %k, %v slots %i : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<4x16x64xf16>, tensor<4x16x64xf16>, tensor<5xi32>) -> !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>
  return
}

// -----

// An id for each sequence.
func.func @case(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %k: tensor<2x1x16x64xf16>, %v: tensor<2x1x16x64xf16>, %i: tensor<3xi32>) {
  // expected-error @+1 {{'llm.append_kv' op the number of seq_ids is 3, but must be 2, the keys' number of sequences}}
  %0, %1 = llm.append_kv %kv, %k, %v, %i : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<2x1x16x64xf16>, tensor<2x1x16x64xf16>, tensor<3xi32>) -> (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<2x1xi32>)
  return
}

// -----

// A row of blocks for each sequence.
func.func @case(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %k: tensor<2x1x16x64xf16>, %v: tensor<2x1x16x64xf16>, %i: tensor<2xi32>) {
  // expected-error @+1 {{'llm.append_kv' op block_indices must be a tensor of rank 2, but is 'tensor<2xi32>'}}
  %0, %1 = llm.append_kv %kv, %k, %v, %i : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<2x1x16x64xf16>, tensor<2x1x16x64xf16>, tensor<2xi32>) -> (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<2xi32>)
  return
}

// -----

// As many as sequences.
func.func @case(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %k: tensor<2x1x16x64xf16>, %v: tensor<2x1x16x64xf16>, %i: tensor<2xi32>) {
  // expected-error @+1 {{'llm.append_kv' op block_indices' number of sequences is 3, but must be 2, the number of seq_ids}}
  %0, %1 = llm.append_kv %kv, %k, %v, %i : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<2x1x16x64xf16>, tensor<2x1x16x64xf16>, tensor<2xi32>) -> (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<3x1xi32>)
  return
}

// -----

// 4096 positions are 256 blocks of 16.
func.func @case(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %k: tensor<2x1x16x64xf16>, %v: tensor<2x1x16x64xf16>, %i: tensor<2xi32>) {
  // expected-error @+1 {{'llm.append_kv' op block_indices have 257 columns, but a sequence has at most 256 blocks}}
  %0, %1 = llm.append_kv %kv, %k, %v, %i : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<2x1x16x64xf16>, tensor<2x1x16x64xf16>, tensor<2xi32>) -> (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<2x257xi32>)
  return
}

// -----

// What is repeated is the same: block_size.
func.func @case(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %k: tensor<?x16x64xf16>, %v: tensor<?x16x64xf16>, %i: tensor<?xi32>) {
  // expected-error @+1 {{'llm.append_kv' op block_size is 32, but the cache's is 16}}
  %0 = llm.append_kv %kv, %k, %v slots %i {block_size = 32 : i32} : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x16x64xf16>, tensor<?x16x64xf16>, tensor<?xi32>) -> !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>
  return
}

// -----

// What is repeated is the same: max_seq_len.
func.func @case(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %k: tensor<?x16x64xf16>, %v: tensor<?x16x64xf16>, %i: tensor<?xi32>) {
  // expected-error @+1 {{'llm.append_kv' op max_seq_len is 2048, but the cache's is 4096}}
  %0 = llm.append_kv %kv, %k, %v slots %i {max_seq_len = 2048 : i32} : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x16x64xf16>, tensor<?x16x64xf16>, tensor<?xi32>) -> !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>
  return
}

// -----

// A layer of the cache.
func.func @case(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %k: tensor<?x16x64xf16>, %v: tensor<?x16x64xf16>, %i: tensor<?xi32>) {
  %l = arith.constant 12 : index
  // expected-error @+1 {{'llm.append_kv' op layer 12 is not one of the 12 layers of the cache}}
  %0 = llm.append_kv %kv, %k, %v slots %i layer %l : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x16x64xf16>, tensor<?x16x64xf16>, tensor<?xi32>, index) -> !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>
  return
}

// -----

// No layer is below 0.
func.func @case(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %k: tensor<?x16x64xf16>, %v: tensor<?x16x64xf16>, %i: tensor<?xi32>) {
  %l = arith.constant -1 : index
  // expected-error @+1 {{'llm.append_kv' op layer -1 is not one of the 12 layers of the cache}}
  %0 = llm.append_kv %kv, %k, %v slots %i layer %l : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x16x64xf16>, tensor<?x16x64xf16>, tensor<?xi32>, index) -> !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>
  return
}

// -----

func.func @rope_append_result(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %q: tensor<?x32x64xf32>, %k: tensor<?x16x64xf32>, %v: tensor<?x16x64xf32>, %t: tensor<64x2x32xf32>, %p: tensor<?xi32>, %s: tensor<?xi32>) {
  // expected-error @+1 {{'llm.rope_append_kv' op result is '!llm.paged_kv_cache<f16, 12, 16, 64, 16, 2048>', but must be the operand's '!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>'}}
  %0, %1 = llm.rope_append_kv %kv, %q, %k, %v, %t, %p slots %s : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x32x64xf32>, tensor<?x16x64xf32>, tensor<?x16x64xf32>, tensor<64x2x32xf32>, tensor<?xi32>, tensor<?xi32>) -> (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 2048>, tensor<?x32x64xf32>)
  return
}

// -----

func.func @rope_append_keys_rank(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %q: tensor<?x32x64xf32>, %k: tensor<16x64xf32>, %v: tensor<?x16x64xf32>, %t: tensor<64x2x32xf32>, %p: tensor<?xi32>, %s: tensor<?xi32>) {
  // expected-error @+1 {{'llm.rope_append_kv' op keys must be a tensor of rank 3, but is 'tensor<16x64xf32>'}}
  %0, %1 = llm.rope_append_kv %kv, %q, %k, %v, %t, %p slots %s : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x32x64xf32>, tensor<16x64xf32>, tensor<?x16x64xf32>, tensor<64x2x32xf32>, tensor<?xi32>, tensor<?xi32>) -> (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x32x64xf32>)
  return
}

// -----

func.func @rope_append_values(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %q: tensor<?x32x64xf32>, %k: tensor<?x16x64xf32>, %v: tensor<?x16x32xf32>, %t: tensor<64x2x32xf32>, %p: tensor<?xi32>, %s: tensor<?xi32>) {
  // expected-error @+1 {{'llm.rope_append_kv' op values are 'tensor<?x16x32xf32>', but must have the keys' shape, that of 'tensor<?x16x64xf32>'}}
  %0, %1 = llm.rope_append_kv %kv, %q, %k, %v, %t, %p slots %s : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x32x64xf32>, tensor<?x16x64xf32>, tensor<?x16x32xf32>, tensor<64x2x32xf32>, tensor<?xi32>, tensor<?xi32>) -> (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x32x64xf32>)
  return
}

// -----

func.func @rope_append_kv_heads(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %q: tensor<?x32x64xf32>, %k: tensor<?x8x64xf32>, %v: tensor<?x8x64xf32>, %t: tensor<64x2x32xf32>, %p: tensor<?xi32>, %s: tensor<?xi32>) {
  // expected-error @+1 {{'llm.rope_append_kv' op keys are 'tensor<?x8x64xf32>', but the cache has 16 KV heads of 64}}
  %0, %1 = llm.rope_append_kv %kv, %q, %k, %v, %t, %p slots %s : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x32x64xf32>, tensor<?x8x64xf32>, tensor<?x8x64xf32>, tensor<64x2x32xf32>, tensor<?xi32>, tensor<?xi32>) -> (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x32x64xf32>)
  return
}

// -----

func.func @rope_append_table(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %q: tensor<?x32x64xf32>, %k: tensor<?x16x64xf32>, %v: tensor<?x16x64xf32>, %t: tensor<64x2x33xf32>, %p: tensor<?xi32>, %s: tensor<?xi32>) {
  // expected-error @+1 {{'llm.rope_append_kv' op table is 'tensor<64x2x33xf32>', but must have the shape [positions, 2, N] with N from 1 to 32, half of head_dim}}
  %0, %1 = llm.rope_append_kv %kv, %q, %k, %v, %t, %p slots %s : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x32x64xf32>, tensor<?x16x64xf32>, tensor<?x16x64xf32>, tensor<64x2x33xf32>, tensor<?xi32>, tensor<?xi32>) -> (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x32x64xf32>)
  return
}

// -----

func.func @rope_append_positions(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %q: tensor<4x32x64xf32>, %k: tensor<4x16x64xf32>, %v: tensor<4x16x64xf32>, %t: tensor<64x2x32xf32>, %p: tensor<5xi32>, %s: tensor<?xi32>) {
  // expected-error @+1 {{'llm.rope_append_kv' op the number of positions is 5, but must be 4, the number of tokens of the keys}}
  %0, %1 = llm.rope_append_kv %kv, %q, %k, %v, %t, %p slots %s : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<4x32x64xf32>, tensor<4x16x64xf32>, tensor<4x16x64xf32>, tensor<64x2x32xf32>, tensor<5xi32>, tensor<?xi32>) -> (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<4x32x64xf32>)
  return
}

// -----

func.func @rope_append_query_tokens(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %q: tensor<5x32x64xf32>, %k: tensor<4x16x64xf32>, %v: tensor<4x16x64xf32>, %t: tensor<64x2x32xf32>, %p: tensor<4xi32>, %s: tensor<?xi32>) {
  // expected-error @+1 {{'llm.rope_append_kv' op the number of positions is 4, but must be 5, the number of tokens of the query}}
  %0, %1 = llm.rope_append_kv %kv, %q, %k, %v, %t, %p slots %s : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<5x32x64xf32>, tensor<4x16x64xf32>, tensor<4x16x64xf32>, tensor<64x2x32xf32>, tensor<4xi32>, tensor<?xi32>) -> (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<5x32x64xf32>)
  return
}

// -----

func.func @rope_append_slots(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %q: tensor<?x32x64xf32>, %k: tensor<4x16x64xf32>, %v: tensor<4x16x64xf32>, %t: tensor<64x2x32xf32>, %p: tensor<?xi32>, %s: tensor<3xi32>) {
  // expected-error @+1 {{'llm.rope_append_kv' op the number of slots is 3, but must be 4, the keys' number of tokens}}
  %0, %1 = llm.rope_append_kv %kv, %q, %k, %v, %t, %p slots %s : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x32x64xf32>, tensor<4x16x64xf32>, tensor<4x16x64xf32>, tensor<64x2x32xf32>, tensor<?xi32>, tensor<3xi32>) -> (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x32x64xf32>)
  return
}

// -----

func.func @rope_append_slots_rank(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %q: tensor<?x32x64xf32>, %k: tensor<?x16x64xf32>, %v: tensor<?x16x64xf32>, %t: tensor<64x2x32xf32>, %p: tensor<?xi32>, %s: tensor<1x?xi32>) {
  // expected-error @+1 {{'llm.rope_append_kv' op slots must be a tensor of rank 1, but is 'tensor<1x?xi32>'}}
  %0, %1 = llm.rope_append_kv %kv, %q, %k, %v, %t, %p slots %s : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x32x64xf32>, tensor<?x16x64xf32>, tensor<?x16x64xf32>, tensor<64x2x32xf32>, tensor<?xi32>, tensor<1x?xi32>) -> (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x32x64xf32>)
  return
}

// -----

func.func @rope_append_query_heads(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %q: tensor<?x24x64xf32>, %k: tensor<?x16x64xf32>, %v: tensor<?x16x64xf32>, %t: tensor<64x2x32xf32>, %p: tensor<?xi32>, %s: tensor<?xi32>) {
  // expected-error @+1 {{'llm.rope_append_kv' op the number of query heads must be a positive multiple of the KV heads, but there are 24 and 16}}
  %0, %1 = llm.rope_append_kv %kv, %q, %k, %v, %t, %p slots %s : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x24x64xf32>, tensor<?x16x64xf32>, tensor<?x16x64xf32>, tensor<64x2x32xf32>, tensor<?xi32>, tensor<?xi32>) -> (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x24x64xf32>)
  return
}

// -----

func.func @rope_append_head_dim(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %q: tensor<?x32x80xf32>, %k: tensor<?x16x64xf32>, %v: tensor<?x16x64xf32>, %t: tensor<64x2x32xf32>, %p: tensor<?xi32>, %s: tensor<?xi32>) {
  // expected-error @+1 {{'llm.rope_append_kv' op the query's head_dim is 80, but must be 64, the cache's}}
  %0, %1 = llm.rope_append_kv %kv, %q, %k, %v, %t, %p slots %s : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x32x80xf32>, tensor<?x16x64xf32>, tensor<?x16x64xf32>, tensor<64x2x32xf32>, tensor<?xi32>, tensor<?xi32>) -> (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x32x80xf32>)
  return
}

// -----

func.func @rope_append_rotated(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %q: tensor<?x32x64xf32>, %k: tensor<?x16x64xf32>, %v: tensor<?x16x64xf32>, %t: tensor<64x2x32xf32>, %p: tensor<?xi32>, %s: tensor<?xi32>) {
  // expected-error @+1 {{'llm.rope_append_kv' op result is 'tensor<?x16x64xf32>', but must have the shape 'tensor<?x32x64xf32>'}}
  %0, %1 = llm.rope_append_kv %kv, %q, %k, %v, %t, %p slots %s : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x32x64xf32>, tensor<?x16x64xf32>, tensor<?x16x64xf32>, tensor<64x2x32xf32>, tensor<?xi32>, tensor<?xi32>) -> (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x16x64xf32>)
  return
}

// -----

func.func @rope_append_layer(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %q: tensor<?x32x64xf32>, %k: tensor<?x16x64xf32>, %v: tensor<?x16x64xf32>, %t: tensor<64x2x32xf32>, %p: tensor<?xi32>, %s: tensor<?xi32>) {
  %l = arith.constant 12 : index
  // expected-error @+1 {{'llm.rope_append_kv' op layer 12 is not one of the 12 layers of the cache}}
  %0, %1 = llm.rope_append_kv %kv, %q, %k, %v, %t, %p slots %s layer %l : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x32x64xf32>, tensor<?x16x64xf32>, tensor<?x16x64xf32>, tensor<64x2x32xf32>, tensor<?xi32>, tensor<?xi32>, index) -> (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x32x64xf32>)
  return
}

// -----

//===----------------------------------------------------------------------===//
// Lookups
//===----------------------------------------------------------------------===//

// A row of blocks for each sequence.
func.func @case(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %b: tensor<2xi32>, %s: tensor<2xi32>) {
  // expected-error @+1 {{'llm.lookup_kv' op block_indices must be a tensor of rank 2, but is 'tensor<2xi32>'}}
  %0, %1 = llm.lookup_kv %kv, %b, %s : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<2xi32>, tensor<2xi32>) -> (tensor<2x128x16x64xf16>, tensor<2x128x16x64xf16>)
  return
}

// -----

// A list of lengths.
func.func @case(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %b: tensor<2x8xi32>, %s: tensor<2x1xi32>) {
  // expected-error @+1 {{'llm.lookup_kv' op seq_lens must be a tensor of rank 1, but is 'tensor<2x1xi32>'}}
  %0, %1 = llm.lookup_kv %kv, %b, %s : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<2x8xi32>, tensor<2x1xi32>) -> (tensor<2x128x16x64xf16>, tensor<2x128x16x64xf16>)
  return
}

// -----

// As many as sequences.
func.func @case(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %b: tensor<2x8xi32>, %s: tensor<3xi32>) {
  // expected-error @+1 {{'llm.lookup_kv' op the number of seq_lens is 3, but must be 2, block_indices' number of sequences}}
  %0, %1 = llm.lookup_kv %kv, %b, %s : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<2x8xi32>, tensor<3xi32>) -> (tensor<2x128x16x64xf16>, tensor<2x128x16x64xf16>)
  return
}

// -----

// Keys of a batch.
func.func @case(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %b: tensor<2x8xi32>, %s: tensor<2xi32>) {
  // expected-error @+1 {{'llm.lookup_kv' op keys must be a tensor of rank 4, but is 'tensor<128x16x64xf16>'}}
  %0, %1 = llm.lookup_kv %kv, %b, %s : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<2x8xi32>, tensor<2xi32>) -> (tensor<128x16x64xf16>, tensor<128x16x64xf16>)
  return
}

// -----

// Values of a batch.
func.func @case(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %b: tensor<2x8xi32>, %s: tensor<2xi32>) {
  // expected-error @+1 {{'llm.lookup_kv' op values must be a tensor of rank 4, but is 'tensor<128x16x64xf16>'}}
  %0, %1 = llm.lookup_kv %kv, %b, %s : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<2x8xi32>, tensor<2xi32>) -> (tensor<2x128x16x64xf16>, tensor<128x16x64xf16>)
  return
}

// -----

// Values of the keys' type.
func.func @case(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %b: tensor<2x8xi32>, %s: tensor<2xi32>) {
  // expected-error @+1 {{'llm.lookup_kv' op values are 'tensor<2x128x16x64xf32>', but must be of the keys' type, 'tensor<2x128x16x64xf16>'}}
  %0, %1 = llm.lookup_kv %kv, %b, %s : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<2x8xi32>, tensor<2xi32>) -> (tensor<2x128x16x64xf16>, tensor<2x128x16x64xf32>)
  return
}

// -----

// The cache's heads.
func.func @case(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %b: tensor<2x8xi32>, %s: tensor<2xi32>) {
  // expected-error @+1 {{'llm.lookup_kv' op keys are 'tensor<2x128x16x32xf16>', but the cache has 16 KV heads of 64}}
  %0, %1 = llm.lookup_kv %kv, %b, %s : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<2x8xi32>, tensor<2xi32>) -> (tensor<2x128x16x32xf16>, tensor<2x128x16x32xf16>)
  return
}

// -----

// 4096 positions are 256 blocks of 16.
func.func @case(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %b: tensor<2x257xi32>, %s: tensor<2xi32>) {
  // expected-error @+1 {{'llm.lookup_kv' op block_indices have 257 columns, but a sequence has at most 256 blocks}}
  %0, %1 = llm.lookup_kv %kv, %b, %s : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<2x257xi32>, tensor<2xi32>) -> (tensor<2x128x16x64xf16>, tensor<2x128x16x64xf16>)
  return
}

// -----

// Of all sequences.
func.func @case(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %b: tensor<2x8xi32>, %s: tensor<2xi32>) {
  // expected-error @+1 {{'llm.lookup_kv' op the keys' number of sequences is 3, but must be 2, block_indices' number of sequences}}
  %0, %1 = llm.lookup_kv %kv, %b, %s : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<2x8xi32>, tensor<2xi32>) -> (tensor<3x128x16x64xf16>, tensor<3x128x16x64xf16>)
  return
}

// -----

// A number of positions that is known.
func.func @case(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %b: tensor<2x8xi32>, %s: tensor<2xi32>) {
  // expected-error @+1 {{'llm.lookup_kv' op the keys' number of positions must be static}}
  %0, %1 = llm.lookup_kv %kv, %b, %s : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<2x8xi32>, tensor<2xi32>) -> (tensor<2x?x16x64xf16>, tensor<2x?x16x64xf16>)
  return
}

// -----

// Positions that blocks are there for.
func.func @case(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %b: tensor<2x8xi32>, %s: tensor<2xi32>) {
  // expected-error @+1 {{'llm.lookup_kv' op keys have 129 positions, but 8 blocks hold only 128}}
  %0, %1 = llm.lookup_kv %kv, %b, %s : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<2x8xi32>, tensor<2xi32>) -> (tensor<2x129x16x64xf16>, tensor<2x129x16x64xf16>)
  return
}

// -----

// A layer of the cache.
func.func @case(%kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %b: tensor<2x8xi32>, %s: tensor<2xi32>) {
  %l = arith.constant 12 : index
  // expected-error @+1 {{'llm.lookup_kv' op layer 12 is not one of the 12 layers of the cache}}
  %0, %1 = llm.lookup_kv %kv, %b, %s layer %l : (!llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<2x8xi32>, tensor<2xi32>, index) -> (tensor<2x128x16x64xf16>, tensor<2x128x16x64xf16>)
  return
}

// -----

//===----------------------------------------------------------------------===//
// Paged attention
//===----------------------------------------------------------------------===//

// A row of blocks for each sequence.
func.func @case(%q: tensor<?x32x64xf32>, %kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %b: tensor<?xi32>, %s: tensor<?xi32>, %r: tensor<?xi32>) {
  // expected-error @+1 {{'llm.paged_attention' op block_indices must be a tensor of rank 2, but is 'tensor<?xi32>'}}
  %0 = llm.paged_attention %q, %kv, %b, %s rows %r : (tensor<?x32x64xf32>, !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?xi32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x32x64xf32>
  return
}

// -----

// A list of lengths.
func.func @case(%q: tensor<?x32x64xf32>, %kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %b: tensor<?x?xi32>, %s: tensor<?x1xi32>, %r: tensor<?xi32>) {
  // expected-error @+1 {{'llm.paged_attention' op seq_lens must be a tensor of rank 1, but is 'tensor<?x1xi32>'}}
  %0 = llm.paged_attention %q, %kv, %b, %s rows %r : (tensor<?x32x64xf32>, !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x?xi32>, tensor<?x1xi32>, tensor<?xi32>) -> tensor<?x32x64xf32>
  return
}

// -----

// As many as sequences.
func.func @case(%q: tensor<?x32x64xf32>, %kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %b: tensor<2x8xi32>, %s: tensor<3xi32>, %r: tensor<?xi32>) {
  // expected-error @+1 {{'llm.paged_attention' op the number of seq_lens is 3, but must be 2, block_indices' number of sequences}}
  %0 = llm.paged_attention %q, %kv, %b, %s rows %r : (tensor<?x32x64xf32>, !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<2x8xi32>, tensor<3xi32>, tensor<?xi32>) -> tensor<?x32x64xf32>
  return
}

// -----

// With rows, the batch is ragged.
func.func @case(%q: tensor<2x1x32x64xf32>, %kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %b: tensor<?x?xi32>, %s: tensor<?xi32>, %r: tensor<?xi32>) {
  // expected-error @+1 {{'llm.paged_attention' op query must be a tensor of rank 3, but is 'tensor<2x1x32x64xf32>'}}
  %0 = llm.paged_attention %q, %kv, %b, %s rows %r : (tensor<2x1x32x64xf32>, !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>) -> tensor<2x1x32x64xf32>
  return
}

// -----

// Without, it is not.
func.func @case(%q: tensor<?x32x64xf32>, %kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %b: tensor<?x?xi32>, %s: tensor<?xi32>) {
  // expected-error @+1 {{'llm.paged_attention' op query must be a tensor of rank 4, but is 'tensor<?x32x64xf32>'}}
  %0 = llm.paged_attention %q, %kv, %b, %s : (tensor<?x32x64xf32>, !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x?xi32>, tensor<?xi32>) -> tensor<?x32x64xf32>
  return
}

// -----

// A list of rows.
func.func @case(%q: tensor<?x32x64xf32>, %kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %b: tensor<?x?xi32>, %s: tensor<?xi32>, %r: tensor<1x?xi32>) {
  // expected-error @+1 {{'llm.paged_attention' op rows must be a tensor of rank 1, but is 'tensor<1x?xi32>'}}
  %0 = llm.paged_attention %q, %kv, %b, %s rows %r : (tensor<?x32x64xf32>, !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x?xi32>, tensor<?xi32>, tensor<1x?xi32>) -> tensor<?x32x64xf32>
  return
}

// -----

// Each sequence's rows end where the next one's begin.
func.func @case(%q: tensor<?x32x64xf32>, %kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %b: tensor<2x8xi32>, %s: tensor<2xi32>, %r: tensor<2xi32>) {
  // expected-error @+1 {{'llm.paged_attention' op the number of rows is 2, but must be 3, one more than the sequences}}
  %0 = llm.paged_attention %q, %kv, %b, %s rows %r : (tensor<?x32x64xf32>, !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<2x8xi32>, tensor<2xi32>, tensor<2xi32>) -> tensor<?x32x64xf32>
  return
}

// -----

// As many queries as sequences.
func.func @case(%q: tensor<3x1x32x64xf32>, %kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %b: tensor<2x8xi32>, %s: tensor<2xi32>) {
  // expected-error @+1 {{'llm.paged_attention' op the query's number of sequences is 3, but must be 2, block_indices' number of sequences}}
  %0 = llm.paged_attention %q, %kv, %b, %s : (tensor<3x1x32x64xf32>, !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<2x8xi32>, tensor<2xi32>) -> tensor<3x1x32x64xf32>
  return
}

// -----

// Heads that are known.
func.func @case(%q: tensor<?x?x64xf32>, %kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %b: tensor<?x?xi32>, %s: tensor<?xi32>, %r: tensor<?xi32>) {
  // expected-error @+1 {{'llm.paged_attention' op the number of heads must be static}}
  %0 = llm.paged_attention %q, %kv, %b, %s rows %r : (tensor<?x?x64xf32>, !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x?x64xf32>
  return
}

// -----

// Query heads share KV heads evenly.
func.func @case(%q: tensor<?x20x64xf32>, %kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %b: tensor<?x?xi32>, %s: tensor<?xi32>, %r: tensor<?xi32>) {
  // expected-error @+1 {{'llm.paged_attention' op the number of query heads must be a positive multiple of the KV heads, but there are 20 and 16}}
  %0 = llm.paged_attention %q, %kv, %b, %s rows %r : (tensor<?x20x64xf32>, !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x20x64xf32>
  return
}

// -----

// At least one query head.
func.func @case(%q: tensor<?x0x64xf32>, %kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %b: tensor<?x?xi32>, %s: tensor<?xi32>, %r: tensor<?xi32>) {
  // expected-error @+1 {{'llm.paged_attention' op the number of query heads must be a positive multiple of the KV heads, but there are 0 and 16}}
  %0 = llm.paged_attention %q, %kv, %b, %s rows %r : (tensor<?x0x64xf32>, !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x0x64xf32>
  return
}

// -----

// The cache's head_dim.
func.func @case(%q: tensor<?x32x32xf32>, %kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %b: tensor<?x?xi32>, %s: tensor<?xi32>, %r: tensor<?xi32>) {
  // expected-error @+1 {{'llm.paged_attention' op query is 'tensor<?x32x32xf32>', but the cache's head_dim is 64}}
  %0 = llm.paged_attention %q, %kv, %b, %s rows %r : (tensor<?x32x32xf32>, !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x32x32xf32>
  return
}

// -----

// A scale is a number.
func.func @case(%q: tensor<?x32x64xf32>, %kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %b: tensor<?x?xi32>, %s: tensor<?xi32>, %r: tensor<?xi32>) {
  // expected-error @+1 {{'llm.paged_attention' op scale must be finite}}
  %0 = llm.paged_attention %q, %kv, %b, %s rows %r {scale = 0x7FC00000 : f32} : (tensor<?x32x64xf32>, !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x32x64xf32>
  return
}

// -----

// What scores are held to is positive.
func.func @case(%q: tensor<?x32x64xf32>, %kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %b: tensor<?x?xi32>, %s: tensor<?xi32>, %r: tensor<?xi32>) {
  // expected-error @+1 {{'llm.paged_attention' op softcap must be positive and finite}}
  %0 = llm.paged_attention %q, %kv, %b, %s rows %r {softcap = -1.0 : f32} : (tensor<?x32x64xf32>, !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x32x64xf32>
  return
}

// -----

// Queries are rounded to bf16 or stay as they are.
func.func @case(%q: tensor<?x32x64xf32>, %kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %b: tensor<?x?xi32>, %s: tensor<?xi32>, %r: tensor<?xi32>) {
  // expected-error @+1 {{'llm.paged_attention' op query_type must be bf16, but is 'f16'}}
  %0 = llm.paged_attention %q, %kv, %b, %s rows %r {query_type = f16} : (tensor<?x32x64xf32>, !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x32x64xf32>
  return
}

// -----

// A window holds the query's own key at least.
func.func @case(%q: tensor<?x32x64xf32>, %kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %b: tensor<?x?xi32>, %s: tensor<?xi32>, %r: tensor<?xi32>) {
  // expected-error @+1 {{'llm.paged_attention' op window must be positive, but is -1}}
  %0 = llm.paged_attention %q, %kv, %b, %s rows %r {window = -1 : i64} : (tensor<?x32x64xf32>, !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x32x64xf32>
  return
}

// -----

// Sinks are those of query heads.
func.func @case(%q: tensor<?x32x64xf32>, %kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %b: tensor<?x?xi32>, %s: tensor<?xi32>, %r: tensor<?xi32>, %x: tensor<16xf32>) {
  // expected-error @+1 {{'llm.paged_attention' op the number of sinks is 16, but must be 32, the number of query heads}}
  %0 = llm.paged_attention %q, %kv, %b, %s rows %r sinks %x : (tensor<?x32x64xf32>, !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>, tensor<16xf32>) -> tensor<?x32x64xf32>
  return
}

// -----

// Slopes are a vector.
func.func @case(%q: tensor<?x32x64xf32>, %kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %b: tensor<?x?xi32>, %s: tensor<?xi32>, %r: tensor<?xi32>, %x: tensor<32x1xf32>) {
  // expected-error @+1 {{'llm.paged_attention' op alibi must be a tensor of rank 1, but is 'tensor<32x1xf32>'}}
  %0 = llm.paged_attention %q, %kv, %b, %s rows %r alibi %x : (tensor<?x32x64xf32>, !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>, tensor<32x1xf32>) -> tensor<?x32x64xf32>
  return
}

// -----

// What is repeated is the same: num_heads.
func.func @case(%q: tensor<?x32x64xf32>, %kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %b: tensor<?x?xi32>, %s: tensor<?xi32>, %r: tensor<?xi32>) {
  // expected-error @+1 {{'llm.paged_attention' op num_heads is 16, but the query has 32 heads}}
  %0 = llm.paged_attention %q, %kv, %b, %s rows %r {num_heads = 16 : i32} : (tensor<?x32x64xf32>, !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x32x64xf32>
  return
}

// -----

// What is repeated is the same: head_dim.
func.func @case(%q: tensor<?x32x64xf32>, %kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %b: tensor<?x?xi32>, %s: tensor<?xi32>, %r: tensor<?xi32>) {
  // expected-error @+1 {{'llm.paged_attention' op head_dim is 32, but the query's is 64}}
  %0 = llm.paged_attention %q, %kv, %b, %s rows %r {head_dim = 32 : i32} : (tensor<?x32x64xf32>, !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x32x64xf32>
  return
}

// -----

// 4096 positions are 256 blocks of 16.
func.func @case(%q: tensor<?x32x64xf32>, %kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %b: tensor<?x257xi32>, %s: tensor<?xi32>, %r: tensor<?xi32>) {
  // expected-error @+1 {{'llm.paged_attention' op block_indices have 257 columns, but a sequence has at most 256 blocks}}
  %0 = llm.paged_attention %q, %kv, %b, %s rows %r : (tensor<?x32x64xf32>, !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x257xi32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x32x64xf32>
  return
}

// -----

// A result for each query.
func.func @case(%q: tensor<?x32x64xf32>, %kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %b: tensor<?x?xi32>, %s: tensor<?xi32>, %r: tensor<?xi32>) {
  // expected-error @+1 {{'llm.paged_attention' op result is 'tensor<?x2048xf32>', but must have the shape 'tensor<?x32x64xf32>'}}
  %0 = llm.paged_attention %q, %kv, %b, %s rows %r : (tensor<?x32x64xf32>, !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x2048xf32>
  return
}

// -----

// A layer of the cache.
func.func @case(%q: tensor<?x32x64xf32>, %kv: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, %b: tensor<?x?xi32>, %s: tensor<?xi32>, %r: tensor<?xi32>) {
  %l = arith.constant 12 : index
  // expected-error @+1 {{'llm.paged_attention' op layer 12 is not one of the 12 layers of the cache}}
  %0 = llm.paged_attention %q, %kv, %b, %s rows %r layer %l : (tensor<?x32x64xf32>, !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>, index) -> tensor<?x32x64xf32>
  return
}

// -----

//===----------------------------------------------------------------------===//
// Kernel calls
//===----------------------------------------------------------------------===//

// A kernel is a function of C.
func.func @case() {
  // expected-error @+1 {{'llm.call_kernel' op kernel must be named by an identifier, but is "k.v2"}}
  llm.call_kernel k.v2 ins()
  return
}

// -----

// It starts with a letter.
func.func @case() {
  // expected-error @+1 {{'llm.call_kernel' op kernel must be named by an identifier, but is "2k"}}
  "llm.call_kernel"() <{kernel = "2k", operandSegmentSizes = array<i32: 0, 0>}> : () -> ()
  return
}

// -----

// It has one.
func.func @case() {
  // expected-error @+1 {{'llm.call_kernel' op kernel must be named by an identifier, but is ""}}
  "llm.call_kernel"() <{kernel = "", operandSegmentSizes = array<i32: 0, 0>}> : () -> ()
  return
}

// -----

// A result is its output, written.
func.func @case(%o: tensor<4xf32>) {
  // expected-error @+1 {{'llm.call_kernel' op result is 'tensor<5xf32>', but must be of its output's type, 'tensor<4xf32>'}}
  %0 = llm.call_kernel k ins() outs(%o : tensor<4xf32>) -> tensor<5xf32>
  return
}

// -----

// A result for each output that is a tensor.
func.func @case(%o: tensor<4xf32>) {
  // expected-error @+1 {{'llm.call_kernel' op has 0 results, but must have 1: one for each output that is a tensor}}
  llm.call_kernel k ins() outs(%o : tensor<4xf32>)
  return
}

// -----

// None for others.
func.func @case(%o: memref<4xf32>) {
  // expected-error @+1 {{'llm.call_kernel' op result is 'tensor<4xf32>', but must be of its output's type, 'memref<4xf32>'}}
  %0 = llm.call_kernel k ins() outs(%o : memref<4xf32>) -> tensor<4xf32>
  return
}

// -----

// Outputs are of known rank.
func.func @case(%o: tensor<*xf32>) {
  // expected-error @+1 {{'llm.call_kernel' op expected the number of tensor results (0) to be equal to the number of output tensors (1)}}
  llm.call_kernel k ins() outs(%o : tensor<*xf32>)
  return
}

// -----

// A table that no machine holds.
func.func @rope_table_size() -> tensor<281474976710656x2x16xf32> {
  // expected-error @+1 {{'llm.rope_table' op table is too large: 'tensor<281474976710656x2x16xf32>'}}
  %0 = llm.rope_table {theta = 1.0e+04 : f64} : tensor<281474976710656x2x16xf32>
  return %0 : tensor<281474976710656x2x16xf32>
}

// -----

// Frequencies, or what they are made from.
func.func @case(%f: tensor<16xf32>) {
  // expected-error @+1 {{'llm.rope_table' op needs either theta or frequencies}}
  %0 = llm.rope_table frequencies %f {theta = 1.0e+04 : f64} : (tensor<16xf32>) -> tensor<512x2x16xf32>
  return
}

// -----

// One frequency for each pair.
func.func @case(%f: tensor<8xf32>) {
  // expected-error @+1 {{'llm.rope_table' op frequencies are 'tensor<8xf32>', but the table has 16}}
  %0 = llm.rope_table frequencies %f : (tensor<8xf32>) -> tensor<512x2x16xf32>
  return
}

// -----

// A length where the type has none.
func.func @case(%f: tensor<16xf32>, %n: index) {
  // expected-error @+1 {{'llm.rope_table' op a table needs a length where its number of positions is dynamic, and only there, but is 'tensor<512x2x16xf32>'}}
  %0 = llm.rope_table frequencies %f length %n : (tensor<16xf32>, index) -> tensor<512x2x16xf32>
  return
}

// -----

// Given frequencies are what they are.
func.func @case(%f: tensor<16xf32>) {
  // expected-error @+1 {{'llm.rope_table' op frequencies that are given are scaled already}}
  %0 = llm.rope_table frequencies %f {scaling = #llm.rope_scaling<linear, factor = 4.0>} : (tensor<16xf32>) -> tensor<512x2x16xf32>
  return
}

// -----

// A factor that multiplies.
func.func @case(%f: tensor<16xf32>) {
  // expected-error @+1 {{'llm.rope_table' op attention_factor must be positive and finite}}
  %0 = llm.rope_table frequencies %f {attention_factor = 0.0 : f64} : (tensor<16xf32>) -> tensor<512x2x16xf32>
  return
}

// -----

// A scaling has a factor of its own.
func.func @case() {
  // expected-error @+1 {{'llm.rope_table' op attention_factor needs frequencies; scaling has its own}}
  %0 = llm.rope_table {attention_factor = 1.5 : f64, theta = 1.0e+04 : f64} : tensor<512x2x16xf32>
  return
}
