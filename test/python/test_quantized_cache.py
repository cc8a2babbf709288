# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Models whose KV cache is of another type, from the checkpoint to logits.

The compiled step is compared with its reference meaning, in which a cache of integers
is plain tensors that `llm.quantize` makes, on every level of the CPU; and its error
against Transformers in float32 is told.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import llmir
import tiny
from conftest import MakeArtifact, MakeModel, RunProgram
from llmir import costs
from llmir.compile import compile_model
from llmir.errors import LLMIRError
from llmir.model import Model
from llmir.quantization import CACHE_TYPES, Quantization
from test_numbers import TARGETS, mean_error, use_level
from test_quantized import row_errors
from test_reference_step import StepReference
from test_same_answer import assert_same, chunked, in_company

# Heads of one width and of an odd one, windows, norms of heads, a single KV head.
SHAPES = ("gqa", "odd", "mqa", "qwen3_bias")

# Relative errors of logits against float32, half as large again as what was found. In
# heads of 16 random numbers 4 bits are few.
ERRORS = {"int8": 0.02, "int4": 0.3, "bf16": 0.008, "f16": 0.001}


@pytest.fixture(params=TARGETS)
def load_cached(
    request: pytest.FixtureRequest,
    make_artifact: MakeArtifact,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Model]:
    """Return a function of shape, dtype, cache and threads to a model on one level."""
    level = request.param
    use_level(level, monkeypatch)
    return lambda shape, dtype, kv_cache, threads=2: llmir.load(
        make_artifact(shape, dtype, TARGETS[level], Quantization(kv_cache=kv_cache)),
        threads,
    )


@pytest.mark.capability("Quantized KV caches", "{kv_cache}", "{load_cached}")
@pytest.mark.parametrize("kv_cache", ["int8", "int4"])
@pytest.mark.parametrize("shape", SHAPES)
def test_compiled_is_reference(
    make_model: MakeModel,
    load_cached: Callable[..., Model],
    tmp_path: Path,
    shape: str,
    kv_cache: str,
) -> None:
    model = load_cached(shape, "float32", kv_cache)
    reference = StepReference(make_model(shape, "float32"), tmp_path, kv_cache)
    handles = [model.engine.new_sequence() for _ in range(3)]
    ids = tiny.prompt(model.vocab_size, 60)
    actual, expected = [], []
    # Prefill, chunks and single tokens mixed; the last step is all decode.
    for items in [
        [(0, ids[:7], True), (1, ids[7:30], True)],
        [(1, ids[30:35], True), (0, ids[35:36], True), (2, ids[36:40], True)],
        [(2, ids[40:41], True), (0, ids[41:42], True), (1, ids[42:43], True)],
    ]:
        expected.append(reference.step(items))
        actual.append(
            np.array(model.engine.step([(handles[i], *rest) for i, *rest in items]))
        )
    errors = row_errors(actual, expected)
    # The kernels' exponentials are rougher, and weights of the softmax are rounded to
    # bf16. That moves some keys and values of the next layer to another integer: by
    # far less than rounding them to integers at all.
    assert np.median(errors) < ERRORS[kv_cache] / 6
    assert errors.max() < ERRORS[kv_cache] / 2


@pytest.mark.parametrize("kv_cache", ERRORS)
def test_error_is_known(
    make_model: MakeModel, make_artifact: MakeArtifact, kv_cache: str
) -> None:
    """Against Transformers in float32: there is an error, and no more than that."""
    model = tiny.transformers_model(make_model("gqa", "float32"))
    ids = [tiny.prompt(model.config.vocab_size, 60, seed) for seed in range(3)]
    logits = [tiny.transformers_logits(model, prompt) for prompt in ids]
    ours = llmir.load(
        make_artifact("gqa", "float32", "native", Quantization(kv_cache=kv_cache)), 2
    )
    error = mean_error([ours.forward(prompt) for prompt in ids], logits)
    print(f"cache in {kv_cache}: relative error {error:.5f}")
    assert ERRORS[kv_cache] / 3 < error < ERRORS[kv_cache]


