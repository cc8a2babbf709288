# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What comes from PyTorch computes what PyTorch computes, or is refused in a sentence.

Programs run by MLIR's own passes, compiled once for all sizes.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._dynamo.backends.common import aot_autograd
from torch.export import Dim
from torch.nn import functional
from transformers import PreTrainedModel

import llmir
import tiny
import torch_models
from conftest import RunProgram
from llmir import LLMIRError
from llmir.safetensors import open_checkpoint
from llmir.torch import forms, lowering
from llmir.torch.importer import decompositions, import_graph, import_torch
from llmir.torch.program import Program
from llmir.torch.views import runs
from torch_reference import ReferenceProgram

# Batches and lengths. The windows are 5 and 6, and nothing is a multiple of anything.
SIZES = [(2, 11), (3, 7), (1, 17), (2, 1)]

TOLERANCE = 2e-5


def imported(name: str) -> tuple[PreTrainedModel, Program]:
    """Return a model and its program, with open sizes."""
    model = torch_models.make_model(name)
    program = llmir.import_torch(
        model,
        torch_models.make_inputs(name, 2, 9),
        dynamic_shapes=torch_models.dynamic_shapes(name),
    )
    return model, program


class Function(torch.nn.Module):
    """A function as a module, with a weight."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        torch.manual_seed(0)
        self.weight = torch.nn.Parameter(torch.randn(8, 8))

    def forward(self, *arguments: torch.Tensor) -> Any:
        return self.function(self, *arguments)


def import_function(
    function: Callable[..., Any], *arguments: torch.Tensor, dynamic: bool = True
) -> tuple[Function, Program]:
    """Return a function as a module, and its program; sizes 0 and 1 are open."""
    module = Function(function)
    sizes = tuple({0: Dim.DYNAMIC, 1: Dim.DYNAMIC} for _ in arguments)
    shapes = {"arguments": sizes} if dynamic else None
    return module, import_torch(module, arguments, dynamic_shapes=shapes)


class TestModels:
    @pytest.mark.capability("PyTorch", "{name}", "imported")
    @pytest.mark.parametrize("name", torch_models.VARIANTS)
    def test_outputs_are_those_of_pytorch(self, name: str) -> None:
        model, program = imported(name)
        reference = ReferenceProgram(program.text, program.parameters)
        for batch, length in SIZES:
            inputs = torch_models.make_inputs(name, batch, length, seed=length)
            expected = torch_models.expected(model, inputs).numpy()
            (actual,) = reference(*inputs.values())
            assert tiny.relative_error(actual, expected) < TOLERANCE, (batch, length)
            # It is no constant that they agree on.
            assert np.std(expected) > 0.1

    @pytest.mark.parametrize("name", torch_models.FAMILIES)
    def test_all_sizes_given(self, name: str) -> None:
        model = torch_models.make_model(name)
        inputs = torch_models.make_inputs(name, 2, 11)
        program = import_torch(model, inputs)
        assert "?" not in re.search(r"@main\(.*", program.text)[0]  # type: ignore[index]
        (actual,) = ReferenceProgram(program.text, program.parameters)(*inputs.values())
        expected = torch_models.expected(model, inputs).numpy()
        assert tiny.relative_error(actual, expected) < TOLERANCE

    def test_parameters_have_their_names_and_no_copies(self) -> None:
        model, program = imported("gpt2")
        state = model.state_dict()
        named = set(re.findall(r'llm\.parameter "model"::"([^"]*)"', program.text))
        assert named == set(program.parameters)
        # The head is the embedding, which comes first.
        assert named == set(state) - {"lm_head.weight"}
        for key, tensor in program.parameters.items():
            assert tensor.data_ptr() == state[key].data_ptr()
            assert not tensor.requires_grad

    def test_buffers_that_are_not_saved_are_parameters_too(self) -> None:
        _, program = imported("llama")
        buffers = {key for key in program.parameters if "rotary" in key}
        # There is another buffer, which nobody reads.
        assert buffers == {"model.rotary_emb.inv_freq"}

    def test_inputs_and_outputs_are_described(self) -> None:
        _, program = imported("bert-mask")
        assert [spec.name for spec in program.inputs] == ["input_ids", "attention_mask"]
        assert {(spec.dtype, spec.shape) for spec in program.inputs} == {
            (torch.int64, (None, None))
        }
        (output,) = program.outputs
        assert (output.dtype, output.shape) == (torch.float32, (None, None, 64))

    def test_results_get_the_form_of_forward(self) -> None:
        model, program = imported("bert")
        hidden = torch.ones(1)
        result = program.unflatten([hidden])
        assert type(result) is type(model(**torch_models.make_inputs("bert", 1, 2)))
        assert result.last_hidden_state is hidden

    @pytest.mark.parametrize("name", ["llama", "gpt2"])
    def test_bfloat16(self, name: str) -> None:
        model = torch_models.make_model(name, torch.bfloat16)
        inputs = torch_models.make_inputs(name, 2, 9)
        shapes = torch_models.dynamic_shapes(name)
        program = import_torch(model, inputs, dynamic_shapes=shapes)
        types = {
            key: re.search(rf'"{re.escape(key)}" : tensor<.*x(\w+)>', program.text)
            for key in program.parameters
        }
        for key, match in types.items():
            # The frequencies of RoPE are no weights.
            dtype = "f32" if key.endswith("inv_freq") else "bf16"
            assert match is not None
            assert match[1] == dtype
        reference = ReferenceProgram(program.text, program.parameters)
        exact = torch_models.make_model(name, torch.bfloat16).float()
        for batch, length in SIZES[:3]:
            inputs = torch_models.make_inputs(name, batch, length, seed=length)
            expected = torch_models.expected(exact, inputs).numpy()
            (bits,) = reference(*inputs.values())
            actual = (bits.astype(np.uint32) << 16).view(np.float32)
            theirs = torch_models.expected(model, inputs).float().numpy()
            # As good as PyTorch in bfloat16, which rounds in the same places.
            assert tiny.relative_error(actual, expected) < 1.5 * tiny.relative_error(
                theirs, expected
            )

    def test_text_does_not_grow_with_weights(self) -> None:
        texts = []
        for size in (64, 1024):
            module = torch.nn.Sequential(
                torch.nn.Linear(16, size), torch.nn.Linear(size, 16)
            )
            texts.append(import_torch(module, (torch.randn(2, 16),)).text)
        assert abs(len(texts[0]) - len(texts[1])) < 100
        assert "dense" not in texts[1]

    def test_saved_program_is_one_for_llmir_opt(
        self, tmp_path: Path, run_program: RunProgram
    ) -> None:
        _, program = imported("falcon")
        program.save(tmp_path / "saved")
        names = sorted(path.name for path in tmp_path.rglob("*.*"))
        assert names == ["model.mlir", "model.safetensors"]
        result = run_program(
            *("-m", "llmir.opt", "--canonicalize"), tmp_path / "saved" / "model.mlir"
        )
        assert result.returncode == 0, result.stderr
        assert result.stdout.count("llm.parameter") == len(program.parameters)
        checkpoint = open_checkpoint(tmp_path / "saved")
        assert checkpoint is not None
        for key, tensor in program.parameters.items():
            stored = checkpoint[key]
            assert stored.shape == tensor.shape
            assert stored.data.tobytes() == tensor.numpy().tobytes()

    def test_a_save_that_fails_leaves_nothing(self, tmp_path: Path) -> None:
        _, program = import_function(lambda m, x: x @ m.weight, torch.ones(2, 3, 8))
        (tmp_path / "there").mkdir()
        with pytest.raises(LLMIRError, match="exists already; give a new directory"):
            program.save(tmp_path / "there")
        with pytest.raises(LLMIRError, match=r"cannot write .*No such file"):
            program.save(tmp_path / "no" / "where")
        assert [path.name for path in tmp_path.rglob("*")] == ["there"]


# What the models do not have, or not alone: functions of [b, t, 8] and its weight.
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "view merges": lambda m, x: x.view(-1, 8) @ m.weight,
    "view splits": lambda m, x: x.view(x.shape[0], x.shape[1], 2, 4).transpose(1, 2),
    "view crosses": lambda m, x: x.reshape(x.shape[1], x.shape[0], 8),
    "view adds ones": lambda m, x: x.view(1, x.shape[0], 1, x.shape[1], 8, 1),
    "view of all": lambda m, x: x.reshape(-1),
    "cumulative sum": lambda m, x: x.cumsum(1),
    "cumulative sum, first": lambda m, x: x.cumsum(0),
    "cumulative product": lambda m, x: (1 + 0.1 * x).cumprod(1),
    "square": lambda m, x: x.pow(2),
    "cube": lambda m, x: x**3,
    "fifth power": lambda m, x: x**5,
    "inverse": lambda m, x: (x.abs() + 1) ** -1,
    "power": lambda m, x: (x.abs() + 1) ** 1.7,
    "rotation": lambda m, x: torch.cat((-x[..., 4:], x[..., :4]), -1),
    "interleaved": lambda m, x: torch.stack((-x[..., 1::2], x[..., ::2]), -1).flatten(
        2
    ),
    "softmax": lambda m, x: functional.softmax(x, -1),
    "log softmax": lambda m, x: functional.log_softmax(x, -1),
    "silu": lambda m, x: functional.silu(x),
    "gelu": lambda m, x: functional.gelu(x),
    "gelu tanh": lambda m, x: functional.gelu(x, approximate="tanh"),
    "relu": lambda m, x: functional.relu(x),
    "softplus": lambda m, x: functional.softplus(x),
    "layer norm": lambda m, x: functional.layer_norm(x, (8,)),
    "rms norm": lambda m, x: functional.rms_norm(x, (8,), m.weight[0]),
    "attention": lambda m, x: functional.scaled_dot_product_attention(
        x[:, None], x[:, None], x[:, None], is_causal=True
    ),
    "attention, masked": lambda m, x: functional.scaled_dot_product_attention(
        x[:, None], x[:, None], x[:, None], x[:, None, :, :1] > 0
    ),
    "triangle": lambda m, x: (x @ x.transpose(1, 2)).tril(),
    "where": lambda m, x: torch.where(x > 0, x, x.exp() - 1),
    "clamp": lambda m, x: x.clamp(-0.5, 0.25),
    "maximum": lambda m, x: x.amax(-1, keepdim=True) - x.amin(1, keepdim=True),
    "arg max": lambda m, x: x.argmax(-1),
    "mean and deviation": lambda m, x: (x.mean(1), x.var(-1)),
    "arange": lambda m, x: x + torch.arange(x.shape[1], device=x.device)[None, :, None],
    "einsum": lambda m, x: torch.einsum("btk,nk->nbt", x, m.weight),
    "gather": lambda m, x: m.weight[(x[..., 0] > 0).long()],
    "repeat": lambda m, x: x.repeat_interleave(3, dim=-1),
    "comparison": lambda m, x: (x > 0) & ~(x.abs() < 0.5),
    "logical": lambda m, x: (x > 0).any(-1) | (x < 0).all(1, keepdim=True)[..., 0],
    "integers": lambda m, x: (x * 10).long() // 3 + (x * 10).long() % 3,
    "integer product": lambda m, x: (x * 10).long() * (x + 1).long(),
    "truths": lambda m, x: (x > 0).float() + (x * 2).long().bool().sum(-1, True),
    "other integers": lambda m, x: (x * 9).long().int() + (x * 9).to(torch.int8),
    "rounding": lambda m, x: x.floor() + x.round() - x.trunc() + x.ceil(),
    "functions": lambda m, x: (x.sin() + x.cos() * x.tanh() + x.sigmoid()).erf(),
    "logarithm": lambda m, x: (x.abs() + 1).log() + (x.abs() + 2).sqrt(),
    "pad": lambda m, x: functional.pad(x, (1, 2)),
    "flip": lambda m, x: x.flip(-1),
    "float64": lambda m, x: x.double().mean(-1),
    "constant": lambda m, x: x * torch.tensor([1.0, 2, 3, 4, 5, 6, 7, 8]),
    "vector": lambda m, x: x @ m.weight[0],
    "split": lambda m, x: x.split(4, dim=-1)[1] * x.chunk(2, dim=-1)[0],
    "several results": lambda m, x: {"a": x + 1, "b": (x, None, 3)},
}


class TestFunctions:
    @pytest.mark.parametrize("dynamic", [True, False])
    @pytest.mark.parametrize("name", FUNCTIONS)
    def test_values_are_those_of_pytorch(self, name: str, dynamic: bool) -> None:
        torch.manual_seed(1)
        module, program = import_function(
            FUNCTIONS[name], torch.randn(2, 5, 8), dynamic=dynamic
        )
        reference = ReferenceProgram(program.text, program.parameters)
        for sizes in [(2, 5), (3, 4), (7, 2)] if dynamic else [(2, 5)]:
            x = torch.randn(*sizes, 8)
            actual = program.unflatten(reference(x))
            expected = module(x)
            leaves = torch.utils._pytree.tree_leaves
            for found, leaf in zip(leaves(actual), leaves(expected), strict=True):
                if not isinstance(leaf, torch.Tensor):
                    assert found == leaf
                    continue
                assert found.shape == leaf.shape
                exact = leaf.detach().numpy()
                if not leaf.is_floating_point():
                    assert np.array_equal(found, exact)
                else:
                    assert np.abs(found - exact).max() < 5e-6 * np.abs(exact).max()


class TestGraphs:
    def test_what_torch_compile_traces(self) -> None:
        def forward(module: Function, x: torch.Tensor) -> Any:
            scale = torch.tensor([1.0, 2, 3, 4, 5, 6, 7, 8])
            return (x @ module.weight).view(-1, 4), x.shape[1], None, x * scale

        graphs = []

        def compile_graph(
            graph_module: torch.fx.GraphModule, inputs: list[Any]
        ) -> Callable[..., Any]:
            graphs.append(graph_module)
            return graph_module.forward

        module = Function(forward)
        backend = aot_autograd(
            fw_compiler=compile_graph, decompositions=decompositions()
        )
        with torch.no_grad():
            torch.compile(module, backend=backend, dynamic=True)(torch.ones(3, 5, 8))
        (graph_module,) = graphs
        placeholders = graph_module.graph.find_nodes(op="placeholder")
        (weight,) = (
            node.name
            for node in placeholders
            if isinstance(node.meta["val"], torch.Tensor)
            and node.meta["val"].shape == (8, 8)
        )
        program = import_graph(graph_module, {weight: ("weight", module.weight)})
        assert set(program.parameters) == {"weight", "_tensor_constant0"}
        # Sizes are numbers of their own, and only those that are used.
        scalars = [spec for spec in program.inputs if spec.shape is None]
        (x,) = (spec for spec in program.inputs if spec.shape is not None)
        assert x.shape == (None, None, 8)
        assert 1 <= len(scalars) <= 2
        arguments = re.search(r"@main\((.*?)\) ->", program.text)
        assert arguments is not None
        assert arguments[1].count(": i64") == len(scalars)
        shapes = [spec.shape for spec in program.outputs]
        assert shapes == [(None, 4), None, (None, None, 8)]


class TestTable:
    def test_every_entry_is_reached(self, monkeypatch: pytest.MonkeyPatch) -> None:
        reached = set()
        properties = forms.Form.properties

        def record(form: forms.Form, op: Any) -> dict[str, str]:
            reached.add(op.name)
            return properties(form, op)

        monkeypatch.setattr(forms.Form, "properties", record)
        imported("llama")
        for function in FUNCTIONS.values():
            for dynamic in (True, False):
                import_function(function, torch.randn(2, 5, 8), dynamic=dynamic)
        assert reached == set(forms.FORMS)

    @pytest.mark.parametrize(
        ("op", "message"),
        [
            (
                "arith.addf %x, %x fastmath<fast> : f32",
                "the attribute fastmath = #arith.fastmath<fast> of arith.addf",
            ),
            ("math.acos %x : f32", "the op math.acos"),
            (
                "arith.mulf %x, %x {mine = 1 : i64} : f32",
                "the attribute mine = 1 : i64 of arith.mulf",
            ),
        ],
    )
    def test_other_forms_are_refused(self, op: str, message: str) -> None:
        module = lowering.parse(
            "func.func @main(%x: f32) -> f32 {\n"
            f'  %y = {op} loc("model.py":7:1)\n'
            "  return %y : f32\n"
            "}\n"
        )
        with pytest.raises(lowering.LoweringError) as caught:
            lowering.lower_module(module, {})
        assert caught.value.sentence == (
            f"{message} of torch-mlir has no translation to MLIR 18 at model.py:7"
        )

    def test_a_large_constant_is_refused(self) -> None:
        elements = ", ".join(map(str, range(100)))
        module = lowering.parse(
            "func.func @main() -> tensor<100xi64> {\n"
            f"  %y = arith.constant dense<[{elements}]> : tensor<100xi64>\n"
            "  return %y : tensor<100xi64>\n"
            "}\n"
        )
        with pytest.raises(lowering.LoweringError, match=r"value = dense<.*\.\.\. of"):
            lowering.lower_module(module, {})


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ((2, 3), (6,), [(2, 1)]),
        ((6,), (2, 3), [(1, 2)]),
        ((4, 6), (4, 2, 3), [(1, 1), (1, 2)]),
        ((2, 3, 4), (3, 2, 4), [(2, 2), (1, 1)]),
        ((2, 3), (2, 1, 3, 1), [(1, 1), (1, 3)]),
        ((1, 1), (), []),
        ((5, 1, 1), (5,), [(3, 1)]),
    ],
)
def test_runs_of_views(
    before: tuple[int, ...], after: tuple[int, ...], expected: list[tuple[int, int]]
) -> None:
    assert runs(before, after) == expected


class Batches(torch.nn.Module):
    """Changes a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x)


