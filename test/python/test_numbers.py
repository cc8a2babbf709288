# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The numbers of compiled models against those of Transformers.

In float32 they agree to rounding and write the same tokens. In bfloat16 the error
against float32 on the same rounded weights is at most what Transformers has itself.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import llmir
import tiny
from conftest import MakeArtifact, MakeModel
from llmir.compile import compile_model

# Over a block of the cache (16), and not a multiple of anything.
LENGTH = 45


@pytest.mark.parametrize("shape", tiny.SHAPES)
def test_float32(
    shape: str, make_model: MakeModel, make_artifact: MakeArtifact
) -> None:
    reference = tiny.transformers_model(make_model(shape, "float32"))
    model = llmir.load(make_artifact(shape, "float32"), threads=2)
    ids = tiny.prompt(model.vocab_size, LENGTH)
    logits = model.forward(ids)
    assert logits.dtype == np.float32
    assert tiny.relative_error(logits, tiny.transformers_logits(reference, ids)) < 2e-5
    expected = tiny.transformers_greedy(reference, ids[:7], 40)
    assert len(set(expected)) > 3
    assert model.generate(ids[:7], 40, stop_token_ids=()) == expected


@pytest.mark.parametrize(
    ("dtype", "name", "least"), [("bfloat16", "bf16", 1e-4), ("float16", "f16", 1e-5)]
)
@pytest.mark.parametrize("shape", tiny.SHAPES)
def test_types_of_16_bits(
    shape: str,
    dtype: str,
    name: str,
    least: float,
    make_model: MakeModel,
    make_artifact: MakeArtifact,
) -> None:
    directory = make_model(shape, dtype)
    exact = tiny.transformers_model(directory, torch.float32)
    rounded = tiny.transformers_model(directory, getattr(torch, dtype))
    model = llmir.load(make_artifact(shape, dtype), threads=2)
    assert model.manifest["model"]["dtype"] == name
    assert model.manifest["cache"]["dtype"] == name
    ours, theirs = [], []
    for seed in range(4):
        ids = tiny.prompt(model.vocab_size, LENGTH, seed)
        expected = tiny.transformers_logits(exact, ids)
        ours.append(tiny.relative_error(model.forward(ids), expected))
        logits = tiny.transformers_logits(rounded, ids)
        theirs.append(tiny.relative_error(logits, expected))
    assert np.mean(theirs) > least
    assert np.mean(ours) <= np.mean(theirs)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_widened_to_float32(dtype: str, make_model: MakeModel, tmp_path: Path) -> None:
    directory = make_model("tied", dtype)
    compile_model(str(directory), tmp_path / "out.llmir", dtype="float32")
    model = llmir.load(tmp_path / "out.llmir")
    reference = tiny.transformers_model(directory, torch.float32)
    ids = tiny.prompt(model.vocab_size, LENGTH)
    expected = tiny.transformers_logits(reference, ids)
    assert tiny.relative_error(model.forward(ids), expected) < 2e-5


def test_sharded_weights(make_model: MakeModel, tmp_path: Path) -> None:
    reference = tiny.transformers_model(make_model("gqa", "float32"))
    reference.save_pretrained(tmp_path / "sharded", max_shard_size="100KB")
    assert not (tmp_path / "sharded" / "model.safetensors").exists()
    compile_model(str(tmp_path / "sharded"), tmp_path / "out.llmir")
    model = llmir.load(tmp_path / "out.llmir")
    ids = tiny.prompt(model.vocab_size, LENGTH)
    expected = tiny.transformers_logits(reference, ids)
    assert tiny.relative_error(model.forward(ids), expected) < 2e-5


def test_prompts_longer_than_a_step(make_model: MakeModel, tmp_path: Path) -> None:
    directory = make_model("gqa", "float32")
    compile_model(str(directory), tmp_path / "out.llmir", max_batch_tokens=16)
    model = llmir.load(tmp_path / "out.llmir")
    assert model.max_batch_tokens == 16
    ids = tiny.prompt(model.vocab_size, 50)
    reference = tiny.transformers_model(directory)
    expected = tiny.transformers_logits(reference, ids)
    assert tiny.relative_error(model.forward(ids), expected) < 2e-5
    assert model.generate(ids, 5, stop_token_ids=()) == tiny.transformers_greedy(
        reference, ids, 5
    )


@pytest.mark.parametrize("block_size", [1, 4, 64])
def test_any_size_of_block(
    make_model: MakeModel,
    make_artifact: MakeArtifact,
    tmp_path: Path,
    block_size: int,
) -> None:
    directory = make_model("gqa", "float32")
    compile_model(str(directory), tmp_path / "out.llmir", block_size=block_size)
    model = llmir.load(tmp_path / "out.llmir")
    assert model.manifest["cache"]["block_size"] == block_size
    ids = tiny.prompt(model.vocab_size, LENGTH)
    expected = tiny.transformers_logits(tiny.transformers_model(directory), ids)
    assert tiny.relative_error(model.forward(ids), expected) < 2e-5
