# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Artifacts of models that are not compiled yet.

What has been compiled is kept in `$LLMIR_CACHE`, or in `llmir` of the user's folder of
caches. Other files, other options, another CPU or another LLMIR make another artifact.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import llmir
from llmir.errors import LLMIRError
from llmir.hub import model_directory
from llmir.manifest import read_manifest
from llmir.quantization import AUTO, NONE, Quantization
from llmir.target import find_target


def compiled(
    model: str | os.PathLike[str], options: Mapping[str, Any]
) -> tuple[Path, dict[str, Any]]:
    """Return the artifact of a model, and the options that do not say how it is made.

    model: an artifact, which is returned as it is; else a model directory or a hub id,
        which is compiled if it was not with these options.
    options: of these `dtype`, `max_model_len`, `max_num_batched_tokens`,
        `quantization` (one of `llmir compile --quantize`) and `kv_cache_dtype` say how
        it is compiled. An artifact has them in it, and all but
        `max_num_batched_tokens` are refused.

    Raises LLMIRError for a model that cannot be compiled.
    """
    rest = dict(options)
    chosen: dict[str, Any] = {
        name: rest.pop(name)
        for name in ("dtype", "max_model_len", "quantization", "kv_cache_dtype")
        if name in rest
    }
    path = Path(model)
    if read_manifest(path):
        if chosen:
            raise LLMIRError(
                f"{path} is compiled already, so {', '.join(chosen)} cannot be chosen; "
                "give a model directory"
            )
        return path, rest
    directory = model_directory(os.fspath(model))
    if "max_num_batched_tokens" in rest:
        chosen["max_batch_tokens"] = rest.pop("max_num_batched_tokens")
    artifact = _cache() / f"{_key(directory, chosen)}.llmir"
    if not artifact.exists():
        from llmir.compile import compile_model

        chosen["quantization"] = Quantization(
            format=chosen.get("quantization") or NONE,
            kv_cache=chosen.pop("kv_cache_dtype", AUTO),
        )
        artifact.parent.mkdir(parents=True, exist_ok=True)
        compile_model(str(directory), artifact, **chosen)
    return artifact, rest


def _cache() -> Path:
    if folder := os.environ.get("LLMIR_CACHE"):
        return Path(folder)
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "llmir"


def _key(directory: Path, chosen: Mapping[str, Any]) -> str:
    """Return a name for all that decides what an artifact is."""
    files = [
        (file.name, file.stat().st_size, file.stat().st_mtime_ns)
        for file in sorted(directory.iterdir())
        if file.is_file()
    ]
    target = find_target("native")
    facts = {
        "directory": str(directory.resolve()),
        "files": files,
        "options": dict(chosen),
        "target": [target.arch, target.cpu, list(target.features)],
        "version": llmir.__version__,
    }
    text = json.dumps(facts, sort_keys=True, default=str)
    return f"{directory.name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
