#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Writes the dialect and pass reference, docs/dialect.md and docs/passes.md.

What an op or a pass means is written once, in the TableGen files. mlir-tblgen turns
that into Markdown; this gives it headings that can be linked to, a table of contents,
and the pipelines, which TableGen does not know. The pages are checked in; `make docs`
writes them, and the tests of test/docs fail when they are not what this would write.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DIALECT = "include/llmir/Dialect/LLM/LLM.td"
PASSES = {
    "include/llmir/Dialect/LLM/Passes.td": "Passes within the `llm` dialect",
    "include/llmir/Conversion/Passes.td": "Passes out of the `llm` dialect",
}
GENERATED = "<!-- Written by `make docs` from {}; change it there. -->\n"


@dataclass(frozen=True)
class Entity:
    """Something that TableGen documents.

    kind: `op`, `type`, `attribute`, `enum` or `pass`.
    name: as it is written in programs: `llm.rope`, `!llm.paged_kv_cache`, a flag.
    cpp_class: its C++ class; empty for a pass.
    """

    kind: str
    name: str
    cpp_class: str
    summary: str
    description: str


@dataclass(frozen=True)
class Tools:
    """The tools that read TableGen, and the driver that knows the pipelines."""

    llvm: Path
    llmir_opt: Path

    def records(self, file: str) -> dict[str, Any]:
        """Return the records of a TableGen file, by name."""
        output = self._run("llvm-tblgen", file, "--dump-json")
        records: dict[str, Any] = json.loads(output)
        return records

    def pages(self, file: str, generator: str) -> str:
        """Return what a generator of mlir-tblgen makes of a TableGen file."""
        return self._run("mlir-tblgen", file, *generator.split())

    def pipelines(self) -> Iterator[tuple[str, str, list[str]]]:
        """Yield each pipeline's flag, its summary and the passes that it runs."""
        help_text = self._opt("--help").stdout
        listed = help_text[help_text.index("Pass Pipelines") :]
        for name, summary in re.findall(r"^ {6}--(llm-\S+) +- +(.*)$", listed, re.M):
            output = self._opt(f"--{name}", "--dump-pass-pipeline", "/dev/null").stderr
            dumped = re.search(r"^builtin\.module\((.*)\)$", output, re.M)
            assert dumped is not None, output
            passes = re.findall(r"([\w-]+)(\{[^}]*\})?(?=[,)]|$)", dumped[1])
            # Upstream's passes come with every option they have.
            yield (
                name,
                summary,
                [
                    pass_ + (options if "llm-" in pass_ else "")
                    for pass_, options in passes
                ],
            )

    def _opt(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.llmir_opt, *arguments], capture_output=True, text=True, check=False
        )

    def _run(self, tool: str, file: str, *arguments: str) -> str:
        includes = ["-I", str(ROOT / "include"), "-I", str(self.llvm / "include")]
        return subprocess.run(
            [self.llvm / "bin" / tool, ROOT / file, *includes, *arguments],
            capture_output=True,
            text=True,
            check=True,
        ).stdout


def dialect_entities(tools: Tools) -> list[Entity]:
    """Return the ops, types and attributes of the dialect."""
    records = tools.records(DIALECT)
    instances = records["!instanceof"]
    enums = set(instances["EnumAttr"])
    entities = []
    for kind, superclass, sigil, mnemonic in (
        ("op", "Op", "", "opName"),
        ("type", "TypeDef", "!", "mnemonic"),
        ("attribute", "AttrDef", "#", "mnemonic"),
    ):
        for name in instances[superclass]:
            record = records[name]
            owner = records[record["opDialect" if kind == "op" else "dialect"]["def"]]
            if owner["name"] != "llm":
                continue
            entities.append(
                Entity(
                    "enum" if name in enums else kind,
                    f"{sigil}llm.{record[mnemonic]}",
                    record.get("cppClassName") or name.partition("_")[2],
                    (record["summary"] or "").strip(),
                    record["description"] or "",
                )
            )
    return entities


def pass_entities(tools: Tools) -> list[Entity]:
    """Return the passes."""
    return [
        Entity("pass", record["argument"], "", record["summary"], record["description"])
        for file in PASSES
        for records in [tools.records(file)]
        for record in (records[name] for name in records["!instanceof"]["PassBase"])
    ]


