// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the engine takes for free memory when it chooses the size of its cache.
#include "available_memory.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <unistd.h>

using namespace llmir::runtime;
namespace fs = std::filesystem;

namespace {

/// availableMemory of a meminfo with this content.
int64_t availableIn(const std::string &text) {
  std::string name = (fs::temp_directory_path() / "llmir-XXXXXX").string();
  close(mkstemp(name.data()));
  std::ofstream(name) << text;
  int64_t result = availableMemory(name);
  fs::remove(name);
  return result;
}

constexpr int64_t kilobyte = 1024, gigabyte = 1 << 30;

} // namespace

TEST(AvailableMemory, CountsThePageCache) {
  EXPECT_EQ(availableIn("MemTotal:       16000000 kB\n"
                        "MemFree:              12 kB\n"
                        "MemAvailable:    9000000 kB\n"
                        "Cached:          8000000 kB\n"),
            9000000 * kilobyte);
  EXPECT_EQ(availableIn("MemAvailable: 0 kB\n"), 0);
}

TEST(AvailableMemory, FallsBackOnFreeMemory) {
  // No machine has so little that its free memory is not even a page, and what
  // is free changes from one call to the next.
  int64_t total = int64_t(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  for (const char *text :
       {"", "MemFree: 12 kB\n", "MemAvailable:", "MemAvailable: much kB\n",
        "MemAvailable: -3 kB\n", "MemAvailable: 99999999999999999999 kB\n"}) {
    SCOPED_TRACE(text);
    EXPECT_GT(availableIn(text), 0);
    EXPECT_LE(availableIn(text), total);
  }
  EXPECT_GT(availableMemory("/nonexistent"), 0);
}

TEST(AvailableMemory, OfThisMachine) {
  EXPECT_GT(availableMemory(), 0);
  EXPECT_LT(availableMemory(), int64_t(1 << 20) * gigabyte);
}
