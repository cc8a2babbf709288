# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Finds the directory of a model that was named on the command line.

A directory is itself. Anything else that looks like `name` or `owner/name` is a
model of the Hugging Face hub: huggingface_hub brings it into the standard cache,
or finds it there, under its own rules for offline machines (`HF_HUB_OFFLINE`).
"""

from __future__ import annotations

import re
from pathlib import Path

from llmir.errors import LLMIRError

# What compiling a model reads; pickled weights are not even downloaded.
FILES = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-*-of-*.safetensors",
]

_HUB_ID = re.compile(r"[\w][\w.-]*(/[\w][\w.-]*)?", re.ASCII)


def model_directory(model: str) -> Path:
    """Return the local directory of `model`, a path or a hub id.

    Raises LLMIRError if it is neither, or cannot be had.
    """
    path = Path(model)
    if model and path.is_dir():
        return path
    if path.is_file():
        raise LLMIRError(f"{model} is neither a model directory nor an .mlir file")
    if not _HUB_ID.fullmatch(model):
        raise LLMIRError(f"there is no directory {model}")
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise LLMIRError(
            f"there is no directory {model}, and fetching a model of that name from "
            "the Hugging Face hub needs the package huggingface_hub"
        ) from None
    try:
        return Path(snapshot_download(model, allow_patterns=FILES))
    except Exception as error:  # its errors share no base class
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise LLMIRError(
            f"there is no directory {model}, and the Hugging Face hub did not give "
            f"a model of that name: {reason}"
        ) from error
