// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Many requests over one engine: whatever happens to a request on its way, its
// tokens are those it gets alone.
#include "llmir/runtime/batching_engine.h"
#include "test_artifact.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <thread>

using namespace llmir::runtime;
using namespace llmir::runtime::test;

namespace {

struct Result {
  std::vector<int32_t> tokens;
  FinishReason finish = FinishReason::none;
  int64_t finishedAtStep = 0;
  std::string error;
};

class BatchingTest : public ArtifactTest {
protected:
  void SetUp() override {
    ArtifactTest::SetUp();
    useCode("attention");
    changeManifest("\"max_model_len\": 20", "\"max_model_len\": 64");
    changeManifest("\"max_seq_len\": 20", "\"max_seq_len\": 64");
    model = load();
  }

  std::unique_ptr<ContinuousBatchingEngine>
  makeEngine(int64_t numBlocks, const BatchingConfig &config = {},
             unsigned threads = 1) {
    auto engine = std::make_unique<ContinuousBatchingEngine>(
        std::make_unique<Engine>(model, threads, numBlocks), config);
    engine->setOutputCallback([this](const RequestOutput &output) {
      std::lock_guard<std::mutex> lock(mutex);
      Result &result = results[output.request];
      EXPECT_EQ(result.finish, FinishReason::none);
      if (output.token)
        result.tokens.push_back(*output.token);
      result.finish = output.finish;
      result.error = output.error;
    });
    return engine;
  }

  /// What a request gets alone, from the bare step.
  const Result &alone(const Request &request) {
    auto key = std::tuple(request.prompt, request.sampling.temperature,
                          request.sampling.seed, request.maxTokens,
                          request.sampling.stopTokenIds, request.ignoreEos);
    auto [found, isNew] = known.try_emplace(key);
    Result &result = found->second;
    if (!isNew)
      return result;
    if (!reference)
      reference = std::make_unique<Engine>(model, 1, 16);
    auto sequence = reference->newSequence();
    SamplingConfig sampling = request.sampling;
    if (!request.ignoreEos)
      sampling.stopTokenIds.push_back(0);
    Sampler sampler(sampling, request.prompt);
    std::vector<int32_t> next = request.prompt;
    while (result.finish == FinishReason::none) {
      std::vector<float> logits;
      for (size_t begin = 0; begin < next.size(); begin += 12)
        logits = reference->step(
            {{sequence.get(), next.data() + begin,
              int64_t(std::min<size_t>(12, next.size() - begin)), false}});
      next = {sampler.sample(logits.data(), 16).id};
      result.tokens.push_back(next[0]);
      if (std::count(sampling.stopTokenIds.begin(), sampling.stopTokenIds.end(),
                     next[0]))
        result.finish = FinishReason::stop;
      else if (int64_t(result.tokens.size()) == request.maxTokens ||
               request.prompt.size() + result.tokens.size() == 64)
        result.finish = FinishReason::length;
    }
    return result;
  }

  void expectAsAlone(RequestId id, const Request &request) {
    const Result &found = results[id], &expected = alone(request);
    EXPECT_EQ(found.tokens, expected.tokens) << "request " << id;
    EXPECT_EQ(found.finish, expected.finish) << "request " << id;
  }

  /// Tokens of a cancelled request are the first ones it would have got.
  void expectBegins(RequestId id, const Request &request) {
    const Result &found = results[id], &expected = alone(request);
    ASSERT_LE(found.tokens.size(), expected.tokens.size());
    EXPECT_TRUE(std::equal(found.tokens.begin(), found.tokens.end(),
                           expected.tokens.begin()))
        << "request " << id;
  }

  std::shared_ptr<const Model> model;
  std::mutex mutex;
  std::map<RequestId, Result> results;

private:
  std::unique_ptr<Engine> reference;
  std::map<std::tuple<std::vector<int32_t>, double, uint64_t, int64_t,
                      std::vector<int32_t>, bool>,
           Result>
      known;
};

Request makeRequest(std::vector<int32_t> prompt, int64_t maxTokens = 8) {
  Request request;
  request.prompt = std::move(prompt);
  request.maxTokens = maxTokens;
  request.ignoreEos = true;
  return request;
}

std::vector<int32_t> prompt(int64_t length, int32_t seed = 1) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < length; ++i)
    ids.push_back(int32_t((i * 7 + i * i * 3 + seed) % 16));
  return ids;
}

Request randomRequest(std::mt19937 &random) {
  auto below = [&](int n) { return int(random() % unsigned(n)); };
  // Few prompts, so that most requests have company of the same beginning.
  Request request = makeRequest(prompt(1 + below(40), below(4)), 1 + below(20));
  request.ignoreEos = below(2);
  request.priority = below(3);
  if (below(2)) {
    request.sampling.temperature = 1;
    request.sampling.seed = unsigned(below(5));
  }
  if (below(4) == 0)
    request.sampling.stopTokenIds = {below(16)};
  return request;
}

} // namespace

