// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Programs are files that people change by hand. What the runtime relies on
// when it runs one is checked here, once, so that a program that says two
// things about itself is refused instead of reading beyond its tables.

#include "llmir/Dialect/LLM/LLM.h"
#include "llmir/Dialect/LLM/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"

namespace llmir::llm {
#define GEN_PASS_DEF_LLMVERIFYSTEP
#include "llmir/Dialect/LLM/Passes.h.inc"
} // namespace llmir::llm

using namespace mlir;
using namespace llmir::llm;

/// The ranks of the step's arguments before the cache, all of i32: token_ids,
/// positions, slots, block_table, context_lens, row_starts and logit_rows.
static constexpr int64_t kArgumentRanks[] = {1, 1, 1, 2, 1, 1, 1};
static constexpr size_t kCacheArgument = std::size(kArgumentRanks);

/// The scope of the weights that a program is compiled with.
static constexpr StringLiteral kModelScope = "model";

namespace {
struct VerifyStepPass : llmir::llm::impl::LLMVerifyStepBase<VerifyStepPass> {
  void runOnOperation() override {
    auto step = getOperation().lookupSymbol<func::FuncOp>("step");
    if (!step || step.isExternal()) {
      getOperation().emitError("has no function `step` with a body");
      return signalPassFailure();
    }
    if (failed(verifySignature(step)) || failed(verifyFacts(step)) ||
        failed(verifyLayers()) || failed(verifyScopes()))
      return signalPassFailure();
    markAllAnalysesPreserved();
  }

private:
  static int64_t shardsOf(ModuleOp module) {
    auto facts = module->getAttrOfType<DictionaryAttr>("llm.shards");
    auto shards = facts ? facts.getAs<IntegerAttr>("tensor") : IntegerAttr();
    return shards ? shards.getInt() : 1;
  }

  static bool isDynamicTensor(Type type, Type element, int64_t rank) {
    auto tensor = dyn_cast<RankedTensorType>(type);
    return tensor && tensor.getElementType() == element &&
           tensor.getRank() == rank && tensor.getNumDynamicDims() == rank;
  }

  LogicalResult verifySignature(func::FuncOp step) {
    FunctionType type = step.getFunctionType();
    bool fits =
        type.getNumInputs() == kCacheArgument + 1 && type.getNumResults() == 2;
    for (size_t i = 0; fits && i < kCacheArgument; ++i)
      fits =
          isDynamicTensor(type.getInput(i), IntegerType::get(&getContext(), 32),
                          kArgumentRanks[i]);
    if (fits) {
      auto logits = dyn_cast<RankedTensorType>(type.getResult(0));
      fits = isa<PagedKVCacheType>(type.getInput(kCacheArgument)) &&
             type.getResult(1) == type.getInput(kCacheArgument) && logits &&
             logits.getRank() == 2 && logits.isDynamicDim(0) &&
             !logits.isDynamicDim(1) && logits.getElementType().isF32();
    }
    if (!fits)
      return step.emitError(
          "step must take token_ids, positions, slots, block_table, "
          "context_lens, row_starts and logit_rows, as tensors of i32 with "
          "dynamic sizes, and a cache, and return logits, as tensor<?xVxf32>, "
          "and the cache");
    auto cache = cast<PagedKVCacheType>(type.getInput(kCacheArgument));
    if (!cache.getElementType().isF32() && !cache.getElementType().isBF16() &&
        !cache.getElementType().isF16() && !cache.isQuantized())
      return step.emitError()
             << "the runtime's caches hold f32, bf16, f16, i8 or i4, not "
             << cache.getElementType();
    return success();
  }

  FailureOr<int64_t> fact(StringRef name) {
    auto facts = getOperation()->getAttrOfType<DictionaryAttr>("llm.model");
    auto value = facts ? facts.getAs<IntegerAttr>(name) : IntegerAttr();
    if (!value || value.getInt() <= 0)
      return getOperation().emitError()
             << "llm.model must have a positive number " << name;
    return value.getInt();
  }

