// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Follows what ops need back to the arguments of a function. Each value is
// known by its sizes, which are sums of unknown ones, and by the arguments
// whose elements it holds. Functions are walked once for each call, since a
// layer's cache or positions are what its caller hands to it.

#include "llmir/Dialect/LLM/InputConstraints.h"
#include "llmir/Dialect/LLM/LLM.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/IR/Matchers.h"
#include "llvm/ADT/TypeSwitch.h"

#include <numeric>

using namespace mlir;
using namespace llmir::llm;
namespace json = llvm::json;

Size &Size::add(const Size &other, int64_t factor) {
  constant += factor * other.constant;
  for (auto [unknown, multiple] : other.factors) {
    int64_t &mine = factors[unknown];
    mine += factor * multiple;
    if (mine == 0)
      factors.erase(unknown);
  }
  return *this;
}

/// The full shape of a tensor of any kind, if it has one.
static std::optional<ArrayRef<int64_t>> shapeOf(Type type) {
  if (auto tensor = dyn_cast<RankedTensorType>(type))
    return tensor.getShape();
  if (auto quantized = dyn_cast<QuantizedTensorType>(type))
    return quantized.getShape();
  if (auto sharded = dyn_cast<ShardedTensorType>(type))
    return sharded.getFullType().getShape();
  return std::nullopt;
}

void InputConstraints::equalShapes(Value left, Value right) {
  auto shape = shapeOf(left.getType());
  for (int64_t i = 0, e = shape ? shape->size() : 0; i < e; ++i)
    equal(size(left, i), size(right, i));
}

static std::string nameOf(Type type) {
  std::string name;
  llvm::raw_string_ostream(name) << type;
  return name;
}

namespace {

/// What is known of a value.
struct Facts {
  /// Of a tensor.
  SmallVector<Size> sizes;
  /// Of an integer that counts something.
  std::optional<Size> number;
  /// The arguments whose elements are in it; of a cache, the one it was made
  /// of.
  SmallVector<int64_t> origins;
  /// Whether it is all of that one argument, in its order.
  bool isWhole = false;

  void addOrigins(const Facts &other) {
    for (int64_t origin : other.origins)
      if (!llvm::is_contained(origins, origin))
        origins.push_back(origin);
  }
};

class Walker : public InputConstraints {
public:
  json::Object describe(func::FuncOp function) {
    SmallVector<Facts> arguments;
    for (auto [index, type] : llvm::enumerate(function.getArgumentTypes())) {
      Facts facts = factsOf(type);
      facts.origins = {int64_t(index)};
      // It may be the size of something.
      if (type.isIndex())
        facts.number = newUnknown();
      facts.isWhole = true;
      arguments.push_back(facts);
    }
    walk(function, arguments, 0);

    json::Array inputs, results, products, least;
    for (auto [facts, type] :
         llvm::zip(arguments, function.getArgumentTypes())) {
      json::Object input = describeType(type);
      json::Array sizes;
      for (const Size &size : facts.sizes)
        sizes.push_back(toJSON(size));
      input["sizes"] = std::move(sizes);
      if (facts.number)
        input["number"] = toJSON(*facts.number);
      inputs.push_back(std::move(input));
    }
    for (Type type : function.getResultTypes())
      results.push_back(describeType(type));
    for (const auto &[factors, product] : this->products)
      products.push_back(json::Array{toJSON(Size().add(product)),
                                     toJSON(factors.first),
                                     toJSON(factors.second)});
    for (const auto &[size, bound] : this->least)
      least.push_back(json::Array{toJSON(size), toJSON(bound)});
    json::Array constraints;
    for (auto &constraint : this->constraints)
      constraints.push_back(constraint());
    return json::Object{{"name", function.getName()},
                        {"inputs", std::move(inputs)},
                        {"results", std::move(results)},
                        {"products", std::move(products)},
                        {"at_least", std::move(least)},
                        {"constraints", std::move(constraints)}};
  }

  Size size(Value tensor, int64_t dimension) override {
    return factsAt(tensor).sizes[dimension];
  }

