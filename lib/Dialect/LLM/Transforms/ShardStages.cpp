// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Cuts a step into the stages of a pipeline: each a function with its own
// layers of the cache, which takes the hidden states of the one before. The cut
// is where the fewest numbers cross, which is between two layers.

#include "Shards.h"
#include "llmir/Dialect/LLM/LLM.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/IR/AttrTypeSubElements.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Transforms/RegionUtils.h"
#include "llvm/ADT/SetVector.h"

#include <limits>

using namespace mlir;
using namespace llmir::llm;

/// What is made again in every stage that reads it.
static bool isRemade(Operation *op) {
  return op->getNumOperands() == 0 && op->getNumRegions() == 0 &&
         isMemoryEffectFree(op);
}

/// The layer of an op that works on a cache: an operand, absent for layer 0.
static std::optional<Value> layerOf(Operation *op) {
  if (auto append = dyn_cast<AppendKVOp>(op))
    return append.getLayer();
  if (auto append = dyn_cast<RopeAppendKVOp>(op))
    return append.getLayer();
  if (auto lookup = dyn_cast<LookupKVOp>(op))
    return lookup.getLayer();
  if (auto attention = dyn_cast<PagedAttentionOp>(op))
    return attention.getLayer();
  return std::nullopt;
}

/// Every value that an op reads, its regions included.
static void forEachRead(Operation *op, llvm::function_ref<void(Value)> visit) {
  for (Value operand : op->getOperands())
    visit(operand);
  visitUsedValuesDefinedAbove(op->getRegions(),
                              [&](OpOperand *use) { visit(use->get()); });
}

namespace {
class StageCutter {
public:
  StageCutter(ModuleOp module, int64_t stages)
      : module(module), stages(stages), symbols(module) {}

  LogicalResult run() {
    step = module.lookupSymbol<func::FuncOp>("step");
    if (!step || step.isExternal())
      return module.emitError("has no function `step` whose layers could be "
                              "divided into stages");
    if (!step.getBody().hasOneBlock())
      return step.emitError("cannot be divided into stages: it has more than "
                            "one block");
    if (failed(findCache()) || failed(findLayers()) || failed(findCuts()))
      return failure();
    for (int64_t stage = 0; stage < stages; ++stage)
      if (failed(makeStage(stage)))
        return failure();
    remakeStep();
    SymbolUserMap users(collection, module);
    for (Operation *function : replaced)
      if (users.useEmpty(function))
        function->erase();
    return success();
  }

private:
  LogicalResult findCache() {
    for (BlockArgument argument : step.getArguments())
      if (isa<PagedKVCacheType>(argument.getType())) {
        if (cache)
          return step.emitError("cannot be divided into stages: it has more "
                                "than one cache");
        cache = argument;
      }
    if (!cache)
      return step.emitError("cannot be divided into stages: it has no cache "
                            "that says what its layers are");
    layers = cast<PagedKVCacheType>(cache.getType()).getLayers();
    if (layers < stages)
      return step.emitError()
             << "its " << layers << " layers cannot be divided "
             << "into " << stages << " stages";
    return success();
  }

  int64_t firstLayer(int64_t stage) const { return stage * layers / stages; }

  int64_t stageOf(int64_t layer) const {
    int64_t stage = 0;
    while (stage + 1 < stages && firstLayer(stage + 1) <= layer)
      ++stage;
    return stage;
  }

  /// The numbers of the arguments that a function takes for layers of a cache.
  FailureOr<SmallVector<unsigned>> layerArguments(func::FuncOp function) {
    llvm::SetVector<unsigned> numbers;
    auto add = [&](Operation *op, Value layer) -> LogicalResult {
      auto argument = dyn_cast_or_null<BlockArgument>(layer);
      if (!argument || argument.getOwner() != &function.front())
        return op->emitError("cannot be divided into stages: the layer must be "
                             "an argument of its function");
      numbers.insert(argument.getArgNumber());
      return success();
    };
    WalkResult result = function.walk([&](Operation *op) -> WalkResult {
      if (std::optional<Value> layer = layerOf(op))
        return add(op, *layer);
      auto call = dyn_cast<func::CallOp>(op);
      if (!call || !usesCache(op))
        return success();
      auto callee = symbols.lookup<func::FuncOp>(call.getCallee());
      if (!callee || callee.isExternal() || callee == function)
        return op->emitError("cannot be divided into stages: what it calls "
                             "has no body");
      FailureOr<SmallVector<unsigned>> inner = layerArguments(callee);
      if (failed(inner))
        return failure();
      for (unsigned number : *inner)
        if (failed(add(op, call.getOperand(number))))
          return failure();
      return success();
    });
    if (result.wasInterrupted())
      return failure();
    return SmallVector<unsigned>(numbers.begin(), numbers.end());
  }

