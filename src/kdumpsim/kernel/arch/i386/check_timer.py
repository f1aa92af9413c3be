# SPDX-License-Identifier: GPL-2.0-or-later
"""How does the timer's interrupt reach us?  Try every way that boards have been seen to offer (2.6.16 check_timer).

A capture kernel goes through this as well, possibly on a CPU that was not the boot CPU; without a timer it could not
save the dump (LKDTT paper, section 5.2.5).
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, addr, array, external, guest, load_volatile, ptr, u8, u32
from kdumpsim.kernel.arch.i386.apic import ack_APIC_irq, apic_read, apic_write, hard_smp_processor_id
from kdumpsim.kernel.arch.i386.apicdef import APIC_DM_EXTINT, APIC_DM_FIXED, APIC_LVT0, APIC_LVT_MASKED, APIC_TASKPRI
from kdumpsim.kernel.arch.i386.delay import mdelay
from kdumpsim.kernel.arch.i386.desc import set_intr_gate
from kdumpsim.kernel.arch.i386.entry import interrupt
from kdumpsim.kernel.arch.i386.i8259 import disable_8259A_irq, enable_8259A_irq, init_8259A, make_8259A_irq
from kdumpsim.kernel.arch.i386.io_apic import (
    RouteEntry,
    clear_IO_APIC_pin,
    ioapic_edge_type,
    ioapic_i8259_pin,
    ioapic_write_entry,
    irq_2_pin,
    irq_vector,
    unmask_IO_APIC_irq,
)
from kdumpsim.kernel.arch.i386.irq_vectors import FIRST_EXTERNAL_VECTOR
from kdumpsim.kernel.arch.i386.mpparse import find_isa_irq_pin
from kdumpsim.kernel.arch.i386.mpspec import MpIrqType
from kdumpsim.kernel.arch.i386.nmi_watchdog import NMI_IO_APIC, nmi_watchdog, no_nmi_watchdog, setup_nmi
from kdumpsim.kernel.arch.i386.processor import local_irq_enable, local_irq_restore, local_irq_save
from kdumpsim.kernel.arch.i386.ptrace import PtRegs
from kdumpsim.kernel.core.config import HZ
from kdumpsim.kernel.core.irq import irq_desc
from kdumpsim.kernel.core.irq_types import HwInterruptType
from kdumpsim.kernel.core.panic import panic
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.timer import jiffies

TICKS_WAITED: Final = 100
"""Ten times what 2.6.16 waits, for a delay loop calibrated on a busy host is short; it ends when ticks are seen."""
TICKS_NEEDED: Final = 4

spurious_8259A_interrupt: array[u8] = external()


@guest
def mask_lapic_irq(irq: u32) -> None:
    """Mask the local pin."""
    apic_write(APIC_LVT0, apic_read(APIC_LVT0) | APIC_LVT_MASKED)


@guest
def unmask_lapic_irq(irq: u32) -> None:
    """Unmask the local pin."""
    apic_write(APIC_LVT0, apic_read(APIC_LVT0) & ~u32(APIC_LVT_MASKED))


@guest
def startup_lapic_irq(irq: u32) -> u32:
    """It is unmasked already when this matters."""
    return 0


@guest
def ack_lapic_irq(irq: u32) -> None:
    """Edge triggered: end it at once."""
    ack_APIC_irq()


@guest
def end_lapic_irq(irq: u32) -> None:
    """Nothing to do."""


lapic_irq_type: HwInterruptType = HwInterruptType(
    typename="local-APIC-edge",
    startup=startup_lapic_irq,
    shutdown=mask_lapic_irq,
    enable=unmask_lapic_irq,
    disable=mask_lapic_irq,
    ack=ack_lapic_irq,
    end=end_lapic_irq,
    set_affinity=NULL,
)


@guest
def smp_spurious_8259A_interrupt(regs: ptr[PtRegs]) -> None:
    """The i8259's tick came as an interrupt, where LINT0 should make an NMI of it and nothing else.

    QEMU lets the i8259 go first on every CPU whose LINT0 is not masked, and then forgets what the local APIC itself had
    to deliver, until something makes it look again, as a write to the task priority does.
    """
    apic_write(APIC_TASKPRI, 0)


@guest
def timer_irq_works() -> bool:
    """Whether jiffies advance."""
    start = load_volatile(addr(jiffies))
    flags = local_irq_save()
    local_irq_enable()
    for _ in range(TICKS_WAITED * (1000 // HZ)):
        mdelay(1)
        if load_volatile(addr(jiffies)) - start > TICKS_NEEDED:
            break
    local_irq_restore(flags)
    return load_volatile(addr(jiffies)) - start > TICKS_NEEDED


@guest
def setup_ExtINT_IRQ0_pin(pin: u32, vector: u32) -> None:
    """Have an I/O APIC pin pass the i8259s' INTR on to this CPU, who asks them for the vector."""
    entry: RouteEntry = RouteEntry()
    apic_write(APIC_LVT0, APIC_LVT_MASKED | APIC_DM_EXTINT)
    entry.delivery_mode = APIC_DM_EXTINT >> 8
    entry.dest = hard_smp_processor_id()
    entry.vector = vector
    irq_desc[0].handler = ioapic_edge_type
    ioapic_write_entry(pin, entry)
    enable_8259A_irq(0)


