# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Writes the weights of an artifact: each tensor packed, widened or copied.

The layout, decided by the compiler, says what lies where. The work goes in bounded
pieces from the mapped checkpoint to the file, and lets go of the pages behind it,
so that compiling needs little memory whatever the size of the model.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from llmir import _native, dtypes
from llmir.dtypes import DType
from llmir.errors import LLMIRError
from llmir.safetensors import PIECE_BYTES, Checkpoint, Tensor

# From which size on it is worth starting threads.
PARALLEL_BYTES = 2**20

Bytes = npt.NDArray[np.uint8]


def write_weights(
    path: Path,
    entries: list[dict[str, Any]],
    size: int,
    constants: bytes | memoryview,
    checkpoint: Checkpoint,
    progress: Callable[[int], object],
) -> None:
    """Write the file `path` of `size` bytes.

    entries: the compiler's layout: parameters with `sources` (each of a `key`,
        `dtype` and `shape`, laid end to end), `dtype`, `packed`, `gated`, `offset`
        and `bytes`, constants with `begin`, their place in `constants`, `offset`
        and `bytes`.
    progress: is told of every number of bytes written.

    Raises LLMIRError if the disk is full.
    """
    try:
        with path.open("wb") as file:
            # What lies between the entries stays zero.
            os.truncate(file.fileno(), size)
            for entry in entries:
                if entry["offset"] + entry["bytes"] > size:
                    raise ValueError(f"weight beyond the end of the file: {entry}")
                if entry["kind"] == "constant":
                    begin = entry["begin"]
                    pieces = iter([constants[begin : begin + entry["bytes"]]])
                else:
                    pieces = _parameter(entry, checkpoint)
                file.seek(entry["offset"])
                written = 0
                for piece in pieces:
                    file.write(piece)
                    written += len(piece)
                    progress(len(piece))
                if written != entry["bytes"]:
                    raise ValueError(f"weight of {written} bytes: {entry}")
    except OSError as error:
        raise LLMIRError(f"cannot write {path}: {error.strerror}") from error


def _parameter(entry: dict[str, Any], checkpoint: Checkpoint) -> Iterator[Any]:
    used = dtypes.by_mlir(entry["dtype"])
    tensors = []
    for source in entry["sources"]:
        tensor = checkpoint[source["key"]]
        # The child compared these before it compiled.
        expected = (dtypes.by_mlir(source["dtype"]).stored, tuple(source["shape"]))
        if (tensor.dtype, tensor.shape) != expected:
            raise ValueError(f"{entry} does not describe {tensor}")
        tensors.append((tensor, dtypes.by_mlir(source["dtype"])))
    if not entry["packed"]:
        return (piece for part in tensors for piece in _plain(*part, used))
    rows = _Rows(tensors, used)
    if not entry["gated"]:
        return _packed(rows, 0, rows.count)
    # A panel of gates and one of what they gate, by turns.
    half = rows.count // 2
    return _alternating(
        _packed(rows, 0, half), _packed(rows, half, half), rows.panel_bytes
    )


class _Rows:
    """Matrices of equally long rows, laid end to end.

    count: how many rows there are.
    width: how many numbers a row has.
    stored: the dtype that the rows are read in.
    packing: how they are packed.
    panel_rows, panel_bytes: the rows of a panel, and its bytes.
    """

    def __init__(self, tensors: list[tuple[Tensor, DType]], used: DType) -> None:
        runtime = _native.runtime()
        self._tensors = tensors
        self.count = sum(tensor.shape[0] for tensor, _ in tensors)
        self.width = tensors[0][0].shape[1]
        all_stored = {stored for _, stored in tensors}
        self.stored = all_stored.pop() if len(all_stored) == 1 else used
        self.packing = runtime.WeightFormat(used.mlir)
        # Panels are outermost, and their columns come behind the inputs.
        self.panel_rows = runtime.packed_shape(self.packing, 1, self.width)[2]
        self.panel_bytes = runtime.packed_bytes(self.packing, 1, self.width)

    def read(self, begin: int, end: int) -> Bytes:
        """Return the bytes of rows, mapped if they are of one tensor."""
        parts = []
        for tensor, first, last, stored in self._parts(begin, end):
            part = tensor.data[first:last]
            parts.append(
                part if stored == self.stored else widen(part, stored, self.stored)
            )
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def release(self, begin: int, end: int) -> None:
        """Let go of rows that were read."""
        for tensor, first, last, _ in self._parts(begin, end):
            tensor.release(first, last)

    def _parts(self, begin: int, end: int) -> Iterator[tuple[Tensor, int, int, DType]]:
        start = 0
        for tensor, stored in self._tensors:
            first, last = max(begin - start, 0), min(end - start, tensor.shape[0])
            if first < last:
                row_bytes = self.width * stored.bytes
                yield tensor, first * row_bytes, last * row_bytes, stored
            start += tensor.shape[0]


def _packed(rows: _Rows, first: int, count: int) -> Iterator[Bytes]:
    """Yield the panels of rows from `first` on, a whole number of them at a time."""
    runtime = _native.runtime()
    at_once = max(1, PIECE_BYTES // rows.panel_bytes) * rows.panel_rows
    buffer = np.empty(at_once // rows.panel_rows * rows.panel_bytes, np.uint8)
    for row in range(first, first + count, at_once):
        end = min(row + at_once, first + count)
        piece = buffer[: runtime.packed_bytes(rows.packing, end - row, rows.width)]
        runtime.pack_panels(
            rows.read(row, end),
            rows.stored.mlir,
            end - row,
            rows.width,
            piece,
            rows.packing,
            threads=0 if len(piece) >= PARALLEL_BYTES else 1,
        )
        rows.release(row, end)
        yield piece


def _alternating(
    first: Iterator[Bytes], second: Iterator[Bytes], panel_bytes: int
) -> Iterator[Bytes]:
    """Yield a panel of each by turns; their pieces are equally large."""
    for one, other in zip(first, second, strict=True):
        for panel in range(0, len(one), panel_bytes):
            yield one[panel : panel + panel_bytes]
            yield other[panel : panel + panel_bytes]


def _plain(tensor: Tensor, stored: DType, used: DType) -> Iterator[Any]:
    """Yield the elements of a tensor in order, widened if need be."""
    step = PIECE_BYTES // used.bytes * stored.bytes
    data = tensor.data
    for begin in range(0, tensor.bytes, step):
        end = min(begin + step, tensor.bytes)
        piece = data[begin:end]
        if stored != used:
            piece = widen(piece, stored, used)
        yield piece
        tensor.release(begin, end)


def widen(data: Bytes, stored: DType, used: DType) -> Bytes:
    """Return the bytes of numbers of 16 bits as those of the same float32 numbers."""
    if used == dtypes.FLOAT32:
        if stored == dtypes.BFLOAT16:
            return (data.view("<u2").astype("<u4") << 16).view(np.uint8)
        if stored == dtypes.FLOAT16:
            return data.view("<f2").astype("<f4").view(np.uint8)
    raise ValueError(f"{stored.name} does not widen to {used.name}")
