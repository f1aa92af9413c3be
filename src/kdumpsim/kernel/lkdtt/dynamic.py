# SPDX-License-Identifier: GPL-2.0-or-later
"""Crash points that come and go at run time: ``ttutils add`` and ``rmv`` (LKDTT paper, sections 3.2.2 and 3.3).

A dynamic crash point stands beside its place as any other does (`lkdtt.cpoint`), but does not exist until ``add`` gives
it the id the user wants and registers it as "dyn" (the paper's Table 1).  Until then nothing can arm it.
"""

from __future__ import annotations

from kdumpsim.compiler.lang import NULL, cstr, guest, i32, ptr, u32
from kdumpsim.kernel.core.types import EEXIST, ENOENT, EPERM
from kdumpsim.kernel.lkdtt.cpoint import CpointState, CrashPoint
from kdumpsim.kernel.lkdtt.dtt import dtt_register, dtt_reset, find_cpoint


@guest
def dtt_add(name: cstr, which: u32) -> i32:
    """Register a dynamic crash point under an id of the user's choice; -ENOENT if there is none of this name."""
    point: ptr[CrashPoint] = find_cpoint(name)
    if point == NULL:
        return -ENOENT
    if point.state != CpointState.UNREGISTERED:
        return -EEXIST
    return dtt_register(point, which)


@guest
def dtt_remove(name: cstr) -> i32:
    """Delete a crash point that was added; the others stay (-EPERM)."""
    point: ptr[CrashPoint] = find_cpoint(name)
    if point == NULL or point.state == CpointState.UNREGISTERED:
        return -ENOENT
    if point.dynamic == 0:
        return -EPERM
    dtt_reset(point, True)
    point.state = CpointState.UNREGISTERED
    return 0
