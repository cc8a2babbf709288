// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Sees tensors as functions of their indices: follows an element through what
// moves elements and computes on them one by one, up to what is neither, a
// product of matrices or an argument.

#ifndef LLMIR_LIB_CONVERSION_LINALGTOLLM_ELEMENTS_H
#define LLMIR_LIB_CONVERSION_LINALGTOLLM_ELEMENTS_H

#include "Expressions.h"

#include "mlir/Dialect/Linalg/IR/Linalg.h"

namespace llmir::raising {

class Elements {
public:
  explicit Elements(Expressions &exprs) : exprs(exprs) {}

  /// The element of a tensor at `indices`.
  Expr at(mlir::Value tensor, llvm::ArrayRef<Expr> indices);

  /// The same in terms of the elements of `source`, which is not looked into.
  Expr atFrom(mlir::Value tensor, llvm::ArrayRef<Expr> indices,
              mlir::Value source);

  /// The same in terms of the operands of the op that made the tensor, or null
  /// where that op does more than compute each element from others.
  Expr step(mlir::Value tensor, llvm::ArrayRef<Expr> indices);

  /// Takes it for true that sizes are equal which the block asserts to be: what
  /// comes of it otherwise is an error.
  void assume(mlir::Block &block);

  /// A scalar outside of any linalg op.
  Expr scalar(mlir::Value value);
  Expr scalar(mlir::OpFoldResult value);

  /// The sizes of a tensor, in terms of those of arguments.
  Expr size(mlir::Value tensor, int64_t dim);
  llvm::SmallVector<Expr> sizes(mlir::Value tensor);
  /// How often a loop of a linalg op runs.
  Expr loopSize(mlir::linalg::LinalgOp op, unsigned loop);

  /// The indices of the element of a tensor of sizes `from` that stands at
  /// `indices` once the tensor has sizes `to`, in the same order of elements.
  llvm::SmallVector<Expr> reshape(llvm::ArrayRef<Expr> from,
                                  llvm::ArrayRef<Expr> to,
                                  llvm::ArrayRef<Expr> indices);

  Expressions &exprs;

private:
  using Reader = llvm::function_ref<Expr(mlir::Value, llvm::ArrayRef<Expr>)>;
  /// What is known within the body of an op.
  struct Scope {
    llvm::DenseMap<mlir::Value, Expr> values;
    llvm::SmallVector<Expr> loops;
    mlir::Region *region = nullptr;
  };

  Expr element(mlir::Value tensor, llvm::ArrayRef<Expr> indices, Reader read);
  Expr linalgElement(mlir::linalg::LinalgOp op, unsigned result,
                     llvm::ArrayRef<Expr> indices, Reader read);
  Expr reduction(mlir::linalg::LinalgOp op, unsigned result, unsigned loop,
                 Scope &scope, Expr init, Reader read);
  Expr sliceElement(mlir::Operation *op, llvm::ArrayRef<Expr> indices,
                    Reader read);
  Expr inScope(mlir::Value value, Scope *scope, Reader read);
  Expr applyOp(mlir::Operation *op, llvm::ArrayRef<Expr> operands);
  Expr constantElement(mlir::DenseElementsAttr values,
                       llvm::ArrayRef<Expr> indices);
  Expr computeSize(mlir::Value tensor, int64_t dim);

  std::map<std::pair<void *, std::vector<Expr>>, Expr> known;
  llvm::DenseMap<mlir::Value, Expr> scalars;
  llvm::DenseMap<std::pair<mlir::Value, int64_t>, Expr> knownSizes;
  llvm::DenseMap<Expr, Expr> equalSizes;
};

} // namespace llmir::raising

#endif // LLMIR_LIB_CONVERSION_LINALGTOLLM_ELEMENTS_H
