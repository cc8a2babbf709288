# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The types of the `llm` dialect's programs, as values that print themselves."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class TensorType:
    """A tensor; an extent of None is known only when the program runs."""

    shape: tuple[int | None, ...]
    dtype: str

    def __str__(self) -> str:
        """Return MLIR's spelling, `tensor<?x64xf32>`."""
        sizes = ["?" if extent is None else str(extent) for extent in self.shape]
        return f"tensor<{'x'.join([*sizes, self.dtype])}>"

    def of(self, dtype: str) -> TensorType:
        """Return the type of the same shape with elements of `dtype`."""
        return replace(self, dtype=dtype)


@dataclass(frozen=True)
class CacheType:
    """The paged KV cache of all layers."""

    dtype: str
    layers: int
    kv_heads: int
    head_dim: int
    block_size: int
    max_seq_len: int

    # Written once at the top of a program; every use is this alias.
    ALIAS = "!kv"

    def __str__(self) -> str:
        """Return the alias."""
        return self.ALIAS

    @property
    def definition(self) -> str:
        """The line that defines the alias."""
        facts = (
            self.dtype,
            self.layers,
            self.kv_heads,
            self.head_dim,
            self.block_size,
            self.max_seq_len,
        )
        return f"{self.ALIAS} = !llm.paged_kv_cache<{', '.join(map(str, facts))}>"


@dataclass(frozen=True)
class IndexType:
    """A number of a layer or of a position."""

    def __str__(self) -> str:
        """Return MLIR's spelling."""
        return "index"


Type = TensorType | CacheType | IndexType


@dataclass(frozen=True)
class Value:
    """An SSA value: `name` without its `%`."""

    name: str
    type: Type

    def __str__(self) -> str:
        """Return MLIR's spelling, `%name`."""
        return f"%{self.name}"

    @property
    def tensor(self) -> TensorType:
        """The type of a value that is a tensor."""
        assert isinstance(self.type, TensorType), self
        return self.type
