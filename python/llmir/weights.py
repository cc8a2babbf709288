# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Writes the weights of an artifact: each tensor packed, widened or copied.

For a function, which is called from this process, they are laid out in memory instead.

The layout, decided by the compiler, says what lies where. Threads take small pieces
of it, so small that what one has packed is still in its core's cache when it is
written, and let go of the checkpoint's pages behind them: compiling runs at the
memory's speed, and needs little of it whatever the size of the model.
"""

from __future__ import annotations

import math
import mmap
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from llmir import _native, dtypes
from llmir.dtypes import DType
from llmir.errors import LLMIRError
from llmir.files import shown
from llmir.safetensors import Checkpoint
from llmir.sources import Bytes, Part, Source, Transposed

# What a thread packs at once, or a panel if that is larger.
PIECE_BYTES = 2**20

# The outputs of a panel, whatever its format.
PANEL_ROWS = 32

# The most buffers that one call of the system writes.
MOST_BUFFERS = 512

# Takes buffers, and the place where the first of them goes.
Write = Callable[[int, list[Any]], None]


@dataclass
class Loss:
    """What quantizing weights of one format has changed.

    format: `kind`, `scales`, `group_size` and `asymmetric`, as the compiler says.
    tensors: how many weights there are.
    differences, weights: the sums of the squares of the differences and of the
        weights themselves.
    """

    format: dict[str, Any]
    tensors: int = 0
    differences: float = 0.0
    weights: float = 0.0

    @property
    def relative_error(self) -> float:
        """The root of the ratio of the two sums, in float64."""
        return math.sqrt(self.differences / self.weights) if self.weights else 0.0

    def facts(self) -> dict[str, Any]:
        """Return what the manifest says."""
        error = self.relative_error
        return {**self.format, "tensors": self.tensors, "relative_error": error}

    def describe(self) -> str:
        """Return a sentence."""
        groups = self.format["group_size"]
        where = f"groups of {groups}" if groups else "whole rows"
        zeros = " and zero points" if self.format["asymmetric"] else ""
        weights = "weight" if self.tensors == 1 else "weights"
        return (
            f"{self.tensors} {weights} in {self.format['kind']} by {where}, scales in "
            f"{self.format['scales']}{zeros}: the relative error of the weights is "
            f"{self.relative_error:.2%}"
        )


# What quantizing has changed in a weight: as in Loss, the sums of the squares of the
# differences and of the weight itself.
Change = tuple[float, float]


@dataclass(frozen=True)
class Feedback:
    """How errors of some inputs are made up for by others: `Feedback` of packing.h.

    factors: float32 [inputs, inputs], of which what lies below the diagonal is read.
    importance: float32 [inputs]. The inputs are those of the weight, rounded up to 32.
    """

    factors: npt.NDArray[np.float32]
    importance: npt.NDArray[np.float32]


def write_weights(
    path: Path,
    entries: list[dict[str, Any]],
    size: int,
    constants: bytes | memoryview,
    checkpoint: Checkpoint,
    progress: Callable[[int], object],
) -> dict[int, Change]:
    """Write the file `path` of `size` bytes.

    entries: the compiler's layout: parameters with `sources` (each of a `key`,
        `dtype` and `shape`, and perhaps the `slice` of it that is meant, laid end to
        end), `dtype`, `transposed`, `packed`, `gated`, `offset` and `bytes`, and
        `format` if they are quantized; constants with `begin`, their
        place in `constants`, `offset` and `bytes`.
    progress: is told of every number of bytes written.

    Returns what quantizing has changed, by the offsets of the weights. Raises
    LLMIRError if the disk is full, or if a weight that is quantized holds NaN or
    infinity.
    """
    try:
        with path.open("wb") as file:
            # What lies between the entries stays zero.
            os.truncate(file.fileno(), size)
            pieces = _all_pieces(entries, size, constants, checkpoint)
            return _write_pieces(pieces, _writer(file.fileno()), progress)
    except OSError as error:
        raise LLMIRError(f"cannot write {path}: {error.strerror}") from error


def pack_weights(
    entries: list[dict[str, Any]],
    size: int,
    constants: bytes | memoryview,
    tensors: Mapping[str, Source],
) -> Bytes:
    """Return `size` bytes, page-aligned, that `write_weights` would have written.

    tensors: what a checkpoint has, in memory.

    Raises LLMIRError if there is too little memory, or if a weight that is quantized
    holds NaN or infinity.
    """
    try:
        weights = np.frombuffer(mmap.mmap(-1, max(size, mmap.PAGESIZE)), np.uint8)
    except (OSError, OverflowError) as error:
        needed = _native.runtime().format_bytes(size)
        raise LLMIRError(f"there is no memory for {needed} of weights") from error

    def write(offset: int, buffers: list[Any]) -> None:
        for buffer in buffers:
            data = np.frombuffer(buffer, np.uint8)
            weights[offset : offset + len(data)] = data
            offset += len(data)

    pieces = _all_pieces(entries, size, constants, tensors)
    _write_pieces(pieces, write, lambda size: None)
    return weights


def rewrite_weight(
    path: Path, entry: dict[str, Any], checkpoint: Checkpoint, feedback: Feedback
) -> Change:
    """Quantize a weight of a file again, with feedback; return what has changed."""
    pieces = _pieces(entry, b"", checkpoint, feedback)
    try:
        with path.open("r+b") as file:
            to = _writer(file.fileno())
            changes = _write_pieces(pieces, to, lambda size: None)
    except OSError as error:
        raise LLMIRError(f"cannot write {path}: {error.strerror}") from error
    return changes[entry["offset"]]


def losses_of(entries: list[dict[str, Any]], changes: dict[int, Change]) -> list[Loss]:
    """Return what quantizing has changed, for each format."""
    losses: dict[tuple[Any, ...], Loss] = {}
    for entry in entries:
        if "format" in entry:
            key = tuple(entry["format"].values())
            loss = losses.setdefault(key, Loss(entry["format"]))
            differences, weights = changes[entry["offset"]]
            loss.tensors += 1
            loss.differences += differences
            loss.weights += weights
    return list(losses.values())


def _all_pieces(
    entries: list[dict[str, Any]],
    size: int,
    constants: bytes | memoryview,
    tensors: Mapping[str, Source],
) -> list[_Piece]:
    """Return the pieces of all weights, which fill `size` bytes at most."""
    pieces: list[_Piece] = []
    for entry in entries:
        if entry["offset"] + entry["bytes"] > size:
            raise ValueError(f"weight beyond the end of the file: {entry}")
        parts = _pieces(entry, constants, tensors)
        if sum(piece.size for piece in parts) != entry["bytes"]:
            raise ValueError(f"weight of another size: {entry}")
        pieces += parts
    return pieces


def _write_pieces(
    pieces: Sequence[_Piece], to: Write, progress: Callable[[int], object]
) -> dict[int, Change]:
    """Make pieces and hand them on; return what quantizing has changed, by offset."""
    changes: dict[int, Change] = {}
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        # In the order of the file, so that sums are the same every time. What has
        # not begun when one fails, or on an interrupt, is dropped.
        writes = pool.map(lambda piece: piece.write(to), pieces)
        for piece, change in zip(pieces, writes, strict=True):
            progress(piece.size)
            if "format" not in piece.entry:
                continue
            if not math.isfinite(change[1]):
                names = [shown(part["key"]) for part in piece.entry["sources"]]
                raise LLMIRError(
                    f"{' or '.join(names)} holds NaN or infinity, and cannot be "
                    "quantized"
                )
            before = changes.get(piece.entry["offset"], (0.0, 0.0))
            changes[piece.entry["offset"]] = (
                before[0] + change[0],
                before[1] + change[1],
            )
    return changes


class _Piece(Protocol):
    """A part of a weight that one thread makes and writes.

    entry: the weight, as the compiler describes it.
    size: how many bytes are written.
    """

    entry: dict[str, Any]

    @property
    def size(self) -> int: ...

    def write(self, to: Write) -> Change:
        """Make it, and hand it on; return what quantizing has changed."""
        ...


def _pieces(
    entry: dict[str, Any],
    constants: bytes | memoryview,
    tensors: Mapping[str, Source],
    feedback: Feedback | None = None,
) -> Sequence[_Piece]:
    if entry["kind"] == "constant":
        begin = entry["begin"]
        return [_Constant(entry, constants[begin : begin + entry["bytes"]])]
    if entry["kind"] == "rope_table":
        return [_Constant(entry, _rope_table(entry, tensors))]
    used = dtypes.by_mlir(entry["dtype"]) if "format" not in entry else None
    parts: list[tuple[Source, DType]] = []
    for source in entry["sources"]:
        tensor = tensors[source["key"]]
        stored = dtypes.by_mlir(source["dtype"])
        # The child compared these before it compiled.
        if (tensor.dtype, tensor.shape) != (stored.stored, tuple(source["shape"])):
            raise ValueError(f"{entry} does not describe {tensor}")
        part = tensor
        if "slice" in source:
            part = Part.of(part, **source["slice"])
        if entry["transposed"]:
            part = Transposed(part)
        parts.append((part, stored))
    if entry["packed"]:
        rows = _Rows(parts, entry, used, feedback)
        # Of a gated weight there is a panel of gates and one of what they gate, by
        # turns: `count` of each.
        halves = 1 + entry["gated"]
        count = -(-(rows.count // halves) // PANEL_ROWS)
        step = max(1, min(PIECE_BYTES // rows.panel_bytes, MOST_BUFFERS) // halves)
        return [
            _Panels(entry, rows, begin, min(begin + step, count))
            for begin in range(0, count, step)
        ]
    assert used is not None
    pieces: list[_Plain] = []
    offset = entry["offset"]
    for part, stored in parts:
        step = PIECE_BYTES // used.bytes * stored.bytes
        for begin in range(0, part.bytes, step):
            end = min(begin + step, part.bytes)
            pieces.append(_Plain(entry, offset, part, begin, end, stored, used))
            offset += pieces[-1].size
    return pieces


def _rope_table(entry: dict[str, Any], tensors: Mapping[str, Source]) -> bytes:
    """Return cosines and sines of the frequencies in a tensor.

    entry: `sources`, the tensor; `attention_factor`, by which the numbers are
        multiplied; `positions`, the table's rows; `bytes`.

    The result is [positions, 2, frequencies] in float32, computed in float64.
    """
    tensor = tensors[entry["sources"][0]["key"]]
    frequencies = tensor.read(0, tensor.bytes).view(np.float32).astype(np.float64)
    angles = np.arange(entry["positions"])[:, None] * frequencies
    table = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    data: bytes = (table * entry["attention_factor"]).astype(np.float32).tobytes()
    if tensor.dtype != "F32" or len(data) != entry["bytes"]:
        raise ValueError(f"{entry} does not describe {tensor}")
    return data


@dataclass
class _Constant:
    """What is in no file, whole."""

    entry: dict[str, Any]
    data: bytes | memoryview

    @property
    def size(self) -> int:
        return len(self.data)

    def write(self, to: Write) -> Change:
        to(self.entry["offset"], [self.data])
        return 0.0, 0.0


@dataclass
class _Plain:
    """The elements of a tensor in order, widened if need be.

    offset: where they go.
    begin, end: where they come from, in the bytes of the tensor.
    """

    entry: dict[str, Any]
    offset: int
    tensor: Source
    begin: int
    end: int
    stored: DType
    used: DType

    @property
    def size(self) -> int:
        return (self.end - self.begin) // self.stored.bytes * self.used.bytes

    def write(self, to: Write) -> Change:
        data = self.tensor.read(self.begin, self.end)
        if self.stored != self.used:
            data = widen(data, self.stored, self.used)
        to(self.offset, [data])
        self.tensor.release(self.begin, self.end)
        return 0.0, 0.0


class _Rows:
    """Matrices of equally long rows, laid end to end.

    count: how many rows there are.
    width: how many numbers a row has.
    stored: the dtype that the rows are read in.
    format: what they are packed to, as the runtime has it.
    panel_bytes: the size of a panel.
    """

    def __init__(
        self,
        tensors: list[tuple[Source, DType]],
        entry: dict[str, Any],
        used: DType | None,
        feedback: Feedback | None,
    ) -> None:
        """Describe the rows of a weight, which is quantized if `used` is None."""
        runtime = _native.runtime()
        self._feedback = feedback
        self._tensors = tensors
        self.count = sum(tensor.shape[0] for tensor, _ in tensors)
        self.width = tensors[0][0].shape[1]
        all_stored = {stored for _, stored in tensors}
        # All are exact in float32.
        mixed = used or dtypes.FLOAT32
        self.stored = all_stored.pop() if len(all_stored) == 1 else mixed
        if used is None:
            self.format = runtime.WeightFormat(**entry["format"])
        else:
            self.format = runtime.WeightFormat(used.mlir)
        self.panel_bytes: int = runtime.packed_bytes(self.format, 1, self.width)

    def pack(self, begin: int, end: int, to: Bytes) -> Change:
        """Pack rows into `to`; return what quantizing has changed."""
        parts = []
        for tensor, first, last, stored in self._parts(begin, end):
            part = tensor.read(first, last)
            if stored != self.stored:
                part = widen(part, stored, self.stored)
            parts.append(part)
        given: dict[str, Any] = {}
        if self._feedback is not None:
            given["factors"] = self._feedback.factors
            given["importance"] = self._feedback.importance
        change: Change = _native.runtime().pack_panels(
            parts[0] if len(parts) == 1 else np.concatenate(parts),
            self.stored.mlir,
            end - begin,
            self.width,
            to,
            self.format,
            **given,
        )
        for tensor, first, last, _ in self._parts(begin, end):
            tensor.release(first, last)
        return change

    def _parts(self, begin: int, end: int) -> Iterator[tuple[Source, int, int, DType]]:
        start = 0
        for tensor, stored in self._tensors:
            first, last = max(begin - start, 0), min(end - start, tensor.shape[0])
            if first < last:
                row_bytes = self.width * stored.bytes
                yield tensor, first * row_bytes, last * row_bytes, stored
            start += tensor.shape[0]


@dataclass
class _Panels:
    """Panels [begin, end) of a weight, or of both halves of a gated one."""

    entry: dict[str, Any]
    rows: _Rows
    begin: int
    end: int

    @property
    def size(self) -> int:
        halves: int = 1 + self.entry["gated"]
        return (self.end - self.begin) * self.rows.panel_bytes * halves

    def write(self, to: Write) -> Change:
        rows, gated = self.rows, self.entry["gated"]
        panels = _buffer(self.size).reshape(1 + gated, -1)
        size = rows.count // (1 + gated)
        first = self.begin * PANEL_ROWS
        last = min(self.end * PANEL_ROWS, size)
        differences = weights = 0.0
        for half, packed in enumerate(panels):
            change = rows.pack(half * size + first, half * size + last, packed)
            differences, weights = differences + change[0], weights + change[1]
        buffers: list[Any] = [panels[0]]
        if gated:
            both = panels.reshape(2, -1, rows.panel_bytes)
            buffers = [panel for pair in zip(*both, strict=True) for panel in pair]
        offset = self.entry["offset"] + self.begin * rows.panel_bytes * (1 + gated)
        to(offset, buffers)
        return differences, weights


_thread = threading.local()


def _buffer(size: int) -> Bytes:
    """Return memory of this thread's own, to be used until it asks again."""
    if getattr(_thread, "buffer", None) is None or len(_thread.buffer) < size:
        _thread.buffer = np.empty(size, np.uint8)
    whole: Bytes = _thread.buffer
    return whole[:size]


def _writer(file: int) -> Write:
    """Return what writes all of some buffers to a place in an open file."""
    return lambda offset, buffers: _write(file, offset, buffers)


def _write(file: int, offset: int, buffers: list[Any]) -> None:
    views = [memoryview(buffer) for buffer in buffers]
    while views:
        written = os.pwritev(file, views, offset)
        offset += written
        while views and written >= len(views[0]):
            written -= len(views.pop(0))
        if views:
            views[0] = views[0][written:]


def widen(data: Bytes, stored: DType, used: DType) -> Bytes:
    """Return the bytes of numbers of 16 bits as those of the same float32 numbers."""
    if used == dtypes.FLOAT32:
        if stored == dtypes.BFLOAT16:
            return (data.view("<u2").astype("<u4") << 16).view(np.uint8)
        if stored == dtypes.FLOAT16:
            return data.view("<f2").astype("<f4").view(np.uint8)
    raise ValueError(f"{stored.name} does not widen to {used.name}")
