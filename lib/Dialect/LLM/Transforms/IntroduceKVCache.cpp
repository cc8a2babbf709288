// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A program from PyTorch computes whole sequences. Where it treats each token
// by itself but for causal attention, its body is that of a step as well: the
// new tokens of any sequences stand where those of one sequence stood, and
// attention reads from the cache what is not among them.

#include "CacheDtype.h"
#include "TokenRows.h"
#include "llmir/Dialect/LLM/LLM.h"
#include "llmir/Dialect/LLM/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlowOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/TypeUtilities.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"
#include "llvm/ADT/BitVector.h"
#include "llvm/ADT/MapVector.h"

namespace llmir::llm {
#define GEN_PASS_DEF_LLMINTRODUCEKVCACHE
#include "llmir/Dialect/LLM/Passes.h.inc"
} // namespace llmir::llm

using namespace mlir;
using namespace llmir::llm;

static constexpr llvm::StringLiteral kCannot = "cannot become a step: ";

static RankedTensorType typeOf(Value value) {
  return cast<RankedTensorType>(value.getType());
}

/// The dimension that counts tokens, of single sequences or of all.
static std::optional<int64_t> tokenDim(ArrayRef<Extent> extents) {
  for (auto [i, extent] : llvm::enumerate(extents))
    if (extent == Extent::tokens || extent == Extent::rows ||
        extent == Extent::context)
      return i;
  return std::nullopt;
}

/// Whether transposing by the one and then by the other changes nothing.
static bool cancel(ArrayRef<int64_t> first, ArrayRef<int64_t> second) {
  for (auto [i, dim] : llvm::enumerate(second))
    if (first[dim] != static_cast<int64_t>(i))
      return false;
  return true;
}

namespace {

//===----------------------------------------------------------------------===//
// What of a program a step needs
//===----------------------------------------------------------------------===//

struct FunctionPlan {
  /// In the function's block, and in the bodies of what is needed there.
  DenseSet<Operation *> ops;
  llvm::BitVector arguments;
  /// How many attentions a call of the function comes to.
  int64_t layers = 0;
  bool usesPositions = false;

  bool isSameFunction() const {
    return layers == 0 && !usesPositions && arguments.all();
  }
};

/// What all layers have in common, and the bounds that tables set.
struct ModelSizes {
  AttentionOp attention;
  int64_t hidden = 0;
  Type dtype;
  /// The most positions that every table holds, and one that holds no more.
  std::optional<int64_t> positions;
  Location table;
  /// The same of tables that can be made longer.
  std::optional<int64_t> ropePositions;
};

class Planner {
public:
  Planner(const TokenRows &rows, Location location)
      : rows(rows), sizes{{}, 0, {}, {}, location, {}} {}

  LogicalResult plan(func::FuncOp function) {
    if (plans.count(function))
      return success();
    FunctionPlan plan;
    plan.arguments.resize(function.getNumArguments());
    Operation *terminator = function.front().getTerminator();
    for (Value result : terminator->getOperands())
      // What an entry returns of its past is in the cache.
      if (!rows.of(result).has(Extent::context) && failed(need(result, plan)))
        return failure();
    for (Operation &op : llvm::reverse(function.front()))
      if (plan.ops.contains(&op) && failed(needOperands(&op, plan)))
        return failure();
    plans[function] = std::move(plan);
    return success();
  }

  const FunctionPlan &of(func::FuncOp function) const {
    return plans.find(function)->second;
  }

  /// Whether the step is given a value, if in another shape or type.
  bool isGiven(Value value) const {
    const RowFact &fact = rows.of(value);
    if (!fact.sum)
      return false;
    if (!isa<RankedTensorType>(value.getType()))
      return rows.extentOf(*fact.sum) != Extent::other;
    return isOnePerToken(value) &&
           (*fact.sum == Sum::of(Sum::id) || rows.isPosition(*fact.sum));
  }

  /// Whether a number is the position, shifted or scaled.
  bool isOfPosition(Value value) const {
    const RowFact &fact = rows.of(value);
    return fact.sum && rows.isKnownToStep(*fact.sum) &&
           fact.sum->factors[Sum::token] != 0 &&
           fact.sum->factors[Sum::id] == 0;
  }

