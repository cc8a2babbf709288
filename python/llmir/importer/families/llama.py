# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Llama and the models that share its architecture.

Source: `models/llama/modeling_llama.py` of Transformers; the defaults of absent
fields are those of its `LlamaConfig`.
"""

from __future__ import annotations

from llmir.importer.builder import FunctionBuilder
from llmir.importer.config import Config
from llmir.importer.decoder import Decoder, LayerParameter
from llmir.importer.layers import gated_mlp, self_attention
from llmir.importer.registry import Family
from llmir.importer.rope import read_rope
from llmir.importer.types import Value
from llmir.importer.weights import Weights

EMBEDDING = "model.embed_tokens.weight"
HEAD = "lm_head.weight"


def describe(config: Config, weights: Weights) -> Decoder:
    """Read a Llama config."""
    config.only("hidden_act", "silu", "swish")
    for flag in ("attention_bias", "mlp_bias"):
        config.only(flag, False)
    config.only("pretraining_tp", 1)
    if config.get("use_sliding_window") is not False:
        config.only("sliding_window")
    config.only("quantization_config")

    hidden = config.integer("hidden_size", 4096)
    inner = config.integer("intermediate_size", 11008)
    heads = config.integer("num_attention_heads", 32)
    kv_heads = config.integer("num_key_value_heads", heads)
    if heads % kv_heads:
        raise config.error(
            f"num_attention_heads = {heads} is not a multiple of "
            f"num_key_value_heads = {kv_heads}"
        )
    if config.get("head_dim") is None and hidden % heads:
        raise config.error(
            f"hidden_size = {hidden} is not a multiple of "
            f"num_attention_heads = {heads}, and there is no head_dim"
        )
    head_dim = config.integer("head_dim", hidden // heads)
    if head_dim % 2:
        raise config.error(f"head_dim = {head_dim} is odd and cannot be rotated")
    epsilon = config.number("rms_norm_eps", 1e-6)

    def layer(f: FunctionBuilder, dtype: str) -> tuple[Value, Value]:
        residual = f.argument("hidden")
        x = f.rms_norm("x", residual, f.argument("input_norm"), epsilon, dtype)
        attention, cache = self_attention(
            f,
            x,
            num_heads=heads,
            num_kv_heads=kv_heads,
            scale=head_dim**-0.5,
            dtype=dtype,
        )
        mid = f.add("mid", residual, attention)
        y = f.rms_norm("y", mid, f.argument("post_norm"), epsilon, dtype)
        down = gated_mlp(f, y, activation="silu", dtype=dtype)
        return f.add("out", mid, down), cache

    # Transformers ties the output to the embedding unless the files have both,
    # and not the same.
    tied = config.boolean("tie_word_embeddings", False)
    return Decoder(
        architecture=FAMILY.name,
        vocab_size=config.integer("vocab_size", 32000),
        hidden_size=hidden,
        num_layers=config.integer("num_hidden_layers", 32),
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=head_dim,
        max_positions=config.integer("max_position_embeddings", 2048),
        rms_norm_eps=epsilon,
        rope=read_rope(config),
        embedding_key=EMBEDDING,
        layer_prefix="model.layers.",
        layer_parameters=(
            LayerParameter("input_norm", "input_layernorm.weight", (hidden,)),
            LayerParameter(
                "q_proj", "self_attn.q_proj.weight", (heads * head_dim, hidden)
            ),
            LayerParameter(
                "k_proj", "self_attn.k_proj.weight", (kv_heads * head_dim, hidden)
            ),
            LayerParameter(
                "v_proj", "self_attn.v_proj.weight", (kv_heads * head_dim, hidden)
            ),
            LayerParameter(
                "o_proj", "self_attn.o_proj.weight", (hidden, heads * head_dim)
            ),
            LayerParameter("post_norm", "post_attention_layernorm.weight", (hidden,)),
            LayerParameter("gate_proj", "mlp.gate_proj.weight", (inner, hidden)),
            LayerParameter("up_proj", "mlp.up_proj.weight", (inner, hidden)),
            LayerParameter("down_proj", "mlp.down_proj.weight", (hidden, inner)),
        ),
        norm_key="model.norm.weight",
        head_key=EMBEDDING if tied and weights.same(EMBEDDING, HEAD) else HEAD,
        layer=layer,
    )


FAMILY = Family(
    name="llama",
    architectures=("LlamaForCausalLM",),
    model_types=("llama",),
    embedding_key=EMBEDDING,
    examples="Llama 2 and 3, TinyLlama, SmolLM",
    features="MHA, GQA, MQA; tied embeddings; plain and llama3 RoPE",
    describe=describe,
)
