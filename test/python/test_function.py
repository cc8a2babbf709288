# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Functions of tensors: compiled, and called with arrays of any sizes."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import llmir
from llmir.errors import LLMIRError

ROW = "affine_map<(d0, d1) -> (d0)>"
ALL = "affine_map<(d0, d1) -> (d0, d1)>"

LINEAR = """
func.func @main(%x: tensor<?x?x24xf32> {llm.name = "x"}) -> tensor<?x?x40xf32> {
  %w = llm.parameter "model"::"w" : tensor<40x24xf32>
  %b = llm.parameter "model"::"b" : tensor<40xf32>
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c40 = arith.constant 40 : index
  %n = tensor.dim %x, %c0 : tensor<?x?x24xf32>
  %t = tensor.dim %x, %c1 : tensor<?x?x24xf32>
  %rows = tensor.collapse_shape %x [[0, 1], [2]]
    : tensor<?x?x24xf32> into tensor<?x24xf32>
  %y = llm.linear %rows, %w bias %b
    : (tensor<?x24xf32>, tensor<40x24xf32>, tensor<40xf32>) -> tensor<?x40xf32>
  %z = math.exp %y : tensor<?x40xf32>
  %shape = tensor.from_elements %n, %t, %c40 : tensor<3xindex>
  %r = tensor.reshape %z(%shape)
    : (tensor<?x40xf32>, tensor<3xindex>) -> tensor<?x?x40xf32>
  return %r : tensor<?x?x40xf32>
}
"""

# Integers, booleans, a number, and three results, of which one is an argument.
MIXED = """
func.func @main(%ids: tensor<?xi64>, %m: tensor<?x?xi1>, %o: tensor<?x?xi1>, %k: i64)
    -> (tensor<?x32xf32>, tensor<?x?xi1>, tensor<?xi64>, tensor<?xi64>) {
  %t = llm.parameter "model"::"t" : tensor<10x32xf32>
  %i = arith.trunci %ids : tensor<?xi64> to tensor<?xi32>
  %e = llm.embedding %i, %t : (tensor<?xi32>, tensor<10x32xf32>) -> tensor<?x32xf32>
  %n = arith.xori %m, %o : tensor<?x?xi1>
  %c0 = arith.constant 0 : index
  %d = tensor.dim %ids, %c0 : tensor<?xi64>
  %s = tensor.splat %k[%d] : tensor<?xi64>
  %p = arith.muli %ids, %s : tensor<?xi64>
  return %e, %n, %p, %ids
    : tensor<?x32xf32>, tensor<?x?xi1>, tensor<?xi64>, tensor<?xi64>
}
"""


@pytest.fixture(scope="module")
def random() -> np.random.Generator:
    return np.random.default_rng(1)


@pytest.fixture(scope="module")
def weights(random: np.random.Generator) -> dict[str, Any]:
    return {
        "w": random.standard_normal((40, 24), np.float32) / 5,
        "b": random.standard_normal(40, np.float32),
        "t": random.standard_normal((10, 32), np.float32),
    }


@pytest.fixture(scope="module")
def linear(weights: dict[str, Any]) -> llmir.Function:
    return llmir.compile_function(LINEAR, weights)


@pytest.fixture(scope="module")
def mixed(weights: dict[str, Any]) -> llmir.Function:
    return llmir.compile_function(MIXED, weights, threads=1)


def expected(x: Any, weights: dict[str, Any]) -> Any:
    wide = {key: value.astype(np.float64) for key, value in weights.items()}
    return np.exp(x.astype(np.float64) @ wide["w"].T + wide["b"])


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (2, 64), (1, 333), (0, 4), (4, 0)])
def test_sizes_are_those_of_the_call(
    linear: llmir.Function,
    weights: dict[str, Any],
    random: np.random.Generator,
    shape: tuple[int, int],
) -> None:
    x = random.standard_normal((*shape, 24), np.float32)
    (y,) = linear(x)
    assert y.dtype == np.float32
    assert y.shape == (*shape, 40)
    np.testing.assert_allclose(y, expected(x, weights), rtol=2e-6)


def test_results_stay_when_the_next_call_comes(
    linear: llmir.Function, weights: dict[str, Any], random: np.random.Generator
) -> None:
    inputs = [random.standard_normal((2, 9, 24), np.float32) for _ in range(5)]
    results = [linear(x)[0] for x in inputs]
    for x, y in zip(inputs, results, strict=True):
        np.testing.assert_allclose(y, expected(x, weights), rtol=2e-6)