  const TokenRows &rows;
  ModelSizes sizes;

private:
  bool isOnePerToken(Value value) const {
    auto type = dyn_cast<RankedTensorType>(value.getType());
    ArrayRef<Extent> extents = rows.of(value).extents;
    if (!type || !tokenDim(extents))
      return false;
    return llvm::all_of(llvm::zip(type.getShape(), extents), [](auto dim) {
      return std::get<0>(dim) == 1 || std::get<1>(dim) != Extent::other;
    });
  }

  LogicalResult refuse(Location location, const Twine &reason) {
    return emitError(location) << kCannot << reason;
  }

  LogicalResult need(Value value, FunctionPlan &plan) {
    const RowFact &fact = rows.of(value);
    if (fact.obstacle)
      return refuse(fact.obstacle->location, fact.obstacle->reason);
    if (isGiven(value)) {
      plan.usesPositions = true;
      return success();
    }
    if (isa<RankedTensorType>(value.getType()) && fact.sum &&
        !rows.isKnownToStep(*fact.sum))
      return refuse(
          value.getLoc(),
          "depends on how many tokens or sequences a call has, or on "
          "which of them this is; a step knows a token's position only");
    if (value.getDefiningOp<func::CallOp>() && fact.has(Extent::context))
      return refuse(value.getLoc(),
                    "continues past keys or values in one function and attends "
                    "to them in another");
    if (auto argument = dyn_cast<BlockArgument>(value))
      plan.arguments.set(argument.getArgNumber());
    else
      plan.ops.insert(value.getDefiningOp());
    return success();
  }

  LogicalResult needOperands(Operation *op, FunctionPlan &plan) {
    // Of a dimension that is no extent; others are given.
    if (isa<tensor::DimOp>(op))
      return success();
    if (auto reshape = dyn_cast<tensor::ReshapeOp>(op))
      return need(reshape.getSource(), plan);
    if (auto concat = dyn_cast<tensor::ConcatOp>(op);
        concat && rows.of(concat).has(Extent::context))
      return need(concat.getInputs().back(), plan);
    if (auto call = dyn_cast<func::CallOp>(op))
      return needCall(call, plan);
    if (auto structured = dyn_cast<linalg::LinalgOp>(op))
      return needStructured(structured, plan);
    if (auto attention = dyn_cast<AttentionOp>(op))
      if (failed(addLayer(attention, plan)))
        return failure();
    if (auto lookup = dyn_cast<EmbeddingOp>(op))
      readEmbedding(lookup);
    if (auto table = dyn_cast<RopeTableOp>(op)) {
      int64_t positions = typeOf(table).getDimSize(0);
      if (!ShapedType::isDynamic(positions))
        sizes.ropePositions =
            std::min(positions, sizes.ropePositions.value_or(positions));
    }
    for (Value operand : op->getOperands())
      if (failed(need(operand, plan)))
        return failure();
    return success();
  }

  LogicalResult needCall(func::CallOp call, FunctionPlan &plan) {
    auto callee = SymbolTable::lookupNearestSymbolFrom<func::FuncOp>(
        call, call.getCalleeAttr());
    if (failed(this->plan(callee)))
      return failure();
    const FunctionPlan &inner = of(callee);
    plan.layers += inner.layers;
    plan.usesPositions |= inner.usesPositions;
    for (unsigned i : inner.arguments.set_bits())
      if (failed(need(call.getOperand(i), plan)))
        return failure();
    return success();
  }

