// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "llmir/runtime/memory.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <unistd.h>

namespace llmir::runtime {

namespace {

/// More than any machine has; products of it still fit.
constexpr int64_t most = int64_t(1) << 60;

/// The number behind `key` in a file of keys and numbers, or -1.
int64_t readField(const std::string &path, const std::string &key) {
  std::ifstream stream(path);
  for (std::string word; stream >> word;) {
    int64_t value = 0;
    if (word == key && stream >> value && value >= 0)
      return value;
  }
  return -1;
}

/// The number that is all of a file, or -1, as for "max".
int64_t readNumber(const std::string &path) {
  std::ifstream stream(path);
  int64_t value = 0;
  return stream >> value && value >= 0 ? value : -1;
}

struct Names {
  const char *limit, *usage, *active, *inactive;
};
constexpr Names version1 = {"/memory.limit_in_bytes", "/memory.usage_in_bytes",
                            "total_active_file", "total_inactive_file"};
constexpr Names version2 = {"/memory.max", "/memory.current", "active_file",
                            "inactive_file"};

void applyGroup(const std::string &directory, const Names &names,
                Memory &memory) {
  int64_t limit = readNumber(directory + names.limit);
  int64_t usage = readNumber(directory + names.usage);
  if (limit < 0 || usage < 0 || limit >= memory.total)
    return;
  memory.total = limit;
  // What was read from files is given back before anything is killed.
  std::string statistics = directory + "/memory.stat";
  for (const char *key : {names.active, names.inactive})
    usage -= std::max<int64_t>(readField(statistics, key), 0);
  memory.available =
      std::min(memory.available,
               std::max<int64_t>(limit - std::max<int64_t>(usage, 0), 0));
}

/// A limit of a group holds for those within it, so all of them count. In a
/// container the path may be one of the machine's, of which only the top is
/// visible.
void applyGroups(const std::string &mount, std::string path, const Names &names,
                 Memory &memory) {
  if (path.find("/..") != std::string::npos)
    path.clear(); // That of a group beside the container's.
  while (path.size() > 1) {
    applyGroup(mount + path, names, memory);
    path.erase(path.rfind('/'));
  }
  applyGroup(mount, names, memory);
}

} // namespace

Memory readMemory(const std::string &root) {
  int64_t page = sysconf(_SC_PAGESIZE);
  Memory memory{int64_t(sysconf(_SC_PHYS_PAGES)) * page,
                int64_t(sysconf(_SC_AVPHYS_PAGES)) * page};
  // In kB.
  std::string meminfo = root + "/proc/meminfo";
  int64_t total = readField(meminfo, "MemTotal:");
  int64_t available = readField(meminfo, "MemAvailable:");
  if (total >= 0 && total <= most / 1024)
    memory.total = total * 1024;
  if (available >= 0 && available <= most / 1024)
    memory.available = available * 1024;

  // Lines of "number:controllers:path"; version 2 has no controllers.
  std::ifstream groups(root + "/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    std::istringstream stream(line);
    std::string number, controllers, path;
    std::getline(stream, number, ':');
    std::getline(stream, controllers, ':');
    std::getline(stream, path);
    if (path.empty() || path[0] != '/')
      continue;
    std::string mount = root + "/sys/fs/cgroup";
    if (controllers.empty())
      applyGroups(mount, path, version2, memory);
    else if (("," + controllers + ",").find(",memory,") != std::string::npos)
      applyGroups(mount + "/memory", path, version1, memory);
  }
  return memory;
}

std::string formatBytes(int64_t bytes) {
  const char *units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = double(bytes);
  size_t unit = 0;
  for (; value >= 1000 && unit + 1 < std::size(units); ++unit)
    value /= 1024;
  char text[32];
  std::snprintf(text, sizeof text, "%.*f %s", unit == 0 ? 0 : 1, value,
                units[unit]);
  return text;
}

} // namespace llmir::runtime
