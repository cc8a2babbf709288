// RUN: llmir-opt %s -llm-pack-parameters -split-input-file | FileCheck %s

// A weight of bf16: panels of 32 outputs, which hold pairs of inputs.
// CHECK-LABEL: func @direct
// CHECK-NEXT: %[[W:.*]] = llm.parameter "model"::"w" from tensor<64x192xbf16> : tensor<2x96x32x2xbf16>
// CHECK-NEXT: llm.linear %{{.*}}, %[[W]] : (tensor<?x192xbf16>, tensor<2x96x32x2xbf16>) -> tensor<?x64xf32>
// CHECK-NEXT: return
func.func @direct(%x: tensor<?x192xbf16>) -> tensor<?x64xf32> {
  %w = llm.parameter "model"::"w" : tensor<64x192xbf16>
  %0 = llm.linear %x, %w : (tensor<?x192xbf16>, tensor<64x192xbf16>) -> tensor<?x64xf32>
  return %0 : tensor<?x64xf32>
}

// -----

// A weight of f32, read from a file of bf16, of odd sizes: 61 outputs are two
// panels, the second one padded.
// CHECK-LABEL: func @widened_odd
// CHECK: %[[W:.*]] = llm.parameter "model"::"w" from tensor<61x7xbf16> : tensor<2x7x32xf32>
// CHECK: llm.linear %{{.*}}, %[[W]] bias %{{.*}} residual %{{.*}} : (tensor<?x7xf32>, tensor<2x7x32xf32>, tensor<61xf32>, tensor<?x61xf32>) -> tensor<?x61xf32>
func.func @widened_odd(%x: tensor<?x7xf32>, %b: tensor<61xf32>, %h: tensor<?x61xf32>) -> tensor<?x61xf32> {
  %w = llm.parameter "model"::"w" from tensor<61x7xbf16> : tensor<61x7xf32>
  %0 = llm.linear %x, %w bias %b residual %h : (tensor<?x7xf32>, tensor<61x7xf32>, tensor<61xf32>, tensor<?x61xf32>) -> tensor<?x61xf32>
  return %0 : tensor<?x61xf32>
}

// -----

// Of bf16, 7 inputs are padded to 32, which are 16 pairs.
// CHECK-LABEL: func @bf16_odd
// CHECK: llm.parameter "model"::"w" from tensor<61x7xbf16> : tensor<2x16x32x2xbf16>
func.func @bf16_odd(%x: tensor<?x7xbf16>) -> tensor<?x61xf32> {
  %w = llm.parameter "model"::"w" : tensor<61x7xbf16>
  %0 = llm.linear %x, %w : (tensor<?x7xbf16>, tensor<61x7xbf16>) -> tensor<?x61xf32>
  return %0 : tensor<?x61xf32>
}

// -----

// Through a private function that is called twice.
// CHECK-LABEL: func @step
// CHECK: %[[W0:.*]] = llm.parameter "model"::"w0" from tensor<32x32xf32> : tensor<1x32x32xf32>
// CHECK: %[[W1:.*]] = llm.parameter "model"::"w1" from tensor<32x32xf32> : tensor<1x32x32xf32>
// CHECK: %[[H:.*]] = call @layer(%{{.*}}, %[[W0]]) : (tensor<?x32xf32>, tensor<1x32x32xf32>) -> tensor<?x32xf32>
// CHECK: call @layer(%[[H]], %[[W1]])
// CHECK: func private @layer(%{{.*}}: tensor<?x32xf32>, %[[W:.*]]: tensor<1x32x32xf32>)
// CHECK: llm.linear %{{.*}}, %[[W]] :
func.func @step(%x: tensor<?x32xf32>) -> tensor<?x32xf32> {
  %w0 = llm.parameter "model"::"w0" : tensor<32x32xf32>
  %w1 = llm.parameter "model"::"w1" : tensor<32x32xf32>
  %0 = call @layer(%x, %w0) : (tensor<?x32xf32>, tensor<32x32xf32>) -> tensor<?x32xf32>
  %1 = call @layer(%0, %w1) : (tensor<?x32xf32>, tensor<32x32xf32>) -> tensor<?x32xf32>
  return %1 : tensor<?x32xf32>
}
func.func private @layer(%x: tensor<?x32xf32>, %w: tensor<32x32xf32>) -> tensor<?x32xf32> {
  %0 = llm.linear %x, %w : (tensor<?x32xf32>, tensor<32x32xf32>) -> tensor<?x32xf32>
  return %0 : tensor<?x32xf32>
}

