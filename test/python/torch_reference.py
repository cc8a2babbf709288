# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs programs that came from PyTorch by their reference meaning, on tensors.

The passes are MLIR's own, but for the ops of the `llm` dialect, which raising makes: so
what is measured is the import, and what passes did to it.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Mapping

import numpy as np
import torch

from llmir import _native
from reference import Array, Program

# Copies of slices are a function of this library, which comes with MLIR 18.
RUNNER_UTILS = "/usr/lib/llvm-18/lib/libmlir_c_runner_utils.so.18.1"

# MLIR 18 has this only as a pattern that a transform applies.
DECOMPOSE_CONCAT = """
module attributes {transform.with_named_sequence} {
transform.named_sequence @__transform_main(
    %module: !transform.any_op {transform.readonly}) {
  %functions = transform.structured.match ops{["func.func"]} in %module
      : (!transform.any_op) -> !transform.any_op
  transform.apply_patterns to %functions {
    transform.apply_patterns.tensor.decompose_concat
  } : !transform.any_op
  transform.yield
}
"""


class ReferenceProgram:
    """A program whose `@main` takes and returns tensors."""

    def __init__(self, text: str, parameters: Mapping[str, torch.Tensor]) -> None:
        """Compile a program, and lay its weights out."""
        start, end = text.index("func.func"), text.rindex("}")
        module = _native.compiler().Module.parse(
            f"{DECOMPOSE_CONCAT}{text[start:end]}}}"
        )
        module.run("transform-interpreter")
        ctypes.CDLL(RUNNER_UTILS, ctypes.RTLD_GLOBAL)
        self.program = Program(
            str(module).replace(_sequence(str(module)), ""),
            passes="llm-assign-parameters",
        )
        self.weights = np.zeros(self.program.weights_bytes, np.int8)
        for entry in self.program.weights:
            (source,) = entry["sources"]
            tensor = parameters[source["key"]]
            data = _bytes(tensor.T if entry["transposed"] else tensor)
            assert len(data) == entry["bytes"]
            self.weights[entry["offset"] :][: len(data)] = data

    def __call__(self, *inputs: torch.Tensor) -> list[Array]:
        """Call `@main`; return copies of its results."""
        arrays = [value.contiguous().numpy().copy() for value in inputs]
        return self.program.call("main", *arrays, self.weights)


def _bytes(tensor: torch.Tensor) -> Array:
    flat = tensor.detach().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().view(np.int8)


def _sequence(text: str) -> str:
    """Return the part of a program that applies patterns."""
    start = text.index("transform.named_sequence")
    end = re.search(r"func\.func (private )?@", text)
    assert end is not None
    return text[start : end.start()]
