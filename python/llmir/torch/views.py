# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Views of open sizes, in the form that torch-mlir gets right.

torch-mlir pairs the dimensions of a view's input with those of its result from their
static sizes alone. Where several are open it can pair wrong ones: [b, t, 64] seen as [b
* t, 64] becomes a cast to [b, 1, 64]. The exported graph knows more: its sizes are
expressions, so that runs of dimensions with equal products are found here, and written
as `flatten` and `unflatten`, whose lowering has nothing to guess.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch

_VIEWS = (
    torch.ops.aten.view.default,
    torch.ops.aten._unsafe_view.default,
    torch.ops.aten.reshape.default,
)


def split_views(graph: torch.fx.Graph) -> None:
    """Replace the views that have open sizes by what they are made of."""
    for view in _VIEWS:
        for node in graph.find_nodes(op="call_function", target=view):
            source, sizes = node.args
            before, after = source.meta["val"].shape, node.meta["val"].shape
            if all(isinstance(size, int) for size in (*before, *after)):
                continue
            with graph.inserting_before(node):
                replacement = _steps(graph, source, sizes, before, after)
            replacement.meta = {**node.meta, "val": replacement.meta["val"]}
            node.replace_all_uses_with(replacement)
            graph.erase_node(node)


def runs(before: Sequence[Any], after: Sequence[Any]) -> list[tuple[int, int]]:
    """Return how many dimensions before and after a view belong together, in order.

    before, after: sizes, with equal products.
    """
    before, after = ([_expression(size) for size in x] for x in (before, after))
    found: list[tuple[int, int]] = []
    i = j = 0
    while i < len(before) and j < len(after):
        # The shortest; with nothing in common, what is left is one run.
        lengths = sorted(
            itertools.product(
                range(1, len(before) - i + 1), range(1, len(after) - j + 1)
            ),
            key=sum,
        )
        a, b = next(
            (
                (a, b)
                for a, b in lengths
                if math.prod(before[i : i + a]) == math.prod(after[j : j + b])
            ),
            lengths[-1],
        )
        found.append((a, b))
        i, j = i + a, j + b
    # What is left on one side only is of size 1.
    if found:
        a, b = found[-1]
        found[-1] = (a + len(before) - i, b + len(after) - j)
    return found


def _steps(
    graph: torch.fx.Graph,
    source: torch.fx.Node,
    sizes: Any,
    before: Sequence[Any],
    after: Sequence[Any],
) -> torch.fx.Node:
    """Write a view as steps, from the last dimension to the first."""
    aten = torch.ops.aten
    value = source
    i, j = len(before), len(after)
    for a, b in reversed(runs(before, after)):
        i, j = i - a, j - b
        if a > 1:
            value = _call(graph, source, aten.flatten.using_ints, value, i, i + a - 1)
        if b > 1:
            value = _call(
                graph, source, aten.unflatten.int, value, i, list(sizes[j : j + b])
            )
    if value is source:
        value = _call(graph, source, aten.alias.default, value)
    return value


def _call(
    graph: torch.fx.Graph, like: torch.fx.Node, target: Any, *arguments: Any
) -> torch.fx.Node:
    """Write a call with the shape and dtype of its result."""
    node = graph.call_function(target, arguments)
    values = torch.fx.node.map_arg(arguments, lambda argument: argument.meta["val"])
    # Of what is known of `like` only where it comes from holds here too.
    node.meta = {"stack_trace": like.meta.get("stack_trace")}
    with values[0].fake_mode:
        node.meta["val"] = target(*values)
    return node


def _expression(size: Any) -> Any:
    """Return a size as a number or an expression, equal for those that always are."""
    return size.node.expr.expand() if isinstance(size, torch.SymInt) else size
