# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What rotary embeddings mean: every scaling's table, and the rotation.

Tables are compared with Transformers' own functions, which are made to compute in
float64; what is left is the rounding of a table's numbers.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, modeling_rope_utils
from transformers.models.llama import modeling_llama
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from llmir import _native
from reference import Array, Program, assert_close, load, normal, one_op, shaped, store


class DoubleTorch:
    """The module `torch`, whose floats are doubles."""

    float = torch.float64
    float32 = torch.float64

    def __getattr__(self, name: str) -> Any:
        """Return what the module has."""
        return getattr(torch, name)


def angles(
    monkeypatch: pytest.MonkeyPatch,
    positions: int,
    head_dim: int,
    parameters: dict[str, Any],
    max_position: int,
) -> tuple[Array, float]:
    """Return Transformers' position times frequency, and the attention factor."""
    config = LlamaConfig(
        hidden_size=head_dim,
        num_attention_heads=1,
        max_position_embeddings=max_position,
        rope_parameters=dict(parameters),
    )
    kind = parameters["rope_type"]
    # What a call over all of these positions takes.
    function = (
        LlamaRotaryEmbedding.compute_default_rope_parameters
        if kind == "default"
        else modeling_rope_utils.ROPE_INIT_FUNCTIONS[kind]
    )
    with monkeypatch.context() as patch:
        for module in (modeling_rope_utils, modeling_llama):
            patch.setattr(module, "torch", DoubleTorch())
        patch.setattr(torch.Tensor, "float", torch.Tensor.double)
        frequencies, factor = function(config, seq_len=positions)
    assert frequencies.dtype == torch.float64
    exact = frequencies.numpy()
    return np.arange(positions)[:, None] * exact, float(factor)


def attribute(parameters: dict[str, Any], max_position: int) -> str:
    """Return a config's parameters as the dialect spells them."""
    kind = parameters["rope_type"]
    members = {
        key: value
        for key, value in parameters.items()
        if key not in ("rope_type", "rope_theta", "partial_rotary_factor")
    }
    if kind == "dynamic":
        members["original_max_position_embeddings"] = max_position
    shown = [f"{key} = {json.dumps(value)}" for key, value in members.items()]
    text = ", ".join(shown).replace("position_embeddings", "position")
    return f"#llm.rope_scaling<{kind}, {text}>"


def table_program(
    shape: tuple[int, int, int], theta: float, scaling: str = ""
) -> tuple[str, str]:
    """Return a program that yields a table, and the table's type."""
    type_ = shaped("x".join(map(str, shape)), "f32")
    attributes = f"theta = {theta} : f64"
    if scaling:
        attributes += f", scaling = {scaling}"
    return (
        f"func.func @main() -> {type_} {{\n"
        f"  %r = llm.rope_table {{{attributes}}} : {type_}\n"
        f"  return %r : {type_}\n"
        "}\n"
    ), type_


def constant(text: str) -> Array:
    """Return the table that goes into an artifact."""
    module = _native.compiler().Module.parse(text)
    module.run("llm-assign-parameters")
    (entry,) = module.weights()
    return np.frombuffer(entry["data"], np.float32)


LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 512,
}
YARN = {
    "rope_type": "yarn",
    "factor": 4.0,
    "original_max_position_embeddings": 512,
}
LONGROPE = {
    "rope_type": "longrope",
    "factor": 8.0,
    "original_max_position_embeddings": 512,
    "short_factor": [1.0 + 0.01 * i for i in range(12)],
    "long_factor": [1.5 + i**2 for i in range(12)],
}
# Parameters, with head_dim and numbers of positions apart from 24 and 1000.
SCALINGS = {
    "default": ({"rope_type": "default"}, 24, 4096),
    "one frequency": ({"rope_type": "default"}, 2, 10),
    "linear": ({"rope_type": "linear", "factor": 4.0}, 24, 4096),
    "linear, partial": (
        {"rope_type": "linear", "factor": 4.0, "partial_rotary_factor": 0.5},
        48,
        100,
    ),
    "llama3": (LLAMA3, 24, 4096),
    "dynamic, within the context": ({"rope_type": "dynamic", "factor": 2.0}, 24, 300),
    "dynamic, all of it": ({"rope_type": "dynamic", "factor": 2.0}, 24, 512),
    "dynamic, beyond": ({"rope_type": "dynamic", "factor": 2.5}, 24, 4096),
    "dynamic, partial": (
        {"rope_type": "dynamic", "factor": 2.0, "partial_rotary_factor": 0.25},
        96,
        1024,
    ),
    "yarn": (YARN, 24, 4096),
    "yarn, partial": ({**YARN, "partial_rotary_factor": 0.25}, 96, 4096),
    "yarn, betas": ({**YARN, "beta_fast": 16.0, "beta_slow": 2.5}, 24, 1000),
    "yarn, not truncated": ({**YARN, "truncate": False}, 24, 1000),
    "yarn, factor 1": ({**YARN, "factor": 1.0}, 24, 1000),
    "yarn, magnitudes": ({**YARN, "mscale": 0.707, "mscale_all_dim": 1.1}, 24, 1000),
    "yarn, attention factor": (
        {**YARN, "attention_factor": 1.25, "mscale": 1.0, "mscale_all_dim": 0.5},
        24,
        1000,
    ),
    # Where the ramp has no length, and where it ends before it begins.
    "yarn, short context": (
        {**YARN, "original_max_position_embeddings": 6},
        24,
        1000,
    ),
    "yarn, no context": ({**YARN, "original_max_position_embeddings": 2}, 24, 1000),
    "yarn, one frequency": (YARN, 2, 1000),
    "longrope, short": (LONGROPE, 24, 512),
    "longrope, long": (LONGROPE, 24, 513),
    "longrope, partial": ({**LONGROPE, "partial_rotary_factor": 0.5}, 48, 700),
    "longrope, factor 1": ({**LONGROPE, "factor": 1.0}, 24, 513),
    "longrope, attention factor": ({**LONGROPE, "attention_factor": 1.5}, 24, 513),
}
MAX_POSITION = 512


