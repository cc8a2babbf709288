// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The pool under many tiny jobs, and under uses it was not made for. Run these
// with ThreadSanitizer too.
#include "llmir/runtime/thread_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <numeric>
#include <sys/resource.h>
#include <unistd.h>

using namespace llmir::runtime;

namespace {
class ThreadPoolTest : public ::testing::TestWithParam<unsigned> {};
} // namespace

TEST_P(ThreadPoolTest, EveryIndexOnce) {
  ThreadPool pool(GetParam());
  EXPECT_EQ(pool.threads(), GetParam());
  for (int64_t n : {0, 1, 2, 3, 7, 64, 1000})
    for (int64_t grain : {1, 3, 64, 5000}) {
      std::vector<int> counts(n);
      pool.forRanges(n, grain,
                     [&](unsigned thread, int64_t begin, int64_t end) {
                       EXPECT_LT(thread, pool.threads());
                       for (int64_t i = begin; i < end; ++i)
                         ++counts[i];
                     });
      EXPECT_EQ(std::accumulate(counts.begin(), counts.end(), 0), n);
      EXPECT_TRUE(n == 0 ||
                  *std::max_element(counts.begin(), counts.end()) == 1);
    }
}

TEST_P(ThreadPoolTest, ManyTinyJobs) {
  ThreadPool pool(GetParam());
  // Not atomic: a job's writes are there when it is over.
  std::vector<int64_t> values(16);
  for (int64_t job = 0; job < 20000; ++job) {
    pool.forRanges(16, 1, [&](unsigned, int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        values[i] += i + job;
    });
    ASSERT_EQ(values[7], 7 * (job + 1) + job * (job + 1) / 2);
  }
}

TEST_P(ThreadPoolTest, WakesSleepers) {
  ThreadPool pool(GetParam());
  for (int round = 0; round < 20; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(round % 3));
    std::atomic<int64_t> sum{0};
    pool.parallelFor(100, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        sum += i;
    });
    EXPECT_EQ(sum, 4950);
  }
}

TEST_P(ThreadPoolTest, AllThreadsTakePart) {
  ThreadPool pool(GetParam());
  // Each piece waits until every thread has one.
  std::atomic<unsigned> arrived{0};
  pool.forRanges(pool.threads(), 1, [&](unsigned, int64_t, int64_t) {
    ++arrived;
    while (arrived < pool.threads())
      std::this_thread::yield();
  });
  EXPECT_EQ(arrived, pool.threads());
}

TEST_P(ThreadPoolTest, NestedJobsRunInline) {
  ThreadPool pool(GetParam());
  std::atomic<int64_t> sum{0};
  for (int round = 0; round < 50; ++round)
    pool.forRanges(10, 1, [&](unsigned, int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        pool.forRanges(10, 1, [&](unsigned, int64_t from, int64_t to) {
          sum += to - from;
        });
    });
  EXPECT_EQ(sum, 50 * 100);
}

TEST_P(ThreadPoolTest, CallersFromSeveralThreads) {
  ThreadPool pool(GetParam());
  std::atomic<int64_t> sum{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i)
    callers.emplace_back([&] {
      for (int round = 0; round < 500; ++round)
        pool.forRanges(8, 1, [&](unsigned, int64_t begin, int64_t end) {
          sum += end - begin;
        });
    });
  for (std::thread &caller : callers)
    caller.join();
  EXPECT_EQ(sum, 4 * 500 * 8);
}

TEST_P(ThreadPoolTest, IdleThreadsSleep) {
  ThreadPool pool(GetParam());
  pool.parallelFor(1000, [](int64_t, int64_t) {});
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  std::clock_t before = std::clock();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_LT(double(std::clock() - before) / CLOCKS_PER_SEC, 0.05);
}

TEST(ThreadPool, Limits) {
  EXPECT_THROW(ThreadPool(ThreadPool::maxThreads + 1), std::invalid_argument);
  EXPECT_GE(ThreadPool(0).threads(), 1u);
}

// The sanitizers need address space of their own.
#if !__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer)
TEST(ThreadPool, StopsTheThreadsItStartedIfOneDoesNotStart) {
  auto child = [] {
    long pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    rlimit limit{};
    getrlimit(RLIMIT_AS, &limit);
    limit.rlim_cur = pages * sysconf(_SC_PAGESIZE) + (rlim_t(256) << 20);
    setrlimit(RLIMIT_AS, &limit);
    try {
      ThreadPool pool(ThreadPool::maxThreads);
      std::fprintf(stderr, "the pool started");
      std::_Exit(1);
    } catch (const std::runtime_error &error) {
      std::fprintf(stderr, "%s", error.what());
    }
    // What the threads had is free again.
    ThreadPool pool(3);
    std::atomic<int> sum{0};
    pool.forRanges(4, 1, [&](unsigned, int64_t, int64_t) { ++sum; });
    std::_Exit(sum == 4 ? 0 : 2);
  };
  // Some threads did start.
  EXPECT_EXIT(child(), ::testing::ExitedWithCode(0),
              "the system starts only [1-9][0-9]+ of 1024 threads: ");
}
#endif

INSTANTIATE_TEST_SUITE_P(Threads, ThreadPoolTest,
                         ::testing::Values(1u, 2u, 3u, 8u));
