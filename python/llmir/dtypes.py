# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The element types of weights, under each of the names they go by.

A config says `bfloat16`, a safetensors file `BF16`, MLIR `bf16`. This table is the
only place that translates, and the only one that knows what is supported.
"""

from __future__ import annotations

from dataclasses import dataclass

from llmir.errors import LLMIRError


@dataclass(frozen=True)
class DType:
    """An element type that weights may have.

    name: the name of Transformers and of the command line, `bfloat16`.
    stored: the name of the safetensors format, `BF16`.
    mlir: the name of MLIR and of the runtime, `bf16`.
    bytes: the size of one element.
    """

    name: str
    stored: str
    mlir: str
    bytes: int


FLOAT32 = DType("float32", "F32", "f32", 4)
BFLOAT16 = DType("bfloat16", "BF16", "bf16", 2)
FLOAT16 = DType("float16", "F16", "f16", 2)
DTYPES = (FLOAT32, BFLOAT16, FLOAT16)

# What functions have besides, as they are: the buffers of a PyTorch module.
OTHERS = (
    DType("float64", "F64", "f64", 8),
    DType("int64", "I64", "i64", 8),
    DType("int32", "I32", "i32", 4),
    DType("int16", "I16", "i16", 2),
    DType("int8", "I8", "i8", 1),
)


def widens(stored: DType, used: DType) -> bool:
    """Whether each number of `stored` is also one of `used`, and so exact there."""
    return used in (stored, FLOAT32)


def by_name(name: str) -> DType:
    """Return the dtype that Transformers calls `name`, with or without `torch.`."""
    for dtype in DTYPES:
        if dtype.name == name.removeprefix("torch."):
            return dtype
    raise LLMIRError(
        f"dtype {name} is not supported; LLMIR runs "
        + _listed([dtype.name for dtype in DTYPES])
    )


def by_mlir(name: str) -> DType:
    """Return the dtype that MLIR calls `name`."""
    for dtype in (*DTYPES, *OTHERS):
        if dtype.mlir == name:
            return dtype
    raise LLMIRError(f"no weight can have the element type {name}")


def by_stored(name: str, tensor: str) -> DType:
    """Return the dtype that safetensors calls `name`; `tensor` is who has it."""
    for dtype in DTYPES:
        if dtype.stored == name:
            return dtype
    raise LLMIRError(
        f"tensor {tensor} is stored as {name}, which is not supported; LLMIR reads "
        + _listed([dtype.stored for dtype in DTYPES])
    )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:-1]) + " and " + names[-1]
