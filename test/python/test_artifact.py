# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Artifacts: what is in them, and that a damaged or foreign one is refused."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import safetensors.torch

import llmir
import tiny
from conftest import MakeArtifact, MakeModel
from llmir import _native, artifact, manifest
from llmir.compile import compile_model
from llmir.errors import LLMIRError
from llmir.model import Model
from llmir.target import X86_LEVELS


def dynamic_symbols(path: Path) -> dict[str, int]:
    """Return the names in an ELF file's .dynsym, each with its section's index."""
    data = path.read_bytes()
    assert data[:6] == b"\x7fELF\x02\x01"
    assert struct.unpack_from("<H", data, 16)[0] == 3  # a shared object
    table, size, count = (
        struct.unpack_from("<Q", data, 40)[0],
        *struct.unpack_from("<HH", data, 58),
    )
    sections = [
        struct.unpack_from("<IIQQQQIIQQ", data, table + i * size) for i in range(count)
    ]
    symbols = {}
    for _, kind, _, _, offset, length, link, _, _, entry in sections:
        if kind != 11:  # SHT_DYNSYM
            continue
        names = sections[link][4]
        for at in range(offset + entry, offset + length, entry):
            name, _, _, section = struct.unpack_from("<IBBH", data, at)
            end = data.index(b"\0", names + name)
            symbols[data[names + name : end].decode()] = section
    return symbols


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("cpu", ["native", *X86_LEVELS])
def test_the_code_has_the_step_and_needs_nothing(
    dtype: str, cpu: str, make_model: MakeModel, tmp_path: Path
) -> None:
    compile_model(str(make_model("odd", dtype)), tmp_path / "out", target_cpu=cpu)
    symbols = dynamic_symbols(tmp_path / "out" / "model.so")
    assert symbols.get("llmir_step", 0) > 0
    assert symbols.get("llmir_abi_version", 0) > 0
    assert [name for name, section in symbols.items() if section == 0] == []


def test_the_manifest(make_artifact: MakeArtifact) -> None:
    directory = make_artifact("llama3", "bfloat16")
    manifest = json.loads((directory / "manifest.json").read_text())
    runtime = _native.runtime()
    assert manifest["format"] == "llmir-artifact"
    assert manifest["format_version"] == 1
    assert manifest["abi_version"] == runtime.ABI_VERSION == 5
    assert manifest["llmir_version"] == llmir.__version__
    assert manifest["target"]["arch"] == "x86_64"
    assert set(manifest["target"]["features"]) <= set(runtime.cpu_features())
    assert manifest["model"] == {
        "architecture": "llama",
        "vocab_size": 320,
        "hidden_size": 64,
        "num_layers": 2,
        "num_heads": 4,
        "num_kv_heads": 2,
        "head_dim": 32,
        "dtype": "bf16",
        "max_model_len": 256,
        "eos_token_ids": [0],
    }
    assert manifest["cache"] == {
        "dtype": "bf16",
        "layers": 2,
        "kv_heads": 2,
        "head_dim": 32,
        "block_size": 16,
        "max_seq_len": 256,
    }
    assert manifest["step"]["max_batch_tokens"] == 512
    assert manifest["step"]["arena_bytes"] > 0
    names = {path.name for path in directory.iterdir()}
    assert names == {*manifest["files"], "manifest.json"}
    assert names == {
        "generation_config.json",
        "manifest.json",
        "model.mlir",
        "model.so",
        "tokenizer.json",
        "weights.bin",
    }
    for name, facts in manifest["files"].items():
        assert facts["bytes"] == (directory / name).stat().st_size
        assert facts["xxh3"] == runtime.xxh3(str(directory / name))


