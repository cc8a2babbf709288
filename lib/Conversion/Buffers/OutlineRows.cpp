// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Hands row loops to the runtime's threads. A loop becomes a function over a
// range of rows; what it captures travels in a structure on the caller's stack.

#include "../ModuleUtils.h"
#include "llmir/Conversion/Passes.h"
#include "llmir/Dialect/LLM/LLM.h"

#include "mlir/Conversion/LLVMCommon/TypeConverter.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/Matchers.h"
#include "mlir/Transforms/RegionUtils.h"
#include "llvm/Support/MathExtras.h"

namespace llmir {
#define GEN_PASS_DEF_OUTLINEROWS
#include "llmir/Conversion/Passes.h.inc"
} // namespace llmir

using namespace mlir;

/// What a loop without a known end is taken for: more than is worth a thread.
static constexpr int64_t kManyElements = int64_t(1) << 20;

/// About how many elements the work on a row loads and stores.
static int64_t countElements(Block &block) {
  int64_t count = 0;
  for (Operation &op : block.without_terminator()) {
    int64_t turns = 1, inside = 0;
    if (auto loop = dyn_cast<scf::ForOp>(op)) {
      std::optional<int64_t> begin = getConstantIntValue(loop.getLowerBound()),
                             end = getConstantIntValue(loop.getUpperBound()),
                             step = getConstantIntValue(loop.getStep());
      if (!begin || !end || !step || *step <= 0)
        return kManyElements;
      turns = std::max<int64_t>(0, llvm::divideCeil(*end - *begin, *step));
    }
    for (Region &region : op.getRegions())
      for (Block &nested : region)
        inside += countElements(nested);
    if (isa<memref::LoadOp, memref::StoreOp>(op))
      inside = 1;
    else if (auto load = dyn_cast<vector::LoadOp>(op))
      inside = load.getVectorType().getNumElements();
    else if (auto store = dyn_cast<vector::StoreOp>(op))
      inside = store.getVectorType().getNumElements();
    else if (op.getNumRegions() > 0 && !isa<scf::ForOp, scf::IfOp>(op))
      return kManyElements;
    if (llvm::MulOverflow(turns, inside, inside) ||
        llvm::AddOverflow(count, inside, count) || count >= kManyElements)
      return kManyElements;
  }
  return count;
}

namespace {
struct OutlineRowsPass : llmir::impl::OutlineRowsBase<OutlineRowsPass> {
  void runOnOperation() override {
    SmallVector<scf::ForallOp> loops;
    for (auto function : getOperation().getOps<func::FuncOp>()) {
      // A thread of the runtime has no threads of its own.
      if (function->hasAttr(llmir::kRowLoopAttr))
        continue;
      function.walk<WalkOrder::PreOrder>([&](scf::ForallOp loop) {
        loops.push_back(loop);
        return WalkResult::skip();
      });
    }
    LLVMTypeConverter converter(&getContext());
    DenseMap<func::FuncOp, unsigned> counts;
    for (scf::ForallOp loop : loops) {
      auto function = loop->getParentOfType<func::FuncOp>();
      std::string name =
          (function.getName() + "_rows_" + Twine(counts[function]++)).str();
      if (failed(outline(loop, name, converter)))
        return signalPassFailure();
    }
  }

private:
  LogicalResult outline(scf::ForallOp loop, StringRef name,
                        LLVMTypeConverter &converter) {
    if (loop.getRank() != 1 || !loop.isNormalized() ||
        loop->getNumResults() != 0)
      return loop.emitError("only loops over rows from 0 on can be outlined");
    cloneConstantsInto(loop);
    llvm::SetVector<Value> captures;
    getUsedValuesDefinedAbove(loop.getRegion(), captures);
    SmallVector<Type> types;
    for (Value capture : captures) {
      Type type = converter.convertType(capture.getType());
      if (!type)
        return loop.emitError()
               << "captures a value of type " << capture.getType();
      types.push_back(type);
    }
    auto frameType = LLVM::LLVMStructType::getLiteral(&getContext(), types);
    func::FuncOp body = buildBody(loop, name, captures, frameType);
    buildCall(loop, body, captures, frameType);
    loop.erase();
    return success();
  }

