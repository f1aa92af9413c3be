# SPDX-License-Identifier: GPL-2.0-or-later
"""The scheduler (kernel/sched.c of 2.6.16, much reduced).

Each CPU has a run queue of MAX_PRIO lists.  The first task of the most urgent list runs until it sleeps, a more urgent
one wakes, or its time slice ends.  Then it stands back by one priority until it sleeps again, so that tasks which sleep
much preempt those that only compute: all that is left of 2.6's bonus for interactive tasks.

The queue's lock is held across the switch and freed on its other side, so that a task somebody wants to move is never
half switched out.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import (
    Struct,
    addr,
    array,
    barrier,
    cast,
    container_of,
    extern,
    fetch_and,
    fetch_or,
    guest,
    i32,
    length,
    list_for_each_entry,
    load_volatile,
    placed,
    ptr,
    u32,
)
from kdumpsim.kernel.architecture import (
    TIF_NEED_RESCHED,
    TIF_SIGPENDING,
    cpu_online,
    current,
    current_thread_info,
    dump_stack,
    irqs_disabled,
    local_irq_disable,
    local_irq_enable,
    mb,
    safe_smp_processor_id,
    smp_processor_id,
    smp_send_reschedule,
    switch_to,
)
from kdumpsim.kernel.core.config import HZ, NR_CPUS
from kdumpsim.kernel.core.hardirq import PREEMPT_ACTIVE, in_atomic, preempt_count
from kdumpsim.kernel.core.init_task import init_task
from kdumpsim.kernel.core.list import init_list_head, list_add_tail, list_del, list_empty
from kdumpsim.kernel.core.percpu import per_cpu_ptr
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.sched_types import (
    CPU_MASK_ALL,
    EXIT_DEAD,
    MAX_PRIO,
    PF_EXITING,
    TASK_INTERRUPTIBLE,
    TASK_RUNNING,
    TASK_UNINTERRUPTIBLE,
    TaskState,
    TaskStruct,
)
from kdumpsim.kernel.core.spinlock import (
    Spinlock,
    need_resched,
    preempt_disable,
    preempt_enable_no_resched,
    raw_spin_trylock,
    raw_spin_unlock,
    spin_lock_init,
    spin_lock_irq,
    spin_lock_irqsave,
    spin_unlock_irq,
    spin_unlock_irqrestore,
)
from kdumpsim.kernel.core.string import strlcpy
from kdumpsim.kernel.core.types import ListHead

DEF_TIMESLICE: Final = HZ // 10
"""Ticks a task may run before its equals get their turn: 100 ms."""

TASK_NORMAL: Final = TASK_INTERRUPTIBLE | TASK_UNINTERRUPTIBLE


class Rq(Struct):
    """One CPU's runnable tasks."""

    lock: Spinlock
    nr_running: u32
    """Tasks in the queue; the running one is among them, idle is not."""
    nr_uninterruptible: i32
    """Tasks that went to sleep here for good reason, less those woken here: only the sum over all CPUs counts."""
    nr_switches: u32
    curr: ptr[TaskStruct]
    idle: ptr[TaskStruct]
    prev: ptr[TaskStruct]
    """Whom the switch under way left, for its other side."""
    queue: array[ListHead] = length(MAX_PRIO)


runqueues: Rq = placed("percpu", Rq())
"""Each CPU's own."""


@guest
def cpu_rq(cpu: u32) -> ptr[Rq]:
    """A CPU's run queue."""
    return cast(ptr[Rq], per_cpu_ptr(runqueues, cpu))


@guest
def task_cpu(p: ptr[TaskStruct]) -> u32:
    """The CPU a task runs or last ran on."""
    return p.thread_info.cpu


@guest
def current_is_sound() -> bool:
    """Whether this stack's thread_info names this CPU and the task that it runs: after an overflow it names neither."""
    info = current_thread_info()
    cpu = safe_smp_processor_id()
    return cpu < NR_CPUS and info.cpu == cpu and info.task == cpu_rq(cpu).curr


