# SPDX-License-Identifier: GPL-2.0-or-later
"""The DTT module: the state of the crash points and the crashes themselves (LKDTT paper, section 3.2.2).

A crash point comes to exist by registration.  ``set`` arms it with a crash type and a count; every
crossing takes one off the count, and at zero the crash is induced.  A point the kernel survives is
disabled until it is set again (the state diagram of the paper's Figure 2).  No lock is held when a crash
is induced.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from kdumpsim.compiler.lang import (
    BUG,
    Struct,
    addr,
    array,
    cast,
    cstr,
    fetch_add,
    fn,
    guest,
    i32,
    length,
    placed,
    ptr,
    store_volatile,
    u32,
)
from kdumpsim.kernel.asm import smp_processor_id
from kdumpsim.kernel.core.panic import panic
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.string import strcmp
from kdumpsim.kernel.core.types import EINVAL, ENOENT
from kdumpsim.kernel.lkdtt.cpoint import (
    CP_FS_DEVRW,
    CP_INT_HARDWARE_ENTRY,
    CP_INT_HW_IRQ_EN,
    CP_INT_TASKLET_ENTRY,
    CP_MEM_SWAPOUT,
    CP_SCSI_DISPATCH_CMD,
    CP_TASKLET,
    CP_TIMERADD,
    NR_CPOINTS,
    cpoint_enabled,
)
from kdumpsim.kernel.lkdtt.crashes import dtt_loop, dtt_overflow, rec_num

DEFAULT_COUNT: Final = 10
"""Crossings before the crash when ``set`` gives no count: pass_num of ttutils (section 3.3)."""


ANY_CPU: Final = 0xFFFFFFFF
"""The CPU of a crash point that is crossed wherever it is crossed."""


class CrashType(IntEnum):
    """What happens at a crash point (paper, section 3.2.1)."""

    NONE = 0
    PANIC = 1
    BUG = 2
    EXCEPTION = 3
    LOOP = 4
    OVERFLOW = 5


class CpointState(IntEnum):
    """The boxes of Figure 2."""

    UNREGISTERED = 0
    REGISTERED = 1
    ENABLED = 2
    DISABLED = 3


class CrashPoint(Struct):
    """A registered crash point; its index in `crash_points` is its id."""

    name: cstr
    location: cstr
    state: CpointState
    kind: CrashType
    count: u32
    cpu: u32
    """Only crossings on this CPU count; ANY_CPU for all."""


crash_points: array[CrashPoint] = length(NR_CPOINTS)
crash_type_names: array[cstr] = ["none", "panic", "bug", "exception", "loop", "overflow"]
NR_CRASH_TYPES: Final = 6


@guest
def dtt_induce(kind: u32, name: cstr) -> None:
    """Execute a crash.  The instant of the crash is the arrival here; type `none` comes back at once."""
    if kind == CrashType.PANIC:
        panic("LKDTT: crash point %s", u32(name))
    elif kind == CrashType.BUG:
        BUG()
    elif kind == CrashType.EXCEPTION:
        store_volatile(cast(ptr[u32], 0), 0)
    elif kind == CrashType.LOOP:
        dtt_loop()
    elif kind == CrashType.OVERFLOW:
        dtt_overflow(rec_num)


@guest
def dtt_crossed(which: u32) -> None:
    """An armed crash point was crossed: count down, and crash at zero.

    Nothing is printed before: by the time a line has gone out, a device would have ended what the crash is to meet.
    """
    point: ptr[CrashPoint] = addr(crash_points[which])
    if point.cpu != ANY_CPU and point.cpu != smp_processor_id():
        return
    if fetch_add(addr(point.count), 0xFFFFFFFF) != 1:
        return
    kind: u32 = point.kind
    point.state = CpointState.DISABLED
    cpoint_enabled[which] = 0
    dtt_induce(kind, point.name)
    printk(f"<6>LKDTT: crash point {point.name:s} of type {crash_type_names[kind]:s} survived\n")


@guest
def dtt_register(which: u32, name: cstr, location: cstr) -> i32:
    """Make a crash point known; `location` is "kern" for one that is compiled in."""
    if which == 0 or which >= NR_CPOINTS or crash_points[which].state != CpointState.UNREGISTERED:
        return -EINVAL
    point: ptr[CrashPoint] = addr(crash_points[which])
    point.name = name
    point.location = location
    point.kind = CrashType.NONE
    point.count = 0
    point.cpu = ANY_CPU
    point.state = CpointState.REGISTERED
    return 0


@guest
def dtt_find(name: cstr) -> i32:
    """The id of a registered crash point, or -ENOENT."""
    for which in range(NR_CPOINTS):
        if crash_points[which].state != CpointState.UNREGISTERED and strcmp(crash_points[which].name, name) == 0:
            return i32(which)
    return -ENOENT


@guest
def dtt_find_type(name: cstr) -> i32:
    """The number of a crash type by name, or -EINVAL; the paper's Table 2 has "oops" for "bug", "hang" for "loop"."""
    if strcmp(name, "oops") == 0:
        return i32(CrashType.BUG)
    if strcmp(name, "hang") == 0:
        return i32(CrashType.LOOP)
    for kind in range(NR_CRASH_TYPES):
        if strcmp(crash_type_names[kind], name) == 0:
            return i32(kind)
    return -EINVAL


@guest
def dtt_set(which: u32, kind: u32, count: u32, cpu: u32) -> None:
    """Arm a crash point: after `count` crossings on `cpu` (ANY_CPU: on any) the crash is induced."""
    point: ptr[CrashPoint] = addr(crash_points[which])
    cpoint_enabled[which] = 0
    point.kind = CrashType(kind)
    point.count = count
    point.cpu = cpu
    point.state = CpointState.ENABLED
    cpoint_enabled[which] = 1


@guest
def dtt_reset(which: u32, forget_type: bool) -> None:
    """Disable a crash point and clear its counter; with `forget_type` its type becomes none as well."""
    point: ptr[CrashPoint] = addr(crash_points[which])
    cpoint_enabled[which] = 0
    point.count = 0
    point.cpu = ANY_CPU
    if forget_type:
        point.kind = CrashType.NONE
    point.state = CpointState.DISABLED


@guest
def dtt_init() -> i32:
    """Register the crash points that are compiled in."""
    dtt_register(CP_INT_HARDWARE_ENTRY, "INT_HARDWARE_ENTRY", "kern")
    dtt_register(CP_INT_HW_IRQ_EN, "INT_HW_IRQ_EN", "kern")
    dtt_register(CP_FS_DEVRW, "FS_DEVRW", "kern")
    dtt_register(CP_MEM_SWAPOUT, "MEM_SWAPOUT", "kern")
    dtt_register(CP_TASKLET, "TASKLET", "kern")
    dtt_register(CP_TIMERADD, "TIMERADD", "kern")
    dtt_register(CP_INT_TASKLET_ENTRY, "INT_TASKLET_ENTRY", "kern")
    dtt_register(CP_SCSI_DISPATCH_CMD, "SCSI_DISPATCH_CMD", "kern")
    return 0


_init_dtt: fn[[], i32] = placed("initcall4", dtt_init)
