# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""SmolLM3: Llama with layers that do not rotate (NoPE, arXiv:2501.18795).

Source: `models/smollm3/modeling_smollm3.py` of Transformers.
"""

from __future__ import annotations

from llmir.importer.config import Config
from llmir.importer.decoder import Decoder
from llmir.importer.registry import Family
from llmir.importer.skeleton import (
    DEFAULTS,
    EMBEDDING,
    Skeleton,
    build,
    num_layers,
    read_layer_types,
)
from llmir.importer.weights import Weights


def describe(config: Config, weights: Weights) -> Decoder:
    """Read a SmolLM3 config."""
    rotates = _rotates(config)
    bias = config.boolean("attention_bias")
    windowed = (
        config.boolean("use_sliding_window")
        and config.get("sliding_window") is not None
    )
    return build(
        config,
        weights,
        Skeleton(
            qkv_bias=bias,
            o_bias=bias,
            mlp_bias=config.boolean("mlp_bias"),
            layer_types=read_layer_types(
                config, lambda number: not rotates[number], window=windowed
            ),
            rotates=rotates,
        ),
    )


def _rotates(config: Config) -> tuple[bool, ...]:
    """Return whether each layer rotates: a 1 of `no_rope_layers` says that it does."""
    count, flags = num_layers(config), config.get("no_rope_layers")
    if flags is None:
        interval = config.integer("no_rope_layer_interval")
        return tuple((number + 1) % interval != 0 for number in range(count))
    if (
        not isinstance(flags, list)
        or len(flags) < count
        or any(flag not in (0, 1) for flag in flags)
    ):
        raise config.error(f"no_rope_layers is not a list of {count} numbers, 0 or 1")
    return tuple(flag == 1 for flag in flags[:count])


FAMILY = Family(
    name="smollm3",
    architectures=("SmolLM3ForCausalLM",),
    model_types=("smollm3",),
    embedding_key=EMBEDDING,
    defaults={
        **DEFAULTS,
        "vocab_size": 128256,
        "hidden_size": 2048,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "max_position_embeddings": 32768,
        "tie_word_embeddings": True,
        "rope_theta": 2000000.0,
        "no_rope_layer_interval": 4,
        "use_sliding_window": False,
        "attention_bias": False,
        "mlp_bias": False,
    },
    examples="SmolLM3",
    features="layers without RoPE; sliding window in these; attention and MLP biases; "
    "tied embeddings; every RoPE",
    describe=describe,
)
