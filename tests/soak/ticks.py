# SPDX-License-Identifier: GPL-2.0-or-later
"""A user's guest module: a timer of its own, with a crash point."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import fn, guest, i32, placed, usize
from kdumpsim.kernel.core.timer import add_timer, jiffies, setup_timer
from kdumpsim.kernel.core.timer_types import TimerList
from kdumpsim.kernel.lkdtt.cpoint import CrashPoint, cpoint

INTERVAL: Final = 20
ticks_timer: TimerList = TimerList()
SOAK_TICK: CrashPoint = placed("cpoints", CrashPoint(name="SOAK_TICK", help="the soak's timer", load="none"))


@guest
def ticks_again(data: usize) -> None:
    """The timer's function: in softirq context."""
    cpoint(SOAK_TICK)
    ticks_timer.expires = jiffies + INTERVAL
    add_timer(ticks_timer)


@guest
def ticks_init() -> i32:
    """Start the timer with the drivers."""
    setup_timer(ticks_timer, ticks_again, 0)
    ticks_timer.expires = jiffies + INTERVAL
    add_timer(ticks_timer)
    return 0


_init_ticks: fn[[], i32] = placed("initcall6", ticks_init)
