// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The dynamic loader, asked for files that may be replaced while their code is
// in use.
#include "llmir/runtime/library.h"

#include "llmir/runtime/abi.h"

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <dlfcn.h>
#include <stdexcept>
#include <sys/stat.h>
#include <utility>

namespace llmir::runtime {

/// Spells `path` in a way that no other file that comes to its place has. The
/// dynamic loader takes a name that it has loaded before for the same library,
/// and an artifact may be replaced while its old code is in use.
static std::string uniqueName(const std::string &path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0)
    throw std::runtime_error("cannot read '" + path +
                             "': " + std::strerror(errno));
  // The number of the file, bit by bit, in parts of a path that lead nowhere.
  // It is not given to another file as long as this one is mapped.
  size_t slash = path.rfind('/') + 1;
  std::string name = path.substr(0, slash);
  for (uint64_t number = info.st_ino; number; number /= 2)
    name += number % 2 ? "./" : "/";
  return name + path.substr(slash);
}

Library::Library(const std::string &path, const char *symbol) {
  std::string name = uniqueName(path);
  library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    const char *text = dlerror();
    std::string error = text ? text : "unknown error";
    if (error.rfind(name + ": ", 0) == 0)
      error.erase(0, name.size() + 2);
    throw std::runtime_error("cannot load '" + path + "': " + error);
  }
  std::string error;
  auto *version =
      static_cast<const int32_t *>(dlsym(library, LLMIR_ABI_VERSION_SYMBOL));
  if (!version)
    error = "is not a compiled model: it has "
            "no symbol " LLMIR_ABI_VERSION_SYMBOL;
  else if (*version != LLMIR_ABI_VERSION)
    error = "was compiled for ABI version " + std::to_string(*version) +
            ", and this runtime has " + std::to_string(LLMIR_ABI_VERSION) +
            "; compile the model again";
  else
    entry = dlsym(library, symbol);
  if (error.empty() && !entry)
    error = "is not a compiled model: it has no symbol " + std::string(symbol);
  if (!error.empty()) {
    dlclose(library);
    throw std::runtime_error("'" + path + "' " + error);
  }
}

Library::~Library() {
  if (library)
    dlclose(library);
}

Library &Library::operator=(Library &&other) noexcept {
  std::swap(library, other.library);
  std::swap(entry, other.entry);
  return *this;
}

} // namespace llmir::runtime
