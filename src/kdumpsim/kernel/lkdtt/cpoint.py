# SPDX-License-Identifier: GPL-2.0-or-later
"""CPOINT: the hook that marks a crash point in the kernel's source (LKDTT paper, section 3.2.1).

A crash point is one entry beside the place where control crosses it; nothing else has to know of it:

    MY_POINT: CrashPoint = placed("cpoints", CrashPoint(name="MY_POINT", help="my driver: my_request"))

and ``cpoint(MY_POINT)`` at the place.  The kernel finds the entries between two symbols of the linker, the host
reads the same section of the ELF file.  A crash point that is not armed costs one load and one branch.  Everything else
about crash points (registration, counters, crash types, /proc/dtt) is the DTT module, `lkdtt.dtt`.
"""

from __future__ import annotations

from enum import IntEnum

from kdumpsim.compiler.lang import Struct, cstr, extern, guest, ptr, u32


class CrashType(IntEnum):
    """What happens at a crash point (paper, section 3.2.1); `dtt.crash_types` has their names."""

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
    """A crash point.  The host reads the first six fields (`scenario/points.py`); text that is left out is none."""

    name: cstr
    help: cstr
    """Which code crosses it, for users."""
    alias: cstr
    """Another name of the place: LKDTM's, the crash module of later Linux kernels."""
    needs: cstr
    """The kernel option, NAME=VALUE, without which nothing would cross it."""
    load: cstr
    """The programs that make the kernel cross it, where disk input and output does not (section 3.4), or "none"."""
    dynamic: u32
    """Not zero: the point exists only once it was added at run time, and this is its id in Table 1 of the paper."""
    which: u32
    """Its id; 0 takes the first that is free.  Those of the paper's points are written beside them (Table 1)."""
    enabled: u32
    """Not zero while it is armed."""
    state: CpointState
    kind: CrashType
    count: u32
    cpu: u32
    """Only crossings on this CPU count; ANY_CPU for all."""


@extern
def dtt_crossed(point: ptr[CrashPoint]) -> None:
    """The way into the DTT module (`lkdtt.dtt`)."""


@guest
def cpoint(point: ptr[CrashPoint]) -> None:
    """CPOINT(point): control crosses a crash point (paper, listings 1 to 4)."""
    if point.enabled != 0:
        dtt_crossed(point)
