// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// How long each call of the function table takes, and what products multiply.
// A trace stands between compiled code and the table: it has a table of its
// own, whose functions look at the clock and call the others. So nothing is in
// the way of a step that is not traced.
#ifndef LLMIR_RUNTIME_TRACE_H
#define LLMIR_RUNTIME_TRACE_H

#include "llmir/runtime/abi.h"

#include <chrono>
#include <cstdint>
#include <map>
#include <vector>

namespace llmir::runtime {

/// A call of the table, in the order of the program.
struct TracedCall {
  enum Kind { Rows, Linear, Append, Attention, RopeAppend };
  Kind kind;
  double seconds;
};

/// What the products with one weight multiply it by.
struct ObservedRows {
  int64_t inputs = 0;      ///< K; 0 before the first product.
  std::vector<float> rows; ///< [T, K], normalized if a norm comes first.
};

class Trace {
public:
  using Clock = std::chrono::steady_clock;

  explicit Trace(const llmir_runtime &traced);
  Trace(const Trace &) = delete;
  Trace &operator=(const Trace &) = delete;

  /// The table to give to compiled code.
  const llmir_runtime &runtime() const { return table; }
  /// The table that does the work, which must outlive this.
  const llmir_runtime &traced() const { return inner; }
  void add(TracedCall::Kind kind, Clock::time_point begin);
  /// Keeps the input of a product if its weight is one of `observed`.
  void observe(const llmir_tensor &x, const llmir_tensor &w,
               const llmir_linear_params &params);

  std::vector<TracedCall> calls;
  /// By the places of the weights in memory.
  std::map<const void *, ObservedRows> observed;

private:
  const llmir_runtime &inner;
  llmir_runtime table;
};

} // namespace llmir::runtime

#endif // LLMIR_RUNTIME_TRACE_H
