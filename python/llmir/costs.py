# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the ops of a compiled program cost: bytes that they move, and operations.

Counted from the program in the artifact, so it follows every fusion. Bytes are those of
the operands and results that an op names; operations are the multiplications and
additions of products and of attention. Weights count once a step, however many rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmir import _native
from llmir.errors import LLMIRError
from llmir.files import open_regular
from llmir.manifest import PROGRAM


@dataclass(frozen=True)
class Step:
    """The batch that costs are of: sequences of equal length.

    rows: the new tokens of all sequences together.
    context: the tokens that each sequence has, the new ones among them.
    sequences: how many there are; one row of logits each.
    """

    rows: int
    context: int
    sequences: int = 1

    @property
    def new(self) -> int:
        """The new tokens of one sequence."""
        return self.rows // self.sequences


PRODUCTS = ("linear", "quantized_matmul")


@dataclass(frozen=True)
class Op:
    """An op of the program, as often as a step runs it.

    name: as in the dialect.
    call: the number of the call of a layer that it is in; -1 for the step itself.
    keys: the names of the weight of a product.
    weight_elements: of the weight of a product.
    weight_bytes: of that and of all other weights, such as a bias.
    row_bytes: what one row of inputs and results takes.
    on_logits: whether its rows are those whose logits are asked for.
    multiplier: what limits a product or attention: f32, bf16 or int8; "" is f32.
    heads, kv_heads, head_dim, cache_bits, window: of attention; cache_bits are those
        of an element of the cache, its share of scales and zero points among them.
    """

    name: str
    function: str
    call: int
    keys: tuple[str, ...]
    weight_elements: int
    weight_bytes: float
    row_bytes: float
    on_logits: bool
    multiplier: str = ""
    heads: int = 0
    kv_heads: int = 0
    head_dim: int = 0
    cache_bits: float = 0
    window: int = 0

    def rows(self, step: Step) -> int:
        """Return how many rows it works on."""
        return step.sequences if self.on_logits else step.rows

    def bytes(self, step: Step) -> float:
        """Return the bytes that it reads and writes in a step."""
        return self.stored_bytes(step) + self.rows(step) * self.row_bytes

    def stored_bytes(self, step: Step) -> float:
        """Return the bytes of weights, keys and values that it reads in a step."""
        weights = self.weight_bytes
        if self.name == "embedding":
            weights = 0.0  # its rows are looked up, and are as large as the result's
        seen = min(step.context, self.window + step.new - 1 if self.window else 2**62)
        cached = 2 * self.kv_heads * self.head_dim * self.cache_bits / 8
        return weights + step.sequences * seen * cached

    def operations(self, step: Step) -> float:
        """Return its multiplications and additions in a step."""
        if self.name in PRODUCTS:
            return 2.0 * self.weight_elements * self.rows(step)
        if self.name != "paged_attention":
            return 0.0
        # Row i of a sequence's new ones sees all before it and itself.
        first = step.context - step.new + 1
        seen = sum(
            min(position, self.window or position)
            for position in range(first, step.context + 1)
        )
        return 4.0 * self.heads * self.head_dim * seen * step.sequences


def executed_ops(artifact: Path, manifest: Mapping[str, Any]) -> list[Op]:
    """Return the ops that a step of an artifact runs, in order.

    Raises LLMIRError if this installation has no compiler, or the program in the
    artifact cannot be read.
    """
    path = artifact / PROGRAM
    compiler = _native.compiler()
    try:
        with open_regular(path) as file:
            text = file.read().decode()
        entries = compiler.Module.parse(text, str(path)).executed()
    except ValueError as error:  # of characters too
        raise LLMIRError(f"{path} is not a program of a step: {error}") from error
    cache = manifest["cache"]
    ops: list[Op] = []
    on_logits = False
    for entry in entries:
        weights = [value for value in entry["operands"] if "keys" in value]
        values = [
            value
            for value in (*entry["operands"], *entry["results"])
            if value["kind"] == "tensor" and "keys" not in value
        ]
        # The rows that logits are asked of are looked up as an embedding's are.
        if entry["op"] == "embedding" and not weights:
            on_logits = True
        op = {
            "name": entry["op"],
            "function": entry["function"],
            "call": entry["call"],
            "keys": (),
            "weight_elements": 0,
            "weight_bytes": sum(
                value["elements"] * value["bits"] / 8 for value in weights
            ),
            "row_bytes": sum(map(_row_bytes, values)),
            "on_logits": on_logits and entry["call"] == -1,
        }
        if entry["op"] in PRODUCTS:
            # Its second operand is the weight.
            weight = entry["operands"][1]
            op |= {
                "keys": tuple(weight.get("keys", ())),
                "weight_elements": weight.get("elements", 0),
                "multiplier": _multiplier(entry),
            }
        if entry["op"] == "paged_attention":
            query = entry["operands"][0]["shape"]
            op |= {
                # Integers are widened to bf16.
                "multiplier": entry["query_type"]
                if cache["dtype"] in ("bf16", "i8", "i4")
                else "",
                "heads": query[-2],
                "head_dim": query[-1],
                "kv_heads": cache["kv_heads"],
                "cache_bits": _cache_bits(cache["dtype"], query[-1]),
                "window": entry["window"],
            }
        ops.append(Op(**op))
    return ops


# Of an element, and of the scale and the zero point that a head of a token has.
_CACHE_BITS = {"f32": (32, 0), "f16": (16, 0), "bf16": (16, 0)}
_CACHE_BITS |= {"i8": (8, 16), "i4": (4, 16 + 8)}


def _cache_bits(dtype: str, head_dim: int) -> float:
    element, per_head = _CACHE_BITS[dtype]
    return element + per_head / head_dim


def _multiplier(entry: Mapping[str, Any]) -> str:
    if entry["op"] == "quantized_matmul":
        return "int8" if entry["integers"] else "bf16"
    return "bf16" if entry["operands"][1]["type"] == "bf16" else "f32"


def _row_bytes(value: Mapping[str, Any]) -> float:
    sizes: Sequence[int] = value["shape"]
    # Tables, such as RoPE's, are no rows; of them a row's share is as the result's.
    if not sizes or sizes[0] != -1:
        return 0.0
    elements = math.prod(size for size in sizes[1:] if size != -1)
    return elements * float(value["bits"]) / 8
