// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Attention over given keys and values at every dispatch level, against
// float64: shapes around the sizes of chunks and partitions, masks of both
// kinds, and tensors that are parts of others.
#include "test_support.h"

#include <cmath>
#include <limits>

using namespace llmir::runtime;
using namespace llmir::runtime::test;

namespace {

enum class Mask { None, Added, Bytes };

struct Case {
  int64_t sequences, rows, positions, heads, kvHeads, headDim;
  bool causal = false;
  int64_t window = 0;
  float softcap = 0;
  bool sinks = false, alibi = false;
  Mask mask = Mask::None;
  bool maskOfAll = true; ///< One mask for all sequences and heads.
  llmir_dtype outType = LLMIR_F32;
};

std::ostream &operator<<(std::ostream &stream, const Case &c) {
  return stream << c.sequences << " x " << c.rows << " over " << c.positions
                << ", " << c.heads << "/" << c.kvHeads << " heads of "
                << c.headDim << (c.causal ? " causal" : "") << " window "
                << c.window << " softcap " << c.softcap
                << (c.sinks ? " sinks" : "") << (c.alibi ? " alibi" : "")
                << " mask " << int(c.mask) << (c.maskOfAll ? "" : " of each");
}

/// As compiled code has the parts of a merged product: within wider rows.
llmir_tensor part(Tensor &whole, int64_t sequences, int64_t rows, int64_t first,
                  int64_t heads, int64_t headDim, int64_t width) {
  llmir_tensor view{};
  // A tensor without rows has no memory.
  auto *data = whole.data<float>();
  view.data = data ? data + first : nullptr;
  view.dtype = LLMIR_F32;
  view.rank = 4;
  int64_t sizes[] = {sequences, rows, heads, headDim};
  int64_t strides[] = {rows * width, width, headDim, 1};
  std::copy_n(sizes, 4, view.sizes);
  std::copy_n(strides, 4, view.strides);
  return view;
}

struct Problem {
  explicit Problem(const Case &c)
      : c(c), qWidth(c.heads * c.headDim + 8),
        kvWidth(2 * c.kvHeads * c.headDim),
        query(LLMIR_F32, {c.sequences * c.rows, qWidth}),
        keysAndValues(LLMIR_F32, {c.sequences * c.positions, kvWidth}),
        sinks(LLMIR_F32, {c.heads}), slopes(LLMIR_F32, {c.heads}),
        added(LLMIR_F32, {c.maskOfAll ? 1 : c.sequences,
                          c.maskOfAll ? 1 : c.heads, c.rows, c.positions}),
        bytes(LLMIR_I8, {c.maskOfAll ? 1 : c.sequences,
                         c.maskOfAll ? 1 : c.heads, c.rows, c.positions}) {
    std::mt19937_64 random(1);
    query.randomize(random, 2);
    keysAndValues.randomize(random);
    sinks.randomize(random, 2);
    slopes.randomize(random, 0.05f);
    added.randomize(random, 2);
    for (int64_t i = 0; i < added.count(); ++i) {
      bool seen = random() % 4 != 0;
      // All of some chunks, the first ones of a row among them.
      if (c.positions > 64 && i / c.positions % 3 == 1)
        seen = seen && i % c.positions >= 64;
      bytes.bytes[i] = seen;
      if (!seen && random() % 2)
        added.set(i, -std::numeric_limits<float>::infinity());
    }
  }

  Tensor run(Context &context) {
    Tensor out(c.outType, {c.sequences, c.rows, c.heads, c.headDim});
    llmir_tensor q =
        part(query, c.sequences, c.rows, 4, c.heads, c.headDim, qWidth);
    llmir_tensor k = part(keysAndValues, c.sequences, c.positions, 0, c.kvHeads,
                          c.headDim, kvWidth);
    llmir_tensor v = part(keysAndValues, c.sequences, c.positions,
                          c.kvHeads * c.headDim, c.kvHeads, c.headDim, kvWidth);
    llmir_tensor o = out.view(), s = sinks.view(), a = slopes.view();
    llmir_tensor m = c.mask == Mask::Added ? added.view() : bytes.view();
    llmir_attention_params params = {scale,
                                     c.softcap,
                                     c.window,
                                     c.sinks ? &s : nullptr,
                                     c.alibi ? &a : nullptr,
                                     c.mask == Mask::None ? nullptr : &m,
                                     LLMIR_F32,
                                     c.causal};
    const llmir_runtime &runtime = context.runtime();
    runtime.attention(runtime.context, &q, &k, &v, &params, &o);
    return out;
  }

