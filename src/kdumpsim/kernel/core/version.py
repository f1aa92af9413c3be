# SPDX-License-Identifier: GPL-2.0-or-later
"""What this kernel calls itself (init/version.c); nothing here depends on when or where it was built.

Programs and dump tools know a kernel by `sysname` and by the first words of the banner, so these are Linux's.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import Struct, array, length, u8
from kdumpsim.kernel.core.config import PREEMPT

UTS_LEN: Final = 65


class NewUtsname(Struct):
    """The answer of uname(2) (include/linux/utsname.h)."""

    sysname: array[u8] = length(UTS_LEN)
    nodename: array[u8] = length(UTS_LEN)
    release: array[u8] = length(UTS_LEN)
    version: array[u8] = length(UTS_LEN)
    machine: array[u8] = length(UTS_LEN)
    domainname: array[u8] = length(UTS_LEN)


system_utsname: NewUtsname = NewUtsname(
    sysname=b"Linux",
    nodename=b"(none)",
    release=b"2.6.16-toy",
    version=b"#1 SMP PREEMPT Mon Mar 20 05:53:29 UTC 2006" if PREEMPT else b"#1 SMP Mon Mar 20 05:53:29 UTC 2006",
    machine=b"i386",
    domainname=b"(none)",
)
"""The date is the one of Linux 2.6.16, so that a kernel built today equals one built tomorrow."""

linux_banner: array[u8] = (
    b"Linux version 2.6.16-toy (kdumpsim; typed Python, llvmlite) #1 SMP PREEMPT Mon Mar 20 05:53:29 UTC 2006\n\0"
    if PREEMPT
    else b"Linux version 2.6.16-toy (kdumpsim; typed Python, llvmlite) #1 SMP Mon Mar 20 05:53:29 UTC 2006\n\0"
)
