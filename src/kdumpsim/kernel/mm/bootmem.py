# SPDX-License-Identifier: GPL-2.0-or-later
"""The allocator of early boot: one bit a page, set means taken (mm/bootmem.c).

The architecture calls init_bootmem(), frees what is RAM and reserves what is in use; free_all_bootmem() hands the rest
to the page allocator.
"""

from __future__ import annotations

from kdumpsim.compiler.lang import NULL, cast, guest, ptr, u8, usize, void
from kdumpsim.kernel.architecture import PAGE_SHIFT, PAGE_SIZE, pa, va
from kdumpsim.kernel.core.panic import panic
from kdumpsim.kernel.core.string import memset

bootmem_map: ptr[u8] = NULL
"""The bitmap, in the first free pages after the kernel; NULL once the page allocator has taken over."""
bootmem_pages: usize = 0
"""Pages the bitmap covers, from physical page 0."""
bootmem_hint: usize = 0
"""Page number to search from."""


@guest
def page_taken(pfn: usize) -> bool:
    """Whether a page is reserved, or no RAM."""
    return bootmem_map[pfn >> 3] >> (pfn & 7) & 1 != 0


@guest
def take_page(pfn: usize) -> None:
    """Set a page's bit."""
    bootmem_map[pfn >> 3] |= u8(1) << (pfn & 7)


@guest
def init_bootmem(map_pfn: usize, end_pfn: usize) -> None:
    """Cover physical memory up to `end_pfn` with a bitmap at page `map_pfn`; all pages are taken, the bitmap's too."""
    global bootmem_map, bootmem_pages
    bootmem_map = cast(ptr[u8], va(map_pfn << PAGE_SHIFT))
    bootmem_pages = end_pfn
    memset(bootmem_map, 0xFF, (end_pfn + 7) >> 3)


@guest
def bootmem_map_size() -> usize:
    """Bytes of whole pages that the bitmap takes."""
    return (((bootmem_pages + 7) >> 3) + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1)


@guest
def free_bootmem(start: usize, size: usize) -> None:
    """This is RAM: free the whole pages inside a physical range, all but the bitmap's own."""
    pfn = (start + PAGE_SIZE - 1) >> PAGE_SHIFT
    end = min((start + size) >> PAGE_SHIFT, bootmem_pages)
    map_first = pa(usize(bootmem_map)) >> PAGE_SHIFT
    map_end = map_first + (bootmem_map_size() >> PAGE_SHIFT)
    while pfn < end:
        if pfn & 7 == 0 and end - pfn >= 8 and (pfn + 8 <= map_first or pfn >= map_end):
            bootmem_map[pfn >> 3] = 0
            pfn += 8
            continue
        if pfn < map_first or pfn >= map_end:
            bootmem_map[pfn >> 3] &= ~(u8(1) << (pfn & 7))
        pfn += 1


@guest
def reserve_bootmem(start: usize, size: usize) -> None:
    """Keep every page that a physical range touches."""
    pfn = start >> PAGE_SHIFT
    end = min((start + size + PAGE_SIZE - 1) >> PAGE_SHIFT, bootmem_pages)
    while pfn < end:
        take_page(pfn)
        pfn += 1


@guest
def find_free_pages(pages: usize, align: usize) -> usize:
    """First of `pages` free pages in a row, at a multiple of `align` pages."""
    first = (bootmem_hint + align - 1) & ~(align - 1)
    while first + pages <= bootmem_pages:
        run: usize = 0
        while run < pages and not page_taken(first + run):
            run += 1
        if run == pages:
            return first
        first = (first + run + align) & ~(align - 1)
    panic("bootmem alloc of %u pages failed!", pages)


@guest
def alloc_bootmem(size: usize, align: usize) -> ptr[void]:
    """Zeroed memory of `size` bytes, in whole pages, at a multiple of `align`, a power of two."""
    global bootmem_hint
    pages = (size + PAGE_SIZE - 1) >> PAGE_SHIFT
    first = find_free_pages(pages, max(align >> PAGE_SHIFT, 1))
    i: usize = 0
    while i < pages:
        take_page(first + i)
        i += 1
    bootmem_hint = first + pages
    memory = cast(ptr[void], va(first << PAGE_SHIFT))
    memset(memory, 0, pages << PAGE_SHIFT)
    return memory
