# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Same answer in any company: a sequence's logits, bit for bit.

Whatever else is in the batch, however the prompt is cut, and with any number of
threads. Every comparison is of bytes.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import llmir
import tiny
from conftest import MakeArtifact
from llmir.model import Model

PROMPT = 37
DECODED = 9

Logits = npt.NDArray[np.float32]

CASES = [
    ("gqa", "float32"),
    ("gqa", "bfloat16"),
    ("odd", "float32"),
    ("odd", "bfloat16"),
    ("gqa", "float16"),
    ("qwen2_window", "bfloat16"),
    ("qwen3_bias", "float32"),
    ("phi3", "bfloat16"),
]


@pytest.fixture(params=CASES, ids=["-".join(case) for case in CASES])
def model(request: pytest.FixtureRequest, make_artifact: MakeArtifact) -> Model:
    """A model that works with two threads."""
    return llmir.load(make_artifact(*request.param), threads=2)


@pytest.fixture
def ids(model: Model) -> list[int]:
    """The sequence that is looked at: a prompt, and tokens to decode one by one."""
    return tiny.prompt(model.vocab_size, PROMPT + DECODED, seed=99)


def step(model: Model, items: list[tuple[Any, list[int], bool]]) -> Logits:
    """Run one step and return its logits."""
    return np.array(model.engine.step(items))


def chunked(model: Model, ids: list[int], chunk: int) -> Logits:
    """Return all logits, the prompt in chunks and the rest token by token."""
    sequence = model.engine.new_sequence()
    cuts = [*range(0, PROMPT, chunk), *range(PROMPT, len(ids) + 1)]
    rows = [
        step(model, [(sequence, ids[begin:end], True)])
        for begin, end in itertools.pairwise(cuts)
    ]
    sequence.close()
    return np.concatenate(rows)


def in_company(model: Model, ids: list[int], place: int) -> Logits:
    """Return all logits of the sequence at `place` among eight of many lengths."""
    sequences = [model.engine.new_sequence() for _ in range(8)]
    others = [
        tiny.prompt(model.vocab_size, 3 + 11 * number + len(ids), seed=number)
        for number in range(8)
    ]
    rows = []
    # The prompt goes with the others' prompts, then one token each, as they come.
    for begin, end in [(0, PROMPT), *((i, i + 1) for i in range(PROMPT, len(ids)))]:
        items: list[tuple[Any, list[int], bool]] = []
        for number, sequence in enumerate(sequences):
            if number == place:
                items.append((sequence, ids[begin:end], True))
            else:
                done = sequence.length
                count = 2 + 7 * number if begin == 0 else 1
                items.append((sequence, others[number][done : done + count], False))
        rows.append(step(model, items)[place : place + end - begin])
    for sequence in sequences:
        sequence.close()
    return np.concatenate(rows)


def assert_same(actual: Logits, expected: Logits) -> None:
    """Compare bytes; say where they differ."""
    assert actual.shape == expected.shape
    different = (actual.view(np.uint32) != expected.view(np.uint32)).any(axis=1)
    assert not different.any(), f"rows that differ: {np.flatnonzero(different)}"


@pytest.mark.capability(
    "Same answer in any company", "prompts in chunks of {chunk}", "{model[1]}"
)
@pytest.mark.parametrize("chunk", [1, 5, 16])
def test_any_chunks(model: Model, ids: list[int], chunk: int) -> None:
    assert_same(chunked(model, ids, chunk), model.forward(ids))


@pytest.mark.capability(
    "Same answer in any company", "beside seven other sequences", "{model[1]}"
)
@pytest.mark.parametrize("place", [0, 3, 7])
def test_any_company(model: Model, ids: list[int], place: int) -> None:
    assert_same(in_company(model, ids, place), model.forward(ids))


@pytest.mark.capability("Same answer in any company", "1, 2 and 3 threads", "{case[1]}")
@pytest.mark.parametrize("case", CASES, ids=["-".join(case) for case in CASES])
def test_any_number_of_threads(
    case: tuple[str, str], make_artifact: MakeArtifact
) -> None:
    one, two, three = (
        llmir.load(make_artifact(*case), threads=threads) for threads in (1, 2, 3)
    )
    assert [one.engine.threads, two.engine.threads] == [1, 2]
    ids = tiny.prompt(one.vocab_size, PROMPT + DECODED, seed=99)
    expected = chunked(one, ids, 16)
    for model in (two, three):
        assert_same(chunked(model, ids, 16), expected)
        assert_same(in_company(model, ids, 5), expected)


def test_truncated_sequences_go_on_alike(model: Model, ids: list[int]) -> None:
    sequence = model.engine.new_sequence()
    wrong = tiny.prompt(model.vocab_size, 20, seed=5)
    step(model, [(sequence, ids[:PROMPT], False)])
    step(model, [(sequence, wrong, False)])
    model.engine.truncate(sequence, PROMPT)
    assert sequence.length == PROMPT
    rest = step(model, [(sequence, ids[PROMPT:], True)])
    assert_same(rest, model.forward(ids)[PROMPT:])
    sequence.close()


def test_blocks_come_back(model: Model, ids: list[int]) -> None:
    before = model.engine.num_free_blocks
    assert before == model.engine.num_blocks
    model.forward(ids)
    list(model.stream(ids, 4))
    stream = model.stream(ids, 4)
    next(stream)
    assert model.engine.num_free_blocks < before
    stream.close()  # type: ignore[attr-defined]
    assert model.engine.num_free_blocks == before
