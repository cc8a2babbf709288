// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Tensors as functions of their index; see Terms.h.

#include "Terms.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/Matchers.h"

#include <cmath>

using namespace mlir;
using namespace llmir;

/// How deep expressions are compared, which are trees and may share much.
static constexpr unsigned kMaxDepth = 6;

bool llmir::isClose(double a, double b) {
  return std::abs(a - b) <= 1e-5 * std::max(std::abs(a), std::abs(b));
}

/// The linalg op whose body a scalar is computed in, or null.
static linalg::LinalgOp getLoops(Value scalar) {
  Operation *parent = scalar.getParentRegion()->getParentOp();
  return dyn_cast<linalg::LinalgOp>(parent);
}

static Operation *getTerminator(linalg::LinalgOp op) {
  return op.getBlock()->getTerminator();
}

static bool isParallel(linalg::LinalgOp op) {
  return op.getNumParallelLoops() == op.getNumLoops();
}

/// The loops' indices at which a linalg op makes an element of its output, null
/// for loops that the output does not say.
static std::optional<SmallVector<AffineExpr>>
solveLoops(linalg::LinalgOp op, OpResult result, ArrayRef<AffineExpr> index) {
  AffineMap map = op.getIndexingMapMatchingResult(result);
  SmallVector<AffineExpr> loops(op.getNumLoops());
  for (auto [expr, at] : llvm::zip(map.getResults(), index)) {
    if (auto loop = dyn_cast<AffineDimExpr>(expr)) {
      if (loops[loop.getPosition()])
        return std::nullopt;
      loops[loop.getPosition()] = at;
    } else if (!isa<AffineConstantExpr>(expr)) {
      return std::nullopt;
    }
  }
  return loops;
}

/// Whether a value, not negative itself, is what an expression comes to
/// whatever its variables are, which are not negative.
static bool isNonNegative(AffineExpr expr) {
  if (auto constant = dyn_cast<AffineConstantExpr>(expr))
    return constant.getValue() >= 0;
  if (isa<AffineDimExpr>(expr))
    return true;
  auto binary = dyn_cast<AffineBinaryOpExpr>(expr);
  return binary && isNonNegative(binary.getLHS()) &&
         isNonNegative(binary.getRHS());
}

//===----------------------------------------------------------------------===//
// Where elements come from
//===----------------------------------------------------------------------===//

Term TermView::element(Value tensor, ArrayRef<AffineExpr> index) const {
  Term term{tensor, SmallVector<AffineExpr, 4>(index)};
  auto type = cast<RankedTensorType>(tensor.getType());
  for (int64_t dim = 0; dim < type.getRank(); ++dim)
    if (type.getDimSize(dim) == 1)
      term.index[dim] = getAffineConstantExpr(0, context);
  return term;
}

Term TermView::element(Value tensor) const {
  SmallVector<AffineExpr> index;
  for (int64_t dim = 0,
               rank = cast<RankedTensorType>(tensor.getType()).getRank();
       dim < rank; ++dim)
    index.push_back(variable(dim));
  return element(tensor, index);
}

Term TermView::operand(OpOperand &operand, ArrayRef<AffineExpr> loops) const {
  Value value = operand.get();
  if (!isa<RankedTensorType>(value.getType()))
    return {value, {}};
  auto op = cast<linalg::LinalgOp>(operand.getOwner());
  SmallVector<AffineExpr> index;
  for (AffineExpr expr : op.getMatchingIndexingMap(&operand).getResults())
    index.push_back(
        simplifyAffineExpr(expr.replaceDims(loops), numVariables + 16, 0));
  return element(value, index);
}

/// The index into what a reshape of static inner sizes is made of.
static std::optional<SmallVector<AffineExpr>>
linearize(ArrayRef<ReassociationIndices> groups, ArrayRef<int64_t> shape,
          ArrayRef<AffineExpr> index, MLIRContext *context) {
  SmallVector<AffineExpr> result;
  for (const ReassociationIndices &group : groups) {
    AffineExpr sum = getAffineConstantExpr(0, context);
    int64_t stride = 1;
    for (int64_t dim : llvm::reverse(group)) {
      bool isZero = index[dim] == getAffineConstantExpr(0, context);
      if (ShapedType::isDynamic(stride) && !isZero)
        return std::nullopt;
      if (!isZero)
        sum = sum + index[dim] * stride;
      stride =
          ShapedType::isDynamic(shape[dim]) || ShapedType::isDynamic(stride)
              ? ShapedType::kDynamic
              : stride * shape[dim];
    }
    result.push_back(sum);
  }
  return result;
}

