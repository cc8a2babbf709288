// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Whether a program over whole sequences treats each token by itself, attention
// aside. Only then may its rows be those of any other batch of tokens, as a
// step has them.

#ifndef LLMIR_LIB_DIALECT_LLM_TRANSFORMS_TOKENROWS_H
#define LLMIR_LIB_DIALECT_LLM_TRANSFORMS_TOKENROWS_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Value.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/DenseSet.h"

#include <array>
#include <memory>
#include <optional>
#include <string>

namespace llmir::llm {

/// What a dimension of a tensor counts.
enum class Extent : uint8_t {
  /// Nothing of the batch.
  other,
  sequences,
  /// The new tokens of a sequence.
  tokens,
  /// The tokens of all sequences, end to end.
  rows,
  /// The tokens of a sequence that came before, and these with the new ones.
  past,
  context
};

/// An integer that is a sum of sizes and indices, each times a constant.
struct Sum {
  enum Term {
    one,
    numSequences,
    numTokens,
    numRows,
    numPast,
    /// The places of an element along the extents.
    sequence,
    token,
    row,
    /// The token's id.
    id,
    numTerms
  };

  static Sum of(Term term, int64_t factor = 1) {
    Sum sum;
    sum.factors[term] = factor;
    return sum;
  }
  static Sum constant(int64_t value) { return of(one, value); }

  Sum plus(const Sum &other, int64_t factor) const {
    Sum sum = *this;
    for (unsigned i = 0; i < numTerms; ++i)
      sum.factors[i] += factor * other.factors[i];
    return sum;
  }
  std::optional<int64_t> asConstant() const {
    return *this == constant(factors[one]) ? std::optional(factors[one])
                                           : std::nullopt;
  }
  /// All terms are sizes or indices, so the sum is none of them less.
  bool isNonNegative() const {
    return llvm::all_of(factors, [](int64_t factor) { return factor >= 0; });
  }
  bool operator==(const Sum &other) const { return factors == other.factors; }
  bool operator!=(const Sum &other) const { return !(*this == other); }

  std::array<int64_t, numTerms> factors{};
};

/// Why something is no function of single tokens.
struct Obstacle {
  mlir::Location location;
  std::string reason;
};

/// What is known of a value: an element of it is a function of the token that
/// it belongs to by its place along the extents, of the token's position in its
/// sequence, and of nothing else of the batch.
struct RowFact {
  /// Of each dimension of a tensor.
  llvm::SmallVector<Extent, 4> extents;
  /// What an integer, or each element of a tensor of integers, is.
  std::optional<Sum> sum;
  /// Of past keys or values, and of what continues them: which they are. In the
  /// entry, that is the argument's number.
  std::optional<unsigned> past;
  /// Whether it is just those past keys or values and the new ones.
  bool isContinued = false;
  /// Set where nothing is known.
  const Obstacle *obstacle = nullptr;

  bool isPlain() const {
    return !obstacle && llvm::all_of(extents, [](Extent extent) {
      return extent == Extent::other;
    });
  }
  bool has(Extent extent) const { return llvm::is_contained(extents, extent); }
  bool operator==(const RowFact &other) const {
    return extents == other.extents && sum == other.sum && past == other.past &&
           isContinued == other.isContinued;
  }
};

/// Facts of all values of a function and of those that it calls. Those
/// functions are looked into once: all calls of one must pass the same kinds of
/// values.
class TokenRows {
public:
  /// Reads a function whose arguments are token ids and past keys and values.
  explicit TokenRows(mlir::func::FuncOp entry);

  const RowFact &of(mlir::Value value) const;

  /// Whether the entry's sequences have a past.
  bool hasPast() const { return pastIsGiven; }
  /// Whether the sum is the same in a step: it has no sizes, and the place in a
  /// sequence only as a part of the position.
  bool isKnownToStep(const Sum &sum) const;
  /// Whether the sum is the token's position in its sequence.
  bool isPosition(const Sum &sum) const;
  /// How many positions programs tell apart, where they hold them below a
  /// bound.
  std::optional<int64_t> mostPositions() const { return boundOfPositions; }
  /// What a dimension of this size counts; of a size that is no extent's,
  /// nothing.
  Extent extentOf(std::optional<Sum> size) const;

private:
  void readArguments(mlir::func::FuncOp entry);
  void read(mlir::Block &block);
  void read(mlir::Operation *op);
  void readCall(mlir::func::CallOp call);
  void readStructured(mlir::Operation *op);
  void readBody(mlir::Block &body, llvm::ArrayRef<Extent> loops);
  void readElementwise(mlir::Operation *op);
  void readReshape(mlir::Operation *op);
  void readAttention(mlir::Operation *op);
  void readLayer(mlir::Operation *op);
  std::optional<Sum> sumOf(mlir::Operation *op);
  std::optional<Sum> bounded(const Sum &sum, std::optional<int64_t> bound);
  bool passesOnlyKnown(mlir::Operation *op);

  void set(mlir::Value value, RowFact fact);
  void fail(mlir::Operation *op, const llvm::Twine &reason);
  /// Hands on the obstacle of an operand, if there is one.
  bool inherit(mlir::Operation *op);
  std::optional<Sum> sizeOf(Extent extent) const;
  std::optional<Sum> numberOf(mlir::OpFoldResult value) const;

  llvm::DenseMap<mlir::Value, RowFact> facts;
  llvm::DenseSet<mlir::Operation *> functions;
  std::vector<std::unique_ptr<Obstacle>> obstacles;
  RowFact unknown;
  bool pastIsGiven = false;
  std::optional<int64_t> boundOfPositions;
  /// Ids are below the number of logits: engines refuse others.
  int64_t numIds = 0;
  unsigned numPasts = 0;
};

} // namespace llmir::llm

#endif // LLMIR_LIB_DIALECT_LLM_TRANSFORMS_TOKENROWS_H