  void equal(const Size &left, const Size &right) override {
    Size difference = resolve(left - right);
    int64_t divisor = difference.constant;
    for (auto [unknown, factor] : difference.factors)
      divisor = std::gcd(divisor, factor);
    if (divisor > 1) {
      difference.constant /= divisor;
      for (auto &[unknown, factor] : difference.factors)
        factor /= divisor;
    }
    // An unknown is what is left of the equation, one that is no product if
    // there is one: what a product is made of would be lost.
    std::optional<unsigned> chosen;
    for (auto [unknown, factor] : difference.factors)
      if ((factor == 1 || factor == -1) &&
          (!chosen || !isProduct(unknown) || isProduct(*chosen)))
        chosen = unknown;
    if (!chosen) {
      // Nothing can be put in, or the two contradict each other.
      atLeast(difference, 0);
      atLeast(0, difference);
      return;
    }
    int64_t factor = difference.factors[*chosen];
    difference.factors.erase(*chosen);
    known[*chosen] = difference * -factor;
  }

  void atLeast(const Size &size, const Size &bound) override {
    least.emplace_back(size, bound);
  }

  void within(Value integers, const Size &low, const Size &end) override {
    for (int64_t input : factsAt(integers).origins)
      add([=]() {
        return json::Object{{"kind", "within"},
                            {"input", input},
                            {"low", toJSON(low)},
                            {"end", toJSON(end)}};
      });
  }

  void distinct(Value integers) override {
    if (std::optional<int64_t> input = wholeOf(integers))
      add([=]() {
        return json::Object{{"kind", "distinct"}, {"input", *input}};
      });
  }

  void positions(Value integers, const Size &end) override {
    for (int64_t input : factsAt(integers).origins)
      add([=]() {
        return json::Object{
            {"kind", "positions"}, {"input", input}, {"end", toJSON(end)}};
      });
  }

  void threshold(int64_t size) override {
    add([=]() { return json::Object{{"kind", "threshold"}, {"size", size}}; });
  }

  void contexts(Value cache, Value table, Value lengths,
                const Batch &batch) override {
    std::optional<int64_t> input = wholeOf(lengths);
    if (!input)
      return;
    Size columns = size(table, 1), count = size(lengths, 0);
    auto type = cast<PagedKVCacheType>(cache.getType());
    atLeast(columns * type.getBlockSize(), batch.tokens);
    std::optional<int64_t> rows = wholeOf(batch.rows), blocks = wholeOf(table),
                           from = originOf(cache);
    Size tokens = batch.tokens;
    bool isRagged = static_cast<bool>(batch.rows);
    add([=]() {
      return json::Object{{"kind", "contexts"},
                          {"cache", from},
                          {"table", blocks},
                          {"lengths", *input},
                          {"columns", toJSON(columns)},
                          {"count", toJSON(count)},
                          {"rows", rows},
                          {"ragged", isRagged},
                          {"tokens", toJSON(tokens)}};
    });
  }

  void slots(Value cache, Value integers) override {
    if (std::optional<int64_t> input = wholeOf(integers))
      add([=, from = originOf(cache)]() {
        return json::Object{
            {"kind", "slots"}, {"cache", from}, {"input", *input}};
      });
  }

  void sequences(Value cache, Value integers, const Size &tokens) override {
    if (std::optional<int64_t> input = wholeOf(integers))
      add([=, from = originOf(cache)]() {
        return json::Object{{"kind", "sequences"},
                            {"cache", from},
                            {"input", *input},
                            {"tokens", toJSON(tokens)}};
      });
  }

private:
  using Frame = DenseMap<Value, Facts>;

  //===--------------------------------------------------------------------===//
  // Sizes
  //===--------------------------------------------------------------------===//

  Size newUnknown() {
    Size size;
    size.factors[unknowns++] = 1;
    return size;
  }

  Size resolve(const Size &size) const {
    Size resolved(size.constant);
    for (auto [unknown, factor] : size.factors) {
      auto found = known.find(unknown);
      if (found == known.end()) {
        Size same;
        same.factors[unknown] = 1;
        resolved.add(same, factor);
      } else {
        resolved.add(resolve(found->second), factor);
      }
    }
    return resolved;
  }

  /// The product of sizes: an unknown of its own, the same for the same ones.
  Size multiply(Size left, Size right) {
    left = resolve(left), right = resolve(right);
    if (left.isConstant())
      return right * left.constant;
    if (right.isConstant())
      return left * right.constant;
    auto less = [](const Size &a, const Size &b) {
      return std::tie(a.constant, a.factors) < std::tie(b.constant, b.factors);
    };
    if (less(right, left))
      std::swap(left, right);
    for (const auto &[factors, product] : products)
      if (!less(factors.first, left) && !less(left, factors.first) &&
          !less(factors.second, right) && !less(right, factors.second))
        return product;
    Size product = newUnknown();
    products.push_back({{left, right}, product});
    return product;
  }

