# SPDX-License-Identifier: GPL-2.0-or-later
"""Who serves which vector when interrupts come on first (init_IRQ() and intr_init_hook() of 2.6.16)."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import array, external, guest, ptr, u8, u32, void
from kdumpsim.kernel.arch.i386.desc import set_intr_gate
from kdumpsim.kernel.arch.i386.entry import interrupt
from kdumpsim.kernel.arch.i386.i8259 import NR_8259A_IRQS, PIC_CASCADE_IR, i8259A_irq_type, init_8259A
from kdumpsim.kernel.arch.i386.irq import irq_ctx_init
from kdumpsim.kernel.arch.i386.irq_vectors import (
    CALL_FUNCTION_VECTOR,
    ERROR_APIC_VECTOR,
    FIRST_EXTERNAL_VECTOR,
    LOCAL_TIMER_VECTOR,
    RESCHEDULE_VECTOR,
    SPURIOUS_APIC_VECTOR,
    SYSCALL_VECTOR,
)
from kdumpsim.kernel.arch.i386.private_stacks import private_stacks_init
from kdumpsim.kernel.arch.i386.ptrace import PtRegs
from kdumpsim.kernel.core.irq import irq_desc, setup_irq
from kdumpsim.kernel.core.irq_types import IRQ_NONE, Irqaction, IrqStatus

NR_VECTORS: Final = 256

apic_timer_interrupt: array[u8] = external()
reschedule_interrupt: array[u8] = external()
call_function_interrupt: array[u8] = external()
error_interrupt: array[u8] = external()
spurious_interrupt: array[u8] = external()
unexpected_interrupt: array[u8] = external()


@guest
def no_action(irq: u32, dev_id: ptr[void], regs: ptr[PtRegs]) -> u32:
    """For the cascade, which never interrupts by itself."""
    return IRQ_NONE


irq2: Irqaction = Irqaction(handler=no_action, name="cascade")


@guest
def apic_intr_init() -> None:
    """The vectors that never pass through do_IRQ()."""
    set_intr_gate(LOCAL_TIMER_VECTOR, u32(apic_timer_interrupt))
    set_intr_gate(RESCHEDULE_VECTOR, u32(reschedule_interrupt))
    set_intr_gate(CALL_FUNCTION_VECTOR, u32(call_function_interrupt))
    set_intr_gate(ERROR_APIC_VECTOR, u32(error_interrupt))
    set_intr_gate(SPURIOUS_APIC_VECTOR, u32(spurious_interrupt))


@guest
def init_IRQ() -> None:
    """Every line belongs to the i8259s at first; no vector is left without a gate.

    A capture kernel finds in the local APIC's IRR what its predecessor did not live to serve.
    """
    irq_ctx_init(0)
    private_stacks_init(0)
    init_8259A(False)
    for irq in range(NR_8259A_IRQS):
        irq_desc[irq].status = IrqStatus.IRQ_DISABLED
        irq_desc[irq].depth = 1
        irq_desc[irq].handler = i8259A_irq_type
    for vector in range(FIRST_EXTERNAL_VECTOR, NR_VECTORS):
        if vector != SYSCALL_VECTOR:
            set_intr_gate(vector, u32(unexpected_interrupt))
    for irq in range(NR_8259A_IRQS):
        set_intr_gate(FIRST_EXTERNAL_VECTOR + irq, interrupt[irq])
    apic_intr_init()
    setup_irq(PIC_CASCADE_IR, irq2)
