// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Matrix products of every dispatch level against sums in float64, and against
// themselves: a row's result is the same bits in any company.
#include "test_support.h"

#include "narrow_floats.h"

#include <cmath>
#include <utility>

using namespace llmir::runtime;
using namespace llmir::runtime::test;

namespace {

struct Weight {
  Weight(llmir_dtype dtype, int64_t n, int64_t k)
      : plain(dtype, {n, k}), packed(dtype, {0}) {
    packed.sizes = packedShape(formatOf(dtype), n, k);
    packed.bytes.resize(packedBytes(formatOf(dtype), n, k));
  }
  void pack() {
    packPanels(plain.dtype, formatOf(plain.dtype), plain.bytes.data(),
               plain.sizes[0], plain.sizes[1], packed.bytes.data());
  }
  Tensor plain, packed;
};

/// What a product has besides its operands.
struct Around {
  Tensor *norm = nullptr;
  Tensor *bias = nullptr;
  llmir_activation activation = LLMIR_ACTIVATION_NONE;
  bool gated = false;
  bool accumulate = false;
  float epsilon = 0;
};

void linear(Context &context, llmir_tensor x, Weight &w, llmir_tensor out,
            const Around &around = {}) {
  llmir_tensor weight = w.packed.view();
  llmir_tensor norm = around.norm ? around.norm->view() : llmir_tensor{};
  llmir_tensor bias = around.bias ? around.bias->view() : llmir_tensor{};
  llmir_linear_params params{};
  params.format = formatOf(w.plain.dtype).kind;
  params.activation = around.activation;
  params.gated = around.gated;
  params.epsilon = around.epsilon;
  params.norm = around.norm ? &norm : nullptr;
  params.bias = around.bias ? &bias : nullptr;
  params.accumulate = around.accumulate;
  const llmir_runtime &runtime = context.runtime();
  runtime.linear(runtime.context, &x, &weight, &params, &out);
}

/// The weight whose panels are those of the two by turns.
Weight gated(const Weight &gate, const Weight &up) {
  int64_t n = gate.plain.sizes[0], k = gate.plain.sizes[1];
  int64_t panels = panelCount(n), bytes = k * dtypeBytes(gate.plain.dtype);
  Weight both(gate.plain.dtype, 2 * panels * panelColumns, k);
  std::fill(both.plain.bytes.begin(), both.plain.bytes.end(), 0);
  for (int64_t i = 0; i < n; ++i) {
    int64_t row = i / panelColumns * 2 * panelColumns + i % panelColumns;
    for (const Weight *from : {&gate, &up}) {
      std::memcpy(&both.plain.bytes[row * bytes], &from->plain.bytes[i * bytes],
                  bytes);
      row += panelColumns;
    }
  }
  both.pack();
  return both;
}

double activated(llmir_activation activation, double x) {
  // The limit, where the formulas have no value.
  if (x == -INFINITY && activation != LLMIR_ACTIVATION_NONE)
    return 0;
  switch (activation) {
  case LLMIR_ACTIVATION_SILU:
    return x / (1 + std::exp(-x));
  case LLMIR_ACTIVATION_GELU:
    return x / 2 * std::erfc(-x / std::sqrt(2.0));
  case LLMIR_ACTIVATION_GELU_TANH:
    // (1 + tanh(y)) / 2, without its cancellation.
    return x / (1 + std::exp(-2 * std::sqrt(2 / M_PI) *
                             (x + 0.044715 * x * x * x)));
  case LLMIR_ACTIVATION_RELU:
    return std::max(x, 0.0);
  case LLMIR_ACTIVATION_NONE:
    break;
  }
  return x;
}

/// As where denormals are zero.
float flushed(float x) { return std::abs(x) < 0x1p-126f ? 0 : x; }

constexpr llmir_activation activations[] = {
    LLMIR_ACTIVATION_NONE, LLMIR_ACTIVATION_SILU, LLMIR_ACTIVATION_GELU,
    LLMIR_ACTIVATION_GELU_TANH, LLMIR_ACTIVATION_RELU};

constexpr const char *activationNames[] = {"none", "silu", "gelu", "gelu_tanh",
                                           "relu"};

class LinearTest
    : public ::testing::TestWithParam<std::tuple<CpuLevel, llmir_dtype>> {
protected:
  CpuLevel level() { return std::get<0>(GetParam()); }
  llmir_dtype dtype() { return std::get<1>(GetParam()); }
};

} // namespace

