# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`llmir verify` finds what passes get wrong, and says it in a sentence."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import MakeModel, RunProgram
from llmir import _native
from llmir.importer import import_model
from llmir.verification import Settings
from llmir.verify import verify_files

PIECES = Path(__file__).resolve().parents[2] / "test/Pipelines/Inputs"
STEP = PIECES / "two-layer-step.mlir"
SENTENCE = re.compile(r"llmir: error: [^\n]+\n")


def optimized(text: str, pipeline: str = "llm-optimize") -> str:
    """Return a program after passes."""
    module = _native.compiler().Module.parse(text)
    module.run(pipeline)
    return str(module)


def differences(scratch: Path, before: str, after: str, rounds: int = 6) -> list[str]:
    """Return what is said of the outputs that two programs do not agree on."""
    paths = [scratch / "before.mlir", scratch / "after.mlir"]
    for path, text in zip(paths, (before, after), strict=True):
        path.write_text(text)
    outputs = verify_files(paths[0], paths[1], Settings(rounds=rounds))
    return [output.failure for output in outputs if output.failure]


def replaced(pattern: str, by: str | Callable[[re.Match[str]], str]) -> Callable:
    """Return a function that makes a mistake in a program, in its first place."""

    def mutate(text: str) -> str:
        changed, count = re.subn(pattern, by, text, count=1, flags=re.S)
        assert count == 1, f"there is no {pattern} in\n{text}"
        return changed

    return mutate


def without(word: str) -> Callable[[str], str]:
    """Return a function that takes an operand with a name off a product."""

    def take(match: re.Match[str]) -> str:
        before, after, types, rest = match.groups()
        kept = types.split(", ")
        # Norm, bias and residual follow the input and the weight.
        del kept[2 + ("norm" in before) + ("bias" in before)]
        return f"{before}{after}({', '.join(kept)}){rest}"

    return replaced(
        rf"(llm\.linear %\w+, %\w+[^:\n]*?) {word} %\w+([^:\n]*(?:: f32}})? : )"
        r"\(([^)]*)\)(\s*->)",
        take,
    )


def shifted(argument: int) -> Callable[[str], str]:
    """Return a function that adds 1 to an argument of the step."""
    name = f"%arg{argument}"

    def mutate(text: str) -> str:
        before, _, rest = text.partition("func.func @step(")
        signature, _, rest = rest.partition("{\n")
        body, _, rest = rest.partition("\n  }\n")
        body = re.sub(rf"{name}\b", "%shifted", body)
        added = (
            "    %one = arith.constant 1 : i32\n"
            "    %zero = arith.constant 0 : index\n"
            f"    %count = tensor.dim {name}, %zero : tensor<?xi32>\n"
            "    %ones = tensor.splat %one[%count] : tensor<?xi32>\n"
            f"    %shifted = arith.addi {name}, %ones : tensor<?xi32>\n"
        )
        return f"{before}func.func @step({signature}{{\n{added}{body}\n  }}\n{rest}"

    return mutate


def swapped(first: str, second: str) -> Callable[[str], str]:
    """Return a function that exchanges two names that stand side by side."""
    return replaced(
        rf'("[\w.]*{first}[\w.]*"), ("[\w.]*{second}[\w.]*")',
        lambda match: f"{match[2]}, {match[1]}",
    )


def lost_norm(text: str) -> str:
    """Leave out the first norm of heads in a program."""
    norm = re.search(r"    (%\w+) = llm\.rms_norm (%\w+), [^\n]*x4x32xf32>\n", text)
    assert norm is not None
    rest, end, others = text[norm.end() :].partition("\n  }\n")
    return text[: norm.start()] + re.sub(rf"{norm[1]}\b", norm[2], rest) + end + others


# The head of a function that a step calls for each layer.
LAYER = r"(func\.func private @\w+\([^{]*\{\n)"

