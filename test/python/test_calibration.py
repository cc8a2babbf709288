# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Weights that are rounded by GPTQ: the rounding itself, and what it is told of inputs.

The oracle is the algorithm as its paper has it (arXiv:2210.17323, figure 3): in
float64, with the Cholesky factor of the inverse, from left to right. Ours takes another
factor and works on other sums, and must round every number the same way but for ties.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

import llmir
import tiny
from conftest import MakeArtifact, MakeModel, RunProgram
from llmir import _native, calibration
from llmir.calibration import DAMPING, Calibration, feedback_of
from llmir.compile import compile_model
from llmir.errors import LLMIRError
from llmir.model import Model
from llmir.quantization import Quantization
from llmir.weights import Feedback
from test_quantized import Unpacked, quantized_weights, unpack

Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]
ENTRY: dict[str, Any] = {"sources": [{"key": "some.weight"}]}
TEXT = "the theory of the thing def self\n" * 60


@dataclass(frozen=True)
class Form:
    """A format of weights, as the runtime has it."""

    kind: str
    group_size: int
    asymmetric: bool = False
    scales: str = "f16"

    def facts(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "scales": self.scales,
            "group_size": self.group_size,
            "asymmetric": self.asymmetric,
        }

    @property
    def range(self) -> tuple[int, int]:
        """The integers that are stored, with their signs."""
        bits = 8 if self.kind == "int8" else 4
        if self.asymmetric:
            return 0, 2**bits - 1
        return (-127, 127) if bits == 8 else (-8, 7)


FORMS = [
    Form("int4", 32),
    Form("int4", 64, scales="bf16"),
    Form("int4", 128),
    Form("int4", 32, asymmetric=True),
    Form("int4", 0, scales="f32"),
    Form("int8", 0, scales="f32"),
    Form("int8", 64, asymmetric=True),
]