static std::optional<SmallVector<AffineExpr>>
delinearize(ArrayRef<ReassociationIndices> groups, ArrayRef<int64_t> shape,
            ArrayRef<AffineExpr> index, MLIRContext *context) {
  SmallVector<AffineExpr> result(shape.size());
  for (auto [group, whole] : llvm::zip(groups, index)) {
    AffineExpr rest = whole;
    for (auto [position, dim] : llvm::reverse(llvm::enumerate(group))) {
      bool isOutermost =
          llvm::all_of(ArrayRef(group).take_front(position),
                       [&](int64_t outer) { return shape[outer] == 1; });
      if (shape[dim] == 1) {
        result[dim] = getAffineConstantExpr(0, context);
      } else if (isOutermost) {
        result[dim] = rest;
      } else if (ShapedType::isDynamic(shape[dim])) {
        return std::nullopt;
      } else {
        result[dim] = rest % shape[dim];
        rest = rest.floorDiv(shape[dim]);
      }
    }
  }
  return result;
}

/// Where an op on a tensor gets the element from, or nothing.
Term TermView::stepElement(const Term &term) const {
  auto result = dyn_cast<OpResult>(term.value);
  if (!result)
    return {};
  Operation *op = result.getOwner();
  if (auto loops = dyn_cast<linalg::LinalgOp>(op)) {
    if (!isParallel(loops))
      return {};
    std::optional<SmallVector<AffineExpr>> at =
        solveLoops(loops, result, term.index);
    if (!at || llvm::is_contained(*at, AffineExpr()))
      return {};
    return {getTerminator(loops)->getOperand(result.getResultNumber()),
            llvm::to_vector<4>(*at)};
  }
  if (auto cast = dyn_cast<tensor::CastOp>(op))
    return isa<RankedTensorType>(cast.getSource().getType())
               ? element(cast.getSource(), term.index)
               : Term();
  if (auto expand = dyn_cast<tensor::ExpandShapeOp>(op)) {
    auto index =
        linearize(expand.getReassociationIndices(),
                  expand.getResultType().getShape(), term.index, context);
    return index ? element(expand.getSrc(), *index) : Term();
  }
  if (auto collapse = dyn_cast<tensor::CollapseShapeOp>(op)) {
    auto index =
        delinearize(collapse.getReassociationIndices(),
                    collapse.getSrcType().getShape(), term.index, context);
    return index ? element(collapse.getSrc(), *index) : Term();
  }
  if (auto slice = dyn_cast<tensor::ExtractSliceOp>(op)) {
    llvm::SmallBitVector dropped = slice.getDroppedDims();
    SmallVector<AffineExpr> index;
    unsigned next = 0;
    for (auto [dim, offset, stride] :
         llvm::enumerate(slice.getMixedOffsets(), slice.getMixedStrides())) {
      std::optional<int64_t> start = getConstantIntValue(offset);
      std::optional<int64_t> by = getConstantIntValue(stride);
      if (!start || !by)
        return {};
      AffineExpr at = dropped.test(dim) ? getAffineConstantExpr(0, context)
                                        : term.index[next++];
      index.push_back(at * *by + *start);
    }
    return element(slice.getSource(), index);
  }
  return {};
}

/// One step of `resolve`; nothing where it ends.
Term TermView::step(const Term &term, bool throughRoundings) const {
  if (term.isElement()) {
    Operation *op = term.value.getDefiningOp();
    if (isa_and_nonnull<arith::ExtFOp>(op) ||
        (throughRoundings && isa_and_nonnull<arith::TruncFOp>(op)))
      return element(op->getOperand(0), term.index);
    return stepElement(term);
  }
  if (auto argument = dyn_cast<BlockArgument>(term.value)) {
    auto loops = dyn_cast<linalg::LinalgOp>(argument.getOwner()->getParentOp());
    return loops ? operand(*loops.getMatchingOpOperand(argument), term.index)
                 : Term();
  }
  Operation *op = term.value.getDefiningOp();
  if (isa<arith::ExtFOp>(op) || (throughRoundings && isa<arith::TruncFOp>(op)))
    return getOperand(term, 0);
  if (auto extract = dyn_cast<tensor::ExtractOp>(op)) {
    SmallVector<AffineExpr> index;
    for (unsigned i = 0; i < extract.getIndices().size(); ++i) {
      std::optional<AffineExpr> at = getAffine(getOperand(term, i + 1));
      if (!at)
        return {};
      index.push_back(*at);
    }
    return element(extract.getTensor(), index);
  }
  return {};
}

