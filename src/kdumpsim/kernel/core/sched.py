# SPDX-License-Identifier: GPL-2.0-or-later
"""The scheduler (kernel/sched.c of 2.6.16, much reduced).

Each CPU has a run queue of two halves with a list for each priority.  The first task of the most urgent list of the
active half runs until it sleeps, a more urgent one wakes, or its time slice ends.  Then it waits in the expired half,
and the halves change places when nobody is left in the active one.  It also stands back by one priority until it sleeps
again, so that tasks which sleep much preempt those that only compute: all that is left of 2.6's bonus for interactive
tasks.  Real-time tasks have no time slice.

The queue's lock is held across the switch and freed on its other side, so that a task somebody wants to move is never
half switched out.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import (
    NULL,
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
    __ffs,
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
    MAX_RT_PRIO,
    PF_EXITING,
    TASK_INTERRUPTIBLE,
    TASK_RUNNING,
    TASK_UNINTERRUPTIBLE,
    PrioArray,
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
from kdumpsim.kernel.core.types import BITS_PER_LONG

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
    active: ptr[PrioArray]
    expired: ptr[PrioArray]
    """Those who used their time slices up, until the active ones have, too."""
    arrays: array[PrioArray] = length(2)


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
        for half in range(2):
            for prio in range(MAX_PRIO):
                init_list_head(rq.arrays[half].queue[prio])
        rq.active = rq.arrays[0]
        rq.expired = rq.arrays[1]
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
def enqueue_task(p: ptr[TaskStruct], half: ptr[PrioArray]) -> None:
    """Put a task at the end of its priority's list."""
    list_add_tail(p.run_list, half.queue[p.prio])
    half.bitmap[p.prio // BITS_PER_LONG] |= u32(1) << (p.prio % BITS_PER_LONG)
    half.nr_active += 1
    p.prio_array = half


@guest
def dequeue_task(p: ptr[TaskStruct]) -> None:
    """Take a task off the list it is in."""
    half = p.prio_array
    half.nr_active -= 1
    list_del(p.run_list)
    if list_empty(half.queue[p.prio]):
        half.bitmap[p.prio // BITS_PER_LONG] &= ~(u32(1) << (p.prio % BITS_PER_LONG))


@guest
def requeue_task(p: ptr[TaskStruct], prio: u32, half: ptr[PrioArray]) -> None:
    """Put a task at the end of another list, or of its own."""
    dequeue_task(p)
    p.prio = prio
    enqueue_task(p, half)


@guest
def __deactivate_task(p: ptr[TaskStruct], rq: ptr[Rq]) -> None:
    """Take a task off the run queue."""
    dequeue_task(p)
    p.prio_array = NULL
    rq.nr_running -= 1


@guest
def __activate_task(p: ptr[TaskStruct], rq: ptr[Rq]) -> None:
    """Put a task on the run queue."""
    enqueue_task(p, rq.active)
    rq.nr_running += 1


@guest
def sched_find_first_bit(bitmap: ptr[u32]) -> u32:
    """The most urgent priority of those that somebody has."""
    word: u32 = 0
    while bitmap[word] == 0:
        word += 1
    return word * BITS_PER_LONG + __ffs(bitmap[word])


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
    __activate_task(p, rq)
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
    if p.prio_array != NULL:
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
    if p.prio_array == NULL and u32(p.state) & states:
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
def movable_task(half: ptr[PrioArray], busiest: ptr[Rq], this_cpu: u32) -> ptr[TaskStruct]:
    """A task of another CPU that may run here and waits, the most urgent first; NULL if there is none."""
    if half.nr_active != 0:
        for prio in range(sched_find_first_bit(half.bitmap), MAX_PRIO):
            for p in list_for_each_entry(half.queue[prio], TaskStruct, "run_list"):
                if p != busiest.curr and p.cpus_allowed >> this_cpu & 1:
                    return p
    return NULL


@guest
def idle_balance(this_cpu: u32, rq: ptr[Rq]) -> None:
    """Take a waiting task from a CPU that has more than it can run."""
    for cpu in range(NR_CPUS):
        busiest = cpu_rq(cpu)
        if cpu == this_cpu or load_volatile(addr(busiest.nr_running)) < 2 or not raw_spin_trylock(busiest.lock):
            continue
        p = movable_task(busiest.expired, busiest, this_cpu)
        if p == NULL:
            p = movable_task(busiest.active, busiest, this_cpu)
        if p != NULL:
            __deactivate_task(p, busiest)
            p.thread_info.cpu = this_cpu
            __activate_task(p, rq)
        raw_spin_unlock(busiest.lock)
        if p != NULL:
            return


@guest
def pick_next_task(rq: ptr[Rq]) -> ptr[TaskStruct]:
    """First task of the most urgent list; idle if there is none, here or elsewhere."""
    if rq.nr_running == 0:
        idle_balance(smp_processor_id(), rq)
        if rq.nr_running == 0:
            return rq.idle
    if rq.active.nr_active == 0:
        empty = rq.active
        rq.active = rq.expired
        rq.expired = empty
    return container_of(rq.active.queue[sched_find_first_bit(rq.active.bitmap)].next, TaskStruct, "run_list")


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
            if prev.prio_array != NULL:
                if prev.state == TASK_UNINTERRUPTIBLE:
                    rq.nr_uninterruptible += 1
                __deactivate_task(prev, rq)
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
    if p.prio_array != NULL:
        requeue_task(p, p.prio, p.prio_array)
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
    if p.prio_array == rq.active and p.prio >= MAX_RT_PRIO:
        if p.time_slice > 1:
            p.time_slice -= 1
        else:
            p.time_slice = DEF_TIMESLICE
            p.nivcsw += 1
            requeue_task(p, min(p.static_prio + 1, MAX_PRIO - 1), rq.expired)
            resched_task(p)
    spin_unlock_irqrestore(rq.lock, flags)


@guest
def wake_up_new_task(p: ptr[TaskStruct]) -> None:
    """Let a task run for the first time."""
    p.state = TASK_INTERRUPTIBLE
    p.time_slice = DEF_TIMESLICE
    wake_up_process(p)


@guest
def set_task_prio(p: ptr[TaskStruct], prio: u32) -> None:
    """Make a task more or less urgent (set_user_nice(), sched_setscheduler())."""
    flags: u32 = 0
    rq = task_rq_lock(p, addr(flags))
    p.static_prio = prio
    if p.prio_array == NULL:
        p.prio = prio
    else:
        requeue_task(p, prio, p.prio_array)
    spin_unlock_irqrestore(rq.lock, flags)


@guest
def set_cpus_allowed(p: ptr[TaskStruct], mask: u32) -> None:
    """Restrict a task that does not run yet to some CPUs."""
    p.cpus_allowed = mask & CPU_MASK_ALL
