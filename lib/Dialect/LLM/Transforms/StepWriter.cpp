// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Writes the step: each op that is needed once more, on the rows of any batch,
// with an append and paged attention for each attention.

#include "StepWriter.h"
#include "LogitRows.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlowOps.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

using namespace mlir;
using namespace llmir::llm;

static RankedTensorType typeOf(Value value) {
  return cast<RankedTensorType>(value.getType());
}

/// Whether transposing by the one and then by the other changes nothing.
static bool cancel(ArrayRef<int64_t> first, ArrayRef<int64_t> second) {
  for (auto [i, dim] : llvm::enumerate(second))
    if (first[dim] != static_cast<int64_t>(i))
      return false;
  return true;
}

namespace {
/// The arguments of a step, or what a layer gets of them.
struct Batch {
  Value tokenIds, positions, slots, blockTable, contextLens, rowStarts,
      logitRows, cache;
  /// The layers of the attentions in a layer's function. An entry counts.
  SmallVector<Value> layers;
};

class StepWriter {
public:
  StepWriter(const Planner &planner, PagedKVCacheType cache)
      : planner(planner), rows(planner.rows), cacheType(cache) {}

  /// Writes the step before the entry, and the functions of its layers.
  func::FuncOp writeStep(func::FuncOp entry, Value returned) {
    MLIRContext *context = entry.getContext();
    constexpr int64_t any = ShapedType::kDynamic;
    Type i32 = IntegerType::get(context, 32);
    Type list = RankedTensorType::get({any}, i32),
         table = RankedTensorType::get({any, any}, i32);
    int64_t vocab = typeOf(returned).getShape().back();
    Type logits =
        RankedTensorType::get({any, vocab}, Float32Type::get(context));
    auto type = FunctionType::get(
        context, {list, list, list, table, list, list, list, cacheType},
        {logits, cacheType});
    auto step = func::FuncOp::create(entry.getLoc(), "step", type);
    SymbolTable(entry->getParentOp()).insert(step, Block::iterator(entry));
    Block *block = step.addEntryBlock();
    Function function(OpBuilder::atBlockBegin(block), planner.of(entry));
    ValueRange arguments = block->getArguments();
    function.batch = {arguments[0], arguments[1], arguments[2],
                      arguments[3], arguments[4], arguments[5],
                      arguments[6], arguments[7], {}};
    emitBlock(function, entry.front());
    OpBuilder &b = function.builder;
    Value all =
        rowsOf(function, lookup(function, returned), rows.of(returned).extents);
    Value wanted = pickRows(b, all, function.batch.logitRows);
    if (!typeOf(wanted).getElementType().isF32())
      wanted = b.create<arith::ExtFOp>(wanted.getLoc(), logits, wanted);
    b.create<func::ReturnOp>(entry.front().getTerminator()->getLoc(),
                             ValueRange{wanted, function.batch.cache});
    return step;
  }

  /// The functions that replace others, by these.
  llvm::MapVector<Operation *, SmallVector<func::FuncOp>> replacements;

private:
  struct Function {
    Function(OpBuilder builder, const FunctionPlan &plan)
        : builder(builder), plan(&plan) {}

    OpBuilder builder;
    const FunctionPlan *plan;
    IRMapping values;
    Batch batch;
    /// Of values in the shape [1, rows, ..], those in the shape [rows, ..].
    DenseMap<Value, Value> flat;
    Value numRows;
    size_t layer = 0;
  };

  void emitBlock(Function &f, Block &block) {
    for (Operation &op : block.without_terminator())
      if (f.plan->ops.contains(&op) && !planner.isGiven(op.getResult(0)))
        emit(f, &op);
  }

