# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""OLMo 2: norms behind attention and MLP, and norms of all queries and keys together.

Source: `models/olmo2/modeling_olmo2.py` of Transformers.
"""

from __future__ import annotations

from llmir.importer.config import Config
from llmir.importer.decoder import Decoder
from llmir.importer.registry import Family
from llmir.importer.skeleton import DEFAULTS, EMBEDDING, Skeleton, build, no_windows
from llmir.importer.weights import Weights


def describe(config: Config, weights: Weights) -> Decoder:
    """Read an OLMo 2 config."""
    no_windows(config)
    bias = config.boolean("attention_bias")
    return build(
        config,
        weights,
        Skeleton(qkv_bias=bias, o_bias=bias, qk_norm="all", post_norm=True),
    )


FAMILY = Family(
    name="olmo2",
    architectures=("Olmo2ForCausalLM",),
    model_types=("olmo2",),
    embedding_key=EMBEDDING,
    defaults={
        **DEFAULTS,
        "vocab_size": 50304,
        "rms_norm_eps": 1e-5,
        "attention_bias": False,
    },
    examples="OLMo 2",
    features="norms behind the layers' parts; QK norm; attention biases; every RoPE",
    describe=describe,
)
