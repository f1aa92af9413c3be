# SPDX-License-Identifier: GPL-2.0-or-later
"""User address spaces and their regions (include/linux/{sched,mm}.h, mm/mmap.c of 2.6.16, much reduced).

There is no fork and there are no threads: each address space belongs to one task, and each page of it is mapped once.
All user pages are anonymous; a program's text and data are read from its file when it starts.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, addr, cast, fetch_add, fn, guest, i32, placed, ptr, sizeof, u32, usize
from kdumpsim.kernel.architecture import PAGE_OFFSET, PAGE_SHIFT, pgd_alloc, pgd_free
from kdumpsim.kernel.core.init_task import init_mm
from kdumpsim.kernel.core.list import list_add_tail, list_del
from kdumpsim.kernel.core.spinlock import Spinlock, spin_lock, spin_lock_init, spin_unlock
from kdumpsim.kernel.core.types import ENOMEM
from kdumpsim.kernel.fs.file_types import File
from kdumpsim.kernel.fs.files import fput
from kdumpsim.kernel.mm.mm_types import MmStruct, VmAreaStruct
from kdumpsim.kernel.mm.slab import kfree, kmem_cache_create, kmem_cache_zalloc
from kdumpsim.kernel.mm.slab_types import KmemCache

TASK_SIZE: Final = PAGE_OFFSET
"""User addresses are below."""


mmlist_lock: Spinlock = Spinlock(slock=1)
"""Guards the list of all address spaces, whose head is in init_mm, for who looks for memory to take."""


mm_cachep: ptr[KmemCache] = NULL
vm_area_cachep: ptr[KmemCache] = NULL


@guest
def vma_init() -> i32:
    """Make the caches of address spaces and of their regions."""
    global mm_cachep, vm_area_cachep
    mm_cachep = kmem_cache_create("mm_struct", sizeof(MmStruct))
    vm_area_cachep = kmem_cache_create("vm_area_struct", sizeof(VmAreaStruct))
    return 0


_init_vma: fn[[], i32] = placed("initcall1", vma_init)


@guest
def vma_set_file(vma: ptr[VmAreaStruct], file: ptr[File], pgoff: u32) -> None:
    """Say what a region is read from; the file stays open as long as the region is there.  NULL: from nothing."""
    if file != NULL:
        fetch_add(addr(file.f_count), 1)
    vma.vm_file = file
    vma.vm_pgoff = pgoff


@guest
def mm_alloc() -> ptr[MmStruct]:
    """An empty address space, or NULL."""
    mm = cast(ptr[MmStruct], kmem_cache_zalloc(mm_cachep))
    if mm == NULL:
        return NULL
    mm.pgd = pgd_alloc()
    if mm.pgd == NULL:
        kfree(mm)
        return NULL
    spin_lock_init(mm.page_table_lock)
    mm.mm_users = 1
    spin_lock(mmlist_lock)
    list_add_tail(mm.mmlist, init_mm.mmlist)
    spin_unlock(mmlist_lock)
    return mm


@guest
def mm_free(mm: ptr[MmStruct]) -> None:
    """Free an address space that has no pages any more."""
    while mm.mmap != NULL:
        vma = mm.mmap
        mm.mmap = vma.vm_next
        if vma.vm_file != NULL:
            fput(vma.vm_file)
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
def find_vma(mm: ptr[MmStruct], address: usize) -> ptr[VmAreaStruct]:
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
    area = cast(ptr[VmAreaStruct], kmem_cache_zalloc(vm_area_cachep))
    if area == NULL:
        return -ENOMEM
    area.vm_mm = mm
    area.vm_start = start
    area.vm_end = end
    area.vm_flags = flags
    spin_lock(mm.page_table_lock)
    place: ptr[ptr[VmAreaStruct]] = addr(mm.mmap)
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