  Value lookup(Function &f, Value value) {
    if (Value known = f.values.lookupOrNull(value))
      return known;
    // Only what the batch says is not there yet.
    const RowFact &fact = rows.of(value);
    if (!isa<RankedTensorType>(value.getType())) {
      Value size = sizeOf(f, rows.extentOf(fact.sum), value.getLoc());
      if (!value.getType().isIndex())
        size = f.builder.create<arith::IndexCastOp>(value.getLoc(),
                                                    value.getType(), size);
      f.values.map(value, size);
      return size;
    }
    bool isId = fact.sum == Sum::of(Sum::id);
    Value given = isId ? f.batch.tokenIds : f.batch.positions;
    RankedTensorType type = typeOf(value);
    Type element = type.getElementType();
    Location loc = value.getLoc();
    OpBuilder &b = f.builder;
    if (!element.isInteger(32)) {
      Type converted = typeOf(given).clone(element);
      if (element.isIndex())
        given = b.create<arith::IndexCastOp>(loc, converted, given);
      else if (element.getIntOrFloatBitWidth() > 32)
        given = b.create<arith::ExtSIOp>(loc, converted, given);
      else
        given = b.create<arith::TruncIOp>(loc, converted, given);
    }
    if (type.getRank() > 1) {
      ReassociationIndices all =
          llvm::to_vector(llvm::seq<int64_t>(0, type.getRank()));
      SmallVector<int64_t> shape(type.getRank(), 1);
      shape[*tokenDim(fact.extents)] = ShapedType::kDynamic;
      given = b.create<tensor::ExpandShapeOp>(
          loc, RankedTensorType::get(shape, element), given,
          SmallVector<ReassociationIndices>{all});
    }
    given = castTo(b, loc, given, type);
    f.values.map(value, given);
    return given;
  }

  static Value castTo(OpBuilder &b, Location loc, Value value, Type type) {
    return value.getType() == type
               ? value
               : Value(b.create<tensor::CastOp>(loc, type, value));
  }

  Value numRows(Function &f, Location loc) {
    if (!f.numRows) {
      OpBuilder::InsertionGuard guard(f.builder);
      f.builder.setInsertionPointToStart(f.batch.positions.getParentBlock());
      Value zero = f.builder.create<arith::ConstantIndexOp>(loc, 0);
      f.numRows = f.builder.create<tensor::DimOp>(loc, f.batch.positions, zero);
    }
    return f.numRows;
  }

  /// How much of an extent there is in a step, as one sequence without a past.
  Value sizeOf(Function &f, Extent extent, Location loc) {
    if (extent == Extent::sequences)
      return f.builder.create<arith::ConstantIndexOp>(loc, 1);
    if (extent == Extent::past)
      return f.builder.create<arith::ConstantIndexOp>(loc, 0);
    return numRows(f, loc);
  }

  void emit(Function &f, Operation *op) {
    OpBuilder &b = f.builder;
    Location loc = op->getLoc();
    if (isa<tensor::DimOp>(op)) {
      // Of a dimension that is no extent.
      f.values.map(op->getResult(0),
                   b.create<arith::ConstantIndexOp>(
                        loc, *rows.of(op->getResult(0)).sum->asConstant())
                       .getResult());
      return;
    }
    if (auto concat = dyn_cast<tensor::ConcatOp>(op);
        concat && rows.of(concat).has(Extent::context)) {
      // The past is in the cache.
      Value added = lookup(f, concat.getInputs().back());
      f.values.map(concat, castTo(b, loc, added, concat.getType()));
      return;
    }
    if (auto call = dyn_cast<func::CallOp>(op))
      return emitCall(f, call);
    if (auto attention = dyn_cast<AttentionOp>(op))
      return emitAttention(f, attention);
    if (auto reshape = dyn_cast<tensor::ReshapeOp>(op))
      return emitReshape(f, reshape);
    if (auto table = dyn_cast<RopeTableOp>(op)) {
      SmallVector<int64_t> shape(typeOf(table).getShape());
      shape[0] = cacheType.getMaxSeqLen();
      Value frequencies = table.getFrequencies();
      auto longer = b.create<RopeTableOp>(
          loc, typeOf(table).clone(shape),
          frequencies ? lookup(f, frequencies) : Value(), /*length=*/Value(),
          table.getThetaAttr(), table.getScalingAttr(),
          table.getAttentionFactorAttr());
      f.values.map(table.getTable(), longer.getTable());
      return;
    }
    if (auto transpose = dyn_cast<linalg::TransposeOp>(op)) {
      // Past keys and values have their heads elsewhere; alone, the new ones
      // are where they were.
      Value input = lookup(f, transpose.getInput());
      auto before = input.getDefiningOp<linalg::TransposeOp>();
      if (before &&
          cancel(before.getPermutation(), transpose.getPermutation())) {
        f.values.map(transpose->getResult(0), before.getInput());
        return;
      }
    }
    Operation *copy = cloneOp(f, op);
    if (auto structured = dyn_cast<linalg::LinalgOp>(op))
      emitBody(f, structured, cast<linalg::LinalgOp>(copy));
  }

  Operation *cloneOp(Function &f, Operation *op) {
    for (Value operand : op->getOperands())
      lookup(f, operand);
    for (Region &region : op->getRegions())
      region.walk([&](Operation *inner) {
        if (!f.plan->ops.contains(inner))
          return;
        for (Value operand : inner->getOperands())
          if (!region.isAncestor(operand.getParentRegion()))
            lookupIfNeeded(f, operand);
      });
    return f.builder.clone(*op, f.values);
  }

