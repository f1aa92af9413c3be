# SPDX-License-Identifier: GPL-2.0-or-later
"""kmalloc: small objects cut from pages (mm/slab.c in name, its simplest relative in kind).

There is one cache for each power of two from 32 bytes to half a page.  Free objects of a cache hang in one list through
their first word; a page's Page knows its cache.  Larger requests get pages of their own.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, Struct, array, cast, guest, length, ptr, u8, u32, usize, void
from kdumpsim.kernel.architecture import PAGE_SHIFT, PAGE_SIZE
from kdumpsim.kernel.core.spinlock import Spinlock, spin_lock_init, spin_lock_irqsave, spin_unlock_irqrestore
from kdumpsim.kernel.core.string import memset
from kdumpsim.kernel.mm.page_alloc import Page, PG_slab, alloc_pages, page_address, put_pages, virt_to_page

MIN_SHIFT: Final = 5
MAX_SHIFT: Final = PAGE_SHIFT - 1
NR_CACHES: Final = MAX_SHIFT - MIN_SHIFT + 1


class FreeObject(Struct):
    """What a free object holds."""

    next: ptr[FreeObject]


class KmemCache(Struct):
    """Objects of one size."""

    lock: Spinlock
    size: usize
    free: ptr[FreeObject]
    nr_pages: u32
    nr_used: u32


malloc_sizes: array[KmemCache] = length(NR_CACHES)


@guest
def kmem_cache_init() -> None:
    """Make the caches, empty."""
    for i in range(NR_CACHES):
        spin_lock_init(malloc_sizes[i].lock)
        malloc_sizes[i].size = 1 << (MIN_SHIFT + i)


@guest
def cache_index(size: usize) -> u32:
    """The smallest cache whose objects hold `size` bytes."""
    index: u32 = 0
    while (u32(1) << (MIN_SHIFT + index)) < size:
        index += 1
    return index


@guest
def pages_order(size: usize) -> u32:
    """The smallest order whose blocks hold `size` bytes."""
    order: u32 = 0
    while (usize(PAGE_SIZE) << order) < size:
        order += 1
    return order


@guest
def cache_grow(cache: ptr[KmemCache]) -> bool:
    """Cut one more page into objects; the cache's lock is held."""
    page = alloc_pages(0)
    if page == NULL:
        return False
    page.flags = PG_slab
    page.mapping = cache
    start = cast(ptr[u8], page_address(page))
    offset: usize = PAGE_SIZE
    while offset > 0:
        offset -= cache.size
        item = cast(ptr[FreeObject], start + offset)
        item.next = cache.free
        cache.free = item
    cache.nr_pages += 1
    return True


@guest
def kmalloc(size: usize) -> ptr[void]:
    """Memory of at least `size` bytes, not cleared; NULL if there is none."""
    if size > 1 << MAX_SHIFT:
        order = pages_order(size)
        page = alloc_pages(order)
        if page == NULL:
            return NULL
        page.private = order
        return page_address(page)
    cache: ptr[KmemCache] = malloc_sizes[cache_index(size)]
    flags = spin_lock_irqsave(cache.lock)
    item: ptr[FreeObject] = NULL
    if cache.free != NULL or cache_grow(cache):
        item = cache.free
        cache.free = item.next
        cache.nr_used += 1
    spin_unlock_irqrestore(cache.lock, flags)
    return item


@guest
def kzalloc(size: usize) -> ptr[void]:
    """kmalloc() of zeroed memory."""
    memory = kmalloc(size)
    if memory != NULL:
        memset(memory, 0, size)
    return memory


@guest
def kfree(memory: ptr[void]) -> None:
    """Give back what kmalloc() gave; NULL is nothing."""
    if memory == NULL:
        return
    page: ptr[Page] = virt_to_page(memory)
    if page.flags & PG_slab == 0:
        put_pages(page, u32(page.private))
        return
    cache = cast(ptr[KmemCache], page.mapping)
    item = cast(ptr[FreeObject], memory)
    flags = spin_lock_irqsave(cache.lock)
    item.next = cache.free
    cache.free = item
    cache.nr_used -= 1
    spin_unlock_irqrestore(cache.lock, flags)
