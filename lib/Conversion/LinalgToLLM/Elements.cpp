// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// How each op that front ends emit finds an element: an op that is not here is
// a leaf, and what depends on it says so.

#include "Elements.h"

#include "llmir/Dialect/LLM/LLM.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlowOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/IR/Matchers.h"

using namespace mlir;
using namespace llmir::raising;

static RankedTensorType tensorType(Value value) {
  return cast<RankedTensorType>(value.getType());
}

//===----------------------------------------------------------------------===//
// Scalars
//===----------------------------------------------------------------------===//

static Expr constantOf(Expressions &exprs, Attribute value) {
  if (auto number = dyn_cast<FloatAttr>(value))
    return exprs.number(number);
  auto integer = dyn_cast<IntegerAttr>(value);
  if (!integer)
    return nullptr;
  if (integer.getType().isInteger(1))
    return exprs.truth(!integer.getValue().isZero());
  return exprs.integer(integer.getValue().getSExtValue());
}

static Expr compare(Expressions &exprs, arith::CmpIPredicate predicate, Expr a,
                    Expr b) {
  using Predicate = arith::CmpIPredicate;
  if (a->isTruth()) {
    if (predicate != Predicate::eq && predicate != Predicate::ne)
      return nullptr;
    Expr differ = exprs.either(exprs.both(a, exprs.isNot(b)),
                               exprs.both(exprs.isNot(a), b));
    return predicate == Predicate::ne ? differ : exprs.isNot(differ);
  }
  auto atLeast = [&](Expr x, Expr y) {
    return exprs.notNegative(exprs.sub(x, y));
  };
  switch (predicate) {
  case Predicate::eq:
    return exprs.isZero(exprs.sub(a, b));
  case Predicate::ne:
    return exprs.isNot(exprs.isZero(exprs.sub(a, b)));
  case Predicate::slt:
    return exprs.isNot(atLeast(a, b));
  case Predicate::sle:
    return atLeast(b, a);
  case Predicate::sgt:
    return exprs.isNot(atLeast(b, a));
  case Predicate::sge:
    return atLeast(a, b);
  default:
    break;
  }
  if (!exprs.isNotNegative(a) || !exprs.isNotNegative(b))
    return nullptr;
  switch (predicate) {
  case Predicate::ult:
    return exprs.isNot(atLeast(a, b));
  case Predicate::ule:
    return atLeast(b, a);
  case Predicate::ugt:
    return exprs.isNot(atLeast(b, a));
  default:
    return atLeast(a, b);
  }
}