Term TermView::resolve(Term term, bool throughRoundings) const {
  while (Term next = step(term, throughRoundings))
    term = next;
  return term;
}

Term TermView::resolve(Term term) const {
  return resolve(std::move(term), /*throughRoundings=*/false);
}

Term TermView::resolveRounded(Term term) const {
  return resolve(std::move(term), /*throughRoundings=*/true);
}

/// Whether a term's next step may lead to a tensor of another size along one of
/// the variables: a slice, or an element taken by its index.
static bool mayLeaveRange(const Term &term) {
  return isa_and_nonnull<tensor::ExtractSliceOp, tensor::ExtractOp>(
      term.value.getDefiningOp());
}

Term TermView::resolveInRange(Term term) const {
  while (!mayLeaveRange(term)) {
    Term next = step(term, /*throughRoundings=*/false);
    if (!next)
      break;
    term = next;
  }
  return term;
}

Term TermView::asElement(Term term) const {
  if (term.isElement())
    return term;
  linalg::LinalgOp loops = getLoops(term.value);
  if (!loops || term.index.size() != loops.getNumLoops())
    return {};
  if (auto argument = dyn_cast<BlockArgument>(term.value)) {
    Term read = operand(*loops.getMatchingOpOperand(argument), term.index);
    return read.isElement() ? read : Term();
  }
  for (OpOperand &yielded : getTerminator(loops)->getOpOperands()) {
    if (yielded.get() != term.value || !isParallel(loops))
      continue;
    OpResult result = loops->getResult(yielded.getOperandNumber());
    SmallVector<AffineExpr> index;
    for (AffineExpr expr :
         loops.getIndexingMapMatchingResult(result).getResults())
      index.push_back(expr.replaceDims(term.index));
    return element(result, index);
  }
  return {};
}

//===----------------------------------------------------------------------===//
// What terms are computed from
//===----------------------------------------------------------------------===//

Operation *TermView::getOp(const Term &term) const {
  Operation *op = term.value.getDefiningOp();
  if (!op)
    return nullptr;
  if (!term.isElement())
    return op;
  return op->hasTrait<OpTrait::Elementwise>() ? op : nullptr;
}

Term TermView::getOperand(const Term &term, unsigned operand) const {
  Value value = term.value.getDefiningOp()->getOperand(operand);
  if (term.isElement() && isa<RankedTensorType>(value.getType()))
    return element(value, term.index);
  // What stands outside of the body does not depend on its loops.
  if (!isa<RankedTensorType>(value.getType()) &&
      getLoops(value) != getLoops(term.value))
    return {value, {}};
  return {value, term.index};
}

std::optional<double> TermView::getConstant(const Term &unresolved) const {
  Term term = resolveRounded(unresolved);
  Attribute attribute;
  Operation *op = term.value.getDefiningOp();
  if (!op)
    return std::nullopt;
  if (matchPattern(op, m_Constant(&attribute))) {
    if (auto elements = dyn_cast<DenseElementsAttr>(attribute)) {
      if (!elements.isSplat())
        return std::nullopt;
      attribute = elements.getSplatValue<Attribute>();
    }
    if (auto real = dyn_cast<FloatAttr>(attribute))
      return real.getValueAsDouble();
    if (auto integer = dyn_cast<IntegerAttr>(attribute))
      return double(integer.getValue().getSExtValue());
    return std::nullopt;
  }
  if (isa<arith::SIToFPOp, arith::NegFOp, math::RsqrtOp, math::SqrtOp>(op) &&
      getOp(term)) {
    std::optional<double> in = getConstant(getOperand(term, 0));
    if (!in)
      return std::nullopt;
    if (isa<arith::NegFOp>(op))
      return -*in;
    if (isa<math::RsqrtOp>(op))
      return 1.0 / std::sqrt(*in);
    return isa<math::SqrtOp>(op) ? std::sqrt(*in) : *in;
  }
  if (isa<arith::MulFOp, arith::DivFOp, arith::AddFOp, arith::SubFOp>(op) &&
      getOp(term)) {
    std::optional<double> lhs = getConstant(getOperand(term, 0));
    if (!lhs)
      return std::nullopt;
    std::optional<double> rhs = getConstant(getOperand(term, 1));
    if (!rhs)
      return std::nullopt;
    if (isa<arith::MulFOp>(op))
      return *lhs * *rhs;
    if (isa<arith::DivFOp>(op))
      return *lhs / *rhs;
    return isa<arith::AddFOp>(op) ? *lhs + *rhs : *lhs - *rhs;
  }
  return std::nullopt;
}

