# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The command `verify`: do two programs mean the same?

Both run on random inputs by their reference meaning, which no optimization takes part
in. `compile --verify-passes` does it after every pass of the optimizer, and names the
first that changes what the program means.
"""

from __future__ import annotations

if __name__ == "__main__":
    from llmir._signals import end_quietly_on_interrupt

    end_quietly_on_interrupt()

import argparse
import json
import shlex
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from llmir._codegen import OUT_OF_MEMORY, REFUSED
from llmir.codegen import ending, run_child
from llmir.command import (
    Command,
    UsageError,
    execute,
    positive_int,
    standard_output,
    tell,
)
from llmir.errors import LLMIRError
from llmir.files import open_regular
from llmir.verification import (
    ROUNDS,
    SHARED,
    TOLERANCES,
    Output,
    Settings,
    VerificationError,
)

MODULE = "llmir._verify"

# The calls of a layer that --verify-passes keeps: the second reads what the first
# one wrote.
LAYERS = 2


@dataclass(frozen=True)
class Found:
    """What a verification has found.

    outputs: for each program but the first, how it compared with the one before.
    passes: for each of these programs the pass that made it, where passes were run.
    files: the programs, where passes were run.
    left_out: how many calls of layers were left out.
    """

    outputs: list[list[Output]]
    passes: list[str]
    files: list[Path]
    left_out: int


def verify_files(before: Path, after: Path, settings: Settings) -> list[Output]:
    """Compare two programs; return how each output compared.

    Raises LLMIRError if one is not valid or cannot be run, or if they cannot be
    compared.
    """
    programs = [(_readable(path), str(path)) for path in (before, after)]
    return _start({"programs": programs}, settings).outputs[0]


def verify_passes(
    program: Path,
    name: str,
    pipeline: str,
    settings: Settings,
    *,
    layers: int | None = None,
) -> Found:
    """Compare a program before and after each pass of a pipeline.

    name: what messages call the program.
    layers: the most calls of a function that are kept in each of its callers, None
        for all.

    Raises VerificationError if a pass changes what the program means, with the files
    and the commands that show it.
    """
    directory = Path(tempfile.mkdtemp(prefix="llmir-verify-"))
    keeps = False
    try:
        job = {
            "programs": [(str(program), name)],
            "pipeline": pipeline,
            "layers": layers,
            "stages": str(directory),
        }
        try:
            found = _start(job, settings)
        except _DiedError as error:
            keeps = True
            raise LLMIRError(f"{error}; the programs are in {directory}") from error
        for index, outputs in enumerate(found.outputs):
            failed = [output for output in outputs if output.failure]
            if not failed:
                continue
            keeps = True
            before, after = (
                shutil.move(found.files[index + which], directory / f"{file}.mlir")
                for which, file in enumerate(("before", "after"))
            )
            pass_ = found.passes[index]
            again = shlex.join(
                [
                    *(sys.executable, "-m", "llmir.opt", str(before)),
                    f"--pass-pipeline=builtin.module({pass_})",
                ]
            )
            compare = shlex.join(
                [
                    *(sys.executable, "-m", "llmir.verify", str(before), str(after)),
                    *(f"--seed={settings.seed}", f"--rounds={settings.rounds}"),
                ]
            )
            raise VerificationError(
                f"the pass {pass_} changes what {name} means: {failed[0].failure}; run "
                f"it again with: {again}; compare with: {compare}"
            )
        return found
    finally:
        for path in directory.iterdir():
            if not keeps or path.name not in ("before.mlir", "after.mlir"):
                path.unlink()
        if not keeps:
            directory.rmdir()


class _DiedError(LLMIRError):
    """The child died of a program."""


def _start(job: dict[str, Any], settings: Settings) -> Found:
    """Run the child; return what it has found."""
    fields = asdict(settings)
    if settings.weights is not None:
        fields["weights"] = str(settings.weights)
    with tempfile.TemporaryDirectory(prefix="llmir-") as scratch:
        files = [Path(scratch, name) for name in ("job", "found", "progress")]
        files[0].write_text(json.dumps({**job, "settings": fields}), encoding="utf-8")
        done = run_child(MODULE, list(map(str, files)))
        message = done.stderr.strip()
        if done.returncode == REFUSED and message:
            raise VerificationError(message)
        if done.returncode != 0:
            last = message.splitlines()[-1] if message else "it left no message"
            if last.startswith("MemoryError"):
                raise LLMIRError(OUT_OF_MEMORY)
            doing = "starting"
            if files[2].exists():
                doing = files[2].read_text(encoding="utf-8")
            raise _DiedError(
                f"the process that compares {ending(done.returncode)} while {doing} "
                f"({last})"
            )
        found = json.loads(files[1].read_text(encoding="utf-8"))
    return Found(
        [[Output(**output) for output in outputs] for outputs in found["results"]],
        [pass_ for _, pass_ in found["passes"]],
        [Path(path) for path in found["files"]],
        found["left_out"],
    )


def _readable(path: Path) -> str:
    """Return a file's name, having seen that it is text."""
    with open_regular(path) as file:
        try:
            file.read().decode("utf-8")
        except UnicodeDecodeError as error:
            raise LLMIRError(f"{path} is not text: {error.reason}") from error
    return str(path)


