# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""PyTorch modules as programs; only this needs PyTorch and torch-mlir.

    program = llmir.import_torch(
        model,
        {"input_ids": ids},
        dynamic_shapes={"input_ids": {0: Dim.DYNAMIC, 1: Dim.DYNAMIC}},
    )
    program.save("imported")  # model.mlir and model.safetensors

Importing this makes `torch.compile(model, backend="llmir")` known too; where the
package is installed, PyTorch finds it without.

`llmir.torch.importer` takes modules and graphs, and `llmir.torch.forms` has the table
of what is translated. torch-mlir is loaded when something here is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from llmir.errors import LLMIRError

if TYPE_CHECKING:
    from llmir.torch.importer import import_exported, import_graph, import_torch
    from llmir.torch.program import Program, TensorSpec

__all__ = [
    "Program",
    "TensorSpec",
    "dynamo_backend",
    "import_exported",
    "import_graph",
    "import_torch",
]


def __getattr__(name: str) -> Any:
    """Import what is public when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    require()
    from llmir.torch import importer, program

    return getattr(program if name in ("Program", "TensorSpec") else importer, name)


def require() -> None:
    """Raise LLMIRError if PyTorch or torch-mlir is missing."""
    for name in ("torch", "torch_mlir"):
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise LLMIRError(
                f"the package {name.replace('_', '-')} cannot be loaded ({error}); "
                "programs come from PyTorch with `pip install 'llmir[torch]'`"
            ) from error


def dynamo_backend(graph_module: Any, example_inputs: Any, **keywords: Any) -> Any:
    """Compile a graph of Dynamo's, as `llmir.torch.backend.compile_dynamo` says."""
    require()
    from llmir.torch.backend import compile_dynamo

    return compile_dynamo(graph_module, example_inputs, **keywords)


def _register() -> None:
    """Make the backend known by its name, also where no package is installed."""
    try:
        from torch._dynamo.backends.registry import _COMPILER_FNS, register_backend
    except ImportError:
        return  # What needs PyTorch says so.
    if "llmir" not in _COMPILER_FNS:
        register_backend(dynamo_backend, name="llmir")


_register()
