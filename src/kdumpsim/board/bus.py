# SPDX-License-Identifier: GPL-2.0-or-later
"""The two address spaces devices answer in: ports and memory-mapped registers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

ONES = {1: 0xFF, 2: 0xFFFF, 4: 0xFFFFFFFF, 8: 0xFFFFFFFF_FFFFFFFF}
"""What a bus without an answer reads as."""

PortRead = Callable[[int, int], int]
PortWrite = Callable[[int, int, int], None]


class PortDevice(Protocol):
    """A device with I/O ports: (first, count) ranges."""

    def ports(self) -> list[tuple[int, int]]: ...

    def port_read(self, port: int, size: int) -> int: ...

    def port_write(self, port: int, size: int, value: int) -> None: ...


class PortBus:
    """Port to bound method, one look-up an access."""

    def __init__(self) -> None:
        self.readers: dict[int, PortRead] = {}
        self.writers: dict[int, PortWrite] = {}

    def attach(self, device: PortDevice) -> None:
        """Give a device its ports; ValueError if one is taken."""
        for first, count in device.ports():
            for port in range(first, first + count):
                if port in self.readers:
                    raise ValueError(f"port {port:#x} is taken")
                self.readers[port] = device.port_read
                self.writers[port] = device.port_write

    def remap(self, device: PortDevice) -> None:
        """A device's ports have changed. Where it overlaps another, the other keeps its own."""
        for port in [port for port, reader in self.readers.items() if reader == device.port_read]:
            del self.readers[port], self.writers[port]
        for first, count in device.ports():
            for port in range(first, first + count):
                self.readers.setdefault(port, device.port_read)
                self.writers.setdefault(port, device.port_write)

    def read(self, port: int, size: int) -> int:
        reader = self.readers.get(port)
        return ONES[size] if reader is None else reader(port, size)

    def write(self, port: int, size: int, value: int) -> None:
        writer = self.writers.get(port)
        if writer is not None:
            writer(port, size, value)


MmioRead = Callable[[int, int], int]
MmioWrite = Callable[[int, int, int], None]


class MmioBus:
    """Page to (read, write), called with (CPU, offset in the page[, value]); registers are 32 bits wide.

    A narrower read gets its part of the register; a narrower or misaligned write is lost (SDM vol. 3A, 10.4.1, calls
    both undefined).
    """

    def __init__(self) -> None:
        self._pages: dict[int, tuple[MmioRead, MmioWrite]] = {}

    def attach(self, base: int, read: MmioRead, write: MmioWrite) -> None:
        self._pages[base] = (read, write)

    @property
    def bases(self) -> list[int]:
        return sorted(self._pages)

    def read(self, cpu: int, address: int, size: int) -> int:
        page = self._pages.get(address & ~0xFFF)
        if page is None:
            return ONES[size]
        offset = address & 0xFFF
        if size == 4 and not offset & 3:
            return page[0](cpu, offset)
        return page[0](cpu, offset & ~3) >> 8 * (offset & 3) & ONES[size]

    def write(self, cpu: int, address: int, size: int, value: int) -> None:
        page = self._pages.get(address & ~0xFFF)
        if page is not None and size == 4 and not address & 3:
            page[1](cpu, address & 0xFFF, value)
