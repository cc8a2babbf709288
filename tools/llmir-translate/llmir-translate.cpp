// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// mlir-translate with LLMIR's dialect.

#include "llmir/Tools/Tools.h"

int main(int argc, char **argv) { return llmir::translateMain(argc, argv); }
