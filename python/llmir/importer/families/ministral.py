# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Ministral: Mistral with a sliding window in some layers.

Source: `models/ministral/modeling_ministral.py` of Transformers.
"""

from __future__ import annotations

from llmir.importer.config import Config
from llmir.importer.decoder import Decoder
from llmir.importer.families import mistral
from llmir.importer.registry import Family
from llmir.importer.skeleton import EMBEDDING, Skeleton, build, read_layer_types
from llmir.importer.weights import Weights


def describe(config: Config, weights: Weights) -> Decoder:
    """Read a Ministral config."""
    types = read_layer_types(
        config, lambda _: True, window=config.get("sliding_window") is not None
    )
    return build(config, weights, Skeleton(layer_types=types))


FAMILY = Family(
    name="ministral",
    architectures=("MinistralForCausalLM",),
    model_types=("ministral",),
    embedding_key=EMBEDDING,
    defaults=mistral.FAMILY.defaults,
    examples="Ministral 8B",
    features="sliding window by layer; tied embeddings; every RoPE",
    describe=describe,
)
