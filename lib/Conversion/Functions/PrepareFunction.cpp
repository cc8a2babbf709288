// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Programs of tensors come from anywhere. What the code of a function relies on
// is checked here, once: its signature when compiling, and what is only known
// in a call, such as that token ids are rows of their table, by assertions that
// stand before what they guard and not inside of it.

#include "../ModuleUtils.h"
#include "llmir/Conversion/Passes.h"
#include "llmir/Dialect/LLM/LLM.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/Bufferization/IR/BufferizableOpInterface.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlowOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Tensor/Transforms/Transforms.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

namespace llmir {
#define GEN_PASS_DEF_PREPAREFUNCTION
#include "llmir/Conversion/Passes.h.inc"
} // namespace llmir

using namespace mlir;
using namespace llmir::llm;

/// The scope of the weights that a function is compiled with.
static constexpr StringLiteral kModelScope = "model";

//===----------------------------------------------------------------------===//
// Sizes and tensors that are laid together
//===----------------------------------------------------------------------===//

namespace {
/// The size of what has been reshaped is in the shape it was given.
struct DimOfReshape : OpRewritePattern<tensor::DimOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(tensor::DimOp op,
                                PatternRewriter &rewriter) const override {
    auto reshape = op.getSource().getDefiningOp<tensor::ReshapeOp>();
    std::optional<int64_t> dim = op.getConstantIndex();
    if (!reshape || !dim)
      return rewriter.notifyMatchFailure(op, "not of a reshape");
    auto shape = reshape.getShape().getDefiningOp<tensor::FromElementsOp>();
    if (!shape || *dim >= static_cast<int64_t>(shape.getElements().size()))
      return rewriter.notifyMatchFailure(op, "the shape is not made here");
    Value size = shape.getElements()[*dim];
    if (!size.getType().isIndex())
      size = rewriter.create<arith::IndexCastOp>(op.getLoc(),
                                                 rewriter.getIndexType(), size);
    rewriter.replaceOp(op, size);
    return success();
  }
};
} // namespace

//===----------------------------------------------------------------------===//
// Assertions
//===----------------------------------------------------------------------===//

/// Asserts, before `at`, what `holds` makes of the elements at each point of
/// loops over `inputs`.
static void
assertAll(OpBuilder &builder, Location loc, ValueRange inputs,
          ArrayRef<AffineMap> inputMaps, unsigned loops, StringRef message,
          llvm::function_ref<Value(OpBuilder &, ValueRange)> holds) {
  Type i1 = builder.getI1Type();
  Value yes = builder.create<arith::ConstantOp>(
      loc, DenseElementsAttr::get(RankedTensorType::get({}, i1), true));
  SmallVector<AffineMap> maps(inputMaps);
  maps.push_back(AffineMap::get(loops, 0, builder.getContext()));
  auto all = builder.create<linalg::GenericOp>(
      loc, yes.getType(), inputs, yes, maps,
      SmallVector<utils::IteratorType>(loops, utils::IteratorType::reduction),
      [&](OpBuilder &inner, Location, ValueRange arguments) {
        Value both = inner.create<arith::AndIOp>(
            loc, holds(inner, arguments.drop_back()), arguments.back());
        inner.create<linalg::YieldOp>(loc, both);
      });
  Value result =
      builder.create<tensor::ExtractOp>(loc, all.getResult(0), ValueRange());
  builder.create<cf::AssertOp>(loc, result, message);
}

