# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The command `explain`: where a step's time goes, and how near it is to the limits.

Each op of the optimized program is a line, over all layers: the bytes that it moves,
its operations, the least time that the machine needs for them, and what it took. The
limits are measured beside: bytes read from memory, and multiply-adds in registers of
the kind that the op's format takes.
"""

from __future__ import annotations

if __name__ == "__main__":
    from llmir._signals import end_quietly_on_interrupt

    end_quietly_on_interrupt()

import argparse
import re
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmir import _native, costs, picture
from llmir.bench import with_room
from llmir.command import (
    Command,
    UsageError,
    execute,
    int_up_to,
    positive_int,
    standard_output,
)
from llmir.errors import LLMIRError
from llmir.importer import import_model
from llmir.manifest import PROGRAM
from llmir.model import MAX_THREADS, Model

REPETITIONS = 9
# What is read to measure the bandwidth: more than caches hold.
MAX_READ_BYTES = 1 << 30

# The kinds of calls into the runtime, by the ops that become one.
CALLS = dict.fromkeys(costs.PRODUCTS, "linear") | {
    "append_kv": "append_kv",
    "paged_attention": "paged_attention",
    "rope_append_kv": "rope_append_kv",
}
GENERATED = "generated code"
# What a call takes besides, as in the model that fusions are chosen by.
CALL_SECONDS = 1e-6


@dataclass
class Line:
    """An op of the table, over all layers.

    count: how many of it a step runs.
    bytes, operations: of all of them, in a step.
    stored: those of weights, keys and values among the bytes.
    least, predicted, seconds: the time that they need at least, that the cost model
        expects of them, and that they took.
    """

    name: str
    count: int = 0
    bytes: float = 0.0
    stored: float = 0.0
    operations: float = 0.0
    least: float = 0.0
    predicted: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True)
class Limits:
    """Bytes a second, operations a second by multiplier, and bytes that are cached."""

    bandwidth: float
    peaks: dict[str, float]
    cache: int = 0

    def least(self, cost: costs.Cost) -> float:
        """Return the seconds that an op needs at least."""
        peak = self.peaks[cost.multiplier] or self.peaks["f32"]
        multiplying = cost.operations / peak if peak else 0.0
        return max(cost.bytes / self.bandwidth, multiplying)


def name_of(op: costs.Op) -> str:
    """Return a name that an op has in every layer."""
    if not op.keys:
        return op.name
    keys = [re.sub(r"^.*\.\d+\.", "", key).removesuffix(".weight") for key in op.keys]
    return f"{op.name} {'+'.join(keys)}"


def explain(
    ops: Sequence[costs.Op],
    step: costs.Step,
    limits: Limits,
    calls: Sequence[tuple[str, float]],
    total: float,
) -> list[Line]:
    """Return the lines of a step, slowest first; generated code is one of them.

    ops: of the program, in its order.
    calls: of compiled code into the runtime, in order, with their seconds.
    total: the seconds of the whole step.

    Raises LLMIRError if the calls are not those of the program.
    """
    kernels = [op for op in ops if op.name in CALLS]
    timed = [call for call in calls if call[0] != "rows"]
    if [CALLS[op.name] for op in kernels] != [kind for kind, _ in timed]:
        raise LLMIRError(
            "the step does not run the products, appends and attentions of the "
            "program in the artifact, so their times cannot be told apart; was one of "
            "the two changed?"
        )
    seconds = iter(time for _, time in timed)
    lines: dict[str, Line] = {}
    rest = Line(GENERATED)
    for op in ops:
        # The rest is fused into loops over rows: one line, whose bytes are those
        # that its ops would move one by one.
        line = rest
        if op.name in CALLS:
            line = lines.setdefault(name_of(op), Line(name_of(op)))
            line.seconds += next(seconds)
        cost = op.cost(step)
        line.count += 1
        line.bytes += cost.bytes
        line.stored += cost.stored
        line.operations += cost.operations
        line.least += limits.least(cost)
        line.predicted += limits.least(cost) + CALL_SECONDS * (op.name in CALLS)
    rest.seconds = total - sum(time for _, time in timed)
    ordered = sorted(lines.values(), key=lambda line: -line.seconds)
    return [*ordered, rest]


def table(lines: Iterable[Line], total: float, cache: int = 0) -> str:
    """Return the lines as a table.

    cache: the bytes of the last-level cache. A step whose weights fit there need not
        read them from memory, of which the limits are: a line that is faster says so.
    """
    rows = [
        "| op | count | MB | GFLOP | limit ms | predicted ms | ms | of the step "
        "| of the limit |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines = list(lines)
    whole = Line("step")
    for line in lines:
        whole.bytes += line.bytes
        whole.stored += line.stored
        whole.operations += line.operations
        whole.least += line.least
        whole.predicted += line.predicted
    whole.seconds, whole.count = total, 1
    for line in [*lines, whole]:
        share = line.least / line.seconds if line.seconds > 0 else 0.0
        cells = [
            line.name,
            str(line.count),
            f"{line.bytes / 1e6:.2f}",
            f"{line.operations / 1e9:.3f}",
            f"{line.least * 1e3:.3f}",
            f"{line.predicted * 1e3:.3f}",
            f"{line.seconds * 1e3:.3f}",
            f"{line.seconds / total:.1%}",
            "from cache"
            if share > 1 and whole.stored <= cache
            else f"{share:.0%}"
            if line.seconds > 0
            else "",
        ]
        rows.append("| " + " | ".join(cells) + " |")
    if whole.stored <= cache:
        rows.append(
            f"\nWeights, keys and values, {whole.stored / 1e6:.1f} MB, fit into the "
            f"last-level cache of {cache / 1e6:.1f} MB: what is faster than memory "
            "allows reads them from there."
        )
    return "\n".join(rows)


def last_level_cache() -> int:
    """Return the bytes of the largest cache that the system tells of; 0 if none."""
    largest = 0
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        try:
            text = path.read_text(encoding="ascii").strip()
            unit = {"K": 2**10, "M": 2**20, "G": 2**30}.get(text[-1:], 1)
            largest = max(largest, int(text.rstrip("KMG")) * unit)
        except (OSError, ValueError):
            continue
    return largest


def measure_limits(threads: int) -> Limits:
    """Measure what this machine can do."""
    runtime = _native.runtime()
    _, available = runtime.memory()
    try:
        memory = runtime.Bandwidth(max(1, min(MAX_READ_BYTES, available // 4)))
    except RuntimeError as error:
        raise LLMIRError(str(error)) from error
    return Limits(
        statistics.median(memory.measure(threads) for _ in range(3)),
        {
            name: float(runtime.measure_peak(name, threads))
            for name in ("f32", "bf16", "int8")
        },
        last_level_cache(),
    )


def _configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("artifact", metavar="OUT.llmir", type=Path, help="what `compile` wrote")
    add(
        "--tokens",
        type=positive_int,
        default=1,
        metavar="N",
        help="the tokens that the step appends: 1 decodes, more read a prompt "
        "(default: 1)",
    )
    add(
        "--batch-size",
        type=positive_int,
        default=1,
        metavar="N",
        help="the sequences that each have such tokens (default: 1)",
    )
    add(
        "--depth",
        type=positive_int,
        default=None,
        metavar="N",
        help="the tokens that are in the cache before (default: none)",
    )
    add(
        "--threads",
        type=int_up_to(MAX_THREADS),
        metavar="N",
        help="how many threads work (default: all of the machine's)",
    )
    add(
        "--picture",
        type=Path,
        metavar="FILE.svg",
        help="draw a layer there, with the time that each op is expected to need",
    )
    add(
        "--before",
        type=Path,
        metavar="MODEL",
        help="draw the same layer of a model directory, or of an .mlir file, beside: "
        "what the layer was before it was optimized",
    )


def _programs(arguments: argparse.Namespace) -> list[tuple[str, Path, Any]]:
    """Return the programs to draw, each with what it is and its path."""
    path, before = arguments.picture, arguments.before
    if path is None:
        if before is not None:
            raise UsageError("--before is drawn beside the layer that --picture draws")
        return []
    if not path.parent.is_dir():
        raise LLMIRError(f"{path} cannot be written: {path.parent} is no directory")
    if path.is_dir():
        raise LLMIRError(f"{path} cannot be written: it is a directory")
    after = arguments.artifact / PROGRAM
    programs = [("after", after, costs.read_program(after))]
    if before is None:
        return programs
    if before.is_dir():
        text = import_model(before, None)
        module = _native.compiler().Module.parse(text, str(before))
    else:
        module = costs.read_program(before)
    return [("before", before, module), *programs]


def _draw(
    path: Path,
    programs: Iterable[tuple[str, Path, Any]],
    step: costs.Step,
    limits: Limits,
) -> None:
    """Write a picture of a layer of each program."""
    drawings = []
    for title, program, module in programs:
        nodes = costs.layer_of(module, program, step)
        seconds = [
            # What is no op of the dialect is fused into others' loops.
            limits.least(node.cost) + CALL_SECONDS * (node.cost.bytes > 0)
            for node in nodes
        ]
        drawings.append(picture.Drawing(f"A layer {title}", nodes, seconds))
    partial = path.with_name(f"{path.name}.partial")
    try:
        partial.write_text(picture.draw(drawings), encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _run(arguments: argparse.Namespace) -> None:
    output = standard_output()
    programs = _programs(arguments)
    model = Model(arguments.artifact, arguments.threads)
    ops = costs.executed_ops(arguments.artifact)
    depth = arguments.depth or 0
    size = arguments.batch_size
    step = costs.Step(arguments.tokens * size, depth + arguments.tokens, size)
    if step.context > model.max_model_len:
        raise LLMIRError(
            f"{step.context} tokens are more than the {model.max_model_len} that the "
            "model was compiled for"
        )
    if step.rows > model.max_batch_tokens:
        raise LLMIRError(
            f"the step has {step.rows} tokens, and one of this artifact has at most "
            f"{model.max_batch_tokens} (--max-batch-tokens)"
        )
    model = with_room(model, [(size, step.context)])
    calls, total = _timed(model, step, depth)
    limits = measure_limits(model.engine.threads)
    lines = explain(ops, step, limits, calls, total)
    output.write(
        f"{model.engine.threads} threads; memory {limits.bandwidth / 1e9:.1f} GB/s; "
        + ", ".join(
            f"{name} {peak / 1e9:.0f}" for name, peak in limits.peaks.items() if peak
        )
        + " GFLOP/s in registers\n\n"
    )
    output.write(table(lines, total, limits.cache) + "\n")
    if programs:
        _draw(arguments.picture, programs, step, limits)


def _timed(
    model: Model, step: costs.Step, depth: int
) -> tuple[list[tuple[str, float]], float]:
    """Return the calls of a step with their median times, and the median total."""
    engine: Any = model.engine
    ids = [index % model.vocab_size for index in range(step.context)]
    sequences = [engine.new_sequence() for _ in range(step.sequences)]
    try:
        size = model.max_batch_tokens
        for sequence in sequences:
            for begin in range(0, depth, size):
                engine.step([(sequence, ids[begin : min(begin + size, depth)], False)])
        traces, totals = [], []
        items = [(sequence, ids[depth:], False) for sequence in sequences]
        for _ in range(REPETITIONS + 1):
            for sequence in sequences:
                engine.truncate(sequence, depth)
            begin_time = time.perf_counter()
            traces.append(engine.traced_step(items))
            totals.append(time.perf_counter() - begin_time)
    except RuntimeError as error:
        raise LLMIRError(str(error)) from error
    finally:
        for sequence in sequences:
            sequence.close()
    # The first one warms up. A disturbance is in a few calls of a step: with what
    # each step takes besides its own calls, it is not taken for work between them.
    calls = [
        (parts[0][0], statistics.median(seconds for _, seconds in parts))
        for parts in zip(*traces[1:], strict=True)
    ]
    besides = statistics.median(
        total - sum(seconds for _, seconds in trace)
        for total, trace in zip(totals[1:], traces[1:], strict=True)
    )
    return calls, sum(seconds for _, seconds in calls) + besides


COMMAND = Command(
    "explain",
    "Show where the time of a compiled model's step goes.",
    _configure,
    _run,
)

if __name__ == "__main__":
    sys.exit(execute(COMMAND))
