// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What limits are cannot be known here; that they are numbers, and that a trace
// does what it stands before, can.
#include "llmir/runtime/limits.h"

#include "llmir/runtime/context.h"
#include "llmir/runtime/trace.h"

#include <gtest/gtest.h>

#include <atomic>

using namespace llmir::runtime;

TEST(Limits, BandwidthOfAnySize) {
  // Also less than the threads, and no multiple of a cache line.
  for (int64_t bytes : {int64_t(1), int64_t(4097), int64_t(1) << 20}) {
    Bandwidth memory(bytes);
    for (unsigned threads : {1u, 2u, 3u})
      EXPECT_GT(memory.measure(threads), 0);
  }
}

TEST(Limits, BandwidthNeedsMemory) {
  EXPECT_THROW(Bandwidth(int64_t(1) << 60), std::runtime_error);
}

TEST(Limits, PeaksAreOrdered) {
  double f32 = measurePeak(Multiplier::F32, 1);
  for (Multiplier multiplier : {Multiplier::BF16, Multiplier::Int8})
    if (double peak = measurePeak(multiplier, 1))
      // Narrower numbers, more of them at once; the machine may be busy.
      EXPECT_GT(peak, 0.5 * f32);
}

TEST(Trace, CallsReachTheTable) {
  Context context(2);
  Trace trace(context.runtime());
  std::atomic<int64_t> rows{0};
  auto count = [](void *captures, int64_t begin, int64_t end) {
    *static_cast<std::atomic<int64_t> *>(captures) += end - begin;
  };
  const llmir_runtime &table = trace.runtime();
  EXPECT_EQ(table.version, LLMIR_ABI_VERSION);
  table.parallel_for(table.context, count, &rows, 1000, 64);
  table.parallel_for(table.context, count, &rows, 10, 64);
  EXPECT_EQ(rows, 1010);
  ASSERT_EQ(trace.calls.size(), 2u);
  for (const TracedCall &call : trace.calls) {
    EXPECT_EQ(call.kind, TracedCall::Rows);
    EXPECT_GE(call.seconds, 0);
  }
}
