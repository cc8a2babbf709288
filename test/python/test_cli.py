# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The commands as a shell sees them: output, one sentence for errors, statuses."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import llmir
from conftest import MakeArtifact, MakeModel, RunProgram
from llmir import _native, hardware
from llmir.target import X86_LEVELS

SENTENCE = re.compile(r"llmir: error: [^\n]+\n")


def test_models(run_program: RunProgram) -> None:
    result = run_program("-m", "llmir", "models")
    assert result.returncode == 0
    assert "llama: LlamaForCausalLM" in result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize(
    "command", [["-m", "llmir", "compile"], ["-m", "llmir.compile"]]
)
def test_compile_and_run(
    run_program: RunProgram, make_model: MakeModel, tmp_path: Path, command: list[str]
) -> None:
    output = tmp_path / "out.llmir"
    result = run_program(*command, make_model("gqa", "bfloat16"), "-o", output)
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    assert f"llmir: wrote {output}, " in result.stderr

    run = ["-m", command[1].replace("compile", "run")]
    if command[1] == "llmir":
        run.append("run")
    arguments = [output, "--prompt", "the theory", "--max-tokens", "12"]
    first = run_program(*run, *arguments, "--threads", "1")
    assert first.returncode == 0, first.stderr
    model = llmir.load(output)
    prompt = model.encode("the theory")
    decoder = model.tokenizer.detokenizer(prompt)
    pieces = [decoder.add(token_id) for token_id in model.generate(prompt, 12)]
    assert first.stdout == "".join(pieces) + decoder.finish() + "\n"
    assert re.fullmatch(
        rf"llmir: prompt {len(prompt)} tokens in \S+ s, \S+ tokens/s; "
        r"generated 12 tokens in \S+ s, \S+ tokens/s\n",
        first.stderr,
    )

    sampled = ["--temperature", "1.0", "--top-k", "50", "--top-p", "0.95"]
    texts = [
        run_program(*run, *arguments, *sampled, "--min-p", "0.001", "--seed", seed)
        for seed in (1, 1, 2)
    ]
    assert [text.returncode for text in texts] == [0, 0, 0]
    assert texts[0].stdout == texts[1].stdout != texts[2].stdout


def test_text_stages_go_to_stdout(
    run_program: RunProgram, make_model: MakeModel
) -> None:
    result = run_program(
        "-m", "llmir.compile", make_model("gqa", "float32"), "--emit=llm"
    )
    assert result.returncode == 0, result.stderr
    assert "llm.paged_attention" in result.stdout
    assert result.stderr == ""


