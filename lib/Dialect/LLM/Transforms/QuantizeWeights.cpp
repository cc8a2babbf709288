// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Rewrites a model of float weights into one of integers. What every product
// rounds its input to is decided here as well, and shows in the program: one
// row and many, and every CPU, compute the same numbers.

#include "Weights.h"
#include "llmir/Dialect/LLM/LLM.h"
#include "llmir/Dialect/LLM/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/TypeUtilities.h"

namespace llmir::llm {
#define GEN_PASS_DEF_LLMQUANTIZEWEIGHTS
#include "llmir/Dialect/LLM/Passes.h.inc"
} // namespace llmir::llm

using namespace mlir;
using namespace llmir::llm;

// What the kernels take. Sums of whole rows of integers must fit into 32 bits.
static constexpr int64_t kMostInGroup = 512, kMostInSum = 65536;

static bool isQuantizable(Type element) {
  return element.isF32() || element.isBF16() || element.isF16();
}

/// Whether `use` is the weight, not packed yet, of a product of floats.
static bool isWeight(OpOperand &use) {
  auto linear = dyn_cast<LinearOp>(use.getOwner());
  return linear && &use == &linear.getWeightMutable() &&
         !hasPackedWeight(linear) &&
         isQuantizable(getElementTypeOrSelf(linear.getInput()));
}

/// Whether the result of `op` may have another element type, to which it then
/// rounds instead.
static bool mayRoundToAny(Operation *op) {
  return isa_and_nonnull<ActivationOp, AttentionOp, EmbeddingOp, LayerNormOp,
                         LinearOp, PagedAttentionOp, RMSNormOp>(op);
}