TEST_P(LinearTest, MatchesFloat64) {
  std::mt19937_64 random(1);
  Context context(2, level());
  struct Shape {
    int64_t rows, n, k;
  };
  for (Shape s : {Shape{1, 1, 1}, Shape{1, 32, 32}, Shape{1, 100, 97},
                  Shape{2, 33, 31}, Shape{3, 64, 513}, Shape{5, 96, 1025},
                  Shape{11, 70, 64}, Shape{13, 65, 700}, Shape{16, 64, 96},
                  Shape{17, 127, 33}, Shape{33, 31, 2}, Shape{40, 256, 300},
                  Shape{100, 300, 515}, Shape{401, 130, 70}})
    for (bool accumulate : {false, true})
      for (llmir_dtype outType : floatTypes) {
        if (outType != LLMIR_F32 && accumulate)
          continue;
        Weight w(dtype(), s.n, s.k);
        w.plain.randomize(random);
        w.pack();
        Tensor x(dtype(), {s.rows, s.k}), out(outType, {s.rows, s.n});
        x.randomize(random);
        out.randomize(random);
        Tensor before = out;
        Around around;
        around.accumulate = accumulate;
        linear(context, x.view(), w, out.view(), around);
        std::vector<double> xs = x.values(), ws = w.plain.values();
        for (int64_t r = 0; r < s.rows; ++r)
          for (int64_t n = 0; n < s.n; ++n) {
            double sum = 0, magnitude = 0;
            for (int64_t k = 0; k < s.k; ++k) {
              double product = xs[r * s.k + k] * ws[n * s.k + k];
              sum += product;
              magnitude += std::abs(product);
            }
            if (accumulate)
              sum += before.at(r * s.n + n);
            double allowed = magnitude * 0x1p-24 * (8 + std::sqrt(double(s.k)));
            allowed += std::abs(sum) * (0x1p-22 + roundingOf(outType));
            ASSERT_NEAR(out.at(r * s.n + n), sum, allowed)
                << "rows " << s.rows << " n " << s.n << " k " << s.k << " at "
                << r << ", " << n;
          }
      }
}

TEST_P(LinearTest, AddsTheBias) {
  // To the sum, before what the output has; both in f32.
  std::mt19937_64 random(6);
  Context context(2, level());
  for (auto [rows, n] : {std::pair<int64_t, int64_t>{1, 1},
                         {1, 100},
                         {2, 33},
                         {7, 64},
                         {16, 31},
                         {40, 130}}) {
    Weight w(dtype(), n, 50);
    w.plain.randomize(random);
    w.pack();
    Tensor x(dtype(), {rows, 50}), sum(LLMIR_F32, {rows, n});
    x.randomize(random);
    linear(context, x.view(), w, sum.view());
    for (llmir_dtype biasType : floatTypes) {
      // Dense and no longer than it must be, for the address sanitizer.
      Tensor bias(biasType, {n});
      bias.randomize(random, 3);
      for (llmir_dtype outType : floatTypes) {
        Tensor out(outType, {rows, n});
        Around around;
        around.bias = &bias;
        linear(context, x.view(), w, out.view(), around);
        for (int64_t i = 0; i < rows * n; ++i)
          ASSERT_EQ(out.at(i), stored(outType, sum.at(i) + bias.at(i % n)));
      }
      Tensor out(LLMIR_F32, {rows, n});
      out.randomize(random, 100);
      Tensor before = out;
      Around around;
      around.bias = &bias;
      around.accumulate = true;
      linear(context, x.view(), w, out.view(), around);
      for (int64_t i = 0; i < rows * n; ++i)
        ASSERT_EQ(out.at(i), before.at(i) + (sum.at(i) + bias.at(i % n)));
    }
  }
}

