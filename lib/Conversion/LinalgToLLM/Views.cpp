// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A layout is found by trial: reshapes of a permutation of the indices are few,
// and an expression says whether one is the same.

#include "Views.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include <numeric>

using namespace mlir;
using namespace llmir::raising;

//===----------------------------------------------------------------------===//
// Views
//===----------------------------------------------------------------------===//

std::optional<View> llmir::raising::peel(Elements &elements, const View &view) {
  Operation *op = view.source.getDefiningOp();
  if (!op || isa<tensor::ConcatOp, tensor::InsertSliceOp>(op))
    return std::nullopt;
  Expr e = elements.step(view.source, view.indices);
  double scale = view.scale;
  while (e && e->kind == Kind::Apply) {
    if (e->applies("arith.extf")) {
      e = e->operands[0];
      continue;
    }
    bool divides = e->applies("arith.divf");
    if (!divides && !e->applies("arith.mulf"))
      return std::nullopt;
    int side = !divides && elements.exprs.asNumber(e->operands[0]) ? 0 : 1;
    std::optional<double> number = elements.exprs.asNumber(e->operands[side]);
    if (!number)
      return std::nullopt;
    scale = divides ? scale / *number : scale * *number;
    e = e->operands[1 - side];
  }
  if (!e || e->kind != Kind::Read || !isa<FloatType>(e->type))
    return std::nullopt;
  return View{e->value, llvm::to_vector(e->operands), scale};
}

SmallVector<View> llmir::raising::peelAll(Elements &elements, View view) {
  SmallVector<View> views = {std::move(view)};
  while (std::optional<View> next = peel(elements, views.back()))
    views.push_back(std::move(*next));
  return views;
}

//===----------------------------------------------------------------------===//
// Scalars
//===----------------------------------------------------------------------===//

Value Emitter::emit(Expr e, OpBuilder &at, Values &known) {
  if (auto found = known.find(e); found != known.end())
    return found->second;
  Value value = emitNew(e, at, known);
  if (value)
    known[e] = value;
  return value;
}

Value Emitter::emitNew(Expr e, OpBuilder &at, Values &known) {
  auto toIndex = [&](Value value) -> Value {
    if (!e->isInteger() || value.getType().isIndex())
      return value;
    return at.create<arith::IndexCastOp>(loc, at.getIndexType(), value);
  };
  auto integer = [&](int64_t value) -> Value {
    return at.create<arith::ConstantIndexOp>(loc, value);
  };
  if (e->kind == Kind::Size)
    return at.create<tensor::DimOp>(loc, e->value, e->number);
  if (e->kind == Kind::Opaque)
    return toIndex(e->value);
  if (e->kind == Kind::Constant)
    return e->isTruth()
               ? at.create<arith::ConstantOp>(loc, at.getBoolAttr(e->number))
               : at.create<arith::ConstantOp>(loc,
                                              cast<FloatAttr>(e->attribute));
  // A variable that no loop runs over, or what has a tensor of its own.
  if (e->kind == Kind::Variable || e->kind == Kind::Reduce)
    return nullptr;

  SmallVector<Value> x;
  for (Expr operand : e->operands) {
    x.push_back(emit(operand, at, known));
    if (!x.back())
      return nullptr;
  }
  auto compare = [&](arith::CmpIPredicate predicate) -> Value {
    return at.create<arith::CmpIOp>(loc, predicate, x[0], integer(0));
  };
  switch (e->kind) {
  case Kind::Read:
    return toIndex(at.create<tensor::ExtractOp>(loc, e->value, x));
  case Kind::Sum: {
    Value sum;
    for (auto [term, coefficient] : llvm::zip_equal(x, e->coefficients)) {
      Value scaled = term;
      if (coefficient != 1)
        scaled = at.create<arith::MulIOp>(loc, term, integer(coefficient));
      sum = sum ? at.create<arith::AddIOp>(loc, sum, scaled) : scaled;
    }
    if (!sum)
      return integer(e->number);
    if (e->number == 0)
      return sum;
    return at.create<arith::AddIOp>(loc, sum, integer(e->number));
  }
  case Kind::Product: {
    Value product = x[0];
    for (Value factor : ArrayRef(x).drop_front())
      product = at.create<arith::MulIOp>(loc, product, factor);
    return product;
  }
  case Kind::FloorDiv:
    return at.create<arith::FloorDivSIOp>(loc, x[0], x[1]);
  case Kind::Mod: {
    // Of numbers that may be negative, as the quotient is rounded down.
    Value quotient = at.create<arith::FloorDivSIOp>(loc, x[0], x[1]);
    Value whole = at.create<arith::MulIOp>(loc, quotient, x[1]);
    return at.create<arith::SubIOp>(loc, x[0], whole);
  }
  case Kind::Min:
    return at.create<arith::MinSIOp>(loc, x[0], x[1]);
  case Kind::Max:
    return at.create<arith::MaxSIOp>(loc, x[0], x[1]);
  case Kind::NotNegative:
    return compare(arith::CmpIPredicate::sge);
  case Kind::IsZero:
    return compare(arith::CmpIPredicate::eq);
  case Kind::Not: {
    Value yes = at.create<arith::ConstantOp>(loc, at.getBoolAttr(true));
    return at.create<arith::XOrIOp>(loc, x[0], yes);
  }
  case Kind::And: {
    Value all = x[0];
    for (Value part : ArrayRef(x).drop_front())
      all = at.create<arith::AndIOp>(loc, all, part);
    return all;
  }
  case Kind::Select:
    return at.create<arith::SelectOp>(loc, x[0], x[1], x[2]);
  case Kind::Apply: {
    // Ops on scalars know no index.
    for (Value &operand : x)
      if (operand.getType().isIndex())
        operand = at.create<arith::IndexCastOp>(loc, at.getI64Type(), operand);
    OperationState state(loc, *e->name);
    state.addOperands(x);
    state.addTypes(e->type);
    if (e->attribute)
      state.addAttribute("predicate", e->attribute);
    return at.create(state)->getResult(0);
  }
  default:
    llvm_unreachable("every other kind is handled above");
  }
}

