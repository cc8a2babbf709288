// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What each op of the dialect needs of its operands, beyond their types.

#include "Verification.h"
#include "llmir/Dialect/LLM/LLM.h"

using namespace mlir;
using namespace llmir::llm;

#include "llmir/Dialect/LLM/LLMInterfaces.cpp.inc"

//===----------------------------------------------------------------------===//
// Layers
//===----------------------------------------------------------------------===//

void EmbeddingOp::constrainInputs(InputConstraints &inputs) {
  Size rows = inputs.size(getTable(), 0);
  // The last panel may be padded, with rows of zeros.
  inputs.within(getIndices(), 0,
                hasPackedTable(*this) ? rows * kPanelWidth : rows);
  inputs.equal(inputs.size(getResult(), 0), inputs.size(getIndices(), 0));
  if (!hasPackedTable(*this))
    inputs.equal(inputs.size(getResult(), 1), inputs.size(getTable(), 1));
}

/// What products have in common but for the layout of their weights.
template <typename Product>
static void constrainProduct(Product op, bool isMatrix,
                             InputConstraints &inputs) {
  Size outputs = inputs.size(op.getResult(), 1);
  Size rows = op.getGated() ? outputs * 2 : outputs;
  inputs.equal(inputs.size(op.getResult(), 0), inputs.size(op.getInput(), 0));
  if (isMatrix) {
    inputs.equal(inputs.size(op.getWeight(), 0), rows);
    inputs.equal(inputs.size(op.getWeight(), 1), inputs.size(op.getInput(), 1));
  }
  if (op.getNorm())
    inputs.equal(inputs.size(op.getNorm(), 0), inputs.size(op.getInput(), 1));
  if (op.getBias())
    inputs.equal(inputs.size(op.getBias(), 0), rows);
  if (op.getResidual())
    inputs.equalShapes(op.getResidual(), op.getResult());
}

void LinearOp::constrainInputs(InputConstraints &inputs) {
  constrainProduct(*this, !hasPackedWeight(*this), inputs);
}

void QuantizedMatmulOp::constrainInputs(InputConstraints &inputs) {
  constrainProduct(*this, /*isMatrix=*/true, inputs);
}

/// Norms: the weight, and perhaps a bias, along the last dimension.
static void constrainNorm(Value input, Value result, ValueRange vectors,
                          InputConstraints &inputs) {
  inputs.equalShapes(result, input);
  for (Value vector : vectors)
    if (vector)
      inputs.equal(inputs.size(vector, 0),
                   inputs.size(input, rankedType(input).getRank() - 1));
}

void RMSNormOp::constrainInputs(InputConstraints &inputs) {
  constrainNorm(getInput(), getResult(), getWeight(), inputs);
}

void LayerNormOp::constrainInputs(InputConstraints &inputs) {
  constrainNorm(getInput(), getResult(), {getWeight(), getBias()}, inputs);
}

void ActivationOp::constrainInputs(InputConstraints &inputs) {
  inputs.equalShapes(getResult(), getInput());
  if (getMultiplier())
    inputs.equalShapes(getMultiplier(), getInput());
}

/// Heads [T, H, D] that are rotated by the rows of a table.
static void constrainRotation(Value heads, Value table, Value positions,
                              InputConstraints &inputs) {
  inputs.equal(inputs.size(positions, 0), inputs.size(heads, 0));
  inputs.positions(positions, inputs.size(table, 0));
}

void RopeOp::constrainInputs(InputConstraints &inputs) {
  inputs.equalShapes(getResult(), getInput());
  constrainRotation(getInput(), getTable(), getPositions(), inputs);
}

void MoEOp::constrainInputs(InputConstraints &inputs) {
  inputs.equalShapes(getResult(), getInput());
  inputs.equal(inputs.size(getRouterLogits(), 0), inputs.size(getInput(), 0));
  inputs.equal(inputs.size(getRouterLogits(), 1), inputs.size(getGate(), 0));
  inputs.equal(inputs.size(getInput(), 1), inputs.size(getGate(), 2));
  if (getSelectionBias())
    inputs.equal(inputs.size(getSelectionBias(), 0), inputs.size(getGate(), 0));
}

//===----------------------------------------------------------------------===//
// Attention and the paged cache
//===----------------------------------------------------------------------===//

void AttentionOp::constrainInputs(InputConstraints &inputs) {
  inputs.equalShapes(getResult(), getQuery());
  inputs.equalShapes(getKeys(), getValues());
  inputs.equal(inputs.size(getKeys(), 0), inputs.size(getQuery(), 0));
  Size tokens = inputs.size(getQuery(), 1), context = inputs.size(getKeys(), 1);
  // The queries are the last ones of the positions.
  inputs.atLeast(context, tokens);
  if (getWindow())
    inputs.threshold(*getWindow());
  for (Value each : {getSinks(), getAlibi()})
    if (each)
      inputs.equal(inputs.size(each, 0), inputs.size(getQuery(), 2));
  if (Value mask = getMask()) {
    // The sizes before may be 1.
    auto type = rankedType(mask);
    if (type.getDimSize(0) != 1)
      inputs.equal(inputs.size(mask, 0), inputs.size(getQuery(), 0));
    if (type.getDimSize(1) != 1)
      inputs.equal(inputs.size(mask, 1), inputs.size(getQuery(), 2));
    inputs.equal(inputs.size(mask, 2), tokens);
    inputs.equal(inputs.size(mask, 3), context);
  }
}

