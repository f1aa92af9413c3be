# SPDX-License-Identifier: GPL-2.0-or-later
"""In place of mm.slab and mm.page_alloc: memory that is never used twice."""

from __future__ import annotations

from kdumpsim.compiler.lang import cast, cstr, guest, ptr, sizeof, u32, void
from kdumpsim.kernel.mm.slab_types import KmemCache

heap_next: u32 = 0xC0800000


@guest
def kzalloc(size: u32) -> ptr[void]:
    global heap_next
    place: u32 = heap_next
    heap_next += (size + 15) & 0xFFFFFFF0
    return cast(ptr[void], place)


@guest
def kfree(place: ptr[void]) -> None:
    pass


@guest
def kmalloc(size: u32) -> ptr[void]:
    return kzalloc(size)


@guest
def kmem_cache_create(name: cstr, size: u32) -> ptr[KmemCache]:
    cachep = cast(ptr[KmemCache], kzalloc(sizeof(KmemCache)))
    cachep.buffer_size = size
    return cachep


@guest
def kmem_cache_zalloc(cachep: ptr[KmemCache]) -> ptr[void]:
    return kzalloc(cachep.buffer_size)