Value Emitter::index(Expr size) {
  Values known;
  return emit(size, builder, known);
}

//===----------------------------------------------------------------------===//
// Tensors
//===----------------------------------------------------------------------===//

/// The outermost expressions for which `wanted` holds.
static void collect(Expr e, llvm::function_ref<bool(Expr)> wanted,
                    llvm::SetVector<Expr> &found, llvm::DenseSet<Expr> &seen) {
  if (!seen.insert(e).second)
    return;
  if (wanted(e)) {
    found.insert(e);
    return;
  }
  if (e->kind != Kind::Variable)
    for (Expr operand : e->operands)
      collect(operand, wanted, found, seen);
}

static llvm::SetVector<Expr> collect(Expr e,
                                     llvm::function_ref<bool(Expr)> wanted) {
  llvm::SetVector<Expr> found;
  llvm::DenseSet<Expr> seen;
  collect(e, wanted, found, seen);
  return found;
}

/// Gives each reduction within an expression a tensor of its own.
Expr Emitter::withoutReductions(ArrayRef<Expr> variables, Expr e) {
  for (Expr reduction :
       collect(e, [](Expr part) { return part->kind == Kind::Reduce; })) {
    SmallVector<Expr> free;
    for (Expr variable : variables)
      if (exprs.dependsOn(reduction, variable))
        free.push_back(variable);
    Type type = reduction->isInteger() ? builder.getI64Type() : reduction->type;
    Value tensor = build(free, reduction, reduction->operands[1], type);
    if (!tensor)
      return nullptr;
    e = exprs.substitute(e, reduction, exprs.read(tensor, free));
  }
  return e;
}