  bool isProduct(unsigned unknown) const {
    return llvm::any_of(products, [&](const auto &entry) {
      return entry.second.factors.begin()->first == unknown;
    });
  }

  /// Once everything is known.
  json::Array toJSON(const Size &size) const {
    Size resolved = resolve(size);
    json::Array factors;
    for (auto [unknown, factor] : resolved.factors)
      factors.push_back(json::Array{int64_t(unknown), factor});
    return json::Array{resolved.constant, std::move(factors)};
  }

  //===--------------------------------------------------------------------===//
  // Values
  //===--------------------------------------------------------------------===//

  Facts factsOf(Type type) {
    Facts facts;
    if (auto shape = shapeOf(type))
      for (int64_t size : *shape)
        facts.sizes.push_back(ShapedType::isDynamic(size) ? newUnknown()
                                                          : Size(size));
    return facts;
  }

  Facts &factsAt(Value value) {
    auto [entry, isNew] = frame->try_emplace(value);
    if (isNew) {
      entry->second = factsOf(value.getType());
      // What is known of a constant holds wherever it stands.
      APInt constant;
      if (value.getType().isIntOrIndex() &&
          matchPattern(value, m_ConstantInt(&constant)))
        entry->second.number = constant.getSExtValue();
    }
    return frame->find(value)->second;
  }

  std::optional<int64_t> originOf(Value value) {
    if (!value)
      return std::nullopt;
    const Facts &facts = factsAt(value);
    if (facts.origins.size() != 1)
      return std::nullopt;
    return facts.origins.front();
  }

  std::optional<int64_t> wholeOf(Value value) {
    if (!value || !factsAt(value).isWhole)
      return std::nullopt;
    return originOf(value);
  }

  /// What `value` counts, if it is known.
  Size numberOf(OpFoldResult value) {
    if (std::optional<int64_t> constant = getConstantIntValue(value))
      return *constant;
    Facts &facts = factsAt(value.get<Value>());
    if (!facts.number)
      facts.number = newUnknown();
    return *facts.number;
  }

  template <typename Describe> void add(Describe describe) {
    constraints.emplace_back(std::move(describe));
  }

  static json::Object describeType(Type type) {
    json::Object result{{"type", nameOf(type)}};
    auto setKind = [&](StringRef kind, Type element) {
      result["kind"] = kind;
      result["dtype"] = nameOf(element);
    };
    if (auto tensor = dyn_cast<RankedTensorType>(type)) {
      setKind("tensor", tensor.getElementType());
    } else if (auto cache = dyn_cast<PagedKVCacheType>(type)) {
      setKind("cache", cache.getElementType());
      result["layers"] = cache.getLayers();
      result["kv_heads"] = cache.getKvHeads();
      result["head_dim"] = cache.getHeadDim();
      result["block_size"] = cache.getBlockSize();
      result["max_seq_len"] = cache.getMaxSeqLen();
    } else if (auto quantized = dyn_cast<QuantizedTensorType>(type)) {
      setKind("quantized", quantized.getStorage());
      result["scales"] = nameOf(quantized.getScales());
      result["axis"] = quantized.getAxis();
      result["group_size"] = quantized.getGroupSize();
      result["asymmetric"] = quantized.getAsymmetric();
      result["packing"] = stringifyEnum(quantized.getPacking());
    } else if (auto sharded = dyn_cast<ShardedTensorType>(type)) {
      setKind("sharded", sharded.getFullType().getElementType());
      result["shards"] = sharded.getShards();
      result["placement"] = stringifyEnum(sharded.getPlacement());
      result["axis"] = sharded.getAxis();
    } else if (type.isIntOrIndexOrFloat()) {
      setKind("number", type);
    } else {
      setKind("other", type);
    }
    return result;
  }

  //===--------------------------------------------------------------------===//
  // Ops
  //===--------------------------------------------------------------------===//

  // Deeper than any program that ends.
  static constexpr unsigned kDeepestCall = 64;

