// RUN: not llmir-opt %s -convert-llm-to-linalg=keep-kernels 2>&1 | FileCheck %s

// A program of shards has a meaning, but the CPU pipeline makes no code of it.
// CHECK: error: 'llm.shard' op works on shards, for which there is a reference meaning but no code for the CPU
func.func @shards(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %0 = llm.shard %x : (tensor<?x64xf32>) -> !llm.sharded_tensor<tensor<?x64xf32>, shards = 2, split = 1>
  %1 = llm.all_gather %0 : (!llm.sharded_tensor<tensor<?x64xf32>, shards = 2, split = 1>) -> !llm.sharded_tensor<tensor<?x64xf32>, shards = 2, replicated>
  %2 = llm.unshard %1 : (!llm.sharded_tensor<tensor<?x64xf32>, shards = 2, replicated>) -> tensor<?x64xf32>
  return %2 : tensor<?x64xf32>
}
