// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Calls compiled functions. One that ends early jumps here over frames of
// compiled code, in which there is nothing to destroy.
#include "llmir/runtime/function.h"

#include "float_mode.h"
#include "function_memory.h"
#include "llmir/runtime/context.h"

#include <mutex>
#include <stdexcept>

namespace llmir::runtime {

struct FunctionRunner::Impl {
  explicit Impl(unsigned threads) : context(threads) {}

  Context context;
  Arena arena;
  std::mutex mutex;
};

FunctionRunner::FunctionRunner(unsigned threads)
    : impl(std::make_unique<Impl>(threads)) {}

FunctionRunner::~FunctionRunner() = default;

unsigned FunctionRunner::threads() const { return impl->context.threads(); }

int64_t FunctionRunner::arenaBytes() const {
  std::lock_guard<std::mutex> lock(impl->mutex);
  return int64_t(impl->arena.bytes());
}

ResultMemory &ResultMemory::operator=(ResultMemory &&other) noexcept {
  if (data)
    free(data);
  data = other.release();
  return *this;
}

ResultMemory::~ResultMemory() {
  if (data)
    free(data);
}

void ResultMemory::free(void *data) { ResultPool::shared().give(data); }

Function::Function(const std::string &path, const void *weights,
                   size_t numResults)
    : library(path, LLMIR_FUNCTION_SYMBOL), weights(weights),
      numResults(numResults) {}

void Function::setWeights(FunctionRunner &runner, const void *replacement) {
  std::lock_guard<std::mutex> lock(runner.impl->mutex);
  weights = replacement;
}

/// In a function of its own: what is alive here is not changed between the two
/// returns of setjmp, and has no destructors.
static bool run(llmir_function_fn function, const llmir_runtime &runtime,
                const llmir_function_args &args, FunctionCall &call) {
  if (setjmp(call.end))
    return false;
  function(&runtime, &args);
  return true;
}

std::vector<ResultMemory>
Function::call(FunctionRunner &runner, const llmir_array *inputs,
               std::vector<llmir_array> &results) const {
  results.assign(numResults, llmir_array{});
  std::vector<void *> memory(numResults, nullptr);
  FunctionRunner::Impl &impl = *runner.impl;
  std::string message;
  {
    std::lock_guard<std::mutex> lock(impl.mutex);
    llmir_function_args args = {inputs, results.data(), weights};
    FlushDenormals flush;
    FunctionCall call(impl.arena, memory);
    impl.context.setCall(&call);
    auto function = reinterpret_cast<llmir_function_fn>(library.function());
    if (!run(function, impl.context.runtime(), args, call))
      message = call.message;
    impl.context.setCall(nullptr);
    impl.arena.reset();
  }
  std::vector<ResultMemory> owned;
  owned.reserve(numResults);
  for (void *data : memory)
    owned.emplace_back(data);
  if (!message.empty())
    throw std::runtime_error(message);
  return owned;
}

} // namespace llmir::runtime
