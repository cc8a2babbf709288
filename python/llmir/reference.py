# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs the reference meaning of programs of the `llm` dialect on NumPy arrays.

A program is lowered by `convert-llm-to-linalg` and then by upstream passes, compiled
in this process, and called through MLIR's C interface. So what is compared here is
what the dialect says, with none of LLMIR's own kernels or optimizations in between.
LLVM ends the process on an error of its own: what runs programs of others does it in
a child (`llmir._verify`).
"""

from __future__ import annotations

import ctypes
import math
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from llmir import _native
from llmir.errors import LLMIRError
from llmir.target import find_target

Array = npt.NDArray[Any]

# The pipeline llm-to-linalg less its clean-up, which merges uninitialized tensors: a
# buffer for two of them takes copies of slices, for which MLIR calls a library.
TO_LINALG = "convert-llm-to-linalg,func.func(convert-elementwise-to-linalg)"
# Copies of a buffer to itself show only once its views are common.
BUFFERIZE = (
    "one-shot-bufferize{bufferize-function-boundaries allow-return-allocs-from-loops "
    "function-boundary-type-conversion=identity-layout-map},"
    "canonicalize,cse,canonicalize"
)
# What the CPU runs where there is no kernel.
INSTRUCTIONS = {"absf", "copysign", "floor", "fma", "sqrt"}
VECTORIZE = "func.func(llm-vectorize-rows,llm-lower-vector-math)"
TO_LLVM = (
    "func.func(llvm-request-c-wrappers,convert-linalg-to-loops),"
    "expand-strided-metadata,lower-affine,func.func(llm-expand-bf16),"
    "convert-scf-to-cf,func.func(convert-math-to-llvm),convert-math-to-libm,"
    "convert-vector-to-llvm,finalize-memref-to-llvm,convert-func-to-llvm,"
    "convert-cf-to-llvm,arith-expand,convert-arith-to-llvm,convert-index-to-llvm,"
    "canonicalize,"
    "reconcile-unrealized-casts"
)

# NumPy has no bfloat16: its bits travel as integers. The third number is how far
# rounding to nearest moves a number, relative to it.
DTYPES: dict[str, tuple[type, float]] = {
    "f64": (np.float64, 2.0**-53),
    "f32": (np.float32, 2.0**-24),
    "f16": (np.float16, 2.0**-11),
    "bf16": (np.uint16, 2.0**-8),
    "i64": (np.int64, 0.0),
    "i32": (np.int32, 0.0),
    "i16": (np.int16, 0.0),
    "i8": (np.int8, 0.0),
    "i1": (np.bool_, 0.0),
}

# What stands alone is passed by value.
SCALARS: dict[str, Any] = {
    "index": ctypes.c_int64,
    "i64": ctypes.c_int64,
    "i32": ctypes.c_int32,
    "i1": ctypes.c_bool,
    "f64": ctypes.c_double,
    "f32": ctypes.c_float,
}

_MEMREF = re.compile(r"memref<((?:[0-9?]+x)*)(\w+)>")
_TYPE = re.compile(r"memref<[^>]*>|(?<![\w%.])(?:index|[if]\d+|bf16)\b")


def store(values: npt.ArrayLike, dtype: str) -> Array:
    """Round to nearest, ties to even, and return an array of `dtype`."""
    exact = np.asarray(values)
    if dtype != "bf16":
        # A copy, since programs may write to their arguments.
        return np.array(exact, DTYPES[dtype][0], order="C")
    bits = np.ascontiguousarray(exact, np.float32).view(np.uint32)
    bits = bits.astype(np.uint64)
    rounded: Array = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
    return rounded


def load(array: Array, dtype: str) -> npt.NDArray[np.float64]:
    """Return the numbers of an array of `dtype`."""
    if dtype == "bf16":
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float64)


@dataclass(frozen=True)
class MemRef:
    """The type of a buffer; an extent of None is known only when the program runs."""

    shape: tuple[int | None, ...]
    dtype: str

    @staticmethod
    def find_all(text: str) -> list[MemRef | str]:
        """Return the types in a list of arguments or results; a scalar's by name."""
        found: list[MemRef | str] = []
        for match in _TYPE.finditer(text):
            memref = _MEMREF.fullmatch(match[0])
            if match[0] in SCALARS:
                found.append(match[0])
                continue
            if memref is None or memref[2] not in DTYPES:
                raise LLMIRError(f"{match[0]} is nothing that NumPy has")
            sizes = memref[1].split("x")[:-1]
            shape = tuple(None if size == "?" else int(size) for size in sizes)
            found.append(MemRef(shape, memref[2]))
        return found

    @property
    def descriptor(self) -> type[ctypes.Structure]:
        """MLIR's struct for a buffer of this rank."""
        rank = len(self.shape)
        fields: list[tuple[str, Any]] = [
            ("allocated", ctypes.c_void_p),
            ("aligned", ctypes.c_void_p),
            ("offset", ctypes.c_int64),
        ]
        if rank:
            sizes = ctypes.c_int64 * rank
            fields += [("sizes", sizes), ("strides", sizes)]
        return type(f"MemRef{rank}", (ctypes.Structure,), {"_fields_": fields})

    def describe(self, array: Array) -> ctypes.Structure:
        """Return the descriptor of an array, which must be of this type."""
        assert array.dtype == DTYPES[self.dtype][0], (array.dtype, self)
        assert array.flags.c_contiguous
        assert array.ndim == len(self.shape), (array.shape, self)
        for extent, size in zip(self.shape, array.shape, strict=True):
            assert extent in (None, size), (array.shape, self)
        values: list[Any] = [array.ctypes.data, array.ctypes.data, 0]
        if array.ndim:
            sizes = ctypes.c_int64 * array.ndim
            strides = [math.prod(array.shape[i + 1 :]) for i in range(array.ndim)]
            values += [sizes(*array.shape), sizes(*strides)]
        return self.descriptor(*values)

    def read(self, descriptor: Any) -> Array:
        """Return a copy of what a descriptor describes."""
        dtype = np.dtype(DTYPES[self.dtype][0])
        shape = tuple(descriptor.sizes) if self.shape else ()
        strides = tuple(descriptor.strides) if self.shape else ()
        address = descriptor.aligned + descriptor.offset * dtype.itemsize
        span = 1 + sum(
            (size - 1) * stride for size, stride in zip(shape, strides, strict=True)
        )
        if math.prod(shape) == 0:
            return np.empty(shape, dtype)
        memory = (ctypes.c_char * (span * dtype.itemsize)).from_address(address)
        flat = np.frombuffer(memory, dtype)
        steps = tuple(stride * dtype.itemsize for stride in strides)
        array: Array = np.lib.stride_tricks.as_strided(flat, shape, steps).copy()
        return array


