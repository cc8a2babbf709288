// RUN: llmir-opt %s -convert-llm-to-kernels -split-input-file -verify-diagnostics | FileCheck %s

// A packed product writes to a new tensor, in f32 as its result is.
// CHECK-LABEL: func @linear
// CHECK-SAME: (%[[X:.*]]: tensor<?x192xbf16>, %[[W:.*]]: tensor<2x96x32x2xbf16>)
// CHECK: %[[T:.*]] = tensor.dim %[[X]]
// CHECK: %[[OUT:.*]] = tensor.empty(%[[T]]) : tensor<?x64xf32>
// CHECK: %[[Y:.*]] = llm.call_kernel linear ins(%[[X]], %[[W]] : tensor<?x192xbf16>, tensor<2x96x32x2xbf16>) outs(%[[OUT]] : tensor<?x64xf32>) -> tensor<?x64xf32>
// CHECK: return %[[Y]]
func.func @linear(%x: tensor<?x192xbf16>, %w: tensor<2x96x32x2xbf16>) -> tensor<?x64xf32> {
  %0 = llm.linear %x, %w : (tensor<?x192xbf16>, tensor<2x96x32x2xbf16>) -> tensor<?x64xf32>
  return %0 : tensor<?x64xf32>
}

// -----

// The kernel rounds to the weight's type itself.
// CHECK-LABEL: func @linear_rounded
// CHECK: llm.call_kernel linear ins({{.*}}) outs(%{{.*}} : tensor<?x64xbf16>) -> tensor<?x64xbf16>
// CHECK-NOT: arith.truncf
func.func @linear_rounded(%x: tensor<?x192xbf16>, %w: tensor<2x96x32x2xbf16>) -> tensor<?x64xbf16> {
  %0 = llm.linear %x, %w : (tensor<?x192xbf16>, tensor<2x96x32x2xbf16>) -> tensor<?x64xbf16>
  return %0 : tensor<?x64xbf16>
}

// -----

// What surrounds a product goes along. Gated panels are panels: what alternates
// shows in a dimension that the kernel does not know.
// CHECK-LABEL: func @linear_surrounded
// CHECK-SAME: (%[[X:.*]]: tensor<?x64xf32>, %[[W:.*]]: tensor<4x2x32x32x2xbf16>, %[[N:.*]]: tensor<64xf64>, %[[B:.*]]: tensor<256xf16>)
// CHECK: %[[PANELS:.*]] = tensor.collapse_shape %[[W]] {{\[\[}}0, 1], [2], [3], [4]] : tensor<4x2x32x32x2xbf16> into tensor<8x32x32x2xbf16>
// CHECK: %[[NORM:.*]] = arith.truncf %[[N]] : tensor<64xf64> to tensor<64xf32>
// CHECK: llm.call_kernel linear ins(%[[X]], %[[PANELS]], %[[NORM]], %[[B]] : {{.*}} {activation = #llm<activation_kind gelu>, epsilon = 9.99999974E-6 : f32, extras = ["norm", "bias"], gated} -> tensor<?x128xbf16>
func.func @linear_surrounded(%x: tensor<?x64xf32>, %w: tensor<4x2x32x32x2xbf16>, %n: tensor<64xf64>, %b: tensor<256xf16>) -> tensor<?x128xbf16> {
  %0 = llm.linear %x, %w norm %n bias %b activation gelu gated {epsilon = 1.0e-05 : f32} : (tensor<?x64xf32>, tensor<4x2x32x32x2xbf16>, tensor<64xf64>, tensor<256xf16>) -> tensor<?x128xbf16>
  return %0 : tensor<?x128xbf16>
}

// -----

// An activation that no kernel has stays with its product.
// CHECK-LABEL: func @linear_mish
// CHECK-NEXT: llm.linear
func.func @linear_mish(%x: tensor<?x192xbf16>, %w: tensor<2x96x32x2xbf16>) -> tensor<?x64xf32> {
  %0 = llm.linear %x, %w activation mish : (tensor<?x192xbf16>, tensor<2x96x32x2xbf16>) -> tensor<?x64xf32>
  return %0 : tensor<?x64xf32>
}

