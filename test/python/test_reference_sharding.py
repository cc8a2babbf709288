# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What sharded tensors and collectives mean, against NumPy.

A value is what all shards hold, so a test is a look at each of them.
"""

from __future__ import annotations

import numpy as np
import pytest

from reference import Array, Program, assert_close, load, normal, one_op, shaped, store


def sharded(shape: str, dtype: str, shards: int, placement: str) -> str:
    """Return a type of sharded tensors."""
    full = shaped(shape, dtype)
    return f"!llm.sharded_tensor<{full}, shards = {shards}, {placement}>"


def split(full: Array, shards: int, axis: int) -> Array:
    """Return what shards hold of a tensor that is split."""
    return np.ascontiguousarray(np.stack(np.split(full, shards, axis=axis)))


def copies(full: Array, shards: int) -> Array:
    """Return what shards hold of a tensor that is replicated."""
    return np.stack([full] * shards)


DTYPES = ["f32", "f16", "bf16"]


class TestInAndOut:
    @pytest.mark.parametrize(("axis", "shape"), [(0, "6x8"), (1, "?x8"), (1, "?x8x3")])
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_split(self, axis: int, shape: str, dtype: str) -> None:
        type_ = sharded(shape, dtype, 2, f"split = {axis}")
        into = Program(one_op("llm.shard %0", [shaped(shape, dtype)], type_))
        out = Program(one_op("llm.unshard %0", [type_], shaped(shape, dtype)))
        sizes = tuple(6 if size == "?" else int(size) for size in shape.split("x"))
        x = normal(np.random.default_rng(0), sizes, dtype)
        parts = split(x, 2, axis)
        assert np.array_equal(into.run(x), parts)
        assert np.array_equal(out.run(parts), x)

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_replicated(self, dtype: str) -> None:
        type_ = sharded("?x8", dtype, 3, "replicated")
        into = Program(one_op("llm.shard %0", [shaped("?x8", dtype)], type_))
        out = Program(one_op("llm.unshard %0", [type_], shaped("?x8", dtype)))
        x = normal(np.random.default_rng(0), (5, 8), dtype)
        assert np.array_equal(into.run(x), copies(x, 3))
        assert np.array_equal(out.run(copies(x, 3)), x)


class TestCollectives:
    @pytest.mark.parametrize(("axis", "shape"), [(0, "6x8"), (1, "?x8"), (2, "?x3x8")])
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_all_gather(self, axis: int, shape: str, dtype: str) -> None:
        program = Program(
            one_op(
                "llm.all_gather %0",
                [sharded(shape, dtype, 2, f"split = {axis}")],
                sharded(shape, dtype, 2, "replicated"),
            )
        )
        sizes = tuple(6 if size == "?" else int(size) for size in shape.split("x"))
        x = normal(np.random.default_rng(0), sizes, dtype)
        assert np.array_equal(program.run(split(x, 2, axis)), copies(x, 2))

    @pytest.mark.parametrize("reduction", ["sum", "max"])
    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("shards", [2, 5])
    def test_all_reduce(self, reduction: str, dtype: str, shards: int) -> None:
        program = Program(
            one_op(
                "llm.all_reduce %0",
                [sharded("?x7", dtype, shards, f"partial = {reduction}")],
                sharded("?x7", dtype, shards, "replicated"),
            )
        )
        # All negative, among which a maximum that starts from 0 would show.
        x = normal(np.random.default_rng(0), (shards, 4, 7), dtype)
        x = store(-np.abs(load(x, dtype)), dtype)
        terms = load(x, dtype)
        expected = terms.sum(0) if reduction == "sum" else terms.max(0)
        actual = program.run(x)
        assert_close(actual, copies(expected, shards), dtype)
        assert all(np.array_equal(actual[0], other) for other in actual)

    def test_sums_round_once(self) -> None:
        program = Program(
            one_op(
                "llm.all_reduce %0",
                [sharded("1", "bf16", 3, "partial = sum")],
                sharded("1", "bf16", 3, "replicated"),
            )
        )
        # In bf16, 256 + 1 is 256; twice that is not 258.
        x = store([[256.0], [1.0], [1.0]], "bf16")
        assert load(program.run(x), "bf16").tolist() == [[258.0]] * 3

    def test_a_nan_is_the_maximum(self) -> None:
        program = Program(
            one_op(
                "llm.all_reduce %0",
                [sharded("2", "f32", 2, "partial = max")],
                sharded("2", "f32", 2, "replicated"),
            )
        )
        x = np.array([[np.nan, 1], [2, -np.inf]], np.float32)
        actual = program.run(x)
        assert np.isnan(actual[:, 0]).all()
        assert (actual[:, 1] == 1).all()

    @pytest.mark.parametrize("reduction", ["sum", "max"])
    @pytest.mark.parametrize(("axis", "shape"), [(0, "6x8"), (1, "?x8")])
    def test_reduce_scatter(self, reduction: str, axis: int, shape: str) -> None:
        program = Program(
            one_op(
                "llm.reduce_scatter %0",
                [sharded(shape, "f32", 2, f"partial = {reduction}")],
                sharded(shape, "f32", 2, f"split = {axis}"),
                f"{{scatter_axis = {axis} : i64}}",
            )
        )
        x = normal(np.random.default_rng(0), (2, 6, 8))
        full = x.sum(0) if reduction == "sum" else x.max(0)
        assert_close(program.run(x), split(full, 2, axis), "f32")


class TestShardedLinear:
    @pytest.mark.parametrize("bias", [False, True])
    @pytest.mark.parametrize(
        ("x", "w", "y"), [("f32", "f32", "f32"), ("bf16", "bf16", "bf16")]
    )
    def test_column_parallel(self, bias: bool, x: str, w: str, y: str) -> None:
        types = [
            sharded("?x8", x, 3, "replicated"),
            sharded("12x8", w, 3, "split = 0"),
            *[sharded("12", "f32", 3, "split = 0")] * bias,
        ]
        op = "llm.sharded_linear %0, %1" + " bias %2" * bias
        program = Program(one_op(op, types, sharded("?x12", y, 3, "split = 1")))
        random = np.random.default_rng(0)
        rows, weight = normal(random, (5, 8), x), normal(random, (12, 8), w)
        added = normal(random, (12,))
        expected = load(rows, x) @ load(weight, w).T + added * bias
        arguments = [copies(rows, 3), split(weight, 3, 0), split(added, 3, 0)]
        actual = program.run(*arguments[: 2 + bias])
        assert_close(actual, split(expected, 3, 1), y)

    @pytest.mark.parametrize("bias", [False, True])
    def test_row_parallel(self, bias: bool) -> None:
        types = [
            sharded("?x9", "f32", 3, "split = 1"),
            sharded("4x9", "bf16", 3, "split = 1"),
            *[sharded("4", "bf16", 3, "replicated")] * bias,
        ]
        op = "llm.sharded_linear %0, %1" + " bias %2" * bias
        program = Program(one_op(op, types, sharded("?x4", "f32", 3, "partial = sum")))
        random = np.random.default_rng(0)
        rows, weight = normal(random, (5, 9)), normal(random, (4, 9), "bf16")
        added = normal(random, (4,), "bf16")
        inputs, weights = split(rows, 3, 1), split(weight, 3, 1)
        expected = np.stack(
            [load(inputs[i], "f32") @ load(weights[i], "bf16").T for i in range(3)]
        )
        if bias:
            expected[0] += load(added, "bf16")
        arguments = [inputs, weights, copies(added, 3)]
        assert_close(program.run(*arguments[: 2 + bias]), expected, "f32")


# The feed-forward layer of a decoder in the form of Megatron: one collective.
MLP = """
!hidden = !llm.sharded_tensor<tensor<?x8xf32>, shards = 2, replicated>
!inner = !llm.sharded_tensor<tensor<?x12xf32>, shards = 2, split = 1>
!partial = !llm.sharded_tensor<tensor<?x8xf32>, shards = 2, partial = sum>
!up = !llm.sharded_tensor<tensor<12x8xf32>, shards = 2, split = 0>
!down = !llm.sharded_tensor<tensor<8x12xf32>, shards = 2, split = 1>

