// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// By what fusions are chosen: the time that the cost model gives the ops before
// and after, on the machine that a pass's options describe.

#ifndef LLMIR_LIB_DIALECT_LLM_TRANSFORMS_FUSIONMODEL_H
#define LLMIR_LIB_DIALECT_LLM_TRANSFORMS_FUSIONMODEL_H

#include "llmir/Dialect/LLM/Costs.h"

#include "mlir/IR/Operation.h"

namespace llmir::llm {

class FusionModel {
public:
  /// The options that fusions have: 10^9 bytes and operations a second,
  /// microseconds a call, and the tokens of a step.
  FusionModel(double bandwidth, double peak, double call, int64_t tokens)
      : machine{bandwidth * 1e9, peak * 1e9, call * 1e-6},
        batch{/*rows=*/tokens, /*context=*/tokens, /*sequences=*/1} {}

  /// Whether `after`, which need not be anywhere, takes no longer than
  /// `before`.
  bool isNoWorse(llvm::ArrayRef<mlir::Operation *> before,
                 llvm::ArrayRef<mlir::Operation *> after) const {
    // Sums of the same numbers may differ in their last bits.
    return machine.seconds(after, batch) <=
           machine.seconds(before, batch) * (1 + 1e-9);
  }

private:
  Machine machine;
  Batch batch;
};

} // namespace llmir::llm

#endif // LLMIR_LIB_DIALECT_LLM_TRANSFORMS_FUSIONMODEL_H
