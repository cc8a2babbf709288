# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Draws a layer, before and after optimization, as an SVG file.

Each op is a box, from top to bottom in the order of what reads what, so that one sees
at a glance which ops became one. A box says what the op needs, and how dark it is says
which share of the layer's time that is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from llmir.costs import Node

BOX_WIDTH, BOX_HEIGHT = 190, 46
GAP_X, GAP_Y = 22, 30
MARGIN, TITLE = 24, 48
# Passes over the drawing that bring boxes near those that they read.
SWEEPS = 4


@dataclass(frozen=True)
class Drawing:
    """A layer to draw.

    title: what stands above.
    nodes: its ops.
    seconds: the time that each is expected to need.
    """

    title: str
    nodes: Sequence[Node]
    seconds: Sequence[float]


def draw(drawings: Sequence[Drawing]) -> str:
    """Return the text of an SVG file with layers side by side."""
    parts: list[str] = []
    x, height = MARGIN, 0
    for drawing in drawings:
        width, below = _draw(drawing, x, parts.append)
        x += width + 2 * MARGIN
        height = max(height, below)
    x, height = x - MARGIN, height + MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{x}" height="{height}" '
            f'viewBox="0 0 {x} {height}" font-family="sans-serif">',
            f'<rect width="{x}" height="{height}" fill="#ffffff"/>',
            *parts,
            "</svg>\n",
        ]
    )


def _draw(
    drawing: Drawing, left: int, write: Callable[[str], object]
) -> tuple[int, int]:
    """Write one layer from `left` on; return its width and where it ends below."""
    rows = _rows(drawing.nodes)
    widest = max(map(len, rows))
    width = widest * (BOX_WIDTH + GAP_X) - GAP_X
    total = sum(drawing.seconds)
    write(
        f'<text x="{left}" y="{MARGIN + 14}" font-size="16" font-weight="bold">'
        f"{escape(drawing.title)}</text>"
    )
    write(
        f'<text x="{left}" y="{MARGIN + 34}" font-size="12" fill="#555555">'
        f"{len(drawing.nodes)} ops, predicted {total * 1e6:.1f} µs</text>"
    )
    places: dict[int, tuple[float, float]] = {}
    y = MARGIN + TITLE
    for row in rows:
        taken = len(row) * (BOX_WIDTH + GAP_X) - GAP_X
        x = left + (width - taken) / 2
        for number in row:
            places[number] = (x, y)
            x += BOX_WIDTH + GAP_X
        y += BOX_HEIGHT + GAP_Y
    for number, node in enumerate(drawing.nodes):
        for source in node.inputs:
            write(_curve(places[source], places[number]))
    for number, node in enumerate(drawing.nodes):
        share = drawing.seconds[number] / total if total else 0.0
        write(_box(places[number], node, drawing.seconds[number], share))
    return width, y - GAP_Y


def _rows(nodes: Sequence[Node]) -> list[list[int]]:
    """Return the numbers of the nodes of each row, left to right."""
    depths: list[int] = []
    for node in nodes:
        depths.append(1 + max((depths[source] for source in node.inputs), default=-1))
    rows: list[list[int]] = [[] for _ in range(max(depths, default=-1) + 1)]
    for number, depth in enumerate(depths):
        rows[depth].append(number)
    readers: dict[int, list[int]] = {number: [] for number in range(len(nodes))}
    for number, node in enumerate(nodes):
        for source in node.inputs:
            readers[source].append(number)
    for sweep in range(SWEEPS):
        place = {
            number: index - len(row) / 2
            for row in rows
            for index, number in enumerate(row)
        }
        down = sweep % 2 == 0
        for row in rows if down else reversed(rows):
            near = {n: nodes[n].inputs if down else readers[n] for n in row}
            middles = {
                n: sum(place[other] for other in others) / len(others)
                if others
                else place[n]
                for n, others in near.items()
            }
            row.sort(key=middles.__getitem__)
            for index, number in enumerate(row):
                place[number] = index - len(row) / 2
    return rows


def _curve(source: tuple[float, float], target: tuple[float, float]) -> str:
    x0, y0 = source[0] + BOX_WIDTH / 2, source[1] + BOX_HEIGHT
    x1, y1 = target[0] + BOX_WIDTH / 2, target[1]
    bend = (y0 + y1) / 2
    return (
        f'<path d="M {x0:g} {y0:g} C {x0:g} {bend:g}, {x1:g} {bend:g}, {x1:g} {y1:g}" '
        'fill="none" stroke="#888888"/>'
    )


def _box(place: tuple[float, float], node: Node, seconds: float, share: float) -> str:
    x, y = place
    # From white to a blue on which black can be read.
    red, green = (round(255 - share**0.5 * depth) for depth in (150, 95))
    keys = [key.rsplit(".", 2)[-2] if "." in key else key for key in node.keys]
    title = f"{node.name} {'+'.join(keys)}".strip()
    cost = f"{node.cost.bytes / 1e6:.3f} MB, {seconds * 1e6:.1f} µs ({share:.0%})"
    shown = title if len(title) <= 30 else title[:29] + "…"
    return (
        f"<g><title>{escape(title)}: {escape(cost)}, "
        f"{node.cost.operations / 1e6:.3f} MFLOP</title>"
        f'<rect x="{x:g}" y="{y:g}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="6" '
        f'fill="rgb({red},{green},255)" stroke="#335577"/>'
        f'<text x="{x + 8:g}" y="{y + 19:g}" font-size="12">{escape(shown)}</text>'
        f'<text x="{x + 8:g}" y="{y + 36:g}" font-size="11" fill="#444444">'
        f"{escape(cost)}</text></g>"
    )
