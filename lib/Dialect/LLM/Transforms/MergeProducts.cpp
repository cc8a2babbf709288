// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Products that read the same input become one: it is read and prepared once,
// and the threads meet once instead of once for each. Weights of layers come in
// as arguments, so merging them crosses calls.

#include "FusionModel.h"
#include "llmir/Dialect/LLM/LLM.h"
#include "llmir/Dialect/LLM/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/MapVector.h"

namespace llmir::llm {
#define GEN_PASS_DEF_LLMMERGEPRODUCTS
#include "llmir/Dialect/LLM/Passes.h.inc"
} // namespace llmir::llm

using namespace mlir;
using namespace llmir::llm;

/// The activation that is all a product is computed for, or null. Of a product
/// that was merged, it reads slices.
static Operation *activationOf(Operation *op) {
  Operation *activation = nullptr;
  for (Operation *user : op->getUsers()) {
    if (isa<tensor::DimOp>(user))
      continue;
    Operation *next =
        isa<tensor::ExtractSliceOp>(user) ? activationOf(user) : user;
    if (!isa_and_nonnull<ActivationOp>(next) ||
        (activation && activation != next))
      return nullptr;
    activation = next;
  }
  return activation;
}

/// A tensor of `types` laid end to end along dimension `dim`.
static RankedTensorType joinTypes(ArrayRef<RankedTensorType> types,
                                  unsigned dim) {
  SmallVector<int64_t> shape(types[0].getShape());
  for (RankedTensorType type : types.drop_front())
    shape[dim] += type.getDimSize(dim);
  return RankedTensorType::get(shape, types[0].getElementType());
}

static RankedTensorType typeOf(Value value) {
  return cast<RankedTensorType>(value.getType());
}

