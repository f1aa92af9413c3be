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

from kdumpsim.apic.registers import Access, Field, Register
from kdumpsim.board.zeros import zeros

COMMAND, STATUS, TABLE = 0, 2, 4
SIZE = 8
"""Bytes of one channel's registers."""


class Command(Register):
    """BMICX. The direction is latched by the start bit: it does not change while the engine runs."""

    start = Field(0)
    to_memory = Field(3)


class Status(Register):
    """BMISX."""

    active = Field(0, access=Access.RO)
    error = Field(1, access=Access.W1C)
    interrupt = Field(2, access=Access.W1C)
    drive0_capable = Field(5)
    drive1_capable = Field(6)


class Table(Register):
    """BMIDTPX: where the descriptor table begins."""

    base = Field(2, 30)


class Descriptor(Register):
    """A physical region, as it is in memory."""

    base = Field(1, 31)
    words = Field(33, 15)  # 0 means 64 KiB
    end_of_table = Field(63)


# Plain masks for paths that every transfer takes.
INTERRUPT = Status.interrupt.mask
_ACTIVE = Status.active.mask
_START = Command.start.mask
_BASE, _LAST = Descriptor.base.mask, Descriptor.end_of_table.mask
_COUNT, _COUNT_AT = Descriptor.words.maximum << 1, Descriptor.words.low - 1


class DmaMemory(Protocol):
    """Guest memory as a bus master sees it: outside RAM reads are ones and writes are lost."""

    def dma_read(self, address: int, n: int, /) -> bytes: ...

    def dma_write(self, address: int, data: bytes | bytearray | memoryview, /) -> None: ...


class BusMaster:
    """Registers at BAR 4 + 0 (primary) or + 8 (secondary). The channel asks it to scatter or gather."""

    def __init__(self, memory: DmaMemory) -> None:
        self._memory = memory
        self.command, self.status, self.table = Command(), Status(), Table()
        self.registers: dict[int, tuple[int, Register]] = {
            COMMAND: (1, self.command), STATUS: (1, self.status), TABLE: (4, self.table)
        }  # fmt: skip
        """By offset: width in bytes, and register."""
        self.reset()

    def reset(self) -> None:
        for _, register in self.registers.values():
            register.reset()
        self._next = 0
        self._address = 0
        self._left = 0
        self._last = False

    @property
    def active(self) -> bool:
        """Started, and descriptors are left."""
        return bool(self.status.value & _ACTIVE)

    @property
    def to_memory(self) -> bool:
        return bool(self.command.to_memory)

    def write(self, at: int, value: int) -> bool:
        """A whole register; True when the guest has just started or stopped the engine."""
        if at != COMMAND:
            self.registers[at][1].write(value)
            return False
        command = self.command
        running, wanted = command.value & _START, value & _START
        if not (running and wanted):
            command.write(value)
        if running == wanted:
            return False
        self.status.active = bool(wanted)
        if wanted:
            self._next = self.table.value
            self._left = 0
            self._last = False
        return True

    def _region(self) -> bool:
        """Make sure the current region has bytes left; False at the end of the table."""
        if self._left:
            return True
        if self._last or not self.status.value & _ACTIVE:
            return False
        descriptor = int.from_bytes(self._memory.dma_read(self._next, 8), "little")
        self._next = (self._next + 8) & 0xFFFFFFFF
        self._address = descriptor & _BASE
        self._left = descriptor >> _COUNT_AT & _COUNT or 0x10000
        self._last = bool(descriptor & _LAST)
        return True

    def _advance(self, count: int) -> None:
        self._address = (self._address + count) & 0xFFFFFFFF
        self._left -= count
        if not self._left and self._last:
            self.status.active = 0

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
        pieces, size, blank = [], 0, True
        while size < count and self._region():
            take = min(self._left, count - size)
            piece = self._memory.dma_read(self._address, take)
            pieces.append(piece)
            blank = blank and piece is zeros(take)
            self._advance(take)
            size += take
        if len(pieces) == 1:
            return pieces[0]
        return zeros(size) if blank else b"".join(pieces)

    def state(self) -> dict[str, Any]:
        return {
            "command": self.command.value,
            "status": self.status.value,
            "table": self.table.value,
            "next": self._next,
            "address": self._address,
            "left": self._left,
            "last": self._last,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.command.value = state["command"]
        self.status.value = state["status"]
        self.table.value = state["table"]
        self._next = state["next"]
        self._address = state["address"]
        self._left = state["left"]
        self._last = state["last"]
