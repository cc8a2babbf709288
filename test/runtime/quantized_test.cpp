// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Products with weights of integers, of every format and dispatch level,
// against sums in float64 of what the packed weights hold, and against
// themselves: a row's result is the same bits in any company.
#include "test_support.h"

#include <cmath>
#include <string>

using namespace llmir::runtime;
using namespace llmir::runtime::test;

namespace {

bool hasIntegerRows(const WeightFormat &format) {
  return format.kind == LLMIR_WEIGHT_W8A8 || format.kind == LLMIR_WEIGHT_W4A8;
}

std::string nameOf(const WeightFormat &format) {
  return std::string(weightKindName(format.kind)) + "_" +
         std::string(dtypeName(format.scales)) + "_" +
         std::to_string(format.groupSize) +
         (format.asymmetric ? "_asymmetric" : "");
}

/// Each kind with whole rows and groups, each type of scales, zero points.
std::vector<WeightFormat> testedFormats() {
  std::vector<WeightFormat> formats;
  int i = 0;
  for (llmir_weight_format kind : {LLMIR_WEIGHT_INT8, LLMIR_WEIGHT_INT4,
                                   LLMIR_WEIGHT_W8A8, LLMIR_WEIGHT_W4A8})
    for (int64_t group : {0, 32, 64, 128})
      for (bool asymmetric : {false, true})
        formats.push_back({kind, floatTypes[++i % 3], group, asymmetric});
  return formats;
}

/// A weight [n, k] of random numbers, packed; what it stands for.
struct Weight {
  template <typename Engine>
  Weight(const WeightFormat &format, int64_t n, int64_t k, Engine &random)
      : format(format), n(n), k(k), packed(packedBytes(format, n, k)) {
    Tensor plain(LLMIR_F32, {n, k});
    plain.randomize(random, 0.3f);
    // The least number of 8 bits is rare, but allowed with zero points.
    packPanels(LLMIR_F32, format, plain.bytes.data(), n, k, packed.data());
    if (format.asymmetric)
      packed[0] = 0;
  }
  Unpacked unpacked() const { return Unpacked(format, packed.data(), n, k); }
  llmir_tensor view() {
    llmir_tensor view{};
    view.data = packed.data();
    view.dtype = LLMIR_I8;
    view.rank = 2;
    view.sizes[0] = panelCount(n);
    view.sizes[1] = packed.size() / panelCount(n);
    view.strides[0] = view.sizes[1];
    view.strides[1] = 1;
    return view;
  }

  WeightFormat format;
  int64_t n, k;
  std::vector<char> packed;
};

llmir_linear_params paramsOf(const WeightFormat &format) {
  llmir_linear_params params{};
  params.format = format.kind;
  params.scales = format.scales;
  params.group_size = format.groupSize;
  params.asymmetric = format.asymmetric;
  return params;
}

void linear(Context &context, llmir_tensor x, Weight &w, llmir_tensor out,
            const llmir_linear_params &params) {
  llmir_tensor weight = w.view();
  const llmir_runtime &runtime = context.runtime();
  runtime.linear(runtime.context, &x, &weight, &params, &out);
}
void linear(Context &context, llmir_tensor x, Weight &w, llmir_tensor out) {
  linear(context, x, w, out, paramsOf(w.format));
}

/// What the format makes of a row.
std::vector<double> roundedRow(const WeightFormat &format, const float *x,
                               int64_t k) {
  std::vector<double> row(k);
  if (!hasIntegerRows(format)) {
    for (int64_t i = 0; i < k; ++i)
      row[i] = fromBF16(toBF16(x[i]));
    return row;
  }
  float most = 0;
  for (int64_t i = 0; i < k; ++i)
    most = std::max(most, std::abs(x[i]));
  float scale = most / 127;
  for (int64_t i = 0; i < k; ++i)
    row[i] = scale == 0 ? 0 : double(scale) * std::nearbyint(x[i] / scale);
  return row;
}

struct Expected {
  double sum, magnitude;
};

Expected expect(const Unpacked &w, const std::vector<double> &row, int64_t n) {
  Expected result{0, 0};
  int64_t k = row.size();
  for (int64_t begin = 0; begin < k; begin += w.inputs) {
    double sum = 0, magnitude = 0, scale = w.scale(n, begin);
    for (int64_t i = begin; i < std::min(k, begin + w.inputs); ++i) {
      double product = row[i] * w.integer(n, i);
      sum += product;
      magnitude += std::abs(product);
      // A zero point's share is added apart.
      if (w.format.asymmetric)
        magnitude += 256 * std::abs(row[i]);
    }
    result.sum += sum * scale;
    result.magnitude += magnitude * std::abs(scale);
  }
  return result;
}

class QuantizedTest
    : public ::testing::TestWithParam<std::tuple<CpuLevel, WeightFormat>> {
protected:
  CpuLevel level() { return std::get<0>(GetParam()); }
  WeightFormat format() { return std::get<1>(GetParam()); }
  /// The nearest K that the format has.
  int64_t inputs(int64_t k) {
    int64_t group = format().groupSize;
    return group ? (k + group - 1) / group * group : k;
  }
};

} // namespace

