// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Reads a program op by op and keeps, for each dimension, what of the batch it
// counts, and for each integer, what it is as a sum of sizes and indices. What
// brings two tokens together leaves an obstacle, which matters only if
// something that is needed stands behind it.

#include "TokenRows.h"
#include "llmir/Dialect/LLM/LLM.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlowOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/IR/Matchers.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace llmir::llm;

static constexpr llvm::StringLiteral kTokensMeet =
    "brings tokens together that a step may not have side by side; only causal "
    "attention may";

static RankedTensorType tensorType(Value value) {
  return dyn_cast<RankedTensorType>(value.getType());
}

TokenRows::TokenRows(func::FuncOp entry) {
  unknown.obstacle =
      obstacles
          .emplace_back(new Obstacle{entry.getLoc(), "was not looked into"})
          .get();
  readArguments(entry);
  functions.insert(entry);
  read(entry.front());
}

const RowFact &TokenRows::of(Value value) const {
  auto found = facts.find(value);
  return found == facts.end() ? unknown : found->second;
}

bool TokenRows::isKnownToStep(const Sum &sum) const {
  int64_t place = sum.factors[Sum::token];
  if (sum.factors[Sum::numPast] != (pastIsGiven ? place : 0))
    return false;
  for (Sum::Term term : {Sum::numSequences, Sum::numTokens, Sum::numRows,
                         Sum::sequence, Sum::row})
    if (sum.factors[term] != 0)
      return false;
  return true;
}

bool TokenRows::isPosition(const Sum &sum) const {
  Sum position = Sum::of(Sum::token);
  return sum ==
         (pastIsGiven ? position.plus(Sum::of(Sum::numPast), 1) : position);
}

//===----------------------------------------------------------------------===//
// Facts
//===----------------------------------------------------------------------===//

void TokenRows::set(Value value, RowFact fact) {
  facts[value] = std::move(fact);
}

void TokenRows::fail(Operation *op, const Twine &reason) {
  const Obstacle *obstacle =
      obstacles.emplace_back(new Obstacle{op->getLoc(), reason.str()}).get();
  RowFact fact;
  fact.obstacle = obstacle;
  for (Value result : op->getResults())
    set(result, fact);
}

bool TokenRows::inherit(Operation *op) {
  for (Value operand : op->getOperands())
    if (of(operand).obstacle) {
      RowFact fact;
      fact.obstacle = of(operand).obstacle;
      for (Value result : op->getResults())
        set(result, fact);
      return true;
    }
  return false;
}

std::optional<Sum> TokenRows::sizeOf(Extent extent) const {
  switch (extent) {
  case Extent::other:
    return std::nullopt;
  case Extent::sequences:
    return Sum::of(Sum::numSequences);
  case Extent::tokens:
    return Sum::of(Sum::numTokens);
  case Extent::rows:
    return Sum::of(Sum::numRows);
  case Extent::past:
    return Sum::of(Sum::numPast);
  case Extent::context:
    return Sum::of(Sum::numPast).plus(Sum::of(Sum::numTokens), 1);
  }
  return std::nullopt;
}

Extent TokenRows::extentOf(std::optional<Sum> size) const {
  for (Extent extent : {Extent::sequences, Extent::tokens, Extent::rows,
                        Extent::past, Extent::context})
    if (size && size == sizeOf(extent))
      return extent;
  return Extent::other;
}

std::optional<Sum> TokenRows::numberOf(OpFoldResult value) const {
  if (std::optional<int64_t> constant = getConstantIntValue(value))
    return Sum::constant(*constant);
  return of(value.get<Value>()).sum;
}

//===----------------------------------------------------------------------===//
// Functions
//===----------------------------------------------------------------------===//

