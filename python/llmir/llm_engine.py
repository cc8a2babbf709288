# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Many requests over one model, a step at a time, with vLLM's names.

    engine = llmir.LLMEngine.from_pretrained("model.llmir")
    engine.add_request("0", "def main(", llmir.SamplingParams(max_tokens=32))
    while engine.has_unfinished_requests():
        for output in engine.step():
            print(output.request_id, output.outputs[0].text)

The runtime's engine decides what runs together and chooses the tokens. Here requests
become token ids and token ids text, and a text ends at a stop string.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from llmir import _native
from llmir.detokenizer import IncrementalDetokenizer
from llmir.errors import LLMIRError
from llmir.files import shown_value
from llmir.model import Artifact
from llmir.outputs import (
    ABORT,
    ERROR,
    STOP,
    CompletionOutput,
    RequestOutput,
    describe_logprobs,
)
from llmir.pretrained import compiled
from llmir.sampling_params import SamplingParams
from llmir.tokenizer import Tokenizer

# A text, token ids, or either by its name: `prompt` or `prompt_token_ids`.
Prompt = str | Sequence[int] | Mapping[str, Any]


@dataclass
class _Growing:
    """An output that grows, with the number of its request in the runtime."""

    output: CompletionOutput
    text: IncrementalDetokenizer
    number: int = -1


@dataclass
class _Pending:
    """A request whose outputs have not all ended."""

    request: RequestOutput
    params: SamplingParams
    growing: list[_Growing] = field(default_factory=list)

    def snapshot(self) -> RequestOutput:
        """Return the request as it is, which later tokens do not change."""
        outputs = [
            replace(
                each.output,
                token_ids=list(each.output.token_ids),
                logprobs=None
                if each.output.logprobs is None
                else list(each.output.logprobs),
            )
            for each in self.growing
        ]
        return replace(self.request, outputs=outputs)


