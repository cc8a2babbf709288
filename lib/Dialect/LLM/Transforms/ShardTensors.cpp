// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Makes of a program the one that each of several shards runs, in the form of
// Megatron (arXiv:1909.08053). Values are followed from the arguments on: each
// is whole, one of equal parts, or a term of a sum. What takes parts computes
// parts; before anything else the shards communicate. So a program is right
// whatever it consists of, and what a pass does not know costs time alone.

#include "ShardedValues.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/AttrTypeSubElements.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace llmir::llm;

/// The dimension of an expanded tensor that goes on counting parts of dimension
/// `axis`: the outermost of its group.
static int64_t expandedAxis(tensor::ExpandShapeOp op, unsigned axis) {
  return op.getReassociationIndices()[axis].front();
}

/// The dimension of a collapsed tensor that has the parts of dimension `axis`
/// one after the other, or -1 where they lie in another way.
static int64_t collapsedAxis(tensor::CollapseShapeOp op, unsigned axis) {
  for (auto [result, group] : llvm::enumerate(op.getReassociationIndices())) {
    for (int64_t dim : group) {
      if (dim == axis)
        return result;
      if (typeOf(op.getSrc()).getDimSize(dim) != 1)
        break;
    }
  }
  return -1;
}

namespace {
/// What becomes of the columns of a product.
struct Demand {
  /// Whether something takes them in parts that needs no others, or is the
  /// program's result.
  bool isWanted = false;
  /// Whether something else needs them whole.
  bool isBlocked = false;
  /// Whether they are keys or values.
  bool isKV = false;
  /// How many heads they are; 0 where they are none.
  int64_t heads = 0;
};

class TensorSharder : ShardedValues {
public:
  using ShardedValues::ShardedValues;

  FailureOr<ShardCounts> run() {
    if (failed(check()))
      return failure();
    divideCaches();
    for (auto function : module.getOps<func::FuncOp>())
      if (!function.isPrivate() && !function.isExternal() &&
          failed(shardFunction(function)))
        return failure();
    // What nothing calls has no copies in shards.
    for (auto function :
         llvm::make_early_inc_range(module.getOps<func::FuncOp>()))
      if (function.isPrivate() && !finished.contains(function) &&
          users.useEmpty(function))
        function.erase();
    module.walk([](ParameterOp op) {
      if (op->use_empty())
        op.erase();
    });
    divideFacts();
    return counts;
  }

private:
  //===--------------------------------------------------------------------===//
  // What can be divided
  //===--------------------------------------------------------------------===//

  /// Whether `op` is one that merging, fusing or packing has made.
  static bool isFused(Operation *op) {
    if (auto linear = dyn_cast<LinearOp>(op))
      return linear.getNorm() || linear.getResidual() ||
             linear.getActivation() || linear.getGated() ||
             hasPackedWeight(linear);
    if (auto parameter = dyn_cast<ParameterOp>(op))
      return parameter.getKeys().size() > 1;
    return false;
  }

  LogicalResult check() {
    WalkResult result = module.walk([&](Operation *op) -> WalkResult {
      if (isa_and_nonnull<ShardedTensorType>(
              op->getNumResults() ? op->getResult(0).getType() : Type()))
        return op->emitError("is divided into shards already");
      if (isa<CallKernelOp, QuantizedMatmulOp, QuantizeOp>(op))
        return op->emitError()
               << "cannot be divided into " << shards
               << " shards: groups of quantized numbers would be cut; divide "
                  "the program before its weights are quantized";
      if (isFused(op))
        return op->emitError()
               << "cannot be divided into " << shards
               << " shards: divide the program before products are merged and "
                  "fused";
      if (auto function = dyn_cast<func::FuncOp>(op);
          function && !function.isExternal() &&
          !function.getBody().hasOneBlock())
        return op->emitError("cannot be divided into shards: it has more than "
                             "one block");
      if (auto attention = dyn_cast<PagedAttentionOp>(op))
        return checkHeads(op, typeOf(attention.getQuery()));
      if (auto attention = dyn_cast<AttentionOp>(op)) {
        if (failed(checkHeads(op, typeOf(attention.getQuery()))))
          return failure();
        return checkKVHeads(op, typeOf(attention.getKeys()).getDimSize(2));
      }
      for (Type type : op->getOperandTypes())
        if (auto cache = dyn_cast<PagedKVCacheType>(type))
          if (failed(checkKVHeads(op, cache.getKvHeads())))
            return failure();
      return success();
    });
    return failure(result.wasInterrupted());
  }

