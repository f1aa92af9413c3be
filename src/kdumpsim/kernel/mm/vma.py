# SPDX-License-Identifier: GPL-2.0-or-later
"""User address spaces and their regions (include/linux/{sched,mm}.h, mm/mmap.c of 2.6.16, much reduced).

There is no fork and there are no threads: each address space belongs to one task, and each page of it is mapped once.
All user pages are anonymous; a program's text and data are read from its file when it starts.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, addr, cast, guest, i32, ptr, sizeof, u32, usize
from kdumpsim.kernel.architecture import PAGE_OFFSET, PAGE_SHIFT, pgd_alloc, pgd_free
from kdumpsim.kernel.core.list import init_list_head, list_add_tail, list_del
from kdumpsim.kernel.core.spinlock import Spinlock, spin_lock, spin_lock_init, spin_unlock
from kdumpsim.kernel.core.types import ENOMEM, ListHead
from kdumpsim.kernel.mm.mm_types import MmStruct, VmArea
from kdumpsim.kernel.mm.slab import kfree, kzalloc

TASK_SIZE: Final = PAGE_OFFSET
"""User addresses are below."""


mmlist_head: ListHead = ListHead()
"""All address spaces, for who looks for memory to take."""
mmlist_lock: Spinlock = Spinlock(slock=1)


@guest
def mm_alloc() -> ptr[MmStruct]:
    """An empty address space, or NULL."""
    mm = cast(ptr[MmStruct], kzalloc(sizeof(MmStruct)))
    if mm == NULL:
        return NULL
    mm.pgd = pgd_alloc()
    if mm.pgd == NULL:
        kfree(mm)
        return NULL
    spin_lock_init(mm.page_table_lock)
    mm.mm_users = 1
    spin_lock(mmlist_lock)
    if mmlist_head.next == NULL:
        init_list_head(mmlist_head)
    list_add_tail(mm.mmlist, mmlist_head)
    spin_unlock(mmlist_lock)
    return mm


@guest
def mm_free(mm: ptr[MmStruct]) -> None:
    """Free an address space that has no pages any more."""
    while mm.mmap != NULL:
        vma = mm.mmap
        mm.mmap = vma.vm_next
        kfree(vma)
    pgd_free(mm.pgd)
    kfree(mm)


@guest
def unlink_mm(mm: ptr[MmStruct]) -> None:
    """Take an address space off the list of all."""
    spin_lock(mmlist_lock)
    list_del(mm.mmlist)
    spin_unlock(mmlist_lock)


@guest
def find_vma(mm: ptr[MmStruct], address: usize) -> ptr[VmArea]:
    """The first region that ends above `address`, or NULL; `address` may lie before it."""
    vma = mm.mmap
    while vma != NULL and vma.vm_end <= address:
        vma = vma.vm_next
    return vma


@guest
def insert_vma(mm: ptr[MmStruct], start: usize, end: usize, flags: u32) -> i32:
    """Add a region; -ENOMEM without memory, or where there is one already or no room for users."""
    if start >= end or end > TASK_SIZE:
        return -ENOMEM
    area = cast(ptr[VmArea], kzalloc(sizeof(VmArea)))
    if area == NULL:
        return -ENOMEM
    area.vm_mm = mm
    area.vm_start = start
    area.vm_end = end
    area.vm_flags = flags
    spin_lock(mm.page_table_lock)
    place: ptr[ptr[VmArea]] = addr(mm.mmap)
    while place[0] != NULL and place[0].vm_end <= start:
        place = addr(place[0].vm_next)
    free = place[0] == NULL or place[0].vm_start >= end
    if free:
        area.vm_next = place[0]
        place[0] = area
        mm.total_vm += (end - start) >> PAGE_SHIFT
    spin_unlock(mm.page_table_lock)
    if not free:
        kfree(area)
        return -ENOMEM
    return 0
