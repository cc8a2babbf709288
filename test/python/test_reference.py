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
from transformers.activations import ACT2FN

from llmir import _native
from reference import (
    Array,
    Program,
    assert_close,
    load,
    normal,
    one_op,
    shaped,
    store,
)

FLOATS = ("f32", "f16", "bf16")


class TestEmbedding:
    @pytest.mark.capability("Operations", "llm.embedding", "{table}", "{result}")
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

    @pytest.mark.capability(
        "Operations", "llm.embedding, packed", "{table}", "{result}"
    )
    @pytest.mark.parametrize(
        ("table", "result"), [(a, b) for a in FLOATS for b in ("f32", "bf16")]
    )
    @pytest.mark.parametrize(("vocabulary", "size"), [(64, 32), (33, 30), (95, 7)])
    def test_rows_out_of_panels(
        self, table: str, result: str, vocabulary: int, size: int
    ) -> None:
        random = np.random.default_rng(size)
        rows = normal(random, (vocabulary, size), table)
        panels = pack(rows)
        program = Program(
            one_op(
                "llm.embedding %0, %1",
                ["tensor<?xi32>", shaped("x".join(map(str, panels.shape)), table)],
                shaped(f"?x{size}", result),
            )
        )
        # Every row there is, and some of them twice.
        ids = np.append(random.permutation(vocabulary), [0, 0]).astype(np.int32)
        expected = store(load(rows, table)[ids], result)
        assert np.array_equal(program.run(ids, panels), expected)


def linear(x: Array, weight: Array, dtypes: tuple[str, str]) -> Array:
    """Return the exact product."""
    return load(x, dtypes[0]) @ load(weight, dtypes[1]).T


class TestLinear:
    # Input, weight, result; then bias and residual, which may be of any type.
    @pytest.mark.capability(
        "Operations", "llm.linear", "{x}", "{w}", "{y}", "{bias}", "{residual}"
    )
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

    @pytest.mark.capability("Operations", "llm.linear, packed", "{dtype}")
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

    @pytest.mark.parametrize("size", ["static", "dynamic"])
    @pytest.mark.parametrize(
        ("activation", "gated", "norm", "bias", "residual"),
        [
            ("silu", True, True, False, False),
            ("gelu_tanh", True, False, True, True),
            ("", True, True, True, False),
            ("relu2", False, True, True, True),
            ("gelu", False, False, False, False),
            ("", False, True, False, True),
        ],
    )
    def test_what_surrounds_it(
        self,
        activation: str,
        gated: bool,
        norm: bool,
        bias: bool,
        residual: bool,
        size: str,
    ) -> None:
        t, k, n = 4, 37, 21
        rows = n * (1 + gated)
        random = np.random.default_rng(5)
        arguments = [normal(random, (t, k)), normal(random, (rows, k))]
        sizes = [(t, k), (rows, k)]
        op = "llm.linear %0, %1"

        def operand(keyword: str, shape: tuple[int, ...]) -> Array:
            nonlocal op
            op += f" {keyword} %{len(arguments)}"
            sizes.append(shape)
            arguments.append(normal(random, shape))
            return arguments[-1].astype(np.float64)

        x, weight = (argument.astype(np.float64) for argument in arguments)
        attributes = ""
        if norm:
            attributes = "{epsilon = 2.0e-01 : f32}"
            mean = (x**2).mean(axis=-1, keepdims=True)
            x = x * operand("norm", (k,)) / np.sqrt(mean + np.float32(0.2))
        expected = x @ weight.T
        if bias:
            expected += operand("bias", (rows,))
        if activation:
            op += f" activation {activation}"
        if gated:
            op += " gated"
        function = ACTIVATIONS[activation or "identity"]
        expected = (
            function(expected[:, :n]) * expected[:, n:] if gated else function(expected)
        )
        if residual:
            expected += operand("residual", (t, n))
        types = [
            shaped("x".join("?" if size == "dynamic" else str(d) for d in shape), "f32")
            for shape in sizes
        ]
        columns = n if size == "static" else "?"
        program = Program(one_op(op, types, shaped(f"?x{columns}", "f32"), attributes))
        assert_close(program.run(*arguments), expected, "f32")

    @pytest.mark.parametrize("dtype", ["f32", "bf16"])
    @pytest.mark.parametrize(("n", "k"), [(64, 40), (33, 31), (1, 1)])
    def test_what_is_fused_is_what_it_was(self, dtype: str, n: int, k: int) -> None:
        random = np.random.default_rng(n)
        gate, up = normal(random, (2, n, k), dtype)
        arguments = [normal(random, (5, k)), normal(random, (k,), dtype)]
        x, norm = f"tensor<?x{k}xf32>", shaped(f"{k}", dtype)
        weight = shaped(f"{n}x{k}", dtype)
        apart = Program(
            f"func.func @main(%0: {x}, %1: {norm}, %2: {weight}, %3: {weight})"
            f" -> tensor<?x{n}xbf16> {{\n"
            f"%n = llm.rms_norm %0, %1 {{epsilon = 1.0e-05 : f32}} : ({x}, {norm})"
            f" -> tensor<?x{k}x{dtype}>\n"
            f"%g = llm.linear %n, %2 : (tensor<?x{k}x{dtype}>, {weight})"
            f" -> tensor<?x{n}xf32>\n"
            f"%u = llm.linear %n, %3 : (tensor<?x{k}x{dtype}>, {weight})"
            f" -> tensor<?x{n}xf32>\n"
            f"%r = llm.activation silu %g, %u : (tensor<?x{n}xf32>, tensor<?x{n}xf32>)"
            f" -> tensor<?x{n}xbf16>\n"
            f"return %r : tensor<?x{n}xbf16>\n}}\n"
        )
        expected = apart.run(*arguments, gate.copy(), up.copy())
        # One weight, of rows end to end, or of panels by turns.
        for whole in (
            np.concatenate([gate, up]),
            np.ascontiguousarray(np.stack([pack(gate), pack(up)], axis=1)),
        ):
            program = Program(
                one_op(
                    "llm.linear %0, %2 norm %1 activation silu gated",
                    [x, norm, shaped("x".join(map(str, whole.shape)), dtype)],
                    f"tensor<?x{n}xbf16>",
                    "{epsilon = 1.0e-05 : f32}",
                )
                .replace(f"({x}, {norm}, ", f"({x}, ")
                .replace(") -> (tensor", f", {norm}) -> (tensor")
            )
            assert np.array_equal(program.run(*arguments, whole), expected)

    @pytest.mark.parametrize("dtype", ["f32", "bf16"])
    def test_the_runtime_packs_what_the_op_reads(self, dtype: str) -> None:
        runtime = _native.runtime()
        for n, k in [(64, 192), (33, 31), (1, 1)]:
            weight = normal(np.random.default_rng(k), (n, k), dtype)
            expected = pack(weight)
            packing = runtime.WeightFormat(dtype)
            assert tuple(runtime.packed_shape(packing, n, k)) == expected.shape
            panels = np.empty(expected.nbytes, np.uint8)
            source = weight.reshape(-1).view(np.uint8)
            runtime.pack_panels(source, dtype, n, k, panels, packing)
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
    @pytest.mark.capability("Operations", "llm.rms_norm", "{x}", "{w}", "{y}")
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


