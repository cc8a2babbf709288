// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Makes functions of layers. Exporters unroll them, so that everything after
// would take longer for every layer that a model has; a program of ours has
// each distinct layer once, and calls it.

#include "llmir/Conversion/Passes.h"
#include "llmir/Dialect/LLM/LLM.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Transforms/RegionUtils.h"
#include "llvm/ADT/Hashing.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"

namespace llmir {
#define GEN_PASS_DEF_OUTLINELAYERS
#include "llmir/Conversion/Passes.h.inc"
} // namespace llmir

using namespace mlir;
using namespace llmir;

/// What an op reads, the values that its regions capture among them.
static SmallVector<Value> valuesReadBy(Operation *op) {
  SmallVector<Value> values(op->getOperands());
  llvm::SetVector<Value> captured;
  getUsedValuesDefinedAbove(op->getRegions(), captured);
  llvm::append_range(values, captured);
  return values;
}

/// Whether an op is as well made again as passed on: a number, or memory.
static bool isCheap(Operation *op) {
  return op && op->getNumRegions() == 0 && !isa<llm::ParameterOp>(op) &&
         (op->hasTrait<OpTrait::ConstantLike>() ||
          isa<tensor::EmptyOp, tensor::FromElementsOp, arith::IndexCastOp,
              arith::MulIOp, arith::AddIOp>(op));
}

namespace {
/// Some ops of a block that follow each other, and what they read from outside,
/// in the order of its first use.
struct Segment {
  ArrayRef<Operation *> ops;
  llvm::MapVector<Value, unsigned> inputs;
  DenseMap<Value, unsigned> results;
  SmallVector<Value> outputs;

  explicit Segment(ArrayRef<Operation *> ops) : ops(ops) {
    llvm::DenseSet<Operation *> inside(ops.begin(), ops.end());
    for (Operation *op : ops) {
      for (Value value : valuesReadBy(op))
        if (!results.count(value))
          inputs.insert({value, inputs.size()});
      for (Value result : op->getResults())
        results.try_emplace(result, results.size());
    }
    for (Operation *op : ops)
      for (Value result : op->getResults())
        if (llvm::any_of(result.getUsers(), [&](Operation *user) {
              return !inside.contains(
                  op->getBlock()->findAncestorOpInBlock(*user));
            }))
          outputs.push_back(result);
  }

  /// Whether another one computes the same from other values.
  bool isLike(const Segment &other) const {
    if (ops.size() != other.ops.size() ||
        inputs.size() != other.inputs.size() ||
        outputs.size() != other.outputs.size())
      return false;
    DenseMap<Value, Value> within;
    auto check = [&](Value a, Value b) -> LogicalResult {
      if (auto it = within.find(a); it != within.end())
        return success(it->second == b);
      if (a.getType() != b.getType())
        return failure();
      const auto *inA = inputs.find(a);
      const auto *inB = other.inputs.find(b);
      if ((inA == inputs.end()) != (inB == other.inputs.end()))
        return failure();
      if (inA != inputs.end())
        return success(inA->second == inB->second);
      auto resultA = results.find(a), resultB = other.results.find(b);
      return success(resultA != results.end() &&
                     resultB != other.results.end() &&
                     resultA->second == resultB->second);
    };
    auto mark = [&](Value a, Value b) { within[a] = b; };
    for (auto [a, b] : llvm::zip(ops, other.ops))
      if (!OperationEquivalence::isEquivalentTo(
              a, b, check, mark, OperationEquivalence::IgnoreLocations))
        return false;
    return llvm::all_of(llvm::zip(outputs, other.outputs), [&](auto pair) {
      return results.lookup(std::get<0>(pair)) ==
             other.results.lookup(std::get<1>(pair));
    });
  }
};

class Outliner {
public:
  explicit Outliner(func::FuncOp function) : function(function) {}