// -----

// A tied embedding is looked up row by row and multiplied by: its rows are read
// from the panels, and it is stored once.
// CHECK-LABEL: func @tied
// CHECK-NEXT: %[[P:.*]] = llm.parameter "model"::"embed" from tensor<61x32xbf16> : tensor<2x16x32x2xbf16>
// CHECK-NEXT: %[[H:.*]] = llm.embedding %{{.*}}, %[[P]] : (tensor<?xi32>, tensor<2x16x32x2xbf16>) -> tensor<?x32xbf16>
// CHECK-NEXT: llm.linear %[[H]], %[[P]] :
func.func @tied(%ids: tensor<?xi32>) -> tensor<?x61xf32> {
  %e = llm.parameter "model"::"embed" : tensor<61x32xbf16>
  %h = llm.embedding %ids, %e : (tensor<?xi32>, tensor<61x32xbf16>) -> tensor<?x32xbf16>
  %0 = llm.linear %h, %e : (tensor<?x32xbf16>, tensor<61x32xbf16>) -> tensor<?x61xf32>
  return %0 : tensor<?x61xf32>
}

// -----

// Whatever is looked up, and whichever op comes first.
// CHECK-LABEL: func @tied_twice
// CHECK-COUNT-1: llm.parameter
// CHECK-NOT: llm.parameter
func.func @tied_twice(%ids: tensor<?xi32>, %x: tensor<?x7xf16>) -> (tensor<?x7xf32>, tensor<?x7xf16>, tensor<?x64xf32>) {
  %e = llm.parameter "model"::"embed" : tensor<64x7xf16>
  %0 = llm.linear %x, %e : (tensor<?x7xf16>, tensor<64x7xf16>) -> tensor<?x64xf32>
  %1 = llm.embedding %ids, %e : (tensor<?xi32>, tensor<64x7xf16>) -> tensor<?x7xf32>
  %2 = llm.embedding %ids, %e : (tensor<?xi32>, tensor<64x7xf16>) -> tensor<?x7xf16>
  return %1, %2, %0 : tensor<?x7xf32>, tensor<?x7xf16>, tensor<?x64xf32>
}

// -----

// An embedding alone stays a matrix, and so does one whose product no kernel
// computes.
// CHECK-LABEL: func @untied
// CHECK: %[[E:.*]] = llm.parameter "model"::"embed" : tensor<64x32xf32>
// CHECK: %[[F:.*]] = llm.parameter "model"::"other" : tensor<64x32xbf16>
// CHECK: llm.embedding %{{.*}}, %[[E]]
// CHECK: llm.embedding %{{.*}}, %[[F]]
// CHECK: llm.linear %{{.*}}, %[[F]]
func.func @untied(%ids: tensor<?xi32>) -> (tensor<?x32xf32>, tensor<?x64xf32>) {
  %e = llm.parameter "model"::"embed" : tensor<64x32xf32>
  %f = llm.parameter "model"::"other" : tensor<64x32xbf16>
  %0 = llm.embedding %ids, %e : (tensor<?xi32>, tensor<64x32xf32>) -> tensor<?x32xf32>
  %1 = llm.embedding %ids, %f : (tensor<?xi32>, tensor<64x32xbf16>) -> tensor<?x32xf32>
  %2 = llm.linear %1, %f : (tensor<?x32xf32>, tensor<64x32xbf16>) -> tensor<?x64xf32>
  return %0, %2 : tensor<?x32xf32>, tensor<?x64xf32>
}

