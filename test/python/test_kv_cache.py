# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The KV cache alone, against NumPy: what is read, who has which block, errors."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

import llmir
from llmir import KVCacheConfig, LLMIRError, PagedKVCache

Array = npt.NDArray[Any]
DTYPES = ("float32", "float16", "bfloat16", "int8", "int4")


def make_cache(dtype: str = "float32", **fields: Any) -> PagedKVCache:
    """Return a small cache of two layers and two heads of eight numbers."""
    shape = {"num_layers": 2, "num_heads": 2, "head_dim": 8, "block_size": 4}
    return PagedKVCache(KVCacheConfig(**{**shape, "dtype": dtype, **fields}))


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def kept(x: Array, dtype: str) -> tuple[Array, Array]:
    """Return in float64 what a cache makes of heads [..., head_dim], and a step of it.

    Integers are chosen by the formula of `llm.quantize`, in float64 but for the scale,
    which is rounded to float32 and then to float16. Quotients near a half may be
    rounded to the other side in float32, which is why the step is told.
    """
    x = x.astype(np.float32)
    if dtype in ("float32", "float16"):
        return x.astype(dtype).astype(np.float64), np.zeros(x.shape)
    if dtype == "bfloat16":
        rounded = torch.from_numpy(x).bfloat16().double().numpy()
        return rounded, np.zeros(x.shape)
    least, most = (-127, 127) if dtype == "int8" else (-8, 7)
    low = np.minimum(x.min(axis=-1, keepdims=True), 0)
    high = np.maximum(x.max(axis=-1, keepdims=True), 0)
    spread = np.maximum(high, -low) if dtype == "int8" else high - low
    levels = np.float32(127 if dtype == "int8" else 15)
    scale = (spread / levels).astype(np.float16).astype(np.float64)
    divisor = np.where(scale == 0, 1, scale)
    zero = np.zeros_like(scale)
    if dtype == "int4":
        zero = np.rint(np.clip(least - low / divisor, least, most))
    steps = np.where(scale == 0, 0, np.rint(x / divisor))
    integers = np.clip(steps + zero, least, most)
    return (integers - zero) * scale, np.broadcast_to(scale, x.shape)


def assert_kept(found: Array, given: Array, dtype: str) -> None:
    """What was read is what was given, as a cache of `dtype` has it."""
    expected, step = kept(given, dtype)
    assert found.shape == expected.shape
    wrong = found.astype(np.float64) != expected
    if dtype.startswith("int"):
        # To the other side of a half, and seldom.
        assert (np.abs(found - expected) <= step)[wrong].all()
        assert wrong.mean() < 0.002
    else:
        assert not wrong.any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("head_dim", [64, 37])
@pytest.mark.parametrize("block_size", [1, 8, 16, 32])
def test_reads_what_was_appended(dtype: str, head_dim: int, block_size: int) -> None:
    cache = make_cache(dtype, head_dim=head_dim, block_size=block_size, num_layers=3)
    keys, values = normal(90, 2, head_dim), normal(90, 2, head_dim, seed=1) * 5 + 3
    for begin, end in [(0, 70), (70, 71), (71, 90)]:
        assert cache.append(keys[begin:end], values[begin:end], [3], layer=2)
    found_keys, found_values = cache.lookup(3, layer=2)
    assert found_keys.dtype == np.float32
    assert_kept(found_keys, keys, dtype)
    assert_kept(found_values, values, dtype)
    part, _ = cache.lookup(3, 2, 13, 85)
    assert np.array_equal(part, found_keys[13:85])
    assert cache.length(3, 2) == 90
    assert cache.length(3) == 0
    assert cache.lookup(3)[0].shape == (0, 2, head_dim)


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_at_the_edge(dtype: str) -> None:
    """Zeros, tiny and huge ones, heads of one sign, ties."""
    rows = normal(8, 2, 8)
    rows[0] = 0
    rows[1] *= 1e-9
    rows[2] = np.abs(rows[2]) + 3
    rows[3] = -np.abs(rows[3]) - 3
    rows[4] = 0.7
    rows[5] = np.arange(8) / 2 - 1.75
    rows[6, :, 0] = 60000
    rows[7, 0] = [-0.0, 1 + 2**-8, 1 + 3 * 2**-8, 2**-24, 2**-25, 65519, 1, 2**-130]
    cache = make_cache(dtype)
    assert cache.append(rows, rows, 0)
    if dtype == "float32":
        assert np.array_equal(cache.lookup(0)[0].view(np.uint32), rows.view(np.uint32))
        return
    # The kernels flush what float32 has below its normal numbers.
    rows[7, 0, 7] = 0
    expected, step = kept(rows, dtype)
    found = cache.lookup(0)[0]
    if dtype.startswith("int"):
        assert (np.abs(found - expected) <= step).all()
    else:
        assert np.array_equal(found[:7], expected[:7])
        near = np.abs(found[7] - expected[7])
        assert near.max() <= (0 if dtype == "float16" else 2.0**-130)