  static bool usesCache(Operation *op) {
    return llvm::any_of(op->getOperandTypes(),
                        [](Type type) { return isa<PagedKVCacheType>(type); });
  }

  /// Finds the stage of every op that works on the cache, and its operands that
  /// are layers.
  LogicalResult findLayers() {
    int64_t last = 0;
    for (Operation &op : step.front().without_terminator()) {
      if (!isRemade(&op))
        order.push_back(&op);
      if (!usesCache(&op)) {
        WalkResult inside = op.walk([&](Operation *inner) {
          return usesCache(inner) ? WalkResult::interrupt()
                                  : WalkResult::advance();
        });
        if (inside.wasInterrupted())
          return op.emitError("cannot be divided into stages: it works on the "
                              "cache inside of a region");
        continue;
      }
      SmallVector<unsigned> operands;
      if (auto call = dyn_cast<func::CallOp>(op)) {
        auto callee = symbols.lookup<func::FuncOp>(call.getCallee());
        if (!callee || callee.isExternal())
          return op.emitError("cannot be divided into stages: what it calls "
                              "has no body");
        FailureOr<SmallVector<unsigned>> numbers = layerArguments(callee);
        if (failed(numbers))
          return failure();
        operands = *numbers;
      } else if (std::optional<Value> layer = layerOf(&op)) {
        if (*layer)
          operands.push_back(llvm::find(op.getOperands(), *layer).getIndex());
      } else {
        return op.emitError("cannot be divided into stages: it is no op of "
                            "layers of the cache");
      }
      int64_t stage = -1;
      for (unsigned operand : operands) {
        std::optional<int64_t> layer =
            getConstantIntValue(op.getOperand(operand));
        if (!layer || *layer < 0 || *layer >= layers)
          return op.emitError("cannot be divided into stages: its layer must "
                              "be a constant, and one of the cache's");
        if (stage >= 0 && stageOf(*layer) != stage)
          return op.emitError("cannot be divided into stages: it works on "
                              "layers of two of them");
        stage = stageOf(*layer);
      }
      stage = std::max<int64_t>(stage, 0);
      if (stage < last)
        return op.emitError("cannot be divided into stages: its layer comes "
                            "after a later one");
      last = stage;
      layerOperands[&op] = operands;
      cacheStages[&op] = stage;
    }
    return success();
  }

  /// Finds where stages begin: between the last op on the cache of one and the
  /// first of the next, where the fewest bytes cross.
  LogicalResult findCuts() {
    DenseMap<Operation *, size_t> place;
    for (auto [index, op] : llvm::enumerate(order))
      place[op] = index;
    // Where each result is read last.
    SmallVector<size_t> lastRead(order.size(), 0);
    auto read = [&](Value value, size_t by) {
      if (auto known = place.find(value.getDefiningOp()); known != place.end())
        lastRead[known->second] = std::max(lastRead[known->second], by);
    };
    for (auto [index, op] : llvm::enumerate(order))
      forEachRead(op, [&, index = index](Value value) { read(value, index); });
    for (Value value : step.front().getTerminator()->getOperands())
      read(value, order.size());

    cuts.push_back(0);
    for (int64_t stage = 1; stage < stages; ++stage) {
      size_t first = cuts.back(), end = order.size();
      for (auto [index, op] : llvm::enumerate(order))
        if (auto known = cacheStages.find(op); known != cacheStages.end()) {
          if (known->second < stage)
            first = index + 1;
          else
            end = std::min<size_t>(end, index);
        }
      if (end == order.size())
        return step.emitError()
               << "cannot be divided into " << stages
               << " stages: no op works on layer " << firstLayer(stage);
      int64_t fewest = std::numeric_limits<int64_t>::max();
      size_t best = end;
      for (size_t cut = first; cut <= end; ++cut) {
        int64_t bytes = 0;
        for (size_t index = 0; index < cut; ++index)
          if (lastRead[index] >= cut)
            for (Value result : order[index]->getResults())
              bytes += bytesOf(result.getType());
        if (bytes < fewest)
          std::tie(fewest, best) = std::tuple(bytes, cut);
      }
      cuts.push_back(best);
    }
    cuts.push_back(order.size());
    return success();
  }

