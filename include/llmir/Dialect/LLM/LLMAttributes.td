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
  I32EnumAttrCase<"relu", 3>,
  I32EnumAttrCase<"quick_gelu", 4>,
  I32EnumAttrCase<"relu2", 5>,
  I32EnumAttrCase<"relu6", 6>,
  I32EnumAttrCase<"leaky_relu", 7>,
  I32EnumAttrCase<"sigmoid", 8>,
  I32EnumAttrCase<"tanh", 9>,
  I32EnumAttrCase<"mish", 10>,
  I32EnumAttrCase<"identity", 11>
]>;
def LLM_ActivationKindAttr
    : EnumAttr<LLM_Dialect, LLM_ActivationKind, "activation_kind">;

def LLM_RouterScoring : LLM_I32Enum<"RouterScoring", "scores of experts", [
  I32EnumAttrCase<"softmax", 0>,
  I32EnumAttrCase<"sigmoid", 1>
]>;
def LLM_RouterScoringAttr
    : EnumAttr<LLM_Dialect, LLM_RouterScoring, "router_scoring">;

def LLM_Packing : LLM_I32Enum<"Packing", "how elements lie in bytes", [
  I32EnumAttrCase<"none", 0>,
  I32EnumAttrCase<"pairs", 1>,
  I32EnumAttrCase<"panels", 2>,
  I32EnumAttrCase<"gated_panels", 3>
]>;

def LLM_Placement : LLM_I32Enum<"Placement", "what each shard holds", [
  I32EnumAttrCase<"split", 0>,
  I32EnumAttrCase<"replicated", 1>,
  I32EnumAttrCase<"partial", 2>
]>;

def LLM_Reduction : LLM_I32Enum<"Reduction", "what partial results become", [
  I32EnumAttrCase<"sum", 0>,
  I32EnumAttrCase<"max", 1>
]>;

def LLM_RopeScalingKind : LLM_I32Enum<"RopeScalingKind", "a RoPE scaling", [
  I32EnumAttrCase<"linear", 0>,
  I32EnumAttrCase<"llama3", 1>,
  I32EnumAttrCase<"dynamic", 2>,
  I32EnumAttrCase<"yarn", 3>,
  I32EnumAttrCase<"longrope", 4>
]>;

def LLM_RopeScalingAttr : AttrDef<LLM_Dialect, "RopeScaling"> {
  let mnemonic = "rope_scaling";
  let summary = "how the frequencies of RoPE are scaled for long contexts";
  let description = [{
    Changes the frequencies `f[i] = theta^(-2 i / R)` of R rotated dimensions, by
    the formulas and the defaults of Transformers' `modeling_rope_utils.py`. L is
    `original_max_position`, the context that the model was first trained on.

    * `linear` divides every frequency by `factor`.
    * `dynamic` replaces theta by `theta * (factor * n / L - (factor - 1))^(R /
      (R - 2))`, with n the larger of L and the table's number of positions.
    * `llama3` divides low frequencies by `factor`, keeps high ones and goes over
      linearly in between, by the number of waves in L positions: low is up to
      `low_freq_factor` waves, high is from `high_freq_factor` on.
    * `yarn` (arXiv:2309.00071) does the same, but linearly in i, between the
      frequencies with `beta_fast` (32) and `beta_slow` (1) waves in L positions.
      These two indices are rounded outwards, but with `truncate = false`.
    * `longrope` (arXiv:2402.13753) divides frequency i by `long_factor[i]` if
      the table has more than L positions, and by `short_factor[i]` if not.

    What depends on a sequence's length in Transformers depends on the table's
    here, so that an answer does not change with the way a prompt is cut up.

    With `yarn` and `longrope`, cosines and sines are multiplied by
    `attention_factor`. Unless given, that is, for a `factor` s above 1,

        yarn:     m(1)                          with m(x) = 0.1 x ln(s) + 1
        yarn:     m(mscale) / m(mscale_all_dim) where these two are given
        longrope: sqrt(1 + ln(s) / ln(L))

    and 1 for a factor of 1. A `longrope` uses `factor` for nothing else.

    ```mlir
    #llm.rope_scaling<linear, factor = 4.0>
    #llm.rope_scaling<dynamic, factor = 2.0, original_max_position = 4096>
    #llm.rope_scaling<llama3, factor = 8.0, low_freq_factor = 1.0,
                      high_freq_factor = 4.0, original_max_position = 8192>
    #llm.rope_scaling<yarn, factor = 4.0, original_max_position = 32768>
    #llm.rope_scaling<longrope, factor = 32.0, original_max_position = 4096,
                      short_factor = [1.0, 1.25],
                      long_factor = [1.5, 24.0]>
    ```
  }];
  let parameters = (ins
    EnumParameter<LLM_RopeScalingKind>:$kind,
    "::mlir::FloatAttr":$factor,
    OptionalParameter<"::mlir::FloatAttr">:$low_freq_factor,
    OptionalParameter<"::mlir::FloatAttr">:$high_freq_factor,
    OptionalParameter<"int64_t">:$original_max_position,
    OptionalParameter<"::mlir::FloatAttr">:$beta_fast,
    OptionalParameter<"::mlir::FloatAttr">:$beta_slow,
    DefaultValuedParameter<"bool", "true">:$truncate,
    OptionalParameter<"::mlir::FloatAttr">:$mscale,
    OptionalParameter<"::mlir::FloatAttr">:$mscale_all_dim,
    OptionalParameter<"::mlir::FloatAttr">:$attention_factor,
    OptionalParameter<"::mlir::DenseF64ArrayAttr">:$short_factor,
    OptionalParameter<"::mlir::DenseF64ArrayAttr">:$long_factor
  );
  let assemblyFormat = [{
    `<` $kind `,` struct($factor, $low_freq_factor, $high_freq_factor,
                         $original_max_position, $beta_fast, $beta_slow,
                         $truncate, $mscale, $mscale_all_dim, $attention_factor,
                         $short_factor, $long_factor) `>`
  }];
  let genVerifyDecl = 1;
}

def LLM_SliceAttr : AttrDef<LLM_Dialect, "Slice"> {
  let mnemonic = "slice";
  let summary = "the part of a weight that a shard holds";
  let description = [{
    Of dimension `dim` of a tensor, `size` elements: those from `offset` on, the
    same for every shard, or with a `stride` shard i's own ones, which begin at

        offset + floor(i / repeat) * stride

    so that, with a `repeat`, as many shards in a row hold the same part. A program
    of which each shard runs a copy names its weights so; `--llm-select-shard` puts
    the numbers of one shard.

    ```mlir
    #llm.slice<dim = 0, offset = 64, size = 32>
    #llm.slice<dim = 1, offset = 0, size = 96, stride = 96>
    #llm.slice<dim = 0, offset = 0, size = 64, stride = 64, repeat = 2>
    ```
  }];
  let parameters = (ins
    "int64_t":$dim, "int64_t":$offset, "int64_t":$size,
    DefaultValuedParameter<"int64_t", "0">:$stride,
    DefaultValuedParameter<"int64_t", "1">:$repeat
  );
  let assemblyFormat = [{
    `<` struct($dim, $offset, $size, $stride, $repeat) `>`
  }];
  let extraClassDeclaration = [{
    /// The slice of one shard, without a stride.
    SliceAttr ofShard(int64_t shard);
  }];
  let genVerifyDecl = 1;
}

#endif // LLMIR_DIALECT_LLM_LLMATTRIBUTES_TD
