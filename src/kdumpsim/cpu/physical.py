# SPDX-License-Identifier: GPL-2.0-or-later
"""Physical memory as the delivery code sees it: the RAM blocks, holes reading as all-ones."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

from .bus import PAGE, RamBlock


class PhysicalMemory:
    """Little-endian access to the RAM blocks. MMIO is not reached from here: no table or stack lives there."""

    def __init__(self, blocks: Sequence[RamBlock]) -> None:
        self._blocks: list[tuple[int, int, bool, memoryview]] = []
        for block in blocks:
            array = (ctypes.c_ubyte * block.size).from_address(block.host_address)
            view = memoryview(array).cast("B")
            self._blocks.append((block.base, block.base + block.size, block.writable, view))
        # The largest writable block holds nearly everything a kernel touches: look there first, as aligned words.
        largest = max((b for b in self._blocks if b[2]), key=lambda b: b[1] - b[0], default=None)
        if largest is None:
            raise ValueError("a CPU needs writable RAM")
        self._base, self._end, _, view = largest
        self._words = view.cast("I")

    def read32(self, address: int) -> int:
        """The 32-bit word at a physical address."""
        if self._base <= address < self._end and not address & 3:
            return self._words[(address - self._base) >> 2]
        return int.from_bytes(self.read(address, 4), "little")

    def write32(self, address: int, value: int) -> None:
        """Store a 32-bit word at a physical address."""
        if self._base <= address < self._end and not address & 3:
            self._words[(address - self._base) >> 2] = value
        else:
            self.write(address, value.to_bytes(4, "little"))

    def read(self, address: int, size: int) -> bytes:
        """Any bytes; what is not RAM reads as 0xFF."""
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
