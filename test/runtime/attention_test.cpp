// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Paged attention of every dispatch level against float64 over random block
// tables, and against itself: a row's result is the same bits in decode and
// prefill, in any batch, for any number of threads.
#include "test_support.h"

#include "llmir/runtime/kv_cache.h"

#include <algorithm>
#include <cmath>
#include <numeric>

using namespace llmir::runtime;
using namespace llmir::runtime::test;

namespace {

struct Shape {
  int64_t heads, kvHeads, headDim, blockSize;
  llmir_dtype cacheType = LLMIR_F32;
};

/// Sequences with their keys, values and queries for every position, and the
/// blocks they lie in.
struct Problem {
  Problem(Shape shape, std::vector<int64_t> lengths, uint64_t seed,
          llmir_dtype kvType = LLMIR_F32)
      : shape(shape), lengths(lengths), table(LLMIR_I32, {0}) {
    std::mt19937_64 random(seed);
    int64_t most = 0, blocks = 3;
    for (int64_t length : lengths) {
      int64_t d = shape.headDim;
      keys.push_back(Tensor(kvType, {length, shape.kvHeads, d}));
      values.push_back(Tensor(kvType, {length, shape.kvHeads, d}));
      queries.push_back(Tensor(LLMIR_F32, {length, shape.heads, d}));
      keys.back().randomize(random);
      values.back().randomize(random);
      queries.back().randomize(random, 2);
      int64_t needed = (length + shape.blockSize - 1) / shape.blockSize;
      most = std::max(most, needed);
      blocks += needed;
    }
    KVCacheConfig config;
    config.dtype = shape.cacheType;
    config.layers = 2;
    config.kvHeads = shape.kvHeads;
    config.headDim = shape.headDim;
    config.blockSize = shape.blockSize;
    config.numBlocks = blocks;
    cache = std::make_unique<PagedKVCache>(config);
    std::vector<int32_t> order(blocks);
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), random);
    width = most;
    // An entry that is not part of a context must not be followed.
    table = Tensor(LLMIR_I32, {int64_t(lengths.size()), width});
    std::fill_n(table.data<int32_t>(), table.count(), 1 << 30);
    size_t next = 0;
    for (size_t s = 0; s < lengths.size(); ++s)
      for (int64_t b = 0; b * shape.blockSize < lengths[s]; ++b)
        table.data<int32_t>()[s * width + b] = order[next++];
  }

  int64_t slot(size_t s, int64_t position) {
    return table.data<int32_t>()[s * width + position / shape.blockSize] *
               shape.blockSize +
           position % shape.blockSize;
  }

  void append(Context &context, size_t s, int64_t begin, int64_t end) {
    Tensor slots(LLMIR_I32, {end - begin});
    for (int64_t p = begin; p < end; ++p)
      slots.data<int32_t>()[p - begin] = int32_t(slot(s, p));
    llmir_tensor k = keys[s].view(begin, end), v = values[s].view(begin, end);
    llmir_tensor at = slots.view();
    const llmir_runtime &runtime = context.runtime();
    runtime.append_kv(runtime.context, cache->handle(), layer, &k, &v, &at);
  }

  struct Part {
    size_t sequence;
    int64_t begin, end;
  };

  /// Attention of some rows of some sequences, whose context is appended.
  Tensor attend(Context &context, const std::vector<Part> &parts,
                llmir_dtype outType = LLMIR_F32) {
    int64_t rows = 0, count = parts.size();
    Tensor starts(LLMIR_I32, {count + 1}), lens(LLMIR_I32, {count});
    Tensor tables(LLMIR_I32, {count, width});
    for (int64_t i = 0; i < count; ++i) {
      starts.data<int32_t>()[i] = int32_t(rows);
      lens.data<int32_t>()[i] = int32_t(parts[i].end);
      std::copy_n(table.data<int32_t>() + parts[i].sequence * width, width,
                  tables.data<int32_t>() + i * width);
      rows += parts[i].end - parts[i].begin;
    }
    starts.data<int32_t>()[count] = int32_t(rows);
    Tensor query(LLMIR_F32, {rows, shape.heads, shape.headDim});
    Tensor out(outType, {rows, shape.heads, shape.headDim});
    int64_t rowSize = shape.heads * shape.headDim, row = 0;
    for (const Part &part : parts)
      for (int64_t p = part.begin; p < part.end; ++p, ++row)
        std::copy_n(queries[part.sequence].data<float>() + p * rowSize, rowSize,
                    query.data<float>() + row * rowSize);
    llmir_tensor q = query.view(), t = tables.view(), l = lens.view();
    llmir_tensor r = starts.view(), o = out.view();
    const llmir_runtime &runtime = context.runtime();
    runtime.paged_attention(runtime.context, cache->handle(), layer, &q, &t, &l,
                            &r, scale(), &o);
    return out;
  }

  float scale() const { return 1 / std::sqrt(float(shape.headDim)); }

  double stored(const Tensor &tensor, int64_t i) const {
    float value = tensor.at(i);
    return shape.cacheType == LLMIR_BF16 ? fromBF16(toBF16(value)) : value;
  }

  /// Row `position` of sequence s in float64.
  std::vector<double> oracle(size_t s, int64_t position) const {
    int64_t d = shape.headDim, group = shape.heads / shape.kvHeads;
    std::vector<double> result;
    for (int64_t h = 0; h < shape.heads; ++h) {
      std::vector<double> scores(position + 1);
      for (int64_t p = 0; p <= position; ++p)
        for (int64_t i = 0; i < d; ++i)
          scores[p] += double(scale()) *
                       queries[s].at((position * shape.heads + h) * d + i) *
                       stored(keys[s], (p * shape.kvHeads + h / group) * d + i);
      double most = *std::max_element(scores.begin(), scores.end()), sum = 0;
      for (double &score : scores)
        sum += score = std::exp(score - most);
      for (int64_t i = 0; i < d; ++i) {
        double value = 0;
        for (int64_t p = 0; p <= position; ++p)
          value += scores[p] / sum *
                   stored(values[s], (p * shape.kvHeads + h / group) * d + i);
        result.push_back(value);
      }
    }
    return result;
  }

  Shape shape;
  std::vector<int64_t> lengths;
  std::vector<Tensor> keys, values, queries;
  Tensor table;
  int64_t width = 0, layer = 1;
  std::unique_ptr<PagedKVCache> cache;
};

