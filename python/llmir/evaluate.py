# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""How well a compiled model predicts a text, and how far it is from another.

A model that was quantized still writes; what it has lost shows only in the
probabilities that it gives to a text. The text is cut into windows as long as a
sequence may be, which overlap, so that every token is predicted from many others, and
each is scored once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from llmir.errors import LLMIRError
from llmir.files import read_text
from llmir.model import Model

# The longest window unless another is asked for.
MAX_WINDOW = 2048

# The most logits that a step makes, of which there may be two, and the most that are
# looked at together in float64.
STEP_LOGITS = 2**25
PIECE_LOGITS = 2**20


@dataclass(frozen=True)
class Window:
    """Some neighbouring tokens of a text, of which the last ones are scored.

    begin, end: its place.
    scored: the first token of the text that it scores.
    """

    begin: int
    end: int
    scored: int


def windows_of(tokens: int, window: int, stride: int) -> list[Window]:
    """Return the windows of a text.

    They begin `stride` apart and end with the text. Each scores the tokens that the
    one before has not reached, but not its own first one, which nothing comes before:
    where windows do not overlap, those are not scored.
    """
    result: list[Window] = []
    reached = 0
    for begin in range(0, tokens, stride):
        end = min(begin + window, tokens)
        first = max(reached, begin + 1)
        if first < end:
            result.append(Window(begin, end, first))
        reached = end
        if end == tokens:
            break
    return result


@dataclass
class Sums:
    """What is added up over the scored tokens, in float64.

    tokens: how many they are.
    loss: -log p of them, in nats.
    reference_loss: the same of the reference.
    divergence: the Kullback-Leibler divergence of the reference to the model.
    agreed: how often the likeliest token is that of the reference.
    """

    tokens: int = 0
    loss: float = 0.0
    reference_loss: float = 0.0
    divergence: float = 0.0
    agreed: int = 0


def encode_file(model: Model, path: Path) -> list[int]:
    """Return the ids of a text file, with those the model expects around it.

    Raises LLMIRError if there are too few to predict one from another.
    """
    ids = model.encode(read_text(path))
    if len(ids) < 2:
        raise LLMIRError(
            f"{path} has {len(ids)} token{'s' * (len(ids) != 1)}, and at least 2 are "
            "needed, one to predict from the other"
        )
    if max(ids) >= model.vocab_size:
        raise LLMIRError(
            f"the tokenizer of {model.path} has the token id {max(ids)}, and the model "
            f"has {model.vocab_size} tokens"
        )
    return ids


def choose_windows(
    models: list[Model], tokens: int, window: int | None, stride: int | None
) -> tuple[int, int]:
    """Return the length of windows and their distance, after a check.

    window: None is what all models take, at most MAX_WINDOW.
    stride: None is half a window.
    """
    most = min(model.max_model_len for model in models)
    if window is None:
        window = min(most, MAX_WINDOW)
    if not 2 <= window <= most:
        raise LLMIRError(
            f"--window must be from 2 to {most}, the longest sequence that was "
            f"compiled for (--max-model-len), and not {window}"
        )
    if stride is None:
        stride = window // 2
    if not 1 <= stride <= window:
        raise LLMIRError(
            f"--stride must be from 1 to {window}, the length of a window, and not "
            f"{stride}"
        )
    return window, stride


def check_reference(model: Model, reference: Model, text: str) -> None:
    """Raise LLMIRError if two models cannot be compared on a text."""
    if model.vocab_size != reference.vocab_size:
        raise LLMIRError(
            f"{model.path} has {model.vocab_size} tokens and {reference.path} has "
            f"{reference.vocab_size}: they are not versions of one model"
        )
    if model.encode(text) != reference.encode(text):
        raise LLMIRError(
            f"the tokenizers of {model.path} and {reference.path} cut the text in "
            "different ways: they are not versions of one model"
        )


def evaluate(
    model: Model, reference: Model | None, ids: list[int], windows: list[Window]
) -> Iterator[Sums]:
    """Yield the sums up to now, after every step.

    Raises LLMIRError if a model gives logits that are not finite.
    """
    sums = Sums()
    models = [model] if reference is None else [model, reference]
    rows = max(1, STEP_LOGITS // model.vocab_size)
    for window in windows:
        sequences = [each.engine.new_sequence() for each in models]
        try:
            for begin, end in _steps(window, models, rows):
                wanted = end >= window.scored
                logits = [
                    _step(each, sequence, ids[begin:end], wanted)
                    for each, sequence in zip(models, sequences, strict=True)
                ]
                if wanted:
                    # Row i of a step is about the token behind its own.
                    targets = np.asarray(ids[begin + 1 : end + 1])
                    _add(sums, logits, targets, models, begin + 1)
                yield sums
        finally:
            for sequence in sequences:
                sequence.close()


def _steps(window: Window, models: list[Model], rows: int) -> Iterator[tuple[int, int]]:
    """Yield the tokens of each step: first those that only give context."""
    most = min(model.max_batch_tokens for model in models)
    begin, end = window.begin, window.end - 1
    # Logits at the place before the first scored token are about it.
    context = window.scored - 1
    while begin < end:
        limit, size = (context, most) if begin < context else (end, min(most, rows))
        step = min(begin + size, limit)
        yield begin, step
        begin = step


def _step(
    model: Model, sequence: Any, ids: list[int], wanted: bool
) -> npt.NDArray[np.float32]:
    try:
        return np.asarray(model.engine.step([(sequence, ids, wanted)]))
    except RuntimeError as error:
        raise LLMIRError(str(error)) from error


def _add(
    sums: Sums,
    logits: list[npt.NDArray[np.float32]],
    targets: npt.NDArray[np.int64],
    models: list[Model],
    place: int,
) -> None:
    rows = max(1, PIECE_LOGITS // logits[0].shape[1])
    for begin in range(0, len(targets), rows):
        part = slice(begin, begin + rows)
        ids = targets[part, None]
        logs = [log_softmax(each[part]) for each in logits]
        for each, model in zip(logs, models, strict=True):
            bad = ~np.isfinite(each).all(axis=1)
            if bad.any():
                raise LLMIRError(
                    f"{model.path} gives logits that are NaN or infinite before token "
                    f"{place + begin + int(bad.argmax())} of the text"
                )
        sums.tokens += len(ids)
        sums.loss -= float(np.take_along_axis(logs[0], ids, 1).sum())
        if len(logs) > 1:
            ours, theirs = logs
            sums.reference_loss -= float(np.take_along_axis(theirs, ids, 1).sum())
            sums.divergence += float((np.exp(theirs) * (theirs - ours)).sum())
            likeliest = [each[part].argmax(axis=1) for each in logits]
            sums.agreed += int((likeliest[0] == likeliest[1]).sum())


def log_softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return the logarithms of the probabilities of each row, in float64."""
    wide = logits.astype(np.float64)
    # Of rows that are not finite, NaN.
    with np.errstate(invalid="ignore"):
        wide -= wide.max(axis=1, keepdims=True)
        wide -= np.log(np.exp(wide).sum(axis=1, keepdims=True))
    return wide


def perplexity(loss: float, tokens: int) -> float:
    """Return e to the mean loss; infinite where a double has no such number."""
    mean = loss / tokens
    return math.exp(mean) if mean < math.log(np.finfo(np.float64).max) else math.inf
