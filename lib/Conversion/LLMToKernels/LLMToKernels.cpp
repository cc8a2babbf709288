// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Picks the runtime's kernels: packed products, appends by slot and ragged
// attention become calls in destination-passing style, still on tensors, so
// that bufferization finds their buffers.

#include "llmir/Conversion/Passes.h"
#include "llmir/Dialect/LLM/LLM.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Tensor/Utils/Utils.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/IR/TypeUtilities.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

#include <cmath>

namespace llmir {
#define GEN_PASS_DEF_CONVERTLLMTOKERNELS
#include "llmir/Conversion/Passes.h.inc"
} // namespace llmir

using namespace mlir;
using namespace llmir::llm;

namespace {

Value emptyResult(OpBuilder &builder, Location loc, RankedTensorType type,
                  Value rows) {
  SmallVector<Value> sizes;
  if (type.isDynamicDim(0))
    sizes.push_back(builder.create<tensor::DimOp>(loc, rows, 0));
  return builder.create<tensor::EmptyOp>(loc, type, sizes);
}

/// Whether kernels read and write this type.
bool isKernelFloat(Type type) {
  return type.isF32() || type.isBF16() || type.isF16();
}

/// Converts elements between float types, or returns `tensor` as it is.
Value convertElements(OpBuilder &builder, Location loc, Value tensor,
                      Type element) {
  auto type = cast<RankedTensorType>(tensor.getType());
  unsigned from = type.getElementType().getIntOrFloatBitWidth(),
           to = element.getIntOrFloatBitWidth();
  if (type.getElementType() == element)
    return tensor;
  // Neither of bf16 and f16 is the wider one.
  if (from == to)
    return convertElements(
        builder, loc,
        convertElements(builder, loc, tensor, builder.getF32Type()), element);
  auto converted = type.clone(element);
  if (from < to)
    return builder.create<arith::ExtFOp>(loc, converted, tensor);
  return builder.create<arith::TruncFOp>(loc, converted, tensor);
}

/// `tensor` in a type that kernels read.
Value kernelFloats(OpBuilder &builder, Location loc, Value tensor) {
  if (isKernelFloat(getElementTypeOrSelf(tensor)))
    return tensor;
  return convertElements(builder, loc, tensor, builder.getF32Type());
}

/// Replaces a product by a call of its kernel on `input` and panels.
template <typename Product>
CallKernelOp lowerProduct(PatternRewriter &rewriter, Product op, Value input,
                          Value panels) {
  // A residual is what the kernel adds to, in f32. Without one it rounds
  // itself.
  Location loc = op.getLoc();
  auto type = cast<RankedTensorType>(op.getResult().getType());
  Type f32 = rewriter.getF32Type();
  bool rounds = !op.getResidual() && isKernelFloat(type.getElementType());
  Value out =
      op.getResidual()
          ? convertElements(rewriter, loc, op.getResidual(), f32)
          : emptyResult(rewriter, loc, rounds ? type : type.clone(f32), input);
  SmallVector<Value> inputs = {input, panels};
  SmallVector<StringRef> extras;
  auto addExtra = [&](StringRef name, Value value) {
    if (!value)
      return;
    extras.push_back(name);
    inputs.push_back(kernelFloats(rewriter, loc, value));
  };
  addExtra("norm", op.getNorm());
  addExtra("bias", op.getBias());
  auto call = rewriter.create<CallKernelOp>(loc, "linear", inputs, out);
  if (!extras.empty())
    call.setExtrasAttr(rewriter.getStrArrayAttr(extras));
  call.setAccumulate(static_cast<bool>(op.getResidual()));
  call.setEpsilonAttr(op.getEpsilonAttr());
  call.setActivationAttr(op.getActivationAttr());
  call.setGated(op.getGated());
  rewriter.replaceOp(op, convertElements(rewriter, loc, call.getResult(0),
                                         type.getElementType()));
  return call;
}

struct LowerLinear : OpRewritePattern<LinearOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(LinearOp op,
                                PatternRewriter &rewriter) const override {
    if (!hasPackedWeight(op))
      return rewriter.notifyMatchFailure(op, "the weight is not packed");
    // A norm is rounded to the weight's type, whatever its input is.
    Type input = getElementTypeOrSelf(op.getInput());
    if (op.getNorm() ? !isKernelFloat(input)
                     : input != getElementTypeOrSelf(op.getWeight()))
      return rewriter.notifyMatchFailure(op, "kernels multiply equal types");
    if (op.getActivation() && !isEpilogue(*op.getActivation()))
      return rewriter.notifyMatchFailure(op, "no kernel has the activation");
    lowerProduct(rewriter, op, op.getInput(), panels(rewriter, op));
    return success();
  }

private:
  /// The weight as a kernel takes it: panels, be it of one matrix or of two by
  /// turns.
  static Value panels(PatternRewriter &rewriter, LinearOp op) {
    Value weight = op.getWeight();
    if (!op.getGated())
      return weight;
    int64_t rank = cast<RankedTensorType>(weight.getType()).getRank();
    SmallVector<ReassociationIndices> groups = {{0, 1}};
    for (int64_t dim = 2; dim < rank; ++dim)
      groups.push_back({dim});
    return rewriter.create<tensor::CollapseShapeOp>(op.getLoc(), weight,
                                                    groups);
  }
};

