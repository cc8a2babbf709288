// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Sizes as polynomials; see Sizes.h. Sizes are never negative, and their
// products do not overflow: a tensor of so many elements could not be.

#include "Sizes.h"
#include "llmir/Dialect/LLM/LLM.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlowOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/IR/Matchers.h"

using namespace mlir;
using namespace llmir;

//===----------------------------------------------------------------------===//
// Polynomials
//===----------------------------------------------------------------------===//

Size::Size(int64_t constant) { add({}, constant); }

Size Size::symbol(unsigned symbol) {
  Size size;
  size.add({symbol}, 1);
  return size;
}

void Size::add(const Monomial &monomial, int64_t coefficient) {
  if (coefficient == 0)
    return;
  auto [it, inserted] = terms.try_emplace(monomial, coefficient);
  if (inserted)
    return;
  it->second += coefficient;
  if (it->second == 0)
    terms.erase(it);
}

Size Size::operator+(const Size &other) const {
  Size sum = *this;
  for (const auto &[monomial, coefficient] : other.terms)
    sum.add(monomial, coefficient);
  return sum;
}

Size Size::operator*(const Size &other) const {
  Size product;
  for (const auto &[a, x] : terms)
    for (const auto &[b, y] : other.terms) {
      Monomial monomial(a);
      llvm::append_range(monomial, b);
      llvm::sort(monomial);
      product.add(monomial, x * y);
    }
  return product;
}

std::optional<int64_t> Size::getConstant() const {
  if (terms.empty())
    return 0;
  if (terms.size() == 1 && terms.begin()->first.empty())
    return terms.begin()->second;
  return std::nullopt;
}

std::optional<unsigned> Size::getSymbol() const {
  if (terms.size() == 1 && terms.begin()->first.size() == 1 &&
      terms.begin()->second == 1)
    return terms.begin()->first.front();
  return std::nullopt;
}

std::optional<Size> Size::dividedBy(const Size &divisor) const {
  if (divisor.terms.empty())
    return std::nullopt;
  if (*this == divisor)
    return Size(1);
  // Sums divide few things.
  if (divisor.terms.size() != 1)
    return std::nullopt;
  const auto &[by, factor] = *divisor.terms.begin();
  Size quotient;
  for (const auto &[monomial, coefficient] : terms) {
    if (coefficient % factor != 0)
      return std::nullopt;
    Monomial rest(monomial);
    for (unsigned symbol : by) {
      auto *it = llvm::find(rest, symbol);
      if (it == rest.end())
        return std::nullopt;
      rest.erase(it);
    }
    quotient.add(rest, coefficient / factor);
  }
  return quotient;
}

//===----------------------------------------------------------------------===//
// Values
//===----------------------------------------------------------------------===//

SizeAnalysis::SizeAnalysis(func::FuncOp function) : function(function) {
  // Arguments come first, so that among equal sizes theirs has the least
  // number.
  for (BlockArgument argument : function.getArguments())
    if (auto type = dyn_cast<RankedTensorType>(argument.getType()))
      for (int64_t dim = 0; dim < type.getRank(); ++dim)
        if (type.isDynamicDim(dim))
          opaque(argument, dim, /*isNonNegative=*/true);
  unifyAsserted();
}

/// Two sizes that an assertion compares are one from then on, and before it
/// too: nothing that runs before can be seen if it fails.
void SizeAnalysis::unifyAsserted() {
  for (auto assertion : function.getOps<cf::AssertOp>()) {
    auto compare = assertion.getArg().getDefiningOp<arith::CmpIOp>();
    if (!compare || compare.getPredicate() != arith::CmpIPredicate::eq)
      continue;
    std::optional<unsigned> lhs = of(compare.getLhs()).getSymbol();
    std::optional<unsigned> rhs = of(compare.getRhs()).getSymbol();
    if (!lhs || !rhs || lhs == rhs || !isArgumentDim(*lhs) ||
        !isArgumentDim(*rhs))
      continue;
    unified[std::max(*lhs, *rhs)] = std::min(*lhs, *rhs);
    values.clear();
    dims.clear();
  }
}

