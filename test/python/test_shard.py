# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A model that `--llm-shard` divides is the model.

All shards run in one process, by their reference meaning, on the same ragged batches
as the whole: each with its own weights and its own cache.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import tiny
from conftest import MakeModel
from llmir import _native
from llmir.importer import import_model
from llmir.safetensors import open_checkpoint
from llmir.weights import write_weights
from reference import Array, Cache, Program

BLOCK = 4


class Step:
    """A step that is run by its reference meaning, with an engine's bookkeeping.

    passes: what is made of the imported program before.
    """

    def __init__(self, directory: Path, scratch: Path, passes: str | None) -> None:
        checkpoint = open_checkpoint(directory)
        assert checkpoint is not None
        module = _native.compiler().Module.parse(
            import_model(directory, checkpoint, block_size=BLOCK)
        )
        if passes is not None:
            module.run(passes)
        self.text = str(module)
        self.program = Program(self.text, passes="llm-assign-parameters")
        scratch.mkdir()
        write_weights(
            scratch / "weights",
            self.program.weights,
            self.program.weights_bytes,
            b"",
            checkpoint,
            lambda _: None,
        )
        self.weights = np.fromfile(scratch / "weights", np.int8)
        match = re.search(r"func\.func @step\((.*?)\) ->", self.text, re.S)
        assert match is not None
        self.caches = [
            Cache.empty(dtype, *map(int, sizes.split(", ")), blocks=40, sequences=0)
            for dtype, sizes in re.findall(
                r"!llm\.paged_kv_cache<(\w+), ([\d, ]+)>", match[1]
            )
        ]
        # All caches have blocks of one size, and are as long.
        (columns,) = {cache.table.shape[1] for cache in self.caches}
        self.columns = columns
        self.free = list(np.random.default_rng(0).permutation(40))
        self.sequences: list[tuple[list[int], int]] = []

    def step(self, items: list[tuple[int, list[int]]]) -> Array:
        """Append (sequence, ids) and return the logits of all rows, as engines do."""
        ids, positions, slots, lens, starts = [], [], [], [], [0]
        table = np.full((len(items), self.columns), -1, np.int32)
        for row, (sequence, new) in enumerate(items):
            while len(self.sequences) <= sequence:
                self.sequences.append(([], 0))
            blocks, length = self.sequences[sequence]
            for position in range(length, length + len(new)):
                if position // BLOCK == len(blocks):
                    blocks.append(int(self.free.pop()))
                slots.append(blocks[position // BLOCK] * BLOCK + position % BLOCK)
                positions.append(position)
            self.sequences[sequence] = (blocks, length + len(new))
            table[row, : len(blocks)] = blocks
            ids += new
            lens.append(length + len(new))
            starts.append(len(ids))
        batch = [
            np.array(x, np.int32)
            for x in (ids, positions, slots, table, lens, starts, range(len(ids)))
        ]
        tensors = [tensor for cache in self.caches for tensor in cache.tensors]
        logits, *rest = self.program.call("step", *batch, *tensors, self.weights)
        each = len(rest) // len(self.caches)
        self.caches = [Cache.of(rest[i : i + each]) for i in range(0, len(rest), each)]
        return logits


def assert_same(directory: Path, scratch: Path, passes: str) -> Step:
    """Compare a divided model with the whole one, over three mixed steps."""
    whole = Step(directory, scratch / "whole", None)
    shards = Step(directory, scratch / "shards", passes)
    ids = tiny.prompt(300, 60)
    for items in [
        [(0, ids[:7]), (1, ids[7:30])],
        [(1, ids[30:35]), (0, ids[35:36]), (2, ids[36:40])],
        [(2, ids[40:41]), (0, ids[41:42]), (1, ids[42:43])],
    ]:
        expected, actual = whole.step(items), shards.step(items)
        assert tiny.relative_error(actual, expected) < 1e-5
        # It is no constant that they agree on.
        assert np.std(expected) > 0.1
    return shards


def count(text: str, op: str) -> int:
    """Return how often an op stands in a program."""
    return len(re.findall(rf"= llm\.{op} ", text))


# Grouped queries, biases, norms of queries and keys (of a head, and of all heads),
# several products in one, windows, no rotation, a tied head, one KV head.
@pytest.mark.parametrize(
    ("shape", "tensor"),
    [
        ("gqa", 2),
        ("gqa", 4),
        ("mha", 4),
        ("mqa", 2),
        ("tied", 2),
        ("biases", 2),
        ("biases", 4),
        ("qwen3_bias", 2),
        ("smollm3_window", 2),
        ("phi3", 2),
        ("phi3", 4),
        ("olmo2", 2),
        ("mistral", 4),
    ],
)
def test_tensor(make_model: MakeModel, tmp_path: Path, shape: str, tensor: int) -> None:
    directory = make_model(shape, "float32")
    step = assert_same(
        directory, tmp_path, f"llm-shard{{tensor={tensor}}},llm-join-shards"
    )
    assert len(step.caches) == tensor
    # A layer has two sums, a step one more, and one gather; norms of all heads take
    # two gathers a layer.
    layers = len(re.findall("func private", step.text))
    assert count(step.text, "all_reduce") == 2 * layers + 1
    gathers = 2 * layers if shape == "olmo2" else 0
    assert count(step.text, "all_gather") == gathers + 1
    assert count(step.text, "reduce_scatter") == 0


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ("gqa", "pipeline=2"),
        # Stages of one and of two layers.
        ("mha", "pipeline=2"),
        ("mha", "pipeline=3"),
        ("smollm3_window", "pipeline=2"),
        ("gqa", "tensor=2 pipeline=2"),
        ("olmo3", "tensor=2 pipeline=4"),
    ],
)
def test_pipeline(
    make_model: MakeModel, tmp_path: Path, shape: str, options: str
) -> None:
    directory = make_model(shape, "float32")
    step = assert_same(directory, tmp_path, f"llm-shard{{{options}}},llm-join-shards")
    sizes = dict(option.split("=") for option in options.split())
    stages = int(sizes["pipeline"])
    assert len(step.caches) == stages * int(sizes.get("tensor", 1))
    assert len(re.findall(r"func\.func @stage\d", step.text)) == stages
    # Only hidden states go from one stage to the next.
    hidden = tiny.SHAPES[shape].fields.get("hidden_size", tiny.COMMON["hidden_size"])
    for signature in re.findall(r"func\.func @stage\d+\(.*\) -> \((.*)\) {", step.text):
        tensors = [part for part in signature.split(", ") if part.startswith("tensor")]
        assert tensors in ([f"tensor<?x{hidden}xf32>"], ["tensor<?x320xf32>"])