# Each a shape of model and a mistake in its optimized program.
MISTAKES: dict[str, tuple[str, Callable[[str], str]]] = {
    "wrong scale": ("gqa", replaced(r"scale = 2\.500000e-01", "scale = 2.510000e-01")),
    "mask off by one": ("mistral", replaced(r", window = 20", ", window = 21")),
    "gate and up swapped": ("biases", swapped("gate_proj", "up_proj")),
    "keys and values swapped": ("gqa", swapped("k_proj", "v_proj")),
    "lost bias": ("biases", without("bias")),
    "lost residual": ("gqa", without("residual")),
    "lost norm of heads": ("qwen3", lost_norm),
    "norm of another layer": (
        "gqa",
        replaced(r"layers\.1\.input_layernorm", "layers.0.input_layernorm"),
    ),
    "wrong epsilon": (
        "gqa",
        replaced(r"epsilon = 9\.99999974E-6", "epsilon = 9.99999997E-7"),
    ),
    "other activation": ("gqa", replaced(r"activation silu", "activation gelu")),
    "positions shifted": ("gqa", shifted(1)),
    "slots shifted": ("gqa", shifted(2)),
    "rows of other tokens": ("gqa", shifted(6)),
    "wrong layer in append": (
        "gqa",
        replaced(
            rf"{LAYER}(.*?llm\.rope_append_kv [^:]*?layer )%\w+",
            r"\1    %other = arith.constant 0 : index\n\2%other",
        ),
    ),
    "wrong layer in attention": (
        "gqa",
        replaced(
            rf"{LAYER}(.*?llm\.paged_attention [^:]*?layer )%\w+",
            r"\1    %other = arith.constant 0 : index\n\2%other",
        ),
    ),
    "stale cache": (
        "gqa",
        replaced(
            r"(%\w+), (%\w+) = (llm\.rope_append_kv )(%\w+)"
            r"(.*?llm\.paged_attention %\w+, )\1",
            r"\1, \2 = \3\4\5\4",
        ),
    ),
    "another theta": ("gqa", replaced(r"theta = 1\.000000e\+04", "theta = 1.1e+04")),
    "tokens of another table": (
        "gqa",
        replaced(r'"model\.embed_tokens\.weight"', '"lm_head.weight"'),
    ),
}


@pytest.fixture(scope="session")
def imported(make_model: MakeModel) -> Callable[[str], str]:
    """Return a function of a shape to the imported program of a model in float32."""

    def make(shape: str) -> str:
        return import_model(make_model(shape, "float32"), None)

    return make


@pytest.mark.parametrize("name", MISTAKES)
def test_a_planted_mistake_is_found(
    imported: Callable[[str], str], tmp_path: Path, name: str
) -> None:
    shape, mutate = MISTAKES[name]
    before = imported(shape)
    after = optimized(before)
    assert not differences(tmp_path, before, after, rounds=3)
    wrong = mutate(after)
    assert wrong != after
    found = differences(tmp_path, before, wrong)
    assert found, f"nothing is wrong with\n{wrong}"
    assert re.match(r"output \S+ .*of @step is \S+ at \[.*\] before and", found[0])