class TestLayerNorm:
    @pytest.mark.parametrize(
        ("x", "w", "b", "y"),
        [
            ("f32", "f32", "f32", "f32"),
            ("f32", "bf16", "", "bf16"),
            ("bf16", "bf16", "bf16", "f32"),
            ("f16", "f32", "f16", "f16"),
        ],
    )
    @pytest.mark.parametrize("shape", [(5, 67), (2, 3, 40), (64,)])
    @pytest.mark.parametrize("size", ["static", "dynamic"])
    def test_formula(
        self, x: str, w: str, b: str, y: str, shape: tuple[int, ...], size: str
    ) -> None:
        last = str(shape[-1]) if size == "static" else "?"
        sizes = "x".join(["?"] * (len(shape) - 1) + [last])
        types = [shaped(sizes, x), shaped(last, w)] + [shaped(last, b)] * bool(b)
        op = "llm.layer_norm %0, %1" + " bias %2" * bool(b)
        program = Program(
            one_op(op, types, shaped(sizes, y), "{epsilon = 1.0e-02 : f32}")
        )
        random = np.random.default_rng(len(shape))
        # Small numbers, among which epsilon counts, beside a larger mean.
        values = store(0.1 * random.standard_normal(shape) + 1, x)
        arguments = [values, normal(random, shape[-1:], w)]
        exact = load(values, x)
        centered = exact - exact.mean(axis=-1, keepdims=True)
        variance = (centered**2).mean(axis=-1, keepdims=True)
        expected = centered / np.sqrt(variance + np.float32(1e-2))
        expected = expected * load(arguments[1], w)
        if b:
            arguments.append(normal(random, shape[-1:], b))
            expected = expected + load(arguments[2], b)
        assert_close(program.run(*arguments), expected, y)

    def test_torch_with_a_large_mean(self) -> None:
        program = Program(
            one_op(
                "llm.layer_norm %0, %1 bias %2",
                ["tensor<?x192xf32>", "tensor<192xf32>", "tensor<192xf32>"],
                "tensor<?x192xf32>",
                "{epsilon = 1.0e-05 : f32}",
            )
        )
        random = np.random.default_rng(0)
        x = normal(random, (4, 192)) + np.float32(100)
        weight, bias = normal(random, (2, 192))
        expected = torch.nn.functional.layer_norm(
            *(torch.from_numpy(x).double(), (192,)),
            torch.from_numpy(weight).double(),
            torch.from_numpy(bias).double(),
            float(np.float32(1e-5)),
        )
        # The mean is known to some 1e-5; a mean of squares less the mean's square
        # would be off by a hundred times that.
        actual = program.run(x, weight.copy(), bias.copy())
        assert_close(actual, expected.numpy(), "f32", 1e-4)


