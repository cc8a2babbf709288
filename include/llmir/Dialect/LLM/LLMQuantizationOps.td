// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Into quantized tensors, out of them, and products with them. Letters in
// shapes are those of LLMOps.td.

#ifndef LLMIR_DIALECT_LLM_LLMQUANTIZATIONOPS_TD
#define LLMIR_DIALECT_LLM_LLMQUANTIZATIONOPS_TD

include "llmir/Dialect/LLM/LLMOps.td"

def LLM_QuantizeOp : LLM_Op<"quantize", [
    DeclareOpInterfaceMethods<LLM_CostOpInterface>,
    Pure, DeclareOpInterfaceMethods<LLM_InputConstraintsOpInterface>]> {
  let summary = "rounds a tensor to integers, with a scale for each group";
  let description = [{
    For each group of x, with integers from qmin to qmax (see
    `!llm.quantized_tensor`), in f32 but for `round`, which rounds to the type of
    the scales; rint rounds to the nearest integer, ties to even, and x / 0 is 0:

        symmetric:  s = round(max |x| / qmax)
                    q = clamp(rint(x / s), -qmax, qmax)
        asymmetric: low = min(min x, 0), high = max(max x, 0)
                    s = round((high - low) / (qmax - qmin))
                    z = rint(clamp(qmin - low / s, qmin, qmax))
                    q = clamp(rint(x / s) + z, qmin, qmax)

    The result's type chooses storage, axis, groups and scheme; scales must not
    overflow their type. A group with a NaN has a NaN for its scale. Weights are
    quantized when compiling (see `llm.parameter`, which makes panels too),
    activations (one scale a token, `axis = 1`) in the step.

    ```mlir
    %q = llm.quantize %x : (tensor<?x4096xf32>)
      -> !llm.quantized_tensor<?x4096xi8, scales = f32, axis = 1>
    ```
  }];
  let arguments = (ins LLM_FloatTensor:$input);
  let results = (outs LLM_QuantizedTensorType:$result);
  let assemblyFormat = "$input attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def LLM_DequantizeOp : LLM_TensorOp<"dequantize", [
    DeclareOpInterfaceMethods<LLM_CostOpInterface>]> {
  let summary = "the numbers that a quantized tensor stands for";
  let description = [{
    `result = (q - z) * s`, with the scale s and the zero point z of each
    element's group; z is 0 in a symmetric tensor. The element type is that of
    the scales unless another one is written.

    ```mlir
    %w = llm.dequantize %q
      : (!llm.quantized_tensor<64x128xui4, scales = f16, axis = 1,
                               group_size = 32, asymmetric, packing = pairs>)
      -> tensor<64x128xf32>
    ```
  }];
  let arguments = (ins LLM_QuantizedTensorType:$input);
  let results = (outs LLM_FloatTensor:$result);
  let assemblyFormat = "$input attr-dict `:` functional-type(operands, results)";
}

def LLM_QuantizedMatmulOp
    : LLM_TensorOp<"quantized_matmul", [
    DeclareOpInterfaceMethods<LLM_CostOpInterface, ["getCost"]>,
    AttrSizedOperandSegments]> {
  let summary = "product with a quantized weight matrix";
  let description = [{
    The product of `llm.linear` with a weight [N, K] that is quantized along K,
    summed group by group:

        result[t, n] = residual[t, n] + bias[n]
          + sum_g s[n, g] * sum_{k in g} input[t, k] * (q[n, k] - z[n, g])

    Where the input [T, K] is quantized along K as well, with scales r and zero
    points y, the inner sum is one of integers, exact in i32:

          + sum_g r[t, g] * s[n, g]
                  * sum_{k in g} (p[t, k] - y[t, g]) * (q[n, k] - z[n, g])

    Each of the two has groups of the same size, or one group for a whole row.

    What `norm` with its `epsilon`, `activation` and `gated` are is said at
    `llm.linear`. What the norm makes is rounded to bf16, or quantized to
    `input_type` where that is given.

    ```mlir
    %y = llm.quantized_matmul %x, %w bias %b
      : (tensor<?x128xbf16>,
         !llm.quantized_tensor<64x128xi4, scales = bf16, axis = 1,
                               group_size = 32, packing = pairs>,
         tensor<64xf32>) -> tensor<?x64xf32>
    %z = llm.quantized_matmul %q, %v
      : (!llm.quantized_tensor<?x128xi8, scales = f32, axis = 1>,
         !llm.quantized_tensor<64x128xi8, scales = bf16, axis = 1>)
      -> tensor<?x64xf32>
    %g = llm.quantized_matmul %h, %u norm %n activation silu gated
           {epsilon = 1.0e-05 : f32, input_type =
            !llm.quantized_tensor<?x128xi8, scales = f32, axis = 1>}
      : (tensor<?x128xf32>,
         !llm.quantized_tensor<64x128xi8, scales = f32, axis = 1>,
         tensor<128xbf16>) -> tensor<?x32xbf16>
    ```
  }];
  let arguments = (ins
    AnyTypeOf<[LLM_FloatTensor, LLM_QuantizedTensorType]>:$input,
    LLM_QuantizedTensorType:$weight, Optional<LLM_FloatTensor>:$norm,
    Optional<LLM_FloatTensor>:$bias, Optional<LLM_FloatTensor>:$residual,
    OptionalAttr<F32Attr>:$epsilon,
    OptionalAttr<LLM_ActivationKindAttr>:$activation, UnitAttr:$gated,
    OptionalAttr<TypeAttrOf<LLM_QuantizedTensorType>>:$input_type);
  let results = (outs LLM_FloatTensor:$result);
  let assemblyFormat = [{
    $input `,` $weight (`norm` $norm^)? (`bias` $bias^)?
    (`activation` $activation^)? (`gated` $gated^)? (`residual` $residual^)?
    attr-dict `:` functional-type(operands, results)
  }];
}

#endif // LLMIR_DIALECT_LLM_LLMQUANTIZATIONOPS_TD