/// Moves an assertion in the body of a generic before it.
static LogicalResult hoist(cf::AssertOp op, linalg::GenericOp generic) {
  Block &body = generic.getRegion().front();
  // What the condition is computed from.
  llvm::SetVector<Operation *> slice;
  llvm::SmallSetVector<int64_t, 4> dims;
  SmallVector<Value> pending = {op.getArg()};
  BitVector used(body.getNumArguments());
  while (!pending.empty()) {
    Value value = pending.pop_back_val();
    if (auto argument = dyn_cast<BlockArgument>(value)) {
      if (argument.getOwner() == &body)
        used.set(argument.getArgNumber());
      continue;
    }
    Operation *definition = value.getDefiningOp();
    if (definition->getBlock() != &body || !slice.insert(definition))
      continue;
    if (auto index = dyn_cast<linalg::IndexOp>(definition))
      dims.insert(index.getDim());
    llvm::append_range(pending, definition->getOperands());
  }
  SmallVector<AffineMap> maps = generic.getIndexingMapsArray();
  if (!llvm::all_of(maps, [](AffineMap map) {
        return map.isProjectedPermutation(/*allowZeroInResults=*/true);
      }))
    return op.emitError("is under subscripts that it cannot be taken out of");
  auto addDims = [&](AffineMap map) {
    for (AffineExpr expr : map.getResults())
      if (auto dim = dyn_cast<AffineDimExpr>(expr))
        dims.insert(dim.getPosition());
  };
  for (unsigned index : used.set_bits())
    addDims(maps[index]);
  // Loops need an operand that says how far they go; the output knows of all.
  SmallVector<unsigned> operands;
  for (unsigned index : used.set_bits())
    operands.push_back(index);
  llvm::SmallDenseSet<int64_t> covered;
  for (unsigned index : operands)
    for (AffineExpr expr : maps[index].getResults())
      if (auto dim = dyn_cast<AffineDimExpr>(expr))
        covered.insert(dim.getPosition());
  unsigned output = generic.getNumDpsInputs();
  bool needsOutput =
      !llvm::all_of(dims, [&](int64_t dim) { return covered.contains(dim); });
  if (needsOutput) {
    addDims(maps[output]);
    if (!used.test(output))
      operands.push_back(output);
  }
  SmallVector<int64_t> order(dims.begin(), dims.end());
  llvm::sort(order);
  MLIRContext *context = op.getContext();
  SmallVector<AffineExpr> renamed(generic.getNumLoops(),
                                  getAffineConstantExpr(0, context));
  for (auto [place, dim] : llvm::enumerate(order))
    renamed[dim] = getAffineDimExpr(place, context);
  SmallVector<Value> inputs;
  SmallVector<AffineMap> inputMaps;
  for (unsigned index : operands) {
    inputs.push_back(generic->getOperand(index));
    inputMaps.push_back(
        maps[index].replaceDimsAndSymbols(renamed, {}, order.size(), 0));
  }
  OpBuilder builder(generic);
  assertAll(builder, op.getLoc(), inputs, inputMaps, order.size(), op.getMsg(),
            [&](OpBuilder &inner, ValueRange arguments) {
              IRMapping mapping;
              for (auto [index, argument] : llvm::zip(operands, arguments))
                mapping.map(body.getArgument(index), argument);
              for (Operation &nested : body) {
                if (!slice.contains(&nested))
                  continue;
                if (auto index = dyn_cast<linalg::IndexOp>(nested)) {
                  auto *place =
                      llvm::find(order, static_cast<int64_t>(index.getDim()));
                  mapping.map(index.getResult(),
                              inner
                                  .create<linalg::IndexOp>(
                                      op.getLoc(), place - order.begin())
                                  .getResult());
                } else {
                  inner.clone(nested, mapping);
                }
              }
              return mapping.lookupOrDefault(op.getArg());
            });
  op.erase();
  return success();
}

/// Takes out of a body what is the same at each of its points, such as sizes:
/// bodies become vector code.
static void hoistInvariants(linalg::GenericOp generic) {
  Region &region = generic.getRegion();
  for (Operation &op :
       llvm::make_early_inc_range(region.front().without_terminator())) {
    bool isInvariant = isPure(&op) && op.getNumRegions() == 0 &&
                       !isa<linalg::IndexOp>(op) &&
                       llvm::all_of(op.getOperands(), [&](Value operand) {
                         return !region.isAncestor(operand.getParentRegion());
                       });
    if (isInvariant)
      op.moveBefore(generic);
  }
}

/// Whether what all elements of `value` make is asserted before `op`.
static bool isAsserted(Value value, StringRef message, Operation *op) {
  for (Operation *user : value.getUsers()) {
    auto all = dyn_cast<linalg::GenericOp>(user);
    if (!all || all->getNumResults() != 1)
      continue;
    for (Operation *extract : all->getResult(0).getUsers())
      for (Operation *assertion : extract->getUsers())
        if (auto found = dyn_cast<cf::AssertOp>(assertion))
          if (found.getMsg() == message &&
              found->getBlock() == op->getBlock() && found->isBeforeInBlock(op))
            return true;
  }
  return false;
}

/// Rows that a table does not have must not be read.
static void checkIndices(EmbeddingOp op) {
  auto table = cast<RankedTensorType>(op.getTable().getType());
  // Before they are narrowed, which may make anything of what is too large.
  Value given = op.getIndices();
  if (auto narrow = given.getDefiningOp<arith::TruncIOp>())
    given = narrow.getIn();
  auto indices = cast<RankedTensorType>(given.getType());
  if (table.isDynamicDim(0) || isa<IndexType>(indices.getElementType()))
    return;
  int64_t rows = table.getDimSize(0);
  OpBuilder builder(op);
  Location loc = op.getLoc();
  std::string message =
      ("an index of an embedding is not one of its " + Twine(rows) + " rows")
          .str();
  if (isAsserted(given, message, op))
    return;
  AffineMap all =
      AffineMap::getMultiDimIdentityMap(indices.getRank(), op.getContext());
  assertAll(builder, loc, given, all, indices.getRank(), message,
            [&](OpBuilder &inner, ValueRange arguments) -> Value {
              // As an unsigned number, a negative one is large.
              Value count = inner.create<arith::ConstantOp>(
                  loc, inner.getIntegerAttr(indices.getElementType(), rows));
              return inner.create<arith::CmpIOp>(loc, arith::CmpIPredicate::ult,
                                                 arguments[0], count);
            });
}

