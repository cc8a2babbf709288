# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The compiler's process: its death is a sentence with a command that runs."""

from __future__ import annotations

import errno
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from conftest import RunProgram
from llmir import _codegen
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


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n", "too little mem"),
        ("raise MemoryError('std::bad_alloc')\n", "not enough memory"),
        (
            "import os, sys\nprint('LLVM ERROR: out of memory', file=sys.stderr, "
            "flush=True)\nos.abort()\n",
            "not enough memory",
        ),
    ],
)
def test_lack_of_memory_is_no_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, message: str
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    with pytest.raises(LLMIRError, match=message) as raised:
        run(tmp_path, stand_in(tmp_path, monkeypatch, body))
    assert "bug" not in str(raised.value)
    assert "\n" not in str(raised.value)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError("std::bad_alloc"), "not enough memory"),
        (OSError(errno.ENOSPC, "No space left on device"), "cannot write out: No spa"),
        (OSError(errno.EACCES, "Permission denied", "a"), "a: Permission denied"),
    ],
)
def test_the_childs_own_errors_are_sentences(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    message: str,
) -> None:
    def fail(arguments: object) -> None:
        raise error

    monkeypatch.setattr(_codegen, "compile_program", fail)
    monkeypatch.setattr(sys, "argv", ["x", "a.mlir", "-o", "out", "--emit=asm"])
    assert _codegen.main() == _codegen.REFUSED
    assert re.fullmatch(f"[^\n]*{message}[^\n]*\n", capsys.readouterr().err)


def test_link_errors_name_no_temporary_file(
    run_program: RunProgram, tmp_path: Path
) -> None:
    (tmp_path / "model.o").write_text("not an object")
    result = run_program(
        "-c",
        "import sys\n"
        "from pathlib import Path\n"
        "from llmir import _codegen, _native, errors\n"
        "here = Path(sys.argv[1])\n"
        "link = _native.compiler().link_shared\n"
        "try:\n"
        "    _codegen.link(link, here / 'model.o', here / 'model.so')\n"
        "except errors.LLMIRError as error:\n"
        "    print(error)\n",
        tmp_path,
    )
    assert "linking failed" in result.stdout, result.stderr
    assert "model.o" in result.stdout
    assert str(tmp_path) not in result.stdout


def test_an_exception_is_a_bug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = stand_in(tmp_path, monkeypatch, "raise KeyError('hole')\n")
    with pytest.raises(LLMIRError, match=r"failed with status 1 \(KeyError: 'hole'\)"):
        run(tmp_path, module)


def test_a_refusal_is_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = stand_in(
        tmp_path,
        monkeypatch,
        "import sys\nprint('no such thing', file=sys.stderr)\nsys.exit(3)\n",
    )
    with pytest.raises(LLMIRError, match=r"^no such thing$"):
        run(tmp_path, module)


def test_reproducers_name_a_file_that_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = stand_in(
        tmp_path,
        monkeypatch,
        "import sys\n"
        "print('failed; reproduce it with: llmir-opt', sys.argv[1], file=sys.stderr)\n"
        "sys.exit(3)\n",
    )
    with pytest.raises(LLMIRError) as raised:
        run(tmp_path, module)
    kept = re.search(r"llmir-opt (\S+)", str(raised.value))
    assert kept
    assert Path(kept[1]) != tmp_path / "given.mlir"
    assert Path(kept[1]).read_text() == "module {}\n"
