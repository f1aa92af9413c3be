# SPDX-License-Identifier: GPL-2.0-or-later
"""Crash points that come and go at run time: ``ttutils add`` and ``rmv`` (LKDTT paper, sections 3.2.2 and 3.3).

A driver has a hook with a name and no id.  ``add`` gives it the id the user wants and registers it as "dyn" (the
paper's Table 1); until then the hook carries id 0, which no crash point has and which is never armed, so that it costs
a crossing the same load and branch as any other.  A driver adds a hook of its own by
`placed("cpoint_hooks", CpointHook(name="MY_POINT"))` and `cpoint_hook(addr(...))` where control crosses it.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, Struct, array, cstr, external, guest, i32, ptr, u32
from kdumpsim.kernel.core.string import strcmp
from kdumpsim.kernel.core.types import EEXIST, ENOENT, EPERM
from kdumpsim.kernel.lkdtt.cpoint import cpoint
from kdumpsim.kernel.lkdtt.dtt import CpointState, crash_points, dtt_find, dtt_register, dtt_reset

NO_CPOINT: Final = 0
"""The id of a hook nobody registered."""


class CpointHook(Struct):
    """A place in a driver that can become a crash point."""

    name: cstr
    which: u32


__start_cpoint_hooks: array[CpointHook] = external()
__stop_cpoint_hooks: array[CpointHook] = external()


@guest
def cpoint_hook(hook: ptr[CpointHook]) -> None:
    """Control crosses a hook."""
    cpoint(hook.which)


@guest
def find_hook(name: cstr) -> ptr[CpointHook]:
    """The hook of a driver by name, or NULL."""
    hook: ptr[CpointHook] = __start_cpoint_hooks
    while hook < __stop_cpoint_hooks:
        if strcmp(hook.name, name) == 0:
            return hook
        hook += 1
    return NULL


@guest
def dtt_add(name: cstr, which: u32) -> i32:
    """Register a driver's hook under an id of the user's choice; -ENOENT if no driver has one of this name."""
    if dtt_find(name) >= 0:
        return -EEXIST
    hook: ptr[CpointHook] = find_hook(name)
    if hook == NULL:
        return -ENOENT
    error: i32 = dtt_register(which, hook.name, "dyn")
    if error == 0:
        hook.which = which
    return error


@guest
def dtt_remove(name: cstr) -> i32:
    """Delete a crash point that was added; those compiled into the kernel stay (-EPERM)."""
    which: i32 = dtt_find(name)
    if which < 0:
        return which
    hook: ptr[CpointHook] = find_hook(name)
    if hook == NULL or hook.which != u32(which):
        return -EPERM
    hook.which = NO_CPOINT
    dtt_reset(u32(which), True)
    crash_points[which].state = CpointState.UNREGISTERED
    return 0