std::optional<AffineExpr> TermView::getAffine(const Term &unresolved) const {
  Term term = resolve(unresolved);
  Operation *op = getOp(term);
  if (!op)
    return std::nullopt;
  IntegerAttr constant;
  if (matchPattern(op, m_Constant(&constant)))
    return getAffineConstantExpr(constant.getValue().getSExtValue(), context);
  if (DenseIntElementsAttr elements;
      matchPattern(op, m_Constant(&elements)) && elements.isSplat())
    return getAffineConstantExpr(elements.getSplatValue<APInt>().getSExtValue(),
                                 context);
  if (auto index = dyn_cast<linalg::IndexOp>(op)) {
    return index.getDim() < term.index.size()
               ? std::optional(term.index[index.getDim()])
               : std::nullopt;
  }
  if (isa<arith::IndexCastOp, arith::ExtSIOp>(op))
    return getAffine(getOperand(term, 0));
  if (isa<arith::AddIOp, arith::SubIOp, arith::MulIOp>(op)) {
    std::optional<AffineExpr> lhs = getAffine(getOperand(term, 0));
    if (!lhs)
      return std::nullopt;
    std::optional<AffineExpr> rhs = getAffine(getOperand(term, 1));
    if (!rhs)
      return std::nullopt;
    if (isa<arith::AddIOp>(op))
      return *lhs + *rhs;
    if (isa<arith::SubIOp>(op))
      return *lhs - *rhs;
    if (lhs->isSymbolicOrConstant() || rhs->isSymbolicOrConstant())
      return *lhs * *rhs;
    return std::nullopt;
  }
  // An index counted from the end if it is negative.
  if (auto select = dyn_cast<arith::SelectOp>(op)) {
    Term condition = resolve(getOperand(term, 0));
    auto compare = getOp<arith::CmpIOp>(condition);
    if (!compare || compare.getPredicate() != arith::CmpIPredicate::slt)
      return std::nullopt;
    std::optional<AffineExpr> lhs = getAffine(getOperand(condition, 0));
    std::optional<AffineExpr> rhs = getAffine(getOperand(condition, 1));
    if (lhs && rhs && isNonNegative(*lhs) &&
        *rhs == getAffineConstantExpr(0, context))
      return getAffine(getOperand(term, 2));
  }
  return std::nullopt;
}

bool TermView::dependsOnlyOn(const Term &unresolved,
                             ArrayRef<AffineExpr> allowed) const {
  auto isAllowed = [&](AffineExpr expr) {
    bool all = true;
    expr.walk([&](AffineExpr part) {
      all &= !isa<AffineDimExpr>(part) || llvm::is_contained(allowed, part);
    });
    return all;
  };
  Term term = resolve(unresolved);
  Operation *op = getOp(term);
  if (auto index = dyn_cast_or_null<linalg::IndexOp>(op))
    return isAllowed(term.index[index.getDim()]);
  if (!op)
    return llvm::all_of(term.index, isAllowed);
  for (unsigned i = 0; i < op->getNumOperands(); ++i) {
    // An element is taken of all of a tensor.
    if (isa<tensor::ExtractOp>(op) && i == 0)
      continue;
    if (!dependsOnlyOn(getOperand(term, i), allowed))
      return false;
  }
  return true;
}

bool TermView::dependsOn(const Term &term, AffineExpr variable) const {
  SmallVector<AffineExpr> others;
  for (unsigned i = 0; i < numVariables; ++i)
    if (AffineExpr other = getAffineDimExpr(i, context); other != variable)
      others.push_back(other);
  return !dependsOnlyOn(term, others);
}

