# SPDX-License-Identifier: GPL-2.0-or-later
"""Physical memory: one host mapping, the holes in it, and access by devices.

The mapping is private, so a forked machine has its own. Physical address and offset in the mapping are the same.
CPUs see RAM without the `holes`; from 0xA0000 to 0xEFFFF the VGA's text memory only (there are neither graphics nor
option ROMs); and the firmware ROM at 0xF0000 read-only, once more below 4 GiB.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from kdumpsim.board.firmware import E820, e820
from kdumpsim.board.residency import Residency
from kdumpsim.board.zeros import zeros
from kdumpsim.cpu.bus import PAGE, RamBlock

BASE_MEMORY_END = 0xA0000
TEXT_MEMORY, TEXT_MEMORY_END = 0xB8000, 0xC0000
ROM = 0xF0000
HIGH_MEMORY = 0x100000
ROM_ALIAS = 0xFFFF0000
MAX_MEMORY = 0xC0000000  # PCI and APIC space starts here

_CHUNK = 64 * PAGE
_ZERO_CHUNK = bytes(_CHUNK)
_ZERO_PAGE = bytes(PAGE)
_ZEROS = (ctypes.c_char * _CHUNK)()
_ZEROS_AT = ctypes.addressof(_ZEROS)
_memcmp = ctypes.PyDLL(None).memcmp
_memcmp.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


def nonzero_pages(view: memoryview) -> dict[int, bytes]:
    """The pages of memory that are not all zero, by address; address and offset are the same."""
    pages = {}
    for chunk in range(0, len(view), _CHUNK):
        data = bytes(view[chunk : chunk + _CHUNK])
        if data == _ZERO_CHUNK[: len(data)]:
            continue
        for at in range(chunk, chunk + len(data), PAGE):
            page = data[at - chunk : at - chunk + PAGE]
            if page != _ZERO_PAGE[: len(page)]:
                pages[at] = page
    return pages


class Memory:
    """RAM of `size` bytes with `holes` (base, size), where nothing answers."""

    name = "memory"

    def __init__(self, size: int, holes: Sequence[tuple[int, int]] = ()) -> None:
        if size % PAGE or not 2 * HIGH_MEMORY <= size <= MAX_MEMORY:
            raise ValueError(f"memory of {size} bytes: choose 2M to {MAX_MEMORY >> 20}M, in whole pages of 4K")
        for base, length in holes:
            if base % PAGE or length % PAGE or length <= 0 or base < HIGH_MEMORY or base + length > size:
                raise ValueError(f"hole {base:#x}+{length:#x}: whole pages, above 1 MiB and inside memory")
        self.size = size
        self.holes = tuple(sorted(holes))
        self.written: Callable[[int, int], None] = lambda begin, end: None
        """Told of every range a device wrote: CPUs may have translated it."""
        self.read: Callable[[int, int], None] | None = None
        """Told of every range of RAM that a device is about to read, if anybody wants to know."""
        self.master = ""
        """The bus master whose write `written` is being told of; empty for nobody's."""
        self._map = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.view = memoryview(self._map)
        self._host = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        self._residency = Residency(self._map, self._host)
        self._remembered: dict[int, bytes] | None = None
        self._remembered_by = 0  # the process
        self._ranges = [(0, BASE_MEMORY_END), (TEXT_MEMORY, TEXT_MEMORY_END), (ROM, HIGH_MEMORY), *self._high_ranges()]
        self._largest_first = sorted(self._ranges, key=lambda found: found[0] - found[1])

    def _high_ranges(self) -> list[tuple[int, int]]:
        ranges, at = [], HIGH_MEMORY
        for base, length in self.holes:
            if base < at:
                raise ValueError(f"holes overlap at {base:#x}")
            if base > at:
                ranges.append((at, base))
            at = base + length
        if at < self.size:
            ranges.append((at, self.size))
        return ranges

    @property
    def blocks(self) -> list[RamBlock]:
        """What CPUs map."""
        blocks = [
            RamBlock(begin, end - begin, self._host + begin, writable=begin != ROM) for begin, end in self._ranges
        ]
        return [*blocks, RamBlock(ROM_ALIAS, HIGH_MEMORY - ROM, self._host + ROM, writable=False)]

    @property
    def e820(self) -> list[E820]:
        """The map the firmware reports."""
        return e820(self.size, self.holes)

    def is_ram(self, address: int) -> bool:
        """Is it RAM? The ROM isn't, and the VGA's memory isn't either."""
        return any(begin <= address < end for begin, end in self._ranges if begin not in (TEXT_MEMORY, ROM))

    def dma_read(self, address: int, n: int) -> bytes:
        """What a bus master reads; all-ones where nothing answers."""
        for begin, end in self._largest_first:
            if begin <= address and address + n <= end:
                if self.read is not None:
                    self.read(address, address + n)
                if n >= PAGE and self._is_zero(address, n):
                    return zeros(n)
                return bytes(self.view[address : address + n])
        result = bytearray(b"\xff" * n)
        for begin, end in self._ranges:
            first, last = max(begin, address), min(end, address + n)
            if first < last:
                if self.read is not None:
                    self.read(first, last)
                result[first - address : last - address] = self.view[first:last]
        return bytes(result)

    def _is_zero(self, address: int, n: int) -> bool:
        """Whether so many bytes of the mapping are all zero."""
        end = address + n
        while address < end:
            step = min(end - address, _CHUNK)
            if _memcmp(self._host + address, _ZEROS_AT, step):
                return False
            address += step
        return True

    def dma_write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """What a bus master writes; lost where nothing answers, and in the ROM."""
        self.changing()
        for begin, end in self._ranges:
            first, last = max(begin, address), min(end, address + len(data))
            if first < last and begin != ROM:
                self.view[first:last] = data[first - address : last - address]
                self.written(first, last)

    def port(self, name: str) -> MasterPort:
        """Memory as the bus master of that name reaches it."""
        return MasterPort(self, name)

    def remember(self) -> None:
        """Keep what every page holds, so that `pages` in a process that is forked from this one looks at few of them.

        Forgotten once this process changes memory.
        """
        if self._remembered is None or self._remembered_by != os.getpid():
            self._remembered, self._remembered_by = self.pages(), os.getpid()

    def changing(self) -> None:
        """Somebody is about to change memory."""
        if self._remembered is not None and self._remembered_by == os.getpid():
            self._remembered = None

    def pages(self) -> dict[int, bytes]:
        """The pages that are not all zero, by physical address."""
        view = self.view
        if self._remembered is not None and (own := self._residency.own()) is not None:
            pages = dict(self._remembered)
            for at in own:
                page = bytes(view[at : at + PAGE])
                if page == _ZERO_PAGE:
                    pages.pop(at, None)
                elif pages.get(at) != page:
                    pages[at] = page
            return pages
        if (touched := self._residency.touched()) is not None:
            found = ((at, bytes(view[at : at + PAGE])) for at in touched)
            return {at: page for at, page in found if page != _ZERO_PAGE}
        return nonzero_pages(view)

    def _empty(self, at: int) -> None:
        """Zero a page, giving it back to the host."""
        if sys.platform == "linux":
            self._map.madvise(mmap.MADV_DONTNEED, at, PAGE)
        else:
            self.view[at : at + PAGE] = _ZERO_PAGE

    def reset(self) -> None:
        """The reset line doesn't reach it: memory keeps its contents."""

    def state(self) -> dict[str, Any]:
        return {"pages": self.pages()}

    def restore(self, state: dict[str, Any]) -> None:
        """Write what differs, and no more: CPUs keep what they have translated from all other pages."""
        wanted: dict[int, bytes] = state["pages"]
        self._remembered = None
        view = self.view
        for at in self.pages().keys() - wanted.keys():
            self._empty(at)
            self.written(at, at + PAGE)
        for at, page in wanted.items():
            if view[at : at + PAGE].tobytes() != page:
                view[at : at + PAGE] = page
                self.written(at, at + PAGE)


class MasterPort:
    """One bus master's way to memory: observers of memory can tell who writes."""

    def __init__(self, memory: Memory, name: str) -> None:
        self._memory, self._name = memory, name
        self.dma_read = memory.dma_read

    def dma_write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """As `Memory.dma_write`."""
        memory = self._memory
        memory.master = self._name
        memory.dma_write(address, data)
        memory.master = ""
