// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The `llm` dialect: everything that TableGen makes of it, and the few
// questions about its types that more than one pass asks.

#ifndef LLMIR_DIALECT_LLM_LLM_H
#define LLMIR_DIALECT_LLM_LLM_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/Interfaces/DestinationStyleOpInterface.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "llmir/Dialect/LLM/LLMDialect.h.inc"
#include "llmir/Dialect/LLM/LLMEnums.h.inc"

#define GET_ATTRDEF_CLASSES
#include "llmir/Dialect/LLM/LLMAttributes.h.inc"

#define GET_TYPEDEF_CLASSES
#include "llmir/Dialect/LLM/LLMTypes.h.inc"

#define GET_OP_CLASSES
#include "llmir/Dialect/LLM/LLMOps.h.inc"

namespace llmir::llm {

/// Returns the type of `weight`, a matrix [N, K], packed into the panels that
/// the runtime's products read (see `llm.linear`), or null where there is no
/// such packing. The panels of a gated weight, [2 N, K], are of its halves by
/// turns.
mlir::RankedTensorType getPackedType(mlir::RankedTensorType weight,
                                     bool gated = false);

/// Whether `op` multiplies by a weight that is packed into panels.
bool hasPackedWeight(LinearOp op);

/// Whether the runtime's products have this activation as an epilogue.
bool isEpilogue(ActivationKind kind);

/// The angles of an `llm.rope_table`.
struct RopeFrequencies {
  /// By how much each angle grows from one position to the next.
  llvm::SmallVector<double> frequencies;
  /// What cosines and sines are multiplied by.
  double attentionFactor = 1.0;
};

/// Computes what a table of `type` is made of. `scaling` may be null.
RopeFrequencies computeRopeFrequencies(mlir::RankedTensorType type,
                                       double theta, RopeScalingAttr scaling);

/// Computes the values of an `llm.rope_table` of `type`, row-major, in double
/// precision. `scaling` may be null.
llvm::SmallVector<float> computeRopeTable(mlir::RankedTensorType type,
                                          double theta,
                                          RopeScalingAttr scaling);

/// Lets one-shot bufferization see the dialect's destination-style ops.
void registerBufferizableOpInterfaceExternalModels(
    mlir::DialectRegistry &registry);

} // namespace llmir::llm

#endif // LLMIR_DIALECT_LLM_LLM_H
