// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The kernels for AVX2 and FMA: sixteen registers of eight floats.
#define LLMIR_LEVEL avx2
#define LLMIR_VECTOR_WIDTH 8
#define LLMIR_ACCUMULATORS 12
#define LLMIR_HAS_FMA 1
#define LLMIR_HAS_F16C 1
#define LLMIR_HAS_DPBF16 0
#define LLMIR_HAS_VNNI 0
#include "level.inc"

namespace llmir::runtime::kernels::LLMIR_LEVEL {

const Table &table() {
  static constexpr Table kernels = tableWith(linearKernelsBF16);
  return kernels;
}

} // namespace llmir::runtime::kernels::LLMIR_LEVEL
