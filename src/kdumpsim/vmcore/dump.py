# SPDX-License-Identifier: GPL-2.0-or-later
"""What all dumps have in common, whatever file or machine they are in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from kdumpsim.target import PAGE_SIZE

from .reader import Load, Note

PIECE = 1 << 16
"""Bytes that are read at once where a dump is gone through."""
ZERO_PIECE = bytes(PIECE)
ZERO_PAGE = bytes(PAGE_SIZE)


class Dump(Protocol):
    """Physical memory in pieces, and notes about it; `vmcore.reader.Vmcore` is one."""

    @property
    def machine(self) -> str:
        """``EM_386``, ``EM_X86_64``, or the number of another."""

    @property
    def bits(self) -> int:
        """Width of its headers: 32 or 64."""

    @property
    def abi(self) -> int:
        """EI_OSABI of its header; 0 says nothing."""

    @property
    def loads(self) -> Sequence[Load]:
        """Ranges of physical memory."""

    @property
    def notes(self) -> Sequence[Note]:
        """ELF notes, in order: registers of CPUs, VMCOREINFO."""

    def slice(self, load: Load, start: int, end: int, /) -> bytes:
        """Bytes `start` to `end` of a load."""


def pieces(dump: Dump, load: Load, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """(offset in the load, bytes) from `start` to `end`, in pieces of at most PIECE; those of zeros are left out."""
    while start < end:
        stop = min(end, start + PIECE)
        data = dump.slice(load, start, stop)
        if data != ZERO_PIECE[: len(data)]:
            yield start, data
        start = stop


def read_physical(dump: Dump, address: int, size: int) -> bytes | None:
    """Memory at a physical address; None if any of it is not in the dump."""
    found = bytearray()
    while len(found) < size:
        at = address + len(found)
        for load in dump.loads:
            if load.paddr <= at < load.paddr + load.size:
                inside = at - load.paddr
                found += dump.slice(load, inside, min(inside + size - len(found), load.size))
                break
        else:
            return None
    return bytes(found)


def present_pages(dump: Dump) -> list[tuple[int, int]]:
    """(first, last + 1) of each run of page numbers in the dump, in order; a page of which it has a part counts."""
    runs: list[tuple[int, int]] = []
    for load in sorted(dump.loads, key=lambda load: load.paddr):
        first, end = load.paddr // PAGE_SIZE, -(-(load.paddr + load.size) // PAGE_SIZE)
        if runs and first <= runs[-1][1]:
            runs[-1] = runs[-1][0], max(runs[-1][1], end)
        elif first < end:
            runs.append((first, end))
    return runs
