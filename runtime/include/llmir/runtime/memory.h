// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// How much memory there is, and how much a process may still take without the
// machine swapping or its container being killed.
#ifndef LLMIR_RUNTIME_MEMORY_H
#define LLMIR_RUNTIME_MEMORY_H

#include <cstdint>
#include <string>

namespace llmir::runtime {

/// In bytes. What the page cache would give back counts as available, such as
/// the weights of a model that was just written or read.
struct Memory {
  int64_t total = 0;
  int64_t available = 0;
};

/// The memory of the machine, or what is less of the limits of the control
/// groups (versions 1 and 2) that the process is in. `root` is where /proc and
/// /sys are looked for. Without either, what the system calls say.
Memory readMemory(const std::string &root = "");

/// What an engine takes when all of it is in use, in bytes.
struct MemoryUse {
  int64_t weights = 0, cache = 0, arena = 0;
  int64_t total() const { return weights + cache + arena; }
};

/// A number of bytes for people: "1.5 GiB".
std::string formatBytes(int64_t bytes);

} // namespace llmir::runtime

#endif // LLMIR_RUNTIME_MEMORY_H
