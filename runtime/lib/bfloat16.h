// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The rounding of float32 to bf16, one number at a time. The kernels have their
// own in vectors (simd.inc): they share no function with other code, since each
// level is compiled for its own instructions.
#ifndef LLMIR_RUNTIME_LIB_BFLOAT16_H
#define LLMIR_RUNTIME_LIB_BFLOAT16_H

#include <cstdint>

namespace llmir::runtime {

/// The bf16 nearest to the float32 with these bits, ties to even. A NaN stays
/// one, and quiet.
inline uint16_t roundToBF16(uint32_t bits) {
  if ((bits & 0x7fffffffu) > 0x7f800000u)
    return uint16_t(bits >> 16 | 0x40u);
  return uint16_t((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

} // namespace llmir::runtime

#endif // LLMIR_RUNTIME_LIB_BFLOAT16_H
