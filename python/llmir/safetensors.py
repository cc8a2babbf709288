# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A reader of safetensors checkpoints that believes nothing it has not checked.

Weights are mapped, never read whole, and handed on as bytes: the dtypes that
NumPy lacks need no special case, and compiling a model needs no memory for its
weights. Every number in a header is compared with the size of the file before it
is used, because a checkpoint may come from anywhere.

Format: https://huggingface.co/docs/safetensors (8 bytes of header length, a JSON
header, the data).
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

from llmir.errors import LLMIRError
from llmir.files import open_regular, parse_json, read_json, shown, shown_value

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"

# The format's own limit on the length of a header.
MAX_HEADER_BYTES = 100_000_000

# What stands in place of a file in a clone without its large files.
LFS_POINTER = b"version https://git-lfs"

# How much of a tensor is in hand at once, where all of it is looked at.
PIECE_BYTES = 32 * 2**20

# More bits than any file has.
MAX_BITS = 2**66

BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}

# What pickled checkpoints are called; they are named when refused.
PICKLE_PATTERNS = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


@dataclass(frozen=True)
class Tensor:
    """A tensor in a file.

    dtype: the format's name of the element type, `BF16`.
    shape: its sizes, outermost first.
    begin, end: where its bytes lie in the file.
    """

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int
    file: File

    @property
    def bytes(self) -> int:
        """The size of the data."""
        return self.end - self.begin

    @property
    def data(self) -> npt.NDArray[np.uint8]:
        """The bytes, [bytes] uint8, read-only, mapped from the file."""
        return self.file.bytes_between(self.begin, self.end)

    def read(self, begin: int, end: int) -> npt.NDArray[np.uint8]:
        """Return bytes [begin, end) of the data, as `data` does."""
        return self.file.bytes_between(self.begin + begin, self.begin + end)

    def release(self, begin: int = 0, end: int | None = None) -> None:
        """Drop the pages of the data's bytes [begin, end) from this process.

        They stay in the system's cache, and come back if they are read again.
        """
        last = self.end if end is None else self.begin + end
        self.file.release(self.begin + begin, last)

    def same(self, other: Tensor) -> bool:
        """Whether another tensor has the same dtype, shape and bytes."""
        if (self.dtype, self.shape) != (other.dtype, other.shape):
            return False
        # In pieces: what is compared, and what the comparison makes, take memory.
        for begin in range(0, self.bytes, PIECE_BYTES):
            end = min(begin + PIECE_BYTES, self.bytes)
            equal = np.array_equal(self.data[begin:end], other.data[begin:end])
            self.release(begin, end)
            other.release(begin, end)
            if not equal:
                return False
        return True