struct LowerQuantizedMatmul : OpRewritePattern<QuantizedMatmulOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(QuantizedMatmulOp op,
                                PatternRewriter &rewriter) const override {
    QuantizedTensorType weight = op.getWeight().getType();
    if (weight.getPacking() !=
            (op.getGated() ? Packing::gated_panels : Packing::panels) ||
        !hasKernelInput(op))
      return rewriter.notifyMatchFailure(op, "not what a kernel multiplies");
    // The kernel quantizes its input itself.
    Value input = op.getInput();
    TypeAttr inputType = op.getInputTypeAttr();
    if (auto quantize = input.getDefiningOp<QuantizeOp>()) {
      inputType = TypeAttr::get(quantize.getResult().getType());
      input = quantize.getInput();
    }
    CallKernelOp call =
        lowerProduct(rewriter, op, kernelFloats(rewriter, op.getLoc(), input),
                     op.getWeight());
    call.setWeightType(weight);
    call.setInputTypeAttr(inputType);
    return success();
  }
};

Value layerOf(PatternRewriter &rewriter, Location loc, Value layer) {
  if (layer)
    return layer;
  return rewriter.create<arith::ConstantIndexOp>(loc, 0);
}

/// Keys or values as an append takes them: of the cache's type, or f32, which
/// the kernel rounds itself.
Value appendedOperand(PatternRewriter &rewriter, Location loc,
                      PagedKVCacheType cache, Value value) {
  if (getElementTypeOrSelf(value) == cache.getElementType())
    return value;
  return convertElements(rewriter, loc, value, rewriter.getF32Type());
}

struct LowerAppendKV : OpRewritePattern<AppendKVOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(AppendKVOp op,
                                PatternRewriter &rewriter) const override {
    if (!op.getSlots())
      return rewriter.notifyMatchFailure(op, "allocates by seq_ids");
    Location loc = op.getLoc();
    auto operand = [&](Value value) {
      return appendedOperand(rewriter, loc, op.getCache().getType(), value);
    };
    rewriter.create<CallKernelOp>(
        loc, "append_kv",
        ValueRange{op.getCache(), layerOf(rewriter, loc, op.getLayer()),
                   operand(op.getKeys()), operand(op.getValues()),
                   op.getSlots()});
    rewriter.replaceOp(op, op.getCache());
    return success();
  }
};

struct LowerRopeAppendKV : OpRewritePattern<RopeAppendKVOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(RopeAppendKVOp op,
                                PatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    auto type = cast<RankedTensorType>(op.getRotated().getType());
    Value query = kernelFloats(rewriter, loc, op.getQuery());
    Value out =
        emptyResult(rewriter, loc, type.clone(rewriter.getF32Type()), query);
    auto call = rewriter.create<CallKernelOp>(
        loc, "rope_append_kv",
        ValueRange{op.getCache(), layerOf(rewriter, loc, op.getLayer()), query,
                   kernelFloats(rewriter, loc, op.getKeys()),
                   appendedOperand(rewriter, loc, op.getCache().getType(),
                                   op.getValues()),
                   op.getTable(), op.getPositions(), op.getSlots()},
        out);
    rewriter.replaceOp(
        op, {op.getCache(), convertElements(rewriter, loc, call.getResult(0),
                                            type.getElementType())});
    return success();
  }
};