# Pairs that are no programs of a model.
PAIRS = {
    "wrong axis of groups": (
        """
        func.func @main(%x: tensor<32x64xf32>) -> tensor<32x64xf32> {
          %q = llm.quantize %x : (tensor<32x64xf32>)
            -> !llm.quantized_tensor<32x64xi8, scales = f32, axis = AXIS>
          %y = llm.dequantize %q
            : (!llm.quantized_tensor<32x64xi8, scales = f32, axis = AXIS>)
            -> tensor<32x64xf32>
          return %y : tensor<32x64xf32>
        }
        """,
        ("AXIS", "1", "0"),
    ),
    "wrong size of groups": (
        """
        func.func @main(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
          %q = llm.quantize %x : (tensor<?x64xf32>)
            -> !llm.quantized_tensor<?x64xi4, scales = f16, axis = 1,
                                     group_size = SIZE>
          %y = llm.dequantize %q
            : (!llm.quantized_tensor<?x64xi4, scales = f16, axis = 1,
                                     group_size = SIZE>) -> tensor<?x64xf32>
          return %y : tensor<?x64xf32>
        }
        """,
        ("SIZE", "32", "64"),
    ),
    "interleaved rotation": (
        """
        func.func @main(%x: tensor<?x2x8xf32>, %p: tensor<?xi32>) -> tensor<?x2x8xf32> {
          %table = llm.rope_table {theta = 1.0e+04 : f64} : tensor<64x2x4xf32>
          %pairs = tensor.expand_shape %x [[0], [1], [2, 3]]
            : tensor<?x2x8xf32> into tensor<?x2xSHAPExf32>
          %c0 = arith.constant 0 : index
          %t = tensor.dim %x, %c0 : tensor<?x2x8xf32>
          %e = tensor.empty(%t) : tensor<?x2x2x4xf32>
          %halves = linalg.generic {
              indexing_maps = [affine_map<(a, b, c, d) -> (a, b, ORDER)>,
                               affine_map<(a, b, c, d) -> (a, b, c, d)>],
              iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
            ins(%pairs : tensor<?x2xSHAPExf32>) outs(%e : tensor<?x2x2x4xf32>) {
          ^bb0(%in: f32, %out: f32):
            linalg.yield %in : f32
          } -> tensor<?x2x2x4xf32>
          %flat = tensor.collapse_shape %halves [[0], [1], [2, 3]]
            : tensor<?x2x2x4xf32> into tensor<?x2x8xf32>
          %y = llm.rope %flat, %table, %p
            : (tensor<?x2x8xf32>, tensor<64x2x4xf32>, tensor<?xi32>)
            -> tensor<?x2x8xf32>
          return %y : tensor<?x2x8xf32>
        }
        """,
        ("SHAPE/ORDER", "2x4/c, d", "4x2/d, c"),
    ),
    "lost softcap": (
        """
        func.func @main(%q: tensor<?x?x4x8xf32>, %k: tensor<?x?x2x8xf32>,
                        %v: tensor<?x?x2x8xf32>) -> tensor<?x?x4x8xf32> {
          %o = llm.attention %q, %k, %v {causal SOFTCAP}
            : (tensor<?x?x4x8xf32>, tensor<?x?x2x8xf32>, tensor<?x?x2x8xf32>)
            -> tensor<?x?x4x8xf32>
          return %o : tensor<?x?x4x8xf32>
        }
        """,
        ("SOFTCAP", ", softcap = 30.0 : f32", ""),
    ),
    "stale lengths": (
        """
        !kv = !llm.paged_kv_cache<f32, 1, 2, 8, 16, 64>
        func.func @main(%kv: !kv, %q: tensor<?x4x8xf32>, %k: tensor<?x2x8xf32>,
                        %slots: tensor<?xi32>, %table: tensor<?x?xi32>,
                        %lens: tensor<?xi32>, %rows: tensor<?xi32>)
            -> (tensor<?x4x8xf32>, !kv) {
          %kv1 = llm.append_kv %kv, %k, %k slots %slots
            : (!kv, tensor<?x2x8xf32>, tensor<?x2x8xf32>, tensor<?xi32>) -> !kv
          %c0 = arith.constant 0 : index
          %b = tensor.dim %lens, %c0 : tensor<?xi32>
          %n = arith.constant 1 : i32
          %less = tensor.splat %n[%b] : tensor<?xi32>
          %seen = arith.subi %lens, %less : tensor<?xi32>
          %o = llm.paged_attention %q, %kv1, %table, LENGTHS rows %rows
            : (tensor<?x4x8xf32>, !kv, tensor<?x?xi32>, tensor<?xi32>, tensor<?xi32>)
            -> tensor<?x4x8xf32>
          return %o, %kv1 : tensor<?x4x8xf32>, !kv
        }
        """,
        ("LENGTHS", "%lens", "%seen"),
    ),
    "order of blocks": (
        """
        !kv = !llm.paged_kv_cache<bf16, 1, 2, 8, 4, 64>
        func.func @main(%kv: !kv, %k: tensor<?x?x2x8xf32>, %ids: tensor<?xi32>)
            -> (tensor<?x6xi32>, !kv) {
          %kv1, %blocks = llm.append_kv %kv, VALUES, %ids
            : (!kv, tensor<?x?x2x8xf32>, tensor<?x?x2x8xf32>, tensor<?xi32>)
            -> (!kv, tensor<?x6xi32>)
          %kv2, %more = llm.append_kv %kv1, %k, %k, %ids
            : (!kv, tensor<?x?x2x8xf32>, tensor<?x?x2x8xf32>, tensor<?xi32>)
            -> (!kv, tensor<?x6xi32>)
          return RESULT, %kv2 : tensor<?x6xi32>, !kv
        }
        """,
        ("VALUES/RESULT", "%k, %k/%more", "%k, %k/%blocks"),
    ),
}


def filled(pair: tuple[str, tuple[str, str, str]], which: int) -> str:
    """Return one of the two programs of a pair."""
    text, (names, *values) = pair
    for name, value in zip(names.split("/"), values[which].split("/"), strict=True):
        text = text.replace(name, value)
    return text


@pytest.mark.parametrize("name", PAIRS)
def test_a_pair_that_differs_is_found(tmp_path: Path, name: str) -> None:
    right, wrong = (filled(PAIRS[name], which) for which in range(2))
    assert not differences(tmp_path, right, optimized(right, "canonicalize,cse"))
    assert differences(tmp_path, right, wrong)


def test_says_what_was_compared(run_program: RunProgram, tmp_path: Path) -> None:
    after = tmp_path / "after.mlir"
    after.write_text(optimized(STEP.read_text()))
    result = run_program("-m", "llmir", "verify", STEP, after, "--rounds=2")
    assert (result.returncode, result.stderr) == (0, "")
    assert "| @step | 0 | `tensor<?x1024xf32>` | 0 | 0.005 |" in result.stdout
    for part in ("keys", "values", "block table", "lengths", "blocks in use"):
        assert f"| @step | 1, {part} | `!llm.paged_kv_cache<bf16, 2" in result.stdout


