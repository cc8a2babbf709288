# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The one exception that carries a sentence for the person at the keyboard.

Whatever is wrong with a model, an artifact or a request is raised as an
`LLMIRError` whose text says what is wrong, where, and what to do. Commands print
it without a traceback; every other exception is a bug of ours and keeps its own.
"""

from __future__ import annotations


class LLMIRError(Exception):
    """Bad input, described in one sentence."""