def test_elements_in_any_order(
    linear: llmir.Function, random: np.random.Generator
) -> None:
    whole = random.standard_normal((24, 7, 8), np.float32)
    x = whole.T[::2, ::-1]
    assert not x.flags.c_contiguous
    assert linear(x)[0].tobytes() == linear(np.ascontiguousarray(x))[0].tobytes()


def test_integers_booleans_and_several_results(
    mixed: llmir.Function, weights: dict[str, Any], random: np.random.Generator
) -> None:
    ids = random.integers(0, 10, 6)
    m, o = random.integers(0, 2, (2, 3, 45)).astype(bool)
    e, n, p, same = mixed(ids, m, o, 7)
    assert (e == weights["t"][ids]).all()
    assert n.dtype == np.bool_
    assert (n == (m ^ o)).all()
    assert (p == ids * 7).all()
    assert (same == ids).all()
    # The memory is the caller's own.
    same[:] = 0
    assert ids.any()


def test_tensors_of_pytorch_come_back_as_such(
    mixed: llmir.Function, weights: dict[str, Any]
) -> None:
    torch = pytest.importorskip("torch")
    ids = torch.tensor([3, 1, 4])
    m = torch.ones(2, 2, dtype=torch.bool)
    results = mixed(ids, m, m, 2)
    assert all(isinstance(result, torch.Tensor) for result in results)
    assert torch.equal(results[0], torch.from_numpy(weights["t"])[ids])
    assert not results[1].any()
    # What requires a gradient has to be detached by who knows that it may be.
    linear = llmir.compile_function(LINEAR, weights)
    x = torch.ones(1, 1, 24, requires_grad=True)
    with pytest.raises(LLMIRError, match="requires a gradient, and a compiled"):
        linear(x)
    linear(x.detach())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "the function takes 1 arguments, not 0"),
        ((np.zeros((1, 1, 24)),), r"argument 0 \(x\) is float64 \[1, 1, 24\], and the"),
        ((np.zeros((1, 24), "f"),), r"float32 \[1, 24\], .* float32 \[any, any, 24\]"),
        ((np.zeros((1, 1, 25), "f"),), r"is float32 \[1, 1, 25\], and the function"),
        ((3,), "argument 0 .* is no array in the CPU's memory"),
        (("tea",), "argument 0 .* is no array in the CPU's memory"),
    ],
)
def test_arguments_that_do_not_fit(
    linear: llmir.Function, arguments: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(LLMIRError, match=message):
        linear(*arguments)


def test_numbers_and_indices_that_do_not_fit(mixed: llmir.Function) -> None:
    m = np.ones((1, 1), bool)
    for index in (10, -1, 2**32):
        with pytest.raises(LLMIRError, match="not one of its 10 rows"):
            mixed(np.array([0, index]), m, m, 1)
    with pytest.raises(LLMIRError, match="argument 3 is no integer"):
        mixed(np.array([0]), m, m, "tea")
    # Nothing is left of a call that ended early.
    assert mixed(np.array([1]), m, m, 3)[2].tolist() == [3]


def test_calls_of_several_threads(
    linear: llmir.Function, weights: dict[str, Any], random: np.random.Generator
) -> None:
    inputs = [random.standard_normal((1, n + 1, 24), np.float32) for n in range(4)]
    failures: list[Exception] = []

    def work(x: Any) -> None:
        try:
            for _ in range(100):
                np.testing.assert_allclose(linear(x)[0], expected(x, weights), 2e-6)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(x,)) for x in inputs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_memory_is_kept_and_no_more_of_it_taken(
    linear: llmir.Function, random: np.random.Generator
) -> None:
    x = random.standard_normal((4, 100, 24), np.float32)
    for _ in range(3):
        linear(x)
    kept = linear._runner.arena_bytes
    for _ in range(20):
        linear(x)
    assert linear._runner.arena_bytes == kept


def test_compiling_leaves_no_files(
    weights: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    function = llmir.compile_function(LINEAR, weights)
    assert list(tmp_path.iterdir()) == []
    function(np.zeros((1, 1, 24), "f"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"w": None}, "reads a parameter w, which is not given"),
        (
            {"w": np.zeros((40, 25), "f")},
            r"parameter w as F32 \[40, 24\], .* F32 \[40, 25\]",
        ),
        ({"b": np.zeros(40)}, r"parameter b as F32 \[40\], .* given as F64 \[40\]"),
        ({"b": np.zeros(40, "c8")}, "parameter b is complex64, which no weight"),
    ],
)
def test_parameters_that_do_not_fit(
    weights: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    given = {**weights, **changes}
    given = {key: value for key, value in given.items() if value is not None}
    with pytest.raises(LLMIRError, match=message):
        llmir.compile_function(LINEAR, given)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("func.func @main(", "the program is not valid"),
        ("module {}", "has no function main"),
        (
            "func.func @main(%x: vector<4xf32>) -> vector<4xf32> "
            "{ return %x : vector<4xf32> }",
            "a function takes tensors and scalars",
        ),
        (
            "func.func @main(%x: tensor<?xf64>) -> tensor<?xf64> "
            "{ %y = math.exp %x : tensor<?xf64> return %y : tensor<?xf64> }",
            "undefined",
        ),
    ],
)
def test_programs_that_are_refused(program: str, message: str) -> None:
    with pytest.raises(LLMIRError, match=message):
        llmir.compile_function(program)


