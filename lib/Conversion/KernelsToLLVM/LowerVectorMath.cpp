// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Math functions without a library: upstream's polynomials, which it offers as
// patterns only, and better ones where those do not do.

#include "llmir/Conversion/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Math/Transforms/Passes.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/TypeUtilities.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

namespace llmir {
#define GEN_PASS_DEF_LOWERVECTORMATH
#include "llmir/Conversion/Passes.h.inc"
} // namespace llmir

using namespace mlir;

namespace {
/// The coefficients of what follows r in a sine, and 1 - r^2 / 2 in a cosine,
/// the last one first, for angles of an eighth of a turn: those of Cephes' sinf
/// and cosf, and of fdlibm.
constexpr double kSineF32[] = {-1.9515295891e-4, 8.3321608736e-3,
                               -1.6666654611e-1};
constexpr double kCosineF32[] = {2.443315711809948e-5, -1.388731625493765e-3,
                                 4.166664568298827e-2};
constexpr double kSineF64[] = {
    1.58969099521155010221e-10, -2.50507602534068634195e-08,
    2.75573137070700676789e-06, -1.98412698298579493134e-04,
    8.33333333332248946124e-03, -1.66666666666666324348e-01};
constexpr double kCosineF64[] = {
    -1.13596475577881948265e-11, 2.08757232129817482790e-09,
    -2.75573143513906633035e-07, 2.48015872894767294178e-05,
    -1.38888888888741095749e-03, 4.16666666666666019037e-02};

/// Sine and cosine of any angle that a model has: what is left of it after
/// whole quarter turns is found in f64, and a polynomial does the rest. The
/// upstream approximation reduces in f32, and is off by 7e-3 where long
/// contexts are.
template <typename Op> struct LowerCircular : OpRewritePattern<Op> {
  using OpRewritePattern<Op>::OpRewritePattern;

  LogicalResult matchAndRewrite(Op op,
                                PatternRewriter &rewriter) const override {
    Type type = op.getType();
    bool isF32 = getElementTypeOrSelf(type).isF32();
    if (!isF32 && !getElementTypeOrSelf(type).isF64())
      return rewriter.notifyMatchFailure(op, "not in f32 or f64");
    Location loc = op.getLoc();
    auto like = [&](Type element) -> Type {
      if (auto vector = dyn_cast<VectorType>(type))
        return vector.clone(element);
      return element;
    };
    Type f64 = like(rewriter.getF64Type()), i32 = like(rewriter.getI32Type());
    auto constant = [&](Type of, double value) -> Value {
      Type element = getElementTypeOrSelf(of);
      TypedAttr number;
      if (isa<FloatType>(element))
        number = rewriter.getFloatAttr(element, value);
      else
        number = rewriter.getIntegerAttr(element, int64_t(value));
      if (auto vector = dyn_cast<VectorType>(of))
        number = DenseElementsAttr::get(vector, number);
      return rewriter.create<arith::ConstantOp>(loc, number);
    };
    auto fma = [&](Value a, Value b, double c) -> Value {
      return rewriter.create<math::FmaOp>(loc, a, b, constant(a.getType(), c));
    };
    auto mul = [&](Value a, Value b) -> Value {
      return rewriter.create<arith::MulFOp>(loc, a, b);
    };

    Value x = op.getOperand();
    if (isF32)
      x = rewriter.create<arith::ExtFOp>(loc, f64, x);
    Value turns = rewriter.create<math::RoundEvenOp>(
        loc, mul(x, constant(f64, 0.63661977236758134308)));
    // A quarter turn in two parts: 33 bits, and the rest.
    Value rest = rewriter.create<math::FmaOp>(
        loc, turns, constant(f64, -0x1.921fb54400000p+0), x);
    rest = rewriter.create<math::FmaOp>(
        loc, turns, constant(f64, -0x1.0b4611a626331p-34), rest);
    Value r = rest;
    if (isF32)
      r = rewriter.create<arith::TruncFOp>(loc, type, rest);
    Value quarter = rewriter.create<arith::FPToSIOp>(loc, i32, turns);

    Value z = mul(r, r);
    auto polynomial = [&](ArrayRef<double> coefficients) {
      Value sum = constant(type, coefficients.front());
      for (double coefficient : coefficients.drop_front())
        sum = fma(sum, z, coefficient);
      return sum;
    };
    Value sine = polynomial(isF32 ? ArrayRef(kSineF32) : ArrayRef(kSineF64));
    sine = rewriter.create<math::FmaOp>(loc, mul(sine, z), r, r);
    Value cosine =
        polynomial(isF32 ? ArrayRef(kCosineF32) : ArrayRef(kCosineF64));
    cosine = fma(cosine, z, -0.5);
    cosine = fma(cosine, z, 1.0);

    auto bit = [&](int64_t mask, int64_t added) -> Value {
      Value sum =
          rewriter.create<arith::AddIOp>(loc, quarter, constant(i32, added));
      Value masked =
          rewriter.create<arith::AndIOp>(loc, sum, constant(i32, mask));
      return rewriter.create<arith::CmpIOp>(loc, arith::CmpIPredicate::ne,
                                            masked, constant(i32, 0));
    };
    // Of a cosine the quarters are one further.
    int64_t added = std::is_same_v<Op, math::CosOp>;
    Value value =
        rewriter.create<arith::SelectOp>(loc, bit(1, added), cosine, sine);
    Value negative = rewriter.create<arith::NegFOp>(loc, value);
    rewriter.replaceOpWithNewOp<arith::SelectOp>(op, bit(2, added), negative,
                                                 value);
    return success();
  }
};

struct LowerVectorMathPass
    : llmir::impl::LowerVectorMathBase<LowerVectorMathPass> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    populateMathPolynomialApproximationPatterns(patterns);
    // Powers that are products or roots; others need what nothing here has.
    populateMathAlgebraicSimplificationPatterns(patterns);
    patterns.add<LowerCircular<math::CosOp>, LowerCircular<math::SinOp>>(
        &getContext(), /*benefit=*/2);
    if (failed(
            applyPatternsAndFoldGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};
} // namespace
