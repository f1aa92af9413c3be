# SPDX-License-Identifier: GPL-2.0-or-later
"""The lists of users' pages from most to least recently used, and references to pages (mm/swap.c, mm_inline.h).

A page's mapping and its place in the swap cache count as one reference each; a list does not.
"""

from __future__ import annotations

from kdumpsim.compiler.lang import NULL, addr, cmpxchg, fetch_add, fetch_sub, guest, load_volatile, ptr
from kdumpsim.kernel.core.list import list_add, list_add_tail, list_del
from kdumpsim.kernel.core.spinlock import spin_lock_irqsave, spin_unlock_irqrestore
from kdumpsim.kernel.mm.page_alloc import Page, put_pages, zone_normal
from kdumpsim.kernel.mm.page_flags import PG_active, PG_lru, PG_reclaim, clear_page_flag, page_flag, set_page_flag


@guest
def get_page(page: ptr[Page]) -> None:
    """One more reference, for who has one."""
    fetch_add(addr(page._count), 1)


@guest
def get_page_unless_zero(page: ptr[Page]) -> bool:
    """One more reference, unless the page is being freed."""
    while True:
        count = load_volatile(addr(page._count))
        if count == 0:
            return False
        if cmpxchg(addr(page._count), count, count + 1) == count:
            return True


@guest
def add_page_to_lru(page: ptr[Page]) -> None:
    """Put a page at the young end of the list PG_active says; lru_lock is held."""
    zone = zone_normal()
    if page_flag(page, PG_active):
        list_add(page.lru, zone.active_list)
        zone.nr_active += 1
    else:
        list_add(page.lru, zone.inactive_list)
        zone.nr_inactive += 1
    set_page_flag(page, PG_lru)


@guest
def del_page_from_lru(page: ptr[Page]) -> None:
    """Take a page off its list; lru_lock is held."""
    zone = zone_normal()
    list_del(page.lru)
    clear_page_flag(page, PG_lru)
    if page_flag(page, PG_active):
        zone.nr_active -= 1
    else:
        zone.nr_inactive -= 1


@guest
def lru_cache_add_active(page: ptr[Page]) -> None:
    """A page that a program begins to use."""
    flags = spin_lock_irqsave(zone_normal().lru_lock)
    if not page_flag(page, PG_lru):
        set_page_flag(page, PG_active)
        add_page_to_lru(page)
    spin_unlock_irqrestore(zone_normal().lru_lock, flags)


@guest
def rotate_reclaimable_page(page: ptr[Page]) -> None:
    """A page that waited for the disk can be freed: let it be the next; any context."""
    if not clear_page_flag(page, PG_reclaim):
        return
    flags = spin_lock_irqsave(zone_normal().lru_lock)
    if page_flag(page, PG_lru) and not page_flag(page, PG_active):
        list_del(page.lru)
        list_add_tail(page.lru, zone_normal().inactive_list)
    spin_unlock_irqrestore(zone_normal().lru_lock, flags)


@guest
def page_cache_release(page: ptr[Page]) -> None:
    """Give a reference up; the last one frees the page."""
    if fetch_sub(addr(page._count), 1) != 1:
        return
    flags = spin_lock_irqsave(zone_normal().lru_lock)
    if page_flag(page, PG_lru):
        del_page_from_lru(page)
    spin_unlock_irqrestore(zone_normal().lru_lock, flags)
    page.flags = 0
    page.mapping = NULL
    page.private = 0
    put_pages(page, 0)
