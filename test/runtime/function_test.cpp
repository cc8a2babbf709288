// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Calls of functions and their memory: what is cut from an arena does not
// overlap and is found again, results outlive their call, and a call that ends
// early leaves everything as it was.
#include "function_memory.h"
#include "llmir/runtime/abi.h"
#include "llmir/runtime/function.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

using namespace llmir::runtime;

namespace {

std::string module(const char *kind) {
  return std::string(LLMIR_TEST_MODELS) + "/tiny_function_" + kind + ".so";
}

TEST(ArenaTest, BlocksDoNotOverlap) {
  Arena arena;
  std::mt19937 random(1);
  for (int call = 0; call < 20; ++call) {
    std::map<char *, size_t> alive;
    for (int i = 0; i < 500; ++i) {
      if (!alive.empty() && random() % 2) {
        auto at = std::next(alive.begin(), random() % alive.size());
        for (size_t j = 0; j < at->second; ++j)
          ASSERT_EQ(at->first[j], char(at->second));
        arena.release(at->first);
        alive.erase(at);
        continue;
      }
      size_t bytes = random() % 5000;
      auto *data = static_cast<char *>(arena.allocate(bytes));
      ASSERT_EQ(reinterpret_cast<uintptr_t>(data) % 64, 0u);
      std::memset(data, char(bytes), bytes);
      alive[data] = bytes;
    }
    arena.reset();
  }
}

TEST(ArenaTest, TakesNoMoreOnceItHasEnough) {
  Arena arena;
  auto call = [&] {
    std::vector<void *> data;
    for (int i = 0; i < 10; ++i)
      data.push_back(arena.allocate(100000));
    for (void *block : data)
      arena.release(block);
    for (int i = 0; i < 5; ++i)
      arena.allocate(200000);
    arena.reset();
  };
  call();
  call();
  size_t bytes = arena.bytes();
  for (int i = 0; i < 10; ++i)
    call();
  EXPECT_EQ(arena.bytes(), bytes);
  EXPECT_GE(bytes, 1000000u);
  // What was released is one piece again.
  EXPECT_NE(arena.allocate(bytes), nullptr);
  EXPECT_EQ(arena.bytes(), bytes);
}

TEST(ArenaTest, LeavesWhatIsNotItsOwn) {
  Arena arena;
  int other;
  arena.release(&other);
  arena.release(nullptr);
  EXPECT_EQ(arena.bytes(), 0u);
}

TEST(ResultPoolTest, ReusesWhatComesBack) {
  ResultPool pool;
  void *first = pool.take(10000);
  std::memset(first, 1, 10000);
  pool.give(first);
  EXPECT_EQ(pool.take(9000), first);
  // A small result does not keep much more memory than it needs.
  pool.give(first);
  void *small = pool.take(64);
  EXPECT_NE(small, first);
  pool.give(small);
}

/// The function adds a weight to each element, and asserts that the sizes are
/// equal.
struct Call {
  Call(FunctionRunner &runner, const Function &function, int64_t n, int64_t m)
      : input(std::max<int64_t>(n, 0), 2.0f) {
    llmir_array arrays[2] = {};
    arrays[0].data = input.data();
    arrays[0].sizes[0] = n;
    arrays[1].sizes[0] = m;
    memory = function.call(runner, arrays, results);
  }

  std::vector<float> input;
  std::vector<llmir_array> results;
  std::vector<ResultMemory> memory;
};

TEST(FunctionTest, Calls) {
  FunctionRunner runner(2);
  float weight = 3;
  Function function(module("right"), &weight, 1);
  for (int64_t n : {0, 1, 1000}) {
    Call first(runner, function, n, n), second(runner, function, n, n);
    ASSERT_EQ(first.results[0].sizes[0], n);
    EXPECT_EQ(first.results[0].data, first.memory[0].get());
    EXPECT_NE(first.results[0].data, second.results[0].data);
    for (int64_t i = 0; i < n; ++i)
      ASSERT_EQ(static_cast<float *>(first.results[0].data)[i], 5.0f);
  }
}

TEST(FunctionTest, EndsEarlyWithASentence) {
  FunctionRunner runner(1);
  float weight = 3;
  Function function(module("right"), &weight, 1);
  auto expect = [&](int64_t n, int64_t m, const char *text) {
    try {
      Call call(runner, function, n, m);
      FAIL() << "nothing was thrown";
    } catch (const std::runtime_error &error) {
      EXPECT_NE(std::string(error.what()).find(text), std::string::npos)
          << error.what();
    }
  };
  expect(4, 5, "the sizes differ");
  // It takes -1 for more than there is, before anything is read.
  expect(-1, -1, "there is not enough memory");
  Call again(runner, function, 8, 8);
  EXPECT_LT(runner.arenaBytes(), 1 << 20);
}

TEST(FunctionTest, TakesTurns) {
  FunctionRunner runner(2);
  float weight = 1;
  Function function(module("right"), &weight, 1);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        Call call(runner, function, 100 + t, 100 + t);
        const auto *data = static_cast<float *>(call.results[0].data);
        for (int64_t j = 0; j < 100 + t; ++j)
          ASSERT_EQ(data[j], 3.0f);
      }
    });
  for (std::thread &thread : threads)
    thread.join();
}

TEST(FunctionTest, RefusesWhatIsNotOne) {
  auto expect = [](const std::string &path, const char *text) {
    try {
      Function function(path, nullptr, 1);
      FAIL() << "nothing was thrown";
    } catch (const std::runtime_error &error) {
      EXPECT_NE(std::string(error.what()).find(text), std::string::npos)
          << error.what();
    }
  };
  expect(module("other_version"), "was compiled for ABI version");
  expect(std::string(LLMIR_TEST_MODELS) + "/tiny_model_right.so",
         "has no symbol llmir_function");
  expect("/nonexistent.so", "cannot read");
}

} // namespace
