// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// How much memory a process may still take without the machine swapping.
#ifndef LLMIR_RUNTIME_LIB_AVAILABLE_MEMORY_H
#define LLMIR_RUNTIME_LIB_AVAILABLE_MEMORY_H

#include <cstdint>
#include <string>

namespace llmir::runtime {

/// In bytes: `MemAvailable`, which counts what the page cache would give back,
/// such as the weights of a model that was just written or read. Free memory
/// alone where the file or the line is missing.
int64_t availableMemory(const std::string &meminfo = "/proc/meminfo");

} // namespace llmir::runtime

#endif // LLMIR_RUNTIME_LIB_AVAILABLE_MEMORY_H
