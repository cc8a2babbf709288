# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What every op of the dialect means, against NumPy in float64.

Everything else (kernels, fusions, the compiled step) is compared with these meanings,
so they are compared with formulas written down a second time, over random shapes.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

import llmir
import tiny
from conftest import MakeArtifact, MakeModel
from llmir import _native
from llmir.importer import import_model
from llmir.safetensors import open_checkpoint
from llmir.weights import write_weights
from reference import Array, Cache, Program, assert_close, load, store

Compile = Callable[..., Program]

FLOATS = ("f32", "f16", "bf16")


@pytest.fixture
def compile_reference(tmp_path: Path) -> Compile:
    """Return a function of a program's text to what runs it."""
    return functools.partial(Program, directory=tmp_path)


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


def normal(
    random: np.random.Generator, shape: tuple[int, ...], dtype: str = "f32"
) -> Array:
    """Return random numbers, as an array of `dtype`."""
    return store(random.standard_normal(shape), dtype)


class TestEmbedding:
    @pytest.mark.parametrize(
        ("table", "result"), [(a, b) for a in FLOATS for b in ("f32", "bf16")]
    )
    def test_rows(self, compile_reference: Compile, table: str, result: str) -> None:
        program = compile_reference(
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
        compile_reference: Compile,
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
        program = compile_reference(one_op(op, types, shaped("?x?", y)))
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
    def test_packed_is_unpacked(
        self, compile_reference: Compile, dtype: str, n: int, k: int
    ) -> None:
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
        packed = compile_reference(one_op(op, operands, f"tensor<?x{n}xf32>"))
        operands[1] = shaped(f"{n}x{k}", dtype)
        plain = compile_reference(one_op(op, operands, f"tensor<?x{n}xf32>"))
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
        compile_reference: Compile,
        x: str,
        w: str,
        y: str,
        shape: tuple[int, ...],
        size: str,
    ) -> None:
        last = str(shape[-1]) if size == "static" else "?"
        sizes = "x".join(["?"] * (len(shape) - 1) + [last])
        program = compile_reference(
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
    def table(
        self, compile_reference: Compile, shape: str, theta: float, scaling: str = ""
    ) -> Array:
        attributes = f"theta = {theta} : f64"
        if scaling:
            attributes += f", scaling = #llm.rope_scaling<{scaling}>"
        type_ = shaped(shape, "f32")
        program = compile_reference(
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
        compile_reference: Compile,
        scaling: dict[str, float] | None,
        text: str,
    ) -> None:
        theta = 500000.0
        table = self.table(compile_reference, "4096x2x12", theta, text)
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

    def test_transformers(self, compile_reference: Compile) -> None:
        config = LlamaConfig(hidden_size=72, num_attention_heads=4)
        rotary = LlamaRotaryEmbedding(config)
        theta = config.rope_parameters["rope_theta"]
        table = self.table(compile_reference, "300x2x9", theta)
        cos, sin = rotary(torch.zeros(1), torch.arange(300)[None])
        # Their angles are in f32: 300 has an ulp of 3e-5.
        assert np.abs(table[:, 0] - cos[0, :, :9].numpy()).max() < 5e-5
        assert np.abs(table[:, 1] - sin[0, :, :9].numpy()).max() < 5e-5


class TestRope:
    @pytest.mark.parametrize(
        ("x", "y"), [("f32", "f32"), ("bf16", "f32"), ("f32", "bf16"), ("f16", "f16")]
    )
    @pytest.mark.parametrize(("heads", "dim"), [(1, 2), (3, 10), (4, 16)])
    def test_formula(
        self, compile_reference: Compile, x: str, y: str, heads: int, dim: int
    ) -> None:
        half = dim // 2
        program = compile_reference(
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
    def test_formula(
        self, compile_reference: Compile, kind: str, x: str, gate: str, y: str
    ) -> None:
        types = [shaped("?x?", x)] + ([shaped("?x?", gate)] if gate else [])
        operands = "%0, %1" if gate else "%0"
        program = compile_reference(
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


def attention(
    query: Array, keys: Array, values: Array, scale: float, causal: bool
) -> Array:
    """Return attention of [t, heads, d] over [s, kv_heads, d], exactly."""
    group = query.shape[1] // keys.shape[1]
    keys, values = (np.repeat(x, group, axis=1) for x in (keys, values))
    scores = scale * np.einsum("thd,shd->hts", query, keys)
    if causal:
        t, s = scores.shape[1:]
        scores[:, ~np.tri(t, s, s - t, dtype=bool)] = -np.inf
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return np.einsum("hts,shd->thd", weights, values)


HEADS = [(4, 4), (6, 2), (5, 1)]


class TestAttention:
    @pytest.mark.parametrize(("heads", "kv_heads"), HEADS)
    @pytest.mark.parametrize("causal", [False, True])
    @pytest.mark.parametrize(
        ("dtype", "result"), [("f32", "f32"), ("bf16", "bf16"), ("f16", "f32")]
    )
    def test_formula(
        self,
        compile_reference: Compile,
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
        program = compile_reference(
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

    def test_large_scores(self, compile_reference: Compile) -> None:
        type_ = "tensor<1x4x1x2xf32>"
        text = one_op(
            "llm.attention %0, %1, %2", [type_] * 3, type_, "{scale = 1.0e+03 : f32}"
        )
        random = np.random.default_rng(0)
        query, keys, values = normal(random, (3, 1, 4, 1, 2))
        exact = (x[0].astype(np.float64) for x in (query, keys, values))
        expected = attention(*exact, scale=1e3, causal=False)
        actual = compile_reference(text).run(query, keys, values)
        assert_close(actual, expected[None], "f32", tolerance=1e-3)


LAYERS, DIM, BLOCK, MAX_LEN, SEQUENCES, BLOCKS = 3, 5, 4, 22, 5, 30
COLUMNS = 6
# A prompt whose lookups end within a block.
POSITIONS = 21

PAGED = """
!kv = !llm.paged_kv_cache<{cache}, 3, {kv_heads}, 5, 4, 22>
!new = tensor<?x?x{kv_heads}x5x{dtype}>
!rows = tensor<?x{kv_heads}x5x{dtype}>
!context = tensor<?x21x{kv_heads}x5x{dtype}>

func.func @append(%cache: !kv, %keys: !new, %values: !new, %ids: tensor<?xi32>,
                  %layer: index) -> (!kv, tensor<?x?xi32>) {{
  %new, %blocks = llm.append_kv %cache, %keys, %values, %ids layer %layer
    : (!kv, !new, !new, tensor<?xi32>, index) -> (!kv, tensor<?x?xi32>)
  return %new, %blocks : !kv, tensor<?x?xi32>
}}

func.func @append_slots(%cache: !kv, %keys: !rows, %values: !rows,
                        %slots: tensor<?xi32>, %layer: index) -> !kv {{
  %new = llm.append_kv %cache, %keys, %values slots %slots layer %layer
    : (!kv, !rows, !rows, tensor<?xi32>, index) -> !kv
  return %new : !kv
}}

func.func @lookup(%cache: !kv, %blocks: tensor<?x?xi32>, %lens: tensor<?xi32>,
                  %layer: index) -> (!context, !context) {{
  %keys, %values = llm.lookup_kv %cache, %blocks, %lens layer %layer
    : (!kv, tensor<?x?xi32>, tensor<?xi32>, index) -> (!context, !context)
  return %keys, %values : !context, !context
}}

func.func @attend(%query: tensor<?x?x{heads}x5x{dtype}>, %cache: !kv,
                  %blocks: tensor<?x?xi32>, %lens: tensor<?xi32>, %layer: index)
    -> tensor<?x?x{heads}x5x{result}> {{
  %r = llm.paged_attention %query, %cache, %blocks, %lens layer %layer
    : (tensor<?x?x{heads}x5x{dtype}>, !kv, tensor<?x?xi32>, tensor<?xi32>, index)
    -> tensor<?x?x{heads}x5x{result}>
  return %r : tensor<?x?x{heads}x5x{result}>
}}

func.func @attend_ragged(%query: tensor<?x{heads}x5x{dtype}>, %cache: !kv,
                         %blocks: tensor<?x?xi32>, %lens: tensor<?xi32>,
                         %rows: tensor<?xi32>, %layer: index)
    -> tensor<?x{heads}x5x{result}> {{
  %r = llm.paged_attention %query, %cache, %blocks, %lens rows %rows layer %layer
    : (tensor<?x{heads}x5x{dtype}>, !kv, tensor<?x?xi32>, tensor<?xi32>,
       tensor<?xi32>, index) -> tensor<?x{heads}x5x{result}>
  return %r : tensor<?x{heads}x5x{result}>
}}
"""


class Appended:
    """What a cache should hold, and the allocator that its ops describe."""

    def __init__(self, dtypes: tuple[str, str], kv_heads: int) -> None:
        self.dtypes = dtypes
        empty = np.empty((0, kv_heads, DIM))
        self.keys = [[empty] * SEQUENCES for _ in range(LAYERS)]
        self.values = [[empty] * SEQUENCES for _ in range(LAYERS)]
        self.table = np.full((SEQUENCES, COLUMNS), -1, np.int32)
        self.used = 0

    def append(self, layer: int, ids: Array, keys: Array, values: Array) -> None:
        """Append tokens [b, t, kv_heads, d] of the op's element type."""
        given, held = self.dtypes
        for pools, tokens in ((self.keys, keys), (self.values, values)):
            rounded = load(store(load(tokens, given), held), held)
            for b, sequence in enumerate(ids):
                pools[layer][sequence] = np.concatenate(
                    [pools[layer][sequence], rounded[b]]
                )
        for sequence in ids:
            for column in range(-(-self.length(layer, sequence) // BLOCK)):
                if self.table[sequence, column] < 0:
                    self.table[sequence, column] = self.used
                    self.used += 1

    def length(self, layer: int, sequence: int) -> int:
        """Return how many positions of a sequence a layer has."""
        return len(self.keys[layer][sequence])

    @property
    def lengths(self) -> Array:
        """How many positions each layer has of each sequence."""
        sequences = range(SEQUENCES)
        return np.array(
            [[self.length(i, s) for s in sequences] for i in range(LAYERS)], np.int32
        )


# Batches of seq_ids, and how many tokens each of them gets. They reach a block's
# end exactly, cross one and several, and fill a sequence.
STEPS = [
    ([2, 0], 3),
    ([0, 2, 4], 1),
    ([1], 9),
    ([4, 1, 0], 5),
    ([2], 1),
    ([3, 2], 6),
    ([1], 8),
]


class TestPagedCache:
    @pytest.mark.parametrize(
        ("heads", "kv_heads", "held", "given", "result"),
        [
            (2, 2, "f32", "f32", "f32"),
            (6, 2, "bf16", "f32", "bf16"),
            (3, 1, "f16", "bf16", "f32"),
        ],
    )
    def test_many_steps(
        self,
        compile_reference: Compile,
        heads: int,
        kv_heads: int,
        held: str,
        given: str,
        result: str,
    ) -> None:
        program = compile_reference(
            PAGED.format(
                cache=held, kv_heads=kv_heads, heads=heads, dtype=given, result=result
            )
        )
        cache = Cache.empty(
            held,
            LAYERS,
            kv_heads,
            DIM,
            BLOCK,
            MAX_LEN,
            blocks=BLOCKS,
            sequences=SEQUENCES,
        )
        expected = Appended((given, held), kv_heads)
        random = np.random.default_rng(kv_heads)
        for ids, tokens in STEPS:
            sequences = np.array(ids, np.int32)
            # Layers one after the other, as a model has them.
            for layer in range(LAYERS):
                new = (len(ids), tokens, kv_heads, DIM)
                keys, values = normal(random, (2, *new), given)
                *tensors, blocks = program.call(
                    "append", *cache.tensors, keys, values, sequences, layer
                )
                cache = Cache(*tensors)
                expected.append(layer, sequences, keys, values)
                assert np.array_equal(cache.table, expected.table)
                assert np.array_equal(cache.lengths, expected.lengths)
                assert cache.used == expected.used
                assert np.array_equal(blocks, expected.table[sequences])
                self.read_back(program, cache, expected, layer, sequences, blocks)
                self.attend(
                    program, cache, expected, layer, sequences, blocks, tokens, result
                )
        assert expected.used == 16
        assert expected.lengths.max() == MAX_LEN
        # Appends to a layer leave the others as they were.
        everything = np.arange(SEQUENCES, dtype=np.int32)
        for layer in range(LAYERS):
            self.read_back(program, cache, expected, layer, everything, cache.table)

    @staticmethod
    def read_back(
        program: Program,
        cache: Cache,
        expected: Appended,
        layer: int,
        sequences: Array,
        blocks: Array,
    ) -> None:
        """Check that a lookup gives what was appended, and 0 beyond."""
        given, _ = expected.dtypes
        lens = expected.lengths[layer, sequences]
        found = program.call("lookup", *cache.tensors, blocks, lens, layer)
        for actual, pools in zip(found, (expected.keys, expected.values), strict=True):
            for b, sequence in enumerate(sequences):
                full = np.zeros((MAX_LEN, *actual.shape[2:]))
                full[: lens[b]] = pools[layer][sequence]
                assert np.array_equal(actual[b], store(full[:POSITIONS], given)), (
                    layer,
                    sequence,
                )

    @staticmethod
    def attend(
        program: Program,
        cache: Cache,
        expected: Appended,
        layer: int,
        sequences: Array,
        blocks: Array,
        tokens: int,
        result: str,
    ) -> None:
        """Check attention of the last tokens, in one shape and end to end."""
        given, _ = expected.dtypes
        heads = int(
            re.findall(r"x(\d+)x5x", program.linalg.partition("@attend(")[2])[0]
        )
        random = np.random.default_rng(tokens)
        lens = expected.lengths[layer, sequences]
        query = normal(random, (len(sequences), tokens, heads, DIM), given)
        exact = np.stack(
            [
                attention(
                    load(query[b], given),
                    expected.keys[layer][sequence],
                    expected.values[layer][sequence],
                    DIM**-0.5,
                    causal=True,
                )
                for b, sequence in enumerate(sequences)
            ]
        )
        operands = (*cache.tensors, blocks, lens)
        actual = program.run(query, *operands, layer, name="attend")
        assert_close(actual, exact, result)
        starts = np.arange(0, query.shape[0] * tokens + 1, tokens, dtype=np.int32)
        flat = query.reshape(-1, heads, DIM)
        ragged = program.run(flat, *operands, starts, layer, name="attend_ragged")
        assert np.array_equal(ragged.reshape(actual.shape), actual)

    def test_ragged_rows_and_slots(self, compile_reference: Compile) -> None:
        """Sequences of unequal numbers of new tokens, in blocks chosen elsewhere."""
        heads, kv_heads = 4, 2
        program = compile_reference(
            PAGED.format(
                cache="f32", kv_heads=kv_heads, heads=heads, dtype="f32", result="f32"
            )
        )
        random = np.random.default_rng(5)
        cache = Cache.empty(
            "f32", LAYERS, kv_heads, DIM, BLOCK, MAX_LEN, blocks=9, sequences=0
        )
        # A table narrower than the longest sequence, with room that is not used.
        table = np.array([[7, 2, -1], [0, -1, -1], [5, 8, 1]], np.int32)
        lens, new = np.array([6, 1, 11], np.int32), [2, 1, 7]
        layer = 1
        held = normal(random, (2, 3, 11, kv_heads, DIM))
        for first in (True, False):
            places = [
                (b, p)
                for b in range(3)
                for p in range(lens[b])
                if first == (p < lens[b] - new[b])
            ]
            slots = [table[b, p // BLOCK] * BLOCK + p % BLOCK for b, p in places]
            keys, values = (
                np.ascontiguousarray([x[place] for place in places]) for x in held
            )
            before = cache
            cache = Cache(
                *program.call(
                    "append_slots",
                    *cache.tensors,
                    keys,
                    values,
                    np.array(slots, np.int32),
                    layer,
                )
            )
            for pool, old, rows in (
                (cache.keys, before.keys, keys),
                (cache.values, before.values, values),
            ):
                wanted = old.copy()
                flat = wanted[layer].reshape(-1, kv_heads, DIM)
                flat[slots] = rows
                assert np.array_equal(pool, wanted)
            assert cache.used == 0
        starts = np.cumsum([0, *new], dtype=np.int32)
        query = normal(random, (starts[-1], heads, DIM))
        actual = program.run(
            query, *cache.tensors, table, lens, starts, layer, name="attend_ragged"
        )
        for b in range(3):
            rows = slice(starts[b], starts[b + 1])
            keys, values = (x[b, : lens[b]].astype(np.float64) for x in held)
            exact = attention(
                query[rows].astype(np.float64), keys, values, DIM**-0.5, causal=True
            )
            assert_close(actual[rows], exact, "f32")

    def test_published_forms(self, compile_reference: Compile) -> None:
        program = compile_reference(
            """
            !kv_cache_t = !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>
            !tokens = tensor<2x1x16x64xf16>
            func.func @main(
                %query: !tokens, %kv_cache: !kv_cache_t, %keys: !tokens,
                %values: !tokens, %seq_ids: tensor<2xi32>, %seq_lens: tensor<2xi32>)
                -> (!tokens, tensor<2x1xi32>) {
              %new_kv, %block_indices = llm.append_kv %kv_cache, %keys, %values, %seq_ids {
                block_size = 16 : i32,
                max_seq_len = 4096 : i32
              } : (!kv_cache_t, tensor<2x1x16x64xf16>, tensor<2x1x16x64xf16>, tensor<2xi32>)
                  -> (!kv_cache_t, tensor<2x1xi32>)
              %output = llm.paged_attention %query, %new_kv, %block_indices, %seq_lens {
                num_heads = 16 : i32,
                head_dim = 64 : i32,
                scale = 0.125 : f32
              } : (tensor<2x1x16x64xf16>, !kv_cache_t, tensor<2x1xi32>, tensor<2xi32>)
                  -> tensor<2x1x16x64xf16>
              return %output, %block_indices : !tokens, tensor<2x1xi32>
            }
            """
        )
        random = np.random.default_rng(0)
        cache = Cache.empty("f16", 12, 16, 64, 16, 4096, blocks=2, sequences=8)
        query, keys, values = normal(random, (3, 2, 1, 16, 64), "f16")
        ids, lens = np.array([6, 3], np.int32), np.ones(2, np.int32)
        output, blocks = program.call(
            "main", query, *cache.tensors, keys, values, ids, lens
        )
        # One token sees itself.
        assert np.array_equal(output, values)
        assert blocks.tolist() == [[0], [1]]

    def test_through_calls_and_loops(self, compile_reference: Compile) -> None:
        program = compile_reference(
            """
            !kv = !llm.paged_kv_cache<f32, 3, 1, 2, 4, 8>
            !new = tensor<1x?x1x2xf32>
            func.func private @layer(%cache: !kv, %x: !new, %ids: tensor<1xi32>,
                                     %layer: index) -> (!new, !kv) {
              %new, %blocks = llm.append_kv %cache, %x, %x, %ids layer %layer
                : (!kv, !new, !new, tensor<1xi32>, index) -> (!kv, tensor<1x2xi32>)
              %zero = arith.constant 0 : index
              %one = arith.constant 1 : index
              %n = tensor.dim %x, %one : !new
              %length = arith.index_cast %n : index to i32
              %lens = tensor.from_elements %length : tensor<1xi32>
              %y = llm.paged_attention %x, %new, %blocks, %lens layer %layer
                : (!new, !kv, tensor<1x2xi32>, tensor<1xi32>, index) -> !new
              return %y, %new : !new, !kv
            }
            func.func @main(%cache: !kv, %x: !new, %ids: tensor<1xi32>, %n: index)
                -> (!new, !kv) {
              %zero = arith.constant 0 : index
              %one = arith.constant 1 : index
              %y, %new = scf.for %i = %zero to %n step %one
                  iter_args(%h = %x, %kv = %cache) -> (!new, !kv) {
                %runs = arith.cmpi ne, %i, %one : index
                %out:2 = scf.if %runs -> (!new, !kv) {
                  %r:2 = func.call @layer(%kv, %h, %ids, %i)
                    : (!kv, !new, tensor<1xi32>, index) -> (!new, !kv)
                  scf.yield %r#0, %r#1 : !new, !kv
                } else {
                  scf.yield %h, %kv : !new, !kv
                }
                scf.yield %out#0, %out#1 : !new, !kv
              }
              return %y, %new : !new, !kv
            }
            """
        )
        random = np.random.default_rng(1)
        cache = Cache.empty("f32", 3, 1, 2, 4, 8, blocks=2, sequences=1)
        x = normal(random, (1, 5, 1, 2))
        y, *tensors = program.call("main", *cache.tensors, x, np.zeros(1, np.int32), 3)
        assert Cache(*tensors).lengths.tolist() == [[5], [0], [5]]
        expected = x[0].astype(np.float64)
        for _ in range(2):
            expected = attention(
                expected, expected, expected, scale=2**-0.5, causal=True
            )
        assert_close(y, expected[None], "f32")

    def test_refuses_what_it_cannot_take_apart(self) -> None:
        module = _native.compiler().Module.parse(
            """
            !kv = !llm.paged_kv_cache<f32, 1, 1, 2, 4, 8>
            func.func @f(%a: !kv, %b: !kv, %c: i1) -> !kv {
              %r = arith.select %c, %a, %b : !kv
              return %r : !kv
            }
            """
        )
        with pytest.raises(RuntimeError, match=r"4:20: error: .* take apart"):
            module.run("convert-llm-to-linalg")


class StepReference:
    """A model's step by its reference meaning, with the engine's bookkeeping."""

    def __init__(self, directory: Path, scratch: Path) -> None:
        checkpoint = open_checkpoint(directory)
        assert checkpoint is not None
        text = import_model(directory, checkpoint, block_size=BLOCK)
        facts = json.loads(_native.compiler().Module.parse(text).cache)
        self.program = Program(text, scratch, passes="llm-assign-parameters")
        write_weights(
            scratch / "weights",
            self.program.weights,
            self.program.weights_bytes,
            b"",
            checkpoint,
            lambda _: None,
        )
        self.weights = np.fromfile(scratch / "weights", np.int8)
        self.dtype = facts.pop("dtype")
        self.columns = -(-facts["max_seq_len"] // facts["block_size"])
        self.cache = Cache.empty(self.dtype, **facts, blocks=40, sequences=0)
        self.free = list(np.random.default_rng(0).permutation(40))
        self.sequences: list[tuple[list[int], int]] = []

    def step(self, items: list[tuple[int, list[int], bool]]) -> Array:
        """Append (sequence, ids, all_logits) and return logits, as engines do."""
        ids, positions, slots, lens, starts, wanted = [], [], [], [], [0], []
        table = np.full((len(items), self.columns), -1, np.int32)
        for row, (sequence, new, every) in enumerate(items):
            while len(self.sequences) <= sequence:
                self.sequences.append(([], 0))
            blocks, length = self.sequences[sequence]
            for position in range(length, length + len(new)):
                if position // BLOCK == len(blocks):
                    blocks.append(int(self.free.pop()))
                slots.append(blocks[position // BLOCK] * BLOCK + position % BLOCK)
                positions.append(position)
            self.sequences[sequence] = (blocks, length + len(new))
            table[row, : len(blocks)] = blocks
            ids += new
            lens.append(length + len(new))
            starts.append(len(ids))
            wanted += range(starts[-2] if every else starts[-1] - 1, starts[-1])
        batch = [
            np.array(x, np.int32)
            for x in (ids, positions, slots, table, lens, starts, wanted)
        ]
        logits, *tensors = self.program.call(
            "step", *batch, *self.cache.tensors, self.weights
        )
        self.cache = Cache(*tensors)
        return logits


class TestStep:
    @pytest.mark.parametrize("shape", ["gqa", "odd", "mqa", "llama3"])
    def test_compiled_is_reference(
        self,
        make_model: MakeModel,
        make_artifact: MakeArtifact,
        tmp_path: Path,
        shape: str,
    ) -> None:
        reference = StepReference(make_model(shape, "float32"), tmp_path)
        engine = llmir.load(make_artifact(shape, "float32"), threads=2).engine
        handles = [engine.new_sequence() for _ in range(3)]
        ids = tiny.prompt(300, 60)
        # Prefill, chunks and single tokens mixed; the last step is all decode.
        for items in [
            [(0, ids[:7], True), (1, ids[7:30], False)],
            [(1, ids[30:35], True), (0, ids[35:36], True), (2, ids[36:40], True)],
            [(2, ids[40:41], False), (0, ids[41:42], False), (1, ids[42:43], False)],
        ]:
            expected = reference.step(items)
            actual = engine.step([(handles[i], *rest) for i, *rest in items])
            assert actual.shape == expected.shape
            assert tiny.relative_error(actual, expected) < 1e-5
            # It is no constant that they agree on.
            assert np.std(expected) > 0.1

    def test_only_parameters_stay(self, make_model: MakeModel) -> None:
        text = import_model(make_model("tied", "bfloat16"), None)
        module = _native.compiler().Module.parse(text)
        module.run("llm-to-linalg")
        ops = set(re.findall(r"\bllm\.\w+(?= )", str(module))) - {"llm.model"}
        assert ops == {"llm.parameter"}
        assert "!llm" not in str(module)
