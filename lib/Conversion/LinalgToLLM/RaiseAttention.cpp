// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Finds attention from its end: a product of matrices whose one side is a
// softmax of another product. What the elements of that side are says what the
// scale, the softcap and the mask are, in whatever steps they were computed.

#include "Masks.h"
#include "Raising.h"
#include "Views.h"
#include "llmir/Conversion/Passes.h"
#include "llmir/Dialect/LLM/LLM.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Matchers.h"

#include <cmath>

namespace llmir {
#define GEN_PASS_DEF_RAISEATTENTION
#include "llmir/Conversion/Passes.h.inc"
} // namespace llmir

using namespace mlir;
using namespace llmir::raising;

namespace {

/// A product of two tensors, summed over one loop.
struct Contraction {
  /// Its interface's questions are not const.
  mutable linalg::LinalgOp op;
  unsigned reduced = 0;

  AffineMap map(unsigned operand) const {
    return op.getMatchingIndexingMap(&op->getOpOperand(operand));
  }
  Value operand(unsigned index) const { return op->getOperand(index); }
  Value result() const { return op->getResult(0); }
  /// The indices of an operand, given those of the loops.
  SmallVector<Expr> place(unsigned operand, ArrayRef<Expr> loops) const {
    SmallVector<Expr> indices;
    for (AffineExpr expr : map(operand).getResults())
      indices.push_back(loops[cast<AffineDimExpr>(expr).getPosition()]);
    return indices;
  }
};

/// Whether every element of a tensor is 0.
bool isZero(Value tensor) {
  if (auto fill = tensor.getDefiningOp<linalg::FillOp>())
    return matchPattern(fill.getInputs()[0], m_AnyZeroFloat());
  return matchPattern(tensor, m_AnyZeroFloat());
}

std::optional<Contraction> contractionOf(Operation *op) {
  auto linalgOp = dyn_cast_or_null<linalg::LinalgOp>(op);
  if (!linalgOp || linalgOp.getNumDpsInputs() != 2 ||
      linalgOp.getNumDpsInits() != 1 || op->getNumResults() != 1 ||
      linalgOp.getNumReductionLoops() != 1 ||
      !isZero(linalgOp.getDpsInitOperand(0)->get()))
    return std::nullopt;
  Contraction found{linalgOp, 0};
  for (unsigned operand : {0, 1, 2})
    if (!found.map(operand).isProjectedPermutation())
      return std::nullopt;
  SmallVector<unsigned> reduced;
  linalgOp.getReductionDims(reduced);
  found.reduced = reduced[0];
  Block *body = linalgOp.getBlock();
  Operation *sum = body->getTerminator()->getOperand(0).getDefiningOp();
  if (!isa_and_nonnull<arith::AddFOp>(sum))
    return std::nullopt;
  int side = sum->getOperand(0) == body->getArgument(2) ? 1 : 0;
  auto product = sum->getOperand(side).getDefiningOp<arith::MulFOp>();
  if (!product || sum->getOperand(1 - side) != body->getArgument(2))
    return std::nullopt;
  SmallVector<Value> factors;
  for (Value factor : product->getOperands()) {
    while (auto widened = factor.getDefiningOp<arith::ExtFOp>())
      factor = widened.getIn();
    factors.push_back(factor);
  }
  Value first = body->getArgument(0), second = body->getArgument(1);
  if (!llvm::is_contained(factors, first) ||
      !llvm::is_contained(factors, second))
    return std::nullopt;
  return found;
}

/// The indices that an attention is a function of.
struct Indices {
  Expr batch = nullptr, head = nullptr, query = nullptr, key = nullptr,
       dim = nullptr;
};

/// What an attention is made of.
struct Match {
  Contraction product;
  /// For each of its loops, which of batch, query, head and dimension it is.
  SmallVector<SmallVector<int64_t, 2>, 5> parts;
  Indices indices;
  Emitter::Layout query, keys, values;
  Expr kvHead = nullptr;
  Scores scores;
  Visibility visibility;
  double scale = 1.0;
  /// Whether a query that sees no key yields 0.
  bool zeroIfBlind = false;
  /// Whether the attributes say it all, and each query sees a key.
  bool isPlain = false;
};

class Raiser {
public:
  Raiser(func::FuncOp function)
      : function(function), exprs(function.getContext()), elements(exprs) {}

