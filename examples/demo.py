# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compile the small model of this folder, let it write, and check what it wrote.

The whole path in one program: a Hugging Face directory becomes an artifact, the
artifact continues a prompt, and Transformers continues the same prompt from the
same weights. Both are greedy and in float32, so the tokens must be equal, every one.
"""

from __future__ import annotations

import sys
from pathlib import Path

import llmir
from llmir.compile import compile_model

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "examples" / "stdlib-llama"
OUTPUT = ROOT / "build" / "demo" / "stdlib-llama.llmir"
PROMPT = '    def close(self):\n        """Close the connection'
TOKENS = 120


def continue_with_llmir(prompt: str) -> list[int]:
    """Print the continuation as it is generated; return its token ids."""
    model = llmir.load(OUTPUT)
    ids = model.encode(prompt)
    decoder = model.tokenizer.detokenizer(ids)
    result: list[int] = []
    print(prompt, end="", flush=True)
    for token_id in model.stream(ids, TOKENS):
        result.append(token_id)
        print(decoder.add(token_id), end="", flush=True)
    print(decoder.finish())
    return result


def continue_with_transformers(prompt: str) -> list[int]:
    """Return the token ids with which Transformers continues the prompt."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(SOURCE)
    model = AutoModelForCausalLM.from_pretrained(SOURCE, dtype=torch.float32)
    inputs = tokenizer(prompt, return_tensors="pt")
    output = model.generate(
        inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        max_new_tokens=TOKENS,
        do_sample=False,
        pad_token_id=0,
    )
    return [int(token_id) for token_id in output[0, inputs["input_ids"].shape[1] :]]


def main() -> int:
    """Run the demonstration; return 1 if the tokens differ."""
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    compile_model(str(SOURCE), OUTPUT, dtype="float32")
    print("-" * 72)
    ours = continue_with_llmir(PROMPT)
    print("-" * 72)
    try:
        theirs = continue_with_transformers(PROMPT)
    except ImportError as error:
        print(f"Not compared with Transformers: {error}. To compare, install it with")
        print("    .venv/bin/python -m pip install -r python/requirements-torch.txt")
        return 0
    if ours == theirs:
        print(f"Transformers writes the same {len(ours)} tokens: equal.")
        return 0
    same = next(
        (
            i
            for i, pair in enumerate(zip(ours, theirs, strict=False))
            if len(set(pair)) > 1
        ),
        min(len(ours), len(theirs)),
    )
    print(f"Transformers writes other tokens: the first {same} are equal.")
    return 1


if __name__ == "__main__":
    sys.exit(main())
