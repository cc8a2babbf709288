# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The engines that are timed, one module each, behind one interface.

A module of this package has

- `FORMATS`: which of its own formats answers to which of LLMIR's;
- `version()`: what is timed, in a few words; ImportError if it is not installed;
- `prepare(model, format, cache)`: converts a Hugging Face directory once, and returns
  what `Session` opens;
- `Session(path, threads, context, sequences)`: an open model with room for so many
  sequences of so many tokens.

These modules run in processes of their own (`worker.py`), perhaps under another
Python, so they import nothing but the standard library, NumPy and their engine.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt


class Session(Protocol):
    """An open model."""

    def prefill(self, ids: list[int]) -> float:
        """Read a prompt up to the logits of its last token; return the seconds."""

    def decode(self, ids: list[int], depth: int, sequences: int) -> float:
        """Write tokens to sequences that have `depth` tokens; return the seconds.

        ids: one for each step, for all sequences alike. An engine that only takes what
            it has chosen itself writes as many of its own.
        """

    def logits(self, ids: list[int]) -> npt.NDArray[np.float32] | None:
        """Return the logits after a prompt, or None where the engine hides them."""


# LLMIR first; the modules' names, and those in reports.
NAMES = {
    "llmir": "LLMIR",
    "llmir_one_thread": "LLMIR (one thread)",
    "llama_cpp": "llama.cpp",
    "openvino_genai": "OpenVINO GenAI",
    "onnxruntime_genai": "ONNX Runtime GenAI",
    "transformers_eager": "Transformers eager",
    "transformers_inductor": "Transformers Inductor",
}


def is_own(peer: str) -> bool:
    """Return whether it is LLMIR, in one way or another."""
    return peer.startswith("llmir")


def engine_name(key: str) -> str:
    """Return `peer:format` for people."""
    peer, format = key.split(":")
    return f"{NAMES[peer]} {format}"


def prepared(cache: Path, name: str) -> tuple[Path, Path]:
    """Return where a converted model belongs, and a temporary place beside it."""
    path = cache / name
    partial = path.with_name(f"partial.{name}")
    return path, partial
