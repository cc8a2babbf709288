# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Models of quantized weights, from the checkpoint to logits.

The weights are read out of the artifact, number by number, by what the type of a
quantized tensor says of its bytes. For formats that `llm.quantize` defines to the bit
they must be what NumPy makes of the checkpoint. Then they replace those of
Transformers, which runs in float32, but rounds what its linear layers multiply as the
format says; so its logits are those of the compiled model but for the order of sums.
"""

from __future__ import annotations

import fnmatch
import functools
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import safetensors.torch
import torch
from transformers import PreTrainedModel

import llmir
import tiny
from conftest import MakeArtifact, MakeModel, RunProgram
from llmir import _native
from llmir.compile import compile_model
from llmir.errors import LLMIRError
from llmir.model import Model
from llmir.quantization import Quantization
from reference import Array, load
from test_numbers import TARGETS, mean_error, use_level
from test_reference_quantization import Quantized
from test_same_answer import assert_same, chunked, in_company

FORMATS: dict[str, Quantization] = {
    "int8": Quantization("int8"),
    "int4": Quantization("int4"),
    "w8a8": Quantization("w8a8"),
    "w4a8": Quantization("w4a8"),
    "int8 in groups": Quantization("int8", 32),
    "int8, asymmetric": Quantization("int8", None, True),
    "int4 in groups of 64": Quantization("int4", 64, False, "bf16"),
    "int4, asymmetric": Quantization("int4", 32, True),
    "int4 in whole rows": Quantization("int4", 0),
    "w8a8 in groups": Quantization("w8a8", 64, False, "bf16"),
    "w4a8, asymmetric": Quantization("w4a8", 64, True),
}
# Merged and gated products with biases, sizes that nothing divides, a head of the
# embedding's weight, an activation that is not fused, and norms of heads.
SHAPES = ("gqa", "biases", "odd", "tied", "quick_gelu", "qwen3_bias")

# The numbers of an artifact's weights in the dtypes of scales.
SCALES: dict[str, Any] = {"f32": np.float32, "f16": np.float16, "bf16": np.uint16}


@dataclass(frozen=True)
class Unpacked:
    """A quantized weight [n, k] of an artifact.

    integers: [n, k], with their signs, if the format has any.
    scales: [n, groups], in float64.
    zeros: the zero points [n, groups], 0 in a symmetric format.
    numbers: what they stand for.
    """

    integers: Array
    scales: Array
    zeros: Array

    @property
    def numbers(self) -> npt.NDArray[np.float64]:
        size = self.integers.shape[1] // self.scales.shape[1]
        scales, zeros = (np.repeat(x, size, axis=1) for x in (self.scales, self.zeros))
        numbers: npt.NDArray[np.float64] = (self.integers - zeros) * scales
        return numbers


def unpack(
    data: npt.NDArray[np.uint8], format_: dict[str, Any], n: int, k: int, gated: bool
) -> Unpacked:
    """Take a weight out of its panels, as the type of a quantized tensor says."""
    bits = {"int8": 8, "int4": 4}[format_["kind"]]
    depth = -(-k // 32) * 32
    size = format_["group_size"] or depth
    scale = np.dtype(SCALES[format_["scales"]])
    each = 32 * (size * bits // 8 + scale.itemsize + format_["asymmetric"])
    halves = 1 + gated
    # Groups of panels [panels of a half, halves, groups, bytes].
    panels = data.reshape(-(-(n // halves) // 32), halves, -1)
    groups = panels[:, :, : depth // size * each].reshape(*panels.shape[:2], -1, each)
    elements, rest = np.split(groups, [32 * size * bits // 8], axis=-1)
    scales, zeros = np.split(rest, [32 * scale.itemsize], axis=-1)

    if bits == 8:
        # Four inputs of each output, side by side.
        words = elements.reshape(*elements.shape[:3], size // 4, 32, 4)
        lines = words.swapaxes(-1, -2)
    else:
        words = elements.reshape(*elements.shape[:3], size // 8, 32, 4)
        nibbles = np.stack([words & 15, words >> 4], axis=-1)
        # Nibble i holds input order[i] of eight.
        order = [0, 2, 4, 6, 1, 3, 5, 7]
        lines = np.empty((*words.shape[:5], 8), np.uint8)
        lines[..., order] = nibbles.reshape(lines.shape)
        lines = lines.swapaxes(-1, -2)
    lines = lines.reshape(*elements.shape[:3], size, 32)

    def rows(values: Array) -> Array:
        """From [panels, halves, groups, inputs, 32] to [n, groups * inputs]."""
        moved = values.transpose(1, 0, 4, 2, 3)
        whole = moved.reshape(halves, -1, moved.shape[3] * moved.shape[4])
        return whole[:, : n // halves].reshape(n, -1)

    least = 0 if format_["asymmetric"] else -(2 ** (bits - 1))
    integers = rows(lines).astype(np.int64)[:, :k] + least
    stored = np.ascontiguousarray(scales).view(scale)[..., None, :]
    zero = zeros.astype(np.int64)[..., None, :]
    if not format_["asymmetric"]:
        zero = np.zeros(stored.shape, np.int64)
    return Unpacked(integers, load(rows(stored), format_["scales"]), rows(zero))


def quantized_weights(artifact: Path) -> dict[str, tuple[dict[str, Any], Unpacked]]:
    """Return the quantized weights of an artifact by the checkpoint's names."""
    module = _native.compiler().Module.parse((artifact / "model.mlir").read_text())
    module.run("llm-to-buffers")
    data = np.fromfile(artifact / "weights.bin", np.uint8)
    found = {}
    for entry in module.weights(data=False):
        if "format" not in entry:
            continue
        shapes = [part["shape"] for part in entry["sources"]]
        whole = unpack(
            data[entry["offset"] :][: entry["bytes"]],
            entry["format"],
            sum(shape[0] for shape in shapes),
            shapes[0][1],
            entry["gated"],
        )
        start = 0
        for part in entry["sources"]:
            end = start + part["shape"][0]
            rows = Unpacked(
                *(x[start:end] for x in (whole.integers, whole.scales, whole.zeros))
            )
            found[part["key"]] = (entry["format"], rows)
            start = end
    return found


