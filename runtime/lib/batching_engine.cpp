// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Scheduling, a step at a time. Requests that run are in the order in which
// they were let in; whoever has one token to compute goes first, then prompts,
// so that no prompt holds up the others' tokens. A request counts as running
// once it has blocks, and a step reserves the blocks of all before it runs.
#include "llmir/runtime/batching_engine.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

namespace llmir::runtime {

/// A request on its way. Of its tokens those up to the sequence's length are
/// computed.
struct ContinuousBatchingEngine::Running {
  Running(RequestId id, Request request)
      : id(id), request(std::move(request)),
        sampler(this->request.sampling, this->request.prompt,
                this->request.index),
        tokens(this->request.prompt) {}

  int64_t cached() const { return sequence ? sequence->length() : 0; }
  int64_t pending() const { return int64_t(tokens.size()) - cached(); }
  /// Whether log probabilities of the prompt are missing.
  bool readsPrompt() const {
    return request.promptLogprobs &&
           promptLogprobs.size() + 1 < request.prompt.size();
  }
  int64_t generated() const {
    return int64_t(tokens.size() - request.prompt.size());
  }

  RequestId id;
  Request request;
  Sampler sampler;
  std::vector<int32_t> tokens;
  std::vector<std::vector<TokenLogprob>> promptLogprobs;
  std::unique_ptr<Sequence> sequence;
  /// How many tokens were computed once and have to be again.
  int64_t lost = 0;
  int64_t stepWhenQueued = 0;
  /// Less is sooner; of one that runs, as it was when it was let in.
  int64_t urgency = 0;
  bool finished = false;
};

/// The most tokens of a prompt in a step whose log probabilities are asked for:
/// each has a row of logits.
static constexpr int64_t mostPromptRows = 64;

static int64_t divideUp(int64_t n, int64_t by) { return (n + by - 1) / by; }

ContinuousBatchingEngine::ContinuousBatchingEngine(
    std::unique_ptr<Engine> engine, const BatchingConfig &config)
    : inner(std::move(engine)), config(config) {
  auto check = [](const char *what, int64_t value, int64_t least) {
    if (value < least)
      throw std::invalid_argument(std::string(what) + " must be " +
                                  std::to_string(least) + " or more, not " +
                                  std::to_string(value));
  };
  check("max_num_seqs", config.maxSequences, 1);
  check("max_num_batched_tokens", config.maxBatchTokens, 0);
  check("max_queued", config.maxQueued, 1);
  check("aging_steps", config.agingSteps, 1);
  if (!(config.watermark >= 0 && config.watermark < 1))
    throw std::invalid_argument("watermark must be from 0 to below 1, not " +
                                std::to_string(config.watermark));
  int64_t most = inner->model().manifest().maxBatchTokens;
  if (config.maxBatchTokens > most)
    throw std::invalid_argument(
        "max_num_batched_tokens is " + std::to_string(config.maxBatchTokens) +
        ", and a step has at most " + std::to_string(most) +
        " tokens with this artifact; compile it with a larger "
        "--max-batch-tokens");
  if (config.maxBatchTokens == 0)
    this->config.maxBatchTokens = most;
  // Each has a token in a step.
  this->config.maxSequences =
      std::min(config.maxSequences, this->config.maxBatchTokens);
  if (config.prefixCaching)
    inner->enablePrefixCache();
  watermarkBlocks = int64_t(config.watermark * double(inner->numBlocks()));
  items.reserve(this->config.maxSequences);
  scheduled.reserve(this->config.maxSequences);
}

ContinuousBatchingEngine::~ContinuousBatchingEngine() {
  stop();
  takeNews();
  for (Order *order : {&running, &waiting})
    for (auto &request : *order)
      finish(*request, FinishReason::cancelled);
}

void ContinuousBatchingEngine::setOutputCallback(OutputCallback callback) {
  this->callback = std::move(callback);
}

//===----------------------------------------------------------------------===//
// Requests come and go
//===----------------------------------------------------------------------===//

/// The most blocks that a request has at once.
int64_t ContinuousBatchingEngine::blocksToFinish(const Request &request) const {
  const Manifest &manifest = inner->model().manifest();
  // The last token is not computed.
  int64_t length =
      std::min(int64_t(request.prompt.size()) +
                   std::min(request.maxTokens, manifest.maxModelLen) - 1,
               manifest.maxModelLen);
  int64_t blocks = divideUp(length, manifest.cacheBlockSize);
  if (manifest.cacheWindow)
    blocks = std::min(
        blocks, 1 + divideUp(manifest.cacheWindow - 1 + config.maxBatchTokens,
                             manifest.cacheBlockSize));
  return blocks;
}

void ContinuousBatchingEngine::check(Request &request) const {
  const Manifest &manifest = inner->model().manifest();
  auto refuse = [](const std::string &what) {
    throw std::invalid_argument("the request " + what);
  };
  if (request.prompt.empty())
    refuse("has no prompt");
  for (int32_t id : request.prompt)
    if (id < 0 || id >= manifest.vocabSize)
      refuse("has the token id " + std::to_string(id) +
             ", and the vocabulary has " + std::to_string(manifest.vocabSize));
  if (!request.ignoreEos)
    request.sampling.stopTokenIds.insert(request.sampling.stopTokenIds.end(),
                                         manifest.eosTokenIds.begin(),
                                         manifest.eosTokenIds.end());
  checkSampling(request.sampling, manifest.vocabSize);
  if (request.promptLogprobs && *request.promptLogprobs < -1)
    refuse("has prompt_logprobs " + std::to_string(*request.promptLogprobs) +
           ", and not -1 or more");
  if (request.maxTokens < 1)
    refuse("has max_tokens " + std::to_string(request.maxTokens) +
           ", and not 1 or more");
  if (int64_t(request.prompt.size()) >= manifest.maxModelLen)
    refuse("has " + std::to_string(request.prompt.size()) +
           " tokens, and the model's greatest length of " +
           std::to_string(manifest.maxModelLen) + " leaves no room for more");
  if (int64_t blocks = blocksToFinish(request); blocks > inner->numBlocks())
    refuse("may need " + std::to_string(blocks) +
           " blocks of the KV cache, and there are " +
           std::to_string(inner->numBlocks()) +
           "; ask for fewer tokens, or for a larger cache");
}

RequestId ContinuousBatchingEngine::submitRequest(Request request) {
  check(request);
  std::unique_lock<std::mutex> lock(mutex);
  if (counts.waiting >= config.maxQueued)
    throw QueueFull("there are " + std::to_string(counts.waiting) +
                    " requests waiting, and no more may");
  RequestId id = nextId;
  submitted.push_back(std::make_unique<Running>(id, std::move(request)));
  submitted.back()->stepWhenQueued = counts.steps;
  ++nextId;
  unfinished.emplace(id, false);
  ++counts.submitted;
  ++counts.waiting;
  lock.unlock();
  wake.notify_one();
  return id;
}

bool ContinuousBatchingEngine::cancel(RequestId request) {
  std::unique_lock<std::mutex> lock(mutex);
  auto found = unfinished.find(request);
  if (found == unfinished.end())
    return false;
  found->second = anyCancelled = true;
  lock.unlock();
  wake.notify_one();
  return true;
}

bool ContinuousBatchingEngine::hasUnfinished() const {
  std::lock_guard<std::mutex> lock(mutex);
  return !unfinished.empty();
}

BatchingStatistics ContinuousBatchingEngine::statistics() const {
  std::lock_guard<std::mutex> lock(mutex);
  return counts;
}

void ContinuousBatchingEngine::finish(Running &request,
                                      const RequestOutput &output) {
  request.finished = true;
  remember(request);
  request.sequence.reset();
  {
    std::lock_guard<std::mutex> lock(mutex);
    unfinished.erase(request.id);
    ++counts.finished;
  }
  if (callback)
    callback(output);
}

void ContinuousBatchingEngine::finish(Running &request, FinishReason reason,
                                      const std::string &error) {
  RequestOutput output;
  output.request = request.id;
  output.finish = reason;
  output.error = error;
  finish(request, output);
}

void ContinuousBatchingEngine::removeFinished() {
  for (Order *order : {&running, &waiting})
    order->erase(std::remove_if(order->begin(), order->end(),
                                [](const std::unique_ptr<Running> &request) {
                                  return request->finished;
                                }),
                 order->end());
  std::lock_guard<std::mutex> lock(mutex);
  counts.waiting = int64_t(waiting.size() + submitted.size());
  counts.running = int64_t(running.size());
}

/// Takes what other threads have left, and ends what is cancelled or too late.
void ContinuousBatchingEngine::takeNews() {
  std::vector<std::pair<Running *, FinishReason>> ended;
  {
    std::lock_guard<std::mutex> lock(mutex);
    for (auto &request : submitted)
      waiting.push_back(std::move(request));
    submitted.clear();
    auto now = std::chrono::steady_clock::now();
    for (Order *order : {&running, &waiting})
      for (auto &request : *order) {
        auto deadline = request->request.deadline;
        if (anyCancelled && unfinished.at(request->id))
          ended.emplace_back(request.get(), FinishReason::cancelled);
        else if (deadline && *deadline <= now)
          ended.emplace_back(request.get(), FinishReason::expired);
      }
    anyCancelled = false;
  }
  // The callback may submit and cancel.
  for (auto [request, reason] : ended)
    finish(*request, reason);
  removeFinished();
}

//===----------------------------------------------------------------------===//
// Who runs
//===----------------------------------------------------------------------===//

/// Whether `a` goes before `b`.
bool ContinuousBatchingEngine::precedes(const Running &a, const Running &b) {
  return a.urgency != b.urgency ? a.urgency < b.urgency : a.id < b.id;
}

void ContinuousBatchingEngine::sortWaiting() {
  int64_t steps = statistics().steps;
  // Whoever waits moves up with time.
  if (config.policy == SchedulingPolicy::priority)
    for (auto &request : waiting)
      request->urgency = request->request.priority -
                         (steps - request->stepWhenQueued) / config.agingSteps;
  std::sort(waiting.begin(), waiting.end(),
            [](const auto &a, const auto &b) { return precedes(*a, *b); });
}

/// Takes a running request's blocks; it waits again, with its tokens.
void ContinuousBatchingEngine::preempt(size_t index) {
  std::unique_ptr<Running> request = std::move(running[index]);
  running.erase(running.begin() + std::ptrdiff_t(index));
  auto planned =
      std::find_if(scheduled.begin(), scheduled.end(), [&](const Scheduled &s) {
        return s.request == request.get();
      });
  if (planned != scheduled.end()) {
    reserved -= inner->blocksNeeded(*request->sequence, planned->tokens);
    scheduled.erase(planned);
  }
  request->lost = std::max(request->lost, request->cached());
  remember(*request);
  request->sequence.reset();
  waiting.push_back(std::move(request));
  std::lock_guard<std::mutex> lock(mutex);
  ++counts.preemptions;
}

/// How many of a request's tokens a step with so much room computes.
int64_t ContinuousBatchingEngine::tokensFor(const Running &request,
                                            int64_t budget) const {
  int64_t tokens = std::min(request.pending(), budget);
  return request.readsPrompt() ? std::min(tokens, mostPromptRows) : tokens;
}

/// Reserves the blocks of so many more tokens of a running request, if need be
/// at the cost of those behind it. False if it had to give up its own.
bool ContinuousBatchingEngine::makeRoom(Running *request, int64_t tokens) {
  for (;;) {
    int64_t needed = inner->blocksNeeded(*request->sequence, tokens);
    if (reserved + needed <= inner->numAvailableBlocks()) {
      reserved += needed;
      return true;
    }
    bool isItself = running.back().get() == request;
    preempt(running.size() - 1);
    if (isItself)
      return false;
  }
}

void ContinuousBatchingEngine::schedule() {
  scheduled.clear();
  reserved = 0;
  int64_t budget = config.maxBatchTokens;
  // Single tokens first, so that prompts, which take what is left, hold nobody
  // up.
  for (bool singles : {true, false})
    for (size_t i = 0; i < running.size() && budget > 0;) {
      Running *request = running[i].get();
      bool isSingle = request->pending() == 1;
      int64_t tokens = tokensFor(*request, budget);
      if (isSingle != singles || makeRoom(request, tokens)) {
        if (isSingle == singles) {
          scheduled.push_back({request, tokens});
          budget -= tokens;
        }
        ++i;
      }
    }
  admit(budget);
}

/// Lets requests in, in order, while there is room for all their tokens. One
/// that is more urgent than the last that runs takes its place.
void ContinuousBatchingEngine::admit(int64_t &budget) {
  sortWaiting();
  while (!waiting.empty() && budget > 0) {
    Running *request = waiting.front().get();
    if (!hasRoom(*request)) {
      bool isUrgent = config.policy == SchedulingPolicy::priority &&
                      !running.empty() &&
                      request->urgency < running.back()->urgency;
      if (!isUrgent)
        break;
      preempt(running.size() - 1);
      sortWaiting();
      continue;
    }
    int64_t tokens = tokensFor(*request, budget);
    reserved += inner->blocksNeeded(*request->sequence, tokens);
    scheduled.push_back({request, tokens});
    budget -= tokens;
    auto place = std::upper_bound(
        running.begin(), running.end(), waiting.front(),
        [](const auto &a, const auto &b) { return precedes(*a, *b); });
    running.insert(place, std::move(waiting.front()));
    waiting.erase(waiting.begin());
  }
}

/// Lets a request have a sequence, if there is room for its tokens.
bool ContinuousBatchingEngine::hasRoom(Running &request) {
  if (int64_t(running.size()) >= config.maxSequences)
    return false;
  // What is computed for log probabilities has to be computed.
  request.sequence =
      request.readsPrompt()
          ? inner->newSequence()
          : inner->newSequence(request.tokens.data(), request.tokens.size());
  int64_t spare = running.empty() ? 0 : watermarkBlocks;
  // A long text with a window never has all of its blocks at once.
  int64_t needed =
      std::min(inner->blocksNeeded(*request.sequence, request.pending()),
               blocksToFinish(request.request));
  if (needed > inner->numAvailableBlocks() - reserved - spare) {
    request.sequence.reset();
    return false;
  }
  std::lock_guard<std::mutex> lock(mutex);
  counts.cachedTokens += request.cached();
  return true;
}

/// Keeps what was computed for others that begin alike, and for itself.
void ContinuousBatchingEngine::remember(Running &request) {
  if (config.prefixCaching && request.sequence)
    inner->remember(*request.sequence, request.tokens.data(),
                    request.tokens.size());
}

//===----------------------------------------------------------------------===//
// Steps
//===----------------------------------------------------------------------===//

bool ContinuousBatchingEngine::step() {
  takeNews();
  schedule();
  bool any = run();
  removeFinished();
  if (any || !hasUnfinished())
    return any;
  // Nobody has blocks, and the first in line does not get enough: it was
  // checked that a request alone does.
  fail("the scheduler has found no request to run");
  removeFinished();
  return false;
}

bool ContinuousBatchingEngine::run() {
  if (scheduled.empty())
    return false;
  items.clear();
  BatchingStatistics step;
  for (const Scheduled &each : scheduled) {
    Running &request = *each.request;
    int64_t cached = request.cached();
    items.push_back({request.sequence.get(), request.tokens.data() + cached,
                     each.tokens, request.readsPrompt()});
    int64_t again = std::clamp(request.lost - cached, int64_t(0), each.tokens);
    int64_t prompt = std::clamp(int64_t(request.request.prompt.size()) -
                                    std::max(cached, request.lost),
                                int64_t(0), each.tokens - again);
    step.recomputedTokens += again;
    step.promptTokens += prompt;
    step.decodedTokens += each.tokens - again - prompt;
  }
  int64_t vocabulary = inner->model().manifest().vocabSize;
  int64_t rows = Engine::countLogits(items.data(), items.size());
  logits.resize(std::max(logits.size(), size_t(rows * vocabulary)));
  try {
    inner->step(items.data(), items.size(), logits.data());
  } catch (const std::exception &error) {
    fail(error.what());
    return true;
  }
  {
    std::lock_guard<std::mutex> lock(mutex);
    ++counts.steps;
    counts.promptTokens += step.promptTokens;
    counts.recomputedTokens += step.recomputedTokens;
    counts.decodedTokens += step.decodedTokens;
  }
  const float *row = logits.data();
  for (size_t i = 0; i < scheduled.size(); ++i) {
    auto [request, tokens] = scheduled[i];
    if (items[i].wantAllLogits) {
      readPrompt(*request, request->cached() - tokens, tokens, row);
      row += (tokens - 1) * vocabulary;
    }
    if (tokens > 1)
      remember(*request);
    if (request->pending() == 0)
      advance(*request, row);
    row += vocabulary;
  }
  return true;
}

/// Takes the log probabilities of the tokens behind those from `begin` on.
void ContinuousBatchingEngine::readPrompt(Running &request, int64_t begin,
                                          int64_t count,
                                          const float *rows) const {
  size_t vocabulary = size_t(inner->model().manifest().vocabSize);
  const std::vector<int32_t> &prompt = request.request.prompt;
  for (int64_t i = 0; i < count; ++i) {
    size_t next = size_t(begin + i + 1);
    // What was computed before a preemption is known.
    if (next >= prompt.size() || next != request.promptLogprobs.size() + 1)
      continue;
    auto &found = request.promptLogprobs.emplace_back();
    computeLogprobs(rows + size_t(i) * vocabulary, vocabulary, prompt[next],
                    *request.request.promptLogprobs, found);
  }
}

/// Chooses the next token of a request whose tokens are all computed.
void ContinuousBatchingEngine::advance(Running &request, const float *row) {
  const Manifest &manifest = inner->model().manifest();
  RequestOutput output;
  output.request = request.id;
  try {
    Token token = request.sampler.sample(row, size_t(manifest.vocabSize));
    output.token = token.id;
    output.logprobs.assign(token.logprobs, token.logprobs + token.numLogprobs);
  } catch (const std::invalid_argument &error) {
    // A model that computes NaN, or settings that leave no token.
    return finish(request, FinishReason::failed, error.what());
  }
  if (request.request.promptLogprobs) {
    output.promptLogprobs = std::move(request.promptLogprobs);
    request.request.promptLogprobs.reset();
  }
  request.tokens.push_back(*output.token);
  const std::vector<int32_t> &stops = request.request.sampling.stopTokenIds;
  if (std::find(stops.begin(), stops.end(), *output.token) != stops.end())
    output.finish = FinishReason::stop;
  else if (request.generated() >= request.request.maxTokens ||
           int64_t(request.tokens.size()) >= manifest.maxModelLen)
    output.finish = FinishReason::length;
  if (output.finish != FinishReason::none)
    finish(request, output);
  else if (callback)
    callback(output);
}

/// Ends everything that has begun or waits.
void ContinuousBatchingEngine::fail(const std::string &error) {
  for (Order *order : {&running, &waiting})
    for (auto &request : *order)
      if (!request->finished)
        finish(*request, FinishReason::failed, error);
}

//===----------------------------------------------------------------------===//
// The engine's own thread
//===----------------------------------------------------------------------===//

void ContinuousBatchingEngine::start() {
  std::lock_guard<std::mutex> lock(mutex);
  if (thread.joinable())
    return;
  stopping = false;
  thread = std::thread([this] { loop(); });
}

void ContinuousBatchingEngine::stop() {
  {
    std::lock_guard<std::mutex> lock(mutex);
    stopping = true;
  }
  wake.notify_all();
  if (thread.joinable())
    thread.join();
}

void ContinuousBatchingEngine::drain() {
  std::unique_lock<std::mutex> lock(mutex);
  idle.wait(lock, [this] { return unfinished.empty() || stopping; });
}

void ContinuousBatchingEngine::loop() {
  for (;;) {
    {
      std::unique_lock<std::mutex> lock(mutex);
      if (unfinished.empty())
        idle.notify_all();
      wake.wait(lock, [this] { return stopping || !unfinished.empty(); });
      if (stopping)
        return idle.notify_all();
    }
    step();
  }
}

} // namespace llmir::runtime
