# SPDX-License-Identifier: GPL-2.0-or-later
"""PCI IDE: two channels behind a PCI function, and data that moves over virtual time; PIIX3's, in compatibility mode.

Follows ATA/ATAPI-6 (T13/1410D) chapter 9 (protocols), the Intel 82371SB (PIIX3) data sheet and "Programming Interface
for Bus Master IDE Controller" 1.0. Primary: 0x1F0..0x1F7, 0x3F6, IRQ 14; secondary: 0x170..0x177, 0x376, IRQ 15; bus
master registers behind BAR 4 of PCI function 01.1. A function in native mode: `sata.py`.

The protocols are in `idechannel.py`, the drives in `ata.py`, the bus master in `busmaster.py`.

A command keeps the drive busy over virtual time: `SEEK_NS` to the first sector, `SECTOR_NS` a sector (60 MB/s). A DMA
transfer moves `DMA_CHUNKS` sectors at a time, each chunk at the end of its share of the time: a transfer in flight when
a kernel dies goes on, until it ends, the bus master is stopped, or the channel gets a software reset.

Choices where boards differ: an absent slave reads as status and error 0, and has the task file that was written for
both; every register of an empty channel reads as 0 (as QEMU's do). Task file and command writes are ignored while the
drive is busy or wants data. A transfer whose direction differs from the bus master's, or whose function may not master
the bus, waits until it is stopped.

Not modelled: timing registers (IDETIM is stored), overlapped commands, seek distances, the drive's own cache, the
floppy bits of 0x3F7, byte-wide data transfers as real buses do them (a byte access moves one byte).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from kdumpsim.apic.messages import Line
from kdumpsim.apic.registers import RegisterFile
from kdumpsim.apic.timers import Timers
from kdumpsim.board import busmaster
from kdumpsim.board.ata import DATA, ERROR, STATUS, Drive
from kdumpsim.board.busmaster import DmaMemory
from kdumpsim.board.disk import Disk
from kdumpsim.board.idechannel import Channel
from kdumpsim.board.pci import PciFunction, ide_function
from kdumpsim.board.pci_registers import BAR4

LEGACY_PORTS = ((0x1F0, 0x3F6), (0x170, 0x376))
"""Of each channel: command block and control block (device control, alternate status)."""
MASTER_PORTS = 2 * busmaster.SIZE


class PciIde(ABC):
    """Two channels of a PCI function; where their blocks of registers are, and what their interrupts do, are a part's.

    `disks`: primary master, primary slave, secondary master, secondary slave; None or missing is an absent drive.
    `irqs` are the channels' interrupts. `pci` is the configuration space. `ports()` changes when the guest moves a base
    address or switches I/O space off: `on_remap` is called then, and the board asks for `ports()` again.
    """

    def __init__(
        self,
        name: str,
        pci: PciFunction,
        timers: Timers,
        memory: DmaMemory,
        irqs: tuple[Line, Line],
        disks: Sequence[Disk | None],
    ) -> None:
        if len(disks) > 4:
            raise ValueError("an IDE controller has room for four disks")
        all_disks = [*disks, None, None, None, None][:4]
        drives = [Drive(disk, number) for number, disk in enumerate(all_disks)]
        self.name = name
        self.pci: PciFunction = pci
        self.pci.on_change = self._pci_changed
        self.on_remap: Callable[[], None] = lambda: None
        self.channels = (
            Channel(f"{name}0", timers, memory, irqs[0], (drives[0], drives[1]), pci),
            Channel(f"{name}1", timers, memory, irqs[1], (drives[2], drives[3]), pci),
        )
        self._masters = RegisterFile(
            {
                number * busmaster.SIZE + at: entry
                for number, channel in enumerate(self.channels)
                for at, entry in channel.bus_master.registers.items()
            }
        )
        self._whole_masters = {
            number * busmaster.SIZE + at << 3 | width: (channel, at)
            for number, channel in enumerate(self.channels)
            for at, (width, _) in channel.bus_master.registers.items()
        }
        """By offset and width of an access that is to one register, as nearly all are."""
        self._base: int | None = None  # of the bus masters' ports
        self._claimed: list[tuple[int, int]] = []
        self._data_readers: dict[int, Callable[[int], int]] = {}  # given the access's size
        self._data_writers: dict[int, Callable[[int, int], None]] = {}
        self._readers: dict[int, Callable[[], int]] = {}
        self._writers: dict[int, Callable[[int], None]] = {}
        self._decode()

    @property
    def disks(self) -> tuple[Disk | None, ...]:
        return tuple(drive.disk for channel in self.channels for drive in channel.drives)

    @abstractmethod
    def _blocks(self) -> Sequence[tuple[int | None, int | None]]:
        """Of each channel: where its command block begins and where its control register is, if they are decoded."""

    def _decode(self) -> None:
        """Look at the configuration space: which ports lead where."""
        self._base = self.pci.io_base(BAR4)
        for table in (self._data_readers, self._data_writers, self._readers, self._writers):
            table.clear()
        for (command, control), channel in zip(self._blocks(), self.channels, strict=True):
            if command is not None:
                self._data_readers[command + DATA] = channel.data_read
                self._data_writers[command + DATA] = channel.data_write
                for register in range(ERROR, STATUS + 1):
                    self._readers[command + register] = partial(channel.read, register)
                    self._writers[command + register] = partial(channel.write, register)
            if control is not None:
                self._readers[control] = channel.alternate_status
                self._writers[control] = channel.write_control
        if self._base is not None:
            for at in range(MASTER_PORTS):
                self._readers.setdefault(self._base + at, partial(self._masters.read, at, 1))
                self._writers.setdefault(self._base + at, partial(self._write_master, at, 1))
        before, self._claimed = self._claimed, self._claims()
        if self._claimed != before:
            self.on_remap()

    def _pci_changed(self) -> None:
        self._decode()
        for channel in self.channels:
            channel.bus_master_changed()

    @abstractmethod
    def _claims(self) -> list[tuple[int, int]]:
        """(First, count) of the ports that are its own, as the configuration space is now."""

    def ports(self) -> list[tuple[int, int]]:
        return self._claimed

    def port_read(self, port: int, size: int) -> int:
        data = self._data_readers.get(port)
        if data is not None:
            return data(size)
        if size == 1:
            reader = self._readers.get(port)
            return 0xFF if reader is None else reader()
        return sum(self._read_byte(port + at) << 8 * at for at in range(size))

    def _read_byte(self, port: int) -> int:
        reader = self._readers.get(port)
        return 0xFF if reader is None else reader()

    def port_write(self, port: int, size: int, value: int) -> None:
        data = self._data_writers.get(port)
        if data is not None:
            data(size, value)
        elif size == 1:
            writer = self._writers.get(port)
            if writer is not None:
                writer(value)
        elif self._base is not None and self._base <= port <= self._base + MASTER_PORTS - size:
            self._write_master(port - self._base, size, value)
        else:
            for at, byte in enumerate(value.to_bytes(size, "little")):
                writer = self._writers.get(port + at)
                if writer is not None:
                    writer(byte)

    def _write_master(self, offset: int, size: int, value: int) -> None:
        whole = self._whole_masters.get(offset << 3 | size)
        if whole is not None:
            channel, register = whole
            if channel.bus_master.write(register, value):
                channel.bus_master_changed()
            return
        for at, written in self._masters.spread(offset, size, value).items():
            number, register = divmod(at, busmaster.SIZE)
            channel = self.channels[number]
            if channel.bus_master.write(register, written):
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


class IdeController(PciIde):
    """PIIX3's function, to be added at 01.1: the legacy ports, and IRQ 14 and 15."""

    def __init__(
        self,
        timers: Timers,
        memory: DmaMemory,
        raise_irq14: Line,
        raise_irq15: Line,
        disks: Sequence[Disk | None] = (),
    ) -> None:
        super().__init__("ide", ide_function(), timers, memory, (raise_irq14, raise_irq15), disks)

    def _blocks(self) -> Sequence[tuple[int | None, int | None]]:
        return LEGACY_PORTS if self.pci.decodes_io else ((None, None), (None, None))

    def _claims(self) -> list[tuple[int, int]]:
        legacy = [port for command, control in LEGACY_PORTS for port in ((command, 8), (control, 1))]
        return legacy if self._base is None else [*legacy, (self._base, MASTER_PORTS)]
