// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The `lora` dialect: a product with a weight that has a low-rank adapter, and
// the pass that spells it in the `llm` dialect.

#ifndef LORA_TD
#define LORA_TD

include "llmir/Dialect/LLM/LLMInterfaces.td"
include "mlir/IR/OpBase.td"
include "mlir/Interfaces/SideEffectInterfaces.td"
include "mlir/Pass/PassBase.td"

def Lora_Dialect : Dialect {
  let name = "lora";
  let summary = "Low-rank adapters of language models";
  let cppNamespace = "::lora";
}

def Lora_Matrix : 2DTensorOf<[F16, BF16, F32]>;

def Lora_LinearOp : Op<Lora_Dialect, "linear", [
    Pure, DeclareOpInterfaceMethods<LLM_InputConstraintsOpInterface>]> {
  let summary = "product with a weight and its adapter";
  let description = [{
    `result = input W^T + scale * (input A^T) B^T` (arXiv:2106.09685), for input
    [T, K], weight [N, K], down (the paper's A) [R, K] and up (B) [N, R]. The
    adapter stays apart from the weight, so that one copy of the weight in memory
    serves every adapter.

    ```mlir
    %y = lora.linear %x, %w, %a, %b {scale = 2.0 : f32}
      : tensor<?x64xbf16>, tensor<96x64xbf16>, tensor<8x64xbf16>,
        tensor<96x8xbf16> -> tensor<?x96xf32>
    ```
  }];
  let arguments = (ins Lora_Matrix:$input, Lora_Matrix:$weight,
                       Lora_Matrix:$down, Lora_Matrix:$up, F32Attr:$scale);
  let results = (outs Lora_Matrix:$result);
  let assemblyFormat = [{
    $input `,` $weight `,` $down `,` $up attr-dict `:` type($input) `,`
    type($weight) `,` type($down) `,` type($up) `->` type($result)
  }];
  let hasVerifier = 1;
}

def LoraToLLM : Pass<"lora-to-llm"> {
  let summary = "Lower adapters to products of the llm dialect";
  let description = [{
    Turns each `lora.linear` into three `llm.linear`: through the adapter's rank,
    with the weight, and back, where the last accumulates into the second. LLMIR's
    pipelines know what is left: they pack, fuse and choose kernels as ever.
  }];
  let dependentDialects = [
    "::llmir::llm::LLMDialect", "::mlir::arith::ArithDialect",
    "::mlir::linalg::LinalgDialect", "::mlir::tensor::TensorDialect"
  ];
}

#endif // LORA_TD
