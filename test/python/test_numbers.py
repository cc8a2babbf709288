# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The numbers of compiled models against those of Transformers.

In float32 they agree to rounding and write the same tokens. In bfloat16 and float16
the error against float32 on the same rounded weights is at most what Transformers
has itself. All of this for every shape of `tiny`, with the kernels of every level
that the CPU has, and with code generated for the oldest and for the newest target
that fits the level.
"""

from __future__ import annotations

import functools
import json
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
from transformers import AutoConfig, AutoModelForCausalLM

import llmir
import tiny
from conftest import MakeArtifact, MakeModel
from llmir import _native
from llmir.compile import compile_model
from llmir.importer import import_model
from llmir.model import Model
from llmir.safetensors import open_checkpoint

LENGTH = tiny.Shape.length
GREEDY = 40

# What generated code is compiled for when kernels of a level run beside it.
TARGETS = {
    "portable": "x86-64-v3",
    "avx2": "x86-64-v3",
    "avx512": "native",
    "avx512_bf16": "native",
    "amx": "native",
}


@dataclass(frozen=True)
class Expected:
    """What Transformers computes.

    prompts: lists of token ids.
    logits: those of each prompt, in float32 on the model's weights.
    error: the mean relative error of Transformers in the model's own dtype.
    next_tokens: gives the likeliest token after each one of a list, in float32.
    """

    prompts: list[list[int]]
    logits: list[npt.NDArray[np.float32]]
    error: float
    next_tokens: Callable[[list[int]], list[int]]


@pytest.fixture(scope="session")
def expected(make_model: MakeModel) -> Callable[[str, str], Expected]:
    """Return a function of shape and dtype to what Transformers computes."""

    @functools.cache
    def compute(shape: str, dtype: str) -> Expected:
        kind = tiny.SHAPES[shape]
        dynamic = shape == "dynamic"
        longest = kind.max_model_len if dynamic else None
        directory = make_model(shape, dtype)
        exact = tiny.transformers_model(directory, longest=longest)
        count = 1 if dtype == "float32" else 4
        prompts = [
            tiny.prompt(exact.config.vocab_size, kind.length, seed)
            for seed in range(count)
        ]
        logits = [tiny.transformers_logits(exact, ids) for ids in prompts]
        error = 0.0
        if dtype != "float32":
            rounded = tiny.transformers_model(
                directory, getattr(torch, dtype), longest=longest
            )
            theirs = [tiny.transformers_logits(rounded, ids) for ids in prompts]
            error = mean_error(theirs, logits)

        def next_tokens(ids: list[int]) -> list[int]:
            likeliest = tiny.transformers_logits(exact, ids).argmax(axis=1)
            return [int(token_id) for token_id in likeliest]

        return Expected(prompts, logits, error, next_tokens)

    return compute


def mean_error(
    actual: list[npt.NDArray[np.float32]], expected: list[npt.NDArray[np.float32]]
) -> float:
    """Return the mean of the relative errors of some logits."""
    return float(np.mean(list(map(tiny.relative_error, actual, expected))))


def use_level(level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what is loaded run on one level; skip the test where the CPU lacks it."""
    levels = list(TARGETS)
    highest = _native.runtime().cpu_level()
    if levels.index(level) > levels.index(highest):
        pytest.skip(f"the highest level of this CPU is {highest}")
    monkeypatch.setenv("LLMIR_CPU_LEVEL", level)
    assert _native.runtime().cpu_level() == level


@pytest.fixture(params=TARGETS)
def load(
    request: pytest.FixtureRequest,
    make_artifact: MakeArtifact,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[str, str], Model]:
    """Return a function of shape and dtype to a model that runs on one level."""
    level = request.param
    use_level(level, monkeypatch)
    return lambda shape, dtype: llmir.load(
        make_artifact(shape, dtype, TARGETS[level]), threads=2
    )


