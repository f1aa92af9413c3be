# SPDX-License-Identifier: GPL-2.0-or-later
"""Timers in jiffies as structures (include/linux/timer.h)."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import Struct, array, fn, length, ptr, u32, usize
from kdumpsim.kernel.core.spinlock_types import Spinlock
from kdumpsim.kernel.core.types import ListHead

WHEEL_SIZE: Final = 64


class TimerBase(Struct):
    """One CPU's wheel."""

    lock: Spinlock
    timer_jiffies: u32
    """First jiffy whose list has not been looked through."""
    running: ptr[TimerList]
    wheel: array[ListHead] = length(WHEEL_SIZE)


class TimerList(Struct):
    """A timer; `base` is NULL while it is not pending."""

    entry: ListHead
    expires: u32
    function: fn[[usize], None]
    data: usize
    base: ptr[TimerBase]
