# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The commands as a shell sees them: output, one sentence for errors, statuses."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import llmir
from conftest import MakeArtifact, MakeModel, RunProgram

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
        ["-m", "llmir.compile", "MODEL", "-o", "OUT", "--dtype=float16"],
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["-m", "llmir.compile", "./none", "-o", "out"],
            "there is no directory ./none",
        ),
        (
            ["-m", "llmir.compile", "none.mlir", "-o", "out", "--weights=."],
            "no safetens",
        ),
        (["-m", "llmir.compile", ".", "-o", "out"], r"has no config\.json"),
        (["-m", "llmir.compile", ".", "--emit=llm"], r"has no config\.json"),
        (["-m", "llmir.compile", "none.mlir", "--emit=llm"], "cannot read none.mlir"),
        (["-m", "llmir.run", "none", "--prompt", "x"], "none"),
        (["-m", "llmir.run", "x\udcff", "--prompt", "x"], r"x\\udcff' is not UTF-8"),
    ],
)
def test_bad_input_is_one_sentence_and_status_1(
    run_program: RunProgram, tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = run_program(*arguments, cwd=tmp_path)
    assert result.returncode == 1
    assert SENTENCE.fullmatch(result.stderr), result.stderr
    assert re.search(message, result.stderr)
    assert list(tmp_path.iterdir()) == []


def test_bad_output_is_one_sentence(
    run_program: RunProgram, make_model: MakeModel, tmp_path: Path
) -> None:
    model = make_model("gqa", "float32")
    for output in ("none/out", "none/out/"):
        result = run_program("-m", "llmir.compile", model, "-o", output, cwd=tmp_path)
        assert result.returncode == 1
        assert SENTENCE.fullmatch(result.stderr), result.stderr
    result = run_program("-m", "llmir.compile", model, "--emit=llm", "-o", tmp_path)
    assert (result.returncode, list(tmp_path.iterdir())) == (1, [])
    assert "is a directory" in result.stderr


@pytest.mark.parametrize(
    "options",
    [
        ["--prompt", ""],
        ["--prompt", "x", "--temperature", "-1"],
        ["--prompt", "x", "--top-p", "2"],
        ["--prompt", "x" * 5000],
        ["--prompt", "a\udcff"],
    ],
)
def test_bad_requests_are_one_sentence(
    run_program: RunProgram, make_artifact: MakeArtifact, options: list[str]
) -> None:
    artifact = make_artifact("gqa", "float32")
    result = run_program("-m", "llmir.run", artifact, *options)
    assert result.returncode == 1
    assert SENTENCE.fullmatch(result.stderr), result.stderr
    assert result.stdout == ""


def test_a_number_that_is_none_is_told_so(run_program: RunProgram) -> None:
    result = run_program("-m", "llmir.run", "OUT", "--prompt=x", "--max-tokens", "abc")
    assert result.returncode == 2
    assert "--max-tokens: abc is not a whole number from 1 to" in result.stderr


def test_a_prompt_that_leaves_no_room(
    run_program: RunProgram, make_artifact: MakeArtifact
) -> None:
    artifact = make_artifact("gqa", "float32")
    model = llmir.load(artifact)
    text = "\n" * model.max_model_len
    assert len(model.encode(text)) == model.max_model_len
    result = run_program("-m", "llmir.run", artifact, "--prompt", text)
    assert (result.returncode, result.stdout) == (1, "")
    assert SENTENCE.fullmatch(result.stderr), result.stderr
    assert "no room for a new one" in result.stderr
    result = run_program("-m", "llmir.run", artifact, "--prompt", text[1:])
    assert result.returncode == 0, result.stderr


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


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_interrupts_leave_nothing(
    make_model: MakeModel, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    # Interrupted where the time goes: while the compiler works, which is stopped
    # there so that the signal cannot come too late.
    program = (
        "import sys, llmir.codegen, llmir.compile\n"
        "from llmir.command import execute\n"
        "def wait(program, output, **options):\n"
        "    (output / 'begun').touch()\n"
        "    import time; time.sleep(100)\n"
        "llmir.compile.run_compiler = wait\n"
        "sys.exit(execute(llmir.compile.COMMAND))\n"
    )
    output = tmp_path / "out.llmir"
    packages = str(Path(llmir.__file__).parent.parent)
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            program,
            str(make_model("gqa", "float32")),
            "-o",
            str(output),
        ],
        env={**os.environ, "PYTHONPATH": packages},
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".*/new/begun")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    _, message = process.communicate(timeout=60)
    assert process.returncode == status
    assert "Traceback" not in message
    assert list(tmp_path.iterdir()) == []


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


def test_a_config_alone_is_no_artifact(run_program: RunProgram, tmp_path: Path) -> None:
    config = {"architectures": ["LlamaForCausalLM"], "vocab_size": 100}
    (tmp_path / "config.json").write_text(json.dumps(config))
    result = run_program("-m", "llmir.compile", ".", "-o", "out", cwd=tmp_path)
    assert result.returncode == 1
    assert "has no safetensors weights" in result.stderr
