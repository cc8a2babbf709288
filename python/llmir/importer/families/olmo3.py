# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""OLMo 3: OLMo 2 with a sliding window in three of four layers.

Source: `models/olmo3/modeling_olmo3.py` of Transformers. RoPE is scaled in the
layers without a window.
"""

from __future__ import annotations

from llmir.importer.config import Config
from llmir.importer.decoder import Decoder
from llmir.importer.families import olmo2
from llmir.importer.registry import Family
from llmir.importer.rope import FULL, SLIDING
from llmir.importer.skeleton import EMBEDDING, Skeleton, build, read_layer_types
from llmir.importer.weights import Weights


def describe(config: Config, weights: Weights) -> Decoder:
    """Read an OLMo 3 config."""
    types = read_layer_types(
        config,
        lambda number: (number + 1) % 4 != 0,
        window=config.get("sliding_window") is not None,
    )
    bias = config.boolean("attention_bias")
    return build(
        _with_ropes(config),
        weights,
        Skeleton(
            qkv_bias=bias,
            o_bias=bias,
            qk_norm="all",
            post_norm=True,
            layer_types=types,
        ),
    )


def _with_ropes(config: Config) -> Config:
    """Return the config with RoPE spelled by type of layer, as transformers 5 does."""
    ropes = config.section("rope_parameters")
    if any(name not in (FULL, SLIDING) for name in ropes.fields):
        raise config.error(
            f"rope_parameters must have {FULL} and {SLIDING} in this architecture"
        )
    full = {**ropes.section(FULL).fields, **config.section("rope_scaling").fields}
    fields = {"rope_parameters": {**ropes.fields, FULL: full}, "rope_scaling": None}
    return Config(config.path, {**config.fields, **fields})


FAMILY = Family(
    name="olmo3",
    architectures=("Olmo3ForCausalLM",),
    model_types=("olmo3",),
    embedding_key=EMBEDDING,
    defaults={
        **olmo2.FAMILY.defaults,
        "sliding_window": 4096,
        "rope_theta": 500000.0,
    },
    examples="OLMo 3",
    features="OLMo 2 with sliding window by layer; RoPE by type of layer",
    describe=describe,
)
