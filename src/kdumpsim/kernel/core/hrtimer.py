# SPDX-License-Identifier: GPL-2.0-or-later
"""Timers in nanoseconds (kernel/hrtimer.c of 2.6.16).

As in 2.6.16 they are looked at once a tick, from the TIMER softirq; what is high about them is the resolution of their
expiry times.  Each CPU keeps its timers in a list sorted by expiry.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from kdumpsim.compiler.lang import (
    NULL,
    Struct,
    addr,
    array,
    container_of,
    fn,
    guest,
    length,
    load_volatile,
    placed,
    ptr,
    u32,
    u64,
)
from kdumpsim.kernel.architecture import cpu_relax, current, sched_clock, smp_processor_id
from kdumpsim.kernel.core.config import NR_CPUS
from kdumpsim.kernel.core.hrtimer_types import Hrtimer, HrtimerBase
from kdumpsim.kernel.core.list import init_list_head, list_add_tail, list_del, list_empty
from kdumpsim.kernel.core.sched import schedule, signal_pending, wake_up_process
from kdumpsim.kernel.core.sched_types import TASK_INTERRUPTIBLE, TASK_RUNNING, TaskStruct
from kdumpsim.kernel.core.spinlock import (
    spin_lock_init,
    spin_lock_irq,
    spin_lock_irqsave,
    spin_unlock_irq,
    spin_unlock_irqrestore,
)
from kdumpsim.kernel.lkdtt.cpoint import CrashPoint, cpoint

HRTIMER_NORESTART: Final = 0
"""A timer function's answer: done."""
HRTIMER_RESTART: Final = 1
"""Put me back, I have set a new expiry."""


class HrtimerMode(IntEnum):
    """How hrtimer_start() takes its time."""

    HRTIMER_ABS = 0
    HRTIMER_REL = 1


class HrtimerSleeper(Struct):
    """A task that sleeps until its timer fires."""

    timer: Hrtimer
    task: ptr[TaskStruct]


hrtimer_bases: array[HrtimerBase] = length(NR_CPUS)


@guest
def hrtimers_init() -> None:
    """Make empty queues."""
    for cpu in range(NR_CPUS):
        base: ptr[HrtimerBase] = hrtimer_bases[cpu]
        spin_lock_init(base.lock)
        init_list_head(base.active)


@guest
def ktime_get() -> u64:
    """Nanoseconds since boot."""
    return sched_clock()


@guest
def hrtimer_init(timer: ptr[Hrtimer], function: fn[[ptr[Hrtimer]], u32]) -> None:
    """Make a timer that is not pending."""
    timer.function = function
    timer.active = False
    timer.base = hrtimer_bases[smp_processor_id()]


@guest
def lock_hrtimer_base(timer: ptr[Hrtimer], flags: ptr[u32]) -> ptr[HrtimerBase]:
    """Lock the queue a timer belongs to; it may change while we wait."""
    while True:
        base: ptr[HrtimerBase] = load_volatile(addr(timer.base))
        flags[0] = spin_lock_irqsave(base.lock)
        if base == timer.base:
            return base
        spin_unlock_irqrestore(base.lock, flags[0])


@guest
def remove_hrtimer(timer: ptr[Hrtimer]) -> bool:
    """Take a timer off its queue; whether it was on it."""
    if not timer.active:
        return False
    list_del(timer.node)
    timer.active = False
    return True


@guest
def enqueue_hrtimer(timer: ptr[Hrtimer], base: ptr[HrtimerBase]) -> None:
    """Put a timer before the first that fires later."""
    entry = base.active.next
    while entry != base.active and container_of(entry, Hrtimer, "node").expires <= timer.expires:
        entry = entry.next
    list_add_tail(timer.node, entry)
    timer.base = base
    timer.active = True


TIMERADD: CrashPoint = placed("cpoints", CrashPoint(name="TIMERADD", which=6, help="starting a timer: hrtimer_start"))


@guest
def hrtimer_start(timer: ptr[Hrtimer], time: u64, mode: HrtimerMode) -> bool:
    """(Re)start a timer on this CPU; whether it was pending.

    The crash point TIMERADD lies where the queue is locked and interrupts are off: the NMI watchdog found its hang in
    the LKDTT paper's tests (table 2), as it does only with interrupts off.
    """
    flags: u32 = 0
    base = lock_hrtimer_base(timer, addr(flags))
    cpoint(TIMERADD)
    pending = remove_hrtimer(timer)
    new_base: ptr[HrtimerBase] = hrtimer_bases[smp_processor_id()]
    if base != new_base and base.curr_timer != timer:
        timer.base = new_base
        spin_unlock_irqrestore(base.lock, flags)
        base = new_base
        flags = spin_lock_irqsave(base.lock)
    timer.expires = time if mode == HrtimerMode.HRTIMER_ABS else time + ktime_get()
    enqueue_hrtimer(timer, base)
    spin_unlock_irqrestore(base.lock, flags)
    return pending


@guest
def hrtimer_cancel(timer: ptr[Hrtimer]) -> bool:
    """Stop a timer and wait until its function runs nowhere; whether it was pending."""
    while True:
        flags: u32 = 0
        base = lock_hrtimer_base(timer, addr(flags))
        running = base.curr_timer == timer
        pending = remove_hrtimer(timer)
        spin_unlock_irqrestore(base.lock, flags)
        if not running:
            return pending
        cpu_relax()


@guest
def hrtimer_run_queues() -> None:
    """Run this CPU's timers whose time has come; from the TIMER softirq.  2.6.16 takes the lock in any case."""
    base: ptr[HrtimerBase] = hrtimer_bases[smp_processor_id()]
    now = ktime_get()
    spin_lock_irq(base.lock)
    while not list_empty(base.active):
        timer = container_of(base.active.next, Hrtimer, "node")
        if timer.expires > now:
            break
        base.curr_timer = timer
        remove_hrtimer(timer)
        spin_unlock_irq(base.lock)
        restart = timer.function(timer)
        spin_lock_irq(base.lock)
        if restart == HRTIMER_RESTART and not timer.active:
            enqueue_hrtimer(timer, base)
        base.curr_timer = NULL
    spin_unlock_irq(base.lock)


@guest
def hrtimer_wakeup(timer: ptr[Hrtimer]) -> u32:
    """Timer function of hrtimer_nanosleep()."""
    sleeper = container_of(timer, HrtimerSleeper, "timer")
    task: ptr[TaskStruct] = sleeper.task
    sleeper.task = NULL
    if task != NULL:
        wake_up_process(task)
    return HRTIMER_NORESTART


@guest
def hrtimer_nanosleep(nanoseconds: u64) -> None:
    """Sleep at least this long, or until a signal comes."""
    sleeper: HrtimerSleeper = HrtimerSleeper()
    hrtimer_init(sleeper.timer, hrtimer_wakeup)
    sleeper.task = current()
    mode = HrtimerMode.HRTIMER_REL
    while load_volatile(addr(sleeper.task)) != NULL and not signal_pending():
        current().state = TASK_INTERRUPTIBLE
        hrtimer_start(sleeper.timer, nanoseconds, mode)
        if load_volatile(addr(sleeper.task)) != NULL:
            schedule()
        hrtimer_cancel(sleeper.timer)
        mode = HrtimerMode.HRTIMER_ABS
        nanoseconds = sleeper.timer.expires
    current().state = TASK_RUNNING
