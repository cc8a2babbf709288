// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Python drives the batching engine a step at a time, or lets it run in its
// own thread and waits for what comes. Outputs are kept until they are fetched,
// so the engine's thread never needs the GIL.
#include "batching.h"

#include "llmir/runtime/batching_engine.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <optional>

namespace nb = nanobind;
using namespace nb::literals;
using namespace llmir::runtime;

namespace {

class PyBatchingEngine {
public:
  PyBatchingEngine(std::shared_ptr<Model> model, int threads, int64_t numBlocks,
                   const BatchingConfig &config) {
    if (threads < 0)
      throw std::invalid_argument("threads must be 0 or more, not " +
                                  std::to_string(threads));
    engine = std::make_unique<ContinuousBatchingEngine>(
        std::make_unique<Engine>(std::move(model), unsigned(threads),
                                 numBlocks),
        config);
    engine->setOutputCallback([this](const RequestOutput &output) {
      std::lock_guard<std::mutex> lock(mutex);
      outputs.push_back(output);
      arrived.notify_all();
    });
  }

  ~PyBatchingEngine() {
    nb::gil_scoped_release release;
    engine.reset();
  }

  nb::list step() {
    {
      nb::gil_scoped_release release;
      std::lock_guard<std::mutex> lock(stepping);
      if (started)
        throw std::runtime_error("the engine steps in a thread of its own");
      engine->step();
    }
    return fetch();
  }

  nb::list wait(double seconds) {
    // More than a day is as good as for ever, and fits any clock.
    auto time =
        std::chrono::duration<double>(std::clamp(seconds, 0.0, 86400.0));
    {
      nb::gil_scoped_release release;
      std::unique_lock<std::mutex> lock(mutex);
      arrived.wait_for(lock, time, [this] { return !outputs.empty(); });
    }
    return fetch();
  }

  void start() {
    nb::gil_scoped_release release;
    std::lock_guard<std::mutex> lock(stepping);
    started = true;
    engine->start();
  }

  void stop() {
    nb::gil_scoped_release release;
    std::lock_guard<std::mutex> lock(stepping);
    engine->stop();
    started = false;
  }

  std::unique_ptr<ContinuousBatchingEngine> engine;

private:
  static nb::list list(const std::vector<TokenLogprob> &logprobs) {
    nb::list result;
    for (const TokenLogprob &each : logprobs)
      result.append(nb::make_tuple(each.id, each.logprob, each.rank));
    return result;
  }

  nb::list fetch() {
    std::vector<RequestOutput> taken;
    {
      // Held for no longer than a swap takes, by anyone.
      std::lock_guard<std::mutex> lock(mutex);
      taken.swap(outputs);
    }
    const char *const reasons[] = {nullptr, "stop",    "length",
                                   "abort", "expired", "error"};
    nb::list result;
    for (const RequestOutput &output : taken) {
      const char *reason = reasons[int(output.finish)];
      nb::list prompt;
      for (const auto &each : output.promptLogprobs)
        prompt.append(list(each));
      result.append(nb::make_tuple(
          output.request, output.token ? nb::cast(*output.token) : nb::none(),
          list(output.logprobs), prompt, reason ? nb::cast(reason) : nb::none(),
          output.error));
    }
    return result;
  }

  // Before the engine, whose end still writes to them.
  std::mutex mutex, stepping;
  std::condition_variable arrived;
  std::vector<RequestOutput> outputs;
  bool started = false;
};

SchedulingPolicy parsePolicy(const std::string &name) {
  if (name == "fcfs")
    return SchedulingPolicy::fcfs;
  if (name == "priority")
    return SchedulingPolicy::priority;
  throw std::invalid_argument("scheduling_policy must be fcfs or priority, "
                              "not " +
                              name);
}

} // namespace

