# SPDX-License-Identifier: GPL-2.0-or-later
"""The I/O APIC (Intel 82093AA datasheet; arch/i386/kernel/io_apic.c of 2.6.16).

Lines keep their ISA numbers; a PCI interrupt's line is the number of its pin.  All go to the boot CPU by logical
destination, as 2.6.16 has it before irqbalance moves them.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import (
    NULL,
    Struct,
    array,
    bits,
    cast,
    guest,
    i32,
    length,
    load_volatile,
    ptr,
    store_volatile,
    u32,
)
from kdumpsim.kernel.arch.i386.apic import ack_APIC_irq, apic_mapped, disconnect_bsp_APIC, hard_smp_processor_id
from kdumpsim.kernel.arch.i386.apicdef import APIC_DM_EXTINT, APIC_DM_FIXED
from kdumpsim.kernel.arch.i386.desc import set_intr_gate
from kdumpsim.kernel.arch.i386.entry import interrupt
from kdumpsim.kernel.arch.i386.i8259 import NR_8259A_IRQS, disable_8259A_irq, i8259A_irq_pending
from kdumpsim.kernel.arch.i386.irq_vectors import FIRST_DEVICE_VECTOR
from kdumpsim.kernel.arch.i386.mpparse import (
    find_irq_source,
    find_isa_irq_pin,
    find_pci_irq_pin,
    mp_bus_type,
    mp_config,
)
from kdumpsim.kernel.arch.i386.mpspec import MpBus, MpIrqType
from kdumpsim.kernel.arch.i386.paging import FixedAddress, fix_to_virt, ioremap_fixed
from kdumpsim.kernel.core.config import NR_IRQS
from kdumpsim.kernel.core.irq import irq_desc
from kdumpsim.kernel.core.irq_types import HwInterruptType, IrqStatus
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.spinlock import Spinlock, spin_lock_irqsave, spin_unlock_irqrestore

IOREGSEL: Final = 0x00
IOWIN: Final = 0x10
IOAPIC_VERSION: Final = 0x01
IOAPIC_REDIRECTION: Final = 0x10

MAX_PINS: Final = 24
VECTOR_STEP: Final = 8
TARGET_CPUS: Final = 1
"""Logical destination: the boot CPU."""

MP_POLARITY_LOW: Final = 3
MP_TRIGGER_LEVEL: Final = 3


class RouteEntry(Struct):
    """A redirection table entry (82093AA, 3.2.4)."""

    vector: u32 = bits(8)
    delivery_mode: u32 = bits(3)
    logical: u32 = bits(1)
    delivery_status: u32 = bits(1)
    polarity: u32 = bits(1)
    irr: u32 = bits(1)
    trigger: u32 = bits(1)
    mask: u32 = bits(1)
    reserved1: u32 = bits(15)
    reserved2: u32 = bits(24)
    dest: u32 = bits(8)


bios_ioapic: array[RouteEntry] = length(MAX_PINS)
"""The pins as the firmware left them."""
ioapic_lock: Spinlock = Spinlock(slock=1)
nr_ioapic_pins: u32 = 0
irq_2_pin: array[i32] = length(NR_IRQS)
"""The pin of each line, or -1."""
ioapic_i8259_pin: i32 = -1
"""The pin at which the i8259s' interrupts arrive (ExtINT), if the firmware wired or set one."""


@guest
def io_apic_read(register: u32) -> u32:
    """Read an indirect register."""
    base = fix_to_virt(FixedAddress.FIX_IO_APIC_BASE) + (mp_config.ioapic_address & 0xFFF)
    store_volatile(cast(ptr[u32], base + IOREGSEL), register)
    return load_volatile(cast(ptr[u32], base + IOWIN))


@guest
def io_apic_write(register: u32, value: u32) -> None:
    """Write an indirect register."""
    base = fix_to_virt(FixedAddress.FIX_IO_APIC_BASE) + (mp_config.ioapic_address & 0xFFF)
    store_volatile(cast(ptr[u32], base + IOREGSEL), register)
    store_volatile(cast(ptr[u32], base + IOWIN), value)


@guest
def ioapic_read_entry(pin: u32, entry: ptr[RouteEntry]) -> None:
    """Read a pin's entry."""
    words = cast(ptr[u32], entry)
    words[0] = io_apic_read(IOAPIC_REDIRECTION + 2 * pin)
    words[1] = io_apic_read(IOAPIC_REDIRECTION + 2 * pin + 1)


