# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Decoding while generating: the pieces are the whole, and never half a character."""

from __future__ import annotations

from pathlib import Path

import pytest
import tokenizers
from tokenizers import decoders, models, normalizers

import tiny
from llmir.errors import LLMIRError
from llmir.tokenizer import INCOMPLETE, Tokenizer

TEXTS = [
    "plain text, the theory",
    "naïve café, Grüße",
    "日本語のテキスト",
    "👩‍👩‍👧 family 👍🏽 and 🇫🇮",
    "e\u0301 combined, \u200b zero",
    "\n\n  indented\n\ttext",
]


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("byte-level") / "tokenizer.json"
    tiny.byte_tokenizer(300).save(str(path))
    return Tokenizer(path)


@pytest.fixture(scope="module")
def sentence_piece(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A tokenizer like Llama 2's: spaces as marks, unknown characters as bytes."""
    path = tmp_path_factory.mktemp("sentence-piece") / "tokenizer.json"
    letters = ["▁", *"abcdefghijklmnopqrstuvwxyz,"]
    vocabulary = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    tokenizer = tokenizers.Tokenizer(
        models.BPE(
            {token: i for i, token in enumerate(vocabulary)},
            [],
            unk_token="<unk>",
            byte_fallback=True,
        )
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.save(str(path))
    return Tokenizer(path)


@pytest.mark.parametrize("kind", ["byte_level", "sentence_piece"])
@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("prompt_length", [0, 1, 7])
def test_pieces_make_the_text(
    kind: str, text: str, prompt_length: int, request: pytest.FixtureRequest
) -> None:
    tokenizer: Tokenizer = request.getfixturevalue(kind)
    prompt = tokenizer.encode("the prompt")[:prompt_length]
    ids = tokenizer.encode(text)
    decoder = tokenizer.detokenizer(prompt)
    pieces = [decoder.add(token_id) for token_id in ids]
    assert not any(INCOMPLETE in piece for piece in pieces)
    whole = tokenizer.decode(prompt + ids)
    assert "".join(pieces) == whole[len(tokenizer.decode(prompt)) :]
    assert decoder.finish() == ""


def test_a_character_comes_when_it_is_complete(byte_level: Tokenizer) -> None:
    ids = byte_level.encode("👍")
    assert len(ids) == 4
    decoder = byte_level.detokenizer()
    assert [decoder.add(token_id) for token_id in ids] == ["", "", "", "👍"]


def test_a_prompt_may_end_within_a_character(byte_level: Tokenizer) -> None:
    ids = byte_level.encode("ab👍c")
    decoder = byte_level.detokenizer(ids[:4])
    assert [decoder.add(token_id) for token_id in ids[4:]] == ["", "👍", "c"]


def test_what_stays_incomplete_comes_at_the_end(byte_level: Tokenizer) -> None:
    decoder = byte_level.detokenizer()
    assert decoder.add(byte_level.encode("👍")[0]) == ""
    assert decoder.finish() == INCOMPLETE


def test_special_tokens_are_not_text(byte_level: Tokenizer) -> None:
    decoder = byte_level.detokenizer()
    ids = [*byte_level.encode("a"), 0, *byte_level.encode("b")]
    assert "".join(decoder.add(token_id) for token_id in ids) == "ab"


@pytest.mark.parametrize("text", ["a\udcff", "\ud83d"])
def test_refuses_text_that_is_not_utf8(byte_level: Tokenizer, text: str) -> None:
    with pytest.raises(LLMIRError, match=r"its character \d is '\\ud"):
        byte_level.encode(text)


def test_refuses_what_is_no_text_and_no_id(byte_level: Tokenizer) -> None:
    for text in (3, None, b"text", ["text"]):
        with pytest.raises(LLMIRError, match="the text is not a string but"):
            byte_level.encode(text)  # type: ignore[arg-type]
    for ids in ([-1], [2**32], [1.5], ["a"], "text"):
        with pytest.raises(LLMIRError, match="token ids are integers, not"):
            byte_level.decode(ids)  # type: ignore[arg-type]


def test_errors_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(LLMIRError, match=r"has no tokenizer\.json"):
        Tokenizer(tmp_path / "tokenizer.json")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(LLMIRError, match="cannot read"):
        Tokenizer(tmp_path / "tokenizer.json")
