// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Code for everything that has no kernel. What surrounds the products of a
// language model works on rows, one a token: neighbouring ops are fused into
// one parallel loop over rows, and each becomes a loop nest whose innermost
// dimension is in vectors. Doing this on buffers keeps fusion trivial: all it
// asks is that a row reads no other row that the loop writes.

#include "llmir/Conversion/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Linalg/Utils/Utils.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "mlir/Interfaces/ViewLikeInterface.h"

namespace llmir {
#define GEN_PASS_DEF_VECTORIZEROWS
#include "llmir/Conversion/Passes.h.inc"
} // namespace llmir

using namespace mlir;

/// Two AVX-512 registers of f32: enough independent work for a reduction, few
/// enough registers for an exponential.
static constexpr int64_t kMaxVectorSize = 32;

//===----------------------------------------------------------------------===//
// Which ops work on rows
//===----------------------------------------------------------------------===//

/// The largest power of two, up to kMaxVectorSize, that divides `size`.
static int64_t vectorSizeFor(int64_t size) {
  if (ShapedType::isDynamic(size) || size == 0)
    return 1;
  return std::min<int64_t>(size & -size, kMaxVectorSize);
}

/// Whether `op` can be emitted as loops here: one output, and all loops
/// parallel but perhaps the innermost.
static bool isRowOp(Operation *op) {
  auto linalgOp = dyn_cast<linalg::LinalgOp>(op);
  if (!linalgOp || !linalgOp.hasPureBufferSemantics() ||
      linalgOp.getNumDpsInits() != 1 || linalgOp.getNumLoops() == 0)
    return false;
  SmallVector<utils::IteratorType> iterators = linalgOp.getIteratorTypesArray();
  for (auto [dim, iterator] : llvm::enumerate(iterators))
    if (iterator != utils::IteratorType::parallel &&
        (dim == 0 || dim + 1 != iterators.size()))
      return false;
  for (AffineMap map : linalgOp.getIndexingMapsArray())
    if (!map.isProjectedPermutation(/*allowZeroInResults=*/true))
      return false;
  // Rows of the output are the rows of the loop.
  AffineMap output = linalgOp.getIndexingMapsArray().back();
  return output.getNumResults() > 0 &&
         output.getResult(0) == getAffineDimExpr(0, op->getContext());
}

namespace {
/// Where a loop's extent comes from: a dimension of a function's argument or of
/// another value that is no view, a number that was computed, with the
/// dimension -1, or, without a value, a constant.
using Extent = std::pair<Value, int64_t>;

/// The buffer behind a chain of views, and whether its rows are the view's.
struct Buffer {
  Value base;
  bool sameRows;
};
} // namespace

static Buffer traceBuffer(Value value) {
  bool sameRows = true;
  while (Operation *op = value.getDefiningOp()) {
    if (auto subview = dyn_cast<memref::SubViewOp>(op)) {
      sameRows &=
          !subview.isDynamicOffset(0) && subview.getStaticOffset(0) == 0 &&
          !subview.isDynamicStride(0) && subview.getStaticStride(0) == 1 &&
          !subview.getDroppedDims().test(0);
      value = subview.getSource();
    } else if (auto expand = dyn_cast<memref::ExpandShapeOp>(op)) {
      sameRows &= expand.getReassociationIndices()[0].size() == 1;
      value = expand.getSrc();
    } else if (auto collapse = dyn_cast<memref::CollapseShapeOp>(op)) {
      sameRows &= collapse.getReassociationIndices()[0].size() == 1;
      value = collapse.getSrc();
    } else if (auto view = dyn_cast<ViewLikeOpInterface>(op)) {
      if (isa<memref::ViewOp>(op))
        break;
      sameRows &= isa<memref::CastOp>(op);
      value = view.getViewSource();
    } else {
      break;
    }
  }
  return {value, sameRows};
}

/// Resolves the size of a dimension through views and allocations, so that
/// equal sizes are seen to be equal.
static Extent traceExtent(Value memref, int64_t dim) {
  Buffer buffer = traceBuffer(memref);
  if (dim == 0 && buffer.sameRows)
    memref = buffer.base;
  auto type = cast<MemRefType>(memref.getType());
  if (!type.isDynamicDim(dim))
    return {Value(), type.getDimSize(dim)};
  if (auto alloc = memref.getDefiningOp<memref::AllocOp>()) {
    Value size = alloc.getDynamicSizes()[type.getDynamicDimIndex(dim)];
    if (auto dimOp = size.getDefiningOp<memref::DimOp>())
      if (std::optional<int64_t> index = dimOp.getConstantIndex())
        return traceExtent(dimOp.getSource(), *index);
    return {size, -1};
  }
  return {memref, dim};
}

