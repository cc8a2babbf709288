# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The stages of a compilation connect by files, and what is in the file runs."""

from __future__ import annotations

import re
import tempfile
import time
from pathlib import Path

import pytest

import llmir
import tiny
from conftest import MakeModel, RunProgram
from llmir.compile import compile_model
from llmir.errors import LLMIRError
from test_importer import write_config


def emit(directory: Path, output: Path, stage: str = "llm") -> str:
    """Write a stage of a model to a file and return it."""
    compile_model(str(directory), output, emit=stage)
    return output.read_text()


@pytest.mark.capability("Stages", "{stage}")
@pytest.mark.parametrize(
    ("stage", "contains", "lacks"),
    [
        ("llm", "llm.paged_attention", "linalg."),
        ("optimized", "llm.paged_attention", "linalg."),
        ("linalg", "linalg.", "llm.linear"),
        ("llvm", "define void @llmir_step(", "llm."),
        ("asm", "llmir_step:", "define"),
    ],
)
def test_every_stage(
    make_model: MakeModel, tmp_path: Path, stage: str, contains: str, lacks: str
) -> None:
    text = emit(make_model("gqa", "bfloat16"), tmp_path / "out", stage)
    assert contains in text
    assert lacks not in text
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


def test_a_stage_that_there_is_not(make_model: MakeModel) -> None:
    model = str(make_model("gqa", "float32"))
    with pytest.raises(LLMIRError, match="no stage tea; there are llm, optimized, "):
        compile_model(model, None, emit="tea")
    with pytest.raises(LLMIRError, match="an artifact is a directory and needs an"):
        compile_model(model, None)


def test_what_the_compiler_prints_is_stable(
    make_model: MakeModel, tmp_path: Path
) -> None:
    imported = emit(make_model("llama3", "bfloat16"), tmp_path / "a.mlir")
    assert "%l1_up_proj = llm.parameter" in imported
    compile_model(str(tmp_path / "a.mlir"), tmp_path / "b.mlir", emit="llm")
    printed = (tmp_path / "b.mlir").read_text()
    assert printed != imported
    compile_model(str(tmp_path / "b.mlir"), tmp_path / "c.mlir", emit="llm")
    assert (tmp_path / "c.mlir").read_text() == printed
    assert printed.count('"model.layers.1.mlp.up_proj.weight"') == 1


@pytest.mark.parametrize("printed", [False, True])
def test_what_is_changed_by_hand_runs(
    make_model: MakeModel, tmp_path: Path, printed: bool
) -> None:
    directory = make_model("gqa", "float32")
    text = emit(directory, tmp_path / "model.mlir")
    if printed:
        text = emit(tmp_path / "model.mlir", tmp_path / "model.mlir")
    step, separator, layer = text.partition("func.func private @decoder_layer")
    assert separator
    layer, scales = re.subn(r"scale = \S+ : f32", "scale = 6.0e-01 : f32", layer)
    step, epsilons = re.subn(r"epsilon = \S+ : f32", "epsilon = 2.5e-01 : f32", step)
    assert (scales, epsilons) == (1, 1)
    (tmp_path / "model.mlir").write_text(step + separator + layer)
    compile_model(
        str(tmp_path / "model.mlir"), tmp_path / "out.llmir", weights=directory
    )

    reference = tiny.transformers_model(directory)
    model = llmir.load(tmp_path / "out.llmir")
    ids = tiny.prompt(model.vocab_size, 33)
    unchanged = tiny.transformers_logits(reference, ids)
    for decoder_layer in reference.model.layers:
        decoder_layer.self_attn.scaling = 0.6
    only_scale = tiny.transformers_logits(reference, ids)
    reference.model.norm.variance_epsilon = 0.25
    expected = tiny.transformers_logits(reference, ids)
    assert tiny.relative_error(only_scale, unchanged) > 1e-2
    assert tiny.relative_error(expected, only_scale) > 1e-3
    assert tiny.relative_error(model.forward(ids), expected) < 2e-5


def test_the_artifacts_own_program_compiles_again(
    make_model: MakeModel, make_artifact: MakeModel, tmp_path: Path
) -> None:
    artifact = make_artifact("gqa", "float32")
    program = artifact / "model.mlir"
    compile_model(
        str(program), tmp_path / "again.llmir", weights=make_model("gqa", "float32")
    )
    ids = tiny.prompt(320, 20)
    first = llmir.load(artifact).forward(ids)
    assert (
        llmir.load(tmp_path / "again.llmir").forward(ids).tobytes() == first.tobytes()
    )


