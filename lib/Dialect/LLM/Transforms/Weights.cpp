// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Changes the types of weights where they are made, at calls and in layers.

#include "Weights.h"
#include "llmir/Dialect/LLM/LLM.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/SymbolTable.h"

using namespace mlir;
using namespace llmir::llm;

namespace {
class WeightTypes {
public:
  explicit WeightTypes(llvm::function_ref<Type(OpOperand &)> newType)
      : newType(newType) {}

  int64_t change(ModuleOp module) {
    SymbolTableCollection symbols;
    SymbolUserMap users(symbols, module);
    for (auto function : module.getOps<func::FuncOp>())
      if (function.isPrivate() && !function.isExternal())
        changeArguments(function, users.getUsers(function));

    SmallVector<ParameterOp> parameters;
    module.walk([&](ParameterOp op) { parameters.push_back(op); });
    for (ParameterOp parameter : parameters) {
      // What one use wants may depend on the others.
      SmallVector<std::pair<OpOperand *, Type>> changes;
      for (OpOperand &use : parameter->getUses())
        if (Type type = newType(use))
          changes.emplace_back(&use, type);
      DenseMap<Type, ParameterOp> forms;
      for (auto [use, type] : changes) {
        ParameterOp &form = forms[type];
        if (!form)
          form = makeForm(parameter, type);
        use->set(form);
        ++count;
      }
      if (parameter->use_empty())
        parameter.erase();
    }
    return count;
  }

private:
  void changeArguments(func::FuncOp function, ArrayRef<Operation *> users) {
    if (!llvm::all_of(users,
                      [](Operation *user) { return isa<func::CallOp>(user); }))
      return;
    for (BlockArgument argument : function.getArguments()) {
      if (argument.use_empty())
        continue;
      unsigned index = argument.getArgNumber();
      Type type = newType(*argument.use_begin());
      if (!type ||
          !llvm::all_of(argument.getUses(),
                        [&](OpOperand &use) { return newType(use) == type; }) ||
          !llvm::all_of(users, [&](Operation *user) {
            return user->getOperand(index).getDefiningOp<ParameterOp>();
          }))
        continue;
      for (Operation *user : users) {
        OpOperand &use = user->getOpOperand(index);
        use.set(makeForm(use.get().getDefiningOp<ParameterOp>(), type));
        ++count;
      }
      argument.setType(type);
      SmallVector<Type> inputs(function.getArgumentTypes());
      inputs[index] = type;
      function.setType(FunctionType::get(function.getContext(), inputs,
                                         function.getResultTypes()));
    }
  }

  /// Makes a parameter that is another one of another type.
  static ParameterOp makeForm(ParameterOp parameter, Type type) {
    OpBuilder builder(parameter);
    builder.setInsertionPointAfter(parameter);
    auto changed = cast<ParameterOp>(builder.clone(*parameter));
    changed.setSourceTypesAttr(builder.getTypeArrayAttr(
        llvm::to_vector_of<Type>(parameter.getFileTypes())));
    changed.getResult().setType(type);
    return changed;
  }

  llvm::function_ref<Type(OpOperand &)> newType;
  int64_t count = 0;
};
} // namespace

int64_t
llmir::llm::retypeWeights(ModuleOp module,
                          llvm::function_ref<Type(OpOperand &)> newType) {
  return WeightTypes(newType).change(module);
}