/// How many of the outermost loops are rows. One, unless the sizes of others
/// are only known in a call, or the first one has a single turn: then all that
/// are parallel, but for the innermost loop, and for the one before it in a
/// product.
static int64_t countRowLoops(linalg::LinalgOp op) {
  SmallVector<int64_t> ranges = op.getStaticLoopRanges();
  int64_t rank = ranges.size();
  if (rank < 3)
    return 1;
  bool isReduction =
      op.getIteratorTypesArray().back() == utils::IteratorType::reduction;
  int64_t most = isReduction && rank > 3 ? rank - 2 : rank - 1;
  bool isKnown = ranges[0] != 1;
  for (int64_t dim = 1; dim < most; ++dim)
    isKnown &= !ShapedType::isDynamic(ranges[dim]);
  return isKnown ? 1 : most;
}

static Extent rowExtent(linalg::LinalgOp op) {
  return traceExtent(op.getDpsInitsMutable()[0].get(), 0);
}

//===----------------------------------------------------------------------===//
// Emitting one op for one row
//===----------------------------------------------------------------------===//

namespace {
/// Emits the loops of one op inside a loop over its rows.
class RowEmitter {
public:
  RowEmitter(linalg::LinalgOp op)
      : op(op), loc(op.getLoc()), rank(op.getNumLoops()),
        iterators(op.getIteratorTypesArray()), maps(op.getIndexingMapsArray()),
        indices(rank), rowLoops(countRowLoops(op)) {
    SmallVector<int64_t> ranges = op.getStaticLoopRanges();
    inner = ranges.back();
    size = 1;
    if (rank > 1 && canVectorize())
      size =
          ShapedType::isDynamic(inner) ? kMaxVectorSize : vectorSizeFor(inner);
  }

  /// The number of rows, if several loops are one over rows.
  Value countRows(OpBuilder &builder) {
    Value count = loopEnd(builder, 0);
    for (int64_t dim = 1; dim < rowLoops; ++dim)
      count = builder.create<arith::MulIOp>(loc, count, loopEnd(builder, dim));
    return count;
  }

  void emit(OpBuilder &builder, Value row) {
    for (int64_t dim = rowLoops - 1; dim > 0; --dim) {
      Value end = loopEnd(builder, dim);
      indices[dim] = builder.create<arith::RemUIOp>(loc, row, end);
      row = builder.create<arith::DivUIOp>(loc, row, end);
    }
    indices[0] = row;
    if (rank == 1)
      return emitBody(builder);
    emitLoops(builder, rowLoops);
  }

private:
  bool isReduction() const {
    return iterators.back() == utils::IteratorType::reduction;
  }
  AffineExpr innerDim() const {
    return getAffineDimExpr(rank - 1, op->getContext());
  }
  /// Whether neighbours along the innermost loop are neighbours in `operand`.
  bool isContiguous(OpOperand &operand) const {
    auto type = cast<MemRefType>(operand.get().getType());
    SmallVector<int64_t> strides;
    int64_t offset;
    return succeeded(getStridesAndOffset(type, strides, offset)) &&
           strides.back() == 1;
  }
  bool usesInner(OpOperand &operand) const {
    return maps[operand.getOperandNumber()].isFunctionOfDim(rank - 1);
  }

