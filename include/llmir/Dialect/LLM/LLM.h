// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The `llm` dialect: everything that TableGen makes of it, and the few
// questions about its types that more than one pass asks.

#ifndef LLMIR_DIALECT_LLM_LLM_H
#define LLMIR_DIALECT_LLM_LLM_H

#include "llmir/Dialect/LLM/Costs.h"
#include "llmir/Dialect/LLM/InputConstraints.h"

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

/// The outputs in a panel of a packed weight, and the inputs that panels are
/// padded to, but those of f32 and f16.
inline constexpr int64_t kPanelWidth = 32, kPanelDepth = 32;

/// Returns the type of `weight`, a matrix [N, K], packed into the panels that
/// the runtime's products read (see `llm.linear`), or null where there is no
/// such packing. The panels of a gated weight, [2 N, K], are of its halves by
/// turns.
mlir::RankedTensorType getPackedType(mlir::RankedTensorType weight,
                                     bool gated = false);

/// The same of any weight: a quantized one keeps its shape, and its type says
/// that it is in panels.
mlir::Type getPackedType(mlir::Type weight, bool gated = false);

/// Whether `op` multiplies by a weight that is packed into panels.
bool hasPackedWeight(LinearOp op);

/// Whether `op` looks rows up in a table that is packed into panels.
bool hasPackedTable(EmbeddingOp op);

/// Whether the runtime's products have this activation as an epilogue.
bool isEpilogue(ActivationKind kind);

/// Whether a kernel computes the product of `op` once its weight is in panels:
/// of numbers in bf16, or of integers of 8 bits with a scale in f32 for each
/// token, which are made right before it.
bool hasKernelInput(QuantizedMatmulOp op);

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
