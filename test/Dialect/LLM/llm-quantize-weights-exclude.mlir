// RUN: llmir-opt %s "-llm-quantize-weights=format=int4 exclude=lm_head,*.0.down" -split-input-file | FileCheck %s
// RUN: llmir-opt %s "-llm-quantize-weights=format=int4 exclude=lm_head,*.0.down" -llm-quantize-weights=format=int8 -split-input-file | FileCheck %s --check-prefix=TWICE
// RUN: not llmir-opt %s "-llm-quantize-weights=format=int4 exclude=*.0.down,down,x*" -split-input-file 2>&1 | FileCheck %s --check-prefix=NOTHING
// RUN: not llmir-opt %s "-llm-quantize-weights=format=int4 exclude=a\\" -split-input-file 2>&1 | FileCheck %s --check-prefix=PATTERN

// NOTHING: error: llm-quantize-weights: exclude has the pattern 'down', which matches no parameter of the program
// PATTERN: error: llm-quantize-weights: exclude has the pattern 'a\', which is none: {{.*}}

// The weight of one layer stays as it is, so the layers become two functions; the
// head is named by what comes before its last dot.
// CHECK-LABEL: func @step
// CHECK-DAG: %[[U0:.*]] = llm.parameter "model"::"layers.0.up.weight" from {{.*}} : !llm.quantized_tensor<64x64xi4
// CHECK-DAG: %[[W0:.*]] = llm.parameter "model"::"layers.0.down.weight" : tensor<64x64xbf16>
// CHECK: call @layer_0(%{{.*}}, %[[U0]], %[[W0]])
// CHECK: %[[W1:.*]] = llm.parameter "model"::"layers.1.down.weight" from {{.*}} : !llm.quantized_tensor<64x64xi4
// CHECK: call @layer(%{{.*}}, %{{.*}}, %[[W1]])
// CHECK: %[[W2:.*]] = llm.parameter "model"::"layers.2.down.weight" from {{.*}} : !llm.quantized_tensor<64x64xi4
// CHECK: call @layer(%{{.*}}, %{{.*}}, %[[W2]])
// CHECK: %[[HEAD:.*]] = llm.parameter "model"::"lm_head.weight" : tensor<32x64xbf16>
// CHECK: llm.linear %{{.*}}, %[[HEAD]] :
// CHECK: func private @layer(%{{.*}}: tensor<?x64xbf16>, %{{.*}}: !llm.quantized_tensor<{{[^>]*}}>, %{{.*}}: !llm.quantized_tensor<{{[^>]*}}>)
// CHECK: llm.quantized_matmul
// CHECK: llm.quantized_matmul
// CHECK: func private @layer_0(%{{.*}}: tensor<?x64xbf16>, %{{.*}}: !llm.quantized_tensor<{{[^>]*}}>, %{{.*}}: tensor<64x64xbf16>)
// CHECK: llm.quantized_matmul
// CHECK: llm.linear
// What was quantized once stays so; the rest can be, later.
// TWICE-LABEL: func @step
// TWICE-DAG: "layers.1.down.weight" from {{.*}} : !llm.quantized_tensor<64x64xi4
// TWICE-DAG: "layers.0.down.weight" from {{.*}} : !llm.quantized_tensor<64x64xi8
// TWICE-DAG: "lm_head.weight" from {{.*}} : !llm.quantized_tensor<32x64xi8
func.func @step(%x: tensor<?x64xbf16>) -> tensor<?x32xf32> {
  %u0 = llm.parameter "model"::"layers.0.up.weight" : tensor<64x64xbf16>
  %w0 = llm.parameter "model"::"layers.0.down.weight" : tensor<64x64xbf16>
  %0 = call @layer(%x, %u0, %w0) : (tensor<?x64xbf16>, tensor<64x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xbf16>
  %u1 = llm.parameter "model"::"layers.1.up.weight" : tensor<64x64xbf16>
  %w1 = llm.parameter "model"::"layers.1.down.weight" : tensor<64x64xbf16>
  %1 = call @layer(%0, %u1, %w1) : (tensor<?x64xbf16>, tensor<64x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xbf16>
  %u2 = llm.parameter "model"::"layers.2.up.weight" : tensor<64x64xbf16>
  %w2 = llm.parameter "model"::"layers.2.down.weight" : tensor<64x64xbf16>
  %2 = call @layer(%1, %u2, %w2) : (tensor<?x64xbf16>, tensor<64x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xbf16>
  %head = llm.parameter "model"::"lm_head.weight" : tensor<32x64xbf16>
  %3 = llm.linear %2, %head : (tensor<?x64xbf16>, tensor<32x64xbf16>) -> tensor<?x32xf32>
  return %3 : tensor<?x32xf32>
}
func.func private @layer(%x: tensor<?x64xbf16>, %u: tensor<64x64xbf16>, %w: tensor<64x64xbf16>) -> tensor<?x64xbf16> {
  %0 = llm.linear %x, %u : (tensor<?x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xbf16>
  %1 = llm.linear %0, %w : (tensor<?x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xbf16>
  return %1 : tensor<?x64xbf16>
}

// -----

// Of a merged product, one name is enough for all to stay. What is named nowhere
// beside it is quantized, and "layers.0.downs.weight" is no "*.0.down".
// CHECK-LABEL: func @merged
// CHECK: llm.parameter "model"::["lm_head.weight", "layers.0.down.weight"] {{.*}}: tensor<64x64xbf16>
// CHECK: llm.linear
// CHECK: llm.quantized_matmul
func.func @merged(%x: tensor<?x64xbf16>) -> (tensor<?x64xf32>, tensor<?x32xf32>) {
  %w = llm.parameter "model"::["lm_head.weight", "layers.0.down.weight"] from [tensor<32x64xbf16>, tensor<32x64xbf16>] : tensor<64x64xbf16>
  %0 = llm.linear %x, %w : (tensor<?x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xf32>
  %v = llm.parameter "model"::"layers.0.downs.weight" : tensor<32x64xbf16>
  %1 = llm.linear %x, %v : (tensor<?x64xbf16>, tensor<32x64xbf16>) -> tensor<?x32xf32>
  return %0, %1 : tensor<?x64xf32>, tensor<?x32xf32>
}
