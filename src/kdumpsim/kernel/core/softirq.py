# SPDX-License-Identifier: GPL-2.0-or-later
"""Softirqs, tasklets and ksoftirqd (kernel/softirq.c)."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from kdumpsim.compiler.lang import (
    NULL,
    Struct,
    addr,
    array,
    barrier,
    fetch_and,
    fetch_or,
    fn,
    guest,
    i32,
    length,
    load_volatile,
    placed,
    ptr,
    u8,
    u32,
    usize,
    void,
)
from kdumpsim.kernel.architecture import (
    call_softirq,
    cpu_online,
    current,
    current_thread_info,
    local_irq_disable,
    local_irq_enable,
    local_irq_restore,
    local_irq_save,
    smp_processor_id,
)
from kdumpsim.kernel.core.config import NR_CPUS
from kdumpsim.kernel.core.hardirq import HARDIRQ_OFFSET, SOFTIRQ_OFFSET, in_interrupt
from kdumpsim.kernel.core.kthread import kernel_thread_on_cpu
from kdumpsim.kernel.core.sched import cond_resched, schedule, set_current_state, set_task_prio, wake_up_process
from kdumpsim.kernel.core.sched_types import LOW_PRIO, TASK_INTERRUPTIBLE, TASK_RUNNING, TaskStruct
from kdumpsim.kernel.core.spinlock import preempt_disable, preempt_enable, preempt_enable_no_resched
from kdumpsim.kernel.core.vsprintf import snprintf
from kdumpsim.kernel.lkdtt.cpoint import CrashPoint, cpoint

MAX_SOFTIRQ_RESTART: Final = 10
"""Rounds of new work before the rest is left to ksoftirqd."""


class SoftirqVector(IntEnum):
    """The softirqs, most urgent first."""

    HI_SOFTIRQ = 0
    TIMER_SOFTIRQ = 1
    NET_TX_SOFTIRQ = 2
    NET_RX_SOFTIRQ = 3
    BLOCK_SOFTIRQ = 4
    TASKLET_SOFTIRQ = 5


NR_SOFTIRQS: Final = 6

softirq_vec: array[fn[[], None]] = length(NR_SOFTIRQS)
softirq_pending: array[u32] = length(NR_CPUS)
"""One bit for each softirq raised on each CPU; written with interrupts off by that CPU."""
ksoftirqd: array[ptr[TaskStruct]] = length(NR_CPUS)


@guest
def local_softirq_pending() -> u32:
    """This CPU's raised softirqs."""
    return load_volatile(addr(softirq_pending[smp_processor_id()]))


@guest
def open_softirq(nr: SoftirqVector, action: fn[[], None]) -> None:
    """Say what a softirq does."""
    softirq_vec[nr] = action


@guest
def wakeup_softirqd() -> None:
    """Leave the rest to this CPU's thread."""
    task = ksoftirqd[smp_processor_id()]
    if task != NULL and task.state != TASK_RUNNING:
        wake_up_process(task)


@guest
def raise_softirq_irqoff(nr: SoftirqVector) -> None:
    """Raise a softirq, with interrupts off; outside of interrupts the thread runs it."""
    softirq_pending[smp_processor_id()] |= 1 << nr
    if not in_interrupt():
        wakeup_softirqd()


@guest
def raise_softirq(nr: SoftirqVector) -> None:
    """Raise a softirq on this CPU."""
    flags = local_irq_save()
    raise_softirq_irqoff(nr)
    local_irq_restore(flags)


@guest
def run_softirqs() -> None:
    """Run what is pending, with interrupts on (__do_softirq); called and left with interrupts off."""
    info = current_thread_info()
    cpu = smp_processor_id()
    pending = softirq_pending[cpu]
    info.preempt_count += SOFTIRQ_OFFSET
    restart: u32 = MAX_SOFTIRQ_RESTART
    while pending != 0 and restart > 0:
        softirq_pending[cpu] = 0
        local_irq_enable()
        nr: u32 = 0
        while pending != 0:
            if pending & 1:
                softirq_vec[nr]()
            pending >>= 1
            nr += 1
        local_irq_disable()
        pending = load_volatile(softirq_pending + cpu)
        restart -= 1
    if pending != 0:
        wakeup_softirqd()
    info.preempt_count -= SOFTIRQ_OFFSET


@guest
def do_softirq() -> None:
    """Run what is pending, unless an interrupt or a softirq is being served here."""
    if in_interrupt():
        return
    flags = local_irq_save()
    if local_softirq_pending() != 0:
        call_softirq(run_softirqs)
    local_irq_restore(flags)


@guest
def irq_enter() -> None:
    """A hardware interrupt begins."""
    current_thread_info().preempt_count += HARDIRQ_OFFSET
    barrier()


@guest
def irq_exit() -> None:
    """A hardware interrupt ends; the softirqs it raised run now."""
    info = current_thread_info()
    info.preempt_count -= HARDIRQ_OFFSET - 1
    if not in_interrupt() and local_softirq_pending() != 0:
        do_softirq()
    preempt_enable_no_resched()


@guest
def local_bh_disable() -> None:
    """No softirqs on this CPU until local_bh_enable()."""
    current_thread_info().preempt_count += SOFTIRQ_OFFSET
    barrier()


@guest
def local_bh_enable() -> None:
    """Undo local_bh_disable(), and run what was raised meanwhile."""
    barrier()
    current_thread_info().preempt_count -= SOFTIRQ_OFFSET - 1
    if not in_interrupt() and local_softirq_pending() != 0:
        do_softirq()
    preempt_enable()


