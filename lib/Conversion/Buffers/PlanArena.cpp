// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Plans the memory of a step when compiling. All sizes are tokens x constant,
// so with the most tokens known every buffer has a fixed place, found greedily:
// the largest first, each at the lowest offset that is free while it is alive.

#include "../ModuleUtils.h"
#include "llmir/Conversion/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Interfaces/ViewLikeInterface.h"
#include "llvm/Support/MathExtras.h"

namespace llmir {
#define GEN_PASS_DEF_PLANARENA
#include "llmir/Conversion/Passes.h.inc"
} // namespace llmir

using namespace mlir;

static constexpr int64_t kAlignment = 64;

namespace {
struct PlacedBuffer {
  memref::AllocOp alloc;
  int64_t bytes;
  /// First and last op, by position in the function's block, that need it.
  unsigned begin, end;
  int64_t offset = 0;
};

struct PlanArenaPass : llmir::impl::PlanArenaBase<PlanArenaPass> {
  using PlanArenaBase::PlanArenaBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    // Nobody would pass a second arena.
    if (module->hasAttr("llm.arena_bytes"))
      return markAllAnalysesPreserved();
    Builder builder(&getContext());
    llmir::appendArgumentToAll(
        module, MemRefType::get({ShapedType::kDynamic}, builder.getI8Type()));
    for (auto function : module.getOps<func::FuncOp>()) {
      if (function.isExternal())
        continue;
      if (!llvm::hasSingleElement(function.getBody())) {
        function.emitError("must have a single block");
        return signalPassFailure();
      }
      if (failed(planFrame(function)))
        return signalPassFailure();
    }
    int64_t arena = 0;
    for (auto function : module.getOps<func::FuncOp>()) {
      if (function.isExternal())
        continue;
      FailureOr<int64_t> base = frameBase(function, 0);
      if (failed(base))
        return signalPassFailure();
      arena = std::max(arena, *base + frames[function].bytes);
    }
    for (auto &[function, frame] : frames)
      for (PlacedBuffer &buffer : frame.buffers)
        replaceByView(function, buffer, frame.base);
    module->setAttr("llm.arena_bytes", builder.getI64IntegerAttr(arena));
    module->setAttr("llm.max_batch_tokens",
                    builder.getI64IntegerAttr(maxBatchTokens));
  }

private:
  struct Frame {
    SmallVector<PlacedBuffer> buffers;
    int64_t bytes = 0;
    int64_t base = -1;
  };

  LogicalResult planFrame(func::FuncOp function) {
    Frame &frame = frames[function];
    Block &block = function.front();
    DenseMap<Operation *, unsigned> positions;
    for (auto [position, op] : llvm::enumerate(block))
      positions[&op] = position;

    WalkResult result = function.walk([&](memref::AllocOp alloc) {
      MemRefType type = alloc.getType();
      if (type.getNumDynamicDims() > 1 ||
          (type.getNumDynamicDims() == 1 && !type.isDynamicDim(0)) ||
          !type.getLayout().isIdentity()) {
        alloc.emitError() << "cannot plan a buffer of " << type
                          << ": only its first size may be dynamic";
        return WalkResult::interrupt();
      }
      // A buffer that is made in a loop has one place for all turns: none of
      // them sees what another one has left there, unless they run at once.
      if (alloc->getParentOfType<scf::ForallOp>()) {
        alloc.emitError("cannot plan a buffer that is made in a parallel loop");
        return WalkResult::interrupt();
      }
      std::optional<int64_t> bytes = llmir::byteSize(type, maxBatchTokens);
      if (!bytes) {
        alloc.emitError() << "cannot place a buffer of " << type;
        return WalkResult::interrupt();
      }
      unsigned position = positions[block.findAncestorOpInBlock(*alloc)];
      PlacedBuffer buffer = {
          alloc, static_cast<int64_t>(llvm::alignTo(*bytes, kAlignment)),
          position, position};
      if (failed(extendLife(alloc, block, positions, buffer)))
        return WalkResult::interrupt();
      frame.buffers.push_back(buffer);
      return WalkResult::advance();
    });
    if (result.wasInterrupted())
      return failure();

    llvm::stable_sort(frame.buffers,
                      [](const PlacedBuffer &a, const PlacedBuffer &b) {
                        return a.bytes > b.bytes;
                      });
    for (auto [index, buffer] : llvm::enumerate(frame.buffers)) {
      buffer.offset =
          lowestFree(buffer, ArrayRef(frame.buffers).take_front(index));
      frame.bytes = std::max(frame.bytes, buffer.offset + buffer.bytes);
    }
    return success();
  }

