// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The language server of MLIR with LLMIR's dialect, for editors:
// docs/editors.md.

#include "llmir/Tools/Tools.h"

int main(int argc, char **argv) { return llmir::lspServerMain(argc, argv); }
