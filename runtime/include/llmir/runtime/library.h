// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Compiled code, opened: the shared object, checked for the version it was
// compiled for.
#ifndef LLMIR_RUNTIME_LIBRARY_H
#define LLMIR_RUNTIME_LIBRARY_H

#include <string>

namespace llmir::runtime {

class Library {
public:
  Library() = default;
  /// Throws std::runtime_error with one sentence if the file cannot be loaded,
  /// is of another ABI version, or lacks the function `symbol`.
  Library(const std::string &path, const char *symbol);
  ~Library();
  Library(const Library &) = delete;
  Library &operator=(Library &&other) noexcept;

  void *function() const { return entry; }

private:
  void *library = nullptr;
  void *entry = nullptr;
};

} // namespace llmir::runtime

#endif // LLMIR_RUNTIME_LIBRARY_H
