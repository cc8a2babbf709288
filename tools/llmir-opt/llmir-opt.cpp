// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// mlir-opt with LLMIR's dialect, passes and pipelines.

#include "llmir/InitAll.h"

#include "mlir/InitAllPasses.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"

int main(int argc, char **argv) {
  mlir::registerAllPasses();
  llmir::registerAllPasses();
  mlir::DialectRegistry registry;
  llmir::registerAllDialects(registry);
  return mlir::asMainReturnCode(
      mlir::MlirOptMain(argc, argv, "LLMIR's optimizer driver\n", registry));
}
