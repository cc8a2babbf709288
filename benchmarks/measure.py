# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs engines in turns, with the machine's limits taken between them.

A machine drifts: what counts is the ratio of two runs that follow each other, and the
share of a limit that was measured just before and after.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.limits import Limits
from benchmarks.rows import FORMATS, Row
from benchmarks.shapes import Shape

WORKER = Path(__file__).resolve().parent / "worker.py"


class PeerError(Exception):
    """What an engine said instead of doing what it was asked."""


@dataclass(frozen=True)
class Engine:
    """An engine with a format of LLMIR's names."""

    peer: str
    format: str
    python: str

    @property
    def key(self) -> str:
        """Its name in the results."""
        return f"{self.peer}:{self.format}"


class Worker:
    """An engine's process, which runs only while it is asked something."""

    def __init__(self, peer: str, python: str, log: Path) -> None:
        """Start it."""
        with log.open("a") as errors:
            self.process = subprocess.Popen(
                [python, str(WORKER), peer],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                # Some engines start processes, which stop and end with it.
                start_new_session=True,
            )

    def ask(self, what: str, **request: Any) -> dict[str, Any]:
        """Return the answer; PeerError if there is none."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._signal(signal.SIGCONT)
        try:
            self.process.stdin.write(json.dumps(request | {"do": what}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise PeerError(f"died with status {self.process.wait()}")
        self._signal(signal.SIGSTOP)
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise PeerError(answer["error"])
        return answer

    def close(self) -> None:
        """End it."""
        self._signal(signal.SIGKILL)
        self.process.wait()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


@contextlib.contextmanager
def held(locks: Sequence[Path]) -> Iterator[None]:
    """Hold files' locks, as flock(1) does, so that nobody else works meanwhile."""
    import fcntl

    with contextlib.ExitStack() as stack:
        for path in locks:
            file = stack.enter_context(path.open("a"))
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Bench:
    """What all rows of one call have in common."""

    def __init__(
        self, limits: Limits, cache: Path, threads: int, repetitions: int
    ) -> None:
        """Keep it."""
        self.limits = limits
        self.cache = cache
        self.threads = threads
        self.repetitions = repetitions

    def run(
        self,
        shape: Shape,
        row: Row,
        paths: dict[Engine, str],
    ) -> dict[str, Any]:
        """Time one row for some engines in turns; return what a result file holds.

        paths: what each engine opens.
        """
        block: dict[str, Any] = {
            "shape": shape.name,
            "row": row.name,
            "threads": self.threads,
            "date": time.strftime("%Y-%m-%d %H:%M"),
            "engines": {},
            "failed": {},
        }
        workers: dict[Engine, Worker] = {}
        peaks = sorted({FORMATS[engine.format].peak for engine in paths})
        try:
            for engine in paths:
                self._attempt(block, engine, workers, shape, row, paths)
            before = self._limits(peaks)
            for repetition in range(self.repetitions):
                order = list(workers)
                turn = repetition % max(len(order), 1)
                for engine in order[turn:] + order[:turn]:
                    try:
                        seconds = self._once(
                            workers, engine, shape, row, paths, repetition
                        )
                    except PeerError as error:
                        block["failed"][engine.key] = str(error)
                        block["engines"].pop(engine.key, None)
                        workers.pop(engine).close()
                        continue
                    after = self._limits(peaks)
                    samples = block["engines"].setdefault(
                        engine.key, {"seconds": [], "bus": [], "peak": []}
                    )
                    peak = FORMATS[engine.format].peak
                    samples["seconds"].append(seconds)
                    for name, kind in (("bus", "bus"), ("peak", peak)):
                        pair = (before[kind], after[kind])
                        samples[name].append(statistics.fmean(pair))
                    before = after
        finally:
            for worker in workers.values():
                worker.close()
        return block

    def _attempt(
        self,
        block: dict[str, Any],
        engine: Engine,
        workers: dict[Engine, Worker],
        shape: Shape,
        row: Row,
        paths: dict[Engine, str],
    ) -> None:
        # What the first run does on top of the others is not timed.
        workers[engine] = self.worker(engine)
        try:
            if row.kind != "load":
                self._open(workers[engine], row, paths[engine])
            self._once(workers, engine, shape, row, paths, -1)
        except PeerError as error:
            block["failed"][engine.key] = str(error)
            workers.pop(engine).close()

    def worker(self, engine: Engine) -> Worker:
        """Start an engine's process."""
        return Worker(engine.peer, engine.python, self.cache / f"{engine.peer}.log")

    def _open(self, worker: Worker, row: Row, path: str) -> float:
        answer = worker.ask(
            "open",
            path=path,
            threads=self.threads,
            context=row.context,
            sequences=row.sequences,
        )
        return float(answer["seconds"])

    def _once(
        self,
        workers: dict[Engine, Worker],
        engine: Engine,
        shape: Shape,
        row: Row,
        paths: dict[Engine, str],
        repetition: int,
    ) -> float:
        # Other tokens each time: some engines remember the prompts they have read.
        random = np.random.default_rng(repetition + 1)
        ids = random.integers(2, shape.vocab_size, row.tokens).tolist()
        worker = workers[engine]
        if row.kind == "decode":
            answer = worker.ask(
                "decode", ids=ids, depth=row.depth, sequences=row.sequences
            )
            return float(answer["seconds"])
        seconds = 0.0
        if row.kind == "load":
            # A process of its own each time, with its libraries loaded.
            worker.close()
            worker = workers[engine] = self.worker(engine)
            worker.ask("version")
            seconds = self._open(worker, row, paths[engine])
        return seconds + float(worker.ask("prefill", ids=ids)["seconds"])

    def _limits(self, peaks: Sequence[str]) -> dict[str, float]:
        found = {"bus": self.limits.bandwidth(self.threads)}
        for kind in peaks:
            found[kind] = self.limits.peak(kind, self.threads)
        return found