struct LowerPagedAttention : OpRewritePattern<PagedAttentionOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(PagedAttentionOp op,
                                PatternRewriter &rewriter) const override {
    if (!op.getRows())
      return rewriter.notifyMatchFailure(op, "not a ragged batch");
    Location loc = op.getLoc();
    auto type = cast<RankedTensorType>(op.getResult().getType());
    FloatAttr scale = op.getScaleAttr();
    if (!scale)
      scale = rewriter.getF32FloatAttr(
          1.0 / std::sqrt(static_cast<double>(type.getShape().back())));
    Type f32 = rewriter.getF32Type();
    bool rounds = isKernelFloat(type.getElementType());
    Value out = emptyResult(rewriter, loc, rounds ? type : type.clone(f32),
                            op.getQuery());
    SmallVector<Value> inputs = {
        op.getCache(),
        layerOf(rewriter, loc, op.getLayer()),
        convertElements(rewriter, loc, op.getQuery(), f32),
        op.getBlockIndices(),
        op.getSeqLens(),
        op.getRows()};
    SmallVector<StringRef> extras;
    auto addExtra = [&](StringRef name, Value value) {
      if (!value)
        return;
      extras.push_back(name);
      inputs.push_back(convertElements(rewriter, loc, value, f32));
    };
    addExtra("sinks", op.getSinks());
    addExtra("alibi", op.getAlibi());
    auto call =
        rewriter.create<CallKernelOp>(loc, "paged_attention", inputs, out);
    if (!extras.empty())
      call.setExtrasAttr(rewriter.getStrArrayAttr(extras));
    call.setScaleAttr(scale);
    call.setSoftcapAttr(op.getSoftcapAttr());
    call.setWindowAttr(op.getWindowAttr());
    call.setQueryTypeAttr(op.getQueryTypeAttr());
    rewriter.replaceOp(op, convertElements(rewriter, loc, call.getResult(0),
                                           type.getElementType()));
    return success();
  }
};

struct LowerAttention : OpRewritePattern<AttentionOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(AttentionOp op,
                                PatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    auto type = cast<RankedTensorType>(op.getResult().getType());
    FloatAttr scale = op.getScaleAttr();
    if (!scale)
      scale = rewriter.getF32FloatAttr(
          1.0 / std::sqrt(static_cast<double>(type.getShape().back())));
    Type f32 = rewriter.getF32Type();
    auto wide = [&](Value value) {
      return convertElements(rewriter, loc, value, f32);
    };
    bool rounds = isKernelFloat(type.getElementType());
    Value out = rewriter.create<tensor::EmptyOp>(
        loc, tensor::getMixedSizes(rewriter, loc, op.getQuery()),
        rounds ? type.getElementType() : f32);
    SmallVector<Value> inputs = {wide(op.getQuery()), wide(op.getKeys()),
                                 wide(op.getValues())};
    SmallVector<StringRef> extras;
    auto addExtra = [&](StringRef name, Value value) {
      if (!value)
        return;
      extras.push_back(name);
      inputs.push_back(isa<FloatType>(getElementTypeOrSelf(value)) ? wide(value)
                                                                   : value);
    };
    addExtra("sinks", op.getSinks());
    addExtra("alibi", op.getAlibi());
    addExtra("mask", op.getMask());
    auto call = rewriter.create<CallKernelOp>(loc, "attention", inputs, out);
    if (!extras.empty())
      call.setExtrasAttr(rewriter.getStrArrayAttr(extras));
    call.setScaleAttr(scale);
    call.setSoftcapAttr(op.getSoftcapAttr());
    call.setWindowAttr(op.getWindowAttr());
    call.setCausal(op.getCausal());
    rewriter.replaceOp(op, convertElements(rewriter, loc, call.getResult(0),
                                           type.getElementType()));
    return success();
  }
};

