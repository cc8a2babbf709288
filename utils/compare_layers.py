#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Finds the layer from which a compiled model's numbers are wrong.

Compiles a model with its first layer only, with the first two, and so on, and prints
the error of each one's logits against Transformers in float32 on the same weights. The
first line in which it jumps is the layer to look at. See CONTRIBUTING.md.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging

import llmir
from llmir.compile import compile_model
from llmir.errors import LLMIRError


def first_layers(model: Path, count: int, directory: Path) -> Path:
    """Make a model directory that has the first `count` layers of another one."""
    directory.mkdir()
    for file in model.iterdir():
        (directory / file.name).symlink_to(file.resolve())
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    config["num_hidden_layers"] = count
    # Some configs also say something of each layer.
    for key, value in config.items():
        if key.startswith("layer_") and isinstance(value, list):
            config[key] = value[:count]
    (directory / "config.json").unlink()
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return directory


def error(model: Path, scratch: Path, dtype: str, ids: list[int]) -> float:
    """Return the L2 norm of the logits' error over that of the logits."""
    reference = AutoModelForCausalLM.from_pretrained(
        model, dtype=torch.float32, attn_implementation="eager"
    )
    with torch.no_grad():
        expected = reference(torch.tensor([ids])).logits[0].numpy()
    with contextlib.redirect_stderr(io.StringIO()):
        compile_model(str(model), scratch, dtype=dtype)
    logits = llmir.load(scratch).forward(ids)
    return float(np.linalg.norm(logits - expected) / np.linalg.norm(expected))


def main() -> None:
    """Print the error for each number of layers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--dtype", default="auto", help="as for llmir.compile")
    parser.add_argument("--tokens", type=int, default=45, help="of a random prompt")
    arguments = parser.parse_args()
    # Of the weights that a shorter model leaves alone.
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        config = json.loads((arguments.model / "config.json").read_text("utf-8"))
        layers, vocabulary = config["num_hidden_layers"], config["vocab_size"]
        random = np.random.default_rng(0)
        ids = random.integers(vocabulary, size=arguments.tokens).tolist()
        print("layers  error")
        for count in range(1, layers + 1):
            with tempfile.TemporaryDirectory(prefix="llmir-") as scratch:
                model = first_layers(arguments.model, count, Path(scratch, "model"))
                found = error(model, Path(scratch, "out.llmir"), arguments.dtype, ids)
            print(f"{count:6}  {found:.1e}", flush=True)
    except (OSError, KeyError, ValueError, LLMIRError) as failure:
        raise SystemExit(f"compare_layers: {failure}") from None


if __name__ == "__main__":
    main()
