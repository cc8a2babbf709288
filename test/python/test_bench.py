# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The commands `bench` and `explain`: what is counted, and what is printed.

How fast a tiny model is says nothing, so the counts are compared with those that
follow from the model's files, and the times only with each other.
"""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import safetensors

import tiny
from conftest import MakeArtifact, MakeModel, RunProgram
from llmir import _native, bench, costs, explain
from llmir.errors import LLMIRError
from llmir.importer import import_model
from llmir.model import Model

DTYPE_BYTES = {"float32": 4, "bfloat16": 2}


def elements_of(model: Path) -> tuple[int, int]:
    """Return the elements of a step's matrices and of its vectors, from the file."""
    matrices, vectors = 0, 0
    with safetensors.safe_open(model / "model.safetensors", "np") as file:
        for name in file.keys():  # noqa: SIM118, it is no dictionary
            shape = file.get_slice(name).get_shape()
            if len(shape) == 1:
                vectors += shape[0]
            elif "embed_tokens" not in name:
                matrices += math.prod(shape)
    return matrices, vectors


def attended(window: int, depth: int, new: int) -> int:
    """Return how many keys all new tokens see together, one by one."""
    seen = 0
    for position in range(depth, depth + new):
        seen += min(position + 1, window) if window else position + 1
    return seen


@pytest.mark.parametrize("dtype", DTYPE_BYTES)
@pytest.mark.parametrize("shape", ["gqa", "mistral"])
def test_costs_are_those_of_the_files(
    make_model: MakeModel, make_artifact: MakeArtifact, shape: str, dtype: str
) -> None:
    model, artifact = make_model(shape, dtype), make_artifact(shape, dtype)
    config = json.loads((model / "config.json").read_text())
    manifest = Model(artifact, 1).manifest
    ops = costs.executed_ops(artifact)
    elements, vectors = elements_of(model)
    if config["tie_word_embeddings"]:
        elements += config["vocab_size"] * config["hidden_size"]
    facts, cache = manifest["model"], manifest["cache"]
    window = config.get("sliding_window") or 0
    token = 2 * cache["layers"] * cache["kv_heads"] * cache["head_dim"]
    query = facts["num_layers"] * facts["num_heads"] * facts["head_dim"]

    depth, steps = 30, 5
    row = bench.Row("tg", 1, steps, depth)
    read, operations = bench.work_of(row, ops, 512)
    keys = sum(attended(window, depth + step, 1) for step in range(steps))
    width = DTYPE_BYTES[dtype]
    assert read == width * (steps * (elements + vectors) + token * keys)
    assert operations == 2 * steps * elements + 4 * query * keys

    # A prompt in one step: logits of the last token only, weights read once.
    head = config["vocab_size"] * config["hidden_size"]
    read, operations = bench.work_of(bench.Row("pp", 40, 1), ops, 512)
    assert read == width * (elements + vectors + token * 40)
    assert operations == (
        2 * (40 * (elements - head) + head) + 4 * query * attended(window, 0, 40)
    )

    # Two sequences share the weights, and each has its own keys.
    one = bench.work_of(bench.Row("tg", 1, 1, depth), ops, 512)[0]
    two = bench.work_of(bench.Row("tg", 1, 1, depth, 2), ops, 512)[0]
    assert two - one == width * token * attended(window, depth, 1)


def test_rows() -> None:
    rows = bench.rows_of(512, 128, 2048, [1, 4])
    assert [row.name for row in rows] == [
        "pp512",
        "tg128",
        "tg128 x 4",
        "tg128 @ d2048",
    ]
    assert [row.tokens for row in rows] == [512, 128, 512, 128]
    assert bench.rows_of(0, 0, 2048, [1]) == []


