# SPDX-License-Identifier: GPL-2.0-or-later
"""The heap: brk (mm/mmap.c)."""

from __future__ import annotations

from kdumpsim.compiler.lang import NULL, guest, i32, placed, ptr, usize
from kdumpsim.kernel.architecture import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, PtRegs, current
from kdumpsim.kernel.core.spinlock import spin_lock, spin_unlock
from kdumpsim.kernel.core.syscalls import NR_brk, Syscall
from kdumpsim.kernel.mm.memory import zap_page_range
from kdumpsim.kernel.mm.mm_types import VM_READ, VM_WRITE, MmStruct, VmAreaStruct
from kdumpsim.kernel.mm.vma import insert_vma


@guest
def page_up(address: usize) -> usize:
    """Round up to a page."""
    return (address + PAGE_SIZE - 1) & PAGE_MASK


@guest
def heap_vma(mm: ptr[MmStruct], start: usize) -> ptr[VmAreaStruct]:
    """The heap's region, or NULL if there never was a heap."""
    vma = mm.mmap
    while vma != NULL and vma.vm_start != start:
        vma = vma.vm_next
    return vma


@guest
def set_heap(mm: ptr[MmStruct], old_end: usize, end: usize) -> bool:
    """Give the heap's region another page-aligned end; whether it could be done."""
    start = page_up(mm.start_brk)
    vma: ptr[VmAreaStruct] = heap_vma(mm, start)
    if vma == NULL:
        return insert_vma(mm, start, end, VM_READ | VM_WRITE) == 0
    if vma.vm_next != NULL and end > vma.vm_next.vm_start:
        return False
    if end < old_end:
        zap_page_range(mm, end, old_end)
    spin_lock(mm.page_table_lock)
    mm.total_vm += (end >> PAGE_SHIFT) - (old_end >> PAGE_SHIFT)
    vma.vm_end = end
    spin_unlock(mm.page_table_lock)
    return True


@guest
def sys_brk(regs: ptr[PtRegs]) -> i32:
    """brk(address): move the end of the heap; the answer is where it is now, moved or not."""
    mm = current().mm
    brk = regs.ebx
    if brk >= mm.start_brk and brk < mm.start_stack:
        if page_up(brk) == page_up(mm.brk) or set_heap(mm, page_up(mm.brk), page_up(brk)):
            mm.brk = brk
    return i32(mm.brk)


_syscall_brk: Syscall = placed("syscalls", Syscall(nr=NR_brk, call=sys_brk))