TEST_F(BatchingTest, TokensDependOnAllThatCameBefore) {
  // Or the tests below would show little.
  std::set<std::vector<int32_t>> texts;
  for (int32_t seed = 0; seed < 8; ++seed)
    texts.insert(alone(makeRequest(prompt(20, seed), 20)).tokens);
  EXPECT_EQ(texts.size(), 8u);
  std::vector<int32_t> changed = prompt(20);
  changed[0] = 15 - changed[0];
  EXPECT_NE(alone(makeRequest(changed, 20)).tokens,
            alone(makeRequest(prompt(20), 20)).tokens);
}

TEST_F(BatchingTest, OneRequest) {
  auto engine = makeEngine(16);
  Request request = makeRequest(prompt(30), 10);
  EXPECT_FALSE(engine->hasUnfinished());
  EXPECT_FALSE(engine->step());
  RequestId id = engine->submitRequest(request);
  EXPECT_TRUE(engine->hasUnfinished());
  // 12, 12 and 6 tokens of the prompt; the last of these steps has a token.
  for (size_t tokens : {0, 0, 1, 2}) {
    EXPECT_TRUE(engine->step());
    EXPECT_EQ(results[id].tokens.size(), tokens);
  }
  while (engine->step()) {
  }
  EXPECT_FALSE(engine->hasUnfinished());
  expectAsAlone(id, request);
  EXPECT_EQ(engine->engine().numAvailableBlocks(), 16);
  BatchingStatistics counts = engine->statistics();
  EXPECT_EQ(counts.promptTokens, 30);
  EXPECT_EQ(counts.decodedTokens, 9);
  EXPECT_EQ(counts.steps, 12);
  EXPECT_EQ(counts.finished, 1);
}

TEST_F(BatchingTest, APromptHoldsNobodyUp) {
  auto engine = makeEngine(32);
  RequestId first = engine->submitRequest(makeRequest(prompt(3), 20));
  engine->step();
  RequestId second = engine->submitRequest(makeRequest(prompt(40, 2), 5));
  // Four steps of 11 tokens of the prompt, each with a token of the first.
  for (size_t step = 1; step <= 4; ++step) {
    engine->step();
    EXPECT_EQ(results[first].tokens.size(), 1 + step);
    EXPECT_EQ(results[second].tokens.size(), step == 4 ? 1u : 0u);
  }
  EXPECT_EQ(engine->statistics().running, 2);
}

TEST_F(BatchingTest, PreemptsTheLastAndComputesItAgain) {
  BatchingConfig config;
  config.watermark = 0;
  config.prefixCaching = false;
  // 13 blocks of 4; each request takes 10 in the end.
  auto engine = makeEngine(13, config);
  Request a = makeRequest(prompt(20, 1), 20),
          b = makeRequest(prompt(20, 2), 20);
  RequestId first = engine->submitRequest(a), second = engine->submitRequest(b);
  while (engine->step()) {
  }
  expectAsAlone(first, a);
  expectAsAlone(second, b);
  BatchingStatistics counts = engine->statistics();
  EXPECT_GE(counts.preemptions, 1);
  EXPECT_GE(counts.recomputedTokens, 20);
  EXPECT_EQ(counts.promptTokens, 40);
  EXPECT_EQ(counts.decodedTokens, 2 * 19);
  EXPECT_EQ(engine->engine().numAvailableBlocks(), 13);
}

TEST_F(BatchingTest, ACommonPrefixIsComputedOnce) {
  auto engine = makeEngine(64);
  Request request = makeRequest(prompt(32), 8);
  RequestId first = engine->submitRequest(request);
  while (engine->step()) {
  }
  std::vector<std::pair<RequestId, Request>> others;
  for (int32_t i = 0; i < 20; ++i) {
    Request other = request;
    other.prompt.push_back(i % 16);
    others.emplace_back(engine->submitRequest(other), other);
  }
  while (engine->step()) {
  }
  expectAsAlone(first, request);
  for (const auto &[id, other] : others)
    expectAsAlone(id, other);
  // 8 blocks of 4 tokens are shared, and each has one more token.
  BatchingStatistics counts = engine->statistics();
  EXPECT_EQ(counts.promptTokens, 32 + 20);
  EXPECT_EQ(counts.cachedTokens, 20 * 32);
}

