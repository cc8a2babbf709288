// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Tensors seen as functions of their index. A term is one element of a tensor,
// or one scalar in the body of a linalg op; from there one walks to what it is
// made of, across ops, as if every elementwise op were part of one expression.
// So a pattern does not depend on how a computation is cut into ops, nor on the
// transposes, broadcasts, reshapes and slices between them.

#ifndef LLMIR_LIB_CONVERSION_LINALGTOLLM_TERMS_H
#define LLMIR_LIB_CONVERSION_LINALGTOLLM_TERMS_H

#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/IR/AffineExpr.h"
#include "mlir/IR/Builders.h"

#include <optional>

namespace llmir {

/// An element of a tensor, or a scalar. `index` is the element's index; of a
/// scalar in a linalg op's body, the loops' indices. Both are affine
/// expressions of the variables of the question: those of the tensor that was
/// asked about, then one for each reduction that was walked into.
struct Term {
  mlir::Value value;
  llvm::SmallVector<mlir::AffineExpr, 4> index;

  explicit operator bool() const { return bool(value); }
  bool operator==(const Term &other) const {
    return value == other.value && index == other.index;
  }
  bool isElement() const {
    return mlir::isa<mlir::RankedTensorType>(value.getType());
  }
};

/// The sum, or another combination, of `body` over all values of a variable.
struct Reduction {
  mlir::Operation *combiner;
  Term body;
  Term init;
  mlir::AffineExpr variable;
  int64_t size;
};

/// A product of powers: a number times terms with exponents 1 and -1.
struct Product {
  double coefficient = 1.0;
  llvm::SmallVector<Term> numerator;
  llvm::SmallVector<Term> denominator;
};

/// Walks among terms.
class TermView {
public:
  /// A view in which `numVariables` variables are taken.
  TermView(mlir::MLIRContext *context, unsigned numVariables)
      : context(context), numVariables(numVariables) {}

  mlir::AffineExpr variable(unsigned position) const {
    return mlir::getAffineDimExpr(position, context);
  }
  Term element(mlir::Value tensor,
               llvm::ArrayRef<mlir::AffineExpr> index) const;
  /// The element of a tensor at variables 0, 1, ...
  Term element(mlir::Value tensor) const;
  /// An operand of a linalg op at given loops' indices.
  Term operand(mlir::OpOperand &operand,
               llvm::ArrayRef<mlir::AffineExpr> loops) const;

  /// The same element where it is computed or stored: behind copies, views,
  /// widenings, and what else moves elements only.
  Term resolve(Term term) const;
  /// `resolve`, but roundings are looked through as well.
  Term resolveRounded(Term term) const;
  /// `resolve`, as long as tensors have the sizes that they have here: not
  /// beyond slices.
  Term resolveInRange(Term term) const;
  /// The same element as one of a tensor, if some op makes that tensor.
  Term asElement(Term term) const;

  /// What computes a resolved term from others, or null: an op on scalars, or
  /// one of arith or math on tensors.
  mlir::Operation *getOp(const Term &term) const;
  template <typename Op> Op getOp(const Term &term) const {
    return mlir::dyn_cast_or_null<Op>(getOp(term));
  }
  Term getOperand(const Term &term, unsigned operand) const;

  std::optional<double> getConstant(const Term &term) const;
  /// The value of an integer as an affine expression of the variables.
  std::optional<mlir::AffineExpr> getAffine(const Term &term) const;
  /// Whether a term depends on no variable but `allowed`.
  /// Whether a term may be another one at another value of a variable.
  bool dependsOn(const Term &term, mlir::AffineExpr variable) const;
  bool dependsOnlyOn(const Term &term,
                     llvm::ArrayRef<mlir::AffineExpr> allowed) const;
  /// Whether two terms are computed in the same way from the same tensors.
  bool isSame(const Term &a, const Term &b) const;
  /// A term with one variable replaced.
  static Term substitute(Term term, mlir::AffineExpr variable,
                         mlir::AffineExpr by);

  /// What a resolved term reduces, if it does so along one loop.
  std::optional<Reduction> getReduction(const Term &term);
  /// What a resolved term is the mean of: a sum along one loop, divided by its
  /// size.
  std::optional<Reduction> getMean(const Term &term);
  /// Multiplications and divisions undone as far as they go.
  Product getProduct(const Term &term) const;
  /// Takes the factors of `factor` from `product`, if all are there.
  bool divide(Product &product, const Product &factor) const;

  /// Makes a tensor of what a term is for all values of `variables`, in this
  /// order, which have these sizes.
  mlir::Value materialize(mlir::OpBuilder &builder, mlir::Location loc,
                          const Term &term,
                          llvm::ArrayRef<mlir::AffineExpr> variables,
                          llvm::ArrayRef<mlir::OpFoldResult> sizes) const;

private:
  Term step(const Term &term, bool throughRoundings) const;
  Term stepElement(const Term &term) const;
  Term resolve(Term term, bool throughRoundings) const;
  bool isSame(const Term &a, const Term &b, unsigned depth) const;
  void multiply(Product &product, const Term &term, bool inverse) const;
  void collectElements(const Term &term,
                       llvm::SmallVectorImpl<Term> &elements) const;
  mlir::Value emit(mlir::OpBuilder &builder, mlir::Location loc,
                   const Term &term, llvm::ArrayRef<Term> elements,
                   mlir::ValueRange arguments) const;

  mlir::MLIRContext *context;
  unsigned numVariables;
};

/// Whether two numbers are equal up to the roundings of f32.
bool isClose(double a, double b);

} // namespace llmir

#endif // LLMIR_LIB_CONVERSION_LINALGTOLLM_TERMS_H