/// The dimension along which an argument is continued by something else, here
/// or in the one function that it is passed to.
static std::optional<int64_t> continuedDimension(BlockArgument argument) {
  std::optional<int64_t> dimension;
  for (OpOperand &use : argument.getUses()) {
    Operation *user = use.getOwner();
    if (isa<tensor::DimOp>(user))
      continue;
    std::optional<int64_t> found;
    auto concat = dyn_cast<tensor::ConcatOp>(user);
    if (concat && concat.getInputs().size() == 2 && use.getOperandNumber() == 0)
      found = concat.getDim();
    else if (auto call = dyn_cast<func::CallOp>(user))
      if (auto callee = SymbolTable::lookupNearestSymbolFrom<func::FuncOp>(
              call, call.getCalleeAttr());
          callee && !callee.isExternal() && callee.isPrivate())
        found = continuedDimension(callee.getArgument(use.getOperandNumber()));
    if (!found || dimension)
      return std::nullopt;
    dimension = found;
  }
  return dimension;
}

void TokenRows::readArguments(func::FuncOp entry) {
  Value ids;
  numPasts = entry.getNumArguments();
  for (Type result : entry.getResultTypes())
    if (auto type = dyn_cast<RankedTensorType>(result);
        type && type.getRank() <= 3 && type.getRank() > 1)
      numIds = std::max(numIds, type.getShape().back());
  for (BlockArgument argument : entry.getArguments()) {
    RankedTensorType type = tensorType(argument);
    RowFact fact;
    auto refuse = [&](const Twine &reason) {
      fact.obstacle =
          obstacles.emplace_back(new Obstacle{argument.getLoc(), reason.str()})
              .get();
    };
    std::string name = "argument " + std::to_string(argument.getArgNumber()) +
                       " of the function";
    if (type && isa<IntegerType>(type.getElementType()) &&
        type.getRank() == 2 && type.isDynamicDim(1)) {
      if (!type.isDynamicDim(0) && type.getDimSize(0) != 1)
        refuse(name + " has " + Twine(type.getDimSize(0)) +
               " sequences; their number must be dynamic, or 1");
      else if (ids)
        refuse(name +
               " has integers for each token as well; only token ids are "
               "known to a step");
      else
        fact.extents = {type.isDynamicDim(0) ? Extent::sequences
                                             : Extent::other,
                        Extent::tokens};
      if (!fact.obstacle)
        fact.sum = Sum::of(Sum::id);
      ids = argument;
    } else if (std::optional<int64_t> dimension =
                   type && type.getRank() == 4 ? continuedDimension(argument)
                                               : std::nullopt) {
      for (int64_t i = 0; i < 4; ++i)
        fact.extents.push_back(i == *dimension        ? Extent::past
                               : type.isDynamicDim(i) ? Extent::sequences
                                                      : Extent::other);
      fact.past = argument.getArgNumber();
      pastIsGiven = true;
      if (!type.isDynamicDim(*dimension) ||
          llvm::count(fact.extents, Extent::sequences) > 1)
        refuse(name +
               " must have a dynamic number of tokens, and static heads");
    } else {
      refuse(name + " is neither token ids, [sequences, tokens] with a dynamic "
                    "number of tokens, nor past keys or values, which a "
                    "tensor.concat alone continues");
    }
    set(argument, fact);
  }
}

void TokenRows::read(Block &block) {
  for (Operation &op : block)
    read(&op);
}

void TokenRows::readCall(func::CallOp call) {
  if (inherit(call))
    return;
  auto callee = SymbolTable::lookupNearestSymbolFrom<func::FuncOp>(
      call, call.getCalleeAttr());
  if (!callee || callee.isExternal() || !callee.isPrivate() ||
      !callee.getBody().hasOneBlock())
    return fail(call, "calls what is no private function with a body");
  bool isNew = functions.insert(callee).second;
  // Which past it is differs from call to call.
  DenseMap<unsigned, unsigned> pasts;
  SmallVector<unsigned> given;
  for (auto [argument, operand] :
       llvm::zip(callee.getArguments(), call.getOperands())) {
    RowFact fact = of(operand);
    // Constants may differ as well.
    if (fact.sum && fact.sum->asConstant())
      fact.sum = std::nullopt;
    if (fact.past) {
      unsigned inside = isNew ? numPasts++ : of(argument).past.value_or(0);
      if (llvm::is_contained(given, *fact.past))
        return fail(call, "passes the same past keys or values twice");
      given.push_back(*fact.past);
      pasts[inside] = *fact.past;
      fact.past = inside;
    }
    if (isNew)
      set(argument, fact);
    else if (!(of(argument) == fact))
      return fail(call, "passes something of another kind than other calls of "
                        "this function");
  }
  if (isNew)
    read(callee.front());
  for (auto [result, returned] : llvm::zip(
           call.getResults(), callee.front().getTerminator()->getOperands())) {
    RowFact fact = of(returned);
    if (fact.past)
      fact.past = pasts.lookup(*fact.past);
    set(result, fact);
  }
}

