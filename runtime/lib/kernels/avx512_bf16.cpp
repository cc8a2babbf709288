// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The kernels for AVX-512 with dot products of bf16 pairs (vdpbf16ps).
#define LLMIR_LEVEL avx512_bf16
#define LLMIR_VECTOR_WIDTH 16
#define LLMIR_ACCUMULATORS 24
#define LLMIR_HAS_FMA 1
#define LLMIR_HAS_F16C 1
#define LLMIR_HAS_DPBF16 1
#define LLMIR_HAS_VNNI 1
#include "level.inc"

namespace llmir::runtime::kernels::LLMIR_LEVEL {

const Table &table() {
  static constexpr Table kernels = tableWith(linearKernelsBF16);
  return kernels;
}

} // namespace llmir::runtime::kernels::LLMIR_LEVEL