  /// Whether all that the op does along its innermost loop has a vector form.
  bool canVectorize() const {
    for (OpOperand &operand : op->getOpOperands()) {
      if (operand.getOperandNumber() >= maps.size() ||
          !isa<MemRefType>(operand.get().getType()) || !usesInner(operand))
        continue;
      AffineMap map = maps[operand.getOperandNumber()];
      if (map.getResults().back() != innerDim() || !isContiguous(operand))
        return false;
    }
    Block &body = op->getRegion(0).front();
    if (isReduction() && !combiner())
      return false;
    for (Operation &nested : body.without_terminator()) {
      if (auto index = dyn_cast<linalg::IndexOp>(nested)) {
        if (static_cast<int64_t>(index.getDim()) != rank - 1)
          continue;
        // To loads from a row it is where their lanes begin; to others it is
        // one number a lane.
        bool isPlace = isPlaceInRow(index);
        for (OpOperand &use : index->getUses()) {
          auto load = dyn_cast<memref::LoadOp>(use.getOwner());
          if (bool(load) != isPlace)
            return false;
          if (load && (use.getOperandNumber() != load->getNumOperands() - 1 ||
                       llvm::is_contained(load.getIndices().drop_back(),
                                          index.getResult())))
            return false;
        }
        continue;
      }
      if (auto load = dyn_cast<memref::LoadOp>(nested)) {
        SmallVector<int64_t> strides;
        int64_t offset;
        if (failed(
                getStridesAndOffset(load.getMemRefType(), strides, offset)) ||
            strides.empty() || strides.back() != 1)
          return false;
        // Only the last index may differ between lanes.
        for (Value index : load.getIndices().drop_back())
          if (!isUniform(index))
            return false;
        Value last = load.getIndices().back();
        if (!isUniform(last) && !last.getDefiningOp<linalg::IndexOp>())
          return false;
        continue;
      }
      if (!OpTrait::hasElementwiseMappableTraits(&nested) &&
          !isa<arith::ConstantOp>(nested))
        return false;
    }
    return true;
  }

  /// Whether the innermost loop's index is what loads take their place from.
  static bool isPlaceInRow(linalg::IndexOp index) {
    return llvm::any_of(index->getUsers(), [](Operation *user) {
      return isa<memref::LoadOp>(user);
    });
  }

  /// Whether a value of the body is the same for all lanes.
  bool isUniform(Value value) const {
    Block &body = op->getRegion(0).front();
    if (auto argument = dyn_cast<BlockArgument>(value)) {
      if (argument.getOwner() != &body)
        return true;
      OpOperand &operand = op->getOpOperand(argument.getArgNumber());
      return !usesInner(operand);
    }
    Operation *definition = value.getDefiningOp();
    if (definition->getBlock() != &body)
      return true;
    if (auto index = dyn_cast<linalg::IndexOp>(definition))
      return static_cast<int64_t>(index.getDim()) != rank - 1;
    return llvm::all_of(definition->getOperands(),
                        [&](Value operand) { return isUniform(operand); });
  }

  /// The op that a reduction combines its old value by, if it has a known
  /// neutral element.
  Operation *combiner() const {
    Block &body = op->getRegion(0).front();
    Operation *combine = body.getTerminator()->getOperand(0).getDefiningOp();
    if (!combine || !isa<arith::AddFOp, arith::AddIOp, arith::MaximumFOp,
                         arith::MinimumFOp>(combine))
      return nullptr;
    BlockArgument old = body.getArguments().back();
    if (!old.hasOneUse() || *old.user_begin() != combine)
      return nullptr;
    return combine;
  }

  /// What combines with any number into that number.
  static TypedAttr neutral(OpBuilder &builder, Operation *combine) {
    Type type = combine->getResult(0).getType();
    double infinity = std::numeric_limits<double>::infinity();
    if (isa<arith::MaximumFOp>(combine))
      return builder.getFloatAttr(type, -infinity);
    if (isa<arith::MinimumFOp>(combine))
      return builder.getFloatAttr(type, infinity);
    return builder.getZeroAttr(type);
  }

  void emitLoops(OpBuilder &builder, int64_t dim) {
    Value zero = builder.create<arith::ConstantIndexOp>(loc, 0);
    Value end = loopEnd(builder, dim);
    bool innermost = dim == rank - 1;
    Value step =
        builder.create<arith::ConstantIndexOp>(loc, innermost ? size : 1);
    Value whole = innermost ? wholeVectors(builder, end, step) : end;
    if (innermost && isReduction())
      return emitReduction(builder, zero, whole, end, step);
    auto loop = builder.create<scf::ForOp>(loc, zero, whole, step);
    {
      OpBuilder::InsertionGuard guard(builder);
      builder.setInsertionPointToStart(loop.getBody());
      indices[dim] = loop.getInductionVar();
      if (innermost)
        emitBody(builder);
      else
        emitLoops(builder, dim + 1);
    }
    if (!hasTail() || !innermost)
      return;
    // What no vector is left for, element by element.
    Value one = builder.create<arith::ConstantIndexOp>(loc, 1);
    auto tail = builder.create<scf::ForOp>(loc, whole, end, one);
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPointToStart(tail.getBody());
    indices[dim] = tail.getInductionVar();
    int64_t vector = std::exchange(size, 1);
    emitBody(builder);
    size = vector;
  }

