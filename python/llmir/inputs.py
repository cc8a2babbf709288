# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Random inputs that mean something to a program.

A step reads a block table, lengths and slots that must fit each other; token ids must
lie within a vocabulary, and two tensors may have to be of one size. The ops say what
they need (`InputConstraintsOpInterface`), the compiler follows it to a function's
arguments, and here sizes and elements are found that satisfy it. Elements are numbers
at first, and are encoded for each program that is run on them, so that two programs
whose caches hold different types start from the same contents.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from llmir.errors import LLMIRError
from llmir.reference import DTYPES, SCALARS, Array, load, store

Numbers = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
# A number and multiples of unknown sizes, as the compiler writes them.
Expression = Sequence[Any]

FLOATS = ("f64", "f32", "f16", "bf16")
# What sizes are tried: one, primes, and both sides of a vector or a block.
SIZES = (1, 2, 3, 5, 7, 11, 13, 16, 17, 31, 32, 33)
# Integers that nothing constrains: small, and seldom 0, so that a mask hides little.
FREE_INTEGERS = 8
# Larger tensors say no more, and take long.
MOST_ELEMENTS = 2**24
MOST_CONTEXT = 2**14
MOST_TRIES = 2000
# What stands where no program may read.
POISON = 1024.0


class UnsolvableError(LLMIRError):
    """No inputs were found."""


@dataclass(frozen=True)
class Function:
    """What a public function takes and returns, as the compiler describes it.

    inputs, results: `kind`, `type` (MLIR's) and `dtype`, and what else a kind has.
    """

    name: str
    inputs: list[dict[str, Any]]
    results: list[dict[str, Any]]
    products: list[Any]
    at_least: list[Any]
    constraints: list[dict[str, Any]]

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """Return the constraints of a kind."""
        return [each for each in self.constraints if each["kind"] == kind]


def functions_of(module: Any) -> dict[str, Function]:
    """Return the public functions of a program, by name."""
    described = [Function(**entry) for entry in json.loads(module.inputs)]
    return {function.name: function for function in described}


@dataclass
class CacheContent:
    """What a paged cache holds, as integers times a scale, less a zero point.

    integers: [2, layers, blocks, block_size, kv_heads, head_dim], keys and values;
        scales and zeros: the same with 1 for head_dim.
    written: [blocks, block_size], where there is something to be read.
    """

    integers: Numbers
    scales: Numbers
    zeros: Numbers
    written: npt.NDArray[np.bool_]
    table: Integers
    lengths: Integers
    used: int


@dataclass
class QuantizedContent:
    """A quantized tensor by its parts, in their order."""

    parts: list[Array]


@dataclass
class Inputs:
    """The arguments of one call, which each program takes in its own types.

    sizes: what the dynamic sizes are, for messages.
    """

    values: list[Any]
    shapes: list[tuple[int, ...]] = field(default_factory=list)

    def encode(self, function: Function) -> list[Any]:
        """Return the arguments of a lowered function."""
        encoded: list[Any] = []
        for value, described in zip(self.values, function.inputs, strict=True):
            encoded += encode(value, described)
        return encoded


def encode(value: Any, described: Mapping[str, Any]) -> list[Any]:
    """Return what a value is to a program that describes it so."""
    if isinstance(value, CacheContent):
        return list(encode_cache(value, described))
    if isinstance(value, QuantizedContent):
        return [part.copy() for part in value.parts]
    if described["kind"] == "number":
        return [value.item()]
    if described["kind"] == "sharded":
        return [store(_shards(value, described), described["dtype"])]
    return [store(value, described["dtype"])]


def encode_cache(
    content: CacheContent, described: Mapping[str, Any]
) -> Iterator[Array]:
    """Yield the tensors of a cache, in the order of --convert-llm-to-linalg."""
    numbers = (content.integers - content.zeros) * content.scales
    dtype = described["dtype"]
    if dtype in FLOATS:
        for part in numbers:
            yield store(part, dtype)
    else:
        integers, zeros = content.integers, content.zeros
        if dtype == "i8":
            integers, zeros = integers - zeros, np.zeros_like(zeros)
        for part in integers:
            yield store(part, "i8")
        for part in content.scales:
            yield store(part, "f16")
        if dtype == "i4":
            for part in zeros:
                yield store(part, "i8")
    yield content.table.astype(np.int32)
    yield content.lengths.astype(np.int32)
    yield np.array(content.used, np.int32)


