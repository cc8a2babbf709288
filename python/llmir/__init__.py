# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""LLMIR: compiles Hugging Face language models to native code, and runs them.

    import llmir
    model = llmir.load("model.llmir", threads=2)
    logits = model.forward([1, 2, 3])
    ids = model.generate([1, 2, 3], max_new_tokens=32)

    cache = llmir.PagedKVCache(
        llmir.KVCacheConfig(num_layers=32, num_heads=32, head_dim=128)
    )

    program = llmir.import_torch(module, example_inputs)
    function = llmir.compile_function(program.text, program.parameters)

Importing the package loads nothing else: `load`, `Model` and `PagedKVCache` bring the
native runtime when they are first used, `compile_function` the compiler too, and
`import_torch` brings PyTorch and torch-mlir.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from llmir.errors import LLMIRError

if TYPE_CHECKING:
    from llmir.function import Function, compile_function
    from llmir.kv_cache import KVCacheConfig, KVCacheLayer, KVCacheStats, PagedKVCache
    from llmir.llm import LLM
    from llmir.llm_engine import LLMEngine
    from llmir.memory import MemoryEstimate, ModelMemoryEstimator
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
    "KVCacheConfig",
    "KVCacheLayer",
    "KVCacheStats",
    "LLMIRError",
    "MemoryEstimate",
    "Model",
    "RequestOutput",
    "SamplingParams",
    "ModelMemoryEstimator",
    "PagedKVCache",
    "__version__",
    "compile_function",
    "import_torch",
    "load",
]

# Where the names are that are imported when they are first used.
_MODULES = {
    "CompletionOutput": "llmir.outputs",
    "Function": "llmir.function",
    "KVCacheConfig": "llmir.kv_cache",
    "KVCacheLayer": "llmir.kv_cache",
    "KVCacheStats": "llmir.kv_cache",
    "LLM": "llmir.llm",
    "LLMEngine": "llmir.llm_engine",
    "MemoryEstimate": "llmir.memory",
    "Model": "llmir.model",
    "ModelMemoryEstimator": "llmir.memory",
    "PagedKVCache": "llmir.kv_cache",
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
