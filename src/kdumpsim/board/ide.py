# SPDX-License-Identifier: GPL-2.0-or-later
"""PIIX3 IDE (skeleton: signatures for the Machine; the body follows)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from kdumpsim.apic.timers import Timers
from kdumpsim.board.disk import Disk
from kdumpsim.board.pci import PciFunction, ide_function


class DmaMemory(Protocol):
    def dma_read(self, address: int, n: int, /) -> bytes: ...

    def dma_write(self, address: int, data: bytes | memoryview, /) -> None: ...


class IdeController:
    """`disks`: primary master, primary slave, secondary master, secondary slave; None or missing is an absent drive.

    `pci` is the configuration space to add at 01.1. `ports()` changes when the guest moves BAR 4 or switches I/O space
    off: `on_remap` is called then and the board asks for `ports()` again.
    """

    name = "ide"

    def __init__(
        self,
        timers: Timers,
        memory: DmaMemory,
        raise_irq14: Callable[[bool], None],
        raise_irq15: Callable[[bool], None],
        disks: Sequence[Disk | None] = (),
    ) -> None:
        self.pci: PciFunction = ide_function()
        self.on_remap: Callable[[], None] = lambda: None

    def ports(self) -> list[tuple[int, int]]:
        return [(0x1F0, 8), (0x3F6, 1), (0x170, 8), (0x376, 1), (0xC000, 16)]

    def port_read(self, port: int, size: int) -> int:
        raise NotImplementedError

    def port_write(self, port: int, size: int, value: int) -> None:
        raise NotImplementedError

    def reset(self) -> None: ...

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None: ...
