# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What quantized tensors and their ops mean, against NumPy.

Quantizing is defined to the bit, so its formula is written down a second time in
float32; what is made of quantized numbers is compared with float64.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from llmir import _native
from reference import Array, Program, assert_close, load, normal, one_op, shaped, store


@dataclass(frozen=True)
class Quantized:
    """A type of quantized tensors, and what its values consist of.

    group_size: 0 for one group for a whole line.
    """

    storage: str
    scales: str = "f32"
    axis: int = 1
    group_size: int = 0
    asymmetric: bool = False
    pairs: bool = False
    packing: str = ""

    def type(self, *shape: int | str) -> str:
        """Return the type as it is written."""
        text = f"{'x'.join(map(str, shape))}x{self.storage}, scales = {self.scales}"
        text += f", axis = {self.axis}"
        if self.group_size:
            text += f", group_size = {self.group_size}"
        if self.asymmetric:
            text += ", asymmetric"
        if self.pairs:
            text += ", packing = pairs"
        if self.packing:
            text += f", packing = {self.packing}"
        return f"!llm.quantized_tensor<{text}>"

    @property
    def limits(self) -> tuple[int, int]:
        """The least and the largest integer."""
        width = int(self.storage[-1])
        low = 0 if self.storage.startswith("u") else -(2 ** (width - 1))
        return low, low + 2**width - 1

    def pack(self, integers: Array) -> Array:
        """Return the bytes of elements."""
        if not self.pairs:
            return np.ascontiguousarray(integers.astype(np.int8))
        moved = np.moveaxis(integers.astype(np.int64), self.axis, -1)
        packed = moved[..., ::2] & 15 | (moved[..., 1::2] & 15) << 4
        return np.ascontiguousarray(
            np.moveaxis(packed.astype(np.uint8).view(np.int8), -1, self.axis)
        )

    def spread(self, groups: Array, size: int) -> Array:
        """Repeat the number of each group for its elements."""
        return np.repeat(groups, size // groups.shape[self.axis], axis=self.axis)

    def quantize(self, x: Array) -> tuple[Array, Array, Array]:
        """Return integers, scales as stored, and zero points, by the formula."""
        size = x.shape[self.axis]
        width = self.group_size or size
        shape = list(x.shape)
        shape[self.axis : self.axis + 1] = [size // width, width]
        grouped = x.astype(np.float32).reshape(shape)
        low, high = self.limits
        inside = self.axis + 1
        if not self.asymmetric:
            largest = np.abs(grouped).max(axis=inside)
            scales = store(largest / np.float32(high), self.scales)
            low, zeros = -high, np.zeros(scales.shape, np.float32)
        else:
            least = np.minimum(grouped.min(axis=inside), np.float32(0))
            most = np.maximum(grouped.max(axis=inside), np.float32(0))
            scales = store((most - least) / np.float32(high - low), self.scales)
            exact = np.float32(low) - divide(least, widened(scales, self.scales))
            zeros = np.rint(np.clip(exact, low, high))
        each = self.spread(widened(scales, self.scales), size)
        steps = np.rint(divide(x.astype(np.float32), each))
        integers = np.clip(steps + self.spread(zeros, size), low, high)
        assert integers.dtype == np.float32
        return integers.astype(np.int64), scales, zeros.astype(np.int64)

    def tensors(self, x: Array) -> list[Array]:
        """Return the tensors that a quantized value consists of."""
        integers, scales, zeros = self.quantize(x)
        parts = [self.pack(integers), scales]
        return [*parts, zeros.astype(np.int8)] if self.asymmetric else parts

    def exact(self, x: Array) -> Array:
        """Return the numbers that the quantized `x` stands for."""
        integers, scales, zeros = self.quantize(x)
        size = x.shape[self.axis]
        distance = integers - self.spread(zeros, size)
        return distance * self.spread(load(scales, self.scales), size)


def widened(array: Array, dtype: str) -> Array:
    """Return the numbers of an array in float32, exactly."""
    return load(array, dtype).astype(np.float32)


def divide(x: Array, scale: Array) -> Array:
    """Divide in float32, where 0 divides everything into 0."""
    return np.where(scale == 0, np.float32(0), x / np.where(scale == 0, 1, scale))


INT8 = Quantized("i8")
FORMATS = [
    INT8,
    Quantized("i8", "bf16"),
    Quantized("i8", "f16", group_size=16),
    Quantized("i8", asymmetric=True),
    Quantized("ui8", "f16", group_size=32, asymmetric=True),
    Quantized("i4", "bf16", group_size=32, pairs=True),
    Quantized("i4", "f16", group_size=16),
    Quantized("i4", "f32", asymmetric=True, pairs=True),
    Quantized("ui4", "f16", group_size=32, asymmetric=True, pairs=True),
    Quantized("ui4", "bf16", group_size=16, asymmetric=True),
    # Along other dimensions.
    Quantized("i8", "f32", axis=0, group_size=2),
    Quantized("ui4", "f32", axis=0, asymmetric=True, pairs=True),
]


def numbers(shape: tuple[int, ...], seed: int = 0, dtype: str = "f32") -> Array:
    """Return numbers of many sizes, some lines of which are all 0, or of one sign."""
    random = np.random.default_rng(seed)
    x = random.standard_normal(shape) * 10.0 ** random.integers(-3, 3, shape)
    x[..., 0, :] = 0
    x[..., 1, :] = np.abs(x[..., 1, :])
    return store(x, dtype)


class TestQuantize:
    @pytest.mark.parametrize("format_", FORMATS, ids=lambda f: f.type("T", "K"))
    @pytest.mark.parametrize("dtype", ["f32", "bf16"])
    def test_to_the_bit(self, format_: Quantized, dtype: str) -> None:
        rows = 6 if format_.axis == 0 else "?"
        type_ = format_.type(rows, 64)
        program = Program(
            one_op("llm.quantize %0", [shaped(f"{rows}x64", dtype)], type_)
        )
        for seed in range(3):
            x = numbers((6, 64), seed, dtype)
            expected = format_.tensors(load(x, dtype).astype(np.float32))
            actual = program.call("main", x)
            assert len(actual) == len(expected)
            for found, wanted in zip(actual, expected, strict=True):
                assert found.dtype == wanted.dtype
                assert np.array_equal(found, wanted)

    def test_ties_go_to_even(self) -> None:
        program = Program(
            one_op("llm.quantize %0", ["tensor<1x8xf32>"], INT8.type(1, 8))
        )
        x = np.array([[127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, -127]], np.float32)
        elements, scales = program.call("main", x)
        assert scales == 1
        assert elements.tolist() == [[127, 0, 2, 2, 0, -2, -2, -127]]

    def test_any_rank(self) -> None:
        format_ = Quantized("i4", "f16", axis=1, group_size=4, pairs=True)
        program = Program(
            one_op("llm.quantize %0", ["tensor<?x8x3xf32>"], format_.type("?", 8, 3))
        )
        x = numbers((2, 8, 3))
        for found, wanted in zip(
            program.call("main", x), format_.tensors(x), strict=True
        ):
            assert np.array_equal(found, wanted)

    def test_rows_of_any_length(self) -> None:
        program = Program(
            one_op("llm.quantize %0", ["tensor<?x?xf32>"], INT8.type("?", "?"))
        )
        x = numbers((4, 7))
        for found, wanted in zip(program.call("main", x), INT8.tensors(x), strict=True):
            assert np.array_equal(found, wanted)

    @pytest.mark.parametrize("asymmetric", [False, True])
    def test_a_nan_is_its_groups_own(self, asymmetric: bool) -> None:
        format_ = Quantized("i8", group_size=4, asymmetric=asymmetric)
        type_ = format_.type(1, 8)
        program = Program(
            "func.func @main(%x: tensor<1x8xf32>) -> tensor<1x8xf32> {\n"
            f"  %q = llm.quantize %x : (tensor<1x8xf32>) -> {type_}\n"
            f"  %r = llm.dequantize %q : ({type_}) -> tensor<1x8xf32>\n"
            "  return %r : tensor<1x8xf32>\n}\n"
        )
        x = np.array([[1, np.nan, 2, 3, 4, 5, 6, 127]], np.float32)
        back = program.run(x)
        assert np.isnan(back[0, :4]).all()
        assert np.isfinite(back[0, 4:]).all()


class TestLookup:
    """Rows of a quantized table are what it stands for."""

    @pytest.mark.parametrize(
        "format_",
        [f for f in FORMATS if f.axis == 1],
        ids=lambda f: f.type("N", "K"),
    )
    @pytest.mark.parametrize("dtype", ["f32", "bf16"])
    def test_rows(self, format_: Quantized, dtype: str) -> None:
        program = Program(
            one_op(
                "llm.embedding %0, %1",
                ["tensor<?xi32>", format_.type(9, 64)],
                shaped("?x64", dtype),
            )
        )
        table = numbers((9, 64))
        ids = np.array([8, 0, 3, 3], np.int32)
        actual = program.run(ids, *format_.tensors(table))
        assert_close(actual, format_.exact(table)[ids], dtype, 1e-7)

    @pytest.mark.parametrize("n", [64, 74])
    def test_rows_out_of_panels(self, n: int) -> None:
        for format_ in PANELS:
            if format_.packing != "panels":
                continue
            program = Program(
                one_op(
                    "llm.embedding %0, %1",
                    ["tensor<?xi32>", format_.type(n, 128)],
                    shaped("?x128", "f32"),
                )
            )
            table = numbers((n, 128))
            ids = np.arange(n, dtype=np.int32)[::-1].copy()
            actual = program.run(ids, panels_of(format_, table))
            assert_close(actual, format_.exact(table)[ids], "f32", 1e-7)


class TestDequantize:
    @pytest.mark.parametrize("format_", FORMATS, ids=lambda f: f.type("T", "K"))
    @pytest.mark.parametrize("dtype", ["f32", "bf16"])
    def test_formula(self, format_: Quantized, dtype: str) -> None:
        rows = 6 if format_.axis == 0 else "?"
        program = Program(
            one_op(
                "llm.dequantize %0",
                [format_.type(rows, 64)],
                shaped(f"{rows}x64", dtype),
            )
        )
        x = numbers((6, 64))
        assert_close(program.run(*format_.tensors(x)), format_.exact(x), dtype, 1e-7)

    @pytest.mark.parametrize(
        ("storage", "pairs"),
        [(s, False) for s in ("i8", "i4", "ui8", "ui4")]
        + [("i4", True), ("ui4", True)],
    )
    def test_every_integer(self, storage: str, pairs: bool) -> None:
        format_ = Quantized(storage, pairs=pairs, asymmetric=True)
        low, high = format_.limits
        integers = np.arange(low, high + 1)[None]
        program = Program(
            one_op(
                "llm.dequantize %0",
                [format_.type(1, integers.size)],
                shaped(f"1x{integers.size}", "f32"),
            )
        )
        for zero in (low, high, 3):
            scales = np.full((1, 1), 0.5, np.float32)
            zeros = np.array([[zero]]).astype(np.int8)
            actual = program.run(format_.pack(integers), scales, zeros)
            assert np.array_equal(actual, (integers - zero) * 0.5)

    @pytest.mark.parametrize("format_", FORMATS, ids=lambda f: f.type("T", "K"))
    def test_the_way_back_is_within_half_a_step(self, format_: Quantized) -> None:
        x = np.random.default_rng(0).standard_normal((6, 64)).astype(np.float32)
        type_ = format_.type(6, 64)
        program = Program(
            "func.func @main(%x: tensor<6x64xf32>) -> tensor<6x64xf32> {\n"
            f"  %q = llm.quantize %x : (tensor<6x64xf32>) -> {type_}\n"
            f"  %r = llm.dequantize %q : ({type_}) -> tensor<6x64xf32>\n"
            "  return %r : tensor<6x64xf32>\n}\n"
        )
        scales = load(format_.quantize(x)[1], format_.scales)
        steps = format_.spread(scales, x.shape[format_.axis])
        # A scale that is rounded down cuts off the largest numbers, by at most
        # the number of steps times what it was rounded by.
        cut = {"f32": 1e-4, "f16": 0.07, "bf16": 0.51}[format_.scales]
        # Rounding a zero point moves all numbers, by half a step at most.
        moved = 0.5 if format_.asymmetric else 0.0
        error = np.abs(program.run(x) - x) / steps
        assert error.max() <= 0.5 + cut + moved
        assert error.max() > 0.4


WEIGHTS = [format_ for format_ in FORMATS if format_.axis == 1]


class TestQuantizedMatmul:
    @pytest.mark.parametrize("weight", WEIGHTS, ids=lambda f: f.type("N", "K"))
    @pytest.mark.parametrize(
        ("x", "y", "bias", "residual"),
        [
            ("f32", "f32", "", ""),
            ("bf16", "f32", "f32", "f32"),
            ("f16", "bf16", "bf16", ""),
            ("bf16", "f16", "", "f16"),
        ],
    )
    def test_weights_alone(
        self, weight: Quantized, x: str, y: str, bias: str, residual: str
    ) -> None:
        types = [shaped("?x64", x), weight.type(13, 64)]
        op = "llm.quantized_matmul %0, %1"
        if bias:
            op += f" bias %{len(types)}"
            types.append(shaped("13", bias))
        if residual:
            op += f" residual %{len(types)}"
            types.append(shaped("?x13", residual))
        program = Program(one_op(op, types, shaped("?x13", y)))
        for seed, tokens in enumerate([5, 1]):
            random = np.random.default_rng(seed)
            numbers_ = normal(random, (13, 64))
            arguments = [normal(random, (tokens, 64), x), *weight.tensors(numbers_)]
            expected = load(arguments[0], x) @ weight.exact(numbers_).T
            if bias:
                arguments.append(normal(random, (13,), bias))
                expected += load(arguments[-1], bias)
            if residual:
                arguments.append(normal(random, (tokens, 13), residual))
                expected += load(arguments[-1], residual)
            assert_close(program.run(*arguments), expected, y)

    @pytest.mark.parametrize("weight", WEIGHTS, ids=lambda f: f.type("N", "K"))
    @pytest.mark.parametrize(
        "activations",
        [
            INT8,
            Quantized("ui8", "bf16", asymmetric=True),
            Quantized("i8", group_size=16),
            Quantized("i8", "f16", group_size=32, asymmetric=True),
        ],
        ids=lambda f: f.type("T", "K"),
    )
    def test_integers_alone(self, activations: Quantized, weight: Quantized) -> None:
        if activations.group_size and weight.group_size:
            activations = replace(activations, group_size=weight.group_size)
        program = Program(
            one_op(
                "llm.quantized_matmul %0, %1",
                [activations.type("?", 64), weight.type(13, 64)],
                "tensor<?x13xf32>",
            )
        )
        random = np.random.default_rng(0)
        x, w = normal(random, (5, 64)), normal(random, (13, 64))
        actual = program.run(*activations.tensors(x), *weight.tensors(w))
        expected = activations.exact(x) @ weight.exact(w).T
        assert_close(actual, expected, "f32", 1e-6)

    def test_sums_of_integers_are_exact(self) -> None:
        k = 8192
        program = Program(
            one_op(
                "llm.quantized_matmul %0, %1",
                [INT8.type("?", "?"), INT8.type("?", "?")],
                "tensor<?x?xf32>",
            )
        )
        random = np.random.default_rng(0)
        # Sums beyond 2^24, which f32 would round on the way.
        x, w = (random.integers(90, 128, (3, k)).astype(np.int8) for _ in range(2))
        ones = np.ones((3, 1), np.float32)
        exact = x.astype(np.int64) @ w.astype(np.int64).T
        assert exact.min() > 2**24
        actual = program.run(x, ones, w, ones.copy())
        assert np.array_equal(actual, exact.astype(np.float32))

    def test_a_step_of_w8a8(self) -> None:
        # Weights that come in as numbers, activations quantized in the program,
        # across a function.
        weight, activations = Quantized("i8", "bf16"), INT8
        type_ = weight.type(13, 64)
        program = Program(
            "func.func @main(%x: tensor<?x64xf32>, %w: tensor<13x64xf32>)\n"
            "    -> tensor<?x13xf32> {\n"
            f"  %q = llm.quantize %w : (tensor<13x64xf32>) -> {type_}\n"
            f"  %r = call @layer(%x, %q) : (tensor<?x64xf32>, {type_})"
            " -> tensor<?x13xf32>\n"
            "  return %r : tensor<?x13xf32>\n}\n"
            f"func.func private @layer(%x: tensor<?x64xf32>, %w: {type_})\n"
            "    -> tensor<?x13xf32> {\n"
            "  %q = llm.quantize %x : (tensor<?x64xf32>)"
            f" -> {activations.type('?', 64)}\n"
            "  %r = llm.quantized_matmul %q, %w"
            f" : ({activations.type('?', 64)}, {type_}) -> tensor<?x13xf32>\n"
            "  return %r : tensor<?x13xf32>\n}\n"
        )
        random = np.random.default_rng(0)
        x, w = normal(random, (5, 64)), normal(random, (13, 64))
        expected = activations.exact(x) @ weight.exact(w).T
        assert_close(program.run(x, w), expected, "f32", 1e-6)


PANELS = [
    replace(format_, packing=packing)
    for packing in ("panels", "gated_panels")
    for format_ in (
        INT8,
        Quantized("i8", "bf16", group_size=32),
        Quantized("ui8", "f16", asymmetric=True),
        Quantized("ui4", "f16", group_size=32, asymmetric=True),
        Quantized("ui4", "f32", group_size=64, asymmetric=True),
    )
]


def panels_of(format_: Quantized, x: Array) -> Array:
    """Return what the runtime packs [n, k] to, as the bytes of one tensor."""
    runtime = _native.runtime()
    packing = runtime.WeightFormat(
        "int8" if format_.storage.endswith("8") else "int4",
        format_.scales,
        format_.group_size,
        format_.asymmetric,
    )
    parts = np.split(x, 2) if format_.packing == "gated_panels" else [x]
    packed = []
    for part in parts:
        n, k = part.shape
        shape = runtime.packed_shape(packing, n, k)
        panels = np.empty(runtime.packed_bytes(packing, n, k), np.uint8)
        data = np.ascontiguousarray(part).view(np.uint8).reshape(-1)
        runtime.pack_panels(data, "f32", n, k, panels, packing)
        packed.append(panels.view(np.int8).reshape(shape))
    return np.ascontiguousarray(np.stack(packed, axis=1).reshape(-1, shape[1]))


class TestPanels:
    """What the runtime packs is what the type says of panels."""

    @pytest.mark.parametrize("format_", PANELS, ids=lambda f: f.type("N", "K"))
    @pytest.mark.parametrize("n", [64, 74])
    def test_numbers(self, format_: Quantized, n: int) -> None:
        x = numbers((n, 128))
        program = Program(
            one_op(
                "llm.dequantize %0", [format_.type(n, 128)], shaped(f"{n}x128", "f32")
            )
        )
        actual = program.run(panels_of(format_, x))
        assert_close(actual, format_.exact(x), "f32", 1e-7)

    def test_rows_of_any_length(self) -> None:
        format_ = replace(INT8, packing="panels")
        x = numbers((33, 45))
        program = Program(
            one_op("llm.dequantize %0", [format_.type(33, 45)], shaped("33x45", "f32"))
        )
        assert_close(program.run(panels_of(format_, x)), format_.exact(x), "f32", 1e-7)


def silu(x: Array) -> Array:
    return x / (1 + np.exp(-x))


class TestAroundProducts:
    """Norm, activation, gates and residual, as ops of their own have them."""

    @pytest.mark.parametrize("integers", [False, True], ids=["bf16", "i8"])
    @pytest.mark.parametrize("packing", ["", "panels", "gated_panels"])
    def test_all_at_once(self, integers: bool, packing: str) -> None:
        weight = Quantized("i8", "f32", group_size=32, packing=packing)
        gated = packing == "gated_panels"
        n, k = 40, 64
        rows = 2 * n if gated else n
        types = [
            shaped(f"?x{k}", "f32"),
            weight.type(rows, k),
            shaped(str(k), "bf16"),
            shaped(str(rows), "f32"),
            shaped(f"?x{n}", "f32"),
        ]
        attributes = "epsilon = 0.25 : f32"
        if integers:
            attributes += f", input_type = {INT8.type('?', k)}"
        program = Program(
            one_op(
                "llm.quantized_matmul %0, %1 norm %2 bias %3 activation silu "
                + ("gated " if gated else "")
                + "residual %4",
                types,
                shaped(f"?x{n}", "f32"),
                f"{{{attributes}}}",
            )
        )
        random = np.random.default_rng(0)
        x, w = normal(random, (5, k)), normal(random, (rows, k))
        norm, bias = normal(random, (k,), "bf16"), normal(random, (rows,))
        residual = normal(random, (5, n))
        normed = x / np.sqrt((x.astype(np.float64) ** 2).mean(axis=1) + 0.25)[:, None]
        normed = (normed * load(norm, "bf16")).astype(np.float32)
        rounded = load(store(normed, "bf16"), "bf16")
        if integers:
            rounded = INT8.exact(normed)
        sums = rounded @ weight.exact(w).T + bias
        sums = silu(sums[:, :n]) * sums[:, n:] if gated else silu(sums)
        parts = [panels_of(weight, w)] if packing else weight.tensors(w)
        actual = program.run(x, *parts, norm, bias, residual)
        # A number that is near the middle of two may be rounded to either.
        close = np.isclose(actual, sums + residual, rtol=1e-5, atol=1e-4)
        assert close.mean() > 0.7
        assert_close(actual, sums + residual, "f32", 0.02)


class TestParameters:
    def test_means_its_numbers_quantized(self) -> None:
        weight = Quantized("i4", "f16", group_size=32)
        type_ = weight.type(13, 64)
        program = Program(
            "func.func @main(%x: tensor<?x64xf32>) -> tensor<?x13xf32> {\n"
            '  %w = llm.parameter "model"::"w" from tensor<13x64xf16>\n'
            f"    : {type_}\n"
            "  %r = llm.quantized_matmul %x, %w"
            f" : (tensor<?x64xf32>, {type_}) -> tensor<?x13xf32>\n"
            "  return %r : tensor<?x13xf32>\n}\n",
            "llm-assign-parameters",
        )
        (entry,) = program.weights
        assert (entry["dtype"], entry["packed"], entry["offset"]) == ("f32", False, 0)
        random = np.random.default_rng(0)
        x, w = normal(random, (5, 64)), normal(random, (13, 64), "f16")
        exact = load(w, "f16").astype(np.float32)
        data = exact.view(np.int8).reshape(-1).copy()
        actual = program.run(x, data)
        assert_close(actual, x @ weight.exact(exact).T, "f32")
