# SPDX-License-Identifier: GPL-2.0-or-later
"""The two address spaces devices answer in: ports and memory-mapped registers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

ONES = {1: 0xFF, 2: 0xFFFF, 4: 0xFFFFFFFF, 8: 0xFFFFFFFF_FFFFFFFF}
"""What a bus without an answer reads as."""
PAGE = 0x1000

PortRead = Callable[[int, int], int]
PortWrite = Callable[[int, int, int], None]


@runtime_checkable
class PortDevice(Protocol):
    """A device with I/O ports."""

    def ports(self) -> list[tuple[int, int]]:
        """(First, count) of its ports now; those it gives up while it is not decoded are not among them."""

    def port_read(self, port: int, size: int) -> int:
        """What an access of `size` bytes gets that begins at one of its ports."""

    def port_write(self, port: int, size: int, value: int) -> None:
        """The same for a write."""


@runtime_checkable
class MemoryDevice(Protocol):
    """A device with 32-bit registers in memory."""

    def memory(self) -> list[tuple[int, int]]:
        """(Base, size) of the one page it answers in; it cannot be moved."""

    def read(self, offset: int) -> int:
        """The register at an offset in the page, a multiple of four."""

    def write(self, offset: int, value: int) -> None:
        """The same for a write."""


class PortBus:
    """Port to bound method, one look-up an access. Of two devices at a port the one attached first answers."""

    def __init__(self) -> None:
        self.readers: dict[int, PortRead] = {}
        self.writers: dict[int, PortWrite] = {}
        self._devices: list[PortDevice] = []

    def attach(self, device: PortDevice) -> None:
        """Give a device its ports; ValueError if one is taken."""
        for first, count in device.ports():
            for port in range(first, first + count):
                if port in self.readers:
                    raise ValueError(f"port {port:#x} is taken")
        self._devices.append(device)
        self._map(device)

    def remap(self) -> None:
        """A device's ports have changed: ask all of them again, so that the map tells nothing of how it came about."""
        self.readers.clear()
        self.writers.clear()
        for device in self._devices:
            self._map(device)

    def _map(self, device: PortDevice) -> None:
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


class MmioBus:
    """Page and CPU to bound methods; registers are 32 bits wide.

    A narrower read gets its part of the register; a narrower or misaligned write is lost (SDM vol. 3A, 10.4.1, calls
    both undefined).
    """

    def __init__(self, cpus: int) -> None:
        self._cpus = cpus
        # Pages leave twelve bits free, which number the CPU.
        self._readers: dict[int, Callable[[int], int]] = {}
        self._writers: dict[int, Callable[[int, int], None]] = {}

    def attach(self, device: MemoryDevice, cpu: int | None = None) -> None:
        """Give a device its page, as one CPU sees it or (None) as all do; ValueError if it is taken."""
        for base, size in device.memory():
            if base % PAGE or size != PAGE:
                raise ValueError(f"registers at {base:#x}+{size:#x} are not in one page")
            for index in range(self._cpus) if cpu is None else (cpu,):
                if base | index in self._readers:
                    raise ValueError(f"memory at {base:#x} is taken")
                self._readers[base | index] = device.read
                self._writers[base | index] = device.write

    @property
    def bases(self) -> list[int]:
        """The pages that some device answers in."""
        return sorted({key & ~0xFFF for key in self._readers})

    def read(self, cpu: int, address: int, size: int) -> int:
        reader = self._readers.get(address & ~0xFFF | cpu)
        if reader is None:
            return ONES[size]
        offset = address & 0xFFF
        if size == 4 and not offset & 3:
            return reader(offset)
        return reader(offset & ~3) >> 8 * (offset & 3) & ONES[size]

    def write(self, cpu: int, address: int, size: int, value: int) -> None:
        writer = self._writers.get(address & ~0xFFF | cpu)
        if writer is not None and size == 4 and not address & 3:
            writer(address & 0xFFF, value)
