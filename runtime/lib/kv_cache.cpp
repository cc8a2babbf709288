// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The block allocator and the pools. The pools are mapped, so that memory is
// taken only as blocks are written.
#include "llmir/runtime/kv_cache.h"

#include "kv_layout.h"
#include "llmir/runtime/packing.h"

#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <sys/mman.h>

namespace llmir::runtime {

BlockAllocator::BlockAllocator(int64_t numBlocks) {
  if (numBlocks < 1 || numBlocks > std::numeric_limits<int32_t>::max())
    throw std::invalid_argument("a KV cache cannot have " +
                                std::to_string(numBlocks) + " blocks");
  references.assign(numBlocks, 0);
  cachedBlocks.assign(numBlocks, false);
  freeList.resize(numBlocks);
  // The last one is handed out first: start with the lowest numbers.
  for (int64_t i = 0; i < numBlocks; ++i)
    freeList[i] = int32_t(numBlocks - 1 - i);
}

bool BlockAllocator::allocate(int64_t count, std::vector<int32_t> &blocks) {
  if (count < 0 || count > numFreeBlocks())
    return false;
  blocks.insert(blocks.end(), freeList.rbegin(), freeList.rbegin() + count);
  for (int64_t i = 0; i < count; ++i) {
    references[freeList.back()] = 1;
    freeList.pop_back();
  }
  return true;
}

static void checkRange(int32_t block, int64_t numBlocks) {
  if (block < 0 || block >= numBlocks)
    throw std::invalid_argument("there is no block " + std::to_string(block) +
                                " among " + std::to_string(numBlocks));
}

void BlockAllocator::check(int32_t block) const {
  checkRange(block, numBlocks());
  if (references[block] == 0)
    throw std::invalid_argument("block " + std::to_string(block) +
                                " is free already");
}

void BlockAllocator::retain(int32_t block) {
  check(block);
  if (++references[block] == 2 && cachedBlocks[block])
    --onlyCached;
}

void BlockAllocator::release(int32_t block) {
  check(block);
  int32_t left = --references[block];
  if (cachedBlocks[block] && left < 2)
    onlyCached += left == 1 ? 1 : -1;
  if (left > 0)
    return;
  cachedBlocks[block] = false;
  freeList.push_back(block);
}

int32_t BlockAllocator::useCount(int32_t block) const {
  checkRange(block, numBlocks());
  return references[block];
}

void BlockAllocator::setCached(int32_t block, bool cached) {
  check(block);
  if (references[block] == 1)
    onlyCached += int(cached) - int(cachedBlocks[block]);
  cachedBlocks[block] = cached;
}

bool BlockAllocator::isCached(int32_t block) const {
  checkRange(block, numBlocks());
  return cachedBlocks[block];
}

llmir_kv_cache layOutCache(const KVCacheConfig &config) {
  auto check = [](const char *what, int64_t value, int64_t most) {
    if (value < 1 || value > most)
      throw std::invalid_argument("a KV cache's " + std::string(what) +
                                  " must be from 1 to " + std::to_string(most) +
                                  ", not " + std::to_string(value));
  };
  if (config.dtype == LLMIR_I32)
    throw std::invalid_argument("a KV cache holds f32, bf16, f16, i8 or i4, "
                                "not " +
                                std::string(dtypeName(config.dtype)));
  check("layers", config.layers, 1 << 16);
  check("KV heads", config.kvHeads, 1 << 16);
  check("head_dim", config.headDim, 1 << 14);
  check("block_size", config.blockSize, 1 << 14);
  check("number of blocks", config.numBlocks,
        std::numeric_limits<int32_t>::max());
  if (config.blockSize & (config.blockSize - 1))
    throw std::invalid_argument(
        "a KV cache's block_size must be a power of two, not " +
        std::to_string(config.blockSize));

  auto roundUp = [](int64_t n, int64_t multiple) {
    return (n + multiple - 1) / multiple * multiple;
  };
  auto toLine = [&](int64_t bytes) { return roundUp(bytes, 64); };
  llmir_kv_cache cache{};
  cache.dtype = config.dtype;
  cache.elementBytes = dtypeBytes(config.dtype);
  cache.layers = config.layers;
  cache.kvHeads = config.kvHeads;
  cache.headDim = config.headDim;
  cache.blockSize = config.blockSize;
  cache.numBlocks = config.numBlocks;
  cache.headDimPadded = roundUp(config.headDim, 16);
  if (config.dtype == LLMIR_I4) {
    cache.keyBytes = roundUp(config.headDim, 8) / 2;
    cache.valueBytes = roundUp(config.headDim, 32) / 2;
    // A scale of f16 and a zero point of a byte, of keys and of values.
    cache.scaleBytes = 6;
  } else {
    int64_t group = config.dtype == LLMIR_I8     ? 4
                    : config.dtype == LLMIR_BF16 ? 2
                                                 : 1;
    cache.keyBytes = roundUp(config.headDim, group) * cache.elementBytes;
    cache.valueBytes = cache.headDimPadded * cache.elementBytes;
    cache.scaleBytes = config.dtype == LLMIR_I8 ? 4 : 0;
  }
  cache.valuesOffset = toLine(cache.keyBytes * config.blockSize);
  cache.scalesOffset =
      cache.valuesOffset + toLine(cache.valueBytes * config.blockSize);
  cache.headBytes =
      cache.scalesOffset + toLine(cache.scaleBytes * config.blockSize);
  cache.blockBytes = config.kvHeads * cache.headBytes;
  // Slots are numbered in 32 bits.
  if (config.numBlocks > std::numeric_limits<int32_t>::max() / config.blockSize)
    throw std::invalid_argument("a KV cache of " +
                                std::to_string(config.numBlocks) +
                                " blocks has too many positions");
  if (__builtin_mul_overflow(cache.blockBytes, config.numBlocks,
                             &cache.layerBytes) ||
      __builtin_mul_overflow(cache.layerBytes, config.layers, &cache.poolBytes))
    throw std::invalid_argument("a KV cache of " +
                                std::to_string(config.numBlocks) +
                                " blocks does not fit in memory");
  return cache;
}

int64_t KVPool::bytesPerBlock(const KVCacheConfig &config) {
  return layOutCache(config).blockBytes * config.layers;
}

KVPool::KVPool(const KVCacheConfig &config)
    : settings(config), impl(new llmir_kv_cache(layOutCache(config))) {
  void *pool = mmap(nullptr, impl->poolBytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (pool == MAP_FAILED)
    throw std::runtime_error("there is no memory for a KV cache of " +
                             std::to_string(impl->poolBytes) + " bytes");
  impl->pool = static_cast<char *>(pool);
}

KVPool::~KVPool() { munmap(impl->pool, impl->poolBytes); }

int64_t KVPool::bytes() const { return impl->poolBytes; }

void KVPool::copyBlock(int32_t from, int32_t to) {
  checkRange(from, impl->numBlocks);
  checkRange(to, impl->numBlocks);
  if (from == to)
    return;
  // Blocks of all types are bytes with everything in them, scales included.
  for (int64_t layer = 0; layer < impl->layers; ++layer) {
    char *pool = impl->pool + layer * impl->layerBytes;
    std::memcpy(pool + to * impl->blockBytes, pool + from * impl->blockBytes,
                impl->blockBytes);
  }
}

} // namespace llmir::runtime
