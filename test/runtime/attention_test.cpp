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
#include <tuple>

using namespace llmir::runtime;
using namespace llmir::runtime::test;

namespace {

struct Shape {
  int64_t heads, kvHeads, headDim, blockSize;
  llmir_dtype cacheType = LLMIR_F32;
  llmir_dtype queryType = LLMIR_F32; ///< What queries are rounded to.
};

/// An element of the output in float64. The kernels round the exponentials of a
/// bf16 cache's scores to bf16, the softmax's sum of them included, and those
/// of a cache of integers with the values' scales: that may move the result by
/// 2^-8 of what the values weigh.
struct Expected {
  double value;
  double weighed; ///< The sum of weight * |value|.

  double rounding(llmir_dtype cacheType) const {
    bool rounds = cacheType == LLMIR_BF16 || cacheType == LLMIR_I8 ||
                  cacheType == LLMIR_I4;
    return rounds ? 0x1p-8 * weighed : 0;
  }
};

/// What is added to plain attention.
struct Variant {
  int64_t window = 0;
  float softcap = 0;
  bool sinks = false, alibi = false;
};

std::ostream &operator<<(std::ostream &stream, const Variant &variant) {
  return stream << "window " << variant.window << " softcap " << variant.softcap
                << (variant.sinks ? " sinks" : "")
                << (variant.alibi ? " alibi" : "");
}

/// Sequences with their keys, values and queries for every position, and the
/// blocks they lie in.
struct Problem {
  Problem(Shape shape, std::vector<int64_t> lengths, uint64_t seed,
          llmir_dtype kvType = LLMIR_F32, Variant variant = {})
      : shape(shape), variant(variant), lengths(lengths), table(LLMIR_I32, {0}),
        sinks(LLMIR_F32, {shape.heads}), slopes(LLMIR_F32, {shape.heads}) {
    std::mt19937_64 random(seed);
    sinks.randomize(random, 2);
    // Nearer keys count more, as slopes have it.
    for (int64_t h = 0; h < shape.heads; ++h)
      slopes.set(h, std::exp2(-8.0f * (h + 1) / shape.heads));
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
    cache = std::make_unique<KVPool>(config);
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
    llmir_tensor sinkView = sinks.view(), slopeView = slopes.view();
    llmir_attention_params params = {scale(),
                                     variant.softcap,
                                     variant.window,
                                     variant.sinks ? &sinkView : nullptr,
                                     variant.alibi ? &slopeView : nullptr,
                                     nullptr,
                                     shape.queryType,
                                     1};
    runtime.paged_attention(runtime.context, cache->handle(), layer, &q, &t, &l,
                            &r, &params, &o);
    return out;
  }

  float scale() const { return 1 / std::sqrt(float(shape.headDim)); }

  /// Keys or values as the cache has them.
  std::vector<double> inCache(const Tensor &tensor) const {
    std::vector<double> result = tensor.values();
    if (shape.cacheType == LLMIR_I8 || shape.cacheType == LLMIR_I4) {
      int64_t d = shape.headDim;
      for (size_t at = 0; at < result.size(); at += d) {
        std::vector<float> head(result.begin() + at, result.begin() + at + d);
        QuantizedHead quantized(shape.cacheType, head.data(), d);
        for (int64_t i = 0; i < d; ++i)
          result[at + i] = quantized.value(i);
      }
      return result;
    }
    for (double &value : result)
      value = stored(shape.cacheType, float(value));
    return result;
  }

  /// Row `position` of sequence s in float64.
  std::vector<Expected> oracle(size_t s, int64_t position) const {
    return oracle(s, position, inCache(keys[s]), inCache(values[s]));
  }
  std::vector<Expected> oracle(size_t s, int64_t position,
                               const std::vector<double> &k,
                               const std::vector<double> &v) const {
    int64_t d = shape.headDim, group = shape.heads / shape.kvHeads;
    int64_t low = 0;
    if (variant.window)
      low = std::max<int64_t>(0, position - variant.window + 1);
    std::vector<Expected> result;
    for (int64_t h = 0; h < shape.heads; ++h) {
      std::vector<double> scores, query(d);
      for (int64_t i = 0; i < d; ++i)
        query[i] = double(scale()) *
                   stored(shape.queryType,
                          queries[s].at((position * shape.heads + h) * d + i));
      for (int64_t p = low; p <= position; ++p) {
        const double *key = &k[(p * shape.kvHeads + h / group) * d];
        double score = 0;
        for (int64_t i = 0; i < d; ++i)
          score += query[i] * key[i];
        if (variant.softcap != 0)
          score = variant.softcap * std::tanh(score / variant.softcap);
        if (variant.alibi)
          score += double(slopes.at(h)) * double(p - position);
        scores.push_back(score);
      }
      double most = *std::max_element(scores.begin(), scores.end()), sum = 0;
      if (variant.sinks) {
        most = std::max(most, double(sinks.at(h)));
        sum = std::exp(sinks.at(h) - most);
      }
      for (double &score : scores)
        sum += score = std::exp(score - most);
      std::vector<Expected> row(d);
      for (int64_t p = low; p <= position; ++p) {
        double weight = scores[p - low] / sum;
        const double *value = &v[(p * shape.kvHeads + h / group) * d];
        for (int64_t i = 0; i < d; ++i) {
          row[i].value += weight * value[i];
          row[i].weighed += weight * std::abs(value[i]);
        }
      }
      result.insert(result.end(), row.begin(), row.end());
    }
    return result;
  }

