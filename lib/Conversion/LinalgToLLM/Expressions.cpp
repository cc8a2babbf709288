// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The normal form of expressions. Integers are polynomials in variables and
// sizes; an order between two is a polynomial that is not negative; bounds of
// variables decide what is always so.

#include "Expressions.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Builders.h"

#include <cmath>

using namespace mlir;
using namespace llmir::raising;

bool Expressions::ById::operator()(const Monomial &a, const Monomial &b) const {
  if (a.size() != b.size())
    return a.size() < b.size();
  for (auto [x, y] : llvm::zip_equal(a, b))
    if (x != y)
      return x->id < y->id;
  return false;
}

Expr Expressions::make(Node node) {
  llvm::hash_code hash = llvm::hash_combine(
      node.kind, node.type, node.number, node.attribute, node.value,
      node.name ? node.name->getAsOpaquePointer() : nullptr,
      llvm::hash_combine_range(node.operands.begin(), node.operands.end()),
      llvm::hash_combine_range(node.coefficients.begin(),
                               node.coefficients.end()));
  // The two largest numbers are not keys of a DenseMap.
  auto key = static_cast<unsigned>(static_cast<size_t>(hash)) & 0x7fffffff;
  auto &found = table[key];
  for (Node *other : found)
    if (other->kind == node.kind && other->type == node.type &&
        other->number == node.number && other->attribute == node.attribute &&
        other->value == node.value && other->name == node.name &&
        other->operands == node.operands &&
        other->coefficients == node.coefficients)
      return other;
  node.id = next++;
  found.push_back(new (nodes.Allocate()) Node(std::move(node)));
  return found.back();
}

//===----------------------------------------------------------------------===//
// Leaves
//===----------------------------------------------------------------------===//

static Node nodeOf(Kind kind, Type type, std::vector<Expr> operands = {}) {
  return Node{kind, type, 0, 0, {}, {}, std::nullopt, std::move(operands), {}};
}

Expr Expressions::integer(int64_t value) {
  Node node = nodeOf(Kind::Sum, IndexType::get(context));
  node.number = value;
  return make(std::move(node));
}

Expr Expressions::truth(bool value) {
  Node node = nodeOf(Kind::Constant, IntegerType::get(context, 1));
  node.number = value;
  return make(std::move(node));
}

Expr Expressions::number(FloatAttr value) {
  Node node = nodeOf(Kind::Constant, value.getType());
  node.attribute = value;
  return make(std::move(node));
}

Expr Expressions::variable(Expr size) {
  Node node = nodeOf(Kind::Variable, IndexType::get(context), {size});
  node.number = variables++;
  return make(std::move(node));
}

/// The type that a scalar of `type` has in an expression.
static Type scalarType(Type type) {
  if (type.isInteger(1) || isa<FloatType>(type))
    return type;
  return IndexType::get(type.getContext());
}

Expr Expressions::opaque(Value scalar) {
  Node node = nodeOf(Kind::Opaque, scalarType(scalar.getType()));
  node.value = scalar;
  return make(std::move(node));
}

Expr Expressions::size(Value tensor, int64_t dim) {
  int64_t size = cast<RankedTensorType>(tensor.getType()).getDimSize(dim);
  if (!ShapedType::isDynamic(size))
    return integer(size);
  Node node = nodeOf(Kind::Size, IndexType::get(context));
  node.value = tensor;
  node.number = dim;
  return make(std::move(node));
}

Expr Expressions::read(Value tensor, ArrayRef<Expr> indices) {
  Type element = cast<RankedTensorType>(tensor.getType()).getElementType();
  Node node = nodeOf(Kind::Read, scalarType(element), indices.vec());
  node.value = tensor;
  return make(std::move(node));
}

std::optional<int64_t> Expressions::asInteger(Expr e) {
  if (e->kind == Kind::Sum && e->operands.empty())
    return e->number;
  return std::nullopt;
}

std::optional<bool> Expressions::asTruth(Expr e) {
  if (e->kind == Kind::Constant && e->isTruth())
    return e->number != 0;
  return std::nullopt;
}

std::optional<double> Expressions::asNumber(Expr e) {
  if (auto number = dyn_cast_or_null<FloatAttr>(e->attribute);
      number && e->kind == Kind::Constant)
    return number.getValueAsDouble();
  return std::nullopt;
}

