// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Finds embeddings: rows of a matrix gathered by an integer that is data, or
// one that is computed from a position.

#include "Raising.h"
#include "llmir/Conversion/Passes.h"
#include "llmir/Dialect/LLM/LLM.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlowOps.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

namespace llmir {
#define GEN_PASS_DEF_RAISEEMBEDDING
#include "llmir/Conversion/Passes.h.inc"
} // namespace llmir

using namespace mlir;
using namespace llmir;

/// Makes i32 indices of a tensor of integers that lie within a table of so many
/// rows: others are moved to its ends, so that nothing beside it is read.
static Value clampIndices(OpBuilder &builder, Location loc, Value indices,
                          ArrayRef<OpFoldResult> sizes, int64_t rows) {
  Value empty =
      builder.create<tensor::EmptyOp>(loc, sizes, builder.getI32Type());
  SmallVector<AffineMap> maps(
      2, AffineMap::getMultiDimIdentityMap(sizes.size(), builder.getContext()));
  SmallVector<utils::IteratorType> iterators(sizes.size(),
                                             utils::IteratorType::parallel);
  Type element = getElementTypeOrSelf(indices.getType());
  Type computed = element;
  if (element.isIndex())
    computed = builder.getI64Type();
  else if (element.getIntOrFloatBitWidth() < 32)
    computed = builder.getI32Type();
  Value first = builder.create<arith::ConstantOp>(
      loc, builder.getIntegerAttr(computed, 0));
  Value last = builder.create<arith::ConstantOp>(
      loc, builder.getIntegerAttr(computed, rows - 1));
  return builder
      .create<linalg::GenericOp>(
          loc, empty.getType(), indices, empty, maps, iterators,
          [&](OpBuilder &body, Location loc, ValueRange arguments) {
            Value index = arguments[0];
            if (element.isIndex())
              index = body.create<arith::IndexCastOp>(loc, computed, index);
            else if (element != computed)
              index = body.create<arith::ExtSIOp>(loc, computed, index);
            index = body.create<arith::MaxSIOp>(loc, index, first);
            index = body.create<arith::MinSIOp>(loc, index, last);
            if (!computed.isInteger(32))
              index =
                  body.create<arith::TruncIOp>(loc, body.getI32Type(), index);
            body.create<linalg::YieldOp>(loc, index);
          })
      .getResult(0);
}

/// Raises a generic whose elements are those of rows of a table.
static bool raise(linalg::GenericOp root) {
  unsigned rank = root.getNumLoops();
  TermView view(root.getContext(), rank);
  auto extract = root.getBody()
                     ->getTerminator()
                     ->getOperand(0)
                     .getDefiningOp<tensor::ExtractOp>();
  if (!extract || extract->getBlock() != root.getBody() || rank == 0)
    return false;
  auto table = cast<RankedTensorType>(extract.getTensor().getType());
  auto type = cast<RankedTensorType>(root.getResult(0).getType());
  if (table.getRank() != 2 || !table.hasStaticShape() ||
      !isa<FloatType>(table.getElementType()) ||
      table.getDimSize(1) != type.getShape().back())
    return false;
  SmallVector<AffineExpr, 4> loops;
  for (unsigned i = 0; i < rank; ++i)
    loops.push_back(view.variable(i));
  Term result{extract.getResult(), loops};
  std::optional<AffineExpr> column = view.getAffine(view.getOperand(result, 2));
  ArrayRef<AffineExpr> rows = ArrayRef<AffineExpr>(loops).drop_back();
  Term row = view.resolveInRange(view.getOperand(result, 1));
  if (column != loops.back() || !view.dependsOnlyOn(row, rows))
    return false;
  // A conversion to index is undone; integers come as they are.
  if (auto cast = view.getOp<arith::IndexCastOp>(row))
    row = view.getOperand(row, 0);

  OpBuilder builder(root);
  Location loc = root.getLoc();
  SmallVector<OpFoldResult> sizes = sizesOf(builder, loc, root.getResult(0));
  sizes.pop_back();
  Value indices = view.materialize(builder, loc, row, rows, sizes);
  indices = clampIndices(builder, loc, indices, sizes, table.getDimSize(0));
  Value flat;
  if (sizes.empty()) {
    SmallVector<ReassociationIndices> groups;
    flat = builder.create<tensor::ExpandShapeOp>(
        loc, RankedTensorType::get({1}, builder.getI32Type()), indices, groups);
  } else {
    flat = collapseRows(builder, loc, indices, sizes.size());
  }
  Value rowsOf = builder.create<llm::EmbeddingOp>(
      loc,
      RankedTensorType::get(
          {cast<RankedTensorType>(flat.getType()).getDimSize(0),
           table.getDimSize(1)},
          type.getElementType()),
      flat, extract.getTensor());
  if (sizes.empty()) {
    SmallVector<ReassociationIndices> groups = {{0, 1}};
    rowsOf = builder.create<tensor::CollapseShapeOp>(loc, rowsOf, groups);
  } else {
    rowsOf = expandRows(builder, loc, rowsOf, sizes);
  }
  root.getResult(0).replaceAllUsesWith(castTo(builder, loc, rowsOf, type));
  // Its assertions, that indices lie within the table, are what clamping is
  // for.
  root.erase();
  return true;
}

namespace {
struct RaiseEmbeddingPass
    : llmir::impl::RaiseEmbeddingBase<RaiseEmbeddingPass> {
  void runOnOperation() override {
    for (linalg::GenericOp root : elementwiseRoots(getOperation()))
      if (!root->use_empty() && raise(root))
        ++numRaised;
    eraseDead(getOperation().getBody());
  }
};
} // namespace