void TokenRows::read(Operation *op) {
  if (op->getNumResults() == 0)
    return;
  if (auto call = dyn_cast<func::CallOp>(op))
    return readCall(call);
  if (isa<tensor::ReshapeOp, tensor::CollapseShapeOp, tensor::ExpandShapeOp>(
          op))
    return readReshape(op);
  if (inherit(op))
    return;
  if (auto table = dyn_cast<RopeTableOp>(op)) {
    // As long as all positions of a call; a step's has all that there are.
    Extent all = pastIsGiven ? Extent::context : Extent::tokens;
    if (table.getLength() && extentOf(of(table.getLength()).sum) != all)
      return fail(op, "is no table of all positions");
    if (table.getFrequencies() && !of(table.getFrequencies()).isPlain())
      return fail(op, "has frequencies that are not the same for all tokens");
    RowFact fact;
    fact.extents.assign(3, Extent::other);
    return set(table, fact);
  }
  if (isa<linalg::LinalgOp>(op))
    return readStructured(op);
  if (isa<AttentionOp>(op))
    return readAttention(op);
  if (auto dim = dyn_cast<tensor::DimOp>(op)) {
    std::optional<int64_t> index = dim.getConstantIndex();
    if (!index)
      return fail(op, "asks for the size of a dimension that is not constant");
    RowFact fact;
    RankedTensorType type = tensorType(dim.getSource());
    fact.sum = type.isDynamicDim(*index)
                   ? sizeOf(of(dim.getSource()).extents[*index])
                   : Sum::constant(type.getDimSize(*index));
    if (!fact.sum)
      return fail(op, "is a size that has nothing to do with tokens");
    return set(dim, fact);
  }
  if (auto empty = dyn_cast<tensor::EmptyOp>(op)) {
    RowFact fact;
    for (OpFoldResult size : empty.getMixedSizes()) {
      std::optional<Sum> sum = numberOf(size);
      fact.extents.push_back(extentOf(sum));
      if (fact.extents.back() == Extent::other && (!sum || !sum->asConstant()))
        return fail(op, "has a size that is no number of tokens or sequences");
    }
    return set(empty, fact);
  }
  if (auto cast = dyn_cast<tensor::CastOp>(op)) {
    if (!tensorType(cast.getSource()) || !tensorType(cast))
      return fail(op, "has a tensor of unknown rank");
    return set(cast, of(cast.getSource()));
  }
  if (auto concat = dyn_cast<tensor::ConcatOp>(op)) {
    uint64_t dim = concat.getDim();
    RowFact fact = of(concat.getInputs().front());
    if (concat.getInputs().size() == 2 && fact.past &&
        fact.extents[dim] == Extent::past) {
      RowFact added = of(concat.getInputs().back());
      fact.extents[dim] = Extent::tokens;
      if (added.extents != fact.extents)
        return fail(op, "adds something else to past keys or values than those "
                        "of the new tokens");
      fact.extents[dim] = Extent::context;
      fact.isContinued = true;
      return set(concat, fact);
    }
    for (Value input : concat.getInputs())
      if (of(input).extents != fact.extents)
        return fail(op,
                    "joins tensors that differ in what they have of tokens");
    if (fact.extents[dim] != Extent::other || fact.has(Extent::past) ||
        fact.has(Extent::context))
      return fail(op, kTokensMeet);
    if (!passesOnlyKnown(op))
      return;
    fact.sum = std::nullopt;
    return set(concat, fact);
  }
  if (auto slice = dyn_cast<tensor::ExtractSliceOp>(op)) {
    RowFact source = of(slice.getSource()), fact = source;
    fact.extents.clear();
    fact.isContinued = false;
    llvm::SmallBitVector dropped = slice.getDroppedDims();
    for (auto [i, extent] : llvm::enumerate(source.extents)) {
      OpFoldResult offset = slice.getMixedOffsets()[i];
      std::optional<Sum> size = numberOf(slice.getMixedSizes()[i]);
      bool isWhole = isConstantIntValue(offset, 0) &&
                     isConstantIntValue(slice.getMixedStrides()[i], 1) &&
                     size == sizeOf(extent);
      if (extent != Extent::other && !isWhole)
        return fail(op, "takes some of the tokens, and a step has others");
      if (extent == Extent::other &&
          (!size || !size->asConstant() || !numberOf(offset) ||
           !numberOf(offset)->asConstant()))
        return fail(op, "takes a part that is not known when compiling");
      if (!dropped.test(i))
        fact.extents.push_back(extent);
    }
    return set(slice, fact);
  }
  if (isa<EmbeddingOp, LinearOp, RMSNormOp, LayerNormOp, RopeOp, MoEOp,
          QuantizedMatmulOp, QuantizeOp, DequantizeOp>(op))
    return readLayer(op);
  if (op->getNumRegions() == 0 && isMemoryEffectFree(op) &&
      (op->hasTrait<OpTrait::Elementwise>() || isa<ActivationOp>(op) ||
       llvm::none_of(op->getOperandTypes(),
                     [](Type type) { return isa<ShapedType>(type); })))
    return readElementwise(op);
  // What is made of weights alone may be made of them in any way.
  if (isMemoryEffectFree(op) && op->getNumRegions() == 0 &&
      llvm::all_of(op->getOperands(),
                   [&](Value operand) { return of(operand).isPlain(); })) {
    if (!passesOnlyKnown(op))
      return;
    for (Value result : op->getResults()) {
      RowFact fact;
      if (RankedTensorType type = tensorType(result))
        fact.extents.assign(type.getRank(), Extent::other);
      set(result, fact);
    }
    return;
  }
  fail(op, "is not known to treat each token by itself");
}

