// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Finds RMSNorm (arXiv:1910.07467) and LayerNorm (arXiv:1607.06450) in what an
// exporter makes of them: ten ops, in any of several orders.

#include "Raising.h"
#include "llmir/Conversion/Passes.h"
#include "llmir/Dialect/LLM/LLM.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

namespace llmir {
#define GEN_PASS_DEF_RAISENORM
#include "llmir/Conversion/Passes.h.inc"
} // namespace llmir

using namespace mlir;
using namespace llmir;

namespace {
/// What a norm is made of. Without a weight it is scaled by 1.
struct Norm {
  Term input;
  Term weight;
  Term bias;
  double epsilon = 0.0;
  bool isCentered = false;
};

class NormMatcher {
public:
  explicit NormMatcher(linalg::GenericOp root)
      : root(root), view(root.getContext(), root.getNumLoops()),
        last(view.variable(root.getNumLoops() - 1)) {}

  std::optional<Norm> match() {
    Norm norm;
    Term result = view.resolveRounded(view.element(root.getResult(0)));
    if (view.getOp<arith::AddFOp>(result)) {
      for (unsigned side : {0, 1}) {
        Term bias = view.getOperand(result, side);
        if (view.getConstant(bias) || !view.dependsOnlyOn(bias, last) ||
            !matchScaled(view.getOperand(result, 1 - side), norm))
          continue;
        norm.bias = bias;
        // A sum with a vector is a LayerNorm's; RMSNorm has none.
        return norm.isCentered ? std::optional(norm) : std::nullopt;
      }
      return std::nullopt;
    }
    if (matchScaled(result, norm))
      return norm;
    return std::nullopt;
  }

private:
  /// input * rsqrt(..) * weight, in any order.
  bool matchScaled(const Term &term, Norm &norm) {
    Product product = view.getProduct(term);
    for (bool inverse : {false, true}) {
      auto &factors = inverse ? product.denominator : product.numerator;
      for (size_t i = 0; i < factors.size(); ++i) {
        std::optional<Term> inside = matchRoot(factors[i], inverse);
        if (!inside)
          continue;
        Product rest = product;
        auto &from = inverse ? rest.denominator : rest.numerator;
        from.erase(from.begin() + i);
        if (matchVariance(*inside, norm) && takeInput(rest, norm))
          return true;
      }
    }
    return false;
  }

  /// What is under a square root that divides.
  std::optional<Term> matchRoot(const Term &factor, bool inverse) {
    Term term = view.resolveRounded(factor);
    if (!inverse && view.getOp<math::RsqrtOp>(term))
      return view.getOperand(term, 0);
    if (inverse && view.getOp<math::SqrtOp>(term))
      return view.getOperand(term, 0);
    if (view.getOp<math::PowFOp>(term) &&
        view.getConstant(view.getOperand(term, 1)) == (inverse ? 0.5 : -0.5))
      return view.getOperand(term, 0);
    return std::nullopt;
  }

  /// mean(input^2) + epsilon, or that of what is left of the input less its
  /// mean.
  bool matchVariance(const Term &inside, Norm &norm) {
    Term term = view.resolveRounded(inside);
    if (!view.getOp<arith::AddFOp>(term))
      return false;
    for (unsigned side : {0, 1}) {
      std::optional<double> epsilon =
          view.getConstant(view.getOperand(term, side));
      if (!epsilon || *epsilon < 0.0)
        continue;
      norm.epsilon = *epsilon;
      return matchSquares(view.getOperand(term, 1 - side), norm);
    }
    return false;
  }

  bool matchSquares(const Term &term, Norm &norm) {
    std::optional<Reduction> mean = view.getMean(view.resolveRounded(term));
    if (!mean || !isOfAll(*mean))
      return matchDifference(term, norm);
    std::optional<Term> base = matchSquare(mean->body);
    if (!base)
      return false;
    Term centered = TermView::substitute(*base, mean->variable, last);
    if (std::optional<Term> input = matchCentered(centered)) {
      norm.isCentered = true;
      norm.input = *input;
    } else {
      norm.isCentered = false;
      norm.input = centered;
    }
    return true;
  }

  /// mean(input^2) - mean(input)^2.
  bool matchDifference(const Term &unresolved, Norm &norm) {
    Term term = view.resolveRounded(unresolved);
    if (view.getOp<arith::MaximumFOp>(term) &&
        view.getConstant(view.getOperand(term, 1)) == 0.0)
      term = view.resolveRounded(view.getOperand(term, 0));
    if (!view.getOp<arith::SubFOp>(term))
      return false;
    std::optional<Reduction> squares =
        view.getMean(view.resolveRounded(view.getOperand(term, 0)));
    std::optional<Term> mean = matchSquare(view.getOperand(term, 1));
    if (!squares || !isOfAll(*squares) || !mean)
      return false;
    std::optional<Term> base = matchSquare(squares->body);
    std::optional<Term> input = matchMean(*mean);
    if (!base || !input ||
        !view.isSame(TermView::substitute(*base, squares->variable, last),
                     *input))
      return false;
    norm.isCentered = true;
    norm.input = *input;
    return true;
  }

