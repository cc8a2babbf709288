// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Registration of all dialects, passes and pipelines.

#include "llmir/InitAll.h"

#include "llmir/Conversion/Passes.h"
#include "llmir/Dialect/LLM/LLM.h"
#include "llmir/Dialect/LLM/Passes.h"
#include "llmir/Pipelines/Pipelines.h"

#include "mlir/InitAllDialects.h"
#include "mlir/InitAllExtensions.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"

void llmir::registerAllDialects(mlir::DialectRegistry &registry) {
  mlir::registerAllDialects(registry);
  mlir::registerAllExtensions(registry);
  mlir::registerBuiltinDialectTranslation(registry);
  mlir::registerLLVMDialectTranslation(registry);
  registry.insert<llm::LLMDialect>();
  llm::registerBufferizableOpInterfaceExternalModels(registry);
}

void llmir::registerAllPasses() {
  llm::registerLLMPasses();
  registerLLMIRConversionPasses();
  registerPipelines();
}
