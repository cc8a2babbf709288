// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Samplers with random settings against a slow and obvious one in doubles,
// which sorts everything and draws with the same numbers; and what holds
// whatever else is sampled.
#include "llmir/runtime/sampler.h"
#include "logit_row.h"
#include "philox.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <random>
#include <set>
#include <thread>

using namespace llmir::runtime;

namespace {

using Generator = std::mt19937_64;
using Tokens = std::vector<int32_t>;

double randomIn(Generator &generator, double least, double most) {
  return std::uniform_real_distribution<double>(least, most)(generator);
}
int32_t randomBelow(Generator &generator, int32_t end) {
  return int32_t(generator() % uint64_t(end));
}
bool oneOf(Generator &generator, int n) {
  return randomBelow(generator, n) == 0;
}

std::vector<float> randomRow(Generator &generator, size_t vocab) {
  std::vector<float> row(vocab);
  std::normal_distribution<float> normal(0, 3);
  for (float &logit : row)
    logit = oneOf(generator, 50) ? -INFINITY : normal(generator);
  // One token is always possible.
  row[randomBelow(generator, int32_t(vocab))] = 1;
  return row;
}

SamplingConfig randomConfig(Generator &generator, int32_t vocab) {
  SamplingConfig config;
  auto some = [&](int32_t most) {
    Tokens ids(1 + randomBelow(generator, most));
    for (int32_t &id : ids)
      id = randomBelow(generator, vocab);
    return ids;
  };
  if (!oneOf(generator, 3))
    config.temperature = randomIn(generator, 0.2, 3);
  if (oneOf(generator, 3))
    config.topK = 1 + randomBelow(generator, oneOf(generator, 3) ? vocab : 20);
  if (oneOf(generator, 3))
    config.topP = randomIn(generator, 0.05, 1);
  if (oneOf(generator, 3))
    config.minP = randomIn(generator, 0, 0.5);
  if (oneOf(generator, 2))
    config.repetitionPenalty = randomIn(generator, 0.5, 2);
  if (oneOf(generator, 2))
    config.presencePenalty = randomIn(generator, -2, 2);
  if (oneOf(generator, 2))
    config.frequencyPenalty = randomIn(generator, -2, 2);
  if (oneOf(generator, 3)) {
    Tokens ids = some(5);
    for (int32_t id : std::set<int32_t>(ids.begin(), ids.end()))
      config.logitBias.emplace_back(id, float(randomIn(generator, -9, 9)));
  }
  if (oneOf(generator, 4))
    config.allowedTokenIds = some(std::min(vocab, 40));
  if (oneOf(generator, 3))
    config.badWords = {some(1), some(2), some(3)};
  if (oneOf(generator, 3)) {
    config.minTokens = randomBelow(generator, 20);
    config.stopTokenIds = some(1 + std::min(vocab / 3, 20));
  }
  config.seed = generator();
  return config;
}

/// The logits after all that changes them; -inf for what is not allowed.
std::vector<double> changedLogits(const SamplingConfig &config,
                                  const std::vector<float> &row,
                                  const Tokens &prompt, const Tokens &output) {
  std::vector<double> logits(row.begin(), row.end());
  const Tokens &allowed = config.allowedTokenIds;
  Tokens all = prompt;
  all.insert(all.end(), output.begin(), output.end());
  for (int32_t id = 0; id < int32_t(row.size()); ++id) {
    bool banned = !allowed.empty() && std::find(allowed.begin(), allowed.end(),
                                                id) == allowed.end();
    for (const Tokens &word : config.badWords) {
      Tokens text = all;
      text.push_back(id);
      banned |= text.size() >= word.size() &&
                std::equal(word.rbegin(), word.rend(), text.rbegin());
    }
    const Tokens &stops = config.stopTokenIds;
    banned |= int64_t(output.size()) < config.minTokens &&
              std::find(stops.begin(), stops.end(), id) != stops.end();
    for (auto [biased, bias] : config.logitBias)
      if (biased == id)
        logits[id] = float(logits[id] + bias);
    if (std::find(all.begin(), all.end(), id) != all.end())
      logits[id] = logits[id] > 0 ? logits[id] / config.repetitionPenalty
                                  : logits[id] * config.repetitionPenalty;
    int64_t times = std::count(output.begin(), output.end(), id);
    logits[id] -= config.frequencyPenalty * times;
    logits[id] -= config.presencePenalty * (times > 0);
    if (banned)
      logits[id] = -INFINITY;
  }
  return logits;
}

/// Probabilities, not normalized, after temperature and the filters. With
/// `slack` != 0 the filters keep a little more or less, as rounding may.
std::vector<double> filtered(const SamplingConfig &config,
                             std::vector<double> logits, double slack) {
  std::vector<size_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return logits[a] > logits[b]; });
  double most = logits[order[0]];
  std::vector<double> p(logits.size());
  for (size_t i = 0; i < p.size(); ++i)
    p[i] = std::exp((logits[i] - most) / config.temperature);
  if (config.topK > 0 && size_t(config.topK) < p.size())
    for (size_t i = 0; i < p.size(); ++i)
      if (logits[i] < logits[order[config.topK - 1]])
        p[i] = 0;
  double total = std::accumulate(p.begin(), p.end(), 0.0), sum = 0;
  bool reached = false;
  for (size_t i : order) {
    sum += p[i];
    if (config.topP < 1 && reached)
      p[i] = 0;
    reached |= sum >= (config.topP + slack) * total;
  }
  for (double &value : p)
    if (value < config.minP - slack)
      value = 0;
  return p;
}

