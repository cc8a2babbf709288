// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Takes bundles of tensors apart wherever they go.

#include "Bundles.h"
#include "llmir/Dialect/LLM/LLM.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Func/Transforms/OneToNFuncConversions.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/SCF/Transforms/Patterns.h"

using namespace mlir;
using namespace llmir::llm;

/// Checks that what uses bundles can do without. Returns whether there is any.
static FailureOr<bool>
verifyUsers(ModuleOp module, OneToNTypeConverter &converter, bool keepCaches) {
  bool found = false;
  auto isBundle = [&](Type type) { return !converter.isLegal(type); };
  WalkResult result = module.walk([&](Operation *op) {
    if (auto function = dyn_cast<func::FuncOp>(op)) {
      found |= llvm::any_of(function.getArgumentTypes(), isBundle) ||
               llvm::any_of(function.getResultTypes(), isBundle);
      return WalkResult::advance();
    }
    auto bundle = llvm::find_if(op->getOperandTypes(), isBundle);
    Type type;
    if (bundle != op->getOperandTypes().end())
      type = *bundle;
    else if (auto made = llvm::find_if(op->getResultTypes(), isBundle);
             made != op->getResultTypes().end())
      type = *made;
    if (!type)
      return WalkResult::advance();
    found = true;
    if (keepCaches && isa<ShardedTensorType>(type)) {
      op->emitOpError("works on shards, for which there is a reference meaning "
                      "but no code for the CPU");
      return WalkResult::interrupt();
    }
    if ((isa<FromLocalOp>(op) && op->getNumOperands() == 1) ||
        (isa<ToLocalOp>(op) && op->getNumResults() == 1)) {
      op->emitOpError("is what one shard does, which has a meaning only beside "
                      "the others; --llm-join-shards makes the program of all");
      return WalkResult::interrupt();
    }
    // Of bundles, kernels take weights in panels, which are one tensor.
    auto weight = dyn_cast<QuantizedTensorType>(type);
    bool isOurs = isa_and_nonnull<LLMDialect>(op->getDialect()) &&
                  (!isa<CallKernelOp>(op) || (weight && weight.isInPanels()));
    if (isOurs || isa<func::CallOp, func::ReturnOp, scf::ConditionOp,
                      scf::ForOp, scf::IfOp, scf::WhileOp, scf::YieldOp>(op))
      return WalkResult::advance();
    op->emitError("has a value of type ")
        << type << " among its operands or results, which the reference "
        << "lowering cannot take apart";
    return WalkResult::interrupt();
  });
  if (result.wasInterrupted())
    return failure();
  return found;
}

/// Spreads the attributes of arguments, or of results, over what each becomes.
static ArrayAttr spreadAttributes(ArrayAttr attributes, TypeRange types,
                                  TypeConverter &converter) {
  if (!attributes)
    return attributes;
  SmallVector<Attribute> spread;
  for (auto [attribute, type] : llvm::zip(attributes, types)) {
    SmallVector<Type> converted;
    (void)converter.convertType(type, converted);
    spread.append(converted.size(), attribute);
  }
  return ArrayAttr::get(attributes.getContext(), spread);
}

LogicalResult llmir::reference::convertBundles(ModuleOp module,
                                               bool keepCaches) {
  MLIRContext *context = module.getContext();
  OneToNTypeConverter converter;
  RewritePatternSet patterns(context);
  converter.addConversion([](Type type) { return type; });
  if (!keepCaches)
    populateCacheConversion(converter, patterns);
  populateQuantizationConversion(converter, patterns);
  populateShardingConversion(converter, patterns);
  FailureOr<bool> found = verifyUsers(module, converter, keepCaches);
  if (failed(found) || !*found)
    return found;

  SmallVector<std::tuple<func::FuncOp, ArrayAttr, ArrayAttr>> attributes;
  module.walk([&](func::FuncOp function) {
    attributes.emplace_back(
        function,
        spreadAttributes(function.getArgAttrsAttr(),
                         function.getArgumentTypes(), converter),
        spreadAttributes(function.getResAttrsAttr(), function.getResultTypes(),
                         converter));
  });

  populateFuncTypeConversionPatterns(converter, patterns);
  scf::populateSCFStructuralOneToNTypeConversions(converter, patterns);
  if (failed(
          applyPartialOneToNConversion(module, converter, std::move(patterns))))
    return failure();
  for (auto [function, arguments, results] : attributes) {
    if (arguments)
      function.setArgAttrsAttr(arguments);
    if (results)
      function.setResAttrsAttr(results);
  }
  return success();
}
