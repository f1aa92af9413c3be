# SPDX-License-Identifier: GPL-2.0-or-later
"""Page tables of user address spaces (include/asm-i386/{pgtable,pgalloc,mmu_context,tlbflush}.h).

A page directory's upper quarter is a copy of the kernel's, which does not change once the kernel is up.  Kernel threads
and idle run on init_mm, so that an address space is loaded only where its task runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kdumpsim.compiler.lang import (
    NULL,
    Struct,
    addr,
    array,
    cast,
    fetch_and,
    fetch_or,
    guest,
    length,
    load_volatile,
    ptr,
    u32,
    usize,
    void,
)
from kdumpsim.kernel.arch.i386.page import PAGE_MASK, PAGE_SHIFT, pa, va
from kdumpsim.kernel.arch.i386.pgtable_types import (
    KERNEL_PGD,
    PAGE_ACCESSED,
    PAGE_DIRTY,
    PAGE_PRESENT,
    PAGE_RW,
    PAGE_USER,
    PGDIR_SHIFT,
    PTRS_PER_PTE,
)
from kdumpsim.kernel.arch.i386.processor import invlpg, write_cr3
from kdumpsim.kernel.arch.i386.smp import smp_call_function
from kdumpsim.kernel.arch.i386.thread_info import smp_processor_id
from kdumpsim.kernel.core.config import NR_CPUS
from kdumpsim.kernel.core.init_task import init_mm
from kdumpsim.kernel.core.spinlock import preempt_disable, preempt_enable
from kdumpsim.kernel.mm.page_alloc import free_pages, get_zeroed_page

if TYPE_CHECKING:
    from kdumpsim.kernel.mm.mm_types import MmStruct

PAGE_TABLE: Final = PAGE_PRESENT | PAGE_RW | PAGE_USER | PAGE_ACCESSED | PAGE_DIRTY
"""Directory entries of user page tables; the rights are in the page table entries."""

cpu_active_mm: array[ptr[MmStruct]] = length(NR_CPUS)
"""Whose page directory each CPU has loaded; NULL until its first switch, which finds the kernel's own."""


class TlbFlush(Struct):
    """What flush_tlb_page() asks of the other CPUs."""

    mm: ptr[MmStruct]
    address: usize


@guest
def pgd_alloc() -> ptr[u32]:
    """A page directory that shows the kernel and nothing else; NULL without memory."""
    pgd = cast(ptr[u32], get_zeroed_page())
    if pgd != NULL:
        for i in range(KERNEL_PGD, PTRS_PER_PTE):
            pgd[i] = init_mm.pgd[i]
    return pgd


@guest
def pgd_free(pgd: ptr[u32]) -> None:
    """Free a page directory and its page tables; the pages must be gone."""
    for i in range(KERNEL_PGD):
        if pgd[i] & PAGE_PRESENT:
            free_pages(cast(ptr[void], va(pgd[i] & PAGE_MASK)), 0)
    free_pages(pgd, 0)


@guest
def pte_offset(pgd: ptr[u32], address: usize) -> ptr[u32]:
    """The page table entry of an address, or NULL where there is no page table."""
    entry = pgd[address >> PGDIR_SHIFT]
    if entry & PAGE_PRESENT == 0:
        return NULL
    return cast(ptr[u32], va(entry & PAGE_MASK)) + (address >> PAGE_SHIFT & (PTRS_PER_PTE - 1))


@guest
def pte_alloc(mm: ptr[MmStruct], address: usize) -> ptr[u32]:
    """pte_offset() that makes a page table where there is none; only for the space's own task.  NULL without memory."""
    pte = pte_offset(mm.pgd, address)
    if pte == NULL:
        table = get_zeroed_page()
        if table == NULL:
            return NULL
        mm.pgd[address >> PGDIR_SHIFT] = pa(u32(table)) | PAGE_TABLE
        pte = pte_offset(mm.pgd, address)
    return pte


@guest
def switch_mm(mm: ptr[MmStruct]) -> None:
    """Load an address space on this CPU, or the kernel's own for NULL; preemption is off."""
    cpu = smp_processor_id()
    old = cpu_active_mm[cpu]
    if mm == NULL:
        mm = init_mm
    if old == mm:
        return
    cpu_active_mm[cpu] = mm
    fetch_or(addr(mm.cpu_vm_mask), u32(1) << cpu)
    write_cr3(pa(u32(mm.pgd)))
    if old != NULL:
        fetch_and(addr(old.cpu_vm_mask), ~(u32(1) << cpu))


@guest
def flush_tlb_local(info: ptr[void]) -> None:
    """Forget one translation, if this CPU runs the address space."""
    flush = cast(ptr[TlbFlush], info)
    if cpu_active_mm[smp_processor_id()] == flush.mm:
        invlpg(flush.address)


@guest
def flush_tlb_kernel_local(info: ptr[void]) -> None:
    """Forget one translation."""
    invlpg(u32(info))


@guest
def flush_tlb_kernel_page(address: usize) -> None:
    """Forget the translation of one of the kernel's pages everywhere; interrupts are on."""
    preempt_disable()
    invlpg(address)
    smp_call_function(flush_tlb_kernel_local, cast(ptr[void], address), True)
    preempt_enable()


@guest
def flush_tlb_page(mm: ptr[MmStruct], address: usize) -> None:
    """Forget the translation of one page wherever it is loaded; interrupts are on."""
    flush: TlbFlush = TlbFlush()
    flush.mm = mm
    flush.address = address
    preempt_disable()
    flush_tlb_local(flush)
    if load_volatile(addr(mm.cpu_vm_mask)) & ~(u32(1) << smp_processor_id()) != 0:
        smp_call_function(flush_tlb_local, flush, True)
    preempt_enable()
