// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Whose memory is whose, in a function on buffers: results are memory that the
// caller keeps, one for each, and everything else is given back as soon as
// nothing reads it, so that a call needs little and reuses what is in cache.

#include "../ModuleUtils.h"
#include "llmir/Conversion/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/Interfaces/ViewLikeInterface.h"

namespace llmir {
#define GEN_PASS_DEF_RELEASEBUFFERS
#define GEN_PASS_DEF_RESHAPEBUFFERS
#define GEN_PASS_DEF_RETURNRESULTS
#include "llmir/Conversion/Passes.h.inc"
} // namespace llmir

using namespace mlir;

//===----------------------------------------------------------------------===//
// Results
//===----------------------------------------------------------------------===//

/// The allocation that `value` is all of, perhaps in another shape.
static memref::AllocOp wholeAllocation(Value value) {
  while (Operation *op = value.getDefiningOp()) {
    if (auto alloc = dyn_cast<memref::AllocOp>(op))
      return alloc;
    if (!isa<memref::CastOp, memref::CollapseShapeOp, memref::ExpandShapeOp,
             memref::ReshapeOp>(op))
      return nullptr;
    value = op->getOperand(0);
  }
  return nullptr;
}

namespace {
struct ReturnResultsPass : llmir::impl::ReturnResultsBase<ReturnResultsPass> {
  void runOnOperation() override {
    func::FuncOp function = getOperation();
    if (function.isExternal())
      return;
    Operation *terminator = function.front().getTerminator();
    OpBuilder builder(terminator);
    Location loc = terminator->getLoc();
    for (OpOperand &operand : terminator->getOpOperands()) {
      auto type = dyn_cast<MemRefType>(operand.get().getType());
      if (!type)
        continue;
      memref::AllocOp alloc = wholeAllocation(operand.get());
      Attribute number = builder.getI64IntegerAttr(operand.getOperandNumber());
      Attribute taken = alloc ? alloc->getAttr(llmir::kResultAttr) : nullptr;
      if (!alloc || (taken && taken != number) ||
          alloc->getBlock() != &function.front()) {
        // An input, a weight, a part of something, or a result twice.
        SmallVector<Value> sizes;
        for (int64_t dim = 0; dim < type.getRank(); ++dim)
          if (type.isDynamicDim(dim))
            sizes.push_back(
                builder.create<memref::DimOp>(loc, operand.get(), dim));
        alloc = builder.create<memref::AllocOp>(
            loc, MemRefType::get(type.getShape(), type.getElementType()),
            sizes);
        builder.create<memref::CopyOp>(loc, operand.get(), alloc);
        operand.set(alloc);
      }
      alloc->setAttr(llmir::kResultAttr, number);
    }
    function.setType(builder.getFunctionType(function.getArgumentTypes(),
                                             terminator->getOperandTypes()));
  }
};

//===----------------------------------------------------------------------===//
// Everything else
//===----------------------------------------------------------------------===//

struct ReleaseBuffersPass
    : llmir::impl::ReleaseBuffersBase<ReleaseBuffersPass> {
  void runOnOperation() override {
    SmallVector<memref::AllocOp> allocs;
    getOperation().walk([&](memref::AllocOp alloc) {
      bool isReleased = llvm::any_of(alloc->getUsers(), [](Operation *user) {
        return isa<memref::DeallocOp>(user);
      });
      if (!isReleased && !alloc->hasAttr(llmir::kResultAttr))
        allocs.push_back(alloc);
    });
    for (memref::AllocOp alloc : allocs) {
      Operation *last = alloc;
      // What cannot be followed lives until the call is over.
      if (!findLastUse(alloc, *alloc->getBlock(), last))
        continue;
      OpBuilder builder(alloc.getContext());
      builder.setInsertionPointAfter(last);
      builder.create<memref::DeallocOp>(alloc.getLoc(), alloc);
    }
  }

private:
  static bool findLastUse(Value value, Block &block, Operation *&last) {
    for (Operation *user : value.getUsers()) {
      Operation *inside = block.findAncestorOpInBlock(*user);
      if (last->isBeforeInBlock(inside))
        last = inside;
      if (isa<ViewLikeOpInterface>(user)) {
        if (!findLastUse(user->getResult(0), block, last))
          return false;
        continue;
      }
      // A terminator hands it on, and so does what makes another name for it.
      if (user->hasTrait<OpTrait::IsTerminator>() ||
          isa<memref::ExtractAlignedPointerAsIndexOp>(user) ||
          llvm::any_of(user->getResultTypes(),
                       [](Type type) { return isa<BaseMemRefType>(type); }))
        return false;
    }
    return !last->hasTrait<OpTrait::IsTerminator>();
  }
};

//===----------------------------------------------------------------------===//
// Shapes
//===----------------------------------------------------------------------===//

struct ReshapeBuffersPass
    : llmir::impl::ReshapeBuffersBase<ReshapeBuffersPass> {
  void runOnOperation() override {
    SmallVector<memref::ReshapeOp> reshapes;
    getOperation().walk([&](memref::ReshapeOp op) { reshapes.push_back(op); });
    for (memref::ReshapeOp op : reshapes)
      if (auto shape = op.getShape().getDefiningOp<memref::AllocOp>())
        replace(op, shape);
  }

private:
  /// Reads the sizes from what is stored to `shape`, all before `op`.
  static void replace(memref::ReshapeOp op, memref::AllocOp shape) {
    auto type = dyn_cast<MemRefType>(op.getResult().getType());
    if (!type || !type.getLayout().isIdentity() ||
        !cast<MemRefType>(op.getSource().getType()).getLayout().isIdentity())
      return;
    SmallVector<Value> sizes(type.getRank());
    SmallVector<memref::StoreOp> stores;
    SmallVector<memref::LoadOp> loads;
    bool isShared = false;
    for (Operation *user : shape->getUsers()) {
      if (isa<memref::ReshapeOp>(user)) {
        isShared |= user != op;
        continue;
      }
      // Sizes that are read again.
      if (auto load = dyn_cast<memref::LoadOp>(user)) {
        loads.push_back(load);
        continue;
      }
      auto store = dyn_cast<memref::StoreOp>(user);
      std::optional<int64_t> at =
          store && store.getIndices().size() == 1
              ? getConstantIntValue(store.getIndices()[0])
              : std::nullopt;
      if (!at || *at < 0 || *at >= type.getRank() || sizes[*at] ||
          store->getBlock() != op->getBlock() || !store->isBeforeInBlock(op))
        return;
      sizes[*at] = store.getValueToStore();
      stores.push_back(store);
    }
    if (!llvm::all_of(sizes, [](Value size) { return bool(size); }))
      return;
    OpBuilder builder(op);
    Location loc = op.getLoc();
    for (memref::LoadOp load : loads) {
      std::optional<int64_t> at = getConstantIntValue(load.getIndices()[0]);
      bool isAfter = at && load->getBlock() == op->getBlock() &&
                     llvm::all_of(stores, [&](memref::StoreOp store) {
                       return store->isBeforeInBlock(load);
                     });
      if (!isAfter) {
        isShared = true;
        continue;
      }
      load.replaceAllUsesWith(sizes[*at]);
      load.erase();
    }
    SmallVector<OpFoldResult> mixed, strides(type.getRank());
    for (auto [dim, size] : llvm::enumerate(sizes)) {
      if (!type.isDynamicDim(dim)) {
        mixed.push_back(builder.getIndexAttr(type.getDimSize(dim)));
        continue;
      }
      if (!size.getType().isIndex())
        size = builder.create<arith::IndexCastOp>(loc, builder.getIndexType(),
                                                  size);
      mixed.push_back(size);
    }
    OpFoldResult stride = builder.getIndexAttr(1);
    for (int64_t dim = type.getRank() - 1; dim >= 0; --dim) {
      strides[dim] = stride;
      if (dim == 0)
        break;
      // As in the type: what is dynamic there stays so.
      auto known = dyn_cast<Attribute>(stride);
      auto size = dyn_cast<Attribute>(mixed[dim]);
      if (known && size)
        stride = builder.getIndexAttr(cast<IntegerAttr>(known).getInt() *
                                      cast<IntegerAttr>(size).getInt());
      else
        stride =
            builder
                .create<arith::MulIOp>(
                    loc, getValueOrCreateConstantIndexOp(builder, loc, stride),
                    getValueOrCreateConstantIndexOp(builder, loc, mixed[dim]))
                .getResult();
    }
    // The type of what is cast says its strides; the identity is known here.
    Value view = builder.create<memref::ReinterpretCastOp>(
        loc, type, op.getSource(), builder.getIndexAttr(0), mixed, strides);
    op.replaceAllUsesWith(view);
    op.erase();
    if (isShared)
      return;
    for (memref::StoreOp store : stores)
      store.erase();
    shape.erase();
  }
};
} // namespace
