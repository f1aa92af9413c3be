# SPDX-License-Identifier: GPL-2.0-or-later
"""The page allocator: buddies (mm/page_alloc.c, with one zone).

Free memory is kept in blocks of 2**order pages, aligned to their size.  The first page of a free block carries PG_buddy
and the order; all other pages are zero in mem_map or belong to somebody.

Below `pages_low` free pages kswapd is woken.  Who may sleep (__GFP_WAIT: memory of user programs) gets no page below
`pages_min` before it has tried to free some itself; everybody else is served as long as there is any.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import (
    NULL,
    cast,
    container_of,
    extern,
    guest,
    ptr,
    sizeof,
    u32,
    usize,
    void,
)
from kdumpsim.kernel.architecture import PAGE_SHIFT, PAGE_SIZE, current, dump_stack, pa, va
from kdumpsim.kernel.core.list import init_list_head, list_add, list_del, list_empty
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.spinlock import spin_lock_init, spin_lock_irqsave, spin_unlock_irqrestore
from kdumpsim.kernel.core.string import memset
from kdumpsim.kernel.core.tainted import TAINT_BAD_PAGE, add_taint
from kdumpsim.kernel.mm.bootmem import alloc_bootmem, bootmem_map, bootmem_map_size, bootmem_pages, page_taken
from kdumpsim.kernel.mm.mmzone import MAX_NR_ZONES, MAX_ORDER, ZONE_NORMAL, FreeArea, PglistData, Zone
from kdumpsim.kernel.mm.mmzone import Page as Page

__GFP_WAIT: Final = 0x10
"""The caller may sleep, and reclaim memory."""
GFP_ATOMIC: Final = 0
GFP_HIGHUSER: Final = __GFP_WAIT
"""For user programs."""

PG_slab: Final = 1 << 7
"""The page belongs to a cache of objects."""
PG_buddy: Final = 1 << 19
"""The page is the first of a free block."""


mem_map: ptr[Page] = NULL
"""One Page for every physical page below max_mapnr."""
max_mapnr: usize = 0
high_memory: ptr[void] = NULL
"""End of the linear map."""
contig_page_data: PglistData = PglistData()
"""The only node."""
totalram_pages: u32 = 0
fail_page_alloc: u32 = 0
"""So many allocations of pages fail from now on (fail_page_alloc's `times`, lib/fault-inject.c of 2.6.20); set from
outside."""


@extern
def wakeup_kswapd() -> None:
    """Have memory freed in the background; vmscan.py."""


@extern
def try_to_free_pages() -> u32:
    """Free some memory, sleeping; how many pages.  vmscan.py."""
    ...


@guest
def zone_normal() -> ptr[Zone]:
    """The only zone."""
    return contig_page_data.node_zones[ZONE_NORMAL]


@guest
def nr_free_pages() -> u32:
    """Free pages of all zones."""
    return zone_normal().free_pages


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
    area: ptr[FreeArea] = zone_normal().free_area[order]
    list_add(page.lru, area.free_list)
    area.nr_free += 1


@guest
def remove_block(page: ptr[Page], order: u32) -> None:
    """Take a free block off its list."""
    list_del(page.lru)
    page.flags = 0
    zone_normal().free_area[order].nr_free -= 1


@guest
def free_block(pfn: usize, order: u32) -> None:
    """Free a block and join it with its buddies as far as these are free."""
    zone_normal().free_pages += u32(1) << order
    zone_normal().pages_scanned = 0
    zone_normal().all_unreclaimable = 0
    while order < MAX_ORDER - 1:
        other = buddy_pfn(pfn, order)
        if other >= max_mapnr:
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
    zone = zone_normal()
    flags = spin_lock_irqsave(zone.lock)
    found = order
    if zone.free_pages < mark + (u32(1) << order):
        found = MAX_ORDER
    while found < MAX_ORDER and list_empty(zone.free_area[found].free_list):
        found += 1
    page: ptr[Page] = NULL
    if found < MAX_ORDER:
        page = container_of(zone.free_area[found].free_list.next, Page, "lru")
        remove_block(page, found)
        pfn = page_to_pfn(page)
        while found > order:
            found -= 1
            add_block(pfn + (u32(1) << found), found)
        zone.free_pages -= u32(1) << order
        page._count = 1
    spin_unlock_irqrestore(zone.lock, flags)
    return page


@guest
def __alloc_pages(gfp_mask: u32, order: u32) -> ptr[Page]:
    """2**order pages in a row; NULL if there are none, for waiters: and none can be freed (out of memory)."""
    global fail_page_alloc
    if fail_page_alloc != 0:
        fail_page_alloc -= 1
        return NULL
    zone = zone_normal()
    if zone.free_pages < zone.pages_low:
        wakeup_kswapd()
    if gfp_mask & __GFP_WAIT == 0:
        return rmqueue(order, 0)
    page = rmqueue(order, zone.pages_min)
    while page == NULL:
        freed = try_to_free_pages()
        page = rmqueue(order, zone.pages_min)
        if freed == 0:
            break
    return page


@guest
def alloc_pages(order: u32) -> ptr[Page]:
    """2**order pages in a row for the kernel, without sleeping; NULL if there are none."""
    return __alloc_pages(GFP_ATOMIC, order)


@guest
def bad_page(page: ptr[Page]) -> None:
    """A page is freed that is free: say so, and leave it as it is."""
    printk(f"<3>Bad page state in process '{current().comm:s}'\n")
    printk(f"<3>page:{page:p} flags:0x{page.flags:08x} mapping:{page.mapping:p} count:{page._count}\n")
    printk("<3>Trying to fix it up, but a reboot is needed\n")
    dump_stack()
    add_taint(TAINT_BAD_PAGE)


@guest
def put_pages(page: ptr[Page], order: u32) -> None:
    """Give 2**order pages back (__free_pages)."""
    flags = spin_lock_irqsave(zone_normal().lock)
    free = page.flags & PG_buddy != 0
    if not free:
        page._count = 0
        free_block(page_to_pfn(page), order)
    spin_unlock_irqrestore(zone_normal().lock, flags)
    if free:
        bad_page(page)


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
    while pfn < max_mapnr:
        if page_taken(pfn):
            pfn += 1
            continue
        start = pfn
        while pfn < max_mapnr and not page_taken(pfn):
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
    kilobytes = totalram_pages << (PAGE_SHIFT - 10)
    zone = zone_normal()
    zone.pages_min = min(max(int_sqrt(kilobytes * 16), 128), 65536) >> (PAGE_SHIFT - 10)
    zone.pages_low = zone.pages_min + zone.pages_min // 4
    zone.pages_high = zone.pages_min + zone.pages_min // 2


@guest
def free_area_init() -> None:
    """Make the node and its zone, with no pages in it."""
    node: ptr[PglistData] = contig_page_data
    node.nr_zones = MAX_NR_ZONES
    node.node_mem_map = mem_map
    node.node_spanned_pages = max_mapnr
    zone = zone_normal()
    spin_lock_init(zone.lock)
    spin_lock_init(zone.lru_lock)
    for order in range(MAX_ORDER):
        init_list_head(zone.free_area[order].free_list)
    init_list_head(zone.active_list)
    init_list_head(zone.inactive_list)
    zone.zone_pgdat = node
    zone.zone_mem_map = mem_map
    zone.spanned_pages = max_mapnr
    zone.name = "Normal"


@guest
def mem_init() -> None:
    """Make mem_map and the free lists."""
    global mem_map, max_mapnr, high_memory, totalram_pages
    max_mapnr = bootmem_pages
    high_memory = cast(ptr[void], va(max_mapnr << PAGE_SHIFT))
    mem_map = cast(ptr[Page], alloc_bootmem(max_mapnr * sizeof(Page), PAGE_SIZE))
    free_area_init()
    free_all_bootmem()
    totalram_pages = nr_free_pages()
    zone_normal().present_pages = totalram_pages
    contig_page_data.node_present_pages = totalram_pages
    setup_per_zone_pages_min()
    kilobytes: u32 = PAGE_SIZE // 1024
    printk(f"Memory: {nr_free_pages() * kilobytes}k/{max_mapnr * kilobytes}k available\n")


@guest
def show_mem() -> None:
    """Print the state of memory (SysRq-m)."""
    printk("Mem-info:\n")
    printk(f"{totalram_pages} pages of RAM\n{nr_free_pages()} free pages\n")
    zone = zone_normal()
    printk(f"{zone.name:s} free:{zone.free_pages} min:{zone.pages_min} low:{zone.pages_low} high:{zone.pages_high} ")
    printk(f"active:{zone.nr_active} inactive:{zone.nr_inactive} present:{zone.present_pages} ")
    printk(f"pages_scanned:{zone.pages_scanned} all_unreclaimable? {zone.all_unreclaimable}\n")
    for order in range(MAX_ORDER):
        printk(f"{zone_normal().free_area[order].nr_free}*{u32(PAGE_SIZE) << order}B ")
    printk("\n")