// -----

// Beside a gated product and one in a function the embedding keeps its rows.
// CHECK-LABEL: func @tied_otherwise
// CHECK-DAG: %[[E:.*]] = llm.parameter "model"::"embed" : tensor<64x32xf32>
// CHECK-DAG: %[[P:.*]] = llm.parameter "model"::"embed" from tensor<64x32xf32> : tensor<2x32x32xf32>
// CHECK-DAG: %[[G:.*]] = llm.parameter "model"::"embed" from tensor<64x32xf32> : tensor<1x2x32x32xf32>
// CHECK: llm.embedding %{{.*}}, %[[E]]
// CHECK: llm.linear %{{.*}}, %[[G]]
// CHECK: call @head(%{{.*}}, %[[P]])
func.func @tied_otherwise(%ids: tensor<?xi32>) -> (tensor<?x32xf32>, tensor<?x64xf32>) {
  %e = llm.parameter "model"::"embed" : tensor<64x32xf32>
  %0 = llm.embedding %ids, %e : (tensor<?xi32>, tensor<64x32xf32>) -> tensor<?x32xf32>
  %1 = llm.linear %0, %e activation silu gated : (tensor<?x32xf32>, tensor<64x32xf32>) -> tensor<?x32xf32>
  %2 = call @head(%0, %e) : (tensor<?x32xf32>, tensor<64x32xf32>) -> tensor<?x64xf32>
  return %1, %2 : tensor<?x32xf32>, tensor<?x64xf32>
}
func.func private @head(%x: tensor<?x32xf32>, %w: tensor<64x32xf32>) -> tensor<?x64xf32> {
  %0 = llm.linear %x, %w : (tensor<?x32xf32>, tensor<64x32xf32>) -> tensor<?x64xf32>
  return %0 : tensor<?x64xf32>
}

// -----

// A quantized head has other numbers than the embedding.
// CHECK-LABEL: func @tied_quantized
// CHECK-DAG: %[[E:.*]] = llm.parameter "model"::"embed" : tensor<64x32xbf16>
// CHECK-DAG: llm.parameter "model"::"embed" from tensor<64x32xbf16> : !llm.quantized_tensor<{{.*}}packing = panels>
// CHECK: llm.embedding %{{.*}}, %[[E]]
func.func @tied_quantized(%ids: tensor<?xi32>) -> tensor<?x64xf32> {
  %e = llm.parameter "model"::"embed" : tensor<64x32xbf16>
  %q = llm.parameter "model"::"embed" from tensor<64x32xbf16> : !llm.quantized_tensor<64x32xi8, scales = f32, axis = 1>
  %h = llm.embedding %ids, %e : (tensor<?xi32>, tensor<64x32xbf16>) -> tensor<?x32xbf16>
  %0 = llm.quantized_matmul %h, %q : (tensor<?x32xbf16>, !llm.quantized_tensor<64x32xi8, scales = f32, axis = 1>) -> tensor<?x64xf32>
  return %0 : tensor<?x64xf32>
}

// -----

// Not packed: kernels multiply equal types.
// CHECK-LABEL: func @types_differ
// CHECK: llm.parameter "model"::"w" : tensor<64x32xbf16>
func.func @types_differ(%x: tensor<?x32xf32>) -> tensor<?x64xf32> {
  %w = llm.parameter "model"::"w" : tensor<64x32xbf16>
  %0 = llm.linear %x, %w : (tensor<?x32xf32>, tensor<64x32xbf16>) -> tensor<?x64xf32>
  return %0 : tensor<?x64xf32>
}

// -----

// Of f16: panels without pairs or padding of the inputs.
// CHECK-LABEL: func @f16
// CHECK: llm.parameter "model"::"w" from tensor<64x33xf16> : tensor<2x33x32xf16>
func.func @f16(%x: tensor<?x33xf16>) -> tensor<?x64xf32> {
  %w = llm.parameter "model"::"w" : tensor<64x33xf16>
  %0 = llm.linear %x, %w : (tensor<?x33xf16>, tensor<64x33xf16>) -> tensor<?x64xf32>
  return %0 : tensor<?x64xf32>
}