TEST_F(BatchingTest, CancellingGivesTheBlocksBack) {
  auto engine = makeEngine(16);
  Request request = makeRequest(prompt(10), 40);
  RequestId a = engine->submitRequest(request),
            b = engine->submitRequest(request);
  for (int i = 0; i < 6; ++i)
    engine->step();
  EXPECT_TRUE(engine->cancel(a));
  EXPECT_FALSE(engine->cancel(99));
  engine->step();
  EXPECT_EQ(results[a].finish, FinishReason::cancelled);
  EXPECT_FALSE(engine->cancel(a));
  expectBegins(a, request);
  while (engine->step()) {
  }
  expectAsAlone(b, request);
  // One that waits as well.
  RequestId c = engine->submitRequest(request);
  EXPECT_TRUE(engine->cancel(c));
  EXPECT_FALSE(engine->step());
  EXPECT_EQ(results[c].finish, FinishReason::cancelled);
  EXPECT_EQ(engine->engine().numAvailableBlocks(), 16);
}

TEST_F(BatchingTest, ADeadlinePasses) {
  auto engine = makeEngine(16);
  Request request = makeRequest(prompt(10), 40);
  request.deadline = std::chrono::steady_clock::now();
  RequestId late = engine->submitRequest(request);
  request.deadline = std::chrono::steady_clock::now() + std::chrono::hours(1);
  RequestId early = engine->submitRequest(request);
  while (engine->step()) {
  }
  EXPECT_EQ(results[late].finish, FinishReason::expired);
  EXPECT_EQ(results[early].finish, FinishReason::length);
}

TEST_F(BatchingTest, RefusesWhatCanNeverRun) {
  BatchingConfig config;
  config.maxQueued = 2;
  auto engine = makeEngine(8, config);
  auto expectRefused = [&](const Request &request, const std::string &words) {
    try {
      engine->submitRequest(request);
      ADD_FAILURE() << "accepted, but expected: " << words;
    } catch (const std::invalid_argument &error) {
      EXPECT_NE(std::string(error.what()).find(words), std::string::npos)
          << error.what();
    }
  };
  expectRefused(makeRequest({}), "has no prompt");
  expectRefused(makeRequest({3, 16}), "the token id 16");
  expectRefused(makeRequest({3}, 0), "max_tokens 0");
  expectRefused(makeRequest(prompt(64)), "64 tokens");
  // 8 blocks hold 32 tokens, and the last one is not computed.
  expectRefused(makeRequest(prompt(20), 14), "9 blocks");
  engine->submitRequest(makeRequest(prompt(20), 13));
  Request request = makeRequest({3});
  request.sampling.topP = 0;
  expectRefused(request, "top_p");
  request = makeRequest({3});
  request.sampling.stopTokenIds = {-1};
  expectRefused(request, "-1");
  engine->submitRequest(makeRequest({3}));
  EXPECT_THROW(engine->submitRequest(makeRequest({3})), QueueFull);
  while (engine->step()) {
  }
  EXPECT_EQ(results.size(), 2u);

  config.maxSequences = 0;
  EXPECT_THROW(makeEngine(8, config), std::invalid_argument);
  config = {};
  config.maxBatchTokens = 13;
  EXPECT_THROW(makeEngine(8, config), std::invalid_argument);
  config = {};
  config.watermark = 1;
  EXPECT_THROW(makeEngine(8, config), std::invalid_argument);
}

TEST_F(BatchingTest, TheUrgentGoFirstAndTheOldHaveTheirTurn) {
  BatchingConfig config;
  config.policy = SchedulingPolicy::priority;
  config.maxSequences = 2;
  config.agingSteps = 10;
  auto engine = makeEngine(32, config);
  Request slow = makeRequest(prompt(4), 30);
  slow.priority = 2;
  std::vector<RequestId> old = {engine->submitRequest(slow),
                                engine->submitRequest(slow)};
  engine->step();
  // It takes the place of one that is less urgent.
  Request urgent = makeRequest(prompt(4, 2), 4);
  urgent.priority = 0;
  RequestId first = engine->submitRequest(urgent);
  for (int i = 0; i < 4; ++i)
    engine->step();
  EXPECT_EQ(results[first].finish, FinishReason::length);
  EXPECT_EQ(results[old[0]].tokens.size(), 5u);
  EXPECT_EQ(results[old[1]].tokens.size(), 1u);
  EXPECT_EQ(engine->statistics().preemptions, 1);
  // However many urgent ones come, after 20 steps it is one of them, and goes
  // before those that are younger.
  int steps = 0;
  for (; results[old[1]].finish == FinishReason::none; ++steps) {
    ASSERT_LT(steps, 100);
    if (engine->statistics().waiting < 4)
      engine->submitRequest(urgent);
    engine->step();
  }
  EXPECT_GT(steps, 15);
  expectAsAlone(old[1], slow);
}