int32_t drawn(const std::vector<double> &p, double number) {
  double left = number * std::accumulate(p.begin(), p.end(), 0.0);
  for (size_t i = 0; i < p.size(); ++i) {
    left -= p[i];
    if (left < 0)
      return int32_t(i);
  }
  return -1;
}

Tokens drawAll(const SamplingConfig &config, const Tokens &prompt,
               uint32_t index, const std::vector<std::vector<float>> &rows) {
  Sampler sampler(config, prompt, index);
  Tokens ids;
  for (const std::vector<float> &row : rows)
    ids.push_back(sampler.sample(row.data(), row.size()).id);
  return ids;
}

} // namespace

TEST(SamplerNumbers, KnownAnswers) {
  // From kat_vectors of the authors' Random123.
  using Four = std::array<uint32_t, 4>;
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}),
            (Four{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr uint32_t ones = 0xffffffff;
  EXPECT_EQ(philox({ones, ones, ones, ones}, {ones, ones}),
            (Four{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
                   {0xa4093822, 0x299f31d0}),
            (Four{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(SamplerNumbers, DependOnSeedIndexAndToken) {
  std::set<double> numbers;
  for (uint64_t seed : {0ull, 1ull, 1ull << 32, ~0ull})
    for (uint32_t index : {0u, 1u, 4000000000u})
      for (uint64_t token : {0ull, 1ull, 1ull << 32}) {
        double number = uniform(seed, index, token);
        EXPECT_GE(number, 0);
        EXPECT_LT(number, 1);
        numbers.insert(number);
      }
  EXPECT_EQ(numbers.size(), 36u);
}

TEST(SamplerRow, ExponentialMatchesFloat64) {
  double worst = 0;
  for (float x = 0; x > -87.3f; x -= 0.00137f) {
    double exact = std::exp(double(x));
    worst = std::max(worst, std::abs(exponential(x) - exact) / exact);
  }
  EXPECT_LT(worst, 3e-7);
  EXPECT_EQ(exponential(0), 1.0f);
  EXPECT_EQ(exponential(-INFINITY), 0.0f);
  EXPECT_EQ(exponential(-1000), 0.0f);
}

TEST(SamplerRow, SizesAroundBlocks) {
  for (size_t size : {1, 2, 15, 16, 17, 127, 128, 129, 255, 256, 257, 1000}) {
    for (size_t at = 0; at < size; at += size < 20 ? 1 : 7) {
      std::vector<float> logits(size, -5.0f);
      logits[at] = 2;
      LogitRow row;
      row.read(logits.data(), size);
      EXPECT_EQ(row.argmax(), int32_t(at));
      EXPECT_EQ(row.most(), 2);
      EXPECT_NEAR(row.sumWeights(1), 1 + (size - 1) * std::exp(-7.0), 1e-6);
      logits[at] = NAN;
      EXPECT_THROW(row.read(logits.data(), size), std::invalid_argument);
      logits[at] = INFINITY;
      EXPECT_THROW(row.read(logits.data(), size), std::invalid_argument);
    }
  }
}

TEST(SamplerRow, TheFirstOfEqualsIsTheGreatest) {
  for (size_t first : {0, 5, 130, 399}) {
    std::vector<float> logits(400, -1.0f);
    std::fill(logits.begin() + first, logits.end(), 3.0f);
    LogitRow row;
    row.read(logits.data(), logits.size());
    EXPECT_EQ(row.argmax(), int32_t(first));
  }
}

TEST(SamplerRow, DrawsEveryTokenAtItsPlace) {
  std::vector<float> logits(400, 0.0f);
  for (size_t i = 0; i < logits.size(); i += 3)
    logits[i] = -INFINITY;
  LogitRow row;
  row.read(logits.data(), logits.size());
  double total = row.sumWeights(1);
  ASSERT_EQ(total, 266);
  for (int i = 0; i < 266; ++i) {
    int32_t expected = i / 2 * 3 + i % 2 + 1;
    EXPECT_EQ(row.draw((i + 0.5) / 266), expected);
  }
  EXPECT_EQ(row.draw(0), 1);
  EXPECT_EQ(row.draw(0x1.fffffffffffffp-1), 398);
}

// Each token of thousands of random requests is what the oracle draws. Where
// the number is within rounding of the border between two tokens, or a filter's
// border is within rounding of a token, one of these is right.
TEST(SamplerSettings, MatchesFloat64) {
  Generator generator(20);
  int64_t tokens = 0, narrow = 0;
  for (int round = 0; round < 1500; ++round) {
    int32_t vocab = oneOf(generator, 4) ? 1 + randomBelow(generator, 3000)
                                        : 2 + randomBelow(generator, 60);
    SamplingConfig config = randomConfig(generator, vocab);
    Tokens prompt(randomBelow(generator, 30)), output;
    for (int32_t &id : prompt)
      // Some models' prompts have tokens for which there are no logits.
      id = randomBelow(generator, vocab + 2);
    uint32_t index = randomBelow(generator, 3);
    Sampler sampler(config, prompt, index);
    for (int token = 0; token < 12; ++token) {
      std::vector<float> row = randomRow(generator, vocab);
      std::vector<double> logits = changedLogits(config, row, prompt, output);
      auto most = std::max_element(logits.begin(), logits.end());
      if (std::isinf(*most)) {
        EXPECT_THROW(sampler.sample(row.data(), vocab), std::invalid_argument);
        break;
      }
      int32_t id = sampler.sample(row.data(), vocab).id;
      ASSERT_EQ(sampler.numTokens(), token + 1);
      ++tokens;
      if (config.temperature == 0) {
        // Floats may make equals of what doubles tell apart.
        double difference = *most - logits[id];
        ASSERT_LE(difference, 1e-6 * (1 + std::abs(*most)));
        narrow += difference > 0;
      } else {
        double number = uniform(config.seed, index, token);
        if (drawn(filtered(config, logits, 0), number) != id) {
          ++narrow;
          std::set<int32_t> near;
          for (double slack : {-1e-5, 0.0, 1e-5})
            for (double moved : {-1e-5, 0.0, 1e-5})
              near.insert(drawn(filtered(config, logits, slack),
                                std::clamp(number + moved, 0.0, 0.9999999)));
          ASSERT_TRUE(near.count(id)) << "token " << id << " of " << vocab;
        }
      }
      output.push_back(id);
    }
  }
  EXPECT_GT(tokens, 10000);
  EXPECT_LT(narrow, tokens / 1000);
}

TEST(SamplerSettings, LogprobsMatchFloat64) {
  Generator generator(21);
  for (int round = 0; round < 300; ++round) {
    int32_t vocab = 1 + randomBelow(generator, oneOf(generator, 3) ? 3000 : 9);
    std::vector<float> row = randomRow(generator, vocab);
    // Equal ones, so that ranks are about ids too.
    for (int i = 0; i < 3; ++i)
      row[randomBelow(generator, vocab)] = 2;
    SamplingConfig config = randomConfig(generator, vocab);
    config.allowedTokenIds.clear();
    config.badWords.clear();
    config.minTokens = 0;
    config.logprobs = randomBelow(generator, 30) - 1;
    Sampler sampler(config, {0});
    Token token = sampler.sample(row.data(), vocab);

    double sum = 0;
    std::vector<int32_t> order(vocab);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int32_t a, int32_t b) { return row[a] > row[b]; });
    for (float logit : row)
      sum += std::exp(double(logit));
    int64_t count = *config.logprobs < 0 ? vocab : *config.logprobs;
    count = std::min<int64_t>(count, vocab);
    ASSERT_EQ(int64_t(token.numLogprobs), count + 1);
    for (int64_t i = 0; i <= count; ++i) {
      const TokenLogprob &found = token.logprobs[i];
      int32_t id = i == 0 ? token.id : order[i - 1];
      ASSERT_EQ(found.id, id);
      EXPECT_EQ(order[found.rank - 1], id);
      double expected = double(row[id]) - std::log(sum);
      if (std::isinf(expected))
        EXPECT_EQ(found.logprob, -INFINITY);
      else
        EXPECT_NEAR(found.logprob, expected, 1e-6 * (1 + std::abs(expected)));
    }
  }
}

TEST(SamplerSettings, LogprobsAreThoseOfTheModel) {
  std::vector<float> row = {0, 1, 2, 3};
  SamplingConfig config;
  config.temperature = 0.5;
  config.allowedTokenIds = {0};
  config.logprobs = 1;
  Sampler sampler(config);
  Token token = sampler.sample(row.data(), row.size());
  EXPECT_EQ(token.id, 0);
  EXPECT_EQ(token.logprobs[0].rank, 4);
  EXPECT_NEAR(token.logprobs[0].logprob, -3.4401897, 1e-6);
  EXPECT_EQ(token.logprobs[1].id, 3);
  EXPECT_NEAR(token.logprobs[1].logprob, -0.4401897, 1e-6);

  std::vector<TokenLogprob> prompt;
  computeLogprobs(row.data(), row.size(), 2, 0, prompt);
  ASSERT_EQ(prompt.size(), 1u);
  EXPECT_EQ(prompt[0].rank, 2);
  EXPECT_THROW(computeLogprobs(row.data(), row.size(), 4, 0, prompt),
               std::invalid_argument);
  EXPECT_THROW(computeLogprobs(row.data(), row.size(), -1, 0, prompt),
               std::invalid_argument);
}

// Samplers that take turns in any order, with others between, choose what each
// chooses alone.
TEST(SamplerSettings, TokensDoNotDependOnTheCompany) {
  Generator generator(22);
  constexpr int32_t vocab = 500;
  constexpr size_t requests = 12, length = 40;
  std::vector<SamplingConfig> configs;
  std::vector<std::vector<std::vector<float>>> rows(requests);
  std::vector<Tokens> alone;
  for (size_t r = 0; r < requests; ++r) {
    SamplingConfig config = randomConfig(generator, vocab);
    config.temperature = 1;
    config.allowedTokenIds.clear();
    config.logprobs =
        oneOf(generator, 2) ? std::optional<int64_t>(3) : std::nullopt;
    configs.push_back(config);
    for (size_t i = 0; i < length; ++i)
      rows[r].push_back(randomRow(generator, vocab));
    alone.push_back(drawAll(config, {1, 2}, uint32_t(r), rows[r]));
  }
  for (int round = 0; round < 5; ++round) {
    std::vector<Sampler> samplers;
    for (size_t r = 0; r < requests; ++r)
      samplers.emplace_back(configs[r], Tokens{1, 2}, uint32_t(r));
    std::vector<size_t> turns;
    for (size_t r = 0; r < requests; ++r)
      turns.insert(turns.end(), length, r);
    std::shuffle(turns.begin(), turns.end(), generator);
    for (size_t r : turns) {
      size_t at = size_t(samplers[r].numTokens());
      Token token = samplers[r].sample(rows[r][at].data(), vocab);
      ASSERT_EQ(token.id, alone[r][at]) << "request " << r << ", " << at;
    }
  }
}

// Not called a test of the sampler, whose numbers have nothing for the
// sanitizer of threads: this one has.
TEST(SamplingThreads, SampleAtOnce) {
  Generator generator(24);
  constexpr int32_t vocab = 700;
  constexpr size_t threads = 4;
  std::vector<std::vector<float>> rows;
  for (int i = 0; i < 400; ++i)
    rows.push_back(randomRow(generator, vocab));
  std::vector<SamplingConfig> configs(threads);
  std::vector<Tokens> alone(threads), found(threads);
  for (size_t t = 0; t < threads; ++t) {
    configs[t].temperature = 1.5;
    configs[t].topP = 0.95;
    configs[t].presencePenalty = 0.1 * t;
    configs[t].logprobs = 2;
    alone[t] = drawAll(configs[t], {1}, uint32_t(t), rows);
  }
  std::vector<std::thread> running;
  for (size_t t = 0; t < threads; ++t)
    running.emplace_back(
        [&, t] { found[t] = drawAll(configs[t], {1}, uint32_t(t), rows); });
  for (std::thread &thread : running)
    thread.join();
  EXPECT_EQ(found, alone);
}

TEST(SamplerSettings, OutputsOfARequestDiffer) {
  std::vector<std::vector<float>> rows(30, std::vector<float>(100, 0.0f));
  SamplingConfig config;
  config.temperature = 1;
  EXPECT_EQ(drawAll(config, {}, 1, rows), drawAll(config, {}, 1, rows));
  EXPECT_NE(drawAll(config, {}, 0, rows), drawAll(config, {}, 1, rows));
}

TEST(SamplerSettings, StopsAreNotDrawnTooEarly) {
  std::vector<std::vector<float>> rows(6, {1, 5, 4, 0});
  SamplingConfig config;
  config.minTokens = 3;
  config.stopTokenIds = {1, 2};
  EXPECT_EQ(drawAll(config, {}, 0, rows), (Tokens{0, 0, 0, 1, 1, 1}));
}

TEST(SamplerSettings, BadWordsMayBeginInThePrompt) {
  std::vector<std::vector<float>> rows(4, {1, 5, 4, 0});
  SamplingConfig config;
  config.badWords = {{3, 3, 1}, {2, 1}};
  EXPECT_EQ(drawAll(config, {3, 3}, 0, rows), (Tokens{2, 2, 2, 2}));
  EXPECT_EQ(drawAll(config, {0, 3}, 0, rows), (Tokens{1, 1, 1, 1}));
  config.badWords = {{1, 1, 1}};
  EXPECT_EQ(drawAll(config, {}, 0, rows), (Tokens{1, 1, 2, 1}));
}

TEST(SamplerSettings, NoTokenIsLeft) {
  std::vector<float> row = {1, 2};
  SamplingConfig config;
  config.allowedTokenIds = {1};
  config.badWords = {{0, 1}};
  Sampler sampler(config, {0});
  for (int i = 0; i < 2; ++i) {
    try {
      sampler.sample(row.data(), row.size());
      FAIL() << "there is no token";
    } catch (const std::invalid_argument &error) {
      EXPECT_STREQ(error.what(), "the sampling settings leave no token");
    }
    EXPECT_EQ(sampler.numTokens(), 0);
  }
}

TEST(SamplerSettings, RefusesSettings) {
  auto refuses = [](void (*set)(SamplingConfig &), const char *message) {
    SamplingConfig config;
    set(config);
    try {
      checkSampling(config, 100);
      ADD_FAILURE() << "not refused: " << message;
    } catch (const std::invalid_argument &error) {
      EXPECT_NE(std::string(error.what()).find(message), std::string::npos)
          << error.what();
    }
  };
  using C = SamplingConfig;
  refuses([](C &c) { c.repetitionPenalty = 0; }, "repetition_penalty must be");
  refuses([](C &c) { c.repetitionPenalty = INFINITY; }, "repetition_penalty");
  refuses([](C &c) { c.presencePenalty = 2.5; }, "presence_penalty must be");
  refuses([](C &c) { c.frequencyPenalty = NAN; }, "frequency_penalty must be");
  refuses([](C &c) { c.logitBias = {{1, INFINITY}}; }, "logit_bias must be");
  refuses([](C &c) { c.logitBias = {{-1, 1}}; }, "logit_bias names token -1");
  refuses([](C &c) { c.badWords = {{}}; }, "bad_words has a word without");
  refuses([](C &c) { c.badWords = {{1, -2}}; }, "bad_words names token -2");
  refuses([](C &c) { c.minTokens = -1; }, "min_tokens must be 0 or more");
  refuses([](C &c) { c.logprobs = -2; }, "logprobs must be 0 or more, or -1");
  refuses([](C &c) { c.stopTokenIds = {100}; },
          "name token 100, which is not one of the model's 100");
  refuses([](C &c) { c.allowedTokenIds = {3, 200}; }, "name token 200");

  // What was not checked before is refused with the row.
  SamplingConfig config;
  config.logitBias = {{5, 1}};
  std::vector<float> row(5);
  Sampler sampler(config);
  EXPECT_THROW(sampler.sample(row.data(), row.size()), std::invalid_argument);
}

TEST(SamplerSettings, CountsManyTokens) {
  TokenCounts counts;
  std::map<int32_t, int32_t> expected;
  Generator generator(23);
  for (int i = 0; i < 20000; ++i) {
    int32_t id = randomBelow(generator, 6000) * 64;
    bool output = oneOf(generator, 2);
    counts.add(id, output);
    expected[id] += output;
  }
  std::map<int32_t, int32_t> found;
  for (const TokenCounts::Entry &entry : counts.places())
    if (entry.id >= 0)
      EXPECT_TRUE(found.insert({entry.id, entry.outputs}).second);
  EXPECT_EQ(found, expected);
}