Expr Elements::applyOp(Operation *op, ArrayRef<Expr> x) {
  Type type = getElementTypeOrSelf(op->getResult(0).getType());
  bool isTruth = type.isInteger(1);
  if (auto compared = dyn_cast<arith::CmpIOp>(op))
    return compare(exprs, compared.getPredicate(), x[0], x[1]);
  if (auto compared = dyn_cast<arith::CmpFOp>(op))
    return exprs.apply(op->getName(), type, x, compared.getPredicateAttr());
  if (isa<arith::SelectOp>(op))
    return x[0]->isTruth() ? exprs.select(x[0], x[1], x[2]) : nullptr;
  if (isa<arith::AndIOp>(op))
    return isTruth ? exprs.both(x[0], x[1]) : nullptr;
  if (isa<arith::OrIOp>(op))
    return isTruth ? exprs.either(x[0], x[1]) : nullptr;
  if (isa<arith::XOrIOp>(op))
    return isTruth ? compare(exprs, arith::CmpIPredicate::ne, x[0], x[1])
                   : nullptr;
  auto chosen = [&](int64_t value) {
    return exprs.select(x[0], exprs.integer(value), exprs.integer(0));
  };
  if (isa<arith::ExtUIOp>(op))
    return x[0]->isTruth()             ? chosen(1)
           : exprs.isNotNegative(x[0]) ? x[0]
                                       : nullptr;
  if (isa<arith::ExtSIOp>(op))
    return x[0]->isTruth() ? chosen(-1) : x[0];
  if (isa<arith::SIToFPOp, arith::UIToFPOp>(op)) {
    bool isSigned = isa<arith::SIToFPOp>(op);
    if (x[0]->isTruth())
      return exprs.apply(op->getName(), type, chosen(isSigned ? -1 : 1));
    if (!isSigned && !exprs.isNotNegative(x[0]))
      return nullptr;
    return exprs.apply(
        OperationName(arith::SIToFPOp::getOperationName(), op->getContext()),
        type, x);
  }
  // What remains computes floats, or integers that are not truths. Numbers of
  // tokens and ids fit in 32 bits, and in no less.
  if (isTruth || (isa<IntegerType>(type) && type.getIntOrFloatBitWidth() < 32))
    return nullptr;
  if (isa<arith::IndexCastOp, arith::TruncIOp>(op))
    return x[0]->isTruth() ? nullptr : x[0];
  if (isa<arith::AddIOp>(op))
    return exprs.add(x[0], x[1]);
  if (isa<arith::SubIOp>(op))
    return exprs.sub(x[0], x[1]);
  if (isa<arith::MulIOp>(op))
    return exprs.mul(x[0], x[1]);
  if (isa<arith::MinSIOp>(op))
    return exprs.min(x[0], x[1]);
  if (isa<arith::MaxSIOp>(op))
    return exprs.max(x[0], x[1]);
  if (isa<arith::DivSIOp, arith::FloorDivSIOp, arith::DivUIOp, arith::RemSIOp,
          arith::RemUIOp>(op)) {
    if (!exprs.isNotNegative(x[0]) || !exprs.isNotNegative(x[1]) ||
        exprs.asInteger(x[1]) == 0)
      return nullptr;
    return isa<arith::RemSIOp, arith::RemUIOp>(op) ? exprs.mod(x[0], x[1])
                                                   : exprs.floorDiv(x[0], x[1]);
  }
  if (!isa<FloatType>(type) || op->getNumRegions() != 0 ||
      !isa<arith::ArithDialect, math::MathDialect>(op->getDialect()) ||
      isa<arith::BitcastOp>(op))
    return nullptr;
  return exprs.apply(op->getName(), type, x);
}

static Expr affineExpr(Expressions &exprs, AffineExpr expr, ArrayRef<Expr> dims,
                       ArrayRef<Expr> symbols = {}) {
  if (auto constant = dyn_cast<AffineConstantExpr>(expr))
    return exprs.integer(constant.getValue());
  if (auto dim = dyn_cast<AffineDimExpr>(expr))
    return dims[dim.getPosition()];
  if (auto symbol = dyn_cast<AffineSymbolExpr>(expr))
    return symbols[symbol.getPosition()];
  auto binary = cast<AffineBinaryOpExpr>(expr);
  Expr a = affineExpr(exprs, binary.getLHS(), dims, symbols),
       b = affineExpr(exprs, binary.getRHS(), dims, symbols);
  if (!a || !b)
    return nullptr;
  switch (binary.getKind()) {
  case AffineExprKind::Add:
    return exprs.add(a, b);
  case AffineExprKind::Mul:
    return exprs.mul(a, b);
  case AffineExprKind::FloorDiv:
    return exprs.floorDiv(a, b);
  case AffineExprKind::Mod:
    return exprs.mod(a, b);
  default:
    return nullptr;
  }
}

Expr Elements::inScope(Value value, Scope *scope, Reader read) {
  if (scope)
    if (auto found = scope->values.find(value); found != scope->values.end())
      return found->second;
  Operation *op = value.getDefiningOp();
  if (scope && !scope->region->isAncestor(value.getParentRegion()))
    scope = nullptr;
  if (!scope) {
    if (auto found = scalars.find(value); found != scalars.end())
      return found->second;
    if (!op)
      return scalars[value] = exprs.opaque(value);
  } else if (!op) {
    return nullptr;
  }
  auto compute = [&]() -> Expr {
    Attribute constant;
    if (matchPattern(value, m_Constant(&constant)))
      return constantOf(exprs, constant);
    if (auto index = dyn_cast<linalg::IndexOp>(op))
      return scope ? scope->loops[index.getDim()] : nullptr;
    if (auto dim = dyn_cast<tensor::DimOp>(op)) {
      std::optional<int64_t> which = dim.getConstantIndex();
      return which && isa<RankedTensorType>(dim.getSource().getType())
                 ? size(dim.getSource(), *which)
                 : nullptr;
    }
    if (op->getNumResults() != 1 || op->getNumRegions() != 0)
      return nullptr;
    SmallVector<Expr> operands;
    auto extract = dyn_cast<tensor::ExtractOp>(op);
    for (Value operand : extract ? extract.getIndices() : op->getOperands()) {
      if (isa<ShapedType>(operand.getType()))
        return nullptr;
      operands.push_back(inScope(operand, scope, read));
      if (!operands.back())
        return nullptr;
    }
    if (extract)
      return read(extract.getTensor(), operands);
    if (auto affine = dyn_cast<affine::AffineApplyOp>(op)) {
      AffineMap map = affine.getAffineMap();
      ArrayRef<Expr> all(operands);
      return affineExpr(exprs, map.getResult(0),
                        all.take_front(map.getNumDims()),
                        all.drop_front(map.getNumDims()));
    }
    return applyOp(op, operands);
  };
  Expr found = compute();
  if (scope)
    return found ? scope->values[value] = found : nullptr;
  return scalars[value] = found ? found : exprs.opaque(value);
}

