# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Generating from Python: sampling, stopping, lengths, and what is refused."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch

import llmir
import tiny
from conftest import MakeArtifact, MakeModel
from llmir.compile import compile_model
from llmir.errors import LLMIRError
from llmir.model import Model

IDS = [5, 6, 7]


@pytest.fixture(scope="module")
def model(make_artifact: MakeArtifact) -> Model:
    """A model whose next tokens are well spread."""
    return llmir.load(make_artifact("gqa", "float32"), threads=1)


def probabilities(model: Model, temperature: float) -> np.ndarray[Any, Any]:
    """Return the probabilities of the tokens that may follow IDS."""
    logits = model.forward(IDS)[-1].astype(np.float64) / temperature
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


@pytest.mark.capability("Sampling", "seed")
def test_seeds_settle_the_tokens(model: Model) -> None:
    texts = [model.generate(IDS, 20, temperature=1.0, seed=seed) for seed in (1, 1, 2)]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]


@pytest.mark.capability("Sampling", "temperature")
def test_temperature_follows_the_distribution(model: Model) -> None:
    expected = probabilities(model, 0.8)
    draws = 2000
    drawn = Counter(
        model.generate(IDS, 1, temperature=0.8, seed=seed)[0] for seed in range(draws)
    )
    for token_id in np.argsort(-expected)[:5]:
        mean = draws * expected[token_id]
        assert abs(drawn[int(token_id)] - mean) < 5 * np.sqrt(mean) + 1


@pytest.mark.capability("Sampling", "{id}")
@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        ({"top_k": 1}, lambda p: np.argsort(-p)[:1]),
        ({"top_k": 3}, lambda p: np.argsort(-p)[:3]),
        (
            {"top_p": 0.5},
            lambda p: np.argsort(-p)[
                : int((np.cumsum(np.sort(p)[::-1]) < 0.5).sum()) + 1
            ],
        ),
        ({"min_p": 0.5}, lambda p: np.flatnonzero(p >= 0.5 * p.max())),
    ],
    ids=["top_k=1", "top_k=3", "top_p=0.5", "min_p=0.5"],
)
def test_filters(model: Model, options: dict[str, Any], allowed: Any) -> None:
    expected = set(map(int, allowed(probabilities(model, 0.7))))
    assert len(expected) < model.vocab_size // 2
    drawn = {
        model.generate(IDS, 1, temperature=0.7, seed=seed, **options)[0]
        for seed in range(min(60 * len(expected), 600))
    }
    assert drawn <= expected
    assert len(drawn) >= min(3, len(expected))


@pytest.mark.capability("Sampling", "greedy")
def test_greedy_is_the_default(model: Model) -> None:
    first = int(model.forward(IDS)[-1].argmax())
    assert model.generate(IDS, 1) == [first]
    assert model.generate(IDS, 8, temperature=0.0, seed=3) == model.generate(IDS, 8)


def test_stop_tokens_end_the_text(model: Model) -> None:
    free = model.generate(IDS, 30, stop_token_ids=())
    assert len(free) == 30
    stop = free[10]
    end = free.index(stop) + 1
    assert model.generate(IDS, 30, stop_token_ids=[stop]) == free[:end]


def test_the_models_own_end_is_the_default(model: Model) -> None:
    assert model.eos_token_ids == (0,)
    texts = (model.generate(IDS, 60, temperature=3.0, seed=s) for s in range(40))
    ended = [text for text in texts if 0 in text]
    assert ended
    assert all(text.index(0) == len(text) - 1 for text in ended)


def test_texts_end_at_the_greatest_length(model: Model) -> None:
    ids = tiny.prompt(model.vocab_size, model.max_model_len - 3)
    assert len(model.generate(ids, 30, stop_token_ids=())) == 3
    whole = tiny.prompt(model.vocab_size, model.max_model_len)
    assert model.generate(whole, 30) == []
    assert model.forward(whole).shape == (model.max_model_len, model.vocab_size)
    assert model.generate(IDS, 0) == []


