# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the machine can do at most, measured beside every figure."""

from __future__ import annotations

from llmir import _native

# More than any cache holds, and a large model's weights in size.
BYTES = 3 << 30
# What is multiplied at each peak.
PEAKS = ("f32", "bf16", "int8")


class Limits:
    """Memory to read, and the runtime's loops."""

    def __init__(self) -> None:
        """Take the memory."""
        self.runtime = _native.runtime()
        self.memory = self.runtime.Bandwidth(BYTES)

    def bandwidth(self, threads: int) -> float:
        """Return the bytes that memory yields, in 10^9 a second."""
        return float(self.memory.measure(threads)) / 1e9

    def peak(self, kind: str, threads: int) -> float:
        """Return the operations in registers, in 10^9 a second.

        Without such an instruction, products are f32 products.
        """
        measured = self.runtime.measure_peak(kind, threads)
        if not measured:
            measured = self.runtime.measure_peak("f32", threads)
        return float(measured) / 1e9