Expr Elements::scalar(Value value) {
  return inScope(value, nullptr, [&](Value tensor, ArrayRef<Expr> indices) {
    return at(tensor, indices);
  });
}

Expr Elements::scalar(OpFoldResult value) {
  if (auto attribute = dyn_cast<Attribute>(value))
    return exprs.integer(cast<IntegerAttr>(attribute).getInt());
  return scalar(cast<Value>(value));
}

//===----------------------------------------------------------------------===//
// Sizes
//===----------------------------------------------------------------------===//

Expr Elements::size(Value tensor, int64_t dim) {
  int64_t size = tensorType(tensor).getDimSize(dim);
  if (!ShapedType::isDynamic(size))
    return exprs.integer(size);
  if (auto found = knownSizes.find({tensor, dim}); found != knownSizes.end())
    return found->second;
  Expr found = computeSize(tensor, dim);
  if (!found)
    found = exprs.size(tensor, dim);
  while (Expr equal = equalSizes.lookup(found))
    found = equal;
  return knownSizes[{tensor, dim}] = found;
}

void Elements::assume(Block &block) {
  for (auto assertion : block.getOps<cf::AssertOp>()) {
    Expr claim = scalar(assertion.getArg());
    if (claim->kind != Kind::IsZero)
      continue;
    Expr difference = claim->operands[0];
    if (difference->number != 0 || difference->operands.size() != 2 ||
        difference->coefficients[0] != -difference->coefficients[1] ||
        difference->operands[0]->kind != Kind::Size ||
        difference->operands[1]->kind != Kind::Size)
      continue;
    // What is known already was made of both.
    equalSizes[difference->operands[1]] = difference->operands[0];
    knownSizes.clear();
    scalars.clear();
    known.clear();
  }
}

SmallVector<Expr> Elements::sizes(Value tensor) {
  SmallVector<Expr> all;
  for (int64_t dim = 0, rank = tensorType(tensor).getRank(); dim < rank; ++dim)
    all.push_back(size(tensor, dim));
  return all;
}

