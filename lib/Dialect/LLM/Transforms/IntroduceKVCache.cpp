// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A program from PyTorch computes whole sequences. Where it treats each token
// by itself but for causal attention, its body is that of a step as well: the
// new tokens of any sequences stand where those of one sequence stood, and
// attention reads from the cache what is not among them.

#include "CacheDtype.h"
#include "StepWriter.h"
#include "llmir/Dialect/LLM/LLM.h"
#include "llmir/Dialect/LLM/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/TypeUtilities.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"

namespace llmir::llm {
#define GEN_PASS_DEF_LLMINTRODUCEKVCACHE
#include "llmir/Dialect/LLM/Passes.h.inc"
} // namespace llmir::llm

using namespace mlir;
using namespace llmir::llm;
static RankedTensorType typeOf(Value value) {
  return cast<RankedTensorType>(value.getType());
}

namespace {
struct IntroduceKVCachePass
    : llmir::llm::impl::LLMIntroduceKVCacheBase<IntroduceKVCachePass> {
  using LLMIntroduceKVCacheBase::LLMIntroduceKVCacheBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    if (auto step = module.lookupSymbol<func::FuncOp>("step"))
      if (llvm::any_of(step.getArgumentTypes(),
                       [](Type type) { return isa<PagedKVCacheType>(type); }))
        return markAllAnalysesPreserved();
    if (failed(introduce(module)))
      signalPassFailure();
  }

private:
  LogicalResult introduce(ModuleOp module) {
    Type element = parseCacheDtype(&getContext(), dtype);
    if (!element && dtype != "auto")
      return emitError(module.getLoc())
             << "llm-introduce-kv-cache: dtype must be auto, int8, int4, f32, "
                "bf16 or f16, but is "
             << dtype;
    constexpr int64_t largestBlock = 1 << 14;
    if (blockSize < 1 || blockSize > largestBlock ||
        !llvm::isPowerOf2_64(blockSize))
      return emitError(module.getLoc())
             << "llm-introduce-kv-cache: block-size must be a power of two up "
                "to "
             << largestBlock << ", but is " << int64_t(blockSize);
    auto entry = module.lookupSymbol<func::FuncOp>(function);
    if (!entry || entry.isExternal() || !entry.getBody().hasOneBlock())
      return emitError(module.getLoc())
             << "llm-introduce-kv-cache: there is no function " << function
             << " with a body of one block";
    if (module.lookupSymbol("step") && entry.getName() != "step")
      return emitError(module.lookupSymbol("step")->getLoc())
             << "there is a function `step` already, which is no step over a "
                "cache";

    TokenRows rows(entry);
    Planner planner(rows, entry.getLoc());
    FailureOr<Value> logits = findLogits(entry, rows);
    if (failed(logits) || failed(planner.plan(entry)))
      return failure();
    ModelSizes &sizes = planner.sizes;
    if (!sizes.attention)
      return emitError(entry.getLoc())
             << kCannotBeStep << "has no llm.attention";
    FailureOr<int64_t> length =
        findMaxSeqLen(entry, sizes, rows.mostPositions());
    if (failed(length))
      return failure();
    RankedTensorType keys = typeOf(sizes.attention.getKeys());
    int64_t layers = planner.of(entry).layers;
    Type held = element ? element : keys.getElementType();
    auto cache = PagedKVCacheType::getChecked(
        [&] { return sizes.attention.emitError(); }, &getContext(), held,
        layers, keys.getDimSize(2), keys.getDimSize(3), int64_t(blockSize),
        *length);
    if (!cache)
      return failure();

    WrittenStep written = writeStep(planner, entry, *logits, cache);
    SmallVector<func::FuncOp> functions{written.step};
    for (auto &[old, layers] : written.layers)
      llvm::append_range(functions, layers);
    setFacts(module, planner, cache, written.step);
    replaceFunctions(module, entry, written);
    numLayers += layers;
    return cleanUp(functions);
  }

  /// The result that is no past keys or values.
  FailureOr<Value> findLogits(func::FuncOp entry, const TokenRows &rows) {
    Value logits;
    llvm::SmallBitVector continued(entry.getNumArguments());
    Operation *terminator = entry.front().getTerminator();
    for (Value result : terminator->getOperands()) {
      const RowFact &fact = rows.of(result);
      if (!fact.obstacle && fact.isContinued && !continued.test(*fact.past)) {
        continued.set(*fact.past);
        continue;
      }
      if (logits && fact.obstacle)
        return emitError(fact.obstacle->location)
               << kCannotBeStep << fact.obstacle->reason;
      if (logits)
        return terminator->emitError()
               << kCannotBeStep
               << "returns more than logits and, once each, what its "
                  "past keys and values became";
      logits = result;
    }
    auto refuse = [&](const Twine &what) {
      return terminator->emitError() << kCannotBeStep << what;
    };
    if (!logits)
      return refuse("returns no logits");
    const RowFact &fact = rows.of(logits);
    if (fact.obstacle)
      return emitError(fact.obstacle->location)
             << kCannotBeStep << fact.obstacle->reason;
    auto type = dyn_cast<RankedTensorType>(logits.getType());
    if (!type || !isa<FloatType>(type.getElementType()) ||
        type.getElementType().isF64() || fact.extents.back() != Extent::other ||
        type.isDynamicDim(type.getRank() - 1) ||
        tokenDim(fact.extents) != type.getRank() - 2 || type.getRank() > 3)
      return refuse(
          "must return logits of every token, a floating-point tensor "
          "[sequences, tokens, vocabulary] or [rows, vocabulary]");
    for (BlockArgument argument : entry.getArguments())
      if (rows.of(argument).past && !continued.test(argument.getArgNumber()))
        return refuse("does not return what argument " +
                      Twine(argument.getArgNumber()) +
                      ", past keys or values, became");
    return logits;
  }