@pytest.mark.capability("Models", "{shape}", "float32")
@pytest.mark.capability("Dispatch levels", "{load}", "float32")
@pytest.mark.parametrize("shape", tiny.SHAPES)
def test_float32(
    shape: str,
    load: Callable[[str, str], Model],
    expected: Callable[[str, str], Expected],
) -> None:
    model, reference = load(shape, "float32"), expected(shape, "float32")
    ids = reference.prompts[0]
    logits = model.forward(ids)
    assert logits.dtype == np.float32
    assert tiny.relative_error(logits, reference.logits[0]) < 2e-5
    # The tokens are those of greedy search if each is the likeliest after those
    # before it.
    start = tiny.SHAPES[shape].start
    greedy = model.generate(ids[:start], GREEDY, stop_token_ids=())
    following = reference.next_tokens([*ids[:start], *greedy])
    assert following[start - 1 : -1] == greedy
    assert len(set(greedy)) > 3


@pytest.mark.capability("Models", "{shape}", "{dtype}")
@pytest.mark.capability("Dispatch levels", "{load}", "{dtype}")
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("shape", tiny.SHAPES)
def test_16_bits(
    shape: str,
    dtype: str,
    load: Callable[[str, str], Model],
    expected: Callable[[str, str], Expected],
) -> None:
    model, reference = load(shape, dtype), expected(shape, dtype)
    mlir = {"bfloat16": "bf16", "float16": "f16"}[dtype]
    assert model.manifest["model"]["dtype"] == mlir
    assert model.manifest["cache"]["dtype"] == mlir
    # The reference does round, so the comparison is not of 0 with 0.
    assert reference.error > 1e-5
    actual = [model.forward(ids) for ids in reference.prompts]
    assert mean_error(actual, reference.logits) <= reference.error


# What of a shape's config to change, or which of its weights, so that it is another
# model without one of the features that the shape is there for.
PLAIN = {"rope_type": "default", "rope_theta": 10000.0}
WITHOUT: dict[str, list[dict[str, Any] | tuple[str, float]]] = {
    "tied": [{"tie_word_embeddings": False}],
    "llama3": [{"rope_parameters": {**PLAIN, "rope_theta": 500000.0}}],
    **{
        shape: [{"rope_parameters": PLAIN}]
        for shape in ("linear", "yarn", "yarn_mscale", "yarn_factor")
    },
    **{
        shape: [
            {"rope_parameters": PLAIN},
            {
                "rope_parameters": {
                    **tiny.SHAPES[shape].fields["rope_parameters"],
                    "attention_factor": 1.0,
                }
            },
        ]
        for shape in ("longrope_long", "longrope_short")
    },
    "dynamic": [{"rope_parameters": PLAIN}],
    "biases": [(f"{name}_proj.bias", 0.0) for name in "qvo"]
    + [(f"{name}_proj.bias", 0.0) for name in ("gate", "up", "down")],
    **{
        shape: [{"hidden_act": "silu"}]
        for shape in ("gelu", "gelu_tanh", "relu2", "quick_gelu")
    },
    "mistral": [{"sliding_window": None}, {"sliding_window": 19}],
    "ministral": [
        {"layer_types": ["full_attention", "full_attention"]},
        {"layer_types": ["full_attention", "sliding_attention"]},
    ],
    "qwen2": [(f"{name}_proj.bias", 0.0) for name in "qv"],
    "qwen2_window": [
        {"layer_types": ["full_attention"] * 3},
        {"layer_types": ["sliding_attention"] * 3},
    ],
    "qwen3": [("q_norm.weight", 1.0), ("k_norm.weight", 1.0)],
    "qwen3_bias": [
        ("o_proj.bias", 0.0),
        {"layer_types": ["sliding_attention", "full_attention"]},
    ],
    "smollm3": [{"no_rope_layers": [1, 1, 1, 1]}, {"no_rope_layers": [0, 1, 0, 1]}],
    "smollm3_window": [
        {"layer_types": ["full_attention"] * 3},
        {"no_rope_layers": [1, 1, 1]},
    ],
    "phi3_window": [{"sliding_window": None}],
    "olmo2": [
        ("q_norm.weight", 1.0),
        ("post_attention_layernorm.weight", 1.0),
        ("post_feedforward_layernorm.weight", 1.0),
    ],
    "olmo3": [
        {"layer_types": ["full_attention"] * 4},
        {
            "rope_parameters": {
                "full_attention": {**PLAIN, "rope_theta": 5000.0},
                "sliding_attention": {**PLAIN, "rope_theta": 5000.0},
            }
        },
    ],
}


