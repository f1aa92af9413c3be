# SPDX-License-Identifier: GPL-2.0-or-later
"""CPUs that only ACPI knows of (ACPI 2.0c, 5.2.4 to 5.2.10; arch/i386/kernel/acpi/boot.c of 2.6.16).

An MP table lists one CPU for each package; the firmware of a PC with several cores names the others only in the
Multiple APIC Description Table.  Nothing else is taken from ACPI.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import (
    NULL,
    Struct,
    addr,
    array,
    cast,
    guest,
    length,
    offsetof,
    packed,
    ptr,
    sizeof,
    u8,
    u32,
)
from kdumpsim.kernel.arch.i386.mpparse import mp_checksum, mp_config, mp_register_cpu
from kdumpsim.kernel.arch.i386.page import PAGE_SHIFT, PAGE_SIZE, va
from kdumpsim.kernel.arch.i386.paging import kmap_atomic_pfn, kunmap_atomic
from kdumpsim.kernel.core.printk import printk

RSDP_SCAN_START: Final = 0xE_0000
RSDP_SCAN_END: Final = 0x10_0000
RSDP_SIGNATURE_LOW: Final = 0x20445352
RSDP_SIGNATURE_HIGH: Final = 0x20525450
"""RSD PTR and a blank."""
MADT_SIGNATURE: Final = 0x43495041
"""APIC"""
MADT_LOCAL_APIC: Final = 0
MADT_CPU_ENABLED: Final = 1
MAX_TABLE: Final = 1024


class Rsdp(Struct):
    """Root system description pointer, as ACPI 1.0 has it."""

    signature_low: u32
    signature_high: u32
    checksum: u8
    oem: array[u8] = length(6)
    revision: u8
    rsdt: u32


class AcpiHeader(Struct):
    """What every table begins with."""

    signature: u32
    size: u32
    revision: u8
    checksum: u8
    oem: array[u8] = length(14)
    oem_revision: u32
    creator: array[u32] = length(2)


class Madt(Struct):
    """Multiple APIC Description Table, without its entries."""

    header: AcpiHeader
    lapic_address: u32
    flags: u32


@packed
class MadtLocalApic(Struct):
    """A processor's entry."""

    type: u8
    size: u8
    acpi_id: u8
    apic_id: u8
    flags: u32


madt_copy: array[u8] = length(MAX_TABLE, align=4)


@guest
def acpi_copy(to: ptr[u8], phys: u32, count: u32) -> None:
    """Copy from any physical memory: ACPI's tables lie where no RAM is to be used."""
    for i in range(count):
        page: ptr[u8] = kmap_atomic_pfn(phys + i >> PAGE_SHIFT)
        to[i] = page[phys + i & (PAGE_SIZE - 1)]
        kunmap_atomic()


@guest
def acpi_u32(phys: u32) -> u32:
    """A doubleword of a table."""
    value: u32 = 0
    acpi_copy(cast(ptr[u8], addr(value)), phys, 4)
    return value


@guest
def acpi_find_rsdp() -> ptr[Rsdp]:
    """Scan the BIOS ROM."""
    at: u32 = RSDP_SCAN_START
    while at < RSDP_SCAN_END:
        rsdp = cast(ptr[Rsdp], va(at))
        if rsdp.signature_low == RSDP_SIGNATURE_LOW and rsdp.signature_high == RSDP_SIGNATURE_HIGH:
            if mp_checksum(cast(ptr[u8], rsdp), sizeof(Rsdp)) == 0:
                return rsdp
        at += 16
    return NULL


@guest
def acpi_find_madt() -> bool:
    """Copy the MADT to madt_copy, if there is one."""
    rsdp = acpi_find_rsdp()
    if rsdp == NULL:
        return False
    rsdt: u32 = rsdp.rsdt
    count: u32 = (acpi_u32(rsdt + offsetof(AcpiHeader, "size")) - sizeof(AcpiHeader)) // 4
    for i in range(min(count, MAX_TABLE // 4)):
        table = acpi_u32(rsdt + sizeof(AcpiHeader) + 4 * i)
        if acpi_u32(table) == MADT_SIGNATURE:
            acpi_copy(madt_copy, table, min(acpi_u32(table + offsetof(AcpiHeader, "size")), MAX_TABLE))
            return True
    return False


@guest
def acpi_boot_init() -> None:
    """Register the enabled processors of the MADT."""
    if not acpi_find_madt():
        return
    madt = cast(ptr[Madt], madt_copy)
    end: u32 = min(madt.header.size, MAX_TABLE)
    before = mp_config.nr_cpus
    at: u32 = sizeof(Madt)
    while at + 2 <= end:
        entry = cast(ptr[MadtLocalApic], madt_copy + at)
        if entry.size < 2:
            break
        if entry.type == MADT_LOCAL_APIC and entry.flags & MADT_CPU_ENABLED:
            mp_register_cpu(entry.apic_id)
        at += entry.size
    if mp_config.nr_cpus != before:
        printk(f"<6>ACPI: MADT adds {mp_config.nr_cpus - before} processors\n")
