// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The names by which options say what a cache holds.

#ifndef LLMIR_LIB_DIALECT_LLM_TRANSFORMS_CACHEDTYPE_H
#define LLMIR_LIB_DIALECT_LLM_TRANSFORMS_CACHEDTYPE_H

#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinTypes.h"
#include "llvm/ADT/StringSwitch.h"

namespace llmir::llm {

/// The type of a cache's elements, which is called int8, int4, f32, bf16 or
/// f16; null for any other name.
inline mlir::Type parseCacheDtype(mlir::MLIRContext *context,
                                  llvm::StringRef name) {
  mlir::Builder builder(context);
  return llvm::StringSwitch<mlir::Type>(name)
      .Case("int8", builder.getI8Type())
      .Case("int4", builder.getIntegerType(4))
      .Case("f32", builder.getF32Type())
      .Case("bf16", builder.getBF16Type())
      .Case("f16", builder.getF16Type())
      .Default(mlir::Type());
}

} // namespace llmir::llm

#endif // LLMIR_LIB_DIALECT_LLM_TRANSFORMS_CACHEDTYPE_H
