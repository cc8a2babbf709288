# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The engine against callers that change what they gave it, or mix engines up."""

from __future__ import annotations

import numpy as np
import pytest

import llmir
from conftest import MakeArtifact


def test_a_step_keeps_its_sequences(make_artifact: MakeArtifact) -> None:
    model = llmir.load(make_artifact("gqa", "float32"), threads=1)
    engine = model.engine
    items: list[tuple[object, object, bool]] = []

    class Tokens:
        """Token ids that take the other items away while they are read."""

        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> int:
            items.clear()
            if index:
                raise IndexError
            return 7

    free = engine.num_free_blocks
    items.append((engine.new_sequence(), [3], False))
    items.append((engine.new_sequence(), Tokens(), False))
    logits = engine.step(items)
    np.testing.assert_array_equal(logits[0], model.forward([3])[0])
    np.testing.assert_array_equal(logits[1], model.forward([7])[0])
    assert engine.num_free_blocks == free


def test_sequences_of_another_engine_are_refused(make_artifact: MakeArtifact) -> None:
    path = make_artifact("gqa", "float32")
    one, other = (llmir.load(path, threads=1).engine for _ in range(2))
    sequence = other.new_sequence()
    with pytest.raises(ValueError, match="another engine"):
        one.step([(sequence, [1], False)])
    with pytest.raises(ValueError, match="another engine"):
        one.truncate(sequence, 0)
    sequence.close()
    with pytest.raises(ValueError, match="closed"):
        other.step([(sequence, [1], False)])
