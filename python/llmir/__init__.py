# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""LLMIR: compiles Hugging Face language models to native code, and runs them.

    import llmir
    model = llmir.load("model.llmir", threads=2)
    logits = model.forward([1, 2, 3])
    ids = model.generate([1, 2, 3], max_new_tokens=32)

    program = llmir.import_torch(module, example_inputs)
    function = llmir.compile_function(program.text, program.parameters)

Importing the package loads nothing else: `load` and `Model` bring the native
runtime when they are first used, `compile_function` the compiler too, and
`import_torch` brings PyTorch and torch-mlir.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from llmir.errors import LLMIRError

if TYPE_CHECKING:
    from llmir.function import Function, compile_function
    from llmir.llm import LLM
    from llmir.llm_engine import LLMEngine
    from llmir.model import Model, load
    from llmir.outputs import CompletionOutput, RequestOutput
    from llmir.sampling_params import SamplingParams
    from llmir.torch import import_torch

__version__ = "0.1.0"
__all__ = [
    "CompletionOutput",
    "LLM",
    "Function",
    "LLMEngine",
    "LLMIRError",
    "Model",
    "RequestOutput",
    "SamplingParams",
    "__version__",
    "compile_function",
    "import_torch",
    "load",
]

# Where the names are that are imported when they are first used.
_MODULES = {
    "CompletionOutput": "llmir.outputs",
    "Function": "llmir.function",
    "LLM": "llmir.llm",
    "LLMEngine": "llmir.llm_engine",
    "Model": "llmir.model",
    "RequestOutput": "llmir.outputs",
    "SamplingParams": "llmir.sampling_params",
    "compile_function": "llmir.function",
    "import_torch": "llmir.torch",
    "load": "llmir.model",
}


def __getattr__(name: str) -> Any:
    """Import what is not a name of this module when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
