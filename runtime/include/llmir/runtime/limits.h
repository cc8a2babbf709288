// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Measures what this machine can do at most, so that a time can be read as a
// share of it: bytes read from memory per second, and multiply-adds in
// registers. They drift, so they are worth little unless taken beside what they
// are compared with.
#ifndef LLMIR_RUNTIME_LIMITS_H
#define LLMIR_RUNTIME_LIMITS_H

#include <cstdint>

namespace llmir::runtime {

/// Memory to read, which is mapped as long as this lives.
class Bandwidth {
public:
  /// Throws std::runtime_error if there is no memory for `bytes`, which should
  /// be more than the caches hold.
  explicit Bandwidth(int64_t bytes);
  ~Bandwidth();
  Bandwidth(const Bandwidth &) = delete;
  Bandwidth &operator=(const Bandwidth &) = delete;

  /// Reads all of it once, and returns bytes per second.
  double measure(unsigned threads) const;

private:
  char *data;
  int64_t bytes;
};

/// The instructions that products are made of.
enum class Multiplier { F32, BF16, Int8 };

/// Operations per second, two for each multiply-add, with operands that stay in
/// registers; 0 if this CPU has no such instruction (of vectors, for F32).
double measurePeak(Multiplier multiplier, unsigned threads);

} // namespace llmir::runtime

#endif // LLMIR_RUNTIME_LIMITS_H
