// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What a query sees: the part of a mask that attributes of `llm.attention` say,
// and what is left of it.

#ifndef LLMIR_LIB_CONVERSION_LINALGTOLLM_MASKS_H
#define LLMIR_LIB_CONVERSION_LINALGTOLLM_MASKS_H

#include "Expressions.h"

namespace llmir::raising {

/// The scores of a softmax, from the product of queries and keys outwards.
struct Scores {
  Expr product = nullptr;
  double scale = 1.0;
  std::optional<double> softcap;
  /// What is added to a score, other than hiding it.
  llvm::SmallVector<Expr> added;
  /// What hides keys: where `condition` is false, `score` is added to a key's
  /// own or replaces it. It is -inf, or a number that no score comes near.
  struct Hidden {
    Expr condition;
    double score;
    bool replaces;
  };
  llvm::SmallVector<Hidden> hidden;
  /// All conditions.
  Expr seen = nullptr;

  /// Whether what is hidden has no weight even where all is.
  bool hidesWholly() const;
};

/// Takes a score apart. `isProduct` knows the product's elements.
std::optional<Scores> parseScores(Expressions &exprs, Expr score,
                                  llvm::function_ref<bool(Expr)> isProduct);

struct Visibility {
  bool causal = false;
  std::optional<int64_t> window;
  /// What else must hold for a key to be seen.
  Expr rest = nullptr;
};

/// Takes apart whether the query that stands at `position` sees the key at
/// `key`.
Visibility parseVisibility(Expressions &exprs, Expr seen, Expr position,
                           Expr key);

} // namespace llmir::raising

#endif // LLMIR_LIB_CONVERSION_LINALGTOLLM_MASKS_H