  /// The head of a row in float64, in the order of llm.attention's description.
  std::vector<double> oracle(int64_t b, int64_t t, int64_t h) const {
    int64_t group = c.heads / c.kvHeads, position = c.positions - c.rows + t;
    std::vector<double> scores;
    std::vector<int64_t> seen;
    for (int64_t j = 0; j < c.positions; ++j) {
      if (c.causal && (j > position || (c.window && j <= position - c.window)))
        continue;
      double x = 0;
      for (int64_t i = 0; i < c.headDim; ++i)
        x += double(
                 query.at((b * c.rows + t) * qWidth + 4 + h * c.headDim + i)) *
             keysAndValues.at((b * c.positions + j) * kvWidth +
                              h / group * c.headDim + i);
      x *= double(scale);
      if (c.softcap != 0)
        x = c.softcap * std::tanh(x / c.softcap);
      if (c.alibi)
        x += double(slopes.at(h)) * double(j - position);
      int64_t at = c.maskOfAll ? 0 : b * c.heads + h;
      at = (at * c.rows + t) * c.positions + j;
      if (c.mask == Mask::Added)
        x += added.at(at);
      if (c.mask == Mask::Bytes && !bytes.bytes[at])
        continue;
      scores.push_back(x);
      seen.push_back(j);
    }
    double most = -std::numeric_limits<double>::infinity(), sum = 0;
    for (double x : scores)
      most = std::max(most, x);
    std::vector<double> result(c.headDim, 0.0);
    bool blind = std::isinf(most);
    if (blind && !c.sinks)
      return std::vector<double>(c.headDim, NAN);
    if (c.sinks) {
      most = std::max(most, double(sinks.at(h)));
      sum = std::exp(double(sinks.at(h)) - most);
    }
    for (size_t n = 0; n < scores.size() && !blind; ++n) {
      double weight = std::exp(scores[n] - most);
      sum += weight;
      for (int64_t i = 0; i < c.headDim; ++i)
        result[i] +=
            weight *
            keysAndValues.at((b * c.positions + seen[n]) * kvWidth +
                             c.kvHeads * c.headDim + h / group * c.headDim + i);
    }
    for (double &value : result)
      value /= sum;
    return result;
  }

  Case c;
  int64_t qWidth, kvWidth;
  Tensor query, keysAndValues, sinks, slopes, added, bytes;
  float scale = 0.3f;
};

class DenseAttentionTest : public ::testing::TestWithParam<CpuLevel> {};

std::vector<Case> cases() {
  std::vector<Case> result;
  // {sequences, rows, positions, heads, KV heads, head_dim}
  const int64_t shapes[][6] = {
      {1, 1, 1, 1, 1, 1},     {2, 5, 5, 4, 2, 12},    {3, 17, 17, 6, 6, 32},
      {1, 64, 64, 3, 1, 16},  {2, 65, 65, 4, 4, 24},  {1, 3, 130, 7, 1, 64},
      {1, 128, 128, 9, 3, 8}, {1, 70, 600, 2, 1, 16}, {2, 1, 1100, 2, 2, 20}};
  for (const auto &s : shapes)
    for (bool causal : {false, true})
      for (Mask mask : {Mask::None, Mask::Added, Mask::Bytes})
        for (bool more : {false, true}) {
          Case c = {s[0], s[1], s[2], s[3], s[4], s[5]};
          c.causal = causal;
          c.mask = mask;
          c.maskOfAll = !more;
          if (more) {
            c.softcap = 3;
            c.sinks = c.alibi = true;
            c.window = causal ? 40 : 0;
          }
          result.push_back(c);
        }
  for (llmir_dtype dtype : {LLMIR_BF16, LLMIR_F16}) {
    Case c = {2, 9, 9, 4, 2, 16};
    c.outType = dtype;
    result.push_back(c);
  }
  // More queries than positions: the first ones see nothing.
  for (bool sinks : {false, true})
    for (llmir_dtype dtype : floatTypes)
      for (int64_t positions : {0, 3}) {
        Case c = {2, 7, positions, 2, 1, 16};
        c.causal = true;
        c.sinks = sinks;
        c.outType = dtype;
        result.push_back(c);
      }
  return result;
}

TEST_P(DenseAttentionTest, MatchesFloat64) {
  for (unsigned threads : {1u, 3u}) {
    Context context(threads, GetParam());
    for (const Case &c : cases()) {
      Problem problem(c);
      Tensor out = problem.run(context);
      int64_t at = 0;
      for (int64_t b = 0; b < c.sequences; ++b)
        for (int64_t t = 0; t < c.rows; ++t)
          for (int64_t h = 0; h < c.heads; ++h)
            for (double expected : problem.oracle(b, t, h)) {
              float found = out.at(at++);
              if (std::isnan(expected)) {
                ASSERT_TRUE(std::isnan(found)) << c << " row " << t;
                continue;
              }
              ASSERT_NEAR(found, expected,
                          5e-6 + std::abs(expected) *
                                     (4e-6 + roundingOf(c.outType)))
                  << c << " sequence " << b << " row " << t << " head " << h;
            }
    }
  }
}

// Without causality too, a row's result is the same bits in any company.
TEST_P(DenseAttentionTest, RowsDoNotDependOnEachOther) {
  Case c = {1, 130, 130, 4, 2, 32};
  Problem problem(c);
  Context context(2, GetParam()), alone(1, GetParam());
  Tensor all = problem.run(context);
  for (int64_t row : {0, 63, 64, 129}) {
    Problem one(c);
    one.c.rows = 1;
    one.query.bytes.assign(problem.query.bytes.begin() + row * one.qWidth * 4,
                           problem.query.bytes.begin() +
                               (row + 1) * one.qWidth * 4);
    Tensor found = one.run(alone);
    EXPECT_EQ(0, std::memcmp(found.bytes.data(),
                             all.bytes.data() + row * 4 * 32 * 4,
                             found.bytes.size()))
        << "row " << row;
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, DenseAttentionTest,
                         ::testing::ValuesIn(testedLevels()),
                         [](const auto &info) {
                           return levelLabel(info.param);
                         });

} // namespace
