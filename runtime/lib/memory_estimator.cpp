// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "llmir/runtime/memory_estimator.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace llmir::runtime {

static int64_t divideUp(int64_t n, int64_t by) { return (n + by - 1) / by; }

ModelMemoryEstimator::ModelMemoryEstimator(const Manifest &manifest)
    : weights(manifest.files.at(weightsFile).bytes), arena(manifest.arenaBytes),
      maxSeqLen(manifest.maxModelLen), window(manifest.cacheWindow),
      maxBatchTokens(manifest.maxBatchTokens) {
  oneBlock.dtype = manifest.cacheDtype;
  oneBlock.layers = manifest.cacheLayers;
  oneBlock.kvHeads = manifest.cacheKVHeads;
  oneBlock.headDim = manifest.cacheHeadDim;
  oneBlock.blockSize = manifest.cacheBlockSize;
  blockBytes = KVPool::bytesPerBlock(oneBlock);
}

KVCacheConfig ModelMemoryEstimator::cacheConfig(int64_t numBlocks) const {
  KVCacheConfig config = oneBlock;
  config.numBlocks = numBlocks;
  return config;
}

void ModelMemoryEstimator::checkBatch(int64_t batchSize) const {
  if (batchSize < 1)
    throw std::invalid_argument("a batch has 1 sequence or more, not " +
                                std::to_string(batchSize));
}

void ModelMemoryEstimator::checkLength(int64_t seqLen) const {
  if (seqLen < 1 || seqLen > maxSeqLen)
    throw std::invalid_argument("a sequence of this model has 1 to " +
                                std::to_string(maxSeqLen) + " tokens, not " +
                                std::to_string(seqLen));
}

/// A step of a window begins in the midst of a block.
int64_t ModelMemoryEstimator::blocksOf(int64_t seqLen) const {
  int64_t all = divideUp(seqLen, oneBlock.blockSize);
  if (window == 0)
    return all;
  return std::min(
      all, 1 + divideUp(window - 1 + maxBatchTokens, oneBlock.blockSize));
}

int64_t ModelMemoryEstimator::blocksWithin(int64_t bytes) const {
  return std::max<int64_t>(bytes - weights - arena, 0) / blockBytes;
}

int64_t ModelMemoryEstimator::numBlocks(int64_t batchSize,
                                        int64_t seqLen) const {
  checkBatch(batchSize);
  checkLength(seqLen);
  int64_t blocks = 0;
  if (__builtin_mul_overflow(batchSize, blocksOf(seqLen), &blocks))
    throw std::invalid_argument("the blocks of " + std::to_string(batchSize) +
                                " sequences are more than can be counted");
  return blocks;
}

MemoryUse ModelMemoryEstimator::estimate(int64_t batchSize,
                                         int64_t seqLen) const {
  MemoryUse use;
  use.weights = weights;
  use.arena = arena;
  if (__builtin_mul_overflow(numBlocks(batchSize, seqLen), blockBytes,
                             &use.cache))
    throw std::invalid_argument("the blocks of " + std::to_string(batchSize) +
                                " sequences are more than can be counted");
  return use;
}

int64_t ModelMemoryEstimator::findMaxBatchSize(int64_t seqLen,
                                               int64_t bytes) const {
  checkLength(seqLen);
  return std::min(blocksWithin(bytes) / blocksOf(seqLen), maxBatchTokens);
}

int64_t ModelMemoryEstimator::findMaxSeqLen(int64_t batchSize,
                                            int64_t bytes) const {
  checkBatch(batchSize);
  int64_t blocks = blocksWithin(bytes) / batchSize;
  // Of a window any length takes the same.
  if (blocks >= blocksOf(maxSeqLen))
    return maxSeqLen;
  return blocks * oneBlock.blockSize;
}

} // namespace llmir::runtime
