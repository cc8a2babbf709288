# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Every bad input that somebody may give a command, in one table.

Each gives one sentence and status 1, and leaves what was there as it was: no
temporary file, no partial output, here or in the directory for temporary files.
"""

from __future__ import annotations

import functools
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

import llmir
from conftest import MakeArtifact, MakeModel, RunProgram
from llmir import cli
from llmir.codegen import run_compiler

COMPILE = ["compile", "model", "-o", "out.llmir"]
RUN = ["run", "model.llmir", "--prompt", "the", "--max-tokens", "3"]
WEIGHTS = "model/model.safetensors"
INDEX = "model/model.safetensors.index.json"
CONFIG = "model/config.json"
MANIFEST = "model.llmir/manifest.json"


def remove(path: str) -> Callable[[], None]:
    """Return what removes a file."""
    return lambda: Path(path).unlink()


def write(path: str, content: bytes | str) -> Callable[[], None]:
    """Return what replaces a file."""
    data = content.encode() if isinstance(content, str) else content
    return lambda: Path(path).write_bytes(data) and None


def cut(path: str, size: int) -> Callable[[], None]:
    """Return what shortens a file by `size` bytes."""
    return lambda: os.truncate(path, Path(path).stat().st_size - size)


def flip(path: str) -> Callable[[], None]:
    """Return what changes one bit in the middle of a file."""

    def change() -> None:
        data = bytearray(Path(path).read_bytes())
        data[len(data) // 2] ^= 1
        Path(path).write_bytes(data)

    return change


def instead(path: str, make: Callable[[str], object]) -> Callable[[], None]:
    """Return what puts something that is no file in the place of one."""

    def change() -> None:
        Path(path).unlink(missing_ok=True)
        make(path)

    return change


def pipe(path: str) -> Callable[[], None]:
    """Return what puts a pipe, to which nobody writes, in the place of a file."""
    return instead(path, os.mkfifo)


def directory(path: str) -> Callable[[], None]:
    """Return what puts a directory in the place of a file."""
    return instead(path, os.mkdir)


def link(path: str, target: str) -> Callable[[], None]:
    """Return what puts a link in the place of a file."""
    return instead(path, lambda name: os.symlink(target, name))


def fields(path: str = CONFIG, **changes: Any) -> Callable[[], None]:
    """Return what changes fields of a JSON file; `a__b` is b within a."""

    def change() -> None:
        content = json.loads(Path(path).read_text())
        for name, value in changes.items():
            *outer, last = name.split("__")
            place = content
            for key in outer:
                place = place[key]
            place[last] = value
        Path(path).write_text(json.dumps(content))

    return change


def header(change: Callable[[dict[str, Any]], object]) -> Callable[[], None]:
    """Return what changes the header of the weights, but not their data."""

    def rewrite() -> None:
        data = Path(WEIGHTS).read_bytes()
        end = 8 + int.from_bytes(data[:8], "little")
        content = json.loads(data[8:end])
        change(content)
        text = json.dumps(content).encode()
        Path(WEIGHTS).write_bytes(len(text).to_bytes(8, "little") + text + data[end:])

    return rewrite


def raw_header(text: bytes, length: int | None = None) -> Callable[[], None]:
    """Return what gives the weights any header."""
    size = len(text) if length is None else length
    return write(WEIGHTS, size.to_bytes(8, "little") + text)


def tensors(change: Callable[[dict[str, Any]], object]) -> Callable[[], None]:
    """Return what changes the tensors of the weights; the file stays valid."""

    def rewrite() -> None:
        content = dict(safetensors.numpy.load_file(WEIGHTS))
        change(content)
        safetensors.numpy.save_file(content, WEIGHTS)

    return rewrite


def shards(
    change: Callable[[dict[str, str]], object], *, twice: bool = False
) -> Callable[[], None]:
    """Return what splits the weights in two files and changes their index."""

    def rewrite() -> None:
        content = safetensors.numpy.load_file(WEIGHTS)
        names = sorted(content)
        first, second = names[: len(names) // 2], names[len(names) // 2 :]
        if twice:
            second.append(first[0])
        index = dict.fromkeys(second, "two.safetensors")
        index.update(dict.fromkeys(first, "one.safetensors"))
        for name, keys in (("one", first), ("two", second)):
            part = {key: content[key] for key in keys}
            safetensors.numpy.save_file(part, f"model/{name}.safetensors")
        change(index)
        Path(INDEX).write_text(json.dumps({"weight_map": index}))
        Path(WEIGHTS).unlink()

    return rewrite


def huge_weights() -> None:
    """Make a model of 8 TiB of zeros, which take no room on the disk."""
    vocab, hidden = 2**26, 2**15
    fields(
        vocab_size=vocab,
        hidden_size=hidden,
        num_hidden_layers=1,
        tie_word_embeddings=True,
    )()
    shapes = {
        "model.embed_tokens.weight": (vocab, hidden),
        "model.norm.weight": (hidden,),
    }
    layer = {
        "input_layernorm": (hidden,),
        "post_attention_layernorm": (hidden,),
        "self_attn.q_proj": (64, hidden),
        "self_attn.k_proj": (32, hidden),
        "self_attn.v_proj": (32, hidden),
        "self_attn.o_proj": (hidden, 64),
        "mlp.gate_proj": (128, hidden),
        "mlp.up_proj": (128, hidden),
        "mlp.down_proj": (hidden, 128),
    }
    shapes |= {f"model.layers.0.{name}.weight": size for name, size in layer.items()}
    entries, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 4 * int(np.prod(shape))
        entries[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(entries).encode()
    Path(WEIGHTS).write_bytes(len(text).to_bytes(8, "little") + text)
    os.truncate(WEIGHTS, 8 + len(text) + end)


def pickled() -> None:
    """Leave only pickled weights."""
    Path(WEIGHTS).rename("model/pytorch_model.bin")


def huge_index() -> None:
    """Make an index of 200 MB of zeros, which take no room on the disk."""
    Path(WEIGHTS).unlink()
    Path(INDEX).touch()
    os.truncate(INDEX, 200_000_000)


def nothing() -> None:
    """Change nothing: the command line is what is bad."""


def program(text: str) -> Callable[[], None]:
    """Return what writes a program."""
    return write("model.mlir", text)


DEEP = "[" * 200_000 + "]" * 200_000

# What is wrong, what makes it so, the command, and what its sentence says.
CASES: list[tuple[str, Callable[[], None], list[str], str]] = [
    # Weights.
    ("truncated", cut(WEIGHTS, 100), COMPILE, "was the download cut short"),
    ("empty", write(WEIGHTS, b""), COMPILE, "it has 0 bytes and a header needs 8"),
    (
        "a pointer in place of a large file",
        write(WEIGHTS, b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        COMPILE,
        "it is a pointer of Git LFS; fetch it by `git lfs pull`",
    ),
    (
        "header length of 2^62",
        raw_header(b"{}", 2**62),
        COMPILE,
        "its header claims 4611686018427387904 bytes and the file has 2 left",
    ),
    ("garbage header", raw_header(b"\x80\x02}q"), COMPILE, "in its header, it is not"),
    ("header no object", raw_header(b"[]"), COMPILE, "header is not a JSON object"),
    ("deep header", raw_header(DEEP.encode()), COMPILE, "it is nested too deep"),
    (
        "header with a name twice",
        raw_header(b'{"a": {}, "a": {}}'),
        COMPILE,
        "in its header, a occurs twice",
    ),
    (
        "header of names that are not UTF-8",
        raw_header(b'{"\xff": {}}'),
        COMPILE,
        "can't decode byte 0xff",
    ),
    (
        "offsets outside the file",
        header(lambda h: h["model.norm.weight"].update(data_offsets=[0, 2**40])),
        COMPILE,
        "tensor model.norm.weight ends at byte 1099511",
    ),
    (
        "offsets that are negative",
        header(lambda h: h["model.norm.weight"].update(data_offsets=[-256, 0])),
        COMPILE,
        r"has the offsets \[-256, 0\]",
    ),
    (
        "offsets that overlap",
        header(
            lambda h: h["model.norm.weight"].update(
                data_offsets=h["model.layers.0.input_layernorm.weight"]["data_offsets"]
            )
        ),
        COMPILE,
        "and the one before it ends at",
    ),
    (
        "shape of more than any file",
        header(lambda h: h["model.norm.weight"].update(shape=[2**62] * 500)),
        COMPILE,
        "needs more than any file",
    ),
    (
        "name that a terminal obeys",
        header(lambda h: h.update({"\x1b[31m\n": {"dtype": "?"}})),
        COMPILE,
        r"tensor \\x1b\[31m\\n has the unknown dtype '\?'",
    ),
    (
        "missing tensor",
        tensors(lambda t: t.pop("model.layers.1.mlp.up_proj.weight")),
        COMPILE,
        r"have no tensor model\.layers\.1\.mlp\.up_proj\.weight",
    ),
    (
        "shape that does not fit the config",
        tensors(lambda t: t.update({"model.norm.weight": np.zeros(63, np.float32)})),
        COMPILE,
        r"has the shape \[63\], and config.json leads to \[64\]",
    ),
    (
        "tensor of size zero",
        tensors(lambda t: t.update({"model.norm.weight": np.zeros(0, np.float32)})),
        COMPILE,
        r"has the shape \[0\], and config.json leads to \[64\]",
    ),
    (
        "dtype that is not supported",
        tensors(lambda t: t.update({"model.norm.weight": np.zeros(64, np.float64)})),
        COMPILE,
        "model.norm.weight is stored as F64, which is not supported",
    ),
    ("only pickles", pickled, COMPILE, r"are pickled \(pytorch_model.bin\)"),
    ("no weights", remove(WEIGHTS), COMPILE, "model has no safetensors weights"),
    ("directory as weights", directory(WEIGHTS), COMPILE, "it is not a file"),
    ("pipe as weights", pipe(WEIGHTS), COMPILE, "it is not a file"),
    ("link to itself", link(WEIGHTS, "model.safetensors"), COMPILE, "symbolic links"),
    ("link to nowhere", link(WEIGHTS, "gone"), COMPILE, "No such file"),
    # Shards.
    (
        "missing shard",
        shards(lambda index: Path("model/two.safetensors").unlink()),
        COMPILE,
        "cannot read model/two.safetensors: No such file",
    ),
    (
        "shard that leaves the directory",
        shards(lambda index: index.update(a="../two.safetensors")),
        COMPILE,
        "places tensor a in '../two.safetensors', outside the directory",
    ),
    (
        "shard by an absolute path",
        shards(lambda index: index.update(a="/etc/passwd")),
        COMPILE,
        "places tensor a in '/etc/passwd', outside the directory",
    ),
    (
        "shard that is a directory",
        shards(lambda index: index.update(a=".")),
        COMPILE,
        "it is not a file",
    ),
    (
        "shard without its tensor",
        shards(lambda index: index.update(a="one.safetensors")),
        COMPILE,
        "places tensor a in one.safetensors, which does not have it",
    ),
    (
        "tensor in two shards",
        shards(lambda index: None, twice=True),
        COMPILE,
        "and two.safetensors has one of that name as well",
    ),
    ("huge index", huge_index, COMPILE, "200000000 bytes, too many for such a file"),
    (
        "pipe as index",
        lambda: pickled() or pipe(INDEX)(),
        COMPILE,
        "index.json: it is not a file",
    ),
    # The config.
    ("no config", remove(CONFIG), COMPILE, "model directory: it has no config.json"),
    ("truncated config", cut(CONFIG, 9), COMPILE, "config.json: it is not JSON"),
    ("empty config", write(CONFIG, ""), COMPILE, "config.json: it is empty"),
    ("config no object", write(CONFIG, "[1]"), COMPILE, "json is not a JSON object"),
    ("deep config", write(CONFIG, DEEP), COMPILE, "config.json: it is nested too deep"),
    ("config of bytes", write(CONFIG, b"\xff\xfe{}"), COMPILE, "can't decode byte"),
    (
        "config with a name twice",
        write(CONFIG, '{"hidden_size": 64, "hidden_size": 32}'),
        COMPILE,
        "config.json: hidden_size occurs twice",
    ),
    ("pipe as config", pipe(CONFIG), COMPILE, "config.json: it is not a file"),
    ("directory as config", directory(CONFIG), COMPILE, "it is not a file"),
    ("config that never ends", link(CONFIG, "/dev/zero"), COMPILE, "not a file"),
    ("config linked to itself", link(CONFIG, "config.json"), COMPILE, "symbolic link"),
    (
        "unknown architecture",
        fields(architectures=["EinsteinForCausalLM"]),
        COMPILE,
        "EinsteinForCausalLM is not supported; LLMIR imports .*LlamaForCausalLM",
    ),
    (
        "no architecture",
        fields(architectures=None, model_type=None),
        COMPILE,
        "neither architectures nor model_type",
    ),
    (
        "architecture that a terminal obeys",
        fields(architectures=["\x1b[2J\n"]),
        COMPILE,
        r"the architecture \\x1b\[2J\\n is not supported",
    ),
    ("architectures no list", fields(architectures=7), COMPILE, "not a list of names"),
    ("unknown activation", fields(hidden_act="wobble"), COMPILE, '"wobble"'),
    (
        "heads that do not divide",
        fields(num_key_value_heads=3),
        COMPILE,
        "num_attention_heads = 4 is not a multiple of num_key_value_heads = 3",
    ),
    ("negative size", fields(hidden_size=-64), COMPILE, "hidden_size is -64"),
    ("size of zero", fields(num_hidden_layers=0), COMPILE, "num_hidden_layers is 0"),
    ("size with a fraction", fields(vocab_size=320.5), COMPILE, "vocab_size is 320.5"),
    ("size as text", fields(vocab_size="320"), COMPILE, 'vocab_size is "320"'),
    ("size of many digits", fields(vocab_size=10**80), COMPILE, "vocab_size is 10"),
    (
        "absurd number of layers",
        fields(num_hidden_layers=2**31 - 1),
        ["compile", "model", "--emit=llm"],
        "num_layers is 2147483647, and LLMIR runs models of at most 65536",
    ),
    (
        "absurd number of positions",
        fields(max_position_embeddings=2**31 - 1),
        COMPILE,
        "max_model_len is 2147483647, and LLMIR runs models of at most 268435456",
    ),
    ("NaN", fields(rms_norm_eps=float("nan")), COMPILE, "rms_norm_eps is NaN"),
    ("infinity", fields(rms_norm_eps=float("inf")), COMPILE, "rms_norm_eps is Inf"),
    (
        "field that changes the result",
        fields(quantization_config={"bits": 4}),
        COMPILE,
        "quantization_config = .* changes what the model computes",
    ),
    (
        "weights larger than any disk",
        huge_weights,
        COMPILE,
        r"out.llmir takes 8\.0 TiB while it is written, and .* are free on its disk",
    ),
    # The files beside them.
    (
        "broken generation config",
        write("model/generation_config.json", "{"),
        COMPILE,
        "cannot read model/generation_config.json",
    ),
    (
        "end of text that is no token",
        fields("model/generation_config.json", eos_token_id="</s>"),
        COMPILE,
        'eos_token_id is "</s>", not a token id',
    ),
    (
        "broken tokenizer",
        write("model/tokenizer.json", '{"version": "1.0"}'),
        COMPILE,
        "cannot read model/tokenizer.json",
    ),
    ("pipe as tokenizer", pipe("model/tokenizer.json"), COMPILE, "it is not a file"),
    (
        "pipe beside the tokenizer",
        pipe("model/tokenizer_config.json"),
        COMPILE,
        "tokenizer_config.json: it is not a file",
    ),
    # Places.
    ("no such model", nothing, ["compile", "./no", "-o", "o"], "no directory ./no"),
    ("empty name", nothing, ["compile", "", "-o", "o"], "there is no directory"),
    (
        "name of two lines",
        nothing,
        ["compile", "./a\nb", "-o", "o"],
        r"no directory \./a\\nb",
    ),
    ("model is a file", nothing, ["compile", CONFIG, "-o", "o"], "neither a model"),
    ("model is an artifact", nothing, ["compile", "model.llmir", "-o", "o"], "already"),
    (
        "weights nowhere",
        program("module {}"),
        ["compile", "model.mlir", "-o", "out", "--weights=/nope"],
        "/nope is not a directory",
    ),
    (
        "weights without weights",
        program("module {}"),
        ["compile", "model.mlir", "-o", "out", "--weights=."],
        ". has no safetensors weights",
    ),
    ("no model here", nothing, ["compile", ".", "--emit=llm"], "has no config.json"),
    ("no model there", nothing, ["compile", "..", "-o", "o"], "has no config.json"),
    (
        "output in nothing",
        nothing,
        ["compile", "model", "-o", "none/out/"],
        "cannot write to .*/none: No such file",
    ),
    (
        "program nowhere",
        nothing,
        ["compile", "none.mlir", "--emit=llm"],
        "cannot read none.mlir: No such file",
    ),
    (
        "program of bytes",
        write("model.mlir", b"\xff\0"),
        ["compile", "model.mlir", "--emit=llm"],
        "model.mlir is not text",
    ),
    (
        "output is the model",
        nothing,
        ["compile", "model", "-o", "model"],
        "holds model",
    ),
    ("output around it", nothing, ["compile", "model", "-o", "."], ". holds model"),
    (
        "output is a directory",
        lambda: Path("out.llmir").mkdir() or write("out.llmir/thesis", "years")(),
        COMPILE,
        "out.llmir exists and is not an LLMIR artifact",
    ),
    ("output is a file", write("out.llmir", "years"), COMPILE, "exists and is not an"),
    (
        "artifact with more in it",
        write("model.llmir/thesis", "years"),
        ["compile", "model", "-o", "model.llmir"],
        "also holds thesis, which would be lost",
    ),
    (
        "output links to itself",
        link("out.llmir", "out.llmir"),
        COMPILE,
        "out.llmir exists and is not an LLMIR artifact",
    ),
    (
        "no directory for the output",
        nothing,
        ["compile", "model", "-o", "none/out.llmir"],
        "cannot write to .*/none: No such file",
    ),
    (
        "name of the output too long",
        nothing,
        ["compile", "model", "-o", "x" * 300],
        "File name too long",
    ),
    # Not even root can write there.
    ("read-only disk", nothing, ["compile", "model", "-o", "/proc/o"], "cannot write"),
    (
        "read-only disk for text",
        nothing,
        ["compile", "model", "--emit=llm", "-o", "/proc/o"],
        "cannot write to /proc",
    ),
    (
        "full disk",
        nothing,
        ["compile", "model", "--emit=llm", "-o", "/dev/full"],
        "No space left on device",
    ),
    (
        "text where a directory is",
        nothing,
        ["compile", "model", "--emit=llm", "-o", "model"],
        "model is a directory, and llm is one file",
    ),
    # Options.
    (
        "unknown CPU",
        nothing,
        [*COMPILE, "--target-cpu=i386"],
        "unknown target CPU i386",
    ),
    ("odd block size", nothing, [*COMPILE, "--block-size=3"], "a power of two"),
    ("absurd block", nothing, [*COMPILE, "--block-size=1073741824"], "at most 16384"),
    (
        "absurd batch",
        nothing,
        [*COMPILE, "--max-batch-tokens=2147483647"],
        "--max-batch-tokens must be at most 16777216, and not 2147483647",
    ),
    (
        "absurd length",
        fields(max_position_embeddings=2**30),
        [*COMPILE, "--max-model-len=1073741824"],
        "--max-model-len: max_model_len is 1073741824, and LLMIR runs .* 268435456",
    ),
    (
        "absurd length of a config",
        fields(max_position_embeddings=2**30),
        COMPILE,
        "config.json: max_model_len is 1073741824, and LLMIR runs .* 268435456",
    ),
    (
        "unknown pass",
        nothing,
        [*COMPILE, "--print-after=llm-wobble"],
        "no pass llm-wobble runs up to this stage; those that run are canonicalize, ",
    ),
    (
        "no pass at all",
        nothing,
        ["compile", "model", "--emit=llm", "--print-after=all"],
        "no pass runs up to this stage",
    ),
    # Artifacts.
    ("no such artifact", nothing, ["run", "no", "--prompt", "x"], "'no': No such file"),
    (
        "artifact is a file",
        nothing,
        ["run", CONFIG, "--prompt", "x"],
        "not a directory",
    ),
    (
        "model that is not compiled",
        nothing,
        ["run", "model", "--prompt", "x"],
        "compile it first: python -m llmir.compile model -o model.llmir",
    ),
    (
        "path that is not UTF-8",
        nothing,
        ["run", "x\udcff", "--prompt", "x"],
        "not UTF-8",
    ),
    ("bench: no such artifact", nothing, ["bench", "no"], "'no': No such file"),
    (
        "bench: nothing to time",
        nothing,
        ["bench", "model.llmir", "--prompt-tokens=0", "--gen-tokens=0"],
        "nothing to time without a prompt and new tokens",
    ),
    (
        "bench: prompt over the context length",
        nothing,
        ["bench", "model.llmir", "--prompt-tokens=257", "--gen-tokens=0"],
        "pp257 needs 257 tokens of a sequence, .* compiled for 256",
    ),
    (
        "bench: context over its length",
        nothing,
        ["bench", "model.llmir", "--gen-tokens=7", "--prompt-tokens=1", "--depth=250"],
        "tg7 @ d250 needs 257 tokens of a sequence, .* compiled for 256",
    ),
    (
        "bench: batch over the size of a step",
        nothing,
        ["bench", "model.llmir", "--prompt-tokens=0", "--batch-sizes=513"],
        r"tg128 x 513 has 513 tokens a step, .* 512 \(--max-batch-tokens\)",
    ),
    (
        "bench: results in no directory",
        nothing,
        ["bench", "model.llmir", "--json", "no/out.json"],
        "no/out.json cannot be written: no is no directory",
    ),
    (
        "bench: results over a directory",
        nothing,
        ["bench", "model.llmir", "--json", "model"],
        "model cannot be written: it is a directory",
    ),
    (
        "eval: no such text",
        nothing,
        ["eval", "model.llmir", "--text=no"],
        "cannot read no: No such file",
    ),
    (
        "eval: no such artifact",
        nothing,
        ["eval", "no", f"--text={CONFIG}"],
        "'no': No such file",
    ),
    (
        "eval: reference that is neither",
        nothing,
        ["eval", "model.llmir", f"--text={CONFIG}", "--reference=./no"],
        "there is no directory ./no",
    ),
    (
        "eval: text that is not UTF-8",
        write("text", b"the\xff"),
        ["eval", "model.llmir", "--text=text"],
        "text is not UTF-8 text: byte 3 is 0xff",
    ),
    (
        "eval: results in no directory",
        nothing,
        ["eval", "model.llmir", f"--text={CONFIG}", "--json=no/out.json"],
        "no/out.json cannot be written: no is no directory",
    ),
    ("explain: no such artifact", nothing, ["explain", "no"], "'no': No such file"),
    (
        "explain: step over its size",
        nothing,
        ["explain", "model.llmir", "--tokens=257"],
        "257 tokens are more than the 256 that the model was compiled for",
    ),
    (
        "explain: batch over the size of a step",
        nothing,
        ["explain", "model.llmir", "--tokens=3", "--batch-size=171"],
        r"the step has 513 tokens, and one of this artifact has at most 512",
    ),
    (
        "explain: damaged program",
        write("model.llmir/model.mlir", "llm.wobble"),
        ["explain", "model.llmir"],
        "model.mlir",
    ),
    ("no manifest", remove(MANIFEST), RUN, "cannot read .*manifest.json"),
    ("pipe as manifest", pipe(MANIFEST), RUN, "manifest.json' is not a file"),
    ("truncated manifest", cut(MANIFEST, 9), RUN, "manifest.json' is not valid JSON"),
    ("deep manifest", write(MANIFEST, DEEP), RUN, "levels deep"),
    ("truncated code", cut("model.llmir/model.so", 9), RUN, "incomplete or damaged"),
    ("truncated weights", cut("model.llmir/weights.bin", 9), RUN, "or damaged"),
    ("changed code", flip("model.llmir/model.so"), RUN, "model.so' has the checksum"),
    ("changed tokenizer", flip("model.llmir/tokenizer.json"), RUN, "the checksum"),
    (
        "missing weights",
        remove("model.llmir/weights.bin"),
        RUN,
        "weights.bin': No such",
    ),
    (
        "other format version",
        fields(MANIFEST, format_version=9),
        RUN,
        "has the artifact format 9, and this runtime reads 1; compile the model again",
    ),
    (
        "other ABI version",
        fields(MANIFEST, abi_version=7),
        RUN,
        "compiled for ABI version 7, and this runtime has [0-9]+; compile",
    ),
    ("other machine", fields(MANIFEST, target__arch="vax"), RUN, "compiled for vax"),
    (
        "feature that this CPU lacks",
        fields(MANIFEST, target__features=["fma", "time-travel"]),
        RUN,
        "this CPU lacks time-travel; compile the model for this machine",
    ),
    (
        "arena larger than any memory",
        fields(MANIFEST, step__arena_bytes=2**45),
        RUN,
        r"needs 32\.0 TiB of memory \(weights .*, arena 32\.0 TiB\), and .* available",
    ),
    (
        "context larger than any memory",
        fields(
            MANIFEST,
            model__max_model_len=2**27,
            cache__max_seq_len=2**27,
            cache__head_dim=2**14,
        ),
        RUN,
        r"KV cache of 134217728 tokens 64\.0 TiB.*smaller --max-model-len",
    ),
    # Requests.
    (
        "empty prompt",
        nothing,
        ["run", "model.llmir", "--prompt", ""],
        "prompt is empty",
    ),
    (
        "prompt over the context length",
        nothing,
        ["run", "model.llmir", "--prompt", "x" * 5000],
        "5000 tokens are more than the 256 that the model was compiled for",
    ),
    (
        "prompt that leaves no room",
        nothing,
        ["run", "model.llmir", "--prompt", "\n" * 256],
        "256 tokens, as many as the model was compiled for, .* no room for a new one",
    ),
    (
        "prompt that is not UTF-8",
        nothing,
        ["run", "model.llmir", "--prompt", "a\udcff"],
        "the text is not UTF-8: its character 1",
    ),
    ("temperature", nothing, [*RUN, "--temperature=-1"], "cannot sample"),
    ("temperature NaN", nothing, [*RUN, "--temperature=nan"], "cannot sample"),
    ("top-p", nothing, [*RUN, "--temperature=1", "--top-p=2"], "cannot sample"),
    ("top-k", nothing, [*RUN, "--temperature=1", "--top-k=-1"], "top_k is -1"),
    ("seed", nothing, [*RUN, "--seed=-1"], "seed is -1"),
]


@pytest.fixture
def desk(
    make_model: MakeModel,
    make_artifact: MakeArtifact,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Path]:
    """A directory to work in, with a model and its artifact, to be damaged."""
    work, temporary = tmp_path / "work", tmp_path / "tmp"
    temporary.mkdir()
    shutil.copytree(make_model("gqa", "float32"), work / "model")
    shutil.copytree(make_artifact("gqa", "float32"), work / "model.llmir")
    monkeypatch.chdir(work)
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))

    def wake(number: int, frame: object) -> None:
        raise TimeoutError("something waits for what never comes")

    previous = signal.signal(signal.SIGALRM, wake)
    signal.alarm(60)
    yield work
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


def contents(root: Path) -> dict[str, object]:
    """Return what lies under a directory, without following links."""
    return {
        str(path.relative_to(root)): (path.lstat().st_mode, path.lstat().st_mtime_ns)
        for path in root.rglob("*")
        if path != root / "work"
    }


def check(desk: Path, before: dict[str, object], status: int, text: str) -> None:
    """Check that a command ended as it should and left nothing behind."""
    assert status == 1, text
    assert re.fullmatch(r"llmir: error: [^\n]+\n", text), text
    assert text[:-1].isprintable(), text
    after = contents(desk.parent)
    assert after.keys() == before.keys()
    assert {k: v for k, v in after.items() if k != "tmp"} == {
        k: v for k, v in before.items() if k != "tmp"
    }


@pytest.mark.parametrize(
    ("make", "command", "message"),
    [case[1:] for case in CASES],
    ids=[case[0].replace(" ", "-") for case in CASES],
)
def test_bad_input(
    desk: Path,
    capfd: pytest.CaptureFixture[str],
    make: Callable[[], None],
    command: list[str],
    message: str,
) -> None:
    make()
    before = contents(desk.parent)
    status = cli.main(command)
    captured = capfd.readouterr()
    assert captured.out == ""
    check(desk, before, status, captured.err)
    assert re.search(message, captured.err), captured.err


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["-m", "llmir.compile", "./no", "-o", "out"], "no directory ./no"),
        (["-m", "llmir", "compile", "./no", "-o", "out"], "no directory ./no"),
        (["-m", "llmir.run", "model", "--prompt", "x"], "compile it first"),
        (["-m", "llmir", "run", "model", "--prompt", "x"], "compile it first"),
    ],
)
def test_as_a_program(
    desk: Path, run_program: RunProgram, command: list[str], message: str
) -> None:
    before = contents(desk.parent)
    result = run_program(*command)
    assert result.stdout == ""
    check(desk, before, result.returncode, result.stderr)
    assert message in result.stderr


def test_a_forced_level_that_is_none(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LLMIR_CPU_LEVEL", "wobble")
    for command in (RUN, ["models", "--hardware"]):
        before = contents(desk.parent)
        status = cli.main(command)
        check(desk, before, status, text := capfd.readouterr().err)
        assert "LLMIR_CPU_LEVEL is 'wobble'; the levels are portable, avx2" in text


@pytest.mark.parametrize(
    ("command", "limit"),
    [
        (["compile", "model", "--emit=asm", "-o", "out"], 16384),
        (["compile", "model", "--emit=asm"], 16384),
        # The code does not fit, and the weights do not fit.
        (COMPILE, 16384),
        (COMPILE, 150_000),
    ],
)
def test_a_disk_that_gets_full(
    desk: Path, run_program: RunProgram, command: list[str], limit: int
) -> None:
    before = contents(desk.parent)
    result = run_program(
        *("-m", "llmir", *command),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert result.stdout == ""
    check(desk, before, result.returncode, result.stderr)
    assert re.search(r"cannot write \S*out\S*: File too large", result.stderr)


@pytest.mark.parametrize("command", [[*COMPILE[:2], "--emit=llm"], RUN, ["models"]])
def test_an_output_that_is_full(
    desk: Path, run_program: RunProgram, command: list[str]
) -> None:
    before = contents(desk.parent)
    code = "import os, sys\nos.dup2(os.open('/dev/full', os.O_WRONLY), 1)\n"
    code += "from llmir import cli\nsys.exit(cli.main())\n"
    result = run_program("-c", code, *command)
    check(desk, before, result.returncode, result.stderr)
    assert "No space left on device" in result.stderr


@pytest.mark.parametrize("reader", ["/dev/full", "gone"])
def test_what_is_printed_after_passes_goes_nowhere(
    desk: Path, run_program: RunProgram, reader: str
) -> None:
    # As with `2>&1 | head`: it is no bug of the compiler's.
    before = contents(desk.parent)
    code = "import os, sys\n"
    if reader == "gone":
        code += "ends = os.pipe()\nos.close(ends[0])\nplace = ends[1]\n"
    else:
        code += f"place = os.open('{reader}', os.O_WRONLY)\n"
    # The command's own sentence is still seen.
    code += (
        "import subprocess\n"
        "from llmir import cli, codegen\n"
        "run = subprocess.run\n"
        "def redirected(*words, stdout, **options):\n"
        "    return run(*words, stdout=place, **options)\n"
        "codegen.subprocess.run = redirected\n"
        "sys.exit(cli.main())\n"
    )
    command = ["compile", "model", "--emit=llvm", "--print-after=all"]
    result = run_program("-c", code, *command, "-o", "out")
    check(desk, before, result.returncode, result.stderr)
    reason = {"/dev/full": "No space left on device", "gone": "Broken pipe"}[reader]
    assert f"cannot print the program after passes: {reason}" in result.stderr


# Each waits at a place where time goes, with a file to show that it is there.
PLACES = {
    # In the child that generates code.
    "codegen": (
        COMPILE,
        "import functools, llmir.compile\n"
        "from llmir.codegen import run_compiler\n"
        "run = functools.partial(run_compiler, module='slow_compiler')\n"
        "llmir.compile.run_compiler = run\n",
    ),
    "packing": (
        COMPILE,
        "import llmir.artifact\n"
        "def pack(path, *rest):\n"
        "    path.write_text('some')\n"
        "    wait()\n"
        "llmir.artifact.write_weights = pack\n",
    ),
    "generation": (
        RUN,
        "import llmir.model\nllmir.model.Model._sample = lambda *rest: wait()\n",
    ),
}
WAITING = """
import os, time
def wait():
    # Closed before the end of its life, where an interrupt would be lost.
    with open(os.environ["HERE"], "w") as file:
        file.write(str(os.getpid()))
    time.sleep(100)
