# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the machine can do at most, asked of a small program beside every figure."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

SOURCE = Path(__file__).resolve().parent
# What is multiplied at each peak, as the program calls it.
PEAKS = ("f32", "bf16", "int8")


class Limits:
    """The program, which is stopped while nobody asks."""

    def __init__(self, cache: Path) -> None:
        """Build it if it is not there, and start it."""
        program = cache / "limits" / "limits"
        if not program.exists() or (
            program.stat().st_mtime < (SOURCE / "limits.cpp").stat().st_mtime
        ):
            _build(program.parent)
        self.process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.features = json.loads(self.process.stdout.readline())
        self._ask("bandwidth", 1)  # its memory is written now

    def bandwidth(self, threads: int) -> float:
        """Return the bytes that memory yields, in 10^9 a second."""
        rate = self._ask("bandwidth", threads)
        if rate is None:
            raise SystemExit("benchmarks: this CPU has neither AVX-512 nor AVX2")
        return rate

    def peak(self, kind: str, threads: int) -> float | None:
        """Return the operations in registers, in 10^9 a second; None without them."""
        return self._ask(kind, threads)

    def close(self) -> None:
        """End the program."""
        self.process.kill()
        self.process.wait()

    def _ask(self, what: str, threads: int) -> float | None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        os.kill(self.process.pid, signal.SIGCONT)
        self.process.stdin.write(f"{what} {threads}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        os.kill(self.process.pid, signal.SIGSTOP)
        if not answer:
            raise SystemExit("benchmarks: the program that measures limits has died")
        return None if answer == "none" else float(answer)


def _build(directory: Path) -> None:
    command = ["cmake", "-S", str(SOURCE), "-B", str(directory)]
    command.append("-DCMAKE_BUILD_TYPE=Release")
    compiler = shutil.which("clang++-18")
    if compiler:
        command.append(f"-DCMAKE_CXX_COMPILER={compiler}")
    for step in (command, ["cmake", "--build", str(directory)]):
        done = subprocess.run(
            step, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        if done.returncode:
            raise SystemExit(
                "benchmarks: the program that measures limits cannot be built:\n"
                + done.stdout
            )
