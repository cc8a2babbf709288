// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Runs many requests over one engine. Each step takes the next token of every
// running request and, in what is left of the step's room, pieces of the
// prompts of new ones; who comes and goes changes no one's tokens. When blocks
// of the cache run out, the last in order gives its own back, and computes them
// again later.
#ifndef LLMIR_RUNTIME_BATCHING_ENGINE_H
#define LLMIR_RUNTIME_BATCHING_ENGINE_H

#include "llmir/runtime/engine.h"
#include "llmir/runtime/sampler.h"

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <thread>
#include <unordered_map>
#include <vector>

namespace llmir::runtime {

using RequestId = uint64_t;

/// What is to be generated. Ids and settings are checked when it is submitted.
struct Request {
  std::vector<int32_t> prompt; ///< At least one token id.
  /// Its stop tokens are joined by those that end a text.
  SamplingConfig sampling;
  /// Which of a request's outputs it is: they share a seed.
  uint32_t index = 0;
  /// The most new tokens. The model's greatest length ends a request too.
  int64_t maxTokens = 16;
  /// How many log probabilities come with each token of the prompt but the
  /// first, as SamplingConfig::logprobs says of new ones.
  std::optional<int64_t> promptLogprobs;
  /// The model's tokens that end a text do not end it.
  bool ignoreEos = false;
  /// Under SchedulingPolicy::priority the least goes first.
  int32_t priority = 0;
  /// When it is given up.
  std::optional<std::chrono::steady_clock::time_point> deadline;
};

enum class FinishReason {
  none,      ///< There is more to come.
  stop,      ///< A token that ends it, which is the last one.
  length,    ///< As many tokens as were asked for, or as the model takes.
  cancelled, ///< By `cancel`, or because the engine was destroyed.
  expired,   ///< Its deadline has passed.
  failed,    ///< A step has failed; see `error`.
};

/// A new token of a request, or its end, or both.
struct RequestOutput {
  RequestId request = 0;
  std::optional<int32_t> token;
  /// As SamplingConfig::logprobs asks.
  std::vector<TokenLogprob> logprobs;
  /// With the first token, if they were asked for: of each token of the prompt
  /// but the first.
  std::vector<std::vector<TokenLogprob>> promptLogprobs;
  FinishReason finish = FinishReason::none;
  std::string error; ///< If it has failed.
};

/// Who goes first. A request that waits moves up by one priority every
/// `agingSteps` steps, so that each has its turn.
enum class SchedulingPolicy { fcfs, priority };

struct BatchingConfig {
  SchedulingPolicy policy = SchedulingPolicy::fcfs;
  /// The most requests in a step, and tokens in it; 0 for as many tokens as the
  /// artifact takes.
  int64_t maxSequences = 64;
  int64_t maxBatchTokens = 0;
  /// Whether what was computed for one request is kept for others that begin
  /// with the same tokens.
  bool prefixCaching = true;
  /// The most requests that wait.
  int64_t maxQueued = 4096;
  /// The share of blocks that no new request takes: running ones grow.
  double watermark = 0.02;
  int64_t agingSteps = 256;
};

struct BatchingStatistics {
  int64_t submitted = 0, finished = 0, waiting = 0, running = 0;
  int64_t steps = 0;
  /// Tokens that were computed: of prompts, again after a preemption, and one
  /// by one.
  int64_t promptTokens = 0, recomputedTokens = 0, decodedTokens = 0;
  /// Tokens of prompts and of preempted requests that were found instead.
  int64_t cachedTokens = 0;
  int64_t preemptions = 0;
};

/// More requests wait than may.
struct QueueFull : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class ContinuousBatchingEngine {
public:
  using OutputCallback = std::function<void(const RequestOutput &)>;

  /// Takes an engine that nothing else uses. Throws std::invalid_argument for a
  /// setting out of range.
  explicit ContinuousBatchingEngine(std::unique_ptr<Engine> engine,
                                    const BatchingConfig &config = {});
  /// Cancels what has not finished.
  ~ContinuousBatchingEngine();
  ContinuousBatchingEngine(const ContinuousBatchingEngine &) = delete;
  ContinuousBatchingEngine &
  operator=(const ContinuousBatchingEngine &) = delete;

  /// Is told every token, from the thread that steps. It may submit and cancel.
  /// To be set before the first request.
  void setOutputCallback(OutputCallback callback);

  /// Puts a request in the queue. Throws std::invalid_argument for one that can
  /// never run, and QueueFull. From any thread.
  RequestId submitRequest(Request request);
  /// Ends a request, which gives its blocks back before the next step. False if
  /// it has finished. From any thread.
  bool cancel(RequestId request);

  /// Runs one step of what there is to do in this thread, and returns whether
  /// there was anything. Not while the engine's own thread runs.
  bool step();
  bool hasUnfinished() const;

  /// Steps in a thread of the engine's own, until `stop` is called.
  void start();
  void stop();
  /// Waits until nothing is left to do. Only while the own thread runs.
  void drain();

  BatchingStatistics statistics() const;
  /// To look at; not while the engine's own thread runs.
  const Engine &engine() const { return *inner; }

private:
  struct Running;
  using Order = std::vector<std::unique_ptr<Running>>;
  struct Scheduled {
    Running *request;
    int64_t tokens;
  };

  void check(Request &request) const;
  int64_t blocksToFinish(const Request &request) const;
  void takeNews();
  static bool precedes(const Running &a, const Running &b);
  void sortWaiting();
  bool hasRoom(Running &request);
  void remember(Running &request);
  void schedule();
  void admit(int64_t &budget);
  int64_t tokensFor(const Running &request, int64_t budget) const;
  bool makeRoom(Running *request, int64_t tokens);
  void preempt(size_t index);
  bool run();
  void readPrompt(Running &request, int64_t begin, int64_t count,
                  const float *rows) const;
  void advance(Running &request, const float *row);
  void finish(Running &request, const RequestOutput &output);
  void finish(Running &request, FinishReason reason,
              const std::string &error = "");
  void fail(const std::string &error);
  void removeFinished();
  void loop();

  std::unique_ptr<Engine> inner;
  BatchingConfig config;
  int64_t watermarkBlocks = 0;
  OutputCallback callback;

  // Of the thread that steps.
  Order waiting, running;
  std::vector<Scheduled> scheduled;
  int64_t reserved = 0;
  std::vector<StepItem> items;
  std::vector<float> logits;

  // Of all threads.
  mutable std::mutex mutex;
  std::condition_variable wake, idle;
  std::vector<std::unique_ptr<Running>> submitted;
  /// What has not finished, and whether it is to be cancelled.
  std::unordered_map<RequestId, bool> unfinished;
  bool anyCancelled = false, stopping = false;
  RequestId nextId = 1;
  BatchingStatistics counts;
  std::thread thread;
};

} // namespace llmir::runtime

#endif // LLMIR_RUNTIME_BATCHING_ENGINE_H
