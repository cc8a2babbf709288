// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The two ways to divide a program, of which `--llm-shard` is made.

#ifndef LLMIR_LIB_DIALECT_LLM_TRANSFORMS_SHARDS_H
#define LLMIR_LIB_DIALECT_LLM_TRANSFORMS_SHARDS_H

#include "mlir/IR/BuiltinOps.h"

namespace llmir::llm {

/// What dividing a program into shards has come to.
struct ShardCounts {
  /// Collectives in the program's text: in a function of a layer they run as
  /// often as there are layers.
  int64_t reductions = 0, gathers = 0;
  /// Uses of weights of which a shard holds a part, and of which it holds all.
  int64_t divided = 0, whole = 0;
};

/// Makes the program that each of `shards` shards runs, or reports why not.
mlir::FailureOr<ShardCounts> shardTensors(mlir::ModuleOp module,
                                          int64_t shards);

/// Moves the layers of the function `step` to one function for each stage, or
/// reports why not.
mlir::LogicalResult cutStages(mlir::ModuleOp module, int64_t stages);

} // namespace llmir::llm

#endif // LLMIR_LIB_DIALECT_LLM_TRANSFORMS_SHARDS_H
