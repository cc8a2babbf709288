# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the ops of the paged cache mean, against arrays that simply grow.

Scenarios of many appends: after each, the block table, what a lookup gives back and
what attention makes of it are what a model of the op's description says.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from llmir import _native
from reference import (
    Array,
    Cache,
    Program,
    assert_close,
    attention,
    excess_of,
    load,
    normal,
    store,
)
from test_reference_quantization import Quantized

LAYERS, DIM, BLOCK, MAX_LEN, SEQUENCES, BLOCKS = 3, 5, 4, 22, 5, 30
COLUMNS = 6
# A prompt whose lookups end within a block.
POSITIONS = 21

PAGED = """
!kv = !llm.paged_kv_cache<{cache}, 3, {kv_heads}, 5, 4, 22>
!new = tensor<?x?x{kv_heads}x5x{dtype}>
!rows = tensor<?x{kv_heads}x5x{dtype}>
!context = tensor<?x21x{kv_heads}x5x{dtype}>

func.func @append(%cache: !kv, %keys: !new, %values: !new, %ids: tensor<?xi32>,
                  %layer: index) -> (!kv, tensor<?x?xi32>) {{
  %new, %blocks = llm.append_kv %cache, %keys, %values, %ids layer %layer
    : (!kv, !new, !new, tensor<?xi32>, index) -> (!kv, tensor<?x?xi32>)
  return %new, %blocks : !kv, tensor<?x?xi32>
}}

func.func @append_slots(%cache: !kv, %keys: !rows, %values: !rows,
                        %slots: tensor<?xi32>, %layer: index) -> !kv {{
  %new = llm.append_kv %cache, %keys, %values slots %slots layer %layer
    : (!kv, !rows, !rows, tensor<?xi32>, index) -> !kv
  return %new : !kv
}}

func.func @rope_append(%cache: !kv, %query: tensor<?x{heads}x5x{dtype}>, %keys: !rows,
                       %values: !rows, %table: tensor<64x2x2xf32>,
                       %positions: tensor<?xi32>, %slots: tensor<?xi32>, %layer: index)
    -> (!kv, tensor<?x{heads}x5x{result}>) {{
  %new, %rotated = llm.rope_append_kv %cache, %query, %keys, %values, %table, %positions
                     slots %slots layer %layer
    : (!kv, tensor<?x{heads}x5x{dtype}>, !rows, !rows, tensor<64x2x2xf32>,
       tensor<?xi32>, tensor<?xi32>, index) -> (!kv, tensor<?x{heads}x5x{result}>)
  return %new, %rotated : !kv, tensor<?x{heads}x5x{result}>
}}

func.func @lookup(%cache: !kv, %blocks: tensor<?x?xi32>, %lens: tensor<?xi32>,
                  %layer: index) -> (!context, !context) {{
  %keys, %values = llm.lookup_kv %cache, %blocks, %lens layer %layer
    : (!kv, tensor<?x?xi32>, tensor<?xi32>, index) -> (!context, !context)
  return %keys, %values : !context, !context
}}

func.func @attend(%query: tensor<?x?x{heads}x5x{dtype}>, %cache: !kv,
                  %blocks: tensor<?x?xi32>, %lens: tensor<?xi32>, %layer: index)
    -> tensor<?x?x{heads}x5x{result}> {{
  %r = llm.paged_attention %query, %cache, %blocks, %lens layer %layer
    : (tensor<?x?x{heads}x5x{dtype}>, !kv, tensor<?x?xi32>, tensor<?xi32>, index)
    -> tensor<?x?x{heads}x5x{result}>
  return %r : tensor<?x?x{heads}x5x{result}>
}}

func.func @attend_ragged(%query: tensor<?x{heads}x5x{dtype}>, %cache: !kv,
                         %blocks: tensor<?x?xi32>, %lens: tensor<?xi32>,
                         %rows: tensor<?xi32>, %layer: index)
    -> tensor<?x{heads}x5x{result}> {{
  %r = llm.paged_attention %query, %cache, %blocks, %lens rows %rows layer %layer
    : (tensor<?x{heads}x5x{dtype}>, !kv, tensor<?x?xi32>, tensor<?xi32>,
       tensor<?xi32>, index) -> tensor<?x{heads}x5x{result}>
  return %r : tensor<?x{heads}x5x{result}>
}}
"""


