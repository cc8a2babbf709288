# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Small random models, written as Transformers writes real ones.

The shapes have between them every variant that the importer knows. Their weights
are larger than a fresh model's, so that attention is not uniform and the likeliest
token is likelier than the next by more than rounding; norms and biases are random
too, so that leaving one out shows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

COMMON: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "initializer_range": 0.15,
    "bos_token_id": None,
    "eos_token_id": 0,
    "pad_token_id": None,
}


@dataclass(frozen=True)
class Shape:
    """A small model.

    model_type: its family, as Transformers calls it.
    fields: what its config has besides COMMON, or instead.
    max_model_len: what it is compiled for, if not the default.
    length: of prompts whose logits are compared; by default over a block of the
        cache (16) and over every window, and not a multiple of anything.
    start: of how many tokens greedy texts are continued.
    """

    model_type: str = "llama"
    fields: dict[str, Any] = field(default_factory=dict)
    max_model_len: int | None = None
    length: int = 45
    start: int = 7


def rope(rope_type: str, **fields: Any) -> dict[str, Any]:
    """Return the field that scales RoPE, as transformers 5 spells it."""
    parameters = {"rope_type": rope_type, "rope_theta": 10000.0, **fields}
    return {"rope_parameters": parameters}


SHAPES: dict[str, Shape] = {
    "gqa": Shape(),
    "mha": Shape(
        fields={"num_key_value_heads": 4, "hidden_size": 96, "num_hidden_layers": 3}
    ),
    "mqa": Shape(fields={"num_key_value_heads": 1, "head_dim": 24}),
    "tied": Shape(fields={"tie_word_embeddings": True}),
    "odd": Shape(
        fields={
            "hidden_size": 60,
            "num_attention_heads": 5,
            "num_key_value_heads": 5,
            "intermediate_size": 133,
            "vocab_size": 331,
            "rms_norm_eps": 1e-6,
        }
    ),
    "llama3": Shape(
        fields={
            "head_dim": 32,
            **rope(
                "llama3",
                rope_theta=500000.0,
                factor=8.0,
                low_freq_factor=1.0,
                high_freq_factor=4.0,
                original_max_position_embeddings=64,
            ),
        }
    ),
    "linear": Shape(fields=rope("linear", factor=4.0)),
    # The frequencies are those of the longest sequence, as Transformers has them once
    # it has seen one, and for prompts beyond the original length.
    "dynamic": Shape(
        fields={"max_position_embeddings": 64, **rope("dynamic", factor=4.0)},
        max_model_len=128,
        length=77,
        start=65,
    ),
    "yarn": Shape(fields=rope("yarn", factor=4.0, original_max_position_embeddings=32)),
    "yarn_mscale": Shape(
        fields=rope(
            "yarn",
            factor=8.0,
            original_max_position_embeddings=2048,
            beta_fast=16.0,
            beta_slow=2.0,
            mscale=1.0,
            mscale_all_dim=0.5,
            truncate=False,
        )
    ),
    "yarn_factor": Shape(
        fields=rope(
            "yarn",
            factor=8.0,
            original_max_position_embeddings=32,
            attention_factor=1.25,
        )
    ),
    "longrope_long": Shape(
        fields=rope(
            "longrope",
            original_max_position_embeddings=32,
            short_factor=[1.0 + 0.1 * i for i in range(8)],
            long_factor=[1.0 + 1.5 * i for i in range(8)],
        ),
        start=33,
    ),
    "longrope_short": Shape(
        fields=rope(
            "longrope",
            original_max_position_embeddings=64,
            short_factor=[1.0 + 0.1 * i for i in range(8)],
            long_factor=[1.0 + 1.5 * i for i in range(8)],
        ),
        max_model_len=64,
    ),
    "biases": Shape(fields={"attention_bias": True, "mlp_bias": True}),
    "gelu": Shape(fields={"hidden_act": "gelu"}),
    "gelu_tanh": Shape(fields={"hidden_act": "gelu_pytorch_tanh"}),
    "relu2": Shape(fields={"hidden_act": "relu2"}),
    "quick_gelu": Shape(fields={"hidden_act": "quick_gelu"}),
    "mistral": Shape("mistral", {"sliding_window": 20, "head_dim": 24}),
    "ministral": Shape(
        "ministral",
        {
            "sliding_window": 17,
            "layer_types": ["sliding_attention", "full_attention"],
            # This class gives its attention no default.
            "head_dim": 16,
        },
    ),
    "qwen2": Shape(
        "qwen2", {"num_attention_heads": 7, "num_key_value_heads": 1, "hidden_size": 56}
    ),
    "qwen2_window": Shape(
        "qwen2",
        {
            "num_hidden_layers": 3,
            "use_sliding_window": True,
            "sliding_window": 9,
            "max_window_layers": 1,
            "tie_word_embeddings": True,
            **rope("yarn", factor=2.0, original_max_position_embeddings=128),
        },
    ),
    "qwen3": Shape("qwen3", {"head_dim": 32, "tie_word_embeddings": True}),
    "qwen3_bias": Shape(
        "qwen3",
        {
            "head_dim": 20,
            "attention_bias": True,
            "use_sliding_window": True,
            "sliding_window": 16,
            "layer_types": ["full_attention", "sliding_attention"],
        },
    ),
    "smollm3": Shape(
        "smollm3",
        {"num_hidden_layers": 4, "no_rope_layers": [1, 0, 1, 0], "mlp_bias": True},
    ),
    "smollm3_window": Shape(
        "smollm3",
        {
            "num_hidden_layers": 3,
            "no_rope_layer_interval": 2,
            "use_sliding_window": True,
            "sliding_window": 11,
            "attention_bias": True,
            "tie_word_embeddings": False,
        },
    ),
    "phi3": Shape(
        "phi3",
        {
            "original_max_position_embeddings": 32,
            **rope(
                "longrope",
                partial_rotary_factor=0.75,
                short_factor=[1.0 + 0.1 * i for i in range(6)],
                long_factor=[1.0 + 1.5 * i for i in range(6)],
            ),
        },
        start=33,
    ),
    "phi3_window": Shape("phi3", {"sliding_window": 25, "head_dim": 20}),
    "olmo2": Shape("olmo2", {"attention_bias": True, "head_dim": 24}),
    "olmo3": Shape(
        "olmo3",
        {
            "num_hidden_layers": 4,
            "sliding_window": 13,
            "rope_parameters": {
                "full_attention": {
                    "rope_type": "yarn",
                    "rope_theta": 5000.0,
                    "factor": 4.0,
                    "original_max_position_embeddings": 64,
                },
                "sliding_attention": {"rope_type": "default", "rope_theta": 5000.0},
            },
        },
    ),
}


