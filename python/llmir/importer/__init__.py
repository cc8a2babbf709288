# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Imports a Hugging Face model directory as a program of the `llm` dialect.

The program is text. It names its weights and holds none, so an 8-billion-parameter
model is some 60 kB, nearly all of it names, that show one layer once.
"""

from __future__ import annotations

from pathlib import Path

from llmir.errors import LLMIRError
from llmir.importer.config import Config
from llmir.importer.decoder import Tokens, write_program
from llmir.importer.registry import find_family
from llmir.importer.weights import Weights
from llmir.manifest import MAX_BLOCK_SIZE, check_sizes
from llmir.safetensors import Checkpoint

__all__ = ["import_model"]


def import_model(
    directory: Path,
    checkpoint: Checkpoint | None,
    *,
    dtype: str = "auto",
    max_model_len: int | None = None,
    block_size: int = 16,
) -> str:
    """Return the program of the model in `directory`.

    checkpoint: the directory's weights, against which every tensor is checked;
        None for a directory with a config only.
    dtype: `auto` uses each weight in the dtype that the files have, or else the
        config. `float32`, `bfloat16` and `float16` are that of every weight; one that
        would have to be rounded is refused.
    max_model_len: the most tokens of one sequence; `max_position_embeddings` of the
        config unless given. More than these only a model takes whose RoPE is scaled.
    block_size: the positions in one block of the KV cache.

    Raises LLMIRError if the config or the weights do not fit each other or what
    is supported.
    """
    config = Config.read(directory / "config.json")
    family = find_family(config)
    config = config.with_defaults(family.defaults)
    weights = Weights(config, checkpoint, dtype, family.embedding_key)
    model = family.describe(config, weights)
    check_sizes(
        {
            "vocab_size": model.vocab_size,
            "hidden_size": model.hidden_size,
            "num_layers": model.num_layers,
            "num_heads": model.num_heads,
            "num_kv_heads": model.num_kv_heads,
            "head_dim": model.head_dim,
        },
        config.path,
    )
    if max_model_len is not None and max_model_len < 1:
        raise LLMIRError(f"--max-model-len must be positive, not {max_model_len}")
    if max_model_len is not None and max_model_len > model.reach:
        raise LLMIRError(
            f"--max-model-len={max_model_len} is more than the {model.reach} positions "
            f"that {config.path} allows"
        )
    length = max_model_len or model.max_positions
    check_sizes(
        {"max_model_len": length},
        "--max-model-len" if max_model_len else config.path,
    )
    if not 0 < block_size <= MAX_BLOCK_SIZE or block_size & (block_size - 1):
        raise LLMIRError(
            f"--block-size must be a power of two, at most {MAX_BLOCK_SIZE}, and not "
            f"{block_size}"
        )
    return write_program(
        model,
        weights,
        _tokens(directory, config, model.vocab_size),
        name=family.name,
        max_model_len=length,
        block_size=block_size,
        comment=f"{family.architectures[0]} in {weights.dtype.name}.",
    )


def _tokens(directory: Path, config: Config, vocab_size: int) -> Tokens:
    generation = config
    if (directory / "generation_config.json").exists():
        generation = Config.read(directory / "generation_config.json")
    eos = generation.token_ids("eos_token_id") or config.token_ids("eos_token_id")
    bos = generation.token_ids("bos_token_id") or config.token_ids("bos_token_id")
    # One that is not in the vocabulary is never generated, and ends nothing.
    eos = [token_id for token_id in eos if token_id < vocab_size]
    return Tokens(bos[0] if bos else None, eos)
