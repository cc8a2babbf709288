// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Rewrites a model of float weights into one of integers. What every product
// rounds its input to is decided here as well, and shows in the program: one
// row and many, and every CPU, compute the same numbers.

#include "Weights.h"
#include "llmir/Dialect/LLM/LLM.h"
#include "llmir/Dialect/LLM/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Matchers.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/IR/TypeUtilities.h"
#include "llvm/Support/GlobPattern.h"

#include <map>

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

/// Whether `use` is the weight of a product of floats.
static bool isWeight(OpOperand &use) {
  auto linear = dyn_cast<LinearOp>(use.getOwner());
  return linear && &use == &linear.getWeightMutable() &&
         isQuantizable(getElementTypeOrSelf(linear.getInput()));
}

/// Whether `use` is the table of a lookup.
static bool isTable(OpOperand &use) {
  auto lookup = dyn_cast<EmbeddingOp>(use.getOwner());
  return lookup && &use == &lookup.getTableMutable();
}

static bool isWeightOrTable(OpOperand &use) {
  return isWeight(use) || isTable(use);
}

/// The product that a result of a public function is made of, number by number;
/// or null.
static LinearOp findHead(Value result) {
  while (Operation *op = result.getDefiningOp()) {
    if (auto linear = dyn_cast<LinearOp>(op))
      return linear.getResidual() ? LinearOp() : linear;
    if (auto activation = dyn_cast<ActivationOp>(op))
      result = activation.getInput();
    else if (op->hasTrait<OpTrait::Elementwise>() ||
             isa<tensor::CastOp, tensor::CollapseShapeOp, tensor::ExpandShapeOp,
                 tensor::ReshapeOp>(op)) {
      // Of several operands, a softcap's constants do not count.
      Value next;
      for (Value operand : op->getOperands())
        if (isa<RankedTensorType>(operand.getType()) &&
            !matchPattern(operand, m_Constant()) && !next)
          next = operand;
      if (!next)
        return {};
      result = next;
    } else {
      return {};
    }
  }
  return {};
}

/// Whether the result of `op` may have another element type, to which it then
/// rounds instead.
static bool mayRoundToAny(Operation *op) {
  return isa_and_nonnull<ActivationOp, AttentionOp, EmbeddingOp, LayerNormOp,
                         LinearOp, PagedAttentionOp, RMSNormOp>(op);
}

namespace {
/// What the name of a format says.
struct Format {
  /// Fails if there is none of this name.
  static FailureOr<Format> parse(StringRef name) {
    if (name != "int8" && name != "int4" && name != "w8a8" && name != "w4a8")
      return failure();
    return Format{name == "int8" || name == "w8a8", name.ends_with("a8")};
  }

  /// The inputs that share a scale unless that is said otherwise; 0 for a row.
  int64_t getGroupSize() const { return isByte ? 0 : kPanelDepth; }

