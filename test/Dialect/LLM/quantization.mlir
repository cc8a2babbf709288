// RUN: llmir-opt %s | llmir-opt | FileCheck %s
// RUN: llmir-opt --mlir-print-op-generic %s | llmir-opt | FileCheck %s
// RUN: llmir-opt -emit-bytecode %s | llmir-opt | FileCheck %s

// Round trip of quantized tensors and of the ops on them. Functions named
// `example_*` hold the examples of the TableGen files as they stand there.

// CHECK-LABEL: func private @example_types
// CHECK-SAME: !llm.quantized_tensor<64x128xi8, scales = bf16, axis = 1>,
// CHECK-SAME: !llm.quantized_tensor<64x128xi4, scales = f16, axis = 1, group_size = 32, packing = pairs>,
// CHECK-SAME: !llm.quantized_tensor<64x128xui4, scales = f16, axis = 1, group_size = 64, asymmetric, packing = pairs>,
// CHECK-SAME: !llm.quantized_tensor<64x128xi4, scales = f16, axis = 1, group_size = 32, packing = panels>,
// CHECK-SAME: !llm.quantized_tensor<?x128xi8, scales = f32, axis = 1>)
func.func private @example_types(
    // int8, a scale for each output.
    !llm.quantized_tensor<64x128xi8, scales = bf16, axis = 1>,
    // int4 in groups of 32, two to a byte.
    !llm.quantized_tensor<64x128xi4, scales = f16, axis = 1, group_size = 32, packing = pairs>,
    // As GPTQ and AWQ have it, with zero points.
    !llm.quantized_tensor<64x128xui4, scales = f16, axis = 1, group_size = 64, asymmetric, packing = pairs>,
    // int4 as the kernels read it: two panels of 2304 bytes.
    !llm.quantized_tensor<64x128xi4, scales = f16, axis = 1, group_size = 32, packing = panels>,
    // Activations, a scale for each token.
    !llm.quantized_tensor<?x128xi8, scales = f32, axis = 1>)

// Every part by itself: rank 1 and rank 3, another axis, each option alone.
// CHECK-LABEL: func private @types
// CHECK-SAME: !llm.quantized_tensor<8xi8, scales = f32, axis = 0>,
// CHECK-SAME: !llm.quantized_tensor<4x8x6xi8, scales = f32, axis = 1, group_size = 2>,
// CHECK-SAME: !llm.quantized_tensor<?x?xi8, scales = f32, axis = 0, asymmetric>,
// CHECK-SAME: !llm.quantized_tensor<?x8xi4, scales = f32, axis = 1, packing = pairs>,
// CHECK-SAME: !llm.quantized_tensor<?x8xui8, scales = f32, axis = 1, group_size = 4, asymmetric>,
// CHECK-SAME: !llm.quantized_tensor<7x3xui8, scales = bf16, axis = 1, asymmetric, packing = panels>,
// CHECK-SAME: !llm.quantized_tensor<6x64xi4, scales = f32, axis = 1, group_size = 64, packing = gated_panels>,
// CHECK-SAME: (!llm.quantized_tensor<8x8xi4, scales = bf16, axis = 1>) -> ())
func.func private @types(
    !llm.quantized_tensor<8xi8, scales = f32, axis = 0>,
    !llm.quantized_tensor<4x8x6xi8, scales = f32, axis = 1, group_size = 2>,
    !llm.quantized_tensor<?x?xi8, scales = f32, axis = 0, asymmetric>,
    !llm.quantized_tensor<?x8xi4, scales = f32, axis = 1, packing = pairs>,
    !llm.quantized_tensor<?x8xui8, scales = f32, axis = 1, group_size = 4, asymmetric>,
    !llm.quantized_tensor<7x3xui8, scales = bf16, axis = 1, asymmetric, packing = panels>,
    !llm.quantized_tensor<6x64xi4, scales = f32, axis = 1, group_size = 64, packing = gated_panels>,
    (!llm.quantized_tensor<8x8xi4, scales = bf16, axis = 1>) -> ())

// A parameter is quantized when compiling; once lowered, it is its bytes.
// CHECK-LABEL: func @parameters
func.func @parameters() {
  // CHECK: llm.parameter "model"::"lm_head.weight" from tensor<64x128xbf16> : !llm.quantized_tensor<64x128xi4, scales = f16, axis = 1, group_size = 32>
  %q = llm.parameter "model"::"lm_head.weight" from tensor<64x128xbf16>
         : !llm.quantized_tensor<64x128xi4, scales = f16, axis = 1,
                                 group_size = 32>
  // CHECK: llm.parameter "model"::"w" from tensor<64x128xf32> as !llm.quantized_tensor<64x128xi4, scales = f16, axis = 1, group_size = 32, packing = panels> : tensor<2x2304xi8>
  %p = llm.parameter "model"::"w" from tensor<64x128xf32>
         as !llm.quantized_tensor<64x128xi4, scales = f16, axis = 1,
                                  group_size = 32, packing = panels>
         : tensor<2x2304xi8>
  return
}