class AttentionTest : public ::testing::TestWithParam<CpuLevel> {};

const Shape shapes[] = {{1, 1, 1, 1, LLMIR_F32},    {4, 4, 12, 16, LLMIR_F32},
                        {6, 2, 32, 8, LLMIR_BF16},  {8, 1, 64, 16, LLMIR_BF16},
                        {7, 1, 48, 32, LLMIR_F32},  {9, 3, 64, 16, LLMIR_BF16},
                        {4, 2, 128, 64, LLMIR_F32}, {2, 2, 20, 2, LLMIR_BF16},
                        {40, 1, 16, 128, LLMIR_F32}};

} // namespace

TEST_P(AttentionTest, MatchesFloat64) {
  Context context(2, GetParam());
  for (const Shape &shape : shapes)
    for (llmir_dtype outType : {LLMIR_F32, LLMIR_BF16}) {
      Problem problem(shape, {1, 63, 64, 65, 200, 1100}, 1);
      for (size_t s = 0; s < problem.lengths.size(); ++s)
        problem.append(context, s, 0, problem.lengths[s]);
      // Chunks of prefill and single tokens of decode, mixed.
      std::vector<Problem::Part> parts = {{3, 0, 65},  {0, 0, 1},
                                          {2, 63, 64}, {4, 130, 200},
                                          {1, 10, 63}, {5, 1095, 1100}};
      Tensor out = problem.attend(context, parts, outType);
      int64_t at = 0;
      for (const Problem::Part &part : parts)
        for (int64_t p = part.begin; p < part.end; ++p)
          for (double expected : problem.oracle(part.sequence, p)) {
            double allowed = 5e-6 + std::abs(expected) *
                                        (outType == LLMIR_BF16 ? 0x1p-8 : 4e-6);
            ASSERT_NEAR(out.at(at++), expected, allowed)
                << "sequence " << part.sequence << " position " << p
                << " head_dim " << shape.headDim;
          }
    }
}

TEST_P(AttentionTest, RowIsTheSameInAnyCompany) {
  for (const Shape &shape : shapes) {
    Problem problem(shape, {700, 130, 1}, 2);
    Context one(1, GetParam());
    // Decode: each token is appended and then attends.
    std::vector<std::vector<char>> expected(problem.lengths.size());
    for (size_t s = 0; s < problem.lengths.size(); ++s)
      for (int64_t p = 0; p < problem.lengths[s]; ++p) {
        problem.append(one, s, p, p + 1);
        Tensor row = problem.attend(one, {{s, p, p + 1}});
        expected[s].insert(expected[s].end(), row.bytes.begin(),
                           row.bytes.end());
      }
    for (unsigned threads : {1u, 2u, 5u}) {
      Context context(threads, GetParam());
      for (int64_t chunk : {7, 64, 100, 700}) {
        std::vector<std::vector<char>> found(problem.lengths.size());
        for (int64_t begin = 0; begin < 700; begin += chunk) {
          std::vector<Problem::Part> parts;
          for (size_t s = 0; s < problem.lengths.size(); ++s)
            if (begin < problem.lengths[s])
              parts.push_back(
                  {s, begin, std::min(begin + chunk, problem.lengths[s])});
          Tensor rows = problem.attend(context, parts);
          const char *from = rows.bytes.data();
          for (const Problem::Part &part : parts) {
            int64_t bytes =
                (part.end - part.begin) * shape.heads * shape.headDim * 4;
            found[part.sequence].insert(found[part.sequence].end(), from,
                                        from + bytes);
            from += bytes;
          }
        }
        ASSERT_EQ(found, expected)
            << threads << " threads, " << chunk << " rows at once, head_dim "
            << shape.headDim;
      }
    }
  }
}

