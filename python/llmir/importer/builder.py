# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Writes programs of the `llm` dialect as text that a person can read and change.

An importer needs no MLIR: this builder knows the dialect's spelling, infers the
type of each result, and keeps names unique. One method per operation; what an
operation means is documented with the dialect. The compiler parses and verifies
the text, so nothing is verified twice.
"""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from llmir.importer.types import CacheType, IndexType, TensorType, Type, Value

# Lines of arguments are broken at this width.
WIDTH = 96


def float_literal(value: float) -> str:
    """Return `value` as MLIR reads it back exactly: with a point, always."""
    if not math.isfinite(value):
        raise ValueError(f"{value} has no decimal literal")
    mantissa, exponent, power = repr(float(value)).partition("e")
    if "." not in mantissa:
        mantissa += ".0"
    return mantissa + exponent + power


def float32_literal(value: float) -> str:
    """Return the shortest decimal that rounds to the float32 nearest to `value`."""
    digits = str(np.float32(value))
    return float_literal(float(digits))


def attribute(value: Any) -> str:
    """Return a string, an integer or a list of these as an MLIR attribute."""
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, int):
        return f"{value} : i64"
    return "[" + ", ".join(str(item) for item in value) + "]"


def wrapped(items: Sequence[str], indent: str) -> str:
    """Return the items with commas between, on lines broken only between items."""
    lines: list[str] = []
    for item in items:
        if lines and len(lines[-1]) + 2 + len(item) < WIDTH:
            lines[-1] += f", {item}"
        else:
            lines.append(indent + item)
    return ",\n".join(lines)


class FunctionBuilder:
    """Writes one function, operation by operation.

    Every method that takes a `name` returns a value of that name, or of that name
    and a number if it is taken.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[tuple[str, Type]],
        results: Sequence[Type],
        *,
        private: bool = False,
    ) -> None:
        """Begin the function `name` with the given arguments and result types."""
        self.name = name
        self.arguments = [Value(argument, type) for argument, type in arguments]
        self.results = list(results)
        self._private = private
        self._taken = {argument for argument, _ in arguments}
        self._lines: list[str] = []

    def argument(self, name: str) -> Value:
        """Return the argument called `name`."""
        return next(value for value in self.arguments if value.name == name)

    def find(self, name: str) -> Value | None:
        """Return the argument called `name`, or None if there is none."""
        return next((value for value in self.arguments if value.name == name), None)

    def blank(self) -> None:
        """Leave a line empty."""
        self._lines.append("")

    def _emit(self, text: str) -> None:
        self._lines.append(text)

    def _value(self, name: str, type: Type) -> Value:
        unique, count = name, 0
        while unique in self._taken:
            count += 1
            unique = f"{name}_{count}"
        self._taken.add(unique)
        return Value(unique, type)

    def _op(
        self,
        name: str,
        op: str,
        operands: Sequence[Value],
        result: Type,
        attributes: str = "",
        options: Mapping[str, Value | None] | None = None,
    ) -> Value:
        """Write an operation; `options` are its operands behind a keyword."""
        given = {word: use for word, use in (options or {}).items() if use is not None}
        value = self._value(name, result)
        uses = ", ".join(map(str, operands))
        uses += "".join(f" {word} {use}" for word, use in given.items())
        types = ", ".join(str(use.type) for use in [*operands, *given.values()])
        suffix = f" {{{attributes}}}" if attributes else ""
        self._emit(f"{value} = {op} {uses}{suffix} : ({types}) -> {result}")
        return value

    def constant_index(self, name: str, number: int) -> Value:
        """A constant of type index."""
        value = self._value(name, IndexType())
        self._emit(f"{value} = arith.constant {number} : index")
        return value

    def parameter(
        self, name: str, key: str, type: TensorType, stored: TensorType
    ) -> Value:
        """The weight `key` of the model's files, widened from `stored` to `type`."""
        value = self._value(name, type)
        source = "" if stored == type else f" from {stored}"
        self._emit(
            f'{value} = llm.parameter "model"::{json.dumps(key)}{source} : {type}'
        )
        return value

    def rope_table(
        self, name: str, positions: int, dim: int, theta: float, scaling: str
    ) -> Value:
        """The cosines and sines that rotate `dim` dimensions, one row per position."""
        value = self._value(name, TensorType((positions, 2, dim // 2), "f32"))
        attributes = f"theta = {float_literal(theta)} : f64"
        if scaling:
            attributes += f", scaling = {scaling}"
        self._emit(f"{value} = llm.rope_table {{{attributes}}} : {value.type}")
        return value

    def embedding(self, name: str, ids: Value, table: Value) -> Value:
        """The rows of `table` that `ids` names, in float32."""
        shape = (ids.tensor.shape[0], table.tensor.shape[1])
        return self._op(name, "llm.embedding", (ids, table), TensorType(shape, "f32"))

    def rms_norm(
        self, name: str, x: Value, weight: Value, epsilon: float, dtype: str
    ) -> Value:
        """The rows of `x` over their root mean square, in `dtype`."""
        return self._op(
            name,
            "llm.rms_norm",
            (x, weight),
            x.tensor.of(dtype),
            f"epsilon = {float32_literal(epsilon)} : f32",
        )

    def linear(
        self, name: str, x: Value, weight: Value, bias: Value | None = None
    ) -> Value:
        """The rows of `x` times the transposed `weight`, plus `bias`, in float32."""
        shape = (x.tensor.shape[0], weight.tensor.shape[0])
        return self._op(
            name,
            "llm.linear",
            (x, weight),
            TensorType(shape, "f32"),
            options={"bias": bias},
        )

    def rope(self, name: str, x: Value, table: Value, positions: Value) -> Value:
        """The heads of `x` rotated by their positions."""
        return self._op(name, "llm.rope", (x, table, positions), x.type)

    def activation(
        self, name: str, kind: str, x: Value, multiplier: Value | None, dtype: str
    ) -> Value:
        """The activation `kind` of `x`, times `multiplier` if given, in `dtype`."""
        operands = (x,) if multiplier is None else (x, multiplier)
        return self._op(name, f"llm.activation {kind}", operands, x.tensor.of(dtype))

    def add(self, name: str, left: Value, right: Value) -> Value:
        """The sum of two tensors of one type."""
        value = self._value(name, left.type)
        self._emit(f"{value} = arith.addf {left}, {right} : {left.type}")
        return value

    def split_columns(self, parts: Mapping[str, int], x: Value) -> list[Value]:
        """The columns of `x` in parts, each with its name and number of columns."""
        zero = self.constant_index("zero", 0)
        rows = self._value("rows", IndexType())
        self._emit(f"{rows} = tensor.dim {x}, {zero} : {x.type}")
        values: list[Value] = []
        begin = 0
        for name, count in parts.items():
            type = TensorType((x.tensor.shape[0], count), x.tensor.dtype)
            values.append(self._value(name, type))
            self._emit(
                f"{values[-1]} = tensor.extract_slice {x}[0, {begin}] "
                f"[{rows}, {count}] [1, 1] : {x.type} to {type}"
            )
            begin += count
        return values

    def split_heads(self, name: str, x: Value, heads: int) -> Value:
        """The rows of `x`, each cut into `heads` equal parts."""
        rows, columns = x.tensor.shape
        assert columns is not None
        type = TensorType((rows, heads, columns // heads), x.tensor.dtype)
        value = self._value(name, type)
        self._emit(
            f"{value} = tensor.expand_shape {x} [[0], [1, 2]] : {x.type} into {type}"
        )
        return value

    def merge_heads(self, name: str, x: Value) -> Value:
        """The inverse of `split_heads`."""
        rows, heads, head_dim = x.tensor.shape
        assert heads is not None
        assert head_dim is not None
        type = TensorType((rows, heads * head_dim), x.tensor.dtype)
        value = self._value(name, type)
        self._emit(
            f"{value} = tensor.collapse_shape {x} [[0], [1, 2]] : {x.type} into {type}"
        )
        return value

    def append_kv(
        self,
        name: str,
        cache: Value,
        keys: Value,
        values: Value,
        slots: Value,
        layer: Value,
    ) -> Value:
        """The cache with the new tokens' keys and values in their slots."""
        return self._op(
            name,
            "llm.append_kv",
            (cache, keys, values),
            cache.type,
            options={"slots": slots, "layer": layer},
        )

    def paged_attention(
        self,
        name: str,
        query: Value,
        cache: Value,
        block_table: Value,
        context_lens: Value,
        row_starts: Value,
        layer: Value,
        *,
        scale: float,
        window: int | None,
        query_dtype: str,
        dtype: str,
    ) -> Value:
        """Causal attention of the new tokens over their contexts, in `dtype`.

        window: how many positions a token sees, itself included; None is all.
        query_dtype: what the query is rounded to, "bf16" or "f32".
        """
        attributes = f"scale = {float32_literal(scale)} : f32"
        if window is not None:
            attributes += f", window = {window} : i64"
        if query_dtype != "f32":
            attributes += f", query_type = {query_dtype}"
        return self._op(
            name,
            "llm.paged_attention",
            (query, cache, block_table, context_lens),
            query.tensor.of(dtype),
            attributes,
            options={"rows": row_starts, "layer": layer},
        )

    def call(
        self, names: Sequence[str], callee: FunctionBuilder, operands: Sequence[Value]
    ) -> list[Value]:
        """The results of another function of the program."""
        values = [
            self._value(name, type)
            for name, type in zip(names, callee.results, strict=True)
        ]
        self._emit(
            f"{', '.join(map(str, values))} = call @{callee.name}"
            f"({', '.join(map(str, operands))})"
        )
        types = ", ".join(str(argument.type) for argument in callee.arguments)
        results = ", ".join(map(str, callee.results))
        self._emit(f"  : ({types}) -> ({results})")
        return values

    def returns(self, values: Sequence[Value]) -> None:
        """End the function."""
        types = ", ".join(str(value.type) for value in values)
        self._emit(f"return {', '.join(map(str, values))} : {types}")

    def text(self) -> str:
        """Return the function as lines at the outermost level."""
        arguments = [f"{value}: {value.type}" for value in self.arguments]
        header = wrapped(arguments, "    ")
        visibility = "private " if self._private else ""
        results = ", ".join(map(str, self.results))
        body = "\n".join("  " + line if line else "" for line in self._lines)
        return (
            f"func.func {visibility}@{self.name}(\n{header})\n"
            f"    -> ({results}) {{\n{body}\n}}"
        )


def module_text(
    name: str,
    facts: Mapping[str, Any],
    cache: CacheType,
    functions: Sequence[FunctionBuilder],
    comment: str,
) -> str:
    """Return the whole program: one module named `name` with its functions.

    facts: the entries of the module's attribute `llm.model`.
    comment: one line for the reader, at the top.
    """
    entries = [f"{key} = {attribute(value)}" for key, value in facts.items()]
    filled = wrapped(entries, "    ")
    body = "\n\n".join(textwrap.indent(function.text(), "  ") for function in functions)
    return (
        f"// {comment}\n{cache.definition}\n\n"
        f"module @{name} attributes {{\n  llm.model = {{\n{filled}\n  }}\n}} {{\n"
        f"{body}\n}}\n"
    )