class File:
    """One mapped safetensors file."""

    def __init__(self, path: Path) -> None:
        """Map the file and check its whole header.

        Raises LLMIRError if anything in it does not fit the format or the file.
        """
        self.path = path
        self.tensors: dict[str, Tensor] = {}
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size < 8:
                raise self._bad(f"it has {size} bytes and a header needs 8")
            try:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except OSError as error:
                raise LLMIRError(f"cannot read {path}: {error.strerror}") from error
        if self._map[: len(LFS_POINTER)] == LFS_POINTER:
            raise self._bad("it is a pointer of Git LFS; fetch it by `git lfs pull`")
        length = int.from_bytes(self._map[:8], "little")
        if length > min(size - 8, MAX_HEADER_BYTES):
            raise self._bad(
                f"its header claims {length} bytes and the file has {size - 8} left"
            )
        self._parse(self._map[8 : 8 + length], 8 + length, size)

    def bytes_between(self, begin: int, end: int) -> npt.NDArray[np.uint8]:
        """Return the file's bytes [begin, end) as a read-only uint8 view."""
        return np.frombuffer(self._map, np.uint8)[begin:end]

    def release(self, begin: int, end: int) -> None:
        """Drop the whole pages within the file's bytes [begin, end)."""
        page = mmap.PAGESIZE
        first = -(-begin // page) * page
        last = end // page * page
        if last > first:
            self._map.madvise(mmap.MADV_DONTNEED, first, last - first)

    def _bad(self, what: str) -> LLMIRError:
        return LLMIRError(f"{self.path} is not a valid safetensors file: {what}")

    def _parse(self, text: bytes, start: int, size: int) -> None:
        try:
            header = parse_json(text)
        except ValueError as error:
            raise self._bad(f"in its header, {error}") from error
        if not isinstance(header, dict):
            raise self._bad("its header is not a JSON object")
        header.pop("__metadata__", None)
        for key, entry in header.items():
            self.tensors[key] = self._tensor(key, entry, start, size)
        # The data has neither holes nor overlaps, and nothing behind it.
        position = start
        for key, tensor in sorted(
            self.tensors.items(), key=lambda item: (item[1].begin, item[1].end)
        ):
            if tensor.begin != position:
                raise self._bad(
                    f"tensor {shown(key)} begins at byte {tensor.begin - start} of the "
                    f"data, and the one before it ends at {position - start}"
                )
            position = tensor.end
        if position != size:
            raise self._bad(
                f"its tensors end at byte {position} and the file has {size}"
            )

    def _tensor(self, key: str, entry: Any, start: int, size: int) -> Tensor:
        name = shown(key)
        if not isinstance(entry, dict):
            raise self._bad(f"the entry of tensor {name} is not an object")
        dtype, shape = entry.get("dtype"), entry.get("shape")
        offsets = entry.get("data_offsets")
        if not isinstance(dtype, str) or dtype not in BITS:
            raise self._bad(f"tensor {name} has the unknown dtype {shown_value(dtype)}")
        if not _is_sizes(shape):
            raise self._bad(f"tensor {name} has the shape {shown_value(shape)}")
        if not _is_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
            raise self._bad(f"tensor {name} has the offsets {shown_value(offsets)}")
        begin, end = start + offsets[0], start + offsets[1]
        if end > size:
            raise self._bad(
                f"tensor {name} ends at byte {end} and the file has {size}; "
                "was the download cut short?"
            )
        bits = BITS[dtype]
        for extent in shape:
            bits = min(bits * extent, MAX_BITS)
        if bits != 8 * (end - begin):
            needed = f"{bits // 8} bytes" if bits < MAX_BITS else "more than any file"
            raise self._bad(
                f"tensor {name}, {dtype} {shown_value(shape)}, needs {needed} "
                f"and has {end - begin}"
            )
        return Tensor(dtype, tuple(shape), begin, end, self)


def _is_sizes(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(
        type(item) is int and 0 <= item < 2**63 for item in value
    )


class Checkpoint(Mapping[str, Tensor]):
    """All tensors of a model directory, by their names."""

    def __init__(self, directory: Path, tensors: dict[str, Tensor]) -> None:
        """Hold the tensors found in `directory`; `open_checkpoint` finds them."""
        self.directory = directory
        self._tensors = tensors

    def __getitem__(self, key: str) -> Tensor:
        """Return the tensor called `key`; LLMIRError if there is none."""
        try:
            return self._tensors[key]
        except KeyError:
            raise LLMIRError(
                f"the weights in {self.directory} have no tensor {shown(key)}"
            ) from None

    def __contains__(self, key: object) -> bool:
        """Whether there is a tensor called `key`."""
        return key in self._tensors

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._tensors)

    def __len__(self) -> int:
        """Return the number of tensors."""
        return len(self._tensors)


def open_checkpoint(directory: Path) -> Checkpoint | None:
    """Map the safetensors files of a model directory; None if it has no weights.

    Raises LLMIRError if a file is damaged or missing, or if the weights are there
    as pickles only.
    """
    # Also a link to nowhere is there, and says so when it is opened.
    if os.path.lexists(directory / SINGLE):
        return Checkpoint(directory, File(directory / SINGLE).tensors)
    if os.path.lexists(directory / INDEX):
        return Checkpoint(directory, _open_shards(directory / INDEX))
    pickles = sorted(
        path.name for pattern in PICKLE_PATTERNS for path in directory.glob(pattern)
    )
    if pickles:
        raise LLMIRError(
            f"the weights in {directory} are pickled ({shown(pickles[0])}), which "
            "LLMIR does not read because a pickle can run code; save them as "
            "safetensors"
        )
    return None


def _open_shards(index: Path) -> dict[str, Tensor]:
    content = read_json(index)
    weight_map = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(weight_map, dict):
        raise LLMIRError(f"{index} has no weight_map")
    files: dict[str, File] = {}
    tensors: dict[str, Tensor] = {}
    for key, name in weight_map.items():
        if not isinstance(name, str) or not name.isprintable() or len(name) > 255:
            raise LLMIRError(
                f"{index} places tensor {shown(key)} in {shown_value(name)}, which is "
                "not the name of a file"
            )
        # By its text: the hub's cache has links to outside the directory.
        if (
            not name
            or PurePosixPath(name).is_absolute()
            or ".." in PurePosixPath(name).parts
        ):
            raise LLMIRError(
                f"{index} places tensor {shown(key)} in {shown_value(name)}, outside "
                "the directory"
            )
        if name not in files:
            files[name] = File(index.parent / name)
        if key not in files[name].tensors:
            raise LLMIRError(
                f"{index} places tensor {shown(key)} in {shown(name)}, which does "
                "not have it"
            )
        tensors[key] = files[name].tensors[key]
    for name, file in files.items():
        # Which one is meant would depend on who reads them.
        for key in file.tensors.keys() & weight_map.keys():
            if weight_map[key] != name:
                raise LLMIRError(
                    f"{index} places tensor {shown(key)} in "
                    f"{shown(weight_map[key])}, and {shown(name)} has one of that "
                    "name as well"
                )
    return tensors
