# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Mistral: Llama with a sliding window in every layer.

Source: `models/mistral/modeling_mistral.py` of Transformers.
"""

from __future__ import annotations

from llmir.importer.config import Config
from llmir.importer.decoder import Decoder
from llmir.importer.registry import Family
from llmir.importer.rope import FULL, SLIDING
from llmir.importer.skeleton import DEFAULTS, EMBEDDING, Skeleton, build, num_layers
from llmir.importer.weights import Weights


def describe(config: Config, weights: Weights) -> Decoder:
    """Read a Mistral config."""
    windowed = config.get("sliding_window") is not None
    types = [SLIDING if windowed else FULL] * num_layers(config)
    # This architecture knows no types of layers; Ministral does.
    config.only("layer_types", types)
    return build(config, weights, Skeleton(layer_types=tuple(types)))


FAMILY = Family(
    name="mistral",
    architectures=("MistralForCausalLM",),
    model_types=("mistral",),
    embedding_key=EMBEDDING,
    defaults={
        **DEFAULTS,
        "intermediate_size": 14336,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131072,
        "sliding_window": 4096,
    },
    examples="Mistral 7B, Mistral Nemo, Mistral Small 2409",
    features="sliding window; heads of any size; tied embeddings; every RoPE",
    describe=describe,
)
