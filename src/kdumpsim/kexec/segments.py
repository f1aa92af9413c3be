# SPDX-License-Identifier: GPL-2.0-or-later
"""The segment list that kexec_load takes, and finding room for segments."""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from dataclasses import dataclass

from kdumpsim.agent.segments import FileData
from kdumpsim.target import PAGE_SIZE

from .errors import KexecError

KEXEC_SEGMENT_MAX = 16


def page_down(address: int) -> int:
    """The start of the page."""
    return address & -PAGE_SIZE


def page_up(address: int) -> int:
    """The next page boundary, or this one."""
    return -(-address // PAGE_SIZE) * PAGE_SIZE


@dataclass(frozen=True, slots=True, order=True)
class Range:
    """Addresses from `start` up to, not including, `end`."""

    start: int
    end: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.end - self.start

    def __contains__(self, other: Range | int) -> bool:
        if isinstance(other, Range):
            return self.start <= other.start and other.end <= self.end
        return self.start <= other < self.end

    def overlaps(self, other: Range) -> bool:
        """Do the two share an address?"""
        return self.start < other.end and other.start < self.end

    def __str__(self) -> str:
        return f"{self.start:#x}-{self.end - 1:#x}"


def joined(ranges: Iterable[Range]) -> list[Range]:
    """`ranges` in order, those that touch or overlap made one."""
    whole: list[Range] = []
    for part in sorted(ranges):
        if whole and part.start <= whole[-1].end:
            whole[-1] = Range(whole[-1].start, max(whole[-1].end, part.end))
        else:
            whole.append(part)
    return whole


def subtract(ranges: Iterable[Range], holes: Iterable[Range]) -> list[Range]:
    """What is left of `ranges` without `holes`, in order."""
    left = sorted(ranges)
    for hole in holes:
        rest: list[Range] = []
        for part in left:
            if not part.overlaps(hole):
                rest.append(part)
                continue
            if part.start < hole.start:
                rest.append(Range(part.start, hole.start))
            if hole.end < part.end:
                rest.append(Range(hole.end, part.end))
        left = rest
    return left


@dataclass(frozen=True, slots=True)
class Segment:
    """One destination in physical memory: `data` goes to `mem`, zeros fill it up to `memsz`."""

    name: str
    mem: int
    memsz: int
    data: bytes | FileData

    @property
    def bufsz(self) -> int:
        """Bytes of contents."""
        return self.data.size if isinstance(self.data, FileData) else len(self.data)

    @property
    def range(self) -> Range:
        """The memory it takes."""
        return Range(self.mem, self.mem + self.memsz)


class Room:
    """Free memory to put segments into; nothing it gives out overlaps."""

    def __init__(self, free: Iterable[Range], what: str) -> None:
        self._free = sorted(free)
        self._what = what

    @property
    def free(self) -> list[Range]:
        """What is left, in order."""
        return list(self._free)

    def take(self, wanted: Range, name: str) -> None:
        """Claim a fixed range; KexecError if any of it is not free."""
        at = bisect.bisect_right(self._free, wanted.start, key=lambda part: part.start) - 1
        if at < 0 or wanted not in self._free[at]:
            allowed = ", ".join(str(part) for part in self._free) or "nothing is left"
            raise KexecError(f"{name} needs {wanted}, which is not free in {self._what} (free: {allowed})")
        self._free[at : at + 1] = subtract([self._free[at]], [wanted])

    def place(self, size: int, name: str) -> int:
        """The highest page-aligned place for `size` bytes (rounded up to pages); KexecError if there is none."""
        size = page_up(size)
        for part in reversed(self._free):
            start = page_down(part.end - size) if part.size >= size else -1
            if start >= part.start:
                self.take(Range(start, start + size), name)
                return start
        largest = max((part.size for part in self._free), default=0)
        raise KexecError(
            f"no room for {name}: {size >> 10} KiB in one piece in {self._what}, the largest free piece has "
            f"{largest >> 10} KiB"
        )