def decode_cache(
    tensors: Sequence[Array], described: Mapping[str, Any]
) -> tuple[Numbers, list[Array]]:
    """Return keys and values as numbers, and the table, the lengths and their like."""
    *pools, table, lengths, used = tensors
    dtype = described["dtype"]
    if dtype in FLOATS:
        numbers = np.stack([load(pool, dtype) for pool in pools])
    else:
        numbers = np.stack([load(pool, "i8") for pool in pools[:2]])
        if dtype == "i4":
            numbers = numbers - np.stack([load(pool, "i8") for pool in pools[4:6]])
        numbers = numbers * np.stack([load(pool, "f16") for pool in pools[2:4]])
    return numbers, [table, lengths, used]


def cache_tensors(described: Mapping[str, Any]) -> int:
    """Return how many tensors a cache is."""
    return {"i8": 7, "i4": 9}.get(described["dtype"], 5)


def quantized_tensors(described: Mapping[str, Any]) -> int:
    """Return how many tensors a quantized tensor is."""
    if "panels" in described["packing"]:
        return 1
    return 2 + bool(described["asymmetric"])


def _shards(value: Array, described: Mapping[str, Any]) -> Array:
    if described["placement"] == "split":
        return np.stack(np.split(value, described["shards"], described["axis"]))
    if described["placement"] == "replicated":
        return np.stack([value] * described["shards"])
    # Terms that are exact, and add up exactly.
    parts = [value * factor for factor in (0.5, 0.25)]
    rest = [value * 0.25] + [np.zeros_like(value)] * (described["shards"] - 2)
    return np.stack([*parts, *rest][: described["shards"]])


class Generator:
    """Finds inputs of one function.

    partners: what other programs that run on the same inputs say of the function;
        where they quantize what this one does not, contents are exact in both.
    ranges: what integers an input may have, by its number: from, and up to and not
        with.
    most_size: the largest size that is tried where a size is free.
    """

    def __init__(
        self,
        function: Function,
        partners: Sequence[Function] = (),
        ranges: Mapping[int, tuple[int, int]] | None = None,
        most_size: int = max(SIZES),
    ) -> None:
        """Look for inputs that cannot be generated.

        Raises LLMIRError if there is one.
        """
        self.function = function
        self.partners = partners
        self.ranges = ranges or {}
        self.most_size = most_size
        for index, described in enumerate(function.inputs):
            reason = _refusal(described)
            if reason:
                raise LLMIRError(
                    f"argument {index} of @{function.name} is {described['type']}, "
                    f"and {reason}"
                )

    def generate(
        self, random: np.random.Generator, scale: float, *, smallest: bool = False
    ) -> Inputs:
        """Return inputs.

        scale: what random floats are multiplied by, a power of 2.
        smallest: whether to make every size as small as it can be.

        Raises UnsolvableError if none are found.
        """
        reason = "the sizes of its arguments contradict each other"
        for attempt in range(MOST_TRIES):
            sizes = self._sizes(random, smallest and attempt == 0)
            if sizes is None:
                continue
            try:
                return _Call(self, sizes, random, scale).inputs()
            except UnsolvableError as error:
                reason = str(error)
        raise UnsolvableError(
            f"no inputs were found that @{self.function.name} can be run on: {reason}"
        )

    def _sizes(
        self, random: np.random.Generator, smallest: bool
    ) -> dict[int, int] | None:
        """Return what unknown sizes are, or None if that does not fit."""
        function = self.function
        products = {
            product[1][0][0]: (left, right)
            for product, left, right in function.products
            if product[0] == 0 and len(product[1]) == 1 and product[1][0][1] == 1
        }
        tried = [size for size in SIZES if size <= self.most_size]
        for constraint in function.of_kind("threshold"):
            if constraint["size"] <= min(max(SIZES), self.most_size):
                tried += [constraint["size"], constraint["size"] + 1] * 2
        sizes: dict[int, int] = {}
        for unknown in sorted(self._unknowns() - products.keys()):
            sizes[unknown] = 1 if smallest else int(random.choice(tried))
        # Products of products come later, having been found later.
        for unknown, (left, right) in sorted(products.items()):
            try:
                sizes[unknown] = value_of(left, sizes) * value_of(right, sizes)
            except KeyError:
                sizes[unknown] = int(random.choice(tried))
        fits = (
            all(
                value_of(product, sizes)
                == value_of(left, sizes) * value_of(right, sizes)
                for product, left, right in function.products
            )
            and all(
                value_of(size, sizes) >= value_of(least, sizes)
                for size, least in function.at_least
            )
            and all(
                all(size >= 1 for size in shape) and np.prod(shape) <= MOST_ELEMENTS
                for shape in self.shapes(sizes)
            )
        )
        return sizes if fits else None

    def _unknowns(self) -> set[int]:
        function = self.function
        expressions = [size for each in function.inputs for size in each["sizes"]]
        expressions += [each["number"] for each in function.inputs if "number" in each]
        expressions += [part for each in function.products for part in each]
        expressions += [part for each in function.at_least for part in each]
        for constraint in function.constraints:
            expressions += [
                constraint[name]
                for name in ("low", "end", "tokens", "columns", "count")
                if name in constraint
            ]
        return {unknown for _, factors in expressions for unknown, _ in factors}

    def shapes(self, sizes: Mapping[int, int]) -> list[tuple[int, ...]]:
        """Return the shapes of the arguments."""
        return [
            tuple(value_of(size, sizes) for size in each["sizes"])
            for each in self.function.inputs
        ]