  /// Constants are remade in the loop rather than captured.
  static void cloneConstantsInto(scf::ForallOp loop) {
    llvm::SetVector<Value> used;
    getUsedValuesDefinedAbove(loop.getRegion(), used);
    OpBuilder builder = OpBuilder::atBlockBegin(loop.getBody());
    for (Value value : used)
      if (Operation *definition = value.getDefiningOp();
          definition && matchPattern(definition, m_Constant())) {
        Value clone = builder.clone(*definition)->getResult(0);
        replaceAllUsesInRegionWith(value, clone, loop.getRegion());
      }
  }

  func::FuncOp buildBody(scf::ForallOp loop, StringRef name,
                         const llvm::SetVector<Value> &captures,
                         Type frameType) {
    Location loc = loop.getLoc();
    MLIRContext *context = &getContext();
    auto pointer = LLVM::LLVMPointerType::get(context);
    Type i64 = IntegerType::get(context, 64);
    OpBuilder builder(loop->getParentOfType<func::FuncOp>());
    auto function = builder.create<func::FuncOp>(
        loc, name, builder.getFunctionType({pointer, i64, i64}, {}));
    function.setPrivate();
    function->setAttr(llmir::kRowLoopAttr, builder.getUnitAttr());

    Block *entry = function.addEntryBlock();
    builder.setInsertionPointToStart(entry);
    IRMapping mapping;
    if (!captures.empty()) {
      Value frame =
          builder.create<LLVM::LoadOp>(loc, frameType, entry->getArgument(0));
      for (auto [index, capture] : llvm::enumerate(captures)) {
        Value member = builder.create<LLVM::ExtractValueOp>(loc, frame, index);
        mapping.map(capture, castTo(builder, loc, member, capture.getType()));
      }
    }
    Value begin =
        castTo(builder, loc, entry->getArgument(1), builder.getIndexType());
    Value end =
        castTo(builder, loc, entry->getArgument(2), builder.getIndexType());
    Value one = builder.create<arith::ConstantIndexOp>(loc, 1);
    auto rows = builder.create<scf::ForOp>(loc, begin, end, one);
    builder.create<func::ReturnOp>(loc);
    mapping.map(loop.getInductionVar(0), rows.getInductionVar());
    builder.setInsertionPointToStart(rows.getBody());
    for (Operation &op : loop.getBody()->without_terminator())
      builder.clone(op, mapping);
    return function;
  }

  void buildCall(scf::ForallOp loop, func::FuncOp body,
                 const llvm::SetVector<Value> &captures, Type frameType) {
    Location loc = loop.getLoc();
    auto pointer = LLVM::LLVMPointerType::get(&getContext());
    auto function = loop->getParentOfType<func::FuncOp>();
    OpBuilder builder = OpBuilder::atBlockBegin(&function.front());
    // On the stack once a call, not once a loop.
    Value one = builder.create<LLVM::ConstantOp>(loc, builder.getI64Type(), 1);
    Value slot = builder.create<LLVM::AllocaOp>(loc, pointer, frameType, one);

    builder.setInsertionPoint(loop);
    Value frame = builder.create<LLVM::UndefOp>(loc, frameType);
    for (auto [index, capture] : llvm::enumerate(captures)) {
      Type type = cast<LLVM::LLVMStructType>(frameType).getBody()[index];
      frame = builder.create<LLVM::InsertValueOp>(
          loc, frame, castTo(builder, loc, capture, type), index);
    }
    builder.create<LLVM::StoreOp>(loc, frame, slot);
    Value callee = builder.create<func::ConstantOp>(
        loc, body.getFunctionType(), FlatSymbolRefAttr::get(body));
    Value rows = getValueOrCreateConstantIndexOp(builder, loc,
                                                 loop.getMixedUpperBound()[0]);
    Value work = builder.create<arith::ConstantIndexOp>(
        loc, countElements(*loop.getBody()));
    builder.create<llmir::llm::CallKernelOp>(
        loc, "parallel_for", ValueRange{callee, slot, rows, work});
  }

  static Value castTo(OpBuilder &builder, Location loc, Value value,
                      Type type) {
    if (value.getType() == type)
      return value;
    return builder.create<UnrealizedConversionCastOp>(loc, type, value)
        .getResult(0);
  }
};
} // namespace