static bool isConstant(Expr e) {
  return e->kind == Kind::Constant ||
         (e->kind == Kind::Sum && e->operands.empty());
}

//===----------------------------------------------------------------------===//
// Integers
//===----------------------------------------------------------------------===//

Expressions::Polynomial Expressions::polynomialOf(Expr e) {
  Polynomial terms;
  if (e->kind != Kind::Sum) {
    terms[e->kind == Kind::Product ? Monomial(e->operands) : Monomial{e}] = 1;
    return terms;
  }
  if (e->number != 0)
    terms[{}] = e->number;
  for (auto [term, coefficient] : llvm::zip_equal(e->operands, e->coefficients))
    terms[term->kind == Kind::Product ? Monomial(term->operands)
                                      : Monomial{term}] = coefficient;
  return terms;
}

Expr Expressions::fromPolynomial(const Polynomial &terms) {
  Node node = nodeOf(Kind::Sum, IndexType::get(context));
  for (const auto &[monomial, coefficient] : terms) {
    if (coefficient == 0)
      continue;
    if (monomial.empty()) {
      node.number = coefficient;
      continue;
    }
    node.operands.push_back(
        monomial.size() == 1
            ? monomial.front()
            : make(nodeOf(Kind::Product, node.type, monomial)));
    node.coefficients.push_back(coefficient);
  }
  if (node.number == 0 && node.operands.size() == 1 &&
      node.coefficients.front() == 1)
    return node.operands.front();
  return make(std::move(node));
}

Expr Expressions::add(Expr a, Expr b) {
  Polynomial sum = polynomialOf(a);
  for (const auto &[monomial, coefficient] : polynomialOf(b))
    sum[monomial] += coefficient;
  return fromPolynomial(sum);
}

Expr Expressions::scale(Expr a, int64_t factor) {
  Polynomial product = polynomialOf(a);
  for (auto &[monomial, coefficient] : product)
    coefficient *= factor;
  return fromPolynomial(product);
}

Expr Expressions::sub(Expr a, Expr b) { return add(a, scale(b, -1)); }

Expr Expressions::mul(Expr a, Expr b) {
  Polynomial product;
  for (const auto &[left, x] : polynomialOf(a))
    for (const auto &[right, y] : polynomialOf(b)) {
      Monomial monomial = left;
      monomial.insert(monomial.end(), right.begin(), right.end());
      llvm::sort(monomial, [](Expr p, Expr q) { return p->id < q->id; });
      product[monomial] += x * y;
    }
  return fromPolynomial(product);
}

bool Expressions::isNotNegative(Expr e) {
  switch (e->kind) {
  case Kind::Variable:
  case Kind::Size:
    return true;
  case Kind::FloorDiv:
  case Kind::Mod:
    return isNotNegative(e->operands[0]);
  case Kind::Min:
    return isNotNegative(e->operands[0]) && isNotNegative(e->operands[1]);
  case Kind::Max:
    return isNotNegative(e->operands[0]) || isNotNegative(e->operands[1]);
  case Kind::Select:
    return isNotNegative(e->operands[1]) && isNotNegative(e->operands[2]);
  case Kind::Sum:
  case Kind::Product:
    return isNotNegative(polynomialOf(e));
  default:
    return false;
  }
}

bool Expressions::isNotNegative(Polynomial terms) {
  // What is subtracted is largest where its variables are. Each turn takes one
  // variable away, so there are few; sizes of sizes are not variables.
  for (int turn = 0; turn < 32; ++turn) {
    bool isSettled = true;
    const Monomial *negative = nullptr;
    auto isVariable = [](Expr e) { return e->kind == Kind::Variable; };
    for (const auto &[monomial, coefficient] : terms) {
      if (coefficient == 0)
        continue;
      if (!llvm::all_of(monomial, [&](Expr e) {
            return e->kind != Kind::Product && isNotNegative(e);
          }))
        return false;
      isSettled &= coefficient > 0;
      if (coefficient < 0 && llvm::any_of(monomial, isVariable))
        negative = &monomial;
    }
    if (isSettled)
      return true;
    if (!negative)
      return false;
    auto variable = llvm::find_if(*negative, isVariable);
    Monomial rest = *negative;
    int64_t coefficient = terms[rest];
    Expr largest = sub((*variable)->operands[0], integer(1));
    rest.erase(rest.begin() + (variable - negative->begin()));
    terms.erase(*negative);
    for (const auto &[monomial, factor] : polynomialOf(largest)) {
      Monomial product = rest;
      product.insert(product.end(), monomial.begin(), monomial.end());
      llvm::sort(product, [](Expr p, Expr q) { return p->id < q->id; });
      terms[product] += coefficient * factor;
    }
  }
  return false;
}

