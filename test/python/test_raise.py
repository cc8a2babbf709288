# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What raising finds in programs from PyTorch, and that it changes no number."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache

import numpy as np
import pytest
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from llmir import _native
from llmir.torch.importer import import_torch
from llmir.torch.program import Program
from torch_models import (
    FAMILIES,
    LLAMA_LIKE,
    VARIANTS,
    dynamic_shapes,
    expected,
    make_inputs,
    make_model,
)
from torch_reference import ReferenceProgram

# Relative to the largest number.
TOLERANCE = 2e-5

RAISE = "llm-raise"

# Products, embeddings and activations of a model of so many layers.
EXPECTED = {
    "llama": (7, 1, 1, 1),
    "qwen3": (7, 1, 1, 1),
    "mistral": (7, 1, 1, 1),
    "gemma2": (7, 1, 1, 1),
    "gpt2": (4, 1, 2, 1),
    "gpt_neox": (4, 1, 1, 1),
    "phi": (6, 1, 1, 1),
    "falcon": (4, 1, 1, 1),
    "bert": (6, 0, 3, 1),
    "minilm": (6, 0, 3, 1),
}


@cache
def imported(name: str) -> tuple[PreTrainedModel, Program]:
    model = make_model(name)
    inputs = make_inputs(name, 2, 11)
    return model, import_torch(model, inputs, dynamic_shapes=dynamic_shapes(name))


def run_passes(text: str, passes: str) -> str:
    module = _native.compiler().Module.parse(text)
    module.run(passes)
    return str(module)


def count(text: str, op: str) -> int:
    return len(re.findall(rf"\b{re.escape(op)}\b", text))


@pytest.mark.parametrize("name", list(VARIANTS))
def test_counts(name: str) -> None:
    """Every product, embedding, norm and activation of the ten models is raised."""
    text = run_passes(imported(name)[1].text, "llm-raise{outline-layers=false}")
    family = name.split("-")[0]
    layers = FAMILIES[family].layers
    products, heads, embeddings, activations = EXPECTED[family]
    found = {
        op: count(text, f"llm.{op}")
        for op in ("linear", "embedding", "rms_norm", "layer_norm", "activation")
    }
    print(name, found)
    # Gemma caps its logits with one tanh more.
    caps = 1 if family == "gemma2" else 0
    assert found == {
        "linear": products * layers + heads,
        "embedding": embeddings,
        "rms_norm": FAMILIES[family].rms_norms,
        "layer_norm": FAMILIES[family].layer_norms,
        "activation": activations * layers + caps,
    }


@pytest.mark.parametrize("outline", ["false", "true"])
@pytest.mark.parametrize("name", list(VARIANTS))
def test_numbers(name: str, outline: str) -> None:
    """A raised program computes what PyTorch does, at three sizes."""
    model, program = imported(name)
    text = run_passes(program.text, f"llm-raise{{outline-layers={outline}}}")
    raised = ReferenceProgram(text, program.parameters)
    for batch, length in ((1, 2), (2, 11), (3, 7)):
        inputs = make_inputs(name, batch, length)
        exact = expected(model, inputs).numpy()
        (actual,) = raised(*inputs.values())
        error = np.abs(actual - exact).max() / np.abs(exact).max()
        assert error < TOLERANCE, (batch, length, error)


@pytest.mark.parametrize("name", list(VARIANTS))
def test_again(name: str) -> None:
    """Raising what is raised changes nothing."""
    once = run_passes(imported(name)[1].text, RAISE)
    assert run_passes(once, RAISE) == once


def test_layers_are_compiled_once() -> None:
    """What a deeper model has more of, down to buffers, is calls and weights."""

    def ops(layers: int) -> Counter[str]:
        config = AutoConfig.for_model(
            "llama", **{**LLAMA_LIKE, "num_hidden_layers": layers}, use_cache=False
        )
        model = AutoModelForCausalLM.from_config(config).eval()
        program = import_torch(
            model,
            make_inputs("llama", 2, 11),
            dynamic_shapes=dynamic_shapes("llama"),
        )
        passes = f"{RAISE},llm-introduce-kv-cache{{max-seq-len=96}}"
        text = run_passes(program.text, f"{passes},llm-optimize,llm-to-buffers")
        return Counter(re.findall(r"^ *(?:%\S+ = )?([a-z_]+\S*)", text, re.M))

    two, five = ops(2), ops(5)
    assert five["call"] == two["call"] + 3 == 5
    assert set(five - two) <= {"call", "memref.view", "arith.constant"}
    assert not two - five
