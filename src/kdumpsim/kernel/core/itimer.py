# SPDX-License-Identifier: GPL-2.0-or-later
"""The real-time timer that every task has (kernel/itimer.c of 2.6.16); alarm() sets it, alarm.py."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import addr, container_of, guest, ptr, u32, u64
from kdumpsim.kernel.core.hrtimer import (
    HRTIMER_NORESTART,
    HrtimerMode,
    hrtimer_cancel,
    hrtimer_init,
    hrtimer_start,
    ktime_get,
)
from kdumpsim.kernel.core.hrtimer_types import Hrtimer
from kdumpsim.kernel.core.sched_types import SignalStruct, TaskStruct
from kdumpsim.kernel.core.signal import group_send_sig, tasklist_lock
from kdumpsim.kernel.core.spinlock import spin_lock_irqsave, spin_unlock_irqrestore
from kdumpsim.kernel.core.types import SIGALRM

NSEC_PER_SEC: Final = 1_000_000_000


@guest
def alarm_rings(signal: ptr[SignalStruct]) -> None:
    """The time has come."""
    flags = spin_lock_irqsave(tasklist_lock)
    group_send_sig(SIGALRM, signal.tsk)
    spin_unlock_irqrestore(tasklist_lock, flags)


@guest
def it_real_fn(timer: ptr[Hrtimer]) -> u32:
    """The timer's function."""
    alarm_rings(container_of(timer, SignalStruct, "real_timer"))
    return HRTIMER_NORESTART


@guest
def init_itimers(task: ptr[TaskStruct]) -> None:
    """A new task's timer is not set; it belongs to the queue of the CPU the task is made on."""
    hrtimer_init(task.signal.real_timer, it_real_fn)


@guest
def set_alarm(signal: ptr[SignalStruct], seconds: u32) -> u32:
    """Set it, 0 for not at all; the seconds that were left of the last one, rounded up."""
    timer = addr(signal.real_timer)
    left: u64 = 0
    if hrtimer_cancel(timer) and timer.expires > ktime_get():
        left = (timer.expires - ktime_get() + NSEC_PER_SEC - 1) // NSEC_PER_SEC
    if seconds != 0:
        hrtimer_start(timer, u64(seconds) * NSEC_PER_SEC, HrtimerMode.HRTIMER_REL)
    return u32(left)
