// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Logits are computed of the rows that are asked for only.

#ifndef LLMIR_LIB_DIALECT_LLM_TRANSFORMS_LOGITROWS_H
#define LLMIR_LIB_DIALECT_LLM_TRANSFORMS_LOGITROWS_H

#include "mlir/IR/Builders.h"
#include "mlir/IR/Value.h"

namespace llmir::llm {

/// Returns, for `logits` of all rows, those of the rows that `logitRows` picks.
/// The rows are picked as early as all that follows is for logits only, as
/// importers do. Erases what is dead in the block.
mlir::Value pickRows(mlir::OpBuilder &b, mlir::Value logits,
                     mlir::Value logitRows);

} // namespace llmir::llm

#endif // LLMIR_LIB_DIALECT_LLM_TRANSFORMS_LOGITROWS_H