def round_to_bf16(x: torch.Tensor) -> torch.Tensor:
    return x.bfloat16().float()


def round_to_integers(x: torch.Tensor) -> torch.Tensor:
    """Round to 255 integers with a scale for each token."""
    scale = x.abs().amax(dim=-1, keepdim=True) / 127
    scale = torch.where(scale == 0, 1, scale)
    return (x / scale).round().clamp(-127, 127) * scale


def reference_model(
    directory: Path, artifact: Path, rounding: Callable[[torch.Tensor], torch.Tensor]
) -> PreTrainedModel:
    """Return Transformers' model with an artifact's weights and their inputs."""
    model = tiny.transformers_model(directory)
    weights = quantized_weights(artifact)
    replaced = set()
    for name, module in model.named_modules():
        # A tied head is a product of its own weight.
        key = f"{name}.weight"
        if name == "lm_head" and key not in weights:
            key = "model.embed_tokens.weight"
        if not isinstance(module, torch.nn.Linear) or key not in weights:
            continue
        numbers = torch.from_numpy(weights[key][1].numbers).float()
        module.weight = torch.nn.Parameter(numbers)
        module.register_forward_pre_hook(lambda _, inputs: (rounding(inputs[0]),))
        replaced.add(key)
    assert replaced == set(weights)
    return model


def rounding_of(quantization: Quantization) -> Callable[[torch.Tensor], torch.Tensor]:
    integers = quantization.format in ("w8a8", "w4a8")
    return round_to_integers if integers else round_to_bf16


@pytest.fixture(scope="session")
def expected(
    make_model: MakeModel, make_artifact: MakeArtifact
) -> Callable[[str, str], list[npt.NDArray[np.float32]]]:
    """Return a function of shape and format to what Transformers computes."""

    @functools.cache
    def compute(shape: str, name: str) -> list[npt.NDArray[np.float32]]:
        quantization = FORMATS[name]
        artifact = make_artifact(shape, "float32", "native", quantization)
        model = reference_model(
            make_model(shape, "float32"), artifact, rounding_of(quantization)
        )
        return [tiny.transformers_logits(model, ids) for ids in prompts(model)]

    return compute


def prompts(model: PreTrainedModel) -> list[list[int]]:
    return [tiny.prompt(model.config.vocab_size, 45, seed) for seed in range(3)]


