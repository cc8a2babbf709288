// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// bf16 conversions as integer arithmetic, since LLVM 18 cannot be trusted with
// them: it aborts on `fptrunc` to wide vectors and calls a helper for others.

#include "llmir/Conversion/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/TypeUtilities.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

namespace llmir {
#define GEN_PASS_DEF_EXPANDBF16
#include "llmir/Conversion/Passes.h.inc"
} // namespace llmir

using namespace mlir;

/// How many bits of an integer these types have.
static constexpr unsigned kF32Precision = 24, kF64Precision = 53;

namespace {
/// `type`, with its elements replaced.
Type withElement(Type type, Type element) {
  if (auto shaped = dyn_cast<ShapedType>(type))
    return shaped.clone(element);
  return element;
}

/// Integer arithmetic on values of one type, scalars or vectors.
struct Bits {
  Bits(OpBuilder &builder, Location loc, Type like)
      : builder(builder), loc(loc), like(like) {}

  Type type(unsigned width) {
    return withElement(like, builder.getIntegerType(width));
  }
  Value constant(uint32_t value) {
    Type i32 = type(32);
    TypedAttr attribute = builder.getI32IntegerAttr(value);
    if (auto shaped = dyn_cast<ShapedType>(i32))
      attribute = DenseElementsAttr::get(shaped, Attribute(attribute));
    return builder.create<arith::ConstantOp>(loc, attribute);
  }
  template <typename Op> Value apply(Value a, Value b) {
    return builder.create<Op>(loc, a, b);
  }

  OpBuilder &builder;
  Location loc;
  Type like;
};

/// bf16 is the upper half of f32.
struct ExpandExtF : OpRewritePattern<arith::ExtFOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(arith::ExtFOp op,
                                PatternRewriter &rewriter) const override {
    if (!getElementTypeOrSelf(op.getIn()).isBF16() ||
        !getElementTypeOrSelf(op.getType()).isF32())
      return rewriter.notifyMatchFailure(op, "not bf16 to f32");
    Location loc = op.getLoc();
    Bits bits(rewriter, loc, op.getType());
    Value half =
        rewriter.create<arith::BitcastOp>(loc, bits.type(16), op.getIn());
    Value word = rewriter.create<arith::ExtUIOp>(loc, bits.type(32), half);
    Value shifted = bits.apply<arith::ShLIOp>(word, bits.constant(16));
    rewriter.replaceOpWithNewOp<arith::BitcastOp>(op, op.getType(), shifted);
    return success();
  }
};

/// Through f32, which has every bf16.
struct ExpandExtFToF64 : OpRewritePattern<arith::ExtFOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(arith::ExtFOp op,
                                PatternRewriter &rewriter) const override {
    if (!getElementTypeOrSelf(op.getIn()).isBF16() ||
        !getElementTypeOrSelf(op.getType()).isF64())
      return rewriter.notifyMatchFailure(op, "not bf16 to f64");
    Value single = rewriter.create<arith::ExtFOp>(
        op.getLoc(), withElement(op.getType(), rewriter.getF32Type()),
        op.getIn());
    rewriter.replaceOpWithNewOp<arith::ExtFOp>(op, op.getType(), single);
    return success();
  }
};

/// Adds half of the last kept place, or a bit less where that place is even; a
/// NaN keeps its upper half, made quiet.
struct ExpandTruncF : OpRewritePattern<arith::TruncFOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(arith::TruncFOp op,
                                PatternRewriter &rewriter) const override {
    if (!getElementTypeOrSelf(op.getIn()).isF32() ||
        !getElementTypeOrSelf(op.getType()).isBF16())
      return rewriter.notifyMatchFailure(op, "not f32 to bf16");
    Location loc = op.getLoc();
    Bits bits(rewriter, loc, op.getType());
    Value word =
        rewriter.create<arith::BitcastOp>(loc, bits.type(32), op.getIn());
    Value upper = bits.apply<arith::ShRUIOp>(word, bits.constant(16));
    Value odd = bits.apply<arith::AndIOp>(upper, bits.constant(1));
    Value bias = bits.apply<arith::AddIOp>(odd, bits.constant(0x7fff));
    Value rounded = bits.apply<arith::ShRUIOp>(
        bits.apply<arith::AddIOp>(word, bias), bits.constant(16));
    Value quiet = bits.apply<arith::OrIOp>(upper, bits.constant(0x40));
    Value isNaN = rewriter.create<arith::CmpFOp>(loc, arith::CmpFPredicate::UNO,
                                                 op.getIn(), op.getIn());
    Value chosen = rewriter.create<arith::SelectOp>(loc, isNaN, quiet, rounded);
    Value half = rewriter.create<arith::TruncIOp>(loc, bits.type(16), chosen);
    rewriter.replaceOpWithNewOp<arith::BitcastOp>(op, op.getType(), half);
    return success();
  }
};

