# SPDX-License-Identifier: GPL-2.0-or-later
"""The swap cache: memory on its way to or from the swap area (mm/swap_state.c, do_swap_page() of mm/memory.c).

A page in the cache has PG_swapcache and its entry in Page.private; the cache holds a reference to the page and one to
its place in the area.  It gets there, and leaves, locked.  A fault that finds its page still on the way out takes it
from here; once a program has its page back the place in the area is free, so a page that is mapped is never in the
cache but while it is locked.
"""

from __future__ import annotations

from kdumpsim.compiler.lang import NULL, guest, i32, ptr, u32, usize
from kdumpsim.kernel.core.spinlock import spin_lock, spin_unlock
from kdumpsim.kernel.core.types import EEXIST, EIO, ENOMEM
from kdumpsim.kernel.mm.page_alloc import GFP_HIGHUSER, Page, __alloc_pages
from kdumpsim.kernel.mm.page_flags import (
    PG_dirty,
    PG_locked,
    PG_swapcache,
    PG_writeback,
    clear_page_flag,
    page_flag,
    set_page_flag,
    trylock_page,
    unlock_page,
)
from kdumpsim.kernel.mm.page_io import swap_readpage
from kdumpsim.kernel.mm.swap import get_page, lru_cache_add_active, page_cache_release
from kdumpsim.kernel.mm.swapfile import get_swap_page, swap_entry_free, swap_free, swap_info, swap_lock, swp_offset

total_swapcache_pages: u32 = 0
"""Pages in the cache."""


@guest
def add_to_swap_cache(page: ptr[Page], entry: usize) -> i32:
    """Enter a locked page; -EEXIST if another page is there, or nobody refers to the entry any more."""
    global total_swapcache_pages
    offset = swp_offset(entry)
    error: i32 = -EEXIST
    spin_lock(swap_lock)
    if offset < swap_info.max and swap_info.swap_map[offset] != 0 and swap_info.swap_cache[offset] == NULL:
        swap_info.swap_map[offset] += 1
        swap_info.swap_cache[offset] = page
        page.private = entry
        total_swapcache_pages += 1
        get_page(page)
        set_page_flag(page, PG_swapcache)
        error = 0
    spin_unlock(swap_lock)
    return error


@guest
def __delete_from_swap_cache(page: ptr[Page]) -> None:
    """Take a locked page out; the caller gives up the cache's reference to it.  swap_lock is held."""
    global total_swapcache_pages
    offset = swp_offset(page.private)
    swap_info.swap_cache[offset] = NULL
    total_swapcache_pages -= 1
    clear_page_flag(page, PG_swapcache | PG_dirty)
    page.private = 0
    swap_entry_free(offset)


@guest
def delete_from_swap_cache(page: ptr[Page]) -> None:
    """Take a locked page out; its place in the area is free if nobody else refers to it."""
    spin_lock(swap_lock)
    __delete_from_swap_cache(page)
    spin_unlock(swap_lock)
    page_cache_release(page)


@guest
def remove_exclusive_swap_page(page: ptr[Page], references: i32) -> bool:
    """Take a locked page out if no page table refers to it and only `references` are held; whether that was so."""
    spin_lock(swap_lock)
    exclusive = swap_info.swap_map[swp_offset(page.private)] == 1 and page._count == references
    if exclusive:
        __delete_from_swap_cache(page)
    spin_unlock(swap_lock)
    if exclusive:
        page_cache_release(page)
    return exclusive


@guest
def remove_clean_swap_page(page: ptr[Page], references: i32) -> bool:
    """Take a locked page out that is safe on the disk, if only `references` are held; whether that was so."""
    spin_lock(swap_lock)
    unused = page._count == references
    if unused:
        __delete_from_swap_cache(page)
    spin_unlock(swap_lock)
    if unused:
        page_cache_release(page)
    return unused


@guest
def add_to_swap(page: ptr[Page]) -> bool:
    """Find a place in the area for a locked page; False if swap is full."""
    entry = get_swap_page()
    if entry == 0:
        return False
    added = add_to_swap_cache(page, entry) == 0
    if added:
        set_page_flag(page, PG_dirty)
    swap_free(entry)
    return added


@guest
def lookup_swap_cache(entry: usize) -> ptr[Page]:
    """The page in the cache for an entry, with a reference, or NULL."""
    page: ptr[Page] = NULL
    spin_lock(swap_lock)
    if swp_offset(entry) < swap_info.max:
        page = swap_info.swap_cache[swp_offset(entry)]
        if page != NULL:
            get_page(page)
    spin_unlock(swap_lock)
    return page


@guest
def free_swap_and_cache(entry: usize) -> None:
    """A page table entry goes away: give its reference up, and what only the cache still holds."""
    spin_lock(swap_lock)
    page: ptr[Page] = NULL
    if swap_entry_free(swp_offset(entry)) == 1:
        page = swap_info.swap_cache[swp_offset(entry)]
        if page != NULL:
            get_page(page)
    spin_unlock(swap_lock)
    if page == NULL:
        return
    if trylock_page(page):
        if page_flag(page, PG_swapcache) and page.private == entry and not page_flag(page, PG_writeback):
            remove_exclusive_swap_page(page, 2)
        unlock_page(page)
    page_cache_release(page)


@guest
def read_swap_cache(entry: usize) -> i32:
    """Read a page of the area into a new page of the cache; -EEXIST if it is there already, -ENOMEM, -EIO."""
    page = __alloc_pages(GFP_HIGHUSER, 0)
    if page == NULL:
        return -ENOMEM
    page.flags = PG_locked
    error = add_to_swap_cache(page, entry)
    if error == 0:
        error = swap_readpage(page)
        if error != 0:
            delete_from_swap_cache(page)
            error = -EIO
    unlock_page(page)
    if error == 0:
        lru_cache_add_active(page)
    page_cache_release(page)
    return error
