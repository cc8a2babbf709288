# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What is timed: the rows, named as llama-bench names them, and the formats."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.shapes import Shape


@dataclass(frozen=True)
class Format:
    """A weight format.

    bits: what a weight takes in memory, its share of a scale included.
    peak: the multiplier that prefill is limited by (`limits.PEAKS`).
    group: formats of one group are timed in one run, each beside its peers.
    """

    name: str
    bits: float
    peak: str
    group: str


FORMATS = {
    format.name: format
    for format in (
        Format("bf16", 16, "bf16", "bf16"),
        Format("int8", 8, "bf16", "int8"),
        Format("w8a8", 8, "int8", "int8"),
        Format("int4", 4.5, "bf16", "int4"),
        Format("w4a8", 4.5, "int8", "int4"),
    )
}


@dataclass(frozen=True)
class Row:
    """A row: `tokens` of a prompt, or steps of `sequences` at `depth` tokens."""

    name: str
    kind: str
    tokens: int
    depth: int = 0
    sequences: int = 1

    @property
    def context(self) -> int:
        """The tokens that each sequence needs room for."""
        return self.depth + self.tokens + 16

    @property
    def count(self) -> int:
        """The tokens that count as done."""
        return self.tokens * self.sequences

    def limits(self, shape: Shape, format: Format) -> tuple[float, float]:
        """Return the bytes read and the operations done by a run of the row."""
        if self.kind == "decode":
            context = self.depth + (self.tokens + 1) / 2
            read = self.tokens * shape.step_bytes(format.bits, context, self.sequences)
            return read, shape.operations(self.count, self.count, context)
        context = (self.tokens + 1) / 2
        read = shape.step_bytes(format.bits, self.tokens, 1)
        return read, shape.operations(self.tokens, 1, context)


ROWS = {
    row.name: row
    for row in (
        Row("pp512", "prefill", 512),
        Row("tg128", "decode", 128),
        Row("tg128@d2048", "decode", 128, depth=2048),
        Row("b4", "decode", 32, sequences=4),
        Row("b8", "decode", 32, sequences=8),
        Row("b16", "decode", 32, sequences=16),
        Row("load", "load", 16),
        Row("compile", "compile", 1),
    )
}
