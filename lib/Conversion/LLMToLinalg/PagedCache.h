// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The pass's second half: caches need a conversion of types, the rest does not.

#ifndef LLMIR_LIB_CONVERSION_LLMTOLINALG_PAGEDCACHE_H
#define LLMIR_LIB_CONVERSION_LLMTOLINALG_PAGEDCACHE_H

#include "mlir/IR/BuiltinOps.h"

namespace llmir::reference {

/// Replaces every cache of a module by its tensors, across functions, calls and
/// structured control flow. Reports what else uses one.
mlir::LogicalResult convertCaches(mlir::ModuleOp module);

} // namespace llmir::reference

#endif // LLMIR_LIB_CONVERSION_LLMTOLINALG_PAGEDCACHE_H
