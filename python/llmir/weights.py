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

    entries: the compiler's layout: parameters with `key`, `source_dtype`,
        `source_shape`, `dtype`, `packed`, `offset` and `bytes`, constants with
        `begin`, their place in `constants`, `offset` and `bytes`.
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
                    pieces = _parameter(entry, checkpoint[entry["key"]])
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


def _parameter(entry: dict[str, Any], tensor: Tensor) -> Iterator[Any]:
    stored = dtypes.by_mlir(entry["source_dtype"])
    used = dtypes.by_mlir(entry["dtype"])
    # The child compared these before it compiled.
    if (tensor.dtype, tensor.shape) != (stored.stored, tuple(entry["source_shape"])):
        raise ValueError(f"{entry} does not describe {tensor}")
    if entry["packed"]:
        return _packed(tensor, stored, used)
    return _plain(tensor, stored, used)


def _packed(tensor: Tensor, stored: DType, used: DType) -> Iterator[Bytes]:
    """Yield the panels of a weight [n, k], a whole number of them at a time."""
    runtime = _native.runtime()
    n, k = tensor.shape
    # Panels are outermost, and their columns come behind the inputs.
    columns = runtime.packed_shape(used.mlir, 1, k)[2]
    panel_bytes = runtime.packed_bytes(used.mlir, columns, k)
    rows_at_once = max(1, PIECE_BYTES // panel_bytes) * columns
    row_bytes = k * stored.bytes
    buffer = np.empty(rows_at_once // columns * panel_bytes, np.uint8)
    data = tensor.data
    for row in range(0, n, rows_at_once):
        rows = min(rows_at_once, n - row)
        begin, end = row * row_bytes, (row + rows) * row_bytes
        piece = buffer[: runtime.packed_bytes(used.mlir, rows, k)]
        runtime.pack_panels(
            data[begin:end],
            stored.mlir,
            rows,
            k,
            piece,
            used.mlir,
            threads=0 if len(piece) >= PARALLEL_BYTES else 1,
        )
        tensor.release(begin, end)
        yield piece


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
