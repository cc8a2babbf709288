# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`llmir models`: what can be imported, and what this machine can do with it."""

from __future__ import annotations

if __name__ == "__main__":
    from llmir._signals import end_quietly_on_interrupt

    end_quietly_on_interrupt()

import argparse
import json
import sys

from llmir.command import Command, execute, standard_output
from llmir.hardware import describe_machine, report
from llmir.importer.registry import all_families


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--hardware",
        action="store_true",
        help="describe this machine instead: CPU, memory, kernels, dtypes, targets",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def _run(arguments: argparse.Namespace) -> None:
    output = standard_output()
    if arguments.hardware:
        machine = describe_machine()
        text = json.dumps(machine, indent=2) if arguments.json else report(machine)
        print(text, file=output)
        return
    facts = ("name", "architectures", "examples", "features")
    families = [
        {name: getattr(family, name) for name in facts} for family in all_families()
    ]
    if arguments.json:
        print(json.dumps(families, indent=2), file=output)
        return
    for family in families:
        print(f"{family['name']}: {', '.join(family['architectures'])}", file=output)
        print(f"    models: {family['examples']}", file=output)
        print(f"    features: {family['features']}", file=output)


COMMAND = Command(
    "models",
    "List the supported model families, or what this machine can do.",
    _configure,
    _run,
)

if __name__ == "__main__":
    sys.exit(execute(COMMAND))
