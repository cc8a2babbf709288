// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The reference meaning of a mixture of experts: a weight for every token and
// expert, 0 where it is not chosen, and a loop over the experts in which each
// computes all tokens. An expert that no token has chosen is left out, so that
// a single token costs no more than its top_k.

#include "Builders.h"
#include "Patterns.h"
#include "llmir/Dialect/LLM/LLM.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

#include <limits>

using namespace mlir;
using namespace llmir::llm;
using namespace llmir::reference;

using utils::IteratorType;

namespace {

/// What the router says about tokens [T] and experts [E].
class Router {
public:
  Router(OpBuilder &builder, MoEOp op)
      : builder(builder), loc(op.getLoc()), op(op), maps(op.getContext(), 2),
        sizes({tensor::getMixedSize(builder, loc, op.getRouterLogits(), 0),
               builder.getIndexAttr(tensorType(op.getGate()).getDimSize(0))}) {}

  /// The weights [T, E], 0 where an expert is not chosen.
  Value weights() {
    Value scores =
        op.getScoring() == RouterScoring::softmax ? softmax() : sigmoid();
    Value chosen =
        generic(builder, loc, {scores, countBefore(scores)}, empty(),
                {maps.all(), maps.all(), maps.all()}, parallel(),
                [&](Scalars &s, ValueRange arguments) {
                  Value limit = s.builder.create<arith::ConstantIntOp>(
                      loc, static_cast<int64_t>(op.getTopK()), 32);
                  Value isChosen = s.builder.create<arith::CmpIOp>(
                      loc, arith::CmpIPredicate::slt, arguments[1], limit);
                  return s.builder.create<arith::SelectOp>(
                      loc, isChosen, arguments[0], s.constant(0.0));
                });
    if (!op.getNormalizeTopk() && !op.getScaleAttr())
      return chosen;
    SmallVector<Value> inputs = {chosen};
    SmallVector<AffineMap> inputMaps = {maps.all()};
    if (op.getNormalizeTopk()) {
      inputs.push_back(reduceRows<arith::AddFOp>(chosen, 0.0));
      inputMaps.push_back(maps.first(1));
    }
    inputMaps.push_back(maps.all());
    return generic(
        builder, loc, inputs, empty(), inputMaps, parallel(),
        [&](Scalars &s, ValueRange arguments) {
          Value weight = arguments[0];
          if (op.getNormalizeTopk())
            weight = s.div(weight, arguments[1]);
          if (FloatAttr scale = op.getScaleAttr())
            weight =
                s.mul(weight, s.builder.create<arith::ConstantOp>(loc, scale));
          return weight;
        });
  }

private:
  Value empty() { return emptyOf(builder, loc, sizes, builder.getF32Type()); }

  static SmallVector<IteratorType> parallel() {
    return {IteratorType::parallel, IteratorType::parallel};
  }

  template <typename Op> Value reduceRows(Value values, double neutral) {
    Value init =
        filledOf(builder, loc, sizes[0], builder.getF32FloatAttr(neutral));
    return generic(builder, loc, values, init, {maps.all(), maps.first(1)},
                   {IteratorType::parallel, IteratorType::reduction},
                   [&](Scalars &s, ValueRange arguments) -> Value {
                     return s.builder.create<Op>(loc, arguments[1],
                                                 s.widen(arguments[0]));
                   });
  }

  Value softmax() {
    Value logits = op.getRouterLogits();
    Value maxima = reduceRows<arith::MaximumFOp>(
        logits, -std::numeric_limits<double>::infinity());
    Value exponentials =
        generic(builder, loc, {logits, maxima}, empty(),
                {maps.all(), maps.first(1), maps.all()}, parallel(),
                [&](Scalars &s, ValueRange arguments) -> Value {
                  Value x = s.sub(s.widen(arguments[0]), arguments[1]);
                  return s.builder.create<math::ExpOp>(loc, x);
                });
    Value sums = reduceRows<arith::AddFOp>(exponentials, 0.0);
    return generic(builder, loc, {exponentials, sums}, empty(),
                   {maps.all(), maps.first(1), maps.all()}, parallel(),
                   [&](Scalars &s, ValueRange arguments) {
                     return s.div(arguments[0], arguments[1]);
                   });
  }