namespace {
struct MergeProductsPass
    : llmir::llm::impl::LLMMergeProductsBase<MergeProductsPass> {
  using LLMMergeProductsBase::LLMMergeProductsBase;

  void runOnOperation() override {
    if (which != "all" && which != "gated" && which != "plain") {
      emitError(getOperation().getLoc())
          << "llm-merge-products: which must be all, gated or plain, but is "
          << which;
      return signalPassFailure();
    }
    SymbolTableCollection symbols;
    SymbolUserMap users(symbols, getOperation());
    for (auto function : getOperation().getOps<func::FuncOp>()) {
      if (function.isExternal())
        continue;
      calls.clear();
      hasKnownCalls = function.isPrivate();
      for (Operation *user : users.getUsers(function)) {
        if (auto call = dyn_cast<func::CallOp>(user))
          calls.push_back(call);
        else
          hasKnownCalls = false;
      }
      merged = BitVector(function.getNumArguments());
      function.walk([&](Block *block) { mergeIn(*block); });
      if (merged.none())
        continue;
      for (func::CallOp call : calls)
        call->eraseOperands(merged);
      function.setType(FunctionType::get(&getContext(),
                                         function.front().getArgumentTypes(),
                                         function.getResultTypes()));
      function.eraseArguments(merged);
    }
  }

private:
  /// What products have in common that become one: the input, whether their
  /// weights are arguments, the scope of these, the types of weight, result and
  /// bias, and the activation that is all they are computed for. Those of an
  /// activation stay apart from others, so that it can become an epilogue.
  using Key =
      std::tuple<Value, unsigned, Attribute, Type, Type, Type, Operation *>;

  void mergeIn(Block &block) {
    llvm::MapVector<Key, SmallVector<LinearOp>> groups;
    for (auto op : block.getOps<LinearOp>())
      if (std::optional<Key> key = keyOf(op))
        groups[*key].push_back(op);
    for (auto &[key, products] : groups) {
      bool isGated = std::get<Operation *>(key) != nullptr;
      if (which == (isGated ? "plain" : "gated"))
        continue;
      if (products.size() > 1 && isWorthwhile(products))
        merge(products);
    }
  }

  /// One product reads its input once.
  bool isWorthwhile(ArrayRef<LinearOp> products) {
    SmallVector<Operation *> before(products.begin(), products.end());
    SmallVector<RankedTensorType> weights, biases, results;
    for (LinearOp product : products) {
      weights.push_back(typeOf(product.getWeight()));
      if (product.getBias())
        biases.push_back(typeOf(product.getBias()));
      results.push_back(typeOf(product.getResult()));
    }
    // Weights that stand for those that would be made.
    OpBuilder nowhere(&getContext());
    Location loc = before[0]->getLoc();
    auto whole = [&](ArrayRef<RankedTensorType> types) -> Value {
      return nowhere.create<tensor::EmptyOp>(loc, joinTypes(types, 0),
                                             ValueRange());
    };
    Value weight = whole(weights);
    Value bias = biases.empty() ? Value() : whole(biases);
    LinearOp product = products[0];
    auto merged = nowhere.create<LinearOp>(loc, joinTypes(results, 1),
                                           product.getInput(), weight, bias);
    FusionModel model(bandwidth, peak, call, tokens);
    bool isWorthwhile = model.isNoWorse(before, {merged.getOperation()});
    merged->erase();
    weight.getDefiningOp()->erase();
    if (bias)
      bias.getDefiningOp()->erase();
    return isWorthwhile;
  }

  std::optional<Key> keyOf(LinearOp op) {
    if (op.getNorm() || op.getResidual() || op.getActivation() ||
        op.getGated() || hasPackedWeight(op))
      return std::nullopt;
    StringAttr scope = scopeOf(op.getWeight());
    if (!scope || (op.getBias() && scopeOf(op.getBias()) != scope))
      return std::nullopt;
    bool isArgument = isa<BlockArgument>(op.getWeight());
    if (op.getBias() && isa<BlockArgument>(op.getBias()) != isArgument)
      return std::nullopt;
    return Key(op.getInput(), isArgument, scope,
               typeOf(op.getWeight()).getElementType(),
               typeOf(op.getResult()).getElementType(),
               op.getBias() ? typeOf(op.getBias()).getElementType() : Type(),
               activationOf(op));
  }

  /// The scope of a parameter that nothing else uses, be it beside the product
  /// or passed in by every call. Null for anything else.
  StringAttr scopeOf(Value value) {
    if (!value.hasOneUse())
      return nullptr;
    // What is transposed is not laid end to end with what is not.
    if (auto parameter = value.getDefiningOp<ParameterOp>())
      return parameter.getTransposed() ? StringAttr()
                                       : parameter.getScopeAttr();
    auto argument = dyn_cast<BlockArgument>(value);
    if (!argument || !isa<func::FuncOp>(argument.getOwner()->getParentOp()) ||
        !hasKnownCalls || calls.empty())
      return nullptr;
    StringAttr scope;
    for (func::CallOp call : calls) {
      auto parameter =
          call.getOperand(argument.getArgNumber()).getDefiningOp<ParameterOp>();
      if (!parameter || parameter.getTransposed() ||
          (scope && scope != parameter.getScopeAttr()))
        return nullptr;
      scope = parameter.getScopeAttr();
    }
    return scope;
  }

  void merge(SmallVector<LinearOp> products) {
    LinearOp first = products.front();
    // Gates come first, whatever is written first.
    if (auto activation = dyn_cast_or_null<ActivationOp>(activationOf(first)))
      if (activation.getInput() != first.getResult())
        std::swap(products[0], products[1]);

    SmallVector<Value> weights, biases;
    SmallVector<RankedTensorType> results;
    for (LinearOp product : products) {
      weights.push_back(product.getWeight());
      if (product.getBias())
        biases.push_back(product.getBias());
      results.push_back(typeOf(product.getResult()));
    }
    Location loc = first.getLoc();
    OpBuilder builder(first);
    Value weight = mergeValues(weights);
    Value bias = biases.empty() ? Value() : mergeValues(biases);
    Value all = builder.create<LinearOp>(loc, joinTypes(results, 1),
                                         first.getInput(), weight, bias);
    OpFoldResult rows = tensor::getMixedSize(builder, loc, all, 0);
    OpFoldResult zero = builder.getIndexAttr(0), one = builder.getIndexAttr(1);
    int64_t column = 0;
    for (auto [product, type] : llvm::zip(products, results)) {
      Value slice = builder.create<tensor::ExtractSliceOp>(
          loc, type, all,
          ArrayRef<OpFoldResult>{zero, builder.getIndexAttr(column)},
          ArrayRef<OpFoldResult>{rows,
                                 builder.getIndexAttr(type.getDimSize(1))},
          ArrayRef<OpFoldResult>{one, one});
      column += type.getDimSize(1);
      product.getResult().replaceAllUsesWith(slice);
      ++numMerged;
    }
    for (LinearOp product : products)
      product.erase();
    for (ArrayRef<Value> values : {ArrayRef(weights), ArrayRef(biases)})
      for (Value value : values)
        if (auto parameter = value.getDefiningOp<ParameterOp>())
          eraseIfUnused(parameter);
  }

  /// Lays parameters end to end, here or where they are passed in.
  Value mergeValues(ArrayRef<Value> values) {
    if (!isa<BlockArgument>(values[0]))
      return mergeParameters(values);
    auto kept = cast<BlockArgument>(values[0]);
    for (func::CallOp call : calls) {
      SmallVector<Value> operands =
          llvm::map_to_vector(values, [&](Value value) {
            return call.getOperand(cast<BlockArgument>(value).getArgNumber());
          });
      Value whole = mergeParameters(operands);
      kept.setType(whole.getType());
      // The operands that go are erased when all groups are done.
      for (Value value : values)
        call.setOperand(cast<BlockArgument>(value).getArgNumber(), whole);
      for (Value operand : operands)
        eraseIfUnused(operand.getDefiningOp<ParameterOp>());
    }
    for (Value value : values.drop_front())
      merged.set(cast<BlockArgument>(value).getArgNumber());
    return kept;
  }

  static void eraseIfUnused(ParameterOp parameter) {
    if (parameter && parameter->use_empty())
      parameter.erase();
  }

  /// The merged parameter stands where the first of its parts does.
  static Value mergeParameters(ArrayRef<Value> values) {
    SmallVector<Attribute> keys, slices;
    SmallVector<Type> sources;
    bool isSliced = false;
    SmallVector<RankedTensorType> types;
    Operation *place = values[0].getDefiningOp();
    for (Value value : values) {
      auto parameter = value.getDefiningOp<ParameterOp>();
      llvm::append_range(keys, parameter.getKeys());
      llvm::append_range(sources, parameter.getFileTypes());
      isSliced |= parameter.getSlices().has_value();
      if (parameter.getSlices())
        llvm::append_range(slices, *parameter.getSlices());
      else
        for (RankedTensorType type : parameter.getFileTypes())
          slices.push_back(SliceAttr::get(type.getContext(), /*dim=*/0,
                                          /*offset=*/0, type.getDimSize(0),
                                          /*stride=*/0, /*repeat=*/1));
      types.push_back(typeOf(value));
      if (parameter->getBlock() == place->getBlock() &&
          parameter->isBeforeInBlock(place))
        place = parameter;
    }
    OpBuilder builder(place);
    return builder.create<ParameterOp>(
        place->getLoc(), joinTypes(types, 0),
        cast<ParameterOp>(place).getScopeAttr(), builder.getArrayAttr(keys),
        builder.getTypeArrayAttr(sources),
        isSliced ? builder.getArrayAttr(slices) : ArrayAttr());
  }

  /// The calls of the function at hand, and whether these are all its uses.
  SmallVector<func::CallOp> calls;
  bool hasKnownCalls = false;
  /// Arguments whose contents another one has taken in.
  BitVector merged;
};
} // namespace
