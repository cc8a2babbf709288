# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The command `bench`: how fast an artifact reads prompts and writes tokens.

The rows are named as those of llama-bench: pp512 reads a prompt of 512 tokens, tg128
writes 128 tokens one by one, `@ d2048` does so behind 2,048 others, `x 4` writes four
sequences at once. The tokens are seeded random ids, since speed does not depend on
them. `benchmarks/` compares LLMIR with other engines.
"""

from __future__ import annotations

if __name__ == "__main__":
    from llmir._signals import end_quietly_on_interrupt

    end_quietly_on_interrupt()

import argparse
import random
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmir import costs
from llmir.command import (
    Command,
    check_results,
    execute,
    int_up_to,
    positive_int,
    standard_output,
    tell,
    write_results,
)
from llmir.errors import LLMIRError
from llmir.model import MAX_THREADS, Model


@dataclass(frozen=True)
class Row:
    """One line of the table.

    name: as llama-bench names it.
    new: how many tokens a step appends to each sequence.
    steps: how many such steps are timed together.
    depth: the tokens that each sequence has before.
    sequences: how many run together.
    """

    name: str
    new: int
    steps: int
    depth: int = 0
    sequences: int = 1

    @property
    def tokens(self) -> int:
        """The tokens that a run appends, over all sequences."""
        return self.new * self.steps * self.sequences


def rows_of(
    prompt_tokens: int, gen_tokens: int, depth: int, batch_sizes: Sequence[int]
) -> list[Row]:
    """Return the rows that some arguments ask for; 0 tokens leave a row out."""
    rows = []
    if prompt_tokens:
        rows.append(Row(f"pp{prompt_tokens}", prompt_tokens, 1))
    if gen_tokens:
        name = f"tg{gen_tokens}"
        rows += [
            Row(name if size == 1 else f"{name} x {size}", 1, gen_tokens, 0, size)
            for size in batch_sizes
        ]
        if depth:
            rows.append(Row(f"{name} @ d{depth}", 1, gen_tokens, depth))
    return rows


def with_room(model: Model, batches: Iterable[tuple[int, int]]) -> Model:
    """Return the model, or open it again if its cache is too small for a batch.

    batches: sequences, and the length of each.
    """
    block = int(model.manifest["cache"]["block_size"])
    blocks = max(sequences * -(-length // block) for sequences, length in batches)
    if blocks <= model.engine.num_blocks:
        return model
    return Model(model.path, model.engine.threads, num_blocks=blocks)


class Timer:
    """Times rows of one model, and keeps their sequences between runs."""

    def __init__(self, path: Path, threads: int | None, rows: Sequence[Row]) -> None:
        """Load, with a cache that is large enough for every row."""
        self.model = Model(path, threads)
        for row in rows:
            self._check(row)
        self.model = with_room(
            self.model,
            [(row.sequences, row.depth + row.new * row.steps) for row in rows],
        )
        self.random = random.Random(0)

    def _check(self, row: Row) -> None:
        length = row.depth + row.new * row.steps
        if length > self.model.max_model_len:
            raise LLMIRError(
                f"{row.name} needs {length} tokens of a sequence, and the model was "
                f"compiled for {self.model.max_model_len} (--max-model-len)"
            )
        if row.sequences > self.model.max_batch_tokens:
            raise LLMIRError(
                f"{row.name} has {row.sequences} tokens a step, and the model was "
                f"compiled for {self.model.max_batch_tokens} (--max-batch-tokens)"
            )

    def run(self, row: Row, repetitions: int) -> list[float]:
        """Return the seconds of some runs, after one that warms up."""
        engine = self.model.engine
        batch = [engine.new_sequence() for _ in range(row.sequences)]
        try:
            for sequence in batch:
                self._append(sequence, row.depth)
            times = []
            for _ in range(repetitions + 1):
                for sequence in batch:
                    engine.truncate(sequence, row.depth)
                times.append(self._once(row, batch))
        except RuntimeError as error:
            raise LLMIRError(f"{row.name} cannot be run: {error}") from error
        finally:
            for sequence in batch:
                sequence.close()
        return times[1:]

    def _once(self, row: Row, batch: Sequence[Any]) -> float:
        engine = self.model.engine
        steps = []
        for _ in range(row.steps):
            # A prompt longer than a step is read in several.
            left = row.new
            while left:
                count = min(left, self.model.max_batch_tokens)
                steps.append([(each, self._ids(count), False) for each in batch])
                left -= count
        begin = time.perf_counter()
        for step in steps:
            engine.step(step)
        return time.perf_counter() - begin

    def _append(self, sequence: Any, count: int) -> None:
        while count:
            size = min(count, self.model.max_batch_tokens)
            self.model.engine.step([(sequence, self._ids(size), False)])
            count -= size

    def _ids(self, count: int) -> list[int]:
        return self.random.choices(range(self.model.vocab_size), k=count)


def work_of(row: Row, ops: Sequence[costs.Op], most: int) -> tuple[float, float]:
    """Return the bytes of weights, keys and values that a run reads, and operations.

    ops: of the program.
    most: the most tokens of a step.
    """
    read, operations = 0.0, 0.0
    length = row.depth
    for _ in range(row.steps):
        left = row.new
        while left:
            count = min(left, most)
            left -= count
            length += count
            step = costs.Step(count * row.sequences, length, row.sequences)
            for op in ops:
                cost = op.cost(step)
                read += cost.stored
                operations += cost.operations
    return read, operations


def measure(
    path: Path, rows: Sequence[Row], threads: int | None, repetitions: int
) -> dict[str, Any]:
    """Return the results, as the JSON file has them.

    Of each row: tokens a second (median), the distance of their quartiles as a share
    of it, the seconds of every run, and, where this installation has the compiler,
    10^9 bytes of weights, keys and values and 10^9 operations a second.
    """
    timer = Timer(path, threads, rows)
    try:
        ops = costs.executed_ops(path)
    except LLMIRError as error:
        tell(f"llmir: bytes and operations are not known: {error}")
        ops = []
    results = []
    for row in rows:
        seconds = timer.run(row, repetitions)
        middle = statistics.median(seconds)
        result = {
            "row": row.name,
            "tokens_per_second": row.tokens / middle,
            "spread": spread(seconds),
            "seconds": seconds,
        }
        if ops:
            read, operations = work_of(row, ops, timer.model.max_batch_tokens)
            result["gigabytes_per_second"] = read / middle / 1e9
            result["gigaoperations_per_second"] = operations / middle / 1e9
        results.append(result)
    return {
        "artifact": str(path),
        "target": timer.model.manifest["target"],
        "threads": timer.model.engine.threads,
        "rows": results,
    }


def spread(values: Sequence[float]) -> float:
    """Return the distance of the quartiles, as a share of the median."""
    if len(values) < 2:
        return 0.0
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / middle


def table(found: dict[str, Any]) -> str:
    """Return the results as a table."""
    lines = ["| row | tokens/s | spread | GB/s | GFLOP/s |", "|---|---|---|---|---|"]
    for row in found["rows"]:
        cells = [row["row"], f"{row['tokens_per_second']:.1f}", f"{row['spread']:.1%}"]
        for name in ("gigabytes_per_second", "gigaoperations_per_second"):
            cells.append(f"{row[name]:.1f}" if name in row else "")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("artifact", metavar="OUT.llmir", type=Path, help="what `compile` wrote")
    add(
        "--prompt-tokens",
        type=_count,
        default=512,
        metavar="N",
        help="the tokens of the prompt that is read; 0 for none (default: 512)",
    )
    add(
        "--gen-tokens",
        type=_count,
        default=128,
        metavar="N",
        help="how many tokens are written one by one; 0 for none (default: 128)",
    )
    add(
        "--depth",
        type=_count,
        default=0,
        metavar="N",
        help="also write them behind N other tokens (default: 0, not)",
    )
    add(
        "--batch-sizes",
        type=_sizes,
        default=[1],
        metavar="N,N,...",
        help="how many sequences are written at once (default: 1)",
    )
    add(
        "--threads",
        type=int_up_to(MAX_THREADS),
        metavar="N",
        help="how many threads work (default: all of the machine's)",
    )
    add(
        "--repetitions",
        type=positive_int,
        default=5,
        metavar="N",
        help="how often each row is timed; the median counts (default: 5)",
    )
    add("--json", type=Path, metavar="FILE", help="write the results there too")


def _count(text: str) -> int:
    return 0 if text == "0" else positive_int(text)


def _sizes(text: str) -> list[int]:
    return [positive_int(size) for size in text.split(",")]


def _run(arguments: argparse.Namespace) -> None:
    rows = rows_of(
        arguments.prompt_tokens,
        arguments.gen_tokens,
        arguments.depth,
        arguments.batch_sizes,
    )
    if not rows:
        raise LLMIRError("there is nothing to time without a prompt and new tokens")
    output = standard_output()
    check_results(arguments.json)
    found = measure(arguments.artifact, rows, arguments.threads, arguments.repetitions)
    write_results(arguments.json, found)
    output.write(table(found) + "\n")


COMMAND = Command("bench", "Time a compiled model.", _configure, _run)

if __name__ == "__main__":
    sys.exit(execute(COMMAND))
