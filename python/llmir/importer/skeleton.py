# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The Llama skeleton: what Llama and the many models built like it have in common.

Embedding; layers of attention and of a gated feed-forward network, each with a norm
and a residual; a norm; logits. A family says with a `Skeleton` where it differs, and
its file is a few lines. The sizes, the activation and the rotary embedding are read
here, from the fields that all of them spell alike.

Which fields are refused: of those that the family's configuration class in
Transformers has, each that changes the result and is not read, by the family or
here; of others, those in `ELSEWHERE`. What neither knows, Transformers ignores as
well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from llmir.importer.builder import FunctionBuilder
from llmir.importer.config import Config
from llmir.importer.decoder import Decoder, LayerKind, LayerParameter
from llmir.importer.layers import Attention, gated_mlp, rms_normed, rounded
from llmir.importer.rope import FULL, SLIDING, read_ropes
from llmir.importer.types import Value
from llmir.importer.weights import Weights
from llmir.manifest import check_sizes

EMBEDDING = "model.embed_tokens.weight"
HEAD = "lm_head.weight"

# What fields are where they are absent, in `LlamaConfig` of Transformers. Families
# whose class has others say so.
DEFAULTS: dict[str, Any] = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "hidden_act": "silu",
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
}

# The activations of Transformers, by `ACT2FN` of its `activations.py`.
ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_accurate": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "relu": "relu",
    "relu2": "relu2",
    "relu6": "relu6",
    "leaky_relu": "leaky_relu",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "mish": "mish",
    "linear": "identity",
}

# Fields of other architectures that were built on this one, and of models with code
# of their own, each with the values that change nothing. A config may carry such a
# field under a supported architecture's name.
ELSEWHERE: dict[str, tuple[Any, ...]] = {
    "quantization_config": (),
    "compression_config": (),
    "per_layer_config": ({},),
    "is_encoder_decoder": (False,),
    "add_cross_attention": (False,),
    "num_experts": (0,),
    "num_local_experts": (0,),
    "n_routed_experts": (0,),
    "kv_lora_rank": (),
    "q_lora_rank": (),
    "v_head_dim": (),
    "embedding_multiplier": (1,),
    "residual_multiplier": (1,),
    "attention_multiplier": (),
    "logits_scaling": (1,),
    "logit_scale": (1,),
    "scale_emb": (1,),
    "scale_depth": (),
    "query_pre_attn_scalar": (),
    "attn_logit_softcapping": (),
    "final_logit_softcapping": (),
    "clip_qkv": (),
    "alibi": (False,),
    "use_alibi": (False,),
    "use_qk_norm": (False,),
    "qk_layernorm": (False,),
    "use_mrope": (False,),
    "attention_chunk_size": (),
    "attn_temperature_tuning": (False, 0),
    "rope_interleaved": (False,),
}


@dataclass(frozen=True)
class Skeleton:
    """Where a family differs from Llama without biases.

    qkv_bias, o_bias, mlp_bias: which products add a bias.
    qk_norm: whether queries and keys are normed: each head, or all heads together.
    post_norm: whether norms come behind attention and feed-forward network, before
        the residual is added, instead of before them.
    fused: whether `qkv_proj` and `gate_up_proj` hold several products in one.
    partial_rotary: whether `partial_rotary_factor` says how much of a head rotates.
    layer_types: the type of each layer, FULL or SLIDING; None is FULL for all.
    rotates: whether each layer rotates queries and keys; None is yes for all.
    """

    qkv_bias: bool = False
    o_bias: bool = False
    mlp_bias: bool = False
    qk_norm: Literal["heads", "all"] | None = None
    post_norm: bool = False
    fused: bool = False
    partial_rotary: bool = False
    layer_types: tuple[str, ...] | None = None
    rotates: tuple[bool, ...] | None = None


def num_layers(config: Config) -> int:
    """Return the number of layers."""
    count = config.integer("num_hidden_layers")
    # Before there is a list of them.
    check_sizes({"num_layers": count}, config.path)
    return count


def read_layer_types(
    config: Config, default: Callable[[int], bool], *, window: bool = True
) -> tuple[str, ...]:
    """Return the type of each layer, from `layer_types` if it is there.

    default: whether the layer of a number has a sliding window if `layer_types` does
        not say.
    window: whether windows are in use; if not, every layer must be FULL.
    """
    count, types = num_layers(config), config.get("layer_types")
    if types is None:
        return tuple(
            SLIDING if window and default(number) else FULL for number in range(count)
        )
    if not isinstance(types, list) or len(types) != count:
        raise config.error(f"layer_types is not a list of {count} types, one a layer")
    for layer_type in types:
        if layer_type not in (FULL, *((SLIDING,) if window else ())):
            raise config.error(
                f"layer_types has {layer_type}, which is not supported"
                + ("" if window else " where the config uses no sliding window")
            )
    return tuple(types)


def no_windows(config: Config) -> None:
    """Refuse sliding windows, in an architecture that has none."""
    if config.get("use_sliding_window") is not False:
        config.only("sliding_window")
    read_layer_types(config, lambda _: False, window=False)


