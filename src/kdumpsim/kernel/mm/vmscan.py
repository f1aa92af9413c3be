# SPDX-License-Identifier: GPL-2.0-or-later
"""Finding memory to take away from programs (mm/vmscan.c of 2.6.16, for one zone and anonymous pages only).

Pages enter the active list young and sink; refill_inactive_zone() moves those not accessed meanwhile to the inactive
list, shrink_cache() takes them from its end, and shrink_list() swaps them out.  Whatever is free at the end of
a write goes first next time.  The work is done by kswapd, and by whoever allocates for a user while memory is short.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import (
    NULL,
    addr,
    container_of,
    guest,
    i32,
    list_for_each_entry,
    placed,
    ptr,
    u32,
    void,
)
from kdumpsim.kernel.core.config import HZ
from kdumpsim.kernel.core.kthread import kernel_thread
from kdumpsim.kernel.core.list import init_list_head, list_add, list_del, list_empty, list_move_tail
from kdumpsim.kernel.core.sched import schedule
from kdumpsim.kernel.core.sched_types import TASK_INTERRUPTIBLE
from kdumpsim.kernel.core.spinlock import spin_lock_irqsave, spin_unlock_irqrestore
from kdumpsim.kernel.core.types import ListHead
from kdumpsim.kernel.core.wait import WaitEntry, WaitQueue, finish_wait, init_waitqueue, prepare_to_wait, wake_up
from kdumpsim.kernel.lkdtt.cpoint import CrashPoint, cpoint
from kdumpsim.kernel.mm.page_alloc import Page, zone_normal
from kdumpsim.kernel.mm.page_flags import (
    PG_active,
    PG_dirty,
    PG_swapcache,
    PG_writeback,
    clear_page_flag,
    page_flag,
    set_page_flag,
    trylock_page,
    unlock_page,
)
from kdumpsim.kernel.mm.page_io import swap_congestion_wait, swap_pages_written, swap_writepage
from kdumpsim.kernel.mm.rmap import SWAP_FAIL, SWAP_SUCCESS, page_referenced, try_to_unmap
from kdumpsim.kernel.mm.swap import (
    add_page_to_lru,
    del_page_from_lru,
    get_page_unless_zero,
    page_cache_release,
)
from kdumpsim.kernel.mm.swap_state import (
    add_to_swap,
    delete_from_swap_cache,
    remove_clean_swap_page,
    remove_exclusive_swap_page,
    total_swapcache_pages,
)
from kdumpsim.kernel.mm.swapfile import nr_swap_pages

DEF_PRIORITY: Final = 12
"""A scan looks at 1/2**priority of a list, at first."""
SWAP_CLUSTER_MAX: Final = 32
"""Pages taken off a list at a time, and how many a process wants to free."""

FRUITLESS_SCANS: Final = 2
"""In a row, before there is nothing to be had."""

PAGE_KEEP: Final = 0
PAGE_ACTIVATE: Final = 1
PAGE_CLEAN: Final = 2
"""Nobody needs the page: it can be freed."""

OUR_REFERENCES: Final = 2
"""To a page of the swap cache that nobody else looks at: the cache's and the scan's."""


kswapd_wait: WaitQueue = WaitQueue()
kswapd_running: bool = False


@guest
def isolate_lru_pages(wanted: u32, source: ptr[ListHead], pages: ptr[ListHead]) -> u32:
    """Take pages off the old end of a list, with a reference each; how many."""
    taken: u32 = 0
    flags = spin_lock_irqsave(zone_normal().lru_lock)
    while taken < wanted and not list_empty(source):
        page = container_of(source.prev, Page, "lru")
        if not get_page_unless_zero(page):
            list_del(page.lru)
            list_add(page.lru, source)
            break
        del_page_from_lru(page)
        list_add(page.lru, pages)
        taken += 1
    spin_unlock_irqrestore(zone_normal().lru_lock, flags)
    return taken


@guest
def putback_lru_pages(pages: ptr[ListHead]) -> None:
    """Put isolated pages back, each on the list PG_active says, and give the references up."""
    while not list_empty(pages):
        page = container_of(pages.prev, Page, "lru")
        list_del(page.lru)
        flags = spin_lock_irqsave(zone_normal().lru_lock)
        add_page_to_lru(page)
        spin_unlock_irqrestore(zone_normal().lru_lock, flags)
        page_cache_release(page)


@guest
def pageout(page: ptr[Page]) -> u32:
    """A locked page of the swap cache that nobody maps: write it if need be, else it can go.  Unlocks it."""
    result: u32 = PAGE_KEEP
    if remove_exclusive_swap_page(page, OUR_REFERENCES):
        result = PAGE_CLEAN
    elif not page_flag(page, PG_dirty):
        if remove_clean_swap_page(page, OUR_REFERENCES):
            result = PAGE_CLEAN
    elif page._count == OUR_REFERENCES and swap_writepage(page) == 0:
        return PAGE_KEEP
    unlock_page(page)
    return result


MEM_SWAPOUT: CrashPoint = placed(
    "cpoints",
    CrashPoint(
        name="MEM_SWAPOUT", which=4, help="swapping out: shrink_list, before a page goes to swap", load="memdrain"
    ),
)


@guest
def swap_out_page(page: ptr[Page]) -> u32:
    """What to do with a locked page that was not accessed.  Unlocks it.

    MEM_SWAPOUT (paper, section 4.1: where space for anonymous process memory is allocated) lies where
    shrink_list() of 2.6.16 asks for a place in the swap area: process context, the page locked, no spinlock held.
    """
    if not page_flag(page, PG_swapcache):
        if page.mapping == NULL:
            unlock_page(page)
            return PAGE_KEEP
        cpoint(MEM_SWAPOUT)
        if not add_to_swap(page):
            unlock_page(page)
            return PAGE_ACTIVATE
    unmapped = try_to_unmap(page)
    if unmapped != SWAP_SUCCESS:
        delete_from_swap_cache(page)
        unlock_page(page)
        return PAGE_ACTIVATE if unmapped == SWAP_FAIL else PAGE_KEEP
    return pageout(page)


@guest
def shrink_one(page: ptr[Page]) -> u32:
    """One isolated page of the inactive list: swap it out, free it, or tell why not."""
    if not trylock_page(page):
        return PAGE_KEEP
    if page_flag(page, PG_writeback):
        unlock_page(page)
        return PAGE_KEEP
    if page_referenced(page):
        unlock_page(page)
        return PAGE_ACTIVATE
    return swap_out_page(page)


@guest
def shrink_list(pages: ptr[ListHead]) -> u32:
    """Free what can be freed of isolated pages, start to swap out the others; how many are free, those not stay."""
    keep: ListHead = ListHead()
    init_list_head(keep)
    reclaimed: u32 = 0
    while not list_empty(pages):
        page = container_of(pages.prev, Page, "lru")
        list_del(page.lru)
        result = shrink_one(page)
        if result == PAGE_CLEAN:
            page_cache_release(page)
            reclaimed += 1
            continue
        if result == PAGE_ACTIVATE:
            set_page_flag(page, PG_active)
        list_add(page.lru, keep)
    while not list_empty(keep):
        list_move_tail(keep.prev, pages)
    return reclaimed


@guest
def shrink_cache(nr_to_scan: u32) -> u32:
    """Look at the end of the inactive list; how many pages became free."""
    pages: ListHead = ListHead()
    init_list_head(pages)
    if isolate_lru_pages(nr_to_scan, zone_normal().inactive_list, pages) == 0:
        return 0
    reclaimed = shrink_list(pages)
    putback_lru_pages(pages)
    return reclaimed


@guest
def refill_inactive_zone(nr_pages: u32) -> None:
    """Look at the end of the active list: what was not accessed becomes inactive."""
    pages: ListHead = ListHead()
    init_list_head(pages)
    isolate_lru_pages(nr_pages, zone_normal().active_list, pages)
    for page in list_for_each_entry(pages, Page, "lru"):
        if not page_referenced(page):
            clear_page_flag(page, PG_active)
    putback_lru_pages(pages)


@guest
def scan_count(owed: ptr[u32], pages: u32, priority: u32) -> u32:
    """How much of a list to scan: nothing until a cluster is owed."""
    owed[0] += (pages >> priority) + 1
    if owed[0] < SWAP_CLUSTER_MAX:
        return 0
    count = owed[0]
    owed[0] = 0
    return count


@guest
def shrink_zone(priority: u32) -> u32:
    """Scan both lists; how many pages became free."""
    zone = zone_normal()
    active = scan_count(addr(zone.nr_scan_active), zone.nr_active, priority)
    inactive = scan_count(addr(zone.nr_scan_inactive), zone.nr_inactive, priority)
    reclaimed: u32 = 0
    while active != 0 or inactive != 0:
        step = min(active, SWAP_CLUSTER_MAX)
        if step != 0:
            active -= step
            refill_inactive_zone(step)
        step = min(inactive, SWAP_CLUSTER_MAX)
        if step != 0:
            inactive -= step
            zone.pages_scanned += step
            reclaimed += shrink_cache(step)
            if reclaimed >= SWAP_CLUSTER_MAX:
                break
    return reclaimed


@guest
def scan_by_priority(wanted: u32) -> u32:
    """Scan ever more of the lists until so many pages are free; how many became so.

    Without room in the swap area and pages in the swap cache there is nothing to find (2.6.16 looks all the same).
    """
    reclaimed: u32 = 0
    if nr_swap_pages() == 0 and total_swapcache_pages == 0:
        return 0
    for distress in range(DEF_PRIORITY + 1):
        reclaimed += shrink_zone(DEF_PRIORITY - distress)
        if reclaimed >= wanted:
            break
        if distress > 2:
            swap_congestion_wait(HZ // 10)
    return reclaimed


@guest
def free_pages_patiently(wanted: u32) -> u32:
    """Free up to so many pages, sleeping; how many became free, 0 if there is nothing to be had.

    What is on its way to the disk is waited for, and what arrived there during the scan is another reason to look
    again: it was busy when the scan came by, and can go now.  A page that was accessed becomes inactive at the second
    look and is swapped out at the third, so a single scan of active pages need not find any.
    """
    fruitless: u32 = 0
    while fruitless < FRUITLESS_SCANS:
        written = swap_pages_written()
        reclaimed = scan_by_priority(wanted)
        if reclaimed != 0:
            return reclaimed
        if swap_congestion_wait(HZ // 10) or swap_pages_written() != written:
            fruitless = 0
        else:
            fruitless += 1
    return 0


@guest
def try_to_free_pages() -> u32:
    """Free some memory, sleeping; 0 if nothing can be, not even when what is on its way to the disk has arrived."""
    return free_pages_patiently(SWAP_CLUSTER_MAX)


@guest
def balance_pgdat() -> None:
    """Free memory until there is plenty, or no more to be had."""
    zone = zone_normal()
    while zone.free_pages < zone.pages_high:
        if free_pages_patiently(zone.pages_high - zone.free_pages) == 0:
            zone.all_unreclaimable = 1
            return


@guest
def kswapd(arg: ptr[void]) -> i32:
    """The thread that frees memory in the background, woken by the page allocator below pages_low."""
    wait: WaitEntry = WaitEntry()
    while True:
        prepare_to_wait(kswapd_wait, wait, TASK_INTERRUPTIBLE)
        schedule()
        finish_wait(kswapd_wait, wait)
        balance_pgdat()
    return 0


@guest
def wakeup_kswapd() -> None:
    """Have memory freed in the background, if there is anywhere to swap to."""
    if kswapd_running and not list_empty(kswapd_wait.task_list):
        wake_up(kswapd_wait)


@guest
def start_kswapd() -> None:
    """Start the thread; there is a swap area."""
    global kswapd_running
    init_waitqueue(kswapd_wait)
    if kernel_thread(kswapd, NULL, "kswapd0") != NULL:
        kswapd_running = True


@guest
def stop_kswapd() -> None:
    """There is nowhere to swap to any more: let the thread sleep."""
    global kswapd_running
    kswapd_running = False
