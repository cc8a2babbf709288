// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Finds activation functions in expressions: products of their input, a number
// and a sigmoid or 1 plus an erf or tanh, in any order. What is left of such a
// product is what the activation gates.

#include "Raising.h"
#include "llmir/Conversion/Passes.h"
#include "llmir/Dialect/LLM/LLM.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

#include <cmath>

namespace llmir {
#define GEN_PASS_DEF_RAISEACTIVATION
#include "llmir/Conversion/Passes.h.inc"
} // namespace llmir

using namespace mlir;
using namespace llmir;
using llmir::llm::ActivationKind;

namespace {
/// f(input), or f(input) * multiplier.
struct Activation {
  ActivationKind kind;
  Term input;
  Term multiplier;
};

/// A number times terms, as the terms of a sum are.
using Monomial = std::pair<double, SmallVector<Term>>;

class ActivationMatcher {
public:
  explicit ActivationMatcher(linalg::GenericOp root)
      : root(root), view(root.getContext(), root.getNumLoops()) {}

  std::optional<Activation> match() {
    Term result = view.resolveRounded(view.element(root.getResult(0)));
    if (std::optional<Activation> found = matchAny(result))
      return found;
    // A product of two, one of which is an activation.
    if (view.getOp<arith::MulFOp>(result))
      for (unsigned side : {0, 1}) {
        Term other = view.getOperand(result, 1 - side);
        if (view.getConstant(other))
          continue;
        std::optional<Activation> found =
            matchAny(view.resolveRounded(view.getOperand(result, side)));
        if (!found || found->multiplier)
          continue;
        found->multiplier = other;
        return found;
      }
    return std::nullopt;
  }

private:
  std::optional<Activation> matchAny(const Term &term) {
    if (std::optional<Activation> found = matchSimple(term))
      return found;
    Product product = view.getProduct(term);
    for (size_t i = 0; i < product.denominator.size(); ++i)
      if (std::optional<Term> exponent =
              matchLogistic(product.denominator[i])) {
        Product rest = product;
        rest.denominator.erase(rest.denominator.begin() + i);
        if (auto found = matchSigmoid(rest, *exponent))
          return found;
      }
    for (size_t i = 0; i < product.numerator.size(); ++i)
      if (Operation *function = matchOnePlus(product.numerator[i])) {
        Product rest = product;
        rest.numerator.erase(rest.numerator.begin() + i);
        if (auto found = matchGelu(rest, function))
          return found;
      }
    return std::nullopt;
  }

  /// max(x, 0) and tanh(x), and their squares.
  std::optional<Activation> matchSimple(const Term &term) {
    Operation *op = view.getOp(term);
    if (isa_and_nonnull<math::TanhOp>(op))
      return Activation{ActivationKind::tanh, view.getOperand(term, 0), {}};
    if (std::optional<Term> input = matchMaximum(term))
      return Activation{ActivationKind::relu, *input, {}};
    Product product = view.getProduct(term);
    if (product.denominator.empty() && product.numerator.size() == 2 &&
        product.coefficient == 1.0 &&
        view.isSame(product.numerator[0], product.numerator[1]))
      if (std::optional<Term> input = matchMaximum(product.numerator[0]))
        return Activation{ActivationKind::relu2, *input, {}};
    return std::nullopt;
  }

  std::optional<Term> matchMaximum(const Term &unresolved) {
    Term term = view.resolveRounded(unresolved);
    if (view.getOp<arith::MaximumFOp>(term)) {
      for (unsigned side : {0, 1})
        if (view.getConstant(view.getOperand(term, side)) == 0.0)
          return view.getOperand(term, 1 - side);
    } else if (view.getOp<arith::SelectOp>(term)) {
      // x > 0 ? x : 0
      Term condition = view.resolve(view.getOperand(term, 0));
      auto compare = view.getOp<arith::CmpFOp>(condition);
      if (!compare || (compare.getPredicate() != arith::CmpFPredicate::UGT &&
                       compare.getPredicate() != arith::CmpFPredicate::OGT))
        return std::nullopt;
      Term input = view.getOperand(term, 1);
      if (view.getConstant(view.getOperand(term, 2)) == 0.0 &&
          view.getConstant(view.getOperand(condition, 1)) == 0.0 &&
          view.isSame(view.getOperand(condition, 0), input))
        return input;
    }
    return std::nullopt;
  }