@pytest.mark.parametrize("given", ["float32", "float16"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_of_any_strides(dtype: str, given: str) -> None:
    rows = normal(12, 2, 8).astype(given)
    wide = np.zeros((2, 12, 16), given)
    wide[..., 4:12] = rows.transpose(1, 0, 2)
    unaligned = np.zeros(rows.nbytes + 1, np.uint8)[1:].view(given).reshape(rows.shape)
    unaligned[...] = rows
    read_only = rows.copy()
    read_only.flags.writeable = False
    forms = [
        rows,
        wide.transpose(1, 0, 2)[..., 4:12],
        rows[::-1].copy()[::-1],
        np.asfortranarray(rows),
        unaligned,
        read_only,
    ]
    cache = make_cache(dtype)
    for seq_id, form in enumerate(forms):
        assert cache.append(form, form, seq_id)
        for found in cache.lookup(seq_id):
            assert_kept(found, rows, dtype)
    repeated = np.broadcast_to(rows[:1], rows.shape)
    assert cache.append(repeated, rows, 9)
    assert_kept(cache.lookup(9)[0], repeated, dtype)


def test_batches() -> None:
    cache = make_cache()
    keys, values = normal(3, 5, 2, 8), normal(3, 5, 2, 8, seed=1)
    assert cache.append(keys, values, [7, 2, 9])
    assert cache.append(keys[0, :3], values[0, :3], [2, 9], counts=[1, 2])
    assert cache.append(keys[:, :1], values[:, :1], (9, 2, 7))
    lookups = {seq_id: cache.lookup(seq_id) for seq_id in (7, 2, 9)}
    assert np.array_equal(lookups[7][0], np.concatenate([keys[0], keys[2, :1]]))
    assert np.array_equal(
        lookups[2][1], np.concatenate([values[1], values[0, :1], values[1, :1]])
    )
    assert np.array_equal(
        lookups[9][0], np.concatenate([keys[2], keys[0, 1:3], keys[0, :1]])
    )
    assert cache.allocate(4)
    found_keys, found_values, lengths = cache.gather([2, 4, 9])
    assert lengths.tolist() == [7, 0, 8]
    assert found_keys.shape == (3, 8, 2, 8)
    for row, seq_id in enumerate([2, 4, 9]):
        alone = cache.lookup(seq_id)
        for found, one in zip((found_keys, found_values), alone, strict=True):
            assert np.array_equal(found[row, : lengths[row]], one)
            assert not found[row, lengths[row] :].any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_lookup_fills_arrays(dtype: str) -> None:
    cache = make_cache(dtype)
    rows = normal(10, 2, 8)
    assert cache.append(rows, -rows, 0)
    exact = cache.lookup(0, begin=2, end=9)
    out = (np.empty((7, 2, 8), np.float32), np.empty((7, 2, 8), np.float16))
    keys, values = cache.lookup(0, begin=2, end=9, out=out)
    assert keys is out[0]
    assert values is out[1]
    assert np.array_equal(keys, exact[0])
    assert np.array_equal(values, exact[1].astype(np.float16))
    halves, _, _ = cache.gather([0], dtype=np.float16)
    assert np.array_equal(halves[0], cache.lookup(0)[0].astype(np.float16))


def test_out_of_blocks_is_an_answer() -> None:
    cache = make_cache(num_blocks=3)
    rows = normal(20, 2, 8)
    assert cache.append(rows[:6], rows[:6], 1)
    before = cache.stats
    assert not cache.append(rows[:7], rows[:7], [1, 2], counts=[2, 5])
    assert not cache.allocate(5, 5)
    assert cache.stats == before
    assert cache.seq_ids == [1]
    assert np.array_equal(cache.lookup(1)[0], rows[:6])
    assert cache.append(rows[:6], rows[:6], [1, 2], counts=[2, 4])
    cache.free(1)
    assert cache.allocate(5, 8)
    assert cache.stats.free_blocks == 0
    assert (5 in cache, 1 in cache) == (True, False)


def test_forks_and_windows() -> None:
    cache = make_cache(num_blocks=6)
    rows = normal(30, 2, 8)
    for layer in (cache.layer(0), cache.layer(1)):
        assert layer.append(rows[:10], -rows[:10], 0)
    cache.fork(0, 1)
    assert cache.stats.shared_blocks == 3
    assert cache.layer(1).append(rows[20:24], rows[20:24], 1)
    assert cache.stats.copied_blocks == 1
    assert cache.layer(1).length(0) == 10
    assert np.array_equal(cache.layer(1).lookup(0)[1], -rows[:10])
    found = cache.layer(1).gather([1])[0][0]
    assert np.array_equal(found, np.concatenate([rows[:10], rows[20:24]]))
    assert np.array_equal(cache.lookup(1)[0], rows[:10])

    cache.release_before(1, 9)
    assert cache.block_table(1).tolist()[:2] == [-1, -1]
    assert cache.first_position(1) == 8
    assert cache.stats.shared_blocks == 0
    assert np.array_equal(cache.lookup(1, begin=8)[0], rows[8:10])
    assert np.array_equal(cache.lookup(0)[0], rows[:10])
    cache.truncate(0, 5)
    assert cache.length(0, 1) == 5
    assert cache.stats.used_blocks == 2 + 2
    cache.free(0)
    cache.free(1)
    assert cache.stats.used_blocks == 0


def test_random_use() -> None:
    """Against a model that gives every sequence arrays of its own."""
    random = np.random.default_rng(5)
    cache = make_cache(num_blocks=20, num_layers=1)
    held: dict[int, Array] = {}
    outcomes = {True: 0, False: 0}
    for step in range(3000):
        seq_id = int(random.integers(10))
        action = random.integers(6) if held else 0
        if action <= 2:
            rows = normal(int(random.integers(1, 12)), 2, 8, seed=step)
            fits = cache.append(rows, -rows, seq_id)
            outcomes[fits] += 1
            if fits:
                before = held.get(seq_id, np.empty((0, 2, 8), np.float32))
                held[seq_id] = np.concatenate([before, rows])
        elif action == 3 and seq_id not in held:
            parent = int(random.choice(list(held)))
            cache.fork(parent, seq_id)
            held[seq_id] = held[parent]
        elif seq_id in held and action == 4:
            cache.free(seq_id)
            del held[seq_id]
        elif seq_id in held:
            length = int(random.integers(len(held[seq_id]) + 1))
            cache.truncate(seq_id, length)
            held[seq_id] = held[seq_id][:length]
        tables = [block for each in held for block in cache.block_table(each)]
        stats = cache.stats
        assert cache.seq_ids == sorted(held)
        assert stats.used_blocks == len(set(tables))
        assert stats.shared_blocks == len(set(tables)) - sum(
            tables.count(block) == 1 for block in set(tables)
        )
        assert stats.used_blocks + stats.free_blocks == 20
        if step % 20 == 0:
            for each, rows in held.items():
                keys, values = cache.lookup(each)
                assert np.array_equal(keys, rows)
                assert np.array_equal(values, -rows)
    assert min(outcomes.values()) > 100


def test_threads_take_turns() -> None:
    cache = make_cache(num_blocks=4 * 64)
    rows = normal(200, 2, 8)
    problems: list[object] = []

    def use(seq_id: int) -> None:
        for _ in range(30):
            appended = cache.append(rows, -rows, seq_id)
            keys, values = cache.lookup(seq_id)
            same = np.array_equal(keys, rows) and np.array_equal(values, -rows)
            if not (appended and same):
                problems.append(seq_id)
            cache.free(seq_id)

    threads = [threading.Thread(target=use, args=(each,)) for each in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert cache.stats.used_blocks == 0


@pytest.mark.parametrize("head_dim", [64, 128])
def test_compression_counts_everything(head_dim: int) -> None:
    """A head of a token has a scale of two bytes, and of int4 a zero point's byte."""
    for dtype, bits, extra in (("int8", 8, 2), ("int4", 4, 3)):
        cache = make_cache(dtype, head_dim=head_dim, block_size=64)
        ratio = cache.compression_ratio()
        print(f"{dtype}, head_dim {head_dim}: {1 / ratio:.4f} of bfloat16's bytes")
        assert ratio == (head_dim * 2) / (head_dim * bits / 8 + extra)
        assert ratio == cache.compression_ratio("float16")
        assert 1 / ratio <= {"int8": 0.54, "int4": 0.30}[dtype]
        # Blocks of 16 tokens pad the scales to whole cache lines.
        padded = 1 / make_cache(dtype, head_dim=64, block_size=16).compression_ratio()
        assert padded <= {"int8": 0.54, "int4": 0.30}[dtype]


def test_sizes_and_defaults() -> None:
    config = KVCacheConfig(num_layers=32, num_heads=32, head_dim=128)
    assert config.total_blocks == 256
    assert config.bytes_per_block == 2 * 16 * 32 * 32 * 128 * 2
    assert config.total_bytes == 2**31
    cache = make_cache("bfloat16", max_seq_len=33)
    assert cache.stats.blocks == 9
    assert cache.stats.bytes == cache.config.total_bytes
    assert cache.stats.bytes_per_block == cache.config.bytes_per_block
    assert repr(cache) == "<PagedKVCache of bfloat16, 0 of 9 blocks used, 6.8 KiB>"
    assert llmir.KVCacheConfig is KVCacheConfig


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"num_layers": 0}, "a KV cache's layers must be from 1 to 65536, not 0"),
        ({"num_heads": 2.5}, "a KV cache's num_heads must be an integer, not 2.5"),
        ({"head_dim": -1}, "a KV cache's head_dim must be from 1 to 16384, not -1"),
        (
            {"block_size": 12},
            "a KV cache's block_size must be a power of two, not 12",
        ),
        (
            {"block_size": 0},
            "a KV cache's block_size must be from 1 to 16384, not 0",
        ),
        (
            {"max_seq_len": 0},
            "a KV cache's max_seq_len must be from 1 to 9223372036854775807, not 0",
        ),
        (
            {"num_blocks": 0},
            "a KV cache's number of blocks must be from 1 to 2147483647, not 0",
        ),
        (
            {"dtype": "fp8"},
            "a KV cache's dtype must be float32, float16, bfloat16, int8 or int4, not "
            "'fp8'",
        ),
        (
            {"num_blocks": 2**30},
            "a KV cache of 1073741824 blocks has too many positions",
        ),
    ],
)
def test_configs_that_are_refused(fields: dict[str, Any], sentence: str) -> None:
    shape: dict[str, Any] = {"num_layers": 2, "num_heads": 2, "head_dim": 8}
    with pytest.raises(LLMIRError) as caught:
        KVCacheConfig(**{**shape, **fields})
    assert str(caught.value) == sentence


