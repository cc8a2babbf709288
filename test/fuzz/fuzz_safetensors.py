# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Coverage-guided fuzzing of the reader of safetensors files and their index.

    python test/fuzz/fuzz_safetensors.py -max_total_time=600 [CORPUS]

Arguments are libFuzzer's. An input is what a model directory holds: a safetensors
file, or an index and two shards. The reader must either give tensors whose bytes lie
within their file, each in its own place, or refuse with one printable line; any
other exception, and any wrong byte, is a finding. Needs atheris (CPython 3.11 to
3.13, x86-64 Linux).
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["llmir.safetensors", "llmir.files"]):
    import llmir.safetensors
from llmir.errors import LLMIRError

# What separates the index and the two shards; the files themselves lack it.
MARK = b"\0--8<--\0"

WORDS = [
    *('"dtype"', '"shape"', '"data_offsets"', '"__metadata__"', '"weight_map"'),
    *(f'"{dtype}"' for dtype in llmir.safetensors.BITS),
    *("[0,0]", "[2,3]", "9223372036854775807", "4611686018427387904", "1e400", "NaN"),
    *('"one.safetensors"', '"two.safetensors"', '"../one.safetensors"', "null", "{}"),
]


def tensor_file(header: object, data: bytes) -> bytes:
    """Return a file of the format with any header."""
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def seeds() -> list[bytes]:
    """Return valid inputs, and some that are nearly so."""

    def entry(dtype: str, shape: list[int], begin: int, end: int) -> object:
        return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}

    a, b = entry("F32", [2, 3], 0, 24), entry("BF16", [4], 24, 32)
    both = tensor_file({"__metadata__": {"format": "pt"}, "a": a, "b": b}, bytes(32))
    one = tensor_file({"a": a}, bytes(range(24)))
    two = tensor_file({"b": entry("I8", [0], 0, 0), "c": entry("F4", [2], 0, 1)}, b"x")
    index = {
        "a": "one.safetensors",
        "b": "two.safetensors",
        "c": "two.safetensors",
    }
    text = json.dumps({"metadata": {}, "weight_map": index}).encode()
    return [
        both,
        one,
        two,
        tensor_file({}, b""),
        both[:-1],
        tensor_file({"a": entry("F32", [2**62, 2**62], 0, 24)}, bytes(24)),
        MARK.join([text, one, two]),
        MARK.join([b'{"weight_map": {"a": "one.safetensors"}}', one, one]),
    ]


class Target:
    """Writes an input to a directory and reads it back."""

    def __init__(self, directory: Path) -> None:
        """Work in an empty directory."""
        self.directory = directory

    def __call__(self, data: bytes) -> None:
        """Read one input; raise whatever is a finding."""
        parts = data.split(MARK)
        single = self.directory / llmir.safetensors.SINGLE
        if len(parts) == 3:
            single.unlink(missing_ok=True)
            names = (llmir.safetensors.INDEX, "one.safetensors", "two.safetensors")
            for name, part in zip(names, parts, strict=True):
                (self.directory / name).write_bytes(part)
        else:
            single.write_bytes(data)
        try:
            checkpoint = llmir.safetensors.open_checkpoint(self.directory)
        except LLMIRError as error:
            message = str(error)
            assert message.isprintable(), repr(message)
            assert len(message) < 1000 + 2 * len(str(self.directory)), message
            return
        assert checkpoint is not None
        for key in checkpoint:
            tensor = checkpoint[key]
            whole = tensor.file.path.read_bytes()
            assert 8 <= tensor.begin <= tensor.end <= len(whole), tensor
            bits = llmir.safetensors.BITS[tensor.dtype]
            for size in tensor.shape:
                bits *= size
            assert bits == 8 * tensor.bytes, tensor
            assert tensor.data.tobytes() == whole[tensor.begin : tensor.end], tensor
            tensor.release()
        places: dict[object, int] = {}
        for tensor in sorted(checkpoint.values(), key=lambda t: (t.begin, t.end)):
            assert places.get(tensor.file, 0) <= tensor.begin, "tensors overlap"
            places[tensor.file] = tensor.end


def mutate(data: bytes, most: int, seed: int) -> bytes:
    """Change an input; half of the time a header only, whose length is kept true."""
    dice = random.Random(seed)
    if dice.random() < 0.5:
        return bytes(atheris.Mutate(data, most))
    parts = data.split(MARK)
    place = dice.randrange(len(parts))
    part = parts[place]
    if len(parts) == 3 and place == 0:
        parts[0] = bytes(atheris.Mutate(part, max(1, most // 2)))
    else:
        length = min(int.from_bytes(part[:8], "little"), len(part))
        header, rest = part[8 : 8 + length], part[8 + length :]
        header = bytes(atheris.Mutate(header, max(1, most // 2)))
        parts[place] = len(header).to_bytes(8, "little") + header + rest
    return MARK.join(parts)[:most]


def fuzz(root: Path, arguments: list[str]) -> None:
    """Fuzz until libFuzzer's arguments say stop; it ends the process itself."""
    for part in ("seeds", "model"):
        (root / part).mkdir()
    for number, seed in enumerate(seeds()):
        (root / "seeds" / str(number)).write_bytes(seed)
    words = (f'"{word}"' for word in (w.replace('"', r"\x22") for w in WORDS))
    (root / "words").write_text("\n".join(words) + "\n")
    # libFuzzer writes what it finds to the first corpus.
    if all(argument.startswith("-") for argument in arguments[1:]):
        (root / "corpus").mkdir()
        arguments = [*arguments, f"{root}/corpus"]
    arguments = [*arguments, f"-dict={root}/words", f"{root}/seeds"]
    atheris.Setup(arguments, Target(root / "model"), custom_mutator=mutate)
    atheris.Fuzz()


def main() -> int:
    """Fuzz in a child, from seeds of our own, and clean up behind it."""
    # In memory, where there is such a place: every input is written.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="llmir-fuzz-", dir=memory) as name:
        child = os.fork()
        if child == 0:
            fuzz(Path(name), sys.argv)
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    sys.exit(main())