/// Removes results that are caches: they are the caches that came in. A
/// caller's become so once its callee's are gone.
LogicalResult dropCacheResults(ModuleOp module) {
  bool changed = true;
  while (changed) {
    changed = false;
    for (auto function : module.getOps<func::FuncOp>()) {
      if (function.isExternal() || !llvm::hasSingleElement(function.getBody()))
        continue;
      Operation *terminator = function.front().getTerminator();
      llvm::BitVector dropped(function.getNumResults());
      SmallVector<int64_t> sources(function.getNumResults(), -1);
      for (auto [index, value] : llvm::enumerate(terminator->getOperands())) {
        auto argument = dyn_cast<BlockArgument>(value);
        if (!isa<PagedKVCacheType>(value.getType()) || !argument ||
            argument.getOwner() != &function.front())
          continue;
        dropped.set(index);
        sources[index] = argument.getArgNumber();
      }
      if (dropped.none())
        continue;
      changed = true;
      terminator->eraseOperands(dropped);
      function.eraseResults(dropped);
      auto uses = SymbolTable::getSymbolUses(function, module);
      for (SymbolTable::SymbolUse use : *uses) {
        auto call = dyn_cast<func::CallOp>(use.getUser());
        if (!call)
          return use.getUser()->emitError(
              "only calls may refer to a function that returns a cache");
        OpBuilder builder(call);
        auto shorter = builder.create<func::CallOp>(call.getLoc(), function,
                                                    call.getOperands());
        unsigned next = 0;
        for (OpResult result : call.getResults()) {
          int64_t source = sources[result.getResultNumber()];
          result.replaceAllUsesWith(source < 0 ? shorter.getResult(next++)
                                               : call.getOperand(source));
        }
        call.erase();
      }
    }
  }
  return success();
}

/// Whether neighbours in the last dimension may lie apart: a slice that `value`
/// is a part of takes steps there.
bool mayHaveSteps(Value value) {
  while (Operation *op = value.getDefiningOp()) {
    if (auto slice = dyn_cast<tensor::ExtractSliceOp>(op)) {
      if (!isConstantIntValue(slice.getMixedStrides().back(), 1))
        return true;
      value = slice.getSource();
    } else if (isa<tensor::ExpandShapeOp, tensor::CollapseShapeOp>(op)) {
      value = op->getOperand(0);
    } else {
      return false;
    }
  }
  return false;
}

/// Kernels read rows of neighbours: copies inputs that have none.
void copyInputsWithSteps(CallKernelOp call) {
  OpBuilder builder(call);
  Location loc = call.getLoc();
  for (OpOperand &operand : call.getInputsMutable()) {
    auto type = dyn_cast<RankedTensorType>(operand.get().getType());
    if (!type || !mayHaveSteps(operand.get()))
      continue;
    Value empty = builder.create<tensor::EmptyOp>(
        loc, tensor::getMixedSizes(builder, loc, operand.get()),
        type.getElementType());
    operand.set(
        builder.create<linalg::CopyOp>(loc, operand.get(), empty).getResult(0));
  }
}

struct ConvertLLMToKernelsPass
    : llmir::impl::ConvertLLMToKernelsBase<ConvertLLMToKernelsPass> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<LowerAppendKV, LowerAttention, LowerLinear,
                 LowerPagedAttention, LowerQuantizedMatmul, LowerRopeAppendKV>(
        &getContext());
    if (failed(applyPatternsAndFoldGreedily(getOperation(),
                                            std::move(patterns))) ||
        failed(dropCacheResults(getOperation())))
      return signalPassFailure();
    getOperation().walk(copyInputsWithSteps);
    getOperation().walk([&](Operation *op) {
      if (!isa<AppendKVOp, LookupKVOp, PagedAttentionOp>(op))
        return;
      op->emitError("has no kernel in this form; the CPU takes appends by "
                    "slots and attention by rows");
      signalPassFailure();
    });
  }
};
} // namespace
