// RUN: llmir-opt %s --llm-shard=tensor=2 -split-input-file -verify-diagnostics | FileCheck %s

// What becomes parts, where shards communicate, and what is refused. That the
// numbers are the same is in test/python/test_shard.py.

// A product whose outputs are taken in parts needs no communication, and one of
// parts is a term of a sum. Its bias is added once, to the sum.
// CHECK-LABEL: func @mlp
func.func @mlp(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  // CHECK-DAG: %[[UP:.*]] = llm.parameter "model"::"up" from tensor<12x8xf32> slices [#llm.slice<dim = 0, offset = 0, size = 6, stride = 6>] : tensor<6x8xf32>
  // CHECK-DAG: %[[UPB:.*]] = llm.parameter "model"::"up_bias" from tensor<12xf32> slices [#llm.slice<dim = 0, offset = 0, size = 6, stride = 6>] : tensor<6xf32>
  // CHECK-DAG: %[[DOWN:.*]] = llm.parameter "model"::"down" from tensor<8x12xf32> slices [#llm.slice<dim = 1, offset = 0, size = 6, stride = 6>] : tensor<8x6xf32>
  // CHECK-DAG: %[[DOWNB:.*]] = llm.parameter "model"::"down_bias" : tensor<8xf32>
  %up = llm.parameter "model"::"up" : tensor<12x8xf32>
  %up_bias = llm.parameter "model"::"up_bias" : tensor<12xf32>
  %down = llm.parameter "model"::"down" : tensor<8x12xf32>
  %down_bias = llm.parameter "model"::"down_bias" : tensor<8xf32>
  // CHECK: %[[Y:.*]] = llm.linear %{{.*}}, %[[UP]] bias %[[UPB]]
  // CHECK: %[[Z:.*]] = llm.activation relu %[[Y]] : (tensor<?x6xf32>)
  // CHECK: %[[T:.*]] = llm.linear %[[Z]], %[[DOWN]] : (tensor<?x6xf32>, tensor<8x6xf32>) -> tensor<?x8xf32>
  // CHECK-NEXT: %[[P:.*]] = llm.from_local %[[T]]
  // CHECK-NEXT: %[[R:.*]] = llm.all_reduce %[[P]]
  // CHECK-NEXT: %[[S:.*]] = llm.to_local %[[R]]
  // CHECK: linalg.generic {{.*}} ins(%[[S]], %[[DOWNB]]
  %y = llm.linear %x, %up bias %up_bias
    : (tensor<?x8xf32>, tensor<12x8xf32>, tensor<12xf32>) -> tensor<?x12xf32>
  %z = llm.activation relu %y : (tensor<?x12xf32>) -> tensor<?x12xf32>
  %w = llm.linear %z, %down bias %down_bias
    : (tensor<?x12xf32>, tensor<8x12xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  return %w : tensor<?x8xf32>
}

// -----

// Slices are those of the file's tensor, which is the transpose of what is
// multiplied by.
// CHECK-LABEL: func @transposed
// CHECK-DAG: llm.parameter "model"::"up" transposed from tensor<8x12xf32> slices [#llm.slice<dim = 1, offset = 0, size = 6, stride = 6>] : tensor<6x8xf32>
// CHECK-DAG: llm.parameter "model"::"down" transposed from tensor<12x8xf32> slices [#llm.slice<dim = 0, offset = 0, size = 6, stride = 6>] : tensor<8x6xf32>
func.func @transposed(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %up = llm.parameter "model"::"up" transposed from tensor<8x12xf32>
    : tensor<12x8xf32>
  %down = llm.parameter "model"::"down" transposed from tensor<12x8xf32>
    : tensor<8x12xf32>
  %y = llm.linear %x, %up
    : (tensor<?x8xf32>, tensor<12x8xf32>) -> tensor<?x12xf32>
  %w = llm.linear %y, %down
    : (tensor<?x12xf32>, tensor<8x12xf32>) -> tensor<?x8xf32>
  return %w : tensor<?x8xf32>
}

// -----

// A sum of two sums is reduced once, as a layer has whose attention and
// feed-forward network read the same.
// CHECK-LABEL: func @parallel
// CHECK: llm.linear
// CHECK: llm.linear
// CHECK-NOT: llm.all_reduce
// CHECK: %[[S:.*]] = arith.addf
// CHECK: %[[P:.*]] = llm.from_local %[[S]]
// CHECK: llm.all_reduce %[[P]]
// CHECK-NOT: llm.all_reduce
func.func @parallel(%x: tensor<?x8xf32>, %h: tensor<?x8xf32>)
    -> tensor<?x8xf32> {
  %a = llm.parameter "model"::"a" : tensor<12x8xf32>
  %b = llm.parameter "model"::"b" : tensor<8x12xf32>
  %c = llm.parameter "model"::"c" : tensor<16x8xf32>
  %d = llm.parameter "model"::"d" : tensor<8x16xf32>
  %y = llm.linear %x, %a
    : (tensor<?x8xf32>, tensor<12x8xf32>) -> tensor<?x12xf32>
  %z = llm.linear %y, %b
    : (tensor<?x12xf32>, tensor<8x12xf32>) -> tensor<?x8xf32>
  %v = llm.linear %x, %c
    : (tensor<?x8xf32>, tensor<16x8xf32>) -> tensor<?x16xf32>
  %w = llm.linear %v, %d
    : (tensor<?x16xf32>, tensor<8x16xf32>) -> tensor<?x8xf32>
  %sum = arith.addf %z, %w : tensor<?x8xf32>
  %out = arith.addf %h, %sum : tensor<?x8xf32>
  return %out : tensor<?x8xf32>
}

// -----

// The rows of the vocabulary are those of a shard, which knows its first one; the
// head has the same.
// CHECK-LABEL: func @step
// CHECK: %[[W:.*]] = llm.parameter "model"::"w" from tensor<10x8xf32> slices [#llm.slice<dim = 0, offset = 0, size = 5, stride = 5>]
// CHECK: %[[I:.*]] = llm.shard_index
// CHECK: %[[F:.*]] = arith.muli %[[I]]
// CHECK: %[[H:.*]] = llm.embedding %arg0, %[[W]] first %[[F]]
// CHECK: llm.from_local %[[H]]
// CHECK-NEXT: llm.all_reduce
// CHECK: %[[L:.*]] = llm.linear %{{.*}}, %[[W]]
// CHECK: %[[P:.*]] = llm.from_local %[[L]] : (tensor<?x5xf32>) -> !llm.sharded_tensor<tensor<?x10xf32>, shards = 2, split = 1>
// CHECK: llm.all_gather %[[P]]
func.func @step(%ids: tensor<?xi32>) -> tensor<?x10xf32> {
  %w = llm.parameter "model"::"w" : tensor<10x8xf32>
  %h = llm.embedding %ids, %w
    : (tensor<?xi32>, tensor<10x8xf32>) -> tensor<?x8xf32>
  %y = llm.linear %h, %w
    : (tensor<?x8xf32>, tensor<10x8xf32>) -> tensor<?x10xf32>
  return %y : tensor<?x10xf32>
}

// -----

// Other tables, as that of learned positions, stay whole, and need no sum.
// CHECK-LABEL: func @step
// CHECK: llm.parameter "model"::"p" : tensor<10x8xf32>
// CHECK-NOT: all_reduce
func.func @step(%ids: tensor<?xi32>, %positions: tensor<?xi32>)
    -> tensor<?x8xf32> {
  %p = llm.parameter "model"::"p" : tensor<10x8xf32>
  %h = llm.embedding %positions, %p
    : (tensor<?xi32>, tensor<10x8xf32>) -> tensor<?x8xf32>
  return %h : tensor<?x8xf32>
}

// -----

// Three products in one are divided each by itself, keys and values by KV heads.
// With one KV head, both shards have it. The weight of a function is divided where
// it is passed in.
// CHECK: module attributes {llm.model = {num_heads = 2 : i64, num_kv_heads = 1 : i64}, llm.shards = {pipeline = 1 : i64, tensor = 2 : i64}}
module attributes {llm.model = {num_heads = 4 : i64, num_kv_heads = 1 : i64}} {
// CHECK-LABEL: func @whole
// CHECK-SAME: !llm.paged_kv_cache<f32, 1, 1, 2, 4, 16>
// CHECK: llm.parameter "model"::["qkv", "qkv", "qkv"]
// CHECK-SAME: slices [#llm.slice<dim = 0, offset = 0, size = 4, stride = 4>, #llm.slice<dim = 0, offset = 8, size = 2, stride = 2, repeat = 2>, #llm.slice<dim = 0, offset = 10, size = 2, stride = 2, repeat = 2>] : tensor<8x8xf32>
func.func @whole(%x: tensor<?x8xf32>,
                 %kv: !llm.paged_kv_cache<f32, 1, 1, 2, 4, 16>,
                 %slots: tensor<?xi32>, %table: tensor<?x?xi32>,
                 %lens: tensor<?xi32>, %rows: tensor<?xi32>)
    -> (tensor<?x4x2xf32>, !llm.paged_kv_cache<f32, 1, 1, 2, 4, 16>) {
  %w = llm.parameter "model"::"qkv" : tensor<12x8xf32>
  %y, %kv1 = call @attention(%x, %kv, %slots, %table, %lens, %rows, %w)
    : (tensor<?x8xf32>, !llm.paged_kv_cache<f32, 1, 1, 2, 4, 16>, tensor<?xi32>,
       tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>, tensor<12x8xf32>)
    -> (tensor<?x4x2xf32>, !llm.paged_kv_cache<f32, 1, 1, 2, 4, 16>)
  return %y, %kv1 : tensor<?x4x2xf32>, !llm.paged_kv_cache<f32, 1, 1, 2, 4, 16>
}

// CHECK-LABEL: func private @attention
// CHECK-SAME: %[[W:arg6]]: tensor<8x8xf32>)
// CHECK: %[[Y:.*]] = llm.linear %{{.*}}, %[[W]] : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
// CHECK-DAG: tensor.extract_slice %[[Y]][0, 0] [%{{.*}}, 4] [1, 1] : tensor<?x8xf32> to tensor<?x4xf32>
// CHECK-DAG: tensor.extract_slice %[[Y]][0, 4] [%{{.*}}, 2] [1, 1] : tensor<?x8xf32> to tensor<?x2xf32>
// CHECK-DAG: tensor.extract_slice %[[Y]][0, 6] [%{{.*}}, 2] [1, 1] : tensor<?x8xf32> to tensor<?x2xf32>
// CHECK: %[[O:.*]] = llm.paged_attention {{.*}} -> tensor<?x2x2xf32>
// CHECK: llm.from_local %[[O]] : (tensor<?x2x2xf32>) -> !llm.sharded_tensor<tensor<?x4x2xf32>, shards = 2, split = 1>
// CHECK-NEXT: llm.all_gather
func.func private @attention(
    %x: tensor<?x8xf32>, %kv: !llm.paged_kv_cache<f32, 1, 1, 2, 4, 16>,
    %slots: tensor<?xi32>, %table: tensor<?x?xi32>, %lens: tensor<?xi32>,
    %rows: tensor<?xi32>, %w: tensor<12x8xf32>)
    -> (tensor<?x4x2xf32>, !llm.paged_kv_cache<f32, 1, 1, 2, 4, 16>) {
  %c0 = arith.constant 0 : index
  %y = llm.linear %x, %w
    : (tensor<?x8xf32>, tensor<12x8xf32>) -> tensor<?x12xf32>
  %t = tensor.dim %y, %c0 : tensor<?x12xf32>
  %q = tensor.extract_slice %y[0, 0] [%t, 8] [1, 1]
    : tensor<?x12xf32> to tensor<?x8xf32>
  %k = tensor.extract_slice %y[0, 8] [%t, 2] [1, 1]
    : tensor<?x12xf32> to tensor<?x2xf32>
  %v = tensor.extract_slice %y[0, 10] [%t, 2] [1, 1]
    : tensor<?x12xf32> to tensor<?x2xf32>
  %qs = tensor.expand_shape %q [[0], [1, 2]]
    : tensor<?x8xf32> into tensor<?x4x2xf32>
  %ks = tensor.expand_shape %k [[0], [1, 2]]
    : tensor<?x2xf32> into tensor<?x1x2xf32>
  %vs = tensor.expand_shape %v [[0], [1, 2]]
    : tensor<?x2xf32> into tensor<?x1x2xf32>
  %kv1 = llm.append_kv %kv, %ks, %vs slots %slots
    : (!llm.paged_kv_cache<f32, 1, 1, 2, 4, 16>, tensor<?x1x2xf32>,
       tensor<?x1x2xf32>, tensor<?xi32>)
    -> !llm.paged_kv_cache<f32, 1, 1, 2, 4, 16>
  %o = llm.paged_attention %qs, %kv1, %table, %lens rows %rows
    : (tensor<?x4x2xf32>, !llm.paged_kv_cache<f32, 1, 1, 2, 4, 16>,
       tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x4x2xf32>
  return %o, %kv1 : tensor<?x4x2xf32>, !llm.paged_kv_cache<f32, 1, 1, 2, 4, 16>
}
}

// -----

// Attention without a cache, with sinks that each head has.
// CHECK-LABEL: func @attention
// CHECK: llm.parameter "model"::"sinks" from tensor<4xf32> slices [#llm.slice<dim = 0, offset = 0, size = 2, stride = 2>] : tensor<2xf32>
// CHECK: llm.attention {{.*}} -> tensor<1x?x2x2xf32>
// CHECK: llm.all_reduce
// CHECK-NOT: llm.all_{{reduce|gather}}
func.func @attention(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %wq = llm.parameter "model"::"q" : tensor<8x8xf32>
  %wo = llm.parameter "model"::"o" : tensor<8x8xf32>
  %sinks = llm.parameter "model"::"sinks" : tensor<4xf32>
  %q = llm.linear %x, %wq
    : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
  %heads = tensor.expand_shape %q [[0, 1], [2, 3]]
    : tensor<?x8xf32> into tensor<1x?x4x2xf32>
  %a = llm.attention %heads, %heads, %heads sinks %sinks {causal}
    : (tensor<1x?x4x2xf32>, tensor<1x?x4x2xf32>, tensor<1x?x4x2xf32>,
       tensor<4xf32>) -> tensor<1x?x4x2xf32>
  %flat = tensor.collapse_shape %a [[0, 1], [2, 3]]
    : tensor<1x?x4x2xf32> into tensor<?x8xf32>
  %y = llm.linear %flat, %wo
    : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

// Experts are divided as feed-forward layers are; the router is whole.
// CHECK-LABEL: func @experts
// CHECK-DAG: llm.parameter "model"::"router" : tensor<4x8xf32>
// CHECK-DAG: llm.parameter "model"::"gate" from tensor<4x6x8xf32> slices [#llm.slice<dim = 1, offset = 0, size = 3, stride = 3>] : tensor<4x3x8xf32>
// CHECK-DAG: llm.parameter "model"::"down" from tensor<4x8x6xf32> slices [#llm.slice<dim = 2, offset = 0, size = 3, stride = 3>] : tensor<4x8x3xf32>
// CHECK: llm.moe
// CHECK-NEXT: llm.from_local
// CHECK-NEXT: llm.all_reduce
func.func @experts(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %router = llm.parameter "model"::"router" : tensor<4x8xf32>
  %gate = llm.parameter "model"::"gate" : tensor<4x6x8xf32>
  %up = llm.parameter "model"::"up" : tensor<4x6x8xf32>
  %down = llm.parameter "model"::"down" : tensor<4x8x6xf32>
  %logits = llm.linear %x, %router
    : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
  %y = llm.moe silu %x, %logits, %gate, %up, %down {top_k = 2 : i64}
    : (tensor<?x8xf32>, tensor<?x4xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>,
       tensor<4x8x6xf32>) -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

// What the pass does not know is computed whole, of whole values.
// CHECK-LABEL: func @unknown
// CHECK: llm.linear
// CHECK: llm.all_gather
// CHECK: %[[G:.*]] = llm.to_local
// CHECK: linalg.transpose ins(%[[G]] : tensor<4x12xf32>)
// CHECK: llm.linear
// CHECK: llm.all_reduce
func.func @unknown(%x: tensor<4x8xf32>, %empty: tensor<12x4xf32>)
    -> (tensor<4x8xf32>, tensor<12x4xf32>) {
  %up = llm.parameter "model"::"up" : tensor<12x8xf32>
  %down = llm.parameter "model"::"down" : tensor<8x12xf32>
  %y = llm.linear %x, %up
    : (tensor<4x8xf32>, tensor<12x8xf32>) -> tensor<4x12xf32>
  %t = linalg.transpose ins(%y : tensor<4x12xf32>)
    outs(%empty : tensor<12x4xf32>) permutation = [1, 0]
  %z = llm.linear %y, %down
    : (tensor<4x12xf32>, tensor<8x12xf32>) -> tensor<4x8xf32>
  return %z, %t : tensor<4x8xf32>, tensor<12x4xf32>
}

// -----

// A product that nothing takes in parts stays whole: computing it is cheaper than
// telling the others.
// CHECK-LABEL: func @whole
// CHECK: llm.parameter "model"::"w" : tensor<8x8xf32>
// CHECK-NOT: llm.all_{{reduce|gather}}
func.func @whole(%h: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %out = call @layer(%h) : (tensor<?x8xf32>) -> tensor<?x8xf32>
  return %out : tensor<?x8xf32>
}
func.func private @layer(%h: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %w = llm.parameter "model"::"w" : tensor<8x8xf32>
  %y = llm.linear %h, %w
    : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
  %out = arith.addf %h, %y : tensor<?x8xf32>
  return %out : tensor<?x8xf32>
}

// -----

// Query heads go to one shard each.
func.func @heads(%q: tensor<1x4x3x2xf32>) -> tensor<1x4x3x2xf32> {
  // expected-error @+1 {{its 3 query heads do not divide into 2 shards: choose a divisor of their number}}
  %a = llm.attention %q, %q, %q {causal}
    : (tensor<1x4x3x2xf32>, tensor<1x4x3x2xf32>, tensor<1x4x3x2xf32>)
    -> tensor<1x4x3x2xf32>
  return %a : tensor<1x4x3x2xf32>
}

// -----

// KV heads too, or to several.
func.func @kv_heads(%q: tensor<1x4x6x2xf32>, %k: tensor<1x4x3x2xf32>)
    -> tensor<1x4x6x2xf32> {
  // expected-error @+1 {{its 3 KV heads can neither be divided into 2 shards nor copied to them: choose a divisor or a multiple of their number}}
  %a = llm.attention %q, %k, %k {causal}
    : (tensor<1x4x6x2xf32>, tensor<1x4x3x2xf32>, tensor<1x4x3x2xf32>)
    -> tensor<1x4x6x2xf32>
  return %a : tensor<1x4x6x2xf32>
}

// -----

func.func @inner(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %up = llm.parameter "model"::"up" : tensor<13x8xf32>
  %down = llm.parameter "model"::"down" : tensor<8x13xf32>
  // expected-error @+1 {{its 13 outputs do not divide into 2 shards: choose a divisor of their number}}
  %y = llm.linear %x, %up
    : (tensor<?x8xf32>, tensor<13x8xf32>) -> tensor<?x13xf32>
  %w = llm.linear %y, %down
    : (tensor<?x13xf32>, tensor<8x13xf32>) -> tensor<?x8xf32>
  return %w : tensor<?x8xf32>
}

// -----

func.func @step(%ids: tensor<?xi32>) -> tensor<?x8xf32> {
  %w = llm.parameter "model"::"w" : tensor<11x8xf32>
  // expected-error @+1 {{its vocabulary of 11 rows does not divide into 2 shards: pad it to a multiple of their number}}
  %h = llm.embedding %ids, %w
    : (tensor<?xi32>, tensor<11x8xf32>) -> tensor<?x8xf32>
  return %h : tensor<?x8xf32>
}

// -----

func.func @quantized(%x: tensor<?x32xbf16>) -> tensor<?x8xf32> {
  %w = llm.parameter "model"::"w" from tensor<8x32xf32>
    : !llm.quantized_tensor<8x32xi8, scales = f32, axis = 1>
  // expected-error @+1 {{cannot be divided into 2 shards: groups of quantized numbers would be cut; divide the program before its weights are quantized}}
  %y = llm.quantized_matmul %x, %w
    : (tensor<?x32xbf16>, !llm.quantized_tensor<8x32xi8, scales = f32, axis = 1>)
    -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

func.func @fused(%x: tensor<?x8xf32>, %h: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %w = llm.parameter "model"::"w" : tensor<8x8xf32>
  // expected-error @+1 {{cannot be divided into 2 shards: divide the program before products are merged and fused}}
  %y = llm.linear %x, %w residual %h
    : (tensor<?x8xf32>, tensor<8x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

func.func @merged(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  // expected-error @+1 {{cannot be divided into 2 shards: divide the program before products are merged and fused}}
  %w = llm.parameter "model"::["k", "v"] from [tensor<4x8xf32>, tensor<4x8xf32>]
    : tensor<8x8xf32>
  %y = llm.linear %x, %w
    : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}
