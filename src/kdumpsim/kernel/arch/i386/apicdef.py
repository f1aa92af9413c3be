# SPDX-License-Identifier: GPL-2.0-or-later
"""Registers of the local APIC (SDM vol. 3, table 10-1; names of include/asm-i386/apicdef.h)."""

from __future__ import annotations

from typing import Final

APIC_ID: Final = 0x20
APIC_LVR: Final = 0x30
APIC_TASKPRI: Final = 0x80
APIC_EOI: Final = 0xB0
APIC_LDR: Final = 0xD0
APIC_DFR: Final = 0xE0
APIC_SPIV: Final = 0xF0
APIC_ISR: Final = 0x100
APIC_ESR: Final = 0x280
APIC_ICR: Final = 0x300
APIC_ICR2: Final = 0x310
APIC_LVTT: Final = 0x320
APIC_LVTPC: Final = 0x340
APIC_LVT0: Final = 0x350
APIC_LVT1: Final = 0x360
APIC_LVTERR: Final = 0x370
APIC_TMICT: Final = 0x380
APIC_TMCCT: Final = 0x390
APIC_TDCR: Final = 0x3E0

APIC_SPIV_APIC_ENABLED: Final = 0x100
APIC_VECTOR_MASK: Final = 0xFF

APIC_DFR_FLAT: Final = 0xFFFF_FFFF

APIC_DM_FIXED: Final = 0x000
APIC_DM_NMI: Final = 0x400
APIC_DM_INIT: Final = 0x500
APIC_DM_STARTUP: Final = 0x600
APIC_DM_EXTINT: Final = 0x700
APIC_MODE_MASK: Final = 0x700

APIC_DEST_LOGICAL: Final = 0x0_0800
APIC_ICR_BUSY: Final = 0x0_1000
APIC_INT_ASSERT: Final = 0x0_4000
APIC_INT_LEVELTRIG: Final = 0x0_8000
APIC_DEST_SELF: Final = 0x4_0000
APIC_DEST_ALLBUT: Final = 0xC_0000

APIC_INPUT_POLARITY: Final = 0x0_2000
APIC_LVT_LEVEL_TRIGGER: Final = 0x0_8000
APIC_LVT_MASKED: Final = 0x1_0000
APIC_LVT_TIMER_PERIODIC: Final = 0x2_0000

APIC_TDR_DIV_16: Final = 0x3
