# SPDX-License-Identifier: GPL-2.0-or-later
"""Segment selectors: the layout of the global descriptor table (include/asm-i386/segment.h of 2.6.16)."""

from __future__ import annotations

from typing import Final

GDT_ENTRIES: Final = 32
GDT_ENTRY_KERNEL_CS: Final = 12
GDT_ENTRY_KERNEL_DS: Final = 13
GDT_ENTRY_DEFAULT_USER_CS: Final = 14
GDT_ENTRY_DEFAULT_USER_DS: Final = 15
GDT_ENTRY_TSS: Final = 16
GDT_ENTRY_LDT: Final = 17
GDT_ENTRY_DOUBLEFAULT_TSS: Final = 31

__KERNEL_CS: Final = GDT_ENTRY_KERNEL_CS * 8
__KERNEL_DS: Final = GDT_ENTRY_KERNEL_DS * 8
__USER_CS: Final = GDT_ENTRY_DEFAULT_USER_CS * 8 + 3
__USER_DS: Final = GDT_ENTRY_DEFAULT_USER_DS * 8 + 3
TSS_SELECTOR: Final = GDT_ENTRY_TSS * 8
DOUBLEFAULT_SELECTOR: Final = GDT_ENTRY_DOUBLEFAULT_TSS * 8
