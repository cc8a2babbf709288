// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The memory of functions: what one call works in, kept for the next call, and
// results, which live as long as their owners want. Once warm, neither asks the
// system for anything.
#ifndef LLMIR_RUNTIME_LIB_FUNCTION_MEMORY_H
#define LLMIR_RUNTIME_LIB_FUNCTION_MEMORY_H

#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

namespace llmir::runtime {

/// Memory of one call at a time. Blocks are cut from one piece, the lowest free
/// place first; a call that needs more gets further pieces, and the next one a
/// single piece of that size.
class Arena {
public:
  Arena() = default;
  ~Arena();
  Arena(const Arena &) = delete;
  Arena &operator=(const Arena &) = delete;

  /// 64-byte aligned; null if there is no memory.
  void *allocate(size_t bytes);
  /// Does nothing for memory that is not of this arena.
  void release(void *data);
  /// Takes everything back.
  void reset();
  /// What is held.
  size_t bytes() const { return held; }

private:
  struct Range {
    char *begin, *end;
  };
  bool grow(size_t bytes);

  std::vector<Range> pieces, free, used; ///< `free` by address.
  size_t held = 0;
};

/// Results, given back from any thread. Some of what comes back is kept.
class ResultPool {
public:
  /// The one of the process: results may outlive everything else.
  static ResultPool &shared();

  ResultPool() = default;
  /// Frees what has come back.
  ~ResultPool();
  ResultPool(const ResultPool &) = delete;
  ResultPool &operator=(const ResultPool &) = delete;

  /// 64-byte aligned; null if there is no memory.
  void *take(size_t bytes);
  void give(void *data);

private:
  struct Header;
  std::mutex mutex;
  std::vector<Header *> kept;
  size_t keptBytes = 0;
};

/// One call of a function: what the functions of the table that are a
/// function's work on. They leave the call by `end`.
class FunctionCall {
public:
  FunctionCall(Arena &arena, std::vector<void *> &results)
      : arena(arena), results(results) {}

  void *allocate(int64_t bytes);
  void release(void *data) { arena.release(data); }
  void *allocateResult(int64_t result, int64_t bytes);
  [[noreturn]] void fail(const char *message);

  std::jmp_buf end;
  const char *message = nullptr;

private:
  Arena &arena;
  std::vector<void *> &results;
};

} // namespace llmir::runtime

#endif // LLMIR_RUNTIME_LIB_FUNCTION_MEMORY_H