  SmallVector<Facts> walk(func::FuncOp function, ArrayRef<Facts> arguments,
                          unsigned depth) {
    Frame own;
    Frame *caller = std::exchange(frame, &own);
    SmallVector<Facts> results;
    for (auto [argument, facts] : llvm::zip(function.getArguments(), arguments))
      own[argument] = facts;
    for (Block &block : function.getBody())
      for (Operation &op : block) {
        if (isa<func::ReturnOp>(op) && results.empty())
          for (Value operand : op.getOperands())
            results.push_back(factsAt(operand));
        visit(&op, depth);
      }
    frame = caller;
    return results;
  }

  void visit(Operation *op, unsigned depth) {
    for (Value result : op->getResults())
      factsAt(result);
    if (auto call = dyn_cast<func::CallOp>(op)) {
      follow(call, depth);
      return;
    }
    // Caches are made of caches.
    for (Value result : op->getResults())
      if (isa<PagedKVCacheType>(result.getType()))
        for (Value operand : op->getOperands())
          if (operand.getType() == result.getType()) {
            Facts facts = factsAt(operand);
            factsAt(result) = facts;
          }
    if (auto linalgOp = dyn_cast<linalg::LinalgOp>(op)) {
      visitLoops(linalgOp, depth);
      return;
    }
    visitUpstream(op);
    if (auto constrained = dyn_cast<InputConstraintsOpInterface>(op))
      constrained.constrainInputs(*this);
    for (Region &region : op->getRegions())
      for (Block &block : region)
        for (Operation &nested : block)
          visit(&nested, depth);
  }

  void follow(func::CallOp call, unsigned depth) {
    auto callee = call->getParentOfType<ModuleOp>().lookupSymbol<func::FuncOp>(
        call.getCallee());
    if (!callee || callee.isExternal() || depth >= kDeepestCall)
      return;
    SmallVector<Facts> arguments;
    for (auto [operand, type] :
         llvm::zip(call.getOperands(), callee.getArgumentTypes()))
      arguments.push_back(factsAt(operand));
    for (auto [result, facts] :
         llvm::zip(call.getResults(), walk(callee, arguments, depth + 1)))
      factsAt(result) = facts;
  }

  /// Elements of `from` are in `to`, all of them in order if `isWhole`.
  void pass(Value from, Value to, bool isWhole) {
    Facts source = factsAt(from);
    Facts &target = factsAt(to);
    target.isWhole = isWhole && source.isWhole && target.origins.empty();
    target.addOrigins(source);
  }

  /// Loops: each of their dimensions has one size.
  void visitLoops(linalg::LinalgOp op, unsigned depth) {
    for (auto [init, result] : llvm::zip(op.getDpsInits(), op->getResults()))
      factsAt(result).sizes = factsAt(init).sizes;
    SmallVector<std::optional<Size>> loops(op.getNumLoops());
    for (OpOperand &operand : op->getOpOperands()) {
      if (!isa<RankedTensorType>(operand.get().getType()))
        continue;
      AffineMap map = op.getMatchingIndexingMap(&operand);
      for (auto [dimension, expr] : llvm::enumerate(map.getResults())) {
        auto loop = dyn_cast<AffineDimExpr>(expr);
        if (!loop)
          continue;
        std::optional<Size> &known = loops[loop.getPosition()];
        if (known)
          equal(*known, size(operand.get(), dimension));
        else
          known = size(operand.get(), dimension);
      }
    }
    Block *body = op.getBlock();
    for (OpOperand &operand : op->getOpOperands())
      if (operand.getOperandNumber() < body->getNumArguments())
        pass(operand.get(), body->getArgument(operand.getOperandNumber()),
             op.getMatchingIndexingMap(&operand).isIdentity());
    for (Operation &nested : *body)
      visit(&nested, depth);
    if (auto yield = dyn_cast<linalg::YieldOp>(body->getTerminator()))
      for (auto [value, result, init] : llvm::zip(
               yield.getValues(), op->getResults(), op.getDpsInitsMutable()))
        pass(value, result, op.getMatchingIndexingMap(&init).isIdentity());
  }

