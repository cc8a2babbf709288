# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Sequences that share blocks of the cache: forks, and prefixes that are kept.

Logits are compared byte for byte with those of the same tokens in a sequence alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import llmir
import tiny
from conftest import MakeArtifact
from llmir import _native
from llmir.quantization import Quantization

BLOCK = 16

# Shape, dtype and cache: every type of cache, and a window.
CASES = [
    ("gqa", "float32", "f32"),
    ("gqa", "float32", "bf16"),
    ("gqa", "float32", "f16"),
    ("gqa", "bfloat16", "bf16"),
    ("gqa", "bfloat16", "int8"),
    ("odd", "float32", "int8"),
    ("gqa", "bfloat16", "int4"),
    ("odd", "float32", "int4"),
    ("mistral", "float32", "f32"),
]

Logits = npt.NDArray[np.float32]


class Runner:
    """An engine that keeps prefixes, and a model that does not.

    engine: with `num_blocks` blocks.
    model: the same artifact, for sequences alone.
    """

    def __init__(self, path: Any, num_blocks: int) -> None:
        """Load the artifact at `path` twice."""
        runtime = _native.runtime()
        self.engine = runtime.Engine(
            runtime.Model(str(path)),
            threads=2,
            num_blocks=num_blocks,
            prefix_cache=True,
        )
        self.model = llmir.load(path, threads=1)

    def run(self, sequence: Any, ids: list[int]) -> Logits:
        """Append tokens; return the logits of each, [n, vocabulary]."""
        return np.array(self.engine.step([(sequence, ids, True)]))

    def prompt(self, length: int, seed: int = 0) -> list[int]:
        """Return random token ids."""
        return tiny.prompt(self.model.vocab_size, length, seed)


@pytest.fixture(params=CASES, ids=["-".join(case) for case in CASES])
def runner(request: pytest.FixtureRequest, make_artifact: MakeArtifact) -> Runner:
    """An engine of 40 blocks for each case."""
    shape, dtype, kv_cache = request.param
    quantization = Quantization(kv_cache=kv_cache)
    return Runner(make_artifact(shape, dtype, "native", quantization), 40)


def test_forks(runner: Runner) -> None:
    engine = runner.engine
    start = runner.prompt(37)
    first = engine.new_sequence()
    runner.run(first, start)
    tails = [runner.prompt(20, seed) for seed in range(1, 4)]
    expected = [runner.model.forward(start + tail)[37:] for tail in tails]
    forks = [first, engine.fork(first), engine.fork(first)]
    assert [fork.length for fork in forks] == [37] * 3
    free = engine.num_free_blocks
    # All append to the same block in one step, then one after the other.
    items = [(fork, tail[:3], True) for fork, tail in zip(forks, tails, strict=True)]
    rows = np.split(np.array(engine.step(items)), 3)
    # Two copies; what a window has passed comes back.
    window = runner.model.manifest["model"].get("kv_cache_window", 0)
    assert engine.num_free_blocks == free - 2 + (window > 0)
    for fork, tail, row, logits in zip(forks, tails, rows, expected, strict=True):
        np.testing.assert_array_equal(row, logits[:3])
        np.testing.assert_array_equal(runner.run(fork, tail[3:]), logits[3:])
    # Back into what they share, and on from there another way.
    again = engine.fork(forks[1])
    engine.truncate(again, 54)
    np.testing.assert_array_equal(
        runner.run(again, tails[0][:4]),
        runner.model.forward([*start, *tails[1][:17], *tails[0][:4]])[54:],
    )
    np.testing.assert_array_equal(
        runner.run(forks[1], tails[2][:4]),
        runner.model.forward([*start, *tails[1], *tails[2][:4]])[57:],
    )
    for fork in (*forks, again):
        fork.close()
    assert engine.num_free_blocks == 40


