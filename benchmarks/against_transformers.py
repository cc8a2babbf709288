# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Times LLMIR and Transformers' eager mode side by side, on the same weights.

Models of real shapes with seeded random weights are made on the spot in bfloat16.
The rows are llama-bench's: pp512 reads a prompt of 512 tokens, tg128 writes 128
tokens one by one. Runs of the two alternate, so that a change of the machine's speed
hits both, and the ratio of each pair counts.

    python benchmarks/against_transformers.py --shape smollm2-135m
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import llmir

SHAPES: dict[str, dict[str, Any]] = {
    "smollm2-135m": {
        "vocab_size": 49152,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": True,
    },
    "llama-3.2-1b": {
        "vocab_size": 128256,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": True,
        "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0},
    },
}
PROMPT_TOKENS = 512
GENERATED_TOKENS = 128


def make_model(shape: str, directory: Path) -> None:
    """Write a model of a real shape with random bfloat16 weights."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    try:
        model = LlamaForCausalLM(LlamaConfig(**SHAPES[shape], eos_token_id=None))
        model.save_pretrained(directory)
    finally:
        torch.set_default_dtype(torch.float32)


def seconds(work: Callable[..., object], *arguments: object) -> float:
    """Return how long `work` takes."""
    begin = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - begin


class Ours:
    """LLMIR, by single steps."""

    def __init__(self, path: Path, threads: int) -> None:
        """Load an artifact."""
        self.model = llmir.load(path, threads=threads)

    def prefill(self, ids: list[int]) -> None:
        """Read a prompt, and forget it."""
        sequence = self.model.engine.new_sequence()
        self.model.engine.step([(sequence, ids, False)])
        sequence.close()

    def decode(self, ids: list[int]) -> None:
        """Write one token for each id, as if it had been chosen."""
        sequence = self.model.engine.new_sequence()
        for token in ids:
            self.model.engine.step([(sequence, [token], False)])
        sequence.close()


class Theirs:
    """Transformers' eager mode, with its own cache."""

    def __init__(self, directory: Path) -> None:
        """Load a model directory."""
        self.model = LlamaForCausalLM.from_pretrained(
            directory, dtype=torch.bfloat16, attn_implementation="eager"
        ).eval()

    @torch.inference_mode()
    def prefill(self, ids: list[int]) -> None:
        """Read a prompt; logits of its last token only."""
        self.model(torch.tensor([ids]), use_cache=True, logits_to_keep=1)

    @torch.inference_mode()
    def decode(self, ids: list[int]) -> None:
        """Write one token for each id, as if it had been chosen."""
        cache = None
        for token in ids:
            output = self.model(
                torch.tensor([[token]]), past_key_values=cache, use_cache=True
            )
            cache = output.past_key_values


@torch.inference_mode()
def compare_tokens(ours: Ours, directory: Path) -> str:
    """Say how far our greedy tokens are those of Transformers in float32.

    Where they part, the margin tells a near-tie, which rounding to bfloat16 may
    decide, from a mistake.
    """
    prompt = list(range(100, 140))
    tokens = ours.model.generate(prompt, max_new_tokens=32)
    reference = LlamaForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    logits = reference(torch.tensor([prompt + tokens[:-1]])).logits[0]
    for index, token in enumerate(tokens):
        row = logits[len(prompt) - 1 + index]
        if int(row.argmax()) != token:
            margin = float(row.max() - row[token]) / float(row.std())
            return (
                f"{index} greedy tokens equal those of Transformers in float32; the "
                f"next differs by {margin:.4f} of the logits' standard deviation"
            )
    return f"all {len(tokens)} greedy tokens equal those of Transformers in float32"


def main() -> int:
    """Make, compile, alternate, and print medians with their spread."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="smollm2-135m")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    with tempfile.TemporaryDirectory() as scratch:
        directory, artifact = Path(scratch, "model"), Path(scratch, "model.llmir")
        make_model(arguments.shape, directory)
        command = [sys.executable, "-m", "llmir.compile", directory, "-o", artifact]
        compiling = seconds(lambda: subprocess.run(command, check=True))
        begin = time.perf_counter()
        ours = Ours(artifact, arguments.threads)
        loading = time.perf_counter() - begin
        theirs = Theirs(directory)
        random = np.random.default_rng(0)
        vocabulary = SHAPES[arguments.shape]["vocab_size"]
        rows: dict[str, tuple[str, int]] = {
            f"pp{PROMPT_TOKENS}": ("prefill", PROMPT_TOKENS),
            f"tg{GENERATED_TOKENS}": ("decode", GENERATED_TOKENS),
        }
        print(f"{arguments.shape}, bf16, {arguments.threads} threads")
        print(f"compile {compiling:.1f} s, load {loading:.2f} s")
        print("| row | LLMIR tok/s | Transformers tok/s | ratio (min - max) |")
        print("|---|---|---|---|")
        results: dict[str, Any] = {"compile_s": compiling, "load_s": loading}
        for row, (kind, count) in rows.items():
            ids = random.integers(0, vocabulary, count).tolist()
            pairs = []
            for repetition in range(arguments.repetitions + 1):
                pair = [
                    count / seconds(getattr(side, kind), ids) for side in (ours, theirs)
                ]
                if repetition > 0:  # the first pair warms up
                    pairs.append(pair)
            mine, other = (statistics.median(pair[i] for pair in pairs) for i in (0, 1))
            ratios = [a / b for a, b in pairs]
            ratio = statistics.median(ratios)
            print(
                f"| {row} | {mine:.1f} | {other:.1f} "
                f"| {ratio:.2f} ({min(ratios):.2f} - {max(ratios):.2f}) |"
            )
            results[row] = {"llmir": mine, "transformers": other, "ratios": ratios}
        del theirs
        print(compare_tokens(ours, directory))
        if arguments.json:
            arguments.json.write_text(json.dumps(results, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