  /// Returns how many functions have been made, and how many calls.
  std::pair<int64_t, int64_t> run() {
    separate();
    SmallVector<Segment> layers = findLayers();
    if (layers.size() < 2)
      return {0, 0};
    // Distinct layers become distinct functions.
    SmallVector<SmallVector<const Segment *>> groups;
    for (const Segment &layer : layers) {
      auto *group = llvm::find_if(
          groups, [&](auto &group) { return group.front()->isLike(layer); });
      if (group == groups.end())
        groups.push_back({&layer});
      else
        group->push_back(&layer);
    }
    // As many functions as layers would help nobody.
    if (groups.size() == layers.size())
      return {0, 0};
    for (auto &group : groups)
      outline(group);
    // The bodies go once nobody compares them any more.
    for (const Segment &layer : llvm::reverse(layers))
      for (Operation *op : llvm::reverse(layer.ops))
        op->erase();
    return {groups.size(), layers.size()};
  }

private:
  /// Moves what does not depend on the tokens' states to the head of the
  /// function, but what prepares a parameter for one op to that op. What is
  /// left follows in `chain`.
  void separate() {
    llvm::DenseSet<Value> prepared;
    SmallVector<Operation *> common;
    for (Operation &op : function.front().without_terminator()) {
      SmallVector<Value> values = valuesReadBy(&op);
      bool isState = isa<llm::EmbeddingOp, llm::LinearOp, llm::RMSNormOp,
                         llm::LayerNormOp>(op) ||
                     llvm::any_of(values, [&](Value value) {
                       return states.contains(value);
                     });
      bool isPrepared = !isState && llvm::any_of(values, [&](Value value) {
        return value.getDefiningOp<llm::ParameterOp>() ||
               prepared.contains(value);
      });
      for (Value result : op.getResults()) {
        if (isState)
          states.insert(result);
        if (isPrepared)
          prepared.insert(result);
      }
      (isState ? chain : common).push_back(&op);
    }
    if (chain.empty())
      return;
    for (Operation *op : common)
      op->moveBefore(chain.front());
    for (Operation *op : llvm::reverse(common)) {
      if (op->getNumResults() != 1 || !prepared.contains(op->getResult(0)) ||
          !op->hasOneUse())
        continue;
      Operation *user =
          function.front().findAncestorOpInBlock(**op->getUsers().begin());
      if (user && llvm::any_of(user->getResults(), [&](Value result) {
            return states.contains(result);
          })) {
        op->moveBefore(user);
        states.insert(op->getResult(0));
      }
    }
    chain.clear();
    for (Operation &op : function.front().without_terminator())
      if (llvm::any_of(op.getResults(),
                       [&](Value result) { return states.contains(result); }))
        chain.push_back(&op);
  }

  /// What must be equal for two ops to be in the same place of two layers.
  static llvm::hash_code kindOf(Operation *op) {
    return llvm::hash_combine(op->getName().getAsOpaquePointer(),
                              llvm::hash_combine_range(op->result_type_begin(),
                                                       op->result_type_end()),
                              llvm::hash_combine_range(op->operand_type_begin(),
                                                       op->operand_type_end()));
  }

  /// The layers: of what repeats most, cut where least goes from one to the
  /// next.
  SmallVector<Segment> findLayers() {
    SmallVector<llvm::hash_code> kinds =
        llvm::map_to_vector(chain, [](Operation *op) { return kindOf(op); });
    size_t count = chain.size(), bestPeriod = 0, bestBegin = 0, bestLength = 0,
           bestCovered = 0;
    for (size_t period = 2; period <= count / 2; ++period) {
      size_t run = 0;
      for (size_t i = 0; i + period < count; ++i) {
        run = kinds[i] == kinds[i + period] ? run + 1 : 0;
        size_t length = run + period;
        size_t begin = i + 1 - run;
        bool isLonger = period == bestPeriod && begin == bestBegin;
        if (run < period ||
            (!isLonger && length / period * period <= bestCovered))
          continue;
        bestCovered = length / period * period;
        bestPeriod = period;
        bestLength = length;
        bestBegin = begin;
      }
    }
    if (bestPeriod == 0)
      return {};
    SmallVector<Segment> best;
    size_t bestCut = 0;
    for (size_t shift = 0; shift < bestPeriod; ++shift) {
      if (bestLength < shift + 2 * bestPeriod)
        break;
      SmallVector<Segment> layers;
      for (size_t at = shift; at + bestPeriod <= bestLength; at += bestPeriod)
        layers.emplace_back(ArrayRef(chain).slice(bestBegin + at, bestPeriod));
      size_t cut = 0;
      for (const Segment &layer : layers) {
        size_t crossing = layer.outputs.size();
        for (auto [value, index] : layer.inputs)
          crossing += isState(value);
        cut = std::max(cut, crossing);
      }
      if (best.empty() || cut < bestCut ||
          (cut == bestCut && layers.size() > best.size())) {
        best = std::move(layers);
        bestCut = cut;
      }
    }
    // A few ops that happen to repeat are no layer.
    if (!best.empty() && llvm::count_if(best[0].ops, [](Operation *op) {
                           return isa<llm::LinearOp>(op);
                         }) < 2)
      return {};
    return best;
  }

