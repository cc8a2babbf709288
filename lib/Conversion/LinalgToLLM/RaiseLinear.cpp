// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Finds products with parameters among contractions: matmul, batch_matmul and
// generics, with the weight in either order of its dimensions, and behind
// transposes, broadcasts over a batch, and widenings.

#include "Raising.h"
#include "llmir/Conversion/Passes.h"
#include "llmir/Dialect/LLM/LLM.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

namespace llmir {
#define GEN_PASS_DEF_RAISELINEAR
#include "llmir/Conversion/Passes.h.inc"
} // namespace llmir

using namespace mlir;
using namespace llmir;

namespace {
/// A contraction `out[rows.., n] = bias[n] + sum_k input[rows.., k] * weight[n,
/// k]`.
struct Contraction {
  Term input;
  /// A parameter, [N, K], or [K, N] if transposed.
  llm::ParameterOp weight;
  bool isTransposed = false;
  Term bias;
  /// The loops that are rows, and the one that is outputs, by the order in
  /// which the result has them.
  SmallVector<AffineExpr> loops;
  unsigned outputs = 0;
};
} // namespace

/// The two factors whose products are summed, if that is what an op does.
static std::optional<std::pair<Value, Value>> getFactors(linalg::LinalgOp op) {
  if (op.getNumDpsInits() != 1 || op->getNumResults() != 1 ||
      op.getNumReductionLoops() != 1)
    return std::nullopt;
  BlockArgument accumulator =
      op.getMatchingBlockArgument(op.getDpsInitOperand(0));
  auto sum = op.getBlock()
                 ->getTerminator()
                 ->getOperand(0)
                 .getDefiningOp<arith::AddFOp>();
  if (!sum || !accumulator.hasOneUse())
    return std::nullopt;
  for (unsigned side : {0, 1})
    if (sum->getOperand(side) == accumulator)
      if (auto product =
              sum->getOperand(1 - side).getDefiningOp<arith::MulFOp>())
        return std::pair(product.getLhs(), product.getRhs());
  return std::nullopt;
}

/// The parameter that a term is an element of, and whether the dimensions are
/// [k, n] rather than [n, k].
static std::optional<std::pair<llm::ParameterOp, bool>>
matchWeight(const Term &term, AffineExpr n, AffineExpr k) {
  auto parameter = term.value.getDefiningOp<llm::ParameterOp>();
  if (!parameter || !term.isElement() || term.index.size() != 2)
    return std::nullopt;
  if (term.index[0] == n && term.index[1] == k)
    return std::pair(parameter, false);
  if (term.index[0] == k && term.index[1] == n)
    return std::pair(parameter, true);
  return std::nullopt;
}

static std::optional<Contraction> match(linalg::LinalgOp op) {
  std::optional<std::pair<Value, Value>> factors = getFactors(op);
  if (!factors)
    return std::nullopt;
  TermView view(op.getContext(), op.getNumLoops());
  SmallVector<AffineExpr, 4> loops;
  for (unsigned i = 0; i < op.getNumLoops(); ++i)
    loops.push_back(view.variable(i));
  SmallVector<unsigned> reduced;
  op.getReductionDims(reduced);
  AffineExpr k = loops[reduced[0]];
  AffineMap out = op.getMatchingIndexingMap(op.getDpsInitOperand(0));

  Contraction result;
  result.loops.assign(out.getResults().begin(), out.getResults().end());
  if (result.loops.size() + 1 != op.getNumLoops() ||
      !out.isProjectedPermutation())
    return std::nullopt;
  SmallVector<int64_t> ranges = op.getStaticLoopRanges();
  for (auto [position, n] : llvm::enumerate(result.loops)) {
    for (auto [a, b] : {std::pair(factors->first, factors->second),
                        std::pair(factors->second, factors->first)}) {
      Term weight = view.resolveRounded({b, loops});
      std::optional<std::pair<llm::ParameterOp, bool>> found =
          matchWeight(weight, n, k);
      if (!found)
        continue;
      // The weight is all of the parameter.
      auto type = cast<RankedTensorType>(found->first.getResult().getType());
      int64_t outputs = ranges[cast<AffineDimExpr>(n).getPosition()];
      int64_t inputs = ranges[reduced[0]];
      if (type.getShape() != (found->second
                                  ? ArrayRef<int64_t>{inputs, outputs}
                                  : ArrayRef<int64_t>{outputs, inputs}))
        continue;
      result.input = {a, loops};
      if (view.dependsOnlyOn(result.input, k) && result.loops.size() > 1)
        continue;
      // Each output has the same input.
      if (view.dependsOn(result.input, n))
        continue;
      result.weight = found->first;
      result.isTransposed = found->second;
      result.outputs = position;
      Term init = view.operand(*op.getDpsInitOperand(0), loops);
      if (view.getConstant(init) != 0.0) {
        if (view.getConstant(init) || !view.dependsOnlyOn(init, n))
          return std::nullopt;
        result.bias = init;
      }
      return result;
    }
  }
  return std::nullopt;
}

