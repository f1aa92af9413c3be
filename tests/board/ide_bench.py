# SPDX-License-Identifier: GPL-2.0-or-later
"""A test bench for the IDE controller: a clock to turn by hand, a piece of memory, and a driver's few gestures."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

from kdumpsim.board.disk import Disk
from kdumpsim.board.ide import IdeController


class BenchTimer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback = callback
        self.deadline: int | None = None

    def arm(self, deadline_ns: int) -> None:
        self.deadline = deadline_ns

    def cancel(self) -> None:
        self.deadline = None


class BenchTimers:
    def __init__(self) -> None:
        self.now = 0
        self.events = 0
        self.timers: list[BenchTimer] = []

    def timer(self, name: str, callback: Callable[[], None]) -> BenchTimer:
        self.timers.append(BenchTimer(callback))
        return self.timers[-1]

    def advance(self, ns: int) -> None:
        """Let `ns` pass, events in order."""
        end = self.now + ns
        while True:
            due = [timer for timer in self.timers if timer.deadline is not None and timer.deadline <= end]
            if not due:
                break
            timer = min(due, key=lambda each: each.deadline or 0)
            assert timer.deadline is not None
            self.now = max(self.now, timer.deadline)
            timer.deadline = None
            self.events += 1
            timer.callback()
        self.now = end


class BenchMemory:
    def __init__(self, size: int = 1 << 20) -> None:
        self.data = bytearray(size)

    def dma_read(self, address: int, n: int) -> bytes:
        inside = bytes(self.data[address : address + n])
        return inside + b"\xff" * (n - len(inside))

    def dma_write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        room = max(0, len(self.data) - address)
        self.data[address : address + min(room, len(data))] = data[:room]

    def descriptors(self, at: int, *regions: tuple[int, int], end: bool = True) -> None:
        for number, (base, size) in enumerate(regions):
            last = end and number == len(regions) - 1
            self.data[at : at + 8] = struct.pack("<IHH", base, size & 0xFFFF, 0x8000 if last else 0)
            at += 8


class Bench:
    """`base`, `control`: the channel in use; primary unless told."""

    def __init__(self, disks: Sequence[Disk | None]) -> None:
        self.timers = BenchTimers()
        self.memory = BenchMemory()
        self.lines = {14: False, 15: False}
        self.raised = {14: 0, 15: 0}
        self.ide = IdeController(self.timers, self.memory, self._line(14), self._line(15), disks)
        self.base, self.control, self.master, self.irq = 0x1F0, 0x3F6, 0xC000, 14

    def secondary(self) -> Bench:
        self.base, self.control, self.master, self.irq = 0x170, 0x376, 0xC008, 15
        return self

    def _line(self, irq: int) -> Callable[[bool], None]:
        def raise_irq(level: bool) -> None:
            self.raised[irq] += level and not self.lines[irq]
            self.lines[irq] = level

        return raise_irq

    def inb(self, register: int) -> int:
        return self.ide.port_read(self.base + register, 1)

    def outb(self, register: int, value: int) -> None:
        self.ide.port_write(self.base + register, 1, value)

    @property
    def alternate(self) -> int:
        return self.ide.port_read(self.control, 1)

    def command(self, code: int, lba: int = 0, count: int = 0, *, slave: bool = False, ext: bool = False) -> None:
        self.outb(6, 0xE0 | slave << 4 | (0 if ext else lba >> 24 & 0x0F))
        if ext:
            self.outb(2, count >> 8 & 0xFF)
            for register in (3, 4, 5):
                self.outb(register, lba >> (24 + 8 * (register - 3)) & 0xFF)
        self.outb(2, count & 0xFF)
        for register in (3, 4, 5):
            self.outb(register, lba >> 8 * (register - 3) & 0xFF)
        self.outb(7, code)

    def wait(self, ns: int = 50_000_000) -> int:
        """Until BSY clears; the status (which clears the interrupt)."""
        for _ in range(ns // 10_000):
            if not self.alternate & 0x80:
                break
            self.timers.advance(10_000)
        return self.inb(7)

    def read_block(self, size: int = 512, width: int = 2) -> bytes:
        return b"".join(self.ide.port_read(self.base, width).to_bytes(width, "little") for _ in range(0, size, width))

    def write_block(self, data: bytes, width: int = 2) -> None:
        for at in range(0, len(data), width):
            self.ide.port_write(self.base, width, int.from_bytes(data[at : at + width], "little"))

    def dma(self, code: int, lba: int, count: int, table: int, *, to_memory: bool, ext: bool = False) -> None:
        self.ide.port_write(self.master + 4, 4, table)
        self.ide.port_write(self.master, 1, 8 if to_memory else 0)
        self.ide.port_write(self.master + 2, 1, 0x06)
        self.command(code, lba, count, ext=ext)
        self.ide.port_write(self.master, 1, (8 if to_memory else 0) | 1)

    @property
    def master_status(self) -> int:
        return self.ide.port_read(self.master + 2, 1)


def pattern(sectors: int, seed: int = 0) -> bytes:
    """Sectors that all differ."""
    return b"".join(struct.pack("<I", number * 2654435761 + seed & 0xFFFFFFFF) * 128 for number in range(sectors))
