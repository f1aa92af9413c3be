# SPDX-License-Identifier: GPL-2.0-or-later
"""What this kernel calls itself (init/version.c); nothing here depends on when or where it was built."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import cstr
from kdumpsim.kernel.core.config import PREEMPT

UTS_SYSNAME: Final[cstr] = "kdumpsim"
UTS_RELEASE: Final[cstr] = "2.6.16-toy"

linux_banner: Final[cstr] = (
    "kdumpsim version 2.6.16-toy (typed Python, llvmlite) SMP PREEMPT i386\n"
    if PREEMPT
    else "kdumpsim version 2.6.16-toy (typed Python, llvmlite) SMP i386\n"
)
