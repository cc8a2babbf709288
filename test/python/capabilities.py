# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Writes docs/capabilities.md: what the tests have shown to work, and nothing else.

A test says what it shows with a mark, in which names in braces are its parameters, and
`id` what pytest calls their combination:

    @pytest.mark.capability("Models", "{variant}", "{dtype}")
    @pytest.mark.parametrize("dtype", ["f32", "bf16"])
    @pytest.mark.parametrize("variant", VARIANTS)
    def test_logits(variant: Variant, dtype: str) -> None: ...

These are a table, a row, and any number of columns: none in tables that only list. A
cell is shown when at least one of its tests passed and none failed.

At the end of a run of all tests the page must be what the run has shown, or the run
fails; `make capabilities` writes it. A run of some tests does not look at the page. So
that it does not depend on the machine, tests that need a CPU's feature are always
collected and skip where it is missing; a cell whose tests were all skipped stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/capabilities.md"

# Table to what a mark in it means, in the order of the page.
TABLES = {
    "Models": "Compiled, and compared with Transformers: in f32 the same logits and "
    "greedy tokens; in narrower types an error no larger than Transformers' own. "
    "Columns are the types of the weights.",
    "PyTorch": "Imported through torch-mlir with open sizes, and compared with PyTorch "
    "in f32 at several batches and lengths; raised, with as many attentions, norms and "
    "rotary embeddings found as the model has.",
    "Dispatch levels": "Kernels and generated code for each level of the CPU, on the "
    "same models. A level is tested on machines that have it.",
    "Same answer in any company": "The same bits for a sequence, however its prompt is "
    "cut, whatever runs beside it, with any number of threads.",
    "Quantized weights": "Compiled models whose weights are stored in 8 or 4 bits, "
    "compared with Transformers on the numbers that these stand for. Columns are the "
    "levels of the CPU.",
    "Quantized KV caches": "Compiled models whose keys and values are stored in 8 or 4 "
    "bits, compared with the reference meaning. Columns are the levels of the CPU.",
    "Operations": "The reference meaning of each op against NumPy in float64, with an "
    "operand or a result of this element type.",
    "RoPE": "Tables of `llm.rope_table` against Transformers in float64, by scaling.",
    "Attention": "Parts of `llm.attention` against Transformers.",
    "Compiled steps": "A whole compiled step against the reference meaning of its "
    "program, on these shapes of model.",
    "Stages": "What `--emit` writes can be compiled or read again.",
    "Sampling": "Choices of the next token, by their distribution or against "
    "Transformers, and where texts end.",
}
SHOWN = "yes"
# The dialect's names for element types, which come first and in this order.
DTYPES = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
HEAD = """\
<!-- Written by `make capabilities` from what the tests ran; change the tests. -->

# Capabilities

What the tests have shown to work. Each cell stands for at least one test in
[`test/python`](../test/python) that passed; `make test` fails when this page says
anything else. Cells that need a CPU which the machine at hand lacks stay as the last
machine that has it left them.
"""

# Table, row and column; the column may be empty.
Cell = tuple[str, str, str]
Outcomes = Mapping[str, str]


def render(cells: Iterable[Cell]) -> str:
    """Return the page; rows and columns come in the order in which cells first do."""
    listed = list(cells)
    page = HEAD
    for table, meaning in TABLES.items():
        found = [(row, column) for name, row, column in listed if name == table]
        if not found:
            continue
        page += f"\n## {table}\n\n{meaning}\n\n"
        rows = list(dict.fromkeys(row for row, _ in found))
        columns = list(dict.fromkeys(column for _, column in found))
        types = list(DTYPES.values())
        columns.sort(key=lambda name: types.index(name) if name in types else 3)
        if columns == [""]:
            page += "".join(f"- {row}\n" for row in rows)
            continue
        page += (
            "|  | " + " | ".join(columns) + " |\n" + "|---" * (len(columns) + 1) + "|\n"
        )
        for row in rows:
            texts = [SHOWN if (row, column) in found else "" for column in columns]
            page += f"| {row} | " + " | ".join(texts) + " |\n"
    return page


def parse(page: str) -> set[Cell]:
    """Return the cells of a page."""
    cells: set[Cell] = set()
    table = ""
    columns: list[str] | None = None
    for line in page.splitlines():
        if line.startswith("## "):
            table, columns = line[3:], None
        elif table and line.startswith("- "):
            cells.add((table, line[2:], ""))
        elif table and line.startswith("|") and not line.startswith("|---"):
            row, *texts = [text.strip() for text in line.strip("|").split("|")]
            if columns is None:
                columns = texts
                continue
            cells.update(
                (table, row, column)
                for column, text in zip(columns, texts, strict=True)
                if text == SHOWN
            )
    return cells


