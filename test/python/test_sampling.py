# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The sampler against NumPy in float64, Transformers' processors, and chance."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    NoBadWordsLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from llmir import _native
from llmir.outputs import Logprob, describe_logprobs
from llmir.sampling_params import SamplingParams

VOCAB = 400
DRAWS = 20_000

Logits = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


def row(seed: int, size: int = VOCAB) -> Logits:
    """Return logits with a spread like that of a model."""
    generator = np.random.default_rng(seed)
    return generator.normal(0, 2.5, size).astype(np.float32)


def sampler(
    prompt: Sequence[int] = (), index: int = 0, size: int = VOCAB, **fields: Any
) -> Any:
    """Return the runtime's sampler for the fields of `SamplingParams`."""
    config = SamplingParams(**{"seed": 1, **fields}).sampling_config(size)
    return _native.runtime().Sampler(config, list(prompt), index)


def softmax(logits: npt.NDArray[Any]) -> Doubles:
    wide = logits.astype(np.float64)
    weights: Doubles = np.exp(wide - wide.max())
    return weights / weights.sum()


def chance_of(distance: float, freedom: int) -> float:
    """Return how probable a chi-squared variable is to exceed `distance`."""
    half = torch.tensor([freedom / 2, distance / 2], dtype=torch.float64)
    return float(torch.special.gammaincc(half[0], half[1]))


def check_draws(counts: npt.NDArray[np.int64], expected: Doubles) -> None:
    """Compare how often tokens were drawn with their probabilities."""
    assert counts[expected == 0].sum() == 0
    draws = counts.sum()
    # The test holds for cells of at least some five; rare tokens share one.
    common = expected * draws >= 8
    seen = np.append(counts[common], counts[~common].sum()).astype(float)
    mean = np.append(expected[common], expected[~common].sum()) * draws
    if mean[-1] < 8:
        seen[-2] += seen[-1]
        mean[-2] += mean[-1]
        seen, mean = seen[:-1], mean[:-1]
    if len(seen) == 1:
        assert seen[0] == draws
        return
    distance = ((seen - mean) ** 2 / mean).sum()
    assert chance_of(distance, len(seen) - 1) > 1e-6


def draw_counts(chooser: Any, logits: Logits) -> npt.NDArray[np.int64]:
    counts = np.zeros(len(logits), np.int64)
    for _ in range(DRAWS):
        counts[chooser.sample(logits)[0]] += 1
    return counts


FILTERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "temperature": {"temperature": 0.6},
    "hot": {"temperature": 5.0},
    "top_k": {"top_k": 20},
    "top_p": {"top_p": 0.8},
    "min_p": {"min_p": 0.05},
    "all": {"temperature": 0.9, "top_k": 60, "top_p": 0.9, "min_p": 0.01},
    "top_p and min_p": {"temperature": 1.4, "top_p": 0.95, "min_p": 0.02},
}


def warped(logits: Logits, fields: dict[str, Any]) -> Doubles:
    """Return the probabilities that Transformers' warpers leave, in their order."""
    warpers = LogitsProcessorList(
        [TemperatureLogitsWarper(float(fields.get("temperature", 1.0)))]
    )
    if "top_k" in fields:
        warpers.append(TopKLogitsWarper(fields["top_k"]))
    if "top_p" in fields:
        warpers.append(TopPLogitsWarper(fields["top_p"]))
    if "min_p" in fields:
        warpers.append(MinPLogitsWarper(fields["min_p"]))
    scores = torch.from_numpy(logits.astype(np.float64))[None]
    return softmax(warpers(torch.zeros(1, 1, dtype=torch.long), scores)[0].numpy())


@pytest.mark.capability("Sampling", "chi-squared over 20,000 draws: {id}")
@pytest.mark.parametrize("fields", FILTERS.values(), ids=FILTERS)
def test_draws_follow_transformers(fields: dict[str, Any]) -> None:
    logits = row(1)
    check_draws(draw_counts(sampler(**fields), logits), warped(logits, fields))


def test_the_chi_squared_test_sees_a_small_difference() -> None:
    logits = row(1)
    counts = draw_counts(sampler(temperature=1.0), logits)
    with pytest.raises(AssertionError):
        check_draws(counts, warped(logits, {"temperature": 1.04}))
    # The tables' 5 % and 0.1 % points.
    assert chance_of(3.841, 1) == pytest.approx(0.05, rel=1e-3)
    assert chance_of(124.342, 100) == pytest.approx(0.05, rel=1e-3)
    assert chance_of(29.588, 10) == pytest.approx(0.001, rel=1e-3)