def test_a_device_is_written_to(run_program: RunProgram, make_model: MakeModel) -> None:
    model = make_model("gqa", "float32")
    arguments = ("-m", "llmir.compile", model, "--emit=llm", "-o", "/dev/stdout")
    result = run_program(*arguments)
    assert result.returncode == 0, result.stderr
    assert "llm.paged_attention" in result.stdout
    assert Path("/dev/stdout").is_symlink()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["-m", "llmir.compile"],
        ["-m", "llmir.compile", "MODEL"],
        ["-m", "llmir.compile", "MODEL", "-o", "OUT", "--emit=tea"],
        ["-m", "llmir.compile", "MODEL", "-o", "OUT", "--dtype=float64"],
        ["-m", "llmir.compile", "MODEL", "-o", "OUT", "--max-model-len=0"],
        ["-m", "llmir.compile", "MODEL", "-o", "OUT", "--max-batch-tokens=many"],
        ["-m", "llmir.compile", "MODEL", "-o", "OUT", "--weights=DIR"],
        ["-m", "llmir.compile", "model.mlir", "-o", "OUT"],
        [
            "-m",
            "llmir.compile",
            "model.mlir",
            "-o",
            "OUT",
            "--weights=D",
            "--dtype=auto",
        ],
        ["-m", "llmir.run"],
        ["-m", "llmir.run", "OUT"],
        ["-m", "llmir.run", "OUT", "--prompt", "x", "--max-tokens", "0"],
        ["-m", "llmir.run", "OUT", "--prompt", "x", "--threads", "5000000000"],
        ["-m", "llmir.compile", "MODEL", "-o", "OUT", f"--max-batch-tokens={10**30}"],
        ["-m", "llmir.run", "OUT", "--prompt", "x", "--top-k", "40"],
        ["-m", "llmir", "brew"],
    ],
)
def test_a_wrong_command_line_is_status_2(
    run_program: RunProgram, arguments: list[str], tmp_path: Path
) -> None:
    result = run_program(*(arguments or ["-m", "llmir"]), cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith("usage: ")
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_number_that_is_none_is_told_so(run_program: RunProgram) -> None:
    result = run_program("-m", "llmir.run", "OUT", "--prompt=x", "--max-tokens", "abc")
    assert result.returncode == 2
    assert "--max-tokens: abc is not a whole number from 1 to" in result.stderr


def test_a_closed_output(
    run_program: RunProgram,
    make_model: MakeModel,
    make_artifact: MakeArtifact,
    tmp_path: Path,
) -> None:
    model, artifact = make_model("gqa", "float32"), make_artifact("gqa", "float32")

    def close() -> None:
        os.close(1)

    for arguments in (
        ["-m", "llmir.run", artifact, "--prompt", "x"],
        ["-m", "llmir.compile", model, "--emit=llm"],
        ["-m", "llmir.models"],
    ):
        result = run_program(*arguments, preexec_fn=close)
        assert result.returncode == 1
        assert SENTENCE.fullmatch(result.stderr), result.stderr
        assert "the standard output is closed" in result.stderr
    output = tmp_path / "out.llmir"
    result = run_program("-m", "llmir.compile", model, "-o", output, preexec_fn=close)
    assert result.returncode == 0, result.stderr
    assert llmir.load(output).vocab_size == 320


def test_a_reader_that_leaves_is_no_error(make_artifact: MakeArtifact) -> None:
    packages = str(Path(llmir.__file__).parent.parent)
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "llmir.run",
            str(make_artifact("gqa", "float32")),
            "--prompt",
            "the",
            "--max-tokens",
            "200",
        ],
        env={**os.environ, "PYTHONPATH": packages},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    message = process.stderr.read()
    assert process.wait(60) == 0, message
    assert "Traceback" not in message


def test_a_text_that_fills_the_context_says_so(
    run_program: RunProgram, make_artifact: MakeArtifact
) -> None:
    artifact = make_artifact("gqa", "float32")
    model = llmir.load(artifact)
    text = "\n" * (model.max_model_len - 1)
    assert len(model.encode(text)) == model.max_model_len - 1
    result = run_program("-m", "llmir.run", artifact, "--prompt", text)
    assert result.returncode == 0, result.stderr
    assert "ends here because it has 256 tokens, the most" in result.stderr
    # That is what was asked for.
    result = run_program("-m", "llmir.run", artifact, f"--prompt={text}", "--max-to=1")
    assert result.returncode == 0, result.stderr
    assert "ends here" not in result.stderr


def test_hardware(run_program: RunProgram) -> None:
    result = run_program("-m", "llmir.models", "--hardware", "--json")
    assert result.returncode == 0, result.stderr
    machine = json.loads(result.stdout)
    runtime = _native.runtime()
    assert machine["cpu"]["features"] == runtime.cpu_features()
    assert machine["cpu"]["cores"] == len(os.sched_getaffinity(0))
    assert machine["kernels"]["in_use"] == runtime.cpu_level()
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    memory = machine["memory"]
    assert 0 < memory["available_bytes"] < memory["total_bytes"] <= total
    assert machine["dtypes"]["F32"] == "native"
    assert machine["dtypes"]["F64"] == "refused"
    assert list(machine["targets"]) == ["native", *X86_LEVELS]
    text = run_program("-m", "llmir.models", "--hardware").stdout
    assert f"CPU: {machine['cpu']['name']} (" in text
    assert f"kernels in use: {machine['kernels']['in_use']}\n" in text


@pytest.mark.parametrize(
    ("level", "use"),
    [
        ("portable", "widened in registers"),
        ("avx2", "widened in registers"),
        ("avx512", "widened in registers"),
        ("avx512_bf16", "native"),
        ("amx", "native"),
    ],
)
def test_how_dtypes_are_used(level: str, use: str) -> None:
    assert hardware.how_used("BF16", level) == use
    assert hardware.how_used("F32", level) == "native"
    assert hardware.how_used("I64", level) == "refused"


