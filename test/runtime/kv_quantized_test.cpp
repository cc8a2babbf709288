// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What appends leave in a cache of integers: read back as kernels.h says that
// it lies there, every integer, scale and zero point is what llm.quantize
// defines.
#include "test_support.h"

#include "kernels/kernels.h"
#include "llmir/runtime/kv_cache.h"

#include <algorithm>
#include <numeric>

using namespace llmir::runtime;
using namespace llmir::runtime::test;

namespace {

struct Shape {
  int64_t kvHeads, headDim, blockSize;
};

const Shape shapes[] = {{1, 1, 16},   {2, 64, 16}, {3, 37, 32}, {1, 130, 64},
                        {2, 16, 128}, {1, 48, 1},  {2, 21, 2},  {1, 300, 4},
                        {2, 33, 8},   {1, 513, 16}};

/// The place of one head's keys or values, and of one position in them.
class Stored {
public:
  Stored(const llmir_kv_cache &cache, int64_t layer, int64_t slot, int64_t head,
         bool isKey)
      : cache(cache), isKey(isKey), isInt4(cache.dtype == LLMIR_I4),
        inside(slot % cache.blockSize) {
    base = reinterpret_cast<const uint8_t *>(cache.pool) +
           layer * cache.layerBytes +
           slot / cache.blockSize * cache.blockBytes + head * cache.headBytes;
    rows = std::min<int64_t>(cache.blockSize, 16);
    record =
        base + cache.scalesOffset + inside / rows * rows * (isInt4 ? 6 : 4);
  }

  double scale() const {
    uint16_t half;
    std::memcpy(&half, record + ((isKey ? 0 : rows) + inside % rows) * 2, 2);
    return fromF16(half);
  }
  /// Signed, as llm.quantize has it.
  int zero() const {
    return isInt4 ? record[(isKey ? 4 : 5) * rows + inside % rows] - 8 : 0;
  }
  int integer(int64_t i) const {
    const uint8_t *from = base + (isKey ? 0 : cache.valuesOffset);
    int64_t d = cache.headDim;
    auto up = [](int64_t n, int64_t to) { return (n + to - 1) / to * to; };
    if (cache.blockSize < 16) {
      if (!isInt4)
        return signedOf(from[inside * (isKey ? up(d, 4) : up(d, 16)) + i]);
      int64_t bytes = isKey ? up(d, 8) / 2 : up(d, 32) / 2;
      return (from[inside * bytes + i / 2] >> i % 2 * 4 & 15) - 8;
    }
    int64_t lane = inside % 16, tile = inside / 16;
    // Of four numbers for each of 16 lanes, in a line.
    auto place = [](int64_t lane, int64_t number) {
      return lane / 4 * 16 + number / 2 * 8 + lane % 4 * 2 + number % 2;
    };
    if (!isInt4 && isKey)
      return signedOf(
          from[(tile * (up(d, 4) / 4) + i / 4) * 64 + place(lane, i % 4)]);
    if (!isInt4)
      return signedOf(from[(inside / 4 * (up(d, 16) / 16) + i / 16) * 64 +
                           place(i % 16, inside % 4)]);
    uint32_t word;
    if (isKey) {
      static constexpr int shifts[] = {0, 16, 4, 20, 8, 24, 12, 28};
      std::memcpy(&word,
                  from + ((tile * (up(d, 8) / 8) + i / 8) * 16 + lane) * 4, 4);
      return int(word >> shifts[i % 8] & 15) - 8;
    }
    static constexpr int bytes[] = {0, 2, 1, 3};
    std::memcpy(
        &word,
        from + ((inside / 4 * (up(d, 32) / 32) + i / 32) * 16 + i % 16) * 4, 4);
    int64_t shift = int64_t(bytes[inside % 4]) * 8 + i % 32 / 16 * 4;
    return int(word >> shift & 15) - 8;
  }

private:
  static int signedOf(uint8_t stored) {
    return stored < 128 ? stored : 128 - stored;
  }

  const llmir_kv_cache &cache;
  bool isKey, isInt4;
  int64_t inside, rows;
  const uint8_t *base, *record;
};

/// Heads that are hard to quantize: of one sign, constant, zero, tiny, large,
/// not finite.
void makeAwkward(Tensor &tensor, int64_t headDim) {
  int64_t heads = tensor.count() / headDim;
  for (int64_t h = 0; h < heads; ++h)
    for (int64_t i = 0; i < headDim; ++i) {
      int64_t at = h * headDim + i;
      float x = tensor.at(at);
      switch (h % 11) {
      case 1:
        x = std::abs(x) + 3;
        break;
      case 2:
        x = -std::abs(x) - 3;
        break;
      case 3:
        x = 0.7f;
        break;
      case 4:
        x = 0;
        break;
      case 5:
        x *= 1e-9f;
        break;
      case 6:
        x *= 1e12f;
        break;
      case 7:
        x = i == headDim / 2 ? NAN : x;
        break;
      case 8:
        x *= 3e-5f;
        break;
      case 9: // Halves, which are rounded to even.
        x = i == 0 ? 127 : float(i % 40) / 2 - 10;
        break;
      default: // As they come.
        break;
      }
      tensor.set(at, x);
    }
}

class KVQuantizedTest : public ::testing::TestWithParam<CpuLevel> {};

} // namespace

