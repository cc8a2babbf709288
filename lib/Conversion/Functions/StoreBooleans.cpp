// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// In memory a boolean is a byte: that is what callers have, and a vector of i1
// would be loaded as packed bits. So tensors of i1 become tensors of i8, and
// elements are narrowed where they are read and widened where they are written.

#include "llmir/Conversion/Passes.h"
#include "llmir/Dialect/LLM/LLM.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

namespace llmir {
#define GEN_PASS_DEF_STOREBOOLEANS
#include "llmir/Conversion/Passes.h.inc"
} // namespace llmir

using namespace mlir;

static bool isBooleans(Type type) {
  auto tensor = dyn_cast<RankedTensorType>(type);
  return tensor && tensor.getElementType().isInteger(1);
}

/// The type of `type` in memory.
static Type storedType(Type type) {
  if (!isBooleans(type))
    return type;
  return cast<RankedTensorType>(type).clone(
      IntegerType::get(type.getContext(), 8));
}

static DenseElementsAttr storedConstant(DenseElementsAttr values) {
  auto type = cast<RankedTensorType>(storedType(values.getType()));
  if (values.isSplat())
    return DenseElementsAttr::get(
        type, APInt(8, values.getSplatValue<bool>() ? 1 : 0));
  SmallVector<APInt> bytes;
  for (bool value : values.getValues<bool>())
    bytes.push_back(APInt(8, value ? 1 : 0));
  return DenseElementsAttr::get(type, bytes);
}

namespace {
struct StoreBooleansPass : llmir::impl::StoreBooleansBase<StoreBooleansPass> {
  void runOnOperation() override {
    func::FuncOp function = getOperation();
    if (function.isExternal())
      return;
    WalkResult result = function.walk([&](Operation *op) {
      return failed(convert(op)) ? WalkResult::interrupt()
                                 : WalkResult::advance();
    });
    if (result.wasInterrupted())
      return signalPassFailure();
    // All at once: in between, ops would not fit each other.
    function.walk([](Operation *op) {
      for (Value value : op->getResults())
        value.setType(storedType(value.getType()));
      for (Region &region : op->getRegions())
        for (Block &block : region)
          for (BlockArgument argument : block.getArguments())
            argument.setType(storedType(argument.getType()));
    });
    auto convertAll = [](TypeRange types) {
      return llvm::to_vector(llvm::map_range(types, storedType));
    };
    function.setType(FunctionType::get(&getContext(),
                                       convertAll(function.getArgumentTypes()),
                                       convertAll(function.getResultTypes())));
  }

private:
  /// Converts the elements that `op` reads or writes one by one.
  static LogicalResult convert(Operation *op) {
    if (auto linalgOp = dyn_cast<linalg::LinalgOp>(op)) {
      Block &body = op->getRegion(0).front();
      for (OpOperand &operand : op->getOpOperands())
        if (isBooleans(operand.get().getType()))
          readAs(body.getArgument(operand.getOperandNumber()), body);
      Operation *yield = body.getTerminator();
      for (OpOperand &output : linalgOp.getDpsInitsMutable())
        if (isBooleans(output.get().getType()))
          write(yield->getOpOperand(output.getOperandNumber() -
                                    linalgOp.getNumDpsInputs()));
      return success();
    }
    if (auto constant = dyn_cast<arith::ConstantOp>(op)) {
      if (!isBooleans(constant.getType()))
        return success();
      auto values = dyn_cast<DenseElementsAttr>(constant.getValue());
      if (!values)
        return op->emitError("is a constant whose booleans are not here");
      constant.setValueAttr(storedConstant(values));
      return success();
    }
    if (auto extract = dyn_cast<tensor::ExtractOp>(op)) {
      if (isBooleans(extract.getTensor().getType()))
        read(extract.getResult());
      return success();
    }
    if (auto insert = dyn_cast<tensor::InsertOp>(op)) {
      if (isBooleans(insert.getDest().getType()))
        write(insert.getScalarMutable());
      return success();
    }
    if (isa<tensor::FromElementsOp, tensor::SplatOp>(op)) {
      if (isBooleans(op->getResult(0).getType()))
        for (OpOperand &operand : op->getOpOperands())
          if (operand.get().getType().isInteger(1))
            write(operand);
      return success();
    }
    if (isa<tensor::GenerateOp, tensor::PadOp>(op)) {
      if (isBooleans(op->getResult(0).getType()))
        write(op->getRegion(0).front().getTerminator()->getOpOperand(0));
      return success();
    }
    return success();
  }

  static Type byteType(Type type) {
    return IntegerType::get(type.getContext(), 8);
  }

  /// Gives the body a byte, of which it uses the boolean.
  static void readAs(BlockArgument argument, Block &body) {
    argument.setType(byteType(argument.getType()));
    if (argument.use_empty())
      return;
    OpBuilder builder = OpBuilder::atBlockBegin(&body);
    auto narrow = builder.create<arith::TruncIOp>(
        argument.getLoc(), builder.getI1Type(), argument);
    argument.replaceAllUsesExcept(narrow, narrow);
  }

  static void read(Value element) {
    OpBuilder builder(element.getContext());
    builder.setInsertionPointAfterValue(element);
    element.setType(byteType(element.getType()));
    auto narrow = builder.create<arith::TruncIOp>(element.getLoc(),
                                                  builder.getI1Type(), element);
    element.replaceAllUsesExcept(narrow, narrow);
  }

  static void write(OpOperand &element) {
    OpBuilder builder(element.getOwner());
    element.set(builder.create<arith::ExtUIOp>(
        element.getOwner()->getLoc(), builder.getI8Type(), element.get()));
  }
};
} // namespace