@pytest.mark.parametrize("shape", WITHOUT)
def test_every_feature_shows(shape: str, make_model: MakeModel) -> None:
    """That a wrong importer is noticed: without a feature, Transformers differs too."""
    directory, kind = make_model(shape, "float32"), tiny.SHAPES[shape]
    longest = kind.max_model_len if shape == "dynamic" else None
    model = tiny.transformers_model(directory, longest=longest)
    ids = tiny.prompt(model.config.vocab_size, kind.length)
    logits = tiny.transformers_logits(model, ids)
    weights = model.state_dict()
    for change in WITHOUT[shape]:
        fields = json.loads((directory / "config.json").read_text())
        changed = dict(weights)
        if isinstance(change, dict):
            fields.update(change)
        else:
            suffix, value = change
            keys = [key for key in weights if key.endswith(suffix)]
            assert keys
            changed.update((key, torch.full_like(weights[key], value)) for key in keys)
        torch.manual_seed(1)
        config = AutoConfig.for_model(**fields)
        other = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
        if change == {"tie_word_embeddings": False}:
            del changed["lm_head.weight"]
        other.load_state_dict(changed, strict=False)
        different = tiny.transformers_logits(other.eval(), ids)
        assert tiny.relative_error(different, logits) > 1e-3, change


@pytest.fixture
def mixed(make_model: MakeModel, tmp_path: Path) -> Path:
    """A bfloat16 model with weights of other dtypes: norms, products and a bias."""
    directory = tmp_path / "mixed"
    shutil.copytree(make_model("biases", "bfloat16"), directory)
    stored = safetensors.torch.load_file(directory / "model.safetensors")
    random = torch.Generator().manual_seed(0)
    for key, tensor in stored.items():
        dtype = torch.bfloat16
        if key.endswith("layernorm.weight") or "layers.0.mlp.down_proj" in key:
            dtype = torch.float32
        elif "layers.1.self_attn.k_proj" in key or key == "lm_head.weight":
            dtype = torch.float16
        if dtype != torch.bfloat16:
            # So that rounding to bfloat16 would show.
            noise = torch.rand(tensor.shape, generator=random)
            stored[key] = (tensor.float() * (1 + 0.1 * noise)).to(dtype)
    safetensors.torch.save_file(stored, directory / "model.safetensors")
    return directory


@pytest.mark.capability("Models", "mixed in one file", "float32", "bfloat16", "float16")
def test_mixed_dtypes(mixed: Path, tmp_path: Path) -> None:
    compile_model(str(mixed), tmp_path / "out.llmir")
    model = llmir.load(tmp_path / "out.llmir")
    exact = tiny.transformers_model(mixed)
    rounded = tiny.transformers_model(mixed, torch.bfloat16)
    ours, theirs = [], []
    for seed in range(4):
        ids = tiny.prompt(model.vocab_size, LENGTH, seed)
        logits = tiny.transformers_logits(exact, ids)
        ours.append(tiny.relative_error(model.forward(ids), logits))
        other = tiny.transformers_logits(rounded, ids)
        theirs.append(tiny.relative_error(other, logits))
    # Transformers rounds the weights too, so half of its error is a fair bound.
    assert np.mean(ours) < np.mean(theirs) / 2


def test_mixed_dtypes_in_float32(mixed: Path, tmp_path: Path) -> None:
    compile_model(str(mixed), tmp_path / "out.llmir", dtype="float32")
    model = llmir.load(tmp_path / "out.llmir")
    ids = tiny.prompt(model.vocab_size, LENGTH)
    logits = tiny.transformers_logits(tiny.transformers_model(mixed), ids)
    assert tiny.relative_error(model.forward(ids), logits) < 2e-5


def test_the_program_shows_each_dtype(mixed: Path) -> None:
    text = import_model(mixed, open_checkpoint(mixed))
    assert " from tensor" not in text
    assert "!kv = !llm.paged_kv_cache<bf16," in text
    for line in (
        '"model.layers.0.input_layernorm.weight" : tensor<64xf32>',
        '"model.layers.0.mlp.down_proj.weight" : tensor<64x128xf32>',
        '"model.layers.0.mlp.down_proj.bias" : tensor<64xf32>',
        '"model.layers.1.mlp.down_proj.weight" : tensor<64x128xbf16>',
        '"model.layers.1.self_attn.k_proj.weight" : tensor<32x64xf16>',
        '"lm_head.weight" : tensor<320x64xf16>',
    ):
        assert line in text
    first, second = text.split("func.func private")[1:]
    # The input of each product comes in the dtype of its weight, once in each.
    assert first.count("llm.rms_norm") == 2
    assert "%act = llm.activation silu %gate, %up : (tensor<?x128xf32>, " in first
    assert first.count("-> tensor<?x128xf32>") == 3
    assert second.count("llm.rms_norm %hidden") == 2
    assert second.count("-> tensor<?x64xf16>") == 1