  LogicalResult needStructured(linalg::LinalgOp op, FunctionPlan &plan) {
    Block *body = op.getBlock();
    SmallVector<Value> pending(body->getTerminator()->getOperands());
    plan.ops.insert(body->getTerminator());
    llvm::BitVector read(op->getNumOperands());
    while (!pending.empty()) {
      Value value = pending.pop_back_val();
      if (auto argument = dyn_cast<BlockArgument>(value);
          argument && argument.getOwner() == body) {
        read.set(argument.getArgNumber());
        continue;
      }
      Operation *inner = value.getDefiningOp();
      if (!inner || inner->getBlock() != body) {
        if (failed(need(value, plan)))
          return failure();
        continue;
      }
      const RowFact &fact = rows.of(value);
      if (fact.obstacle)
        return refuse(fact.obstacle->location, fact.obstacle->reason);
      if (plan.ops.contains(inner))
        continue;
      plan.ops.insert(inner);
      if (isOfPosition(value)) {
        plan.usesPositions = true;
        continue;
      }
      if (fact.sum && !rows.isKnownToStep(*fact.sum))
        return refuse(inner->getLoc(),
                      "depends on how many tokens or sequences a call has, or "
                      "on which of them this is; a step knows a token's "
                      "position only");
      if (auto extract = dyn_cast<tensor::ExtractOp>(inner))
        for (auto [size, index] : llvm::zip(
                 typeOf(extract.getTensor()).getShape(), extract.getIndices()))
          boundPositions(index, size, extract.getLoc());
      pending.append(inner->operand_begin(), inner->operand_end());
    }
    for (OpOperand &operand : op->getOpOperands()) {
      bool isRead =
          read.test(operand.getOperandNumber()) || op.isDpsInit(&operand);
      // What only gives a loop its size: any integers of this shape do.
      if (!isRead && rows.of(operand.get()).sum && !isGiven(operand.get())) {
        if (!rows.isKnownToStep(*rows.of(operand.get()).sum) &&
            isOnePerToken(operand.get())) {
          plan.usesPositions = true;
          continue;
        }
      }
      if (failed(need(operand.get(), plan)))
        return failure();
    }
    return success();
  }

  /// A table of `size` places is looked up at `index`.
  void boundPositions(Value index, int64_t size, Location location) {
    if (ShapedType::isDynamic(size) || !isOfPosition(index))
      return;
    Sum sum = *rows.of(index).sum;
    int64_t factor = sum.factors[Sum::token];
    if (factor <= 0)
      return;
    int64_t positions = (size - 1 - sum.factors[Sum::one]) / factor + 1;
    if (!sizes.positions || positions < *sizes.positions) {
      sizes.positions = positions;
      sizes.table = location;
    }
  }

  void readEmbedding(EmbeddingOp lookup) {
    RankedTensorType table = typeOf(lookup.getTable());
    boundPositions(lookup.getIndices(), table.getDimSize(0), lookup.getLoc());
    if (rows.of(lookup.getIndices()).sum == Sum::of(Sum::id)) {
      sizes.hidden = typeOf(lookup).getDimSize(1);
      sizes.dtype = table.getElementType();
    }
  }

  LogicalResult addLayer(AttentionOp attention, FunctionPlan &plan) {
    ++plan.layers;
    plan.usesPositions = true;
    if (!sizes.attention) {
      sizes.attention = attention;
      return success();
    }
    auto heads = [](AttentionOp op) {
      RankedTensorType query = typeOf(op.getQuery()),
                       keys = typeOf(op.getKeys());
      return std::tuple(query.getDimSize(2), keys.getDimSize(2),
                        keys.getDimSize(3));
    };
    if (heads(attention) == heads(sizes.attention))
      return success();
    InFlightDiagnostic diagnostic = attention.emitError()
                                    << kCannot
                                    << "has other heads than other layers, and "
                                       "one cache serves all of them";
    diagnostic.attachNote(sizes.attention.getLoc()) << "another one";
    return diagnostic;
  }

  llvm::MapVector<Operation *, FunctionPlan> plans;
};

//===----------------------------------------------------------------------===//
// The step
//===----------------------------------------------------------------------===//

/// The arguments of a step, or what a layer gets of them.
struct Batch {
  Value tokenIds, positions, slots, blockTable, contextLens, rowStarts,
      logitRows, cache;
  /// The layers of the attentions in a layer's function. An entry counts.
  SmallVector<Value> layers;
};

class StepWriter {
public:
  StepWriter(const Planner &planner, int64_t maxSeqLen, PagedKVCacheType cache)
      : planner(planner), rows(planner.rows), maxSeqLen(maxSeqLen),
        cacheType(cache) {}

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
    Value wanted = pickRows(function, all);
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
      Value size = sizeOf(f, rows.extentOf(*fact.sum), value.getLoc());
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
      auto longer = cast<RopeTableOp>(cloneOp(f, op));
      SmallVector<int64_t> shape(typeOf(longer).getShape());
      shape[0] = maxSeqLen;
      longer.getTable().setType(typeOf(longer).clone(shape));
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
    auto next = block->args_begin();
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

