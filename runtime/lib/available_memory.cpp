// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "available_memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>
#include <unistd.h>

namespace llmir::runtime {

namespace {

constexpr int64_t unlimited = std::numeric_limits<int64_t>::max();

/// The number after `key` in a file of words, or a file's only number if the
/// key is empty. What is larger than any memory is no number.
std::optional<int64_t> readNumber(const std::string &path,
                                  const std::string &key) {
  constexpr int64_t most = int64_t(1) << 50;
  std::ifstream stream(path);
  int64_t number = 0;
  bool found = key.empty();
  for (std::string word; !found && stream >> word;)
    found = word == key;
  if (found && stream >> number && number >= 0 && number <= most)
    return number;
  return std::nullopt;
}

int64_t machineMemory(const std::string &meminfo) {
  if (std::optional<int64_t> kilobytes = readNumber(meminfo, "MemAvailable:"))
    return *kilobytes * 1024;
  return int64_t(sysconf(_SC_AVPHYS_PAGES)) * sysconf(_SC_PAGESIZE);
}

/// What the files of a control group are called, by version.
struct GroupFiles {
  const char *limit, *usage, *cache;
};
constexpr GroupFiles version2 = {"/memory.max", "/memory.current",
                                 "inactive_file"};
constexpr GroupFiles version1 = {
    "/memory.limit_in_bytes", "/memory.usage_in_bytes", "total_inactive_file"};

/// The least that the groups from `mount` + `group` up to `mount` have left.
int64_t groupMemory(const std::string &mount, std::string group,
                    const GroupFiles &files) {
  int64_t least = unlimited;
  for (;;) {
    std::string path = mount + group;
    std::optional<int64_t> limit = readNumber(path + files.limit, "");
    std::optional<int64_t> usage = readNumber(path + files.usage, "");
    if (limit && usage) {
      int64_t cache =
          readNumber(path + "/memory.stat", files.cache).value_or(0);
      int64_t used = std::max<int64_t>(0, *usage - cache);
      least = std::min(least, std::max<int64_t>(0, *limit - used));
    }
    size_t slash = group.rfind('/');
    if (slash == std::string::npos)
      return least;
    group.resize(slash);
  }
}

/// Lines of /proc/self/cgroup: number, controllers, path. Version 2 has no
/// controllers there. In a container the path may be one of the machine's that
/// is not to be seen; then the mount itself is the group.
int64_t groupsMemory(const std::string &root) {
  int64_t least = unlimited;
  std::ifstream stream(root + "/proc/self/cgroup");
  for (std::string line; std::getline(stream, line);) {
    size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos)
      continue;
    std::string controllers = line.substr(first + 1, second - first - 1);
    std::string group = line.substr(second + 1);
    if (group == "/" || group.find("/..") != std::string::npos)
      group.clear();
    bool memory = false;
    std::stringstream names(controllers);
    for (std::string name; std::getline(names, name, ',');)
      memory |= name == "memory";
    if (controllers.empty())
      least = std::min(least,
                       groupMemory(root + "/sys/fs/cgroup", group, version2));
    else if (memory)
      least = std::min(
          least, groupMemory(root + "/sys/fs/cgroup/memory", group, version1));
  }
  return least;
}

} // namespace

int64_t availableMemory(const std::string &root) {
  return std::min(machineMemory(root + "/proc/meminfo"), groupsMemory(root));
}

} // namespace llmir::runtime
