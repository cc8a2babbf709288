# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The command `eval`: what it counts, against Transformers and PyTorch in float32.

The windows of a text are those that Transformers' documentation cuts ("Perplexity of
fixed-length models"), written here the way it is written there: over labels of which
some are left out.
"""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from tqdm import tqdm

import tiny
from conftest import MakeArtifact, MakeModel, RunProgram
from llmir import evaluate as evaluation
from llmir.errors import LLMIRError
from llmir.eval import measure
from llmir.model import Model
from llmir.quantization import Quantization

TEXT = "the theory of the thing\n" * 40 + "def self: \N{SNOWMAN}\n" * 25


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def reference_losses(
    directory: Path, ids: list[int], window: int, stride: int
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Return log-probabilities [tokens, vocabulary] and targets of all windows."""
    model = tiny.transformers_model(directory)
    tokens = torch.tensor(ids)
    logs, targets = [], []
    reached = 0
    for begin in range(0, len(ids), stride):
        end = min(begin + window, len(ids))
        labels = tokens[begin:end].clone()
        labels[: len(labels) - (end - reached)] = -100
        with torch.no_grad():
            logits = model(tokens[None, begin:end]).logits[0, :-1]
        kept = labels[1:] != -100
        logs.append(torch.log_softmax(logits.double(), dim=-1)[kept])
        targets.append(labels[1:][kept])
        reached = end
        if end == len(ids):
            break
    return logs, targets


@pytest.mark.parametrize(
    ("window", "stride"), [(None, None), (96, 96), (50, 7), (2, 1)]
)
def test_perplexity(
    make_model: MakeModel,
    make_artifact: MakeArtifact,
    text: Path,
    window: int | None,
    stride: int | None,
) -> None:
    directory, artifact = make_model("gqa", "float32"), make_artifact("gqa", "float32")
    found = measure(artifact, text, window=window, stride=stride)
    ids = Model(artifact).encode(TEXT)
    most = Model(artifact).max_model_len
    assert found["window"] == window or most
    logs, targets = reference_losses(
        directory, ids, window or most, stride or most // 2
    )
    losses = torch.cat(
        [-x.gather(1, y[:, None]) for x, y in zip(logs, targets, strict=True)]
    )
    assert found["tokens"] == len(ids) > most
    assert found["scored_tokens"] == len(losses)
    if stride != window:
        # Every token but the first, once.
        assert len(losses) == len(ids) - 1
    mean = losses.mean().item()
    assert found["loss"] == pytest.approx(mean, rel=1e-5)
    assert found["perplexity"] == pytest.approx(math.exp(mean), rel=1e-5)


def test_distance(
    make_model: MakeModel, make_artifact: MakeArtifact, text: Path, tmp_path: Path
) -> None:
    """From a model of other weights, which PyTorch compares as well."""
    artifact = make_artifact("gqa", "float32")
    other = tmp_path / "other"
    tiny.write_model(other, "gqa", torch.float32)
    weights = safetensors.torch.load_file(other / "model.safetensors")
    weights["lm_head.weight"] = weights["lm_head.weight"].flip(0)
    safetensors.torch.save_file(weights, other / "model.safetensors")
    found = measure(artifact, text, reference=str(other), window=40, stride=40)
    ids = Model(artifact).encode(TEXT)
    ours, targets = reference_losses(make_model("gqa", "float32"), ids, 40, 40)
    theirs, _ = reference_losses(other, ids, 40, 40)
    p, q = torch.cat(theirs), torch.cat(ours)
    divergence = torch.nn.functional.kl_div(q, p, log_target=True, reduction="none")
    expected = divergence.sum(1).mean().item()
    assert found["kl_divergence"] == pytest.approx(expected, rel=1e-4)
    agreement = (p.argmax(1) == q.argmax(1)).double().mean().item()
    assert found["top1_agreement"] == pytest.approx(agreement, abs=0.5 / len(p))
    mean = -p.gather(1, torch.cat(targets)[:, None]).mean().item()
    assert found["reference"]["loss"] == pytest.approx(mean, rel=1e-5)
    assert expected > 1e-3


def test_from_itself(make_artifact: MakeArtifact, text: Path) -> None:
    artifact = make_artifact("gqa", "float32")
    found = measure(artifact, text, reference=str(artifact))
    assert found["kl_divergence"] == 0
    assert found["top1_agreement"] == 1
    assert found["perplexity"] == found["reference"]["perplexity"]


def test_quantized_is_further(make_artifact: MakeArtifact, text: Path) -> None:
    reference = str(make_artifact("gqa", "float32"))
    far = [
        measure(
            make_artifact("gqa", "float32", "native", Quantization(name)),
            text,
            reference=reference,
        )["kl_divergence"]
        for name in ("int8", "int4")
    ]
    assert 0 < 10 * far[0] < far[1]


