// RUN: llmir-opt %s | llmir-opt | FileCheck %s
// RUN: llmir-opt --mlir-print-op-generic %s | llmir-opt | FileCheck %s
// RUN: llmir-opt -emit-bytecode %s | llmir-opt | FileCheck %s

// Round trip of mixtures of experts. The function `example_moe` holds the
// example of LLMMixtureOfExpertsOps.td as it stands there.

// CHECK-LABEL: func @example_moe
func.func @example_moe(
    %x: tensor<?x64xbf16>, %logits: tensor<?x8xf32>, %gate: tensor<8x96x64xbf16>,
    %up: tensor<8x96x64xbf16>, %down: tensor<8x64x96xbf16>) -> tensor<?x64xf32> {
  // CHECK: llm.moe silu %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{[^ ]*}} {normalize_topk, top_k = 2 : i64} : (tensor<?x64xbf16>, tensor<?x8xf32>, tensor<8x96x64xbf16>, tensor<8x96x64xbf16>, tensor<8x64x96xbf16>) -> tensor<?x64xf32>
  %y = llm.moe silu %x, %logits, %gate, %up, %down
         {normalize_topk, top_k = 2 : i64}
    : (tensor<?x64xbf16>, tensor<?x8xf32>, tensor<8x96x64xbf16>,
       tensor<8x96x64xbf16>, tensor<8x64x96xbf16>) -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

// As DeepSeek-V3 has it. The default scoring need not be written.
// CHECK-LABEL: func @moe_optional
// CHECK-SAME: %[[B:[^ ]*]]: tensor<4xf16>)
func.func @moe_optional(
    %x: tensor<3x8xf32>, %logits: tensor<3x4xf32>, %gate: tensor<4x6x8xf32>,
    %down: tensor<4x8x6xf32>, %bias: tensor<4xf16>) {
  // CHECK: llm.moe gelu %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{[^ ]*}} selection_bias %[[B]] {scale = 2.500000e+00 : f32, scoring = #llm<router_scoring sigmoid>, top_k = 4 : i64} :
  %0 = llm.moe gelu %x, %logits, %gate, %gate, %down selection_bias %bias
    {scale = 2.5 : f32, scoring = #llm<router_scoring sigmoid>, top_k = 4 : i64}
    : (tensor<3x8xf32>, tensor<3x4xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>, tensor<4xf16>) -> tensor<3x8xf32>
  // CHECK: llm.moe relu {{.*}} {top_k = 1 : i64} :
  %1 = llm.moe relu %x, %logits, %gate, %gate, %down
    {scoring = #llm<router_scoring softmax>, top_k = 1 : i64}
    : (tensor<3x8xf32>, tensor<3x4xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<3x8xf32>
  return
}
