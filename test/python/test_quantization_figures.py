# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What quantizing may change in the repository's trained model, at most.

Measured as `docs/quantization.md` does it, on text that the model was not trained on,
with windows that do not overlap, which takes half as long.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmir.quantization import Quantization

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "utils"))
from quantization_table import (  # noqa: E402
    BEGIN,
    END,
    ROWS,
    Row,
    evaluate,
    prepare,
)

INT4, INT8 = Quantization("int4"), Quantization("int8")
Measure = Callable[[Row], dict[str, Any]]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measure:
    """Return a function that evaluates a row once."""
    folder = tmp_path_factory.mktemp("figures")
    prepare(folder)
    return functools.cache(lambda row: evaluate(row, folder, stride=512))


@pytest.mark.parametrize(
    ("row", "most"),
    [
        (Row("int8", INT8), 0.001),
        (Row("int4, calibrated", INT4, True), 0.03),
        (Row("int8 cache", Quantization(kv_cache="int8")), 0.002),
        (Row("w8a8", Quantization("w8a8")), 0.005),
        (Row("int4 cache", Quantization(kv_cache="int4")), 0.02),
    ],
    ids=lambda value: value.options if isinstance(value, Row) else "",
)
def test_perplexity(measured: Measure, row: Row, most: float) -> None:
    found = measured(row)
    print(f"{row.options}: {found['change']:+.3%}")
    assert found["scored_tokens"] > 50_000
    # Of a model that has learned this; one of chance has 1024.
    assert found["reference"]["perplexity"] < 9
    assert abs(found["change"]) < most
    assert 0 < found["kl_divergence"] < 2 * most


@pytest.mark.parametrize("name", ["int4", "w4a8"])
def test_calibrating_is_worth_it(measured: Measure, name: str) -> None:
    nearest = measured(Row(name, Quantization(name)))
    calibrated = measured(Row(f"{name}, calibrated", Quantization(name), True))
    print(f"{name}: {nearest['change']:+.3%}, {calibrated['change']:+.3%}")
    assert calibrated["change"] < 0.85 * nearest["change"]
    assert calibrated["kl_divergence"] < 0.75 * nearest["kl_divergence"]
    assert calibrated["top1_agreement"] > nearest["top1_agreement"] + 0.01


def test_page_has_every_row() -> None:
    page = (ROOT / "docs/quantization.md").read_text(encoding="utf-8")
    written = page.split(BEGIN)[1].split(END)[0]
    rows = re.findall(r"^\| `(.*?)` \|", written, re.M)
    assert rows == [row.options for row in ROWS]
