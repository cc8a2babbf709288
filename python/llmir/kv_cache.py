# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A paged KV cache for its own sake: keys and values of sequences, as NumPy arrays.

    config = llmir.KVCacheConfig(num_layers=2, num_heads=4, head_dim=64)
    cache = llmir.PagedKVCache(config)
    cache.append(keys, values, 7, layer=0)    # both float32 [tokens, 4, 64]
    keys, values = cache.lookup(7, layer=0)

Compiled models have a cache of their own. This one is for those who have keys and
values from elsewhere, and it stores them as a model's step does, by the same kernels.
Everything happens in the native runtime, without the GIL; calls from several threads
take turns.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from llmir import _native
from llmir.errors import LLMIRError

Array = npt.NDArray[np.float32] | npt.NDArray[np.float16]

# What the runtime calls the types of a cache.
DTYPES = {
    "float32": "f32",
    "float16": "f16",
    "bfloat16": "bf16",
    "int8": "i8",
    "int4": "i4",
}


@dataclass(frozen=True)
class KVCacheConfig:
    """The shape of a KV cache; LLMIRError if a number is out of range.

    num_layers: each has keys and values of its own. Blocks are those of all layers.
    num_heads: heads of keys and values; where query heads share them, these are fewer.
    head_dim: the numbers of a head, of keys and of values alike.
    block_size: the tokens of a block, a power of two.
    max_seq_len: the most tokens of one sequence.
    num_blocks: the blocks of all sequences together; None is enough for one of
        `max_seq_len` tokens.
    dtype: what is stored: float32, float16 or bfloat16, to which numbers are rounded,
        or int8 or int4, as `llm.quantize` defines it: each head of each token has a
        scale in float16, and of int4 a zero point too.
    """

    num_layers: int
    num_heads: int
    head_dim: int
    block_size: int = 16
    max_seq_len: int = 4096
    num_blocks: int | None = None
    dtype: str = "float16"

    def __post_init__(self) -> None:
        for name in ("num_layers", "num_heads", "head_dim", "block_size"):
            _integer(f"a KV cache's {name}", getattr(self, name))
        _integer("a KV cache's max_seq_len", self.max_seq_len, 1)
        if self.num_blocks is not None:
            _integer("a KV cache's num_blocks", self.num_blocks)
        if self.dtype not in DTYPES:
            raise LLMIRError(
                f"a KV cache's dtype must be {', '.join(list(DTYPES)[:-1])} or "
                f"{list(DTYPES)[-1]}, not {self.dtype!r}"
            )
        _ = self.bytes_per_block

    @property
    def total_blocks(self) -> int:
        """`num_blocks`, or what None stands for."""
        if self.num_blocks is not None:
            return self.num_blocks
        return -(-self.max_seq_len // max(self.block_size, 1))

    @property
    def bytes_per_block(self) -> int:
        """What a block takes in all layers, scales and padding included."""
        with _sentences():
            return int(_native.runtime().kv_block_bytes(*self._native_shape))

    @property
    def total_bytes(self) -> int:
        """What all blocks take once they are used."""
        return self.bytes_per_block * self.total_blocks

    @property
    def _native_shape(self) -> tuple[int, int, int, int, int, str]:
        return (
            self.num_layers,
            self.num_heads,
            self.head_dim,
            self.block_size,
            self.total_blocks,
            DTYPES[self.dtype],
        )


@dataclass(frozen=True)
class KVCacheStats:
    """What a cache holds.

    shared_blocks: the blocks that several sequences have.
    copied_blocks: how many were copied so far, since others had them too.
    bytes: the memory of all blocks, of which the system gives what was written to.
    """

    sequences: int
    blocks: int
    used_blocks: int
    free_blocks: int
    shared_blocks: int
    copied_blocks: int
    bytes_per_block: int
    bytes: int
    used_bytes: int


class PagedKVCache:
    """Keys and values of sequences, in blocks that sequences may share.

    A sequence has a number, any that fits in 64 bits. What is wrong with an argument
    is an LLMIRError with one sentence, and nothing has changed. Blocks that have run
    out are no error: `append` and `allocate` return False, and nothing has changed
    either; free or release something, and try again.
    """

    def __init__(self, config: KVCacheConfig, *, threads: int = 1) -> None:
        """Make an empty cache; its memory is taken as it fills.

        threads: how many store and read rows; 0 is all of the machine's.

        Raises LLMIRError if all blocks are more than the memory that is available.
        """
        if not isinstance(config, KVCacheConfig):
            raise LLMIRError(f"a PagedKVCache takes a KVCacheConfig, not {config!r}")
        _integer("threads", threads, 0, 1024)
        self.config = config
        with _sentences():
            self._cache = _native.runtime().PagedKVCache(
                *config._native_shape, max_seq_len=config.max_seq_len, threads=threads
            )

    def allocate(self, seq_id: int, num_tokens: int = 0) -> bool:
        """Begin a sequence with blocks for `num_tokens` tokens; False without these.

        `append` begins sequences too, and takes blocks as they are needed.
        """
        with _sentences():
            return bool(
                self._cache.allocate(
                    _seq_id(seq_id), _integer("num_tokens", num_tokens)
                )
            )

    def append(
        self,
        keys: Array,
        values: Array,
        seq_ids: int | Sequence[int],
        layer: int = 0,
        *,
        counts: Sequence[int] | None = None,
    ) -> bool:
        """Append tokens to one layer of sequences; False if blocks are too few.

        keys, values: float32 or float16, [sequences, tokens, num_heads, head_dim] for
            as many tokens of each sequence; or [tokens, num_heads, head_dim], those of
            one sequence, or of several end to end. They are read where they lie if the
            numbers of a head are neighbours, and tokens are evenly spaced.
        seq_ids: one or more sequences, each once. One that is not there is begun.
        counts: the tokens of each sequence, where they are end to end.

        The layers of a sequence grow on their own. A block that another sequence has
        too is copied first.
        """
        ids = _seq_ids(seq_ids)
        rows, columns = self._rows("keys", keys), self._rows("values", values)
        if counts is not None:
            each = [_integer("a count", count) for count in counts]
        elif rows.ndim == 4:
            if len(rows) != len(ids):
                raise LLMIRError(
                    f"there are keys of {len(rows)} sequences and {len(ids)} seq_ids"
                )
            each = [rows.shape[1]] * len(ids)
        elif len(ids) == 1:
            each = [len(rows)]
        else:
            raise LLMIRError(
                f"keys of {len(ids)} sequences are end to end, and counts must say "
                "how many tokens each one has"
            )
        if rows.shape != columns.shape:
            raise LLMIRError(
                f"keys are {list(rows.shape)} and values {list(columns.shape)}"
            )
        with _sentences():
            return bool(
                self._cache.append(
                    _flat(rows), _flat(columns), ids, each, _integer("layer", layer)
                )
            )

    def lookup(
        self,
        seq_id: int,
        layer: int = 0,
        begin: int = 0,
        end: int | None = None,
        *,
        dtype: npt.DTypeLike = np.float32,
        out: tuple[Array, Array] | None = None,
    ) -> tuple[Array, Array]:
        """Return the keys and the values of positions `begin` to `end` of a sequence.

        end: None is the layer's length.
        dtype: float32, in which they are exactly what is stored, or float16, to which
            they are rounded.
        out: two arrays to fill and return, C-contiguous [tokens, num_heads, head_dim],
            of float32 or float16. Otherwise new ones are made. Views of the blocks are
            not possible: keys lie by dimension, and narrow numbers in pairs.
        """
        first, index = _integer("begin", begin), _integer("layer", layer)
        last = self.length(seq_id, layer) if end is None else _integer("end", end)
        tokens = last - first
        if not 0 <= first <= last:
            raise LLMIRError(f"there are no positions from {first} to {last}")
        if out is None:
            keys, values = self._new((tokens,), dtype)
        else:
            keys, values = (self._writable(array, tokens) for array in out)
        with _sentences():
            self._cache.lookup(_seq_id(seq_id), index, first, keys, values)
        return keys, values

    def gather(
        self,
        seq_ids: Sequence[int],
        layer: int = 0,
        *,
        dtype: npt.DTypeLike = np.float32,
    ) -> tuple[Array, Array, npt.NDArray[np.int64]]:
        """Return the keys, the values and the lengths of several sequences.

        Keys and values are [sequences, tokens, num_heads, head_dim], float32 or
        float16, where tokens is the greatest of the lengths, with zeros behind the
        others' ends. Lengths are int64 [sequences].
        """
        ids = _seq_ids(seq_ids)
        lengths = np.array([self.length(each, layer) for each in ids], np.int64)
        keys, values = self._new((len(ids), int(lengths.max(initial=0))), dtype)
        with _sentences():
            self._cache.gather(ids, layer, keys, values)
        return keys, values, lengths

    def free(self, seq_id: int) -> None:
        """Forget a sequence. Blocks that no other one has are free then."""
        with _sentences():
            self._cache.free(_seq_id(seq_id))

    def fork(self, seq_id: int, new_seq_id: int) -> None:
        """Begin `new_seq_id` with all that `seq_id` has, by sharing its blocks."""
        with _sentences():
            self._cache.fork(_seq_id(seq_id), _seq_id(new_seq_id))

    def truncate(self, seq_id: int, length: int) -> None:
        """Forget a sequence's tokens from position `length` on, in all layers."""
        with _sentences():
            self._cache.truncate(_seq_id(seq_id), _integer("length", length))

    def release_before(self, seq_id: int, position: int) -> None:
        """Give back the blocks all of whose positions are before `position`.

        They cannot be read any more. A sliding window moves by this: each layer must
        have come as far, and a window of w tokens is kept by `length - w + 1`.
        """
        with _sentences():
            self._cache.release_before(_seq_id(seq_id), _integer("position", position))

    def layer(self, layer: int) -> KVCacheLayer:
        """Return a view of one layer, which shares everything with the cache."""
        if not 0 <= _integer("layer", layer) < self.config.num_layers:
            raise LLMIRError(
                f"there is no layer {layer} among the {self.config.num_layers} of the "
                "KV cache"
            )
        return KVCacheLayer(self, layer)

    def length(self, seq_id: int, layer: int = 0) -> int:
        """Return how many tokens a layer of a sequence has."""
        with _sentences():
            return int(self._cache.length(_seq_id(seq_id), _integer("layer", layer)))

    def first_position(self, seq_id: int) -> int:
        """Return the first position of a sequence that was not released."""
        with _sentences():
            return int(self._cache.first_position(_seq_id(seq_id)))

    def block_table(self, seq_id: int) -> npt.NDArray[np.int32]:
        """Return the blocks of a sequence, int32; -1 for those that were released."""
        with _sentences():
            return np.array(self._cache.block_table(_seq_id(seq_id)), np.int32)

    @property
    def seq_ids(self) -> list[int]:
        """The sequences that there are, in order."""
        return list(self._cache.sequence_ids)

    @property
    def stats(self) -> KVCacheStats:
        """What the cache holds now."""
        return KVCacheStats(**self._cache.stats)

    def compression_ratio(self, against: str = "bfloat16") -> float:
        """Return how many times less this takes than a cache of another dtype.

        Scales, zero points and padding are counted: int8 at head_dim 64 is 1.94.
        """
        other = replace(self.config, dtype=against)
        return other.bytes_per_block / self.config.bytes_per_block

    def __contains__(self, seq_id: object) -> bool:
        return seq_id in self.seq_ids

    def __repr__(self) -> str:
        stats = self.stats
        size = _native.runtime().format_bytes(stats.bytes)
        return (
            f"<PagedKVCache of {self.config.dtype}, {stats.used_blocks} of "
            f"{stats.blocks} blocks used, {size}>"
        )

    def _rows(self, what: str, given: Any) -> npt.NDArray[Any]:
        array = np.asarray(given)
        if array.dtype not in (np.float32, np.float16) or not array.dtype.isnative:
            raise LLMIRError(f"{what} must be of float32 or float16, not {array.dtype}")
        heads = (self.config.num_heads, self.config.head_dim)
        if array.ndim not in (3, 4) or array.shape[-2:] != heads:
            raise LLMIRError(
                f"{what} must be [sequences, tokens, {heads[0]}, {heads[1]}] or "
                f"[tokens, {heads[0]}, {heads[1]}], not {list(array.shape)}"
            )
        return array

    def _writable(self, array: Array, tokens: int) -> Array:
        shape = (tokens, self.config.num_heads, self.config.head_dim)
        fits = isinstance(array, np.ndarray) and array.shape == shape
        if (
            not fits
            or array.dtype not in (np.float32, np.float16)
            or not (array.flags.c_contiguous and array.flags.writeable)
            or not (array.dtype.isnative and array.flags.aligned)
        ):
            raise LLMIRError(
                "out must be two arrays that can be written to, C-contiguous, of "
                f"float32 or float16, {list(shape)}"
            )
        return array

    def _new(self, sizes: tuple[int, ...], dtype: npt.DTypeLike) -> tuple[Array, Array]:
        if np.dtype(dtype) not in (np.float32, np.float16):
            raise LLMIRError(
                f"keys and values are read as float32 or float16, not {np.dtype(dtype)}"
            )
        shape = (*sizes, self.config.num_heads, self.config.head_dim)
        return np.empty(shape, dtype), np.empty(shape, dtype)


class KVCacheLayer:
    """One layer of a `PagedKVCache`, with the methods that are about a layer."""

    def __init__(self, cache: PagedKVCache, index: int) -> None:
        """See `PagedKVCache.layer`."""
        self.cache = cache
        self.index = index

    def append(
        self,
        keys: Array,
        values: Array,
        seq_ids: int | Sequence[int],
        *,
        counts: Sequence[int] | None = None,
    ) -> bool:
        """Append tokens, as `PagedKVCache.append` does."""
        return self.cache.append(keys, values, seq_ids, self.index, counts=counts)

    def lookup(
        self,
        seq_id: int,
        begin: int = 0,
        end: int | None = None,
        *,
        dtype: npt.DTypeLike = np.float32,
        out: tuple[Array, Array] | None = None,
    ) -> tuple[Array, Array]:
        """Return keys and values, as `PagedKVCache.lookup` does."""
        return self.cache.lookup(seq_id, self.index, begin, end, dtype=dtype, out=out)

    def gather(
        self, seq_ids: Sequence[int], *, dtype: npt.DTypeLike = np.float32
    ) -> tuple[Array, Array, npt.NDArray[np.int64]]:
        """Return those of several sequences, as `PagedKVCache.gather` does."""
        return self.cache.gather(seq_ids, self.index, dtype=dtype)

    def length(self, seq_id: int) -> int:
        """Return how many tokens the layer has of a sequence."""
        return self.cache.length(seq_id, self.index)


@contextlib.contextmanager
def _sentences() -> Iterator[None]:
    try:
        yield
    except (ValueError, RuntimeError, MemoryError) as error:
        raise LLMIRError(str(error)) from error


def _integer(
    what: str, value: Any, least: int = -(2**63), most: int = 2**63 - 1
) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise LLMIRError(f"{what} must be an integer, not {value!r}")
    if not least <= int(value) <= most:
        raise LLMIRError(f"{what} must be from {least} to {most}, not {value}")
    return int(value)


def _seq_id(value: Any) -> int:
    return _integer("a seq_id", value)


def _seq_ids(values: Any) -> list[int]:
    if isinstance(values, int | np.integer):
        return [_seq_id(values)]
    try:
        return [_seq_id(value) for value in values]
    except TypeError as error:
        raise LLMIRError(f"seq_ids must be integers, not {values!r}") from error


def _flat(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return [tokens, heads, head_dim] that the runtime reads where it lies."""
    rows = array.reshape(-1, *array.shape[-2:])
    sized = [
        stride
        for size, stride in zip(rows.shape, rows.strides, strict=True)
        if size > 1
    ]
    item = rows.itemsize
    even = all(stride != 0 and stride % item == 0 for stride in sized)
    beside = rows.shape[2] <= 1 or rows.strides[2] == item
    aligned = rows.flags.aligned
    return rows if even and beside and aligned else np.ascontiguousarray(rows)
