# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""LLMIR itself, step by step through its engine."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import llmir
from llmir.model import Model
from peers import prepared

FORMATS = {name: name for name in ("bf16", "int8", "int4", "w8a8", "w4a8")}


def version() -> str:
    """Return LLMIR's version."""
    return f"LLMIR {llmir.__version__}"


def prepare(model: Path, format: str, cache: Path) -> Path:
    """Compile, unless this very compiler has done so before."""
    path, _ = prepared(cache, f"llmir-{format}.llmir")
    stamp = path.with_suffix(".stamp")
    if path.exists() and stamp.exists() and stamp.read_text() == _compiler():
        return path
    command = [sys.executable, "-m", "llmir.compile", str(model), "-o", str(path)]
    if format != "bf16":
        command.append(f"--quantize={format}")
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().split("\n")[-1])
    stamp.write_text(_compiler())
    return path


def _compiler() -> str:
    package = Path(llmir.__file__).parent
    files = sorted(path for path in package.rglob("*") if path.suffix in (".py", ".so"))
    return "".join(f"{path} {path.stat().st_mtime_ns}\n" for path in files)


class Session:
    """A loaded artifact."""

    def __init__(self, path: Path, threads: int, context: int, sequences: int) -> None:
        """Load."""
        block = 16
        blocks = sequences * -(-context // block) + 2
        self.model = Model(path, threads, num_blocks=blocks)
        self.kept: dict[int, Any] = {}

    def prefill(self, ids: list[int]) -> float:
        """Read a prompt, and forget it."""
        engine = self.model.engine
        sequence = engine.new_sequence()
        begin = time.perf_counter()
        self._read(sequence, ids)
        seconds = time.perf_counter() - begin
        sequence.close()
        return seconds

    def decode(self, ids: list[int], depth: int, sequences: int) -> float:
        """Append tokens to each sequence, one a step."""
        engine = self.model.engine
        batch = [self._sequence(index, depth) for index in range(sequences)]
        steps = [[(sequence, [token], False) for sequence in batch] for token in ids]
        begin = time.perf_counter()
        for step in steps:
            engine.step(step)
        return time.perf_counter() - begin

    def logits(self, ids: list[int]) -> npt.NDArray[np.float32]:
        """Return the last row."""
        return self.model.forward(ids)[-1]

    def _sequence(self, index: int, depth: int) -> Any:
        # The context is read once, and what a run adds is forgotten by the next.
        if index not in self.kept:
            self.kept[index] = self.model.engine.new_sequence()
            if depth:
                self._read(self.kept[index], [7] * depth)
        self.model.engine.truncate(self.kept[index], depth)
        return self.kept[index]

    def _read(self, sequence: Any, ids: list[int]) -> None:
        size = self.model.max_batch_tokens
        for begin in range(0, len(ids), size):
            self.model.engine.step([(sequence, ids[begin : begin + size], False)])
