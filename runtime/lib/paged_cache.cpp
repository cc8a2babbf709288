// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Who has which block, and what a call would need, known before it does
// anything. The kernels of compiled code do the storing.
#include "llmir/runtime/paged_cache.h"

#include "kv_layout.h"
#include "kv_reader.h"
#include "llmir/runtime/memory.h"
#include "llmir/runtime/packing.h"
#include "narrow_floats.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>

namespace llmir::runtime {

namespace {

[[noreturn]] void refuse(const std::string &what) {
  throw std::invalid_argument(what);
}

std::string nameOf(int64_t seqId) {
  return "sequence " + std::to_string(seqId);
}

/// A process that fills pools larger than the memory would be killed.
const KVCacheConfig &checkMemory(const KVCacheConfig &config) {
  llmir_kv_cache layout = layOutCache(config);
  int64_t available = readMemory().available;
  if (layout.poolBytes > available)
    throw std::runtime_error(
        "a KV cache of " + std::to_string(config.numBlocks * config.blockSize) +
        " tokens takes " + formatBytes(layout.poolBytes) + ", and " +
        formatBytes(available) + " are available; ask for fewer tokens");
  return config;
}

void checkInput(const char *what, const KVInput &input) {
  if (!input.data)
    refuse("there are no " + std::string(what) + " to append");
  if (input.dtype != LLMIR_F32 && input.dtype != LLMIR_BF16 &&
      input.dtype != LLMIR_F16)
    refuse(std::string(what) +
           " that are appended must be f32, bf16 or f16, "
           "not " +
           std::string(dtypeName(input.dtype)));
}

void checkOutput(const KVOutput &output) {
  if (output.data && output.dtype != LLMIR_F32 && output.dtype != LLMIR_F16)
    refuse("keys and values are read as f32 or f16, not as " +
           std::string(dtypeName(output.dtype)));
}

llmir_tensor rowsOf(const KVInput &input, const llmir_kv_cache &cache,
                    int64_t tokens) {
  llmir_tensor tensor{};
  tensor.data = const_cast<void *>(input.data);
  tensor.dtype = input.dtype;
  tensor.rank = 3;
  tensor.sizes[0] = tokens;
  tensor.sizes[1] = cache.kvHeads;
  tensor.sizes[2] = cache.headDim;
  tensor.strides[1] = input.headStride ? input.headStride : cache.headDim;
  tensor.strides[0] =
      input.tokenStride ? input.tokenStride : cache.kvHeads * cache.headDim;
  tensor.strides[2] = 1;
  return tensor;
}

/// The kernels take f32 and what the cache itself is of. What else there is of
/// 16 bits becomes f32, which is exact.
void widen(llmir_tensor &tensor, int32_t cacheDtype,
           std::vector<float> &widened) {
  if (tensor.dtype == LLMIR_F32 || tensor.dtype == cacheDtype)
    return;
  int64_t tokens = tensor.sizes[0], heads = tensor.sizes[1];
  int64_t headDim = tensor.sizes[2];
  widened.resize(tokens * heads * headDim);
  const auto *from = static_cast<const uint16_t *>(tensor.data);
  float *to = widened.data();
  for (int64_t t = 0; t < tokens; ++t)
    for (int64_t h = 0; h < heads; ++h) {
      const uint16_t *head =
          from + t * tensor.strides[0] + h * tensor.strides[1];
      for (int64_t i = 0; i < headDim; ++i, ++to) {
        uint32_t bits =
            tensor.dtype == LLMIR_BF16 ? widenBF16(head[i]) : widenF16(head[i]);
        std::memcpy(to, &bits, sizeof(bits));
      }
    }
  tensor.data = widened.data();
  tensor.dtype = LLMIR_F32;
  tensor.strides[0] = heads * headDim;
  tensor.strides[1] = headDim;
}

} // namespace

PagedKVCache::PagedKVCache(const KVCacheConfig &config,
                           const PagedKVCacheOptions &options)
    : context(options.threads, options.level), pool(checkMemory(config)),
      allocator(config.numBlocks), longest(options.maxSeqLen) {
  if (longest < 0)
    refuse("max_seq_len must be 0 or more, not " + std::to_string(longest));
}

PagedKVCache::~PagedKVCache() = default;

PagedKVCache::Entry &PagedKVCache::find(int64_t seqId) {
  return const_cast<Entry &>(std::as_const(*this).find(seqId));
}

const PagedKVCache::Entry &PagedKVCache::find(int64_t seqId) const {
  auto found = sequences.find(seqId);
  if (found == sequences.end())
    refuse("the KV cache has no " + nameOf(seqId));
  return found->second;
}

void PagedKVCache::checkLayer(int64_t layer) const {
  if (layer < 0 || layer >= config().layers)
    refuse("there is no layer " + std::to_string(layer) + " among the " +
           std::to_string(config().layers) + " of the KV cache");
}

void PagedKVCache::checkLength(int64_t seqId, int64_t before,
                               int64_t tokens) const {
  // Positions are numbered in 32 bits, as in a step.
  int64_t most = std::numeric_limits<int32_t>::max();
  if (longest > 0)
    most = std::min(most, longest);
  if (tokens > most - before)
    refuse(nameOf(seqId) + " cannot have " + std::to_string(tokens) +
           " tokens after " + std::to_string(before) +
           ", since a sequence of the KV cache has " + std::to_string(most) +
           " at most");
}

int64_t PagedKVCache::blocksFor(int64_t tokens) const {
  return (tokens + config().blockSize - 1) / config().blockSize;
}

bool PagedKVCache::allocate(int64_t seqId, int64_t tokens) {
  if (contains(seqId))
    refuse("the KV cache has a " + nameOf(seqId) + " already");
  if (tokens < 0)
    refuse(nameOf(seqId) + " cannot have room for " + std::to_string(tokens) +
           " tokens");
  checkLength(seqId, 0, tokens);
  Entry entry;
  entry.lengths.assign(config().layers, 0);
  if (!allocator.allocate(blocksFor(tokens), entry.blocks))
    return false;
  sequences.emplace(seqId, std::move(entry));
  return true;
}

/// Of a checked append: the blocks beyond a table's end, and those to copy. Of
/// a block that `owners` have, each who writes takes a copy, but for the last
/// one to have it.
int64_t PagedKVCache::blocksNeeded(const std::vector<KVSpan> &spans,
                                   int64_t layer) const {
  int64_t needed = 0, size = config().blockSize;
  std::map<int32_t, int64_t> writers;
  for (const KVSpan &span : spans) {
    auto found = sequences.find(span.seqId);
    if (found == sequences.end()) {
      needed += blocksFor(span.tokens);
      continue;
    }
    const Entry &entry = found->second;
    int64_t begin = entry.lengths[layer], end = begin + span.tokens;
    int64_t have = entry.blocks.size();
    needed += std::max<int64_t>(blocksFor(end) - have, 0);
    for (int64_t i = begin / size; i < std::min(blocksFor(end), have); ++i)
      if (allocator.useCount(entry.blocks[i]) > 1)
        ++writers[entry.blocks[i]];
  }
  for (auto [block, count] : writers)
    needed += std::min<int64_t>(count, allocator.useCount(block) - 1);
  return needed;
}

/// Gives a sequence blocks of its own for its next tokens, and notes their
/// slots.
void PagedKVCache::makeRoom(Entry &entry, int64_t layer, int64_t tokens) {
  int64_t size = config().blockSize;
  int64_t begin = entry.lengths[layer], end = begin + tokens;
  std::vector<int32_t> fresh;
  for (int64_t i = begin / size; i < blocksFor(end); ++i) {
    if (i == int64_t(entry.blocks.size())) {
      allocator.allocate(1, entry.blocks);
      continue;
    }
    int32_t shared = entry.blocks[i];
    if (allocator.useCount(shared) == 1)
      continue;
    fresh.clear();
    allocator.allocate(1, fresh);
    pool.copyBlock(shared, fresh[0]);
    allocator.release(shared);
    entry.blocks[i] = fresh[0];
    ++copiedBlocks;
  }
  for (int64_t position = begin; position < end; ++position)
    slots.push_back(
        int32_t(entry.blocks[position / size] * size + position % size));
  entry.lengths[layer] = end;
}

bool PagedKVCache::appendKV(const KVInput &keys, const KVInput &values,
                            const std::vector<KVSpan> &spans, int64_t layer) {
  checkLayer(layer);
  checkInput("keys", keys);
  checkInput("values", values);
  std::set<int64_t> seen;
  int64_t tokens = 0;
  for (const KVSpan &span : spans) {
    if (!seen.insert(span.seqId).second)
      refuse(nameOf(span.seqId) + " is in the append twice");
    if (span.tokens < 1)
      refuse(nameOf(span.seqId) + " cannot be appended " +
             std::to_string(span.tokens) + " tokens");
    auto found = sequences.find(span.seqId);
    int64_t before =
        found == sequences.end() ? 0 : found->second.lengths[layer];
    checkLength(span.seqId, before, span.tokens);
    tokens += span.tokens;
  }
  if (blocksNeeded(spans, layer) > allocator.numFreeBlocks())
    return false;
  slots.clear();
  for (const KVSpan &span : spans) {
    Entry &entry = sequences[span.seqId];
    entry.lengths.resize(config().layers);
    makeRoom(entry, layer, span.tokens);
  }
  store(keys, values, tokens, layer);
  return true;
}

void PagedKVCache::store(const KVInput &keys, const KVInput &values,
                         int64_t tokens, int64_t layer) {
  if (tokens == 0)
    return;
  llmir_kv_cache &cache = *pool.handle();
  std::vector<float> wideKeys, wideValues;
  llmir_tensor k = rowsOf(keys, cache, tokens);
  llmir_tensor v = rowsOf(values, cache, tokens);
  widen(k, cache.dtype, wideKeys);
  widen(v, cache.dtype, wideValues);
  llmir_tensor at{};
  at.data = slots.data();
  at.dtype = LLMIR_I32;
  at.rank = 1;
  at.sizes[0] = tokens;
  at.strides[0] = 1;
  const llmir_runtime &runtime = context.runtime();
  runtime.append_kv(runtime.context, &cache, layer, &k, &v, &at);
}

/// Positions [begin, end), as rows of the output from `firstRow` on.
void PagedKVCache::read(const Entry &entry, int64_t layer, bool isKeys,
                        int64_t begin, int64_t end, const KVOutput &to,
                        int64_t firstRow) const {
  if (!to.data)
    return;
  const llmir_kv_cache &cache = *pool.handle();
  const char *blocks = cache.pool + layer * cache.layerBytes;
  int64_t rowSize = cache.kvHeads * cache.headDim;
  std::vector<float> heads(
      to.dtype == LLMIR_F16 ? context.threads() * cache.headDim : 0);
  auto readRange = [&](unsigned thread, int64_t from, int64_t until) {
    float *wide = heads.data() + thread * (heads.size() / context.threads());
    for (int64_t i = from; i < until; ++i) {
      int64_t position = begin + i;
      const char *head =
          blocks + entry.blocks[position / cache.blockSize] * cache.blockBytes;
      int64_t inside = position % cache.blockSize;
      int64_t row = (firstRow + i) * rowSize;
      for (int64_t h = 0; h < cache.kvHeads;
           ++h, head += cache.headBytes, row += cache.headDim) {
        if (to.dtype == LLMIR_F32) {
          readHead(cache, isKeys, head, inside,
                   static_cast<float *>(to.data) + row);
          continue;
        }
        readHead(cache, isKeys, head, inside, wide);
        uint16_t *halves = static_cast<uint16_t *>(to.data) + row;
        for (int64_t d = 0; d < cache.headDim; ++d) {
          uint32_t bits;
          std::memcpy(&bits, &wide[d], sizeof(bits));
          halves[d] = roundToF16(bits);
        }
      }
    }
  };
  int64_t tokens = end - begin;
  // Little work is not worth a fork.
  int64_t grain =
      std::max(context.pool().evenGrain(tokens), 16384 / rowSize + 1);
  context.pool().forRanges(tokens, grain, readRange);
}

void PagedKVCache::lookupKV(int64_t seqId, const KVOutput &keys,
                            const KVOutput &values, int64_t layer,
                            int64_t begin, int64_t end) const {
  checkLayer(layer);
  checkOutput(keys);
  checkOutput(values);
  const Entry &entry = find(seqId);
  int64_t length = entry.lengths[layer];
  if (end == -1)
    end = length;
  if (begin < 0 || begin > end || end > length)
    refuse("positions " + std::to_string(begin) + " to " + std::to_string(end) +
           " are not among the " + std::to_string(length) + " of " +
           nameOf(seqId) + " in layer " + std::to_string(layer));
  if (begin < end && begin < firstPosition(seqId))
    refuse("the positions of " + nameOf(seqId) + " before " +
           std::to_string(firstPosition(seqId)) + " were given back");
  read(entry, layer, true, begin, end, keys, 0);
  read(entry, layer, false, begin, end, values, 0);
}

void PagedKVCache::gatherKV(const std::vector<int64_t> &seqIds, int64_t tokens,
                            const KVOutput &keys, const KVOutput &values,
                            int64_t layer) const {
  checkLayer(layer);
  checkOutput(keys);
  checkOutput(values);
  if (tokens < 0)
    refuse("there are no " + std::to_string(tokens) + " positions to gather");
  for (int64_t seqId : seqIds)
    if (firstPosition(seqId) > 0 && tokens > 0)
      refuse("the positions of " + nameOf(seqId) + " before " +
             std::to_string(firstPosition(seqId)) + " were given back");
  int64_t rowSize = config().kvHeads * config().headDim;
  for (bool isKeys : {true, false}) {
    const KVOutput &to = isKeys ? keys : values;
    if (!to.data)
      continue;
    int64_t rowBytes = rowSize * dtypeBytes(to.dtype);
    for (size_t i = 0; i < seqIds.size(); ++i) {
      const Entry &entry = find(seqIds[i]);
      int64_t count = std::min(entry.lengths[layer], tokens);
      int64_t row = int64_t(i) * tokens;
      read(entry, layer, isKeys, 0, count, to, row);
      std::memset(static_cast<char *>(to.data) + (row + count) * rowBytes, 0,
                  (tokens - count) * rowBytes);
    }
  }
}

void PagedKVCache::fork(int64_t from, int64_t to) {
  const Entry &source = find(from);
  if (contains(to))
    refuse("the KV cache has a " + nameOf(to) + " already");
  Entry entry = source;
  // Room that nothing was written to stays with its owner.
  int64_t length =
      *std::max_element(entry.lengths.begin(), entry.lengths.end());
  entry.blocks.resize(blocksFor(length));
  Entry &added = sequences.emplace(to, std::move(entry)).first->second;
  for (size_t i = added.passedBlocks; i < added.blocks.size(); ++i)
    allocator.retain(added.blocks[i]);
}

void PagedKVCache::shrink(Entry &entry, size_t numBlocks) {
  for (; entry.blocks.size() > numBlocks; entry.blocks.pop_back())
    if (entry.blocks.back() >= 0)
      allocator.release(entry.blocks.back());
  entry.passedBlocks = std::min(entry.passedBlocks, numBlocks);
}

void PagedKVCache::free(int64_t seqId) {
  shrink(find(seqId), 0);
  sequences.erase(seqId);
}

void PagedKVCache::truncate(int64_t seqId, int64_t length) {
  Entry &entry = find(seqId);
  int64_t most = *std::max_element(entry.lengths.begin(), entry.lengths.end());
  if (length < 0 || length > most)
    refuse(nameOf(seqId) + " has " + std::to_string(most) +
           " tokens, and cannot be truncated to " + std::to_string(length));
  if (length > 0 && length < firstPosition(seqId))
    refuse(nameOf(seqId) + " cannot be truncated to " + std::to_string(length) +
           ": its positions before " + std::to_string(firstPosition(seqId)) +
           " were given back");
  shrink(entry, blocksFor(length));
  for (int64_t &each : entry.lengths)
    each = std::min(each, length);
}

void PagedKVCache::releaseBefore(int64_t seqId, int64_t position) {
  Entry &entry = find(seqId);
  int64_t least = *std::min_element(entry.lengths.begin(), entry.lengths.end());
  if (position < 0 || position > least)
    refuse("all layers of " + nameOf(seqId) + " have " + std::to_string(least) +
           " tokens, and what is before position " + std::to_string(position) +
           " cannot be given back");
  for (size_t passed = position / config().blockSize;
       entry.passedBlocks < passed; ++entry.passedBlocks) {
    allocator.release(entry.blocks[entry.passedBlocks]);
    entry.blocks[entry.passedBlocks] = -1;
  }
}

KVLayerView PagedKVCache::layer(int64_t layer) {
  checkLayer(layer);
  return {*this, layer};
}

std::vector<int64_t> PagedKVCache::sequenceIds() const {
  std::vector<int64_t> ids;
  for (const auto &[id, entry] : sequences)
    ids.push_back(id);
  return ids;
}

int64_t PagedKVCache::length(int64_t seqId, int64_t layer) const {
  checkLayer(layer);
  return find(seqId).lengths[layer];
}

int64_t PagedKVCache::firstPosition(int64_t seqId) const {
  return int64_t(find(seqId).passedBlocks) * config().blockSize;
}

const std::vector<int32_t> &PagedKVCache::blockTable(int64_t seqId) const {
  return find(seqId).blocks;
}

PagedKVCacheStats PagedKVCache::stats() const {
  PagedKVCacheStats stats;
  stats.sequences = sequences.size();
  stats.blocks = allocator.numBlocks();
  stats.freeBlocks = allocator.numFreeBlocks();
  stats.usedBlocks = stats.blocks - stats.freeBlocks;
  for (int64_t block = 0; block < stats.blocks; ++block)
    stats.sharedBlocks += allocator.useCount(int32_t(block)) > 1;
  stats.copiedBlocks = copiedBlocks;
  stats.bytesPerBlock = KVPool::bytesPerBlock(config());
  stats.bytes = pool.bytes();
  stats.usedBytes = stats.usedBlocks * stats.bytesPerBlock;
  return stats;
}

double compressionRatio(KVCacheConfig config, llmir_dtype against) {
  double bytes = double(KVPool::bytesPerBlock(config));
  config.dtype = against;
  return double(KVPool::bytesPerBlock(config)) / bytes;
}

static const KVCacheConfig &checkQuantized(const KVCacheConfig &config) {
  if (config.dtype != LLMIR_I8 && config.dtype != LLMIR_I4)
    refuse("a quantized KV cache is of i8 or i4, not of " +
           std::string(dtypeName(config.dtype)));
  return config;
}

QuantizedPagedKVCache::QuantizedPagedKVCache(const KVCacheConfig &config,
                                             const PagedKVCacheOptions &options)
    : PagedKVCache(checkQuantized(config), options) {}

} // namespace llmir::runtime
