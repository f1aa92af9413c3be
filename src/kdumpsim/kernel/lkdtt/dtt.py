# SPDX-License-Identifier: GPL-2.0-or-later
"""The DTT module: the state of the crash points and the crashes themselves (LKDTT paper, section 3.2.2).

A crash point comes to exist by registration.  ``set`` arms it with a crash type and a count; every
crossing takes one off the count, and at zero the crash is induced.  A point the kernel survives is
disabled until it is set again (the state diagram of the paper's Figure 2).  No lock is held when a crash
is induced.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import (
    BUG,
    NULL,
    Struct,
    addr,
    array,
    cast,
    cstr,
    fetch_add,
    fn,
    guest,
    i32,
    placed,
    ptr,
    section,
    store_volatile,
    u32,
)
from kdumpsim.kernel.architecture import smp_processor_id
from kdumpsim.kernel.core.panic import panic
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.string import strcmp
from kdumpsim.kernel.core.types import EINVAL
from kdumpsim.kernel.lkdtt.cpoint import CpointState, CrashPoint, CrashType
from kdumpsim.kernel.lkdtt.crashes import dtt_loop, dtt_overflow, rec_num

DEFAULT_COUNT: Final = 10
"""Crossings before the crash when ``set`` gives no count: pass_num of ttutils (section 3.3)."""
NR_CPOINTS: Final = 64
"""Ids of crash points are smaller."""
ANY_CPU: Final = 0xFFFFFFFF
"""The CPU of a crash point that is crossed wherever it is crossed."""


class CrashTypeInfo(Struct):
    """A crash type by its name in ttutils and /proc/dtt.  The host reads this table, too (`scenario/points.py`)."""

    name: cstr
    help: cstr
    alias: cstr
    """What the paper's text and its Table 2 call it, where ttutils calls it something else."""


crash_types: array[CrashTypeInfo] = [
    CrashTypeInfo(name="none", help="cross the point and do nothing"),
    CrashTypeInfo(name="panic", help="call panic()"),
    CrashTypeInfo(name="bug", help="BUG(): an invalid opcode", alias="oops"),
    CrashTypeInfo(name="exception", help="dereference a null pointer"),
    CrashTypeInfo(name="loop", help="loop for ever, interrupts as they are at the point", alias="hang"),
    CrashTypeInfo(name="overflow", help="recurse rec_num times with 1 KiB of stack each"),
]
"""By number (`CrashType`).
Their number is this table's length."""


@guest
def dtt_induce(kind: u32, name: cstr) -> None:
    """Execute a crash.  The instant of the crash is the arrival here; type `none` comes back at once."""
    if kind == CrashType.PANIC:
        panic("LKDTT: crash point %s", name)
    elif kind == CrashType.BUG:
        BUG()
    elif kind == CrashType.EXCEPTION:
        store_volatile(cast(ptr[u32], 0), 0)
    elif kind == CrashType.LOOP:
        dtt_loop()
    elif kind == CrashType.OVERFLOW:
        dtt_overflow(rec_num)


@guest
def dtt_crossed(point: ptr[CrashPoint]) -> None:
    """An armed crash point was crossed: count down, and crash at zero.

    Nothing is printed before: by the time a line has gone out, a device would have ended what the crash is to meet.
    """
    if point.cpu != ANY_CPU and point.cpu != smp_processor_id():
        return
    if fetch_add(addr(point.count), 0xFFFFFFFF) != 1:
        return
    kind: u32 = point.kind
    point.state = CpointState.DISABLED
    point.enabled = 0
    dtt_induce(kind, point.name)
    printk(f"<6>LKDTT: crash point {point.name:s} of type {crash_types[kind].name:s} survived\n")


@guest
def dtt_lookup(which: u32) -> ptr[CrashPoint]:
    """The registered crash point with this id, or NULL."""
    for point in section("cpoints", CrashPoint):
        if point.which == which and point.state != CpointState.UNREGISTERED:
            return point
    return NULL


@guest
def dtt_register(point: ptr[CrashPoint], which: u32) -> i32:
    """Make a crash point known under an id that no other has."""
    if which == 0 or which >= NR_CPOINTS or dtt_lookup(which) != NULL:
        return -EINVAL
    point.which = which
    point.kind = CrashType.NONE
    point.count = 0
    point.cpu = ANY_CPU
    point.state = CpointState.REGISTERED
    return 0


@guest
def same_name(name: cstr, wanted: cstr) -> bool:
    """Is there a name, and is it this one?"""
    return name != NULL and strcmp(name, wanted) == 0


@guest
def find_cpoint(name: cstr) -> ptr[CrashPoint]:
    """The crash point of this name or alias, registered or not; or NULL."""
    for point in section("cpoints", CrashPoint):
        if same_name(point.name, name) or same_name(point.alias, name):
            return point
    return NULL


@guest
def dtt_find(name: cstr) -> ptr[CrashPoint]:
    """The registered crash point of this name, or NULL."""
    point: ptr[CrashPoint] = find_cpoint(name)
    return point if point != NULL and point.state != CpointState.UNREGISTERED else NULL


@guest
def dtt_find_type(name: cstr) -> i32:
    """The number of a crash type by its name or alias, or -EINVAL."""
    for kind in range(len(crash_types)):
        if same_name(crash_types[kind].name, name) or same_name(crash_types[kind].alias, name):
            return i32(kind)
    return -EINVAL


@guest
def dtt_set(point: ptr[CrashPoint], kind: u32, count: u32, cpu: u32) -> None:
    """Arm a crash point: after `count` crossings on `cpu` (ANY_CPU: on any) the crash is induced."""
    point.enabled = 0
    point.kind = CrashType(kind)
    point.count = count
    point.cpu = cpu
    point.state = CpointState.ENABLED
    point.enabled = 1


@guest
def dtt_reset(point: ptr[CrashPoint], forget_type: bool) -> None:
    """Disable a crash point and clear its counter; with `forget_type` its type becomes none as well."""
    point.enabled = 0
    point.count = 0
    point.cpu = ANY_CPU
    if forget_type:
        point.kind = CrashType.NONE
    point.state = CpointState.DISABLED


@guest
def register_builtin(numbered: bool) -> None:
    """Register crash points that are compiled in and not dynamic: those that have an id, or the others."""
    for point in section("cpoints", CrashPoint):
        if point.dynamic == 0 and point.state == CpointState.UNREGISTERED and (point.which != 0) == numbered:
            which: u32 = max(point.which, 1)
            while dtt_register(point, which) != 0 and which < NR_CPOINTS:
                which += 1


@guest
def dtt_init() -> i32:
    """Register the crash points that are compiled in; one whose id is taken gets the next that is free."""
    register_builtin(True)
    register_builtin(False)
    return 0


_init_dtt: fn[[], i32] = placed("initcall4", dtt_init)
