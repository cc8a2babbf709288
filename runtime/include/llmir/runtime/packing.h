// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The one layout of weights: panels of 32 output columns, in which the kernels
// for one row and for many rows both read memory in order. The compiler packs
// with these functions, and the kernels read what they wrote.
//
// A weight [N, K] (y = x W^T, as checkpoints store it) becomes
//   f32, f16: [ceil(N / 32)][K][32]
//   bf16:     [ceil(N / 32)][Kp / 2][32][2], Kp = K rounded up to 32
// with zeros in the padding. Dot products take bf16 in pairs of neighbours; f16
// is widened when it is read, a vector of columns at a time.
#ifndef LLMIR_RUNTIME_PACKING_H
#define LLMIR_RUNTIME_PACKING_H

#include "llmir/runtime/abi.h"

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace llmir::runtime {

class ThreadPool;

inline constexpr int64_t panelColumns = 32;
inline constexpr int64_t packedKMultiple = 32;

/// "f32", "bf16", "f16" and "i32"; throws std::invalid_argument for another
/// name.
llmir_dtype parseDtype(std::string_view name);
std::string_view dtypeName(llmir_dtype dtype);
int64_t dtypeBytes(llmir_dtype dtype);

/// The shape above. Throws std::invalid_argument unless n and k are positive,
/// the size fits in 63 bits, and the dtype is F32, BF16 or F16.
std::vector<int64_t> packedShape(llmir_dtype dtype, int64_t n, int64_t k);
int64_t packedBytes(llmir_dtype dtype, int64_t n, int64_t k);
int64_t panelCount(int64_t n);

/// Packs panels [panelBegin, panelEnd) of the row-major weight `src`, the whole
/// [n, k], into `dst`, where the first of these panels goes. Widening to F32 is
/// exact; narrowing rounds to nearest even. Runs on `pool` if there is one.
void packPanels(llmir_dtype srcDtype, llmir_dtype dstDtype, const void *src,
                int64_t n, int64_t k, int64_t panelBegin, int64_t panelEnd,
                void *dst, ThreadPool *pool = nullptr);

/// All panels at once.
void packPanels(llmir_dtype srcDtype, llmir_dtype dstDtype, const void *src,
                int64_t n, int64_t k, void *dst, ThreadPool *pool = nullptr);

} // namespace llmir::runtime

#endif // LLMIR_RUNTIME_PACKING_H
