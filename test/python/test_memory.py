# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What is said to be needed, before work starts, and what is taken in the end.

Commands compare the first with what is free; so it has to be near the second.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import llmir
import tiny
from conftest import MakeArtifact, RunProgram
from llmir import _codegen, _native
from llmir.compile import compile_model
from llmir.errors import LLMIRError
from llmir.model import Model

NEAR = 0.05


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory whose parts are large enough to be seen."""
    directory = tmp_path_factory.mktemp("memory") / "model"
    fields = {
        "hidden_size": 256,
        "intermediate_size": 1024,
        "head_dim": 64,
        "num_attention_heads": 8,
        "num_key_value_heads": 8,
        "vocab_size": 16000,
        "num_hidden_layers": 4,
        "max_position_embeddings": 2**19,
    }
    tiny.SHAPES["memory"] = tiny.Shape(fields=fields)
    try:
        tiny.write_model(directory, "memory", torch.float32)
    finally:
        del tiny.SHAPES["memory"]
    return directory


def needs(program: str) -> tuple[int, int]:
    """Return the disk and the memory that compiling a program is said to take."""
    module = _native.compiler().Module.parse(program)
    module.run("llm-cpu-pipeline")
    disk, memory = _codegen.find_needs(module)
    return disk, memory


def test_what_compiling_takes(
    model: Path, run_program: RunProgram, tmp_path: Path
) -> None:
    compile_model(str(model), tmp_path / "model.mlir", emit="llm")
    disk, memory = needs((tmp_path / "model.mlir").read_text())
    result = run_program(
        "-c",
        "import json, resource, sys\n"
        "from pathlib import Path\n"
        "from llmir import _codegen, artifact\n"
        "from llmir.compile import compile_model\n"
        "finish = artifact.finish_artifact\n"
        "def look(directory, *rest):\n"
        "    constants = (directory / _codegen.CONSTANTS).stat().st_size\n"
        "    size, notes = finish(directory, *rest)\n"
        "    print(constants + size)\n"
        "    return size, notes\n"
        "artifact.finish_artifact = look\n"
        "compile_model(sys.argv[1], Path(sys.argv[2]))\n"
        "child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss\n"
        "print(1024 * child)\n",
        model,
        tmp_path / "out.llmir",
    )
    assert result.returncode == 0, result.stderr
    written, child = map(int, result.stdout.split())
    assert written == pytest.approx(disk, rel=NEAR)
    assert child == pytest.approx(memory, rel=NEAR)


def test_what_a_small_model_takes(
    make_artifact: MakeArtifact, run_program: RunProgram, tmp_path: Path
) -> None:
    program = make_artifact("gqa", "float32") / "model.mlir"
    result = run_program(
        "-c",
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from llmir.codegen import run_compiler\n"
        "run_compiler(Path(sys.argv[1]), Path(sys.argv[2]), emit='artifact')\n"
        "print(1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n",
        program,
        tmp_path / "out",
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) == pytest.approx(_codegen.CODEGEN_BYTES, rel=2 * NEAR)


def test_what_running_takes(
    model: Path, run_program: RunProgram, tmp_path: Path
) -> None:
    artifact = tmp_path / "out.llmir"
    compile_model(str(model), artifact, max_model_len=4096)
    result = run_program(
        "-c",
        "import json, re, sys\n"
        "from pathlib import Path\n"
        "from llmir.model import Model\n"
        "def anonymous():\n"
        "    status = Path('/proc/self/status').read_text()\n"
        "    return 1024 * int(re.search(r'RssAnon:\\s+(\\d+)', status)[1])\n"
        "def weights():\n"
        "    maps = Path('/proc/self/smaps').read_text()\n"
        "    found = re.search(r'weights\\.bin\\n(?:.*\\n)*?Rss:\\s+(\\d+)', maps)\n"
        "    return 1024 * int(found[1])\n"
        "before = anonymous()\n"
        "model = Model(sys.argv[1], threads=1, num_blocks=256)\n"
        "step, sequence = model.engine.step, model.engine.new_sequence()\n"
        "for begin in range(0, 4096, 512):\n"
        "    ids = [i * 16000 // 4096 for i in range(begin, begin + 512)]\n"
        "    step([(sequence, ids, False)])\n"
        "assert model.engine.num_free_blocks == 0\n"
        "print(json.dumps([model.engine.memory, weights(), anonymous() - before]))\n",
        artifact,
    )
    assert result.returncode == 0, result.stderr
    said, mapped, taken = json.loads(result.stdout)
    assert said["weights"] == (artifact / "weights.bin").stat().st_size
    assert mapped == pytest.approx(said["weights"], rel=NEAR)
    assert taken == pytest.approx(said["cache"] + said["arena"], rel=NEAR)


def test_a_cache_that_is_too_large_is_refused(make_artifact: MakeArtifact) -> None:
    artifact = make_artifact("gqa", "float32")
    # 2 layers, keys and values, 2 heads of 16 floats, 16 positions.
    block = 2 * 2 * 2 * 16 * 4 * 16
    assert Model(artifact, num_blocks=10).engine.memory["cache"] == 10 * block
    total, _ = _native.runtime().memory()
    with pytest.raises(LLMIRError, match="are available; ask for fewer blocks") as told:
        Model(artifact, num_blocks=total // block)
    assert "the model needs " in str(told.value)
    assert "KV cache of " in str(told.value)


class FullMachine:
    """The runtime, on a machine where everything is taken."""

    def __getattr__(self, name: str) -> Any:
        return getattr(_runtime, name)

    def memory(self) -> tuple[int, int]:
        """Return the machine's memory."""
        return 2**34, 100 * 2**20


_runtime = _native.runtime()


def test_compiling_with_too_little(
    make_artifact: MakeArtifact, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = make_artifact("gqa", "float32") / "model.mlir"
    module = _native.compiler().Module.parse(program.read_text())
    module.run("llm-cpu-pipeline")
    _codegen.check_room(module, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(_native, "runtime", FullMachine)
        with pytest.raises(LLMIRError, match=r"140\.0 MiB of memory, and 100\.0 MiB"):
            _codegen.check_room(module, tmp_path)
    usage = type("Usage", (), {"free": 999})
    monkeypatch.setattr(_codegen.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(LLMIRError, match=r"takes .* and 999 bytes are free on its"):
        _codegen.check_room(module, tmp_path)


def test_there_is_room_for_what_was_compiled(make_artifact: MakeArtifact) -> None:
    engine = llmir.load(make_artifact("gqa", "float32")).engine
    assert sum(engine.memory.values()) < _native.runtime().memory()[1]