  /// What a term is the square of.
  std::optional<Term> matchSquare(const Term &unresolved) {
    Term term = view.resolveRounded(unresolved);
    Operation *op = view.getOp(term);
    if (isa_and_nonnull<arith::MulFOp>(op)) {
      if (view.isSame(view.getOperand(term, 0), view.getOperand(term, 1)))
        return view.getOperand(term, 0);
    } else if (isa_and_nonnull<math::FPowIOp, math::PowFOp>(op)) {
      if (view.getConstant(view.getOperand(term, 1)) == 2.0)
        return view.getOperand(term, 0);
    }
    return std::nullopt;
  }

  /// What a term is less the mean of, along the last dimension.
  std::optional<Term> matchCentered(const Term &unresolved) {
    Term term = view.resolveRounded(unresolved);
    if (!view.getOp<arith::SubFOp>(term))
      return std::nullopt;
    Term input = view.getOperand(term, 0);
    std::optional<Term> averaged = matchMean(view.getOperand(term, 1));
    if (!averaged || !view.isSame(*averaged, input))
      return std::nullopt;
    return input;
  }

  /// What a term is the mean of, along the last dimension.
  std::optional<Term> matchMean(const Term &term) {
    std::optional<Reduction> mean = view.getMean(view.resolveRounded(term));
    if (!mean || !isOfAll(*mean))
      return std::nullopt;
    return TermView::substitute(mean->body, mean->variable, last);
  }

  /// Whether a mean is of the last dimension, and the same for each place in
  /// it.
  bool isOfAll(const Reduction &mean) {
    return mean.size == root.getStaticLoopRanges().back() &&
           !view.dependsOn(mean.body, last);
  }

  /// Takes the input, centered if it is, from the product. What is left may
  /// scale along the last dimension.
  bool takeInput(Product &product, Norm &norm) {
    if (norm.isCentered) {
      auto *it = llvm::find_if(product.numerator, [&](const Term &factor) {
        std::optional<Term> input = matchCentered(factor);
        return input && view.isSame(*input, norm.input);
      });
      if (it == product.numerator.end())
        return false;
      product.numerator.erase(it);
    } else if (!view.divide(product, view.getProduct(norm.input))) {
      return false;
    }
    if (!product.denominator.empty() || product.numerator.size() > 1 ||
        !isClose(product.coefficient, 1.0))
      return false;
    if (product.numerator.empty())
      return true;
    norm.weight = product.numerator[0];
    return view.dependsOnlyOn(norm.weight, last);
  }

public:
  linalg::GenericOp root;
  TermView view;
  AffineExpr last;
};
} // namespace

static void replace(NormMatcher &matcher, const Norm &norm) {
  linalg::GenericOp root = matcher.root;
  OpBuilder builder(root);
  Location loc = root.getLoc();
  const TermView &view = matcher.view;
  SmallVector<AffineExpr> variables;
  for (unsigned i = 0; i < root.getNumLoops(); ++i)
    variables.push_back(view.variable(i));
  SmallVector<OpFoldResult> sizes = sizesOf(builder, loc, root.getResult(0));
  Value input = view.materialize(builder, loc, norm.input, variables, sizes);
  auto vector = [&](const Term &term) {
    return view.materialize(builder, loc, term, matcher.last, sizes.back());
  };
  Value weight;
  if (norm.weight) {
    weight = vector(norm.weight);
  } else {
    auto type = RankedTensorType::get({root.getStaticLoopRanges().back()},
                                      getElementTypeOrSelf(input.getType()));
    weight = builder.create<arith::ConstantOp>(
        loc, DenseElementsAttr::get(
                 type, builder.getFloatAttr(type.getElementType(), 1.0)));
  }
  Type type = root.getResult(0).getType();
  FloatAttr epsilon = builder.getF32FloatAttr(float(norm.epsilon));
  Value raised;
  if (norm.isCentered)
    raised = builder.create<llm::LayerNormOp>(
        loc, type, input, weight, norm.bias ? vector(norm.bias) : Value(),
        epsilon);
  else
    raised = builder.create<llm::RMSNormOp>(loc, type, input, weight, epsilon);
  root.getResult(0).replaceAllUsesWith(raised);
}

namespace {
struct RaiseNormPass : llmir::impl::RaiseNormBase<RaiseNormPass> {
  void runOnOperation() override {
    for (linalg::GenericOp root : elementwiseRoots(getOperation())) {
      if (root->use_empty() || root.getNumLoops() == 0 ||
          !isa<FloatType>(getElementTypeOrSelf(root.getResult(0).getType())) ||
          ShapedType::isDynamic(root.getStaticLoopRanges().back()))
        continue;
      NormMatcher matcher(root);
      std::optional<Norm> norm = matcher.match();
      if (!norm)
        continue;
      ++(norm->isCentered ? numLayerNorms : numRMSNorms);
      replace(matcher, *norm);
    }
    eraseDead(getOperation().getBody());
  }
};
} // namespace
