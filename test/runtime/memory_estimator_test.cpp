// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The estimator by hand. That an engine takes what it says, Python's tests show
// on real artifacts.
#include "llmir/runtime/memory_estimator.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>

using namespace llmir::runtime;

namespace {

Manifest makeManifest(int64_t window = 0) {
  Manifest manifest;
  manifest.files[weightsFile].bytes = 1000000;
  manifest.arenaBytes = 50000;
  manifest.maxModelLen = 1000;
  manifest.maxBatchTokens = 64;
  manifest.cacheDtype = LLMIR_BF16;
  manifest.cacheLayers = 3;
  manifest.cacheKVHeads = 2;
  manifest.cacheHeadDim = 64;
  manifest.cacheBlockSize = 16;
  manifest.cacheWindow = window;
  return manifest;
}

/// Keys and values of 16 positions in bf16.
constexpr int64_t blockBytes = int64_t(3) * 2 * 2 * 64 * 16 * 2;

template <class Call> std::string refusal(Call call) {
  try {
    call();
  } catch (const std::invalid_argument &error) {
    return error.what();
  }
  return "nothing was refused";
}

} // namespace

TEST(ModelMemoryEstimator, AddsUp) {
  ModelMemoryEstimator estimator(makeManifest());
  MemoryUse use = estimator.estimate(3, 33);
  EXPECT_EQ(use.weights, 1000000);
  EXPECT_EQ(use.arena, 50000);
  EXPECT_EQ(estimator.numBlocks(3, 33), 9);
  EXPECT_EQ(use.cache, 9 * blockBytes);
  EXPECT_EQ(use.total(), 1050000 + 9 * blockBytes);
  EXPECT_EQ(estimator.cacheConfig(7).numBlocks, 7);
  EXPECT_EQ(KVPool::bytesPerBlock(estimator.cacheConfig(7)), blockBytes);
}

TEST(ModelMemoryEstimator, FindsTheMost) {
  for (int64_t window : {0, 40}) {
    ModelMemoryEstimator estimator(makeManifest(window));
    for (int64_t bytes :
         {int64_t(0), int64_t(1050000), int64_t(1050000) + blockBytes - 1,
          1050000 + blockBytes, 1050000 + 30 * blockBytes,
          1050000 + 700 * blockBytes, int64_t(1) << 50}) {
      for (int64_t length : {1, 16, 17, 120, 1000}) {
        int64_t found = estimator.findMaxBatchSize(length, bytes);
        if (found > 0)
          EXPECT_LE(estimator.estimate(found, length).total(), bytes);
        if (found < 64) // A step's tokens.
          EXPECT_GT(estimator.estimate(found + 1, length).total(), bytes);
        EXPECT_LE(found, 64);
      }
      for (int64_t batch : {1, 7, 64}) {
        int64_t found = estimator.findMaxSeqLen(batch, bytes);
        if (found > 0)
          EXPECT_LE(estimator.estimate(batch, found).total(), bytes);
        if (found < 1000)
          EXPECT_GT(estimator.estimate(batch, found + 1).total(), bytes);
        EXPECT_LE(found, 1000);
      }
    }
  }
}

TEST(ModelMemoryEstimator, OfAWindowAnyLengthTakesTheSame) {
  ModelMemoryEstimator estimator(makeManifest(/*window=*/40));
  // 39 positions before the first token of a step of 64, from anywhere in a
  // block.
  EXPECT_EQ(estimator.numBlocks(1, 1000), 1 + 7);
  EXPECT_EQ(estimator.numBlocks(1, 500), 1 + 7);
  EXPECT_EQ(estimator.numBlocks(1, 100), 7);
  EXPECT_EQ(estimator.findMaxSeqLen(2, 1050000 + 16 * blockBytes), 1000);
  EXPECT_EQ(estimator.findMaxSeqLen(2, 1050000 + 15 * blockBytes), 7 * 16);
}

TEST(ModelMemoryEstimator, Refuses) {
  ModelMemoryEstimator estimator(makeManifest());
  EXPECT_EQ(refusal([&] { estimator.estimate(0, 1); }),
            "a batch has 1 sequence or more, not 0");
  EXPECT_EQ(refusal([&] { estimator.findMaxSeqLen(-1, 1); }),
            "a batch has 1 sequence or more, not -1");
  EXPECT_EQ(refusal([&] { estimator.estimate(1, 1001); }),
            "a sequence of this model has 1 to 1000 tokens, not 1001");
  EXPECT_EQ(refusal([&] { estimator.findMaxBatchSize(0, 1); }),
            "a sequence of this model has 1 to 1000 tokens, not 0");
  EXPECT_EQ(refusal([&] { estimator.estimate(int64_t(1) << 62, 1000); }),
            "the blocks of 4611686018427387904 sequences are more than can be "
            "counted");
}