  /// Whether the innermost loop may end within a vector.
  bool hasTail() const { return size > 1 && ShapedType::isDynamic(inner); }

  /// Where the last whole vector ends.
  Value wholeVectors(OpBuilder &builder, Value end, Value step) {
    if (!hasTail())
      return end;
    Value rest = builder.create<arith::RemUIOp>(loc, end, step);
    return builder.create<arith::SubIOp>(loc, end, rest);
  }

  Value loopEnd(OpBuilder &builder, int64_t dim) {
    AffineExpr expr = getAffineDimExpr(dim, op->getContext());
    for (auto [operand, map] : llvm::zip(op->getOpOperands(), maps))
      for (auto [position, result] : llvm::enumerate(map.getResults()))
        if (result == expr)
          return builder.createOrFold<memref::DimOp>(loc, operand.get(),
                                                     position);
    llvm_unreachable("every loop ranges over an operand");
  }

  void emitBody(OpBuilder &builder) {
    Value value = computeYield(builder, /*old=*/Value());
    OpOperand &output = op.getDpsInitsMutable()[0];
    storeTo(builder, value, output);
  }

  /// One accumulator a lane, then the lanes pairwise, then the old value, then
  /// what no vector is left for: an order that depends on nothing but the size.
  void emitReduction(OpBuilder &builder, Value zero, Value whole, Value end,
                     Value step) {
    OpOperand &output = op.getDpsInitsMutable()[0];
    Value old = loadFrom(builder, output);
    Value init = old;
    Operation *combine = size > 1 ? combiner() : nullptr;
    Type element = old.getType();
    if (combine) {
      auto type = VectorType::get({size}, element);
      init = builder.create<arith::ConstantOp>(
          loc, DenseElementsAttr::get(type, neutral(builder, combine)));
    }
    auto loop = builder.create<scf::ForOp>(loc, zero, whole, step, init);
    {
      OpBuilder::InsertionGuard guard(builder);
      builder.setInsertionPointToStart(loop.getBody());
      indices[rank - 1] = loop.getInductionVar();
      Value next = computeYield(builder, loop.getRegionIterArgs()[0]);
      builder.create<scf::YieldOp>(loc, next);
    }
    Value result = loop.getResult(0);
    if (combine) {
      auto merge = [&](Value a, Value b) {
        return builder
            .create(loc, combine->getName().getIdentifier(), {a, b},
                    a.getType())
            ->getResult(0);
      };
      for (int64_t half = size / 2; half > 0; half /= 2) {
        Value low = builder.create<vector::ExtractStridedSliceOp>(
            loc, result, ArrayRef<int64_t>{0}, ArrayRef<int64_t>{half},
            ArrayRef<int64_t>{1});
        Value high = builder.create<vector::ExtractStridedSliceOp>(
            loc, result, ArrayRef<int64_t>{half}, ArrayRef<int64_t>{half},
            ArrayRef<int64_t>{1});
        result = merge(low, high);
      }
      Value scalar = builder.create<vector::ExtractOp>(loc, result, 0);
      result = merge(old, scalar);
    }
    if (hasTail()) {
      Value one = builder.create<arith::ConstantIndexOp>(loc, 1);
      auto tail = builder.create<scf::ForOp>(loc, whole, end, one, result);
      OpBuilder::InsertionGuard guard(builder);
      builder.setInsertionPointToStart(tail.getBody());
      indices[rank - 1] = tail.getInductionVar();
      int64_t vector = std::exchange(size, 1);
      Value next = computeYield(builder, tail.getRegionIterArgs()[0]);
      builder.create<scf::YieldOp>(loc, next);
      size = vector;
      result = tail.getResult(0);
    }
    storeTo(builder, result, output);
  }

  SmallVector<Value> indicesOf(OpBuilder &builder, OpOperand &operand) {
    SmallVector<Value> result;
    for (AffineExpr expr : maps[operand.getOperandNumber()].getResults()) {
      if (auto dim = dyn_cast<AffineDimExpr>(expr))
        result.push_back(indices[dim.getPosition()]);
      else
        result.push_back(builder.create<arith::ConstantIndexOp>(
            loc, cast<AffineConstantExpr>(expr).getValue()));
    }
    return result;
  }

  Value loadFrom(OpBuilder &builder, OpOperand &operand) {
    auto type = dyn_cast<MemRefType>(operand.get().getType());
    if (!type)
      return operand.get();
    SmallVector<Value> at = indicesOf(builder, operand);
    if (size == 1 || !usesInner(operand))
      return builder.create<memref::LoadOp>(loc, operand.get(), at);
    return builder.create<vector::LoadOp>(
        loc, VectorType::get({size}, type.getElementType()), operand.get(), at);
  }

