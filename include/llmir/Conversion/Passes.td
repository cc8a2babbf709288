// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Passes that leave the `llm` dialect: its reference meaning in linalg, and the
// way to the CPU.

#ifndef LLMIR_CONVERSION_PASSES_TD
#define LLMIR_CONVERSION_PASSES_TD

include "mlir/Pass/PassBase.td"

def ConvertLLMToLinalg : Pass<"convert-llm-to-linalg", "::mlir::ModuleOp"> {
  let summary = "Lower the llm dialect to its reference meaning in linalg";
  let description = [{
    Replaces every op of the dialect by the slow, obvious code that defines it,
    on tensors; of the dialect, only `llm.parameter` is left.

    A paged cache becomes five tensors, in arguments, results and calls, in this
    order. An empty cache has -1 all over the block table, and zeros after it.

    | tensor         | type                                                    |
    |----------------|---------------------------------------------------------|
    | keys           | `[layers, blocks, block_size, kv_heads, head_dim]`      |
    | values         | the same                                                |
    | block table    | i32 `[sequences, blocks of the longest sequence]`       |
    | lengths        | i32 `[layers, sequences]`, positions appended so far    |
    | blocks in use  | i32 `[]`, the next block to be taken                    |

    The numbers of blocks and of sequences are the caller's: nothing checks that
    there is room. Appends by slots, and what reads the cache, are given their
    places, and leave the last three tensors alone.

    With `keep-kernels`, ops that the CPU's runtime has kernels for stay.
  }];
  let options = [
    Option<"keepKernels", "keep-kernels", "bool", "false",
           "Keep the ops that --convert-llm-to-kernels lowers">
  ];
  let dependentDialects = [
    "::mlir::arith::ArithDialect", "::mlir::linalg::LinalgDialect",
    "::mlir::math::MathDialect", "::mlir::scf::SCFDialect",
    "::mlir::tensor::TensorDialect"
  ];
}

def ConvertLLMToKernels : Pass<"convert-llm-to-kernels", "::mlir::ModuleOp"> {
  let summary = "Turn products and cache ops into calls of the runtime";
  let description = [{
    Turns packed products, appends by slot and ragged attention into
    `llm.call_kernel` in destination-passing style. A cache value becomes the
    one that it was made of: `--llm-verify-cache-uses` has shown that nothing
    else reads it.
  }];
  let dependentDialects = [
    "::mlir::arith::ArithDialect", "::mlir::tensor::TensorDialect"
  ];
}

def AssignParameters : Pass<"llm-assign-parameters", "::mlir::ModuleOp"> {
  let summary = "Give every parameter its place in the weight file";
  let description = [{
    Replaces parameters and RoPE tables by views of one buffer of weights, which
    becomes the step's last argument. The module's attribute `llm.weights` then
    lists what stands where.
  }];
  let dependentDialects = [
    "::mlir::arith::ArithDialect", "::mlir::bufferization::BufferizationDialect",
    "::mlir::memref::MemRefDialect"
  ];
}

def PassDestinations : Pass<"llm-pass-destinations", "::mlir::ModuleOp"> {
  let summary = "Give functions the buffers of their results";
  let description = [{
    A tensor that a function makes and returns would be allocated on every call.
    This pass appends an argument for each such result and makes the function
    write there; the public step takes it as a memref.
  }];
  let dependentDialects = [
    "::mlir::bufferization::BufferizationDialect", "::mlir::tensor::TensorDialect"
  ];
}

def VectorizeRows : Pass<"llm-vectorize-rows", "::mlir::func::FuncOp"> {
  let summary = "Fuse row-wise linalg ops into parallel loops of vector code";
  let description = [{
    Works on buffers. Neighbouring linalg ops whose outermost loop is parallel
    and of the same extent become one `scf.forall` over rows, in which each op
    is a loop nest with its innermost dimension in vectors. A row stays in cache
    from one op to the next. Reductions run in one fixed order: lane by lane,
    then the lanes pairwise. A copy between parts of rows is such an op too.
  }];
  let dependentDialects = [
    "::mlir::arith::ArithDialect", "::mlir::linalg::LinalgDialect",
    "::mlir::memref::MemRefDialect", "::mlir::scf::SCFDialect",
    "::mlir::vector::VectorDialect"
  ];
}

def PlanArena : Pass<"llm-plan-arena", "::mlir::ModuleOp"> {
  let summary = "Place every buffer of a step in one arena";
  let description = [{
    Buffers are sized by the number of tokens, which `max-batch-tokens` bounds,
    so each gets a fixed place; buffers that are never alive together share one.
    The frame of a function lies behind those of its callers. The arena becomes
    an argument of every function; its size, the attribute `llm.arena_bytes`.
  }];
  let options = [
    Option<"maxBatchTokens", "max-batch-tokens", "int64_t", "512",
           "The most tokens that one step takes">
  ];
  let dependentDialects = [
    "::mlir::arith::ArithDialect", "::mlir::memref::MemRefDialect"
  ];
}

def OutlineRows : Pass<"llm-outline-rows", "::mlir::ModuleOp"> {
  let summary = "Turn parallel row loops into functions that the runtime calls";
  let description = [{
    Each outermost `scf.forall` over rows becomes a function of its captures and
    of a range of rows, and a call of the runtime's `parallel_for`.
  }];
  let dependentDialects = [
    "::llmir::llm::LLMDialect", "::mlir::arith::ArithDialect",
    "::mlir::func::FuncDialect", "::mlir::LLVM::LLVMDialect",
    "::mlir::scf::SCFDialect"
  ];
}

def ExpandBF16 : Pass<"llm-expand-bf16"> {
  let summary = "Lower bf16 conversions to integer arithmetic";
  let description = [{
    Widening is a shift; narrowing rounds to nearest even and keeps NaN. Arithmetic
    in bf16 happens in f32 and is rounded. LLVM 18 aborts on some vectors of bf16
    and misrounds others.
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect"];
}

def LowerVectorMath : Pass<"llm-lower-vector-math"> {
  let summary = "Lower math functions to polynomials, on vectors and scalars";
  let description = [{
    exp, tanh and erf in f32 become polynomials that are accurate to about 1e-7,
    with explicit fused multiply-adds, so that compiled code calls no library and
    gives the same bits wherever it runs.
  }];
  let dependentDialects = [
    "::mlir::arith::ArithDialect", "::mlir::math::MathDialect",
    "::mlir::vector::VectorDialect"
  ];
}

def ConvertLLMToLLVM : Pass<"convert-llm-to-llvm", "::mlir::ModuleOp"> {
  let summary = "Lower a bufferized step to the LLVM dialect";
  let description = [{
    Lowers kernel calls to calls through the runtime's table of functions, which
    every function receives, together with everything else that is left. Exports
    the C entry point of the step.
  }];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect"];
}

#endif // LLMIR_CONVERSION_PASSES_TD