def test_prefixes(runner: Runner) -> None:
    engine = runner.engine
    ids = runner.prompt(75)
    first = engine.new_sequence(ids)
    assert first.length == 0
    # Entered as it grows: of a window nothing can be entered later.
    for begin in range(0, 75, 15):
        logits = runner.run(first, ids[begin : begin + 15])
        engine.remember(first, ids)
    expected = runner.model.forward(ids)
    np.testing.assert_array_equal(logits, expected[60:])
    second = engine.new_sequence(ids)
    assert second.length == 64
    np.testing.assert_array_equal(runner.run(second, ids[64:]), expected[64:])
    first.close()
    other = [*ids[:50], *runner.prompt(20, seed=1)]
    third = engine.new_sequence(other)
    assert third.length == 48
    np.testing.assert_array_equal(
        runner.run(third, other[48:]), runner.model.forward(other)[48:]
    )
    # A prompt that is all there computes its last block again.
    fourth = engine.new_sequence(ids[:64])
    assert fourth.length == 48
    np.testing.assert_array_equal(runner.run(fourth, ids[48:64]), expected[48:64])
    assert engine.prefix_statistics == {
        "lookups": 4,
        "asked_tokens": 75 + 75 + 70 + 64,
        "hit_tokens": 64 + 48 + 48,
        "cached_blocks": 4,
        "evicted_blocks": 0,
    }
    for sequence in (second, third, fourth):
        sequence.close()
    assert engine.num_free_blocks == 36
    assert engine.num_available_blocks == 40


def test_eviction_and_pins(make_artifact: MakeArtifact) -> None:
    runner = Runner(make_artifact("gqa", "float32"), num_blocks=8)
    engine = runner.engine
    system, text = runner.prompt(35), runner.prompt(100, seed=1)
    assert not engine.pin_prefix(system)
    for ids in (system, text[:64]):
        sequence = engine.new_sequence()
        runner.run(sequence, ids)
        engine.remember(sequence, ids)
        sequence.close()
    assert engine.pin_prefix(system)
    assert engine.num_free_blocks == 2
    assert engine.num_available_blocks == 6
    expected = runner.model.forward(text)
    # Six blocks: two free, and four that the end of the text had.
    sequence = engine.new_sequence(runner.prompt(96, seed=2))
    assert sequence.length == 0
    runner.run(sequence, runner.prompt(96, seed=2))
    assert engine.num_available_blocks == 0
    assert engine.prefix_statistics["evicted_blocks"] == 4
    with pytest.raises(RuntimeError, match="needs 1 more blocks"):
        runner.run(sequence, [1])
    assert sequence.length == 96
    sequence.close()
    sequence = engine.new_sequence(text)
    assert sequence.length == 0
    np.testing.assert_array_equal(runner.run(sequence, text[:80]), expected[:80])
    sequence.close()
    assert engine.new_sequence(system).length == 32
    assert engine.unpin_prefix(system)
    assert not engine.unpin_prefix(system)
    assert engine.num_available_blocks == 8


def test_a_common_prefix_is_computed_and_held_once(make_artifact: MakeArtifact) -> None:
    runner = Runner(make_artifact("gqa", "bfloat16"), num_blocks=12 + 100)
    engine = runner.engine
    prefix = runner.prompt(12 * BLOCK)
    computed = 0
    sequences = []
    for number in range(100):
        ids = [*prefix, *runner.prompt(5, seed=number + 1)]
        sequence = engine.new_sequence(ids)
        rest = ids[sequence.length :]
        logits = runner.run(sequence, rest)
        computed += len(rest)
        if number % 33 == 0:
            expected = runner.model.forward(ids)[len(ids) - len(rest) :]
            np.testing.assert_array_equal(logits, expected)
        engine.remember(sequence, ids)
        sequences.append(sequence)
    assert computed == len(prefix) + 100 * 5
    assert engine.num_free_blocks == 0
    assert engine.prefix_statistics["hit_tokens"] == 99 * len(prefix)


def test_engines_without_a_prefix_cache(make_artifact: MakeArtifact) -> None:
    path = make_artifact("gqa", "float32")
    one, other = (llmir.load(path, threads=1).engine for _ in range(2))
    sequence = one.new_sequence([1, 2, 3])
    one.step([(sequence, list(range(1, 40)), False)])
    one.remember(sequence, list(range(1, 40)))
    assert one.new_sequence(list(range(1, 40))).length == 0
    assert one.prefix_statistics is None
    assert not one.pin_prefix(list(range(1, 40)))
    assert not one.unpin_prefix(list(range(1, 40)))
    assert one.num_available_blocks == one.num_free_blocks
    with pytest.raises(ValueError, match="another engine"):
        other.fork(sequence)
    with pytest.raises(ValueError, match="another engine"):
        other.remember(sequence, [1])
    sequence.close()
    with pytest.raises(ValueError, match="closed"):
        one.fork(sequence)