// -----

// To any type that it writes, whatever the weight's is; to others, it is
// converted after.
// CHECK-LABEL: func @linear_to_f16
// CHECK: llm.call_kernel linear ins({{.*}}) outs(%{{.*}} : tensor<?x64xf16>) -> tensor<?x64xf16>
// CHECK-NEXT: return
func.func @linear_to_f16(%x: tensor<?x192xbf16>, %w: tensor<2x96x32x2xbf16>) -> tensor<?x64xf16> {
  %0 = llm.linear %x, %w : (tensor<?x192xbf16>, tensor<2x96x32x2xbf16>) -> tensor<?x64xf16>
  return %0 : tensor<?x64xf16>
}
// CHECK-LABEL: func @linear_to_f64
// CHECK: %[[Y:.*]] = llm.call_kernel linear ins({{.*}}) outs(%{{.*}} : tensor<?x64xf32>) -> tensor<?x64xf32>
// CHECK-NEXT: arith.extf %[[Y]] : tensor<?x64xf32> to tensor<?x64xf64>
func.func @linear_to_f64(%x: tensor<?x192xf16>, %w: tensor<2x192x32xf16>) -> tensor<?x64xf64> {
  %0 = llm.linear %x, %w : (tensor<?x192xf16>, tensor<2x192x32xf16>) -> tensor<?x64xf64>
  return %0 : tensor<?x64xf64>
}

// -----

// A residual is what the kernel adds to.
// CHECK-LABEL: func @linear_residual
// CHECK-SAME: %[[H:[^ ]*]]: tensor<?x64xf32>)
// CHECK-NEXT: llm.call_kernel linear accumulate ins({{.*}}) outs(%[[H]] : tensor<?x64xf32>) -> tensor<?x64xf32>
// CHECK-NEXT: return
func.func @linear_residual(%x: tensor<?x192xbf16>, %w: tensor<2x96x32x2xbf16>, %h: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %0 = llm.linear %x, %w residual %h : (tensor<?x192xbf16>, tensor<2x96x32x2xbf16>, tensor<?x64xf32>) -> tensor<?x64xf32>
  return %0 : tensor<?x64xf32>
}

// -----

// Sums are in f32: what is added to is widened, and the sum is rounded once.
// CHECK-LABEL: func @linear_residual_bf16
// CHECK-SAME: %[[H:[^ ]*]]: tensor<?x64xbf16>)
// CHECK-NEXT: %[[WIDE:.*]] = arith.extf %[[H]] : tensor<?x64xbf16> to tensor<?x64xf32>
// CHECK-NEXT: %[[Y:.*]] = llm.call_kernel linear accumulate ins({{.*}}) outs(%[[WIDE]] : tensor<?x64xf32>)
// CHECK-NEXT: arith.truncf %[[Y]] : tensor<?x64xf32> to tensor<?x64xbf16>
func.func @linear_residual_bf16(%x: tensor<?x192xbf16>, %w: tensor<2x96x32x2xbf16>, %h: tensor<?x64xbf16>) -> tensor<?x64xbf16> {
  %0 = llm.linear %x, %w residual %h : (tensor<?x192xbf16>, tensor<2x96x32x2xbf16>, tensor<?x64xbf16>) -> tensor<?x64xbf16>
  return %0 : tensor<?x64xbf16>
}

// -----

// A bias is an input of the kernel's epilogue, in its own type.
// CHECK-LABEL: func @linear_bias
// CHECK-SAME: %[[X:[^ ]*]]: tensor<?x192xf16>, %[[W:[^ ]*]]: tensor<2x192x32xf16>, %[[B:[^ ]*]]: tensor<64xbf16>)
// CHECK: %[[EMPTY:.*]] = tensor.empty(%{{.*}}) : tensor<?x64xf16>
// CHECK-NEXT: llm.call_kernel linear ins(%[[X]], %[[W]], %[[B]] : {{.*}}) outs(%[[EMPTY]] : tensor<?x64xf16>) {extras = ["bias"]} -> tensor<?x64xf16>
// CHECK-NEXT: return
func.func @linear_bias(%x: tensor<?x192xf16>, %w: tensor<2x192x32xf16>, %b: tensor<64xbf16>) -> tensor<?x64xf16> {
  %0 = llm.linear %x, %w bias %b : (tensor<?x192xf16>, tensor<2x192x32xf16>, tensor<64xbf16>) -> tensor<?x64xf16>
  return %0 : tensor<?x64xf16>
}

