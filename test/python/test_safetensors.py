# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The reader of safetensors files: what it gives, and all that it refuses."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from llmir.errors import LLMIRError
from llmir.safetensors import File, open_checkpoint

TENSORS = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.array([], dtype=np.float32),
    "c": np.array(7, dtype=np.uint8),
}


def write(
    path: Path, header: Any, data: bytes = b"", length: int | None = None
) -> Path:
    """Write a file of the format with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    size = len(text) if length is None else length
    path.write_bytes(size.to_bytes(8, "little") + text + data)
    return path


def entry(begin: int, end: int, dtype: str = "U8", shape: Any = None) -> dict[str, Any]:
    """Return the header's entry of a tensor, by default one of bytes."""
    sizes = [end - begin] if shape is None else shape
    return {"dtype": dtype, "shape": sizes, "data_offsets": [begin, end]}


def test_reads_what_the_library_writes(tmp_path: Path) -> None:
    safetensors.numpy.save_file(
        TENSORS, tmp_path / "model.safetensors", metadata={"format": "pt"}
    )
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint is not None
    assert set(checkpoint) == set(TENSORS)
    for key, expected in TENSORS.items():
        tensor = checkpoint[key]
        assert tensor.shape == expected.shape
        assert tensor.data.tobytes() == expected.tobytes()
        tensor.release()
        assert tensor.data.tobytes() == expected.tobytes()
    assert checkpoint["a"].dtype == "F32"
    with pytest.raises(LLMIRError, match="no tensor missing"):
        checkpoint["missing"]


def test_equal_tensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmir.safetensors.PIECE_BYTES", 4096)
    one = np.arange(2**20, dtype=np.uint8)
    last = one.copy()
    last[-1] ^= 1
    tensors = {
        "one": one,
        "equal": one.copy(),
        "last": last,
        "shape": one.reshape(2, -1),
        "dtype": one.view(np.int8),
    }
    safetensors.numpy.save_file(tensors, tmp_path / "model.safetensors")
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint is not None
    tracemalloc.start()
    found = {key: checkpoint["one"].same(checkpoint[key]) for key in tensors}
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [key for key in tensors if found[key]] == ["one", "equal"]
    # Nothing as large as a tensor was made.
    assert most < one.nbytes / 4


def test_reads_shards(tmp_path: Path) -> None:
    safetensors.numpy.save_file({"a": TENSORS["a"]}, tmp_path / "one.safetensors")
    safetensors.numpy.save_file({"c": TENSORS["c"]}, tmp_path / "two.safetensors")
    index = {"weight_map": {"a": "one.safetensors", "c": "two.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint is not None
    assert checkpoint["a"].data.tobytes() == TENSORS["a"].tobytes()
    assert checkpoint["c"].data.tobytes() == TENSORS["c"].tobytes()


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        ({"a": "../one.safetensors"}, "outside the directory"),
        ({"a": "/one.safetensors"}, "outside the directory"),
        ({"a": ""}, "outside the directory"),
        ({"a": 3}, "in 3, which is not the name of a file"),
        ({"a": "one\x07.safetensors"}, r"in 'one\\x07.safetensors', which is not"),
        ({"a": "x" * 256}, "which is not the name of a file"),
        ({"x": "one.safetensors"}, "does not have it"),
        ({"a": "none.safetensors"}, "cannot read .*none.safetensors: No such file"),
        ([], "has no weight_map"),
    ],
)
def test_refuses_an_index(tmp_path: Path, weight_map: Any, message: str) -> None:
    safetensors.numpy.save_file({"a": TENSORS["a"]}, tmp_path / "one.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(LLMIRError, match=message):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("header", "data", "message"),
    [
        (b"nonsense", b"", "not JSON"),
        (b"\xff\xfe", b"", "not JSON"),
        (b"[" * 100_000, b"", "nested too deep"),
        ([], b"", "not a JSON object"),
        (b'{"a": {}, "a": {}}', b"", "a occurs twice"),
        ({"a": 3}, b"", "not an object"),
        ({"a": entry(0, 4, "F31")}, b"1234", "unknown dtype 'F31'"),
        ({"a": entry(0, 4, "U8", [-4])}, b"1234", "shape"),
        ({"a": entry(0, 4, "U8", [4.0])}, b"1234", "shape"),
        ({"a": entry(0, 4, "U8", [True])}, b"1234", "shape"),
        ({"a": entry(0, 4, "U8", 4)}, b"1234", "shape"),
        ({"a": entry(4, 0, "U8", [4])}, b"1234", "offsets"),
        ({"a": {"dtype": "U8", "shape": [4]}}, b"1234", "offsets"),
        ({"a": entry(0, 4, "F32", [2])}, b"1234", "needs 8 bytes and has 4"),
        (
            {"a": entry(0, 4, "F32", [2**62, 2**62])},
            b"1234",
            "needs more than any file and has 4",
        ),
        ({"a": entry(0, 9)}, b"1234", "was the download cut short"),
        ({"a": entry(0, 4), "b": entry(2, 6)}, b"123456", "tensor b begins at byte 2"),
        ({"a": entry(0, 4), "b": entry(5, 6)}, b"123456", "tensor b begins at byte 5"),
        ({"a": entry(0, 4)}, b"12345", "its tensors end"),
    ],
)
def test_refuses_a_header(
    tmp_path: Path, header: Any, data: bytes, message: str
) -> None:
    path = write(tmp_path / "model.safetensors", header, data)
    with pytest.raises(LLMIRError, match=message) as raised:
        File(path)
    assert str(path) in str(raised.value)


def test_refuses_a_header_length_beyond_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "model.safetensors", {}, length=2**63)
    with pytest.raises(LLMIRError, match="header claims 9223372036854775808 bytes"):
        File(path)


@pytest.mark.parametrize("size", [0, 7])
def test_refuses_a_file_without_a_header(tmp_path: Path, size: int) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(bytes(size))
    with pytest.raises(LLMIRError, match=f"it has {size} bytes"):
        File(path)


def test_refuses_every_truncation(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file(TENSORS, path)
    whole = path.read_bytes()
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        with pytest.raises(LLMIRError, match="not a valid safetensors file"):
            File(path)


def test_refuses_pickles_by_name(tmp_path: Path) -> None:
    assert open_checkpoint(tmp_path) is None
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(LLMIRError, match=r"pickled \(pytorch_model.bin\)"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["a\0b.safetensors", "\ud800.safetensors"])
def test_refuses_an_index_with_an_impossible_file(tmp_path: Path, name: str) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(LLMIRError, match="is not the name of a file") as raised:
        open_checkpoint(tmp_path)
    assert "\0" not in str(raised.value)
