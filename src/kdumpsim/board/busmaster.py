# SPDX-License-Identifier: GPL-2.0-or-later
"""One channel of a PCI IDE bus master: its registers, and the walk over physical region descriptors.

Follows "Programming Interface for Bus Master IDE Controller" 1.0 and the Intel 82371SB (PIIX3) data sheet, 2.7. A
descriptor is eight bytes: physical base (even), byte count in bits 15:1 of the second doubleword (0 means 64 KiB),
end of table in bit 31. Descriptors are fetched one by one when the transfer needs them, so a table overwritten in
flight is obeyed.

Not modelled: the rule that neither the table nor a region crosses a 64 KiB boundary (addresses go on linearly, as
QEMU's do), PCI aborts (memory that is not there reads as ones and swallows writes; the error bit never sets by
itself).
"""

from __future__ import annotations

from typing import Any, Protocol

COMMAND, STATUS, TABLE = 0, 2, 4

START = 0x01
TO_MEMORY = 0x08

ACTIVE = 0x01
ERROR = 0x02
INTERRUPT = 0x04
_CAPABLE = 0x60

_END_OF_TABLE = 0x80000000


class DmaMemory(Protocol):
    """Guest memory as a bus master sees it: outside RAM reads are ones and writes are lost."""

    def dma_read(self, address: int, n: int, /) -> bytes: ...

    def dma_write(self, address: int, data: bytes | bytearray | memoryview, /) -> None: ...


class BusMaster:
    """Registers at BAR 4 + 0 (primary) or + 8 (secondary). The channel asks it to scatter or gather."""

    def __init__(self, memory: DmaMemory) -> None:
        self._memory = memory
        self.reset()

    def reset(self) -> None:
        self.command = 0
        self.status = 0
        self.table = 0
        self._next = 0
        self._address = 0
        self._left = 0
        self._last = False

    @property
    def active(self) -> bool:
        """Started, and descriptors are left."""
        return bool(self.status & ACTIVE)

    @property
    def to_memory(self) -> bool:
        return bool(self.command & TO_MEMORY)

    def read(self, offset: int) -> int:
        """One byte."""
        if offset == COMMAND:
            return self.command
        if offset == STATUS:
            return self.status
        if offset >= TABLE:
            return self.table >> 8 * (offset - TABLE) & 0xFF
        return 0

    def write(self, offset: int, value: int) -> bool:
        """One byte; True when the guest has just started or stopped the engine."""
        if offset == COMMAND:
            changed = (self.command ^ value) & START
            # The direction is latched by the start bit: it must not change while the engine runs.
            self.command = value & (START | TO_MEMORY) if changed or not value & START else self.command
            if changed and value & START:
                self.status |= ACTIVE
                self._next = self.table
                self._left = 0
                self._last = False
            elif changed:
                self.status &= ~ACTIVE
            return bool(changed)
        if offset == STATUS:
            self.status = (self.status & ~_CAPABLE & ~(value & (ERROR | INTERRUPT))) | (value & _CAPABLE)
        elif offset >= TABLE:
            shift = 8 * (offset - TABLE)
            self.table = (self.table & ~(0xFF << shift) | value << shift) & 0xFFFFFFFC
        return False

    def _region(self) -> bool:
        """Make sure the current region has bytes left; False at the end of the table."""
        if self._left:
            return True
        if self._last or not self.active:
            return False
        entry = self._memory.dma_read(self._next, 8)
        self._next = (self._next + 8) & 0xFFFFFFFF
        self._address = int.from_bytes(entry[:4], "little") & ~1
        word = int.from_bytes(entry[4:], "little")
        self._left = (word & 0xFFFE) or 0x10000
        self._last = bool(word & _END_OF_TABLE)
        return True

    def _advance(self, count: int) -> None:
        self._address = (self._address + count) & 0xFFFFFFFF
        self._left -= count
        if not self._left and self._last:
            self.status &= ~ACTIVE

    def scatter(self, data: memoryview) -> int:
        """Write to memory; how many bytes found a region."""
        done = 0
        while done < len(data) and self._region():
            take = min(self._left, len(data) - done)
            self._memory.dma_write(self._address, data[done : done + take])
            self._advance(take)
            done += take
        return done

    def gather(self, count: int) -> bytes:
        """Read from memory; fewer than `count` bytes when the table ends."""
        pieces = []
        while count and self._region():
            take = min(self._left, count)
            pieces.append(self._memory.dma_read(self._address, take))
            self._advance(take)
            count -= take
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def state(self) -> dict[str, Any]:
        return {
            "command": self.command,
            "status": self.status,
            "table": self.table,
            "next": self._next,
            "address": self._address,
            "left": self._left,
            "last": self._last,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.command = state["command"]
        self.status = state["status"]
        self.table = state["table"]
        self._next = state["next"]
        self._address = state["address"]
        self._left = state["left"]
        self._last = state["last"]