TEST_P(KVQuantizedTest, AppendsWhatQuantizeDefines) {
  std::mt19937_64 random(5);
  for (const Shape &shape : shapes)
    for (llmir_dtype dtype : {LLMIR_I8, LLMIR_I4}) {
      int64_t tokens = 150, blocks = 2 * tokens / shape.blockSize + 3;
      KVPool cache({dtype, /*layers=*/2, shape.kvHeads, shape.headDim,
                    shape.blockSize, blocks});
      Tensor keys(LLMIR_F32, {tokens, shape.kvHeads, shape.headDim});
      Tensor values = keys, slots(LLMIR_I32, {tokens});
      makeAwkward(keys.randomize(random), shape.headDim);
      makeAwkward(values.randomize(random, 4), shape.headDim);
      std::vector<int32_t> order(blocks * shape.blockSize);
      std::iota(order.begin(), order.end(), 0);
      std::shuffle(order.begin(), order.end(), random);
      std::copy_n(order.begin(), tokens, slots.data<int32_t>());

      Context context(3, GetParam());
      llmir_tensor k = keys.view(), v = values.view(), at = slots.view();
      // Neighbours of a block, written by any thread and in several calls.
      for (int64_t begin : {0, 1, 2}) {
        auto part = [&](llmir_tensor whole, int64_t elementBytes) {
          int64_t size = tokens / 3;
          whole.data = static_cast<char *>(whole.data) +
                       begin * size * whole.strides[0] * elementBytes;
          whole.sizes[0] = size;
          return whole;
        };
        llmir_tensor keyPart = part(k, 4), valuePart = part(v, 4);
        llmir_tensor slotPart = part(at, 4);
        context.runtime().append_kv(context.runtime().context, cache.handle(),
                                    1, &keyPart, &valuePart, &slotPart);
      }
      for (int64_t t = 0; t < tokens; ++t)
        for (int64_t h = 0; h < shape.kvHeads; ++h)
          for (bool isKey : {true, false}) {
            const Tensor &source = isKey ? keys : values;
            const float *x =
                source.data<float>() + (t * shape.kvHeads + h) * shape.headDim;
            QuantizedHead expected(dtype, x, shape.headDim);
            Stored found(*cache.handle(), 1, slots.data<int32_t>()[t], h,
                         isKey);
            std::string where = "token " + std::to_string(t) + " head " +
                                std::to_string(h) + " of " +
                                std::to_string(shape.headDim) +
                                (isKey ? " keys" : " values");
            ASSERT_EQ(found.zero(), expected.zero) << where;
            if (std::isnan(expected.scale))
              ASSERT_TRUE(std::isnan(found.scale())) << where;
            else
              ASSERT_EQ(found.scale(), expected.scale) << where;
            for (int64_t i = 0; i < shape.headDim; ++i)
              ASSERT_EQ(found.integer(i), expected.integers[i])
                  << where << " number " << i << ", " << x[i];
          }
    }
}

TEST_P(KVQuantizedTest, ThreadsWriteNeighbours) {
  // Positions of one block, by many threads at once: run this with
  // ThreadSanitizer too. The smallest pieces that an append is cut into are
  // tokens, and neighbours may share a word.
  for (llmir_dtype dtype : {LLMIR_I8, LLMIR_I4}) {
    int64_t tokens = 4096, d = 64;
    Tensor keys(LLMIR_F32, {tokens, 1, d}), slots(LLMIR_I32, {tokens});
    std::mt19937_64 random(6);
    keys.randomize(random);
    std::vector<std::vector<char>> pools;
    for (unsigned threads : {1u, 4u}) {
      KVPool cache({dtype, 1, 1, d, 16, tokens / 16});
      // Thread by thread, each writes every fourth position.
      for (int64_t t = 0; t < tokens; ++t)
        slots.data<int32_t>()[t] =
            int32_t(t % (tokens / 4) * 4 + t / (tokens / 4));
      Context context(threads, GetParam());
      llmir_tensor k = keys.view(), at = slots.view();
      context.runtime().append_kv(context.runtime().context, cache.handle(), 0,
                                  &k, &k, &at);
      const llmir_kv_cache &handle = *cache.handle();
      pools.emplace_back(handle.pool, handle.pool + handle.poolBytes);
    }
    EXPECT_EQ(pools[0], pools[1]);
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, KVQuantizedTest,
                         ::testing::ValuesIn(testedLevels()),
                         [](const auto &info) {
                           return levelLabel(info.param);
                         });
