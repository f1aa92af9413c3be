# SPDX-License-Identifier: GPL-2.0-or-later
"""High-resolution timers as structures (include/linux/hrtimer.h)."""

from __future__ import annotations

from kdumpsim.compiler.lang import Struct, fn, ptr, u32, u64
from kdumpsim.kernel.core.spinlock_types import Spinlock
from kdumpsim.kernel.core.types import ListHead


class HrtimerBase(Struct):
    """One CPU's high-resolution timers."""

    lock: Spinlock
    active: ListHead
    """Pending timers, soonest first."""
    curr_timer: ptr[Hrtimer]
    """The one whose function runs."""


class Hrtimer(Struct):
    """A high-resolution timer."""

    node: ListHead
    expires: u64
    """Nanoseconds since boot."""
    function: fn[[ptr[Hrtimer]], u32]
    base: ptr[HrtimerBase]
    active: bool
