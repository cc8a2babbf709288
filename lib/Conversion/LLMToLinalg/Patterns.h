// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The reference lowerings that have a file of their own.

#ifndef LLMIR_LIB_CONVERSION_LLMTOLINALG_PATTERNS_H
#define LLMIR_LIB_CONVERSION_LLMTOLINALG_PATTERNS_H

#include "mlir/IR/PatternMatch.h"

namespace llmir::reference {

/// Adds the lowering of `llm.moe`, to products and activations among others.
void populateMixtureOfExpertsPatterns(mlir::RewritePatternSet &patterns);

/// Adds the lowerings of `llm.rms_norm` and `llm.layer_norm`.
void populateNormalizationPatterns(mlir::RewritePatternSet &patterns);

} // namespace llmir::reference

#endif // LLMIR_LIB_CONVERSION_LLMTOLINALG_PATTERNS_H