// -----

// With a residual, all of it is added in one call.
// CHECK-LABEL: func @linear_both
// CHECK-SAME: %[[B:[^ ]*]]: tensor<64xf64>, %[[H:[^ ]*]]: tensor<?x64xf32>)
// CHECK-NEXT: %[[BIAS:.*]] = arith.truncf %[[B]] : tensor<64xf64> to tensor<64xf32>
// CHECK-NEXT: llm.call_kernel linear accumulate ins(%{{.*}}, %{{.*}}, %[[BIAS]] : {{.*}}) outs(%[[H]] : tensor<?x64xf32>) {extras = ["bias"]}
// CHECK-NEXT: return
func.func @linear_both(%x: tensor<?x192xf32>, %w: tensor<2x192x32xf32>, %b: tensor<64xf64>, %h: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %0 = llm.linear %x, %w bias %b residual %h : (tensor<?x192xf32>, tensor<2x192x32xf32>, tensor<64xf64>, tensor<?x64xf32>) -> tensor<?x64xf32>
  return %0 : tensor<?x64xf32>
}

// -----

!kv = !llm.paged_kv_cache<f16, 2, 2, 32, 16, 512>

// What changes the scores is passed on: numbers as attributes, sinks and slopes
// as inputs in f32. The kernel rounds to f16 itself.
// CHECK-LABEL: func @attention_variants
// CHECK-SAME: %[[SINKS:[^ ]*]]: tensor<6xbf16>, %[[SLOPES:[^ ]*]]: tensor<6xf32>
// CHECK: %[[WIDE:.*]] = arith.extf %[[SINKS]] : tensor<6xbf16> to tensor<6xf32>
// CHECK: llm.call_kernel paged_attention ins({{.*}}, %[[WIDE]], %[[SLOPES]] : {{.*}}) outs(%{{.*}} : tensor<?x6x32xf16>)
// CHECK-SAME: {extras = ["sinks", "alibi"], scale = 1.250000e-01 : f32, softcap = 3.000000e+01 : f32, window = 128 : i64} -> tensor<?x6x32xf16>
// CHECK: llm.call_kernel paged_attention ins({{.*}}, %[[SLOPES]] : {{.*}}) {{.*}}extras = ["alibi"], query_type = bf16, scale = 1.250000e-01 : f32}
func.func @attention_variants(%kv: !kv, %q: tensor<?x6x32xf32>, %b: tensor<?x?xi32>, %lens: tensor<?xi32>, %rows: tensor<?xi32>,
                              %sinks: tensor<6xbf16>, %slopes: tensor<6xf32>) -> (tensor<?x6x32xf16>, tensor<?x6x32xf32>) {
  %0 = llm.paged_attention %q, %kv, %b, %lens rows %rows sinks %sinks alibi %slopes
         {scale = 0.125 : f32, softcap = 30.0 : f32, window = 128 : i64}
    : (tensor<?x6x32xf32>, !kv, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>, tensor<6xbf16>, tensor<6xf32>) -> tensor<?x6x32xf16>
  %1 = llm.paged_attention %q, %kv, %b, %lens rows %rows alibi %slopes {query_type = bf16, scale = 0.125 : f32}
    : (tensor<?x6x32xf32>, !kv, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>, tensor<6xf32>) -> tensor<?x6x32xf32>
  return %0, %1 : tensor<?x6x32xf16>, tensor<?x6x32xf32>
}

// -----

