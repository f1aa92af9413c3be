# SPDX-License-Identifier: GPL-2.0-or-later
"""The lists of users' pages from most to least recently used, and references to pages (mm/swap.c, mm_inline.h).

A page's mapping and its place in the swap cache count as one reference each; a list does not.
"""

from __future__ import annotations

from kdumpsim.compiler.lang import (
    NULL,
    addr,
    cmpxchg,
    fetch_add,
    fetch_sub,
    fn,
    guest,
    i32,
    load_volatile,
    placed,
    ptr,
    u32,
)
from kdumpsim.kernel.core.list import init_list_head, list_add, list_add_tail, list_del
from kdumpsim.kernel.core.spinlock import Spinlock, spin_lock_irqsave, spin_unlock_irqrestore
from kdumpsim.kernel.core.types import ListHead
from kdumpsim.kernel.mm.page_alloc import Page, put_pages
from kdumpsim.kernel.mm.page_flags import PG_active, PG_lru, PG_reclaim, clear_page_flag, page_flag, set_page_flag

active_list: ListHead = ListHead()
inactive_list: ListHead = ListHead()
nr_active: u32 = 0
nr_inactive: u32 = 0
lru_lock: Spinlock = Spinlock(slock=1)
"""Guards the lists and counts; taken with interrupts off, for the end of a write moves pages."""


@guest
def swap_setup() -> i32:
    """Make the lists, empty."""
    init_list_head(active_list)
    init_list_head(inactive_list)
    return 0


_init_swap_lists: fn[[], i32] = placed("initcall1", swap_setup)


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
    global nr_active, nr_inactive
    if page_flag(page, PG_active):
        list_add(page.lru, active_list)
        nr_active += 1
    else:
        list_add(page.lru, inactive_list)
        nr_inactive += 1
    set_page_flag(page, PG_lru)


@guest
def del_page_from_lru(page: ptr[Page]) -> None:
    """Take a page off its list; lru_lock is held."""
    global nr_active, nr_inactive
    list_del(page.lru)
    clear_page_flag(page, PG_lru)
    if page_flag(page, PG_active):
        nr_active -= 1
    else:
        nr_inactive -= 1


@guest
def lru_cache_add_active(page: ptr[Page]) -> None:
    """A page that a program begins to use."""
    flags = spin_lock_irqsave(lru_lock)
    if not page_flag(page, PG_lru):
        set_page_flag(page, PG_active)
        add_page_to_lru(page)
    spin_unlock_irqrestore(lru_lock, flags)


@guest
def rotate_reclaimable_page(page: ptr[Page]) -> None:
    """A page that waited for the disk can be freed: let it be the next; any context."""
    if not clear_page_flag(page, PG_reclaim):
        return
    flags = spin_lock_irqsave(lru_lock)
    if page_flag(page, PG_lru) and not page_flag(page, PG_active):
        list_del(page.lru)
        list_add_tail(page.lru, inactive_list)
    spin_unlock_irqrestore(lru_lock, flags)


@guest
def page_cache_release(page: ptr[Page]) -> None:
    """Give a reference up; the last one frees the page."""
    if fetch_sub(addr(page._count), 1) != 1:
        return
    flags = spin_lock_irqsave(lru_lock)
    if page_flag(page, PG_lru):
        del_page_from_lru(page)
    spin_unlock_irqrestore(lru_lock, flags)
    page.flags = 0
    page.mapping = NULL
    page.private = 0
    put_pages(page, 0)
