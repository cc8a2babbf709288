// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Constructors and registration of the passes that leave the `llm` dialect, and
// their patterns, for other compilers to compose.

#ifndef LLMIR_CONVERSION_PASSES_H
#define LLMIR_CONVERSION_PASSES_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/Pass/Pass.h"

namespace llmir {

/// Adds the reference lowerings of the ops that compute on tensors alone.
void populateLLMToLinalgPatterns(mlir::RewritePatternSet &patterns);

/// Adds lowerings of bf16 conversions to integer arithmetic, and of other
/// arithmetic on bf16 to f32.
void populateExpandBF16Patterns(mlir::RewritePatternSet &patterns);

#define GEN_PASS_DECL
#include "llmir/Conversion/Passes.h.inc"

#define GEN_PASS_REGISTRATION
#include "llmir/Conversion/Passes.h.inc"

} // namespace llmir

#endif // LLMIR_CONVERSION_PASSES_H