  /// What a body reads of what is around it. Of a position, that may be sizes,
  /// which are not there.
  void lookupIfNeeded(Function &f, Value value) {
    if (planner.isGiven(value))
      lookup(f, value);
  }

  /// Makes positions of a body's indices, and removes what only checks.
  void emitBody(Function &f, linalg::LinalgOp from, linalg::LinalgOp to) {
    auto loopOfTokens = [&]() -> std::optional<unsigned> {
      for (OpOperand &operand : from->getOpOperands()) {
        std::optional<int64_t> dim = tokenDim(rows.of(operand.get()).extents);
        if (!dim)
          continue;
        AffineExpr expr = from.getMatchingIndexingMap(&operand).getResult(*dim);
        return cast<AffineDimExpr>(expr).getPosition();
      }
      return std::nullopt;
    };
    SmallVector<Operation *> copies;
    for (Operation &copy : *to.getBlock())
      copies.push_back(&copy);
    for (auto [inner, copied] : llvm::zip(*from.getBlock(), copies)) {
      Operation &copy = *copied;
      if (inner.getNumResults() != 1 || !f.plan->ops.contains(&inner) ||
          !planner.isOfPosition(inner.getResult(0)))
        continue;
      OpBuilder b(&copy);
      Location loc = copy.getLoc();
      const Sum &sum = *rows.of(inner.getResult(0)).sum;
      Value row = b.create<linalg::IndexOp>(loc, *loopOfTokens());
      Value position = b.create<tensor::ExtractOp>(loc, f.batch.positions, row);
      Type type = copy.getResult(0).getType();
      if (type.isIndex())
        position = b.create<arith::IndexCastOp>(loc, type, position);
      else if (type.getIntOrFloatBitWidth() > 32)
        position = b.create<arith::ExtSIOp>(loc, type, position);
      else if (type.getIntOrFloatBitWidth() < 32)
        position = b.create<arith::TruncIOp>(loc, type, position);
      auto constant = [&](int64_t value) {
        return b.create<arith::ConstantOp>(loc, b.getIntegerAttr(type, value));
      };
      if (int64_t factor = sum.factors[Sum::token]; factor != 1)
        position = b.create<arith::MulIOp>(loc, position, constant(factor));
      if (int64_t shift = sum.factors[Sum::one])
        position = b.create<arith::AddIOp>(loc, position, constant(shift));
      copy.getResult(0).replaceAllUsesWith(position);
    }
    for (Operation &copy :
         llvm::make_early_inc_range(llvm::reverse(*to.getBlock())))
      if (isa<cf::AssertOp>(copy) || isOpTriviallyDead(&copy))
        copy.erase();
  }

  //===--------------------------------------------------------------------===//
  // Shapes
  //===--------------------------------------------------------------------===//

  /// Where the dimension of tokens is, in a shape that begins with it, but for
  /// one of sequences.
  static bool isBySequence(ArrayRef<Extent> extents) {
    return extents.size() > 1 && tokenDim(extents) == 1;
  }

  /// The groups of dimensions when the first two become one.
  static SmallVector<ReassociationIndices> joinFirst(int64_t rank) {
    SmallVector<ReassociationIndices> groups{{0, 1}};
    for (int64_t i = 2; i < rank; ++i)
      groups.push_back({i});
    return groups;
  }

  /// A value in the shape [rows, ..].
  Value rowsOf(Function &f, Value value, ArrayRef<Extent> extents) {
    if (!isBySequence(extents))
      return value;
    if (Value flat = f.flat.lookup(value))
      return flat;
    Value inner = value;
    if (auto cast = inner.getDefiningOp<tensor::CastOp>())
      inner = cast.getSource();
    auto expand = inner.getDefiningOp<tensor::ExpandShapeOp>();
    SmallVector<ReassociationIndices> groups =
        joinFirst(typeOf(value).getRank());
    if (expand && expand.getReassociationIndices() == groups)
      return expand.getSrc();
    auto flat = f.builder.create<tensor::CollapseShapeOp>(value.getLoc(), value,
                                                          groups);
    return flat;
  }