  //===--------------------------------------------------------------------===//
  // Logits
  //===--------------------------------------------------------------------===//

  /// The operand that an op on rows computes each of its rows from, if that is
  /// all but weights, and rows of another number are computed alike.
  static OpOperand *onlyRows(Operation *op) {
    if (!op || op->getNumResults() != 1)
      return nullptr;
    auto isRows = [](Value value) {
      auto type = dyn_cast<RankedTensorType>(value.getType());
      return type && type.getRank() == 2 && type.isDynamicDim(0) &&
             !type.isDynamicDim(1);
    };
    bool isLayer =
        isa<LinearOp, RMSNormOp, LayerNormOp, ActivationOp, QuantizedMatmulOp>(
            op) ||
        op->hasTrait<OpTrait::Elementwise>();
    auto structured = dyn_cast<linalg::GenericOp>(op);
    if ((!isLayer && !structured) || !isRows(op->getResult(0)))
      return nullptr;
    OpOperand *only = nullptr;
    for (OpOperand &operand : op->getOpOperands()) {
      if (structured && structured.isDpsInit(&operand)) {
        if (!operand.get().getDefiningOp<tensor::EmptyOp>())
          return nullptr;
      } else if (isRows(operand.get())) {
        if (only)
          return nullptr;
        only = &operand;
      }
    }
    // Indices are those of all rows.
    if (structured && structured.hasIndexSemantics())
      return nullptr;
    return only;
  }

  /// Logits of the rows that are asked for: these rows are picked as early as
  /// all the rest is for logits only, as importers do.
  Value pickRows(Function &f, Value logits) {
    OpBuilder &b = f.builder;
    // So that what else reads a value shows.
    for (Operation &op :
         llvm::make_early_inc_range(llvm::reverse(*b.getInsertionBlock())))
      if (&op != logits.getDefiningOp() && isOpTriviallyDead(&op))
        op.erase();
    SmallVector<Operation *> chain;
    Value rowsValue = logits;
    while (rowsValue == logits || rowsValue.hasOneUse()) {
      OpOperand *only = onlyRows(rowsValue.getDefiningOp());
      if (!only)
        break;
      chain.push_back(rowsValue.getDefiningOp());
      rowsValue = only->get();
    }
    Location loc = logits.getLoc();
    Value picked = b.create<EmbeddingOp>(loc, rowsValue.getType(),
                                         f.batch.logitRows, rowsValue);
    IRMapping mapping;
    mapping.map(rowsValue, picked);
    Value result = picked, count;
    for (Operation *op : llvm::reverse(chain)) {
      if (auto structured = dyn_cast<linalg::GenericOp>(op)) {
        for (Value init : structured.getDpsInits()) {
          if (!count) {
            Value zero = b.create<arith::ConstantIndexOp>(loc, 0);
            count = b.create<tensor::DimOp>(loc, f.batch.logitRows, zero);
          }
          mapping.map(init, b.create<tensor::EmptyOp>(loc, typeOf(init),
                                                      ValueRange(count)));
        }
      }
      Operation *copy = b.clone(*op, mapping);
      // Logits are rounded once, to f32.
      if (op == chain.front() && isa<LinearOp, QuantizedMatmulOp>(copy))
        copy->getResult(0).setType(
            typeOf(copy->getResult(0)).clone(b.getF32Type()));
      result = copy->getResult(0);
    }
    for (Operation *op : chain)
      if (isOpTriviallyDead(op))
        op->erase();
    return result;
  }

