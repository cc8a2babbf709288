# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The command `eval`: perplexity on a text, and the distance from another model.

Beside the perplexity, which may rise or fall by chance, it reports how far the
probabilities of every next token have moved from those of a reference, which is what
quantizing changes: the mean Kullback-Leibler divergence and how often the likeliest
token is still the same.
"""

from __future__ import annotations

if __name__ == "__main__":
    from llmir._signals import end_quietly_on_interrupt

    end_quietly_on_interrupt()

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from llmir.command import (
    Command,
    check_results,
    execute,
    int_up_to,
    positive_int,
    standard_output,
    write_results,
)
from llmir.compile import compile_model
from llmir.evaluate import (
    MAX_WINDOW,
    Sums,
    check_reference,
    choose_windows,
    encode_file,
    evaluate,
    perplexity,
    windows_of,
)
from llmir.files import read_text
from llmir.manifest import read_manifest
from llmir.model import MAX_THREADS, Model


def measure(
    artifact: Path,
    text: Path,
    *,
    reference: str | None = None,
    window: int | None = None,
    stride: int | None = None,
    threads: int | None = None,
) -> dict[str, Any]:
    """Return the results, as the JSON file has them.

    artifact: a compiled model.
    text: a file of UTF-8 text.
    reference: what it is compared with: an artifact, or a model directory or hub id,
        which is compiled for this as it is, unquantized.
    window, stride: the tokens of a window, and from the beginning of one to the next;
        None is the longest sequence, at most 2048, and half a window.

    `perplexity` is e to the mean of -log p over the scored tokens, in nats;
    `kl_divergence` the mean over them of sum p log(p / q), p being the reference's
    probabilities and q the artifact's; `top1_agreement` the share of them where the
    likeliest token is the same.

    Raises LLMIRError if the text cannot be read, or the two cannot be compared.
    """
    with _opened(reference, threads) as other:
        model = Model(artifact, threads)
        ids = encode_file(model, text)
        models = [model] if other is None else [model, other]
        window, stride = choose_windows(models, len(ids), window, stride)
        if other is not None:
            check_reference(model, other, read_text(text))
        windows = windows_of(len(ids), window, stride)
        scored = sum(each.end - each.scored for each in windows)
        sums = Sums()
        with tqdm(
            total=scored,
            desc="evaluating",
            unit="token",
            disable=None if sys.stderr is not None else True,
        ) as bar:
            for sums in evaluate(model, other, ids, windows):
                bar.update(sums.tokens - bar.n)
        found: dict[str, Any] = {
            "artifact": str(artifact),
            "text": str(text),
            "tokens": len(ids),
            "scored_tokens": sums.tokens,
            "window": window,
            "stride": stride,
            "quantization": model.manifest.get("quantization"),
            "cache_dtype": model.manifest["cache"]["dtype"],
            "loss": sums.loss / sums.tokens,
            "perplexity": perplexity(sums.loss, sums.tokens),
        }
        if other is not None:
            found["reference"] = {
                "model": reference,
                "loss": sums.reference_loss / sums.tokens,
                "perplexity": perplexity(sums.reference_loss, sums.tokens),
            }
            found["kl_divergence"] = sums.divergence / sums.tokens
            found["top1_agreement"] = sums.agreed / sums.tokens
    return found


@contextlib.contextmanager
def _opened(reference: str | None, threads: int | None) -> Iterator[Model | None]:
    """Give the model that another one is compared with, compiled if need be."""
    if reference is None:
        yield None
    elif read_manifest(Path(reference)) is not None:
        yield Model(Path(reference), threads)
    else:
        with tempfile.TemporaryDirectory(prefix="llmir-eval-") as scratch:
            artifact = Path(scratch) / "reference.llmir"
            compile_model(reference, artifact)
            model = Model(artifact, threads)
            model.path = Path(reference)
            model.tokenizer  # noqa: B018, read before its file is gone
            yield model


def table(found: dict[str, Any]) -> str:
    """Return the results as a table."""
    rows = [
        ("scored tokens", f"{found['scored_tokens']}"),
        ("perplexity", f"{found['perplexity']:.4f}"),
    ]
    if "reference" in found:
        theirs = found["reference"]["perplexity"]
        rows += [
            ("perplexity of the reference", f"{theirs:.4f}"),
            ("change", f"{found['perplexity'] / theirs - 1:+.3%}"),
            ("KL divergence", f"{found['kl_divergence']:.6f}"),
            ("top-1 agreement", f"{found['top1_agreement']:.2%}"),
        ]
    lines = ["| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in rows)]
    return "\n".join(lines)


def _configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("artifact", metavar="OUT.llmir", type=Path, help="what `compile` wrote")
    add("--text", type=Path, metavar="FILE", required=True, help="UTF-8 text")
    add(
        "--reference",
        metavar="MODEL",
        help="compare with this: an artifact, or a model directory or hub id, which "
        "is compiled for it, unquantized",
    )
    add(
        "--window",
        type=positive_int,
        metavar="N",
        help="tokens of a window (default: the longest sequence, at most "
        f"{MAX_WINDOW})",
    )
    add(
        "--stride",
        type=positive_int,
        metavar="N",
        help="tokens from the beginning of a window to that of the next, which scores "
        "those that the one before has not reached (default: half a window)",
    )
    add(
        "--threads",
        type=int_up_to(MAX_THREADS),
        metavar="N",
        help="how many threads work (default: all of the machine's)",
    )
    add("--json", type=Path, metavar="FILE", help="write the results there too")


def _run(arguments: argparse.Namespace) -> None:
    output = standard_output()
    check_results(arguments.json)
    found = measure(
        arguments.artifact,
        arguments.text,
        reference=arguments.reference,
        window=arguments.window,
        stride=arguments.stride,
        threads=arguments.threads,
    )
    write_results(arguments.json, found)
    output.write(table(found) + "\n")


COMMAND = Command(
    "eval", "Measure how well a compiled model predicts a text.", _configure, _run
)

if __name__ == "__main__":
    sys.exit(execute(COMMAND))