@pytest.mark.parametrize("seed", range(8))
def test_large_vocabularies_keep_what_transformers_keeps(seed: int) -> None:
    logits = row(seed, 150_000)
    chance = random.Random(seed)
    fields: dict[str, Any] = {"temperature": chance.uniform(0.3, 1.5)}
    for name, values in (("top_k", (7, 300, 5000)), ("top_p", (0.3, 0.9, 0.999))):
        if chance.random() < 0.7:
            fields[name] = chance.choice(values)
    if chance.random() < 0.5 or len(fields) == 1:
        fields["min_p"] = chance.choice((0.02, 0.2))
    expected = warped(logits, fields)
    chooser = sampler(size=len(logits), **fields)
    drawn = np.array([chooser.sample(logits)[0] for _ in range(300)])
    assert (expected[drawn] > 0).all()
    # The mean of -log p over draws is the entropy, to five standard deviations.
    kept = expected[expected > 0]
    entropy = -(kept * np.log(kept)).sum()
    spread = math.sqrt((kept * np.log(kept) ** 2).sum() - entropy**2)
    mean = -np.log(expected[drawn]).mean()
    assert abs(mean - entropy) <= 5 * spread / math.sqrt(len(drawn)) + 1e-9


def penalized(
    logits: Logits, prompt: Sequence[int], output: Sequence[int], fields: dict[str, Any]
) -> Doubles:
    """Return the logits after penalties: Transformers' for repetition, then vLLM's."""
    penalty = RepetitionPenaltyLogitsProcessor(
        float(fields.get("repetition_penalty", 1.0))
    )
    scores = torch.from_numpy(logits.astype(np.float64))[None]
    ids = torch.tensor([[*prompt, *output]], dtype=torch.long)
    wide: Doubles = penalty(ids, scores)[0].numpy().copy()
    times = np.bincount(np.array(output, np.int64), minlength=len(logits))
    wide -= fields.get("frequency_penalty", 0.0) * times
    wide -= fields.get("presence_penalty", 0.0) * (times > 0)
    return wide


PENALTIES: dict[str, dict[str, float]] = {
    "repetition_penalty": {"repetition_penalty": 1.3},
    "repetition_penalty below 1": {"repetition_penalty": 0.8},
    "presence_penalty": {"presence_penalty": 1.5},
    "frequency_penalty": {"frequency_penalty": 0.7},
    "all penalties": {
        "repetition_penalty": 1.2,
        "presence_penalty": -0.5,
        "frequency_penalty": 0.4,
    },
}


@pytest.mark.capability("Sampling", "{id}")
@pytest.mark.parametrize("fields", PENALTIES.values(), ids=PENALTIES)
def test_penalties(fields: dict[str, float]) -> None:
    # Few tokens with logits close to each other, so that penalties decide.
    size = 24
    prompt = [1, 5, 5, 9, 2]
    changed = 0
    for text in range(20):
        chooser = sampler(prompt, size=size, temperature=0.0, **fields)
        output: list[int] = []
        for step in range(12):
            logits = row(100 * text + step, size) / np.float32(2)
            expected = int(penalized(logits, prompt, output, fields).argmax())
            output.append(chooser.sample(logits)[0])
            assert output[-1] == expected
            changed += expected != int(logits.argmax())
    assert changed > 20