bool SizeAnalysis::isArgumentDim(unsigned symbol) {
  auto argument = dyn_cast<BlockArgument>(symbols[symbol].value);
  return argument && symbols[symbol].dim >= 0 &&
         argument.getOwner()->getParentOp() == function.getOperation();
}

Size SizeAnalysis::opaque(Value value, int64_t dim, bool isNonNegative) {
  auto [it, inserted] = symbolOf.try_emplace({value, dim}, symbols.size());
  if (inserted)
    symbols.push_back({value, dim, isNonNegative});
  unsigned symbol = it->second;
  for (auto same = unified.find(symbol); same != unified.end();
       same = unified.find(symbol))
    symbol = same->second;
  return Size::symbol(symbol);
}

bool SizeAnalysis::isNonNegative(const Size &size) {
  return llvm::all_of(size.getTerms(), [&](const auto &term) {
    return term.second > 0 && llvm::all_of(term.first, [&](unsigned symbol) {
             return symbols[symbol].isNonNegative;
           });
  });
}

std::optional<bool> SizeAnalysis::decide(arith::CmpIPredicate predicate,
                                         const Size &lhs, const Size &rhs) {
  using Predicate = arith::CmpIPredicate;
  Size difference = lhs - rhs;
  bool notLess = isNonNegative(difference);
  bool notGreater = isNonNegative(rhs - lhs);
  bool greater = isNonNegative(difference - 1);
  bool less = isNonNegative(rhs - lhs - 1);
  switch (predicate) {
  case Predicate::eq:
  case Predicate::ne:
    if (lhs == rhs)
      return predicate == Predicate::eq;
    if (greater || less)
      return predicate == Predicate::ne;
    return std::nullopt;
  case Predicate::slt:
    return less ? std::optional(true)
                : (notLess ? std::optional(false) : std::nullopt);
  case Predicate::sge:
    return notLess ? std::optional(true)
                   : (less ? std::optional(false) : std::nullopt);
  case Predicate::sgt:
    return greater ? std::optional(true)
                   : (notGreater ? std::optional(false) : std::nullopt);
  case Predicate::sle:
    return notGreater ? std::optional(true)
                      : (greater ? std::optional(false) : std::nullopt);
  default:
    return std::nullopt;
  }
}

Size SizeAnalysis::of(Value value) {
  if (auto it = values.find(value); it != values.end())
    return it->second;
  Size size = compute(value);
  return values[value] = size;
}

Size SizeAnalysis::evaluate(AffineExpr expr, ValueRange operands,
                            unsigned numDims, Value whole) {
  if (auto constant = dyn_cast<AffineConstantExpr>(expr))
    return Size(constant.getValue());
  if (auto dim = dyn_cast<AffineDimExpr>(expr))
    return of(operands[dim.getPosition()]);
  if (auto symbol = dyn_cast<AffineSymbolExpr>(expr))
    return of(operands[numDims + symbol.getPosition()]);
  auto binary = cast<AffineBinaryOpExpr>(expr);
  Size lhs = evaluate(binary.getLHS(), operands, numDims, whole);
  Size rhs = evaluate(binary.getRHS(), operands, numDims, whole);
  if (expr.getKind() == AffineExprKind::Add)
    return lhs + rhs;
  if (expr.getKind() == AffineExprKind::Mul)
    return lhs * rhs;
  if (expr.getKind() != AffineExprKind::Mod)
    if (std::optional<Size> quotient = lhs.dividedBy(rhs))
      return *quotient;
  return opaque(whole);
}

/// Whether the size that `condition` compares with 1 is that of the loop which
/// `value` is the index of: then 0 is what this index is where they are equal.
static bool isIndexOfUnitLoop(SizeAnalysis &sizes, Value condition,
                              Value value) {
  auto compare = condition.getDefiningOp<arith::CmpIOp>();
  auto index = value.getDefiningOp<linalg::IndexOp>();
  if (!compare || !index || compare.getPredicate() != arith::CmpIPredicate::eq)
    return false;
  auto loops = dyn_cast<linalg::LinalgOp>(index->getParentOp());
  if (!loops)
    return false;
  for (OpOperand &operand : loops->getOpOperands()) {
    AffineMap map = loops.getMatchingIndexingMap(&operand);
    for (auto [dim, expr] : llvm::enumerate(map.getResults())) {
      auto loop = dyn_cast<AffineDimExpr>(expr);
      if (!loop || loop.getPosition() != index.getDim())
        continue;
      Size size = sizes.ofDim(operand.get(), dim);
      Size lhs = sizes.of(compare.getLhs()), rhs = sizes.of(compare.getRhs());
      if ((lhs == size && rhs == Size(1)) || (rhs == size && lhs == Size(1)))
        return true;
    }
  }
  return false;
}

