// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Callers own the memory of results. Where a function returns a tensor that it
// makes itself, the uninitialized tensor at the start of the chain of
// destination-style ops becomes an argument; bufferization then sees that the
// result is that argument, and returns nothing. Part of another tensor cannot
// lie in a caller's memory, and is copied there.

#include "../ModuleUtils.h"
#include "llmir/Conversion/Passes.h"

#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/Interfaces/DestinationStyleOpInterface.h"

namespace llmir {
#define GEN_PASS_DEF_PASSDESTINATIONS
#include "llmir/Conversion/Passes.h.inc"
} // namespace llmir

using namespace mlir;

namespace {
struct PassDestinationsPass
    : llmir::impl::PassDestinationsBase<PassDestinationsPass> {
  void runOnOperation() override {
    for (auto function : getOperation().getOps<func::FuncOp>())
      if (!function.isExternal() && failed(process(function)))
        return signalPassFailure();
  }

private:
  /// Gives destinations to `function`, its callees first.
  LogicalResult process(func::FuncOp function) {
    if (finished.contains(function))
      return success();
    if (!begun.insert(function).second)
      return function.emitError("calls itself; a step cannot recurse");
    WalkResult callees = function.walk([&](func::CallOp call) {
      auto callee = getOperation().lookupSymbol<func::FuncOp>(call.getCallee());
      if (callee && !callee.isExternal() && failed(process(callee)))
        return WalkResult::interrupt();
      return WalkResult::advance();
    });
    if (callees.wasInterrupted())
      return failure();
    if (!llvm::hasSingleElement(function.getBody()))
      return function.emitError("must have a single block");

    SmallVector<int64_t> &owners = resultOwners[function];
    Operation *terminator = function.front().getTerminator();
    for (OpOperand &returned : terminator->getOpOperands()) {
      if (!isa<RankedTensorType>(returned.get().getType()))
        return terminator->emitError()
               << "cannot give a caller's buffer to a result of type "
               << returned.get().getType();
      OpOperand *destination = traceDestination(returned.get());
      if (OpOperand &first = destination ? *destination : returned;
          isView(first.get())) {
        replaceView(first);
        destination = traceDestination(returned.get());
      }
      Value result = returned.get();
      if (auto argument = dyn_cast<BlockArgument>(result)) {
        owners.push_back(argument.getArgNumber());
        continue;
      }
      if (!destination)
        return terminator->emitError(
            "returns a tensor that no destination-style op makes");
      if (auto argument = dyn_cast<BlockArgument>(destination->get());
          argument && (function.getName() != llmir::kStepFunction ||
                       isPassed(function, argument))) {
        owners.push_back(argument.getArgNumber());
        continue;
      }
      auto empty = destination->get().getDefiningOp<tensor::EmptyOp>();
      if (!empty)
        return terminator->emitError(
            "returns a tensor that is not made in this function");
      owners.push_back(function.getNumArguments());
      if (failed(appendDestination(function, *destination, empty)))
        return failure();
    }
    finished.insert(function);
    return success();
  }

  /// Marks what the step's caller passes for its results to be written to; what
  /// it passes otherwise is not to be changed.
  static constexpr StringLiteral kDestinationAttr = "llm.destination";

  static bool isPassed(func::FuncOp step, BlockArgument argument) {
    return static_cast<bool>(
        step.getArgAttr(argument.getArgNumber(), kDestinationAttr));
  }

  /// Whether a tensor is made of another one's memory.
  static bool isView(Value value) {
    return isa_and_nonnull<tensor::ExtractSliceOp, tensor::ExpandShapeOp,
                           tensor::CollapseShapeOp>(value.getDefiningOp());
  }

  /// Puts a tensor of its own in the place of a view: a copy, unless what uses
  /// it writes all of it and reads nothing.
  static void replaceView(OpOperand &use) {
    Value view = use.get();
    Location loc = view.getLoc();
    OpBuilder builder(use.getOwner());
    auto type = cast<RankedTensorType>(view.getType());
    SmallVector<Value> sizes;
    for (int64_t dim = 0; dim < type.getRank(); ++dim)
      if (type.isDynamicDim(dim))
        sizes.push_back(builder.create<tensor::DimOp>(loc, view, dim));
    Value place = builder.create<tensor::EmptyOp>(loc, type, sizes);
    auto user = dyn_cast<linalg::LinalgOp>(use.getOwner());
    if (!user || user.payloadUsesValueFromOperand(&use) ||
        !user.getMatchingIndexingMap(&use).isPermutation())
      place = builder.create<linalg::CopyOp>(loc, view, place)->getResult(0);
    use.set(place);
  }

  /// The operand that becomes `result`, if there is one.
  OpOperand *destinationOf(OpResult result) {
    if (auto op = dyn_cast<DestinationStyleOpInterface>(result.getOwner()))
      return op.getTiedOpOperand(result);
    if (auto insert = dyn_cast<tensor::InsertSliceOp>(result.getOwner()))
      return &insert.getDestMutable();
    if (auto call = dyn_cast<func::CallOp>(result.getOwner()))
      if (auto callee =
              getOperation().lookupSymbol<func::FuncOp>(call.getCallee());
          callee && finished.contains(callee))
        return &call->getOpOperand(
            resultOwners[callee][result.getResultNumber()]);
    return nullptr;
  }

  /// Follows a chain of destinations to the first one, or returns null.
  OpOperand *traceDestination(Value value) {
    OpOperand *destination = nullptr;
    while (auto result = dyn_cast<OpResult>(value)) {
      OpOperand *next = destinationOf(result);
      if (!next)
        return destination;
      destination = next;
      value = next->get();
    }
    return destination;
  }

  /// An argument and a dimension.
  using Size = std::pair<unsigned, int64_t>;

  /// The argument and dimension that `size` is the size of.
  std::optional<Size> traceSize(Value size) {
    auto dim = size.getDefiningOp<tensor::DimOp>();
    if (!dim)
      return std::nullopt;
    std::optional<int64_t> index = dim.getConstantIndex();
    if (!index)
      return std::nullopt;
    return traceSize(dim.getSource(), *index);
  }

  /// The same of a tensor's dimension. A result is as large as its destination,
  /// and that as what it was made for.
  std::optional<Size> traceSize(Value tensor, int64_t index) {
    if (OpOperand *destination = traceDestination(tensor))
      tensor = destination->get();
    if (auto argument = dyn_cast<BlockArgument>(tensor))
      return Size(argument.getArgNumber(), index);
    if (auto expand = tensor.getDefiningOp<tensor::ExpandShapeOp>()) {
      for (auto [dim, group] :
           llvm::enumerate(expand.getReassociationIndices()))
        if (group.size() == 1 && group[0] == index)
          return traceSize(expand.getSrc(), dim);
    } else if (auto collapse =
                   tensor.getDefiningOp<tensor::CollapseShapeOp>()) {
      ReassociationIndices group = collapse.getReassociationIndices()[index];
      if (group.size() == 1)
        return traceSize(collapse.getSrc(), group[0]);
    } else if (auto slice = tensor.getDefiningOp<tensor::ExtractSliceOp>()) {
      // Dimensions of one element may have been dropped.
      llvm::SmallBitVector dropped = slice.getDroppedDims();
      for (auto [dim, size] : llvm::enumerate(slice.getMixedSizes()))
        if (!dropped.test(dim) && index-- == 0 && isa<Value>(size))
          return traceSize(cast<Value>(size));
    } else if (auto empty = tensor.getDefiningOp<tensor::EmptyOp>()) {
      if (empty.getType().isDynamicDim(index))
        return traceSize(empty.getDynamicSize(index));
    }
    return std::nullopt;
  }

  LogicalResult appendDestination(func::FuncOp function, OpOperand &use,
                                  tensor::EmptyOp empty) {
    // Callers compute the sizes as the callee does, from its arguments.
    SmallVector<Size> sizes;
    for (Value size : empty.getDynamicSizes()) {
      std::optional<Size> source = traceSize(size);
      if (!source)
        return empty.emitError("the size of a result must be that of an "
                               "argument");
      sizes.push_back(*source);
    }
    unsigned index = function.getNumArguments();
    function.insertArgument(index, empty.getType(), {}, empty.getLoc());
    if (function.getName() == llmir::kStepFunction)
      function.setArgAttr(index, kDestinationAttr,
                          UnitAttr::get(&getContext()));
    use.set(function.getArgument(index));
    auto uses = SymbolTable::getSymbolUses(function, getOperation());
    for (SymbolTable::SymbolUse user : *uses) {
      auto call = dyn_cast<func::CallOp>(user.getUser());
      if (!call)
        return user.getUser()->emitError("only calls may refer to a function "
                                         "that takes its destinations");
      OpBuilder builder(call);
      SmallVector<Value> dynamic;
      for (auto [operand, dim] : sizes)
        dynamic.push_back(builder.create<tensor::DimOp>(
            call.getLoc(), call.getOperand(operand), dim));
      Value made = builder.create<tensor::EmptyOp>(call.getLoc(),
                                                   empty.getType(), dynamic);
      call.getOperandsMutable().append(made);
    }
    return success();
  }

  DenseSet<func::FuncOp> begun, finished;
  /// For each function and result, the argument that becomes it.
  DenseMap<func::FuncOp, SmallVector<int64_t>> resultOwners;
};
} // namespace
