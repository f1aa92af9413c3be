# SPDX-License-Identifier: GPL-2.0-or-later
"""Which CPUs, I/O APICs and interrupt lines the board has (arch/i386/kernel/mpparse.c of 2.6.16).

The source is the MP table of the MultiProcessor Specification 1.4.  Where the firmware describes more CPUs in ACPI's
MADT than in the MP table, as QEMU's does for several cores in a package, madt.py adds them.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, Struct, array, cast, guest, i32, length, ptr, sizeof, u8, u16, u32
from kdumpsim.kernel.arch.i386.early_map import early_copy, early_map
from kdumpsim.kernel.arch.i386.mpspec import (
    CPU_BOOTPROCESSOR,
    CPU_ENABLED,
    IMCR_PRESENT,
    MPC_APIC_USABLE,
    MPC_SIGNATURE,
    MPF_SIGNATURE,
    MpBus,
    MpcBus,
    MpcEntryType,
    MpcIntSource,
    MpcIoApic,
    MpConfigTable,
    MpcProcessor,
    MpFloating,
    MpIrqType,
)
from kdumpsim.kernel.arch.i386.page import va
from kdumpsim.kernel.core.config import NR_CPUS
from kdumpsim.kernel.core.printk import printk

MAX_MP_BUSSES: Final = 32
MAX_IRQ_SOURCES: Final = 64
MAX_TABLE: Final = 4096
APIC_DEFAULT_PHYS_BASE: Final = 0xFEE0_0000
BIOS_EBDA_SEGMENT: Final = 0x40E


class MpConfig(Struct):
    """What the table said."""

    found: bool
    pic_mode: bool
    """The board has an IMCR and starts in PIC mode (3.6.2.1)."""
    nr_cpus: u32
    cpu_apicid: array[u8] = length(NR_CPUS)
    """APIC ID of each CPU, in the table's order."""
    lapic_address: u32
    ioapic_present: bool
    ioapic_id: u32
    ioapic_address: u32
    nr_irqs: u32


mp_config: MpConfig = MpConfig()
mp_irqs: array[MpcIntSource] = length(MAX_IRQ_SOURCES)
mp_bus_type: array[u8] = length(MAX_MP_BUSSES)
mp_floating: MpFloating = MpFloating()
mp_table: array[u8] = length(MAX_TABLE, align=4)
"""Our copy of the configuration table."""


@guest
def mp_checksum(table: ptr[u8], count: u32) -> u8:
    """Sum of all bytes; 0 in every sound table."""
    total: u8 = 0
    for i in range(count):
        total += table[i]
    return total


@guest
def smp_scan_config(start: u32, size: u32) -> bool:
    """Look for the floating pointer on each paragraph of a range below 1 MiB."""
    at: u32 = start
    while at < start + size:
        floating = cast(ptr[MpFloating], va(at))
        if floating.signature == MPF_SIGNATURE and floating.paragraphs == 1:
            if mp_checksum(cast(ptr[u8], floating), sizeof(MpFloating)) == 0:
                early_copy(cast(ptr[u8], mp_floating), at, sizeof(MpFloating))
                return True
        at += sizeof(MpFloating)
    return False


@guest
def find_smp_config() -> None:
    """Search where the specification says (4): EBDA, last KiB of base memory, BIOS ROM; copy the table."""
    ebda: u32 = u32(cast(ptr[u16], va(BIOS_EBDA_SEGMENT))[0]) << 4
    found: bool = smp_scan_config(639 << 10, 1024) or smp_scan_config(0xF_0000, 0x1_0000)
    if not found and ebda >= 0x400 and ebda < 0xA_0000:
        found = smp_scan_config(ebda, 1024)
    if not found:
        return
    printk(f"<6>found SMP MP-table at {mp_floating.physptr:08x}\n")
    mp_config.pic_mode = mp_floating.feature2 & IMCR_PRESENT != 0
    if mp_floating.feature1 != 0 or mp_floating.physptr == 0:
        printk(f"<4>MP default configuration {mp_floating.feature1}: not supported\n")
        return
    size = cast(ptr[MpConfigTable], early_map(mp_floating.physptr)).size
    if size < sizeof(MpConfigTable) or size > MAX_TABLE:
        printk("<3>MP table has a bad length\n")
        return
    early_copy(mp_table, mp_floating.physptr, size)
    table = cast(ptr[MpConfigTable], mp_table)
    if table.signature != MPC_SIGNATURE or mp_checksum(mp_table, size) != 0:
        printk("<3>MP table is damaged\n")
        return
    mp_config.found = True


@guest
def mp_register_cpu(apicid: u8) -> None:
    """Add a CPU that is not known yet."""
    for i in range(mp_config.nr_cpus):
        if mp_config.cpu_apicid[i] == apicid:
            return
    if mp_config.nr_cpus == NR_CPUS:
        printk(f"<4>NR_CPUS limit of {NR_CPUS} reached. Processor ignored.\n")
        return
    mp_config.cpu_apicid[mp_config.nr_cpus] = apicid
    mp_config.nr_cpus += 1


