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
