// RUN: llmir-opt %s "-llm-quantize-weights=format=int4 embedding=int8 head=int8" -split-input-file | FileCheck %s --check-prefixes=CHECK,EQUAL
// RUN: llmir-opt %s "-llm-quantize-weights=format=int4 embedding=int4 head=int8" -split-input-file | FileCheck %s --check-prefixes=CHECK,OTHER
// RUN: llmir-opt %s "-llm-quantize-weights=format=int4 embedding=int8 exclude=e*" -split-input-file | FileCheck %s --check-prefixes=CHECK,KEPT
// RUN: llmir-opt %s "-llm-quantize-weights=format=int4 embedding=int8 head=int8" -cse -llm-pack-parameters -split-input-file | FileCheck %s --check-prefix=PACKED
// RUN: not llmir-opt %s "-llm-quantize-weights=embedding=w8a8" -split-input-file 2>&1 | FileCheck %s --check-prefix=FORMAT

// FORMAT: error: llm-quantize-weights: embedding must be none, int8 or int4, but is w8a8

// A tied table: one weight if both are of one format, and then one in the file.
// CHECK-LABEL: func @tied
// EQUAL: %[[E:.*]] = llm.parameter "model"::"e" from tensor<64x96xbf16> : !llm.quantized_tensor<64x96xi8, scales = f32, axis = 1>
// EQUAL: llm.embedding %{{.*}}, %[[E]] : (tensor<?xi32>, !llm.quantized_tensor<64x96xi8, scales = f32, axis = 1>) -> tensor<?x96xbf16>
// EQUAL: llm.quantized_matmul %{{.*}}, %[[E]] :
// OTHER-DAG: llm.embedding {{.*}}xi4, scales = f16, axis = 1, group_size = 32>
// OTHER-DAG: llm.quantized_matmul {{.*}}xi8, scales = f32, axis = 1>
// KEPT: llm.embedding {{.*}} tensor<64x96xbf16>
// KEPT: llm.linear
// PACKED-LABEL: func @tied
// PACKED: %[[E:.*]] = llm.parameter "model"::"e" from tensor<64x96xbf16> : !llm.quantized_tensor<{{.*}}, packing = panels>
// PACKED-NOT: llm.parameter
// PACKED: llm.embedding %{{.*}}, %[[E]] :
// PACKED: llm.quantized_matmul %{{.*}}, %[[E]] :
func.func @tied(%ids: tensor<?xi32>) -> tensor<?x64xf32> {
  %e = llm.parameter "model"::"e" : tensor<64x96xbf16>
  %x = llm.embedding %ids, %e : (tensor<?xi32>, tensor<64x96xbf16>) -> tensor<?x96xbf16>
  %0 = llm.linear %x, %e : (tensor<?x96xbf16>, tensor<64x96xbf16>) -> tensor<?x64xf32>
  return %0 : tensor<?x64xf32>
}

// -----

// Rows of what is computed are no embedding, and 60 columns are no groups of 32.
// CHECK-LABEL: func @kept
// CHECK: llm.embedding %{{.*}}, %arg1
// OTHER: llm.embedding {{.*}} tensor<8x60xf32>
// EQUAL: llm.embedding {{.*}} !llm.quantized_tensor<8x60xi8
func.func @kept(%ids: tensor<?xi32>, %h: tensor<?x64xf32>) -> (tensor<?x64xf32>, tensor<?x60xf32>) {
  %0 = llm.embedding %ids, %h : (tensor<?xi32>, tensor<?x64xf32>) -> tensor<?x64xf32>
  %e = llm.parameter "model"::"e60" : tensor<8x60xf32>
  %1 = llm.embedding %ids, %e : (tensor<?xi32>, tensor<8x60xf32>) -> tensor<?x60xf32>
  return %0, %1 : tensor<?x64xf32>, tensor<?x60xf32>
}