  FailureOr<int64_t> findMaxSeqLen(func::FuncOp entry, const ModelSizes &sizes,
                                   std::optional<int64_t> mostPositions) {
    int64_t length = maxSeqLen;
    if (length == 0)
      if (auto facts =
              getOperation()->getAttrOfType<DictionaryAttr>("llm.model"))
        if (auto given = facts.getAs<IntegerAttr>("max_model_len"))
          length = given.getInt();
    if (length == 0 && mostPositions)
      length = *mostPositions;
    if (length == 0 && sizes.positions)
      length = *sizes.positions;
    if (length == 0 && sizes.ropePositions)
      length = *sizes.ropePositions;
    if (length <= 0)
      return emitError(entry.getLoc())
             << "llm-introduce-kv-cache: max-seq-len must say how long a "
                "sequence can be, since nothing in the program does";
    if (mostPositions && *mostPositions < length)
      return emitError(entry.getLoc())
             << kCannotBeStep << "tells " << *mostPositions
             << " positions apart, but max-seq-len is " << length;
    if (sizes.positions && *sizes.positions < length)
      return emitError(sizes.table)
             << kCannotBeStep << "a table has room for " << *sizes.positions
             << " positions, but max-seq-len is " << length;
    return length;
  }

  /// Keeps what the module says of the model and adds what the program shows.
  void setFacts(ModuleOp module, const Planner &planner, PagedKVCacheType cache,
                func::FuncOp step) {
    Builder b(&getContext());
    NamedAttrList facts;
    if (auto given = module->getAttrOfType<DictionaryAttr>("llm.model"))
      facts.append(given.begin(), given.end());
    auto setDefault = [&](StringRef name, Attribute value) {
      if (!facts.get(name))
        facts.set(name, value);
    };
    const ModelSizes &sizes = planner.sizes;
    auto logits = cast<RankedTensorType>(step.getResultTypes()[0]);
    AttentionOp attention = sizes.attention;
    Type dtype = sizes.dtype ? sizes.dtype : typeOf(attention).getElementType();
    std::string name;
    llvm::raw_string_ostream(name) << dtype;
    setDefault("architecture", b.getStringAttr("causal_lm"));
    facts.set("vocab_size", b.getI64IntegerAttr(logits.getDimSize(1)));
    int64_t heads = typeOf(attention.getQuery()).getDimSize(2);
    facts.set("hidden_size",
              b.getI64IntegerAttr(sizes.hidden ? sizes.hidden
                                               : heads * cache.getHeadDim()));
    facts.set("num_layers", b.getI64IntegerAttr(cache.getLayers()));
    facts.set("num_heads", b.getI64IntegerAttr(heads));
    facts.set("num_kv_heads", b.getI64IntegerAttr(cache.getKvHeads()));
    facts.set("head_dim", b.getI64IntegerAttr(cache.getHeadDim()));
    setDefault("dtype", b.getStringAttr(name));
    facts.set("max_model_len", b.getI64IntegerAttr(cache.getMaxSeqLen()));
    setDefault("eos_token_ids", b.getArrayAttr({}));
    module->setAttr("llm.model", facts.getDictionary(&getContext()));
  }

  /// Removes the functions over whole sequences, where nothing else calls them.
  void replaceFunctions(ModuleOp module, func::FuncOp entry,
                        WrittenStep &written) {
    entry.erase();
    written.step.setName("step");
    size_t left;
    do {
      left = written.layers.size();
      written.layers.remove_if([&](auto &replacement) {
        auto &[old, functions] = replacement;
        if (!SymbolTable::symbolKnownUseEmpty(old, module))
          return false;
        StringAttr name = cast<func::FuncOp>(old).getSymNameAttr();
        old->erase();
        // The first of them gets its name.
        (void)SymbolTable::replaceAllSymbolUses(functions.front(), name,
                                                module);
        functions.front().setSymNameAttr(name);
        return true;
      });
    } while (written.layers.size() < left);
  }

  LogicalResult cleanUp(ArrayRef<func::FuncOp> functions) {
    OpPassManager manager(func::FuncOp::getOperationName());
    manager.addPass(createCanonicalizerPass());
    manager.addPass(createCSEPass());
    for (func::FuncOp function : functions)
      if (failed(runPipeline(manager, function)))
        return failure();
    return success();
  }
};
} // namespace