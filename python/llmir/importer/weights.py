# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Decides the dtypes of a model, tensor by tensor, before anything is written.

A weight is used as the file has it, or widened exactly, or refused. Each tensor
that an importer names is looked up here, and its shape in the file compared with
the one that the config leads to.
"""

from __future__ import annotations

import numpy as np

from llmir import dtypes
from llmir.dtypes import DType
from llmir.errors import LLMIRError
from llmir.importer.config import Config
from llmir.importer.types import TensorType
from llmir.safetensors import Checkpoint


class Weights:
    """The weights of a model directory, or of one that has a config only.

    dtype: what the model computes in. `requested` is `auto` or its name; `auto`
        is the dtype of the tensor `key` in the files, or, without files, the
        config's.
    """

    def __init__(
        self, config: Config, checkpoint: Checkpoint | None, requested: str, key: str
    ) -> None:
        """Settle the model's dtype."""
        self._config = config
        self._checkpoint = checkpoint
        if requested != "auto":
            self.dtype = dtypes.by_name(requested)
        elif checkpoint is not None:
            self.dtype = dtypes.by_stored(checkpoint[key].dtype, key)
        else:
            self.dtype = self._configured()

    def _configured(self) -> DType:
        # transformers 5 writes `dtype`, the versions before it `torch_dtype`.
        default = self._config.text("torch_dtype", dtypes.FLOAT32.name)
        return dtypes.by_name(self._config.text("dtype", default))

    def same(self, first: str, second: str) -> bool:
        """Whether two tensors of the files, if both are there, are equal."""
        files = self._checkpoint
        if files is None or first not in files or second not in files:
            return True
        left, right = files[first], files[second]
        return (left.dtype, left.shape) == (right.dtype, right.shape) and bool(
            np.array_equal(left.data, right.data)
        )

    def types(self, key: str, shape: tuple[int, ...]) -> tuple[TensorType, TensorType]:
        """Return the types of the tensor `key`: as computed with, and as stored.

        Raises LLMIRError if the files lack it, have it in another shape, or have
        it in a dtype that would have to be rounded.
        """
        used = TensorType(shape, self.dtype.mlir)
        if self._checkpoint is None:
            stored = self._configured()
        else:
            tensor = self._checkpoint[key]
            if tensor.shape != shape:
                raise LLMIRError(
                    f"tensor {key} in {tensor.file.path} has the shape "
                    f"{list(tensor.shape)}, and {self._config.path.name} leads to "
                    f"{list(shape)}"
                )
            stored = dtypes.by_stored(tensor.dtype, key)
        if stored.bytes > self.dtype.bytes:
            raise LLMIRError(
                f"tensor {key} is {stored.name}, and using it in {self.dtype.name} "
                f"would round it; use --dtype={stored.name}"
            )
        return used, TensorType(shape, stored.mlir)