// CHECK-LABEL: func @example_quantize
func.func @example_quantize(%x: tensor<?x4096xf32>)
    -> !llm.quantized_tensor<?x4096xi8, scales = f32, axis = 1> {
  // CHECK: llm.quantize %{{.*}} : (tensor<?x4096xf32>) -> !llm.quantized_tensor<?x4096xi8, scales = f32, axis = 1>
  %q = llm.quantize %x : (tensor<?x4096xf32>)
    -> !llm.quantized_tensor<?x4096xi8, scales = f32, axis = 1>
  return %q : !llm.quantized_tensor<?x4096xi8, scales = f32, axis = 1>
}

// CHECK-LABEL: func @example_dequantize
func.func @example_dequantize(
    %q: !llm.quantized_tensor<64x128xui4, scales = f16, axis = 1,
                              group_size = 32, asymmetric, packing = pairs>)
    -> tensor<64x128xf32> {
  // CHECK: llm.dequantize %{{.*}} : (!llm.quantized_tensor<64x128xui4, scales = f16, axis = 1, group_size = 32, asymmetric, packing = pairs>) -> tensor<64x128xf32>
  %w = llm.dequantize %q
    : (!llm.quantized_tensor<64x128xui4, scales = f16, axis = 1,
                             group_size = 32, asymmetric, packing = pairs>)
    -> tensor<64x128xf32>
  return %w : tensor<64x128xf32>
}

// CHECK-LABEL: func @example_quantized_matmul
func.func @example_quantized_matmul(
    %x: tensor<?x128xbf16>,
    %w: !llm.quantized_tensor<64x128xi4, scales = bf16, axis = 1,
                              group_size = 32, packing = pairs>,
    %b: tensor<64xf32>, %q: !llm.quantized_tensor<?x128xi8, scales = f32, axis = 1>,
    %v: !llm.quantized_tensor<64x128xi8, scales = bf16, axis = 1>)
    -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  // CHECK: llm.quantized_matmul %{{.*}}, %{{.*}} bias %{{.*}} : (tensor<?x128xbf16>, !llm.quantized_tensor<64x128xi4, scales = bf16, axis = 1, group_size = 32, packing = pairs>, tensor<64xf32>) -> tensor<?x64xf32>
  %y = llm.quantized_matmul %x, %w bias %b
    : (tensor<?x128xbf16>,
       !llm.quantized_tensor<64x128xi4, scales = bf16, axis = 1,
                             group_size = 32, packing = pairs>,
       tensor<64xf32>) -> tensor<?x64xf32>
  // CHECK: llm.quantized_matmul %{{.*}}, %{{[^ ]*}} : (!llm.quantized_tensor<?x128xi8, scales = f32, axis = 1>, !llm.quantized_tensor<64x128xi8, scales = bf16, axis = 1>) -> tensor<?x64xf32>
  %z = llm.quantized_matmul %q, %v
    : (!llm.quantized_tensor<?x128xi8, scales = f32, axis = 1>,
       !llm.quantized_tensor<64x128xi8, scales = bf16, axis = 1>)
    -> tensor<?x64xf32>
  return %y, %z : tensor<?x64xf32>, tensor<?x64xf32>
}

// A residual, alone and after a bias; groups on either side, or on both.
// CHECK-LABEL: func @quantized_matmul_optional
// CHECK-SAME: %[[B:[^ ]*]]: tensor<4xf16>, %[[H:[^ ]*]]: tensor<3x4xbf16>)
func.func @quantized_matmul_optional(
    %x: !llm.quantized_tensor<3x8xi8, scales = f32, axis = 1>,
    %g: !llm.quantized_tensor<3x8xi8, scales = f32, axis = 1, group_size = 4>,
    %w: !llm.quantized_tensor<4x8xi8, scales = f32, axis = 1, group_size = 4>,
    %v: !llm.quantized_tensor<4x8xi8, scales = f32, axis = 1>,
    %b: tensor<4xf16>, %h: tensor<3x4xbf16>) {
  // CHECK: llm.quantized_matmul %{{.*}}, %{{[^ ]*}} residual %[[H]] :
  %0 = llm.quantized_matmul %x, %w residual %h
    : (!llm.quantized_tensor<3x8xi8, scales = f32, axis = 1>,
       !llm.quantized_tensor<4x8xi8, scales = f32, axis = 1, group_size = 4>,
       tensor<3x4xbf16>) -> tensor<3x4xf32>
  // CHECK: llm.quantized_matmul %{{.*}}, %{{[^ ]*}} bias %[[B]] residual %[[H]] :
  %1 = llm.quantized_matmul %g, %w bias %b residual %h
    : (!llm.quantized_tensor<3x8xi8, scales = f32, axis = 1, group_size = 4>,
       !llm.quantized_tensor<4x8xi8, scales = f32, axis = 1, group_size = 4>,
       tensor<4xf16>, tensor<3x4xbf16>) -> tensor<3x4xbf16>
  // CHECK: llm.quantized_matmul %{{.*}}, %{{[^ ]*}} :
  %2 = llm.quantized_matmul %g, %v
    : (!llm.quantized_tensor<3x8xi8, scales = f32, axis = 1, group_size = 4>,
       !llm.quantized_tensor<4x8xi8, scales = f32, axis = 1>) -> tensor<3x4xf32>
  return
}