//===----------------------------------------------------------------------===//
// Integers
//===----------------------------------------------------------------------===//

static std::optional<Sum> multiply(const Sum &a, const Sum &b) {
  if (std::optional<int64_t> factor = b.asConstant())
    return Sum().plus(a, *factor);
  if (a.asConstant())
    return multiply(b, a);
  Sum sequences = Sum::of(Sum::numSequences), tokens = Sum::of(Sum::numTokens);
  if ((a == sequences && b == tokens) || (a == tokens && b == sequences))
    return Sum::of(Sum::numRows);
  return std::nullopt;
}

/// A row's number consists of that of its sequence and of its place in it.
static std::optional<Sum> divide(const Sum &a, const Sum &b, bool remainder) {
  if (a == Sum::of(Sum::row) && b == Sum::of(Sum::numTokens))
    return Sum::of(remainder ? Sum::token : Sum::sequence);
  if (a == Sum::of(Sum::numRows) && b == Sum::of(Sum::numTokens) && !remainder)
    return Sum::of(Sum::numSequences);
  return std::nullopt;
}

static std::optional<Sum> evaluate(AffineExpr expr, ArrayRef<Sum> dims,
                                   ArrayRef<Sum> symbols) {
  if (auto constant = dyn_cast<AffineConstantExpr>(expr))
    return Sum::constant(constant.getValue());
  if (auto dim = dyn_cast<AffineDimExpr>(expr))
    return dims[dim.getPosition()];
  if (auto symbol = dyn_cast<AffineSymbolExpr>(expr))
    return symbols[symbol.getPosition()];
  auto binary = cast<AffineBinaryOpExpr>(expr);
  std::optional<Sum> lhs = evaluate(binary.getLHS(), dims, symbols),
                     rhs = evaluate(binary.getRHS(), dims, symbols);
  if (!lhs || !rhs)
    return std::nullopt;
  switch (expr.getKind()) {
  case AffineExprKind::Add:
    return lhs->plus(*rhs, 1);
  case AffineExprKind::Mul:
    return multiply(*lhs, *rhs);
  case AffineExprKind::Mod:
    return divide(*lhs, *rhs, /*remainder=*/true);
  case AffineExprKind::FloorDiv:
    return divide(*lhs, *rhs, /*remainder=*/false);
  default:
    return std::nullopt;
  }
}

