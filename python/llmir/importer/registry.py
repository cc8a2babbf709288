# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Finds the model family that can import a given config.

A family is one file in `llmir/importer/families` that defines `FAMILY`; being
there is all it takes to be known, here, to `llmir models` and to the messages
that list what is supported.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmir.importer import families
from llmir.importer.config import Config

if TYPE_CHECKING:
    from llmir.importer.decoder import Decoder
    from llmir.importer.weights import Weights


@dataclass(frozen=True)
class Family:
    """A group of models that differ in nothing but sizes.

    name: the name in the program, `llama`.
    architectures: the class names that Transformers writes into configs.
    model_types: the same as `model_type`, for configs without a class name.
    embedding_key: the name of the token embedding, whose dtype is the model's.
    defaults: what fields are where a config lacks them.
    examples: models of the family, for people.
    features: what of the family is supported, for people.
    describe: reads a config into what the importer builds. It refuses, by name,
        every field that changes the result and is not supported.
    """

    name: str
    architectures: tuple[str, ...]
    model_types: tuple[str, ...]
    embedding_key: str
    defaults: Mapping[str, Any]
    examples: str
    features: str
    describe: Callable[[Config, Weights], Decoder]


@functools.cache
def all_families() -> tuple[Family, ...]:
    """Return every family, in the order of their names."""
    modules = (
        importlib.import_module(f"{families.__name__}.{module.name}")
        for module in pkgutil.iter_modules(families.__path__)
    )
    return tuple(sorted((m.FAMILY for m in modules), key=lambda family: family.name))


def find_family(config: Config) -> Family:
    """Return the family of a config; LLMIRError, listing all, if there is none."""
    names = config.get("architectures") or []
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise config.error("architectures is not a list of names")
    model_type = config.get("model_type")
    for family in all_families():
        if names and names[0] in family.architectures:
            return family
        if not names and model_type in family.model_types:
            return family
    found = names[0] if names else model_type
    supported = ", ".join(
        name for family in all_families() for name in family.architectures
    )
    raise config.error(
        f"the architecture {found} is not supported; LLMIR imports {supported}"
        if found
        else "neither architectures nor model_type says what the model is; "
        f"LLMIR imports {supported}"
    )
