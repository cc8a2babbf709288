# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Tables, a plot, and the page docs/performance.md, all from the file of results."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import results, targets
from benchmarks.limits import PEAKS
from benchmarks.peers import NAMES, engine_name, is_own
from benchmarks.rows import FORMATS, ROWS
from benchmarks.shapes import SHAPES

HEAD = (
    "| row | engine | tokens/s | spread | GB/s beside | GFLOP/s beside "
    "| of the limit | LLMIR is |",
    "|---|---|---|---|---|---|---|---|",
)


def block_lines(block: dict[str, Any]) -> str:
    """Return a table's lines for what was timed together, the fastest first."""
    row, engines = ROWS[block["row"]], block["engines"]
    refused = results.noise(block)
    if refused:
        return f"| {row.name} | | refused: {refused} |"
    lines = []
    for key in sorted(engines, key=lambda key: _median(engines[key]["seconds"])):
        samples, format = engines[key], key.split(":")[1]
        refused = results.noise(block, key)
        if refused:
            lines.append(
                f"| {row.name} | {engine_name(key)} | not reported: {refused} |"
            )
            continue
        seconds = _median(samples["seconds"])
        load = row.kind == "load"
        cells = [row.name, engine_name(key)]
        cells.append(f"{seconds:.3f} s" if load else f"{row.count / seconds:.1f}")
        cells.append(f"{results.spread(samples['seconds']):.1%}")
        cells.append(f"{_median(samples['bus']):.1f}")
        cells.append(f"{_median(samples['peak']):.0f}")
        share = results.share(block, key)
        shown = share is not None and key != targets.ONE_THREAD
        cells.append(f"{share:.0%}" if shown else "")
        # Of a peer, against LLMIR in its format; of LLMIR, against its own bf16.
        own = f"llmir:{format}"
        if key != own and own in engines:
            ratio = _median(results.ratios(block, own, key))
            cells.append(f"{ratio:.2f} x this")
        elif key == own != "llmir:bf16" and "llmir:bf16" in engines:
            ratio = _median(results.ratios(block, own, "llmir:bf16"))
            cells.append(f"{ratio:.2f} x its bf16")
        else:
            cells.append("")
        lines.append("| " + " | ".join(cells) + " |")
    for key, error in block["failed"].items():
        lines.append(f"| {row.name} | {engine_name(key)} | failed: {error} |")
    return "\n".join(lines)


def compile_line(block: dict[str, Any]) -> str:
    """Return what compiling took."""
    if block["failed"]:
        return f"- {block['shape']}: failed: {block['failed']['llmir:bf16']}"
    times = {name: _median(values) for name, values in block["compile"].items()}
    packing = times["seconds"] - times["code_seconds"]
    ratio = results.packing_ratio(block)
    return (
        f"- {block['shape']} bf16: compiled in {times['seconds']:.1f} s, of which "
        f"packing {packing:.1f} s; copying the file took {times['copy_seconds']:.1f} "
        f"s ({ratio:.2f} x); at most "
        f"{block['memory'] / 1e9:.2f} GB of memory beyond mapped files"
    )


def markdown(found: dict[str, Any]) -> str:
    """Return all tables."""
    parts = []
    for shape in SHAPES:
        for threads in sorted({block["threads"] for block in found["blocks"]}):
            blocks = [
                block
                for name, row in ROWS.items()
                for block in _of(found, shape, name, threads)
                if row.kind != "compile"
            ]
            if blocks:
                parts.append(f"### {shape}, {_count(threads, 'thread')}\n")
                parts += [*HEAD, *map(block_lines, blocks), ""]
    compiled = [block for block in found["blocks"] if block["row"] == "compile"]
    if compiled:
        parts += ["### Compiling\n", *map(compile_line, compiled), ""]
    if found.get("errors"):
        parts += _errors(found["errors"])
    return "\n".join(parts)