  const Planner &planner;
  const TokenRows &rows;
  int64_t maxSeqLen;
  PagedKVCacheType cacheType;
};

//===----------------------------------------------------------------------===//
// The pass
//===----------------------------------------------------------------------===//

struct IntroduceKVCachePass
    : llmir::llm::impl::LLMIntroduceKVCacheBase<IntroduceKVCachePass> {
  using LLMIntroduceKVCacheBase::LLMIntroduceKVCacheBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    if (auto step = module.lookupSymbol<func::FuncOp>("step"))
      if (llvm::any_of(step.getArgumentTypes(),
                       [](Type type) { return isa<PagedKVCacheType>(type); }))
        return markAllAnalysesPreserved();
    if (failed(introduce(module)))
      signalPassFailure();
  }

private:
  LogicalResult introduce(ModuleOp module) {
    FailureOr<Type> element = parseCacheDtype(&getContext(), dtype);
    if (failed(element))
      return emitError(module.getLoc())
             << "llm-introduce-kv-cache: dtype must be auto, int8, int4, f32, "
                "bf16 or f16, but is "
             << dtype;
    constexpr int64_t largestBlock = 1 << 14;
    if (blockSize < 1 || blockSize > largestBlock ||
        !llvm::isPowerOf2_64(blockSize))
      return emitError(module.getLoc())
             << "llm-introduce-kv-cache: block-size must be a power of two up "
                "to "
             << largestBlock << ", but is " << blockSize;
    auto entry = module.lookupSymbol<func::FuncOp>(function);
    if (!entry || entry.isExternal() || !entry.getBody().hasOneBlock())
      return emitError(module.getLoc())
             << "llm-introduce-kv-cache: there is no function " << function
             << " with a body of one block";
    if (module.lookupSymbol("step") && entry.getName() != "step")
      return emitError(module.lookupSymbol("step")->getLoc())
             << "there is a function `step` already, which is no step over a "
                "cache";

    TokenRows rows(entry);
    Planner planner(rows, entry.getLoc());
    FailureOr<Value> logits = findLogits(entry, rows);
    if (failed(logits) || failed(planner.plan(entry)))
      return failure();
    ModelSizes &sizes = planner.sizes;
    if (!sizes.attention)
      return entry.emitError() << kCannot << "has no llm.attention";
    FailureOr<int64_t> length = findMaxSeqLen(entry, sizes);
    if (failed(length))
      return failure();
    RankedTensorType keys = typeOf(sizes.attention.getKeys());
    int64_t layers = planner.of(entry).layers;
    Type held = *element ? *element : keys.getElementType();
    auto cache = PagedKVCacheType::getChecked(
        [&] { return sizes.attention.emitError(); }, &getContext(), held,
        layers, keys.getDimSize(2), keys.getDimSize(3), int64_t(blockSize),
        *length);
    if (!cache)
      return failure();

    StepWriter writer(planner, *length, cache);
    func::FuncOp step = writer.writeStep(entry, *logits);
    SmallVector<func::FuncOp> written{step};
    for (auto &[old, functions] : writer.replacements)
      llvm::append_range(written, functions);
    setFacts(module, planner, cache, step);
    replaceFunctions(module, entry, step, writer);
    numLayers += layers;
    return cleanUp(written);
  }

  /// The result that is no past keys or values.
  FailureOr<Value> findLogits(func::FuncOp entry, const TokenRows &rows) {
    Value logits;
    llvm::SmallBitVector continued(entry.getNumArguments());
    Operation *terminator = entry.front().getTerminator();
    for (Value result : terminator->getOperands()) {
      const RowFact &fact = rows.of(result);
      if (!fact.obstacle && fact.isContinued && !continued.test(*fact.past)) {
        continued.set(*fact.past);
        continue;
      }
      if (logits && fact.obstacle)
        return emitError(fact.obstacle->location)
               << kCannot << fact.obstacle->reason;
      if (logits)
        return terminator->emitError()
               << kCannot
               << "returns more than logits and, once each, what its "
                  "past keys and values became";
      logits = result;
    }
    auto refuse = [&](const Twine &what) {
      return terminator->emitError() << kCannot << what;
    };
    if (!logits)
      return refuse("returns no logits");
    const RowFact &fact = rows.of(logits);
    if (fact.obstacle)
      return emitError(fact.obstacle->location)
             << kCannot << fact.obstacle->reason;
    auto type = dyn_cast<RankedTensorType>(logits.getType());
    if (!type || !isa<FloatType>(type.getElementType()) ||
        type.getElementType().isF64() || fact.extents.back() != Extent::other ||
        type.isDynamicDim(type.getRank() - 1) ||
        tokenDim(fact.extents) != type.getRank() - 2 || type.getRank() > 3)
      return refuse(
          "must return logits of every token, a floating-point tensor "
          "[sequences, tokens, vocabulary] or [rows, vocabulary]");
    for (BlockArgument argument : entry.getArguments())
      if (rows.of(argument).past && !continued.test(argument.getArgNumber()))
        return refuse("does not return what argument " +
                      Twine(argument.getArgNumber()) +
                      ", past keys or values, became");
    return logits;
  }

