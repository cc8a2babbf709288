// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Answers the questions that an exported program asks of its own sizes, and
// writes each size once, so that tensors of equal shapes are seen to have them.

#include "Sizes.h"
#include "llmir/Conversion/Passes.h"

#include "llmir/Dialect/LLM/LLM.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlowOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Dominance.h"
#include "mlir/IR/Matchers.h"
#include "mlir/Transforms/CSE.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

namespace llmir {
#define GEN_PASS_DEF_SIMPLIFYSIZES
#include "llmir/Conversion/Passes.h.inc"
} // namespace llmir

using namespace mlir;
using namespace llmir;

/// Whether this is arithmetic that the analysis looks into.
static bool isSizeArithmetic(Operation *op) {
  return isa<arith::IndexCastOp, arith::ExtSIOp, arith::ExtUIOp, arith::AddIOp,
             arith::SubIOp, arith::MulIOp, arith::DivSIOp, arith::FloorDivSIOp,
             arith::CeilDivSIOp, arith::MinSIOp, arith::MaxSIOp,
             arith::SelectOp, affine::AffineApplyOp, tensor::DimOp>(op) &&
         op->getResult(0).getType().isIntOrIndex() &&
         !op->getResult(0).getType().isInteger(1);
}

/// The tensor that a chain of ops which move no element starts from.
static Value rootOfReshapes(Value value) {
  while (Operation *op = value.getDefiningOp()) {
    if (!isa<tensor::ReshapeOp, tensor::CollapseShapeOp, tensor::ExpandShapeOp,
             tensor::CastOp>(op) ||
        !isa<RankedTensorType>(op->getOperand(0).getType()))
      break;
    value = op->getOperand(0);
  }
  return value;
}

/// Which dimensions of `fine` make up each of `coarse`, if some do.
static std::optional<SmallVector<ReassociationIndices>>
groupDims(ArrayRef<Size> fine, ArrayRef<Size> coarse) {
  SmallVector<ReassociationIndices> groups;
  size_t next = 0;
  for (const Size &size : coarse) {
    ReassociationIndices &group = groups.emplace_back();
    Size product(1);
    do {
      if (next == fine.size())
        return std::nullopt;
      product = product * fine[next];
      group.push_back(next++);
    } while (product != size);
  }
  // What is left can only be units.
  for (; next < fine.size(); ++next) {
    if (groups.empty() || fine[next] != Size(1))
      return std::nullopt;
    groups.back().push_back(next);
  }
  return groups;
}

namespace {
class SizeSimplifier {
public:
  explicit SizeSimplifier(func::FuncOp function)
      : function(function), sizes(function), builder(function.getContext()) {}

  void run(Pass::Statistic &numAnswered, Pass::Statistic &numReshapes) {
    SmallVector<Operation *> ops;
    function.walk([&](Operation *op) { ops.push_back(op); });
    for (Operation *op : ops) {
      builder.setInsertionPoint(op);
      if (isSizeArithmetic(op))
        simplifyArithmetic(op);
      else if (auto compare = dyn_cast<arith::CmpIOp>(op))
        numAnswered += answer(compare);
      else if (isa<tensor::ReshapeOp, tensor::CollapseShapeOp,
                   tensor::ExpandShapeOp, tensor::CastOp>(op))
        numReshapes += simplifyReshape(op);
    }
    for (Operation *op : ops)
      if (auto assertion = dyn_cast<cf::AssertOp>(op);
          assertion && matchPattern(assertion.getArg(), m_One()))
        assertion.erase();
    sizes.assertUnified();
  }

private:
  void simplifyArithmetic(Operation *op) {
    Value value = op->getResult(0);
    Size size = sizes.of(value);
    if (value.use_empty() || !sizes.isWorthWriting(value))
      return;
    value.replaceAllUsesWith(
        sizes.materialize(builder, op->getLoc(), size, value.getType()));
  }

  bool answer(arith::CmpIOp compare) {
    if (isa<ShapedType>(compare.getLhs().getType()))
      return false;
    std::optional<bool> known =
        sizes.decide(compare.getPredicate(), sizes.of(compare.getLhs()),
                     sizes.of(compare.getRhs()));
    if (!known)
      return false;
    compare.getResult().replaceAllUsesWith(builder.create<arith::ConstantOp>(
        compare.getLoc(), builder.getBoolAttr(*known)));
    return true;
  }

  /// A chain of reshapes is one, or none.
  bool simplifyReshape(Operation *op) {
    Value value = op->getResult(0);
    Value root = rootOfReshapes(value);
    auto type = dyn_cast<RankedTensorType>(value.getType());
    if (!type || root == value || value.use_empty())
      return false;
    Location loc = op->getLoc();
    SmallVector<Size> from = sizes.shapeOf(root), to = sizes.shapeOf(value);
    Value made;
    if (from == to) {
      made = root;
    } else if (std::optional<SmallVector<ReassociationIndices>> groups =
                   groupDims(from, to)) {
      made = builder.create<tensor::CollapseShapeOp>(loc, root, *groups);
    } else if (groups = groupDims(to, from);
               groups && hasOneDynamicDimEach(*groups, type) &&
               isStaticWhereGroupsAre(*groups, root, type)) {
      made = builder.create<tensor::ExpandShapeOp>(loc, type, root, *groups);
    } else if (isa<tensor::ReshapeOp>(op) && op->getOperand(0) == root) {
      return false;
    } else {
      SmallVector<Value> shape = llvm::map_to_vector(to, [&](const Size &size) {
        return sizes.materialize(builder, loc, size, builder.getIndexType());
      });
      made = builder.create<tensor::ReshapeOp>(
          loc, type, root, builder.create<tensor::FromElementsOp>(loc, shape));
    }
    if (made.getType() != type)
      made = builder.create<tensor::CastOp>(loc, type, made);
    value.replaceAllUsesWith(made);
    return made.getDefiningOp() != op;
  }

  static bool hasOneDynamicDimEach(ArrayRef<ReassociationIndices> groups,
                                   RankedTensorType type) {
    return llvm::all_of(groups, [&](const ReassociationIndices &group) {
      return llvm::count_if(group, [&](int64_t dim) {
               return type.isDynamicDim(dim);
             }) <= 1;
    });
  }

  /// Whether a dimension is dynamic where one of those that it becomes is.
  static bool isStaticWhereGroupsAre(ArrayRef<ReassociationIndices> groups,
                                     Value root, RankedTensorType type) {
    auto rootType = cast<RankedTensorType>(root.getType());
    return llvm::all_of(llvm::enumerate(groups), [&](auto group) {
      bool isDynamic = llvm::any_of(
          group.value(), [&](int64_t dim) { return type.isDynamicDim(dim); });
      return isDynamic == rootType.isDynamicDim(group.index());
    });
  }

  func::FuncOp function;
  SizeAnalysis sizes;
  OpBuilder builder;
};

struct SimplifySizesPass : llmir::impl::SimplifySizesBase<SimplifySizesPass> {
  void runOnOperation() override {
    func::FuncOp function = getOperation();
    if (function.isExternal())
      return;
    SizeSimplifier(function).run(numAnswered, numReshapes);
    // What nobody asks for any more goes, and what is left stands once.
    if (failed(applyPatternsAndFoldGreedily(function, {})))
      return signalPassFailure();
    IRRewriter rewriter(&getContext());
    DominanceInfo dominance(function);
    eliminateCommonSubExpressions(rewriter, dominance, function);
  }
};
} // namespace