TEST_P(LinearTest, NormalizesRows) {
  std::mt19937_64 random(8);
  Context context(2, level());
  for (auto [rows, k] : {std::pair<int64_t, int64_t>{1, 1},
                         {1, 64},
                         {1, 700},
                         {2, 33},
                         {7, 100},
                         {40, 130}})
    for (llmir_dtype xType : floatTypes)
      for (llmir_dtype normType : floatTypes) {
        Tensor x(xType, {rows, k}), norm(normType, {k});
        x.randomize(random, 20);
        norm.randomize(random);
        Around around;
        around.norm = &norm;
        around.epsilon = 0.5;
        // Times the identity: what the format takes of each number.
        Weight identity(dtype(), k, k);
        for (int64_t i = 0; i < k * k; ++i)
          identity.plain.set(i, i % (k + 1) == 0);
        identity.pack();
        Tensor normalized(LLMIR_F32, {rows, k});
        linear(context, x.view(), identity, normalized.view(), around);
        for (int64_t r = 0; r < rows; ++r) {
          double squares = 0;
          for (int64_t i = 0; i < k; ++i)
            squares += std::pow(x.at(r * k + i), 2);
          double scale = 1 / std::sqrt(squares / double(k) + 0.5);
          for (int64_t i = 0; i < k; ++i) {
            double expected = x.at(r * k + i) * scale * norm.at(i);
            ASSERT_NEAR(normalized.at(r * k + i), expected,
                        std::abs(expected) * (0x1p-21 + roundingOf(dtype())) +
                            (dtype() == LLMIR_F16 ? 0x1p-25 : 0))
                << "rows " << rows << " k " << k << " at " << r << ", " << i;
          }
        }
        // And a product is that of these numbers.
        Weight w(dtype(), 70, k);
        w.plain.randomize(random);
        w.pack();
        Tensor rounded(dtype(), {rows, k});
        for (int64_t i = 0; i < rows * k; ++i)
          rounded.set(i, normalized.at(i));
        Tensor out(LLMIR_F32, {rows, 70}), expected(LLMIR_F32, {rows, 70});
        linear(context, x.view(), w, out.view(), around);
        linear(context, rounded.view(), w, expected.view());
        ASSERT_EQ(out.bytes, expected.bytes);
      }
}

TEST_P(LinearTest, GatesPairsOfPanels) {
  std::mt19937_64 random(9);
  Context context(2, level());
  for (auto [rows, n] : {std::pair<int64_t, int64_t>{1, 1},
                         {1, 100},
                         {2, 33},
                         {5, 96},
                         {9, 64},
                         {16, 31},
                         {40, 130},
                         {150, 300}}) {
    constexpr int64_t k = 50;
    Weight gate(dtype(), n, k), up(dtype(), n, k);
    for (Weight *w : {&gate, &up}) {
      w->plain.randomize(random);
      w->pack();
    }
    Weight both = gated(gate, up);
    Tensor x(dtype(), {rows, k});
    x.randomize(random);
    for (llmir_activation activation : activations)
      for (bool biased : {false, true}) {
        Tensor biases(LLMIR_BF16, {2 * n});
        biases.randomize(random);
        Tensor gateBias(LLMIR_BF16, {n}), upBias(LLMIR_BF16, {n});
        for (int64_t i = 0; i < n; ++i) {
          gateBias.set(i, biases.at(i));
          upBias.set(i, biases.at(n + i));
        }
        Tensor gates(LLMIR_F32, {rows, n}), ups(LLMIR_F32, {rows, n});
        Around around;
        around.bias = biased ? &upBias : nullptr;
        linear(context, x.view(), up, ups.view(), around);
        around.bias = biased ? &gateBias : nullptr;
        around.activation = activation;
        linear(context, x.view(), gate, gates.view(), around);
        around.bias = biased ? &biases : nullptr;
        around.gated = true;
        for (llmir_dtype outType : floatTypes) {
          Tensor out(outType, {rows, n});
          linear(context, x.view(), both, out.view(), around);
          for (int64_t i = 0; i < rows * n; ++i)
            ASSERT_EQ(out.at(i),
                      stored(outType, flushed(gates.at(i) * ups.at(i))))
                << "rows " << rows << " n " << n << " at " << i;
        }
        Tensor out(LLMIR_F32, {rows, n});
        out.randomize(random, 10);
        Tensor before = out;
        around.accumulate = true;
        linear(context, x.view(), both, out.view(), around);
        for (int64_t i = 0; i < rows * n; ++i)
          ASSERT_EQ(out.at(i), before.at(i) + flushed(gates.at(i) * ups.at(i)));
      }
  }
}

