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

from conftest import MakeModel, RunProgram
from llmir import _codegen
from llmir.codegen import run_compiler
from llmir.errors import LLMIRError


@pytest.fixture(autouse=True)
def temporary(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keep what stays to reproduce failures with among the tests' own files."""
    directory = str(tmp_path_factory.mktemp("temporary"))
    monkeypatch.setenv("TMPDIR", directory)
    monkeypatch.setattr(tempfile, "tempdir", directory)


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


# A return of the cache that is gone; the rest of the line becomes a comment.
CONSUMED = "return %logits, %cache : tensor<?x320xf32>, !kv // "


def program_with(
    make_model: MakeModel, path: Path, run_program: RunProgram, ops: str
) -> Path:
    """Write a model's program with other text before the last of its step."""
    model = make_model("gqa", "float32")
    result = run_program("-m", "llmir.compile", model, "--emit=llm", "-o", path)
    assert result.returncode == 0, result.stderr
    text, count = re.subn(
        r"(?m)^    return (%logits, %cache)", f"{ops}return \\1", path.read_text()
    )
    assert count == 1
    path.write_text(text)
    return model


@pytest.mark.parametrize(
    ("ops", "ending", "reason"),
    [
        # Valid in MLIR; LLVM learns only when it selects instructions.
        (
            '%n = arith.constant 3 : i8\n"llvm.call_intrinsic"(%n) '
            '{intrin = "llvm.x86.tilezero"} : (i8) -> ()\n',
            "died of SIGABRT",
            "LLVM ERROR: Cannot select: intrinsic %llvm.x86.tilezero",
        ),
        # LLVM says so and ends the process.
        (
            '%n = arith.constant 1 : i64\nllvm.inline_asm has_side_effects "nop", '
            '"{nosuchreg}" %n : (i64) -> ()\n',
            "failed with status 1",
            "error: couldn't allocate input reg for constraint '{nosuchreg}'",
        ),
    ],
)
def test_a_death_in_llvm_can_be_reproduced(
    make_model: MakeModel,
    run_program: RunProgram,
    tmp_path: Path,
    ops: str,
    ending: str,
    reason: str,
) -> None:
    program = tmp_path / "model.mlir"
    weights = program_with(make_model, program, run_program, ops)
    command = ("-m", "llmir.compile", program, f"--weights={weights}")
    result = run_program(*command, "-o", tmp_path / "out.llmir")
    assert result.returncode == 1
    assert re.fullmatch(r"llmir: error: [^\n]+\n", result.stderr), result.stderr
    assert f"the compiler {ending} ({reason}); this is a bug" in result.stderr
    assert list(tmp_path.iterdir()) == [program]
    again = shlex.split(result.stderr.partition("reproduce it with: ")[2])
    kept = next(Path(word) for word in again if word.endswith("program.mlir"))
    assert kept.read_text() == program.read_text()
    repeated = run_program(*again[1:], cwd=tmp_path)
    assert repeated.returncode == (-6 if "SIGABRT" in ending else 1)
    assert reason in repeated.stderr


@pytest.mark.parametrize(
    ("ops", "reason"),
    [
        (
            '"llvm.call_intrinsic"() {intrin = "llvm.nosuch"} : () -> ()\n',
            "could not find LLVM intrinsic",
        ),
        # The cache was consumed before: valid, and a pass refuses it.
        (CONSUMED, "could not be compiled by the pipeline llm-optimize"),
    ],
)
def test_a_refusal_can_be_reproduced(
    make_model: MakeModel,
    run_program: RunProgram,
    tmp_path: Path,
    ops: str,
    reason: str,
) -> None:
    program = tmp_path / "model.mlir"
    program_with(make_model, program, run_program, ops)
    result = run_program("-m", "llmir.compile", program, "--emit=asm", cwd=tmp_path)
    assert result.returncode == 1
    assert reason in result.stderr
    again = shlex.split(result.stderr.partition("reproduce it with: ")[2])
    repeated = run_program(*again[1:], cwd=tmp_path)
    assert repeated.returncode == (1 if "llmir.opt" in again else _codegen.REFUSED)
    told = re.search(r"model.mlir:\d+:\d+: error: (.*?)(;|\n)", result.stderr)
    assert told
    assert told[1] in repeated.stderr
    assert list(tmp_path.iterdir()) == [program]


def test_our_own_program_is_kept(
    make_model: MakeModel, run_program: RunProgram, tmp_path: Path
) -> None:
    program = tmp_path / "given.mlir"
    program_with(make_model, program, run_program, CONSUMED)
    with pytest.raises(LLMIRError, match="by the pipeline llm-optimize") as raised:
        run_compiler(program, tmp_path / "out", emit="asm")
    again = shlex.split(str(raised.value).partition("reproduce it with: ")[2])
    kept = next(Path(word) for word in again if word.endswith("program.mlir"))
    assert kept.read_text() == program.read_text()
    program.unlink()
    assert "error:" in run_program(*again[1:]).stderr


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
