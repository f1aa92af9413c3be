# SPDX-License-Identifier: GPL-2.0-or-later
"""Descriptor, gate and TSS formats (SDM vol. 3A, 3.4.5, 6.11, 8.2.1), declared field by field."""

from __future__ import annotations

from typing import Final, NamedTuple

# Second dword of any descriptor.
TYPE: Final = 0xF << 8
SEGMENT: Final = 1 << 12  # S: code or data, not system
DPL_SHIFT: Final = 13
PRESENT: Final = 1 << 15
LONG: Final = 1 << 21
BIG: Final = 1 << 22  # D/B
GRANULAR: Final = 1 << 23

# Type bits of code and data descriptors.
ACCESSED: Final = 1 << 8
WRITABLE: Final = 1 << 9  # data; "readable" for code
CONFORMING: Final = 1 << 10  # code; "expand down" for data
EXPAND_DOWN: Final = 1 << 10
CODE: Final = 1 << 11

# Types of system descriptors (S = 0).
TSS16_AVAILABLE, LDT, TSS16_BUSY, CALL_GATE16, TASK_GATE, INTERRUPT_GATE16, TRAP_GATE16 = 1, 2, 3, 4, 5, 6, 7
TSS32_AVAILABLE, TSS32_BUSY, CALL_GATE32, INTERRUPT_GATE32, TRAP_GATE32 = 9, 11, 12, 14, 15
TSS_BUSY_BIT: Final = 1 << 9  # in the second dword

REAL_MODE_DATA: Final = PRESENT | SEGMENT | WRITABLE | ACCESSED
REAL_MODE_CODE: Final = REAL_MODE_DATA | CODE

# What SYSENTER loads: 4 GiB from 0, ring 0.
FLAT_DATA: Final = PRESENT | SEGMENT | WRITABLE | ACCESSED | BIG | GRANULAR | 0xF << 16
FLAT_CODE: Final = FLAT_DATA | CODE

# EFLAGS.
EFLAGS_FIXED: Final = 0x2
CF, PF, AF, ZF, SF, TF, IF, DF, OF = (1 << bit for bit in (0, 2, 4, 6, 7, 8, 9, 10, 11))
IOPL: Final = 3 << 12
NT, RF, VM, AC, VIF, VIP, ID = (1 << bit for bit in (14, 16, 17, 18, 19, 20, 21))

# Control registers.
CR0_PE, CR0_TS, CR0_ET, CR0_WP, CR0_NW, CR0_CD, CR0_PG = (1 << bit for bit in (0, 3, 4, 16, 29, 30, 31))
CR4_PSE, CR4_PAE, CR4_MCE, CR4_PCE = 1 << 4, 1 << 5, 1 << 6, 1 << 8

# Vectors the delivery code raises by itself.
MACHINE_CHECK = 18
DE, DB, NMI, BP, OF_TRAP, UD, DOUBLE_FAULT, TS, NP, SS_FAULT, GP, PAGE_FAULT, AC_FAULT = (
    0, 1, 2, 3, 4, 6, 8, 10, 11, 12, 13, 14, 17,
)  # fmt: skip
WITH_ERROR_CODE: Final = frozenset({8, 10, 11, 12, 13, 14, 17, 21})

# Bits of a selector error code (6.13).
ERROR_EXT: Final = 1
ERROR_IDT: Final = 2


def base(low: int, high: int) -> int:
    """Segment base."""
    return low >> 16 | (high & 0xFF) << 16 | high & 0xFF000000


def limit(low: int, high: int) -> int:
    """Segment limit in bytes, granularity applied."""
    value = low & 0xFFFF | high & 0xF0000
    return value << 12 | 0xFFF if high & GRANULAR else value


def dpl(high: int) -> int:
    """Descriptor privilege level."""
    return high >> DPL_SHIFT & 3


def system_type(high: int) -> int:
    """The type of a system descriptor, or -1 for a code or data segment."""
    return -1 if high & SEGMENT else high >> 8 & 0xF


class Tss32(NamedTuple):
    """Byte offsets of the 32-bit TSS (figure 8-2)."""

    link: int = 0
    stack: int = 4  # ESP0; SS0 at +4; the next level 8 bytes on
    cr3: int = 28
    eip: int = 32
    eflags: int = 36
    general: int = 40  # EAX ECX EDX EBX ESP EBP ESI EDI
    segments: int = 72  # ES CS SS DS FS GS
    ldt: int = 96
    trap: int = 100
    io_map: int = 102  # offset of the I/O permission bitmap
    min_limit: int = 103


class Tss16(NamedTuple):
    """Byte offsets of the 16-bit TSS (figure 8-10)."""

    link: int = 0
    stack: int = 2  # SP0; SS0 at +2; the next level 4 bytes on
    ip: int = 14
    flags: int = 16
    general: int = 18
    segments: int = 34  # ES CS SS DS
    ldt: int = 42
    min_limit: int = 43


TSS32: Final = Tss32()
TSS16: Final = Tss16()


class Fault(Exception):
    """A fault met while an event was being delivered."""

    def __init__(self, vector: int, error: int = 0, address: int | None = None) -> None:
        super().__init__(vector, error)
        self.vector = vector
        self.error = error
        self.address = address  # for CR2
