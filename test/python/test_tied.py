# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A tied embedding is stored once, and nobody can tell but by the file's size."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

import llmir
import tiny
from llmir.compile import compile_model
from llmir.manifest import PROGRAM
from llmir.quantization import Quantization

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"

# Rows of pairs, rows of half a pair too many, and a last panel that is not full.
SIZES = {"even": (64, 320), "odd": (61, 331)}


def write_models(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, size: str, dtype: str
) -> tuple[Path, Path]:
    """Write a tied model, and an untied one whose head is the same numbers."""
    hidden, vocabulary = SIZES[size]
    fields = {
        "hidden_size": hidden,
        "vocab_size": vocabulary,
        "head_dim": 16,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "tie_word_embeddings": True,
    }
    monkeypatch.setitem(tiny.SHAPES, "this", tiny.Shape(fields=fields))
    tied, untied = scratch / "tied", scratch / "untied"
    tied.mkdir()
    tiny.write_model(tied, "this", getattr(torch, dtype))
    shutil.copytree(tied, untied)
    tensors = safetensors.torch.load_file(untied / "model.safetensors")
    assert HEAD not in tensors
    tensors[HEAD] = tensors[EMBEDDING].clone()
    safetensors.torch.save_file(
        tensors, untied / "model.safetensors", metadata={"format": "pt"}
    )
    config = json.loads((untied / "config.json").read_text())
    config["tie_word_embeddings"] = False
    (untied / "config.json").write_text(json.dumps(config))
    return tied, untied


def stored(artifact: Path) -> list[str]:
    """Return what the program says of the embedding and the head."""
    text = (artifact / PROGRAM).read_text()
    return re.findall(rf'llm\.parameter "model"::"(?:{EMBEDDING}|{HEAD})".*', text)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("size", SIZES)
def test_one_parameter_serves_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: str, dtype: str
) -> None:
    models = write_models(tmp_path, monkeypatch, size, dtype)
    artifacts = [model.with_suffix(".llmir") for model in models]
    for model, artifact in zip(models, artifacts, strict=True):
        compile_model(str(model), artifact)
    assert [len(stored(artifact)) for artifact in artifacts] == [1, 2]
    tied, untied = (llmir.load(artifact, threads=2) for artifact in artifacts)
    ids = tiny.prompt(tied.vocab_size, 70)
    # The rows of the first panel, of the last one, and of each lane.
    ids += [0, 31, 32, tied.vocab_size - 1]
    assert np.array_equal(tied.forward(ids), untied.forward(ids))
    assert tied.generate(ids[:9], max_new_tokens=8) == untied.generate(
        ids[:9], max_new_tokens=8
    )

    # A page more or less, for where tensors begin.
    sizes = [(artifact / "weights.bin").stat().st_size for artifact in artifacts]
    hidden, vocabulary = SIZES[size]
    rows = hidden * vocabulary * (4 if dtype == "float32" else 2)
    assert abs(sizes[1] - sizes[0] - rows) <= 4096


def test_a_quantized_head_is_another_parameter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = write_models(tmp_path, monkeypatch, "even", "bfloat16")
    logits = []
    for model in models:
        artifact = model.with_suffix(".llmir")
        compile_model(str(model), artifact, quantization=Quantization("int8"))
        texts = stored(artifact)
        assert len(texts) == 2
        assert sum("!llm.quantized_tensor" in text for text in texts) == 1
        assert sum(": tensor<320x64xbf16>" in text for text in texts) == 1
        logits.append(llmir.load(artifact).forward(tiny.prompt(320, 40)))
    assert np.array_equal(*logits)
