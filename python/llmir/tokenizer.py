# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Turns text into token ids and back, also while a text is being generated.

The `tokenizers` library does the work. What it lacks is decoding a growing list of
ids: a token may be a part of a character, and a space may belong to a token only
where it follows another.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llmir.errors import LLMIRError
from llmir.files import open_regular, shown, shown_value

# What decoders write for the bytes of a character that is not complete.
INCOMPLETE = "\N{REPLACEMENT CHARACTER}"

# How many tokens of a prompt the text behind it is decoded with.
CONTEXT = 6


class Tokenizer:
    """The tokenizer of a model, from its `tokenizer.json`."""

    def __init__(self, path: Path) -> None:
        """Load the file; LLMIRError if it is missing or not a tokenizer."""
        import tokenizers

        if not os.path.lexists(path):
            raise LLMIRError(
                f"{path.parent} has no {path.name}; its model reads and writes token "
                "ids only"
            )
        with open_regular(path) as file:
            data = file.read()
        try:
            self._tokenizer: Any = tokenizers.Tokenizer.from_buffer(data)
        except Exception as error:  # the library raises nothing narrower
            raise LLMIRError(f"cannot read {path}: {shown(str(error))}") from error

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Return the ids of `text`, with those the model expects around it.

        Raises LLMIRError if `text` is none, or has what no UTF-8 can say, as strings
        from the command line have for bytes that are not UTF-8.
        """
        if not isinstance(text, str):
            raise LLMIRError(f"the text is not a string but {type(text).__name__}")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise LLMIRError(
                f"the text is not UTF-8: its character {error.start} is "
                f"{text[error.start]!a}"
            ) from None
        encoding = self._tokenizer.encode(text, add_special_tokens=add_special_tokens)
        return list(encoding.ids)

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """Return the text of `ids`; LLMIRError if one cannot be a token id."""
        if not all(
            isinstance(token_id, int | np.integer) and 0 <= token_id < 2**32
            for token_id in ids
        ):
            raise LLMIRError(f"token ids are integers, not {shown_value(ids)}")
        text = self._tokenizer.decode(
            list(ids), skip_special_tokens=skip_special_tokens
        )
        return str(text)

    def detokenizer(
        self, prompt: Sequence[int] = (), *, skip_special_tokens: bool = True
    ) -> Detokenizer:
        """Return a decoder for the ids that follow `prompt`, one at a time."""
        return Detokenizer(self, prompt, skip_special_tokens=skip_special_tokens)


class Detokenizer:
    """Decodes a growing list of ids into pieces of text that are never taken back.

    Two windows over the ids, as in Hugging Face's text-generation-inference
    (`decode_token` of `server/text_generation_server/models/model.py`): the text of
    the ids before the new ones is decoded again with the new ones, and what has been
    added is the new text.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        prompt: Sequence[int] = (),
        *,
        skip_special_tokens: bool = True,
    ) -> None:
        """Begin behind `prompt`, whose text is not repeated."""
        self._tokenizer = tokenizer
        self._skip_special_tokens = skip_special_tokens
        self._ids = list(prompt)[-CONTEXT:]
        self._before = 0
        self._read = len(self._ids)
        # A prompt may end within a character, which is then ours to write.
        while self._read and self._text(0, self._read).endswith(INCOMPLETE):
            self._read -= 1

    def add(self, token_id: int) -> str:
        """Return the text that `token_id` completes; empty within a character."""
        self._ids.append(token_id)
        text = self._pending()
        if text.endswith(INCOMPLETE):
            return ""
        self._before = self._read
        self._read = len(self._ids)
        return text

    def finish(self) -> str:
        """Return what is left, though its last character is not complete."""
        text = self._pending()
        self._before = self._read = len(self._ids)
        return text

    def _pending(self) -> str:
        known = self._text(self._before, self._read)
        return self._text(self._before, len(self._ids))[len(known) :]

    def _text(self, begin: int, end: int) -> str:
        return self._tokenizer.decode(
            self._ids[begin:end], skip_special_tokens=self._skip_special_tokens
        )