// -----

// Not packed: biases and norms are no weights of products, whatever their shape,
// and neither is what is multiplied as the input.
// CHECK-LABEL: func @no_weights
// CHECK: llm.parameter "model"::"n" : tensor<32xf32>
// CHECK: llm.parameter "model"::"x" : tensor<8x32xf32>
func.func @no_weights(%x: tensor<?x32xf32>, %w: tensor<64x32xf32>) -> (tensor<?x32xf32>, tensor<8x64xf32>) {
  %n = llm.parameter "model"::"n" : tensor<32xf32>
  %p = llm.parameter "model"::"x" : tensor<8x32xf32>
  %0 = llm.rms_norm %x, %n {epsilon = 0.0 : f32} : (tensor<?x32xf32>, tensor<32xf32>) -> tensor<?x32xf32>
  %1 = llm.linear %p, %w : (tensor<8x32xf32>, tensor<64x32xf32>) -> tensor<8x64xf32>
  return %0, %1 : tensor<?x32xf32>, tensor<8x64xf32>
}

// -----

// Not packed: the argument is used otherwise, too, or a caller passes what is no
// parameter, or anybody may call the function.
// CHECK-LABEL: func @callers
// CHECK: llm.parameter "model"::"w" : tensor<32x32xf32>
// CHECK-NOT: llm.parameter
func.func @callers(%x: tensor<?x32xf32>, %t: tensor<32x32xf32>) {
  %w = llm.parameter "model"::"w" : tensor<32x32xf32>
  %0 = call @also_added(%x, %w) : (tensor<?x32xf32>, tensor<32x32xf32>) -> tensor<32x32xf32>
  call @sometimes(%x, %w) : (tensor<?x32xf32>, tensor<32x32xf32>) -> ()
  call @sometimes(%x, %t) : (tensor<?x32xf32>, tensor<32x32xf32>) -> ()
  call @public(%x, %w) : (tensor<?x32xf32>, tensor<32x32xf32>) -> ()
  return
}
// CHECK: func private @also_added(%{{.*}}: tensor<?x32xf32>, %{{.*}}: tensor<32x32xf32>)
func.func private @also_added(%x: tensor<?x32xf32>, %w: tensor<32x32xf32>) -> tensor<32x32xf32> {
  %0 = llm.linear %x, %w : (tensor<?x32xf32>, tensor<32x32xf32>) -> tensor<?x32xf32>
  %1 = arith.addf %w, %w : tensor<32x32xf32>
  return %1 : tensor<32x32xf32>
}
// CHECK: func private @sometimes(%{{.*}}: tensor<?x32xf32>, %{{.*}}: tensor<32x32xf32>)
func.func private @sometimes(%x: tensor<?x32xf32>, %w: tensor<32x32xf32>) {
  %0 = llm.linear %x, %w : (tensor<?x32xf32>, tensor<32x32xf32>) -> tensor<?x32xf32>
  return
}
// CHECK: func @public(%{{.*}}: tensor<?x32xf32>, %{{.*}}: tensor<32x32xf32>)
func.func @public(%x: tensor<?x32xf32>, %w: tensor<32x32xf32>) {
  %0 = llm.linear %x, %w : (tensor<?x32xf32>, tensor<32x32xf32>) -> tensor<?x32xf32>
  return
}

// -----

