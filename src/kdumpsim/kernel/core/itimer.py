# SPDX-License-Identifier: GPL-2.0-or-later
"""The real-time timer that every task has, and alarm(), which sets it (kernel/itimer.c of 2.6.16)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kdumpsim.compiler.lang import addr, container_of, guest, i32, placed, ptr, u32, u64
from kdumpsim.kernel.architecture import current
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
from kdumpsim.kernel.core.syscalls import Syscall
from kdumpsim.kernel.core.types import SIGALRM

if TYPE_CHECKING:
    from kdumpsim.kernel.architecture import PtRegs

NR_alarm: Final = 27
NSEC_PER_SEC: Final = 1_000_000_000


@guest
def it_real_fn(timer: ptr[Hrtimer]) -> u32:
    """The time has come."""
    flags = spin_lock_irqsave(tasklist_lock)
    group_send_sig(SIGALRM, container_of(timer, SignalStruct, "real_timer").tsk)
    spin_unlock_irqrestore(tasklist_lock, flags)
    return HRTIMER_NORESTART


@guest
def init_itimers(task: ptr[TaskStruct]) -> None:
    """A new task's timer is not set; it belongs to the queue of the CPU the task is made on."""
    hrtimer_init(task.signal.real_timer, it_real_fn)


@guest
def exit_itimers(task: ptr[TaskStruct]) -> None:
    """A task ends: its timer shall not find it gone."""
    hrtimer_cancel(task.signal.real_timer)


@guest
def sys_alarm(regs: ptr[PtRegs]) -> i32:
    """alarm(seconds): SIGALRM by then, 0 for not at all; the seconds that were left of the last one, rounded up."""
    timer = addr(current().signal.real_timer)
    left: u64 = 0
    if hrtimer_cancel(timer) and timer.expires > ktime_get():
        left = (timer.expires - ktime_get() + NSEC_PER_SEC - 1) // NSEC_PER_SEC
    if regs.ebx != 0:
        hrtimer_start(timer, u64(regs.ebx) * NSEC_PER_SEC, HrtimerMode.HRTIMER_REL)
    return i32(left)


_syscall_alarm: Syscall = placed("syscalls", Syscall(nr=NR_alarm, call=sys_alarm))
