# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Finds the two native modules, and says what to do when one is missing.

They are loaded when first needed: importing a model needs neither, running one
needs only the runtime, and the compiler, which brings LLVM along, is loaded in
the process that generates code and nowhere else.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

from llmir.errors import LLMIRError


def compiler() -> Any:
    """Return the module `llmir._compiler`, which links MLIR and LLVM."""
    return _load("_compiler")


def runtime() -> Any:
    """Return the module `llmir._runtime`, which links only the C++ runtime."""
    return _load("_runtime")


def path_text(path: Path) -> str:
    """Return a path as the native modules take it, as text.

    Raises LLMIRError if it is not UTF-8, or has a NUL.
    """
    text = os.fspath(path)
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise LLMIRError(f"the path {text!a} is not UTF-8 text")
    return text


def _load(name: str) -> Any:
    try:
        return importlib.import_module(f"llmir.{name}")
    except ImportError as error:
        raise LLMIRError(
            f"the native module llmir.{name} cannot be loaded ({error}); "
            "build LLMIR with `make build` or install its package"
        ) from error
