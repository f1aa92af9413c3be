# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's page tables: the linear map and the fixed mappings (arch/i386/mm/init.c, include/asm-i386/fixmap.h).

swapper_pg_dir shows physical RAM from PAGE_OFFSET up, 4 MiB pages where the memory map fills them and 4 KiB pages at
ragged edges, or everywhere with STACK_GUARD.  What the map does not hold is not mapped: the capture kernel cannot touch
the dead kernel's memory by mistake.  Single pages of any memory are reached through the fixed mappings at the top of
the address space.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from kdumpsim.compiler.lang import array, cast, guest, length, ptr, u8, u32, usize
from kdumpsim.kernel.arch.i386.e820 import e820_any_mapped, e820_covers, max_low_pfn
from kdumpsim.kernel.arch.i386.head import swapper_pg_dir
from kdumpsim.kernel.arch.i386.page import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, pa, va
from kdumpsim.kernel.arch.i386.pgtable_types import (
    KERNEL_PGD,
    PAGE_KERNEL,
    PAGE_KERNEL_LARGE,
    PAGE_KERNEL_NOCACHE,
    PAGE_PRESENT,
    PAGE_PSE,
    PGDIR_SHIFT,
    PGDIR_SIZE,
    PTRS_PER_PTE,
)
from kdumpsim.kernel.arch.i386.processor import invlpg, read_cr3, write_cr3
from kdumpsim.kernel.arch.i386.thread_info import smp_processor_id
from kdumpsim.kernel.core.config import NR_CPUS, STACK_GUARD
from kdumpsim.kernel.core.spinlock import preempt_disable, preempt_enable
from kdumpsim.kernel.mm.bootmem import alloc_bootmem

FIXADDR_TOP: Final = 0xFFFF_F000
LOW_BIOS_END: Final = 0x10_0000
"""The first MiB is always mapped: firmware tables lie there, and the trampoline."""


VMALLOC_OFFSET: Final = 8 << 20
VMALLOC_TABLES: Final = 2
"""Page tables for vmalloc(), which are there from the beginning, so that address spaces can share them."""


class FixedAddress(IntEnum):
    """Places for single pages, counted down from FIXADDR_TOP."""

    FIX_APIC_BASE = 1
    FIX_IO_APIC_BASE = 2
    FIX_KMAP_BEGIN = 3


FIX_KMAP_SLOTS: Final = 4
"""Pages one CPU may have mapped by kmap_atomic_pfn() at a time."""

fixmap_page_table: array[u32] = length(PTRS_PER_PTE, align=4096)
kmap_depth: array[u32] = length(NR_CPUS)


@guest
def fix_to_virt(index: u32) -> u32:
    """Address of a fixed mapping."""
    return FIXADDR_TOP - (index << PAGE_SHIFT)


@guest
def set_fixmap(index: u32, phys: u32, flags: u32) -> None:
    """Show the page at `phys` at a fixed place."""
    address = fix_to_virt(index)
    fixmap_page_table[address >> PAGE_SHIFT & (PTRS_PER_PTE - 1)] = phys & PAGE_MASK | flags
    invlpg(address)


@guest
def ioremap_fixed(index: FixedAddress, phys: u32) -> u32:
    """Show a device's registers, uncached; the address."""
    set_fixmap(index, phys, PAGE_KERNEL_NOCACHE)
    return fix_to_virt(index) + (phys & ~u32(PAGE_MASK))


@guest
def kmap_atomic_pfn(pfn: usize) -> ptr[u8]:
    """Show any page of memory to this CPU for a short while; calls nest, kunmap_atomic() undoes the last one."""
    preempt_disable()
    cpu = smp_processor_id()
    index = FixedAddress.FIX_KMAP_BEGIN + cpu * FIX_KMAP_SLOTS + kmap_depth[cpu]
    kmap_depth[cpu] += 1
    set_fixmap(index, pfn << PAGE_SHIFT, PAGE_KERNEL)
    return cast(ptr[u8], fix_to_virt(index))


@guest
def kunmap_atomic() -> None:
    """Give the place of the last kmap_atomic_pfn() back; its old translation stays until the place is used again."""
    kmap_depth[smp_processor_id()] -= 1
    preempt_enable()


@guest
def map_small(pgd_index: u32, phys: u32, whole: bool) -> None:
    """Map those 4 KiB pages of a 4 MiB range that are RAM or firmware, or the `whole` of it."""
    table = cast(ptr[u32], alloc_bootmem(PAGE_SIZE, PAGE_SIZE))
    for i in range(PTRS_PER_PTE):
        page: u32 = phys + (i << PAGE_SHIFT)
        if whole or page < LOW_BIOS_END or e820_covers(page, page + PAGE_SIZE):
            table[i] = page | PAGE_KERNEL
    swapper_pg_dir[pgd_index] = pa(u32(table)) | PAGE_KERNEL


@guest
def vmalloc_start() -> usize:
    """The first address of vmalloc(): well above the linear map, so that what runs over its end faults."""
    return (va(max_low_pfn << PAGE_SHIFT) + 2 * VMALLOC_OFFSET - 1) & ~(VMALLOC_OFFSET - 1)


@guest
def vmalloc_end() -> usize:
    """The end of vmalloc()'s addresses, for which there are page tables."""
    return vmalloc_start() + VMALLOC_TABLES * PGDIR_SIZE


@guest
def paging_init() -> None:
    """Fill in swapper_pg_dir from the memory map and go over to it (2.6.16 paging_init)."""
    phys: u32 = 0
    pgd_index: u32 = KERNEL_PGD
    end: u32 = max_low_pfn << PAGE_SHIFT
    while phys < end:
        whole = phys != 0 and e820_covers(phys, phys + PGDIR_SIZE)
        if whole and not STACK_GUARD:
            swapper_pg_dir[pgd_index] = phys | PAGE_KERNEL_LARGE
        elif phys == 0 or e820_any_mapped(phys, phys + PGDIR_SIZE):
            map_small(pgd_index, phys, whole)
        phys += PGDIR_SIZE
        pgd_index += 1
    for table in range(VMALLOC_TABLES):
        place = (vmalloc_start() >> PGDIR_SHIFT) + table
        swapper_pg_dir[place] = pa(u32(alloc_bootmem(PAGE_SIZE, PAGE_SIZE))) | PAGE_KERNEL
    swapper_pg_dir[FIXADDR_TOP >> PGDIR_SHIFT] = pa(u32(fixmap_page_table)) | PAGE_KERNEL
    write_cr3(pa(u32(swapper_pg_dir)))


@guest
def load_swapper_pg_dir() -> None:
    """A secondary CPU leaves the identity map."""
    write_cr3(pa(u32(swapper_pg_dir)))


@guest
def kern_addr_valid(address: usize) -> bool:
    """Whether reading a byte at `address` is safe (arch/i386/mm: the page tables in use are asked)."""
    entry: u32 = cast(ptr[u32], va(read_cr3() & PAGE_MASK))[address >> PGDIR_SHIFT]
    if entry & PAGE_PRESENT == 0:
        return False
    if entry & PAGE_PSE:
        return True
    return cast(ptr[u32], va(entry & PAGE_MASK))[address >> PAGE_SHIFT & (PTRS_PER_PTE - 1)] & PAGE_PRESENT != 0
