# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Models from PyTorch as steps over a cache, made by passes alone.

What they generate is what Transformers generates, token for token, and what the
importer's program of the same model does.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

import llmir
import tiny
import torch_models
from conftest import MakeArtifact, MakeModel
from llmir import _native
from llmir.compile import compile_model
from llmir.torch.importer import import_torch

STDLIB_LLAMA = Path(__file__).parents[2] / "examples" / "stdlib-llama"

CAUSAL = [
    name
    for name, family in torch_models.FAMILIES.items()
    if family.model_type != "bert"
]

LENGTHS = (1, 2, 15, 16, 17, 40)


def make_step(
    model: PreTrainedModel, directory: Path, max_seq_len: int, *passes: str
) -> Path:
    """Return the artifact of a model that is exported, raised and given a cache.

    passes: to be run before it gets its cache.
    """
    model.config.use_cache = False
    sizes = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    ids = torch.arange(22).reshape(2, 11)
    program = import_torch(
        model, {"input_ids": ids}, dynamic_shapes={"input_ids": sizes}
    )
    program.save(directory / "imported")
    module = _native.compiler().Module.parse(program.text)
    for name in ("llm-raise", *passes):
        module.run(name)
    module.run(f"llm-introduce-kv-cache{{max-seq-len={max_seq_len}}}")
    step = directory / "step.mlir"
    step.write_text(str(module))
    artifact = directory / "step.llmir"
    compile_model(str(step), artifact, weights=directory / "imported")
    return artifact


def continued(model: llmir.Model, prompt: list[int], count: int) -> list[int]:
    """Return the likeliest next tokens, whatever ends a text."""
    sequence, new = model.engine.new_sequence(), prompt
    tokens: list[int] = []
    while len(tokens) < count:
        logits = model.engine.step([(sequence, new, False)])
        new = [int(logits[-1].argmax())]
        tokens += new
    return tokens


@pytest.mark.capability("PyTorch", "{name}", "generates")
@pytest.mark.parametrize("name", CAUSAL)
def test_generates_what_transformers_does(name: str, tmp_path: Path) -> None:
    model = torch_models.make_model(name)
    step = llmir.load(make_step(model, tmp_path, 96), threads=2)
    for length in LENGTHS:
        ids = torch_models.make_inputs(name, 1, length, seed=length)["input_ids"]
        prompt, expected = ids[0].tolist(), ids
        for _ in range(24):
            logits = torch_models.expected(model, {"input_ids": expected})
            expected = torch.cat([expected, logits[:, -1:].argmax(-1)], dim=1)
        assert continued(step, prompt, 24) == expected[0, length:].tolist()
        exact = torch_models.expected(model, {"input_ids": ids})[0].numpy()
        assert tiny.relative_error(step.forward(prompt), exact) < 2e-5


@pytest.mark.parametrize("shape", ["gqa", "mqa", "tied", "mistral", "qwen3"])
@pytest.mark.parametrize("passes", [(), ("llm-outline-layers",)])
def test_generates_what_the_importer_does(
    make_model: MakeModel,
    make_artifact: MakeArtifact,
    tmp_path: Path,
    shape: str,
    passes: tuple[str, ...],
) -> None:
    model = AutoModelForCausalLM.from_pretrained(
        make_model(shape, "float32"), dtype=torch.float32
    )
    ours = llmir.load(make_step(model.eval(), tmp_path, 256, *passes), threads=2)
    native = llmir.load(make_artifact(shape, "float32"), threads=2)
    for length in (*LENGTHS, 100):
        prompt = tiny.prompt(model.config.vocab_size, length)
        assert continued(ours, prompt, 32) == continued(native, prompt, 32)
    # Sequences in one step, chunks and single tokens mixed.
    ids = tiny.prompt(model.config.vocab_size, 60)
    handles = [[m.engine.new_sequence() for _ in range(3)] for m in (ours, native)]
    for items in [
        [(0, ids[:7], True), (1, ids[7:30], False)],
        [(1, ids[30:35], True), (0, ids[35:36], True), (2, ids[36:40], True)],
        [(2, ids[40:41], False), (0, ids[41:42], False), (1, ids[42:43], False)],
    ]:
        actual, expected = (
            m.engine.step([(own[i], *rest) for i, *rest in items])
            for m, own in zip((ours, native), handles, strict=True)
        )
        assert tiny.relative_error(actual, expected) < 2e-5


def test_trained_weights(tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(STDLIB_LLAMA, dtype=torch.float32)
    ours = llmir.load(make_step(model.eval(), tmp_path, 512), threads=2)
    compile_model(str(STDLIB_LLAMA), tmp_path / "native.llmir", dtype="float32")
    native = llmir.load(tmp_path / "native.llmir", threads=2)
    tokenizer = AutoTokenizer.from_pretrained(STDLIB_LLAMA)
    for text in ("def ", "import os\n\n\ndef main(", "class Reader:\n    def __init__"):
        prompt = tokenizer(text)["input_ids"]
        assert continued(ours, prompt, 100) == continued(native, prompt, 100)
