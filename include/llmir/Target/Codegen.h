// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// From the LLVM dialect to machine code, in this process: no compiler,
// assembler or linker is run.

#ifndef LLMIR_TARGET_CODEGEN_H
#define LLMIR_TARGET_CODEGEN_H

#include "mlir/IR/BuiltinOps.h"
#include "llvm/Support/Error.h"

#include <string>

namespace llmir {

enum class CodegenOutput { LLVMIR, Assembly, Object };

struct CodegenOptions {
  /// The CPU to tune for, as LLVM names it.
  std::string tuneCPU;
  /// What may be used beyond the architecture's base, as LLVM's list:
  /// "+avx2,+fma".
  std::string features;
};

/// The CPU that this machine is tuned as: the one LLVM knows it for or, for one
/// that LLVM does not know, the nearest level of x86-64.
std::string hostCPU();

/// Translates, optimizes and emits a module that is all in the LLVM dialect.
llvm::Expected<std::string> generateCode(mlir::ModuleOp module,
                                         const CodegenOptions &options,
                                         CodegenOutput output);

/// Links an object file into a shared object that needs no symbol. With
/// `allowUndefined` it may need some, which are found in the process that loads
/// it: tests of the reference code, which allocates, are linked so.
llvm::Error linkSharedObject(llvm::StringRef objectPath,
                             llvm::StringRef outputPath,
                             bool allowUndefined = false);

} // namespace llmir

#endif // LLMIR_TARGET_CODEGEN_H
