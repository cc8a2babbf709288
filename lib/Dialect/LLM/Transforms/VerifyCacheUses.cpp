// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A cache is a value, yet gigabytes that nobody wants copied. This proof is
// what makes it legal to append in place: each cache value is consumed at most
// once, after everything that reads it. A call consumes the caches that its
// callee consumes, so the proof for each function is enough for the whole
// program.

#include "llmir/Dialect/LLM/LLM.h"
#include "llmir/Dialect/LLM/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace llmir::llm {
#define GEN_PASS_DEF_LLMVERIFYCACHEUSES
#include "llmir/Dialect/LLM/Passes.h.inc"
} // namespace llmir::llm

using namespace mlir;
using namespace llmir::llm;

static bool isCache(Value value) {
  return isa<PagedKVCacheType>(value.getType());
}

namespace {
struct VerifyCacheUsesPass
    : llmir::llm::impl::LLMVerifyCacheUsesBase<VerifyCacheUsesPass> {
  void runOnOperation() override {
    auto check = [&](ValueRange values) {
      for (Value value : values)
        if (isCache(value) && failed(verifyUses(value)))
          signalPassFailure();
    };
    getOperation().walk([&](Operation *op) {
      check(op->getResults());
      for (Region &region : op->getRegions())
        for (Block &block : region)
          check(block.getArguments());
    });
    markAllAnalysesPreserved();
  }

private:
  /// Whether `use` may change the cache or pass it on under another name.
  bool consumes(OpOperand &use) {
    Operation *user = use.getOwner();
    if (isa<LookupKVOp, PagedAttentionOp>(user))
      return false;
    auto call = dyn_cast<func::CallOp>(user);
    if (!call)
      return true;
    auto callee = SymbolTable::lookupNearestSymbolFrom<func::FuncOp>(
        call, call.getCalleeAttr());
    if (!callee || callee.isExternal())
      return true;
    BlockArgument argument = callee.getArgument(use.getOperandNumber());
    auto [known, isNew] = consumedArguments.try_emplace(argument, true);
    if (isNew) {
      bool consumed = llvm::any_of(argument.getUses(), [&](OpOperand &inner) {
        return consumes(inner);
      });
      // What is looked into on the way may have grown the map.
      consumedArguments[argument] = consumed;
      return consumed;
    }
    return known->second;
  }

  LogicalResult verifyUses(Value cache) {
    SmallVector<OpOperand *> consumers;
    for (OpOperand &use : cache.getUses())
      if (consumes(use))
        consumers.push_back(&use);
    if (consumers.empty())
      return success();
    Block *block = cache.getParentBlock();
    for (OpOperand *use : consumers)
      if (use->getOwner()->getBlock() != block)
        return use->getOwner()->emitError(
            "consumes a cache from outside of its block, which may run more "
            "than once");
    llvm::sort(consumers, [](OpOperand *a, OpOperand *b) {
      return a->getOwner() != b->getOwner() &&
             a->getOwner()->isBeforeInBlock(b->getOwner());
    });
    Operation *consumer = consumers.front()->getOwner();
    if (consumers.size() > 1) {
      InFlightDiagnostic diagnostic = consumers[1]->getOwner()->emitError(
          "consumes a cache that is consumed already; an append can only "
          "happen in place if it is the last use of its operand");
      diagnostic.attachNote(consumer->getLoc()) << "consumed here";
      return diagnostic;
    }
    for (OpOperand &use : cache.getUses()) {
      // An op that reads what it consumes reads too late as well.
      Operation *user = use.getOwner();
      Operation *ancestor = block->findAncestorOpInBlock(*user);
      if (&use == consumers.front() || (ancestor && ancestor != consumer &&
                                        ancestor->isBeforeInBlock(consumer)))
        continue;
      InFlightDiagnostic diagnostic = user->emitError(
          "reads a cache that may have been consumed; reads must come first");
      diagnostic.attachNote(consumer->getLoc()) << "consumed here";
      return diagnostic;
    }
    return success();
  }

  /// For each argument looked into, whether its function consumes it. Recursion
  /// counts as consuming.
  DenseMap<Value, bool> consumedArguments;
};
} // namespace