@pytest.mark.parametrize("tokens", [2, 3, 10, 11, 40])
@pytest.mark.parametrize(("window", "stride"), [(2, 1), (5, 5), (7, 3), (64, 32)])
def test_windows(tokens: int, window: int, stride: int) -> None:
    windows = evaluation.windows_of(tokens, window, stride)
    scored = [i for each in windows for i in range(each.scored, each.end)]
    expected = [
        i for i in range(1, tokens) if stride < window or i % stride or i == tokens
    ]
    assert scored == expected
    for each in windows:
        assert each.end - each.begin <= window
        assert each.begin < each.scored


def test_steps_in_pieces(
    make_artifact: MakeArtifact, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large vocabulary is looked at a few rows at a time; nothing changes."""
    artifact = make_artifact("gqa", "float32")
    whole = measure(artifact, text, reference=str(artifact))
    vocabulary = Model(artifact).vocab_size
    monkeypatch.setattr(evaluation, "STEP_LOGITS", 7 * vocabulary)
    monkeypatch.setattr(evaluation, "PIECE_LOGITS", 3 * vocabulary)
    pieces = measure(artifact, text, reference=str(artifact))
    assert pieces.pop("loss") == pytest.approx(whole.pop("loss"), rel=1e-12)
    assert pieces["scored_tokens"] == whole["scored_tokens"]
    assert pieces["kl_divergence"] == 0


def test_log_softmax() -> None:
    random = np.random.default_rng(0)
    logits = (100 * random.standard_normal((5, 9))).astype(np.float32)
    expected = torch.log_softmax(torch.from_numpy(logits).double(), dim=1).numpy()
    assert np.allclose(evaluation.log_softmax(logits), expected, rtol=1e-13)


def test_bar(
    make_artifact: MakeArtifact, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars: list[tqdm[Any]] = []

    def make(**options: Any) -> tqdm[Any]:
        bars.append(tqdm(**{**options, "disable": False, "file": io.StringIO()}))
        return bars[0]

    monkeypatch.setattr("llmir.eval.tqdm", make)
    found = measure(make_artifact("gqa", "float32"), text)
    assert bars[0].n == bars[0].total == found["scored_tokens"]


def test_command(
    run_program: RunProgram, make_artifact: MakeArtifact, text: Path, tmp_path: Path
) -> None:
    artifact, results = make_artifact("gqa", "float32"), tmp_path / "found.json"
    result = run_program(
        *("-m", "llmir.eval", artifact, "--text", text, "--reference", artifact),
        *("--json", results, "--threads", "1"),
    )
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(results.read_text())
    assert found["kl_divergence"] == 0
    assert f"| perplexity | {found['perplexity']:.4f} |" in result.stdout
    assert "| top-1 agreement | 100.00% |" in result.stdout
    # A bar is for terminals.
    assert result.stderr == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["found.json", text.name]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"", {}, "text.txt is empty"),
        (b"a", {}, "text.txt has 1 token, and at least 2 are needed"),
        (b"abc\xff", {}, "text.txt is not UTF-8 text: byte 3 is 0xff"),
        (b"abc", {"window": 1}, "--window must be from 2 to "),
        (b"abc", {"window": 10**6}, "--window must be from 2 to .* and not 1000000"),
        (b"abc", {"window": 4, "stride": 5}, "--stride must be from 1 to 4, .* not 5"),
        (b"abc", {"stride": 0}, "--stride must be from 1 to "),
    ],
)
def test_refused(
    make_artifact: MakeArtifact,
    tmp_path: Path,
    content: bytes,
    options: dict[str, int],
    message: str,
) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    with pytest.raises(LLMIRError, match=message):
        measure(make_artifact("gqa", "float32"), path, **options)  # type: ignore[arg-type]


def test_other_models_are_refused(
    make_model: MakeModel, make_artifact: MakeArtifact, text: Path, tmp_path: Path
) -> None:
    artifact = make_artifact("gqa", "float32")
    with pytest.raises(LLMIRError, match=r"cannot read .*: it is not a file"):
        measure(artifact, tmp_path)
    with pytest.raises(LLMIRError, match=r"cannot read .*: No such file"):
        measure(artifact, tmp_path / "none")
    with pytest.raises(LLMIRError, match=r"has [0-9]+ tokens and .* has [0-9]+: they"):
        measure(artifact, text, reference=str(make_artifact("odd", "float32")))
    other = tmp_path / "other"
    tiny.write_model(other, "gqa", torch.float32)
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    tokenizer["model"]["merges"] = []
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(LLMIRError, match="cut the text in different ways"):
        measure(artifact, text, reference=str(other))
    with pytest.raises(LLMIRError, match="there is no directory"):
        measure(artifact, text, reference=str(tmp_path / "none"))