TEST_P(AttentionTest, IgnoresWhatIsNotInTheContext) {
  Shape shape{4, 2, 32, 16, LLMIR_F32};
  Problem problem(shape, {90}, 3);
  Context context(1, GetParam());
  problem.append(context, 0, 0, 90);
  Tensor expected = problem.attend(context, {{0, 30, 71}});
  for (int64_t i = 71 * 64; i < 90 * 64; ++i) {
    problem.keys[0].set(i, NAN);
    problem.values[0].set(i, NAN);
  }
  problem.append(context, 0, 71, 90);
  EXPECT_EQ(problem.attend(context, {{0, 30, 71}}).bytes, expected.bytes);
  // Nor does a row see the rows after it.
  Tensor all = problem.attend(context, {{0, 30, 90}});
  EXPECT_TRUE(std::equal(expected.bytes.begin(), expected.bytes.end(),
                         all.bytes.begin()));
  EXPECT_TRUE(std::isnan(all.at(all.count() - 1)));
}

TEST_P(AttentionTest, RoundsKeysAndValuesOnce) {
  // f32 keys in a bf16 cache are the same as keys rounded before.
  Shape shape{2, 1, 24, 16, LLMIR_BF16};
  Problem wide(shape, {100}, 4), narrow(shape, {100}, 4, LLMIR_BF16);
  Context context(2, GetParam());
  wide.append(context, 0, 0, 100);
  narrow.append(context, 0, 0, 100);
  EXPECT_EQ(wide.attend(context, {{0, 0, 100}}).bytes,
            narrow.attend(context, {{0, 0, 100}}).bytes);
}

TEST_P(AttentionTest, SequencesWithoutNewTokens) {
  // Nothing beyond the arrays is read for them (run this with AddressSanitizer
  // too), and they change nothing for the others.
  for (const Shape &shape : shapes) {
    Problem problem(shape, {1, 90, 600}, 6);
    for (unsigned threads : {1u, 3u}) {
      Context context(threads, GetParam());
      for (size_t s = 0; s < problem.lengths.size(); ++s)
        problem.append(context, s, 0, problem.lengths[s]);
      // No tokens to append: the arrays are empty.
      problem.append(context, 1, 90, 90);
      Tensor expected = problem.attend(context, {{1, 60, 90}, {2, 599, 600}});
      // First, between, twice in a row, last; with a context and without one.
      Tensor out = problem.attend(context, {{0, 1, 1},
                                            {1, 60, 90},
                                            {0, 0, 0},
                                            {1, 90, 90},
                                            {2, 599, 600},
                                            {2, 600, 600}});
      EXPECT_EQ(out.bytes, expected.bytes);
      EXPECT_TRUE(
          problem.attend(context, {{2, 600, 600}, {0, 0, 0}}).bytes.empty());
      EXPECT_TRUE(problem.attend(context, {}).bytes.empty());
    }
  }
}

TEST_P(AttentionTest, ExtremeScores) {
  Shape shape{1, 1, 16, 16, LLMIR_F32};
  Problem problem(shape, {200}, 5);
  for (int64_t i = 0; i < problem.queries[0].count(); ++i)
    problem.queries[0].set(i, problem.queries[0].at(i) * 200);
  Context context(1, GetParam());
  problem.append(context, 0, 0, 200);
  Tensor out = problem.attend(context, {{0, 199, 200}});
  std::vector<double> expected = problem.oracle(0, 199);
  for (int64_t i = 0; i < 16; ++i)
    EXPECT_NEAR(out.at(i), expected[i], 1e-3);
}

INSTANTIATE_TEST_SUITE_P(Levels, AttentionTest,
                         ::testing::ValuesIn(testedLevels()),
                         [](const auto &info) {
                           return levelLabel(info.param);
                         });
