# SPDX-License-Identifier: GPL-2.0-or-later
"""alarm(), in nanoseconds (itimer.py) or, without hrtimers, in jiffies, as kernel/itimer.c was before 2.6.16."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kdumpsim.compiler.lang import addr, cast, guest, i32, placed, ptr, u32, usize
from kdumpsim.kernel.architecture import current
from kdumpsim.kernel.core.config import HRTIMERS, HZ
from kdumpsim.kernel.core.hrtimer import hrtimer_cancel
from kdumpsim.kernel.core.itimer import alarm_rings, set_alarm
from kdumpsim.kernel.core.sched_types import SignalStruct, TaskStruct
from kdumpsim.kernel.core.syscalls import Syscall
from kdumpsim.kernel.core.timer import MAX_SECONDS, del_timer_sync, jiffies, mod_timer, setup_timer, time_after_eq

if TYPE_CHECKING:
    from kdumpsim.kernel.architecture import PtRegs

NR_alarm: Final = 27


@guest
def exit_itimers(task: ptr[TaskStruct]) -> None:
    """A task ends: its timer shall not find it gone."""
    if HRTIMERS:
        hrtimer_cancel(task.signal.real_timer)
    else:
        del_timer_sync(task.signal.it_real_timer)


@guest
def it_real_timeout(data: usize) -> None:
    """The function of the timer in jiffies."""
    alarm_rings(cast(ptr[SignalStruct], data))


@guest
def set_alarm_in_jiffies(signal: ptr[SignalStruct], seconds: u32) -> u32:
    """set_alarm() with a timer in jiffies."""
    timer = addr(signal.it_real_timer)
    left: u32 = 0
    if del_timer_sync(timer) and not time_after_eq(jiffies, timer.expires):
        left = (timer.expires - jiffies + HZ - 1) // HZ
    if seconds != 0:
        setup_timer(timer, it_real_timeout, usize(signal))
        mod_timer(timer, jiffies + min(seconds, MAX_SECONDS) * HZ)
    return left


@guest
def sys_alarm(regs: ptr[PtRegs]) -> i32:
    """alarm(seconds): SIGALRM by then, 0 for not at all; the seconds that were left of the last one, rounded up."""
    if HRTIMERS:
        return i32(set_alarm(current().signal, regs.ebx))
    return i32(set_alarm_in_jiffies(current().signal, regs.ebx))


_syscall_alarm: Syscall = placed("syscalls", Syscall(nr=NR_alarm, call=sys_alarm))