@pytest.fixture(params=TARGETS)
def load_quantized(
    request: pytest.FixtureRequest,
    make_artifact: MakeArtifact,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Model]:
    """Return a function of shape, dtype, format and threads to a model on one level."""
    level = request.param
    use_level(level, monkeypatch)
    return lambda shape, dtype, name, threads=2: llmir.load(
        make_artifact(shape, dtype, TARGETS[level], FORMATS[name]), threads
    )


@pytest.mark.capability("Quantized weights", "{name}", "{load_quantized}")
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("shape", SHAPES)
def test_logits(
    shape: str,
    name: str,
    load_quantized: Callable[..., Model],
    expected: Callable[[str, str], list[npt.NDArray[np.float32]]],
) -> None:
    model = load_quantized(shape, "float32", name)
    logits = expected(shape, name)
    errors = row_errors(
        [model.forward(tiny.prompt(model.vocab_size, 45, seed)) for seed in range(3)],
        logits,
    )
    # Sums in another order differ by about 1e-7.
    assert np.median(errors) < 2e-6
    # That may move a number to its neighbour in bfloat16, or among 255 integers, and
    # with it this row and those after it: one in many thousand, and by less than the
    # rounding of all of them.
    assert np.quantile(errors, 0.25) < 1e-6
    assert errors.max() < ALL_ROUNDING[rounding_of(FORMATS[name])]


# What rounding inputs changes in logits, at most.
ALL_ROUNDING = {round_to_bf16: 0.02, round_to_integers: 0.1}


def row_errors(
    actual: list[npt.NDArray[np.float32]], expected: list[npt.NDArray[np.float32]]
) -> npt.NDArray[np.float64]:
    """Return the relative errors of all rows of some logits."""
    difference = np.concatenate(actual).astype(np.float64) - np.concatenate(expected)
    assert np.isfinite(difference).all()
    norms = np.linalg.norm(np.concatenate(expected), axis=1)
    return np.asarray(np.linalg.norm(difference, axis=1) / norms)


@pytest.mark.parametrize("name", ["int8", "w8a8"])
def test_rounding_shows(
    make_model: MakeModel,
    make_artifact: MakeArtifact,
    expected: Callable[[str, str], list[npt.NDArray[np.float32]]],
    name: str,
) -> None:
    artifact = make_artifact("gqa", "float32", "native", FORMATS[name])
    exact = reference_model(make_model("gqa", "float32"), artifact, lambda x: x)
    without = [tiny.transformers_logits(exact, ids) for ids in prompts(exact)]
    errors = row_errors(without, expected("gqa", name))
    assert errors.min() > 1e-3
    assert errors.max() < ALL_ROUNDING[rounding_of(FORMATS[name])]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("shape", ["gqa", "odd", "tied"])
def test_weights(
    make_model: MakeModel, make_artifact: MakeArtifact, shape: str, name: str
) -> None:
    quantization = FORMATS[name]
    artifact = make_artifact(shape, "float32", "native", quantization)
    stored = safetensors.torch.load_file(
        make_model(shape, "float32") / "model.safetensors"
    )
    facts = json.loads((artifact / "manifest.json").read_text())["quantization"]
    assert facts["format"] == quantization.format
    errors: dict[str, list[float]] = {}
    for key, (format_, unpacked) in quantized_weights(artifact).items():
        exact = stored[key].numpy()
        bits = {"int8": 8, "int4": 4}[format_["kind"]]
        definition = Quantized(
            f"u{'i'}{bits}" if format_["asymmetric"] else f"i{bits}",
            format_["scales"],
            group_size=format_["group_size"],
            asymmetric=format_["asymmetric"],
        )
        difference = np.linalg.norm(unpacked.numbers - exact)
        if bits == 8 or format_["asymmetric"]:
            integers, scales, zeros = definition.quantize(exact)
            assert np.array_equal(unpacked.integers, integers)
            assert np.array_equal(unpacked.scales, load(scales, format_["scales"]))
            assert np.array_equal(unpacked.zeros, zeros)
        else:
            assert unpacked.integers.min() == -8
            assert unpacked.integers.max() == 7
            # Nearer than the plain way.
            assert difference < np.linalg.norm(definition.exact(exact) - exact)
        sums = errors.setdefault(json.dumps(format_, sort_keys=True), [0, 0, 0])
        sums[0] += float(difference**2)
        sums[1] += float(np.linalg.norm(exact) ** 2)
        sums[2] += 1
    # Of 60 and 133 inputs, only whole rows can be quantized.
    in_groups = bool(errors) and any('"group_size": 0' not in key for key in errors)
    assert (facts["tensors_kept"] > 0) == (shape == "odd" and not errors)
    assert not (shape == "odd" and in_groups)
    assert errors or shape == "odd"
    members = ("asymmetric", "group_size", "kind", "scales")
    told = {
        json.dumps({member: entry[member] for member in members}): entry
        for entry in facts["weights"]
    }
    assert told.keys() == errors.keys()
    for key, (differences, weights, _) in errors.items():
        relative = (differences / weights) ** 0.5
        assert told[key]["relative_error"] == pytest.approx(relative, rel=1e-4)
        assert 0.001 < relative < 0.2


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["int8", "int4", "w8a8", "w4a8"])
def test_16_bits(
    make_model: MakeModel, make_artifact: MakeArtifact, dtype: str, name: str
) -> None:
    """A model of 16 bits is no worse than Transformers on its quantized weights."""
    quantization = FORMATS[name]
    directory = make_model("gqa", dtype)
    artifact = make_artifact("gqa", dtype, "native", quantization)
    ours = llmir.load(artifact, threads=2)
    rounding = rounding_of(quantization)
    exact = reference_model(directory, artifact, rounding)
    logits = [tiny.transformers_logits(exact, ids) for ids in prompts(exact)]
    theirs = reference_model(directory, artifact, rounding).to(getattr(torch, dtype))
    for module in theirs.modules():
        if isinstance(module, torch.nn.Linear):
            module._forward_pre_hooks.clear()
    rounded = [tiny.transformers_logits(theirs, ids) for ids in prompts(theirs)]
    error = mean_error(
        [ours.forward(ids) for ids in prompts(exact)],
        logits,
    )
    assert error <= mean_error(rounded, logits)


