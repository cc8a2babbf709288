// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Finds rotary embeddings by what they compute. A head has few dimensions, so
// each element of a candidate is written out for its own: then slices, strides
// and concatenations are gone, and what stays are two products, with the
// cosine and with the sine of a position times a frequency.

#include "Raising.h"
#include "Views.h"
#include "llmir/Conversion/Passes.h"
#include "llmir/Dialect/LLM/LLM.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

#include <cmath>
#include <limits>

namespace llmir {
#define GEN_PASS_DEF_RAISEROPE
#include "llmir/Conversion/Passes.h.inc"
} // namespace llmir

using namespace mlir;
using namespace llmir::raising;

namespace {

/// The longest head that is written out.
constexpr int64_t kMostDims = 1024;

/// What a tensor may hold.
constexpr int kCosine = 1, kSine = 2;

/// An element of the source, or less it, times a cosine or sine if there is
/// one.
struct Term {
  Expr read = nullptr;
  Expr angle = nullptr;
  bool isSine = false;
  double factor = 1.0;
};

/// A frequency that nothing has said yet.
constexpr float kUnknown = std::numeric_limits<float>::quiet_NaN();

/// A rotation by positions, from a source to what `root` yields.
struct Match {
  Value root;
  SmallVector<Expr> tokens;
  /// For each dimension of the root its place among tokens, head and dimension.
  SmallVector<int64_t> order;
  /// All but the last dimension of the root, and that one.
  SmallVector<Expr> variables;
  Expr head = nullptr, dim = nullptr;
  Emitter::Layout layout;
  Expr position = nullptr;
  int64_t half = 0;
  bool interleaved = false;
  double factor = 1.0;
  /// A tensor of frequencies, or their values.
  Value frequencies;
  SmallVector<float> values;
};

/// Whether two rotations turn by the same angles at the same position.
bool haveEqualAngles(const Match &a, const Match &b) {
  return a.frequencies == b.frequencies && a.values == b.values &&
         a.factor == b.factor && a.half == b.half;
}

/// The table of a rotation, as many rows as it has if each is of one position,
/// and the row of each token.
struct Table {
  Match match;
  Expr rows;
  Value table, indices;
};

/// Whether a body has an op of this kind.
template <typename... Ops> bool has(Operation *op) {
  if (isa<Ops...>(op))
    return true;
  return op
      ->walk([](Operation *inner) {
        return isa<Ops...>(inner) ? WalkResult::interrupt()
                                  : WalkResult::advance();
      })
      .wasInterrupted();
}

class Raiser {
public:
  Raiser(func::FuncOp function)
      : function(function), exprs(function.getContext()), elements(exprs) {}

  int64_t run();

private:
  std::optional<Match> match(Value root);
  std::optional<Match> match(Value root, Value source);
  bool parseTerms(Expr e, Value source, double sign,
                  SmallVectorImpl<Term> &terms);
  bool parseAngle(Expr angle, int64_t index, Match &found);
  bool arrange(Match &found, ArrayRef<Expr> place, Value source);
  int wavesOf(Value value);
  LogicalResult replace(const Match &match);
  Table table(Emitter &emitter, const Match &match, OpBuilder &builder,
              Location loc);

  Expr variable(int64_t dim, Expr size) {
    Expr &found = variables[{dim, size}];
    if (!found)
      found = exprs.variable(size);
    return found;
  }

