# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The manifest of an artifact, and the limits of what it may say.

`Manifest` in `runtime/include/llmir/runtime/model.h` says what its fields are. The
loader checks them all; here the same limits are known before any work starts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import llmir
from llmir import _native
from llmir.errors import LLMIRError
from llmir.files import read_json

FORMAT = "llmir-artifact"
FORMAT_VERSION = 1
MANIFEST = "manifest.json"

# The files beside it that every artifact has.
CODE = "model.so"
PROGRAM = "model.mlir"
WEIGHTS = "weights.bin"

# The facts of a model that are sizes, each with the most that the loader takes
# (`parseManifest` in `runtime/lib/model.cpp`).
SIZES = {
    "vocab_size": 2**26,
    "hidden_size": 2**20,
    "num_layers": 2**16,
    "num_heads": 2**16,
    "num_kv_heads": 2**16,
    "head_dim": 2**14,
    "max_model_len": 2**28,
}

# The same for what is not a fact of the model but chosen when it is compiled.
MAX_BLOCK_SIZE = 2**14
MAX_STEP_TOKENS = 2**24


def read_manifest(directory: Path) -> dict[str, Any] | None:
    """Return the manifest in a directory, unchecked; None if that is no artifact."""
    try:
        manifest = read_json(directory / MANIFEST)
    except LLMIRError:
        return None
    known = isinstance(manifest, dict) and manifest.get("format") == FORMAT
    return manifest if known else None


def manifest_text(layout: Mapping[str, Any], files: Mapping[str, Any]) -> str:
    """Return the manifest.

    layout: what the compiler says of the code: target, model, cache, quantization,
        max_batch_tokens and arena_bytes.
    files: `bytes` and `xxh3` of each file by its name.
    """
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "abi_version": _native.runtime().ABI_VERSION,
        "llmir_version": llmir.__version__,
        "target": layout["target"],
        "model": layout["model"],
        "cache": layout["cache"],
        "quantization": layout["quantization"],
        "step": {
            "max_batch_tokens": layout["max_batch_tokens"],
            "arena_bytes": layout["arena_bytes"],
        },
        "files": files,
    }
    return json.dumps(manifest, indent=2) + "\n"


def check_layout(layout: Mapping[str, Any], directory: Path) -> None:
    """Raise LLMIRError if the loader would refuse what the compiler says.

    directory: where the manifest is going to be.
    """
    unknown = {"bytes": 0, "xxh3": "0" * 16}
    text = manifest_text(layout, {CODE: unknown, WEIGHTS: unknown})
    try:
        _native.runtime().check_manifest(text, str(directory / MANIFEST))
    except RuntimeError as error:
        raise LLMIRError(f"what was compiled could not be run: {error}") from error


def check_facts(model: Mapping[str, Any]) -> None:
    """Raise LLMIRError unless `llm.model` has what the runtime needs, as it must be."""

    def refuse(name: str, expected: str) -> LLMIRError:
        found = json.dumps(model[name]) if name in model else "missing"
        return LLMIRError(
            f"the program cannot be run: {name} of its attribute llm.model must be "
            f"{expected}, and is {found}"
        )

    for name in ("architecture", "dtype"):
        if not isinstance(model.get(name), str):
            raise refuse(name, "a string")
    for name, most in SIZES.items():
        if not _is_int(model.get(name), 1, most):
            raise refuse(name, f"a positive integer, at most {most}")
    last = model["vocab_size"] - 1
    ends = model.get("eos_token_ids")
    if not isinstance(ends, list) or not all(_is_int(end, 0, last) for end in ends):
        raise refuse("eos_token_ids", f"a list of integers from 0 to {last}")
    # What of the cache is kept; without it, all.
    most = SIZES["max_model_len"]
    if "kv_cache_window" in model and not _is_int(model["kv_cache_window"], 1, most):
        raise refuse("kv_cache_window", f"a positive integer, at most {most}")
    begin = model.get("bos_token_id")
    if begin is not None and not _is_int(begin, 0, 2**31 - 1):
        raise refuse("bos_token_id", "an integer of 32 bits that is 0 or more")


def check_sizes(model: Mapping[str, int], where: object) -> None:
    """Raise LLMIRError if a size of a model is more than the loader takes.

    where: the file that the sizes come from.
    """
    for name, value in model.items():
        if value > SIZES[name]:
            raise LLMIRError(
                f"{where}: {name} is {value}, and LLMIR runs models of at most "
                f"{SIZES[name]}"
            )


def _is_int(value: Any, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most
