# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Transformers under torch.compile, with the static cache that it needs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from peers import transformers_eager

FORMATS = {"bf16": "bf16"}
version = transformers_eager.version
prepare = transformers_eager.prepare


class Session:
    """A compiled model, one program for prompts and one for single tokens."""

    def __init__(self, path: Path, threads: int, context: int, sequences: int) -> None:
        """Load; the first run of each row compiles."""
        import torch

        self.torch = torch
        self.context = context
        self.model = transformers_eager.load(path, threads)
        self.compiled = torch.compile(self.model)
        self.caches: dict[int, Any] = {}
        self.warm = False

    def prefill(self, ids: list[int]) -> float:
        """Read a prompt; logits of its last token only."""
        # It compiles once more when it sees other tokens for the first time.
        if not self.warm:
            self._forward([ids[::-1]], self._cache(1), 0)
            self._forward([ids], self._cache(1), 0)
            self.warm = True
        cache = self._cache(1)
        begin = time.perf_counter()
        self._forward([ids], cache, 0)
        return time.perf_counter() - begin

    def decode(self, ids: list[int], depth: int, sequences: int) -> float:
        """Append tokens to each sequence, one a step."""
        cache = self._cache(sequences)
        if depth:
            self._forward([[7] * depth] * sequences, cache, 0)
        begin = time.perf_counter()
        for step, token in enumerate(ids):
            self._forward([[token]] * sequences, cache, depth + step)
        return time.perf_counter() - begin

    def logits(self, ids: list[int]) -> npt.NDArray[np.float32]:
        """Return the last row."""
        row = self._forward([ids], self._cache(1), 0).float().numpy()[0, -1]
        return np.asarray(row, dtype=np.float32)

    def _cache(self, sequences: int) -> Any:
        from transformers import StaticCache

        if sequences not in self.caches:
            self.caches[sequences] = StaticCache(
                config=self.model.config, max_cache_len=self.context
            )
        self.caches[sequences].reset()
        return self.caches[sequences]

    def _forward(self, ids: list[list[int]], cache: Any, begin: int) -> Any:
        torch = self.torch
        # Not inference_mode: the cache is reset outside of it.
        with torch.no_grad():
            places = torch.arange(begin, begin + len(ids[0]))[None]
            return self.compiled(
                torch.tensor(ids),
                position_ids=places.expand(len(ids), -1),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits
