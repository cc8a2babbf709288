# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Texts from texts, in vLLM's shape.

llm = llmir.LLM("model.llmir")
params = llmir.SamplingParams(temperature=0, max_tokens=32)
for output in llm.generate(["def main(", "import "], params):
    print(output.outputs[0].text)
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from llmir.errors import LLMIRError
from llmir.llm_engine import LLMEngine, Prompt
from llmir.outputs import ERROR, RequestOutput
from llmir.sampling_params import SamplingParams


class LLM:
    """A model for many prompts at once.

    llm_engine: what the prompts run on, for those who want to see steps.
    """

    def __init__(self, model: str | os.PathLike[str], **options: Any) -> None:
        """Load an artifact, or compile a model directory and load that.

        options: those of `LLMEngine.from_pretrained`.
        """
        self.llm_engine = LLMEngine.from_pretrained(model, **options)
        self._next = 0

    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        use_tqdm: bool = True,
        priority: Sequence[int] | None = None,
    ) -> list[RequestOutput]:
        """Return what follows each prompt, in the order of the prompts.

        prompts: one or a list; a prompt is a text, token ids, or a dictionary with
            `prompt` or `prompt_token_ids`.
        sampling_params: for all of them, or one for each.
        use_tqdm: whether to show how many are done.
        priority: one for each; the least goes first, under that policy.

        Raises ValueError for a parameter that the model cannot serve, and LLMIRError
        if a prompt cannot run. Nothing has run then.
        """
        if not isinstance(prompts, str | dict | Sequence):
            raise LLMIRError(
                "prompts are a text, token ids, or a list of these, not "
                f"{type(prompts).__name__}"
            )
        if isinstance(sampling_params, dict):
            raise ValueError("sampling_params must be SamplingParams, not a dict.")
        listed: list[Any] = [prompts] if _is_prompt(prompts) else list(prompts)
        params = sampling_params or SamplingParams()
        each = [params] * len(listed) if isinstance(params, SamplingParams) else params
        for what, given in (("sampling_params", each), ("priority", priority)):
            if given is not None and len(given) != len(listed):
                raise ValueError(
                    f"The lengths of prompts ({len(listed)}) and {what} "
                    f"({len(given)}) must be the same."
                )
        ids = [str(self._next + i) for i in range(len(listed))]
        self._next += len(listed)
        try:
            for number, (request_id, prompt) in enumerate(
                zip(ids, listed, strict=True)
            ):
                self.llm_engine.add_request(
                    request_id,
                    prompt,
                    each[number],
                    priority=priority[number] if priority else 0,
                )
            return self._run(ids, use_tqdm)
        finally:
            # Whatever has stopped this, be it the user.
            self.llm_engine.abort_request(ids)

    def _run(self, ids: list[str], use_tqdm: bool) -> list[RequestOutput]:
        from tqdm import tqdm

        finished: dict[str, RequestOutput] = {}
        with tqdm(total=len(ids), desc="prompts", disable=not use_tqdm) as bar:
            while self.llm_engine.has_unfinished_requests():
                for request in self.llm_engine.step():
                    for output in request.outputs:
                        if output.finish_reason == ERROR:
                            raise LLMIRError(str(output.stop_reason))
                    if request.finished:
                        finished[request.request_id] = request
                        bar.update()
        return [finished[request_id] for request_id in ids]


def _is_prompt(prompts: Any) -> bool:
    """Whether this is one prompt rather than several."""
    if isinstance(prompts, str | dict):
        return True
    return bool(len(prompts)) and isinstance(prompts[0], int)