def variant(
    name: str,
    sizes: str,
    rows: bool,
    kv_heads: int,
    heads: int,
    words: list[str],
    types: list[str],
    attributes: list[str],
) -> str:
    """Return a function of one paged attention.

    sizes: those of the query before its heads.
    words, types: the optional operands after the layer, with their keywords.
    """
    query = f"tensor<{sizes}{heads}x{DIM}xf32>"
    cache = f"!llm.paged_kv_cache<f32, {LAYERS}, {kv_heads}, {DIM}, {BLOCK}, {MAX_LEN}>"
    operands = [("query", query), ("cache", cache)]
    operands += [("blocks", "tensor<?x?xi32>"), ("lens", "tensor<?xi32>")]
    operands += [("rows", "tensor<?xi32>")] if rows else []
    operands += [("layer", "index")]
    operands += [
        (word.partition("%")[2], type_)
        for word, type_ in zip(words, types, strict=True)
    ]
    arguments = ", ".join(f"%{operand}: {type_}" for operand, type_ in operands)
    return (
        f"func.func @{name}({arguments}) -> {query} {{\n"
        "  %r = llm.paged_attention %query, %cache, %blocks, %lens "
        f"{'rows %rows ' if rows else ''}layer %layer {' '.join(words)} "
        f"{{{', '.join(attributes)}}} : "
        f"({', '.join(type_ for _, type_ in operands)}) -> {query}\n"
        f"  return %r : {query}\n"
        "}\n"
    )


# What a cache of integers makes of keys and values, [..., kv_heads, head_dim].
INTEGERS = {
    "i8": Quantized("i8", "f16", axis=-1),
    "i4": Quantized("i4", "f16", axis=-1, asymmetric=True),
}


def in_rows(held: str, exact: Array) -> tuple[Array, Array, Array]:
    """Return integers [..., d], scales and zero points [..., 1]."""
    rows = exact.reshape(-1, exact.shape[-1])
    parts = replace(INTEGERS[held], axis=1).quantize(rows)
    integers, scales, zeros = (part.reshape(*exact.shape[:-1], -1) for part in parts)
    return integers, scales, zeros


def as_held(held: str, exact: Array) -> Array:
    """Return numbers as a cache has them."""
    if held not in INTEGERS:
        return load(store(exact, held), held)
    integers, scales, zeros = in_rows(held, exact)
    return (integers - zeros) * load(scales, "f16")


def stored_parts(held: str, exact: Array) -> list[Array]:
    """Return what an append writes into each of the pools of keys, or of values."""
    if held not in INTEGERS:
        return [store(exact, held)]
    integers, scales, zeros = in_rows(held, exact)
    parts = [integers.astype(np.int8), scales]
    return [*parts, zeros.astype(np.int8)] if held == "i4" else parts


def assert_close_rows(actual: Array, exact: Array, dtype: str, rounds: bool) -> None:
    """Check rows of attention; if weights are rounded, few need not be so close.

    A weight that is rounded to bf16 in float32 may become the other neighbour of
    what float64 rounds to. That happens to one in some thousand, and moves its row by
    less than the distance of the two.
    """
    if not rounds:
        return assert_close(actual, exact, dtype)
    excess = excess_of(actual, exact, dtype)
    assert (excess.max(axis=-1) > 0).mean() < 0.05
    assert excess.max() < 2.0**-7 * np.abs(exact).max()


