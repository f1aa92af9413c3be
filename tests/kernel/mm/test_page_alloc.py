# SPDX-License-Identifier: GPL-2.0-or-later
"""The buddy allocator: blocks never overlap, and everything that comes back grows together again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from guest_harness import Guest, guest, host_module
from kdumpsim.compiler import lang

page_alloc = host_module("kdumpsim.kernel.mm.page_alloc")

PAGE_STRUCT = 28
FIRST, END = 3, 300
steps = st.lists(st.one_of(st.integers(0, 4), st.integers(0, 30).map(lambda n: -1 - n)), max_size=60)


@given(st.integers(0, 2**20 - 1), st.integers(0, 10))
def test_buddies_are_mutual(pfn: int, order: int) -> None:
    pfn &= -(1 << order)
    buddy = int(page_alloc.buddy_pfn(lang.u32(pfn), lang.u32(order)))
    assert abs(buddy - pfn) == 1 << order
    assert guest().call("buddy_pfn", pfn, order) == buddy
    assert guest().call("buddy_pfn", buddy, order) == pfn


FREE_PAGES, FREE_AREA = 0, 24
"""Offsets in struct zone."""
ZONE_STRUCT = 232


def zone(g: Guest) -> int:
    """The only zone, which contig_page_data begins with."""
    return g.symbols["contig_page_data"]


def fresh() -> Guest:
    """A mem_map of END pages, of which all from FIRST on are free."""
    g = guest()
    g.reset()
    g.set_word("mem_map", g.alloc(PAGE_STRUCT * END))
    g.set_word("max_mapnr", END)
    g.write(zone(g), bytes(ZONE_STRUCT))
    g.call("free_area_init")
    g.call("free_range", FIRST, END)
    return g


def free_blocks(g: Guest) -> list[tuple[int, int]]:
    """(pfn, order) of every block on the free lists."""
    found = []
    for order in range(11):
        head = zone(g) + FREE_AREA + 12 * order
        entry = g.word(head)
        count = 0
        while entry != head:
            page = entry - (PAGE_STRUCT - 8)
            found.append(((page - g.word("mem_map")) // PAGE_STRUCT, order))
            entry = g.word(entry)
            count += 1
        assert g.word(head + 8) == count
    return found


def pages(blocks: list[tuple[int, int]]) -> list[int]:
    return [pfn + i for pfn, order in blocks for i in range(1 << order)]


@given(steps)
def test_nothing_is_lost_or_given_twice(plan: list[int]) -> None:
    g = fresh()
    begin = sorted(free_blocks(g))
    held: list[tuple[int, int]] = []
    for step in plan:
        if step >= 0:
            page = g.call("alloc_pages", step)
            if page:
                held.append(((page - g.word("mem_map")) // PAGE_STRUCT, step))
                assert held[-1][0] % (1 << step) == 0
        elif held:
            pfn, order = held.pop(step % len(held))
            g.call("put_pages", g.word("mem_map") + PAGE_STRUCT * pfn, order)
        free = free_blocks(g)
        assert sorted(pages(free) + pages(held)) == list(range(FIRST, END))
        assert g.word(zone(g) + FREE_PAGES) == len(pages(free))
    for pfn, order in held:
        g.call("put_pages", g.word("mem_map") + PAGE_STRUCT * pfn, order)
    assert sorted(free_blocks(g)) == begin