  Value sigmoid() {
    return generic(
        builder, loc, op.getRouterLogits(), empty(), {maps.all(), maps.all()},
        parallel(), [&](Scalars &s, ValueRange arguments) {
          Value negated =
              s.builder.create<arith::NegFOp>(loc, s.widen(arguments[0]));
          Value exponential = s.builder.create<math::ExpOp>(loc, negated);
          return s.div(s.constant(1.0), s.add(s.constant(1.0), exponential));
        });
  }

  /// How many experts come before each: those of larger scores, and of equal
  /// ones those of lower indices. None comes before a NaN, nor after it.
  Value countBefore(Value scores) {
    if (op.getSelectionBias())
      scores = generic(builder, loc, {scores, op.getSelectionBias()}, empty(),
                       {maps.all(), maps.dims({1}), maps.all()}, parallel(),
                       [&](Scalars &s, ValueRange arguments) {
                         return s.add(arguments[0], s.widen(arguments[1]));
                       });
    Value init = filledOf(builder, loc, sizes, builder.getI32IntegerAttr(0));
    Maps pairs(op.getContext(), 3);
    return generic(builder, loc, {scores, scores}, init,
                   {pairs.dims({0, 1}), pairs.dims({0, 2}), pairs.dims({0, 1})},
                   {IteratorType::parallel, IteratorType::parallel,
                    IteratorType::reduction},
                   [&](Scalars &s, ValueRange arguments) {
                     Value own = arguments[0], other = arguments[1];
                     auto is = [&](arith::CmpFPredicate predicate) -> Value {
                       return s.builder.create<arith::CmpFOp>(loc, predicate,
                                                              other, own);
                     };
                     Value isLower = s.builder.create<arith::CmpIOp>(
                         loc, arith::CmpIPredicate::ult,
                         s.builder.create<linalg::IndexOp>(loc, 2),
                         s.builder.create<linalg::IndexOp>(loc, 1));
                     Value isEarlier = s.builder.create<arith::AndIOp>(
                         loc, is(arith::CmpFPredicate::OEQ), isLower);
                     Value isBefore = s.builder.create<arith::OrIOp>(
                         loc, is(arith::CmpFPredicate::OGT), isEarlier);
                     return s.add(arguments[2],
                                  s.builder.create<arith::ExtUIOp>(
                                      loc, s.builder.getI32Type(), isBefore));
                   });
  }

  OpBuilder &builder;
  Location loc;
  MoEOp op;
  Maps maps;
  SmallVector<OpFoldResult> sizes;
};

struct ConvertMoE : OpRewritePattern<MoEOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(MoEOp op,
                                PatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    Scalars s(rewriter, loc);
    auto type = cast<RankedTensorType>(op.getResult().getType());
    Value weights = Router(rewriter, op).weights();
    Value users = countUsers(s, weights);
    int64_t experts = tensorType(op.getGate()).getDimSize(0);
    SmallVector<OpFoldResult> sizes = {
        tensor::getMixedSize(rewriter, loc, op.getInput(), 0),
        rewriter.getIndexAttr(tensorType(op.getGate()).getDimSize(2))};
    Value zeros = filledOf(rewriter, loc, sizes, rewriter.getF32FloatAttr(0));
    Value sums =
        s.loop(s.index(experts), zeros, [&](Value expert, ValueRange carried) {
          Value isUsed = rewriter.create<arith::CmpIOp>(
              loc, arith::CmpIPredicate::ne, s.extract(users, expert),
              rewriter.create<arith::ConstantIntOp>(loc, 0, 32));
          auto used = [&](OpBuilder &builder, Location) {
            Value sum = addExpert(builder, op, weights, expert, carried[0]);
            builder.create<scf::YieldOp>(loc, sum);
          };
          auto unused = [&](OpBuilder &builder, Location) {
            builder.create<scf::YieldOp>(loc, carried[0]);
          };
          auto result = rewriter.create<scf::IfOp>(loc, isUsed, used, unused);
          return SmallVector<Value>{result.getResult(0)};
        })[0];
    if (sums.getType() != type)
      sums = rewriter.create<tensor::CastOp>(
          loc, type.clone(rewriter.getF32Type()), sums);
    rewriter.replaceOp(op, finishProduct(rewriter, loc, sums, /*bias=*/{},
                                         /*residual=*/{}, type));
    return success();
  }

private:
  static Value differsFromZero(Scalars &s, Value weight) {
    return s.builder.create<arith::CmpFOp>(s.loc, arith::CmpFPredicate::UNE,
                                           weight, s.constant(0.0));
  }

