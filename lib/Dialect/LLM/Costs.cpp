// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The costs of the dialect's ops. Letters are those of LLMOps.td.

#include "llmir/Dialect/LLM/Costs.h"
#include "llmir/Dialect/LLM/LLM.h"

#include "mlir/IR/TypeUtilities.h"

#include <algorithm>
#include <limits>

using namespace mlir;
using namespace llmir::llm;

double llmir::llm::bitsOf(Type type) {
  if (auto quantized = dyn_cast<QuantizedTensorType>(type)) {
    // A group, or a whole row, shares a scale.
    double bits = quantized.getStorage().getWidth();
    double shared = quantized.getScales().getWidth() +
                    (quantized.getAsymmetric() ? bits : 0);
    int64_t group = quantized.getGroupSize() ? quantized.getGroupSize()
                                             : quantized.getAxisSize();
    return bits + (group > 0 ? shared / double(group) : 0);
  }
  if (auto cache = dyn_cast<PagedKVCacheType>(type)) {
    double bits = cache.getElementType().getIntOrFloatBitWidth();
    if (!cache.isQuantized())
      return bits;
    // A head of a token has a scale in f16, and of 4 bits a zero point in 8.
    return bits + (16.0 + (bits == 4 ? 8 : 0)) / double(cache.getHeadDim());
  }
  Type element = getElementTypeOrSelf(type);
  return element.isIntOrFloat() ? element.getIntOrFloatBitWidth() : 64.0;
}

static ArrayRef<int64_t> shapeOf(Type type) {
  if (auto quantized = dyn_cast<QuantizedTensorType>(type))
    return quantized.getShape();
  if (auto tensor = dyn_cast<RankedTensorType>(type))
    return tensor.getShape();
  return {};
}

/// The product of the sizes that are known.
static double elementsOf(ArrayRef<int64_t> shape) {
  double elements = 1;
  for (int64_t size : shape)
    elements *= ShapedType::isDynamic(size) ? 1.0 : double(size);
  return elements;
}

static bool hasRows(Type type) {
  ArrayRef<int64_t> shape = shapeOf(type);
  return !shape.empty() && ShapedType::isDynamic(shape[0]);
}

static void add(Cost &cost, Type type, const Batch &batch) {
  if (!isa<RankedTensorType, QuantizedTensorType>(type))
    return;
  double bytes = elementsOf(shapeOf(type)) * bitsOf(type) / 8;
  if (hasRows(type))
    cost.moved += bytes * double(batch.rows);
  else
    cost.stored += bytes;
}

Cost llmir::llm::costOfTensors(Operation *op, const Batch &batch) {
  Cost cost;
  for (Type type : op->getOperandTypes())
    add(cost, type, batch);
  for (Type type : op->getResultTypes())
    add(cost, type, batch);
  return cost;
}

/// The bytes that keys and values of a token take in a cache.
static double tokenBytes(PagedKVCacheType cache) {
  return 2.0 * double(cache.getKvHeads() * cache.getHeadDim()) * bitsOf(cache) /
         8;
}

/// How many positions a sequence's new tokens see, all together and each once.
static double seenPositions(const Batch &batch, std::optional<int64_t> window) {
  double seen = 0;
  int64_t widest = window.value_or(std::numeric_limits<int64_t>::max());
  for (int64_t position = batch.context - batch.newTokens() + 1;
       position <= batch.context; ++position)
    seen += double(std::min(position, widest));
  return seen;
}

