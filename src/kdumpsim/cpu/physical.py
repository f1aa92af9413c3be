# SPDX-License-Identifier: GPL-2.0-or-later
"""Physical memory as the delivery code sees it: the RAM blocks, holes reading as all-ones."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

from .bus import PAGE, RamBlock


@lru_cache(maxsize=8)
def _flat(blocks: tuple[RamBlock, ...]) -> tuple[memoryview, bytearray]:
    """All writable RAM as bytes by physical address, and which pages of it are there.

    Blocks whose host memory does not lie at the common distance are left to the slow path.
    """
    writable = [block for block in blocks if block.writable]
    if not writable:
        raise ValueError("a CPU needs writable RAM")
    largest = max(writable, key=lambda block: block.size)
    distance = largest.host_address - largest.base
    near = [block for block in writable if block.host_address - block.base == distance]
    end = max(block.base + block.size for block in near)
    present = bytearray(end // PAGE)
    for block in near:
        first, count = block.base // PAGE, block.size // PAGE
        present[first : first + count] = b"\1" * count
    array = (ctypes.c_ubyte * end).from_address(distance)
    return memoryview(array).cast("B"), present


def noted(table: mmap.mmap) -> Iterator[int]:
    """Addresses of the physical pages whose byte in a table is 1."""
    data = table[:]  # searched ten times as fast as the mapping
    page = data.find(1)
    while page >= 0:
        yield page * PAGE
        page = data.find(1, page + 1)


class PhysicalMemory:
    """Little-endian access to the RAM blocks. MMIO is not reached from here: no table or stack lives there."""

    def __init__(self, blocks: Sequence[RamBlock]) -> None:
        self.written: Callable[[int, int], None] | None = None
        """Told of each store, (physical address, size), if somebody wants to know."""
        self._blocks: list[tuple[int, int, bool, memoryview]] = []
        for block in blocks:
            array = (ctypes.c_ubyte * block.size).from_address(block.host_address)
            view = memoryview(array).cast("B")
            self._blocks.append((block.base, block.base + block.size, block.writable, view))
        self._flat, self._present = _flat(tuple(blocks))
        self.words = self._flat.cast("I")
        """RAM that `holds` tells of, as 32-bit words by physical address / 4; for reading."""
        self._end = len(self._present) * PAGE

    def holds(self, address: int, size: int) -> bool:
        """Are all these bytes in one page of RAM?"""
        return address + size <= self._end and address & 0xFFF <= PAGE - size and bool(self._present[address >> 12])

    def read32(self, address: int) -> int:
        """The 32-bit word at a physical address."""
        if address < self._end and not address & 3 and self._present[address >> 12]:
            return self.words[address >> 2]
        return int.from_bytes(self.read(address, 4), "little")

    def write32(self, address: int, value: int) -> None:
        """Store a 32-bit word at a physical address."""
        if address < self._end and not address & 3 and self._present[address >> 12]:
            self.words[address >> 2] = value
            if self.written is not None:
                self.written(address, 4)
        else:
            self.write(address, value.to_bytes(4, "little"))

    def read(self, address: int, size: int) -> bytes:
        """Any bytes; what is not RAM reads as 0xFF."""
        if address + size <= self._end and address & 0xFFF <= PAGE - size and self._present[address >> 12]:
            return bytes(self._flat[address : address + size])
        parts = []
        while size:
            step = size
            for base, end, _, view in self._blocks:
                if base <= address < end:
                    step = min(size, end - address)
                    parts.append(bytes(view[address - base : address - base + step]))
                    break
            else:
                step = min(size, PAGE - address % PAGE)
                parts.append(b"\xff" * step)
            address += step
            size -= step
        return b"".join(parts)

    def write(self, address: int, data: bytes) -> None:
        """Store bytes; what is not writable RAM loses them."""
        size = len(data)
        if self.written is not None:
            self.written(address, size)
        if address + size <= self._end and address & 0xFFF <= PAGE - size and self._present[address >> 12]:
            self._flat[address : address + size] = data
            return
        position = 0
        while position < len(data):
            at = address + position
            step = min(len(data) - position, PAGE - at % PAGE)
            for base, end, writable, view in self._blocks:
                if base <= at < end:
                    if writable:
                        view[at - base : at - base + step] = data[position : position + step]
                    break
            position += step