  Shape shape;
  Variant variant;
  std::vector<int64_t> lengths;
  std::vector<Tensor> keys, values, queries;
  Tensor table, sinks, slopes;
  int64_t width = 0, layer = 1;
  std::unique_ptr<KVPool> cache;
};

class AttentionTest : public ::testing::TestWithParam<CpuLevel> {};

const Shape shapes[] = {{1, 1, 1, 1, LLMIR_F32},
                        {4, 4, 12, 16, LLMIR_F32},
                        {6, 2, 32, 8, LLMIR_BF16},
                        {8, 1, 64, 16, LLMIR_BF16},
                        {7, 1, 48, 32, LLMIR_F32},
                        {9, 3, 64, 16, LLMIR_BF16, LLMIR_BF16},
                        {14, 2, 70, 32, LLMIR_BF16, LLMIR_BF16},
                        {3, 1, 34, 4, LLMIR_BF16, LLMIR_BF16},
                        {2, 2, 32, 16, LLMIR_F16, LLMIR_BF16},
                        {4, 2, 128, 64, LLMIR_F32},
                        {2, 2, 20, 2, LLMIR_BF16},
                        {40, 1, 16, 128, LLMIR_F32},
                        {6, 2, 60, 16, LLMIR_F16},
                        {3, 3, 80, 32, LLMIR_F16},
                        {4, 1, 96, 4, LLMIR_F16},
                        {5, 1, 256, 16, LLMIR_F16},
                        {8, 2, 64, 16, LLMIR_I8},
                        {8, 2, 64, 16, LLMIR_I8, LLMIR_BF16},
                        {7, 1, 64, 32, LLMIR_I4},
                        {6, 2, 37, 16, LLMIR_I8},
                        {3, 3, 37, 64, LLMIR_I4, LLMIR_BF16},
                        {2, 1, 20, 8, LLMIR_I8, LLMIR_BF16},
                        {4, 2, 21, 4, LLMIR_I4},
                        {2, 2, 80, 1, LLMIR_I4},
                        {1, 1, 1, 16, LLMIR_I8},
                        {1, 1, 1, 16, LLMIR_I4},
                        {9, 1, 130, 64, LLMIR_I8},
                        {5, 1, 300, 16, LLMIR_I4, LLMIR_BF16},
                        {4, 1, 48, 2, LLMIR_I8}};

/// Every combination, with windows smaller and larger than a block, a chunk of
/// the kernel, a partition and the context.
std::vector<Variant> variants() {
  std::vector<Variant> result;
  for (int64_t window : {0, 1, 5, 16, 33, 64, 100, 512, 700, 1 << 30})
    for (float softcap : {0.0f, 3.0f})
      for (bool sinks : {false, true})
        for (bool alibi : {false, true})
          result.push_back({window, softcap, sinks, alibi});
  return result;
}

void expectOracle(Problem &problem, const std::vector<Problem::Part> &parts,
                  const Tensor &out) {
  int64_t at = 0;
  for (const Problem::Part &part : parts) {
    std::vector<double> keys = problem.inCache(problem.keys[part.sequence]);
    std::vector<double> values = problem.inCache(problem.values[part.sequence]);
    for (int64_t p = part.begin; p < part.end; ++p)
      for (const Expected &expected :
           problem.oracle(part.sequence, p, keys, values)) {
        double allowed =
            5e-6 + std::abs(expected.value) * (4e-6 + roundingOf(out.dtype)) +
            expected.rounding(problem.shape.cacheType);
        ASSERT_NEAR(out.at(at++), expected.value, allowed)
            << "sequence " << part.sequence << " position " << p << " head_dim "
            << problem.shape.headDim << " " << problem.variant;
      }
  }
}

void expectSameInAnyCompany(const Shape &shape, Variant variant,
                            CpuLevel level) {
  Problem problem(shape, {700, 130, 1}, 2, LLMIR_F32, variant);
  Context one(1, level);
  // Decode: each token is appended and then attends.
  std::vector<std::vector<char>> expected(problem.lengths.size());
  for (size_t s = 0; s < problem.lengths.size(); ++s)
    for (int64_t p = 0; p < problem.lengths[s]; ++p) {
      problem.append(one, s, p, p + 1);
      Tensor row = problem.attend(one, {{s, p, p + 1}});
      expected[s].insert(expected[s].end(), row.bytes.begin(), row.bytes.end());
    }
  for (unsigned threads : {1u, 2u, 5u}) {
    Context context(threads, level);
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
          << shape.headDim << " " << variant;
    }
  }
}

} // namespace

