# SPDX-License-Identifier: GPL-2.0-or-later
"""From a page to the page table entry that shows it (mm/rmap.c; here every page is mapped once at most).

Page.mapping is the address space (anon.py) and Page.index the address.  An address space may go away while somebody
looks for it from a page, so it is looked up in the list of all before it is believed in.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import (
    NULL,
    addr,
    cmpxchg,
    fetch_and,
    guest,
    list_for_each_entry,
    load_volatile,
    ptr,
    u32,
    xchg,
)
from kdumpsim.kernel.architecture import PAGE_ACCESSED, PAGE_PRESENT, PAGE_SHIFT, flush_tlb_page, pte_offset
from kdumpsim.kernel.core.init_task import init_mm
from kdumpsim.kernel.core.spinlock import spin_lock, spin_unlock
from kdumpsim.kernel.mm.anon import page_anon_mm
from kdumpsim.kernel.mm.memory import mmput
from kdumpsim.kernel.mm.mm_types import MmStruct
from kdumpsim.kernel.mm.page_alloc import Page, page_to_pfn
from kdumpsim.kernel.mm.swap import page_cache_release
from kdumpsim.kernel.mm.swapfile import swap_duplicate
from kdumpsim.kernel.mm.vma import mmlist_lock

SWAP_SUCCESS: Final = 0
SWAP_AGAIN: Final = 1
"""Its address space is going away, or the page is being put in somewhere just now."""
SWAP_FAIL: Final = 2
"""It is in use."""


@guest
def mmget_unless_zero(mm: ptr[MmStruct]) -> bool:
    """Keep an address space from going away, unless it already is; mmlist_lock is held."""
    while True:
        users = load_volatile(addr(mm.mm_users))
        if users == 0:
            return False
        if cmpxchg(addr(mm.mm_users), users, users + 1) == users:
            return True


@guest
def page_get_mm(page: ptr[Page]) -> ptr[MmStruct]:
    """The address space that maps a page, for mmput(); NULL if none does or it is going away."""
    mapping = page_anon_mm(page)
    if mapping == NULL:
        return NULL
    found: ptr[MmStruct] = NULL
    spin_lock(mmlist_lock)
    for mm in list_for_each_entry(init_mm.mmlist, MmStruct, "mmlist"):
        if mm == mapping:
            if mmget_unless_zero(mm):
                found = mm
            break
    spin_unlock(mmlist_lock)
    return found


@guest
def page_check_address(page: ptr[Page], mm: ptr[MmStruct]) -> ptr[u32]:
    """The entry that shows a page, with page_table_lock taken; NULL, and no lock, if there is none."""
    pte = pte_offset(mm.pgd, page.index)
    if pte == NULL:
        return NULL
    spin_lock(mm.page_table_lock)
    entry = load_volatile(pte)
    if entry & PAGE_PRESENT and entry >> PAGE_SHIFT == page_to_pfn(page) and page_anon_mm(page) == mm:
        return pte
    spin_unlock(mm.page_table_lock)
    return NULL


@guest
def page_referenced(page: ptr[Page]) -> bool:
    """Whether a page was accessed since the last time somebody asked, or is part of a program that is being loaded.

    The CPUs keep their translations: what they do not load anew does not count as an access.
    """
    mm = page_get_mm(page)
    if mm == NULL:
        return False
    if mm.start_stack == 0:
        mmput(mm)
        return True
    referenced = False
    pte = page_check_address(page, mm)
    if pte != NULL:
        referenced = fetch_and(pte, ~PAGE_ACCESSED) & PAGE_ACCESSED != 0
        spin_unlock(mm.page_table_lock)
    mmput(mm)
    return referenced


@guest
def try_to_unmap_one(page: ptr[Page], mm: ptr[MmStruct]) -> u32:
    """Put the swap entry of a locked page of the swap cache in the place of the page."""
    pte = page_check_address(page, mm)
    if pte == NULL:
        return SWAP_AGAIN
    if pte[0] & PAGE_ACCESSED:
        spin_unlock(mm.page_table_lock)
        return SWAP_FAIL
    swap_duplicate(page.private)
    xchg(pte, u32(page.private))
    flush_tlb_page(mm, page.index)
    mm.rss -= 1
    page.mapping = NULL
    spin_unlock(mm.page_table_lock)
    page_cache_release(page)
    return SWAP_SUCCESS


@guest
def try_to_unmap(page: ptr[Page]) -> u32:
    """Take a locked page of the swap cache away from its address space; the caller has a reference."""
    if page.mapping == NULL:
        return SWAP_SUCCESS
    mm = page_get_mm(page)
    if mm == NULL:
        return SWAP_AGAIN
    result = try_to_unmap_one(page, mm)
    mmput(mm)
    return result
