# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Reads files that may come from anywhere.

A model directory may hold a pipe where a config should be, a link to itself, JSON
with a name twice, or names that a terminal obeys. Whatever reads one goes through
here, so that each of these is refused with the same sentence everywhere.
"""

from __future__ import annotations

import json
import os
import stat
from collections import Counter
from pathlib import Path
from typing import Any, BinaryIO

from llmir.errors import LLMIRError

# More than the index of any model; a larger file is something else.
MAX_JSON_BYTES = 100_000_000

SHOWN = 80


def shown(text: str) -> str:
    """Return a name from a file as a short text of one line, for messages."""
    if len(text) > SHOWN:
        text = text[: SHOWN - 3] + "..."
    return printable(text)


def shown_value(value: object) -> str:
    """Return a value from a file as a short text of one line, for messages."""
    try:
        return shown(repr(value))
    except RecursionError:
        return f"a {type(value).__name__} that is nested too deep"


def printable(text: str) -> str:
    """Return `text` with what no line of text holds written as escapes."""
    return "".join(
        character if character.isprintable() else ascii(character)[1:-1]
        for character in text
    )


def open_regular(path: Path) -> BinaryIO:
    """Open a file; LLMIRError if there is none, or it is a pipe or a directory."""
    try:
        # Opening a pipe would wait for somebody to write to it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise LLMIRError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:  # a name that no file can have
        raise LLMIRError(f"cannot read {str(path)!a}: {error}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise LLMIRError(f"cannot read {path}: it is not a file")
    return os.fdopen(descriptor, "rb")


def read_text(path: Path) -> str:
    """Return a text file; LLMIRError if it is empty or not UTF-8."""
    with open_regular(path) as file:
        try:
            data = file.read()
        except OSError as error:
            raise LLMIRError(f"cannot read {path}: {error.strerror}") from error
    if not data:
        raise LLMIRError(f"{path} is empty")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise LLMIRError(
            f"{path} is not UTF-8 text: byte {error.start} is {data[error.start]:#04x}"
        ) from None


def read_json(path: Path) -> Any:
    """Return what a JSON file says; LLMIRError if that is not clear."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_JSON_BYTES:
            raise LLMIRError(
                f"cannot read {path}: it has {size} bytes, too many for such a file"
            )
        try:
            data = file.read()
        except OSError as error:
            raise LLMIRError(f"cannot read {path}: {error.strerror}") from error
    try:
        return parse_json(data)
    except ValueError as error:
        raise LLMIRError(f"cannot read {path}: {error}") from error


def parse_json(data: bytes) -> Any:
    """Return what JSON says; ValueError, with one line, if that is not clear."""
    if not data.strip():
        raise ValueError("it is empty")
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except _DuplicateError:
        raise
    except ValueError as error:
        raise ValueError(f"it is not JSON ({error})") from error


class _DuplicateError(ValueError):
    """A name that an object has twice: readers differ in which one they take."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        raise _DuplicateError(
            f"{shown(counts.most_common(1)[0][0])} occurs twice in an object"
        )
    return result
