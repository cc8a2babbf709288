# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The command `models`: lists the model families that can be compiled."""

from __future__ import annotations

import argparse
import sys

from llmir.command import Command, execute, standard_output
from llmir.importer.registry import all_families


def _configure(parser: argparse.ArgumentParser) -> None:
    del parser  # no arguments


def _run(arguments: argparse.Namespace) -> None:
    del arguments
    output = standard_output()
    for family in all_families():
        print(f"{family.name}: {', '.join(family.architectures)}", file=output)
        print(f"    models: {family.examples}", file=output)
        print(f"    features: {family.features}", file=output)


COMMAND = Command("models", "List the supported model families.", _configure, _run)

if __name__ == "__main__":
    sys.exit(execute(COMMAND))
