// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Adapters as products of the `llm` dialect.

#include "Lora.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

namespace lora {
#define GEN_PASS_DEF_LORATOLLM
#include "LoraPasses.h.inc"
} // namespace lora

using namespace mlir;
namespace llm = llmir::llm;

namespace {
/// `factor * input` in f32, rounded to `elementType`: a generic over the
/// elements, which LLMIR makes vector code of.
Value scale(OpBuilder &builder, Location loc, Value input, float factor,
            Type elementType) {
  auto type = cast<RankedTensorType>(input.getType());
  Value rows = builder.create<tensor::DimOp>(loc, input, 0);
  Value empty = builder.create<tensor::EmptyOp>(
      loc, type.getShape(), elementType,
      type.isDynamicDim(0) ? ValueRange(rows) : ValueRange());
  SmallVector<AffineMap> maps(2, builder.getMultiDimIdentityMap(2));
  SmallVector<utils::IteratorType> loops(2, utils::IteratorType::parallel);
  auto body = [&](OpBuilder &inner, Location loc, ValueRange arguments) {
    Value value = inner.create<arith::MulFOp>(
        loc, arguments[0],
        inner.create<arith::ConstantOp>(loc, inner.getF32FloatAttr(factor)));
    if (elementType != inner.getF32Type())
      value = inner.create<arith::TruncFOp>(loc, elementType, value);
    inner.create<linalg::YieldOp>(loc, value);
  };
  return builder
      .create<linalg::GenericOp>(loc, empty.getType(), input, empty, maps,
                                 loops, body)
      .getResult(0);
}

struct LowerLinear : OpRewritePattern<lora::LinearOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(lora::LinearOp op,
                                PatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    TensorType inputType = op.getInput().getType();
    auto f32 = [&](int64_t columns) {
      return RankedTensorType::get({inputType.getDimSize(0), columns},
                                   rewriter.getF32Type());
    };
    if (op.getResult().getType().getElementType() != rewriter.getF32Type())
      return rewriter.notifyMatchFailure(op, "the result is not f32");
    Value through = rewriter.create<llm::LinearOp>(
        loc, f32(op.getDown().getType().getDimSize(0)), op.getInput(),
        op.getDown(), /*bias=*/Value(), /*residual=*/Value());
    Value scaled = scale(rewriter, loc, through, op.getScale().convertToFloat(),
                         inputType.getElementType());
    Value base = rewriter.create<llm::LinearOp>(
        loc, op.getType(), op.getInput(), op.getWeight(), Value(), Value());
    rewriter.replaceOpWithNewOp<llm::LinearOp>(op, op.getType(), scaled,
                                               op.getUp(), Value(), base);
    return success();
  }
};

struct LoraToLLM : lora::impl::LoraToLLMBase<LoraToLLM> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<LowerLinear>(&getContext());
    if (failed(
            applyPatternsAndFoldGreedily(getOperation(), std::move(patterns))))
      return signalPassFailure();
    getOperation()->walk([&](lora::LinearOp op) {
      op.emitOpError("can be lowered with a result in f32 only");
      signalPassFailure();
    });
  }
};
} // namespace
