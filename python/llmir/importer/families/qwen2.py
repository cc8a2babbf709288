# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Qwen 2 and 2.5: Llama with biases on queries, keys and values.

Source: `models/qwen2/modeling_qwen2.py` of Transformers.
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
    read_layer_types,
)
from llmir.importer.weights import Weights


def layer_types(config: Config) -> tuple[str, ...]:
    """Return the types of the layers: windows, if at all, in the upper ones."""
    windowed = (
        config.boolean("use_sliding_window")
        and config.get("sliding_window") is not None
    )
    first = config.integer("max_window_layers", least=0)
    return read_layer_types(config, lambda number: number >= first, window=windowed)


def describe(config: Config, weights: Weights) -> Decoder:
    """Read a Qwen 2 config."""
    return build(
        config, weights, Skeleton(qkv_bias=True, layer_types=layer_types(config))
    )


FAMILY = Family(
    name="qwen2",
    architectures=("Qwen2ForCausalLM",),
    model_types=("qwen2",),
    embedding_key=EMBEDDING,
    defaults={
        **DEFAULTS,
        "vocab_size": 151936,
        "intermediate_size": 22016,
        "num_key_value_heads": 32,
        "max_position_embeddings": 32768,
        "use_sliding_window": False,
        "sliding_window": 4096,
        "max_window_layers": 28,
    },
    examples="Qwen 2, Qwen 2.5, DeepSeek-R1-Distill-Qwen, QwQ",
    features="QKV biases; sliding window by layer; tied embeddings; every RoPE",
    describe=describe,
)