/// Whether a sum of sizes and indices compares so with a constant, if that is
/// always the same.
static std::optional<bool> compare(arith::CmpIPredicate predicate, const Sum &a,
                                   const Sum &b) {
  std::optional<int64_t> difference = a.plus(b, -1).asConstant();
  bool isSigned = predicate < arith::CmpIPredicate::ult;
  if (difference && isSigned)
    return arith::applyCmpPredicate(predicate, APInt(64, *difference, true),
                                    APInt(64, 0));
  if (a.isNonNegative() && b == Sum()) {
    if (predicate == arith::CmpIPredicate::slt)
      return false;
    if (predicate == arith::CmpIPredicate::sge)
      return true;
  }
  return std::nullopt;
}

/// A sum that is held at or below a bound, where that changes nothing in a
/// step: ids are below it, and positions are in a step that is not longer.
std::optional<Sum> TokenRows::bounded(const Sum &sum,
                                      std::optional<int64_t> bound) {
  if (!bound)
    return std::nullopt;
  if (sum == Sum::of(Sum::id) && *bound >= numIds - 1)
    return sum;
  int64_t factor = sum.factors[Sum::token], first = sum.factors[Sum::one];
  if (factor <= 0 || sum.factors[Sum::id] != 0 || !isKnownToStep(sum) ||
      *bound < first)
    return std::nullopt;
  int64_t positions = (*bound - first) / factor + 1;
  boundOfPositions = std::min(positions, boundOfPositions.value_or(positions));
  return sum;
}

/// The sum that an op on integers makes of sums, if it is one.
std::optional<Sum> TokenRows::sumOf(Operation *op) {
  APInt constant;
  if (matchPattern(op, m_ConstantInt(&constant)) &&
      constant.getSignificantBits() <= 64)
    return Sum::constant(constant.getSExtValue());
  SmallVector<Sum> operands;
  for (auto [i, operand] : llvm::enumerate(op->getOperands())) {
    const std::optional<Sum> &sum = of(operand).sum;
    // Of what is selected, only one matters.
    if (!sum && !(isa<arith::SelectOp>(op) && i > 0))
      return std::nullopt;
    operands.push_back(sum.value_or(Sum()));
  }
  // Numbers of tokens and ids fit in 32 bits, and in no less.
  Type type = getElementTypeOrSelf(op->getResult(0).getType());
  if (!type.isIndex() && type.getIntOrFloatBitWidth() < 32)
    return std::nullopt;
  if (isa<arith::IndexCastOp, arith::IndexCastUIOp, arith::ExtSIOp,
          arith::ExtUIOp, arith::TruncIOp>(op))
    return operands[0];
  if (isa<arith::AddIOp>(op))
    return operands[0].plus(operands[1], 1);
  if (isa<arith::SubIOp>(op))
    return operands[0].plus(operands[1], -1);
  if (isa<arith::MulIOp>(op))
    return multiply(operands[0], operands[1]);
  if (isa<arith::RemSIOp, arith::RemUIOp>(op))
    return divide(operands[0], operands[1], /*remainder=*/true);
  if (isa<arith::DivSIOp, arith::DivUIOp, arith::FloorDivSIOp>(op))
    return divide(operands[0], operands[1], /*remainder=*/false);
  if (isa<arith::MaxSIOp>(op) && operands[0].isNonNegative() &&
      operands[1] == Sum())
    return operands[0];
  if (isa<arith::MinSIOp>(op))
    return bounded(operands[0], operands[1].asConstant());
  if (auto apply = dyn_cast<affine::AffineApplyOp>(op)) {
    unsigned dims = apply.getAffineMap().getNumDims();
    return evaluate(apply.getAffineMap().getResult(0),
                    ArrayRef(operands).take_front(dims),
                    ArrayRef(operands).drop_front(dims));
  }
  if (auto comparison = dyn_cast<arith::CmpIOp>(op)) {
    std::optional<bool> truth =
        compare(comparison.getPredicate(), operands[0], operands[1]);
    return truth ? std::optional(Sum::constant(*truth)) : std::nullopt;
  }
  if (isa<arith::SelectOp>(op)) {
    std::optional<int64_t> truth = operands[0].asConstant();
    return truth ? of(op->getOperand(*truth ? 1 : 2)).sum : std::nullopt;
  }
  return std::nullopt;
}

