# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""From a PyTorch module to a program: export, torch-mlir, text of MLIR 18.

`torch.export` traces the module, torch-mlir lowers the graph to linalg, and
`llmir.torch.translate` writes that for LLVM 18. Parameters and buffers are inputs of
the exported graph; they become named references, so the text holds no weight. The
result has been parsed and verified by the compiler before anyone sees it.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import logging
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from typing import Any

import torch
from torch.export.graph_signature import InputKind, OutputKind
from torch.utils import _pytree as pytree

from llmir.errors import LLMIRError
from llmir.torch import lowering
from llmir.torch.program import STORED, Program, Result, TensorSpec
from llmir.torch.views import split_views

Weights = Mapping[str, tuple[str, torch.Tensor]]
Decompositions = dict[Any, Callable[..., Any]]


def import_torch(
    module: torch.nn.Module,
    example_inputs: tuple[Any, ...] | Mapping[str, Any],
    *,
    dynamic_shapes: Any = None,
) -> Program:
    """Return a module as a program.

    module: is taken as it is; call its `eval()` first.
    example_inputs: what `forward` is called with: a tuple of arguments, or a
        dictionary of keywords. Their sizes hold where `dynamic_shapes` does not leave
        them open.
    dynamic_shapes: the sizes that are open, as `torch.export.export` takes them, such
        as `{"input_ids": {0: torch.export.Dim.DYNAMIC}}`. An open size is not 0 or 1 in
        the example.

    Raises LLMIRError if PyTorch cannot export the module, or if it has an op that does
    not have a translation.
    """
    if not isinstance(module, torch.nn.Module):
        raise LLMIRError(
            f"import_torch takes a torch.nn.Module, not {_article(module)}"
        )
    arguments, keywords = _check_inputs(example_inputs)
    _check_dimensions(dynamic_shapes, arguments, keywords)
    name = type(module).__name__
    with _quiet(), torch.no_grad():
        try:
            exported = torch.export.export(
                module, arguments, keywords, dynamic_shapes=dynamic_shapes
            )
            _check_randomness(exported.graph, name)
            exported = exported.run_decompositions(decompositions())
        except LLMIRError:
            raise
        # Whatever the module's own code raises comes out here too.
        except Exception as error:
            raise LLMIRError(
                f"torch.export cannot export {name}: {_first_line(error)}"
            ) from error
    return import_exported(exported, name)


def import_exported(exported: torch.export.ExportedProgram, name: str) -> Program:
    """Return an exported module, whose ops are decomposed, as a program.

    name: of the module, for messages.
    """
    signature = exported.graph_signature
    weights: dict[str, tuple[str, torch.Tensor]] = {}
    # PyTorch names a tied weight by any of its names; files have the first.
    names: dict[Any, str] = {}
    for key, tensor in exported.state_dict.items():
        names.setdefault(_identity(tensor), key)
    for spec in signature.input_specs:
        if spec.kind == InputKind.USER_INPUT:
            continue
        if spec.kind in (
            InputKind.PARAMETER,
            InputKind.BUFFER,
            InputKind.CONSTANT_TENSOR,
        ):
            assert spec.target is not None
            tensor = exported.state_dict.get(spec.target)
            if tensor is None:
                tensor = exported.constants[spec.target]
            key = names.get(_identity(tensor), spec.target)
            weights[spec.arg.name] = (key, tensor)
            continue
        raise LLMIRError(
            f"{name} has an input that is no tensor: {spec.arg.name} "
            f"({spec.kind.name.lower()})"
        )
    for output in signature.output_specs:
        if output.kind != OutputKind.USER_OUTPUT:
            raise LLMIRError(
                f"forward of {name} changes {output.target}, and a program changes "
                "nothing but its results; if this is a batch norm or a cache, call "
                "eval() first or leave the cache out"
            )
    program = import_graph(exported.graph_module, weights)
    out_spec = exported.call_spec.out_spec
    assert out_spec is not None
    result = Result(program.result.leaves, out_spec)
    return dataclasses.replace(program, result=result)


