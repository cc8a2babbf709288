# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Rotating and appending as one kernel changes no bit of a model's answers."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import llmir
import tiny
from conftest import MakeArtifact, MakeModel
from llmir.compile import compile_model
from llmir.manifest import PROGRAM

# Whole heads and parts of them are rotated, with norms before and biases, and in
# layers without RoPE nothing is. Prompts longer than one tile of the cache.
CASES = [
    ("gqa", "float32"),
    ("gqa", "bfloat16"),
    ("gqa", "float16"),
    ("odd", "bfloat16"),
    ("mqa", "float32"),
    ("phi3", "bfloat16"),
    ("phi3", "float16"),
    ("qwen3", "bfloat16"),
    ("qwen3_bias", "float32"),
    ("smollm3", "bfloat16"),
]


def unfused(text: str) -> str:
    """Return a program whose keys are rotated by positions of another name."""
    head, keys, tail = text.partition("%k_rot = llm.rope ")
    assert keys
    assert "%k_rot = llm.rope " not in tail
    positions = """%dim = arith.constant 0 : index
    %tokens = tensor.dim %positions, %dim : tensor<?xi32>
    %same = tensor.extract_slice %positions[0] [%tokens] [1]
      : tensor<?xi32> to tensor<?xi32>
    """
    return head + positions + keys + tail.replace("%positions", "%same", 1)


@pytest.mark.parametrize(("shape", "dtype"), CASES)
def test_fused_is_unfused(
    make_model: MakeModel,
    make_artifact: MakeArtifact,
    tmp_path: Path,
    shape: str,
    dtype: str,
) -> None:
    artifact = make_artifact(shape, dtype)
    optimized = (artifact / PROGRAM).read_text()
    assert "llm.rope_append_kv" in optimized
    assert not re.search(r"llm\.rope\b", optimized)

    program = tmp_path / "model.mlir"
    length = tiny.SHAPES[shape].max_model_len
    model = make_model(shape, dtype)
    compile_model(str(model), program, emit="llm", max_model_len=length)
    pieces = re.split(r"(?=func\.func private)", program.read_text())
    program.write_text(
        "".join(unfused(p) if "%k_rot = llm.rope " in p else p for p in pieces)
    )
    other = tmp_path / "other.llmir"
    compile_model(str(program), other, weights=model)
    assert "llm.rope_append_kv" not in (other / PROGRAM).read_text()

    one, two = (llmir.load(path, threads=2) for path in (artifact, other))
    ids = tiny.prompt(one.vocab_size, 60)
    assert np.array_equal(one.forward(ids), two.forward(ids))
    assert one.generate(ids[:21], max_new_tokens=12) == two.generate(
        ids[:21], max_new_tokens=12
    )