def shown(
    marked: Mapping[str, Sequence[Cell]], outcomes: Outcomes, known: set[Cell]
) -> list[Cell]:
    """Return the cells to print, in the order of the tests.

    marked: of each test, the cells that it shows.
    outcomes: of each test, `passed`, `failed` or `skipped`.
    known: the cells of the page so far, which tests that were skipped leave alone.
    """
    results: dict[Cell, set[str]] = {}
    for test, cells in marked.items():
        for cell in cells:
            results.setdefault(cell, set()).add(outcomes.get(test, "failed"))
    return [
        cell
        for cell, found in results.items()
        if found in ({"passed"}, {"passed", "skipped"})
        or (found == {"skipped"} and cell in known)
    ]


def marked_cells(item: pytest.Item) -> list[Cell]:
    """Return the cells that a test shows when it passes."""
    names: dict[str, object] = {}
    if isinstance(item, pytest.Function) and hasattr(item, "callspec"):
        names = {**item.callspec.params, "id": item.callspec.id}
    cells: list[Cell] = []
    for mark in item.iter_markers("capability"):
        table, row, *columns = mark.args
        if table not in TABLES:
            raise pytest.UsageError(f"{item.nodeid}: no table of capabilities: {table}")
        row = row.format(**names)
        texts = [column.format(**names) for column in columns]
        # A parameter may be empty where an operand is optional.
        texts = [DTYPES.get(text, text) for text in texts if text] if columns else [""]
        cells.extend((table, row, text) for text in texts)
    return cells


class Recorder:
    """Collects what the tests of a run show, and compares it with the page."""

    def __init__(self, config: pytest.Config) -> None:
        """Start with nothing."""
        self._config = config
        self._order: list[str] = []
        self._marked: dict[str, list[Cell]] = {}
        self._outcomes: dict[str, str] = {}
        self._message = ""

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Read the marks; each test's report carries its own."""
        self._order = [item.nodeid for item in session.items]
        for item in session.items:
            cells = marked_cells(item)
            item.user_properties.extend(("capability", cell) for cell in cells)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        """Note the order of tests that other processes run."""
        self._order = list(ids)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note how a test, or its setup, went."""
        properties = report.user_properties
        cells = [cell for name, cell in properties if name == "capability"]
        self._marked[report.nodeid] = [
            (str(table), str(row), str(column)) for table, row, column in cells
        ]
        if report.when == "call" or not report.passed:
            before = self._outcomes.get(report.nodeid)
            self._outcomes[report.nodeid] = "failed" if before else report.outcome

    def _complete(self) -> bool:
        """Return whether this run is one of all tests, perhaps beside others."""
        # A process that runs some of the tests for another one reports to it.
        if hasattr(self._config, "workerinput"):
            return False
        option = self._config.option
        folder = self._config.invocation_params.dir
        paths = [(folder / argument).resolve() for argument in self._config.args]
        parts = ("ignore", "ignore_glob", "lf", "collectonly", "keyword", "markexpr")
        parts += ("deselect", "stepwise")
        partial = any(getattr(option, name, None) for name in parts)
        return ROOT / "test/python" in paths and not partial

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Compare the page with what was shown, or write it."""
        if exitstatus != pytest.ExitCode.OK or not self._complete():
            return
        found = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
        marked = {test: self._marked.get(test, []) for test in self._order}
        page = render(shown(marked, self._outcomes, parse(found)))
        if page == found:
            return
        if self._config.getoption("update_capabilities"):
            PAGE.write_text(page, encoding="utf-8")
            self._message = "docs/capabilities.md was written"
            return
        lines = [f"missing: {' / '.join(cell)}" for cell in parse(page) - parse(found)]
        lines += [
            f"not shown: {' / '.join(cell)}" for cell in parse(found) - parse(page)
        ]
        self._message = "\n".join(
            [
                "docs/capabilities.md is not what the tests have shown; "
                "run `make capabilities`",
                *sorted(lines),
            ]
        )
        session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter
    ) -> None:
        """Say what is wrong with the page."""
        if self._message:
            terminalreporter.section("capabilities")
            terminalreporter.line(self._message)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that writes the page."""
    parser.addoption(
        "--update-capabilities",
        action="store_true",
        help="write docs/capabilities.md after a run of all tests",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark and the recorder."""
    config.addinivalue_line(
        "markers",
        "capability(table, row, *columns): what a test shows, for docs/capabilities.md",
    )
    config.pluginmanager.register(Recorder(config), "capabilities-recorder")
