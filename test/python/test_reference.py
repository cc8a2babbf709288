# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What every op of the dialect means, against NumPy in float64.

Everything else (kernels, fusions, the compiled step) is compared with these meanings,
so they are compared with formulas written down a second time, over random shapes.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from llmir import _native
from reference import Array, Program, assert_close, attention, load, normal, store

FLOATS = ("f32", "f16", "bf16")


def signature(operands: list[str], results: list[str]) -> str:
    """Return an op's functional type."""
    return f"({', '.join(operands)}) -> ({', '.join(results)})"


def one_op(op: str, types: list[str], result: str, attributes: str = "") -> str:
    """Return a program whose function `main` is one op on its arguments.

    op: the op with `%0`, `%1`, ... for its operands.
    """
    arguments = ", ".join(f"%{i}: {type_}" for i, type_ in enumerate(types))
    return (
        f"func.func @main({arguments}) -> {result} {{\n"
        f"  %r = {op} {attributes} : {signature(types, [result])}\n"
        f"  return %r : {result}\n"
        "}\n"
    )


def shaped(shape: str, dtype: str) -> str:
    """Return a tensor type."""
    return f"tensor<{shape}x{dtype}>"


class TestEmbedding:
    @pytest.mark.parametrize(
        ("table", "result"), [(a, b) for a in FLOATS for b in ("f32", "bf16")]
    )
    def test_rows(self, table: str, result: str) -> None:
        program = Program(
            one_op(
                "llm.embedding %0, %1",
                ["tensor<?xi32>", shaped("?x?", table)],
                shaped("?x?", result),
            )
        )
        for seed, (tokens, vocabulary, size) in enumerate([(7, 11, 5), (1, 1, 33)]):
            random = np.random.default_rng(seed)
            rows = normal(random, (vocabulary, size), table)
            ids = random.integers(0, vocabulary, tokens, np.int32)
            exact = load(rows, table)[ids]
            assert np.array_equal(program.run(ids, rows), store(exact, result))


def linear(x: Array, weight: Array, dtypes: tuple[str, str]) -> Array:
    """Return the exact product."""
    return load(x, dtypes[0]) @ load(weight, dtypes[1]).T


class TestLinear:
    # Input, weight, result; then bias and residual, which may be of any type.
    @pytest.mark.parametrize(
        ("x", "w", "y", "bias", "residual"),
        [
            ("f32", "f32", "f32", "", ""),
            ("bf16", "bf16", "f32", "", ""),
            ("bf16", "bf16", "bf16", "bf16", ""),
            ("f16", "f16", "f16", "", "f16"),
            ("f32", "bf16", "f32", "bf16", "f32"),
            ("bf16", "f32", "f16", "f32", "bf16"),
        ],
    )
    def test_formula(
        self,
        x: str,
        w: str,
        y: str,
        bias: str,
        residual: str,
    ) -> None:
        types = [shaped("?x?", x), shaped("?x?", w)]
        op = "llm.linear %0, %1"
        if bias:
            op += f" bias %{len(types)}"
            types.append(shaped("?", bias))
        if residual:
            op += f" residual %{len(types)}"
            types.append(shaped("?x?", residual))
        program = Program(one_op(op, types, shaped("?x?", y)))
        for seed, (t, k, n) in enumerate([(5, 37, 13), (1, 64, 32), (3, 1, 2)]):
            random = np.random.default_rng(seed)
            arguments = [normal(random, (t, k), x), normal(random, (n, k), w)]
            expected = linear(arguments[0], arguments[1], (x, w))
            if bias:
                arguments.append(normal(random, (n,), bias))
                expected += load(arguments[-1], bias)
            if residual:
                arguments.append(normal(random, (t, n), residual))
                expected += load(arguments[-1], residual)
            assert_close(program.run(*arguments), expected, y)

    @pytest.mark.parametrize("dtype", ["f32", "bf16"])
    @pytest.mark.parametrize(
        ("n", "k"), [(64, 192), (33, 31), (1, 1), (95, 33), (32, 32)]
    )
    def test_packed_is_unpacked(self, dtype: str, n: int, k: int) -> None:
        random = np.random.default_rng(n)
        weight, x = normal(random, (n, k), dtype), normal(random, (3, k), dtype)
        bias, residual = normal(random, (n,)), normal(random, (3, n))
        panels = pack(weight)
        operands = [
            shaped(f"?x{k}", dtype),
            shaped("x".join(map(str, panels.shape)), dtype),
            f"tensor<{n}xf32>",
            f"tensor<?x{n}xf32>",
        ]
        op = "llm.linear %0, %1 bias %2 residual %3"
        packed = Program(one_op(op, operands, f"tensor<?x{n}xf32>"))
        operands[1] = shaped(f"{n}x{k}", dtype)
        plain = Program(one_op(op, operands, f"tensor<?x{n}xf32>"))
        actual = packed.run(x, panels, bias, residual)
        expected = linear(x, weight, (dtype, dtype)) + bias + residual
        assert_close(actual, expected, "f32")
        assert np.array_equal(actual, plain.run(x, weight, bias, residual))

    @pytest.mark.parametrize("dtype", ["f32", "bf16"])
    def test_the_runtime_packs_what_the_op_reads(self, dtype: str) -> None:
        runtime = _native.runtime()
        for n, k in [(64, 192), (33, 31), (1, 1)]:
            weight = normal(np.random.default_rng(k), (n, k), dtype)
            expected = pack(weight)
            assert tuple(runtime.packed_shape(dtype, n, k)) == expected.shape
            panels = np.empty(expected.nbytes, np.uint8)
            source = weight.reshape(-1).view(np.uint8)
            runtime.pack_panels(source, dtype, n, k, panels, dtype)
            assert panels.tobytes() == expected.tobytes()


