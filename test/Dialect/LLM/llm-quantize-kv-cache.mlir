// RUN: llmir-opt %s -llm-quantize-kv-cache=dtype=int8 -split-input-file | FileCheck %s --check-prefixes=CHECK,INT8
// RUN: llmir-opt %s -llm-quantize-kv-cache=dtype=int4 -split-input-file | FileCheck %s --check-prefixes=CHECK,INT4
// RUN: llmir-opt %s -llm-quantize-kv-cache=dtype=f16 -split-input-file | FileCheck %s --check-prefixes=CHECK,F16
// RUN: llmir-opt %s -llm-quantize-kv-cache -llm-quantize-kv-cache=dtype=int8 -split-input-file | FileCheck %s --check-prefixes=CHECK,INT8
// RUN: llmir-opt %s -llm-quantize-kv-cache=dtype=bf16 -llm-quantize-kv-cache=dtype=int4 -split-input-file | FileCheck %s --check-prefixes=CHECK,INT4
// RUN: not llmir-opt %s -llm-quantize-kv-cache=dtype=int3 -split-input-file 2>&1 | FileCheck %s --check-prefix=DTYPE

// DTYPE: error: llm-quantize-kv-cache: dtype must be int8, int4, f32, bf16 or f16, but is int3

// The type changes wherever it stands: in signatures, calls, results and block
// arguments. The ops are the same.
// CHECK-LABEL: func @step
// INT8-SAME: !llm.paged_kv_cache<i8, 2, 2, 4, 16, 64>
// INT4-SAME: !llm.paged_kv_cache<i4, 2, 2, 4, 16, 64>
// F16-SAME: !llm.paged_kv_cache<f16, 2, 2, 4, 16, 64>
// CHECK-NOT: bf16
// INT8: call @layer({{.*}}!llm.paged_kv_cache<i8, 2, 2, 4, 16, 64>{{.*}} -> !llm.paged_kv_cache<i8, 2, 2, 4, 16, 64>
// CHECK: cf.br ^bb1(%{{.*}} : !llm.paged_kv_cache<
// CHECK: func private @layer
// CHECK: llm.append_kv {{.*}} tensor<?x2x4xf32>, tensor<?x2x4xf32>, tensor<?xi32>) -> !llm.paged_kv_cache<
func.func @step(%kv: !llm.paged_kv_cache<bf16, 2, 2, 4, 16, 64>, %k: tensor<?x2x4xf32>, %slots: tensor<?xi32>) -> !llm.paged_kv_cache<bf16, 2, 2, 4, 16, 64> {
  %kv1 = call @layer(%kv, %k, %slots) : (!llm.paged_kv_cache<bf16, 2, 2, 4, 16, 64>, tensor<?x2x4xf32>, tensor<?xi32>) -> !llm.paged_kv_cache<bf16, 2, 2, 4, 16, 64>
  cf.br ^end(%kv1 : !llm.paged_kv_cache<bf16, 2, 2, 4, 16, 64>)
^end(%kv2: !llm.paged_kv_cache<bf16, 2, 2, 4, 16, 64>):
  return %kv2 : !llm.paged_kv_cache<bf16, 2, 2, 4, 16, 64>
}
func.func private @layer(%kv: !llm.paged_kv_cache<bf16, 2, 2, 4, 16, 64>, %k: tensor<?x2x4xf32>, %slots: tensor<?xi32>) -> !llm.paged_kv_cache<bf16, 2, 2, 4, 16, 64> {
  %kv1 = llm.append_kv %kv, %k, %k slots %slots : (!llm.paged_kv_cache<bf16, 2, 2, 4, 16, 64>, tensor<?x2x4xf32>, tensor<?x2x4xf32>, tensor<?xi32>) -> !llm.paged_kv_cache<bf16, 2, 2, 4, 16, 64>
  return %kv1 : !llm.paged_kv_cache<bf16, 2, 2, 4, 16, 64>
}

// -----

// Also where it is nested, and every cache of a program.
// CHECK-LABEL: func private @nested
// INT8-SAME: (!llm.paged_kv_cache<i8, 1, 1, 8, 16, 64>) -> (), !llm.paged_kv_cache<i8, 1, 1, 16, 32, 64>
func.func private @nested((!llm.paged_kv_cache<f32, 1, 1, 8, 16, 64>) -> (), !llm.paged_kv_cache<f16, 1, 1, 16, 32, 64>)

// -----

// One that is quantized already can change too.
// CHECK-LABEL: func private @quantized
// INT8-SAME: !llm.paged_kv_cache<i8, 1, 1, 8, 16, 64>
// INT4-SAME: !llm.paged_kv_cache<i4, 1, 1, 8, 16, 64>
// F16-SAME: !llm.paged_kv_cache<f16, 1, 1, 8, 16, 64>
func.func private @quantized(!llm.paged_kv_cache<i4, 1, 1, 8, 16, 64>)

// -----

// What is no cache stays as it is.
// CHECK-LABEL: func @no_cache
// CHECK-SAME: %[[X:.*]]: tensor<?x64xbf16>) -> !llm.quantized_tensor<?x64xi8, scales = f32, axis = 1>
// CHECK-NEXT: llm.quantize %[[X]] : (tensor<?x64xbf16>) -> !llm.quantized_tensor<?x64xi8, scales = f32, axis = 1>
func.func @no_cache(%x: tensor<?x64xbf16>) -> !llm.quantized_tensor<?x64xi8, scales = f32, axis = 1> {
  %q = llm.quantize %x : (tensor<?x64xbf16>) -> !llm.quantized_tensor<?x64xi8, scales = f32, axis = 1>
  return %q : !llm.quantized_tensor<?x64xi8, scales = f32, axis = 1>
}
