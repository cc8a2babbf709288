# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the estimator says is what an engine says that it takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny
from conftest import MakeArtifact
from llmir import LLMIRError, ModelMemoryEstimator
from llmir.model import Model
from llmir.quantization import Quantization

# Heads of several shapes, and a window in all layers.
SHAPES = [("odd", "bfloat16"), ("mqa", "float16"), ("mistral", "float32")]


@pytest.mark.parametrize("kv_cache", ["auto", "int8", "int4"])
@pytest.mark.parametrize(("shape", "dtype"), SHAPES)
def test_is_what_the_engine_takes(
    make_artifact: MakeArtifact, shape: str, dtype: str, kv_cache: str
) -> None:
    path = make_artifact(shape, dtype, "native", Quantization(kv_cache=kv_cache))
    estimator = ModelMemoryEstimator(path)
    longest = Model(path, 1).max_model_len
    for batch_size, seq_len in [(1, 1), (1, longest), (3, 17), (16, longest)]:
        estimate = estimator.estimate(batch_size, seq_len)
        engine = Model(path, 1, num_blocks=estimate.num_blocks).engine
        assert engine.memory == {
            "weights": estimate.weights,
            "cache": estimate.cache,
            "arena": estimate.arena,
        }
        assert estimate.total == sum(engine.memory.values())
        exact = estimate.total
        assert estimator.find_max_batch_size(seq_len, exact) == batch_size
        assert estimator.find_max_batch_size(seq_len, exact - 1) == batch_size - 1
        assert estimator.find_max_seq_len(batch_size, exact) >= seq_len
        assert estimator.find_max_seq_len(batch_size, exact - 1) < seq_len
    assert str(estimate).startswith(f"{estimate.total / 1024:.1f} KiB (weights ") or (
        estimate.total >= 1000 * 1024
    )
    assert estimator.find_max_seq_len(1) == longest


def test_so_many_sequences_fit(make_artifact: MakeArtifact) -> None:
    """The blocks are enough for all of them at once, and one less is not."""
    path = make_artifact("gqa", "float32")
    estimate = ModelMemoryEstimator(path).estimate(batch_size=3, seq_len=40)
    for spare, fits in [(0, True), (-1, False)]:
        model = Model(path, 1, num_blocks=estimate.num_blocks + spare)
        ids = tiny.prompt(model.vocab_size, 40)
        sequences = [model.engine.new_sequence() for _ in range(3)]
        items = [(sequence, ids, False) for sequence in sequences]
        if fits:
            assert np.isfinite(model.engine.step(items)).all()
        else:
            with pytest.raises(RuntimeError, match="more blocks of the KV cache"):
                model.engine.step(items)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda estimator: estimator.estimate(0, 1),
            "a batch has 1 sequence or more, not 0",
        ),
        (
            lambda estimator: estimator.find_max_batch_size(10**6),
            "a sequence of this model has 1 to {longest} tokens, not 1000000",
        ),
        (
            lambda estimator: estimator.find_max_seq_len(1.5),
            "find_max_seq_len takes numbers that are integers, 0 or more, not 1.5",
        ),
        (
            lambda estimator: estimator.find_max_seq_len(1, -1),
            "find_max_seq_len takes numbers that are integers, 0 or more, not -1",
        ),
    ],
)
def test_what_is_refused(make_artifact: MakeArtifact, call: Any, sentence: str) -> None:
    path = make_artifact("gqa", "float32")
    longest = json.loads((path / "manifest.json").read_text())["model"]["max_model_len"]
    with pytest.raises(LLMIRError) as caught:
        call(ModelMemoryEstimator(path))
    assert str(caught.value) == sentence.format(longest=longest)


def test_no_artifact(make_artifact: MakeArtifact, tmp_path: Path) -> None:
    with pytest.raises(LLMIRError, match="is not an artifact"):
        ModelMemoryEstimator(tmp_path)
    manifest = json.loads(
        (make_artifact("gqa", "float32") / "manifest.json").read_text()
    )
    manifest["step"]["arena_bytes"] = -1
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(LLMIRError, match="arena_bytes"):
        ModelMemoryEstimator(tmp_path)
