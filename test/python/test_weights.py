# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Writing weights: exact widening, and pieces that make the whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from llmir import _native, dtypes, weights
from llmir.safetensors import open_checkpoint


def test_widening_keeps_every_bfloat16() -> None:
    every = np.arange(2**16, dtype=np.uint16)
    wide = weights.widen(every.view(np.uint8), dtypes.BFLOAT16, dtypes.FLOAT32)
    expected = torch.from_numpy(every.view(np.int16)).view(torch.bfloat16).float()
    assert wide.tobytes() == expected.numpy().tobytes()


def test_widening_keeps_every_float16() -> None:
    every = np.arange(2**16, dtype=np.uint16)
    wide = weights.widen(every.view(np.uint8), dtypes.FLOAT16, dtypes.FLOAT32)
    expected = torch.from_numpy(every.view(np.int16)).view(torch.float16).float()
    # Which NaN a NaN becomes is open.
    np.testing.assert_array_equal(wide.view("<f4"), expected.numpy())


def test_narrowing_is_refused() -> None:
    with pytest.raises(ValueError, match="bfloat16 does not widen to float16"):
        weights.widen(np.zeros(4, np.uint8), dtypes.BFLOAT16, dtypes.FLOAT16)


def entry(key: str, tensor: torch.Tensor, dtype: str, packed: bool) -> dict[str, Any]:
    """Return what the compiler says of a weight, without its place."""
    names = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}
    source = names[tensor.dtype]
    size = tensor.numel() * dtypes.by_mlir(dtype).bytes
    if packed:
        size = _native.runtime().packed_bytes(dtype, *tensor.shape)
    return {
        "kind": "parameter",
        "scope": "model",
        "key": key,
        "source_dtype": source,
        "source_shape": list(tensor.shape),
        "dtype": dtype,
        "packed": packed,
        "bytes": size,
    }


@pytest.mark.parametrize("piece", [1, 5000, 2**25])
def test_any_size_of_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    runtime = _native.runtime()
    random = torch.Generator().manual_seed(0)
    tensors = {
        "f32": torch.randn(100, 70, generator=random),
        "bf16": torch.randn(131, 45, generator=random).bfloat16(),
        "f16": torch.randn(131, 45, generator=random).half(),
    }
    safetensors.torch.save_file(tensors, tmp_path / "model.safetensors")
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint is not None
    entries = [
        entry("f32", tensors["f32"], "f32", False),
        entry("f32", tensors["f32"], "f32", True),
        entry("bf16", tensors["bf16"], "bf16", False),
        entry("bf16", tensors["bf16"], "bf16", True),
        entry("bf16", tensors["bf16"], "f32", False),
        entry("bf16", tensors["bf16"], "f32", True),
        entry("f16", tensors["f16"], "f16", False),
        entry("f16", tensors["f16"], "f16", True),
        entry("f16", tensors["f16"], "f32", False),
        entry("f16", tensors["f16"], "f32", True),
        {"kind": "constant", "name": "c", "begin": 2, "bytes": 3},
    ]
    size = 0
    for described in entries:
        described["offset"] = size
        size += -(-described["bytes"] // 64) * 64

    # At least one element or panel at a time, however small the piece.
    monkeypatch.setattr(weights, "PIECE_BYTES", max(piece, 4))
    done: list[int] = []
    weights.write_weights(
        tmp_path / "weights.bin", entries, size, b"..abc..", checkpoint, done.append
    )
    data = (tmp_path / "weights.bin").read_bytes()
    assert len(data) == size
    assert sum(done) == sum(described["bytes"] for described in entries)
    for described in entries:
        written = data[described["offset"] :][: described["bytes"]]
        if described["kind"] == "constant":
            assert written == b"abc"
            continue
        source = tensors[described["key"]]
        if described["packed"]:
            whole = np.zeros(described["bytes"], np.uint8)
            raw = source.view(torch.uint8).numpy().reshape(-1)
            runtime.pack_panels(
                raw, described["source_dtype"], *source.shape, whole, described["dtype"]
            )
            assert written == whole.tobytes()
        elif described["dtype"] == "f32":
            assert written == source.float().numpy().tobytes()
        else:
            assert written == source.view(torch.uint16).numpy().tobytes()
