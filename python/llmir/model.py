# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A compiled model as Python sees it: logits of ids, and ids that follow ids.

Everything that takes time happens in the native runtime. Here prompts are cut to
the size of a step, arguments are checked, and the loop of generation turns.
"""

from __future__ import annotations

import functools
import os
import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from llmir import _native
from llmir.errors import LLMIRError
from llmir.files import parse_json, shown_value
from llmir.manifest import read_manifest
from llmir.tokenizer import Tokenizer

TokenIds = Sequence[int] | npt.NDArray[np.integer[Any]]

# What the runtime's thread pool takes.
MAX_THREADS = 1024


def load(path: str | os.PathLike[str], threads: int | None = None) -> Model:
    """Load an artifact, `model.llmir`.

    threads: how many work on a step, at most 1024; None is all of the machine's.

    Raises LLMIRError if it is damaged, or was built for another machine or another
    version of LLMIR.
    """
    return Model(path, threads)


class Artifact:
    """A loaded artifact: the model's facts and its tokenizer.

    native: the runtime's model, which engines are made of.
    manifest: the artifact's facts.
    """

    def __init__(self, path: str | os.PathLike[str], *, verify: bool = False) -> None:
        """Load the artifact at `path`.

        verify: also compare the checksum of the weights.
        """
        self.path = Path(path)
        if (self.path / "config.json").exists() and not read_manifest(self.path):
            raise LLMIRError(
                f"{path} is a model directory and not compiled yet; compile it first: "
                + shlex.join(["python", "-m", "llmir.compile", str(path), "-o"])
                + " model.llmir"
            )
        try:
            self.native: Any = _native.runtime().Model(
                _native.path_text(self.path), verify=verify
            )
        except (RuntimeError, ValueError, MemoryError) as error:
            raise LLMIRError(str(error)) from error
        try:
            self.manifest: dict[str, Any] = parse_json(self.native.manifest.encode())
        except ValueError as error:
            raise LLMIRError(f"cannot read the manifest of {path}: {error}") from error

    @property
    def vocab_size(self) -> int:
        """The number of token ids."""
        return int(self.manifest["model"]["vocab_size"])

    @property
    def max_model_len(self) -> int:
        """The most tokens of one sequence."""
        return int(self.manifest["model"]["max_model_len"])

    @property
    def max_batch_tokens(self) -> int:
        """The most new tokens of one step."""
        return int(self.manifest["step"]["max_batch_tokens"])

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """The ids that end a text."""
        return tuple(self.manifest["model"]["eos_token_ids"])

    @property
    def has_tokenizer(self) -> bool:
        """Whether the artifact has a tokenizer."""
        return os.path.lexists(self.path / "tokenizer.json")

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer; LLMIRError if the artifact has none."""
        return Tokenizer(self.path / "tokenizer.json")

    def encode(self, text: str) -> list[int]:
        """Return the token ids of `text`."""
        return self.tokenizer.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids."""
        return self.tokenizer.decode(ids)

    def checked_ids(self, ids: TokenIds) -> list[int]:
        """Return a prompt of the model as a list; LLMIRError if it is none."""
        if isinstance(ids, str | bytes):
            raise LLMIRError(
                "the model needs token ids, not text; `encode` turns text into them"
            )
        try:
            array = np.asarray(ids)
        except ValueError:  # lists of different lengths
            array = np.empty(0)
        if array.ndim != 1 or array.size == 0:
            raise LLMIRError(
                "the model needs a list of at least one token id, not "
                + shown_value(ids)
            )
        if not np.issubdtype(array.dtype, np.integer):
            raise LLMIRError(f"token ids are integers, not {shown_value(ids)}")
        if array.min() < 0 or array.max() >= self.vocab_size:
            wrong = array.min() if array.min() < 0 else array.max()
            raise LLMIRError(
                f"token id {wrong} is not one of the model's {self.vocab_size}"
            )
        if array.size > self.max_model_len:
            raise LLMIRError(
                f"{array.size} tokens are more than the {self.max_model_len} that the "
                "model was compiled for"
            )
        return [int(token_id) for token_id in array]


class Model(Artifact):
    """A loaded model with a KV cache. Not to be used from two threads at once.

    engine: the ragged step that `forward` and `generate` use, for callers that
        put batches together themselves: `engine.new_sequence()` gives a sequence,
        `engine.step([(sequence, ids, all_logits), ...])` appends new tokens to any
        number of them and returns float32 [rows, vocabulary] logits, of all new
        tokens or of the last ones, in order. It holds at most `max_batch_tokens`
        new tokens.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        threads: int | None = None,
        *,
        num_blocks: int = 0,
        verify: bool = False,
    ) -> None:
        """Load the artifact at `path`.

        num_blocks: the size of the KV cache in blocks; 0 is enough for one sequence
            of the greatest length and for more where there is memory.
        verify: also compare the checksum of the weights.
        """
        if threads is not None and not _is_integer(threads, 1, MAX_THREADS):
            raise LLMIRError(
                f"threads must be an integer from 1 to {MAX_THREADS}, not {threads}"
            )
        if not _is_integer(num_blocks, 0, 2**31 - 1):
            raise LLMIRError(f"num_blocks is {num_blocks}, and not 0 or more")
        super().__init__(path, verify=verify)
        try:
            self.engine = _native.runtime().Engine(
                self.native, threads=threads or 0, num_blocks=num_blocks
            )
        except (RuntimeError, ValueError, MemoryError) as error:
            raise LLMIRError(str(error)) from error

    def forward(self, ids: TokenIds) -> npt.NDArray[np.float32]:
        """Return the logits of every position of a fresh sequence.

        ids: n token ids, at least one and at most `max_model_len`.
        Returns float32 [n, vocabulary]; row i is about the token after ids[i].
        """
        prompt = self.checked_ids(ids)
        sequence = self.engine.new_sequence()
        try:
            rows = [
                self._step(sequence, chunk, all_logits=True)
                for chunk in self._chunks(prompt)
            ]
        finally:
            sequence.close()
        return rows[0] if len(rows) == 1 else np.concatenate(rows)

    def generate(
        self,
        ids: TokenIds,
        max_new_tokens: int = 32,
        *,
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        seed: int = 0,
        stop_token_ids: Iterable[int] | None = None,
    ) -> list[int]:
        """Return the ids that follow `ids`; see `stream` for the arguments."""
        return list(
            self.stream(
                ids,
                max_new_tokens,
                temperature=temperature,
                top_k=top_k,
                top_p=top_p,
                min_p=min_p,
                seed=seed,
                stop_token_ids=stop_token_ids,
            )
        )

    def stream(
        self,
        ids: TokenIds,
        max_new_tokens: int = 32,
        *,
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        seed: int = 0,
        stop_token_ids: Iterable[int] | None = None,
    ) -> Iterator[int]:
        """Yield the ids that follow `ids`, each as soon as it is known.

        temperature: 0 takes the likeliest token; otherwise logits are divided by it.
        top_k, top_p, min_p: which tokens may be drawn: the k likeliest, the likeliest
            that together have probability p, those with at least min_p of the
            likeliest one's probability. 0, 1 and 0 leave all.
        seed: equal seeds draw equal tokens.
        stop_token_ids: the ids to end with, a list also if it is one; None is the
            model's own. The one that ends the text is part of the result, as with
            Transformers.

        The text also ends after `max_new_tokens`, or when the sequence has
        `max_model_len` tokens. Arguments are checked now, not at the first id.
        """
        prompt = self.checked_ids(ids)
        if not _is_integer(max_new_tokens, 0):
            raise LLMIRError(
                f"max_new_tokens is {max_new_tokens}, and not an integer, 0 or more"
            )
        if not _is_integer(seed, 0, 2**64 - 1):
            raise LLMIRError(f"seed is {seed}, and not an integer, 0 to 2**64 - 1")
        if not _is_integer(top_k, 0):
            raise LLMIRError(f"top_k is {top_k}, and not an integer, 0 or more")
        runtime = _native.runtime()
        try:
            config = runtime.SamplingConfig(
                temperature=temperature,
                top_k=min(top_k, self.vocab_size),
                top_p=top_p,
                min_p=min_p,
                seed=seed,
            )
            sampler = runtime.Sampler(config)
        except ValueError as error:
            raise LLMIRError(f"cannot sample: {error}") from error
        except TypeError as error:
            raise LLMIRError(
                "cannot sample: temperature, top_p and min_p must be numbers"
            ) from error
        stop = self.eos_token_ids
        if stop_token_ids is not None:
            stop = _checked_stop(stop_token_ids)
        count = min(max_new_tokens, self.max_model_len - len(prompt))
        return self._generated(prompt, count, sampler, frozenset(stop))

    def _generated(
        self, prompt: list[int], count: int, sampler: Any, stop: frozenset[int]
    ) -> Iterator[int]:
        if count < 1:
            return
        sequence = self.engine.new_sequence()
        try:
            for chunk in self._chunks(prompt):
                logits = self._step(sequence, chunk, all_logits=False)
            while True:
                token_id = self._sample(sampler, logits[0])
                yield token_id
                count -= 1
                if count == 0 or token_id in stop:
                    return
                logits = self._step(sequence, [token_id], all_logits=False)
        finally:
            sequence.close()

    @staticmethod
    def _sample(sampler: Any, logits: npt.NDArray[np.float32]) -> int:
        try:
            token_id, _ = sampler.sample(logits)
        except ValueError as error:
            # Arguments were checked before: it is what the weights lead to.
            raise LLMIRError(f"there is no next token: {error}") from error
        return int(token_id)

    def _step(
        self, sequence: Any, ids: list[int], *, all_logits: bool
    ) -> npt.NDArray[np.float32]:
        try:
            logits = self.engine.step([(sequence, ids, all_logits)])
        except RuntimeError as error:
            raise LLMIRError(str(error)) from error
        return np.asarray(logits)

    def _chunks(self, ids: list[int]) -> Iterator[list[int]]:
        size = self.max_batch_tokens
        for begin in range(0, len(ids), size):
            yield ids[begin : begin + size]


def _is_integer(value: Any, least: int, most: int | None = None) -> bool:
    if not isinstance(value, int | np.integer):
        return False
    return least <= int(value) and (most is None or int(value) <= most)


def _checked_stop(ids: Any) -> tuple[int, ...]:
    try:
        stop = tuple(ids)
    except TypeError:
        stop = (None,)
    if not all(isinstance(token_id, int | np.integer) for token_id in stop):
        raise LLMIRError(f"stop_token_ids must be a list of token ids, not {ids!r}")
    return tuple(int(token_id) for token_id in stop)