/// Through f32, rounded to odd: towards zero, with the last place set if
/// anything was lost. Rounding that to nearest gives what one rounding would.
struct ExpandTruncFFromF64 : OpRewritePattern<arith::TruncFOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(arith::TruncFOp op,
                                PatternRewriter &rewriter) const override {
    Value in = op.getIn();
    if (!getElementTypeOrSelf(in).isF64() ||
        !getElementTypeOrSelf(op.getType()).isBF16())
      return rewriter.notifyMatchFailure(op, "not f64 to bf16");
    Location loc = op.getLoc();
    Bits bits(rewriter, loc, op.getType());
    Type single = withElement(op.getType(), rewriter.getF32Type());
    Value nearest = rewriter.create<arith::TruncFOp>(loc, single, in);
    Value back = rewriter.create<arith::ExtFOp>(loc, in.getType(), nearest);
    auto compare = [&](arith::CmpFPredicate predicate, Value a, Value b) {
      return rewriter.create<arith::CmpFOp>(loc, predicate, a, b);
    };
    Value zero = rewriter.create<arith::ConstantOp>(
        loc, rewriter.getZeroAttr(in.getType()));
    // Of numbers of one sign, the one farther from zero has the greater bits.
    Value above = compare(arith::CmpFPredicate::OGT, back, in);
    Value below = compare(arith::CmpFPredicate::OLT, back, in);
    Value positive = compare(arith::CmpFPredicate::OGT, in, zero);
    Value away = rewriter.create<arith::SelectOp>(loc, positive, above, below);
    Value lost = bits.apply<arith::OrIOp>(above, below);
    Value word = rewriter.create<arith::BitcastOp>(loc, bits.type(32), nearest);
    Value truncated = bits.apply<arith::SubIOp>(
        word, rewriter.create<arith::ExtUIOp>(loc, bits.type(32), away));
    Value odd = bits.apply<arith::OrIOp>(
        truncated, rewriter.create<arith::ExtUIOp>(loc, bits.type(32), lost));
    Value rounded = rewriter.create<arith::BitcastOp>(loc, single, odd);
    rewriter.replaceOpWithNewOp<arith::TruncFOp>(op, op.getType(), rounded);
    return success();
  }
};

/// An integer that f32 may not have exactly goes through f64.
template <typename Op> struct ConvertThroughF64 : OpRewritePattern<Op> {
  using OpRewritePattern<Op>::OpRewritePattern;

  LogicalResult matchAndRewrite(Op op,
                                PatternRewriter &rewriter) const override {
    auto integer = dyn_cast<IntegerType>(getElementTypeOrSelf(op.getIn()));
    if (!getElementTypeOrSelf(op.getType()).isBF16() || !integer ||
        integer.getWidth() <= kF32Precision ||
        integer.getWidth() > kF64Precision)
      return rewriter.notifyMatchFailure(op, "f32 will do, or f64 will not");
    Value wide = rewriter.create<Op>(
        op.getLoc(), withElement(op.getType(), rewriter.getF64Type()),
        op.getIn());
    rewriter.replaceOpWithNewOp<arith::TruncFOp>(op, op.getType(), wide);
    return success();
  }
};

/// Whether an integer is rounded to f64 before it is to bf16.
bool roundsTwice(Operation *op) {
  if (!isa<arith::SIToFPOp, arith::UIToFPOp>(op) ||
      !getElementTypeOrSelf(op->getResult(0)).isBF16())
    return false;
  auto integer = dyn_cast<IntegerType>(getElementTypeOrSelf(op->getOperand(0)));
  return integer && integer.getWidth() > kF64Precision;
}

/// Arithmetic on bf16 happens in f32, and is rounded.
struct ComputeInF32 : RewritePattern {
  ComputeInF32(MLIRContext *context)
      : RewritePattern(MatchAnyOpTypeTag(), /*benefit=*/1, context) {}

  LogicalResult matchAndRewrite(Operation *op,
                                PatternRewriter &rewriter) const override {
    auto isBF16 = [](Type type) { return getElementTypeOrSelf(type).isBF16(); };
    if (!OpTrait::hasElementwiseMappableTraits(op) ||
        isa<arith::ExtFOp, arith::TruncFOp, arith::BitcastOp, arith::SelectOp>(
            op) ||
        roundsTwice(op) ||
        (llvm::none_of(op->getOperandTypes(), isBF16) &&
         llvm::none_of(op->getResultTypes(), isBF16)))
      return rewriter.notifyMatchFailure(op, "no arithmetic on bf16");
    auto widened = [&](Type type) {
      return isBF16(type) ? withElement(type, rewriter.getF32Type()) : type;
    };
    SmallVector<Value> operands(op->getOperands());
    for (Value &operand : operands)
      if (isBF16(operand.getType()))
        operand = rewriter.create<arith::ExtFOp>(
            op->getLoc(), widened(operand.getType()), operand);
    Operation *computed = rewriter.create(
        op->getLoc(), op->getName().getIdentifier(), operands,
        llvm::map_to_vector(op->getResultTypes(), widened), op->getAttrs());
    SmallVector<Value> results(computed->getResults());
    for (auto [result, type] : llvm::zip(results, op->getResultTypes()))
      if (isBF16(type))
        result = rewriter.create<arith::TruncFOp>(op->getLoc(), type, result);
    rewriter.replaceOp(op, results);
    return success();
  }
};

struct ExpandBF16Pass : llmir::impl::ExpandBF16Base<ExpandBF16Pass> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    llmir::populateExpandBF16Patterns(patterns);
    if (failed(
            applyPatternsAndFoldGreedily(getOperation(), std::move(patterns))))
      return signalPassFailure();
    getOperation()->walk([&](Operation *op) {
      if (!roundsTwice(op))
        return;
      op->emitError() << "cannot round " << op->getOperand(0).getType()
                      << " to bf16 at once; convert it to f32 first";
      signalPassFailure();
    });
  }
};
} // namespace

void llmir::populateExpandBF16Patterns(RewritePatternSet &patterns) {
  MLIRContext *context = patterns.getContext();
  patterns.add<ComputeInF32, ExpandExtF, ExpandExtFToF64, ExpandTruncF,
               ExpandTruncFFromF64>(context);
  // Before arithmetic in f32.
  patterns.add<ConvertThroughF64<arith::SIToFPOp>,
               ConvertThroughF64<arith::UIToFPOp>>(context, /*benefit=*/2);
}
