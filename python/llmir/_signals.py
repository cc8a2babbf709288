# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""How a program of LLMIR ends on an interrupt, before it can say anything itself.

Importing takes the longest part of a short command. It is also the time in which
most people notice that they typed something wrong, and Python would answer them with
a traceback through its import machinery. The modules that are programs therefore
call this before they import anything else; nobody who imports them as a part of
another program is concerned.
"""

from __future__ import annotations

import signal


def end_quietly_on_interrupt() -> None:
    """Let ^C end this process as it ends one that knows nothing of signals.

    `llmir.command.perform` handles signals once there is something to tidy up. One
    that is ignored from the start, as under nohup, stays so.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def end_with(parent: int) -> None:
    """Let the kernel end this process when its parent, the process `parent`, ends.

    Also if that is killed, which leaves it no time to end its children itself.
    """
    import ctypes
    import os

    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    # It may have been over before.
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
