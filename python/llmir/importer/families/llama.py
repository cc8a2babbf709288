# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Llama, and the models that were published as Llamas.

Source: `models/llama/modeling_llama.py` of Transformers. `pretraining_tp` cuts a
product into parts that are added again, and Transformers 5 ignores it.
"""

from __future__ import annotations

from llmir.importer.config import Config
from llmir.importer.decoder import Decoder
from llmir.importer.registry import Family
from llmir.importer.skeleton import DEFAULTS, EMBEDDING, Skeleton, build, no_windows
from llmir.importer.weights import Weights


def describe(config: Config, weights: Weights) -> Decoder:
    """Read a Llama config."""
    no_windows(config)
    bias = config.boolean("attention_bias")
    return build(
        config,
        weights,
        Skeleton(qkv_bias=bias, o_bias=bias, mlp_bias=config.boolean("mlp_bias")),
    )


FAMILY = Family(
    name="llama",
    architectures=("LlamaForCausalLM",),
    model_types=("llama",),
    embedding_key=EMBEDDING,
    defaults={**DEFAULTS, "attention_bias": False, "mlp_bias": False},
    examples="Llama 1 to 3.3, DeepSeek-R1-Distill-Llama, SmolLM, SmolLM2, TinyLlama, "
    "Yi",
    features="MHA, GQA, MQA; tied embeddings; attention and MLP biases; every RoPE",
    describe=describe,
)
