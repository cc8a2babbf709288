# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Times LLMIR and every engine that is installed, on the same weights, in turns.

    python -m benchmarks --peer-python PEERS/bin/python

Models of real shapes are made on the spot with seeded random weights, converted once
for each engine and kept in a cache directory. Results are merged into one JSON file,
so that a long comparison can be made a row at a time, and a row can be repeated.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks import compiling, report, results, targets
from benchmarks.limits import PEAKS, Limits
from benchmarks.measure import Bench, Engine, PeerError, held
from benchmarks.peers import NAMES, is_own
from benchmarks.rows import FORMATS, ROWS
from benchmarks.shapes import SHAPES, Shape, model_directory
from llmir.command import positive_int


def main() -> int:
    """Measure, merge and report."""
    arguments = _arguments()
    cache = arguments.cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    found = results.load(arguments.json)
    refused = []
    if not arguments.report_only:
        limits = Limits()
        bench = Bench(limits, cache, arguments.threads, arguments.repetitions)
        found["machine"] = results.machine()
        for shape in arguments.shape:
            refused += _measure(bench, SHAPES[shape], arguments, found)
            results.save(arguments.json, found)
    text = report.markdown(found)
    print(text)
    if arguments.plot:
        report.plot(found, arguments.plot)
    if arguments.markdown:
        report.write_page(found, arguments.markdown)
    for line in refused:
        print(f"benchmarks: {line}", file=sys.stderr)
    return 1 if refused else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=(__doc__ or "").split("\n")[0]
    )
    add = parser.add_argument
    for option, names, what in (
        ("--shape", SHAPES, "shapes of models"),
        ("--rows", ROWS, "rows"),
        ("--formats", FORMATS, "formats of weights"),
        ("--peers", NAMES, "engines"),
    ):
        add(
            option,
            type=_list(names),
            default=list(names),
            metavar="NAME,...",
            help=f"{what}, of {', '.join(names)} (default: all)",
        )
    count = positive_int
    add("--threads", type=count, default=os.cpu_count(), help="threads (default: all)")
    add("--repetitions", type=count, default=5, help="runs of each engine (default: 5)")
    add(
        "--peer-python",
        default=os.environ.get("LLMIR_PEER_PYTHON", sys.executable),
        metavar="PYTHON",
        help="the interpreter that llama.cpp, OpenVINO and ONNX Runtime are installed "
        "for (default: $LLMIR_PEER_PYTHON, or this one)",
    )
    add(
        "--cache",
        type=Path,
        default=Path(
            os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"),
            "llmir-benchmarks",
        ),
        help="where models and conversions are kept (default: %(default)s)",
    )
    add(
        "--lock",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="hold this file's lock, as flock(1) does, while timing: for a "
        "machine that others work on",
    )
    add(
        "--json",
        type=Path,
        default=Path("benchmarks.json"),
        help="results; what is there already stays (default: %(default)s)",
    )
    add("--plot", type=Path, help="draw the results, as PNG or SVG")
    add("--markdown", type=Path, help="write the page of docs/performance.md")
    add("--report-only", action="store_true", help="measure nothing")
    add("--errors", action="store_true", help="measure errors of logits too")
    add(
        "--targets",
        action="store_true",
        help="of these shapes, rows and formats, measure only what a target names",
    )
    return parser.parse_args()


def _list(names: Iterable[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        for name in text.split(","):
            if name not in names:
                raise argparse.ArgumentTypeError(
                    f"{name} is none of {', '.join(names)}"
                )
        return text.split(",")

    return parse


def _limits(limits: Limits) -> dict[str, dict[str, float]]:
    return {
        str(threads): {"bandwidth": limits.bandwidth(threads)}
        | {kind: limits.peak(kind, threads) for kind in PEAKS}
        for threads in (1, 2)
    }


def _measure(
    bench: Bench,
    shape: Shape,
    arguments: argparse.Namespace,
    found: dict[str, object],
) -> list[str]:
    model = model_directory(shape, bench.cache)
    engines = _engines(bench, arguments, found)
    paths: dict[Engine, str] = {}
    for engine in engines:
        if set(arguments.rows) != {"compile"} or arguments.errors:
            path = _prepare(bench, engine, model, found)
            if path:
                paths[engine] = path
    with held(arguments.lock):
        found["limits"] = _limits(bench.limits)
        return _measure_rows(bench, shape, model, paths, arguments, found)


def _measure_rows(
    bench: Bench,
    shape: Shape,
    model: Path,
    paths: dict[Engine, str],
    arguments: argparse.Namespace,
    found: dict[str, object],
) -> list[str]:
    refused = []
    for name in arguments.rows:
        row = ROWS[name]
        if row.kind == "compile":
            if arguments.targets and shape.name not in targets.COMPILED:
                continue
            print(f"{shape.name} compile ...", file=sys.stderr)
            block = compiling.measure(bench, shape, model)
            results.add_block(found, block)
            continue
        for group in sorted({FORMATS[name].group for name in arguments.formats}):
            chosen = {
                engine: path
                for engine, path in paths.items()
                if FORMATS[engine.format].group == group
                or (engine.peer == "llmir" and engine.format == "bf16")
            }
            if arguments.targets:
                asked = targets.engines(shape.name, name, group, list(chosen))
                chosen = {engine: chosen[engine] for engine in asked}
            if not any(FORMATS[e.format].group == group for e in chosen):
                continue
            print(f"{shape.name} {name} {group} ...", file=sys.stderr)
            block = bench.run(shape, row, chosen)
            for key in (None, *block["engines"]):
                noise = results.noise(block, key)
                if noise:
                    refused.append(f"{shape.name} {name} {key or group}: {noise}")
            results.add_block(found, block)
            print(report.block_lines(block), file=sys.stderr)
        results.save(arguments.json, found)
    if arguments.errors:
        results.measure_errors(bench, shape, model, paths, found)
    return refused


def _engines(
    bench: Bench, arguments: argparse.Namespace, found: dict[str, object]
) -> list[Engine]:
    """Return what is installed, in the order of the report; note the rest."""
    versions = found.setdefault("versions", {})
    assert isinstance(versions, dict)
    engines = []
    for peer in arguments.peers:
        own = is_own(peer) or peer.startswith("transformers")
        python = sys.executable if own else arguments.peer_python
        if not shutil.which(python):
            raise SystemExit(f"benchmarks: there is no interpreter {python}")
        worker = bench.worker(Engine(peer, "bf16", python))
        try:
            answer = worker.ask("version")
        except PeerError as error:
            versions[peer] = f"not installed ({error})"
            print(f"benchmarks: {NAMES[peer]}: {versions[peer]}", file=sys.stderr)
            continue
        finally:
            worker.close()
        versions[peer] = answer["version"]
        offered = [name for name in FORMATS if name in answer["formats"]]
        engines += [
            Engine(peer, name, python)
            for name in offered
            if name in arguments.formats or (peer == "llmir" and name == "bf16")
        ]
    return engines


def _prepare(
    bench: Bench, engine: Engine, model: Path, found: dict[str, object]
) -> str | None:
    worker = bench.worker(engine)
    try:
        answer = worker.ask(
            "prepare",
            model=str(model),
            format=engine.format,
            cache=str(model.parent),
        )
        return str(answer["path"])
    except PeerError as error:
        print(f"benchmarks: {engine.key}: {error}", file=sys.stderr)
        failed = found.setdefault("unprepared", {})
        assert isinstance(failed, dict)
        failed[f"{model.parent.name} {engine.key}"] = str(error)
        return None
    finally:
        worker.close()


if __name__ == "__main__":
    sys.exit(main())