Size SizeAnalysis::compute(Value value) {
  Operation *op = value.getDefiningOp();
  if (!op)
    return opaque(value);
  APInt constant;
  if (matchPattern(value, m_ConstantInt(&constant)))
    return constant.getBitWidth() == 1 ? opaque(value)
                                       : Size(constant.getSExtValue());
  if (value.getType().isInteger(1))
    return opaque(value);
  if (isa<arith::IndexCastOp, arith::ExtSIOp>(op) &&
      !op->getOperand(0).getType().isInteger(1) &&
      !isa<ShapedType>(value.getType()))
    return of(op->getOperand(0));
  if (isa<arith::AddIOp>(op))
    return of(op->getOperand(0)) + of(op->getOperand(1));
  if (isa<arith::SubIOp>(op))
    return of(op->getOperand(0)) - of(op->getOperand(1));
  if (isa<arith::MulIOp>(op))
    return of(op->getOperand(0)) * of(op->getOperand(1));
  if (isa<arith::DivSIOp, arith::FloorDivSIOp, arith::CeilDivSIOp>(op)) {
    std::optional<Size> quotient =
        of(op->getOperand(0)).dividedBy(of(op->getOperand(1)));
    return quotient ? *quotient : opaque(value);
  }
  if (isa<arith::MinSIOp, arith::MaxSIOp>(op)) {
    Size lhs = of(op->getOperand(0)), rhs = of(op->getOperand(1));
    bool isMin = isa<arith::MinSIOp>(op);
    if (isNonNegative(lhs - rhs))
      return isMin ? rhs : lhs;
    if (isNonNegative(rhs - lhs))
      return isMin ? lhs : rhs;
    return opaque(value, -1, isNonNegative(lhs) && isNonNegative(rhs));
  }
  if (auto extend = dyn_cast<arith::ExtUIOp>(op)) {
    if (auto compare = extend.getIn().getDefiningOp<arith::CmpIOp>())
      if (std::optional<bool> known =
              decide(compare.getPredicate(), of(compare.getLhs()),
                     of(compare.getRhs())))
        return Size(*known ? 1 : 0);
    APInt bit;
    if (matchPattern(extend.getIn(), m_ConstantInt(&bit)))
      return Size(bit.getZExtValue());
    return opaque(value, -1, /*isNonNegative=*/true);
  }
  if (auto select = dyn_cast<arith::SelectOp>(op)) {
    if (isIndexOfUnitLoop(*this, select.getCondition(),
                          select.getFalseValue()) &&
        of(select.getTrueValue()) == Size(0))
      return of(select.getFalseValue());
    APInt bit;
    if (matchPattern(select.getCondition(), m_ConstantInt(&bit)))
      return of(op->getOperand(bit.isZero() ? 2 : 1));
    if (auto compare = select.getCondition().getDefiningOp<arith::CmpIOp>())
      if (std::optional<bool> known =
              decide(compare.getPredicate(), of(compare.getLhs()),
                     of(compare.getRhs())))
        return of(op->getOperand(*known ? 1 : 2));
    Size lhs = of(select.getTrueValue()), rhs = of(select.getFalseValue());
    return lhs == rhs
               ? lhs
               : opaque(value, -1, isNonNegative(lhs) && isNonNegative(rhs));
  }
  if (auto apply = dyn_cast<affine::AffineApplyOp>(op))
    return evaluate(apply.getAffineMap().getResult(0), apply.getMapOperands(),
                    apply.getAffineMap().getNumDims(), value);
  if (auto dim = dyn_cast<tensor::DimOp>(op))
    if (std::optional<int64_t> index = dim.getConstantIndex())
      return ofDim(dim.getSource(), *index);
  return opaque(value, -1, isa<linalg::IndexOp, tensor::DimOp>(op));
}