def correlated(tokens: int, inputs: int, seed: int = 0) -> Floats:
    """Return inputs of a product in few directions and of unequal sizes."""
    random = np.random.default_rng(seed)
    few = random.standard_normal((tokens, inputs // 8))
    mixed = few @ random.standard_normal((inputs // 8, inputs))
    mixed += 0.3 * random.standard_normal((tokens, inputs))
    return (mixed * random.lognormal(0, 0.7, inputs)).astype(np.float32)


def pack(weight: Floats, form: Form, feedback: Feedback | None = None) -> Unpacked:
    """Quantize a weight [n, k] by the runtime."""
    runtime = _native.runtime()
    n, k = weight.shape
    format_ = runtime.WeightFormat(**form.facts())
    data = np.zeros(runtime.packed_bytes(format_, n, k), np.uint8)
    given = {}
    if feedback is not None:
        given = {"factors": feedback.factors, "importance": feedback.importance}
    bytes_ = np.ascontiguousarray(weight).view(np.uint8).reshape(-1)
    changes = runtime.pack_panels(bytes_, "f32", n, k, data, format_, **given)
    result = unpack(data, form.facts(), n, k, gated=False)
    differences = ((weight - result.numbers) ** 2).sum()
    assert changes[0] == pytest.approx(differences, rel=1e-3)
    assert changes[1] == pytest.approx((weight.astype(np.float64) ** 2).sum(), rel=1e-4)
    return result


def gptq(weight: Doubles, hessian: Doubles, form: Form, given: Unpacked) -> Doubles:
    """Return the integers of the paper's algorithm, for given scales."""
    k = weight.shape[1]
    damped = hessian + DAMPING * np.diag(hessian).mean() * np.eye(k)
    # The upper factor of the inverse.
    factor = np.linalg.cholesky(np.linalg.inv(damped)).T
    size = k // given.scales.shape[1]
    left = weight.copy()
    integers = np.zeros_like(weight)
    for i in range(k):
        scale = given.scales[:, i // size].astype(np.float64)
        zero = given.zeros[:, i // size]
        safe = np.where(scale == 0, np.inf, scale)
        integers[:, i] = np.clip(np.round(left[:, i] / safe) + zero, *form.range)
        error = (left[:, i] - (integers[:, i] - zero) * scale) / factor[i, i]
        left[:, i:] -= np.outer(error, factor[i, i:])
    return integers


def output_error(weight: Floats, numbers: Doubles, inputs: Floats) -> float:
    exact = inputs.astype(np.float64) @ weight.T.astype(np.float64)
    off = inputs.astype(np.float64) @ (weight - numbers).T
    return float(np.linalg.norm(off) / np.linalg.norm(exact))


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_rounds_as_the_paper_does(form: Form) -> None:
    random = np.random.default_rng(1)
    n, k = 70, 256
    weight = random.standard_normal((n, k)).astype(np.float32)
    x = correlated(600, k)
    hessian = x.T.astype(np.float64) @ x.astype(np.float64)
    ours = pack(weight, form, feedback_of(hessian.astype(np.float32), ENTRY))
    expected = gptq(weight.astype(np.float64), hessian, form, ours)
    # Another sum may fall on the other side of a tie, and those after it follow.
    rows = (ours.integers != expected).any(axis=1)
    assert rows.mean() < (0.25 if form.kind == "int8" else 0.1)
    # And it is worth it.
    nearest = output_error(weight, pack(weight, form).numbers, x)
    fed_back = output_error(weight, ours.numbers, x)
    assert fed_back < 0.75 * nearest
    size = k // ours.scales.shape[1]
    scales, zeros = (np.repeat(y, size, axis=1) for y in (ours.scales, ours.zeros))
    oracle = output_error(weight, (expected - zeros) * scales, x)
    assert fed_back == pytest.approx(oracle, rel=0.01)


@pytest.mark.parametrize("form", [FORMS[0], FORMS[4], FORMS[5]], ids=str)
def test_without_inputs_it_is_to_nearest(form: Form) -> None:
    """Inputs that are never other than zero ask for nothing."""
    weight = np.random.default_rng(2).standard_normal((40, 128)).astype(np.float32)
    ours = pack(weight, form, feedback_of(np.zeros((128, 128), np.float32), ENTRY))
    nearest = pack(weight, form)
    assert np.array_equal(ours.integers, nearest.integers)
    assert np.array_equal(ours.scales, nearest.scales)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_dead_inputs(form: Form) -> None:
    """Some inputs are always zero, a whole group of them as well."""
    weight = np.random.default_rng(3).standard_normal((40, 256)).astype(np.float32)
    x = correlated(500, 256)
    x[:, 7] = x[:, 128:] = 0
    feedback = feedback_of(x.T @ x, ENTRY)
    ours = pack(weight, form, feedback)
    assert output_error(weight, ours.numbers, x) < 0.75 * output_error(
        weight, pack(weight, form).numbers, x
    )
    # Dead ones are still rounded like numbers.
    assert np.abs(weight - ours.numbers)[:, 128:].mean() < 0.2


def test_whole_rows_of_any_length() -> None:
    weight = np.random.default_rng(4).standard_normal((33, 60)).astype(np.float32)
    x = correlated(300, 60)
    form = Form("int4", 0, scales="f32")
    feedback = feedback_of(x.T @ x, ENTRY)
    assert feedback.factors.shape == (64, 64)
    ours = pack(weight, form, feedback)
    expected = gptq(weight.astype(np.float64), x.T.astype(np.float64) @ x, form, ours)
    assert (ours.integers != expected).any(axis=1).mean() < 0.1


def test_sums_that_are_not_finite() -> None:
    sums = np.eye(64, dtype=np.float32)
    sums[3, 3] = np.inf
    with pytest.raises(LLMIRError, match=r"the inputs of some\.weight are not finite"):
        feedback_of(sums, ENTRY)


def test_feedback_of_another_size() -> None:
    weight = np.ones((32, 64), np.float32)
    feedback = feedback_of(np.eye(32, dtype=np.float32), ENTRY)
    with pytest.raises(ValueError, match="feedback of 32 inputs does not fit a weight"):
        pack(weight, FORMS[0], feedback)
    with pytest.raises(ValueError, match="a square matrix, and an importance for each"):
        pack(weight, FORMS[0], Feedback(feedback.factors, np.ones(64, np.float32)))


@pytest.mark.parametrize("shape", ["gqa", "tied", "biases"])
def test_observed_inputs(
    make_model: MakeModel, make_artifact: MakeArtifact, shape: str
) -> None:
    """Those of Transformers' linear layers, of which some share one."""
    artifact = make_artifact(shape, "float32")
    model = Model(artifact, 2)
    ids = tiny.prompt(model.vocab_size, 30, seed=3)
    reference = tiny.transformers_model(make_model(shape, "float32"))
    expected: dict[str, Floats] = {}
    for name, module in reference.named_modules():
        if isinstance(module, torch.nn.Linear):

            def keep(_: Any, inputs: Any, key: str = f"{name}.weight") -> None:
                expected[key] = inputs[0][0].detach().numpy()

            module.register_forward_pre_hook(keep)
    tiny.transformers_logits(reference, ids)
    if "lm_head.weight" in expected and shape == "tied":
        expected["model.embed_tokens.weight"] = expected.pop("lm_head.weight")

    program = _native.compiler().Module.parse((artifact / "model.mlir").read_text())
    program.run("llm-to-buffers")
    entries = [e for e in program.weights(data=False) if e.get("packed")]
    offsets = [entry["offset"] for entry in entries]
    sequence = model.engine.new_sequence()
    logits, first = model.engine.observed_step([(sequence, ids[:21], True)], offsets)
    _, second = model.engine.observed_step([(sequence, ids[21:], True)], offsets)
    assert np.array_equal(logits, model.forward(ids)[:21])
    seen = set()
    for entry, *rows in zip(entries, first, second, strict=True):
        observed = np.concatenate(rows)
        for part in entry["sources"]:
            assert observed.shape == expected[part["key"]].shape
            assert tiny.relative_error(observed, expected[part["key"]]) < 1e-5
            seen.add(part["key"])
    assert seen == set(expected)
    # What no product has.
    _, (nothing,) = model.engine.observed_step([(sequence, ids[:1], False)], [1])
    assert nothing.shape == (0, 0)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


@pytest.mark.parametrize("name", ["int8", "int4", "w8a8", "w4a8"])
@pytest.mark.parametrize("shape", ["gqa", "tied"])
def test_model(
    make_model: MakeModel,
    make_artifact: MakeArtifact,
    text: Path,
    tmp_path: Path,
    shape: str,
    name: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Its products change less than those of one that is rounded to nearest."""
    quantization = Quantization(name)
    directory, output = make_model(shape, "float32"), tmp_path / "out.llmir"
    compile_model(
        str(directory),
        output,
        quantization=quantization,
        max_model_len=tiny.SHAPES[shape].max_model_len,
        calibrate=text,
    )
    nearest = make_artifact(shape, "float32", "native", quantization)
    facts = json.loads((output / "manifest.json").read_text())["quantization"]
    fed_back, plain = quantized_weights(output), quantized_weights(nearest)
    ids = llmir.load(output).encode(TEXT)
    assert facts["calibration"] == {
        "method": "gptq",
        "text": "text.txt",
        "tokens": len(ids),
        "tensors": sum(entry["tensors"] for entry in facts["weights"]),
    }
    told = capfd.readouterr().err
    assert f"weights are rounded by GPTQ, for the inputs that {len(ids)} tok" in told
    # The weights are further away, and logits are nearer.
    before = json.loads((nearest / "manifest.json").read_text())["quantization"]
    assert (
        facts["weights"][0]["relative_error"] > before["weights"][0]["relative_error"]
    )
    assert facts["weights"][0]["relative_error"] == pytest.approx(
        relative_error_of(directory, fed_back), rel=1e-3
    )
    assert fed_back.keys() == plain.keys()
    model = tiny.transformers_model(directory)
    prompt = ids[: llmir.load(output).max_model_len]
    exact = tiny.transformers_logits(model, prompt)
    errors = [
        tiny.relative_error(llmir.load(artifact).forward(prompt), exact)
        for artifact in (output, nearest)
    ]
    assert errors[0] < 0.9 * errors[1]


def relative_error_of(
    directory: Path, weights: dict[str, tuple[dict[str, Any], Unpacked]]
) -> float:
    import safetensors.torch

    stored = safetensors.torch.load_file(directory / "model.safetensors")
    differences = squares = 0.0
    for key, (_, unpacked) in weights.items():
        exact = stored[key].numpy().astype(np.float64)
        differences += float(((unpacked.numbers - exact) ** 2).sum())
        squares += float((exact**2).sum())
    return (differences / squares) ** 0.5


def test_in_parts(
    make_model: MakeModel,
    text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where memory is short, matrices come one after the other."""

    def compile_to(output: Path) -> dict[str, tuple[dict[str, Any], Unpacked]]:
        compile_model(
            str(make_model("gqa", "float32")),
            output,
            quantization=Quantization("int4"),
            calibrate=text,
        )
        return quantized_weights(output)

    whole = compile_to(tmp_path / "whole.llmir")
    parts: list[int] = []

    def one_by_one(entries: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
        parts.append(len(entries))
        return [[entry] for entry in entries]

    monkeypatch.setattr(calibration, "_parts", one_by_one)
    single = compile_to(tmp_path / "single.llmir")
    assert parts[0] > 4
    assert whole.keys() == single.keys()
    # The first weight has seen the same inputs in both; a later one, inputs that
    # better weights lead to.
    first = "model.layers.0.self_attn.q_proj.weight"
    assert np.array_equal(whole[first][1].integers, single[first][1].integers)
    last = "lm_head.weight"
    assert not np.array_equal(whole[last][1].integers, single[last][1].integers)


def test_parts_by_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [{"sources": [{"shape": [8, k]}]} for k in (100, 100, 300, 100)]
    runtime = _native.runtime()
    most = calibration.FACTORED_BYTES + calibration.SUMMED_BYTES

    def parts(available: int) -> list[int]:
        monkeypatch.setattr(
            calibration._native, "runtime", lambda: FakeRuntime(available)
        )
        return [len(part) for part in calibration._parts(entries)]

    class FakeRuntime:
        format_bytes = staticmethod(runtime.format_bytes)

        def __init__(self, available: int) -> None:
            self.available = available

        def memory(self) -> tuple[int, int]:
            return self.available, self.available

    assert parts(2**30) == [4]
    assert parts(most * 90000) == [2, 1, 1]
    with pytest.raises(LLMIRError, match="a weight with 300 inputs takes"):
        parts(most * 90000 - 1)


def test_sequences() -> None:
    ids = list(range(1000))
    assert Calibration(Path(), ids).sequences(300) == [
        ids[:300],
        ids[300:600],
        ids[600:900],
        ids[900:],
    ]
    assert Calibration(Path(), ids, 200).sequences(100) == [ids[:100], ids[900:]]
    assert Calibration(Path(), ids, 50).sequences(100) == [ids[:50]]
    assert Calibration(Path(), ids[:7], 50).sequences(100) == [ids[:7]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantization": Quantization()}, "--calibrate says how .* needs --quantize"),
        ({"emit": "optimized"}, "--calibrate is about the weights of an artifact"),
        ({"content": b""}, "text.txt is empty"),
        ({"content": b"\xff"}, "text.txt is not UTF-8 text: byte 0 is 0xff"),
        ({"tokenizer": False}, r"has no tokenizer\.json"),
    ],
)
def test_refused(
    make_model: MakeModel,
    text: Path,
    tmp_path: Path,
    options: dict[str, Any],
    message: str,
) -> None:
    text.write_bytes(options.pop("content", b"the"))
    directory = make_model("gqa", "float32")
    if not options.pop("tokenizer", True):
        copy = tmp_path / "model"
        copy.mkdir()
        for name in ("config.json", "model.safetensors"):
            (copy / name).symlink_to(directory / name)
        directory = copy
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(LLMIRError, match=message):
        compile_model(
            str(directory),
            tmp_path / "out.llmir",
            **{"quantization": Quantization("int4"), "calibrate": text, **options},
        )
    assert sorted(tmp_path.rglob("*")) == before


def test_another_cpu(
    make_model: MakeModel, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Old:
        def cpu_features(self) -> list[str]:
            return ["sse3"]

    monkeypatch.setattr("llmir.calibration._native.runtime", Old)
    with pytest.raises(LLMIRError, match=r"runs the model, and this CPU lacks .*avx2"):
        compile_model(
            str(make_model("gqa", "float32")),
            tmp_path / "out.llmir",
            target_cpu="x86-64-v3",
            quantization=Quantization("int4"),
            calibrate=text,
        )


def test_command(
    run_program: RunProgram, make_model: MakeModel, text: Path, tmp_path: Path
) -> None:
    command = ["-m", "llmir.compile", make_model("gqa", "float32")]
    command += ["-o", tmp_path / "out.llmir", "--quantize=int4", "--calibrate", text]
    result = run_program(*command, "--calibrate-tokens=64")
    assert result.returncode == 0, result.stderr
    assert re.match(
        r"llmir: \d+ weights are rounded by GPTQ, for the inputs that 64 tokens of "
        rf"{text} lead to\nllmir: \d+ weights in int4 by groups of 32",
        result.stderr,
    )
    result = run_program(*command[:-2], "--calibrate-tokens=64")
    assert result.returncode == 2
    assert "--calibrate-tokens goes with --calibrate" in result.stderr
