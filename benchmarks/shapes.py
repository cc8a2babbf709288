# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Models of real shapes with seeded random weights, and what a step of them costs.

Speed does not depend on what the weights are, so nothing needs to be downloaded, and
every engine reads the same file. The bytes and operations counted here are those that
no engine can avoid; limits are shares of them.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Shape:
    """A model's sizes, as its config.json has them."""

    name: str
    model_type: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    rope_theta: float
    rms_norm_eps: float
    attention_bias: bool

    @property
    def layer_parameters(self) -> int:
        """Weights of the products of all layers."""
        attention = self.hidden_size * self.head_dim * (2 * self.heads)
        attention += self.hidden_size * self.head_dim * (2 * self.kv_heads)
        return self.layers * (attention + 3 * self.hidden_size * self.intermediate_size)

    @property
    def head_parameters(self) -> int:
        """Weights of the last product, which is the embedding again."""
        return self.vocab_size * self.hidden_size

    def step_bytes(self, weight_bits: float, context: float, sequences: int) -> float:
        """Return the bytes of a step of one token each: weights, keys and values.

        context: how many tokens a sequence attends to, on average. Keys and values
            count as 16 bits each.
        """
        weights = (self.layer_parameters + self.head_parameters) * weight_bits / 8
        token = self.layers * self.kv_heads * self.head_dim * 2 * 2
        return weights + token * context * sequences

    def operations(self, tokens: int, logits: int, context: float) -> float:
        """Return the multiplications and additions of a step.

        context: how many tokens each of the new ones attends to, on average.
        """
        attention = 4 * self.layers * self.heads * self.head_dim * context * tokens
        return (
            2 * self.layer_parameters * tokens
            + 2 * self.head_parameters * logits
            + attention
        )


SHAPES = {
    shape.name: shape
    for shape in (
        Shape(
            name="smollm2-135m",
            model_type="llama",
            vocab_size=49152,
            hidden_size=576,
            intermediate_size=1536,
            layers=30,
            heads=9,
            kv_heads=3,
            head_dim=64,
            rope_theta=100000.0,
            rms_norm_eps=1e-5,
            attention_bias=False,
        ),
        Shape(
            name="qwen2.5-0.5b",
            model_type="qwen2",
            vocab_size=151936,
            hidden_size=896,
            intermediate_size=4864,
            layers=24,
            heads=14,
            kv_heads=2,
            head_dim=64,
            rope_theta=1000000.0,
            rms_norm_eps=1e-6,
            attention_bias=True,
        ),
        Shape(
            name="llama-3.2-1b",
            model_type="llama",
            vocab_size=128256,
            hidden_size=2048,
            intermediate_size=8192,
            layers=16,
            heads=32,
            kv_heads=8,
            head_dim=64,
            rope_theta=500000.0,
            rms_norm_eps=1e-5,
            attention_bias=False,
        ),
    )
}
# What the models say of themselves; the rows need 2,176.
MAX_POSITIONS = 8192


def model_directory(shape: Shape, cache: Path) -> Path:
    """Return the directory of the shape's model, made if it is not there yet."""
    directory = cache / shape.name / "model"
    if not directory.exists():
        partial = cache / shape.name / f"model.partial.{os.getpid()}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _write_config(shape, partial)
        _write_tokenizer(shape, partial)
        _write_weights(shape, partial / "model.safetensors")
        partial.rename(directory)
    return directory


def _write_config(shape: Shape, directory: Path) -> None:
    architecture = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM"}
    config: dict[str, Any] = {
        "architectures": [architecture[shape.model_type]],
        "model_type": shape.model_type,
        "vocab_size": shape.vocab_size,
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "max_position_embeddings": MAX_POSITIONS,
        "rope_theta": shape.rope_theta,
        "rms_norm_eps": shape.rms_norm_eps,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "bos_token_id": 0,
        "eos_token_id": 1,
    }
    if shape.model_type == "llama":
        config |= {"attention_bias": False, "mlp_bias": False}
        config |= {"head_dim": shape.head_dim}
    _write_json(directory / "config.json", config)
    _write_json(
        directory / "generation_config.json", {"bos_token_id": 0, "eos_token_id": 1}
    )


def _write_tokenizer(shape: Shape, directory: Path) -> None:
    # Nobody encodes text here, but some converters do not work without it.
    vocabulary = {f"t{index}": index for index in range(shape.vocab_size)}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "t0"},
    }
    _write_json(directory / "tokenizer.json", tokenizer)
    names = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "t0"}
    names |= {"bos_token": "t0", "eos_token": "t1"}
    _write_json(directory / "tokenizer_config.json", names)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value) + "\n", encoding="utf-8")


def tensors(shape: Shape) -> Iterator[tuple[str, tuple[int, ...], float]]:
    """Yield name, sizes and standard deviation of each weight; of a norm's, 0."""
    hidden, inner = shape.hidden_size, shape.intermediate_size
    yield "model.embed_tokens.weight", (shape.vocab_size, hidden), 0.02
    for layer in range(shape.layers):
        prefix = f"model.layers.{layer}"
        yield f"{prefix}.input_layernorm.weight", (hidden,), 0
        for name, heads in (
            ("q", shape.heads),
            ("k", shape.kv_heads),
            ("v", shape.kv_heads),
        ):
            size = heads * shape.head_dim
            yield f"{prefix}.self_attn.{name}_proj.weight", (size, hidden), 0.02
            if shape.attention_bias:
                yield f"{prefix}.self_attn.{name}_proj.bias", (size,), 0.02
        attended = shape.heads * shape.head_dim
        yield f"{prefix}.self_attn.o_proj.weight", (hidden, attended), 0.02
        yield f"{prefix}.post_attention_layernorm.weight", (hidden,), 0
        yield f"{prefix}.mlp.gate_proj.weight", (inner, hidden), 0.02
        yield f"{prefix}.mlp.up_proj.weight", (inner, hidden), 0.02
        yield f"{prefix}.mlp.down_proj.weight", (hidden, inner), 0.02
    yield "model.norm.weight", (hidden,), 0


def _write_weights(shape: Shape, path: Path) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, sizes, _ in tensors(shape):
        size = 2 * math.prod(sizes)
        header[name] = {
            "dtype": "BF16",
            "shape": sizes,
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    random = np.random.default_rng(0)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, sizes, deviation in tensors(shape):
            for begin in range(0, math.prod(sizes), 1 << 24):
                count = min(1 << 24, math.prod(sizes) - begin)
                values = random.standard_normal(count, dtype=np.float32)
                file.write(to_bf16(values * deviation if deviation else 1 + 0 * values))


def to_bf16(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """Round finite float32 to bfloat16, to the nearest and ties to even."""
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
