# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What this machine can do: its CPU, its memory, and how each dtype runs on it.

It answers before a model is compiled or copied what the loader would answer after:
which features are missing, which kernels run, how much memory there is.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from llmir import _native, dtypes
from llmir.errors import LLMIRError
from llmir.safetensors import BITS
from llmir.target import X86_LEVELS

# The lowest level of kernels whose products take a dtype as it is stored. Below it
# numbers are widened to float32 in registers, which is exact.
NATIVE_FROM = {"f32": "portable", "bf16": "avx512_bf16"}


def describe_machine() -> dict[str, Any]:
    """Return the facts of this machine, as `llmir models --hardware --json` does.

    cpu: name, arch, features and the cores that this process may use.
    kernels: the level of kernels in use, the highest that the CPU has, and, for each
        level, the features that are missing.
    memory: total and available bytes, by the limits of the control group too.
    dtypes: how each is used with the kernels in use: `native`, `widened in
        registers`, or `refused`.
    targets: for each value of --target-cpu, the features that this CPU lacks to run
        what is compiled for it.

    Raises LLMIRError if LLMIR_CPU_LEVEL asks for what the CPU lacks.
    """
    runtime = _native.runtime()
    features = runtime.cpu_features()
    try:
        in_use = runtime.cpu_level()
    except RuntimeError as error:
        raise LLMIRError(str(error)) from error
    missing: dict[str, list[str]] = {}
    lacking: list[str] = []
    for level, needs in runtime.cpu_levels():
        lacking = lacking + [name for name in needs if name not in features]
        missing[level] = lacking
    total, available = runtime.memory()
    return {
        "cpu": {
            "name": _cpu_name(),
            "arch": platform.machine(),
            "cores": len(os.sched_getaffinity(0)),
            "features": features,
        },
        "kernels": {"in_use": in_use, "missing_features": missing},
        "memory": {"total_bytes": total, "available_bytes": available},
        "dtypes": {name: how_used(name, in_use) for name in sorted(BITS)},
        "targets": {
            "native": [],
            **{
                name: [feature for feature in needs if feature not in features]
                for name, needs in X86_LEVELS.items()
                if platform.machine() == "x86_64"
            },
        },
    }


def how_used(stored: str, level: str) -> str:
    """Return how kernels of a level use weights that safetensors calls `stored`."""
    levels = [name for name, _ in _native.runtime().cpu_levels()]
    for dtype in dtypes.DTYPES:
        if dtype.stored == stored:
            first = NATIVE_FROM.get(dtype.mlir)
            if first in levels and levels.index(level) >= levels.index(first):
                return "native"
            return "widened in registers"
    return "refused"


def report(machine: dict[str, Any]) -> str:
    """Return the facts of a machine as text for people."""
    shown = _native.runtime().format_bytes
    cpu, memory, kernels = machine["cpu"], machine["memory"], machine["kernels"]
    by_use: dict[str, list[str]] = {}
    for name, use in machine["dtypes"].items():
        by_use.setdefault(use, []).append(name)
    lines = [
        f"CPU: {cpu['name']} ({cpu['arch']}), {cpu['cores']} cores",
        f"features: {' '.join(cpu['features'])}",
        f"memory: {shown(memory['available_bytes'])} available of "
        f"{shown(memory['total_bytes'])}",
        f"kernels in use: {kernels['in_use']}",
    ]
    for level, missing in kernels["missing_features"].items():
        lines.append(f"    {level}: {_verdict(missing)}")
    lines.append("weights:")
    for use in ("native", "widened in registers", "refused"):
        if use in by_use:
            lines.append(f"    {use}: {', '.join(by_use[use])}")
    lines.append("--target-cpu, and whether this CPU runs the result:")
    for name, missing in machine["targets"].items():
        lines.append(f"    {name}: {_verdict(missing)}")
    return "\n".join(lines)


def _verdict(missing: list[str]) -> str:
    return f"no, it lacks {', '.join(missing)}" if missing else "yes"


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.processor() or "unknown"
