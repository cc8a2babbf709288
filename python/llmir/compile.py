# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The command `compile`: a model becomes an artifact, or any stage on the way.

The stages connect by files: what `--emit=llm` writes may be changed, by hand or by
`llmir-opt`, and given back here with `--weights`. The program in the file is what
runs.
"""

from __future__ import annotations

if __name__ == "__main__":
    from llmir._signals import end_quietly_on_interrupt

    end_quietly_on_interrupt()

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from llmir import _native, artifact, dtypes
from llmir._codegen import STAGES, with_options
from llmir.calibration import TOKENS, check_calibration, read_calibration
from llmir.codegen import run_compiler
from llmir.command import (
    Command,
    UsageError,
    execute,
    positive_int,
    standard_output,
    tell,
)
from llmir.errors import LLMIRError
from llmir.files import open_regular
from llmir.hub import model_directory
from llmir.importer import import_model
from llmir.manifest import MAX_STEP_TOKENS, read_manifest
from llmir.quantization import (
    AUTO,
    NONE,
    UNQUANTIZED,
    Quantization,
    add_arguments,
    from_arguments,
)
from llmir.safetensors import open_checkpoint
from llmir.target import X86_LEVELS
from llmir.verify import verify_compilation

BLOCK_SIZE = 16

# The stages that show a program which is not optimized.
BEFORE_OPTIMIZING = ("llm", "linalg")

MAX_BATCH_TOKENS = 512


def compile_model(
    model: str,
    output: Path | None,
    *,
    emit: str = "artifact",
    target_cpu: str = "native",
    dtype: str = "auto",
    max_model_len: int | None = None,
    block_size: int = BLOCK_SIZE,
    max_batch_tokens: int = MAX_BATCH_TOKENS,
    weights: Path | None = None,
    print_after: str | None = None,
    quantization: Quantization = UNQUANTIZED,
    verify_passes: bool = False,
    calibrate: Path | None = None,
    calibrate_tokens: int = TOKENS,
) -> None:
    """Compile a model and write `output`; None writes a text stage to stdout.

    model: a model directory, a hub id, or, with `weights`, an .mlir file.
    emit: the stage: `llm`, `optimized`, `linalg`, `llvm`, `asm` or `artifact`.
    dtype, max_model_len, block_size: as for `llmir.importer.import_model`; they
        say nothing about an .mlir file, which has them in it.
    max_batch_tokens: the most tokens of one step, over all sequences.
    print_after: passes after which the program is printed to the standard error,
        with commas between them, or `all` for those that change it.
    quantization: how the weights of products and the KV cache are stored.
    verify_passes: whether to compare what the program computes before and after each
        pass of the optimizer, on random inputs (`llmir.verify`).
    calibrate: a text whose inputs decide how weights are rounded (GPTQ); without it
        they are rounded to nearest.
    calibrate_tokens: the most tokens of it that are read.

    Raises LLMIRError for bad input; then `output` is as it was.
    """
    started = time.monotonic()
    if emit not in STAGES:
        raise LLMIRError(f"there is no stage {emit}; there are {', '.join(STAGES)}")
    if output is None and emit == "artifact":
        raise LLMIRError("an artifact is a directory and needs an output")
    if not 0 < max_batch_tokens <= MAX_STEP_TOKENS:
        raise LLMIRError(
            f"--max-batch-tokens must be at most {MAX_STEP_TOKENS}, and not "
            f"{max_batch_tokens}"
        )
    quantization.check()
    if quantization.format != NONE and emit in BEFORE_OPTIMIZING:
        raise LLMIRError(
            f"--quantize is a part of optimizing, and --emit={emit} comes before it"
        )
    if verify_passes and emit in BEFORE_OPTIMIZING:
        raise LLMIRError(
            "--verify-passes is about the passes of the optimizer, and "
            f"--emit={emit} comes before them"
        )
    if quantization.kv_cache != AUTO and emit in BEFORE_OPTIMIZING:
        raise LLMIRError(
            "--kv-cache-dtype is a part of optimizing, and "
            f"--emit={emit} comes before it"
        )
    is_artifact = emit == "artifact"
    if calibrate is not None:
        check_calibration(quantization, emit, target_cpu)
    is_program = model.endswith(".mlir")
    if output is not None:
        if is_artifact:
            _native.path_text(output.absolute())
            output = _through_links(output)
            sources = [Path(model)] if weights is None else [Path(model), weights]
            # An artifact's own program may become the next artifact: it is read now.
            artifact.check_replaceable(output, *sources[is_program:])
        elif output.is_dir():
            raise LLMIRError(f"{output} is a directory, and {emit} is one file")

    source = weights if is_program else model_directory(model)
    if source is not None and read_manifest(source) is not None:
        raise LLMIRError(
            f"{source} is compiled already, and this needs the model directory that "
            "it was compiled from"
        )
    checkpoint = None if source is None else open_checkpoint(source)
    if source is not None and checkpoint is None and (is_artifact or is_program):
        raise LLMIRError(f"{source} {_lacking(source, is_program)}")
    if is_program:
        text = _read_program(Path(model))
    else:
        assert source is not None
        text = import_model(
            source,
            checkpoint,
            dtype=dtype,
            max_model_len=max_model_len,
            block_size=block_size,
        )
    if is_artifact:
        assert source is not None
        artifact.check_copied(source)
    calibration = None
    if calibrate is not None:
        assert source is not None
        calibration = read_calibration(source, calibrate, calibrate_tokens)

    with tempfile.TemporaryDirectory(prefix="llmir-") as scratch:
        program = Path(scratch) / "model.mlir"
        program.write_text(text, encoding="utf-8")
        if verify_passes:
            pipeline = with_options("llm-optimize", quantization.pass_options)
            verify_compilation(program, model, pipeline)

        def run(destination: Path) -> None:
            run_compiler(
                program,
                destination,
                emit=emit,
                target_cpu=target_cpu,
                max_batch_tokens=max_batch_tokens,
                # The importer has checked its own program.
                weights=source if is_program else None,
                name=model if is_program else None,
                print_after=print_after,
                quantization=quantization,
            )
            if emit == "llm" and not is_program:
                # It is verified now; MLIR would drop the names of its values.
                destination.write_text(text, encoding="utf-8")

        if output is None or (_is_device(output)):
            with artifact.named(Path(scratch), f"{tempfile.gettempdir()}/llmir-*"):
                run(Path(scratch) / "output")
            result = (Path(scratch) / "output").read_text(encoding="utf-8")
            if output is None:
                standard_output().write(result)
            else:
                output.write_text(result, encoding="utf-8")
        elif is_artifact:
            assert checkpoint is not None
            with artifact.replacing(output) as directory:
                run(directory)
                size, notes = artifact.finish_artifact(
                    directory, checkpoint, calibration
                )
            for note in notes:
                tell(f"llmir: {note}")
            tell(
                f"llmir: wrote {output}, {size / 2**20:.1f} MiB, "
                f"in {time.monotonic() - started:.1f} s"
            )
        else:
            # Through links: what /dev/stdout points to may be a file.
            target = _through_links(output)
            with artifact.sibling(target) as directory:
                with artifact.named(directory / "output", str(target)):
                    run(directory / "output")
                (directory / "output").replace(target)


def _is_device(output: Path) -> bool:
    # Or a pipe: something that is written to and not replaced.
    return output.exists() and not output.is_file() and not output.is_dir()


def _through_links(output: Path) -> Path:
    # Unlike Path.resolve, this has an answer for a link to itself.
    return Path(os.path.realpath(output)) if output.is_symlink() else output


def _lacking(source: Path, is_program: bool) -> str:
    if not source.is_dir():
        return "is not a directory, and the weights are looked for there"
    if not is_program and not os.path.lexists(source / "config.json"):
        return "is not a model directory: it has no config.json"
    return "has no safetensors weights"


def _read_program(path: Path) -> str:
    with open_regular(path) as file:
        try:
            return file.read().decode("utf-8")
        except OSError as error:
            raise LLMIRError(f"cannot read {path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise LLMIRError(f"{path} is not text: {error.reason}") from error


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="a model directory, a hub id, or an .mlir file with --weights",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        type=Path,
        help="what to write; text goes to the terminal without it",
    )
    parser.add_argument(
        "--emit", choices=STAGES, default="artifact", help="the stage to write"
    )
    parser.add_argument(
        "--target-cpu",
        default="native",
        metavar="CPU",
        help=f"native, {', or '.join(X86_LEVELS)} (default: native)",
    )
    parser.add_argument(
        "--dtype",
        choices=("auto", *(known.name for known in dtypes.DTYPES)),
        help="what to compute in, never narrower than the weights (default: auto, each "
        "weight in its own dtype)",
    )
    parser.add_argument(
        "--max-model-len",
        type=positive_int,
        metavar="N",
        help="the most tokens of a sequence (default: the model's own limit)",
    )
    parser.add_argument(
        "--block-size",
        type=positive_int,
        metavar="N",
        help=f"positions in a block of the KV cache (default: {BLOCK_SIZE})",
    )
    parser.add_argument(
        "--max-batch-tokens",
        type=positive_int,
        default=MAX_BATCH_TOKENS,
        metavar="N",
        help=f"the most tokens of one step (default: {MAX_BATCH_TOKENS})",
    )
    add_arguments(parser)
    parser.add_argument(
        "--calibrate",
        type=Path,
        metavar="FILE",
        help="round quantized weights by GPTQ, for the inputs that this UTF-8 text "
        "leads to, rather than to nearest",
    )
    parser.add_argument(
        "--calibrate-tokens",
        type=positive_int,
        metavar="N",
        help="the most tokens of it that are read, from all over it (default: "
        f"{TOKENS})",
    )
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="DIR",
        help="the model directory whose weights an .mlir file names",
    )
    parser.add_argument(
        "--print-after",
        metavar="PASS,...",
        help="print the program to the standard error after these passes, or after "
        "`all` that change it",
    )

    parser.add_argument(
        "--verify-passes",
        action="store_true",
        help="compare what the program computes before and after each pass of the "
        "optimizer, on random inputs and weights, with at most two calls of each layer",
    )


def _run(arguments: argparse.Namespace) -> None:
    settled = ("dtype", "max_model_len", "block_size")
    if arguments.model.endswith(".mlir"):
        for name in settled:
            if getattr(arguments, name) is not None:
                option = "--" + name.replace("_", "-")
                raise UsageError(f"{option} is settled by the program in an .mlir file")
        if arguments.weights is None and arguments.emit == "artifact":
            raise UsageError("an .mlir file needs --weights=DIR to become an artifact")
    elif arguments.weights is not None:
        raise UsageError("--weights goes with an .mlir file; a model has its own")
    if arguments.output is None and arguments.emit == "artifact":
        raise UsageError("an artifact needs -o OUT")
    if arguments.calibrate_tokens is not None and arguments.calibrate is None:
        raise UsageError("--calibrate-tokens goes with --calibrate")
    compile_model(
        arguments.model,
        arguments.output,
        emit=arguments.emit,
        target_cpu=arguments.target_cpu,
        dtype=arguments.dtype or "auto",
        max_model_len=arguments.max_model_len,
        block_size=arguments.block_size or BLOCK_SIZE,
        max_batch_tokens=arguments.max_batch_tokens,
        weights=arguments.weights,
        print_after=arguments.print_after,
        quantization=from_arguments(arguments),
        verify_passes=arguments.verify_passes,
        calibrate=arguments.calibrate,
        calibrate_tokens=arguments.calibrate_tokens or TOKENS,
    )


COMMAND = Command(
    "compile",
    "Compile a language model to native code, or to a stage on the way.",
    _configure,
    _run,
)

if __name__ == "__main__":
    sys.exit(execute(COMMAND))