  void storeTo(OpBuilder &builder, Value value, OpOperand &operand) {
    SmallVector<Value> at = indicesOf(builder, operand);
    if (size == 1 || !usesInner(operand)) {
      builder.create<memref::StoreOp>(loc, value, operand.get(), at);
      return;
    }
    builder.create<vector::StoreOp>(loc, toVector(builder, value),
                                    operand.get(), at);
  }

  Value toVector(OpBuilder &builder, Value value) {
    if (isa<VectorType>(value.getType()))
      return value;
    return builder.create<vector::BroadcastOp>(
        loc, VectorType::get({size}, value.getType()), value);
  }

  /// Emits the body and returns what it yields. `old` stands for the output's
  /// value in a reduction; elsewhere it is loaded.
  Value computeYield(OpBuilder &builder, Value old) {
    Block &body = op->getRegion(0).front();
    IRMapping mapping;
    for (auto [operand, argument] :
         llvm::zip(op->getOpOperands(), body.getArguments())) {
      if (argument.use_empty())
        continue;
      bool isOutput = op.isDpsInit(&operand);
      mapping.map(argument, isOutput && old ? old : loadFrom(builder, operand));
    }
    for (Operation &nested : body.without_terminator())
      emitScalarOrVector(builder, nested, mapping);
    return mapping.lookupOrDefault(body.getTerminator()->getOperand(0));
  }

  void emitScalarOrVector(OpBuilder &builder, Operation &nested,
                          IRMapping &mapping) {
    if (auto index = dyn_cast<linalg::IndexOp>(nested)) {
      Value at = indices[index.getDim()];
      if (size > 1 && static_cast<int64_t>(index.getDim()) == rank - 1 &&
          !isPlaceInRow(index)) {
        auto type = VectorType::get({size}, builder.getIndexType());
        SmallVector<APInt> lanes;
        for (int64_t lane = 0; lane < size; ++lane)
          lanes.push_back(APInt(64, lane));
        Value steps = builder.create<arith::ConstantOp>(
            loc, DenseElementsAttr::get(type, lanes));
        at = builder.create<arith::AddIOp>(loc, toVector(builder, at), steps);
      }
      mapping.map(index.getResult(), at);
      return;
    }
    if (auto load = dyn_cast<memref::LoadOp>(nested)) {
      Value last = load.getIndices().back();
      if (size > 1 && !isUniform(last)) {
        SmallVector<Value> at;
        for (Value index : load.getIndices())
          at.push_back(mapping.lookupOrDefault(index));
        Type element = load.getMemRefType().getElementType();
        mapping.map(load.getResult(),
                    builder.create<vector::LoadOp>(
                        loc, VectorType::get({size}, element),
                        mapping.lookupOrDefault(load.getMemRef()), at));
        return;
      }
    }
    bool anyVector = llvm::any_of(nested.getOperands(), [&](Value operand) {
      return isa<VectorType>(mapping.lookupOrDefault(operand).getType());
    });
    if (!anyVector) {
      builder.clone(nested, mapping);
      return;
    }
    SmallVector<Value> operands;
    for (Value operand : nested.getOperands())
      operands.push_back(toVector(builder, mapping.lookupOrDefault(operand)));
    SmallVector<Type> types;
    for (Type type : nested.getResultTypes())
      types.push_back(VectorType::get({size}, type));
    Operation *vectorized =
        builder.create(loc, nested.getName().getIdentifier(), operands, types,
                       nested.getAttrs());
    mapping.map(nested.getResults(), vectorized->getResults());
  }

  linalg::LinalgOp op;
  Location loc;
  int64_t rank;
  SmallVector<utils::IteratorType> iterators;
  SmallVector<AffineMap> maps;
  SmallVector<Value> indices;
  /// How many of the outermost loops are rows.
  int64_t rowLoops;
  int64_t inner;
  int64_t size;
};
} // namespace

//===----------------------------------------------------------------------===//
// Groups of ops
//===----------------------------------------------------------------------===//

namespace {
/// Ops that share a loop over rows, in order.
class RowGroup {
public:
  bool empty() const { return ops.empty(); }

