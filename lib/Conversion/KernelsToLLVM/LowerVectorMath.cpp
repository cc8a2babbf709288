// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Math functions without a library: upstream's polynomials, which it offers as
// patterns only.

#include "llmir/Conversion/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Math/Transforms/Passes.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

namespace llmir {
#define GEN_PASS_DEF_LOWERVECTORMATH
#include "llmir/Conversion/Passes.h.inc"
} // namespace llmir

using namespace mlir;

namespace {
struct LowerVectorMathPass
    : llmir::impl::LowerVectorMathBase<LowerVectorMathPass> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    populateMathPolynomialApproximationPatterns(patterns);
    if (failed(
            applyPatternsAndFoldGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};
} // namespace
