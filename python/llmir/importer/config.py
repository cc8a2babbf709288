# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Reads a model's config.json field by field, checking each value it hands out.

A config comes from anywhere and decides sizes, so a field is read by asking for
what it must be, and a field that would change the result in a way that is not
supported is refused by its name instead of being passed over.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmir.errors import LLMIRError
from llmir.files import read_json

# The normal numbers of float32, in which models compute.
FLOAT32_MIN = 2.0**-126
FLOAT32_MAX = (2.0 - 2.0**-23) * 2.0**127


class Config:
    """The fields of one JSON object of a model directory.

    path: the file, for messages.
    where: the object within the file, for messages, `rope_scaling.`; empty for the
        whole.
    """

    def __init__(self, path: Path, fields: dict[str, Any], where: str = "") -> None:
        """Hold `fields`, which `read` or `section` took from `path`."""
        self.path = path
        self.fields = fields
        self.where = where

    @classmethod
    def read(cls, path: Path) -> Config:
        """Read a JSON file; LLMIRError if it is missing or not an object."""
        if not os.path.lexists(path):
            raise LLMIRError(
                f"{path.parent} is not a model directory: it has no {path.name}"
            )
        fields = read_json(path)
        if not isinstance(fields, dict):
            raise LLMIRError(f"{path} is not a JSON object")
        return cls(path, fields)

    def with_defaults(self, defaults: Mapping[str, Any]) -> Config:
        """Return these fields and, where one is absent, the default.

        A field that is null stays null: `"sliding_window": null` is not the same as
        no `sliding_window` where a class has a window of its own.
        """
        return Config(self.path, {**defaults, **self.fields}, self.where)

    def error(self, what: str) -> LLMIRError:
        """Return the error that says `what` about this file."""
        return LLMIRError(f"{self.path}: {what}")

    def get(self, name: str) -> Any:
        """Return the field `name` as the file has it; None if it has none."""
        return self.fields.get(name)

    def section(self, name: str) -> Config:
        """Return the object in the field `name`; an empty one if there is none."""
        value = self.get(name)
        if value is None:
            value = {}
        if not isinstance(value, dict):
            raise self._mismatch(name, "an object")
        return Config(self.path, value, f"{self.where}{name}.")

    def integer(self, name: str, default: int | None = None, *, least: int = 1) -> int:
        """Return an integer that is positive, or `least` (0) or more.

        Raises LLMIRError without it and without default.
        """
        value = self._value(name, default)
        if type(value) is not int or not least <= value < 2**31:
            raise self._mismatch(
                name, "a positive integer" if least else "an integer, 0 or more"
            )
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """Return a positive number; LLMIRError without it and without default."""
        value = self._value(name, default)
        # Compared before it is converted: an integer may have any length.
        if type(value) not in (int, float) or not FLOAT32_MIN <= value <= FLOAT32_MAX:
            raise self._mismatch(name, "a positive number of float32")
        return float(value)

    def numbers(self, name: str, count: int) -> list[float]:
        """Return a list of `count` positive numbers; LLMIRError if it is none."""
        value = self._value(name, None)
        if not isinstance(value, list) or len(value) != count:
            raise self._mismatch(name, f"a list of {count} numbers")
        named = {f"{name}[{place}]": item for place, item in enumerate(value)}
        items = Config(self.path, named, self.where)
        return [items.number(item) for item in named]

    def boolean(self, name: str, default: bool | None = None) -> bool:
        """Return a truth value; LLMIRError without it and without default."""
        value = self._value(name, default)
        if type(value) is not bool:
            raise self._mismatch(name, "true or false")
        return value

    def text(self, name: str, default: str | None = None) -> str:
        """Return a string; LLMIRError without it and without default."""
        value = self._value(name, default)
        if not isinstance(value, str):
            raise self._mismatch(name, "a string")
        return value

    def token_ids(self, name: str) -> list[int]:
        """Return a field that holds nothing, one token id, or a list of them."""
        value = self.get(name)
        if value is None:
            return []
        ids = value if isinstance(value, list) else [value]
        if any(type(item) is not int or not 0 <= item < 2**31 for item in ids):
            raise self._mismatch(name, "a token id or a list of them")
        return ids

    def only(self, name: str, *accepted: Any) -> None:
        """Refuse the field `name` unless it is absent, null, or one of `accepted`."""
        value = self.get(name)
        if value is not None and value not in accepted:
            raise self.error(
                f"{self.where}{name} = {_shown(value)} changes what the model "
                "computes and is not supported for this architecture"
            )

    def _value(self, name: str, default: Any) -> Any:
        value = self.get(name)
        if value is not None:
            return value
        if default is None:
            raise self.error(f"the field {self.where}{name} is missing")
        return default

    def _mismatch(self, name: str, expected: str) -> LLMIRError:
        return self.error(
            f"{self.where}{name} is {_shown(self.get(name))}, not {expected}"
        )


def _shown(value: Any) -> str:
    try:
        text = json.dumps(value)
    except RecursionError:
        return "nested too deep"
    return text if len(text) <= 60 else text[:57] + "..."