def test_bench(
    run_program: RunProgram, make_artifact: MakeArtifact, tmp_path: Path
) -> None:
    artifact, path = make_artifact("gqa", "bfloat16"), tmp_path / "out.json"
    rows = ["--prompt-tokens=20", "--gen-tokens=4", "--depth=9", "--batch-sizes=1,3"]
    options = [*rows, "--threads=1", "--repetitions=3", "--json", path]
    result = run_program("-m", "llmir.bench", artifact, *options)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    names = ["pp20", "tg4", "tg4 x 3", "tg4 @ d9"]
    assert re.findall(r"^\| (\S.*?) \| \d", result.stdout, re.MULTILINE) == names

    found = json.loads(path.read_text())
    assert found["threads"] == 1
    assert [row["row"] for row in found["rows"]] == names
    for row, tokens in zip(found["rows"], (20, 4, 12, 4), strict=True):
        assert len(row["seconds"]) == 3
        middle = sorted(row["seconds"])[1]
        assert row["tokens_per_second"] == pytest.approx(tokens / middle)
        assert row["gigabytes_per_second"] > 0
        assert row["gigaoperations_per_second"] > 0
    assert list(tmp_path.iterdir()) == [path]


def test_explain(run_program: RunProgram, make_artifact: MakeArtifact) -> None:
    artifact = make_artifact("gqa", "bfloat16")
    options = ["--depth=30", "--tokens=3", "--batch-size=2", "--threads=2"]
    result = run_program("-m", "llmir", "explain", artifact, *options)
    assert result.returncode == 0, result.stderr
    assert re.match(r"2 threads; memory [\d.]+ GB/s; ", result.stdout)
    lines = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in result.stdout.splitlines()
        if line.startswith("| ") and not line.startswith("| op ")
    ]
    layers = Model(artifact, 1).manifest["model"]["num_layers"]
    counts = {line[0]: int(line[1]) for line in lines}
    assert counts["paged_attention"] == layers
    down = next(name for name in counts if "down_proj" in name)
    assert counts[down] == layers
    assert counts["step"] == 1
    assert lines[-1][0] == "step"
    for column in (5, 6):  # predicted and measured
        parts = [float(line[column]) for line in lines[:-1]]
        whole = float(lines[-1][column])
        assert sum(parts) == pytest.approx(whole, abs=0.001 * len(parts))
        assert whole > 0
    # This model's weights fit into any cache, and no line claims more than is possible.
    assert "the last-level cache" in result.stdout
    for line in lines:
        assert line[8] in ("", "from cache") or int(line[8].rstrip("%")) <= 100


def shown_ops(picture: ET.Element) -> list[str]:
    """Return the titles of the boxes of a picture, in their order."""
    titles = picture.iter("{http://www.w3.org/2000/svg}title")
    return [(title.text or "").split(":")[0] for title in titles]