TEST_P(AttentionTest, MatchesFloat64) {
  Context context(2, GetParam());
  for (const Shape &shape : shapes)
    for (llmir_dtype outType : floatTypes) {
      Problem problem(shape, {1, 63, 64, 65, 200, 1100}, 1);
      for (size_t s = 0; s < problem.lengths.size(); ++s)
        problem.append(context, s, 0, problem.lengths[s]);
      // Chunks of prefill and single tokens of decode, mixed.
      std::vector<Problem::Part> parts = {{3, 0, 65},  {0, 0, 1},
                                          {2, 63, 64}, {4, 130, 200},
                                          {1, 10, 63}, {5, 1095, 1100}};
      expectOracle(problem, parts, problem.attend(context, parts, outType));
    }
}

TEST_P(AttentionTest, VariantsMatchFloat64) {
  Context context(2, GetParam());
  size_t next = 0;
  for (const Variant &variant : variants()) {
    const Shape &shape = shapes[next++ % std::size(shapes)];
    Problem problem(shape, {1, 64, 150, 1300}, next, LLMIR_F32, variant);
    for (size_t s = 0; s < problem.lengths.size(); ++s)
      problem.append(context, s, 0, problem.lengths[s]);
    std::vector<Problem::Part> parts = {
        {0, 0, 1}, {2, 60, 150}, {1, 63, 64}, {3, 1020, 1030}, {3, 1299, 1300}};
    expectOracle(problem, parts, problem.attend(context, parts));
  }
}

TEST_P(AttentionTest, RowIsTheSameInAnyCompany) {
  for (const Shape &shape : shapes)
    expectSameInAnyCompany(shape, {}, GetParam());
}

TEST_P(AttentionTest, RowIsTheSameInAnyCompanyWithVariants) {
  for (Variant variant :
       {Variant{1}, Variant{20, 0, true}, Variant{64, 3, false, true},
        Variant{90, 0, true, true}, Variant{513, 3, true, true},
        Variant{0, 3, true, true}})
    for (const Shape &shape :
         {Shape{6, 2, 20, 16, LLMIR_F16}, Shape{7, 1, 16, 8, LLMIR_BF16},
          Shape{4, 1, 32, 16, LLMIR_BF16, LLMIR_BF16},
          Shape{8, 2, 20, 32, LLMIR_I8, LLMIR_BF16},
          Shape{6, 1, 24, 16, LLMIR_I4}})
      expectSameInAnyCompany(shape, variant, GetParam());
}

TEST_P(AttentionTest, TouchesNoBlockBeforeTheWindow) {
  // Such blocks may be someone else's already, or the entry may be nothing.
  std::tuple<int64_t, int64_t, llmir_dtype> cases[] = {
      {2, 1, LLMIR_F16},     {2, 300, LLMIR_BF16}, {16, 40, LLMIR_F16},
      {16, 300, LLMIR_BF16}, {32, 64, LLMIR_F16},  {128, 300, LLMIR_BF16},
      {2, 40, LLMIR_I8},     {16, 64, LLMIR_I8},   {32, 40, LLMIR_I8},
      {2, 41, LLMIR_I4},     {16, 300, LLMIR_I4},  {128, 41, LLMIR_I4}};
  for (auto [blockSize, window, cacheType] : cases) {
    Shape shape{4, 2, 16, blockSize, cacheType};
    Problem problem(shape, {900}, 8, LLMIR_F32, {window});
    Context context(2, GetParam());
    problem.append(context, 0, 0, 900);
    std::vector<Problem::Part> parts = {{0, 800, 900}};
    Tensor expected = problem.attend(context, parts);
    int64_t low = 800 - window + 1;
    // In the window's first block, what comes before it is not looked at.
    for (int64_t p = low / blockSize * blockSize; p < low; ++p)
      for (int64_t i = 0; i < 32; ++i) {
        problem.keys[0].set(p * 32 + i, NAN);
        problem.values[0].set(p * 32 + i, NAN);
      }
    problem.append(context, 0, low / blockSize * blockSize, low);
    std::fill_n(problem.table.data<int32_t>(), low / blockSize, 1 << 30);
    EXPECT_EQ(problem.attend(context, parts).bytes, expected.bytes)
        << "block_size " << blockSize << " window " << window;
    // And the first position that it sees is.
    problem.keys[0].set(low * 32, NAN);
    problem.append(context, 0, low, low + 1);
    EXPECT_TRUE(std::isnan(problem.attend(context, parts).at(0)));
  }
}

