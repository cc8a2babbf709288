# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""One engine in a process of its own, which does what it is told, a line at a time.

Engines bring libraries that do not agree with each other's, and threads that spin
while they wait. So each has its own interpreter, and is stopped between its turns.

    python worker.py PEER
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any


def main() -> int:
    """Answer requests until the input ends."""
    # Libraries print to the standard output; answers take another way.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    name = sys.argv[1]
    state: dict[str, Any] = {}
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = _perform(name, state, request)
        except Exception as error:
            first = str(error).strip().split("\n")[0]
            answer = {"error": f"{type(error).__name__}: {first}"}
            import traceback

            traceback.print_exc()
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    return 0


def _perform(name: str, state: dict[str, Any], request: dict[str, Any]) -> Any:
    engine = importlib.import_module(f"peers.{name}")
    what = request.pop("do")
    if what == "version":
        return {"version": engine.version(), "formats": engine.FORMATS}
    if what == "prepare":
        path = engine.prepare(
            Path(request["model"]), request["format"], Path(request["cache"])
        )
        return {"path": str(path)}
    if what == "open":
        engine.version()  # imports are not part of the time
        state.pop("session", None)
        gc.collect()
        begin = time.perf_counter()
        state["session"] = engine.Session(**request | {"path": Path(request["path"])})
        return {"seconds": time.perf_counter() - begin}
    session = state["session"]
    if what == "logits":
        logits = session.logits(**request)
        return {"logits": None if logits is None else logits.astype(float).tolist()}
    if what == "memory":
        return {"bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    return {"seconds": getattr(session, what)(**request)}


if __name__ == "__main__":
    sys.exit(main())