class Program:
    """A program of the `llm` dialect, compiled by its reference meaning.

    text: the program.
    passes: passes to run before buffers are assigned.
    vectors: whether to take the code that the CPU pipeline generates instead of loops.

    weights, weights_bytes: after `llm-assign-parameters`, what stands where.
    """

    def __init__(self, text: str, passes: str = "", *, vectors: bool = False) -> None:
        """Compile a program."""
        compiler = _native.compiler()
        module = compiler.Module.parse(text)
        module.run(TO_LINALG)
        self.linalg = str(module)
        if passes:
            module.run(passes)
            self.weights = module.weights()
            self.weights_bytes = module.weights_bytes
        module.run(BUFFERIZE)
        self._signatures = {
            name: (MemRef.find_all(arguments), MemRef.find_all(results or ""))
            for name, arguments, results in re.findall(
                r"func\.func (?:private )?@(\w+)\((.*?)\)(?: -> (.*))? {\n",
                str(module),
            )
        }
        if vectors:
            module.run(VECTORIZE)
            code = str(module)
            # All of it became vectors, and nothing is left to a library.
            assert "linalg." not in code
            assert "memref.copy" not in code
            assert set(re.findall(r"math\.(\w+)", code)) <= INSTRUCTIONS
        else:
            module.expand_copies()
        module.run(TO_LLVM)
        target = find_target("native")
        code = module.emit_object(target.cpu, target.feature_string)
        # The code calls the mathematical functions of C.
        ctypes.CDLL("libm.so.6", ctypes.RTLD_GLOBAL)
        with tempfile.TemporaryDirectory(prefix="llmir-") as directory:
            unlinked, library = Path(directory, "code.o"), Path(directory, "code.so")
            unlinked.write_bytes(code)
            compiler.link_shared(str(unlinked), str(library), allow_undefined=True)
            self._library = ctypes.CDLL(str(library))

    def call(self, name: str, *arguments: Any) -> list[Array]:
        """Call a function; return copies of its results.

        Arguments may be changed: MLIR takes the caller's buffers for its own.
        """
        types, results = self._signatures[name]
        assert len(arguments) == len(types)
        kept: list[Any] = []
        for argument, type_ in zip(arguments, types, strict=True):
            if isinstance(type_, str):
                kept.append(SCALARS[type_](argument))
            else:
                assert isinstance(argument, np.ndarray)
                kept.append(ctypes.pointer(type_.describe(argument)))
        function = getattr(self._library, f"_mlir_ciface_{name}")
        function.restype = None
        if len(results) == 1 and isinstance(results[0], str):
            # One scalar is returned, everything else written.
            function.restype = SCALARS[results[0]]
            return [np.array(function(*kept))]
        fields = [
            SCALARS[type_] if isinstance(type_, str) else type_.descriptor
            for type_ in results
        ]
        members = {"_fields_": [(f"result{i}", each) for i, each in enumerate(fields)]}
        returned = type("Results", (ctypes.Structure,), members)()
        function(*([ctypes.byref(returned)] if results else []), *kept)
        values = [getattr(returned, f"result{i}") for i in range(len(results))]
        return [
            np.array(value) if isinstance(type_, str) else type_.read(value)
            for type_, value in zip(results, values, strict=True)
        ]

    def run(self, *arguments: Any, name: str = "main") -> Array:
        """Call a function of one result."""
        (result,) = self.call(name, *arguments)
        return result