class Appended:
    """What a cache should hold, and the allocator that its ops describe."""

    def __init__(self, dtypes: tuple[str, str], kv_heads: int) -> None:
        self.dtypes = dtypes
        empty = np.empty((0, kv_heads, DIM))
        self.keys = [[empty] * SEQUENCES for _ in range(LAYERS)]
        self.values = [[empty] * SEQUENCES for _ in range(LAYERS)]
        # Of the values of a cache of integers, [positions, kv_heads].
        self.scales = [[empty[..., 0]] * SEQUENCES for _ in range(LAYERS)]
        self.table = np.full((SEQUENCES, COLUMNS), -1, np.int32)
        self.used = 0

    def append(self, layer: int, ids: Array, keys: Array, values: Array) -> None:
        """Append tokens [b, t, kv_heads, d] of the op's element type."""
        given, held = self.dtypes
        for pools, tokens in ((self.keys, keys), (self.values, values)):
            rounded = as_held(held, load(tokens, given))
            for b, sequence in enumerate(ids):
                pools[layer][sequence] = np.concatenate(
                    [pools[layer][sequence], rounded[b]]
                )
        if held in INTEGERS:
            scales = load(in_rows(held, load(values, given))[1][..., 0], "f16")
            for b, sequence in enumerate(ids):
                self.scales[layer][sequence] = np.concatenate(
                    [self.scales[layer][sequence], scales[b]]
                )
        for sequence in ids:
            for column in range(-(-self.length(layer, sequence) // BLOCK)):
                if self.table[sequence, column] < 0:
                    self.table[sequence, column] = self.used
                    self.used += 1

    def length(self, layer: int, sequence: int) -> int:
        """Return how many positions of a sequence a layer has."""
        return len(self.keys[layer][sequence])

    @property
    def lengths(self) -> Array:
        """How many positions each layer has of each sequence."""
        sequences = range(SEQUENCES)
        return np.array(
            [[self.length(i, s) for s in sequences] for i in range(LAYERS)], np.int32
        )


# Batches of seq_ids, and how many tokens each of them gets. They reach a block's
# end exactly, cross one and several, and fill a sequence.
STEPS = [
    ([2, 0], 3),
    ([0, 2, 4], 1),
    ([1], 9),
    ([4, 1, 0], 5),
    ([2], 1),
    ([3, 2], 6),
    ([1], 8),
]


class TestPagedCache:
    @pytest.mark.capability(
        "Operations", "llm.append_kv", "{held}", "{given}", "{result}"
    )
    @pytest.mark.capability(
        "Operations", "llm.lookup_kv", "{held}", "{given}", "{result}"
    )
    @pytest.mark.capability(
        "Operations", "llm.paged_attention", "{held}", "{given}", "{result}"
    )
    @pytest.mark.parametrize(
        ("heads", "kv_heads", "held", "given", "result"),
        [
            (2, 2, "f32", "f32", "f32"),
            (6, 2, "bf16", "f32", "bf16"),
            (3, 1, "f16", "bf16", "f32"),
            (6, 2, "i8", "f32", "f32"),
            (2, 2, "i8", "bf16", "bf16"),
            (6, 2, "i4", "f32", "f32"),
            (3, 1, "i4", "f16", "bf16"),
        ],
    )
    def test_many_steps(
        self,
        heads: int,
        kv_heads: int,
        held: str,
        given: str,
        result: str,
    ) -> None:
        program = Program(
            PAGED.format(
                cache=held, kv_heads=kv_heads, heads=heads, dtype=given, result=result
            )
        )
        cache = Cache.empty(
            held,
            LAYERS,
            kv_heads,
            DIM,
            BLOCK,
            MAX_LEN,
            blocks=BLOCKS,
            sequences=SEQUENCES,
        )
        expected = Appended((given, held), kv_heads)
        random = np.random.default_rng(kv_heads)
        for ids, tokens in STEPS:
            sequences = np.array(ids, np.int32)
            # Layers one after the other, as a model has them.
            for layer in range(LAYERS):
                new = (len(ids), tokens, kv_heads, DIM)
                keys, values = normal(random, (2, *new), given)
                *tensors, blocks = program.call(
                    "append", *cache.tensors, keys, values, sequences, layer
                )
                cache = Cache.of(tensors)
                expected.append(layer, sequences, keys, values)
                assert np.array_equal(cache.table, expected.table)
                assert np.array_equal(cache.lengths, expected.lengths)
                assert cache.used == expected.used
                assert np.array_equal(blocks, expected.table[sequences])
                self.read_back(program, cache, expected, layer, sequences, blocks)
                self.attend(
                    program, cache, expected, layer, sequences, blocks, tokens, result
                )
        assert expected.used == 16
        assert expected.lengths.max() == MAX_LEN
        # Appends to a layer leave the others as they were.
        everything = np.arange(SEQUENCES, dtype=np.int32)
        for layer in range(LAYERS):
            self.read_back(program, cache, expected, layer, everything, cache.table)

    @staticmethod
    def read_back(
        program: Program,
        cache: Cache,
        expected: Appended,
        layer: int,
        sequences: Array,
        blocks: Array,
    ) -> None:
        """Check that a lookup gives what was appended, and 0 beyond."""
        given, _ = expected.dtypes
        lens = expected.lengths[layer, sequences]
        found = program.call("lookup", *cache.tensors, blocks, lens, layer)
        for actual, pools in zip(found, (expected.keys, expected.values), strict=True):
            for b, sequence in enumerate(sequences):
                full = np.zeros((MAX_LEN, *actual.shape[2:]))
                full[: lens[b]] = pools[layer][sequence]
                assert np.array_equal(actual[b], store(full[:POSITIONS], given)), (
                    layer,
                    sequence,
                )

    @staticmethod
    def attend(
        program: Program,
        cache: Cache,
        expected: Appended,
        layer: int,
        sequences: Array,
        blocks: Array,
        tokens: int,
        result: str,
    ) -> None:
        """Check attention of the last tokens, in one shape and end to end."""
        given, held = expected.dtypes
        heads = int(
            re.findall(r"x(\d+)x5x", program.linalg.partition("@attend(")[2])[0]
        )
        random = np.random.default_rng(tokens)
        lens = expected.lengths[layer, sequences]
        query = normal(random, (len(sequences), tokens, heads, DIM), given)

        def attend(b: int, sequence: int) -> Array:
            values = expected.values[layer][sequence]
            scales = None
            if held in INTEGERS:
                scales = expected.scales[layer][sequence]
                values = values / scales[..., None]
            return attention(
                load(query[b], given),
                expected.keys[layer][sequence],
                values,
                DIM**-0.5,
                causal=True,
                rounding="bf16" if held == "bf16" or held in INTEGERS else None,
                value_scales=scales,
            )

        exact = np.stack([attend(b, s) for b, s in enumerate(sequences)])
        operands = (*cache.tensors, blocks, lens)
        actual = program.run(query, *operands, layer, name="attend")
        assert_close_rows(actual, exact, result, held in INTEGERS)
        starts = np.arange(0, query.shape[0] * tokens + 1, tokens, dtype=np.int32)
        flat = query.reshape(-1, heads, DIM)
        ragged = program.run(flat, *operands, starts, layer, name="attend_ragged")
        assert np.array_equal(ragged.reshape(actual.shape), actual)

    @pytest.mark.parametrize("dtype", ["f32", "i8", "i4"])
    def test_ragged_rows_and_slots(self, dtype: str) -> None:
        """Sequences of unequal numbers of new tokens, in blocks chosen elsewhere."""
        heads, kv_heads = 4, 2
        program = Program(
            PAGED.format(
                cache=dtype, kv_heads=kv_heads, heads=heads, dtype="f32", result="f32"
            )
        )
        random = np.random.default_rng(5)
        cache = Cache.empty(
            dtype, LAYERS, kv_heads, DIM, BLOCK, MAX_LEN, blocks=9, sequences=0
        )
        # A table narrower than the longest sequence, with room that is not used.
        table = np.array([[7, 2, -1], [0, -1, -1], [5, 8, 1]], np.int32)
        lens, new = np.array([6, 1, 11], np.int32), [2, 1, 7]
        layer = 1
        held = normal(random, (2, 3, 11, kv_heads, DIM))
        for first in (True, False):
            places = [
                (b, p)
                for b in range(3)
                for p in range(lens[b])
                if first == (p < lens[b] - new[b])
            ]
            slots = [table[b, p // BLOCK] * BLOCK + p % BLOCK for b, p in places]
            keys, values = (
                np.ascontiguousarray([x[place] for place in places]) for x in held
            )
            before = cache
            cache = Cache.of(
                program.call(
                    "append_slots",
                    *cache.tensors,
                    keys,
                    values,
                    np.array(slots, np.int32),
                    layer,
                )
            )
            parts = [stored_parts(dtype, x) for x in (keys, values)]
            rows = [part for both in zip(*parts, strict=True) for part in both]
            for pool, old, new_rows in zip(
                cache.pools, before.pools, rows, strict=True
            ):
                wanted = old.copy()
                flat = wanted[layer].reshape(-1, *new_rows.shape[1:])
                flat[slots] = new_rows
                assert np.array_equal(pool, wanted)
            assert cache.used == 0
        starts = np.cumsum([0, *new], dtype=np.int32)
        query = normal(random, (starts[-1], heads, DIM))
        actual = program.run(
            query, *cache.tensors, table, lens, starts, layer, name="attend_ragged"
        )
        for b in range(3):
            rows = slice(starts[b], starts[b + 1])
            keys, values = (as_held(dtype, x[b, : lens[b]]) for x in held)
            scales = None
            if dtype in INTEGERS:
                scales = load(in_rows(dtype, held[1][b, : lens[b]])[1][..., 0], "f16")
                values = values / scales[..., None]
            exact = attention(
                query[rows].astype(np.float64),
                keys,
                values,
                DIM**-0.5,
                causal=True,
                rounding="bf16" if dtype in INTEGERS else None,
                value_scales=scales,
            )
            assert_close_rows(actual[rows], exact, "f32", dtype in INTEGERS)

    @pytest.mark.capability(
        "Operations", "llm.rope_append_kv", "{held}", "{given}", "{result}"
    )
    @pytest.mark.parametrize(
        ("held", "given", "result"),
        [("f32", "f32", "f32"), ("bf16", "f32", "bf16"), ("f16", "bf16", "f32")],
    )
    def test_rotated_on_the_way(self, held: str, given: str, result: str) -> None:
        heads, kv_heads, layer = 4, 2, 2
        program = Program(
            PAGED.format(
                cache=held, kv_heads=kv_heads, heads=heads, dtype=given, result=result
            )
        )
        random = np.random.default_rng(7)
        cache = Cache.empty(
            held, LAYERS, kv_heads, DIM, BLOCK, MAX_LEN, blocks=9, sequences=0
        )
        tokens = 11
        query = normal(random, (tokens, heads, DIM), given)
        keys, values = normal(random, (2, tokens, kv_heads, DIM), given)
        table = normal(random, (64, 2, 2))
        positions = random.permutation(64)[:tokens].astype(np.int32)
        slots = random.permutation(9 * BLOCK)[:tokens].astype(np.int32)
        *tensors, rotated = program.call(
            "rope_append",
            *cache.tensors,
            query,
            keys,
            values,
            table,
            positions,
            slots,
            layer,
        )

        def rotate(x: Array) -> Array:
            """Rotate the first four of five dimensions, as pairs of complex numbers."""
            exact = load(x, given).astype(np.float64)
            waves = table[positions].astype(np.float64)
            turns = (waves[:, 0] + 1j * waves[:, 1])[:, None]
            turned = (exact[..., :2] + 1j * exact[..., 2:4]) * turns
            return np.concatenate([turned.real, turned.imag, exact[..., 4:]], -1)

        assert_close(rotated, rotate(query), result)
        new = Cache.of(tensors)
        for pool, old, rows in (
            (new.pools[0], cache.pools[0], rotate(keys)),
            (new.pools[1], cache.pools[1], load(values, given)),
        ):
            flat = pool[layer].reshape(-1, kv_heads, DIM)
            assert_close(flat[slots], rows, held)
            others = np.delete(flat, slots, axis=0)
            assert np.array_equal(
                others, np.delete(old[layer].reshape(-1, kv_heads, DIM), slots, axis=0)
            )
            assert np.array_equal(pool[:layer], old[:layer])

    @pytest.mark.parametrize("window", [None, 1, 6, 50])
    @pytest.mark.parametrize("softcap", [None, 1.5])
    @pytest.mark.parametrize("sinks", [None, "bf16"])
    @pytest.mark.parametrize("alibi", [None, "f32"])
    @pytest.mark.parametrize("query_type", [None, "bf16"])
    def test_parts_of_attention(
        self,
        window: int | None,
        softcap: float | None,
        sinks: str | None,
        alibi: str | None,
        query_type: str | None,
    ) -> None:
        """Every combination, on a ragged batch and on one of equal lengths."""
        heads, kv_heads = (6, 2) if sinks else (3, 1)
        attributes = [f"window = {window} : i64"] if window else []
        attributes += [f"softcap = {softcap} : f32"] if softcap else []
        attributes += [f"query_type = {query_type}"] if query_type else []
        operands = [("sinks", sinks), ("alibi", alibi)]
        types = [f"tensor<{heads}x{dtype}>" for _, dtype in operands if dtype]
        words = [f"{name} %{name}" for name, dtype in operands if dtype]
        program = Program(
            "\n".join(
                variant(name, sizes, rows, kv_heads, heads, words, types, attributes)
                for name, sizes, rows in [
                    ("ragged", "?x", True),
                    ("dense", "?x?x", False),
                ]
            )
        )
        random = np.random.default_rng(heads)
        options: dict[str, float | Array | None] = {
            "window": window,
            "softcap": softcap,
        }
        extra = []
        for name, dtype in operands:
            if dtype:
                extra.append(normal(random, (heads,), dtype))
                options[name] = load(extra[-1], dtype)

        # Keys and values of three sequences, in blocks that are out of order.
        cache = Cache.empty(
            "f32", LAYERS, kv_heads, DIM, BLOCK, MAX_LEN, blocks=9, sequences=0
        )
        table = np.array([[7, 2, -1], [0, -1, -1], [5, 8, 1]], np.int32)
        lens, layer = np.array([6, 3, 11], np.int32), 1
        held = normal(random, (2, 3, 11, kv_heads, DIM))
        for b, length in enumerate(lens):
            for p in range(length):
                place = (layer, table[b, p // BLOCK], p % BLOCK)
                cache.pools[0][place], cache.pools[1][place] = held[:, b, p]

        def exactly(query: Array, b: int) -> Array:
            keys, values = (x[b, : lens[b]].astype(np.float64) for x in held)
            exact = query.astype(np.float64)
            if query_type:
                exact = load(store(query, query_type), query_type)
            scale = DIM**-0.5
            return attention(exact, keys, values, scale, causal=True, **options)

        starts = np.cumsum([0, 2, 1, 7], dtype=np.int32)
        query = normal(random, (starts[-1], heads, DIM))
        actual = program.run(
            *(query, *cache.tensors, table, lens, starts, layer, *extra), name="ragged"
        )
        for b in range(3):
            rows = slice(starts[b], starts[b + 1])
            assert_close(actual[rows], exactly(query[rows], b), "f32")
        query = normal(random, (3, 3, heads, DIM))
        actual = program.run(
            *(query, *cache.tensors, table, lens, layer, *extra), name="dense"
        )
        expected = np.stack([exactly(query[b], b) for b in range(3)])
        assert_close(actual, expected, "f32")

    def test_published_forms(self) -> None:
        program = Program(
            """
    !kv_cache_t = !llm.paged_kv_cache<f16, 12, 16, 64, 16, 4096>
    !tokens = tensor<2x1x16x64xf16>
    func.func @main(
        %query: !tokens, %kv_cache: !kv_cache_t, %keys: !tokens,
        %values: !tokens, %seq_ids: tensor<2xi32>, %seq_lens: tensor<2xi32>)
        -> (!tokens, tensor<2x1xi32>) {
      %new_kv, %block_indices = llm.append_kv %kv_cache, %keys, %values, %seq_ids {
        block_size = 16 : i32,
        max_seq_len = 4096 : i32
      } : (!kv_cache_t, tensor<2x1x16x64xf16>, tensor<2x1x16x64xf16>, tensor<2xi32>)
          -> (!kv_cache_t, tensor<2x1xi32>)
      %output = llm.paged_attention %query, %new_kv, %block_indices, %seq_lens {
        num_heads = 16 : i32,
        head_dim = 64 : i32,
        scale = 0.125 : f32
      } : (tensor<2x1x16x64xf16>, !kv_cache_t, tensor<2x1xi32>, tensor<2xi32>)
          -> tensor<2x1x16x64xf16>
      return %output, %block_indices : !tokens, tensor<2x1xi32>
    }
            """
        )
        random = np.random.default_rng(0)
        cache = Cache.empty("f16", 12, 16, 64, 16, 4096, blocks=2, sequences=8)
        query, keys, values = normal(random, (3, 2, 1, 16, 64), "f16")
        ids, lens = np.array([6, 3], np.int32), np.ones(2, np.int32)
        output, blocks = program.call(
            "main", query, *cache.tensors, keys, values, ids, lens
        )
        # One token sees itself.
        assert np.array_equal(output, values)
        assert blocks.tolist() == [[0], [1]]

    def test_through_calls_and_loops(self) -> None:
        program = Program(
            """
            !kv = !llm.paged_kv_cache<f32, 3, 1, 2, 4, 8>
            !new = tensor<1x?x1x2xf32>
            func.func private @layer(%cache: !kv, %x: !new, %ids: tensor<1xi32>,
                                     %layer: index) -> (!new, !kv) {
              %new, %blocks = llm.append_kv %cache, %x, %x, %ids layer %layer
                : (!kv, !new, !new, tensor<1xi32>, index) -> (!kv, tensor<1x2xi32>)
              %zero = arith.constant 0 : index
              %one = arith.constant 1 : index
              %n = tensor.dim %x, %one : !new
              %length = arith.index_cast %n : index to i32
              %lens = tensor.from_elements %length : tensor<1xi32>
              %y = llm.paged_attention %x, %new, %blocks, %lens layer %layer
                : (!new, !kv, tensor<1x2xi32>, tensor<1xi32>, index) -> !new
              return %y, %new : !new, !kv
            }
            func.func @main(%cache: !kv, %x: !new, %ids: tensor<1xi32>, %n: index)
                -> (!new, !kv) {
              %zero = arith.constant 0 : index
              %one = arith.constant 1 : index
              %y, %new = scf.for %i = %zero to %n step %one
                  iter_args(%h = %x, %kv = %cache) -> (!new, !kv) {
                %runs = arith.cmpi ne, %i, %one : index
                %out:2 = scf.if %runs -> (!new, !kv) {
                  %r:2 = func.call @layer(%kv, %h, %ids, %i)
                    : (!kv, !new, tensor<1xi32>, index) -> (!new, !kv)
                  scf.yield %r#0, %r#1 : !new, !kv
                } else {
                  scf.yield %h, %kv : !new, !kv
                }
                scf.yield %out#0, %out#1 : !new, !kv
              }
              return %y, %new : !new, !kv
            }
            """
        )
        random = np.random.default_rng(1)
        cache = Cache.empty("f32", 3, 1, 2, 4, 8, blocks=2, sequences=1)
        x = normal(random, (1, 5, 1, 2))
        y, *tensors = program.call("main", *cache.tensors, x, np.zeros(1, np.int32), 3)
        assert Cache.of(tensors).lengths.tolist() == [[5], [0], [5]]
        expected = x[0].astype(np.float64)
        for _ in range(2):
            expected = attention(
                expected, expected, expected, scale=2**-0.5, causal=True
            )
        assert_close(y, expected[None], "f32")

    def test_refuses_what_it_cannot_take_apart(self) -> None:
        module = _native.compiler().Module.parse(
            """
            !kv = !llm.paged_kv_cache<f32, 1, 1, 2, 4, 8>
            func.func @f(%a: !kv, %b: !kv, %c: i1) -> !kv {
              %r = arith.select %c, %a, %b : !kv
              return %r : !kv
            }
            """
        )
        with pytest.raises(RuntimeError, match=r"4:20: error: .* take apart"):
            module.run("convert-llm-to-linalg")
