# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Starts the compiler in a child process and turns its death into a sentence."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from llmir._codegen import OUT_OF_MEMORY, REFUSED
from llmir.errors import LLMIRError
from llmir.quantization import UNQUANTIZED, Quantization

MODULE = "llmir._codegen"


def run_compiler(
    program: Path,
    output: Path,
    *,
    emit: str,
    target_cpu: str = "native",
    max_batch_tokens: int = 512,
    weights: Path | None = None,
    name: str | None = None,
    print_after: str | None = None,
    quantization: Quantization = UNQUANTIZED,
    module: str = MODULE,
) -> None:
    """Compile `program`, a file, up to the stage `emit`, and write `output`.

    weights: the directory that the program's parameters are checked against.
    name: the user's own file that `program` is a copy of, for messages.
    print_after: passes after which the program is printed to the standard error,
        with commas between them, or `all`.
    quantization: how the weights of products and the KV cache are stored.
    module: the module that the child runs.

    Raises LLMIRError if the program is refused, or if the compiler dies of it. A
    failure of our own leaves a copy of the program, to reproduce it with.
    """
    options = [f"--emit={emit}", f"--target-cpu={target_cpu}"]
    options.append(f"--max-batch-tokens={max_batch_tokens}")
    options += quantization.arguments
    if weights is not None:
        options.append(f"--weights={weights}")
    if name is not None:
        options.append(f"--name={name}")
    if print_after is not None:
        options.append(f"--print-after={print_after}")
    start = [sys.executable, "-m", module]
    result = run_child(module, [str(program), *options, "-o", str(output)])
    if result.returncode == 0:
        return
    message = result.stderr.strip()
    if result.returncode == REFUSED and message:
        # Our own program was refused, and the file named is about to go.
        if name is None and str(program) in message:
            message = message.replace(str(program), str(_keep(program)))
        raise LLMIRError(message)
    last = message.splitlines()[-1] if message else "it left no message"
    if last.startswith("MemoryError") or "LLVM ERROR: out of memory" in message:
        raise LLMIRError(OUT_OF_MEMORY)
    if result.returncode == -signal.SIGKILL:
        raise LLMIRError(
            "the compiler was killed (SIGKILL), most likely because the machine has "
            "too little memory for it; free some, or compile on a larger machine"
        )
    kept = _keep(program)
    if weights is not None:
        # Also from another directory.
        options[options.index(f"--weights={weights}")] = (
            f"--weights={weights.absolute()}"
        )
    again = shlex.join([*start, str(kept), *options, "-o", f"{kept.parent}/out"])
    raise LLMIRError(
        f"the compiler {ending(result.returncode)} ({last}); "
        f"this is a bug in LLMIR, reproduce it with: {again}"
    )


def run_child(
    module: str, arguments: Sequence[str]
) -> subprocess.CompletedProcess[str]:
    """Run a module of this package as a process that ends with this one.

    The result has what it wrote to the standard error.
    """
    # The child must find this very package, however this process found it.
    packages = str(Path(__file__).parent.parent)
    paths = [packages, *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.run(
        [sys.executable, "-m", module, *arguments, f"--parent={os.getpid()}"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL if sys.stderr is None else 2,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        check=False,
    )


def ending(status: int) -> str:
    """Return how a process with this exit status ended."""
    if status >= 0:
        return f"failed with status {status}"
    try:
        return f"died of {signal.Signals(-status).name}"
    except ValueError:
        return f"died of signal {-status}"


def _keep(program: Path) -> Path:
    directory = Path(tempfile.mkdtemp(prefix="llmir-reproducer-"))
    return Path(shutil.copy(program, directory / "program.mlir"))
