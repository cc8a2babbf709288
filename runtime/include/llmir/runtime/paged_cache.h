// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A paged KV cache for its own sake: sequences by number, to which keys and
// values are appended and from which they are read back. An engine does not use
// it, since it knows more than this; whoever has keys and values of their own
// does. Numbers are stored as a compiled step stores them, by the same kernels.
#ifndef LLMIR_RUNTIME_PAGED_CACHE_H
#define LLMIR_RUNTIME_PAGED_CACHE_H

#include "llmir/runtime/context.h"
#include "llmir/runtime/kv_cache.h"

#include <cstdint>
#include <map>
#include <vector>

namespace llmir::runtime {

/// Keys or values that come in: [tokens, kvHeads, headDim], of which the
/// numbers of a head are neighbours. Strides count elements; with 0 rows lie
/// end to end.
struct KVInput {
  KVInput(const float *data) : data(data) {}
  KVInput(const void *data, llmir_dtype dtype, int64_t tokenStride = 0,
          int64_t headStride = 0)
      : data(data), dtype(dtype), tokenStride(tokenStride),
        headStride(headStride) {}

  const void *data;
  llmir_dtype dtype = LLMIR_F32; ///< Or BF16, or F16.
  int64_t tokenStride = 0, headStride = 0;
};

/// Where keys or values go, end to end; nowhere if there is no data.
struct KVOutput {
  KVOutput(float *data) : data(data) {}
  KVOutput(void *data, llmir_dtype dtype) : data(data), dtype(dtype) {}

  void *data;
  llmir_dtype dtype = LLMIR_F32; ///< Or F16, to which numbers are rounded.
};

/// So many tokens of a sequence.
struct KVSpan {
  int64_t seqId = 0;
  int64_t tokens = 0;
};

struct PagedKVCacheOptions {
  int64_t maxSeqLen = 0; ///< The most tokens of a sequence; 0 for any number.
  unsigned threads = 1;  ///< That store and read; 0 for all CPUs.
  CpuLevel level = selectCpuLevel();
};

struct PagedKVCacheStats {
  int64_t sequences = 0;
  int64_t blocks = 0, usedBlocks = 0, freeBlocks = 0;
  int64_t sharedBlocks = 0; ///< Those that several sequences have.
  int64_t copiedBlocks = 0; ///< Copied, so far, because others had them too.
  int64_t bytesPerBlock = 0, bytes = 0, usedBytes = 0;
};

class KVLayerView;

/// Not to be used from two threads at once. Throws std::invalid_argument for a
/// sequence, a layer or a position that is not there, and then nothing has
/// changed. Blocks that have run out are no error: what needs them returns
/// false and has changed nothing either.
class PagedKVCache {
public:
  /// Throws std::invalid_argument for a config out of range, and
  /// std::runtime_error if the pools are more than the memory that is
  /// available.
  explicit PagedKVCache(const KVCacheConfig &config,
                        const PagedKVCacheOptions &options = {});
  virtual ~PagedKVCache();

  /// Begins a sequence, with room for so many tokens.
  bool allocate(int64_t seqId, int64_t tokens = 0);

  /// Appends rows to one layer of sequences, which have them in the order of
  /// `spans`; one that is not there is begun. Blocks are those of all layers,
  /// so that the first layer that grows takes them. A block that other
  /// sequences have too is copied first.
  bool appendKV(const KVInput &keys, const KVInput &values,
                const std::vector<KVSpan> &spans, int64_t layer = 0);

  /// Writes positions [begin, end) of a sequence, [end - begin, kvHeads,
  /// headDim]; with -1 up to the layer's length.
  void lookupKV(int64_t seqId, const KVOutput &keys, const KVOutput &values,
                int64_t layer = 0, int64_t begin = 0, int64_t end = -1) const;

  /// Writes the first `tokens` positions of several sequences, [sequences,
  /// tokens, kvHeads, headDim], as llm.lookup_kv does: what is beyond a
  /// sequence is 0.
  void gatherKV(const std::vector<int64_t> &seqIds, int64_t tokens,
                const KVOutput &keys, const KVOutput &values,
                int64_t layer = 0) const;