Size SizeAnalysis::ofDim(Value tensor, int64_t dim) {
  auto type = cast<RankedTensorType>(tensor.getType());
  if (!type.isDynamicDim(dim))
    return Size(type.getDimSize(dim));
  auto it = dims.find({tensor, dim});
  if (it != dims.end())
    return it->second;
  Size size = computeDim(tensor, dim);
  return dims[{tensor, dim}] = size;
}

SmallVector<Size> SizeAnalysis::shapeOf(Value tensor) {
  SmallVector<Size> shape;
  for (int64_t dim = 0;
       dim < cast<RankedTensorType>(tensor.getType()).getRank(); ++dim)
    shape.push_back(ofDim(tensor, dim));
  return shape;
}

Size SizeAnalysis::computeDim(Value tensor, int64_t dim) {
  auto unknown = [&]() { return opaque(tensor, dim, /*isNonNegative=*/true); };
  auto result = dyn_cast<OpResult>(tensor);
  if (!result)
    return unknown();
  Operation *op = result.getOwner();
  auto ofMixed = [&](OpFoldResult size) {
    if (std::optional<int64_t> constant = getConstantIntValue(size))
      return Size(*constant);
    return of(size.get<Value>());
  };
  if (auto destination = dyn_cast<DestinationStyleOpInterface>(op))
    return ofDim(destination.getTiedOpOperand(result)->get(), dim);
  if (auto empty = dyn_cast<tensor::EmptyOp>(op))
    return ofMixed(empty.getMixedSizes()[dim]);
  if (auto cast = dyn_cast<tensor::CastOp>(op))
    return isa<RankedTensorType>(cast.getSource().getType())
               ? ofDim(cast.getSource(), dim)
               : unknown();
  if (auto collapse = dyn_cast<tensor::CollapseShapeOp>(op)) {
    Size product(1);
    ReassociationIndices group = collapse.getReassociationIndices()[dim];
    for (int64_t source : group)
      product = product * ofDim(collapse.getSrc(), source);
    return product;
  }
  if (auto expand = dyn_cast<tensor::ExpandShapeOp>(op)) {
    for (auto [source, group] :
         llvm::enumerate(expand.getReassociationIndices())) {
      if (!llvm::is_contained(group, dim))
        continue;
      int64_t others = 1;
      for (int64_t other : group)
        if (other != dim)
          others *= expand.getResultType().getDimSize(other);
      std::optional<Size> quotient =
          ofDim(expand.getSrc(), source).dividedBy(Size(others));
      return quotient ? *quotient : unknown();
    }
  }
  if (auto reshape = dyn_cast<tensor::ReshapeOp>(op)) {
    auto shape = reshape.getShape().getDefiningOp<tensor::FromElementsOp>();
    return shape ? of(shape.getElements()[dim]) : unknown();
  }
  if (auto slice = dyn_cast<tensor::ExtractSliceOp>(op)) {
    llvm::SmallBitVector dropped = slice.getDroppedDims();
    for (auto [source, size] : llvm::enumerate(slice.getMixedSizes()))
      if (!dropped.test(source) && dim-- == 0)
        return ofMixed(size);
  }
  if (auto insert = dyn_cast<tensor::InsertSliceOp>(op))
    return ofDim(insert.getDest(), dim);
  if (auto concat = dyn_cast<tensor::ConcatOp>(op)) {
    if (int64_t(concat.getDim()) != dim)
      return ofDim(concat.getInputs().front(), dim);
    Size sum;
    for (Value input : concat.getInputs())
      sum = sum + ofDim(input, dim);
    return sum;
  }
  if (auto generate = dyn_cast<tensor::GenerateOp>(op))
    return of(
        generate
            .getDynamicExtents()[generate.getType().getDynamicDimIndex(dim)]);
  if (auto embedding = dyn_cast<llm::EmbeddingOp>(op); embedding && dim == 0)
    return ofDim(embedding.getIndices(), 0);
  if (auto linear = dyn_cast<llm::LinearOp>(op); linear && dim == 0)
    return ofDim(linear.getInput(), 0);
  if (isa<llm::RMSNormOp, llm::LayerNormOp, llm::ActivationOp, llm::RopeOp,
          llm::AttentionOp>(op))
    return ofDim(op->getOperand(0), dim);
  if (op->hasTrait<OpTrait::Elementwise>() && op->getNumOperands() > 0 &&
      llvm::all_of(op->getOperandTypes(),
                   [](Type type) { return isa<RankedTensorType>(type); }))
    return ofDim(op->getOperand(0), dim);
  return unknown();
}

