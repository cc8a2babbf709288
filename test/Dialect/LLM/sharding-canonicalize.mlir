// RUN: llmir-opt %s -canonicalize -split-input-file | FileCheck %s

!split = !llm.sharded_tensor<tensor<?x8xf32>, shards = 2, split = 1>

// Out of shards what went in.
// CHECK-LABEL: func @in_and_out
// CHECK-SAME: (%[[X:.*]]: tensor<?x8xf32>)
// CHECK-NEXT: return %[[X]]
func.func @in_and_out(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %0 = llm.shard %x : (tensor<?x8xf32>) -> !split
  %1 = llm.unshard %0 : (!split) -> tensor<?x8xf32>
  return %1 : tensor<?x8xf32>
}

// -----

!split = !llm.sharded_tensor<tensor<?x8xf32>, shards = 2, split = 1>

// CHECK-LABEL: func @out_and_in
// CHECK-SAME: (%[[X:.*]]: !llm.sharded_tensor<{{.*}}>)
// CHECK-NEXT: return %[[X]]
func.func @out_and_in(%x: !split) -> !split {
  %0 = llm.unshard %x : (!split) -> tensor<?x8xf32>
  %1 = llm.shard %0 : (tensor<?x8xf32>) -> !split
  return %1 : !split
}

// -----

!split = !llm.sharded_tensor<tensor<?x8xf32>, shards = 2, split = 1>
!others = !llm.sharded_tensor<tensor<?x8xf32>, shards = 4, split = 1>

// Into other shards is no way back.
// CHECK-LABEL: func @out_and_into_others
// CHECK: llm.unshard
// CHECK: llm.shard
func.func @out_and_into_others(%x: !split) -> !others {
  %0 = llm.unshard %x : (!split) -> tensor<?x8xf32>
  %1 = llm.shard %0 : (tensor<?x8xf32>) -> !others
  return %1 : !others
}

// -----

!split = !llm.sharded_tensor<tensor<?x8xf32>, shards = 2, split = 1>
!all = !llm.sharded_tensor<tensor<?x8xf32>, shards = 2, replicated>

// What is only looked at from outside need not be gathered first.
// CHECK-LABEL: func @out_of_gathered
// CHECK-SAME: (%[[X:.*]]: !llm.sharded_tensor<{{.*}}>)
// CHECK-NEXT: %[[Y:.*]] = llm.unshard %[[X]] : (!llm.sharded_tensor<tensor<?x8xf32>, shards = 2, split = 1>)
// CHECK-NEXT: return %[[Y]]
func.func @out_of_gathered(%x: !split) -> tensor<?x8xf32> {
  %0 = llm.all_gather %x : (!split) -> !all
  %1 = llm.unshard %0 : (!all) -> tensor<?x8xf32>
  return %1 : tensor<?x8xf32>
}

// -----

!split = !llm.sharded_tensor<tensor<?x8xf32>, shards = 2, split = 1>
!all = !llm.sharded_tensor<tensor<?x8xf32>, shards = 2, replicated>

// Everyone has had it all.
// CHECK-LABEL: func @gather_of_sharded
// CHECK-NEXT: llm.shard %{{.*}} : (tensor<?x8xf32>) -> !llm.sharded_tensor<tensor<?x8xf32>, shards = 2, replicated>
// CHECK-NEXT: return
func.func @gather_of_sharded(%x: tensor<?x8xf32>) -> !all {
  %0 = llm.shard %x : (tensor<?x8xf32>) -> !split
  %1 = llm.all_gather %0 : (!split) -> !all
  return %1 : !all
}

// -----

!partial = !llm.sharded_tensor<tensor<?x8xf32>, shards = 2, partial = max>
!split = !llm.sharded_tensor<tensor<?x8xf32>, shards = 2, split = 1>
!all = !llm.sharded_tensor<tensor<?x8xf32>, shards = 2, replicated>

// Scattered and gathered is reduced.
// CHECK-LABEL: func @gather_of_scattered
// CHECK-NEXT: llm.all_reduce %{{.*}} : (!llm.sharded_tensor<tensor<?x8xf32>, shards = 2, partial = max>) -> !llm.sharded_tensor<tensor<?x8xf32>, shards = 2, replicated>
// CHECK-NEXT: return
func.func @gather_of_scattered(%x: !partial) -> !all {
  %0 = llm.reduce_scatter %x {scatter_axis = 1 : i64} : (!partial) -> !split
  %1 = llm.all_gather %0 : (!split) -> !all
  return %1 : !all
}

// -----

!partial = !llm.sharded_tensor<tensor<?x8xf32>, shards = 2, partial = sum>
!split = !llm.sharded_tensor<tensor<?x8xf32>, shards = 2, split = 1>
!all = !llm.sharded_tensor<tensor<?x8xf32>, shards = 2, replicated>

// Where the parts are wanted as well, a second reduction would cost more.
// CHECK-LABEL: func @gather_of_used
// CHECK: llm.reduce_scatter
// CHECK: llm.all_gather
func.func @gather_of_used(%x: !partial) -> (!split, !all) {
  %0 = llm.reduce_scatter %x {scatter_axis = 1 : i64} : (!partial) -> !split
  %1 = llm.all_gather %0 : (!split) -> !all
  return %0, %1 : !split, !all
}
