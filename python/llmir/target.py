# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The machine that code is generated for: a CPU to tune for, and its features.

`native` is what the CPU that compiles reports. The x86-64 levels are the ones that
the psABI defines, for artifacts that move between machines; those below v3 are
missing because they have no fused multiply-add, which the generated code needs. An
artifact lists the features that its code may use, and a machine without one of them
refuses it.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass

from llmir import _native
from llmir.errors import LLMIRError

_V2 = ("cx16", "popcnt", "sahf", "sse3", "sse4.1", "sse4.2", "ssse3")
_V3 = ("avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe", "xsave")
_V4 = ("avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl", "evex512")

X86_LEVELS = {
    "x86-64-v3": _V2 + _V3,
    "x86-64-v4": _V2 + _V3 + _V4,
}


@dataclass(frozen=True)
class Target:
    """A CPU to tune for, as LLVM names it, and the features that code may use."""

    arch: str
    cpu: str
    features: tuple[str, ...]

    @property
    def feature_string(self) -> str:
        """The features as LLVM reads them, `+avx,+avx2`."""
        return ",".join(f"+{feature}" for feature in self.features)


def find_target(cpu: str) -> Target:
    """Return the target called `cpu`; LLMIRError if there is none."""
    arch = platform.machine()
    if cpu == "native":
        # The features that the runtime will look for when it loads the code.
        features = _native.runtime().cpu_features()
        return Target(arch, _native.compiler().host_cpu(), tuple(features))
    levels = X86_LEVELS if arch == "x86_64" else {}
    if cpu not in levels:
        raise LLMIRError(
            f"unknown target CPU {cpu}; there are " + ", ".join(["native", *levels])
        )
    return Target(arch, cpu, levels[cpu])
