# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Decides the dtypes of a model, tensor by tensor, before anything is written.

A weight is used as the file has it, or widened exactly, or refused. Each tensor
that an importer names is looked up here, and its shape in the file compared with
the one that the config leads to. In the end a tensor that was not named is refused
where it belongs to a part of the model that was, for it would have changed the
result.
"""

from __future__ import annotations

from llmir import dtypes
from llmir.dtypes import DType
from llmir.errors import LLMIRError
from llmir.importer.config import Config
from llmir.importer.types import TensorType
from llmir.safetensors import Checkpoint

# Written by old versions of Transformers; they follow from the config.
DERIVED = ("rotary_emb.inv_freq",)


class Weights:
    """The weights of a model directory, or of one that has a config only.

    dtype: the model's own dtype, in which its cache keeps keys and values. It is the
        `requested` one, or, for `auto`, that of the tensor `key` in the files, or,
        without files, the config's.

    A requested dtype is that of every tensor; with `auto`, each has its own.
    """

    def __init__(
        self, config: Config, checkpoint: Checkpoint | None, requested: str, key: str
    ) -> None:
        """Settle the model's dtype."""
        self._config = config
        self._checkpoint = checkpoint
        self._requested = None if requested == "auto" else dtypes.by_name(requested)
        self._read: set[str] = set()
        if self._requested is not None:
            self.dtype = self._requested
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
        return files[first].same(files[second])

    def types(self, key: str, shape: tuple[int, ...]) -> tuple[TensorType, TensorType]:
        """Return the types of the tensor `key`: as computed with, and as stored.

        Raises LLMIRError if the files lack it, have it in another shape, or have
        it in a dtype that would have to be rounded.
        """
        self._read.add(key)
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
        used = self._requested or stored
        if not dtypes.widens(stored, used):
            raise LLMIRError(
                f"tensor {key} is {stored.name}, and using it in {used.name} would "
                f"round it; use --dtype=auto or --dtype={dtypes.FLOAT32.name}"
            )
        return TensorType(shape, used.mlir), TensorType(shape, stored.mlir)

    def check_all_read(self, layer_prefix: str, num_layers: int) -> None:
        """Refuse tensors that nothing read, of layers and of modules that were read.

        Such a tensor, the bias of a product or the weight of one more norm, shows that
        the model is not what its config says. What stands apart, as the layers of a
        draft model do, is no concern of the program's.
        """
        parts = tuple(f"{layer_prefix}{number}." for number in range(num_layers))
        modules = {key.rpartition(".")[0] for key in self._read}
        for key in self._checkpoint or ():
            if key in self._read or key.endswith(DERIVED):
                continue
            if key.startswith(parts) or key.rpartition(".")[0] in modules:
                raise LLMIRError(
                    f"tensor {key} is part of the model, and {self._config.path} says "
                    "nothing of it; LLMIR does not know what it would change"
                )
