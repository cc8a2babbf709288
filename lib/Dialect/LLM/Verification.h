// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The words that the verifiers of the dialect's ops share, so that the same
// mistake reads the same in every op.

#ifndef LLMIR_LIB_DIALECT_LLM_VERIFICATION_H
#define LLMIR_LIB_DIALECT_LLM_VERIFICATION_H

#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Operation.h"

namespace llmir::llm {

mlir::RankedTensorType rankedType(mlir::Value value);

mlir::LogicalResult verifyRank(mlir::Operation *op, llvm::StringRef name,
                               mlir::Type type, int64_t rank);

/// Whether two sizes are equal as far as types say.
bool sameDim(int64_t lhs, int64_t rhs);

/// Checks a size against the one that another operand or attribute requires.
mlir::LogicalResult verifyDim(mlir::Operation *op, llvm::StringRef name,
                              int64_t actual, int64_t expected,
                              llvm::StringRef reason);

/// Checks a result's shape against the one that follows from the operands.
mlir::LogicalResult verifyResultShape(mlir::Operation *op, mlir::Type result,
                                      llvm::ArrayRef<int64_t> expected);

/// Infers a tensor of `shape` with the element type of `like`. Inference never
/// fails: where operands do not fit together, the verifier says so.
mlir::LogicalResult inferLike(mlir::Value like, llvm::ArrayRef<int64_t> shape,
                              llvm::SmallVectorImpl<mlir::Type> &inferred);

mlir::LogicalResult inferSame(mlir::Value like,
                              llvm::SmallVectorImpl<mlir::Type> &inferred);

} // namespace llmir::llm

#endif // LLMIR_LIB_DIALECT_LLM_VERIFICATION_H