@pytest.mark.capability(
    "Same answer in any company", "KV cache in {kv_cache}", "{dtype}"
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kv_cache", ["int8", "int4"])
def test_same_answer(
    load_cached: Callable[..., Model], dtype: str, kv_cache: str
) -> None:
    model = load_cached("gqa", dtype, kv_cache)
    ids = tiny.prompt(model.vocab_size, 46, seed=99)
    logits = model.forward(ids)
    for chunk in (1, 5, 16):
        assert_same(chunked(model, ids, chunk), logits)
    for place in (0, 3, 7):
        assert_same(in_company(model, ids, place), logits)
    for threads in (1, 3):
        other = load_cached("gqa", dtype, kv_cache, threads)
        assert_same(chunked(other, ids, 16), logits)


@pytest.mark.parametrize("kv_cache", CACHE_TYPES)
def test_manifest_memory_and_costs(make_artifact: MakeArtifact, kv_cache: str) -> None:
    artifact = make_artifact(
        "gqa", "bfloat16", "native", Quantization(kv_cache=kv_cache)
    )
    name = CACHE_TYPES[kv_cache]
    manifest = json.loads((artifact / "manifest.json").read_text())
    facts = manifest["cache"]
    assert facts["dtype"] == name
    program = (artifact / "model.mlir").read_text()
    assert program.count(f"!llm.paged_kv_cache<{name}, ") == program.count("kv_cache<")
    # Head dimension 16: a scale is 2 of 18 bytes, and with a zero point 3 of 11.
    bits = {"f32": 32, "bf16": 16, "f16": 16, "int8": 9, "int4": 5.5}[kv_cache]
    elements = 2 * facts["kv_heads"] * facts["head_dim"]
    step = costs.Step(rows=1, context=40)
    attention = [
        op for op in costs.executed_ops(artifact) if op.name == "paged_attention"
    ]
    assert len(attention) == facts["layers"]
    assert attention[0].cost(step).stored == 40 * elements * bits / 8
    # The engine's blocks, and what rounds them up to lines.
    engine = llmir.load(artifact, threads=1).engine
    positions = engine.num_blocks * facts["block_size"] * facts["layers"]
    taken = engine.memory["cache"] / positions * 8 / elements
    # Values of 4 bits have rows of 32.
    padding = 2.5 + 2 if kv_cache == "int4" else 0.5 if kv_cache == "int8" else 0
    assert bits <= taken <= bits + padding + 1


def test_command_line(
    make_model: MakeModel, run_program: RunProgram, tmp_path: Path
) -> None:
    model, output = make_model("gqa", "bfloat16"), tmp_path / "out.llmir"
    command = ["-m", "llmir.compile", model, "-o", output]
    result = run_program(*command, "--kv-cache-dtype=int8", "--quantize=int4")
    assert result.returncode == 0, result.stderr
    program = (output / "model.mlir").read_text()
    assert "!llm.paged_kv_cache<i8, " in program
    assert "llm.quantized_matmul" in program
    # What is in a program stays unless it is to change.
    again = tmp_path / "again.llmir"
    compile_again = ["-m", "llmir.compile", output / "model.mlir", "-o", again]
    compile_again.append(f"--weights={model}")
    assert run_program(*compile_again).returncode == 0
    ids = tiny.prompt(320, 30)
    assert_same(llmir.load(again).forward(ids), llmir.load(output).forward(ids))
    assert run_program(*compile_again, "--kv-cache-dtype=f16").returncode == 0
    assert "!llm.paged_kv_cache<f16, " in (again / "model.mlir").read_text()
    # A wrong command line.
    refused = run_program(*command, "--kv-cache-dtype=int3")
    assert refused.returncode == 2
    assert "invalid choice: 'int3'" in refused.stderr
    # The program has no cache.
    (tmp_path / "none.mlir").write_text("module {}\n")
    refused = run_program(
        *("-m", "llmir.compile", tmp_path / "none.mlir", f"--weights={model}"),
        *("-o", tmp_path / "none.llmir", "--kv-cache-dtype=int8"),
    )
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "the program has no" in refused.stderr
    assert not (tmp_path / "none.llmir").exists()


@pytest.mark.parametrize("stage", ["llm", "linalg"])
def test_stages_before(make_model: MakeModel, stage: str) -> None:
    with pytest.raises(LLMIRError, match=f"--kv-cache-dtype .* --emit={stage} comes "):
        compile_model(
            str(make_model("gqa", "float32")),
            None,
            emit=stage,
            quantization=Quantization(kv_cache="int8"),
        )


def test_unknown_dtype(make_model: MakeModel, tmp_path: Path) -> None:
    with pytest.raises(LLMIRError, match=r"must be one of auto, f32, .*, not int3"):
        compile_model(
            str(make_model("gqa", "float32")),
            tmp_path / "out.llmir",
            quantization=Quantization(kv_cache="int3"),
        )
    assert not list(tmp_path.iterdir())
