// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The cache of sequences: what is read is what was appended, rounded as the
// cache's type says; blocks, against a model in which every sequence has rows
// of its own.
#include "test_support.h"

#include "llmir/runtime/paged_cache.h"

#include <algorithm>
#include <iostream>
#include <map>
#include <random>
#include <string>

using namespace llmir::runtime;
using namespace llmir::runtime::test;

namespace {

constexpr llmir_dtype cacheTypes[] = {LLMIR_F32, LLMIR_BF16, LLMIR_F16,
                                      LLMIR_I8, LLMIR_I4};

/// What a cache of `dtype` has of some heads.
std::vector<float> storedRows(llmir_dtype dtype, const float *x, int64_t heads,
                              int64_t headDim) {
  std::vector<float> result;
  for (int64_t h = 0; h < heads; ++h, x += headDim) {
    if (dtype == LLMIR_I8 || dtype == LLMIR_I4) {
      QuantizedHead head(dtype, x, headDim);
      for (int64_t i = 0; i < headDim; ++i)
        result.push_back(float(head.value(i)));
    } else {
      for (int64_t i = 0; i < headDim; ++i)
        result.push_back(stored(dtype, x[i]));
    }
  }
  return result;
}

struct Rows {
  std::vector<float> keys, values;
  void append(const std::vector<float> &k, const std::vector<float> &v) {
    keys.insert(keys.end(), k.begin(), k.end());
    values.insert(values.end(), v.begin(), v.end());
  }
};

Rows readAll(const PagedKVCache &cache, int64_t seqId, int64_t layer,
             int64_t begin = 0) {
  int64_t row = cache.config().kvHeads * cache.config().headDim;
  size_t count = (cache.length(seqId, layer) - begin) * row;
  Rows rows{std::vector<float>(count), std::vector<float>(count)};
  cache.lookupKV(seqId, rows.keys.data(), rows.values.data(), layer, begin);
  return rows;
}

/// The numbers of a token in a cache of configOf.
constexpr int64_t tokenSize = 16;

KVCacheConfig configOf(llmir_dtype dtype, int64_t numBlocks) {
  KVCacheConfig config;
  config.dtype = dtype;
  config.layers = 2;
  config.kvHeads = 2;
  config.headDim = 8;
  config.blockSize = 4;
  config.numBlocks = numBlocks;
  return config;
}

/// The sentence of what is thrown.
template <class Call> std::string refusal(Call call) {
  try {
    call();
  } catch (const std::invalid_argument &error) {
    return error.what();
  }
  return "nothing was refused";
}

class PagedCacheTest : public ::testing::TestWithParam<CpuLevel> {};

} // namespace

TEST_P(PagedCacheTest, ReadsWhatWasAppended) {
  std::mt19937_64 random(3);
  const int64_t shapes[][3] = {// kvHeads, headDim, blockSize
                               {2, 64, 16}, {3, 37, 32}, {1, 130, 64},
                               {1, 48, 1},  {2, 21, 2},  {1, 300, 4},
                               {2, 33, 8},  {1, 1, 16}};
  for (llmir_dtype dtype : cacheTypes)
    for (auto [kvHeads, headDim, blockSize] : shapes) {
      KVCacheConfig config{dtype,     /*layers=*/2,
                           kvHeads,   headDim,
                           blockSize, /*numBlocks=*/200 / blockSize + 2};
      PagedKVCache cache(config, {/*maxSeqLen=*/0, /*threads=*/3, GetParam()});
      Rows expected;
      int64_t row = kvHeads * headDim;
      for (int64_t tokens : {70, 1, 1, 100}) {
        Tensor keys(LLMIR_F32, {tokens, kvHeads, headDim}), values = keys;
        keys.randomize(random);
        values.randomize(random, 3);
        ASSERT_TRUE(cache.appendKV(keys.data<float>(), values.data<float>(),
                                   {{5, tokens}}, 1));
        expected.append(
            storedRows(dtype, keys.data<float>(), tokens * kvHeads, headDim),
            storedRows(dtype, values.data<float>(), tokens * kvHeads, headDim));
      }
      std::string where = std::string(dtypeName(dtype)) + " of " +
                          std::to_string(headDim) + ", blocks of " +
                          std::to_string(blockSize);
      Rows found = readAll(cache, 5, 1);
      ASSERT_EQ(found.keys, expected.keys) << where;
      ASSERT_EQ(found.values, expected.values) << where;
      // A part of it, and one of the two only.
      std::vector<float> part(7 * row);
      cache.lookupKV(5, nullptr, part.data(), 1, 66, 73);
      ASSERT_TRUE(std::equal(part.begin(), part.end(),
                             expected.values.begin() + 66 * row))
          << where;
      // f16 is rounded once more, unless it is f16 already.
      std::vector<uint16_t> halves(cache.length(5, 1) * row);
      cache.lookupKV(5, KVOutput(halves.data(), LLMIR_F16), nullptr, 1);
      for (size_t i = 0; i < halves.size(); ++i)
        ASSERT_EQ(halves[i], toF16(expected.keys[i])) << where << " " << i;
    }
}