"""


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("number", "group", "times", "status"),
    [
        (signal.SIGINT, False, 1, 130),
        # As a terminal sends it; and from somebody who has no patience.
        (signal.SIGINT, True, 1, 130),
        (signal.SIGINT, True, 5, 130),
        (signal.SIGTERM, False, 1, 143),
        (signal.SIGHUP, True, 1, 129),
    ],
    ids=["INT", "INT-group", "INT-five-times", "TERM", "HUP"],
)
def test_interrupts_leave_nothing(
    desk: Path,
    tmp_path_factory: pytest.TempPathFactory,
    place: str,
    number: signal.Signals,
    group: bool,
    times: int,
    status: int,
) -> None:
    helpers = tmp_path_factory.mktemp("helpers")
    here = helpers / "here"
    (helpers / "slow_compiler.py").write_text(WAITING + "wait()\n")
    command, setup = PLACES[place]
    code = WAITING + setup + "from llmir import cli\nsys.exit(cli.main())\n"
    packages = str(Path(llmir.__file__).parent.parent)
    before = contents(desk.parent)
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys\n" + code, *command],
        env={
            **os.environ,
            "PYTHONPATH": f"{packages}:{helpers}",
            "HERE": str(here),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not here.exists() or not here.read_text():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for _ in range(times):
        if group:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        time.sleep(0.02 if times > 1 else 0)
    output, message = process.communicate(timeout=60)
    assert process.returncode == status, message
    assert output == ""
    # A bar of progress may stand before it.
    lines = [line for line in message.splitlines() if "packing" not in line]
    assert lines == (["llmir: interrupted"] if number == signal.SIGINT else [])
    assert contents(desk.parent).keys() == before.keys()
    # Also the child is gone.
    with pytest.raises(ProcessLookupError):
        os.kill(int(here.read_text()), 0)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_a_signal_while_an_object_is_destroyed(
    number: signal.Signals, status: int
) -> None:
    code = f"""