class TaskletState(IntEnum):
    """Bits of TaskletStruct.state."""

    TASKLET_STATE_SCHED = 1
    TASKLET_STATE_RUN = 2


class TaskletStruct(Struct):
    """A function that runs once, on one CPU at a time, after it was scheduled; not while `count` is above 0."""

    next: ptr[TaskletStruct]
    state: u32
    count: u32
    func: fn[[usize], None]
    data: usize


tasklet_vec: array[ptr[TaskletStruct]] = length(NR_CPUS)
tasklet_hi_vec: array[ptr[TaskletStruct]] = length(NR_CPUS)


@guest
def tasklet_init(t: ptr[TaskletStruct], func: fn[[usize], None], data: usize) -> None:
    """Make a tasklet."""
    t.next = NULL
    t.state = 0
    t.count = 0
    t.func = func
    t.data = data


@guest
def queue_tasklet(t: ptr[TaskletStruct], lists: ptr[ptr[TaskletStruct]], nr: SoftirqVector) -> None:
    """Put a tasklet on this CPU's list and raise the list's softirq."""
    flags = local_irq_save()
    cpu = smp_processor_id()
    t.next = lists[cpu]
    lists[cpu] = t
    raise_softirq_irqoff(nr)
    local_irq_restore(flags)


@guest
def tasklet_schedule(t: ptr[TaskletStruct]) -> None:
    """Have a tasklet run soon; once, however often it is asked for before that."""
    if fetch_or(addr(t.state), TaskletState.TASKLET_STATE_SCHED) & TaskletState.TASKLET_STATE_SCHED == 0:
        queue_tasklet(t, tasklet_vec, SoftirqVector.TASKLET_SOFTIRQ)


@guest
def tasklet_hi_schedule(t: ptr[TaskletStruct]) -> None:
    """The same, before all other softirqs."""
    if fetch_or(addr(t.state), TaskletState.TASKLET_STATE_SCHED) & TaskletState.TASKLET_STATE_SCHED == 0:
        queue_tasklet(t, tasklet_hi_vec, SoftirqVector.HI_SOFTIRQ)


TASKLET: CrashPoint = placed(
    "cpoints", CrashPoint(name="TASKLET", which=5, help="tasklet service, interrupts off: tasklet_action")
)
INT_TASKLET_ENTRY: CrashPoint = placed(
    "cpoints", CrashPoint(name="INT_TASKLET_ENTRY", which=7, help="tasklet service, interrupts on: tasklet_action")
)


@guest
def run_tasklets(lists: ptr[ptr[TaskletStruct]], nr: SoftirqVector) -> None:
    """Run this CPU's list; a tasklet that runs elsewhere or is disabled goes back.

    The LKDTT paper's two points of tasklet service (section 4.1): TASKLET while the list is taken with interrupts off,
    INT_TASKLET_ENTRY before each tasklet, with interrupts on.
    """
    scheduled: u32 = TaskletState.TASKLET_STATE_SCHED
    running: u32 = TaskletState.TASKLET_STATE_RUN
    cpu = smp_processor_id()
    local_irq_disable()
    t = lists[cpu]
    lists[cpu] = NULL
    cpoint(TASKLET)
    local_irq_enable()
    while t != NULL:
        after = t.next
        if fetch_or(addr(t.state), running) & running == 0:
            if load_volatile(addr(t.count)) == 0:
                fetch_and(addr(t.state), ~scheduled)
                cpoint(INT_TASKLET_ENTRY)
                t.func(t.data)
                fetch_and(addr(t.state), ~running)
                t = after
                continue
            fetch_and(addr(t.state), ~running)
        queue_tasklet(t, lists, nr)
        t = after


@guest
def tasklet_action() -> None:
    """The TASKLET softirq."""
    run_tasklets(tasklet_vec, SoftirqVector.TASKLET_SOFTIRQ)


@guest
def tasklet_hi_action() -> None:
    """The HI softirq."""
    run_tasklets(tasklet_hi_vec, SoftirqVector.HI_SOFTIRQ)


@guest
def softirq_init() -> None:
    """Tasklets are softirqs."""
    open_softirq(SoftirqVector.TASKLET_SOFTIRQ, tasklet_action)
    open_softirq(SoftirqVector.HI_SOFTIRQ, tasklet_hi_action)


@guest
def ksoftirqd_loop(arg: ptr[void]) -> i32:
    """A CPU's softirq thread: runs what irq_exit() left over, between other tasks."""
    set_task_prio(current(), LOW_PRIO)
    set_current_state(TASK_INTERRUPTIBLE)
    while True:
        preempt_disable()
        if local_softirq_pending() == 0:
            preempt_enable_no_resched()
            schedule()
            preempt_disable()
        set_current_state(TASK_RUNNING)
        while local_softirq_pending() != 0:
            do_softirq()
            preempt_enable_no_resched()
            cond_resched()
            preempt_disable()
        preempt_enable()
        set_current_state(TASK_INTERRUPTIBLE)
    return 0


@guest
def spawn_ksoftirqd() -> None:
    """Start the softirq threads of all CPUs that are online."""
    name: array[u8] = length(16)
    for cpu in range(NR_CPUS):
        if cpu_online(cpu):
            snprintf(name, 16, "ksoftirqd/%u", cpu)
            ksoftirqd[cpu] = kernel_thread_on_cpu(ksoftirqd_loop, NULL, name, cpu)