Value Emitter::build(ArrayRef<Expr> variables, Expr reduction, Expr element,
                     Type type) {
  SmallVector<Expr> loops(variables);
  if (reduction)
    loops.push_back(reduction->operands[0]);
  element = withoutReductions(loops, element);
  if (!element)
    return nullptr;
  SmallVector<OpFoldResult> sizes;
  for (Expr variable : variables) {
    if (std::optional<int64_t> size = exprs.asInteger(variable->operands[0])) {
      sizes.push_back(builder.getIndexAttr(*size));
      continue;
    }
    Value size = index(variable->operands[0]);
    if (!size)
      return nullptr;
    sizes.push_back(size);
  }
  Value out = builder.create<tensor::EmptyOp>(loc, sizes, type);
  if (reduction) {
    Value init = index(reduction->operands[2]);
    if (!init)
      return nullptr;
    if (init.getType() != type)
      init = builder.create<arith::IndexCastOp>(loc, type, init);
    out = builder.create<linalg::FillOp>(loc, init, out).getResult(0);
  }

  // What is read at loops' indices is an input.
  MLIRContext *context = builder.getContext();
  SmallVector<Value> inputs;
  SmallVector<AffineMap> maps;
  SmallVector<Expr> reads;
  for (Expr read :
       collect(element, [](Expr part) { return part->kind == Kind::Read; })) {
    SmallVector<AffineExpr> dims;
    for (Expr index : read->operands) {
      auto *loop = llvm::find(loops, index);
      if (loop == loops.end())
        break;
      dims.push_back(getAffineDimExpr(loop - loops.begin(), context));
    }
    if (dims.size() != read->operands.size())
      continue;
    reads.push_back(read);
    inputs.push_back(read->value);
    maps.push_back(AffineMap::get(loops.size(), 0, dims, context));
  }
  // An input that no loop's size comes from is bound to have it.
  SmallVector<utils::IteratorType> iterators(variables.size(),
                                             utils::IteratorType::parallel);
  if (reduction) {
    iterators.push_back(utils::IteratorType::reduction);
    bool isBound = llvm::any_of(maps, [&](AffineMap map) {
      return map.isFunctionOfDim(variables.size());
    });
    if (!isBound) {
      Value range =
          build(loops.back(), nullptr, exprs.truth(false), builder.getI1Type());
      if (!range)
        return nullptr;
      inputs.push_back(range);
      maps.push_back(AffineMap::get(
          loops.size(), 0, getAffineDimExpr(variables.size(), context)));
    }
  }
  SmallVector<AffineExpr> outDims;
  for (unsigned dim = 0; dim < variables.size(); ++dim)
    outDims.push_back(getAffineDimExpr(dim, context));
  maps.push_back(AffineMap::get(loops.size(), 0, outDims, context));

  bool isComplete = true;
  auto generic = builder.create<linalg::GenericOp>(
      loc, out.getType(), inputs, out, maps, iterators,
      [&](OpBuilder &nested, Location, ValueRange arguments) {
        Values known;
        for (auto [dim, loop] : llvm::enumerate(loops))
          known[loop] = nested.create<linalg::IndexOp>(loc, dim);
        for (auto [read, argument] : llvm::zip(reads, arguments)) {
          Value value = argument;
          if (read->isInteger() && !value.getType().isIndex())
            value = nested.create<arith::IndexCastOp>(
                loc, nested.getIndexType(), value);
          known[read] = value;
        }
        Value value = emit(element, nested, known);
        isComplete = static_cast<bool>(value);
        if (value && value.getType().isIndex() && !type.isIndex())
          value = nested.create<arith::IndexCastOp>(loc, type, value);
        Value old = arguments.back();
        if (value && reduction)
          switch (static_cast<Reduction>(reduction->number)) {
          case Reduction::add:
            value =
                isa<FloatType>(type)
                    ? nested.create<arith::AddFOp>(loc, old, value).getResult()
                    : nested.create<arith::AddIOp>(loc, old, value);
            break;
          case Reduction::mul:
            value = nested.create<arith::MulFOp>(loc, old, value);
            break;
          case Reduction::max:
            value = isa<FloatType>(type)
                        ? nested.create<arith::MaximumFOp>(loc, old, value)
                              .getResult()
                        : nested.create<arith::MaxSIOp>(loc, old, value);
            break;
          case Reduction::min:
            value = isa<FloatType>(type)
                        ? nested.create<arith::MinimumFOp>(loc, old, value)
                              .getResult()
                        : nested.create<arith::MinSIOp>(loc, old, value);
            break;
          case Reduction::all:
            value = nested.create<arith::AndIOp>(loc, old, value);
            break;
          case Reduction::any:
            value = nested.create<arith::OrIOp>(loc, old, value);
            break;
          }
        nested.create<linalg::YieldOp>(loc, value ? value : old);
      });
  return isComplete ? generic.getResult(0) : Value();
}

Value Emitter::tensor(ArrayRef<Expr> variables, Expr element, Type type) {
  return build(variables, /*reduction=*/nullptr, element, type);
}

//===----------------------------------------------------------------------===//
// Shapes
//===----------------------------------------------------------------------===//

Value Emitter::castTo(Value tensor, Type type) {
  if (tensor.getType() == type)
    return tensor;
  return builder.create<tensor::CastOp>(loc, type, tensor);
}