@pytest.mark.parametrize("tensor", [2, 4])
def test_bfloat16(make_model: MakeModel, tmp_path: Path, tensor: int) -> None:
    """Where only sums of another order now and then round to the other neighbour."""
    directory = make_model("gqa", "bfloat16")
    passes = f"llm-shard{{tensor={tensor}}},llm-join-shards"
    whole = Step(directory, tmp_path / "whole", None)
    shards = Step(directory, tmp_path / "shards", passes)
    items = [(0, tiny.prompt(300, 20))]
    assert tiny.relative_error(shards.step(items), whole.step(items)) < 5e-3


def test_twice_is_once(make_model: MakeModel) -> None:
    text = import_model(make_model("gqa", "float32"), None)
    module = _native.compiler().Module.parse(text)
    module.run("llm-shard{tensor=2 pipeline=2}")
    once = str(module)
    module.run("llm-shard{tensor=2 pipeline=2}")
    assert str(module) == once
    with pytest.raises(RuntimeError, match="is divided into shards already"):
        module.run("llm-shard{tensor=4}")


def test_a_shard_optimizes_as_a_model(make_model: MakeModel) -> None:
    """What passes make of a shard is what they make of a model half as wide."""
    compiler = _native.compiler()
    text = import_model(make_model("gqa", "float32"), None)
    ops = []
    for passes in ("llm-shard{tensor=2},llm-select-shard{shard=1}", "cse"):
        module = compiler.Module.parse(text)
        module.run(f"{passes},llm-optimize")
        kinds = [entry["op"] for entry in module.executed()]
        ops.append([op for op in kinds if op not in ("from_local", "to_local")])
        facts = json.loads(module.model)
        assert facts["num_heads"] == (2 if "shard" in passes else 4)
    shard, whole = ops
    collectives = [op for op in shard if op in ("all_reduce", "all_gather")]
    assert collectives == ["all_reduce"] * 5 + ["all_gather"]
    assert [op for op in shard if op not in collectives] == whole