void registerBatching(nb::module_ &m) {
  const nb::exception<QueueFull> queueFull(m, "QueueFull", PyExc_RuntimeError);
  nb::class_<PyBatchingEngine>(m, "BatchingEngine",
                               "Runs many requests over one engine.")
      .def(
          "__init__",
          [](PyBatchingEngine *self, std::shared_ptr<Model> model, int threads,
             int64_t numBlocks, int64_t maxSequences, int64_t maxBatchTokens,
             const std::string &policy, int64_t maxQueued, bool prefixCaching) {
            BatchingConfig config;
            config.maxSequences = maxSequences;
            config.maxBatchTokens = maxBatchTokens;
            config.policy = parsePolicy(policy);
            config.maxQueued = maxQueued;
            config.prefixCaching = prefixCaching;
            new (self)
                PyBatchingEngine(std::move(model), threads, numBlocks, config);
          },
          "model"_a, "threads"_a = 0, "num_blocks"_a = 0, "max_num_seqs"_a = 64,
          "max_num_batched_tokens"_a = 0, "scheduling_policy"_a = "fcfs",
          "max_queued"_a = 4096, "enable_prefix_caching"_a = true,
          "`threads` and `num_blocks` as of Engine. A step has at most "
          "`max_num_seqs` requests and `max_num_batched_tokens` tokens, 0 for "
          "as many as the artifact takes; `max_queued` requests may wait. "
          "Prompts that begin alike share what was computed, with "
          "`enable_prefix_caching`. "
          "`scheduling_policy` is fcfs, or priority: the least first.\n\n"
          "Raises ValueError for a setting out of range, and RuntimeError if "
          "there is too little memory.")
      .def(
          "submit",
          [](PyBatchingEngine &self, std::vector<int32_t> prompt,
             const SamplingConfig &sampling, uint32_t index, int64_t maxTokens,
             std::optional<int64_t> promptLogprobs, bool ignoreEos,
             int32_t priority, std::optional<double> timeout) {
            Request request;
            request.prompt = std::move(prompt);
            request.sampling = sampling;
            request.maxTokens = maxTokens;
            request.index = index;
            request.promptLogprobs = promptLogprobs;
            request.ignoreEos = ignoreEos;
            request.priority = priority;
            if (timeout)
              request.deadline =
                  std::chrono::steady_clock::now() +
                  std::chrono::duration_cast<std::chrono::nanoseconds>(
                      std::chrono::duration<double>(
                          std::clamp(*timeout, 0.0, 86400.0 * 365)));
            nb::gil_scoped_release release;
            return self.engine->submitRequest(std::move(request));
          },
          "prompt"_a, "sampling"_a, "index"_a = 0, "max_tokens"_a = 16,
          "prompt_logprobs"_a = nb::none(), "ignore_eos"_a = false,
          "priority"_a = 0, "timeout"_a = nb::none(),
          "Puts a request in the queue and returns its number.\n\nRaises "
          "ValueError for one that can never run, and QueueFull.")
      .def(
          "cancel",
          [](PyBatchingEngine &self, RequestId request) {
            nb::gil_scoped_release release;
            return self.engine->cancel(request);
          },
          "request"_a,
          "Ends a request before the next step; False if it has finished.")
      .def("step", &PyBatchingEngine::step,
           "Runs a step and returns (request, token or None, logprobs, prompt "
           "logprobs, reason or None, error) of each new token and each end "
           "since the last call. Log probabilities are lists of (id, logprob, "
           "rank), of a prompt with its first token and a list for each token "
           "but the first. Reasons are stop, length, abort, expired and error.")
      .def("wait", &PyBatchingEngine::wait, "seconds"_a,
           "The same of an engine that steps in a thread of its own, as soon "
           "as there is any or the time is over.")
      .def("start", &PyBatchingEngine::start,
           "Steps in a thread of its own from now on.")
      .def("stop", &PyBatchingEngine::stop, "Ends that thread.")
      .def_prop_ro(
          "has_unfinished",
          [](PyBatchingEngine &self) { return self.engine->hasUnfinished(); })
      .def_prop_ro("num_blocks",
                   [](PyBatchingEngine &self) {
                     return self.engine->engine().numBlocks();
                   })
      .def_prop_ro(
          "statistics",
          [](PyBatchingEngine &self) {
            BatchingStatistics counts = self.engine->statistics();
            nb::dict result;
            result["submitted"] = counts.submitted;
            result["finished"] = counts.finished;
            result["waiting"] = counts.waiting;
            result["running"] = counts.running;
            result["steps"] = counts.steps;
            result["prompt_tokens"] = counts.promptTokens;
            result["recomputed_tokens"] = counts.recomputedTokens;
            result["decoded_tokens"] = counts.decodedTokens;
            result["cached_tokens"] = counts.cachedTokens;
            result["preemptions"] = counts.preemptions;
            return result;
          },
          "Counts of requests, steps and computed tokens.");
}
