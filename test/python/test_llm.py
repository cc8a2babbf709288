# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Many prompts at once: each gets what it gets alone, and what Transformers says."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import llmir
import tiny
from conftest import MakeArtifact, MakeModel
from llmir import LLM, LLMEngine, LLMIRError, SamplingParams

STDLIB_LLAMA = Path(__file__).parents[2] / "examples" / "stdlib-llama"
GREEDY = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)


@pytest.fixture(scope="module")
def artifact(make_artifact: MakeArtifact) -> Path:
    """Return a small model without a tokenizer."""
    return make_artifact("gqa", "float32")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the trained model, which has a tokenizer."""
    from llmir.compile import compile_model

    path = tmp_path_factory.mktemp("trained") / "stdlib.llmir"
    compile_model(str(STDLIB_LLAMA), path)
    return path


def prompts(vocabulary: int, count: int, seed: int = 0) -> list[list[int]]:
    generator = random.Random(seed)
    return [
        [generator.randrange(vocabulary) for _ in range(generator.randrange(1, 60))]
        for _ in range(count)
    ]


def log_softmax(logits: Any) -> Any:
    exact = np.asarray(logits, np.float64)
    shifted = exact - exact.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def test_greedy_tokens_are_those_of_transformers(
    make_model: MakeModel, artifact: Path
) -> None:
    model = tiny.transformers_model(make_model("gqa", "float32"))
    texts = prompts(model.config.vocab_size, 12)
    # Ten blocks hold two or three of them.
    llm = LLM(artifact, threads=2, num_blocks=10, max_num_seqs=5)
    outputs = llm.generate(texts, GREEDY, use_tqdm=False)
    assert [output.prompt_token_ids for output in outputs] == texts
    for output in outputs:
        ids = list(output.prompt_token_ids or [])
        for token in output.outputs[0].token_ids:
            assert int(tiny.transformers_logits(model, ids)[-1].argmax()) == token
            ids.append(token)
        assert output.finished
        assert output.outputs[0].finish_reason == "length"
        assert len(output.outputs[0].token_ids) == 12
    assert llm.llm_engine.statistics["finished"] == 12


def test_company_changes_nothing(artifact: Path) -> None:
    """Whatever runs beside a request, and in which order, its tokens are the same."""
    texts = prompts(320, 10, seed=1)
    params = [
        SamplingParams(
            temperature=1.0,
            seed=seed,
            max_tokens=10,
            top_p=0.9,
            repetition_penalty=1.2,
            ignore_eos=True,
        )
        for seed in range(10)
    ]
    alone = [
        LLM(artifact, threads=1).generate(text, each, use_tqdm=False)[0].outputs[0]
        for text, each in zip(texts[:3], params[:3], strict=True)
    ]
    for options in (
        {"max_num_seqs": 3},
        {"max_num_batched_tokens": 7},
        {"num_blocks": 9},
        {"scheduling_policy": "priority"},
    ):
        llm = LLM(artifact, threads=2, **options)
        priority = list(range(10)) if "scheduling_policy" in options else None
        outputs = llm.generate(texts, params, use_tqdm=False, priority=priority)
        for output, expected in zip(outputs, alone, strict=False):
            assert output.outputs[0].token_ids == expected.token_ids


def test_log_probabilities_are_those_of_the_logits(artifact: Path) -> None:
    model = llmir.load(artifact, threads=1)
    prompt = prompts(320, 1, seed=2)[0] * 3
    params = SamplingParams(
        temperature=1, seed=3, max_tokens=5, logprobs=3, prompt_logprobs=2
    )
    (output,) = LLM(artifact, threads=1, max_num_batched_tokens=50).generate(
        prompt, params, use_tqdm=False
    )
    made = output.outputs[0]
    exact = log_softmax(model.forward([*prompt, *made.token_ids]))
    assert output.prompt_logprobs is not None
    assert made.logprobs is not None
    assert output.prompt_logprobs[0] is None
    assert len(output.prompt_logprobs) == len(prompt)
    rows = [*output.prompt_logprobs[1:], *made.logprobs]
    for number, (row, token) in enumerate(
        zip(rows, [*prompt[1:], *made.token_ids], strict=True)
    ):
        assert row is not None
        assert next(iter(row)) == token
        order = np.argsort(-exact[number], kind="stable")
        likeliest = order[: 2 if number < len(prompt) - 1 else 3]
        assert set(row) == {token, *map(int, likeliest)}
        for each, found in row.items():
            assert found.logprob == pytest.approx(exact[number][each], abs=1e-4)
            assert found.rank == 1 + int((exact[number] > exact[number][each]).sum())
    assert made.cumulative_logprob == pytest.approx(
        sum(
            exact[len(prompt) - 1 + i][token] for i, token in enumerate(made.token_ids)
        ),
        abs=1e-3,
    )


def test_several_outputs_of_a_prompt(artifact: Path) -> None:
    params = SamplingParams(n=3, temperature=1, seed=5, max_tokens=8, ignore_eos=True)
    llm = LLM(artifact, threads=1)
    first, second = llm.generate([[1, 2, 3], [4, 5]], params, use_tqdm=False)
    texts = [output.token_ids for output in first.outputs]
    assert [output.index for output in first.outputs] == [0, 1, 2]
    assert len({tuple(tokens) for tokens in texts}) == 3
    assert len(second.outputs) == 3
    (again,) = llm.generate([[1, 2, 3]], params, use_tqdm=False)
    assert [output.token_ids for output in again.outputs] == texts


def test_texts_end_at_stop_strings(trained: Path) -> None:
    llm = LLM(trained, threads=1)
    free = SamplingParams(temperature=0, max_tokens=40)
    (whole,) = llm.generate("import ", free, use_tqdm=False)
    text = whole.outputs[0].text
    assert whole.prompt == "import "
    assert len(text) > 20
    stop = text[9:13]
    at = text.index(stop)
    for include in (False, True):
        params = SamplingParams(
            temperature=0,
            max_tokens=40,
            stop=[stop, "not there"],
            include_stop_str_in_output=include,
        )
        (cut,) = llm.generate("import ", params, use_tqdm=False)
        assert cut.outputs[0].text == text[: at + len(stop) * include]
        assert cut.outputs[0].finish_reason == "stop"
        assert cut.outputs[0].stop_reason == stop
    token = whole.outputs[0].token_ids[5]
    number = list(whole.outputs[0].token_ids).index(token)
    params = SamplingParams(temperature=0, max_tokens=40, stop_token_ids=[token])
    (cut,) = llm.generate("import ", params, use_tqdm=False)
    assert cut.outputs[0].token_ids == whole.outputs[0].token_ids[: number + 1]
    assert cut.outputs[0].stop_reason == token
    assert not llm.llm_engine.has_unfinished_requests()


def test_an_engine_a_step_at_a_time(trained: Path) -> None:
    engine = LLMEngine.from_pretrained(trained, threads=1)
    params = SamplingParams(temperature=0, max_tokens=6, ignore_eos=True)
    engine.add_request("a", "def main(", params)
    engine.add_request("b", {"prompt": "class ", "extra": 1}, params)
    engine.add_request("c", {"prompt_token_ids": [3, 4, 5]}, params)
    with pytest.raises(LLMIRError, match="unfinished request 'a'"):
        engine.add_request("a", "x", params)
    assert engine.get_num_unfinished_requests() == 3
    (texts, steps) = ({}, 0)  # type: ignore[var-annotated]
    while engine.has_unfinished_requests():
        for output in engine.step():
            # A text only grows.
            before = texts.get(output.request_id, "")
            assert output.outputs[0].text.startswith(before)
            texts[output.request_id] = output.outputs[0].text
            assert output.finished == (len(output.outputs[0].token_ids) == 6)
        steps += 1
        if steps == 3:
            engine.abort_request(["c", "never there"])
    assert set(texts) == {"a", "b", "c"}
    assert steps == 6
    (alone,) = LLM(trained, threads=1).generate("def main(", params, use_tqdm=False)
    assert texts["a"] == alone.outputs[0].text


@pytest.mark.parametrize(
    ("prompt", "params", "options", "error", "words"),
    [
        ([], {}, {}, LLMIRError, "at least one token id"),
        ([1, 320], {}, {}, LLMIRError, "320"),
        ([1] * 300, {}, {}, LLMIRError, "300"),
        ({"ids": [1]}, {}, {}, LLMIRError, "prompt_token_ids"),
        ([1], {"allowed_token_ids": [320]}, {}, ValueError, "320"),
        ([1] * 60, {"max_tokens": 60}, {"num_blocks": 4}, LLMIRError, "8 blocks"),
        ([1], {}, {"max_num_seqs": 0}, LLMIRError, "max_num_seqs"),
        ([1], {}, {"scheduling_policy": "best"}, LLMIRError, "best"),
        ([1], {}, {"max_num_batched_tokens": 10**6}, LLMIRError, "1000000"),
    ],
)
def test_what_cannot_run_is_refused(
    artifact: Path,
    prompt: Any,
    params: dict[str, Any],
    options: dict[str, Any],
    error: type[Exception],
    words: str,
) -> None:
    with pytest.raises(error, match=words) as raised:
        LLM(artifact, threads=1, **options).generate(
            [prompt], SamplingParams(**params), use_tqdm=False
        )
    assert "\n" not in str(raised.value)


def test_one_bad_prompt_runs_none(artifact: Path) -> None:
    llm = LLM(artifact, threads=1)
    with pytest.raises(LLMIRError):
        llm.generate([[1, 2], [-1]], GREEDY, use_tqdm=False)
    assert not llm.llm_engine.has_unfinished_requests()
    with pytest.raises(ValueError, match=r"prompts \(1\) and sampling_params \(2\)"):
        llm.generate([[1]], [GREEDY, GREEDY], use_tqdm=False)
    (output,) = llm.generate([[1, 2]], GREEDY, use_tqdm=False)
    assert output.finished


def test_a_model_directory_is_compiled_once(
    make_model: MakeModel,
    artifact: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LLMIR_CACHE", str(tmp_path / "cache"))
    directory = make_model("gqa", "float32")
    for _ in range(2):
        (output,) = LLM(directory, threads=1).generate([[5, 6]], GREEDY, use_tqdm=False)
        (found,) = (tmp_path / "cache").iterdir()
        made = (found / "manifest.json").stat().st_mtime_ns
    assert made == (found / "manifest.json").stat().st_mtime_ns
    (expected,) = LLM(artifact, threads=1).generate([[5, 6]], GREEDY, use_tqdm=False)
    assert output.outputs[0].token_ids == expected.outputs[0].token_ids
    LLM(directory, threads=1, quantization="int8", max_model_len=64)
    assert len(list((tmp_path / "cache").iterdir())) == 2
    with pytest.raises(LLMIRError, match="compiled already"):
        LLM(artifact, quantization="int8")
