# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compiles a program that is a function of tensors, and calls it.

    function = llmir.compile_function(text, {"weight": weight})
    (y,) = function(x)

The program is `func.func @main`, of tensors and numbers, to tensors; its weights are
`llm.parameter "model"::"key"`, which are packed once, in memory. Sizes that it leaves
open are those of each call. Arrays of NumPy and tensors of PyTorch come and go without
a copy where their elements lie in order.
"""

from __future__ import annotations

import functools
import json
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from llmir import _native, dtypes
from llmir._codegen import CONSTANTS, FUNCTION, LAYOUT
from llmir.codegen import run_compiler
from llmir.errors import LLMIRError
from llmir.files import shown
from llmir.manifest import CODE
from llmir.sources import Bytes
from llmir.weights import pack_weights

# What safetensors calls the element types of NumPy and PyTorch. Bytes are bytes.
_STORED = {
    **{dtype.name: dtype.stored for dtype in (*dtypes.DTYPES, *dtypes.OTHERS)},
    "bool": "I8",
    "uint8": "I8",
}


@dataclass(frozen=True)
class TensorInMemory:
    """A weight that is not in a file.

    dtype: the safetensors format's name of the element type.
    shape: its sizes, outermost first.
    data: its bytes, [bytes] uint8, in row-major order.
    """

    dtype: str
    shape: tuple[int, ...]
    data: npt.NDArray[np.uint8]

    @property
    def bytes(self) -> int:
        """The size of the data."""
        return len(self.data)

    def read(self, begin: int, end: int) -> npt.NDArray[np.uint8]:
        """Return bytes [begin, end) of the data."""
        return self.data[begin:end]

    def release(self, begin: int, end: int) -> None:
        """Do nothing: the memory is its owner's."""


class Function:
    """A compiled function of tensors.

    It may be called from several threads; calls take turns on the CPUs.

    text: the program that it was compiled from.
    """

    def __init__(
        self,
        text: str,
        native: Any,
        runner: Any,
        pack: Callable[[Mapping[str, Any]], Bytes],
    ) -> None:
        """Wrap what `compile_function` has loaded.

        pack: makes the weights of parameters.
        """
        self.text = text
        self._native = native
        self._runner = runner
        self._pack = pack

    def __call__(self, *arguments: Any) -> list[Any]:
        """Return the results, for arrays of what the program takes, in order.

        They are PyTorch's tensors if any argument is, and NumPy's arrays otherwise.

        Raises LLMIRError if an argument is not what the function takes, if they do not
        fit each other, or if memory is short.
        """
        torch = sys.modules.get("torch")
        tensors = []
        if torch is not None:
            tensors = [one for one in arguments if isinstance(one, torch.Tensor)]
        if any(tensor.requires_grad for tensor in tensors):
            raise LLMIRError(
                "an argument requires a gradient, and a compiled function has none; "
                "call it with `tensor.detach()`"
            )
        return self.call(arguments, bool(tensors))

    def call(self, arguments: Sequence[Any], as_torch: bool) -> list[Any]:
        """Return the results as PyTorch's tensors or as NumPy's arrays."""
        try:
            results: list[Any] = self._native.call(arguments, as_torch)
        except (RuntimeError, ValueError) as error:
            raise LLMIRError(str(error)) from None
        return results

    def update(self, parameters: Mapping[str, Any]) -> None:
        """Take other values of the parameters, from the next call on.

        Raises LLMIRError as `compile_function` does.
        """
        self._native.set_weights(self._pack(parameters))

    @property
    def threads(self) -> int:
        """How many threads it runs on."""
        count: int = self._runner.threads
        return count


def compile_function(
    text: str,
    parameters: Mapping[str, Any] | None = None,
    *,
    threads: int = 0,
    target_cpu: str = "native",
    name: str | None = None,
) -> Function:
    """Compile a program that is a function of tensors.

    text: the program, `func.func @main`.
    parameters: NumPy's arrays or PyTorch's tensors, by the keys of `llm.parameter`.
        They are packed, and not needed after that.
    threads: how many threads it runs on; 0 means all CPUs. Functions with as many
        share them.
    target_cpu: what code is generated for.
    name: what messages call the program.

    Raises LLMIRError, with one sentence, if the program is refused, or a parameter is
    missing or of another shape or dtype.
    """
    runtime = _native.runtime()
    with tempfile.TemporaryDirectory(prefix="llmir-function-") as scratch:
        program = Path(scratch) / "program.mlir"
        program.write_text(text, encoding="utf-8")
        output = Path(scratch) / "function"
        output.mkdir()
        run_compiler(program, output, emit=FUNCTION, target_cpu=target_cpu, name=name)
        layout = json.loads((output / LAYOUT).read_text(encoding="utf-8"))
        constants = (output / CONSTANTS).read_bytes()

        def pack(given: Mapping[str, Any]) -> Bytes:
            entries, size = layout["weights"], layout["weights_bytes"]
            return pack_weights(entries, size, constants, _sources(entries, given))

        weights = pack(parameters or {})
        runner = shared_runner(threads)
        signature = layout["signature"]
        try:
            native = runtime.Function(
                str(output / CODE),
                weights,
                signature["inputs"],
                signature["results"],
                runner,
            )
        except (RuntimeError, ValueError) as error:
            raise LLMIRError(str(error)) from error
    return Function(text, native, runner, pack)


_lock = threading.Lock()


def shared_runner(threads: int) -> Any:
    """Return the threads and the memory that functions share."""
    with _lock:
        return _make_runner(threads)


@functools.cache
def _make_runner(threads: int) -> Any:
    try:
        return _native.runtime().FunctionRunner(threads)
    except (RuntimeError, ValueError) as error:
        raise LLMIRError(str(error)) from error


def _sources(
    entries: list[dict[str, Any]], parameters: Mapping[str, Any]
) -> dict[str, TensorInMemory]:
    """Return the weights that a layout names, compared with what it says of them."""
    sources: dict[str, TensorInMemory] = {}
    for entry in entries:
        if entry["kind"] == "constant":
            continue
        for source in entry["sources"]:
            key = source["key"]
            if key not in parameters:
                raise LLMIRError(
                    f"the program reads a parameter {shown(key)}, which is not given"
                )
            if key not in sources:
                sources[key] = _in_memory(key, parameters[key])
            found = sources[key]
            stored = dtypes.by_mlir(source["dtype"]).stored
            if (found.dtype, found.shape) != (stored, tuple(source["shape"])):
                raise LLMIRError(
                    f"the program reads parameter {shown(key)} as {stored} "
                    f"{list(source['shape'])}, and it is given as {found.dtype} "
                    f"{list(found.shape)}"
                )
    return sources


def _in_memory(key: str, value: Any) -> TensorInMemory:
    """Return the bytes of an array, copied only if they do not lie in order."""
    name = str(value.dtype).removeprefix("torch.")
    stored = _STORED.get(name)
    if stored is None:
        raise LLMIRError(f"parameter {shown(key)} is {name}, which no weight can be")
    shape = tuple(int(size) for size in value.shape)
    if isinstance(value, np.ndarray):
        data = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
    else:
        import torch

        data = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return TensorInMemory(stored, shape, data)
