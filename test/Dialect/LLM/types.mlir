// RUN: llmir-opt %s | llmir-opt | FileCheck %s

// Round trip of the dialect's types and attributes by themselves.

// Every float type can be an element's; alone and nested in other types.
// CHECK-LABEL: func private @cache_types
// CHECK-SAME: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>
// CHECK-SAME: !llm.paged_kv_cache<bf16, 1, 1, 1, 1, 1>
// CHECK-SAME: (!llm.paged_kv_cache<f32, 2, 2, 32, 256, 131072>) -> ()
func.func private @cache_types(
  !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>,
  !llm.paged_kv_cache<bf16, 1, 1, 1, 1, 1>,
  (!llm.paged_kv_cache<f32, 2, 2, 32, 256, 131072>) -> ())

// The examples of LLMAttributes.td, and the order of members that is free.
// CHECK-LABEL: func private @rope_scalings
// CHECK-SAME: a = #llm.rope_scaling<linear, factor = 4.000000e+00 : f64>
// CHECK-SAME: b = #llm.rope_scaling<llama3, factor = 8.000000e+00 : f64, low_freq_factor = 1.000000e+00 : f64, high_freq_factor = 4.000000e+00 : f64, original_max_position = 8192>
// CHECK-SAME: c = #llm.rope_scaling<llama3, factor = 8.000000e+00 : f64, low_freq_factor = 1.000000e+00 : f64, high_freq_factor = 4.000000e+00 : f64, original_max_position = 8192>
func.func private @rope_scalings() attributes {
  a = #llm.rope_scaling<linear, factor = 4.0>,
  b = #llm.rope_scaling<llama3, factor = 8.0, low_freq_factor = 1.0,
                        high_freq_factor = 4.0, original_max_position = 8192>,
  c = #llm.rope_scaling<llama3, original_max_position = 8192, factor = 8.0,
                        high_freq_factor = 4.0, low_freq_factor = 1.0>
}

// CHECK-LABEL: func private @activation_kinds
// CHECK-SAME: #llm<activation_kind silu>
func.func private @activation_kinds() attributes {k = #llm<activation_kind silu>}
