# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""From the program that torch-mlir makes to text that LLVM 18's MLIR parses.

torch-mlir is built with today's MLIR, whose text is not that of MLIR 18. So its program
is walked, op by op, and each op is written in generic form by its entry in the table of
`llmir.torch.forms`. The table lists ops and their attributes; what is not in it is
refused by name and source location, since an attribute that is left out could change
what a program computes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from llmir.torch import forms


class UnknownFormError(Exception):
    """An op or an attribute that the table does not have.

    what: names it.
    location: of the Python code that it comes from, `file:line`, or nothing.
    """

    def __init__(self, what: str, location: str) -> None:
        """Keep both."""
        super().__init__(what)
        self.what = what
        self.location = location


class Writer:
    """Writes ops; it knows the names of the values that it has written."""

    def __init__(self) -> None:
        """Start with no values."""
        self._lines: list[str] = []
        self._names: dict[Any, str] = {}
        self._indent = "  "
        self._next = 0
        # Text of types and attributes: programs repeat few of them.
        self._types: dict[Any, str] = {}

    @property
    def text(self) -> str:
        """What has been written."""
        return "".join(self._lines)

    def line(self, text: str) -> None:
        """Write one line."""
        self._lines.append(f"{self._indent}{text}\n")

    def fresh(self) -> str:
        """Return the name of a new value."""
        self._next += 1
        return f"%{self._next - 1}"

    def bind(self, value: Any, name: str) -> None:
        """Let a value of the program have a name."""
        self._names[value] = name

    def name(self, value: Any) -> str:
        """Return the name of a value, which has been written."""
        return self._names[value]

    def names(self, values: Iterable[Any]) -> str:
        """Return the names of values, a list."""
        return ", ".join(map(self.name, values))

    def type(self, value: Any) -> str:
        """Return the type of a value."""
        return self.type_text(value.type)

    def type_text(self, type_: Any) -> str:
        """Return a type, which must be one that MLIR 18 has."""
        text = self._types.get(type_)
        if text is None:
            text = str(type_)
            if not forms.is_known_type(text):
                raise ValueError(f"the type {text}")
            self._types[type_] = text
        return text

    def op(
        self,
        name: str,
        operands: Sequence[str],
        operand_types: Sequence[str],
        result_types: Sequence[str],
        properties: Mapping[str, str] | None = None,
        regions: str = "",
    ) -> str:
        """Write an op in generic form; return the name of its results."""
        result = self.fresh() if result_types else ""
        count = f":{len(result_types)}" if len(result_types) > 1 else ""
        equals = f"{result}{count} = " if result_types else ""
        held = ", ".join(
            f"{key} = {value}" for key, value in (properties or {}).items()
        )
        self.line(
            f'{equals}"{name}"({", ".join(operands)})'
            + (f" <{{{held}}}>" if held else "")
            + regions
            + f" : ({', '.join(operand_types)}) -> ({', '.join(result_types)})"
        )
        return result

    def same(
        self,
        op: Any,
        properties: Mapping[str, str],
        *,
        operands: Sequence[Any] | None = None,
        name: str | None = None,
    ) -> None:
        """Write an op as it is, with its regions, and bind its results.

        operands: other ones than its own.
        """
        values = list(op.operands) if operands is None else operands
        results = list(op.results)
        result = self.op(
            name or op.name,
            [self.name(value) for value in values],
            [self.type(value) for value in values],
            [self.type(value) for value in results],
            properties,
            self._regions(op),
        )
        if len(results) == 1:
            self.bind(results[0], result)
        else:
            for i, value in enumerate(results):
                self.bind(value, f"{result}#{i}")

    def translate(self, op: Any) -> None:
        """Write an op of the program by its entry in the table."""
        form = forms.FORMS.get(op.name)
        if form is None:
            raise UnknownFormError(f"the op {op.name}", line_in(op.location))
        try:
            properties = form.properties(op)
            form.write(self, op, properties)
        except ValueError as error:
            line = line_in(op.location)
            raise UnknownFormError(f"{error} of {op.name}", line) from None

    def nested(self) -> list[str]:
        """Begin a region; return what `close` needs."""
        outer, self._lines = self._lines, []
        self._indent += "  "
        return outer

    def close(self, outer: list[str], label: str) -> str:
        """End a region of one block; return what `op` takes.

        label: of the block, with its arguments.
        """
        written, self._lines = self.text, outer
        self._indent = self._indent[2:]
        return f" ({{\n{self._indent}{label}\n{written}{self._indent}}})"

    def _regions(self, op: Any) -> str:
        if not len(op.regions):
            return ""
        # Of the ops in the table none has two.
        (region,) = op.regions
        (block,) = region.blocks
        outer = self.nested()
        arguments: list[str] = []
        for argument in block.arguments:
            name = self.fresh()
            self.bind(argument, name)
            arguments.append(f"{name}: {self.type(argument)}")
        for inner in block.operations:
            self.translate(inner.operation)
        return self.close(outer, f"^bb0({', '.join(arguments)}):")


def write_function(
    function: Any, parameters: Mapping[int, str], name: str = "main"
) -> str:
    """Return the text of a module with one function.

    function: a `func.func` of torch-mlir's program.
    parameters: of its arguments those that are weights, by their place: the key of
        each. Equal keys are one `llm.parameter`. The others are the arguments of the
        function that is written, in order.

    Raises UnknownFormError.
    """
    writer = Writer()
    (block,) = function.regions[0].blocks
    arguments: list[str] = []
    written: dict[str, str] = {}
    for i, argument in enumerate(block.arguments):
        if i not in parameters:
            value = f"%arg{len(arguments)}"
            arguments.append(f"{value}: {writer.type(argument)}")
            writer.bind(argument, value)
            continue
        if not any(True for _ in argument.uses):
            continue
        key = parameters[i]
        if key not in written:
            written[key] = writer.fresh()
            writer.line(
                f'{written[key]} = llm.parameter "model"::{quoted(key)} : '
                + writer.type(argument)
            )
        writer.bind(argument, written[key])
    *ops, end = block.operations
    for op in ops:
        writer.translate(op.operation)
    results = list(end.operation.operands)
    types = ", ".join(writer.type(value) for value in results)
    given = f" {writer.names(results)} : {types}" if results else ""
    writer.line(f"func.return{given}")
    return (
        f"func.func @{name}({', '.join(arguments)}) -> ({types}) {{\n{writer.text}}}\n"
    )


def quoted(text: str) -> str:
    """Return a string as MLIR writes it."""
    escaped = "".join(
        character
        if character.isascii() and character.isprintable() and character not in '"\\'
        else "".join(f"\\{byte:02X}" for byte in character.encode())
        for character in text
    )
    return f'"{escaped}"'


def line_in(location: Any) -> str:
    """Return the line of Python code that a location has, `file:line`, or nothing.

    torch-mlir keeps the whole stack, innermost first.
    """
    match = re.search(r'"([^"]+)":(\d+):\d+', str(location))
    return f"{match[1]}:{match[2]}" if match else ""
