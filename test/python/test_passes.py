# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Every pass keeps what a program means, and does nothing the second time.

A pass that is added to a Passes.td is found here. Its lit file, named after its flag,
is a set of programs to run it on, with the options of the RUN lines; what it makes of
each is compared with the program before by their reference meaning. Passes whose result
has none are listed, with the test that runs what they make. What a pass cannot work on
it refuses in a sentence.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import llmir
from conftest import MakeModel
from llmir import _native
from llmir.errors import LLMIRError
from llmir.importer import import_model
from llmir.verification import Settings
from llmir.verify import verify_files

ROOT = Path(__file__).resolve().parents[2]
LLMIR_OPT = Path(llmir.__file__).parents[2] / "bin" / "llmir-opt"
# By flag, the op that a pass works on, if not on any.
ANCHORS = {
    name: anchor
    for file in ROOT.glob("include/llmir/**/Passes.td")
    for name, anchor in re.findall(
        r'\s*: Pass<"([\w-]+)"(?:,\s*"([\w:]+)")?', file.read_text()
    )
}
PASSES = sorted(ANCHORS)
PROGRAMS = sorted(
    path
    for folder in ("Dialect", "Conversion", "Pipelines")
    for path in (ROOT / "test" / folder).rglob("*.mlir")
)

# A whole step, which has something for most passes.
STEP = ROOT / "test/Pipelines/Inputs/two-layer-step.mlir"

# Passes after which a program has no reference meaning, or which are that meaning, and
# what runs the programs that they make.
BEYOND = {
    "convert-llm-to-kernels": "test_reference_step.py",
    "convert-llm-to-linalg": "test_reference.py",
    "convert-llm-to-llvm": "test_reference_step.py",
    # These change what the step takes, or are a part of one process of several.
    "llm-introduce-kv-cache": "test_introduce_kv_cache.py",
    # Its cases have constant lengths, longer than what random sequences hold.
    "llm-optimize-kv-cache": "test_optimize_kv_cache.py",
    # Its cases take sizes as arguments, which must agree with those of tensors.
    "llm-flatten-tokens": "test_raise.py",
    # Its cases are tables and positions that need not belong together.
    "llm-raise-rope": "test_torch_raised.py",
    "llm-release-buffers": "test_function.py",
    "llm-reshape-buffers": "test_function.py",
    "llm-return-results": "test_function.py",
    "llm-store-booleans": "test_function.py",
    "llm-join-shards": "test_shard.py",
    "llm-select-shard": "test_shard.py",
    "llm-shard": "test_shard.py",
    "llm-assign-parameters": "test_reference_step.py",
    "llm-expand-bf16": "test_reference.py",
    "llm-lower-vector-math": "test_reference.py",
    "llm-outline-rows": "test_reference_step.py",
    "llm-pass-destinations": "test_reference_step.py",
    "llm-plan-arena": "test_reference_step.py",
    "llm-vectorize-rows": "test_reference_moe.py",
}

# What the passes of the optimizer are run on: every kind of attention, norm and MLP.
MODELS = [
    ("gqa", "float32"),
    ("odd", "float32"),
    ("biases", "bfloat16"),
    ("tied", "bfloat16"),
    ("mistral", "float32"),
    ("qwen3_bias", "float32"),
    ("phi3", "float16"),
    ("smollm3_window", "bfloat16"),
    ("olmo2", "float32"),
]
PIPELINES = [
    "llm-optimize",
    "llm-optimize{quantize=int8}",
    "llm-optimize{quantize=int4 quantize-group-size=32 quantize-asymmetric=true}",
    "llm-optimize{quantize=w8a8}",
    "llm-optimize{kv-cache-dtype=int8}",
]


LIT_FILES = {path.stem: path for path in PROGRAMS}
# The passes that can be run here; a test sees that all can.
TESTED = [name for name in PASSES if name in LIT_FILES]


def test_every_pass_has_a_lit_file() -> None:
    assert [name for name in PASSES if name not in LIT_FILES] == []


def pipelines_of(name: str) -> list[str]:
    """Return the pass with the options of each RUN line, but of those that fail."""
    found = []
    for line in re.findall(r"// RUN: (.*)", LIT_FILES[name].read_text()):
        words = shlex.split(line.partition("|")[0])
        if words[0] == "not":
            continue
        for word in words:
            match = re.fullmatch(rf"--?{name}(?:=(.*))?", word)
            if match:
                found.append(f"{name}{{{match[1]}}}" if match[1] else name)
    if ANCHORS[name].endswith("FuncOp"):
        found = [f"func.func({each})" for each in found]
    assert found, f"no RUN line of the lit file of --{name} runs it"
    return list(dict.fromkeys(found))


