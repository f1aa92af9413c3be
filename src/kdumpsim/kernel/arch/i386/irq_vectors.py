# SPDX-License-Identifier: GPL-2.0-or-later
"""Who has which interrupt vector (include/asm-i386/mach-default/irq_vectors.h)."""

from __future__ import annotations

from typing import Final

FIRST_EXTERNAL_VECTOR: Final = 0x20
"""The i8259s' lines 0 to 15 come here; below are the processor's exceptions."""

FIRST_DEVICE_VECTOR: Final = 0x31
"""First vector given to lines of the I/O APIC; further ones follow 8 apart, to spread over priority classes."""

SYSCALL_VECTOR: Final = 0x80
"""INT 0x80; no interrupt line gets it."""

LOCAL_TIMER_VECTOR: Final = 0xEF
CALL_FUNCTION_VECTOR: Final = 0xFB
RESCHEDULE_VECTOR: Final = 0xFC
ERROR_APIC_VECTOR: Final = 0xFE
SPURIOUS_APIC_VECTOR: Final = 0xFF
