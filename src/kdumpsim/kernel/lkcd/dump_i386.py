# SPDX-License-Identifier: GPL-2.0-or-later
"""What LKCD does to the CPUs and to interrupts (drivers/dump/dump_i386.c of LKCD 6).

The dumping CPU stops the others by NMI, waits for all of them, and later lets them go as far as schedule(), so that
they give back the locks they hold.  Then it makes all interrupts its own, forgets that it may be inside one, and turns
them on: the dump is written by the kernel's own driver, which cannot do without.

LKCD patches schedule() to wait there, first of all, while a dump is taken.  Here each CPU has a thread of the highest
priority that does the waiting, woken by the dumping CPU as soon as the queue's lock can be had.  Like schedule() it
waits with interrupts as its caller has them: off on the way back to user mode (entry.S), on everywhere else.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from kdumpsim.compiler.lang import (
    NULL,
    addr,
    array,
    fetch_or,
    fetch_sub,
    fn,
    guest,
    i32,
    length,
    load_volatile,
    placed,
    ptr,
    store_volatile,
    u8,
    u32,
    void,
)
from kdumpsim.kernel.architecture import (
    TIF_NEED_RESCHED,
    PtRegs,
    cpu_online,
    cpu_relax,
    crash_setup_regs,
    current,
    current_thread_info,
    irqs_disabled,
    local_irq_disable,
    local_irq_enable,
    mb,
    num_online_cpus,
    safe_halt,
    send_IPI_allbutself,
    set_nmi_callback,
    smp_processor_id,
    udelay,
    unset_nmi_callback,
    user_mode,
)
from kdumpsim.kernel.core.config import NR_CPUS, NR_IRQS
from kdumpsim.kernel.core.hardirq import HARDIRQ_MASK, SOFTIRQ_MASK
from kdumpsim.kernel.core.irq import irq_desc
from kdumpsim.kernel.core.irq_types import IrqDesc
from kdumpsim.kernel.core.kthread import kernel_thread_on_cpu
from kdumpsim.kernel.core.sched import Rq, activate_task, cpu_rq, schedule, set_current_state, set_task_prio
from kdumpsim.kernel.core.sched_types import TASK_INTERRUPTIBLE, TASK_RUNNING, TaskStruct
from kdumpsim.kernel.core.spinlock import spin_trylock, spin_unlock
from kdumpsim.kernel.core.types import ENOMEM
from kdumpsim.kernel.core.vsprintf import snprintf
from kdumpsim.kernel.lkcd.dump_fmt import dump_save_context

DUMP_VECTOR: Final = 2
"""The IPI that stops the others is an NMI."""
QUEUE_PATIENCE_US: Final = 1000


class DumpSilence(IntEnum):
    """How still the other CPUs are."""

    DUMP_HARD_SPIN_CPUS = 1
    """They wait in the handler of the NMI."""
    DUMP_SOFT_SPIN_CPUS = 2
    """They go on up to the next schedule()."""


dump_oncpu: u32 = 0
"""The number of the dumping CPU and 1; 0 while there is none."""
dump_silence_level: DumpSilence = DumpSilence.DUMP_HARD_SPIN_CPUS
dump_expect_ipi: array[u32] = length(NR_CPUS)
waiting_for_dump_ipi: u32 = 0
"""CPUs that have not stopped yet."""
saved_irq_count: i32 = 0
"""What the dumping CPU had counted of interrupts and softirqs."""
saved_affinity: array[u32] = length(NR_IRQS)
dump_in_user_mode: array[u32] = length(NR_CPUS)
"""CPUs that the NMI found in ring 3, and that will call schedule() on their way back there."""
dump_spin_task: array[ptr[TaskStruct]] = length(NR_CPUS)


@guest
def dump_nmi_callback(regs: ptr[PtRegs], cpu: u32) -> i32:
    """A CPU that is to stop: save its registers and wait."""
    if cpu >= NR_CPUS or dump_expect_ipi[cpu] == 0:
        return 0
    dump_expect_ipi[cpu] = 0
    fixed_regs: PtRegs = PtRegs()
    crash_setup_regs(fixed_regs, regs)
    dump_save_context(fixed_regs, cpu)
    dump_in_user_mode[cpu] = 1 if user_mode(regs) else 0
    fetch_sub(addr(waiting_for_dump_ipi), 1)
    while load_volatile(addr(dump_oncpu)) != 0:
        if load_volatile(addr(dump_silence_level)) != DumpSilence.DUMP_HARD_SPIN_CPUS:
            fetch_or(addr(current_thread_info().flags), 1 << TIF_NEED_RESCHED)
            break
        cpu_relax()
    return 1


@guest
def dump_save_other_cpus() -> None:
    """Stop the other CPUs and wait until each has saved its registers; as long as it takes, as LKCD on i386."""
    others = num_online_cpus() - 1
    if others == 0:
        return
    this = smp_processor_id()
    store_volatile(addr(waiting_for_dump_ipi), others)
    for cpu in range(NR_CPUS):
        dump_expect_ipi[cpu] = 1 if cpu != this and cpu_online(cpu) else 0
    set_nmi_callback(dump_nmi_callback)
    mb()
    send_IPI_allbutself(DUMP_VECTOR)
    while load_volatile(addr(waiting_for_dump_ipi)) != 0:
        cpu_relax()
    unset_nmi_callback()


@guest
def dump_spin(arg: ptr[void]) -> i32:
    """A CPU's thread: keeps its CPU from scheduling anything else while another one dumps."""
    set_task_prio(current(), 0)
    while True:
        set_current_state(TASK_INTERRUPTIBLE)
        if load_volatile(addr(dump_oncpu)) == 0:
            schedule()
        current().state = TASK_RUNNING
        if dump_in_user_mode[smp_processor_id()] != 0:
            local_irq_disable()
        while load_volatile(addr(dump_oncpu)) != 0:
            if irqs_disabled():
                cpu_relax()
            else:
                safe_halt()  # until the next tick at most: the same to everybody else, and less work for the host
        local_irq_enable()
    return 0


@guest
def dump_wake_spinner(cpu: u32) -> None:
    """Have a CPU wait at its next schedule(); given up if its queue stays locked."""
    rq: ptr[Rq] = cpu_rq(cpu)
    p: ptr[TaskStruct] = dump_spin_task[cpu]
    for _ in range(QUEUE_PATIENCE_US):
        if spin_trylock(rq.lock):
            if p.prio_array == NULL:
                p.state = TASK_RUNNING
                activate_task(p, rq)
            spin_unlock(rq.lock)
            return
        udelay(1)


@guest
def dump_soften() -> None:
    """Move to a softer level of silence: the other CPUs leave the NMI and give their locks back."""
    store_volatile(addr(dump_silence_level), DumpSilence.DUMP_SOFT_SPIN_CPUS)
    this = smp_processor_id()
    for cpu in range(NR_CPUS):
        if cpu != this and dump_spin_task[cpu] != NULL:
            dump_wake_spinner(cpu)


@guest
def set_irq_affinity() -> None:
    """Send all interrupts to this CPU."""
    mask: u32 = u32(1) << smp_processor_id()
    for irq in range(NR_IRQS):
        desc: ptr[IrqDesc] = irq_desc[irq]
        saved_affinity[irq] = desc.affinity
        desc.affinity = mask
        if desc.handler.set_affinity != NULL:
            desc.handler.set_affinity(irq, mask)


@guest
def reset_irq_affinity() -> None:
    """Undo set_irq_affinity()."""
    for irq in range(NR_IRQS):
        desc: ptr[IrqDesc] = irq_desc[irq]
        desc.affinity = saved_affinity[irq]
        if desc.handler.set_affinity != NULL:
            desc.handler.set_affinity(irq, desc.affinity)


@guest
def dump_irq_enable() -> None:
    """Interrupts on, whatever the crash was in the middle of: softirqs have to run, and the driver's interrupt."""
    global saved_irq_count
    set_irq_affinity()
    saved_irq_count = current_thread_info().preempt_count & (HARDIRQ_MASK | SOFTIRQ_MASK)
    current_thread_info().preempt_count &= ~(HARDIRQ_MASK | SOFTIRQ_MASK)
    local_irq_enable()


@guest
def dump_irq_restore() -> None:
    """Undo dump_irq_enable()."""
    local_irq_disable()
    reset_irq_affinity()
    current_thread_info().preempt_count |= saved_irq_count


@guest
def dump_spin_init() -> i32:
    """Start the threads of all CPUs that are online."""
    name: array[u8] = length(16)
    for cpu in range(NR_CPUS):
        if cpu_online(cpu):
            snprintf(name, 16, "dump_spin/%u", cpu)
            dump_spin_task[cpu] = kernel_thread_on_cpu(dump_spin, NULL, name, cpu)
            if dump_spin_task[cpu] == NULL:
                return -ENOMEM
    return 0


_init_dump_spin: fn[[], i32] = placed("initcall7", dump_spin_init)
