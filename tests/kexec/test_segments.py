# SPDX-License-Identifier: GPL-2.0-or-later
"""Ranges, and finding room."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpsim.kexec.errors import KexecError
from kdumpsim.kexec.segments import Range, Room, subtract
from kdumpsim.target import PAGE_SIZE

small = st.tuples(st.integers(0, 60), st.integers(1, 20)).map(lambda pair: Range(pair[0], pair[0] + pair[1]))


@given(st.lists(small, max_size=3), st.lists(small, max_size=5))
def test_subtract(ranges: list[Range], holes: list[Range]) -> None:
    left = subtract(ranges, holes)
    for address in range(100):
        expected = sum(address in part for part in ranges) if not any(address in hole for hole in holes) else 0
        assert sum(address in part for part in left) == expected


@given(st.lists(st.integers(1, 5 * PAGE_SIZE), max_size=12), st.lists(small, max_size=3))
def test_what_is_placed_never_overlaps(sizes: list[int], taken: list[Range]) -> None:
    region = Range(0x1000000 + 5, 0x1000000 + 40 * PAGE_SIZE + 7)
    room = Room([region], "the region")
    given_out: list[Range] = []
    for part in taken:
        wanted = Range(0x1000000 + part.start * PAGE_SIZE, 0x1000000 + part.end * PAGE_SIZE)
        try:
            room.take(wanted, "fixed")
        except KexecError:
            assert wanted not in region or any(wanted.overlaps(other) for other in given_out)
        else:
            given_out.append(wanted)
    for size in sizes:
        try:
            start = room.place(size, "segment")
        except KexecError:
            assert all(part.size < size + 2 * PAGE_SIZE for part in room.free)
            continue
        assert start % PAGE_SIZE == 0
        given_out.append(Range(start, start + -(-size // PAGE_SIZE) * PAGE_SIZE))
    assert all(part in region for part in given_out)
    assert not any(a.overlaps(b) for i, a in enumerate(given_out) for b in given_out[:i])


def test_the_highest_place_comes_first() -> None:
    room = Room([Range(0x10000, 0x20000), Range(0x40000, 0x42000)], "memory")
    assert [room.place(0x2000, "a"), room.place(1, "b"), room.place(0x1000, "c")] == [0x40000, 0x1F000, 0x1E000]


def test_no_room_says_what_there_is() -> None:
    room = Room([Range(0x10000, 0x20000)], "the reserved region")
    with pytest.raises(KexecError, match=r"no room for purgatory: 68 KiB in one piece.*largest free piece has 64 KiB"):
        room.place(0x10001, "purgatory")
    with pytest.raises(KexecError, match=r"kernel needs 0x0-0xfff, which is not free.*free: 0x10000-0x1ffff"):
        room.take(Range(0, 0x1000), "kernel")