func.func @main(%x: tensor<?x8xf32>, %up: tensor<12x8xf32>, %down: tensor<8x12xf32>)
    -> tensor<?x8xf32> {
  %x1 = llm.shard %x : (tensor<?x8xf32>) -> !hidden
  %up1 = llm.shard %up : (tensor<12x8xf32>) -> !up
  %down1 = llm.shard %down : (tensor<8x12xf32>) -> !down
  %y1 = call @mlp(%x1, %up1, %down1) : (!hidden, !up, !down) -> !hidden
  %y = llm.unshard %y1 : (!hidden) -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

func.func private @mlp(%x: !hidden, %up: !up, %down: !down) -> !hidden {
  %h = llm.sharded_linear %x, %up : (!hidden, !up) -> !inner
  %p = llm.sharded_linear %h, %down : (!inner, !down) -> !partial
  %y = REDUCE
  return %y : !hidden
}
"""


@pytest.mark.parametrize(
    "reduce",
    [
        "llm.all_reduce %p : (!partial) -> !hidden",
        # In two steps, as a sequence-parallel program has them.
        """llm.reduce_scatter %p {scatter_axis = 1 : i64} : (!partial)
      -> !llm.sharded_tensor<tensor<?x8xf32>, shards = 2, split = 1>
  %y1 = llm.all_gather %y
      : (!llm.sharded_tensor<tensor<?x8xf32>, shards = 2, split = 1>) -> !hidden""",
    ],
)
def test_a_layer_in_shards_is_the_layer(reduce: str) -> None:
    text = MLP.replace("REDUCE", reduce)
    if "%y1 =" in reduce:
        text = text.replace("return %y : !hidden", "return %y1 : !hidden")
    program = Program(text)
    random = np.random.default_rng(0)
    x, up, down = (normal(random, shape) for shape in [(5, 8), (12, 8), (8, 12)])
    exact = (array.astype(np.float64) for array in (x, up, down))
    x64, up64, down64 = exact
    assert_close(program.run(x, up, down), x64 @ up64.T @ down64.T, "f32")