  /// The same in the shape [1, rows, ..], as a value of `type`.
  Value bySequence(Function &f, Value flat, RankedTensorType type) {
    SmallVector<int64_t> shape{1};
    llvm::append_range(shape, typeOf(flat).getShape());
    OpBuilder &b = f.builder;
    Location loc = flat.getLoc();
    Value expanded = b.create<tensor::ExpandShapeOp>(
        loc, RankedTensorType::get(shape, type.getElementType()), flat,
        joinFirst(shape.size()));
    Value value = castTo(b, loc, expanded, type);
    f.flat[value] = flat;
    return value;
  }

  /// Gives the numbers of each row, [rows, ..], another shape.
  Value reshapeRows(Function &f, Value flat, ArrayRef<int64_t> shape) {
    RankedTensorType from = typeOf(flat);
    if (from.getShape().drop_front() == shape)
      return flat;
    OpBuilder &b = f.builder;
    Location loc = flat.getLoc();
    auto groups = [](int64_t rank) {
      SmallVector<ReassociationIndices> groups{{0}, {}};
      for (int64_t i = 1; i < rank; ++i)
        groups[1].push_back(i);
      return groups;
    };
    if (from.getRank() == 1) {
      SmallVector<int64_t> ones{from.getDimSize(0)};
      llvm::append_range(ones, shape);
      return b.create<tensor::ExpandShapeOp>(
          loc, RankedTensorType::get(ones, from.getElementType()), flat,
          SmallVector<ReassociationIndices>{
              llvm::to_vector(llvm::seq<int64_t>(0, ones.size()))});
    }
    if (shape.empty())
      return b.create<tensor::CollapseShapeOp>(
          loc, flat,
          SmallVector<ReassociationIndices>{
              llvm::to_vector(llvm::seq<int64_t>(0, from.getRank()))});
    if (from.getRank() > 2)
      flat =
          b.create<tensor::CollapseShapeOp>(loc, flat, groups(from.getRank()));
    if (shape.size() == 1)
      return flat;
    SmallVector<int64_t> full{from.getDimSize(0)};
    llvm::append_range(full, shape);
    return b.create<tensor::ExpandShapeOp>(
        loc, RankedTensorType::get(full, from.getElementType()), flat,
        groups(full.size()));
  }

  void emitReshape(Function &f, tensor::ReshapeOp op) {
    ArrayRef<Extent> from = rows.of(op.getSource()).extents,
                     to = rows.of(op).extents;
    RankedTensorType type = typeOf(op);
    Value flat = rowsOf(f, lookup(f, op.getSource()), from);
    ArrayRef<int64_t> shape =
        type.getShape().drop_front(isBySequence(to) ? 2 : 1);
    Value result = reshapeRows(f, flat, shape);
    if (isBySequence(to))
      result = bySequence(f, result, type);
    f.values.map(op, castTo(f.builder, op.getLoc(), result, type));
  }

  //===--------------------------------------------------------------------===//
  // Layers
  //===--------------------------------------------------------------------===//

  Value nextLayer(Function &f, Location loc) {
    size_t number = f.layer++;
    if (number < f.batch.layers.size())
      return f.batch.layers[number];
    return f.builder.create<arith::ConstantIndexOp>(loc, number);
  }

  void emitAttention(Function &f, AttentionOp op) {
    OpBuilder &b = f.builder;
    Location loc = op.getLoc();
    auto flat = [&](Value value) {
      return rowsOf(f, lookup(f, value), rows.of(value).extents);
    };
    auto optional = [&](Value value) {
      return value ? lookup(f, value) : Value();
    };
    Value query = flat(op.getQuery()), keys = flat(op.getKeys()),
          values = flat(op.getValues());
    Value layer = nextLayer(f, loc);
    Batch &batch = f.batch;
    auto append = b.create<AppendKVOp>(
        loc, cacheType, Type(), batch.cache, keys, values, /*seq_ids=*/Value(),
        batch.slots, layer, /*block_size=*/IntegerAttr(),
        /*max_seq_len=*/IntegerAttr());
    batch.cache = append.getResult();
    RankedTensorType type = typeOf(op);
    auto attention = b.create<PagedAttentionOp>(
        loc,
        RankedTensorType::get(type.getShape().drop_front(),
                              type.getElementType()),
        query, batch.cache, batch.blockTable, batch.contextLens,
        batch.rowStarts, layer, optional(op.getSinks()),
        optional(op.getAlibi()), /*num_heads=*/IntegerAttr(),
        /*head_dim=*/IntegerAttr(), op.getScaleAttr(), op.getWindowAttr(),
        op.getSoftcapAttr(), /*query_type=*/TypeAttr());
    f.values.map(op, bySequence(f, attention.getResult(), type));
  }