def anchor(heading: str) -> str:
    """Return the fragment that a heading is linked by, as Markdown viewers make it."""
    kept = re.sub(r"[^\w\- ]", "", heading.lower())
    return "#" + kept.replace(" ", "-")


def contents(entries: list[tuple[str, str]]) -> str:
    """Return a list of links to headings, each with a summary."""
    lines = []
    for heading, summary in sorted(entries, key=lambda entry: entry[0].strip("`")):
        first = summary[:1].lower() + summary[1:]
        lines.append(f"- [{heading}]({anchor(heading)}): {first}")
    return "\n".join(lines) + "\n"


def tidy(page: str) -> str:
    """Return a page with blank lines around headings, and never two of them."""
    page = re.sub(r"\n(#+ [^\n]*)\n", r"\n\n\1\n\n", page)
    page = re.sub(r"[ \t]+\n", "\n", page)
    return re.sub(r"\n{3,}", "\n\n", page).strip() + "\n"


def dialect_page(tools: Tools) -> str:
    """Return docs/dialect.md."""
    records = tools.records(DIALECT)["LLM_Dialect"]
    entities = dialect_entities(tools)
    raw = tools.pages(DIALECT, "-gen-dialect-doc -dialect=llm")
    body = raw[raw.index("## Operations") :]
    # `llm.rope` (::llmir::llm::RopeOp), PagedKVCacheType
    body = re.sub(r"^(### `llm\.\w+`) \(.*\)$", r"\1", body, flags=re.M)
    for entity in entities:
        if entity.kind != "op":
            body = body.replace(f"### {entity.cpp_class}\n", f"### `{entity.name}`\n")
    described = re.sub(r"^    ", "", records["description"], flags=re.M).strip()
    sections = [
        ("Operations", ("op",)),
        ("Attributes", ("attribute", "enum")),
        ("Types", ("type",)),
    ]
    listed = ""
    for title, kinds in sections:
        entries = [
            (f"`{entity.name}`", entity.summary or entity.name)
            for entity in entities
            if entity.kind in kinds
        ]
        if entries:
            listed += f"\n[{title}]({anchor(title)})\n\n{contents(entries)}"
    return tidy(
        GENERATED.format(DIALECT)
        + f"# The `llm` dialect\n\n{described}\n{listed}\n{body}"
    )


def passes_page(tools: Tools) -> str:
    """Return docs/passes.md."""
    page = GENERATED.format("the files Passes.td and from llmir-opt")
    page += "# Passes and pipelines\n\nAll are flags of `llmir-opt`.\n"
    listed, body = "", ""
    for file, title in PASSES.items():
        records = tools.records(file)
        entries = [
            (f"`--{records[name]['argument']}`", records[name]["summary"])
            for name in records["!instanceof"]["PassBase"]
        ]
        listed += f"\n[{title}]({anchor(title)})\n\n{contents(entries)}"
        raw = tools.pages(file, "-gen-pass-doc").partition("\n")[2]
        body += f"\n## {title}\n\n" + re.sub(r"^### `-", "### `--", raw, flags=re.M)
    pipelines = list(tools.pipelines())
    entries = [(f"`--{name}`", summary) for name, summary, _ in pipelines]
    listed += f"\n[Pipelines](#pipelines)\n\n{contents(entries)}"
    body += "\n## Pipelines\n"
    for name, summary, passes in pipelines:
        runs = "\n".join(f"{i}. `{pass_}`" for i, pass_ in enumerate(passes, 1))
        body += f"\n### `--{name}`\n\n_{summary}_\n\nRuns, in this order:\n\n{runs}\n"
    return tidy(page + listed + body)


def pages(tools: Tools) -> dict[str, str]:
    """Return the pages of the reference, by path."""
    return {
        "docs/dialect.md": dialect_page(tools),
        "docs/passes.md": passes_page(tools),
    }


def main() -> None:
    """Write the pages."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--llvm", type=Path, default=Path("/usr/lib/llvm-18"))
    parser.add_argument(
        "--llmir-opt", type=Path, default=ROOT / "build/release/bin/llmir-opt"
    )
    arguments = parser.parse_args()
    for path, text in pages(Tools(arguments.llvm, arguments.llmir_opt)).items():
        (ROOT / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