TEST_P(PagedCacheTest, TakesOtherTypesAndStrides) {
  std::mt19937_64 random(4);
  int64_t tokens = 11, heads = 2, d = 8;
  for (llmir_dtype dtype : cacheTypes)
    for (llmir_dtype given : floatTypes) {
      KVCacheConfig config = configOf(dtype, 8);
      PagedKVCache cache(config, {0, 1, GetParam()});
      // Heads before tokens, as attention has them, and backwards in time.
      Tensor keys(given, {heads, tokens, d}), values = keys;
      keys.randomize(random);
      values.randomize(random);
      auto last = [&](Tensor &tensor) {
        return KVInput(tensor.bytes.data() +
                           (tokens - 1) * d * dtypeBytes(given),
                       given, -d, tokens * d);
      };
      ASSERT_TRUE(cache.appendKV(last(keys), last(values), {{0, tokens}}));
      Rows found = readAll(cache, 0, 0);
      for (int64_t t = 0; t < tokens; ++t)
        for (int64_t h = 0; h < heads; ++h) {
          float k[8], v[8];
          for (int64_t i = 0; i < d; ++i) {
            k[i] = keys.at((h * tokens + tokens - 1 - t) * d + i);
            v[i] = values.at((h * tokens + tokens - 1 - t) * d + i);
          }
          const float *foundKeys = &found.keys[(t * heads + h) * d];
          const float *foundValues = &found.values[(t * heads + h) * d];
          auto expectedKeys = storedRows(dtype, k, 1, d);
          auto expectedValues = storedRows(dtype, v, 1, d);
          ASSERT_EQ(std::vector<float>(foundKeys, foundKeys + d), expectedKeys);
          ASSERT_EQ(std::vector<float>(foundValues, foundValues + d),
                    expectedValues);
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Levels, PagedCacheTest,
                         ::testing::ValuesIn(testedLevels()),
                         [](const auto &info) {
                           return levelLabel(info.param);
                         });

TEST(PagedKVCache, GathersSequencesOfDifferentLengths) {
  PagedKVCache cache(configOf(LLMIR_F32, 8));
  std::mt19937_64 random(5);
  Tensor rows(LLMIR_F32, {8, 2, 8});
  rows.randomize(random);
  const float *x = rows.data<float>();
  ASSERT_TRUE(cache.appendKV(x, x, {{1, 5}, {2, 3}}));
  ASSERT_TRUE(cache.allocate(3));
  std::vector<float> keys(18 * tokenSize, 7), values = keys;
  cache.gatherKV({2, 3, 1}, 6, keys.data(), values.data());
  std::vector<float> expected(18 * tokenSize, 0);
  std::copy_n(x + 5 * tokenSize, 3 * tokenSize, expected.begin());
  std::copy_n(x, 5 * tokenSize, expected.begin() + 12 * tokenSize);
  EXPECT_EQ(keys, expected);
  EXPECT_EQ(values, expected);
  // Only the first ones.
  cache.gatherKV({1}, 2, keys.data(), nullptr);
  EXPECT_TRUE(std::equal(x, x + 2 * tokenSize, keys.begin()));
}

TEST(PagedKVCache, LayersGrowOnTheirOwn) {
  PagedKVCache cache(configOf(LLMIR_F32, 3));
  Tensor rows(LLMIR_F32, {12, 2, 8}), others = rows;
  std::mt19937_64 random(6);
  const float *x = rows.randomize(random).data<float>();
  const float *y = others.randomize(random).data<float>();
  KVLayerView first = cache.layer(0), second = cache.layer(1);
  ASSERT_TRUE(first.appendKV(x, y, {{0, 9}}));
  EXPECT_EQ(cache.stats().usedBlocks, 3);
  EXPECT_EQ(second.length(0), 0);
  // The blocks are there already.
  ASSERT_TRUE(second.appendKV(y, x, {{0, 12}}));
  EXPECT_EQ(first.length(0), 9);
  EXPECT_EQ(second.length(0), 12);
  EXPECT_EQ(cache.stats().usedBlocks, 3);
  EXPECT_FALSE(second.appendKV(y, x, {{0, 1}}));
  std::vector<float> keys(9 * tokenSize), values = keys;
  first.lookupKV(0, keys.data(), values.data());
  EXPECT_TRUE(std::equal(keys.begin(), keys.end(), x));
  EXPECT_TRUE(std::equal(values.begin(), values.end(), y));
  second.lookupKV(0, keys.data(), values.data(), 3, 12);
  EXPECT_TRUE(std::equal(keys.begin(), keys.end(), y + 3 * tokenSize));
  EXPECT_TRUE(std::equal(values.begin(), values.end(), x + 3 * tokenSize));
}

TEST(PagedKVCache, OutOfBlocksChangesNothing) {
  PagedKVCache cache(configOf(LLMIR_F32, 3));
  std::vector<float> zeros(64 * tokenSize), ones(64 * tokenSize, 1);
  ASSERT_TRUE(cache.appendKV(ones.data(), ones.data(), {{1, 6}}));
  // One of the two has room, and the other one would begin.
  EXPECT_FALSE(cache.appendKV(zeros.data(), zeros.data(), {{1, 2}, {2, 5}}));
  EXPECT_FALSE(cache.contains(2));
  EXPECT_EQ(cache.length(1), 6);
  EXPECT_EQ(cache.stats().freeBlocks, 1);
  EXPECT_EQ(readAll(cache, 1, 0).keys, std::vector<float>(6 * tokenSize, 1));
  EXPECT_FALSE(cache.allocate(2, 5));
  EXPECT_FALSE(cache.contains(2));
  EXPECT_FALSE(cache.appendKV(zeros.data(), zeros.data(), {{1, 2000000000}}));
  // What fits exactly fits.
  EXPECT_TRUE(cache.appendKV(zeros.data(), zeros.data(), {{1, 2}, {2, 4}}));
  EXPECT_EQ(cache.stats().freeBlocks, 0);
  cache.free(1);
  EXPECT_EQ(cache.stats().freeBlocks, 2);
  EXPECT_EQ(cache.sequenceIds(), (std::vector<int64_t>{2}));
}

TEST(PagedKVCache, ForksCopyWhatTheyWriteTo) {
  PagedKVCache cache(configOf(LLMIR_I8, 5));
  std::vector<float> ones(64 * tokenSize, 1), twos(64 * tokenSize, 2);
  ASSERT_TRUE(cache.appendKV(ones.data(), ones.data(), {{0, 6}}, 0));
  ASSERT_TRUE(cache.appendKV(twos.data(), twos.data(), {{0, 6}}, 1));
  cache.fork(0, 1);
  cache.fork(1, 2);
  EXPECT_EQ(cache.stats().usedBlocks, 2);
  EXPECT_EQ(cache.stats().sharedBlocks, 2);
  EXPECT_EQ(cache.useCount(cache.blockTable(0)[1]), 3);
  // Three write to the last block: two of them copy it, and there is one more
  // block that a fourth token would need.
  EXPECT_TRUE(
      cache.appendKV(twos.data(), ones.data(), {{0, 1}, {1, 2}, {2, 1}}, 0));
  EXPECT_EQ(cache.stats().copiedBlocks, 2);
  EXPECT_EQ(cache.stats().freeBlocks, 1);
  EXPECT_EQ(cache.blockTable(0)[0], cache.blockTable(2)[0]);
  EXPECT_NE(cache.blockTable(0)[1], cache.blockTable(1)[1]);
  std::vector<float> expected(7 * tokenSize, 1);
  std::fill_n(expected.begin() + 6 * tokenSize, 16, 2.0f);
  // As near as an f16 scale is.
  auto near = [](const std::vector<float> &found,
                 const std::vector<float> &wanted) {
    ASSERT_EQ(found.size(), wanted.size());
    for (size_t i = 0; i < found.size(); ++i)
      ASSERT_NEAR(found[i], wanted[i], 2e-3);
  };
  near(readAll(cache, 0, 0).keys, expected);
  near(readAll(cache, 2, 0).keys, expected);
  expected.resize(8 * tokenSize, 2);
  near(readAll(cache, 1, 0).keys, expected);
  // The other layer came along.
  for (int64_t id : {0, 1, 2})
    near(readAll(cache, id, 1).values, std::vector<float>(6 * tokenSize, 2));
  // Their next blocks are one too many.
  EXPECT_FALSE(cache.appendKV(ones.data(), ones.data(), {{0, 2}, {1, 1}}));
  cache.free(2);
  EXPECT_TRUE(cache.appendKV(ones.data(), ones.data(), {{0, 2}, {1, 1}}));
  cache.free(0);
  cache.free(1);
  EXPECT_EQ(cache.stats().freeBlocks, 5);
}

TEST(PagedKVCache, RoomIsNotForked) {
  PagedKVCache cache(configOf(LLMIR_F32, 8));
  std::vector<float> ones(64 * tokenSize, 1);
  ASSERT_TRUE(cache.allocate(0, 20));
  EXPECT_EQ(cache.stats().usedBlocks, 5);
  ASSERT_TRUE(cache.appendKV(ones.data(), ones.data(), {{0, 3}}));
  EXPECT_EQ(cache.stats().usedBlocks, 5);
  cache.fork(0, 1);
  EXPECT_EQ(cache.stats().sharedBlocks, 1);
  EXPECT_EQ(cache.blockTable(1).size(), 1u);
  cache.free(0);
  EXPECT_EQ(cache.stats().usedBlocks, 1);
}

TEST(PagedKVCache, ReleasesBehindAWindow) {
  PagedKVCache cache(configOf(LLMIR_F32, 3));
  std::vector<float> ones(64 * tokenSize, 1);
  for (int64_t t = 0; t < 1000; ++t) {
    for (int64_t layer : {0, 1})
      ASSERT_TRUE(cache.appendKV(ones.data(), ones.data(), {{0, 1}}, layer));
    if (t >= 7)
      cache.releaseBefore(0, t - 7);
  }
  EXPECT_EQ(cache.firstPosition(0), 992);
  EXPECT_EQ(cache.blockTable(0)[247], -1);
  EXPECT_EQ(readAll(cache, 0, 1, 992).keys,
            std::vector<float>(8 * tokenSize, 1));
  EXPECT_EQ(refusal([&] { readAll(cache, 0, 1, 991); }),
            "the positions of sequence 0 before 992 were given back");
  EXPECT_EQ(refusal([&] {
              std::vector<float> out(16);
              cache.gatherKV({0}, 1, out.data(), nullptr);
            }),
            "the positions of sequence 0 before 992 were given back");
  EXPECT_EQ(refusal([&] { cache.truncate(0, 991); }),
            "sequence 0 cannot be truncated to 991: its positions before 992 "
            "were given back");
  cache.fork(0, 1);
  cache.truncate(1, 992);
  EXPECT_EQ(cache.length(1), 992);
  cache.free(0);
  EXPECT_EQ(cache.stats().usedBlocks, 0);
  cache.truncate(1, 0);
  EXPECT_EQ(cache.firstPosition(1), 0);
  EXPECT_TRUE(cache.appendKV(ones.data(), ones.data(), {{1, 12}}));
}

TEST(PagedKVCache, Refuses) {
  KVCacheConfig config = configOf(LLMIR_F32, 4);
  PagedKVCache cache(config, {/*maxSeqLen=*/10});
  std::vector<float> x(64 * tokenSize, 1);
  float *data = x.data();
  ASSERT_TRUE(cache.appendKV(data, data, {{3, 5}}));
  auto append = [&](const std::vector<KVSpan> &spans, int64_t layer = 0) {
    return refusal([&] { cache.appendKV(data, data, spans, layer); });
  };
  EXPECT_EQ(append({{3, 1}}, 2),
            "there is no layer 2 among the 2 of the KV cache");
  EXPECT_EQ(append({{3, 1}, {4, 1}, {3, 1}}),
            "sequence 3 is in the append twice");
  EXPECT_EQ(append({{4, 1}, {3, 0}}), "sequence 3 cannot be appended 0 tokens");
  EXPECT_EQ(append({{4, 1}, {3, 6}}),
            "sequence 3 cannot have 6 tokens after 5, since a sequence of the "
            "KV cache has 10 at most");
  EXPECT_EQ(append({{4, INT64_MAX}}),
            "sequence 4 cannot have 9223372036854775807 tokens after 0, since "
            "a sequence of the KV cache has 10 at most");
  EXPECT_EQ(refusal([&] { cache.appendKV(nullptr, data, {{3, 1}}); }),
            "there are no keys to append");
  EXPECT_EQ(
      refusal([&] { cache.appendKV(data, KVInput(data, LLMIR_I8), {{3, 1}}); }),
      "values that are appended must be f32, bf16 or f16, not i8");
  EXPECT_EQ(refusal([&] { cache.allocate(3); }),
            "the KV cache has a sequence 3 already");
  EXPECT_EQ(refusal([&] { cache.allocate(4, -1); }),
            "sequence 4 cannot have room for -1 tokens");
  EXPECT_EQ(refusal([&] { cache.free(4); }), "the KV cache has no sequence 4");
  EXPECT_EQ(refusal([&] { cache.fork(4, 5); }),
            "the KV cache has no sequence 4");
  EXPECT_EQ(refusal([&] { cache.fork(3, 3); }),
            "the KV cache has a sequence 3 already");
  EXPECT_EQ(refusal([&] { cache.truncate(3, 6); }),
            "sequence 3 has 5 tokens, and cannot be truncated to 6");
  EXPECT_EQ(refusal([&] { cache.releaseBefore(3, 1); }),
            "all layers of sequence 3 have 0 tokens, and what is before "
            "position 1 cannot be given back");
  EXPECT_EQ(refusal([&] { cache.lookupKV(3, data, data, 0, 2, 6); }),
            "positions 2 to 6 are not among the 5 of sequence 3 in layer 0");
  EXPECT_EQ(refusal([&] { cache.lookupKV(3, data, data, 1, 0, 5); }),
            "positions 0 to 5 are not among the 0 of sequence 3 in layer 1");
  EXPECT_EQ(
      refusal([&] { cache.lookupKV(3, KVOutput(data, LLMIR_BF16), nullptr); }),
      "keys and values are read as f32 or f16, not as bf16");
  EXPECT_EQ(refusal([&] { cache.gatherKV({3}, -1, data, data); }),
            "there are no -1 positions to gather");
  EXPECT_EQ(refusal([&] { cache.layer(-1); }),
            "there is no layer -1 among the 2 of the KV cache");
  EXPECT_EQ(refusal([&] { QuantizedPagedKVCache{config}; }),
            "a quantized KV cache is of i8 or i4, not of f32");
  EXPECT_EQ(refusal([&] { PagedKVCache(config, {-1}); }),
            "max_seq_len must be 0 or more, not -1");
  // After all this nothing has changed.
  EXPECT_EQ(cache.sequenceIds(), (std::vector<int64_t>{3}));
  EXPECT_EQ(cache.length(3), 5);
  EXPECT_EQ(cache.stats().usedBlocks, 2);
  EXPECT_EQ(readAll(cache, 3, 0).keys, std::vector<float>(5 * tokenSize, 1));
  config.layers = 1 << 16;
  config.kvHeads = 1 << 8;
  config.numBlocks = 1 << 20;
  try {
    PagedKVCache tooLarge(config);
    ADD_FAILURE() << "more than there is was not refused";
  } catch (const std::runtime_error &error) {
    EXPECT_NE(std::string(error.what())
                  .find("a KV cache of 4194304 tokens "
                        "takes "),
              std::string::npos)
        << error.what();
  }
}

TEST(QuantizedPagedKVCache, CompressionRatio) {
  for (int64_t headDim : {64, 80, 128})
    for (int64_t blockSize : {1, 16, 32}) {
      KVCacheConfig config;
      config.headDim = headDim;
      config.blockSize = blockSize;
      config.kvHeads = 8;
      config.dtype = LLMIR_I8;
      QuantizedPagedKVCache int8(config);
      config.dtype = LLMIR_I4;
      QuantizedPagedKVCache int4(config);
      double ratio8 = int8.getCompressionRatio();
      double ratio4 = int4.getCompressionRatio();
      // f16 takes what bf16 does, whose pairs need an even head_dim.
      EXPECT_EQ(ratio8, int8.getCompressionRatio(LLMIR_F16));
      EXPECT_EQ(ratio4, int4.getCompressionRatio(LLMIR_F16));
      if (blockSize >= 16)
        EXPECT_EQ(2 * ratio8, int8.getCompressionRatio(LLMIR_F32));
      std::cout << "head_dim " << headDim << ", blocks of " << blockSize
                << ": int8 takes " << 1 / ratio8 << ", int4 " << 1 / ratio4
                << " of bf16's bytes\n";
      if (headDim == 64 && blockSize >= 16) {
        // Numbers, and scales for 16 positions: 64 bytes, which int4 shares
        // with its zero points and rounds up from 96.
        EXPECT_EQ(1 / ratio8, (2 * 64 * 16 + 64) / (2 * 64 * 16 * 2.0));
        EXPECT_LE(1 / ratio8, 0.54);
        EXPECT_LE(1 / ratio4, 0.30);
      }
      if (headDim == 64 && blockSize == 16)
        EXPECT_EQ(1 / ratio4, (64 * 16 + 128) / (2 * 64 * 16 * 2.0));
      if (headDim == 64 && blockSize == 32)
        EXPECT_EQ(1 / ratio4, (64 * 32 + 192) / (2 * 64 * 32 * 2.0));
    }
}

/// Random calls, and the same in a model without blocks. Blocks are counted
/// from what the tables say.
TEST(PagedKVCache, RandomUse) {
  for (uint64_t seed = 0; seed < 6; ++seed) {
    std::mt19937_64 random(seed);
    llmir_dtype dtype = cacheTypes[seed % 5];
    KVCacheConfig config = configOf(dtype, 24);
    int64_t row = config.kvHeads * config.headDim;
    PagedKVCache cache(config);
    struct Model {
      Rows layers[2];
      int64_t first = 0; ///< Behind a window.
    };
    std::map<int64_t, Model> models;
    auto lengthOf = [&](const Model &model, int64_t layer) {
      return int64_t(model.layers[layer].keys.size()) / row;
    };
    auto anyone = [&] {
      auto at = models.begin();
      std::advance(at, random() % models.size());
      return at->first;
    };
    int refused = 0, appended = 0;
    for (int step = 0; step < 3000; ++step) {
      int64_t id = random() % 12;
      switch (models.empty() ? 0 : random() % 8) {
      case 0:
      case 1:
      case 2:
      case 3: { // Append to some.
        std::vector<KVSpan> spans;
        int64_t layer = random() % 2, tokens = 0;
        for (int64_t each = 0; each < 12; ++each)
          if (each == id || random() % 6 == 0) {
            spans.push_back({each, int64_t(1 + random() % 9)});
            tokens += spans.back().tokens;
          }
        Tensor keys(LLMIR_F32, {tokens, 2, 8}), values = keys;
        const float *k = keys.randomize(random).data<float>();
        const float *v = values.randomize(random).data<float>();
        int64_t free = cache.stats().freeBlocks;
        if (!cache.appendKV(k, v, spans, layer)) {
          ++refused;
          ASSERT_EQ(cache.stats().freeBlocks, free);
          // There was a reason: by hand, owner by owner.
          int64_t needed = 0;
          std::map<int32_t, int64_t> owners;
          for (const auto &[other, model] : models)
            for (int32_t block : cache.blockTable(other))
              if (block >= 0)
                ++owners[block];
          for (const KVSpan &span : spans) {
            int64_t begin = 0;
            std::vector<int32_t> table;
            if (models.count(span.seqId)) {
              begin = lengthOf(models[span.seqId], layer);
              table = cache.blockTable(span.seqId);
            }
            for (int64_t i = begin / 4; i <= (begin + span.tokens - 1) / 4; ++i)
              if (i >= int64_t(table.size()))
                ++needed;
              else if (owners[table[i]] > 1)
                --owners[table[i]], ++needed;
          }
          ASSERT_GT(needed, free);
          break;
        }
        ++appended;
        for (const KVSpan &span : spans) {
          models[span.seqId].layers[layer].append(
              storedRows(dtype, k, span.tokens * 2, 8),
              storedRows(dtype, v, span.tokens * 2, 8));
          k += span.tokens * row;
          v += span.tokens * row;
        }
        break;
      }
      case 4:
        if (!models.count(id)) {
          int64_t from = anyone();
          cache.fork(from, id);
          models[id] = models[from];
        }
        break;
      case 5:
        id = anyone();
        cache.free(id);
        models.erase(id);
        break;
      case 6: {
        id = anyone();
        Model &model = models[id];
        int64_t length = std::max(lengthOf(model, 0), lengthOf(model, 1));
        length = model.first + random() % (length - model.first + 1);
        if (length == 0)
          model.first = 0;
        cache.truncate(id, length);
        for (Rows &rows : model.layers) {
          size_t kept = std::min<size_t>(length * row, rows.keys.size());
          rows.keys.resize(kept);
          rows.values.resize(kept);
        }
        break;
      }
      default: {
        id = anyone();
        Model &model = models[id];
        int64_t least = std::min(lengthOf(model, 0), lengthOf(model, 1));
        int64_t position = random() % (least + 1);
        cache.releaseBefore(id, position);
        model.first = std::max(model.first, position / 4 * 4);
        break;
      }
      }
      // Every block is free or counted, and has as many owners as tables say.
      std::map<int32_t, int> owners;
      ASSERT_EQ(cache.sequenceIds().size(), models.size());
      for (auto &[each, model] : models) {
        ASSERT_EQ(cache.firstPosition(each), model.first);
        const std::vector<int32_t> &table = cache.blockTable(each);
        for (size_t i = 0; i < table.size(); ++i) {
          ASSERT_EQ(table[i] < 0, int64_t(i) < model.first / 4);
          if (table[i] >= 0)
            ++owners[table[i]];
        }
        for (int64_t layer : {0, 1})
          ASSERT_EQ(cache.length(each, layer), lengthOf(model, layer));
      }
      for (auto [block, count] : owners)
        ASSERT_EQ(cache.useCount(block), count);
      PagedKVCacheStats stats = cache.stats();
      ASSERT_EQ(stats.usedBlocks, int64_t(owners.size()));
      ASSERT_EQ(stats.usedBlocks + stats.freeBlocks, 24);
      ASSERT_EQ(stats.usedBytes, stats.usedBlocks * stats.bytes / 24);
      // What one does leaves the others as they are.
      if (step % 10 == 0)
        for (auto &[each, model] : models)
          for (int64_t layer : {0, 1}) {
            Rows found = readAll(cache, each, layer, model.first);
            const Rows &whole = model.layers[layer];
            auto begin = whole.keys.begin() + model.first * row;
            ASSERT_EQ(found.keys, std::vector<float>(begin, whole.keys.end()));
            begin = whole.values.begin() + model.first * row;
            ASSERT_EQ(found.values,
                      std::vector<float>(begin, whole.values.end()));
          }
    }
    EXPECT_GT(refused, 100);
    EXPECT_GT(appended, 100);
    for (int64_t id : cache.sequenceIds())
      cache.free(id);
    EXPECT_EQ(cache.stats().freeBlocks, 24);
  }
}
