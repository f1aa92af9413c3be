# SPDX-License-Identifier: GPL-2.0-or-later
"""Which pages of a private mapping a process has touched, as Linux tells in /proc/self/pagemap.

Documentation/admin-guide/mm/pagemap.rst: 64 bits for each page; bit 63 says that it is in memory, 62 that it is swapped
out or being moved, 56 that no other process maps it.  A page that is neither in memory nor swapped out reads as zeros.
After a fork both processes share all pages until one of them writes to a page, so one that no other process maps may
have changed since the fork, and one that is shared has not.
"""

from __future__ import annotations

import mmap
import os
import re
import sys
from contextlib import suppress

from kdumpsim.notices import notice

PAGE = 4096
PAGEMAP = "/proc/self/pagemap"
_WORD = 8


def _with_bits(mask: int) -> re.Pattern[bytes]:
    """Finds the bytes that have one of these bits."""
    return re.compile(b"[" + b"".join(re.escape(bytes([value])) for value in range(256) if value & mask) + b"]")


# In the highest byte of a word.
_IN_MEMORY, _SWAPPED, _OWN = 0x80, 0x40, 0x01
_FIND_TOUCHED = _with_bits(_IN_MEMORY | _SWAPPED)
_FIND_OWN = _with_bits(_OWN | _SWAPPED)


class Residency:
    """Of a mapping at a host address, whose first page can be written to."""

    def __init__(self, area: mmap.mmap, host: int) -> None:
        self._area, self._host = area, host
        self._said = False
        if hasattr(mmap, "MADV_NOHUGEPAGE"):
            with suppress(OSError):  # a kernel without huge pages
                area.madvise(mmap.MADV_NOHUGEPAGE)  # so that each page is told of by itself

    def touched(self) -> list[int] | None:
        """Offsets of all pages that may hold anything but zeros, in order; None where the host does not say."""
        return self._find(_FIND_TOUCHED, _IN_MEMORY)

    def own(self) -> list[int] | None:
        """Offsets of all pages that may have changed since this process was forked, in order; None as for `touched`."""
        return self._find(_FIND_OWN, _IN_MEMORY | _OWN)

    def _find(self, pattern: re.Pattern[bytes], of_written: int) -> list[int] | None:
        found = self._asked(pattern, of_written)
        if found is None and not self._said:
            self._said = True
            notice(f"{PAGEMAP} does not tell which pages were written to: all memory is looked at instead")
        return found

    def _asked(self, pattern: re.Pattern[bytes], of_written: int) -> list[int] | None:
        if sys.platform != "linux" or sys.byteorder != "little" or mmap.PAGESIZE != PAGE:
            return None
        self._area[0] = self._area[0]  # a page that has been written to: does the host say so?
        size = len(self._area) // PAGE * _WORD
        try:
            file = os.open(PAGEMAP, os.O_RDONLY)
            try:
                words = os.pread(file, size, self._host // PAGE * _WORD)
            finally:
                os.close(file)
        except OSError:
            return None
        if len(words) != size or words[_WORD - 1] & of_written != of_written:
            return None
        return [match.start() * PAGE for match in pattern.finditer(words[_WORD - 1 :: _WORD])]