@dataclass
class Cache:
    """The tensors of a paged cache, in the order of --convert-llm-to-linalg.

    pools: keys and values, and then the scales of both and the zero points of both,
        as far as there are any.
    """

    pools: list[Array]
    table: Array
    lengths: Array
    used: Array

    @staticmethod
    def empty(
        dtype: str,
        layers: int,
        kv_heads: int,
        head_dim: int,
        block_size: int,
        max_seq_len: int,
        *,
        blocks: int,
        sequences: int,
    ) -> Cache:
        """Return an empty cache; its pools hold numbers that nobody may read."""
        shape = (layers, blocks, block_size, kv_heads, head_dim)
        columns = -(-max_seq_len // block_size)
        held = "i8" if dtype == "i4" else dtype
        much = 99 if held == "i8" else 1e4
        pools = [store(np.full(shape, sign * much), held) for sign in (1, -1)]
        if held == "i8":
            pools += [store(np.full((*shape[:-1], 1), 1e4), "f16") for _ in range(2)]
        if dtype == "i4":
            pools += [np.full((*shape[:-1], 1), 99, np.int8) for _ in range(2)]
        return Cache(
            pools,
            np.full((sequences, columns), -1, np.int32),
            np.zeros((layers, sequences), np.int32),
            np.zeros((), np.int32),
        )

    @staticmethod
    def of(tensors: Sequence[Array]) -> Cache:
        """Return the cache that a call has returned."""
        *pools, table, lengths, used = tensors
        return Cache(pools, table, lengths, used)

    @property
    def tensors(self) -> list[Array]:
        """Copies of the tensors, as arguments of a call."""
        tensors = [*self.pools, self.table, self.lengths, self.used]
        return [tensor.copy() for tensor in tensors]
