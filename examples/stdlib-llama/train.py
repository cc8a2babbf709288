# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Train the small Llama that the examples compile and run.

The examples need a model that anyone may redistribute, that is small enough to
live next to the source code, and that still writes text a reader recognises, so
that a wrong compilation shows at a glance. No published model meets all three,
so this file makes one from scratch, in minutes and on a CPU: it gathers the
sources of Python's standard library from the interpreter that runs it, fits a
byte-level BPE tokenizer on them, trains a Llama with grouped-query attention,
and saves the result in bfloat16 as an ordinary Hugging Face directory.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import math
import sysconfig
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

END_OF_TEXT = "<|endoftext|>"
END_OF_TEXT_ID = 0

# Directories that hold tests, other people's packages, or the interpreter's
# own build, at any depth of the standard library.
SKIPPED_DIRECTORIES = {
    "__phello__",
    "__pycache__",
    "dist-packages",
    "idle_test",
    "site-packages",
    "test",
    "tests",
}
# Directories and files that are tables of data rather than text to learn from;
# _sysconfigdata also records the paths of the machine Python was built on.
SKIPPED_PREFIXES = (
    "_sysconfigdata",
    "config-",
    "encodings/",
    "html/entities.py",
    "msilib/",
    "pydoc_data/",
)
# One file in this many is kept out of training, to measure the loss on.
HELD_OUT_EVERY = 40

PROMPTS = (
    'def read_file(path):\n    """',
    "class Reader:\n",
    "import os\nimport sys\n",
)


@dataclass(frozen=True)
class Corpus:
    """The text of the standard library, split by file."""

    training: list[str]
    held_out: list[str]


def read_corpus(root: Path) -> Corpus:
    """Return the distinct Python sources under root, in a fixed order."""
    texts: list[str] = []
    seen: set[bytes] = set()
    for path in sorted(root.rglob("*.py"), key=lambda path: path.as_posix()):
        relative = path.relative_to(root)
        if SKIPPED_DIRECTORIES.intersection(relative.parts[:-1]):
            continue
        if relative.as_posix().startswith(SKIPPED_PREFIXES):
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        digest = hashlib.sha256(text.encode()).digest()
        if text.strip() and digest not in seen:
            seen.add(digest)
            texts.append(text)
    held_out = texts[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY]
    del texts[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY]
    return Corpus(training=texts, held_out=held_out)


def train_tokenizer(texts: list[str], vocabulary: int) -> Tokenizer:
    """Fit a byte-level BPE tokenizer; the end of text is its first token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.token_to_id(END_OF_TEXT) != END_OF_TEXT_ID:
        raise RuntimeError(f"{END_OF_TEXT} is not token {END_OF_TEXT_ID}")
    return tokenizer


def encode(tokenizer: Tokenizer, texts: list[str]) -> torch.Tensor:
    """Return the tokens of all texts in a row, each behind an end of text."""
    ids: list[int] = []
    for encoding in tokenizer.encode_batch(texts):
        ids.append(END_OF_TEXT_ID)
        ids.extend(encoding.ids)
    return torch.tensor(ids, dtype=torch.int64)


def windows(
    tokens: torch.Tensor, context: int, batch: int, random: np.random.Generator
) -> Iterator[torch.Tensor]:
    """Yield batches of windows for ever, each epoch cut at a new offset."""
    while True:
        offset = int(random.integers(context))
        starts = np.arange(offset, len(tokens) - context, context)
        random.shuffle(starts)
        for first in range(0, len(starts) - batch + 1, batch):
            rows = starts[first : first + batch]
            yield torch.stack([tokens[row : row + context] for row in rows])


def make_config(arguments: argparse.Namespace) -> LlamaConfig:
    """Return the shape of the model."""
    return LlamaConfig(
        vocab_size=arguments.vocabulary,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=arguments.final_context,
        rope_theta=10000.0,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=END_OF_TEXT_ID,
        eos_token_id=END_OF_TEXT_ID,
        use_cache=True,
    )


def make_optimizer(
    model: LlamaForCausalLM, rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Return AdamW that decays the matrices and leaves the norms alone."""
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95), fused=True)


