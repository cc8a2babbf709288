// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Divides a program for several processes, and makes of what all of them run
// the program of one, or that of all in one process.

#include "Shards.h"
#include "llmir/Dialect/LLM/LLM.h"
#include "llmir/Dialect/LLM/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/IRMapping.h"

namespace llmir::llm {
#define GEN_PASS_DEF_LLMSHARD
#define GEN_PASS_DEF_LLMSELECTSHARD
#define GEN_PASS_DEF_LLMJOINSHARDS
#include "llmir/Dialect/LLM/Passes.h.inc"
} // namespace llmir::llm

using namespace mlir;
using namespace llmir::llm;

/// What says how a program is divided: `tensor` shards, `pipeline` stages and,
/// in the program of one shard, its number.
static constexpr StringLiteral kShards = "llm.shards";

static int64_t numberIn(ModuleOp module, StringRef name, int64_t otherwise) {
  auto facts = module->getAttrOfType<DictionaryAttr>(kShards);
  auto value = facts ? facts.getAs<IntegerAttr>(name) : IntegerAttr();
  return value ? value.getInt() : otherwise;
}

/// The slices of a parameter that are one shard's.
static ArrayAttr slicesOf(ParameterOp op, int64_t shard) {
  SmallVector<Attribute> slices;
  for (SliceAttr slice : op.getSlices()->getAsRange<SliceAttr>())
    slices.push_back(slice.ofShard(shard));
  return ArrayAttr::get(op.getContext(), slices);
}

namespace {
struct ShardPass : llmir::llm::impl::LLMShardBase<ShardPass> {
  using LLMShardBase::LLMShardBase;

  void runOnOperation() override {
    if (failed(divide()))
      signalPassFailure();
  }

private:
  LogicalResult divide() {
    ModuleOp module = getOperation();
    if (tensor < 1 || pipeline < 1)
      return emitError(module.getLoc())
             << "llm-shard: tensor and pipeline must be 1 or more, but are "
             << tensor.getValue() << " and " << pipeline.getValue();
    if (module->hasAttr(kShards)) {
      if (numberIn(module, "tensor", 1) == tensor &&
          numberIn(module, "pipeline", 1) == pipeline)
        return success();
      return module.emitError("is divided into shards already");
    }
    if (tensor == 1 && pipeline == 1)
      return success();
    if (tensor > 1) {
      FailureOr<ShardCounts> counts = shardTensors(module, tensor);
      if (failed(counts))
        return failure();
      numAllReduces += counts->reductions;
      numAllGathers += counts->gathers;
      numDivided += counts->divided;
      numWhole += counts->whole;
    }
    if (pipeline > 1 && failed(cutStages(module, pipeline)))
      return failure();
    Builder builder(&getContext());
    module->setAttr(kShards, builder.getDictionaryAttr(
                                 {{builder.getStringAttr("pipeline"),
                                   builder.getI64IntegerAttr(pipeline)},
                                  {builder.getStringAttr("tensor"),
                                   builder.getI64IntegerAttr(tensor)}}));
    return success();
  }
};

struct SelectShardPass : llmir::llm::impl::LLMSelectShardBase<SelectShardPass> {
  using LLMSelectShardBase::LLMSelectShardBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    int64_t shards = numberIn(module, "tensor", 1);
    if (shard < 0 || shard >= shards) {
      module.emitError() << "there is no shard " << shard.getValue()
                         << " of this program, which is divided into "
                         << shards;
      return signalPassFailure();
    }
    if (int64_t known = numberIn(module, "shard", shard); known != shard) {
      module.emitError() << "is that of shard " << known << " already";
      return signalPassFailure();
    }
    module.walk([&](Operation *op) {
      OpBuilder builder(op);
      if (auto parameter = dyn_cast<ParameterOp>(op)) {
        if (parameter.getSlices())
          parameter.setSlicesAttr(slicesOf(parameter, shard));
      } else if (isa<ShardIndexOp>(op)) {
        op->replaceAllUsesWith(
            builder.create<arith::ConstantIndexOp>(op->getLoc(), shard));
        op->erase();
      }
    });
    if (auto facts = module->getAttrOfType<DictionaryAttr>(kShards)) {
      NamedAttrList changed(facts);
      changed.set("shard", Builder(&getContext()).getI64IntegerAttr(shard));
      module->setAttr(kShards, changed.getDictionary(&getContext()));
    }
  }
};

/// Copies every op once for each shard, in lockstep: a collective is where the
/// copies meet.
struct JoinShardsPass : llmir::llm::impl::LLMJoinShardsBase<JoinShardsPass> {
  using LLMJoinShardsBase::LLMJoinShardsBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    shards = numberIn(module, "tensor", 1);
    if (shards == 1)
      return;
    if (numberIn(module, "shard", -1) >= 0) {
      module.emitError("is the program of one shard, which does not show the "
                       "others' weights; join what --llm-shard makes");
      return signalPassFailure();
    }
    for (auto function : module.getOps<func::FuncOp>())
      if (!function.isExternal() && failed(join(function)))
        return signalPassFailure();
    NamedAttrList changed(module->getAttrOfType<DictionaryAttr>(kShards));
    changed.set("tensor", Builder(&getContext()).getI64IntegerAttr(1));
    changed.set("joined", Builder(&getContext()).getI64IntegerAttr(shards));
    module->setAttr(kShards, changed.getDictionary(&getContext()));
  }

