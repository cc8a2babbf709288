# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A program that came from PyTorch: its text, its weights, its inputs and outputs."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils import _pytree as pytree

from llmir.errors import LLMIRError
from llmir.safetensors import SINGLE

PROGRAM = "model.mlir"

# What the safetensors format calls the dtypes that weights and buffers have.
STORED = {
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float64: "F64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.bool: "BOOL",
}


@dataclass(frozen=True)
class TensorSpec:
    """An argument or a result of a program.

    name: that of the graph.
    dtype: of the elements. An integer that is no tensor is torch.int64.
    shape: the sizes; None where a size is open. None for an integer that is no tensor,
        which is an `i64` in the program.
    """

    name: str
    dtype: torch.dtype
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True)
class Program:
    """A PyTorch module as a program of MLIR 18, and its weights.

    text: one function `@main`, of the user's inputs in the order of `forward`.
        Parameters and buffers are `llm.parameter "model"::"KEY"` at its top.
    parameters: the tensor of each KEY, which is its name in the module. These are the
        module's own tensors, not copies, and may lie in memory in any order. Tied
        weights have one key, and what the program does not read has none.
    inputs, outputs: the arguments and the results of `@main`.
    result: what `forward` returns, with the place of each output, and of what is no
        tensor the value itself.
    """

    text: str
    parameters: Mapping[str, torch.Tensor]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    result: Result

    def unflatten(self, results: Sequence[Any]) -> Any:
        """Return the results of `@main` in the form in which `forward` returns them."""
        return self.result.of(results)

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write `model.mlir` and `model.safetensors` into a new directory.

        The program is what `llmir-opt` takes. Raises LLMIRError if the directory
        exists, or cannot be written; then nothing is left of it.
        """
        path = Path(directory)
        if path.exists():
            raise LLMIRError(f"{path} exists already; give a new directory")
        try:
            unfinished = Path(
                tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent)
            )
        except OSError as error:
            raise LLMIRError(f"cannot write {path}: {error.strerror}") from error
        try:
            unfinished.chmod(0o777 & ~_umask())
            (unfinished / PROGRAM).write_text(self.text, encoding="utf-8")
            write_tensors(unfinished / SINGLE, self.parameters)
            unfinished.rename(path)
        except OSError as error:
            raise LLMIRError(f"cannot write {path}: {error.strerror}") from error
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


@dataclass(frozen=True)
class Result:
    """How what `forward` returns is made of the results of a program.

    leaves: of each leaf its place among the results, or None and the value itself.
    spec: what the leaves are leaves of.
    """

    leaves: tuple[tuple[int | None, Any], ...]
    spec: pytree.TreeSpec

    def of(self, results: Sequence[Any]) -> Any:
        """Put results into their places."""
        leaves = [
            value if place is None else results[place] for place, value in self.leaves
        ]
        return pytree.tree_unflatten(leaves, self.spec)


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write a safetensors file.

    Each tensor is copied by itself if it has to be laid out in order, so that this
    needs little memory.
    """
    header: dict[str, Any] = {}
    end = 0
    for key, tensor in tensors.items():
        begin, end = end, end + tensor.numel() * tensor.element_size()
        header[key] = {
            "dtype": STORED[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for tensor in tensors.values():
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            file.write(flat.view(torch.uint8).numpy().data)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
