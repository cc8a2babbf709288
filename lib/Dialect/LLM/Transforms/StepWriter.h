// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Writes a step over a cache from a function over whole sequences.

#ifndef LLMIR_LIB_DIALECT_LLM_TRANSFORMS_STEPWRITER_H
#define LLMIR_LIB_DIALECT_LLM_TRANSFORMS_STEPWRITER_H

#include "StepPlan.h"

namespace llmir::llm {

struct WrittenStep {
  mlir::func::FuncOp step;
  /// What stands for each function that was called, one for each of the types
  /// that it is called with.
  llvm::MapVector<mlir::Operation *, llvm::SmallVector<mlir::func::FuncOp>>
      layers;
};

/// Writes the step of a planned function before it, and the functions that it
/// calls before those that they stand for. Nothing else changes.
///
/// logits: the function's result that the step returns.
WrittenStep writeStep(const Planner &planner, mlir::func::FuncOp entry,
                      mlir::Value logits, PagedKVCacheType cache);

} // namespace llmir::llm

#endif // LLMIR_LIB_DIALECT_LLM_TRANSFORMS_STEPWRITER_H