def import_graph(graph_module: torch.fx.GraphModule, parameters: Weights) -> Program:
    """Return a graph of ATen ops as a program.

    graph_module: as `aot_autograd` or `torch.export` make it: functional, decomposed by
        `decompositions()`, with a FakeTensor (or a SymInt) as `meta["val"]` of each
        node.
    parameters: of each placeholder that is a weight its key and the tensor. The other
        placeholders are arguments, whose `TensorSpec` has the placeholder's name;
        placeholders that are no tensors and not used are left out.

    Raises LLMIRError if an op does not have a translation.
    """
    graph, weights, leaves = _prepared(graph_module, parameters)
    inputs = []
    keys: dict[int, str] = {}
    tensors: dict[str, torch.Tensor] = {}
    # Tied weights are one tensor, under the first of its names.
    names: dict[Any, str] = {}
    placeholders = [node for node in graph.nodes if node.op == "placeholder"]
    for i, node in enumerate(placeholders):
        if node.name not in weights:
            inputs.append(_spec(node))
            continue
        key, tensor = weights[node.name]
        if tensor.dtype not in STORED:
            raise LLMIRError(
                f"the weight {key} is of {tensor.dtype}, which is not supported"
            )
        keys[i] = names.setdefault(_identity(tensor), key)
        tensors[keys[i]] = tensor.detach()
    (output,) = graph.find_nodes(op="output")
    outputs = tuple(_spec(node) for node in output.args[0])
    spec = pytree.tree_structure([None] * len(leaves))
    return Program(
        lowering.lower(graph, keys),
        tensors,
        tuple(inputs),
        outputs,
        Result(tuple(leaves), spec),
    )


@functools.cache
def decompositions() -> Decompositions:
    """Return what graphs are to be decomposed by before `import_graph`."""
    from torch_mlir.extras.fx_decomp_util import get_decomposition_table

    table: Decompositions = dict(get_decomposition_table())
    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
    decomposed = table[attention]

    def as_the_kernel_does(*arguments: Any, **keywords: Any) -> Any:
        # The kernel's result has the heads of a token side by side in memory, and what
        # follows it may view them as one dimension. PyTorch's decomposition has not.
        output, *rest = decomposed(*arguments, **keywords)
        return output.transpose(1, 2).contiguous().transpose(1, 2), *rest

    table[attention] = as_the_kernel_does

    def gelu(value: torch.Tensor, approximate: str = "none") -> Any:
        # torch-mlir takes 0.797724 for the root of 2 / pi, which is 0.797885.
        if approximate != "tanh":
            return NotImplemented
        x = value.float() if value.dtype in (torch.bfloat16, torch.float16) else value
        inner = math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x))
        return (0.5 * x * (1 + torch.tanh(inner))).to(value.dtype)

    table[torch.ops.aten.gelu.default] = gelu
    return table


def _prepared(
    graph_module: torch.fx.GraphModule, parameters: Weights
) -> tuple[torch.fx.Graph, dict[str, tuple[str, torch.Tensor]], list[Any]]:
    """Return a copy of a graph that torch-mlir takes.

    Also the weights among its placeholders, and of each result its place among those of
    the copy, or None and its value.
    """
    graph = torch.fx.Graph()
    copies: dict[torch.fx.Node, torch.fx.Node] = {}
    result = graph.graph_copy(graph_module.graph, copies)
    weights: dict[str, tuple[str, torch.Tensor]] = {}
    leaves: list[tuple[int | None, Any]] = []
    returned: list[torch.fx.Node] = []
    for leaf in pytree.tree_leaves(result, is_leaf=lambda value: value is None):
        if isinstance(leaf, torch.fx.Node):
            leaves.append((len(returned), None))
            returned.append(leaf)
        else:
            leaves.append((None, leaf))
    graph.output(tuple(returned))
    for node in list(graph.nodes):
        if node.op == "get_attr":
            tensor = _attribute(graph_module, str(node.target))
            with graph.inserting_before(next(iter(graph.nodes))):
                moved = graph.placeholder(re.sub(r"\W", "_", str(node.target)))
            moved.meta = dict(node.meta)
            moved.meta.setdefault("val", tensor)
            node.replace_all_uses_with(moved)
            graph.erase_node(node)
            weights[moved.name] = (str(node.target), tensor)
            node = moved
        elif node.op != "placeholder":
            continue
        elif node.name in parameters:
            weights[node.name] = parameters[node.name]
        elif not isinstance(node.meta.get("val"), torch.Tensor) and not node.users:
            graph.erase_node(node)
        if node.name in weights:
            _place_weight(graph, node, weights)
    split_views(graph)
    return graph, weights, leaves


def _attribute(module: torch.nn.Module, path: str) -> torch.Tensor:
    value: Any = module
    for name in path.split("."):
        value = getattr(value, name)
    assert isinstance(value, torch.Tensor)
    return value


def _place_weight(
    graph: torch.fx.Graph,
    node: torch.fx.Node,
    weights: dict[str, tuple[str, torch.Tensor]],
) -> None:
    """Drop a weight that is not used, and write one number as the number."""
    _, tensor = weights[node.name]
    if not node.users:
        graph.erase_node(node)
        del weights[node.name]
    elif tensor.numel() == 1 and not isinstance(tensor, torch.nn.Parameter):
        after = next(n for n in graph.nodes if n.op != "placeholder")
        with graph.inserting_before(after):
            number = graph.call_function(
                torch.ops.aten.full.default,
                (list(tensor.shape), tensor.item()),
                {"dtype": tensor.dtype, "device": tensor.device, "pin_memory": False},
            )
        number.meta = dict(node.meta)
        node.replace_all_uses_with(number)
        graph.erase_node(node)
        del weights[node.name]


