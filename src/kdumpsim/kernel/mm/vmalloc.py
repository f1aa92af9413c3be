# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory that is in one piece for the kernel alone: single pages, mapped side by side (mm/vmalloc.c of 2.6.16).

The architecture made the page tables of these addresses at boot, so that every page directory has them.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, Struct, addr, cast, guest, ptr, sizeof, u32, usize, void
from kdumpsim.kernel.architecture import (
    PAGE_ACCESSED,
    PAGE_DIRTY,
    PAGE_PRESENT,
    PAGE_RW,
    PAGE_SHIFT,
    PAGE_SIZE,
    flush_tlb_kernel_page,
    pte_offset,
    vmalloc_end,
    vmalloc_start,
)
from kdumpsim.kernel.core.init_task import init_mm
from kdumpsim.kernel.core.spinlock import Spinlock, spin_lock, spin_unlock
from kdumpsim.kernel.core.string import memset
from kdumpsim.kernel.mm.mmzone import Page
from kdumpsim.kernel.mm.page_alloc import alloc_page, page_to_phys, put_page
from kdumpsim.kernel.mm.slab import kfree, kzalloc

PAGE_KERNEL: Final = PAGE_PRESENT | PAGE_RW | PAGE_ACCESSED | PAGE_DIRTY
VM_ALLOC: Final = 2
"""vmalloc() made the area."""


class VmStruct(Struct):
    """An area."""

    addr: ptr[void]
    size: usize
    """Bytes, with a page behind them that is not mapped."""
    flags: u32
    pages: ptr[ptr[Page]]
    nr_pages: u32
    next: ptr[VmStruct]


vmlist: ptr[VmStruct] = NULL
"""All areas by rising address."""
vmlist_lock: Spinlock = Spinlock(slock=1)


@guest
def get_vm_area(size: usize, flags: u32) -> ptr[VmStruct]:
    """Addresses for an area, the first that are free; NULL without memory or room."""
    global vmlist
    area = cast(ptr[VmStruct], kzalloc(sizeof(VmStruct)))
    if area == NULL:
        return NULL
    area.size = size + PAGE_SIZE
    area.flags = flags
    at = vmalloc_start()
    spin_lock(vmlist_lock)
    place: ptr[ptr[VmStruct]] = addr(vmlist)
    while place[0] != NULL and usize(place[0].addr) - at < area.size:
        at = usize(place[0].addr) + place[0].size
        place = addr(place[0].next)
    fits = at <= vmalloc_end() and vmalloc_end() - at >= area.size
    if fits:
        area.addr = cast(ptr[void], at)
        area.next = place[0]
        place[0] = area
    spin_unlock(vmlist_lock)
    if not fits:
        kfree(area)
        return NULL
    return area


@guest
def remove_vm_area(start: ptr[void]) -> ptr[VmStruct]:
    """Take an area off the list; NULL if none begins there."""
    spin_lock(vmlist_lock)
    place: ptr[ptr[VmStruct]] = addr(vmlist)
    while place[0] != NULL and place[0].addr != start:
        place = addr(place[0].next)
    area = place[0]
    if area != NULL:
        place[0] = area.next
    spin_unlock(vmlist_lock)
    return area


@guest
def free_area_pages(area: ptr[VmStruct]) -> None:
    """Unmap an area's pages, free them, and what describes the area."""
    for i in range(area.nr_pages):
        address = usize(area.addr) + (usize(i) << PAGE_SHIFT)
        pte_offset(init_mm.pgd, address)[0] = 0
        flush_tlb_kernel_page(address)
        put_page(area.pages[i])
    kfree(area.pages)
    kfree(area)


@guest
def vmalloc(size: usize) -> ptr[void]:
    """At least `size` bytes, not cleared; NULL without memory."""
    wanted = u32((size + PAGE_SIZE - 1) >> PAGE_SHIFT)
    area = get_vm_area(usize(wanted) << PAGE_SHIFT, VM_ALLOC)
    if area == NULL:
        return NULL
    area.pages = cast(ptr[ptr[Page]], kzalloc(wanted * sizeof(ptr[Page])))
    while area.pages != NULL and area.nr_pages < wanted:
        page = alloc_page()
        if page == NULL:
            break
        address = usize(area.addr) + (usize(area.nr_pages) << PAGE_SHIFT)
        pte_offset(init_mm.pgd, address)[0] = u32(page_to_phys(page)) | PAGE_KERNEL
        area.pages[area.nr_pages] = page
        area.nr_pages += 1
    if area.nr_pages < wanted:
        free_area_pages(remove_vm_area(area.addr))
        return NULL
    return area.addr


@guest
def vzalloc(size: usize) -> ptr[void]:
    """vmalloc() of zeroed memory."""
    memory = vmalloc(size)
    if memory != NULL:
        memset(memory, 0, size)
    return memory


@guest
def vfree(memory: ptr[void]) -> None:
    """Give back what vmalloc() gave; NULL is nothing."""
    area = remove_vm_area(memory)
    if area != NULL:
        free_area_pages(area)