def test_a_difference_is_one_sentence(run_program: RunProgram, tmp_path: Path) -> None:
    after = tmp_path / "after.mlir"
    after.write_text(STEP.read_text().replace("0.176776695", "0.1"))
    result = run_program("-m", "llmir.verify", STEP, after, "--seed=3", "--rounds=1")
    assert result.returncode == 1
    assert SENTENCE.fullmatch(result.stderr)
    assert re.search(
        r"after\.mlir differs from \S+two-layer-step\.mlir: output 0 of @step is "
        r"\S+ at \[\d+, \d+\] before and \S+ after, which is \S+ of the largest "
        r"number, \S+, where 0\.005 is allowed \(round 0, seed 3\)",
        result.stderr,
    )
    loose = ("--tolerance=9", "--seed=3", "--rounds=1")
    result = run_program("-m", "llmir.verify", STEP, after, *loose)
    assert result.returncode == 0


SIMPLE = """func.func @main(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  return %x : tensor<?x4xf32>
}
"""


@pytest.mark.parametrize(
    ("after", "message"),
    [
        ("func.func @main(", "after.mlir is not valid: after.mlir:1:"),
        ("module {}\n", "after.mlir has no public function with a body"),
        (
            "func.func @main(%x: tensor<?x4xf32>) -> tensor<?x4xf32>\n",
            "is not valid",
        ),
        (
            "func.func private @main(%x: tensor<?x4xf32>) -> tensor<?x4xf32>\n",
            "after.mlir has no public function with a body",
        ),
        (SIMPLE.replace("@main", "@other"), "no public function @main"),
        (
            SIMPLE.replace("x4xf32", "x5xf32"),
            "argument 0 of @main is tensor<?x4xf32> in ",
        ),
        (
            SIMPLE.replace("%x: tensor<?x4xf32>", "%x: tensor<?x4xf32>, %i: index"),
            "@main has 1 arguments in ",
        ),
        (SIMPLE.replace("4xf32", "4xf16"), "and tensor<?x4xf16> in "),
    ],
)
def test_programs_that_cannot_be_compared(
    run_program: RunProgram, tmp_path: Path, after: str, message: str
) -> None:
    (tmp_path / "before.mlir").write_text(SIMPLE)
    (tmp_path / "after.mlir").write_text(after)
    result = run_program(
        *("-m", "llmir.verify", "before.mlir", "after.mlir"), cwd=tmp_path
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert SENTENCE.fullmatch(result.stderr)
    assert message in result.stderr


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (SIMPLE.replace("f32", "f80"), "argument 0 of @main is tensor<?x4xf80>, and "),
        (SIMPLE.replace("tensor<?x4xf32>", "memref<4xf32>"), "nothing is known of"),
        (
            SIMPLE.replace("tensor<?x4xf32>", "complex<f32>"),
            "argument 0 of @main is complex<f32>, and nothing is known of that type",
        ),
        (
            "func.func private @f(tensor<?x4xf32>) -> tensor<?x4xf32>\n"
            + SIMPLE.replace(
                "return %x",
                "%y = call @f(%x) : (tensor<?x4xf32>) -> tensor<?x4xf32>\n  return %y",
            ),
            "cannot bufferize bodiless function",
        ),
        (
            "func.func @main(%i: tensor<?xi32>) -> (tensor<3xi32>, tensor<4xi32>) {\n"
            "  %u = tensor.cast %i : tensor<?xi32> to tensor<3xi32>\n"
            "  %j = tensor.cast %i : tensor<?xi32> to tensor<4xi32>\n"
            "  return %u, %j : tensor<3xi32>, tensor<4xi32>\n}\n",
            "no inputs were found that @main can be run on: the sizes",
        ),
    ],
)
def test_programs_that_cannot_be_run(
    run_program: RunProgram, tmp_path: Path, program: str, message: str
) -> None:
    path = tmp_path / "program.mlir"
    path.write_text(program)
    result = run_program("-m", "llmir.verify", path, path)
    assert (result.returncode, result.stdout) == (1, "")
    assert SENTENCE.fullmatch(result.stderr), result.stderr
    assert message in result.stderr


