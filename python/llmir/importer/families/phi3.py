# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Phi 3 and its like: Llama with fused products, which rotates a part of a head.

Source: `models/phi3/modeling_phi3.py` of Transformers. Its config has
`original_max_position_embeddings` beside the parameters of RoPE, and calls longrope
by other names too.
"""

from __future__ import annotations

from llmir.importer.config import Config
from llmir.importer.decoder import Decoder
from llmir.importer.registry import Family
from llmir.importer.rope import FULL, SLIDING
from llmir.importer.skeleton import DEFAULTS, EMBEDDING, Skeleton, build, num_layers
from llmir.importer.weights import Weights


def describe(config: Config, weights: Weights) -> Decoder:
    """Read a Phi 3 config."""
    windowed = config.get("sliding_window") is not None
    types = [SLIDING if windowed else FULL] * num_layers(config)
    config.only("layer_types", types)
    return build(
        _with_longrope(config),
        weights,
        Skeleton(fused=True, partial_rotary=True, layer_types=tuple(types)),
    )


def _with_longrope(config: Config) -> Config:
    fields = dict(config.fields)
    for name in ("rope_scaling", "rope_parameters"):
        rope = config.section(name)
        kind = rope.text("rope_type", rope.text("type", "default"))
        if kind in ("su", "yarn"):
            fields[name] = {**rope.fields, "rope_type": "longrope"}
    return Config(config.path, fields)


FAMILY = Family(
    name="phi3",
    architectures=("Phi3ForCausalLM",),
    model_types=("phi3",),
    embedding_key=EMBEDDING,
    defaults={
        **DEFAULTS,
        "vocab_size": 32064,
        "hidden_size": 3072,
        "intermediate_size": 8192,
        "max_position_embeddings": 4096,
        "original_max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
    },
    examples="Phi 3, Phi 3.5 and Phi 4, mini and medium (text, dense)",
    features="fused products; partial and long RoPE; sliding window; tied embeddings",
    describe=describe,
)
