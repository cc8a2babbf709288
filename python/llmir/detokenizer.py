# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The text of an output while its tokens come, up to a string that ends it.

A stop string may begin in one token and end in another, so text that may be the begin
of one is held back until what follows shows whether it is. Where an output ends does
not depend on how its text is cut into tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

from llmir.sampling_params import SamplingParams
from llmir.tokenizer import Tokenizer


class StopStrings:
    """Looks for strings in a text that grows.

    The one that ends first is found; of several that end at the same place, the
    longest.
    """

    def __init__(self, strings: Sequence[str], *, include: bool = False) -> None:
        """Look for `strings`; `include` leaves the one that is found in the text."""
        self._strings = strings
        self._include = include
        # The longest end of the text that a string begins with.
        self._tail = ""
        self.found: str | None = None

    def add(self, piece: str, *, may_stop: bool = True) -> str:
        """Return what is certain of the text now and was not before.

        may_stop: whether a string may end in this piece; if not, it is text.
        """
        if self.found is not None:
            return ""
        text = self._tail + piece
        matches = []
        for string in self._strings if may_stop else ():
            # What ends in the tail was looked at before.
            begin = text.find(string, max(0, len(self._tail) - len(string) + 1))
            if begin >= 0:
                matches.append((begin + len(string), begin, string))
        if matches:
            end, begin, self.found = min(matches)
            return text[len(self._tail) : end] if self._include else text[:begin]
        self._tail = self._begun(text)
        return piece if self._include else text.removesuffix(self._tail)

    def finish(self) -> str:
        """Return what was held back, when nothing follows."""
        if self.found is not None or self._include:
            return ""
        tail, self._tail = self._tail, ""
        return tail

    def _begun(self, text: str) -> str:
        longest = 0
        for string in self._strings:
            for length in range(min(len(string) - 1, len(text)), longest, -1):
                if text.endswith(string[:length]):
                    longest = length
                    break
        return text[len(text) - longest :]


class IncrementalDetokenizer:
    """The text of one output. Never half a character, nor a part of a stop string.

    text: all that was returned so far.
    """

    def __init__(
        self,
        params: SamplingParams,
        tokenizer: Tokenizer | None,
        prompt_token_ids: Sequence[int] = (),
    ) -> None:
        """Begin behind a prompt.

        tokenizer: None makes no text, as `params.detokenize` does where it is False.

        Raises ValueError if `params` has stop strings and there is no tokenizer.
        """
        self.text = ""
        stop = [params.stop] if isinstance(params.stop, str) else params.stop or []
        if stop and tokenizer is None:
            raise ValueError(f"stop needs a tokenizer, which the model lacks: {stop}")
        self._params = params
        self._count = 0
        self._stops = StopStrings(stop, include=params.include_stop_str_in_output)
        self._decoder = (
            tokenizer.detokenizer(
                prompt_token_ids, skip_special_tokens=params.skip_special_tokens
            )
            if tokenizer is not None and params.detokenize
            else None
        )

    @property
    def stop_reason(self) -> str | None:
        """The stop string that has ended the output; None if none has."""
        return self._stops.found

    def add(self, token_id: int, *, ends: bool = False) -> str:
        """Return the text that is certain with this token and was not before.

        ends: whether the token itself ends the output, as one of `stop_token_ids` or
            the model's own; it is text only if stop strings are.

        A string ends the output only after the first `min_tokens` tokens.
        """
        self._count += 1
        if self._decoder is None or (
            ends and not self._params.include_stop_str_in_output
        ):
            return ""
        return self._take(self._decoder.add(token_id))

    def finish(self) -> str:
        """Return what is left of the text when no token follows."""
        if self._decoder is None:
            return ""
        return self._take(self._decoder.finish()) + self._kept(self._stops.finish())

    def _take(self, piece: str) -> str:
        may_stop = self._count > self._params.min_tokens
        return self._kept(self._stops.add(piece, may_stop=may_stop))

    def _kept(self, text: str) -> str:
        self.text += text
        return text