def test_what_a_lesser_cpu_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    class LesserCPU:
        def __getattr__(self, name: str) -> Any:
            return getattr(_runtime, name)

        def cpu_features(self) -> list[str]:
            return sorted(
                {*_runtime.cpu_features(), *X86_LEVELS["x86-64-v3"]}
                - {"avx512f", "amx-tile"}
            )

        def cpu_level(self) -> str:
            return "avx2"

    _runtime = _native.runtime()
    monkeypatch.setattr(_native, "runtime", LesserCPU)
    machine = hardware.describe_machine()
    assert machine["targets"]["native"] == machine["targets"]["x86-64-v3"] == []
    assert "avx512f" in machine["targets"]["x86-64-v4"]
    missing = machine["kernels"]["missing_features"]
    assert missing["avx2"] == []
    assert "avx512f" in missing["avx512"]
    assert {"avx512f", "amx-tile"} <= set(missing["amx"])
    assert machine["dtypes"]["BF16"] == "widened in registers"
    text = hardware.report(machine)
    assert re.search(r"    x86-64-v4: no, it lacks .*avx512f", text)
    assert "    x86-64-v3: yes\n" in text
    assert "widened in registers: BF16" in text


def test_families_as_json(run_program: RunProgram) -> None:
    families = json.loads(run_program("-m", "llmir", "models", "--json").stdout)
    assert "LlamaForCausalLM" in str([family["architectures"] for family in families])


def test_passes_can_be_looked_at(
    run_program: RunProgram, make_model: MakeModel, tmp_path: Path
) -> None:
    model = make_model("gqa", "bfloat16")
    compile_ = ("-m", "llmir.compile", model, "-o", tmp_path / "out")
    header = re.compile(r"// -----// IR Dump After \w+ \(([\w-]+)\)")

    def printed(*options: str) -> list[str]:
        result = run_program(*compile_, *options)
        assert result.returncode == 0, result.stderr
        assert result.stdout == ""
        return header.findall(result.stderr)

    assert printed("--emit=optimized") == []
    # Once for each function.
    only = printed("--emit=optimized", "--print-after=llm-fuse-norm")
    assert only == ["llm-fuse-norm"] * 2
    two = printed("--emit=asm", "--print-after=llm-plan-arena,llm-pack-parameters")
    assert two == ["llm-pack-parameters", "llm-plan-arena"]
    everything = printed("--emit=llvm", "--print-after=all")
    for name in ("llm-pack-parameters", "one-shot-bufferize", "convert-llm-to-llvm"):
        assert name in everything
    # A pass that changes nothing is silent among all.
    assert "llm-verify-step" not in everything
    text = run_program(
        *compile_, "--emit=optimized", "--print-after=llm-pack-parameters"
    ).stderr
    assert "llm.parameter" in text
    assert "tensor<10x32x32x2xbf16>" in text


def test_opt_is_llmir_opt(
    run_program: RunProgram, make_model: MakeModel, tmp_path: Path
) -> None:
    program, result = tmp_path / "model.mlir", tmp_path / "optimized.mlir"
    model = make_model("gqa", "float32")
    run_program("-m", "llmir.compile", model, "--emit=llm", "-o", program)
    run_program("-m", "llmir.compile", model, "--emit=optimized", "-o", result)
    optimized = run_program("-m", "llmir.opt", program, "--llm-optimize")
    assert optimized.returncode == 0, optimized.stderr
    assert optimized.stdout.strip() == result.read_text().strip()
    # The name of a file may be any bytes.
    strange = tmp_path / "\udce9.mlir"
    program.rename(strange)
    same = run_program("-m", "llmir.opt", strange, "--llm-optimize")
    assert same.stdout == optimized.stdout, same.stderr
    assert "--llm-optimize" in run_program("-m", "llmir.opt", "--help").stdout
    wrong = run_program("-m", "llmir.opt", "--llm-wobble")
    assert wrong.returncode == 1
    assert "--llm-wobble" in wrong.stderr