/// Checks that an op that is no sum takes nothing in that a step does not know.
bool TokenRows::passesOnlyKnown(Operation *op) {
  for (Value operand : op->getOperands()) {
    const std::optional<Sum> &sum = of(operand).sum;
    if (!sum || isKnownToStep(*sum))
      continue;
    fail(op, "depends on how many tokens or sequences a call has, or on which "
             "of them this is; a step knows a token's position only");
    return false;
  }
  return true;
}

void TokenRows::readElementwise(Operation *op) {
  RowFact fact;
  bool isFirst = true;
  for (Value operand : op->getOperands()) {
    if (!tensorType(operand))
      continue;
    const RowFact &given = of(operand);
    if (isFirst) {
      fact.extents = given.extents;
      fact.past = given.past;
    } else if (fact.extents != given.extents || fact.past != given.past) {
      return fail(op, "joins tensors that differ in what they have of tokens");
    }
    isFirst = false;
  }
  Type result = op->getResult(0).getType();
  if (isFirst)
    if (auto type = dyn_cast<RankedTensorType>(result))
      fact.extents.assign(type.getRank(), Extent::other);
  if (getElementTypeOrSelf(result).isIntOrIndex())
    fact.sum = sumOf(op);
  if (!fact.sum && !passesOnlyKnown(op))
    return;
  for (Value value : op->getResults())
    set(value, fact);
}

//===----------------------------------------------------------------------===//
// Tensors
//===----------------------------------------------------------------------===//

/// Whether elements along these extents belong to tokens that may not meet.
static bool tokensMeet(ArrayRef<Extent> extents) {
  int64_t sequences = llvm::count(extents, Extent::sequences);
  int64_t rows = llvm::count(extents, Extent::rows);
  int64_t others = llvm::count_if(extents, [](Extent extent) {
    return extent != Extent::other && extent != Extent::sequences;
  });
  return sequences > 1 || others > 1 || (rows && sequences);
}

void TokenRows::readStructured(Operation *op) {
  auto structured = cast<linalg::LinalgOp>(op);
  SmallVector<std::optional<Extent>> found(structured.getNumLoops());
  SmallVector<utils::IteratorType> iterators =
      structured.getIteratorTypesArray();
  RowFact fact;
  for (OpOperand &operand : op->getOpOperands()) {
    if (!tensorType(operand.get()))
      continue;
    const RowFact &given = of(operand.get());
    if (given.past) {
      if (fact.past && fact.past != given.past)
        return fail(op, "brings together two of the past keys and values");
      fact.past = given.past;
    }
    AffineMap map = structured.getMatchingIndexingMap(&operand);
    for (auto [expr, extent] : llvm::zip(map.getResults(), given.extents)) {
      if (auto dim = dyn_cast<AffineDimExpr>(expr)) {
        std::optional<Extent> &loop = found[dim.getPosition()];
        if (loop && *loop != extent)
          return fail(op,
                      "joins tensors that differ in what they have of tokens");
        loop = extent;
      } else if (extent != Extent::other) {
        return fail(op, kTokensMeet);
      }
    }
  }
  SmallVector<Extent> loops;
  for (std::optional<Extent> loop : found)
    loops.push_back(loop.value_or(Extent::other));
  if (tokensMeet(loops))
    return fail(op, kTokensMeet);
  for (auto [loop, iterator] : llvm::zip(loops, iterators))
    if (loop != Extent::other && iterator != utils::IteratorType::parallel)
      return fail(op, kTokensMeet);
  // Indices that are computed must not reach along the extents.
  for (AffineMap map : structured.getIndexingMapsArray())
    for (AffineExpr expr : map.getResults())
      if (!isa<AffineDimExpr>(expr))
        for (auto [i, loop] : llvm::enumerate(loops))
          if (loop != Extent::other && expr.isFunctionOfDim(i))
            return fail(op, kTokensMeet);

  Block *body = structured.getBlock();
  for (auto [argument, operand] :
       llvm::zip(body->getArguments(), op->getOperands())) {
    RowFact element = of(operand);
    element.extents.clear();
    set(argument, element);
  }
  readBody(*body, loops);
  bool sums = !llvm::is_contained(iterators, utils::IteratorType::reduction);
  for (auto [i, result] : llvm::enumerate(op->getResults())) {
    const RowFact &yielded = of(body->getTerminator()->getOperand(i));
    RowFact made = fact;
    made.obstacle = yielded.obstacle;
    if (sums)
      made.sum = yielded.sum;
    AffineMap map =
        structured.getMatchingIndexingMap(structured.getDpsInitOperand(i));
    for (AffineExpr expr : map.getResults()) {
      auto dim = dyn_cast<AffineDimExpr>(expr);
      made.extents.push_back(dim ? loops[dim.getPosition()] : Extent::other);
    }
    set(result, made);
  }
}