TEST_P(LinearTest, RowIsTheSameInAnyCompany) {
  std::mt19937_64 random(2);
  constexpr int64_t rows = 150, n = 200, k = 1100;
  Weight w(dtype(), n, k);
  w.plain.randomize(random);
  w.pack();
  Tensor x(dtype(), {rows, k});
  x.randomize(random);
  // Denormals and cancellation, which differ most between orders of addition.
  for (int64_t i = 0; i < 5 * k; ++i)
    x.set(i, i % 3 ? x.at(i) * 1e-38f : x.at(i) * 1e4f);

  Context one(1, level());
  Tensor expected(LLMIR_F32, {rows, n});
  for (int64_t r = 0; r < rows; ++r)
    linear(one, x.view(r, r + 1), w, expected.view(r, r + 1));

  for (unsigned threads : {1u, 2u, 3u, 8u}) {
    Context context(threads, level());
    for (int64_t batch : {1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11,  12,
                          13, 15, 16, 17, 24, 31, 32, 33, 49, 64, 100, 150}) {
      Tensor out(LLMIR_F32, {rows, n});
      for (int64_t r = 0; r < rows; r += batch)
        linear(context, x.view(r, std::min(rows, r + batch)), w,
               out.view(r, std::min(rows, r + batch)));
      ASSERT_EQ(out.bytes, expected.bytes)
          << threads << " threads, " << batch << " rows at once";
    }
  }
}

TEST_P(LinearTest, NormalizedAndGatedRowIsTheSameInAnyCompany) {
  std::mt19937_64 random(10);
  constexpr int64_t rows = 70, n = 200, k = 600;
  Weight w(dtype(), 448, k);
  w.plain.randomize(random, 0.1f);
  w.pack();
  Tensor x(LLMIR_F32, {rows, k}), norm(LLMIR_BF16, {k});
  x.randomize(random);
  norm.randomize(random);
  Around around;
  around.norm = &norm;
  around.epsilon = 1e-5f;
  around.activation = LLMIR_ACTIVATION_GELU;
  around.gated = true;
  Context one(1, level());
  Tensor expected(LLMIR_BF16, {rows, n});
  for (int64_t r = 0; r < rows; ++r)
    linear(one, x.view(r, r + 1), w, expected.view(r, r + 1), around);
  for (unsigned threads : {1u, 2u, 3u, 8u}) {
    Context context(threads, level());
    for (int64_t batch : {1, 2, 5, 7, 8, 12, 13, 16, 17, 33, 70}) {
      Tensor out(LLMIR_BF16, {rows, n});
      for (int64_t r = 0; r < rows; r += batch)
        linear(context, x.view(r, std::min(rows, r + batch)), w,
               out.view(r, std::min(rows, r + batch)), around);
      ASSERT_EQ(out.bytes, expected.bytes)
          << threads << " threads, " << batch << " rows at once";
    }
  }
}

