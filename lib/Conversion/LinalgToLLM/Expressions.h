// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What an element of a tensor is, as an expression in its indices. A program
// that a front end emits spells one formula in many ways; as expressions with
// one normal form they compare by address. Masks, positions and tables are
// recognized by what they say, not by the ops that say it.

#ifndef LLMIR_LIB_CONVERSION_LINALGTOLLM_EXPRESSIONS_H
#define LLMIR_LIB_CONVERSION_LINALGTOLLM_EXPRESSIONS_H

#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/OperationSupport.h"
#include "mlir/IR/Value.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/Support/Allocator.h"

#include <map>
#include <optional>
#include <vector>

namespace llmir::raising {

enum class Kind {
  /// Of a float, or an i1. An integer is a sum without monomials.
  Constant,
  /// An index from 0 to below its size, which is the operand.
  Variable,
  /// A scalar of which nothing is known.
  Opaque,
  /// A size of a tensor, which is no less than 0.
  Size,
  /// An element of a tensor; the operands are its indices.
  Read,
  /// Integers: coefficients times products, and a constant.
  Sum,
  Product,
  FloorDiv,
  Mod,
  Min,
  Max,
  /// Truths: a sum is not negative; a sum is 0.
  NotNegative,
  IsZero,
  Not,
  And,
  /// Operands: condition, then what holds, then what does not.
  Select,
  /// An op of arith or math on scalars.
  Apply,
  /// Operands: the variable that runs, the body, the value to start from.
  Reduce
};

enum class Reduction { add, mul, max, min, all, any };

/// A node, unique for its contents within an `Expressions`. All integers but
/// i1 have the type index: they are positions and sizes, which do not wrap.
struct Node {
  Kind kind;
  mlir::Type type;
  /// The order in which nodes were made, which is the order of operands.
  unsigned id;
  /// A variable's name, a size's dimension, a sum's constant, a reduction.
  int64_t number;
  mlir::Attribute attribute;
  mlir::Value value;
  std::optional<mlir::OperationName> name;
  std::vector<const Node *> operands;
  std::vector<int64_t> coefficients;

  bool isInteger() const { return type.isIndex(); }
  bool isTruth() const { return type.isInteger(1); }
  /// Whether this applies the op of this name.
  bool applies(llvm::StringRef op) const {
    return kind == Kind::Apply && name->getStringRef() == op;
  }
};

using Expr = const Node *;

/// Makes nodes, simplified, and answers questions about them.
class Expressions {
public:
  explicit Expressions(mlir::MLIRContext *context) : context(context) {}

  Expr integer(int64_t value);
  Expr truth(bool value);
  Expr number(mlir::FloatAttr value);
  /// A new variable that no other one equals.
  Expr variable(Expr size);
  Expr opaque(mlir::Value scalar);
  Expr size(mlir::Value tensor, int64_t dim);
  Expr read(mlir::Value tensor, llvm::ArrayRef<Expr> indices);

  Expr add(Expr a, Expr b);
  Expr sub(Expr a, Expr b);
  Expr mul(Expr a, Expr b);
  Expr scale(Expr a, int64_t factor);
  /// Of a divisor above 0.
  Expr floorDiv(Expr a, Expr b);
  Expr mod(Expr a, Expr b);
  Expr min(Expr a, Expr b);
  Expr max(Expr a, Expr b);

  /// a >= 0, a == 0.
  Expr notNegative(Expr a);
  Expr isZero(Expr a);
  Expr isNot(Expr a);
  Expr both(Expr a, Expr b);
  Expr either(Expr a, Expr b) { return isNot(both(isNot(a), isNot(b))); }
  Expr select(Expr condition, Expr a, Expr b);

  /// An op on scalars; `attribute` is the predicate of a comparison.
  Expr apply(mlir::OperationName name, mlir::Type type,
             llvm::ArrayRef<Expr> operands, mlir::Attribute attribute = {});
  /// The reduction of `body` over all values of `variable`.
  Expr reduce(Reduction reduction, Expr variable, Expr body, Expr init);

  std::optional<int64_t> asInteger(Expr e);
  std::optional<bool> asTruth(Expr e);
  /// The value of a constant float.
  std::optional<double> asNumber(Expr e);

  /// Whether an integer is known to be no less than 0.
  bool isNotNegative(Expr e);
  bool dependsOn(Expr e, Expr part);
  Expr substitute(Expr e, Expr from, Expr to);
  /// The body of a reduction at another value of what runs.
  Expr bodyAt(Expr reduction, Expr index);

  mlir::MLIRContext *getContext() { return context; }

private:
  using Monomial = std::vector<Expr>;
  struct ById {
    bool operator()(const Monomial &a, const Monomial &b) const;
  };
  using Polynomial = std::map<Monomial, int64_t, ById>;
  Polynomial polynomialOf(Expr e);
  Expr fromPolynomial(const Polynomial &terms);
  bool isNotNegative(Polynomial terms);
  /// Splits a dividend into what the divisor divides and the rest.
  std::pair<Expr, Expr> divide(Expr a, Expr b);
  Expr substitute(Expr e, Expr from, Expr to,
                  llvm::DenseMap<Expr, Expr> &known);
  Expr rebuild(Expr e, llvm::ArrayRef<Expr> operands);
  /// Moves an op into a choice between constants.
  Expr distribute(llvm::ArrayRef<Expr> operands,
                  llvm::function_ref<Expr(llvm::ArrayRef<Expr>)> make);
  Expr make(Node node);

  mlir::MLIRContext *context;
  llvm::SpecificBumpPtrAllocator<Node> nodes;
  llvm::DenseMap<unsigned, llvm::SmallVector<Node *, 1>> table;
  unsigned next = 0;
  int64_t variables = 0;
};

} // namespace llmir::raising

#endif // LLMIR_LIB_CONVERSION_LINALGTOLLM_EXPRESSIONS_H
