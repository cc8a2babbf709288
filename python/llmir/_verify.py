# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compares programs: the child process of a verification.

It links LLVM and runs code that a wrong program may make of it, each of which can end
a process. So `llmir.verify`, which starts it, reads from files what was found, or what
was being done when this process died.

    python -m llmir._verify JOB.json FOUND.json PROGRESS
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import sys
from pathlib import Path
from typing import Any

from llmir._codegen import OUT_OF_MEMORY, REFUSED
from llmir._signals import end_with
from llmir.errors import LLMIRError
from llmir.verification import Settings, Stage, compare, parse


def main() -> int:
    """Compare as the job says; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m llmir._verify")
    parser.add_argument("job", type=Path, help="what is to be compared, as JSON")
    parser.add_argument("found", type=Path, help="the file for what is found")
    parser.add_argument("progress", type=Path, help="the file for what is being done")
    parser.add_argument("--parent", type=int, help="the process id to end with")
    arguments = parser.parse_args()
    if arguments.parent is not None:
        end_with(arguments.parent)
    job = json.loads(arguments.job.read_text(encoding="utf-8"))

    def notify(what: str) -> None:
        arguments.progress.write_text(what, encoding="utf-8")

    try:
        found = verify(job, notify)
    except LLMIRError as error:
        print(error, file=sys.stderr)
        return REFUSED
    except MemoryError:
        print(OUT_OF_MEMORY, file=sys.stderr)
        return REFUSED
    arguments.found.write_text(json.dumps(found), encoding="utf-8")
    return 0


def verify(job: dict[str, Any], notify: Any) -> dict[str, Any]:
    """Return what was compared, and how.

    job: `programs`, each a path and a name; `settings`, fields of Settings; and, to
        compare a program before and after each pass, `pipeline`, the most `layers`
        that stay, and the directory `stages` that the programs are written to.
    """
    fields = dict(job["settings"])
    for name in ("functions",):
        fields[name] = None if fields[name] is None else tuple(fields[name])
    fields["ranges"] = {int(key): tuple(ends) for key, ends in fields["ranges"].items()}
    fields["weights"] = None if fields["weights"] is None else Path(fields["weights"])
    settings = Settings(**fields)
    found: dict[str, Any] = {"left_out": 0, "passes": [], "files": []}
    if job.get("pipeline") is None:
        stages = [
            Stage(Path(path).read_text(encoding="utf-8"), name)
            for path, name in job["programs"]
        ]
    else:
        stages = _stages(job, found, notify)
    results = compare(stages, settings, notify)
    found["results"] = [
        [dataclasses.asdict(output) for output in outputs] for outputs in results
    ]
    return found


def _stages(job: dict[str, Any], found: dict[str, Any], notify: Any) -> list[Stage]:
    """Run passes one by one; return the program before them and after each.

    What a pass does not change is left out.
    """
    ((path, name),) = job["programs"]
    directory = Path(job["stages"])
    module = parse(Path(path).read_text(encoding="utf-8"), name)
    if job["layers"]:
        found["left_out"] = module.leave_out_calls(job["layers"])
    try:
        pipeline = split_passes(module.expand(job["pipeline"]))
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise LLMIRError(f"there is no pipeline {job['pipeline']}: {reason}") from error
    texts = [str(module)]
    labels = [name]
    for number, pass_ in enumerate(pipeline, 1):
        notify(f"running the pass {pass_}")
        try:
            module.run(pass_)
        except RuntimeError as error:
            lines = str(error).splitlines() or ["no reason was given"]
            raise LLMIRError(f"the pass {pass_} fails on {name}: {lines[0]}") from error
        text = str(module)
        if text == texts[-1]:
            continue
        texts.append(text)
        labels.append(f"the program after {pass_}")
        found["passes"].append([number, pass_])
    for number, text in enumerate(texts):
        file = directory / f"{number}.mlir"
        file.write_text(text, encoding="utf-8")
        found["files"].append(str(file))
    return [Stage(text, label) for text, label in zip(texts, labels, strict=True)]


def split_passes(pipeline: str) -> list[str]:
    """Return each pass of an expanded pipeline, as a pipeline of its own."""
    inside = pipeline.removeprefix("builtin.module(").removesuffix(")")
    parts, depth, start = [], 0, 0
    for at, character in enumerate(inside + ","):
        depth += (character in "({") - (character in ")}")
        if character == "," and depth == 0:
            parts.append(inside[start:at])
            start = at + 1
    passes = []
    for part in parts:
        nested = re.fullmatch(r"([\w.]+)\((.*)\)", part)
        if nested is None:
            passes.append(part)
        else:
            passes += [f"{nested[1]}({inner})" for inner in split_passes(nested[2])]
    return [pass_ for pass_ in passes if pass_]


if __name__ == "__main__":
    sys.exit(main())
