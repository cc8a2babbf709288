# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Lets `python -m llmir` do what `llmir` does."""

from __future__ import annotations

if __name__ == "__main__":
    from llmir._signals import end_quietly_on_interrupt

    end_quietly_on_interrupt()

import sys

from llmir.cli import main

if __name__ == "__main__":
    sys.exit(main())
