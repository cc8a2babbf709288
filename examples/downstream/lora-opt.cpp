// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The compiler: LLMIR's dialects, passes and pipelines, and our own.

#include "Lora.h"

#include "llmir/InitAll.h"

#include "mlir/InitAllPasses.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"

int main(int argc, char **argv) {
  mlir::registerAllPasses();
  llmir::registerAllPasses();
  lora::registerLoraPasses();
  mlir::DialectRegistry registry;
  llmir::registerAllDialects(registry);
  registry.insert<lora::LoraDialect>();
  return mlir::asMainReturnCode(
      mlir::MlirOptMain(argc, argv, "A compiler for adapters\n", registry));
}
