# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The fields of a request: defaults, what is refused, and what the runtime gets."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

import llmir
import tiny
from llmir import _native
from llmir.outputs import CompletionOutput, RequestOutput
from llmir.sampling_params import SamplingParams
from llmir.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("byte-level") / "tokenizer.json"
    tiny.byte_tokenizer(300).save(str(path))
    return Tokenizer(path)


def test_defaults_are_vllms() -> None:
    assert dataclasses.asdict(SamplingParams()) == {
        "n": 1,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "repetition_penalty": 1.0,
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": 0,
        "min_p": 0.0,
        "seed": None,
        "stop": [],
        "stop_token_ids": [],
        "bad_words": [],
        "include_stop_str_in_output": False,
        "ignore_eos": False,
        "max_tokens": 16,
        "min_tokens": 0,
        "logprobs": None,
        "prompt_logprobs": None,
        "detokenize": True,
        "skip_special_tokens": True,
        "logit_bias": None,
        "allowed_token_ids": None,
    }


def test_forms_become_one() -> None:
    params = SamplingParams(
        stop="end",
        stop_token_ids=np.array([3, 3, 1]),  # type: ignore[arg-type]
        bad_words=("a", "a", "b"),  # type: ignore[arg-type]
        seed=-1,
        logprobs=True,
        logit_bias={"7": 300, 8: -0.5},  # type: ignore[dict-item]
    )
    assert params.stop == ["end"]
    assert params.stop_token_ids == [3, 1]
    assert params.bad_words == ["a", "b"]
    assert params.seed is None
    assert params.logprobs == 1
    assert params.logit_bias == {7: 100.0, 8: -0.5}
    # Once more the same.
    assert SamplingParams(**dataclasses.asdict(params)) == params


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n": 0}, "n must be at least 1, got 0."),
        ({"n": 1.5}, "n must be an integer, got float"),
        ({"n": 2, "temperature": 0}, "n must be 1 when using greedy sampling, got 2."),
        ({"presence_penalty": 2.5}, "presence_penalty must be in [-2, 2], got 2.5."),
        ({"frequency_penalty": -3}, "frequency_penalty must be in [-2, 2], got -3.0."),
        (
            {"presence_penalty": float("nan")},
            "presence_penalty must be in [-2, 2], got nan.",
        ),
        (
            {"repetition_penalty": 0.0},
            "repetition_penalty must be greater than zero, got 0.0.",
        ),
        (
            {"repetition_penalty": float("inf")},
            "repetition_penalty must be a finite number, got inf.",
        ),
        ({"temperature": -0.1}, "temperature must be non-negative, got -0.1."),
        (
            {"temperature": float("nan")},
            "temperature must be a finite number, got nan.",
        ),
        ({"temperature": "hot"}, "temperature must be a number, got str"),
        ({"temperature": True}, "temperature must be a number, got bool"),
        ({"top_p": 0.0}, "top_p must be in (0, 1], got 0.0."),
        ({"top_p": 1.01}, "top_p must be in (0, 1], got 1.01."),
        ({"top_k": -2}, "top_k must be 0 (disable), or at least 1, got -2."),
        ({"top_k": 2.0}, "top_k must be an integer, got float"),
        ({"min_p": -0.1}, "min_p must be in [0, 1], got -0.1."),
        ({"min_p": 1.1}, "min_p must be in [0, 1], got 1.1."),
        ({"seed": -2}, "seed must be in [0, 2**64 - 1], got -2."),
        ({"seed": 2**64}, f"seed must be in [0, 2**64 - 1], got {2**64}."),
        ({"max_tokens": 0}, "max_tokens must be at least 1, got 0."),
        (
            {"min_tokens": -1},
            "min_tokens must be greater than or equal to 0, got -1.",
        ),
        (
            {"min_tokens": 17},
            "min_tokens must be less than or equal to max_tokens=16, got 17.",
        ),
        ({"logprobs": -2}, "logprobs must be non-negative or -1, got -2."),
        (
            {"prompt_logprobs": -2},
            "prompt_logprobs must be non-negative or -1, got -2.",
        ),
        ({"stop": ["a", ""]}, "stop cannot contain an empty string."),
        ({"stop": [3]}, "stop must contain only strings, got [3]."),
        (
            {"stop": "a", "detokenize": False},
            "stop strings are only supported when detokenize is True. "
            "Set detokenize=True to use stop.",
        ),
        (
            {"stop_token_ids": [1, "a"]},
            "stop_token_ids must contain only integers, got [1, 'a'].",
        ),
        ({"stop_token_ids": 3}, "stop_token_ids must contain only integers, got 3."),
        ({"stop": 3}, "stop must contain only strings, got 3."),
        ({"logit_bias": [3]}, "logit_bias must be a dictionary, got [3]."),
        ({"stop_token_ids": [-1]}, "stop_token_ids must contain token ids, got -1."),
        ({"bad_words": [""]}, "bad_words cannot contain an empty string."),
        ({"allowed_token_ids": []}, "allowed_token_ids is not None and empty!"),
        (
            {"logit_bias": {"x": 1.0}},
            "logit_bias contains key(s) that cannot be converted to integer token "
            "IDs: ['x']",
        ),
        (
            {"logit_bias": {1: float("nan")}},
            "logit_bias must be in [-100, 100], got nan.",
        ),
    ],
)
def test_refuses_values(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        SamplingParams(**fields)
    assert str(raised.value) == message


@pytest.mark.parametrize("top_k", [0, -1, 10**30])
def test_top_k_may_keep_all(top_k: int) -> None:
    logits = np.zeros(50, np.float32)
    config = SamplingParams(top_k=top_k, seed=1).sampling_config(50)
    chooser = _native.runtime().Sampler(config)
    assert len({chooser.sample(logits)[0] for _ in range(1000)}) == 50


def test_numbers_may_be_numpys() -> None:
    fields = {"temperature": 0.5, "top_p": 0.5, "min_p": 0.25, "presence_penalty": 1}
    integers = {"top_k": 5, "seed": 3, "min_tokens": 2, "max_tokens": 9, "logprobs": 1}
    logits = np.linspace(0, 3, 20, dtype=np.float32)

    def drawn(params: SamplingParams) -> list[Any]:
        chooser = _native.runtime().Sampler(params.sampling_config(20))
        return [chooser.sample(logits) for _ in range(20)]

    params = SamplingParams(
        **{name: np.float32(value) for name, value in fields.items()},
        **{name: np.int64(value) for name, value in integers.items()},
    )
    assert drawn(params) == drawn(SamplingParams(**fields, **integers))


def test_low_temperatures_are_greedy() -> None:
    logits = np.array([0, 1, 1 - 1e-6], np.float32)
    config = SamplingParams(temperature=1e-6, top_p=0.1, top_k=7).sampling_config(3)
    chooser = _native.runtime().Sampler(config)
    assert {chooser.sample(logits)[0] for _ in range(100)} == {1}


@pytest.mark.parametrize(
    "fields",
    [
        {"stop_token_ids": [50]},
        {"allowed_token_ids": [1, 50]},
        {"logit_bias": {50: 1.0}},
    ],
)
def test_refuses_ids_that_the_model_lacks(fields: dict[str, Any]) -> None:
    params = SamplingParams(**fields)
    params.sampling_config(51)
    with pytest.raises(ValueError, match="token 50, which is not one of the model's"):
        params.sampling_config(50)


def test_bad_words_are_banned_where_they_begin_and_within(
    tokenizer: Tokenizer,
) -> None:
    params = SamplingParams(bad_words=["theory"], temperature=0)
    with pytest.raises(ValueError, match="bad_words needs a tokenizer"):
        params.sampling_config(300)
    config = params.sampling_config(300, tokenizer=tokenizer)
    runtime = _native.runtime()
    for text, ids in (("theory", 3), ("the theory", 2)):
        *begin, last = tokenizer.encode(text)
        assert len(begin) + 1 == ids
        logits = np.zeros(300, np.float32)
        logits[last] = 1
        assert runtime.Sampler(config, begin).sample(logits)[0] != last
    # The last token of a word of several is free where the others do not precede it.
    last = tokenizer.encode("theory")[-1]
    logits = np.zeros(300, np.float32)
    logits[last] = 1
    assert runtime.Sampler(config, begin).sample(logits)[0] == last


def test_names_of_the_package() -> None:
    assert llmir.SamplingParams is SamplingParams
    assert llmir.RequestOutput is RequestOutput
    assert llmir.CompletionOutput is CompletionOutput


def test_an_output_is_finished_by_its_reason() -> None:
    output = CompletionOutput(0, "text", [1], None, None)
    assert not output.finished()
    assert dataclasses.replace(output, finish_reason="length").finished()