  void emitCall(Function &f, func::CallOp call) {
    auto callee = SymbolTable::lookupNearestSymbolFrom<func::FuncOp>(
        call, call.getCalleeAttr());
    const FunctionPlan &plan = planner.of(callee);
    if (plan.isSameFunction()) {
      SmallVector<Value> operands;
      for (Value operand : call.getOperands())
        operands.push_back(lookup(f, operand));
      if (ValueRange(operands).getTypes() == callee.getArgumentTypes()) {
        f.builder.clone(*call, f.values);
        return;
      }
    }
    // As importers have it: what differs by token, the batch, weights.
    SmallVector<unsigned> perToken, weights;
    for (unsigned i : plan.arguments.set_bits())
      (rows.of(callee.getArgument(i)).isPlain() ? weights : perToken)
          .push_back(i);
    SmallVector<Value> operands;
    for (unsigned i : perToken)
      operands.push_back(lookup(f, call.getOperand(i)));
    Batch &batch = f.batch;
    if (plan.layers) {
      operands.push_back(batch.cache);
      for (int64_t i = 0; i < plan.layers; ++i)
        operands.push_back(nextLayer(f, call.getLoc()));
      operands.append({batch.positions, batch.slots, batch.blockTable,
                       batch.contextLens, batch.rowStarts});
    } else if (plan.usesPositions) {
      operands.push_back(batch.positions);
    }
    for (unsigned i : weights)
      operands.push_back(lookup(f, call.getOperand(i)));

    func::FuncOp function;
    for (func::FuncOp written : replacements[callee])
      if (written.getArgumentTypes() == ValueRange(operands).getTypes())
        function = written;
    if (!function)
      function = writeLayer(callee, plan, perToken, weights, operands);
    auto result =
        f.builder.create<func::CallOp>(call.getLoc(), function, operands);
    auto next = result.getResults().begin();
    for (Value before : call.getResults())
      if (!rows.of(before).has(Extent::context))
        f.values.map(before, *next++);
    if (plan.layers)
      batch.cache = result.getResults().back();
  }

  func::FuncOp writeLayer(func::FuncOp callee, const FunctionPlan &plan,
                          ArrayRef<unsigned> perToken,
                          ArrayRef<unsigned> weights, ValueRange operands) {
    SmallVector<Type> results;
    Operation *terminator = callee.front().getTerminator();
    for (Value value : terminator->getOperands())
      if (!rows.of(value).has(Extent::context))
        results.push_back(value.getType());
    if (plan.layers)
      results.push_back(cacheType);
    auto function = func::FuncOp::create(
        callee.getLoc(), callee.getName(),
        FunctionType::get(callee.getContext(), operands.getTypes(), results));
    function.setPrivate();
    // Under another name for now: the other one is still there.
    SymbolTable(callee->getParentOp())
        .insert(function, Block::iterator(callee));
    replacements[callee].push_back(function);
    Block *block = function.addEntryBlock();
    Function f(OpBuilder::atBlockBegin(block), plan);
    auto *next = block->args_begin();
    for (unsigned i : perToken)
      f.values.map(callee.getArgument(i), *next++);
    if (plan.layers) {
      f.batch.cache = *next++;
      for (int64_t i = 0; i < plan.layers; ++i)
        f.batch.layers.push_back(*next++);
    }
    if (plan.layers || plan.usesPositions)
      f.batch.positions = *next++;
    if (plan.layers) {
      f.batch.slots = *next++;
      f.batch.blockTable = *next++;
      f.batch.contextLens = *next++;
      f.batch.rowStarts = *next++;
    }
    for (unsigned i : weights)
      f.values.map(callee.getArgument(i), *next++);
    emitBlock(f, callee.front());
    SmallVector<Value> returned;
    for (Value value : terminator->getOperands())
      if (!rows.of(value).has(Extent::context))
        returned.push_back(lookup(f, value));
    if (plan.layers)
      returned.push_back(f.batch.cache);
    f.builder.create<func::ReturnOp>(terminator->getLoc(), returned);
    return function;
  }

  const Planner &planner;
  const TokenRows &rows;
  PagedKVCacheType cacheType;
};
} // namespace

WrittenStep llmir::llm::writeStep(const Planner &planner, func::FuncOp entry,
                                  Value logits, PagedKVCacheType cache) {
  StepWriter writer(planner, cache);
  WrittenStep written;
  written.step = writer.writeStep(entry, logits);
  written.layers = std::move(writer.replacements);
  return written;
}