TEST_P(QuantizedTest, MatchesFloat64) {
  std::mt19937_64 random(1);
  Context context(2, level());
  struct Shape {
    int64_t rows, n, k;
    llmir_dtype xType = LLMIR_F32;
  };
  for (Shape s :
       {Shape{1, 1, 1}, Shape{1, 32, 32, LLMIR_BF16}, Shape{1, 100, 97},
        Shape{2, 33, 31, LLMIR_F16}, Shape{3, 64, 513}, Shape{4, 70, 260},
        Shape{5, 96, 1025, LLMIR_BF16}, Shape{6, 33, 64}, Shape{7, 65, 128},
        Shape{8, 70, 64}, Shape{13, 65, 700, LLMIR_F16}, Shape{16, 64, 96},
        Shape{25, 127, 33}, Shape{33, 31, 2}, Shape{130, 65, 570}}) {
    int64_t k = inputs(s.k);
    Weight w(format(), s.n, k, random);
    Tensor x(s.xType, {s.rows, k}), out(LLMIR_F32, {s.rows, s.n});
    x.randomize(random);
    linear(context, x.view(), w, out.view());
    Unpacked unpacked = w.unpacked();
    std::vector<float> xs(k);
    for (int64_t r = 0; r < s.rows; ++r) {
      for (int64_t i = 0; i < k; ++i)
        xs[i] = x.at(r * k + i);
      std::vector<double> row = roundedRow(format(), xs.data(), k);
      for (int64_t n = 0; n < s.n; ++n) {
        Expected expected = expect(unpacked, row, n);
        double allowed =
            expected.magnitude * 0x1p-24 * (8 + std::sqrt(double(k)));
        ASSERT_NEAR(out.at(r * s.n + n), expected.sum, allowed)
            << "rows " << s.rows << " n " << s.n << " k " << k << " at " << r
            << ", " << n;
      }
    }
  }
}

TEST_P(QuantizedTest, RowIsTheSameInAnyCompany) {
  std::mt19937_64 random(2);
  constexpr int64_t rows = 60, n = 100;
  int64_t k = inputs(700);
  Weight w(format(), n, k, random);
  Tensor x(LLMIR_F32, {rows, k});
  x.randomize(random);
  // Denormals and cancellation, which differ most between orders of addition.
  for (int64_t i = 0; i < 5 * k; ++i)
    x.set(i, i % 3 ? x.at(i) * 1e-38f : x.at(i) * 1e4f);

  Context one(1, level());
  Tensor expected(LLMIR_F32, {rows, n});
  for (int64_t r = 0; r < rows; ++r)
    linear(one, x.view(r, r + 1), w, expected.view(r, r + 1));

  for (unsigned threads : {1u, 2u, 5u}) {
    Context context(threads, level());
    for (int64_t batch :
         {2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 16, 24, 25, 37, 60}) {
      Tensor out(LLMIR_F32, {rows, n});
      for (int64_t r = 0; r < rows; r += batch)
        linear(context, x.view(r, std::min(rows, r + batch)), w,
               out.view(r, std::min(rows, r + batch)));
      ASSERT_EQ(out.bytes, expected.bytes)
          << threads << " threads, " << batch << " rows at once";
    }
  }
}

