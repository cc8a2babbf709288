# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What comes of a request, in the classes and fields of vLLM.

An output that is still growing has the same form as a finished one, so that a program
that streams and one that waits read the same fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from llmir.tokenizer import Tokenizer

# Why an output has ended.
STOP, LENGTH, ABORT, ERROR = "stop", "length", "abort", "error"


@dataclass
class Logprob:
    """The log probability of a token, by the model's own logits.

    rank: 1 is the likeliest token; equal ones are in the order of ids.
    decoded_token: the token's text by itself; None without a tokenizer.
    """

    logprob: float
    rank: int | None = None
    decoded_token: str | None = None


@dataclass
class CompletionOutput:
    """One output of a request.

    index: its number among the request's outputs.
    token_ids: all its tokens so far, with the one that has ended it.
    cumulative_logprob: the sum of its tokens' log probabilities; None if
        `SamplingParams.logprobs` is.
    logprobs: for each token a dictionary by token id, of the token and of the
        likeliest ones; None if they were not asked for.
    finish_reason: "stop", "length", "abort" or "error"; None while it grows.
    stop_reason: the stop string or the token id of `stop_token_ids` that has ended it;
        None for the model's own end of a text. What is wrong, of an error.
    """

    index: int
    text: str
    token_ids: Sequence[int]
    cumulative_logprob: float | None
    logprobs: list[dict[int, Logprob]] | None
    finish_reason: str | None = None
    stop_reason: int | str | None = None

    def finished(self) -> bool:
        """Return whether it has ended."""
        return self.finish_reason is not None


@dataclass
class RequestOutput:
    """A request and its outputs so far.

    prompt: the prompt's text; None if it was given as token ids.
    prompt_logprobs: as `CompletionOutput.logprobs`, for the tokens of the prompt; the
        first has no predecessors, and None. None if they were not asked for.
    finished: whether all outputs have ended.
    """

    request_id: str
    prompt: str | None
    prompt_token_ids: list[int] | None
    prompt_logprobs: list[dict[int, Logprob] | None] | None
    outputs: list[CompletionOutput]
    finished: bool


def describe_logprobs(
    entries: Iterable[tuple[int, float, int]], tokenizer: Tokenizer | None = None
) -> dict[int, Logprob]:
    """Return log probabilities by token id, the token's own first.

    entries: (token id, log probability, rank), as the runtime's sampler returns them.
    """
    return {
        token_id: Logprob(
            logprob,
            rank,
            tokenizer.decode([token_id], skip_special_tokens=False)
            if tokenizer
            else None,
        )
        for token_id, logprob, rank in entries
    }