def programs_of(path: Path) -> Iterator[str]:
    """Yield the programs of a lit file that are valid."""
    for text in re.split(r"^// -----.*$", path.read_text(), flags=re.M):
        try:
            yield str(_native.compiler().Module.parse(text))
        except ValueError:
            continue


def run_pass(text: str, pipeline: str) -> str | None:
    """Return what a pass makes of a program, None if it refuses it."""
    module = _native.compiler().Module.parse(text)
    try:
        module.run(pipeline)
    except RuntimeError:
        return None
    return str(module)


# Nothing to run, no meaning, no inputs; or checks that random inputs fail.
UNFIT = re.compile(
    r"before\.mlir has no |while (?:compiling|running @\S+ of) \S*before\.mlir|"
    r"argument \d+ of @\S+ is \S.*, and |no inputs were found"
)


def check(scratch: Path, before: str, after: str, what: str, rounds: int = 4) -> bool:
    """Compare two programs; return whether the one before could be run.

    In a process of its own, since lit files have programs that check their inputs and
    end the process.
    """
    paths = [scratch / "before.mlir", scratch / "after.mlir"]
    for path, text in zip(paths, (before, after), strict=True):
        path.write_text(text)
    try:
        outputs = verify_files(paths[0], paths[1], Settings(rounds=rounds))
    except LLMIRError as error:
        # Of what is not made for being run, nothing is asked.
        if not UNFIT.search(str(error)):
            pytest.fail(f"{what}: {error}\n{before}\n{after}")
        return False
    for output in outputs:
        assert not output.failure, f"{what}: {output.failure}\n{before}\n{after}"
    return True


@pytest.mark.parametrize("name", [name for name in TESTED if name not in BEYOND])
def test_a_pass_keeps_the_meaning(name: str, tmp_path: Path) -> None:
    compared = 0
    for pipeline in pipelines_of(name):
        for before in [*programs_of(LIT_FILES[name]), *programs_of(STEP)]:
            after = run_pass(before, pipeline)
            if after is None or after == before:
                continue
            compared += check(tmp_path, before, after, pipeline)
    # What only checks changes nothing.
    assert compared or name.startswith("llm-verify-"), "no program of its lit file runs"


def test_what_is_beyond_is_there() -> None:
    assert set(BEYOND) <= set(PASSES)
    for name in set(BEYOND.values()):
        assert (ROOT / "test/python" / name).exists()


@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize(("shape", "dtype"), MODELS)
def test_the_optimizer_keeps_the_meaning(
    make_model: MakeModel, tmp_path: Path, shape: str, dtype: str, pipeline: str
) -> None:
    before = import_model(make_model(shape, dtype), None)
    after = run_pass(before, pipeline)
    assert after is not None
    assert check(tmp_path, before, after, pipeline, rounds=3)


@pytest.mark.parametrize("name", TESTED)
def test_a_second_time_changes_nothing(make_model: MakeModel, name: str) -> None:
    texts = list(programs_of(LIT_FILES[name]))
    texts += [import_model(make_model("biases", "bfloat16"), None)]
    texts += [str(run_pass(texts[-1], "llm-optimize{quantize=int4}"))]
    for pipeline in pipelines_of(name):
        ran = 0
        for text in texts:
            once = run_pass(text, pipeline)
            if once is None:
                continue
            twice = run_pass(once, pipeline)
            assert twice is not None, f"{pipeline} refuses what it made of\n{text}"
            # Constants may have been made that nothing uses.
            assert run_pass(twice, "canonicalize") == run_pass(once, "canonicalize"), (
                f"{pipeline} changes again what it made of\n{text}"
            )
            ran += 1
        assert ran


@pytest.mark.parametrize("name", PASSES)
def test_what_a_pass_cannot_take_it_refuses(name: str, tmp_path: Path) -> None:
    """No program of any lit file ends the process, or is refused without a reason."""
    nothing = tmp_path / "nothing.mlir"
    nothing.write_text(
        "module {}\n// -----\nfunc.func private @f(tensor<?xf32>) -> tensor<?xf32>\n"
        "// -----\nfunc.func @g(%x: tensor<2xf32>, %c: i1) -> tensor<2xf32> {\n"
        "  cf.cond_br %c, ^a, ^b\n^a:\n  return %x : tensor<2xf32>\n"
        "^b:\n  cf.br ^a\n}\n"
    )
    for path in [nothing, *PROGRAMS]:
        done = subprocess.run(
            [LLMIR_OPT, path, "--split-input-file", f"--{name}", "-o", "/dev/null"],
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )
        assert done.returncode in (0, 1), f"{path}: {done.stderr[-2000:]}"
        assert (done.returncode == 0) == ("error: " not in done.stderr), path
