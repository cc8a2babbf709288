// RUN: lora-opt %s -lora-to-llm | FileCheck %s

// CHECK-LABEL: func @bf16(
// CHECK-SAME: %[[X:[^:]*]]: tensor<?x64xbf16>, %[[W:[^:]*]]: {{.*}}, %[[A:[^:]*]]: {{.*}}, %[[B:[^:]*]]: tensor
// CHECK: %[[THROUGH:.*]] = llm.linear %[[X]], %[[A]] : (tensor<?x64xbf16>, tensor<8x64xbf16>) -> tensor<?x8xf32>
// CHECK: %[[SCALED:.*]] = linalg.generic {{.*}} ins(%[[THROUGH]] : tensor<?x8xf32>) outs(%{{.*}} : tensor<?x8xbf16>)
// CHECK: %[[PRODUCT:.*]] = arith.mulf %{{.*}}, %{{.*}} : f32
// CHECK: arith.truncf %[[PRODUCT]] : f32 to bf16
// CHECK: %[[BASE:.*]] = llm.linear %[[X]], %[[W]] :
// CHECK: %[[Y:.*]] = llm.linear %[[SCALED]], %[[B]] residual %[[BASE]] :
// CHECK: return %[[Y]]
func.func @bf16(%x: tensor<?x64xbf16>, %w: tensor<96x64xbf16>,
                %a: tensor<8x64xbf16>, %b: tensor<96x8xbf16>) -> tensor<?x96xf32> {
  %y = lora.linear %x, %w, %a, %b {scale = 2.0 : f32}
    : tensor<?x64xbf16>, tensor<96x64xbf16>, tensor<8x64xbf16>, tensor<96x8xbf16> -> tensor<?x96xf32>
  return %y : tensor<?x96xf32>
}

// Nothing is rounded in f32.
// CHECK-LABEL: func @f32(
// CHECK-NOT: arith.truncf
// CHECK: llm.linear {{.*}} residual
func.func @f32(%x: tensor<4x64xf32>, %w: tensor<96x64xf32>,
               %a: tensor<8x64xf32>, %b: tensor<96x8xf32>) -> tensor<4x96xf32> {
  %y = lora.linear %x, %w, %a, %b {scale = 0.5 : f32}
    : tensor<4x64xf32>, tensor<96x64xf32>, tensor<8x64xf32>, tensor<96x8xf32> -> tensor<4x96xf32>
  return %y : tensor<4x96xf32>
}
