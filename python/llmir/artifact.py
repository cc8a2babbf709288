# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Puts an artifact together: a directory that a serving machine can run.

It holds the code, the packed weights, the program they came from, the tokenizer
and the manifest, which has every fact that the loader checks.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from llmir import _codegen, _native
from llmir.calibration import Calibration, calibrate
from llmir.errors import LLMIRError
from llmir.files import open_regular, shown
from llmir.manifest import MANIFEST, WEIGHTS, manifest_text, read_manifest
from llmir.quantization import NONE
from llmir.safetensors import Checkpoint
from llmir.tokenizer import Tokenizer
from llmir.weights import losses_of, write_weights

# Taken along as they are, where the model has them.
TOKENIZER = "tokenizer.json"
COPIED = (TOKENIZER, "tokenizer_config.json", "generation_config.json")


def finish_artifact(
    directory: Path, checkpoint: Checkpoint, calibration: Calibration | None = None
) -> tuple[int, list[str]]:
    """Complete a directory into which the compiler has put its results.

    checkpoint: the weights; the tokenizer is taken from the same directory.
    calibration: what tells which errors of quantized weights matter.
    Returns the size of the artifact in bytes, and what there is to say of quantizing.
    Raises LLMIRError if the runtime would refuse it.
    """
    layout_file = directory / _codegen.LAYOUT
    constants_file = directory / _codegen.CONSTANTS
    layout = json.loads(layout_file.read_text(encoding="utf-8"))
    size = layout["weights_bytes"]
    with tqdm(
        total=sum(entry["bytes"] for entry in layout["weights"]),
        desc="packing weights",
        unit="B",
        unit_scale=True,
        disable=None if sys.stderr is not None else True,
    ) as bar:
        changes = write_weights(
            directory / WEIGHTS,
            layout["weights"],
            size,
            memoryview(constants_file.read_bytes()),
            checkpoint,
            bar.update,
        )
    layout_file.unlink()
    constants_file.unlink()
    for name in COPIED:
        if os.path.lexists(checkpoint.directory / name):
            source = open_regular(checkpoint.directory / name)
            with source, (directory / name).open("wb") as copy:
                shutil.copyfileobj(source, copy)

    facts = layout["quantization"]
    facts["weights"] = [loss.facts() for loss in losses_of(layout["weights"], changes)]
    kept = 0
    if facts["format"] != NONE:
        kept = facts["tensors_kept"] = sum(
            entry.get("packed", False) and "format" not in entry
            for entry in layout["weights"]
        )
    size = _write_manifest(directory, layout)
    check_loadable(directory)
    notes = []
    if calibration is not None:
        calibrated = calibrate(directory, layout["weights"], checkpoint, calibration)
        changes |= calibrated.changes
        facts["weights"] = [
            loss.facts() for loss in losses_of(layout["weights"], changes)
        ]
        facts["calibration"] = calibrated.facts()
        size = _write_manifest(directory, layout)
        notes.append(calibrated.describe())
    notes += [loss.describe() for loss in losses_of(layout["weights"], changes)]
    if kept:
        notes.append(
            f"{kept} {'weight' if kept == 1 else 'weights'} not quantized, since "
            "--quantize-exclude or --quantize-head leaves it out, no group of 32 "
            "inputs or more divides a row, or a row is too long"
        )
    return size, notes


def _write_manifest(directory: Path, layout: dict[str, Any]) -> int:
    """Write the manifest of the files in a directory; return their size."""
    runtime = _native.runtime()
    files = {
        path.name: {"bytes": path.stat().st_size, "xxh3": runtime.xxh3(str(path))}
        for path in sorted(directory.iterdir())
        if path.name != MANIFEST
    }
    text = manifest_text(layout, files)
    (directory / MANIFEST).write_text(text, encoding="utf-8")
    return sum(file["bytes"] for file in files.values())


def check_loadable(directory: Path) -> None:
    """Raise LLMIRError if the runtime refuses an artifact of this machine's making.

    For code that needs features this CPU lacks, only the manifest is looked at.
    """
    try:
        _native.runtime().Model(_native.path_text(directory))
    except RuntimeError as error:
        # The loader compares features once the manifest is found to be good.
        if "this CPU lacks" not in str(error):
            raise LLMIRError(f"what was compiled cannot be run: {error}") from error


def check_copied(directory: Path) -> None:
    """Raise LLMIRError if what an artifact takes along as it is cannot be read.

    A model without a tokenizer is one of token ids.
    """
    for name in COPIED:
        if os.path.lexists(directory / name):
            open_regular(directory / name).close()
    if os.path.lexists(directory / TOKENIZER):
        Tokenizer(directory / TOKENIZER)


def check_replaceable(output: Path, *sources: Path) -> None:
    """Raise LLMIRError if replacing `output` would lose what is not an artifact's.

    sources: the files and directories that are read; they may not be inside.
    """
    place = os.path.realpath(output)
    for source in sources:
        if Path(os.path.realpath(source)).is_relative_to(place):
            raise LLMIRError(f"{output} holds {source} and would replace it")
    if not os.path.lexists(output):
        return
    found = {path.name for path in output.iterdir()} if output.is_dir() else None
    manifest = read_manifest(output) if found else None
    if found is None or (found and manifest is None):
        raise LLMIRError(
            f"{output} exists and is not an LLMIR artifact; choose another output or "
            "remove it"
        )
    if manifest is not None:
        files = manifest.get("files")
        others = found - {MANIFEST, *(files if isinstance(files, dict) else ())}
        if others:
            raise LLMIRError(
                f"{output} is an artifact and also holds {shown(min(others))}, which "
                "would be lost; choose another output or move that away"
            )


@contextlib.contextmanager
def replacing(output: Path) -> Iterator[Path]:
    """Give a temporary directory beside `output` that becomes it in the end.

    Whatever was there is replaced by a rename. If the block fails or is
    interrupted, the temporary directory is removed and `output` is as before.
    """
    with sibling(output) as work:
        new, old = work / "new", work / "old"
        new.mkdir()
        with named(new, str(output)):
            yield new
        try:
            if output.exists():
                output.rename(old)
            new.rename(output)
        except BaseException:
            # An interrupt may come before, between and after the two.
            if old.exists() and not output.exists():
                old.rename(output)
            raise


@contextlib.contextmanager
def named(work: Path, final: str) -> Iterator[None]:
    """Let errors speak of `final` where they mean `work`, which is about to go."""

    def rename(text: str) -> str:
        for place in (os.path.realpath(work), str(work)):
            text = text.replace(place, final)
        return text

    try:
        yield
    except LLMIRError as error:
        raise LLMIRError(rename(str(error))) from error
    except OSError as error:
        where = f"{rename(str(error.filename))}: " if error.filename else ""
        raise LLMIRError(f"{where}{error.strerror or error}") from error


@contextlib.contextmanager
def sibling(output: Path) -> Iterator[Path]:
    """Give a temporary directory on the disk of `output`, and remove it."""
    parent = output.absolute().parent
    try:
        work = tempfile.TemporaryDirectory(
            prefix=f".{output.name[:64]}.", dir=parent, ignore_cleanup_errors=True
        )
    except OSError as error:
        raise LLMIRError(f"cannot write to {parent}: {error.strerror}") from error
    with work as name:
        yield Path(name)
