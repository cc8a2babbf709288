# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`torch.compile(model, backend="llmir")`.

Dynamo hands over a graph; `aot_autograd` makes it functional, in ATen's ops, with sizes
that are open where Dynamo has found that they change. What becomes of it is a program
whose parameters are named, and which is raised, compiled and loaded. A parameter's
numbers are packed once; whether it is still the same is looked at in every call.

Dynamo compiles a model for the sizes of its first call, and once more for open sizes
when another size comes; where `torch._dynamo.mark_dynamic` has opened them it compiles
once. It takes a size of 1 for a constant.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch._functorch.aot_autograd import aot_module_simplified
from torch.utils._python_dispatch import _disable_current_modes

from llmir.errors import LLMIRError
from llmir.function import Function, compile_function
from llmir.torch import importer
from llmir.torch.program import Program

# Of a graph with numbers that change, how many programs are kept.
MOST_KNOWN = 8


def compile_dynamo(
    graph_module: torch.fx.GraphModule,
    example_inputs: Sequence[Any],
    *,
    options: dict[str, Any] | None = None,
) -> Callable[..., Any]:
    """Compile a graph of Dynamo's; what `torch.compile` calls.

    options: `threads`, how many threads it runs on, 0 for all CPUs.

    Raises LLMIRError, which Dynamo shows, if gradients are wanted, or if the graph has
    an op that does not have a translation.
    """
    threads = _threads(options or {})
    if torch.is_grad_enabled() and any(
        isinstance(value, torch.Tensor) and value.requires_grad
        for value in example_inputs
    ):
        raise LLMIRError(
            "the backend llmir compiles for inference, and this call would record "
            "gradients; make it under torch.no_grad() or torch.inference_mode()"
        )
    weights = {
        index: value
        for index, value in enumerate(example_inputs)
        if _is_weight(value, graph_module, index)
    }
    names = [node.name for node in graph_module.graph.find_nodes(op="placeholder")]

    def compile_graph(gm: torch.fx.GraphModule, example_inputs: Sequence[Any]) -> Any:
        # Of equal inputs Dynamo hands over one, so places stay what they were.
        same = len(example_inputs) == len(names)
        # PyTorch traces with tensors that have no numbers; weights have some.
        with _disable_current_modes():
            return _compile(gm, weights if same else {}, names, threads)

    def refuse(gm: torch.fx.GraphModule, example_inputs: Sequence[Any]) -> Any:
        raise LLMIRError("the backend llmir compiles for inference, not for training")

    compiled: Callable[..., Any] = aot_module_simplified(
        graph_module,
        list(example_inputs),
        fw_compiler=refuse,
        bw_compiler=refuse,
        inference_compiler=compile_graph,
        decompositions=_decompositions(),
    )
    return compiled


def _decompositions() -> importer.Decompositions:
    """Return those of exported modules, and of what is only in graphs of Dynamo's."""
    aten = torch.ops.aten
    return {
        **importer.decompositions(),
        aten.true_divide.Tensor: lambda x, y: aten.div.Tensor(x, y),
    }


def _threads(options: dict[str, Any]) -> int:
    unknown = sorted(options.keys() - {"threads"})
    if unknown:
        raise LLMIRError(f"the backend llmir has no option {unknown[0]!r}")
    threads = options.get("threads", 0)
    if not isinstance(threads, int) or threads < 0:
        raise LLMIRError(f"threads must be 0 or more, not {threads!r}")
    return threads


def _is_weight(value: Any, graph_module: torch.fx.GraphModule, index: int) -> bool:
    """Whether an input of Dynamo's graph is one of a module, or a float of Python's.

    A float that may change is a tensor to Dynamo; most never do.
    """
    if not isinstance(value, torch.Tensor):
        return False
    if isinstance(value, torch.nn.Parameter | torch.nn.Buffer):
        return True
    node = graph_module.graph.find_nodes(op="placeholder")[index]
    is_float = value.dim() == 0 and value.dtype == torch.float64
    return is_float or "_dynamo_static_input_type" in node.meta.get("tensor_dict", {})


def _compile(
    graph: torch.fx.GraphModule,
    weights: dict[int, torch.Tensor],
    names: list[str],
    threads: int,
) -> Callable[..., Any]:
    """Compile a functional graph of ATen's ops.

    weights: by their place among the inputs. Single numbers among them are constants of
        the program, which is compiled again for others.
    """
    numbers = [
        index
        for index, tensor in weights.items()
        if tensor.numel() == 1 and not isinstance(tensor, torch.nn.Parameter)
    ]
    known = {
        tuple(weights[index].item() for index in numbers): _load(
            graph, weights, names, threads
        )
    }
    lock = threading.Lock()

    def run(arguments: list[Any]) -> Any:
        key = tuple(arguments[index].item() for index in numbers)
        call = known.get(key)
        if call is None:
            with lock, _disable_current_modes():
                given = {index: arguments[index] for index in weights}
                call = _load(graph, given, names, threads)
                if len(known) >= MOST_KNOWN:
                    known.pop(next(iter(known)))
                known[key] = call
        results = call(arguments)
        arguments.clear()
        return results

    run._boxed_call = True  # type: ignore[attr-defined]
    return run


def _load(
    graph: torch.fx.GraphModule,
    weights: dict[int, torch.Tensor],
    names: list[str],
    threads: int,
) -> _Call:
    """Make a program of a graph, and a function of that."""
    placeholders = graph.graph.find_nodes(op="placeholder")
    program = importer.import_graph(
        graph,
        {
            placeholders[index].name: (names[index], tensor)
            for index, tensor in weights.items()
        },
    )
    places = {node.name: index for index, node in enumerate(placeholders)}
    function = compile_function(program.text, program.parameters, threads=threads)
    indices = {names[index]: index for index in weights}
    return _Call(
        program,
        function,
        [places[spec.name] for spec in program.inputs],
        {key: indices[key] for key in program.parameters if key in indices},
        weights,
    )


class _Call:
    """A function, its place among the inputs, and the weights that it has packed."""

    def __init__(
        self,
        program: Program,
        function: Function,
        inputs: list[int],
        keys: dict[str, int],
        weights: dict[int, torch.Tensor],
    ) -> None:
        """Remember where a weight's `key` is among the inputs; others are constants."""
        self._program = program
        self._function = function
        self._inputs = inputs
        self._keys = keys
        # Held, so that no other tensor comes to lie where one was.
        self._weights = [weights[index] for index in keys.values()]
        self._places = list(keys.values())
        self._packed = self._state(self._weights)
        self._lock = threading.Lock()

    def __call__(self, arguments: list[Any]) -> Any:
        given = [arguments[index] for index in self._places]
        state = self._state(given)
        if state != self._packed:
            with self._lock:
                changed = dict(zip(self._keys, given, strict=True))
                self._function.update({**self._program.parameters, **changed})
                self._weights, self._packed = given, state
        results = self._function.call([arguments[i] for i in self._inputs], True)
        return self._program.unflatten(results)

    @staticmethod
    def _state(weights: Sequence[torch.Tensor]) -> list[Any]:
        """Return what changes when a weight does."""
        state: list[Any] = [tensor.data_ptr() for tensor in weights]
        # What was made for inference alone has no versions, and is not changed.
        state += [0 if t.is_inference() else t._version for t in weights]
        return state
