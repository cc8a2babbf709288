# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Tables and a plot of the results."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.peers import NAMES
from benchmarks.rows import ROWS


def engine_name(key: str) -> str:
    """Return an engine with its format, for people."""
    peer, format = key.split(":")
    return f"{NAMES[peer]} {format}"


def block_lines(block: dict[str, Any]) -> str:
    """Return a table's lines for what was timed together."""
    row = ROWS[block["row"]]
    lines = []
    mine = next((key for key in block["engines"] if key.startswith("llmir:")), None)
    for key, samples in block["engines"].items():
        seconds = samples["seconds"]
        if row.kind == "load":
            figure = f"{statistics.median(seconds):.3f} s"
        else:
            figure = f"{row.count / statistics.median(seconds):.1f}"
        cells = [block["row"], engine_name(key), figure]
        cells.append(f"{results.spread(seconds):.1%}")
        cells.append(f"{statistics.median(samples['bus']):.1f}")
        cells.append(f"{statistics.median(samples['peak']):.0f}")
        share = results.share(block, key)
        cells.append("" if share is None else f"{share:.0%}")
        ratio = (
            "" if mine is None else statistics.median(results.ratios(block, mine, key))
        )
        cells.append(f"{ratio:.2f}" if isinstance(ratio, float) else "")
        lines.append("| " + " | ".join(cells) + " |")
    for key, error in block.get("failed", {}).items():
        lines.append(f"| {block['row']} | {engine_name(key)} | failed: {error} |")
    return "\n".join(lines)


def markdown(found: dict[str, Any]) -> str:
    """Return all tables."""
    return "\n".join(block_lines(b) for b in found["blocks"] if b["row"] != "compile")


def plot(found: dict[str, Any], path: Path) -> None:
    """Draw."""


def write_page(found: dict[str, Any], path: Path) -> None:
    """Write the page."""