private:
  using Copies = SmallVector<Value>;

  /// Whether callers have one value for all shards: those outside do, of
  /// everything but caches.
  static bool isShared(func::FuncOp function, Type type) {
    return !function.isPrivate() && !isa<PagedKVCacheType>(type);
  }

  SmallVector<Type> spread(func::FuncOp function, TypeRange types) {
    SmallVector<Type> result;
    for (Type type : types)
      result.append(isShared(function, type) ? 1 : shards, type);
    return result;
  }

  LogicalResult join(func::FuncOp function) {
    if (!function.getBody().hasOneBlock())
      return function.emitError("has more than one block, whose copies would "
                                "not run in lockstep");
    if (function.getArgAttrsAttr() || function.getResAttrsAttr())
      return function.emitError("has attributes of arguments or results, which "
                                "would get lost");
    Block *from = &function.front();
    auto type = FunctionType::get(&getContext(),
                                  spread(function, function.getArgumentTypes()),
                                  spread(function, function.getResultTypes()));
    auto *to = new Block();
    SmallVector<IRMapping> maps(shards);
    for (BlockArgument argument : from->getArguments()) {
      Value copy;
      for (IRMapping &map : maps) {
        if (!copy || !isShared(function, argument.getType()))
          copy = to->addArgument(argument.getType(), argument.getLoc());
        map.map(argument, copy);
      }
    }
    function.getBody().push_back(to);
    OpBuilder builder = OpBuilder::atBlockEnd(to);
    for (Operation &op : *from)
      copy(builder, function, &op, maps);
    from->dropAllReferences();
    from->dropAllDefinedValueUses();
    from->erase();
    function.setType(type);
    return success();
  }

  void copy(OpBuilder &builder, func::FuncOp function, Operation *op,
            MutableArrayRef<IRMapping> maps) {
    Location loc = op->getLoc();
    auto mapAll = [&](Value value, ValueRange copies) {
      for (auto [shard, map] : llvm::enumerate(maps))
        map.map(value, copies.size() == 1 ? copies[0] : copies[shard]);
    };
    auto copiesOf = [&](ValueRange values, bool shares) {
      Copies copies;
      for (Value value : values)
        for (IRMapping &map : maps.take_front(
                 shares && isShared(function, value.getType()) ? 1 : shards))
          copies.push_back(map.lookup(value));
      return copies;
    };
    if (auto gather = dyn_cast<FromLocalOp>(op)) {
      mapAll(gather.getResult(),
             builder
                 .create<FromLocalOp>(loc, gather.getResult().getType(),
                                      copiesOf(gather.getParts(), false))
                 ->getResults());
    } else if (auto scatter = dyn_cast<ToLocalOp>(op)) {
      SmallVector<Type> types(shards, scatter.getParts()[0].getType());
      mapAll(
          scatter.getParts()[0],
          builder
              .create<ToLocalOp>(loc, types, maps[0].lookup(scatter.getInput()))
              ->getResults());
    } else if (op->getNumOperands() == 1 &&
               isa<ShardedTensorType>(op->getOperand(0).getType())) {
      // What collectives work on is common to all.
      Operation *one = builder.clone(*op, maps[0]);
      for (auto [value, result] :
           llvm::zip(op->getResults(), one->getResults()))
        mapAll(value, ValueRange(result));
    } else if (auto call = dyn_cast<func::CallOp>(op)) {
      auto callee = SymbolTable::lookupNearestSymbolFrom<func::FuncOp>(
          function, call.getCalleeAttr());
      joinCall(builder, call, callee, maps);
    } else if (isa<func::ReturnOp>(op)) {
      builder.create<func::ReturnOp>(loc, copiesOf(op->getOperands(), true));
    } else {
      for (auto [shard, map] : llvm::enumerate(maps)) {
        Operation *made = nullptr;
        if (isa<ShardIndexOp>(op)) {
          made = builder.create<arith::ConstantIndexOp>(loc, shard);
          map.map(op->getResult(0), made->getResult(0));
          continue;
        }
        made = builder.clone(*op, map);
        if (auto parameter = dyn_cast<ParameterOp>(made))
          if (parameter.getSlices())
            parameter.setSlicesAttr(slicesOf(parameter, shard));
      }
    }
  }

  /// A call has the operands of all shards, but those that the callee's caller
  /// has one value of.
  void joinCall(OpBuilder &builder, func::CallOp call, func::FuncOp callee,
                MutableArrayRef<IRMapping> maps) {
    Copies operands;
    for (Value operand : call.getOperands())
      for (IRMapping &map :
           maps.take_front(isShared(callee, operand.getType()) ? 1 : shards))
        operands.push_back(map.lookup(operand));
    auto made = builder.create<func::CallOp>(
        call.getLoc(), call.getCallee(), spread(callee, call.getResultTypes()),
        operands);
    unsigned next = 0;
    for (Value result : call.getResults()) {
      bool shared = isShared(callee, result.getType());
      for (IRMapping &map : maps)
        map.map(result, made.getResult(shared ? next : next++));
      next += shared;
    }
  }

  int64_t shards = 1;
};
} // namespace
