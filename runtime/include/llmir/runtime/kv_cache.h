// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What a paged KV cache is made of: pools of fixed blocks for all layers, and
// the allocator that hands the blocks out. A block holds the keys and values of
// `blockSize` consecutive positions of one sequence, for every layer and head;
// how they lie inside it is private to the kernels. paged_cache.h puts the two
// together for sequences that an engine does not own.
#ifndef LLMIR_RUNTIME_KV_CACHE_H
#define LLMIR_RUNTIME_KV_CACHE_H

#include "llmir/runtime/abi.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace llmir::runtime {

/// Block numbers with reference counts, so that sequences can share a prefix.
class BlockAllocator {
public:
  explicit BlockAllocator(int64_t numBlocks);

  int64_t numBlocks() const { return references.size(); }
  int64_t numFreeBlocks() const { return freeList.size(); }

  /// Appends `count` blocks to `blocks`, or none and returns false.
  bool allocate(int64_t count, std::vector<int32_t> &blocks);
  /// One more owner. Throws std::invalid_argument for a block that is free.
  void retain(int32_t block);
  /// One owner less; the last one frees the block. Throws
  /// std::invalid_argument for a block that is free already.
  void release(int32_t block);
  int32_t useCount(int32_t block) const;

  /// Says whether one of the owners is a cache, which gives the block up when
  /// blocks are wanted. Throws std::invalid_argument for a block that is free.
  void setCached(int32_t block, bool cached);
  bool isCached(int32_t block) const;
  /// How many blocks have a cache for their only owner.
  int64_t numOnlyCached() const { return onlyCached; }

private:
  void check(int32_t block) const;

  std::vector<int32_t> references;
  std::vector<bool> cachedBlocks;
  int64_t onlyCached = 0;
  std::vector<int32_t> freeList;
};

struct KVCacheConfig {
  llmir_dtype dtype = LLMIR_F32;
  int64_t layers = 1;
  int64_t kvHeads = 1;
  int64_t headDim = 1;
  int64_t blockSize = 16; ///< A power of two.
  int64_t numBlocks = 1;
};

/// The memory of all blocks. Who has which block is not known here.
class KVPool {
public:
  /// Throws std::invalid_argument for a config out of range and
  /// std::runtime_error if there is no memory.
  explicit KVPool(const KVCacheConfig &config);
  ~KVPool();
  KVPool(const KVPool &) = delete;
  KVPool &operator=(const KVPool &) = delete;

  const KVCacheConfig &config() const { return settings; }
  /// What the pools take.
  int64_t bytes() const;
  /// What each further block takes.
  static int64_t bytesPerBlock(const KVCacheConfig &config);
  /// Makes the keys and values of block `to` those of block `from`, in all
  /// layers. Throws std::invalid_argument if there is no such block.
  void copyBlock(int32_t from, int32_t to);
  /// The cache as compiled code passes it around.
  llmir_kv_cache *handle() { return impl.get(); }
  const llmir_kv_cache *handle() const { return impl.get(); }

private:
  KVCacheConfig settings;
  std::unique_ptr<llmir_kv_cache> impl;
};

} // namespace llmir::runtime

#endif // LLMIR_RUNTIME_KV_CACHE_H