/// Makes the product over flat rows, and what the contraction made of it.
static void replace(linalg::LinalgOp op, const Contraction &found) {
  OpBuilder builder(op);
  Location loc = op->getLoc();
  TermView view(op.getContext(), op.getNumLoops());
  SmallVector<unsigned> reduced;
  op.getReductionDims(reduced);
  AffineExpr k = view.variable(reduced[0]);
  AffineExpr n = found.loops[found.outputs];

  SmallVector<OpFoldResult> resultSizes =
      sizesOf(builder, loc, op->getResult(0));
  SmallVector<AffineExpr> variables;
  SmallVector<OpFoldResult> rows;
  for (auto [i, loop] : llvm::enumerate(found.loops))
    if (i != found.outputs) {
      variables.push_back(loop);
      rows.push_back(resultSizes[i]);
    }
  variables.push_back(k);
  SmallVector<OpFoldResult> sizes(rows);
  sizes.push_back(builder.getIndexAttr(op.getStaticLoopRanges()[reduced[0]]));
  Value input = view.materialize(builder, loc, found.input, variables, sizes);
  auto inputType = cast<RankedTensorType>(input.getType());
  Value flat;
  if (rows.empty()) {
    SmallVector<ReassociationIndices> group = {{0, 1}};
    flat = builder.create<tensor::ExpandShapeOp>(
        loc,
        RankedTensorType::get({1, inputType.getDimSize(0)},
                              inputType.getElementType()),
        input, group);
  } else {
    flat = collapseRows(builder, loc, input, rows.size());
  }

  llm::ParameterOp parameter = found.weight;
  Value weight = parameter;
  if (found.isTransposed) {
    // The parameter is asked for with its dimensions exchanged.
    auto type = cast<RankedTensorType>(weight.getType());
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPointAfter(parameter);
    auto exchanged = cast<llm::ParameterOp>(builder.clone(*parameter));
    exchanged.setTransposed(true);
    exchanged.getResult().setType(RankedTensorType::get(
        {type.getDimSize(1), type.getDimSize(0)}, type.getElementType()));
    weight = exchanged;
  }
  Value bias;
  if (found.bias)
    bias = view.materialize(builder, loc, found.bias, n,
                            resultSizes[found.outputs]);

  auto type = cast<RankedTensorType>(op->getResult(0).getType());
  int64_t outputs = cast<RankedTensorType>(weight.getType()).getDimSize(0);
  Value product = builder.create<llm::LinearOp>(
      loc,
      RankedTensorType::get(
          {cast<RankedTensorType>(flat.getType()).getDimSize(0), outputs},
          type.getElementType()),
      flat, weight, bias);
  Value result;
  if (rows.empty()) {
    SmallVector<ReassociationIndices> group = {{0, 1}};
    result = builder.create<tensor::CollapseShapeOp>(loc, product, group);
  } else {
    result = expandRows(builder, loc, product, rows);
  }
  if (found.outputs + 1 != found.loops.size()) {
    SmallVector<int64_t> permutation;
    for (unsigned i = 0, row = 0; i < found.loops.size(); ++i)
      permutation.push_back(i == found.outputs ? int64_t(rows.size()) : row++);
    Value empty = builder.create<tensor::EmptyOp>(loc, resultSizes,
                                                  type.getElementType());
    result =
        builder.create<linalg::TransposeOp>(loc, result, empty, permutation)
            .getResult()[0];
  }
  op->getResult(0).replaceAllUsesWith(castTo(builder, loc, result, type));
}

/// Adds what follows a product, if it is a vector of outputs, as its bias.
static bool foldBias(linalg::GenericOp root) {
  TermView view(root.getContext(), root.getNumLoops());
  Term sum = view.resolve(view.element(root.getResult(0)));
  if (!view.getOp<arith::AddFOp>(sum) || root.getNumLoops() == 0)
    return false;
  AffineExpr last = view.variable(root.getNumLoops() - 1);
  for (unsigned side : {0, 1}) {
    Term bias = view.getOperand(sum, 1 - side);
    Term product = view.asElement(view.getOperand(sum, side));
    if (!product || view.getConstant(bias) || !view.dependsOnlyOn(bias, last))
      continue;
    // Every element of the sum is one of the product, in the same place.
    for (unsigned i = 0; i < product.index.size() && product; ++i)
      if (product.index.size() != root.getNumLoops() ||
          (product.index[i] != view.variable(i) &&
           root.getStaticLoopRanges()[i] != 1))
        product = Term();
    if (!product)
      continue;
    Value rows = product.value;
    Value flat = getFlat(rows);
    auto linear = (flat ? flat : rows).getDefiningOp<llm::LinearOp>();
    if (!linear || linear.getBias() || linear.getActivation() ||
        linear.getGated() || linear.getResidual() || !linear->hasOneUse() ||
        !rows.hasOneUse())
      continue;
    OpBuilder builder(root);
    auto type = cast<RankedTensorType>(root.getResult(0).getType());
    Value vector = view.materialize(
        builder, root.getLoc(), bias, last,
        OpFoldResult(builder.getIndexAttr(type.getShape().back())));
    auto biased = builder.create<llm::LinearOp>(
        root.getLoc(), linear.getResult().getType(), linear.getInput(),
        linear.getWeight(), vector);
    Value result = biased;
    if (flat)
      result = expandRows(
          builder, root.getLoc(), biased,
          ArrayRef(sizesOf(builder, root.getLoc(), root.getResult(0)))
              .drop_back());
    root.getResult(0).replaceAllUsesWith(
        castTo(builder, root.getLoc(), result, type));
    return true;
  }
  return false;
}

namespace {
struct RaiseLinearPass : llmir::impl::RaiseLinearBase<RaiseLinearPass> {
  void runOnOperation() override {
    SmallVector<linalg::LinalgOp> ops;
    getOperation().walk([&](linalg::LinalgOp op) { ops.push_back(op); });
    for (linalg::LinalgOp op : ops)
      if (std::optional<Contraction> found = match(op)) {
        replace(op, *found);
        ++numRaised;
      }
    eraseDead(getOperation().getBody());
    for (linalg::GenericOp root : elementwiseRoots(getOperation()))
      if (foldBias(root))
        ++numBiases;
    eraseDead(getOperation().getBody());
  }
};
} // namespace