  /// What is raised to, in 1 + exp(..).
  std::optional<Term> matchLogistic(const Term &unresolved) {
    std::optional<Term> other = matchOneAnd(unresolved);
    if (!other)
      return std::nullopt;
    Term exponential = view.resolveRounded(*other);
    if (!view.getOp<math::ExpOp>(exponential))
      return std::nullopt;
    return view.getOperand(exponential, 0);
  }

  /// The erf or tanh of 1 + erf(..) or 1 + tanh(..), with its operand in
  /// `inner`.
  Operation *matchOnePlus(const Term &unresolved) {
    std::optional<Term> other = matchOneAnd(unresolved);
    if (!other)
      return nullptr;
    Term function = view.resolveRounded(*other);
    Operation *op = view.getOp(function);
    if (!isa_and_nonnull<math::ErfOp, math::TanhOp>(op))
      return nullptr;
    inner = view.getOperand(function, 0);
    return op;
  }

  /// What is added to 1.
  std::optional<Term> matchOneAnd(const Term &unresolved) {
    Term term = view.resolveRounded(unresolved);
    if (view.getOp<arith::AddFOp>(term))
      for (unsigned side : {0, 1})
        if (view.getConstant(view.getOperand(term, side)) == 1.0)
          return view.getOperand(term, 1 - side);
    return std::nullopt;
  }

  /// rest / (1 + exp(exponent)).
  std::optional<Activation> matchSigmoid(const Product &rest,
                                         const Term &exponent) {
    Product inside = view.getProduct(exponent);
    Activation found{ActivationKind::sigmoid, {}, {}};
    // The input times its sigmoid, or that of so many times the input.
    Product with = rest;
    Product input = inside;
    input.coefficient = rest.coefficient;
    double factor = -inside.coefficient / rest.coefficient;
    if ((isClose(factor, 1.0) || isClose(factor, 1.702)) &&
        view.divide(with, input)) {
      found.kind = isClose(factor, 1.0) ? ActivationKind::silu
                                        : ActivationKind::quick_gelu;
      std::optional<Term> term = findTerm(exponent, input);
      if (term && takeMultiplier(with, found)) {
        found.input = *term;
        return found;
      }
    }
    input.coefficient = -inside.coefficient;
    std::optional<Term> term = findTerm(exponent, input);
    if (!term || !takeMultiplier(rest, found))
      return std::nullopt;
    found.input = *term;
    return found;
  }

  /// rest * (1 + function(inner)).
  std::optional<Activation> matchGelu(const Product &rest,
                                      Operation *function) {
    // The input is twice the number in front: x / 2 * (1 + ..).
    double scale = 2.0 * rest.coefficient;
    Term argument = inner;
    if (isa<math::ErfOp>(function)) {
      Product inside = view.getProduct(argument);
      Product input = inside;
      input.coefficient = scale;
      if (!isClose(inside.coefficient, scale * M_SQRT1_2))
        return std::nullopt;
      return finishGelu(ActivationKind::gelu, rest, argument, input);
    }
    // sqrt(2 / pi) * (x + 0.044715 x^3), in any order.
    SmallVector<Monomial> sum;
    if (!expand(argument, rest.numerator, 1.0, {}, sum) || sum.size() != 2)
      return std::nullopt;
    if (sum[0].second.size() > sum[1].second.size())
      std::swap(sum[0], sum[1]);
    double root = std::sqrt(2.0 / M_PI);
    if (!isClose(sum[0].first, root * scale) ||
        !isClose(sum[1].first, root * 0.044715 * scale * scale * scale))
      return std::nullopt;
    Product input, cube;
    input.coefficient = scale;
    input.numerator = sum[0].second;
    cube.coefficient = sum[1].first;
    cube.numerator = sum[1].second;
    for (int i = 0; i < 3; ++i)
      if (!view.divide(cube, input))
        return std::nullopt;
    if (!cube.numerator.empty())
      return std::nullopt;
    return finishGelu(ActivationKind::gelu_tanh, rest, argument, input);
  }

  std::optional<Activation> finishGelu(ActivationKind kind, Product rest,
                                       const Term &argument,
                                       const Product &input) {
    Activation found{kind, {}, {}};
    // Half of the input has been taken with the number in front.
    Product half = input;
    half.coefficient = rest.coefficient;
    std::optional<Term> term = findTerm(argument, input);
    if (!term)
      for (const Term &factor : rest.numerator)
        if (!term && isProduct(factor, input))
          term = factor;
    if (!term || !view.divide(rest, half) || !takeMultiplier(rest, found))
      return std::nullopt;
    found.input = *term;
    return found;
  }