  LogicalResult checkHeads(Operation *op, RankedTensorType query) {
    int64_t heads = query.getDimSize(query.getRank() - 2);
    if (!ShapedType::isDynamic(heads) && heads % shards == 0)
      return success();
    return op->emitError() << "its " << heads
                           << " query heads do not divide into " << shards
                           << " shards: choose a divisor of their number";
  }

  LogicalResult checkKVHeads(Operation *op, int64_t heads) {
    if (heads > 0 && (heads % shards == 0 || shards % heads == 0))
      return success();
    return op->emitError() << "its " << heads << " KV heads can neither be "
                           << "divided into " << shards
                           << " shards nor copied to them: choose a divisor or "
                              "a multiple of their number";
  }

  /// How many shards in a row hold the same KV heads.
  int64_t repeatOf(int64_t kvHeads) const {
    return kvHeads % shards == 0 ? 1 : shards / kvHeads;
  }

  /// Every cache holds the KV heads of its shard.
  void divideCaches() {
    AttrTypeReplacer replacer;
    replacer.addReplacement([&](PagedKVCacheType type) -> std::optional<Type> {
      int64_t repeat = repeatOf(type.getKvHeads());
      auto local = PagedKVCacheType::get(
          type.getContext(), type.getElementType(), type.getLayers(),
          localSize(type.getKvHeads(), repeat), type.getHeadDim(),
          type.getBlockSize(), type.getMaxSeqLen());
      cacheRepeats[local] = repeat;
      // What it is replaced by is not looked into.
      return local;
    });
    replacer.recursivelyReplaceElementsIn(module, /*replaceAttrs=*/true,
                                          /*replaceLocs=*/false,
                                          /*replaceTypes=*/true);
  }

  /// What `llm.model` says is what a shard has.
  void divideFacts() {
    auto facts = module->getAttrOfType<DictionaryAttr>("llm.model");
    if (!facts)
      return;
    NamedAttrList changed(facts);
    auto change = [&](StringRef name, int64_t repeat) {
      if (auto value = facts.getAs<IntegerAttr>(name))
        changed.set(name, IntegerAttr::get(value.getType(),
                                           localSize(value.getInt(), repeat)));
    };
    change("num_heads", 1);
    if (auto value = facts.getAs<IntegerAttr>("num_kv_heads"))
      change("num_kv_heads", repeatOf(value.getInt()));
    module->setAttr("llm.model", changed.getDictionary(module.getContext()));
  }

  //===--------------------------------------------------------------------===//
  // What becomes of a product
  //===--------------------------------------------------------------------===//

  /// Follows dimension `axis` of a value that is not divided yet.
  void follow(Value value, unsigned axis, Demand &demand) {
    for (OpOperand &use : value.getUses())
      TypeSwitch<Operation *>(use.getOwner())
          .Case([&](tensor::DimOp) {})
          .Case([&](tensor::ExpandShapeOp op) {
            int64_t to = expandedAxis(op, axis);
            if (demand.heads == 0 &&
                op.getReassociationIndices()[axis].size() > 1)
              demand.heads = typeOf(op.getResult()).getDimSize(to);
            follow(op, to, demand);
          })
          .Case([&](tensor::CollapseShapeOp op) {
            int64_t to = collapsedAxis(op, axis);
            if (to < 0)
              demand.isBlocked = true;
            else
              follow(op, to, demand);
          })
          .Case([&](tensor::ExtractSliceOp op) {
            if (takesAll(op, axis))
              follow(op, axis, demand);
            else
              demand.isBlocked = true;
          })
          .Case<ActivationOp, RopeOp>(
              [&](auto op) { follow(op.getResult(), axis, demand); })
          .Case<RMSNormOp, LayerNormOp>([&](auto op) {
            // Along the last dimension it needs all, and makes all.
            demand.isBlocked |= axis + 1 == typeOf(op.getInput()).getRank();
            follow(op.getResult(), axis, demand);
          })
          .Case([&](LinearOp op) {
            bool isRowParallel = &use == &op.getInputMutable() &&
                                 isWeight(op.getWeight()) && axis == 1;
            (isRowParallel ? demand.isWanted : demand.isBlocked) = true;
          })
          .Case<AppendKVOp, RopeAppendKVOp>([&](auto op) {
            demand.isWanted = true;
            demand.isKV |=
                use.get() == op.getKeys() || use.get() == op.getValues();
          })
          .Case([&](PagedAttentionOp) { demand.isWanted = true; })
          .Case([&](AttentionOp op) {
            demand.isWanted = true;
            demand.isKV |=
                use.get() == op.getKeys() || use.get() == op.getValues();
          })
          .Case([&](func::ReturnOp op) {
            auto function = op->getParentOfType<func::FuncOp>();
            (function.isPrivate() ? demand.isBlocked : demand.isWanted) = true;
          })
          .Default([&](Operation *op) {
            if (op->hasTrait<OpTrait::Elementwise>() &&
                op->getNumResults() == 1 && op->getNumRegions() == 0)
              follow(op->getResult(0), axis, demand);
            else
              demand.isBlocked = true;
          });
  }

