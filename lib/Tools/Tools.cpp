// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What each tool registers.

#include "llmir/Tools/Tools.h"

#include "llmir/InitAll.h"

#include "mlir/InitAllPasses.h"
#include "mlir/Target/LLVMIR/Dialect/All.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "mlir/Tools/mlir-lsp-server/MlirLspServerMain.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"
#include "mlir/Tools/mlir-translate/MlirTranslateMain.h"
#include "mlir/Tools/mlir-translate/Translation.h"
#include "llvm/IR/LLVMContext.h"
#include "llvm/IR/Module.h"

using namespace mlir;

int llmir::optMain(int argc, char **argv) {
  mlir::registerAllPasses();
  llmir::registerAllPasses();
  DialectRegistry registry;
  llmir::registerAllDialects(registry);
  return asMainReturnCode(
      MlirOptMain(argc, argv, "LLMIR's optimizer driver\n", registry));
}

namespace mlir {
void registerFromLLVMIRTranslation(); // mlir/InitAllTranslations.h has all.
} // namespace mlir

int llmir::translateMain(int argc, char **argv) {
  registerFromLLVMIRTranslation();
  // Upstream's own knows no llm dialect, whose attributes stay on the module.
  TranslateFromMLIRRegistration toLLVMIR(
      "mlir-to-llvmir", "Translate the LLVM dialect to LLVM IR",
      [](Operation *op, raw_ostream &output) {
        llvm::LLVMContext context;
        std::unique_ptr<llvm::Module> module =
            translateModuleToLLVMIR(op, context);
        if (!module)
          return failure();
        module->print(output, nullptr);
        return success();
      },
      [](DialectRegistry &registry) {
        llmir::registerAllDialects(registry);
        registerAllToLLVMIRTranslations(registry);
      });
  return asMainReturnCode(
      mlirTranslateMain(argc, argv, "LLMIR's translation driver"));
}

int llmir::lspServerMain(int argc, char **argv) {
  DialectRegistry registry;
  llmir::registerAllDialects(registry);
  return asMainReturnCode(MlirLspServerMain(argc, argv, registry));
}