Value Emitter::transpose(Value tensor, ArrayRef<int64_t> order) {
  auto type = cast<RankedTensorType>(tensor.getType());
  SmallVector<OpFoldResult> sizes;
  for (int64_t dim : order) {
    if (!type.isDynamicDim(dim))
      sizes.push_back(builder.getIndexAttr(type.getDimSize(dim)));
    else
      sizes.push_back(index(elements.size(tensor, dim)));
  }
  Value out =
      builder.create<tensor::EmptyOp>(loc, sizes, type.getElementType());
  return builder.create<linalg::TransposeOp>(loc, tensor, out, order)
      ->getResult(0);
}

/// The groups of `fine` sizes whose products are `coarse`, or nothing.
static std::optional<SmallVector<ReassociationIndices>>
groupsOf(Expressions &exprs, ArrayRef<Expr> fine, ArrayRef<Expr> coarse) {
  SmallVector<ReassociationIndices> groups;
  size_t next = 0;
  for (auto [index, size] : llvm::enumerate(coarse)) {
    ReassociationIndices group;
    Expr product = exprs.integer(1);
    do {
      if (next == fine.size())
        return std::nullopt;
      product = exprs.mul(product, fine[next]);
      group.push_back(next++);
    } while (product != size);
    // What is left over are sizes of 1.
    if (index + 1 == coarse.size())
      while (next < fine.size()) {
        if (exprs.asInteger(fine[next]) != 1)
          return std::nullopt;
        group.push_back(next++);
      }
    groups.push_back(group);
  }
  if (next != fine.size())
    return std::nullopt;
  return groups;
}

Value Emitter::reshape(Value tensor, ArrayRef<Expr> sizes) {
  auto type = cast<RankedTensorType>(tensor.getType());
  SmallVector<Expr> from = elements.sizes(tensor);
  SmallVector<int64_t> shape;
  for (Expr size : sizes)
    shape.push_back(exprs.asInteger(size).value_or(ShapedType::kDynamic));
  RankedTensorType result = type.clone(shape);
  if (ArrayRef<Expr>(from) == sizes)
    return castTo(tensor, result);
  if (from.size() > sizes.size() && !sizes.empty())
    if (auto groups = groupsOf(exprs, from, sizes)) {
      Value collapsed =
          builder.create<tensor::CollapseShapeOp>(loc, tensor, *groups);
      return castTo(collapsed, result);
    }
  if (from.size() < sizes.size() && !from.empty())
    if (auto groups = groupsOf(exprs, sizes, from)) {
      bool fits = true;
      for (auto [dim, group] : llvm::enumerate(*groups)) {
        int64_t dynamic = llvm::count_if(
            group, [&](int64_t part) { return result.isDynamicDim(part); });
        fits &= dynamic == (type.isDynamicDim(dim) ? 1 : 0);
      }
      if (fits)
        return builder.create<tensor::ExpandShapeOp>(loc, result, tensor,
                                                     *groups);
    }
  SmallVector<Value> extents;
  for (Expr size : sizes) {
    extents.push_back(index(size));
    if (!extents.back())
      return nullptr;
  }
  Value shapeTensor = builder.create<tensor::FromElementsOp>(loc, extents);
  return builder.create<tensor::ReshapeOp>(loc, result, tensor, shapeTensor);
}

static Expr product(Expressions &exprs, ArrayRef<Expr> factors) {
  Expr result = exprs.integer(1);
  for (Expr factor : factors)
    result = exprs.mul(result, factor);
  return result;
}