  /// Checks a fact that only readers and tools need, if it is there.
  LogicalResult verifySize(Operation *op, StringRef part, int64_t size,
                           StringRef name) {
    auto facts = getOperation()->getAttrOfType<DictionaryAttr>("llm.model");
    auto value = facts.getAs<IntegerAttr>(name);
    if (!value || value.getInt() == size)
      return success();
    return op->emitError() << "the " << part << " " << size << ", but " << name
                           << " is " << value.getInt();
  }

  /// Checks that nothing reads what the runtime has given to others, where a
  /// window says what it keeps.
  LogicalResult verifyWindow() {
    auto facts = getOperation()->getAttrOfType<DictionaryAttr>("llm.model");
    if (!facts.get("kv_cache_window"))
      return success();
    FailureOr<int64_t> kept = fact("kv_cache_window");
    if (failed(kept))
      return failure();
    WalkResult result = getOperation().walk([&](Operation *op) {
      auto attention = dyn_cast<PagedAttentionOp>(op);
      bool reads = isa<LookupKVOp>(op) || attention;
      int64_t window = attention ? attention.getWindow().value_or(0) : 0;
      if (!reads || (window > 0 && window <= *kept))
        return WalkResult::advance();
      InFlightDiagnostic diagnostic = op->emitError() << "reads ";
      if (window > 0)
        diagnostic << window << " positions of the cache";
      else
        diagnostic << "all of the cache";
      diagnostic << ", but kv_cache_window is " << *kept;
      return WalkResult::interrupt();
    });
    return failure(result.wasInterrupted());
  }

  /// Compares what `llm.model` says with the program.
  LogicalResult verifyFacts(func::FuncOp step) {
    FailureOr<int64_t> vocabSize = fact("vocab_size");
    FailureOr<int64_t> maxModelLen = fact("max_model_len");
    if (failed(vocabSize) || failed(maxModelLen))
      return failure();
    int64_t columns =
        cast<RankedTensorType>(step.getResultTypes()[0]).getDimSize(1);
    if (columns != *vocabSize)
      return step.emitError()
             << "returns " << columns << " logits a row, but vocab_size is "
             << *vocabSize;
    auto cache =
        cast<PagedKVCacheType>(step.getArgumentTypes()[kCacheArgument]);
    if (failed(verifySize(step, "cache's number of layers is",
                          cache.getLayers(), "num_layers")) ||
        failed(verifySize(step, "cache's number of heads is",
                          cache.getKvHeads(), "num_kv_heads")) ||
        failed(verifySize(step, "cache's head dimension is", cache.getHeadDim(),
                          "head_dim")))
      return failure();
    if (failed(verifyWindow()))
      return failure();
    if (cache.getMaxSeqLen() < *maxModelLen)
      return step.emitError()
             << "the cache's max_seq_len is " << cache.getMaxSeqLen()
             << ", but max_model_len is " << *maxModelLen;
    WalkResult result = getOperation().walk([&](Operation *op) {
      int64_t rows, needed;
      StringRef table, reason;
      if (auto attention = dyn_cast<PagedAttentionOp>(op)) {
        auto query = cast<ShapedType>(attention.getQuery().getType());
        if (failed(verifySize(op, "query's number of heads is",
                              query.getDimSize(query.getRank() - 2),
                              "num_heads")))
          return WalkResult::interrupt();
        return WalkResult::advance();
      }
      if (auto rope = dyn_cast<RopeTableOp>(op)) {
        rows = cast<ShapedType>(rope.getTable().getType()).getDimSize(0);
        std::tie(needed, table, reason) =
            std::tuple(*maxModelLen, "RoPE table", "max_model_len");
      } else if (auto lookup = dyn_cast<EmbeddingOp>(op);
                 lookup && lookup.getIndices() == step.getArgument(0)) {
        auto quantized =
            dyn_cast<QuantizedTensorType>(lookup.getTable().getType());
        ArrayRef<int64_t> shape =
            quantized
                ? quantized.getShape()
                : cast<ShapedType>(lookup.getTable().getType()).getShape();
        auto result = cast<ShapedType>(lookup.getResult().getType());
        if (failed(verifySize(op, "embedding's number of columns is",
                              hasPackedTable(lookup) ? result.getDimSize(1)
                                                     : shape[1],
                              "hidden_size")))
          return WalkResult::interrupt();
        rows = shape[0];
        // The last panel may be padded with rows of zeros.
        if (hasPackedTable(lookup))
          rows *= kPanelWidth;
        // Shards have the rows together.
        if (lookup.getFirst())
          rows *= shardsOf(getOperation());
        std::tie(needed, table, reason) =
            std::tuple(*vocabSize, "embedding", "vocab_size");
      } else {
        return WalkResult::advance();
      }
      if (!ShapedType::isDynamic(rows) && rows >= needed)
        return WalkResult::advance();
      op->emitError() << "the " << table << " has " << rows << " rows, but "
                      << reason << " is " << needed;
      return WalkResult::interrupt();
    });
    return failure(result.wasInterrupted());
  }

