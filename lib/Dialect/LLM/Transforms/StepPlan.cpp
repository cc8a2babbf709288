// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Goes from the results of a program to what they need, function by function.
// On the way it sees all that a step must know of the model.

#include "StepPlan.h"

#include "mlir/Dialect/Tensor/IR/Tensor.h"

using namespace mlir;
using namespace llmir::llm;

static RankedTensorType typeOf(Value value) {
  return cast<RankedTensorType>(value.getType());
}

std::optional<int64_t> llmir::llm::tokenDim(ArrayRef<Extent> extents) {
  for (auto [i, extent] : llvm::enumerate(extents))
    if (extent == Extent::tokens || extent == Extent::rows ||
        extent == Extent::context)
      return i;
  return std::nullopt;
}

LogicalResult Planner::plan(func::FuncOp function) {
  if (plans.count(function))
    return success();
  FunctionPlan plan;
  plan.arguments.resize(function.getNumArguments());
  Operation *terminator = function.front().getTerminator();
  for (Value result : terminator->getOperands())
    // What an entry returns of its past is in the cache.
    if (!rows.of(result).has(Extent::context) && failed(need(result, plan)))
      return failure();
  for (Operation &op : llvm::reverse(function.front()))
    if (plan.ops.contains(&op) && failed(needOperands(&op, plan)))
      return failure();
  plans[function] = std::move(plan);
  return success();
}

const FunctionPlan &Planner::of(func::FuncOp function) const {
  return plans.find(function)->second;
}

bool Planner::isGiven(Value value) const {
  const RowFact &fact = rows.of(value);
  if (!fact.sum)
    return false;
  if (!isa<RankedTensorType>(value.getType()))
    return rows.extentOf(fact.sum) != Extent::other;
  return isOnePerToken(value) &&
         (*fact.sum == Sum::of(Sum::id) || rows.isPosition(*fact.sum));
}

bool Planner::isOfPosition(Value value) const {
  const RowFact &fact = rows.of(value);
  return fact.sum && rows.isKnownToStep(*fact.sum) &&
         fact.sum->factors[Sum::token] != 0 && fact.sum->factors[Sum::id] == 0;
}

bool Planner::isOnePerToken(Value value) const {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  ArrayRef<Extent> extents = rows.of(value).extents;
  if (!type || !tokenDim(extents))
    return false;
  return llvm::all_of(llvm::zip(type.getShape(), extents), [](auto dim) {
    return std::get<0>(dim) == 1 || std::get<1>(dim) != Extent::other;
  });
}

LogicalResult Planner::refuse(Location location, const Twine &reason) {
  return emitError(location) << kCannotBeStep << reason;
}

LogicalResult Planner::need(Value value, FunctionPlan &plan) {
  const RowFact &fact = rows.of(value);
  if (fact.obstacle)
    return refuse(fact.obstacle->location, fact.obstacle->reason);
  if (isGiven(value)) {
    plan.usesPositions = true;
    return success();
  }
  if (isa<RankedTensorType>(value.getType()) && fact.sum &&
      !rows.isKnownToStep(*fact.sum))
    return refuse(
        value.getLoc(),
        "depends on how many tokens or sequences a call has, or on "
        "which of them this is; a step knows a token's position only");
  if (value.getDefiningOp<func::CallOp>() && fact.has(Extent::context))
    return refuse(value.getLoc(),
                  "continues past keys or values in one function and attends "
                  "to them in another");
  if (auto argument = dyn_cast<BlockArgument>(value))
    plan.arguments.set(argument.getArgNumber());
  else
    plan.ops.insert(value.getDefiningOp());
  return success();
}

LogicalResult Planner::needOperands(Operation *op, FunctionPlan &plan) {
  // Of a dimension that is no extent; others are given.
  if (isa<tensor::DimOp>(op))
    return success();
  if (auto reshape = dyn_cast<tensor::ReshapeOp>(op))
    return need(reshape.getSource(), plan);
  if (auto concat = dyn_cast<tensor::ConcatOp>(op);
      concat && rows.of(concat).has(Extent::context))
    return need(concat.getInputs().back(), plan);
  if (auto call = dyn_cast<func::CallOp>(op))
    return needCall(call, plan);
  if (auto structured = dyn_cast<linalg::LinalgOp>(op))
    return needStructured(structured, plan);
  if (auto attention = dyn_cast<AttentionOp>(op))
    if (failed(addLayer(attention, plan)))
      return failure();
  if (auto lookup = dyn_cast<EmbeddingOp>(op))
    readEmbedding(lookup);
  if (auto table = dyn_cast<RopeTableOp>(op)) {
    int64_t positions = typeOf(table).getDimSize(0);
    if (!ShapedType::isDynamic(positions))
      sizes.ropePositions =
          std::min(positions, sizes.ropePositions.value_or(positions));
    // As many rows as a step needs.
    return table.getFrequencies() ? need(table.getFrequencies(), plan)
                                  : success();
  }
  for (Value operand : op->getOperands())
    if (failed(need(operand, plan)))
      return failure();
  return success();
}