std::pair<Expr, Expr> Expressions::divide(Expr a, Expr b) {
  if (a == b)
    return {integer(1), integer(0)};
  Polynomial divisor = polynomialOf(b);
  if (divisor.size() != 1 || divisor.begin()->second <= 0)
    return {integer(0), a};
  const auto &[factors, number] = *divisor.begin();
  Polynomial quotient, rest;
  for (const auto &[monomial, coefficient] : polynomialOf(a)) {
    Monomial left = monomial;
    bool divides = true;
    for (Expr factor : factors) {
      auto found = llvm::find(left, factor);
      if (found == left.end()) {
        divides = false;
        break;
      }
      left.erase(found);
    }
    if (!divides) {
      rest[monomial] += coefficient;
      continue;
    }
    // Rounded down, so that what is left is not negative.
    int64_t times = coefficient / number - (coefficient % number < 0);
    quotient[left] += times;
    rest[monomial] += coefficient - times * number;
  }
  return {fromPolynomial(quotient), fromPolynomial(rest)};
}

Expr Expressions::floorDiv(Expr a, Expr b) {
  if (asInteger(b) == 1)
    return a;
  auto [quotient, rest] = divide(a, b);
  if (asInteger(rest) == 0 ||
      (isNotNegative(rest) && isNotNegative(sub(sub(b, rest), integer(1)))))
    return quotient;
  return add(quotient, make(nodeOf(Kind::FloorDiv, a->type, {rest, b})));
}

Expr Expressions::mod(Expr a, Expr b) {
  if (asInteger(b) == 1)
    return integer(0);
  Expr rest = divide(a, b).second;
  if (asInteger(rest) == 0 ||
      (isNotNegative(rest) && isNotNegative(sub(sub(b, rest), integer(1)))))
    return rest;
  return make(nodeOf(Kind::Mod, a->type, {rest, b}));
}

Expr Expressions::min(Expr a, Expr b) {
  if (isNotNegative(sub(b, a)))
    return a;
  if (isNotNegative(sub(a, b)))
    return b;
  if (a->id > b->id)
    std::swap(a, b);
  return make(nodeOf(Kind::Min, a->type, {a, b}));
}

Expr Expressions::max(Expr a, Expr b) {
  if (isNotNegative(sub(b, a)))
    return b;
  if (isNotNegative(sub(a, b)))
    return a;
  if (a->id > b->id)
    std::swap(a, b);
  return make(nodeOf(Kind::Max, a->type, {a, b}));
}

//===----------------------------------------------------------------------===//
// Truths
//===----------------------------------------------------------------------===//

Expr Expressions::distribute(ArrayRef<Expr> operands,
                             llvm::function_ref<Expr(ArrayRef<Expr>)> make) {
  int64_t chosen = -1;
  for (auto [index, operand] : llvm::enumerate(operands)) {
    if (isConstant(operand))
      continue;
    if (chosen >= 0 || operand->kind != Kind::Select ||
        !isConstant(operand->operands[1]) || !isConstant(operand->operands[2]))
      return nullptr;
    chosen = index;
  }
  if (chosen < 0)
    return nullptr;
  SmallVector<Expr> sides[2] = {SmallVector<Expr>(operands),
                                SmallVector<Expr>(operands)};
  sides[0][chosen] = operands[chosen]->operands[1];
  sides[1][chosen] = operands[chosen]->operands[2];
  return select(operands[chosen]->operands[0], make(sides[0]), make(sides[1]));
}