def _errors(errors: dict[str, dict[str, Any]]) -> list[str]:
    lines = ["### Error of the logits against float32\n"]
    lines += [
        "| engine | " + " | ".join(errors) + " |",
        "|---" * (len(errors) + 1) + "|",
    ]
    for key in sorted({key for each in errors.values() for key in each}):
        cells = []
        for each in errors.values():
            value = each.get(key, "")
            cells.append(f"{value:.2%}" if isinstance(value, float) else str(value))
        lines.append(f"| {engine_name(key)} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def write_page(found: dict[str, Any], path: Path) -> None:
    """Write docs/performance.md."""
    machine, limits = found["machine"], found["limits"]
    lines = [
        "# Performance",
        "",
        "This page is written by the benchmark; `python -m benchmarks "
        "--report-only --markdown docs/performance.md` makes it again from a file of "
        "results. To repeat the results (see `python -m benchmarks --help`; a row, a "
        "shape or an engine at a time, merged into one file):",
        "",
        "```",
        "python -m benchmarks --targets --errors --peer-python PEERS/bin/python "
        "--json results.json",
        "```",
        "",
        f"Machine: {machine['cpu']}, {_count(machine['cores'], 'core')}, "
        f"{machine['system']}. LLMIR at {machine['commit']}. Beside it: "
        + "; ".join(
            f"{NAMES[peer]}: {version}"
            for peer, version in found["versions"].items()
            if not is_own(peer)
        )
        + ".",
        "",
        "Models have real shapes and seeded random weights, and every engine reads "
        "the same ones. Engines run in turns, a run of each after a run of each "
        "other, with the bandwidth of memory and the peak of multiply-adds in "
        "registers measured before and after every run. Figures are medians; the "
        "spread is the distance of the quartiles; ratios are medians over pairs of "
        "one turn. *Of the limit* is the least time in which the machine could read "
        "the weights, keys and values (of 16 bits), or do the operations, over the "
        "time it took, at the precision that LLMIR computes the format in: a peer "
        "that rounds activations to integers has a higher limit. A row is refused "
        "when the limit beside an engine varied by more than "
        f"{results.MAX_LIMIT_SPREAD:.0%}, or a ratio by more than "
        f"{results.MAX_RATIO_SPREAD:.0%}, between quartiles.",
        "",
        "Of the peers: llama.cpp has the format in every product (`pure`); OpenVINO "
        "keeps its cache in 8 bits, as it comes; ONNX Runtime's and OpenVINO's int4 "
        "leave the head in 8 bits where their converters do.",
        "",
        "| limit | " + " | ".join(_count(int(n), "thread") for n in limits) + " |",
        "|---" * (len(limits) + 1) + "|",
        _limit_line("memory read, GB/s", limits, "bandwidth"),
        *(_limit_line(f"{kind} in registers, GFLOP/s", limits, kind) for kind in PEAKS),
        "",
        "## Results",
        "",
        markdown(found),
        "## Targets",
        "",
        "| what | target | measured | |",
        "|---|---|---|---|",
    ]
    missed = []
    for verdict in targets.verdicts(found, 2):
        state = "met" if verdict.met else "missed" if verdict.found else "not measured"
        cells = (verdict.what, verdict.wanted, verdict.found or "", state)
        lines.append("| " + " | ".join(cells) + " |")
        if verdict.found and not verdict.met and verdict.what not in missed:
            missed.append(verdict.what)
    if missed:
        lines += ["", "What limits those that are missed:", ""]
        for what in missed:
            why = targets.NOTES.get(what, "not looked into yet.")
            lines.append(f"- {what}: {why}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _limit_line(name: str, limits: dict[str, dict[str, float]], kind: str) -> str:
    cells = (f"{measured[kind]:.0f}" for measured in limits.values())
    return f"| {name} | " + " | ".join(cells) + " |"


def plot(found: dict[str, Any], path: Path) -> None:
    """Draw tokens a second of every engine, as shares of the fastest of a row."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shapes = [
        shape
        for shape in SHAPES
        if any(
            block["shape"] == shape and block["engines"] for block in found["blocks"]
        )
    ]
    rows = [name for name, row in ROWS.items() if row.kind in ("prefill", "decode")]
    figure, axes = pyplot.subplots(
        max(len(shapes), 1), 1, figsize=(14, 4 * max(len(shapes), 1)), squeeze=False
    )
    colours = dict(zip(NAMES, pyplot.get_cmap("tab10").colors, strict=False))
    hatches = dict(zip(FORMATS, ("", "//", "xx", "..", "oo"), strict=True))
    for axis, shape in zip(axes[:, 0], shapes, strict=False):
        place, ticks, labels = 0.0, [], []
        for row in rows:
            rates: dict[str, float] = {}
            for threads in sorted({block["threads"] for block in found["blocks"]}):
                for block in _of(found, shape, row, threads):
                    for key, samples in block["engines"].items():
                        if not (results.noise(block) or results.noise(block, key)):
                            rates[key] = ROWS[row].count / _median(samples["seconds"])
            if not rates:
                continue
            ticks.append(place + (len(rates) - 1) / 2)
            labels.append(row)
            for key in sorted(rates):
                peer, format = key.split(":")
                axis.bar(
                    place,
                    rates[key] / max(rates.values()),
                    color=colours[peer],
                    hatch=hatches[format],
                    label=engine_name(key),
                )
                place += 1
            place += 1
        axis.set_xticks(ticks, labels)
        axis.set_ylabel("of the fastest")
        axis.set_title(shape)
        named = dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
        axis.legend(
            named.values(), named, fontsize=7, loc="upper left", bbox_to_anchor=(1, 1)
        )
    figure.tight_layout()
    figure.savefig(path)


def _of(
    found: dict[str, Any], shape: str, row: str, threads: int
) -> list[dict[str, Any]]:
    return [
        block
        for block in found["blocks"]
        if (block["shape"], block["row"], block["threads"]) == (shape, row, threads)
    ]


def _median(values: Sequence[float]) -> float:
    return statistics.median(values)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
