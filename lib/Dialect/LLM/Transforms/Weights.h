// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Parameters that products multiply by, also through calls: layers are
// functions that take their weights as arguments.

#ifndef LLMIR_LIB_DIALECT_LLM_TRANSFORMS_WEIGHTS_H
#define LLMIR_LIB_DIALECT_LLM_TRANSFORMS_WEIGHTS_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Value.h"

namespace llmir::llm {

/// Gives parameters the type that `newType` wants at a use, which is null where
/// a use is to stay as it is. An argument of a private function gets a new
/// type, if all its uses want the same one and every call passes a parameter. A
/// parameter that has other uses is kept beside its new form. Returns how many
/// uses of parameters got another type.
int64_t
retypeWeights(mlir::ModuleOp module,
              llvm::function_ref<mlir::Type(mlir::OpOperand &)> newType);

} // namespace llmir::llm

#endif // LLMIR_LIB_DIALECT_LLM_TRANSFORMS_WEIGHTS_H
