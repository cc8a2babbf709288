# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the ops of a compiled program cost: bytes that they move, and operations.

The ops themselves say it, by the interface that fusions are chosen by as well, in the
program in the artifact, so it follows every fusion. Weights count once a step, however
many rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmir import _native
from llmir.errors import LLMIRError
from llmir.files import open_regular
from llmir.manifest import PROGRAM


@dataclass(frozen=True)
class Step:
    """The batch that costs are of: sequences of equal length.

    rows: the new tokens of all sequences together.
    context: the tokens that each sequence has, the new ones among them.
    sequences: how many there are; one row of logits each.
    """

    rows: int
    context: int
    sequences: int = 1

    @property
    def new(self) -> int:
        """The new tokens of one sequence."""
        return self.rows // self.sequences


PRODUCTS = ("linear", "quantized_matmul")


@dataclass(frozen=True)
class Cost:
    """What an op costs in a step.

    stored: bytes of weights, keys and values that are read.
    moved: bytes of everything else that is read or written.
    operations: multiplications and additions of products and of attention.
    multiplier: what multiplies: f32, bf16 or int8.
    """

    stored: float
    moved: float
    operations: float
    multiplier: str

    @property
    def bytes(self) -> float:
        """All bytes."""
        return self.stored + self.moved


class _Program:
    """A program, which answers what its ops cost."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self._costs: dict[Step, list[Cost]] = {}

    def costs(self, step: Step) -> list[Cost]:
        if step not in self._costs:
            found = self._module.costs(step.rows, step.context, step.sequences)
            self._costs[step] = [Cost(*cost) for cost in found]
        return self._costs[step]


@dataclass(frozen=True)
class Op:
    """An op of the program, as often as a step runs it.

    name: as in the dialect.
    call: the number of the call of a layer that it is in; -1 for the step itself.
    keys: the names of the weight of a product.
    """

    name: str
    function: str
    call: int
    keys: tuple[str, ...]
    _number: int
    _program: _Program

    def cost(self, step: Step) -> Cost:
        """Return what it costs in a step."""
        return self._program.costs(step)[self._number]


def executed_ops(artifact: Path) -> list[Op]:
    """Return the ops that a step of an artifact runs, in order.

    Raises LLMIRError if this installation has no compiler, or the program in the
    artifact cannot be read.
    """
    module = read_program(artifact / PROGRAM)
    program = _Program(module)
    try:
        entries = module.executed()
    except ValueError as error:
        raise _no_step(artifact / PROGRAM, error) from error
    numbered = ((number, program) for number in range(len(entries)))
    return [
        Op(entry["op"], entry["function"], entry["call"], tuple(entry["keys"]), *at)
        for entry, at in zip(entries, numbered, strict=True)
    ]


@dataclass(frozen=True)
class Node:
    """An op of a layer.

    name: as in the dialect, or with its own if it is another one's.
    inputs: the numbers of the nodes whose results it reads.
    keys: the names of the weight of a product, in the first layer.
    """

    name: str
    inputs: tuple[int, ...]
    keys: tuple[str, ...]
    cost: Cost


def layer_of(module: Any, path: Path, step: Step) -> list[Node]:
    """Return the ops of the function that a program's step calls most often.

    path: of the program, for messages. Raises LLMIRError if there is no plain step.
    """
    try:
        found = module.layer(step.rows, step.context, step.sequences)
    except ValueError as error:
        raise _no_step(path, error) from error
    return [
        Node(
            node["op"],
            tuple(dict.fromkeys(node["inputs"])),
            tuple(node["keys"]),
            Cost(*node["cost"]),
        )
        for node in found
    ]


def read_program(path: Path) -> Any:
    """Return the module in a file.

    Raises LLMIRError if this installation has no compiler, or the program cannot be
    read.
    """
    compiler = _native.compiler()
    try:
        with open_regular(path) as file:
            text = file.read().decode()
        return compiler.Module.parse(text, str(path))
    except ValueError as error:  # of characters too
        raise _no_step(path, error) from error


def _no_step(path: Path, error: ValueError) -> LLMIRError:
    return LLMIRError(f"{path} is not a program of a step: {error}")
