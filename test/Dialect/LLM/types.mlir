// RUN: llmir-opt %s | llmir-opt | FileCheck %s

// Round trip of the dialect's types and attributes by themselves.

// Floats and small integers can be elements; alone and nested in other types.
// CHECK-LABEL: func private @cache_types
// CHECK-SAME: !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>
// CHECK-SAME: !llm.paged_kv_cache<bf16, 1, 1, 1, 1, 1>
// CHECK-SAME: !llm.paged_kv_cache<i8, 12, 16, 64, 16, 4096>
// CHECK-SAME: !llm.paged_kv_cache<i4, 1, 1, 1, 1, 1>
// CHECK-SAME: (!llm.paged_kv_cache<f32, 2, 2, 32, 256, 131072>) -> ()
func.func private @cache_types(
  !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>,
  !llm.paged_kv_cache<bf16, 1, 1, 1, 1, 1>,
  !llm.paged_kv_cache<i8, 12, 16, 64, 16, 4096>,
  !llm.paged_kv_cache<i4, 1, 1, 1, 1, 1>,
  (!llm.paged_kv_cache<f32, 2, 2, 32, 256, 131072>) -> ())

// The examples of LLMAttributes.td; the order of members, which is free; and
// every member that has a default.
// CHECK-LABEL: func private @rope_scalings
// CHECK-SAME: a = #llm.rope_scaling<linear, factor = 4.000000e+00 : f64>
// CHECK-SAME: b = #llm.rope_scaling<dynamic, factor = 2.000000e+00 : f64, original_max_position = 4096>
// CHECK-SAME: c = #llm.rope_scaling<llama3, factor = 8.000000e+00 : f64, low_freq_factor = 1.000000e+00 : f64, high_freq_factor = 4.000000e+00 : f64, original_max_position = 8192>
// CHECK-SAME: d = #llm.rope_scaling<yarn, factor = 4.000000e+00 : f64, original_max_position = 32768>
// CHECK-SAME: e = #llm.rope_scaling<longrope, factor = 3.200000e+01 : f64, original_max_position = 4096, short_factor = [1.000000e+00, 1.250000e+00], long_factor = [1.500000e+00, 2.400000e+01]>
// CHECK-SAME: f = #llm.rope_scaling<llama3, factor = 8.000000e+00 : f64, low_freq_factor = 1.000000e+00 : f64, high_freq_factor = 4.000000e+00 : f64, original_max_position = 8192>
// CHECK-SAME: g = #llm.rope_scaling<yarn, factor = 4.000000e+00 : f64, original_max_position = 32768, beta_fast = 1.600000e+01 : f64, beta_slow = 2.000000e+00 : f64, truncate = false, mscale = 7.070000e-01 : f64, mscale_all_dim = 1.000000e+00 : f64, attention_factor = 1.250000e+00 : f64>
func.func private @rope_scalings() attributes {
  a = #llm.rope_scaling<linear, factor = 4.0>,
  b = #llm.rope_scaling<dynamic, factor = 2.0, original_max_position = 4096>,
  c = #llm.rope_scaling<llama3, factor = 8.0, low_freq_factor = 1.0,
                        high_freq_factor = 4.0, original_max_position = 8192>,
  d = #llm.rope_scaling<yarn, factor = 4.0, original_max_position = 32768>,
  e = #llm.rope_scaling<longrope, factor = 32.0, original_max_position = 4096,
                        short_factor = [1.0, 1.25],
                        long_factor = [1.5, 24.0]>,
  f = #llm.rope_scaling<llama3, original_max_position = 8192, factor = 8.0,
                        high_freq_factor = 4.0, low_freq_factor = 1.0>,
  g = #llm.rope_scaling<yarn, attention_factor = 1.25, mscale = 0.707, truncate = false,
                        mscale_all_dim = 1.0, beta_slow = 2.0, beta_fast = 16.0,
                        original_max_position = 32768, factor = 4.0>
}

// CHECK-LABEL: func private @activation_kinds
// CHECK-SAME: #llm<activation_kind silu>
func.func private @activation_kinds() attributes {k = #llm<activation_kind silu>}

// CHECK-LABEL: func private @router_scorings
// CHECK-SAME: #llm<router_scoring sigmoid>
func.func private @router_scorings() attributes {k = #llm<router_scoring sigmoid>}
