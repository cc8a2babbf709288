# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What weights are made of: tensors of a checkpoint, parts of them, and transposes.

All of these give their bytes a piece at a time, in row-major order of their own shape,
so that nothing that is as large as a tensor is ever made in memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]


class Source(Protocol):
    """A tensor that weights are made of, in a file or in memory."""

    @property
    def dtype(self) -> str:
        """The safetensors format's name of the element type, `BF16`."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes, outermost first."""
        ...

    @property
    def bytes(self) -> int:
        """The size of the data."""
        ...

    def read(self, begin: int, end: int) -> Bytes:
        """Return bytes [begin, end) of the data in row-major order."""
        ...

    def release(self, begin: int, end: int) -> None:
        """Take note that bytes [begin, end) of the data are not needed for now."""
        ...


@dataclass(frozen=True)
class Part:
    """A slice of a tensor along one dimension, as a tensor of its own.

    shape: its sizes, outermost first.
    runs: how many pieces it consists of that follow each other in the tensor.
    run, step: how long such a piece is, and how far the next one is, in bytes.
    start: where the first begins.
    """

    tensor: Source
    shape: tuple[int, ...]
    runs: int
    run: int
    step: int
    start: int

    @staticmethod
    def of(tensor: Source, dim: int, offset: int, size: int) -> Part:
        """Return elements [offset, offset + size) of dimension `dim`."""
        shape = list(tensor.shape)
        runs = math.prod(shape[:dim])
        step = tensor.bytes // runs
        one = step // shape[dim]
        shape[dim] = size
        return Part(tensor, tuple(shape), runs, size * one, step, offset * one)

    @property
    def dtype(self) -> str:
        """The element type."""
        return self.tensor.dtype

    @property
    def bytes(self) -> int:
        """The size of the data."""
        return self.runs * self.run

    def read(self, begin: int, end: int) -> Bytes:
        """Return bytes [begin, end) of the part."""
        if self.runs == 1:
            return self.tensor.read(self.start + begin, self.start + end)
        # Whole runs, of which the first and the last may be wanted in part.
        first, last = begin // self.run, -(-end // self.run)
        rows = self.tensor.read(first * self.step, last * self.step)
        columns = rows.reshape(-1, self.step)[:, self.start : self.start + self.run]
        skipped = first * self.run
        taken: Bytes = columns.reshape(-1)[begin - skipped : end - skipped]
        return taken

    def release(self, begin: int, end: int) -> None:
        """Drop the pages of bytes [begin, end) from this process."""
        if self.runs == 1:
            self.tensor.release(self.start + begin, self.start + end)
        else:
            first, last = begin // self.run, -(-end // self.run)
            self.tensor.release(first * self.step, last * self.step)


@dataclass(frozen=True)
class Transposed:
    """A matrix with its dimensions exchanged."""

    tensor: Source

    @property
    def dtype(self) -> str:
        """The element type."""
        return self.tensor.dtype

    @property
    def shape(self) -> tuple[int, int]:
        """Its sizes, rows first."""
        columns, rows = self.tensor.shape
        return rows, columns

    @property
    def bytes(self) -> int:
        """The size of the data."""
        return self.tensor.bytes

    def read(self, begin: int, end: int) -> Bytes:
        """Return bytes [begin, end) of the transpose."""
        rows, columns = self.shape
        number = self.bytes // (rows * columns)
        row = columns * number
        first, last = begin // row, -(-end // row)
        # The bytes of a number stay together.
        numbers = self.tensor.read(0, self.bytes).view(f"V{number}")
        taken = numbers.reshape(columns, rows)[:, first:last]
        data = np.ascontiguousarray(taken.T).view(np.uint8).reshape(-1)
        return data[begin - first * row : end - first * row]

    def release(self, begin: int, end: int) -> None:
        """Keep the pages: every row of a transpose lies all over the tensor."""