// A quantized weight, of inputs that kernels multiply: bf16, or integers that
// are made right before, with a scale for each token.
// CHECK-LABEL: func @quantized
// CHECK: llm.parameter "model"::"w" from tensor<64x192xf32> : !llm.quantized_tensor<64x192xi4, scales = f16, axis = 1, group_size = 32, packing = panels>
// CHECK: llm.quantized_matmul
// CHECK: llm.parameter "model"::"v" from tensor<64x192xf32> : !llm.quantized_tensor<64x192xi8, scales = f32, axis = 1, packing = panels>
// CHECK: llm.quantized_matmul
func.func @quantized(%x: tensor<?x192xbf16>) -> (tensor<?x64xf32>, tensor<?x64xbf16>) {
  %w = llm.parameter "model"::"w" from tensor<64x192xf32> : !llm.quantized_tensor<64x192xi4, scales = f16, axis = 1, group_size = 32>
  %0 = llm.quantized_matmul %x, %w : (tensor<?x192xbf16>, !llm.quantized_tensor<64x192xi4, scales = f16, axis = 1, group_size = 32>) -> tensor<?x64xf32>
  %q = llm.quantize %x : (tensor<?x192xbf16>) -> !llm.quantized_tensor<?x192xi8, scales = f32, axis = 1>
  %v = llm.parameter "model"::"v" from tensor<64x192xf32> : !llm.quantized_tensor<64x192xi8, scales = f32, axis = 1>
  %1 = llm.quantized_matmul %q, %v : (!llm.quantized_tensor<?x192xi8, scales = f32, axis = 1>, !llm.quantized_tensor<64x192xi8, scales = f32, axis = 1>) -> tensor<?x64xbf16>
  return %0, %1 : tensor<?x64xf32>, tensor<?x64xbf16>
}

// -----

// Not packed: of inputs in f32, of such in groups, and of groups that are no
// multiple of 32.
// CHECK-LABEL: func @quantized_otherwise
// CHECK-NOT: packing = panels
func.func @quantized_otherwise(%x: tensor<?x192xf32>, %y: tensor<?x192xbf16>) -> (tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>) {
  %w = llm.parameter "model"::"w" from tensor<64x192xf32> : !llm.quantized_tensor<64x192xi4, scales = f16, axis = 1, group_size = 32>
  %0 = llm.quantized_matmul %x, %w : (tensor<?x192xf32>, !llm.quantized_tensor<64x192xi4, scales = f16, axis = 1, group_size = 32>) -> tensor<?x64xf32>
  %q = llm.quantize %x : (tensor<?x192xf32>) -> !llm.quantized_tensor<?x192xi8, scales = f32, axis = 1, group_size = 32>
  %1 = llm.quantized_matmul %q, %w : (!llm.quantized_tensor<?x192xi8, scales = f32, axis = 1, group_size = 32>, !llm.quantized_tensor<64x192xi4, scales = f16, axis = 1, group_size = 32>) -> tensor<?x64xf32>
  %v = llm.parameter "model"::"w" from tensor<64x192xf32> : !llm.quantized_tensor<64x192xi4, scales = f16, axis = 1, group_size = 16>
  %2 = llm.quantized_matmul %y, %v : (tensor<?x192xbf16>, !llm.quantized_tensor<64x192xi4, scales = f16, axis = 1, group_size = 16>) -> tensor<?x64xf32>
  return %0, %1, %2 : tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>
}

// -----

// Gates by turns, and a norm that the product quantizes.
// CHECK-LABEL: func @quantized_gated
// CHECK: llm.parameter "model"::"w" from tensor<64x192xf32> : !llm.quantized_tensor<64x192xi8, scales = f32, axis = 1, packing = gated_panels>
func.func @quantized_gated(%x: tensor<?x192xf32>, %n: tensor<192xf32>) -> tensor<?x32xf32> {
  %w = llm.parameter "model"::"w" from tensor<64x192xf32> : !llm.quantized_tensor<64x192xi8, scales = f32, axis = 1>
  %0 = llm.quantized_matmul %x, %w norm %n activation silu gated {epsilon = 1.0e-05 : f32, input_type = !llm.quantized_tensor<?x192xi8, scales = f32, axis = 1>} : (tensor<?x192xf32>, !llm.quantized_tensor<64x192xi8, scales = f32, axis = 1>, tensor<192xf32>) -> tensor<?x32xf32>
  return %0 : tensor<?x32xf32>
}
