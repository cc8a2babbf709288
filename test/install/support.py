# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the tests of installed packages share: where things are, and how to run them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
BUILD = ROOT / "build" / "release"
MODEL = ROOT / "examples" / "stdlib-llama"
# In the build folder, not in a new one each time, so that ccache knows the paths.
WORK = ROOT / "build" / "install-tests"

CCACHE = {
    "CCACHE_NOHASHDIR": "1",
    "CMAKE_C_COMPILER_LAUNCHER": "ccache",
    "CMAKE_CXX_COMPILER_LAUNCHER": "ccache",
}
CLANG = ("-DCMAKE_C_COMPILER=clang-18", "-DCMAKE_CXX_COMPILER=clang++-18")


def run(
    *command: object, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> str:
    """Run a program and return its standard output; fail with all it said."""
    result = attempt(*command, env=env, cwd=cwd)
    assert result.returncode == 0, (
        f"{' '.join(map(str, command))}\n{result.stdout}\n{result.stderr}"
    )
    return result.stdout


def attempt(
    *command: object, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program that may fail, without this checkout in its PYTHONPATH."""
    inherited = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run(
        [str(part) for part in command],
        env={**inherited, **(env or {})},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
    )


def run_python(*arguments: object) -> str:
    """Run Python with the package of the build tree."""
    return run(sys.executable, *arguments, env={"PYTHONPATH": str(BUILD / "python")})


def empty(path: Path) -> Path:
    """Return `path`, which does not exist then; its parent does."""
    shutil.rmtree(path, ignore_errors=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
