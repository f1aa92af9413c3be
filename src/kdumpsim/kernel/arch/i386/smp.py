# SPDX-License-Identifier: GPL-2.0-or-later
"""CPUs talking to each other by interrupts (arch/i386/kernel/smp.c of 2.6.16; SDM vol. 3, 10.6)."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import (
    NULL,
    Struct,
    addr,
    fetch_add,
    fetch_and,
    fn,
    guest,
    i32,
    load_volatile,
    ptr,
    u32,
    void,
)
from kdumpsim.kernel.arch.i386.apic import (
    ack_APIC_irq,
    apic_mapped,
    apic_read,
    apic_write,
    disable_local_APIC,
    safe_smp_processor_id,
)
from kdumpsim.kernel.arch.i386.apicdef import (
    APIC_DEST_ALLBUT,
    APIC_DEST_LOGICAL,
    APIC_DM_FIXED,
    APIC_DM_NMI,
    APIC_ICR,
    APIC_ICR2,
    APIC_ICR_BUSY,
)
from kdumpsim.kernel.arch.i386.irq_vectors import CALL_FUNCTION_VECTOR, RESCHEDULE_VECTOR
from kdumpsim.kernel.arch.i386.processor import cpu_relax, halt, local_irq_disable, local_irq_enable, mb
from kdumpsim.kernel.arch.i386.ptrace import PtRegs
from kdumpsim.kernel.arch.i386.thread_info import smp_processor_id
from kdumpsim.kernel.core.config import NR_CPUS
from kdumpsim.kernel.core.softirq import irq_enter, irq_exit
from kdumpsim.kernel.core.spinlock import Spinlock, spin_lock, spin_unlock

NMI_VECTOR: Final = 2

cpu_online_map: u32 = 1
"""One bit for each CPU that takes part."""
call_lock: Spinlock = Spinlock(slock=1)


class CallData(Struct):
    """A function that other CPUs shall run, and how many have."""

    func: fn[[ptr[void]], None]
    info: ptr[void]
    started: u32
    finished: u32
    wait: bool


call_data: ptr[CallData] = NULL


@guest
def cpu_online(cpu: u32) -> bool:
    """Whether this CPU takes part."""
    return load_volatile(addr(cpu_online_map)) >> cpu & 1 != 0


@guest
def num_online_cpus() -> u32:
    """How many CPUs take part."""
    count: u32 = 0
    for cpu in range(NR_CPUS):
        if cpu_online(cpu):
            count += 1
    return count


@guest
def apic_wait_icr_idle() -> None:
    """Wait until the last IPI has left."""
    while apic_read(APIC_ICR) & APIC_ICR_BUSY:
        cpu_relax()


@guest
def icr_low(vector: u32) -> u32:
    """Delivery mode and vector; an NMI has no vector of its own."""
    return APIC_DM_NMI if vector == NMI_VECTOR else APIC_DM_FIXED | vector


@guest
def send_IPI_allbutself(vector: u32) -> None:
    """An interrupt for every other CPU."""
    if load_volatile(addr(cpu_online_map)) & ~(u32(1) << safe_smp_processor_id()) == 0 or not apic_mapped:
        return
    apic_wait_icr_idle()
    apic_write(APIC_ICR, APIC_DEST_ALLBUT | icr_low(vector))


@guest
def send_IPI_mask(mask: u32, vector: u32) -> None:
    """An interrupt for the CPUs in `mask`, by flat logical destination."""
    apic_wait_icr_idle()
    apic_write(APIC_ICR2, mask << 24)
    apic_write(APIC_ICR, APIC_DEST_LOGICAL | icr_low(vector))


@guest
def smp_send_reschedule(cpu: u32) -> None:
    """Make another CPU look at its need_resched flag; called with interrupts off."""
    send_IPI_mask(1 << cpu, RESCHEDULE_VECTOR)


@guest
def smp_reschedule_interrupt(regs: ptr[PtRegs]) -> None:
    """Nothing to do: the way out of every interrupt looks at need_resched."""
    ack_APIC_irq()


@guest
def smp_call_function(func: fn[[ptr[void]], None], info: ptr[void], wait: bool) -> i32:
    """Have all other CPUs run func(info) in interrupt context; with `wait`, until they are done.

    Must not be called with interrupts off: two callers would wait for each other for ever.
    """
    global call_data
    data: CallData = CallData()
    spin_lock(call_lock)
    others = num_online_cpus() - 1
    if others != 0:
        data.func = func
        data.info = info
        data.wait = wait
        call_data = data
        mb()
        send_IPI_allbutself(CALL_FUNCTION_VECTOR)
        while load_volatile(addr(data.started)) != others:
            cpu_relax()
        while wait and load_volatile(addr(data.finished)) != others:
            cpu_relax()
    spin_unlock(call_lock)
    return 0


@guest
def smp_call_function_interrupt(regs: ptr[PtRegs]) -> None:
    """Run what smp_call_function() asks for; its data may be gone once `started` is counted.

    In a capture kernel nobody asked: the call was for a predecessor that had interrupts off for good. 2.6.16 doesn't
    look and follows a null pointer.
    """
    if call_data == NULL:
        ack_APIC_irq()
        return
    func = call_data.func
    info = call_data.info
    wait = call_data.wait
    data = call_data
    ack_APIC_irq()
    mb()
    fetch_add(addr(data.started), 1)
    irq_enter()
    func(info)
    irq_exit()
    if wait:
        mb()
        fetch_add(addr(data.finished), 1)


@guest
def stop_this_cpu(dummy: ptr[void]) -> None:
    """The last thing a CPU does."""
    fetch_and(addr(cpu_online_map), ~(u32(1) << smp_processor_id()))
    local_irq_disable()
    disable_local_APIC()
    while True:
        halt()


@guest
def smp_send_stop() -> None:
    """Stop all other CPUs (a panic without a capture kernel, a restart)."""
    if not apic_mapped:
        return
    smp_call_function(stop_this_cpu, NULL, False)
    local_irq_disable()
    disable_local_APIC()
    local_irq_enable()
