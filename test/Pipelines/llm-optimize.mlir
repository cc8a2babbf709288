// RUN: llmir-opt %S/Inputs/two-layer-step.mlir -llm-optimize | FileCheck %s

// A whole step: every weight of a product is packed, both layers share one
// function, residuals are folded into products, and nothing has left the dialect.

// The tied embedding stands here twice, once for each use.
// CHECK-LABEL: func @step
// CHECK-DAG: %[[EMBED:.*]] = llm.parameter "model"::"model.embed_tokens.weight" : tensor<1024x192xbf16>
// CHECK-DAG: %[[HEAD:.*]] = llm.parameter "model"::"model.embed_tokens.weight" from tensor<1024x192xbf16> : tensor<32x96x32x2xbf16>
// CHECK: llm.embedding %{{.*}}, %[[EMBED]]
// CHECK-DAG: llm.parameter "model"::"model.layers.0.input_layernorm.weight" : tensor<192xbf16>
// CHECK-DAG: llm.parameter "model"::"model.layers.0.mlp.down_proj.weight" from tensor<192x512xbf16> : tensor<6x256x32x2xbf16>
// CHECK: %[[L0:.*]]:2 = call @decoder_layer(
// CHECK: %[[L1:.*]]:2 = call @decoder_layer(%[[L0]]#0, %[[L0]]#1,
// CHECK-NOT: call
// CHECK: llm.linear %{{.*}}, %[[HEAD]] :
// CHECK: return %{{.*}}, %[[L1]]#1

// CHECK: func private @decoder_layer(%[[H:[^ ]*]]: tensor<?x192xf32>
// CHECK-NOT: arith.addf
// CHECK: %[[MID:.*]] = llm.linear %{{.*}}, %{{.*}} residual %[[H]] :
// CHECK-NOT: arith.addf
// CHECK: llm.linear %{{.*}}, %{{.*}} residual %[[MID]] :
// CHECK-NEXT: return
// CHECK-NOT: func