  /// Whether a slice has all of dimension `axis`.
  static bool takesAll(tensor::ExtractSliceOp op, unsigned axis) {
    return op.getSourceType().getRank() == op.getType().getRank() &&
           op.getStaticOffsets()[axis] == 0 &&
           op.getStaticStrides()[axis] == 1 &&
           !op.getSourceType().isDynamicDim(axis) &&
           op.getStaticSizes()[axis] == op.getSourceType().getDimSize(axis);
  }

  /// The products that a product consists of: where slices of all rows take its
  /// columns apart, these; otherwise itself.
  static SmallVector<Section> sectionsOf(LinearOp op) {
    RankedTensorType type = typeOf(op.getResult());
    SmallVector<Section> whole = {{0, type.getDimSize(1), {}}};
    SmallVector<Section> sections;
    for (Operation *user : op->getUsers()) {
      if (isa<tensor::DimOp>(user))
        continue;
      auto slice = dyn_cast<tensor::ExtractSliceOp>(user);
      if (!slice || slice.getType().getRank() != 2 ||
          slice.getStaticOffsets()[0] != 0 ||
          slice.getStaticStrides() != ArrayRef<int64_t>{1, 1} ||
          ShapedType::isDynamic(slice.getStaticOffsets()[1]) ||
          ShapedType::isDynamic(slice.getStaticSizes()[1]))
        return whole;
      sections.push_back(
          {slice.getStaticOffsets()[1], slice.getStaticSizes()[1], slice});
    }
    llvm::sort(sections, [](const Section &a, const Section &b) {
      return a.offset < b.offset;
    });
    int64_t end = 0;
    for (const Section &section : sections) {
      if (section.offset != end)
        return whole;
      end += section.size;
    }
    return end == type.getDimSize(1) ? sections : whole;
  }

  LogicalResult shard(LinearOp op) {
    OpOperand &input = op.getInputMutable(), &weight = op.getWeightMutable();
    if (!isWeight(op.getWeight()) || typeOf(op.getWeight()).getRank() != 2)
      return makeWhole(op);
    Held from = placements.lookup(op.getInput());
    if (from.isSplit() && from.axis == 1 && from.repeat == 1)
      return shardRows(op);

    SmallVector<Section> sections = sectionsOf(op);
    bool isWanted = false;
    for (Section &section : sections) {
      Demand demand;
      follow(section.slice ? Value(section.slice) : Value(op.getResult()), 1,
             demand);
      isWanted |= demand.isWanted;
      int64_t units = demand.heads ? demand.heads : section.size;
      if (units % shards == 0)
        continue;
      // What is only beside what is wanted need not be in parts.
      if (!demand.isWanted)
        return makeWhole(op);
      if (!demand.isKV || shards % units != 0)
        return op.emitError()
               << "its " << units << (demand.heads ? " heads" : " outputs")
               << " do not divide into " << shards
               << " shards: choose a divisor of their number";
      section.repeat = shards / units;
      // Copies cannot be gathered.
      if (demand.isBlocked)
        return makeWhole(op);
    }
    Value bias = op.getBias();
    if (!isWanted || (bias && !isWeight(bias) && sections.size() > 1))
      return makeWhole(op);
    if (failed(makeWhole(input)) || failed(setWeight(weight, 0, sections)))
      return failure();
    if (bias) {
      OpOperand &use = op.getBiasMutable()[0];
      if (isWeight(bias) ? failed(setWeight(use, 0, sections))
                         : failed(makePart(use, 0, sections[0].repeat)))
        return failure();
    }
    if (sections.size() == 1) {
      placeSplit(op.getResult(), 1, sections[0].repeat);
      return success();
    }
    // Each slice is one product's part.
    int64_t columns = 0;
    for (const Section &section : sections) {
      int64_t size = localSize(section.size, section.repeat);
      tensor::ExtractSliceOp slice = section.slice;
      SmallVector<int64_t> offsets(slice.getStaticOffsets()),
          sizes(slice.getStaticSizes());
      offsets[1] = columns;
      sizes[1] = size;
      slice.setStaticOffsets(offsets);
      slice.setStaticSizes(sizes);
      placeSplit(slice.getResult(), 1, section.repeat);
      taken.insert(slice);
      columns += size;
    }
    op.getResult().setType(withDim(typeOf(op.getResult()), 1, columns));
    return success();
  }

