# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a command of LLMIR is, and how one ends.

Each command is a module with a `COMMAND`, which `python -m llmir.NAME` and
`llmir NAME` both run. Here is the one place that turns errors into a sentence
and an exit status: 1 for bad input, 2 for a wrong command line, 130 and 143 for
an interrupt and for termination (129 if the terminal was closed).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from llmir.errors import LLMIRError
from llmir.files import printable


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
    previous = {number: signal.getsignal(number) for number in _STOPS}
    for number, handler in previous.items():
        # One that was ignored from the start, as under nohup, stays so.
        if handler is not signal.SIG_IGN:
            signal.signal(number, _stop)
    sys.unraisablehook = _stop_again
    try:
        command.run(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
    except UsageError as error:
        parser.error(str(error))
    except LLMIRError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        tell("llmir: interrupted")
        return 130
    except BrokenPipeError:
        # Whoever read our output has had enough. Python would complain again when
        # it flushes at exit.
        _drop_output()
    except OSError as error:
        # The same, if what could not be written is still waiting.
        _drop_output()
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}")
    except MemoryError:
        return _fail("there is not enough memory")
    finally:
        for number, handler in previous.items():
            # After a signal the process is about to end, undisturbed.
            if signal.getsignal(number) is _stop:
                signal.signal(number, handler)
    return 0


_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _stop(number: int, frame: FrameType | None) -> None:
    # As an exception, so that unfinished outputs are removed on the way out; and
    # once, so that a second signal does not cut that short.
    for other in _STOPS:
        signal.signal(other, signal.SIG_IGN)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def _stop_again(lost: sys.UnraisableHookArgs) -> None:
    # An exception that is raised while an object is destroyed goes no further, nor
    # does one that is raised in here: the signal comes once more, when that is over.
    if isinstance(lost.exc_value, KeyboardInterrupt):
        number = signal.SIGINT
    elif isinstance(lost.exc_value, SystemExit):
        number = signal.Signals(int(str(lost.exc_value)) - 128)
    else:
        sys.__unraisablehook__(lost)
        return
    signal.signal(number, _stop)
    main = threading.main_thread().ident
    assert main is not None
    threading.Timer(0.01, signal.pthread_kill, (main, number)).start()


def _fail(message: str) -> int:
    # What a file says may reach a message; a terminal must not obey it. Further
    # lines that a message has on purpose, which are indented, stay.
    lines = map(printable, message.split("\n  "))
    tell("llmir: error: " + "\n  ".join(lines))
    return 1


def _drop_output() -> None:
    if sys.stdout is not None:
        try:
            sys.stdout.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def tell(message: str) -> None:
    """Print a message to the standard error, unless the shell has closed it."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print(message, file=sys.stderr, flush=True)


def standard_output() -> TextIO:
    """Return the standard output; LLMIRError if the shell has closed it."""
    if sys.stdout is None:
        raise LLMIRError("the standard output is closed, and the text goes there")
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A model writes what it likes, also what a terminal's encoding lacks.
        sys.stdout.reconfigure(errors="backslashreplace")
    return sys.stdout


def check_results(path: Path | None) -> None:
    """Raise LLMIRError, before any work, if no results can be written to a file."""
    if path is not None and not path.parent.is_dir():
        raise LLMIRError(f"{path} cannot be written: {path.parent} is no directory")
    if path is not None and path.is_dir():
        raise LLMIRError(f"{path} cannot be written: it is a directory")


def write_results(path: Path | None, found: dict[str, Any]) -> None:
    """Write what a command has found as JSON, if a file is wanted."""
    if path is None:
        return
    partial = path.with_name(f"{path.name}.partial")
    try:
        partial.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


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
