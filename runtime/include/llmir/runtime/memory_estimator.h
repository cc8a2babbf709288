// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What a model takes, known from its manifest before anything is mapped. An
// engine asks this before it starts, and so may those who plan for one: what is
// said here is what Engine::memory() says later.
#ifndef LLMIR_RUNTIME_MEMORY_ESTIMATOR_H
#define LLMIR_RUNTIME_MEMORY_ESTIMATOR_H

#include "llmir/runtime/kv_cache.h"
#include "llmir/runtime/memory.h"
#include "llmir/runtime/model.h"

#include <cstdint>

namespace llmir::runtime {

class ModelMemoryEstimator {
public:
  explicit ModelMemoryEstimator(const Manifest &manifest);

  /// The cache of an engine of so many blocks.
  KVCacheConfig cacheConfig(int64_t numBlocks) const;
  int64_t bytesPerBlock() const { return blockBytes; }
  /// The most blocks that so many sequences of so many tokens hold at once.
  /// Where tokens see a window only, that is no more than the blocks of a
  /// window and of a step. Throws std::invalid_argument unless there is a
  /// sequence, and its length is from 1 to the model's greatest one.
  int64_t numBlocks(int64_t batchSize, int64_t seqLen) const;
  /// What an engine with these blocks takes.
  MemoryUse estimate(int64_t batchSize, int64_t seqLen) const;

  /// The most sequences of so many tokens for which `bytes` are enough, or 0.
  /// No more run together than a step has tokens.
  int64_t findMaxBatchSize(int64_t seqLen,
                           int64_t bytes = readMemory().available) const;
  /// The greatest length for which `bytes` are enough for so many sequences, or
  /// 0. No more than the model's greatest one.
  int64_t findMaxSeqLen(int64_t batchSize,
                        int64_t bytes = readMemory().available) const;

private:
  int64_t blocksOf(int64_t seqLen) const;
  int64_t blocksWithin(int64_t bytes) const;
  void checkBatch(int64_t batchSize) const;
  void checkLength(int64_t seqLen) const;

  KVCacheConfig oneBlock;
  int64_t weights, arena, blockBytes, maxSeqLen, window, maxBatchTokens;
};

} // namespace llmir::runtime

#endif // LLMIR_RUNTIME_MEMORY_ESTIMATOR_H
