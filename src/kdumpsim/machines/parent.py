# SPDX-License-Identifier: GPL-2.0-or-later
"""Children that do not outlive their parent."""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1
"""prctl(2)."""
LIBC = ctypes.CDLL(None)
"""Loaded before any fork: a child that loads libraries may wait for a lock that no thread of its own holds."""


def die_with(parent: int) -> None:
    """In a child, soon after its start: have the kernel kill it when `parent` ends, whatever ends it.

    To be exact, when the parent's thread that forked it ends.  A parent that ended before this call is noticed too.
    """
    LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