  FailureOr<int64_t> findMaxSeqLen(func::FuncOp entry,
                                   const ModelSizes &sizes) {
    int64_t length = maxSeqLen;
    if (length == 0)
      if (auto facts =
              getOperation()->getAttrOfType<DictionaryAttr>("llm.model"))
        if (auto given = facts.getAs<IntegerAttr>("max_model_len"))
          length = given.getInt();
    if (length == 0 && sizes.positions)
      length = *sizes.positions;
    if (length == 0 && sizes.ropePositions)
      length = *sizes.ropePositions;
    if (length <= 0)
      return entry.emitError()
             << "llm-introduce-kv-cache: max-seq-len must say how long a "
                "sequence can be, since nothing in the program does";
    if (sizes.positions && *sizes.positions < length)
      return emitError(sizes.table)
             << kCannot << "a table has room for " << *sizes.positions
             << " positions, but max-seq-len is " << length;
    return length;
  }

  /// Keeps what the module says of the model and adds what the program shows.
  void setFacts(ModuleOp module, const Planner &planner, PagedKVCacheType cache,
                func::FuncOp step) {
    Builder b(&getContext());
    NamedAttrList facts;
    if (auto given = module->getAttrOfType<DictionaryAttr>("llm.model"))
      facts.append(given.begin(), given.end());
    auto setDefault = [&](StringRef name, Attribute value) {
      if (!facts.get(name))
        facts.set(name, value);
    };
    const ModelSizes &sizes = planner.sizes;
    auto logits = cast<RankedTensorType>(step.getResultTypes()[0]);
    AttentionOp attention = sizes.attention;
    Type dtype = sizes.dtype ? sizes.dtype : typeOf(attention).getElementType();
    std::string name;
    llvm::raw_string_ostream(name) << dtype;
    setDefault("architecture", b.getStringAttr("causal_lm"));
    facts.set("vocab_size", b.getI64IntegerAttr(logits.getDimSize(1)));
    int64_t heads = typeOf(attention.getQuery()).getDimSize(2);
    facts.set("hidden_size",
              b.getI64IntegerAttr(sizes.hidden ? sizes.hidden
                                               : heads * cache.getHeadDim()));
    facts.set("num_layers", b.getI64IntegerAttr(cache.getLayers()));
    facts.set("num_heads", b.getI64IntegerAttr(heads));
    facts.set("num_kv_heads", b.getI64IntegerAttr(cache.getKvHeads()));
    facts.set("head_dim", b.getI64IntegerAttr(cache.getHeadDim()));
    setDefault("dtype", b.getStringAttr(name));
    facts.set("max_model_len", b.getI64IntegerAttr(cache.getMaxSeqLen()));
    setDefault("eos_token_ids", b.getArrayAttr({}));
    module->setAttr("llm.model", facts.getDictionary(&getContext()));
  }

  /// Removes the functions over whole sequences, where nothing else calls them.
  void replaceFunctions(ModuleOp module, func::FuncOp entry, func::FuncOp step,
                        StepWriter &writer) {
    entry.erase();
    step.setName("step");
    size_t left;
    do {
      left = writer.replacements.size();
      writer.replacements.remove_if([&](auto &replacement) {
        auto &[old, written] = replacement;
        if (!SymbolTable::symbolKnownUseEmpty(old, module))
          return false;
        StringAttr name = cast<func::FuncOp>(old).getSymNameAttr();
        old->erase();
        // The first of them gets its name.
        (void)SymbolTable::replaceAllSymbolUses(written.front(), name, module);
        written.front().setSymNameAttr(name);
        return true;
      });
    } while (writer.replacements.size() < left);
  }

  LogicalResult cleanUp(ArrayRef<func::FuncOp> functions) {
    OpPassManager manager(func::FuncOp::getOperationName());
    manager.addPass(createCanonicalizerPass());
    manager.addPass(createCSEPass());
    for (func::FuncOp function : functions)
      if (failed(runPipeline(manager, function)))
        return failure();
    return success();
  }
};
} // namespace