@pytest.mark.parametrize("stored", ["bfloat16", "float16"])
def test_widened_to_float32(make_model: MakeModel, tmp_path: Path, stored: str) -> None:
    directory = make_model("tied", stored)
    compile_model(str(directory), tmp_path / "out.llmir", dtype="float32")
    model = llmir.load(tmp_path / "out.llmir")
    reference = tiny.transformers_model(directory, torch.float32)
    ids = tiny.prompt(model.vocab_size, LENGTH)
    expected = tiny.transformers_logits(reference, ids)
    assert tiny.relative_error(model.forward(ids), expected) < 2e-5


def test_several_ends(
    make_model: MakeModel, make_artifact: MakeArtifact, tmp_path: Path
) -> None:
    ids = tiny.prompt(320, 7)
    free = llmir.load(make_artifact("gqa", "float32")).generate(
        ids, GREEDY, stop_token_ids=()
    )
    fresh = [place for place, token in enumerate(free) if token not in free[:place]]
    early, late = fresh[4], fresh[8]
    directory = tmp_path / "model"
    shutil.copytree(make_model("gqa", "float32"), directory)
    for ends, count in (
        ([free[late], free[early]], early + 1),
        ([free[late]], late + 1),
        (free[late], late + 1),
    ):
        generation = {"eos_token_id": ends}
        (directory / "generation_config.json").write_text(json.dumps(generation))
        compile_model(str(directory), tmp_path / "out.llmir")
        model = llmir.load(tmp_path / "out.llmir")
        assert model.generate(ids, GREEDY) == free[:count]
        del model


@pytest.mark.capability("Models", "sharded weights", "float32")
def test_sharded_weights(make_model: MakeModel, tmp_path: Path) -> None:
    reference = tiny.transformers_model(make_model("gqa", "float32"))
    reference.save_pretrained(tmp_path / "sharded", max_shard_size="100KB")
    assert not (tmp_path / "sharded" / "model.safetensors").exists()
    compile_model(str(tmp_path / "sharded"), tmp_path / "out.llmir")
    model = llmir.load(tmp_path / "out.llmir")
    ids = tiny.prompt(model.vocab_size, LENGTH)
    expected = tiny.transformers_logits(reference, ids)
    assert tiny.relative_error(model.forward(ids), expected) < 2e-5


def test_prompts_longer_than_a_step(make_model: MakeModel, tmp_path: Path) -> None:
    directory = make_model("gqa", "float32")
    compile_model(str(directory), tmp_path / "out.llmir", max_batch_tokens=16)
    model = llmir.load(tmp_path / "out.llmir")
    assert model.max_batch_tokens == 16
    ids = tiny.prompt(model.vocab_size, 50)
    reference = tiny.transformers_model(directory)
    expected = tiny.transformers_logits(reference, ids)
    assert tiny.relative_error(model.forward(ids), expected) < 2e-5
    assert model.generate(ids, 5, stop_token_ids=()) == tiny.transformers_greedy(
        reference, ids, 5
    )


@pytest.mark.parametrize("block_size", [1, 4, 64])
def test_any_size_of_block(
    make_model: MakeModel,
    make_artifact: MakeArtifact,
    tmp_path: Path,
    block_size: int,
) -> None:
    directory = make_model("gqa", "float32")
    compile_model(str(directory), tmp_path / "out.llmir", block_size=block_size)
    model = llmir.load(tmp_path / "out.llmir")
    assert model.manifest["cache"]["block_size"] == block_size
    ids = tiny.prompt(model.vocab_size, LENGTH)
    expected = tiny.transformers_logits(tiny.transformers_model(directory), ids)
    assert tiny.relative_error(model.forward(ids), expected) < 2e-5
