// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the sizes of an exported program are, as polynomials over the sizes of
// its arguments. An exporter that knows less of them asks at run time whether a
// size is negative, is 1 or equals another, and divides products of them by
// each other; almost all of that has one answer, and a pattern that compares
// shapes needs it.

#ifndef LLMIR_LIB_CONVERSION_LINALGTOLLM_SIZES_H
#define LLMIR_LIB_CONVERSION_LINALGTOLLM_SIZES_H

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "mlir/Interfaces/FunctionInterfaces.h"
#include "llvm/ADT/DenseMap.h"

#include <map>
#include <optional>

namespace llmir {

/// A polynomial with integer coefficients over symbols, which are numbers here.
class Size {
public:
  /// The symbols of a product, in ascending order.
  using Monomial = llvm::SmallVector<unsigned, 4>;

  Size() = default;
  Size(int64_t constant);
  static Size symbol(unsigned symbol);

  Size operator+(const Size &other) const;
  Size operator-(const Size &other) const { return *this + other * Size(-1); }
  Size operator*(const Size &other) const;
  bool operator==(const Size &other) const { return terms == other.terms; }
  bool operator!=(const Size &other) const { return terms != other.terms; }
  bool operator<(const Size &other) const { return terms < other.terms; }

  std::optional<int64_t> getConstant() const;
  /// The symbol that this is, if it is just one.
  std::optional<unsigned> getSymbol() const;
  /// The quotient, if the division leaves no remainder whatever the symbols
  /// are.
  std::optional<Size> dividedBy(const Size &divisor) const;

  const std::map<Monomial, int64_t> &getTerms() const { return terms; }

private:
  void add(const Monomial &monomial, int64_t coefficient);

  /// No coefficient is 0.
  std::map<Monomial, int64_t> terms;
};

/// Evaluates the integers and the sizes of tensors of a function. What it is
/// told of values holds until they change: erase nothing while it is in use.
class SizeAnalysis {
public:
  explicit SizeAnalysis(mlir::func::FuncOp function);

  /// The value of an integer or index.
  Size of(mlir::Value value);
  /// The size of a dimension of a tensor.
  Size ofDim(mlir::Value tensor, int64_t dim);
  llvm::SmallVector<Size> shapeOf(mlir::Value tensor);
  bool haveSameShape(mlir::Value a, mlir::Value b) {
    return shapeOf(a) == shapeOf(b);
  }
  /// What a comparison comes to, if that is certain.
  std::optional<bool> decide(mlir::arith::CmpIPredicate predicate,
                             const Size &lhs, const Size &rhs);
  /// Whether a value cannot be negative.
  bool isNonNegative(const Size &size);

  /// Whether an integer is something else than itself that is a number, another
  /// value, or made of sizes alone.
  bool isWorthWriting(mlir::Value value);
  /// Asserts again, at the head of the function, that arguments have the equal
  /// sizes that its assertions have been taken to say.
  void assertUnified();

  /// Makes a size an index, or an integer of `type`: at the head of the
  /// function if it depends on arguments alone, else where `builder` stands.
  mlir::Value materialize(mlir::OpBuilder &builder, mlir::Location loc,
                          const Size &size, mlir::Type type);

private:
  /// A size of a tensor, or any other integer if `dim` is -1.
  struct Symbol {
    mlir::Value value;
    int64_t dim;
    bool isNonNegative;
  };

  void unifyAsserted();
  Size compute(mlir::Value value);
  Size computeDim(mlir::Value tensor, int64_t dim);
  Size evaluate(mlir::AffineExpr expr, mlir::ValueRange operands,
                unsigned numDims, mlir::Value whole);
  Size opaque(mlir::Value value, int64_t dim = -1, bool isNonNegative = false);
  bool isArgumentDim(unsigned symbol);
  mlir::Value materializeHere(mlir::OpBuilder &builder, mlir::Location loc,
                              const Size &size);
  void setInsertionPointToHead(mlir::OpBuilder &builder) const;

  mlir::func::FuncOp function;
  llvm::SmallVector<Symbol> symbols;
  llvm::DenseMap<std::pair<mlir::Value, int64_t>, unsigned> symbolOf;
  /// Symbols that an assertion says are equal to another one, an earlier one.
  std::map<unsigned, unsigned> unified;
  llvm::DenseMap<mlir::Value, Size> values;
  llvm::DenseMap<std::pair<mlir::Value, int64_t>, Size> dims;
  /// What has been made at the head of the function, and the last op there.
  std::map<Size, mlir::Value> atHead;
  mlir::Operation *headEnd = nullptr;
};

} // namespace llmir

#endif // LLMIR_LIB_CONVERSION_LINALGTOLLM_SIZES_H
