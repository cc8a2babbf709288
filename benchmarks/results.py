# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The file of results: what was timed together, and when it says nothing."""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import Bench, Engine, PeerError
from benchmarks.rows import FORMATS, ROWS
from benchmarks.shapes import SHAPES, Shape

# The distance of the quartiles in shares of the median, beyond which a figure says
# nothing: of the limit beside an engine, and of a ratio of two engines.
MAX_LIMIT_SPREAD = 0.25
MAX_RATIO_SPREAD = 0.15


def load(path: Path) -> dict[str, Any]:
    """Return what a file holds; an empty result if it is not there."""
    if not path.exists():
        return {"blocks": []}
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def save(path: Path, found: dict[str, Any]) -> None:
    """Replace the file."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def machine() -> dict[str, Any]:
    """Say what this is."""
    text = Path("/proc/cpuinfo").read_text() if os.path.exists("/proc/cpuinfo") else ""
    name = re.search(r"model name\s*: (.*)", text)
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=Path(__file__).resolve().parent,
    )
    return {
        "cpu": name.group(1) if name else platform.processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "commit": commit.stdout.strip(),
    }


def add_block(found: dict[str, Any], block: dict[str, Any]) -> None:
    """Add what was timed together; what it repeats goes."""
    what = ("shape", "row", "threads")
    mine = set(block["engines"]) | set(block.get("failed", {}))
    found["blocks"] = [
        other
        for other in found["blocks"]
        if any(other[key] != block[key] for key in what)
        or not (set(other["engines"]) | set(other.get("failed", {}))) <= mine
    ]
    found["blocks"].append(block)


def spread(values: Sequence[float]) -> float:
    """Return the distance of the quartiles, as a share of the median."""
    if len(values) < 2:
        return 0.0
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / middle


def ratios(block: dict[str, Any], one: str, other: str) -> list[float]:
    """Return how much faster one engine is than another, run by run."""
    pairs = zip(
        block["engines"][one]["seconds"],
        block["engines"][other]["seconds"],
        strict=True,
    )
    return [theirs / ours for ours, theirs in pairs]


def noise(block: dict[str, Any], key: str | None = None) -> str | None:
    """Say why a block says nothing, or nothing of one engine; None if it does."""
    engines = block["engines"]
    if key is None:
        # What the row is limited by, beside each engine.
        name = "peak" if ROWS[block["row"]].kind == "prefill" else "bus"
        what = "the multipliers' rate" if name == "peak" else "the bandwidth"
        every = [spread(samples[name]) for samples in engines.values()]
        varied, most = max(every, default=0.0), MAX_LIMIT_SPREAD
    else:
        own = next((each for each in engines if each.startswith("llmir:")), key)
        varied, most = spread(ratios(block, own, key)), MAX_RATIO_SPREAD
        what = "the ratio to LLMIR"
    if varied <= most:
        return None
    return (
        f"{what} varied by {varied:.0%} between quartiles, more than {most:.0%}; "
        "repeat the row when the machine is quieter"
    )


def share(block: dict[str, Any], key: str) -> float | None:
    """Return the median share of the limit that an engine has reached."""
    row, shape = ROWS[block["row"]], SHAPES[block["shape"]]
    if row.kind not in ("prefill", "decode"):
        return None
    samples = block["engines"][key]
    format = FORMATS[key.split(":")[1]]
    read, operations = row.limits(shape, format)
    shares = []
    for seconds, bus, peak in zip(
        samples["seconds"], samples["bus"], samples["peak"], strict=True
    ):
        least = max(read / bus, operations / peak) / 1e9
        shares.append(least / seconds)
    return statistics.median(shares)


def packing_ratio(block: dict[str, Any]) -> float:
    """Return what packing takes, in times of copying the model's file.

    Packing is what compiling takes beyond the code. A copy and the compilations that
    follow it make a pair, as the disk drifts too.
    """
    times = block["compile"]
    return statistics.median(
        (whole - code) / copy
        for whole, code, copy in zip(
            times["seconds"], times["code_seconds"], times["copy_seconds"], strict=True
        )
    )


def measure_errors(
    bench: Bench,
    shape: Shape,
    model: Path,
    paths: dict[Engine, str],
    found: dict[str, Any],
) -> None:
    """Compare logits with those of Transformers in float32, on the same weights."""
    reference = Engine("transformers_eager", "f32", sys.executable)
    exact = _logits(bench, shape, reference, model)
    if isinstance(exact, str):
        raise SystemExit(f"benchmarks: no float32 logits to compare with: {exact}")
    errors = found.setdefault("errors", {}).setdefault(shape.name, {})
    for engine, path in paths.items():
        if engine.peer == "llmir_one_thread":
            continue
        logits = _logits(bench, shape, engine, Path(path))
        if isinstance(logits, str):
            errors[engine.key] = logits
        else:
            difference = np.linalg.norm(logits - exact) / np.linalg.norm(exact)
            errors[engine.key] = float(difference)


def _logits(bench: Bench, shape: Shape, engine: Engine, path: Path) -> Any:
    """Return rows of logits, or why there are none."""
    random = np.random.default_rng(1)
    worker = bench.worker(engine)
    rows = []
    try:
        if engine.format == "f32":
            request = {"model": str(path), "format": "f32", "cache": str(path.parent)}
            path = Path(worker.ask("prepare", **request)["path"])
        size = {"context": 64, "sequences": 1}
        worker.ask("open", path=str(path), threads=bench.threads, **size)
        for _ in range(4):
            ids = random.integers(2, shape.vocab_size, 32).tolist()
            row = worker.ask("logits", ids=ids)["logits"]
            if row is None:
                return "gives no logits"
            rows.append(row[: shape.vocab_size])
    except PeerError as error:
        return str(error)
    finally:
        worker.close()
    return np.array(rows)
