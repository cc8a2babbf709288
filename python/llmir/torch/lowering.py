# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The part that torch-mlir does, and what is said when it cannot.

torch-mlir's own entry points print what goes wrong to the process's stderr and leave
files behind. So its pipelines are run from here, with what they report collected: a
failure is one sentence with the op of PyTorch, the line of the model that has it, and
the command that reproduces it, which needs no program but this package.
"""

from __future__ import annotations

import re
import shlex
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

import torch
from torch_mlir import ir
from torch_mlir.dialects import torch as torch_dialect
from torch_mlir.extras.fx_importer import FxImporter
from torch_mlir.passmanager import PassManager

from llmir import _native
from llmir.errors import LLMIRError
from llmir.torch.translate import UnknownFormError, line_in, write_function

PIPELINES = (
    "builtin.module(func.func(torch-match-quantized-custom-ops),"
    "torchdynamo-export-to-torch-backend-pipeline"
    "{backend-legal-ops=aten.flatten.using_ints,aten.unflatten.int})",
    "builtin.module(torch-backend-to-linalg-on-tensors-backend-pipeline"
    "{allow-non-finites=true})",
)


class LoweringError(Exception):
    """torch-mlir or the translation could not go on.

    what: one clause.
    line: of the model's code, `file:line`, or nothing.
    """

    def __init__(self, what: str, line: str) -> None:
        """Keep both."""
        super().__init__(what)
        self.what = what
        self.line = line

    @property
    def sentence(self) -> str:
        """What has happened, and where."""
        return f"{self.what} at {self.line}" if self.line else self.what


def lower(graph: torch.fx.Graph, keys: Mapping[int, str]) -> str:
    """Return a graph of ATen ops as text of MLIR 18, parsed and verified.

    keys: of the placeholders that are weights, by place, the key.

    Raises LLMIRError.
    """
    try:
        return lower_module(_import(graph), keys)
    except LoweringError as failure:
        # A graph imports in a moment, so its text is made when it is needed only.
        text = _import(graph).operation.get_asm(enable_debug_info=True)
        file = tempfile.NamedTemporaryFile(  # noqa: SIM115
            "w", prefix="llmir-", suffix=".mlir", delete=False, encoding="utf-8"
        )
        with file:
            file.write(text)
        command = shlex.join([sys.executable, "-m", "llmir.torch", file.name])
        ops = _ops_at(graph, failure.line)
        where = f", which has {ops}" if ops else ""
        raise LLMIRError(
            f"{failure.sentence}{where}; reproduce this with: {command}"
        ) from failure


def lower_module(module: Any, keys: Mapping[int, str]) -> str:
    """Return a module of the torch dialect as text of MLIR 18.

    Raises LoweringError if torch-mlir or the translation cannot go on.
    """
    context = module.context
    try:
        for pipeline in PIPELINES:
            PassManager.parse(pipeline, context).run(module.operation)
    except ir.MLIRError as error:
        found = error.error_diagnostics
        message = found[0].message if found else str(error)
        raise LoweringError(
            f"torch-mlir cannot lower this ({message.splitlines()[0]})",
            line_in(found[0].location) if found else "",
        ) from None
    functions = [op.operation for op in module.body.operations]
    for function in functions:
        if function.name != "func.func":
            raise LoweringError(
                f"the op {function.name} of torch-mlir has no translation to MLIR 18",
                line_in(function.location),
            )
    (function,) = functions
    try:
        text = write_function(function, keys)
    except UnknownFormError as unknown:
        raise LoweringError(
            f"{unknown.what} of torch-mlir has no translation to MLIR 18",
            unknown.location,
        ) from None
    try:
        return str(_native.compiler().Module.parse(text))
    except ValueError as error:
        raise LoweringError(f"MLIR 18 refuses the translation ({error})", "") from error


def parse(text: str) -> Any:
    """Return a module of the torch dialect; LLMIRError if it is none."""
    context = ir.Context()
    torch_dialect.register_dialect(context)
    try:
        return ir.Module.parse(text, context)
    except ir.MLIRError as error:
        first = str(error).splitlines()[-1].strip()
        raise LLMIRError(f"this is no program of the torch dialect: {first}") from error


def line_of(node: torch.fx.Node) -> str:
    """Return the line of code that a node comes from, `file:line`, or nothing."""
    trace = node.meta.get("stack_trace") or ""
    frames = re.findall(r'File "([^"]+)", line (\d+)', trace)
    return ":".join(frames[-1]) if frames else ""


def _import(graph: torch.fx.Graph) -> Any:
    context = ir.Context()
    torch_dialect.register_dialect(context)
    importer = FxImporter(context=context)
    try:
        importer.import_stateless_graph(graph, func_name="main")
    # It raises whatever it comes across.
    except Exception as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise LLMIRError(f"torch-mlir cannot import the graph: {first}") from error
    return importer.module


def _ops_at(graph: torch.fx.Graph, line: str) -> str:
    """Return the ops of a graph that a line of code has made."""
    found = {
        str(node.target): None
        for node in graph.nodes
        if node.op == "call_function" and line and line_of(node) == line
    }
    # More than a few say nothing.
    return " or ".join(found) if len(found) <= 3 else ""