TEST_P(LinearTest, RowStrides) {
  std::mt19937_64 random(3);
  constexpr int64_t rows = 20, n = 40, k = 50;
  Weight w(dtype(), n, k);
  w.plain.randomize(random);
  w.pack();
  Tensor x(dtype(), {rows, k}), wideX(dtype(), {rows, k + 13});
  x.randomize(random);
  wideX.randomize(random);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < k; ++i)
      wideX.set(r * (k + 13) + i, x.at(r * k + i));
  Tensor out(LLMIR_F32, {rows, n}), wideOut(LLMIR_F32, {rows, n + 7});
  Tensor untouched = wideOut;
  Context context(2, level());
  linear(context, x.view(), w, out.view());
  llmir_tensor xView = wideX.view(), outView = wideOut.view();
  xView.sizes[1] = k;
  outView.sizes[1] = n;
  linear(context, xView, w, outView);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t i = 0; i < n; ++i)
      ASSERT_EQ(wideOut.at(r * (n + 7) + i), out.at(r * n + i));
    for (int64_t i = n; i < n + 7; ++i)
      ASSERT_EQ(wideOut.at(r * (n + 7) + i), untouched.at(r * (n + 7) + i));
  }
}

TEST_P(LinearTest, AccumulatesLast) {
  std::mt19937_64 random(4);
  constexpr int64_t rows = 30, n = 48, k = 600;
  Weight w(dtype(), n, k);
  w.plain.randomize(random);
  w.pack();
  Tensor x(dtype(), {rows, k}), sum(LLMIR_F32, {rows, n});
  x.randomize(random);
  Tensor out(LLMIR_F32, {rows, n});
  out.randomize(random, 1000);
  Tensor before = out;
  Context context(2, level());
  linear(context, x.view(), w, sum.view());
  Around around;
  around.accumulate = true;
  linear(context, x.view(), w, out.view(), around);
  for (int64_t i = 0; i < out.count(); ++i)
    ASSERT_EQ(out.at(i), before.at(i) + sum.at(i));
}

/// What the types of 16 bits have: a product in f32 is never rounded.
class LinearBF16Test : public ::testing::TestWithParam<CpuLevel> {};

TEST_P(LinearBF16Test, RoundsToNearestEvenAndKeepsNaN) {
  Weight w(LLMIR_BF16, 40, 2);
  for (int64_t i = 0; i < 80; ++i)
    w.plain.set(i, 1);
  w.pack();
  Context context(1, GetParam());
  auto product = [&](float a, float b) {
    Tensor x(LLMIR_BF16, {1, 2}), out(LLMIR_BF16, {1, 40});
    x.set(0, a);
    x.set(1, b);
    linear(context, x.view(), w, out.view());
    EXPECT_EQ(out.data<uint16_t>()[0], out.data<uint16_t>()[39]);
    return out.at(39);
  };
  EXPECT_EQ(product(1, 0x1p-8f), 1.0f);
  EXPECT_EQ(product(1 + 0x1p-7f, 0x1p-8f), 1 + 0x1p-6f);
  EXPECT_EQ(product(1, 0x1.02p-8f), 1 + 0x1p-7f);
  EXPECT_TRUE(std::isnan(product(NAN, 1)));
  EXPECT_TRUE(std::isnan(product(INFINITY, -INFINITY)));
  EXPECT_EQ(product(INFINITY, 1), INFINITY);
}

class LinearF16Test : public LinearBF16Test {};

