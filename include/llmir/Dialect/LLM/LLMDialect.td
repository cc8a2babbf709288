// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The `llm` dialect itself. Types, attributes and operations stand in the files
// beside this one.

#ifndef LLMIR_DIALECT_LLM_LLMDIALECT_TD
#define LLMIR_DIALECT_LLM_LLMDIALECT_TD

include "mlir/IR/OpBase.td"

def LLM_Dialect : Dialect {
  let name = "llm";
  let summary = "Large language models and their paged caches";
  let description = [{
    The `llm` dialect describes the inference step of a language model: one
    function over a ragged batch of tokens, with value semantics on tensors.
    State is an SSA value (`!llm.paged_kv_cache`) and weights are named
    (`llm.parameter`), so a program of any size stays readable.

    The meaning of every operation is its lowering by `--convert-llm-to-linalg`.
    Arithmetic is in f32 whatever the element types are, and is rounded once, to
    the element type of the result.
  }];
  let cppNamespace = "::llmir::llm";
  let useDefaultAttributePrinterParser = 1;
  let useDefaultTypePrinterParser = 1;
  let dependentDialects = [
    "::mlir::arith::ArithDialect", "::mlir::tensor::TensorDialect"
  ];
}

#endif // LLMIR_DIALECT_LLM_LLMDIALECT_TD