def build(config: Config, weights: Weights, skeleton: Skeleton) -> Decoder:
    """Read the fields that all families share and return the model."""
    for name, harmless in ELSEWHERE.items():
        config.only(name, *harmless)
    activation = config.text("hidden_act")
    if activation not in ACTIVATIONS:
        raise config.error(
            f'hidden_act = "{activation}" is not supported; LLMIR knows '
            + ", ".join(ACTIVATIONS)
        )
    hidden = config.integer("hidden_size")
    heads = config.integer("num_attention_heads")
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
    layers = _layers(config, skeleton, head_dim)
    epsilon = config.number("rms_norm_eps")
    attention = Attention(
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=head_dim,
        scale=head_dim**-0.5,
        epsilon=epsilon,
        norm_heads=skeleton.qk_norm == "heads",
    )

    def layer(f: FunctionBuilder, window: int | None) -> tuple[Value, Value]:
        residual = f.argument("hidden")
        x = rms_normed(f, "x", residual, f.argument("input_norm"), epsilon)
        attended, cache = attention.write(f, x, window)
        mid = f.add("mid", residual, attended)
        y = rms_normed(f, "y", mid, f.argument("post_norm"), epsilon)
        return f.add("out", mid, gated_mlp(f, y, activation=kind)), cache

    def post_norm_layer(f: FunctionBuilder, window: int | None) -> tuple[Value, Value]:
        residual = f.argument("hidden")
        attended, cache = attention.write(f, rounded(f, "x", residual), window)
        norm = f.argument("attention_norm")
        mid = f.add("mid", residual, f.rms_norm("a", attended, norm, epsilon, "f32"))
        down = gated_mlp(f, rounded(f, "y", mid), activation=kind)
        norm = f.argument("mlp_norm")
        return f.add("out", mid, f.rms_norm("m", down, norm, epsilon, "f32")), cache

    kind = ACTIVATIONS[activation]
    max_positions = config.integer("max_position_embeddings")
    reaches = [kind.rope.reach for kind in layers if kind.rope is not None]
    # Transformers ties the output to the embedding unless the files have both,
    # and not the same.
    tied = config.boolean("tie_word_embeddings")
    return Decoder(
        vocab_size=config.integer("vocab_size"),
        hidden_size=hidden,
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=head_dim,
        max_positions=max_positions,
        reach=max(max_positions, *reaches) if reaches else max_positions,
        rms_norm_eps=epsilon,
        embedding_key=EMBEDDING,
        layer_prefix="model.layers.",
        layers=layers,
        layer_parameters=_parameters(
            skeleton,
            hidden,
            q=heads * head_dim,
            kv=kv_heads * head_dim,
            head_dim=head_dim,
            inner=config.integer("intermediate_size"),
        ),
        norm_key="model.norm.weight",
        head_key=EMBEDDING if tied and weights.same(EMBEDDING, HEAD) else HEAD,
        layer=post_norm_layer if skeleton.post_norm else layer,
    )


def _layers(config: Config, skeleton: Skeleton, head_dim: int) -> tuple[LayerKind, ...]:
    types = skeleton.layer_types or (FULL,) * num_layers(config)
    rotates = skeleton.rotates or (True,) * len(types)
    ropes = read_ropes(config, types, head_dim, partial=skeleton.partial_rotary)
    window = config.integer("sliding_window") if SLIDING in types else None
    return tuple(
        LayerKind(ropes[kind] if rotated else None, window if kind == SLIDING else None)
        for kind, rotated in zip(types, rotates, strict=True)
    )


def _parameters(
    skeleton: Skeleton, hidden: int, *, q: int, kv: int, head_dim: int, inner: int
) -> tuple[LayerParameter, ...]:
    """Return a layer's parameters, in the order in which they are used."""
    parameters: list[LayerParameter] = []

    def norm(name: str, key: str, size: int = hidden) -> None:
        parameters.append(LayerParameter(name, f"{key}.weight", (size,)))

    def product(name: str, part: str, shape: tuple[int, int], bias: bool) -> None:
        key = f"{part}.{name}_proj"
        parameters.append(LayerParameter(f"{name}_proj", f"{key}.weight", shape))
        if bias:
            parameters.append(LayerParameter(f"{name}_bias", f"{key}.bias", shape[:1]))

    if not skeleton.post_norm:
        norm("input_norm", "input_layernorm")
    widths = {"qkv": q + 2 * kv} if skeleton.fused else {"q": q, "k": kv, "v": kv}
    for name, width in widths.items():
        product(name, "self_attn", (width, hidden), skeleton.qkv_bias)
    if skeleton.qk_norm is not None:
        by_head = skeleton.qk_norm == "heads"
        norm("q_norm", "self_attn.q_norm", head_dim if by_head else q)
        norm("k_norm", "self_attn.k_norm", head_dim if by_head else kv)
    product("o", "self_attn", (hidden, q), skeleton.o_bias)
    if skeleton.post_norm:
        norm("attention_norm", "post_attention_layernorm")
    else:
        norm("post_norm", "post_attention_layernorm")
    widths = {"gate_up": 2 * inner} if skeleton.fused else {"gate": inner, "up": inner}
    for name, width in widths.items():
        product(name, "mlp", (width, hidden), skeleton.mlp_bias)
    product("down", "mlp", (hidden, inner), skeleton.mlp_bias)
    if skeleton.post_norm:
        norm("mlp_norm", "post_feedforward_layernorm")
    return tuple(parameters)