def rate_at(step: int, progress: float, arguments: argparse.Namespace) -> float:
    """Return the learning rate: a linear warm-up, then a cosine down to 1 %."""
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))
    warm = min(1.0, (step + 1) / arguments.warmup)
    return arguments.rate * warm * (0.01 + 0.99 * cosine)


def loss_of(model: torch.nn.Module, rows: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy of predicting each next token of rows."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(input_ids=rows[:, :-1], use_cache=False).logits
    return torch.nn.functional.cross_entropy(
        logits.float().flatten(0, 1), rows[:, 1:].flatten()
    )


@torch.no_grad()
def evaluate(model: torch.nn.Module, tokens: torch.Tensor, context: int) -> float:
    """Return the mean loss over tokens, in windows that do not overlap."""
    count = (len(tokens) - 1) // context
    rows = tokens[: count * context].view(count, context)
    losses = [loss_of(model, part) * len(part) for part in rows.split(16)]
    return float(sum(losses) / count)


def save(model: LlamaForCausalLM, tokenizer: Tokenizer, output: Path) -> None:
    """Write the model in bfloat16 and its tokenizer as one directory."""
    output.mkdir(parents=True, exist_ok=True)
    rounded = LlamaForCausalLM(model.config)
    rounded.load_state_dict(model.state_dict())
    rounded.to(torch.bfloat16).save_pretrained(output)
    # transformers 5 writes the rotary base and the element type under new names
    # only; readers of the older ones find them here too.
    config_path = output / "config.json"
    config = json.loads(config_path.read_text(encoding="utf-8"))
    config.update(rope_theta=10000.0, torch_dtype="bfloat16")
    write_json(config_path, dict(sorted(config.items())))
    tokenizer.save(str(output / "tokenizer.json"), pretty=False)
    settings = {
        "bos_token": END_OF_TEXT,
        "clean_up_tokenization_spaces": False,
        "eos_token": END_OF_TEXT,
        "model_max_length": model.config.max_position_embeddings,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    write_json(output / "tokenizer_config.json", settings)


def write_json(path: Path, value: dict[str, object]) -> None:
    """Write value as indented JSON."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def train(
    model: LlamaForCausalLM,
    tokenizer: Tokenizer,
    training: torch.Tensor,
    held_out: torch.Tensor,
    arguments: argparse.Namespace,
) -> None:
    """Train model in place, saving it and printing the losses on the way."""
    random = np.random.default_rng(arguments.seed)
    run = torch.compile(model, dynamic=False) if arguments.compile else model
    optimizer = make_optimizer(model, arguments.rate, arguments.weight_decay)
    # Most steps use short windows, which are cheaper; the last ones use windows
    # as long as the model's positions go, so that none of them is untrained.
    short = windows(
        training, arguments.context + 1, arguments.tokens // arguments.context, random
    )
    long = windows(
        training,
        arguments.final_context + 1,
        arguments.tokens // arguments.final_context,
        random,
    )
    model.train()
    start = saved = time.monotonic()
    seen = 0
    recent: list[float] = []
    for step in itertools.count():
        elapsed = time.monotonic() - start
        if arguments.steps is not None:
            progress = step / arguments.steps
        else:
            progress = elapsed / (60.0 * arguments.minutes)
        if progress >= 1.0:
            break
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, progress, arguments)
        rows = next(short if progress < 1.0 - arguments.final_part else long)
        loss = loss_of(run, rows)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), arguments.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seen += rows[:, 1:].numel()
        recent.append(loss.item())
        if (step + 1) % arguments.report_every == 0:
            elapsed = time.monotonic() - start
            print(
                f"step {step + 1}  progress {progress:.3f}  "
                f"loss {sum(recent) / len(recent):.4f}  tokens {seen}  "
                f"seconds {elapsed:.0f}  tokens/s {seen / elapsed:.0f}",
                flush=True,
            )
            recent.clear()
        if time.monotonic() - saved > 60.0 * arguments.save_every:
            model.eval()
            loss_now = evaluate(model, held_out, arguments.context)
            save(model, tokenizer, arguments.output)
            model.train()
            print(f"saved at step {step + 1}, held-out {loss_now:.4f}", flush=True)
            saved = time.monotonic()
    model.eval()
    save(model, tokenizer, arguments.output)
    print(
        f"trained {step} steps on {seen} tokens in "
        f"{time.monotonic() - start:.0f} seconds",
        flush=True,
    )


def continue_prompt(
    model: LlamaForCausalLM, tokenizer: Tokenizer, prompt: str, count: int
) -> str:
    """Return prompt with its greedy continuation."""
    ids = torch.tensor([tokenizer.encode(prompt).ids])
    output = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=count,
        do_sample=False,
        pad_token_id=END_OF_TEXT_ID,
    )
    return tokenizer.decode(output[0].tolist())


def parse_arguments() -> argparse.Namespace:
    """Return the command line's settings."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--output", type=Path, required=True, help="directory to write")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--steps", type=int, help="optimizer steps (reproducible)")
    length.add_argument(
        "--minutes",
        type=float,
        default=30.0,
        help="train for this long instead; the schedule follows the clock",
    )
    add("--threads", type=int, default=2, help="CPU threads")
    add("--seed", type=int, default=0, help="seed of weights and of batches")
    add("--vocabulary", type=int, default=1024, help="tokens of the tokenizer")
    add("--context", type=int, default=256, help="window of most steps")
    add("--final-context", type=int, default=512, help="window of the last steps")
    add("--final-part", type=float, default=0.2, help="part that uses it")
    add("--tokens", type=int, default=4096, help="tokens per step")
    add("--rate", type=float, default=4e-3, help="highest learning rate")
    add("--warmup", type=int, default=100, help="steps of warm-up")
    add("--weight-decay", type=float, default=0.1, help="AdamW's decay")
    add("--clip", type=float, default=1.0, help="largest gradient norm")
    add("--compile", action="store_true", help="use torch.compile")
    add("--report-every", type=int, default=100, help="steps between reports")
    add("--save-every", type=float, default=8.0, help="minutes between saves")
    return parser.parse_args()


def main() -> None:
    """Gather the text, train the tokenizer and the model, and report."""
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    corpus = read_corpus(Path(sysconfig.get_paths()["stdlib"]))
    tokenizer = train_tokenizer(corpus.training, arguments.vocabulary)
    training = encode(tokenizer, corpus.training)
    held_out = encode(tokenizer, corpus.held_out)
    size = sum(len(text.encode()) for text in corpus.training)
    print(f"training: {len(corpus.training)} files, {size} bytes, {len(training)} ids")
    size = sum(len(text.encode()) for text in corpus.held_out)
    print(f"held out: {len(corpus.held_out)} files, {size} bytes, {len(held_out)} ids")
    model = LlamaForCausalLM(make_config(arguments))
    print(f"parameters: {sum(p.numel() for p in model.parameters())}", flush=True)
    train(model, tokenizer, training, held_out, arguments)

    final = LlamaForCausalLM.from_pretrained(arguments.output).eval()
    for name, tokens in (("training", training[:200_000]), ("held-out", held_out)):
        for context in (arguments.context, arguments.final_context):
            loss = evaluate(final, tokens, context)
            print(f"{name} loss at context {context}, in bfloat16: {loss:.4f}")
    for prompt in PROMPTS:
        print("-" * 72)
        print(continue_prompt(final, tokenizer, prompt, 120))


if __name__ == "__main__":
    main()
