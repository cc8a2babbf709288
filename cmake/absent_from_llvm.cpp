// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What LLVM's archives want that is not among them, for LLMIRStaticMLIR.cmake.

#include "llvm/Passes/PassPlugin.h"

// Of libtinfo, to ask whether a terminal has colours. Distributions' libtinfo.a
// cannot go into a shared object, and libtinfo.so need not be where a wheel is
// installed. So the answer is that there is no terminal.
extern "C" {
int setupterm(char *, int, int *error) {
  if (error)
    *error = 0;
  return -1;
}
struct term *set_curterm(struct term *terminal) { return terminal; }
int del_curterm(struct term *) { return 0; }
int tigetnum(char *) { return -1; }
}

// Of Polly, whose passes LLD's link-time optimization would add, had it any.
llvm::PassPluginLibraryInfo getPollyPluginInfo() {
  return {LLVM_PLUGIN_API_VERSION, "Polly", "", [](llvm::PassBuilder &) {}};
}
