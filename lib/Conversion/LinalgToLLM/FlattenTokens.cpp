// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Lays the tokens of a batch end to end. Exporters keep [B, t, ..]; products
// and what surrounds them know rows only, and a ragged batch has nothing else.

#include "Raising.h"
#include "Sizes.h"
#include "llmir/Conversion/Passes.h"
#include "llmir/Dialect/LLM/LLM.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/IRMapping.h"

namespace llmir {
#define GEN_PASS_DEF_FLATTENTOKENS
#include "llmir/Conversion/Passes.h.inc"
} // namespace llmir

using namespace mlir;
using namespace llmir;

/// The tensor of flat rows that one of [B, t, ..] is a view of, brought into
/// the inner shape that it has there, or null.
static Value getRows(OpBuilder &builder, Location loc, Value tensor) {
  auto type = dyn_cast<RankedTensorType>(tensor.getType());
  if (!type || type.getRank() < 3)
    return nullptr;
  if (Value flat = getFlat(tensor))
    return cast<RankedTensorType>(flat.getType()).getRank() ==
                   type.getRank() - 1
               ? flat
               : nullptr;
  // Rows whose inner dimensions are split as well, [T, H * D] as [B, t, H, D].
  auto reshape = tensor.getDefiningOp<tensor::ReshapeOp>();
  auto source = reshape
                    ? dyn_cast<RankedTensorType>(reshape.getSource().getType())
                    : nullptr;
  if (!source || source.getRank() != 2 || source.isDynamicDim(1) ||
      !source.isDynamicDim(0))
    return nullptr;
  ArrayRef<int64_t> inner = type.getShape().drop_front(2);
  if (llvm::any_of(inner, ShapedType::isDynamic) ||
      ShapedType::getNumElements(inner) != source.getDimSize(1))
    return nullptr;
  SmallVector<int64_t> shape = {source.getDimSize(0)};
  llvm::append_range(shape, inner);
  SmallVector<ReassociationIndices> groups(2);
  groups[0] = {0};
  for (size_t dim = 1; dim < shape.size(); ++dim)
    groups[1].push_back(dim);
  return builder.create<tensor::ExpandShapeOp>(
      loc, RankedTensorType::get(shape, type.getElementType()),
      reshape.getSource(), groups);
}

static bool isParallel(utils::IteratorType type) {
  return type == utils::IteratorType::parallel;
}

/// Whether all that reads a tensor reads it as flat rows.
static bool isReadAsRows(Value tensor) {
  return !tensor.use_empty() &&
         llvm::all_of(tensor.getUsers(), [](Operation *user) {
           auto collapse = dyn_cast<tensor::CollapseShapeOp>(user);
           return collapse && collapse.getReassociationIndices()[0] ==
                                  ReassociationIndices{0, 1};
         });
}

namespace {
class Flattener {
public:
  explicit Flattener(func::FuncOp function)
      : function(function), sizes(function), builder(function.getContext()) {}

  int64_t run() {
    SmallVector<Operation *> ops;
    for (Operation &op : function.front())
      ops.push_back(&op);
    int64_t count = 0;
    for (Operation *op : ops) {
      if (op->use_empty())
        continue;
      builder.setInsertionPoint(op);
      if (auto generic = dyn_cast<linalg::GenericOp>(op))
        count += flatten(generic);
      else if (isa<llm::RMSNormOp, llm::LayerNormOp, llm::ActivationOp>(op))
        count += flattenRowwise(op);
      else if (auto slice = dyn_cast<tensor::ExtractSliceOp>(op))
        count += flatten(slice);
      else if (auto collapse = dyn_cast<tensor::CollapseShapeOp>(op))
        simplify(collapse);
    }
    return count;
  }

private:
  /// Reads rows where they are.
  void simplify(tensor::CollapseShapeOp collapse) {
    auto type = collapse.getSrcType();
    if (type.getRank() - collapse.getResultType().getRank() != 1 ||
        collapse.getReassociationIndices()[0] != ReassociationIndices{0, 1})
      return;
    if (Value rows = getRows(builder, collapse.getLoc(), collapse.getSrc()))
      collapse.getResult().replaceAllUsesWith(
          castTo(builder, collapse.getLoc(), rows, collapse.getType()));
  }

  /// Ops that treat each row on its own.
  bool flattenRowwise(Operation *op) {
    auto type = cast<RankedTensorType>(op->getResult(0).getType());
    auto isWhole = [&](Value operand) {
      return cast<RankedTensorType>(operand.getType()).getRank() ==
             type.getRank();
    };
    if (type.getRank() < 3)
      return false;
    Location loc = op->getLoc();
    bool hasRows = llvm::any_of(op->getOperands(), [&](Value operand) {
      return isWhole(operand) && getRows(builder, loc, operand);
    });
    if (!hasRows && !isReadAsRows(op->getResult(0)))
      return false;
    IRMapping mapping;
    Value flat;
    for (Value operand : op->getOperands())
      if (isWhole(operand)) {
        flat = rowsOf(loc, operand);
        mapping.map(operand, flat);
      }
    Operation *made = builder.clone(*op, mapping);
    SmallVector<int64_t> shape(type.getShape().drop_front());
    shape[0] = cast<RankedTensorType>(flat.getType()).getDimSize(0);
    made->getResult(0).setType(
        RankedTensorType::get(shape, type.getElementType()));
    replace(op->getResult(0), made->getResult(0), op->getOperand(0));
    return true;
  }

