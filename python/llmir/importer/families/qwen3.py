# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Qwen 3: norms of queries and keys in place of Qwen 2's biases.

Source: `models/qwen3/modeling_qwen3.py` of Transformers.
"""

from __future__ import annotations

from llmir.importer.config import Config
from llmir.importer.decoder import Decoder
from llmir.importer.families import qwen2
from llmir.importer.registry import Family
from llmir.importer.skeleton import EMBEDDING, Skeleton, build
from llmir.importer.weights import Weights


def describe(config: Config, weights: Weights) -> Decoder:
    """Read a Qwen 3 config."""
    bias = config.boolean("attention_bias")
    return build(
        config,
        weights,
        Skeleton(
            qkv_bias=bias,
            o_bias=bias,
            qk_norm="heads",
            layer_types=qwen2.layer_types(config),
        ),
    )


FAMILY = Family(
    name="qwen3",
    architectures=("Qwen3ForCausalLM",),
    model_types=("qwen3",),
    embedding_key=EMBEDDING,
    defaults={**qwen2.FAMILY.defaults, "head_dim": 128, "attention_bias": False},
    examples="Qwen 3 (dense), DeepSeek-R1-0528-Qwen3",
    features="QK norm; attention biases; sliding window by layer; tied embeddings; "
    "every RoPE",
    describe=describe,
)