//===----------------------------------------------------------------------===//
// The pass
//===----------------------------------------------------------------------===//

namespace {
struct PrepareFunctionPass
    : llmir::impl::PrepareFunctionBase<PrepareFunctionPass> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    auto main = module.lookupSymbol<func::FuncOp>(llmir::kMainFunction);
    if (!main || main.isExternal() || main.isPrivate()) {
      module.emitError("has no public function `main` with a body");
      return signalPassFailure();
    }
    if (failed(verifySignature(main)) || failed(inlineCalls(main)))
      return signalPassFailure();
    for (auto function :
         llvm::make_early_inc_range(module.getOps<func::FuncOp>()))
      if (function != main)
        function.erase();
    if (failed(verifyBody(main)))
      return signalPassFailure();

    main.walk(hoistInvariants);
    SmallVector<cf::AssertOp> asserts;
    main.walk([&](cf::AssertOp op) { asserts.push_back(op); });
    for (cf::AssertOp op : asserts)
      if (auto generic = dyn_cast<linalg::GenericOp>(op->getParentOp()))
        if (failed(hoist(op, generic)))
          return signalPassFailure();
    SmallVector<EmbeddingOp> lookups(main.getOps<EmbeddingOp>());
    for (EmbeddingOp op : lookups)
      checkIndices(op);

    RewritePatternSet patterns(&getContext());
    patterns.add<DimOfReshape>(&getContext());
    tensor::populateDecomposeTensorConcatPatterns(patterns);
    if (failed(applyPatternsAndFoldGreedily(module, std::move(patterns))))
      return signalPassFailure();
    // What a caller hands in stays as it is.
    for (unsigned i = 0; i < main.getNumArguments(); ++i)
      if (isa<RankedTensorType>(main.getArgumentTypes()[i]))
        main.setArgAttr(i,
                        bufferization::BufferizationDialect::kWritableAttrName,
                        BoolAttr::get(&getContext(), false));
  }

private:
  /// Whether a tensor's elements, or a scalar, have a form in memory.
  static bool isElement(Type type) {
    return type.isInteger(1) || type.isInteger(8) || type.isInteger(16) ||
           type.isInteger(32) || type.isInteger(64) || type.isF16() ||
           type.isBF16() || type.isF32() || type.isF64();
  }

  static bool isArray(Type type) {
    auto tensor = dyn_cast<RankedTensorType>(type);
    return tensor && !tensor.getEncoding() &&
           isElement(tensor.getElementType());
  }

  static LogicalResult verifySignature(func::FuncOp main) {
    for (auto [index, type] : llvm::enumerate(main.getArgumentTypes()))
      if (!isArray(type) && !isElement(type))
        return main.emitError()
               << "argument " << index << " is " << type
               << ", but a function takes tensors and scalars of integers or "
                  "floats";
    for (auto [index, type] : llvm::enumerate(main.getResultTypes()))
      if (!isArray(type))
        return main.emitError()
               << "result " << index << " is " << type
               << ", but a function returns tensors of integers or floats";
    return success();
  }

  LogicalResult inlineCalls(func::FuncOp main) {
    // More calls than a program without recursion has.
    constexpr unsigned most = 1 << 16;
    for (unsigned count = 0;; ++count) {
      func::CallOp call;
      main.walk([&](func::CallOp found) {
        call = found;
        return WalkResult::interrupt();
      });
      if (!call)
        return success();
      auto callee = getOperation().lookupSymbol<func::FuncOp>(call.getCallee());
      if (!callee || callee.isExternal() ||
          !llvm::hasSingleElement(callee.getBody()))
        return call.emitError() << "calls " << call.getCallee()
                                << ", which has no body of one block";
      if (callee == main || count == most)
        return call.emitError("calls itself, in the end");
      OpBuilder builder(call);
      IRMapping mapping;
      mapping.map(callee.getArguments(), call.getOperands());
      for (Operation &op : callee.front().without_terminator())
        builder.clone(op, mapping);
      for (auto [result, value] :
           llvm::zip(call.getResults(),
                     callee.front().getTerminator()->getOperands()))
        result.replaceAllUsesWith(mapping.lookupOrDefault(value));
      call.erase();
    }
  }

  static LogicalResult verifyBody(func::FuncOp main) {
    if (!llvm::hasSingleElement(main.getBody()))
      return main.emitError("must have a single block");
    WalkResult result = main.walk([](Operation *op) {
      if (auto parameter = dyn_cast<ParameterOp>(op);
          parameter && parameter.getScope() != kModelScope) {
        parameter.emitError()
            << "is of the scope \"" << parameter.getScope()
            << "\"; a function's weights are of \"" << kModelScope << '"';
        return WalkResult::interrupt();
      }
      for (Type type : op->getResultTypes())
        if (isa<PagedKVCacheType>(type)) {
          op->emitError("makes a cache; what has one is a step");
          return WalkResult::interrupt();
        }
      return WalkResult::advance();
    });
    return failure(result.wasInterrupted());
  }
};
} // namespace