@guest
def ioapic_write_entry(pin: u32, entry: ptr[RouteEntry]) -> None:
    """Write a pin's entry, the word with the mask bit last."""
    words = cast(ptr[u32], entry)
    io_apic_write(IOAPIC_REDIRECTION + 2 * pin + 1, words[1])
    io_apic_write(IOAPIC_REDIRECTION + 2 * pin, words[0])


@guest
def clear_IO_APIC_pin(pin: u32) -> None:
    """Mask a pin and forget what it was set to."""
    entry: RouteEntry = RouteEntry()
    entry.mask = 1
    ioapic_write_entry(pin, entry)


@guest
def clear_IO_APIC() -> None:
    """Mask all pins."""
    for pin in range(nr_ioapic_pins):
        clear_IO_APIC_pin(pin)


@guest
def set_irq_mask(irq: u32, mask: u32) -> None:
    """Mask or unmask a line's pin."""
    entry: RouteEntry = RouteEntry()
    if irq_2_pin[irq] < 0:
        return
    flags = spin_lock_irqsave(ioapic_lock)
    ioapic_read_entry(u32(irq_2_pin[irq]), entry)
    entry.mask = mask
    ioapic_write_entry(u32(irq_2_pin[irq]), entry)
    spin_unlock_irqrestore(ioapic_lock, flags)


@guest
def mask_IO_APIC_irq(irq: u32) -> None:
    """No more interrupts from this line."""
    set_irq_mask(irq, 1)


@guest
def unmask_IO_APIC_irq(irq: u32) -> None:
    """Let interrupts from this line through."""
    set_irq_mask(irq, 0)


@guest
def startup_edge_ioapic_irq(irq: u32) -> u32:
    """Enable an edge triggered line; an edge that the i8259 saw before counts as pending."""
    was_pending: u32 = 0
    if irq < NR_8259A_IRQS:
        disable_8259A_irq(irq)
        if i8259A_irq_pending(irq):
            was_pending = 1
    unmask_IO_APIC_irq(irq)
    return was_pending


@guest
def ack_edge_ioapic_irq(irq: u32) -> None:
    """Take an edge: end it at once; a line that is both disabled and pending is masked until it is enabled."""
    status = irq_desc[irq].status
    if status & IrqStatus.IRQ_PENDING and status & IrqStatus.IRQ_DISABLED:
        mask_IO_APIC_irq(irq)
    ack_APIC_irq()


@guest
def startup_level_ioapic_irq(irq: u32) -> u32:
    """Enable a level triggered line."""
    unmask_IO_APIC_irq(irq)
    return 0


@guest
def end_level_ioapic_irq(irq: u32) -> None:
    """A level is ended when its handlers are done, else it would come again at once."""
    ack_APIC_irq()


@guest
def no_ioapic_action(irq: u32) -> None:
    """Nothing to do."""


@guest
def set_ioapic_affinity(irq: u32, mask: u32) -> None:
    """Send a line to other CPUs (logical destination mask)."""
    entry: RouteEntry = RouteEntry()
    if irq_2_pin[irq] < 0:
        return
    flags = spin_lock_irqsave(ioapic_lock)
    ioapic_read_entry(u32(irq_2_pin[irq]), entry)
    entry.dest = mask
    ioapic_write_entry(u32(irq_2_pin[irq]), entry)
    spin_unlock_irqrestore(ioapic_lock, flags)


ioapic_edge_type: HwInterruptType = HwInterruptType(
    typename="IO-APIC-edge",
    startup=startup_edge_ioapic_irq,
    shutdown=mask_IO_APIC_irq,
    enable=unmask_IO_APIC_irq,
    disable=no_ioapic_action,
    ack=ack_edge_ioapic_irq,
    end=no_ioapic_action,
    set_affinity=set_ioapic_affinity,
)

ioapic_level_type: HwInterruptType = HwInterruptType(
    typename="IO-APIC-level",
    startup=startup_level_ioapic_irq,
    shutdown=mask_IO_APIC_irq,
    enable=unmask_IO_APIC_irq,
    disable=mask_IO_APIC_irq,
    ack=no_ioapic_action,
    end=end_level_ioapic_irq,
    set_affinity=set_ioapic_affinity,
)


@guest
def irq_vector(irq: u32) -> u32:
    """The vector a line gets at the I/O APIC (2.6.16 assign_irq_vector, in order of lines)."""
    return FIRST_DEVICE_VECTOR + VECTOR_STEP * irq


@guest
def pin_2_irq(pin: u32) -> u32:
    """The line that ends at a pin: its ISA number, or the pin's own number for PCI."""
    source = find_irq_source(pin)
    if source != NULL and mp_bus_type[source.srcbus] == MpBus.MP_BUS_ISA:
        return source.srcbusirq
    return pin


