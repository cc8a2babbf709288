# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Steps that `--llm-introduce-kv-cache` makes of programs over whole sequences."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import llmir
import tiny
from conftest import MakeArtifact, MakeModel
from llmir import _native
from llmir.compile import compile_model
from raised import raised_llama

FORMS = {
    "whole": {},
    "outlined": {"outlined": True},
    "past": {"past": True},
    "outlined past": {"past": True, "outlined": True},
}


def introduce(text: str, options: str = "") -> str:
    """Return what the pass makes of a program."""
    module = _native.compiler().Module.parse(text)
    module.run(f"llm-introduce-kv-cache{{{options}}}")
    return str(module)


class TestGeneration:
    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("shape", ["gqa", "mqa", "tied"])
    def test_is_that_of_the_importer(
        self,
        make_model: MakeModel,
        make_artifact: MakeArtifact,
        tmp_path: Path,
        shape: str,
        form: str,
    ) -> None:
        directory = make_model(shape, "float32")
        config = json.loads((directory / "config.json").read_text())
        program = tmp_path / "step.mlir"
        program.write_text(introduce(raised_llama(config, **FORMS[form])))
        compile_model(str(program), tmp_path / "a.llmir", weights=directory)
        ours = llmir.load(tmp_path / "a.llmir", threads=2)
        native = llmir.load(make_artifact(shape, "float32"), threads=2)
        for length in (1, 2, 15, 16, 17, 45, 100):
            prompt = tiny.prompt(config["vocab_size"], length)
            # The same ops on the same rows: the same bits.
            assert np.array_equal(ours.forward(prompt), native.forward(prompt))
            expected = native.generate(prompt, max_new_tokens=24)
            assert ours.generate(prompt, max_new_tokens=24) == expected
        # Several sequences in one step, chunks and single tokens mixed.
        ids = tiny.prompt(config["vocab_size"], 60)
        handles = [[m.engine.new_sequence() for _ in range(3)] for m in (ours, native)]
        for items in [
            [(0, ids[:7], True), (1, ids[7:30], False)],
            [(1, ids[30:35], True), (0, ids[35:36], True), (2, ids[36:40], True)],
            [(2, ids[40:41], False), (0, ids[41:42], False), (1, ids[42:43], False)],
        ]:
            a, b = (
                m.engine.step([(own[i], *rest) for i, *rest in items])
                for m, own in zip((ours, native), handles, strict=True)
            )
            assert np.array_equal(a, b)