def test_more_than_the_memory_is_refused() -> None:
    config = KVCacheConfig(
        num_layers=1000, num_heads=100, head_dim=128, max_seq_len=2**24
    )
    with pytest.raises(LLMIRError, match=r"a KV cache of 16777216 tokens takes 781\.2"):
        PagedKVCache(config)


ROWS = np.ones((3, 2, 8), np.float32)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda cache: cache.append(ROWS.astype(np.float64), ROWS, 1),
            "keys must be of float32 or float16, not float64",
        ),
        (
            lambda cache: cache.append(ROWS, ROWS[..., :4], 1),
            "values must be [sequences, tokens, 2, 8] or [tokens, 2, 8], not [3, 2, 4]",
        ),
        (
            lambda cache: cache.append(ROWS, ROWS[:2], 1),
            "keys are [3, 2, 8] and values [2, 2, 8]",
        ),
        (
            lambda cache: cache.append(ROWS[None], ROWS[None], [1, 2]),
            "there are keys of 1 sequences and 2 seq_ids",
        ),
        (
            lambda cache: cache.append(ROWS, ROWS, [1, 2]),
            "keys of 2 sequences are end to end, and counts must say how many tokens "
            "each one has",
        ),
        (
            lambda cache: cache.append(ROWS, ROWS, [1, 2], counts=[1, 1]),
            "keys are [3, 2, 8], and should be [2, 2, 8]",
        ),
        (
            lambda cache: cache.append(ROWS, ROWS, [1, 2], counts=[3]),
            "there are 2 sequences and 1 counts",
        ),
        (
            lambda cache: cache.append(ROWS, ROWS, [1, 2], counts=[3, 0]),
            "sequence 2 cannot be appended 0 tokens",
        ),
        (
            lambda cache: cache.append(ROWS, ROWS, [1, 1], counts=[2, 1]),
            "sequence 1 is in the append twice",
        ),
        (
            lambda cache: cache.append(ROWS, ROWS, "one"),
            "a seq_id must be an integer, not 'o'",
        ),
        (
            lambda cache: cache.append(ROWS, ROWS, None),
            "seq_ids must be integers, not None",
        ),
        (
            lambda cache: cache.append(ROWS, ROWS, 1, 2),
            "there is no layer 2 among the 2 of the KV cache",
        ),
        (
            lambda cache: cache.append(
                np.ones((9, 2, 8), np.float32), np.ones((9, 2, 8), np.float32), 0
            ),
            "sequence 0 cannot have 9 tokens after 3, since a sequence of the KV cache "
            "has 10 at most",
        ),
        (
            lambda cache: cache.lookup(0, 0, 1, 4),
            "positions 1 to 4 are not among the 3 of sequence 0 in layer 0",
        ),
        (
            lambda cache: cache.lookup(0, 0, 3, 1),
            "there are no positions from 3 to 1",
        ),
        (lambda cache: cache.lookup(1), "the KV cache has no sequence 1"),
        (
            lambda cache: cache.lookup(0, dtype=np.int8),
            "keys and values are read as float32 or float16, not int8",
        ),
        (
            lambda cache: cache.lookup(0, out=(ROWS, ROWS.transpose(2, 1, 0))),
            "out must be two arrays that can be written to, C-contiguous, of float32 "
            "or float16, [3, 2, 8]",
        ),
        (lambda cache: cache.free(True), "a seq_id must be an integer, not True"),
        (lambda cache: cache.allocate(0), "the KV cache has a sequence 0 already"),
        (
            lambda cache: cache.allocate(2**63),
            "a seq_id must be from -9223372036854775808 to 9223372036854775807, not "
            "9223372036854775808",
        ),
        (lambda cache: cache.fork(0, 0), "the KV cache has a sequence 0 already"),
        (
            lambda cache: cache.truncate(0, 4),
            "sequence 0 has 3 tokens, and cannot be truncated to 4",
        ),
        (
            lambda cache: cache.release_before(0, 1),
            "all layers of sequence 0 have 0 tokens, and what is before position 1 "
            "cannot be given back",
        ),
        (
            lambda cache: cache.layer(2),
            "there is no layer 2 among the 2 of the KV cache",
        ),
        (
            lambda cache: PagedKVCache(cache.config, threads=-1),
            "threads must be from 0 to 1024, not -1",
        ),
        (
            lambda cache: PagedKVCache("bf16"),
            "a PagedKVCache takes a KVCacheConfig, not 'bf16'",
        ),
    ],
)
def test_what_is_refused(call: Any, sentence: str) -> None:
    cache = make_cache(max_seq_len=10)
    assert cache.append(ROWS, ROWS, 0)
    before = cache.stats
    with pytest.raises(LLMIRError) as caught:
        call(cache)
    assert str(caught.value) == sentence
    assert cache.stats == before
    assert np.array_equal(cache.lookup(0)[0], ROWS)