  /// Begins the sequence `to` with all that `from` has, by sharing its blocks.
  void fork(int64_t from, int64_t to);
  /// Gives back what only this sequence has, and forgets it.
  void free(int64_t seqId);
  /// Forgets the tokens from `length` on, in all layers.
  void truncate(int64_t seqId, int64_t length);
  /// Gives back the blocks whose positions are all before `position`, which no
  /// token will look at again. All layers must have come as far.
  void releaseBefore(int64_t seqId, int64_t position);

  KVLayerView layer(int64_t layer);

  bool contains(int64_t seqId) const { return sequences.count(seqId) > 0; }
  std::vector<int64_t> sequenceIds() const;
  int64_t length(int64_t seqId, int64_t layer = 0) const;
  /// The first position that was not given back.
  int64_t firstPosition(int64_t seqId) const;
  /// -1 stands for a block that was given back.
  const std::vector<int32_t> &blockTable(int64_t seqId) const;
  int32_t useCount(int32_t block) const { return allocator.useCount(block); }
  PagedKVCacheStats stats() const;
  const KVCacheConfig &config() const { return pool.config(); }
  int64_t maxSeqLen() const { return longest; }
  unsigned threads() const { return context.threads(); }
  /// For kernels, which take it with blockTable().
  KVPool &blocks() { return pool; }

private:
  struct Entry {
    std::vector<int32_t> blocks;
    size_t passedBlocks = 0;
    std::vector<int64_t> lengths; ///< Of each layer.
  };

  Entry &find(int64_t seqId);
  const Entry &find(int64_t seqId) const;
  void checkLayer(int64_t layer) const;
  void checkLength(int64_t seqId, int64_t before, int64_t tokens) const;
  int64_t blocksFor(int64_t tokens) const;
  int64_t blocksNeeded(const std::vector<KVSpan> &spans, int64_t layer) const;
  void shrink(Entry &entry, size_t numBlocks);
  void makeRoom(Entry &entry, int64_t layer, int64_t tokens);
  void store(const KVInput &keys, const KVInput &values, int64_t tokens,
             int64_t layer);
  void read(const Entry &entry, int64_t layer, bool isKeys, int64_t begin,
            int64_t end, const KVOutput &to, int64_t firstRow) const;

  // A pool of threads changes as it works, the cache that is read does not.
  mutable Context context;
  KVPool pool;
  BlockAllocator allocator;
  std::map<int64_t, Entry> sequences;
  int64_t longest;
  int64_t copiedBlocks = 0;
  std::vector<int32_t> slots;
};

/// One layer of a cache, as long as that lives.
class KVLayerView {
public:
  bool appendKV(const KVInput &keys, const KVInput &values,
                const std::vector<KVSpan> &spans) {
    return cache.appendKV(keys, values, spans, index);
  }
  void lookupKV(int64_t seqId, const KVOutput &keys, const KVOutput &values,
                int64_t begin = 0, int64_t end = -1) const {
    cache.lookupKV(seqId, keys, values, index, begin, end);
  }
  int64_t length(int64_t seqId) const { return cache.length(seqId, index); }

private:
  friend class PagedKVCache;
  KVLayerView(PagedKVCache &cache, int64_t index)
      : cache(cache), index(index) {}

  PagedKVCache &cache;
  int64_t index;
};

/// How many times less a cache takes than one of the same shape in another
/// type, scales and padding included.
double compressionRatio(KVCacheConfig config, llmir_dtype against);

/// A cache of integers. Each head of each token has a scale in f16, and of int4
/// a zero point too; see llm.quantize.
class QuantizedPagedKVCache : public PagedKVCache {
public:
  /// Throws std::invalid_argument also if `config` is not of I8 or I4.
  explicit QuantizedPagedKVCache(const KVCacheConfig &config,
                                 const PagedKVCacheOptions &options = {});

  double getCompressionRatio(llmir_dtype against = LLMIR_BF16) const {
    return compressionRatio(config(), against);
  }
};

} // namespace llmir::runtime

#endif // LLMIR_RUNTIME_PAGED_CACHE_H
