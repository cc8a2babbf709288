// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The words that the verifiers of the dialect's ops share, so that the same
// mistake reads the same in every op.

#ifndef LLMIR_LIB_DIALECT_LLM_VERIFICATION_H
#define LLMIR_LIB_DIALECT_LLM_VERIFICATION_H

#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Operation.h"
#include "mlir/IR/TypeUtilities.h"

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

/// Checks that heads [T, H, D], called `name`, can be rotated by the rows of a
/// table [S, 2, R/2] that positions [T] name.
mlir::LogicalResult verifyRotation(mlir::Operation *op, llvm::StringRef name,
                                   mlir::Value heads, mlir::Value table,
                                   mlir::Value positions);

/// Checks a norm before a product of so many inputs; `epsilon` is there if and
/// only if it is.
template <typename Product>
mlir::LogicalResult verifyNormPrologue(Product op, int64_t inputs) {
  if (static_cast<bool>(op.getNorm()) != op.getEpsilon().has_value())
    return op.emitOpError("has either both a norm and an epsilon, or neither");
  if (!op.getNorm())
    return mlir::success();
  if (failed(verifyRank(op, "norm", op.getNorm().getType(), 1)) ||
      failed(verifyDim(op, "the norm's size",
                       rankedType(op.getNorm()).getDimSize(0), inputs,
                       "the input's last dimension")))
    return mlir::failure();
  if (!op.getEpsilon()->isFinite() || op.getEpsilon()->convertToFloat() < 0.0f)
    return op.emitOpError("epsilon must be finite and not negative");
  return mlir::success();
}

/// Checks the bias and the residual of a product.
template <typename Product> mlir::LogicalResult verifyEpilogue(Product op) {
  mlir::RankedTensorType result = rankedType(op.getResult());
  if (mlir::Value bias = op.getBias()) {
    int64_t size = result.getDimSize(1);
    if (op.getGated() && !mlir::ShapedType::isDynamic(size))
      size *= 2;
    if (failed(verifyRank(op, "bias", bias.getType(), 1)) ||
        failed(verifyDim(op, "the bias's size", rankedType(bias).getDimSize(0),
                         size,
                         op.getGated() ? "twice the result's last dimension"
                                       : "the result's last dimension")))
      return mlir::failure();
  }
  if (mlir::Value residual = op.getResidual())
    if (failed(verifyCompatibleShape(result, residual.getType())))
      return op.emitOpError()
             << "residual is " << residual.getType()
             << ", but must have the result's shape, that of " << result;
  return mlir::success();
}

/// Infers a tensor of `shape` with the element type of `like`. Inference never
/// fails: where operands do not fit together, the verifier says so.
mlir::LogicalResult inferLike(mlir::Value like, llvm::ArrayRef<int64_t> shape,
                              llvm::SmallVectorImpl<mlir::Type> &inferred);

mlir::LogicalResult inferSame(mlir::Value like,
                              llvm::SmallVectorImpl<mlir::Type> &inferred);

} // namespace llmir::llm

#endif // LLMIR_LIB_DIALECT_LLM_VERIFICATION_H
