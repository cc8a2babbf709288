// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Everything LLMIR has, registered in one call, for tools and for other
// compilers.

#ifndef LLMIR_INITALL_H
#define LLMIR_INITALL_H

#include "mlir/IR/DialectRegistry.h"

namespace llmir {

/// Registers the `llm` dialect, the upstream ones that it lowers to, and the
/// interfaces and translations that they need.
void registerAllDialects(mlir::DialectRegistry &registry);

/// Registers LLMIR's passes and pipelines.
void registerAllPasses();

} // namespace llmir

#endif // LLMIR_INITALL_H