ATTENTION = """
func.func @main(%q: tensor<?x?x6x16xf32>, %k: tensor<?x?x2x16xf32>,
                %v: tensor<?x?x2x16xf32>, %m: tensor<?x1x?x?xi1>)
    -> (tensor<?x?x6x16xf32>, tensor<?x?x6x16xf32>) {
  %a = llm.attention %q, %k, %v {causal, window = 5 : i64}
    : (tensor<?x?x6x16xf32>, tensor<?x?x2x16xf32>, tensor<?x?x2x16xf32>)
    -> tensor<?x?x6x16xf32>
  %b = llm.attention %q, %k, %v mask %m
    : (tensor<?x?x6x16xf32>, tensor<?x?x2x16xf32>, tensor<?x?x2x16xf32>,
       tensor<?x1x?x?xi1>) -> tensor<?x?x6x16xf32>
  return %a, %b : tensor<?x?x6x16xf32>, tensor<?x?x6x16xf32>
}
"""


def test_attention_over_given_keys(random: np.random.Generator) -> None:
    function = llmir.compile_function(ATTENTION)
    for b, t, s in ((1, 1, 1), (2, 9, 9), (1, 70, 100)):
        q = random.standard_normal((b, t, 6, 16), np.float32)
        k, v = random.standard_normal((2, b, s, 2, 16), np.float32)
        mask = random.random((b, 1, t, s)) < 0.7
        mask[..., 0] = True
        scores = np.einsum("bthd,bshd->bhts", q, k.repeat(3, 2)) / 4.0
        behind = np.arange(s - t, s)[:, None] - np.arange(s)
        for result, seen in zip(
            function(q, k, v, mask), ((behind >= 0) & (behind < 5), mask), strict=True
        ):
            weighed = np.where(seen, scores.astype(np.float64), -np.inf)
            weighed = np.exp(weighed - weighed.max(-1, keepdims=True))
            weighed /= weighed.sum(-1, keepdims=True)
            wanted = np.einsum("bhts,bshd->bthd", weighed, v.repeat(3, 2))
            np.testing.assert_allclose(result, wanted, atol=3e-6)


CIRCULAR = """
func.func @main(%x: tensor<?xf32>) -> (tensor<?xf32>, tensor<?xf32>) {
  %s = math.sin %x : tensor<?xf32>
  %c = math.cos %x : tensor<?xf32>
  return %s, %c : tensor<?xf32>, tensor<?xf32>
}
"""


def test_angles_of_long_contexts(random: np.random.Generator) -> None:
    x = random.uniform(-(2.0**20), 2.0**20, 10000).astype("f")
    x[:5000] /= 2**18
    x[:4] = 0, -0.0, np.pi, np.pi / 2
    wide = x.astype(np.float64)
    sine, cosine = llmir.compile_function(CIRCULAR)(x)
    np.testing.assert_allclose(sine, np.sin(wide), atol=1.2e-7)
    np.testing.assert_allclose(cosine, np.cos(wide), atol=1.2e-7)
    in_f64 = llmir.compile_function(CIRCULAR.replace("f32", "f64"))
    sine, cosine = in_f64(wide)
    np.testing.assert_allclose(sine, np.sin(wide), atol=1e-14)
    np.testing.assert_allclose(cosine, np.cos(wide), atol=1e-14)


def test_other_values_of_the_parameters(weights: dict[str, Any]) -> None:
    function = llmir.compile_function(LINEAR, weights)
    x = np.ones((1, 2, 24), "f")
    np.testing.assert_allclose(function(x)[0], expected(x, weights), rtol=2e-6)
    changed = {**weights, "b": weights["b"] + 1}
    function.update(changed)
    np.testing.assert_allclose(function(x)[0], expected(x, changed), rtol=2e-6)
    with pytest.raises(LLMIRError, match="parameter w, which is not given"):
        function.update({})
    np.testing.assert_allclose(function(x)[0], expected(x, changed), rtol=2e-6)
