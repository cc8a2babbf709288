# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Makes lit tests of the documentation, so that none of it rots.

Every op, type, attribute and pass in the TableGen files is a test that runs the
`mlir` blocks of its description, and one without any fails. So do the `mlir` blocks of
the written pages. The generated pages are tests that fail when they are out of date.

A block of an op, a type or an attribute must parse, verify and round-trip. It may be a
whole program or a few ops, whose operands then are arguments of a function around them.

The blocks of a pass go in pairs: a program, and what the pass makes of it, as llmir-opt
prints it, where `...` stands for anything. A first line `// llmir-opt --flags` says
which passes run instead of the pass alone. A block with `expected-error` in it stands
alone and is run with --verify-diagnostics.
"""

from __future__ import annotations

import difflib
import itertools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lit.formats
import lit.Test

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "utils"))

import reference_docs  # noqa: E402
from reference_docs import Entity, Tools  # noqa: E402

WRITTEN = ("README.md", "CONTRIBUTING.md", "docs/*.md")
BLOCK = re.compile(r"^( *)```mlir\n(.*?)^ *```$", re.M | re.S)
COMMAND = re.compile(r"\A// llmir-opt (.*)\n")
UNDECLARED = re.compile(
    r"use of value '(%\w+)' expects different type than prior uses: '(.*)' vs 'none'"
)


class ExampleError(Exception):
    """An example does not do what it should; says what and why."""


def mlir_blocks(text: str) -> list[str]:
    """Return the `mlir` blocks of a text in Markdown, less their indentation."""
    return [
        re.sub(f"^{indent}", "", body, flags=re.M)
        for indent, body in BLOCK.findall(text)
    ]


def run(tool: Path, program: str, *flags: str) -> str:
    """Return what llmir-opt makes of a program."""
    result = subprocess.run(
        [tool, *flags], input=program, capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        command = " ".join(["llmir-opt", *flags])
        raise ExampleError(f"{command} failed on\n{program}\n{result.stderr}")
    return result.stdout


def complete(tool: Path, block: str) -> str:
    """Return a whole program around a block of an op, a type or an attribute."""
    aliases: list[str] = []
    body: list[str] = []
    for entry in re.split(r"\n(?=\S)", block.strip()):
        (aliases if re.match(r"[!#][\w.]+ = ", entry) else body).append(entry)
    head = "".join(f"{alias}\n" for alias in aliases)
    text = "\n".join(body)
    if re.search(r"^(func\.func|module|builtin\.module)\b", text, re.M):
        return head + text + "\n"
    entries = [entry for entry in body if not entry.startswith("//")]
    if entries and all(entry[0] in "!#" for entry in entries):
        names = []
        for i, entry in enumerate(entries):
            names.append(f"{entry[0]}example{i}")
            head += f"{names[-1]} = {entry}\n"
        return head + f"module attributes {{test.uses = [{', '.join(names)}]}} {{}}\n"
    defined = set()
    for results in re.findall(r"^((?:%\w+(?::\d+)?(?:, )?)+) =", text, re.M):
        defined.update(re.findall(r"%\w+", results))
    # Only the parser knows of what type each operand is, and says so.
    code = re.sub(r"//.*", "", text)
    types = {name: "none" for name in re.findall(r"%\w+", code) if name not in defined}
    while True:
        arguments = ", ".join(f"{name}: {type_}" for name, type_ in types.items())
        program = f"{head}func.func @example({arguments}) {{\n{text}\nreturn\n}}\n"
        result = subprocess.run([tool], input=program, capture_output=True, text=True)
        wrong = UNDECLARED.search(result.stderr)
        if wrong is None or types[wrong[1]] != "none":
            return program
        types[wrong[1]] = wrong[2]


def check_round_trip(tool: Path, block: str) -> str:
    """Check that a block parses, verifies and round-trips; return what is printed."""
    return run(tool, complete(tool, block), "--verify-roundtrip")


def check_op(tool: Path, entity: Entity) -> None:
    """Check the blocks of an op, a type or an attribute."""
    blocks = mlir_blocks(entity.description)
    if not blocks:
        raise ExampleError(f"{entity.name} has no example in an mlir block")
    printed = "".join(check_round_trip(tool, block) for block in blocks)
    if not re.search(rf"{re.escape(entity.name)}\b", printed):
        raise ExampleError(f"no example of {entity.name} contains it")


def squeeze(program: str) -> str:
    """Return a program without comments, white space and the module around it."""
    program = re.sub(r"//.*", "", program)
    program = re.sub(r"\s+", "", program)
    whole = re.fullmatch(r"module\{(.*)\}", program)
    return whole[1] if whole else program


def check_pass(tool: Path, entity: Entity) -> None:
    """Check the blocks of a pass."""
    if not entity.description.strip():
        raise ExampleError(f"--{entity.name} has no description")
    blocks = iter(mlir_blocks(entity.description))
    examples = 0
    for before in blocks:
        examples += 1
        command = COMMAND.match(before)
        flags = command[1].split() if command else [f"--{entity.name}"]
        if "expected-" in before:
            run(tool, before, *flags, "--verify-diagnostics", "--split-input-file")
            continue
        after = next(blocks, None)
        if after is None:
            raise ExampleError(f"--{entity.name}: the last block has no result")
        printed = run(tool, before, *flags)
        parts = squeeze(after).split("...")
        if not re.fullmatch(".*".join(map(re.escape, parts)), squeeze(printed)):
            raise ExampleError(
                f"llmir-opt {' '.join(flags)} makes of\n{before}\n{printed}\n"
                f"and not\n{after}"
            )
    if not examples:
        raise ExampleError(f"--{entity.name} has no example in mlir blocks")


def check_page(tools: Tools, path: str) -> None:
    """Check that a generated page is what its sources say now."""
    found = (ROOT / path).read_text(encoding="utf-8") if (ROOT / path).exists() else ""
    expected = reference_docs.pages(tools)[path]
    if found != expected:
        difference = difflib.unified_diff(
            found.splitlines(), expected.splitlines(), path, "from its sources", n=1
        )
        lines = "\n".join(itertools.islice(difference, 60))
        raise ExampleError(f"{path} is out of date; run `make docs`\n{lines}")


class DocExamples(lit.formats.TestFormat):  # type: ignore[misc]
    """The format of the tests in this folder."""

    def __init__(self, llvm_tools_dir: str, llmir_tools_dir: str) -> None:
        """Find the examples."""
        self._opt = Path(llmir_tools_dir, "llmir-opt")
        self._tools = Tools(Path(llvm_tools_dir).parent, self._opt)
        self._entities = {
            entity.name: entity
            for entity in (
                *reference_docs.dialect_entities(self._tools),
                *reference_docs.pass_entities(self._tools),
            )
            if entity.kind != "enum"
        }
        self._generated = ["docs/dialect.md", "docs/passes.md"]
        self._written = {}
        for pattern in WRITTEN:
            for page in sorted(ROOT.glob(pattern)):
                path = str(page.relative_to(ROOT))
                if path not in self._generated:
                    self._written[path] = mlir_blocks(page.read_text(encoding="utf-8"))

    def getTestsInDirectory(  # noqa: N802
        self, suite: Any, path: tuple[str, ...], _: Any, config: Any
    ) -> Iterator[lit.Test.Test]:
        """Yield a test for each thing that is documented and for each page."""
        for name in (*self._entities, *self._generated, *self._written):
            yield lit.Test.Test(suite, (*path, name), config)

    def execute(self, test: Any, _: Any) -> tuple[Any, str]:
        """Run a test."""
        name = "/".join(test.path_in_suite[1:])
        try:
            if name in self._generated:
                check_page(self._tools, name)
            elif name in self._written:
                for block in self._written[name]:
                    check_round_trip(self._opt, block)
            elif self._entities[name].kind == "pass":
                check_pass(self._opt, self._entities[name])
            else:
                check_op(self._opt, self._entities[name])
        except ExampleError as error:
            return lit.Test.FAIL, str(error)
        return lit.Test.PASS, ""