LogicalResult Planner::needCall(func::CallOp call, FunctionPlan &plan) {
  auto callee = SymbolTable::lookupNearestSymbolFrom<func::FuncOp>(
      call, call.getCalleeAttr());
  if (failed(this->plan(callee)))
    return failure();
  const FunctionPlan &inner = of(callee);
  plan.layers += inner.layers;
  plan.usesPositions |= inner.usesPositions;
  for (unsigned i : inner.arguments.set_bits())
    if (failed(need(call.getOperand(i), plan)))
      return failure();
  return success();
}

LogicalResult Planner::needStructured(linalg::LinalgOp op, FunctionPlan &plan) {
  Block *body = op.getBlock();
  SmallVector<Value> pending(body->getTerminator()->getOperands());
  plan.ops.insert(body->getTerminator());
  llvm::BitVector read(op->getNumOperands());
  while (!pending.empty()) {
    Value value = pending.pop_back_val();
    if (auto argument = dyn_cast<BlockArgument>(value);
        argument && argument.getOwner() == body) {
      read.set(argument.getArgNumber());
      continue;
    }
    Operation *inner = value.getDefiningOp();
    if (!inner || inner->getBlock() != body) {
      if (failed(need(value, plan)))
        return failure();
      continue;
    }
    const RowFact &fact = rows.of(value);
    if (fact.obstacle)
      return refuse(fact.obstacle->location, fact.obstacle->reason);
    if (plan.ops.contains(inner))
      continue;
    plan.ops.insert(inner);
    if (isOfPosition(value)) {
      plan.usesPositions = true;
      continue;
    }
    if (fact.sum && !rows.isKnownToStep(*fact.sum))
      return refuse(inner->getLoc(),
                    "depends on how many tokens or sequences a call has, or "
                    "on which of them this is; a step knows a token's "
                    "position only");
    if (auto extract = dyn_cast<tensor::ExtractOp>(inner))
      for (auto [size, index] : llvm::zip(
               typeOf(extract.getTensor()).getShape(), extract.getIndices()))
        boundPositions(index, size, extract.getLoc());
    pending.append(inner->operand_begin(), inner->operand_end());
  }
  for (OpOperand &operand : op->getOpOperands()) {
    bool isRead =
        read.test(operand.getOperandNumber()) || op.isDpsInit(&operand);
    // What only gives a loop its size: any integers of this shape do.
    if (!isRead && rows.of(operand.get()).sum && !isGiven(operand.get())) {
      if (!rows.isKnownToStep(*rows.of(operand.get()).sum) &&
          isOnePerToken(operand.get())) {
        plan.usesPositions = true;
        continue;
      }
    }
    if (failed(need(operand.get(), plan)))
      return failure();
  }
  return success();
}

void Planner::boundPositions(Value index, int64_t size, Location location) {
  if (ShapedType::isDynamic(size) || !isOfPosition(index))
    return;
  Sum sum = *rows.of(index).sum;
  int64_t factor = sum.factors[Sum::token];
  if (factor <= 0)
    return;
  int64_t positions = (size - 1 - sum.factors[Sum::one]) / factor + 1;
  if (!sizes.positions || positions < *sizes.positions) {
    sizes.positions = positions;
    sizes.table = location;
  }
}

void Planner::readEmbedding(EmbeddingOp lookup) {
  RankedTensorType table = typeOf(lookup.getTable());
  boundPositions(lookup.getIndices(), table.getDimSize(0), lookup.getLoc());
  if (rows.of(lookup.getIndices()).sum == Sum::of(Sum::id)) {
    sizes.hidden = typeOf(lookup).getDimSize(1);
    sizes.dtype = table.getElementType();
  }
}

LogicalResult Planner::addLayer(AttentionOp attention, FunctionPlan &plan) {
  ++plan.layers;
  plan.usesPositions = true;
  if (!sizes.attention) {
    sizes.attention = attention;
    return success();
  }
  auto heads = [](AttentionOp op) {
    RankedTensorType query = typeOf(op.getQuery()), keys = typeOf(op.getKeys());
    return std::tuple(query.getDimSize(2), keys.getDimSize(2),
                      keys.getDimSize(3));
  };
  if (heads(attention) == heads(sizes.attention))
    return success();
  InFlightDiagnostic diagnostic = attention.emitError()
                                  << kCannotBeStep
                                  << "has other heads than other layers, and "
                                     "one cache serves all of them";
  diagnostic.attachNote(sizes.attention.getLoc()) << "another one";
  return diagnostic;
}
