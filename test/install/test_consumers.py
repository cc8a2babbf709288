# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Other projects build on LLMIR: the examples, as their READMEs say."""

from __future__ import annotations

import functools
import json
import re
import shutil
import sys
from pathlib import Path

import numpy
import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from support import (
    BUILD,
    CCACHE,
    CLANG,
    MODEL,
    ROOT,
    WORK,
    attempt,
    empty,
    run,
    run_python,
)

PROMPT = [490, 457, 79, 861, 26]
TOKENS = 40
LIT = f"-DLIT={Path(sys.executable).parent / 'lit'}"


def moved(prefix: Path) -> Path:
    """Return an installed prefix at another place: packages must not name theirs."""
    return prefix.rename(empty(prefix.with_name(f"{prefix.name}-moved")))


@pytest.fixture(scope="module")
def prefix() -> Path:
    """Return where all of LLMIR is installed."""
    first = empty(WORK / "prefix")
    run("cmake", "--install", BUILD, "--prefix", first)
    return moved(first)


@pytest.fixture(scope="module")
def runtime_prefix() -> Path:
    """Return where the runtime alone is installed, built without looking for LLVM."""
    build = empty(WORK / "runtime-build")
    run(
        *("cmake", "-S", ROOT / "runtime", "-B", build, "-G", "Ninja", *CLANG),
        *("-DCMAKE_BUILD_TYPE=Release", "-DLLMIR_ENABLE_TESTS=OFF"),
        *(f"-DCMAKE_DISABLE_FIND_PACKAGE_{name}=ON" for name in ("LLVM", "MLIR")),
        env=CCACHE,
    )
    run("cmake", "--build", build, env={**CCACHE, "CCACHE_BASEDIR": str(ROOT)})
    first = empty(WORK / "runtime-prefix")
    run("cmake", "--install", build, "--prefix", first)
    return moved(first)


@pytest.fixture(scope="module")
def artifact() -> Path:
    """Return the small model, compiled."""
    path = empty(WORK / "stdlib-llama.llmir")
    run_python("-m", "llmir.compile", MODEL, "-o", path)
    return path


@functools.cache
def build_example(name: str, prefix: Path, *options: str) -> Path:
    build = empty(WORK / f"{name}-{prefix.name}")
    run(
        *("cmake", "-S", ROOT / "examples" / name, "-B", build, "-G", "Ninja"),
        *("-DCMAKE_BUILD_TYPE=Release", f"-DCMAKE_PREFIX_PATH={prefix}", *options),
        env=CCACHE,
    )
    run("cmake", "--build", build, env={**CCACHE, "CCACHE_BASEDIR": str(ROOT)})
    return build


@pytest.mark.parametrize("tree", ["installed", "build"])
def test_downstream_compiler(tree: str, request: pytest.FixtureRequest) -> None:
    where = request.getfixturevalue("prefix") if tree == "installed" else BUILD
    build = build_example("downstream", where, *CLANG, LIT)
    tests = run("ctest", "--test-dir", build, "--verbose")
    assert "Passed: 3 (100.00%)" in tests
    assert "no work to do" in run("cmake", "--build", build)


def test_program_of_the_downstream_compiler_runs(prefix: Path, tmp_path: Path) -> None:
    """An adapter of the last product gives what the merged weight gives."""
    model = shutil.copytree(MODEL, tmp_path / "model")
    reference = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    generator = torch.Generator().manual_seed(0)
    down = torch.randn(8, 192, generator=generator) / 14
    up = torch.randn(1024, 8, generator=generator) / 3
    weights = dict(reference.model.state_dict(prefix="model."))
    save_file(weights | {"lora_A": down, "lora_B": up}, model / "model.safetensors")

    program = tmp_path / "program.mlir"
    run_python("-m", "llmir.compile", model, "--emit=llm", "-o", program)
    text, count = re.subn(
        r"%logits = llm\.linear (%\w+), (%\w+) : \((.*)\) -> (.*)",
        r"""%a = llm.parameter "model"::"lora_A" : tensor<8x192xf32>
    %b = llm.parameter "model"::"lora_B" : tensor<1024x8xf32>
    %logits = lora.linear \1, \2, %a, %b {scale = 0.5 : f32}
      : \3, tensor<8x192xf32>, tensor<1024x8xf32> -> \4""",
        program.read_text(),
    )
    assert count == 1
    program.write_text(text)
    lowered = tmp_path / "lowered.mlir"
    lora_opt = build_example("downstream", prefix, *CLANG, LIT) / "lora-opt"
    run(lora_opt, program, "-lora-to-llm", "-o", lowered)
    artifact = tmp_path / "adapted.llmir"
    run_python("-m", "llmir.compile", lowered, f"--weights={model}", "-o", artifact)
    script = (
        "import llmir, numpy, sys; numpy.save(sys.argv[2], "
        f"llmir.load(sys.argv[1]).forward({PROMPT}))"
    )
    run_python("-c", script, artifact, tmp_path / "logits.npy")

    with torch.no_grad():
        hidden = reference.model(torch.tensor([PROMPT])).last_hidden_state[0]
        plain = hidden @ reference.lm_head.weight.T
        merged = hidden @ (reference.lm_head.weight + 0.5 * up @ down).T
    found = torch.from_numpy(numpy.load(tmp_path / "logits.npy"))
    scale = merged.abs().max()
    assert (found - merged).abs().max() < 2e-5 * scale
    assert (found - plain).abs().max() > 0.01 * scale