  /// A product of parts of its inputs is a term of the sum.
  LogicalResult shardRows(LinearOp op) {
    if (failed(divideWeight(op.getWeightMutable(), 1)))
      return failure();
    SmallVector<Value> biases;
    if (Value bias = op.getBias()) {
      if (failed(makeWhole(op.getBiasMutable()[0])))
        return failure();
      biases.push_back(bias);
      op.getBiasMutable().clear();
    }
    placePartial(op.getResult(), biases);
    return success();
  }

  //===--------------------------------------------------------------------===//
  // Other ops
  //===--------------------------------------------------------------------===//

  /// A table of the vocabulary is divided by its rows; what looks a row up that
  /// another shard has gets zeros.
  LogicalResult shard(EmbeddingOp op) {
    auto step = module.lookupSymbol<func::FuncOp>("step");
    if (!isWeight(op.getTable()) || op.getFirst() || !step ||
        step.isExternal() || step.getNumArguments() == 0 ||
        op.getIndices() != step.getArgument(0))
      return makeWhole(op);
    int64_t rows = typeOf(op.getTable()).getDimSize(0);
    if (rows % shards != 0)
      return op.emitError()
             << "its vocabulary of " << rows << " rows does not divide into "
             << shards << " shards: pad it to a multiple of their number";
    if (failed(divideWeight(op.getTableMutable(), 0)))
      return failure();
    OpBuilder builder(op);
    op.getFirstMutable().assign(
        firstOf(builder, op.getLoc(), rows / shards, /*repeat=*/1));
    placePartial(op.getResult(), {});
    return success();
  }

  template <typename Norm> LogicalResult shardNorm(Norm op) {
    Held from = placements.lookup(op.getInput());
    unsigned last = typeOf(op.getInput()).getRank() - 1;
    if (!from.isSplit() || from.axis == last) {
      if (failed(makeWhole(op)))
        return failure();
      // What follows goes on with parts.
      if (from.isSplit()) {
        Value part = partOf(op.getResult(), from.axis, from.repeat);
        op.getResult().replaceUsesWithIf(part, [&](OpOperand &use) {
          return use.getOwner() != part.getDefiningOp() &&
                 !isa<tensor::DimOp>(use.getOwner());
        });
      }
      return success();
    }
    if (failed(makeOthersWhole(op, &op.getInputMutable())))
      return failure();
    placeSplit(op.getResult(), from.axis, from.repeat);
    return success();
  }

  LogicalResult shard(RopeOp op) {
    Held from = placements.lookup(op.getInput());
    if (!from.isSplit() || from.axis != 1)
      return makeWhole(op);
    if (failed(makeOthersWhole(op, &op.getInputMutable())))
      return failure();
    placeSplit(op.getResult(), from.axis, from.repeat);
    return success();
  }

  /// An op on tensors of one shape, element by element.
  LogicalResult shardElementwise(Operation *op) {
    bool isSum = isa<arith::AddFOp>(op) &&
                 llvm::all_of(op->getOperands(), [&](Value operand) {
                   return placements.lookup(operand).kind == Held::Partial &&
                          sums[operand].first == typeOf(operand);
                 });
    if (isSum) {
      // A sum of two sums is one.
      SmallVector<Value> biases;
      for (Value operand : op->getOperands())
        llvm::append_range(biases, sums[operand].second);
      placePartial(op->getResult(0), biases);
      return success();
    }
    Held split;
    for (Value operand : op->getOperands())
      if (placements.lookup(operand).isSplit())
        split = placements.lookup(operand);
    if (!split.isSplit() || op->getNumRegions() != 0)
      return makeWhole(op);
    for (OpOperand &operand : op->getOpOperands())
      if (isa<RankedTensorType>(operand.get().getType()) &&
          failed(makePart(operand, split.axis, split.repeat)))
        return failure();
    for (Value result : op->getResults())
      placeSplit(result, split.axis, split.repeat);
    return success();
  }

