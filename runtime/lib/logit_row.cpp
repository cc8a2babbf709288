// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Vectors are written out, since compilers do not reorder sums and maxima of
// floats by themselves. They are compiled for the oldest CPU of the platform:
// reading the row is what takes the time.
#include "logit_row.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <stdexcept>
#include <string>

namespace llmir::runtime {

namespace {

constexpr size_t width = 16;
using Floats = float __attribute__((ext_vector_type(width)));
using Ints = int32_t __attribute__((ext_vector_type(width)));

// Wider than the registers, which does not matter as these are inlined.
#pragma clang diagnostic ignored "-Wpsabi"
#define LLMIR_INLINE static inline __attribute__((always_inline))

constexpr float infinity = std::numeric_limits<float>::infinity();

LLMIR_INLINE Floats load(const float *from) {
  Floats value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}
LLMIR_INLINE Floats splat(float value) { return (Floats)(value); }

template <typename To, typename From> LLMIR_INLINE To bitsAs(From value) {
  To result;
  static_assert(sizeof(result) == sizeof(value));
  std::memcpy(&result, &value, sizeof(result));
  return result;
}

/// e^x for x <= 0, as Cephes' expf computes it: a power of two, and a
/// polynomial for what is left of the exponent. T is a float or a vector.
template <typename T, typename I> LLMIR_INLINE T exponentialOf(T x) {
  const T least = T(-87.3f), magic = T(12582912.0f);
  T inRange = x < least ? least : x;
  T shifted = inRange * T(1.44269504088896341f) + magic;
  T power = shifted - magic;
  T r = inRange - power * T(0.693359375f);
  r = r - power * T(-2.12194440e-4f);
  T p = T(1.9875691500e-4f);
  p = p * r + T(1.3981999507e-3f);
  p = p * r + T(8.3334519073e-3f);
  p = p * r + T(4.1665795894e-2f);
  p = p * r + T(1.6666665459e-1f);
  p = p * r + T(5.0000001201e-1f);
  p = p * (r * r) + r + T(1.0f);
  // The low bits of `shifted` count powers of two.
  I bits = (bitsAs<I>(shifted) - bitsAs<I>(magic) + I(127)) << I(23);
  T result = p * bitsAs<T>(bits);
  return x < least ? T(0.0f) : result;
}

LLMIR_INLINE Floats exponentials(Floats x) {
  return exponentialOf<Floats, Ints>(x);
}

/// `count` <= width logits, and -inf where there are none.
LLMIR_INLINE Floats loadSome(const float *from, size_t count) {
  Floats value = splat(-infinity);
  std::memcpy(&value, from, count * sizeof(float));
  return value;
}

LLMIR_INLINE Floats weights(Floats logits, float most, float scale) {
  return exponentials((logits - splat(most)) * splat(scale));
}

[[noreturn]] void refuse(const float *logits, size_t size) {
  for (size_t i = 0; i < size; ++i)
    if (std::isnan(logits[i]))
      throw std::invalid_argument("the logit of token " + std::to_string(i) +
                                  " is NaN");
  throw std::invalid_argument("a logit is infinite");
}

} // namespace

float exponential(float x) { return exponentialOf<float, int32_t>(x); }

size_t LogitRow::blockEnd(size_t block) const {
  return std::min(size, (block + 1) * blockSize);
}

void LogitRow::read(const float *row, size_t count) {
  if (count == 0 || count > size_t(std::numeric_limits<int32_t>::max()))
    throw std::invalid_argument("there are no logits to sample from");
  logits = row;
  size = count;
  size_t blocks = (size + blockSize - 1) / blockSize;
  maxima.resize(blocks);
  greatest = -infinity;
  blockOfGreatest = 0;
  Ints bad = Ints(0);
  for (size_t block = 0; block < blocks; ++block) {
    Floats most = splat(-infinity);
    size_t i = block * blockSize, end = blockEnd(block);
    auto take = [&](Floats x) {
      // Neither NaN nor +inf is below +inf.
      bad |= ~(x < splat(infinity));
      most = x > most ? x : most;
    };
    for (; i + width <= end; i += width)
      take(load(row + i));
    if (i < end)
      take(loadSome(row + i, end - i));
    float lanes[width];
    std::memcpy(lanes, &most, sizeof(lanes));
    for (size_t half = width / 2; half > 0; half /= 2)
      for (size_t lane = 0; lane < half; ++lane)
        lanes[lane] = std::max(lanes[lane], lanes[lane + half]);
    maxima[block] = lanes[0];
    if (lanes[0] > greatest) {
      greatest = lanes[0];
      blockOfGreatest = block;
    }
  }
  int32_t anyBad = 0;
  for (size_t lane = 0; lane < width; ++lane)
    anyBad |= bad[lane];
  if (anyBad)
    refuse(row, count);
  if (std::isinf(greatest))
    throw std::invalid_argument("every logit is -infinity");
}

int32_t LogitRow::argmax() const {
  const float *begin = logits + blockOfGreatest * blockSize;
  const float *end = logits + blockEnd(blockOfGreatest);
  return int32_t(std::find(begin, end, greatest) - logits);
}

double LogitRow::sumWeights(float newScale) {
  scale = newScale;
  total = 0;
  sums.resize(maxima.size());
  for (size_t block = 0; block < maxima.size(); ++block) {
    Floats sum = splat(0.0f);
    size_t i = block * blockSize, end = blockEnd(block);
    for (; i + width <= end; i += width)
      sum += weights(load(logits + i), greatest, scale);
    if (i < end)
      sum += weights(loadSome(logits + i, end - i), greatest, scale);
    double blockSum = 0;
    for (size_t lane = 0; lane < width; ++lane)
      blockSum += double(sum[lane]);
    total += blockSum;
    sums[block] = blockSum;
  }
  return total;
}

int32_t LogitRow::draw(double number) const {
  double left = number * total;
  size_t block = 0;
  while (block + 1 < sums.size() && left >= sums[block])
    left -= sums[block++];
  // Rounding may leave more than what is there; weights of 0 are never drawn.
  while (sums[block] == 0)
    --block;
  size_t last = 0;
  for (size_t i = block * blockSize; i < blockEnd(block); ++i) {
    float weight = exponential((logits[i] - greatest) * scale);
    if (weight == 0)
      continue;
    last = i;
    left -= double(weight);
    if (left < 0)
      break;
  }
  return int32_t(last);
}

float LogitRow::floorOfGreatest(size_t count) {
  constexpr float least = std::numeric_limits<float>::lowest();
  if (count > maxima.size())
    return least;
  // Each block has one as great as its greatest.
  sorted = maxima;
  std::nth_element(sorted.begin(), sorted.begin() + (count - 1), sorted.end(),
                   std::greater<float>());
  return std::max(sorted[count - 1], least);
}

void LogitRow::collect(float floor, std::vector<Candidate> &into) const {
  into.clear();
  for (size_t block = 0; block < maxima.size(); ++block) {
    if (maxima[block] < floor)
      continue;
    for (size_t i = block * blockSize; i < blockEnd(block); ++i)
      if (logits[i] >= floor)
        into.push_back({logits[i], int32_t(i)});
  }
}

} // namespace llmir::runtime
