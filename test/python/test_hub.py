# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Finding a model by its name, without a network."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub.constants
import pytest

from llmir.errors import LLMIRError
from llmir.hub import model_directory

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache on a machine that is offline."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def test_a_directory_is_itself(tmp_path: Path) -> None:
    assert model_directory(str(tmp_path)) == tmp_path


def test_a_name_is_looked_up_in_the_cache(cache: Path) -> None:
    repository = cache / "models--owner--name"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    assert model_directory("owner/name") == snapshot


@pytest.mark.usefixtures("cache")
def test_an_unknown_name_is_one_sentence() -> None:
    with pytest.raises(LLMIRError, match="the Hugging Face hub did not give") as error:
        model_directory("owner/unknown")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("model", ["./none", "a/b/c", "/none", ""])
def test_a_path_is_not_a_name(model: str) -> None:
    with pytest.raises(LLMIRError, match=f"there is no directory {model}"):
        model_directory(model)


def test_a_file_is_not_a_model(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").touch()
    with pytest.raises(
        LLMIRError, match=r"neither a model directory nor an \.mlir file"
    ):
        model_directory(str(tmp_path / "model.gguf"))
