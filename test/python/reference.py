# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the tests of the reference meaning share: programs of one op, and oracles.

`llmir.reference` runs the programs; the oracles here are NumPy in float64.
"""

from __future__ import annotations

import numpy as np

from llmir.reference import DTYPES, Array, Cache, MemRef, Program, load, store

__all__ = [
    "Array",
    "Cache",
    "MemRef",
    "Program",
    "assert_close",
    "attention",
    "excess_of",
    "load",
    "normal",
    "one_op",
    "shaped",
    "signature",
    "store",
]


def assert_close(
    actual: Array, expected: Array, dtype: str, tolerance: float = 2e-6
) -> None:
    """Check an array of `dtype` against exact numbers that it is rounded from, once.

    tolerance: what the arithmetic in f32 may add, relative to the largest number.
    """
    excess = excess_of(actual, expected, dtype, tolerance)
    assert (excess <= 0).all(), f"off by {excess.max()} more than rounding explains"


def excess_of(
    actual: Array, expected: Array, dtype: str, tolerance: float = 2e-6
) -> Array:
    """Return by how much each number is further off than `assert_close` allows."""
    assert actual.shape == expected.shape
    found = load(actual, dtype)
    assert np.isfinite(found).all()
    rounding = DTYPES[dtype][1] * np.abs(expected)
    allowed = rounding * (1 + 1e-4) + tolerance * np.abs(expected).max(initial=1e-30)
    excess: Array = np.abs(found - expected) - allowed
    return excess


def normal(
    random: np.random.Generator, shape: tuple[int, ...], dtype: str = "f32"
) -> Array:
    """Return random numbers, as an array of `dtype`."""
    return store(random.standard_normal(shape), dtype)


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


def attention(
    query: Array,
    keys: Array,
    values: Array,
    scale: float,
    causal: bool,
    *,
    window: int | None = None,
    softcap: float | None = None,
    sinks: Array | None = None,
    alibi: Array | None = None,
    mask: Array | None = None,
    rounding: str | None = None,
    value_scales: Array | None = None,
) -> Array:
    """Return attention of [t, heads, d] over [s, kv_heads, d], exactly.

    sinks, alibi: [heads]. mask: [heads or 1, t, s], of truths or numbers to add.
    rounding: the dtype that exponentials are rounded to.
    value_scales: [s, kv_heads]. The values are integers, whose scales multiply the
        exponentials before these are rounded, and after they are summed.
    """
    heads = query.shape[1]
    group = heads // keys.shape[1]
    keys, values = (np.repeat(x, group, axis=1) for x in (keys, values))
    scores = scale * np.einsum("thd,shd->hts", query, keys)
    t, s = scores.shape[1:]
    # How far behind its query each key is.
    behind = np.arange(s - t, s)[:, None] - np.arange(s)[None, :]
    if softcap is not None:
        scores = softcap * np.tanh(scores / softcap)
    if alibi is not None:
        scores = scores - alibi[:, None, None] * behind
    if mask is not None and mask.dtype == np.bool_:
        scores = np.where(mask, scores, -np.inf)
    elif mask is not None:
        scores = scores + mask
    if causal:
        scores = np.where(behind >= 0, scores, -np.inf)
    if window is not None:
        scores = np.where(behind < window, scores, -np.inf)
    # Sinks are a key of their own, whose value is 0.
    if sinks is not None:
        column = np.broadcast_to(sinks[:, None, None], (heads, t, 1))
        scores = np.concatenate([scores, column], axis=-1)
        values = np.concatenate([values, np.zeros_like(values[:1])])
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    sums = weights.sum(axis=-1, keepdims=True)
    if value_scales is not None:
        weights[..., :s] *= np.repeat(value_scales, group, axis=1).T[:, None, :]
    if rounding is not None:
        weights = load(store(weights, rounding), rounding)
    if value_scales is None:
        sums = weights.sum(axis=-1, keepdims=True)
    weights /= sums
    return np.einsum("hts,shd->thd", weights, values)
