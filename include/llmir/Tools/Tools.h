// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// MLIR's tools with LLMIR's dialect, passes and pipelines. They are functions,
// since each is a program in tools/ and also a command of the Python package,
// whose wheel has one copy of LLVM, not four.

#ifndef LLMIR_TOOLS_TOOLS_H
#define LLMIR_TOOLS_TOOLS_H

namespace llmir {

/// mlir-opt. Like the others, it runs once a process and returns its status.
int optMain(int argc, char **argv);

/// mlir-translate, between the LLVM dialect and LLVM IR.
int translateMain(int argc, char **argv);

/// mlir-lsp-server, which speaks the language server protocol on its standard
/// input and output.
int lspServerMain(int argc, char **argv);

} // namespace llmir

#endif // LLMIR_TOOLS_TOOLS_H
