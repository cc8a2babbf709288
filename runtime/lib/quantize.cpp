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

LLMIR_INLINE Floats scaleOf4Bits(const float *x, int64_t inputs) {
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
      products += value * q;
      squares += q * q;
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

LLMIR_INLINE Columns chooseColumns(const WeightFormat &format, const float *x,
                                   int64_t inputs) {
  Columns columns;
  bool eight = weightBits(format.kind) == 8;
  float most = eight ? 255 : 15, lowest[panelColumns];
  for (int64_t c = 0; c < panelColumns; c += width)
    store(columns.scale + c, format.asymmetric
                                 ? scaleOfRange(x + c, inputs, most, lowest + c)
                             : eight ? scaleOf8Bits(x + c, inputs)
                                     : scaleOf4Bits(x + c, inputs));
  for (int64_t c = 0; c < panelColumns; ++c) {
    float scale = roundScale(format.scales, columns.scale[c]);
    columns.scale[c] = scale;
    columns.zero[c] = eight ? 128 : 8;
    if (format.asymmetric) {
      float zero = scale == 0 ? 0 : -lowest[c] / scale;
      columns.zero[c] = zero > 0 ? std::rint(std::fmin(zero, most)) : 0;
    }
  }
  return columns;
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
    Floats step = scale, differences = splat(0), weights = splat(0);
    // A number divided by 0 is 0 here.
    scale = scale == splat(0) ? splat(std::numeric_limits<float>::infinity())
                              : scale;
    for (int64_t i = 0; i < inputs; i += perUnit) {
      const float *from = x + i * panelColumns + c;
      Words unit = {};
      auto add = [&](int shift) __attribute__((always_inline)) {
        Floats value = load(from);
        Floats q = clamp(rounded(value / scale) + zero, low, high);
        Floats difference = value - (q - zero) * step;
        differences += difference * difference;
        weights += value * value;
        // Only a NaN has bits beyond the mask.
        Words stored = __builtin_bit_cast(Words, q + magic) & mask;
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

LLMIR_INLINE PackingLoss quantize(const WeightFormat &format, const float *x,
                                  int64_t inputs, char *out) {
  Columns columns = chooseColumns(format, x, inputs);
  // Symmetric ones of 8 bits do not use -128.
  PackingLoss loss =
      weightBits(format.kind) == 8
          ? writeElements<8, 0, 8, 16, 24>(x, inputs, columns,
                                           format.asymmetric ? 0 : 1, 255, out)
          : writeElements<4, 0, 16, 4, 20, 8, 24, 12, 28>(x, inputs, columns, 0,
                                                          15, out);
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
__attribute__((target("avx2"))) PackingLoss quantizeAvx2(
    const WeightFormat &format, const float *x, int64_t inputs, char *out) {
  return quantize(format, x, inputs, out);
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

PackingLoss quantizeGroup(const WeightFormat &format, const float *x,
                          int64_t inputs, char *out) {
#if defined(__x86_64__)
  static const bool avx2 = supportsCpuLevel(CpuLevel::Avx2);
  if (avx2)
    return quantizeAvx2(format, x, inputs, out);
#endif
  return quantize(format, x, inputs, out);
}

} // namespace llmir::runtime
