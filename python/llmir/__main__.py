# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Lets `python -m llmir` do what `llmir` does."""

from __future__ import annotations

import sys

from llmir.cli import main

if __name__ == "__main__":
    sys.exit(main())
