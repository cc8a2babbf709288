# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Times the compiler beside a copy of the model's file, and watches its memory.

What packing takes is what an artifact takes beyond its code: the time of a whole
compilation without that of one that ends at assembly.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.measure import Bench
from benchmarks.shapes import Shape


def measure(bench: Bench, shape: Shape, model: Path) -> dict[str, Any]:
    """Return the block of a result file: seconds of each, and bytes of memory."""
    output = model.parent / "compiled"
    copy = model.parent / "copied.safetensors"
    command = [sys.executable, "-m", "llmir.compile", str(model), "-o"]
    block: dict[str, Any] = {
        "shape": shape.name,
        "row": "compile",
        "threads": bench.threads,
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "engines": {},
        "failed": {},
        "compile": {"seconds": [], "code_seconds": [], "copy_seconds": []},
        "memory": 0,
    }
    times = block["compile"]
    try:
        for repetition in range(-1, min(3, bench.repetitions)):
            begin = time.perf_counter()
            shutil.copyfile(model / "model.safetensors", copy)
            copy_seconds = time.perf_counter() - begin
            _remove(copy)
            seconds, memory = _watch([*command, str(output)])
            _remove(output)
            code_seconds, _ = _watch([*command, str(output), "--emit=asm"])
            _remove(output)
            # The first round brings the memory that file caches then have.
            if repetition >= 0:
                times["copy_seconds"].append(copy_seconds)
                times["seconds"].append(seconds)
                times["code_seconds"].append(code_seconds)
                block["memory"] = max(block["memory"], memory)
    except subprocess.CalledProcessError as error:
        block["failed"]["llmir:bf16"] = str(error.stderr).strip().split("\n")[-1]
    finally:
        _remove(output, copy)
    return block


def _remove(*paths: Path) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)


def _watch(command: list[str]) -> tuple[float, int]:
    """Return the seconds of a command, and the most memory beyond mapped files."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    most = 0
    while process.poll() is None:
        most = max(most, sum(map(_anonymous, _family(process.pid))))
        time.sleep(0.005)
    seconds = time.perf_counter() - begin
    assert process.stderr is not None
    with process.stderr:
        message = process.stderr.read()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, stderr=message)
    return seconds, most


def _family(pid: int) -> list[int]:
    """Return a process and all that it has started."""
    found = [pid]
    with contextlib.suppress(OSError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for child in children:
            found += _family(int(child))
    return found


def _anonymous(pid: int) -> int:
    # A process may have ended since.
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    return 0