TEST_P(QuantizedTest, WithAllThatSurroundsIt) {
  // A norm before, then bias, activation, gate, and addition to the output:
  // around the sums that the product alone has. The mean of the rows' squares
  // is 1, so that the norm's weight is all that the norm does.
  std::mt19937_64 random(3);
  Context context(2, level());
  int64_t k = inputs(200);
  struct Shape {
    int64_t rows, n;
  };
  for (Shape shape : {Shape{1, 33}, Shape{4, 64}, Shape{30, 70}})
    for (bool gated : {false, true}) {
      int64_t rows = shape.rows, n = shape.n;
      // A gate's panels alternate, so its columns begin anew with each panel.
      int64_t outputs = gated ? panelCount(n) * 64 : n;
      Weight w(format(), outputs, k, random);
      Tensor x(LLMIR_F32, {rows, k}), norm(LLMIR_BF16, {k});
      Tensor normed(LLMIR_F32, {rows, k}), sums(LLMIR_F32, {rows, outputs});
      Tensor bias(LLMIR_F16, {gated ? 2 * n : n});
      norm.randomize(random);
      bias.randomize(random, 0.5f);
      for (int64_t i = 0; i < rows * k; ++i) {
        x.set(i, random() % 2 ? 1 : -1);
        normed.set(i, x.at(i) * norm.at(i % k));
      }
      linear(context, normed.view(), w, sums.view());

      llmir_linear_params params = paramsOf(format());
      llmir_tensor normView = norm.view(), biasView = bias.view();
      params.norm = &normView;
      params.bias = &biasView;
      params.activation = LLMIR_ACTIVATION_SILU;
      params.gated = gated;
      params.accumulate = 1;
      Tensor out(LLMIR_F32, {rows, n});
      out.randomize(random);
      Tensor before = out;
      linear(context, x.view(), w, out.view(), params);
      auto silu = [](double v) { return v / (1 + std::exp(-v)); };
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < n; ++c) {
          const int64_t panel = gated ? c / 32 * 2 : c / 32;
          double gate = sums.at(r * outputs + panel * 32 + c % 32) + bias.at(c);
          double value = silu(gate);
          if (gated)
            value *= sums.at(r * outputs + panel * 32 + 32 + c % 32) +
                     bias.at(n + c);
          double expected = before.at(r * n + c) + value;
          double size = std::abs(before.at(r * n + c)) + std::abs(value);
          ASSERT_NEAR(out.at(r * n + c), expected, size * 0x1p-20 + 1e-12)
              << rows << " x " << n << (gated ? ", gated" : "");
        }
    }
}

TEST_P(QuantizedTest, RowsWithoutNumbers) {
  // A row of zeros is 0 throughout; a NaN is its own row's alone.
  std::mt19937_64 random(4);
  Context context(2, level());
  int64_t k = inputs(96);
  Weight w(format(), 40, k, random);
  Tensor x(LLMIR_F32, {9, k}), out(LLMIR_F32, {9, 40});
  x.randomize(random);
  for (int64_t i = 0; i < k; ++i)
    x.set(2 * k + i, 0);
  x.set(5 * k + 3, NAN);
  linear(context, x.view(), w, out.view());
  constexpr int64_t n = 40;
  for (int64_t c = 0; c < n; ++c) {
    EXPECT_EQ(out.at(2 * n + c), 0);
    EXPECT_TRUE(std::isnan(out.at(5 * n + c)));
    EXPECT_TRUE(std::isfinite(out.at(4 * n + c)));
    EXPECT_TRUE(std::isfinite(out.at(6 * n + c)));
  }
}

