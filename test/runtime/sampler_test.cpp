// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The sampler's choices against the probabilities they should have.
#include "llmir/runtime/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

using namespace llmir::runtime;

namespace {

SamplingConfig config(double temperature, int64_t topK = 0, double topP = 1,
                      double minP = 0, uint64_t seed = 1) {
  SamplingConfig result;
  result.temperature = temperature;
  result.topK = topK;
  result.topP = topP;
  result.minP = minP;
  result.seed = seed;
  return result;
}

/// Draws often and compares with `expected`, which need not sum to 1.
void expectDistribution(const SamplingConfig &settings,
                        const std::vector<float> &logits,
                        std::vector<double> expected) {
  constexpr int draws = 40000;
  Sampler sampler(settings);
  std::vector<int> counts(logits.size());
  for (int i = 0; i < draws; ++i)
    ++counts[sampler.sample(logits.data(), logits.size()).id];
  double total = 0;
  for (double p : expected)
    total += p;
  for (size_t i = 0; i < logits.size(); ++i) {
    double p = expected[i] / total;
    double sigma = std::sqrt(p * (1 - p) / draws);
    EXPECT_NEAR(counts[i] / double(draws), p, 5 * sigma) << "token " << i;
    if (p == 0) {
      EXPECT_EQ(counts[i], 0) << "token " << i;
    }
  }
}

const std::vector<float> probabilities = {0.05f, 0.4f, 0.15f, 0.1f, 0.3f};

std::vector<float> logitsOf(const std::vector<float> &p) {
  std::vector<float> result;
  for (float value : p)
    result.push_back(std::log(value) + 3);
  return result;
}

} // namespace

TEST(Sampler, GreedyTakesTheFirstOfTheGreatest) {
  std::vector<float> logits = {1, 5, 2, 5, -INFINITY};
  Sampler sampler(config(0));
  EXPECT_EQ(sampler.sample(logits.data(), logits.size()).id, 1);
  logits = {-3};
  EXPECT_EQ(sampler.sample(logits.data(), 1).id, 0);
}

TEST(Sampler, BadLogits) {
  for (double temperature : {0.0, 1.0}) {
    Sampler sampler(config(temperature));
    std::vector<float> logits = {1, NAN, 2};
    EXPECT_THROW(sampler.sample(logits.data(), 3), std::invalid_argument);
    EXPECT_THROW(sampler.sample(logits.data(), 0), std::invalid_argument);
    logits = {-INFINITY, -INFINITY};
    EXPECT_THROW(sampler.sample(logits.data(), 2), std::invalid_argument);
    logits = {1, INFINITY};
    EXPECT_THROW(sampler.sample(logits.data(), 2), std::invalid_argument);
  }
}

TEST(Sampler, BadSettings) {
  EXPECT_THROW(Sampler(config(-1)), std::invalid_argument);
  EXPECT_THROW(Sampler(config(NAN)), std::invalid_argument);
  EXPECT_THROW(Sampler(config(INFINITY)), std::invalid_argument);
  EXPECT_THROW(Sampler(config(1, -1)), std::invalid_argument);
  EXPECT_THROW(Sampler(config(1, 0, 0)), std::invalid_argument);
  EXPECT_THROW(Sampler(config(1, 0, 1.5)), std::invalid_argument);
  EXPECT_THROW(Sampler(config(1, 0, 1, -0.1)), std::invalid_argument);
  EXPECT_THROW(Sampler(config(1, 0, 1, 1.1)), std::invalid_argument);
}

TEST(Sampler, Temperature) {
  std::vector<float> logits = logitsOf(probabilities);
  for (double t : {0.5, 1.0, 2.0}) {
    std::vector<double> expected;
    for (float p : probabilities)
      expected.push_back(std::pow(double(p), 1 / t));
    expectDistribution(config(t), logits, expected);
  }
  logits.push_back(-INFINITY);
  expectDistribution(config(1), logits, {0.05, 0.4, 0.15, 0.1, 0.3, 0});
}

TEST(Sampler, TopK) {
  std::vector<float> logits = logitsOf(probabilities);
  expectDistribution(config(1, 2), logits, {0, 0.4, 0, 0, 0.3});
  expectDistribution(config(1, 1), logits, {0, 1, 0, 0, 0});
  expectDistribution(config(1, 99), logits, {0.05, 0.4, 0.15, 0.1, 0.3});
  // Those as likely as the last one stay.
  expectDistribution(config(1, 2), {1, 1, 2, 1, 0},
                     {1, 1, std::exp(1.0), 1, 0});
}

TEST(Sampler, TopP) {
  std::vector<float> logits = logitsOf(probabilities);
  expectDistribution(config(1, 0, 0.65), logits, {0, 0.4, 0, 0, 0.3});
  expectDistribution(config(1, 0, 0.75), logits, {0, 0.4, 0.15, 0, 0.3});
  expectDistribution(config(1, 0, 0.01), logits, {0, 1, 0, 0, 0});
  // Of what top-k leaves: 0.4 of 0.7 is 57 %.
  expectDistribution(config(1, 2, 0.5), logits, {0, 1, 0, 0, 0});
  expectDistribution(config(1, 2, 0.6), logits, {0, 0.4, 0, 0, 0.3});
}

TEST(Sampler, TopPOfALargeVocabulary) {
  // Many equal ones: more than a first sorted piece holds.
  std::vector<float> logits(5000, 0.0f);
  Sampler sampler(config(1, 0, 0.5));
  int32_t most = 0;
  for (int i = 0; i < 3000; ++i)
    most = std::max(most, sampler.sample(logits.data(), logits.size()).id);
  EXPECT_LT(most, 2501);
  EXPECT_GT(most, 2400);
}

TEST(Sampler, MinP) {
  std::vector<float> logits = logitsOf(probabilities);
  expectDistribution(config(1, 0, 1, 0.3), logits, {0, 0.4, 0.15, 0, 0.3});
  expectDistribution(config(1, 0, 1, 1), logits, {0, 1, 0, 0, 0});
  // After temperature: at 2 the ratio 0.05 / 0.4 is 0.35.
  expectDistribution(config(2, 0, 1, 0.3), logits,
                     {std::sqrt(0.05), std::sqrt(0.4), std::sqrt(0.15),
                      std::sqrt(0.1), std::sqrt(0.3)});
}

TEST(Sampler, SeedsReproduce) {
  std::vector<float> logits(1000);
  for (size_t i = 0; i < logits.size(); ++i)
    logits[i] = std::sin(float(i));
  auto draw = [&](uint64_t seed) {
    Sampler sampler(config(1, 50, 0.9, 0.01, seed));
    std::vector<int32_t> ids;
    for (int i = 0; i < 50; ++i)
      ids.push_back(sampler.sample(logits.data(), logits.size()).id);
    return ids;
  };
  EXPECT_EQ(draw(7), draw(7));
  EXPECT_NE(draw(7), draw(8));
}
