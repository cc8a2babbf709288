// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Lays out the weight file. A parameter that is used twice is stored once; what
// is a page or longer starts on a page, the rest on a cache line.

#include "../ModuleUtils.h"
#include "llmir/Conversion/Passes.h"
#include "llmir/Dialect/LLM/LLM.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "llvm/Support/MathExtras.h"

namespace llmir {
#define GEN_PASS_DEF_ASSIGNPARAMETERS
#include "llmir/Conversion/Passes.h.inc"
} // namespace llmir

using namespace mlir;
using namespace llmir::llm;

static constexpr int64_t kPage = 4096, kCacheLine = 64;
// What the runtime takes for the size of a file.
static constexpr int64_t kMost = int64_t(1) << 50;

namespace {
struct AssignParametersPass
    : llmir::impl::AssignParametersBase<AssignParametersPass> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    if (module->hasAttr("llm.weights")) {
      WalkResult left = module.walk([](Operation *op) {
        auto table = dyn_cast<RopeTableOp>(op);
        bool isWeight = isa<ParameterOp>(op) || (table && table.isOfWeights());
        if (!isWeight)
          return WalkResult::advance();
        op->emitError("has come too late: the weights have their places");
        return WalkResult::interrupt();
      });
      return left.wasInterrupted() ? signalPassFailure()
                                   : markAllAnalysesPreserved();
    }
    Builder builder(&getContext());
    auto bytesType =
        MemRefType::get({ShapedType::kDynamic}, builder.getI8Type());
    llmir::appendArgumentToAll(module, bytesType);

    auto assign = [&](Operation *op) {
      auto function = op->getParentOfType<func::FuncOp>();
      if (!function || function->getParentOp() != module) {
        op->emitError("must be in a function of the module");
        return WalkResult::interrupt();
      }
      if (auto parameter = dyn_cast<ParameterOp>(op);
          parameter && isEachShards(parameter)) {
        op->emitError("is another one in each shard; --llm-select-shard makes "
                      "the program of one");
        return WalkResult::interrupt();
      }
      auto type = dyn_cast<RankedTensorType>(op->getResult(0).getType());
      std::optional<int64_t> bytes =
          type ? llmir::byteSize(type, 0) : std::nullopt;
      if (!bytes) {
        op->emitError() << "cannot place a weight of "
                        << op->getResult(0).getType();
        return WalkResult::interrupt();
      }
      int64_t offset = place(op, type, *bytes);
      if (size > kMost) {
        op->emitError("is one weight too many: all together are larger than "
                      "any file");
        return WalkResult::interrupt();
      }
      replaceByView(op, offset);
      return WalkResult::advance();
    };
    // Tables first: what only they are made of is no weight of its own.
    WalkResult result = module.walk([&](RopeTableOp op) {
      return op.isOfWeights() ? assign(op) : WalkResult::advance();
    });
    if (!result.wasInterrupted())
      result = module.walk([&](ParameterOp op) {
        if (!tableParameters.contains(op) || !op->use_empty())
          return assign(op);
        op->erase();
        return WalkResult::advance();
      });
    if (result.wasInterrupted())
      return signalPassFailure();
    module->setAttr("llm.weights", builder.getArrayAttr(entries));
    module->setAttr("llm.weights_bytes",
                    builder.getI64IntegerAttr(llvm::alignTo(size, kPage)));
  }

private:
  static bool isEachShards(ParameterOp op) {
    std::optional<ArrayAttr> slices = op.getSlices();
    return slices &&
           llvm::any_of(slices->getAsRange<SliceAttr>(),
                        [](SliceAttr slice) { return slice.getStride() != 0; });
  }

  /// Returns the offset of what `op` yields, giving it one at first sight.
  int64_t place(Operation *op, RankedTensorType type, int64_t bytes) {
    Builder builder(&getContext());
    NamedAttrList entry;
    auto setSources = [&](ParameterOp parameter) {
      entry.set("scope", parameter.getScopeAttr());
      entry.set("keys", parameter.getKeysAttr());
      entry.set("sources", builder.getTypeArrayAttr(llvm::to_vector_of<Type>(
                               parameter.getFileTypes())));
    };
    if (auto parameter = dyn_cast<ParameterOp>(op)) {
      setSources(parameter);
      if (parameter.getSlicesAttr())
        entry.set("slices", parameter.getSlicesAttr());
      if (parameter.getTransposed())
        entry.set("transposed", builder.getUnitAttr());
      if (parameter.getPanelsTypeAttr())
        entry.set("panels", parameter.getPanelsTypeAttr());
    } else {
      auto table = cast<RopeTableOp>(op);
      if (table.getFrequencies()) {
        auto parameter = table.getFrequencies().getDefiningOp<ParameterOp>();
        tableParameters.insert(parameter);
        setSources(parameter);
        entry.set("rope_table", builder.getUnitAttr());
      }
      if (table.getThetaAttr())
        entry.set("theta", table.getThetaAttr());
      if (table.getAttentionFactorAttr())
        entry.set("attention_factor", table.getAttentionFactorAttr());
      if (table.getScalingAttr())
        entry.set("scaling", table.getScalingAttr());
    }
    entry.set("type", TypeAttr::get(type));
    auto [known, isNew] =
        offsets.try_emplace(entry.getDictionary(&getContext()), 0);
    if (!isNew)
      return known->second;

    size = llvm::alignTo(size, bytes >= kPage ? kPage : kCacheLine);
    known->second = size;
    entry.set("offset", builder.getI64IntegerAttr(size));
    entry.set("bytes", builder.getI64IntegerAttr(bytes));
    entries.push_back(entry.getDictionary(&getContext()));
    size += bytes;
    return known->second;
  }

  void replaceByView(Operation *op, int64_t offset) {
    auto function = op->getParentOfType<func::FuncOp>();
    auto type = cast<RankedTensorType>(op->getResult(0).getType());
    OpBuilder builder(op);
    Value start = builder.create<arith::ConstantIndexOp>(op->getLoc(), offset);
    Value view = builder.create<memref::ViewOp>(
        op->getLoc(), MemRefType::get(type.getShape(), type.getElementType()),
        function.getArguments().back(), start, ValueRange());
    Value tensor = builder.create<bufferization::ToTensorOp>(
        op->getLoc(), type, view, /*restrict=*/true, /*writable=*/false);
    op->replaceAllUsesWith(ValueRange(tensor));
    op->erase();
  }

  DenseMap<Attribute, int64_t> offsets;
  /// Of frequencies.
  DenseSet<Operation *> tableParameters;
  SmallVector<Attribute> entries;
  int64_t size = 0;
};
} // namespace
