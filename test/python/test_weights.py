# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Writing weights: exact widening, and pieces that make the whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
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


NAMES = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}


def entry(
    tensors: dict[str, torch.Tensor],
    dtype: str,
    packed: bool,
    gated: bool = False,
    transposed: bool = False,
) -> dict[str, Any]:
    """Return what the compiler says of a weight, without its place."""
    rows = sum(tensor.shape[transposed] for tensor in tensors.values())
    width = next(iter(tensors.values())).shape[1 - transposed]
    size = rows * width * dtypes.by_mlir(dtype).bytes
    if packed:
        runtime = _native.runtime()
        packing = runtime.WeightFormat(dtype)
        size = runtime.packed_bytes(packing, rows // (1 + gated), width)
        size *= 1 + gated
    return {
        "kind": "parameter",
        "scope": "model",
        "sources": [
            {"key": key, "dtype": NAMES[tensor.dtype], "shape": list(tensor.shape)}
            for key, tensor in tensors.items()
        ],
        "dtype": dtype,
        "transposed": transposed,
        "packed": packed,
        "gated": gated,
        "bytes": size,
    }


@pytest.mark.parametrize("piece", [1, 5000, 2**25])
def test_any_size_of_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    random = torch.Generator().manual_seed(0)
    tensors = {
        "f32": torch.randn(100, 70, generator=random),
        "bf16": torch.randn(131, 45, generator=random).bfloat16(),
        "f16": torch.randn(131, 45, generator=random).half(),
        "gate": torch.randn(131, 45, generator=random).bfloat16(),
        "more": torch.randn(3, 45, generator=random).bfloat16(),
        "narrow": torch.randn(70, 45, generator=random),
    }
    safetensors.torch.save_file(tensors, tmp_path / "model.safetensors")
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint is not None

    def of(*keys: str) -> dict[str, torch.Tensor]:
        return {key: tensors[key] for key in keys}

    entries = [
        entry(of("f32"), "f32", False),
        entry(of("f32"), "f32", True),
        entry(of("bf16"), "bf16", False),
        entry(of("bf16"), "bf16", True),
        entry(of("bf16"), "f32", False),
        entry(of("bf16"), "f32", True),
        entry(of("f16"), "f16", False),
        entry(of("f16"), "f16", True),
        entry(of("f16"), "f32", False),
        entry(of("f16"), "f32", True),
        # End to end: of equal dtypes, and of three that are widened. No boundary is
        # that of a panel.
        entry(of("bf16", "more"), "bf16", False),
        entry(of("bf16", "more"), "bf16", True),
        entry(of("bf16", "f16", "narrow"), "f32", False),
        entry(of("bf16", "f16", "narrow"), "f32", True),
        # Panels by turns, of two tensors and of the halves of one.
        entry(of("bf16", "gate"), "bf16", True, gated=True),
        entry(of("bf16", "f16"), "f32", True, gated=True),
        entry(of("f32"), "f32", True, gated=True),
        # With dimensions exchanged.
        entry(of("f32"), "f32", False, transposed=True),
        entry(of("f32"), "f32", True, transposed=True),
        entry(of("bf16"), "f32", True, transposed=True),
        entry(of("bf16", "gate"), "bf16", False, transposed=True),
        entry(of("bf16", "gate"), "bf16", True, transposed=True),
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
        parts = [tensors[part["key"]] for part in described["sources"]]
        if described["dtype"] == "f32":
            parts = [part.float() for part in parts]
        if described["transposed"]:
            parts = [part.T for part in parts]
        source = torch.cat(parts).contiguous()
        if not described["packed"]:
            assert written == source.view(torch.uint8).numpy().tobytes()
            continue
        halves = source.chunk(1 + described["gated"])
        panels = [packed(half, described["dtype"]) for half in halves]
        assert written == np.stack(panels, axis=1).tobytes()


def packed(source: torch.Tensor, dtype: str) -> npt.NDArray[np.uint8]:
    """Return the panels of a weight, [panels, bytes]."""
    runtime = _native.runtime()
    packing = runtime.WeightFormat(dtype)
    whole = np.zeros(runtime.packed_bytes(packing, *source.shape), np.uint8)
    raw = source.contiguous().view(torch.uint8).numpy().reshape(-1)
    runtime.pack_panels(raw, NAMES[source.dtype], *source.shape, whole, packing)
    return whole.reshape(runtime.packed_shape(packing, *source.shape)[0], -1)


@pytest.mark.parametrize("piece", [1, 5000, 2**25])
@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
def test_a_slice_is_a_tensor_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int, stored: torch.dtype
) -> None:
    random = torch.Generator().manual_seed(0)
    whole = torch.randn(131, 46, generator=random).to(stored)
    stack = torch.randn(3, 7, 10, generator=random).to(stored)
    rows, columns = whole[33:100].clone(), whole[:, 9:31].contiguous()
    inner = stack[:, 2:5].contiguous()
    tensors = {"whole": whole, "stack": stack, "rows": rows, "columns": columns}
    safetensors.torch.save_file({**tensors, "inner": inner}, tmp_path / "m.safetensors")
    (tmp_path / "m.safetensors").rename(tmp_path / "model.safetensors")
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint is not None

    def slice_of(made: dict[str, Any], key: str, *numbers: int) -> dict[str, Any]:
        names = ("dim", "offset", "size")
        source = {**made["sources"][0], "key": key, "shape": list(tensors[key].shape)}
        source["slice"] = dict(zip(names, numbers, strict=True))
        return {**made, "sources": [source]}

    pairs = []
    for dtype in {NAMES[stored], "f32"}:
        for packed in (False, True):
            made = entry({"rows": rows}, dtype, packed)
            pairs.append((made, slice_of(made, "whole", 0, 33, 67)))
            made = entry({"columns": columns}, dtype, packed)
            pairs.append((made, slice_of(made, "whole", 1, 9, 22)))
    made = entry({"rows": rows}, NAMES[stored], False)
    made["sources"][0] |= {"key": "inner", "shape": [3, 3, 10]}
    made["bytes"] = 90 * stored.itemsize
    pairs.append((made, slice_of(made, "stack", 1, 2, 3)))
    monkeypatch.setattr(weights, "PIECE_BYTES", max(piece, 4))
    written = []
    for which in (0, 1):
        offset, entries = 0, []
        for pair in pairs:
            entries.append({**pair[which], "offset": offset})
            offset += -(-entries[-1]["bytes"] // 64) * 64
        path = tmp_path / f"weights{which}"
        weights.write_weights(path, entries, offset, b"", checkpoint, lambda _: None)
        written.append(path.read_bytes())
    assert written[0] == written[1]
    assert len(set(written[0])) > 100
