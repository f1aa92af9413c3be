# SPDX-License-Identifier: GPL-2.0-or-later
"""The two i8259 interrupt controllers (Intel 8259A datasheet; arch/i386/kernel/i8259.c of 2.6.16)."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, guest, u8, u16, u32
from kdumpsim.kernel.arch.i386.irq_vectors import FIRST_EXTERNAL_VECTOR
from kdumpsim.kernel.arch.i386.processor import inb, outb, outb_p
from kdumpsim.kernel.core.irq import irq_desc
from kdumpsim.kernel.core.irq_types import HwInterruptType, IrqStatus
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.spinlock import Spinlock, spin_lock_irqsave, spin_unlock_irqrestore

PIC_MASTER_CMD: Final = 0x20
PIC_MASTER_IMR: Final = 0x21
PIC_SLAVE_CMD: Final = 0xA0
PIC_SLAVE_IMR: Final = 0xA1
PIC_CASCADE_IR: Final = 2

ICW1: Final = 0x11
"""Begin initialisation: edge triggered, cascaded, ICW4 follows."""
ICW4_NORMAL: Final = 0x01
ICW4_AUTO_EOI: Final = 0x03
OCW2_SPECIFIC_EOI: Final = 0x60
OCW3_READ_ISR: Final = 0x0B
OCW3_READ_IRR: Final = 0x0A
OCW3_POLL: Final = 0x0C

NR_8259A_IRQS: Final = 16

i8259A_lock: Spinlock = Spinlock(slock=1)
cached_irq_mask: u32 = 0xFFFF
"""What both mask registers hold."""
spurious_irq_mask: u32 = 0
"""Lines whose spurious interrupts have been reported."""


@guest
def write_irq_mask(irq: u32) -> None:
    """Bring cached_irq_mask to the chip that has this line."""
    if irq & 8:
        outb(u8(cached_irq_mask >> 8), PIC_SLAVE_IMR)
    else:
        outb(u8(cached_irq_mask & 0xFF), PIC_MASTER_IMR)


@guest
def disable_8259A_irq(irq: u32) -> None:
    """Mask a line."""
    global cached_irq_mask
    flags = spin_lock_irqsave(i8259A_lock)
    cached_irq_mask |= 1 << irq
    write_irq_mask(irq)
    spin_unlock_irqrestore(i8259A_lock, flags)


@guest
def enable_8259A_irq(irq: u32) -> None:
    """Unmask a line."""
    global cached_irq_mask
    flags = spin_lock_irqsave(i8259A_lock)
    cached_irq_mask &= ~(u32(1) << irq)
    write_irq_mask(irq)
    spin_unlock_irqrestore(i8259A_lock, flags)


@guest
def i8259A_irq_pending(irq: u32) -> bool:
    """Whether the chip holds a request of this line."""
    port: u16 = PIC_SLAVE_CMD if irq & 8 else PIC_MASTER_CMD
    flags = spin_lock_irqsave(i8259A_lock)
    value: u32 = inb(port)
    spin_unlock_irqrestore(i8259A_lock, flags)
    return value >> (irq & 7) & 1 != 0


@guest
def i8259A_irq_real(irq: u32) -> bool:
    """Whether the chip says that this line is in service; if not, the interrupt was spurious."""
    port: u16 = PIC_SLAVE_CMD if irq & 8 else PIC_MASTER_CMD
    outb(OCW3_READ_ISR, port)
    value: u32 = inb(port)
    outb(OCW3_READ_IRR, port)
    return value >> (irq & 7) & 1 != 0


@guest
def mask_and_ack_8259A(irq: u32) -> None:
    """Take an interrupt: mask its line and end it, so that others get through meanwhile."""
    global cached_irq_mask, spurious_irq_mask
    bit: u32 = u32(1) << irq
    flags = spin_lock_irqsave(i8259A_lock)
    real = cached_irq_mask & bit == 0 or i8259A_irq_real(irq)
    if not real and spurious_irq_mask & bit == 0:
        printk(f"<7>spurious 8259A interrupt: IRQ{irq}.\n")
        spurious_irq_mask |= bit
    cached_irq_mask |= bit
    write_irq_mask(irq)
    if irq & 8:
        outb(u8(OCW2_SPECIFIC_EOI + (irq & 7)), PIC_SLAVE_CMD)
        outb(OCW2_SPECIFIC_EOI + PIC_CASCADE_IR, PIC_MASTER_CMD)
    else:
        outb(u8(OCW2_SPECIFIC_EOI + irq), PIC_MASTER_CMD)
    spin_unlock_irqrestore(i8259A_lock, flags)


@guest
def ack_timer_8259A() -> None:
    """Take the timer's request off the chip, which ends it by itself: INTR falls, so that the next tick is an edge."""
    flags = spin_lock_irqsave(i8259A_lock)
    outb(OCW3_POLL, PIC_MASTER_CMD)
    inb(PIC_MASTER_CMD)
    spin_unlock_irqrestore(i8259A_lock, flags)


@guest
def startup_8259A_irq(irq: u32) -> u32:
    """Enable a line that has just got its first handler."""
    enable_8259A_irq(irq)
    return 0


@guest
def end_8259A_irq(irq: u32) -> None:
    """The handlers are done: unmask, unless somebody disabled the line."""
    if irq_desc[irq].status & (IrqStatus.IRQ_DISABLED | IrqStatus.IRQ_INPROGRESS) == 0 and irq_desc[irq].action != NULL:
        enable_8259A_irq(irq)


i8259A_irq_type: HwInterruptType = HwInterruptType(
    typename="XT-PIC",
    startup=startup_8259A_irq,
    shutdown=disable_8259A_irq,
    enable=enable_8259A_irq,
    disable=disable_8259A_irq,
    ack=mask_and_ack_8259A,
    end=end_8259A_irq,
    set_affinity=NULL,
)


@guest
def init_8259A(auto_eoi: bool) -> None:
    """Program both chips: lines 0-15 at FIRST_EXTERNAL_VECTOR (datasheet: ICW1 to ICW4); masks stay as cached."""
    flags = spin_lock_irqsave(i8259A_lock)
    outb(0xFF, PIC_MASTER_IMR)
    outb(0xFF, PIC_SLAVE_IMR)
    outb_p(ICW1, PIC_MASTER_CMD)
    outb_p(FIRST_EXTERNAL_VECTOR, PIC_MASTER_IMR)
    outb_p(1 << PIC_CASCADE_IR, PIC_MASTER_IMR)
    outb_p(ICW4_AUTO_EOI if auto_eoi else ICW4_NORMAL, PIC_MASTER_IMR)
    outb_p(ICW1, PIC_SLAVE_CMD)
    outb_p(FIRST_EXTERNAL_VECTOR + 8, PIC_SLAVE_IMR)
    outb_p(PIC_CASCADE_IR, PIC_SLAVE_IMR)
    outb_p(ICW4_NORMAL, PIC_SLAVE_IMR)
    outb(u8(cached_irq_mask & 0xFF), PIC_MASTER_IMR)
    outb(u8(cached_irq_mask >> 8), PIC_SLAVE_IMR)
    spin_unlock_irqrestore(i8259A_lock, flags)


@guest
def make_8259A_irq(irq: u32) -> None:
    """Have the i8259 deliver a line again."""
    irq_desc[irq].handler = i8259A_irq_type
    enable_8259A_irq(irq)