@guest
def mp_processor_info(m: ptr[MpcProcessor]) -> None:
    """A processor entry."""
    if m.cpuflag & CPU_ENABLED == 0:
        return
    printk(f"<6>Processor #{m.apicid} APIC version {m.apicver & 0xF}\n")
    if m.cpuflag & CPU_BOOTPROCESSOR:
        printk("<7>    Bootup CPU\n")
    mp_register_cpu(m.apicid)


@guest
def mp_bus_info(m: ptr[MpcBus]) -> None:
    """A bus entry: ISA and EISA lines are edge triggered, PCI's level."""
    if m.busid >= MAX_MP_BUSSES:
        return
    if m.bustype[0] == ord("I") and m.bustype[1] == ord("S") and m.bustype[2] == ord("A"):
        mp_bus_type[m.busid] = u8(MpBus.MP_BUS_ISA)
    elif m.bustype[0] == ord("P") and m.bustype[1] == ord("C") and m.bustype[2] == ord("I"):
        mp_bus_type[m.busid] = u8(MpBus.MP_BUS_PCI)


@guest
def mp_ioapic_info(m: ptr[MpcIoApic]) -> None:
    """An I/O APIC entry; this kernel drives one."""
    if m.flags & MPC_APIC_USABLE == 0 or mp_config.ioapic_present:
        return
    mp_register_ioapic(m.apicid, m.address)


@guest
def mp_register_ioapic(apicid: u32, address: u32) -> None:
    """The board's I/O APIC."""
    printk(f"<6>I/O APIC #{apicid} at 0x{address:X}.\n")
    mp_config.ioapic_present = True
    mp_config.ioapic_id = apicid
    mp_config.ioapic_address = address


@guest
def mp_intsrc_info(m: ptr[MpcIntSource]) -> None:
    """An entry for a pin of the I/O APIC."""
    mp_register_intsrc(m.irqtype, m.irqflag, m.srcbus, m.srcbusirq, m.dstirq)


@guest
def mp_register_intsrc(irqtype: u8, flags: u16, bus: u8, irq: u8, pin: u8) -> None:
    """Note where a bus's interrupt line ends."""
    if mp_config.nr_irqs == MAX_IRQ_SOURCES:
        return
    source = mp_irqs + mp_config.nr_irqs
    source.irqtype = irqtype
    source.irqflag = flags
    source.srcbus = bus
    source.srcbusirq = irq
    source.dstirq = pin
    mp_config.nr_irqs += 1


@guest
def get_smp_config() -> None:
    """Walk through the table's entries (2.6.16 smp_read_mpc)."""
    if not mp_config.found:
        return
    table = cast(ptr[MpConfigTable], mp_table)
    mp_config.lapic_address = table.lapic
    at: u32 = sizeof(MpConfigTable)
    while at < table.size:
        entry = mp_table + at
        if entry[0] == MpcEntryType.MP_PROCESSOR:
            mp_processor_info(cast(ptr[MpcProcessor], entry))
            at += sizeof(MpcProcessor)
            continue
        if entry[0] == MpcEntryType.MP_BUS:
            mp_bus_info(cast(ptr[MpcBus], entry))
        elif entry[0] == MpcEntryType.MP_IOAPIC:
            mp_ioapic_info(cast(ptr[MpcIoApic], entry))
        elif entry[0] == MpcEntryType.MP_INTSRC:
            mp_intsrc_info(cast(ptr[MpcIntSource], entry))
        elif entry[0] != MpcEntryType.MP_LINTSRC:
            printk(f"<4>MP table: unknown entry {entry[0]}\n")
            break
        at += sizeof(MpcIntSource)
    printk(f"<6>Processors: {mp_config.nr_cpus}\n")


@guest
def find_isa_irq_pin(irq: u32, kind: MpIrqType) -> i32:
    """The I/O APIC pin an ISA line ends at, or -1."""
    for i in range(mp_config.nr_irqs):
        source = mp_irqs + i
        if source.irqtype == kind and source.srcbusirq == irq:
            if mp_bus_type[source.srcbus & (MAX_MP_BUSSES - 1)] == MpBus.MP_BUS_ISA:
                return source.dstirq
    return -1


@guest
def find_pci_irq_pin(slot: u32, pin: u32) -> i32:
    """The I/O APIC pin that a device's interrupt pin (1 is INTA#) on PCI bus 0 ends at, or -1."""
    for i in range(mp_config.nr_irqs):
        source = mp_irqs + i
        if source.irqtype == MpIrqType.MP_INT and source.srcbusirq == (slot << 2 | (pin - 1)):
            if source.srcbus == 0 and mp_bus_type[0] == MpBus.MP_BUS_PCI:
                return source.dstirq
    return -1


@guest
def find_irq_source(pin: u32) -> ptr[MpcIntSource]:
    """The entry for an ordinary interrupt that ends at this pin, or NULL."""
    for i in range(mp_config.nr_irqs):
        source = mp_irqs + i
        if source.irqtype == MpIrqType.MP_INT and source.dstirq == pin:
            return source
    return NULL
