// RUN: llmir-opt %s | llmir-opt | FileCheck %s
// RUN: llmir-opt --mlir-print-op-generic %s | llmir-opt | FileCheck %s
// RUN: llmir-opt -emit-bytecode %s | llmir-opt | FileCheck %s

// Round trip of sharded tensors and of the ops on them. Functions named
// `example_*` hold the examples of the TableGen files as they stand there.

// CHECK-LABEL: func private @example_types
// CHECK-SAME: !llm.sharded_tensor<tensor<64x128xbf16>, shards = 4, split = 0>,
// CHECK-SAME: !llm.sharded_tensor<tensor<?x128xf32>, shards = 4, replicated>,
// CHECK-SAME: !llm.sharded_tensor<tensor<?x128xf32>, shards = 4, partial = sum>,
// CHECK-SAME: !llm.sharded_tensor<tensor<?x128xf32>, shards = 2, partial = max>,
// CHECK-SAME: !llm.sharded_tensor<tensor<f32>, shards = 3, replicated>)
func.func private @example_types(
    !llm.sharded_tensor<tensor<64x128xbf16>, shards = 4, split = 0>,
    !llm.sharded_tensor<tensor<?x128xf32>, shards = 4, replicated>,
    !llm.sharded_tensor<tensor<?x128xf32>, shards = 4, partial = sum>,
    !llm.sharded_tensor<tensor<?x128xf32>, shards = 2, partial = max>,
    !llm.sharded_tensor<tensor<f32>, shards = 3, replicated>)

// CHECK-LABEL: func @example_shard
func.func @example_shard(%w: tensor<64x128xbf16>)
    -> !llm.sharded_tensor<tensor<64x128xbf16>, shards = 4, split = 0> {
  // CHECK: llm.shard %{{.*}} : (tensor<64x128xbf16>) -> !llm.sharded_tensor<tensor<64x128xbf16>, shards = 4, split = 0>
  %s = llm.shard %w : (tensor<64x128xbf16>)
    -> !llm.sharded_tensor<tensor<64x128xbf16>, shards = 4, split = 0>
  return %s : !llm.sharded_tensor<tensor<64x128xbf16>, shards = 4, split = 0>
}

// CHECK-LABEL: func @example_unshard
func.func @example_unshard(
    %s: !llm.sharded_tensor<tensor<64x128xbf16>, shards = 4, split = 0>)
    -> tensor<64x128xbf16> {
  // CHECK: llm.unshard %{{.*}} : (!llm.sharded_tensor<tensor<64x128xbf16>, shards = 4, split = 0>) -> tensor<64x128xbf16>
  %w = llm.unshard %s
    : (!llm.sharded_tensor<tensor<64x128xbf16>, shards = 4, split = 0>)
    -> tensor<64x128xbf16>
  return %w : tensor<64x128xbf16>
}

// CHECK-LABEL: func @example_all_gather
func.func @example_all_gather(
    %s: !llm.sharded_tensor<tensor<?x64xf32>, shards = 4, split = 1>)
    -> !llm.sharded_tensor<tensor<?x64xf32>, shards = 4, replicated> {
  // CHECK: llm.all_gather %{{.*}} : (!llm.sharded_tensor<tensor<?x64xf32>, shards = 4, split = 1>) -> !llm.sharded_tensor<tensor<?x64xf32>, shards = 4, replicated>
  %g = llm.all_gather %s
    : (!llm.sharded_tensor<tensor<?x64xf32>, shards = 4, split = 1>)
    -> !llm.sharded_tensor<tensor<?x64xf32>, shards = 4, replicated>
  return %g : !llm.sharded_tensor<tensor<?x64xf32>, shards = 4, replicated>
}