static void constrainLayer(Value cache, Value layer, InputConstraints &inputs) {
  if (layer)
    inputs.within(layer, 0,
                  cast<PagedKVCacheType>(cache.getType()).getLayers());
}

void AppendKVOp::constrainInputs(InputConstraints &inputs) {
  inputs.equalShapes(getKeys(), getValues());
  constrainLayer(getCache(), getLayer(), inputs);
  Size count = inputs.size(getKeys(), 0);
  if (getSlots()) {
    inputs.equal(inputs.size(getSlots(), 0), count);
    inputs.slots(getCache(), getSlots());
    return;
  }
  inputs.equal(inputs.size(getSeqIds(), 0), count);
  inputs.equal(inputs.size(getBlockIndices(), 0), count);
  inputs.sequences(getCache(), getSeqIds(), inputs.size(getKeys(), 1));
}

void RopeAppendKVOp::constrainInputs(InputConstraints &inputs) {
  inputs.equalShapes(getKeys(), getValues());
  inputs.equalShapes(getRotated(), getQuery());
  constrainLayer(getCache(), getLayer(), inputs);
  inputs.equal(inputs.size(getQuery(), 0), inputs.size(getKeys(), 0));
  constrainRotation(getKeys(), getTable(), getPositions(), inputs);
  inputs.equal(inputs.size(getSlots(), 0), inputs.size(getKeys(), 0));
  inputs.slots(getCache(), getSlots());
}

void LookupKVOp::constrainInputs(InputConstraints &inputs) {
  constrainLayer(getCache(), getLayer(), inputs);
  Size count = inputs.size(getSeqLens(), 0);
  inputs.equal(inputs.size(getBlockIndices(), 0), count);
  inputs.equal(inputs.size(getKeys(), 0), count);
  inputs.equalShapes(getKeys(), getValues());
  inputs.contexts(getCache(), getBlockIndices(), getSeqLens(), {{}, 0});
}

void PagedAttentionOp::constrainInputs(InputConstraints &inputs) {
  constrainLayer(getCache(), getLayer(), inputs);
  inputs.equalShapes(getResult(), getQuery());
  Size count = inputs.size(getSeqLens(), 0);
  inputs.equal(inputs.size(getBlockIndices(), 0), count);
  InputConstraints::Batch batch;
  if (getRows()) {
    inputs.equal(inputs.size(getRows(), 0), count + 1);
    batch = {getRows(), inputs.size(getQuery(), 0)};
  } else {
    inputs.equal(inputs.size(getQuery(), 0), count);
    batch = {{}, inputs.size(getQuery(), 1)};
  }
  inputs.contexts(getCache(), getBlockIndices(), getSeqLens(), batch);
  if (getWindow())
    inputs.threshold(*getWindow());
  int64_t heads = rankedType(getQuery()).getRank() - 2;
  for (Value each : {getSinks(), getAlibi()})
    if (each)
      inputs.equal(inputs.size(each, 0), inputs.size(getQuery(), heads));
}

//===----------------------------------------------------------------------===//
// Quantized and sharded tensors
//===----------------------------------------------------------------------===//

void QuantizeOp::constrainInputs(InputConstraints &inputs) {
  inputs.equalShapes(getResult(), getInput());
}

void DequantizeOp::constrainInputs(InputConstraints &inputs) {
  inputs.equalShapes(getResult(), getInput());
}

void ShardOp::constrainInputs(InputConstraints &inputs) {
  inputs.equalShapes(getResult(), getInput());
}

void UnshardOp::constrainInputs(InputConstraints &inputs) {
  inputs.equalShapes(getResult(), getInput());
}

void AllGatherOp::constrainInputs(InputConstraints &inputs) {
  inputs.equalShapes(getResult(), getInput());
}

void AllReduceOp::constrainInputs(InputConstraints &inputs) {
  inputs.equalShapes(getResult(), getInput());
}

void ReduceScatterOp::constrainInputs(InputConstraints &inputs) {
  inputs.equalShapes(getResult(), getInput());
}

void ShardedLinearOp::constrainInputs(InputConstraints &inputs) {
  inputs.equal(inputs.size(getResult(), 0), inputs.size(getInput(), 0));
  inputs.equal(inputs.size(getResult(), 1), inputs.size(getWeight(), 0));
  inputs.equal(inputs.size(getInput(), 1), inputs.size(getWeight(), 1));
  if (getBias())
    inputs.equal(inputs.size(getBias(), 0), inputs.size(getWeight(), 0));
}
