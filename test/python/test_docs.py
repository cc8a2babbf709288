# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs the commands and the Python of the written pages, and looks for what they name.

Commands are what stands in `sh` blocks and in indented ones. Those of a page run in the
order of the page, with its Python between them, by one shell in a folder like the
checkout, so that one may use what an earlier one made. Targets of make are only looked
up, since these tests are part of one, and so are the options of what takes an hour.
What the pages in `INSTALLING` do, test/install does, in places of its own.
`mlir` blocks are the business of test/docs.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GENERATED = {"dialect.md", "passes.md", "capabilities.md"}
PAGES = [
    path
    for pattern in ("*.md", "docs/*.md", "examples/*/*.md")
    for path in sorted(ROOT.glob(pattern))
    if path.name not in GENERATED
]
IDS = [str(path.relative_to(ROOT)) for path in PAGES]
INSTALLING = {
    "docs/packages.md",
    "examples/downstream/README.md",
    "examples/embed/README.md",
    "examples/paged/README.md",
    "examples/quantized/README.md",
}
RUN = sorted(set(IDS) - INSTALLING)
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.M | re.S)
LANGUAGES = {
    "",
    "cmake",
    "cpp",
    "json",
    "lua",
    "mlir",
    "python",
    "sh",
    "tablegen",
    "toml",
}
FOLDERS = "benchmarks|cmake|docs|examples|include|lib|python|runtime|test|tools|utils"
CHECKOUT_PATH = re.compile(rf"`((?:{FOLDERS})/[\w./*-]+)`")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """Yield the language and the text of each block of code, in order."""
    for indent, language, body in FENCE.findall(_fenced(text)):
        yield language, re.sub(f"^{indent}", "", body, flags=re.M)


def _fenced(text: str) -> str:
    """Put fences around indented blocks, which follow a blank line and no list."""
    result: list[str] = []
    inside_fence = inside_list = open_block = False
    lines = text.split("\n")
    for number, line in enumerate(lines):
        inside_fence ^= line.lstrip().startswith("```")
        indented = line.startswith("    ") and not inside_fence and not inside_list
        if re.match(r"([-*]|\d+\.) ", line):
            inside_list = True
        elif line and not line.startswith(" "):
            inside_list = False
        if indented and not open_block and not lines[number - 1]:
            result.append("```sh")
            open_block = True
        elif open_block and line and not indented:
            result.append("```")
            open_block = False
        result.append(line[4:] if open_block else line)
    return "\n".join([*result, "```"] if open_block else result)


def command(line: str) -> str:
    """Return what is run for a line of a page."""
    words = line.split("#")[0].split()
    if words[:1] == ["make"]:
        return "\n".join(f"grep -q '^{target}:' Makefile" for target in words[1:])
    program = words[1:3] if words[1:2] == ["-m"] else words[1:2]
    if re.match(r"-m benchmarks(\.\w+)?$|examples/.*/train\.py$", " ".join(program)):
        options = [word.split("=")[0] for word in words if word.startswith("--")]
        asked = " ".join([*words[:1], *program, "--help >help.txt"])
        return "\n".join(
            [asked, *(f"grep -qe {option} help.txt" for option in options)]
        )
    return line


def script(text: str) -> str:
    """Return a script for a shell that does what a page says."""
    lines: list[str] = []
    for language, body in blocks(text):
        assert language in LANGUAGES, f"nobody runs {language} blocks"
        if language == "python":
            lines += ["python - <<'END_OF_PYTHON'", body, "END_OF_PYTHON"]
        elif language == "sh":
            joined = body.replace("\\\n", " ")
            lines += [command(line) for line in joined.splitlines() if line.strip()]
    return "\n".join(lines)


@pytest.mark.parametrize("page", RUN)
def test_commands_and_python(page: str, tmp_path: Path) -> None:
    text = script((ROOT / page).read_text(encoding="utf-8"))
    if not text:
        return
    for entry in ROOT.iterdir():
        if entry.name != ".git":
            (tmp_path / entry.name).symlink_to(entry)
    binaries = f"{ROOT}/.venv/bin{os.pathsep}{os.environ['PATH']}"
    inherited = {**os.environ, "PATH": binaries}
    done = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", text],
        cwd=tmp_path,
        env=inherited,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_names_what_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [page.parent / link for link in LINK.findall(text)]
    paths = [ROOT / path for path in CHECKOUT_PATH.findall(text)]
    missing = [
        str(path)
        for path in (*links, *paths)
        if not any(path.parent.glob(path.name)) and not path.exists()
    ]
    assert not missing


def test_finds_what_a_page_has() -> None:
    page = """Text.

    make demo  # all
    python x.py

- a list

    of paragraphs

Text, then

```python
1
```

1. a step

   ```sh
   echo a \\
     b
   ```
"""
    assert [language for language, _ in blocks(page)] == ["sh", "python", "sh"]
    assert script(page).splitlines() == [
        "grep -q '^demo:' Makefile",
        "python x.py",
        "python - <<'END_OF_PYTHON'",
        "1",
        "",
        "END_OF_PYTHON",
        "echo a    b",
    ]
    assert command("python -m benchmarks --shape=x").splitlines() == [
        "python -m benchmarks --help >help.txt",
        "grep -qe --shape help.txt",
    ]