// CHECK-LABEL: func @example_all_reduce
func.func @example_all_reduce(
    %p: !llm.sharded_tensor<tensor<?x64xf32>, shards = 4, partial = sum>)
    -> !llm.sharded_tensor<tensor<?x64xf32>, shards = 4, replicated> {
  // CHECK: llm.all_reduce %{{.*}} : (!llm.sharded_tensor<tensor<?x64xf32>, shards = 4, partial = sum>) -> !llm.sharded_tensor<tensor<?x64xf32>, shards = 4, replicated>
  %r = llm.all_reduce %p
    : (!llm.sharded_tensor<tensor<?x64xf32>, shards = 4, partial = sum>)
    -> !llm.sharded_tensor<tensor<?x64xf32>, shards = 4, replicated>
  return %r : !llm.sharded_tensor<tensor<?x64xf32>, shards = 4, replicated>
}

// CHECK-LABEL: func @example_reduce_scatter
func.func @example_reduce_scatter(
    %p: !llm.sharded_tensor<tensor<?x64xf32>, shards = 4, partial = sum>)
    -> !llm.sharded_tensor<tensor<?x64xf32>, shards = 4, split = 1> {
  // CHECK: llm.reduce_scatter %{{.*}} {scatter_axis = 1 : i64} : (!llm.sharded_tensor<tensor<?x64xf32>, shards = 4, partial = sum>) -> !llm.sharded_tensor<tensor<?x64xf32>, shards = 4, split = 1>
  %r = llm.reduce_scatter %p {scatter_axis = 1 : i64}
    : (!llm.sharded_tensor<tensor<?x64xf32>, shards = 4, partial = sum>)
    -> !llm.sharded_tensor<tensor<?x64xf32>, shards = 4, split = 1>
  return %r : !llm.sharded_tensor<tensor<?x64xf32>, shards = 4, split = 1>
}

// CHECK-LABEL: func @example_sharded_linear
func.func @example_sharded_linear(
    %x: !llm.sharded_tensor<tensor<?x128xf32>, shards = 4, split = 1>,
    %w: !llm.sharded_tensor<tensor<64x128xbf16>, shards = 4, split = 1>)
    -> !llm.sharded_tensor<tensor<?x64xf32>, shards = 4, partial = sum> {
  // CHECK: llm.sharded_linear %{{.*}}, %{{[^ ]*}} : (!llm.sharded_tensor<tensor<?x128xf32>, shards = 4, split = 1>, !llm.sharded_tensor<tensor<64x128xbf16>, shards = 4, split = 1>) -> !llm.sharded_tensor<tensor<?x64xf32>, shards = 4, partial = sum>
  %y = llm.sharded_linear %x, %w
    : (!llm.sharded_tensor<tensor<?x128xf32>, shards = 4, split = 1>,
       !llm.sharded_tensor<tensor<64x128xbf16>, shards = 4, split = 1>)
    -> !llm.sharded_tensor<tensor<?x64xf32>, shards = 4, partial = sum>
  return %y : !llm.sharded_tensor<tensor<?x64xf32>, shards = 4, partial = sum>
}

// Column parallel, with a bias that is split as the outputs are, to another type.
// CHECK-LABEL: func @sharded_linear_columns
func.func @sharded_linear_columns(
    %x: !llm.sharded_tensor<tensor<?x128xf32>, shards = 4, replicated>,
    %w: !llm.sharded_tensor<tensor<64x128xbf16>, shards = 4, split = 0>,
    %b: !llm.sharded_tensor<tensor<64xbf16>, shards = 4, split = 0>) {
  // CHECK: llm.sharded_linear %{{.*}}, %{{[^ ]*}} bias %{{[^ ]*}} : {{.*}} -> !llm.sharded_tensor<tensor<?x64xbf16>, shards = 4, split = 1>
  %y = llm.sharded_linear %x, %w bias %b
    : (!llm.sharded_tensor<tensor<?x128xf32>, shards = 4, replicated>,
       !llm.sharded_tensor<tensor<64x128xbf16>, shards = 4, split = 0>,
       !llm.sharded_tensor<tensor<64xbf16>, shards = 4, split = 0>)
    -> !llm.sharded_tensor<tensor<?x64xbf16>, shards = 4, split = 1>
  return
}

// CHECK-LABEL: func @example_shard_index
func.func @example_shard_index() -> index {
  // CHECK: llm.shard_index : index
  %shard = llm.shard_index : index
  return %shard : index
}