class LLMEngine:
    """Requests that come and go over one model. Not to be used from two threads.

    artifact: the model's facts and its tokenizer.
    """

    def __init__(
        self,
        artifact: Artifact,
        *,
        threads: int | None = None,
        num_blocks: int = 0,
        max_num_seqs: int = 64,
        max_num_batched_tokens: int | None = None,
        scheduling_policy: str = "fcfs",
        enable_prefix_caching: bool = True,
        max_queued: int = 4096,
    ) -> None:
        """Make the engine of an artifact.

        threads: how many work on a step; None is all of the machine's.
        num_blocks: the size of the KV cache in blocks; 0 is enough for one sequence of
            the greatest length, and for more where there is memory.
        max_num_seqs: the most outputs that grow together.
        max_num_batched_tokens: the most tokens of a step; None is what the artifact
            was compiled for. Fewer make new prompts hold others up less.
        scheduling_policy: `fcfs`, or `priority`: the least goes first, and who waits
            moves up with time.
        enable_prefix_caching: whether prompts that begin alike share what was computed
            for one of them.
        max_queued: the most requests that wait.

        Raises LLMIRError if a setting is out of range or memory is short.
        """
        self.artifact = artifact
        try:
            self._engine = _native.runtime().BatchingEngine(
                artifact.native,
                threads=threads or 0,
                num_blocks=num_blocks,
                max_num_seqs=max_num_seqs,
                max_num_batched_tokens=max_num_batched_tokens or 0,
                scheduling_policy=scheduling_policy,
                max_queued=max_queued,
                enable_prefix_caching=enable_prefix_caching,
            )
        except (RuntimeError, ValueError, TypeError, MemoryError) as error:
            raise LLMIRError(f"cannot make the engine: {error}") from error
        self._pending: dict[str, _Pending] = {}
        self._by_number: dict[int, tuple[_Pending, _Growing]] = {}

    @classmethod
    def from_pretrained(
        cls, model: str | os.PathLike[str], **options: Any
    ) -> LLMEngine:
        """Return the engine of an artifact or of a model directory.

        A model directory is compiled first, with the options of `llmir compile` that
        `llmir.pretrained.compiled` takes, and kept for the next time. The other
        options are those of the constructor.
        """
        path, rest = compiled(model, options)
        return cls(Artifact(path), **rest)

    def add_request(
        self,
        request_id: str,
        prompt: Prompt,
        params: SamplingParams | None = None,
        *,
        priority: int = 0,
        timeout: float | None = None,
    ) -> None:
        """Put a request in the queue.

        request_id: what its outputs are called; unique among the unfinished.
        prompt: a text, token ids, or a dictionary with `prompt` or
            `prompt_token_ids`.
        priority: the least goes first under that policy.
        timeout: after how many seconds it is given up; it ends with `abort`.

        Raises ValueError for a parameter that the model cannot serve, and LLMIRError
        for a prompt that cannot run or a queue that is full.
        """
        params = params or SamplingParams()
        if request_id in self._pending:
            raise LLMIRError(
                f"there is an unfinished request {shown_value(request_id)}"
            )
        text, ids = self._read_prompt(prompt)
        tokenizer = self._tokenizer
        config = params.sampling_config(self.artifact.vocab_size, (), tokenizer)
        room = self.artifact.max_model_len - len(ids)
        request = RequestOutput(request_id, text, ids, None, [], False)
        pending = _Pending(request, params)
        for index in range(params.n):
            output = CompletionOutput(
                index,
                "",
                [],
                None if params.logprobs is None else 0.0,
                None if params.logprobs is None else [],
            )
            detokenizer = IncrementalDetokenizer(params, tokenizer, ids)
            pending.growing.append(_Growing(output, detokenizer))
        for index, growing in enumerate(pending.growing):
            try:
                growing.number = self._engine.submit(
                    ids,
                    config,
                    index=index,
                    max_tokens=params.max_tokens or max(1, room),
                    # Of each output they are the same.
                    prompt_logprobs=None if index else params.prompt_logprobs,
                    ignore_eos=params.ignore_eos,
                    priority=priority,
                    timeout=timeout,
                )
            except (RuntimeError, ValueError) as error:
                for each in pending.growing[:index]:
                    self._engine.cancel(each.number)
                    del self._by_number[each.number]
                raise LLMIRError(str(error)) from error
            self._by_number[growing.number] = (pending, growing)
        self._pending[request_id] = pending

    def step(self) -> list[RequestOutput]:
        """Run a step; return the requests that it has changed, with all they have."""
        changed: dict[str, _Pending] = {}
        for number, token, logprobs, prompt, reason, error in self._engine.step():
            # One that a stop string has ended may have had more.
            if number not in self._by_number:
                continue
            pending, growing = self._by_number[number]
            changed[pending.request.request_id] = pending
            if pending.params.prompt_logprobs is not None and prompt:
                self._read_prompt_logprobs(pending, prompt)
            self._grow(pending, growing, token, logprobs, reason, error)
        return self._report(changed.values())

    def has_unfinished_requests(self) -> bool:
        """Return whether there is a request whose outputs have not all ended."""
        return bool(self._pending)

    def get_num_unfinished_requests(self) -> int:
        """Return how many requests there are."""
        return len(self._pending)

    def abort_request(self, request_id: str | Iterable[str]) -> None:
        """End requests; those that have finished, or never were, are passed over."""
        ids = [request_id] if isinstance(request_id, str) else request_id
        for each in ids:
            pending = self._pending.pop(each, None)
            if pending is None:
                continue
            for growing in pending.growing:
                if self._by_number.pop(growing.number, None):
                    self._engine.cancel(growing.number)

    @property
    def statistics(self) -> dict[str, int]:
        """Counts of requests, steps and tokens: what the runtime's engine has done."""
        return dict(self._engine.statistics)

    #
    # Outputs
    #

    def _grow(
        self,
        pending: _Pending,
        growing: _Growing,
        token: int | None,
        logprobs: list[tuple[int, float, int]],
        reason: str | None,
        error: str,
    ) -> None:
        output, params = growing.output, pending.params
        if token is not None:
            assert isinstance(output.token_ids, list)
            output.token_ids.append(token)
            if output.logprobs is not None:
                assert output.cumulative_logprob is not None
                output.cumulative_logprob += logprobs[0][1]
                output.logprobs.append(describe_logprobs(logprobs, self._tokenizer))
            growing.text.add(token, ends=reason == STOP)
            if reason == STOP and token in (params.stop_token_ids or ()):
                output.stop_reason = token
            if growing.text.stop_reason is not None and reason != STOP:
                if reason is None:
                    self._engine.cancel(growing.number)
                reason, output.stop_reason = STOP, growing.text.stop_reason
        if reason is not None:
            growing.text.finish()
            if growing.text.stop_reason is not None and output.stop_reason is None:
                reason, output.stop_reason = STOP, growing.text.stop_reason
            output.finish_reason = {"expired": ABORT}.get(reason, reason)
            if reason == ERROR:
                output.stop_reason = error
            del self._by_number[growing.number]
        output.text = growing.text.text

    def _report(self, changed: Iterable[_Pending]) -> list[RequestOutput]:
        outputs = []
        for pending in changed:
            request = pending.request
            request.finished = all(each.output.finished() for each in pending.growing)
            if request.finished:
                del self._pending[request.request_id]
            outputs.append(pending.snapshot())
        return outputs

    def _read_prompt_logprobs(
        self, pending: _Pending, prompt: list[list[tuple[int, float, int]]]
    ) -> None:
        pending.request.prompt_logprobs = [
            None,
            *(describe_logprobs(each, self._tokenizer) for each in prompt),
        ]

    #
    # Prompts
    #

    @property
    def _tokenizer(self) -> Tokenizer | None:
        return self.artifact.tokenizer if self.artifact.has_tokenizer else None

    def _read_prompt(self, prompt: Prompt) -> tuple[str | None, list[int]]:
        if isinstance(prompt, str):
            return prompt, self.artifact.encode(prompt)
        if isinstance(prompt, Mapping):
            known = {"prompt", "prompt_token_ids"} & set(prompt)
            if not known:
                raise LLMIRError(
                    "a prompt that is a dictionary has `prompt` or `prompt_token_ids`, "
                    f"and this one {sorted(map(str, prompt))}"
                )
            if "prompt_token_ids" in known:
                _, ids = self._read_prompt(prompt["prompt_token_ids"])
                return prompt.get("prompt"), ids
            return self._read_prompt(prompt["prompt"])
        return None, self.artifact.checked_ids(prompt)
