# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`torch.compile(..., backend="llmir")`: as eager, at any length, compiled once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomllib

torch = pytest.importorskip("torch")
pytest.importorskip("torch_mlir")
pytest.importorskip("transformers")

from torch._dynamo.exc import BackendCompilerFailed  # noqa: E402

import llmir.torch  # noqa: E402
import torch_models  # noqa: E402
from llmir.torch import dynamo_backend  # noqa: E402

ROOT = Path(__file__).parents[2]

# Of PyTorch in float32.
ALLOWED = 2e-5


@pytest.fixture(autouse=True)
def fresh_dynamo() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Counted:
    """The backend, and how often Dynamo has asked it."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, graph: Any, inputs: Any) -> Any:
        self.count += 1
        return dynamo_backend(graph, inputs)


def first_tensor(output: Any) -> Any:
    return output[0]


def distance(found: Any, expected: Any) -> float:
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("name", list(torch_models.FAMILIES))
def test_models_at_several_lengths(name: str) -> None:
    model = torch_models.make_model(name)
    backend = Counted()
    compiled = torch.compile(model, backend=backend)
    with torch.no_grad():
        for batch, length in ((2, 7), (2, 11), (3, 19)):
            inputs = torch_models.make_inputs(name, batch, length)
            for tensor in inputs.values():
                torch._dynamo.mark_dynamic(tensor, [0, 1])
            expected = first_tensor(model(**inputs))
            assert distance(first_tensor(compiled(**inputs)), expected) < ALLOWED
    assert backend.count == 1


def test_open_sizes_are_found_at_the_second_length() -> None:
    model = torch_models.make_model("llama")
    backend = Counted()
    compiled = torch.compile(model, backend=backend)
    counts = []
    with torch.no_grad():
        for length in (5, 8, 13, 21):
            inputs = torch_models.make_inputs("llama", 2, length)
            expected = first_tensor(model(**inputs))
            assert distance(first_tensor(compiled(**inputs)), expected) < ALLOWED
            counts.append(backend.count)
    assert counts == [1, 2, 2, 2]


def test_everything_that_may_be_open() -> None:
    model = torch_models.make_model("llama")
    backend = Counted()
    compiled = torch.compile(model, backend=backend, dynamic=True)
    with torch.no_grad():
        for length in (5, 8, 13):
            inputs = torch_models.make_inputs("llama", 2, length)
            expected = first_tensor(model(**inputs))
            assert distance(first_tensor(compiled(**inputs)), expected) < ALLOWED
    # Dynamo itself may find a guard too narrow once, and never by length.
    assert backend.count <= 2


def test_numbers_that_change() -> None:
    def function(x: Any, scale: float) -> Any:
        return x * scale + 1

    compiled = torch.compile(function, backend="llmir", dynamic=True)
    x = torch.randn(4, 5)
    with torch.no_grad():
        for scale in (2.0, 3.0, 2.0, 0.5):
            assert distance(compiled(x, scale), function(x, scale)) < ALLOWED


class Layers(torch.nn.Module):
    """Two products, a buffer, and an op that no graph holds."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(8, 16)
        self.second = torch.nn.Linear(16, 4, bias=False)
        self.register_buffer("offset", torch.arange(4.0))

    def forward(self, x: Any, breaks: bool = False) -> Any:
        hidden = torch.relu(self.first(x))
        if breaks:
            torch._dynamo.graph_break()
        return self.second(hidden) + self.offset, hidden.sum(-1) > 1


def make_layers() -> Any:
    torch.manual_seed(1)
    return Layers().eval()


@pytest.mark.parametrize("breaks", [False, True])
def test_graph_breaks_and_several_results(breaks: bool) -> None:
    model = make_layers()
    compiled = torch.compile(model, backend="llmir")
    x = torch.randn(5, 8)
    with torch.inference_mode():
        found, expected = compiled(x, breaks), model(x, breaks)
    assert distance(found[0], expected[0]) < ALLOWED
    assert torch.equal(found[1], expected[1])


def test_weights_that_change_are_taken() -> None:
    model = make_layers()
    compiled = torch.compile(model, backend="llmir")
    x = torch.randn(5, 8)
    with torch.no_grad():
        compiled(x)
        for change in (
            lambda: model.first.weight.mul_(2),
            lambda: model.offset.add_(1),
            lambda: setattr(
                model.second, "weight", torch.nn.Parameter(torch.ones(4, 16))
            ),
            lambda: setattr(model.first.bias, "data", torch.randn(16)),
            lambda: model.load_state_dict(make_layers().state_dict()),
        ):
            before = compiled(x)[0]
            change()
            expected = model(x)[0]
            assert distance(before, expected) > 1e-3
            assert distance(compiled(x)[0], expected) < ALLOWED


def test_inputs_in_any_order_and_no_inputs_at_all() -> None:
    def function(x: Any) -> Any:
        return torch.softmax(x @ x.transpose(-1, -2), -1)

    compiled = torch.compile(function, backend="llmir", dynamic=True)
    with torch.no_grad():
        for x in (
            torch.randn(3, 6, 4),
            torch.randn(6, 9, 3).permute(2, 0, 1),
            torch.randn(5, 8, 8)[:, ::2],
            torch.randn(2, 0, 3),
        ):
            assert compiled(x).shape == function(x).shape
            if x.numel():
                assert distance(compiled(x), function(x)) < ALLOWED


def test_gradients_are_refused() -> None:
    compiled = torch.compile(make_layers(), backend="llmir")
    with pytest.raises(BackendCompilerFailed, match="compiles for inference"):
        compiled(torch.randn(2, 8))
    with torch.no_grad():
        compiled(torch.randn(2, 8))


def test_what_has_no_translation_is_named() -> None:
    def function(x: Any) -> Any:
        return torch.linalg.svd(x)[1]

    with (
        torch.no_grad(),
        pytest.raises(BackendCompilerFailed, match=r"LLMIRError: .*svd"),
    ):
        torch.compile(function, backend="llmir")(torch.randn(4, 4))


def test_options() -> None:
    x = torch.randn(2, 8)
    model = make_layers()
    with torch.no_grad():
        compiled = torch.compile(model, backend="llmir", options={"threads": 1})
        assert distance(compiled(x)[0], model(x)[0]) < ALLOWED
        torch._dynamo.reset()
        compiled = torch.compile(model, backend="llmir", options={"tea": 1})
        with pytest.raises(BackendCompilerFailed, match="has no option 'tea'"):
            compiled(x)


def test_the_name_is_known() -> None:
    assert "llmir" in torch._dynamo.list_backends()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    entry = project["project"]["entry-points"]["torch_dynamo_backends"]["llmir"]
    assert entry == "llmir.torch:dynamo_backend"
    assert llmir.torch.dynamo_backend is dynamo_backend