bool TermView::isSame(const Term &a, const Term &b) const {
  return isSame(a, b, kMaxDepth);
}

bool TermView::isSame(const Term &a, const Term &b, unsigned depth) const {
  Term x = resolve(a), y = resolve(b);
  if (x == y)
    return true;
  if (x.value == y.value && x.index != y.index)
    return false;
  Operation *opX = getOp(x), *opY = getOp(y);
  if (!opX || !opY || depth == 0 || opX->getName() != opY->getName() ||
      opX->getNumOperands() != opY->getNumOperands() ||
      opX->getAttrDictionary() != opY->getAttrDictionary() ||
      isa<linalg::IndexOp, tensor::ExtractOp>(opX))
    return false;
  for (unsigned i = 0; i < opX->getNumOperands(); ++i)
    if (!isSame(getOperand(x, i), getOperand(y, i), depth - 1))
      return false;
  return opX->getNumOperands() > 0 || isa<arith::ConstantOp>(opX);
}

Term TermView::substitute(Term term, AffineExpr variable, AffineExpr by) {
  for (AffineExpr &expr : term.index)
    expr = expr.replace(variable, by);
  return term;
}

//===----------------------------------------------------------------------===//
// Reductions and products
//===----------------------------------------------------------------------===//

std::optional<Reduction> TermView::getReduction(const Term &term) {
  auto result = dyn_cast<OpResult>(term.value);
  auto loops = result ? dyn_cast<linalg::LinalgOp>(result.getOwner()) : nullptr;
  if (!loops || loops.getNumReductionLoops() != 1)
    return std::nullopt;
  std::optional<SmallVector<AffineExpr>> at =
      solveLoops(loops, result, term.index);
  if (!at)
    return std::nullopt;
  SmallVector<unsigned> reduced;
  loops.getReductionDims(reduced);
  for (auto [loop, expr] : llvm::enumerate(*at))
    if (!expr != (loop == reduced[0]))
      return std::nullopt;
  unsigned position = result.getResultNumber();
  OpOperand *init = loops.getDpsInitOperand(position);
  BlockArgument accumulator = loops.getMatchingBlockArgument(init);
  Operation *combiner =
      getTerminator(loops)->getOperand(position).getDefiningOp();
  if (!combiner || combiner->getNumOperands() != 2 ||
      combiner->getBlock() != loops.getBlock())
    return std::nullopt;
  unsigned side = combiner->getOperand(0) == accumulator ? 1 : 0;
  if (combiner->getOperand(1 - side) != accumulator ||
      combiner->getOperand(side) == accumulator)
    return std::nullopt;
  // The accumulator plays no other part.
  if (!accumulator.hasOneUse())
    return std::nullopt;
  AffineExpr variable = this->variable(numVariables++);
  (*at)[reduced[0]] = variable;
  Term body{combiner->getOperand(side), llvm::to_vector<4>(*at)};
  if (getLoops(body.value) != loops)
    body.index.clear();
  return Reduction{combiner, body, operand(*init, *at), variable,
                   loops.getStaticLoopRanges()[reduced[0]]};
}

std::optional<Reduction> TermView::getMean(const Term &term) {
  Product product = getProduct(term);
  if (product.numerator.size() != 1 || !product.denominator.empty())
    return std::nullopt;
  std::optional<Reduction> sum = getReduction(resolve(product.numerator[0]));
  if (!sum || !isa<arith::AddFOp>(sum->combiner) ||
      getConstant(sum->init) != 0.0 || ShapedType::isDynamic(sum->size) ||
      !isClose(product.coefficient * double(sum->size), 1.0))
    return std::nullopt;
  return sum;
}

