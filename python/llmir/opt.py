# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`llmir-opt` as `python -m llmir.opt`, wherever the package is installed.

Messages name it in the command that reproduces a failure, since the program
`llmir-opt` belongs to the developer's installation and may not be there.
"""

from __future__ import annotations

import signal
import sys

from llmir import _native
from llmir.errors import LLMIRError

if __name__ == "__main__":
    try:
        native = _native.compiler()
    except LLMIRError as error:
        sys.exit(f"llmir: error: {error}")
    # Python would wait for the native code to return before it looks at them.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.exit(native.opt_main(["llmir-opt", *sys.argv[1:]]))
