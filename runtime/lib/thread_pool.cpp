// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The pool's protocol. Publishing a job is one store to `state`. Each thread
// has a share of the pieces, which lie side by side, and takes those of others
// when its own are gone; claiming a piece is one compare-and-swap that also
// proves the job is alive, since it cannot end while a piece is held. No worker
// has to wake up for a job to end: the caller runs what nobody else claims.
#include "llmir/runtime/thread_pool.h"

#include "float_mode.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <stdexcept>
#include <string>

#if defined(__linux__)
#include <sched.h>
#endif

namespace llmir::runtime {

namespace {

// As long as the serial parts of a step, and short enough not to be seen in a
// process that idles.
constexpr std::chrono::microseconds spinTime(100);

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

/// Spins until `done()`; false if `spinTime` passed first.
template <typename Fn> bool spinUntil(Fn done) {
  using Clock = std::chrono::steady_clock;
  Clock::time_point start{};
  for (;;) {
    for (int i = 0; i < 32; ++i) {
      if (done())
        return true;
      pause();
    }
    Clock::time_point now = Clock::now();
    if (start == Clock::time_point{})
      start = now;
    else if (now - start > spinTime)
      return false;
  }
}

unsigned availableCpus() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0)
    return CPU_COUNT(&set);
#endif
  return std::max(1u, std::thread::hardware_concurrency());
}

} // namespace

ThreadPool::ThreadPool(unsigned threads) {
  if (threads > maxThreads)
    throw std::invalid_argument("a thread pool has at most " +
                                std::to_string(maxThreads) + " threads, not " +
                                std::to_string(threads));
  if (threads == 0)
    threads = std::min(availableCpus(), maxThreads);
  shareCount = threads;
  shares = std::make_unique<Share[]>(threads);
  workers.reserve(threads - 1);
  try {
    for (unsigned i = 1; i < threads; ++i)
      workers.emplace_back([this, i] { workerLoop(i); });
  } catch (const std::exception &error) {
    unsigned started = this->threads();
    stop();
    throw std::runtime_error(
        "the system starts only " + std::to_string(started) + " of " +
        std::to_string(threads) + " threads: " + error.what());
  }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() {
  {
    std::lock_guard<std::mutex> lock(mutex);
    stopping.store(true);
  }
  wake.notify_all();
  for (std::thread &worker : workers)
    worker.join();
}

int64_t ThreadPool::evenGrain(int64_t n) const {
  return std::max<int64_t>(1, n / (int64_t(threads()) * 4));
}

/// The next piece of a share, or -1.
int64_t ThreadPool::claim(unsigned share, uint64_t job) {
  int64_t pieces = job & countMask;
  int64_t begin = pieces * share / shareCount;
  int64_t count = pieces * (share + 1) / shareCount - begin;
  if (count == 0)
    return -1;
  uint64_t number = job >> countBits;
  std::atomic<uint64_t> &at = shares[share].taken;
  uint64_t seen = at.load(std::memory_order_relaxed);
  for (;;) {
    uint64_t of = seen >> countBits;
    // A later job: this one is over.
    if (of > number)
      return -1;
    int64_t taken = of == number ? seen & countMask : 0;
    if (taken == count)
      return -1;
    if (at.compare_exchange_weak(seen,
                                 number << countBits | uint64_t(taken + 1),
                                 std::memory_order_relaxed))
      return begin + taken;
  }
}

void ThreadPool::work(unsigned thread, uint64_t job) {
  int64_t done = 0;
  for (unsigned i = 0; i < shareCount; ++i) {
    unsigned share =
        thread + i < shareCount ? thread + i : thread + i - shareCount;
    for (int64_t piece; (piece = claim(share, job)) >= 0; ++done)
      body(captures, thread, piece * grain,
           std::min(size, (piece + 1) * grain));
  }
  if (done)
    unfinished.fetch_sub(done, std::memory_order_release);
}

void ThreadPool::workerLoop(unsigned thread) {
  FlushDenormals flush;
  uint64_t job = 0;
  auto wanted = [&] { return state.load() != job || stopping.load(); };
  while (!stopping.load(std::memory_order_relaxed)) {
    if (!spinUntil(wanted)) {
      // The caller publishes and then looks for sleepers; a sleeper registers
      // and then looks at the state. One of them sees the other.
      std::unique_lock<std::mutex> lock(mutex);
      sleepers.fetch_add(1);
      wake.wait(lock, wanted);
      sleepers.fetch_sub(1);
    }
    // What it wakes up for may be over, but the next job is near.
    uint64_t next = state.load(std::memory_order_acquire);
    if (next != job)
      work(thread, job = next);
  }
}

void ThreadPool::run(int64_t n, int64_t pieceSize, Body jobBody,
                     void *jobCaptures) {
  if (n <= 0)
    return;
  pieceSize = std::max<int64_t>(pieceSize, 1);
  int64_t count = (n - 1) / pieceSize + 1;
  if (count > int64_t(countMask)) {
    pieceSize = (n - 1) / int64_t(countMask) + 1;
    count = (n - 1) / pieceSize + 1;
  }
  if (workers.empty() || count == 1 ||
      busy.exchange(true, std::memory_order_acquire)) {
    jobBody(jobCaptures, 0, 0, n);
    return;
  }
  body = jobBody;
  captures = jobCaptures;
  size = n;
  grain = pieceSize;
  unfinished.store(count, std::memory_order_relaxed);
  uint64_t number = (state.load(std::memory_order_relaxed) >> countBits) + 1;
  uint64_t job = number << countBits | uint64_t(count);
  state.store(job);
  if (sleepers.load() > 0) {
    // A sleeper between its look and its wait holds the mutex.
    { std::lock_guard<std::mutex> lock(mutex); }
    wake.notify_all();
  }
  work(0, job);
  auto done = [this] {
    return unfinished.load(std::memory_order_acquire) == 0;
  };
  while (!spinUntil(done))
    std::this_thread::yield();
  busy.store(false, std::memory_order_release);
}

} // namespace llmir::runtime