//===----------------------------------------------------------------------===//
// Back to values
//===----------------------------------------------------------------------===//

Value SizeAnalysis::materializeHere(OpBuilder &builder, Location loc,
                                    const Size &size) {
  auto symbolValue = [&](unsigned number) -> Value {
    const Symbol &symbol = symbols[number];
    if (symbol.dim >= 0)
      return builder.create<tensor::DimOp>(loc, symbol.value, symbol.dim);
    if (symbol.value.getType().isIndex())
      return symbol.value;
    return builder.create<arith::IndexCastOp>(loc, builder.getIndexType(),
                                              symbol.value);
  };
  Value sum;
  for (const auto &[monomial, coefficient] : size.getTerms()) {
    Value product;
    for (unsigned symbol : monomial) {
      Value value = symbolValue(symbol);
      product =
          product ? builder.create<arith::MulIOp>(loc, product, value) : value;
    }
    if (!product || coefficient != 1) {
      Value factor = builder.create<arith::ConstantIndexOp>(loc, coefficient);
      product = product ? builder.create<arith::MulIOp>(loc, product, factor)
                        : factor;
    }
    sum = sum ? builder.create<arith::AddIOp>(loc, sum, product) : product;
  }
  return sum ? sum : builder.create<arith::ConstantIndexOp>(loc, 0);
}

bool SizeAnalysis::isWorthWriting(Value value) {
  Size size = of(value);
  if (std::optional<unsigned> symbol = size.getSymbol())
    return symbols[*symbol].dim >= 0 || symbols[*symbol].value != value;
  return llvm::all_of(size.getTerms(), [&](const auto &term) {
    return llvm::all_of(
        term.first, [&](unsigned symbol) { return symbols[symbol].dim >= 0; });
  });
}

void SizeAnalysis::setInsertionPointToHead(OpBuilder &builder) const {
  if (headEnd)
    return builder.setInsertionPointAfter(headEnd);
  // Constants stay first, and so in their order.
  Block &entry = function->getRegion(0).front();
  builder.setInsertionPoint(&entry, llvm::find_if_not(entry, [](Operation &op) {
    return op.hasTrait<OpTrait::ConstantLike>();
  }));
}

void SizeAnalysis::assertUnified() {
  OpBuilder builder(function.getContext());
  Location loc = function.getLoc();
  setInsertionPointToHead(builder);
  for (auto [later, earlier] : unified) {
    Value lhs = builder.create<tensor::DimOp>(loc, symbols[earlier].value,
                                              symbols[earlier].dim);
    Value rhs = builder.create<tensor::DimOp>(loc, symbols[later].value,
                                              symbols[later].dim);
    Value equal =
        builder.create<arith::CmpIOp>(loc, arith::CmpIPredicate::eq, lhs, rhs);
    builder.create<cf::AssertOp>(loc, equal,
                                 "sizes of arguments must be equal");
  }
}

Value SizeAnalysis::materialize(OpBuilder &builder, Location loc,
                                const Size &size, Type type) {
  Value value;
  bool ofArguments = llvm::all_of(size.getTerms(), [&](const auto &term) {
    return llvm::all_of(term.first,
                        [&](unsigned symbol) { return isArgumentDim(symbol); });
  });
  if (ofArguments) {
    Value &made = atHead[size];
    if (!made) {
      OpBuilder::InsertionGuard guard(builder);
      setInsertionPointToHead(builder);
      made = materializeHere(builder, loc, size);
      headEnd = made.getDefiningOp();
    }
    value = made;
  } else {
    value = materializeHere(builder, loc, size);
  }
  if (type.isIndex())
    return value;
  if (std::optional<int64_t> constant = size.getConstant())
    return builder.create<arith::ConstantOp>(
        loc, builder.getIntegerAttr(type, *constant));
  return builder.create<arith::IndexCastOp>(loc, type, value);
}