class TestRopeTable:
    @pytest.mark.capability("RoPE", "{name}")
    @pytest.mark.parametrize("name", SCALINGS)
    def test_transformers_in_float64(
        self, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        chosen, head_dim, positions = SCALINGS[name]
        parameters = {**chosen, "rope_theta": 500000.0}
        exact, factor = angles(
            monkeypatch, positions, head_dim, parameters, MAX_POSITION
        )
        scaling = ""
        if parameters["rope_type"] != "default":
            scaling = attribute(parameters, MAX_POSITION)
        shape = (positions, 2, exact.shape[1])
        text, _ = table_program(shape, parameters["rope_theta"], scaling)
        table = Program(text).run()
        # A position times some ulps of a frequency in f64, and one rounding.
        allowed = 2**-25 * (2 if factor > 1 else 1) * 1.01 + 1e-11
        assert np.abs(table[:, 0] - factor * np.cos(exact)).max() < allowed
        assert np.abs(table[:, 1] - factor * np.sin(exact)).max() < allowed
        # What is computed when compiling is the same, bit by bit.
        assert np.array_equal(table.reshape(-1), constant(text))

    def test_llama3_has_three_ranges(self, monkeypatch: pytest.MonkeyPatch) -> None:
        parameters = {**LLAMA3, "rope_theta": 500000.0}
        scaled, _ = angles(monkeypatch, 2, 24, parameters, MAX_POSITION)
        plain, _ = angles(
            monkeypatch, 2, 24, {"rope_type": "default", "rope_theta": 500000.0}, 512
        )
        ratio = np.unique((plain[1] / scaled[1]).round(6))
        assert ratio[0] == 1
        assert ratio[-1] == 8
        assert len(ratio) > 2

    def test_transformers_as_it_is(self) -> None:
        config = LlamaConfig(hidden_size=72, num_attention_heads=4)
        rotary = LlamaRotaryEmbedding(config)
        text, _ = table_program((300, 2, 9), config.rope_parameters["rope_theta"])
        table = Program(text).run()
        cos, sin = rotary(torch.zeros(1), torch.arange(300)[None])
        # Their angles are in f32: 300 has an ulp of 3e-5.
        assert np.abs(table[:, 0] - cos[0, :, :9].numpy()).max() < 5e-5
        assert np.abs(table[:, 1] - sin[0, :, :9].numpy()).max() < 5e-5

    @pytest.mark.parametrize("factor", [1.0, 1.25])
    @pytest.mark.parametrize("length", [None, 1, 300])
    def test_given_frequencies(self, factor: float, length: int | None) -> None:
        rows, operands = ("?", ", %n: index") if length else ("300", "")
        attributes = f"{{attention_factor = {factor} : f64}}" if factor != 1.0 else ""
        type_ = shaped(f"{rows}x2x5", "f32")
        program = Program(
            f"func.func @main(%f: tensor<5xf32>{operands}) -> {type_} {{\n"
            f"  %r = llm.rope_table frequencies %f {'length %n' if length else ''} "
            f"{attributes} : (tensor<5xf32>{', index' if length else ''}) -> {type_}\n"
            f"  return %r : {type_}\n}}\n"
        )
        frequencies = np.float32(10000.0) ** (-np.arange(5, dtype=np.float32) / 5)
        count = length or 300
        angle = np.arange(count)[:, None] * frequencies.astype(np.float64)
        expected = factor * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        actual = program.run(frequencies, *([length] if length else []))
        assert np.abs(actual - expected).max() < 2**-25 * 2 * 1.01

    def test_a_long_table_is_a_short_program(self) -> None:
        text, _ = table_program((131072, 2, 64), 500000.0)
        program = Program(text)
        assert len(program.linalg) < 4000
        # Far positions, where f32 would have lost the angle.
        angle = 131071 * 500000.0 ** (-1 / 64)
        assert abs(program.run()[131071, 1, 1] - np.sin(angle)) < 2**-24


class TestRope:
    @pytest.mark.capability("Operations", "llm.rope", "{x}", "{y}")
    @pytest.mark.parametrize(
        ("x", "y"), [("f32", "f32"), ("bf16", "f32"), ("f32", "bf16"), ("f16", "f16")]
    )
    # All dimensions of a head, or the first ones of an even or odd number.
    @pytest.mark.parametrize(
        ("heads", "dim", "half"),
        [(1, 2, 1), (3, 10, 5), (4, 16, 8), (2, 10, 2), (3, 7, 3), (1, 3, 1)],
    )
    def test_formula(self, x: str, y: str, heads: int, dim: int, half: int) -> None:
        self.check(x, y, heads, dim, half)

    @pytest.mark.parametrize(("x", "y"), [("f32", "f32"), ("bf16", "bf16")])
    @pytest.mark.parametrize(
        ("heads", "dim", "half"), [(4, 64, 32), (2, 80, 16), (2, 64, 8), (3, 32, 15)]
    )
    def test_vectors(self, x: str, y: str, heads: int, dim: int, half: int) -> None:
        self.check(x, y, heads, dim, half, vectors=True)

    @pytest.mark.parametrize(("x", "y"), [("f32", "f32"), ("bf16", "f32")])
    @pytest.mark.parametrize(
        ("heads", "dim", "half"), [(1, 2, 1), (3, 10, 5), (2, 10, 2), (3, 7, 3)]
    )
    def test_neighbours(self, x: str, y: str, heads: int, dim: int, half: int) -> None:
        self.check(x, y, heads, dim, half, interleaved=True)

    @staticmethod
    def check(
        x: str,
        y: str,
        heads: int,
        dim: int,
        half: int,
        *,
        vectors: bool = False,
        interleaved: bool = False,
    ) -> None:
        program = Program(
            one_op(
                "llm.rope %0, %1, %2",
                [
                    shaped(f"?x{heads}x{dim}", x),
                    f"tensor<?x2x{half}xf32>",
                    "tensor<?xi32>",
                ],
                shaped(f"?x{heads}x{dim}", y),
                "{interleaved}" if interleaved else "",
            ),
            vectors=vectors,
        )
        random = np.random.default_rng(dim)
        angle = random.uniform(0, 7, (50, half))
        table = store(np.stack([np.cos(angle), np.sin(angle)], axis=1), "f32")
        values = normal(random, (7, heads, dim), x)
        positions = random.integers(0, 50, 7, np.int32)
        # Rotation of complex numbers.
        exact = load(values, x)
        first, second = exact[..., :half], exact[..., half : 2 * half]
        if interleaved:
            first, second = exact[..., : 2 * half : 2], exact[..., 1 : 2 * half : 2]
        number = first + 1j * second
        rows = table[positions].astype(np.float64)
        turned = number * (rows[:, 0] + 1j * rows[:, 1])[:, None]
        rest = exact[..., 2 * half :]
        pairs = [turned.real, turned.imag]
        if interleaved:
            pairs = [np.stack(pairs, axis=-1).reshape(*number.shape[:2], 2 * half)]
        expected = np.concatenate([*pairs, rest], axis=-1)
        actual = program.run(values, table, positions)
        assert_close(actual, expected, y)
        assert np.array_equal(load(actual, y)[..., 2 * half :], load(store(rest, y), y))