// CHECK-LABEL: func @example_from_local
func.func @example_from_local(%term: tensor<?x64xf32>, %a: tensor<?x32xf32>,
                              %b: tensor<?x32xf32>)
    -> (!llm.sharded_tensor<tensor<?x64xf32>, shards = 2, partial = sum>,
        !llm.sharded_tensor<tensor<?x64xf32>, shards = 2, split = 1>) {
  // CHECK: llm.from_local %{{.*}} : (tensor<?x64xf32>) -> !llm.sharded_tensor<tensor<?x64xf32>, shards = 2, partial = sum>
  %s = llm.from_local %term : (tensor<?x64xf32>)
    -> !llm.sharded_tensor<tensor<?x64xf32>, shards = 2, partial = sum>
  // CHECK: llm.from_local %{{.*}}, %{{.*}} : (tensor<?x32xf32>, tensor<?x32xf32>) -> !llm.sharded_tensor<tensor<?x64xf32>, shards = 2, split = 1>
  %t = llm.from_local %a, %b : (tensor<?x32xf32>, tensor<?x32xf32>)
    -> !llm.sharded_tensor<tensor<?x64xf32>, shards = 2, split = 1>
  return %s, %t
    : !llm.sharded_tensor<tensor<?x64xf32>, shards = 2, partial = sum>,
      !llm.sharded_tensor<tensor<?x64xf32>, shards = 2, split = 1>
}

// CHECK-LABEL: func @example_to_local
func.func @example_to_local(
    %s: !llm.sharded_tensor<tensor<?x64xf32>, shards = 2, replicated>)
    -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  // CHECK: llm.to_local %{{.*}} : (!llm.sharded_tensor<tensor<?x64xf32>, shards = 2, replicated>) -> tensor<?x64xf32>
  %x = llm.to_local %s
    : (!llm.sharded_tensor<tensor<?x64xf32>, shards = 2, replicated>)
    -> tensor<?x64xf32>
  // CHECK: llm.to_local %{{.*}} : (!llm.sharded_tensor<tensor<?x64xf32>, shards = 2, replicated>) -> (tensor<?x64xf32>, tensor<?x64xf32>)
  %y:2 = llm.to_local %s
    : (!llm.sharded_tensor<tensor<?x64xf32>, shards = 2, replicated>)
    -> (tensor<?x64xf32>, tensor<?x64xf32>)
  return %x, %y#1 : tensor<?x64xf32>, tensor<?x64xf32>
}

// CHECK-LABEL: func @example_slices
func.func @example_slices(%ids: tensor<?xi32>, %first: index)
    -> tensor<?x192xf32> {
  // CHECK: llm.parameter "model"::"w" from tensor<1024x192xbf16> slices [#llm.slice<dim = 0, offset = 0, size = 512, stride = 512>] : tensor<512x192xbf16>
  %w = llm.parameter "model"::"w" from tensor<1024x192xbf16>
    slices [#llm.slice<dim = 0, offset = 0, size = 512, stride = 512>]
    : tensor<512x192xbf16>
  // CHECK: llm.parameter "model"::["k", "v"] from [tensor<8x8xf32>, tensor<4x8xf32>] slices [#llm.slice<dim = 0, offset = 0, size = 2, stride = 2, repeat = 2>, #llm.slice<dim = 0, offset = 1, size = 3>] : tensor<5x8xf32>
  %kv = llm.parameter "model"::["k", "v"]
    from [tensor<8x8xf32>, tensor<4x8xf32>]
    slices [#llm.slice<dim = 0, offset = 0, size = 2, stride = 2, repeat = 2>,
            #llm.slice<dim = 0, offset = 1, size = 3>] : tensor<5x8xf32>
  // CHECK: llm.embedding %{{.*}}, %{{.*}} first %{{.*}} : (tensor<?xi32>, tensor<512x192xbf16>, index) -> tensor<?x192xf32>
  %h = llm.embedding %ids, %w first %first
    : (tensor<?xi32>, tensor<512x192xbf16>, index) -> tensor<?x192xf32>
  return %h : tensor<?x192xf32>
}