def write_model(directory: Path, shape: str, dtype: torch.dtype) -> None:
    """Write a model of a shape, its weights rounded to `dtype`, and a tokenizer."""
    torch.manual_seed(list(SHAPES).index(shape))
    fields = {**COMMON, **SHAPES[shape].fields}
    config = AutoConfig.for_model(SHAPES[shape].model_type, **fields)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("norm.weight"):
                parameter.uniform_(0.5, 1.5)
            elif name.endswith("bias"):
                parameter.uniform_(-0.5, 0.5)
    model.to(dtype).save_pretrained(directory)
    byte_tokenizer(config.vocab_size).save(str(directory / "tokenizer.json"))


def byte_tokenizer(vocab_size: int) -> Tokenizer:
    """Return a byte-level tokenizer; its first token ends a text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<end>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the theory of the thing", "def self"], trainer)
    return tokenizer


def transformers_model(
    directory: Path,
    dtype: torch.dtype = torch.float32,
    *,
    longest: int | None = None,
) -> PreTrainedModel:
    """Return the model as Transformers runs it, eagerly, in `dtype`.

    longest: the length of a sequence that it has seen, which dynamic RoPE remembers
        until it sees one that is shorter than the model's own length.
    """
    model = AutoModelForCausalLM.from_pretrained(
        directory, dtype=dtype, attn_implementation="eager"
    )
    if longest is not None:
        model.model.rotary_emb(torch.zeros(1), torch.arange(longest)[None])
    return model.eval()


@torch.no_grad()
def transformers_logits(
    model: PreTrainedModel, ids: list[int]
) -> npt.NDArray[np.float32]:
    """Return the logits of all positions, float32 [n, vocabulary]."""
    logits = model(torch.tensor([ids]), use_cache=False).logits[0]
    return logits.float().numpy()


def transformers_greedy(
    model: PreTrainedModel, ids: list[int], count: int
) -> list[int]:
    """Return the `count` likeliest tokens, one after the other."""
    result: list[int] = []
    for _ in range(count):
        result.append(int(transformers_logits(model, ids + result)[-1].argmax()))
    return result


def relative_error(
    actual: npt.NDArray[np.float32], expected: npt.NDArray[np.float32]
) -> float:
    """Return the L2 norm of the difference over that of `expected`."""
    assert actual.shape == expected.shape
    assert np.isfinite(actual).all()
    difference = actual.astype(np.float64) - expected
    return float(np.linalg.norm(difference) / np.linalg.norm(expected))


def prompt(vocab_size: int, length: int, seed: int = 0) -> list[int]:
    """Return random token ids."""
    random = np.random.default_rng(seed)
    return [int(token_id) for token_id in random.integers(1, vocab_size, length)]
