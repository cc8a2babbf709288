# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""ONNX Runtime GenAI, on models of its own model builder.

Only int4 is compared: that is the format it is known for on CPUs. It chooses every
token itself, greedily.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from peers import prepared

FORMATS = {"int4": "int4"}


def version() -> str:
    """Return the version."""
    import onnxruntime_genai

    return f"ONNX Runtime GenAI {onnxruntime_genai.__version__}"


def prepare(model: Path, format: str, cache: Path) -> Path:
    """Run the builder with its defaults: groups of 32."""
    path, partial = prepared(cache, f"onnxruntime-{format}")
    if path.exists():
        return path
    scratch = cache / "partial.onnxruntime-cache"
    command = [sys.executable, "-m", "onnxruntime_genai.models.builder"]
    command += ["-i", str(model), "-o", str(partial), "-p", format, "-e", "cpu"]
    done = subprocess.run(
        [*command, "-c", str(scratch)], stderr=subprocess.PIPE, text=True
    )
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(scratch)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().split("\n")[-1])
    partial.rename(path)
    return path


class Session:
    """A model, and a generator for each run."""

    def __init__(self, path: Path, threads: int, context: int, sequences: int) -> None:
        """Load, with the number of threads in a configuration beside the model."""
        import onnxruntime_genai

        self.genai = onnxruntime_genai
        self.context = context
        config = onnxruntime_genai.Config(str(path))
        options = {"intra_op_num_threads": threads}
        config.overlay(json.dumps({"model": {"decoder": {"session_options": options}}}))
        self.model = onnxruntime_genai.Model(config)
        self.kept: dict[tuple[int, int], Any] = {}

    def prefill(self, ids: list[int]) -> float:
        """Read a prompt in an empty context."""
        generator = self._generator(1)
        begin = time.perf_counter()
        generator.append_tokens(np.array([ids], dtype=np.int32))
        generator.get_logits()
        return time.perf_counter() - begin

    def decode(self, ids: list[int], depth: int, sequences: int) -> float:
        """Write tokens, and leave out the first, which came with the prompt."""
        generator = self._generator(sequences)
        prompt = np.full((sequences, max(depth, 1)), 7, dtype=np.int32)
        generator.append_tokens(prompt)
        generator.generate_next_token()
        begin = time.perf_counter()
        for _ in ids:
            generator.generate_next_token()
        return time.perf_counter() - begin

    def logits(self, ids: list[int]) -> npt.NDArray[np.float32]:
        """Return the last row."""
        generator = self._generator(1)
        generator.append_tokens(np.array([ids], dtype=np.int32))
        row = np.asarray(generator.get_logits(), dtype=np.float32)
        return row.reshape(-1, row.shape[-1])[-1]

    def _generator(self, sequences: int) -> Any:
        choice = self.genai.GeneratorParams(self.model)
        choice.set_search_options(
            max_length=self.context,
            min_length=self.context,
            batch_size=sequences,
            do_sample=False,
        )
        return self.genai.Generator(self.model, choice)
