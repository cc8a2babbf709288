// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Quantized matrices in the panels that the runtime's products read.

#ifndef LLMIR_LIB_CONVERSION_LLMTOLINALG_PANELS_H
#define LLMIR_LIB_CONVERSION_LLMTOLINALG_PANELS_H

#include "Builders.h"
#include "llmir/Dialect/LLM/LLM.h"

#include "mlir/IR/Builders.h"

namespace llmir::reference {

/// Takes a matrix [N, K] out of its panels: the elements, a byte each, the
/// scales and, if there are any, the zero points.
llvm::SmallVector<mlir::Value> unpackPanels(mlir::OpBuilder &builder,
                                            mlir::Location loc,
                                            llm::QuantizedTensorType type,
                                            mlir::Value panels);

/// A number of a quantized tensor. The zero point is null if there is none.
struct QuantizedNumber {
  mlir::Value element, scale, zeroPoint;
};

/// Number [n, k] of a matrix in panels that are not gated.
QuantizedNumber numberInPanels(Scalars &s, llm::QuantizedTensorType type,
                               mlir::Value panels, mlir::Value n,
                               mlir::Value k);

} // namespace llmir::reference

#endif // LLMIR_LIB_CONVERSION_LLMTOLINALG_PANELS_H