@pytest.mark.parametrize("package", ["prefix", "runtime_prefix", "build"])
def test_embedded_runtime(
    package: str, artifact: Path, request: pytest.FixtureRequest
) -> None:
    # With the system's own compiler: the library needs clang, its users do not.
    where = BUILD if package == "build" else request.getfixturevalue(package)
    build = build_example("embed", where)
    program = build / "embed"
    expected = json.loads(
        run_python(
            "-c",
            "import llmir, sys; print(llmir.load(sys.argv[1])"
            f".generate({PROMPT}, max_new_tokens={TOKENS}))",
            artifact,
        )
    )
    assert len(expected) == TOKENS
    printed = run(program, artifact, TOKENS, *PROMPT)
    assert [int(line) for line in printed.split()] == expected

    libraries = run("ldd", program)
    assert not [word for word in ("LLVM", "MLIR", "python") if word in libraries]
    refused = attempt(program, artifact / "model.so", TOKENS, *PROMPT)
    assert refused.returncode == 1
    assert refused.stderr.startswith("embed: ")
    assert "is not an artifact" in refused.stderr


def test_embedded_runtime_ends_where_the_model_ends(
    artifact: Path, runtime_prefix: Path
) -> None:
    build = build_example("embed", runtime_prefix)
    tokens = run(build / "embed", artifact, TOKENS, *PROMPT).split()
    # The same model with another end: a token that it is about to say.
    manifest = artifact / "manifest.json"
    facts = json.loads(manifest.read_text())
    facts["model"]["eos_token_ids"] = [int(tokens[5])]
    text = manifest.read_text()
    manifest.write_text(json.dumps(facts))
    try:
        ended = run(build / "embed", artifact, TOKENS, *PROMPT).split()
    finally:
        manifest.write_text(text)
    assert ended == tokens[: tokens.index(tokens[5])]


@pytest.mark.parametrize("package", ["runtime_prefix", "build"])
def test_cache_alone(package: str, request: pytest.FixtureRequest) -> None:
    where = BUILD if package == "build" else request.getfixturevalue(package)
    printed = run(build_example("paged", where) / "paged")
    assert printed.splitlines() == [
        "a prompt and its fork: 3 of 8 blocks used, 3 shared, 0 copied",
        "two answers: 4 of 8 blocks used, 2 shared, 1 copied",
        "sequence 1: token 39 is 1.60938, token 40 is 10",
        "sequence 2: token 39 is 1.60938, token 40 is 20",
        "80 more tokens do not fit: 4 of 8 blocks used, 2 shared, 1 copied",
        "sequence 4 has 1000 tokens, the first of them 960",
        "a window: 3 of 8 blocks used, 0 shared, 1 copied",
    ]


@pytest.mark.parametrize("package", ["runtime_prefix", "build"])
def test_cache_of_integers_alone(package: str, request: pytest.FixtureRequest) -> None:
    where = BUILD if package == "build" else request.getfixturevalue(package)
    printed = run(build_example("quantized", where) / "quantized")
    errors = {}
    for line in printed.splitlines():
        name, text = line.split(": ", 1)
        _, share, keys, values = map(float, re.findall(r"\d+\.\d+", text))
        assert share == {"int8": 0.516, "int4": 0.281}[name]
        errors[name] = (keys, values)
    # A step of n numbers between the least and the largest of 64, uniformly rounded.
    for name, steps in {"int8": 254, "int4": 15}.items():
        expected = 2 * 2.4 / steps / 12**0.5
        for error in errors[name]:
            assert 0.9 * expected < error < 1.2 * expected


def test_installed_packages_name_no_place(prefix: Path, runtime_prefix: Path) -> None:
    for root in (prefix, runtime_prefix):
        files = list(root.glob("lib*/cmake/**/*.cmake"))
        assert files
        for file in files:
            text = file.read_text()
            assert str(ROOT) not in text, file
            assert "/usr/lib/llvm-18" not in text or file.name == "LLMIRUseMLIR.cmake"


def test_installed_components_are_whole(prefix: Path) -> None:
    program = prefix / "bin" / "llmir-opt"
    step = ROOT / "test" / "Pipelines" / "Inputs" / "two-layer-step.mlir"
    assert "llm.linear" in run(program, step, "--llm-optimize")
    (package,) = prefix.glob("lib*/python*/site-packages")
    script = "import llmir._compiler, llmir._runtime; print(llmir.__file__)"
    place = run(sys.executable, "-c", script, env={"PYTHONPATH": str(package)})
    assert place.startswith(str(package))


def test_says_that_mlir_is_missing(prefix: Path) -> None:
    result = attempt(
        *("cmake", "-S", ROOT / "examples" / "downstream", "-B", empty(WORK / "none")),
        *("-G", "Ninja", *CLANG, f"-DCMAKE_PREFIX_PATH={prefix}"),
        "-DCMAKE_DISABLE_FIND_PACKAGE_MLIR=ON",
    )
    assert result.returncode != 0
    message = " ".join(result.stderr.split())
    assert "MLIR 18.1 was not found: install libmlir-18-dev" in message


def test_second_build_does_nothing() -> None:
    run("cmake", "--build", BUILD)
    assert "no work to do" in run("cmake", "--build", BUILD)
