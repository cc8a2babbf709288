// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A cache is a value, yet gigabytes that nobody wants copied. This proof is what
// makes it legal to append in place: each cache value is consumed at most once,
// after everything that reads it. A call consumes the caches it is given if it
// returns one, so the proof for each function is enough for the whole program.

#include "llmir/Dialect/LLM/LLM.h"
#include "llmir/Dialect/LLM/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Dominance.h"

namespace llmir::llm {
#define GEN_PASS_DEF_LLMVERIFYCACHEUSES
#include "llmir/Dialect/LLM/Passes.h.inc"
} // namespace llmir::llm

using namespace mlir;
using namespace llmir::llm;

static bool isCache(Value value) {
  return isa<PagedKVCacheType>(value.getType());
}

/// Whether `op` only reads the caches it is given. What else is done with one
/// (returning it, passing it on) ends its life here.
static bool onlyReads(Operation *op) {
  return isa<LookupKVOp, PagedAttentionOp>(op) ||
         (isa<func::CallOp>(op) && llvm::none_of(op->getResults(), isCache));
}

static LogicalResult verifyUses(Value cache, DominanceInfo &dominance) {
  Operation *consumer = nullptr;
  for (OpOperand &use : cache.getUses()) {
    Operation *user = use.getOwner();
    if (onlyReads(user))
      continue;
    if (consumer) {
      InFlightDiagnostic diagnostic =
          user->emitError("consumes a cache that is consumed already; an "
                          "append can only happen in place if it is the last "
                          "use of its operand");
      diagnostic.attachNote(consumer->getLoc()) << "consumed here";
      return diagnostic;
    }
    consumer = user;
  }
  if (!consumer)
    return success();
  if (consumer->getParentRegion() != cache.getParentRegion())
    return consumer->emitError("consumes a cache from outside of its region, "
                               "which may run more than once");
  for (Operation *user : cache.getUsers()) {
    if (user == consumer)
      continue;
    Operation *ancestor = consumer->getParentRegion()->findAncestorOpInRegion(
        *user);
    if (ancestor != consumer && dominance.properlyDominates(ancestor, consumer))
      continue;
    InFlightDiagnostic diagnostic = user->emitError(
        "reads a cache that may have been consumed; reads must come first");
    diagnostic.attachNote(consumer->getLoc()) << "consumed here";
    return diagnostic;
  }
  return success();
}

namespace {
struct VerifyCacheUsesPass
    : llmir::llm::impl::LLMVerifyCacheUsesBase<VerifyCacheUsesPass> {
  void runOnOperation() override {
    DominanceInfo &dominance = getAnalysis<DominanceInfo>();
    auto check = [&](ValueRange values) {
      for (Value value : values)
        if (isCache(value) && failed(verifyUses(value, dominance)))
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
};
} // namespace
