// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the kernel tests share: tensors that compiled code would pass, random
// numbers, the types of 16 bits, and the dispatch levels of this machine.
#ifndef LLMIR_TEST_RUNTIME_TEST_SUPPORT_H
#define LLMIR_TEST_RUNTIME_TEST_SUPPORT_H

#include "llmir/runtime/context.h"
#include "llmir/runtime/packing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <random>
#include <vector>

namespace llmir::runtime::test {

inline float fromBF16(uint16_t value) {
  uint32_t bits = uint32_t(value) << 16;
  float result;
  std::memcpy(&result, &bits, 4);
  return result;
}

inline uint16_t toBF16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  if ((bits & 0x7fffffffu) > 0x7f800000u)
    return uint16_t(bits >> 16 | 0x40u);
  return uint16_t((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

/// By the definition of the format, rather than by its bits.
inline float fromF16(uint16_t value) {
  int exponent = value >> 10 & 31, fraction = value & 1023;
  double size = exponent == 0    ? std::ldexp(fraction, -24)
                : exponent == 31 ? (fraction ? NAN : INFINITY)
                                 : std::ldexp(1024 + fraction, exponent - 25);
  return float(std::copysign(size, value & 0x8000 ? -1.0 : 1.0));
}

inline uint16_t toF16(float value) {
  uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  if (std::isnan(value))
    return sign | 0x7e00;
  double size = std::abs(double(value));
  if (size >= 65520)
    return sign | 0x7c00;
  int exponent = size < 0x1p-14 ? -14 : std::ilogb(size);
  // Rounds to even; 1024 carries into the exponent.
  double units = std::nearbyint(std::ldexp(size, 10 - exponent));
  return sign | uint16_t(units + 1024 * (exponent + 14));
}

/// How much a value may be off once it is rounded to `dtype`, relative to it.
inline double roundingOf(llmir_dtype dtype) {
  return dtype == LLMIR_F16 ? 0x1p-11 : dtype == LLMIR_BF16 ? 0x1p-8 : 0;
}

/// `value` as it is when it has been stored in `dtype`.
inline float stored(llmir_dtype dtype, float value) {
  return dtype == LLMIR_F16    ? fromF16(toF16(value))
         : dtype == LLMIR_BF16 ? fromBF16(toBF16(value))
                               : value;
}

inline constexpr llmir_dtype floatTypes[] = {LLMIR_F32, LLMIR_BF16, LLMIR_F16};

/// Of weights that are kept as numbers.
inline WeightFormat formatOf(llmir_dtype dtype) {
  return {dtype == LLMIR_BF16  ? LLMIR_WEIGHT_BF16
          : dtype == LLMIR_F16 ? LLMIR_WEIGHT_F16
                               : LLMIR_WEIGHT_F32};
}

/// One head's keys or values of a token as a cache of integers has them: what
/// llm.quantize makes of them, number by number, signed.
struct QuantizedHead {
  QuantizedHead(llmir_dtype dtype, const float *x, int64_t count) {
    bool symmetric = dtype == LLMIR_I8;
    float least = symmetric ? -127 : -8, most = symmetric ? 127 : 7;
    float low = 0, high = 0;
    bool isNumber = true;
    for (int64_t i = 0; i < count; ++i) {
      low = std::min(low, x[i]);
      high = std::max(high, x[i]);
      isNumber = isNumber && !std::isnan(x[i]);
    }
    float range = symmetric ? std::max(high, -low) : high - low;
    scale = isNumber ? fromF16(toF16(range / (symmetric ? most : 15))) : NAN;
    auto divided = [&](float value) { return scale == 0 ? 0 : value / scale; };
    // A NaN becomes the lower bound.
    auto clamped = [](float value, float low, float high) {
      return std::fmin(std::fmax(value, low), high);
    };
    if (!symmetric)
      zero = std::nearbyint(clamped(least - divided(low), least, most));
    for (int64_t i = 0; i < count; ++i) {
      float steps =
          std::nearbyint(clamped(divided(x[i]), -65536, 65536)) + zero;
      integers.push_back(int(clamped(steps, least, most)));
    }
  }

  double value(int64_t i) const { return (integers[i] - zero) * double(scale); }

  float scale, zero = 0;
  std::vector<int> integers;
};

/// A dense tensor of f32, bf16, f16 or i32.
class Tensor {
public:
  Tensor(llmir_dtype dtype, std::initializer_list<int64_t> sizes)
      : dtype(dtype), sizes(sizes) {
    int64_t count = 1;
    for (int64_t size : sizes)
      count *= size;
    // The fill is what is read where nothing was written.
    bytes.assign(count * dtypeBytes(dtype), 0x7b);
  }

  int64_t count() const { return bytes.size() / dtypeBytes(dtype); }
  template <typename T> T *data() {
    return reinterpret_cast<T *>(bytes.data());
  }
  template <typename T> const T *data() const {
    return reinterpret_cast<const T *>(bytes.data());
  }
  float at(int64_t i) const {
    return dtype == LLMIR_BF16  ? fromBF16(data<uint16_t>()[i])
           : dtype == LLMIR_F16 ? fromF16(data<uint16_t>()[i])
                                : data<float>()[i];
  }
  /// All elements, for oracles that read them often.
  std::vector<double> values() const {
    std::vector<double> result(count());
    for (int64_t i = 0; i < count(); ++i)
      result[i] = at(i);
    return result;
  }
  void set(int64_t i, float value) {
    if (dtype == LLMIR_BF16)
      data<uint16_t>()[i] = toBF16(value);
    else if (dtype == LLMIR_F16)
      data<uint16_t>()[i] = toF16(value);
    else
      data<float>()[i] = value;
  }
  /// Nearly normal numbers: sums of four uniform ones. The standard library's
  /// take longer than most tests do for the rest.
  Tensor &randomize(std::mt19937_64 &engine, float scale = 1) {
    for (int64_t i = 0; i < count(); ++i) {
      int64_t sum = -0x1fffe; // Less the mean.
      for (uint64_t bits = engine(); bits; bits >>= 16)
        sum += int64_t(bits & 0xffff);
      set(i, scale * float(sum) * float(1.7320508 / 65536));
    }
    return *this;
  }

  /// Rows [begin, end) of the first dimension.
  llmir_tensor view(int64_t begin = 0, int64_t end = -1) {
    llmir_tensor result{};
    result.dtype = dtype;
    result.rank = int32_t(sizes.size());
    int64_t stride = 1;
    for (size_t i = sizes.size(); i-- > 0;) {
      result.sizes[i] = sizes[i];
      result.strides[i] = stride;
      stride *= sizes[i];
    }
    if (end >= 0)
      result.sizes[0] = end - begin;
    result.data = bytes.data() + begin * result.strides[0] * dtypeBytes(dtype);
    return result;
  }

  llmir_dtype dtype;
  std::vector<int64_t> sizes;
  std::vector<char> bytes;
};

/// Reads a packed weight of integers, as packing.h describes it.
struct Unpacked {
  Unpacked(const WeightFormat &format, const char *packed, int64_t n, int64_t k)
      : format(format), packed(reinterpret_cast<const uint8_t *>(packed)),
        bits(format.kind == LLMIR_WEIGHT_INT8 ||
                     format.kind == LLMIR_WEIGHT_W8A8
                 ? 8
                 : 4),
        inputs(format.groupSize ? format.groupSize : (k + 31) / 32 * 32),
        scaleBytes(format.scales == LLMIR_F32 ? 4 : 2),
        groupBytes(32 * (inputs * bits / 8 + scaleBytes + format.asymmetric)),
        panelBytes(packedBytes(format, n, k) / ((n + 31) / 32)) {}

  const uint8_t *group(int64_t row, int64_t i) const {
    return packed + row / 32 * panelBytes + i / inputs * groupBytes;
  }
  double scale(int64_t row, int64_t i) const {
    const uint8_t *at =
        group(row, i) + inputs * 4 * bits + row % 32 * scaleBytes;
    if (format.scales == LLMIR_F32) {
      float scale;
      std::memcpy(&scale, at, 4);
      return scale;
    }
    uint16_t half;
    std::memcpy(&half, at, 2);
    return format.scales == LLMIR_F16 ? fromF16(half) : fromBF16(half);
  }
  /// q - z
  int integer(int64_t row, int64_t i) const {
    const uint8_t *numbers = group(row, i);
    int zero = bits == 8 ? 128 : 8;
    if (format.asymmetric)
      zero = numbers[inputs * 4 * bits + 32 * scaleBytes + row % 32];
    int64_t inside = i % inputs;
    if (bits == 8)
      return numbers[(inside / 4 * 32 + row % 32) * 4 + inside % 4] - zero;
    static constexpr int shifts[] = {0, 16, 4, 20, 8, 24, 12, 28};
    uint32_t word;
    std::memcpy(&word, numbers + (inside / 8 * 32 + row % 32) * 4, 4);
    return int(word >> shifts[inside % 8] & 15) - zero;
  }

  WeightFormat format;
  const uint8_t *packed;
  int64_t bits, inputs, scaleBytes, groupBytes, panelBytes;
};

inline std::vector<CpuLevel> testedLevels() {
  std::vector<CpuLevel> levels;
  for (CpuLevel level : {CpuLevel::Portable, CpuLevel::Avx2, CpuLevel::Avx512,
                         CpuLevel::Avx512Bf16, CpuLevel::Amx})
    if (supportsCpuLevel(level))
      levels.push_back(level);
  return levels;
}

inline std::string levelLabel(CpuLevel level) {
  return std::string(cpuLevelName(level));
}

} // namespace llmir::runtime::test

#endif // LLMIR_TEST_RUNTIME_TEST_SUPPORT_H