  /// A slice of columns of all rows.
  bool flatten(tensor::ExtractSliceOp slice) {
    auto type = slice.getSourceType();
    if (type.getRank() < 3 || slice.getType().getRank() != type.getRank())
      return false;
    auto offsets = slice.getMixedOffsets(), extents = slice.getMixedSizes(),
         strides = slice.getMixedStrides();
    for (unsigned dim : {0, 1})
      if (getConstantIntValue(offsets[dim]) != 0 ||
          getConstantIntValue(strides[dim]) != 1 ||
          sizes.ofDim(slice.getSource(), dim) !=
              sizes.ofDim(slice.getResult(), dim))
        return false;
    Location loc = slice.getLoc();
    Value rows = getRows(builder, loc, slice.getSource());
    if (!rows)
      return false;
    auto drop = [](ArrayRef<OpFoldResult> all, OpFoldResult first) {
      SmallVector<OpFoldResult> rest = {first};
      llvm::append_range(rest, all.drop_front(2));
      return rest;
    };
    Value made = builder.create<tensor::ExtractSliceOp>(
        loc, rows, drop(offsets, builder.getIndexAttr(0)),
        drop(extents, tensor::getMixedSize(builder, loc, rows, 0)),
        drop(strides, builder.getIndexAttr(1)));
    replace(slice.getResult(), made, slice.getSource());
    return true;
  }

  /// What a map reads of the first two loops.
  enum class Reads { Neither, Both, Part };

  static Reads readsOf(AffineMap map) {
    bool any = false;
    for (AffineExpr expr : map.getResults())
      any |= expr.isFunctionOfDim(0) || expr.isFunctionOfDim(1);
    if (!any)
      return Reads::Neither;
    MLIRContext *context = map.getContext();
    if (map.getNumResults() < 2 ||
        map.getResult(0) != getAffineDimExpr(0, context) ||
        map.getResult(1) != getAffineDimExpr(1, context))
      return Reads::Part;
    for (AffineExpr expr : map.getResults().drop_front(2))
      if (expr.isFunctionOfDim(0) || expr.isFunctionOfDim(1))
        return Reads::Part;
    return Reads::Both;
  }

  bool flatten(linalg::GenericOp op) {
    unsigned numLoops = op.getNumLoops();
    if (numLoops < 3 || op->getNumResults() != 1 ||
        !isParallel(op.getIteratorTypesArray()[0]) ||
        !isParallel(op.getIteratorTypesArray()[1]) ||
        readsOf(op.getIndexingMapsArray().back()) != Reads::Both)
      return false;
    WalkResult walk = op.getBody()->walk([](linalg::IndexOp index) {
      return index.getDim() < 2 ? WalkResult::interrupt()
                                : WalkResult::advance();
    });
    if (walk.wasInterrupted())
      return false;
    Location loc = op.getLoc();
    Value whole;
    for (OpOperand *input : op.getDpsInputOperands())
      if (isa<RankedTensorType>(input->get().getType()) &&
          readsOf(op.getMatchingIndexingMap(input)) == Reads::Both &&
          getRows(builder, loc, input->get()))
        whole = input->get();
    if (!whole)
      return false;

    // Loops 0 and 1 become loop 0.
    MLIRContext *context = op.getContext();
    SmallVector<AffineExpr> loops = {getAffineDimExpr(0, context),
                                     getAffineDimExpr(0, context)};
    for (unsigned loop = 2; loop < numLoops; ++loop)
      loops.push_back(getAffineDimExpr(loop - 1, context));
    SmallVector<Value> inputs;
    SmallVector<AffineMap> maps;
    auto addMap = [&](AffineMap map, Reads reads) {
      SmallVector<AffineExpr> results;
      for (auto [i, expr] : llvm::enumerate(map.getResults()))
        if (i != 1 || reads != Reads::Both)
          results.push_back(expr.replaceDims(loops));
      maps.push_back(AffineMap::get(numLoops - 1, 0, results, context));
    };
    for (OpOperand *input : op.getDpsInputOperands()) {
      AffineMap map = op.getMatchingIndexingMap(input);
      Reads reads = readsOf(map);
      Value value = input->get();
      if (reads == Reads::Part) {
        value = broadcast(loc, *input, whole);
        // It has all inner loops then.
        addMap(AffineMap::getMultiDimIdentityMap(numLoops, context),
               Reads::Both);
        inputs.push_back(value);
        continue;
      }
      if (reads == Reads::Both)
        value = rowsOf(loc, value);
      addMap(map, reads);
      inputs.push_back(value);
    }
    addMap(op.getIndexingMapsArray().back(), Reads::Both);

    Value rows = getRows(builder, loc, whole);
    OpOperand *out = op.getDpsInitOperand(0);
    auto type = cast<RankedTensorType>(out->get().getType());
    Value init;
    if (op.payloadUsesValueFromOperand(out)) {
      init = rowsOf(loc, out->get());
    } else {
      SmallVector<OpFoldResult> shape = sizesOf(builder, loc, op->getResult(0));
      shape.erase(shape.begin());
      shape[0] = tensor::getMixedSize(builder, loc, rows, 0);
      init = builder.create<tensor::EmptyOp>(loc, shape, type.getElementType());
    }
    SmallVector<utils::IteratorType> iterators = op.getIteratorTypesArray();
    iterators.erase(iterators.begin());
    auto made = builder.create<linalg::GenericOp>(loc, init.getType(), inputs,
                                                  init, maps, iterators);
    IRMapping mapping;
    op.getRegion().cloneInto(&made.getRegion(), mapping);
    made.getRegion().walk(
        [](linalg::IndexOp index) { index.setDim(index.getDim() - 1); });
    replace(op->getResult(0), made->getResult(0), whole);
    return true;
  }

