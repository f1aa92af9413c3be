# SPDX-License-Identifier: GPL-2.0-or-later
"""Turning swap off, as a shutdown does (try_to_unuse() and sys_swapoff() of mm/swapfile.c).

2.6.16 goes through the area and looks for the page tables that refer to each of its pages; this goes through the
page tables once and brings back what they refer to, which needs far fewer looks.
"""

from __future__ import annotations

from kdumpsim.compiler.lang import NULL, addr, container_of, guest, i32, load_volatile, ptr
from kdumpsim.kernel.architecture import PAGE_PRESENT, PAGE_SIZE, pte_offset
from kdumpsim.kernel.core.init_task import init_mm
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.sched import set_current_state
from kdumpsim.kernel.core.sched_types import TASK_UNINTERRUPTIBLE
from kdumpsim.kernel.core.spinlock import spin_lock, spin_unlock
from kdumpsim.kernel.core.timer import schedule_timeout
from kdumpsim.kernel.core.types import EINVAL, EIO, ENOMEM, ListHead
from kdumpsim.kernel.mm.memory import mmput
from kdumpsim.kernel.mm.mm_types import VM_FAULT_OOM, VM_FAULT_SIGBUS, MmStruct, VmAreaStruct
from kdumpsim.kernel.mm.page_flags import (
    PG_swapcache,
    PG_writeback,
    lock_page,
    page_flag,
    unlock_page,
    wait_on_page_bit,
)
from kdumpsim.kernel.mm.rmap import mmget_unless_zero
from kdumpsim.kernel.mm.slab import kfree
from kdumpsim.kernel.mm.swap import page_cache_release
from kdumpsim.kernel.mm.swap_fault import do_swap_page
from kdumpsim.kernel.mm.swap_state import delete_from_swap_cache, lookup_swap_cache
from kdumpsim.kernel.mm.swapfile import swap_info, swap_lock, swp_entry
from kdumpsim.kernel.mm.vma import mmlist_lock
from kdumpsim.kernel.mm.vmalloc import vfree
from kdumpsim.kernel.mm.vmscan import stop_kswapd


@guest
def next_mm(mm: ptr[MmStruct]) -> ptr[MmStruct]:
    """The next address space of all, or the first: kept from going away, while this one is let go.  NULL at the end."""
    found: ptr[MmStruct] = NULL
    spin_lock(mmlist_lock)
    entry: ptr[ListHead] = init_mm.mmlist.next if mm == NULL else mm.mmlist.next
    while entry != NULL and entry != addr(init_mm.mmlist):
        candidate: ptr[MmStruct] = container_of(entry, MmStruct, "mmlist")
        if mmget_unless_zero(candidate):
            found = candidate
            break
        entry = entry.next
    spin_unlock(mmlist_lock)
    mmput(mm)
    return found


@guest
def unuse_vma(mm: ptr[MmStruct], vma: ptr[VmAreaStruct]) -> i32:
    """Bring back what is swapped out of a region."""
    address = vma.vm_start
    while address < vma.vm_end:
        pte = pte_offset(mm.pgd, address)
        if pte != NULL:
            entry = load_volatile(pte)
            if entry != 0 and entry & PAGE_PRESENT == 0:
                fault = do_swap_page(mm, vma, address, pte, entry)
                if fault == VM_FAULT_OOM:
                    return -ENOMEM
                if fault == VM_FAULT_SIGBUS:
                    return -EIO
        address += PAGE_SIZE
    return 0


@guest
def unuse_all() -> i32:
    """Bring back what is swapped out of all address spaces."""
    error: i32 = 0
    mm = next_mm(NULL)
    while mm != NULL:
        vma = mm.mmap
        while vma != NULL and error == 0:
            error = unuse_vma(mm, vma)
            vma = vma.vm_next
        if error != 0:
            mmput(mm)
            return error
        mm = next_mm(mm)
    return 0


@guest
def drop_swap_cache() -> None:
    """Free the places in the area that only the swap cache holds, waiting for pages that others have locked."""
    for offset in range(1, swap_info.max):
        page = lookup_swap_cache(swp_entry(offset))
        if page == NULL:
            continue
        lock_page(page)
        wait_on_page_bit(page, PG_writeback)
        if page_flag(page, PG_swapcache) and page.private == swp_entry(offset) and swap_info.swap_map[offset] == 1:
            delete_from_swap_cache(page)
        unlock_page(page)
        page_cache_release(page)


@guest
def try_to_unuse() -> i32:
    """Empty the area: 0, -ENOMEM if memory cannot hold it all, or -EIO."""
    while load_volatile(addr(swap_info.inuse_pages)) != 0:
        error = unuse_all()
        if error != 0:
            return error
        drop_swap_cache()
        if load_volatile(addr(swap_info.inuse_pages)) != 0:
            set_current_state(TASK_UNINTERRUPTIBLE)
            schedule_timeout(1)
    return 0


@guest
def swapoff() -> i32:
    """Bring everything back into memory and use the area no more; -EINVAL if there is none."""
    if swap_info.bdev == NULL or not swap_info.writeok:
        return -EINVAL
    swap_info.writeok = False
    error = try_to_unuse()
    if error != 0:
        swap_info.writeok = True
        printk(f"<4>swapoff: error {-error}\n")
        return error
    stop_kswapd()
    spin_lock(swap_lock)
    counts = swap_info.swap_map
    cache = swap_info.swap_cache
    swap_info.max = 0
    swap_info.pages = 0
    swap_info.bdev = NULL
    spin_unlock(swap_lock)
    vfree(counts)
    kfree(cache)
    return 0