  /// What the dialects that surround ours do to sizes and elements.
  void visitUpstream(Operation *op) {
    if (op->hasTrait<OpTrait::Elementwise>() && op->getNumResults() == 1)
      for (Value operand : op->getOperands())
        if (shapeOf(operand.getType()) &&
            isa<RankedTensorType>(op->getResult(0).getType()))
          equalShapes(operand, op->getResult(0));
    llvm::TypeSwitch<Operation *>(op)
        .Case<arith::IndexCastOp, arith::IndexCastUIOp, arith::ExtSIOp,
              arith::ExtUIOp, arith::TruncIOp>([&](auto cast) {
          pass(cast.getIn(), cast.getOut(), /*isWhole=*/true);
          if (auto number = factsAt(cast.getIn()).number)
            factsAt(cast.getOut()).number = number;
        })
        .Case([&](arith::SelectOp select) {
          pass(select.getTrueValue(), select.getResult(), false);
          pass(select.getFalseValue(), select.getResult(), false);
          // Sizes that are counted from the end, if they are negative, are not.
          if (auto compare =
                  select.getCondition().getDefiningOp<arith::CmpIOp>())
            if (compare.getPredicate() == arith::CmpIPredicate::slt &&
                isAtMost(compare.getRhs(), compare.getLhs()))
              factsAt(select.getResult()).number =
                  factsAt(select.getFalseValue()).number;
        })
        .Case([&](arith::MinSIOp least) { choose(least, /*takesLeast=*/true); })
        .Case([&](arith::MaxSIOp most) { choose(most, /*takesLeast=*/false); })
        .Case([&](affine::AffineApplyOp apply) { visitApply(apply); })
        .Case([&](arith::AddIOp add) { count(add, 1); })
        .Case([&](arith::SubIOp subtract) { count(subtract, -1); })
        .Case([&](arith::MulIOp times) {
          std::optional<Size> left = factsAt(times.getLhs()).number,
                              right = factsAt(times.getRhs()).number;
          if (left && right)
            factsAt(times.getResult()).number = multiply(*left, *right);
        })
        .Case([&](tensor::DimOp dim) {
          if (std::optional<int64_t> index = dim.getConstantIndex())
            factsAt(dim.getResult()).number = size(dim.getSource(), *index);
        })
        .Case([&](tensor::CastOp cast) {
          if (isa<RankedTensorType>(cast.getSource().getType()) &&
              isa<RankedTensorType>(cast.getType()))
            equalShapes(cast.getSource(), cast.getDest());
          pass(cast.getSource(), cast.getDest(), true);
        })
        .Case([&](tensor::EmptyOp empty) {
          setSizes(empty.getResult(), empty.getMixedSizes());
        })
        .Case([&](tensor::ExtractOp extract) {
          Value table = extract.getTensor();
          for (auto [dimension, index] : llvm::enumerate(extract.getIndices()))
            within(index, 0, size(table, dimension));
          pass(table, extract.getResult(), false);
        })
        .Case([&](tensor::ExtractSliceOp slice) {
          llvm::SmallBitVector dropped = slice.getDroppedDims();
          SmallVector<OpFoldResult> kept;
          for (auto [index, size] : llvm::enumerate(slice.getMixedSizes()))
            if (!dropped.test(index))
              kept.push_back(size);
          setSizes(slice.getResult(), kept);
          pass(slice.getSource(), slice.getResult(), false);
        })
        .Case([&](tensor::InsertSliceOp slice) {
          equalShapes(slice.getDest(), slice.getResult());
          pass(slice.getDest(), slice.getResult(), false);
          pass(slice.getSource(), slice.getResult(), false);
        })
        .Case([&](tensor::ConcatOp concat) { visitConcat(concat); })
        .Case([&](tensor::CollapseShapeOp collapse) {
          visitReshape(collapse.getSrc(), collapse.getResult(),
                       collapse.getReassociationIndices(),
                       /*collapses=*/true);
        })
        .Case([&](tensor::ExpandShapeOp expand) {
          visitReshape(expand.getSrc(), expand.getResult(),
                       expand.getReassociationIndices(),
                       /*collapses=*/false);
        })
        .Case([&](tensor::ReshapeOp reshape) {
          auto shape =
              reshape.getShape().getDefiningOp<tensor::FromElementsOp>();
          if (shape && isa<RankedTensorType>(reshape.getType()))
            setSizes(reshape.getResult(),
                     getAsOpFoldResult(shape.getElements()));
          equal(elementsOf(reshape.getSource()),
                elementsOf(reshape.getResult()));
          pass(reshape.getSource(), reshape.getResult(), true);
        })
        .Case([&](scf::ForOp loop) {
          for (auto [init, argument, result] :
               llvm::zip(loop.getInitArgs(), loop.getRegionIterArgs(),
                         loop.getResults())) {
            Facts facts = factsAt(init);
            factsAt(argument) = facts;
            factsAt(result) = facts;
          }
        });
  }

