// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The kernels that every CPU of the architecture runs.
#define LLMIR_LEVEL portable
#define LLMIR_VECTOR_WIDTH 4
#define LLMIR_ACCUMULATORS 12
#define LLMIR_HAS_FMA 0
#define LLMIR_HAS_F16C 0
#define LLMIR_HAS_DPBF16 0
#define LLMIR_HAS_VNNI 0
#include "level.inc"

namespace llmir::runtime::kernels::LLMIR_LEVEL {

const Table &table() {
  static constexpr Table kernels = tableWith(linearKernelsBF16);
  return kernels;
}

} // namespace llmir::runtime::kernels::LLMIR_LEVEL
