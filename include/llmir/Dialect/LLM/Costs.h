// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What ops cost, and what a machine makes of it: the model that fusions are
// chosen by, and that `llmir explain` compares with the clock.

#ifndef LLMIR_DIALECT_LLM_COSTS_H
#define LLMIR_DIALECT_LLM_COSTS_H

#include "mlir/IR/BuiltinTypes.h"
#include "mlir/Support/LLVM.h"

#include <cstdint>

namespace llmir::llm {

/// What the dynamic sizes of a step are: sequences of equal length.
struct Batch {
  /// The new tokens of all sequences together.
  int64_t rows = 1;
  /// The tokens that each sequence has, the new ones among them.
  int64_t context = 1;
  int64_t sequences = 1;

  /// The new tokens of one sequence.
  int64_t newTokens() const { return rows / sequences; }
};

/// The instructions that products are made of.
enum class Multiplier { F32, BF16, Int8 };

struct Cost {
  /// Bytes of weights, keys and values that are read.
  double stored = 0;
  /// Bytes of everything else that is read or written.
  double moved = 0;
  /// Multiplications and additions of products and of attention.
  double operations = 0;
  Multiplier multiplier = Multiplier::F32;

  double bytes() const { return stored + moved; }
};

/// The cost of reading operands and writing results. What has a dynamic first
/// size has as many rows as the batch; the rest is stored.
Cost costOfTensors(mlir::Operation *op, const Batch &batch);

/// The bits of an element, its share of scales and zero points among them.
double bitsOf(mlir::Type type);

/// A machine as a model of time has it.
struct Machine {
  /// Bytes and operations a second, and the seconds that a call of a kernel
  /// takes besides: the threads meet.
  double bandwidth, peak, call;

  /// The seconds that an op takes: the longer one of moving and of computing,
  /// and a call. An op without costs is free.
  double seconds(mlir::Operation *op, const Batch &batch) const;
  double seconds(llvm::ArrayRef<mlir::Operation *> ops,
                 const Batch &batch) const;
};

} // namespace llmir::llm

#endif // LLMIR_DIALECT_LLM_COSTS_H
