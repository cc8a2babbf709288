// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Packing is a transposition of 32 rows at a time, in units of four bytes (one
// f32, or a pair of bf16 or f16; the pairs of f16 are taken apart afterwards).
// Rows are first staged, a few cache lines of each, so that both the weight and
// the panels are touched in whole lines. What becomes integers goes through
// f32, a group at a time.
#include "llmir/runtime/packing.h"

#include "llmir/runtime/thread_pool.h"
#include "narrow_floats.h"
#include "quantize.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>

namespace llmir::runtime {

namespace {

constexpr int64_t stagedUnits = 64;

using Words = uint32_t __attribute__((ext_vector_type(4)));

/// The bits of element i as float32.
uint32_t widened(llmir_dtype dtype, const char *elements, int64_t i) {
  if (dtype == LLMIR_F32) {
    uint32_t bits;
    std::memcpy(&bits, elements + i * 4, 4);
    return bits;
  }
  uint16_t bits;
  std::memcpy(&bits, elements + i * 2, 2);
  return dtype == LLMIR_BF16 ? widenBF16(bits) : widenF16(bits);
}

/// Units [begin, begin + count) of a row, zeros after its end.
void stageRow(llmir_dtype srcDtype, llmir_dtype dstDtype, const char *row,
              int64_t k, int64_t begin, int64_t count, uint32_t *staged) {
  int64_t perUnit = dstDtype == LLMIR_F32 ? 1 : 2;
  int64_t valid = std::clamp<int64_t>(k - begin * perUnit, 0, count * perUnit);
  const char *from = row + begin * perUnit * dtypeBytes(srcDtype);
  char *end = reinterpret_cast<char *>(staged) + valid * dtypeBytes(dstDtype);
  if (srcDtype == dstDtype) {
    std::memcpy(staged, from, valid * dtypeBytes(srcDtype));
  } else if (dstDtype == LLMIR_F32) {
    for (int64_t i = 0; i < valid; ++i)
      staged[i] = widened(srcDtype, from, i);
  } else {
    uint16_t *to = reinterpret_cast<uint16_t *>(staged);
    for (int64_t i = 0; i < valid; ++i) {
      uint32_t bits = widened(srcDtype, from, i);
      to[i] = dstDtype == LLMIR_BF16 ? roundToBF16(bits) : roundToF16(bits);
    }
  }
  std::fill(end, reinterpret_cast<char *>(staged + count), 0);
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

int64_t roundUp(int64_t n, int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

int64_t unitsOf(llmir_dtype dtype, int64_t k) {
  if (dtype == LLMIR_F32)
    return k;
  if (dtype == LLMIR_F16)
    return (k + 1) / 2;
  return roundUp(k, packedKMultiple) / 2;
}

/// The numbers of a weight that is not quantized.
llmir_dtype elementType(llmir_weight_format kind) {
  return kind == LLMIR_WEIGHT_BF16  ? LLMIR_BF16
         : kind == LLMIR_WEIGHT_F16 ? LLMIR_F16
                                    : LLMIR_F32;
}

/// Inputs that share a scale, padding included.
int64_t inputsOfGroup(const WeightFormat &format, int64_t k) {
  return format.groupSize ? format.groupSize : roundUp(k, packedKMultiple);
}

int64_t bytesOfPanel(const WeightFormat &format, int64_t k) {
  if (isQuantized(format.kind)) {
    int64_t inputs = inputsOfGroup(format, k);
    return roundUp(roundUp(k, inputs) / inputs * groupBytes(format, inputs),
                   64);
  }
  llmir_dtype dtype = elementType(format.kind);
  if (dtype == LLMIR_F16)
    return k * panelColumns * 2;
  return unitsOf(dtype, k) * panelColumns * 4;
}

/// Writes pairs of columns as two rows each, of `rows` in all.
void splitPairs(const char *pairs, int64_t rows, char *out) {
  for (int64_t row = 0; row < rows; ++row) {
    uint16_t line[panelColumns];
    const char *from = pairs + row / 2 * panelColumns * 4 + row % 2 * 2;
    for (int64_t c = 0; c < panelColumns; ++c)
      std::memcpy(&line[c], from + c * 4, 2);
    std::memcpy(out + row * sizeof(line), line, sizeof(line));
  }
}

/// The same of the 32 rows of a panel, with zeros for those beyond n.
void stageRows(llmir_dtype srcDtype, llmir_dtype dstDtype, const char *src,
               int64_t n, int64_t k, int64_t panel, int64_t begin,
               int64_t count, uint32_t (*staged)[stagedUnits]) {
  int64_t rowBytes = k * dtypeBytes(srcDtype);
  for (int64_t r = 0; r < panelColumns; ++r) {
    int64_t row = panel * panelColumns + r;
    if (row < n)
      stageRow(srcDtype, dstDtype, src + row * rowBytes, k, begin, count,
               staged[r]);
    else
      std::fill(staged[r], staged[r] + count, 0);
  }
}

void packPanel(llmir_dtype srcDtype, llmir_dtype dstDtype, const char *src,
               int64_t n, int64_t k, int64_t panel, char *dst) {
  uint32_t staged[panelColumns][stagedUnits];
  int64_t units = unitsOf(dstDtype, k);
  for (int64_t u = 0; u < units; u += stagedUnits) {
    int64_t count = std::min(stagedUnits, units - u);
    int64_t rounded = (count + 3) / 4 * 4;
    stageRows(srcDtype, dstDtype, src, n, k, panel, u, rounded, staged);
    char *out = dst + u * panelColumns * 4;
    if (rounded == count && dstDtype != LLMIR_F16) {
      transpose(staged, count, out);
      continue;
    }
    char last[stagedUnits * panelColumns * 4];
    transpose(staged, rounded, last);
    if (dstDtype == LLMIR_F16)
      splitPairs(last, std::min(2 * count, k - 2 * u), out);
    else
      std::memcpy(out, last, count * panelColumns * 4);
  }
}

/// `x` is room for the group's numbers as f32, and for the errors of all inputs
/// after it, if they are fed back.
PackingLoss packQuantized(llmir_dtype srcDtype, const WeightFormat &format,
                          const char *src, int64_t n, int64_t k, int64_t panel,
                          const Feedback *feedback, float *x, char *dst) {
  PackingLoss sum;
  uint32_t staged[panelColumns][stagedUnits];
  int64_t inputs = inputsOfGroup(format, k), bytes = groupBytes(format, inputs);
  char *end = dst + bytesOfPanel(format, k);
  float *errors = x + inputs * panelColumns;
  for (int64_t begin = 0; begin < k; begin += inputs, dst += bytes) {
    for (int64_t i = 0; i < inputs; i += stagedUnits) {
      int64_t count = std::min(stagedUnits, inputs - i);
      stageRows(srcDtype, LLMIR_F32, src, n, k, panel, begin + i, count,
                staged);
      transpose(staged, count, reinterpret_cast<char *>(x + i * panelColumns));
    }
    PackingLoss loss;
    if (feedback) {
      GroupFeedback part{*feedback, begin, errors};
      loss = quantizeGroup(format, x, inputs, dst, &part);
    } else {
      loss = quantizeGroup(format, x, inputs, dst);
    }
    sum.differences += loss.differences;
    sum.weights += loss.weights;
  }
  std::fill(dst, end, 0);
  return sum;
}

void checkWeight(int64_t n, int64_t k) {
  constexpr int64_t most = int64_t(1) << 40;
  if (n < 1 || k < 1 || n > most || k > most ||
      n > std::numeric_limits<int64_t>::max() / 64 / (k + 64))
    throw std::invalid_argument("a weight of " + std::to_string(n) + " x " +
                                std::to_string(k) + " cannot be packed");
}

void checkFormat(const WeightFormat &format, int64_t k) {
  if (format.kind < LLMIR_WEIGHT_F32 || format.kind > LLMIR_WEIGHT_W4A8)
    throw std::invalid_argument("no weight format has the number " +
                                std::to_string(int(format.kind)));
  if (!isQuantized(format.kind))
    return;
  std::string name(weightKindName(format.kind));
  if (format.scales != LLMIR_F32 && format.scales != LLMIR_BF16 &&
      format.scales != LLMIR_F16)
    throw std::invalid_argument("the scales of " + name +
                                " weights are f32, bf16 or f16");
  if (format.groupSize < 0 || format.groupSize % packedKMultiple != 0 ||
      format.groupSize > maxGroupSize ||
      (format.groupSize > 0 && k % format.groupSize != 0))
    throw std::invalid_argument(
        "groups of " + std::to_string(format.groupSize) +
        " inputs do not fit " + "a weight with " + std::to_string(k) +
        ": a group is a multiple of " + std::to_string(packedKMultiple) +
        " up to " + std::to_string(maxGroupSize) +
        " that divides them, or 0 for whole rows");
  bool integers =
      format.kind == LLMIR_WEIGHT_W8A8 || format.kind == LLMIR_WEIGHT_W4A8;
  constexpr int64_t most = 65536;
  if (integers && inputsOfGroup(format, k) > most)
    throw std::invalid_argument(
        "sums of " + std::to_string(k) + " products could overflow: rows of " +
        name + " weights have up to " + std::to_string(most) + " inputs");
}

} // namespace

llmir_dtype parseDtype(std::string_view name) {
  for (llmir_dtype dtype : {LLMIR_F32, LLMIR_BF16, LLMIR_F16, LLMIR_I32})
    if (name == dtypeName(dtype))
      return dtype;
  throw std::invalid_argument("unknown dtype '" + std::string(name) +
                              "'; expected f32, bf16 or f16");
}

std::string_view dtypeName(llmir_dtype dtype) {
  switch (dtype) {
  case LLMIR_F32:
    return "f32";
  case LLMIR_BF16:
    return "bf16";
  case LLMIR_F16:
    return "f16";
  case LLMIR_I32:
    return "i32";
  case LLMIR_I8:
    return "i8";
  case LLMIR_I4:
    return "i4";
  }
  return "unknown";
}

int64_t dtypeBytes(llmir_dtype dtype) {
  if (dtype == LLMIR_I8 || dtype == LLMIR_I4)
    return 1;
  return dtype == LLMIR_BF16 || dtype == LLMIR_F16 ? 2 : 4;
}

int64_t panelCount(int64_t n) { return (n + panelColumns - 1) / panelColumns; }

llmir_weight_format parseWeightKind(std::string_view name) {
  for (int kind = LLMIR_WEIGHT_F32; kind <= LLMIR_WEIGHT_W4A8; ++kind)
    if (name == weightKindName(llmir_weight_format(kind)))
      return llmir_weight_format(kind);
  throw std::invalid_argument(
      "unknown weight format '" + std::string(name) +
      "'; expected f32, bf16, f16, int8, int4, w8a8 or w4a8");
}

std::string_view weightKindName(llmir_weight_format kind) {
  switch (kind) {
  case LLMIR_WEIGHT_F32:
    return "f32";
  case LLMIR_WEIGHT_BF16:
    return "bf16";
  case LLMIR_WEIGHT_F16:
    return "f16";
  case LLMIR_WEIGHT_INT8:
    return "int8";
  case LLMIR_WEIGHT_INT4:
    return "int4";
  case LLMIR_WEIGHT_W8A8:
    return "w8a8";
  case LLMIR_WEIGHT_W4A8:
    return "w4a8";
  }
  return "unknown";
}

bool isQuantized(llmir_weight_format kind) { return kind > LLMIR_WEIGHT_F16; }

std::vector<int64_t> packedShape(const WeightFormat &format, int64_t n,
                                 int64_t k) {
  checkWeight(n, k);
  checkFormat(format, k);
  if (isQuantized(format.kind))
    return {panelCount(n), bytesOfPanel(format, k)};
  if (format.kind != LLMIR_WEIGHT_BF16)
    return {panelCount(n), k, panelColumns};
  return {panelCount(n), unitsOf(LLMIR_BF16, k), panelColumns, 2};
}

int64_t packedBytes(const WeightFormat &format, int64_t n, int64_t k) {
  checkWeight(n, k);
  checkFormat(format, k);
  return panelCount(n) * bytesOfPanel(format, k);
}

PackingLoss packPanels(llmir_dtype srcDtype, const WeightFormat &format,
                       const void *src, int64_t n, int64_t k,
                       int64_t panelBegin, int64_t panelEnd, void *dst,
                       ThreadPool *pool, const Feedback *feedback) {
  if (srcDtype != LLMIR_F32 && srcDtype != LLMIR_BF16 && srcDtype != LLMIR_F16)
    throw std::invalid_argument("weights are packed from f32, bf16 or f16");
  checkWeight(n, k);
  checkFormat(format, k);
  if (panelBegin < 0 || panelBegin > panelEnd || panelEnd > panelCount(n))
    throw std::invalid_argument(
        "panels " + std::to_string(panelBegin) + " to " +
        std::to_string(panelEnd) + " are not among the " +
        std::to_string(panelCount(n)) + " of this weight");
  int64_t panelBytes = bytesOfPanel(format, k);
  bool quantized = isQuantized(format.kind);
  int64_t groupFloats = quantized ? inputsOfGroup(format, k) * panelColumns : 0;
  if (feedback) {
    if (!quantized || feedback->inputs != roundUp(k, packedKMultiple))
      throw std::invalid_argument(
          "feedback of " + std::to_string(feedback->inputs) +
          " inputs does not fit a weight with " + std::to_string(k) +
          ", which must be quantized");
    groupFloats += feedback->inputs * panelColumns;
  }
  // Of each panel, so that their sum is the same with any threads.
  std::vector<PackingLoss> losses(quantized ? panelEnd - panelBegin : 0);
  std::vector<float> groups((pool ? pool->threads() : 1) * groupFloats);
  auto pack = [&](unsigned thread, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const char *from = static_cast<const char *>(src);
      char *to = static_cast<char *>(dst) + i * panelBytes;
      if (quantized)
        losses[i] =
            packQuantized(srcDtype, format, from, n, k, panelBegin + i,
                          feedback, groups.data() + thread * groupFloats, to);
      else
        packPanel(srcDtype, elementType(format.kind), from, n, k,
                  panelBegin + i, to);
    }
  };
  int64_t panels = panelEnd - panelBegin;
  if (pool)
    pool->forRanges(panels, pool->evenGrain(panels), pack);
  else
    pack(0, 0, panels);
  PackingLoss sum;
  for (const PackingLoss &loss : losses) {
    sum.differences += loss.differences;
    sum.weights += loss.weights;
  }
  return sum;
}

PackingLoss packPanels(llmir_dtype srcDtype, const WeightFormat &format,
                       const void *src, int64_t n, int64_t k, void *dst,
                       ThreadPool *pool) {
  return packPanels(srcDtype, format, src, n, k, 0, panelCount(n), dst, pool);
}

} // namespace llmir::runtime
