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

/// A system with these files.
class System {
public:
  System() : root(fs::temp_directory_path() / "llmir-XXXXXX") {
    std::string name = root.string();
    root = mkdtemp(name.data());
  }
  ~System() { fs::remove_all(root); }

  System &write(const std::string &path, const std::string &text) {
    fs::path file = root.string() + path;
    fs::create_directories(file.parent_path());
    std::ofstream(file) << text;
    return *this;
  }
  int64_t available() const { return availableMemory(root.string()); }

private:
  fs::path root;
};

/// availableMemory of a meminfo with this content.
int64_t availableIn(const std::string &text) {
  return System().write("/proc/meminfo", text).available();
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

TEST(AvailableMemory, GroupsOfVersion2) {
  System system;
  system.write("/proc/meminfo", "MemAvailable: 9000000 kB\n")
      .write("/proc/self/cgroup", "0::/pod/container\n");
  // No limit anywhere.
  system.write("/sys/fs/cgroup/pod/container/memory.max", "max\n")
      .write("/sys/fs/cgroup/pod/container/memory.current", "5000000\n");
  EXPECT_EQ(system.available(), 9000000 * kilobyte);
  system.write("/sys/fs/cgroup/pod/container/memory.max", "6000000\n");
  EXPECT_EQ(system.available(), 1000000);
  // What the page cache holds would be given back.
  system.write("/sys/fs/cgroup/pod/container/memory.stat",
               "anon 1\ninactive_file 300000\nactive_file 7\n");
  EXPECT_EQ(system.available(), 1300000);
  // The group around it is tighter.
  system.write("/sys/fs/cgroup/pod/memory.max", "8000000\n")
      .write("/sys/fs/cgroup/pod/memory.current", "7999000\n");
  EXPECT_EQ(system.available(), 1000);
  // More is used than the limit, which was lowered.
  system.write("/sys/fs/cgroup/pod/memory.current", "9000000\n");
  EXPECT_EQ(system.available(), 0);
}

TEST(AvailableMemory, GroupAtTheMount) {
  // As a container sees it, with a namespace of its own and without.
  for (const char *line :
       {"0::/\n", "0::/not/to/be/seen\n", "0::/../other\n"}) {
    SCOPED_TRACE(line);
    System system;
    system.write("/proc/meminfo", "MemAvailable: 9000000 kB\n")
        .write("/proc/self/cgroup", line)
        .write("/sys/fs/cgroup/memory.max", "6000000\n")
        .write("/sys/fs/cgroup/memory.current", "1000000\n");
    EXPECT_EQ(system.available(), 5000000);
  }
}

TEST(AvailableMemory, GroupsOfVersion1) {
  System system;
  system.write("/proc/meminfo", "MemAvailable: 9000000 kB\n")
      .write("/proc/self/cgroup", "12:cpu,cpuacct:/elsewhere\n"
                                  "4:hugetlb,memory:/job\n0::/\n");
  // What stands for no limit, as all groups have it at first.
  system
      .write("/sys/fs/cgroup/memory/memory.limit_in_bytes",
             "9223372036854771712\n")
      .write("/sys/fs/cgroup/memory/memory.usage_in_bytes", "7000000\n");
  EXPECT_EQ(system.available(), 9000000 * kilobyte);
  system.write("/sys/fs/cgroup/memory/job/memory.limit_in_bytes", "6000000\n")
      .write("/sys/fs/cgroup/memory/job/memory.usage_in_bytes", "5000000\n")
      .write("/sys/fs/cgroup/memory/job/memory.stat",
             "inactive_file 5\ntotal_inactive_file 20000\n");
  EXPECT_EQ(system.available(), 1020000);
}

TEST(AvailableMemory, GroupsThatSayNothing) {
  for (const char *text : {"", "0", "::", "0::", "0:memory", "x:y:z\n"}) {
    SCOPED_TRACE(text);
    System system;
    system.write("/proc/meminfo", "MemAvailable: 12 kB\n")
        .write("/proc/self/cgroup", text)
        .write("/sys/fs/cgroup/memory.max", "much\n")
        .write("/sys/fs/cgroup/memory.current", "1\n");
    EXPECT_EQ(system.available(), 12 * kilobyte);
  }
}

TEST(AvailableMemory, OfThisMachine) {
  EXPECT_GT(availableMemory(), 0);
  EXPECT_LT(availableMemory(), int64_t(1 << 20) * gigabyte);
}
