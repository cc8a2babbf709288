# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Measure what quantizing changes in the example model, and write it into the docs.

Each row is the model of `examples/stdlib-llama`, compiled in one way and compared by
`llmir eval` with the same model unquantized, on the text of `texts.py` there. The table
of `docs/quantization.md` stands between two comments, and `--write` replaces it.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from llmir.compile import compile_model
from llmir.eval import measure
from llmir.quantization import Quantization

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "examples/stdlib-llama"
sys.path.insert(0, str(MODEL))
from texts import FILES, read_modules  # noqa: E402

BEGIN, END = "<!-- quantization table -->", "<!-- end of the table -->"


@dataclass(frozen=True)
class Row:
    """One way to compile: the options of `compile`, and what they are to it."""

    options: str
    quantization: Quantization
    calibrated: bool = False


ROWS = (
    Row("--quantize=int8", Quantization("int8")),
    Row("--quantize=int8 --calibrate", Quantization("int8"), True),
    Row("--quantize=int4", Quantization("int4")),
    Row("--quantize=int4 --calibrate", Quantization("int4"), True),
    Row(
        "--quantize=int4 --quantize-asymmetric",
        Quantization("int4", asymmetric=True),
    ),
    Row(
        "--quantize=int4 --quantize-asymmetric --calibrate",
        Quantization("int4", asymmetric=True),
        True,
    ),
    Row(
        "--quantize=int4 --quantize-head=int8 --calibrate",
        Quantization("int4", head="int8"),
        True,
    ),
    Row("--quantize=int4 --quantize-group-size=64", Quantization("int4", 64)),
    Row(
        "--quantize=int4 --quantize-group-size=64 --calibrate",
        Quantization("int4", 64),
        True,
    ),
    Row("--quantize=w8a8", Quantization("w8a8")),
    Row("--quantize=w4a8", Quantization("w4a8")),
    Row("--quantize=w4a8 --calibrate", Quantization("w4a8"), True),
    Row("--kv-cache-dtype=int8", Quantization(kv_cache="int8")),
    Row("--kv-cache-dtype=int4", Quantization(kv_cache="int4")),
    Row(
        "--quantize=int4 --calibrate --kv-cache-dtype=int8",
        Quantization("int4", kv_cache="int8"),
        True,
    ),
)


def prepare(folder: Path) -> Path:
    """Write the texts to a folder and the unquantized model; return the latter."""
    for name, modules in FILES.items():
        (folder / name).write_text(read_modules(modules), encoding="utf-8")
    reference = folder / "reference.llmir"
    with contextlib.redirect_stderr(io.StringIO()):
        compile_model(str(MODEL), reference)
    return reference


def evaluate(row: Row, folder: Path, stride: int | None = None) -> dict[str, Any]:
    """Return what `llmir eval` finds, in a folder that was prepared; and `bytes`."""
    output = folder / "quantized.llmir"
    with contextlib.redirect_stderr(io.StringIO()):
        compile_model(
            str(MODEL),
            output,
            quantization=row.quantization,
            calibrate=folder / "calibration.txt" if row.calibrated else None,
        )
        found = measure(
            output,
            folder / "evaluation.txt",
            reference=str(folder / "reference.llmir"),
            stride=stride,
        )
    found["bytes"] = (output / "weights.bin").stat().st_size
    found["change"] = found["perplexity"] / found["reference"]["perplexity"] - 1
    return found


def table(stride: int | None) -> str:
    """Return the table."""
    lines = [
        "| options | weights, MB | perplexity | change | KL divergence | top-1 |",
        "|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        reference = prepare(folder)
        size = (reference / "weights.bin").stat().st_size
        for row in tqdm(ROWS, desc="evaluating", unit="row"):
            found = evaluate(row, folder, stride)
            if len(lines) == 2:
                perplexity = found["reference"]["perplexity"]
                lines.append(f"| none | {size / 1e6:.2f} | {perplexity:.4f} | | | |")
            lines.append(
                f"| `{row.options}` | {found['bytes'] / 1e6:.2f} "
                f"| {found['perplexity']:.4f} | {found['change']:+.3%} "
                f"| {found['kl_divergence']:.5f} | {found['top1_agreement']:.2%} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Print the table, and write it into a page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--write", type=Path, metavar="PAGE", help="replace the table of a page"
    )
    parser.add_argument(
        "--stride", type=int, help="as for `llmir eval` (default: half a window)"
    )
    arguments = parser.parse_args()
    page: Path | None = arguments.write
    pattern = re.compile(f"(?<={BEGIN}\n).*?(?={END})", re.S)
    if page is not None and not pattern.search(page.read_text(encoding="utf-8")):
        sys.exit(f"{page} has no place for the table: {BEGIN} and {END}")
    made = table(arguments.stride) + "\n"
    print(made, end="")
    if page is not None:
        text = page.read_text(encoding="utf-8")
        page.write_text(pattern.sub(lambda _: made, text), encoding="utf-8")


if __name__ == "__main__":
    main()
