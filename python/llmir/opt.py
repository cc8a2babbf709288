# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`llmir-opt` as `python -m llmir.opt`, wherever the package is installed.

Messages name it in the command that reproduces a failure, since the program
`llmir-opt` belongs to the developer's installation and may not be there.
"""

from __future__ import annotations

if __name__ == "__main__":
    from llmir._signals import end_quietly_on_interrupt

    end_quietly_on_interrupt()

import sys

from llmir import tools

if __name__ == "__main__":
    sys.argv[0] = "llmir-opt"
    sys.exit(tools.opt())