  /// Checks that every parameter is one of the model's.
  LogicalResult verifyScopes() {
    WalkResult result = getOperation().walk([](ParameterOp op) {
      if (op.getScope() == kModelScope)
        return WalkResult::advance();
      op.emitError() << "no weights are known as " << op.getScopeAttr()
                     << "; those of the model's directory are \"" << kModelScope
                     << '"';
      return WalkResult::interrupt();
    });
    return failure(result.wasInterrupted());
  }

  /// Checks the layer of every cache op, through the arguments of functions.
  LogicalResult verifyLayers() {
    WalkResult result = getOperation().walk([&](Operation *op) {
      Value layer, cache;
      if (auto append = dyn_cast<AppendKVOp>(op))
        std::tie(layer, cache) =
            std::tuple(append.getLayer(), append.getCache());
      else if (auto append = dyn_cast<RopeAppendKVOp>(op))
        std::tie(layer, cache) =
            std::tuple(append.getLayer(), append.getCache());
      else if (auto lookup = dyn_cast<LookupKVOp>(op))
        std::tie(layer, cache) =
            std::tuple(lookup.getLayer(), lookup.getCache());
      else if (auto attention = dyn_cast<PagedAttentionOp>(op))
        std::tie(layer, cache) =
            std::tuple(attention.getLayer(), attention.getCache());
      if (layer && failed(verifyLayer(
                       op, layer, cast<PagedKVCacheType>(cache.getType()), 0)))
        return WalkResult::interrupt();
      return WalkResult::advance();
    });
    return failure(result.wasInterrupted());
  }

  LogicalResult verifyLayer(Operation *user, Value layer,
                            PagedKVCacheType cache, unsigned depth) {
    if (std::optional<int64_t> constant = getConstantIntValue(layer)) {
      if (*constant >= 0 && *constant < cache.getLayers())
        return success();
      return user->emitError() << "layer " << *constant << " is not one of the "
                               << cache.getLayers() << " layers of the cache";
    }
    auto argument = dyn_cast<BlockArgument>(layer);
    auto function =
        argument ? dyn_cast<func::FuncOp>(argument.getOwner()->getParentOp())
                 : func::FuncOp();
    constexpr unsigned kDeepestCall = 64;
    if (!function || !function.isPrivate() || depth > kDeepestCall)
      return user->emitError(
          "the layer must be a constant, here or at every call");
    auto uses = SymbolTable::getSymbolUses(function, getOperation());
    for (SymbolTable::SymbolUse use : *uses) {
      auto call = dyn_cast<func::CallOp>(use.getUser());
      if (!call)
        return use.getUser()->emitError(
            "only calls may refer to a function of a layer");
      if (failed(verifyLayer(call, call.getOperand(argument.getArgNumber()),
                             cache, depth + 1)))
        return failure();
    }
    return success();
  }
};
} // namespace
