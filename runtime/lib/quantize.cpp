// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Compiling a model rounds each of its weights once, so this must keep up with
// reading the file: everything is vectors of columns, and the search for the
// scales of 4 bits tries few candidates and improves each one by least squares.
#include "quantize.h"

#include "llmir/runtime/cpu_features.h"
#include "narrow_floats.h"

#include <cmath>
#include <cstring>
#include <limits>

namespace llmir::runtime {

namespace {

constexpr int width = 8;
using Floats = float __attribute__((ext_vector_type(width)));
using Words = uint32_t __attribute__((ext_vector_type(width)));

/// Added to a number and taken away, it rounds to an integer, ties to even.
constexpr float magic = 12582912.0f;

// The vectors are wider than the registers of some CPUs. How such ones would be
// passed does not matter: these are always inlined.
#pragma clang diagnostic ignored "-Wpsabi"
#define LLMIR_INLINE static inline __attribute__((always_inline))

LLMIR_INLINE Floats load(const float *from) {
  Floats value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}
LLMIR_INLINE void store(void *to, Floats value) {
  std::memcpy(to, &value, sizeof(value));
}
LLMIR_INLINE Floats splat(float value) { return (Floats)(value); }
LLMIR_INLINE Floats rounded(Floats x) { return (x + magic) - magic; }
/// Leaves NaN as it is.
LLMIR_INLINE Floats clamp(Floats x, float low, float high) {
  x = x < splat(low) ? splat(low) : x;
  return x > splat(high) ? splat(high) : x;
}
LLMIR_INLINE Floats magnitude(Floats x) {
  return __builtin_bit_cast(Floats, __builtin_bit_cast(Words, x) & 0x7fffffffu);
}

float roundScale(llmir_dtype dtype, float scale) {
  uint32_t bits;
  std::memcpy(&bits, &scale, 4);
  if (dtype == LLMIR_BF16)
    bits = widenBF16(roundToBF16(bits));
  else if (dtype == LLMIR_F16)
    bits = widenF16(roundToF16(bits));
  std::memcpy(&scale, &bits, 4);
  return scale;
}

/// How the numbers of a column become integers.
struct Columns {
  float scale[panelColumns]; ///< Rounded to its type.
  float zero[panelColumns];  ///< What is stored for 0.
};

/// The value where it is a NaN.
LLMIR_INLINE Floats orNaN(Floats other, Floats value) {
  // NOLINTNEXTLINE(misc-redundant-expression): but for a NaN.
  return value == value ? other : value;
}

/// max |x| / 127, and NaN if there is one.
LLMIR_INLINE Floats scaleOf8Bits(const float *x, int64_t inputs) {
  Floats most = splat(0), other = splat(0);
  for (int64_t i = 0; i < inputs; ++i) {
    Floats value = load(x + i * panelColumns);
    Floats size = magnitude(value);
    most = size > most ? size : most;
    other = orNaN(other, value);
  }
  return most / splat(127) + other;
}

// The error of q with the scale s is sum (x - s q)^2, which is least for s =
// sum x q / sum q^2, where it is sum x^2 - (sum x q)^2 / sum q^2. Each
// candidate gives a q, each q its best scale. They put the number of largest
// magnitude at these integers, or beyond the last one, which cuts it off in
// favour of all the others; the longer the group, the more this gains.
constexpr float candidates[] = {7, 7.5, 8, 8.6, 9.3, 10, 11, 13};

/// The squared error of input i counts `importance[i]` times, if that is given.
LLMIR_INLINE Floats scaleOf4Bits(const float *x, int64_t inputs,
                                 const float *importance) {
  Floats extreme = splat(0), other = splat(0);
  for (int64_t i = 0; i < inputs; ++i) {
    Floats value = load(x + i * panelColumns);
    extreme = magnitude(value) > magnitude(extreme) ? value : extreme;
    other = orNaN(other, value);
  }
  Floats best = splat(0), scale = splat(0);
  for (float candidate : candidates) {
    Floats inverse = splat(-candidate) / extreme;
    Floats products = splat(0), squares = splat(0);
    for (int64_t i = 0; i < inputs; ++i) {
      Floats value = load(x + i * panelColumns);
      Floats q = clamp(rounded(value * inverse), -8, 7);
      Floats counted = importance ? q * importance[i] : q;
      products += value * counted;
      squares += q * counted;
    }
    // Comparisons with NaN are false: without a number but 0 the scale is 0.
    Floats found = products / squares, gain = found * products;
    scale = gain > best ? found : scale;
    best = gain > best ? gain : best;
  }
  return scale + other;
}

/// The range from the least number to the greatest, 0 among them, in `steps`.
LLMIR_INLINE Floats scaleOfRange(const float *x, int64_t inputs, float steps,
                                 float *lowest) {
  Floats low = splat(0), high = splat(0), other = splat(0);
  for (int64_t i = 0; i < inputs; ++i) {
    Floats value = load(x + i * panelColumns);
    low = value < low ? value : low;
    high = value > high ? value : high;
    other = orNaN(other, value);
  }
  store(lowest, low);
  return (high - low) / splat(steps) + other;
}

/// How a number becomes an integer, which is stored, and what that stands for.
struct Rounded {
  Floats stored, meant;
};

LLMIR_INLINE Rounded roundTo(Floats value, Floats scale, Floats zero, float low,
                             float high) {
  // A number divided by 0 is 0 here.
  Floats by =
      scale == splat(0) ? splat(std::numeric_limits<float>::infinity()) : scale;
  Floats q = clamp(rounded(value / by) + zero, low, high);
  return {q, (q - zero) * scale};
}

/// The least and the greatest integer that is stored. Symmetric ones of 8 bits
/// do not use -128.
LLMIR_INLINE float lowestStored(const WeightFormat &format) {
  return weightBits(format.kind) == 8 && !format.asymmetric ? 1 : 0;
}
LLMIR_INLINE float highestStored(const WeightFormat &format) {
  return weightBits(format.kind) == 8 ? 255 : 15;
}

/// Rounds a scale to its type and chooses the zero point that goes with it.
LLMIR_INLINE void settle(const WeightFormat &format, const float *lowest,
                         Columns &columns) {
  for (int64_t c = 0; c < panelColumns; ++c) {
    float scale = roundScale(format.scales, columns.scale[c]);
    columns.scale[c] = scale;
    columns.zero[c] = weightBits(format.kind) == 8 ? 128 : 8;
    if (format.asymmetric) {
      float zero = scale == 0 ? 0 : -lowest[c] / scale;
      float most = highestStored(format);
      columns.zero[c] = zero > 0 ? std::rint(std::fmin(zero, most)) : 0;
    }
  }
}

LLMIR_INLINE Columns chooseColumns(const WeightFormat &format, const float *x,
                                   int64_t inputs, const float *importance) {
  Columns columns;
  bool eight = weightBits(format.kind) == 8;
  float most = highestStored(format), lowest[panelColumns] = {};
  for (int64_t c = 0; c < panelColumns; c += width)
    store(columns.scale + c, format.asymmetric
                                 ? scaleOfRange(x + c, inputs, most, lowest + c)
                             : eight ? scaleOf8Bits(x + c, inputs)
                                     : scaleOf4Bits(x + c, inputs, importance));
  Columns whole = columns;
  settle(format, lowest, columns);
  if (!importance || eight || !format.asymmetric)
    return columns;

  // A range that is cut off a little may serve the numbers within it better.
  Columns best = columns;
  float least[panelColumns];
  for (float part : {1.0f, 0.95f, 0.9f, 0.85f, 0.8f, 0.75f, 0.7f}) {
    Columns tried = whole;
    float cut[panelColumns];
    for (int64_t c = 0; c < panelColumns; ++c) {
      tried.scale[c] *= part;
      cut[c] = lowest[c] * part;
    }
    settle(format, cut, tried);
    for (int64_t c = 0; c < panelColumns; c += width) {
      Floats scale = load(tried.scale + c), zero = load(tried.zero + c);
      Floats error = splat(0);
      for (int64_t i = 0; i < inputs; ++i) {
        Floats value = load(x + i * panelColumns + c);
        Floats off = value - roundTo(value, scale, zero, 0, most).meant;
        error += off * off * importance[i];
      }
      for (int64_t lane = 0; lane < width; ++lane)
        if (part == 1.0f || error[lane] < least[c + lane]) {
          least[c + lane] = error[lane];
          best.scale[c + lane] = tried.scale[c + lane];
          best.zero[c + lane] = tried.zero[c + lane];
        }
    }
  }
  return best;
}

/// x[j] += sum over i in [begin, end) of factors[j][i] * errors[i], for two
/// inputs j at a time, so that errors are read half as often.
template <int Inputs>
LLMIR_INLINE void addErrors(float *x, const float *factors, int64_t stride,
                            const float *errors, int64_t begin, int64_t end) {
  constexpr int vectors = panelColumns / width;
  Floats sums[Inputs][vectors] = {};
  for (int64_t i = begin; i < end; ++i)
    for (int64_t v = 0; v < vectors; ++v) {
      Floats error = load(errors + i * panelColumns + v * width);
      for (int64_t j = 0; j < Inputs; ++j)
        sums[j][v] += error * factors[j * stride + i];
    }
  for (int64_t j = 0; j < Inputs; ++j)
    for (int64_t v = 0; v < vectors; ++v) {
      float *at = x + j * panelColumns + v * width;
      store(at, load(at) + sums[j][v]);
    }
}

/// Before the group's scales are chosen: what earlier groups ask of it. Until
/// they are rounded its own errors are its numbers.
LLMIR_INLINE void addEarlierErrors(float *x, int64_t inputs,
                                   const GroupFeedback &feedback) {
  std::memcpy(feedback.errors + feedback.begin * panelColumns, x,
              inputs * panelColumns * sizeof(float));
  int64_t stride = feedback.whole.inputs;
  for (int64_t j = 0; j < inputs; j += 2)
    addErrors<2>(x + j * panelColumns,
                 feedback.whole.factors + (feedback.begin + j) * stride, stride,
                 feedback.errors, 0, feedback.begin);
}

/// Rounds one input after the other, each with what those before it ask.
LLMIR_INLINE PackingLoss roundInOrder(const WeightFormat &format, float *x,
                                      int64_t inputs, const Columns &columns,
                                      const GroupFeedback &feedback) {
  PackingLoss loss;
  int64_t stride = feedback.whole.inputs;
  float low = lowestStored(format), high = highestStored(format);
  for (int64_t j = 0; j < inputs; ++j, x += panelColumns) {
    int64_t input = feedback.begin + j;
    addErrors<1>(x, feedback.whole.factors + input * stride, stride,
                 feedback.errors, feedback.begin, input);
    for (int64_t c = 0; c < panelColumns; c += width) {
      float *at = feedback.errors + input * panelColumns + c;
      Floats weight = load(at);
      Floats meant = roundTo(load(x + c), load(columns.scale + c),
                             load(columns.zero + c), low, high)
                         .meant;
      Floats error = weight - meant;
      store(at, error);
      for (int64_t lane = 0; lane < width; ++lane) {
        loss.differences += double(error[lane]) * error[lane];
        loss.weights += double(weight[lane]) * weight[lane];
      }
    }
  }
  return loss;
}

/// Units of four or eight inputs. The j-th of them goes to the bits that
/// `Shifts` names.
template <int Bits, int... Shifts>
LLMIR_INLINE PackingLoss writeElements(const float *x, int64_t inputs,
                                       const Columns &columns, float low,
                                       float high, char *out) {
  constexpr int perUnit = sizeof...(Shifts);
  constexpr uint32_t mask = (1u << Bits) - 1;
  PackingLoss loss;
  for (int64_t c = 0; c < panelColumns; c += width) {
    Floats scale = load(columns.scale + c), zero = load(columns.zero + c);
    Floats differences = splat(0), weights = splat(0);
    for (int64_t i = 0; i < inputs; i += perUnit) {
      const float *from = x + i * panelColumns + c;
      Words unit = {};
      auto add = [&](int shift) __attribute__((always_inline)) {
        Floats value = load(from);
        Rounded result = roundTo(value, scale, zero, low, high);
        Floats difference = value - result.meant;
        differences += difference * difference;
        weights += value * value;
        // Only a NaN has bits beyond the mask.
        Words stored = __builtin_bit_cast(Words, result.stored + magic) & mask;
        unit |= stored << uint32_t(shift);
        from += panelColumns;
      };
      (add(Shifts), ...);
      std::memcpy(out + (i / perUnit * panelColumns + c) * 4, &unit,
                  sizeof(unit));
    }
    for (int64_t i = 0; i < width; ++i) {
      loss.differences += differences[i];
      loss.weights += weights[i];
    }
  }
  return loss;
}

LLMIR_INLINE PackingLoss quantize(const WeightFormat &format, float *x,
                                  int64_t inputs, char *out,
                                  const GroupFeedback *feedback) {
  if (feedback)
    addEarlierErrors(x, inputs, *feedback);
  Columns columns = chooseColumns(
      format, x, inputs,
      feedback ? feedback->whole.importance + feedback->begin : nullptr);
  PackingLoss fedBack;
  if (feedback)
    fedBack = roundInOrder(format, x, inputs, columns, *feedback);
  float low = lowestStored(format), high = highestStored(format);
  PackingLoss loss =
      weightBits(format.kind) == 8
          ? writeElements<8, 0, 8, 16, 24>(x, inputs, columns, low, high, out)
          : writeElements<4, 0, 16, 4, 20, 8, 24, 12, 28>(x, inputs, columns,
                                                          low, high, out);
  if (feedback)
    loss = fedBack;
  out += panelColumns * inputs * weightBits(format.kind) / 8;
  for (int64_t c = 0; c < panelColumns; ++c) {
    uint32_t bits;
    std::memcpy(&bits, &columns.scale[c], 4);
    uint16_t half =
        format.scales == LLMIR_F16 ? roundToF16(bits) : roundToBF16(bits);
    if (format.scales == LLMIR_F32)
      std::memcpy(out + c * 4, &bits, 4);
    else
      std::memcpy(out + c * 2, &half, 2);
  }
  out += panelColumns * dtypeBytes(format.scales);
  if (format.asymmetric)
    for (int64_t c = 0; c < panelColumns; ++c)
      out[c] = char(uint8_t(columns.zero[c]));
  return loss;
}

// The same for CPUs with wider vectors. Nothing is fused (see CMakeLists.txt),
// so the numbers are the same too.
#if defined(__x86_64__)
__attribute__((target("avx2"))) PackingLoss
quantizeAvx2(const WeightFormat &format, float *x, int64_t inputs, char *out,
             const GroupFeedback *feedback) {
  return quantize(format, x, inputs, out, feedback);
}
#endif

} // namespace

int64_t weightBits(llmir_weight_format kind) {
  return kind == LLMIR_WEIGHT_INT8 || kind == LLMIR_WEIGHT_W8A8 ? 8 : 4;
}

int64_t groupBytes(const WeightFormat &format, int64_t inputs) {
  return panelColumns * (inputs * weightBits(format.kind) / 8 +
                         dtypeBytes(format.scales) + format.asymmetric);
}

PackingLoss quantizeGroup(const WeightFormat &format, float *x, int64_t inputs,
                          char *out, const GroupFeedback *feedback) {
#if defined(__x86_64__)
  static const bool avx2 = supportsCpuLevel(CpuLevel::Avx2);
  if (avx2)
    return quantizeAvx2(format, x, inputs, out, feedback);
#endif
  return quantize(format, x, inputs, out, feedback);
}

} // namespace llmir::runtime