std::optional<Emitter::Layout> Emitter::layoutOf(ArrayRef<View> views,
                                                 ArrayRef<Expr> variables) {
  Expr count = product(exprs, llvm::map_to_vector(variables, [](Expr variable) {
                         return variable->operands[0];
                       }));
  for (size_t depth = views.size(); depth-- > 0;) {
    const View &view = views[depth];
    // A size of 1 has the index 0 alone.
    SmallVector<Expr> place = view.indices;
    for (Expr &index : place)
      for (Expr variable : variables)
        if (exprs.asInteger(variable->operands[0]) == 1)
          index = exprs.substitute(index, variable, exprs.integer(0));
    SmallVector<Expr> from = elements.sizes(view.source), begin, sizes;
    if (product(exprs, from) != count) {
      // A part of it: indices grow with variables, if it has a layout.
      for (auto [dim, index] : llvm::enumerate(place)) {
        Expr first = index, last = index;
        for (Expr variable : variables) {
          first = exprs.substitute(first, variable, exprs.integer(0));
          last = exprs.substitute(
              last, variable,
              exprs.sub(variable->operands[0], exprs.integer(1)));
        }
        begin.push_back(first);
        sizes.push_back(exprs.add(exprs.sub(last, first), exprs.integer(1)));
        index = exprs.sub(index, first);
      }
      from = sizes;
      bool isFixed = llvm::all_of(begin, [](Expr first) {
        return collect(first,
                       [](Expr part) { return part->kind == Kind::Variable; })
            .empty();
      });
      if (!isFixed || product(exprs, from) != count)
        continue;
    }
    SmallVector<int64_t> order(variables.size());
    std::iota(order.begin(), order.end(), 0);
    do {
      SmallVector<Expr> to, indices;
      for (int64_t dim : order) {
        to.push_back(variables[dim]->operands[0]);
        indices.push_back(exprs.asInteger(to.back()) == 1 ? exprs.integer(0)
                                                          : variables[dim]);
      }
      if (elements.reshape(from, to, indices) == place)
        return Layout{view, begin, sizes, order, depth};
    } while (std::next_permutation(order.begin(), order.end()));
  }
  return std::nullopt;
}

Value Emitter::part(const Layout &layout) {
  if (layout.begin.empty())
    return layout.view.source;
  auto fold = [&](Expr e) -> OpFoldResult {
    if (std::optional<int64_t> number = exprs.asInteger(e))
      return builder.getIndexAttr(*number);
    return index(e);
  };
  auto begin = llvm::map_to_vector(layout.begin, fold),
       sizes = llvm::map_to_vector(layout.sizes, fold);
  if (!llvm::all_of(begin, [](OpFoldResult e) { return bool(e); }) ||
      !llvm::all_of(sizes, [](OpFoldResult e) { return bool(e); }))
    return nullptr;
  SmallVector<OpFoldResult> ones(begin.size(), builder.getIndexAttr(1));
  return builder.create<tensor::ExtractSliceOp>(loc, layout.view.source, begin,
                                                sizes, ones);
}

Value Emitter::layOut(const Layout &layout, ArrayRef<Expr> variables,
                      ArrayRef<Expr> sizes) {
  Value source = part(layout);
  if (!source)
    return nullptr;
  if (llvm::is_sorted(layout.order))
    return reshape(source, sizes);
  SmallVector<Expr> split;
  SmallVector<int64_t> inverse(layout.order.size());
  for (auto [place, dim] : llvm::enumerate(layout.order)) {
    split.push_back(variables[dim]->operands[0]);
    inverse[dim] = place;
  }
  Value tensor = reshape(source, split);
  return tensor ? reshape(transpose(tensor, inverse), sizes) : Value();
}

void llmir::raising::foldViewsOf(Elements &elements, Value root) {
  Expressions &exprs = elements.exprs;
  SmallVector<Value> left = {root};
  llvm::DenseSet<Value> seen = {root};
  while (!left.empty()) {
    Value value = left.pop_back_val();
    for (Operation *user : llvm::make_early_inc_range(value.getUsers())) {
      if (user->getNumResults() != 1 ||
          !isa<RankedTensorType>(user->getResult(0).getType()) ||
          !seen.insert(user->getResult(0)).second)
        continue;
      Value result = user->getResult(0);
      View view{result, {}};
      SmallVector<Expr> sizes = elements.sizes(result);
      for (Expr size : sizes)
        view.indices.push_back(exprs.variable(size));
      SmallVector<Expr> indices = view.indices;
      std::optional<View> next = peel(elements, view);
      while (next && next->source != root)
        next = peel(elements, *next);
      if (!next)
        continue;
      left.push_back(result);
      if (next->scale != 1.0 || value == root ||
          next->source.getType().cast<RankedTensorType>().getElementType() !=
              result.getType().cast<RankedTensorType>().getElementType() ||
          elements.reshape(elements.sizes(root), sizes, indices) !=
              next->indices)
        continue;
      OpBuilder builder(user);
      Emitter emitter(elements, builder, user->getLoc());
      if (Value reshaped = emitter.reshape(root, sizes)) {
        reshaped = emitter.castTo(reshaped, result.getType());
        result.replaceAllUsesWith(reshaped);
        left.push_back(reshaped);
      }
    }
  }
}
