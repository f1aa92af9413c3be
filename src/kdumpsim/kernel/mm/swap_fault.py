# SPDX-License-Identifier: GPL-2.0-or-later
"""A program touches a page that was swapped out (do_swap_page() of mm/memory.c)."""

from __future__ import annotations

from kdumpsim.compiler.lang import NULL, guest, load_volatile, ptr, u32, usize
from kdumpsim.kernel.core.spinlock import spin_lock, spin_unlock
from kdumpsim.kernel.core.types import EIO, ENOMEM
from kdumpsim.kernel.mm.anon import page_add_anon_rmap
from kdumpsim.kernel.mm.mm_types import (
    VM_FAULT_MAJOR,
    VM_FAULT_MINOR,
    VM_FAULT_OOM,
    VM_FAULT_SIGBUS,
    MmStruct,
    VmAreaStruct,
)
from kdumpsim.kernel.mm.page_alloc import Page
from kdumpsim.kernel.mm.page_flags import (
    PG_swapcache,
    PG_writeback,
    lock_page,
    page_flag,
    unlock_page,
    wait_on_page_bit,
)
from kdumpsim.kernel.mm.pgtable import mk_pte
from kdumpsim.kernel.mm.swap import get_page, page_cache_release
from kdumpsim.kernel.mm.swap_state import delete_from_swap_cache, lookup_swap_cache, read_swap_cache
from kdumpsim.kernel.mm.swapfile import swap_free


@guest
def map_swapped_page(mm: ptr[MmStruct], vma: ptr[VmAreaStruct], address: usize, pte: ptr[u32], page: ptr[Page]) -> None:
    """Show a locked page of the swap cache to its program again; its place in the swap area becomes free."""
    entry = page.private
    spin_lock(mm.page_table_lock)
    due = pte[0] == entry
    if due:
        get_page(page)
        page_add_anon_rmap(page, mm, address)
        pte[0] = mk_pte(page, vma.vm_flags)
        mm.rss += 1
    spin_unlock(mm.page_table_lock)
    if due:
        swap_free(entry)
        delete_from_swap_cache(page)


@guest
def do_swap_page(mm: ptr[MmStruct], vma: ptr[VmAreaStruct], address: usize, pte: ptr[u32], entry: u32) -> u32:
    """Bring a page back, from the swap cache or the disk; a VM_FAULT_ code.

    The space's own task and swapoff may both come here; who finds the entry changed has nothing left to do.
    """
    fault: u32 = VM_FAULT_MINOR
    page = lookup_swap_cache(entry)
    while page == NULL:
        error = read_swap_cache(entry)
        if error == -ENOMEM:
            return VM_FAULT_OOM
        if error == -EIO:
            return VM_FAULT_SIGBUS
        if load_volatile(pte) != entry:
            return VM_FAULT_MINOR
        fault = VM_FAULT_MAJOR
        page = lookup_swap_cache(entry)
    lock_page(page)
    wait_on_page_bit(page, PG_writeback)
    if page_flag(page, PG_swapcache) and page.private == entry:
        map_swapped_page(mm, vma, address, pte, page)
    unlock_page(page)
    page_cache_release(page)
    return fault
