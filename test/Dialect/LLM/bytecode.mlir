// RUN: llmir-opt %s -emit-bytecode | llmir-opt | FileCheck %s
// RUN: llmir-opt %S/ops.mlir -emit-bytecode | llmir-opt | FileCheck %S/ops.mlir
// RUN: llmir-opt %S/types.mlir -emit-bytecode | llmir-opt | FileCheck %S/types.mlir
// RUN: llmir-opt %S/published.mlir -emit-bytecode | llmir-opt | FileCheck %S/published.mlir

// What bytecode keeps apart from text: properties, operand segments, types and
// attributes of the dialect. The other tests of round trips run through it too.

!kv = !llm.paged_kv_cache<bf16, 2, 2, 32, 16, 512>

// CHECK-LABEL: func @step
// CHECK-SAME: !llm.paged_kv_cache<bf16, 2, 2, 32, 16, 512>
func.func @step(%kv: !kv, %k: tensor<?x2x32xf32>, %slots: tensor<?xi32>, %layer: index) -> !kv {
  // CHECK: llm.rope_table {scaling = #llm.rope_scaling<linear, factor = 4.000000e+00 : f64>, theta = 1.000000e+04 : f64} : tensor<512x2x16xf32>
  %table = llm.rope_table {
    theta = 1.0e+04 : f64, scaling = #llm.rope_scaling<linear, factor = 4.0>
  } : tensor<512x2x16xf32>
  // CHECK: llm.parameter "model"::"w" from tensor<64x192xbf16> : tensor<2x96x32x2xbf16>
  %w = llm.parameter "model"::"w" from tensor<64x192xbf16> : tensor<2x96x32x2xbf16>
  // CHECK: llm.activation gelu_tanh %{{[^ ,]*}} :
  %a = llm.activation gelu_tanh %k : (tensor<?x2x32xf32>) -> tensor<?x2x32xf32>
  // CHECK: llm.append_kv %{{.*}}, %{{.*}}, %{{[^ ]*}} slots %{{[^ ]*}} layer %{{[^ ]*}} :
  %0 = llm.append_kv %kv, %a, %k slots %slots layer %layer
    : (!kv, tensor<?x2x32xf32>, tensor<?x2x32xf32>, tensor<?xi32>, index) -> !kv
  return %0 : !kv
}