@pytest.mark.capability("Same answer in any company", "weights in {name}", "{dtype}")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["int8", "int4", "w8a8", "w4a8"])
def test_same_answer(
    load_quantized: Callable[..., Model], dtype: str, name: str
) -> None:
    model = load_quantized("gqa", dtype, name)
    ids = tiny.prompt(model.vocab_size, 46, seed=99)
    logits = model.forward(ids)
    for chunk in (1, 5, 16):
        assert_same(chunked(model, ids, chunk), logits)
    for place in (0, 3, 7):
        assert_same(in_company(model, ids, place), logits)
    for threads in (1, 3):
        other = load_quantized("gqa", dtype, name, threads)
        assert_same(chunked(other, ids, 16), logits)


@pytest.mark.parametrize(
    ("quantization", "message"),
    [
        (Quantization("int3"), "--quantize must be one of none, int8, .*, not int3"),
        (Quantization("int4", 48), "must be a multiple of 32 up to 512, .* not 48"),
        (Quantization("int4", -32), "must be a multiple of 32 up to 512, .* not -32"),
        (Quantization("int4", 1024), "must be a multiple of 32 up to 512, .* not 1024"),
        (Quantization("int8", scales="f64"), "--quantize-scales must be one of auto, "),
        (Quantization(group_size=32), "say how weights are quantized, and need --quan"),
        (Quantization(asymmetric=True), "say how weights are quantized, and need "),
        (Quantization(scales="f16"), "say how weights are quantized, and need "),
        (Quantization(head="int8"), "say how weights are quantized, and need "),
        (Quantization(exclude=("x",)), "say how weights are quantized, and need "),
        (Quantization("int8", head="int3"), "--quantize-head must be one of auto, no"),
        (
            Quantization("int8", exclude=("a", "")),
            "has the pattern ''; a pattern is a ",
        ),
        (Quantization("int8", exclude=("a b",)), "has the pattern 'a b'; a pattern is"),
        (Quantization("int8", exclude=("{a}",)), "has the pattern '{a}'; a pattern is"),
        (
            Quantization("int8", exclude=("lm_head", "head")),
            "exclude has the pattern 'head', which matches no parameter",
        ),
        (Quantization("int8", exclude=("[a",)), r"has the pattern '\[a'; a pattern is"),
    ],
)
def test_refused(
    make_model: MakeModel, tmp_path: Path, quantization: Quantization, message: str
) -> None:
    with pytest.raises(LLMIRError, match=message):
        compile_model(
            str(make_model("gqa", "float32")),
            tmp_path / "out.llmir",
            quantization=quantization,
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("shape", "quantization", "kinds"),
    [
        (
            "gqa",
            Quantization("int4", exclude=("*.down_proj", "model.layers.0.*")),
            {"model.layers.1.mlp.down_proj": None, "model.layers.0.mlp.up_proj": None},
        ),
        ("gqa", Quantization("int4", head="int8"), {"lm_head": "int8"}),
        ("gqa", Quantization("w8a8", head="none"), {"lm_head": None}),
        ("tied", Quantization("w4a8", head="w8a8"), {"model.embed_tokens": "int8"}),
        (
            "biases",
            Quantization("int8", exclude=("*.q_proj",)),
            {
                "model.layers.1.self_attn.v_proj": None,
                "model.layers.1.self_attn.o_proj": "int8",
            },
        ),
    ],
)
def test_left_out(
    make_model: MakeModel,
    make_artifact: MakeArtifact,
    shape: str,
    quantization: Quantization,
    kinds: dict[str, str | None],
) -> None:
    """What is quantized how, and that it still is the model."""
    artifact = make_artifact(shape, "float32", "native", quantization)
    weights = quantized_weights(artifact)
    facts = json.loads((artifact / "manifest.json").read_text())["quantization"]
    stored = safetensors.torch.load_file(
        make_model(shape, "float32") / "model.safetensors"
    )
    default = {"w8a8": "int8", "w4a8": "int4"}.get(
        quantization.format, quantization.format
    )
    found = 0
    for key, tensor in stored.items():
        name = key.removesuffix(".weight")
        if len(tensor.shape) < 2 or (name == "model.embed_tokens" and shape != "tied"):
            continue
        out = any(fnmatch.fnmatchcase(name, text) for text in quantization.exclude)
        expected = kinds.get(name, None if out else default)
        if shape == "biases" and re.search("[qkv]_proj", name):
            expected = None
        assert (weights[key][0]["kind"] if key in weights else None) == expected, key
        found += expected is not None
    assert found == len(weights)
    assert sum(entry["tensors"] for entry in facts["weights"]) <= found
    assert (facts["tensors_kept"] > 0) == (None in kinds.values())
    rounding = rounding_of(quantization)
    reference = reference_model(make_model(shape, "float32"), artifact, rounding)
    ids = prompts(reference)
    logits = [tiny.transformers_logits(reference, each) for each in ids]
    model = llmir.load(artifact)
    errors = row_errors([model.forward(each) for each in ids], logits)
    assert np.median(errors) < 2e-6
    assert errors.max() < ALL_ROUNDING[rounding]