Expr Elements::computeSize(Value tensor, int64_t dim) {
  Operation *op = tensor.getDefiningOp();
  if (!op)
    return nullptr;
  if (auto empty = dyn_cast<tensor::EmptyOp>(op))
    return scalar(empty.getDynamicSize(dim));
  if (auto cast = dyn_cast<tensor::CastOp>(op))
    return isa<RankedTensorType>(cast.getSource().getType())
               ? size(cast.getSource(), dim)
               : nullptr;
  if (auto linalgOp = dyn_cast<linalg::LinalgOp>(op))
    return size(
        linalgOp.getDpsInits()[cast<OpResult>(tensor).getResultNumber()], dim);
  if (auto slice = dyn_cast<tensor::ExtractSliceOp>(op)) {
    llvm::SmallBitVector dropped = slice.getDroppedDims();
    for (auto [index, size] : llvm::enumerate(slice.getMixedSizes()))
      if (!dropped.test(index) && dim-- == 0)
        return scalar(size);
    return nullptr;
  }
  if (auto insert = dyn_cast<tensor::InsertSliceOp>(op))
    return size(insert.getDest(), dim);
  if (auto expand = dyn_cast<tensor::ExpandShapeOp>(op)) {
    for (auto [source, group] :
         llvm::enumerate(expand.getReassociationIndices())) {
      if (!llvm::is_contained(group, dim))
        continue;
      int64_t rest = 1;
      for (int64_t other : group)
        if (other != dim)
          rest *= tensorType(tensor).getDimSize(other);
      return exprs.floorDiv(size(expand.getSrc(), source), exprs.integer(rest));
    }
  }
  if (auto collapse = dyn_cast<tensor::CollapseShapeOp>(op)) {
    Expr product = exprs.integer(1);
    SmallVector<ReassociationIndices> groups =
        collapse.getReassociationIndices();
    for (int64_t source : groups[dim])
      product = exprs.mul(product, size(collapse.getSrc(), source));
    return product;
  }
  if (auto reshape = dyn_cast<tensor::ReshapeOp>(op)) {
    Expr known = at(reshape.getShape(), exprs.integer(dim));
    return known->kind == Kind::Read ? nullptr : known;
  }
  if (auto concat = dyn_cast<tensor::ConcatOp>(op)) {
    if (dim != static_cast<int64_t>(concat.getDim()))
      return size(concat.getInputs()[0], dim);
    Expr sum = exprs.integer(0);
    for (Value input : concat.getInputs())
      sum = exprs.add(sum, size(input, dim));
    return sum;
  }
  if (isa<llm::AttentionOp, llm::RMSNormOp, llm::LayerNormOp, llm::RopeOp,
          llm::ActivationOp>(op) ||
      (isa<llm::LinearOp, llm::EmbeddingOp>(op) && dim == 0) ||
      OpTrait::hasElementwiseMappableTraits(op))
    return size(op->getOperand(0), dim);
  return nullptr;
}

Expr Elements::loopSize(linalg::LinalgOp op, unsigned loop) {
  for (OpOperand &operand : op->getOpOperands()) {
    if (!isa<RankedTensorType>(operand.get().getType()))
      continue;
    AffineMap map = op.getMatchingIndexingMap(&operand);
    for (auto [dim, expr] : llvm::enumerate(map.getResults()))
      if (expr == getAffineDimExpr(loop, op.getContext()))
        return size(operand.get(), dim);
  }
  return nullptr;
}

SmallVector<Expr> Elements::reshape(ArrayRef<Expr> from, ArrayRef<Expr> to,
                                    ArrayRef<Expr> indices) {
  SmallVector<Expr> found(from.size());
  Expr one = exprs.integer(1);
  size_t i = 0, j = 0;
  auto divides = [&](Expr a, Expr b) {
    return exprs.mul(exprs.floorDiv(b, a), a) == b;
  };
  while (i < from.size() || j < to.size()) {
    // The fewest dimensions on both sides that hold as many elements.
    size_t firstFrom = i, firstTo = j;
    Expr left = i < from.size() ? from[i++] : one;
    Expr right = j < to.size() ? to[j++] : one;
    while (left != right) {
      if (i < from.size() && (divides(left, right) || j == to.size()))
        left = exprs.mul(left, from[i++]);
      else if (j < to.size())
        right = exprs.mul(right, to[j++]);
      else
        break;
    }
    if (i - firstFrom == 1 && j - firstTo == 1) {
      found[firstFrom] =
          exprs.asInteger(left) == 1 ? exprs.integer(0) : indices[firstTo];
      continue;
    }
    Expr place = exprs.integer(0);
    for (size_t dim = firstTo; dim < j; ++dim)
      place = exprs.add(exprs.mul(place, to[dim]), indices[dim]);
    // The dimensions before the last ones other than 1.
    for (size_t dim = i; dim-- > firstFrom;) {
      bool isOutermost = true;
      for (size_t outer = firstFrom; outer < dim; ++outer)
        isOutermost &= exprs.asInteger(from[outer]) == 1;
      if (exprs.asInteger(from[dim]) == 1) {
        found[dim] = exprs.integer(0);
        continue;
      }
      found[dim] = isOutermost ? place : exprs.mod(place, from[dim]);
      place = exprs.floorDiv(place, from[dim]);
    }
  }
  return found;
}

//===----------------------------------------------------------------------===//
// Elements
//===----------------------------------------------------------------------===//

Expr Elements::at(Value tensor, ArrayRef<Expr> indices) {
  auto key = std::make_pair(tensor.getAsOpaquePointer(), indices.vec());
  if (auto found = known.find(key); found != known.end())
    return found->second;
  Expr found = element(tensor, indices, [&](Value operand, ArrayRef<Expr> at) {
    return this->at(operand, at);
  });
  if (!found)
    found = exprs.read(tensor, indices);
  return known[key] = found;
}

