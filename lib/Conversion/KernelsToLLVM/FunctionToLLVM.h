// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What a function of tensors needs on the way to LLVM, and a step does not.

#ifndef LLMIR_LIB_CONVERSION_KERNELSTOLLVM_FUNCTIONTOLLVM_H
#define LLMIR_LIB_CONVERSION_KERNELSTOLLVM_FUNCTIONTOLLVM_H

#include "mlir/Conversion/LLVMCommon/TypeConverter.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/PatternMatch.h"

namespace llmir {

/// Loads what lies `offset` bytes behind the pointer `base`.
mlir::Value loadMember(mlir::OpBuilder &builder, mlir::Location loc,
                       mlir::Value base, size_t offset, mlir::Type type);

/// Makes `llmir_function`, which unfolds its arguments, calls the function and
/// stores where its results are.
mlir::LogicalResult
buildFunctionEntryPoint(mlir::ModuleOp module,
                        const mlir::LLVMTypeConverter &converter);

/// Adds the lowerings of allocations and assertions to calls of the runtime.
void populateFunctionToLLVMPatterns(mlir::LLVMTypeConverter &converter,
                                    mlir::RewritePatternSet &patterns);

} // namespace llmir

#endif // LLMIR_LIB_CONVERSION_KERNELSTOLLVM_FUNCTIONTOLLVM_H