  /// Adds `op` if it may run row by row after the ops in the group.
  bool tryAdd(linalg::LinalgOp op) {
    Extent extent = rowExtent(op);
    bool isAlone = countRowLoops(op) > 1;
    if (!ops.empty() && (extent != rows || isAlone || alone))
      return false;
    SmallVector<Access> added;
    for (auto [operand, map] :
         llvm::zip(op->getOpOperands(), op.getIndexingMapsArray())) {
      if (!isa<MemRefType>(operand.get().getType()))
        continue;
      bool byRow = map.getNumResults() > 0 &&
                   map.getResult(0) == getAffineDimExpr(0, op->getContext());
      Buffer buffer = traceBuffer(operand.get());
      bool writes = op.isDpsInit(&operand);
      added.push_back({buffer.base, writes, byRow && buffer.sameRows});
    }
    op->getRegion(0).walk([&](memref::LoadOp load) {
      added.push_back({traceBuffer(load.getMemRef()).base, false, false});
    });
    for (const Access &access : added)
      for (ArrayRef<Access> others : {ArrayRef(accesses), ArrayRef(added)})
        for (const Access &other : others)
          if (access.base == other.base && (access.writes || other.writes) &&
              !(access.byRow && other.byRow))
            return false;
    accesses.append(added);
    ops.push_back(op);
    rows = extent;
    alone = isAlone;
    return true;
  }

  /// Replaces the ops by their loop, where the last of them stands.
  void emit() {
    if (ops.empty())
      return;
    OpBuilder builder(ops.back());
    Location loc = builder.getFusedLoc(llvm::map_to_vector(
        ops, [](linalg::LinalgOp op) { return op.getLoc(); }));
    OpFoldResult end = builder.getIndexAttr(rows.second);
    if (alone)
      end = RowEmitter(ops.front()).countRows(builder);
    else if (rows.first)
      end = rows.second < 0 ? rows.first
                            : builder.createOrFold<memref::DimOp>(
                                  loc, rows.first, rows.second);
    auto forall = builder.create<scf::ForallOp>(
        loc, ArrayRef<OpFoldResult>(end), ValueRange(), std::nullopt);
    builder.setInsertionPoint(forall.getTerminator());
    for (linalg::LinalgOp op : ops)
      RowEmitter(op).emit(builder, forall.getInductionVar(0));
    for (linalg::LinalgOp op : ops)
      op->erase();
    ops.clear();
    accesses.clear();
  }

private:
  struct Access {
    Value base;
    bool writes;
    bool byRow;
  };

  SmallVector<linalg::LinalgOp> ops;
  SmallVector<Access> accesses;
  Extent rows;
  /// Whether the only op has several loops over rows.
  bool alone = false;
};

struct VectorizeRowsPass : llmir::impl::VectorizeRowsBase<VectorizeRowsPass> {
  void runOnOperation() override {
    if (getOperation().isExternal())
      return;
    getOperation().walk(rewriteCopy);
    // Of the blocks of loops and conditions as well, each by itself.
    SmallVector<Block *> blocks;
    getOperation().walk([&](Operation *op) {
      if (isa<func::FuncOp, scf::ForOp, scf::IfOp>(op))
        for (Region &region : op->getRegions())
          for (Block &block : region)
            blocks.push_back(&block);
    });
    for (Block *block : blocks) {
      RowGroup group;
      for (Operation &op : llvm::make_early_inc_range(*block)) {
        if (isRowOp(&op)) {
          auto linalgOp = cast<linalg::LinalgOp>(&op);
          if (!group.tryAdd(linalgOp)) {
            group.emit();
            // One that reads other rows of its own output fits nowhere, and
            // stays.
            (void)group.tryAdd(linalgOp);
          }
          continue;
        }
        // Views, sizes and arithmetic on them do not end a group: they move up
        // with it. So do allocations.
        if (isMemoryEffectFree(&op) || isa<memref::AllocOp>(op))
          continue;
        group.emit();
      }
      group.emit();
    }
  }

private:
  /// A copy, as of the dimensions of a head that RoPE leaves alone, is work on
  /// rows like any other. As a copy it would become a call of a library.
  static void rewriteCopy(memref::CopyOp copy) {
    if (!isa<MemRefType>(copy.getSource().getType()) ||
        !isa<MemRefType>(copy.getTarget().getType()))
      return;
    OpBuilder builder(copy);
    linalg::makeMemRefCopyOp(builder, copy.getLoc(), copy.getSource(),
                             copy.getTarget());
    copy.erase();
  }
};
} // namespace