@pytest.mark.parametrize(
    ("shape", "quantization", "stored"),
    [
        ("tied", Quantization("int8", embedding="int8"), 1),
        ("tied", Quantization("int4", head="int8", embedding="int8"), 1),
        ("tied", Quantization("int4", embedding="int8"), 2),
        ("gqa", Quantization("int4", embedding="int4"), 1),
        ("gqa", Quantization("w8a8", None, True, embedding="int8"), 1),
        ("gqa", Quantization("int4", 64, embedding="int4", head="none"), 1),
    ],
    ids=str,
)
def test_embedding(
    make_model: MakeModel,
    make_artifact: MakeArtifact,
    shape: str,
    quantization: Quantization,
    stored: int,
) -> None:
    """Rows are what the table stands for, and a tied table may be the head's."""
    directory = make_model(shape, "float32")
    artifact = make_artifact(shape, "float32", "native", quantization)
    module = _native.compiler().Module.parse((artifact / "model.mlir").read_text())
    module.run("llm-to-buffers")
    key = "model.embed_tokens.weight"
    entries = [
        entry
        for entry in module.weights(data=False)
        if any(part["key"] == key for part in entry.get("sources", []))
    ]
    assert len(entries) == stored
    assert all("format" in entry for entry in entries)
    table = next(
        entry for entry in entries if entry["format"]["kind"] == quantization.embedding
    )
    data = np.fromfile(artifact / "weights.bin", np.uint8)
    n, k = table["sources"][0]["shape"]
    numbers = unpack(
        data[table["offset"] :][: table["bytes"]], table["format"], n, k, gated=False
    ).numbers
    rounding = rounding_of(quantization)
    head = "lm_head.weight" if shape == "gqa" else key
    weights = quantized_weights(artifact)
    reference = tiny.transformers_model(directory)
    for name, linear in reference.named_modules():
        own = head if name == "lm_head" else f"{name}.weight"
        if isinstance(linear, torch.nn.Linear) and own in weights:
            # The last one by this name: the head's, where they differ.
            rows = torch.from_numpy(weights[own][1].numbers).float()
            linear.weight = torch.nn.Parameter(rows)
            linear.register_forward_pre_hook(lambda _, x: (rounding(x[0]),))
    embedding = reference.get_input_embeddings()
    embedding.weight = torch.nn.Parameter(torch.from_numpy(numbers).float())
    if stored == 2:
        other = next(entry for entry in entries if entry is not table)
        rows = unpack(
            data[other["offset"] :][: other["bytes"]], other["format"], n, k, False
        ).numbers
        reference.lm_head.weight = torch.nn.Parameter(torch.from_numpy(rows).float())
    ids = prompts(reference)
    logits = [tiny.transformers_logits(reference, each) for each in ids]
    model = llmir.load(artifact)
    errors = row_errors([model.forward(each) for each in ids], logits)
    assert np.median(errors) < 2e-6
    assert errors.max() < ALL_ROUNDING[rounding]