namespace {
struct QuantizeWeightsPass
    : llmir::llm::impl::LLMQuantizeWeightsBase<QuantizeWeightsPass> {
  using LLMQuantizeWeightsBase::LLMQuantizeWeightsBase;

  void runOnOperation() override {
    if (failed(readOptions()))
      return signalPassFailure();
    numQuantized += retypeWeights(getOperation(), [&](OpOperand &use) -> Type {
      return isWeight(use) ? quantizedType(use.get().getType()) : Type();
    });
    SmallVector<LinearOp> products;
    getOperation().walk([&](LinearOp op) {
      if (isa<QuantizedTensorType>(op.getWeightMutable().get().getType()))
        products.push_back(op);
      else
        ++numKept;
    });
    for (LinearOp op : products)
      if (!op.getNorm())
        op.getInputMutable().assign(prepareInput(op.getInput()));
    for (LinearOp op : products)
      replace(op);
  }

private:
  LogicalResult readOptions() {
    auto refuse = [&](const Twine &message) {
      return emitError(UnknownLoc::get(&getContext()))
             << "llm-quantize-weights: " << message;
    };
    isByte = format == "int8" || format == "w8a8";
    roundsToIntegers = format == "w8a8" || format == "w4a8";
    if (!isByte && format != "int4" && format != "w4a8")
      return refuse("format must be int8, int4, w8a8 or w4a8, but is " +
                    Twine(format));
    size = groupSize >= 0 ? groupSize : isByte ? 0 : kPanelDepth;
    if (size % kPanelDepth != 0 || size > kMostInGroup)
      return refuse("group-size must be a multiple of " + Twine(kPanelDepth) +
                    " up to " + Twine(kMostInGroup) +
                    ", or 0 for whole rows, but is " + Twine(size));
    Builder builder(&getContext());
    scaleType =
        llvm::StringSwitch<FloatType>(scales)
            .Case("f32", builder.getF32Type())
            .Case("f16", builder.getF16Type())
            .Case("bf16", builder.getBF16Type())
            // One for a whole row costs next to nothing.
            .Case("auto", size ? builder.getF16Type() : builder.getF32Type())
            .Default(FloatType());
    if (!scaleType)
      return refuse("scales must be auto, f32, f16 or bf16, but are " +
                    Twine(scales));
    return success();
  }

  /// The type of a weight of `type`, or null if it stays as it is.
  QuantizedTensorType quantizedType(Type type) {
    auto weight = dyn_cast<RankedTensorType>(type);
    if (!weight || weight.getRank() != 2 || !weight.hasStaticShape() ||
        llvm::is_contained(weight.getShape(), 0) ||
        !isQuantizable(weight.getElementType()))
      return {};
    int64_t group = size;
    while (group && weight.getDimSize(1) % group != 0) {
      group /= 2;
      if (group % kPanelDepth != 0 || group == 0)
        return {};
    }
    if (roundsToIntegers && !group && weight.getDimSize(1) > kMostInSum)
      return {};
    auto storage = IntegerType::get(&getContext(), isByte ? 8 : 4,
                                    asymmetric ? IntegerType::Unsigned
                                               : IntegerType::Signless);
    return QuantizedTensorType::get(&getContext(), weight.getShape(), storage,
                                    scaleType, /*axis=*/1, group, asymmetric,
                                    Packing::none);
  }

  /// Returns what quantized products multiply instead of `input`.
  Value prepareInput(Value input) {
    if (Value known = inputs.lookup(input))
      return known;
    // Integers are made of f32, so that there is one rounding only.
    Location loc = input.getLoc();
    Type f32 = Float32Type::get(&getContext());
    Type bf16 = BFloat16Type::get(&getContext());
    bool isOnlyInput = llvm::all_of(input.getUses(), [](OpOperand &use) {
      auto linear = dyn_cast<LinearOp>(use.getOwner());
      return linear && &use == &linear.getInputMutable() && !linear.getNorm() &&
             isa<QuantizedTensorType>(
                 linear.getWeightMutable().get().getType());
    });
    if (isOnlyInput && mayRoundToAny(input.getDefiningOp()))
      input.setType(cast<RankedTensorType>(input.getType())
                        .clone(roundsToIntegers ? f32 : bf16));

    auto type = cast<RankedTensorType>(input.getType());
    OpBuilder builder(&getContext());
    builder.setInsertionPointAfterValue(input);
    Value prepared = input;
    if (roundsToIntegers) {
      prepared = builder.create<QuantizeOp>(loc, integersOf(type), input);
    } else if (type.getElementType() != bf16) {
      if (type.getElementType().isF16())
        prepared = builder.create<arith::ExtFOp>(loc, type.clone(f32), input);
      prepared =
          builder.create<arith::TruncFOp>(loc, type.clone(bf16), prepared);
    }
    return inputs[input] = prepared;
  }

  /// What a product rounds its input to, if to integers: a scale a token.
  QuantizedTensorType integersOf(RankedTensorType type) {
    return QuantizedTensorType::get(
        &getContext(), type.getShape(), IntegerType::get(&getContext(), 8),
        Float32Type::get(&getContext()), /*axis=*/1, /*group_size=*/0,
        /*asymmetric=*/false, Packing::none);
  }

  void replace(LinearOp op) {
    OpBuilder builder(op);
    Value input = op.getInputMutable().get();
    TypeAttr inputType;
    if (op.getNorm() && roundsToIntegers)
      inputType =
          TypeAttr::get(integersOf(cast<RankedTensorType>(input.getType())));
    auto product = builder.create<QuantizedMatmulOp>(
        op.getLoc(), op.getResult().getType(), input,
        op.getWeightMutable().get(), op.getNorm(), op.getBias(),
        op.getResidual(), op.getEpsilonAttr(), op.getActivationAttr(),
        op.getGatedAttr(), inputType);
    op.replaceAllUsesWith(product.getResult());
    op.erase();
  }

  bool isByte = false, roundsToIntegers = false;
  int64_t size = 0;
  FloatType scaleType;
  /// For each input of a product, what it becomes.
  DenseMap<Value, Value> inputs;
};
} // namespace