Expr Expressions::notNegative(Expr a) {
  if (isNotNegative(a))
    return truth(true);
  if (isNotNegative(sub(integer(-1), a)))
    return truth(false);
  // A number that a condition chooses, and a constant.
  if (a->kind == Kind::Select ||
      (a->kind == Kind::Sum && a->operands.size() == 1 &&
       a->operands[0]->kind == Kind::Select)) {
    Expr choice = a->kind == Kind::Select ? a : a->operands[0];
    if (isConstant(choice->operands[1]) && isConstant(choice->operands[2]))
      return select(choice->operands[0],
                    notNegative(substitute(a, choice, choice->operands[1])),
                    notNegative(substitute(a, choice, choice->operands[2])));
  }
  return make(nodeOf(Kind::NotNegative, IntegerType::get(context, 1), {a}));
}

Expr Expressions::isZero(Expr a) {
  if (std::optional<int64_t> value = asInteger(a))
    return truth(*value == 0);
  if (isNotNegative(sub(a, integer(1))) || isNotNegative(sub(integer(-1), a)))
    return truth(false);
  if (a->kind == Kind::Select ||
      (a->kind == Kind::Sum && a->operands.size() == 1 &&
       a->operands[0]->kind == Kind::Select)) {
    Expr choice = a->kind == Kind::Select ? a : a->operands[0];
    if (isConstant(choice->operands[1]) && isConstant(choice->operands[2]))
      return select(choice->operands[0],
                    isZero(substitute(a, choice, choice->operands[1])),
                    isZero(substitute(a, choice, choice->operands[2])));
  }
  if (a->kind == Kind::Sum && a->coefficients.front() < 0)
    a = scale(a, -1);
  return make(nodeOf(Kind::IsZero, IntegerType::get(context, 1), {a}));
}

Expr Expressions::isNot(Expr a) {
  if (std::optional<bool> value = asTruth(a))
    return truth(!*value);
  if (a->kind == Kind::Not)
    return a->operands[0];
  // a < 0 is -a - 1 >= 0.
  if (a->kind == Kind::NotNegative)
    return notNegative(sub(integer(-1), a->operands[0]));
  return make(nodeOf(Kind::Not, a->type, {a}));
}

Expr Expressions::both(Expr a, Expr b) {
  std::vector<Expr> parts;
  for (Expr side : {a, b}) {
    if (std::optional<bool> value = asTruth(side)) {
      if (!*value)
        return side;
      continue;
    }
    if (side->kind == Kind::And)
      parts.insert(parts.end(), side->operands.begin(), side->operands.end());
    else
      parts.push_back(side);
  }
  llvm::sort(parts, [](Expr p, Expr q) { return p->id < q->id; });
  parts.erase(std::unique(parts.begin(), parts.end()), parts.end());
  for (Expr part : parts)
    if (part->kind == Kind::Not && llvm::is_contained(parts, part->operands[0]))
      return truth(false);
  if (parts.empty())
    return truth(true);
  if (parts.size() == 1)
    return parts.front();
  return make(nodeOf(Kind::And, a->type, std::move(parts)));
}

Expr Expressions::select(Expr condition, Expr a, Expr b) {
  if (std::optional<bool> value = asTruth(condition))
    return *value ? a : b;
  if (a == b)
    return a;
  if (condition->kind == Kind::Not)
    return select(condition->operands[0], b, a);
  if (a->isTruth()) {
    std::optional<bool> x = asTruth(a), y = asTruth(b);
    if (x)
      return *x ? either(condition, b) : both(isNot(condition), b);
    if (y)
      return *y ? either(isNot(condition), a) : both(condition, a);
  }
  // Where the condition fixes an index, the two may be equal there.
  Expr variable = nullptr;
  int64_t fixed = 0;
  Expr fixedTo = nullptr;
  if (condition->kind == Kind::IsZero || condition->kind == Kind::NotNegative) {
    Polynomial terms = polynomialOf(condition->operands[0]);
    for (const auto &[monomial, coefficient] : terms)
      if (monomial.size() == 1 && monomial[0]->kind == Kind::Variable &&
          (condition->kind == Kind::IsZero
               ? coefficient == 1 || coefficient == -1
               : coefficient == -1)) {
        variable = monomial[0];
        fixed = coefficient;
      }
    if (variable) {
      Expr rest = sub(condition->operands[0], scale(variable, fixed));
      // v <= 0, or v == rest.
      if (condition->kind == Kind::NotNegative)
        fixedTo = asInteger(rest) == 0 ? rest : nullptr;
      else
        fixedTo = scale(rest, -fixed);
    }
    if (fixedTo && a->isInteger() &&
        substitute(a, variable, fixedTo) == substitute(b, variable, fixedTo))
      return b;
    // A size of 1 leaves an index below it nowhere to go.
    Expr one = condition->operands[0];
    if (condition->kind == Kind::IsZero && a->isInteger() &&
        asInteger(a) == 0 && isNotNegative(b)) {
      Expr plus = add(one, integer(1)), minus = sub(integer(1), one);
      for (Expr size : {plus, minus})
        if (isNotNegative(sub(sub(size, integer(1)), b)))
          return b;
    }
  }
  return make(nodeOf(Kind::Select, a->type, {condition, a, b}));
}

