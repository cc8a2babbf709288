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
/// multiply equal types, and what a norm makes is of the weight's.
static bool isWeight(OpOperand &use) {
  auto linear = dyn_cast<LinearOp>(use.getOwner());
  return linear && &use == &linear.getWeightMutable() &&
         (linear.getNorm() || getElementTypeOrSelf(linear.getInput()) ==
                                  getElementTypeOrSelf(linear.getWeight()));
}

/// The type of a weight's panels at `use`, or null if it has none.
static RankedTensorType packedTypeAt(OpOperand &use) {
  auto type = dyn_cast<RankedTensorType>(use.get().getType());
  return type ? getPackedType(type, cast<LinearOp>(use.getOwner()).getGated())
              : nullptr;
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
      if (argument.use_empty() || !llvm::all_of(argument.getUses(), isWeight))
        continue;
      // As gates and as anything else, a weight is packed in two ways.
      RankedTensorType packed = packedTypeAt(*argument.use_begin());
      if (!packed || !llvm::all_of(argument.getUses(), [&](OpOperand &use) {
            return packedTypeAt(use) == packed;
          }))
        continue;
      unsigned index = argument.getArgNumber();
      if (!llvm::all_of(users, [&](Operation *user) {
            return user->getOperand(index).getDefiningOp<ParameterOp>();
          }))
        continue;
      for (Operation *user : users)
        packUse(user->getOpOperand(index), packed);
      argument.setType(packed);
      SmallVector<Type> inputs(function.getArgumentTypes());
      inputs[index] = packed;
      function.setType(
          FunctionType::get(&getContext(), inputs, function.getResultTypes()));
    }
  }

  /// Packs a parameter where a product is right beside it.
  void packUses(ParameterOp parameter) {
    for (OpOperand &use : llvm::make_early_inc_range(parameter->getUses()))
      if (isWeight(use))
        if (RankedTensorType packed = packedTypeAt(use))
          packUse(use, packed);
  }

  /// Replaces a parameter, at one use, by its packed form.
  void packUse(OpOperand &use, RankedTensorType packed) {
    auto parameter = use.get().getDefiningOp<ParameterOp>();
    OpBuilder builder(parameter);
    builder.setInsertionPointAfter(parameter);
    auto panels = builder.create<ParameterOp>(
        parameter.getLoc(), packed, parameter.getScopeAttr(),
        parameter.getKeysAttr(),
        builder.getTypeArrayAttr(
            llvm::to_vector_of<Type>(parameter.getFileTypes())));
    use.set(panels);
    ++numPacked;
  }
};
} // namespace
