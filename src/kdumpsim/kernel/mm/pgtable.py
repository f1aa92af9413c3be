# SPDX-License-Identifier: GPL-2.0-or-later
"""Page table entries of users' pages (include/asm-i386/pgtable.h)."""

from __future__ import annotations

from kdumpsim.compiler.lang import guest, ptr, u32
from kdumpsim.kernel.architecture import PAGE_ACCESSED, PAGE_PRESENT, PAGE_RW, PAGE_SHIFT, PAGE_USER
from kdumpsim.kernel.mm.mm_types import VM_WRITE
from kdumpsim.kernel.mm.page_alloc import Page, page_to_phys, pfn_to_page


@guest
def pte_page(entry: u32) -> ptr[Page]:
    """The Page a present page table entry shows."""
    return pfn_to_page(entry >> PAGE_SHIFT)


@guest
def mk_pte(page: ptr[Page], vma_flags: u32) -> u32:
    """The page table entry of a page in a region with these rights; x86 cannot forbid execution here."""
    entry = u32(page_to_phys(page)) | PAGE_PRESENT | PAGE_USER | PAGE_ACCESSED
    return entry | PAGE_RW if vma_flags & VM_WRITE else entry