  LogicalResult shard(tensor::ExpandShapeOp op) {
    Held from = placements.lookup(op.getSrc());
    if (!from.isSplit())
      return makeWhole(op);
    unsigned axis = expandedAxis(op, from.axis);
    int64_t size = typeOf(op.getResult()).getDimSize(axis);
    if (ShapedType::isDynamic(size) || size * from.repeat % shards != 0)
      return makeWhole(op);
    placeSplit(op.getResult(), axis, from.repeat);
    return success();
  }

  LogicalResult shard(tensor::CollapseShapeOp op) {
    Held from = placements.lookup(op.getSrc());
    int64_t axis = from.isSplit() ? collapsedAxis(op, from.axis) : -1;
    if (axis < 0)
      return makeWhole(op);
    placeSplit(op.getResult(), axis, from.repeat);
    return success();
  }

  LogicalResult shard(tensor::ExtractSliceOp op) {
    // One product of several has been divided with them.
    if (taken.contains(op))
      return success();
    Held from = placements.lookup(op.getSource());
    if (!from.isSplit())
      return makeWhole(op);
    // Its source is a part already.
    int64_t part = op.getSourceType().getDimSize(from.axis);
    if (op.getSourceType().getRank() != op.getType().getRank() ||
        op.getStaticOffsets()[from.axis] != 0 ||
        op.getStaticStrides()[from.axis] != 1 ||
        localSize(op.getStaticSizes()[from.axis], from.repeat) != part)
      return makeWhole(op);
    SmallVector<int64_t> sizes(op.getStaticSizes());
    sizes[from.axis] = part;
    op.setStaticSizes(sizes);
    placeSplit(op.getResult(), from.axis, from.repeat);
    return success();
  }

  LogicalResult shard(tensor::DimOp op) {
    Held from = placements.lookup(op.getSource());
    std::optional<int64_t> dim = op.getConstantIndex();
    bool isOther = dim && (!from.isSplit() || *dim != from.axis);
    // A term of a sum has the sum's sizes.
    return isOther ? success() : makeWhole(op);
  }

  template <typename Append> LogicalResult shardAppend(Append op) {
    unsigned axis = typeOf(op.getKeys()).getRank() - 2;
    int64_t repeat = cacheRepeats.lookup(op.getCache().getType());
    SmallVector<OpOperand *> heads = {&op.getKeysMutable(),
                                      &op.getValuesMutable()};
    for (OpOperand *use : heads)
      if (failed(makePart(*use, axis, repeat)))
        return failure();
    if constexpr (std::is_same_v<Append, RopeAppendKVOp>) {
      heads.push_back(&op.getQueryMutable());
      if (failed(makePart(*heads.back(), axis)))
        return failure();
      placeSplit(op.getRotated(), axis, /*repeat=*/1);
    }
    return makeOthersWhole(op, heads);
  }

  LogicalResult shard(LookupKVOp op) {
    int64_t repeat = cacheRepeats.lookup(op.getCache().getType());
    for (Value result : op.getResults())
      placeSplit(result, 2, repeat);
    return makeOthersWhole(op, {});
  }

  /// Sinks and slopes, of each head.
  template <typename Attention>
  LogicalResult shardOfHeads(Attention op, SmallVector<OpOperand *> &divided) {
    for (MutableOperandRange range :
         {op.getSinksMutable(), op.getAlibiMutable()})
      for (OpOperand &use : range) {
        divided.push_back(&use);
        if (failed(makePart(use, 0)))
          return failure();
      }
    return success();
  }

  LogicalResult shard(PagedAttentionOp op) {
    unsigned axis = typeOf(op.getQuery()).getRank() - 2;
    SmallVector<OpOperand *> divided = {&op.getQueryMutable()};
    if (failed(makePart(*divided[0], axis)) ||
        failed(shardOfHeads(op, divided)) ||
        failed(makeOthersWhole(op, divided)))
      return failure();
    placeSplit(op.getResult(), axis, /*repeat=*/1);
    if (op.getNumHeads())
      op.setNumHeads(typeOf(op.getQuery()).getDimSize(axis));
    return success();
  }