import os, sys, time
from llmir import command

class Ending:
    def __del__(self):
        os.kill(os.getpid(), {int(number)})
        for _ in range(10):
            pass

def run(arguments):
    ending = Ending()
    del ending
    time.sleep(100)

sys.exit(command.perform(command.Command("end", "", None, run), None, None))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(Path(llmir.__file__).parent.parent)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == status
    assert done.stderr == ("llmir: interrupted\n" if status == 130 else "")


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "llmir.compile", "model", "--emit=llm"],
        ["-m", "llmir.run", "model.llmir", "--prompt=x"],
        ["-m", "llmir.models"],
        ["-m", "llmir", "models"],
        ["-c", "from llmir.cli import main; main()", "models"],
        ["-m", "llmir.opt"],
    ],
    ids=["compile", "run", "models", "llmir", "script", "opt"],
)
def test_an_interrupt_while_modules_are_imported(
    desk: Path, command: list[str]
) -> None:
    # Every program imports one of these.
    interrupt = (
        "import os, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name in ('llmir.command', 'llmir.tools'):\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
    )
    helper = desk.parent / "helpers"
    helper.mkdir()
    (helper / "sitecustomize.py").write_text(interrupt)
    packages = str(Path(llmir.__file__).parent.parent)
    result = subprocess.run(
        [sys.executable, *command],
        env={**os.environ, "PYTHONPATH": f"{helper}:{packages}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stderr == ""
    assert result.returncode == -signal.SIGINT


def test_a_killed_command_takes_its_compiler_along(
    desk: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    helpers = tmp_path_factory.mktemp("helpers")
    here = helpers / "here"
    packages = str(Path(llmir.__file__).parent.parent)
    # The real child, which waits in its native module.
    (helpers / "slow.py").write_text(
        WAITING
        + "from llmir import _codegen, _native\n"
        + "_native.compiler = wait\n"
        + "_codegen.main()\n"
    )
    code = (
        "import functools, llmir.compile\n"
        "from llmir.codegen import run_compiler\n"
        "run = functools.partial(run_compiler, module='slow')\n"
        "llmir.compile.run_compiler = run\n"
        "from llmir import cli\ncli.main()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, *COMPILE],
        env={**os.environ, "PYTHONPATH": f"{packages}:{helpers}", "HERE": str(here)},
    )
    deadline = time.monotonic() + 60
    while not here.exists() or not here.read_text():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    stat = Path(f"/proc/{here.read_text()}/stat")
    while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_compiler_that_is_killed(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    # As the kernel does when memory runs out.
    helper = desk.parent / "killed.py"
    helper.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    monkeypatch.setenv("PYTHONPATH", str(helper.parent))
    monkeypatch.setattr(
        "llmir.compile.run_compiler",
        functools.partial(run_compiler, module=helper.stem),
    )
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    before = contents(desk.parent)
    status = cli.main(COMPILE)
    check(desk, before, status, text := capfd.readouterr().err)
    assert "the compiler was killed (SIGKILL), most likely because" in text


def test_a_terminal_that_lacks_characters(
    desk: Path, run_program: RunProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    result = run_program("-m", "llmir.run", "model.llmir", "--prompt", "é日")
    assert result.returncode == 0, result.stderr
    assert "\\ufffd" in result.stdout
    before = contents(desk.parent)
    result = run_program("-m", "llmir.compile", "./né", "-o", "out")
    check(desk, before, result.returncode, result.stderr)


def test_without_a_standard_error(desk: Path, run_program: RunProgram) -> None:
    result = run_program("-m", "llmir.compile", "./no", "-o", "x", preexec_fn=close_2)
    assert (result.returncode, result.stdout) == (1, "")
    result = run_program("-m", "llmir", *COMPILE, preexec_fn=close_2)
    assert (result.returncode, result.stdout) == (0, "")
    assert llmir.load("out.llmir").vocab_size == 320


def close_2() -> None:
    """Close the standard error, as `2>&-` does."""
    os.close(2)