/// How many positions a sequence's new tokens see between them.
static double readPositions(const Batch &batch, std::optional<int64_t> window) {
  if (!window)
    return double(batch.context);
  return double(std::min(batch.context, *window + batch.newTokens() - 1));
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

template <typename Product>
static Cost costOfProduct(Product op, double outputs, double inputs,
                          const Batch &batch) {
  Cost cost;
  for (OpOperand &operand : op->getOpOperands())
    if (&operand != &op.getWeightMutable())
      add(cost, operand.get().getType(), batch);
  add(cost, op.getResult().getType(), batch);
  // Panels are padded; what is read is counted without.
  cost.stored += outputs * inputs * bitsOf(op.getWeight().getType()) / 8;
  double rows = hasRows(op.getInput().getType())
                    ? double(batch.rows)
                    : double(shapeOf(op.getInput().getType())[0]);
  cost.operations = 2 * outputs * inputs * rows;
  return cost;
}

Cost LinearOp::getCost(const Batch &batch) {
  ArrayRef<int64_t> input = shapeOf(getInput().getType());
  ArrayRef<int64_t> result = shapeOf(getResult().getType());
  Cost cost =
      costOfProduct(*this, elementsOf(result.drop_front()) * (1 + getGated()),
                    elementsOf(input.drop_front()), batch);
  if (getElementTypeOrSelf(getWeight()).isBF16())
    cost.multiplier = Multiplier::BF16;
  return cost;
}

Cost QuantizedMatmulOp::getCost(const Batch &batch) {
  ArrayRef<int64_t> weight = getWeight().getType().getShape();
  Cost cost = costOfProduct(*this, double(weight[0]), double(weight[1]), batch);
  // What the input is rounded to says which instructions multiply.
  bool hasIntegers =
      getInputType() || isa<QuantizedTensorType>(getInput().getType());
  cost.multiplier = hasIntegers ? Multiplier::Int8 : Multiplier::BF16;
  return cost;
}

Cost MoEOp::getCost(const Batch &batch) {
  Cost cost;
  for (Value value :
       {Value(getInput()), Value(getRouterLogits()), Value(getResult())})
    add(cost, value.getType(), batch);
  ArrayRef<int64_t> gate = shapeOf(getGate().getType());
  double expert = 3 * elementsOf(gate.drop_front());
  double chosen = double(getTopK()) * double(batch.rows);
  // At most every row chooses others.
  cost.stored = expert * std::min(chosen, double(gate[0])) *
                bitsOf(getGate().getType()) / 8;
  cost.operations = 2 * expert * chosen;
  if (getElementTypeOrSelf(getGate()).isBF16())
    cost.multiplier = Multiplier::BF16;
  return cost;
}

//===----------------------------------------------------------------------===//
// Rows
//===----------------------------------------------------------------------===//

Cost EmbeddingOp::getCost(const Batch &batch) {
  Cost cost;
  add(cost, getIndices().getType(), batch);
  add(cost, getResult().getType(), batch);
  // As much is read as the result has, in the table's type.
  cost.moved += double(batch.rows) *
                elementsOf(shapeOf(getResult().getType()).drop_front()) *
                bitsOf(getTable().getType()) / 8;
  return cost;
}

/// The row of a table of cosines and sines that each row of a batch reads.
static double tableBytes(Value table, const Batch &batch) {
  return double(batch.rows) *
         elementsOf(shapeOf(table.getType()).drop_front()) *
         bitsOf(table.getType()) / 8;
}

Cost RopeOp::getCost(const Batch &batch) {
  Cost cost;
  for (Value value :
       {Value(getInput()), Value(getPositions()), Value(getResult())})
    add(cost, value.getType(), batch);
  cost.moved += tableBytes(getTable(), batch);
  return cost;
}

Cost AppendKVOp::getCost(const Batch &batch) {
  Cost cost = costOfTensors(*this, batch);
  cost.moved += double(batch.rows) * tokenBytes(getCache().getType());
  return cost;
}

Cost RopeAppendKVOp::getCost(const Batch &batch) {
  Cost cost;
  for (Value value :
       {Value(getQuery()), Value(getKeys()), Value(getValues()),
        Value(getPositions()), Value(getSlots()), Value(getRotated())})
    add(cost, value.getType(), batch);
  cost.moved += tableBytes(getTable(), batch) +
                double(batch.rows) * tokenBytes(getCache().getType());
  return cost;
}

Cost LookupKVOp::getCost(const Batch &batch) {
  Cost cost;
  double positions = double(batch.sequences * batch.context);
  cost.stored = positions * tokenBytes(getCache().getType());
  for (Value value : getResults()) {
    ArrayRef<int64_t> shape = shapeOf(value.getType());
    cost.moved += positions * elementsOf(shape.drop_front(2)) *
                  bitsOf(value.getType()) / 8;
  }
  return cost;
}

//===----------------------------------------------------------------------===//
// Attention
//===----------------------------------------------------------------------===//

Cost PagedAttentionOp::getCost(const Batch &batch) {
  Cost cost;
  for (Value value : {Value(getQuery()), Value(getResult())})
    add(cost, value.getType(), batch);
  for (Value value : {Value(getSinks()), Value(getAlibi())})
    if (value)
      add(cost, value.getType(), batch);
  PagedKVCacheType cache = getCache().getType();
  cost.stored += double(batch.sequences) * readPositions(batch, getWindow()) *
                 tokenBytes(cache);
  cost.operations = 4 * elementsOf(shapeOf(getQuery().getType()).take_back(2)) *
                    seenPositions(batch, getWindow()) * double(batch.sequences);
  // Integers are widened to bf16.
  bool hasPairs = cache.getElementType().isBF16() || cache.isQuantized();
  if (hasPairs && getQueryType() && getQueryType()->isBF16())
    cost.multiplier = Multiplier::BF16;
  return cost;
}

Cost AttentionOp::getCost(const Batch &batch) {
  Cost cost;
  for (Value value : {Value(getQuery()), Value(getResult())}) {
    ArrayRef<int64_t> shape = shapeOf(value.getType());
    cost.moved += double(batch.rows) * elementsOf(shape.take_back(2)) *
                  bitsOf(value.getType()) / 8;
  }
  for (Value value : {Value(getKeys()), Value(getValues())}) {
    ArrayRef<int64_t> shape = shapeOf(value.getType());
    cost.stored += double(batch.sequences) * readPositions(batch, getWindow()) *
                   elementsOf(shape.take_back(2)) * bitsOf(value.getType()) / 8;
  }
  double pairs = getCausal() ? seenPositions(batch, getWindow())
                             : double(batch.newTokens() * batch.context);
  cost.operations = 4 * elementsOf(shapeOf(getQuery().getType()).take_back(2)) *
                    pairs * double(batch.sequences);
  return cost;
}

//===----------------------------------------------------------------------===//
// Time
//===----------------------------------------------------------------------===//

double Machine::seconds(Operation *op, const Batch &batch) const {
  auto costly = dyn_cast<CostOpInterface>(op);
  if (!costly)
    return 0;
  Cost cost = costly.getCost(batch);
  return std::max(cost.bytes() / bandwidth, cost.operations / peak) + call;
}

double Machine::seconds(ArrayRef<Operation *> ops, const Batch &batch) const {
  double total = 0;
  for (Operation *op : ops)
    total += seconds(op, batch);
  return total;
}
