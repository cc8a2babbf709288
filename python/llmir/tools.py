# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`llmir-opt`, `llmir-translate` and `llmir-lsp-server` of an installed package.

The programs that `make build` makes need the machine's MLIR. These are the same
functions, in the native module that has MLIR in it.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from llmir import _native
from llmir.errors import LLMIRError


def opt() -> int:
    """Run `llmir-opt` on the command line's arguments; return the exit status."""
    return _run("opt_main")


def translate() -> int:
    """Run `llmir-translate` likewise."""
    return _run("translate_main")


def lsp_server() -> int:
    """Run `llmir-lsp-server` likewise."""
    return _run("lsp_server_main")


def _run(name: str) -> int:
    # Python would wait for the native code to return before it looks at them.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        main: Any = getattr(_native.compiler(), name)
    except LLMIRError as error:
        print(f"llmir: error: {error}", file=sys.stderr)
        return 1
    # As bytes: the name of a file need not be UTF-8.
    return int(main([os.fsencode(argument) for argument in sys.argv]))
