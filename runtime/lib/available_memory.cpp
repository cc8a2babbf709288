// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "available_memory.h"

#include <fstream>
#include <unistd.h>

namespace llmir::runtime {

int64_t availableMemory(const std::string &meminfo) {
  constexpr int64_t most = int64_t(1) << 50; // In KB, so that bytes fit.
  std::ifstream stream(meminfo);
  const std::string key = "MemAvailable:";
  for (std::string word; stream >> word;) {
    int64_t kilobytes = 0;
    if (word == key && stream >> kilobytes && kilobytes >= 0 &&
        kilobytes <= most)
      return kilobytes * 1024;
  }
  return int64_t(sysconf(_SC_AVPHYS_PAGES)) * sysconf(_SC_PAGESIZE);
}

} // namespace llmir::runtime