// Stays: the weight is not packed, or not of the input's type.
// CHECK-LABEL: func @linear_generated
// CHECK-NEXT: llm.linear
// CHECK-NEXT: llm.linear
// CHECK-NEXT: return
func.func @linear_generated(%x: tensor<?x192xf32>, %v: tensor<64x192xf32>, %w: tensor<2x96x32x2xbf16>) -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  %0 = llm.linear %x, %v : (tensor<?x192xf32>, tensor<64x192xf32>) -> tensor<?x64xf32>
  %1 = llm.linear %x, %w : (tensor<?x192xf32>, tensor<2x96x32x2xbf16>) -> tensor<?x64xf32>
  return %0, %1 : tensor<?x64xf32>, tensor<?x64xf32>
}

// -----

!kv = !llm.paged_kv_cache<bf16, 2, 2, 32, 16, 512>

// Cache results are the caches that came in, through calls; f32 is passed on as
// it is, since kernels round it; the default scale is 1 / sqrt(32).
// CHECK-LABEL: func @step
// CHECK-SAME: (%[[KV:.*]]: !llm.paged_kv_cache<bf16, 2, 2, 32, 16, 512>, {{.*}}) -> tensor<?x6x32xf32> {
// CHECK-DAG: %[[C0:.*]] = arith.constant 0 : index
// CHECK-DAG: %[[C1:.*]] = arith.constant 1 : index
// CHECK: call @layer(%[[KV]], %[[C0]], {{.*}}) : ({{.*}}) -> ()
// CHECK: %[[O:.*]] = call @layer_with_result(%[[KV]], %[[C1]], {{.*}}) : ({{.*}}) -> tensor<?x6x32xf32>
// CHECK: return %[[O]] : tensor<?x6x32xf32>
func.func @step(%kv: !kv, %k: tensor<?x2x32xf32>, %slots: tensor<?xi32>, %q: tensor<?x6x32xf32>,
                %b: tensor<?x?xi32>, %lens: tensor<?xi32>, %rows: tensor<?xi32>) -> (!kv, tensor<?x6x32xf32>) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %0 = call @layer(%kv, %c0, %k, %slots) : (!kv, index, tensor<?x2x32xf32>, tensor<?xi32>) -> !kv
  %1, %o = call @layer_with_result(%0, %c1, %k, %slots, %q, %b, %lens, %rows)
    : (!kv, index, tensor<?x2x32xf32>, tensor<?xi32>, tensor<?x6x32xf32>, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>)
    -> (!kv, tensor<?x6x32xf32>)
  return %1, %o : !kv, tensor<?x6x32xf32>
}

// CHECK: func private @layer(%[[KV:.*]]: !llm.paged_kv_cache<{{.*}}>, %[[L:.*]]: index, %[[K:.*]]: tensor<?x2x32xf32>, %[[S:.*]]: tensor<?xi32>) {
// CHECK-NEXT: llm.call_kernel append_kv ins(%[[KV]], %[[L]], %[[K]], %[[K]], %[[S]] : !llm.paged_kv_cache<bf16, 2, 2, 32, 16, 512>, index, tensor<?x2x32xf32>, tensor<?x2x32xf32>, tensor<?xi32>)
// CHECK-NEXT: return
func.func private @layer(%kv: !kv, %layer: index, %k: tensor<?x2x32xf32>, %slots: tensor<?xi32>) -> !kv {
  %0 = llm.append_kv %kv, %k, %k slots %slots layer %layer : (!kv, tensor<?x2x32xf32>, tensor<?x2x32xf32>, tensor<?xi32>, index) -> !kv
  return %0 : !kv
}

