# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs programs on the same random inputs, and compares what they return.

Each program is lowered to its reference meaning, so two of them differ where one means
something else than the other: a pass is right if the program after it returns what the
one before it did. What rounds in another place gives other numbers within bounds, and
the bounds depend on what is rounded to.

Weights are random too, the same in all programs by their names. Those that any of the
programs quantizes lie on the grid of its format: their largest number in a group is
the format's largest integer times a power of 2, so quantizing loses nothing, and what
is compared is what the program does with them.
"""

from __future__ import annotations

import math
import re
import tempfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from llmir import _native, dtypes
from llmir.errors import LLMIRError
from llmir.files import shown
from llmir.inputs import (
    FLOATS,
    FREE_INTEGERS,
    CacheContent,
    Function,
    Generator,
    Inputs,
    Numbers,
    cache_tensors,
    decode_cache,
    functions_of,
    quantized_tensors,
)
from llmir.reference import DTYPES, Array, Program, load, store
from llmir.safetensors import Checkpoint, open_checkpoint
from llmir.weights import write_weights

# How far results may be apart, relative to the largest number beside them, if one of
# two programs rounds to such numbers on the way and the other does not.
TOLERANCES = {
    "f64": 1e-5,
    "f32": 1e-5,
    "f16": 4e-3,
    "bf16": 2e-2,
    "int8": 8e-2,
    "int4": 3e-1,
}
# The same if both do: only what lies between two of them may be rounded otherwise.
SHARED = {
    "f64": 1e-5,
    "f32": 1e-5,
    "f16": 1e-3,
    "bf16": 5e-3,
    "int8": 2.5e-3,
    "int4": 3e-2,
}
ROUNDS = 6
# What floats are multiplied by, in turns: usual ones; so small that the epsilon of a
# norm matters; large ones, that saturate.
SCALES = (1.0, 2.0**-6, 2.0)
# Programs that round differently are compared where no softmax is so sharp that a
# rounding decides it.
MILD_SCALES = (0.5, 2.0**-6)
# Where large weights begin to repeat themselves: primes.
DIFFERENT_ROWS = 4093
DIFFERENT_ELEMENTS = 4194301
# Products of weights with tokens, in a round.
MOST_WORK = 2 * 10**9

# What a rounding of activations to integers looks like in a program's text.
_INTEGER_INPUTS = re.compile(r"llm\.quantize |input_type = ")
_FLOAT_TYPES = re.compile(r"(?:x|\W)(f64|f32|f16|bf16)\b")


@dataclass(frozen=True)
class Settings:
    """How programs are compared.

    functions: what is compared, None for every public function.
    rounds: how many inputs are tried for each.
    seed: of everything that is random.
    tolerances: bounds that take the place of those of TOLERANCES and SHARED.
    ranges: what integers arguments may have, by their numbers.
    weights: a model directory whose weights are taken instead of random ones.
    """

    functions: tuple[str, ...] | None = None
    rounds: int = ROUNDS
    seed: int = 0
    tolerances: Mapping[str, float] = field(default_factory=dict)
    ranges: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    weights: Path | None = None

    def allowed(self, before: set[str], after: set[str]) -> float:
        """Return how far results of programs that round so may be apart."""
        bounds = [SHARED["f32"]]
        for rounding in before | after:
            what = rounding.partition(" ")[0]
            table = SHARED if rounding in before & after else TOLERANCES
            bounds.append(self.tolerances.get(what, table[what]))
        if set(self.tolerances) == set(TOLERANCES):
            bounds = bounds[1:] or [self.tolerances["f32"]]
        return max(bounds)


@dataclass
class Output:
    """How one output of a function compared, over all rounds.

    error: the largest difference, relative to the largest number of the output before.
    allowed: what it may be, 0 for integers.
    failure: a sentence that names place and numbers, if it is too large.
    """

    function: str
    output: str
    type: str
    error: float = 0.0
    allowed: float = 0.0
    failure: str | None = None


class VerificationError(LLMIRError):
    """Two programs that differ, or that cannot be compared."""


Notify = Callable[[str], object]


class Stage:
    """A program that is to be compared with others.

    name: what messages call it.
    """

    def __init__(self, text: str, name: str) -> None:
        """Parse a program.

        Raises LLMIRError if it is not valid, or has nothing to run.
        """
        self.text, self.name = text, name
        self.module = parse(text, name)
        self.functions = functions_of(self.module)
        if not self.functions:
            raise LLMIRError(
                f"{name} has no public function with a body, so there is nothing to run"
            )
        self.parameters: list[dict[str, Any]] = self.module.parameters()
        self._program: Program | None = None
        self._weights: Array | None = None

    @property
    def roundings(self) -> set[str]:
        """What the program rounds to, by the names of TOLERANCES and where."""
        found = set(_FLOAT_TYPES.findall(self.text))
        if _INTEGER_INPUTS.search(self.text):
            found.add("int8 activations")
        for function in self.functions.values():
            for described in function.inputs:
                if described["kind"] == "cache":
                    dtype = described["dtype"]
                    name = dtype if dtype in FLOATS else f"int{dtype[1:]}"
                    found.add(f"{name} in a cache")
        return found

    @property
    def elements(self) -> int:
        """How many numbers its weights have, those used twice counted twice."""
        return sum(math.prod(entry["shape"]) for entry in self.parameters)

    @property
    def program(self) -> Program:
        """The program, compiled by its reference meaning."""
        if self._program is None:
            try:
                self._program = Program(self.text, passes="llm-assign-parameters")
            except (RuntimeError, ValueError) as error:
                raise LLMIRError(
                    f"{self.name} has no reference meaning: {_one_line(error)}"
                ) from error
        return self._program

    def call(self, function: Function, inputs: Inputs, weights: Weights) -> list[Any]:
        """Run a function; return its results, each as a list of tensors."""
        own = self.functions[function.name]
        packed = weights.place(self.program)
        tensors = self.program.call(function.name, *inputs.encode(own), packed)
        results = []
        for described in own.results:
            count = {"cache": cache_tensors, "quantized": quantized_tensors}.get(
                described["kind"], lambda _: 1
            )(described)
            results.append(tensors[:count])
            tensors = tensors[count:]
        return results


def parse(text: str, name: str) -> Any:
    """Return a parsed program; LLMIRError, with what is wrong, if it is not valid."""
    try:
        return _native.compiler().Module.parse(text, name)
    except ValueError as error:
        raise LLMIRError(f"{name} is not valid: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else "no reason was given"


#
# Weights
#


@dataclass
class _Tensor:
    """A tensor as a checkpoint has it."""

    dtype: str
    shape: tuple[int, ...]
    data: Array

    @property
    def bytes(self) -> int:
        return self.data.size

    def read(self, begin: int, end: int) -> Array:
        """Return some of the bytes."""
        return self.data[begin:end]

    def release(self, begin: int = 0, end: int | None = None) -> None:
        """Nothing is mapped."""


class Weights:
    """The weights of programs, random or a model's, by scope and name."""

    def __init__(
        self,
        stages: Sequence[Stage],
        seed: int,
        scale: float,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        """Make the weights that programs name.

        Raises LLMIRError if they do not agree on one.
        """
        self._tensors: dict[str, _Tensor] = {}
        self._places: dict[int, Array] = {}
        named: dict[str, tuple[dict[str, Any], str]] = {}
        formats: dict[str, dict[str, Any]] = {}
        for stage in stages:
            for entry in stage.parameters:
                key = entry["key"]
                first, name = named.setdefault(key, (entry, stage.name))
                if any(first[what] != entry[what] for what in ("dtype", "shape")):
                    raise LLMIRError(
                        f"{name} reads the parameter {shown(key)} as "
                        f"{_described(first)}, and {stage.name} as {_described(entry)}"
                    )
                if "format" in entry:
                    formats.setdefault(key, entry["format"])
        for key, (entry, _) in named.items():
            shape, dtype = tuple(entry["shape"]), entry["dtype"]
            if checkpoint is not None:
                self._tensors[key] = _Tensor(
                    dtype, shape, np.array(checkpoint[key].data)
                )
                continue
            random = np.random.default_rng([seed, zlib.crc32(key.encode())])
            values = _random_weight(random, shape, dtype, scale, formats.get(key))
            data = store(values, dtype).reshape(-1).view(np.uint8)
            self._tensors[key] = _Tensor(dtype, shape, data)

    def place(self, program: Program) -> Array:
        """Return the weights as a program lays them out."""
        known = self._places.get(id(program))
        if known is not None:
            return known
        # What compiling knows is made as for an artifact.
        made = [entry for entry in program.weights if _is_known(entry)]
        buffer = np.zeros(program.weights_bytes, np.uint8)
        if made:
            with tempfile.TemporaryDirectory(prefix="llmir-") as directory:
                path = Path(directory, "weights")
                write_weights(
                    path, made, len(buffer), b"", _Stored(self._tensors), lambda _: 0
                )
                buffer = np.fromfile(path, np.uint8)
        for entry in program.weights:
            if not _is_known(entry):
                end = entry["offset"] + entry["bytes"]
                buffer[entry["offset"] : end] = self._plain(entry)
        placed: Array = buffer.view(np.int8)
        self._places[id(program)] = placed
        return placed

    def _plain(self, entry: Mapping[str, Any]) -> Array:
        """Return the bytes of what the importer knows, such as integers."""
        parts = []
        for source in entry["sources"]:
            tensor = self._tensors[source["key"]]
            if entry["transposed"] or "slice" in source:
                raise LLMIRError(
                    f"{shown(source['key'])} is of {source['dtype']}, of which no "
                    "parts are made"
                )
            parts.append(tensor.data)
        whole: Array = np.concatenate(parts)
        return whole


def _is_known(entry: Mapping[str, Any]) -> bool:
    """Whether a weight can be in an artifact, going by the types that it has."""
    known = {dtype.mlir for dtype in dtypes.DTYPES}
    return all(source["dtype"] in known for source in entry["sources"])


class _Stored(Checkpoint):
    """Tensors by their names, in the dtypes' names that checkpoints have."""

    def __init__(self, tensors: Mapping[str, _Tensor]) -> None:
        stored = {"f32": "F32", "bf16": "BF16", "f16": "F16"}
        super().__init__(
            Path(),
            {
                key: _Tensor(  # type: ignore[misc]
                    stored.get(tensor.dtype, tensor.dtype), tensor.shape, tensor.data
                )
                for key, tensor in tensors.items()
            },
        )


def _described(entry: Mapping[str, Any]) -> str:
    return "x".join([*map(str, entry["shape"]), entry["dtype"]])


def _random_weight(
    random: np.random.Generator,
    shape: tuple[int, ...],
    dtype: str,
    scale: float,
    format_: Mapping[str, Any] | None,
) -> Array:
    if dtype not in DTYPES:
        raise LLMIRError(
            f"NumPy has no elements of type {dtype}, which a parameter has"
        )
    if dtype == "i1":
        return np.asarray(random.random(shape) < 0.5)
    if dtype not in FLOATS:
        return random.integers(0, FREE_INTEGERS, shape)
    if len(shape) < 2:
        # A norm's weight, or a bias: one that is missing must show.
        signs = random.choice([-1.0, 1.0], shape)
        values: Numbers = random.uniform(0.5, 1.5, shape) * signs
        return values
    # Of products of such numbers with weights of variance 1 / K the variance is 1.
    spread = scale / np.sqrt(shape[-1])
    if format_ is not None and len(shape) == 2:
        # Large ones repeat themselves, after a prime number of rows.
        rows = min(shape[0], DIFFERENT_ROWS)
        part = on_grid(random, (rows, shape[1]), spread, format_)
        return np.resize(part, shape)
    count = min(int(np.prod(shape)), DIFFERENT_ELEMENTS)
    return np.resize(random.standard_normal(count) * spread, shape)


def on_grid(
    random: np.random.Generator,
    shape: tuple[int, int],
    spread: float,
    format_: Mapping[str, Any],
) -> Numbers:
    """Return a matrix that a format of integers holds exactly.

    In each group some number is the largest that the format has, and with zero points
    another one the least, so the scale that is found is the one that was used. Scales
    are powers of 2, which every type of scales has, and products with them are exact.
    """
    rows, inputs = shape
    group = format_["group_size"] or inputs
    bits = 8 if format_["kind"] == "int8" else 4
    groups = (rows, inputs // group, group)
    scales = 2.0 ** (
        np.floor(np.log2(2 * spread)) - (bits - 1) + random.integers(-1, 2, groups[:2])
    )
    if format_["asymmetric"]:
        steps = 2**bits - 1
        numbers = random.integers(0, steps + 1, groups)
        zeros = random.integers(0, steps + 1, groups[:2])
        ends = (0, steps)
    else:
        most = 2 ** (bits - 1) - 1
        numbers = random.integers(-most, most + 1, groups)
        zeros = np.zeros(groups[:2], np.int64)
        ends = (-most, most)
    at = random.permuted(np.broadcast_to(np.arange(group), groups), axis=-1)[..., :2]
    for place, end in zip(range(min(2, group)), ends, strict=False):
        np.put_along_axis(numbers, at[..., place : place + 1], end, axis=-1)
    values: Numbers = (numbers - zeros[..., None]) * scales[..., None]
    return values.reshape(shape)


#
# Comparisons
#


def compare(
    stages: Sequence[Stage], settings: Settings, notify: Notify = lambda _: None
) -> list[list[Output]]:
    """Run programs on the same inputs, and compare each with the one before it.

    notify: is told what is being run, since that may end this process.

    Returns how the outputs of each but the first compared. Raises VerificationError
    if programs cannot be compared, and LLMIRError if one cannot be run.
    """
    names = _common(stages, settings)
    results: list[list[Output]] = [[] for _ in stages[1:]]
    checkpoint = None
    if settings.weights is not None:
        checkpoint = open_checkpoint(settings.weights)
        if checkpoint is None:
            raise LLMIRError(f"{settings.weights} has no safetensors weights")
    generators = {
        name: Generator(
            stages[0].functions[name],
            [stage.functions[name] for stage in stages[1:]],
            settings.ranges,
            most_size=max(1, MOST_WORK // (1 + stages[0].elements)),
        )
        for name in names
    }
    for stage in stages:
        notify(f"compiling {stage.name}")
        _ = stage.program
    roundings = [stage.roundings - {"f32", "f64"} for stage in stages]
    differ = any(each != roundings[0] for each in roundings)
    lossy = any("int" in rounding for each in roundings for rounding in each)
    scales = MILD_SCALES if differ or lossy else SCALES
    for turn in range(settings.rounds):
        scale = scales[turn % len(scales)]
        weights = Weights(stages, settings.seed + turn, scale, checkpoint)
        for number, name in enumerate(names):
            function = stages[0].functions[name]
            random = np.random.default_rng([settings.seed, turn, number])
            inputs = generators[name].generate(random, scale, smallest=turn == 1)
            before: list[Any] | None = None
            for index, stage in enumerate(stages):
                notify(f"running @{name} of {stage.name} in round {turn}")
                after = stage.call(function, inputs, weights)
                if before is not None:
                    found = _compare_results(
                        stages[index - 1], stage, name, before, after, inputs, settings
                    )
                    _merge(results[index - 1], found, turn, settings.seed)
                before = after
    return results


def _common(stages: Sequence[Stage], settings: Settings) -> list[str]:
    """Return the functions that are compared; VerificationError if they differ."""
    first = stages[0]
    wanted = settings.functions or tuple(first.functions)
    for name in wanted:
        for stage in stages:
            if name not in stage.functions:
                raise VerificationError(
                    f"{stage.name} has no public function @{name} with a body; it has "
                    + ", ".join(f"@{other}" for other in stage.functions)
                )
        for before, after in pairwise(stages):
            _check_signature(before, after, name)
    return list(wanted)


def _check_signature(before: Stage, after: Stage, name: str) -> None:
    old, new = before.functions[name], after.functions[name]
    for what, plural in (("argument", "inputs"), ("result", "results")):
        lists = [getattr(old, plural), getattr(new, plural)]
        if len(lists[0]) != len(lists[1]):
            raise VerificationError(
                f"@{name} has {len(lists[0])} {what}s in {before.name} and "
                f"{len(lists[1])} in {after.name}"
            )
        for index, (left, right) in enumerate(zip(*lists, strict=True)):
            if not _alike(left, right):
                raise VerificationError(
                    f"{what} {index} of @{name} is {left['type']} in {before.name} and "
                    f"{right['type']} in {after.name}"
                )


def _alike(left: Mapping[str, Any], right: Mapping[str, Any]) -> bool:
    """Whether two arguments or results can have the same values."""
    if left["type"] == right["type"]:
        return True
    if left["kind"] != right["kind"]:
        return False
    if left["kind"] == "cache":
        facts = ("layers", "kv_heads", "head_dim", "block_size", "max_seq_len")
        return all(left[fact] == right[fact] for fact in facts)
    if left["kind"] != "tensor" or left["dtype"] != right["dtype"]:
        return False
    # A size that is known to one of the programs only.
    sizes = [re.findall(r"\d+(?=x)|\?", each["type"]) for each in (left, right)]
    return len(sizes[0]) == len(sizes[1]) and all(
        "?" in pair or pair[0] == pair[1] for pair in zip(*sizes, strict=True)
    )


def _merge(into: list[Output], found: list[Output], turn: int, seed: int) -> None:
    """Keep the largest error of each output, and its first failure."""
    known = {(each.function, each.output): each for each in into}
    for output in found:
        if output.failure:
            output.failure += f" (round {turn}, seed {seed})"
        other = known.get((output.function, output.output))
        if other is None:
            into.append(output)
            continue
        other.error = max(other.error, output.error)
        other.failure = other.failure or output.failure


def _compare_results(
    before: Stage,
    after: Stage,
    name: str,
    old: Sequence[Any],
    new: Sequence[Any],
    inputs: Inputs,
    settings: Settings,
) -> list[Output]:
    allowed = settings.allowed(before.roundings, after.roundings)
    found = []
    pairs = zip(
        before.functions[name].results,
        after.functions[name].results,
        old,
        new,
        strict=True,
    )
    for index, (left, right, first, second) in enumerate(pairs):
        label = f"output {index}"
        output = Output(name, label, left["type"], allowed=allowed)
        if left["kind"] == "cache":
            found += _compare_caches(output, left, right, first, second, inputs)
        elif left["kind"] == "quantized":
            for array, other in zip(first, second, strict=True):
                dtype = {np.dtype(np.int8): "i8", np.dtype(np.uint16): "bf16"}.get(
                    array.dtype, left["scales"]
                )
                # An integer may be rounded to either of its neighbours.
                one = 1.0 if dtype == "i8" else 0.0
                _compare_floats(output, load(array, dtype), load(other, dtype), one)
            found.append(output)
        else:
            _compare_tensors(output, first[0], second[0], left["dtype"])
            found.append(output)
    return found


def _compare_tensors(output: Output, old: Array, new: Array, dtype: str) -> None:
    if old.shape != new.shape:
        output.error = np.inf
        output.failure = (
            f"{output.output} of @{output.function} has the shape {list(old.shape)} "
            f"before and {list(new.shape)} after"
        )
    elif dtype in FLOATS:
        _compare_floats(output, load(old, dtype), load(new, dtype))
    else:
        output.allowed = 0.0
        _compare_exactly(output, old, new)


def _compare_exactly(output: Output, old: Array, new: Array) -> None:
    differences = np.abs(new.astype(np.float64) - old.astype(np.float64))
    worst = float(differences.max(initial=0.0))
    output.error = max(output.error, worst)
    if worst and output.failure is None:
        at = np.unravel_index(int(differences.argmax()), old.shape)
        output.failure = (
            f"{output.output} of @{output.function} is {old[at]} at {_place(at)} "
            f"before and {new[at]} after, and integers must be equal"
        )


def _place(at: tuple[Any, ...]) -> str:
    return str([int(index) for index in at])


def _compare_floats(
    output: Output,
    old: Numbers,
    new: Numbers,
    slack: float = 0.0,
    compared: Array | None = None,
) -> None:
    """Compare numbers, relative to the largest of those before.

    slack: a difference that is none.
    compared: where to look, everywhere if None; elsewhere nothing may change.
    """
    finite = np.isfinite(old)
    odd = (np.isnan(old) != np.isnan(new)) | (
        (np.isinf(old) | np.isinf(new))
        & (old != new)
        & ~(np.isnan(old) & np.isnan(new))
    )
    looked = finite if compared is None else finite & compared
    largest = float(np.abs(old[looked]).max(initial=0.0)) or 1.0
    with np.errstate(invalid="ignore"):
        differences = np.abs(new - old) - slack
    differences = np.where(finite & ~odd, np.maximum(differences, 0.0), 0.0)
    error = differences / largest
    if compared is not None:
        # What nobody wrote is not rounded either.
        error = np.where(compared | (differences == 0.0), error, np.inf)
    error = np.where(odd, np.inf, error)
    worst = float(error.max(initial=0.0))
    output.error = max(output.error, worst)
    if worst > output.allowed and output.failure is None:
        at = np.unravel_index(int(error.argmax()), old.shape)
        output.failure = (
            f"{output.output} of @{output.function} is {old[at]:.6g} at {_place(at)} "
            f"before and {new[at]:.6g} after"
        )
        if np.isfinite(worst):
            output.failure += (
                f", which is {worst:.2g} of the largest number, {largest:.3g}, where "
                f"{output.allowed:.2g} is allowed"
            )


def _compare_caches(
    output: Output,
    left: Mapping[str, Any],
    right: Mapping[str, Any],
    old: Sequence[Array],
    new: Sequence[Array],
    inputs: Inputs,
) -> list[Output]:
    """Compare keys and values where they may be read, and the bookkeeping."""
    numbers, state = decode_cache(old, left)
    others, other_state = decode_cache(new, right)
    found = []
    contents = [value for value in inputs.values if isinstance(value, CacheContent)]
    for name, before, after in zip(("keys", "values"), numbers, others, strict=True):
        part = Output(
            output.function,
            f"{output.output}, {name}",
            left["type"],
            allowed=output.allowed,
        )
        if before.shape != after.shape:
            _compare_tensors(part, before, after, "f64")
        else:
            kind = 0 if name == "keys" else 1
            compared = _changed(contents, before, kind)
            _compare_floats(part, before, after, compared=compared)
        found.append(part)
    for name, before, after in zip(
        ("block table", "lengths", "blocks in use"), state, other_state, strict=True
    ):
        part = Output(output.function, f"{output.output}, {name}", left["type"])
        _compare_tensors(part, before, after, "i32")
        found.append(part)
    return found


def _changed(contents: Sequence[CacheContent], numbers: Numbers, kind: int) -> Array:
    """Return where a cache was written before or is now; the rest is as it was."""
    for content in contents:
        whole = (content.integers - content.zeros) * content.scales
        if whole.shape[1:] == numbers.shape:
            written = content.written[None, :, :, None, None]
            # Far from what poison is rounded to.
            new = np.abs(numbers - whole[kind]) > 1e-2 * np.abs(whole[kind])
            return np.asarray(written | new.any(axis=(-1, -2), keepdims=True))
    return np.ones(numbers.shape, bool)