def test_penalized_draws() -> None:
    logits = row(3, 30)
    prompt = [0, 1, 2, 3, 4]
    fields = {"repetition_penalty": 1.5, "presence_penalty": 0.8}
    first = softmax(penalized(logits, prompt, [], fields))
    often = int(first.argmax())
    second = softmax(penalized(logits, prompt, [often], fields))
    counts = np.zeros((2, 30), np.int64)
    for seed in range(DRAWS // 4):
        chooser = sampler(prompt, size=30, seed=seed, **fields)
        token_id, _ = chooser.sample(logits)
        counts[0, token_id] += 1
        if token_id == often:
            counts[1, chooser.sample(logits)[0]] += 1
    check_draws(counts[0], first)
    check_draws(counts[1], second)


@pytest.mark.capability("Sampling", "bad_words")
def test_bad_words_are_transformers() -> None:
    size = 8
    words = [[3], [1, 2], [2, 2, 4], [5, 6, 5, 6]]
    processor = NoBadWordsLogitsProcessor(words)
    config = _native.runtime().SamplingConfig(bad_words=words)
    ids = [1, 2, 2]
    chooser = _native.runtime().Sampler(config, ids)
    changed = 0
    for step in range(400):
        logits = row(step, size)
        scores = processor(torch.tensor([ids]), torch.from_numpy(logits)[None])
        ids.append(chooser.sample(logits)[0])
        assert ids[-1] == int(scores[0].argmax())
        changed += ids[-1] != int(logits.argmax())
    assert changed > 40


@pytest.mark.capability("Sampling", "logit_bias")
def test_logit_bias() -> None:
    logits = row(4, 20)
    chooser = sampler(size=20, logit_bias={3: 4.0, 7: -100.0, "9": 1.5})
    biased = logits.astype(np.float64)
    biased[[3, 7, 9]] += [4.0, -100.0, 1.5]
    check_draws(draw_counts(chooser, logits), softmax(biased))


@pytest.mark.capability("Sampling", "allowed_token_ids")
def test_allowed_tokens() -> None:
    logits = row(5)
    allowed = [3, 399, 17, 200]
    expected = np.zeros(VOCAB)
    expected[allowed] = softmax(logits)[allowed]
    counts = draw_counts(sampler(allowed_token_ids=allowed), logits)
    check_draws(counts, expected / expected.sum())


@pytest.mark.capability("Sampling", "min_tokens")
def test_min_tokens() -> None:
    logits = np.zeros(6, np.float32)
    logits[[2, 4, 5]] = 50, 40, 30
    params = SamplingParams(temperature=0, min_tokens=3, stop_token_ids=[4])
    config = params.sampling_config(6, eos_token_ids=[2])
    chooser = _native.runtime().Sampler(config)
    assert [chooser.sample(logits)[0] for _ in range(5)] == [5, 5, 5, 2, 2]


@pytest.mark.capability("Sampling", "logprobs")
@pytest.mark.parametrize("count", [0, 1, 5, 300, -1])
def test_logprobs(count: int) -> None:
    logits = row(6)
    logits[40:60] = logits[40]
    chooser = sampler(logprobs=count, temperature=1.7, top_k=3, logit_bias={50: 20.0})
    wide = logits.astype(np.float64)
    expected = wide - wide.max() - np.log(np.exp(wide - wide.max()).sum())
    order = np.argsort(-wide, kind="stable")
    token, entries = chooser.sample(logits)
    assert token == 50
    assert [entry[0] for entry in entries] == [
        50,
        *(order if count < 0 else order[:count]),
    ]
    for token_id, logprob, rank in entries:
        assert logprob == pytest.approx(expected[token_id], abs=2e-6)
        assert order[rank - 1] == token_id
    assert _native.runtime().logprobs(logits, 50, count) == entries
    described = describe_logprobs(entries)
    assert described[50] == Logprob(entries[0][1], entries[0][2], None)
    assert len(described) == len({entry[0] for entry in entries})


def test_logprobs_are_only_returned_when_asked_for() -> None:
    assert sampler().sample(row(7))[1] == []


@pytest.mark.capability("Sampling", "same tokens in any company")
def test_tokens_do_not_depend_on_the_company() -> None:
    chance = random.Random(8)
    fields = [
        {**chance.choice([*FILTERS.values()]), "seed": seed // 2, "logprobs": 2}
        for seed in range(10)
    ]
    rows = [row(step) for step in range(30)]
    alone = []
    for index, own in enumerate(fields):
        chooser = sampler(index=index % 2, **own)
        alone.append([chooser.sample(logits) for logits in rows])
    # Outputs of one request have different numbers.
    assert alone[0] != alone[1]
    for _ in range(4):
        choosers = [sampler(index=i % 2, **own) for i, own in enumerate(fields)]
        found: list[list[Any]] = [[] for _ in fields]
        turns = [i for i in range(len(fields)) for _ in rows]
        chance.shuffle(turns)
        for i in turns:
            found[i].append(choosers[i].sample(rows[len(found[i])]))
        assert found == alone


def test_requests_without_a_seed_differ() -> None:
    logits = np.zeros(VOCAB, np.float32)
    texts = []
    for _ in range(2):
        chooser = sampler(seed=None)
        texts.append([chooser.sample(logits)[0] for _ in range(20)])
    assert texts[0] != texts[1]