void TokenRows::readBody(Block &body, ArrayRef<Extent> loops) {
  for (Operation &inner : body) {
    if (auto index = dyn_cast<linalg::IndexOp>(inner)) {
      RowFact fact;
      switch (loops[index.getDim()]) {
      case Extent::other:
        break;
      case Extent::sequences:
        fact.sum = Sum::of(Sum::sequence);
        break;
      case Extent::tokens:
        fact.sum = Sum::of(Sum::token);
        break;
      case Extent::rows:
        fact.sum = Sum::of(Sum::row);
        break;
      case Extent::past:
      case Extent::context:
        fail(index, "counts positions in past keys or values");
        continue;
      }
      set(index, fact);
    } else if (auto extract = dyn_cast<tensor::ExtractOp>(inner)) {
      if (inherit(extract))
        continue;
      if (!of(extract.getTensor()).isPlain())
        fail(extract, kTokensMeet);
      else if (passesOnlyKnown(extract))
        set(extract, RowFact());
    } else if (isa<tensor::DimOp>(inner) || inner.getNumRegions() == 0) {
      read(&inner);
    } else {
      fail(&inner, "is not known to treat each token by itself");
    }
  }
}

/// Those of extents that count something of the batch, the rows taken apart.
static SmallVector<Extent> namedExtents(ArrayRef<Extent> extents) {
  SmallVector<Extent> named;
  for (Extent extent : extents) {
    if (extent == Extent::rows)
      named.append({Extent::sequences, Extent::tokens});
    else if (extent != Extent::other)
      named.push_back(extent);
  }
  return named;
}

/// How many numbers belong to each element of the extents, or none if something
/// but ones stands before or between the extents.
static std::optional<int64_t> sizePerToken(RankedTensorType type,
                                           ArrayRef<Extent> extents) {
  int64_t size = 1;
  for (auto [dim, extent] : llvm::zip(type.getShape(), extents)) {
    if (extent != Extent::other && size != 1)
      return std::nullopt;
    if (extent == Extent::other && ShapedType::isDynamic(dim))
      return std::nullopt;
    if (extent == Extent::other)
      size *= dim;
  }
  return size;
}

