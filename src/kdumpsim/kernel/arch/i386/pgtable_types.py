# SPDX-License-Identifier: GPL-2.0-or-later
"""Bits of page table entries and the shape of page tables (include/asm-i386/pgtable.h)."""

from __future__ import annotations

from typing import Final

from kdumpsim.kernel.arch.i386.page import PAGE_OFFSET

PAGE_PRESENT: Final = 0x001
PAGE_RW: Final = 0x002
PAGE_USER: Final = 0x004
PAGE_PWT: Final = 0x008
PAGE_PCD: Final = 0x010
PAGE_ACCESSED: Final = 0x020
PAGE_DIRTY: Final = 0x040
PAGE_PSE: Final = 0x080
PAGE_KERNEL: Final = PAGE_PRESENT | PAGE_RW | PAGE_ACCESSED | PAGE_DIRTY
PAGE_KERNEL_NOCACHE: Final = PAGE_KERNEL | PAGE_PCD
PAGE_KERNEL_LARGE: Final = PAGE_KERNEL | PAGE_PSE
PGDIR_SHIFT: Final = 22
PGDIR_SIZE: Final = 1 << PGDIR_SHIFT
PTRS_PER_PTE: Final = 1024
KERNEL_PGD: Final = PAGE_OFFSET >> PGDIR_SHIFT