TEST_P(LinearF16Test, WidensEveryNumberExactly) {
  Context context(1, GetParam());
  // As rows and as weights: subnormals, infinities and NaN among them.
  constexpr int64_t count = 1 << 16;
  Tensor all(LLMIR_F16, {count, 1});
  for (int64_t i = 0; i < count; ++i)
    all.data<uint16_t>()[i] = uint16_t(i);
  Weight one(LLMIR_F16, 1, 1), weights(LLMIR_F16, count, 1);
  one.plain.set(0, 1);
  one.pack();
  weights.plain.bytes = all.bytes;
  weights.pack();
  Tensor rows(LLMIR_F32, {count, 1}), columns(LLMIR_F32, {1, count});
  linear(context, all.view(), one, rows.view());
  linear(context, one.plain.view(), weights, columns.view());
  for (int64_t i = 0; i < count; ++i)
    for (float found : {rows.at(i), columns.at(i)}) {
      float expected = fromF16(uint16_t(i));
      if (std::isnan(expected))
        ASSERT_TRUE(std::isnan(found)) << i;
      else
        ASSERT_EQ(found, expected) << i;
    }
}

TEST_P(LinearF16Test, RoundsToNearestEven) {
  // Every f16, what lies between it and the next, and random bits.
  std::vector<float> values;
  for (int i = 0; i < 0x7c00; ++i) {
    float low = fromF16(uint16_t(i));
    float high = i == 0x7bff ? 65536 : fromF16(uint16_t(i + 1));
    float middle = (low + high) / 2;
    for (float value : {low, middle, std::nextafter(middle, low),
                        std::nextafter(middle, high)})
      values.insert(values.end(), {value, -value});
  }
  std::mt19937_64 random(7);
  for (int i = 0; i < 100000; ++i) {
    uint32_t word = uint32_t(random());
    float value;
    std::memcpy(&value, &word, 4);
    values.push_back(value);
  }
  values.insert(values.end(), {INFINITY, -INFINITY, 1e30f, 0x1p-26f});
  Context context(1, GetParam());
  Weight one(LLMIR_F32, 1, 1);
  one.plain.set(0, 1);
  one.pack();
  int64_t count = values.size();
  Tensor x(LLMIR_F32, {count, 1}), out(LLMIR_F16, {count, 1});
  for (int64_t i = 0; i < count; ++i)
    x.set(i, values[i]);
  linear(context, x.view(), one, out.view());
  for (int64_t i = 0; i < count; ++i) {
    uint32_t word;
    std::memcpy(&word, &values[i], 4);
    uint16_t found = out.data<uint16_t>()[i], alone = roundToF16(word);
    if (std::isnan(values[i])) {
      ASSERT_TRUE(std::isnan(fromF16(found)) && std::isnan(fromF16(alone)));
      continue;
    }
    uint16_t expected = toF16(values[i]);
    // A product and its sum lose the sign of zero.
    ASSERT_EQ(expected == 0x8000 && found == 0 ? 0x8000 : found, expected)
        << values[i];
    ASSERT_EQ(alone, expected) << values[i];
  }
}

class ActivationTest
    : public ::testing::TestWithParam<std::tuple<CpuLevel, llmir_activation>> {
};