void TokenRows::readReshape(Operation *op) {
  Value source = op->getOperand(0), result = op->getResult(0);
  RowFact fact = of(source);
  if (fact.obstacle)
    return set(result, fact);
  RankedTensorType from = tensorType(source), to = tensorType(result);
  if (!from || !to)
    return fail(op, "has a tensor of unknown rank");
  SmallVector<Extent, 4> extents;
  bool fits = true;
  if (auto reshape = dyn_cast<tensor::ReshapeOp>(op)) {
    auto elements = reshape.getShape().getDefiningOp<tensor::FromElementsOp>();
    for (int64_t i = 0; i < to.getRank(); ++i) {
      extents.push_back(to.isDynamicDim(i) && elements
                            ? extentOf(of(elements.getElements()[i]).sum)
                            : Extent::other);
      fits &= !to.isDynamicDim(i) || extents.back() != Extent::other;
    }
    std::optional<int64_t> before = sizePerToken(from, fact.extents),
                           after = sizePerToken(to, extents);
    fits = fits && before && before == after &&
           namedExtents(fact.extents) == namedExtents(extents);
  } else {
    bool collapses = isa<tensor::CollapseShapeOp>(op);
    SmallVector<ReassociationIndices> groups =
        collapses ? cast<tensor::CollapseShapeOp>(op).getReassociationIndices()
                  : cast<tensor::ExpandShapeOp>(op).getReassociationIndices();
    RankedTensorType wide = collapses ? from : to;
    for (auto [i, group] : llvm::enumerate(groups)) {
      SmallVector<Extent> named;
      bool onlyOnes = true;
      for (int64_t dim : group) {
        if (collapses && fact.extents[dim] != Extent::other)
          named.push_back(fact.extents[dim]);
        else if (!ShapedType::isDynamic(wide.getDimSize(dim)))
          onlyOnes &= wide.getDimSize(dim) == 1;
      }
      if (collapses) {
        extents.push_back(named.empty() ? Extent::other : named[0]);
        if (named == SmallVector<Extent>{Extent::sequences, Extent::tokens})
          extents.back() = Extent::rows;
        else if (named.size() > 1)
          fits = false;
        fits &= named.empty() || onlyOnes;
        continue;
      }
      Extent extent = fact.extents[i];
      for (int64_t dim : group)
        extents.push_back(to.isDynamicDim(dim) ? extent : Extent::other);
      fits &= extent == Extent::other || onlyOnes;
    }
  }
  if (!fits)
    return fail(op, "does not keep the numbers of each token together");
  fact.extents = extents;
  fact.isContinued = false;
  set(result, fact);
}

//===----------------------------------------------------------------------===//
// Layers
//===----------------------------------------------------------------------===//

void TokenRows::readAttention(Operation *op) {
  auto attention = cast<AttentionOp>(op);
  if (!attention.getCausal())
    return fail(op, "is no causal attention");
  if (attention.getMask())
    return fail(op,
                "has a mask; a step attends to all that came before a token, "
                "or to the window of it");
  const RowFact &query = of(attention.getQuery());
  const RowFact &keys = of(attention.getKeys());
  const RowFact &values = of(attention.getValues());
  if (query.extents[1] != Extent::tokens || query.extents[2] != Extent::other ||
      keys.extents != values.extents || keys.extents[0] != query.extents[0] ||
      keys.extents[1] != (pastIsGiven ? Extent::context : Extent::tokens))
    return fail(op,
                pastIsGiven
                    ? "attends to something else than the past keys and "
                      "values and those of the new tokens"
                    : "attends to something else than the tokens of its own "
                      "sequence");
  if (pastIsGiven && keys.past == values.past)
    return fail(op, "takes its keys and its values from the same past");
  for (Value operand : {attention.getSinks(), attention.getAlibi()})
    if (operand && !of(operand).isPlain())
      return fail(op,
                  "has sinks or slopes that are not the same for all tokens");
  RowFact fact;
  fact.extents = query.extents;
  set(attention, fact);
}

/// Ops whose first operand has a row for each token, and others weights.
void TokenRows::readLayer(Operation *op) {
  const RowFact &input = of(op->getOperand(0));
  RowFact fact;
  fact.extents = input.extents;
  auto isRow = [&](Value operand) {
    if (auto linear = dyn_cast<LinearOp>(op))
      return operand == linear.getResidual();
    if (auto product = dyn_cast<QuantizedMatmulOp>(op))
      return operand == product.getResidual();
    if (auto rope = dyn_cast<RopeOp>(op))
      return operand == rope.getPositions();
    if (auto experts = dyn_cast<MoEOp>(op))
      return operand == experts.getRouterLogits();
    return false;
  };
  for (Value operand : op->getOperands().drop_front()) {
    bool isAlike = isRow(operand)
                       ? of(operand).extents.front() == input.extents.front()
                       : of(operand).isPlain();
    if (!isAlike)
      return fail(op, "has weights that are not the same for all tokens");
  }
  // Norms and quantization go along the last dimension, products too.
  bool isLookup = isa<EmbeddingOp>(op);
  if (!isLookup && input.extents.back() != Extent::other)
    return fail(op, kTokensMeet);
  if (!passesOnlyKnown(op))
    return;
  if (isLookup)
    fact.extents.push_back(Extent::other);
  set(op->getResult(0), fact);
}