//===----------------------------------------------------------------------===//
// Floats
//===----------------------------------------------------------------------===//

/// The value of an op on constants, where it is one that programs have.
static std::optional<double> fold(StringRef op, ArrayRef<double> x) {
  if (op == "arith.addf")
    return x[0] + x[1];
  if (op == "arith.subf")
    return x[0] - x[1];
  if (op == "arith.mulf")
    return x[0] * x[1];
  if (op == "arith.divf")
    return x[0] / x[1];
  if (op == "arith.negf")
    return -x[0];
  if (op == "arith.extf" || op == "arith.truncf" || op == "arith.sitofp" ||
      op == "arith.uitofp")
    return x[0];
  if (op == "math.sqrt")
    return std::sqrt(x[0]);
  if (op == "math.rsqrt")
    return 1.0 / std::sqrt(x[0]);
  if (op == "math.powf" || op == "math.fpowi")
    return std::pow(x[0], x[1]);
  if (op == "math.exp")
    return std::exp(x[0]);
  if (op == "math.log")
    return std::log(x[0]);
  return std::nullopt;
}

Expr Expressions::apply(OperationName name, Type type, ArrayRef<Expr> operands,
                        Attribute attribute) {
  StringRef op = name.getStringRef();
  if (isa<FloatType>(type) && llvm::all_of(operands, isConstant)) {
    SmallVector<double> numbers;
    for (Expr operand : operands)
      numbers.push_back(
          asInteger(operand) ? static_cast<double>(*asInteger(operand))
          : asTruth(operand) ? static_cast<double>(*asTruth(operand))
                             : *asNumber(operand));
    if (std::optional<double> value = fold(op, numbers))
      return number(FloatAttr::get(type, *value));
  }
  if (op == "arith.mulf")
    for (int side : {0, 1})
      if (asNumber(operands[side]) == 1.0)
        return operands[1 - side];
  if (op == "arith.addf")
    for (int side : {0, 1})
      if (asNumber(operands[side]) == 0.0)
        return operands[1 - side];
  if (op == "arith.divf" && asNumber(operands[1]) == 1.0)
    return operands[0];
  if (op == "arith.negf" && operands[0]->applies(op))
    return operands[0]->operands[0];
  // A comparison with a constant of a narrower type.
  if (op == "arith.cmpf")
    for (int side : {0, 1}) {
      std::optional<double> constant = asNumber(operands[side]);
      Expr wide = operands[1 - side];
      if (!constant || !wide->applies("arith.extf"))
        continue;
      Expr narrow = wide->operands[0];
      auto exact = FloatAttr::get(narrow->type, *constant);
      if (exact.getValueAsDouble() != *constant)
        continue;
      SmallVector<Expr> narrowed(operands);
      narrowed[side] = number(exact);
      narrowed[1 - side] = narrow;
      return apply(name, type, narrowed, attribute);
    }
  auto again = [&](ArrayRef<Expr> sides) {
    return apply(name, type, sides, attribute);
  };
  if (isa<FloatType>(type))
    if (Expr distributed = distribute(operands, again))
      return distributed;
  Node node = nodeOf(Kind::Apply, type, operands.vec());
  if (op == "arith.addf" || op == "arith.mulf" || op == "arith.maximumf" ||
      op == "arith.minimumf")
    llvm::sort(node.operands, [](Expr p, Expr q) { return p->id < q->id; });
  node.name = name;
  node.attribute = attribute;
  return make(std::move(node));
}

//===----------------------------------------------------------------------===//
// Reductions and substitution
//===----------------------------------------------------------------------===//

