# SPDX-License-Identifier: GPL-2.0-or-later
"""Pages of user address spaces (mm/memory.c of 2.6.16, much reduced): demand zero, mapping, unmapping."""

from __future__ import annotations

from kdumpsim.compiler.lang import NULL, addr, fetch_add, fetch_sub, guest, ptr, u32, usize
from kdumpsim.kernel.architecture import PAGE_PRESENT, PAGE_SIZE, flush_tlb_page, pte_alloc, pte_offset
from kdumpsim.kernel.core.spinlock import spin_lock, spin_unlock
from kdumpsim.kernel.core.string import memset
from kdumpsim.kernel.mm.anon import page_add_anon_rmap
from kdumpsim.kernel.mm.mm_types import VM_FAULT_MINOR, VM_FAULT_OOM, MmStruct, VmAreaStruct
from kdumpsim.kernel.mm.page_alloc import GFP_HIGHUSER, Page, __alloc_pages, page_address
from kdumpsim.kernel.mm.pgtable import mk_pte, pte_page
from kdumpsim.kernel.mm.swap import lru_cache_add_active, page_cache_release
from kdumpsim.kernel.mm.swap_fault import do_swap_page
from kdumpsim.kernel.mm.swap_state import free_swap_and_cache
from kdumpsim.kernel.mm.vma import mm_free, unlink_mm


@guest
def alloc_user_page(mm: ptr[MmStruct], address: usize) -> ptr[Page]:
    """A zeroed page for a user address, or NULL."""
    page = __alloc_pages(GFP_HIGHUSER, 0)
    if page == NULL:
        return NULL
    memset(page_address(page), 0, PAGE_SIZE)
    page.flags = 0
    page_add_anon_rmap(page, mm, address)
    return page


@guest
def free_user_page(page: ptr[Page]) -> None:
    """Give back a user's page that is mapped no more."""
    page.mapping = NULL
    page_cache_release(page)


@guest
def do_anonymous_page(mm: ptr[MmStruct], vma: ptr[VmAreaStruct], address: usize, pte: ptr[u32]) -> u32:
    """The first touch of an anonymous page."""
    page = alloc_user_page(mm, address)
    if page == NULL:
        return VM_FAULT_OOM
    spin_lock(mm.page_table_lock)
    due = pte[0] == 0
    if due:
        pte[0] = mk_pte(page, vma.vm_flags)
        mm.rss += 1
    spin_unlock(mm.page_table_lock)
    if due:
        lru_cache_add_active(page)
    else:
        free_user_page(page)
    return VM_FAULT_MINOR


@guest
def handle_mm_fault(mm: ptr[MmStruct], vma: ptr[VmAreaStruct], address: usize, write: bool) -> u32:
    """Make an address of a region accessible, whose rights allow the access; a VM_FAULT_ code."""
    pte = pte_alloc(mm, address)
    if pte == NULL:
        return VM_FAULT_OOM
    entry = pte[0]
    if entry & PAGE_PRESENT:
        # Somebody else's change of the entry came between: the old translation must go.
        flush_tlb_page(mm, address)
        return VM_FAULT_MINOR
    if entry == 0:
        return do_anonymous_page(mm, vma, address, pte)
    return do_swap_page(mm, vma, address, pte, entry)


@guest
def get_user_page(mm: ptr[MmStruct], vma: ptr[VmAreaStruct], address: usize) -> ptr[Page]:
    """The page at an address of a region, made if need be; for filling a space nobody runs in yet.  NULL: no memory."""
    pte = pte_offset(mm.pgd, address)
    if pte == NULL or pte[0] & PAGE_PRESENT == 0:
        if handle_mm_fault(mm, vma, address, True) == VM_FAULT_OOM:
            return NULL
        pte = pte_offset(mm.pgd, address)
    return pte_page(pte[0])


@guest
def zap_page_range(mm: ptr[MmStruct], start: usize, end: usize) -> None:
    """Unmap and free the pages between two page addresses."""
    address = start
    while address < end:
        pte = pte_offset(mm.pgd, address)
        if pte == NULL:
            address = (address | 0x3F_FFFF) + 1
            if address == 0:
                return
            continue
        spin_lock(mm.page_table_lock)
        entry = pte[0]
        pte[0] = 0
        if entry & PAGE_PRESENT:
            mm.rss -= 1
        spin_unlock(mm.page_table_lock)
        if entry & PAGE_PRESENT:
            flush_tlb_page(mm, address)
            free_user_page(pte_page(entry))
        elif entry != 0:
            free_swap_and_cache(entry)
        address += PAGE_SIZE


@guest
def exit_mmap(mm: ptr[MmStruct]) -> None:
    """Free all pages of an address space."""
    vma = mm.mmap
    while vma != NULL:
        zap_page_range(mm, vma.vm_start, vma.vm_end)
        vma = vma.vm_next


@guest
def mmget(mm: ptr[MmStruct]) -> None:
    """Keep an address space from going away; mmlist_lock is held, or it is one's own."""
    fetch_add(addr(mm.mm_users), 1)


@guest
def mmput(mm: ptr[MmStruct]) -> None:
    """Give an address space back; the last one frees it.  NULL is nothing."""
    if mm != NULL and fetch_sub(addr(mm.mm_users), 1) == 1:
        unlink_mm(mm)
        exit_mmap(mm)
        mm_free(mm)