  func::FuncOp function;
  Expressions exprs;
  Elements elements;
  std::map<std::pair<int64_t, Expr>, Expr> variables;
  /// Positions that there are, by what they hold, and tables.
  DenseMap<Expr, Value> positions;
  std::vector<Table> tables;
  DenseMap<Value, int> waves;
  /// What lies between a source and a root that were matched.
  DenseSet<Operation *> inside;
};

//===----------------------------------------------------------------------===//
// What a rotation is of
//===----------------------------------------------------------------------===//

/// Whether elements are computed one by one from those of operands.
bool isElementwise(Operation *op) {
  if (auto linalgOp = dyn_cast<linalg::LinalgOp>(op))
    return linalgOp.getNumReductionLoops() == 0;
  return isa<tensor::ExpandShapeOp, tensor::CollapseShapeOp, tensor::ReshapeOp,
             tensor::CastOp, tensor::ExtractSliceOp, tensor::InsertSliceOp,
             tensor::ConcatOp>(op) ||
         OpTrait::hasElementwiseMappableTraits(op);
}

/// Whether an op may be the last of a rotation: the sum of two products, or
/// what puts parts of a head together.
bool mayBeLast(Operation *op) {
  if (isa<tensor::CollapseShapeOp, tensor::ReshapeOp>(op)) {
    Operation *source = op->getOperand(0).getDefiningOp();
    return isa_and_nonnull<tensor::ConcatOp, tensor::InsertSliceOp>(source);
  }
  if (isa<tensor::ConcatOp, tensor::InsertSliceOp, arith::AddFOp,
          arith::SubFOp>(op))
    return true;
  auto linalgOp = dyn_cast<linalg::LinalgOp>(op);
  if (!linalgOp || linalgOp.getNumReductionLoops() != 0)
    return false;
  Value yielded = linalgOp.getBlock()->getTerminator()->getOperand(0);
  while (Operation *made = yielded.getDefiningOp()) {
    if (!isa<arith::ExtFOp, arith::TruncFOp>(made))
      return isa<arith::AddFOp, arith::SubFOp, arith::SelectOp>(made);
    yielded = made->getOperand(0);
  }
  return false;
}

/// The float tensors that an op reads.
SmallVector<Value> sourcesOf(Operation *op) {
  SmallVector<Value> sources;
  auto add = [&](Value value) {
    auto type = dyn_cast<RankedTensorType>(value.getType());
    if (type && isa<FloatType>(type.getElementType()))
      sources.push_back(value);
  };
  if (auto linalgOp = dyn_cast<linalg::LinalgOp>(op)) {
    for (OpOperand &operand : op->getOpOperands())
      if (!linalgOp.getMatchingBlockArgument(&operand).use_empty())
        add(operand.get());
    op->walk([&](tensor::ExtractOp extract) { add(extract.getTensor()); });
    return sources;
  }
  for (Value operand : op->getOperands())
    add(operand);
  return sources;
}

/// Splits a sum into products with one element of the source each.
bool Raiser::parseTerms(Expr e, Value source, double sign,
                        SmallVectorImpl<Term> &terms) {
  if (e->applies("arith.addf") || e->applies("arith.subf"))
    return parseTerms(e->operands[0], source, sign, terms) &&
           parseTerms(e->operands[1], source,
                      e->applies("arith.subf") ? -sign : sign, terms);
  Term term;
  term.factor = sign;
  SmallVector<Expr> factors = {e};
  while (!factors.empty()) {
    Expr factor = factors.pop_back_val();
    if (factor->applies("arith.extf") || factor->applies("arith.truncf")) {
      factors.push_back(factor->operands[0]);
    } else if (factor->applies("arith.mulf")) {
      factors.append(factor->operands.begin(), factor->operands.end());
    } else if (factor->applies("arith.negf")) {
      term.factor = -term.factor;
      factors.push_back(factor->operands[0]);
    } else if (std::optional<double> number = exprs.asNumber(factor)) {
      term.factor *= *number;
    } else if (factor->kind == Kind::Read && factor->value == source) {
      if (term.read)
        return false;
      term.read = factor;
    } else if (factor->applies("math.cos") || factor->applies("math.sin")) {
      if (term.angle)
        return false;
      term.angle = factor->operands[0];
      term.isSine = factor->applies("math.sin");
    } else {
      return false;
    }
  }
  terms.push_back(term);
  return term.read != nullptr;
}

/// Reads a position times the frequency of this index, the same position as
/// before.
bool Raiser::parseAngle(Expr angle, int64_t index, Match &found) {
  auto strip = [](Expr e) {
    while (e->applies("arith.extf") || e->applies("arith.truncf"))
      e = e->operands[0];
    return e;
  };
  angle = strip(angle);
  if (!angle->applies("arith.mulf"))
    return false;
  for (int side : {0, 1}) {
    Expr position = strip(angle->operands[side]);
    Expr frequency = strip(angle->operands[1 - side]);
    if (!position->applies("arith.sitofp"))
      continue;
    position = position->operands[0];
    if (found.position && found.position != position)
      return false;
    found.position = position;
    if (std::optional<double> number = exprs.asNumber(frequency)) {
      if (static_cast<int64_t>(found.values.size()) <= index)
        found.values.resize(index + 1, kUnknown);
      float value = static_cast<float>(*number);
      float &known = found.values[index];
      if (!std::isnan(known) && known != value)
        return false;
      known = value;
      return !found.frequencies;
    }
    if (frequency->kind != Kind::Read || frequency->operands.size() != 1 ||
        exprs.asInteger(frequency->operands[0]) != index ||
        !found.values.empty() || !frequency->type.isF32())
      return false;
    if (found.frequencies && found.frequencies != frequency->value)
      return false;
    found.frequencies = frequency->value;
    return true;
  }
  return false;
}

std::optional<Match> Raiser::match(Value root, Value source) {
  Match found;
  found.root = root;
  int64_t rank = cast<RankedTensorType>(root.getType()).getRank();
  int64_t depth = cast<RankedTensorType>(root.getType()).getDimSize(rank - 1);
  for (int64_t dim = 0; dim + 1 < rank; ++dim)
    found.variables.push_back(variable(dim, elements.size(root, dim)));
  found.dim = variable(rank - 1, exprs.integer(depth));

  // For each dimension its partner, in the source, and the sign of the sine.
  SmallVector<Expr> place;
  std::optional<int64_t> axis;
  SmallVector<std::pair<int64_t, bool>> partners;
  SmallVector<std::pair<Expr, Expr>> angles;
  std::optional<double> factor;
  for (int64_t dim = 0; dim < depth; ++dim) {
    // A size of 1 has the index 0 alone.
    SmallVector<Expr> indices;
    for (Expr variable : found.variables)
      indices.push_back(exprs.asInteger(variable->operands[0]) == 1
                            ? exprs.integer(0)
                            : variable);
    indices.push_back(exprs.integer(dim));
    SmallVector<Term> terms;
    if (!parseTerms(elements.atFrom(root, indices, source), source, 1.0,
                    terms) ||
        terms.size() > 2)
      return std::nullopt;
    // Which index of the source the dimension is.
    SmallVector<int64_t> dims;
    for (Term &term : terms) {
      SmallVector<Expr> here = llvm::to_vector(term.read->operands);
      std::optional<int64_t> own;
      for (auto [number, index] : llvm::enumerate(here)) {
        std::optional<int64_t> size =
            exprs.asInteger(elements.size(source, number));
        if (exprs.asInteger(index) && size && *size >= depth &&
            (!axis || *axis == static_cast<int64_t>(number))) {
          axis = number;
          own = exprs.asInteger(index);
          here[number] = found.dim;
        }
      }
      if (!own || (!place.empty() && place != here))
        return std::nullopt;
      place = here;
      dims.push_back(*own);
    }
    // What is not rotated comes last.
    if (terms.size() == 1) {
      if (terms[0].angle || terms[0].factor != 1.0 || dims[0] != dim)
        return std::nullopt;
      continue;
    }
    if (!terms[0].angle || !terms[1].angle ||
        terms[0].isSine == terms[1].isSine ||
        static_cast<int64_t>(partners.size()) != dim)
      return std::nullopt;
    if (terms[0].isSine) {
      std::swap(terms[0], terms[1]);
      std::swap(dims[0], dims[1]);
    }
    if (terms[0].angle != terms[1].angle || dims[0] != dim ||
        terms[0].factor <= 0.0 ||
        std::abs(terms[1].factor) != terms[0].factor ||
        (factor && *factor != terms[0].factor))
      return std::nullopt;
    factor = terms[0].factor;
    partners.push_back({dims[1], terms[1].factor > 0.0});
    angles.push_back({terms[0].angle, nullptr});
  }
  int64_t rotated = partners.size();
  if (rotated == 0 || rotated % 2 != 0)
    return std::nullopt;
  found.factor = *factor;
  found.half = rotated / 2;
  auto isPaired = [&](bool interleaved) {
    for (int64_t dim = 0; dim < rotated; ++dim) {
      bool isSecond = interleaved ? dim % 2 : dim >= found.half;
      int64_t way = interleaved ? 1 : found.half;
      if (partners[dim] !=
          std::pair(isSecond ? dim - way : dim + way, isSecond))
        return false;
    }
    return true;
  };
  // A head of two dimensions is the same either way.
  found.interleaved = !isPaired(false);
  if (found.interleaved && !isPaired(true))
    return std::nullopt;
  for (int64_t dim = 0; dim < rotated; ++dim)
    if (!parseAngle(angles[dim].first,
                    found.interleaved ? dim / 2 : dim % found.half, found))
      return std::nullopt;
  if (found.frequencies &&
      cast<RankedTensorType>(found.frequencies.getType()).getDimSize(0) !=
          found.half)
    return std::nullopt;
  if (!arrange(found, place, source))
    return std::nullopt;
  return found;
}

/// Tells tokens from heads, and finds how the source lays them out.
bool Raiser::arrange(Match &found, ArrayRef<Expr> place, Value source) {
  OpBuilder builder(function.getContext());
  Emitter emitter(elements, builder, function.getLoc());
  SmallVector<View> views =
      peelAll(elements, View{source, llvm::to_vector(place)});
  SmallVector<Expr> all = found.variables;
  all.push_back(found.dim);
  auto layout = emitter.layoutOf(views, all);
  if (!layout || layout->view.scale != 1.0 ||
      all[layout->order.back()] != found.dim)
    return false;
  auto isHead = [&](Expr variable) {
    return exprs.asInteger(variable->operands[0]) &&
           !exprs.dependsOn(found.position, variable);
  };
  // Heads lie next to their dimensions, or else come last of what may be heads.
  if (all.size() > 2 && isHead(all[layout->order[all.size() - 2]]))
    found.head = all[layout->order[all.size() - 2]];
  else
    for (Expr variable : found.variables)
      if (isHead(variable))
        found.head = variable;
  for (Expr variable : found.variables)
    if (variable != found.head)
      found.tokens.push_back(variable);
  SmallVector<Expr> ordered = found.tokens;
  if (!found.head)
    found.head = variable(-1, exprs.integer(1));
  ordered.append({found.head, found.dim});
  layout = emitter.layoutOf(views, ordered);
  if (!layout)
    return false;
  found.layout = *layout;
  // Of the positions, nothing but tokens may be read.
  if (exprs.dependsOn(found.position, found.head) ||
      exprs.dependsOn(found.position, found.dim))
    return false;
  for (Expr variable : found.variables)
    found.order.push_back(llvm::find(ordered, variable) - ordered.begin());
  found.order.push_back(found.order.size());
  // Queries and keys have the same tokens, whatever dimensions these are.
  for (auto [number, token] : llvm::enumerate(found.tokens)) {
    Expr common =
        variable(-10 - static_cast<int64_t>(number), token->operands[0]);
    found.position = exprs.substitute(found.position, token, common);
    token = common;
  }
  return true;
}

/// Whether a tensor has nothing but cosines and sines, and of which it has
/// some.
int Raiser::wavesOf(Value value) {
  if (auto found = waves.find(value); found != waves.end())
    return found->second;
  waves[value] = 0;
  Operation *op = value.getDefiningOp();
  if (!op)
    return 0;
  int found =
      (has<math::CosOp>(op) ? kCosine : 0) | (has<math::SinOp>(op) ? kSine : 0);
  if (!found && isElementwise(op))
    for (Value source : sourcesOf(op)) {
      Operation *made = source.getDefiningOp();
      if (isa_and_nonnull<arith::ConstantOp, tensor::EmptyOp>(made))
        continue;
      int wave = wavesOf(source);
      if (!wave)
        return 0;
      found |= wave;
    }
  return waves[value] = found;
}

std::optional<Match> Raiser::match(Value root) {
  auto type = dyn_cast<RankedTensorType>(root.getType());
  if (!type || type.getRank() < 2 || !isa<FloatType>(type.getElementType()) ||
      type.isDynamicDim(type.getRank() - 1) || type.getShape().back() < 2 ||
      type.getShape().back() > kMostDims)
    return std::nullopt;
  // The nearest tensors that all of the root's elements come from, but for
  // cosines and sines.
  Block *block = root.getDefiningOp()->getBlock();
  SmallVector<Value> frontier = {root};
  int waves = 0;
  SmallVector<Operation *> passed;
  for (int steps = 0; steps < 96; ++steps) {
    if (frontier.empty())
      return std::nullopt;
    auto *last = std::max_element(
        frontier.begin(), frontier.end(), [](Value a, Value b) {
          Operation *x = a.getDefiningOp(), *y = b.getDefiningOp();
          return x && y ? x->isBeforeInBlock(y) : !x && y;
        });
    Value value = *last;
    if (frontier.size() == 1 && value != root && waves == (kCosine | kSine))
      if (auto found = match(root, value)) {
        inside.insert(passed.begin(), passed.end());
        return found;
      }
    Operation *op = value.getDefiningOp();
    if (!op || op->getBlock() != block || !isElementwise(op))
      return std::nullopt;
    frontier.erase(last);
    passed.push_back(op);
    for (Value source : sourcesOf(op)) {
      if (int wave = wavesOf(source)) {
        waves |= wave;
        continue;
      }
      Operation *made = source.getDefiningOp();
      bool isMade =
          made &&
          !isa<arith::ConstantOp, tensor::EmptyOp, linalg::FillOp>(made);
      if ((!made || isMade) && !llvm::is_contained(frontier, source))
        frontier.push_back(source);
    }
  }
  return std::nullopt;
}

//===----------------------------------------------------------------------===//
// The ops
//===----------------------------------------------------------------------===//

Table Raiser::table(Emitter &emitter, const Match &match, OpBuilder &builder,
                    Location loc) {
  for (const Table &other : tables)
    if (other.match.position == match.position &&
        other.match.tokens == match.tokens &&
        haveEqualAngles(other.match, match))
      return other;
  Value frequencies = match.frequencies;
  if (!frequencies)
    frequencies = builder.create<arith::ConstantOp>(
        loc, DenseElementsAttr::get(
                 RankedTensorType::get({match.half}, builder.getF32Type()),
                 ArrayRef<float>(match.values)));
  Expr count = exprs.integer(1);
  for (Expr token : match.tokens)
    count = exprs.mul(count, token->operands[0]);
  auto flat = [&](Expr position) -> Value {
    Value &known = positions[position];
    if (known)
      return known;
    Value made = emitter.tensor(match.tokens, position, builder.getI32Type());
    return known = made ? emitter.reshape(made, count) : Value();
  };

  // Where positions have a bound, the table ends there.
  Expr largest = match.position;
  for (Expr token : match.tokens)
    largest = exprs.substitute(largest, token,
                               exprs.sub(token->operands[0], exprs.integer(1)));
  Table made = {match, nullptr, nullptr, nullptr};
  if (exprs.isNotNegative(match.position) &&
      exprs.isNotNegative(exprs.sub(largest, match.position))) {
    made.rows = exprs.add(largest, exprs.integer(1));
    for (const Table &other : tables)
      if (other.rows == made.rows && haveEqualAngles(other.match, match))
        made.table = other.table;
    if (!made.table) {
      std::optional<int64_t> rows = exprs.asInteger(made.rows);
      Value length = rows ? Value() : emitter.index(made.rows);
      made.table = builder.create<llmir::llm::RopeTableOp>(
          loc,
          RankedTensorType::get(
              {rows.value_or(ShapedType::kDynamic), 2, match.half},
              builder.getF32Type()),
          frequencies, length, /*theta=*/FloatAttr(),
          /*scaling=*/llmir::llm::RopeScalingAttr(),
          match.factor == 1.0 ? FloatAttr()
                              : builder.getF64FloatAttr(match.factor));
    }
    made.indices = flat(match.position);
  } else {
    // A row for each token.
    MLIRContext *context = builder.getContext();
    Type f64 = builder.getF64Type(), f32 = builder.getF32Type();
    auto apply = [&](StringRef op, Type type, ArrayRef<Expr> operands) {
      return exprs.apply(OperationName(op, context), type, operands);
    };
    SmallVector<Expr> indices = match.tokens, sizes = {count};
    Expr wave = variable(-2, exprs.integer(2)),
         pair = variable(-3, exprs.integer(match.half));
    indices.append({wave, pair});
    sizes.append({wave->operands[0], pair->operands[0]});
    Expr angle =
        apply("arith.mulf", f64,
              {apply("arith.sitofp", f64, match.position),
               apply("arith.extf", f64, exprs.read(frequencies, pair))});
    Expr element =
        exprs.select(exprs.isZero(wave), apply("math.cos", f64, angle),
                     apply("math.sin", f64, angle));
    element =
        apply("arith.mulf", f64,
              {element, exprs.number(builder.getF64FloatAttr(match.factor))});
    Value rows =
        emitter.tensor(indices, apply("arith.truncf", f32, element), f32);
    Expr place = exprs.integer(0);
    for (Expr token : match.tokens)
      place = exprs.add(exprs.mul(place, token->operands[0]), token);
    made.table = rows ? emitter.reshape(rows, sizes) : Value();
    made.indices = flat(place);
  }
  tables.push_back(made);
  return made;
}

LogicalResult Raiser::replace(const Match &match) {
  OpBuilder builder(match.root.getContext());
  builder.setInsertionPointAfterValue(match.root);
  Location loc = match.root.getLoc();
  Emitter emitter(elements, builder, loc);
  Table angles = table(emitter, match, builder, loc);
  SmallVector<Expr> ordered = match.tokens, sizes;
  ordered.append({match.head, match.dim});
  Expr count = exprs.integer(1);
  for (Expr token : match.tokens) {
    count = exprs.mul(count, token->operands[0]);
    sizes.push_back(token->operands[0]);
  }
  SmallVector<Expr> flat = {count, match.head->operands[0],
                            match.dim->operands[0]};
  Value input = emitter.layOut(match.layout, ordered, flat);
  if (!angles.table || !angles.indices || !input)
    return failure();
  auto type = cast<RankedTensorType>(match.root.getType());
  Value rotated = builder.create<llmir::llm::RopeOp>(
      loc, cast<RankedTensorType>(input.getType()).clone(type.getElementType()),
      input, angles.table, angles.indices, match.interleaved);

  // To the root's own dimensions and their order.
  bool hasHead = llvm::is_contained(match.variables, match.head);
  if (hasHead)
    sizes.push_back(match.head->operands[0]);
  sizes.push_back(match.dim->operands[0]);
  Value back = emitter.reshape(rotated, sizes);
  if (back && !llvm::is_sorted(match.order))
    back = emitter.transpose(back, match.order);
  if (!back)
    return failure();
  Value root = match.root;
  root.replaceAllUsesWith(emitter.castTo(back, type));
  return success();
}

int64_t Raiser::run() {
  int64_t raised = 0;
  for (Block &block : function.getBody()) {
    elements.assume(block);
    positions.clear();
    tables.clear();
    // From the end, so that the largest of nested candidates is taken.
    std::vector<Match> matches;
    for (Operation &op : llvm::reverse(block)) {
      if (op.getNumResults() != 1 || inside.contains(&op) || !mayBeLast(&op))
        continue;
      if (auto found = match(op.getResult(0)))
        matches.push_back(*found);
    }
    for (const Match &found : llvm::reverse(matches))
      raised += succeeded(replace(found));
  }
  if (raised)
    llmir::eraseDead(function.getBody());
  return raised;
}

struct RaiseRopePass : llmir::impl::RaiseRopeBase<RaiseRopePass> {
  void runOnOperation() override { numRaised += Raiser(getOperation()).run(); }
};

} // namespace
