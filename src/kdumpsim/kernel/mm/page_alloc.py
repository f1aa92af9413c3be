# SPDX-License-Identifier: GPL-2.0-or-later
"""The page allocator: buddies (mm/page_alloc.c, without zones).

Free memory is kept in blocks of 2**order pages, aligned to their size.  The first page of a free block carries PG_buddy
and the order; all other pages are zero in mem_map or belong to somebody.

Below `pages_low` free pages kswapd is woken.  Who may sleep (__GFP_WAIT: memory of user programs) gets no page below
`pages_min` before it has tried to free some itself; everybody else is served as long as there is any.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import (
    NULL,
    Struct,
    array,
    cast,
    container_of,
    extern,
    guest,
    i32,
    length,
    ptr,
    sizeof,
    u32,
    usize,
    void,
)
from kdumpsim.kernel.architecture import PAGE_SHIFT, PAGE_SIZE, pa, va
from kdumpsim.kernel.core.list import init_list_head, list_add, list_del, list_empty
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.spinlock import Spinlock, spin_lock_irqsave, spin_unlock_irqrestore
from kdumpsim.kernel.core.string import memset
from kdumpsim.kernel.core.types import ListHead
from kdumpsim.kernel.mm.bootmem import alloc_bootmem, bootmem_map, bootmem_map_size, bootmem_pages, page_taken

MAX_ORDER: Final = 11

__GFP_WAIT: Final = 0x10
"""The caller may sleep, and reclaim memory."""
GFP_ATOMIC: Final = 0
GFP_HIGHUSER: Final = __GFP_WAIT
"""For user programs."""

PG_slab: Final = 1 << 7
"""The page belongs to kmalloc."""
PG_buddy: Final = 1 << 19
"""The page is the first of a free block."""


class Page(Struct):
    """What the kernel knows of one physical page."""

    flags: u32
    _count: i32
    """References; 0 while free."""
    private: usize
    """Order of a free block or of a large kmalloc; the swap entry of a page in the swap cache."""
    mapping: ptr[void]
    """The slab cache of a PG_slab page; the address space that maps a user's page."""
    index: usize
    """The address a user's page is mapped at."""
    lru: ListHead


class FreeArea(Struct):
    """The free blocks of one order."""

    free_list: ListHead
    nr_free: u32


mem_map: ptr[Page] = NULL
"""One Page for every physical page from 0 to max_pfn."""
max_pfn: usize = 0
free_area: array[FreeArea] = length(MAX_ORDER)
zone_lock: Spinlock = Spinlock(slock=1)
totalram_pages: u32 = 0
nr_free_pages: u32 = 0
pages_min: u32 = 0
"""What is kept back from those who can wait."""
pages_low: u32 = 0
"""kswapd begins to free memory."""
pages_high: u32 = 0
"""kswapd stops."""


@extern
def wakeup_kswapd() -> None:
    """Have memory freed in the background; vmscan.py."""


@extern
def try_to_free_pages() -> u32:
    """Free some memory, sleeping; how many pages.  vmscan.py."""
    ...


@guest
def pfn_to_page(pfn: usize) -> ptr[Page]:
    """The Page of a page number."""
    return mem_map + pfn


@guest
def page_to_pfn(page: ptr[Page]) -> usize:
    """The page number of a Page."""
    return (usize(page) - usize(mem_map)) // sizeof(Page)


@guest
def page_to_phys(page: ptr[Page]) -> usize:
    """Physical address of a page."""
    return page_to_pfn(page) << PAGE_SHIFT


@guest
def page_address(page: ptr[Page]) -> ptr[void]:
    """Where the kernel sees a page."""
    return cast(ptr[void], va(page_to_phys(page)))


@guest
def virt_to_page(address: ptr[void]) -> ptr[Page]:
    """The Page that an address of the linear map lies in."""
    return pfn_to_page(pa(usize(address)) >> PAGE_SHIFT)


@guest
def buddy_pfn(pfn: usize, order: u32) -> usize:
    """The block that makes one of the next order together with this one."""
    return pfn ^ (1 << order)


@guest
def add_block(pfn: usize, order: u32) -> None:
    """Put a free block on its list."""
    page = pfn_to_page(pfn)
    page.flags = PG_buddy
    page.private = order
    list_add(page.lru, free_area[order].free_list)
    free_area[order].nr_free += 1


@guest
def remove_block(page: ptr[Page], order: u32) -> None:
    """Take a free block off its list."""
    list_del(page.lru)
    page.flags = 0
    free_area[order].nr_free -= 1


@guest
def free_block(pfn: usize, order: u32) -> None:
    """Free a block and join it with its buddies as far as these are free."""
    global nr_free_pages
    nr_free_pages += 1 << order
    while order < MAX_ORDER - 1:
        other = buddy_pfn(pfn, order)
        if other >= max_pfn:
            break
        buddy = pfn_to_page(other)
        if buddy.flags & PG_buddy == 0 or buddy.private != order:
            break
        remove_block(buddy, order)
        pfn &= other
        order += 1
    add_block(pfn, order)


