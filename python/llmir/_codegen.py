# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs the native compiler over one program: the child process of a compilation.

LLVM ends the process when it meets an error of its own. So everything that links
LLVM runs here, behind a process border, and `llmir.codegen`, which starts it, can
say what happened. Bad input ends this program with one sentence and status 1.

It is also the command that reproduces a failure:

    python -m llmir._codegen PROGRAM.mlir --emit=asm -o OUT
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llmir import _native, dtypes
from llmir.errors import LLMIRError
from llmir.safetensors import open_checkpoint
from llmir.target import find_target

STAGES = ("llm", "optimized", "linalg", "llvm", "asm", "artifact")

# The files of a directory that `--emit=artifact` writes.
CODE = "model.so"
PROGRAM = "model.mlir"
LAYOUT = "layout.json"
CONSTANTS = "constants.bin"

# The facts of llm.model that are sizes.
SIZES = (
    "vocab_size",
    "hidden_size",
    "num_layers",
    "num_heads",
    "num_kv_heads",
    "head_dim",
    "max_model_len",
)

OUT_OF_MEMORY = "there is not enough memory to compile this program"


def main() -> int:
    """Compile as the command line says; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m llmir._codegen")
    parser.add_argument("program", type=Path, help="a program of the llm dialect")
    parser.add_argument("-o", dest="output", type=Path, required=True)
    parser.add_argument("--emit", choices=STAGES, required=True)
    parser.add_argument("--target-cpu", default="native")
    parser.add_argument("--max-batch-tokens", type=int, default=512)
    parser.add_argument("--name", help="what messages call the program")
    parser.add_argument("--weights", type=Path, help="check the program against these")
    arguments = parser.parse_args()
    try:
        compile_program(arguments)
    except LLMIRError as error:
        print(error, file=sys.stderr)
        return 1
    except MemoryError:
        print(OUT_OF_MEMORY, file=sys.stderr)
        return 1
    except OSError as error:
        where = error.filename or f"cannot write {arguments.output}"
        print(f"{where}: {error.strerror or error}", file=sys.stderr)
        return 1
    return 0


def compile_program(arguments: argparse.Namespace) -> None:
    """Write the requested stage of the program to the output."""
    compiler = _native.compiler()
    target = find_target(arguments.target_cpu)
    text = arguments.program.read_text(encoding="utf-8")
    # The file that passes can be run on again; the name is for people.
    path = arguments.name or str(arguments.program)
    name = arguments.name or arguments.program.name
    name = name.encode("utf-8", "backslashreplace").decode("utf-8")

    def parse() -> Any:
        try:
            return compiler.Module.parse(text, name)
        except ValueError as error:
            raise LLMIRError(_diagnostics("is not valid", error)) from error

    module = parse()
    if arguments.weights is not None:
        check_parameters(module.parameters(), arguments.weights)

    output: Path = arguments.output
    if arguments.emit == "llm":
        output.write_text(str(module), encoding="utf-8")
    elif arguments.emit == "optimized":
        run_pipeline(module, "llm-optimize", path)
        output.write_text(str(module), encoding="utf-8")
    elif arguments.emit == "linalg":
        run_pipeline(module, "llm-to-linalg", path)
        output.write_text(str(module), encoding="utf-8")
    else:
        pipeline = f"llm-cpu-pipeline{{max-batch-tokens={arguments.max_batch_tokens}}}"
        facts = find_facts(module)
        run_pipeline(module, pipeline, path)
        emit = {
            "llvm": module.emit_llvm,
            "asm": module.emit_assembly,
            "artifact": module.emit_object,
        }[arguments.emit]
        code = generate(emit, target.cpu, target.feature_string)
        if isinstance(code, str):
            output.write_text(code, encoding="utf-8")
            return
        output.mkdir(exist_ok=True)
        object_file = output / "model.o"
        object_file.write_bytes(code)
        link(compiler.link_shared, object_file, output / CODE)
        object_file.unlink()
        layout = {
            **facts,
            "target": {
                "arch": target.arch,
                "cpu": target.cpu,
                "features": list(target.features),
            },
            "arena_bytes": module.arena_bytes,
            "max_batch_tokens": module.max_batch_tokens,
            "weights_bytes": module.weights_bytes,
            "weights": write_constants(module.weights(), output / CONSTANTS),
        }
        (output / LAYOUT).write_text(json.dumps(layout), encoding="utf-8")
        optimized = parse()
        run_pipeline(optimized, "llm-optimize", path)
        (output / PROGRAM).write_text(str(optimized), encoding="utf-8")


def find_facts(module: Any) -> dict[str, Any]:
    """Return what a program says of its model and its cache.

    Raises LLMIRError if something is missing or is not what it must be.
    """
    try:
        facts = {"model": json.loads(module.model), "cache": json.loads(module.cache)}
    except ValueError as error:
        raise LLMIRError(_diagnostics("cannot be run", error)) from error
    check_facts(facts["model"])
    return facts


def check_facts(model: dict[str, Any]) -> None:
    """Raise LLMIRError unless `llm.model` has what the runtime needs, as it must be."""

    def refuse(name: str, expected: str) -> LLMIRError:
        found = json.dumps(model[name]) if name in model else "missing"
        return LLMIRError(
            f"the program cannot be run: {name} of its attribute llm.model must be "
            f"{expected}, and is {found}"
        )

    for name in ("architecture", "dtype"):
        if not isinstance(model.get(name), str):
            raise refuse(name, "a string")
    for name in SIZES:
        if not _is_int(model.get(name), 1, 2**31 - 1):
            raise refuse(name, "a positive integer of 32 bits")
    last = model["vocab_size"] - 1
    ends = model.get("eos_token_ids")
    if not isinstance(ends, list) or not all(_is_int(end, 0, last) for end in ends):
        raise refuse("eos_token_ids", f"a list of integers from 0 to {last}")
    begin = model.get("bos_token_id")
    if begin is not None and not _is_int(begin, 0, 2**31 - 1):
        raise refuse("bos_token_id", "an integer of 32 bits that is 0 or more")


def _is_int(value: Any, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def check_parameters(parameters: list[dict[str, Any]], directory: Path) -> None:
    """Compare the weights that a program names with those of a directory.

    Raises LLMIRError if one is missing or of another shape or dtype.
    """
    checkpoint = open_checkpoint(directory)
    if checkpoint is None:
        raise LLMIRError(f"{directory} has no safetensors weights")
    for parameter in parameters:
        tensor = checkpoint[parameter["key"]]
        stored = dtypes.by_mlir(parameter["dtype"]).stored
        expected = f"{stored} {list(parameter['shape'])}"
        found = f"{tensor.dtype} {list(tensor.shape)}"
        if expected != found:
            raise LLMIRError(
                f"the program reads tensor {parameter['key']} as {expected}, and "
                f"{tensor.file.path} has it as {found}"
            )


def run_pipeline(module: Any, pipeline: str, program: str) -> None:
    """Run passes over a module; LLMIRError, with a reproducer, if one fails."""
    try:
        module.run(pipeline)
    except RuntimeError as error:
        name = pipeline.partition("{")[0]
        raise LLMIRError(
            _diagnostics(f"could not be compiled by the pipeline {name}", error)
            + f"; reproduce it with: llmir-opt {shlex.quote(program)} "
            f"--pass-pipeline='builtin.module({pipeline})'"
        ) from error


def generate(function: Callable[..., Any], *arguments: str) -> Any:
    """Call a part of the native code generator; LLMIRError if it refuses."""
    try:
        return function(*arguments)
    except RuntimeError as error:
        raise LLMIRError(_diagnostics("could not be turned to code", error)) from error


def link(link_shared: Callable[..., Any], object_file: Path, output: Path) -> None:
    """Link an object; LLMIRError, without the directory, if the linker refuses."""
    try:
        generate(link_shared, str(object_file), str(output))
    except LLMIRError as error:
        raise LLMIRError(str(error).replace(f"{output.parent}/", "")) from error


def write_constants(entries: list[dict[str, Any]], path: Path) -> list[dict[str, Any]]:
    """Move the data of the constants among the weights to a file.

    Returns the entries with `begin`, the place in the file, instead of `data`.
    """
    result = []
    with path.open("wb") as file:
        for entry in entries:
            described = dict(entry)
            if described["kind"] == "constant":
                described["begin"] = file.tell()
                file.write(described.pop("data"))
            result.append(described)
    return result


def _diagnostics(what: str, error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"the program {what}: " + "\n  ".join(lines or ["no reason was given"])


if __name__ == "__main__":
    sys.exit(main())
