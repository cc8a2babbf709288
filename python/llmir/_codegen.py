# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs the native compiler over one program: the child process of a compilation.

LLVM ends the process when it meets an error of its own. So everything that links
LLVM runs here, behind a process border, and `llmir.codegen`, which starts it, can
say what happened. Bad input ends this program with one sentence and the status
REFUSED, which is not one that LLVM or Python end a process with.

It is also the command that reproduces its own death:

    python -m llmir._codegen PROGRAM.mlir --emit=asm -o OUT
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from llmir import _native, dtypes
from llmir._signals import end_with
from llmir.errors import LLMIRError
from llmir.files import shown
from llmir.manifest import CODE, PROGRAM, check_facts, check_layout
from llmir.quantization import NONE, add_arguments, from_arguments
from llmir.safetensors import open_checkpoint
from llmir.target import Target, find_target

STAGES = ("llm", "optimized", "linalg", "llvm", "asm", "artifact")

# Of a program that is a function of tensors, the only one.
FUNCTION = "function"

# What a function of tensors goes through.
FUNCTION_PIPELINE = "llm-function-pipeline"

# For `llmir.artifact`, beside the files that an artifact keeps.
LAYOUT = "layout.json"
CONSTANTS = "constants.bin"

# The memory that Python, MLIR and LLVM take, whatever the model's size.
CODEGEN_BYTES = 140 * 2**20

REFUSED = 3

OUT_OF_MEMORY = "there is not enough memory to compile this program"


