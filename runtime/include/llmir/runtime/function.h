// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A compiled function of tensors, and what functions run on: one pool of
// threads and one arena for all of them, since a process has its CPUs once.
#ifndef LLMIR_RUNTIME_FUNCTION_H
#define LLMIR_RUNTIME_FUNCTION_H

#include "llmir/runtime/abi.h"
#include "llmir/runtime/library.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace llmir::runtime {

/// Threads and memory for calls, which take turns.
class FunctionRunner {
public:
  /// `threads` = 0 means all CPUs. Throws as Context does.
  explicit FunctionRunner(unsigned threads);
  ~FunctionRunner();
  FunctionRunner(const FunctionRunner &) = delete;
  FunctionRunner &operator=(const FunctionRunner &) = delete;

  unsigned threads() const;
  /// What the arena holds, when no call runs.
  int64_t arenaBytes() const;

private:
  friend class Function;
  struct Impl;
  std::unique_ptr<Impl> impl;
};

/// A result's memory, given back when this goes.
class ResultMemory {
public:
  ResultMemory() = default;
  explicit ResultMemory(void *data) : data(data) {}
  ResultMemory(ResultMemory &&other) noexcept : data(other.release()) {}
  ResultMemory &operator=(ResultMemory &&other) noexcept;
  ~ResultMemory();

  void *get() const { return data; }
  /// Hands it on to who calls `free` with it.
  void *release() {
    void *result = data;
    data = nullptr;
    return result;
  }
  static void free(void *data);

private:
  void *data = nullptr;
};

class Function {
public:
  /// Opens the shared object `path`, which may go away after that. `weights`
  /// must outlive this. Throws std::runtime_error with one sentence.
  Function(const std::string &path, const void *weights, size_t numResults);

  /// Calls the function; `inputs` must be what it was compiled for. From
  /// several threads at once, calls take turns. Throws std::runtime_error with
  /// one sentence if the inputs do not fit each other, or memory is short.
  std::vector<ResultMemory> call(FunctionRunner &runner,
                                 const llmir_array *inputs,
                                 std::vector<llmir_array> &results) const;

  /// Takes other weights, when no call runs.
  void setWeights(FunctionRunner &runner, const void *replacement);

private:
  Library library;
  const void *weights;
  size_t numResults;
};

} // namespace llmir::runtime

#endif // LLMIR_RUNTIME_FUNCTION_H
