// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// From expressions back to tensors: what a tensor is a view of, and ops that
// lay elements out as an op of the `llm` dialect wants them.

#ifndef LLMIR_LIB_CONVERSION_LINALGTOLLM_VIEWS_H
#define LLMIR_LIB_CONVERSION_LINALGTOLLM_VIEWS_H

#include "Elements.h"

#include "mlir/IR/Builders.h"

namespace llmir::raising {

/// An element of a tensor times a number.
struct View {
  mlir::Value source;
  llvm::SmallVector<Expr> indices;
  double scale = 1.0;
};

/// Sees through the op that made a view's source, if it only moves, repeats or
/// widens elements or multiplies them by a constant.
std::optional<View> peel(Elements &elements, const View &view);

/// A view and all that is seen through it, the nearest first.
llvm::SmallVector<View> peelAll(Elements &elements, View view);

/// Builds ops at one place.
class Emitter {
public:
  Emitter(Elements &elements, mlir::OpBuilder &builder, mlir::Location loc)
      : elements(elements), exprs(elements.exprs), builder(builder), loc(loc) {}

  /// A size, outside of any op's body; null if it cannot be computed there.
  mlir::Value index(Expr size);

  /// The tensor over `variables` of element type `type` whose elements are
  /// `element`, or null.
  mlir::Value tensor(llvm::ArrayRef<Expr> variables, Expr element,
                     mlir::Type type);

  /// The same elements in another shape.
  mlir::Value reshape(mlir::Value tensor, llvm::ArrayRef<Expr> sizes);
  mlir::Value transpose(mlir::Value tensor, llvm::ArrayRef<int64_t> order);

  /// How to lay out the elements that the first of `views` has for `variables`
  /// as a tensor over these, from the furthest view that allows it. They are
  /// the part of its source that begins at `begin` and has `sizes`, or all of
  /// it if these are empty. The order is that of the variables in memory.
  struct Layout {
    View view;
    llvm::SmallVector<Expr> begin, sizes;
    llvm::SmallVector<int64_t> order;
    /// How many views were seen through.
    size_t depth = 0;
  };
  std::optional<Layout> layoutOf(llvm::ArrayRef<View> views,
                                 llvm::ArrayRef<Expr> variables);
  /// Lays them out, and reshapes the result to `sizes`.
  mlir::Value layOut(const Layout &layout, llvm::ArrayRef<Expr> variables,
                     llvm::ArrayRef<Expr> sizes);

  /// A tensor of `type` that `tensor` is of, with fewer sizes known or more.
  mlir::Value castTo(mlir::Value tensor, mlir::Type type);

private:
  using Values = llvm::DenseMap<Expr, mlir::Value>;
  mlir::Value build(llvm::ArrayRef<Expr> variables, Expr reduction,
                    Expr element, mlir::Type type);
  mlir::Value part(const Layout &layout);
  Expr withoutReductions(llvm::ArrayRef<Expr> variables, Expr e);
  mlir::Value emit(Expr e, mlir::OpBuilder &at, Values &known);
  mlir::Value emitNew(Expr e, mlir::OpBuilder &at, Values &known);

  Elements &elements;
  Expressions &exprs;
  mlir::OpBuilder &builder;
  mlir::Location loc;
};

/// Replaces what only moves the elements of `root` by reshapes of it, where it
/// is no more than one.
void foldViewsOf(Elements &elements, mlir::Value root);

} // namespace llmir::raising

#endif // LLMIR_LIB_CONVERSION_LINALGTOLLM_VIEWS_H