  /// What an input that does not differ among all rows is for each of them.
  Value broadcast(Location loc, OpOperand &input, Value whole) {
    auto op = cast<linalg::GenericOp>(input.getOwner());
    unsigned numLoops = op.getNumLoops();
    SmallVector<OpFoldResult> shape = sizesOf(builder, loc, whole);
    TermView view(op.getContext(), numLoops);
    SmallVector<AffineExpr> loops;
    for (unsigned i = 0; i < numLoops; ++i)
      loops.push_back(view.variable(i));
    Term element = view.operand(input, loops);
    // Rows of a table are looked up for each token.
    Value flat = getFlat(element.value);
    auto embedding =
        (flat ? flat : element.value).getDefiningOp<llm::EmbeddingOp>();
    ArrayRef<AffineExpr> at = element.index;
    if (embedding && flat && at.size() == 3 && at[0] == 0)
      at = at.drop_front();
    if (embedding && numLoops == 3 && at.size() == 2 && at[1] == loops[2]) {
      Term index = view.element(embedding.getIndices(), at[0]);
      Value indices =
          view.materialize(builder, loc, index, ArrayRef(loops).take_front(2),
                           ArrayRef(shape).take_front(2));
      indices = collapseRows(builder, loc, indices, 2);
      auto table = cast<RankedTensorType>(embedding.getTable().getType());
      return builder.create<llm::EmbeddingOp>(
          loc,
          RankedTensorType::get(
              {cast<RankedTensorType>(indices.getType()).getDimSize(0),
               table.getDimSize(1)},
              getElementTypeOrSelf(embedding.getResult().getType())),
          indices, embedding.getTable());
    }
    SmallVector<OpFoldResult> extents(numLoops);
    for (OpOperand &operand : op->getOpOperands())
      for (auto [dim, expr] :
           llvm::enumerate(op.getMatchingIndexingMap(&operand).getResults()))
        if (auto loop = dyn_cast<AffineDimExpr>(expr))
          extents[loop.getPosition()] =
              tensor::getMixedSize(builder, loc, operand.get(), dim);
    return collapseRows(builder, loc,
                        view.materialize(builder, loc, element, loops, extents),
                        2);
  }

  Value rowsOf(Location loc, Value tensor) {
    if (Value rows = getRows(builder, loc, tensor))
      return rows;
    return collapseRows(builder, loc, tensor, 2);
  }

  /// Puts rows in the place of what has the first dimensions of `like`.
  void replace(Value old, Value rows, Value like) {
    Location loc = old.getLoc();
    SmallVector<OpFoldResult> outer = {sizeOf(loc, like, 0),
                                       sizeOf(loc, like, 1)};
    Value result = expandRows(builder, loc, rows, outer);
    old.replaceAllUsesWith(castTo(builder, loc, result, old.getType()));
  }

  OpFoldResult sizeOf(Location loc, Value tensor, int64_t dim) {
    auto type = cast<RankedTensorType>(tensor.getType());
    if (!type.isDynamicDim(dim))
      return builder.getIndexAttr(type.getDimSize(dim));
    return sizes.materialize(builder, loc, sizes.ofDim(tensor, dim),
                             builder.getIndexType());
  }

  func::FuncOp function;
  SizeAnalysis sizes;
  OpBuilder builder;
};

struct FlattenTokensPass : llmir::impl::FlattenTokensBase<FlattenTokensPass> {
  void runOnOperation() override {
    func::FuncOp function = getOperation();
    if (function.isExternal())
      return;
    numFlattened += Flattener(function).run();
    eraseDead(function.getBody());
  }
};
} // namespace