TEST_P(AttentionTest, CapsScoresClosely) {
  // One key of value 1 and one of value 0: the output tells the difference of
  // their scores, which are softcap * tanh(x) and 0.
  Shape shape{1, 1, 1, 16, LLMIR_F32};
  Context context(1, GetParam());
  double worst = 0;
  for (int step = -400; step <= 400; ++step) {
    float x = step / 40.0f;
    Problem problem(shape, {2}, 9, LLMIR_F32, {0, 1});
    problem.keys[0].set(0, x);
    problem.keys[0].set(1, 0);
    problem.values[0].set(0, 1);
    problem.values[0].set(1, 0);
    problem.queries[0].set(1, 1);
    problem.append(context, 0, 0, 2);
    double share = problem.attend(context, {{0, 1, 2}}).at(0);
    double score = std::log(share / (1 - share));
    worst = std::max(worst, std::abs(score - std::tanh(double(x))));
  }
  EXPECT_LT(worst, 1e-6);
}

TEST_P(AttentionTest, SinkTakesItsShare) {
  Shape shape{2, 1, 16, 16, LLMIR_F32};
  Problem problem(shape, {70}, 10, LLMIR_F32, {0, 0, true});
  Context context(1, GetParam());
  problem.append(context, 0, 0, 70);
  problem.sinks.set(0, -INFINITY);
  problem.sinks.set(1, 1000);
  Tensor out = problem.attend(context, {{0, 69, 70}});
  problem.variant.sinks = false;
  Tensor plain = problem.attend(context, {{0, 69, 70}});
  for (int64_t i = 0; i < 16; ++i) {
    EXPECT_EQ(out.at(i), plain.at(i));
    EXPECT_EQ(out.at(16 + i), 0);
  }
}

TEST_P(AttentionTest, IgnoresWhatIsNotInTheContext) {
  for (llmir_dtype cacheType : {LLMIR_F32, LLMIR_BF16, LLMIR_I8, LLMIR_I4}) {
    Shape shape{4, 2, 32, 16, cacheType};
    Problem problem(shape, {90}, 3);
    Context context(1, GetParam());
    problem.append(context, 0, 0, 90);
    Tensor expected = problem.attend(context, {{0, 30, 71}});
    for (int i = 71 * 64; i < 90 * 64; ++i) {
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
}

TEST_P(AttentionTest, RoundsKeysAndValuesOnce) {
  // f32 keys in a cache of 16 bits are the same as keys rounded before.
  for (llmir_dtype type : {LLMIR_BF16, LLMIR_F16}) {
    Shape shape{2, 1, 24, 16, type};
    Problem wide(shape, {100}, 4), narrow(shape, {100}, 4, type);
    Context context(2, GetParam());
    wide.append(context, 0, 0, 100);
    narrow.append(context, 0, 0, 100);
    Tensor expected = wide.attend(context, {{0, 0, 100}});
    EXPECT_EQ(narrow.attend(context, {{0, 0, 100}}).bytes, expected.bytes);
    // Each of the two may be rounded already.
    for (bool keysAreWide : {false, true}) {
      Problem mixed(shape, {100}, 4, type);
      (keysAreWide ? mixed.keys : mixed.values) =
          keysAreWide ? wide.keys : wide.values;
      mixed.append(context, 0, 0, 100);
      EXPECT_EQ(mixed.attend(context, {{0, 0, 100}}).bytes, expected.bytes);
    }
  }
}

TEST_P(AttentionTest, LargeValuesBecomeInfiniteInF16) {
  Shape shape{1, 1, 16, 16, LLMIR_F16};
  Problem problem(shape, {1}, 11);
  problem.values[0].set(0, 65519);
  problem.values[0].set(1, 65520);
  problem.values[0].set(2, -1e9f);
  problem.values[0].set(3, 0x1p-24f);
  Context context(1, GetParam());
  problem.append(context, 0, 0, 1);
  Tensor out = problem.attend(context, {{0, 0, 1}});
  EXPECT_EQ(out.at(0), 65504);
  EXPECT_EQ(out.at(1), INFINITY);
  EXPECT_EQ(out.at(2), -INFINITY);
  EXPECT_EQ(out.at(3), 0x1p-24f);
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
  std::vector<Expected> expected = problem.oracle(0, 199);
  for (int64_t i = 0; i < 16; ++i)
    EXPECT_NEAR(out.at(i), expected[i].value, 1e-3);
}

INSTANTIATE_TEST_SUITE_P(Levels, AttentionTest,
                         ::testing::ValuesIn(testedLevels()),
                         [](const auto &info) {
                           return levelLabel(info.param);
                         });
