// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What stands behind the function table of abi.h: the pool, the kernels of one
// CPU level, and the scratch memory they work in, which grows to what the
// largest call needs and stays.
#ifndef LLMIR_RUNTIME_CONTEXT_H
#define LLMIR_RUNTIME_CONTEXT_H

#include "llmir/runtime/abi.h"
#include "llmir/runtime/cpu_features.h"
#include "llmir/runtime/thread_pool.h"

#include <memory>

namespace llmir::runtime {

class FunctionCall;

/// One step at a time: calls through the table must not overlap. Functions of
/// the table must not be called from within its parallel_for.
class Context {
public:
  /// Throws std::invalid_argument for a level that this machine lacks.
  explicit Context(unsigned threads, CpuLevel level = selectCpuLevel());
  ~Context();
  Context(const Context &) = delete;
  Context &operator=(const Context &) = delete;

  const llmir_runtime &runtime() const { return table; }
  ThreadPool &pool();
  unsigned threads() const;
  CpuLevel level() const;
  /// Whose memory the table gives, while a function runs. Returns whose it was.
  FunctionCall *setCall(FunctionCall *call);

private:
  std::unique_ptr<llmir_context> impl;
  llmir_runtime table;
};

} // namespace llmir::runtime

#endif // LLMIR_RUNTIME_CONTEXT_H