// CHECK: func private @layer_with_result(%[[KV:.*]]: !llm.paged_kv_cache<{{.*}}>, %[[L:.*]]: index, %{{.*}}, %{{.*}}, %[[Q:.*]]: tensor<?x6x32xf32>, %[[B:.*]]: tensor<?x?xi32>, %[[LENS:.*]]: tensor<?xi32>, %[[ROWS:.*]]: tensor<?xi32>) -> tensor<?x6x32xf32> {
// CHECK: llm.call_kernel append_kv
// CHECK: llm.call_kernel paged_attention ins(%[[KV]], %[[L]], %[[Q]], %[[B]], %[[LENS]], %[[ROWS]] : {{.*}}) outs(%{{.*}} : tensor<?x6x32xf32>) {scale = 0.176776692 : f32} -> tensor<?x6x32xf32>
func.func private @layer_with_result(
    %kv: !kv, %layer: index, %k: tensor<?x2x32xf32>, %slots: tensor<?xi32>, %q: tensor<?x6x32xf32>,
    %b: tensor<?x?xi32>, %lens: tensor<?xi32>, %rows: tensor<?xi32>) -> (!kv, tensor<?x6x32xf32>) {
  %0 = llm.append_kv %kv, %k, %k slots %slots layer %layer : (!kv, tensor<?x2x32xf32>, tensor<?x2x32xf32>, tensor<?xi32>, index) -> !kv
  %1 = llm.paged_attention %q, %0, %b, %lens rows %rows layer %layer
    : (tensor<?x6x32xf32>, !kv, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>, index) -> tensor<?x6x32xf32>
  return %0, %1 : !kv, tensor<?x6x32xf32>
}

// -----

!kv = !llm.paged_kv_cache<bf16, 2, 2, 32, 16, 512>

