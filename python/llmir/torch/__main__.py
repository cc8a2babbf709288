# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`python -m llmir.torch FILE`: lowers and translates a program of the torch dialect.

Messages name it to reproduce a failure: it is the part of `llmir.import_torch` that
comes after PyTorch's. Weights are arguments here, and the text goes to the standard
output.
"""

from __future__ import annotations

if __name__ == "__main__":
    from llmir._signals import end_quietly_on_interrupt

    end_quietly_on_interrupt()

import argparse
import sys
from pathlib import Path

from llmir.command import Command, execute, standard_output
from llmir.errors import LLMIRError
from llmir.torch import require


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path)


def _run(arguments: argparse.Namespace) -> None:
    output = standard_output()
    require()
    from llmir.torch import lowering

    try:
        text = arguments.file.read_text(encoding="utf-8")
    except ValueError as error:
        raise LLMIRError(f"{arguments.file} is not UTF-8 text") from error
    try:
        print(lowering.lower_module(lowering.parse(text), {}), end="", file=output)
    except lowering.LoweringError as failure:
        raise LLMIRError(failure.sentence) from failure


COMMAND = Command(
    "torch",
    "Lower a program of the torch dialect to text of MLIR 18.",
    _configure,
    _run,
)

if __name__ == "__main__":
    sys.exit(execute(COMMAND))