def _spec(node: torch.fx.Node) -> TensorSpec:
    value = node.meta["val"]
    if not isinstance(value, torch.Tensor):
        return TensorSpec(node.name, torch.int64, None)
    shape = tuple(size if isinstance(size, int) else None for size in value.shape)
    return TensorSpec(node.name, value.dtype, shape)


def _identity(tensor: torch.Tensor) -> Any:
    """Return what is equal for tensors that are the same memory."""
    return (
        # Not the address: what is on no device, or empty, has none.
        tensor.untyped_storage()._cdata,
        tensor.storage_offset(),
        tensor.shape,
        tensor.stride(),
        tensor.dtype,
    )


def _check_inputs(given: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return positional arguments and keywords, or say what is wrong with them."""
    if isinstance(given, tuple):
        arguments, keywords = given, {}
    elif isinstance(given, Mapping):
        arguments, keywords = (), dict(given)
    else:
        raise LLMIRError(
            "example_inputs must be a tuple of forward's arguments or a dictionary of "
            f"its keywords, not {_article(given)}"
        )
    for name, value in [*enumerate(arguments), *keywords.items()]:
        for leaf in pytree.tree_leaves(value):
            if not isinstance(leaf, torch.Tensor | int | float | bool | str | None):
                raise LLMIRError(
                    f"example input {name!r} is {_article(leaf)}; inputs are tensors "
                    "of PyTorch, and numbers that never change"
                )
            if isinstance(leaf, torch.Tensor) and leaf.dtype not in STORED:
                raise LLMIRError(
                    f"example input {name!r} is of {leaf.dtype}, which is not supported"
                )
    return arguments, keywords


def _check_dimensions(
    dynamic_shapes: Any, arguments: tuple[Any, ...], keywords: Mapping[str, Any]
) -> None:
    """Refuse an open size of a dimension that a tensor lacks, which PyTorch ignores."""
    if dynamic_shapes is None:
        return
    if not isinstance(dynamic_shapes, Mapping | tuple | list):
        raise LLMIRError(
            "dynamic_shapes must be a dictionary or a tuple as torch.export.export "
            f"takes it, not {_article(dynamic_shapes)}"
        )
    if isinstance(dynamic_shapes, Mapping) and not arguments:
        pairs = [(name, keywords.get(name), s) for name, s in dynamic_shapes.items()]
    elif isinstance(dynamic_shapes, Mapping):
        # The names of positional arguments are PyTorch's matter.
        values = [*arguments, *keywords.values()]
        pairs = [
            (name, value, s)
            for (name, s), value in zip(dynamic_shapes.items(), values, strict=False)
        ]
    else:
        values = [*arguments, *keywords.values()]
        pairs = [
            (i, value, s)
            for i, (value, s) in enumerate(zip(values, dynamic_shapes, strict=False))
        ]
    for name, value, sizes in pairs:
        if not isinstance(value, torch.Tensor) or not isinstance(sizes, Mapping):
            continue
        for dimension in sizes:
            if not isinstance(dimension, int) or not 0 <= dimension < value.dim():
                raise LLMIRError(
                    f"dynamic_shapes opens dimension {dimension!r} of {name!r}, which "
                    f"has the dimensions 0 to {value.dim() - 1}"
                )


def _check_randomness(graph: torch.fx.Graph, name: str) -> None:
    """Refuse a module that draws random numbers, as dropout does."""
    for node in graph.nodes:
        tags = getattr(node.target, "tags", ())
        if torch.Tag.nondeterministic_seeded not in tags:
            continue
        # Dropout that is switched off is still there.
        if len(node.args) > 2 and node.args[2] is False:
            continue
        if _is_attention_without_dropout(node):
            continue
        raise LLMIRError(
            f"forward of {name} draws random numbers ({node.target} at "
            f"{lowering.line_of(node) or 'an unknown line'}); call eval() first"
        )


def _is_attention_without_dropout(node: torch.fx.Node) -> bool:
    if "attention" not in str(node.target):
        return False
    rate = node.kwargs.get("dropout_p", node.args[4] if len(node.args) > 4 else 0.0)
    return bool(rate == 0.0)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep PyTorch from printing what an exception will say."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        # It prints what it has traced so far, too.
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    text = next((line for line in lines if line), type(error).__name__)
    return text.removesuffix(".")


def _article(value: Any) -> str:
    return f"a value of type {type(value).__name__}"
