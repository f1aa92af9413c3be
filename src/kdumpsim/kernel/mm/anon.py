# SPDX-License-Identifier: GPL-2.0-or-later
"""Which address space a user's page belongs to (PageAnon() of include/linux/mm.h, page_add_anon_rmap() of mm/rmap.c).

Linux 2.6.16 keeps an anon_vma there, since several processes may share a page; here a page has one address space.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, cast, guest, ptr, usize, void
from kdumpsim.kernel.architecture import PAGE_MASK
from kdumpsim.kernel.mm.mm_types import MmStruct
from kdumpsim.kernel.mm.page_alloc import Page

PAGE_MAPPING_ANON: Final = 1
"""Bit of Page.mapping: the rest of it is the address of an address space; dump tools leave such pages out."""


@guest
def page_add_anon_rmap(page: ptr[Page], mm: ptr[MmStruct], address: usize) -> None:
    """A page is shown at a user address from now on."""
    page.index = address & PAGE_MASK
    page.mapping = cast(ptr[void], usize(mm) | PAGE_MAPPING_ANON)


@guest
def page_anon_mm(page: ptr[Page]) -> ptr[MmStruct]:
    """The address space that maps a page; NULL if none does.  It may be going away."""
    mapping = usize(page.mapping)
    if mapping & PAGE_MAPPING_ANON == 0:
        return NULL
    return cast(ptr[MmStruct], mapping & ~usize(PAGE_MAPPING_ANON))
