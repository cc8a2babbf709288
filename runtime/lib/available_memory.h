// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// How much memory a process may still take without the machine swapping or its
// control group being out of memory.
#ifndef LLMIR_RUNTIME_LIB_AVAILABLE_MEMORY_H
#define LLMIR_RUNTIME_LIB_AVAILABLE_MEMORY_H

#include <cstdint>
#include <string>

namespace llmir::runtime {

/// In bytes, the least of what the machine and the control groups have. The
/// machine: `MemAvailable`, which counts what the page cache would give back,
/// such as the weights of a model that was just written or read; free memory
/// alone where the file or the line is missing. A control group, of version 2
/// or 1, and each one around it: its limit less what it uses, page cache that
/// would be given back not counted. `root` is where the files of the system
/// start.
int64_t availableMemory(const std::string &root = "");

} // namespace llmir::runtime

#endif // LLMIR_RUNTIME_LIB_AVAILABLE_MEMORY_H
