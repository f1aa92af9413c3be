# SPDX-License-Identifier: GPL-2.0-or-later
"""Timers in jiffies as structures (include/linux/timer.h, kernel/timer.c)."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import Struct, array, fn, length, ptr, u32, usize
from kdumpsim.kernel.core.spinlock_types import Spinlock
from kdumpsim.kernel.core.types import ListHead

TVN_BITS: Final = 6
TVR_BITS: Final = 8
TVN_SIZE: Final = 1 << TVN_BITS
TVR_SIZE: Final = 1 << TVR_BITS


class TvecS(Struct):
    """A ring of lists; each is for as many jiffies as the whole ring below it."""

    vec: array[ListHead] = length(TVN_SIZE)


class TvecRootS(Struct):
    """The lowest ring: a list for each of the next jiffies."""

    vec: array[ListHead] = length(TVR_SIZE)


class TimerBaseS(Struct):
    """What a pending timer knows of its CPU's timers."""

    lock: Spinlock
    running_timer: ptr[TimerList]
    """The one whose function runs."""


class TvecTBaseS(Struct):
    """One CPU's timers."""

    t_base: TimerBaseS
    timer_jiffies: u32
    """First jiffy whose list has not been run."""
    tv1: TvecRootS
    tv2: TvecS
    tv3: TvecS
    tv4: TvecS
    tv5: TvecS


class TimerList(Struct):
    """A timer; `base` is NULL while it is not pending."""

    entry: ListHead
    expires: u32
    function: fn[[usize], None]
    data: usize
    base: ptr[TimerBaseS]
