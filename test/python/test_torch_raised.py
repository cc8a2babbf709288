# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What raising finds in programs from PyTorch: all of it, and it computes the same.

Counts are of the models' own structure: an attention a layer, every norm, queries and
keys of each layer that are rotated.
"""

from __future__ import annotations

import re
from collections import Counter

import pytest

import tiny
import torch_models
from llmir import _native
from llmir.torch.importer import import_torch
from torch_models import Family
from torch_reference import ReferenceProgram

SIZES = [(2, 11), (1, 7), (3, 17)]

TOLERANCE = 2e-5


def found(text: str) -> dict[str, int]:
    """Return how many ops there are of each kind that a model has a number of."""
    ops = Counter(re.findall(r"\bllm\.(\w+)", text))
    return {
        "attentions": ops["attention"],
        "rms_norms": ops["rms_norm"],
        "layer_norms": ops["layer_norm"],
        "ropes": ops["rope"],
    }


def expected(family: Family) -> dict[str, int]:
    """Return what a model has."""
    return {
        "attentions": family.layers,
        "rms_norms": family.rms_norms,
        "layer_norms": family.layer_norms,
        "ropes": family.ropes,
    }


@pytest.mark.capability("PyTorch", "{name}", "raised")
@pytest.mark.parametrize("name", torch_models.VARIANTS)
def test_everything_is_raised(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    model = torch_models.make_model(name)
    program = import_torch(
        model,
        torch_models.make_inputs(name, 2, 9),
        dynamic_shapes=torch_models.dynamic_shapes(name),
    )
    module = _native.compiler().Module.parse(program.text)
    module.run("llm-raise")
    counts = found(str(module))
    with capsys.disabled():
        print(f"\n{name:18}", *(f"{n:3} {kind}" for kind, n in counts.items()), end=" ")
    assert counts == expected(torch_models.VARIANTS[name])
    # What is left is no product: those are llm.linear, or in an attention.
    assert not re.search(r"linalg\.(batch_)?matmul", str(module))
    reference = ReferenceProgram(str(module), program.parameters)
    for batch, length in SIZES:
        inputs = torch_models.make_inputs(name, batch, length, seed=length)
        exact = torch_models.expected(model, inputs).numpy()
        (actual,) = reference(*inputs.values())
        assert tiny.relative_error(actual, exact) < TOLERANCE, (batch, length)


@pytest.mark.parametrize("name", torch_models.FAMILIES)
def test_with_all_sizes_given(name: str) -> None:
    model = torch_models.make_model(name)
    inputs = torch_models.make_inputs(name, 2, 11)
    program = import_torch(model, inputs)
    module = _native.compiler().Module.parse(program.text)
    module.run("llm-raise")
    assert found(str(module)) == expected(torch_models.FAMILIES[name])
    (actual,) = ReferenceProgram(str(module), program.parameters)(*inputs.values())
    exact = torch_models.expected(model, inputs).numpy()
    assert tiny.relative_error(actual, exact) < TOLERANCE


@pytest.mark.parametrize("name", ["llama", "gpt2", "bert-mask"])
def test_raising_twice_is_raising_once(name: str) -> None:
    program = import_torch(
        torch_models.make_model(name),
        torch_models.make_inputs(name, 2, 9),
        dynamic_shapes=torch_models.dynamic_shapes(name),
    )
    module = _native.compiler().Module.parse(program.text)
    module.run("llm-raise")
    once = str(module)
    module.run("llm-raise")
    assert str(module) == once
