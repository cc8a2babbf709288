// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The pass's second half. Values of the dialect's own types stand for bundles
// of tensors and cross functions and control flow, so their ops need a
// conversion of one type to many; the rest does not.

#ifndef LLMIR_LIB_CONVERSION_LLMTOLINALG_BUNDLES_H
#define LLMIR_LIB_CONVERSION_LLMTOLINALG_BUNDLES_H

#include "Builders.h"
#include "llmir/Dialect/LLM/LLM.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/Transforms/OneToNTypeConversion.h"

namespace llmir::reference {

/// Each says what a value of its type becomes, and how its ops work on that.
void populateCacheConversion(mlir::OneToNTypeConverter &converter,
                             mlir::RewritePatternSet &patterns);
void populateQuantizationConversion(mlir::OneToNTypeConverter &converter,
                                    mlir::RewritePatternSet &patterns);
void populateShardingConversion(mlir::OneToNTypeConverter &converter,
                                mlir::RewritePatternSet &patterns);

/// The tensors of `input` quantized to `type`.
llvm::SmallVector<mlir::Value> quantizeTensor(mlir::OpBuilder &builder,
                                              mlir::Location loc,
                                              mlir::Value input,
                                              llm::QuantizedTensorType type);

/// q - z in f32, which is exact. `zeroPoint` may be null.
mlir::Value integerOf(Scalars &s, llm::QuantizedTensorType type,
                      mlir::Value element, mlir::Value zeroPoint);

/// Replaces every bundle of a module by its tensors, across functions, calls
/// and structured control flow; with `keepCaches`, all but paged caches.
/// Reports what else uses one.
mlir::LogicalResult convertBundles(mlir::ModuleOp module, bool keepCaches);

} // namespace llmir::reference

#endif // LLMIR_LIB_CONVERSION_LLMTOLINALG_BUNDLES_H
