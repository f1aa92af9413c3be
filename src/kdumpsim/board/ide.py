# SPDX-License-Identifier: GPL-2.0-or-later
"""PIIX3 IDE: two channels in compatibility mode, and data that moves over virtual time.

Follows ATA/ATAPI-6 (T13/1410D) chapter 9 (protocols), the Intel 82371SB (PIIX3) data sheet and "Programming Interface
for Bus Master IDE Controller" 1.0. Primary: 0x1F0..0x1F7, 0x3F6, IRQ 14; secondary: 0x170..0x177, 0x376, IRQ 15; bus
master registers behind BAR 4 of PCI function 01.1.

The protocols are in `idechannel.py`, the drives in `ata.py`, the bus master in `busmaster.py`.

A command keeps the drive busy over virtual time: `SEEK_NS` to the first sector, `SECTOR_NS` a sector (60 MB/s). A DMA
transfer moves `DMA_CHUNK` bytes at a time, each chunk at the end of its share of the time: a transfer in flight when a
kernel dies goes on, until it ends, the bus master is stopped, or the channel gets a software reset.

Choices where boards differ: an absent slave reads as status and error 0, and has the task file that was written for
both; every register of an empty channel reads as 0 (as QEMU's do). Task file and command writes are ignored while the
drive is busy or wants data. A transfer whose direction differs from the bus master's, or whose function may not master
the bus, waits until it is stopped.

Not modelled: timing registers (IDETIM is stored), overlapped commands, seek distances, the drive's own cache, the
floppy bits of 0x3F7, byte-wide data transfers as real buses do them (a byte access moves one byte).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kdumpsim.apic.timers import Timers
from kdumpsim.board.ata import Drive
from kdumpsim.board.busmaster import DmaMemory
from kdumpsim.board.disk import Disk
from kdumpsim.board.idechannel import Channel
from kdumpsim.board.pci import COMMAND_IO, COMMAND_MASTER, PciFunction, ide_function


class IdeController:
    """`disks`: primary master, primary slave, secondary master, secondary slave; None or missing is an absent drive.

    `pci` is the configuration space, to be added at 01.1. `ports()` changes when the guest moves BAR 4 or switches I/O
    space off: `on_remap` is called then, and the board asks for `ports()` again.
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
        if len(disks) > 4:
            raise ValueError("an IDE controller has room for four disks")
        all_disks = [*disks, None, None, None, None][:4]
        drives = [Drive(disk, number) for number, disk in enumerate(all_disks)]
        self.pci: PciFunction = ide_function()
        self.pci.on_change = self._pci_changed
        self.on_remap: Callable[[], None] = lambda: None
        self.channels = (
            Channel("ide0", timers, memory, raise_irq14, (drives[0], drives[1]), self._may_master),
            Channel("ide1", timers, memory, raise_irq15, (drives[2], drives[3]), self._may_master),
        )
        self._decoding = True
        self._base = self.pci.bar(4)

    @property
    def disks(self) -> tuple[Disk | None, ...]:
        return tuple(drive.disk for channel in self.channels for drive in channel.drives)

    def _may_master(self) -> bool:
        return bool(self.pci.command & COMMAND_MASTER)

    def _decode(self) -> None:
        self._decoding = bool(self.pci.command & COMMAND_IO)
        base = self.pci.bar(4)
        if base != self._base:
            self._base = base
            self.on_remap()

    def _pci_changed(self) -> None:
        self._decode()
        for channel in self.channels:
            channel.bus_master_changed()

    def ports(self) -> list[tuple[int, int]]:
        legacy = [(0x1F0, 8), (0x3F6, 1), (0x170, 8), (0x376, 1)]
        return legacy if self._base is None else [*legacy, (self._base, 16)]

    def port_read(self, port: int, size: int) -> int:
        if self._decoding:
            if port == 0x1F0:
                return self.channels[0].data_read(size)
            if port == 0x170:
                return self.channels[1].data_read(size)
        return sum(self._read_byte(port + at) << 8 * at for at in range(size))

    def port_write(self, port: int, size: int, value: int) -> None:
        if self._decoding:
            if port == 0x1F0:
                self.channels[0].data_write(size, value)
                return
            if port == 0x170:
                self.channels[1].data_write(size, value)
                return
        for at in range(size):
            self._write_byte(port + at, value >> 8 * at & 0xFF)

    def _read_byte(self, port: int) -> int:
        if not self._decoding:
            return 0xFF
        if 0x1F1 <= port <= 0x1F7:
            return self.channels[0].read(port & 7)
        if 0x171 <= port <= 0x177:
            return self.channels[1].read(port & 7)
        if port == 0x3F6:
            return self.channels[0].alternate_status()
        if port == 0x376:
            return self.channels[1].alternate_status()
        if self._base is not None and 0 <= port - self._base < 16:
            return self.channels[port - self._base >> 3].bus_master.read(port - self._base & 7)
        return 0xFF

    def _write_byte(self, port: int, value: int) -> None:
        if not self._decoding:
            return
        if 0x1F1 <= port <= 0x1F7:
            self.channels[0].write(port & 7, value)
        elif 0x171 <= port <= 0x177:
            self.channels[1].write(port & 7, value)
        elif port == 0x3F6:
            self.channels[0].write_control(value)
        elif port == 0x376:
            self.channels[1].write_control(value)
        elif self._base is not None and 0 <= port - self._base < 16:
            channel = self.channels[port - self._base >> 3]
            if channel.bus_master.write(port - self._base & 7, value):
                channel.bus_master_changed()

    def reset(self) -> None:
        """The hardware reset line."""
        self.pci.reset()
        for channel in self.channels:
            channel.reset()

    def state(self) -> dict[str, Any]:
        """Configuration space, channels, drives and what is on the disks."""
        return {"pci": self.pci.state(), "channels": [channel.state() for channel in self.channels]}

    def restore(self, state: dict[str, Any]) -> None:
        self.pci.restore(state["pci"])
        self._decode()
        for channel, saved in zip(self.channels, state["channels"], strict=True):
            channel.restore(saved)
