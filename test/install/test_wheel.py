# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The wheel, built from the source distribution and used on a machine without LLVM.

The machine's LLVM is hidden, from the programs under test only, by mounting
something empty over it in a namespace of their own.
"""

from __future__ import annotations

import re
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from support import CCACHE, MODEL, ROOT, WORK, attempt, empty, run, run_python

HIDE = """
set -eu
mount -t tmpfs none /usr/lib/llvm-18
for library in /usr/lib/*/libLLVM* /usr/lib/*/libMLIR* /usr/lib/*/liblld*; do
  test ! -e "$library" || mount --bind /dev/null "$library"
done
exec "$@"
"""
PROMPT = "class Socket:"


@pytest.fixture(scope="module")
def source() -> Path:
    """Return the unpacked source distribution."""
    folder = empty(WORK / "source")
    script = (
        "import sys; from scikit_build_core.build import build_sdist; "
        "print(build_sdist(sys.argv[1]))"
    )
    name = run(sys.executable, "-c", script, folder, cwd=ROOT).split()[-1]
    with tarfile.open(folder / name) as archive:
        archive.extractall(folder)
    return folder / name.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def wheel(source: Path) -> Path:
    """Return the wheel that pip makes of the source distribution."""
    folder = empty(WORK / "wheel")
    run(
        *(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"),
        *("-w", folder, source),
        env={**CCACHE, "CCACHE_BASEDIR": str(source)},
    )
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def environment(wheel: Path) -> Path:
    """Return a virtual environment with the wheel and what it depends on."""
    folder = empty(WORK / "environment")
    run(sys.executable, "-m", "venv", folder)
    # What the wheel depends on is kept, so that a second run needs no network.
    kept = WORK / "dependencies"
    install = (
        *(folder / "bin" / "python", "-m", "pip", "install", "--no-index"),
        *("--find-links", kept, wheel),
    )
    if attempt(*install).returncode != 0:
        run(
            *(sys.executable, "-m", "pip", "download", "--only-binary=:all:"),
            *("-c", ROOT / "python" / "requirements.txt", "-d", kept, wheel),
        )
        for copy in kept.glob("llmir-*.whl"):
            copy.unlink()
        run(*install)
    return folder


def without_llvm(*command: object, cwd: Path) -> str:
    """Run a program that cannot see the machine's LLVM; return what it printed."""
    unshare = ["unshare", "--mount"]
    if attempt(*unshare, "true").returncode != 0:
        unshare = ["unshare", "--mount", "--map-root-user"]
        allowed = attempt(*unshare, "true")
        assert allowed.returncode == 0, (
            "hiding LLVM takes root, or a kernel that lets users make namespaces: "
            + allowed.stderr
        )
    return run(*unshare, "sh", "-c", HIDE, "sh", *command, cwd=cwd)


def test_wheel_has_what_it_needs(wheel: Path, tmp_path: Path) -> None:
    assert wheel.stat().st_size < 60e6
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    for part in ("llvm-18-dev", "libxxhash-dev", "nanobind"):
        assert "opyright" in (tmp_path / "llmir/licenses" / f"{part}.txt").read_text()
    for name in ("_compiler", "_runtime"):
        (module,) = tmp_path.glob(f"llmir/{name}.*.so")
        dynamic = run("readelf", "-d", module)
        assert "RUNPATH" not in dynamic
        assert "RPATH" not in dynamic
        needed = set(re.findall(r"NEEDED.*\[(.*)\]", dynamic))
        assert needed <= {
            *("libc.so.6", "libm.so.6", "libstdc++.so.6", "libgcc_s.so.1"),
            *("ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"),
        }
        # Nothing of our LLVM can be taken for that of another module.
        defined = run("nm", "-D", "--defined-only", module).split()
        assert defined[2:] == [f"PyInit_{name}"]


def test_llvm_is_hidden(tmp_path: Path) -> None:
    load = "import ctypes; ctypes.CDLL('libLLVM-18.so.1')"
    run(sys.executable, "-c", load)
    with pytest.raises(AssertionError, match="libLLVM"):
        without_llvm(sys.executable, "-c", load, cwd=tmp_path)
    assert without_llvm("ls", "/usr/lib/llvm-18", cwd=tmp_path) == ""


def test_compiles_and_runs_without_llvm(environment: Path, tmp_path: Path) -> None:
    program = environment / "bin" / "llmir"
    model = shutil.copytree(MODEL, tmp_path / "model")
    without_llvm(program, "compile", model, "-o", "m.llmir", cwd=tmp_path)
    wanted = ("--prompt", PROMPT, "--max-tokens", "20")
    text = without_llvm(program, "run", "m.llmir", *wanted, cwd=tmp_path)

    run_python("-m", "llmir.compile", MODEL, "-o", tmp_path / "built.llmir")
    assert text == run_python("-m", "llmir.run", tmp_path / "built.llmir", *wanted)
    assert len(text) > len(PROMPT)


def test_tools_of_the_wheel(environment: Path, tmp_path: Path) -> None:
    bin_ = environment / "bin"
    step = ROOT / "test" / "Pipelines" / "Inputs" / "two-layer-step.mlir"
    optimized = tmp_path / "lowered.mlir"
    without_llvm(
        *(bin_ / "llmir-opt", step, "--llm-cpu-pipeline", "-o", optimized), cwd=tmp_path
    )
    llvm_ir = without_llvm(
        bin_ / "llmir-translate", "--mlir-to-llvmir", optimized, cwd=tmp_path
    )
    assert "define void @llmir_step(" in llvm_ir
    usage = without_llvm(bin_ / "llmir-lsp-server", "--help", cwd=tmp_path)
    assert "-lit-test" in usage
    refused = attempt(bin_ / "llmir-opt", tmp_path / "none.mlir")
    assert refused.returncode == 1
    assert "No such file" in refused.stderr
    assert "Traceback" not in refused.stderr