  /// How many tokens each expert has.
  static Value countUsers(Scalars &s, Value weights) {
    Maps maps(s.builder.getContext(), 2);
    Value init = filledOf(
        s.builder, s.loc,
        OpFoldResult(s.builder.getIndexAttr(tensorType(weights).getDimSize(1))),
        s.builder.getI32IntegerAttr(0));
    return generic(
        s.builder, s.loc, weights, init, {maps.dims({1, 0}), maps.dims({0})},
        {IteratorType::parallel, IteratorType::reduction},
        [&](Scalars &s, ValueRange arguments) {
          return s.add(arguments[1], s.builder.create<arith::ExtUIOp>(
                                         s.loc, s.builder.getI32Type(),
                                         differsFromZero(s, arguments[0])));
        });
  }

  /// Adds what one expert makes of the tokens that have chosen it.
  static Value addExpert(OpBuilder &builder, MoEOp op, Value weights,
                         Value expert, Value sums) {
    Location loc = op.getLoc();
    auto one = builder.getIndexAttr(1), zero = builder.getIndexAttr(0);
    auto matrix = [&](Value stack) -> Value {
      auto type = tensorType(stack);
      return builder.create<tensor::ExtractSliceOp>(
          loc,
          RankedTensorType::get(type.getShape().drop_front(),
                                type.getElementType()),
          stack, ArrayRef<OpFoldResult>{expert, zero, zero},
          ArrayRef<OpFoldResult>{one, builder.getIndexAttr(type.getDimSize(1)),
                                 builder.getIndexAttr(type.getDimSize(2))},
          ArrayRef<OpFoldResult>{one, one, one});
    };
    auto product = [&](Value input, Value weight) -> Value {
      auto type = RankedTensorType::get(
          {tensorType(input).getDimSize(0), tensorType(weight).getDimSize(0)},
          builder.getF32Type());
      return builder.create<LinearOp>(loc, type, input, weight, Value(),
                                      Value());
    };
    Value input = op.getInput();
    Value gate = product(input, matrix(op.getGate()));
    Value up = product(input, matrix(op.getUp()));
    Value hidden = builder.create<ActivationOp>(
        loc, tensorType(gate).clone(tensorType(input).getElementType()),
        op.getKind(), gate, up);
    Value output = product(hidden, matrix(op.getDown()));

    int64_t tokens = tensorType(weights).getDimSize(0);
    Value column = builder.create<tensor::ExtractSliceOp>(
        loc, RankedTensorType::get({tokens}, builder.getF32Type()), weights,
        ArrayRef<OpFoldResult>{zero, expert},
        ArrayRef<OpFoldResult>{tensor::getMixedSize(builder, loc, weights, 0),
                               one},
        ArrayRef<OpFoldResult>{one, one});
    Maps maps(op.getContext(), 2);
    return generic(
        builder, loc, {output, column}, sums,
        {maps.all(), maps.first(1), maps.all()},
        {IteratorType::parallel, IteratorType::parallel},
        [&](Scalars &s, ValueRange arguments) -> Value {
          Value sum = s.add(arguments[2], s.mul(arguments[0], arguments[1]));
          return s.builder.create<arith::SelectOp>(
              loc, differsFromZero(s, arguments[1]), sum, arguments[2]);
        });
  }
};

} // namespace

void llmir::reference::populateMixtureOfExpertsPatterns(
    RewritePatternSet &patterns) {
  patterns.add<ConvertMoE>(patterns.getContext());
}