  bool isByte, roundsToIntegers;
};

/// The format of a product's weight, and its groups.
struct Choice {
  Format format;
  int64_t groupSize;
};

struct QuantizeWeightsPass
    : llmir::llm::impl::LLMQuantizeWeightsBase<QuantizeWeightsPass> {
  using LLMQuantizeWeightsBase::LLMQuantizeWeightsBase;

  void runOnOperation() override {
    if (failed(readOptions()) || failed(findExcluded()) ||
        failed(checkUnpacked()))
      return signalPassFailure();
    findHeads();
    numQuantized += retypeWeights(getOperation(), [&](OpOperand &use) -> Type {
      if (excluded.contains(use.get()))
        return {};
      std::optional<Choice> choice;
      if (isWeight(use))
        choice = choiceOf(use.getOwner());
      else if (isTable(use))
        choice = forEmbeddings;
      return choice ? quantizedType(use.get().getType(), *choice) : Type();
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
        op.getInputMutable().assign(
            prepareInput(op.getInput(), choiceOf(op)->format));
    for (LinearOp op : products)
      replace(op);
  }

private:
  InFlightDiagnostic refuse() {
    return emitError(UnknownLoc::get(&getContext()))
           << "llm-quantize-weights: ";
  }

  LogicalResult readOptions() {
    FailureOr<Format> known = Format::parse(format);
    if (failed(known))
      return refuse() << "format must be int8, int4, w8a8 or w4a8, but is "
                      << format;
    int64_t size = groupSize >= 0 ? groupSize : known->getGroupSize();
    if (size % kPanelDepth != 0 || size > kMostInGroup)
      return refuse() << "group-size must be a multiple of " << kPanelDepth
                      << " up to " << kMostInGroup
                      << ", or 0 for whole rows, but is " << size;
    others = Choice{*known, size};
    forHeads = others;
    if (head == "none") {
      forHeads.reset();
    } else if (head != "auto" && head != format) {
      FailureOr<Format> own = Format::parse(head);
      if (failed(own))
        return refuse() << "head must be auto, none, int8, int4, w8a8 or w4a8, "
                        << "but is " << head;
      forHeads = Choice{*own, own->getGroupSize()};
    }
    forEmbeddings.reset();
    if (embedding == format && !known->roundsToIntegers) {
      forEmbeddings = others;
    } else if (embedding != "none") {
      FailureOr<Format> own = Format::parse(embedding);
      if (failed(own) || own->roundsToIntegers)
        return refuse() << "embedding must be none, int8 or int4, but is "
                        << embedding;
      forEmbeddings = Choice{*own, own->getGroupSize()};
    }
    if (!llvm::is_contained({"auto", "f32", "f16", "bf16"}, scales))
      return refuse() << "scales must be auto, f32, f16 or bf16, but are "
                      << scales;
    for (StringRef text : exclude) {
      llvm::Expected<llvm::GlobPattern> pattern =
          llvm::GlobPattern::create(text);
      if (!pattern)
        return refuse() << "exclude has the pattern '" << text
                        << "', which is none: "
                        << llvm::toString(pattern.takeError());
      patterns.push_back(std::move(*pattern));
    }
    return success();
  }

  /// Whether a pattern matches a key, or what comes before its last dot.
  bool isNamed(StringRef key, SmallVectorImpl<bool> &used) {
    bool named = false;
    for (auto [pattern, isUsed] : llvm::zip(patterns, used))
      if (pattern.match(key) || pattern.match(key.rsplit('.').first))
        named = isUsed = true;
    return named;
  }

  /// Finds the values that stay as they are, and gives calls that differ in
  /// them functions of their own.
  LogicalResult findExcluded() {
    if (patterns.empty())
      return success();
    SmallVector<bool> used(patterns.size());
    getOperation().walk([&](ParameterOp op) {
      for (auto key : op.getKeys().getAsRange<StringAttr>())
        if (isNamed(key, used))
          excluded.insert(op);
    });
    for (auto [text, isUsed] : llvm::zip(exclude, used))
      if (!isUsed)
        return refuse() << "exclude has the pattern '" << text
                        << "', which matches no parameter of the program";

    ModuleOp module = getOperation();
    SymbolTableCollection symbols;
    SymbolUserMap users(symbols, module);
    SymbolTable table(module);
    SmallVector<func::FuncOp> functions(module.getOps<func::FuncOp>());
    for (func::FuncOp function : functions) {
      ArrayRef<Operation *> calls = users.getUsers(function);
      if (!function.isPrivate() || function.isExternal() ||
          !llvm::all_of(
              calls, [](Operation *user) { return isa<func::CallOp>(user); }))
        continue;
      // By what of the weights stays as it is, those with nothing first.
      std::map<std::vector<unsigned>, SmallVector<func::CallOp>> groups;
      for (Operation *call : calls) {
        std::vector<unsigned> kept;
        for (BlockArgument argument : function.getArguments())
          if (llvm::any_of(argument.getUses(), isWeightOrTable) &&
              excluded.contains(call->getOperand(argument.getArgNumber())))
            kept.push_back(argument.getArgNumber());
        groups[kept].push_back(cast<func::CallOp>(call));
      }
      bool isFirst = true;
      for (auto &[kept, callers] : groups) {
        func::FuncOp own = function;
        if (!isFirst) {
          own = function.clone();
          table.insert(own, std::next(function->getIterator()));
          for (func::CallOp call : callers)
            call.setCallee(own.getSymName());
          ++numCopied;
        }
        isFirst = false;
        copies.emplace_back(own, kept);
      }
    }
    for (auto &[function, kept] : copies)
      for (unsigned index : kept)
        excluded.insert(function.getArgument(index));
    return success();
  }

  LogicalResult checkUnpacked() {
    WalkResult result =
        getOperation().walk(
            [&](LinearOp op) {
              if (!hasPackedWeight(op))
                return WalkResult::advance();
              op.emitError()
                  << "the weight is packed already, and cannot be quantized; "
                  << "quantize before --llm-pack-parameters";
              return WalkResult::interrupt();
            });
    return failure(result.wasInterrupted());
  }

  void findHeads() {
    for (auto function : getOperation().getOps<func::FuncOp>()) {
      if (!function.isPublic() || function.isExternal())
        continue;
      for (Block &block : function.getBody())
        if (auto end = dyn_cast<func::ReturnOp>(block.getTerminator()))
          for (Value result : end.getOperands())
            if (LinearOp product = findHead(result))
              heads.insert(product);
    }
  }

  /// How a product's weight is quantized, or nothing if it is not.
  std::optional<Choice> choiceOf(Operation *product) {
    return heads.contains(product) ? forHeads : others;
  }

  FloatType scaleTypeOf(const Choice &choice) {
    Builder builder(&getContext());
    return llvm::StringSwitch<FloatType>(scales)
        .Case("f32", builder.getF32Type())
        .Case("f16", builder.getF16Type())
        .Case("bf16", builder.getBF16Type())
        // One for a whole row costs next to nothing.
        .Default(choice.groupSize ? builder.getF16Type()
                                  : builder.getF32Type());
  }

  /// The type of a weight of `type`, or null if it stays as it is.
  QuantizedTensorType quantizedType(Type type, const Choice &choice) {
    auto weight = dyn_cast<RankedTensorType>(type);
    if (!weight || weight.getRank() != 2 || !weight.hasStaticShape() ||
        llvm::is_contained(weight.getShape(), 0) ||
        !isQuantizable(weight.getElementType()))
      return {};
    int64_t group = choice.groupSize;
    while (group && weight.getDimSize(1) % group != 0) {
      group /= 2;
      if (group % kPanelDepth != 0 || group == 0)
        return {};
    }
    if (choice.format.roundsToIntegers && !group &&
        weight.getDimSize(1) > kMostInSum)
      return {};
    auto storage = IntegerType::get(&getContext(), choice.format.isByte ? 8 : 4,
                                    asymmetric ? IntegerType::Unsigned
                                               : IntegerType::Signless);
    return QuantizedTensorType::get(&getContext(), weight.getShape(), storage,
                                    scaleTypeOf(choice), /*axis=*/1, group,
                                    asymmetric, Packing::none);
  }

  /// Returns what quantized products multiply instead of `input`.
  Value prepareInput(Value input, Format format) {
    bool roundsToIntegers = format.roundsToIntegers;
    if (Value known = inputs[roundsToIntegers].lookup(input))
      return known;
    // Integers are made of f32, so that there is one rounding only.
    Location loc = input.getLoc();
    Type f32 = Float32Type::get(&getContext());
    Type bf16 = BFloat16Type::get(&getContext());
    bool isOnlyInput = llvm::all_of(input.getUses(), [&](OpOperand &use) {
      auto linear = dyn_cast<LinearOp>(use.getOwner());
      return linear && &use == &linear.getInputMutable() && !linear.getNorm() &&
             isa<QuantizedTensorType>(
                 linear.getWeightMutable().get().getType()) &&
             choiceOf(linear)->format.roundsToIntegers == roundsToIntegers;
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
    return inputs[roundsToIntegers][input] = prepared;
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
    if (op.getNorm() && choiceOf(op)->format.roundsToIntegers)
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

  std::optional<Choice> others, forHeads, forEmbeddings;
  /// Products that make logits.
  DenseSet<Operation *> heads;
  std::vector<llvm::GlobPattern> patterns;
  /// Parameters and arguments that stay as they are.
  DenseSet<Value> excluded;
  /// Functions, and which of their arguments stay.
  SmallVector<std::pair<func::FuncOp, std::vector<unsigned>>> copies;
  /// For each input of a product, what it becomes: bf16, or integers.
  DenseMap<Value, Value> inputs[2];
};
} // namespace
