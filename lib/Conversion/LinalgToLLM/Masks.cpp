// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Takes scores and masks apart. What changes scores comes in one order in
// `llm.attention`; a formula in another order is not one.

#include "Masks.h"

#include <cmath>

using namespace llmir::raising;

/// A score that hides a key: no scaled product of queries and keys comes near.
static bool hides(double score) { return score <= -1.0e4; }

static void hide(Expressions &exprs, Scores &scores, Scores::Hidden hidden) {
  if (exprs.asTruth(hidden.condition) == true)
    return;
  scores.hidden.push_back(hidden);
  scores.seen = exprs.both(scores.seen, hidden.condition);
}

bool Scores::hidesWholly() const {
  return llvm::all_of(
      hidden, [](const Hidden &term) { return std::isinf(term.score); });
}

/// Reads a number that is added to scores, as a condition or as it is.
static bool addTerm(Expressions &exprs, Scores &scores, Expr term) {
  if (term->applies("arith.addf"))
    return addTerm(exprs, scores, term->operands[0]) &&
           addTerm(exprs, scores, term->operands[1]);
  if (term->kind == Kind::Select) {
    std::optional<double> yes = exprs.asNumber(term->operands[1]),
                          no = exprs.asNumber(term->operands[2]);
    if (yes && no &&
        ((*yes == 0.0 && hides(*no)) || (*no == 0.0 && hides(*yes)))) {
      Expr condition = term->operands[0];
      if (*no == 0.0)
        condition = exprs.isNot(condition);
      hide(exprs, scores, {condition, std::min(*yes, *no), false});
      return true;
    }
  }
  if (exprs.asNumber(term) != 0.0)
    scores.added.push_back(term);
  return true;
}

std::optional<Scores>
llmir::raising::parseScores(Expressions &exprs, Expr score,
                            llvm::function_ref<bool(Expr)> isProduct) {
  llvm::DenseMap<Expr, bool> known;
  std::function<bool(Expr)> hasProduct = [&](Expr e) -> bool {
    if (auto found = known.find(e); found != known.end())
      return found->second;
    bool has = isProduct(e);
    if (!has && e->kind != Kind::Read && e->kind != Kind::Variable)
      has = llvm::any_of(e->operands, hasProduct);
    return known[e] = has;
  };
  Scores scores;
  scores.seen = exprs.truth(true);
  auto isBare = [&] { return scores.scale == 1.0 && !scores.softcap; };
  while (!isProduct(score)) {
    if (score->applies("arith.extf") || score->applies("arith.truncf")) {
      score = score->operands[0];
      continue;
    }
    if (score->kind == Kind::Select && isBare()) {
      int side = hasProduct(score->operands[1]) ? 1 : 2;
      std::optional<double> other = exprs.asNumber(score->operands[3 - side]);
      if (!other || !hides(*other) || hasProduct(score->operands[0]))
        return std::nullopt;
      Expr condition = score->operands[0];
      if (side == 2)
        condition = exprs.isNot(condition);
      hide(exprs, scores, {condition, *other, true});
      score = score->operands[side];
      continue;
    }
    if (score->kind != Kind::Apply)
      return std::nullopt;
    if (score->applies("arith.addf") && isBare()) {
      int side = hasProduct(score->operands[0]) ? 0 : 1;
      if (hasProduct(score->operands[1 - side]) ||
          !addTerm(exprs, scores, score->operands[1 - side]))
        return std::nullopt;
      score = score->operands[side];
      continue;
    }
    if (score->applies("math.tanh") && !scores.softcap && scores.scale > 0.0) {
      // cap * tanh(x / cap): what is inside is scaled by the cap again.
      scores.softcap = scores.scale;
      score = score->operands[0];
      continue;
    }
    bool divides = score->applies("arith.divf");
    if (!divides && !score->applies("arith.mulf"))
      return std::nullopt;
    int side = !divides && hasProduct(score->operands[1]) ? 1 : 0;
    std::optional<double> number = exprs.asNumber(score->operands[1 - side]);
    if (!number)
      return std::nullopt;
    scores.scale = divides ? scores.scale / *number : scores.scale * *number;
    score = score->operands[side];
  }
  scores.product = score;
  return scores;
}

Visibility llmir::raising::parseVisibility(Expressions &exprs, Expr seen,
                                           Expr position, Expr key) {
  Visibility visibility;
  visibility.rest = exprs.truth(true);
  llvm::SmallVector<Expr> parts = {seen};
  if (seen->kind == Kind::And)
    parts.assign(seen->operands.begin(), seen->operands.end());
  Expr ahead = exprs.sub(key, position);
  Expr windowPart = nullptr;
  for (Expr part : parts) {
    if (part->kind == Kind::NotNegative) {
      if (part->operands[0] == exprs.sub(position, key)) {
        visibility.causal = true;
        continue;
      }
      // key > position - window.
      std::optional<int64_t> last =
          exprs.asInteger(exprs.sub(part->operands[0], ahead));
      if (last && *last >= 0) {
        if (!visibility.window || *last + 1 < *visibility.window) {
          visibility.window = *last + 1;
          windowPart = part;
        }
        continue;
      }
    }
    visibility.rest = exprs.both(visibility.rest, part);
  }
  // Only what is causal has a window.
  if (windowPart && !visibility.causal) {
    visibility.rest = exprs.both(visibility.rest, windowPart);
    visibility.window.reset();
  }
  return visibility;
}