Expr Elements::atFrom(Value tensor, ArrayRef<Expr> indices, Value source) {
  std::map<std::pair<void *, std::vector<Expr>>, Expr> found;
  std::function<Expr(Value, ArrayRef<Expr>)> from = [&](Value value,
                                                        ArrayRef<Expr> at) {
    if (value == source)
      return exprs.read(value, at);
    Expr &entry = found[{value.getAsOpaquePointer(), at.vec()}];
    if (entry)
      return entry;
    Expr computed = element(value, at, from);
    return found[{value.getAsOpaquePointer(), at.vec()}] =
               computed ? computed : exprs.read(value, at);
  };
  return from(tensor, indices);
}

Expr Elements::step(Value tensor, ArrayRef<Expr> indices) {
  return element(tensor, indices, [&](Value operand, ArrayRef<Expr> at) {
    // Constants are seen through, and what says which element is read.
    Operation *op = operand.getDefiningOp();
    if (isa<IntegerType, IndexType>(getElementTypeOrSelf(operand.getType())) ||
        isa_and_nonnull<arith::ConstantOp, linalg::FillOp>(op))
      return this->at(operand, at);
    return exprs.read(operand, at);
  });
}

Expr Elements::constantElement(DenseElementsAttr values,
                               ArrayRef<Expr> indices) {
  if (values.isSplat())
    return constantOf(exprs, values.getSplatValue<Attribute>());
  SmallVector<uint64_t> place;
  for (Expr index : indices) {
    std::optional<int64_t> constant = exprs.asInteger(index);
    if (!constant)
      return nullptr;
    place.push_back(*constant);
  }
  if (!ElementsAttr::isValidIndex(values.getType(), place))
    return nullptr;
  return constantOf(exprs, values.getValues<Attribute>()[place]);
}

Expr Elements::element(Value tensor, ArrayRef<Expr> indices, Reader read) {
  Operation *op = tensor.getDefiningOp();
  if (!op || !isa<RankedTensorType>(tensor.getType()))
    return nullptr;
  if (auto constant = dyn_cast<arith::ConstantOp>(op)) {
    auto values = dyn_cast<DenseElementsAttr>(constant.getValue());
    return values ? constantElement(values, indices) : nullptr;
  }
  if (auto linalgOp = dyn_cast<linalg::LinalgOp>(op))
    return linalgElement(linalgOp, cast<OpResult>(tensor).getResultNumber(),
                         indices, read);
  if (isa<tensor::ExpandShapeOp, tensor::CollapseShapeOp, tensor::ReshapeOp>(
          op)) {
    Value source = op->getOperand(0);
    return read(source, reshape(sizes(source), sizes(tensor), indices));
  }
  if (isa<tensor::ExtractSliceOp, tensor::InsertSliceOp>(op))
    return sliceElement(op, indices, read);
  if (auto cast = dyn_cast<tensor::CastOp>(op))
    return isa<RankedTensorType>(cast.getSource().getType())
               ? read(cast.getSource(), indices)
               : nullptr;
  if (auto concat = dyn_cast<tensor::ConcatOp>(op)) {
    std::function<Expr(unsigned, Expr)> part = [&](unsigned input,
                                                   Expr place) -> Expr {
      Value source = concat.getInputs()[input];
      SmallVector<Expr> here(indices);
      here[concat.getDim()] = place;
      if (input + 1 == concat.getInputs().size())
        return read(source, here);
      Expr end = size(source, concat.getDim());
      Expr beyond = exprs.notNegative(exprs.sub(place, end));
      // An index that is out of a part says nothing about it.
      if (exprs.asTruth(beyond) == false)
        return read(source, here);
      Expr rest = part(input + 1, exprs.sub(place, end));
      if (exprs.asTruth(beyond) == true)
        return rest;
      Expr first = read(source, here);
      return first && rest ? exprs.select(beyond, rest, first) : nullptr;
    };
    return part(0, indices[concat.getDim()]);
  }
  if (auto elements = dyn_cast<tensor::FromElementsOp>(op)) {
    std::optional<int64_t> index =
        indices.size() == 1 ? exprs.asInteger(indices[0]) : std::nullopt;
    return index ? scalar(elements.getElements()[*index]) : nullptr;
  }
  if (OpTrait::hasElementwiseMappableTraits(op) && op->getNumResults() == 1) {
    SmallVector<Expr> operands;
    for (Value operand : op->getOperands()) {
      operands.push_back(isa<ShapedType>(operand.getType())
                             ? read(operand, indices)
                             : scalar(operand));
      if (!operands.back())
        return nullptr;
    }
    return applyOp(op, operands);
  }
  return nullptr;
}

