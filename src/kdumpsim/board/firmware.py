# SPDX-License-Identifier: GPL-2.0-or-later
"""PC firmware (skeleton: signatures for the Machine; the body follows)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

RAM, RESERVED, ACPI, NVS = 1, 2, 3, 4


class E820(NamedTuple):
    base: int
    size: int
    kind: int = RAM


class FirmwareMemory(Protocol):
    @property
    def view(self) -> memoryview: ...


def e820(memory_size: int, holes: Sequence[tuple[int, int]] = ()) -> list[E820]:
    """The map a BIOS reports: base memory below the EBDA, the ROM reserved, memory from 1 MiB up, holes left out."""
    raise NotImplementedError


def install(memory: FirmwareMemory, *, cpus: int, map: Sequence[E820], ioapic_id: int = 0, disks: int = 0) -> None:
    """Write IVT, BIOS data area, EBDA, MP tables and ROM (0xF0000..0xFFFFF) straight into `memory.view`."""
    raise NotImplementedError


def program(
    port_out: Callable[[int, int, int], None],
    mmio_write: Callable[[int, int, int], None],
) -> None:
    """What a BIOS leaves in the devices, done through their own registers:

    `port_out(port, size, value)`, `mmio_write(address, size, value)` as the boot CPU would do them.
    """
    raise NotImplementedError