@guest
def idle_cpu(cpu: u32) -> bool:
    """Whether a CPU has nothing to do."""
    rq = cpu_rq(cpu)
    return rq.curr == rq.idle and rq.nr_running == 0


@guest
def nr_running() -> u32:
    """Runnable tasks on all CPUs."""
    sum: u32 = 0
    for cpu in range(NR_CPUS):
        sum += cpu_rq(cpu).nr_running
    return sum


@guest
def count_active_tasks() -> u32:
    """Tasks that run, want to, or wait for something that will come: what the load average is made of."""
    sum = i32(nr_running())
    for cpu in range(NR_CPUS):
        sum += cpu_rq(cpu).nr_uninterruptible
    return u32(max(sum, 0))


@guest
def sched_init() -> None:
    """Make empty run queues, and the running context the boot CPU's idle task."""
    for cpu in range(NR_CPUS):
        rq = cpu_rq(cpu)
        spin_lock_init(rq.lock)
        for prio in range(MAX_PRIO):
            init_list_head(rq.queue[prio])
    task: ptr[TaskStruct] = init_task
    init_list_head(task.tasks)
    strlcpy(task.comm, "swapper", 16)
    task.parent = task
    task.thread_info = current_thread_info()
    current_thread_info().task = task
    init_idle(task, smp_processor_id())


@guest
def init_idle(task: ptr[TaskStruct], cpu: u32) -> None:
    """Make a task the one that runs when `cpu` has nothing to do."""
    rq = cpu_rq(cpu)
    task.state = TASK_RUNNING
    task.prio = MAX_PRIO
    task.static_prio = MAX_PRIO
    task.cpus_allowed = 1 << cpu
    task.thread_info.cpu = cpu
    task.on_cpu = True
    rq.curr = task
    rq.idle = task


@guest
def enqueue_task(p: ptr[TaskStruct], rq: ptr[Rq]) -> None:
    """Put a task at the end of its priority's list."""
    list_add_tail(p.run_list, rq.queue[p.prio])
    p.on_rq = True
    rq.nr_running += 1


@guest
def dequeue_task(p: ptr[TaskStruct], rq: ptr[Rq]) -> None:
    """Take a task off the queue."""
    list_del(p.run_list)
    p.on_rq = False
    rq.nr_running -= 1


@guest
def task_rq_lock(p: ptr[TaskStruct], flags: ptr[u32]) -> ptr[Rq]:
    """Lock the queue of the CPU that a task belongs to; it may move while we wait."""
    while True:
        rq = cpu_rq(task_cpu(p))
        flags[0] = spin_lock_irqsave(rq.lock)
        if rq == cpu_rq(task_cpu(p)):
            return rq
        spin_unlock_irqrestore(rq.lock, flags[0])


@guest
def signal_pending() -> bool:
    """Whether this task is about to be killed; it then should sleep no longer than it must."""
    return current_thread_info().flags & (1 << TIF_SIGPENDING) != 0


@guest
def resched_task(p: ptr[TaskStruct]) -> None:
    """Make the CPU that runs `p` call schedule() soon."""
    bit: u32 = 1 << TIF_NEED_RESCHED
    if fetch_or(addr(p.thread_info.flags), bit) & bit:
        return
    cpu = task_cpu(p)
    if cpu != smp_processor_id():
        smp_send_reschedule(cpu)


@guest
def activate_task(p: ptr[TaskStruct], rq: ptr[Rq]) -> None:
    """Queue a task that became runnable; it preempts a less urgent one."""
    enqueue_task(p, rq)
    if p.prio < rq.curr.prio:
        resched_task(rq.curr)


@guest
def wake_idle(p: ptr[TaskStruct]) -> u32:
    """The CPU a waking task should run on: its own if that is idle, else an idle one, else its own."""
    cpu = task_cpu(p)
    if p.cpus_allowed >> cpu & 1 and idle_cpu(cpu):
        return cpu
    for other in range(NR_CPUS):
        if p.cpus_allowed >> other & 1 and cpu_online(other) and idle_cpu(other):
            return other
    if p.cpus_allowed >> cpu & 1 == 0:
        for other in range(NR_CPUS):
            if p.cpus_allowed >> other & 1 and cpu_online(other):
                return other
    return cpu


