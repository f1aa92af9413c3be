# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading physical memory before the kernel has page tables of its own (Linux's bt_ioremap).

The boot page directory shows 896 MiB; a loader's or the firmware's tables may lie anywhere below 4 GiB.  Two of its
entries serve as a window of 8 MiB.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import cast, guest, ptr, u8, u32
from kdumpsim.kernel.arch.i386.head import initial_page_table
from kdumpsim.kernel.arch.i386.page import pa
from kdumpsim.kernel.arch.i386.processor import write_cr3

WINDOW_PDE: Final = 1020
WINDOW_SHIFT: Final = 22
WINDOW_MASK: Final = 0xFFC0_0000
WINDOW_ENTRY: Final = 0x83
"""Present, writable, 4 MiB."""


@guest
def early_map(phys: u32) -> u32:
    """An address where physical memory from `phys` on can be read, at least 4 MiB of it, until the next call."""
    directory: ptr[u32] = initial_page_table
    base = phys & WINDOW_MASK
    directory[WINDOW_PDE] = base | WINDOW_ENTRY
    directory[WINDOW_PDE + 1] = base + (1 << WINDOW_SHIFT) | WINDOW_ENTRY
    write_cr3(pa(u32(initial_page_table)))
    return (WINDOW_PDE << WINDOW_SHIFT) + (phys - base)


@guest
def early_copy(to: ptr[u8], phys: u32, count: u32) -> None:
    """Copy from physical memory."""
    source = cast(ptr[u8], early_map(phys))
    for i in range(count):
        to[i] = source[i]


@guest
def early_copy_string(to: ptr[u8], phys: u32, size: u32) -> None:
    """Copy a NUL-terminated text, cut off at `size` bytes."""
    source = cast(ptr[u8], early_map(phys))
    i: u32 = 0
    while i < size - 1 and source[i] != 0:
        to[i] = source[i]
        i += 1
    to[i] = 0