TEST_F(BatchingTest, WindowsNeedFewBlocks) {
  changeManifest("\"bos_token_id\": 0", "\"kv_cache_window\": 6");
  // The compiled model sees all of the cache, and so blocks that were given
  // back: what counts here is that all of it fits.
  model = load();
  auto engine = makeEngine(6);
  RequestId id = engine->submitRequest(makeRequest(prompt(40), 20));
  while (engine->step()) {
  }
  EXPECT_EQ(results[id].finish, FinishReason::length);
  EXPECT_EQ(results[id].tokens.size(), 20u);
  EXPECT_EQ(engine->engine().numAvailableBlocks(), 6);
}

/// Arrivals, cancellations, priorities and a small cache at random.
class RandomBatching : public BatchingTest,
                       public ::testing::WithParamInterface<unsigned> {};

TEST_P(RandomBatching, TokensAreThoseOfEachAlone) {
  std::mt19937 random(GetParam());
  auto below = [&](int n) { return int(random() % unsigned(n)); };
  BatchingConfig config;
  config.policy =
      below(2) ? SchedulingPolicy::priority : SchedulingPolicy::fcfs;
  config.maxSequences = 1 + below(12);
  config.maxBatchTokens = 1 + below(12);
  config.watermark = below(2) ? 0 : 0.1;
  config.agingSteps = 1 + below(30);
  config.prefixCaching = below(3) > 0;
  int64_t numBlocks = 16 + below(24);
  auto engine = makeEngine(numBlocks, config);
  std::map<RequestId, Request> requests;
  std::set<RequestId> cancelled;
  while (requests.size() < 250 || engine->hasUnfinished()) {
    for (int i = below(4); i > 0 && requests.size() < 250; --i) {
      Request request = randomRequest(random);
      requests[engine->submitRequest(request)] = request;
    }
    if (below(10) == 0 && !requests.empty()) {
      RequestId id = 1 + unsigned(below(int(requests.size())));
      if (engine->cancel(id))
        cancelled.insert(id);
    }
    engine->step();
    ASSERT_GE(engine->engine().numAvailableBlocks(), 0);
    BatchingStatistics counts = engine->statistics();
    ASSERT_LE(counts.running, config.maxSequences);
    ASSERT_EQ(counts.submitted,
              counts.finished + counts.running + counts.waiting);
  }
  EXPECT_EQ(engine->engine().numAvailableBlocks(), numBlocks);
  for (const auto &[id, request] : requests)
    if (cancelled.count(id) && results[id].finish == FinishReason::cancelled)
      expectBegins(id, request);
    else
      expectAsAlone(id, request);
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomBatching, ::testing::Range(0u, 40u));

TEST_F(BatchingTest, AThreadOfItsOwn) {
  BatchingConfig config;
  config.watermark = 0;
  auto engine = makeEngine(20, config, 2);
  engine->start();
  std::mutex all;
  std::map<RequestId, Request> requests;
  std::set<RequestId> cancelled;
  std::vector<std::thread> clients;
  for (unsigned client = 0; client < 3; ++client)
    clients.emplace_back([&, client] {
      std::mt19937 random(client);
      for (int i = 0; i < 60; ++i) {
        Request request = randomRequest(random);
        RequestId id = engine->submitRequest(request);
        bool isCancelled = random() % 8 == 0 && engine->cancel(id);
        std::lock_guard<std::mutex> lock(all);
        requests[id] = request;
        if (isCancelled)
          cancelled.insert(id);
      }
    });
  for (std::thread &client : clients)
    client.join();
  engine->drain();
  EXPECT_FALSE(engine->hasUnfinished());
  engine->stop();
  EXPECT_EQ(requests.size(), 180u);
  EXPECT_EQ(engine->engine().numAvailableBlocks(), 20);
  for (const auto &[id, request] : requests)
    if (cancelled.count(id) && results[id].finish == FinishReason::cancelled)
      expectBegins(id, request);
    else
      expectAsAlone(id, request);
  // It can go on, in either way.
  RequestId id = engine->submitRequest(makeRequest(prompt(5)));
  while (engine->step()) {
  }
  expectAsAlone(id, makeRequest(prompt(5)));
}

TEST_F(BatchingTest, ItsEndIsToldToAll) {
  auto engine = makeEngine(16);
  engine->start();
  std::vector<RequestId> ids;
  for (int i = 0; i < 20; ++i)
    ids.push_back(engine->submitRequest(makeRequest(prompt(10), 40)));
  engine.reset();
  for (RequestId id : ids)
    EXPECT_NE(results[id].finish, FinishReason::none);
}
