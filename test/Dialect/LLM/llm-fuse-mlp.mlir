// RUN: llmir-opt %s --llm-fuse-mlp -split-input-file | FileCheck %s
// RUN: llmir-opt %s --llm-fuse-mlp --llm-fuse-mlp -split-input-file | FileCheck %s

// A gated feed-forward network is two products.
// CHECK-LABEL: func @mlp
// CHECK-DAG: %[[GU:.*]] = llm.parameter "model"::["gate", "up"]
// CHECK-DAG: %[[D:.*]] = llm.parameter "model"::"down"
// CHECK: %[[Z:.*]] = llm.linear %{{.*}}, %[[GU]] activation silu gated
// CHECK: llm.linear %[[Z]], %[[D]] residual
// CHECK-NOT: llm.activation
// CHECK-NOT: arith.addf
func.func @mlp(%x: tensor<?x8xf32>, %h: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %wg = llm.parameter "model"::"gate" : tensor<6x8xf32>
  %wu = llm.parameter "model"::"up" : tensor<6x8xf32>
  %wd = llm.parameter "model"::"down" : tensor<8x6xf32>
  %gate = llm.linear %x, %wg
    : (tensor<?x8xf32>, tensor<6x8xf32>) -> tensor<?x6xf32>
  %up = llm.linear %x, %wu
    : (tensor<?x8xf32>, tensor<6x8xf32>) -> tensor<?x6xf32>
  %z = llm.activation silu %gate, %up
    : (tensor<?x6xf32>, tensor<?x6xf32>) -> tensor<?x6xf32>
  %y = llm.linear %z, %wd
    : (tensor<?x6xf32>, tensor<8x6xf32>) -> tensor<?x8xf32>
  %out = arith.addf %h, %y : tensor<?x8xf32>
  return %out : tensor<?x8xf32>
}

// -----

// Keys and values are for `--llm-fuse-attention`.
// CHECK-LABEL: func @keys
// CHECK-COUNT-2: llm.linear
func.func @keys(%x: tensor<?x8xf32>) -> (tensor<?x6xf32>, tensor<?x6xf32>) {
  %wk = llm.parameter "model"::"k" : tensor<6x8xf32>
  %wv = llm.parameter "model"::"v" : tensor<6x8xf32>
  %k = llm.linear %x, %wk
    : (tensor<?x8xf32>, tensor<6x8xf32>) -> tensor<?x6xf32>
  %v = llm.linear %x, %wv
    : (tensor<?x8xf32>, tensor<6x8xf32>) -> tensor<?x6xf32>
  return %k, %v : tensor<?x6xf32>, tensor<?x6xf32>
}
