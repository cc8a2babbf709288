# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Transformers as most people run it; in float32 it is what errors are measured by."""

from __future__ import annotations

import copy
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

FORMATS = {"bf16": "bf16", "f32": "f32"}
DTYPES = {"bf16": "bfloat16", "f32": "float32"}


def version() -> str:
    """Return the versions of both packages."""
    import torch
    import transformers

    return f"Transformers {transformers.__version__}, PyTorch {torch.__version__}"


def prepare(model: Path, format: str, cache: Path) -> Path:
    """Nothing is converted; the format travels in a name."""
    link = cache / f"transformers-{format}"
    if not link.is_symlink():
        link.symlink_to(model.resolve())
    return link


def load(path: Path, threads: int) -> Any:
    """Return the model in the dtype that the name of the link tells."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    dtype = getattr(torch, DTYPES[path.name.rsplit("-", 1)[1]])
    return AutoModelForCausalLM.from_pretrained(path, dtype=dtype).eval()


class Session:
    """A model with a dynamic cache."""

    def __init__(self, path: Path, threads: int, context: int, sequences: int) -> None:
        """Load."""
        import torch

        self.torch = torch
        self.model = load(path, threads)
        self.caches: dict[tuple[int, int], Any] = {}

    def prefill(self, ids: list[int]) -> float:
        """Read a prompt; logits of its last token only."""
        begin = time.perf_counter()
        self._forward([ids], None)
        return time.perf_counter() - begin

    def decode(self, ids: list[int], depth: int, sequences: int) -> float:
        """Append tokens to each sequence, one a step."""
        cache = None
        if depth:
            key = (depth, sequences)
            if key not in self.caches:
                self.caches[key] = self._forward([[7] * depth] * sequences, None)[1]
            cache = copy.deepcopy(self.caches[key])
        begin = time.perf_counter()
        for token in ids:
            _, cache = self._forward([[token]] * sequences, cache)
        return time.perf_counter() - begin

    def logits(self, ids: list[int]) -> npt.NDArray[np.float32]:
        """Return the last row."""
        row = self._forward([ids], None)[0].float().numpy()[0, -1]
        return np.asarray(row, dtype=np.float32)

    def _forward(self, ids: list[list[int]], cache: Any) -> tuple[Any, Any]:
        with self.torch.inference_mode():
            output = self.model(
                self.torch.tensor(ids),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
        return output.logits, output.past_key_values
