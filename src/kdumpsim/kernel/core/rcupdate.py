# SPDX-License-Identifier: GPL-2.0-or-later
"""Read-copy update (kernel/rcupdate.c of 2.6.16): memory is freed when no CPU can be looking at it any more.

Readers take no lock: they only keep preemption off.  A CPU that switches tasks, idles or runs user code reads nothing,
and has then passed through a quiescent state.  call_rcu() keeps a callback until every CPU has passed through one
since; such a wait is a grace period, and callbacks that came in meanwhile wait together for the next.

Each CPU's part is done by a tasklet, which the timer interrupt schedules while there is something to do.  On a working
machine it is what most tasklets are.
"""

from __future__ import annotations

from kdumpsim.compiler.lang import NULL, Struct, addr, array, fn, guest, i32, length, load_volatile, ptr, u32, usize
from kdumpsim.kernel.architecture import (
    cpu_online,
    local_irq_disable,
    local_irq_enable,
    local_irq_restore,
    local_irq_save,
    smp_processor_id,
)
from kdumpsim.kernel.core.config import NR_CPUS
from kdumpsim.kernel.core.hardirq import HARDIRQ_MASK, HARDIRQ_OFFSET, in_softirq, preempt_count
from kdumpsim.kernel.core.softirq import TaskletStruct, tasklet_init, tasklet_schedule
from kdumpsim.kernel.core.spinlock import Spinlock, spin_lock, spin_unlock
from kdumpsim.kernel.core.types import RcuHead


class RcuCtrlblk(Struct):
    """The grace period under way, if any; all of it under `lock`."""

    cur: u32
    """Number of the last batch that was started."""
    completed: u32
    """Number of the last batch whose grace period is over."""
    next_pending: bool
    """Whether the batch after `cur` is wanted."""
    cpumask: u32
    """CPUs that have not passed through a quiescent state since `cur` began."""
    lock: Spinlock


class RcuData(Struct):
    """One CPU's callbacks and its view of the grace period; only that CPU touches it."""

    quiescbatch: u32
    """The batch that this CPU knows to be waiting for it."""
    passed_quiesc: bool
    """Whether it has passed through a quiescent state since it knows."""
    qs_pending: bool
    """Whether it still has to say so."""
    batch: u32
    """What `curlist` waits for."""
    nxtlist: ptr[RcuHead]
    """Callbacks that have no batch yet, newest first."""
    curlist: ptr[RcuHead]
    donelist: ptr[RcuHead]
    tasklet: TaskletStruct


rcu_ctrlblk: RcuCtrlblk = RcuCtrlblk(lock=Spinlock(slock=1))
rcu_data: array[RcuData] = length(NR_CPUS)


@guest
def rcu_batch_before(a: u32, b: u32) -> bool:
    """Whether batch `a` came before `b`, across the wrap."""
    return i32(a - b) < 0


@guest
def call_rcu(head: ptr[RcuHead], func: fn[[ptr[RcuHead]], None]) -> None:
    """Call func(head) after a grace period, from a tasklet."""
    head.func = func
    flags = local_irq_save()
    rdp: ptr[RcuData] = rcu_data[smp_processor_id()]
    head.next = rdp.nxtlist
    rdp.nxtlist = head
    local_irq_restore(flags)


@guest
def rcu_qsctr_inc(cpu: u32) -> None:
    """This CPU reads nothing just now: a quiescent state."""
    rcu_data[cpu].passed_quiesc = True


@guest
def rcu_start_batch(rcp: ptr[RcuCtrlblk]) -> None:
    """Begin a grace period if one is wanted and none is under way; lock held.  All CPUs online have to answer."""
    if not rcp.next_pending or rcp.completed != rcp.cur:
        return
    rcp.next_pending = False
    mask: u32 = 0
    for cpu in range(NR_CPUS):
        if cpu_online(cpu):
            mask |= 1 << cpu
    rcp.cpumask = mask
    rcp.cur += 1


@guest
def rcu_check_quiescent_state(rcp: ptr[RcuCtrlblk], rdp: ptr[RcuData], cpu: u32) -> None:
    """Notice a new grace period, or report that this CPU has passed through a quiescent state since it began."""
    if rdp.quiescbatch != load_volatile(addr(rcp.cur)):
        rdp.qs_pending = True
        rdp.passed_quiesc = False
        rdp.quiescbatch = rcp.cur
        return
    if not rdp.qs_pending or not rdp.passed_quiesc:
        return
    rdp.qs_pending = False
    spin_lock(rcp.lock)
    if rdp.quiescbatch == rcp.cur:
        rcp.cpumask &= ~(1 << cpu)
        if rcp.cpumask == 0:
            rcp.completed = rcp.cur
            rcu_start_batch(rcp)
    spin_unlock(rcp.lock)


@guest
def rcu_do_batch(rdp: ptr[RcuData]) -> None:
    """Call the callbacks whose grace period is over."""
    head = rdp.donelist
    rdp.donelist = NULL
    while head != NULL:
        next = head.next
        head.func(head)
        head = next


@guest
def rcu_process_callbacks(cpu: usize) -> None:
    """The tasklet: move this CPU's callbacks on (nxtlist, curlist, donelist), and do what is done."""
    rcp: ptr[RcuCtrlblk] = rcu_ctrlblk
    rdp: ptr[RcuData] = rcu_data[cpu]
    if rdp.curlist != NULL and not rcu_batch_before(rcp.completed, rdp.batch):
        rdp.donelist = rdp.curlist
        rdp.curlist = NULL
    local_irq_disable()
    wanted = rdp.nxtlist != NULL and rdp.curlist == NULL
    if wanted:
        rdp.curlist = rdp.nxtlist
        rdp.nxtlist = NULL
    local_irq_enable()
    if wanted:
        spin_lock(rcp.lock)
        rdp.batch = rcp.cur + 1
        rcp.next_pending = True
        rcu_start_batch(rcp)
        spin_unlock(rcp.lock)
    rcu_check_quiescent_state(rcp, rdp, u32(cpu))
    rcu_do_batch(rdp)


@guest
def rcu_pending(cpu: u32) -> bool:
    """Whether the tasklet of this CPU has something to do."""
    rcp: ptr[RcuCtrlblk] = rcu_ctrlblk
    rdp: ptr[RcuData] = rcu_data[cpu]
    if rdp.curlist != NULL and not rcu_batch_before(load_volatile(addr(rcp.completed)), rdp.batch):
        return True
    if rdp.curlist == NULL and rdp.nxtlist != NULL:
        return True
    return rdp.quiescbatch != load_volatile(addr(rcp.cur)) or rdp.qs_pending


@guest
def rcu_check_callbacks(cpu: u32, user: bool, idle: bool) -> None:
    """The timer interrupt's part: a tick that interrupted user code, or nothing at all, is a quiescent state."""
    if user or (idle and not in_softirq() and preempt_count() & HARDIRQ_MASK <= HARDIRQ_OFFSET):
        rcu_qsctr_inc(cpu)
    tasklet_schedule(rcu_data[cpu].tasklet)


@guest
def rcu_init() -> None:
    """Make the tasklets."""
    for cpu in range(NR_CPUS):
        tasklet_init(rcu_data[cpu].tasklet, rcu_process_callbacks, cpu)