@guest
def pcibios_irq(slot: u32, pin: u32, line: u32) -> u32:
    """The line of a PCI device: by the I/O APIC's pin if that is in use, else what the firmware has noted (`line`).

    2.6.16: pcibios_fixup_irqs() and IO_APIC_get_PCI_irq_vector().
    """
    ends: i32 = find_pci_irq_pin(slot, pin) if nr_ioapic_pins != 0 and pin != 0 else -1
    return line if ends < 0 else pin_2_irq(u32(ends))


@guest
def setup_IO_APIC_pin(pin: u32) -> None:
    """Program one pin as the MP table says; its line stays masked until somebody requests it."""
    source = find_irq_source(pin)
    if source == NULL:
        return
    irq = pin_2_irq(pin)
    if irq >= MAX_PINS:
        return
    is_pci: bool = mp_bus_type[source.srcbus] == MpBus.MP_BUS_PCI
    polarity: u32 = source.irqflag & 3
    trigger: u32 = source.irqflag >> 2 & 3
    level: bool = trigger == MP_TRIGGER_LEVEL or (trigger == 0 and is_pci)
    entry: RouteEntry = RouteEntry()
    entry.vector = irq_vector(irq)
    entry.delivery_mode = APIC_DM_FIXED >> 8
    entry.logical = 1
    entry.dest = TARGET_CPUS
    entry.mask = 1
    if polarity == MP_POLARITY_LOW or (polarity == 0 and is_pci):
        entry.polarity = 1
    if level:
        entry.trigger = 1
    irq_2_pin[irq] = i32(pin)
    set_intr_gate(irq_vector(irq), interrupt[irq])
    irq_desc[irq].handler = ioapic_level_type if level else ioapic_edge_type
    if irq < NR_8259A_IRQS:
        disable_8259A_irq(irq)
    entry.mask = 0 if irq_desc[irq].action != NULL and irq != 0 else 1
    ioapic_write_entry(pin, entry)


@guest
def find_ioapic_i8259_pin() -> None:
    """Where do the i8259s' interrupts arrive?  An unmasked ExtINT pin tells, or the MP table (enable_IO_APIC)."""
    global ioapic_i8259_pin
    entry: RouteEntry = RouteEntry()
    for pin in range(nr_ioapic_pins):
        ioapic_read_entry(pin, entry)
        if entry.mask == 0 and entry.delivery_mode == APIC_DM_EXTINT >> 8:
            ioapic_i8259_pin = i32(pin)
            return
    ioapic_i8259_pin = find_isa_irq_pin(0, MpIrqType.MP_EXTINT)


@guest
def setup_IO_APIC() -> None:
    """Find the chip's pins, clear them all and set up those the MP table knows; the timer follows in check_timer()."""
    global nr_ioapic_pins
    ioremap_fixed(FixedAddress.FIX_IO_APIC_BASE, mp_config.ioapic_address)
    nr_ioapic_pins = min((io_apic_read(IOAPIC_VERSION) >> 16 & 0xFF) + 1, MAX_PINS)
    for irq in range(NR_IRQS):
        irq_2_pin[irq] = -1
    find_ioapic_i8259_pin()
    for pin in range(nr_ioapic_pins):
        ioapic_read_entry(pin, bios_ioapic[pin])
    clear_IO_APIC()
    printk("<6>ENABLING IO-APIC IRQs\n")
    for pin in range(nr_ioapic_pins):
        setup_IO_APIC_pin(pin)


@guest
def restore_IO_APIC() -> None:
    """All pins as the firmware left them."""
    clear_IO_APIC()
    for pin in range(nr_ioapic_pins):
        ioapic_write_entry(pin, bios_ioapic[pin])


@guest
def disable_IO_APIC() -> None:
    """Before another kernel takes over: all pins off, and this CPU gets the i8259s' interrupts again.

    The i8259s' pin, if there is one, passes them to this CPU by ExtINT, else virtual wire through LINT0 does; either
    way on the CPU that runs this, which the next kernel will start on (LKDTT paper, section 5.2.5).
    """
    clear_IO_APIC()
    if ioapic_i8259_pin >= 0:
        entry: RouteEntry = RouteEntry()
        entry.delivery_mode = APIC_DM_EXTINT >> 8
        entry.dest = hard_smp_processor_id()
        ioapic_write_entry(u32(ioapic_i8259_pin), entry)
    if apic_mapped:
        disconnect_bsp_APIC(ioapic_i8259_pin >= 0)
