# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Rounds quantized weights by what they are multiplied by, as GPTQ does.

Rounding each number to the nearest integer is best for the weights and not for the
products: errors add up in the directions in which inputs are correlated. GPTQ
(arXiv:2210.17323) rounds one input after the other and lets later ones make up for the
errors of earlier ones, as the sum of x x^T over the inputs x of a text asks.

The inputs are observed where they are used: the artifact, whose weights are rounded to
nearest by then, runs over the text, and its products hand their rows out. So what is
observed is what the quantized model computes, norms and caches included. Then weights
are rounded again and written over the others. Matrices that do not fit into memory
together come one part after the other, each with a run of its own, which sees what was
rounded better before.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from llmir import _native
from llmir.errors import LLMIRError
from llmir.files import read_text, shown
from llmir.manifest import WEIGHTS
from llmir.model import Model
from llmir.quantization import NONE, Quantization
from llmir.safetensors import Checkpoint
from llmir.target import find_target
from llmir.tokenizer import Tokenizer
from llmir.weights import Change, Feedback, rewrite_weight

# The tokens that are read unless told otherwise, and the longest sequence of them.
TOKENS = 32768
MAX_SEQUENCE = 2048

# A part of the mean of the diagonal, which is added to it (GPTQ's section 3.3).
DAMPING = 0.01

