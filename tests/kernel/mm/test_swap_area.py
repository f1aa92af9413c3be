# SPDX-License-Identifier: GPL-2.0-or-later
"""Swap's book-keeping: places in the area, references, the swap cache, the lists of pages, the watermarks."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guest_harness import Guest, guest, host_module
from kdumpsim.board.disk import Disk
from kdumpsim.compiler import lang
from kdumpsim.disks.swaparea import mkswap
from properties import examples

page_alloc = host_module("kdumpsim.kernel.mm.page_alloc")

PAGE_STRUCT = 28
PAGES = 12
LOCKED, LRU, ACTIVE, SWAPCACHE, RECLAIM = 1 << 0, 1 << 5, 1 << 6, 1 << 15, 1 << 17
FLAGS, COUNT, PRIVATE = 0, 4, 8
MAP, CACHE, INUSE = 28, 32, 16


FREE_PAGES, PAGES_MIN, PAGES_LOW, PAGES_HIGH = 0, 4, 8, 12
ACTIVE_LIST, INACTIVE_LIST, NR_ACTIVE, NR_INACTIVE = 164, 172, 188, 192
"""Offsets in struct zone."""
ZONE_STRUCT = 232


def zone(g: Guest) -> int:
    """The only zone, which contig_page_data begins with."""
    return g.symbols["contig_page_data"]


def fresh() -> Guest:
    """A swap area of PAGES pages, the first of which is the header, and a mem_map of as many pages."""
    g = guest()
    g.reset()
    g.set_word("mem_map", g.alloc(PAGE_STRUCT * PAGES))
    g.set_word("max_mapnr", PAGES)
    g.write(zone(g), bytes(ZONE_STRUCT))
    g.call("free_area_init")
    info = g.symbols["swap_info"]
    swap_map, cache = g.alloc(PAGES), g.alloc(4 * PAGES)
    for index, value in enumerate((1, 0, PAGES, PAGES - 1, 0, 1, 1, swap_map, cache)):
        g.set_word(info + 4 * index, value)
    g.call("page_wait_init")
    return g


def new_page(g: Guest, pfn: int, flags: int = 0) -> int:
    page = g.word("mem_map") + PAGE_STRUCT * pfn
    g.write(page, bytes(PAGE_STRUCT))
    g.set_word(page + FLAGS, flags)
    g.set_word(page + COUNT, 1)
    return page


def references(g: Guest) -> list[int]:
    return list(g.read(g.word(g.symbols["swap_info"] + MAP), PAGES))


def on_list(g: Guest, head: int) -> list[int]:
    """The pages of a list of the zone from young to old."""
    head += zone(g)
    found: list[int] = []
    entry = g.word(head)
    while entry != head:
        found.append((entry - (PAGE_STRUCT - 8) - g.word("mem_map")) // PAGE_STRUCT)
        entry = g.word(entry)
    return found


@given(st.integers(0, 2**32 - 1))
def test_integer_square_roots(x: int) -> None:
    assert int(page_alloc.int_sqrt(lang.u32(x))) == math.isqrt(x)
    assert guest().call("int_sqrt", x) == math.isqrt(x)


def test_the_watermarks_of_48_mib_are_linux_own() -> None:
    g = guest()
    g.set_word("totalram_pages", 12288)
    g.call("setup_per_zone_pages_min")
    assert [g.word(zone(g) + mark) for mark in (PAGES_MIN, PAGES_LOW, PAGES_HIGH)] == [221, 276, 331]


@given(st.lists(st.integers(-8, 8), max_size=60))
def test_no_place_is_given_twice_and_none_is_lost(plan: list[int]) -> None:
    g = fresh()
    held: dict[int, int] = {}
    for step in plan:
        if step >= 0:
            entry = g.call("get_swap_page")
            assert entry & 1 == 0
            if len(held) == PAGES - 1:
                assert entry == 0
                continue
            assert entry
            assert entry not in held
            held[entry] = 1
            if step % 3 == 0:
                g.call("swap_duplicate", entry)
                held[entry] = 2
        elif held:
            entry = sorted(held)[step % len(held)]
            g.call("swap_free", entry)
            held[entry] -= 1
            if not held[entry]:
                del held[entry]
        assert g.word(g.symbols["swap_info"] + INUSE) == len(held)
        assert {i: n for i, n in enumerate(references(g)) if n} == {entry >> 8: n for entry, n in held.items()}


def test_pages_swapped_one_after_another_lie_side_by_side() -> None:
    g = fresh()
    assert [g.call("get_swap_page") >> 8 for _ in range(4)] == [1, 2, 3, 4]


def test_the_first_page_of_what_mkswap_makes_is_a_swap_header() -> None:
    g = fresh()
    disk = Disk.memory(1000)
    mkswap(disk, 200, 800)
    header = g.alloc(disk.read(200, 8), 4)
    assert g.call("swap_header_valid", header, 100) & 1
    assert not g.call("swap_header_valid", header, 99) & 1
    assert not g.call("swap_header_valid", g.alloc(4096, 4), 100) & 1


def test_a_swap_area_needs_ten_pages() -> None:
    with pytest.raises(ValueError, match="10 pages"):
        mkswap(Disk.memory(100), 0, 79)


def test_the_swap_cache_holds_a_page_until_its_program_has_it_back() -> None:
    g = fresh()
    page = new_page(g, 3, LOCKED)
    assert g.call("add_to_swap", page) & 1
    entry = g.word(page + PRIVATE)
    assert references(g)[entry >> 8] == 1
    assert g.word(page + COUNT) == 2
    g.call("swap_duplicate", entry)
    assert g.call("lookup_swap_cache", entry) == page
    assert g.word(page + COUNT) == 3
    assert not g.call("remove_exclusive_swap_page", page, 3) & 1
    g.call("swap_free", entry)
    assert g.call("remove_exclusive_swap_page", page, 3) & 1
    assert g.word(page + FLAGS) & SWAPCACHE == 0
    assert g.word(page + COUNT) == 2
    assert g.call("lookup_swap_cache", entry) == 0
    assert not any(references(g))


def test_two_pages_cannot_be_the_same_place_of_the_area() -> None:
    g = fresh()
    first, second = new_page(g, 3, LOCKED), new_page(g, 4, LOCKED)
    g.call("add_to_swap", first)
    entry = g.word(first + PRIVATE)
    assert g.call_i32("add_to_swap_cache", second, entry) == -17
    assert g.call("lookup_swap_cache", entry) == first


def test_what_a_program_leaves_in_swap_is_free_when_it_ends() -> None:
    g = fresh()
    entry = g.call("get_swap_page")
    g.call("free_swap_and_cache", entry)
    assert not any(references(g))


def test_a_full_swap_area_is_not_an_error() -> None:
    g = fresh()
    while g.call("get_swap_page"):
        pass
    page = new_page(g, 3, LOCKED)
    assert not g.call("add_to_swap", page) & 1
    assert g.word(page + FLAGS) == LOCKED


@examples(40)
@given(st.lists(st.integers(0, PAGES - 1), unique=True, max_size=PAGES), st.integers(0, PAGES))
def test_the_oldest_pages_are_taken_first_and_can_be_put_back(order: list[int], wanted: int) -> None:
    g = fresh()
    for pfn in order:
        g.call("lru_cache_add_active", new_page(g, pfn))
    assert on_list(g, ACTIVE_LIST) == order[::-1]
    isolated = g.alloc(8)
    g.call("init_list_head", isolated)
    taken = g.call("isolate_lru_pages", wanted, zone(g) + ACTIVE_LIST, isolated)
    assert taken == min(wanted, len(order))
    assert on_list(g, ACTIVE_LIST) == order[taken:][::-1]
    assert g.word(zone(g) + NR_ACTIVE) == len(order) - taken
    for pfn in order[:taken]:
        page = g.word("mem_map") + PAGE_STRUCT * pfn
        assert g.word(page + COUNT) == 2
        g.set_word(page + FLAGS, g.word(page + FLAGS) & ~ACTIVE)
    g.call("putback_lru_pages", isolated)
    assert on_list(g, INACTIVE_LIST) == order[:taken][::-1]
    assert (g.word(zone(g) + NR_ACTIVE), g.word(zone(g) + NR_INACTIVE)) == (len(order) - taken, taken)
    assert all(g.word(g.word("mem_map") + PAGE_STRUCT * pfn + COUNT) == 1 for pfn in order)


def test_a_page_that_has_reached_the_disk_is_the_next_to_go() -> None:
    g = fresh()
    pages = [new_page(g, pfn) for pfn in (1, 2, 3)]
    for page in pages:
        g.call("add_page_to_lru", page)
    assert on_list(g, INACTIVE_LIST) == [3, 2, 1]
    g.set_word(pages[2] + FLAGS, g.word(pages[2] + FLAGS) | RECLAIM)
    for page in pages:
        g.call("rotate_reclaimable_page", page)
    assert on_list(g, INACTIVE_LIST) == [2, 1, 3]


def test_the_last_reference_frees_a_page_and_takes_it_off_its_list() -> None:
    g = fresh()
    page = new_page(g, 5)
    g.call("lru_cache_add_active", page)
    g.call("get_page", page)
    g.call("page_cache_release", page)
    assert on_list(g, ACTIVE_LIST) == [5]
    assert g.word(zone(g) + FREE_PAGES) == 0
    g.call("page_cache_release", page)
    assert on_list(g, ACTIVE_LIST) == []
    assert (g.word(zone(g) + NR_ACTIVE), g.word(zone(g) + FREE_PAGES)) == (0, 1)


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 40000)), max_size=30))
def test_scans_come_in_clusters_and_none_is_forgotten(scans: list[tuple[int, int]]) -> None:
    g = fresh()
    owed = g.alloc(4, 4)
    g.set_word(owed, 0)
    expected = done = 0
    for priority, size in scans:
        expected += (size >> priority) + 1
        count = g.call("scan_count", owed, size, priority)
        assert count == 0 or count >= 32
        done += count
        assert g.word(owed) < 32
        assert done + g.word(owed) == expected
