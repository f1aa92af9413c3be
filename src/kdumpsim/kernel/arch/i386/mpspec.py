# SPDX-License-Identifier: GPL-2.0-or-later
"""The MP table's structures (Intel MultiProcessor Specification 1.4, chapter 4)."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from kdumpsim.compiler.lang import Struct, array, length, u8, u16, u32

MPF_SIGNATURE: Final = 0x5F504D5F
"""_MP_"""
MPC_SIGNATURE: Final = 0x504D4350
"""PCMP"""

CPU_ENABLED: Final = 1
CPU_BOOTPROCESSOR: Final = 2
MPC_APIC_USABLE: Final = 1
IMCR_PRESENT: Final = 0x80
"""Feature byte 2 of the floating pointer: the board starts in PIC mode."""


class MpcEntryType(IntEnum):
    """First byte of each entry of the configuration table."""

    MP_PROCESSOR = 0
    MP_BUS = 1
    MP_IOAPIC = 2
    MP_INTSRC = 3
    MP_LINTSRC = 4


class MpIrqType(IntEnum):
    """Kind of an interrupt source."""

    MP_INT = 0
    MP_NMI = 1
    MP_SMI = 2
    MP_EXTINT = 3


class MpBus(IntEnum):
    """Kinds of buses we know."""

    MP_BUS_NONE = 0
    MP_BUS_ISA = 1
    MP_BUS_PCI = 2


class MpFloating(Struct):
    """MP floating pointer structure (4.1)."""

    signature: u32
    physptr: u32
    paragraphs: u8
    specification: u8
    checksum: u8
    feature1: u8
    feature2: u8
    reserved: array[u8] = length(3)


class MpConfigTable(Struct):
    """Header of the configuration table (4.2)."""

    signature: u32
    size: u16
    specification: u8
    checksum: u8
    oem: array[u8] = length(8)
    product: array[u8] = length(12)
    oem_table: u32
    oem_size: u16
    entry_count: u16
    lapic: u32
    reserved: u32


class MpcProcessor(Struct):
    """A processor (4.3.1)."""

    type: u8
    apicid: u8
    apicver: u8
    cpuflag: u8
    signature: u32
    features: u32
    reserved: array[u32] = length(2)


class MpcBus(Struct):
    """A bus and its name (4.3.2)."""

    type: u8
    busid: u8
    bustype: array[u8] = length(6)


class MpcIoApic(Struct):
    """An I/O APIC (4.3.3)."""

    type: u8
    apicid: u8
    apicver: u8
    flags: u8
    address: u32


class MpcIntSource(Struct):
    """Where a bus's interrupt goes: I/O APIC pin (4.3.4) or local pin (4.3.5)."""

    type: u8
    irqtype: u8
    irqflag: u16
    """Polarity in bits 0-1, trigger in bits 2-3; 0 means as the bus does it."""
    srcbus: u8
    srcbusirq: u8
    dstapic: u8
    dstirq: u8
