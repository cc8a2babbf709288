# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Small random Llamas, written as Transformers writes real ones.

Six shapes that between them have every variant the importer knows. Their weights
are larger than a fresh model's, so that attention is not uniform and the likeliest
token is likelier than the next by more than rounding.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

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
}

SHAPES: dict[str, dict[str, Any]] = {
    "gqa": {},
    "mha": {"num_key_value_heads": 4, "hidden_size": 96, "num_hidden_layers": 3},
    "mqa": {"num_key_value_heads": 1, "head_dim": 24},
    "tied": {"tie_word_embeddings": True, "num_key_value_heads": 2},
    "odd": {
        "hidden_size": 60,
        "num_attention_heads": 5,
        "num_key_value_heads": 5,
        "intermediate_size": 133,
        "vocab_size": 331,
        "rms_norm_eps": 1e-6,
    },
    "llama3": {
        "head_dim": 32,
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    },
}


def write_model(directory: Path, shape: str, dtype: torch.dtype) -> None:
    """Write a model of a shape, its weights rounded to `dtype`, and a tokenizer."""
    torch.manual_seed(list(SHAPES).index(shape))
    config = LlamaConfig(**{**COMMON, **SHAPES[shape]})
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("norm.weight"):
                parameter.uniform_(0.5, 1.5)
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
    directory: Path, dtype: torch.dtype = torch.float32
) -> LlamaForCausalLM:
    """Return the model as Transformers runs it, eagerly, in `dtype`."""
    model = LlamaForCausalLM.from_pretrained(
        directory, dtype=dtype, attn_implementation="eager"
    )
    return model.eval()


@torch.no_grad()
def transformers_logits(
    model: LlamaForCausalLM, ids: list[int]
) -> npt.NDArray[np.float32]:
    """Return the logits of all positions, float32 [n, vocabulary]."""
    logits = model(torch.tensor([ids]), use_cache=False).logits[0]
    return logits.float().numpy()


def transformers_greedy(
    model: LlamaForCausalLM, ids: list[int], count: int
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