def test_files_that_cannot_be_read(run_program: RunProgram, tmp_path: Path) -> None:
    program = tmp_path / "program.mlir"
    program.write_text(SIMPLE)
    (tmp_path / "bytes.mlir").write_bytes(b"\xff\xfe")
    for name in ("missing.mlir", "bytes.mlir", "."):
        result = run_program("-m", "llmir.verify", program, tmp_path / name)
        assert result.returncode == 1
        assert SENTENCE.fullmatch(result.stderr)
        assert str(tmp_path / name) in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["a.mlir"],
        ["a.mlir", "b.mlir", "--passes=canonicalize"],
        ["a.mlir", "b.mlir", "--rounds=0"],
        ["a.mlir", "b.mlir", "--seed=-1"],
        ["a.mlir", "b.mlir", "--tolerance=much"],
        ["a.mlir", "b.mlir", "--tolerance=f31=1"],
        ["a.mlir", "b.mlir", "--range=0=1"],
        ["a.mlir", "b.mlir", "--range=0=3:3"],
    ],
)
def test_wrong_command_lines(run_program: RunProgram, arguments: list[str]) -> None:
    result = run_program("-m", "llmir.verify", *arguments)
    assert result.returncode == 2
    assert result.stderr.startswith("usage: ")


LOOKUP = """func.func @main(%i: tensor<?xi32>, %t: tensor<7x4xf32>) -> tensor<?x4xf32> {
  %c0 = arith.constant 0 : index
  %n = arith.constant BEYOND : i32
  %d = tensor.dim %i, %c0 : tensor<?xi32>
  %s = tensor.splat %n[%d] : tensor<?xi32>
  %j = arith.addi %i, %s : tensor<?xi32>
  %y = llm.embedding %j, %t : (tensor<?xi32>, tensor<7x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}
"""


def test_code_that_dies_is_a_sentence(run_program: RunProgram, tmp_path: Path) -> None:
    before, after = tmp_path / "before.mlir", tmp_path / "after.mlir"
    before.write_text(LOOKUP.replace("BEYOND", "0"))
    after.write_text(LOOKUP.replace("BEYOND", "1000000000"))
    result = run_program("-m", "llmir.verify", before, after, "--range=0=0:7")
    assert result.returncode == 1
    assert SENTENCE.fullmatch(result.stderr)
    assert re.search(
        r"died of SIG\w+ while running @main of \S+after\.mlir in round 0",
        result.stderr,
    )


def test_the_first_pass_that_breaks_is_named(
    run_program: RunProgram, tmp_path: Path
) -> None:
    passes = "canonicalize,llm-merge-products,llm-quantize-kv-cache{dtype=int4},cse"
    arguments = ("-m", "llmir.verify", STEP, f"--passes={passes}", "--rounds=2")
    result = run_program(*arguments)
    assert result.returncode == 0, result.stderr
    lines = re.findall(r"^\| `(llm[^`]*)` \| (\S+) \|", result.stdout, re.M)
    assert [name.partition("{")[0] for name, _ in lines] == [
        "llm-merge-products",
        "llm-quantize-kv-cache",
    ]
    assert float(lines[0][1]) == 0 < float(lines[1][1])

    result = run_program(*arguments, "--tolerance=1e-6")
    assert result.returncode == 1
    assert SENTENCE.fullmatch(result.stderr)
    assert "the pass llm-quantize-kv-cache{dtype=int4} changes what" in result.stderr
    commands = re.findall(r"(?:run it again|compare) with: ([^;\n]*)", result.stderr)
    assert len(commands) == 2
    again = re.findall(r"\S+/(?:before|after)\.mlir", commands[1])
    try:
        assert [Path(path).exists() for path in again] == [True, True]
        assert "<bf16, 2" in Path(again[0]).read_text()
        assert "<i4, 2" in Path(again[1]).read_text()
        words = commands[1].split()[1:]
        assert run_program(*words, "--tolerance=1e-6").returncode == 1
        assert run_program(*commands[0].replace("'", "").split()[1:]).returncode == 0
    finally:
        for path in again:
            Path(path).unlink()
        Path(again[0]).parent.rmdir()


def test_compile_verifies_its_passes(
    run_program: RunProgram, make_model: MakeModel
) -> None:
    model = make_model("mha", "float32")
    arguments = ("-m", "llmir.compile", model, "--emit=optimized", "--verify-passes")
    result = run_program(*arguments, "--quantize=int8")
    assert result.returncode == 0, result.stderr
    assert "llm.quantized_matmul" in result.stdout
    assert re.fullmatch(
        r"llmir: \d+ passes that change the program keep its meaning, on 6 random "
        r"inputs, without 1 further calls of layers\n",
        result.stderr,
    )
    result = run_program("-m", "llmir.compile", model, "--emit=llm", "--verify-passes")
    assert result.returncode == 1
    assert SENTENCE.fullmatch(result.stderr)