Expr Elements::sliceElement(Operation *op, ArrayRef<Expr> indices,
                            Reader read) {
  auto slice = cast<OffsetSizeAndStrideOpInterface>(op);
  SmallVector<OpFoldResult> offsets = slice.getMixedOffsets(),
                            sizes = slice.getMixedSizes(),
                            strides = slice.getMixedStrides();
  if (auto extract = dyn_cast<tensor::ExtractSliceOp>(op)) {
    llvm::SmallBitVector dropped = extract.getDroppedDims();
    SmallVector<Expr> source;
    for (size_t dim = 0, next = 0; dim < offsets.size(); ++dim) {
      Expr place = scalar(offsets[dim]);
      if (!dropped.test(dim))
        place =
            exprs.add(place, exprs.mul(indices[next++], scalar(strides[dim])));
      source.push_back(place);
    }
    return read(extract.getSource(), source);
  }
  // What is inserted of the same rank, without steps.
  auto insert = cast<tensor::InsertSliceOp>(op);
  if (insert.getSourceType().getRank() != insert.getType().getRank())
    return nullptr;
  Expr inside = exprs.truth(true);
  SmallVector<Expr> source;
  for (auto [dim, index] : llvm::enumerate(indices)) {
    Expr place = exprs.sub(index, scalar(offsets[dim]));
    std::optional<int64_t> stride = getConstantIntValue(strides[dim]);
    if (!stride || *stride < 1)
      return nullptr;
    if (*stride != 1) {
      // Steps matter where it is known which element is meant.
      std::optional<int64_t> known = exprs.asInteger(place);
      if (!known)
        return nullptr;
      if (*known < 0 || *known % *stride != 0)
        return read(insert.getDest(), indices);
      place = exprs.integer(*known / *stride);
    }
    inside = exprs.both(inside, exprs.notNegative(place));
    inside = exprs.both(
        inside, exprs.notNegative(exprs.sub(
                    exprs.sub(scalar(sizes[dim]), place), exprs.integer(1))));
    source.push_back(place);
  }
  if (exprs.asTruth(inside) == false)
    return read(insert.getDest(), indices);
  Expr inserted = read(insert.getSource(), source);
  if (exprs.asTruth(inside) == true)
    return inserted;
  Expr around = read(insert.getDest(), indices);
  return inserted && around ? exprs.select(inside, inserted, around) : nullptr;
}

//===----------------------------------------------------------------------===//
// Linalg
//===----------------------------------------------------------------------===//