def main() -> int:
    """Compile as the command line says; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m llmir._codegen")
    parser.add_argument("program", type=Path, help="a program of the llm dialect")
    parser.add_argument("-o", dest="output", type=Path, required=True)
    parser.add_argument("--emit", choices=(*STAGES, FUNCTION), required=True)
    parser.add_argument("--target-cpu", default="native")
    parser.add_argument("--max-batch-tokens", type=int, default=512)
    add_arguments(parser)
    parser.add_argument("--name", help="what messages call the program")
    parser.add_argument("--weights", type=Path, help="check the program against these")
    parser.add_argument("--print-after", metavar="PASS,...", help="or `all`")
    parser.add_argument("--parent", type=int, help="the process id to end with")
    arguments = parser.parse_args()
    if arguments.parent is not None:
        end_with(arguments.parent)
    try:
        compile_program(arguments)
    except LLMIRError as error:
        print(error, file=sys.stderr)
        return REFUSED
    except MemoryError:
        print(OUT_OF_MEMORY, file=sys.stderr)
        return REFUSED
    except OSError as error:
        where = error.filename or f"cannot write {arguments.output}"
        print(f"{where}: {error.strerror or error}", file=sys.stderr)
        return REFUSED
    return 0


def compile_program(arguments: argparse.Namespace) -> None:
    """Write the requested stage of the program to the output."""
    compiler = _native.compiler()
    target = find_target(arguments.target_cpu)
    quantization = from_arguments(arguments)
    text = arguments.program.read_text(encoding="utf-8")
    # The file that passes can be run on again; the name is for people.
    path = arguments.name or str(arguments.program)
    name = arguments.name or arguments.program.name
    name = name.encode("utf-8", "backslashreplace").decode("utf-8")

    try:
        module = compiler.Module.parse(text, name)
    except ValueError as error:
        raise LLMIRError(_diagnostics("is not valid", error)) from error
    quantized = "!llm.quantized_tensor" in text
    if quantized and quantization.format != NONE:
        raise LLMIRError(
            f"{name} is quantized already, and --quantize is for programs of floats"
        )
    if arguments.weights is not None:
        check_parameters(module.parameters(), arguments.weights)

    wanted = [name for name in (arguments.print_after or "").split(",") if name]
    output: Path = arguments.output
    optimize = with_options("llm-optimize", quantization.pass_options)

    pipelines: list[str] = []
    passes: list[str] = []

    def run(pipeline: str) -> None:
        pipelines.append(pipeline)
        passes.extend(run_pipeline(module, pipelines, path, wanted))

    if arguments.emit == "llm":
        check_printed(wanted, [])
        output.write_text(str(module), encoding="utf-8")
    elif arguments.emit == "optimized":
        run(optimize)
        check_printed(wanted, passes)
        output.write_text(str(module), encoding="utf-8")
    elif arguments.emit == "linalg":
        run("llm-to-linalg")
        check_printed(wanted, passes)
        output.write_text(str(module), encoding="utf-8")
    elif arguments.emit == FUNCTION:
        signature = module.signature()
        run(FUNCTION_PIPELINE)
        check_printed(wanted, passes)
        layout = {"signature": signature, "weights_bytes": module.weights_bytes}
        write_code(module, compiler, target, output)
        layout["weights"] = write_constants(module.weights(), output / CONSTANTS)
        (output / LAYOUT).write_text(json.dumps(layout), encoding="utf-8")
    else:
        find_facts(module)
        run(optimize)
        # Passes say more of the model, and change the cache.
        facts = find_facts(module)
        program = str(module)
        run(f"llm-to-buffers{{max-batch-tokens={arguments.max_batch_tokens}}}")
        run("llm-to-llvm")
        check_printed(wanted, passes)
        emit = {
            "llvm": module.emit_llvm,
            "asm": module.emit_assembly,
        }.get(arguments.emit, module.emit_object)
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
            "quantization": {
                "format": "as in the program" if quantized else quantization.format
            },
        }
        check_layout(layout, output)
        if arguments.emit == "artifact":
            output.mkdir(exist_ok=True)
            check_room(module, output)
        try:
            if arguments.emit == "artifact":
                write_code(module, compiler, target, output)
            else:
                code = generate(emit, target.cpu, target.feature_string)
                output.write_text(code, encoding="utf-8")
                return
        except LLMIRError as error:
            again = [sys.executable, "-m", "llmir._codegen", path]
            again += [
                f"--emit={arguments.emit}",
                f"--target-cpu={arguments.target_cpu}",
            ]
            again.append(f"--max-batch-tokens={arguments.max_batch_tokens}")
            again += [*quantization.arguments, "-o", "out"]
            raise LLMIRError(
                f"{error}; reproduce it with: {shlex.join(again)}"
            ) from error
        layout["weights"] = write_constants(module.weights(), output / CONSTANTS)
        (output / LAYOUT).write_text(json.dumps(layout), encoding="utf-8")
        (output / PROGRAM).write_text(program, encoding="utf-8")


def write_code(module: Any, compiler: Any, target: Target, output: Path) -> None:
    """Write the shared object of a module in the LLVM dialect to a directory.

    Raises LLMIRError if it cannot be generated, or needs a symbol of others.
    """
    code = generate(module.emit_object, target.cpu, target.feature_string)
    object_file = output / "model.o"
    object_file.write_bytes(code)
    link(compiler.link_shared, object_file, output / CODE)
    object_file.unlink()


def find_needs(module: Any) -> tuple[int, int]:
    """Return the bytes of disk and of memory that making an artifact takes.

    module: after `llm-cpu-pipeline`, which has settled where the weights lie.
    """
    constants = sum(
        entry["bytes"]
        for entry in module.weights(data=False)
        if entry["kind"] == "constant"
    )
    # The constants have a file of their own until the weights are packed. In
    # memory they are there twice, since Python's bytes are a copy.
    return module.weights_bytes + constants, CODEGEN_BYTES + 2 * constants


def check_room(module: Any, output: Path) -> None:
    """Compare what an artifact needs with the disk and the memory that are free.

    output: the directory that it is written to.

    Raises LLMIRError, with both figures, if there is too little.
    """
    runtime = _native.runtime()
    size, memory = find_needs(module)
    free = shutil.disk_usage(output).free
    if size > free:
        raise LLMIRError(
            f"{output} takes {runtime.format_bytes(size)} while it is written, and "
            f"{runtime.format_bytes(free)} are free on its disk; free some, or write "
            "to another"
        )
    available = runtime.memory()[1]
    if memory > available:
        advice = "free some, or compile on a larger machine"
        if memory > 2 * CODEGEN_BYTES:
            advice = "choose a smaller --max-model-len"
        raise LLMIRError(
            f"compiling takes {runtime.format_bytes(memory)} of memory, and "
            f"{runtime.format_bytes(available)} are available; {advice}"
        )


def check_printed(wanted: list[str], passes: list[str]) -> None:
    """Raise LLMIRError if a pass that was to be printed after never ran."""
    for name in wanted:
        if name not in passes and not (name == "all" and passes):
            raise LLMIRError(
                f"no pass {shown(name)} runs up to this stage; those that run are "
                + ", ".join(passes)
                if passes
                else "no pass runs up to this stage, so there is none to print after"
            )


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
                f"the program reads tensor {shown(parameter['key'])} as {expected}, "
                f"and {tensor.file.path} has it as {found}"
            )


def run_pipeline(
    module: Any, pipelines: Sequence[str], program: str, print_after: Sequence[str] = ()
) -> list[str]:
    """Run passes over a module; LLMIRError, with a reproducer, if one fails.

    pipelines: what has made the module of the program, and last what is to run.
    print_after: the passes after which the program goes to the standard output.
    Returns the names of the passes that ran, if any are printed after.
    """
    try:
        return list(module.run(pipelines[-1], list(print_after)))
    except OSError as error:
        raise LLMIRError(
            f"cannot print the program after passes: {error.strerror}"
        ) from error
    except RuntimeError as error:
        name = pipelines[-1].partition("{")[0]
        again = [sys.executable, "-m", "llmir.opt", program]
        again.append(f"--pass-pipeline=builtin.module({','.join(pipelines)})")
        raise LLMIRError(
            _diagnostics(f"could not be compiled by the pipeline {name}", error)
            + f"; reproduce it with: {shlex.join(again)}"
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


def with_options(pipeline: str, options: Sequence[str]) -> str:
    """Return a pipeline with options, in mlir-opt's notation."""
    return f"{pipeline}{{{' '.join(options)}}}" if options else pipeline


def _diagnostics(what: str, error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"the program {what}: " + "\n  ".join(lines or ["no reason was given"])


if __name__ == "__main__":
    sys.exit(main())
