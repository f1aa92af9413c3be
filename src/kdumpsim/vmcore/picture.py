# SPDX-License-Identifier: GPL-2.0-or-later
"""Pictures of RAM that cost little: only pages that hold anything are kept, and unchanged ones are shared."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

from kdumpsim.target import PAGE_SIZE

_ZERO = bytes(PAGE_SIZE)


class Picture:
    """The contents of RAM at one instant."""

    def __init__(self, pages: Mapping[int, bytes], earlier: Picture | None = None) -> None:
        """`pages` are those that are not all zero, by address; equal ones of `earlier` are shared with it."""
        known: Mapping[int, bytes] = earlier._pages if earlier is not None else {}
        self._pages: dict[int, bytes] = {
            at: before if (before := known.get(at)) is not None and before == page else page
            for at, page in pages.items()
        }

    def page(self, at: int) -> bytes:
        """The page at an address."""
        return self._pages.get(at, _ZERO)

    def read(self, start: int, end: int) -> bytes:
        """Bytes from `start` to `end`; what lies outside the picture reads as zeros."""
        base = start & -PAGE_SIZE
        if end <= base + PAGE_SIZE:
            return self.page(base)[start - base : end - base]
        pieces = []
        while start < end:
            base = start & -PAGE_SIZE
            stop = min(end, base + PAGE_SIZE)
            pieces.append(self.page(base)[start - base : stop - base])
            start = stop
        return b"".join(pieces)

    @cached_property
    def _addresses(self) -> Sequence[int]:
        return sorted(self._pages)

    def held(self, start: int, end: int) -> Sequence[int]:
        """Addresses of the pages that are not all zero and lie at least in part from `start` to `end`, in order."""
        addresses = self._addresses
        return addresses[bisect_left(addresses, start & -PAGE_SIZE) : bisect_left(addresses, end)]

    def changed_pages(self, later: Picture) -> Iterator[int]:
        """Addresses of pages that differ in a later picture of the same RAM, in order."""
        for at in sorted(self._pages.keys() | later._pages.keys()):
            before, after = self.page(at), later.page(at)
            if before is not after and before != after:
                yield at

    @property
    def bytes_held(self) -> int:
        """Memory this picture refers to, shared pages included."""
        return sum(map(len, self._pages.values()))
