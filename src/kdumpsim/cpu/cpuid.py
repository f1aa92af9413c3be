# SPDX-License-Identifier: GPL-2.0-or-later
"""What CPUID says (SDM vol. 2A): a family 6 processor with what this machine models, and nothing it does not."""

from __future__ import annotations

import struct
from typing import Final

VENDOR: Final = b"GenuineIntel"
SIGNATURE: Final = 0x633  # family 6, model 3, stepping 3: a Pentium II
BRAND: Final = b"kdumpsim virtual processor".ljust(48, b"\0")

FPU, PSE, TSC, MSR, PAE, MCE, CX8, APIC, SEP, MCA, CMOV = (1 << bit for bit in (0, 3, 4, 5, 6, 7, 8, 9, 11, 14, 15))
FEATURES: Final = FPU | PSE | TSC | MSR | PAE | MCE | CX8 | APIC | SEP | MCA | CMOV
NX: Final = 1 << 20

MAX_BASIC: Final = 1
MAX_EXTENDED: Final = 0x80000004


def cpuid(leaf: int, apic_id: int, apic_enabled: bool = True) -> tuple[int, int, int, int]:
    """(eax, ebx, ecx, edx). A leaf that does not exist answers as the highest basic one, as Intel's do."""
    if leaf == 0x80000000:
        return MAX_EXTENDED, 0, 0, 0
    if leaf == 0x80000001:
        return 0, 0, 0, NX
    if 0x80000002 <= leaf <= 0x80000004:
        part = (leaf - 0x80000002) * 16
        a, b, c, d = struct.unpack_from("<4I", BRAND, part)
        return a, b, c, d
    if leaf == 0:
        b, d, c = struct.unpack("<3I", VENDOR)
        return MAX_BASIC, b, c, d
    return SIGNATURE, apic_id << 24, 0, FEATURES if apic_enabled else FEATURES & ~APIC
