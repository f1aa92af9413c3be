# SPDX-License-Identifier: GPL-2.0-or-later
"""CPOINT: the hook that marks a crash point in the kernel's source (LKDTT paper, section 3.2.1).

A crash point that is not armed costs one load and one branch.  Everything else about crash points
(registration, counters, crash types, /proc/dtt) is the DTT module, `lkdtt.dtt`.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import array, extern, guest, length, u8, u32

CP_INT_HARDWARE_ENTRY: Final = 1
CP_INT_HW_IRQ_EN: Final = 2
CP_FS_DEVRW: Final = 3
CP_MEM_SWAPOUT: Final = 4
CP_TASKLET: Final = 5
CP_TIMERADD: Final = 6
CP_INT_TASKLET_ENTRY: Final = 7
CP_SCSI_DISPATCH_CMD: Final = 8
NR_CPOINTS: Final = 64

cpoint_enabled: array[u8] = length(NR_CPOINTS)
"""One byte for each crash point's id: not zero while the point is armed."""


@extern
def dtt_crossed(which: u32) -> None:
    """The way into the DTT module (`lkdtt.dtt`)."""


@guest
def cpoint(which: u32) -> None:
    """CPOINT(which): control crosses the crash point with this id (paper, listings 1 to 4)."""
    if cpoint_enabled[which] != 0:
        dtt_crossed(which)
