#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Checks the format of all C++ and runs clang-tidy over what has changed.

clang-tidy takes minutes for the whole tree, most of them in MLIR's headers. So a file
that it found clean is not checked again until the file, a header that it includes, its
compile command or the configuration changes: the build folder keeps a hash of these.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUFFIXES = (".c", ".cpp", ".h", ".inc")
TIDY = "clang-tidy-18"
FORMAT = "clang-format-18"
FOLDERS = "examples|include|lib|python|runtime|test|tools"


def tracked(suffixes: tuple[str, ...]) -> list[str]:
    """Return the files of the checkout that git knows or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return [
        file for file in listed if file.endswith(suffixes) and (ROOT / file).exists()
    ]


def check_format() -> bool:
    """Return whether every file is formatted; say which are not."""
    files = tracked(SUFFIXES)
    result = subprocess.run([FORMAT, "--dry-run", "-Werror", *files], cwd=ROOT)
    return result.returncode == 0


def check_tablegen() -> bool:
    """Return whether TableGen, which nothing formats, keeps to the basics."""
    clean = True
    for file in tracked((".td",)):
        lines = (ROOT / file).read_text(encoding="utf-8").split("\n")
        for number, line in enumerate(lines, 1):
            for wrong, what in (
                (line != line.rstrip(), "white space at the end of the line"),
                ("\t" in line, "a tab"),
                (len(line) > 90, f"{len(line)} columns; 90 at most"),
            ):
                if wrong:
                    print(f"{file}:{number}: error: {what}", file=sys.stderr)
                    clean = False
    return clean


def included_files(build: Path) -> dict[str, list[Path]]:
    """Return what each object file was made of, within the checkout."""
    listed = subprocess.run(
        ["ninja", "-C", build, "-t", "deps"], capture_output=True, text=True, check=True
    ).stdout
    found: dict[str, list[Path]] = {}
    for entry in listed.split("\n\n"):
        head, *lines = entry.strip().splitlines() or [""]
        paths = [Path(os.path.normpath(build / line.strip())) for line in lines]
        found[head.partition(":")[0]] = [
            path for path in paths if path.is_relative_to(ROOT) and path.exists()
        ]
    return found


def output_of(entry: dict[str, str]) -> str:
    """Return the object file that a compile command writes."""
    words = shlex.split(entry["command"])
    return words[words.index("-o") + 1]


def configurations(file: Path) -> list[Path]:
    """Return the files that configure clang-tidy for a file."""
    folders = [folder for folder in file.parents if folder.is_relative_to(ROOT)]
    return [
        path for path in (folder / ".clang-tidy" for folder in folders) if path.exists()
    ]


def tidy(build: Path, file: Path) -> str:
    """Return what clang-tidy says of a file; nothing if it is clean."""
    result = subprocess.run(
        [TIDY, "--quiet", f"-p={build}", f"--header-filter=^{ROOT}/({FOLDERS})/", file],
        capture_output=True,
        text=True,
    )
    if result.returncode == 0:
        return ""
    return result.stdout or result.stderr


def check_tidy(build: Path) -> bool:
    """Return whether clang-tidy finds nothing; print what it finds."""
    version = subprocess.run([TIDY, "--version"], capture_output=True, text=True).stdout
    includes = included_files(build)
    stamps = build / "tidy"
    stamps.mkdir(exist_ok=True)
    todo = {}
    for entry in json.loads((build / "compile_commands.json").read_text()):
        file = Path(entry["file"])
        if (
            str(file.relative_to(ROOT) if file.is_relative_to(ROOT) else "")
            not in KNOWN
        ):
            continue
        read = [file, *configurations(file), *includes.get(output_of(entry), [])]
        key = hashlib.sha256((version + entry["command"]).encode())
        for path in sorted(set(read)):
            key.update(f"{path}\0".encode() + path.read_bytes())
        name = str(file.relative_to(ROOT)).replace("/", "-")
        stamp = stamps / name
        if not stamp.exists() or stamp.read_text() != key.hexdigest():
            todo[file] = (stamp, key.hexdigest())
    clean = True
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda file: tidy(build, file), todo)
        for (stamp, key_text), found in zip(todo.values(), results, strict=True):
            if found:
                print(found, end="")
                clean = False
            else:
                stamp.write_text(key_text)
    print(f"clang-tidy: {len(todo)} files checked", file=sys.stderr)
    return clean


def main() -> None:
    """Run the checks and end with 1 if one of them found something."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--build", type=Path, default=ROOT / "build/release")
    build = parser.parse_args().build.resolve()
    results = [check_format(), check_tablegen(), check_tidy(build)]
    sys.exit(0 if all(results) else 1)


KNOWN = frozenset(tracked((".c", ".cpp")))

if __name__ == "__main__":
    main()
