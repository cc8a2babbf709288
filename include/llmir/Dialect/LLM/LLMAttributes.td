// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Attributes and enumerations of the `llm` dialect.

#ifndef LLMIR_DIALECT_LLM_LLMATTRIBUTES_TD
#define LLMIR_DIALECT_LLM_LLMATTRIBUTES_TD

include "llmir/Dialect/LLM/LLMDialect.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"

class LLM_I32Enum<string name, string description, list<I32EnumAttrCase> cases>
    : I32EnumAttr<name, description, cases> {
  let cppNamespace = "::llmir::llm";
  let genSpecializedAttr = 0;
}

def LLM_ActivationKind : LLM_I32Enum<"ActivationKind", "an activation function", [
  I32EnumAttrCase<"silu", 0>,
  I32EnumAttrCase<"gelu", 1>,
  I32EnumAttrCase<"gelu_tanh", 2>,
  I32EnumAttrCase<"relu", 3>
]>;
def LLM_ActivationKindAttr
    : EnumAttr<LLM_Dialect, LLM_ActivationKind, "activation_kind">;

def LLM_RopeScalingKind : LLM_I32Enum<"RopeScalingKind", "a RoPE scaling", [
  I32EnumAttrCase<"linear", 0>,
  I32EnumAttrCase<"llama3", 1>
]>;

def LLM_RopeScalingAttr : AttrDef<LLM_Dialect, "RopeScaling"> {
  let mnemonic = "rope_scaling";
  let summary = "how the frequencies of RoPE are scaled for long contexts";
  let description = [{
    `linear` divides every frequency by `factor`. `llama3` divides the low ones,
    keeps the high ones and interpolates between, by the wavelength's relation
    to the context the model was first trained on, as Llama 3.1 does.

    ```mlir
    #llm.rope_scaling<linear, factor = 4.0>
    #llm.rope_scaling<llama3, factor = 8.0, low_freq_factor = 1.0,
                      high_freq_factor = 4.0, original_max_position = 8192>
    ```
  }];
  let parameters = (ins
    EnumParameter<LLM_RopeScalingKind>:$kind,
    "::mlir::FloatAttr":$factor,
    OptionalParameter<"::mlir::FloatAttr">:$low_freq_factor,
    OptionalParameter<"::mlir::FloatAttr">:$high_freq_factor,
    OptionalParameter<"int64_t">:$original_max_position
  );
  let assemblyFormat = [{
    `<` $kind `,` struct($factor, $low_freq_factor, $high_freq_factor,
                         $original_max_position) `>`
  }];
  let genVerifyDecl = 1;
}

#endif // LLMIR_DIALECT_LLM_LLMATTRIBUTES_TD