def pack(weight: Array) -> Array:
    """Return the panels of a weight, as `llm.linear` describes them."""
    n, k = weight.shape
    paired = weight.dtype == np.uint16
    depth = -(-k // 32) * 32 if paired else k
    padded = np.zeros((-(-n // 32) * 32, depth), weight.dtype)
    padded[:n, :k] = weight
    if not paired:
        return np.ascontiguousarray(padded.reshape(-1, 32, k).swapaxes(1, 2))
    pairs = padded.reshape(-1, 32, depth // 2, 2)
    return np.ascontiguousarray(pairs.swapaxes(1, 2))


class TestRMSNorm:
    @pytest.mark.parametrize(
        ("x", "w", "y"),
        [
            ("f32", "f32", "f32"),
            ("f32", "bf16", "bf16"),
            ("bf16", "bf16", "f32"),
            ("f16", "f32", "f16"),
        ],
    )
    @pytest.mark.parametrize("shape", [(5, 67), (1, 1), (2, 3, 40)])
    @pytest.mark.parametrize("size", ["static", "dynamic"])
    def test_formula(
        self,
        x: str,
        w: str,
        y: str,
        shape: tuple[int, ...],
        size: str,
    ) -> None:
        last = str(shape[-1]) if size == "static" else "?"
        sizes = "x".join(["?"] * (len(shape) - 1) + [last])
        program = Program(
            one_op(
                "llm.rms_norm %0, %1",
                [shaped(sizes, x), shaped(last, w)],
                shaped(sizes, y),
                "{epsilon = 1.0e-02 : f32}",
            )
        )
        random = np.random.default_rng(len(shape))
        # Small numbers, among which epsilon counts.
        values = store(0.1 * random.standard_normal(shape), x)
        weight = normal(random, shape[-1:], w)
        exact = load(values, x)
        mean = (exact**2).mean(axis=-1, keepdims=True)
        expected = exact * load(weight, w) / np.sqrt(mean + np.float32(1e-2))
        assert_close(program.run(values, weight), expected, y)


def angles(
    positions: int, half: int, theta: float, scaling: dict[str, float] | None
) -> Array:
    """Return position times frequency, [positions, half], as Llama 3.1 defines it."""
    frequency = 1.0 / theta ** (np.arange(half, dtype=np.float64) / half)
    if scaling is not None and scaling["rope_type"] == "linear":
        frequency = frequency / scaling["factor"]
    elif scaling is not None:
        wavelength = 2 * np.pi / frequency
        original = scaling["original_max_position_embeddings"]
        low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
        smooth = (original / wavelength - low) / (high - low)
        slow = frequency / scaling["factor"]
        between = (1 - smooth) * slow + smooth * frequency
        frequency = np.where(
            wavelength > original / low,
            slow,
            np.where(wavelength < original / high, frequency, between),
        )
    return np.arange(positions)[:, None] * frequency


LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 512,
}


class TestRopeTable:
    def table(self, shape: str, theta: float, scaling: str = "") -> Array:
        attributes = f"theta = {theta} : f64"
        if scaling:
            attributes += f", scaling = #llm.rope_scaling<{scaling}>"
        type_ = shaped(shape, "f32")
        program = Program(
            f"func.func @main() -> {type_} {{\n"
            f"  %r = llm.rope_table {{{attributes}}} : {type_}\n"
            f"  return %r : {type_}\n"
            "}\n"
        )
        return program.run()

    @pytest.mark.parametrize(
        ("scaling", "text"),
        [
            (None, ""),
            ({"rope_type": "linear", "factor": 4.0}, "linear, factor = 4.0"),
            (
                LLAMA3,
                "llama3, factor = 8.0, low_freq_factor = 1.0, high_freq_factor = 4.0, "
                "original_max_position = 512",
            ),
        ],
    )
    def test_float64(
        self,
        scaling: dict[str, float] | None,
        text: str,
    ) -> None:
        theta = 500000.0
        table = self.table("4096x2x12", theta, text)
        exact = angles(4096, 12, theta, scaling)
        # A position times half an ulp of a frequency in f64, and one rounding.
        assert np.abs(table[:, 0] - np.cos(exact)).max() < 2**-25 * 1.01
        assert np.abs(table[:, 1] - np.sin(exact)).max() < 2**-25 * 1.01
        if scaling is LLAMA3:
            config = LlamaConfig(
                hidden_size=48,
                num_attention_heads=2,
                rope_parameters={**LLAMA3, "rope_theta": theta},
            )
            theirs = LlamaRotaryEmbedding(config).inv_freq.double().numpy()
            assert np.allclose(exact[1], theirs, rtol=1e-6, atol=0)
            # All three ranges of wavelengths are there.
            plain = angles(2, 12, theta, None)[1]
            ratio = np.unique((plain / exact[1]).round(6))
            assert ratio[0] == 1
            assert ratio[-1] == 8
            assert len(ratio) > 2

    def test_transformers(self) -> None:
        config = LlamaConfig(hidden_size=72, num_attention_heads=4)
        rotary = LlamaRotaryEmbedding(config)
        theta = config.rope_parameters["rope_theta"]
        table = self.table("300x2x9", theta)
        cos, sin = rotary(torch.zeros(1), torch.arange(300)[None])
        # Their angles are in f32: 300 has an ulp of 3e-5.
        assert np.abs(table[:, 0] - cos[0, :, :9].numpy()).max() < 5e-5
        assert np.abs(table[:, 1] - sin[0, :, :9].numpy()).max() < 5e-5


class TestRope:
    @pytest.mark.parametrize(
        ("x", "y"), [("f32", "f32"), ("bf16", "f32"), ("f32", "bf16"), ("f16", "f16")]
    )
    @pytest.mark.parametrize(("heads", "dim"), [(1, 2), (3, 10), (4, 16)])
    def test_formula(self, x: str, y: str, heads: int, dim: int) -> None:
        half = dim // 2
        program = Program(
            one_op(
                "llm.rope %0, %1, %2",
                [
                    shaped(f"?x{heads}x{dim}", x),
                    f"tensor<?x2x{half}xf32>",
                    "tensor<?xi32>",
                ],
                shaped(f"?x{heads}x{dim}", y),
            )
        )
        random = np.random.default_rng(dim)
        angle = angles(50, half, 100.0, None)
        table = store(np.stack([np.cos(angle), np.sin(angle)], axis=1), "f32")
        values = normal(random, (7, heads, dim), x)
        positions = random.integers(0, 50, 7, np.int32)
        # Rotation of complex numbers.
        exact = load(values, x)
        number = exact[..., :half] + 1j * exact[..., half:]
        rows = table[positions].astype(np.float64)
        turned = number * (rows[:, 0] + 1j * rows[:, 1])[:, None]
        expected = np.concatenate([turned.real, turned.imag], axis=-1)
        assert_close(program.run(values, table, positions), expected, y)


def activation(kind: str, x: Array) -> Array:
    """Return the exact function of the dialect's table."""
    if kind == "silu":
        return x / (1 + np.exp(-x))
    if kind == "relu":
        return np.maximum(x, 0)
    if kind == "gelu":
        return x / 2 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
    return x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


class TestActivation:
    @pytest.mark.parametrize("kind", ["silu", "gelu", "gelu_tanh", "relu"])
    @pytest.mark.parametrize(
        ("x", "gate", "y"),
        [
            ("f32", "", "f32"),
            ("f32", "f32", "bf16"),
            ("bf16", "bf16", "f32"),
            ("f16", "", "f16"),
        ],
    )
    def test_formula(self, kind: str, x: str, gate: str, y: str) -> None:
        types = [shaped("?x?", x)] + ([shaped("?x?", gate)] if gate else [])
        operands = "%0, %1" if gate else "%0"
        program = Program(
            one_op(f"llm.activation {kind} {operands}", types, shaped("?x?", y))
        )
        random = np.random.default_rng(3)
        values = store(3 * random.standard_normal((9, 41)), x)
        arguments = [values]
        expected = activation(kind, load(values, x))
        if gate:
            arguments.append(normal(random, values.shape, gate))
            expected = expected * load(arguments[1], gate)
        assert_close(program.run(*arguments), expected, y)


HEADS = [(4, 4), (6, 2), (5, 1)]


class TestAttention:
    @pytest.mark.parametrize(("heads", "kv_heads"), HEADS)
    @pytest.mark.parametrize("causal", [False, True])
    @pytest.mark.parametrize(
        ("dtype", "result"), [("f32", "f32"), ("bf16", "bf16"), ("f16", "f32")]
    )
    def test_formula(
        self,
        heads: int,
        kv_heads: int,
        causal: bool,
        dtype: str,
        result: str,
    ) -> None:
        dim = 7
        query_type = shaped(f"?x?x{heads}x{dim}", dtype)
        context_type = shaped(f"?x?x{kv_heads}x{dim}", dtype)
        # The default scale, and another one.
        attributes = ["causal"] if causal else []
        attributes += ["scale = 0.7 : f32"] if heads == 6 else []
        program = Program(
            one_op(
                "llm.attention %0, %1, %2",
                [query_type, context_type, context_type],
                shaped(f"?x?x{heads}x{dim}", result),
                f"{{{', '.join(attributes)}}}",
            )
        )
        scale = 0.7 if heads == 6 else dim**-0.5
        for seed, (batch, t, s) in enumerate([(2, 3, 11), (1, 1, 1), (3, 5, 5)]):
            random = np.random.default_rng(seed)
            query = normal(random, (batch, t, heads, dim), dtype)
            keys, values = normal(random, (2, batch, s, kv_heads, dim), dtype)
            expected = np.stack(
                [
                    attention(*(load(x[b], dtype) for x in operands), scale, causal)
                    for operands in [(query, keys, values)]
                    for b in range(batch)
                ]
            )
            assert_close(program.run(query, keys, values), expected, result)

    def test_large_scores(self) -> None:
        type_ = "tensor<1x4x1x2xf32>"
        text = one_op(
            "llm.attention %0, %1, %2", [type_] * 3, type_, "{scale = 1.0e+03 : f32}"
        )
        random = np.random.default_rng(0)
        query, keys, values = normal(random, (3, 1, 4, 1, 2))
        exact = (x[0].astype(np.float64) for x in (query, keys, values))
        expected = attention(*exact, scale=1e3, causal=False)
        actual = Program(text).run(query, keys, values)
        assert_close(actual, expected[None], "f32", tolerance=1e-3)