  /// The bytes of a tensor for each token.
  static int64_t bytesOf(Type type) {
    auto tensor = dyn_cast<RankedTensorType>(type);
    if (!tensor)
      return 0;
    int64_t bits = tensor.getElementType().isIntOrFloat()
                       ? tensor.getElementTypeBitWidth()
                       : 64;
    for (int64_t size : tensor.getShape())
      bits *= ShapedType::isDynamic(size) ? 1 : size;
    return llvm::divideCeil(bits, 8);
  }

  PagedKVCacheType cacheOf(int64_t stage) const {
    auto type = cast<PagedKVCacheType>(cache.getType());
    return PagedKVCacheType::get(type.getContext(), type.getElementType(),
                                 firstLayer(stage + 1) - firstLayer(stage),
                                 type.getKvHeads(), type.getHeadDim(),
                                 type.getBlockSize(), type.getMaxSeqLen());
  }

  /// The function that `callee` is over the cache of a stage.
  func::FuncOp calleeOf(func::FuncOp callee, PagedKVCacheType type) {
    auto [known, isNew] = callees.try_emplace({callee, type}, nullptr);
    if (!isNew)
      return known->second;
    replaced.insert(callee);
    auto copy = cast<func::FuncOp>(callee->clone());
    symbols.insert(copy, std::next(callee->getIterator()));
    callees[{callee, type}] = copy;
    AttrTypeReplacer replacer;
    replacer.addReplacement(
        [&](PagedKVCacheType) -> std::optional<Type> { return type; });
    replacer.recursivelyReplaceElementsIn(copy, /*replaceAttrs=*/true,
                                          /*replaceLocs=*/false,
                                          /*replaceTypes=*/true);
    copy.walk([&](func::CallOp call) {
      if (usesCache(call))
        call.setCallee(
            calleeOf(symbols.lookup<func::FuncOp>(call.getCallee()), type)
                .getName());
    });
    return copy;
  }

  LogicalResult makeStage(int64_t stage) {
    ArrayRef<Operation *> ops =
        ArrayRef(order).slice(cuts[stage], cuts[stage + 1] - cuts[stage]);
    DenseSet<Operation *> inside(ops.begin(), ops.end());
    Operation *terminator = step.front().getTerminator();

    // What comes from other stages first, then the step's arguments in their
    // order, then the cache.
    llvm::SetVector<Value> crossing, remade;
    DenseSet<Value> arguments;
    Value cacheIn, cacheOut;
    for (Operation *op : ops)
      forEachRead(op, [&](Value value) {
        Operation *maker = value.getDefiningOp();
        if (isa<PagedKVCacheType>(value.getType())) {
          if (!maker || !inside.contains(maker))
            cacheIn = value;
        } else if (!maker) {
          if (cast<BlockArgument>(value).getOwner() == &step.front())
            arguments.insert(value);
        } else if (isRemade(maker) && maker->getBlock() == &step.front()) {
          remade.insert(value);
        } else if (!inside.contains(maker) &&
                   maker->getBlock() == &step.front()) {
          crossing.insert(value);
        }
      });
    llvm::SetVector<Value> results;
    for (Operation *op : ops)
      for (Value result : op->getResults()) {
        bool isRead = llvm::any_of(result.getUsers(), [&](Operation *user) {
          Operation *outer = step.front().findAncestorOpInBlock(*user);
          return !inside.contains(outer) || outer == terminator;
        });
        if (isa<PagedKVCacheType>(result.getType())) {
          if (isRead)
            cacheOut = result;
        } else if (isRead) {
          results.insert(result);
        }
      }

    PagedKVCacheType cacheType = cacheOf(stage);
    StageCall call;
    call.operands = llvm::to_vector(crossing);
    for (BlockArgument argument : step.getArguments())
      if (arguments.contains(argument))
        call.operands.push_back(argument);
    call.results = llvm::to_vector(results);
    SmallVector<Type> inputs, outputs;
    for (Value value : call.operands)
      inputs.push_back(value.getType());
    for (Value value : call.results)
      outputs.push_back(value.getType());
    inputs.push_back(cacheType);
    outputs.push_back(cacheType);

    OpBuilder builder(step);
    call.function = builder.create<func::FuncOp>(
        step.getLoc(), "stage" + std::to_string(stage),
        builder.getFunctionType(inputs, outputs));
    if (symbols.lookup(call.function.getName()))
      return step.emitError()
             << "there is a function `" << call.function.getName()
             << "` already, which stages would be called";
    call.function->remove();
    symbols.insert(call.function, step->getIterator());
    Block *block = call.function.addEntryBlock();
    builder.setInsertionPointToStart(block);
    IRMapping map;
    for (auto [value, argument] :
         llvm::zip(call.operands, block->getArguments()))
      map.map(value, argument);
    if (cacheIn)
      map.map(cacheIn, block->getArguments().back());
    // In the order of the step, each before what reads it.
    DenseSet<Operation *> makers;
    for (Value value : remade)
      makers.insert(value.getDefiningOp());
    for (Operation &op : step.front().without_terminator())
      if (inside.contains(&op) || makers.contains(&op))
        if (failed(copy(builder, &op, map, stage)))
          return failure();
    SmallVector<Value> returned;
    for (Value value : call.results)
      returned.push_back(map.lookup(value));
    returned.push_back(cacheOut ? map.lookup(cacheOut)
                                : block->getArguments().back());
    builder.create<func::ReturnOp>(step.getLoc(), returned);
    calls.push_back(std::move(call));
    return success();
  }

