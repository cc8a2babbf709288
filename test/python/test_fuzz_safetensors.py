# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A short run of the fuzzer of the safetensors reader, and that it can fail."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest

from conftest import RunProgram

FUZZER = Path(__file__).parent.parent / "fuzz" / "fuzz_safetensors.py"

# Where there is an atheris; elsewhere its absence is no mistake.
HAS_ATHERIS = (3, 11) <= sys.version_info < (3, 14) and (
    platform.machine(),
    platform.system(),
) == ("x86_64", "Linux")

pytestmark = pytest.mark.skipif(not HAS_ATHERIS, reason="no atheris for this machine")


def test_a_short_run(run_program: RunProgram, tmp_path: Path) -> None:
    result = run_program(
        FUZZER, "-runs=20000", "-seed=1", f"-artifact_prefix={tmp_path}/"
    )
    assert result.returncode == 0, result.stderr
    assert "Done 20000 runs" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "mistake",
    [
        # An exception that is not ours, and bytes that are not the tensor's.
        "safetensors._is_sizes = lambda value: isinstance(value, list)",
        "safetensors.File.bytes_between = lambda self, begin, end: self._map[:0]",
    ],
)
def test_it_finds_mistakes(
    run_program: RunProgram, tmp_path: Path, mistake: str
) -> None:
    code = (
        f"import sys\nsys.path.insert(0, {str(FUZZER.parent)!r})\n"
        "import fuzz_safetensors\nfrom llmir import safetensors\n"
        f"{mistake}\nsys.exit(fuzz_safetensors.main())\n"
    )
    # It ends with the first find, which takes more runs on some days than others.
    result = run_program(
        *("-c", code, "-runs=2000000", "-seed=1", f"-artifact_prefix={tmp_path}/")
    )
    assert result.returncode != 0
    assert "Uncaught Python exception" in result.stdout + result.stderr
    assert [path.name for path in tmp_path.iterdir() if "crash" in path.name]