class TestErrors:
    def refuse(self, match: str, module: Any, inputs: Any, **options: Any) -> str:
        with pytest.raises(LLMIRError, match=match) as caught:
            import_torch(module, inputs, **options)
        text = str(caught.value)
        assert "\n" not in text
        return text

    def test_no_module(self) -> None:
        self.refuse("takes a torch.nn.Module, not a value of type int", 3, ())

    @pytest.mark.parametrize(
        ("inputs", "message"),
        [
            (torch.ones(2, 8), "must be a tuple .* not a value of type Tensor"),
            ((np.ones((2, 8)),), "example input 0 is a value of type ndarray"),
            ({"input": "text"}, "torch.export cannot export Linear: .* must be Tensor"),
            ({"other": torch.ones(2, 8)}, "Linear: missing a required argument"),
            ((torch.ones(2, 7),), "Linear: a and b must have same reduction dim"),
            (
                (torch.ones(2, 8, dtype=torch.complex64),),
                "example input 0 is of torch.complex64, which is not supported",
            ),
        ],
    )
    def test_inputs(
        self, inputs: Any, message: str, capfd: pytest.CaptureFixture[str]
    ) -> None:
        self.refuse(message, torch.nn.Linear(8, 8), inputs)
        # PyTorch prints a traceback of its own.
        assert capfd.readouterr() == ("", "")

    @pytest.mark.parametrize(
        ("shapes", "message"),
        [
            ("abc", "dynamic_shapes must be a dictionary or a tuple"),
            ({"other": {0: Dim.DYNAMIC}}, "its top-level keys must be the arg names"),
            ({"input": {2: Dim.DYNAMIC}}, "opens dimension 2 of 'input', which has"),
            ({"input": {1: Dim.DYNAMIC}}, "Constraints violated"),
            ({"input": {0: "batch"}}, "got 'batch' instead"),
            ({"input": {0: 7}}, "Static shape constraint of 7 does not match"),
        ],
    )
    def test_dynamic_shapes(self, shapes: Any, message: str) -> None:
        inputs = {"input": torch.ones(2, 8)}
        self.refuse(message, torch.nn.Linear(8, 8), inputs, dynamic_shapes=shapes)

    def test_control_flow_that_depends_on_data(
        self, capfd: pytest.CaptureFixture[str]
    ) -> None:
        module = Function(lambda m, x: x if x.sum() > 0 else -x)
        self.refuse(
            "cannot export Function: .* data-dependent", module, (torch.ones(2),)
        )
        assert capfd.readouterr() == ("", "")

    def test_an_op_that_torch_mlir_does_not_lower(
        self, run_program: RunProgram, capfd: pytest.CaptureFixture[str]
    ) -> None:
        module = Function(lambda m, x: torch.fft.fft(x).real)
        text = self.refuse("fft", module, (torch.ones(2, 8),))
        assert capfd.readouterr() == ("", "")
        self.check_reproduced(text, run_program)

    def test_an_op_without_translation(self, run_program: RunProgram) -> None:
        module = Function(lambda m, x: x.sort(-1)[0])
        text = self.refuse(
            r"the op tm_tensor\.sort of torch-mlir has no translation to MLIR 18 "
            rf"at {__file__}:\d+, which has aten\.sort\.default",
            module,
            (torch.ones(2, 8),),
        )
        self.check_reproduced(text, run_program)

    def check_reproduced(self, text: str, run_program: RunProgram) -> None:
        """Check that the command in a message fails in the same way."""
        text, command = text.split("; reproduce this with: ")
        _, *arguments = shlex.split(command)
        result = run_program(*arguments)
        Path(arguments[-1]).unlink()
        assert result.returncode == 1
        assert result.stderr.startswith("llmir: error: ")
        assert result.stderr.removeprefix("llmir: error: ").strip() in text

    def test_dropout(self) -> None:
        module = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Dropout(0.5))
        self.refuse(
            r"draws random numbers \(aten.dropout.default at .*\); call eval\(\) first",
            module,
            (torch.ones(2, 8),),
        )
        import_torch(module.eval(), (torch.ones(2, 8),))

    def test_changes_of_buffers(self) -> None:
        self.refuse("changes norm.running_mean", Batches(), (torch.ones(4, 8),))
        import_torch(Batches().eval(), (torch.ones(4, 8),))

    def test_weights_of_other_types(self) -> None:
        module = Function(lambda m, x: x * m.other.real)
        module.register_buffer("other", torch.ones(8, dtype=torch.complex64))
        self.refuse(
            "the weight other is of torch.complex64", module, (torch.ones(2, 8),)
        )

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"func.func @main() {", "no program of the torch dialect"),
            (b"\xff", "is not UTF-8 text"),
        ],
    )
    def test_files(
        self, tmp_path: Path, run_program: RunProgram, content: bytes, message: str
    ) -> None:
        (tmp_path / "x.mlir").write_bytes(content)
        result = run_program("-m", "llmir.torch", tmp_path / "x.mlir")
        assert result.returncode == 1
        assert re.fullmatch(rf"llmir: error: .*{message}.*\n", result.stderr)


class TestPackage:
    def test_importing_llmir_does_not_import_pytorch(
        self, run_program: RunProgram
    ) -> None:
        result = run_program(
            "-c",
            "import sys, llmir\n"
            "assert 'torch' not in sys.modules\n"
            "import llmir.torch\n"
            "assert 'torch_mlir' not in sys.modules\n"
            "assert callable(llmir.import_torch)\n"
            "assert 'torch_mlir' in sys.modules",
        )
        assert result.returncode == 0, result.stderr

    @pytest.mark.parametrize("package", ["torch", "torch_mlir"])
    def test_a_package_that_is_missing(
        self, run_program: RunProgram, package: str
    ) -> None:
        result = run_program(
            "-c",
            f"import sys; sys.modules[{package!r}] = None\n"
            "import llmir\n"
            "try: llmir.import_torch\n"
            "except llmir.LLMIRError as error: print(error)",
        )
        name = package.replace("_", "-")
        assert result.stdout.startswith(f"the package {name} cannot be loaded (")
        assert "`pip install 'llmir[torch]'`" in result.stdout
