# SPDX-License-Identifier: GPL-2.0-or-later
"""In place of mm.page_alloc."""

from __future__ import annotations

from kdumpsim.compiler.lang import cast, guest, ptr, u32, void

pages_next: u32 = 0xC0A00000


@guest
def __get_free_pages(order: u32) -> ptr[void]:
    global pages_next
    place: u32 = pages_next
    pages_next += u32(4096) << order
    return cast(ptr[void], place)


@guest
def free_pages(place: ptr[void], order: u32) -> None:
    pass
