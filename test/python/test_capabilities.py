# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What gets onto docs/capabilities.md, and what stays off it."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest

import capabilities
from capabilities import Cell, parse, render, shown

PAGE: list[Cell] = [
    ("Models", "b", "bf16"),
    ("Models", "b", "f32"),
    ("Models", "a", "f32"),
    ("Sampling", "greedy", ""),
]


def test_a_page_says_its_cells() -> None:
    page = render(PAGE)
    assert parse(page) == set(PAGE)
    # Types in the order of their names, rows as they come.
    assert "|  | f32 | bf16 |\n|---|---|---|\n| b | yes | yes |\n| a | yes |  |" in page
    assert "- greedy\n" in page
    assert "## Stages" not in page


@pytest.mark.parametrize(
    ("outcomes", "known", "on_page"),
    [
        (["passed", "passed"], False, True),
        (["passed", "skipped"], False, True),
        (["passed", "failed"], True, False),
        (["skipped", "failed"], True, False),
        # Another machine has shown it, and this one cannot.
        (["skipped", "skipped"], True, True),
        (["skipped", "skipped"], False, False),
        # A test that never ran.
        (["passed"], True, False),
    ],
)
def test_what_is_shown(outcomes: list[str], known: bool, on_page: bool) -> None:
    cell = ("Models", "a", "f32")
    marked = {"one": [cell], "two": [cell]}
    results = dict(zip(marked, outcomes, strict=False))
    assert shown(marked, results, {cell} if known else set()) == [cell] * on_page


@pytest.mark.parametrize(
    ("arguments", "options", "all_tests"),
    [
        (["test/python"], {}, True),
        (["test/python"], {"lf": True}, False),
        (["test/python", "test/install"], {}, True),
        (["test/python/test_cli.py"], {}, False),
        (["test/install"], {"ignore": ["x"]}, False),
    ],
)
def test_a_part_of_the_tests_says_nothing(
    arguments: list[str], options: dict[str, object], all_tests: bool
) -> None:
    config: Any = SimpleNamespace(
        args=arguments,
        option=SimpleNamespace(**options),
        invocation_params=SimpleNamespace(dir=capabilities.ROOT),
    )
    recorder = capabilities.Recorder(config)
    assert recorder._complete() == all_tests
    config.workerinput = {}
    assert not recorder._complete()


def test_make_test_runs_all_tests() -> None:
    runs = re.findall(
        r"-m pytest (.*) \|\|", (capabilities.ROOT / "Makefile").read_text()
    )
    assert ["test/python" in run.split() for run in runs] == [True]


@pytest.mark.parametrize(
    ("case", "empty", "stage"), [(("a", "bfloat16"), "", "llm")], ids=["x"]
)
def test_marks(
    request: pytest.FixtureRequest, case: tuple[str, str], empty: str, stage: str
) -> None:
    item = request.node
    # Too late to get onto the page: marks are read before any test runs.
    item.add_marker(
        pytest.mark.capability("Models", "{case[0]}", "{case[1]}", "{empty}")
    )
    item.add_marker(pytest.mark.capability("Stages", "{stage} {id}"))
    assert capabilities.marked_cells(item) == [
        ("Models", "a", "bf16"),
        ("Stages", "llm x", ""),
    ]
    item.add_marker(pytest.mark.capability("No such table", "row"))
    with pytest.raises(pytest.UsageError, match="no table of capabilities: No such"):
        capabilities.marked_cells(item)
