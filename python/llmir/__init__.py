# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""LLMIR: compiles Hugging Face language models to native code, and runs them.

    import llmir
    model = llmir.load("model.llmir", threads=2)
    logits = model.forward([1, 2, 3])
    ids = model.generate([1, 2, 3], max_new_tokens=32)

Importing the package loads nothing else: `load` and `Model` bring the native
runtime when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmir.errors import LLMIRError

if TYPE_CHECKING:
    from llmir.model import Model, load

__version__ = "0.1.0"
__all__ = ["LLMIRError", "Model", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """Import `load` and `Model` when they are first used."""
    if name in ("Model", "load"):
        from llmir import model

        return getattr(model, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
