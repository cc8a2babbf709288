# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The program `llmir`: every command behind one name.

A new command is a module with a `COMMAND` and its place in the tuple below. The
commands are imported by the function, which can say first what ^C does meanwhile.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from llmir._signals import end_quietly_on_interrupt


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` names; return the exit status.

    argv: None is this process's own, which then is a program of ours.
    """
    if argv is None:
        end_quietly_on_interrupt()
    import llmir
    from llmir import bench, compile, eval, explain, models, run, verify
    from llmir.command import perform

    parser = argparse.ArgumentParser(
        prog="llmir", description="Compiles and runs language models."
    )
    parser.add_argument(
        "--version", action="version", version=f"llmir {llmir.__version__}"
    )
    choices = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in (
        compile.COMMAND,
        run.COMMAND,
        bench.COMMAND,
        eval.COMMAND,
        explain.COMMAND,
        verify.COMMAND,
        models.COMMAND,
    ):
        own = choices.add_parser(
            command.name, help=command.summary, description=command.summary
        )
        command.configure(own)
        own.set_defaults(command=command, parser=own)
    arguments = parser.parse_args(argv)
    return perform(arguments.command, arguments.parser, arguments)
