// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Packing is a transposition of 32 rows at a time, in units of four bytes (one
// f32, or a pair of bf16). Rows are first staged, a few cache lines of each, so
// that both the weight and the panels are touched in whole lines.
#include "llmir/runtime/packing.h"

#include "bfloat16.h"
#include "llmir/runtime/thread_pool.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>

namespace llmir::runtime {

namespace {

constexpr int64_t stagedUnits = 64;

typedef uint32_t Words __attribute__((ext_vector_type(4)));

/// Units [begin, begin + count) of a row, zeros after its end.
void stageRow(llmir_dtype srcDtype, llmir_dtype dstDtype, const void *row,
              int64_t k, int64_t begin, int64_t count, uint32_t *staged) {
  if (dstDtype == LLMIR_F32) {
    int64_t valid = std::clamp<int64_t>(k - begin, 0, count);
    if (srcDtype == LLMIR_F32) {
      std::memcpy(staged, static_cast<const float *>(row) + begin, valid * 4);
    } else {
      const uint16_t *from = static_cast<const uint16_t *>(row) + begin;
      for (int64_t i = 0; i < valid; ++i)
        staged[i] = uint32_t(from[i]) << 16;
    }
    std::fill(staged + valid, staged + count, 0);
    return;
  }
  int64_t valid = std::clamp<int64_t>(k - 2 * begin, 0, 2 * count);
  uint16_t *to = reinterpret_cast<uint16_t *>(staged);
  if (srcDtype == LLMIR_BF16) {
    std::memcpy(to, static_cast<const uint16_t *>(row) + 2 * begin, valid * 2);
  } else {
    const char *from = static_cast<const char *>(row) + 2 * begin * 4;
    for (int64_t i = 0; i < valid; ++i) {
      uint32_t f;
      std::memcpy(&f, from + i * 4, 4);
      to[i] = roundToBF16(f);
    }
  }
  std::fill(to + valid, to + 2 * count, 0);
}

/// out[u][r] = staged[r][u] for 32 rows and a multiple of 4 units.
void transpose(const uint32_t (*staged)[stagedUnits], int64_t units,
               char *out) {
  for (int64_t u = 0; u < units; u += 4)
    for (int64_t r = 0; r < panelColumns; r += 4) {
      Words a, b, c, d;
      std::memcpy(&a, &staged[r][u], 16);
      std::memcpy(&b, &staged[r + 1][u], 16);
      std::memcpy(&c, &staged[r + 2][u], 16);
      std::memcpy(&d, &staged[r + 3][u], 16);
      Words ab0 = __builtin_shufflevector(a, b, 0, 4, 1, 5);
      Words ab1 = __builtin_shufflevector(a, b, 2, 6, 3, 7);
      Words cd0 = __builtin_shufflevector(c, d, 0, 4, 1, 5);
      Words cd1 = __builtin_shufflevector(c, d, 2, 6, 3, 7);
      Words result[4] = {__builtin_shufflevector(ab0, cd0, 0, 1, 4, 5),
                         __builtin_shufflevector(ab0, cd0, 2, 3, 6, 7),
                         __builtin_shufflevector(ab1, cd1, 0, 1, 4, 5),
                         __builtin_shufflevector(ab1, cd1, 2, 3, 6, 7)};
      for (int64_t i = 0; i < 4; ++i)
        std::memcpy(out + ((u + i) * panelColumns + r) * 4, &result[i], 16);
    }
}

int64_t unitsOf(llmir_dtype dtype, int64_t k) {
  if (dtype == LLMIR_F32)
    return k;
  return (k + packedKMultiple - 1) / packedKMultiple * packedKMultiple / 2;
}

void packPanel(llmir_dtype srcDtype, llmir_dtype dstDtype, const char *src,
               int64_t n, int64_t k, int64_t panel, char *dst) {
  uint32_t staged[panelColumns][stagedUnits];
  int64_t units = unitsOf(dstDtype, k);
  int64_t rowBytes = k * dtypeBytes(srcDtype);
  for (int64_t u = 0; u < units; u += stagedUnits) {
    int64_t count = std::min(stagedUnits, units - u);
    int64_t rounded = (count + 3) / 4 * 4;
    for (int64_t r = 0; r < panelColumns; ++r) {
      int64_t row = panel * panelColumns + r;
      if (row < n)
        stageRow(srcDtype, dstDtype, src + row * rowBytes, k, u, rounded,
                 staged[r]);
      else
        std::fill(staged[r], staged[r] + rounded, 0);
    }
    char *out = dst + u * panelColumns * 4;
    if (rounded == count) {
      transpose(staged, count, out);
    } else {
      char last[stagedUnits * panelColumns * 4];
      transpose(staged, rounded, last);
      std::memcpy(out, last, count * panelColumns * 4);
    }
  }
}

void checkWeight(llmir_dtype dtype, int64_t n, int64_t k) {
  if (dtype != LLMIR_F32 && dtype != LLMIR_BF16)
    throw std::invalid_argument("weights are packed as f32 or bf16, not as " +
                                (dtype == LLMIR_I32
                                     ? std::string("i32")
                                     : "dtype " + std::to_string(int(dtype))));
  constexpr int64_t most = int64_t(1) << 40;
  if (n < 1 || k < 1 || n > most || k > most ||
      n > std::numeric_limits<int64_t>::max() / 64 / (k + 64))
    throw std::invalid_argument("a weight of " + std::to_string(n) + " x " +
                                std::to_string(k) + " cannot be packed");
}

} // namespace

llmir_dtype parseDtype(std::string_view name) {
  for (llmir_dtype dtype : {LLMIR_F32, LLMIR_BF16, LLMIR_I32})
    if (name == dtypeName(dtype))
      return dtype;
  throw std::invalid_argument("unknown dtype '" + std::string(name) +
                              "'; expected f32 or bf16");
}

std::string_view dtypeName(llmir_dtype dtype) {
  switch (dtype) {
  case LLMIR_F32:
    return "f32";
  case LLMIR_BF16:
    return "bf16";
  case LLMIR_I32:
    return "i32";
  }
  return "unknown";
}

int64_t dtypeBytes(llmir_dtype dtype) { return dtype == LLMIR_BF16 ? 2 : 4; }

int64_t panelCount(int64_t n) { return (n + panelColumns - 1) / panelColumns; }

std::vector<int64_t> packedShape(llmir_dtype dtype, int64_t n, int64_t k) {
  checkWeight(dtype, n, k);
  if (dtype == LLMIR_F32)
    return {panelCount(n), k, panelColumns};
  return {panelCount(n), unitsOf(dtype, k), panelColumns, 2};
}

int64_t packedBytes(llmir_dtype dtype, int64_t n, int64_t k) {
  checkWeight(dtype, n, k);
  return panelCount(n) * unitsOf(dtype, k) * panelColumns * 4;
}

void packPanels(llmir_dtype srcDtype, llmir_dtype dstDtype, const void *src,
                int64_t n, int64_t k, int64_t panelBegin, int64_t panelEnd,
                void *dst, ThreadPool *pool) {
  checkWeight(srcDtype, n, k);
  checkWeight(dstDtype, n, k);
  if (panelBegin < 0 || panelBegin > panelEnd || panelEnd > panelCount(n))
    throw std::invalid_argument(
        "panels " + std::to_string(panelBegin) + " to " +
        std::to_string(panelEnd) + " are not among the " +
        std::to_string(panelCount(n)) + " of this weight");
  int64_t panelBytes = unitsOf(dstDtype, k) * panelColumns * 4;
  auto pack = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      packPanel(srcDtype, dstDtype, static_cast<const char *>(src), n, k,
                panelBegin + i, static_cast<char *>(dst) + i * panelBytes);
  };
  if (pool)
    pool->parallelFor(panelEnd - panelBegin, pack);
  else
    pack(0, panelEnd - panelBegin);
}

void packPanels(llmir_dtype srcDtype, llmir_dtype dstDtype, const void *src,
                int64_t n, int64_t k, void *dst, ThreadPool *pool) {
  checkWeight(dstDtype, n, k);
  packPanels(srcDtype, dstDtype, src, n, k, 0, panelCount(n), dst, pool);
}

} // namespace llmir::runtime