  /// What is left gates: one term, or nothing.
  bool takeMultiplier(const Product &rest, Activation &found) {
    if (!rest.denominator.empty() || rest.numerator.size() > 1 ||
        !isClose(rest.coefficient, 1.0))
      return false;
    if (!rest.numerator.empty())
      found.multiplier = rest.numerator[0];
    return true;
  }

  bool isProduct(const Term &term, const Product &expected) {
    Product product = view.getProduct(term);
    return view.divide(product, expected) && product.numerator.empty() &&
           product.denominator.empty() && isClose(product.coefficient, 1.0);
  }

  /// The term within `term` that is this product, going into what is negated,
  /// multiplied and added.
  std::optional<Term> findTerm(const Term &unresolved,
                               const Product &expected) {
    if (isProduct(unresolved, expected))
      return unresolved;
    Term term = view.resolveRounded(unresolved);
    Operation *op = view.getOp(term);
    if (!isa_and_nonnull<arith::NegFOp, arith::MulFOp, arith::DivFOp,
                         arith::AddFOp, arith::SubFOp>(op))
      return std::nullopt;
    for (unsigned i = 0; i < op->getNumOperands(); ++i) {
      Term operand = view.getOperand(term, i);
      if (view.getConstant(operand))
        continue;
      if (std::optional<Term> found = findTerm(operand, expected))
        return found;
    }
    return std::nullopt;
  }

  /// Writes `coefficient * factors * term` as a sum of products of terms that
  /// are no sums, or that are among `atoms`.
  bool expand(const Term &unresolved, ArrayRef<Term> atoms, double coefficient,
              SmallVector<Term> factors, SmallVector<Monomial> &sum) {
    Product product = view.getProduct(unresolved);
    if (!product.denominator.empty() || sum.size() > 4 || factors.size() > 4)
      return false;
    coefficient *= product.coefficient;
    std::optional<Term> inside;
    for (const Term &factor : product.numerator) {
      bool isAtom = llvm::any_of(
          atoms, [&](const Term &atom) { return view.isSame(atom, factor); });
      Operation *op = view.getOp(view.resolveRounded(factor));
      if (!isAtom && !inside &&
          isa_and_nonnull<arith::AddFOp, arith::SubFOp>(op))
        inside = view.resolveRounded(factor);
      else
        factors.push_back(factor);
    }
    if (!inside) {
      sum.emplace_back(coefficient, factors);
      return true;
    }
    bool isDifference = view.getOp<arith::SubFOp>(*inside);
    return expand(view.getOperand(*inside, 0), atoms, coefficient, factors,
                  sum) &&
           expand(view.getOperand(*inside, 1), atoms,
                  isDifference ? -coefficient : coefficient, factors, sum);
  }

  Term inner;

public:
  linalg::GenericOp root;
  TermView view;
};

struct RaiseActivationPass
    : llmir::impl::RaiseActivationBase<RaiseActivationPass> {
  void runOnOperation() override {
    for (linalg::GenericOp root : elementwiseRoots(getOperation())) {
      if (root->use_empty() ||
          !isa<FloatType>(getElementTypeOrSelf(root.getResult(0).getType())))
        continue;
      ActivationMatcher matcher(root);
      std::optional<Activation> found = matcher.match();
      if (!found)
        continue;
      replace(matcher, *found);
      ++numRaised;
      numGated += bool(found->multiplier);
    }
    eraseDead(getOperation().getBody());
  }

  static void replace(ActivationMatcher &matcher, const Activation &found) {
    linalg::GenericOp root = matcher.root;
    OpBuilder builder(root);
    Location loc = root.getLoc();
    SmallVector<AffineExpr> variables;
    for (unsigned i = 0; i < root.getNumLoops(); ++i)
      variables.push_back(matcher.view.variable(i));
    SmallVector<OpFoldResult> sizes = sizesOf(builder, loc, root.getResult(0));
    auto tensor = [&](const Term &term) {
      return matcher.view.materialize(builder, loc, term, variables, sizes);
    };
    Value input = tensor(found.input);
    Value multiplier = found.multiplier ? tensor(found.multiplier) : Value();
    root.getResult(0).replaceAllUsesWith(builder.create<llm::ActivationOp>(
        loc, root.getResult(0).getType(), found.kind, input, multiplier));
  }
};
} // namespace
