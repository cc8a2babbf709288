# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The compiler's process: its death is a sentence with a command that runs."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from llmir.codegen import run_compiler
from llmir.errors import LLMIRError


def stand_in(directory: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> str:
    """Write a module that takes the compiler's place; return its name."""
    name = f"stand_in_{abs(hash(body))}"
    (directory / f"{name}.py").write_text(body)
    monkeypatch.setenv("PYTHONPATH", str(directory))
    return name


def run(directory: Path, module: str) -> None:
    """Compile a program with another compiler."""
    program = directory / "given.mlir"
    program.write_text("module {}\n")
    run_compiler(program, directory / "out", emit="asm", module=module)


def test_death_by_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = stand_in(
        tmp_path,
        monkeypatch,
        "import os, signal, sys\n"
        "print('LLVM ERROR: Cannot select', file=sys.stderr, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGSEGV)\n",
    )
    with pytest.raises(LLMIRError) as raised:
        run(tmp_path, module)
    message = str(raised.value)
    assert "\n" not in message
    assert "the compiler died of SIGSEGV (LLVM ERROR: Cannot select)" in message
    command = shlex.split(message.partition("reproduce it with: ")[2])
    kept = next(Path(word) for word in command if word.endswith("program.mlir"))
    assert kept.read_text() == "module {}\n"
    assert subprocess.run(command, capture_output=True, check=False).returncode == -11


def test_an_exception_is_a_bug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = stand_in(tmp_path, monkeypatch, "raise KeyError('hole')\n")
    with pytest.raises(LLMIRError, match=r"failed with status 1 \(KeyError: 'hole'\)"):
        run(tmp_path, module)


def test_a_refusal_is_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = stand_in(tmp_path, monkeypatch, "import sys\nsys.exit('no such thing')\n")
    with pytest.raises(LLMIRError, match=r"^no such thing$"):
        run(tmp_path, module)


def test_reproducers_name_a_file_that_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = stand_in(
        tmp_path,
        monkeypatch,
        "import sys\nsys.exit('failed; reproduce it with: llmir-opt ' + sys.argv[1])\n",
    )
    with pytest.raises(LLMIRError) as raised:
        run(tmp_path, module)
    kept = re.search(r"llmir-opt (\S+)", str(raised.value))
    assert kept
    assert Path(kept[1]) != tmp_path / "given.mlir"
    assert Path(kept[1]).read_text() == "module {}\n"
