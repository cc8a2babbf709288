// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Constructors and registration of the passes that stay within the dialect.

#ifndef LLMIR_DIALECT_LLM_PASSES_H
#define LLMIR_DIALECT_LLM_PASSES_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

namespace llmir::llm {

#define GEN_PASS_DECL
#include "llmir/Dialect/LLM/Passes.h.inc"

#define GEN_PASS_REGISTRATION
#include "llmir/Dialect/LLM/Passes.h.inc"

} // namespace llmir::llm

#endif // LLMIR_DIALECT_LLM_PASSES_H
