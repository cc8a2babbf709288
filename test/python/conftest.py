# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Models and artifacts that tests share, made once and when first asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import llmir
import tiny
from llmir.compile import compile_model
from llmir.quantization import UNQUANTIZED, Quantization

# A second thread has nothing to do in models this small.
torch.set_num_threads(1)

pytest_plugins = ["capabilities"]

MakeModel = Callable[[str, str], Path]
MakeArtifact = Callable[..., Path]
RunProgram = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> MakeModel:
    """Return a function of shape and dtype to a model directory, not to be changed."""
    root = tmp_path_factory.mktemp("models")

    def make(shape: str, dtype: str) -> Path:
        directory = root / f"{shape}-{dtype}"
        if not directory.exists():
            tiny.write_model(directory, shape, getattr(torch, dtype))
        return directory

    return make


@pytest.fixture(scope="session")
def make_artifact(
    make_model: MakeModel, tmp_path_factory: pytest.TempPathFactory
) -> MakeArtifact:
    """Return a function of shape, dtype, target CPU and weights to an artifact."""
    root = tmp_path_factory.mktemp("artifacts")

    def make(
        shape: str,
        dtype: str,
        target_cpu: str = "native",
        quantization: Quantization = UNQUANTIZED,
    ) -> Path:
        name = "".join([f"{shape}-{dtype}-{target_cpu}", *quantization.arguments])
        artifact = root / f"{name}.llmir"
        if not artifact.exists():
            compile_model(
                str(make_model(shape, dtype)),
                artifact,
                target_cpu=target_cpu,
                max_model_len=tiny.SHAPES[shape].max_model_len,
                quantization=quantization,
            )
        return artifact

    return make


@pytest.fixture
def run_program() -> RunProgram:
    """Return a function that runs Python with arguments, as a user's shell would."""

    def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        packages = str(Path(llmir.__file__).parent.parent)
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": packages},
            capture_output=True,
            encoding="utf-8",
            timeout=300,
            check=False,
            **options,  # type: ignore[call-overload]
        )

    return run