// Keys of the cache's type go as they are; others are widened; an absent layer
// is 0; attention rounds to bf16 itself and takes f32.
// CHECK-LABEL: func @types
// CHECK-SAME: (%[[KV:.*]]: !llm{{.*}}, %[[K:.*]]: tensor<?x2x32xbf16>, %[[V:.*]]: tensor<?x2x32xf16>, %[[S:[^ ]*]]: tensor<?xi32>, {{.*}})
// CHECK-DAG: %[[C0:.*]] = arith.constant 0 : index
// CHECK-DAG: %[[WIDE:.*]] = arith.extf %[[V]] : tensor<?x2x32xf16> to tensor<?x2x32xf32>
// CHECK: llm.call_kernel append_kv ins(%[[KV]], %[[C0]], %[[K]], %[[WIDE]], %[[S]] :
// CHECK: %[[Q:.*]] = arith.extf %[[K]] : tensor<?x2x32xbf16> to tensor<?x2x32xf32>
// CHECK: llm.call_kernel paged_attention ins(%[[KV]], %[[C0]], %[[Q]], {{.*}}) outs(%{{.*}} : tensor<?x2x32xbf16>) {scale = 5.000000e-01 : f32}
func.func @types(%kv: !kv, %k: tensor<?x2x32xbf16>, %v: tensor<?x2x32xf16>, %slots: tensor<?xi32>,
                 %b: tensor<?x?xi32>, %lens: tensor<?xi32>, %rows: tensor<?xi32>) -> tensor<?x2x32xbf16> {
  %0 = llm.append_kv %kv, %k, %v slots %slots : (!kv, tensor<?x2x32xbf16>, tensor<?x2x32xf16>, tensor<?xi32>) -> !kv
  %1 = llm.paged_attention %k, %0, %b, %lens rows %rows {scale = 0.5 : f32}
    : (tensor<?x2x32xbf16>, !kv, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x2x32xbf16>
  return %1 : tensor<?x2x32xbf16>
}

// -----

!kv = !llm.paged_kv_cache<bf16, 2, 2, 32, 16, 512>

// Rotated queries get a buffer in f32; what the kernel reads goes as it is.
// CHECK-LABEL: func @rope_append
// CHECK-SAME: (%[[KV:[^ ]*]]: !llm{{.*}}, %[[L:[^ ]*]]: index, %[[Q:[^ ]*]]: tensor<?x6x32xf32>, %[[K:[^ ]*]]: tensor<?x2x32xf16>, %[[V:[^ ]*]]: tensor<?x2x32xbf16>, %[[T:[^ ]*]]: tensor<64x2x16xf32>, %[[P:[^ ]*]]: tensor<?xi32>, %[[S:[^ ]*]]: tensor<?xi32>)
// CHECK: %[[N:.*]] = tensor.dim %[[Q]], %c0
// CHECK: %[[EMPTY:.*]] = tensor.empty(%[[N]]) : tensor<?x6x32xf32>
// CHECK: %[[ROT:.*]] = llm.call_kernel rope_append_kv ins(%[[KV]], %[[L]], %[[Q]], %[[K]], %[[V]], %[[T]], %[[P]], %[[S]] : {{.*}}) outs(%[[EMPTY]] : tensor<?x6x32xf32>) -> tensor<?x6x32xf32>
// CHECK: return %[[ROT]]
func.func @rope_append(%kv: !kv, %layer: index, %q: tensor<?x6x32xf32>, %k: tensor<?x2x32xf16>, %v: tensor<?x2x32xbf16>,
                       %t: tensor<64x2x16xf32>, %p: tensor<?xi32>, %slots: tensor<?xi32>) -> (!kv, tensor<?x6x32xf32>) {
  %0, %1 = llm.rope_append_kv %kv, %q, %k, %v, %t, %p slots %slots layer %layer
    : (!kv, tensor<?x6x32xf32>, tensor<?x2x32xf16>, tensor<?x2x32xbf16>, tensor<64x2x16xf32>, tensor<?xi32>, tensor<?xi32>, index) -> (!kv, tensor<?x6x32xf32>)
  return %0, %1 : !kv, tensor<?x6x32xf32>
}

// -----

!kv = !llm.paged_kv_cache<bf16, 2, 2, 32, 16, 512>

// What kernels cannot read is converted before, and what they do not write after.
// CHECK-LABEL: func @rope_append_types
// CHECK-SAME: (%{{[^ ]*}}: !llm{{.*}}, %[[Q:[^ ]*]]: tensor<4x6x32xf64>, %[[K:[^ ]*]]: tensor<4x2x32xf64>, %[[V:[^ ]*]]: tensor<4x2x32xf16>,
// CHECK-DAG: %[[Q32:.*]] = arith.truncf %[[Q]] : tensor<4x6x32xf64> to tensor<4x6x32xf32>
// CHECK-DAG: %[[K32:.*]] = arith.truncf %[[K]] : tensor<4x2x32xf64> to tensor<4x2x32xf32>
// CHECK-DAG: %[[V32:.*]] = arith.extf %[[V]] : tensor<4x2x32xf16> to tensor<4x2x32xf32>
// CHECK: %[[ROT:.*]] = llm.call_kernel rope_append_kv ins(%{{.*}}, %c0, %[[Q32]], %[[K32]], %[[V32]],
// CHECK: arith.truncf %[[ROT]] : tensor<4x6x32xf32> to tensor<4x6x32xbf16>
func.func @rope_append_types(%kv: !kv, %q: tensor<4x6x32xf64>, %k: tensor<4x2x32xf64>, %v: tensor<4x2x32xf16>,
                             %t: tensor<64x2x16xf32>, %p: tensor<4xi32>) -> (!kv, tensor<4x6x32xbf16>) {
  %0, %1 = llm.rope_append_kv %kv, %q, %k, %v, %t, %p slots %p
    : (!kv, tensor<4x6x32xf64>, tensor<4x2x32xf64>, tensor<4x2x32xf16>, tensor<64x2x16xf32>, tensor<4xi32>, tensor<4xi32>) -> (!kv, tensor<4x6x32xbf16>)
  return %0, %1 : !kv, tensor<4x6x32xbf16>
}

// -----

!kv = !llm.paged_kv_cache<i4, 2, 2, 32, 16, 512>

// Kernels quantize numbers of 32 bits.
// CHECK-LABEL: func @quantizes
// CHECK-SAME: (%[[KV:.*]]: !llm{{.*}}, %[[K:.*]]: tensor<?x2x32xbf16>, %[[V:.*]]: tensor<?x2x32xf32>, %[[S:[^ ]*]]: tensor<?xi32>)
// CHECK-DAG: %[[WIDE:.*]] = arith.extf %[[K]] : tensor<?x2x32xbf16> to tensor<?x2x32xf32>
// CHECK: llm.call_kernel append_kv ins(%[[KV]], %{{.*}}, %[[WIDE]], %[[V]], %[[S]] :
func.func @quantizes(%kv: !kv, %k: tensor<?x2x32xbf16>, %v: tensor<?x2x32xf32>, %slots: tensor<?xi32>) -> !kv {
  %0 = llm.append_kv %kv, %k, %v slots %slots : (!kv, tensor<?x2x32xbf16>, tensor<?x2x32xf32>, tensor<?xi32>) -> !kv
  return %0 : !kv
}

// -----

!kv = !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>

// The runtime reserves room before a step: no kernel allocates.
func.func @append_by_ids(%kv: !kv, %k: tensor<2x1x16x64xf16>, %ids: tensor<2xi32>) -> (!kv, tensor<2x1xi32>) {
  // expected-error @+1 {{has no kernel in this form; the CPU takes appends by slots and attention by rows}}
  %0, %1 = llm.append_kv %kv, %k, %k, %ids
    : (!kv, tensor<2x1x16x64xf16>, tensor<2x1x16x64xf16>, tensor<2xi32>) -> (!kv, tensor<2x1xi32>)
  return %0, %1 : !kv, tensor<2x1xi32>
}

// -----

!kv = !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>

// Neither is there one that gathers, nor one for a batch that is not ragged.
func.func @lookup(%kv: !kv, %b: tensor<2x8xi32>, %lens: tensor<2xi32>, %q: tensor<2x1x16x64xf16>)
    -> (tensor<2x8x16x64xf16>, tensor<2x1x16x64xf16>) {
  // expected-error @+1 {{has no kernel in this form; the CPU takes appends by slots and attention by rows}}
  %0, %1 = llm.lookup_kv %kv, %b, %lens : (!kv, tensor<2x8xi32>, tensor<2xi32>) -> (tensor<2x8x16x64xf16>, tensor<2x8x16x64xf16>)
  // expected-error @+1 {{has no kernel in this form; the CPU takes appends by slots and attention by rows}}
  %2 = llm.paged_attention %q, %kv, %b, %lens : (tensor<2x1x16x64xf16>, !kv, tensor<2x8xi32>, tensor<2xi32>) -> tensor<2x1x16x64xf16>
  return %0, %2 : tensor<2x8x16x64xf16>, tensor<2x1x16x64xf16>
}

// -----

!kv = !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>

// The results of such a function change: nothing else may know them.
func.func private @layer(%kv: !kv) -> !kv {
  return %kv : !kv
}
func.func @function_value() -> ((!kv) -> !kv) {
  // expected-error @+1 {{only calls may refer to a function that returns a cache}}
  %f = constant @layer : (!kv) -> !kv
  return %f : (!kv) -> !kv
}

// -----

// A product of integers says what its panels are.
// CHECK-LABEL: func @quantized
// CHECK-SAME: (%[[X:.*]]: tensor<?x128xbf16>, %[[W:[^:]*]]: !llm
// CHECK: llm.call_kernel linear ins(%[[X]], %[[W]] : tensor<?x128xbf16>, !llm.quantized_tensor<64x128xi4, scales = f16, axis = 1, group_size = 32, packing = panels>) outs(%{{.*}} : tensor<?x64xf32>) {weight_type = !llm.quantized_tensor<64x128xi4, scales = f16, axis = 1, group_size = 32, packing = panels>} -> tensor<?x64xf32>
func.func @quantized(%x: tensor<?x128xbf16>, %w: !llm.quantized_tensor<64x128xi4, scales = f16, axis = 1, group_size = 32, packing = panels>) -> tensor<?x64xf32> {
  %0 = llm.quantized_matmul %x, %w : (tensor<?x128xbf16>, !llm.quantized_tensor<64x128xi4, scales = f16, axis = 1, group_size = 32, packing = panels>) -> tensor<?x64xf32>
  return %0 : tensor<?x64xf32>
}

// -----

// Its kernel rounds the input itself, be it beside the product or after a norm.
// CHECK-LABEL: func @quantized_inputs
// CHECK-SAME: (%[[X:.*]]: tensor<?x128xf32>
// CHECK-NOT: llm.quantize %
// CHECK: %[[Y:.*]] = llm.call_kernel linear ins(%[[X]], %{{.*}}, %{{.*}} : {{.*}}) outs({{.*}}) {activation = #llm<activation_kind silu>, epsilon = 9.99999974E-6 : f32, extras = ["norm"], gated, input_type = !llm.quantized_tensor<?x128xi8, scales = f32, axis = 1>, weight_type = !llm.quantized_tensor<256x128xi8, scales = f32, axis = 1, packing = gated_panels>}
// CHECK: llm.call_kernel linear accumulate ins(%[[Y]], {{.*}}) outs({{.*}}) {input_type = !llm.quantized_tensor<?x128xi8, scales = f32, axis = 1>, weight_type = !llm.quantized_tensor<64x128xi8, scales = f32, axis = 1, packing = panels>}
func.func @quantized_inputs(%x: tensor<?x128xf32>, %n: tensor<128xf32>,
    %w: !llm.quantized_tensor<256x128xi8, scales = f32, axis = 1, packing = gated_panels>,
    %v: !llm.quantized_tensor<64x128xi8, scales = f32, axis = 1, packing = panels>, %h: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %0 = llm.quantized_matmul %x, %w norm %n activation silu gated {epsilon = 1.0e-05 : f32, input_type = !llm.quantized_tensor<?x128xi8, scales = f32, axis = 1>} : (tensor<?x128xf32>, !llm.quantized_tensor<256x128xi8, scales = f32, axis = 1, packing = gated_panels>, tensor<128xf32>) -> tensor<?x128xf32>
  %1 = llm.quantize %0 : (tensor<?x128xf32>) -> !llm.quantized_tensor<?x128xi8, scales = f32, axis = 1>
  %2 = llm.quantized_matmul %1, %v residual %h : (!llm.quantized_tensor<?x128xi8, scales = f32, axis = 1>, !llm.quantized_tensor<64x128xi8, scales = f32, axis = 1, packing = panels>, tensor<?x64xf32>) -> tensor<?x64xf32>
  return %2 : tensor<?x64xf32>
}

// -----

// No kernel multiplies integers by f32.
// CHECK-LABEL: func @quantized_f32
// CHECK: llm.quantized_matmul
func.func @quantized_f32(%x: tensor<?x128xf32>, %w: !llm.quantized_tensor<64x128xi8, scales = f32, axis = 1, packing = panels>) -> tensor<?x64xf32> {
  %0 = llm.quantized_matmul %x, %w : (tensor<?x128xf32>, !llm.quantized_tensor<64x128xi8, scales = f32, axis = 1, packing = panels>) -> tensor<?x64xf32>
  return %0 : tensor<?x64xf32>
}

// -----

// A kernel reads neighbours: a slice with steps in its rows is copied, one of
// whole columns or of every other row is not.
// CHECK-LABEL: func @steps
// CHECK: %[[STEPS:.*]] = tensor.extract_slice %{{.*}}[0, 0] [%{{.*}}, 192] [1, 2]
// CHECK: %[[COPY:.*]] = linalg.copy ins(%[[STEPS]] : tensor<?x192xbf16>)
// CHECK: llm.call_kernel linear ins(%[[COPY]],
// CHECK: %[[ROWS:.*]] = tensor.extract_slice %{{.*}}[0, 192] [%{{.*}}, 192] [2, 1]
// CHECK-NOT: linalg.copy
// CHECK: llm.call_kernel linear ins(%[[ROWS]],
func.func @steps(%x: tensor<?x384xbf16>, %t: index, %w: tensor<2x96x32x2xbf16>) -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  %0 = tensor.extract_slice %x[0, 0] [%t, 192] [1, 2] : tensor<?x384xbf16> to tensor<?x192xbf16>
  %1 = llm.linear %0, %w : (tensor<?x192xbf16>, tensor<2x96x32x2xbf16>) -> tensor<?x64xf32>
  %2 = tensor.extract_slice %x[0, 192] [%t, 192] [2, 1] : tensor<?x384xbf16> to tensor<?x192xbf16>
  %3 = llm.linear %2, %w : (tensor<?x192xbf16>, tensor<2x96x32x2xbf16>) -> tensor<?x64xf32>
  return %1, %3 : tensor<?x64xf32>, tensor<?x64xf32>
}
