# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What raising as a whole finds in programs from PyTorch: all that the models have.

An attention a layer, every norm, queries and keys of each layer that are rotated, and
no product that is left. That numbers stay the same is shown beside the passes.
"""

from __future__ import annotations

import re
from collections import Counter

import pytest

import torch_models
from llmir import _native
from llmir.torch.importer import import_torch


@pytest.mark.capability("PyTorch", "{name}", "raised")
@pytest.mark.parametrize("dynamic", [True, False], ids=["dynamic", "static"])
@pytest.mark.parametrize("name", torch_models.VARIANTS)
def test_everything_is_raised(name: str, dynamic: bool) -> None:
    family = torch_models.VARIANTS[name]
    program = import_torch(
        torch_models.make_model(name),
        torch_models.make_inputs(name, 2, 9),
        dynamic_shapes=torch_models.dynamic_shapes(name) if dynamic else None,
    )
    module = _native.compiler().Module.parse(program.text)
    # Layers that are outlined are there once.
    module.run("llm-raise{outline-layers=false}")
    ops = Counter(re.findall(r"\bllm\.(\w+)", str(module)))
    found = {op: ops[op] for op in ("attention", "rms_norm", "layer_norm", "rope")}
    print(f"{name:14}", *(f"{count:3} {op}" for op, count in found.items()))
    assert found == {
        "attention": family.layers,
        "rms_norm": family.rms_norms,
        "layer_norm": family.layer_norms,
        "rope": family.ropes,
    }
    assert not re.search(r"linalg\.(batch_)?matmul", str(module))