def test_streams_are_lazy_and_may_interleave(model: Model) -> None:
    first = model.stream(IDS, 6, stop_token_ids=())
    second = model.stream([9, 8], 6, stop_token_ids=())
    pairs = list(zip(first, second, strict=True))
    assert [a for a, _ in pairs] == model.generate(IDS, 6, stop_token_ids=())
    assert [b for _, b in pairs] == model.generate([9, 8], 6, stop_token_ids=())


def test_arrays_are_ids(model: Model) -> None:
    for dtype in (np.int32, np.int64, np.uint16):
        logits = model.forward(np.array(IDS, dtype))
        assert np.array_equal(logits, model.forward(IDS))


def test_text(model: Model) -> None:
    ids = model.encode("the theory")
    assert model.decode(ids) == "the theory"


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([], "at least one token id"),
        ([[1]], "at least one token id"),
        ([1.5], r"token ids are integers, not \[1.5\]"),
        ([2**70], "token ids are integers, not "),
        ([[1], [1, 2]], "at least one token id"),
        ("the", "needs token ids, not text; `encode` turns text into them"),
        (3, "a list of at least one token id, not 3"),
        ([-1], "token id -1 is not one of the model's 320"),
        ([320], "token id 320 is not one of the model's 320"),
        ([1] * 257, "257 tokens are more than the 256"),
    ],
)
def test_refuses_ids(model: Model, ids: Any, message: str) -> None:
    with pytest.raises(LLMIRError, match=message):
        model.forward(ids)
    with pytest.raises(LLMIRError, match=message):
        model.stream(ids)


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.5},
        {"min_p": -0.1},
        {"seed": -1},
        {"max_new_tokens": -1},
        {"max_new_tokens": 2.5},
        {"top_k": 2.5},
        {"temperature": "hot"},
        {"stop_token_ids": 3},
        {"stop_token_ids": "end"},
        {"stop_token_ids": [1.5]},
    ],
)
def test_refuses_settings(model: Model, options: dict[str, Any]) -> None:
    with pytest.raises(LLMIRError) as raised:
        model.stream(IDS, **options)
    assert "\n" not in str(raised.value)


def test_large_top_k_is_all(model: Model) -> None:
    texts = [model.generate(IDS, 5, temperature=1.0, top_k=k) for k in (0, 10**30)]
    assert texts[0] == texts[1]


def test_stop_tokens_may_be_any_integers(model: Model) -> None:
    free = model.generate(IDS, 30, stop_token_ids=())
    for stop in (np.array(free[5:6]), set(free[5:6]), (free[5],)):
        assert model.generate(IDS, 30, stop_token_ids=stop)[-1] == free[5]


@pytest.mark.parametrize("threads", [0, 1025, 5_000_000_000, 1.5])
def test_refuses_a_number_of_threads(make_artifact: MakeArtifact, threads: Any) -> None:
    with pytest.raises(LLMIRError, match=f"from 1 to 1024, not {threads}"):
        llmir.load(make_artifact("gqa", "float32"), threads=threads)


@pytest.mark.parametrize("num_blocks", [-1, 2**40])
def test_refuses_a_number_of_blocks(
    make_artifact: MakeArtifact, num_blocks: int
) -> None:
    with pytest.raises(LLMIRError, match=f"num_blocks is {num_blocks}"):
        Model(make_artifact("gqa", "float32"), num_blocks=num_blocks)


def test_nan_weights_are_one_sentence(make_model: MakeModel, tmp_path: Path) -> None:
    directory = tmp_path / "model"
    shutil.copytree(make_model("gqa", "float32"), directory)
    stored = safetensors.torch.load_file(directory / "model.safetensors")
    stored["model.norm.weight"][0] = float("nan")
    safetensors.torch.save_file(stored, directory / "model.safetensors")
    compile_model(str(directory), tmp_path / "out.llmir")
    model = llmir.load(tmp_path / "out.llmir")
    with pytest.raises(LLMIRError, match="no next token: the logit of token 0 is NaN"):
        model.generate(IDS, 3)
