# SPDX-License-Identifier: GPL-2.0-or-later
"""A dump page by page, for formats that store pages."""

from __future__ import annotations

from collections.abc import Iterator

from kdumpsim.target import PAGE_SIZE
from kdumpsim.vmcore.dump import PIECE, ZERO_PAGE, Dump


def pages(dump: Dump) -> Iterator[tuple[int, bytes]]:
    """(page number, 4 KiB) in order; what the dump does not have of a page is zeros.  One page of zeros is ZERO_PAGE.

    Where loads overlap, the first counts.
    """
    partial: dict[int, bytearray] = {}
    whole: list[tuple[int, int, int]] = []  # first, last + 1, which load
    for number, load in reversed(list(enumerate(dump.loads))):
        first, end = -(-load.paddr // PAGE_SIZE), (load.paddr + load.size) // PAGE_SIZE
        if first < end:
            whole.append((first, end, number))
        for pfn in {load.paddr // PAGE_SIZE, (load.paddr + load.size) // PAGE_SIZE}:
            low, high = max(load.paddr, pfn * PAGE_SIZE), min(load.paddr + load.size, (pfn + 1) * PAGE_SIZE)
            if low < high and high - low < PAGE_SIZE:
                data = dump.slice(load, low - load.paddr, high - load.paddr)
                partial.setdefault(pfn, bytearray(PAGE_SIZE))[low % PAGE_SIZE : low % PAGE_SIZE + len(data)] = data
    whole += [(pfn, pfn + 1, -1) for pfn in partial]
    at = 0
    for first, end, number in sorted(whole):
        at = max(at, first)
        while at < end:
            if number < 0:
                yield at, bytes(partial[at])
                at += 1
                continue
            load = dump.loads[number]
            start = at * PAGE_SIZE - load.paddr
            data = dump.slice(load, start, min(end * PAGE_SIZE - load.paddr, start + PIECE))
            for inside in range(0, len(data), PAGE_SIZE):
                page = data[inside : inside + PAGE_SIZE]
                yield at, ZERO_PAGE if page == ZERO_PAGE else page
                at += 1