def value_of(expression: Expression, sizes: Mapping[int, int]) -> int:
    """Return the value of a sum of sizes."""
    constant, factors = expression
    return int(constant + sum(factor * sizes[unknown] for unknown, factor in factors))


def _refusal(described: Mapping[str, Any]) -> str | None:
    kind, dtype = described["kind"], described["dtype"]
    if kind == "other":
        return "nothing is known of that type"
    if kind == "number" and dtype not in SCALARS:
        return "no such number can be passed"
    if kind in ("tensor", "sharded") and dtype not in DTYPES:
        return f"NumPy has no elements of type {dtype}"
    if kind == "cache" and dtype not in (*FLOATS, "i8", "i4"):
        return f"there are no caches of {dtype}"
    if kind == "quantized" and "panels" in described["packing"]:
        return "panels are made of parameters, when compiling"
    return None


class _Call:
    """The inputs of one call, once the sizes are chosen."""

    def __init__(
        self,
        generator: Generator,
        sizes: Mapping[int, int],
        random: np.random.Generator,
        scale: float,
    ) -> None:
        self.generator = generator
        self.function = generator.function
        self.sizes = sizes
        self.random = random
        self.scale = scale
        self.shapes = generator.shapes(sizes)
        self.values: dict[int, Any] = {}
        # The positions of a ragged batch's tokens, by how many there are.
        self.batches: dict[int, Integers] = {}

    def inputs(self) -> Inputs:
        for index, described in enumerate(self.function.inputs):
            if described["kind"] == "cache":
                self._fill_cache(index, described)
        self._fill_batches(None)
        for index, described in enumerate(self.function.inputs):
            if index not in self.values:
                self.values[index] = self._other(index, described)
        return Inputs([self.values[i] for i in range(len(self.shapes))], self.shapes)

    # Sequences and their caches.

    def _of_cache(self, kind: str, index: int | None) -> list[dict[str, Any]]:
        return [each for each in self.function.of_kind(kind) if each["cache"] == index]

    def _fill_batches(self, cache: int | None) -> list[tuple[Integers, Integers]]:
        """Fill in rows and lengths of what reads a cache; return new and all tokens."""
        found = []
        for each in self._of_cache("contexts", cache):
            tokens = value_of(each["tokens"], self.sizes)
            count = value_of(each["count"], self.sizes)
            new = np.full(count, tokens)
            if each["ragged"]:
                rows = each["rows"]
                if rows is None:
                    continue
                if rows not in self.values:
                    self.values[rows] = self._rows(count, tokens)
                new = np.diff(self.values[rows])
            lengths = each["lengths"]
            if lengths not in self.values:
                self.values[lengths] = new + self._pasts(new, each)
            found.append((new, self.values[lengths]))
        return found

    def _rows(self, count: int, tokens: int) -> Integers:
        """Split tokens into chunks, single ones among them."""
        cuts = self.random.integers(0, tokens + 1, count - 1)
        if tokens >= count:
            # None is empty, and some have one token, as in decoding.
            cuts = 1 + self.random.choice(tokens - 1, count - 1, replace=False)
            if count > 2 and self.random.random() < 0.5:
                cuts[0] = 1
                cuts = np.unique(cuts)
                free = np.setdiff1d(np.arange(1, tokens), cuts)
                missing = count - 1 - len(cuts)
                cuts = np.concatenate(
                    [cuts, self.random.choice(free, missing, replace=False)]
                )
        return np.concatenate([[0], np.sort(cuts), [tokens]]).astype(np.int64)

    def _limit(self, each: Mapping[str, Any]) -> int:
        """The longest context that a table, a cache and rotations allow."""
        facts = self.function.inputs[each["cache"]] if each["cache"] is not None else {}
        limits = [MOST_CONTEXT]
        if facts:
            columns = value_of(each["columns"], self.sizes)
            limits += [facts["max_seq_len"], columns * facts["block_size"]]
        limits += [
            value_of(other["end"], self.sizes)
            for other in self.function.of_kind("positions")
        ]
        return min(limits)

    def _pasts(self, new: Integers, each: Mapping[str, Any]) -> Integers:
        room = self._limit(each) - new
        if (room < 0).any():
            raise UnsolvableError(
                f"{int(new.max())} new tokens of a sequence are more than it can have"
            )
        block = 16
        if each["cache"] is not None:
            block = self.function.inputs[each["cache"]]["block_size"]
        interesting = [0, 1, block - 1, block, block + 1, 2 * block + 1]
        for other in self.function.of_kind("threshold"):
            interesting += [other["size"] - 1, other["size"], other["size"] + 1] * 2
        past = self.random.choice(interesting, len(new))
        any_past = self.random.integers(0, 4 * block + 1, len(new))
        return np.minimum(
            np.where(self.random.random(len(new)) < 0.3, any_past, past), room
        )

    def _fill_cache(self, index: int, facts: Mapping[str, Any]) -> None:
        block_size = facts["block_size"]
        appends = self._of_cache("sequences", index)
        state = self._sequences(appends, facts) if appends else None
        batches = [] if state else self._fill_batches(index)
        contexts = [
            each
            for each in self._of_cache("contexts", index)
            if not each["ragged"] or each["rows"] is not None
        ]
        slots = [each["input"] for each in self._of_cache("slots", index)]
        # Blocks by number, before they are mixed up.
        count = 0
        tables: dict[int, list[Integers]] = {}
        places: dict[int, Integers] = {}
        written: list[tuple[int, int]] = []
        for each, (new, lengths) in zip(contexts, batches, strict=False):
            if each["table"] is None or each["table"] in tables:
                continue
            rows = []
            for length in lengths:
                needed = -(-int(length) // block_size)
                rows.append(np.arange(count, count + needed))
                count += needed
            tables[each["table"]] = rows
            positions = [
                np.arange(length - added, length)
                for added, length in zip(new, lengths, strict=True)
            ]
            flat = np.concatenate(positions) if positions else np.zeros(0, np.int64)
            self.batches[len(flat)] = flat
            places[len(flat)] = np.concatenate(
                [
                    blocks[at // block_size] * block_size + at % block_size
                    for blocks, at in zip(rows, positions, strict=True)
                ]
            )
            for blocks, added, length in zip(rows, new, lengths, strict=True):
                held = int(length) - (int(added) if slots else 0)
                written += [
                    (int(blocks[at // block_size]), at % block_size)
                    for at in range(held)
                ]
        for each_slots in slots:
            size = self.shapes[each_slots][0]
            if size in places or each_slots in self.values:
                continue
            needed = -(-size // block_size) + 1
            inside = self.random.permutation(needed * block_size)[:size]
            places[size] = count * block_size + inside
            count += needed
        if state:
            count = state.blocks
            written = state.written
        # Some that nobody uses.
        total = count + 2
        mixed = np.arange(total) if state else self.random.permutation(total)
        for table, rows in tables.items():
            values = np.full(self.shapes[table], -1)
            for row, blocks in enumerate(rows):
                values[row, : len(blocks)] = mixed[blocks]
            self.values.setdefault(table, values)
        for each_slots in slots:
            if each_slots not in self.values:
                at = places[self.shapes[each_slots][0]]
                self.values[each_slots] = (
                    mixed[at // block_size] * block_size + at % block_size
                )
        if state:
            self._fill_states(index, state)
        self.values[index] = self._content(index, facts, total, mixed, written, state)

    def _sequences(
        self, appends: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]
    ) -> _State:
        """Choose the sequences of a cache that allocates, and their lengths."""
        block_size, most = facts["block_size"], facts["max_seq_len"]
        shape = self.shapes[appends[0]["input"]]
        tokens = [value_of(each["tokens"], self.sizes) for each in appends]
        # Layers append one after the other, which no constraint tells apart from
        # one layer that appends several times.
        added = sum(tokens) if sum(tokens) <= most else max(tokens)
        if added > most:
            raise UnsolvableError("more tokens are appended than a sequence can have")
        sequences = shape[0] + 2
        lengths = np.minimum(
            self.random.choice([0, 1, block_size - 1, block_size, 3], sequences),
            most - added,
        )
        columns = -(-most // block_size)
        table = np.full((sequences, columns), -1)
        used = 0
        written = []
        for row, length in enumerate(lengths):
            for column in range(-(-int(length) // block_size)):
                table[row, column] = used
                used += 1
            written += [
                (int(table[row, at // block_size]), at % block_size)
                for at in range(int(length))
            ]
        for each in appends:
            if each["input"] not in self.values:
                self.values[each["input"]] = self.random.permutation(sequences)[
                    : self.shapes[each["input"]][0]
                ]
        needed = sum(-(-min(most, int(n) + added) // block_size) for n in lengths)
        ids = self.values[appends[0]["input"]]
        return _State(table, lengths, used, needed, written, ids, tokens[0])

    def _fill_states(self, index: int, state: _State) -> None:
        """Fill in lengths and tables of sequences that the cache itself knows."""
        facts = self.function.inputs[index]
        block_size = facts["block_size"]
        for each in self._of_cache("contexts", index):
            count = value_of(each["count"], self.sizes)
            ids = np.resize(state.ids, count)
            lengths = np.minimum(state.lengths[ids] + state.tokens, self._limit(each))
            self.values.setdefault(each["lengths"], lengths)
            if each["table"] is None or each["table"] in self.values:
                continue
            # The blocks that the append will take, in the order of the batch.
            table, used = state.table.copy(), state.used
            for row in state.ids:
                for at in range(state.lengths[row], state.lengths[row] + state.tokens):
                    if table[row, at // block_size] < 0:
                        table[row, at // block_size] = used
                        used += 1
            shape = self.shapes[each["table"]]
            values = np.full(shape, -1)
            width = min(shape[1], table.shape[1])
            values[:, :width] = table[ids][:, :width]
            self.values[each["table"]] = values

    def _content(
        self,
        index: int,
        facts: Mapping[str, Any],
        blocks: int,
        mixed: Integers,
        written: Sequence[tuple[int, int]],
        state: _State | None,
    ) -> CacheContent:
        forms = [facts, *(other.inputs[index] for other in self.generator.partners)]
        dtypes = {form["dtype"] for form in forms}
        block_size = facts["block_size"]
        heads, head_dim, layers = facts["kv_heads"], facts["head_dim"], facts["layers"]
        shape = (2, layers, blocks, block_size, heads, head_dim)
        if np.prod(shape) > MOST_ELEMENTS:
            raise UnsolvableError("the cache would be larger than is worth running")
        groups = (*shape[:-1], 1)
        zeros = np.zeros(groups)
        if dtypes <= set(FLOATS):
            integers = self._floats(shape, dtypes)
            scales = np.ones(groups)
            poison = POISON
        else:
            # Exact in both types of integers and, the scale being a power of 2, in
            # each of floats.
            most = 7 if "i4" in dtypes else 127
            integers = self.random.integers(-most, most + 1, shape).astype(np.float64)
            scales = (
                self.scale * 2.0 ** self.random.integers(-2, 1, groups) / (most + 1)
            )
            poison = POISON / (most + 1)
            if dtypes == {"i4"}:
                zeros = self.random.integers(-8, 8, groups).astype(np.float64)
        mask = np.zeros((blocks, block_size), bool)
        for block, offset in written:
            mask[mixed[block], offset] = True
        scales = np.where(mask[None, None, :, :, None, None], scales, poison)
        sequences = 1
        table = np.full((1, -(-facts["max_seq_len"] // block_size)), -1)
        lengths = np.zeros((layers, sequences), np.int64)
        used = 0
        if state:
            table, used = state.table, state.used
            lengths = np.broadcast_to(state.lengths, (layers, len(state.lengths)))
        return CacheContent(integers, scales, zeros, mask, table, lengths, used)

    # Everything else.

    def _floats(self, shape: tuple[int, ...], dtypes: set[str]) -> Numbers:
        """Return normal numbers, exact in each of some types."""
        values = self.random.standard_normal(shape) * self.scale
        for dtype in sorted(dtypes, key=lambda dtype: DTYPES[dtype][1]):
            values = load(store(values, dtype), dtype)
        return values

    def _other(self, index: int, described: Mapping[str, Any]) -> Any:
        shape, dtype = self.shapes[index], described["dtype"]
        if described["kind"] == "quantized":
            return self._quantized(shape, described)
        if "number" in described and self._is_size(index, described):
            return np.asarray(value_of(described["number"], self.sizes))
        if dtype in FLOATS:
            return self._floats(shape, {dtype})
        if dtype == "i1":
            return np.asarray(self.random.random(shape) < 0.75)
        return self._integers(index, shape)

    def _is_size(self, index: int, described: Mapping[str, Any]) -> bool:
        """Whether the size of something depends on a number."""
        unknowns = {unknown for unknown, _ in described["number"][1]}
        used = [size for each in self.function.inputs for size in each["sizes"]]
        used += [part for each in self.function.products for part in each]
        used += [part for each in self.function.at_least for part in each]
        return not unknowns or any(
            unknown in unknowns for _, factors in used for unknown, _ in factors
        )

    def _integers(self, index: int, shape: tuple[int, ...]) -> Any:
        for each in self.function.of_kind("positions"):
            positions = self.batches.get(int(np.prod(shape)))
            if each["input"] == index and positions is not None:
                return positions.reshape(shape)
        lows, ends = [], []
        for each in self.function.constraints:
            if each.get("input") != index or "end" not in each:
                continue
            ends.append(value_of(each["end"], self.sizes))
            lows.append(value_of(each["low"], self.sizes) if "low" in each else 0)
        low, end = max(lows, default=0), min(ends, default=FREE_INTEGERS)
        if index in self.generator.ranges:
            low, end = self.generator.ranges[index]
        if low >= end:
            raise UnsolvableError(
                f"argument {index} would have to lie between {low} and {end - 1}"
            )
        count = int(np.prod(shape))
        if any(each["input"] == index for each in self.function.of_kind("distinct")):
            if count > end - low:
                raise UnsolvableError(f"argument {index} has more numbers than it may")
            return (low + self.random.permutation(end - low)[:count]).reshape(shape)
        values = self.random.integers(low, end, shape)
        if count > 1:
            # The ends are where tables end.
            values.flat[0], values.flat[-1] = low, end - 1
        return np.asarray(values)

    def _quantized(
        self, shape: tuple[int, ...], described: Mapping[str, Any]
    ) -> QuantizedContent:
        bits = 4 if described["dtype"].endswith("4") else 8
        unsigned = described["dtype"].startswith("u")
        low, high = (0, 2**bits) if unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1))
        axis, group = described["axis"], described["group_size"]
        elements = self.random.integers(low, high, shape)
        if described["packing"] == "pairs":
            moved = np.moveaxis(elements, axis, -1)
            packed = (moved[..., ::2] & 15) | (moved[..., 1::2] & 15) << 4
            elements = np.moveaxis(packed, -1, axis)
        scale_shape = list(shape)
        scale_shape[axis] = shape[axis] // group if group else 1
        scales = self.scale * 2.0 ** self.random.integers(-3, 1, scale_shape)
        parts = [
            elements.astype(np.uint8).view(np.int8),
            store(scales / 2 ** (bits - 1), described["scales"]),
        ]
        if described["asymmetric"]:
            zeros = self.random.integers(low, high, scale_shape)
            parts.append(zeros.astype(np.uint8).view(np.int8))
        return QuantizedContent([np.ascontiguousarray(part) for part in parts])


@dataclass
class _State:
    """The sequences of a cache that allocates.

    table, lengths, used: as the cache has them, a length for all layers.
    blocks: how many blocks it needs in the end.
    written: what is in it, as blocks and offsets.
    ids, tokens: to which sequences how many tokens are appended.
    """

    table: Integers
    lengths: Integers
    used: int
    blocks: int
    written: list[tuple[int, int]]
    ids: Integers
    tokens: int