@guest
def try_to_wake_up(p: ptr[TaskStruct], states: u32) -> bool:
    """Make a task runnable if it sleeps in one of `states`."""
    flags: u32 = 0
    rq = task_rq_lock(p, addr(flags))
    if p.on_rq:
        if p.state & states:
            p.state = TASK_RUNNING
        spin_unlock_irqrestore(rq.lock, flags)
        return False
    if p.state & states == 0:
        spin_unlock_irqrestore(rq.lock, flags)
        return False
    cpu = wake_idle(p)
    if cpu != task_cpu(p):
        p.thread_info.cpu = cpu
        spin_unlock_irqrestore(rq.lock, flags)
        rq = task_rq_lock(p, addr(flags))
    if not p.on_rq and u32(p.state) & states:
        if p.state == TASK_UNINTERRUPTIBLE:
            rq.nr_uninterruptible -= 1
        p.state = TASK_RUNNING
        p.prio = p.static_prio
        activate_task(p, rq)
    spin_unlock_irqrestore(rq.lock, flags)
    return True


@guest
def wake_up_process(p: ptr[TaskStruct]) -> bool:
    """Wake a sleeping task; whether it slept."""
    return try_to_wake_up(p, TASK_NORMAL)


@guest
def set_current_state(state: TaskState) -> None:
    """What this task will wait for at its next schedule(); a wake-up in between undoes it.

    The condition that is looked at next must not be loaded before the waker can see the state (set_mb).
    """
    current().state = state
    mb()


@guest
def set_task_state(p: ptr[TaskStruct], state: TaskState) -> None:
    """set_current_state() for a task one holds otherwise."""
    p.state = state
    mb()


@guest
def pull_task(this_cpu: u32, rq: ptr[Rq]) -> None:
    """Take a waiting task from a CPU that has more than it can run (idle_balance)."""
    for cpu in range(NR_CPUS):
        busiest = cpu_rq(cpu)
        if cpu == this_cpu or load_volatile(addr(busiest.nr_running)) < 2 or not raw_spin_trylock(busiest.lock):
            continue
        for prio in range(MAX_PRIO):
            for p in list_for_each_entry(busiest.queue[prio], TaskStruct, "run_list"):
                if p != busiest.curr and p.cpus_allowed >> this_cpu & 1:
                    dequeue_task(p, busiest)
                    p.thread_info.cpu = this_cpu
                    enqueue_task(p, rq)
                    raw_spin_unlock(busiest.lock)
                    return
        raw_spin_unlock(busiest.lock)


@guest
def pick_next_task(rq: ptr[Rq]) -> ptr[TaskStruct]:
    """First task of the most urgent list; idle if there is none, here or elsewhere."""
    if rq.nr_running == 0:
        pull_task(smp_processor_id(), rq)
        if rq.nr_running == 0:
            return rq.idle
    prio: u32 = 0
    while list_empty(rq.queue[prio]):
        prio += 1
    return container_of(rq.queue[prio].next, TaskStruct, "run_list")


@extern
def put_dead_task(p: ptr[TaskStruct]) -> None:
    """Free a task that will never run again; kthread.py."""


@extern
def rcu_qsctr_inc(cpu: u32) -> None:
    """This CPU switches tasks; rcupdate.py."""


@guest
def finish_task_switch() -> None:
    """The other side of the switch: runs as the new task, perhaps on another CPU than it left on."""
    rq = cpu_rq(smp_processor_id())
    prev = rq.prev
    dead = prev.state == EXIT_DEAD
    prev.on_cpu = False
    spin_unlock_irq(rq.lock)
    if dead:
        put_dead_task(prev)