@guest
def rmqueue(order: u32, mark: u32) -> ptr[Page]:
    """Take 2**order pages off the free lists if more than `mark` pages stay free; NULL if there are none."""
    global nr_free_pages
    flags = spin_lock_irqsave(zone_lock)
    found = order
    if nr_free_pages < mark + (1 << order):
        found = MAX_ORDER
    while found < MAX_ORDER and list_empty(free_area[found].free_list):
        found += 1
    page: ptr[Page] = NULL
    if found < MAX_ORDER:
        page = container_of(free_area[found].free_list.next, Page, "lru")
        remove_block(page, found)
        pfn = page_to_pfn(page)
        while found > order:
            found -= 1
            add_block(pfn + (1 << found), found)
        nr_free_pages -= 1 << order
        page._count = 1
    spin_unlock_irqrestore(zone_lock, flags)
    return page


@guest
def __alloc_pages(gfp_mask: u32, order: u32) -> ptr[Page]:
    """2**order pages in a row; NULL if there are none, for waiters: and none can be freed (out of memory)."""
    if nr_free_pages < pages_low:
        wakeup_kswapd()
    if gfp_mask & __GFP_WAIT == 0:
        return rmqueue(order, 0)
    page = rmqueue(order, pages_min)
    while page == NULL:
        freed = try_to_free_pages()
        page = rmqueue(order, pages_min)
        if freed == 0:
            break
    return page


@guest
def alloc_pages(order: u32) -> ptr[Page]:
    """2**order pages in a row for the kernel, without sleeping; NULL if there are none."""
    return __alloc_pages(GFP_ATOMIC, order)


@guest
def put_pages(page: ptr[Page], order: u32) -> None:
    """Give 2**order pages back (__free_pages)."""
    flags = spin_lock_irqsave(zone_lock)
    page._count = 0
    free_block(page_to_pfn(page), order)
    spin_unlock_irqrestore(zone_lock, flags)


@guest
def alloc_page() -> ptr[Page]:
    """One page, or NULL."""
    return alloc_pages(0)


@guest
def put_page(page: ptr[Page]) -> None:
    """Give one page back."""
    put_pages(page, 0)


@guest
def __get_free_pages(order: u32) -> ptr[void]:
    """The address of 2**order pages, or NULL."""
    page = alloc_pages(order)
    return page_address(page) if page != NULL else NULL


@guest
def get_zeroed_page() -> ptr[void]:
    """The address of a page of zeros, or NULL."""
    memory = __get_free_pages(0)
    if memory != NULL:
        memset(memory, 0, PAGE_SIZE)
    return memory


@guest
def free_pages(address: ptr[void], order: u32) -> None:
    """Give back what __get_free_pages() gave; NULL is nothing."""
    if address != NULL:
        put_pages(virt_to_page(address), order)


@guest
def free_range(pfn: usize, end: usize) -> None:
    """Free pages pfn..end (exclusive) in blocks as large as their place allows."""
    while pfn < end:
        order: u32 = 0
        while order < MAX_ORDER - 1 and pfn & (1 << order) == 0 and pfn + (2 << order) <= end:
            order += 1
        free_block(pfn, order)
        pfn += 1 << order


@guest
def free_all_bootmem() -> None:
    """Take over every page the boot allocator has left, and its bitmap."""
    pfn: usize = 0
    while pfn < max_pfn:
        if page_taken(pfn):
            pfn += 1
            continue
        start = pfn
        while pfn < max_pfn and not page_taken(pfn):
            pfn += 1
        free_range(start, pfn)
    first = pa(usize(bootmem_map)) >> PAGE_SHIFT
    free_range(first, first + (bootmem_map_size() >> PAGE_SHIFT))


@guest
def int_sqrt(x: u32) -> u32:
    """The integer part of a square root (lib/int_sqrt.c), by bits."""
    root: u32 = 0
    bit = u32(1) << 15
    while bit != 0:
        if (root | bit) * (root | bit) <= x:
            root |= bit
        bit >>= 1
    return root


@guest
def setup_per_zone_pages_min() -> None:
    """The watermarks: the square root of 16 times the memory, in KiB (128 to 65536), and 5/4 and 3/2 of it."""
    global pages_min, pages_low, pages_high
    kilobytes = totalram_pages << (PAGE_SHIFT - 10)
    pages_min = min(max(int_sqrt(kilobytes * 16), 128), 65536) >> (PAGE_SHIFT - 10)
    pages_low = pages_min + pages_min // 4
    pages_high = pages_min + pages_min // 2


@guest
def mem_init() -> None:
    """Make mem_map and the free lists."""
    global mem_map, max_pfn, totalram_pages
    max_pfn = bootmem_pages
    mem_map = cast(ptr[Page], alloc_bootmem(max_pfn * sizeof(Page), PAGE_SIZE))
    for order in range(MAX_ORDER):
        init_list_head(free_area[order].free_list)
    free_all_bootmem()
    totalram_pages = nr_free_pages
    setup_per_zone_pages_min()
    kilobytes: u32 = PAGE_SIZE // 1024
    printk(f"Memory: {nr_free_pages * kilobytes}k/{max_pfn * kilobytes}k available\n")


@guest
def show_mem() -> None:
    """Print the state of memory (SysRq-m)."""
    printk("Mem-info:\n")
    printk(f"{totalram_pages} pages of RAM\n{nr_free_pages} free pages\n")
    for order in range(MAX_ORDER):
        printk(f"{free_area[order].nr_free}*{u32(PAGE_SIZE) << order}B ")
    printk("\n")
