// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A paged KV cache without a model: two answers to one prompt share its blocks,
// a sequence without end keeps a window, and a cache that is full says so.

#include "llmir/runtime/paged_cache.h"

#include <cstdio>
#include <exception>
#include <vector>

using namespace llmir::runtime;

/// Keys that say whose they are: token t of what `name` wrote.
static std::vector<float> rowsOf(const KVCacheConfig &config, float name,
                                 int64_t tokens) {
  int64_t row = config.kvHeads * config.headDim;
  std::vector<float> rows;
  for (int64_t i = 0; i < tokens * row; ++i)
    rows.push_back(name + float(i / row) / 64);
  return rows;
}

/// Appends to all layers; false if there are too few blocks.
static bool append(PagedKVCache &cache, int64_t sequence, float name,
                   int64_t tokens) {
  std::vector<float> rows = rowsOf(cache.config(), name, tokens);
  for (int64_t layer = 0; layer < cache.config().layers; ++layer)
    if (!cache.appendKV(rows.data(), rows.data(), {{sequence, tokens}}, layer))
      return false;
  return true;
}

static void print(const char *what, const PagedKVCache &cache) {
  PagedKVCacheStats stats = cache.stats();
  std::printf("%s: %ld of %ld blocks used, %ld shared, %ld copied\n", what,
              long(stats.usedBlocks), long(stats.blocks),
              long(stats.sharedBlocks), long(stats.copiedBlocks));
}

static void run() {
  KVCacheConfig config;
  config.dtype = LLMIR_F32;
  config.layers = 2;
  config.kvHeads = 4;
  config.headDim = 64;
  config.blockSize = 16;
  config.numBlocks = 8;
  PagedKVCache cache(config);

  // A prompt of 40 tokens takes three blocks, and so do two of its kind.
  append(cache, /*sequence=*/1, /*name=*/1, 40);
  cache.fork(1, 2);
  print("a prompt and its fork", cache);

  // They go on differently: the block that both would write to is copied.
  append(cache, 1, 10, 4);
  append(cache, 2, 20, 4);
  print("two answers", cache);
  for (int64_t sequence : {1, 2}) {
    std::vector<float> keys(44 * 4 * 64), values = keys;
    cache.lookupKV(sequence, keys.data(), values.data(), /*layer=*/1);
    std::printf("sequence %ld: token 39 is %g, token 40 is %g\n",
                long(sequence), keys[39 * 4 * 64], keys[40 * 4 * 64]);
  }

  // What does not fit changes nothing. A fifth block is not there.
  bool fits = append(cache, 3, 30, 80);
  print(fits ? "80 more tokens" : "80 more tokens do not fit", cache);
  cache.free(2);
  cache.free(1);

  // With a window of 32 positions any number of tokens fits.
  for (int64_t token = 0; token < 1000; ++token) {
    append(cache, 4, 40, 1);
    if (cache.length(4) >= 32)
      cache.releaseBefore(4, cache.length(4) - 31);
  }
  std::printf("sequence 4 has %ld tokens, the first of them %ld\n",
              long(cache.length(4)), long(cache.firstPosition(4)));
  print("a window", cache);
}

int main() {
  try {
    run();
  } catch (const std::exception &error) {
    std::fprintf(stderr, "paged: %s\n", error.what());
    return 1;
  }
  return 0;
}
