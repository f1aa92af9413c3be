# SPDX-License-Identifier: GPL-2.0-or-later
"""The crash points and crash types that the guest kernel has, for help texts and checks.

The guest registers the same names (`kernel/lkdtt/`); the kernel, not this table, decides what a
crossing does.  Names and meanings are those of the LKDTT paper, sections 3.2.1, 3.3 and 4.1.
"""

from __future__ import annotations

CRASH_POINTS: dict[str, str] = {
    "INT_HARDWARE_ENTRY": "IRQ handling: __do_IRQ, its descriptor's lock held",
    "FS_DEVRW": "block I/O: ll_rw_block, a DMA transfer just started",
    "TIMERADD": "starting a high-resolution timer: hrtimer_start",
}

CRASH_TYPES: dict[str, str] = {
    "none": "cross the point and do nothing",
    "panic": "call panic()",
    "bug": "BUG(): an invalid opcode, hence an oops",
    "exception": "dereference a null pointer",
}

TYPE_ALIASES: dict[str, str] = {"oops": "bug"}
"""Table 2 of the paper says `oops` where ttutils says `bug`."""

DEFAULT_COUNT = 10
"""Crossings before the crash: the default `pass_num` of ttutils (section 3.3)."""
