# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Text that ends at stop strings, however it is cut into tokens."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tokenizers import Tokenizer as Library
from tokenizers import decoders, models

import tiny
from llmir.detokenizer import IncrementalDetokenizer, StopStrings
from llmir.sampling_params import SamplingParams
from llmir.tokenizer import INCOMPLETE, Tokenizer

ALPHABET = "ab né👍"


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("byte-level") / "tokenizer.json"
    tiny.byte_tokenizer(300).save(str(path))
    return Tokenizer(path)


def random_text(chance: random.Random, most: int) -> str:
    return "".join(chance.choices(ALPHABET, k=chance.randint(1, most)))


def cut(chance: random.Random, text: str) -> list[str]:
    """Return the pieces of a text that is cut at random places."""
    places = sorted(chance.choices(range(len(text) + 1), k=chance.randint(0, 12)))
    ends = [*places, len(text)]
    return [text[a:b] for a, b in zip([0, *places], ends, strict=True)]


def stopped(
    text: str, strings: list[str], include: bool, first: int = 0
) -> tuple[str, str | None]:
    """Return the text up to where a string ends it, character by character.

    first: how many characters come before those at which a string may end.
    """
    for end in range(first + 1, len(text) + 1):
        found = [string for string in strings if text[:end].endswith(string)]
        if found:
            longest = max(found, key=len)
            return text[: end if include else end - len(longest)], longest
    return text, None


@pytest.mark.parametrize("include", [False, True])
def test_where_a_text_ends_does_not_depend_on_its_pieces(include: bool) -> None:
    chance = random.Random(1)
    ended = held = 0
    for _ in range(5000):
        text = random_text(chance, 40)
        strings = [random_text(chance, 5) for _ in range(chance.randint(0, 4))]
        expected, reason = stopped(text, strings, include)
        stops = StopStrings(strings, include=include)
        shown = ""
        for piece in cut(chance, text):
            shown += stops.add(piece)
            # Nothing is taken back, and nothing is kept that cannot be a begin.
            assert expected.startswith(shown)
            held += stops.found is None and len(shown) < len(expected)
        shown += stops.finish()
        assert (shown, stops.found) == (expected, reason)
        assert reason is None or stops.add("more") == ""
        ended += reason is not None
    assert 1000 < ended < 4900
    assert held > 100


def test_only_what_may_be_a_begin_is_held_back() -> None:
    stops = StopStrings(["</s>", "\n\n"])
    pieces = ["one<", "/", "b> two\n", "three <", "/s", "> four"]
    shown = [stops.add(piece) for piece in pieces]
    assert shown == ["one", "", "</b> two", "\nthree ", "", ""]
    assert stops.found == "</s>"
    stops = StopStrings(["abc"])
    assert [stops.add("xab"), stops.finish()] == ["x", "ab"]


@pytest.mark.capability("Sampling", "stop strings")
@pytest.mark.parametrize("include", [False, True])
def test_tokens_of_bytes(byte_level: Tokenizer, include: bool) -> None:
    chance = random.Random(2)
    ended = 0
    for _ in range(400):
        text = random_text(chance, 20)
        strings = [random_text(chance, 3) for _ in range(chance.randint(1, 3))]
        params = SamplingParams(
            stop=strings, include_stop_str_in_output=include, max_tokens=None
        )
        expected, reason = stopped(text, params.stop, include)  # type: ignore[arg-type]
        output = IncrementalDetokenizer(params, byte_level, byte_level.encode("né"))
        pieces = []
        for token_id in byte_level.encode(text):
            pieces.append(output.add(token_id))
            if output.stop_reason:
                break
        pieces.append(output.finish())
        assert not any(INCOMPLETE in piece for piece in pieces)
        assert "".join(pieces) == output.text == expected
        assert output.stop_reason == reason
        ended += reason is not None
    assert 100 < ended < 390


@pytest.mark.parametrize("include", [False, True])
def test_strings_end_nothing_within_the_least_tokens(
    tmp_path: Path, include: bool
) -> None:
    chance = random.Random(3)
    # Tokens of one to three characters, which are their own text.
    letters = ["a", "b", "aa", "ab", "ba", "aba", "bab"]
    library = Library(models.WordLevel({t: i for i, t in enumerate(letters)}, "a"))
    library.decoder = decoders.Fuse()
    library.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer(tmp_path / "tokenizer.json")
    for _ in range(1000):
        ids = chance.choices(range(len(letters)), k=12)
        least = chance.randint(0, 12)
        strings = ["".join(chance.choices("ab", k=chance.randint(1, 6)))]
        strings.append("".join(chance.choices("ab", k=chance.randint(1, 6))))
        params = SamplingParams(
            stop=strings, min_tokens=least, include_stop_str_in_output=include
        )
        text = "".join(letters[i] for i in ids)
        first = len("".join(letters[i] for i in ids[:least]))
        output = IncrementalDetokenizer(params, tokenizer)
        for token_id in ids:
            output.add(token_id)
        output.finish()
        expected = stopped(text, params.stop, include, first)  # type: ignore[arg-type]
        assert (output.text, output.stop_reason) == expected


def test_without_stop_strings_it_is_the_text(byte_level: Tokenizer) -> None:
    output = IncrementalDetokenizer(SamplingParams(), byte_level)
    ids = byte_level.encode("naïve 👍🏽 日本")
    shown = "".join(output.add(token_id) for token_id in ids) + output.finish()
    assert shown == output.text == "naïve 👍🏽 日本"


def test_what_stays_incomplete_comes_at_the_end(byte_level: Tokenizer) -> None:
    output = IncrementalDetokenizer(SamplingParams(stop="x"), byte_level)
    assert output.add(byte_level.encode("👍")[0]) == ""
    assert output.finish() == INCOMPLETE


def test_tokens_that_end_a_text_are_not_part_of_it(byte_level: Tokenizer) -> None:
    a, b = byte_level.encode("ab")
    for include, text in ((False, "a"), (True, "ab")):
        params = SamplingParams(stop_token_ids=[b], include_stop_str_in_output=include)
        output = IncrementalDetokenizer(params, byte_level)
        output.add(a)
        output.add(b, ends=True)
        output.finish()
        assert output.text == text
        assert output.stop_reason is None


def test_special_tokens(byte_level: Tokenizer) -> None:
    ids = [*byte_level.encode("a"), 0, *byte_level.encode("b")]
    for skip, text in ((True, "ab"), (False, "a<end>b")):
        params = SamplingParams(skip_special_tokens=skip)
        output = IncrementalDetokenizer(params, byte_level)
        for token_id in ids:
            output.add(token_id)
        assert output.text + output.finish() == text


def test_without_text(byte_level: Tokenizer) -> None:
    for params, tokenizer in (
        (SamplingParams(detokenize=False), byte_level),
        (SamplingParams(), None),
    ):
        output = IncrementalDetokenizer(params, tokenizer)
        assert output.add(5) == output.finish() == output.text == ""
    with pytest.raises(ValueError, match="stop needs a tokenizer"):
        IncrementalDetokenizer(SamplingParams(stop="a"), None)
