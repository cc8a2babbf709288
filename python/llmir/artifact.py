# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Puts an artifact together: a directory that a serving machine can run.

It holds the code, the packed weights, the program they came from, the tokenizer
and the manifest, which has every fact that the loader checks. The format is
described in `docs/architecture.md`.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

import llmir
from llmir import _codegen, _native
from llmir.errors import LLMIRError
from llmir.safetensors import Checkpoint
from llmir.weights import write_weights

FORMAT = "llmir-artifact"
FORMAT_VERSION = 1
MANIFEST = "manifest.json"
WEIGHTS = "weights.bin"

# Taken along as they are, where the model has them.
COPIED = ("tokenizer.json", "tokenizer_config.json", "generation_config.json")


def finish_artifact(directory: Path, checkpoint: Checkpoint) -> int:
    """Complete a directory into which the compiler has put its results.

    checkpoint: the weights; the tokenizer is taken from the same directory.
    Returns the size of the artifact in bytes.
    """
    runtime = _native.runtime()
    layout_file = directory / _codegen.LAYOUT
    constants_file = directory / _codegen.CONSTANTS
    layout = json.loads(layout_file.read_text(encoding="utf-8"))
    size = layout["weights_bytes"]
    with tqdm(
        total=sum(entry["bytes"] for entry in layout["weights"]),
        desc="packing weights",
        unit="B",
        unit_scale=True,
        disable=None,
    ) as bar:
        write_weights(
            directory / WEIGHTS,
            layout["weights"],
            size,
            constants_file.read_bytes(),
            checkpoint,
            bar.update,
        )
    layout_file.unlink()
    constants_file.unlink()
    for name in COPIED:
        if (checkpoint.directory / name).exists():
            shutil.copyfile(checkpoint.directory / name, directory / name)

    files = {
        path.name: {"bytes": path.stat().st_size, "xxh3": runtime.xxh3(str(path))}
        for path in sorted(directory.iterdir())
    }
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "abi_version": runtime.ABI_VERSION,
        "llmir_version": llmir.__version__,
        "target": layout["target"],
        "model": layout["model"],
        "cache": layout["cache"],
        "step": {
            "max_batch_tokens": layout["max_batch_tokens"],
            "arena_bytes": layout["arena_bytes"],
        },
        "files": files,
    }
    text = json.dumps(manifest, indent=2) + "\n"
    (directory / MANIFEST).write_text(text, encoding="utf-8")
    return sum(file["bytes"] for file in files.values())


def check_replaceable(output: Path) -> None:
    """Raise LLMIRError if `output` exists and is something else than an artifact."""
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    try:
        manifest = json.loads((output / MANIFEST).read_text(encoding="utf-8"))
        known = manifest["format"] == FORMAT
    except (OSError, ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise LLMIRError(
            f"{output} exists and is not an LLMIR artifact; choose another output or "
            "remove it"
        )


@contextlib.contextmanager
def replacing(output: Path) -> Iterator[Path]:
    """Give a temporary directory beside `output` that becomes it in the end.

    Whatever was there is replaced by a rename. If the block fails or is
    interrupted, the temporary directory is removed and `output` is as before.
    """
    with sibling(output) as work:
        new = work / "new"
        new.mkdir()
        yield new
        if output.exists():
            output.rename(work / "old")
        try:
            new.rename(output)
        except BaseException:
            if (work / "old").exists():
                (work / "old").rename(output)
            raise


@contextlib.contextmanager
def sibling(output: Path) -> Iterator[Path]:
    """Give a temporary directory on the disk of `output`, and remove it."""
    parent = output.absolute().parent
    try:
        work = tempfile.mkdtemp(prefix=f".{output.name}.", dir=parent)
    except OSError as error:
        raise LLMIRError(f"cannot write to {parent}: {error.strerror}") from error
    try:
        yield Path(work)
    finally:
        shutil.rmtree(work, ignore_errors=True)
