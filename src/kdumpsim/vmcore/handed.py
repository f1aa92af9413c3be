# SPDX-License-Identifier: GPL-2.0-or-later
"""Pages as they were when they were handed to a device.

A kernel that dumps itself goes on changing its memory while it writes: no one picture is the truth then.  What counts
for a page is what a device read of it by DMA (a disk's bus master, a network card that sends).
"""

from __future__ import annotations

from collections.abc import Iterator

from kdumpsim.target import PAGE_SIZE

from .picture import Picture


class HandedPages:
    """Takes down each page of RAM that a device reads, as it is at that moment."""

    def __init__(self, view: memoryview, picture: Picture) -> None:
        """`view` is RAM (address = offset); `picture` was taken when this began, and spares what has not changed."""
        self._view, self._picture = view, picture
        self._versions: dict[int, list[bytes | None]] = {}

    def read(self, begin: int, end: int) -> None:
        """A device reads physical memory from `begin` to `end`."""
        for page in range(begin & -PAGE_SIZE, end, PAGE_SIZE):
            data = bytes(self._view[page : page + PAGE_SIZE])
            version = None if data == self._picture.read(page, page + PAGE_SIZE) else data
            versions = self._versions.setdefault(page, [])
            if version not in versions:
                versions.append(version)

    def __iter__(self) -> Iterator[int]:
        """Addresses of all pages of which a device read, in order."""
        return iter(sorted(self._versions))

    def __contains__(self, page: int) -> bool:
        return page in self._versions

    def versions(self, page: int) -> list[bytes]:
        """The contents of a page (its address) each time a device read of it, without repetitions, in order."""
        then = self._picture.read(page, page + PAGE_SIZE)
        return [then if version is None else version for version in self._versions.get(page, ())]

    def changed(self, page: int) -> bool:
        """Whether a page had changed since the picture each time a device read of it."""
        return None not in self._versions.get(page, [None])