# What a number of a matrix of inputs takes: it is added up in float32, a product of
# the next rows beside it, and factored in float64.
SUMMED_BYTES, FACTORED_BYTES = 4, 2 * 8 + 2 * 4

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Calibration:
    """A text that quantized weights are calibrated with.

    text: where it comes from.
    ids: its tokens.
    tokens: how many of them are read at most, in sequences from all over the text.
    """

    text: Path
    ids: list[int]
    tokens: int = TOKENS

    def sequences(self, length: int) -> list[list[int]]:
        """Return what is read: sequences of at most `length` tokens."""
        length = min(length, MAX_SEQUENCE, self.tokens)
        starts = range(0, len(self.ids), length)
        count = max(1, self.tokens // length)
        if len(starts) > count:
            # The last one may be short.
            whole = len(self.ids) // length
            starts = range(0, whole * length, length)
            chosen = np.linspace(0, whole - 1, min(count, whole)).round()
            return [self._from(starts[int(i)], length) for i in chosen]
        return [self._from(start, length) for start in starts]

    def _from(self, start: int, length: int) -> list[int]:
        return self.ids[start : start + length]


@dataclass
class Calibrated:
    """What calibrating has done.

    text, tokens: what was read.
    changes: what quantizing has changed in weights, by their offsets.
    left: the keys of quantized weights that no product of a kernel has, which stay
        rounded to nearest.
    """

    text: Path
    tokens: int
    changes: dict[int, Change] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """Return what the manifest says."""
        return {
            "method": "gptq",
            "text": self.text.name,
            "tokens": self.tokens,
            "tensors": len(self.changes),
        }

    def describe(self) -> str:
        """Return a sentence."""
        left = f"; as no kernel multiplies by them, not {', '.join(self.left)}"
        return (
            f"{len(self.changes)} weights are rounded by GPTQ, for the inputs that "
            f"{self.tokens} tokens of {self.text} lead to{left if self.left else ''}"
        )


def check_calibration(quantization: Quantization, emit: str, target_cpu: str) -> None:
    """Raise LLMIRError if there is nothing to calibrate, or it cannot be run here."""
    if quantization.format == NONE:
        raise LLMIRError(
            "--calibrate says how weights are quantized, and needs --quantize"
        )
    if emit != "artifact":
        raise LLMIRError(
            f"--calibrate is about the weights of an artifact, and --emit={emit} "
            "writes none"
        )
    here = _native.runtime().cpu_features()
    lacking = [name for name in find_target(target_cpu).features if name not in here]
    if lacking:
        raise LLMIRError(
            f"--calibrate runs the model, and this CPU lacks {', '.join(lacking)}, "
            f"which --target-cpu={target_cpu} uses"
        )


def read_calibration(model: Path, text: Path, tokens: int) -> Calibration:
    """Return a text file as the tokens of a model directory.

    Raises LLMIRError if it cannot be read, or the model has no tokenizer.
    """
    ids = Tokenizer(model / "tokenizer.json").encode(read_text(text))
    if not ids:
        raise LLMIRError(f"{text} has no tokens")
    return Calibration(text, ids, tokens)


def calibrate(
    directory: Path,
    entries: list[dict[str, Any]],
    checkpoint: Checkpoint,
    calibration: Calibration,
) -> Calibrated:
    """Round the quantized weights of an artifact again, in its file.

    entries: the compiler's layout, as `llmir.weights.write_weights` has it.

    Raises LLMIRError if the model gives numbers that are not finite, or if there is too
    little memory.
    """
    quantized = [entry for entry in entries if "format" in entry]
    model = Model(directory)
    sequences = calibration.sequences(model.max_model_len)
    result = Calibrated(calibration.text, sum(map(len, sequences)))
    rows = _probe(model, [entry["offset"] for entry in quantized])
    for entry in quantized:
        if not rows[entry["offset"]]:
            result.left += [shown(part["key"]) for part in entry["sources"]]
    parts = list(_parts([entry for entry in quantized if rows[entry["offset"]]]))
    disable = None if sys.stderr is not None else True
    with (
        tqdm(
            total=len(parts) * result.tokens,
            desc="observing inputs",
            unit="token",
            disable=disable,
        ) as seen,
        tqdm(
            total=sum(entry["bytes"] for part in parts for entry in part),
            desc="rounding weights",
            unit="B",
            unit_scale=True,
            disable=disable,
        ) as done,
    ):
        for part in parts:
            sums = {entry["offset"]: _zeros(entry) for entry in part}
            # Logits are made of the rows that are asked for, all of them if their
            # product is observed.
            all_rows = any(rows[offset] == 1 for offset in sums)
            for sequence in sequences:
                _observe(model, sequence, sums, all_rows)
                seen.update(len(sequence))
            for entry in part:
                feedback = feedback_of(sums.pop(entry["offset"]), entry)
                result.changes[entry["offset"]] = rewrite_weight(
                    directory / WEIGHTS, entry, checkpoint, feedback
                )
                done.update(entry["bytes"])
    return result


def _inputs(entry: dict[str, Any]) -> int:
    return int(entry["sources"][0]["shape"][1])


def _zeros(entry: dict[str, Any]) -> Matrix:
    return np.zeros((_inputs(entry), _inputs(entry)), np.float32)


def _probe(model: Model, offsets: list[int]) -> dict[int, int]:
    """Return how many rows of a step of two tokens each weight is multiplied by.

    2, 1 if it makes logits, 0 if no kernel does it.
    """
    sequence = model.engine.new_sequence()
    try:
        batch = [(sequence, [0, 0][: min(2, model.max_batch_tokens)], False)]
        _, observed = model.engine.observed_step(batch, offsets)
    except RuntimeError as error:
        raise LLMIRError(str(error)) from error
    finally:
        sequence.close()
    return {offset: len(rows) for offset, rows in zip(offsets, observed, strict=True)}


def _parts(entries: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Yield weights whose matrices fit into memory together."""
    if not entries:
        return
    available = _native.runtime().memory()[1]
    largest = max(_inputs(entry) ** 2 for entry in entries)
    work = (FACTORED_BYTES + SUMMED_BYTES) * largest
    if work > available:
        text = _native.runtime().format_bytes
        raise LLMIRError(
            f"calibrating a weight with {int(largest**0.5)} inputs takes {text(work)} "
            f"of memory, and {text(available)} are available; free some, leave the "
            "weight out with --quantize-exclude, or do without --calibrate"
        )
    room = max(SUMMED_BYTES * largest, available // 2 - work)
    part: list[dict[str, Any]] = []
    used = 0
    for entry in entries:
        size = SUMMED_BYTES * _inputs(entry) ** 2
        if part and used + size > room:
            yield part
            part, used = [], 0
        part.append(entry)
        used += size
    yield part


def _observe(
    model: Model, ids: list[int], sums: dict[int, Matrix], all_rows: bool
) -> None:
    """Add x x^T over the inputs x of some weights that a sequence leads to."""
    sequence = model.engine.new_sequence()
    try:
        for begin in range(0, len(ids), model.max_batch_tokens):
            chunk = ids[begin : begin + model.max_batch_tokens]
            _, observed = model.engine.observed_step(
                [(sequence, chunk, all_rows)], list(sums)
            )
            for matrix, rows in zip(sums.values(), observed, strict=True):
                matrix += rows.T @ rows
    except RuntimeError as error:
        raise LLMIRError(str(error)) from error
    finally:
        sequence.close()


def feedback_of(sums: Matrix, entry: dict[str, Any]) -> Feedback:
    """Return the feedback for a weight.

    sums: H, the sum of x x^T over its inputs x, float32 [inputs, inputs].
    entry: the weight, for messages.

    Raises LLMIRError if the sums are not finite.
    """
    count = len(sums)
    # Inputs beyond the row, which are zero, ask for nothing.
    padded = -(-count // 32) * 32
    matrix = np.zeros((padded, padded))
    matrix[:count, :count] = sums
    diagonal = np.einsum("ii->i", matrix)
    mean = float(diagonal[:count].mean())
    # Where inputs are always zero, any error is as good as another.
    diagonal += DAMPING * mean if mean else 1.0
    importance = diagonal.astype(np.float32)
    try:
        # H = U U^T with U upper triangular: the factor of H from its end, reversed.
        factor = np.linalg.cholesky(matrix[::-1, ::-1])[::-1, ::-1]
    except np.linalg.LinAlgError:
        factor = np.full_like(matrix, np.nan)
    if not np.isfinite(factor).all():
        keys = [shown(part["key"]) for part in entry["sources"]]
        raise LLMIRError(
            f"the inputs of {' and '.join(keys)} are not finite with the calibration "
            "text, or too large"
        )
    del matrix, diagonal
    scaled = (factor / np.einsum("ii->i", factor)).astype(np.float32)
    return Feedback(np.ascontiguousarray(scaled.T), importance)
