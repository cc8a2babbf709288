// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A fork-join pool for work that lasts microseconds. A step forks hundreds of
// times, so workers spin for a while between two jobs before they sleep, the
// caller works too and needs no worker to finish, and a job allocates nothing.
#ifndef LLMIR_RUNTIME_THREAD_POOL_H
#define LLMIR_RUNTIME_THREAD_POOL_H

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace llmir::runtime {

class ThreadPool {
public:
  /// `threads` counts the caller; 0 means one per CPU this process may run on.
  /// Throws std::invalid_argument above `maxThreads` and std::runtime_error if
  /// the system does not start that many.
  explicit ThreadPool(unsigned threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool &) = delete;
  ThreadPool &operator=(const ThreadPool &) = delete;

  static constexpr unsigned maxThreads = 1024;

  unsigned threads() const { return workers.size() + 1; }

  /// Works on [begin, end) as thread `thread` < threads(). Must not throw.
  using Body = void (*)(void *captures, unsigned thread, int64_t begin,
                        int64_t end);

  /// Runs `body` over [0, n) in pieces of `grain` and returns when all are
  /// done. From within a job, or while another thread's job runs, everything
  /// runs in the calling thread, as thread 0.
  void run(int64_t n, int64_t grain, Body body, void *captures);

  /// The same for a callable fn(thread, begin, end).
  template <typename Fn> void forRanges(int64_t n, int64_t grain, Fn &&fn) {
    using Callable = std::remove_reference_t<Fn>;
    run(
        n, grain,
        [](void *captures, unsigned thread, int64_t begin, int64_t end) {
          (*static_cast<Callable *>(captures))(thread, begin, end);
        },
        const_cast<void *>(static_cast<const void *>(&fn)));
  }

  /// fn(begin, end) over [0, n), split in about four pieces for each thread.
  template <typename Fn> void parallelFor(int64_t n, Fn &&fn) {
    forRanges(n, evenGrain(n),
              [&fn](unsigned, int64_t begin, int64_t end) { fn(begin, end); });
  }

  /// A grain that gives each thread about four pieces of n.
  int64_t evenGrain(int64_t n) const;

private:
  void stop();
  void workerLoop(unsigned thread);
  void work(unsigned thread, uint64_t job);
  int64_t claim(unsigned share, uint64_t job);

  // A job is its number in the high bits and the count of its pieces in the low
  // ones; a share is the job that it was last claimed for, and how many of its
  // pieces are taken. What a thread needs to begin lies in one cache line, and
  // as long as nobody steals, claiming touches no line of another thread.
  static constexpr int countBits = 24;
  static constexpr uint64_t countMask = (uint64_t(1) << countBits) - 1;

  // The job that runs. Written before `state` publishes it and stable until
  // `unfinished` falls to 0; read only by a thread that holds a piece of it.
  alignas(64) std::atomic<uint64_t> state{0};
  Body body = nullptr;
  void *captures = nullptr;
  int64_t size = 0, grain = 1;

  struct alignas(64) Share {
    std::atomic<uint64_t> taken{0};
  };
  std::unique_ptr<Share[]> shares; // Of each thread.
  unsigned shareCount = 1;
  alignas(64) std::atomic<int64_t> unfinished{0};
  alignas(64) std::atomic<bool> busy{false};
  std::atomic<int> sleepers{0};
  std::atomic<bool> stopping{false};
  std::mutex mutex;
  std::condition_variable wake;
  std::vector<std::thread> workers;
};

} // namespace llmir::runtime

#endif // LLMIR_RUNTIME_THREAD_POOL_H