@guest
def check_timer() -> None:
    """I/O APIC pin, I/O APIC pin behind the i8259, virtual wire, ExtINT: the first that ticks is kept."""
    disable_8259A_irq(0)
    vector = irq_vector(0)
    set_intr_gate(vector, interrupt[0])
    # The i8259 must not have the timer pending when its INTR is looked at again.
    apic_write(APIC_LVT0, APIC_LVT_MASKED | APIC_DM_EXTINT)
    init_8259A(True)
    enable_8259A_irq(0)
    pin1 = find_isa_irq_pin(0, MpIrqType.MP_INT)
    pin2 = ioapic_i8259_pin
    printk(f"<6>..TIMER: vector=0x{vector:02X} pin1={pin1} pin2={pin2}\n")
    if pin1 >= 0:
        unmask_IO_APIC_irq(0)
        if timer_irq_works():
            if nmi_watchdog == NMI_IO_APIC:
                disable_8259A_irq(0)
                set_intr_gate(FIRST_EXTERNAL_VECTOR, u32(spurious_8259A_interrupt))
                setup_nmi()
                enable_8259A_irq(0)
            return
        clear_IO_APIC_pin(u32(pin1))
        irq_2_pin[0] = -1
        printk("<3>..MP-BIOS bug: 8254 timer not connected to IO-APIC\n")
    printk("<6>...trying to set up timer (IRQ0) through the 8259A ... ")
    if pin2 >= 0:
        irq_2_pin[0] = pin2
        setup_ExtINT_IRQ0_pin(u32(pin2), vector)
        if timer_irq_works():
            printk("works.\n")
            if nmi_watchdog == NMI_IO_APIC:
                setup_nmi()
            return
        clear_IO_APIC_pin(u32(pin2))
        irq_2_pin[0] = -1
    printk(" failed.\n")
    if nmi_watchdog == NMI_IO_APIC:
        printk("<4>timer doesn't work through the IO-APIC - disabling NMI Watchdog!\n")
        no_nmi_watchdog()
    printk("<6>...trying to set up timer as Virtual Wire IRQ...")
    disable_8259A_irq(0)
    irq_desc[0].handler = lapic_irq_type
    apic_write(APIC_LVT0, APIC_DM_FIXED | vector)
    enable_8259A_irq(0)
    if timer_irq_works():
        printk(" works.\n")
        return
    apic_write(APIC_LVT0, APIC_LVT_MASKED | APIC_DM_FIXED | vector)
    printk(" failed.\n")
    printk("<6>...trying to set up timer as ExtINT IRQ...")
    init_8259A(False)
    make_8259A_irq(0)
    apic_write(APIC_LVT0, APIC_DM_EXTINT)
    if timer_irq_works():
        printk(" works.\n")
        return
    printk(" failed :(.\n")
    panic("IO-APIC + timer doesn't work!")