Expr Elements::linalgElement(linalg::LinalgOp op, unsigned result,
                             ArrayRef<Expr> indices, Reader read) {
  if (op.hasDynamicShape() == false && op->getNumResults() == 0)
    return nullptr;
  Block *body = op.getBlock();
  OpOperand *init = op.getDpsInitOperand(result);
  Scope scope;
  scope.region = body->getParent();
  scope.loops.assign(op.getNumLoops(), nullptr);
  for (auto [expr, index] :
       llvm::zip_equal(op.getMatchingIndexingMap(init).getResults(), indices)) {
    if (isa<AffineConstantExpr>(expr))
      continue;
    auto dim = dyn_cast<AffineDimExpr>(expr);
    if (!dim)
      return nullptr;
    Expr &loop = scope.loops[dim.getPosition()];
    if (loop && loop != index)
      return nullptr;
    loop = index;
  }
  std::optional<unsigned> reduced;
  SmallVector<int64_t> ranges = op.getStaticLoopRanges();
  for (auto [loop, kind] : llvm::enumerate(op.getIteratorTypesArray())) {
    if (scope.loops[loop])
      continue;
    if (ranges[loop] == 1) {
      scope.loops[loop] = exprs.integer(0);
    } else if (kind == utils::IteratorType::reduction && !reduced) {
      reduced = loop;
      Expr size = loopSize(op, loop);
      if (!size)
        return nullptr;
      scope.loops[loop] = exprs.variable(size);
    } else {
      return nullptr;
    }
  }

  // A product of matrices is where elements come from.
  Operation *yield = body->getTerminator();
  auto isInput = [&](Value value) {
    while (Operation *cast = value.getDefiningOp()) {
      if (!isa<arith::ExtFOp, arith::TruncFOp>(cast))
        return false;
      value = cast->getOperand(0);
    }
    auto argument = dyn_cast<BlockArgument>(value);
    return argument && argument.getOwner() == body &&
           argument.getArgNumber() < op.getNumDpsInputs();
  };
  if (reduced)
    for (Value operand :
         yield->getOperand(result).getDefiningOp()
             ? yield->getOperand(result).getDefiningOp()->getOperands()
             : ValueRange())
      if (auto product = operand.getDefiningOp<arith::MulFOp>())
        if (isInput(product.getLhs()) && isInput(product.getRhs()) &&
            product.getLhs() != product.getRhs())
          return nullptr;

  for (OpOperand *input : op.getDpsInputOperands()) {
    Value argument = op.getMatchingBlockArgument(input);
    if (!isa<RankedTensorType>(input->get().getType())) {
      scope.values[argument] = scalar(input->get());
      continue;
    }
    if (argument.use_empty())
      continue;
    SmallVector<Expr> place;
    for (AffineExpr expr : op.getMatchingIndexingMap(input).getResults()) {
      place.push_back(affineExpr(exprs, expr, scope.loops));
      if (!place.back())
        return nullptr;
    }
    Expr element = read(input->get(), place);
    if (!element)
      return nullptr;
    scope.values[argument] = element;
  }
  Value out = op.getMatchingBlockArgument(init);
  if (!reduced) {
    if (!out.use_empty())
      scope.values[out] = read(init->get(), indices);
    return inScope(yield->getOperand(result), &scope, read);
  }
  return reduction(op, result, *reduced, scope, read(init->get(), indices),
                   read);
}

Expr Elements::reduction(linalg::LinalgOp op, unsigned result, unsigned loop,
                         Scope &scope, Expr init, Reader read) {
  Value out = op.getMatchingBlockArgument(op.getDpsInitOperand(result));
  Value yielded = op.getBlock()->getTerminator()->getOperand(result);
  Expr condition = nullptr;
  if (auto select = yielded.getDefiningOp<arith::SelectOp>();
      select && select.getFalseValue() == out) {
    condition = inScope(select.getCondition(), &scope, read);
    if (!condition)
      return nullptr;
    yielded = select.getTrueValue();
  }
  Operation *combine = yielded.getDefiningOp();
  if (!combine || combine->getNumOperands() != 2 || !init)
    return nullptr;
  std::optional<Reduction> kind;
  bool isTruth = yielded.getType().isInteger(1);
  if (isa<arith::AddFOp, arith::AddIOp>(combine) && !isTruth)
    kind = Reduction::add;
  else if (isa<arith::MulFOp>(combine))
    kind = Reduction::mul;
  else if (isa<arith::MaximumFOp, arith::MaxNumFOp, arith::MaxSIOp>(combine) &&
           !isTruth)
    kind = Reduction::max;
  else if (isa<arith::MinimumFOp, arith::MinNumFOp, arith::MinSIOp>(combine) &&
           !isTruth)
    kind = Reduction::min;
  else if (isTruth && isa<arith::AndIOp, arith::MulIOp>(combine))
    kind = Reduction::all;
  else if (isTruth && isa<arith::OrIOp>(combine))
    kind = Reduction::any;
  if (!kind)
    return nullptr;
  int side = combine->getOperand(0) == out ? 1 : 0;
  if (combine->getOperand(1 - side) != out)
    return nullptr;
  Expr body = inScope(combine->getOperand(side), &scope, read);
  if (!body)
    return nullptr;
  if (condition) {
    if (*kind != Reduction::add)
      return nullptr;
    Expr zero = body->isInteger()
                    ? exprs.integer(0)
                    : exprs.number(FloatAttr::get(body->type, 0.0));
    body = exprs.select(condition, body, zero);
  }
  return exprs.reduce(*kind, scope.loops[loop], body, init);
}