void TermView::multiply(Product &product, const Term &unresolved,
                        bool inverse) const {
  Term term = resolve(unresolved);
  if (std::optional<double> constant = getConstant(term)) {
    product.coefficient *= inverse ? 1.0 / *constant : *constant;
    return;
  }
  Operation *op = getOp(term);
  if (isa_and_nonnull<arith::MulFOp>(op)) {
    multiply(product, getOperand(term, 0), inverse);
    return multiply(product, getOperand(term, 1), inverse);
  }
  if (isa_and_nonnull<arith::DivFOp>(op)) {
    multiply(product, getOperand(term, 0), inverse);
    return multiply(product, getOperand(term, 1), !inverse);
  }
  if (isa_and_nonnull<arith::NegFOp>(op)) {
    product.coefficient = -product.coefficient;
    return multiply(product, getOperand(term, 0), inverse);
  }
  if (isa_and_nonnull<math::FPowIOp, math::PowFOp>(op)) {
    std::optional<double> power = getConstant(getOperand(term, 1));
    if (power && (*power == 2.0 || *power == 3.0)) {
      for (int i = 0; i < int(*power); ++i)
        multiply(product, getOperand(term, 0), inverse);
      return;
    }
  }
  // A rounding ends a product unless another one lies behind it.
  if (isa_and_nonnull<arith::TruncFOp>(op)) {
    Term behind = resolveRounded(term);
    if (isa_and_nonnull<arith::MulFOp, arith::DivFOp>(getOp(behind)) ||
        (behind.isElement() && !getOp(behind)))
      return multiply(product, behind, inverse);
  }
  (inverse ? product.denominator : product.numerator)
      .push_back(resolveInRange(unresolved));
}

Product TermView::getProduct(const Term &term) const {
  Product product;
  multiply(product, term, /*inverse=*/false);
  return product;
}

bool TermView::divide(Product &product, const Product &factor) const {
  Product rest = product;
  auto take = [&](SmallVector<Term> &from, ArrayRef<Term> what) {
    for (const Term &term : what) {
      auto *it = llvm::find_if(
          from, [&](const Term &other) { return isSame(term, other); });
      if (it == from.end())
        return false;
      from.erase(it);
    }
    return true;
  };
  if (!take(rest.numerator, factor.numerator) ||
      !take(rest.denominator, factor.denominator))
    return false;
  rest.coefficient /= factor.coefficient;
  product = std::move(rest);
  return true;
}

//===----------------------------------------------------------------------===//
// Back to tensors
//===----------------------------------------------------------------------===//

/// The tensors' elements that a scalar computation reads.
void TermView::collectElements(const Term &term,
                               SmallVectorImpl<Term> &elements) const {
  if (term.isElement()) {
    if (!llvm::is_contained(elements, term))
      elements.push_back(term);
    return;
  }
  if (!getLoops(term.value))
    return;
  Operation *op = term.value.getDefiningOp();
  if (!op)
    return collectElements(step(term, false), elements);
  for (unsigned i = 0; i < op->getNumOperands(); ++i)
    if (!isa<RankedTensorType>(op->getOperand(i).getType()))
      collectElements(getOperand(term, i), elements);
}

/// Copies the scalar computation of a term into a body whose loops are
/// variables 0, 1, ... and that reads `elements` as `arguments`.
Value TermView::emit(OpBuilder &builder, Location loc, const Term &term,
                     ArrayRef<Term> elements, ValueRange arguments) const {
  if (term.isElement())
    return arguments[llvm::find(elements, term) - elements.begin()];
  // What stands outside of all bodies can be used as it is.
  if (!getLoops(term.value))
    return term.value;
  Operation *op = term.value.getDefiningOp();
  if (!op)
    return emit(builder, loc, step(term, false), elements, arguments);
  if (auto index = dyn_cast<linalg::IndexOp>(op)) {
    AffineExpr at = term.index[index.getDim()];
    if (auto loop = dyn_cast<AffineDimExpr>(at))
      return builder.create<linalg::IndexOp>(loc, loop.getPosition());
    if (auto constant = dyn_cast<AffineConstantExpr>(at))
      return builder.create<arith::ConstantIndexOp>(loc, constant.getValue());
    SmallVector<Value> loops;
    unsigned numLoops =
        cast<linalg::LinalgOp>(builder.getBlock()->getParentOp()).getNumLoops();
    for (unsigned i = 0; i < numLoops; ++i)
      loops.push_back(builder.create<linalg::IndexOp>(loc, i));
    return builder.create<affine::AffineApplyOp>(
        loc, AffineMap::get(numLoops, 0, at), loops);
  }
  IRMapping mapping;
  for (unsigned i = 0; i < op->getNumOperands(); ++i)
    if (!isa<RankedTensorType>(op->getOperand(i).getType()))
      mapping.map(op->getOperand(i),
                  emit(builder, loc, getOperand(term, i), elements, arguments));
  return builder.clone(*op, mapping)
      ->getResult(cast<OpResult>(term.value).getResultNumber());
}