  LogicalResult shard(AttentionOp op) {
    if (!placements.lookup(op.getQuery()).isSplit())
      return makeWhole(op);
    int64_t kvHeads = typeOf(op.getKeys()).getDimSize(2);
    for (Value value : {op.getKeys(), op.getValues()})
      if (Held from = placements.lookup(value);
          from.isSplit() && from.axis == 2)
        kvHeads = typeOf(value).getDimSize(2) * shards / from.repeat;
    SmallVector<OpOperand *> divided = {
        &op.getQueryMutable(), &op.getKeysMutable(), &op.getValuesMutable()};
    int64_t repeats[] = {1, repeatOf(kvHeads), repeatOf(kvHeads)};
    for (auto [use, repeat] : llvm::zip(divided, repeats))
      if (failed(makePart(*use, 2, repeat)))
        return failure();
    if (failed(shardOfHeads(op, divided)))
      return failure();
    for (OpOperand &mask : op.getMaskMutable())
      if (typeOf(mask.get()).getDimSize(1) != 1) {
        divided.push_back(&mask);
        if (failed(makePart(mask, 1)))
          return failure();
      }
    placeSplit(op.getResult(), 2, /*repeat=*/1);
    return makeOthersWhole(op, divided);
  }

  /// Every expert is divided as a feed-forward layer is.
  LogicalResult shard(MoEOp op) {
    SmallVector<OpOperand *> divided = {
        &op.getGateMutable(), &op.getUpMutable(), &op.getDownMutable()};
    for (OpOperand *use : divided)
      if (!isWeight(use->get()))
        return makeWhole(op);
    int64_t inner = typeOf(op.getGate()).getDimSize(1);
    if (inner % shards != 0)
      return op.emitError()
             << "the " << inner
             << " inner units of its experts do not divide into " << shards
             << " shards: choose a divisor of their number";
    unsigned dims[] = {1, 1, 2};
    for (auto [use, dim] : llvm::zip(divided, dims))
      if (failed(divideWeight(*use, dim)))
        return failure();
    if (failed(makeOthersWhole(op, divided)))
      return failure();
    placePartial(op.getResult(), {});
    return success();
  }

  LogicalResult shard(func::CallOp op) {
    auto callee = module.lookupSymbol<func::FuncOp>(op.getCallee());
    for (OpOperand &operand : op->getOpOperands())
      if (!isWeight(operand.get()) && failed(makeWhole(operand)))
        return failure();
    if (!callee || callee.isExternal())
      return makeWhole(op);
    if (failed(shardFunction(callee)))
      return failure();
    for (auto [operand, argument] :
         llvm::zip(op->getOpOperands(), callee.getArguments()))
      if (isWeight(argument)) {
        if (failed(setWeight(operand, argumentForms.lookup(argument))))
          return failure();
      } else if (failed(makeWhole(operand))) {
        return failure();
      }
    return success();
  }

  LogicalResult shardFunction(func::FuncOp function) {
    if (!finished.insert(function).second)
      return success();
    for (Operation &op : llvm::make_early_inc_range(function.front()))
      if (failed(shard(&op)))
        return failure();
    function.setType(FunctionType::get(function.getContext(),
                                       function.front().getArgumentTypes(),
                                       function.getResultTypes()));
    return success();
  }

  LogicalResult shard(Operation *op) {
    return TypeSwitch<Operation *, LogicalResult>(op)
        .Case<LinearOp, EmbeddingOp, RopeOp, LookupKVOp, PagedAttentionOp,
              AttentionOp, MoEOp, tensor::ExpandShapeOp,
              tensor::CollapseShapeOp, tensor::ExtractSliceOp, tensor::DimOp,
              func::CallOp>([&](auto concrete) { return shard(concrete); })
        .Case<RMSNormOp, LayerNormOp>(
            [&](auto concrete) { return shardNorm(concrete); })
        .Case<AppendKVOp, RopeAppendKVOp>(
            [&](auto concrete) { return shardAppend(concrete); })
        .Case([&](ActivationOp) { return shardElementwise(op); })
        .Default([&](Operation *) {
          return op->hasTrait<OpTrait::Elementwise>() ? shardElementwise(op)
                                                      : makeWhole(op);
        });
  }

  /// Functions that are divided.
  DenseSet<Operation *> finished;
  /// Of a divided cache, how many shards hold the same heads.
  DenseMap<Type, int64_t> cacheRepeats;
  /// Slices that have been divided with their source.
  DenseSet<Operation *> taken;
};
} // namespace

FailureOr<ShardCounts> llmir::llm::shardTensors(ModuleOp module,
                                                int64_t shards) {
  return TensorSharder(module, shards).run();
}
