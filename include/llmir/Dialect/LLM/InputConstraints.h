// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What ops need of their operands, in words that ops of any dialect can say it
// with, and the analysis that follows it to a function's arguments. So a tool
// can run any program on random inputs that mean something.

#ifndef LLMIR_DIALECT_LLM_INPUTCONSTRAINTS_H
#define LLMIR_DIALECT_LLM_INPUTCONSTRAINTS_H

#include "llmir/Dialect/LLM/Costs.h"

#include "mlir/IR/OpDefinition.h"
#include "llvm/Support/JSON.h"

#include <map>

namespace mlir::func {
class FuncOp;
} // namespace mlir::func

namespace llmir::llm {

/// A size: a sum of multiples of unknown sizes, and a number.
struct Size {
  int64_t constant = 0;
  /// By unknown, what it is multiplied by; never 0.
  std::map<unsigned, int64_t> factors;

  /*implicit*/ Size(int64_t constant = 0) : constant(constant) {}

  bool isConstant() const { return factors.empty(); }
  /// Adds a multiple of another size.
  Size &add(const Size &other, int64_t factor = 1);

  friend Size operator+(Size left, const Size &right) {
    return left.add(right);
  }
  friend Size operator-(Size left, const Size &right) {
    return left.add(right, -1);
  }
  friend Size operator*(const Size &size, int64_t factor) {
    return Size().add(size, factor);
  }
};

/// Takes what an op has to say (see `InputConstraintsOpInterface`). Values are
/// operands and results of the op; tensors, quantized and sharded ones as well
/// as plain ones, have the sizes of their full shape.
class InputConstraints {
public:
  virtual ~InputConstraints() = default;

  /// The size of a dimension of a tensor.
  virtual Size size(mlir::Value tensor, int64_t dimension) = 0;
  virtual void equal(const Size &left, const Size &right) = 0;
  virtual void atLeast(const Size &size, const Size &least) = 0;
  /// Two tensors have the same shape.
  void equalShapes(mlir::Value left, mlir::Value right);

  /// Integers, also a scalar, are at least `low` and less than `end`.
  virtual void within(mlir::Value integers, const Size &low,
                      const Size &end) = 0;
  /// No integer is there twice.
  virtual void distinct(mlir::Value integers) = 0;
  /// Integers less than `end` are the positions of tokens in their sequences.
  virtual void positions(mlir::Value integers, const Size &end) = 0;

  /// A ragged batch: `rows` [B + 1] ascends from 0 to `tokens` and says where
  /// each sequence's new tokens begin, and where the last one's end. Without
  /// rows each has `tokens` of them.
  struct Batch {
    mlir::Value rows;
    Size tokens;
  };
  /// Something changes at this size of a context, as a window that it fills.
  virtual void threshold(int64_t size) = 0;
  /// The sequences' contexts, new tokens included, are `lengths` [B] long, and
  /// lie in the blocks of `cache` that `table` [B, W] names.
  virtual void contexts(mlir::Value cache, mlir::Value table,
                        mlir::Value lengths, const Batch &batch) = 0;
  /// Places of `cache`, all different, for new tokens.
  virtual void slots(mlir::Value cache, mlir::Value integers) = 0;
  /// Sequences of `cache`, all different, to each of which so many tokens are
  /// appended in one of its layers.
  virtual void sequences(mlir::Value cache, mlir::Value integers,
                         const Size &tokens) = 0;
};

/// Follows a function's needs, and those of what it calls, to its arguments.
/// Returns the types of arguments and results, the sizes of the arguments, what
/// holds between sizes, and what each argument's elements must be. `python/
/// llmir/inputs.py` reads it.
llvm::json::Object describeInputs(mlir::func::FuncOp function);

} // namespace llmir::llm

#include "llmir/Dialect/LLM/LLMInterfaces.h.inc"

#endif // LLMIR_DIALECT_LLM_INPUTCONSTRAINTS_H