  /// Extends the life of `buffer` to all uses of it and of its views.
  LogicalResult extendLife(Value value, Block &block,
                           DenseMap<Operation *, unsigned> &positions,
                           PlacedBuffer &buffer) {
    for (Operation *user : value.getUsers()) {
      if (user->hasTrait<OpTrait::ReturnLike>())
        return user->emitError("returns a buffer that is made in its function");
      if (isa<memref::ExtractAlignedPointerAsIndexOp>(user))
        return user->emitError("takes the address of a planned buffer, under "
                               "which its life cannot be followed");
      unsigned position = positions[block.findAncestorOpInBlock(*user)];
      buffer.end = std::max(buffer.end, position);
      bool isView = isa<ViewLikeOpInterface>(user);
      if (isView &&
          failed(extendLife(user->getResult(0), block, positions, buffer)))
        return failure();
      // A terminator hands it on to a result, or to the argument of a block.
      if (!isView && (user->hasTrait<OpTrait::IsTerminator>() ||
                      llvm::any_of(user->getResultTypes(), [](Type type) {
                        return isa<BaseMemRefType>(type);
                      })))
        return user->emitError("gives a planned buffer another name, under "
                               "which its life cannot be followed");
    }
    return success();
  }

  static int64_t lowestFree(const PlacedBuffer &buffer,
                            ArrayRef<PlacedBuffer> placed) {
    SmallVector<std::pair<int64_t, int64_t>> taken;
    for (const PlacedBuffer &other : placed)
      if (other.begin <= buffer.end && buffer.begin <= other.end)
        taken.emplace_back(other.offset, other.offset + other.bytes);
    llvm::sort(taken);
    int64_t offset = 0;
    for (auto [begin, end] : taken) {
      if (offset + buffer.bytes <= begin)
        break;
      offset = std::max(offset, end);
    }
    return offset;
  }

  /// Where the frame of `function` starts: behind those of all its callers.
  FailureOr<int64_t> frameBase(func::FuncOp function, unsigned depth) {
    Frame &frame = frames[function];
    if (frame.base >= 0)
      return frame.base;
    if (depth > frames.size())
      return function.emitError("calls itself; a step cannot recurse");
    int64_t base = 0;
    auto uses = SymbolTable::getSymbolUses(function, getOperation());
    for (SymbolTable::SymbolUse use : *uses) {
      auto caller = use.getUser()->getParentOfType<func::FuncOp>();
      if (!caller)
        continue;
      FailureOr<int64_t> callerBase = frameBase(caller, depth + 1);
      if (failed(callerBase))
        return failure();
      base = std::max(base, *callerBase + frames[caller].bytes);
    }
    return frames[function].base = base;
  }

  static void replaceByView(func::FuncOp function, PlacedBuffer &buffer,
                            int64_t base) {
    OpBuilder builder(buffer.alloc);
    Location loc = buffer.alloc.getLoc();
    Value start =
        builder.create<arith::ConstantIndexOp>(loc, base + buffer.offset);
    Value view = builder.create<memref::ViewOp>(
        loc, buffer.alloc.getType(), function.getArguments().back(), start,
        buffer.alloc.getDynamicSizes());
    buffer.alloc->replaceAllUsesWith(ValueRange(view));
    buffer.alloc->erase();
  }

  llvm::MapVector<func::FuncOp, Frame> frames;
};
} // namespace