ACTIVATIONS = {
    "silu": lambda x: x / (1 + np.exp(-x)),
    "gelu": lambda x: x / 2 * (1 + np.vectorize(math.erf)(x / math.sqrt(2))),
    "gelu_tanh": lambda x: (
        x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    ),
    "quick_gelu": lambda x: x / (1 + np.exp(-1.702 * x)),
    "relu": lambda x: np.where(x > 0, x, 0),
    "relu2": lambda x: np.where(x > 0, x, 0) ** 2,
    "relu6": lambda x: np.clip(x, 0, 6),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "mish": lambda x: x * np.tanh(np.logaddexp(0, x)),
    "identity": lambda x: x,
}

# Transformers' names of the same functions.
NAMES = {
    "silu": ["silu", "swish"],
    "gelu": ["gelu", "gelu_python"],
    "gelu_tanh": [
        "gelu_new",
        "gelu_fast",
        "gelu_accurate",
        "gelu_pytorch_tanh",
        "gelu_python_tanh",
    ],
    "identity": ["linear"],
}


class TestActivation:
    @pytest.mark.capability(
        "Operations", "llm.activation {kind}", "{x}", "{gate}", "{y}"
    )
    @pytest.mark.parametrize("kind", ACTIVATIONS)
    @pytest.mark.parametrize(
        ("x", "gate", "y"),
        [
            ("f32", "", "f32"),
            ("f32", "f32", "bf16"),
            ("bf16", "bf16", "f32"),
            ("f16", "", "f16"),
        ],
    )
    @pytest.mark.parametrize("code", ["loops", "vectors"])
    def test_formula(self, kind: str, x: str, gate: str, y: str, code: str) -> None:
        # Generated code takes vectors of 16 from rows of 48.
        sizes = "?x48"
        types = [shaped(sizes, x)] + ([shaped(sizes, gate)] if gate else [])
        operands = "%0, %1" if gate else "%0"
        program = Program(
            one_op(f"llm.activation {kind} {operands}", types, shaped(sizes, y)),
            vectors=code == "vectors",
        )
        random = np.random.default_rng(3)
        exact = 3 * random.standard_normal((9, 48))
        exact[-1, :8] = [0, 6, -6, 20, -20, 90, -90, 1e-4]
        values = store(exact, x)
        arguments = [values]
        expected = ACTIVATIONS[kind](load(values, x))
        if gate:
            arguments.append(normal(random, values.shape, gate))
            expected = expected * load(arguments[1], gate)
        actual = program.run(*arguments)
        # Each row by its own largest number: the last one has larger ones.
        for row, wanted in zip(actual, expected, strict=True):
            assert_close(row, wanted, y)

    @pytest.mark.parametrize("kind", ACTIVATIONS)
    def test_transformers(self, kind: str) -> None:
        x = torch.linspace(-9, 9, 1001, dtype=torch.float64)
        for name in NAMES.get(kind, [kind]):
            theirs = ACT2FN[name](x).numpy()
            assert np.allclose(ACTIVATIONS[kind](x.numpy()), theirs, rtol=0, atol=1e-9)

    @pytest.mark.parametrize("kind", ACTIVATIONS)
    @pytest.mark.parametrize("code", ["loops", "vectors"])
    def test_large_numbers(self, kind: str, code: str) -> None:
        type_ = "tensor<1x4xf32>"
        program = Program(
            one_op(f"llm.activation {kind} %0", [type_], type_),
            vectors=code == "vectors",
        )
        x = np.array([[1e3, -1e3, 1e15, -1e15]])
        with np.errstate(over="ignore"):
            expected = ACTIVATIONS[kind](x)
        actual = program.run(store(x, "f32"))
        assert np.allclose(actual, expected, rtol=1e-6, atol=0)
