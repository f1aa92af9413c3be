# SPDX-License-Identifier: GPL-2.0-or-later
"""The page below each kernel stack is not mapped (LKDTT paper, section 5.2.1, "Stack guarding").

The linear map is made of small pages for it, as with CONFIG_DEBUG_PAGEALLOC, whose kernel_map_pages() unmaps single
ones (arch/i386/mm/pageattr.c of 2.6.16).  A stack that runs over faults at once, and since the fault's frame would go
to the same page, that is a double fault.  Frames of more than a page can step over the guard.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdumpsim.compiler.lang import guest, ptr, u8, u32, usize
from kdumpsim.kernel.arch.i386.head import init_stack_room, init_thread_union, swapper_pg_dir
from kdumpsim.kernel.arch.i386.irq import IRQ_STACKS, hardirq_stack, softirq_stack
from kdumpsim.kernel.arch.i386.page import PAGE_SIZE
from kdumpsim.kernel.arch.i386.pgtable import flush_tlb_kernel_page, pte_offset
from kdumpsim.kernel.arch.i386.pgtable_types import PAGE_PRESENT
from kdumpsim.kernel.arch.i386.private_stacks import crash_stack, doublefault_stacks, nmi_stack
from kdumpsim.kernel.arch.i386.thread_info import stack_of_cpu
from kdumpsim.kernel.core.config import CRASH_STACKS, NMI_STACKS, NR_CPUS, STACK_GUARD, THREAD_SIZE
from kdumpsim.kernel.core.panic import panic

if TYPE_CHECKING:
    from kdumpsim.kernel.arch.i386.thread_info import ThreadInfo


@guest
def kernel_map_page(address: usize, enable: bool) -> None:
    """Map a page of the linear map, or unmap it everywhere; to unmap one, interrupts are on once other CPUs are."""
    pte = pte_offset(swapper_pg_dir, address)
    if enable:
        pte[0] |= PAGE_PRESENT
    else:
        pte[0] &= ~PAGE_PRESENT
        flush_tlb_kernel_page(address)


@guest
def guard_stack(stack: ptr[ThreadInfo]) -> None:
    """Unmap the page below a stack."""
    kernel_map_page(u32(stack) - PAGE_SIZE, False)


@guest
def unguard_stack(stack: ptr[ThreadInfo]) -> None:
    """Map the page below a stack again, before it is given back."""
    kernel_map_page(u32(stack) - PAGE_SIZE, True)


@guest
def guard_stacks(stacks: ptr[u8]) -> None:
    """Unmap the page below each stack of an array of all CPUs'."""
    for cpu in range(NR_CPUS):
        guard_stack(stack_of_cpu(stacks, cpu))


@guest
def guard_static_stacks() -> None:
    """Unmap the pages below the stacks that are part of the kernel; the boot CPU's alone."""
    if not STACK_GUARD:
        return
    if u32(init_stack_room) + THREAD_SIZE != u32(init_thread_union):
        panic("the boot CPU's stack has no room below it")
    kernel_map_page(u32(init_thread_union) - PAGE_SIZE, False)
    if IRQ_STACKS:
        guard_stacks(softirq_stack)
        guard_stacks(hardirq_stack)
    if CRASH_STACKS:
        guard_stacks(crash_stack)
        guard_stacks(doublefault_stacks)
    if NMI_STACKS:
        guard_stacks(nmi_stack)
