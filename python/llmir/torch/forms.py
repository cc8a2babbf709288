# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The table of op forms: what torch-mlir's ops are in MLIR 18.

An entry names the attributes that an op may have, and of each what becomes of it: it is
kept if it has the form that MLIR 18 writes too, or it must have the one value that
means what MLIR 18 means without it. A few ops that MLIR 18 does not have, or has in
another form, are written by functions of their own. The tests reach every entry.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmir.torch.translate import Writer

_ELEMENT = r"(?:f16|bf16|f32|f64|i1|i8|i16|i32|i64|index)"
_TYPE = re.compile(rf"{_ELEMENT}|tensor<(?:(?:\?|\d+)x)*{_ELEMENT}>")

_NUMBER = r"-?(?:0x[0-9A-F]+|\d+(?:\.\d+(?:[eE][-+]?\d+)?)?)"

# The most that a program shows of a tensor. Larger ones are weights, which have names.
MOST_ELEMENTS_SHOWN = 64

Rule = Callable[[str], bool]


def is_known_type(text: str) -> bool:
    """Whether MLIR 18 has a type, and this compiler a use for it."""
    return _TYPE.fullmatch(text) is not None


def _kept(pattern: str) -> Rule:
    return lambda text: re.fullmatch(pattern, text) is not None


@dataclass(frozen=True)
class Implied:
    """The value of an attribute that MLIR 18 does not write."""

    text: str


@dataclass(frozen=True)
class Form:
    """What becomes of an op.

    attributes: those that it may have: the rule of one that is kept, or its only value.
    writer: writes it, given its kept attributes; by default as it is.
    """

    attributes: Mapping[str, Rule | Implied] = field(default_factory=dict)
    writer: Callable[[Writer, Any, Mapping[str, str]], None] | None = None

    def properties(self, op: Any) -> dict[str, str]:
        """Return the attributes of an op that are kept.

        Raises ValueError if one is not in the table, or of another form.
        """
        kept = {}
        for name, attribute in attributes_of(op).items():
            rule = self.attributes.get(name)
            text = str(attribute)
            if rule is None:
                raise ValueError(f"the attribute {name} = {_shown(text)}")
            if isinstance(rule, Implied):
                if text != rule.text:
                    raise ValueError(f"the attribute {name} = {_shown(text)}")
            elif not rule(text):
                raise ValueError(f"the attribute {name} = {_shown(text)}")
            else:
                kept[name] = text
        return kept

    def write(self, writer: Writer, op: Any, properties: Mapping[str, str]) -> None:
        """Write an op."""
        if self.writer is None:
            writer.same(op, properties)
        else:
            self.writer(writer, op, properties)


def attributes_of(op: Any) -> dict[str, Any]:
    """Return an op's attributes by name."""
    return {name: op.attributes[name] for name in op.attributes}


