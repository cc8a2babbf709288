// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Decides at compile time, and shows in the program, which weights are stored
// as panels. Layers are functions that take their weights as arguments, so the
// decision crosses calls.

#include "llmir/Dialect/LLM/LLM.h"
#include "llmir/Dialect/LLM/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/IR/TypeUtilities.h"

namespace llmir::llm {
#define GEN_PASS_DEF_LLMPACKPARAMETERS
#include "llmir/Dialect/LLM/Passes.h.inc"
} // namespace llmir::llm

using namespace mlir;
using namespace llmir::llm;

/// Whether `use` is the weight of a product that a kernel can compute: kernels
/// multiply equal types.
static bool isWeight(OpOperand &use) {
  auto linear = dyn_cast<LinearOp>(use.getOwner());
  return linear && &use == &linear.getWeightMutable() &&
         getElementTypeOrSelf(linear.getInput()) ==
             getElementTypeOrSelf(linear.getWeight());
}

namespace {
struct PackParametersPass
    : llmir::llm::impl::LLMPackParametersBase<PackParametersPass> {
  void runOnOperation() override {
    SymbolTableCollection symbols;
    SymbolUserMap users(symbols, getOperation());
    for (auto function : getOperation().getOps<func::FuncOp>())
      if (function.isPrivate() && !function.isExternal())
        packArguments(function, users.getUsers(function));

    SmallVector<ParameterOp> parameters;
    getOperation().walk([&](ParameterOp op) { parameters.push_back(op); });
    for (ParameterOp parameter : parameters) {
      packUses(parameter);
      if (parameter->use_empty())
        parameter.erase();
    }
  }

private:
  /// Packs the arguments of `function` that are only ever weights of products,
  /// if every call passes a parameter.
  void packArguments(func::FuncOp function, ArrayRef<Operation *> users) {
    if (!llvm::all_of(users,
                      [](Operation *user) { return isa<func::CallOp>(user); }))
      return;
    for (BlockArgument argument : function.getArguments()) {
      auto type = dyn_cast<RankedTensorType>(argument.getType());
      RankedTensorType packed = type ? getPackedType(type) : nullptr;
      if (!packed || argument.use_empty() ||
          !llvm::all_of(argument.getUses(), isWeight))
        continue;
      unsigned index = argument.getArgNumber();
      if (!llvm::all_of(users, [&](Operation *user) {
            return user->getOperand(index).getDefiningOp<ParameterOp>();
          }))
        continue;
      for (Operation *user : users)
        packUse(user->getOpOperand(index));
      argument.setType(packed);
      SmallVector<Type> inputs(function.getArgumentTypes());
      inputs[index] = packed;
      function.setType(
          FunctionType::get(&getContext(), inputs, function.getResultTypes()));
    }
  }

  /// Packs a parameter where a product is right beside it.
  void packUses(ParameterOp parameter) {
    if (!getPackedType(cast<RankedTensorType>(parameter.getResult().getType())))
      return;
    for (OpOperand &use : llvm::make_early_inc_range(parameter->getUses()))
      if (isWeight(use))
        packUse(use);
  }

  /// Replaces a parameter, at one use, by its packed form.
  void packUse(OpOperand &use) {
    auto parameter = use.get().getDefiningOp<ParameterOp>();
    OpBuilder builder(parameter);
    builder.setInsertionPointAfter(parameter);
    auto packed = builder.create<ParameterOp>(
        parameter.getLoc(),
        getPackedType(cast<RankedTensorType>(parameter.getResult().getType())),
        parameter.getScopeAttr(), parameter.getKeyAttr(),
        TypeAttr::get(parameter.getFileType()));
    use.set(packed);
    ++numPacked;
  }
};
} // namespace
