// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The way back from the layout that kernels.h describes. One code for all
// levels of the CPU: what is stored does not depend on the level.
#include "kv_reader.h"

#include "narrow_floats.h"

#include <algorithm>
#include <cstring>

namespace llmir::runtime {

namespace {

constexpr int64_t tilePositions = 16;

float fromBits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

/// Element i lies at i / Group * step + i % Group.
template <int64_t Group, class Stored, class Widen>
void readElements(const Stored *from, int64_t count, int64_t step, Widen widen,
                  float *to) {
  for (int64_t i = 0; i < count; ++i)
    to[i] = fromBits(widen(from[i / Group * step + i % Group]));
}

void readFloats(const llmir_kv_cache &cache, bool isKeys, const char *head,
                int64_t inside, float *to) {
  int64_t tile = std::min(cache.blockSize, tilePositions);
  int64_t pair = cache.dtype == LLMIR_BF16 ? 2 : 1;
  const char *from = head;
  int64_t group, step;
  if (isKeys) {
    group = pair, step = tile * pair;
    from += inside / tile * tile * cache.keyBytes +
            inside % tile * pair * cache.elementBytes;
  } else {
    // Positions come in pairs, but where they are gathered anyway.
    int64_t positions = cache.blockSize < tilePositions ? 1 : pair;
    group = 1, step = positions;
    from += cache.valuesOffset +
            inside / positions * positions * cache.valueBytes +
            inside % positions * cache.elementBytes;
  }
  int64_t count = cache.headDim;
  const auto *words = reinterpret_cast<const uint32_t *>(from);
  const auto *halves = reinterpret_cast<const uint16_t *>(from);
  if (cache.dtype == LLMIR_F32)
    readElements<1>(words, count, step, [](uint32_t bits) { return bits; }, to);
  else if (cache.dtype == LLMIR_F16)
    readElements<1>(halves, count, step, widenF16, to);
  else if (group == 1)
    readElements<1>(halves, count, step, widenBF16, to);
  else
    readElements<2>(halves, count, step, widenBF16, to);
}

/// The byte of a line of 8-bit integers that has number `i` of the four that
/// each of 16 lanes has.
int64_t int8Place(int64_t lane, int64_t i) {
  return lane / 4 * 16 + i / 2 * 8 + lane % 4 * 2 + i % 2;
}

/// Where integers of a position lie: number i in a byte, or in half of one.
class Integers {
public:
  Integers(const llmir_kv_cache &cache, bool isKeys, const char *head,
           int64_t inside)
      : isInt4(cache.dtype == LLMIR_I4), isKeys(isKeys),
        inRows(cache.blockSize < tilePositions), lane(inside % tilePositions) {
    int64_t bytes = isKeys ? cache.keyBytes : cache.valueBytes;
    from = reinterpret_cast<const uint8_t *>(head) +
           (isKeys ? 0 : cache.valuesOffset);
    // Lines are of 16 positions' keys, and of four positions' values.
    int64_t together = inRows ? 1 : isKeys ? tilePositions : 4;
    from += inside / together * together * bytes;
  }

  /// Less the zero point, which is as it is stored.
  int at(int64_t i, int zero) const {
    if (!isInt4) {
      int byte = from[placeOfByte(i)];
      return byte < 128 ? byte : 128 - byte;
    }
    auto [byte, isHigh] = placeOfHalf(i);
    return (isHigh ? from[byte] >> 4 : from[byte] & 15) - zero;
  }

private:
  struct Half {
    int64_t byte;
    bool isHigh;
  };

  int64_t placeOfByte(int64_t i) const {
    if (inRows)
      return i;
    return isKeys ? i / 4 * 64 + int8Place(lane, i % 4)
                  : i / 16 * 64 + int8Place(i % 16, lane % 4);
  }

  Half placeOfHalf(int64_t i) const {
    if (inRows)
      return {i / 2, i % 2 == 1};
    if (isKeys) // Nibbles 0, 2, 4, 6, 1, 3, 5, 7 of a word.
      return {i / 8 * 64 + lane * 4 + i % 8 / 4 + i % 2 * 2, i % 4 >= 2};
    constexpr int64_t order[] = {0, 2, 1, 3};
    return {i / 32 * 64 + i % 16 * 4 + order[lane % 4], i % 32 >= 16};
  }

  bool isInt4, isKeys, inRows;
  int64_t lane;
  const uint8_t *from;
};

void readIntegers(const llmir_kv_cache &cache, bool isKeys, const char *head,
                  int64_t inside, float *to) {
  int64_t tile = std::min(cache.blockSize, tilePositions);
  const char *record =
      head + cache.scalesOffset + inside / tile * tile * cache.scaleBytes;
  uint16_t half;
  std::memcpy(&half, record + ((isKeys ? 0 : tile) + inside % tile) * 2, 2);
  float scale = fromBits(widenF16(half));
  int zero = 0;
  if (cache.dtype == LLMIR_I4)
    zero = uint8_t(record[(isKeys ? 4 : 5) * tile + inside % tile]);
  Integers integers(cache, isKeys, head, inside);
  // Exact: 8 bits times the 11 of an f16.
  for (int64_t i = 0; i < cache.headDim; ++i)
    to[i] = float(integers.at(i, zero)) * scale;
}

} // namespace

void readHead(const llmir_kv_cache &cache, bool isKeys, const char *head,
              int64_t inside, float *to) {
  if (cache.scaleBytes > 0)
    readIntegers(cache, isKeys, head, inside, to);
  else
    readFloats(cache, isKeys, head, inside, to);
}

} // namespace llmir::runtime