  int64_t run();

private:
  std::optional<Match> match(const Contraction &product);
  std::optional<Match> match(const Contraction &product, unsigned weights,
                             ArrayRef<Expr> loops, const Indices &indices);
  bool parseSoftmax(Expr weight, Expr key, Expr &score, bool &zeroIfBlind);
  bool isWeighted(Value weights);
  SmallVector<int64_t> headCounts(const Contraction &product);
  std::optional<Emitter::Layout> layoutOf(Value tensor, ArrayRef<Expr> indices,
                                          ArrayRef<Expr> variables,
                                          double &scale);
  LogicalResult replace(const Match &match);
  Value mask(Emitter &emitter, const Match &match);
  Value zeroBlind(Emitter &emitter, const Match &match, Value output);

  /// One variable for each size and role, so that layers share expressions.
  Expr variable(StringRef role, Expr size) {
    Expr &found = variables[{role, size}];
    if (!found)
      found = exprs.variable(size);
    return found;
  }

  /// A size of 1 has the index 0 alone.
  Expr placeOf(Expr variable) {
    bool isOne = exprs.asInteger(variable->operands[0]) == 1;
    return isOne ? exprs.integer(0) : variable;
  }

  func::FuncOp function;
  Expressions exprs;
  Elements elements;
  DenseMap<std::pair<StringRef, Expr>, Expr> variables;
  DenseMap<std::pair<Expr, Expr>, Value> tensors;
};

Expr stripCasts(Expr e) {
  while (e->applies("arith.extf") || e->applies("arith.truncf"))
    e = e->operands[0];
  return e;
}

/// Takes a softmax over `key` apart into the scores that it is of.
bool Raiser::parseSoftmax(Expr weight, Expr key, Expr &score,
                          bool &zeroIfBlind) {
  weight = stripCasts(weight);
  Expr blind = nullptr;
  zeroIfBlind = false;
  if (weight->kind == Kind::Select) {
    int side = exprs.asNumber(weight->operands[1]) == 0.0 ? 2 : 1;
    if (exprs.asNumber(weight->operands[3 - side]) != 0.0)
      return false;
    blind = weight->operands[0];
    if (side == 1)
      blind = exprs.isNot(blind);
    weight = stripCasts(weight->operands[side]);
  }

  Expr exponential = nullptr, sum = nullptr;
  if (weight->applies("arith.divf")) {
    exponential = stripCasts(weight->operands[0]);
    sum = stripCasts(weight->operands[1]);
  } else if (weight->applies("arith.mulf")) {
    for (int side : {0, 1}) {
      Expr inverse = stripCasts(weight->operands[side]);
      if (!inverse->applies("arith.divf") ||
          exprs.asNumber(inverse->operands[0]) != 1.0)
        continue;
      exponential = stripCasts(weight->operands[1 - side]);
      sum = stripCasts(inverse->operands[1]);
    }
  }
  // Over all keys.
  auto isReduction = [&](Expr e, Reduction kind) {
    return e->kind == Kind::Reduce && e->number == static_cast<int64_t>(kind) &&
           e->operands[0]->operands[0] == key->operands[0];
  };
  if (!exponential || !exponential->applies("math.exp") ||
      !isReduction(sum, Reduction::add) ||
      exprs.asNumber(sum->operands[2]) != 0.0 ||
      stripCasts(exprs.bodyAt(sum, key)) != exponential)
    return false;
  score = stripCasts(exponential->operands[0]);
  if (score->applies("arith.subf")) {
    Expr maximum = stripCasts(score->operands[1]);
    std::optional<double> start = isReduction(maximum, Reduction::max)
                                      ? exprs.asNumber(maximum->operands[2])
                                      : std::nullopt;
    if (start && *start < -1e30 &&
        exprs.bodyAt(maximum, key) == stripCasts(score->operands[0]))
      score = stripCasts(score->operands[0]);
    else if (start && *start < -1e30 &&
             exprs.bodyAt(maximum, key) == score->operands[0])
      score = score->operands[0];
    else
      return false;
  }
  // Where every score is -inf.
  if (blind) {
    if (!isReduction(blind, Reduction::all) ||
        exprs.asTruth(blind->operands[2]) != true)
      return false;
    Expr compared = exprs.bodyAt(blind, key);
    auto predicate =
        dyn_cast_or_null<arith::CmpFPredicateAttr>(compared->attribute);
    if (!compared->applies("arith.cmpf") || !predicate ||
        predicate.getValue() != arith::CmpFPredicate::OEQ)
      return false;
    int side = exprs.asNumber(compared->operands[1]) ? 0 : 1;
    if (stripCasts(compared->operands[side]) != stripCasts(score) ||
        exprs.asNumber(compared->operands[1 - side]) != -INFINITY)
      return false;
    zeroIfBlind = true;
  }
  return true;
}

/// Whether exponentials are near, to spare what is no softmax the work.
bool Raiser::isWeighted(Value weights) {
  SmallVector<Value> left = {weights};
  llvm::DenseSet<Value> seen;
  while (!left.empty() && seen.size() < 48) {
    Value value = left.pop_back_val();
    Operation *op = value.getDefiningOp();
    if (!op || !isa<RankedTensorType>(value.getType()) ||
        !seen.insert(value).second || contractionOf(op))
      continue;
    if (isa<math::ExpOp>(op))
      return true;
    WalkResult found = op->walk([&](Operation *inner) {
      if (auto extract = dyn_cast<tensor::ExtractOp>(inner))
        left.push_back(extract.getTensor());
      return isa<math::ExpOp>(inner) ? WalkResult::interrupt()
                                     : WalkResult::advance();
    });
    if (found.wasInterrupted())
      return true;
    left.append(op->operand_begin(), op->operand_end());
  }
  return false;
}

/// Numbers of heads that may be in the first dimension of a product, from
/// tensors near it that have more dimensions.
SmallVector<int64_t> Raiser::headCounts(const Contraction &product) {
  llvm::SmallDenseSet<int64_t> found;
  SmallVector<Value> left = {product.operand(0), product.operand(1)};
  llvm::DenseSet<Value> seen;
  auto look = [&](Value value) {
    auto type = dyn_cast<RankedTensorType>(value.getType());
    if (!type || type.getRank() < 4)
      return;
    if (!type.isDynamicDim(1))
      found.insert(type.getDimSize(1));
    if (type.getRank() > 4 && !type.isDynamicDim(1) && !type.isDynamicDim(2))
      found.insert(type.getDimSize(1) * type.getDimSize(2));
    if (!type.isDynamicDim(2))
      found.insert(type.getDimSize(2));
  };
  while (!left.empty() && seen.size() < 64) {
    Value value = left.pop_back_val();
    if (!isa<RankedTensorType>(value.getType()) || !seen.insert(value).second)
      continue;
    look(value);
    Operation *op = value.getDefiningOp();
    if (!op)
      continue;
    op->walk([&](tensor::ExtractOp extract) {
      left.push_back(extract.getTensor());
    });
    left.append(op->operand_begin(), op->operand_end());
  }
  for (Operation *user : product.result().getUsers())
    for (Value result : user->getResults())
      look(result);
  SmallVector<int64_t> counts(found.begin(), found.end());
  llvm::sort(counts, std::greater<int64_t>());
  return counts;
}

std::optional<Emitter::Layout> Raiser::layoutOf(Value tensor,
                                                ArrayRef<Expr> indices,
                                                ArrayRef<Expr> variables,
                                                double &scale) {
  OpBuilder builder(function.getContext());
  Emitter emitter(elements, builder, function.getLoc());
  SmallVector<View> views =
      peelAll(elements, View{tensor, SmallVector<Expr>(indices)});
  auto layout = emitter.layoutOf(views, variables);
  if (layout)
    scale *= layout->view.scale;
  return layout;
}

std::optional<Match> Raiser::match(const Contraction &product) {
  SmallVector<Expr> sizes;
  for (unsigned loop = 0; loop < product.op.getNumLoops(); ++loop) {
    sizes.push_back(elements.loopSize(product.op, loop));
    if (!sizes.back())
      return std::nullopt;
  }
  for (unsigned weights : {0, 1}) {
    SmallVector<unsigned> batch, rows, columns;
    AffineMap own = product.map(weights), other = product.map(1 - weights);
    // In the order in which the weights have them.
    for (AffineExpr expr : own.getResults()) {
      unsigned loop = cast<AffineDimExpr>(expr).getPosition();
      if (loop != product.reduced)
        (other.isFunctionOfDim(loop) ? batch : rows).push_back(loop);
    }
    for (AffineExpr expr : other.getResults()) {
      unsigned loop = cast<AffineDimExpr>(expr).getPosition();
      if (!own.isFunctionOfDim(loop))
        columns.push_back(loop);
    }
    if (rows.size() != 1 || columns.size() != 1 || batch.size() < 1 ||
        batch.size() > 2 || !isWeighted(product.operand(weights)))
      continue;
    SmallVector<Expr> loops(sizes.size());
    Indices indices;
    SmallVector<SmallVector<int64_t, 2>, 5> parts(sizes.size());
    parts[rows[0]] = {1};
    parts[columns[0]] = {3};
    indices.query = loops[rows[0]] = variable("query", sizes[rows[0]]);
    indices.dim = loops[columns[0]] = variable("dim", sizes[columns[0]]);
    indices.key = loops[product.reduced] =
        variable("key", sizes[product.reduced]);
    if (batch.size() == 2) {
      if (!exprs.asInteger(sizes[batch[1]]))
        std::swap(batch[0], batch[1]);
      if (!exprs.asInteger(sizes[batch[1]]))
        continue;
      indices.batch = variable("batch", sizes[batch[0]]);
      indices.head = variable("head", sizes[batch[1]]);
      loops[batch[0]] = placeOf(indices.batch);
      loops[batch[1]] = placeOf(indices.head);
      parts[batch[0]] = {0};
      parts[batch[1]] = {2};
      if (auto found = match(product, weights, loops, indices)) {
        found->parts = parts;
        return found;
      }
      continue;
    }
    parts[batch[0]] = {0, 2};
    // Several splits may be right: the one that sees through the most is the
    // model's own.
    std::optional<Match> best;
    auto depthOf = [](const Match &match) {
      return match.query.depth + match.keys.depth + match.values.depth;
    };
    Expr count = sizes[batch[0]];
    SmallVector<int64_t> heads = headCounts(product);
    heads.insert(heads.begin(), exprs.asInteger(count).value_or(1));
    for (int64_t number : heads) {
      Expr size = exprs.integer(number);
      if (number < 1 || exprs.asInteger(exprs.mod(count, size)) != 0)
        continue;
      indices.batch = variable("batch", exprs.floorDiv(count, size));
      indices.head = variable("head", size);
      loops[batch[0]] = exprs.add(exprs.mul(placeOf(indices.batch), size),
                                  placeOf(indices.head));
      auto found = match(product, weights, loops, indices);
      if (found && (!best || depthOf(*found) > depthOf(*best))) {
        found->parts = parts;
        best = std::move(found);
      }
    }
    if (best)
      return best;
  }
  return std::nullopt;
}

std::optional<Match> Raiser::match(const Contraction &product, unsigned weights,
                                   ArrayRef<Expr> loops,
                                   const Indices &indices) {
  Expr weight =
      elements.at(product.operand(weights), product.place(weights, loops));
  Match found;
  found.product = product;
  found.indices = indices;
  Expr score = nullptr;
  if (!parseSoftmax(weight, indices.key, score, found.zeroIfBlind))
    return std::nullopt;
  auto isProduct = [&](Expr e) {
    return e->kind == Kind::Read && contractionOf(e->value.getDefiningOp()) &&
           exprs.dependsOn(e, indices.key) && exprs.dependsOn(e, indices.query);
  };
  std::optional<Scores> scores = parseScores(exprs, score, isProduct);
  if (!scores)
    return std::nullopt;
  found.scores = *scores;
  found.scale = scores->scale;

  // Queries and keys, and which is which.
  Contraction inner = *contractionOf(scores->product->value.getDefiningOp());
  SmallVector<Expr> innerLoops(inner.op.getNumLoops());
  for (auto [expr, index] :
       llvm::zip_equal(inner.map(2).getResults(), scores->product->operands))
    innerLoops[cast<AffineDimExpr>(expr).getPosition()] = index;
  Expr depth = elements.loopSize(inner.op, inner.reduced);
  if (!depth || depth != indices.dim->operands[0])
    return std::nullopt;
  innerLoops[inner.reduced] = indices.dim;
  auto dependsOn = [&](unsigned side, Expr index) {
    for (Expr place : inner.place(side, innerLoops))
      if (exprs.dependsOn(place, index))
        return true;
    return false;
  };
  unsigned query = dependsOn(0, indices.query) ? 0 : 1;
  if (!dependsOn(query, indices.query) || dependsOn(query, indices.key) ||
      dependsOn(1 - query, indices.query) || !dependsOn(1 - query, indices.key))
    return std::nullopt;
  auto queries = layoutOf(
      inner.operand(query), inner.place(query, innerLoops),
      {indices.batch, indices.query, indices.head, indices.dim}, found.scale);
  if (!queries)
    return std::nullopt;
  found.query = *queries;

  // Query heads that share a KV head: by the fewest of these that tell all
  // keys and values apart.
  int64_t heads = *exprs.asInteger(indices.head->operands[0]);
  for (int64_t kvHeads = 1; kvHeads <= heads; ++kvHeads) {
    if (heads % kvHeads != 0)
      continue;
    Expr kvHead = variable("kv_head", exprs.integer(kvHeads));
    int64_t group = heads / kvHeads;
    Expr head = exprs.scale(kvHead, group);
    if (group > 1)
      head = exprs.add(head, variable("member", exprs.integer(group)));
    auto of = [&](Value tensor, SmallVector<Expr> place, double &scale) {
      for (Expr &index : place)
        index = exprs.substitute(index, indices.head, head);
      return layoutOf(tensor, place,
                      {indices.batch, indices.key, kvHead, indices.dim}, scale);
    };
    double keyScale = 1.0, valueScale = 1.0;
    auto keys = of(inner.operand(1 - query), inner.place(1 - query, innerLoops),
                   keyScale);
    if (!keys)
      continue;
    auto values = of(product.operand(1 - weights),
                     product.place(1 - weights, loops), valueScale);
    if (!values || valueScale != 1.0)
      continue;
    found.keys = *keys;
    found.values = *values;
    found.kvHead = kvHead;
    found.scale *= keyScale;
    break;
  }
  if (!found.kvHead)
    return std::nullopt;

  // The last query stands at the last key.
  Expr position =
      exprs.add(indices.query, exprs.sub(indices.key->operands[0],
                                         indices.query->operands[0]));
  found.visibility =
      parseVisibility(exprs, scores->seen, position, indices.key);
  // Of more queries than keys, the first ones see none.
  Expr surplus =
      exprs.sub(indices.key->operands[0], indices.query->operands[0]);
  found.isPlain = exprs.asTruth(found.visibility.rest) == true &&
                  scores->added.empty() &&
                  (!found.visibility.causal || exprs.isNotNegative(surplus));
  if (found.isPlain || scores->hidesWholly())
    return found;
  // A query that sees no key of a finite mask weighs all keys by what hides
  // them, so here the mask stays whole.
  found.visibility = {false, std::nullopt, scores->seen};
  for (const Scores::Hidden &term : scores->hidden)
    if (term.replaces && term.score > -1e30)
      return std::nullopt;
  return found;
}

/// What attributes do not say, as a mask over all queries and keys.
Value Raiser::mask(Emitter &emitter, const Match &match) {
  Indices indices = match.indices;
  const Scores &scores = match.scores;
  MLIRContext *context = exprs.getContext();
  Type f32 = Float32Type::get(context);
  Expr element = match.visibility.rest;
  if (!scores.added.empty() || !scores.hidesWholly()) {
    Expr zero = exprs.number(FloatAttr::get(f32, 0.0));
    auto hide = [&](Expr condition, double score) {
      return exprs.select(condition, zero,
                          exprs.number(FloatAttr::get(f32, score)));
    };
    auto add = [&](Expr a, Expr b) {
      return exprs.apply(
          OperationName(arith::AddFOp::getOperationName(), context), f32,
          {a, b});
    };
    if (scores.hidesWholly()) {
      element = hide(element, -INFINITY);
    } else {
      element = zero;
      for (const Scores::Hidden &term : scores.hidden)
        element = add(element, hide(term.condition, term.score));
    }
    for (Expr term : scores.added) {
      if (term->type != f32)
        term =
            exprs.apply(OperationName(term->type.getIntOrFloatBitWidth() < 32
                                          ? arith::ExtFOp::getOperationName()
                                          : arith::TruncFOp::getOperationName(),
                                      context),
                        f32, term);
      element = add(element, term);
    }
  }
  // One for all sequences or heads where they do not matter.
  Expr one = exprs.integer(1);
  Expr batch = exprs.dependsOn(element, indices.batch) ? indices.batch
                                                       : variable("all", one);
  Expr head = exprs.dependsOn(element, indices.head) ? indices.head
                                                     : variable("any", one);
  Value &found =
      tensors[{element, exprs.add(exprs.scale(indices.query, 2), indices.key)}];
  if (!found)
    found = emitter.tensor({batch, head, indices.query, indices.key}, element,
                           element->type);
  return found;
}

/// Puts 0 where a query sees no key.
Value Raiser::zeroBlind(Emitter &emitter, const Match &match, Value output) {
  Indices indices = match.indices;
  MLIRContext *context = exprs.getContext();
  Type i1 = IntegerType::get(context, 1);
  Expr sees = exprs.truth(true);
  for (const Scores::Hidden &term : match.scores.hidden)
    if (std::isinf(term.score))
      sees = exprs.both(sees, term.condition);
  for (Expr term : match.scores.added)
    sees = exprs.both(
        sees, exprs.isNot(exprs.apply(
                  OperationName(arith::CmpFOp::getOperationName(), context), i1,
                  {term, exprs.number(FloatAttr::get(term->type, -INFINITY))},
                  arith::CmpFPredicateAttr::get(context,
                                                arith::CmpFPredicate::OEQ))));
  if (exprs.asTruth(sees) == true)
    return output;
  Expr any =
      exprs.reduce(Reduction::any, indices.key, sees, exprs.truth(false));
  SmallVector<Expr> variables = {indices.batch, indices.query, indices.head,
                                 indices.dim},
                    rows;
  for (Expr variable : variables)
    if (exprs.dependsOn(any, variable))
      rows.push_back(variable);
  Value &flags = tensors[{any, nullptr}];
  if (!flags)
    flags = emitter.tensor(rows, any, i1);
  if (!flags)
    return nullptr;
  auto type = cast<RankedTensorType>(output.getType());
  Expr zero = exprs.number(FloatAttr::get(type.getElementType(), 0.0));
  Value chosen =
      emitter.tensor(variables,
                     exprs.select(exprs.read(flags, rows),
                                  exprs.read(output, variables), zero),
                     type.getElementType());
  return chosen ? emitter.castTo(chosen, type) : nullptr;
}

LogicalResult Raiser::replace(const Match &match) {
  Operation *op = match.product.op;
  OpBuilder builder(op);
  Location loc = op->getLoc();
  Emitter emitter(elements, builder, loc);
  Indices indices = match.indices;
  const Visibility &visibility = match.visibility;

  auto layOut = [&](const Emitter::Layout &layout, Expr position, Expr head) {
    SmallVector<Expr> variables = {indices.batch, position, head, indices.dim},
                      sizes;
    for (Expr variable : variables)
      sizes.push_back(variable->operands[0]);
    return emitter.layOut(layout, variables, sizes);
  };
  Value query = layOut(match.query, indices.query, indices.head);
  Value keys = layOut(match.keys, indices.key, match.kvHead);
  Value values = layOut(match.values, indices.key, match.kvHead);
  bool needsMask =
      exprs.asTruth(visibility.rest) != true || !match.scores.added.empty();
  Value mask = needsMask ? this->mask(emitter, match) : Value();
  if (!query || !keys || !values || (needsMask && !mask))
    return failure();

  auto queryType = cast<RankedTensorType>(query.getType());
  double scale = match.scale, usual = 1.0 / std::sqrt(queryType.getDimSize(3));
  // The product of two rounded roots is not quite their square.
  if (std::abs(scale / usual - 1.0) < 2e-7)
    scale = usual;
  Value result = match.product.result();
  Value output = builder.create<llmir::llm::AttentionOp>(
      loc, queryType.clone(getElementTypeOrSelf(result)), query, keys, values,
      /*sinks=*/Value(), /*alibi=*/Value(), mask,
      builder.getF32FloatAttr(scale), visibility.causal,
      visibility.window ? builder.getI64IntegerAttr(*visibility.window)
                        : IntegerAttr(),
      match.scores.softcap ? builder.getF32FloatAttr(*match.scores.softcap)
                           : FloatAttr());
  if (match.zeroIfBlind && !match.isPlain)
    output = zeroBlind(emitter, match, output);
  if (!output)
    return failure();

  // To where the product had its elements, for whoever reads them there.
  SmallVector<int64_t> order;
  for (AffineExpr expr : match.product.map(2).getResults())
    order.append(match.parts[cast<AffineDimExpr>(expr).getPosition()]);
  Value back =
      llvm::is_sorted(order) ? output : emitter.transpose(output, order);
  back = emitter.reshape(back, elements.sizes(result));
  if (!back)
    return failure();
  result.replaceAllUsesWith(emitter.castTo(back, result.getType()));
  foldViewsOf(elements, output);
  return success();
}

int64_t Raiser::run() {
  int64_t raised = 0;
  for (Block &block : function.getBody()) {
    // Masks are shared by what comes after them.
    std::vector<Match> matches;
    elements.assume(block);
    for (Operation &op : block)
      if (auto product = contractionOf(&op))
        if (auto found = match(*product))
          matches.push_back(*found);
    tensors.clear();
    for (const Match &found : matches)
      raised += succeeded(replace(found));
  }
  if (raised)
    llmir::eraseDead(function.getBody());
  return raised;
}

struct RaiseAttentionPass
    : llmir::impl::RaiseAttentionBase<RaiseAttentionPass> {
  void runOnOperation() override { numRaised += Raiser(getOperation()).run(); }
};

} // namespace
