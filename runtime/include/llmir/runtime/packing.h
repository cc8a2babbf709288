// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The one layout of weights: panels of 32 output columns, in which the kernels
// for one row and for many rows both read memory in order. The compiler packs
// with these functions, and the kernels read what they wrote.
//
// A weight [N, K] (y = x W^T, as checkpoints store it) becomes
//   f32, f16: [ceil(N / 32)][K][32]
//   bf16:     [ceil(N / 32)][Kp / 2][32][2], Kp = K rounded up to 32
//   integers: [ceil(N / 32)][bytes of a panel]
// with zeros in the padding. Dot products take bf16 in pairs of neighbours; f16
// is widened when it is read, a vector of columns at a time.
//
// A panel of integers holds group after group, and after the last one zeros up
// to a multiple of 64 bytes. A group holds its numbers, then the scales of the
// 32 columns, then, if asymmetric, their 32 zero points, a byte each. Numbers
// are stored without sign: q + 128 or q + 8 where they have one.
//   8 bits: [inputs / 4][32][4], four neighbours in a word, as integer dot
//           products take them
//   4 bits: [inputs / 8][32], one word whose nibbles are, from the lowest,
//   those
//           of inputs 0 2 4 6 1 3 5 7: shifted by 4 i, the low nibbles of its
//           halves are the pair 2 i, 2 i + 1 that products of bf16 take; masked
//           by 0x0f0f0f0f it is the bytes 0 4 1 5, and shifted by 4 before that
//           2 6 3 7, which suits integer products of inputs in this order.
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
inline constexpr int64_t maxGroupSize = 512;

/// "f32", "bf16", "f16" and "i32"; throws std::invalid_argument for another
/// name.
llmir_dtype parseDtype(std::string_view name);
std::string_view dtypeName(llmir_dtype dtype);
int64_t dtypeBytes(llmir_dtype dtype);

/// How a weight is stored. What follows the kind is of quantized ones alone.
struct WeightFormat {
  llmir_weight_format kind = LLMIR_WEIGHT_F32;
  llmir_dtype scales = LLMIR_F32; ///< F32, BF16 or F16.
  int64_t groupSize = 0; ///< Inputs that share a scale; 0 for a whole row.
  bool asymmetric = false;
};

/// "f32", "bf16", "f16", "int8", "int4", "w8a8" and "w4a8"; throws
/// std::invalid_argument for another name.
llmir_weight_format parseWeightKind(std::string_view name);
std::string_view weightKindName(llmir_weight_format kind);
bool isQuantized(llmir_weight_format kind);

/// The shape above. Throws std::invalid_argument unless n and k are positive,
/// the size fits in 63 bits, and the format exists: scales are floats, and a
/// group is a multiple of 32 up to 512 that divides k. Where sums are of
/// integers, a row has at most 65536 inputs, so that they are exact in 32 bits.
std::vector<int64_t> packedShape(const WeightFormat &format, int64_t n,
                                 int64_t k);
int64_t packedBytes(const WeightFormat &format, int64_t n, int64_t k);
int64_t panelCount(int64_t n);

/// What rounding a weight has changed: the sums of the squares of the
/// differences, and of the weight itself. Both are 0 unless it is quantized.
struct PackingLoss {
  double differences = 0;
  double weights = 0;
};

/// How a weight [n, inputs] is rounded so that its products change least, by
/// GPTQ (arXiv:2210.17323): one input after the other, each making up for the
/// errors e of those before it. It is written as QuIP's LDLQ (arXiv:2307.13304,
/// theorem 6), which rounds the same: for H = G^T G, the sum of x x^T over the
/// inputs x that the weight is multiplied by, with G lower triangular,
/// |e G^T|^2 is least one by one if input j is rounded from
///   w[j] + sum over i < j of G[j, i] / G[j, j] * e[i]
struct Feedback {
  const float *factors;    ///< G[j, i] / G[j, j], [inputs][inputs], for i < j.
  const float *importance; ///< The diagonal of H, by which scales are chosen.
  int64_t inputs;
};

/// Packs panels [panelBegin, panelEnd) of the row-major weight `src`, the whole
/// [n, k], into `dst`, where the first of these panels goes. Widening to F32 is
/// exact; narrowing rounds to nearest even. Numbers become integers as
/// llm.quantize defines it, but for symmetric ones of 4 bits: they use all of
/// -8 to 7, and their scale, perhaps a negative one, has the least squared
/// error among some candidates. With `feedback`, of quantized ones alone, they
/// are rounded as that says; then the loss is greater, and that of products
/// less. Runs on `pool` if there is one; what it returns
/// does not depend on that.
PackingLoss packPanels(llmir_dtype srcDtype, const WeightFormat &format,
                       const void *src, int64_t n, int64_t k,
                       int64_t panelBegin, int64_t panelEnd, void *dst,
                       ThreadPool *pool = nullptr,
                       const Feedback *feedback = nullptr);

/// All panels at once.
PackingLoss packPanels(llmir_dtype srcDtype, const WeightFormat &format,
                       const void *src, int64_t n, int64_t k, void *dst,
                       ThreadPool *pool = nullptr);

} // namespace llmir::runtime

#endif // LLMIR_RUNTIME_PACKING_H
