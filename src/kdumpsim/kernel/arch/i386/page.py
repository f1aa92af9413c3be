# SPDX-License-Identifier: GPL-2.0-or-later
"""Pages and the linear map: physical memory is seen from PAGE_OFFSET up (include/asm-i386/page.h)."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import guest, u32, usize

PAGE_SHIFT: Final = 12
PAGE_SIZE: Final = 1 << PAGE_SHIFT
PAGE_MASK: Final = ~(PAGE_SIZE - 1)

PAGE_OFFSET: Final = 0xC000_0000
"""Where the linear map begins; physical address 0 is seen here."""

MAXMEM: Final = 896 << 20
"""Most memory the linear map can hold; what is above is left alone."""


@guest
def pa(address: usize) -> usize:
    """Physical address behind an address of the linear map (Linux __pa)."""
    return address - PAGE_OFFSET


@guest
def va(phys: usize) -> usize:
    """Where the linear map shows a physical address (Linux __va)."""
    return phys + PAGE_OFFSET


@guest
def page_align(address: u32) -> u32:
    """`address` rounded up to a page's start."""
    return (address + PAGE_SIZE - 1) & PAGE_MASK
