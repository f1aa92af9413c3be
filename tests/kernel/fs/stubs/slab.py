# SPDX-License-Identifier: GPL-2.0-or-later
"""In place of mm.slab and mm.page_alloc: memory that is never used twice."""

from __future__ import annotations

from kdumpsim.compiler.lang import cast, guest, ptr, u32, void

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
