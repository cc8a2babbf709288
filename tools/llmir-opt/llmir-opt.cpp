// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// mlir-opt with LLMIR's dialect, passes and pipelines.

#include "llmir/Tools/Tools.h"

int main(int argc, char **argv) { return llmir::optMain(argc, argv); }
