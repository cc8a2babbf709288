# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The command `run`: continues a text with a compiled model, as it is generated."""

from __future__ import annotations

if __name__ == "__main__":
    from llmir._signals import end_quietly_on_interrupt

    end_quietly_on_interrupt()

import argparse
import sys
import time
from pathlib import Path

from llmir.command import (
    Command,
    UsageError,
    execute,
    int_up_to,
    positive_int,
    standard_output,
    tell,
)
from llmir.errors import LLMIRError
from llmir.model import MAX_THREADS, load


def _configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("artifact", metavar="OUT.llmir", type=Path, help="what `compile` wrote")
    add("--prompt", metavar="TEXT", required=True, help="the text to continue")
    add(
        "--max-tokens",
        type=positive_int,
        default=128,
        metavar="N",
        help="the most tokens to generate (default: 128)",
    )
    add(
        "--temperature",
        type=float,
        default=0.0,
        metavar="T",
        help="0 always takes the likeliest token (the default)",
    )
    add(
        "--top-k",
        type=int,
        default=0,
        metavar="K",
        help="draw among the K likeliest tokens (default: all)",
    )
    add(
        "--top-p",
        type=float,
        default=1.0,
        metavar="P",
        help="draw among the likeliest tokens of total probability P (default: all)",
    )
    add(
        "--min-p",
        type=float,
        default=0.0,
        metavar="P",
        help="draw among tokens of at least P times the highest probability "
        "(default: all)",
    )
    add(
        "--seed",
        type=int,
        default=0,
        metavar="S",
        help="equal seeds, equal texts (default: 0)",
    )
    add(
        "--threads",
        type=int_up_to(MAX_THREADS),
        metavar="N",
        help="how many threads work (default: all of the machine's)",
    )


def _run(arguments: argparse.Namespace) -> None:
    if arguments.temperature == 0:
        for name, default in (("top_k", 0), ("top_p", 1.0), ("min_p", 0.0)):
            if getattr(arguments, name) != default:
                raise UsageError(
                    f"--{name.replace('_', '-')} says what to draw from, and nothing "
                    "is drawn at temperature 0; add --temperature=1"
                )
    output = standard_output()
    model = load(arguments.artifact, threads=arguments.threads)
    prompt = model.encode(arguments.prompt)
    if not prompt:
        raise LLMIRError(
            "the prompt is empty, and this model has no token that begins a text; "
            "give it at least one character"
        )
    if len(prompt) == model.max_model_len:
        raise LLMIRError(
            f"the prompt has {len(prompt)} tokens, as many as the model was compiled "
            "for, which leaves no room for a new one"
        )
    decoder = model.tokenizer.detokenizer(prompt)
    started = time.monotonic()
    first = started
    count = 0
    token_id = -1
    for token_id in model.stream(
        prompt,
        arguments.max_tokens,
        temperature=arguments.temperature,
        top_k=arguments.top_k,
        top_p=arguments.top_p,
        min_p=arguments.min_p,
        seed=arguments.seed,
    ):
        if count == 0:
            first = time.monotonic()
        count += 1
        output.write(decoder.add(token_id))
        output.flush()
    ended = time.monotonic()
    output.write(decoder.finish() + "\n")
    output.flush()
    full = len(prompt) + count == model.max_model_len
    if full and count < arguments.max_tokens and token_id not in model.eos_token_ids:
        tell(
            f"llmir: the text ends here because it has {model.max_model_len} tokens, "
            "the most that the model was compiled for (--max-model-len)"
        )
    parts = [_rate("prompt", len(prompt), len(prompt), first - started)]
    if count > 1:
        # The first token came with the prompt: the time is that of the others.
        parts.append(_rate("generated", count, count - 1, ended - first))
    tell("llmir: " + "; ".join(parts))


def _rate(what: str, tokens: int, timed: int, seconds: float) -> str:
    rate = timed / max(seconds, 1e-9)
    return f"{what} {tokens} tokens in {seconds:.2f} s, {rate:.1f} tokens/s"


COMMAND = Command("run", "Continue a text with a compiled model.", _configure, _run)

if __name__ == "__main__":
    sys.exit(execute(COMMAND))
