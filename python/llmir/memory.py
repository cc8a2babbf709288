# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a compiled model takes, known before it is loaded.

    estimator = llmir.ModelMemoryEstimator("model.llmir")
    estimator.estimate(batch_size=8, seq_len=2048).total
    estimator.find_max_batch_size(seq_len=2048)

An engine asks the same code of the runtime before it maps anything, so `Engine.memory`
says the same later, to the byte.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmir import _native
from llmir.errors import LLMIRError
from llmir.manifest import read_manifest


@dataclass(frozen=True)
class MemoryEstimate:
    """The bytes that an engine takes when all of its cache is in use.

    num_blocks: those of the cache, which `Model` takes as its argument.
    """

    weights: int
    cache: int
    arena: int
    num_blocks: int

    @property
    def total(self) -> int:
        """The sum of all parts."""
        return self.weights + self.cache + self.arena

    def __str__(self) -> str:
        text = _native.runtime().format_bytes
        return (
            f"{text(self.total)} (weights {text(self.weights)}, KV cache "
            f"{text(self.cache)}, arena {text(self.arena)})"
        )


class ModelMemoryEstimator:
    """The memory of an artifact, for any number of sequences and any lengths."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Read the manifest of an artifact, and nothing else of it.

        Raises LLMIRError if `path` is no artifact, or its manifest is damaged.
        """
        directory = Path(path)
        manifest = read_manifest(directory)
        if manifest is None:
            raise LLMIRError(
                f"{path} is not an artifact, whose memory could be estimated; compile "
                "the model first"
            )
        try:
            self._estimator = _native.runtime().ModelMemoryEstimator(
                json.dumps(manifest), _native.path_text(directory)
            )
        except (RuntimeError, ValueError) as error:
            raise LLMIRError(str(error)) from error

    def estimate(self, batch_size: int, seq_len: int) -> MemoryEstimate:
        """Return what an engine takes that holds so many sequences of so many tokens.

        Where tokens see a window only, a sequence holds no more blocks than those of a
        window and of a step.
        """
        return MemoryEstimate(*self._ask("estimate", batch_size, seq_len))

    def find_max_batch_size(self, seq_len: int, memory_bytes: int | None = None) -> int:
        """Return how many sequences of `seq_len` tokens fit in memory; 0 for none.

        memory_bytes: None is the memory that is available now. No more sequences run
        together than a step has tokens, so that is the most there is.
        """
        return int(self._ask("find_max_batch_size", seq_len, memory_bytes))

    def find_max_seq_len(self, batch_size: int, memory_bytes: int | None = None) -> int:
        """Return the greatest length that fits for `batch_size` sequences; 0 for none.

        memory_bytes: None is the memory that is available now. The most is what the
        model was compiled for.
        """
        return int(self._ask("find_max_seq_len", batch_size, memory_bytes))

    def _ask(self, method: str, *numbers: int | None) -> Any:
        for number in numbers:
            if number is not None and (
                not isinstance(number, int) or not 0 <= number < 2**63
            ):
                raise LLMIRError(
                    f"{method} takes numbers that are integers, 0 or more, not "
                    f"{number!r}"
                )
        try:
            return getattr(self._estimator, method)(*numbers)
        except ValueError as error:
            raise LLMIRError(str(error)) from error