/// The order in which `variables` stand in the index of an element, if that is
/// all its index is.
static std::optional<SmallVector<int64_t>>
getPermutation(const Term &term, ArrayRef<AffineExpr> variables,
               ArrayRef<OpFoldResult> sizes) {
  auto type = cast<RankedTensorType>(term.value.getType());
  if (type.getRank() != int64_t(variables.size()))
    return std::nullopt;
  SmallVector<int64_t> permutation(variables.size(), -1);
  SmallVector<bool> taken(variables.size());
  for (auto [i, variable] : llvm::enumerate(variables))
    for (int64_t dim = 0; dim < type.getRank() && permutation[i] < 0; ++dim)
      if (term.index[dim] == variable && !taken[dim]) {
        permutation[i] = dim;
        taken[dim] = true;
      }
  // A variable of one value is in no index. It takes a free dimension of
  // size 1.
  for (auto [i, size] : llvm::enumerate(sizes)) {
    if (permutation[i] >= 0)
      continue;
    if (getConstantIntValue(size) != 1)
      return std::nullopt;
    for (int64_t dim = 0; dim < type.getRank() && permutation[i] < 0; ++dim)
      if (!taken[dim] && type.getDimSize(dim) == 1) {
        permutation[i] = dim;
        taken[dim] = true;
      }
    if (permutation[i] < 0)
      return std::nullopt;
  }
  return permutation;
}

Value TermView::materialize(OpBuilder &builder, Location loc, const Term &term,
                            ArrayRef<AffineExpr> variables,
                            ArrayRef<OpFoldResult> sizes) const {
  // Of the tensors that have it in this order take the first one made.
  SmallVector<int64_t> order =
      llvm::to_vector(llvm::seq<int64_t>(variables.size()));
  Value ordered, permuted;
  SmallVector<int64_t> permutation;
  for (Term next = term; next;
       next = mayLeaveRange(next) ? Term() : step(next, false)) {
    Term candidate = asElement(next);
    if (!candidate)
      continue;
    std::optional<SmallVector<int64_t>> found =
        getPermutation(candidate, variables, sizes);
    if (!found)
      continue;
    if (*found == order) {
      ordered = candidate.value;
    } else {
      permuted = candidate.value;
      permutation = *found;
    }
  }
  if (ordered)
    return ordered;

  Type element = getElementTypeOrSelf(term.value.getType());
  if (permuted) {
    auto type = cast<RankedTensorType>(permuted.getType());
    Value empty =
        builder.create<tensor::EmptyOp>(loc, sizes, type.getElementType());
    return builder
        .create<linalg::TransposeOp>(loc, permuted, empty, permutation)
        .getResult()[0];
  }

  // Anything else is computed, in loops over the variables.
  Term renamed = term;
  SmallVector<AffineExpr> loops(numVariables);
  for (unsigned i = 0; i < numVariables; ++i)
    loops[i] = getAffineConstantExpr(0, context);
  for (auto [i, variable] : llvm::enumerate(variables))
    loops[cast<AffineDimExpr>(variable).getPosition()] =
        getAffineDimExpr(i, context);
  for (AffineExpr &expr : renamed.index)
    expr = expr.replaceDims(loops);
  SmallVector<Term> elements;
  collectElements(renamed, elements);
  SmallVector<Value> inputs;
  SmallVector<AffineMap> maps;
  for (const Term &read : elements) {
    inputs.push_back(read.value);
    maps.push_back(AffineMap::get(variables.size(), 0, read.index, context));
  }
  maps.push_back(AffineMap::getMultiDimIdentityMap(variables.size(), context));
  Value empty = builder.create<tensor::EmptyOp>(loc, sizes, element);
  SmallVector<utils::IteratorType> iterators(variables.size(),
                                             utils::IteratorType::parallel);
  return builder
      .create<linalg::GenericOp>(
          loc, empty.getType(), inputs, empty, maps, iterators,
          [&](OpBuilder &body, Location loc, ValueRange arguments) {
            body.create<linalg::YieldOp>(
                loc, emit(body, loc, renamed, elements, arguments));
          })
      .getResult(0);
}