def test_packed_programs_are_refused(
    make_model: MakeModel, run_program: RunProgram, tmp_path: Path
) -> None:
    """What `--emit=optimized` writes has chosen the layout of its weights."""
    directory, program = make_model("gqa", "float32"), tmp_path / "packed.mlir"
    compile_model(str(directory), program, emit="optimized")
    result = run_program(
        *("-m", "llmir.compile", program, f"--weights={directory}"),
        *("-o", tmp_path / "out.llmir", "--quantize=int8"),
    )
    assert result.returncode == 1
    assert "the weight is packed already, and cannot be quantized" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["packed.mlir"]


@pytest.mark.parametrize("stage", ["llm", "linalg"])
def test_stages_before_quantizing(make_model: MakeModel, stage: str) -> None:
    with pytest.raises(LLMIRError, match=f"and --emit={stage} comes before it"):
        compile_model(
            str(make_model("gqa", "float32")),
            None,
            emit=stage,
            quantization=Quantization("int8"),
        )


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_no_numbers(make_model: MakeModel, tmp_path: Path, number: float) -> None:
    directory = tmp_path / "model"
    shutil.copytree(make_model("gqa", "float32"), directory)
    stored = safetensors.torch.load_file(directory / "model.safetensors")
    stored["model.layers.1.mlp.down_proj.weight"][3, 5] = number
    safetensors.torch.save_file(stored, directory / "model.safetensors")
    with pytest.raises(LLMIRError, match=r"1.mlp.down_proj.weight holds NaN or inf"):
        compile_model(
            str(directory), tmp_path / "out.llmir", quantization=Quantization("int4")
        )
    assert list(tmp_path.iterdir()) == [directory]
    compile_model(str(directory), tmp_path / "out.llmir")


def test_command_line(
    make_model: MakeModel, run_program: RunProgram, tmp_path: Path
) -> None:
    model, output = make_model("biases", "bfloat16"), tmp_path / "out.llmir"
    result = run_program(
        *("-m", "llmir.compile", model, "-o", output, "--quantize=int4"),
        *("--quantize-group-size=64", "--quantize-asymmetric"),
        "--quantize-scales=bf16",
    )
    assert result.returncode == 0, result.stderr
    assert (
        "9 weights in int4 by groups of 64, scales in bf16 and zero points: the "
        "relative error of the weights is "
    ) in result.stderr
    assert (
        "group_size = 64, asymmetric, packing = gated_panels>"
        in (output / "model.mlir").read_text()
    )
    # What is optimized once runs as it is, and is not quantized again.
    program = ["-m", "llmir.compile", output / "model.mlir", f"--weights={model}"]
    again = tmp_path / "again.llmir"
    assert run_program(*program, "-o", again).returncode == 0
    ids = tiny.prompt(320, 9)
    assert_same(llmir.load(again).forward(ids), llmir.load(output).forward(ids))
    refused = run_program(*program, "-o", again, "--quantize=int8")
    assert refused.returncode == 1
    assert "is quantized already, and --quantize is for programs of" in refused.stderr
    optimized = run_program(
        *("-m", "llmir.compile", model, "--emit=optimized", "--quantize=w8a8")
    )
    assert "llm.linear" not in optimized.stdout
    assert optimized.stdout.count("llm.quantized_matmul") == 5
