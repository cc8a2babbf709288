# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Attention and rotary embeddings of PyTorch models, as raising finds them.

Every layer of every family is found, however it is spelled, and the program still
computes what PyTorch does.
"""

from __future__ import annotations

import re

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torch_mlir")

import torch_models  # noqa: E402
from llmir import _native  # noqa: E402
from llmir.torch.importer import import_torch  # noqa: E402
from tiny import relative_error  # noqa: E402
from torch_reference import ReferenceProgram  # noqa: E402

RAISE = "func.func(llm-raise-rope,llm-raise-attention)"
# What torch's models say beside their sizes.
ATTRIBUTES = {
    "llama": ["causal"] * 2,
    "qwen3": ["causal"] * 2,
    "mistral": ["causal window 5"] * 2,
    "gemma2": [
        "causal window 6 softcap 5",
        "causal softcap 5",
        "causal window 6 softcap 5",
    ],
    "gpt2": ["causal"] * 2,
    "gpt_neox": ["causal"] * 2,
    "phi": ["causal"] * 2,
    "falcon": ["causal"] * 2,
    "bert": [""] * 2,
    "minilm": [""] * 6,
    "bert-mask": ["mask"] * 2,
    "minilm-mask": ["mask"] * 6,
}


def raised(name: str, dynamic: bool) -> tuple[str, str, dict[str, torch.Tensor]]:
    """Return a model's program before and after raising, and its parameters."""
    model = torch_models.make_model(name)
    inputs = torch_models.make_inputs(name, 2, 11)
    shapes = torch_models.dynamic_shapes(name) if dynamic else None
    program = import_torch(model, inputs, dynamic_shapes=shapes)
    module = _native.compiler().Module.parse(program.text)
    module.run(RAISE)
    return program.text, str(module), program.parameters


def attributes_of(text: str) -> list[str]:
    """Return what each attention of a program says."""
    found = []
    for line in re.findall(r"= llm\.attention (.*)", text):
        words = [word for word in ("causal",) if f"{{{word}" in line]
        for word, pattern in (
            ("window", r"window = (\d+)"),
            ("softcap", r"softcap = (\d)\.0"),
        ):
            number = re.search(pattern, line) if word in line else None
            words += [word, number[1]] if number else []
        if " mask " in line:
            words.append("mask")
        found.append(" ".join(words))
    return found


@pytest.mark.parametrize("dynamic", [True, False], ids=["dynamic", "static"])
@pytest.mark.parametrize("name", torch_models.VARIANTS)
def test_every_layer_is_raised(name: str, dynamic: bool) -> None:
    """As many ops as layers, with the attributes that the model has; equal outputs."""
    family = torch_models.VARIANTS[name]
    _, text, parameters = raised(name, dynamic)
    assert attributes_of(text) == ATTRIBUTES[name.removesuffix("-eager")]
    assert text.count("llm.rope ") == family.ropes
    # Queries and keys of all layers read one table.
    assert text.count("llm.rope_table ") == (1 if family.ropes else 0)
    # KV heads are not repeated.
    for query, keys in re.findall(
        r"llm\.attention .* : \(tensor<[^>]*x(\d+)x\d+xf32>, "
        r"tensor<[^>]*x(\d+)x\d+xf32>",
        text,
    ):
        fields = family.fields
        heads = fields.get("num_key_value_heads", query)
        assert keys == ("1" if name.startswith("falcon") else str(heads))

    model = torch_models.make_model(name)
    program = ReferenceProgram(text, parameters)
    sizes = [(2, 11), (3, 7), (1, 17), (1, 1)] if dynamic else [(2, 11)]
    for batch, length in sizes:
        inputs = torch_models.make_inputs(name, batch, length, seed=length)
        expected = torch_models.expected(model, inputs).numpy()
        (actual,) = program(*inputs.values())
        assert relative_error(actual, expected) < 2e-5
