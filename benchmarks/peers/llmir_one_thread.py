# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""LLMIR with one thread, beside itself with all: what the others bring."""

from __future__ import annotations

from pathlib import Path

from peers import llmir

FORMATS = {"bf16": "bf16"}
version = llmir.version
prepare = llmir.prepare


class Session(llmir.Session):
    """An open model that computes on the calling thread alone."""

    def __init__(self, path: Path, threads: int, context: int, sequences: int) -> None:
        """Load."""
        super().__init__(path, 1, context, sequences)
