# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""How the tokens of a request are chosen, and when its outputs end.

The fields, their defaults and the messages are those of vLLM's `SamplingParams`, so
that programs written for it need no change. What the fields do happens in the
runtime's sampler; stop strings are the detokenizer's.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmir import _native
from llmir.tokenizer import Tokenizer

# Lower temperatures are greedy, as in vLLM.
GREEDY_TEMPERATURE = 1e-5

# What the runtime takes for an integer of a setting.
_MAX_INTEGER = 2**31 - 1


@dataclass
class SamplingParams:
    """The parameters of a request. Raises ValueError for one out of its range.

    n: how many outputs to make, each with random numbers of its own.
    presence_penalty: what is taken from the logits of tokens that are in the output.
    frequency_penalty: the same for each time that a token is in the output.
    repetition_penalty: what the logits of tokens in the prompt or the output are
        divided by if they are positive, and multiplied by if not.
    temperature: what logits are divided by; 0 takes the likeliest token.
    top_p: the likeliest tokens that together have this probability may be drawn.
    top_k: so many of the likeliest tokens may be drawn; 0 and -1 are all.
    min_p: tokens with at least this share of the likeliest one's probability may be
        drawn.
    seed: equal seeds draw equal tokens, whatever else is computed; None and -1 are a
        new one for each request.
    stop: strings that end an output when they appear, one or a list.
    stop_token_ids: tokens that end an output beside the model's own. They are the last
        of `token_ids`, and not part of the text.
    bad_words: words that are not generated.
    include_stop_str_in_output: whether the text contains what has ended it.
    ignore_eos: whether to go on after the model's own end of a text.
    max_tokens: the most tokens of an output; None is what the model has room for.
    min_tokens: tokens and strings that end an output do so only after so many tokens.
    logprobs: how many of the likeliest tokens' log probabilities to return for each
        token, beside its own; -1 is all, None returns none.
    prompt_logprobs: the same for the tokens of the prompt.
    detokenize: whether to make text of the tokens.
    skip_special_tokens: whether special tokens are left out of the text.
    logit_bias: what is added to the logits of some tokens.
    allowed_token_ids: the only tokens that may be drawn.
    """

    n: int = 1
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    bad_words: list[str] | None = None
    include_stop_str_in_output: bool = False
    ignore_eos: bool = False
    max_tokens: int | None = 16
    min_tokens: int = 0
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    detokenize: bool = True
    skip_special_tokens: bool = True
    logit_bias: dict[int, float] | None = None
    allowed_token_ids: list[int] | None = None

    def __post_init__(self) -> None:
        """Check the fields, and make lists of `stop`, its tokens and `bad_words`."""
        self.stop = _strings("stop", self.stop)
        self.bad_words = _strings("bad_words", self.bad_words)
        self.stop_token_ids = _ids("stop_token_ids", self.stop_token_ids)
        if self.allowed_token_ids is not None:
            self.allowed_token_ids = _ids("allowed_token_ids", self.allowed_token_ids)
            if not self.allowed_token_ids:
                raise ValueError("allowed_token_ids is not None and empty!")
        if self.logit_bias is not None:
            self.logit_bias = _biases(self.logit_bias)
        if self.seed == -1:
            self.seed = None
        # What OpenAI's chat completions call it.
        if self.logprobs is True:
            self.logprobs = 1
        if self.prompt_logprobs is True:
            self.prompt_logprobs = 1
        self._check_numbers()
        self._check_counts()
        if self.stop and not self.detokenize:
            raise ValueError(
                "stop strings are only supported when detokenize is True. "
                "Set detokenize=True to use stop."
            )
        if self.greedy and self.n > 1:
            raise ValueError(f"n must be 1 when using greedy sampling, got {self.n}.")

    @property
    def greedy(self) -> bool:
        """Whether the likeliest tokens are taken and nothing is drawn."""
        return self.temperature < GREEDY_TEMPERATURE

    def _check_numbers(self) -> None:
        for name in ("presence_penalty", "frequency_penalty"):
            value = _number(name, getattr(self, name))
            if not -2.0 <= value <= 2.0:
                raise ValueError(f"{name} must be in [-2, 2], got {value}.")
        for name in ("repetition_penalty", "temperature"):
            value = _number(name, getattr(self, name))
            if not math.isfinite(value):
                raise ValueError(f"{name} must be a finite number, got {value}.")
        if self.repetition_penalty <= 0.0:
            raise ValueError(
                "repetition_penalty must be greater than zero, got "
                f"{self.repetition_penalty}."
            )
        if self.temperature < 0.0:
            raise ValueError(
                f"temperature must be non-negative, got {self.temperature}."
            )
        if not 0.0 < _number("top_p", self.top_p) <= 1.0:
            raise ValueError(f"top_p must be in (0, 1], got {self.top_p}.")
        if not 0.0 <= _number("min_p", self.min_p) <= 1.0:
            raise ValueError(f"min_p must be in [0, 1], got {self.min_p}.")

    def _check_counts(self) -> None:
        if _integer("n", self.n) < 1:
            raise ValueError(f"n must be at least 1, got {self.n}.")
        if _integer("top_k", self.top_k) < -1:
            raise ValueError(
                f"top_k must be 0 (disable), or at least 1, got {self.top_k}."
            )
        if self.seed is not None and not 0 <= _integer("seed", self.seed) < 2**64:
            raise ValueError(f"seed must be in [0, 2**64 - 1], got {self.seed}.")
        if self.max_tokens is not None and _integer("max_tokens", self.max_tokens) < 1:
            raise ValueError(f"max_tokens must be at least 1, got {self.max_tokens}.")
        if _integer("min_tokens", self.min_tokens) < 0:
            raise ValueError(
                f"min_tokens must be greater than or equal to 0, got {self.min_tokens}."
            )
        if self.max_tokens is not None and self.min_tokens > self.max_tokens:
            raise ValueError(
                f"min_tokens must be less than or equal to max_tokens="
                f"{self.max_tokens}, got {self.min_tokens}."
            )
        for name in ("logprobs", "prompt_logprobs"):
            value = getattr(self, name)
            if value is not None and _integer(name, value) < -1:
                raise ValueError(f"{name} must be non-negative or -1, got {value}.")

    def sampling_config(
        self,
        vocab_size: int,
        eos_token_ids: Sequence[int] = (),
        tokenizer: Tokenizer | None = None,
    ) -> Any:
        """Return the runtime's `SamplingConfig` of these parameters.

        vocab_size: of the model; ids that it lacks are refused with ValueError.
        eos_token_ids: the model's own, which are not drawn before `min_tokens` either.
        tokenizer: what turns `bad_words` into tokens; ValueError if it is missing.

        Without a seed each call draws a new one, which the outputs of a request share.
        """
        config = _native.runtime().SamplingConfig(
            temperature=0.0 if self.greedy else self.temperature,
            top_k=min(max(self.top_k, 0), _MAX_INTEGER),
            top_p=self.top_p,
            min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            logit_bias=list((self.logit_bias or {}).items()),
            allowed_token_ids=self.allowed_token_ids or [],
            bad_words=_words(_strings("bad_words", self.bad_words), tokenizer),
            min_tokens=min(self.min_tokens, _MAX_INTEGER),
            stop_token_ids=sorted({*(self.stop_token_ids or ()), *eos_token_ids}),
            logprobs=None
            if self.logprobs is None
            else min(self.logprobs, _MAX_INTEGER),
            seed=secrets.randbits(64) if self.seed is None else self.seed,
        )
        config.check(vocab_size)
        return config


