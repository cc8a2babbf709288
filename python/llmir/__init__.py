# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""LLMIR: compiles Hugging Face language models to native code, and runs them.

    import llmir
    model = llmir.load("model.llmir", threads=2)
    logits = model.forward([1, 2, 3])
    ids = model.generate([1, 2, 3], max_new_tokens=32)

Importing the package loads nothing else: `load` and `Model` bring the native runtime
when they are first used, and `import_torch` brings PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmir.errors import LLMIRError

if TYPE_CHECKING:
    from llmir.model import Model, load
    from llmir.torch import import_torch

__version__ = "0.1.0"
__all__ = ["LLMIRError", "Model", "__version__", "import_torch", "load"]


def __getattr__(name: str) -> Any:
    """Import what is public when it is first used."""
    if name in ("Model", "load"):
        from llmir import model

        return getattr(model, name)
    if name == "import_torch":
        from llmir import torch

        return torch.import_torch
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