def test_weights_are_in_panels(make_model: MakeModel, tmp_path: Path) -> None:
    directory = make_model("odd", "float32")
    compile_model(str(directory), tmp_path / "out.llmir")
    weights = (tmp_path / "out.llmir" / "weights.bin").read_bytes()
    stored = safetensors.torch.load_file(directory / "model.safetensors")

    def panels(key: str) -> npt.NDArray[np.float32]:
        values = stored[key].numpy()
        n, k = values.shape
        padded = np.zeros((-(-n // 32) * 32, k), np.float32)
        padded[:n] = values
        return padded.reshape(-1, 32, k).transpose(0, 2, 1)

    down = [
        key for key in stored if key.endswith(("o_proj.weight", "down_proj.weight"))
    ]
    gates = [key for key in stored if key.endswith("gate_proj.weight")]
    assert len(down) == 2 * len(gates) > 0
    for key in down:
        assert weights.count(panels(key).tobytes()) == 1, key
    for key in gates:
        # By turns with the panels of what they gate.
        pair = [panels(key), panels(key.replace("gate", "up"))]
        assert weights.count(np.stack(pair, axis=1).tobytes()) == 1, key


@pytest.fixture
def damaged(make_artifact: MakeArtifact, tmp_path: Path) -> Path:
    """A copy of an artifact, to be damaged."""
    copy = tmp_path / "copy.llmir"
    shutil.copytree(make_artifact("gqa", "float32"), copy)
    return copy


def edit_manifest(directory: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest of an artifact."""
    path = directory / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(format="zip"), "llmir-artifact"),
        (lambda m: m.update(format_version=9), "format 9"),
        (lambda m: m.update(abi_version=7), "ABI version 7, .* has 5"),
        (lambda m: m["target"].update(arch="pdp11"), "pdp11"),
        (lambda m: m["target"]["features"].append("time-travel"), "time-travel"),
        (lambda m: m["model"].pop("vocab_size"), "vocab_size"),
        (lambda m: m["cache"].update(block_size=3), "power of two"),
        (lambda m: m["cache"].update(dtype="i3"), "f32, bf16, f16, i8 or i4, not 'i3'"),
        (lambda m: m["step"].update(arena_bytes=-1), "arena_bytes"),
        (lambda m: m["files"].pop("weights.bin"), "weights.bin"),
        (lambda m: m["files"]["weights.bin"].update(bytes=1), "weights.bin"),
        (lambda m: m["files"]["model.so"].update(xxh3="0" * 16), "checksum"),
    ],
)
def test_refuses_a_manifest(
    damaged: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    edit_manifest(damaged, change)
    with pytest.raises(LLMIRError, match=message) as raised:
        llmir.load(damaged)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["model.so", "weights.bin", "manifest.json"])
def test_refuses_a_truncated_file(damaged: Path, name: str) -> None:
    path = damaged / name
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(LLMIRError, match=name):
        llmir.load(damaged)


def test_refuses_changed_weights_when_asked_to_look(damaged: Path) -> None:
    data = bytearray((damaged / "weights.bin").read_bytes())
    data[len(data) // 2] ^= 1
    (damaged / "weights.bin").write_bytes(data)
    llmir.load(damaged)
    with pytest.raises(LLMIRError, match="checksum"):
        Model(damaged, verify=True)


@pytest.mark.parametrize("name", ["none.llmir", "."])
def test_refuses_what_is_no_artifact(tmp_path: Path, name: str) -> None:
    with pytest.raises(LLMIRError):
        llmir.load(tmp_path / name)


def test_a_new_artifact_replaces_the_old(make_model: MakeModel, tmp_path: Path) -> None:
    output = tmp_path / "out.llmir"
    compile_model(str(make_model("gqa", "float32")), output)
    compile_model(str(make_model("odd", "float32")), output)
    assert llmir.load(output).vocab_size == 331
    assert list(tmp_path.iterdir()) == [output]


def test_a_model_in_use_may_be_replaced(
    make_artifact: MakeArtifact, tmp_path: Path
) -> None:
    ids, output = [1, 2, 3], tmp_path / "model.llmir"
    shapes = ("gqa", "mqa", "mha")
    expected = [llmir.load(make_artifact(s, "float32")).forward(ids) for s in shapes]
    loaded = []
    for shape in shapes:
        shutil.rmtree(output, ignore_errors=True)
        shutil.copytree(make_artifact(shape, "float32"), output)
        # Twice, and let go of once, so that code is in use by one of two names.
        first, second = llmir.load(output), llmir.load(output)
        del first
        loaded.append(second)
    for model, logits in zip(loaded, expected, strict=True):
        np.testing.assert_array_equal(model.forward(ids), logits)


def test_nothing_else_is_replaced(make_model: MakeModel, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(LLMIRError, match="exists and is not an LLMIR artifact"):
        compile_model(str(make_model("gqa", "float32")), tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_failure_leaves_the_old_artifact(
    make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out.llmir"
    compile_model(str(make_model("gqa", "float32")), output)

    def fail(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(artifact, "finish_artifact", fail)
    with pytest.raises(KeyboardInterrupt):
        compile_model(str(make_model("odd", "float32")), output)
    assert llmir.load(output).vocab_size == 320
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize("when", ["before", "between", "after"])
def test_an_interrupted_rename_loses_nothing(
    make_artifact: MakeArtifact,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    when: str,
) -> None:
    output = tmp_path / "out.llmir"
    shutil.copytree(make_artifact("gqa", "float32"), output)
    other = make_artifact("odd", "float32")  # not while renames are interrupted
    rename = Path.rename
    interrupted = {"before": (1, False), "between": (1, True), "after": (2, True)}[when]
    calls = 0

    def interrupt(self: Path, target: Path) -> Path:
        nonlocal calls
        calls += 1
        if (calls, False) == interrupted:
            raise KeyboardInterrupt
        rename(self, target)
        if (calls, True) == interrupted:
            raise KeyboardInterrupt
        return target

    monkeypatch.setattr(Path, "rename", interrupt)

    def replace() -> None:
        with artifact.replacing(output) as work:
            shutil.copytree(other, work, dirs_exist_ok=True)

    with pytest.raises(KeyboardInterrupt):
        replace()
    expected = 331 if when == "after" else 320
    assert llmir.load(output).vocab_size == expected
    assert list(tmp_path.iterdir()) == [output]


def test_a_deeply_nested_manifest(
    make_model: MakeModel, make_artifact: MakeArtifact, tmp_path: Path
) -> None:
    deep = "[" * 1_000_000 + "]" * 1_000_000
    other = tmp_path / "other"
    other.mkdir()
    (other / "manifest.json").write_text(deep)
    with pytest.raises(LLMIRError, match="is not an LLMIR artifact"):
        compile_model(str(make_model("gqa", "float32")), other)
    copy = tmp_path / "copy.llmir"
    shutil.copytree(make_artifact("gqa", "float32"), copy)
    text = (copy / "manifest.json").read_text().rstrip().removesuffix("}")
    (copy / "manifest.json").write_text(f'{text}, "deep": {deep}}}')
    with pytest.raises(LLMIRError, match="manifest"):
        llmir.load(copy)


@pytest.mark.parametrize("ends", [0, ["end"], None])
def test_refuses_ends_of_a_manifest(damaged: Path, ends: object) -> None:
    edit_manifest(damaged, lambda m: m["model"].update(eos_token_ids=ends))
    with pytest.raises(LLMIRError, match=r"eos_token_ids' must be a list of integers"):
        llmir.load(damaged)


def test_nothing_is_written_that_cannot_be_loaded(
    make_model: MakeModel, tmp_path: Path
) -> None:
    model = make_model("gqa", "float32")
    program, output = tmp_path / "model.mlir", tmp_path / "out.llmir"
    compile_model(str(model), program, emit="llm")
    text = program.read_text()
    assert text.count("<f32, 2, 2, 16, 16, 256>") == 1
    program.write_text(text.replace("2, 2, 16, 16, 256>", "2, 2, 16, 32768, 256>"))
    message = r"'cache\.block_size' must be .* to 16384, not 32768"
    with pytest.raises(LLMIRError, match=message) as raised:
        compile_model(str(program), output, weights=model)
    assert f"{output}/manifest.json" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == [program]


def test_the_loader_has_the_same_limits(make_artifact: MakeArtifact) -> None:
    text = (make_artifact("gqa", "float32") / "manifest.json").read_text()

    def check(section: str, name: str, value: int) -> None:
        content = json.loads(text)
        # As far as some others allow.
        content["cache"]["max_seq_len"] = 2**28
        content["model"]["num_kv_heads"] = 1
        content[section][name] = value
        if name == "num_kv_heads":
            content["model"]["num_heads"] = min(value, 2**16)
        _native.runtime().check_manifest(json.dumps(content), "M")

    limits = [("model", name, most) for name, most in manifest.SIZES.items()]
    limits.append(("cache", "block_size", manifest.MAX_BLOCK_SIZE))
    limits.append(("step", "max_batch_tokens", manifest.MAX_STEP_TOKENS))
    for section, name, most in limits:
        check(section, name, most)
        beyond = f"'{section}.{name}' must be an integer from 1 to {most}, not"
        with pytest.raises(RuntimeError, match=beyond):
            check(section, name, most + 1)


def test_code_for_a_better_machine_is_written(damaged: Path) -> None:
    edit_manifest(damaged, lambda m: m["target"]["features"].append("time-travel"))
    artifact.check_loadable(damaged)
    edit_manifest(damaged, lambda m: m["cache"].update(block_size=3))
    with pytest.raises(LLMIRError, match="power of two"):
        artifact.check_loadable(damaged)


def test_paths_are_utf8(make_model: MakeModel, tmp_path: Path) -> None:
    path = tmp_path / "x\udcff.llmir"
    with pytest.raises(LLMIRError, match=r"x\\udcff\.llmir' is not UTF-8"):
        llmir.load(path)
    with pytest.raises(LLMIRError, match=r"x\\udcff\.llmir' is not UTF-8"):
        compile_model(str(make_model("gqa", "float32")), path)


@pytest.mark.parametrize("level", X86_LEVELS)
def test_every_level_gives_the_same_logits(
    make_model: MakeModel, make_artifact: MakeArtifact, tmp_path: Path, level: str
) -> None:
    output = tmp_path / "out.llmir"
    compile_model(str(make_model("gqa", "float32")), output, target_cpu=level)
    target = json.loads((output / "manifest.json").read_text())["target"]
    assert target["cpu"] == level
    assert "fma" in target["features"]
    missing = set(target["features"]) - set(_native.runtime().cpu_features())
    if missing:
        with pytest.raises(LLMIRError, match="this CPU lacks"):
            llmir.load(output)
        return
    native = llmir.load(make_artifact("gqa", "float32"))
    ids = tiny.prompt(native.vocab_size, 40)
    logits = llmir.load(output).forward(ids)
    assert tiny.relative_error(logits, native.forward(ids)) < 1e-5


def test_other_targets(make_model: MakeModel, tmp_path: Path) -> None:
    directory = str(make_model("gqa", "float32"))
    for cpu in ("x86-64", "x86-64-v2"):
        with pytest.raises(LLMIRError, match=r"there are native, x86-64-v3, x86-64-v4"):
            compile_model(directory, tmp_path / "out.llmir", target_cpu=cpu)
    with pytest.raises(LLMIRError, match="unknown target CPU i386; there are native"):
        compile_model(directory, tmp_path / "out.llmir", target_cpu="i386")
