// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A row of logits as sampling looks at it. A vocabulary has 100,000 entries and
// more, and few of them matter: one pass finds the greatest logit of each
// block, after which most blocks are never looked at again.
#ifndef LLMIR_RUNTIME_LOGIT_ROW_H
#define LLMIR_RUNTIME_LOGIT_ROW_H

#include <cstddef>
#include <cstdint>
#include <vector>

namespace llmir::runtime {

struct Candidate {
  float logit;
  int32_t id;
};

/// In the order of likelihood; equal ones in the order of their ids.
inline bool likelier(const Candidate &a, const Candidate &b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

/// e^x for x <= 0, and 0 below -87.3. The same bits on every platform.
float exponential(float x);

/// Keeps its memory from one row to the next.
class LogitRow {
public:
  /// Looks at a row, which must live as long as it is asked about. Throws
  /// std::invalid_argument if there is no logit, one is NaN or +inf, or all are
  /// -inf.
  void read(const float *logits, size_t size);

  /// The greatest logit.
  float most() const { return greatest; }

  /// The id of the greatest logit, the lowest of equals.
  int32_t argmax() const;

  /// Sums e^((logit - most) * scale), for `draw` too.
  double sumWeights(float scale);

  /// The token for a number in [0, 1), by the weights last summed.
  int32_t draw(double number) const;

  /// A logit that at least `count` logits reach, and few more than these if
  /// `count` is small. The least finite number if there are not as many.
  float floorOfGreatest(size_t count);

  /// The tokens whose logits are at least `floor`, which is finite, by id.
  void collect(float floor, std::vector<Candidate> &into) const;

private:
  static constexpr size_t blockSize = 128;
  size_t blockEnd(size_t block) const;

  const float *logits = nullptr;
  size_t size = 0;
  float greatest = 0, scale = 1;
  size_t blockOfGreatest = 0;
  double total = 0;
  std::vector<float> maxima, sorted;
  std::vector<double> sums;
};

} // namespace llmir::runtime

#endif // LLMIR_RUNTIME_LOGIT_ROW_H