def _number(name: str, value: Any) -> float:
    # NumPy's numbers are numbers too; truth values are not.
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        raise ValueError(f"{name} must be a number, got {type(value).__name__}")
    return float(value)


def _integer(name: str, value: Any) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise ValueError(f"{name} must be an integer, got {type(value).__name__}")
    return int(value)


def _listed(values: Any) -> list[Any] | None:
    """Return a list of what is one or is absent; None for what cannot be listed."""
    if values is None:
        return []
    return list(values) if isinstance(values, Iterable) else None


def _strings(name: str, value: str | Iterable[str] | None) -> list[str]:
    strings = _listed([value] if isinstance(value, str) else value)
    if strings is None or not all(isinstance(string, str) for string in strings):
        raise ValueError(f"{name} must contain only strings, got {value}.")
    if not all(strings):
        raise ValueError(f"{name} cannot contain an empty string.")
    return list(dict.fromkeys(strings))


def _ids(name: str, ids: Iterable[Any] | None) -> list[int]:
    listed = _listed(ids)
    try:
        if listed is None:
            raise ValueError
        checked = [_integer(name, token_id) for token_id in listed]
    except ValueError:
        raise ValueError(f"{name} must contain only integers, got {ids}.") from None
    for token_id in checked:
        if not 0 <= token_id <= _MAX_INTEGER:
            raise ValueError(f"{name} must contain token ids, got {token_id}.")
    return list(dict.fromkeys(checked))


def _biases(biases: Mapping[Any, Any]) -> dict[int, float]:
    # JSON's keys are strings.
    if not isinstance(biases, Mapping):
        raise ValueError(f"logit_bias must be a dictionary, got {biases}.")
    result: dict[int, float] = {}
    for key, value in biases.items():
        try:
            (token_id,) = _ids("logit_bias", [int(key)])
        except (TypeError, ValueError):
            raise ValueError(
                "logit_bias contains key(s) that cannot be converted to integer "
                f"token IDs: {[key]!r}"
            ) from None
        bias = _number("logit_bias", value)
        if math.isnan(bias):
            raise ValueError(f"logit_bias must be in [-100, 100], got {bias}.")
        # As OpenAI and vLLM do: 100 is as good as certain.
        result[token_id] = min(100.0, max(-100.0, bias))
    return result


def _words(words: Sequence[str], tokenizer: Tokenizer | None) -> list[list[int]]:
    """Return the tokens of words, as they are at the begin of a text and within one."""
    if words and tokenizer is None:
        raise ValueError(
            f"bad_words needs a tokenizer, which the model lacks, got {list(words)}."
        )
    found: list[list[int]] = []
    for word in words:
        assert tokenizer is not None
        bare = word.lstrip() or word
        for text in (bare, " " + bare):
            ids = tokenizer.encode(text, add_special_tokens=False)
            if ids and ids not in found:
                found.append(ids)
    return found
