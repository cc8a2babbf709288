// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the engine takes for the machine's memory, from files as the kernel
// writes them.
#include "llmir/runtime/memory.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <unistd.h>

using namespace llmir::runtime;
namespace fs = std::filesystem;

namespace {

constexpr int64_t kilobyte = 1024, gigabyte = 1 << 30;

/// A machine's /proc and /sys in a directory.
class MemoryOf : public testing::Test {
protected:
  void SetUp() override {
    root = (fs::temp_directory_path() / "llmir-XXXXXX").string();
    ASSERT_TRUE(mkdtemp(root.data()));
  }
  void TearDown() override { fs::remove_all(root); }

  void write(const std::string &path, const std::string &text) {
    fs::create_directories(fs::path(root + path).parent_path());
    std::ofstream(root + path) << text;
  }
  void expect(int64_t total, int64_t available) {
    Memory memory = readMemory(root);
    EXPECT_EQ(memory.total, total);
    EXPECT_EQ(memory.available, available);
  }

  std::string root;
};

constexpr const char *machine = "MemTotal:       16777216 kB\n"
                                "MemFree:              12 kB\n"
                                "MemAvailable:    8388608 kB\n"
                                "Cached:          8000000 kB\n";

} // namespace

TEST_F(MemoryOf, AMachineCountsThePageCache) {
  write("/proc/meminfo", machine);
  expect(16 * gigabyte, 8 * gigabyte);
  write("/proc/meminfo", "MemTotal: 8 kB\nMemAvailable: 0 kB\n");
  expect(8 * kilobyte, 0);
}

TEST_F(MemoryOf, AMachineThatDoesNotSay) {
  // What is free changes from one call to the next.
  int64_t total = int64_t(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  for (const char *text :
       {"", "MemFree: 12 kB\n", "MemAvailable:", "MemAvailable: much kB\n",
        "MemAvailable: -3 kB\n", "MemAvailable: 99999999999999999999 kB\n"}) {
    SCOPED_TRACE(text);
    write("/proc/meminfo", text);
    EXPECT_GT(readMemory(root).available, 0);
    EXPECT_LE(readMemory(root).available, total);
    EXPECT_EQ(readMemory(root).total, total);
  }
}

TEST_F(MemoryOf, AGroupOfVersion2) {
  write("/proc/meminfo", machine);
  write("/proc/self/cgroup", "0::/pod/box\n");
  write("/sys/fs/cgroup/pod/box/memory.max", "max\n");
  write("/sys/fs/cgroup/pod/box/memory.current", "0\n");
  expect(16 * gigabyte, 8 * gigabyte);
  // A limit of the one around it holds as well, and files are given back.
  write("/sys/fs/cgroup/pod/memory.max", "4294967296\n");
  write("/sys/fs/cgroup/pod/memory.current", "3221225472\n");
  expect(4 * gigabyte, gigabyte);
  write("/sys/fs/cgroup/pod/memory.stat",
        "anon 1\nfile 9\ninactive_file 536870912\nactive_file 536870912\n");
  expect(4 * gigabyte, 2 * gigabyte);
  // The tightest of all.
  write("/sys/fs/cgroup/pod/box/memory.max", "1073741824\n");
  write("/sys/fs/cgroup/pod/box/memory.current", "1073741824\n");
  expect(gigabyte, 0);
}

TEST_F(MemoryOf, AContainerThatSeesOnlyItsOwn) {
  write("/proc/meminfo", machine);
  write("/proc/self/cgroup", "1:cpu,memory:/docker/a1b2\n");
  write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "2147483648\n");
  write("/sys/fs/cgroup/memory/memory.usage_in_bytes", "1073741824\n");
  write("/sys/fs/cgroup/memory/memory.stat",
        "inactive_file 7\ntotal_inactive_file 4096\ntotal_active_file 4096\n");
  expect(2 * gigabyte, gigabyte + 8192);
}

TEST_F(MemoryOf, AContainerWithAPathThatIsNotItsOwn) {
  write("/proc/meminfo", machine);
  write("/sys/fs/cgroup/memory.max", "1073741824\n");
  write("/sys/fs/cgroup/memory.current", "1048576\n");
  write("/sys/fs/other/memory.max", "4096\n");
  write("/sys/fs/other/memory.current", "0\n");
  for (const char *line :
       {"0::/\n", "0::/not/to/be/seen\n", "0::/../other\n"}) {
    SCOPED_TRACE(line);
    write("/proc/self/cgroup", line);
    expect(gigabyte, gigabyte - 1048576);
  }
  // More is used than the limit, which was lowered.
  write("/sys/fs/cgroup/memory.current", "2147483648\n");
  expect(gigabyte, 0);
}

TEST_F(MemoryOf, AGroupWithoutALimit) {
  write("/proc/meminfo", machine);
  write("/proc/self/cgroup", "4:memory:/\n");
  write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  write("/sys/fs/cgroup/memory/memory.usage_in_bytes", "8589934592000\n");
  expect(16 * gigabyte, 8 * gigabyte);
}

TEST_F(MemoryOf, GroupsThatMakeNoSense) {
  write("/proc/meminfo", machine);
  write("/proc/self/cgroup", "memory\n::\n0::\n:memory:../..\nx:y:z\n0::/x\n");
  write("/sys/fs/cgroup/x/memory.max", "-5\n");
  write("/sys/fs/cgroup/x/memory.current", "none\n");
  expect(16 * gigabyte, 8 * gigabyte);
}

TEST(Memory, OfThisMachine) {
  Memory memory = readMemory();
  EXPECT_GT(memory.available, 0);
  EXPECT_GE(memory.total, memory.available);
  EXPECT_LT(memory.total, int64_t(1 << 20) * gigabyte);
}

TEST(Memory, ForPeople) {
  EXPECT_EQ(formatBytes(0), "0 bytes");
  EXPECT_EQ(formatBytes(999), "999 bytes");
  EXPECT_EQ(formatBytes(1536), "1.5 KiB");
  EXPECT_EQ(formatBytes(3 * gigabyte / 2), "1.5 GiB");
  EXPECT_EQ(formatBytes(INT64_MAX), "8.0 EiB");
}