  /// A sum or a difference of what is counted.
  void count(Operation *op, int64_t factor) {
    std::optional<Size> left = factsAt(op->getOperand(0)).number,
                        right = factsAt(op->getOperand(1)).number;
    if (left && right)
      factsAt(op->getResult(0)).number = Size(*left).add(*right, factor);
  }

  /// Whether `left <= right` for all sizes.
  bool isAtMost(Value left, Value right) {
    std::optional<Size> low = factsAt(left).number,
                        high = factsAt(right).number;
    if (!low || !high)
      return false;
    Size difference = resolve(*high - *low);
    return difference.constant >= 0 &&
           llvm::all_of(difference.factors,
                        [](auto factor) { return factor.second > 0; });
  }

  /// The lesser or the greater of two counts, if it is the same one always.
  void choose(Operation *op, bool takesLeast) {
    Value left = op->getOperand(0), right = op->getOperand(1);
    if (isAtMost(right, left))
      std::swap(left, right);
    else if (!isAtMost(left, right))
      return;
    std::optional<Size> chosen = factsAt(takesLeast ? left : right).number;
    factsAt(op->getResult(0)).number = chosen;
  }

  /// A sum of multiples.
  void visitApply(affine::AffineApplyOp apply) {
    AffineMap map = apply.getAffineMap();
    SmallVector<Size> numbers;
    for (Value operand : apply.getMapOperands())
      numbers.push_back(numberOf(operand));
    if (std::optional<Size> sum =
            sumOf(map.getResult(0), map.getNumDims(), numbers))
      factsAt(apply.getResult()).number = sum;
  }

  std::optional<Size> sumOf(AffineExpr expr, unsigned dims,
                            ArrayRef<Size> numbers) {
    if (auto constant = dyn_cast<AffineConstantExpr>(expr))
      return Size(constant.getValue());
    if (auto dim = dyn_cast<AffineDimExpr>(expr))
      return numbers[dim.getPosition()];
    if (auto symbol = dyn_cast<AffineSymbolExpr>(expr))
      return numbers[dims + symbol.getPosition()];
    auto both = cast<AffineBinaryOpExpr>(expr);
    std::optional<Size> left = sumOf(both.getLHS(), dims, numbers),
                        right = sumOf(both.getRHS(), dims, numbers);
    if (!left || !right)
      return std::nullopt;
    if (expr.getKind() == AffineExprKind::Add)
      return *left + *right;
    if (expr.getKind() == AffineExprKind::Mul)
      return multiply(*left, *right);
    return std::nullopt;
  }

  /// How many elements a tensor has.
  Size elementsOf(Value tensor) {
    Size product = 1;
    for (const Size &size : SmallVector<Size>(factsAt(tensor).sizes))
      product = multiply(product, size);
    return product;
  }

  void setSizes(Value tensor, ArrayRef<OpFoldResult> sizes) {
    for (auto [dimension, value] : llvm::enumerate(sizes))
      equal(size(tensor, dimension), numberOf(value));
  }

  void visitConcat(tensor::ConcatOp concat) {
    int64_t axis = concat.getDim();
    Size total;
    for (Value part : concat.getInputs()) {
      for (int64_t i = 0, e = concat.getResultType().getRank(); i < e; ++i)
        if (i != axis)
          equal(size(concat.getResult(), i), size(part, i));
      total.add(size(part, axis));
      pass(part, concat.getResult(), false);
    }
    equal(size(concat.getResult(), axis), total);
  }

  void visitReshape(Value from, Value to, ArrayRef<ReassociationIndices> groups,
                    bool collapses) {
    Value flat = collapses ? to : from, split = collapses ? from : to;
    for (auto [dimension, group] : llvm::enumerate(groups)) {
      Size product = 1;
      for (int64_t index : group)
        product = multiply(product, size(split, index));
      equal(size(flat, dimension), product);
    }
    pass(from, to, true);
  }

  Frame *frame = nullptr;
  unsigned unknowns = 0;
  /// Unknowns that turned out to be made of others.
  std::map<unsigned, Size> known;
  std::vector<std::pair<std::pair<Size, Size>, Size>> products;
  std::vector<std::pair<Size, Size>> least;
  /// They become text last, when sizes are known.
  std::vector<std::function<json::Object()>> constraints;
};

} // namespace

json::Object llmir::llm::describeInputs(func::FuncOp function) {
  return Walker().describe(function);
}