class QuantizedFormatTest : public ::testing::TestWithParam<WeightFormat> {};

TEST_P(QuantizedFormatTest, VectorLevelsAgreeBitForBit) {
  // The portable level does not fuse what the others do.
  WeightFormat format = GetParam();
  std::mt19937_64 random(5);
  constexpr int64_t rows = 20, n = 70, k = 768;
  Weight w(format, n, k, random);
  Tensor x(LLMIR_F32, {rows, k});
  x.randomize(random);
  std::vector<char> first;
  for (CpuLevel level : testedLevels()) {
    if (level == CpuLevel::Portable)
      continue;
    Context context(1, level);
    Tensor out(LLMIR_F32, {rows, n});
    linear(context, x.view(), w, out.view());
    if (first.empty())
      first = out.bytes;
    EXPECT_EQ(out.bytes, first) << cpuLevelName(level);
  }
}

TEST_P(QuantizedFormatTest, EveryNumberIsItself) {
  // All that 8 or 4 bits hold, in each place of a word, times 1.
  WeightFormat format = GetParam();
  if (format.groupSize > 32)
    return;
  for (CpuLevel level : testedLevels()) {
    Context context(1, level);
    std::mt19937_64 random(6);
    constexpr int64_t k = 32;
    Weight w(format, 32, k, random);
    Unpacked unpacked = w.unpacked();
    int numbers = unpacked.bits == 8 ? 256 : 16;
    for (int number = 0; number < numbers; ++number)
      for (int64_t place = 0; place < 8; ++place) {
        // All numbers are the middle one, or 0, but that of one input.
        int other = unpacked.bits == 8 ? 128 : 8;
        uint8_t *bytes = reinterpret_cast<uint8_t *>(w.packed.data());
        if (number == 0 && !format.asymmetric && unpacked.bits == 8)
          continue;
        std::fill(bytes, bytes + k * 4 * unpacked.bits,
                  unpacked.bits == 8 ? other : other * 17);
        for (int64_t c = 0; c < 32; ++c) {
          if (unpacked.bits == 8) {
            bytes[(place / 4 * 32 + c) * 4 + place % 4] = uint8_t(number);
          } else {
            static constexpr int nibbles[] = {0, 4, 1, 5, 2, 6, 3, 7};
            uint8_t &byte = bytes[c * 4 + nibbles[place] / 2];
            int shift = nibbles[place] % 2 * 4;
            byte = uint8_t((byte & ~(15 << shift)) | number << shift);
          }
        }
        Tensor x(LLMIR_F32, {3, k}), out(LLMIR_F32, {3, 32});
        for (int64_t i = 0; i < 3 * k; ++i)
          x.set(i, i % k == place ? 1 : 0);
        linear(context, x.view(), w, out.view());
        for (int64_t i = 0; i < 96; ++i) {
          double expected =
              unpacked.integer(i % 32, place) * unpacked.scale(i % 32, place);
          ASSERT_NEAR(out.at(i), expected, std::abs(expected) * 0x1p-20)
              << cpuLevelName(level) << " number " << number << " place "
              << place;
        }
      }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Levels, QuantizedTest,
    ::testing::Combine(::testing::ValuesIn(testedLevels()),
                       ::testing::ValuesIn(testedFormats())),
    [](const auto &info) {
      return levelLabel(std::get<0>(info.param)) + "_" +
             nameOf(std::get<1>(info.param));
    });

INSTANTIATE_TEST_SUITE_P(Formats, QuantizedFormatTest,
                         ::testing::ValuesIn(testedFormats()),
                         [](const auto &info) { return nameOf(info.param); });