def test_a_picture(
    run_program: RunProgram,
    make_model: MakeModel,
    make_artifact: MakeArtifact,
    tmp_path: Path,
) -> None:
    model, artifact = make_model("gqa", "bfloat16"), make_artifact("gqa", "bfloat16")
    path = tmp_path / "layer.svg"
    options = ["--threads=1", "--picture", path, "--before", model]
    result = run_program("-m", "llmir", "explain", artifact, *options)
    assert result.returncode == 0, result.stderr
    picture = ET.parse(path).getroot()
    # Seven products before, four after, and no norm of its own.
    ops = shown_ops(picture)
    products = [op for op in ops if op.startswith("linear")]
    assert len(products) == 7 + 4
    assert products[7:] == [
        "linear q_proj+k_proj+v_proj",
        "linear o_proj",
        "linear gate_proj+up_proj",
        "linear down_proj",
    ]
    assert ops.count("rms_norm") == 2
    assert ops.count("rope_append_kv") == 1
    assert ops.count("arith.addf") == 2
    assert list(tmp_path.iterdir()) == [path]
    # Every line goes from one box to another, downwards.
    paths = list(picture.iter("{http://www.w3.org/2000/svg}path"))
    assert len(paths) > len(ops) - 2
    for line in paths:
        numbers = [float(x) for x in re.findall(r"-?[\d.]+", line.attrib["d"])]
        assert numbers[1] < numbers[-1]


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--before=x.mlir"], 2, "--before is drawn beside the layer that --picture"),
        (["--picture=no/layer.svg"], 1, "cannot be written: no is no directory"),
        (["--picture=."], 1, ". cannot be written: it is a directory"),
        (["--picture=l.svg", "--before=no.mlir"], 1, "no.mlir"),
    ],
)
def test_a_picture_that_cannot_be(
    run_program: RunProgram,
    make_artifact: MakeArtifact,
    tmp_path: Path,
    options: list[str],
    status: int,
    message: str,
) -> None:
    artifact = make_artifact("gqa", "bfloat16")
    result = run_program(
        "-m", "llmir", "explain", artifact, "--threads=1", *options, cwd=tmp_path
    )
    assert result.returncode == status
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_layer_of_a_program(make_model: MakeModel) -> None:
    module = _native.compiler().Module.parse(
        import_model(make_model("gqa", "bfloat16"), None)
    )
    nodes = costs.layer_of(module, Path("x.mlir"), costs.Step(3, 10))
    names = [node.name for node in nodes]
    # Slices and reshapes are no ops of their own: attention reads the queries that
    # were rotated, and the output's product what attention made.
    attention = names.index("paged_attention")
    read = {names[source] for source in nodes[attention].inputs}
    assert read == {"rope", "append_kv"}
    assert nodes[attention + 1].inputs == (attention,)
    hidden, inner = tiny.COMMON["hidden_size"], tiny.COMMON["intermediate_size"]
    down = next(node for node in nodes if "down_proj" in "".join(node.keys))
    assert down.cost.operations == 2 * 3 * hidden * inner
    assert down.cost.stored == 2 * hidden * inner
    # Its input is bf16 and its result f32.
    assert down.cost.moved == 3 * (2 * inner + 4 * hidden)
    assert down.cost.multiplier == "bf16"


def test_explain_tells_a_changed_program(make_artifact: MakeArtifact) -> None:
    artifact = make_artifact("gqa", "bfloat16")
    ops = costs.executed_ops(artifact)
    limits = explain.Limits(1e9, {"f32": 1e9, "bf16": 1e9, "int8": 0.0})
    calls: list[tuple[str, float]] = [
        (explain.CALLS[op.name], 1.0) for op in ops if op.name in explain.CALLS
    ]
    total = len(calls) + 2.0
    lines = explain.explain(ops, costs.Step(1, 1), limits, calls, total)
    assert lines[-1].name == explain.GENERATED
    assert lines[-1].seconds == 2.0
    assert sum(line.seconds for line in lines) == total
    with pytest.raises(LLMIRError, match="does not run the products"):
        explain.explain(ops, costs.Step(1, 1), limits, calls[1:], total)


def test_a_traced_step_computes_the_same(make_artifact: MakeArtifact) -> None:
    model: Any = Model(make_artifact("gqa", "float32"), 2)
    engine = model.engine
    one, two = engine.new_sequence(), engine.new_sequence()
    plain = engine.step([(one, [1, 2, 3], False)])
    calls = engine.traced_step([(two, [1, 2, 3], False)])
    assert {kind for kind, _ in calls} <= {
        "rows",
        "linear",
        "rope_append_kv",
        "paged_attention",
    }
    assert all(seconds > 0 for _, seconds in calls)
    assert two.length == 3
    # What it left in the cache is what a plain step leaves.
    after = engine.step([(one, [4], False), (two, [4], False)])
    assert (after[0] == after[1]).all()
    assert plain.shape == (1, model.vocab_size)


def test_limits() -> None:
    limits = explain.measure_limits(1)
    assert limits.bandwidth > 1e8
    assert limits.peaks["f32"] >= 0
