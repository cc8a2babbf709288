# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The compiled step against its reference meaning, on the same ragged batches.

Kernels, fusions, packing, generated loops and the runtime's bookkeeping on one side;
on the other the same imported program, op by op.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import llmir
import tiny
from conftest import MakeArtifact, MakeModel
from llmir import _native
from llmir.importer import import_model
from llmir.safetensors import open_checkpoint
from llmir.weights import write_weights
from reference import Array, Cache, Program

BLOCK = 4


class StepReference:
    """A model's step by its reference meaning, with the engine's bookkeeping.

    kv_cache: what `--llm-quantize-kv-cache` makes of the cache; None for nothing.
    """

    def __init__(
        self, directory: Path, scratch: Path, kv_cache: str | None = None
    ) -> None:
        checkpoint = open_checkpoint(directory)
        assert checkpoint is not None
        text = import_model(directory, checkpoint, block_size=BLOCK)
        if kv_cache is not None:
            module = _native.compiler().Module.parse(text)
            module.run(f"llm-quantize-kv-cache{{dtype={kv_cache}}}")
            text = str(module)
        facts = json.loads(_native.compiler().Module.parse(text).cache)
        self.program = Program(text, passes="llm-assign-parameters")
        write_weights(
            scratch / "weights",
            self.program.weights,
            self.program.weights_bytes,
            b"",
            checkpoint,
            lambda _: None,
        )
        self.weights = np.fromfile(scratch / "weights", np.int8)
        self.dtype = facts.pop("dtype")
        self.columns = -(-facts["max_seq_len"] // facts["block_size"])
        self.cache = Cache.empty(self.dtype, **facts, blocks=40, sequences=0)
        self.free = list(np.random.default_rng(0).permutation(40))
        self.sequences: list[tuple[list[int], int]] = []

    def step(self, items: list[tuple[int, list[int], bool]]) -> Array:
        """Append (sequence, ids, all_logits) and return logits, as engines do."""
        ids, positions, slots, lens, starts, wanted = [], [], [], [], [0], []
        table = np.full((len(items), self.columns), -1, np.int32)
        for row, (sequence, new, every) in enumerate(items):
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
            wanted += range(starts[-2] if every else starts[-1] - 1, starts[-1])
        batch = [
            np.array(x, np.int32)
            for x in (ids, positions, slots, table, lens, starts, wanted)
        ]
        logits, *tensors = self.program.call(
            "step", *batch, *self.cache.tensors, self.weights
        )
        self.cache = Cache.of(tensors)
        return logits


class TestStep:
    # In bfloat16 sums of another order now and then round to the other neighbour.
    @pytest.mark.capability("Compiled steps", "{shape}", "{dtype}")
    @pytest.mark.parametrize(
        ("shape", "dtype", "tolerance"),
        [
            ("gqa", "float32", 1e-5),
            ("odd", "float32", 1e-5),
            ("mqa", "float32", 1e-5),
            ("llama3", "float32", 1e-5),
            ("odd", "bfloat16", 5e-3),
            ("llama3", "bfloat16", 5e-3),
        ],
    )
    def test_compiled_is_reference(
        self,
        make_model: MakeModel,
        make_artifact: MakeArtifact,
        tmp_path: Path,
        shape: str,
        dtype: str,
        tolerance: float,
    ) -> None:
        reference = StepReference(make_model(shape, dtype), tmp_path)
        engine = llmir.load(make_artifact(shape, dtype), threads=2).engine
        handles = [engine.new_sequence() for _ in range(3)]
        ids = tiny.prompt(300, 60)
        # Prefill, chunks and single tokens mixed; the last step is all decode.
        for items in [
            [(0, ids[:7], True), (1, ids[7:30], False)],
            [(1, ids[30:35], True), (0, ids[35:36], True), (2, ids[36:40], True)],
            [(2, ids[40:41], False), (0, ids[41:42], False), (1, ids[42:43], False)],
        ]:
            expected = reference.step(items)
            actual = engine.step([(handles[i], *rest) for i, *rest in items])
            assert actual.shape == expected.shape
            assert tiny.relative_error(actual, expected) < tolerance
            # It is no constant that they agree on.
            assert np.std(expected) > 0.1

    def test_only_parameters_stay(self, make_model: MakeModel) -> None:
        text = import_model(make_model("tied", "bfloat16"), None)
        module = _native.compiler().Module.parse(text)
        module.run("llm-to-linalg")
        ops = set(re.findall(r"\bllm\.\w+(?= )", str(module))) - {"llm.model"}
        assert ops == {"llm.parameter"}
        assert "!llm" not in str(module)