@guest
def schedule() -> None:
    """Give the CPU to the most urgent task; a task whose state is not TASK_RUNNING leaves the queue.

    The idle task hangs in no queue; one that sleeps all the same, in an oops, comes back at once.
    """
    if in_atomic() and current().flags & PF_EXITING == 0:
        printk(f"<3>scheduling while atomic: {current().comm:s}/0x{preempt_count():08x}/{current().pid}\n")
        dump_stack()
    while True:
        preempt_disable()
        prev = current()
        rq = cpu_rq(smp_processor_id())
        spin_lock_irq(rq.lock)
        if prev.state != TASK_RUNNING and preempt_count() & PREEMPT_ACTIVE == 0:
            prev.nvcsw += 1
            if prev.on_rq:
                if prev.state == TASK_UNINTERRUPTIBLE:
                    rq.nr_uninterruptible += 1
                dequeue_task(prev, rq)
        fetch_and(addr(prev.thread_info.flags), ~(1 << TIF_NEED_RESCHED))
        next = pick_next_task(rq)
        if next == prev:
            spin_unlock_irq(rq.lock)
        else:
            rcu_qsctr_inc(smp_processor_id())
            rq.nr_switches += 1
            rq.curr = next
            rq.prev = prev
            next.on_cpu = True
            switch_to(prev, next)
            barrier()
            finish_task_switch()
        preempt_enable_no_resched()
        if not need_resched():
            break


@guest
def preempt_schedule() -> None:
    """A more urgent task waits and this one may be preempted."""
    info = current_thread_info()
    if info.preempt_count != 0 or irqs_disabled():
        return
    while True:
        info.preempt_count += PREEMPT_ACTIVE
        schedule()
        info.preempt_count -= PREEMPT_ACTIVE
        barrier()
        if not need_resched():
            break


@guest
def preempt_schedule_irq() -> None:
    """The same on the way out of an interrupt; called and left with interrupts off."""
    info = current_thread_info()
    while True:
        info.preempt_count += PREEMPT_ACTIVE
        local_irq_enable()
        schedule()
        local_irq_disable()
        info.preempt_count -= PREEMPT_ACTIVE
        barrier()
        if not need_resched():
            break


@guest
def cond_resched() -> bool:
    """Give way if somebody waits; whether it did."""
    if need_resched():
        schedule()
        return True
    return False


@guest
def yield_cpu() -> None:
    """Let equals run first (sched_yield)."""
    rq = cpu_rq(smp_processor_id())
    flags = spin_lock_irqsave(rq.lock)
    p = current()
    if p.on_rq:
        list_del(p.run_list)
        list_add_tail(p.run_list, rq.queue[p.prio])
    spin_unlock_irqrestore(rq.lock, flags)
    schedule()


@guest
def scheduler_tick() -> None:
    """The timer interrupt's part: the end of time slices, and work for an idle CPU."""
    rq = cpu_rq(smp_processor_id())
    p = current()
    if p == rq.idle:
        for cpu in range(NR_CPUS):
            if load_volatile(addr(cpu_rq(cpu).nr_running)) > 1:
                resched_task(p)
        return
    flags = spin_lock_irqsave(rq.lock)
    if p.on_rq:
        if p.time_slice > 1:
            p.time_slice -= 1
        else:
            p.time_slice = DEF_TIMESLICE
            p.prio = min(p.static_prio + 1, MAX_PRIO - 1)
            p.nivcsw += 1
            list_del(p.run_list)
            list_add_tail(p.run_list, rq.queue[p.prio])
            resched_task(p)
    spin_unlock_irqrestore(rq.lock, flags)


@guest
def wake_up_new_task(p: ptr[TaskStruct]) -> None:
    """Let a task run for the first time."""
    p.state = TASK_INTERRUPTIBLE
    p.time_slice = DEF_TIMESLICE
    wake_up_process(p)


@guest
def set_cpus_allowed(p: ptr[TaskStruct], mask: u32) -> None:
    """Restrict a task that does not run yet to some CPUs."""
    p.cpus_allowed = mask & CPU_MASK_ALL