class TestWeightsOfAProgram:
    """A program whose parameters the weights do not have."""

    @pytest.fixture
    def program(self, make_model: MakeModel, tmp_path: Path) -> Path:
        emit(make_model("gqa", "float32"), tmp_path / "model.mlir")
        return tmp_path / "model.mlir"

    def refuse(self, program: Path, weights: Path, message: str) -> None:
        output = program.parent / "out.llmir"
        with pytest.raises(LLMIRError, match=message) as raised:
            compile_model(str(program), output, weights=weights)
        assert "\n" not in str(raised.value)
        assert list(program.parent.glob("*out.llmir*")) == []

    def test_missing(self, program: Path, make_model: MakeModel) -> None:
        text = program.read_text().replace("model.norm.weight", "model.no.weight")
        program.write_text(text)
        self.refuse(
            program, make_model("gqa", "float32"), "have no tensor model.no.weight"
        )

    def test_wrong_dtype(self, program: Path, make_model: MakeModel) -> None:
        self.refuse(
            program,
            make_model("gqa", "bfloat16"),
            r"reads tensor \S+ as F32 \[320, 64\], and .* has it as BF16 \[320, 64\]",
        )

    def test_wrong_shape(self, program: Path, make_model: MakeModel) -> None:
        self.refuse(program, make_model("odd", "float32"), r"\[320, 64\].*\[331, 60\]")

    def test_no_weights(self, program: Path) -> None:
        self.refuse(program, program.parent, "has no safetensors weights")


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("llm.rms_norm", "llm.rms_morm", "model.mlir:[0-9]+:[0-9]+: error:"),
        ("epsilon = ", "epsilon = -", "model.mlir:[0-9]+:[0-9]+: error:"),
    ],
)
def test_a_bad_program_is_told_where(
    make_model: MakeModel, tmp_path: Path, before: str, after: str, message: str
) -> None:
    text = emit(make_model("gqa", "float32"), tmp_path / "model.mlir")
    (tmp_path / "model.mlir").write_text(text.replace(before, after))
    with pytest.raises(LLMIRError, match=message):
        compile_model(str(tmp_path / "model.mlir"), tmp_path / "out", emit="llm")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("fact", "value", "message"),
    [
        ("eos_token_ids", "0 : i64", r"a list of integers from 0 to 319, and is 0"),
        ("eos_token_ids", "[320]", r"a list of integers from 0 to 319, and is \[320\]"),
        ("eos_token_ids", '["end"]', r"a list of integers .*, and is \[\"end\"\]"),
        ("eos_token_ids", None, "a list of integers .*, and is missing"),
        ("bos_token_id", '"begin"', 'an integer .*, and is "begin"'),
        ("bos_token_id", "-1 : i64", "an integer .*, and is -1"),
        ("vocab_size", '"many"', 'a positive integer, .*, and is "many"'),
        ("vocab_size", "0 : i64", "a positive integer, .*, and is 0"),
        ("hidden_size", "-64 : i64", "a positive integer, .*, and is -64"),
        ("num_layers", "true", "a positive integer, .*, and is true"),
        ("num_heads", "1.5 : f32", "a positive integer, .*, and is 1.5"),
        ("num_kv_heads", None, "a positive integer, .*, and is missing"),
        ("head_dim", "[16]", r"a positive integer, .*, and is \[16\]"),
        ("max_model_len", "4294967296 : i64", "a positive integer, .* 4294967296"),
        ("architecture", "1 : i64", "a string, and is 1"),
        ("dtype", None, "a string, and is missing"),
    ],
)
def test_bad_facts_are_refused(
    make_model: MakeModel, tmp_path: Path, fact: str, value: str | None, message: str
) -> None:
    text = emit(make_model("gqa", "float32"), tmp_path / "model.mlir")
    facts = {
        "architecture": '"llama"',
        "vocab_size": "320",
        "hidden_size": "64",
        "num_layers": "2",
        "num_heads": "4",
        "num_kv_heads": "2",
        "head_dim": "16",
        "dtype": '"f32"',
        "max_model_len": "256",
        "eos_token_ids": "[0]",
        fact: value,
    }
    shown = (f"{name} = {text}" for name, text in facts.items() if text is not None)
    text, count = re.subn(
        r"llm\.model = \{[^}]*\}", f"llm.model = {{{', '.join(shown)}}}", text
    )
    assert count == 1
    (tmp_path / "model.mlir").write_text(text)
    with pytest.raises(
        LLMIRError, match=f"{fact} of its attribute llm.model must be {message}"
    ) as raised:
        compile_model(
            str(tmp_path / "model.mlir"),
            tmp_path / "out.llmir",
            weights=make_model("gqa", "float32"),
        )
    assert "\n" not in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["model.mlir"]


def test_a_refusal_names_the_users_file(
    make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    program = tmp_path / "my program.mlir"
    text = emit(make_model("gqa", "float32"), program)
    # The cache is used again after it was consumed: valid, and a pass refuses it.
    program.write_text(re.sub(r"return (%\w+), %cache\d+", r"return \1, %cache", text))
    with pytest.raises(LLMIRError) as raised:
        compile_model(str(program), tmp_path / "out", emit="asm")
    assert str(raised.value).startswith("the program could not be compiled by")
    assert f"{program}:" in str(raised.value)
    assert f"-m llmir.opt '{program}' " in str(raised.value)
    program.write_text("nonsense")
    with pytest.raises(LLMIRError, match=f"{re.escape(str(program))}:1:1: error"):
        compile_model(str(program), tmp_path / "out", emit="asm")
    assert list(temporary.iterdir()) == []


def test_llama_8b_through_the_compiler(tmp_path: Path, run_program: RunProgram) -> None:
    write_config(tmp_path)
    started = time.monotonic()
    result = run_program("-m", "llmir.compile", tmp_path, "--emit=llm")
    assert time.monotonic() - started < 2
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.encode()) < 100_000
    assert result.stdout.count("func.func private @decoder_layer(") == 1
    assert result.stdout.count("llm.paged_attention") == 1
