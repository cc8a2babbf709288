// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Numbers to integers with scales: the part of packing that rounds. It works on
// one group of inputs of the 32 columns of a panel, which lie side by side, so
// that columns are the lanes of its vectors.
#ifndef LLMIR_RUNTIME_LIB_QUANTIZE_H
#define LLMIR_RUNTIME_LIB_QUANTIZE_H

#include "llmir/runtime/packing.h"

namespace llmir::runtime {

int64_t weightBits(llmir_weight_format kind);

/// What a group of so many inputs takes in a panel.
int64_t groupBytes(const WeightFormat &format, int64_t inputs);

/// How the errors of some inputs of a weight are made up for by later ones:
/// what Feedback says of one group.
struct GroupFeedback {
  const Feedback &whole;
  int64_t begin; ///< The first input of the group.
  float *errors; ///< Of all inputs, [k][32]: those before the group are read.
};

/// Writes the group of x [inputs][32] at `out`; `inputs` is a multiple of 32.
/// With feedback, x becomes the numbers that were rounded.
PackingLoss quantizeGroup(const WeightFormat &format, float *x, int64_t inputs,
                          char *out, const GroupFeedback *feedback = nullptr);

} // namespace llmir::runtime

#endif // LLMIR_RUNTIME_LIB_QUANTIZE_H
