// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Conversions between float32 and the types of 16 bits, one number at a time.
// The kernels have their own in vectors (simd.inc): they share no function with
// other code, since each level is compiled for its own instructions. Integer
// arithmetic alone, because float32 subnormals may be flushed where it runs.
#ifndef LLMIR_RUNTIME_LIB_NARROW_FLOATS_H
#define LLMIR_RUNTIME_LIB_NARROW_FLOATS_H

#include <cstdint>

namespace llmir::runtime {

/// The bf16 nearest to the float32 with these bits, ties to even. A NaN stays
/// one, and quiet.
inline uint16_t roundToBF16(uint32_t bits) {
  if ((bits & 0x7fffffffu) > 0x7f800000u)
    return uint16_t(bits >> 16 | 0x40u);
  return uint16_t((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

/// The bits of the float32 that a bf16 is.
inline uint32_t widenBF16(uint16_t bits) { return uint32_t(bits) << 16; }

/// The f16 nearest to the float32 with these bits, ties to even; infinite from
/// halfway beyond the largest one on. A NaN stays one, and quiet.
inline uint16_t roundToF16(uint32_t bits) {
  uint32_t sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u)
    return uint16_t(sign | 0x7e00u | (magnitude >> 13 & 0x3ffu));
  if (magnitude >= 0x477ff000u)
    return uint16_t(sign | 0x7c00u);
  uint32_t exponent = magnitude >> 23;
  if (exponent >= 113)
    return uint16_t(
        sign |
        (((magnitude + 0xfffu + (magnitude >> 13 & 1u)) >> 13) - (112u << 10)));
  if (exponent < 102) // Less than half of the smallest one.
    return uint16_t(sign);
  // A subnormal counts 2^-24: the significand without its last `shift` bits.
  uint32_t significand = (magnitude & 0x7fffffu) | 0x800000u;
  uint32_t shift = 126 - exponent, kept = significand >> shift;
  uint32_t rest = significand & ((1u << shift) - 1), half = 1u << (shift - 1);
  return uint16_t(sign | (kept + (rest > half || (rest == half && kept & 1u))));
}

/// The bits of the float32 that an f16 is. A NaN becomes quiet.
inline uint32_t widenF16(uint16_t bits) {
  uint32_t sign = uint32_t(bits & 0x8000u) << 16, magnitude = bits & 0x7fffu;
  if (magnitude > 0x7c00u)
    return sign | 0x7fc00000u | magnitude << 13;
  if (magnitude == 0x7c00u)
    return sign | 0x7f800000u;
  if (magnitude >= 0x400u)
    return sign | ((magnitude << 13) + (112u << 23));
  if (magnitude == 0)
    return sign;
  // 2^-24 times the magnitude, whose highest bit becomes the implicit one.
  uint32_t shift = uint32_t(__builtin_clz(magnitude)) - 8;
  return sign | ((126 - shift) << 23) | ((magnitude << shift) & 0x7fffffu);
}

} // namespace llmir::runtime

#endif // LLMIR_RUNTIME_LIB_NARROW_FLOATS_H