TEST_P(ActivationTest, MatchesFloat64) {
  auto [level, activation] = GetParam();
  // All magnitudes, the places where results vanish, and what is not finite.
  std::vector<float> values = {0,      INFINITY, -INFINITY, 1e30f,
                               -1e30f, 3.4e38f,  -3.4e38f};
  std::mt19937_64 random(11);
  std::uniform_real_distribution<float> far(-110, 110), near(-15, 15);
  for (int i = 0; i < 100000; ++i) {
    uint32_t word = uint32_t(random());
    float value;
    std::memcpy(&value, &word, 4);
    if (std::abs(value) >= 0x1p-126f && std::abs(value) < 0x1p127f)
      values.push_back(value);
    values.push_back(far(random));
    values.push_back(near(random));
  }
  values.push_back(NAN); // The last one.
  int64_t count = values.size();
  Tensor x(LLMIR_F32, {count, 1}), out(LLMIR_F32, {count, 1});
  std::memcpy(x.data<float>(), values.data(), count * sizeof(float));
  Weight one(LLMIR_F32, 1, 1);
  one.plain.set(0, 1);
  one.pack();
  Context context(1, level);
  Around around;
  around.activation = activation;
  linear(context, x.view(), one, out.view(), around);
  double worst = 0;
  float worstAt = 0;
  for (int64_t i = 0; i + 1 < count; ++i) {
    double expected = activated(activation, values[i]), found = out.at(i);
    if (std::isinf(expected)) {
      ASSERT_EQ(found, expected);
      continue;
    }
    // A result below the smallest normal number is 0, or rounds up to it.
    double unit = std::ldexp(
        1.0,
        std::max(std::ilogb(std::max(std::abs(expected), 0x1p-126)), -126) -
            23);
    if (std::abs(expected) < 0x1p-125 && found == 0)
      continue;
    double error = std::abs(found - expected) / unit;
    if (!(error <= worst)) {
      worst = error;
      worstAt = values[i];
    }
  }
  // The polynomial of gelu's tail is of alternating terms.
  EXPECT_LE(worst, activation == LLMIR_ACTIVATION_GELU ? 5 : 3)
      << "units in the last place at " << worstAt;
  EXPECT_TRUE(std::isnan(out.at(count - 1)));
}

TEST(NarrowFloats, WidenEveryF16) {
  for (int i = 0; i < 1 << 16; ++i) {
    uint32_t word = widenF16(uint16_t(i));
    float found, expected = fromF16(uint16_t(i));
    std::memcpy(&found, &word, 4);
    if (std::isnan(expected))
      ASSERT_TRUE(std::isnan(found));
    else
      ASSERT_EQ(found, expected) << i;
    ASSERT_EQ(std::signbit(found), std::signbit(expected));
  }
}

TEST(LinearLevels, VectorLevelsAgreeBitForBit) {
  // vdpbf16ps is two fused multiply-adds, the odd k first; the levels below do
  // just that. Products of bf16 and f16 are exact, so even unfused ones agree.
  std::mt19937_64 random(5);
  constexpr int64_t rows = 20, n = 64, k = 777;
  for (llmir_dtype dtype : {LLMIR_BF16, LLMIR_F16}) {
    Weight w(dtype, n, k);
    w.plain.randomize(random);
    w.pack();
    Tensor x(dtype, {rows, k});
    x.randomize(random);
    std::vector<char> first;
    for (CpuLevel level : testedLevels()) {
      if (level == CpuLevel::Amx && dtype == LLMIR_BF16)
        continue;
      Context context(1, level);
      Tensor out(LLMIR_F32, {rows, n});
      linear(context, x.view(), w, out.view());
      if (first.empty())
        first = out.bytes;
      EXPECT_EQ(out.bytes, first) << cpuLevelName(level);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, LinearF16Test,
                         ::testing::ValuesIn(testedLevels()),
                         [](const auto &info) {
                           return levelLabel(info.param);
                         });

INSTANTIATE_TEST_SUITE_P(Levels, LinearBF16Test,
                         ::testing::ValuesIn(testedLevels()),
                         [](const auto &info) {
                           return std::string(cpuLevelName(info.param));
                         });

INSTANTIATE_TEST_SUITE_P(Levels, LinearTest,
                         ::testing::Combine(::testing::ValuesIn(testedLevels()),
                                            ::testing::ValuesIn(floatTypes)),
                         [](const auto &info) {
                           return levelLabel(std::get<0>(info.param)) + "_" +
                                  std::string(
                                      dtypeName(std::get<1>(info.param)));
                         });

INSTANTIATE_TEST_SUITE_P(Levels, ActivationTest,
                         ::testing::Combine(::testing::ValuesIn(testedLevels()),
                                            ::testing::ValuesIn(activations)),
                         [](const auto &info) {
                           return levelLabel(std::get<0>(info.param)) + "_" +
                                  activationNames[std::get<1>(info.param)];
                         });