def table(outputs: Sequence[Output]) -> str:
    """Return the outputs as a table."""
    rows = ["| function | output | type | error | allowed |", "|---|---|---|---|---|"]
    for output in outputs:
        cells = [
            f"@{output.function}",
            output.output.removeprefix("output "),
            f"`{output.type}`",
            f"{output.error:.2g}",
            f"{output.allowed:.2g}",
        ]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("before", metavar="BEFORE.mlir", type=Path, help="a program")
    add(
        "after",
        metavar="AFTER.mlir",
        type=Path,
        nargs="?",
        help="the program that must mean the same; or --passes",
    )
    add(
        "--passes",
        metavar="PIPELINE",
        help="run these passes on BEFORE.mlir, in llmir-opt's notation, and compare "
        "the program before and after each of them",
    )
    add(
        "--function",
        metavar="NAME",
        action="append",
        help="compare this public function; may be given again (default: all of "
        "BEFORE.mlir)",
    )
    add(
        "--rounds",
        type=positive_int,
        default=ROUNDS,
        metavar="N",
        help=f"how many random inputs each function is run on (default: {ROUNDS})",
    )
    add(
        "--seed",
        type=_natural,
        default=0,
        metavar="N",
        help="what is random follows from this number (default: 0)",
    )
    add(
        "--tolerance",
        metavar="[WHAT=]X",
        action="append",
        default=[],
        help="how far results may be apart, relative to the largest number of an "
        "output, if a program rounds to WHAT or in any case (default: the largest of "
        + ", ".join(
            f"{name}={SHARED[name]:g} to {value:g}"
            for name, value in TOLERANCES.items()
        )
        + " that applies; the lower ones if both programs round so)",
    )
    add(
        "--range",
        metavar="N=LOW:END",
        action="append",
        default=[],
        help="the integers of argument N, counted from 0, are at least LOW and less "
        "than END; may be given again (default: what the ops need, or else 0:8)",
    )
    add(
        "--weights",
        type=Path,
        metavar="DIR",
        help="a model directory whose weights are taken (default: random ones)",
    )


def _natural(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 0 on")
    return int(text)


def _settings(arguments: argparse.Namespace) -> Settings:
    tolerances: dict[str, float] = {}
    for text in arguments.tolerance:
        name, _, number = text.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if not 0 <= value < float("inf") or name not in ("", *TOLERANCES):
            raise UsageError(
                f"--tolerance {text} is not a number, perhaps after one of "
                + ", ".join(f"{known}=" for known in TOLERANCES)
            )
        tolerances.update(dict.fromkeys([name] if name else TOLERANCES, value))
    ranges = {}
    for text in arguments.range:
        try:
            index, _, ends = text.partition("=")
            low, _, end = ends.partition(":")
            ranges[int(index)] = (int(low), int(end))
        except ValueError:
            raise UsageError(f"--range {text} is not N=LOW:END") from None
        if ranges[int(index)][0] >= ranges[int(index)][1]:
            raise UsageError(f"--range {text} has no number in it")
    return Settings(
        None if arguments.function is None else tuple(arguments.function),
        arguments.rounds,
        arguments.seed,
        tolerances,
        ranges,
        arguments.weights,
    )


def _run(arguments: argparse.Namespace) -> None:
    if (arguments.after is None) == (arguments.passes is None):
        raise UsageError("give either AFTER.mlir or --passes=PIPELINE")
    settings = _settings(arguments)
    output = standard_output()
    if arguments.passes is not None:
        program = Path(_readable(arguments.before))
        found = verify_passes(
            program, str(arguments.before), arguments.passes, settings
        )
        output.write(describe_passes(found) + "\n")
        return
    outputs = verify_files(arguments.before, arguments.after, settings)
    output.write(table(outputs) + "\n")
    for each in outputs:
        if each.failure:
            raise VerificationError(
                f"{arguments.after} differs from {arguments.before}: {each.failure}"
            )


def describe_passes(found: Found) -> str:
    """Return a line for each pass that changed the program: its largest error."""
    rows = ["| pass | error | allowed |", "|---|---|---|"]
    for pass_, outputs in zip(found.passes, found.outputs, strict=True):
        worst = max(outputs, key=lambda output: output.error)
        rows.append(f"| `{pass_}` | {worst.error:.2g} | {worst.allowed:.2g} |")
    return "\n".join(rows)


def verify_compilation(
    program: Path, name: str, pipeline: str, settings: Settings | None = None
) -> None:
    """Do what `compile --verify-passes` does, and say what was done.

    Raises VerificationError if a pass changes what the program means.
    """
    settings = settings or Settings()
    settings = replace(settings, functions=None)
    found = verify_passes(program, name, pipeline, settings, layers=LAYERS)
    without = ""
    if found.left_out:
        without = f", without {found.left_out} further calls of layers"
    tell(
        f"llmir: {len(found.passes)} passes that change the program keep its meaning, "
        f"on {settings.rounds} random inputs{without}"
    )


COMMAND = Command(
    "verify",
    "Compare what two programs compute, on random inputs, by their reference meaning.",
    _configure,
    _run,
)

if __name__ == "__main__":
    sys.exit(execute(COMMAND))