def _shown(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."


def _is_constant(text: str) -> bool:
    """Whether this is a number, or a tensor with few elements."""
    if re.fullmatch(rf"(?:{_NUMBER} : {_ELEMENT}|true|false)", text):
        return True
    dense = re.fullmatch(r"dense<(.*)> : (tensor<.*>)", text)
    if dense is None or not is_known_type(dense[2]):
        return False
    return dense[1].count(",") < MOST_ELEMENTS_SHOWN


def _constant_integer(value: Any) -> int | None:
    """Return the number that a value is, if it is a constant integer."""
    owner = value.owner
    if getattr(owner, "name", None) != "arith.constant":
        return None
    match = re.fullmatch(r"(-?\d+) : i\d+", str(owner.attributes["value"]))
    return int(match[1]) if match else None


def _write_fpowi(writer: Writer, op: Any, properties: Mapping[str, str]) -> None:
    """Write a power with an integer exponent.

    MLIR 18 lowers such a power to a loop, which squares and square norms should not be.
    What PyTorch computes by multiplying is written so; the rest is `powf`.
    """
    base, exponent = op.operands
    type_ = writer.type(base)
    number = _constant_integer(exponent)
    if number in (2, 3):
        name = writer.name(base)
        result = name
        for _ in range(number - 1):
            result = writer.op("arith.mulf", [result, name], [type_] * 2, [type_])
    else:
        power = writer.op(
            "arith.sitofp", [writer.name(exponent)], [writer.type(exponent)], [type_]
        )
        operands = [writer.name(base), power]
        result = writer.op("math.powf", operands, [type_] * 2, [type_])
    writer.bind(op.results[0], result)


def _write_expand_shape(writer: Writer, op: Any, properties: Mapping[str, str]) -> None:
    """Write an `expand_shape`, which infers its result's sizes in MLIR 18.

    That cannot be where a dimension becomes two dynamic ones; such a shape is given
    to `tensor.reshape`.
    """
    source, *sizes = op.operands
    (result,) = op.results
    shape = _shape(writer.type(result))
    groups = re.findall(r"\[([\d, ]*)\]", properties["reassociation"][1:-1])
    dynamic = [sum(shape[int(i)] is None for i in _split(group)) for group in groups]
    if all(count <= 1 for count in dynamic):
        writer.same(op, properties, operands=[source])
        return
    index = iter(writer.name(size) for size in sizes)
    extents = [
        next(index)
        if size is None
        else writer.op(
            "arith.constant", [], [], ["index"], {"value": f"{size} : index"}
        )
        for size in shape
    ]
    type_ = f"tensor<{len(shape)}xindex>"
    given = writer.op(
        "tensor.from_elements", extents, ["index"] * len(extents), [type_]
    )
    name = writer.op(
        "tensor.reshape",
        [writer.name(source), given],
        [writer.type(source), type_],
        [writer.type(result)],
    )
    writer.bind(result, name)


def _write_scan(writer: Writer, op: Any, properties: Mapping[str, str]) -> None:
    """Write a cumulative sum or product as a reduction over all places up to one's own.

    torch-mlir's op is of a dialect that MLIR does not have. Its second result, the
    last element, must be unused.
    """
    values, initial, _ = op.operands
    result, last = op.results
    if any(True for _ in last.uses):
        raise ValueError("the second result")
    (block,) = op.regions[0].blocks
    *body, _ = (inner.operation for inner in block.operations)
    combined = [inner.name for inner in body]
    if combined not in (["arith.addi"], ["arith.addf"], ["arith.muli"], ["arith.mulf"]):
        raise ValueError(f"the body {combined}")
    if {*body[0].operands} != {*block.arguments}:
        raise ValueError("the body")
    axis = int(properties["dimension"].split(" ")[0])
    type_ = writer.type(values)
    rank = len(_shape(type_))
    element = type_.removesuffix(">").rsplit("x", 1)[1]
    own = [f"d{i}" for i in range(rank)]
    loops = ", ".join([*own, f"d{rank}"])
    read = ", ".join(f"d{rank}" if i == axis else name for i, name in enumerate(own))
    kinds = ["parallel"] * rank + ["reduction"]
    iterators = ", ".join(f"#linalg.iterator_type<{kind}>" for kind in kinds)
    maps = (
        f"affine_map<({loops}) -> ({read})>, "
        f"affine_map<({loops}) -> ({', '.join(own)})>"
    )
    # `initial` holds what a sum or product begins with.
    outer = writer.nested()
    value, total = writer.fresh(), writer.fresh()
    places = [
        writer.op("linalg.index", [], [], ["index"], {"dim": f"{dim} : i64"})
        for dim in (rank, axis)
    ]
    seen = writer.op(
        "arith.cmpi", places, ["index"] * 2, ["i1"], {"predicate": "3 : i64"}
    )
    more = writer.op(combined[0], [total, value], [element] * 2, [element])
    chosen = writer.op(
        "arith.select", [seen, more, total], ["i1", element, element], [element]
    )
    writer.op("linalg.yield", [chosen], [element], [])
    region = writer.close(outer, f"^bb0({value}: {element}, {total}: {element}):")
    name = writer.op(
        "linalg.generic",
        [writer.name(values), writer.name(initial)],
        [type_, writer.type(initial)],
        [writer.type(result)],
        {
            "indexing_maps": f"[{maps}]",
            "iterator_types": f"[{iterators}]",
            "operandSegmentSizes": "array<i32: 1, 1>",
        },
        region,
    )
    writer.bind(result, name)


def _shape(type_: str) -> list[int | None]:
    """Return the sizes in the text of a tensor type; None where they are dynamic."""
    sizes = type_.removeprefix("tensor<").split("x")[:-1]
    return [None if size == "?" else int(size) for size in sizes]


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


_NO_FLAGS = {"fastmath": Implied("#arith.fastmath<none>")}
_NO_OVERFLOW = {"overflowFlags": Implied("#arith.overflow<none>")}
_INTEGER = _kept(r"-?\d+ : i\d+")
_I64S = _kept(r"array<i64(?:: -?\d+(?:, -?\d+)*)?>")
_SEGMENTS = _kept(r"array<i32: \d+(?:, \d+)*>")
_GROUPS = _kept(r"\[(?:\[\d+(?:, \d+)*\](?:, )?)*\]")
_SLICE = {
    "static_offsets": _I64S,
    "static_sizes": _I64S,
    "static_strides": _I64S,
    "operandSegmentSizes": _SEGMENTS,
}
_MAP = r"affine_map<\([d\d, ]*\)(?:\[[s\d, ]*\])? -> \([ds\d, +*()-]*\)>"
_KIND = r"#linalg\.iterator_type<(?:parallel|reduction)>"


def _maps(*texts: str) -> Implied:
    return Implied(f"[{', '.join(f'affine_map<{text}>' for text in texts)}]")


FORMS: dict[str, Form] = {
    "affine.apply": Form(
        {"map": _kept(r"affine_map<\([d\d, ]*\)(?:\[[s\d, ]*\])? -> \([^<>]*\)>")}
    ),
    **{
        f"arith.{name}": Form(_NO_FLAGS)
        for name in ("addf", "divf", "maximumf", "minimumf", "mulf", "negf", "subf")
    },
    **{
        f"arith.{name}": Form(_NO_OVERFLOW)
        for name in ("addi", "muli", "subi", "trunci")
    },
    **{
        f"arith.{name}": Form()
        for name in (
            "andi",
            "divsi",
            "extf",
            "extsi",
            "extui",
            "fptosi",
            "index_cast",
            "maxsi",
            "minsi",
            "ori",
            "remsi",
            "select",
            "sitofp",
            "truncf",
            "uitofp",
            "xori",
        )
    },
    "arith.cmpf": Form({**_NO_FLAGS, "predicate": _INTEGER}),
    "arith.cmpi": Form({"predicate": _INTEGER}),
    "arith.constant": Form({"value": _is_constant}),
    "cf.assert": Form({"msg": _kept(r'"[^"\\]*"')}),
    "linalg.batch_matmul": Form(
        {
            "operandSegmentSizes": _SEGMENTS,
            "indexing_maps": _maps(
                "(d0, d1, d2, d3) -> (d0, d1, d3)",
                "(d0, d1, d2, d3) -> (d0, d3, d2)",
                "(d0, d1, d2, d3) -> (d0, d1, d2)",
            ),
        }
    ),
    "linalg.fill": Form({"operandSegmentSizes": _SEGMENTS}),
    "linalg.generic": Form(
        {
            "indexing_maps": _kept(rf"\[{_MAP}(?:, {_MAP})*\]"),
            "iterator_types": _kept(rf"\[(?:{_KIND}(?:, {_KIND})*)?\]"),
            "operandSegmentSizes": _SEGMENTS,
        }
    ),
    "linalg.index": Form({"dim": _INTEGER}),
    "linalg.matmul": Form(
        {
            "operandSegmentSizes": _SEGMENTS,
            "indexing_maps": _maps(
                "(d0, d1, d2) -> (d0, d2)",
                "(d0, d1, d2) -> (d2, d1)",
                "(d0, d1, d2) -> (d0, d1)",
            ),
        }
    ),
    "linalg.transpose": Form({"permutation": _I64S}),
    "linalg.yield": Form(),
    **{
        f"math.{name}": Form(_NO_FLAGS)
        for name in (
            "absf",
            "ceil",
            "cos",
            "erf",
            "exp",
            "floor",
            "log",
            "log1p",
            "powf",
            "roundeven",
            "rsqrt",
            "sin",
            "sqrt",
            "tanh",
        )
    },
    "math.fpowi": Form(_NO_FLAGS, _write_fpowi),
    "tensor.collapse_shape": Form({"reassociation": _GROUPS}),
    "tensor.concat": Form({"dim": _INTEGER}),
    "tensor.dim": Form(),
    "tensor.empty": Form(),
    "tensor.expand_shape": Form(
        {"reassociation": _GROUPS, "static_output_shape": _I64S}, _write_expand_shape
    ),
    "tensor.extract": Form(),
    "tensor.extract_slice": Form(_SLICE),
    "tensor.from_elements": Form(),
    "tensor.pad": Form(
        {
            "static_low": _I64S,
            "static_high": _I64S,
            "operandSegmentSizes": _SEGMENTS,
        }
    ),
    "tensor.reshape": Form(),
    "tensor.yield": Form(),
    "tm_tensor.scan": Form(
        {
            "dimension": _INTEGER,
            "inclusive": Implied("true"),
            "operandSegmentSizes": Implied("array<i32: 1, 2>"),
        },
        _write_scan,
    ),
}