  LogicalResult copy(OpBuilder &builder, Operation *op, IRMapping &map,
                     int64_t stage) {
    Operation *made = builder.clone(*op, map);
    auto layer = layerOperands.find(op);
    if (layer == layerOperands.end())
      return success();
    for (unsigned operand : layer->second) {
      OpBuilder before(made);
      int64_t number = *getConstantIntValue(op->getOperand(operand));
      made->setOperand(operand, before.create<arith::ConstantIndexOp>(
                                    op->getLoc(), number - firstLayer(stage)));
    }
    for (OpResult result : made->getResults())
      if (isa<PagedKVCacheType>(result.getType()))
        result.setType(cacheOf(stage));
    if (auto call = dyn_cast<func::CallOp>(made))
      call.setCallee(calleeOf(symbols.lookup<func::FuncOp>(call.getCallee()),
                              cacheOf(stage))
                         .getName());
    return success();
  }

  /// The step calls the stages one after the other, with a cache for each.
  void remakeStep() {
    Block *block = &step.front();
    unsigned number = cast<BlockArgument>(cache).getArgNumber();
    auto ending = cast<func::ReturnOp>(block->getTerminator());
    OpBuilder builder(ending);
    SmallVector<Value> caches;
    for (int64_t stage = 0; stage < stages; ++stage)
      caches.push_back(block->insertArgument(number + 1 + stage, cacheOf(stage),
                                             cache.getLoc()));
    IRMapping map;
    for (auto [stage, call] : llvm::enumerate(calls)) {
      SmallVector<Value> operands =
          llvm::map_to_vector(call.operands, [&](Value value) {
            return map.lookupOrDefault(value);
          });
      operands.push_back(caches[stage]);
      auto made =
          builder.create<func::CallOp>(step.getLoc(), call.function, operands);
      for (auto [value, result] : llvm::zip(call.results, made.getResults()))
        map.map(value, result);
      caches[stage] = made.getResults().back();
    }
    SmallVector<Value> returned;
    for (Value value : ending.getOperands()) {
      if (isa<PagedKVCacheType>(value.getType()))
        llvm::append_range(returned, caches);
      else
        returned.push_back(map.lookupOrDefault(value));
    }
    ending.getOperandsMutable().assign(returned);
    for (Operation *op : llvm::reverse(order))
      op->erase();
    block->eraseArgument(number);
    // They read nothing, so that their order does not matter.
    for (Operation &op :
         llvm::make_early_inc_range(block->without_terminator()))
      if (isRemade(&op) && op.use_empty())
        op.erase();
    SmallVector<Type> types;
    for (Value value : returned)
      types.push_back(value.getType());
    step.setType(
        FunctionType::get(step.getContext(), block->getArgumentTypes(), types));
  }

  /// A stage, and what of the step it takes and makes, less the cache.
  struct StageCall {
    func::FuncOp function;
    SmallVector<Value> operands, results;
  };

  ModuleOp module;
  int64_t stages;
  SymbolTable symbols;
  SymbolTableCollection collection;
  func::FuncOp step;
  Value cache;
  int64_t layers = 0;
  /// The ops of the step but those that are made again, and where stages begin.
  SmallVector<Operation *> order;
  SmallVector<size_t> cuts;
  DenseMap<Operation *, SmallVector<unsigned>> layerOperands;
  DenseMap<Operation *, int64_t> cacheStages;
  DenseMap<std::pair<Operation *, Type>, func::FuncOp> callees;
  llvm::SetVector<Operation *> replaced;
  SmallVector<StageCall> calls;
};
} // namespace

LogicalResult llmir::llm::cutStages(ModuleOp module, int64_t stages) {
  return StageCutter(module, stages).run();
}