  bool isState(Value value) const { return states.contains(value); }

  void outline(ArrayRef<const Segment *> layers) {
    const Segment &first = *layers.front();
    SmallVector<Value> inputs;
    for (auto [value, index] : first.inputs)
      inputs.push_back(value);
    // What is the same for all layers and cheap is made within the function.
    SmallVector<bool> isMade(inputs.size());
    for (auto [i, value] : llvm::enumerate(inputs))
      isMade[i] = isCheap(value.getDefiningOp()) &&
                  llvm::all_of(layers, [&, i = i](const Segment *layer) {
                    return (layer->inputs.begin() + i)->first == inputs[i];
                  });
    llvm::SetVector<Operation *> made;
    SmallVector<Value> shared;
    for (auto [i, value] : llvm::enumerate(inputs))
      if (isMade[i])
        collectMade(value, made, shared);

    // States come first.
    SmallVector<unsigned> passed;
    for (bool states : {true, false})
      for (auto [i, value] : llvm::enumerate(inputs))
        if (!isMade[i] && isState(value) == states)
          passed.push_back(i);

    SmallVector<Type> argumentTypes, resultTypes;
    for (unsigned i : passed)
      argumentTypes.push_back(inputs[i].getType());
    for (Value value : shared)
      argumentTypes.push_back(value.getType());
    for (Value value : first.outputs)
      resultTypes.push_back(value.getType());

    OpBuilder builder(function);
    Location loc = function.getLoc();
    auto layer = builder.create<func::FuncOp>(
        loc, "layer", builder.getFunctionType(argumentTypes, resultTypes));
    layer.setPrivate();
    SymbolTable(function->getParentOfType<ModuleOp>()).insert(layer);
    Block *body = layer.addEntryBlock();
    builder.setInsertionPointToStart(body);
    IRMapping mapping;
    unsigned next = 0;
    for (unsigned i : passed) {
      // Ops read what calls return by now.
      mapping.map(inputs[i], body->getArgument(next));
      mapping.map(current(inputs[i]), body->getArgument(next++));
    }
    for (Value value : shared)
      mapping.map(value, body->getArgument(next++));
    for (Operation *op : made)
      builder.clone(*op, mapping);
    for (Operation *op : first.ops)
      builder.clone(*op, mapping);
    builder.create<func::ReturnOp>(
        loc, llvm::map_to_vector(first.outputs, [&](Value value) {
          return mapping.lookup(value);
        }));

    for (const Segment *segment : layers) {
      OpBuilder caller(segment->ops.back());
      SmallVector<Value> operands;
      for (unsigned i : passed)
        operands.push_back(current((segment->inputs.begin() + i)->first));
      for (Value value : shared)
        operands.push_back(current(value));
      auto call = caller.create<func::CallOp>(segment->ops.back()->getLoc(),
                                              layer, operands);
      for (auto [output, result] :
           llvm::zip(segment->outputs, call.getResults())) {
        Value old = output;
        replaced[old] = result;
        old.replaceAllUsesWith(result);
      }
    }
  }

  /// What has taken the place of a value that another layer has returned.
  Value current(Value value) const {
    auto it = replaced.find(value);
    return it == replaced.end() ? value : it->second;
  }

  /// The ops that make a value within a function, from `shared` ones outside.
  void collectMade(Value value, llvm::SetVector<Operation *> &made,
                   SmallVector<Value> &shared) {
    Operation *op = value.getDefiningOp();
    if (!isCheap(op)) {
      if (!llvm::is_contained(shared, value))
        shared.push_back(value);
      return;
    }
    for (Value operand : op->getOperands())
      collectMade(operand, made, shared);
    made.insert(op);
  }

  func::FuncOp function;
  /// The ops that depend on tokens, in order, and what they make.
  SmallVector<Operation *> chain;
  llvm::DenseSet<Value> states;
  DenseMap<Value, Value> replaced;
};

struct OutlineLayersPass : llmir::impl::OutlineLayersBase<OutlineLayersPass> {
  void runOnOperation() override {
    for (auto function :
         llvm::to_vector(getOperation().getOps<func::FuncOp>())) {
      if (function.isExternal() || function.isPrivate() ||
          !function.getBody().hasOneBlock())
        continue;
      auto [functions, calls] = Outliner(function).run();
      numFunctions += functions;
      numCalls += calls;
    }
  }
};
} // namespace
