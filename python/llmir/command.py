# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a command of LLMIR is, and how one ends.

Each command is a module with a `COMMAND`, which `python -m llmir.NAME` and
`llmir NAME` both run. Here is the one place that turns errors into a sentence
and an exit status: 1 for bad input, 2 for a wrong command line, 130 and 143 for
an interrupt and for termination.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import TextIO

from llmir.errors import LLMIRError


@dataclass(frozen=True)
class Command:
    """A command.

    name: as typed after `llmir`.
    summary: one line for the help.
    configure: adds the arguments.
    run: does it; raises LLMIRError for bad input and UsageError for arguments
        that do not go together.
    """

    name: str
    summary: str
    configure: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], None]


class UsageError(Exception):
    """A command line that is wrong as a whole, in one sentence."""


def execute(command: Command, argv: Sequence[str] | None = None) -> int:
    """Parse `argv`, run the command as a program of its own, return the status."""
    parser = argparse.ArgumentParser(
        prog=f"python -m llmir.{command.name}", description=command.summary
    )
    command.configure(parser)
    return perform(command, parser, parser.parse_args(argv))


def perform(
    command: Command, parser: argparse.ArgumentParser, arguments: argparse.Namespace
) -> int:
    """Run the command with parsed arguments and return the exit status."""
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        command.run(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
    except UsageError as error:
        parser.error(str(error))
    except LLMIRError as error:
        print(f"llmir: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("llmir: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read our output has had enough. Python would complain again when
        # it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"llmir: error: {where}{error.strerror or error}", file=sys.stderr)
        return 1
    except MemoryError:
        print("llmir: error: there is not enough memory", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGTERM, previous)
    return 0


def _terminate(number: int, frame: FrameType | None) -> None:
    # As an exception, so that unfinished outputs are removed on the way out.
    raise SystemExit(128 + number)


def standard_output() -> TextIO:
    """Return the standard output; LLMIRError if the shell has closed it."""
    if sys.stdout is None:
        raise LLMIRError("the standard output is closed, and the text goes there")
    return sys.stdout


def positive_int(text: str) -> int:
    """Parse an argument that is a positive integer of 32 bits."""
    return int_up_to(2**31 - 1)(text)


def int_up_to(most: int) -> Callable[[str], int]:
    """Return a parser of arguments that are integers from 1 to `most`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = 0
        if not 1 <= value <= most:
            raise argparse.ArgumentTypeError(
                f"{text} is not a whole number from 1 to {most}"
            )
        return value

    return parse