/// How many reductions are nested in an expression.
static int64_t depthOf(Expr e, DenseMap<Expr, int64_t> &known) {
  if (auto found = known.find(e); found != known.end())
    return found->second;
  int64_t depth = 0;
  for (Expr operand : e->operands)
    depth = std::max(depth, depthOf(operand, known));
  depth += e->kind == Kind::Reduce;
  return known[e] = depth;
}

Expr Expressions::reduce(Reduction reduction, Expr variable, Expr body,
                         Expr init) {
  // Nothing but what there was is added.
  bool isNothing = (reduction == Reduction::add &&
                    (asInteger(body) == 0 || asNumber(body) == 0.0)) ||
                   (reduction == Reduction::all && asTruth(body) == true) ||
                   (reduction == Reduction::any && asTruth(body) == false);
  if (isNothing)
    return init;
  // Equal reductions have equal names for what runs: the depth of nesting.
  DenseMap<Expr, int64_t> known;
  Node bound = nodeOf(Kind::Variable, variable->type, {variable->operands[0]});
  bound.number = -1 - depthOf(body, known);
  Expr index = make(std::move(bound));
  Node node = nodeOf(Kind::Reduce, body->type,
                     {index, substitute(body, variable, index), init});
  node.number = static_cast<int64_t>(reduction);
  return make(std::move(node));
}

Expr Expressions::bodyAt(Expr reduction, Expr index) {
  return substitute(reduction->operands[1], reduction->operands[0], index);
}

bool Expressions::dependsOn(Expr e, Expr part) {
  SmallVector<Expr> left = {e};
  llvm::DenseSet<Expr> seen;
  while (!left.empty()) {
    Expr next = left.pop_back_val();
    if (next == part)
      return true;
    // The size of an index is no part of what it is.
    if (next->kind != Kind::Variable && seen.insert(next).second)
      left.append(next->operands.begin(), next->operands.end());
  }
  return false;
}

Expr Expressions::substitute(Expr e, Expr from, Expr to) {
  DenseMap<Expr, Expr> known;
  return substitute(e, from, to, known);
}

Expr Expressions::substitute(Expr e, Expr from, Expr to,
                             DenseMap<Expr, Expr> &known) {
  if (e == from)
    return to;
  if (e->operands.empty() || e->kind == Kind::Variable)
    return e;
  if (auto found = known.find(e); found != known.end())
    return found->second;
  SmallVector<Expr> operands;
  for (Expr operand : e->operands)
    operands.push_back(substitute(operand, from, to, known));
  Expr result = e;
  if (ArrayRef<Expr>(operands) != ArrayRef<Expr>(e->operands))
    result = rebuild(e, operands);
  return known[e] = result;
}

Expr Expressions::rebuild(Expr e, ArrayRef<Expr> operands) {
  switch (e->kind) {
  case Kind::Constant:
  case Kind::Variable:
  case Kind::Opaque:
  case Kind::Size:
    return e;
  case Kind::Read:
    return read(e->value, operands);
  case Kind::Sum: {
    Expr sum = integer(e->number);
    for (auto [term, coefficient] : llvm::zip_equal(operands, e->coefficients))
      sum = add(sum, scale(term, coefficient));
    return sum;
  }
  case Kind::Product: {
    Expr product = integer(1);
    for (Expr factor : operands)
      product = mul(product, factor);
    return product;
  }
  case Kind::FloorDiv:
    return floorDiv(operands[0], operands[1]);
  case Kind::Mod:
    return mod(operands[0], operands[1]);
  case Kind::Min:
    return min(operands[0], operands[1]);
  case Kind::Max:
    return max(operands[0], operands[1]);
  case Kind::NotNegative:
    return notNegative(operands[0]);
  case Kind::IsZero:
    return isZero(operands[0]);
  case Kind::Not:
    return isNot(operands[0]);
  case Kind::And: {
    Expr all = truth(true);
    for (Expr part : operands)
      all = both(all, part);
    return all;
  }
  case Kind::Select:
    return select(operands[0], operands[1], operands[2]);
  case Kind::Apply:
    return apply(*e->name, e->type, operands, e->attribute);
  case Kind::Reduce: {
    Node node = *e;
    node.operands = operands.vec();
    return make(std::move(node));
  }
  }
  llvm_unreachable("every kind is handled");
}
